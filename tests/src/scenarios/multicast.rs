//! One source, one branch node, three receivers behind two peers, and ordinary routers between that know no multicast.
//!
//! ```text
//!                     ┌── west ──── B ─┬─ r1
//! source ──── A ──────┤                └─ r2
//!          (branch)   └── east ──── C ─── r3
//! ```
//!
//! Half of the streams go to a group of IPv4, half to one of IPv6. Receivers join both on real sockets. Each link must carry
//! each packet once, and `west` and `east` see none but in pooled packets, which are of IPv4.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use nix::{
    net::if_::if_nametoindex,
    sys::socket::{setsockopt, sockopt::RcvBufForce},
};
use serde::{Deserialize, Serialize};

use crate::{
    capture::Direction,
    carpoold::{Carpoold, Config, Port},
    error::{Doing, Error, Result},
    lab::{End, Kind, Lab},
    scenarios::{
        Plan, packet6,
        traffic::{self, Carried, Received},
    },
};

/// The groups that the streams go to.
pub const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
pub const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 0x8001, 0x203);
const SOURCE: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 10);
const SOURCE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 10);
const RECEIVERS: [(&str, Ipv4Addr, &str); 3] = [
    ("r1", Ipv4Addr::new(203, 0, 113, 10), "B"),
    ("r2", Ipv4Addr::new(203, 0, 113, 74), "B"),
    ("r3", Ipv4Addr::new(203, 0, 113, 138), "C"),
];
/// What is written behind the name of a receiver where it is about IPv6.
const OVER_IPV6: &str = " IPv6";
const LINKS: [(&str, &str, &str, &str); 8] = [
    ("source", "198.18.1.10/24", "A", "198.18.1.1/24"),
    ("A", "192.0.2.1/26", "west", "192.0.2.2/26"),
    ("west", "198.51.100.1/26", "B", "198.51.100.2/26"),
    ("A", "192.0.2.65/26", "east", "192.0.2.66/26"),
    ("east", "198.51.100.65/26", "C", "198.51.100.66/26"),
    ("B", "203.0.113.1/26", "r1", "203.0.113.10/26"),
    ("B", "203.0.113.65/26", "r2", "203.0.113.74/26"),
    ("C", "203.0.113.129/26", "r3", "203.0.113.138/26"),
];
const MTU: u16 = 1500;
/// Nodes that forward a packet as itself: A and B, or A and C.
const NODES: u8 = 2;
const READY: Duration = Duration::from_secs(20);

/// Keys as `scripts/demo multicast --json` prints them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub scenario: String,
    pub streams: u16,
    pub window_us: u64,
    /// Packets that the source sent.
    pub sent: usize,
    pub receivers: Vec<Received>,
    /// All receivers got every packet, byte for byte.
    pub identical: bool,
    /// The links to and from the ordinary routers, in the direction of the receivers.
    pub links: Vec<Carried>,
    /// The most copies of a packet that a link carried, on average over its packets.
    pub copies_per_link: f64,
    /// Stream packets per packet on the links between the branch node and its peers.
    pub ratio: f64,
    /// Payloads that each receiver's own socket took.
    pub joined: Vec<usize>,
}

impl Report {
    pub fn succeeded(&self) -> bool {
        self.receivers.iter().all(Received::perfect)
            && self.identical
            && (self.copies_per_link - 1.0).abs() < 1e-9
            && self.links.iter().all(|link| link.unpooled == 0)
            && self.ratio > 1.5
            && self.joined.iter().all(|taken| *taken == self.sent)
    }

    /// What a person reads.
    pub fn sentence(&self) -> String {
        let delivered: Vec<_> =
            self.receivers.iter().map(|one| format!("{} {}", one.receiver, one.delivered)).collect();
        format!(
            "{} packets to {GROUP} and {GROUP6} in {} streams; received by {}. Each link carried each packet {:.2} times, {:.2} to a \
             pooled packet.",
            self.sent,
            self.streams,
            delivered.join(", "),
            self.copies_per_link,
            self.ratio
        )
    }
}

