//! Two routers as their files have them, joined by wires in memory: what one pools the other takes out.
//!
//! ```text
//! 10.0.0.9 ── A ──────── B ── 203.0.113.9
//! 2001:db8:a::9            2001:db8:b::9
//! ```
//!
//! The tests are the hosts, the wire between the routers, and the time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use carpool_dataplane::arch::Tick;
use carpool_dataplane::dpdk::{HEADROOM, Mempool, MempoolCache, Waiter, WakeHandle, WireEnd, test_eal, wire_pair};
use carpool_dataplane::fib::{lpm4, lpm6};
use carpool_dataplane::worker::{Bell, Counter, Drop, Idle, Worker, WorkerOptions, WorkerShared};

use super::handler::Client;
use super::*;
use crate::api::Handler;
use crate::api::stream::{Stream, StreamDel};

const WINDOW: Duration = Duration::from_millis(5);
const STEP: Duration = Duration::from_micros(500);
/// Frames that a wire holds.
const WIRE: usize = 1000;
/// Bytes that a buffer has for a packet.
const ROOM: usize = 2048;

/// The addresses of a router: its last byte, and the letter of its host's subnet.
fn file(own: u8, other: u8, host: &str, far: &str, [letter, far_letter]: [char; 2], streams: &str) -> String {
    format!(
        r#"
[[port]]
name = "host"
device = "net_null0"
address = ["{host}.1/24", "2001:db8:{letter}::1/64"]

[[port]]
name = "router"
device = "net_null1"
address = ["192.0.2.{own}/24", "2001:db8:1::{own}/64"]

[[neighbor]]
address = "{host}.9"
mac = "02:00:00:00:09:{own:02x}"
port = "host"

[[neighbor]]
address = "2001:db8:{letter}::9"
mac = "02:00:00:00:09:{own:02x}"
port = "host"

[[route]]
prefix = "{far}.0/24"
via = "192.0.2.{other}"

[[route]]
prefix = "2001:db8:{far_letter}::/64"
via = "2001:db8:1::{other}"

[[peer]]
name = "other"
address = "192.0.2.{other}"
alias = ["2001:db8:1::{other}"]
hello_interval = "10ms"

[[path]]
prefix = "{far}.0/24"
hops = ["192.0.2.{other}"]

[[path]]
prefix = "2001:db8:{far_letter}::/64"
hops = ["2001:db8:1::{other}"]

[[rule]]
name = "voice"
match = {{ protocol = "udp" }}
window = "{}ms"
representation = "provisioned"

{streams}
"#,
        WINDOW.as_millis()
    )
}

/// A table for both ends.
fn table(id: u16, flow: (SocketAddr, SocketAddr), ttl: u8) -> String {
    let (source, destination) = flow;
    format!(
        "[[stream]]\nid = {id}\npeer = \"other\"\nsource = \"{source}\"\ndestination = \"{destination}\"\ndscp = \"ef\"\n\
         ttl = {ttl}\n"
    )
}

fn flow4(port: u16) -> (SocketAddr, SocketAddr) {
    (SocketAddr::from(([10, 0, 0, 9], port)), SocketAddr::from(([203, 0, 113, 9], 20_000)))
}

fn flow6(port: u16) -> (SocketAddr, SocketAddr) {
    let end = |text: &str| text.parse::<SocketAddr>().expect("an endpoint");
    (end(&format!("[2001:db8:a::9]:{port}")), end("[2001:db8:b::9]:20000"))
}

/// A packet, every field of which that a stream leaves open or that tells streams apart can be chosen.
#[derive(Clone, Debug)]
struct Packet {
    flow: (SocketAddr, SocketAddr),
    ttl: u8,
    dscp: u8,
    ecn: u8,
    /// IP id, or flow label.
    id: u16,
    dont_fragment: bool,
    has_checksum: bool,
    /// Of IPv4, whole words.
    options: Vec<u8>,
    payload: Vec<u8>,
}

fn packet(flow: (SocketAddr, SocketAddr), number: u8) -> Packet {
    let payload = vec![number; 32];
    let (ttl, dscp, options) = (64, 46, Vec::new());
    Packet { flow, ttl, dscp, ecn: 0, id: 0, dont_fragment: true, has_checksum: true, options, payload }
}

/// RFC 1071.
fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

