//! What streams become, one case at a time.

use super::*;

/// Sends packets through both ends, 20 ms apart, and returns the lengths of their entries.
fn lengths(packets: impl IntoIterator<Item = Vec<u8>>) -> Vec<usize> {
    let (mut compressor, mut decompressor) = (compressor(64), decompressor(64));
    let mut now = Tick(0);
    let send = |packet: Vec<u8>| {
        now = now + TickSpan(20 * MS);
        let entry = entry(&mut compressor, &packet, now);
        assert_eq!(opened(&mut decompressor, 1, &entry, now), Ok(packet));
        entry.len()
    };
    packets.into_iter().map(send).collect()
}

#[test]
fn a_voice_stream_is_watched_announced_and_then_costs_four_bytes_a_packet() {
    let found = lengths((0..200).map(|number| voice(Header::USUAL, number)));
    assert_eq!(found[..2], [60, 60 + 5]);
    assert!(found[2..].iter().all(|&length| length == 24), "{found:?}");
}

#[test]
fn it_does_so_in_ipv6_where_80_bytes_become_24() {
    let found = lengths((0..200).map(|number| voice(Header::IPV6, number)));
    assert_eq!(found[..2], [80, 80 + 5]);
    assert!(found[2..].iter().all(|&length| length == 24), "{found:?}");
}

#[test]
fn an_ip_id_that_stays_costs_nothing_and_a_random_one_two_bytes() {
    let with_id = |ip_id: fn(u32) -> u16| {
        lengths((0..100).map(|number| {
            let packet = voice(Header::USUAL, number);
            Header::USUAL.packet(ip_id(number), &packet[28..])
        }))
    };
    assert!(with_id(|_| 0)[2..].iter().all(|&length| length == 24));
    let random = with_id(|number| (number.wrapping_mul(0x9e37_79b9) >> 16) as u16);
    assert!(random[2..].iter().all(|&length| length <= 26), "{random:?}");
}

#[test]
fn a_stream_without_rtp_costs_three_bytes_and_what_its_ip_id_takes() {
    let telemetry = |ip_id: u16, number: u8| Header::USUAL.packet(ip_id, &[number; 30]);
    let found = lengths((0..100).map(|number| telemetry(7, number)));
    assert!(found[2..].iter().all(|&length| length == 33), "{found:?}");
    let found = lengths((0..100).map(|number| telemetry(u16::from(number), number)));
    assert!(found[2..].iter().all(|&length| length == 34), "{found:?}");
    let found = lengths((0..100).map(|number| Header::IPV6.packet(0, &[number; 30])));
    assert!(found[2..].iter().all(|&length| length == 33), "{found:?}");
}

#[test]
fn talk_and_silence_take_a_few_longer_packets_and_then_a_new_announcement() {
    // Every 50 packets a pause of 10,000 timestamp units, a marker behind it.
    let found = lengths((0..500u32).map(|number| {
        let (spurt, place) = (number / 50, number % 50);
        let start = [0x80, if place == 0 { 0x80 | 18 } else { 18 }];
        let payload = rtp(start, number as u16, 160 * number + 10_000 * spurt, 5, &[1; 20]);
        Header::USUAL.packet(0, &payload)
    }));
    assert!(found[2..].iter().all(|&length| length <= 65), "{found:?}");
    let mean = found.iter().sum::<usize>() as f64 / 500.0;
    assert!(mean < 26.5, "{mean} bytes a packet");
}

#[test]
fn dialled_digits_in_between_do_not_disturb_a_voice_stream() {
    let found = lengths((0..300u32).map(|number| {
        let is_digit = number % 100 >= 90;
        // RFC 4733: the timestamp is that of the digit's start for as long as it lasts.
        let timestamp = if is_digit { 160 * (number / 100 * 100 + 90) } else { 160 * number };
        let payload = rtp([0x80, if is_digit { 101 } else { 0 }], number as u16, timestamp, 5, &[2; 20]);
        Header::USUAL.packet(number as u16, &payload)
    }));
    assert!(found[2..].iter().filter(|&&length| length > 28).count() <= 2, "{found:?}");
    assert_eq!(found[299], 28, "the digit's payload type and timestamp, two bytes each");
}

