//! Pools on their way out, pooled packets on their way in, and both with a second router.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::lab::*;
use super::order::pooled;
use super::transit::{VIA_WEST, on_the_way, route};
use crate::arch::TickSpan;
use crate::fib::PeerIndex;
use crate::packet::ecn;
use crate::packet::ipv4::Ipv4Header;
use crate::pool::path::PoolPath;
use crate::pool::provisioned::{Stream, StreamId, StreamSet};
use crate::pool::wire::{PooledPacket, RowType};
use crate::pool::{Dscp, Lone, Match, PoolLayout, Rule, RuleSet};
use crate::worker::{Counter, Drop, Event};

/// A destination that is routed to the gateway and has no path.
const UNPOOLED: Ipv4Addr = Ipv4Addr::new(203, 0, 114, 7);

fn stream(count: u8, length: usize) -> Vec<Vec<u8>> {
    (0..count).map(|tag| udp(WEST_HOST, FAR_HOST, (16_400, 16_500), length, tag)).collect()
}

/// The packets in a pooled packet, its outer header checked.
fn carried(outer: &[u8]) -> Vec<Vec<u8>> {
    let header = Ipv4Header::parse(outer).expect("a sound outer header");
    assert_eq!((header.src, header.dst, header.ttl, header.dont_fragment), (OWN_EAST, PEER, 64, true));
    let payload = header.payload(outer).expect("payload");
    let pooled = PooledPacket::parse(&payload[8..]).expect("a sound pooled packet");
    pooled.rows().map(|(_, bytes)| bytes.to_vec()).collect()
}

#[test]
fn packets_of_a_stream_share_one_pooled_packet_that_leaves_when_the_window_ends() {
    let mut bench = Bench::new();
    let packets = stream(3, 200);
    packets.iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    assert!(bench.east_gets().is_empty(), "the window is still open");
    bench.wait(Duration::from_millis(5));
    bench.run();
    let left = bench.east_gets();
    assert_eq!(left.len(), 1);
    let expected: Vec<_> = packets.iter().map(|packet| after_hops(packet, 1)).collect();
    assert_eq!(carried(&left[0]), expected);
    let counters = bench.end();
    assert_eq!((counters.get(Counter::PoolSent), counters.get(Counter::PoolRowsSent)), (1, 3));
}

#[test]
fn five_packets_of_280_bytes_fill_a_pooled_packet_and_the_next_one_sends_it_off() {
    let mut bench = Bench::new();
    stream(11, 280).iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    let left = bench.east_gets();
    assert_eq!(left.iter().map(|outer| carried(outer).len()).collect::<Vec<_>>(), [5, 5]);
    assert!(left.iter().all(|outer| outer.len() == 20 + 8 + 8 + 5 * 6 + 5 * 280));
    assert_eq!(bench.counters().get(Counter::FlushFull), 2);
    bench.end();
}

/// Where pooled packets go is looked up once an iteration. Time does not pass here: nothing else is forgotten.
#[test]
fn a_route_that_changes_is_the_next_pooled_packets_at_once() {
    let mut bench = Bench::new();
    for (route, expected) in [(VIA_EAST, 1), (BLACKHOLE, 0), (VIA_EAST, 2)] {
        bench.routes.insert("198.51.100.77/32".parse().expect("prefix"), route).expect("room");
        // Five fill a pool, and the next one has it leave: half of them wait for the next round.
        stream(10, 280).iter().for_each(|packet| bench.west_sends(packet));
        bench.run();
        assert_eq!(bench.east_gets().len(), expected, "{route:?}");
    }
    assert_eq!(bench.counters().drops(Drop::RouteBlackhole), 2);
    bench.end();
}

/// Catches: pooled packets on a link that does not take them, once the way to their peer is remembered.
#[test]
fn pooled_packets_too_long_for_the_way_to_their_peer_are_dropped_each() {
    let mut bench = on_the_way(OWN_EAST.into());
    route(&mut bench, "198.51.100.77/32", VIA_WEST);
    bench.change(|state| {
        let mut ports = state.ports.to_vec();
        ports[0].mtu = 1000;
        state.ports = ports.into();
    });
    stream(11, 280).iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    assert_eq!((bench.west_gets().len(), bench.east_gets().len()), (0, 0));
    assert_eq!(bench.end().drops(Drop::FragmentationNeeded), 2);
}

#[test]
fn a_lone_packet_leaves_as_itself() {
    let mut bench = Bench::new();
    let packets = stream(1, 200);
    bench.west_sends(&packets[0]);
    bench.run();
    bench.wait(Duration::from_millis(5));
    bench.run();
    assert_eq!(bench.east_gets(), [after_hops(&packets[0], 1)]);
    assert_eq!(bench.end().get(Counter::PoolLone), 1);
}

