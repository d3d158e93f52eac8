//! Pooling with IPv6 inside, outside, and both: from a router to its peer and out again.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::lab::*;
use super::lab6::*;
use crate::packet::ethernet::MacAddr;
use crate::packet::ipv4::Ipv4Header;
use crate::packet::ipv6::Ipv6Header;
use crate::packet::nd::{PACKET_LEN, Solicitation};
use crate::pool::hello::{Capabilities, HELLO_LEN, Hello};
use crate::pool::pooled_packet_detector::ZeroChecksum;
use crate::pool::wire::{Row, RowType, write_header_and_rows};
use crate::worker::{Counter, Drop, HeardHello, Peer, PeerTable};

/// Changes the only peer.
pub(super) fn change_peer(bench: &mut Bench, change: impl FnOnce(&mut Peer)) {
    bench.change(|state| {
        let mut peer = *state.peers.iter().next().expect("one peer");
        change(&mut peer);
        state.peers = Arc::new(PeerTable::new(vec![peer]));
        state.pools += 1;
    });
}

/// A router whose peer has an IPv4 address, or an IPv6 one.
fn sender(outer_ipv6: bool) -> Bench {
    let mut bench = Bench::new();
    if outer_ipv6 {
        change_peer(&mut bench, |peer| {
            (peer.path.addressee, peer.path.source) = (PEER6.into(), OWN_EAST6.into());
        });
    }
    bench
}

/// That peer, to whom the router is the peer; it sends everything on to the east.
fn receiver(outer_ipv6: bool) -> Bench {
    let mut bench = Bench::new();
    bench.routes.insert("198.51.100.77/32".parse().expect("prefix"), LOCAL).expect("room");
    bench.routes.insert("203.0.113.0/24".parse().expect("prefix"), VIA_EAST).expect("room");
    bench.routes6.insert("2001:db8:2::77/128".parse().expect("prefix"), LOCAL).expect("room");
    bench.routes6.insert("2001:db8:e::/48".parse().expect("prefix"), VIA_EAST6).expect("room");
    let router: IpAddr = if outer_ipv6 { OWN_EAST6.into() } else { OWN_EAST.into() };
    change_peer(&mut bench, |peer| peer.path.addressee = router);
    bench
}

fn stream6(tags: std::ops::Range<u8>) -> Vec<Vec<u8>> {
    tags.map(|tag| udp6(WEST_HOST6, POOLED_HOST6, (16_400, 16_500), 100 + usize::from(tag), tag)).collect()
}

fn stream4(tags: std::ops::Range<u8>) -> Vec<Vec<u8>> {
    tags.map(|tag| udp(WEST_HOST, FAR_HOST, (16_400, 16_500), 100 + usize::from(tag), tag)).collect()
}

/// What leaves to the east when these came from the west and their window has ended.
fn pooled_by(bench: &mut Bench, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    packets.iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    assert_eq!(bench.east_gets().len(), 0, "they wait for company");
    bench.wait(Duration::from_millis(6));
    bench.run();
    bench.east_gets()
}

/// What comes out of a pooled packet at the receiver.
fn taken_out(bench: &mut Bench, pooled: &[u8]) -> Vec<Vec<u8>> {
    bench.west_sends(pooled);
    bench.run();
    bench.east_gets()
}

#[test]
fn packets_of_either_family_ride_in_packets_of_either_family_and_come_out_unchanged() {
    for (inner_ipv6, outer_ipv6) in [(true, false), (false, true), (true, true)] {
        let packets = if inner_ipv6 { stream6(0..5) } else { stream4(0..5) };
        let mut sender = sender(outer_ipv6);
        let pooled = pooled_by(&mut sender, &packets);
        assert_eq!(pooled.len(), 1, "inner IPv6: {inner_ipv6}, outer IPv6: {outer_ipv6}");
        let (payload_at, dscp) = if outer_ipv6 {
            let header = Ipv6Header::parse(&pooled[0]).expect("a sound packet");
            assert_eq!((header.src, header.dst, header.hop_limit), (OWN_EAST6, PEER6, 64));
            assert_eq!(header.total_len(), pooled[0].len());
            (48, header.dscp())
        } else {
            let header = Ipv4Header::parse(&pooled[0]).expect("a sound packet");
            assert_eq!((header.src, header.dst, header.dont_fragment), (OWN_EAST, PEER, true));
            (28, header.dscp())
        };
        assert_eq!((pooled[0][payload_at + 1], dscp), (5, 46), "rows, class");
        let types: Vec<u8> = (0..5).map(|row| pooled[0][payload_at + 8 + 6 * row + 5]).collect();
        assert_eq!(types, [if inner_ipv6 { 41 } else { 4 }; 5]);

        let mut receiver = receiver(outer_ipv6);
        let out = taken_out(&mut receiver, &pooled[0]);
        let twice = |packet: &Vec<u8>| if inner_ipv6 { after_hops6(packet, 2) } else { after_hops(packet, 2) };
        assert_eq!(out, packets.iter().map(twice).collect::<Vec<_>>(), "in order, a hop lower at each router");
        sender.end();
        assert_eq!(receiver.end().get(Counter::PoolRowsReceived), 5);
    }
}

