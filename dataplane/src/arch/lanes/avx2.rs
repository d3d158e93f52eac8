//! Lanes as vectors of AVX2.
//!
//! All of it is inlined into functions that are compiled for AVX2. Vectors are made only from an [`Avx2`], and that only where the
//! processor has it: whoever has either can run these instructions. "Has AVX2" refers to that.

use std::arch::x86_64::*;
use std::mem::offset_of;
use std::ops::{Add, BitAnd, BitOr, BitXor, Mul};

use super::{Form, LANES, Lanes, Table};

/// That the processor has AVX2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

#[derive(Clone, Copy)]
pub(super) struct Vector(__m256i);

/// The products of the lanes 0, 2, 4 and 6, and those of the lanes 1, 3, 5 and 7.
#[derive(Clone, Copy)]
pub(super) struct WideVector(__m256i, __m256i);

/// Pairs are stored as words.
const _: () = assert!(offset_of!((u32, u32), 0) == 0 && offset_of!((u32, u32), 1) == 4 && size_of::<(u32, u32)>() == 8);

impl Avx2 {
    pub(super) fn detect() -> Option<Avx2> {
        is_x86_feature_detected!("avx2").then_some(Avx2(()))
    }
}

/// Calls an intrinsic function that touches no memory.
macro_rules! avx2 {
    ($call:expr) => {
        // SAFETY: a vector, or the form, is at hand: has AVX2.
        unsafe { $call }
    };
}

/// Operators by their intrinsic functions.
macro_rules! operators {
    ($($operator:ident $method:ident $intrinsic:ident),*) => {
        $(impl $operator for Vector {
            type Output = Vector;

            #[inline(always)]
            fn $method(self, other: Vector) -> Vector {
                Vector(avx2!($intrinsic(self.0, other.0)))
            }
        })*
    };
}

operators!(
    Add add _mm256_add_epi32, Mul mul _mm256_mullo_epi32,
    BitAnd bitand _mm256_and_si256, BitOr bitor _mm256_or_si256, BitXor bitxor _mm256_xor_si256
);

impl Add for WideVector {
    type Output = WideVector;

    #[inline(always)]
    fn add(self, other: WideVector) -> WideVector {
        WideVector(avx2!(_mm256_add_epi64(self.0, other.0)), avx2!(_mm256_add_epi64(self.1, other.1)))
    }
}

/// The first, third, … words of both beside each other, then the second, fourth, …, in the order of the lanes.
#[inline(always)]
fn interleaved(one: Vector, other: Vector) -> [__m256i; 2] {
    let (low, high) = (avx2!(_mm256_unpacklo_epi32(one.0, other.0)), avx2!(_mm256_unpackhi_epi32(one.0, other.0)));
    [avx2!(_mm256_permute2x128_si256::<0x20>(low, high)), avx2!(_mm256_permute2x128_si256::<0x31>(low, high))]
}

/// Stores two vectors, one behind the other.
///
/// # Safety
/// `place` can be written to, 64 bytes. Has AVX2.
#[inline(always)]
unsafe fn store_both([first, second]: [__m256i; 2], place: *mut __m256i) {
    // SAFETY: the caller has room for it.
    unsafe { _mm256_storeu_si256(place, first) }
    // SAFETY: as above.
    unsafe { _mm256_storeu_si256(place.wrapping_add(1), second) }
}

impl<T> Table<T> {
    /// Those of these places that are in it; the last one for others.
    #[inline(always)]
    fn within(&self, places: Vector) -> __m256i {
        avx2!(_mm256_min_epu32(places.0, _mm256_set1_epi32(self.last.cast_signed())))
    }
}

impl Lanes for Vector {
    type Wide = WideVector;

    #[inline(always)]
    fn shr<const BY: i32>(self) -> Vector {
        Vector(avx2!(_mm256_srli_epi32::<BY>(self.0)))
    }

    #[inline(always)]
    fn shl<const BY: i32>(self) -> Vector {
        Vector(avx2!(_mm256_slli_epi32::<BY>(self.0)))
    }

