//! Which of the four places of a set may hold what is looked for: a few bits of each place's key, side by side in one word.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

/// Places in a set.
pub(super) const WAYS: usize = 4;

const BITS: u32 = 16;
const LOWEST: u64 = 0x0001_0001_0001_0001;
const HIGHEST: u64 = LOWEST << (BITS - 1);

/// What a place is marked with. Many keys have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u16);

impl Tag {
    /// Made of the bits of a flow's hash that few sets are told by.
    #[inline(always)]
    pub(super) fn of_flow(hash: u32) -> Tag {
        Tag::of((hash >> 16).into())
    }

    /// Made of the lowest bits; no place that holds something is marked with a 0.
    #[inline(always)]
    pub(super) fn of(bits: u64) -> Tag {
        Tag(bits as u16 | 1)
    }
}

/// The marks of a set: 0 where a place is vacant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tags(u64);

impl Tags {
    /// The places that are marked so, and seldom one more.
    #[inline(always)]
    pub(super) fn with(self, tag: Tag) -> Places {
        let differing = self.0 ^ (u64::from(tag.0) * LOWEST);
        // What borrows is a 0, or lies behind one.
        Places(differing.wrapping_sub(LOWEST) & !differing & HIGHEST)
    }

    /// Whether a place is vacant.
    pub(super) fn is_vacant(self, way: usize) -> bool {
        (self.0 >> (BITS as usize * way)) as u16 == 0
    }

    /// Marks a place.
    pub(super) fn mark(&mut self, way: usize, tag: Tag) {
        let shift = BITS as usize * way;
        self.0 = self.0 & !(u64::from(u16::MAX) << shift) | u64::from(tag.0) << shift;
    }
}

/// Some of the places, in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places(u64);

impl Iterator for Places {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let way = self.0.trailing_zeros() / BITS;
        self.0 &= self.0.wrapping_sub(1);
        (way < WAYS as u32).then_some(way as usize)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_marked_is_found(marks in prop::array::uniform4(prop::option::of(0u64..6)), looked_for in 0u64..6) {
            let mut tags = Tags::default();
            for (way, bits) in marks.into_iter().enumerate() {
                prop_assert!(tags.is_vacant(way));
                if let Some(bits) = bits {
                    // Once as something else.
                    tags.mark(way, Tag::of(0xffff));
                    tags.mark(way, Tag::of(bits << 14));
                    prop_assert!(!tags.is_vacant(way));
                }
            }
            let tag = Tag::of(looked_for << 14);
            let found: Vec<usize> = tags.with(tag).collect();
            let marked: Vec<usize> = (0..WAYS).filter(|way| marks[*way].map(|bits| Tag::of(bits << 14)) == Some(tag)).collect();
            prop_assert!(marked.iter().all(|way| found.contains(way)), "{found:?}");
            prop_assert_eq!(found.first(), marked.first(), "the first one is never wrong");
            prop_assert!(found.is_sorted());
        }
    }
}
