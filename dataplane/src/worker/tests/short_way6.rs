//! The short way of IPv6 packets: it ends where the long way ends.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::lab::*;
use super::lab6::*;
use super::nodes::to_peer;
use crate::dpdk::BURST;
use crate::packet::ipv6::Ipv6Header;
use crate::packet::mutation::mutated;
use crate::pool::wire::{self, Row, RowType, write_header_and_rows};
use crate::worker::{Counter, Drop, LegRoute, LegTable};

/// A destination of the same route as [`FAR_HOST6`], and one of IPv4 whose packets are not pooled either.
const FAR_HOST6_TOO: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 1, 0, 0, 0, 9);
const UNPOOLED: Ipv4Addr = Ipv4Addr::new(203, 0, 114, 7);
/// Where no route leads.
const NOWHERE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb9, 0, 0, 0, 0, 0, 1);

/// A router that remembers the way to [`FAR_HOST6`].
fn warm() -> Bench {
    let mut bench = Bench::with_mbufs(1023);
    warm_up(&mut bench);
    bench
}

fn warm_up(bench: &mut Bench) {
    bench.west_sends(&udp6(WEST_HOST6, FAR_HOST6, (1, 2), 60, 0));
    bench.run();
    assert_eq!(bench.east.receive_all_bytes().len(), 1);
}

fn packet_of_any_kind() -> impl Strategy<Value = Vec<u8>> {
    let from = prop_oneof![
        12 => Just(WEST_HOST6),
        1 => Just(WEST_HOST_LOCAL),
        1 => Just(Ipv6Addr::UNSPECIFIED),
        1 => Just(Ipv6Addr::LOCALHOST),
        1 => Just(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 1)),
    ];
    let to = prop_oneof![
        10 => Just(FAR_HOST6),
        4 => Just(FAR_HOST6_TOO),
        2 => Just(POOLED_HOST6),
        1 => Just(PEER6),
        1 => Just(OWN_EAST6),
        1 => Just(GATEWAY6),
        1 => Just(WEST_HOST6),
        1 => Just(NOWHERE6),
        1 => Just(OWN_WEST_LOCAL),
        1 => Just(Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 1)),
        1 => Just(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
        1 => Just(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 9)),
        1 => Just(Ipv4Addr::new(192, 0, 2, 9).to_ipv6_mapped()),
    ];
    let hop_limit = prop_oneof![6 => Just(64), 1 => 0..4u8];
    let port = prop_oneof![6 => Just(5004u16), 1 => Just(wire::PORT)];
    let length = prop_oneof![6 => 48..200usize, 1 => 1390..1420usize];
    // No extension header; hop-by-hop options; a fragment header that fragments nothing.
    let extension = prop::sample::select(vec![None, None, None, None, Some(0u8), Some(44)]);
    (from, to, hop_limit, port, length, extension).prop_map(|(from, to, hop_limit, port, length, extension)| {
        let mut bytes = udp6(from, to, (9, port), length, 1);
        if let Some(extension) = extension {
            bytes.splice(40..40, [17, 0, 1, 4, 0, 0, 0, 0]);
            bytes[6] = extension;
            let payload_len = (bytes.len() - 40) as u16;
            bytes[4..6].copy_from_slice(&payload_len.to_be_bytes());
        }
        bytes[7] = hop_limit;
        bytes
    })
}

/// Packets that are forwarded, or nearly, some with IPv4 packets between them; or that are, all of them.
fn packets() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let broken = mutated(packet_of_any_kind()).prop_map(|mut bytes| {
        // What an Ethernet frame holds; the bench reads its type off the first byte.
        bytes.resize(bytes.len().clamp(1, 1500), 0);
        bytes
    });
    let other_family = (2..255u8).prop_map(|tag| udp(WEST_HOST, UNPOOLED, (3, 4), 60, tag));
    let to = prop::sample::select(vec![FAR_HOST6, FAR_HOST6, FAR_HOST6_TOO, WEST_HOST6]);
    let plain = (to, 2..=255u8, 48..200usize, any::<u8>()).prop_map(|(to, hop_limit, length, tag)| {
        let mut bytes = udp6(WEST_HOST6, to, (9, 5004), length, tag);
        bytes[7] = hop_limit;
        bytes
    });
    let any = prop_oneof![5 => packet_of_any_kind(), 1 => broken, 2 => other_family];
    prop_oneof![prop::collection::vec(any, 1..2 * BURST), prop::collection::vec(plain, 1..2 * BURST)]
}

