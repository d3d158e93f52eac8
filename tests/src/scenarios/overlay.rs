//! Overlay nodes with one port on an ordinary network, which knows nothing of what is behind the last of them.
//!
//! ```text
//! source ── A ── core ── D ── far
//!              │  │  │
//!              B  C  near
//! ```
//!
//! A, B, C and D are overlay nodes, B and C hosts with one port. Packets to `far` go A, B, C, D; those to `near` get out at
//! C, two overlay hops on. B sends on what A pooled at once, readdressed: as many pooled packets leave it as come.

use std::{net::Ipv4Addr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    capture::{Direction, Recorded},
    carpoold::{Carpoold, Config, Port},
    error::{Error, Result},
    frame::observe,
    lab::{End, Kind, Lab},
    probe::probe,
    scenarios::{
        Plan,
        traffic::{self, Carried, Received},
    },
    transit,
};

const SOURCE: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 10);
const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 9, 10);
const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 65);
const C: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 129);
const D: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 193);
const LINKS: [(&str, &str, &str, &str); 7] = [
    ("source", "198.18.1.10/24", "A", "198.18.1.1/24"),
    ("A", "192.0.2.1/26", "core", "192.0.2.2/26"),
    ("B", "192.0.2.65/26", "core", "192.0.2.66/26"),
    ("C", "192.0.2.129/26", "core", "192.0.2.130/26"),
    ("D", "192.0.2.193/26", "core", "192.0.2.194/26"),
    ("near", "198.18.9.10/24", "core", "198.18.9.1/24"),
    ("D", "203.0.113.1/26", "far", "203.0.113.10/26"),
];
const MTU: u16 = 1500;
const READY: Duration = Duration::from_secs(20);

/// Keys as `scripts/demo overlay --json` prints them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub scenario: String,
    pub streams: u16,
    pub window_us: u64,
    /// Packets that the source sent, to both receivers together.
    pub sent: usize,
    pub receivers: Vec<Received>,
    /// Both receivers got every packet, byte for byte.
    pub identical: bool,
    /// The links of the overlay nodes, in the direction of the receivers.
    pub links: Vec<Carried>,
    /// Stream packets per packet between A and B.
    pub ratio: f64,
    /// The TTLs of rows on the way from A to B, from B to C, and from C to D, each ones that occurred.
    pub row_ttls: [Vec<u8>; 3],
    /// Stream packets that B and C sent on without taking them out.
    pub readdressed: [u64; 2],
}

impl Report {
    pub fn succeeded(&self) -> bool {
        let rows = |link: &str| self.links.iter().find(|carried| carried.link == link).map(|carried| carried.rows);
        let packets =
            |link: &str| self.links.iter().find(|carried| carried.link == link).map(|carried| carried.pooled_packets);
        let one_less: Vec<_> = self.row_ttls[0].iter().map(|ttl| ttl.saturating_sub(1)).collect();
        let far = self.receivers.first().map(|far| far.sent);
        self.receivers.iter().all(Received::perfect)
            && self.identical
            && self.ratio > 1.5
            && rows("to B") == Some(self.sent)
            && rows("from B") == Some(self.sent)
            // No window is waited for at B: what comes in together goes out together.
            && packets("from B") == packets("to B")
            && rows("from C") == far
            && rows("to D") == far
            && self.row_ttls == [vec![2, 3], one_less, vec![1]]
            && self.readdressed[0] == self.sent as u64
            && self.readdressed[1] > 0
    }

