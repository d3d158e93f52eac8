//! IPv6 by routes with legs: groups replicated to links and peers, prefixes behind an overlay, and what is refused there.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::lab::POOL_PORT;
use super::lab6::{after_hops6, error_of, udp6, udp6_with};
use super::nodes::{Node, mac, silent, to_peer, to_port};
use crate::arch::{Tick, TickRate};
use crate::fib::{PeerIndex, PortIndex};
use crate::pool::hello::Capabilities;
use crate::pool::wire::{OVERLAY, PooledPacket};
use crate::worker::{Counter, Drop, Ingress, Leg, LegRoute, LegTable};

const SOURCE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 9);
const OWN: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 1);
const GROUP: Ipv6Addr = Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 0x8001, 0x203);
/// RFC 2464, 7.
const GROUP_MAC: [u8; 6] = [0x33, 0x33, 0x80, 1, 2, 3];
/// The branch node's peers, and its addresses towards them, by peer.
const PEERS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 1, 2), Ipv4Addr::new(10, 0, 2, 2)];
const TO_PEERS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 1, 1), Ipv4Addr::new(10, 0, 2, 1)];
const PEERS6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2), Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2)];
const TO_PEERS6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1)];
/// Hosts behind the second and behind the last node of an overlay.
const BEHIND_B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 7);
const BEHIND_C: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7);

fn at_port(port: u16) -> Ingress {
    Ingress::Port(PortIndex(port))
}

fn group_route(from: Ingress, legs: impl IntoIterator<Item = Leg>) -> LegTable {
    LegTable::new([(Some(SOURCE.into()), GROUP.into(), LegRoute::new(Some(from), legs))], [])
}

fn overlay_route(prefix: &str, legs: impl IntoIterator<Item = Leg>) -> LegTable {
    LegTable::new([], [(prefix.parse().expect("prefix"), LegRoute::new(None, legs))])
}

/// The branch node: the source at port 0, its peers at ports 1 and 2, whose addresses are of IPv6 if `outer_ipv6`.
fn branch(outer_ipv6: bool) -> Node {
    let links =
        [(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)), (TO_PEERS[0], PEERS[0]), (TO_PEERS[1], PEERS[1])];
    let mut node = Node::new(&links, &[], &PEERS);
    node.ipv6(0, OWN, &["2001:db8:a::/64"]);
    node.ipv6(1, TO_PEERS6[0], &["2001:db8:1::/64"]);
    node.ipv6(2, TO_PEERS6[1], &["2001:db8:2::/64"]);
    node.change_peers(|index, peer| {
        let (addressee, source) = (&mut peer.path.addressee, &mut peer.path.source);
        (*addressee, *source) = match outer_ipv6 {
            true => (PEERS6[index].into(), TO_PEERS6[index].into()),
            false => (PEERS[index].into(), TO_PEERS[index].into()),
        };
    });
    node.legs(group_route(at_port(0), [to_peer(0, &[1]), to_peer(1, &[2])]));
    node
}

/// A peer of the branch node: that at port 0, so many receivers at the others.
fn leaf(number: usize, receivers: u16, outer_ipv6: bool) -> Node {
    let hosts = (1..=receivers).map(|n| (Ipv4Addr::new(10, 7, n as u8, 1), Ipv4Addr::new(10, 7, n as u8, 2)));
    let links: Vec<_> = [(PEERS[number], TO_PEERS[number])].into_iter().chain(hosts).collect();
    let mut node = Node::new(&links, &[], &[TO_PEERS[number]]);
    node.ipv6(0, PEERS6[number], &["2001:db8:a::/64"]);
    if outer_ipv6 {
        node.change_peers(|_, peer| peer.path.addressee = TO_PEERS6[number].into());
    }
    node.legs(group_route(Ingress::Peer(PeerIndex(0)), (1..=receivers).map(to_port)));
    node
}

fn stream(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|tag| udp6(SOURCE, GROUP, (5004, 5004), 200, tag)).collect()
}

fn with_hop_limit(packet: &[u8], hop_limit: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[7] = hop_limit;
    packet
}

fn ip(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    frames.iter().map(|frame| frame[14..].to_vec()).collect()
}

fn window(now: &mut Tick) {
    *now = *now + TickRate::NANOSECONDS.ticks(Duration::from_millis(5));
}