/// The packets of either family, in the order they left in.
fn by_family(frames: Vec<Vec<u8>>) -> [Vec<Vec<u8>>; 2] {
    let (six, four) = frames.into_iter().partition(|frame| frame[12..14] == [0x86, 0xdd]);
    [four, six]
}

/// What became of packets.
fn fates(bench: &mut Bench) -> Vec<(&'static str, u64)> {
    let counters = bench.counters();
    let drops = Drop::ALL.iter().map(|drop| (drop.name(), counters.drops(*drop)));
    let others = [Counter::In, Counter::Created, Counter::Out, Counter::Held, Counter::Absorbed, Counter::Forwarded];
    others.iter().map(|counter| (counter.name(), counters.get(*counter))).chain(drops).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_remembered_changes_nothing(packets in packets(), mtu in prop_oneof![Just(1500u16), Just(1400)]) {
        let [mut remembers, mut forgets] = [warm(), warm()];
        for bench in [&mut remembers, &mut forgets] {
            bench.change(|state| {
                let mut ports = state.ports.to_vec();
                ports[1].mtu = mtu;
                state.ports = ports.into();
            });
            warm_up(bench);
        }
        for packet in &packets {
            remembers.west_sends(packet);
            // One packet in an iteration, and each of them in one that remembers nothing.
            forgets.west_sends(packet);
            forgets.change(|_| {});
            forgets.run();
        }
        remembers.run();
        // Windows end at other times here and there.
        for bench in [&mut remembers, &mut forgets] {
            bench.wait(Duration::from_millis(20));
            bench.run();
        }
        let (here, there) = (remembers.east.receive_all_bytes(), forgets.east.receive_all_bytes());
        if packets.iter().all(|packet| packet.get(24..30) != Some(&POOLED_HOST6.octets()[..6])) {
            prop_assert_eq!(by_family(here), by_family(there));
            prop_assert_eq!(fates(&mut remembers), fates(&mut forgets));
        } else {
            // Pools are flushed when anything is published, so here and there others share a ride.
            let plain = |mut frames: Vec<Vec<u8>>| {
                frames.retain(|frame| frame.get(38..44) == Some(&FAR_HOST6.octets()[..6]));
                frames
            };
            prop_assert_eq!(plain(here), plain(there));
        }
        prop_assert_eq!(by_family(remembers.west.receive_all_bytes()), by_family(forgets.west.receive_all_bytes()));
        remembers.end();
        forgets.end();
    }
}

#[test]
fn a_burst_is_forwarded_in_order_and_remembered_for_its_leaf() {
    let mut bench = warm();
    assert_eq!(bench.worker.stages.hops.remembered(), 1);
    let sent: Vec<_> = (0..BURST as u8)
        .map(|tag| udp6(WEST_HOST6, if tag % 3 == 0 { FAR_HOST6_TOO } else { FAR_HOST6 }, (1, 2), 60, tag))
        .collect();
    sent.iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    assert_eq!(bench.east_gets(), sent.iter().map(|packet| after_hops6(packet, 1)).collect::<Vec<_>>());
    assert_eq!(bench.end().get(Counter::Forwarded), BURST as u64 + 1);
}

#[test]
fn a_packet_too_big_for_a_way_that_is_remembered_is_answered_in_its_place() {
    let mut bench = warm();
    bench.change(|state| {
        let mut ports = state.ports.to_vec();
        ports[1].mtu = 1300;
        state.ports = ports.into();
    });
    warm_up(&mut bench);
    let sent = [100, 1301, 100, 1300].map(|length| udp6(WEST_HOST6, FAR_HOST6, (1, 2), length, 1));
    sent.iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    assert_eq!(bench.east_gets(), [0, 2, 3].map(|at| after_hops6(&sent[at], 1)));
    let answers = bench.west_gets();
    let (src, dst, kind, mtu, quoted) = error_of(&answers[0]);
    assert_eq!((src, dst, kind, mtu), (OWN_WEST6, WEST_HOST6, [2, 0], 1300));
    assert_eq!((answers.len(), quoted.starts_with(&sent[1][..100])), (1, true), "as it came");
    assert_eq!(bench.end().drops(Drop::FragmentationNeeded), 1);
}

