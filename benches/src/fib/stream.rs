//! Streams of destinations: the five kinds of traffic that a table is measured with, the same in every run.

use super::reference::Reference;
use super::table::{Family, Table};

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Any announced address, each as likely as any other: short prefixes get most of it.
    Uniform,
    /// A prefix of the table, each as likely, and any address inside it.
    Prefix,
    /// [`ZIPF_DESTINATIONS`] addresses drawn like [`Stream::Prefix`], the k-th 1/k as often as the first.
    Zipf,
    /// Consecutive announced addresses, [`RUN`] from each of some addresses drawn like [`Stream::Prefix`].
    Sequential,
    /// Any address of IPv4, or of the 2000::/3 that IPv6 is announced from.
    Random,
}

/// How many different addresses the Zipf stream has.
const ZIPF_DESTINATIONS: usize = 200_000;
/// How many consecutive addresses the sequential stream has in a row: more, and the figure would hang on the few places
/// where they are.
const RUN: usize = 1 << 14;

impl Stream {
    /// All of them, in the order they are measured.
    pub const ALL: [Stream; 5] = [Stream::Uniform, Stream::Prefix, Stream::Zipf, Stream::Sequential, Stream::Random];

    /// Its name as a case of the benchmark.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Uniform => "uniform",
            Stream::Prefix => "prefix",
            Stream::Zipf => "zipf",
            Stream::Sequential => "sequential",
            Stream::Random => "random",
        }
    }
}

/// Where streams are drawn from.
pub struct Source<'t> {
    table: &'t Table,
    /// Ranges of announced addresses, each with the number of announced addresses before it.
    announced: Vec<(u128, u128, u128)>,
    addresses: u128,
}

impl<'t> Source<'t> {
    /// Draws from this table, which is not empty, and its reference.
    pub fn new(table: &'t Table, reference: &Reference) -> Source<'t> {
        let mut addresses = 0;
        let announced = reference.announced().into_iter().map(|(first, last)| {
            let before = addresses;
            addresses += last - first + 1;
            (first, last, before)
        });
        let announced = announced.collect();
        Source { table, announced, addresses }
    }

    /// The first `count` destinations of a stream.
    pub fn draw(&self, stream: Stream, count: usize) -> Vec<u128> {
        let mut random = Random(0x5eed_0000 + stream as u64);
        match stream {
            Stream::Uniform => (0..count).map(|_| self.announced_address(random.below(self.addresses))).collect(),
            Stream::Prefix => (0..count).map(|_| self.in_a_prefix(&mut random)).collect(),
            Stream::Zipf => self.zipf(count, &mut random),
            Stream::Sequential => self.sequential(count, &mut random),
            Stream::Random => (0..count).map(|_| self.any(&mut random)).collect(),
        }
    }

    /// The announced address that has `before` announced addresses before it.
    fn announced_address(&self, before: u128) -> u128 {
        let after = self.announced.partition_point(|(.., earlier)| *earlier <= before);
        self.announced.get(after.wrapping_sub(1)).map_or(0, |(first, _, earlier)| first + (before - earlier))
    }

    /// How many announced addresses are before this one, which is announced.
    fn announced_before(&self, address: u128) -> u128 {
        let after = self.announced.partition_point(|(first, ..)| *first <= address);
        self.announced.get(after.wrapping_sub(1)).map_or(0, |(first, _, earlier)| earlier + (address - first))
    }

    fn in_a_prefix(&self, random: &mut Random) -> u128 {
        let routes = &self.table.routes;
        let route = routes[random.below(routes.len() as u128) as usize];
        let more = route.last(self.table.family.bits()) - route.first;
        match more.checked_add(1) {
            Some(addresses) => route.first + random.below(addresses),
            // The default route of IPv6 has one address more than fits.
            None => random.bits(),
        }
    }

    fn zipf(&self, count: usize, random: &mut Random) -> Vec<u128> {
        let destinations: Vec<u128> = (0..ZIPF_DESTINATIONS).map(|_| self.in_a_prefix(random)).collect();
        let mut weight = 0.0;
        let weights: Vec<f64> = (1..=ZIPF_DESTINATIONS)
            .map(|rank| {
                weight += 1.0 / rank as f64;
                weight
            })
            .collect();
        let draw = |_| {
            let at = random.unit() * weight;
            destinations[weights.partition_point(|weight| *weight <= at).min(ZIPF_DESTINATIONS - 1)]
        };
        (0..count).map(draw).collect()
    }

    fn sequential(&self, count: usize, random: &mut Random) -> Vec<u128> {
        let mut destinations = Vec::with_capacity(count);
        while destinations.len() < count {
            let start = self.announced_before(self.in_a_prefix(random));
            let run = RUN.min(count - destinations.len()) as u128;
            destinations.extend((start..start + run).map(|before| self.announced_address(before % self.addresses)));
        }
        destinations
    }

    fn any(&self, random: &mut Random) -> u128 {
        match self.table.family {
            Family::V4 => random.bits() >> 96,
            Family::V6 => 1 << 125 | random.bits() >> 3,
        }
    }
}

/// Numbers that look random and are the same in every run: splitmix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bits(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    /// A number below `end`; the smaller ones are likelier by less than 2^-64 as long as `end` is below 2^64, and by
    /// less than one in a hundred below 2^121, which is more than all announced addresses of IPv6.
    pub fn below(&mut self, end: u128) -> u128 {
        self.bits() % end
    }

