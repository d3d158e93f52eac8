//! One behaviour of packets that board in runs per test.

use super::boarding::{By, Side, Step};
use super::memory::Sent;
use super::*;
use crate::packet::Buffer;
use crate::pool::{FlushReason, PoolerLimits, Representation, Unstaged};

/// A burst of packets of these flows and lengths, to peer 1, whose path takes 1000 bytes.
fn burst(packets: &[(u8, u16)]) -> Step {
    Step::Burst(packets.iter().map(|&(flow, length)| (flow, length, 1)).collect())
}

/// The numbers of packets in the order they left.
fn numbers(side: &mut Side) -> Vec<u16> {
    let number = |bytes: &[u8]| u16::from_be_bytes([bytes[4], bytes[5]]);
    let of = |sent: &Sent| match sent {
        Sent::Lone(packet) => vec![number(packet.bytes())],
        Sent::Pooled { packet, .. } => reader::read(packet.bytes()).rows.iter().map(|row| number(&row.1)).collect(),
    };
    side.memory.take_sent().iter().flat_map(of).collect()
}

/// Catches: a first packet that takes the long way into each pool, where the one before left with as many rows as it could have.
#[test]
fn the_next_pool_opens_without_a_decision_whatever_had_the_one_before_leave() {
    // What has pools leave: their count, their bytes, the shortest packets, of which there are as many as there can be rows,
    // and the longest that a pool can begin with.
    for (max_count, length) in [(2, 60), (3, 60), (8, 60), (255, 200), (255, 20), (255, 932)] {
        for count in [1, 3, 7, 32] {
            let mut side = Side::new(By::Runs);
            (0..100).for_each(|_| side.take(&burst(&vec![(0, length); count]), &rule(100, max_count)));
            assert_eq!(side.staged, 1, "{max_count} packets of {length} bytes to a pool, {count} at a time");
        }
    }
}

/// Catches: pools that are lost, or overtaken, where more have ended than are sent together.
#[test]
fn a_burst_that_fills_many_pools_leaves_whole_and_in_order() {
    for (max_count, length) in [(2, 60), (3, 60), (255, 450)] {
        let mut side = Side::new(By::Runs);
        let rule = rule(100, max_count);
        side.take(&burst(&[(0, length)]), &rule);
        side.take(&burst(&[(0, length); 32]), &rule);
        side.take(&Step::Wait(100), &rule);
        assert_eq!(numbers(&mut side), (1..=33).collect::<Vec<u16>>(), "{max_count} of {length} bytes to a pool");
        assert_eq!(side.memory.outstanding, 0);
    }
}

/// Catches: a pool that leaves as its flows do not find places, before one of the same burst that was full.
#[test]
fn a_pool_whose_flows_find_no_place_leaves_behind_those_that_filled_before() {
    // There are eight places. 15 packets of a flow fill a pool and begin the next, which eleven flows more join.
    let mut side = Side::with(By::Runs, PoolerLimits { pools: 16, flows: 8, peers: 4, ..PoolerLimits::default() });
    let rule = rule(100, 255);
    side.take(&burst(&[(0, 60)]), &rule);
    side.take(&Step::Wait(100), &rule);
    let packets: Vec<(u8, u16)> = [0; 15].into_iter().chain(6..17).map(|flow| (flow, 60)).collect();
    side.take(&burst(&packets), &rule);
    assert_eq!((side.staged, side.pooler.held()), (1, 0));
    assert_eq!(numbers(&mut side), (1..=27).collect::<Vec<u16>>());
}

/// Catches: a pool that stays though nothing has room in it, or leaves though the shortest packet has.
#[test]
fn a_pool_that_a_run_leaves_room_in_for_the_shortest_packet_waits_for_it() {
    // The path takes 1000 bytes; 36 are headers, and each packet has six for its row.
    for (last, leaves) in [(800, false), (801, true)] {
        let rule = rule(100, 255);
        // All together, and behind the first of them.
        for first in [0, 1, 2] {
            let mut side = Side::new(By::Runs);
            side.take(&burst(&[(0, 60)]), &rule);
            side.take(&Step::Wait(100), &rule);
            side.sent();
            let packets = [(0, 60), (0, 60), (0, last)];
            side.take(&burst(&packets[..first]), &rule);
            side.take(&burst(&packets[first..]), &rule);
            assert_eq!((side.staged, side.sent().len()), (1, usize::from(leaves)), "{last} bytes behind {first}");
        }
    }
}