#[test]
fn a_stream_is_refreshed_under_a_new_id() {
    let found = lengths((0..1000).map(|number| voice(Header::USUAL, number)));
    let announcements: Vec<usize> = (0..1000).filter(|&number| found[number] == 65).collect();
    assert_eq!(announcements, [1, 251, 501, 751], "every 5 s");
}

#[test]
fn what_cannot_be_rebuilt_travels_whole() {
    let options = {
        let mut packet = voice(Header::USUAL, 0);
        packet[0] = 0x46;
        packet.splice(20..20, [1, 1, 1, 0]);
        let length = packet.len() as u16;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet
    };
    let change = |header: Header, change: fn(&mut Vec<u8>)| {
        let mut packet = voice(header, 0);
        change(&mut packet);
        packet
    };
    let cases = [
        options,
        change(Header::USUAL, |packet| packet[6] = 0x20), // a fragment
        change(Header::USUAL, |packet| packet[9] = 6),    // TCP
        change(Header::USUAL, |packet| packet[10] ^= 1),  // a wrong header checksum
        change(Header::USUAL, |packet| packet[26] ^= 1),  // a wrong UDP checksum
        change(Header::USUAL, |packet| packet[59] ^= 1),  // a damaged payload
        change(Header::USUAL, |packet| packet[25] -= 1),  // bytes behind the datagram
        change(Header::IPV6, |packet| packet[6] = 0),     // an extension header
        change(Header::IPV6, |packet| packet[46] ^= 1),   // a wrong UDP checksum
    ];
    for (number, packet) in cases.into_iter().enumerate() {
        let found = lengths(vec![packet.clone(); 5]);
        assert_eq!(found, [packet.len(); 5], "case {number}");
    }
}

#[test]
fn a_checksum_that_is_absent_or_a_computed_zero_comes_back_as_it_was() {
    let absent = Header { has_checksum: false, ..Header::USUAL };
    assert!(lengths((0..20).map(|number| voice(absent, number)))[2..].iter().all(|&length| length == 24));
    // Two bytes of payload that make the sum all ones.
    let payload = |number: u8| {
        let packet = Header::USUAL.packet(0, &[number, 0, 0, 0]);
        let checksum = u16::from_be_bytes([packet[26], packet[27]]);
        let [c0, c1] = checksum.to_be_bytes();
        [number, 0, c0, c1]
    };
    let packets: Vec<_> = (0..20).map(|number| Header::USUAL.packet(0, &payload(number))).collect();
    assert!(packets.iter().all(|packet| packet[26..28] == [0xff, 0xff]), "the test's own arithmetic");
    assert!(lengths(packets)[2..].iter().all(|&length| length == 7));
    // The header checksum has two zeros as well, of which only 0x0000 is ever computed.
    let mut packet = Header::USUAL.packet(0, &[1; 4]);
    let checksum = u16::from_be_bytes([packet[10], packet[11]]);
    packet[4..6].copy_from_slice(&checksum.to_be_bytes());
    packet[10..12].fill(0);
    assert!(lengths(vec![packet.clone(); 9])[2..].iter().all(|&length| length == 7));
    packet[10..12].fill(0xff);
    assert_eq!(lengths(vec![packet; 9]), [32; 9]);
}

#[test]
fn control_packets_among_rtp_travel_whole_and_disturb_nothing() {
    let found = lengths((0..200u32).map(|number| {
        if number % 20 == 10 { Header::USUAL.packet(0, &[0x81; 40]) } else { voice(Header::USUAL, number) }
    }));
    assert!(found[2..].iter().all(|&length| length == 24 || length == 68), "{found:?}");
}

