//! The look-up, in the forms that processors have: all destinations of a burst go down together, five bits a step, so
//! that their misses overlap. Nothing branches on a single destination: one that has come to its leaf stays where it is
//! until all have.

use std::hint::select_unpredictable;

use super::word::LEADS_ON;
use super::{DIGIT, Lpm6, ROOT_BITS};
use crate::arch::Simd;
use crate::fib::next_hop::EntryId;
use crate::fib::stretch::leaf_index;
use crate::fib::sync::Ordering;

/// Destinations of a burst.
pub const BURST: usize = 32;
/// So many of them go down together where registers hold one each: more than that, and they spill.
const GROUP: usize = 16;
/// How far the upper 64 bits of an address are moved right for its first digit below the root ...
pub const FIRST_SHIFT: u32 = 64 - ROOT_BITS - DIGIT;
/// ... and for the one that ends at /48. Few prefixes are longer, and the few destinations that need more steps take them
/// on their own.
pub const LAST_SHIFT: u32 = 16;
/// The depth of the nodes below.
const DEEP: u32 = 64 - LAST_SHIFT;

/// Burst by burst, the rest of one filled up with zeros. Both slices have the same length.
#[inline(always)]
fn in_bursts(
    destinations: &[[u8; 16]],
    leaves: &mut [EntryId],
    burst: impl Fn(&[[u8; 16]; BURST], &mut [EntryId; BURST]),
) {
    let (bursts, rest) = destinations.as_chunks::<BURST>();
    let (burst_leaves, rest_leaves) = leaves.as_chunks_mut::<BURST>();
    for (destinations, leaves) in bursts.iter().zip(burst_leaves) {
        burst(destinations, leaves);
    }
    if !rest.is_empty() {
        let (mut all, mut all_leaves) = ([[0; 16]; BURST], [EntryId::NO_ROUTE; BURST]);
        all.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        burst(&all, &mut all_leaves);
        rest_leaves.iter_mut().zip(all_leaves).for_each(|(to, from)| *to = from);
    }
}

impl Lpm6 {
    /// Looks up every destination in the best form there is. Both slices have the same length.
    #[inline(always)]
    pub(super) fn lookup_by_form(&self, destinations: &[[u8; 16]], leaves: &mut [EntryId]) {
        match self.simd {
            Simd::Baseline => self.lookup_baseline(destinations, leaves),
            // SAFETY: `simd` is not better than what was detected when the table was made, so the processor has these.
            Simd::Avx2 => unsafe { self.lookup_avx2(destinations, leaves) },
            // SAFETY: as above.
            Simd::Avx512 => unsafe { self.lookup_avx512(destinations, leaves) },
        }
    }

    #[inline(never)]
    fn lookup_baseline(&self, destinations: &[[u8; 16]], leaves: &mut [EntryId]) {
        in_bursts(destinations, leaves, |to, leaves| self.burst_scalar(to, leaves));
    }

    /// The same with the instructions of x86-64-v3.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn lookup_avx2(&self, destinations: &[[u8; 16]], leaves: &mut [EntryId]) {
        in_bursts(destinations, leaves, |to, leaves| self.burst_scalar(to, leaves));
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
    fn lookup_avx512(&self, destinations: &[[u8; 16]], leaves: &mut [EntryId]) {
        in_bursts(destinations, leaves, |to, leaves| self.burst_avx512(to, leaves));
    }

    /// One destination.
    pub(super) fn lookup_one(&self, destination: u128) -> EntryId {
        let mut word = self.root((destination >> 64) as u64);
        let mut depth = ROOT_BITS;
        while word & LEADS_ON != 0 {
            word = self.word(leaf_index(word, digit(destination, depth)));
            depth += DIGIT;
        }
        self.leaf(leaf_index(word, digit(destination, depth)))
    }

    /// The leaf of all addresses that begin with these 64 bits, where they have just one.
    #[inline(always)]
    pub(super) fn lookup_upper(&self, upper: u64) -> Option<EntryId> {
        let mut word = self.root(upper);
        let mut shift = FIRST_SHIFT;
        while word & LEADS_ON != 0 {
            word = self.word(leaf_index(word, (upper >> shift) as u32));
            shift = shift.checked_sub(DIGIT)?;
        }
        Some(self.leaf(leaf_index(word, (upper >> shift) as u32)))
    }