    #[inline(always)]
    fn swap_bytes(self) -> Vector {
        let order = avx2!(_mm256_set_epi64x(
            0x0c0d_0e0f_0809_0a0b,
            0x0405_0607_0001_0203,
            0x0c0d_0e0f_0809_0a0b,
            0x0405_0607_0001_0203
        ));
        Vector(avx2!(_mm256_shuffle_epi8(self.0, order)))
    }

    #[inline(always)]
    fn is(self, other: Vector) -> Vector {
        Vector(avx2!(_mm256_cmpeq_epi32(self.0, other.0)))
    }

    #[inline(always)]
    fn at_most(self, other: Vector) -> Vector {
        Vector(avx2!(_mm256_cmpeq_epi32(self.0, _mm256_min_epu32(self.0, other.0))))
    }

    #[inline(always)]
    fn halves_within(self, first: Vector, span: Vector) -> Vector {
        let above = avx2!(_mm256_sub_epi16(self.0, first.0));
        let within = avx2!(_mm256_cmpeq_epi16(above, _mm256_min_epu16(above, span.0)));
        Vector(avx2!(_mm256_cmpeq_epi32(within, _mm256_set1_epi32(-1))))
    }

    #[inline(always)]
    fn choose(self, yes: Vector, no: Vector) -> Vector {
        Vector(avx2!(_mm256_blendv_epi8(no.0, yes.0, self.0)))
    }

    #[inline(always)]
    fn bits(self) -> u32 {
        avx2!(_mm256_movemask_ps(_mm256_castsi256_ps(self.0))).cast_unsigned()
    }

    #[inline(always)]
    fn after(self, before: Vector) -> Vector {
        let order = avx2!(_mm256_set_epi32(6, 5, 4, 3, 2, 1, 0, 7));
        let last_first = |lanes: Vector| avx2!(_mm256_permutevar8x32_epi32(lanes.0, order));
        Vector(avx2!(_mm256_blend_epi32::<1>(last_first(self), last_first(before))))
    }

    #[inline(always)]
    fn products(self, other: Vector) -> WideVector {
        let odd = |lanes: Vector| avx2!(_mm256_srli_epi64::<32>(lanes.0));
        WideVector(avx2!(_mm256_mul_epu32(self.0, other.0)), avx2!(_mm256_mul_epu32(odd(self), odd(other))))
    }

    #[inline(always)]
    fn halves(WideVector(even, odd): WideVector) -> [Vector; 2] {
        let lower = avx2!(_mm256_blend_epi32::<0b1010_1010>(even, _mm256_slli_epi64::<32>(odd)));
        let upper = avx2!(_mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(even), odd));
        [Vector(lower), Vector(upper)]
    }

    #[inline(always)]
    fn bytes_of(self, table: &Table<u8>) -> Vector {
        let places = table.within(self);
        // SAFETY: places are within the table, which four bytes can be read from at any of its places. Has AVX2.
        let words = unsafe { _mm256_i32gather_epi32::<1>(table.padded.as_ptr().cast(), places) };
        Vector(avx2!(_mm256_and_si256(words, _mm256_set1_epi32(0xff))))
    }

    #[inline(always)]
    fn halves_of(self, table: &Table<u16>) -> Vector {
        let places = table.within(self);
        // SAFETY: as above.
        let words = unsafe { _mm256_i32gather_epi32::<2>(table.padded.as_ptr().cast(), places) };
        Vector(avx2!(_mm256_and_si256(words, _mm256_set1_epi32(0xffff))))
    }

    #[inline(always)]
    fn store(self, words: &mut [u32; LANES]) {
        // SAFETY: 32 bytes are written to as many; no alignment is needed. Has AVX2.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn store_under(self, upper: Vector, words: &mut [u64; LANES]) {
        // SAFETY: there are 64 bytes. Has AVX2.
        unsafe { store_both(interleaved(self, upper), words.as_mut_ptr().cast()) }
    }

    #[inline(always)]
    fn store_pairs(self, second: Vector, pairs: &mut [(u32, u32); LANES]) {
        // SAFETY: there are 64 bytes, in which pairs lie as two words each. Has AVX2.
        unsafe { store_both(interleaved(self, second), pairs.as_mut_ptr().cast()) }
    }
}

