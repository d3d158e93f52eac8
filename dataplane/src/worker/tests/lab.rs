//! A router on a bench: a worker, the control side of its tables, and the far ends of its wires.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::lab6::*;
use crate::arch::{Tick, TickRate};
use crate::dpdk::{HEADROOM, Mempool, MempoolCache, WireEnd, test_eal, wire_pair};
use crate::fib::{
    Adjacency, Domain, Entry, EntryId, Lpm4, Lpm4Writer, Lpm6, Lpm6Writer, Neighbour, NeighbourIndex, NeighbourTable,
    PathIndex, PeerIndex, PortIndex, Publisher, lpm4, lpm6, publish,
};
use crate::packet::checksum::Sum;
use crate::packet::ethernet::MacAddr;
use crate::packet::ipv4::Ipv4Header;
use crate::packet::ipv6::link_local_of;
use crate::packet::udp::UdpHeader;
use crate::pool::hello::Capabilities;
use crate::pool::path::{MAX_HOPS, PoolPath, Trunk};
use crate::pool::pooled_packet_detector::ZeroChecksum;
use crate::pool::{Format, Match, PeerPath, Rule, RuleSet};
use crate::worker::{
    Bell, Counters, Event, HeardHello, Idle, Peer, PeerTable, PortAddress, PortAddress6, PortState, RouterState,
    Worker, WorkerOptions, WorkerShared,
};

pub(super) const POOL_PORT: u16 = 7665;
/// Packets that the wire to the east holds.
pub(super) const WIRE: usize = 1000;

/// Entries that every router here has.
pub(super) const LOCAL: EntryId = EntryId(1);
pub(super) const WEST_LINK: EntryId = EntryId(2);
pub(super) const EAST_LINK: EntryId = EntryId(3);
pub(super) const VIA_EAST: EntryId = EntryId(4);
pub(super) const VIA_EAST_POOLED: EntryId = EntryId(5);
pub(super) const BROADCAST: EntryId = EntryId(6);
pub(super) const BLACKHOLE: EntryId = EntryId(7);
pub(super) const VIA_EAST6: EntryId = EntryId(8);
pub(super) const VIA_EAST6_POOLED: EntryId = EntryId(9);

pub(super) const WEST: PortIndex = PortIndex(0);
pub(super) const EAST: PortIndex = PortIndex(1);

/// A router with a link to the west, 192.0.2.0/24, and one to the east, 198.51.100.0/24, behind whose gateway .2 is
/// 203.0.113.0/24. Its own addresses end in .1, or what it was made with. The same in IPv6: 2001:db8:1::/64,
/// 2001:db8:2::/64, and 2001:db8:f::/48 behind the gateway; what goes to 2001:db8:e::/48 there is pooled.
pub(super) struct Bench {
    pub worker: Worker<WireEnd>,
    pub west: WireEnd,
    pub east: WireEnd,
    pub shared: Arc<WorkerShared>,
    pub routes: Lpm4Writer,
    pub routes6: Lpm6Writer,
    pub cache: MempoolCache,
    pub mempool: Mempool,
    publisher: Publisher<RouterState>,
    state: RouterState,
    pub now: Tick,
}

pub(super) const WEST_HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
pub(super) const FAR_HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
pub(super) const OWN_WEST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const OWN_EAST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
pub(super) const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);

pub(super) const OWN_WEST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const OWN_EAST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(super) const WEST_HOST_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub(super) const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

/// A neighbour whose Ethernet address is known.
pub(super) fn neighbour(port: PortIndex, address: impl Into<IpAddr>, mac: [u8; 6]) -> Neighbour {
    Neighbour::new(port, address.into(), Some(mac))
}

fn neighbours() -> Vec<Neighbour> {
    vec![
        neighbour(EAST, GATEWAY, GATEWAY_MAC),
        neighbour(WEST, WEST_HOST, WEST_HOST_MAC),
        neighbour(EAST, GATEWAY6, GATEWAY_MAC),
        neighbour(WEST, WEST_HOST6, WEST_HOST_MAC),
    ]
}

