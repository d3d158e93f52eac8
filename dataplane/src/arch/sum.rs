//! Adding up long runs of words, by the widest vectors that the processor has.

use std::arch::x86_64::*;

/// The sum of the little-endian words of 16 bits in `bytes`, with a zero behind an odd last one. There must not be more than
/// 65,536 of them, as in any IP packet: what they come to would overflow.
///
/// Worth its call from some 128 bytes on. There is no form for vectors of 512 bits: a processor may slow down for some time
/// where it multiplies those.
#[inline]
pub fn sum_words(bytes: &[u8]) -> u64 {
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function was compiled for.
        unsafe { sum_avx2(bytes) }
    } else {
        // SAFETY: every x86-64 has SSE2.
        unsafe { sum_sse2(bytes) }
    }
}

/// Words are added up in pairs by the one instruction that makes lanes of 32 bits of words of 16: it multiplies signed ones,
/// here by 1. What makes them signed takes [`TAKEN_OFF`] off each.
#[target_feature(enable = "avx2")]
fn sum_avx2(bytes: &[u8]) -> u64 {
    let (sign, one) = (_mm256_set1_epi16(i16::MIN), _mm256_set1_epi16(1));
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut total = _mm256_setzero_si256();
    for block in blocks {
        // SAFETY: 32 bytes are loaded from as many; no alignment is needed.
        let words = unsafe { _mm256_loadu_si256(block.as_ptr().cast()) };
        total = _mm256_add_epi32(total, _mm256_madd_epi16(_mm256_xor_si256(words, sign), one));
    }
    let total = _mm_add_epi32(_mm256_castsi256_si128(total), _mm256_extracti128_si256::<1>(total));
    sum_rest(total, 16 * blocks.len(), rest, bytes)
}

/// The same with vectors of half the length.
#[target_feature(enable = "sse2")]
fn sum_sse2(bytes: &[u8]) -> u64 {
    sum_rest(_mm_setzero_si128(), 0, bytes, bytes)
}

/// What signed words are less than unsigned ones of which the highest bit was turned over.
const TAKEN_OFF: i64 = 0x8000;

/// The sum of `bytes`, of which so many `words` are in the lanes of `total` and the others are `rest`.
#[target_feature(enable = "sse2")]
#[inline]
fn sum_rest(mut total: __m128i, mut words: usize, rest: &[u8], bytes: &[u8]) -> u64 {
    let (blocks, few) = rest.as_chunks::<16>();
    for block in blocks {
        // SAFETY: 16 bytes are loaded from as many; no alignment is needed.
        total = _mm_add_epi32(total, pairs_of(unsafe { _mm_loadu_si128(block.as_ptr().cast()) }));
    }
    words += 8 * blocks.len();
    let last = match bytes.last_chunk::<16>() {
        // The last sixteen bytes less those that are in the total.
        Some(last) => u128::from_le_bytes(*last).checked_shr(128 - 8 * few.len() as u32).unwrap_or(0),
        None => few.iter().rev().fold(0, |word, byte| word << 8 | u128::from(*byte)),
    };
    total = _mm_add_epi32(total, pairs_of(_mm_set_epi64x((last >> 64) as i64, last as i64)));
    words += 8;
    let halves = _mm_add_epi32(total, _mm_unpackhi_epi64(total, total));
    let sum = _mm_cvtsi128_si32(_mm_add_epi32(halves, _mm_shuffle_epi32::<1>(halves)));
    (i64::from(sum) + TAKEN_OFF * words as i64).cast_unsigned()
}

/// Sums of two words each, which were taken [`TAKEN_OFF`] less than they are.
#[target_feature(enable = "sse2")]
#[inline]
fn pairs_of(words: __m128i) -> __m128i {
    _mm_madd_epi16(_mm_xor_si128(words, _mm_set1_epi16(i16::MIN)), _mm_set1_epi16(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition.
    fn reference(bytes: &[u8]) -> u64 {
        bytes.chunks(2).map(|pair| u64::from(pair[0]) + 256 * u64::from(*pair.get(1).unwrap_or(&0))).sum()
    }

    /// The most bytes that are added up.
    const LONGEST: usize = 1 << 16;

    /// Any, and those that make the largest sums there are.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..400),
            (prop_oneof![Just(0), Just(0x7f), Just(0x80), Just(0xff)], 0..=LONGEST)
                .prop_map(|(byte, length)| vec![byte; length]),
        ]
    }

    proptest! {
        #[test]
        fn every_form_adds_up_the_same(bytes in bytes()) {
            let expected = reference(&bytes);
            prop_assert_eq!(sum_words(&bytes), expected);
            // SAFETY: every x86-64 has SSE2.
            prop_assert_eq!(unsafe { sum_sse2(&bytes) }, expected);
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has it.
                prop_assert_eq!(unsafe { sum_avx2(&bytes) }, expected);
            }
        }
    }
}
