//! Comparisons of several words at once, by SSE2: every x86-64 has it.

use std::arch::x86_64::{
    _mm_cmpeq_epi32, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32, _mm_set_epi32, _mm_set1_epi32,
    _mm_setzero_si128,
};

/// Which of these words are equal to `word`: bit n for the word n.
#[inline(always)]
pub fn equal(words: &[u32; 8], word: u32) -> u32 {
    // SAFETY: every x86-64 has SSE2.
    unsafe { equal_sse2(words, word) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn equal_sse2(words: &[u32; 8], word: u32) -> u32 {
    let [a, b, c, d, e, f, g, h] = words.map(u32::cast_signed);
    let word = _mm_set1_epi32(word.cast_signed());
    let lower = _mm_cmpeq_epi32(_mm_set_epi32(d, c, b, a), word);
    let upper = _mm_cmpeq_epi32(_mm_set_epi32(h, g, f, e), word);
    // All ones or zeros, narrowed from 32 bits to 16 and to 8, of which one each is gathered.
    let narrow = _mm_packs_epi16(_mm_packs_epi32(lower, upper), _mm_setzero_si128());
    _mm_movemask_epi8(narrow).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equal_words_are_found_where_they_are(words: [u8; 8], word: u8) {
            // Of words that differ in one byte or another.
            let words = words.map(|byte| u32::from(byte % 4) << (byte % 3 * 12));
            let word = u32::from(word % 4) << (word % 3 * 12);
            let expected = (0..8).filter(|at| words[*at] == word).fold(0, |mask, at| mask | 1 << at);
            prop_assert_eq!(super::equal(&words, word), expected);
        }
    }
}