#[test]
fn two_sources_in_one_stream_are_no_rtp_stream() {
    let found = lengths((0..200u32).map(|number| {
        let source = 5 + number % 2;
        Header::USUAL.packet(0, &rtp([0x80, 18], number as u16, 160 * number, source, &[1; 20]))
    }));
    assert!(found[20..].iter().filter(|&&length| length != 3 + 32).count() < 4, "{found:?}");
}

#[test]
fn a_new_call_between_the_same_ports_is_announced_with_its_second_packet() {
    let found =
        lengths((0..40u32).map(|number| {
            Header::USUAL.packet(0, &rtp([0x80, 18], number as u16, 160 * number, number / 20, &[1; 20]))
        }));
    assert_eq!(found[18..24], [24, 24, 60, 65, 24, 24]);
}

#[test]
fn a_context_that_was_never_heard_of_is_reported_and_announced_again() {
    let (mut compressor, mut decompressor) = (compressor(64), decompressor(64));
    for number in 0..2 {
        entry(&mut compressor, &voice(Header::USUAL, number), Tick(0)); // lost, the announcement too
    }
    for number in 2..10 {
        let entry = entry(&mut compressor, &voice(Header::USUAL, number), Tick(0));
        assert_eq!(opened(&mut decompressor, 1, &entry, Tick(0)), Err(Refused::UnknownContext));
    }
    let (from, contexts) = decompressor.unknown().take(Tick(0)).expect("a report");
    assert_eq!((from, &contexts[..]), (origin(1), &[0][..]));
    compressor.unknown_there(SPACE, contexts[0], Tick(0));
    compressor.unknown_there(SPACE, contexts[0], Tick(0));
    let soon = Tick(50 * MS - 1);
    assert_eq!(
        entry(&mut compressor, &voice(Header::USUAL, 10), soon),
        voice(Header::USUAL, 10),
        "but nothing is lost"
    );
    let later = Tick(50 * MS);
    let announcement = entry(&mut compressor, &voice(Header::USUAL, 11), later);
    assert_eq!(announcement[..5], [0x1c, 0, 1, 0, 160]);
    assert_eq!(opened(&mut decompressor, 1, &announcement, later), Ok(voice(Header::USUAL, 11)));
    compressor.unknown_there(SPACE, contexts[0], later);
    let compressed = entry(&mut compressor, &voice(Header::USUAL, 12), later);
    assert_eq!(compressed.len(), 24, "a report that comes late is about what has been done");
    assert_eq!(opened(&mut decompressor, 1, &compressed, later), Ok(voice(Header::USUAL, 12)));
    assert_eq!((compressor.counters().lost, compressor.counters().not_lost), (1, 2));
}

#[test]
fn whoever_makes_up_reports_has_few_packets_announced() {
    let mut compressor = compressor(64);
    let mut announced = 0;
    for number in 0..1000u32 {
        // 500 packets a second, and a report behind each.
        let now = Tick(u64::from(number) * 2 * MS);
        let entry = entry(&mut compressor, &voice(Header::USUAL, number), now);
        announced += u32::from(entry.len() == 65);
        (0..100).for_each(|context| compressor.unknown_there(SPACE, context, now));
    }
    assert!((39..=41).contains(&announced), "{announced} in 2 s: one in 50 ms");
}

#[test]
fn not_all_streams_are_announced_anew_at_once() {
    let mut compressor = compressor(16_384);
    let stream = |at: u32| Header { host: at as u8, port: (at >> 8) as u16, ..Header::USUAL };
    for number in 0..2 {
        (0..10_000).for_each(|at| drop(entry(&mut compressor, &voice(stream(at), number), Tick(0))));
    }
    let before = compressor.counters().announced;
    (0..=u16::MAX).for_each(|context| compressor.unknown_there(SPACE, context, Tick(100 * MS)));
    assert_eq!((before > 9000, compressor.counters().lost), (true, 4096));
    (0..=u16::MAX).for_each(|context| compressor.unknown_there(SPACE, context, Tick(1100 * MS)));
    assert_eq!(compressor.counters().lost, 4096 + 512, "a second later");
}

