//! Sender, router, receiver: three network namespaces in a row, and what the router in the middle counts.
//!
//! The router is a Linux kernel as it comes, with forwarding on. Its receive processing (NAPI) has a thread and a CPU of its
//! own (`/sys/class/net/*/threaded`, Linux 5.12): otherwise a veth's receiving would be done by whoever sends.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use carpool_tests::lab::{Alone, End, Kind, Lab};
use carpool_tests::namespace::Namespace;
use ipnet::Ipv4Net;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::sender::{self, Offer, Offered};
use super::spare_time::SpareTime;
use crate::cpu::Cpus;
use crate::error::BenchError;
use crate::network::{GATEWAY_MAC, ROUTER_MAC};

/// Names of the nodes; an interface is named after the neighbour at its other end.
const SENDER: &str = "sender";
const ROUTER: &str = "router";
const RECEIVER: &str = "receiver";
/// Bytes of IP packet, on both links.
const MTU: u16 = 1500;
/// The router's next hop.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// Where streams and pooled packets go.
const DESTINATIONS: [&str; 2] = ["198.18.0.0/15", "203.0.113.0/24"];
/// Between passes. Where all of this has real-time priority, other programs get their part of the CPU here: the kernel would else give
/// it to them in the middle of a pass (`sched_rt_runtime_us`, a twentieth of each second), and the router would lose packets meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the last frames may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the router has counted since it was made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Frames that its interface received.
    pub received: u64,
    /// Packets that it forwarded (`ForwDatagrams`, RFC 1213's ipForwDatagrams).
    pub forwarded: u64,
    /// Frames that found no room on the way to it.
    pub lost: u64,
}

impl Counts {
    /// What was counted since `before`.
    pub fn since(self, before: Counts) -> Counts {
        Counts {
            received: self.received - before.received,
            forwarded: self.forwarded - before.forwarded,
            lost: self.lost - before.lost,
        }
    }
}

/// The three nodes. Gone with their owner, and when a signal ends the process.
pub struct Network {
    lab: Lab,
    cpus: Cpus,
    _alone: Alone,
}

fn failed(error: impl std::fmt::Display) -> BenchError {
    BenchError::System(error.to_string())
}

impl Network {
    /// Makes it: the router on the CPU that is measured, all else on the other.
    pub fn new(cpus: Cpus) -> Result<Network, BenchError> {
        let alone = Alone::wait().map_err(failed)?;
        let mut lab = Lab::new().map_err(failed)?;
        for (name, kind) in [(SENDER, Kind::Host), (ROUTER, Kind::LinuxRouter), (RECEIVER, Kind::Host)] {
            lab.add(name, kind).map_err(failed)?;
        }
        for (left, right, network) in [(SENDER, ROUTER, [192, 0, 2]), (ROUTER, RECEIVER, [198, 51, 100])] {
            let [a, b, c] = network;
            // The router has .1 on either side.
            let address = |node| Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, if node == ROUTER { 1 } else { 2 }), 24);
            let end = |node| End { node, address: address(node) };
            lab.link(end(left), end(right), MTU).map_err(failed)?;
        }
        let router = lab.namespace(ROUTER).map_err(failed)?;
        router.ip(&["link", "set", SENDER, "address", &text(ROUTER_MAC)]).map_err(failed)?;
        // The receiver has another address, and drops frames that are not for it at the first look.
        let gateway = GATEWAY.to_string();
        let neighbour = ["neighbor", "add", &gateway, "lladdr", &text(GATEWAY_MAC), "dev", RECEIVER];
        router.ip(&[&neighbour[..], &["nud", "permanent"]].concat()).map_err(failed)?;
        for prefix in DESTINATIONS {
            lab.route(ROUTER, prefix, GATEWAY).map_err(failed)?;
        }
        give_thread(router, cpus.core)?;
        Ok(Network { lab, cpus, _alone: alone })
    }

    fn namespace(&self, name: &str) -> Result<&Namespace, BenchError> {
        self.lab.namespace(name).map_err(failed)
    }

    /// What the router has counted so far.
    pub fn counts(&self) -> Result<Counts, BenchError> {
        let read =
            |name, interface: &'static str| self.namespace(name)?.enter(move || device(interface)).map_err(failed)?;
        let (sent, received) = (read(SENDER, ROUTER)?, read(ROUTER, SENDER)?);
        let forwarded = self.namespace(ROUTER)?.enter(forwarded).map_err(failed)??;
        Ok(Counts { received: received.received, forwarded, lost: sent.send_dropped })
    }

    /// Has the sender offer these frames; returns what it offered and what the router did, once nothing is on its way any more.
    pub fn pass(
        &self,
        frames: &[(Vec<u8>, u16)],
        offer: Offer,
        duration: Duration,
    ) -> Result<(Offered, Counts), BenchError> {
        thread::sleep(PAUSE);
        let before = self.counts()?;
        let core = self.cpus.main_core;
        let sender = self.namespace(SENDER)?;
        let offered = thread::scope(|scope| {
            let spare = SpareTime::of(self.cpus.core, scope)?;
            sender.enter(|| sender::offer(ROUTER, frames, offer, duration, core, &spare)).map_err(failed)?
        })?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let counts = self.counts()?.since(before);
            if counts.received == counts.forwarded && counts.received + counts.lost == offered.frames {
                return Ok((offered, counts));
            }
            if Instant::now() > deadline {
                let Counts { received, forwarded, lost, .. } = counts;
                let problem = format!(
                    "of {} frames {received} arrived, {lost} found no room, {forwarded} were forwarded",
                    offered.frames
                );
                return Err(BenchError::WrongWork { case: "saving", contender: "linux", problem });
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The share of the router's CPU that is taken while nothing is sent, time slices of others left out.
    pub fn idle(&self, duration: Duration) -> Result<f64, BenchError> {
        thread::scope(|scope| {
            let spare = SpareTime::of(self.cpus.core, scope)?;
            let (before, started) = (spare.so_far(), Instant::now());
            thread::sleep(duration);
            let (found, time) = (spare.so_far().since(before), started.elapsed());
            Ok(1.0 - found.had.as_secs_f64() / (time - found.long_gaps).as_secs_f64())
        })
    }
}

/// Gives the receiving of the router's first interface a thread, and that a CPU, with priority.
fn give_thread(router: &Namespace, core: usize) -> Result<(), BenchError> {
    let before = receive_threads();
    // A veth receives by NAPI where it may merge packets (which it does for UDP only if asked to), as cards do.
    run(router.command("ethtool").args(["-K", SENDER, "gro", "on"]))?;
    run(router.command("sh").args(["-c", &format!("echo 1 > /sys/class/net/{SENDER}/threaded")]))?;
    let mut new = receive_threads().into_iter().filter(|pid| !before.contains(pid));
    let (Some(pid), None) = (new.next(), new.next()) else {
        return Err(failed("the kernel gave the router's receiving no thread of its own: Linux 5.12 does"));
    };
    let mut set = CpuSet::new();
    set.set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(pid), &set))
        .map_err(|errno| failed(format!("the router cannot be kept on CPU {core}: {errno}")))?;
    // As threads of interrupts have it: nothing else on this CPU delays it.
    run(Command::new("chrt").args(["--fifo", "--pid", "50", &pid.to_string()]))
}

