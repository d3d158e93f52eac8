//! One behaviour of packets that board in runs per test.

use super::boarding::{Side, Step};
use super::*;

/// A burst of packets of these flows and lengths, to peer 1, whose path takes 1000 bytes.
fn burst(packets: &[(u8, u16)]) -> Step {
    Step::Burst(1, packets.to_vec())
}

/// Catches: a first packet that takes the long way into each pool, where the one before left with as many rows as it could have.
#[test]
fn the_next_pool_opens_without_a_decision_whatever_had_the_one_before_leave() {
    // What has pools leave: their count, their bytes, the shortest packets, of which there are as many as there can be rows,
    // and the longest that a pool can begin with.
    for (max_count, length) in [(2, 60), (3, 60), (8, 60), (255, 200), (255, 20), (255, 932)] {
        for count in [1, 3, 7, 32] {
            let mut side = Side::new(true);
            (0..100).for_each(|_| side.take(&burst(&vec![(0, length); count]), &rule(100, max_count)));
            assert_eq!(side.staged, 1, "{max_count} packets of {length} bytes to a pool, {count} at a time");
        }
    }
}
