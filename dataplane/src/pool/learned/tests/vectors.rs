//! The golden vectors of kinds 5 and 6.

use super::super::test_packets::sections;
use super::*;
use crate::pool::wire::report::{Report, ReportItem, write_unknown_contexts};

const VOICE: &str = include_str!("../../../../../tests/vectors/kind5/take_voice.hex");
const CHANGES: &str = include_str!("../../../../../tests/vectors/kind5/take_changes.hex");
const UNKNOWN: &str = include_str!("../../../../../tests/vectors/kind6/unknown_contexts.hex");

/// Does what a vector says, and compares what comes of it.
fn play(text: &str) {
    let mut decompressor = decompressor(64);
    let mut found = Vec::new();
    let mut expected = Vec::new();
    for (words, bytes) in sections(text) {
        match &*words {
            "at addressee" => {}
            "payload" => {
                let packet = ShortPacket::parse(&bytes).expect("a sound vector");
                for entry in packet.entries() {
                    found.push(opened(&mut decompressor, packet.instance(), entry, Tick(0)));
                }
            }
            "expect take" => expected.push(Ok(bytes)),
            "expect drop-entry unknown_context" => expected.push(Err(Refused::UnknownContext)),
            _ => panic!("{words}"),
        }
    }
    assert_eq!(found, expected);
}

#[test]
fn what_the_vectors_of_kind_5_expect_is_taken_out() {
    play(VOICE);
    play(CHANGES);
}

#[test]
fn a_voice_stream_is_sent_as_its_vector_says() {
    let mut compressor = compressor(64);
    let payloads = sections(VOICE).into_iter().filter(|(words, _)| words == "payload");
    for ((_, payload), numbers) in payloads.zip([0..2, 2..5]) {
        let entries: Vec<_> =
            numbers.map(|number| entry(&mut compressor, &voice(Header::USUAL, number), Tick(0))).collect();
        assert_eq!(short_packet(0xcafe_f00d, &entries), payload);
    }
}

#[test]
fn the_vector_of_kind_6_is_written_and_read() {
    let [(_, payload)] = &sections(UNKNOWN)[..] else { panic!("one section") };
    let mut written = vec![0; payload.len()];
    write_unknown_contexts(64, 7, 0xcafe_f00d, 7665, &[5, 0x1234], &mut written).expect("room");
    assert_eq!(written, *payload);
    let report = Report::parse(payload).expect("a sound vector");
    let contexts: &[[u8; 2]] = &[[0, 5], [0x12, 0x34]];
    let expected = ReportItem::UnknownContexts { instance: 0xcafe_f00d, source_port: 7665, contexts };
    assert_eq!(report.items().collect::<Vec<_>>(), [expected]);
}