#[test]
fn a_hop_limit_that_ends_here_is_answered_in_the_middle_of_a_burst() {
    let mut bench = warm();
    let sent = [64, 1, 2, 0].map(|hop_limit| {
        let mut packet = udp6(WEST_HOST6, FAR_HOST6, (1, 2), 100, hop_limit);
        packet[7] = hop_limit;
        packet
    });
    sent.iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    assert_eq!(bench.east_gets(), [0, 2].map(|at| after_hops6(&sent[at], 1)));
    let answered: Vec<_> = bench.west_gets().iter().map(|answer| error_of(answer).4[..100].to_vec()).collect();
    assert_eq!(answered, [1, 3].map(|at| sent[at].clone()));
    assert_eq!(bench.end().drops(Drop::TtlExpired), 2);
}

#[test]
fn a_gateway_that_has_another_address_gets_the_next_packet_there() {
    const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 9, 9];
    let mut bench = warm();
    bench.neighbours(vec![
        neighbour(EAST, GATEWAY, GATEWAY_MAC),
        neighbour(WEST, WEST_HOST, WEST_HOST_MAC),
        neighbour(EAST, GATEWAY6, OTHER_MAC),
    ]);
    let sent = udp6(WEST_HOST6, FAR_HOST6, (1, 2), 60, 1);
    for _ in 0..2 {
        bench.west_sends(&sent);
        bench.run();
        let frames = bench.east.receive_all_bytes();
        assert_eq!(frames.len(), 1);
        assert_eq!(ip_of(&frames[0], OTHER_MAC, OWN_EAST_MAC), after_hops6(&sent, 1));
    }
    bench.end();
}

#[test]
fn a_destination_with_a_route_of_its_own_takes_it_at_once() {
    let mut bench = warm();
    bench.routes6.insert("2001:db8:f::7/128".parse().expect("prefix"), BLACKHOLE).expect("room");
    [FAR_HOST6, FAR_HOST6_TOO].iter().for_each(|to| bench.west_sends(&udp6(WEST_HOST6, *to, (1, 2), 60, 1)));
    bench.run();
    assert_eq!(bench.east_gets(), [after_hops6(&udp6(WEST_HOST6, FAR_HOST6_TOO, (1, 2), 60, 1), 1)]);
    assert_eq!(bench.end().drops(Drop::RouteBlackhole), 1);
}

#[test]
fn a_leaf_that_both_families_have_leaves_in_frames_of_either() {
    let mut bench = warm();
    bench.routes.insert("203.0.114.0/24".parse().expect("prefix"), VIA_EAST6).expect("room");
    let [four, six] = [udp(WEST_HOST, UNPOOLED, (1, 2), 60, 1), udp6(WEST_HOST6, FAR_HOST6, (1, 2), 60, 2)];
    for _ in 0..3 {
        bench.west_sends(&four);
        bench.west_sends(&six);
        bench.run();
        let mut frames = bench.east.receive_all_bytes();
        frames.sort();
        let types: Vec<[u8; 2]> = frames.iter().map(|frame| [frame[12], frame[13]]).collect();
        assert_eq!(types, [[0x08, 0x00], [0x86, 0xdd]]);
        assert_eq!((&frames[0][14..], &frames[1][14..]), (&after_hops(&four, 1)[..], &after_hops6(&six, 1)[..]));
    }
    bench.end();
}

#[test]
fn an_overlay_route_comes_before_a_way_that_is_remembered() {
    let mut bench = warm();
    let prefix = "2001:db8:f::7/128".parse().expect("prefix");
    bench.change(|state| state.legs = Arc::new(LegTable::new([], [(prefix, LegRoute::new(None, [to_peer(0, &[1])]))])));
    // Another destination of the same leaf could have its way remembered.
    let [other, sent] = [FAR_HOST6_TOO, FAR_HOST6].map(|to| udp6(WEST_HOST6, to, (1, 2), 60, 1));
    bench.west_sends(&other);
    bench.run();
    assert_eq!(bench.east_gets(), [after_hops6(&other, 1)]);
    bench.west_sends(&sent);
    bench.run();
    assert!(!bench.east_gets().contains(&after_hops6(&sent, 1)), "it went by the ordinary route");
    bench.end();
}

