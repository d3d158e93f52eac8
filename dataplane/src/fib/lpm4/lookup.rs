//! The look-up, in the forms that processors have: the same two loads each time, first all words, then all leaves, so
//! that the misses of a burst overlap.
//!
//! Traffic to a few networks goes straight to the words. Where the destinations lie all over the address space, most are
//! in a /16 that has one leaf, and the summary decides them; the others pay for one look more. Which of both a reader
//! sees it finds out by trying, one burst in [`SAMPLE`], and notes it in its section.

use std::cell::Cell;
use std::hint::select_unpredictable;

use super::{HALVES, Lpm4, MIXED, TAIL, WORDS};
use crate::arch::Simd;
use crate::fib::next_hop::EntryId;
use crate::fib::publication::Section;
use crate::fib::stretch::{FIRST_TAIL, leaf_index, load_tail, uniform};
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

/// What a reader's note says to do with a burst.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    /// Look at the words.
    Words,
    /// Look at the summary, and then at the words where it does not decide.
    Summary,
}

impl First {
    /// For the next burst of a reader.
    #[inline(always)]
    fn next(note: &Cell<u32>) -> First {
        let before = note.get();
        if before & SUMMARY_FIRST == 0 && !before.is_multiple_of(SAMPLE) {
            note.set(before + 1);
            First::Words
        } else {
            First::Summary
        }
    }

    /// Notes what the summary did for a burst.
    #[inline(always)]
    fn learn(note: &Cell<u32>, decided: u32) {
        let threshold = if note.get() & SUMMARY_FIRST == 0 { SUMMARY_FROM } else { SUMMARY_UNTIL };
        note.set(if decided >= threshold { SUMMARY_FIRST } else { 1 });
    }
}

impl Lpm4 {
    /// Looks up as many as there are, in whole bursts; what is left is filled up with zeros.
    #[inline(never)]
    pub(super) fn lookup_any(&self, section: Section<'_>, destinations: &[u32], leaves: &mut [EntryId]) {
        let count = destinations.len().min(leaves.len());
        let (Some(destinations), Some(leaves)) = (destinations.get(..count), leaves.get_mut(..count)) else { return };
        if !section.is_of(&self.domain) {
            return leaves.fill(EntryId::NO_ROUTE);
        }
        let (bursts, rest) = destinations.as_chunks::<BURST>();
        let (burst_leaves, rest_leaves) = leaves.as_chunks_mut::<BURST>();
        for (destinations, leaves) in bursts.iter().zip(burst_leaves) {
            self.lookup_whole(section.note(), destinations, leaves);
        }
        if !rest.is_empty() {
            let (mut all, mut all_leaves) = ([0; BURST], [EntryId::NO_ROUTE; BURST]);
            all.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            // It does not count for what the traffic is like.
            self.lookup_first(First::Words, section.note(), &all, &mut all_leaves);
            rest_leaves.iter_mut().zip(all_leaves).for_each(|(to, from)| *to = from);
        }
    }

    /// A burst, with the summary or without, as this reader's traffic is; and now and then with it, to see.
    #[inline(always)]
    pub(super) fn lookup_whole(&self, note: &Cell<u32>, to: &[u32; BURST], leaves: &mut [EntryId; BURST]) {
        self.lookup_first(First::next(note), note, to, leaves);
    }

    /// In the best form there is.
    #[inline(always)]
    fn lookup_first(&self, first: First, note: &Cell<u32>, to: &[u32; BURST], leaves: &mut [EntryId; BURST]) {
        match (self.simd, first) {
            // SAFETY: `simd` is not better than what was detected when the table was made, so the processor has these.
            (Simd::Avx512, First::Words) => unsafe { self.words_avx512(to, leaves) },
            // SAFETY: as above.
            (Simd::Avx512, First::Summary) => First::learn(note, unsafe { self.summary_avx512(to, leaves) }),
            // SAFETY: as above.
            (Simd::Avx2, First::Words) => unsafe { self.words_avx2(to, leaves) },
            // SAFETY: as above.
            (Simd::Avx2, First::Summary) => First::learn(note, unsafe { self.summary_avx2(to, leaves) }),
            (Simd::Baseline, First::Words) => self.words_baseline(to, leaves),
            (Simd::Baseline, First::Summary) => First::learn(note, self.summary_baseline(to, leaves)),
        }
    }

    #[inline(never)]
    fn words_baseline(&self, to: &[u32; BURST], leaves: &mut [EntryId; BURST]) {
        self.burst_scalar::<false>(to, leaves);
    }

    #[inline(never)]
    fn summary_baseline(&self, to: &[u32; BURST], leaves: &mut [EntryId; BURST]) -> u32 {
        self.burst_scalar::<true>(to, leaves)
    }