#[test]
fn a_receiver_forgets_and_a_run_of_the_sender_has_contexts_of_its_own() {
    let (mut compressor, mut decompressor) = (compressor(64), decompressor(64));
    let entries: Vec<_> = (0..3).map(|number| entry(&mut compressor, &voice(Header::USUAL, number), Tick(0))).collect();
    opened(&mut decompressor, 1, &entries[1], Tick(0)).expect("an announcement");
    let at = |decompressor: &mut Decompressor, instance, now| opened(decompressor, instance, &entries[2], Tick(now));
    assert!(at(&mut decompressor, 1, 9999 * MS).is_ok());
    assert_eq!(at(&mut decompressor, 2, 9999 * MS), Err(Refused::UnknownContext));
    assert_eq!(at(&mut decompressor, 1, 10_000 * MS), Err(Refused::UnknownContext));
}

#[test]
fn an_announcement_that_found_no_room_announces_nothing_and_uses_up_no_id() {
    let mut compressor = compressor(64);
    entry(&mut compressor, &voice(Header::USUAL, 0), Tick(0));
    let first = compressor.encode(&voice(Header::USUAL, 1), &SPACE, Tick(0));
    assert_eq!(first.len(60), 65);
    let again = entry(&mut compressor, &voice(Header::USUAL, 2), Tick(0));
    assert_eq!((again.len(), again[1..3].to_vec()), (65, vec![0, 0]));
    assert_eq!(entry(&mut compressor, &voice(Header::USUAL, 3), Tick(0)).len(), 24);
}

#[test]
fn what_was_withdrawn_was_never_sent() {
    let mut compressor = compressor(64);
    let whole = compressor.encode(&voice(Header::USUAL, 0), &SPACE, Tick(0));
    let undo = compressor.sent(&whole);
    compressor.withdraw(undo);
    assert_eq!(*compressor.counters(), CompressorCounters::default());
    let mut withdrawn = |number| {
        let packet = voice(Header::USUAL, number);
        let encoded = compressor.encode(&packet, &SPACE, Tick(0));
        let before = *compressor.counters();
        let undo = compressor.sent(&encoded);
        compressor.withdraw(undo);
        assert_eq!(*compressor.counters(), before, "packet {number}");
        let sent = entry(&mut compressor, &packet, Tick(0));
        (encoded.len(packet.len()), sent.len(), sent[..3].to_vec())
    };
    assert_eq!(withdrawn(1), (65, 65, vec![0x1c, 0, 0]), "with the same id");
    assert_eq!(withdrawn(2), (24, 24, vec![0x80, 0, 0]), "that announced nothing");
}

#[test]
fn more_streams_than_there_is_room_for_leave_those_that_are_there_alone() {
    let mut compressor = compressor(4);
    let stream = |host| Header { host, ..Header::USUAL };
    let mut now = Tick(0);
    for number in 0..100 {
        for host in 0..20 {
            let length = entry(&mut compressor, &voice(stream(host), number), now).len();
            assert!(number < 2 || length == if host < 4 { 24 } else { 60 }, "host {host}, packet {number}");
        }
        now = now + TickSpan(20 * MS);
    }
    now = now + TickSpan(1000 * MS);
    let found: Vec<_> = (0..3).map(|number| entry(&mut compressor, &voice(stream(50), number), now).len()).collect();
    assert_eq!(found, [60, 65, 24], "a silent stream gives way");
}