/// Catches: a pool that begins with a packet that is too long for company, as the one before it was full.
#[test]
fn a_packet_too_long_for_company_does_not_open_the_next_pool_of_a_run() {
    let mut side = Side::new(By::Runs);
    let rule = rule(100, 255);
    side.take(&burst(&[(0, 60)]), &rule);
    side.take(&Step::Wait(100), &rule);
    side.take(&burst(&[(0, 476), (0, 476), (0, 933)]), &rule);
    assert_eq!((numbers(&mut side), side.pooler.held()), (vec![1, 2, 3, 4], 0));
    assert_eq!(side.pooler.counters().unstaged_for(Unstaged::CannotShare), 1);
}

/// Catches: a held pool that takes more than is required, or stays when it has that.
#[test]
fn a_held_pool_takes_of_a_run_what_it_requires() {
    let representations = [Representation::Whole, Representation::Learned];
    for (representation, required_count) in representations.into_iter().flat_map(|of| [(of, 2), (of, 3)]) {
        let mut side = Side::new(By::Runs);
        let rule = Rule { required_count, hold: TickSpan(500), representation, ..rule(100, 255) };
        side.take(&burst(&[(0, 60)]), &rule);
        side.take(&Step::Wait(100), &rule);
        assert_eq!((side.sent().len(), side.pooler.held()), (0, 1), "it lacks one or two");
        side.take(&burst(&[(0, 60); 4]), &rule);
        let left = side.pooler.counters().flushed_for(FlushReason::RequiredCount);
        let rows = side.pooler.counters().rows;
        assert_eq!(
            (left.pooled, rows),
            (1, u64::from(required_count)),
            "{representation:?}, {required_count} required"
        );
        assert_eq!((side.sent().len(), side.pooler.held()), (1, 1), "the others are the next pool");
    }
}

impl Side {
    /// So many packets of a flow and class of their own come at one time, under a rule with this window.
    fn class(&mut self, class: u8, count: u16, window: u64, representation: Representation) {
        let (peer, rule) = (peer(1, 1000), Rule { representation, ..rule(window, 255) });
        let flow = Flow { source: class, destination: 1, port: 7, tos: class << 2 };
        let packets: Vec<Vec<u8>> = (0..count).map(|number| packet(flow, number, 60)).collect();
        let rides: Vec<Ride<'_>> = packets.iter().map(|packet| ride(&fields(packet), 1, &peer, 0, &rule)).collect();
        self.board(&packets, &rides);
    }

    /// Time passes, and what is due leaves. Returns how many packets have left, and how many pools are open.
    fn after(&mut self, time: u64) -> (usize, usize) {
        self.take(&Step::Wait(time), &rule(100, 255));
        (self.sent().len(), self.pooler.held())
    }
}

/// A pooler of so many pools, in which that of class 0 was open for 100 ticks, and those of 16 other windows are.
fn with_all_windows(pools: u16, representation: Representation) -> Side {
    let mut side = Side::with(By::Runs, PoolerLimits { pools, flows: 4096, peers: 4, ..PoolerLimits::default() });
    side.class(0, 3, 100, representation);
    assert_eq!(side.after(100), (1, 0));
    (1..=16).for_each(|class| side.class(class, 1, 1000 + u64::from(class), representation));
    assert_eq!(side.after(0), (0, 16));
    side
}

/// Catches: a pool that opens as the last one did, in no queue of windows, and never leaves.
#[test]
fn a_pool_whose_window_there_is_no_queue_for_does_not_open_again() {
    for representation in [Representation::Whole, Representation::Learned] {
        let mut side = with_all_windows(32, representation);
        side.class(0, 3, 100, representation);
        assert_eq!(side.after(0), (3, 16), "they go on alone: {representation:?}");
        assert_eq!(side.pooler.counters().unstaged_for(Unstaged::PoolTableFull), 3);
        assert_eq!(side.after(1001), (1, 15));
        side.class(0, 3, 100, representation);
        assert_eq!(side.after(0).1, 16, "there is a queue for it");
        assert_eq!(side.after(100).1, 0);
    }
}

/// Catches: a pool that opens as the last one did in a slot that was another's since, whose own did not come to open.
#[test]
fn a_pool_whose_slot_was_given_away_opens_in_one_of_its_own() {
    for representation in [Representation::Whole, Representation::Learned] {
        let mut side = with_all_windows(17, representation);
        side.class(17, 1, 5000, representation);
        assert_eq!(side.after(0), (1, 16), "it takes a slot, and finds no queue");
        let one = packet(Flow { source: 1, destination: 1, port: 7, tos: 1 << 2 }, 0, 60);
        side.pooler.pass(fields(&one).flow, Tick(100), &mut side.memory);
        assert_eq!(side.after(0), (1, 15));
        side.class(0, 3, 100, representation);
        assert_eq!(side.after(0), (0, 16), "{representation:?}");
        assert_eq!(side.after(100), (1, 15), "all three together");
    }
}
