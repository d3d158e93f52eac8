//! Extraction on the way: the golden vectors, and what holds for any pooled packet past any nodes.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::pooled_packet_detector::ZeroChecksum;
use super::transit::{Passed, pass};
use super::vectors::Vector;
use super::wire::{PORT, PooledPacket, Row, RowType, header_and_rows_len, write_header_and_rows};
use crate::packet::Sum;
use crate::packet::ipv4::{Ipv4Header, PROTOCOL_UDP, decrement_ttl};
use crate::packet::mutation::mutated;
use crate::packet::udp::UdpHeader;

/// A row to be: TTL, type, bytes.
type Passenger = (u8, RowType, Vec<u8>);

/// How the packet around is made.
#[derive(Clone, Copy, Debug)]
struct Outside {
    ipv6: bool,
    options: bool,
    checksum: bool,
    /// The sequence number; with it any UDP checksum can come about.
    sequence: u32,
}

const PLAIN: Outside = Outside { ipv6: false, options: false, checksum: true, sequence: 7 };

/// A pooled packet made anew, all of it.
fn pooled(rows: &[Passenger], outer_ttl: u8, ttl: u8, outside: Outside) -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (ttl, row_type, bytes) in rows {
        let (start, length) = (data.len() as u16, bytes.len() as u16);
        index.push(Row { start, length, ttl: *ttl, row_type: *row_type });
        data.extend_from_slice(bytes);
    }
    let mut payload = vec![0; header_and_rows_len(rows.len())];
    write_header_and_rows(outer_ttl, outside.sequence, &index, &mut payload).expect("1 to 255 rows");
    payload.extend_from_slice(&data);

    let (source, destination) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 5));
    let (source6, destination6) = (source.to_ipv6_mapped(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5));
    let length = (8 + payload.len()) as u16;
    let addresses = if outside.ipv6 {
        [source6.octets(), destination6.octets()].concat()
    } else {
        [source.octets(), destination.octets()].concat()
    };
    let mut udp = UdpHeader { src_port: 7700, dst_port: PORT, length, checksum: 0 };
    let mut datagram = vec![0; 8];
    udp.write(datagram.first_chunk_mut().expect("8 bytes"));
    datagram.extend_from_slice(&payload);
    if outside.checksum {
        let sum = Sum::of(&addresses).add_word(17).add_word(length).add(Sum::of(&datagram));
        udp.checksum = if sum.checksum() == 0 { 0xffff } else { sum.checksum() };
        udp.write(datagram.first_chunk_mut().expect("8 bytes"));
    }
    if outside.ipv6 {
        let [l0, l1] = length.to_be_bytes();
        return [&[0x6b, 0x80, 0, 0, l0, l1, PROTOCOL_UDP, ttl][..], &addresses, &datagram].concat();
    }
    let options: &[u8] = if outside.options { &[1; 4] } else { &[] };
    let mut header = Ipv4Header {
        header_len: 20,
        dscp_ecn: 0xb8,
        total_len: 20 + options.len() as u16 + length,
        id: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        ttl,
        protocol: PROTOCOL_UDP,
        src: source,
        dst: destination,
    };
    let mut ip = [0; 20];
    header.write(&mut ip);
    header.header_len += options.len() as u8;
    ip[0] = 0x40 + header.header_len / 4;
    ip[10..12].fill(0);
    let checksum = Sum::of(&ip).add(Sum::of(options)).checksum();
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    [&ip[..], options, &datagram].concat()
}

/// A whole packet of this length, filled with its tag.
fn whole(ipv6: bool, length: usize, tag: u8) -> (RowType, Vec<u8>) {
    let mut bytes = vec![tag; length.max(if ipv6 { 40 } else { 20 })];
    let length = bytes.len() as u16;
    if ipv6 {
        bytes[0] = 0x60;
        bytes[4..6].copy_from_slice(&(length - 40).to_be_bytes());
        return (RowType::WholeIpv6, bytes);
    }
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    (RowType::WholeIpv4, bytes)
}

/// What a node does: `pass`, and forwarding. Returns what is taken out and what goes on.
fn node(packet: &[u8]) -> (Passed, Vec<Vec<u8>>, Option<Vec<u8>>) {
    let (mut packet, mut taken) = (packet.to_vec(), Vec::new());
    let passed = pass(&mut packet, PORT, ZeroChecksum::Allowed, |bytes| taken.push(bytes.to_vec()));
    match passed {
        Passed::Ended { .. } => return (passed, taken, None),
        Passed::Onward { length, .. } => packet.truncate(usize::from(length)),
        Passed::Untouched => {}
    }
    router(&mut packet);
    (passed, taken, Some(packet))
}

/// What any router does.
fn router(packet: &mut [u8]) {
    match packet[0] >> 4 {
        6 => packet[7] -= 1,
        _ => assert!(decrement_ttl(packet).is_some()),
    }
}