impl Packet {
    /// The frame that has it, to this station.
    fn frame(&self, mac: [u8; 6]) -> Vec<u8> {
        let ether_type = if self.flow.0.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
        [&mac[..], &[2, 0, 0, 0, 9, 9], &ether_type, &self.bytes()].concat()
    }

    fn bytes(&self) -> Vec<u8> {
        let (source, destination) = self.flow;
        let udp_length = (8 + self.payload.len() as u16).to_be_bytes();
        let mut udp = [source.port().to_be_bytes(), destination.port().to_be_bytes(), udp_length, [0, 0]].concat();
        udp.extend(&self.payload);
        let (octets, other_octets): (Vec<u8>, Vec<u8>) = match (source.ip(), destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => (source.octets().into(), destination.octets().into()),
            (IpAddr::V6(source), IpAddr::V6(destination)) => (source.octets().into(), destination.octets().into()),
            _ => panic!("two families"),
        };
        if self.has_checksum {
            let sum = match checksum(&[&octets, &other_octets, &[0, 17], &udp_length, &udp]) {
                0 => 0xffff,
                sum => sum,
            };
            udp[6..8].copy_from_slice(&sum.to_be_bytes());
        }
        let tos = self.dscp << 2 | self.ecn;
        let id = self.id.to_be_bytes();
        let mut header = if source.is_ipv4() {
            let total = ((20 + self.options.len() + udp.len()) as u16).to_be_bytes();
            let flags = if self.dont_fragment { 0x40 } else { 0 };
            let first = 0x45 + (self.options.len() / 4) as u8;
            vec![first, tos, total[0], total[1], id[0], id[1], flags, 0, self.ttl, 17, 0, 0]
        } else {
            vec![0x60 | tos >> 4, tos << 4, id[0], id[1], udp_length[0], udp_length[1], 17, self.ttl]
        };
        header.extend([&octets[..], &other_octets, &self.options].concat());
        if source.is_ipv4() {
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        [header, udp].concat()
    }
}

struct Macs([[u8; 6]; 2]);

impl Hardware for Macs {
    fn ports(&self, _: &[config::Port]) -> Vec<PortEntry> {
        Vec::new()
    }

    fn mempools(&self) -> Vec<crate::api::stats::Mempool> {
        Vec::new()
    }

    fn macs(&self) -> Vec<[u8; 6]> {
        self.0.to_vec()
    }
}

/// A router, its worker, and the far ends of its wires.
struct Node {
    router: Router,
    worker: Worker<WireEnd>,
    host: WireEnd,
    other: WireEnd,
    mac: [u8; 6],
    _wake: WakeHandle,
}

impl Node {
    fn new(text: &str, number: u8, mempool: &Mempool, now: Instant) -> Node {
        let config = config::parse(text, "c.toml").unwrap_or_else(|errors| panic!("{errors}"));
        let domain = Domain::new(1);
        let (fib, table) = lpm4(&domain).expect("address space");
        let (fib6, table6) = lpm6(&domain).expect("address space");
        let reader = domain.reader().expect("one slot");
        let macs = [[2, 0, 0, 0, number, 1], [2, 0, 0, 0, number, 2]];
        let parts = Parts {
            identity: Identity { router_id: config.router_id, instance: 77 + u32::from(number) },
            config,
            config_path: "c.toml".into(),
            cores: vec![1],
            rate: TickRate::NANOSECONDS,
            hardware: Box::new(Macs(macs)),
            domain,
            fib,
            fib6,
        };
        let (mut router, published) = Router::new(parts, now).expect("it fits");
        let shared = WorkerShared::new(Bell::new().expect("a descriptor"));
        let (_, wake) = Waiter::new(&[]).expect("a descriptor");
        router.attach(vec![WorkerLink { shared: Arc::clone(&shared), wake: wake.clone() }]);
        let ((host, host_port), (other, other_port)) = (wire_pair(WIRE), wire_pair(WIRE));
        let options = WorkerOptions {
            index: 0,
            rate: TickRate::NANOSECONDS,
            idle: Idle::Spin,
            open_pools: 64,
            buckets: 1,
            buffer_room: (ROOM + HEADROOM) as u16,
            seed: 7,
            instance: 77 + u32::from(number),
        };
        let queues = vec![(PortIndex(0), host_port), (PortIndex(1), other_port)];
        let worker = Worker::new(options, queues, mempool.cache(), reader, published, table, table6, shared);
        Node { router, worker, host, other, mac: macs[0], _wake: wake }
    }