    /// A number from 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fib::table::Route;
    use std::collections::{HashMap, HashSet};

    const COUNT: usize = 40_000;

    fn table() -> Table {
        let routes = [(0x0a00_0000, 8), (0x0a01_0000, 16), (0x1400_0000, 24), (0xc000_0000, 30), (0xffff_ffff, 32)];
        let routes = routes.map(|(first, length)| Route { first, length, hop: 7 }).to_vec();
        Table { family: Family::V4, routes }
    }

    fn draw(stream: Stream) -> Vec<u128> {
        let table = table();
        Source::new(&table, &Reference::new(&table)).draw(stream, COUNT)
    }

    #[test]
    fn a_stream_is_the_same_in_every_run_and_all_its_destinations_are_of_the_family() {
        for stream in Stream::ALL {
            let first = draw(stream);
            assert_eq!(first.len(), COUNT, "{stream:?}");
            assert_eq!(first, draw(stream), "{stream:?}");
            assert!(first.iter().all(|address| *address <= u32::MAX.into()), "{stream:?}");
        }
    }

    #[test]
    fn all_streams_but_the_random_one_keep_to_announced_addresses() {
        let table = table();
        let reference = Reference::new(&table);
        for stream in Stream::ALL {
            let announced = draw(stream).into_iter().filter(|address| reference.lookup(*address) != 0).count();
            assert_eq!(announced == COUNT, stream != Stream::Random, "{stream:?}: {announced}");
        }
    }

    #[test]
    fn uniform_follows_the_addresses_and_prefix_follows_the_prefixes() {
        let large = |stream| draw(stream).into_iter().filter(|address| address >> 24 == 0x0a).count();
        assert!(large(Stream::Uniform) > COUNT * 99 / 100);
        // Two of the five prefixes are in 10.0.0.0/8.
        assert!((COUNT * 38 / 100..COUNT * 42 / 100).contains(&large(Stream::Prefix)));
    }

    #[test]
    fn zipf_repeats_its_first_destination_most() {
        let mut counts = HashMap::new();
        for address in draw(Stream::Zipf) {
            *counts.entry(address).or_insert(0) += 1;
        }
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        // The first has 1/H(200,000), one in 12.8; the small prefixes of this table share a few ranks.
        assert!(counts[0] >= COUNT / 14, "{:?}", &counts[..5]);
    }

    #[test]
    fn sequential_goes_from_address_to_address_and_over_the_gaps() {
        let destinations = draw(Stream::Sequential);
        let next = |pair: &&[u128]| pair[1] == pair[0] + 1;
        let gaps =
            destinations.windows(2).filter(|pair| !next(pair)).map(|pair| (pair[0], pair[1])).collect::<HashSet<_>>();
        let over = [(0x0aff_ffff, 0x1400_0000), (0x1400_00ff, 0xc000_0000), (0xc000_0003, 0xffff_ffff)];
        assert!(gaps.iter().filter(|gap| !over.contains(gap)).count() <= COUNT / RUN + 1, "{gaps:x?}");
    }

    #[test]
    fn ipv6_is_random_in_2000_3_only() {
        let table = Table { family: Family::V6, routes: vec![Route { first: 0x2001 << 112, length: 16, hop: 1 }] };
        let destinations = Source::new(&table, &Reference::new(&table)).draw(Stream::Random, COUNT);
        assert!(destinations.iter().all(|address| address >> 125 == 1));
        assert_eq!(destinations.iter().map(|address| address >> 122).collect::<HashSet<_>>().len(), 8);
    }
}
