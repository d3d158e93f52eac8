//! Several routers with as many ports as they like, and links that count what crosses them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::lab::{POOL_PORT, rule};
use crate::arch::{Tick, TickRate};
use crate::dpdk::{HEADROOM, Mempool, MempoolCache, WireEnd, test_eal, wire_pair};
use crate::fib::{
    Adjacency, Domain, Entry, EntryId, Lpm6Writer, Neighbour, NeighbourIndex, NeighbourTable, PeerIndex, PortIndex,
    Publisher, lpm4, lpm6, publish,
};
use crate::pool::hello::Capabilities;
use crate::pool::path::{MAX_HOPS, PoolPath, SharedHops, Trunk};
use crate::pool::pooled_packet_detector::ZeroChecksum;
use crate::pool::{Format, PeerPath, Rule, RuleSet};
use crate::worker::{
    Bell, Counters, Idle, Leg, LegTable, Peer, PeerLeg, PeerTable, PortAddress, PortAddress6, PortState, RouterState,
    Worker, WorkerOptions, WorkerShared,
};

/// A node with a port for each of `links`: its own address there, and that of the one neighbour on it.
pub(super) struct Node {
    pub worker: Worker<WireEnd>,
    pub wires: Vec<WireEnd>,
    links: Vec<(Ipv4Addr, Ipv4Addr)>,
    cache: MempoolCache,
    mempool: Mempool,
    publisher: Publisher<RouterState>,
    state: RouterState,
    fib6: Lpm6Writer,
}

/// The Ethernet address of whoever has an IPv4 address here.
pub(super) fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [2, 0, a, b, c, d]
}

