//! How many prefixes have a route that holds, by the /16 that their first address is in: so those behind the first N are
//! found without a walk through all of these.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;

/// The counts.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// By the upper half of the first address.
    by_half: Box<[u32]>,
    all: usize,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts { by_half: vec![0; 1 << 16].into(), all: 0 }
    }
}

impl Counts {
    /// One more.
    pub fn add(&mut self, prefix: Ipv4Net) {
        if let Some(count) = self.by_half.get_mut(half(prefix.network())) {
            (*count, self.all) = (*count + 1, self.all + 1);
        }
    }

    /// One less, of those that were added.
    pub fn remove(&mut self, prefix: Ipv4Net) {
        if let Some(count) = self.by_half.get_mut(half(prefix.network())) {
            (*count, self.all) = (*count - 1, self.all - 1);
        }
    }

    /// How many there are.
    pub fn all(&self) -> usize {
        self.all
    }

    /// How many begin in the /16s of a prefix.
    pub fn begin_in(&self, prefix: Ipv4Net) -> usize {
        let counts = self.by_half.get(halves(prefix)).unwrap_or_default();
        counts.iter().map(|count| *count as usize).sum()
    }

    /// Of those that begin in the /16s of a prefix, `skip` are passed over: the first address of the /16 where this ends, and
    /// how many are to be passed over in there. None where there are not so many.
    pub fn behind(&self, prefix: Ipv4Net, mut skip: usize) -> Option<(Ipv4Addr, usize)> {
        for half in halves(prefix) {
            let count = *self.by_half.get(half)? as usize;
            if skip < count {
                return Some((Ipv4Addr::from_bits(u32::try_from(half).ok()? << 16), skip));
            }
            skip -= count;
        }
        None
    }
}

fn half(address: Ipv4Addr) -> usize {
    (address.to_bits() >> 16) as usize
}

fn halves(prefix: Ipv4Net) -> RangeInclusive<usize> {
    half(prefix.network())..=half(prefix.broadcast())
}
