//! How many prefixes have a route that holds, by the bucket that their first address is in: so those behind the first N are
//! found without a walk through all of these.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// None of them is 0.
    by_bucket: BTreeMap<u32, usize>,
    all: usize,
}

impl Counts {
    /// One more.
    pub fn add(&mut self, bucket: u32) {
        *self.by_bucket.entry(bucket).or_default() += 1;
        self.all += 1;
    }

    /// One less, of those that were added.
    pub fn remove(&mut self, bucket: u32) {
        if let Some(count) = self.by_bucket.get_mut(&bucket) {
            (*count, self.all) = (*count - 1, self.all - 1);
            if *count == 0 {
                self.by_bucket.remove(&bucket);
            }
        }
    }

    /// How many there are.
    pub fn all(&self) -> usize {
        self.all
    }

    /// How many begin in these buckets.
    pub fn begin_in(&self, buckets: RangeInclusive<u32>) -> usize {
        self.by_bucket.range(buckets).map(|(_, count)| count).sum()
    }

    /// Of those that begin in these buckets, `skip` are passed over: the bucket where this ends, and how many are to be
    /// passed over in there. None where there are not so many.
    pub fn behind(&self, buckets: RangeInclusive<u32>, mut skip: usize) -> Option<(u32, usize)> {
        for (bucket, count) in self.by_bucket.range(buckets) {
            if skip < *count {
                return Some((*bucket, skip));
            }
            skip -= count;
        }
        None
    }
}
