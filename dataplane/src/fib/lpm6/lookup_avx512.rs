//! The look-up with AVX-512: eight destinations to a vector of words, whose next words are gathered by one instruction.
//!
//! A gather is no atomic operation in Rust's terms. On x86 each of its elements is loaded on its own, those that are
//! aligned as a whole (all words here), and its loads obey the same order as others ("Memory ordering with other
//! instructions follows the Intel-64 memory-ordering model", Intel SDM volume 2, VPGATHERDQ): each is an acquiring load.

use std::arch::x86_64::*;

use super::lookup::{BURST, FIRST_SHIFT, LAST_SHIFT};
use super::word::LEADS_ON;
use super::{DIGIT, Lpm6, ROOT_BITS};
use crate::fib::next_hop::EntryId;

/// Destinations to a vector.
const LANES: usize = 8;
/// Steps to /48.
const STEPS: u32 = (FIRST_SHIFT - LAST_SHIFT) / DIGIT + 1;

impl Lpm6 {
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
    pub(super) fn burst_avx512(&self, to: &[[u8; 16]; BURST], leaves: &mut [EntryId; BURST]) {
        let mut uppers = [_mm512_setzero_si512(); BURST / LANES];
        for (upper, to) in uppers.iter_mut().zip(to.as_chunks::<LANES>().0) {
            *upper = upper_halves(to);
        }
        let [a, b, c, d] = uppers;
        let first = _mm512_broadcastq_epi64(_mm512_castsi512_si128(a));
        let differs = |one, other| _mm512_or_si512(_mm512_xor_si512(one, first), _mm512_xor_si512(other, first));
        let differ = _mm512_or_si512(differs(a, b), differs(c, d));
        if _mm512_test_epi64_mask(differ, differ) == 0
            && let Some(leaf) = self.lookup_upper(_mm_cvtsi128_si64(_mm512_castsi512_si128(first)) as u64)
        {
            *leaves = [leaf; BURST];
            return;
        }
        let mut words = [_mm512_setzero_si512(); BURST / LANES];
        for (word, upper) in words.iter_mut().zip(uppers) {
            let index = _mm512_srli_epi64::<{ 64 - ROOT_BITS }>(upper);
            // SAFETY: every index is below 2^18, and there are more words.
            *word = unsafe { _mm512_i64gather_epi64::<8>(index, self.words.as_ptr().cast()) };
        }
        let leads_on = _mm512_set1_epi64(LEADS_ON as i64);
        // The next digit always stands at the bottom.
        let mut digits = uppers.map(|upper| _mm512_rol_epi64::<{ (ROOT_BITS + DIGIT) as i32 }>(upper));
        let mut steps = 0;
        loop {
            let [a, b, c, d] = words;
            let any = _mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(c, d));
            if _mm512_test_epi64_mask(any, leads_on) == 0 {
                break;
            }
            if steps == STEPS {
                break;
            }
            for (word, digits) in words.iter_mut().zip(&mut digits) {
                let index = item_index(*word, *digits);
                let mask = _mm512_test_epi64_mask(*word, leads_on);
                // One that has come to its leaf keeps the leaf's index.
                let stays = _mm512_slli_epi64::<32>(index);
                // SAFETY: a word that leads on has a block of words for all its runs; the other lanes are not loaded.
                *word = unsafe { _mm512_mask_i64gather_epi64::<8>(stays, mask, index, self.words.as_ptr().cast()) };
                *digits = _mm512_rol_epi64::<{ DIGIT as i32 }>(*digits);
            }
            steps += 1;
        }
        let mut deep = 0;
        for (lanes, ((word, digits), leaves)) in words.iter().zip(digits).zip(leaves.as_chunks_mut().0).enumerate() {
            let leaves: &mut [EntryId; LANES] = leaves;
            let index = item_index(*word, digits);
            let ends = _mm512_testn_epi64_mask(*word, leads_on);
            deep |= u32::from(!ends) << (lanes * LANES);
            let none = _mm256_setzero_si256();
            let all_leaves = self.leaves.as_ptr().cast();
            // SAFETY: the base and the runs of a word that does not lead on lie within the leaves that its block, or the
            // identity, has; four bytes are loaded for each two, and two more can be read behind the last item of an
            // arena. The other lanes are not loaded.
            let leaf = unsafe { _mm512_mask_i64gather_epi32::<2>(none, ends, index, all_leaves) };
            let leaf = _mm256_cvtepi32_epi16(leaf);
            // SAFETY: `leaves` is eight 16-bit integers (EntryId is transparent); the store needs no alignment.
            unsafe { _mm_storeu_si128(leaves.as_mut_ptr().cast(), leaf) };
        }
        if deep != 0 {
            self.lookup_deep(deep, &mut plain(&words), to, leaves);
        }
    }
}

/// The upper 64 bits of eight addresses in network byte order.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn upper_halves(to: &[[u8; 16]; LANES]) -> __m512i {
    let (halves, _) = to.as_chunks::<{ LANES / 2 }>();
    let mut vectors = [_mm512_setzero_si512(); 2];
    for (vector, half) in vectors.iter_mut().zip(halves) {
        // SAFETY: `half` is 64 bytes; the load needs no alignment.
        *vector = unsafe { _mm512_loadu_si512(half.as_ptr().cast()) };
    }
    let [low, high] = vectors;
    let upper = _mm512_permutex2var_epi64(low, _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0), high);
    let swapped = _mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    _mm512_shuffle_epi8(upper, _mm512_broadcast_i32x4(swapped))
}

/// The index of the item of a slot: the lowest five bits of `digits`.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
#[inline]
fn item_index(word: __m512i, digits: __m512i) -> __m512i {
    // 63 - slot moves the runs up to the slot to the top of 64 bits: base and later runs fall out.
    // One step of logic: (not digits and 31) or 32.
    const TABLE: i32 = (!0xf0 & 0xcc) | 0xaa;
    let later = _mm512_ternarylogic_epi64::<TABLE>(digits, _mm512_set1_epi64(31), _mm512_set1_epi64(32));
    let run = _mm512_popcnt_epi64(_mm512_sllv_epi64(word, later));
    _mm512_add_epi64(_mm512_srli_epi64::<32>(word), run)
}

/// The words one by one.
#[target_feature(enable = "avx512f")]
fn plain(words: &[__m512i; BURST / LANES]) -> [u64; BURST] {
    let mut plain = [0u64; BURST];
    for (chunk, word) in plain.as_chunks_mut::<LANES>().0.iter_mut().zip(words) {
        // SAFETY: `chunk` is eight 64-bit integers; the store needs no alignment.
        unsafe { _mm512_storeu_si512(chunk.as_mut_ptr().cast(), *word) };
    }
    plain
}
