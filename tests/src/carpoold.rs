//! A carpoold in a namespace of the lab: its configuration, its life and its death.

use std::{
    fmt::Write as _,
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use ipnet::Ipv4Net;
use nix::{
    sys::signal::Signal,
    unistd::{SysconfVar, sysconf},
};

use crate::{
    control::{self, Control},
    error::{Doing, Error, Result},
    lab::Lab,
    namespace::Namespace,
    process::Process,
};

/// EAL start, ports, sockets: two seconds are usual on a small machine, more where it is busy.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Flush, stop ports, give back every mbuf.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// What carpoold logs when it gave every mbuf back.
const ALL_BACK: &str = "every mbuf is back";
/// How often a question without an event to wait for is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What a worker does when it finds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    #[default]
    Adaptive,
    Spin,
}

impl Idle {
    pub fn word(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Spin => "spin",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Port {
    /// The veth it is, in the router's namespace; also the port's name.
    pub interface: String,
    pub address: Ipv4Net,
    pub mtu: u16,
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub name: String,
    /// The inside of `match = { ... }`.
    pub matching: String,
    /// Largest stream packet, bytes of IP packet.
    pub max_size: u16,
    pub window: Duration,
    /// Further keys, a line each, such as `shared_hops = 1`.
    pub further: Vec<String>,
}

/// The part of the configuration that the lab uses.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// A worker on each.
    pub cores: Vec<usize>,
    pub idle: Idle,
    /// Further keys of `[dataplane]`, a line each, such as `pool_on = "owner"`.
    pub dataplane: Vec<String>,
    pub ports: Vec<Port>,
    /// Prefix and gateway.
    pub routes: Vec<(Ipv4Net, Ipv4Addr)>,
    /// Name and address.
    pub peers: Vec<(String, Ipv4Addr)>,
    /// Prefix and hops.
    pub paths: Vec<(Ipv4Net, Vec<Ipv4Addr>)>,
    pub rules: Vec<Rule>,
    /// Tables with what is not listed above, as they are in the file.
    pub further: Vec<String>,
}

impl Config {
    /// As `carpoold --config` reads it.
    pub fn to_toml(&self) -> String {
        // Ordinary pages: hugepages that are free when a router looks can be another process's when it takes them.
        let mut text =
            format!("[dataplane]\ncores = {:?}\nidle  = \"{}\"\nmemory = \"no-huge\"\n", self.cores, self.idle.word());
        for line in &self.dataplane {
            let _ = writeln!(text, "{line}");
        }
        // The kernel spreads what arrives over as many queues as there are workers, by flow.
        let queues = if self.cores.len() > 1 { format!(",qpairs={}", self.cores.len()) } else { String::new() };
        // The driver's ring holds 512 frames unless told otherwise: too few for 100 ms without the processor, which a
        // machine that runs everything at once can take from a worker.
        let frames = 2048;
        // Writing to a String cannot fail.
        for (number, Port { interface, address, mtu }) in self.ports.iter().enumerate() {
            let _ = write!(
                text,
                "\n[[port]]\nname    = \"{interface}\"\ndevice  = \"net_af_packet{number},iface={interface},framecnt={frames}{queues}\"\n\
                 address = [\"{address}\"]\nmtu     = {mtu}\n"
            );
        }
        for (prefix, via) in &self.routes {
            let _ = write!(text, "\n[[route]]\nprefix = \"{prefix}\"\nvia    = \"{via}\"\n");
        }
        for (name, address) in &self.peers {
            let _ = write!(text, "\n[[peer]]\nname    = \"{name}\"\naddress = \"{address}\"\n");
        }
        for (prefix, hops) in &self.paths {
            let hops: Vec<_> = hops.iter().map(|hop| format!("\"{hop}\"")).collect();
            let _ = write!(text, "\n[[path]]\nprefix = \"{prefix}\"\nhops   = [{}]\n", hops.join(", "));
        }
        for Rule { name, matching, max_size, window, further } in &self.rules {
            let _ = write!(
                text,
                "\n[[rule]]\nname     = \"{name}\"\nmatch    = {{ {matching} }}\nmax_size = \"{max_size}B\"\n\
                 window   = \"{}us\"\n",
                window.as_micros()
            );
            for line in further {
                let _ = writeln!(text, "{line}");
            }
        }
        for table in &self.further {
            let _ = write!(text, "\n{table}\n");
        }
        text
    }
}

#[derive(Debug)]
pub struct Carpoold {
    name: String,
    namespace: Namespace,
    configuration: PathBuf,
    log: PathBuf,
    pub control: Control,
    process: Process,
}

impl Carpoold {
    /// Starts it in the namespace of the same name and waits until it answers.
    pub fn start(lab: &Lab, name: &str, config: &Config) -> Result<Self> {
        let configuration = lab.directory().join(format!("{name}.toml"));
        fs::write(&configuration, config.to_toml()).doing(format!("writing {}", configuration.display()))?;
        let socket = lab.directory().join(format!("{name}.sock"));
        let log = lab.directory().join(format!("{name}.log"));
        let control = Control { client: control::program("carpool")?, socket };
        let namespace = lab.namespace(name)?.clone();
        let process = launch(name, &namespace, &configuration, &control, &log)?;
        let mut router = Self { name: name.to_owned(), namespace, configuration, log, control, process };
        router.wait_until("it answers on its socket", START_LIMIT, |control| control.accounting().map(|_| true))?;
        Ok(router)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// All it has logged, over its lives.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// What it has logged once `enough` says so, or when `limit` is over.
    pub fn output_until(&self, limit: Duration, enough: impl Fn(&str) -> bool) -> String {
        let begin = Instant::now();
        loop {
            let output = self.output();
            if enough(&output) || begin.elapsed() > limit {
                return output;
            }
            thread::sleep(ASK_AGAIN);
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        !self.process.has_ended()
    }

    /// Asks until `holds` says so; a router that ended meanwhile is an error, with its last words.
    pub fn wait_until(
        &mut self,
        event: &str,
        limit: Duration,
        mut holds: impl FnMut(&Control) -> Result<bool>,
    ) -> Result<()> {
        let begin = Instant::now();
        loop {
            let seen = match holds(&self.control) {
                Ok(true) => return Ok(()),
                Ok(false) => "not yet".to_owned(),
                Err(error) => error.to_string(),
            };
            if self.process.has_ended() {
                let output = self.output();
                let output = if output.is_empty() { "it said nothing".to_owned() } else { output };
                return Err(Error::Command { command: format!("carpoold in {}", self.name), output });
            }
            if begin.elapsed() > limit {
                return Err(Error::Timeout { event: format!("{}: {event}", self.name), after: limit, seen });
            }
            thread::sleep(ASK_AGAIN);
        }
    }

    /// Waits until all its peers have shown that they live.
    pub fn wait_for_peers(&mut self, limit: Duration) -> Result<()> {
        self.wait_until("all its peers live", limit, |control| {
            let peers = control.peers()?;
            Ok(!peers.is_empty() && peers.iter().all(|peer| peer.alive))
        })
    }

    /// The text of its configuration file.
    pub fn configuration(&self) -> Result<String> {
        fs::read_to_string(&self.configuration).doing(format!("reading {}", self.configuration.display()))
    }

    /// Gives its configuration file another text and asks it to read that (SIGHUP). Does not wait.
    pub fn reconfigure(&self, text: &str) -> Result<()> {
        fs::write(&self.configuration, text).doing(format!("writing {}", self.configuration.display()))?;
        self.process.signal(Signal::SIGHUP)
    }

    /// Processor time it has used, all its threads together (proc(5), stat, fields 14 and 15).
    pub fn processor_time(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.pid());
        let stat = fs::read_to_string(&path).doing(format!("reading {path}"))?;
        // The second field is a name in parentheses, which may contain anything.
        let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
        let ticks: u64 = behind.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        let hertz = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|hertz| u64::try_from(hertz).ok());
        Ok(Duration::from_millis(ticks * 1000 / hertz.unwrap_or(100)))
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Starts it again after it ended, with the configuration it had. Does not wait.
    pub fn restart(&mut self) -> Result<()> {
        self.process = launch(&self.name, &self.namespace, &self.configuration, &self.control, &self.log)?;
        Ok(())
    }

    /// Whether the accounting equation of DESIGN.md holds now; says the figures where it does not.
    pub fn check_accounting(&self) -> Result<()> {
        let accounting = self.control.accounting()?;
        if accounting.balances() {
            return Ok(());
        }
        Err(Error::Malformed { what: format!("the accounting of {}", self.name), why: accounting.to_string() })
    }

    /// SIGTERM: it must exit with 0 and say that every mbuf is back.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.process.terminate(STOP_LIMIT)?;
        let output = self.output();
        let all_back = output.lines().any(|line| line.contains(ALL_BACK));
        if status.success() && all_back {
            return Ok(());
        }
        Err(Error::Malformed {
            what: format!("the end of carpoold in {}", self.name),
            why: format!("{status}, every mbuf back: {all_back}; it logged: {output}"),
        })
    }