    fn step(&mut self, tick: Tick, now: Instant) {
        self.worker.iterate(tick);
        self.router.hear_workers(now);
        self.router.tick(now);
    }

    fn all_up(&self, now: Instant) -> bool {
        self.router.peers.iter().all(|(_, peer)| peer.state(now).is_ok())
    }

    /// What came to the host, without Ethernet headers.
    fn delivered(&mut self) -> Vec<Vec<u8>> {
        self.host.receive_all_bytes().into_iter().map(|frame| frame[14..].to_vec()).collect()
    }
}

struct Pair {
    a: Node,
    b: Node,
    begin: Instant,
    passed: Duration,
    cache: MempoolCache,
}

impl Pair {
    /// Two routers that are told these streams, once each lives for the other.
    fn new(a: &str, b: &str) -> Pair {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("pair{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mempool = Mempool::create(test_eal(), &name, 4095, ROOM + HEADROOM).expect("memory for a pair");
        let begin = Instant::now();
        let a = file(1, 2, "10.0.0", "203.0.113", ['a', 'b'], a);
        let b = file(2, 1, "203.0.113", "10.0.0", ['b', 'a'], b);
        let (a, b) = (Node::new(&a, 1, &mempool, begin), Node::new(&b, 2, &mempool, begin));
        let mut pair = Pair { a, b, begin, passed: Duration::ZERO, cache: mempool.cache() };
        for _ in 0..1000 {
            pair.step();
            if pair.a.all_up(pair.now()) && pair.b.all_up(pair.now()) {
                // The first packets of either family resolve the neighbours.
                pair.send([flow4(1), flow6(1)].map(|flow| packet(flow, 0)));
                assert_eq!(pair.settled().len(), 2, "both families get through");
                return pair;
            }
        }
        panic!("the routers do not find each other");
    }

    fn now(&self) -> Instant {
        self.begin + self.passed
    }

    fn step(&mut self) {
        self.passed += STEP;
        let (tick, now) = (Tick(self.passed.as_nanos() as u64), self.now());
        self.a.step(tick, now);
        self.b.step(tick, now);
        let (a, b) = (&mut self.a.other, &mut self.b.other);
        for frame in a.receive_all_bytes() {
            assert!(b.send_bytes(&mut self.cache, &frame), "the wire is full");
        }
        for frame in b.receive_all_bytes() {
            assert!(a.send_bytes(&mut self.cache, &frame), "the wire is full");
        }
    }

    fn send(&mut self, packets: impl IntoIterator<Item = Packet>) {
        for packet in packets {
            let frame = packet.frame(self.a.mac);
            assert!(self.a.host.send_bytes(&mut self.cache, &frame), "the wire is full");
        }
    }

    /// What comes to B's host until all pools have gone.
    fn settled(&mut self) -> Vec<Vec<u8>> {
        for _ in 0..20 * (WINDOW.as_micros() / STEP.as_micros()) {
            self.step();
        }
        self.b.delivered()
    }

    fn client(&mut self) -> Client<'_> {
        let now = self.now();
        Client { router: &mut self.a.router, now }
    }

    /// Entries of streams that A has sent, and packets that travelled whole among them.
    fn sent(&mut self) -> (u64, u64) {
        let counters = self.a.worker.counters();
        (counters.get(Counter::ProvisionedSent), counters.get(Counter::ProvisionedWhole))
    }