/// The rows of a pooled packet between overlay nodes, with their TTLs and types, behind an outer header of so many bytes.
fn rows(outer: &[u8], header: usize) -> Vec<(u8, Vec<u8>)> {
    let pooled = PooledPacket::parse(&outer[header + 8..]).expect("a pooled packet");
    assert!(pooled.header().is_overlay());
    pooled.rows().map(|(row, bytes)| (row.ttl, bytes.to_vec())).collect()
}

fn each_link_carries_one_copy(outer_ipv6: bool) {
    let mut now = Tick(1_000_000);
    let (mut a, mut b, mut c) = (branch(outer_ipv6), leaf(0, 2, outer_ipv6), leaf(1, 1, outer_ipv6));
    let packets = stream(12);
    packets.iter().for_each(|packet| a.hears(0, GROUP_MAC, packet));
    a.run(&mut now);
    window(&mut now);
    a.run(&mut now);
    assert!(a.sends(0).is_empty(), "nothing goes back to the source");
    let outer_len = if outer_ipv6 { 40 } else { 20 };
    for (port, peer) in [(1, &mut b), (2, &mut c)] {
        let frames = a.sends(port);
        assert!(frames.len() <= 2, "they share rides");
        let carried: usize = ip(&frames).iter().map(|outer| rows(outer, outer_len).len()).sum();
        assert_eq!(carried, packets.len(), "each packet crosses the link once");
        frames.iter().for_each(|frame| peer.hears_frame(0, frame));
        peer.run(&mut now);
        assert!(peer.sends(0).is_empty(), "nothing goes back to the branch node");
    }
    let expected: Vec<_> = packets.iter().map(|packet| after_hops6(packet, 2)).collect();
    for frames in [b.sends(1), b.sends(2), c.sends(1)] {
        assert!(frames.iter().all(|frame| frame[..6] == GROUP_MAC && frame[12..14] == [0x86, 0xdd]));
        assert_eq!(ip(&frames), expected);
    }
    for (node, replicas) in [(a, 12), (b, 12), (c, 0)] {
        assert_eq!(node.end(now).get(Counter::CreatedReplicas), replicas);
    }
}

#[test]
fn each_link_of_a_tree_carries_one_copy_inside_ipv4() {
    each_link_carries_one_copy(false);
}

#[test]
fn each_link_of_a_tree_carries_one_copy_inside_ipv6() {
    each_link_carries_one_copy(true);
}

#[test]
fn a_packet_by_a_wrong_way_or_without_a_route_or_time_left_is_dropped_by_name_and_nobody_is_told() {
    let mut now = Tick(1_000_000);
    let mut a = branch(false);
    let packet = stream(1).remove(0);
    a.hears(1, GROUP_MAC, &packet);
    a.hears(0, GROUP_MAC, &udp6(BEHIND_B, GROUP, (1, 2), 100, 1));
    a.hears(0, GROUP_MAC, &udp6(SOURCE, "ff3e::8001:204".parse().expect("an address"), (1, 2), 100, 1));
    a.hears(0, GROUP_MAC, &with_hop_limit(&packet, 0));
    a.hears(0, GROUP_MAC, &with_hop_limit(&packet, 1));
    a.run(&mut now);
    assert!((0..3).all(|port| a.sends(port).is_empty()));
    let counters = a.end(now);
    assert_eq!((counters.drops(Drop::MulticastRpf), counters.drops(Drop::NoMulticastRoute)), (1, 2));
    assert_eq!((counters.drops(Drop::TtlExpired), counters.get(Counter::CreatedIcmp)), (2, 0));
}

#[test]
fn what_is_for_an_interface_or_a_link_is_never_forwarded_whatever_its_route_and_flags_say() {
    let mut now = Tick(1_000_000);
    let mut a = branch(false);
    let confined: Vec<Ipv6Addr> =
        ["ff00::8001:203", "ff01::8001:203", "ff02::8001:203", "ff12::8001:203", "ff32::8001:203"]
            .map(|group| group.parse().expect("an address"))
            .into();
    let route = |group: &Ipv6Addr| (None, (*group).into(), LegRoute::new(Some(at_port(0)), [to_port(1)]));
    a.legs(LegTable::new(confined.iter().map(route), []));
    confined.iter().for_each(|group| a.hears(0, GROUP_MAC, &udp6(SOURCE, *group, (1, 2), 100, 1)));
    a.run(&mut now);
    assert!(a.sends(1).is_empty());
    let inside: Vec<_> = confined.iter().map(|group| udp6(SOURCE, *group, (1, 2), 100, 1)).collect();
    for row in &inside {
        let payload = [&[0x10, 1, 64, OVERLAY, 0, 0, 0, 1, 0, 0, 0, 100, 1, 41], &row[..]].concat();
        a.hears(1, mac(TO_PEERS[0]), &super::lab::udp_with(PEERS[0], TO_PEERS[0], (POOL_PORT, POOL_PORT), &payload));
    }
    a.run(&mut now);
    assert!(a.sends(1).is_empty());
    assert_eq!(a.end(now).drops(Drop::MulticastLinkLocal), 10);
}