/// The kernel's threads that receive for an interface of this name.
fn receive_threads() -> BTreeSet<i32> {
    let name = format!("napi/{SENDER}-");
    let is_one = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.starts_with(&name));
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_one).collect()
}

fn run(command: &mut Command) -> Result<(), BenchError> {
    let what = format!("{} {:?}", command.get_program().to_string_lossy(), command.get_args().collect::<Vec<_>>());
    let output = command.output().map_err(|error| failed(format!("{what}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// What an interface has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Device {
    received: u64,
    send_dropped: u64,
}

/// The counts of an interface of the calling thread's namespace.
fn device(interface: &str) -> Result<Device, BenchError> {
    let path = "/proc/thread-self/net/dev";
    let text = fs::read_to_string(path).map_err(|error| failed(format!("{path}: {error}")))?;
    parse_device(&text, interface).ok_or_else(|| failed(format!("{path} has no counts of {interface}")))
}

fn parse_device(text: &str, interface: &str) -> Option<Device> {
    let counts = text.lines().find_map(|line| {
        let (name, counts) = line.split_once(':')?;
        (name.trim() == interface).then_some(counts)
    })?;
    let counts: Vec<u64> = counts.split_whitespace().map_while(|count| count.parse().ok()).collect();
    Some(Device { received: *counts.get(1)?, send_dropped: *counts.get(11)? })
}

/// The packets that the calling thread's namespace has forwarded.
fn forwarded() -> Result<u64, BenchError> {
    let path = "/proc/thread-self/net/snmp";
    let text = fs::read_to_string(path).map_err(|error| failed(format!("{path}: {error}")))?;
    parse_forwarded(&text).ok_or_else(|| failed(format!("{path} does not count forwarded packets")))
}

fn parse_forwarded(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let column = names.split_whitespace().position(|name| name == "ForwDatagrams")?;
    values.split_whitespace().nth(column)?.parse().ok()
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_an_interface_are_read_by_its_whole_name() {
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
router2:      1       2    0    0    0     0          0         0        3       4    0    5    0     0       0          0
router:     740      10    0    1    0     0          0         0      140       2    0    7    0     0       0          0
";
        assert_eq!(parse_device(text, "router"), Some(Device { received: 10, send_dropped: 7 }));
        assert_eq!(parse_device(text, "out"), None);
    }

    #[test]
    fn forwarded_packets_are_found_by_the_name_of_their_column() {
        let text = "Ip: Forwarding DefaultTTL ForwDatagrams InUnknownProtos\nIp: 1 64 4711 0\nIcmp: InMsgs\nIcmp: 3\n";
        assert_eq!(parse_forwarded(text), Some(4711));
        assert_eq!(parse_forwarded("Ip: Forwarding\nIp: 1\n"), None);
    }
}
