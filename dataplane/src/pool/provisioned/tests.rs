use proptest::prelude::*;

use super::*;
use crate::packet::mutation::mutated;
use crate::pool::learned::test_packets::Header;
use crate::pool::vectors::Vector;
use crate::pool::wire::{PooledPacket, RowType};

const PEER: PeerIndex = PeerIndex(2);

/// A stream whose packets, as they are staged, look like this: their TTL is decremented.
fn stream(id: u16, header: Header) -> Stream {
    let (source, destination) = header.ends();
    Stream { id: StreamId(id), peer: PEER, source, destination, dscp: Dscp::of_tos(header.tos), ttl: header.ttl + 1 }
}

fn set() -> StreamSet {
    StreamSet::new(&[stream(7, Header::USUAL), stream(0x1234, Header::IPV6)]).expect("a sound set")
}

/// The entry that a packet becomes.
fn entry(packet: &[u8]) -> Option<Vec<u8>> {
    let encoded = set().encode(PEER, packet)?;
    let mut entry = vec![0; encoded.len(packet.len())];
    encoded.write(packet, &mut entry).expect("room for it");
    Some(entry)
}

/// What comes of an entry, which is the same in the way of plain ones, if anything comes of it there: what is IPv4 does.
fn opened(entry: &[u8]) -> Result<Vec<u8>, Refused> {
    let set = set();
    let plain = set.plain(PEER, entry, u32::MAX);
    let rebuilt =
        set.open(PEER, entry).inspect_err(|refused| assert!(plain.is_none(), "refused otherwise: {refused:?}"))?;
    let packet = written(&rebuilt);
    let plain = plain.map(|(rebuilt, to)| (written(&rebuilt), to));
    let recognised = Plain::recognise(&packet, u32::MAX).map(|recognised| recognised.dst);
    assert_eq!(plain, recognised.map(|to| (packet.clone(), to)));
    Ok(packet)
}

fn written(rebuilt: &Rebuilt<'_>) -> Vec<u8> {
    let mut packet = vec![0xee; rebuilt.len()];
    rebuilt.write(&mut packet).expect("room for it");
    packet
}

#[test]
fn a_packet_of_a_stream_becomes_id_flags_and_payload_and_comes_back() {
    // DF is set in the test's IPv4 packets, and a flow label in its IPv6 packets.
    for (packet, expected) in [
        (Header::USUAL.packet(0, b"voice"), &b"\x00\x07\x04voice"[..]),
        (Header::USUAL.packet(0xabcd, b"voice"), b"\x00\x07\x14\xab\xcdvoice"),
        (Header { has_checksum: false, ..Header::USUAL }.packet(0, b"voice"), b"\x00\x07\x0cvoice"),
        (Header { tos: Header::USUAL.tos | 2, ..Header::USUAL }.packet(0, b""), b"\x00\x07\x06"),
        (Header::IPV6.packet(0, b"voice"), b"\x12\x34\x10\x05\x12\x34voice"),
    ] {
        assert_eq!(entry(&packet).as_deref(), Some(expected));
        assert_eq!(opened(expected), Ok(packet));
    }
}

#[test]
fn a_packet_to_the_port_that_is_to_be_left_alone_is_not_plain() {
    let port = |number: u16| u32::from(number.to_be());
    assert!(set().plain(PEER, b"\x00\x07\x00voice", port(5005)).is_some());
    assert!(set().plain(PEER, b"\x00\x07\x00voice", port(5004)).is_none());
    let ending = StreamSet::new(&[stream(7, Header { ttl: 1, ..Header::USUAL })]).expect("a sound set");
    assert!(ending.plain(PEER, b"\x00\x07\x00voice", port(5005)).is_none(), "its TTL lasts no further");
}

#[test]
fn the_vector_of_type_128_is_read_and_written() {
    let vector = Vector::named("provisioned", "take_entries");
    let expected = vector.expected();
    let pooled = PooledPacket::parse(&vector.section("payload").bytes).expect("a sound vector");
    assert_eq!((pooled.rows().count(), expected.len()), (3, 3));
    for ((row, bytes), (_, packet)) in pooled.rows().zip(expected) {
        assert_eq!(row.row_type, RowType::Provisioned);
        assert_eq!(opened(bytes).as_deref(), Ok(packet));
        assert_eq!(entry(packet).as_deref(), Some(bytes));
    }
}

