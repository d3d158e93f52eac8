//! The routes of one family, by prefix.

use std::ops::RangeInclusive;

use prefix_trie::PrefixMap;

use super::Routes;
use super::counts::Counts;
use super::family::Family;

/// All routes of one family.
#[derive(Clone, Debug)]
pub(super) struct Table<P: Family> {
    routes: PrefixMap<P, Routes>,
    /// Of the prefixes that have a route which holds.
    counts: Counts,
}

impl<P: Family> Default for Table<P> {
    fn default() -> Table<P> {
        Table { routes: PrefixMap::new(), counts: Counts::default() }
    }
}

impl<P: Family> Table<P> {
    /// All that was told of exactly this prefix.
    pub fn get(&self, prefix: P) -> Routes {
        self.routes.get(&prefix).copied().unwrap_or_default()
    }

    /// Says what is told of a prefix, and returns what was told before.
    pub fn put(&mut self, prefix: P, routes: Routes) -> Routes {
        let before = if routes.is_empty() { self.routes.remove(&prefix) } else { self.routes.insert(prefix, routes) };
        let before = before.unwrap_or_default();
        let bucket = P::bucket(prefix.first());
        match (before.hold(), routes.hold()) {
            (false, true) => self.counts.add(bucket),
            (true, false) => self.counts.remove(bucket),
            _ => {}
        }
        before
    }

    /// What was told of a prefix and of all shorter ones that cover it, the longest first.
    pub fn covering(&self, prefix: P) -> impl Iterator<Item = (P, Routes)> {
        let mut covering = arrayvec::ArrayVec::<_, 129>::new();
        covering.extend(self.routes.cover(&prefix).map(|(prefix, routes)| (*prefix, routes)));
        covering.into_iter().rev().map(|(prefix, routes)| (prefix, *routes))
    }

    /// What was told of a prefix and of all longer ones within it, in order.
    pub fn within(&self, prefix: P) -> impl Iterator<Item = (P, Routes)> {
        self.routes.children(&prefix).map(|(prefix, routes)| (*prefix, *routes))
    }

    /// All prefixes that anything was told of, in order.
    pub fn iter(&self) -> impl Iterator<Item = (P, Routes)> {
        self.routes.iter().map(|(prefix, routes)| (*prefix, *routes))
    }

    /// How many prefixes have a route that holds.
    pub fn count(&self) -> usize {
        self.counts.all()
    }

    /// How many prefixes within one have a route that holds. Walks through no more than a bucket.
    pub fn count_within(&self, prefix: P) -> usize {
        if u32::from(prefix.prefix_len()) > P::BUCKET {
            self.within(prefix).filter(|(_, routes)| routes.hold()).count()
        } else {
            self.counts.begin_in(buckets(prefix)) - self.count_begin_with(prefix)
        }
    }

    /// The prefixes within one that have a route which holds, in order, but for the first `skip` of them. Finding these
    /// walks through no more than a bucket.
    pub fn page(&self, within: P, skip: usize) -> impl Iterator<Item = (P, Routes)> {
        // In order they come just before those within.
        let skip = skip.saturating_add(self.count_begin_with(within));
        let start = if u32::from(within.prefix_len()) > P::BUCKET {
            Some((within.first(), skip))
        } else {
            let behind = self.counts.behind(buckets(within), skip);
            behind.map(|(bucket, skip)| (u128::from(bucket) << (P::WIDTH - P::BUCKET), skip))
        };
        start.into_iter().flat_map(move |(first, skip)| {
            let all = self.from(first).take_while(move |(prefix, _)| prefix.first() <= within.last());
            all.filter(|(_, routes)| routes.hold()).skip(skip)
        })
    }

    /// How many prefixes that have a route which holds begin where this one does, and are shorter.
    fn count_begin_with(&self, prefix: P) -> usize {
        let begin_with = |other: P| other.prefix_len() != prefix.prefix_len() && other.first() == prefix.first();
        self.covering(prefix).filter(|(other, routes)| begin_with(*other) && routes.hold()).count()
    }

    /// All prefixes whose first address is this one or a later one, in order.
    fn from(&self, first: u128) -> impl Iterator<Item = (P, Routes)> {
        // Blocks, each the largest that can begin where it does: a prefix that begins in one is all inside.
        let mut next = Some(first);
        let blocks = std::iter::from_fn(move || {
            let first = next?;
            let host_bits = first.trailing_zeros().min(P::WIDTH);
            let behind = 1u128.checked_shl(host_bits).and_then(|size| first.checked_add(size));
            next = behind.filter(|behind| behind.checked_shr(P::WIDTH).unwrap_or(0) == 0);
            P::at(first, P::WIDTH - host_bits)
        });
        blocks.flat_map(|block| self.within(block))
    }
}

fn buckets<P: Family>(prefix: P) -> RangeInclusive<u32> {
    P::bucket(prefix.first())..=P::bucket(prefix.last())
}
