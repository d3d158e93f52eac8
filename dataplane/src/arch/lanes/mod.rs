//! Eight words of 32 bits at a time, as vectors where the processor has AVX2, else one by one: what is written for
//! [`Lanes`] is compiled for both, and which of them is run is chosen at run time.

mod avx2;
mod portable;

use std::ops::{Add, BitAnd, BitOr, BitXor, Mul};

use avx2::Avx2;
use portable::Portable;

/// How many lanes there are.
pub const LANES: usize = 8;

/// Eight words. Sums and products wrap. A mask has all bits set in the lanes where something is so, else none.
pub trait Lanes:
    Copy + Add<Output = Self> + Mul<Output = Self> + BitAnd<Output = Self> + BitOr<Output = Self> + BitXor<Output = Self>
{
    /// Eight words of 64 bits.
    type Wide: Copy + Add<Output = Self::Wide>;

    /// Shifted to the right.
    fn shr<const BY: i32>(self) -> Self;

    /// Shifted to the left.
    fn shl<const BY: i32>(self) -> Self;

    /// Each with its four bytes the other way round.
    fn swap_bytes(self) -> Self;

    /// A mask: equal.
    fn is(self, other: Self) -> Self;

    /// A mask: no larger than `other`, without a sign.
    fn at_most(self, other: Self) -> Self;

    /// A mask: both halves of 16 bits are no more than that of `span` above that of `first`, modulo 2^16.
    fn halves_within(self, first: Self, span: Self) -> Self;

    /// Where the mask `self` has all bits set `yes`, else `no`.
    fn choose(self, yes: Self, no: Self) -> Self;

    /// The upper bit of each, the lowest for the first lane.
    fn bits(self) -> u32;

    /// Each lane but the first is that before it; the first is the last one of `before`.
    fn after(self, before: Self) -> Self;

    /// Products of 64 bits.
    fn products(self, other: Self) -> Self::Wide;

    /// The lower halves, and the upper ones.
    fn halves(wide: Self::Wide) -> [Self; 2];

    /// What is in the table at each place.
    fn bytes_of(self, table: &Table<u8>) -> Self;

    /// What is in the table at each place.
    fn halves_of(self, table: &Table<u16>) -> Self;

    /// The words.
    fn store(self, words: &mut [u32; LANES]);

    /// The words with those of `upper` above them.
    fn store_under(self, upper: Self, words: &mut [u64; LANES]);

    /// The words with those of `second` beside them.
    fn store_pairs(self, second: Self, pairs: &mut [(u32, u32); LANES]);
}

/// A form that lanes come in. Who has a value of it runs on a processor that has what it needs.
pub trait Form: Copy {
    /// Eight words in this form.
    type Lanes: Lanes;

    /// The same word eight times.
    fn splat(self, word: u32) -> Self::Lanes;

    /// Eight words.
    fn load(self, words: &[u32; LANES]) -> Self::Lanes;

    /// The lower halves of eight words, and the upper ones.
    fn load_halves(self, words: &[u64; LANES]) -> [Self::Lanes; 2];

    /// The six little-endian words of each of eight rows: the first ones of all, the second ones, …
    fn load_columns(self, rows: &[&[u8; 24]; LANES]) -> [Self::Lanes; 6];
}

/// A table that is looked up at eight places at a time. Beyond its end is what is last in it.
#[derive(Clone, Debug)]
pub struct Table<T> {
    /// With so much behind it that four bytes can be read from any of its places.
    padded: Box<[T]>,
    last: u32,
}

impl<T: Copy + Default> Table<T> {
    const PADDING: usize = size_of::<u32>() / size_of::<T>() - 1;

    /// Of fewer than 2^31 entries; an empty one has one zero.
    pub fn new(entries: impl IntoIterator<Item = T>) -> Table<T> {
        let mut padded: Vec<T> = entries.into_iter().collect();
        let last = padded.len().saturating_sub(1).min(i32::MAX as usize);
        padded.resize(last + 1 + Table::<T>::PADDING, T::default());
        Table { padded: padded.into(), last: last as u32 }
    }

    /// What is at this place.
    #[inline(always)]
    pub fn at(&self, place: usize) -> T {
        self.padded.get(place.min(self.last as usize)).copied().unwrap_or_default()
    }

    /// What it takes, in bytes.
    #[cfg(test)]
    pub fn memory(&self) -> usize {
        size_of_val(&*self.padded)
    }
}

/// What is compiled for each form.
pub trait Work {
    /// What comes of it.
    type Output;

    /// Does it. This, and what it calls, has to be `#[inline(always)]` to be compiled for the form.
    fn run<F: Form>(self, form: F) -> Self::Output;
}

/// A form that the processor can run.
#[derive(Clone, Copy, Debug)]
pub struct Vectors(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Portable(Portable),
    Avx2(Avx2),
    /// AVX2 with what else AVX-512 has for vectors of that length: more registers and operations.
    Avx512(Avx2),
}

impl Vectors {
    /// All that this processor can run, the best one last.
    pub fn available() -> impl Iterator<Item = Vectors> {
        // The compiler takes the second and third for granted where there is the first.
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("avx512vl");
        let avx2 = Avx2::detect();
        let kinds = [Some(Kind::Portable(Portable)), avx2.map(Kind::Avx2), avx2.filter(|_| avx512).map(Kind::Avx512)];
        kinds.into_iter().flatten().map(Vectors)
    }

    /// The best one.
    pub fn best() -> Vectors {
        Vectors::available().last().unwrap_or(Vectors(Kind::Portable(Portable)))
    }

    /// Does `work` in this form.
    #[inline(always)]
    pub fn run<W: Work>(self, work: W) -> W::Output {
        match self.0 {
            Kind::Portable(form) => run_portable(work, form),
            // SAFETY: who has the form runs on a processor with AVX2.
            Kind::Avx2(form) => unsafe { run_avx2(work, form) },
            // SAFETY: as above; this kind is made only where the others were detected as well.
            Kind::Avx512(form) => unsafe { run_avx512(work, form) },
        }
    }
}

#[inline(never)]
fn run_portable<W: Work>(work: W, form: Portable) -> W::Output {
    work.run(form)
}

#[inline(never)]
#[target_feature(enable = "avx2")]
fn run_avx2<W: Work>(work: W, form: Avx2) -> W::Output {
    work.run(form)
}

#[inline(never)]
#[target_feature(enable = "avx2,avx512f,avx512vl")]
fn run_avx512<W: Work>(work: W, form: Avx2) -> W::Output {
    work.run(form)
}

#[cfg(test)]
mod tests;
