//! That an id means one header for all who may still know it: with so few ids that they come around all the time, pools
//! that wait as long as they may, and a way that takes as long as it may.

use proptest::prelude::*;

use super::*;
use crate::pool::wire::entry::Entry;

/// What the argument in docs/wire-format.md gives a packet, from the moment at which it is decided how it travels.
const IN_A_POOL: u64 = 2000 * MS;
const ON_ITS_WAY: u64 = 8000 * MS;

/// A packet, or a long pause; what comes of it waits in its pool and is on its way for these parts of what it may, and
/// arrives so often.
#[derive(Clone, Debug)]
struct Step {
    stream: u8,
    after_ms: u64,
    waits: u64,
    copies: Vec<u64>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let part = || prop_oneof![3 => Just(0u64), 1 => 0u64..=100, 1 => Just(100u64)];
    let after_ms = prop_oneof![8 => 0u64..200, 2 => 0u64..2000, 1 => 5000u64..21_000];
    let copies =
        prop_oneof![6 => part().prop_map(|part| vec![part]), 2 => Just(vec![]), 1 => prop::collection::vec(part(), 2)];
    let step = (0u8..12, after_ms, part(), copies);
    prop::collection::vec(
        step.prop_map(|(stream, after_ms, waits, copies)| Step { stream, after_ms, waits, copies }),
        1..500,
    )
}

/// An entry and the packet that it stands for.
#[derive(Clone)]
struct Sent {
    entry: Vec<u8>,
    packet: Vec<u8>,
}

/// That nothing comes out but what went in, where an id is free again after `reuse`; how many were given out.
fn live(steps: &[Step], reuse: TickSpan) -> Result<usize, TestCaseError> {
    let seed = FlowSeed(5);
    let small = CompressorLimits::small(TickRate::NANOSECONDS, seed);
    let times = ContextTimes { reuse, ..small.times };
    let mut compressor = Compressor::new(CompressorLimits { streams: 64, id_bits: 4, times, ..small });
    let mut decompressor = decompressor(64);
    let mut arrivals: Vec<(Tick, Sent)> = Vec::new();
    let (mut now, mut announced) = (Tick(0), 0);
    let mut reports: Vec<u16> = Vec::new();
    for (number, step) in (0u32..).zip(steps) {
        now = now + TickSpan(step.after_ms * MS);
        // What arrived until then.
        arrivals.sort_by_key(|(at, _)| *at);
        let later = arrivals.split_off(arrivals.partition_point(|(at, _)| *at <= now));
        for (at, Sent { entry, packet }) in std::mem::replace(&mut arrivals, later) {
            match opened(&mut decompressor, 1, &entry, at) {
                Ok(found) => prop_assert_eq!(found, packet),
                Err(refused) => prop_assert_eq!(refused, Refused::UnknownContext),
            }
            reports.extend(decompressor.unknown().take(at).into_iter().flat_map(|(_, contexts)| contexts));
        }
        prop_assert_eq!(decompressor.disputed(), 0, "no sender of ours contradicts itself");
        reports.drain(..).for_each(|context| compressor.unknown_there(SPACE, context, now));

        let header = Header { host: step.stream, ..Header::USUAL };
        let packet = header.packet(7, &number.to_be_bytes());
        let entry = entry(&mut compressor, &packet, now);
        announced += usize::from(matches!(Entry::parse(&entry), Ok(Entry::Announcement(..))));
        for part in &step.copies {
            let at = now + TickSpan(step.waits * IN_A_POOL / 100 + part * ON_ITS_WAY / 100);
            arrivals.push((at, Sent { entry: entry.clone(), packet: packet.clone() }));
        }
    }
    Ok(announced)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_waits_in_pools_and_is_late_on_its_way_no_packet_gets_the_headers_of_another(steps in steps()) {
        live(&steps, times().reuse)?;
    }
}

#[test]
fn the_property_above_has_its_ids_come_around_and_does_not_hold_where_they_do_too_early() {
    let part = |at: u32| if at.is_multiple_of(3) { 100 } else { 0 };
    let step = |at: u32| Step { stream: (at % 12) as u8, after_ms: 300, waits: part(at), copies: vec![part(at)] };
    let steps: Vec<_> = (0..1000).map(step).collect();
    assert!(live(&steps, times().reuse).expect("all is well") > 100);
    assert!(
        live(&steps, TickSpan(times().reuse.0 / 2)).is_err(),
        "an id came again while packets with it were on their way"
    );
}

/// The figures of docs/wire-format.md, not those of the code.
#[test]
fn the_times_are_those_of_the_document() {
    let seconds = |seconds: u64| TickSpan(seconds * 1000 * MS);
    let times = times();
    assert_eq!((times.forget, times.reuse), (seconds(10), seconds(20)));
    assert_eq!((times.refresh, times.longest_use, times.longest_wait), (seconds(5), seconds(7), seconds(2)));
    assert_eq!(times.stale, seconds(3));
}

#[test]
fn an_id_comes_again_after_20_s_and_a_context_is_forgotten_after_10_s() {
    let small = CompressorLimits::small(TickRate::NANOSECONDS, FlowSeed(5));
    let mut compressor = Compressor::new(CompressorLimits { id_bits: 4, ..small });
    let mut announcement = |host, at: u64| {
        let packet = |payload: u8| Header { host, ..Header::USUAL }.packet(0, &[payload; 20]);
        entry(&mut compressor, &packet(0), Tick(at));
        entry(&mut compressor, &packet(1), Tick(at))
    };
    let first = announcement(0, 0);
    assert_eq!(first[..3], [0x10, 0, 0]);
    (1..16).for_each(|host| assert_eq!(announcement(host, 1)[..3], [0x10, 0, host]));
    assert_eq!(announcement(16, 19_999_999_999)[0], 0x45, "whole");
    assert_eq!(announcement(17, 20_000_000_000)[..3], [0x10, 0, 0]);

    let mut decompressor = decompressor(64);
    opened(&mut decompressor, 1, &first, Tick(0)).expect("an announcement");
    assert!(opened(&mut decompressor, 1, &[0x80, 0, 0], Tick(9_999_999_999)).is_ok());
    assert_eq!(opened(&mut decompressor, 1, &[0x80, 0, 0], Tick(10_000_000_000)), Err(Refused::UnknownContext));
}
