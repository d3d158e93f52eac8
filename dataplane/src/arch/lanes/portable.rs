//! Lanes as arrays, for any processor.

use std::array::from_fn;
use std::ops::{Add, BitAnd, BitOr, BitXor, Mul};

use super::{Form, LANES, Lanes, Table};

/// Words one by one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portable;

#[derive(Clone, Copy)]
pub(super) struct Words([u32; LANES]);

#[derive(Clone, Copy)]
pub(super) struct WideWords([u64; LANES]);

impl Words {
    #[inline(always)]
    fn map(self, change: impl Fn(u32) -> u32) -> Words {
        Words(self.0.map(change))
    }

    #[inline(always)]
    fn zip(self, other: Words, combine: impl Fn(u32, u32) -> u32) -> Words {
        Words(from_fn(|at| combine(self.0[at], other.0[at])))
    }

    #[inline(always)]
    fn mask(self, other: Words, holds: impl Fn(u32, u32) -> bool) -> Words {
        self.zip(other, |one, other| if holds(one, other) { u32::MAX } else { 0 })
    }
}

/// Operators by what they do to one word.
macro_rules! operators {
    ($($operator:ident $method:ident $one:expr),*) => {
        $(impl $operator for Words {
            type Output = Words;

            #[inline(always)]
            fn $method(self, other: Words) -> Words {
                self.zip(other, $one)
            }
        })*
    };
}

operators!(
    Add add u32::wrapping_add, Mul mul u32::wrapping_mul,
    BitAnd bitand BitAnd::bitand, BitOr bitor BitOr::bitor, BitXor bitxor BitXor::bitxor
);

impl Add for WideWords {
    type Output = WideWords;

    #[inline(always)]
    fn add(self, other: WideWords) -> WideWords {
        WideWords(from_fn(|at| self.0[at].wrapping_add(other.0[at])))
    }
}

impl Lanes for Words {
    type Wide = WideWords;

    #[inline(always)]
    fn shr<const BY: i32>(self) -> Words {
        self.map(|word| word >> BY)
    }

    #[inline(always)]
    fn shl<const BY: i32>(self) -> Words {
        self.map(|word| word << BY)
    }

    #[inline(always)]
    fn swap_bytes(self) -> Words {
        self.map(u32::swap_bytes)
    }

    #[inline(always)]
    fn is(self, other: Words) -> Words {
        self.mask(other, |one, other| one == other)
    }

    #[inline(always)]
    fn at_most(self, other: Words) -> Words {
        self.mask(other, |one, other| one <= other)
    }

    #[inline(always)]
    fn halves_within(self, first: Words, span: Words) -> Words {
        let within = |word: u32, first: u32, span: u32| (word as u16).wrapping_sub(first as u16) <= span as u16;
        let both = |word, first, span| within(word, first, span) && within(word >> 16, first >> 16, span >> 16);
        Words(from_fn(|at| if both(self.0[at], first.0[at], span.0[at]) { u32::MAX } else { 0 }))
    }

    #[inline(always)]
    fn choose(self, yes: Words, no: Words) -> Words {
        Words(from_fn(|at| if self.0[at] != 0 { yes.0[at] } else { no.0[at] }))
    }

    #[inline(always)]
    fn bits(self) -> u32 {
        self.0.iter().rev().fold(0, |bits, mask| bits << 1 | mask >> 31)
    }

    #[inline(always)]
    fn after(self, before: Words) -> Words {
        Words(from_fn(|at| if at == 0 { before.0[LANES - 1] } else { self.0[at - 1] }))
    }

    #[inline(always)]
    fn products(self, other: Words) -> WideWords {
        WideWords(from_fn(|at| u64::from(self.0[at]) * u64::from(other.0[at])))
    }

    #[inline(always)]
    fn halves(wide: WideWords) -> [Words; 2] {
        [Words(wide.0.map(|word| word as u32)), Words(wide.0.map(|word| (word >> 32) as u32))]
    }

    #[inline(always)]
    fn bytes_of(self, table: &Table<u8>) -> Words {
        self.map(|place| table.at(place as usize).into())
    }

    #[inline(always)]
    fn halves_of(self, table: &Table<u16>) -> Words {
        self.map(|place| table.at(place as usize).into())
    }

    #[inline(always)]
    fn store(self, words: &mut [u32; LANES]) {
        *words = self.0;
    }

    #[inline(always)]
    fn store_under(self, upper: Words, words: &mut [u64; LANES]) {
        *words = from_fn(|at| u64::from(upper.0[at]) << 32 | u64::from(self.0[at]));
    }

    #[inline(always)]
    fn store_pairs(self, second: Words, pairs: &mut [(u32, u32); LANES]) {
        *pairs = from_fn(|at| (self.0[at], second.0[at]));
    }
}

impl Form for Portable {
    type Lanes = Words;

    #[inline(always)]
    fn splat(self, word: u32) -> Words {
        Words([word; LANES])
    }

    #[inline(always)]
    fn load(self, words: &[u32; LANES]) -> Words {
        Words(*words)
    }

    #[inline(always)]
    fn load_halves(self, words: &[u64; LANES]) -> [Words; 2] {
        [Words(words.map(|word| word as u32)), Words(words.map(|word| (word >> 32) as u32))]
    }

    #[inline(always)]
    fn load_columns(self, rows: &[&[u8; 24]; LANES]) -> [Words; 6] {
        from_fn(|column| {
            Words(rows.map(|row| row.as_chunks::<4>().0.get(column).map_or(0, |word| u32::from_le_bytes(*word))))
        })
    }
}