    /// What a person reads.
    pub fn sentence(&self) -> String {
        let delivered: Vec<_> =
            self.receivers.iter().map(|one| format!("{} {}", one.receiver, one.delivered)).collect();
        format!(
            "{} packets in {} streams; received by {}. {:.2} to a pooled packet from A to B; B sent {} of them on to C, and \
             C {} on to D, as they came.",
            self.sent,
            self.streams,
            delivered.join(", "),
            self.ratio,
            self.readdressed[0],
            self.readdressed[1]
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
    for (name, address) in [("far", FAR), ("near", NEAR)] {
        probe(&lab, ("source", SOURCE), (name, address), READY, String::new)?;
    }
    // Probes are readdressed like others: they do not count.
    let before = readdressed(&routers)?;
    let mut targets = traffic::targets(FAR, plan.streams / 2);
    targets.extend(traffic::targets(NEAR, plan.streams).split_off(usize::from(plan.streams / 2)));
    let source = traffic::record(&lab, "source", "A")?;
    let at_core: Vec<_> =
        ["B", "C", "D"].into_iter().map(|node| traffic::record(&lab, "core", node)).collect::<Result<_>>()?;
    let receivers =
        [("far", "D"), ("near", "core")].map(|(name, neighbour)| (name, traffic::record(&lab, name, neighbour)));

    let sent = traffic::send(&lab, "source", &[SOURCE.into()], &targets, plan.duration)?;
    let per_target = sent / targets.len().max(1);
    let to_far = per_target * usize::from(plan.streams / 2);
    for ((_, capture), count) in receivers.iter().zip([to_far, sent - to_far]) {
        if let Ok(capture) = capture {
            traffic::wait_for(capture, count);
        }
    }

    let source = traffic::streams(&traffic::whole(source)?, Direction::Out);
    let mut report = Report {
        scenario: "overlay".to_owned(),
        streams: plan.streams,
        window_us: u64::try_from(plan.window.as_micros()).unwrap_or(u64::MAX),
        sent,
        receivers: Vec::new(),
        identical: true,
        links: Vec::new(),
        ratio: 0.0,
        row_ttls: Default::default(),
        readdressed: [0, 0],
    };
    // As itself a packet is forwarded by A, and where it gets out; by the core too on the way to `near`.
    for ((name, capture), (address, nodes)) in receivers.into_iter().zip([(FAR, 2), (NEAR, 3)]) {
        let came = traffic::streams(&traffic::whole(capture?)?, Direction::In);
        let sent: Vec<_> = source.iter().filter(|packet| *packet.flow.destination.ip() == address).cloned().collect();
        let (received, _) = Received::of(name, &sent, &came, nodes);
        report.identical &= received.identical;
        report.receivers.push(received);
    }
    let recorded: Vec<Recorded> = at_core.into_iter().map(traffic::whole).collect::<Result<_>>()?;
    if let [b, c, d] = &recorded[..] {
        report.links = vec![
            Carried::of("to B", b, Direction::Out),
            Carried::of("from B", b, Direction::In),
            Carried::of("to C", c, Direction::Out),
            // `near` gets its packets from C as themselves.
            Carried::of("from C", c, Direction::In),
            Carried::of("to D", d, Direction::Out),
        ];
        report.row_ttls = [ttls(b, Direction::Out), ttls(b, Direction::In), ttls(c, Direction::In)];
    }
    if let Some(first) = report.links.first() {
        report.ratio = first.rows as f64 / first.pooled_packets.max(1) as f64;
    }
    let after = readdressed(&routers)?;
    report.readdressed = [after[0] - before[0], after[1] - before[1]];
    for router in &mut routers {
        router.check_accounting()?;
        router.stop()?;
    }
    Ok(report)
}

/// What B and C have readdressed so far.
fn readdressed(routers: &[Carpoold]) -> Result<[u64; 2]> {
    let mut counts = [0; 2];
    for (count, router) in counts.iter_mut().zip(routers.iter().skip(1)) {
        *count = router.control.counter("rows_readdressed")?;
    }
    Ok(counts)
}

/// The TTLs that rows have in a recording, in order.
fn ttls(recorded: &Recorded, direction: Direction) -> Vec<u8> {
    let pooled = observe(&recorded.frames, direction, |_| true);
    let mut all: Vec<_> = pooled.iter().flat_map(transit::row_ttls).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn build(lab: &mut Lab) -> Result<()> {
    for host in ["source", "far", "near"] {
        lab.add(host, Kind::Host)?;
    }
    for node in ["A", "B", "C", "D"] {
        lab.add(node, Kind::Carpool)?;
    }
    lab.add("core", Kind::LinuxRouter)?;
    for (left, left_address, right, right_address) in LINKS {
        let (left, right) =
            (End { node: left, address: net(left_address)? }, End { node: right, address: net(right_address)? });
        lab.link(left, right, MTU)?;
        for (host, router) in [(left, right), (right, left)] {
            if ["source", "far", "near"].contains(&host.node) {
                lab.route(host.node, "default", router.address.addr())?;
            }
        }
    }
    Ok(())
}

fn start(lab: &Lab, plan: Plan) -> Result<Vec<Carpoold>> {
    let rule = traffic::rule(plan.window);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let overlay = |prefix: &str, to: &str, hops: &[Ipv4Addr]| {
        let hops: Vec<_> = hops.iter().map(|hop| format!("\"{hop}\"")).collect();
        format!("\n[[overlay]]\nprefix = \"{prefix}\"\nto     = [\"{to}\"]\nhops   = [{}]\n", hops.join(", "))
    };
    let (far, near) = ("203.0.113.0/26", "198.18.9.0/24");
    let nodes = [
        ("A", vec![("toB", B)], overlay(far, "toB", &[C, D]) + &overlay(near, "toB", &[C])),
        ("B", vec![("toA", A), ("toC", C)], overlay(far, "toC", &[D]) + &overlay(near, "toC", &[])),
        ("C", vec![("toB", B), ("toD", D)], overlay(far, "toD", &[])),
        ("D", vec![("toC", C)], String::new()),
    ];
    nodes
        .into_iter()
        .enumerate()
        .map(|(number, (node, peers, more))| {
            let ports = ports(node)?;
            // Everything else is reached by the core.
            let gateway = LINKS
                .iter()
                .find(|(left, _, right, _)| *left == node && *right == "core")
                .map(|(_, _, _, address)| net(address))
                .transpose()?
                .map_or(Ipv4Addr::UNSPECIFIED, |net| net.addr());
            let config = Config {
                cores: vec![number % cores],
                idle: plan.idle,
                ports,
                routes: vec![(net("0.0.0.0/0")?, gateway)],
                peers: peers.into_iter().map(|(name, address)| (name.to_owned(), address)).collect(),
                rules: vec![rule.clone()],
                further: vec![more],
                ..Config::default()
            };
            Carpoold::start(lab, node, &config)
        })
        .collect()
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

fn net(text: &str) -> Result<ipnet::Ipv4Net> {
    text.parse().map_err(|_| Error::Malformed { what: text.to_owned(), why: "it is no prefix".to_owned() })
}
