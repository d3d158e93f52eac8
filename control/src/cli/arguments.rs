//! What can be typed: objects, verbs, options. Verbs can be shortened as with ip(8), and left out where they are `show`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, value_parser};
use ipnet::IpNet;

use crate::api::quantity::parse_bytes;
use crate::api::text::parse_prefix;
use crate::api::{DEFAULT_SOCKET, SOCKET_VARIABLE};

const EXAMPLES: &str = "\
Examples:
  carpool route add 203.0.113.0/24 via 192.0.2.2
  carpool rule add voice match udp port 16384-32767 max-size 300B window 2ms
  carpool path add 203.0.113.0/24 hops 192.0.2.2 198.51.100.7
  carpool stream add 7 peer east source 10.0.0.9:16384 destination 203.0.113.9:20000 dscp ef ttl 64
  carpool lookup 203.0.113.9
  carpool pool show --watch 1
  carpool stats --drops --json

Exit codes: 0 done, 1 refused by the router, 2 wrong usage, 3 no router answers.";

/// Ask and configure a running carpool router.
///
/// Objects and verbs can be shortened: carpool r s, carpool neigh sh.
#[derive(Debug, Parser)]
#[command(name = "carpool", version, infer_subcommands = true, disable_help_subcommand = true, after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The router's control socket [env: CARPOOL_SOCKET] [default: /run/carpool/control.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print the answer as one line of JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Show it again every SECONDS
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub watch: Option<Duration>,
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// The socket that the command line, else the environment names, else the default. An empty variable names none.
    pub fn socket(&self) -> PathBuf {
        let variable = || std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        self.socket.clone().or_else(variable).unwrap_or_else(|| DEFAULT_SOCKET.into())
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.1..=86_400.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected a number from 0.1 to 86400".to_owned())
}

fn measured(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.1..=3_000.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected a number from 0.1 to 3000".to_owned())
}

fn length(text: &str) -> Result<u16, String> {
    parse_bytes(text)?.try_into().map_err(|_| "expected at most 65535 bytes".to_owned())
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Routes
    #[command(infer_subcommands = true, disable_help_subcommand = true, alias = "r", alias = "ro")]
    Route {
        #[command(subcommand)]
        verb: Option<Route>,
    },
    /// What becomes of packets to an address
    Lookup {
        #[arg(value_name = "ADDRESS")]
        address: IpAddr,
    },
    /// Ports, their addresses and counters
    #[command(infer_subcommands = true, disable_help_subcommand = true)]
    Port {
        #[command(subcommand)]
        verb: Option<Port>,
    },
    /// Hosts and routers on our links
    #[command(infer_subcommands = true, disable_help_subcommand = true, visible_alias = "neighbour")]
    Neighbor {
        #[command(subcommand)]
        verb: Option<Neighbor>,
    },
    /// Pooling rules
    #[command(infer_subcommands = true, disable_help_subcommand = true)]
    Rule {
        #[command(subcommand)]
        verb: Option<Rule>,
    },
    /// The routers behind a route, as far as they are known
    #[command(infer_subcommands = true, disable_help_subcommand = true)]
    Path {
        #[command(subcommand)]
        verb: Option<Path>,
    },
    /// Routes of packets to groups, which are replicated
    #[command(infer_subcommands = true, disable_help_subcommand = true)]
    Multicast {
        #[command(subcommand)]
        verb: Option<Multicast>,
    },
    /// Prefixes that are reached from overlay node to overlay node, in pooled packets
    #[command(infer_subcommands = true, disable_help_subcommand = true)]
    Overlay {
        #[command(subcommand)]
        verb: Option<Overlay>,
    },
    /// Routers that pooled packets are exchanged with
    #[command(infer_subcommands = true, disable_help_subcommand = true)]
    Peer {
        #[command(subcommand)]
        verb: Option<Peer>,
    },
    /// Streams whose headers both ends were told of, so that only payloads travel
    #[command(infer_subcommands = true, disable_help_subcommand = true)]
    Stream {
        #[command(subcommand)]
        verb: Option<Stream>,
    },
    /// Lists of lengths that both ends know, so that predetermined pooled packets need no index
    #[command(infer_subcommands = true, disable_help_subcommand = true)]
    Template {
        #[command(subcommand)]
        verb: Option<Template>,
    },
    /// What was pooled, and which pools are open
    #[command(infer_subcommands = true, disable_help_subcommand = true)]
    Pool {
        #[command(subcommand)]
        verb: Option<Pool>,
    },
    /// What became of all packets
    #[command(alias = "s", alias = "st", alias = "sta", alias = "stat")]
    Stats {
        /// Why packets were dropped
        #[arg(long)]
        drops: bool,
        /// What is zero, too
        #[arg(short, long)]
        all: bool,
        /// What each stage of the workers' loops takes, in ticks of the time stamp counter for each packet; they measure it
        /// while this runs
        #[arg(long, conflicts_with_all = ["drops", "all"])]
        stages: bool,
        /// How long stages are measured
        #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = measured, requires = "stages")]
        seconds: Duration,
    },
    /// What is running
    Status,
    /// The versions of the router and of this program
    Version,
}

