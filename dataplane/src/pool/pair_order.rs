//! Between which addresses packets wait in which open pools, so that no fragment overtakes a packet of its flow.
//!
//! A fragment does not tell its ports: all that it tells of its flow is the pair of addresses. Each pair has a set of
//! places by its hash, and leaves in one of them which pool a packet of it waits in; a fragment has all open pools of its set
//! leave. Pairs that share a set are not told apart: that costs an early flush where there are fragments, and never the order. Nothing
//! that matters is forgotten: where all places of a set are of other open pools, one is displaced and has to be flushed.

use super::open_pools::{Generations, PoolReference, Slot};
use crate::arch::prefetch_read;

/// Half a cache line.
const WAYS: usize = 8;

/// The sets of all pairs.
pub(super) struct PairOrder {
    sets: Box<[[PoolReference; WAYS]]>,
    /// Which place of a full set is displaced next.
    turn: usize,
}

impl PairOrder {
    /// A table for some `residents` pairs, rounded up to a power of two and a full set.
    pub(super) fn new(residents: usize) -> PairOrder {
        let sets = residents.div_ceil(WAYS).clamp(1, 1 << 24).next_power_of_two();
        PairOrder { sets: vec![[PoolReference::NONE; WAYS]; sets].into(), turn: 0 }
    }

    /// An open pool that has, or could have, packets between the addresses of this hash.
    #[inline]
    pub(super) fn resident(&self, pair: u32, open: &Generations) -> Option<Slot> {
        self.sets.get(self.set_of(pair))?.iter().find(|pool| open.is_open(**pool)).map(|pool| pool.slot())
    }

    /// Remembers that packets between these addresses are in `pool`, which is open. Returns a pool that is no longer known
    /// for one of its pairs and has to be flushed for that.
    #[inline]
    #[must_use]
    pub(super) fn record(&mut self, pair: u32, pool: PoolReference, open: &Generations) -> Option<Slot> {
        if self.enter(pair, pool, open) {
            return None;
        }
        self.turn = (self.turn + 1) % WAYS;
        let (at, turn) = (self.set_of(pair), self.turn);
        let place = self.sets.get_mut(at)?.get_mut(turn)?;
        Some(std::mem::replace(place, pool).slot())
    }

    /// The same where that displaces nothing that is open: false, and nothing changes, where it would.
    #[inline(always)]
    #[must_use]
    pub(super) fn enter(&mut self, pair: u32, pool: PoolReference, open: &Generations) -> bool {
        let at = self.set_of(pair);
        let Some(set) = self.sets.get_mut(at) else { return false };
        // Each pair has a place where it is looked for first. It may lie in others as well.
        let home = &mut set[(pair >> 29) as usize];
        if *home != pool && open.is_open(*home) {
            return enter_elsewhere(set, pool, open);
        }
        *home = pool;
        true
    }

    /// Has what is known of a pair brought closer.
    #[inline(always)]
    pub(super) fn prefetch(&self, pair: u32) {
        if let Some(set) = self.sets.get(self.set_of(pair)) {
            prefetch_read(set);
        }
    }

    #[inline(always)]
    fn set_of(&self, pair: u32) -> usize {
        pair as usize & (self.sets.len() - 1)
    }
}

#[inline(never)]
fn enter_elsewhere(set: &mut [PoolReference; WAYS], pool: PoolReference, open: &Generations) -> bool {
    let place = set.iter_mut().find(|known| **known == pool || !open.is_open(**known));
    let found = place.is_some();
    if let Some(place) = place {
        *place = pool;
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    fn pool(slot: u16, generation: u16) -> PoolReference {
        PoolReference::new(Slot::from_number(slot), generation)
    }

    fn residents(order: &PairOrder, pair: u32, generations: &[u16]) -> HashSet<u16> {
        let mut open = generations.to_vec();
        let mut found = HashSet::new();
        while let Some(slot) = order.resident(pair, &Generations::for_test(open.clone())) {
            found.insert(slot.number());
            open[slot.index()] += 1;
        }
        found
    }

    #[test]
    fn a_pair_is_found_while_its_pool_is_open_and_not_after() {
        let mut order = PairOrder::new(64);
        assert_eq!(order.resident(0, &Generations::for_test(vec![1])), None, "an empty table knows nothing");
        assert!(order.enter(7, pool(1, 3), &Generations::for_test(vec![1, 3])));
        assert_eq!(residents(&order, 7, &[1, 3]), HashSet::from([1]));
        assert_eq!(residents(&order, 8, &[1, 3]), HashSet::new());
        assert_eq!(residents(&order, 7, &[1, 4]), HashSet::new());
        assert_eq!(residents(&order, 7, &[1, 5]), HashSet::new());
    }

    #[test]
    fn one_pair_can_have_packets_in_several_pools() {
        let mut order = PairOrder::new(8);
        let open = Generations::for_test(vec![1, 1]);
        assert!(order.enter(5, pool(0, 1), &open) && order.enter(5, pool(1, 1), &open));
        assert_eq!(residents(&order, 5, &[1, 1]), HashSet::from([0, 1]));
        assert_eq!(residents(&order, 5, &[2, 1]), HashSet::from([1]));
    }

    #[test]
    fn a_full_set_displaces_one_that_is_open_only_where_all_are() {
        let mut order = PairOrder::new(WAYS);
        let all_open = Generations::for_test(vec![1; 10]);
        for number in 0..8 {
            assert_eq!(order.record(1, pool(number, 1), &all_open), None);
        }
        assert!(!order.enter(1, pool(8, 1), &all_open), "all are open");
        let displaced = order.record(1, pool(8, 1), &all_open).expect("a full set displaces").number();
        let left: HashSet<u16> = (0..9).filter(|number| *number != displaced).collect();
        assert_eq!(residents(&order, 1, &[1; 10]), left);
        let mut one_closed = vec![1; 10];
        one_closed[usize::from((displaced + 1) % 8)] = 2;
        assert_eq!(order.record(1, pool(9, 1), &Generations::for_test(one_closed)), None);
    }

    proptest! {
        /// Against a model that forgets only what it is told of.
        #[test]
        fn every_open_pool_of_a_pair_is_found_or_was_displaced(
            steps in prop::collection::vec((any::<bool>(), 0u32..40, 0u16..12), 0..300), residents in 1usize..64,
        ) {
            let mut order = PairOrder::new(residents);
            let mut generations = vec![1u16; 12];
            let mut known: HashMap<u32, HashSet<u16>> = HashMap::new();
            for (records, pair, slot) in steps {
                let pair = pair.wrapping_mul(0x9e37_79b1);
                if !records {
                    generations[usize::from(slot)] += 2;
                    known.values_mut().for_each(|pools| { pools.remove(&slot); });
                    continue;
                }
                let open = Generations::for_test(generations.clone());
                let reference = pool(slot, generations[usize::from(slot)]);
                if let Some(displaced) = order.record(pair, reference, &open) {
                    generations[displaced.index()] += 2;
                    known.values_mut().for_each(|pools| { pools.remove(&displaced.number()); });
                }
                if generations[usize::from(slot)] == reference.generation() {
                    known.entry(pair).or_default().insert(slot);
                }
                for (pair, pools) in &known {
                    prop_assert!(pools.is_subset(&super::tests::residents(&order, *pair, &generations)));
                }
            }
        }
    }
}
