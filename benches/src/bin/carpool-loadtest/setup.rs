//! The bench set-up: a carpoold of its own, joined to the generator by virtual ports on this machine.
//!
//! ```text
//! generator ── west ── carpoold ── east ── generator
//! 192.0.2.2    192.0.2.1   198.51.100.1    198.51.100.2, the next hop and, for pools, the peer
//! ```

use std::fmt;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use carpool_benches::child;
use carpool_benches::interrupt::Interrupt;
use carpool_tests::control::{self, Control};
use carpool_tests::lab::{Kind as Node, Lab};
use carpool_tests::process::Process;
use clap::ValueEnum;

use crate::error::{LoadError, Result};
use crate::patience::wait;
use crate::router::Router;
use crate::workplace::Workplace;

/// The generator's address where it sends.
pub const GENERATOR_WEST: &str = "192.0.2.2";
/// Its address where it receives.
pub const GENERATOR_EAST: &str = "198.51.100.2";
/// Its Ethernet addresses.
const MACS: [&str; 2] = ["02:00:00:00:02:02", "02:00:00:00:01:02"];
/// Where streams go: the networks of RFC 2544, and room for a million destinations.
const DESTINATIONS: [&str; 2] = ["198.18.0.0/15", "10.0.0.0/8"];

/// Start of a router, its ports included.
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Frames in the rings of af_packet: some milliseconds without a processor must not empty them.
const RING: &str = "framecnt=2048";

/// How the router and the generator are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ports {
    /// vhost-user in the router, virtio-user in the generator: needs neither root nor network interfaces
    Vhost,
    /// memif, by shared memory
    Memif,
    /// veth pairs in network namespaces, by af_packet: what the kernel carries; needs root
    AfPacket,
}

impl fmt::Display for Ports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Ports::Vhost => "vhost-user and virtio-user",
            Ports::Memif => "memif",
            Ports::AfPacket => "veth pairs by af_packet",
        })
    }
}

/// What the set-up is made for.
#[derive(Clone, Debug)]
pub struct Plan {
    pub ports: Ports,
    /// CPU of the router's worker.
    pub core: usize,
    pub hugepages: bool,
    /// Stream packets are pooled to the generator, for so long at most.
    pub window: Option<Duration>,
    /// The generator does not receive: what the router sends vanishes in its port.
    pub one_way: bool,
}

/// A carpoold, and the namespaces it needs. It ends with this.
pub struct Setup {
    pub router: Router,
    /// The generator's devices, and its namespace where it has one.
    pub devices: [String; 2],
    pub namespace: Option<String>,
    // In the order in which they have to go.
    process: Process,
    _lab: Option<Lab>,
}

impl Setup {
    /// Starts the router and waits until it answers.
    pub fn start(plan: &Plan, workplace: &Workplace, interrupt: &Interrupt) -> Result<Setup> {
        let lab = if plan.ports == Ports::AfPacket { Some(veth_pairs()?) } else { None };
        let (mut ours, devices) = devices(plan.ports, workplace.path());
        if plan.one_way {
            ours[1] = "net_null0,no-rx=1".into();
        }
        let configuration = workplace.file("carpool.toml");
        write(&configuration, &to_toml(plan, &ours))?;
        let control = Control { client: control::program("carpool")?, socket: workplace.file("control.sock") };
        let log = workplace.file("carpoold.log");
        let program = control::program("carpoold")?;
        let namespace = |name: &str| -> Result<Option<String>> {
            Ok(match &lab {
                Some(lab) => Some(lab.namespace(name)?.full_name().to_owned()),
                None => None,
            })
        };
        let mut command = match namespace("router")? {
            Some(namespace) => {
                let mut command = child::command("ip");
                command.args(["netns", "exec", &namespace]).arg(&program);
                command
            }
            None => child::command(&program),
        };
        command.arg("--config").arg(&configuration).arg("--socket").arg(&control.socket);
        command.env("RUNTIME_DIRECTORY", workplace.path());
        let mut process = Process::start("carpoold", &mut command, &log)?;
        let answers = wait(interrupt, START_LIMIT, || {
            if process.has_ended() {
                let words = process.output();
                let last = words.lines().next_back().unwrap_or("it said nothing").to_owned();
                return Err(LoadError::System(format!("carpoold ended while it started: {last}")));
            }
            Ok(control.accounting().is_ok().then_some(()))
        })?;
        if answers.is_none() {
            let words = process.output();
            let last = words.lines().next_back().unwrap_or("it said nothing");
            return Err(LoadError::System(format!(
                "carpoold did not answer within {} s: {last}",
                START_LIMIT.as_secs()
            )));
        }
        let router = Router::new(control, Some(["west".into(), "east".into()]))?;
        let namespace = namespace("generator")?;
        Ok(Setup { router, devices, namespace, process, _lab: lab })
    }

    /// Where its packet memory is, and whatever else it said about itself when it started.
    pub fn said(&self) -> Vec<String> {
        let text = self.process.output();
        // The log has one router behind the other: it is the last one's.
        let own = text.rfind(" DPDK ").and_then(|at| text.get(at + 1..)).unwrap_or(&text);
        let said = own.lines().map(|line| line.split_once("INFO ] ").map_or(line, |(_, said)| said).to_owned());
        said.filter(|said| said.starts_with("DPDK") || said.starts_with("worker")).collect()
    }