#[test]
fn where_no_id_is_free_new_streams_travel_whole_and_others_as_before() {
    let small = CompressorLimits::small(TickRate::NANOSECONDS, FlowSeed(9));
    let mut compressor = Compressor::new(CompressorLimits { streams: 4096, id_bits: 8, ..small });
    let mut decompressor = decompressor(1024);
    let mut number = 0;
    let mut length = |compressor: &mut Compressor, header: Header, ms: u64| {
        let packet = voice(header, number);
        number += 1;
        let entry = entry(compressor, &packet, Tick(ms * MS));
        // What is announced at once is referred to after 2 s in a pool, and a second late.
        let late = if entry[0] < 0x40 { 0 } else { 2999 };
        assert_eq!(opened(&mut decompressor, 1, &entry, Tick((ms + late) * MS)), Ok(packet), "at {ms} ms");
        entry.len()
    };
    let stream = Header { host: 77, ..Header::IPV6 };
    assert_eq!([0, 0, 0].map(|ms| length(&mut compressor, stream, ms)), [80, 85, 24]);
    for at in 0..2 * 800 {
        let of = Header { host: (at / 2 % 200) as u8, port: (at / 400) as u16, ..Header::USUAL };
        entry(&mut compressor, &voice(of, at), Tick(MS));
    }
    assert_eq!(compressor.counters().announced, 256, "all ids are used");
    assert!(compressor.counters().no_id > 0);
    let other = Header { host: 78, ..Header::IPV6 };
    assert_eq!([1, 1, 1].map(|ms| length(&mut compressor, other, ms)), [80, 80, 80]);
    assert_eq!([4000, 5000, 6999].map(|ms| length(&mut compressor, stream, ms)), [24, 24, 24]);
    assert_eq!([7000, 17_000].map(|ms| length(&mut compressor, stream, ms)), [80, 80], "it may be forgotten there");
    assert_eq!([20_001, 20_001].map(|ms| length(&mut compressor, stream, ms)), [85, 24]);
}

#[test]
fn what_contradicts_a_living_announcement_costs_a_packet_and_never_gives_a_wrong_one() {
    let announcement = |header: Header, context: u8| {
        let packet = header.packet(0, &[7; 30]);
        [&[0x10, 0, context][..], &packet].concat()
    };
    let refer = [&[0x80, 0, 1][..], &[9; 30]].concat();
    let genuine = announcement(Header::USUAL, 1);
    let forged = announcement(Header { host: 66, ..Header::USUAL }, 1);
    let rebuilt = Ok(Header::USUAL.packet(0, &[9; 30]));
    let at = |ms: u64| Tick(ms * MS);

    let mut decompressor = decompressor(64);
    opened(&mut decompressor, 1, &genuine, at(0)).expect("an announcement");
    opened(&mut decompressor, 1, &genuine, at(9000)).expect("a copy of it");
    assert_eq!(opened(&mut decompressor, 1, &refer, at(9999)), rebuilt);
    assert_eq!(
        opened(&mut decompressor, 1, &refer, at(10_000)),
        Err(Refused::UnknownContext),
        "copies prolong nothing"
    );
    assert_eq!(decompressor.disputed(), 0);
    decompressor.unknown().take(at(10_000));

    for (first, second) in [(&genuine, &forged), (&forged, &genuine)] {
        let mut decompressor = super::decompressor(64);
        opened(&mut decompressor, 1, first, at(0)).expect("an announcement");
        assert!(opened(&mut decompressor, 1, second, at(9000)).is_ok(), "its packet is one like any other");
        let (_, contexts) = decompressor.unknown().take(at(9000)).expect("a report");
        assert_eq!((&contexts[..], decompressor.disputed()), (&[1][..], 1));
        assert_eq!(opened(&mut decompressor, 1, &refer, at(9001)), Err(Refused::UnknownContext));
        opened(&mut decompressor, 1, second, at(9002)).expect("once more");
        assert_eq!(opened(&mut decompressor, 1, &refer, at(9003)), Err(Refused::UnknownContext), "it does not win");
        assert_eq!(opened(&mut decompressor, 2, &refer, at(9003)), Err(Refused::UnknownContext));
        opened(&mut decompressor, 1, &genuine, at(20_000)).expect("when all is forgotten");
        assert_eq!(opened(&mut decompressor, 1, &refer, at(20_000)), rebuilt);
    }
}