    /// The same with the instructions of x86-64-v3.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn words_avx2(&self, to: &[u32; BURST], leaves: &mut [EntryId; BURST]) {
        self.burst_scalar::<false>(to, leaves);
    }

    /// The same with the instructions of x86-64-v3.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn summary_avx2(&self, to: &[u32; BURST], leaves: &mut [EntryId; BURST]) -> u32 {
        self.burst_scalar::<true>(to, leaves)
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
    fn words_avx512(&self, to: &[u32; BURST], leaves: &mut [EntryId; BURST]) {
        self.burst_avx512::<false>(to, leaves);
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
    fn summary_avx512(&self, to: &[u32; BURST], leaves: &mut [EntryId; BURST]) -> u32 {
        self.burst_avx512::<true>(to, leaves)
    }

    /// One destination, without the summary.
    pub(super) fn lookup_one(&self, destination: u32) -> EntryId {
        let word = self.word((destination >> 13) as usize);
        let leaf = self.leaf(word, destination >> 8);
        EntryId(if leaf >= FIRST_TAIL { self.lookup_tail(word, leaf, destination) } else { leaf })
    }

    /// A word. Acquire: the block it leads to was written before it.
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        self.words.get(index).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// The leaf of a slot of a word that was loaded from this table.
    #[inline(always)]
    fn leaf(&self, word: u64, slot: u32) -> u16 {
        let index = leaf_index(word, slot) as usize;
        debug_assert!(index < self.leaves.len());
        // SAFETY: whenever a word was loaded, its base and as many leaves as it counts were within the arena: the writer
        // stores no other word, and the arena neither moves nor shrinks.
        unsafe { self.leaves.get_unchecked(index) }.load(Ordering::Relaxed)
    }

    /// A destination whose first 24 bits do not decide.
    #[inline(always)]
    fn lookup_tail(&self, word: u64, leaf: u16, destination: u32) -> u16 {
        let tail = load_tail(&self.leaves, word, u32::from(leaf.wrapping_sub(FIRST_TAIL)));
        let index = tail as usize * TAIL + ((destination >> 5) & 7) as usize;
        let word = self.tails.get(index).map_or(0, |word| word.load(Ordering::Acquire));
        self.leaf(word, destination)
    }

    /// Returns how many the summary decided.
    #[inline(always)]
    fn burst_scalar<const SUMMARY: bool>(&self, to: &[u32; BURST], leaves: &mut [EntryId; BURST]) -> u32 {
        // As many as there are values of 19 and of 16 bits: no index needs to be compared.
        let (Some(all_words), Some(summary)) =
            (self.words.first_chunk::<WORDS>(), self.summary.first_chunk::<HALVES>())
        else {
            return 0;
        };
        let mut words = [0u64; BURST];
        let mut decided = 0;
        for (word, destination) in words.iter_mut().zip(to) {
            let index = (destination >> 13) as usize;
            if SUMMARY {
                let leaf = summary[(destination >> 16) as usize].load(Ordering::Acquire);
                // Without a branch: a decided one loads the first word, which is always near, and takes its leaf's.
                let mixed = leaf == MIXED;
                let loaded = all_words[select_unpredictable(mixed, index, 0) % WORDS].load(Ordering::Acquire);
                *word = select_unpredictable(mixed, loaded, uniform(leaf));
                decided += u32::from(!mixed);
            } else {
                *word = all_words[index].load(Ordering::Acquire);
            }
        }
        for ((leaf, word), destination) in leaves.iter_mut().zip(&words).zip(to) {
            leaf.0 = self.leaf(*word, destination >> 8);
        }
        // A loop of its own: it compares many at a time.
        if leaves.iter().fold(0, |largest, leaf| leaf.0.max(largest)) >= FIRST_TAIL {
            let deeper = (0..)
                .zip(leaves.iter())
                .fold(0, |deeper, (lane, leaf)| deeper | u32::from(leaf.0 >= FIRST_TAIL) << lane);
            self.burst_tails(deeper, &words, to, leaves);
        }
        decided
    }

    /// Those of a burst that have a tail: bit i of `deeper` is set for destination i. Without a branch that depends on
    /// one of them, so that their look-ups overlap.
    #[inline(always)]
    fn burst_tails(&self, mut deeper: u32, words: &[u64; BURST], to: &[u32; BURST], leaves: &mut [EntryId; BURST]) {
        while deeper != 0 {
            let lane = deeper.trailing_zeros() as usize % BURST;
            deeper &= deeper - 1;
            leaves[lane].0 = self.lookup_tail(words[lane], leaves[lane].0, to[lane]);
        }
    }
}
