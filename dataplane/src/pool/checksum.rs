//! The Internet checksum (RFC 1071) in the one form pooling needs: computed while a packet is copied.
//!
//! Partial sums are ones' complement sums of big-endian 16-bit words, kept in a u64 so that they can be added up without
//! looking at carries.

/// Copies `source` to `destination`, which has the same length, and returns the sum of its words, at most 0xffff. An
/// odd last byte counts as a word with a zero behind it.
#[inline]
pub(super) fn copy_and_sum(source: &[u8], destination: &mut [u8]) -> u64 {
    // Summed as the machine reads it: byte order commutes with the ones' complement sum (RFC 1071, section 2 (B)).
    let mut sum = 0u64;
    let mut from = source.chunks_exact(8);
    let mut to = destination.chunks_exact_mut(8);
    for (from, to) in from.by_ref().zip(to.by_ref()) {
        to.copy_from_slice(from);
        let word = from.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        sum += (word >> 32) + (word & 0xffff_ffff);
    }
    let mut last = [0u8; 8];
    for ((from, to), last) in from.remainder().iter().zip(to.into_remainder()).zip(&mut last) {
        *to = *from;
        *last = *from;
    }
    let word = u64::from_ne_bytes(last);
    sum += (word >> 32) + (word & 0xffff_ffff);
    u64::from(u16::from_be_bytes(fold(sum).to_ne_bytes()))
}

/// The 16-bit ones' complement sum that `sum` stands for. Zero only for zero.
#[inline(always)]
pub(super) fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

/// The partial sum of bytes that start at an odd offset, made from the sum of the same bytes at an even one (RFC 1071,
/// section 2 (B)).
#[inline(always)]
pub(super) fn at_odd_offset(sum: u64) -> u64 {
    u64::from(fold(sum).swap_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn word_by_word(bytes: &[u8]) -> u64 {
        bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum()
    }

    #[test]
    fn the_example_of_rfc_1071_sums_up_as_printed_there() {
        let mut copy = [0; 8];
        let sum = copy_and_sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], &mut copy);
        assert_eq!(sum, 0xddf2);
    }

    proptest! {
        #[test]
        fn the_copy_is_the_same_and_the_sum_that_of_its_words(bytes in proptest::collection::vec(any::<u8>(), 0..1600)) {
            let mut copy = vec![0xaa; bytes.len()];
            let sum = copy_and_sum(&bytes, &mut copy);
            prop_assert_eq!(fold(sum), fold(word_by_word(&bytes)));
            prop_assert_eq!(copy, bytes);
        }

        #[test]
        fn parts_at_any_offset_add_up_to_the_whole(bytes in proptest::collection::vec(any::<u8>(), 1..200), cut in 0usize..200) {
            let cut = cut % bytes.len();
            let (head, tail) = bytes.split_at(cut);
            let tail_sum = copy_and_sum(tail, &mut vec![0; tail.len()]);
            let tail_sum = if cut % 2 == 1 { at_odd_offset(tail_sum) } else { tail_sum };
            let sum = copy_and_sum(head, &mut vec![0; head.len()]) + tail_sum;
            prop_assert_eq!(fold(sum), fold(word_by_word(&bytes)));
        }
    }
}
