//! Which flow has packets in which open pool, so that no packet overtakes one of its own flow that still waits.
//!
//! A set-associative table of fixed size from a 32-bit hash to references of pools. It forgets nothing that matters: where
//! a set is full of pools that are open, the caller is told to flush the one that is displaced. Two flows with the same
//! hash count as one, which costs an early flush and never the order.

use super::open_pools::{Generations, PoolReference, Slot};
use crate::arch::{equal, prefetch_read};

/// One cache line.
const WAYS: usize = 8;

/// Hashes and the pools that go with them, apart so that all hashes are compared at once.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Set {
    hashes: [u32; WAYS],
    pools: [PoolReference; WAYS],
}

impl Set {
    /// The pools recorded for `hash`, open or not.
    #[inline(always)]
    fn pools_of(&self, hash: u32) -> impl Iterator<Item = PoolReference> + '_ {
        let mut equal = equal(&self.hashes, hash);
        std::iter::from_fn(move || {
            let pool = self.pools.get(equal.trailing_zeros() as usize).copied();
            equal &= equal.wrapping_sub(1);
            pool
        })
    }

    /// A way whose pool is not open: the first that is looked at, if it is.
    #[inline(always)]
    fn vacant(&self, hash: u32, open: &Generations) -> Option<usize> {
        let home = hash as usize % WAYS;
        if !open.is_open(self.pools[home]) {
            return Some(home);
        }
        self.pools.iter().position(|pool| !open.is_open(*pool))
    }

    #[inline(never)]
    fn is_elsewhere(&self, hash: u32, own: PoolReference, open: &Generations) -> bool {
        self.pools_of(hash).any(|pool| open.is_another(pool, own))
    }

    /// The way of a hash that is not in the first one: that which it is in, or one that is vacant.
    #[inline(never)]
    fn other_way(&self, hash: u32, open: &Generations) -> Option<usize> {
        let known = equal(&self.hashes, hash);
        if known != 0 { Some(known.trailing_zeros() as usize) } else { self.vacant(hash, open) }
    }
}

/// Flows, by hash, and the open pools they have packets in.
pub(super) struct FlowOrder {
    sets: Box<[Set]>,
    /// How far a 32-bit product is shifted right to give a set; 32 where there is one set.
    shift: u32,
    /// Which way of a full set is displaced next.
    turn: usize,
}

impl FlowOrder {
    /// A table for some `residents` flows, rounded up to a power of two and a full set.
    pub(super) fn new(residents: usize) -> FlowOrder {
        let sets = residents.div_ceil(WAYS).clamp(1, 1 << 24).next_power_of_two();
        let nobody = Set { hashes: [0; WAYS], pools: [PoolReference::NONE; WAYS] };
        FlowOrder { sets: vec![nobody; sets].into(), shift: 32 - sets.trailing_zeros(), turn: 0 }
    }

    /// An open pool other than `own` that has, or could have, packets of the flow.
    #[inline]
    pub(super) fn resident(&self, hash: u32, own: Option<Slot>, open: &Generations) -> Option<Slot> {
        let set = self.sets.get(self.set_of(hash))?;
        set.pools_of(hash).find(|&pool| Some(pool.slot()) != own && open.is_open(pool)).map(|pool| pool.slot())
    }

    /// Remembers that the flow has packets in `pool`, which is open. Returns a pool that is no longer known for one of its
    /// flows and has to be flushed for that; it can be `pool` itself.
    #[inline]
    #[must_use]
    pub(super) fn record(&mut self, hash: u32, pool: PoolReference, open: &Generations) -> Option<Slot> {
        let at = self.set_of(hash);
        let set = self.sets.get_mut(at)?;
        let turn = self.turn;
        // A hash has one way only, whatever pools are open: nobody need look for more.
        let known = equal(&set.hashes, hash);
        let way = if known != 0 { Some(known.trailing_zeros() as usize % WAYS) } else { set.vacant(hash, open) };
        let way = way.unwrap_or_else(|| {
            self.turn = (turn + 1) % WAYS;
            turn
        });
        *set.hashes.get_mut(way)? = hash;
        let displaced = std::mem::replace(set.pools.get_mut(way)?, pool);
        let is_lost = known == 0 || displaced != pool;
        (is_lost && open.is_open(displaced)).then_some(displaced.slot())
    }