#[test]
fn a_packet_that_could_go_the_short_way_does_not_overtake_its_flow() {
    let mut bench = warm();
    let [first, second] = [1, 2].map(|tag| udp6(WEST_HOST6, POOLED_HOST6, (7, 8), 60, tag));
    bench.west_sends(&first);
    bench.run();
    assert_eq!(bench.east_gets().len(), 0, "it waits for company");
    // Its destination gets a route of its own, whose way is remembered and has no path.
    bench.routes6.insert("2001:db8:e::7/128".parse().expect("prefix"), VIA_EAST6).expect("room");
    warm_up_beside(&mut bench);
    bench.west_sends(&second);
    bench.run();
    assert_eq!(bench.east_gets(), [first, second].map(|packet| after_hops6(&packet, 1)));
    bench.end();
}

/// The same while pools are open.
fn warm_up_beside(bench: &mut Bench) {
    let packet = udp6(WEST_HOST6, FAR_HOST6, (1, 2), 60, 0);
    bench.west_sends(&packet);
    bench.run();
    assert_eq!(bench.east_gets(), [after_hops6(&packet, 1)]);
}

/// What is in pooled packets with IPv4 outside.
fn inside(pooled: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for packet in pooled {
        let payload = &packet[28..];
        let mut data = &payload[8 + 6 * usize::from(payload[1])..];
        for row in 0..usize::from(payload[1]) {
            let row = &payload[8 + 6 * row..][..6];
            assert_eq!(row[5], 41);
            let (inner, rest) = data.split_at(usize::from(u16::from_be_bytes([row[2], row[3]])));
            packets.push(inner.to_vec());
            data = rest;
        }
    }
    packets
}

#[test]
fn streams_that_board_in_bursts_come_in_order_with_their_hop_limits_counted_down() {
    let mut bench = warm();
    let mut expected = Vec::new();
    // Bursts of one and two packets, of several pools full, and of both families.
    for (round, count) in [1u8, 2, 3, 32, 32, 1, 20, 32, 2].into_iter().enumerate() {
        for number in 0..count {
            let port = 100 + u16::from(number % 5);
            let sent = udp6(WEST_HOST6, POOLED_HOST6, (9, port), 60 + usize::from(number % 3), round as u8);
            bench.west_sends(&sent);
            expected.push(after_hops6(&sent, 1));
            if round == 7 && number % 2 == 0 {
                bench.west_sends(&udp(WEST_HOST, UNPOOLED, (1, 2), 60, number));
            }
        }
        bench.worker.iterate(bench.now);
    }
    bench.wait(Duration::from_millis(6));
    bench.run();
    let left: Vec<_> = bench.east_gets().into_iter().filter(|packet| packet[16..20] != UNPOOLED.octets()).collect();
    assert!(left.len() >= 4 && left.len() < 12, "{}", left.len());
    assert_eq!(inside(&left), expected);
    let counters = bench.end();
    assert_eq!(counters.get(Counter::PoolStaged), expected.len() as u64);
}

/// Catches: the first packet of a pool that opens again, whose hop limit is still to be decremented, taken for one of IPv4.
#[test]
fn who_opens_a_pool_again_leaves_alone_or_with_others_counted_down_once() {
    let mut bench = warm();
    let mut tag = 0;
    // The first pool opens by a decision. What comes behind the first packet: nobody, one, a run.
    for joining in [0, 0, 0, 1, 1, 3, 8, 0] {
        let mut expected = Vec::new();
        for count in [1, joining] {
            for _ in 0..count {
                tag += 1;
                let sent = udp6(WEST_HOST6, POOLED_HOST6, (9, 10), 60, tag);
                bench.west_sends(&sent);
                expected.push(after_hops6(&sent, 1));
            }
            bench.worker.iterate(bench.now);
        }
        bench.wait(Duration::from_millis(6));
        bench.run();
        let left = bench.east_gets();
        assert_eq!(left.len(), 1, "one pool, or one packet");
        assert_eq!(if joining == 0 { left } else { inside(&left) }, expected, "behind the first: {joining}");
    }
    let counters = bench.end();
    assert_eq!(counters.get(Counter::PoolStaged), u64::from(tag));
}

