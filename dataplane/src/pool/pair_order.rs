//! Between which addresses packets wait in which open pools, so that no fragment overtakes a packet of its flow.
//!
//! A fragment does not tell its ports: all that it tells of its flow is the pair of addresses. Each pair has a set of
//! places by its hash, and leaves in one of them which pool a packet of it waits in; a fragment has all open pools of its set
//! leave. Pairs that share a set are not told apart: that costs an early flush where there are fragments, and never the order. Where a
//! pair has packets in more open pools than there are places, its set is crowded, and a fragment has all pools there are leave:
//! fragments are rare, and two gateways with packets in many pools are not.

use super::open_pools::{Generations, PoolReference, Slot};
use crate::arch::prefetch_read;

/// Half a cache line.
const WAYS: usize = 8;

/// The sets of all pairs.
pub(super) struct PairOrder {
    sets: Box<[[PoolReference; WAYS]]>,
    /// A bit for each set: not all pools of its pairs are in it.
    crowded: Box<[u64]>,
}

impl PairOrder {
    /// A table for some `residents` pairs, rounded up to a power of two and a full set.
    pub(super) fn new(residents: usize) -> PairOrder {
        let sets = residents.div_ceil(WAYS).clamp(1, 1 << 24).next_power_of_two();
        PairOrder { sets: vec![[PoolReference::NONE; WAYS]; sets].into(), crowded: vec![0; sets.div_ceil(64)].into() }
    }

    /// An open pool that has, or could have, packets between the addresses of this hash, as far as they are
    /// [not everywhere](PairOrder::is_everywhere).
    #[inline]
    pub(super) fn resident(&self, pair: u32, open: &Generations) -> Option<Slot> {
        self.sets.get(self.set_of(pair))?.iter().find(|pool| open.is_open(**pool)).map(|pool| pool.slot())
    }

    /// Whether packets between these addresses may be in any pool.
    #[inline]
    pub(super) fn is_everywhere(&self, pair: u32) -> bool {
        let set = self.set_of(pair);
        self.crowded.get(set / 64).is_some_and(|bits| bits >> (set % 64) & 1 == 1)
    }

    /// No pool is open any more.
    pub(super) fn forget_everywhere(&mut self, pair: u32) {
        let set = self.set_of(pair);
        if let Some(bits) = self.crowded.get_mut(set / 64) {
            *bits &= !(1 << (set % 64));
        }
    }

    /// Remembers that packets between these addresses are in `pool`, which is open.
    #[inline(always)]
    pub(super) fn enter(&mut self, pair: u32, pool: PoolReference, open: &Generations) {
        let at = self.set_of(pair);
        let Some(set) = self.sets.get_mut(at) else { return };
        // Each pair has a place where it is looked for first. It may lie in others as well.
        let home = &mut set[(pair >> 29) as usize];
        if open.is_another(*home, pool) {
            return self.enter_elsewhere(at, pool, open);
        }
        *home = pool;
    }

    #[inline(never)]
    fn enter_elsewhere(&mut self, at: usize, pool: PoolReference, open: &Generations) {
        let Some(set) = self.sets.get_mut(at) else { return };
        if set.contains(&pool) {
            return;
        }
        // One that is closed, or that has another place as well: it took its home when that was free.
        let closed = set.iter().position(|known| !open.is_open(*known));
        let twice = || (1..WAYS).find(|&place| set[..place].contains(&set[place]));
        match closed.or_else(twice) {
            Some(place) => set[place] = pool,
            None => {
                if let Some(bits) = self.crowded.get_mut(at / 64) {
                    *bits |= 1 << (at % 64);
                }
            }
        }
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
        if order.is_everywhere(pair) {
            return (0..generations.len() as u16).filter(|slot| generations[usize::from(*slot)] % 2 == 1).collect();
        }
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
        order.enter(7, pool(1, 3), &Generations::for_test(vec![1, 3]));
        assert_eq!(residents(&order, 7, &[1, 3]), HashSet::from([1]));
        assert_eq!(residents(&order, 8, &[1, 3]), HashSet::new());
        assert_eq!(residents(&order, 7, &[1, 4]), HashSet::new());
        assert_eq!(residents(&order, 7, &[1, 5]), HashSet::new());
    }

    #[test]
    fn one_pair_can_have_packets_in_several_pools() {
        let mut order = PairOrder::new(8);
        let open = Generations::for_test(vec![1, 1]);
        order.enter(5, pool(0, 1), &open);
        order.enter(5, pool(1, 1), &open);
        assert_eq!(residents(&order, 5, &[1, 1]), HashSet::from([0, 1]));
        assert_eq!(residents(&order, 5, &[2, 1]), HashSet::from([1]));
    }

    #[test]
    fn a_pair_in_more_pools_than_there_are_places_is_everywhere_until_that_is_forgotten() {
        let mut order = PairOrder::new(WAYS);
        let all_open = Generations::for_test(vec![1; 10]);
        for _ in 0..3 {
            (0..8).for_each(|number| order.enter(number << 29, pool(number as u16, 1), &all_open));
        }
        assert!(!order.is_everywhere(0), "each has a place");
        order.enter(1, pool(8, 1), &all_open);
        assert!(order.is_everywhere(0));
        order.forget_everywhere(0);
        let mut one_closed = vec![1; 10];
        one_closed[3] = 2;
        order.enter(1, pool(8, 1), &Generations::for_test(one_closed));
        assert!(!order.is_everywhere(0), "there was a place");
    }

    proptest! {
        /// Against a model that forgets nothing.
        #[test]
        fn every_open_pool_of_a_pair_is_found(
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
                order.enter(pair, reference, &open);
                known.entry(pair).or_default().insert(slot);
                for (pair, pools) in &known {
                    prop_assert!(pools.is_subset(&super::tests::residents(&order, *pair, &generations)));
                }
            }
        }
    }
}