#[test]
fn a_packet_too_large_for_a_leg_goes_by_the_others_and_its_source_is_told_but_not_too_often() {
    let mut now = Tick(1_000_000);
    let mut a = branch(false);
    a.legs(group_route(at_port(0), [to_peer(0, &[1]), to_port(2)]));
    let large = udp6(SOURCE, GROUP, (5004, 5004), 1500, 7);
    for _ in 0..150 {
        a.hears(0, GROUP_MAC, &large);
    }
    a.run(&mut now);
    assert!(a.sends(1).is_empty(), "no router fragments IPv6");
    assert_eq!(ip(&a.sends(2)), vec![after_hops6(&large, 1); 150]);
    let told = ip(&a.sends(0));
    let (from, to, kind, mtu, quoted) = error_of(&told[0]);
    assert_eq!((from, to, kind, mtu), (OWN, SOURCE, [2, 0], 1500 - 20 - 8 - 8 - 6));
    assert_eq!(quoted, &large[..quoted.len()]);
    assert!((100..150).contains(&told.len()), "{} errors", told.len());
    let counters = a.end(now);
    assert_eq!(counters.drops(Drop::FragmentationNeeded), 150);
    assert_eq!(counters.get(Counter::IcmpLimited), 150 - told.len() as u64);
}

#[test]
fn a_peer_that_does_not_take_ipv6_gets_no_copy() {
    let mut now = Tick(1_000_000);
    let mut a = branch(false);
    a.change_peers(|index, peer| {
        if index == 0 {
            peer.path.capabilities = Capabilities::WHOLE_IPV4;
        }
    });
    a.hears(0, GROUP_MAC, &stream(1)[0]);
    a.run(&mut now);
    window(&mut now);
    a.run(&mut now);
    assert_eq!((a.sends(1).len(), a.sends(2).len()), (0, 1));
    assert_eq!(a.end(now).drops(Drop::LegDown), 1);
}

/// A host with one port on a network that reaches everybody; its peers, and what is behind the overlay.
fn host(own: u8, peers: &[u8], overlays: &[(&str, Leg)]) -> Node {
    let address = |n: u8| Ipv4Addr::new(10, n, 0, 1);
    let peers: Vec<_> = peers.iter().copied().map(address).collect();
    let mut node = Node::new(&[(address(own), Ipv4Addr::new(10, own, 0, 254))], &[("0.0.0.0/0", 0)], &peers);
    node.ipv6(0, Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, own.into()), &["::/0"]);
    let routes = overlays.iter().map(|(prefix, leg)| (prefix.parse().expect("prefix"), LegRoute::new(None, [*leg])));
    node.legs(LegTable::new([], routes));
    node
}

#[test]
fn rows_go_from_overlay_node_to_overlay_node_and_get_out_where_they_are_due() {
    let mut now = Tick(1_000_000);
    let mut a = host(1, &[2], &[("2001:db8:c::/48", to_peer(0, &[1, 2])), ("2001:db8:b::/48", to_peer(0, &[1]))]);
    let mut b = host(2, &[1, 3], &[("2001:db8:c::/48", to_peer(1, &[2]))]);
    let mut c = host(3, &[2], &[]);
    let address = |n: u8| Ipv4Addr::new(10, n, 0, 1);
    let packets = [udp6(SOURCE, BEHIND_C, (1, 2), 100, 1), udp6(SOURCE, BEHIND_B, (1, 2), 120, 2)];
    packets.iter().for_each(|packet| a.hears(0, mac(address(1)), packet));
    a.run(&mut now);
    window(&mut now);
    a.run(&mut now);
    let out = ip(&a.sends(0));
    assert_eq!(out.len(), 1);
    assert_eq!(rows(&out[0], 20), [(2, after_hops6(&packets[0], 1)), (1, after_hops6(&packets[1], 1))]);

    // B sends the first one on at once, and takes the second out.
    b.hears(0, mac(address(2)), &out[0]);
    b.run(&mut now);
    let out = ip(&b.sends(0));
    assert_eq!(out.len(), 2);
    assert_eq!(rows(&out[0], 20), [(1, after_hops6(&packets[0], 1))]);
    assert_eq!(out[1], after_hops6(&packets[1], 2));

    c.hears(0, mac(address(3)), &out[0]);
    c.run(&mut now);
    assert_eq!(ip(&c.sends(0)), [after_hops6(&packets[0], 2)]);
    a.end(now);
    let b = b.end(now);
    assert_eq!((b.get(Counter::RowsReaddressed), b.get(Counter::CreatedExtracted)), (1, 1));
    c.end(now);
}

