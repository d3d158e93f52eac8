use std::array::from_fn;

use proptest::prelude::*;

use super::*;

type Words = [u32; LANES];

/// What is in a table of 3000 entries at this place: that, or the upper byte.
fn entry(place: u32) -> u32 {
    place.min(2999).wrapping_mul(0x9e37_79b1) >> 16
}

fn bytes() -> Table<u8> {
    Table::new((0..3000).map(|place| (entry(place) >> 8) as u8))
}

fn halves() -> Table<u16> {
    Table::new((0..3000).map(|place| entry(place) as u16))
}

/// What comes of every operation, one behind the other.
struct Everything {
    words: [Words; 3],
    rows: [[u8; 24]; LANES],
}

impl Everything {
    fn in_form(self, form: Vectors) -> Vec<u32> {
        form.run(self)
    }
}

impl Work for Everything {
    type Output = Vec<u32>;

    #[inline(always)]
    fn run<F: Form>(self, form: F) -> Vec<u32> {
        let [a, b, c] = [form.load(&self.words[0]), form.load(&self.words[1]), form.load(&self.words[2])];
        let mask = a.is(b);
        let [lower, upper] =
            form.load_halves(&from_fn(|at| u64::from(self.words[1][at]) << 32 | u64::from(self.words[0][at])));
        let [c0, c1, c2, c3, c4, c5] = form.load_columns(&from_fn(|at| &self.rows[at]));
        let [sum_lower, sum_upper] = F::Lanes::halves(a.products(b) + b.products(c));
        let lanes = [
            a + b,
            a * b,
            a & b,
            a | b,
            a ^ b,
            a.shr::<7>(),
            a.shl::<7>(),
            a.swap_bytes(),
            mask,
            a.at_most(b),
            a.halves_within(b, c),
            mask.choose(b, c),
            a.after(b),
            sum_lower,
            sum_upper,
            a.bytes_of(&bytes()),
            a.shr::<20>().bytes_of(&bytes()),
            a.shr::<20>().halves_of(&halves()),
            form.splat(self.words[0][3]),
            lower,
            upper,
            c0,
            c1,
            c2,
            c3,
            c4,
            c5,
        ];
        let mut all = vec![mask.bits(), a.bits()];
        for lanes in lanes {
            let mut words = [0; LANES];
            lanes.store(&mut words);
            all.extend(words);
        }
        let (mut above, mut pairs) = ([0; LANES], [(0, 0); LANES]);
        a.store_under(b, &mut above);
        a.store_pairs(b, &mut pairs);
        all.extend(above.into_iter().flat_map(|word| [word as u32, (word >> 32) as u32]));
        all.extend(pairs.into_iter().flat_map(|(first, second)| [first, second]));
        all
    }
}

/// Each word apart from what comes before and behind it.
fn expected(Everything { words: [a, b, c], rows }: &Everything) -> Vec<u32> {
    let each = |of: &dyn Fn(usize) -> u32| -> Words { from_fn(of) };
    let all_bits = |is_so: bool| if is_so { u32::MAX } else { 0 };
    let bits = |words: Words| (0..LANES).fold(0, |bits, at| bits | words[at] >> 31 << at);
    let within = |at: usize| {
        let half = |shift: u32| {
            let [word, first, span] = [a[at], b[at], c[at]].map(|word| (word >> shift) as u16);
            word.wrapping_sub(first) <= span
        };
        half(0) && half(16)
    };
    let product = |a: u32, b: u32| u64::from(a) * u64::from(b);
    let equal = each(&|at| all_bits(a[at] == b[at]));
    let column = |number: usize| {
        each(&|at| u32::from_le_bytes(rows[at][4 * number..4 * number + 4].try_into().expect("four bytes")))
    };
    let mut all = vec![bits(equal), bits(*a)];
    let lanes = [
        each(&|at| a[at].wrapping_add(b[at])),
        each(&|at| a[at].wrapping_mul(b[at])),
        each(&|at| a[at] & b[at]),
        each(&|at| a[at] | b[at]),
        each(&|at| a[at] ^ b[at]),
        each(&|at| a[at] >> 7),
        each(&|at| a[at] << 7),
        each(&|at| a[at].swap_bytes()),
        equal,
        each(&|at| all_bits(a[at] <= b[at])),
        each(&|at| all_bits(within(at))),
        each(&|at| if a[at] == b[at] { b[at] } else { c[at] }),
        each(&|at| if at == 0 { b[LANES - 1] } else { a[at - 1] }),
        each(&|at| product(a[at], b[at]).wrapping_add(product(b[at], c[at])) as u32),
        each(&|at| (product(a[at], b[at]).wrapping_add(product(b[at], c[at])) >> 32) as u32),
        each(&|at| entry(a[at]) >> 8),
        each(&|at| entry(a[at] >> 20) >> 8),
        each(&|at| entry(a[at] >> 20)),
        [a[3]; LANES],
        *a,
        *b,
    ];
    all.extend(lanes.into_iter().chain((0..6).map(column)).flatten());
    (0..2).for_each(|_| all.extend((0..LANES).flat_map(|at| [a[at], b[at]])));
    all
}

proptest! {
    #[test]
    fn every_form_does_what_one_word_after_the_other_would(
        words: [Words; 3], rows in prop::collection::vec(any::<[u8; 24]>(), LANES), same: u8,
        ports in prop::collection::vec(0u32..4, 3 * LANES),
    ) {
        let mut words = words;
        let mut rows_array = [[0; 24]; LANES];
        rows_array.copy_from_slice(&rows);
        for at in (0..LANES).filter(|at| same >> at & 1 == 1) {
            words[1][at] = words[0][at];
        }
        // Halves that are close to each other, in some lanes.
        for (at, close) in ports.iter().enumerate().filter(|(at, _)| at % LANES < 3) {
            words[at / LANES][at % LANES] = close << 16 | (3 - close);
        }
        let everything = || Everything { words, rows: rows_array };
        let expected = expected(&everything());
        for form in Vectors::available() {
            let found = everything().in_form(form);
            prop_assert_eq!(&found, &expected, "{:?}", form);
        }
    }
}