/// Builds the network, sends, compares, and takes everything down.
pub fn run(mut lab: Lab, plan: Plan) -> Result<Report> {
    build(&mut lab)?;
    let mut routers = start(&lab, plan)?;
    for router in &mut routers {
        router.wait_for_peers(READY)?;
    }
    let streams6 = plan.streams / 2;
    let mut targets = traffic::targets(GROUP, plan.streams - streams6);
    targets.extend(traffic::targets(GROUP6, streams6));
    let sockets = join(&lab, &targets)?;
    let source = traffic::record(&lab, "source", "A")?;
    let between: Vec<_> = ["west", "east"]
        .into_iter()
        .map(|node| Ok((node, traffic::record(&lab, node, "A")?, peer_of(node))))
        .collect::<Result<_>>()?;
    let behind: Vec<_> =
        ["west", "east"].into_iter().map(|node| traffic::record(&lab, node, peer_of(node))).collect::<Result<_>>()?;
    let receivers: Vec<_> =
        RECEIVERS.iter().map(|(name, _, router)| traffic::record(&lab, name, router)).collect::<Result<_>>()?;

    let sent = traffic::send(&lab, "source", &[SOURCE.into(), SOURCE6.into()], &targets, plan.duration)?;
    let sent6 = sent * usize::from(streams6) / targets.len();
    for capture in &receivers {
        traffic::wait_for(capture, sent - sent6);
        capture.wait_until(traffic::LATE, |frames| packet6::packets_to(frames, Direction::In, GROUP6).len() >= sent6);
    }

    let source = traffic::whole(source)?;
    let source6 = packet6::packets_to(&source.frames, Direction::Out, GROUP6);
    let source = traffic::streams(&source, Direction::Out);
    let mut report = Report {
        scenario: "multicast".to_owned(),
        streams: plan.streams,
        window_us: u64::try_from(plan.window.as_micros()).unwrap_or(u64::MAX),
        sent,
        receivers: Vec::new(),
        identical: true,
        links: Vec::new(),
        copies_per_link: 0.0,
        ratio: 0.0,
        joined: sockets.iter().map(|sockets| taken(sockets)).collect(),
    };
    for (capture, (name, ..)) in receivers.into_iter().zip(RECEIVERS) {
        let recorded = traffic::whole(capture)?;
        let (received, _) = Received::of(name, &source, &traffic::streams(&recorded, Direction::In), NODES);
        let came6 = packet6::packets_to(&recorded.frames, Direction::In, GROUP6);
        let received6 = packet6::compare(&format!("{name}{OVER_IPV6}"), &source6, &came6, NODES);
        report.identical &= received.identical && received6.identical;
        report.receivers.extend([received, received6]);
    }
    for ((node, capture, peer), capture_behind) in between.into_iter().zip(behind) {
        report.links.push(Carried::of(&format!("A-{node}"), &traffic::whole(capture)?, Direction::In));
        report.links.push(Carried::of(&format!("{node}-{peer}"), &traffic::whole(capture_behind)?, Direction::Out));
    }
    report.copies_per_link = report.links.iter().map(|link| link.copies(sent)).fold(0.0, f64::max);
    let (rows, packets) = report
        .links
        .iter()
        .fold((0, 0), |(rows, packets), link| (rows + link.rows, packets + link.pooled_packets + link.unpooled));
    report.ratio = rows as f64 / packets.max(1) as f64;
    for router in &mut routers {
        router.check_accounting()?;
        router.stop()?;
    }
    Ok(report)
}

fn peer_of(node: &str) -> &'static str {
    if node == "west" { "B" } else { "C" }
}

fn build(lab: &mut Lab) -> Result<()> {
    let hosts = RECEIVERS.iter().map(|(name, ..)| *name).chain(["source"]);
    for host in hosts.clone() {
        lab.add(host, Kind::Host)?;
    }
    for router in ["A", "B", "C"] {
        lab.add(router, Kind::Carpool)?;
    }
    for router in ["west", "east"] {
        lab.add(router, Kind::LinuxRouter)?;
    }
    for (left, left_address, right, right_address) in LINKS {
        let (left, right) =
            (End { node: left, address: net(left_address)? }, End { node: right, address: net(right_address)? });
        lab.link(left, right, MTU)?;
        for (host, router) in [(left, right), (right, left)] {
            if hosts.clone().any(|name| name == host.node) {
                lab.route(host.node, "default", router.address.addr())?;
                lab.ipv6(host.node, router.node, address6(host.node)?)?;
            }
        }
    }
    Ok(())
}

