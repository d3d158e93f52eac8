//! The look-up with AVX-512: eight destinations to a vector of words, whose leaves are gathered by one instruction each.
//!
//! A gather is no atomic operation in Rust's terms. On x86 each of its elements is loaded on its own, those that are
//! aligned as a whole (all words here), and its loads obey the same order as others ("Memory ordering with other
//! instructions follows the Intel-64 memory-ordering model", Intel SDM volume 2, VPGATHERDQ): each is an acquiring load.

use std::arch::x86_64::*;

use super::lookup::BURST;
use super::{Lpm4, MIXED, TAIL};
use crate::fib::next_hop::EntryId;
use crate::fib::stretch::FIRST_TAIL;

/// Destinations to a vector.
const LANES: usize = 8;

impl Lpm4 {
    /// Returns how many the summary decided.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
    pub(super) fn burst_avx512<const SUMMARY: bool>(&self, to: &[u32; BURST], leaves: &mut [EntryId; BURST]) -> u32 {
        let mut words = [_mm512_setzero_si512(); BURST / LANES];
        let mut decided = 0;
        let (to_chunks, _) = to.as_chunks::<LANES>();
        for (word, to) in words.iter_mut().zip(to_chunks) {
            // SAFETY: `to` is eight 32-bit integers; the load needs no alignment.
            let to = unsafe { _mm256_loadu_si256(to.as_ptr().cast()) };
            let index = _mm256_srli_epi32::<13>(to);
            if SUMMARY {
                let half = _mm256_srli_epi32::<16>(to);
                // SAFETY: every index is below 65,536, the length of the summary; four bytes are loaded for each two, and
                // two more can be read behind the last item of an arena.
                let leaf = unsafe { _mm256_i32gather_epi32::<2>(self.summary.as_ptr().cast(), half) };
                let leaf = _mm256_and_si256(leaf, _mm256_set1_epi32(0xffff));
                let mixed = _mm256_cmpeq_epi32_mask(leaf, _mm256_set1_epi32(i32::from(MIXED)));
                decided += mixed.count_zeros();
                let uniform = _mm512_slli_epi64::<32>(_mm512_cvtepu32_epi64(leaf));
                // SAFETY: every index is below 2^19, the number of words.
                *word = unsafe { _mm512_mask_i32gather_epi64::<8>(uniform, mixed, index, self.words.as_ptr().cast()) };
            } else {
                // SAFETY: every index is below 2^19, the number of words.
                *word = unsafe { _mm512_i32gather_epi64::<8>(index, self.words.as_ptr().cast()) };
            }
        }
        let mut deeper = 0;
        let mut vectors = [_mm256_setzero_si256(); BURST / LANES];
        let (leaf_chunks, _) = leaves.as_chunks_mut::<LANES>();
        for (((word, to), leaf), stored) in words.iter().zip(to_chunks).zip(&mut vectors).zip(leaf_chunks) {
            // SAFETY: as above.
            let to = unsafe { _mm256_loadu_si256(to.as_ptr().cast()) };
            let index = leaf_indexes(*word, _mm256_srli_epi32::<8>(to));
            // SAFETY: a word's base and runs lie within the leaves that its block, or the identity, has; four bytes are
            // loaded for each two, and two more can be read behind the last item of an arena.
            *leaf = unsafe { _mm512_i64gather_epi32::<2>(index, self.leaves.as_ptr().cast()) };
            let narrow = _mm256_cvtepi32_epi16(*leaf);
            deeper |= _mm_cmpge_epu16_mask(narrow, _mm_set1_epi16(FIRST_TAIL as i16));
            // SAFETY: `stored` is eight 16-bit integers (EntryId is transparent); the store needs no alignment.
            unsafe { _mm_storeu_si128(stored.as_mut_ptr().cast(), narrow) };
        }
        if deeper != 0 {
            self.tails_avx512(&words, &vectors, to, leaves);
        }
        decided
    }

    /// Those of a burst that have a tail. All lanes take part, the others with their loads masked out: how many there are
    /// is known late, after two cache misses, and a branch on it would keep the next burst waiting for them.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
    fn tails_avx512(
        &self,
        words: &[__m512i; BURST / LANES],
        vectors: &[__m256i; BURST / LANES],
        to: &[u32; BURST],
        leaves: &mut [EntryId; BURST],
    ) {
        let (to_chunks, _) = to.as_chunks::<LANES>();
        let (leaf_chunks, _) = leaves.as_chunks_mut::<LANES>();
        for (((word, to), leaf), stored) in words.iter().zip(to_chunks).zip(vectors).zip(leaf_chunks) {
            // SAFETY: `to` is eight 32-bit integers; the load needs no alignment.
            let to = unsafe { _mm256_loadu_si256(to.as_ptr().cast()) };
            let leaf = _mm256_and_si256(*leaf, _mm256_set1_epi32(0xffff));
            let first = _mm256_set1_epi32(i32::from(FIRST_TAIL));
            let deeper = _mm256_cmpge_epu32_mask(leaf, first);
            let before = _mm256_slli_epi32::<1>(_mm256_add_epi32(_mm256_sub_epi32(leaf, first), _mm256_set1_epi32(1)));
            let index = _mm512_sub_epi64(_mm512_srli_epi64::<32>(*word), _mm512_cvtepu32_epi64(before));
            let zeros = _mm256_setzero_si256();
            // SAFETY: a tail's number stands in the two leaves at this index, within its block.
            let tail = unsafe { _mm512_mask_i64gather_epi32::<2>(zeros, deeper, index, self.leaves.as_ptr().cast()) };
            let part = _mm256_and_si256(_mm256_srli_epi32::<5>(to), _mm256_set1_epi32(TAIL as i32 - 1));
            let index = _mm256_or_si256(_mm256_slli_epi32::<3>(tail), part);
            let zeros = _mm512_setzero_si512();
            // SAFETY: a tail that a block leads to lies within the tails.
            let word = unsafe { _mm512_mask_i32gather_epi64::<8>(zeros, deeper, index, self.tails.as_ptr().cast()) };
            let index = leaf_indexes(word, to);
            // SAFETY: as for the leaves of the first 24 bits.
            let leaf = unsafe { _mm512_mask_i64gather_epi32::<2>(leaf, deeper, index, self.leaves.as_ptr().cast()) };
            let narrow = _mm256_cvtepi32_epi16(leaf);
            // SAFETY: `stored` is eight 16-bit integers; the store needs no alignment.
            unsafe { _mm_storeu_si128(stored.as_mut_ptr().cast(), narrow) };
        }
    }
}

/// The indexes of the leaves of slots, of whose numbers the low five bits count.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512vpopcntdq")]
fn leaf_indexes(word: __m512i, slot: __m256i) -> __m512i {
    // The runs up to the slot, moved to the top of 64 bits: base and later runs fall out.
    let later = _mm256_andnot_si256(slot, _mm256_set1_epi32(31));
    let shift = _mm512_add_epi64(_mm512_cvtepu32_epi64(later), _mm512_set1_epi64(32));
    let run = _mm512_popcnt_epi64(_mm512_sllv_epi64(word, shift));
    _mm512_add_epi64(_mm512_srli_epi64::<32>(word), run)
}
