//! Packets to groups: a source, a branch node, receivers behind two peers; and what must not get through.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::lab::{FAR_HOST, POOL_PORT, after_hops, header, packet, udp, udp_with};
use super::nodes::{Node, silent, to_peer, to_port};
use crate::arch::{Tick, TickRate};
use crate::fib::{PeerIndex, PortIndex};
use crate::packet::ipv4::Ipv4Header;
use crate::pool::wire::{PooledPacket, Row, RowType, write_header_and_rows};
use crate::worker::{Counter, Counters, Drop, Ingress, Leg, LegRoute, LegTable};

const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 129, 2, 3);
/// RFC 1112, 6.4: the highest bit of the second byte is left out.
const GROUP_MAC: [u8; 6] = [0x01, 0x00, 0x5e, 1, 2, 3];
const B: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
const C: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const A_TO_B: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
const A_TO_C: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);

fn port(port: u16) -> Ingress {
    Ingress::Port(PortIndex(port))
}

fn peer(peer: u16) -> Ingress {
    Ingress::Peer(PeerIndex(peer))
}

fn route(from: Ingress, legs: impl IntoIterator<Item = Leg>) -> LegTable {
    LegTable::new([(Some(SOURCE.into()), GROUP.into(), LegRoute::new(Some(from), legs))], [])
}

/// The branch node: the source at port 0, its peer B at port 1 and its peer C at port 2.
fn branch() -> Node {
    let links = [(Ipv4Addr::new(10, 0, 0, 1), SOURCE), (A_TO_B, B), (A_TO_C, C)];
    let mut node = Node::new(&links, &[], &[B, C]);
    node.change_peers(|index, peer| peer.path.source = [A_TO_B, A_TO_C][index].into());
    node.legs(route(port(0), [to_peer(0, &[1]), to_peer(1, &[2])]));
    node
}

/// A peer of the branch node: that at port 0, receivers at the others.
fn leaf(own: Ipv4Addr, branch: Ipv4Addr, receivers: u16) -> Node {
    let hosts = (1..=receivers).map(|n| {
        let [_, _, net, _] = own.octets();
        (Ipv4Addr::new(10, net * 16, n as u8, 1), Ipv4Addr::new(10, net * 16, n as u8, 2))
    });
    let links: Vec<_> = [(own, branch)].into_iter().chain(hosts).collect();
    let mut node = Node::new(&links, &[], &[branch]);
    node.legs(route(peer(0), (1..=receivers).map(to_port)));
    node
}

fn stream(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|tag| udp(SOURCE, GROUP, (5004, 5004), 200, tag)).collect()
}

fn with_ttl(packet: &[u8], ttl: u8) -> Vec<u8> {
    let header = Ipv4Header { ttl, ..Ipv4Header::parse(packet).expect("sound") };
    super::lab::packet(header, &packet[20..])
}

fn ip(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    frames.iter().map(|frame| frame[14..].to_vec()).collect()
}

fn window(now: &mut Tick) {
    *now = *now + TickRate::NANOSECONDS.ticks(Duration::from_millis(5));
}

#[test]
fn each_link_of_a_tree_carries_one_copy_and_every_receiver_gets_every_packet() {
    let mut now = Tick(1_000_000);
    let (mut a, mut b, mut c) = (branch(), leaf(B, A_TO_B, 2), leaf(C, A_TO_C, 1));
    let packets = stream(12);
    for packet in &packets {
        a.hears(0, GROUP_MAC, packet);
    }
    a.run(&mut now);
    window(&mut now);
    a.run(&mut now);
    assert!(a.sends(0).is_empty(), "nothing goes back to the source");
    for (port, peer) in [(1, &mut b), (2, &mut c)] {
        let frames = a.sends(port);
        assert_eq!(frames.len(), 2, "seven packets of 200 bytes share a ride, and the other five");
        let carried: usize =
            frames.iter().map(|frame| PooledPacket::parse(&frame[42..]).expect("a pooled packet").rows().count()).sum();
        assert_eq!(carried, packets.len(), "each packet crosses the link once");
        frames.iter().for_each(|frame| peer.hears_frame(0, frame));
        peer.run(&mut now);
        assert!(peer.sends(0).is_empty(), "nothing goes back to the branch node");
    }
    let expected: Vec<_> = packets.iter().map(|packet| after_hops(packet, 2)).collect();
    for frames in [b.sends(1), b.sends(2), c.sends(1)] {
        assert!(frames.iter().all(|frame| frame[..6] == GROUP_MAC), "to the group's address on the link");
        assert_eq!(ip(&frames), expected);
    }
    let created = |counters: Counters| counters.get(Counter::CreatedReplicas);
    assert_eq!([created(a.end(now)), created(b.end(now)), created(c.end(now))], [12, 12, 0]);
}