#[test]
fn a_packet_too_large_for_the_rule_does_not_overtake_its_flow() {
    let mut bench = Bench::new();
    let small = stream(2, 200);
    let large = udp(WEST_HOST, FAR_HOST, (16_400, 16_500), 900, 9);
    small.iter().chain([&large]).for_each(|packet| bench.west_sends(packet));
    bench.run();
    let left = bench.east_gets();
    assert_eq!(carried(&left[0]).len(), 2, "the pool left first");
    assert_eq!(left[1..], [after_hops(&large, 1)]);
    assert_eq!(bench.end().get(Counter::FlushOrder), 1);
}

/// Catches: packets that are counted on the long way only.
#[test]
fn whatever_goes_on_is_counted_when_its_way_is_remembered_as_well() {
    let mut bench = Bench::new();
    let large = udp(WEST_HOST, FAR_HOST, (16_400, 16_500), 900, 9);
    for round in 1..=3 {
        bench.west_sends(&large);
        stream(3, 200).iter().for_each(|packet| bench.west_sends(packet));
        bench.run();
        bench.wait(Duration::from_millis(5));
        bench.run();
        let counters = bench.counters();
        let counted = [Counter::Forwarded, Counter::PoolTooLarge, Counter::PoolStaged].map(|name| counters.get(name));
        assert_eq!(counted, [4 * round, round, 3 * round], "round {round}");
    }
    bench.end();
}

#[test]
fn a_packet_whose_rule_says_never_does_not_overtake_its_flow() {
    let mut bench = Bench::new();
    let never = Match { dscp: Dscp::new(0), ..Match::default() };
    let never = Rule { pool: false, ..Rule::new("never", never) };
    bench.change(|state| state.rules = Arc::new(RuleSet::new(vec![never, rule()]).expect("sound")));
    let packets = stream(3, 200);
    let mut marked_down = Ipv4Header::parse(&packets[2]).expect("a sound packet");
    marked_down.dscp_ecn = 0;
    let marked_down = packet(marked_down, &packets[2][20..]);
    [&packets[0], &packets[1], &marked_down].into_iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    let left = bench.east_gets();
    assert_eq!(carried(&left[0]).len(), 2, "the pool left first");
    assert_eq!(left[1..], [after_hops(&marked_down, 1)]);
    assert_eq!(bench.end().get(Counter::FlushOrder), 1);
}

#[test]
fn under_an_adaptive_rule_packets_far_apart_leave_at_once() {
    let mut bench = Bench::new();
    let adaptive = Rule { adaptive: true, ..rule() };
    bench.change(|state| state.rules = Arc::new(RuleSet::new(vec![adaptive]).expect("sound")));
    for packet in stream(5, 200) {
        bench.west_sends(&packet);
        bench.run();
        assert_eq!(bench.east_gets(), [after_hops(&packet, 1)]);
        bench.wait(Duration::from_millis(20));
    }
    let counters = bench.end();
    assert_eq!((counters.get(Counter::FlushAdaptive), counters.get(Counter::PoolLone)), (5, 5));
}

#[test]
fn a_held_pool_and_a_lone_packet_that_is_pooled_are_accounted_for() {
    let mut bench = Bench::new();
    let window = rule().window;
    let hold = TickSpan(window.0 * 4);
    let held = Rule { required_count: 3, hold, lone: Lone::Pooled, ..rule() };
    bench.change(|state| state.rules = Arc::new(RuleSet::new(vec![held]).expect("sound")));
    let packets = stream(4, 200);
    packets[..2].iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    bench.wait(Duration::from_millis(6));
    bench.run();
    assert!(bench.east_gets().is_empty(), "one is missing");
    bench.west_sends(&packets[2]);
    bench.run();
    assert_eq!(carried(&bench.east_gets()[0]).len(), 3);
    bench.west_sends(&packets[3]);
    for _ in 0..4 {
        bench.run();
        assert!(bench.east_gets().is_empty());
        bench.wait(Duration::from_millis(5));
    }
    bench.run();
    assert_eq!(carried(&bench.east_gets()[0]), [after_hops(&packets[3], 1)]);
    let counters = bench.end();
    let flushes = [Counter::FlushRequiredCount, Counter::FlushHold].map(|counter| counters.get(counter));
    assert_eq!((flushes, counters.get(Counter::PoolSent), counters.get(Counter::PoolLone)), ([1, 1], 2, 0));
}

