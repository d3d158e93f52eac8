//! The golden vectors of kinds 5 and 6: tests/vectors holds the bytes, this file what they mean.

use super::*;
use crate::pool::wire::report::{Report, ReportItem, write_unknown_contexts};

/// The bytes of a vector: pairs of hex digits, `#` begins a comment that ends with its line.
fn vector(text: &str) -> Vec<u8> {
    let digits = text.lines().flat_map(|line| line.split('#').next()).flat_map(str::chars);
    let digits: String = digits.filter(|digit| !digit.is_whitespace()).collect();
    let pair = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two hex digits");
    (0..digits.len()).step_by(2).map(pair).collect()
}

/// The packets in the vectors: G.729 over RTP, as IPv4, numbered from 0.
fn packets() -> Vec<Vec<u8>> {
    (0..5).map(|number| voice(Header::USUAL, number)).collect()
}

#[test]
fn the_vectors_of_kind_5_are_written_and_read() {
    let vectors = [
        include_str!("../../../../../tests/vectors/kind5-announcement.hex"),
        include_str!("../../../../../tests/vectors/kind5-compressed.hex"),
    ];
    let (mut compressor, mut decompressor) = (compressor(64), decompressor(64));
    let packets = packets();
    for (text, packets) in vectors.iter().zip([&packets[..2], &packets[2..]]) {
        let entries: Vec<_> = packets.iter().map(|packet| entry(&mut compressor, packet, Tick(0))).collect();
        let payload = vector(text);
        assert_eq!(short_packet(0xcafe_f00d, &entries), payload);
        let packet = ShortPacket::parse(&payload).expect("a sound vector");
        let found: Result<Vec<_>, _> =
            packet.entries().map(|entry| opened(&mut decompressor, packet.instance(), entry, Tick(0))).collect();
        assert_eq!(found.expect("known contexts"), packets);
    }
}

#[test]
fn the_vector_of_all_that_can_change_is_read() {
    let payload = vector(include_str!("../../../../../tests/vectors/kind5-changes.hex"));
    let packet = ShortPacket::parse(&payload).expect("a sound vector");
    let mut decompressor = decompressor(64);
    let found: Vec<_> = packet.entries().map(|entry| opened(&mut decompressor, 7, entry, Tick(0))).collect();
    let media = [0x11, 0x22, 0x33, 0x44];
    let packet = |ip_id, start, sequence, timestamp| {
        Ok(Header::USUAL.packet(ip_id, &rtp(start, sequence, timestamp, 0xfeed_beef, &media)))
    };
    let expected = [
        packet(500, [0x80, 18], 1000, 16_000),
        packet(501, [0x80, 18], 1001, 16_160),
        packet(502, [0x80, 0x92], 1002, 16_321),
        packet(510, [0x80, 18], 1300, 64_000),
        packet(0xabcd, [0x90, 101], 999, 0x0102_0304),
        Ok(Header { port: 9, ..Header::IPV6 }.packet(0, &[1, 2, 3])),
        Ok(Header { port: 9, ..Header::IPV6 }.packet(0, &[])),
        Err(Refused::UnknownContext),
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_vector_of_kind_6_is_written_and_read() {
    let payload = vector(include_str!("../../../../../tests/vectors/kind6-unknown-contexts.hex"));
    let mut written = vec![0; payload.len()];
    write_unknown_contexts(64, 7, 0xcafe_f00d, 7665, &[5, 0x1234], &mut written).expect("room");
    assert_eq!(written, payload);
    let report = Report::parse(&payload).expect("a sound vector");
    let contexts: &[[u8; 2]] = &[[0, 5], [0x12, 0x34]];
    let expected = ReportItem::UnknownContexts { instance: 0xcafe_f00d, source_port: 7665, contexts };
    assert_eq!(report.items().collect::<Vec<_>>(), [expected]);
}
