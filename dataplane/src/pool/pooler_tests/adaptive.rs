//! Adaptive windows on the traffic they are for: what is delayed, and how full pools are, beside the same rule without.

use super::memory::{Memory, Sent};
use super::*;
use crate::arch::Tick;
use crate::packet::Buffer;
use crate::pool::{FlushReason, PacketPooler, PoolerLimits};

// Ticks are nanoseconds.
const MICROSECOND: u64 = 1000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// What became of some traffic.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// The mean time that packets waited, in nanoseconds.
    delay: f64,
    /// Packets in for one packet out.
    fill: f64,
    /// Packets that left at once because the rule is adaptive.
    at_once: u64,
}

/// Sends packets of 200 bytes at these times, in turn of 16 flows, under a window of 1 ms. It is the same whether pools open by a
/// decision or again as they were.
fn outcome(times: &[u64], adaptive: bool) -> Outcome {
    let decided = outcome_by(times, adaptive, |pooler, packet, ride, now, memory| {
        pooler.stage(packet, &Ride { question: None, ..*ride }, now, memory);
    });
    let boarded = outcome_by(times, adaptive, |pooler, packet, ride, now, memory| {
        stage(pooler, packet, ride, now, memory);
    });
    assert_eq!(boarded, decided);
    decided
}

fn outcome_by(
    times: &[u64],
    adaptive: bool,
    take: impl Fn(&mut PacketPooler<TestBuffer>, TestBuffer, &Ride<'_>, Tick, &mut Memory),
) -> Outcome {
    let rule = Rule { adaptive, ..rule(MILLISECOND, 255) };
    let mut pooler = PacketPooler::new(PoolerLimits { pools: 16, flows: 256, peers: 2, ..PoolerLimits::default() });
    let mut memory = Memory::new(2176);
    let (mut waited, mut packets_out) = (0, 0);
    let mut leave = |memory: &mut Memory, now: u64| {
        for sent in memory.take_sent() {
            packets_out += 1;
            let number = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
            let numbers = match sent {
                Sent::Lone(packet) => vec![number(packet.bytes())],
                Sent::Pooled { packet, .. } => {
                    reader::read(packet.bytes()).rows.iter().map(|row| number(&row.1)).collect()
                }
            };
            waited += numbers.into_iter().map(|number| now - times[number]).sum::<u64>();
        }
    };
    for (number, &time) in times.iter().enumerate() {
        while let Some(deadline) = pooler.next_deadline().filter(|deadline| deadline.0 <= time) {
            pooler.flush_due(deadline, &mut memory);
            leave(&mut memory, deadline.0);
        }
        let flow = Flow { source: (number % 16) as u8, destination: 1, port: 5000, tos: 0 };
        let bytes = packet(flow, number as u16, 200);
        let buffer = memory.receive(&bytes);
        let peer = peer(1, 1500);
        take(&mut pooler, buffer, &ride(&fields(&bytes), 1, &peer, 0, &rule), Tick(time), &mut memory);
        leave(&mut memory, time);
    }
    while let Some(deadline) = pooler.next_deadline() {
        pooler.flush_due(deadline, &mut memory);
        leave(&mut memory, deadline.0);
    }
    let flushed = pooler.counters().flushed_for(FlushReason::Adaptive);
    assert_eq!(flushed.pooled, 0);
    let count = times.len() as f64;
    Outcome { delay: waited as f64 / count, fill: count / f64::from(packets_out), at_once: flushed.lone }
}

/// Packets at random times, independent of each other: `rate` a second.
fn random(rate: f64, count: usize) -> Vec<u64> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut time = SECOND as f64;
    let mut next = || {
        // Marsaglia, "Xorshift RNGs" (2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let uniform = ((state >> 11) + 1) as f64 / (1u64 << 53) as f64;
        time -= uniform.ln() * SECOND as f64 / rate;
        time as u64
    };
    (0..count).map(|_| next()).collect()
}

fn regular(rate: u64, count: u64) -> Vec<u64> {
    (0..count).map(|n| SECOND + n * SECOND / rate).collect()
}