/// The routes of a bench, and their tables.
pub(super) fn routes(domain: &Arc<Domain>) -> (Lpm4Writer, Arc<Lpm4>, Lpm6Writer, Arc<Lpm6>) {
    let (mut routes, table) = lpm4(domain).expect("address space");
    let (mut routes6, table6) = lpm6(domain).expect("address space");
    for (prefix, entry) in [
        ("192.0.2.0/24", WEST_LINK),
        ("192.0.2.1/32", LOCAL),
        ("192.0.2.255/32", BROADCAST),
        ("198.51.100.0/24", EAST_LINK),
        ("198.51.100.1/32", LOCAL),
        ("198.51.100.77/32", VIA_EAST),
        ("203.0.113.0/24", VIA_EAST_POOLED),
        ("203.0.114.0/24", VIA_EAST),
        ("203.0.115.0/24", BLACKHOLE),
    ] {
        routes.insert(prefix.parse().expect("prefix"), entry).expect("room");
    }
    for (prefix, entry) in [
        ("2001:db8:1::/64", WEST_LINK),
        ("2001:db8:1::1/128", LOCAL),
        ("2001:db8:2::/64", EAST_LINK),
        ("2001:db8:2::1/128", LOCAL),
        ("2001:db8:2::77/128", VIA_EAST6),
        ("2001:db8:e::/48", VIA_EAST6_POOLED),
        ("2001:db8:f::/48", VIA_EAST6),
        ("2001:db8:b::/48", BLACKHOLE),
    ] {
        routes6.insert(prefix.parse().expect("prefix"), entry).expect("room");
    }
    (routes, table, routes6, table6)
}

/// What a bench publishes at first.
pub(super) fn state() -> RouterState {
    let link = |port| Entry { adjacency: Adjacency::Connected { port }, path: None };
    let plain = |adjacency| Entry { adjacency, path: None };
    let via = Adjacency::Via { port: EAST, gateway: NeighbourIndex(0) };
    let via6 = Adjacency::Via { port: EAST, gateway: NeighbourIndex(2) };
    let port = |mac, address, address6| PortState {
        mac,
        mtu: 1500,
        addresses: vec![PortAddress { address, prefix_len: 24 }],
        addresses6: vec![PortAddress6 { address: address6, prefix_len: 64 }],
        link_local: Some(link_local_of(MacAddr(mac))),
    };
    let path = PeerPath {
        addressee: PEER.into(),
        source: OWN_EAST.into(),
        mtu: 1500,
        outer_ttl: 64,
        source_port_base: POOL_PORT,
        destination_port: POOL_PORT,
        checksum: true,
        format: Format::Native,
        capabilities: Capabilities(u16::MAX),
    };
    RouterState {
        legs: Arc::default(),
        pools: 1,
        ports: [port(OWN_WEST_MAC, OWN_WEST, OWN_WEST6), port(OWN_EAST_MAC, OWN_EAST, OWN_EAST6)].into(),
        entries: [
            plain(Adjacency::NoRoute),
            plain(Adjacency::Local),
            link(WEST),
            link(EAST),
            plain(via),
            Entry { adjacency: via, path: Some(PathIndex(0)) },
            plain(Adjacency::Broadcast),
            plain(Adjacency::Blackhole),
            plain(via6),
            Entry { adjacency: via6, path: Some(PathIndex(0)) },
        ]
        .into(),
        neighbours: Arc::new(NeighbourTable::new(neighbours())),
        paths: [PoolPath {
            trunk: Trunk::new(&[1, 2], 0b10),
            addressee: Some(PeerIndex(0)),
            groups: [0; MAX_HOPS + 1],
        }]
        .into(),
        peers: Arc::new(PeerTable::new(vec![Peer { path, zero_checksum: ZeroChecksum::Refused }])),
        rules: Arc::new(RuleSet::new(vec![rule()]).expect("a sound rule")),
        templates: Arc::default(),
        streams: Arc::default(),
        pool_port: POOL_PORT,
        neighbour_timeout: TickRate::NANOSECONDS.ticks(Duration::from_secs(3)),
    }
}

