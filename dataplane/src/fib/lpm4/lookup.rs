//! The look-up, in the forms that processors have: the same two loads each time, first all words, then all leaves, so
//! that the misses of a burst overlap.
//!
//! Traffic to a few networks goes straight to the words. Where the destinations lie all over the address space, most are
//! in a /16 that has one leaf, and the summary decides them; the others pay for one look more. Which of both a reader
//! sees it finds out by trying, one burst in [`SAMPLE`], and notes it in its section.

use std::cell::Cell;

use super::{Lpm4, MIXED, TAIL};
use crate::arch::Simd;
use crate::fib::next_hop::EntryId;
use crate::fib::stretch::{FIRST_TAIL, leaf_index, load_leaf, load_tail, uniform};
use crate::fib::sync::Ordering;

/// Destinations looked up together.
pub const BURST: usize = 32;
/// One burst in so many is tried with the summary, to see what the traffic is like. A power of two.
const SAMPLE: u32 = 64;
/// From so many destinations of a burst on that the summary decides it is asked first ...
const SUMMARY_FROM: u32 = 12;
/// ... and below so many it is not any more.
const SUMMARY_UNTIL: u32 = 8;
/// In a reader's note: ask the summary first. The lower bits count bursts.
const SUMMARY_FIRST: u32 = 1 << 31;

impl Lpm4 {
    /// Whole bursts as they are, the rest of one filled up with zeros.
    #[inline(always)]
    pub(super) fn lookup_burst_by_form(&self, note: &Cell<u32>, destinations: &[u32], leaves: &mut [EntryId]) {
        let count = destinations.len().min(leaves.len());
        let (Some(destinations), Some(leaves)) = (destinations.get(..count), leaves.get_mut(..count)) else { return };
        let (bursts, rest) = destinations.as_chunks::<BURST>();
        let (burst_leaves, rest_leaves) = leaves.as_chunks_mut::<BURST>();
        for (destinations, leaves) in bursts.iter().zip(burst_leaves) {
            self.lookup_by_traffic(note, destinations, leaves);
        }
        if !rest.is_empty() {
            let mut destinations = [0; BURST];
            let mut leaves = [EntryId::NO_ROUTE; BURST];
            destinations.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            self.lookup_by_form::<false>(&destinations, &mut leaves);
            rest_leaves.iter_mut().zip(leaves).for_each(|(to, from)| *to = from);
        }
    }

    /// With the summary or without, as this reader's traffic is; and now and then with it, to see.
    #[inline(always)]
    fn lookup_by_traffic(&self, note: &Cell<u32>, destinations: &[u32; BURST], leaves: &mut [EntryId; BURST]) {
        let before = note.get();
        if before & (SUMMARY_FIRST | (SAMPLE - 1)) != 0 && before & SUMMARY_FIRST == 0 {
            note.set((before + 1) & !SUMMARY_FIRST);
            self.lookup_by_form::<false>(destinations, leaves);
        } else {
            let decided = self.lookup_by_form::<true>(destinations, leaves);
            let threshold = if before & SUMMARY_FIRST == 0 { SUMMARY_FROM } else { SUMMARY_UNTIL };
            note.set(if decided >= threshold { SUMMARY_FIRST } else { 1 });
        }
    }

    /// Returns how many the summary decided.
    #[inline(always)]
    fn lookup_by_form<const SUMMARY: bool>(&self, to: &[u32; BURST], leaves: &mut [EntryId; BURST]) -> u32 {
        match self.simd {
            Simd::Baseline => self.lookup_scalar::<SUMMARY>(to, leaves),
            // SAFETY: `simd` is not better than what was detected when the table was made, so the processor has these.
            Simd::Avx2 => unsafe { self.lookup_avx2::<SUMMARY>(to, leaves) },
            // SAFETY: as above.
            Simd::Avx512 => unsafe { self.lookup_avx512::<SUMMARY>(to, leaves) },
        }
    }

    /// One destination, without the summary.
    pub(super) fn lookup_one(&self, destination: u32) -> EntryId {
        // Acquire: the block that a word leads to was written before it.
        let word = self.words.get((destination >> 13) as usize).map_or(0, |word| word.load(Ordering::Acquire));
        let leaf = load_leaf(&self.leaves, leaf_index(word, destination >> 8));
        EntryId(if leaf >= FIRST_TAIL { self.lookup_tail(word, leaf, destination) } else { leaf })
    }

    /// A destination whose first 24 bits do not decide.
    #[inline(always)]
    fn lookup_tail(&self, word: u64, leaf: u16, destination: u32) -> u16 {
        let tail = load_tail(&self.leaves, word, u32::from(leaf - FIRST_TAIL));
        let index = tail as usize * TAIL + ((destination >> 5) & 7) as usize;
        let word = self.tails.get(index).map_or(0, |word| word.load(Ordering::Acquire));
        load_leaf(&self.leaves, leaf_index(word, destination))
    }

    /// The same with the instructions of x86-64-v3.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn lookup_avx2<const SUMMARY: bool>(&self, to: &[u32; BURST], leaves: &mut [EntryId; BURST]) -> u32 {
        self.lookup_scalar::<SUMMARY>(to, leaves)
    }

    #[inline(always)]
    fn lookup_scalar<const SUMMARY: bool>(&self, to: &[u32; BURST], leaves: &mut [EntryId; BURST]) -> u32 {
        let mut words = [0u64; BURST];
        let mut decided = 0;
        for (word, destination) in words.iter_mut().zip(to) {
            let mut index = (destination >> 13) as usize;
            if SUMMARY {
                let half = (destination >> 16) as usize;
                let leaf = self.summary.get(half).map_or(MIXED, |leaf| leaf.load(Ordering::Acquire));
                // Without a branch: a decided one loads the first word, which is always near, and takes its leaf's.
                let mixed = leaf == MIXED;
                index = std::hint::select_unpredictable(mixed, index, 0);
                let loaded = self.words.get(index).map_or(0, |word| word.load(Ordering::Acquire));
                *word = std::hint::select_unpredictable(mixed, loaded, uniform(leaf));
                decided += u32::from(!mixed);
            } else {
                *word = self.words.get(index).map_or(0, |word| word.load(Ordering::Acquire));
            }
        }
        let mut deeper = false;
        for ((leaf, word), destination) in leaves.iter_mut().zip(&words).zip(to) {
            leaf.0 = load_leaf(&self.leaves, leaf_index(*word, destination >> 8));
            deeper |= leaf.0 >= FIRST_TAIL;
        }
        if deeper {
            self.lookup_tails(&words, to, leaves);
        }
        decided
    }

    /// Those of a burst that have a tail, again step by step for all of them.
    #[inline(always)]
    pub(super) fn lookup_tails(&self, words: &[u64; BURST], to: &[u32; BURST], leaves: &mut [EntryId; BURST]) {
        for ((leaf, word), destination) in leaves.iter_mut().zip(words).zip(to) {
            if leaf.0 >= FIRST_TAIL {
                leaf.0 = self.lookup_tail(*word, leaf.0, *destination);
            }
        }
    }
}
