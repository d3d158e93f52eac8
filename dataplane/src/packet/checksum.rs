//! The Internet checksum (RFC 1071): sums over slices, sums joined at odd lengths, incremental update (RFC 1624).
//!
//! A [`Sum`] is not yet a checksum: it can still be added to. What goes on the wire is its complement. A [`Total`] is not
//! yet a sum.

use super::copy::copy;
use crate::arch::sum_words;

/// Whether the checksum of an IPv4 header without options is right: its first 16 bytes as little-endian words, and the last
/// four. Its first byte must not be 0.
///
/// Its words of 16 bits add up to a multiple of 0xffff then, and so do words of 64 bits, with their carries. A number is a
/// multiple of an odd one exactly where its product with the inverse of that one, modulo 2^64, is no more than the largest
/// quotient there is (Granlund and Montgomery, Division by Invariant Integers using Multiplication, 1994, section 9).
#[inline(always)]
pub const fn is_header_valid(a: u64, b: u64, c: u32) -> bool {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(c as u64 + first as u64);
    // No third carry: a sum that overflowed is far from its largest.
    is_zero(sum + second as u64)
}

/// Whether words of 16 bits are zero in ones' complement that come to this in 64 bits: a multiple of 0xffff.
#[inline(always)]
const fn is_zero(sum: u64) -> bool {
    const DIVISOR: u64 = 0xffff;
    const INVERSE: u64 = 0xfffe_fffe_fffe_ffff;
    const _: () = assert!(DIVISOR.wrapping_mul(INVERSE) == 1);
    sum.wrapping_mul(INVERSE) <= u64::MAX / DIVISOR
}

/// A ones' complement sum of big-endian 16-bit words, folded to 16 bits, not complemented.
///
/// 0x0000 and 0xffff both stand for zero; only the sum of nothing but zero words is 0x0000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u16);

impl Sum {
    /// The sum of no words.
    pub const ZERO: Sum = Sum(0);

    /// The sum of `bytes` as big-endian words; an odd last byte is padded with a zero behind it (RFC 1071 section 1).
    #[inline]
    pub fn of(bytes: &[u8]) -> Sum {
        let mut total = Total::default();
        total.add_bytes(bytes);
        total.sum()
    }

    /// The sum of an IPv4 header without options: its first 16 bytes as little-endian words, and the last four.
    #[inline(always)]
    pub const fn of_header(a: u64, b: u64, c: u32) -> Sum {
        let (sum, carry) = a.overflowing_add(b);
        // Three words of 32 bits and two carries are far from 64 bits.
        Sum::from_little_endian((sum & 0xffff_ffff) + (sum >> 32) + carry as u64 + c as u64)
    }

    /// The same as [`Sum::of`], for what is usually longer than some 128 bytes, and never longer than 65,536.
    #[inline]
    pub fn of_long(bytes: &[u8]) -> Sum {
        Sum::from_little_endian(sum_words(bytes))
    }

    /// The sum of one word.
    #[inline]
    pub const fn of_word(word: u16) -> Sum {
        Sum(word)
    }

    /// The sum of words that were added up as integers.
    #[inline]
    pub const fn of_total(total: u32) -> Sum {
        let folded = (total & 0xffff) + (total >> 16);
        Sum(((folded & 0xffff) + (folded >> 16)) as u16)
    }

    /// The sum of both.
    #[inline]
    pub const fn add(self, other: Sum) -> Sum {
        let (sum, carry) = self.0.overflowing_add(other.0);
        // No second carry: a sum that overflowed is at most 0xfffe.
        Sum(sum + carry as u16)
    }

    /// The sum of this and one more word.
    #[inline]
    pub const fn add_word(self, word: u16) -> Sum {
        self.add(Sum(word))
    }

    /// The sum of `length` bytes, of which this is the sum, and behind them the bytes that `next` is the sum of.
    #[inline]
    pub const fn then(self, length: usize, next: Sum) -> Sum {
        // At an odd offset every byte changes its half of the word, which swaps the sum (RFC 1071 section 2 B).
        let next = if length.is_multiple_of(2) { next } else { Sum(next.0.swap_bytes()) };
        self.add(next)
    }

    /// The checksum: the complement. Over data that contains a correct checksum it is 0.
    #[inline]
    pub const fn checksum(self) -> u16 {
        !self.0
    }