#[test]
fn entries_that_say_what_cannot_be_are_refused() {
    let mut decompressor = decompressor(64);
    let announce = |prefix: &[u8], packet: Vec<u8>| [prefix, &packet].concat();
    let mut tcp = voice(Header::USUAL, 0);
    tcp[9] = 6;
    let short = Header::USUAL.packet(0, &[0x80; 11]);
    for entry in [
        announce(&[0x10, 0, 1], tcp),
        announce(&[0x18, 0, 1, 0, 160], short.clone()),
        announce(&[0x1c, 0, 1, 0, 160], voice(Header::IPV6, 0)),
    ] {
        assert_eq!(opened(&mut decompressor, 1, &entry, Tick(0)), Err(Refused::Malformed), "{entry:02x?}");
    }
    opened(&mut decompressor, 1, &announce(&[0x10, 0, 1], short), Tick(0)).expect("a sound announcement");
    assert_eq!(opened(&mut decompressor, 1, &[0xc0, 0, 1, 0, 0], Tick(0)), Err(Refused::Malformed));
    assert!(opened(&mut decompressor, 1, &[0x80, 0, 1], Tick(0)).is_ok(), "an empty datagram");
    assert_eq!(opened(&mut decompressor, 1, &[0x20, 0, 1], Tick(0)), Err(Refused::Malformed));
}

#[test]
fn a_predicted_packet_of_a_plain_stream_takes_the_short_way_out_and_no_other_does() {
    let takes_it = |packets: &[Vec<u8>]| {
        let (mut compressor, mut decompressor) = (compressor(64), decompressor(64));
        let mut ways = Vec::new();
        for (number, packet) in (0..).zip(packets) {
            let now = Tick(20 * MS * number);
            let entry = entry(&mut compressor, packet, now);
            let mut contexts = decompressor.of(origin(1), now);
            ways.push(opened_plainly(&contexts, &entry, u32::MAX).is_some());
            assert!(contexts.open(&entry).is_ok());
        }
        ways
    };
    let of = |header| (0..4).map(|number| voice(header, number)).collect::<Vec<_>>();
    assert_eq!(takes_it(&of(Header::USUAL)), [false, false, true, true], "watched, announced, predicted");
    assert_eq!(takes_it(&of(Header { has_checksum: false, ..Header::USUAL }))[2..], [true, true]);
    assert_eq!(takes_it(&of(Header { ttl: 2, ..Header::USUAL }))[2..], [true, true]);
    assert_eq!(takes_it(&of(Header { ttl: 1, ..Header::USUAL }))[2..], [false, false], "it goes no further");
    assert_eq!(takes_it(&of(Header::IPV6))[2..], [false, false]);
    let surprising = |number| Header::USUAL.packet(500, &voice(Header::USUAL, number)[28..]);
    assert_eq!(takes_it(&[of(Header::USUAL), vec![surprising(7)]].concat())[4..], [false], "another IP id");
}

#[test]
fn all_packets_of_a_voice_stream_are_predicted_once_it_is_announced() {
    let mut compressor = compressor(64);
    let mut predicted = Vec::new();
    for number in 0..300 {
        let now = Tick(u64::from(number) * 10 * MS);
        let packet = voice(Header::USUAL, number);
        let place = compressor.place_of(7, Header::USUAL.tos);
        let space = compressor.space_of(&SPACE);
        match space.and_then(|space| compressor.predicted(&packet, place, space, now)) {
            Some((prefix, body)) => predicted.push((prefix.length(), body.len())),
            None => {
                let encoded = compressor.encode_forwarded(&packet, place, &SPACE, now);
                compressor.sent(&encoded);
            }
        }
    }
    // All but the first, the announcement, and another one when it is so far away that it costs a byte.
    assert_eq!(predicted.len(), 297);
    let long = predicted.iter().filter(|&&lengths| lengths == (5, 20)).count();
    assert_eq!((long, predicted.iter().filter(|&&lengths| lengths == (4, 20)).count()), (40, 257));
}