impl Form for Avx2 {
    type Lanes = Vector;

    #[inline(always)]
    fn splat(self, word: u32) -> Vector {
        Vector(avx2!(_mm256_set1_epi32(word.cast_signed())))
    }

    #[inline(always)]
    fn load(self, words: &[u32; LANES]) -> Vector {
        // SAFETY: 32 bytes are read of as many; no alignment is needed. Has AVX2.
        Vector(unsafe { _mm256_loadu_si256(words.as_ptr().cast()) })
    }

    #[inline(always)]
    fn load_halves(self, words: &[u64; LANES]) -> [Vector; 2] {
        let [low, high] = words.as_chunks::<4>().0 else { return [self.splat(0); 2] };
        // SAFETY: 32 bytes are read of as many; no alignment is needed. Has AVX2.
        let low = unsafe { _mm256_loadu_si256(low.as_ptr().cast()) };
        // SAFETY: as above.
        let high = unsafe { _mm256_loadu_si256(high.as_ptr().cast()) };
        // Words 0 to 3 and 4 to 7 become 0, 1, 4, 5 and 2, 3, 6, 7.
        let (one, other) =
            (avx2!(_mm256_permute2x128_si256::<0x20>(low, high)), avx2!(_mm256_permute2x128_si256::<0x31>(low, high)));
        halves(one, other)
    }

    #[inline(always)]
    fn load_columns(self, rows: &[&[u8; 24]; LANES]) -> [Vector; 6] {
        let [a, b, c, d, e, f, g, h] = *rows;
        let [first, second] = halves(firsts([a, b, e, f]), firsts([c, d, g, h]));
        // Each row's other four words, beside those of the row four further on.
        let [r0, r1, r2, r3] = [rest(a, e), rest(b, f), rest(c, g), rest(d, h)];
        let (t0, t1) = (avx2!(_mm256_unpacklo_epi32(r0, r1)), avx2!(_mm256_unpacklo_epi32(r2, r3)));
        let (t2, t3) = (avx2!(_mm256_unpackhi_epi32(r0, r1)), avx2!(_mm256_unpackhi_epi32(r2, r3)));
        let lows = |one, other| Vector(avx2!(_mm256_unpacklo_epi64(one, other)));
        let highs = |one, other| Vector(avx2!(_mm256_unpackhi_epi64(one, other)));
        [first, second, lows(t0, t1), highs(t0, t1), lows(t2, t3), highs(t2, t3)]
    }
}

/// The lower halves of the four words of both, and the upper ones, where `one` has the words 0, 1, 4, 5 and `other` the rest.
#[inline(always)]
fn halves(one: __m256i, other: __m256i) -> [Vector; 2] {
    let (one, other) = (avx2!(_mm256_castsi256_ps(one)), avx2!(_mm256_castsi256_ps(other)));
    let lower = avx2!(_mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(one, other)));
    let upper = avx2!(_mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(one, other)));
    [Vector(lower), Vector(upper)]
}

/// The first eight bytes of each.
#[inline(always)]
fn firsts(rows: [&[u8; 24]; 4]) -> __m256i {
    let [a, b, c, d] = rows.map(|row| row.first_chunk().map_or(0, |first| i64::from_le_bytes(*first)));
    avx2!(_mm256_set_epi64x(d, c, b, a))
}

/// The last sixteen bytes of both.
#[inline(always)]
fn rest(one: &[u8; 24], other: &[u8; 24]) -> __m256i {
    // SAFETY: 16 bytes are read of 24, from the ninth; no alignment is needed. Has AVX2.
    let one = unsafe { _mm_loadu_si128(one.as_ptr().wrapping_add(8).cast()) };
    // SAFETY: as above.
    let other = unsafe { _mm_loadu_si128(other.as_ptr().wrapping_add(8).cast()) };
    avx2!(_mm256_inserti128_si256::<1>(_mm256_castsi128_si256(one), other))
}