#[test]
fn pools_are_flushed_and_not_lost_when_rules_change_and_when_the_worker_stops() {
    let mut bench = Bench::new();
    stream(2, 100).iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    bench.change(|state| {
        state.pools += 1;
        state.rules = Arc::new(RuleSet::default());
    });
    bench.run();
    assert_eq!(carried(&bench.east_gets()[0]).len(), 2);
    bench.change(|state| state.rules = Arc::new(RuleSet::new(vec![rule()]).expect("sound")));
    stream(2, 100).iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    assert_eq!(bench.counters().get(Counter::Held), 1);
    let counters = bench.end();
    assert_eq!((counters.get(Counter::FlushReconfigured), counters.get(Counter::FlushShutdown)), (1, 1));
    assert_eq!(counters.get(Counter::Out), 2);
}

#[test]
fn pooled_packets_and_hellos_in_transit_are_not_pooled() {
    let mut bench = Bench::new();
    let transit = udp(WEST_HOST, FAR_HOST, (POOL_PORT, POOL_PORT), 200, 1);
    bench.west_sends(&transit);
    bench.run();
    assert_eq!(bench.east_gets(), [after_hops(&transit, 1)]);
    assert_eq!(bench.end().get(Counter::PoolStaged), 0);
}

#[test]
fn open_pools_are_shown_on_request() {
    let mut bench = Bench::new();
    stream(2, 100).iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    let request = bench.shared.sample_pools();
    bench.run();
    let events = bench.events();
    let [Event::OpenPool(sample), Event::OpenPoolsEnd { request: answered }] = events[..] else { panic!("{events:?}") };
    let (key, layout) = (sample.key, sample.layout);
    assert_eq!((answered, sample.packets, layout), (request, 2, PoolLayout::Whole));
    assert_eq!((key.class().value(), key.ecn(), key.is_ipv6()), (46, ecn::NOT_ECT, false));
    bench.end();
}

#[test]
fn packets_whose_peer_is_silent_are_counted_as_unpooled() {
    let mut bench = Bench::new();
    bench.change(|state| {
        let silent = |path: &PoolPath| PoolPath { addressee: None, ..*path };
        state.paths = state.paths.iter().map(silent).collect();
        state.pools += 1;
    });
    let packets = stream(3, 100);
    packets.iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    assert_eq!(bench.east_gets(), packets.iter().map(|packet| after_hops(packet, 1)).collect::<Vec<_>>());
    let counters = bench.end();
    assert_eq!((counters.get(Counter::PoolNoPeer), counters.get(Counter::PoolStaged)), (3, 0));
}

/// A bench that plays the peer: it takes the outer packet apart as the addressee.
pub(super) fn addressee() -> Bench {
    addressee_of(Bench::new())
}

/// The same, of this bench.
pub(super) fn addressee_of(mut bench: Bench) -> Bench {
    bench.routes.insert("198.51.100.77/32".parse().expect("prefix"), LOCAL).expect("room");
    bench.routes.insert("203.0.113.0/24".parse().expect("prefix"), VIA_EAST).expect("room");
    bench.change(|state| {
        let mut peer = *state.peers.iter().next().expect("one peer");
        peer.path.addressee = OWN_EAST.into();
        peer.path.source = PEER.into();
        state.peers = Arc::new(crate::worker::PeerTable::new(vec![peer]));
    });
    bench
}

#[test]
fn the_addressee_takes_pooled_packets_apart_and_forwards_what_was_in_them() {
    let mut pooler = Bench::new();
    let packets = stream(12, 280);
    packets.iter().for_each(|packet| pooler.west_sends(packet));
    pooler.run();
    pooler.wait(Duration::from_millis(5));
    pooler.run();
    let outers = pooler.east_gets();
    assert_eq!(outers.len(), 3);
    pooler.end();

    let mut depooler = addressee();
    outers.iter().for_each(|outer| depooler.west_sends(outer));
    depooler.run();
    let expected: Vec<_> = packets.iter().map(|packet| after_hops(packet, 2)).collect();
    assert_eq!(depooler.east_gets(), expected);
    let request = depooler.shared.sample_pools();
    depooler.run();
    let received = depooler.events().into_iter().find_map(|event| match event {
        Event::PeerReceived(received) => Some(received),
        _ => None,
    });
    let received = received.unwrap_or_else(|| panic!("nothing was received from the peer, request {request}"));
    assert_eq!((received.rows, received.sequence.received, received.sequence.lost), (12, 3, 0));
    let counters = depooler.end();
    assert_eq!((counters.get(Counter::PoolReceived), counters.get(Counter::CreatedExtracted)), (3, 12));
}