#[test]
fn what_the_far_end_sends_is_what_two_routers_would_have_sent() {
    let sent = Header { ttl: 64, ..Header::USUAL }.packet(9, b"voice");
    let mut pooled = sent.clone();
    crate::packet::ipv4::decrement_ttl(&mut pooled);
    let mut rebuilt = opened(&entry(&pooled).expect("a packet of stream 7, whose ttl is 64")).expect("a sound entry");
    crate::packet::ipv4::decrement_ttl(&mut rebuilt);
    assert_eq!(rebuilt, Header { ttl: 62, ..Header::USUAL }.packet(9, b"voice"));
}

#[test]
fn what_differs_from_its_stream_travels_whole() {
    let usual = Header::USUAL;
    for header in [
        Header { ttl: 62, ..usual },
        Header { ttl: 64, ..usual },
        Header { tos: 0, ..usual },
        Header { host: 2, ..usual },
        Header { port: 1, ..usual },
    ] {
        assert_eq!(entry(&header.packet(0, b"voice")), None, "{header:?}");
    }
    for at in [6, 9, 10, 19, 23, 25, 26, 30] {
        let mut packet = usual.packet(0, b"voice");
        packet[at] ^= if at == 6 { 0x80 } else { 1 };
        assert_eq!(entry(&packet), None, "byte {at}");
    }
    assert!(set().encode(PeerIndex(3), &usual.packet(0, b"voice")).is_none(), "another peer was not told");
}

#[test]
fn entries_that_say_what_cannot_be_are_refused() {
    assert_eq!(opened(b"\x00\x08\x00"), Err(Refused::UnknownStream));
    for entry in [&b""[..], b"\x00\x07", b"\x00\x07\x20", b"\x00\x07\x40", b"\x00\x07\x80", b"\x00\x07\x10\x01"] {
        assert_eq!(opened(entry), Err(Refused::Malformed), "{entry:02x?}");
    }
    for entry in [&b"\x12\x34\x04"[..], b"\x12\x34\x10\x01\x02", b"\x12\x34\x10\x10\x00\x00"] {
        assert_eq!(opened(entry), Err(Refused::Malformed), "{entry:02x?}");
    }
    assert!(set().open(PeerIndex(3), b"\x00\x07\x00").is_err(), "a stream of another peer");
}

#[test]
fn a_set_says_what_is_wrong_with_it() {
    let usual = stream(7, Header::USUAL);
    let refused = |second: Stream| StreamSet::new(&[usual, second]).map(|_| ()).unwrap_err();
    assert_eq!(refused(stream(7, Header::IPV6)), StreamSetError::DuplicateId(7));
    assert_eq!(refused(Stream { id: StreamId(8), ..usual }), StreamSetError::SamePackets { first: 7, second: 8 });
    let low = Stream { id: StreamId(8), ttl: 1, ..usual };
    assert_eq!(refused(low), StreamSetError::TtlTooSmall { id: 8, ttl: 1 });
    let mixed = Stream { id: StreamId(8), destination: stream(8, Header::IPV6).destination, ..usual };
    assert_eq!(refused(mixed), StreamSetError::TwoFamilies(8));
    assert!(StreamSet::new(&[usual, Stream { peer: PeerIndex(0), ..usual }]).is_ok(), "ids are per peer");
}

proptest! {
    #[test]
    fn whatever_is_encoded_comes_back(
        packet in mutated(
            (any::<bool>(), any::<bool>(), 0u8..4, any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(
                |(is_ipv6, has_checksum, ecn, ip_id, payload)| {
                    let usual = if is_ipv6 { Header::IPV6 } else { Header::USUAL };
                    Header { has_checksum, tos: usual.tos | ecn, ..usual }.packet(ip_id, &payload)
                }
            )
        ),
    ) {
        if let Some(entry) = entry(&packet) {
            prop_assert!(entry.len() < packet.len());
            prop_assert_eq!(opened(&entry), Ok(packet));
        }
    }

    #[test]
    fn no_entry_panics(entry in mutated(prop_oneof![
        Just(b"\x00\x07\x14\xab\xcdvoice".to_vec()), Just(b"\x12\x34\x10\x05\x12\x34voice".to_vec())
    ])) {
        let _ = opened(&entry);
    }
}
