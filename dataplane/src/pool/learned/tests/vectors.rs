//! The golden vectors of kinds 5 and 6, as decompressor and compressor have them.

use super::*;
use crate::pool::vectors::Vector;
use crate::pool::wire::WireError;
use crate::pool::wire::report::{Report, ReportItem, write_unknown_contexts};

/// Does what a vector says, and compares what comes of it.
fn play(vector: &Vector) {
    let mut decompressor = decompressor(64);
    let mut found = Vec::new();
    for (_, bytes) in vector.arrivals() {
        match ShortPacket::parse(bytes) {
            Ok(packet) => {
                let entries = packet.entries();
                found.extend(entries.map(|entry| opened(&mut decompressor, packet.instance(), entry, Tick(0))));
            }
            Err(error) => {
                assert_eq!(vector.expected(), [(vec!["drop", error.name()], &[][..])], "{}", vector.name);
                return;
            }
        }
    }
    let outcome = |(words, bytes): (Vec<&str>, &[u8])| match words.as_slice() {
        ["take"] => Ok(bytes.to_vec()),
        ["drop-entry", "unknown_context"] => Err(Refused::UnknownContext),
        ["drop-entry", "malformed_entry"] => Err(Refused::Malformed),
        _ => panic!("{}: {words:?}", vector.name),
    };
    assert_eq!(found, vector.expected().into_iter().map(outcome).collect::<Vec<_>>(), "{}", vector.name);
}

#[test]
fn what_the_vectors_of_kind_5_expect_is_taken_out() {
    Vector::all("kind5").iter().for_each(play);
}

#[test]
fn a_voice_stream_is_sent_as_its_vector_says() {
    let mut compressor = compressor(64);
    let vector = Vector::named("kind5", "take_voice");
    for ((_, payload), numbers) in vector.arrivals().into_iter().zip([0..2, 2..5]) {
        let entries: Vec<_> =
            numbers.map(|number| entry(&mut compressor, &voice(Header::USUAL, number), Tick(0))).collect();
        assert_eq!(short_packet(0xcafe_f00d, &entries), payload);
    }
}

#[test]
fn the_vector_of_kind_6_is_written() {
    let vector = Vector::named("kind6", "unknown_contexts");
    let payload = &vector.section("payload").bytes;
    let mut written = vec![0; payload.len()];
    write_unknown_contexts(64, 7, 0xcafe_f00d, 7665, &[5, 0x1234], &mut written).expect("room");
    assert_eq!(written, *payload);
}

/// What a report says, in the words of its vector.
fn said(payload: &[u8]) -> Result<Vec<String>, WireError> {
    let item = |item: ReportItem<'_>| match item {
        ReportItem::UnknownContexts { instance, source_port, contexts } => {
            let ids: String = contexts.iter().map(|id| format!(" {:04x}", u16::from_be_bytes(*id))).collect();
            Some(format!("unknown {instance:08x} {source_port}{ids}"))
        }
        ReportItem::Other => None,
    };
    Ok(Report::parse(payload)?.items().filter_map(item).collect())
}

#[test]
fn the_vectors_of_kind_6_are_read() {
    for vector in Vector::all("kind6") {
        let said =
            said(&vector.section("payload").bytes).unwrap_or_else(|error| vec![format!("drop {}", error.name())]);
        let expected: Vec<_> = vector.expected().iter().map(|(words, _)| words.join(" ")).collect();
        assert_eq!(said, expected, "{}", vector.name);
    }
}
