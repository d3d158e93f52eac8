//! Simplemux as the lab reads it, and two routers that speak it to each other: carpoolds, or one and the published tool.
//!
//! ```text
//! left ─── A ─── transit ─── B ─── right
//! ```
//!
//! `A` runs carpoold; in the place of `B` is another carpoold, or a Linux router that sends all that is for `left`
//! through the tool. Datagrams are read after docs/simplemux.md, without the router's own parser.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use ipnet::Ipv4Net;

use crate::{
    carpoold::{Carpoold, Config, Idle, Port, Rule},
    error::{Error, Result},
    frame::Observation,
    lab::{End, Kind, Lab},
    network::{A, B, MTU, TRANSIT_AT_A, TRANSIT_AT_B, VOICE_PORTS},
    probe::probe,
    process::Process,
};

/// The environment variable that names the tool's program.
pub const TOOL: &str = "CARPOOL_SIMPLEMUX";
pub const LEFT: (&str, Ipv4Addr) = ("left", Ipv4Addr::new(198, 18, 1, 10));
pub const RIGHT: (&str, Ipv4Addr) = ("right", Ipv4Addr::new(203, 0, 113, 10));
/// Routers between left and right.
pub const ROUTERS: u8 = 3;
/// How long A and B wait for company.
pub const WINDOW: Duration = Duration::from_millis(5);
const READY_LIMIT: Duration = Duration::from_secs(15);

/// Left node and address, right node and address.
const LINKS: [(&str, &str, &str, &str); 4] = [
    ("left", "198.18.1.10/24", "A", "198.18.1.1/24"),
    ("A", "192.0.2.1/24", "transit", "192.0.2.2/24"),
    ("transit", "198.51.100.1/24", "B", "198.51.100.2/24"),
    ("B", "203.0.113.1/24", "right", "203.0.113.10/24"),
];
const WEST: &str = "198.18.0.0/16";
const EAST: &str = "203.0.113.0/24";

/// How separators are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    Normal,
    Fast,
}

impl Flavour {
    /// UDP source and destination port.
    pub fn port(self) -> u16 {
        match self {
            Self::Normal => 55_555,
            Self::Fast => 55_557,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Normal => "simplemux",
            Self::Fast => "simplemux-fast",
        }
    }
}

/// What stands in the place of B.
#[derive(Clone, Debug)]
pub enum Other {
    Carpool,
    /// The published tool, this program.
    Tool(PathBuf),
}

impl Other {
    /// The published tool, where [`TOOL`] names its program.
    pub fn tool() -> Option<Self> {
        std::env::var_os(TOOL).map(|path| Self::Tool(path.into()))
    }
}

/// The network, up and running.
#[derive(Debug)]
pub struct Line {
    /// Before the lab: they are ended before their namespaces go.
    pub a: Carpoold,
    pub b: Option<Carpoold>,
    tool: Option<Process>,
    pub lab: Lab,
}

impl Line {
    /// Builds it and returns when packets get from either end to the other.
    pub fn build(mut lab: Lab, flavour: Flavour, other: &Other) -> Result<Self> {
        for (name, _) in [LEFT, RIGHT] {
            lab.add(name, Kind::Host)?;
        }
        lab.add("A", Kind::Carpool)?;
        lab.add("transit", Kind::LinuxRouter)?;
        lab.add("B", if matches!(other, Other::Carpool) { Kind::Carpool } else { Kind::LinuxRouter })?;
        for (left, left_address, right, right_address) in LINKS {
            let [left, right] = [(left, left_address), (right, right_address)]
                .map(|(node, address)| Ok(End { node, address: net(address)? }));
            lab.link(left?, right?, MTU)?;
        }
        lab.route("left", "default", Ipv4Addr::new(198, 18, 1, 1))?;
        lab.route("right", "default", Ipv4Addr::new(203, 0, 113, 1))?;
        lab.route("transit", WEST, A)?;
        lab.route("transit", EAST, B)?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let a = Carpoold::start(&lab, "A", &configuration("A", 0, flavour, (B, TRANSIT_AT_A, EAST))?)?;
        let (mut b, mut tool) = (None, None);
        match other {
            Other::Carpool => {
                let configuration = configuration("B", 1 % cores, flavour, (A, TRANSIT_AT_B, WEST))?;
                b = Some(Carpoold::start(&lab, "B", &configuration)?);
            }
            Other::Tool(program) => tool = Some(start_tool(&lab, flavour, program)?),
        }
        let line = Self { a, b, tool, lab };
        for (from, to) in [(LEFT, RIGHT), (RIGHT, LEFT)] {
            probe(&line.lab, from, to, READY_LIMIT, || line.output())?;
        }
        Ok(line)
    }

