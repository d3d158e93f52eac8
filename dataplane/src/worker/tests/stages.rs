//! What the stages take: measured while somebody asks, all of the time and nothing twice, and no packet fares otherwise.

use std::time::Duration;

use super::lab::*;
use crate::arch::{Tick, now};
use crate::worker::{Counter, Counters, Stage, Timed};

/// Packets to be pooled and to be forwarded.
fn send_some(bench: &mut Bench) {
    for tag in 0..20 {
        bench.west_sends(&udp(WEST_HOST, FAR_HOST, (16_400, 16_500), 200, tag));
        bench.west_sends(&udp(WEST_HOST, "203.0.114.7".parse().expect("an address"), (1, 2), 100, tag));
    }
}

fn sum(counters: &Counters) -> u64 {
    Stage::ALL.iter().map(|stage| counters.stage(*stage)).sum()
}

#[test]
fn nothing_is_measured_unless_somebody_asks() {
    let mut bench = Bench::new();
    send_some(&mut bench);
    bench.run();
    let counters = bench.end();
    assert_eq!((sum(&counters), counters.timed(Timed::Iterations)), (0, 0));
}

#[test]
fn the_stages_take_all_of_the_time_and_their_packets_are_those_that_came() {
    let mut bench = Bench::new();
    bench.shared.time_stages(Tick(u64::MAX));
    let started = now();
    bench.worker.iterate(bench.now);
    let (begun, first) = (now(), bench.counters());
    for _ in 0..10 {
        send_some(&mut bench);
        bench.run();
        bench.wait(Duration::from_millis(5));
    }
    let ending = now();
    bench.worker.iterate(bench.now);
    let most = now().since(started).0;
    let counters = bench.counters();
    let measured = sum(&counters) - sum(&first);
    assert!(sum(&counters) <= most, "{} ticks, and no more than {most} passed", sum(&counters));
    assert!(measured >= ending.since(begun).0, "{measured} ticks, and at least {} passed", ending.since(begun).0);
    for stage in [Stage::Rx, Stage::Input, Stage::Lookup, Stage::Forward, Stage::Pool, Stage::Flush, Stage::Tx] {
        assert!(counters.stage(stage) > 0, "{}", stage.name());
    }
    let of = |what| counters.timed(what);
    assert_eq!((of(Timed::In), of(Timed::Out)), (counters.get(Counter::In), counters.get(Counter::Out)));
    assert_eq!(of(Timed::Iterations), counters.get(Counter::Iterations));
    bench.end();
}

#[test]
fn what_comes_to_the_router_has_a_stage_of_its_own() {
    let mut bench = Bench::new();
    bench.shared.time_stages(Tick(u64::MAX));
    bench.west_sends(&udp(WEST_HOST, OWN_WEST, (1, POOL_PORT), 100, 0));
    bench.run();
    assert!(bench.end().stage(Stage::Depool) > 0);
}

#[test]
fn measuring_ends_when_it_was_asked_to() {
    let mut bench = Bench::new();
    bench.shared.time_stages(bench.now);
    send_some(&mut bench);
    bench.run();
    assert_eq!(bench.counters().timed(Timed::Iterations), 0);
    bench.wait(Duration::from_millis(5));
    let until = Tick(bench.now.0 + 1);
    bench.shared.time_stages(until);
    bench.worker.iterate(bench.now);
    bench.worker.iterate(until);
    bench.worker.iterate(until);
    assert_eq!(bench.end().timed(Timed::Iterations), 1);
}