    /// Whether data that contains its checksum is intact.
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.0 == 0xffff
    }

    /// The same as a little-endian word, as [`Total::add`] takes it.
    #[inline]
    pub const fn little_endian(self) -> u16 {
        self.0.swap_bytes()
    }

    #[inline]
    const fn from_little_endian(sum: u64) -> Sum {
        let (sum, carry) = (sum as u32).overflowing_add((sum >> 32) as u32);
        // No second carry: a sum that overflowed is at most 0xfffffffe.
        let sum = sum + carry as u32;
        // Both halves get the sum of both, the upper one with the carry of the lower.
        let sum = sum.wrapping_add(sum.rotate_left(16)) >> 16;
        Sum((sum as u16).swap_bytes())
    }
}

/// A sum of little-endian words that is not folded yet: for what is added up piece by piece.
///
/// A sum does not depend on the byte order it is computed in (RFC 1071 section 2 B), nor on the width of the words (2 C):
/// these are of 64 bits, and the result is swapped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Total {
    /// Modulo 2^64.
    sum: u64,
    /// How often that was passed: each time is one more (2 B).
    carries: u64,
}

impl Total {
    /// What a little-endian word comes to.
    #[inline(always)]
    pub const fn of(word: u64) -> Total {
        Total { sum: word, carries: 0 }
    }

    /// Adds bytes, with a zero behind an odd last one: what comes behind them begins another word.
    #[inline(always)]
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last_chunk::<16>() else { return self.add_few(bytes) };
        let mut rest = bytes;
        while rest.len() > 32
            && let Some((words, behind)) = rest.split_first_chunk::<32>()
        {
            words.as_chunks::<8>().0.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
            rest = behind;
        }
        if rest.len() > 16
            && let Some((words, behind)) = rest.split_first_chunk::<16>()
        {
            words.as_chunks::<8>().0.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
            rest = behind;
        }
        // The last sixteen bytes less those that are in a word already: one to sixteen are left.
        let last = u128::from_le_bytes(*last).wrapping_shr(128 - 8 * rest.len() as u32);
        self.add(last as u64);
        self.add((last >> 64) as u64);
    }

    /// The same for less than sixteen.
    #[inline(always)]
    fn add_few(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            self.add(match bytes.last_chunk() {
                // Likewise, of the last eight.
                Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
                None => word_of(rest),
            });
        }
    }

    /// Adds a little-endian word.
    #[inline(always)]
    pub const fn add(&mut self, word: u64) {
        let (sum, carry) = self.sum.overflowing_add(word);
        (self.sum, self.carries) = (sum, self.carries + carry as u64);
    }

    /// Adds what others came to.
    #[inline(always)]
    pub const fn add_sum(&mut self, sum: Sum) {
        self.add(sum.0.swap_bytes() as u64);
    }

    /// Whether data that contains its checksum, all of which was added, is intact. Not all of it is 0.
    #[inline(always)]
    pub const fn is_valid(self) -> bool {
        let (sum, carry) = self.sum.overflowing_add(self.carries);
        // No second carry: there were few, so a sum that overflowed is far from its largest.
        is_zero(sum + carry as u64)
    }

    /// The sum of all words.
    #[inline(always)]
    pub const fn sum(self) -> Sum {
        // In few more than 32 bits.
        Sum::from_little_endian((self.sum & 0xffff_ffff) + (self.sum >> 32) + self.carries)
    }
}

/// Less than eight bytes as a little-endian word, with zeros behind them.
#[inline]
fn word_of(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>(), bytes) {
        // Two words that overlap: the upper one less what is in the lower.
        (Some(first), Some(last), _) => {
            let upper = u64::from(u32::from_le_bytes(*last)) >> (64 - 8 * bytes.len());
            u64::from(u32::from_le_bytes(*first)) | upper << 32
        }
        (.., &[a, b, c]) => u64::from(u32::from_le_bytes([a, b, c, 0])),
        (.., &[a, b]) => u64::from(u16::from_le_bytes([a, b])),
        (.., &[a]) => u64::from(a),
        _ => 0,
    }
}

/// Copies `source` to `target` and returns the sum of what was copied: as many bytes as the shorter of the two has.
#[inline]
pub fn copy_and_sum(source: &[u8], target: &mut [u8]) -> Sum {
    let length = source.len().min(target.len());
    let (Some(source), Some(target)) = (source.get(..length), target.get_mut(..length)) else { return Sum::ZERO };
    copy(source, target);
    Sum::of(source)
}