fn start(lab: &Lab, plan: Plan) -> Result<Vec<Carpoold>> {
    let (b, c) = (Ipv4Addr::new(198, 51, 100, 2), Ipv4Addr::new(198, 51, 100, 66));
    let (a_west, a_east) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 65));
    let rule = traffic::rule(plan.window);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let config = |node: &str, core: usize, routes, peers, more: String| -> Result<Config> {
        Ok(Config {
            cores: vec![core % cores],
            idle: plan.idle,
            ports: ports(node)?,
            routes,
            peers,
            rules: vec![rule.clone()],
            further: vec![more],
            ..Config::default()
        })
    };
    let route = |from: &str, to: &str| {
        let one = |group: &str, source: &str| {
            format!(
                "\n[[multicast]]\ngroup  = \"{group}\"\nsource = \"{source}\"\nfrom   = \"{from}\"\nto     = [{to}]\n"
            )
        };
        one(&GROUP.to_string(), &SOURCE.to_string()) + &one(&GROUP6.to_string(), &SOURCE6.to_string())
    };
    let a = config(
        "A",
        0,
        vec![
            (net("198.51.100.0/26")?, Ipv4Addr::new(192, 0, 2, 2)),
            (net("198.51.100.64/26")?, Ipv4Addr::new(192, 0, 2, 66)),
        ],
        vec![("toB".to_owned(), b), ("toC".to_owned(), c)],
        route("source", "\"toB\", \"toC\""),
    )?;
    let b = config(
        "B",
        1,
        vec![(net("192.0.2.0/26")?, Ipv4Addr::new(198, 51, 100, 1))],
        vec![("branch".to_owned(), a_west)],
        route("branch", "\"r1\", \"r2\""),
    )?;
    let c = config(
        "C",
        1,
        vec![(net("192.0.2.64/26")?, Ipv4Addr::new(198, 51, 100, 65))],
        vec![("branch".to_owned(), a_east)],
        route("branch", "\"r3\""),
    )?;
    [("A", a), ("B", b), ("C", c)].iter().map(|(name, config)| Carpoold::start(lab, name, config)).collect()
}

fn ports(node: &str) -> Result<Vec<Port>> {
    LINKS
        .iter()
        .flat_map(|&(left, left_address, right, right_address)| {
            [(left, right, left_address), (right, left, right_address)]
        })
        .filter(|(own, ..)| *own == node)
        .map(|(_, neighbour, address)| Ok(Port { interface: neighbour.to_owned(), address: net(address)?, mtu: MTU }))
        .collect()
}

/// Bytes of kernel memory for what a socket takes: that of minutes of a stream.
const ROOM: usize = 16 << 20;

/// A socket at each receiver for each stream, which has joined the group.
fn join(lab: &Lab, targets: &[traffic::Target]) -> Result<Vec<Vec<UdpSocket>>> {
    RECEIVERS
        .iter()
        .map(|(name, address, router)| {
            lab.namespace(name)?.enter(|| -> Result<Vec<UdpSocket>> {
                let interface = if_nametoindex(*router).doing(format!("looking for {router} in {name}"))?;
                targets
                    .iter()
                    .map(|target| {
                        let socket = UdpSocket::bind(target).doing(format!("binding to {target} in {name}"))?;
                        // What it takes stays in it until the end.
                        setsockopt(&socket, RcvBufForce, &ROOM).doing("making room in a socket")?;
                        match target {
                            SocketAddr::V4(target) => socket.join_multicast_v4(target.ip(), address),
                            SocketAddr::V6(target) => socket.join_multicast_v6(target.ip(), interface),
                        }
                        .doing(format!("joining {target} in {name}"))?;
                        socket.set_nonblocking(true).doing("having a socket not wait")?;
                        Ok(socket)
                    })
                    .collect()
            })?
        })
        .collect()
}

/// What a host is called in IPv6: the source as it is, receivers by their place among them.
fn address6(host: &str) -> Result<ipnet::Ipv6Net> {
    let nth = RECEIVERS.iter().position(|(name, ..)| *name == host);
    let address = nth.map_or(format!("{SOURCE6}/64"), |nth| format!("2001:db8:2:{nth}::10/64"));
    address.parse().map_err(|_| Error::Malformed { what: address, why: "it is no prefix".to_owned() })
}

/// How many packets the sockets of a receiver have taken.
fn taken(sockets: &[UdpSocket]) -> usize {
    let mut buffer = [0; 2048];
    sockets.iter().map(|socket| std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()).sum()
}

fn net(text: &str) -> Result<ipnet::Ipv4Net> {
    text.parse().map_err(|_| Error::Malformed { what: text.to_owned(), why: "it is no prefix".to_owned() })
}
