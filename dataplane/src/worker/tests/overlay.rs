//! Overlay nodes with one port on an ordinary network: readdressed hop by hop, in step with their rows' TTLs.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::lab::{POOL_PORT, after_hops, udp};
use super::nodes::{Node, mac, silent, to_peer};
use crate::arch::{Tick, TickRate};
use crate::fib::PeerIndex;
use crate::packet::ipv4::Ipv4Header;
use crate::pool::vectors::Vector;
use crate::pool::wire::{OVERLAY, PooledPacket};
use crate::worker::{Counter, Drop, Ingress, Leg, LegRoute, LegTable};

const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 9);
const A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
const C: Ipv4Addr = Ipv4Addr::new(10, 3, 0, 1);
const D: Ipv4Addr = Ipv4Addr::new(10, 4, 0, 1);
/// Behind D, and behind C.
const BEHIND_D: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const BEHIND_C: Ipv4Addr = Ipv4Addr::new(203, 0, 114, 7);

/// A host with one port on a network that reaches everybody; its peers, and the peer index and nodes behind each prefix.
fn host(own: Ipv4Addr, peers: &[Ipv4Addr], overlays: &[(&str, Leg)]) -> Node {
    let [a, b, c, _] = own.octets();
    let mut node = Node::new(&[(own, Ipv4Addr::new(a, b, c, 254))], &[("0.0.0.0/0", 0)], peers);
    let routes = overlays.iter().map(|(prefix, leg)| (prefix.parse().expect("prefix"), LegRoute::new(None, [*leg])));
    node.legs(LegTable::new([], routes));
    node
}

/// A to D, each a peer of those beside it.
fn chain() -> [Node; 4] {
    [
        host(A, &[B], &[("203.0.113.0/24", to_peer(0, &[1, 2, 3])), ("203.0.114.0/24", to_peer(0, &[1, 2]))]),
        host(B, &[A, C], &[("203.0.113.0/24", to_peer(1, &[2, 3])), ("203.0.114.0/24", to_peer(1, &[2]))]),
        host(C, &[B, D], &[("203.0.113.0/24", to_peer(1, &[3]))]),
        host(D, &[C], &[]),
    ]
}

/// What a node's one port sent: IP packets.
fn sent(node: &mut Node) -> Vec<Vec<u8>> {
    node.sends(0).iter().map(|frame| frame[14..].to_vec()).collect()
}

/// Addresses, and the TTL and bytes of each row, of a pooled packet between overlay nodes.
fn read(outer: &[u8]) -> (Ipv4Addr, Ipv4Addr, Vec<(u8, Vec<u8>)>) {
    let header = Ipv4Header::parse(outer).expect("a sound outer header");
    let pooled = PooledPacket::parse(&outer[28..]).expect("a pooled packet");
    assert!(pooled.header().is_overlay());
    assert_eq!((header.ttl, pooled.header().outer_ttl), (64, 64));
    (header.src, header.dst, pooled.rows().map(|(row, bytes)| (row.ttl, bytes.to_vec())).collect())
}

/// A pooled packet between overlay nodes with one row.
fn overlay_pooled(from: Ipv4Addr, to: Ipv4Addr, ttl: u8, row: &[u8]) -> Vec<u8> {
    let length = row.len() as u16;
    let [l0, l1] = length.to_be_bytes();
    let payload = [&[0x10, 1, 64, OVERLAY, 0, 0, 0, 1, 0, 0, l0, l1, ttl, 4], row].concat();
    super::lab::udp_with(from, to, (POOL_PORT, POOL_PORT), &payload)
}