/// The checksum of data in which the word `old` became `new`: RFC 1624 section 3, equation 3.
///
/// Equation 3 and not the shorter ones: it never turns a checksum of 0x0000 into 0xffff, which IPv4 does not use.
#[inline]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    update_sum(checksum, Sum(old), Sum(new))
}

/// The checksum of data in which words with the sum `old` became words with the sum `new`: the same equation for
/// several words at once.
#[inline]
pub const fn update_sum(checksum: u16, old: Sum, new: Sum) -> u16 {
    Sum(!checksum).add(Sum(!old.0)).add(new).checksum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, word by word.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            if sum > 0xffff {
                sum -= 0xffff;
            }
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071_has_the_sum_it_gives() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&bytes), Sum(0xddf2));
        assert_eq!(Sum::of(&bytes).checksum(), 0x220d);
    }

    #[test]
    fn the_example_of_rfc_1624_has_the_checksum_it_gives() {
        // Section 4: HC 0xdd2f, 0x5555 becomes 0x3285: equation 3 gives 0x0000 where equation 2 gave 0xffff.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn long_runs_of_ones_do_not_overflow() {
        let bytes = vec![0xff; 65_535];
        assert_eq!(Sum::of(&bytes), Sum(reference(&bytes)));
        assert_eq!(Sum::of_long(&bytes), Sum(reference(&bytes)));
    }

    /// Any, and those at the edges, where there are carries.
    fn word() -> impl Strategy<Value = u64> {
        prop_oneof![any::<u64>(), (0..4u64).prop_map(|below| u64::MAX - below), 0..4u64]
    }

    proptest! {
        #[test]
        fn a_header_is_valid_where_its_sum_is(a in word(), b in word(), c: u32, seal: bool) {
            let a = a | 0x45;
            let mut b = b;
            if seal {
                let without = Sum::of_header(a, b & !0xffff_0000, c);
                b = b & !0xffff_0000 | u64::from(without.checksum().swap_bytes()) << 16;
            }
            prop_assert_eq!(is_header_valid(a, b, c), Sum::of_header(a, b, c).is_valid());
            prop_assert!(!seal || is_header_valid(a, b, c));
        }
    }

    proptest! {
        #[test]
        fn a_total_is_valid_where_its_sum_is(words in prop::collection::vec(word(), 0..9), last in 1u64.., seal: bool) {
            let mut total = Total::of(last);
            words.iter().for_each(|word| total.add(*word));
            if seal {
                total.add(total.sum().checksum().swap_bytes().into());
            }
            prop_assert_eq!(total.is_valid(), total.sum().is_valid());
            prop_assert!(!seal || total.is_valid());
        }
    }

    proptest! {
        #[test]
        fn the_sum_is_the_one_of_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Sum::of(&bytes), Sum(reference(&bytes)));
            prop_assert_eq!(Sum::of_long(&bytes), Sum(reference(&bytes)));
        }

        #[test]
        fn sums_join_at_any_offset(bytes in prop::collection::vec(any::<u8>(), 0..100), cut in 0usize..100) {
            let cut = cut.min(bytes.len());
            let joined = Sum::of(&bytes[..cut]).then(cut, Sum::of(&bytes[cut..]));
            prop_assert_eq!(joined, Sum::of(&bytes));
        }

        #[test]
        fn copying_copies_and_sums(bytes in prop::collection::vec(any::<u8>(), 0..200), room in 0usize..200) {
            let mut target = vec![0xaa; room];
            let copied = room.min(bytes.len());
            let sum = copy_and_sum(&bytes, &mut target);
            prop_assert_eq!(&target[..copied], &bytes[..copied]);
            prop_assert!(target[copied..].iter().all(|&byte| byte == 0xaa), "wrote beyond the source");
            prop_assert_eq!(sum, Sum::of(&bytes[..copied]));
        }

        #[test]
        fn an_update_equals_a_new_computation(
            mut bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0u8), Just(0xff)], 8..40),
            new in prop_oneof![any::<u16>(), Just(0u16), Just(0xffff)],
        ) {
            bytes[0] |= 0x40; // like an IP header, never all zeros
            let old = u16::from_be_bytes([bytes[2], bytes[3]]);
            let before = Sum::of(&bytes).checksum();
            bytes[2..4].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update(before, old, new), Sum::of(&bytes).checksum());
        }
    }
}