impl Node {
    /// `routes` lead out of a port, by its neighbour; `peers` are reached by routes.
    pub fn new(links: &[(Ipv4Addr, Ipv4Addr)], routes: &[(&str, u16)], peers: &[Ipv4Addr]) -> Node {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("node{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mempool = Mempool::create(test_eal(), &name, 2047, 2048 + HEADROOM).expect("memory for a node");
        let domain = Domain::new(1);
        let (mut fib, table) = lpm4(&domain).expect("address space");
        let (fib6, table6) = lpm6(&domain).expect("address space");
        // Entry 1 is the node itself, entry 2 + n leaves by port n.
        for (own, _) in links {
            fib.insert(format!("{own}/32").parse().expect("prefix"), EntryId(1)).expect("room");
        }
        for (port, (_, neighbour)) in (0u16..).zip(links) {
            fib.insert(format!("{neighbour}/32").parse().expect("prefix"), EntryId(2 + port)).expect("room");
        }
        for (prefix, port) in routes {
            fib.insert(prefix.parse().expect("prefix"), EntryId(2 + port)).expect("room");
        }
        let plain = |adjacency| Entry { adjacency, path: None };
        let ports = (0u16..).map(PortIndex);
        let entries = [plain(Adjacency::NoRoute), plain(Adjacency::Local)].into_iter().chain(
            ports
                .clone()
                .zip(links)
                .map(|(port, _)| plain(Adjacency::Via { port, gateway: NeighbourIndex(u32::from(port.0)) })),
        );
        let neighbours =
            ports.clone().zip(links).map(|(port, (_, other))| Neighbour::new(port, (*other).into(), Some(mac(*other))));
        let peer = |address: &Ipv4Addr| Peer {
            path: PeerPath {
                addressee: (*address).into(),
                source: links[0].0.into(),
                mtu: 1500,
                outer_ttl: 64,
                source_port_base: POOL_PORT,
                destination_port: POOL_PORT,
                checksum: true,
                format: Format::Native,
                capabilities: Capabilities(Capabilities::WHOLE_IPV4.0 | Capabilities::WHOLE_IPV6.0),
            },
            zero_checksum: ZeroChecksum::Refused,
        };
        let state = RouterState {
            pools: 1,
            ports: links
                .iter()
                .map(|(own, _)| PortState {
                    mac: mac(*own),
                    mtu: 1500,
                    addresses: vec![PortAddress { address: *own, prefix_len: 24 }],
                    addresses6: vec![],
                    link_local: None,
                })
                .collect(),
            entries: entries.collect(),
            neighbours: Arc::new(NeighbourTable::new(neighbours.collect())),
            paths: Arc::default(),
            templates: Arc::default(),
            legs: Arc::default(),
            peers: Arc::new(PeerTable::new(peers.iter().map(peer).collect())),
            rules: Arc::new(RuleSet::new(vec![Rule { shared_hops: SharedHops::AtLeast(1), ..rule() }]).expect("sound")),
            streams: Arc::default(),
            pool_port: POOL_PORT,
            neighbour_timeout: TickRate::NANOSECONDS.ticks(Duration::from_secs(3)),
        };
        let (publisher, published) = publish(&domain, state.clone());
        let (wires, queues): (Vec<_>, Vec<_>) = ports
            .zip(links)
            .map(|(port, _)| {
                let (far, near) = wire_pair(1000);
                (far, (port, near))
            })
            .unzip();
        let options = WorkerOptions {
            index: 0,
            buckets: 1,
            rate: TickRate::NANOSECONDS,
            idle: Idle::Spin,
            open_pools: 64,
            buffer_room: 2048 + HEADROOM as u16,
            seed: 7,
            instance: 1,
        };
        let (reader, cache) = (domain.reader().expect("one reader"), mempool.cache());
        let shared = WorkerShared::new(Bell::new().expect("a descriptor"));
        let worker = Worker::new(options, queues, mempool.cache(), reader, published, table, table6, shared);
        Node { worker, wires, links: links.to_vec(), cache, mempool, publisher, state, fib6 }
    }

    /// Publishes a changed state.
    pub fn change(&mut self, change: impl FnOnce(&mut RouterState)) {
        change(&mut self.state);
        self.publisher.publish(self.state.clone());
    }

    /// Gives a port an IPv6 address, and routes of IPv6 that lead out of it, by its neighbour.
    pub fn ipv6(&mut self, port: u16, own: Ipv6Addr, routes: &[&str]) {
        self.fib6.insert(format!("{own}/128").parse().expect("prefix"), EntryId(1)).expect("room");
        for prefix in routes {
            self.fib6.insert(prefix.parse().expect("prefix"), EntryId(2 + port)).expect("room");
        }
        self.change(|state| {
            let mut ports = state.ports.to_vec();
            ports[usize::from(port)].addresses6 = vec![PortAddress6 { address: own, prefix_len: 64 }];
            state.ports = ports.into();
        });
    }

    /// Changes each peer, by its index.
    pub fn change_peers(&mut self, change: impl Fn(usize, &mut Peer)) {
        self.change(|state| {
            let mut peers: Vec<_> = state.peers.iter().copied().collect();
            peers.iter_mut().enumerate().for_each(|(index, peer)| change(index, peer));
            state.peers = Arc::new(PeerTable::new(peers));
        });
    }

    /// Publishes these legs.
    pub fn legs(&mut self, table: LegTable) {
        self.change(|state| state.legs = Arc::new(table));
    }

    /// Has an IP packet come in at a port, to this destination address of the link.
    pub fn hears(&mut self, port: u16, destination: [u8; 6], ip: &[u8]) {
        let source = mac(self.links[usize::from(port)].1);
        let ether_type = if ip[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
        let frame = super::lab::frame(destination, source, ether_type, ip);
        assert!(self.wires[usize::from(port)].send_bytes(&mut self.cache, &frame), "wire is full");
    }

    /// Has a whole frame come in at a port.
    pub fn hears_frame(&mut self, port: u16, frame: &[u8]) {
        assert!(self.wires[usize::from(port)].send_bytes(&mut self.cache, frame), "wire is full");
    }

    /// The frames that left by a port.
    pub fn sends(&mut self, port: u16) -> Vec<Vec<u8>> {
        self.wires[usize::from(port)].receive_all_bytes()
    }

    /// Iterates until nothing happens, and checks that every packet is accounted for each time.
    pub fn run(&mut self, now: &mut Tick) {
        for _ in 0..10_000 {
            *now = *now + TickRate::NANOSECONDS.ticks(Duration::from_micros(1));
            let packets = self.worker.iterate(*now);
            let counters = self.worker.counters();
            assert_eq!(counters.imbalance(), 0, "a packet is not accounted for: {counters:?}");
            if packets == 0 {
                return;
            }
        }
        panic!("the worker never comes to rest");
    }

    /// Ends the worker and checks that all memory is back.
    pub fn end(mut self, now: Tick) -> Counters {
        self.worker.drain(|| now, now);
        let counters = self.worker.counters();
        assert_eq!(counters.imbalance(), 0);
        let Node { worker, mut wires, cache, mempool, .. } = self;
        drop(worker);
        wires.iter_mut().for_each(|wire| drop(wire.receive_all_bytes()));
        drop((wires, cache));
        assert_eq!(mempool.in_use(), 0, "mbufs were lost");
        counters
    }
}

/// A leg to the peer `index` over these overlay nodes.
pub(super) fn to_peer(index: u16, nodes: &[u16]) -> Leg {
    let (trunk, addressee) = (Trunk::overlay(nodes), Some(PeerIndex(index)));
    Leg::Peer(PeerLeg {
        peer: PeerIndex(index),
        path: PoolPath { trunk, addressee, groups: [60_000 + index; MAX_HOPS + 1] },
    })
}

/// A leg to a peer while that is silent.
pub(super) fn silent(leg: Leg) -> Leg {
    let Leg::Peer(leg) = leg else { panic!("a peer") };
    Leg::Peer(PeerLeg { path: PoolPath { addressee: None, ..leg.path }, ..leg })
}

/// A leg to the link of a port.
pub(super) fn to_port(port: u16) -> Leg {
    Leg::Port(PortIndex(port))
}
