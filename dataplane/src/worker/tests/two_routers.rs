//! A pooler, its addressee, and a network between them that does what it is told to each packet.

use std::net::IpAddr;
use std::sync::Arc;

use super::any_traffic_case::{Case, template};
use super::lab::*;
use super::lab6::*;
use crate::arch::{Tick, TickSpan};
use crate::fib::{Adjacency, Entry, EntryId, NeighbourIndex, PathIndex, PeerIndex};
use crate::packet::Sum;
use crate::packet::ipv4::Ipv4Header;
use crate::packet::ipv6::Ipv6Header;
use crate::packet::udp::{self, Verdict};
use crate::pool::path::{MAX_HOPS, PoolPath, Trunk};
use crate::pool::provisioned::StreamSet;
use crate::pool::simplemux::{Datagram, Flavour};
use crate::pool::{Rule, RuleSet};
use crate::worker::PeerTable;

/// Forwarding entries to hosts behind the second addressee, in either family.
const VIA_EAST_FAR: EntryId = EntryId(10);
const VIA_EAST6_FAR: EntryId = EntryId(11);

/// The pooler's address of the family that its pooled packets have.
pub(super) fn pooler_address(outer_ipv6: bool) -> IpAddr {
    if outer_ipv6 { OWN_EAST6.into() } else { OWN_EAST.into() }
}

/// The addressee's.
fn peer(outer_ipv6: bool) -> IpAddr {
    if outer_ipv6 { PEER6.into() } else { PEER.into() }
}

/// That of the second addressee, behind the first.
pub(super) fn far_peer(outer_ipv6: bool) -> IpAddr {
    if outer_ipv6 { "2001:db8:2::78".parse().expect("address") } else { "198.51.100.78".parse().expect("address") }
}

/// Routes to these with these entries.
fn route(bench: &mut Bench, routes: &[(&str, EntryId)]) {
    for (prefix, entry) in routes {
        match prefix.contains(':') {
            true => bench.routes6.insert(prefix.parse().expect("prefix"), *entry).expect("room"),
            false => bench.routes.insert(prefix.parse().expect("prefix"), *entry).expect("room"),
        };
    }
}

/// What both ends are told.
fn tell_both(bench: &mut Bench, case: &Case) {
    bench.change(|state| {
        state.pools += 1;
        state.templates = Arc::new([template()].into_iter().collect());
        state.streams = Arc::new(StreamSet::new(&case.streams()).expect("sound streams"));
    });
}

/// The router that pools, under the first rules of the case.
pub(super) fn pooler(case: &Case) -> Bench {
    let mut bench = Bench::new();
    route(
        &mut bench,
        &[
            ("198.51.100.78/32", VIA_EAST),
            ("2001:db8:2::78/128", VIA_EAST6),
            ("203.0.116.0/24", VIA_EAST_FAR),
            ("2001:db8:a::/48", VIA_EAST6_FAR),
        ],
    );
    bench.change(|state| {
        let mut near = *state.peers.iter().next().expect("one peer");
        near.path.format = case.format;
        (near.path.source, near.path.addressee) = (pooler_address(case.outer_ipv6), peer(case.outer_ipv6));
        let mut far = near;
        far.path.addressee = far_peer(case.outer_ipv6);
        state.peers = Arc::new(PeerTable::new(vec![near, far]));
        // They share the first hop.
        let path = |nodes: &[u16], addressee| {
            let mut groups = [addressee; MAX_HOPS + 1];
            groups[0] = 9;
            PoolPath { trunk: Trunk::new(nodes, 0b11), addressee: Some(PeerIndex(addressee)), groups }
        };
        state.paths = [path(&[1], 0), path(&[1, 2], 1)].into();
        let far = |gateway| Entry {
            adjacency: Adjacency::Via { port: EAST, gateway: NeighbourIndex(gateway) },
            path: Some(PathIndex(1)),
        };
        state.entries = state.entries.iter().copied().chain([far(0), far(2)]).collect();
    });
    tell_both(&mut bench, case);
    set_rules(&mut bench, &case.rules[0]);
    bench
}

/// Has the pooler go by these rules.
pub(super) fn set_rules(bench: &mut Bench, rules: &[Rule]) {
    bench.change(|state| {
        state.pools += 1;
        state.rules = Arc::new(RuleSet::new(rules.to_vec()).expect("sound rules"));
    });
}

/// The router that takes out what is for the first addressee, sends everything on to the east, and pools nothing.
pub(super) fn addressee(case: &Case) -> Bench {
    let mut bench = Bench::new();
    route(
        &mut bench,
        &[
            ("198.51.100.77/32", LOCAL),
            ("198.51.100.78/32", VIA_EAST),
            ("198.51.100.1/32", VIA_EAST),
            ("203.0.113.0/24", VIA_EAST),
            ("203.0.116.0/24", VIA_EAST),
            ("2001:db8:2::77/128", LOCAL),
            ("2001:db8:2::78/128", VIA_EAST6),
            ("2001:db8:2::1/128", VIA_EAST6),
            ("2001:db8:e::/48", VIA_EAST6),
            ("2001:db8:a::/48", VIA_EAST6),
        ],
    );
    bench.change(|state| {
        let mut pooler = *state.peers.iter().next().expect("one peer");
        pooler.path.format = case.format;
        (pooler.path.source, pooler.path.addressee) = (peer(case.outer_ipv6), pooler_address(case.outer_ipv6));
        state.peers = Arc::new(PeerTable::new(vec![pooler]));
    });
    tell_both(&mut bench, case);
    bench
}