#[test]
fn a_source_is_told_why_its_packet_does_not_enter_the_overlay() {
    let mut now = Tick(1_000_000);
    let mut a = branch(false);
    a.legs(overlay_route("2001:db8:c::/48", [to_peer(0, &[1])]));
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
    let own = mac(Ipv4Addr::new(10, 0, 0, 1));
    let packet = udp6(SOURCE, BEHIND_C, (1, 2), 100, 1);
    a.hears(0, own, &udp6(SOURCE, BEHIND_C, (1, 2), 1480, 1));
    a.hears(0, own, &with_hop_limit(&packet, 1));
    a.run(&mut now);
    let told = ip(&a.sends(0));
    let kinds: Vec<_> = told.iter().map(|icmp| (error_of(icmp).2, error_of(icmp).3)).collect();
    assert_eq!(kinds, [([2, 0], 1500 - 20 - 8 - 8 - 6), ([3, 0], 0)]);
    a.hears(0, own, &udp6(link_local, BEHIND_C, (1, 2), 100, 1));
    a.run(&mut now);
    assert!(a.sends(1).is_empty());
    let counters = a.end(now);
    let dropped = [Drop::FragmentationNeeded, Drop::TtlExpired, Drop::LinkScope].map(|name| counters.drops(name));
    assert_eq!(dropped, [1, 1, 1]);
}

#[test]
fn a_packet_to_the_router_itself_does_not_enter_an_overlay_that_covers_its_address() {
    let mut now = Tick(1_000_000);
    let mut a = branch(false);
    a.legs(overlay_route("::/0", [to_peer(0, &[1])]));
    a.hears(0, mac(Ipv4Addr::new(10, 0, 0, 1)), &udp6(SOURCE, OWN, (1, 2), 100, 1));
    a.run(&mut now);
    assert!(a.sends(1).is_empty());
    assert_eq!(a.end(now).drops(Drop::LocalUnhandled), 1);
}

#[test]
fn a_pooled_packet_of_ipv6_in_transit_does_not_enter_an_overlay() {
    let mut now = Tick(1_000_000);
    let mut a = branch(true);
    a.legs(overlay_route("2001:db8:2::/64", [to_peer(0, &[1])]));
    let pooled = udp6_with(SOURCE, PEERS6[1], (POOL_PORT, POOL_PORT), &[0; 60]);
    a.hears(0, mac(Ipv4Addr::new(10, 0, 0, 1)), &pooled);
    a.run(&mut now);
    assert!(a.sends(1).is_empty());
    assert_eq!(ip(&a.sends(2)), [after_hops6(&pooled, 1)]);
    a.end(now);
}

#[test]
fn a_source_is_told_that_the_only_leg_of_an_overlay_is_down_and_that_of_a_group_is_not() {
    let mut now = Tick(1_000_000);
    let mut a = branch(false);
    let own = mac(Ipv4Addr::new(10, 0, 0, 1));
    let (packet, to_group) = (udp6(SOURCE, BEHIND_C, (1, 2), 100, 1), stream(1).remove(0));
    a.legs(overlay_route("2001:db8:c::/48", [silent(to_peer(0, &[1]))]));
    (0..150).for_each(|_| a.hears(0, own, &packet));
    a.run(&mut now);
    let told = ip(&a.sends(0));
    let (from, to, kind, ..) = error_of(&told[0]);
    assert_eq!((from, to, kind), (OWN, SOURCE, [1, 3]));
    assert!((100..150).contains(&told.len()), "no more than of other errors: {}", told.len());
    window(&mut now);
    a.legs(overlay_route("2001:db8:c::/48", [silent(to_peer(0, &[1])), to_peer(1, &[2])]));
    a.hears(0, own, &packet);
    a.run(&mut now);
    a.legs(group_route(at_port(0), [silent(to_peer(0, &[1]))]));
    a.hears(0, GROUP_MAC, &to_group);
    a.run(&mut now);
    assert!(a.sends(0).is_empty(), "one leg of two is not all, and groups are told nothing");
    a.end(now);
}