impl Command {
    /// Whether it changes nothing, and can be repeated.
    pub(super) fn only_shows(&self) -> bool {
        !matches!(
            self,
            Command::Route { verb: Some(Route::Add { .. } | Route::Del { .. } | Route::Load { .. }) }
                | Command::Neighbor { verb: Some(Neighbor::Add { .. } | Neighbor::Del { .. }) }
                | Command::Rule { verb: Some(Rule::Add { .. } | Rule::Del { .. }) }
                | Command::Path { verb: Some(Path::Add { .. } | Path::Del { .. }) }
                | Command::Multicast { verb: Some(Multicast::Add { .. } | Multicast::Del { .. }) }
                | Command::Overlay { verb: Some(Overlay::Add { .. } | Overlay::Del { .. }) }
                | Command::Peer { verb: Some(Peer::Add { .. } | Peer::Del { .. }) }
                | Command::Stream { verb: Some(Stream::Add { .. } | Stream::Del { .. }) }
                | Command::Template { verb: Some(Template::Add { .. } | Template::Del { .. }) }
        )
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Route {
    /// Add a route, or replace the one to the same prefix
    #[command(override_usage = "carpool route add PREFIX via ADDRESS\n       \
        carpool route add blackhole PREFIX\n       \
        carpool route add unreachable PREFIX")]
    Add {
        /// PREFIX via ADDRESS, blackhole PREFIX or unreachable PREFIX; PREFIX may be `default`, a link-local ADDRESS has its port
        /// behind it: fe80::1%p0
        #[arg(required = true, value_name = "ROUTE")]
        words: Vec<String>,
    },
    /// Delete a route
    #[command(alias = "delete")]
    Del {
        #[arg(value_name = "PREFIX", value_parser = parse_prefix)]
        prefix: IpNet,
    },
    /// List routes, all or those to PREFIX and its parts
    #[command(alias = "list", alias = "ls")]
    Show {
        #[arg(value_name = "PREFIX", value_parser = parse_prefix)]
        prefix: Option<IpNet>,
    },
    /// Load a whole table at once: all of FILE or nothing
    ///
    /// A line of FILE is PREFIX via ADDRESS, blackhole PREFIX or unreachable PREFIX; # begins a comment.
    Load {
        /// The file; - is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Delete routes that were added before, by this command or `route add`, and are not in FILE
        #[arg(long)]
        replace: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Neighbor {
    /// Add a neighbour that needs no resolution and does not age
    #[command(override_usage = "carpool neighbor add ADDRESS lladdr MAC [dev PORT]")]
    Add {
        /// ADDRESS lladdr MAC [dev PORT]; the port is found by the address where it is not given
        #[arg(required = true, value_name = "NEIGHBOR")]
        words: Vec<String>,
    },
    /// Forget a neighbour
    #[command(alias = "delete", override_usage = "carpool neighbor del ADDRESS [dev PORT]")]
    Del {
        /// ADDRESS [dev PORT]
        #[arg(required = true, value_name = "NEIGHBOR")]
        words: Vec<String>,
    },
    /// List neighbours
    #[command(alias = "list", alias = "ls")]
    Show,
}

#[derive(Debug, Subcommand)]
pub(super) enum Rule {
    /// Add a pooling rule
    #[command(
        override_usage = "carpool rule add NAME [match MATCH] window TIME [max-size SIZE] [max-count N] \
        [required-count N [hold TIME]] [adaptive true] [shared-hops N | path] [path-mtu SIZE] [lone itself | pooled] \
        [representation whole | learned | provisioned] [index in-band | out-of-band | predetermined template ID] \
        [position N]\n       \
        carpool rule add NAME [match MATCH] pool false [position N]\n\n\
        MATCH, all of it must fit: [udp | tcp | protocol P] [port P[-P]] [source-port P[-P]] [dscp D] [from PREFIX] \
        [to PREFIX]",
        after_help = "Example:\n  carpool rule add voice match udp port 16384-32767 dscp ef max-size 300B window 2ms"
    )]
    Add {
        /// What stands above, after the name in any order
        #[arg(required = true, value_name = "RULE")]
        words: Vec<String>,
    },
    /// Delete a pooling rule
    #[command(alias = "delete")]
    Del {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// List pooling rules
    #[command(alias = "list", alias = "ls")]
    Show,
}

#[derive(Debug, Subcommand)]
pub(super) enum Multicast {
    /// Add a multicast route, or replace the one for the same group and source
    #[command(override_usage = "carpool multicast add GROUP [source ADDRESS] from NAME to NAME...")]
    Add {
        /// GROUP [source ADDRESS] from NAME to NAME...; a NAME is that of a port or a peer
        #[arg(required = true, value_name = "ROUTE")]
        words: Vec<String>,
    },
    /// Delete a multicast route
    #[command(alias = "delete", override_usage = "carpool multicast del GROUP [source ADDRESS]")]
    Del {
        /// GROUP [source ADDRESS]
        #[arg(required = true, value_name = "ROUTE")]
        words: Vec<String>,
    },
    /// List multicast routes
    #[command(alias = "list", alias = "ls")]
    Show,
}

#[derive(Debug, Subcommand)]
pub(super) enum Overlay {
    /// Add an overlay route, or replace the one to the same prefix
    #[command(override_usage = "carpool overlay add PREFIX [from NAME] to PEER... [hops ADDRESS...]")]
    Add {
        /// PREFIX [from NAME] to PEER... [hops ADDRESS...]; the hops are the overlay nodes behind the peer
        #[arg(required = true, value_name = "ROUTE")]
        words: Vec<String>,
    },
    /// Delete an overlay route
    #[command(alias = "delete")]
    Del {
        #[arg(value_name = "PREFIX", value_parser = parse_prefix)]
        prefix: IpNet,
    },
    /// List overlay routes
    #[command(alias = "list", alias = "ls")]
    Show,
}

#[derive(Debug, Subcommand)]
pub(super) enum Port {
    /// List ports
    #[command(alias = "list", alias = "ls")]
    Show,
}

#[derive(Debug, Subcommand)]
pub(super) enum Path {
    /// Add a path, or replace the one to the same prefix
    #[command(
        override_usage = "carpool path add PREFIX hops ADDRESS...",
        after_help = "Example:\n  carpool path add 203.0.113.0/24 hops 192.0.2.2 198.51.100.7"
    )]
    Add {
        /// PREFIX hops ADDRESS...: the next hop first, then every router on the way, 16 at the most
        #[arg(required = true, value_name = "PATH")]
        words: Vec<String>,
    },
    /// Delete a path
    #[command(alias = "delete")]
    Del {
        #[arg(value_name = "PREFIX", value_parser = parse_prefix)]
        prefix: IpNet,
    },
    /// List paths, all or those to PREFIX and its parts
    #[command(alias = "list", alias = "ls")]
    Show {
        #[arg(value_name = "PREFIX", value_parser = parse_prefix)]
        prefix: Option<IpNet>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Peer {
    /// Add a peer
    #[command(
        override_usage = "carpool peer add NAME address ADDRESS [alias ADDRESS,...] [source ADDRESS] [mtu SIZE] \
        [probe-mtu false] [assume true] [format native | simplemux | simplemux-fast] [hello-interval TIME]",
        after_help = "Example:\n  carpool peer add east address 198.51.100.7 source 198.51.100.1"
    )]
    Add {
        /// What stands above, after the name in any order
        #[arg(required = true, value_name = "PEER")]
        words: Vec<String>,
    },
    /// Delete a peer
    #[command(alias = "delete")]
    Del {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// List peers
    #[command(alias = "list", alias = "ls")]
    Show,
}

#[derive(Debug, Subcommand)]
pub(super) enum Stream {
    /// Add a provisioned stream
    ///
    /// Both ends are told the same, but for the peer: each names the other.
    #[command(
        override_usage = "carpool stream add ID peer NAME source ADDRESS:PORT destination ADDRESS:PORT [dscp D] ttl N",
        after_help = "The TTL is that of its packets where they come to the router that pools them.\n\nExample:\n  \
        carpool stream add 7 peer east source 10.0.0.9:16384 destination 203.0.113.9:20000 dscp ef ttl 64"
    )]
    Add {
        /// What stands above, after the id in any order
        #[arg(required = true, value_name = "STREAM")]
        words: Vec<String>,
    },
    /// Delete a provisioned stream
    #[command(alias = "delete", override_usage = "carpool stream del ID peer NAME")]
    Del {
        /// ID peer NAME
        #[arg(required = true, value_name = "STREAM")]
        words: Vec<String>,
    },
    /// List provisioned streams, all or those of a peer
    #[command(alias = "list", alias = "ls")]
    Show {
        #[arg(value_name = "PEER")]
        peer: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Template {
    /// Add a template
    ///
    /// Both ends are told the same; the one that takes packets out first. Rules name it: index predetermined template ID.
    #[command(after_help = "Example:\n  carpool template add 7 60 200")]
    Add {
        /// What pooled packets call it, 1 to 255
        #[arg(value_name = "ID", value_parser = value_parser!(u8).range(1..))]
        id: u8,
        /// 1 to 16 lengths of IP packets in bytes, which packets have in turn
        #[arg(required = true, value_name = "LENGTH", value_parser = length)]
        lengths: Vec<u16>,
    },
    /// Delete a template that no rule names
    #[command(alias = "delete")]
    Del {
        #[arg(value_name = "ID", value_parser = value_parser!(u8).range(1..))]
        id: u8,
    },
    /// List templates
    #[command(alias = "list", alias = "ls")]
    Show,
}

#[derive(Debug, Subcommand)]
pub(super) enum Pool {
    /// Tell what was pooled, and list the open pools
    #[command(alias = "list", alias = "ls")]
    Show,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Command {
        Arguments::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}")).command
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn objects_and_verbs_can_be_shortened() {
        assert!(matches!(parse("carpool r s"), Command::Route { verb: Some(Route::Show { prefix: None }) }));
        assert!(matches!(
            parse("carpool route sh 10.0.0.0/8"),
            Command::Route { verb: Some(Route::Show { prefix: Some(_) }) }
        ));
        assert!(matches!(parse("carpool neigh"), Command::Neighbor { verb: None }));
        assert!(matches!(parse("carpool n sh"), Command::Neighbor { verb: Some(Neighbor::Show) }));
        assert!(matches!(parse("carpool ru d voice"), Command::Rule { verb: Some(Rule::Del { .. }) }));
        assert!(matches!(parse("carpool s"), Command::Stats { drops: false, all: false, stages: false, .. }));
        assert!(matches!(parse("carpool str"), Command::Stream { verb: None }));
        assert!(matches!(parse("carpool str sh east"), Command::Stream { verb: Some(Stream::Show { peer: Some(_) }) }));
        assert!(matches!(parse("carpool te"), Command::Template { verb: None }));
        assert!(matches!(parse("carpool statu"), Command::Status));
        assert!(matches!(parse("carpool l 203.0.113.9"), Command::Lookup { .. }));
    }

    #[test]
    fn options_stand_anywhere() {
        let arguments = ["carpool", "route", "add", "10.0.0.0/8", "via", "192.0.2.1", "--json", "--socket", "/tmp/s"];
        let arguments = Arguments::try_parse_from(arguments).expect("sound arguments");
        assert!(arguments.json);
        assert_eq!(arguments.socket(), PathBuf::from("/tmp/s"));
        let Command::Route { verb: Some(Route::Add { words }) } = arguments.command else {
            panic!("not route add: {arguments:?}")
        };
        assert_eq!(words, ["10.0.0.0/8", "via", "192.0.2.1"]);
    }

    #[test]
    fn a_template_has_an_id_and_lengths_in_order() {
        let Command::Template { verb: Some(Template::Add { id, lengths }) } = parse("carpool template add 7 60 200B")
        else {
            panic!("not template add")
        };
        assert_eq!((id, lengths), (7, vec![60, 200]));
        for line in ["add 0 60", "add 256 60", "add 7", "add 7 60 long", "add 7 65536", "del", "del 0", "del 7 8"] {
            let line = format!("carpool template {line}");
            assert!(Arguments::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }

    /// A word that is understood and not in the help is found by nobody.
    #[test]
    fn the_help_of_rule_add_has_every_word_that_it_understands() {
        let mut command = Arguments::command();
        let add =
            command.find_subcommand_mut("rule").and_then(|rule| rule.find_subcommand_mut("add")).expect("rule add");
        let help = add.render_long_help().to_string();
        let refusal = crate::cli::words::rule(&["voice", "nonsense"]).expect_err("no such word");
        let (_, understood) = refusal.split_once("expected ").expect("the words that are expected");
        let understood: Vec<_> = understood.split([',', ' ']).filter(|word| !matches!(*word, "" | "or")).collect();
        assert!(understood.contains(&"template"), "{understood:?}");
        for word in understood {
            assert!(help.contains(word), "{word} is not in the help: {help}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |line: &str| {
            let error = Arguments::try_parse_from(line.split_whitespace()).expect_err("wrong usage was accepted");
            error.to_string()
        };
        assert!(wrong("carpool route del 10.0.0.1/8").contains("10.0.0.0/8 was meant?"));
        assert!(wrong("carpool lookup nowhere").contains("nowhere"));
        assert!(wrong("carpool stats --watch 0").contains("from 0.1 to 86400"));
        assert!(wrong("carpool p").contains("'p'"), "port, path, peer or pool?");
    }
}