/// What a bench's worker is made with.
pub(super) fn options() -> WorkerOptions {
    WorkerOptions {
        index: 0,
        rate: TickRate::NANOSECONDS,
        idle: Idle::Spin,
        open_pools: 64,
        buckets: 1,
        buffer_room: 2048 + HEADROOM as u16,
        seed: 7,
        instance: 1,
    }
}

impl Bench {
    /// A router whose neighbours are all resolved, with one rule for UDP up to 300 bytes and a window of 5 ms.
    pub fn new() -> Bench {
        Bench::with_mbufs(4095)
    }

    /// The same, with so many mbufs.
    pub fn with_mbufs(mbufs: usize) -> Bench {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("bench{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mempool = Mempool::create(test_eal(), &name, mbufs, 2048 + HEADROOM).expect("memory for a bench");
        let domain = Domain::new(1);
        let (routes, table, routes6, table6) = routes(&domain);
        let state = state();
        let (publisher, published) = publish(&domain, state.clone());
        let shared = WorkerShared::new(Bell::new().expect("a descriptor"));
        let ((west, west_port), (east, east_port)) = (wire_pair(4 * WIRE), wire_pair(WIRE));
        let worker = Worker::new(
            options(),
            vec![(WEST, west_port), (EAST, east_port)],
            mempool.cache(),
            domain.reader().expect("one reader"),
            published,
            table,
            table6,
            Arc::clone(&shared),
        );
        let cache = mempool.cache();
        Bench { worker, west, east, shared, routes, routes6, cache, mempool, publisher, state, now: Tick(1_000_000) }
    }

    /// Publishes a changed state.
    pub fn change(&mut self, change: impl FnOnce(&mut RouterState)) {
        change(&mut self.state);
        self.publisher.publish(self.state.clone());
    }

    /// Forgets all neighbours but those given.
    pub fn neighbours(&mut self, neighbours: Vec<Neighbour>) {
        self.change(|state| state.neighbours = Arc::new(NeighbourTable::new(neighbours)));
    }

    /// Lets time pass without an iteration.
    pub fn wait(&mut self, duration: Duration) {
        self.now = self.now + TickRate::NANOSECONDS.ticks(duration);
    }

    /// Iterates until nothing happens, and checks that every packet is accounted for each time.
    pub fn run(&mut self) {
        for _ in 0..10_000 {
            self.now = self.now + TickRate::NANOSECONDS.ticks(Duration::from_micros(1));
            let packets = self.worker.iterate(self.now);
            let counters = self.worker.counters();
            assert_eq!(counters.imbalance(), 0, "a packet is not accounted for: {counters:?}");
            if packets == 0 {
                return;
            }
        }
        panic!("the worker never comes to rest");
    }

    /// Has an IP packet come in from the west.
    pub fn west_sends(&mut self, ip: &[u8]) {
        assert!(
            self.west.send_bytes(&mut self.cache, &frame(OWN_WEST_MAC, WEST_HOST_MAC, ether_type(ip), ip)),
            "wire is full"
        );
    }

    /// Has an IP packet come in from the east.
    pub fn east_sends(&mut self, ip: &[u8]) {
        assert!(
            self.east.send_bytes(&mut self.cache, &frame(OWN_EAST_MAC, GATEWAY_MAC, ether_type(ip), ip)),
            "wire is full"
        );
    }

    /// The IP packets that left to the east, with the Ethernet header checked and cut.
    pub fn east_gets(&mut self) -> Vec<Vec<u8>> {
        self.east.receive_all_bytes().into_iter().map(|f| ip_of(&f, GATEWAY_MAC, OWN_EAST_MAC)).collect()
    }

    /// The IP packets that left to the host in the west.
    pub fn west_gets(&mut self) -> Vec<Vec<u8>> {
        self.west.receive_all_bytes().into_iter().map(|f| ip_of(&f, WEST_HOST_MAC, OWN_WEST_MAC)).collect()
    }

    /// What the worker told the control thread.
    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.shared.events.pop()).collect()
    }

    /// The hellos that the worker passed on.
    pub fn hellos(&mut self) -> Vec<HeardHello> {
        std::iter::from_fn(|| self.shared.hellos.pop()).collect()
    }

    /// The counters.
    pub fn counters(&mut self) -> Counters {
        self.worker.counters()
    }

    /// Ends the worker and checks that all memory is back.
    pub fn end(mut self) -> Counters {
        let now = self.now;
        self.worker.drain(|| now, now);
        let counters = self.worker.counters();
        assert_eq!(counters.imbalance(), 0);
        let Bench { worker, mut west, mut east, cache, mempool, .. } = self;
        drop(worker);
        drop((west.receive_all_bytes(), east.receive_all_bytes()));
        drop((west, east, cache));
        assert_eq!(mempool.in_use(), 0, "mbufs were lost");
        counters
    }
}