#[test]
fn rows_go_from_node_to_node_and_get_out_where_they_are_due() {
    let mut now = Tick(1_000_000);
    let [mut a, mut b, mut c, mut d] = chain();
    let packets = [
        udp(SOURCE, BEHIND_D, (1, 2), 100, 1),
        udp(SOURCE, BEHIND_C, (1, 2), 120, 2),
        udp(SOURCE, BEHIND_D, (1, 2), 140, 3),
    ];
    packets.iter().for_each(|packet| a.hears(0, mac(A), packet));
    a.run(&mut now);
    now = now + TickRate::NANOSECONDS.ticks(Duration::from_millis(5));
    a.run(&mut now);
    let once: Vec<_> = packets.iter().map(|packet| after_hops(packet, 1)).collect();
    let row = |ttl: u8, at: usize| (ttl, once[at].clone());

    let out = sent(&mut a);
    assert_eq!(out.len(), 1);
    assert_eq!(read(&out[0]), (A, B, vec![row(3, 0), row(2, 1), row(3, 2)]));

    // B sends all of them on at once, in the same iteration: no window.
    b.hears(0, mac(B), &out[0]);
    b.run(&mut now);
    let out = sent(&mut b);
    assert_eq!(out.len(), 1);
    assert_eq!(read(&out[0]), (B, C, vec![row(2, 0), row(1, 1), row(2, 2)]));

    // At C one is due and goes on as itself.
    c.hears(0, mac(C), &out[0]);
    c.run(&mut now);
    let out = sent(&mut c);
    assert_eq!(out.len(), 2);
    assert_eq!(read(&out[0]), (C, D, vec![row(1, 0), row(1, 2)]));
    assert_eq!(out[1], after_hops(&packets[1], 2));

    d.hears(0, mac(D), &out[0]);
    d.run(&mut now);
    assert_eq!(sent(&mut d), [after_hops(&packets[0], 2), after_hops(&packets[2], 2)]);
    a.end(now);
    let b = b.end(now);
    assert_eq!((b.get(Counter::CreatedReaddressed), b.get(Counter::RowsReaddressed)), (1, 3));
    assert_eq!(b.get(Counter::CreatedExtracted), 0);
    assert_eq!(c.end(now).get(Counter::CreatedExtracted), 1);
    d.end(now);
}

#[test]
fn an_overlay_node_does_with_every_vector_what_it_says() {
    for vector in Vector::all("overlay") {
        assert_eq!(vector.section("at").words[1], "overlay-node", "{}", vector.name);
        let given = vector.given();
        let [["overlay", prefix, "to", next]] = [given[0].as_slice()] else { panic!("{}: {given:?}", vector.name) };
        let peers = [A, C];
        let index = peers.iter().position(|peer| peer.to_string() == *next).expect("one of its peers") as u16;
        let mut node = host(B, &peers, &[(prefix, to_peer(index, &[3]))]);
        let mut now = Tick(1_000_000);
        node.hears(0, mac(B), &vector.section("packet").bytes);
        node.run(&mut now);
        // What is sent on needs no second pass through the input, and leaves before what was taken out.
        let of = |action: &str| -> Vec<Vec<u8>> {
            let expected = vector.expected().into_iter().filter(|(words, _)| words[0] == action);
            expected.map(|(_, bytes)| bytes.to_vec()).collect()
        };
        let taken = of("take").iter().map(|packet| after_hops(packet, 1)).collect();
        assert_eq!(sent(&mut node), [of("forward"), taken].concat(), "{}", vector.name);
        assert_eq!(node.end(now).drops_total(), 0, "{}", vector.name);
    }
}

#[test]
fn rows_whose_ways_part_at_a_node_are_taken_out_there_and_pooled_anew() {
    let mut now = Tick(1_000_000);
    let [mut a, _, c, d] = chain();
    // B sends what is for D to D itself.
    let mut b = host(B, &[A, C, D], &[("203.0.114.0/24", to_peer(1, &[2])), ("203.0.113.0/24", to_peer(2, &[3]))]);
    let packets = [
        udp(SOURCE, BEHIND_C, (1, 2), 120, 2),
        udp(SOURCE, BEHIND_D, (1, 2), 100, 1),
        udp(SOURCE, BEHIND_D, (1, 2), 110, 3),
    ];
    packets.iter().for_each(|packet| a.hears(0, mac(A), packet));
    a.run(&mut now);
    now = now + TickRate::NANOSECONDS.ticks(Duration::from_millis(5));
    a.run(&mut now);
    b.hears(0, mac(B), &sent(&mut a)[0]);
    b.run(&mut now);
    assert_eq!(read(&sent(&mut b)[0]), (B, C, vec![(1, after_hops(&packets[0], 1))]));
    now = now + TickRate::NANOSECONDS.ticks(Duration::from_millis(5));
    b.run(&mut now);
    let out = sent(&mut b);
    assert_eq!(read(&out[0]), (B, D, vec![(1, after_hops(&packets[1], 2)), (1, after_hops(&packets[2], 2))]));
    for node in [a, b, c, d] {
        node.end(now);
    }
}