#[test]
fn a_lone_ipv6_packet_leaves_as_itself() {
    let mut bench = sender(true);
    let packet = stream6(1..2);
    assert_eq!(pooled_by(&mut bench, &packet), [after_hops6(&packet[0], 1)]);
    assert_eq!(bench.end().get(Counter::PoolLone), 1);
}

#[test]
fn families_do_not_share_a_pool() {
    let mut bench = sender(false);
    let pooled = pooled_by(&mut bench, &[stream6(0..2), stream4(0..3)].concat());
    let rows: Vec<u8> = pooled.iter().map(|packet| packet[29]).collect();
    assert_eq!(rows, [2, 3]);
    bench.end();
}

#[test]
fn a_peer_that_does_not_take_ipv6_packets_gets_none() {
    let mut bench = sender(false);
    change_peer(&mut bench, |peer| peer.path.capabilities = Capabilities::WHOLE_IPV4);
    let packets = stream6(0..3);
    packets.iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    assert_eq!(bench.east_gets(), packets.iter().map(|packet| after_hops6(packet, 1)).collect::<Vec<_>>());
    assert_eq!(bench.end().get(Counter::PoolStaged), 0);
}

#[test]
fn a_packet_that_cannot_join_does_not_overtake_its_flow() {
    let mut bench = sender(false);
    let packets = [stream6(0..3), vec![udp6(WEST_HOST6, POOLED_HOST6, (16_400, 16_500), 900, 9)]].concat();
    packets.iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    let out = bench.east_gets();
    assert_eq!((out.len(), out[0][29], &out[1]), (2, 3, &after_hops6(&packets[3], 1)));
    assert_eq!(bench.end().get(Counter::PoolTooLarge), 1);
}

#[test]
fn what_was_inside_stays_in_order_with_what_lay_beside_it_whatever_the_outer_family() {
    let packets: Vec<_> = (0..5).map(|tag| udp6(POOLED_HOST6, WEST_HOST6, (1, 2), 100, tag)).collect();
    let mut bench = receiver(false);
    bench.west_sends(&packets[0]);
    bench.west_sends(&pooled(&packets[1..3]));
    bench.west_sends(&packets[3]);
    bench.west_sends(&packets[4]);
    bench.run();
    let tags: Vec<_> = bench.west_gets().iter().map(|packet| packet[60]).collect();
    assert_eq!(tags, [0, 1, 2, 3, 4]);
    bench.end();
}

/// A pooled packet of type 41 over IPv4 from the router to its peer.
fn pooled(inner: &[Vec<u8>]) -> Vec<u8> {
    let mut start = 0;
    let rows: Vec<_> = inner
        .iter()
        .map(|packet| {
            let length = packet.len() as u16;
            start += length;
            Row { start: start - length, length, ttl: 1, row_type: RowType::WholeIpv6 }
        })
        .collect();
    let mut payload = vec![0; 8 + rows.len() * 6];
    write_header_and_rows(64, 1, &rows, &mut payload).expect("room for the index");
    payload.extend(inner.concat());
    udp_with(OWN_EAST, PEER, (POOL_PORT, POOL_PORT), &payload)
}

#[test]
fn a_pooled_packet_over_ipv6_that_passes_is_opened_and_what_is_due_gets_out() {
    let due = udp6(POOLED_HOST6, WEST_HOST6, (1, 2), 100, 1);
    let (onward, start) = (stream6(3..4).remove(0), due.len() as u16);
    let rows = [
        Row { start: 0, length: start, ttl: 1, row_type: RowType::WholeIpv6 },
        Row { start, length: onward.len() as u16, ttl: 3, row_type: RowType::WholeIpv6 },
    ];
    let mut payload = vec![0; 8 + 2 * 6];
    write_header_and_rows(64, 7, &rows, &mut payload).expect("room for the index");
    payload.extend([due.clone(), onward.clone()].concat());
    let sent = udp6_with(WEST_HOST6, FAR_HOST6, (POOL_PORT, POOL_PORT), &payload);

    let mut bench = Bench::new();
    bench.west_sends(&sent);
    bench.run();
    assert_eq!(bench.east_gets(), [after_hops6(&sent, 1)], "from one who is no peer it is like any other");
    change_peer(&mut bench, |peer| peer.path.addressee = WEST_HOST6.into());
    bench.west_sends(&sent);
    bench.run();
    assert_eq!(bench.west_gets(), [after_hops6(&due, 1)]);
    let rest = Row { start: 0, ttl: 2, ..rows[1] };
    let mut payload = vec![0; 8 + 6];
    write_header_and_rows(63, 7, &[rest], &mut payload).expect("room for the index");
    payload.extend(onward);
    let expected = udp6_with(WEST_HOST6, FAR_HOST6, (POOL_PORT, POOL_PORT), &payload);
    assert_eq!(bench.east_gets(), [after_hops6(&expected, 1)]);
    assert_eq!(bench.end().get(Counter::TransitOpened), 1);
}