#[test]
fn every_vector_in_transit_is_passed_on_to_the_byte() {
    let mut seen = 0;
    for vector in Vector::all("kind0").iter().filter(|vector| vector.section("at").words[1] == "transit") {
        let name = &vector.name;
        let mut packet = vector.section("packet").bytes.clone();
        let mut taken = Vec::new();
        let passed = pass(&mut packet, PORT, ZeroChecksum::Refused, |bytes| taken.push(bytes.to_vec()));
        if let Passed::Onward { length, .. } = passed {
            packet.truncate(usize::from(length));
        }
        router(&mut packet);
        let mut outcome: Vec<(Vec<&str>, &[u8])> = taken.iter().map(|row| (vec!["take"], &row[..])).collect();
        if !matches!(passed, Passed::Ended { .. }) {
            outcome.push((vec!["forward"], &packet));
        }
        assert_eq!(outcome, vector.expected(), "{name}");
        seen += 1;
    }
    assert!(seen > 20, "{seen} vectors in transit");
}

#[test]
fn every_vector_at_the_addressee_is_taken_apart_or_dropped_by_its_name() {
    let mut names = std::collections::HashSet::new();
    for vector in Vector::all("kind0").iter().filter(|vector| vector.section("at").words[1] == "addressee") {
        let payload = if vector.has("payload") {
            vector.section("payload").bytes.clone()
        } else {
            let packet = &vector.section("packet").bytes;
            packet[if packet[0] >> 4 == 6 { 48 } else { 28 }..].to_vec()
        };
        let outcome: Vec<(Vec<&str>, &[u8])> = match PooledPacket::parse(&payload) {
            Ok(packet) => packet.rows().map(|(_, bytes)| (vec!["take"], bytes)).collect(),
            Err(error) => vec![(vec!["drop", error.name()], &[][..])],
        };
        names.extend(outcome.iter().filter_map(|(words, _)| words.get(1).map(|name| name.to_string())));
        assert_eq!(outcome, vector.expected(), "{}", vector.name);
    }
    assert_eq!(names.len(), 16, "every bound of kind 0 has a vector: {names:?}");
}

#[test]
fn a_packet_that_is_not_ours_to_open_is_not_changed() {
    let rows =
        [(1, whole(false, 60, 1)), (5, whole(false, 61, 2))].map(|(ttl, (row_type, bytes))| (ttl, row_type, bytes));
    let sound = pooled(&rows, 64, 64, PLAIN);
    let untouched = |what: &str, change: &dyn Fn(&mut Vec<u8>), zero_checksum| {
        let mut packet = sound.clone();
        change(&mut packet);
        let before = packet.clone();
        let passed = pass(&mut packet, PORT, zero_checksum, |_| panic!("{what}: something was taken out"));
        assert_eq!((passed, packet), (Passed::Untouched, before), "{what}");
    };
    let refused = ZeroChecksum::Refused;
    untouched("another port", &|p| p[23] ^= 1, refused);
    untouched("TCP", &|p| p[9] = 6, refused);
    untouched("a first fragment", &|p| p[6] = 0x20, refused);
    untouched("a later fragment", &|p| p[7] = 1, refused);
    untouched("a UDP length below what is there", &|p| p[25] -= 1, refused);
    untouched("an IP length below what is there", &|p| p.push(0), refused);
    untouched("no checksum", &|p| p[26..28].fill(0), refused);
    untouched("a wrong checksum", &|p| p[27] ^= 1, ZeroChecksum::Allowed);
    untouched("a flipped bit in what stays", &|p| *p.last_mut().unwrap() ^= 1, refused);
    untouched("a broken index", &|p| p[28 + 8 + 1] = 1, refused);
    untouched("IP version 5", &|p| p[0] = 0x55, refused);
    untouched("no bytes", &|p| p.clear(), refused);
    untouched("a header alone", &|p| p.truncate(20), refused);
}

#[test]
fn the_data_are_not_looked_at_where_nothing_is_due() {
    let (row_type, bytes) = whole(false, 60, 1);
    let mut packet = pooled(&[(3, row_type, bytes.clone())], 64, 64, PLAIN);
    *packet.last_mut().unwrap() ^= 1;
    let (passed, taken, onward) = node(&packet);
    assert_eq!((passed, taken.len()), (Passed::Onward { length: packet.len() as u16, taken: 0 }, 0));
    let mut expected = pooled(&[(2, row_type, bytes)], 63, 63, PLAIN);
    *expected.last_mut().unwrap() ^= 1;
    assert_eq!(onward, Some(expected), "as wrong as it was: the addressee drops it");
}

#[test]
fn any_checksum_comes_out_right_and_never_as_zero() {
    let mut rows = [(9, whole(false, 21, 1)), (1, whole(false, 20, 2))].map(|(ttl, (kind, bytes))| (ttl, kind, bytes));
    for due in [false, true] {
        rows[1].0 = if due { 1 } else { 9 };
        for sequence in 0..=0xffff {
            let outside = Outside { sequence, ..PLAIN };
            let (_, _, onward) = node(&pooled(&rows, 64, 64, outside));
            let kept: Vec<Passenger> =
                rows[..if due { 1 } else { 2 }].iter().map(|row| (8, row.1, row.2.clone())).collect();
            assert_eq!(onward, Some(pooled(&kept, 63, 63, outside)), "due: {due}, sequence number {sequence}");
        }
    }
}