    #[inline(always)]
    fn burst_scalar(&self, to: &[[u8; 16]; BURST], leaves: &mut [EntryId; BURST]) {
        let (to, _) = to.as_chunks::<GROUP>();
        let (leaves, _) = leaves.as_chunks_mut::<GROUP>();
        // No closure: it would not be compiled for the instructions of the function that this is inlined into.
        for (to, leaves) in to.iter().zip(leaves) {
            self.lookup_group(to, leaves);
        }
    }

    #[inline(always)]
    fn lookup_group(&self, to: &[[u8; 16]; GROUP], leaves: &mut [EntryId; GROUP]) {
        let uppers = to.map(|to| (u128::from_be_bytes(to) >> 64) as u64);
        let [first, ..] = uppers;
        if uppers.iter().fold(0, |all, upper| all | (upper ^ first)) == 0
            && let Some(leaf) = self.lookup_upper(first)
        {
            *leaves = [leaf; GROUP];
            return;
        }
        let mut words = uppers.map(|upper| self.root(upper));
        let mut shift = FIRST_SHIFT;
        let mut deep = 0;
        while words.iter().fold(0, |all, word| all | word) & LEADS_ON != 0 {
            if shift < LAST_SHIFT {
                for (lane, word) in words.iter().enumerate() {
                    deep |= ((*word & LEADS_ON) as u32) << lane;
                }
                break;
            }
            for (word, upper) in words.iter_mut().zip(&uppers) {
                let index = leaf_index(*word, (upper >> shift) as u32);
                let leads_on = *word & LEADS_ON != 0;
                // One that has come to its leaf loads the first word, which is always near, and keeps the leaf's index.
                let loaded = self.word(select_unpredictable(leads_on, index, 0));
                *word = select_unpredictable(leads_on, loaded, u64::from(index) << 32);
            }
            shift -= DIGIT;
        }
        if deep != 0 {
            let mut words = words;
            self.lookup_deep(deep, &mut words, to, leaves);
        }
        for (lane, ((leaf, word), upper)) in leaves.iter_mut().zip(&words).zip(&uppers).enumerate() {
            if deep >> lane & 1 == 0 {
                *leaf = self.leaf(leaf_index(*word, (upper >> shift) as u32));
            }
        }
    }

    /// Those for which 48 bits do not decide, again step by step for all of them: bit i of `deep` is set for destination
    /// i, whose word leads on.
    #[inline(always)]
    pub(super) fn lookup_deep(&self, mut deep: u32, words: &mut [u64], to: &[[u8; 16]], leaves: &mut [EntryId]) {
        let mut depth = DEEP;
        while deep != 0 {
            let mut rest = deep;
            while rest != 0 {
                let lane = rest.trailing_zeros();
                rest &= rest - 1;
                let at = lane as usize;
                let (Some(word), Some(to), Some(leaf)) = (words.get_mut(at), to.get(at), leaves.get_mut(at)) else {
                    return;
                };
                let to = u128::from_be_bytes(*to);
                *word = self.word(leaf_index(*word, digit(to, depth)));
                if *word & LEADS_ON == 0 {
                    *leaf = self.leaf(leaf_index(*word, digit(to, depth + DIGIT)));
                    deep &= !(1 << lane);
                }
            }
            depth += DIGIT;
        }
    }

    /// The word of the root for the upper 64 bits of an address.
    #[inline(always)]
    fn root(&self, upper: u64) -> u64 {
        self.word((upper >> (64 - ROOT_BITS)) as u32)
    }

    /// A word: one of the root, or one that another word of this table leads to. Acquire: what it leads to was written
    /// before it.
    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        debug_assert!((index as usize) < self.words.len());
        // SAFETY: whenever a word was loaded, as many words as it counts from its base on were within the arena: the
        // writer stores no other word that leads on, and the arena neither moves nor shrinks. So was the root.
        unsafe { self.words.get_unchecked(index as usize) }.load(Ordering::Acquire)
    }

    /// A leaf that a word of this table leads to.
    #[inline(always)]
    fn leaf(&self, index: u32) -> EntryId {
        debug_assert!((index as usize) < self.leaves.len());
        // SAFETY: as above, for words that do not lead on, and leaves.
        EntryId(unsafe { self.leaves.get_unchecked(index as usize) }.load(Ordering::Relaxed))
    }
}

/// The digit of an address at a depth, in the low five bits. At the full depth, where nothing leads on, any.
#[inline(always)]
fn digit(address: u128, depth: u32) -> u32 {
    address.checked_shr((128 - DIGIT).wrapping_sub(depth)).unwrap_or(0) as u32
}