/// A pooled packet over IPv6, as a sender makes it, of packets with this ECN field.
fn pooled_over6(ecn: u8) -> Vec<u8> {
    let mut sender = sender(true);
    let mut packets = stream6(0..2);
    packets.iter_mut().for_each(|packet| packet[1] |= ecn << 4);
    let mut out = pooled_by(&mut sender, &packets);
    sender.end();
    out.remove(0)
}

#[test]
fn an_ipv6_outer_packet_has_the_ecn_field_of_those_inside_but_for_the_mark() {
    for (inside, outside) in [(0, 0), (1, 1), (2, 2), (3, 2)] {
        assert_eq!(Ipv6Header::parse(&pooled_over6(inside)).expect("a sound packet").ecn(), outside, "of {inside}");
    }
}

#[test]
fn a_missing_udp_checksum_is_taken_only_where_the_peer_may() {
    let mut without = pooled_over6(0);
    without[46..48].fill(0);
    let mut bench = receiver(true);
    assert_eq!(taken_out(&mut bench, &without).len(), 0);
    assert_eq!(bench.end().drops(Drop::PoolUdpChecksum), 1);
    let mut bench = receiver(true);
    change_peer(&mut bench, |peer| peer.zero_checksum = ZeroChecksum::Allowed);
    assert_eq!(taken_out(&mut bench, &without).len(), 2);
    bench.end();
}

#[test]
fn hostile_outer_packets_are_dropped_by_name() {
    let good = pooled_over6(0);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = good.clone();
        change(&mut packet);
        packet
    };
    let fragment = |word: u8| {
        let mut packet = good.clone();
        packet.splice(40..40, [17, 0, 0, word, 0, 0, 0, 1]);
        packet[6] = 44;
        let length = (packet.len() - 40) as u16;
        packet[4..6].copy_from_slice(&length.to_be_bytes());
        packet
    };
    let cases = [
        (with(&|packet| packet[23] ^= 0x40), Drop::PoolUnknownPeer),
        (with(&|packet| packet[60] ^= 1), Drop::PoolUdpChecksum),
        (with(&|packet| packet[45] ^= 1), Drop::PoolUdpLength),
        (fragment(1), Drop::PoolFragment),
        (fragment(8), Drop::LocalFragment),
    ];
    for (packet, reason) in cases {
        let mut bench = receiver(true);
        assert_eq!(taken_out(&mut bench, &packet).len(), 0, "{}", reason.name());
        assert_eq!(bench.end().drops(reason), 1, "{}", reason.name());
    }
    let mut bench = receiver(true);
    assert_eq!(taken_out(&mut bench, &fragment(0)).len(), 2, "an atomic fragment is whole (RFC 6946)");
    bench.end();
}

#[test]
fn a_hello_over_ipv6_goes_to_the_control_thread() {
    let hello = Hello {
        sequence: 1,
        outer_ttl: 64,
        router_id: 1,
        instance: 2,
        heard_instance: 3,
        interval_ms: 200,
        capabilities: Capabilities::WHOLE_IPV6,
        largest_pooled_packet: 1500,
        longest_hello: 0,
    };
    let mut payload = [0; HELLO_LEN];
    hello.write(&mut payload);
    let mut bench = receiver(true);
    bench.west_sends(&udp6_with(OWN_EAST6, PEER6, (POOL_PORT, POOL_PORT), &payload));
    bench.run();
    let hellos = bench.hellos();
    let [HeardHello { from, length: 76, payload, .. }] = &hellos[..] else { panic!("{hellos:?}") };
    assert_eq!((*from, Hello::parse(payload)), (OWN_EAST6.into(), Ok(hello)));
    bench.end();
}

#[test]
fn what_was_inside_a_pooled_packet_is_not_taken_for_a_neighbour() {
    let asked = |src, target, to_group| {
        let mut out = [0; PACKET_LEN];
        let length = Solicitation::new(src, MacAddr([2, 9, 9, 9, 9, 9]), target, to_group).write(&mut out);
        out[..length].to_vec()
    };
    let cases = [
        (asked(WEST_HOST6, OWN_WEST6, false), Drop::NdMalformed),
        (asked(WEST_HOST6, OWN_WEST6, true), Drop::MulticastLinkLocal),
        (asked(WEST_HOST_LOCAL, OWN_WEST6, false), Drop::LinkScope),
        (asked(WEST_HOST6, OWN_WEST_LOCAL, false), Drop::LinkScope),
    ];
    for (inner, reason) in cases {
        let mut bench = receiver(false);
        bench.west_sends(&pooled(std::slice::from_ref(&inner)));
        bench.run();
        assert!(bench.events().is_empty() && bench.west_gets().is_empty());
        assert_eq!(bench.end().drops(reason), 1, "{}", reason.name());
    }
}