#[test]
fn a_pooled_packet_that_goes_round_in_circles_ends() {
    let mut now = Tick(1_000_000);
    // B says by C, C says by B: of three nodes in a ring each says by the next.
    let mut nodes = [
        host(A, &[B, C], &[("203.0.113.0/24", to_peer(0, &[1, 2, 3, 4, 5, 6, 7, 8]))]),
        host(B, &[C, A], &[("203.0.113.0/24", to_peer(0, &[2, 3, 1]))]),
        host(C, &[A, B], &[("203.0.113.0/24", to_peer(0, &[3, 1, 2]))]),
    ];
    nodes[0].hears(0, mac(A), &udp(SOURCE, BEHIND_D, (1, 2), 100, 1));
    let mut hops = 0;
    loop {
        let at = hops % 3;
        nodes[at].run(&mut now);
        now = now + TickRate::NANOSECONDS.ticks(Duration::from_millis(5));
        nodes[at].run(&mut now);
        let out = sent(&mut nodes[at]);
        let pooled: Vec<_> =
            out.iter().filter(|packet| packet[9] == 17 && packet[20..22] == POOL_PORT.to_be_bytes()).collect();
        let Some(outer) = pooled.first() else { break };
        assert_eq!(pooled.len(), 1);
        hops += 1;
        let (_, to, _) = read(outer);
        let next = hops % 3;
        nodes[next].hears(0, mac(to), outer);
        assert!(hops < 64 * 16, "it never ends");
    }
    assert!(hops > 8, "it is pooled anew where it was due");
    let dropped: u64 = nodes.into_iter().map(|node| node.end(now).drops(Drop::TtlExpired)).sum();
    assert_eq!(dropped, 1);
}

#[test]
fn a_row_for_the_node_itself_is_taken_out_there_although_its_prefix_lies_behind_the_next() {
    let mut now = Tick(1_000_000);
    let [mut a, _, c, d] = chain();
    // What is for D's prefix goes on to C, but one address of it is B's own.
    let mut b = Node::new(&[(BEHIND_D, Ipv4Addr::new(203, 0, 113, 254))], &[("0.0.0.0/0", 0)], &[A, C]);
    b.legs(LegTable::new(
        [],
        [("203.0.113.0/24".parse().expect("prefix"), LegRoute::new(None, [to_peer(1, &[2, 3])]))],
    ));
    a.hears(0, mac(A), &udp(SOURCE, BEHIND_D, (1, 2), 100, 1));
    a.run(&mut now);
    now = now + TickRate::NANOSECONDS.ticks(Duration::from_millis(5));
    a.run(&mut now);
    let (_, _, rows) = read(&sent(&mut a)[0]);
    // The same row, in a pooled packet to B's address.
    let (ttl, bytes) = &rows[0];
    assert_eq!(*ttl, 3);
    b.hears(0, mac(BEHIND_D), &overlay_pooled(A, BEHIND_D, *ttl, bytes));
    b.run(&mut now);
    let counters = b.end(now);
    assert_eq!((counters.get(Counter::CreatedReaddressed), counters.get(Counter::CreatedExtracted)), (0, 1));
    assert_eq!(counters.drops(Drop::LocalUnhandled), 1, "it is for B, which listens at no such port");
    for node in [a, c, d] {
        node.end(now);
    }
}

#[test]
fn a_later_fragment_is_no_pooled_packet_whatever_its_bytes_are() {
    let mut now = Tick(1_000_000);
    let [mut a, ..] = chain();
    let whole = udp(SOURCE, BEHIND_D, (POOL_PORT, POOL_PORT), 100, 1);
    let header = Ipv4Header { fragment_offset: 800, ..Ipv4Header::parse(&whole).expect("sound") };
    let fragment = super::lab::packet(header, &whole[20..]);
    a.hears(0, mac(A), &fragment);
    a.run(&mut now);
    let out = sent(&mut a);
    assert_eq!(read(&out[0]), (A, B, vec![(3, after_hops(&fragment, 1))]));
    a.end(now);
}

