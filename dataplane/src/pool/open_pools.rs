//! Which pools are open: from a pool's key to the slot it lives in, and which slots are free.
//!
//! Everything is allocated at construction; opening, finding and closing a pool never allocates. Each slot has a
//! generation that changes whenever a pool opens or closes in it, so that others can keep a reference to a pool that
//! costs nothing when the pool is gone. Called by the packet pooler alone.

mod pool_key;

pub use pool_key::PoolKey;

/// The place of an open pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u16);

impl Slot {
    #[inline(always)]
    pub(super) fn from_number(number: u16) -> Slot {
        Slot(number)
    }

    #[inline(always)]
    pub(super) fn number(self) -> u16 {
        self.0
    }

    #[inline(always)]
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A pool as others remember it: its slot, and the slot's generation at that time, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PoolReference(u32);

impl PoolReference {
    /// A reference to a pool that is never open.
    pub(super) const NONE: PoolReference = PoolReference(u32::MAX);

    #[inline(always)]
    pub(super) fn new(slot: Slot, generation: u16) -> PoolReference {
        PoolReference(u32::from(generation) << 16 | u32::from(slot.0))
    }

    #[inline(always)]
    pub(super) fn slot(self) -> Slot {
        Slot(self.0 as u16)
    }

    #[inline(always)]
    pub(super) fn generation(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

/// The generation of each slot: odd while a pool is open in it, so that no reference to an open pool ever fits a closed
/// one. After 32768 pools in a slot an old reference can be taken for a new one: whoever keeps references must bear
/// that.
pub(super) struct Generations(Box<[u16]>);

impl Generations {
    /// Whether the pool that `reference` was taken of is open.
    #[inline(always)]
    pub(super) fn is_open(&self, reference: PoolReference) -> bool {
        let generation = reference.generation();
        generation % 2 == 1 && self.0.get(reference.slot().index()) == Some(&generation)
    }

    /// Whether the pool that `known` was taken of, when it was open, is open and another one than `own`. No branch is in it: it is
    /// hard to foresee whether they are the same.
    #[inline(always)]
    pub(super) fn is_another(&self, known: PoolReference, own: PoolReference) -> bool {
        let generation = self.0.get(known.slot().index()).copied().unwrap_or(0);
        // Negative: the first where there is no difference, the second where there is one.
        let is_open = i64::from(generation ^ known.generation()) - 1;
        let differs = -i64::from(known.0 ^ own.0);
        is_open & differs < 0
    }

    /// A reference to the pool that is open in `slot`.
    #[inline(always)]
    pub(super) fn reference(&self, slot: Slot) -> PoolReference {
        PoolReference::new(slot, self.0.get(slot.index()).copied().unwrap_or(0))
    }

    fn advance(&mut self, slot: Slot) {
        if let Some(generation) = self.0.get_mut(slot.index()) {
            *generation = generation.wrapping_add(1);
        }
    }

    #[cfg(test)]
    pub(super) fn for_test(generations: Vec<u16>) -> Generations {
        Generations(generations.into())
    }
}

/// No key and no slot. No entry of the table is this, as a key takes 48 bits and no slot is 65535.
const EMPTY: u64 = u64::MAX;
/// No slot: the end of the list of those that are free.
const NONE: u16 = u16::MAX;

/// What is known of a slot.
#[derive(Clone, Copy)]
struct Place {
    /// The key of the pool that is, or was last, open in it; [`EMPTY`] where none was.
    key: u64,
    /// The next one that is free, while this one is.
    next: u16,
    /// The one before.
    previous: u16,
}

/// The open pools of one worker: an open-addressing table with linear probing, at most half full.
///
/// A pool that closes keeps its slot, and its place in the table, until another key needs the slot: most pools open again soon.
pub(super) struct OpenPools {
    /// Key above 16 bits of slot number, of pools that are open or were.
    entries: Box<[u64]>,
    /// How far a 64-bit hash is shifted right to give a place in `entries`.
    shift: u32,
    places: Box<[Place]>,
    /// The free slots, first those that were never used, then the one that was closed first: a list through `places`.
    first_free: u16,
    last_free: u16,
    open: usize,
    generations: Generations,
}

impl OpenPools {
    /// No pool open, and room for `slots`.
    pub(super) fn new(slots: u16) -> OpenPools {
        let capacity = (usize::from(slots).max(1) * 2).next_power_of_two();
        let mut pools = OpenPools {
            entries: vec![EMPTY; capacity].into(),
            shift: 64 - capacity.trailing_zeros(),
            places: vec![Place { key: EMPTY, next: NONE, previous: NONE }; usize::from(slots)].into(),
            first_free: NONE,
            last_free: NONE,
            open: 0,
            generations: Generations(vec![0; usize::from(slots)].into()),
        };
        (0..slots).for_each(|slot| pools.set_free(slot));
        pools
    }

    /// The slot of the open pool with this key.
    #[inline]
    pub(super) fn find(&self, key: PoolKey) -> Option<Slot> {
        let slot = Slot(self.entry(self.position(key)?) as u16);
        self.is_open(slot).then_some(slot)
    }

    /// A slot for a pool with this key, of which none is open: the one that it had before, if it is still free. None where all are taken.
    pub(super) fn open(&mut self, key: PoolKey) -> Option<Slot> {
        if let Some(position) = self.position(key) {
            let slot = Slot(self.entry(position) as u16);
            return self.open_again(slot, key).then_some(slot);
        }
        let slot = Slot(self.first_free);
        let before = std::mem::replace(&mut self.places.get_mut(slot.index())?.key, key.0);
        if let Some(position) = self.position(PoolKey(before)) {
            self.remove(position);
        }
        let mut at = self.home(key.0);
        while self.entry(at) != EMPTY {
            at = self.after(at);
        }
        self.set(at, key.0 << 16 | u64::from(slot.0));
        self.open_again(slot, key).then_some(slot)
    }

    /// Opens the pool with this key in the slot that it had before. False, and nothing changes, where it is open, or the
    /// slot was taken since.
    #[inline]
    pub(super) fn open_again(&mut self, slot: Slot, key: PoolKey) -> bool {
        let Some(&Place { key: last, next, previous }) = self.places.get(slot.index()) else { return false };
        if last != key.0 || self.is_open(slot) {
            return false;
        }
        match self.places.get_mut(usize::from(previous)) {
            Some(before) => before.next = next,
            None => self.first_free = next,
        }
        match self.places.get_mut(usize::from(next)) {
            Some(behind) => behind.previous = previous,
            None => self.last_free = previous,
        }
        self.open += 1;
        self.generations.advance(slot);
        true
    }

    /// Whether the pool with this key can be [opened again](OpenPools::open_again) in this slot.
    #[inline(always)]
    pub(super) fn can_open_again(&self, slot: Slot, key: PoolKey) -> bool {
        self.places.get(slot.index()).is_some_and(|place| place.key == key.0) && !self.is_open(slot)
    }

    /// Closes the pool in this slot, if one is open there.
    #[inline]
    pub(super) fn close(&mut self, slot: Slot) {
        if self.is_open(slot) {
            self.open -= 1;
            self.generations.advance(slot);
            self.set_free(slot.0);
        }
    }

    /// Generations of the slots.
    #[inline(always)]
    pub(super) fn generations(&self) -> &Generations {
        &self.generations
    }

    /// How many pools are open.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// Keys and slots of the open pools, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PoolKey, Slot)> + '_ {
        let slots = self.places.iter().zip(0..).map(|(place, slot)| (PoolKey(place.key), Slot(slot)));
        slots.filter(|(_, slot)| self.is_open(*slot))
    }

    #[inline(always)]
    fn is_open(&self, slot: Slot) -> bool {
        self.generations.0.get(slot.index()).is_some_and(|generation| generation % 2 == 1)
    }

    /// Puts a slot behind all that are free.
    #[inline(always)]
    fn set_free(&mut self, slot: u16) {
        let previous = std::mem::replace(&mut self.last_free, slot);
        match self.places.get_mut(usize::from(previous)) {
            Some(before) => before.next = slot,
            None => self.first_free = slot,
        }
        if let Some(place) = self.places.get_mut(usize::from(slot)) {
            (place.next, place.previous) = (NONE, previous);
        }
    }

    /// Takes an entry out of the table.
    fn remove(&mut self, position: usize) {
        // Entries behind the hole move into it, unless that would put them before their home (Knuth 6.4, algorithm R):
        // there are no tombstones, so a search ends as early after a year as on the first day.
        let mut hole = position;
        let mut at = self.after(hole);
        while self.entry(at) != EMPTY {
            let entry = self.entry(at);
            if self.distance(self.home(entry >> 16), at) >= self.distance(hole, at) {
                self.set(hole, entry);
                hole = at;
            }
            at = self.after(at);
        }
        self.set(hole, EMPTY);
    }

    #[inline(always)]
    fn position(&self, key: PoolKey) -> Option<usize> {
        let mut at = self.home(key.0);
        loop {
            let entry = self.entry(at);
            if entry == EMPTY {
                return None;
            }
            if entry >> 16 == key.0 {
                return Some(at);
            }
            at = self.after(at);
        }
    }

    #[inline(always)]
    fn home(&self, key: u64) -> usize {
        (PoolKey(key).hash() >> self.shift) as usize
    }

    #[inline(always)]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.entries.len() - 1)
    }

