//! The codec as a whole: golden vectors, properties, and each bound broken on its own.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::packet::mutation::mutated;
use crate::pool::vectors::Vector;

/// A whole IPv4 packet of `length` bytes, each but those of its header `fill`.
fn ipv4(length: u16, fill: u8) -> Vec<u8> {
    let mut packet = vec![fill; usize::from(length)];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet
}

/// What our own writer makes of packets of these lengths, each filled with its number.
pub(crate) fn written(flavour: Flavour, lengths: &[u16]) -> Vec<u8> {
    let mut writer = Writer::new(flavour);
    let mut payload = Vec::new();
    for (number, &length) in lengths.iter().enumerate() {
        payload.extend(writer.add(usize::from(length)).expect("it fits"));
        payload.extend(ipv4(length, number as u8));
    }
    assert_eq!(usize::from(writer.length()), payload.len());
    payload
}

/// Any entries as the format has them, by another way than the writer's: `single` sets the bit for "all of one
/// protocol". Lengths below 8192.
fn encoded(flavour: Flavour, single: bool, entries: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (number, (protocol, bytes)) in entries.iter().enumerate() {
        let length = bytes.len();
        match flavour {
            Flavour::Fast => payload.extend([(length / 256) as u8, (length % 256) as u8, *protocol]),
            Flavour::Normal => {
                let limit = if number == 0 { 64 } else { 128 };
                let flag = if number == 0 && single { 128 } else { 0 };
                if length < limit {
                    payload.push((flag + length) as u8);
                } else {
                    payload.extend([(flag + limit + length / 128) as u8, (length % 128) as u8]);
                }
                if number == 0 || !single {
                    payload.push(*protocol);
                }
            }
        }
        payload.extend(bytes);
    }
    payload
}

fn entries_of(datagram: &Datagram<'_>) -> Vec<(u8, Vec<u8>)> {
    datagram.entries().map(|entry| (entry.protocol(), entry.bytes().to_vec())).collect()
}

fn refused(flavour: Flavour, payload: &[u8]) -> Option<SimplemuxError> {
    Datagram::parse(flavour, payload).err()
}

#[test]
fn a_datagram_of_2304_bytes_is_read_and_one_of_2305_is_not() {
    let whole = written(Flavour::Fast, &[1000, 1298]);
    assert_eq!(whole.len(), MAX_LENGTH);
    assert_eq!(refused(Flavour::Fast, &whole), None);
    let longer = encoded(Flavour::Fast, false, &[(4, ipv4(1000, 0)), (4, ipv4(1299, 1))]);
    assert_eq!(refused(Flavour::Fast, &longer), Some(SimplemuxError::TooLong));
}

#[test]
fn a_hundred_entries_are_read_and_one_more_is_not() {
    for flavour in [Flavour::Normal, Flavour::Fast] {
        let whole = written(flavour, &[20; 100]);
        assert_eq!(Datagram::parse(flavour, &whole).map(|datagram| datagram.count()), Ok(100));
        let more = encoded(flavour, true, &vec![(4, ipv4(20, 0)); 101]);
        // 101 of the shortest packets are too long in the fast flavour, which is looked at first.
        let expected = if more.len() > MAX_LENGTH { SimplemuxError::TooLong } else { SimplemuxError::TooManyEntries };
        assert_eq!(refused(flavour, &more), Some(expected));
        let short = encoded(flavour, true, &vec![(59, Vec::new()); 101]);
        assert_eq!(refused(flavour, &short), Some(SimplemuxError::TooManyEntries));
    }
}

#[test]
fn a_separator_may_end_nowhere_but_at_its_end() {
    let normal = encoded(Flavour::Normal, false, &[(4, ipv4(64, 0)), (4, ipv4(128, 0))]);
    for cut in [1, 2, 68, 69] {
        assert_eq!(refused(Flavour::Normal, &normal[..cut]), Some(SimplemuxError::TruncatedSeparator), "{cut}");
    }
    let fast = encoded(Flavour::Fast, false, &[(4, ipv4(64, 0)), (4, ipv4(128, 0))]);
    for cut in [1, 2, 68, 69] {
        assert_eq!(refused(Flavour::Fast, &fast[..cut]), Some(SimplemuxError::TruncatedSeparator), "{cut}");
    }
}

/// What our reader makes of a payload, in the words of its vector, and the bytes behind them.
fn found(flavour: Flavour, payload: &[u8]) -> Vec<(String, Vec<u8>)> {
    match Datagram::parse(flavour, payload) {
        Err(error) => vec![(format!("drop {}", error.name()), Vec::new())],
        Ok(datagram) => {
            let entries = datagram.entries();
            entries.map(|entry| (format!("entry {}", entry.protocol()), entry.bytes().to_vec())).collect()
        }
    }
}