/// An end of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    West,
    East,
}

/// Packets on their way, and what becomes of the next ones.
pub(super) struct Network {
    /// For each packet in turn, over and over: the delay of each of its copies, in microseconds. None at all: they all
    /// arrive at once.
    fates: Vec<Vec<u32>>,
    sent: usize,
    /// In the order in which they were sent.
    on_the_way: Vec<(Tick, Side, Vec<u8>)>,
    /// Packets that were lost, those inside of pooled packets counted one by one.
    pub lost: usize,
}

impl Network {
    pub(super) fn new(fates: &[Vec<u32>]) -> Network {
        Network { fates: fates.to_vec(), sent: 0, on_the_way: Vec::new(), lost: 0 }
    }

    pub(super) fn send(&mut self, to: Side, packet: Vec<u8>, now: Tick) {
        let perfect = vec![0];
        let fate = if self.fates.is_empty() { &perfect } else { &self.fates[self.sent % self.fates.len()] };
        self.sent += 1;
        if fate.is_empty() {
            self.lost += packets_in(&packet);
        }
        for delay in fate {
            self.on_the_way.push((now + TickSpan(u64::from(*delay) * 1000), to, packet.clone()));
        }
    }

    pub(super) fn next_arrival(&self) -> Option<Tick> {
        self.on_the_way.iter().map(|(at, ..)| *at).min()
    }

    /// What is there by now.
    pub(super) fn arrived(&mut self, side: Side, now: Tick) -> Vec<Vec<u8>> {
        let (mut arrived, rest): (Vec<_>, Vec<_>) =
            self.on_the_way.drain(..).partition(|(at, to, _)| *at <= now && *to == side);
        self.on_the_way = rest;
        arrived.sort_by_key(|(at, ..)| *at);
        arrived.into_iter().map(|(.., packet)| packet).collect()
    }
}

/// What a packet is so many routers on, options and all.
pub(super) fn hops_later(packet: &[u8], hops: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 6 {
        packet[7] -= hops;
        return packet;
    }
    packet[8] -= hops;
    packet[10..12].fill(0);
    let checksum = Sum::of(&packet[..usize::from(packet[0] & 15) * 4]).checksum();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// Source and destination.
pub(super) fn addresses(packet: &[u8]) -> (IpAddr, IpAddr) {
    if packet[0] >> 4 == 6 {
        let header = Ipv6Header::parse(packet).expect("a sound packet");
        (header.src.into(), header.dst.into())
    } else {
        let header = Ipv4Header::parse(packet).expect("a sound packet");
        (header.src.into(), header.dst.into())
    }
}

/// Where a pooled packet's UDP header is: it has neither options nor extension headers.
fn udp_at(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 6 { 40 } else { 20 }
}

/// What is behind the UDP header.
pub(super) fn udp_payload(packet: &[u8]) -> &[u8] {
    &packet[udp_at(packet) + 8..]
}

/// Whether a UDP checksum is right.
pub(super) fn verified(packet: &[u8]) -> Verdict {
    let datagram = &packet[udp_at(packet)..];
    match addresses(packet) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => udp::verify(source, destination, datagram),
        (IpAddr::V6(source), IpAddr::V6(destination)) => udp::verify6(source, destination, datagram),
        mixed => panic!("{mixed:?}"),
    }
}

/// The port that a datagram of the pooler goes to; None for what is no pooled packet.
fn pool_port(packet: &[u8]) -> Option<u16> {
    let (source, _) = addresses(packet);
    let is_ours = [false, true].map(pooler_address).contains(&source);
    is_ours.then(|| u16::from_be_bytes([packet[udp_at(packet) + 2], packet[udp_at(packet) + 3]]))
}

/// How many packets of hosts would be lost with this one.
fn packets_in(packet: &[u8]) -> usize {
    let (source, _) = addresses(packet);
    if [false, true].map(peer).contains(&source) {
        return 0; // a report
    }
    let Some(port) = pool_port(packet) else { return 1 };
    let payload = udp_payload(packet);
    match Flavour::of_port(port) {
        Some(flavour) => Datagram::parse(flavour, payload).expect("a sound datagram").count().into(),
        None if payload[0] & 15 == 2 => 0, // an index
        None => payload[1].into(),
    }
}

/// What kind of packet leaves the pooler.
pub(super) fn description(packet: &[u8]) -> String {
    let family = if packet[0] >> 4 == 6 { "IPv6" } else { "IPv4" };
    let Some(port) = pool_port(packet) else { return format!("itself over {family}") };
    let payload = udp_payload(packet);
    match payload[0] & 15 {
        _ if Flavour::of_port(port).is_some() => format!("Simplemux over {family}"),
        0 => format!("kind 0 of {} over {family}", payload[8 + 5]),
        kind => format!("kind {kind} over {family}"),
    }
}