fn nearly(a: f64, b: f64, part: f64) -> bool {
    (a - b).abs() <= part * b
}

#[test]
fn at_50_packets_a_second_a_window_of_a_millisecond_adds_next_to_nothing() {
    for times in [regular(50, 5000), random(50.0, 5000)] {
        let (plain, adaptive) = (outcome(&times, false), outcome(&times, true));
        assert!(plain.delay > 900.0 * MICROSECOND as f64, "{plain:?}");
        assert!(adaptive.delay < 20.0 * MICROSECOND as f64, "{adaptive:?}");
        println!("50/s: {plain:.2?} {adaptive:.2?}");
    }
}

#[test]
fn at_5000_packets_a_second_pools_are_as_full_as_without() {
    for times in [regular(5000, 20_000), random(5000.0, 20_000)] {
        let (plain, adaptive) = (outcome(&times, false), outcome(&times, true));
        assert!(plain.fill > 4.0, "{plain:?}");
        assert!(nearly(adaptive.fill, plain.fill, 0.01), "{adaptive:?} {plain:?}");
        println!("5000/s: {plain:.2?} {adaptive:.2?}");
    }
}

#[test]
fn between_these_rates_packets_wait_where_enough_of_them_get_company() {
    // A second: at most so much of the delay without, and at least so much of the fill.
    let rates = [(100, 0.1, 0.0), (200, 0.5, 0.0), (500, 1.0, 0.9), (1000, 1.0, 0.97), (2000, 1.0, 0.99)];
    for (rate, most_delay, least_fill) in rates {
        let times = random(f64::from(rate), 20_000);
        let (plain, adaptive) = (outcome(&times, false), outcome(&times, true));
        println!("{rate}/s: {plain:.2?} {adaptive:.2?}");
        assert!(adaptive.delay <= most_delay * plain.delay, "{rate}: {adaptive:?} {plain:?}");
        assert!(adaptive.fill >= least_fill * plain.fill, "{rate}: {adaptive:?} {plain:?}");
    }
}

#[test]
fn regular_packets_just_too_far_apart_never_wait_and_those_just_close_enough_do() {
    let apart = outcome(&regular(990, 5000), true);
    assert_eq!((apart.delay, apart.at_once), (0.0, 5000));
    let times = regular(1010, 5000);
    let (plain, close) = (outcome(&times, false), outcome(&times, true));
    assert!(close.at_once <= 3 && nearly(close.fill, plain.fill, 0.01), "{close:?} {plain:?}");
}

#[test]
fn bursts_are_pooled_however_long_the_pauses_between_them() {
    let bursts = |size: u64, spacing: u64, every: u64, count: u64| -> Vec<u64> {
        (0..count).flat_map(|burst| (0..size).map(move |n| SECOND + burst * every + n * spacing)).collect()
    };
    // 250 and 150 packets a second in the mean.
    let short = bursts(5, 100 * MICROSECOND, 20 * MILLISECOND, 1000);
    let long = bursts(300, 200 * MICROSECOND, 2 * SECOND, 50);
    for times in [short, long] {
        let (plain, adaptive) = (outcome(&times, false), outcome(&times, true));
        println!("bursts: {plain:.2?} {adaptive:.2?}");
        assert!(nearly(adaptive.fill, plain.fill, 0.02), "{adaptive:?} {plain:?}");
    }
}

#[test]
fn when_traffic_thins_out_a_dozen_packets_wait_in_vain_and_when_it_returns_three_leave_early() {
    let mut times = regular(5000, 1000);
    let thinned = times[999] + 20 * MILLISECOND;
    times.extend((0..1000).map(|n| thinned + n * 20 * MILLISECOND));
    let dense = times[1999] + 20 * MILLISECOND;
    times.extend((0..1000).map(|n| dense + n * 200 * MICROSECOND));
    let outcome = outcome(&times, true);
    // Three at each start, and of the thousand in between those that did not wait.
    let in_vain = 1000 - (outcome.at_once - 3 - 3);
    assert!((8..=13).contains(&in_vain), "{outcome:?}");
}