#[test]
fn a_congestion_mark_on_the_outside_reaches_the_capable_packets_inside() {
    let mut pooler = Bench::new();
    for packet in stream(2, 100) {
        let header = Ipv4Header { dscp_ecn: 0xb8 | 2, ..Ipv4Header::parse(&packet).expect("sound") };
        pooler.west_sends(&super::lab::packet(header, &packet[20..]));
    }
    pooler.run();
    pooler.wait(Duration::from_millis(5));
    pooler.run();
    let mut outer = pooler.east_gets().remove(0);
    assert!(ecn::take_out(&mut outer, ecn::CE), "the outer header is ECN-capable");
    pooler.end();

    let mut depooler = addressee();
    depooler.west_sends(&outer);
    depooler.run();
    let out = depooler.east_gets();
    assert_eq!(out.len(), 2);
    for inner in out {
        assert_eq!(Ipv4Header::parse(&inner).expect("sound").ecn(), 3);
    }
    depooler.end();
}

/// Catches: a pooled packet that is taken from a peer as its sender was one a moment ago.
#[test]
fn a_peer_is_believed_until_it_is_none_any_more() {
    let mut bench = Bench::new();
    let inner = udp(PEER, UNPOOLED, (1, 2), 60, 1);
    for (sequence, taken) in [(0, 1), (1, 0)] {
        bench.west_sends(&pooled(PEER, OWN_WEST, 0, sequence, std::slice::from_ref(&inner)));
        bench.run();
        assert_eq!(bench.east_gets(), vec![after_hops(&inner, 1); taken]);
        bench.change(|state| state.peers = Arc::new(crate::worker::PeerTable::new(vec![])));
    }
    assert_eq!(bench.end().drops(Drop::PoolUnknownPeer), 1);
}

/// Catches: pool traffic that is pooled once more where it was in a pooled packet.
#[test]
fn pooled_packets_and_hellos_inside_of_pooled_packets_are_not_pooled() {
    let mut bench = Bench::new();
    let inner = |port| [1, 2].map(|tag| udp(PEER, FAR_HOST, (1, port), 60, tag));
    // The first has the way remembered.
    for sequence in 0..2 {
        bench.west_sends(&pooled(PEER, OWN_WEST, 0, sequence, &inner(5004)));
        bench.run();
    }
    bench.wait(Duration::from_millis(5));
    bench.run();
    assert_eq!(bench.east_gets().iter().map(|outer| carried(outer).len()).sum::<usize>(), 4);
    bench.west_sends(&pooled(PEER, OWN_WEST, 0, 2, &inner(POOL_PORT)));
    bench.run();
    assert_eq!(bench.east_gets(), inner(POOL_PORT).map(|packet| after_hops(&packet, 1)));
    assert_eq!(bench.end().get(Counter::PoolStaged), 4);
}

/// Catches: an entry that is taken for a whole packet as it looks like one, and a whole packet that is taken for an entry.
#[test]
fn a_row_is_what_its_type_says_whatever_it_looks_like() {
    let mut bench = Bench::new();
    let inner = udp(WEST_HOST, UNPOOLED, (1, 2), 60, 1);
    let whole = |sequence, packet: &[u8]| pooled(PEER, OWN_WEST, 0, sequence, &[packet.to_vec()]);
    // The first leaves memory for the others' short way.
    let mut entry = whole(1, &inner)[28..].to_vec();
    entry[8 + 5] = RowType::Provisioned.number();
    let entry = udp_with(PEER, OWN_WEST, (POOL_PORT, POOL_PORT), &entry);
    for (outer, taken) in [(whole(0, &inner), 1), (entry, 0)] {
        bench.west_sends(&outer);
        bench.run();
        assert_eq!(bench.east_gets(), vec![after_hops(&inner, 1); taken]);
    }
    // The first bytes of a packet are the name of this stream, and no flags.
    let stream = Stream {
        id: StreamId(0x45b8),
        peer: PeerIndex(0),
        source: SocketAddr::new(WEST_HOST.into(), 1),
        destination: SocketAddr::new(UNPOOLED.into(), 2),
        dscp: Dscp::new(46).expect("a code point"),
        ttl: 64,
    };
    bench.change(|state| state.streams = Arc::new(StreamSet::new(&[stream]).expect("sound")));
    let dying = packet(Ipv4Header { ttl: 1, ..Ipv4Header::parse(&inner).expect("sound") }, &inner[20..]);
    bench.west_sends(&whole(2, &dying));
    bench.run();
    assert_eq!(bench.east_gets(), [] as [Vec<u8>; 0]);
    let counters = bench.end();
    assert_eq!((counters.drops(Drop::TtlExpired), counters.drops(Drop::PoolUnknownStream)), (1, 1));
}
