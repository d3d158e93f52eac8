//! The criteria beyond window, size and count, one behaviour per test.

use super::behaviour::{Bench, VOICE};
use super::*;
use crate::arch::Tick;
use crate::packet::Buffer;
use crate::pool::{FlushReason, Lone, PoolerLimits, Staged, Unstaged};

fn held(window: u64, required_count: u8, hold: u64) -> Rule {
    Rule { required_count, hold: TickSpan(hold), ..rule(window, 10) }
}

#[test]
fn a_pool_with_fewer_than_required_waits_on_until_they_are_there() {
    let mut bench = Bench::new();
    let rule = held(1000, 3, 5000);
    bench.stage(VOICE, 60, &rule, 0);
    bench.stage(VOICE, 60, &rule, 500);
    bench.flush_due(1000);
    assert_eq!((bench.sent(), bench.pooler.next_deadline()), (String::new(), Some(Tick(5000))));
    bench.stage(VOICE, 60, &rule, 2000);
    assert_eq!(bench.sent(), "[1 2 3]", "it waits for no more than it requires");
    assert_eq!(bench.flushed(FlushReason::RequiredCount), (0, 1));
}

#[test]
fn a_pool_is_not_stranded_that_never_gets_what_is_required() {
    let mut bench = Bench::new();
    let rule = held(1000, 3, 5000);
    bench.stage(VOICE, 60, &rule, 0);
    bench.stage(VOICE, 60, &rule, 100);
    for now in [1000, 1001, 4999] {
        bench.flush_due(now);
        assert_eq!(bench.sent(), "", "at {now}");
    }
    bench.flush_due(5000);
    assert_eq!(bench.sent(), "[1 2]");
    assert_eq!(bench.flushed(FlushReason::Hold), (0, 1));
    bench.stage(VOICE, 60, &rule, 6000);
    bench.flush_due(7000);
    bench.flush_due(11_000);
    assert_eq!(bench.sent(), "3", "a lone one leaves as itself");
}

#[test]
fn a_pool_that_has_what_is_required_goes_on_filling_until_its_window_ends() {
    let mut bench = Bench::new();
    let rule = held(1000, 2, 5000);
    for now in [0, 100, 200] {
        bench.stage(VOICE, 60, &rule, now);
    }
    assert_eq!(bench.sent(), "");
    bench.flush_due(1000);
    assert_eq!(bench.sent(), "[1 2 3]");
    assert_eq!(bench.flushed(FlushReason::Window), (0, 1));
}

#[test]
fn the_hold_counts_from_the_first_packet_however_late_the_window_was_seen_to_end() {
    for (seen, left) in [(2500, 5000), (5500, 5500)] {
        let mut bench = Bench::new();
        bench.stage(VOICE, 60, &held(1000, 3, 5000), 0);
        bench.flush_due(seen);
        bench.flush_due(seen.max(4999));
        assert_eq!(bench.pooler.held(), usize::from(seen < left));
        bench.flush_due(left);
        assert_eq!(bench.sent(), "1");
    }
}

#[test]
fn held_pools_of_rules_with_the_same_rest_leave_each_in_its_own_time() {
    let mut bench = Bench::new();
    let other = Flow { source: 2, tos: 0, ..VOICE };
    bench.stage(other, 60, &held(2000, 3, 6000), 0);
    bench.stage(VOICE, 60, &held(1000, 3, 5000), 10);
    // Both windows ended before this is seen, the later one's queue is looked at first.
    bench.flush_due(3000);
    bench.flush_due(5010);
    assert_eq!(bench.sent(), "2");
    bench.flush_due(6000);
    assert_eq!(bench.sent(), "1");
}

#[test]
fn a_pool_that_no_queue_is_left_for_is_not_held() {
    let mut bench = Bench::with(PoolerLimits { peers: 4, ..PoolerLimits::default() });
    let flow = |tos: u8| Flow { source: tos, tos: tos << 2, ..VOICE };
    for number in 0..15 {
        bench.stage(flow(number), 60, &rule(9000 + u64::from(number), 10), 0);
    }
    for number in [15, 16] {
        bench.stage(flow(number), 60, &held(1000, 3, 5000), 0);
    }
    bench.flush_due(1000);
    assert_eq!(bench.sent(), "16 17");
}

#[test]
fn a_rule_can_ask_for_shorter_pooled_packets_than_the_path_takes() {
    let mut bench = Bench::new();
    let rule = Rule { path_mtu: Some(36 + 3 * 66), ..rule(1000, 255) };
    for _ in 0..6 {
        bench.stage(VOICE, 60, &rule, 0);
    }
    assert_eq!(bench.sent(), "[1 2 3] [4 5 6]");
    assert_eq!(bench.stage(VOICE, 183, &rule, 0), Staged::PassedOn(Unstaged::CannotShare));
}

#[test]
fn a_lone_packet_can_be_told_to_leave_in_a_pooled_packet() {
    let mut bench = Bench::new();
    let rule = Rule { lone: Lone::Pooled, ..rule(1000, 10) };
    bench.stage(VOICE, 61, &rule, 0);
    bench.flush_due(1000);
    let (packet, pooled) = bench.the_pooled();
    assert_eq!((packet.len(), pooled.rows.len()), (36 + 6 + 61, 1));
    assert_eq!(pooled.rows[0], (3, super::packet(VOICE, 1, 61)), "TTL and bytes");
    let counters = bench.pooler.counters();
    assert_eq!((counters.created, counters.absorbed, counters.rows, counters.lone()), (1, 1, 1, 0));
    assert_eq!(bench.memory.outstanding, 0);
}

#[test]
fn a_packet_too_long_for_company_is_pooled_alone_where_lone_ones_are() {
    let mut bench = Bench::new();
    let rule = Rule { lone: Lone::Pooled, ..rule(1000, 10) };
    bench.stage(VOICE, 60, &rule, 0);
    assert_eq!(bench.stage(VOICE, 1458, &rule, 0), Staged::Taken);
    assert_eq!(bench.sent(), "[1] [2]");
    assert_eq!(bench.stage(VOICE, 1459, &rule, 0), Staged::PassedOn(Unstaged::CannotShare));
}

#[test]
fn without_memory_a_lone_packet_leaves_as_itself_all_the_same() {
    let mut bench = Bench::new();
    bench.memory.left = 0;
    bench.stage(VOICE, 60, &Rule { lone: Lone::Pooled, ..rule(1000, 10) }, 0);
    bench.flush_due(1000);
    assert_eq!(bench.sent(), "1");
}