    /// The same where it takes nothing else: false, and nothing changes, where another pool that is open has packets of the
    /// flow, or all that could be forgotten is of open pools.
    #[inline(always)]
    #[must_use]
    pub(super) fn enter(&mut self, hash: u32, pool: PoolReference, open: &Generations) -> bool {
        self.enter_before(hash, pool, open).is_some()
    }

    /// The same of a flow with a packet that may not join after all. Returns whether the pool had none of it, so that it is to
    /// [leave](FlowOrder::leave) then.
    #[inline(always)]
    #[must_use]
    pub(super) fn enter_before(&mut self, hash: u32, pool: PoolReference, open: &Generations) -> Option<bool> {
        let at = self.set_of(hash);
        let set = self.sets.get_mut(at)?;
        // Where it was put first, unless that way was taken.
        let home = hash as usize % WAYS;
        let way = if set.hashes[home] == hash { Some(home) } else { set.other_way(hash, open) }? % WAYS;
        let before = (set.hashes[way], set.pools[way]);
        if open.is_another(before.1, pool) {
            return None;
        }
        (set.hashes[way], set.pools[way]) = (hash, pool);
        Some(before != (hash, pool))
    }

    /// Forgets that a pool has packets of a flow.
    #[cold]
    pub(super) fn leave(&mut self, hash: u32, pool: PoolReference) {
        let at = self.set_of(hash);
        if let Some(Set { hashes, pools }) = self.sets.get_mut(at) {
            let known = pools.iter_mut().zip(hashes);
            known.filter(|known| (*known.0, *known.1) == (pool, hash)).for_each(|known| *known.0 = PoolReference::NONE);
        }
    }

    /// Whether an open pool other than `own` has, or could have, packets of the flow.
    #[inline(always)]
    pub(super) fn is_elsewhere(&self, hash: u32, own: PoolReference, open: &Generations) -> bool {
        let Some(set) = self.sets.get(self.set_of(hash)) else { return true };
        let home = hash as usize % WAYS;
        if set.hashes[home] == hash { open.is_another(set.pools[home], own) } else { set.is_elsewhere(hash, own, open) }
    }