#[test]
fn a_packet_by_a_wrong_way_is_dropped_by_name() {
    let mut now = Tick(1_000_000);
    let (mut a, mut b) = (branch(), leaf(B, A_TO_B, 1));
    // From a neighbour's link, not from the source's.
    a.hears(1, GROUP_MAC, &stream(1)[0]);
    a.run(&mut now);
    // To the leaf as itself: it is to come out of a pooled packet from its peer.
    b.hears(0, GROUP_MAC, &stream(1)[0]);
    b.run(&mut now);
    // From a source that has no route, and to a group that has none.
    a.hears(0, GROUP_MAC, &udp(FAR_HOST, GROUP, (1, 2), 100, 1));
    a.hears(0, GROUP_MAC, &udp(SOURCE, Ipv4Addr::new(239, 129, 2, 4), (1, 2), 100, 1));
    a.run(&mut now);
    for port in 0..3 {
        assert!(a.sends(port).is_empty());
    }
    let (a, b) = (a.end(now), b.end(now));
    assert_eq!((a.drops(Drop::MulticastRpf), a.drops(Drop::NoMulticastRoute)), (1, 2));
    assert_eq!(b.drops(Drop::MulticastRpf), 1);
}

#[test]
fn what_is_for_the_link_or_has_no_time_left_stays_and_nobody_is_told() {
    let mut now = Tick(1_000_000);
    let mut a = branch();
    let link_local = Ipv4Addr::new(224, 0, 0, 5);
    a.legs(LegTable::new([(None, link_local.into(), LegRoute::new(Some(port(0)), [to_port(1)]))], []));
    a.hears(0, [0x01, 0, 0x5e, 0, 0, 5], &udp(SOURCE, link_local, (1, 2), 100, 1));
    a.run(&mut now);
    a.legs(route(port(0), [to_port(1)]));
    for ttl in [0, 1] {
        a.hears(0, GROUP_MAC, &with_ttl(&stream(1)[0], ttl));
    }
    a.hears(0, GROUP_MAC, &with_ttl(&stream(1)[0], 2));
    a.run(&mut now);
    assert_eq!(ip(&a.sends(1)), [with_ttl(&stream(1)[0], 1)]);
    assert!(a.sends(0).is_empty(), "no ICMP error about multicast");
    let counters = a.end(now);
    assert_eq!((counters.drops(Drop::MulticastLinkLocal), counters.drops(Drop::TtlExpired)), (1, 2));
    assert_eq!(counters.get(Counter::CreatedIcmp), 0);
}

#[test]
fn what_no_rule_pools_travels_alone_in_a_pooled_packet_behind_its_flow() {
    let mut now = Tick(1_000_000);
    let mut a = branch();
    a.legs(route(port(0), [to_peer(0, &[1])]));
    let icmp = packet(header(SOURCE, GROUP, 1, 40), &[8; 40]);
    let large = udp(SOURCE, GROUP, (5004, 5004), 900, 7);
    let small = stream(2);
    for sent in [&small[0], &small[1], &large, &icmp] {
        a.hears(0, GROUP_MAC, sent);
    }
    a.run(&mut now);
    let left: Vec<Vec<Vec<u8>>> = a
        .sends(1)
        .iter()
        .map(|frame| {
            let pooled = PooledPacket::parse(&frame[42..]).expect("a pooled packet");
            assert!(pooled.header().is_overlay());
            assert!(pooled.rows().all(|(row, _)| row.ttl == 1), "one overlay hop");
            pooled.rows().map(|(_, bytes)| bytes.to_vec()).collect()
        })
        .collect();
    let once = |packet: &[u8]| after_hops(packet, 1);
    assert_eq!(left, [vec![once(&small[0]), once(&small[1])], vec![once(&large)], vec![once(&icmp)]]);
    let counters = a.end(now);
    assert_eq!((counters.get(Counter::PoolRowsSent), counters.get(Counter::PoolSent)), (4, 3));
}