    fn output(&self) -> String {
        let tool = self.tool.iter().map(Process::output);
        std::iter::once(self.a.output()).chain(self.b.iter().map(Carpoold::output)).chain(tool).collect()
    }

    /// Ends both routers and takes the network down.
    ///
    /// # Errors
    /// A router's account does not balance, or it does not end as it should; the tool has ended before.
    pub fn close(mut self) -> Result<()> {
        if let Some(mut tool) = self.tool.take()
            && tool.has_ended()
        {
            return Err(Error::Command { command: "the tool".to_owned(), output: tool.output() });
        }
        for router in std::iter::once(&mut self.a).chain(&mut self.b) {
            router.check_accounting()?;
            router.stop()?;
        }
        Ok(())
    }
}

/// What a carpoold is told whose peer, behind `via`, is the way to `far`.
fn configuration(
    name: &str,
    core: usize,
    flavour: Flavour,
    (peer, via, far): (Ipv4Addr, Ipv4Addr, &str),
) -> Result<Config> {
    let ends = LINKS.iter().flat_map(|&(left, left_address, right, right_address)| {
        [(left, right, left_address), (right, left, right_address)]
    });
    let ports = ends
        .filter(|(node, ..)| *node == name)
        .map(|(_, neighbour, address)| Ok(Port { interface: neighbour.to_owned(), address: net(address)?, mtu: MTU }));
    let far = net(far)?;
    Ok(Config {
        cores: vec![core],
        idle: Idle::Adaptive,
        dataplane: Vec::new(),
        ports: ports.collect::<Result<_>>()?,
        routes: vec![(far, via), (Ipv4Net::from(peer), via)],
        peers: Vec::new(),
        paths: vec![(far, vec![via, peer])],
        rules: vec![Rule {
            name: "voice".to_owned(),
            matching: format!("protocol = \"udp\", ports = \"{}-{}\"", VOICE_PORTS.0, VOICE_PORTS.1),
            max_size: 300,
            window: WINDOW,
            further: Vec::new(),
        }],
        further: vec![format!(
            "[[peer]]\nname = \"other\"\naddress = \"{peer}\"\nformat = \"{}\"\nassume = true",
            flavour.word()
        )],
    })
}

/// Starts the tool in B: what is routed into its interface leaves in datagrams to A, after at most [`WINDOW`].
fn start_tool(lab: &Lab, flavour: Flavour, program: &Path) -> Result<Process> {
    let program = fs::canonicalize(program).map_err(|_| Error::Missing {
        what: "the Simplemux tool".to_owned(),
        path: program.display().to_string(),
        remedy: format!("{TOOL} names it"),
    })?;
    let namespace = lab.namespace("B")?;
    lab.route("B", "192.0.2.0/24", TRANSIT_AT_B)?;
    namespace.ip(&["tuntap", "add", "dev", "mux", "mode", "tun"])?;
    namespace.ip(&["link", "set", "mux", "up"])?;
    namespace.ip(&["route", "add", WEST, "dev", "mux"])?;
    let mut command = namespace.command(&program.to_string_lossy());
    command.args(["-i", "mux", "-e", "transit", "-c", &A.to_string(), "-M", "udp", "-T", "tun"]);
    command.args(["-P", &WINDOW.as_micros().to_string()]);
    if flavour == Flavour::Fast {
        command.arg("-f");
    }
    Process::start("the tool", &mut command, &lab.directory().join("tool.log"))
}