    /// Ends the router; an error where it does not account for every packet.
    pub fn stop(mut self) -> Result<()> {
        let status = self.process.terminate(STOP_LIMIT)?;
        if status.success() {
            return Ok(());
        }
        let words = self.process.output();
        let last = words.lines().next_back().unwrap_or("it said nothing");
        Err(LoadError::System(format!("carpoold ended with {status}: {last}")))
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|source| LoadError::File { doing: "writing", path: path.to_owned(), source })
}

/// The router's devices and the generator's.
fn devices(ports: Ports, directory: &Path) -> ([String; 2], [String; 2]) {
    let socket = |name: &str| directory.join(name).display().to_string();
    let both = |device: fn(usize, &str, &str) -> String| {
        [device(0, &socket("west.port"), MACS[0]), device(1, &socket("east.port"), MACS[1])]
    };
    match ports {
        Ports::Vhost => (
            both(|number, socket, _| format!("net_vhost{number},iface={socket}")),
            both(|number, socket, mac| format!("net_virtio_user{number},path={socket},mac={mac},queue_size=1024")),
        ),
        Ports::Memif => (
            both(|number, socket, _| {
                format!("net_memif{number},role=server,id={number},socket={socket},socket-abstract=no")
            }),
            both(|number, socket, mac| {
                format!("net_memif{number},role=client,id={number},socket={socket},socket-abstract=no,mac={mac}")
            }),
        ),
        Ports::AfPacket => {
            let all = ["west", "east"].iter().enumerate();
            let all: Vec<_> = all.map(|(number, name)| format!("net_af_packet{number},iface={name},{RING}")).collect();
            let all = [all[0].clone(), all[1].clone()];
            (all.clone(), all)
        }
    }
}

/// Two veth pairs between two namespaces, with nothing of the kernel's own on them.
fn veth_pairs() -> Result<Lab> {
    let mut lab = Lab::new()?;
    for name in ["router", "generator"] {
        lab.add(name, Node::Carpool)?;
    }
    let (router, generator) = (lab.namespace("router")?, lab.namespace("generator")?);
    for (name, mac) in ["west", "east"].into_iter().zip(MACS) {
        router.ip(&["link", "add", name, "type", "veth", "peer", "name", name, "netns", generator.full_name()])?;
        generator.ip(&["link", "set", name, "address", mac])?;
        for namespace in [router, generator] {
            namespace.ip(&["link", "set", name, "mtu", "1500", "up"])?;
            let off = ["rx", "off", "tx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "off"];
            let output = namespace.command("ethtool").args(["-K", name]).args(off).output();
            if !output.is_ok_and(|output| output.status.success()) {
                return Err(LoadError::System(format!("ethtool did not switch off the offloads of {name}")));
            }
        }
    }
    Ok(lab)
}

/// The router's configuration.
fn to_toml(plan: &Plan, devices: &[String; 2]) -> String {
    let memory = if plan.hugepages { "auto" } else { "no-huge" };
    let [west, east] = devices;
    let mut text = format!(
        "[dataplane]\ncores = [{}]\nidle = \"spin\"\nmemory = \"{memory}\"\n\n\
         [[port]]\nname = \"west\"\ndevice = \"{west}\"\naddress = [\"192.0.2.1/24\"]\n\n\
         [[port]]\nname = \"east\"\ndevice = \"{east}\"\naddress = [\"198.51.100.1/24\"]\n",
        plan.core
    );
    for (address, mac, port) in [(GENERATOR_WEST, MACS[0], "west"), (GENERATOR_EAST, MACS[1], "east")] {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n[[neighbor]]\naddress = \"{address}\"\nmac = \"{mac}\"\nport = \"{port}\"\n");
    }
    for prefix in DESTINATIONS {
        let _ = write!(text, "\n[[route]]\nprefix = \"{prefix}\"\nvia = \"{GENERATOR_EAST}\"\n");
    }
    if let Some(window) = plan.window {
        // The generator is the far end, and says no hellos: it is taken to live.
        let _ = write!(
            text,
            "\n[[peer]]\nname = \"generator\"\naddress = \"{GENERATOR_EAST}\"\nassume = true\nprobe_mtu = false\n\
             mtu = 1500\n"
        );
        for prefix in DESTINATIONS {
            let _ = write!(text, "\n[[path]]\nprefix = \"{prefix}\"\nhops = [\"{GENERATOR_EAST}\"]\n");
        }
        let _ = write!(
            text,
            "\n[[rule]]\nname = \"load\"\nmatch = {{ protocol = \"udp\" }}\nwindow = \"{}us\"\n",
            window.as_micros()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_pools_only_where_they_are_measured() {
        let plan = Plan { ports: Ports::Vhost, core: 1, hugepages: false, window: None, one_way: false };
        let (ours, theirs) = devices(plan.ports, Path::new("/tmp/x"));
        let plain = to_toml(&plan, &ours);
        assert!(plain.contains("net_vhost0,iface=/tmp/x/west.port") && !plain.contains("[[rule]]"), "{plain}");
        assert!(theirs[1].contains("path=/tmp/x/east.port"), "{theirs:?}");
        let pools = to_toml(&Plan { window: Some(Duration::from_micros(200)), ..plan }, &ours);
        assert!(pools.contains("window = \"200us\"") && pools.contains("assume = true"), "{pools}");
    }
}
