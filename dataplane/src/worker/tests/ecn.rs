//! Congestion marks of packets that come out of pooled packets (RFC 6040, section 4.2): of both families, in pooled packets
//! of both, at the addressee and on the way.

use super::lab::*;
use super::lab6::*;
use super::pooling6::change_peer;
use crate::packet::checksum::Sum;
use crate::packet::ecn::tests::{OUTSIDE, RFC_6040};
use crate::pool::wire::{Row, RowType, write_header_and_rows};
use crate::worker::{Counter, Drop};

/// Where a pooled packet is opened.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Addressee,
    OnTheWay,
}

/// The ECN field of an IP packet.
fn ecn(packet: &[u8]) -> u8 {
    if packet[0] >> 4 == 6 { packet[1] >> 4 & 3 } else { packet[1] & 3 }
}

/// The packet with another ECN field.
fn with_ecn(mut packet: Vec<u8>, field: u8) -> Vec<u8> {
    if packet[0] >> 4 == 6 {
        packet[1] = packet[1] & 0xcf | field << 4;
        return packet;
    }
    packet[1] = packet[1] & 0xfc | field;
    packet[10..12].fill(0);
    let checksum = Sum::of(&packet[..20]).checksum();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// A pooled packet from a peer in the west with two packets that go back to the west, of which the first is due wherever it
/// is opened, and the second at the addressee only.
fn pooled(at: At, outer_ipv6: bool, inner_ipv6: bool, (inside, outside): (u8, u8)) -> Vec<u8> {
    let (mut rows, mut data) = (Vec::new(), Vec::new());
    for (tag, ttl) in [(1, 1), (2, 3)] {
        let packet = match inner_ipv6 {
            true => udp6(POOLED_HOST6, WEST_HOST6, (1, 2), 100, tag),
            false => udp(FAR_HOST, WEST_HOST, (1, 2), 100, tag),
        };
        let row_type = if inner_ipv6 { RowType::WholeIpv6 } else { RowType::WholeIpv4 };
        rows.push(Row { start: data.len() as u16, length: packet.len() as u16, ttl, row_type });
        data.extend(with_ecn(packet, inside));
    }
    let mut payload = vec![0; 8 + 2 * 6];
    write_header_and_rows(64, 7, &rows, &mut payload).expect("room for the index");
    payload.extend(data);
    let ports = (POOL_PORT, POOL_PORT);
    let outer = match (outer_ipv6, at) {
        (true, At::Addressee) => udp6_with(WEST_HOST6, OWN_WEST6, ports, &payload),
        (true, At::OnTheWay) => udp6_with(WEST_HOST6, FAR_HOST6, ports, &payload),
        (false, At::Addressee) => udp_with(WEST_HOST, OWN_WEST, ports, &payload),
        (false, At::OnTheWay) => udp_with(WEST_HOST, FAR_HOST, ports, &payload),
    };
    with_ecn(outer, outside)
}

/// Sends one for every place in the table of RFC 6040, and looks at what becomes of both packets.
fn keeps_the_table(at: At, outer_ipv6: bool, inner_ipv6: bool) {
    let mut bench = Bench::new();
    change_peer(&mut bench, |peer| {
        peer.path.addressee = if outer_ipv6 { WEST_HOST6.into() } else { WEST_HOST.into() };
    });
    let taken_out = if at == At::Addressee { 2 } else { 1 };
    let mut dropped = 0;
    for (inside, row) in RFC_6040 {
        for (outside, expected) in OUTSIDE.into_iter().zip(row) {
            let case = format!("{inside} in {outside}, {at:?}, outer IPv6 {outer_ipv6}, inner IPv6 {inner_ipv6}");
            bench.west_sends(&pooled(at, outer_ipv6, inner_ipv6, (inside, outside)));
            bench.run();
            let fields: Vec<u8> = bench.west_gets().iter().map(|packet| ecn(packet)).collect();
            assert_eq!(fields, expected.map_or(vec![], |field| vec![field; taken_out]), "{case}");
            let onward: Vec<u8> = bench.east_gets().iter().map(|packet| ecn(packet)).collect();
            assert_eq!(onward, if at == At::OnTheWay { vec![outside] } else { vec![] }, "{case}: what goes on");
            dropped += if expected.is_none() { taken_out as u64 } else { 0 };
            assert_eq!(bench.counters().drops(Drop::PoolCongested), dropped, "{case}");
        }
    }
    assert_eq!(bench.end().get(Counter::CreatedExtracted), 16 * taken_out as u64);
}

#[test]
fn what_the_addressee_takes_out_has_the_ecn_field_of_the_table() {
    for (outer_ipv6, inner_ipv6) in [(false, false), (false, true), (true, false), (true, true)] {
        keeps_the_table(At::Addressee, outer_ipv6, inner_ipv6);
    }
}

#[test]
fn what_gets_out_on_the_way_has_the_ecn_field_of_the_table_and_the_rest_goes_on_as_it_came() {
    for (outer_ipv6, inner_ipv6) in [(false, false), (false, true), (true, false), (true, true)] {
        keeps_the_table(At::OnTheWay, outer_ipv6, inner_ipv6);
    }
}
