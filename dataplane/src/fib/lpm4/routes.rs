//! The prefixes of a table as its writer keeps them: what a stretch falls back to when a prefix goes.
//!
//! Prefixes up to /16 are few and each decides about whole /16s: a map, and for each /16 the longest that covers it.
//! Longer ones belong to one /16 each, which has some twenty of them in a full table: a sorted list.

use hashbrown::HashMap;
use ipnet::Ipv4Net;

use super::HALVES;
use crate::fib::next_hop::EntryId;

/// A prefix longer than /16, within its /16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Long {
    /// The lower 16 bits of its first address.
    pub start: u16,
    /// Its length: 17 to 32.
    pub length: u8,
    pub leaf: EntryId,
}

impl Long {
    /// The lower 16 bits of its last address.
    pub fn end(self) -> u16 {
        self.start | host_bits(self.length) as u16
    }

    /// What the lists are sorted by: a prefix stands before those within it.
    fn key(self) -> (u16, u8) {
        (self.start, self.length)
    }
}

/// The longest prefix up to /16 that covers a /16. With length 0 and no route: none, or the default route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    pub length: u8,
    pub leaf: EntryId,
}

/// All prefixes.
#[derive(Debug)]
pub struct Routes {
    /// By first address and length.
    short: HashMap<(u32, u8), EntryId>,
    covers: Vec<Cover>,
    long: Vec<Vec<Long>>,
    longs: usize,
}

/// The /16 an address is in.
pub fn half(address: u32) -> usize {
    (address >> 16) as usize
}

impl Routes {
    /// No prefixes.
    pub fn new() -> Routes {
        Routes {
            short: HashMap::new(),
            covers: vec![Cover::default(); HALVES],
            long: vec![Vec::new(); HALVES],
            longs: 0,
        }
    }

    /// Number of prefixes.
    pub fn len(&self) -> usize {
        self.short.len() + self.longs
    }

    /// The leaf of exactly this prefix.
    pub fn get(&self, prefix: Ipv4Net) -> Option<EntryId> {
        let (start, length) = (prefix.network().to_bits(), prefix.prefix_len());
        if length <= 16 { self.short.get(&(start, length)).copied() } else { self.find(start, length) }
    }

    /// The longest prefix that covers an address.
    pub fn longest_match(&self, address: u32) -> Option<(Ipv4Net, EntryId)> {
        let found = (0..=32u8).rev().find_map(|length| {
            let start = address & mask(length);
            let leaf = if length <= 16 { self.short.get(&(start, length)).copied() } else { self.find(start, length) };
            leaf.map(|leaf| (start, length, leaf))
        });
        let (start, length, leaf) = found?;
        Some((Ipv4Net::new(start.into(), length).ok()?, leaf))
    }

    /// The prefixes longer than /16 of a /16, in order, each before those within it.
    pub fn long(&self, half: usize) -> &[Long] {
        self.long.get(half).map_or(&[], Vec::as_slice)
    }

    /// The longest prefix up to /16 that covers a /16.
    pub fn cover(&self, half: usize) -> Cover {
        self.covers.get(half).copied().unwrap_or_default()
    }

    /// Puts a prefix in, replaces its leaf, or takes it out; returns what it had.
    pub fn put(&mut self, prefix: Ipv4Net, leaf: Option<EntryId>) -> Option<EntryId> {
        let (start, length) = (prefix.network().to_bits(), prefix.prefix_len());
        if length > 16 {
            return self.put_long(start, length, leaf);
        }
        match leaf {
            Some(leaf) => self.short.insert((start, length), leaf),
            None => self.short.remove(&(start, length)),
        }
    }

    /// Notes the cover of a /16 after a prefix up to /16 was put: the new one, or where it went, the next shorter. False
    /// where a longer one covers the /16 before and after.
    pub fn cover_again(&mut self, half: usize, length: u8, new: Cover) -> bool {
        match self.covers.get_mut(half) {
            Some(cover) if cover.length <= length => {
                *cover = new;
                true
            }
            _ => false,
        }
    }

    /// The longest prefix up to /`length` that covers an address.
    pub fn short_cover(&self, address: u32, length: u8) -> Cover {
        let cover = (0..=length).rev().find_map(|length| {
            let leaf = *self.short.get(&(address & mask(length), length))?;
            Some(Cover { length, leaf })
        });
        cover.unwrap_or_default()
    }

    /// Finds a prefix longer than /16.
    pub fn find(&self, start: u32, length: u8) -> Option<EntryId> {
        let list = self.long(half(start));
        let at = list.binary_search_by_key(&(start as u16, length), |long| long.key()).ok()?;
        list.get(at).map(|long| long.leaf)
    }

    fn put_long(&mut self, start: u32, length: u8, leaf: Option<EntryId>) -> Option<EntryId> {
        let list = self.long.get_mut(half(start))?;
        match (list.binary_search_by_key(&(start as u16, length), |long| long.key()), leaf) {
            (Ok(at), Some(leaf)) => list.get_mut(at).map(|long| std::mem::replace(&mut long.leaf, leaf)),
            (Ok(at), None) => {
                self.longs -= 1;
                let before = list.remove(at).leaf;
                if list.is_empty() {
                    *list = Vec::new();
                }
                Some(before)
            }
            (Err(at), Some(leaf)) => {
                self.longs += 1;
                list.insert(at, Long { start: start as u16, length, leaf });
                None
            }
            (Err(_), None) => None,
        }
    }
}

/// The bits of an address that a prefix of this length does not decide.
pub fn host_bits(length: u8) -> u32 {
    u32::MAX.checked_shr(u32::from(length)).unwrap_or(0)
}

/// The bits of an address that a prefix of this length decides.
fn mask(length: u8) -> u32 {
    !host_bits(length)
}