    #[inline(always)]
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.entries.len() - 1)
    }

    #[inline(always)]
    fn entry(&self, at: usize) -> u64 {
        self.entries.get(at).copied().unwrap_or(EMPTY)
    }

    #[inline(always)]
    fn set(&mut self, at: usize, entry: u64) {
        if let Some(place) = self.entries.get_mut(at) {
            *place = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::rule::{Dscp, RuleIndex};
    use super::*;

    fn key(number: u16) -> PoolKey {
        PoolKey::new(number, RuleIndex(0), Dscp::default(), 0, 0)
    }

    #[test]
    fn a_pool_opens_again_in_its_slot_until_another_key_needs_it() {
        let mut pools = OpenPools::new(2);
        let [one, two] = [0, 1].map(|number| pools.open(key(number)).expect("a free slot"));
        assert!(!pools.open_again(one, key(0)), "it is open");
        pools.close(one);
        pools.close(two);
        assert!(!pools.open_again(one, key(1)), "another's slot");
        assert!(pools.open_again(two, key(1)) && pools.find(key(1)) == Some(two));
        assert_eq!(pools.open(key(0)), Some(one), "the slot it had");
        pools.close(two);
        pools.close(one);
        assert_eq!(pools.open(key(2)), Some(two), "the one that was closed first");
        assert!(!pools.open_again(two, key(1)));
        assert_eq!((pools.find(key(1)), pools.find(key(2)), pools.len()), (None, Some(two), 1));
    }

    proptest! {
        /// Against std's map, with so few slots that keys crowd and wrap around the end of the table.
        #[test]
        fn the_table_is_a_map(steps in proptest::collection::vec((any::<bool>(), 0u16..40), 0..400), slots in 1u16..20) {
            let mut pools = OpenPools::new(slots);
            let mut model: HashMap<u16, Slot> = HashMap::new();
            let mut references = HashMap::new();
            for (open, number) in steps {
                if open && !model.contains_key(&number) {
                    let before = references.get(&number).map(|reference: &PoolReference| reference.slot());
                    let again = before.filter(|slot| number % 2 == 0 && pools.open_again(*slot, key(number)));
                    let slot = again.or_else(|| pools.open(key(number)));
                    prop_assert_eq!(slot.is_some(), model.len() < usize::from(slots));
                    if let Some(slot) = slot {
                        prop_assert!(!model.values().any(|&taken| taken == slot), "slot given twice");
                        prop_assert!(!pools.open_again(slot, key(number)), "opened twice");
                        model.insert(number, slot);
                        references.insert(number, pools.generations().reference(slot));
                    }
                } else if !open && let Some(slot) = model.remove(&number) {
                    pools.close(slot);
                }
                prop_assert_eq!(pools.len(), model.len());
                prop_assert_eq!(pools.iter().count(), model.len());
                for number in 0..40 {
                    prop_assert_eq!(pools.find(key(number)), model.get(&number).copied());
                    if let Some(&reference) = references.get(&number) {
                        prop_assert_eq!(pools.generations().is_open(reference), model.contains_key(&number));
                    }
                }
            }
        }
    }
}