    /// Has what is known of a flow brought closer.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u32) {
        if let Some(set) = self.sets.get(self.set_of(hash)) {
            prefetch_read(set);
        }
    }

    #[inline(always)]
    fn set_of(&self, hash: u32) -> usize {
        (u64::from(hash.wrapping_mul(0x9e37_79b1)) >> self.shift) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn pool(slot: u16, generation: u16) -> PoolReference {
        PoolReference::new(Slot::from_number(slot), generation)
    }

    #[test]
    fn a_flow_is_found_while_its_pool_is_open_and_not_after() {
        let mut order = FlowOrder::new(64);
        let open = Generations::for_test(vec![1, 3]);
        assert_eq!(order.resident(7, None, &open), None);
        assert_eq!(order.record(7, pool(1, 3), &open), None);
        assert_eq!(order.resident(7, None, &open), Some(Slot::from_number(1)));
        assert_eq!(order.resident(8, None, &open), None);
        for later in [4, 5] {
            assert_eq!(order.resident(7, None, &Generations::for_test(vec![1, later])), None);
        }
    }

    #[test]
    fn an_empty_table_does_not_know_hash_zero() {
        assert_eq!(FlowOrder::new(1).resident(0, None, &Generations::for_test(vec![1])), None);
    }

    #[test]
    fn a_full_set_displaces_one_that_is_open_only_where_all_are() {
        let mut order = FlowOrder::new(WAYS);
        let all_open = Generations::for_test(vec![1; 10]);
        for number in 0..8 {
            assert_eq!(order.record(u32::from(number), pool(number, 1), &all_open), None);
            assert_eq!(order.record(u32::from(number), pool(number, 1), &all_open), None, "recorded twice");
        }
        let mut one_closed = vec![1; 10];
        one_closed[3] = 2;
        let one_closed = Generations::for_test(one_closed);
        assert_eq!(order.record(100, pool(8, 1), &one_closed), None);
        let displaced = order.record(101, pool(9, 1), &one_closed).expect("a full set displaces");
        let known: Vec<u32> = [0, 1, 2, 4, 5, 6, 7, 100, 101]
            .into_iter()
            .filter(|&hash| order.resident(hash, None, &one_closed).is_some())
            .collect();
        assert_eq!(known.len(), 8);
        assert!(known.contains(&101));
        assert!(!known.contains(&if displaced.number() == 8 { 100 } else { u32::from(displaced.number()) }));
    }

    proptest! {
        /// Against a model that forgets only what it is told of, with so few sets that flows crowd.
        #[test]
        fn every_flow_with_packets_in_an_open_pool_is_found_there(
            steps in prop::collection::vec((0u8..4, 0u32..24, 0u16..12), 0..300), residents in 1usize..20,
        ) {
            let mut order = FlowOrder::new(residents);
            let mut generations = vec![1u16; 12];
            let mut known: HashMap<u32, u16> = HashMap::new();
            for (step, flow, slot) in steps {
                let open = Generations::for_test(generations.clone());
                let reference = pool(slot, generations[usize::from(slot)]);
                let elsewhere = known.get(&flow).is_some_and(|pool| *pool != slot);
                prop_assert_eq!(order.is_elsewhere(flow, reference, &open), elsewhere, "flow {}", flow);
                let mut closes = None;
                match step {
                    0 => closes = Some(slot),
                    // Where that displaces something, it is flushed, and so is another pool that the flow is in.
                    1 => {
                        closes = order.record(flow, reference, &open).map(Slot::number);
                        prop_assert!(!elsewhere || closes == known.get(&flow).copied(), "a packet overtakes");
                        known.insert(flow, slot);
                    }
                    _ => if order.enter(flow, reference, &open) {
                        prop_assert!(!elsewhere, "a packet overtakes");
                        known.insert(flow, slot);
                    },
                }
                if let Some(slot) = closes {
                    generations[usize::from(slot)] += 2;
                    known.retain(|_, pool| *pool != slot);
                }
                let open = Generations::for_test(generations.clone());
                for flow in 0..24 {
                    let found = order.resident(flow, None, &open).map(Slot::number);
                    prop_assert_eq!(found, known.get(&flow).copied(), "flow {}", flow);
                    prop_assert_eq!(order.resident(flow, found.map(Slot::from_number), &open), None);
                }
            }
        }
    }

    #[test]
    fn a_flow_enters_a_pool_while_no_other_has_packets_of_it() {
        let mut order = FlowOrder::new(64);
        let open = Generations::for_test(vec![1, 1]);
        assert!(order.enter(7, pool(0, 1), &open) && order.enter(7, pool(0, 1), &open));
        assert_eq!(order.resident(7, None, &open), Some(Slot::from_number(0)));
        assert!(!order.enter(7, pool(1, 1), &open), "it would overtake");
        assert_eq!(order.resident(7, Some(Slot::from_number(0)), &open), None, "nothing was noted");
        assert!(order.enter(7, pool(1, 3), &Generations::for_test(vec![2, 3])), "the first pool is closed");
    }

    #[test]
    fn who_enters_takes_the_place_of_a_pool_that_is_closed_and_no_other() {
        let mut order = FlowOrder::new(WAYS);
        let all_open = Generations::for_test(vec![1; 10]);
        for number in 0..8 {
            assert!(order.enter(u32::from(number) * 8, pool(number, 1), &all_open), "{number}");
        }
        assert!(!order.enter(100, pool(8, 1), &all_open), "all are open");
        let mut one_closed = vec![1; 10];
        one_closed[3] = 2;
        let one_closed = Generations::for_test(one_closed);
        assert!(order.enter(100, pool(8, 1), &one_closed));
        assert!(!order.enter(101, pool(9, 1), &one_closed));
        let known = [0, 8, 16, 32, 40, 48, 56, 100];
        assert!(known.iter().all(|&hash| order.resident(hash, None, &one_closed).is_some()));
    }

    #[test]
    fn a_flow_that_comes_back_takes_its_own_place() {
        let mut order = FlowOrder::new(WAYS);
        for generation in (1..400).step_by(2) {
            let open = Generations::for_test(vec![generation]);
            assert!(order.enter(5, pool(0, generation), &open));
            assert_eq!(order.record(6, pool(0, generation), &open), None);
        }
        let [set] = &*order.sets else { panic!("one set") };
        assert_eq!(set.hashes.iter().filter(|hash| **hash == 5).count(), 1);
        assert_eq!(set.hashes.iter().filter(|hash| **hash == 6).count(), 1);
    }
}
