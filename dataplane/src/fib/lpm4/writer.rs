//! The one who changes the table. A change works out anew the stretches that its prefix covers, from the list of routes,
//! and stores what differs: each address goes from its old leaf to its new one with a single store.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::routes::{Cover, Routes, half, host_bits};
use super::words::Words;
use super::{HALVES, Lpm4, TAIL, WORDS, WORDS_OF_HALF};
use crate::fib::error::FibError;
use crate::fib::next_hop::EntryId;
use crate::fib::options::FibMemory;
use crate::fib::stretch::IDENTITY;
use crate::fib::sync::AtomicU64;
use crate::fib::transaction;

/// The one writer.
#[derive(Debug)]
pub struct Lpm4Writer {
    table: Arc<Lpm4>,
    routes: Routes,
    words: Words,
}

impl Lpm4Writer {
    pub(super) fn new(table: Arc<Lpm4>, retired: usize) -> Lpm4Writer {
        let words = Words::new(Arc::clone(&table), retired);
        Lpm4Writer { table, routes: Routes::new(), words }
    }

    /// Adds a prefix or replaces its leaf; returns the leaf it had. Host bits of the prefix do not count.
    ///
    /// # Errors
    /// See [`FibError`]; then nothing has changed.
    pub fn insert(&mut self, prefix: Ipv4Net, leaf: EntryId) -> Result<Option<EntryId>, FibError> {
        self.change(prefix, Some(leaf))
    }

    /// Takes a prefix out: its addresses go back to the next shorter prefix. Returns the leaf it had, if it was there.
    ///
    /// # Errors
    /// See [`FibError`]; then nothing has changed.
    pub fn remove(&mut self, prefix: Ipv4Net) -> Result<Option<EntryId>, FibError> {
        self.change(prefix, None)
    }

    /// A transaction: gives prefixes leaves or takes them out (None), all or none. The last change of a prefix counts.
    /// Readers see it prefix by prefix, in such an order that each address goes from its old leaf to its new one at once:
    /// first what is put in, the longest first, then what is taken out, the shortest first. `pulse` is called every few
    /// thousand prefixes: a full table takes some 0.3 s.
    ///
    /// # Errors
    /// See [`FibError`]; then nothing has changed for the caller, but readers may have seen some changes come and go.
    pub fn apply(&mut self, changes: &[(Ipv4Net, Option<EntryId>)], pulse: &mut dyn FnMut()) -> Result<(), FibError> {
        let changes = transaction::ordered(changes, |prefix| (prefix.prefix_len(), prefix.trunc()));
        self.words.stretches.blocks.begin();
        self.words.tails.begin();
        let done = transaction::apply(changes, pulse, |prefix, leaf| self.change(prefix, leaf));
        self.words.stretches.blocks.end();
        self.words.tails.end();
        done.map_err(|(error, undo)| {
            for (prefix, leaf) in undo {
                // The room it takes was kept, and it fits where it was.
                let undone = self.write(prefix, leaf);
                debug_assert!(undone.is_ok(), "{prefix} is not what it was: {undone:?}");
            }
            error
        })
    }

    /// Takes back the transaction that was applied last, where another that belongs to it was refused: gives its prefixes
    /// back the leaves they had before it. Readers see it in the order of [`Lpm4Writer::apply`].
    pub fn take_back(&mut self, before: &[(Ipv4Net, Option<EntryId>)]) {
        for (prefix, leaf) in transaction::ordered(before, |prefix| (prefix.prefix_len(), prefix.trunc())) {
            // As where a transaction fails on the way: its room was kept, and it fits where it was.
            let undone = self.write(prefix, leaf);
            debug_assert!(undone.is_ok(), "{prefix} is not what it was: {undone:?}");
        }
    }

    /// The leaf of exactly this prefix.
    pub fn get(&self, prefix: Ipv4Net) -> Option<EntryId> {
        self.routes.get(prefix.trunc())
    }

    /// The longest prefix that covers an address, and its leaf.
    pub fn longest_match(&self, address: Ipv4Addr) -> Option<(Ipv4Net, EntryId)> {
        self.routes.longest_match(address.to_bits())
    }

    /// Number of prefixes.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is no prefix at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes memory usable again that no reader can look at any more. Changes do so themselves, now and then.
    pub fn reclaim(&mut self) {
        self.words.stretches.blocks.reclaim();
        self.words.tails.reclaim();
    }

    /// Bytes that readers may look at: in use now, and waiting for readers to move on.
    pub fn memory(&self) -> FibMemory {
        let fixed = size_of_val(&*self.table.words) + size_of_val(&*self.table.summary) + IDENTITY * LEAF_BYTES;
        let tail_bytes = TAIL * size_of::<AtomicU64>();
        FibMemory {
            used: fixed + self.words.stretches.blocks.used() * LEAF_BYTES + self.words.tails.used() * tail_bytes,
            retired: self.words.stretches.blocks.retired() * LEAF_BYTES + self.words.tails.retired() * tail_bytes,
        }
    }

    /// For a test that must fail: memory is used again at once, whatever readers may look at.
    #[cfg(all(test, not(loom)))]
    pub(super) fn forget_readers(&mut self) {
        self.words.stretches.blocks.forget_readers();
        self.words.tails.forget_readers();
    }

    fn change(&mut self, prefix: Ipv4Net, leaf: Option<EntryId>) -> Result<Option<EntryId>, FibError> {
        let prefix = prefix.trunc();
        if let Some(leaf) = leaf.filter(|leaf| *leaf > EntryId::LAST) {
            return Err(FibError::NoLeaf(leaf.0));
        }
        let mut units = 0;
        for half in halves(prefix) {
            // A word, and each word of a tail, has at most two runs for each prefix in it and one more; a tail two items
            // that lead to it; and a block has an even number.
            let longs = self.routes.long(half).len() + usize::from(prefix.prefix_len() > 16);
            units += if longs == 0 { 0 } else { 2 * WORDS_OF_HALF + 8 * longs };
        }
        // What comes leaves as much room again: a change that takes something out of a full table needs some, too.
        let comes = leaf.is_some() && self.routes.get(prefix).is_none();
        self.words.stretches.blocks.admit(if comes { 2 * units } else { units })?;
        self.words.tails.admit(1)?;
        self.write(prefix, leaf)
    }

    /// A change that is admitted, or whose room was kept.
    fn write(&mut self, prefix: Ipv4Net, leaf: Option<EntryId>) -> Result<Option<EntryId>, FibError> {
        let before = self.routes.put(prefix, leaf);
        if before == leaf {
            return Ok(before);
        }
        let address = prefix.network().to_bits();
        let length = prefix.prefix_len();
        if length > 16 {
            self.words.rebuild(&self.routes, half(address), address as u16..=(address | host_bits(length)) as u16)?;
            return Ok(before);
        }
        let cover = match leaf {
            Some(leaf) => Cover { length, leaf },
            None => self.routes.short_cover(address, length),
        };
        for half in halves(prefix) {
            if self.routes.cover_again(half, length, cover) {
                self.words.rebuild(&self.routes, half, 0..=u16::MAX)?;
            }
        }
        Ok(before)
    }
}

/// Bytes of a leaf.
const LEAF_BYTES: usize = size_of::<u16>();

/// The /16s that a prefix covers, or the one that it is in.
fn halves(prefix: Ipv4Net) -> RangeInclusive<usize> {
    half(prefix.network().to_bits())..=half(prefix.broadcast().to_bits())
}

const _: () = assert!(WORDS_OF_HALF * HALVES == WORDS);
