//! What went wrong once.

use std::sync::Arc;
use std::time::Duration;

use super::lab::*;
use crate::fib::{Neighbour, NeighbourTable};
use crate::packet::ipv4::Ipv4Header;
use crate::pool::wire::{Row, RowType, write_header_and_rows};
use crate::worker::{Counter, Drop, Inject, InjectTarget};

/// A pooled packet from the peer with these packets inside.
fn pooled(inner: &[Vec<u8>]) -> Vec<u8> {
    let mut rows = Vec::new();
    let mut start = 0;
    for packet in inner {
        let length = packet.len() as u16;
        rows.push(Row { start, length, ttl: 1, row_type: RowType::WholeIpv4 });
        start += length;
    }
    let mut payload = vec![0; 8 + rows.len() * 6];
    write_header_and_rows(64, 1, &rows, &mut payload).expect("room for the index");
    payload.extend(inner.concat());
    udp_with(PEER, OWN_EAST, (POOL_PORT, POOL_PORT), &payload)
}

fn stream(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|tag| udp(FAR_HOST, WEST_HOST, (1, 2), 100, tag)).collect()
}

/// The tags of the packets, in their order.
fn tags(packets: Vec<Vec<u8>>) -> Vec<u8> {
    packets.iter().map(|packet| packet[28]).collect()
}

#[test]
fn a_packet_behind_a_pooled_packet_does_not_overtake_what_was_inside() {
    let mut bench = Bench::new();
    let packets = stream(3);
    bench.east_sends(&pooled(&packets[..2]));
    bench.east_sends(&packets[2]);
    bench.run();
    assert_eq!(tags(bench.west_gets()), [0, 1, 2]);
    bench.end();
}

#[test]
fn what_was_in_nested_pooled_packets_stays_in_order() {
    let mut bench = Bench::new();
    let packets = stream(4);
    bench.east_sends(&pooled(&[packets[0].clone(), pooled(&packets[1..2]), packets[2].clone()]));
    bench.east_sends(&packets[3]);
    bench.run();
    assert_eq!(tags(bench.west_gets()), [0, 1, 2, 3]);
    bench.end();
}

#[test]
fn pools_do_not_overtake_packets_that_wait_for_the_same_neighbour() {
    let mut bench = Bench::new();
    bench.neighbours(vec![Neighbour::new(EAST, GATEWAY.into(), None)]);
    // Too large for the rule, so it waits for the neighbour; the second is staged.
    bench.west_sends(&udp(WEST_HOST, FAR_HOST, (16_400, 16_500), 900, 0));
    bench.west_sends(&udp(WEST_HOST, FAR_HOST, (16_400, 16_500), 200, 1));
    bench.run();
    bench.change(|state| {
        state.pools += 1;
        state.neighbours = Arc::new(NeighbourTable::new(vec![Neighbour::new(EAST, GATEWAY.into(), Some(GATEWAY_MAC))]));
    });
    bench.run();
    assert_eq!(tags(bench.east_gets()), [0, 1]);
    bench.end();
}

#[test]
fn nothing_is_pooled_into_packets_that_the_link_does_not_take() {
    let mut bench = Bench::new();
    bench.change(|state| {
        let mut ports = state.ports.to_vec();
        ports[1].mtu = 1400;
        state.ports = ports.into();
    });
    for tag in 0..6 {
        bench.west_sends(&udp(WEST_HOST, FAR_HOST, (16_400, 16_500), 280, tag));
    }
    bench.run();
    assert_eq!(bench.east_gets().len(), 6);
    assert_eq!(bench.end().drops_total(), 0);
}

#[test]
fn counters_follow_what_happens_without_a_packet() {
    let mut bench = Bench::new();
    bench.neighbours(vec![Neighbour::new(EAST, GATEWAY.into(), None)]);
    // From a source that nobody can tell what became of it.
    let source = std::net::Ipv4Addr::new(203, 0, 115, 1);
    bench.west_sends(&udp(source, std::net::Ipv4Addr::new(203, 0, 114, 7), (1, 2), 100, 0));
    bench.run();
    for _ in 0..1000 {
        bench.wait(Duration::from_millis(10));
        bench.worker.iterate(bench.now);
    }
    let shown = bench.shared.counters.load();
    assert_eq!((shown.get(Counter::Held), shown.drops(Drop::NeighbourUnreachable)), (0, 1));
    bench.end();
}

#[test]
fn an_icmp_error_comes_from_the_address_of_the_link_it_leaves_by() {
    let mut bench = Bench::new();
    let data = udp(WEST_HOST, FAR_HOST, (1, 2), 100, 5);
    let header = Ipv4Header { ttl: 1, ..Ipv4Header::parse(&data).expect("sound") };
    // Its source lives in the west, and it comes from the east.
    bench.east_sends(&packet(header, &data[20..]));
    bench.run();
    assert_eq!(Ipv4Header::parse(&bench.west_gets()[0]).expect("sound").src, OWN_WEST);
    bench.end();
}

#[test]
fn what_the_control_thread_hands_down_is_counted_where_memory_is_exhausted() {
    let mut bench = Bench::new();
    let hoard: Vec<_> = std::iter::from_fn(|| bench.cache.alloc()).collect();
    let hello = udp(OWN_EAST, PEER, (POOL_PORT, POOL_PORT), 60, 9);
    let inject = Inject { target: InjectTarget::Routed, bytes: hello.iter().copied().collect(), padding: 0 };
    assert!(bench.shared.injects.push(inject).is_ok());
    bench.run();
    assert_eq!(bench.east_gets().len() as u64 + bench.counters().drops(Drop::NoBuffer), 1);
    drop(hoard);
    bench.end();
}

#[test]
fn what_is_not_ecn_capable_is_dropped_where_the_pooled_packet_met_congestion() {
    let mut bench = Bench::new();
    let mut outer = pooled(&stream(2));
    let header = Ipv4Header { dscp_ecn: 3, ..Ipv4Header::parse(&outer).expect("sound") };
    outer = packet(header, &outer[20..]);
    bench.east_sends(&outer);
    bench.run();
    assert!(bench.west_gets().is_empty());
    assert_eq!(bench.end().drops(Drop::PoolCongested), 2);
}

#[test]
fn what_is_dropped_without_a_burst_goes_back_to_its_pool_at_once() {
    let mut bench = Bench::new();
    bench.neighbours(vec![Neighbour::new(EAST, GATEWAY.into(), None)]);
    for tag in 0..5 {
        bench.west_sends(&udp(WEST_HOST, std::net::Ipv4Addr::new(203, 0, 114, 7), (1, 2), 100, tag));
    }
    bench.run();
    bench.wait(Duration::from_secs(4));
    bench.run();
    assert_eq!(bench.counters().drops(Drop::NeighbourUnreachable), 5);
    assert!(bench.worker.stages.out.bin.is_empty(), "given up by a timer, not in a received burst");
    bench.end();
}