#[test]
fn a_single_packet_whose_window_ends_gets_to_its_peer_all_the_same() {
    let mut now = Tick(1_000_000);
    let (mut a, mut b) = (branch(), leaf(B, A_TO_B, 1));
    a.hears(0, GROUP_MAC, &stream(1)[0]);
    a.run(&mut now);
    window(&mut now);
    a.run(&mut now);
    let frames = a.sends(1);
    assert_eq!(frames.len(), 1);
    b.hears_frame(0, &frames[0]);
    b.run(&mut now);
    assert_eq!(ip(&b.sends(1)), [after_hops(&stream(1)[0], 2)]);
    a.end(now);
    b.end(now);
}

#[test]
fn packets_too_large_for_a_leg_are_cut_or_dropped_and_put_together_again_they_are_the_same() {
    let mut now = Tick(1_000_000);
    let (mut a, mut b) = (branch(), leaf(B, A_TO_B, 1));
    a.legs(route(port(0), [to_peer(0, &[1])]));
    let large = udp(SOURCE, GROUP, (5004, 5004), 1500, 7);
    a.hears(0, GROUP_MAC, &large);
    let uncut = Ipv4Header { dont_fragment: true, ..Ipv4Header::parse(&large).expect("sound") };
    a.hears(0, GROUP_MAC, &packet(uncut, &large[20..]));
    a.run(&mut now);
    let frames = a.sends(1);
    assert!(frames.iter().all(|frame| frame.len() <= 1514));
    frames.iter().for_each(|frame| b.hears_frame(0, frame));
    b.run(&mut now);
    let fragments = ip(&b.sends(1));
    assert_eq!(fragments.len(), 2);
    let data: Vec<u8> = fragments.iter().flat_map(|fragment| fragment[20..].to_vec()).collect();
    assert_eq!(data, large[20..]);
    assert_eq!(a.end(now).drops(Drop::FragmentationNeeded), 1);
    b.end(now);
}

#[test]
fn a_leg_whose_peer_is_silent_costs_its_copy_and_no_other() {
    let mut now = Tick(1_000_000);
    let mut a = branch();
    a.legs(route(port(0), [silent(to_peer(0, &[1])), to_port(2)]));
    a.hears(0, GROUP_MAC, &stream(1)[0]);
    a.run(&mut now);
    assert!(a.sends(1).is_empty());
    assert_eq!(a.sends(2).len(), 1);
    assert_eq!(a.end(now).drops(Drop::LegDown), 1);
}

#[test]
fn a_storm_to_more_legs_than_there_is_memory_for_is_accounted_for() {
    let mut now = Tick(1_000_000);
    let links: Vec<_> = (0..9).map(|n| (Ipv4Addr::new(10, 0, n, 1), Ipv4Addr::new(10, 0, n, 2))).collect();
    let mut a = Node::new(&links, &[], &[]);
    a.legs(route(port(0), (1..9).map(to_port)));
    // The transmit queues hold 1000 frames each and nobody takes any: memory runs out first.
    for round in 0..40 {
        (0..20).for_each(|_| a.hears(0, GROUP_MAC, &stream(1)[0]));
        a.run(&mut now);
        if round % 4 == 3 {
            now = now + TickRate::NANOSECONDS.ticks(Duration::from_millis(1));
        }
        if a.worker.counters().drops(Drop::NoBuffer) > 0 {
            break;
        }
    }
    let counters = a.worker.counters();
    assert!(counters.drops(Drop::NoBuffer) > 0, "{counters:?}");
    assert_eq!(counters.imbalance(), 0);
    a.end(now);
}

#[test]
fn a_pooled_packet_from_another_peer_does_not_pass_for_one_of_the_right_peer() {
    let mut now = Tick(1_000_000);
    let other = Ipv4Addr::new(10, 0, 1, 9);
    let links = [(B, A_TO_B), (Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2))];
    let mut b = Node::new(&links, &[], &[A_TO_B, other]);
    b.legs(route(peer(0), [to_port(1)]));
    let inner = stream(1).remove(0);
    let row = Row { start: 0, length: inner.len() as u16, ttl: 1, row_type: RowType::WholeIpv4 };
    let mut payload = vec![0; 8 + 6];
    write_header_and_rows(64, 1, &[row], &mut payload).expect("room");
    payload.extend(&inner);
    let own = super::nodes::mac(B);
    for sender in [other, A_TO_B] {
        b.hears(0, own, &udp_with(sender, B, (POOL_PORT, POOL_PORT), &payload));
        b.run(&mut now);
    }
    assert_eq!(b.sends(1).len(), 1);
    assert_eq!(b.end(now).drops(Drop::MulticastRpf), 1);
}