    pub(crate) fn leave_running(&mut self) {
        self.process.leave_running();
    }
}

fn launch(
    name: &str,
    namespace: &Namespace,
    configuration: &PathBuf,
    control: &Control,
    log: &std::path::Path,
) -> Result<Process> {
    let program = control::program("carpoold")?;
    let mut command = namespace.command(&program.to_string_lossy());
    command.arg("--config").arg(configuration).arg("--socket").arg(&control.socket);
    // Where DPDK puts its shared files: they go with the lab, also where the router is killed.
    command.env("RUNTIME_DIRECTORY", control.socket.parent().unwrap_or(std::path::Path::new("/run")));
    Process::start(name, &mut command, log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_written_in_the_words_of_the_design() {
        let config = Config {
            cores: vec![1],
            idle: Idle::Spin,
            dataplane: Vec::new(),
            ports: vec![Port { interface: "transit".into(), address: "192.0.2.1/24".parse().unwrap(), mtu: 1500 }],
            routes: vec![("203.0.113.0/24".parse().unwrap(), "192.0.2.2".parse().unwrap())],
            peers: vec![("east".into(), "198.51.100.2".parse().unwrap())],
            paths: vec![(
                "203.0.113.0/24".parse().unwrap(),
                vec!["192.0.2.2".parse().unwrap(), "198.51.100.2".parse().unwrap()],
            )],
            rules: vec![Rule {
                name: "voice".into(),
                matching: "protocol = \"udp\"".into(),
                max_size: 300,
                window: Duration::from_millis(5),
                further: vec!["shared_hops = 1".into()],
            }],
            further: vec!["[[peer]]\nname = \"west\"".into()],
        };
        let text = config.to_toml();
        for line in [
            "cores = [1]",
            "idle  = \"spin\"",
            "device  = \"net_af_packet0,iface=transit,framecnt=2048\"",
            "hops   = [\"192.0.2.2\", \"198.51.100.2\"]",
            "match    = { protocol = \"udp\" }",
            "name = \"west\"",
            "window   = \"5000us\"",
            "shared_hops = 1",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
