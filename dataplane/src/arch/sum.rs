//! Adding up long runs of words, by the widest vectors that the processor has.

use std::arch::x86_64::*;

/// The sum of the little-endian 32-bit words in `blocks`, which are fewer than 2^27.
///
/// Worth its call from some 128 bytes on.
#[inline]
pub fn sum_words(blocks: &[[u8; 64]]) -> u64 {
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has what the function was compiled for.
        unsafe { sum_avx512(blocks) }
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: as above.
        unsafe { sum_avx2(blocks) }
    } else {
        // SAFETY: every x86-64 has SSE2.
        unsafe { sum_sse2(blocks) }
    }
}

/// Words of 32 bits are added up in lanes of 64: the upper one of each, and both as one number, modulo 2^64. What that is more
/// than the upper ones come to are the lower ones: fewer than 2^32 of either cannot overflow a lane.
#[target_feature(enable = "avx512f")]
fn sum_avx512(blocks: &[[u8; 64]]) -> u64 {
    let (mut both, mut upper) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for block in blocks {
        // SAFETY: 64 bytes are loaded from a block of 64; no alignment is needed.
        let words = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
        both = _mm512_add_epi64(both, words);
        upper = _mm512_add_epi64(upper, _mm512_srli_epi64::<32>(words));
    }
    let lower = _mm512_sub_epi64(both, _mm512_slli_epi64::<32>(upper));
    _mm512_reduce_add_epi64(_mm512_add_epi64(lower, upper)).cast_unsigned()
}

/// The same with vectors of half the length.
#[target_feature(enable = "avx2")]
fn sum_avx2(blocks: &[[u8; 64]]) -> u64 {
    let (mut both, mut upper) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    for half in blocks.as_flattened().as_chunks::<32>().0 {
        // SAFETY: 32 bytes are loaded from as many; no alignment is needed.
        let words = unsafe { _mm256_loadu_si256(half.as_ptr().cast()) };
        both = _mm256_add_epi64(both, words);
        upper = _mm256_add_epi64(upper, _mm256_srli_epi64::<32>(words));
    }
    let lower = _mm256_sub_epi64(both, _mm256_slli_epi64::<32>(upper));
    let total = _mm256_add_epi64(lower, upper);
    let total = _mm_add_epi64(_mm256_castsi256_si128(total), _mm256_extracti128_si256::<1>(total));
    (_mm_cvtsi128_si64(total) + _mm_extract_epi64::<1>(total)).cast_unsigned()
}

/// The same with those that every x86-64 has.
#[target_feature(enable = "sse2")]
fn sum_sse2(blocks: &[[u8; 64]]) -> u64 {
    let (mut both, mut upper) = (_mm_setzero_si128(), _mm_setzero_si128());
    for quarter in blocks.as_flattened().as_chunks::<16>().0 {
        // SAFETY: 16 bytes are loaded from as many; no alignment is needed.
        let words = unsafe { _mm_loadu_si128(quarter.as_ptr().cast()) };
        both = _mm_add_epi64(both, words);
        upper = _mm_add_epi64(upper, _mm_srli_epi64::<32>(words));
    }
    let lower = _mm_sub_epi64(both, _mm_slli_epi64::<32>(upper));
    let total = _mm_add_epi64(lower, upper);
    (_mm_cvtsi128_si64(total) + _mm_cvtsi128_si64(_mm_unpackhi_epi64(total, total))).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_form_adds_up_the_same(blocks in prop::collection::vec(any::<[u8; 32]>(), 0..40)) {
            let blocks: Vec<[u8; 64]> = blocks.iter().map(|half| std::array::from_fn(|at| half[at % 32])).collect();
            let words = blocks.iter().flat_map(|block| block.as_chunks::<4>().0);
            let expected: u64 = words.map(|word| u64::from(u32::from_le_bytes(*word))).sum();
            prop_assert_eq!(sum_words(&blocks), expected);
            // SAFETY: every x86-64 has SSE2.
            prop_assert_eq!(unsafe { sum_sse2(&blocks) }, expected);
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has it.
                prop_assert_eq!(unsafe { sum_avx2(&blocks) }, expected);
            }
        }
    }
}