#[test]
fn routers_in_between_may_be_many_and_ttls_may_make_no_sense() {
    let passenger = |ttl| {
        let (row_type, bytes) = whole(false, 33, 1);
        (ttl, row_type, bytes)
    };
    for (sent, received, ttl, left) in [
        (64, 64, 2, Some(1)),
        (64, 60, 6, Some(1)),
        (64, 60, 5, None),
        (255, 1, 255, None),
        (10, 200, 2, Some(1)),
        (64, 64, 0, None),
    ] {
        let (_, taken, onward) = node(&pooled(&[passenger(ttl)], sent, received, PLAIN));
        assert_eq!(taken.len(), usize::from(left.is_none()), "{sent} {received} {ttl}");
        let expected = left.map(|left| pooled(&[passenger(left)], received - 1, received - 1, PLAIN));
        assert_eq!(onward, expected, "{sent} {received} {ttl}");
    }
}

fn passenger() -> impl Strategy<Value = Passenger> {
    let kind = prop_oneof![6 => Just(0u8), 2 => Just(1), 1 => Just(2)];
    (0u8..8, kind, 0usize..130, any::<u8>(), any::<u8>()).prop_map(|(ttl, kind, length, tag, number)| {
        let (row_type, bytes) = match kind {
            2 => (RowType::of(if matches!(number, 4 | 41) { 128 } else { number }), vec![tag; length]),
            kind => whole(kind == 1, length, tag),
        };
        (ttl, row_type, bytes)
    })
}

fn outside() -> impl Strategy<Value = Outside> {
    (any::<bool>(), any::<bool>(), prop::bool::weighted(0.8), any::<u32>())
        .prop_map(|(ipv6, options, checksum, sequence)| Outside { ipv6, options, checksum, sequence })
}

fn passengers() -> impl Strategy<Value = Vec<Passenger>> {
    prop_oneof![
        9 => prop::collection::vec(passenger(), 1..12),
        1 => prop::collection::vec(passenger(), 250..=255),
    ]
}

proptest! {
    /// Past any routers and nodes: at each node exactly what is due gets out, in order, and what goes on is, to the byte,
    /// the pooled packet that one would make anew of the rest.
    #[test]
    fn what_is_taken_out_and_what_goes_on_is_what_went_in(
        mut rows in passengers(), outside in outside(), equipped in prop::collection::vec(any::<bool>(), 1..9), start in 20u8..,
    ) {
        let (mut field, mut ttl) = (start, start);
        let mut packet = pooled(&rows, field, ttl, outside);
        for equipped in equipped {
            if !equipped {
                router(&mut packet);
                ttl -= 1;
                continue;
            }
            let hops = field - ttl + 1;
            let is_due = |row: &Passenger| row.0 <= hops && row.1.is_whole();
            let (passed, taken, onward) = node(&packet);
            let due: Vec<Vec<u8>> = rows.iter().filter(|row| is_due(row)).map(|row| row.2.clone()).collect();
            prop_assert_eq!(&taken, &due);
            rows.retain(|row| !is_due(row));
            rows.iter_mut().for_each(|row| row.0 = row.0.saturating_sub(hops));
            (field, ttl) = (ttl - 1, ttl - 1);
            if rows.is_empty() {
                prop_assert_eq!(passed, Passed::Ended { taken: due.len() as u8 });
                break;
            }
            let expected = pooled(&rows, field, ttl, outside);
            prop_assert_eq!(passed, Passed::Onward { length: expected.len() as u16, taken: due.len() as u8 });
            packet = onward.expect("some rows are left");
            prop_assert_eq!(&packet, &expected);
        }
    }

    #[test]
    fn whatever_comes_is_left_alone_or_becomes_a_sound_packet(
        mut packet in mutated((prop::collection::vec(passenger(), 1..6), outside()).prop_map(|(rows, outside)| pooled(&rows, 64, 62, outside))),
    ) {
        let before = packet.clone();
        let mut taken = 0;
        match pass(&mut packet, PORT, ZeroChecksum::Allowed, |_| taken += 1) {
            Passed::Untouched => prop_assert_eq!((packet, taken), (before, 0)),
            Passed::Ended { taken: told } => prop_assert_eq!(told, taken),
            Passed::Onward { length, taken: told } => {
                prop_assert_eq!(told, taken);
                packet.truncate(usize::from(length));
                let header_len = if packet[0] >> 4 == 6 { 40 } else { usize::from(packet[0] & 15) * 4 };
                let rest = PooledPacket::parse_in_transit(&packet[header_len + 8..]);
                prop_assert!(rest.is_ok(), "{:?}", rest);
                let udp = UdpHeader::parse(&packet[header_len..]).expect("a UDP header");
                prop_assert_eq!(usize::from(udp.length), packet.len() - header_len);
            }
        }
    }
}