/// UDP up to 300 bytes, 5 ms.
pub(super) fn rule() -> Rule {
    Rule {
        max_size: 300,
        window: TickRate::NANOSECONDS.ticks(Duration::from_millis(5)),
        ..Rule::new("voice", Match { protocol: Some(17), ..Match::default() })
    }
}

/// An Ethernet frame, padded to 60 bytes as links do.
pub(super) fn frame(dst: [u8; 6], src: [u8; 6], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&dst[..], &src, &ether_type.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The EtherType of an IP packet's frame.
pub(super) fn ether_type(ip: &[u8]) -> u16 {
    if ip[0] >> 4 == 6 { 0x86dd } else { 0x0800 }
}

pub(super) fn ip_of(frame: &[u8], dst: [u8; 6], src: [u8; 6]) -> Vec<u8> {
    assert_eq!(frame[..6], dst, "destination MAC");
    assert_eq!(frame[6..12], src, "source MAC");
    assert_eq!(frame[12..14], ether_type(&frame[14..]).to_be_bytes(), "EtherType");
    frame[14..].to_vec()
}

/// A header for tests to change.
pub(super) fn header(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: usize) -> Ipv4Header {
    Ipv4Header {
        header_len: 20,
        dscp_ecn: 0xb8,
        total_len: (20 + payload) as u16,
        id: 0x1234,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 64,
        protocol,
        src,
        dst,
    }
}

/// An IP packet with this header.
pub(super) fn packet(header: Ipv4Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [0; 20];
    header.write(&mut bytes);
    [&bytes[..], payload].concat()
}

/// A UDP packet of `length` bytes in all, whose data tells `tag`.
pub(super) fn udp(src: Ipv4Addr, dst: Ipv4Addr, ports: (u16, u16), length: usize, tag: u8) -> Vec<u8> {
    udp_with(src, dst, ports, &vec![tag; length - 28])
}

/// A UDP packet with these data.
pub(super) fn udp_with(src: Ipv4Addr, dst: Ipv4Addr, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    let mut udp = UdpHeader { src_port: ports.0, dst_port: ports.1, length: (8 + data.len()) as u16, checksum: 0 };
    udp.checksum = udp.checksum_over(src, dst, Sum::of(data));
    let mut bytes = [0; 8];
    udp.write(&mut bytes);
    packet(header(src, dst, 17, 8 + data.len()), &[&bytes[..], data].concat())
}

/// What a packet is after so many routers.
pub(super) fn after_hops(packet: &[u8], hops: u8) -> Vec<u8> {
    let mut header = Ipv4Header::parse(packet).expect("a sound packet");
    header.ttl -= hops;
    self::packet(header, &packet[20..])
}