#[test]
fn what_cannot_board_goes_in_its_place_between_those_that_do() {
    let mut bench = warm();
    let flow = |length, tag| udp6(WEST_HOST6, POOLED_HOST6, (9, 10), length, tag);
    // A pool is open, and its answer is remembered.
    let mut sent: Vec<_> = (0..4).map(|tag| flow(60, tag)).collect();
    let mut expiring = flow(60, 4);
    expiring[7] = 1;
    sent.extend([expiring, flow(60, 5), flow(900, 6), flow(60, 7), flow(60, 8)]);
    for (at, packet) in sent.iter().enumerate() {
        bench.west_sends(packet);
        if at == 0 {
            bench.worker.iterate(bench.now);
        }
    }
    bench.run();
    bench.wait(Duration::from_millis(6));
    bench.run();
    let left = bench.east_gets();
    assert_eq!(left.len(), 3, "a pool, the one that is too large, a pool");
    assert_eq!(left[1], after_hops6(&sent[6], 1));
    let boarded = |range: &[usize]| range.iter().map(|at| after_hops6(&sent[*at], 1)).collect::<Vec<_>>();
    assert_eq!(inside(&left[..1]), boarded(&[0, 1, 2, 3, 5]));
    assert_eq!(inside(&left[2..]), boarded(&[7, 8]));
    let counters = bench.end();
    assert_eq!((counters.drops(Drop::TtlExpired), counters.get(Counter::PoolTooLarge)), (1, 1));
}

#[test]
fn rows_of_both_families_come_out_in_order_whatever_is_between_them() {
    let mut bench = Bench::with_mbufs(1023);
    bench.routes.insert("198.51.100.77/32".parse().expect("prefix"), LOCAL).expect("room");
    super::pooling6::change_peer(&mut bench, |peer| peer.path.addressee = OWN_EAST.into());
    // In turn: runs of IPv6, of IPv4, and now and then one that needs a closer look.
    let inner: Vec<Vec<u8>> = (0..120u8)
        .map(|tag| match tag / 7 % 3 {
            _ if tag % 31 == 30 => icmp6(WEST_HOST6, FAR_HOST6, 1, &[128, 0, 0, 0, 0, tag]),
            0 | 1 => udp6(POOLED_HOST6, FAR_HOST6, (1, 2), 60, tag),
            _ => udp(FAR_HOST, UNPOOLED, (1, 2), 60, tag),
        })
        .collect();
    for _ in 0..3 {
        for rows in inner.chunks(20) {
            bench.west_sends(&pooled(rows));
        }
        bench.run();
        let out = bench.east_gets();
        for version in [4, 6] {
            let of_family = |packet: &&Vec<u8>| packet[0] >> 4 == version && packet[7] != 1;
            let expected = inner.iter().filter(of_family);
            let expected =
                expected.map(|packet| if version == 6 { after_hops6(packet, 1) } else { after_hops(packet, 1) });
            let found: Vec<_> = out.iter().filter(|packet| packet[0] >> 4 == version).cloned().collect();
            assert_eq!(found, expected.collect::<Vec<_>>(), "version {version}");
        }
    }
    assert_eq!(bench.end().drops(Drop::TtlExpired), 3 * 3);
}

/// A pooled packet over IPv4 from the router to its peer.
fn pooled(inner: &[Vec<u8>]) -> Vec<u8> {
    let mut start = 0;
    let row = |packet: &Vec<u8>| {
        let (length, is_ipv6) = (packet.len() as u16, Ipv6Header::parse(packet).is_ok());
        start += length;
        let row_type = if is_ipv6 { RowType::WholeIpv6 } else { RowType::WholeIpv4 };
        Row { start: start - length, length, ttl: 1, row_type }
    };
    let rows: Vec<_> = inner.iter().map(row).collect();
    let mut payload = vec![0; 8 + rows.len() * 6];
    write_header_and_rows(64, 1, &rows, &mut payload).expect("room for the index");
    payload.extend(inner.concat());
    udp_with(OWN_EAST, PEER, (POOL_PORT, POOL_PORT), &payload)
}