/// What our writer makes of the entries of a payload.
fn rewritten(flavour: Flavour, payload: &[u8]) -> Vec<u8> {
    let datagram = Datagram::parse(flavour, payload).expect("what is written is sound");
    let (mut writer, mut payload) = (Writer::new(flavour), Vec::new());
    for entry in datagram.entries() {
        payload.extend(writer.add(entry.bytes().len()).expect("it was read"));
        payload.extend(entry.bytes());
    }
    payload
}

#[test]
fn every_golden_vector_means_what_it_says() {
    let mut refused = BTreeSet::new();
    let mut written = 0;
    for vector in Vector::all("simplemux") {
        let section = vector.section("payload");
        let flavour = match section.words[1].as_str() {
            "normal" => Flavour::Normal,
            "fast" => Flavour::Fast,
            other => panic!("{}: flavour {other}", vector.name),
        };
        let expected = vector.expected().into_iter().map(|(words, bytes)| (words.join(" "), bytes.to_vec()));
        let expected: Vec<_> = expected.collect();
        assert_eq!(found(flavour, &section.bytes), expected, "{}", vector.name);
        if vector.has("written") {
            assert_eq!(rewritten(flavour, &section.bytes), section.bytes, "{}", vector.name);
            written += 1;
        }
        refused.extend(expected.into_iter().map(|(words, _)| words));
    }
    assert!(written >= 5, "{written} vectors of what is written");
    for error in SimplemuxError::ALL {
        assert!(refused.contains(&format!("drop {}", error.name())), "no vector for {}", error.name());
    }
}

fn any_flavour() -> impl Strategy<Value = Flavour> {
    prop_oneof![Just(Flavour::Normal), Just(Flavour::Fast)]
}

fn any_entry() -> impl Strategy<Value = (u8, Vec<u8>)> {
    prop_oneof![
        3 => (20u16..200, any::<u8>()).prop_map(|(length, fill)| (4, ipv4(length, fill))),
        1 => (any::<u8>().prop_filter("not 4", |protocol| *protocol != 4), prop::collection::vec(any::<u8>(), 0..150)),
    ]
}

/// A sound datagram, its flavour, and whether its protocol stands once.
fn any_datagram() -> impl Strategy<Value = (Flavour, bool, Vec<(u8, Vec<u8>)>)> {
    (any_flavour(), any::<bool>(), prop::collection::vec(any_entry(), 1..10)).prop_map(|(flavour, single, entries)| {
        let first = entries[0].0;
        let single = single && entries.iter().all(|(protocol, _)| *protocol == first);
        (flavour, single, entries)
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(flavour in any_flavour(), lengths in prop::collection::vec(20u16..2304, 1..120)) {
        let mut writer = Writer::new(flavour);
        let (mut payload, mut packets) = (Vec::new(), Vec::new());
        for (number, length) in lengths.into_iter().enumerate() {
            let growth = writer.growth(usize::from(length));
            let Some(separator) = writer.add(usize::from(length)) else {
                prop_assert_eq!(growth, None);
                continue;
            };
            let packet = ipv4(length, number as u8);
            payload.extend(separator);
            payload.extend(&packet);
            packets.push((4, packet));
        }
        prop_assert_eq!(usize::from(writer.length()), payload.len());
        let datagram = Datagram::parse(flavour, &payload).expect("what we write is sound");
        prop_assert_eq!(datagram.count(), writer.entries());
        prop_assert_eq!(&payload, &encoded(flavour, true, &packets));
        prop_assert_eq!(entries_of(&datagram), packets);
    }

    #[test]
    fn whatever_the_format_can_say_is_read((flavour, single, entries) in any_datagram()) {
        let payload = encoded(flavour, single, &entries);
        let datagram = Datagram::parse(flavour, &payload).expect("it is sound");
        prop_assert_eq!(entries_of(&datagram), entries);
    }

    /// There is one way to write a datagram, so what is accepted is written as it was read: nothing of it is left out.
    #[test]
    fn no_bytes_panic_and_what_is_accepted_covers_the_datagram(
        (flavour, bytes) in any_datagram().prop_flat_map(|(flavour, single, entries)| {
            (Just(flavour), mutated(Just(encoded(flavour, single, &entries))))
        }),
    ) {
        if let Ok(datagram) = Datagram::parse(flavour, &bytes) {
            let entries = entries_of(&datagram);
            prop_assert_eq!(entries.len(), usize::from(datagram.count()));
            prop_assert_eq!(encoded(flavour, bytes[0] & 0x80 != 0, &entries), bytes);
            for (protocol, bytes) in entries.iter().filter(|(protocol, _)| *protocol == 4) {
                prop_assert!(bytes[0] >> 4 == 4 && bytes.len() == usize::from(bytes[2]) << 8 | usize::from(bytes[3]), "{}", protocol);
            }
        }
    }
}