#[test]
fn what_a_route_admits_from_one_peer_does_not_come_from_elsewhere() {
    let mut now = Tick(1_000_000);
    let [_, mut b, ..] = chain();
    let from = Some(Ingress::Peer(PeerIndex(0)));
    let route = LegRoute::new(from, [to_peer(1, &[2])]);
    b.legs(LegTable::new([], [("203.0.113.0/24".parse().expect("prefix"), route)]));
    b.hears(0, mac(B), &udp(SOURCE, BEHIND_D, (1, 2), 100, 1));
    b.run(&mut now);
    assert_eq!(b.end(now).drops(Drop::OverlayRpf), 1);
}

#[test]
fn a_source_is_told_how_long_packets_into_the_overlay_may_be_and_when_they_lived_too_long() {
    let mut now = Tick(1_000_000);
    let [mut a, ..] = chain();
    let large = udp(SOURCE, BEHIND_D, (1, 2), 1480, 1);
    let uncut = Ipv4Header { dont_fragment: true, ..Ipv4Header::parse(&large).expect("sound") };
    a.hears(0, mac(A), &super::lab::packet(uncut, &large[20..]));
    let dying = Ipv4Header { ttl: 1, ..Ipv4Header::parse(&large).expect("sound") };
    a.hears(0, mac(A), &super::lab::packet(dying, &large[20..]));
    a.run(&mut now);
    let told = sent(&mut a);
    assert_eq!(told.iter().map(|icmp| (icmp[20], icmp[21])).collect::<Vec<_>>(), [(3, 4), (11, 0)]);
    assert_eq!(u16::from_be_bytes([told[0][26], told[0][27]]), 1500 - 20 - 8 - 8 - 6);
    let counters = a.end(now);
    assert_eq!((counters.drops(Drop::FragmentationNeeded), counters.drops(Drop::TtlExpired)), (1, 1));
}

#[test]
fn a_node_that_a_pooled_packet_only_crosses_leaves_its_rows_alone() {
    let mut now = Tick(1_000_000);
    let [mut a, ..] = chain();
    // It knows both as peers, and would take out what is due in a pooled packet that counts routers.
    let mut crossed = host(C, &[A, B], &[]);
    a.hears(0, mac(A), &udp(SOURCE, BEHIND_D, (1, 2), 100, 1));
    a.run(&mut now);
    now = now + TickRate::NANOSECONDS.ticks(Duration::from_millis(5));
    a.run(&mut now);
    let outer = sent(&mut a).remove(0);
    crossed.hears(0, mac(C), &outer);
    crossed.run(&mut now);
    assert_eq!(sent(&mut crossed), [after_hops(&outer, 1)]);
    assert_eq!(crossed.end(now).get(Counter::CreatedExtracted), 0);
    a.end(now);
}

#[test]
fn a_source_is_told_that_the_only_leg_is_down_but_not_that_one_of_two_is() {
    let mut now = Tick(1_000_000);
    let prefix = || "203.0.113.0/24".parse().expect("prefix");
    let mut a = host(A, &[B, C], &[("203.0.113.0/24", silent(to_peer(0, &[1])))]);
    (0..150).for_each(|_| a.hears(0, mac(A), &udp(SOURCE, BEHIND_D, (1, 2), 100, 1)));
    a.run(&mut now);
    let told = sent(&mut a);
    assert!(told.iter().all(|icmp| icmp[9] == 1 && (icmp[20], icmp[21]) == (3, 1) && icmp[16..20] == SOURCE.octets()));
    assert!((100..150).contains(&told.len()), "no more than of other errors: {}", told.len());
    a.legs(LegTable::new([], [(prefix(), LegRoute::new(None, [silent(to_peer(0, &[1])), to_peer(1, &[2])]))]));
    now = now + TickRate::NANOSECONDS.ticks(Duration::from_millis(500));
    a.hears(0, mac(A), &udp(SOURCE, BEHIND_D, (1, 2), 100, 1));
    a.run(&mut now);
    now = now + TickRate::NANOSECONDS.ticks(Duration::from_millis(5));
    a.run(&mut now);
    let out = sent(&mut a);
    assert_eq!(out.len(), 1);
    assert_eq!(read(&out[0]).1, C, "the other leg has its copy");
    let counters = a.end(now);
    assert_eq!((counters.drops(Drop::LegDown), counters.get(Counter::CreatedIcmp)), (151, told.len() as u64));
}