fn net(text: &str) -> Result<Ipv4Net> {
    text.parse().map_err(|_| Error::Malformed { what: text.to_owned(), why: "it is no prefix".to_owned() })
}

/// The IPv4 packets in a datagram of this flavour; None for any other packet.
///
/// # Errors
/// It has the ports of one, and is none.
pub fn carried(observation: &Observation, flavour: Flavour) -> Result<Option<Vec<Vec<u8>>>> {
    let port = flavour.port();
    if observation.flow.destination.port() != port {
        return Ok(None);
    }
    let malformed =
        |why: &str| Error::Malformed { what: format!("a datagram, {}", observation.flow), why: why.to_owned() };
    if observation.flow.source.port() != port {
        return Err(malformed("it comes from another port"));
    }
    let mut rest = observation.payload().iter().copied();
    let mut packets = Vec::new();
    let mut is_single = false;
    while let Some(first) = rest.next() {
        let mut next = || rest.next().map(usize::from).ok_or_else(|| malformed("it ends within a separator"));
        let first = usize::from(first);
        let (length, protocol) = match flavour {
            Flavour::Fast => (first << 8 | next()?, Some(next()?)),
            Flavour::Normal => {
                let is_first = packets.is_empty();
                let (extended, bits) = if is_first { (first & 0x40 != 0, 0x3f) } else { (first & 0x80 != 0, 0x7f) };
                let mut length = first & bits;
                if extended {
                    length = length << 7 | next()?;
                }
                is_single = if is_first { first & 0x80 != 0 } else { is_single };
                (length, if is_first || !is_single { Some(next()?) } else { None })
            }
        };
        if protocol.is_some_and(|protocol| protocol != 4) {
            return Err(malformed("an entry is no IPv4 packet"));
        }
        let packet: Vec<u8> = rest.by_ref().take(length).collect();
        if packet.len() < length {
            return Err(malformed("it ends within an entry"));
        }
        packets.push(packet);
    }
    if packets.is_empty() { Err(malformed("it is empty")) } else { Ok(Some(packets)) }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use super::*;
    use crate::{
        capture::Direction,
        frame::{Flow, ethernet_frame, udp_packet},
    };

    fn seen(flavour: Flavour, payload: &[u8]) -> Observation {
        let end = |host| SocketAddrV4::new([192, 0, 2, host].into(), flavour.port());
        let packet = udp_packet(Flow { source: end(1), destination: end(2) }, 64, 1, payload);
        Observation::of(&ethernet_frame(&packet, Duration::ZERO, Direction::In)).expect("a UDP packet")
    }

    #[test]
    fn both_flavours_are_read_and_what_is_broken_is_said() {
        let fast = seen(Flavour::Fast, &[0, 2, 4, 8, 9, 0, 1, 4, 7]);
        let normal = seen(Flavour::Normal, &[0x82, 4, 8, 9, 1, 7]);
        let mixed = seen(Flavour::Normal, &[0x02, 4, 8, 9, 1, 4, 7]);
        for (flavour, observation) in [(Flavour::Fast, fast), (Flavour::Normal, normal), (Flavour::Normal, mixed)] {
            assert_eq!(carried(&observation, flavour).expect("sound"), Some(vec![vec![8, 9], vec![7]]));
        }
        let long = [&[0xc1, 0, 4][..], &[5; 128], &[0x81, 2], &[6; 130]].concat();
        let packets = carried(&seen(Flavour::Normal, &long), Flavour::Normal).expect("sound").expect("a datagram");
        assert_eq!(packets, [vec![5; 128], vec![6; 130]]);
        let broken = carried(&seen(Flavour::Normal, &[0x82, 4, 8]), Flavour::Normal).expect_err("broken");
        assert!(broken.to_string().contains("within an entry"), "{broken}");
    }
}