    /// Ends both workers: all is accounted for, and nothing was dropped but so many entries of streams unknown to B.
    fn end(mut self, unknown: u64) {
        let tick = Tick(self.passed.as_nanos() as u64);
        for (node, unknown) in [(&mut self.a, 0), (&mut self.b, unknown)] {
            node.worker.drain(|| tick, tick);
            let counters = node.worker.counters();
            assert_eq!(counters.imbalance(), 0);
            assert_eq!(counters.drops(Drop::PoolUnknownStream), unknown);
            for reason in Drop::ALL.iter().filter(|reason| **reason != Drop::PoolUnknownStream) {
                assert_eq!(counters.drops(*reason), 0, "{}", reason.name());
            }
        }
    }
}

/// What two routers that forward them make of packets.
fn after_two(packets: &[Packet]) -> Vec<Vec<u8>> {
    packets.iter().map(|packet| Packet { ttl: packet.ttl - 2, ..packet.clone() }.bytes()).collect()
}

/// The same packets, in whatever order.
fn sorted(mut packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    packets.sort();
    packets
}

#[test]
fn packets_of_streams_and_others_come_out_as_two_routers_would_have_sent_them() {
    let told = table(7, flow4(16_384), 64) + &table(8, flow6(16_384), 64);
    let mut pair = Pair::new(&told, &told);
    let before = pair.sent();
    let mut packets = Vec::new();
    for flow in [flow4(16_384), flow6(16_384)] {
        let usual = packet(flow, 1);
        packets.extend([
            usual.clone(),
            Packet { id: 0x1234, payload: b"id or label".to_vec(), ..usual.clone() },
            Packet { dont_fragment: false, payload: b"no DF".to_vec(), ..usual.clone() },
            Packet { payload: Vec::new(), ..usual.clone() },
        ]);
    }
    // IPv6 has no packets without one that a router would take from a host's application.
    packets.push(Packet { has_checksum: false, payload: b"no checksum".to_vec(), ..packet(flow4(16_384), 2) });
    let of_streams = packets.len() as u64;
    let (usual, usual6) = (packet(flow4(16_384), 3), packet(flow6(16_384), 3));
    packets.extend([
        Packet { options: vec![1; 4], ..usual.clone() },
        Packet { ttl: 63, ..usual.clone() },
        Packet { flow: flow4(16_386), ..usual.clone() },
        Packet { ttl: 63, ..usual6.clone() },
        Packet { flow: flow6(16_386), ..usual6.clone() },
    ]);
    let whole = packets.len() as u64 - of_streams;
    pair.send(packets.iter().cloned());
    assert_eq!(sorted(pair.settled()), sorted(after_two(&packets)));
    let after = pair.sent();
    assert_eq!((after.0 - before.0, after.1 - before.1), (of_streams, whole));

    // Of another class, and able to carry ECN marks: pools of their own.
    let classes = [0, 46].map(|dscp| [1, 2].map(|number| Packet { dscp, ecn: 2, ..packet(flow4(16_384), number) }));
    let classes = classes.concat();
    pair.send(classes.iter().cloned());
    assert_eq!(sorted(pair.settled()), sorted(after_two(&classes)));
    let last = pair.sent();
    assert_eq!((last.0 - after.0, last.1 - after.1), (2, 2));
    pair.end(0);
}

#[test]
fn entries_of_a_stream_that_the_far_end_was_not_told_of_are_dropped_by_name_and_no_others() {
    let both = table(7, flow4(16_384), 64);
    let mut pair = Pair::new(&(both.clone() + &table(8, flow4(16_386), 64)), &both);
    let packets = [16_384, 16_386, 16_384].map(|port| packet(flow4(port), 1));
    pair.send(packets.iter().cloned());
    assert_eq!(pair.settled(), after_two(&[packets[0].clone(), packets[2].clone()]));
    pair.end(1);
}

#[test]
fn a_stream_that_comes_and_goes_flushes_open_pools_and_loses_nothing() {
    let told = table(7, flow4(16_384), 64) + &table(8, flow4(16_386), 64);
    let mut pair = Pair::new("", &told);
    let before = pair.sent();
    let numbered = |range: std::ops::Range<u8>| -> Vec<Packet> {
        range.flat_map(|number| [16_384, 16_386].map(|port| packet(flow4(port), number))).collect()
    };
    let stream = |id: u16, port: u16| Stream {
        id,
        peer: "other".into(),
        source: flow4(port).0.to_string().parse().expect("an endpoint"),
        destination: flow4(port).1.to_string().parse().expect("an endpoint"),
        dscp: "ef".parse().expect("a code point"),
        ttl: 64,
    };
    pair.send(numbered(0..3));
    pair.step();
    pair.client().stream_add(stream(7, 16_384)).expect("possible");
    pair.send(numbered(3..6));
    pair.step();
    pair.client().stream_add(stream(8, 16_386)).expect("possible");
    pair.send(numbered(6..9));
    pair.step();
    pair.client().stream_del(StreamDel { id: 7, peer: "other".into() }).expect("it is there");
    pair.send(numbered(9..12));
    assert_eq!(pair.settled(), after_two(&numbered(0..12)), "all of them, in order");
    let (entries, whole) = pair.sent();
    assert_eq!((entries - before.0, whole - before.1), (3 + 6 + 3, 6 + 3 + 3));
    assert!(pair.a.worker.counters().get(Counter::FlushReconfigured) >= 3);
    pair.end(0);
}
