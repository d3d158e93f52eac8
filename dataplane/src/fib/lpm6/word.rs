//! The unit that the table is made of: a node of 32 slots behind one 64-bit word.
//!
//! ```text
//! word   63                             32 31                            1   0
//!       +--------------------------------+--------------------------------+---+
//!       |              base              |  bit i: slot i begins a new run | L |
//!       +--------------------------------+--------------------------------+---+
//! L = 0: leaf of slot i = leaves[base + number of bits set in 1..=i]
//! L = 1: word of slot i =  words[base + number of bits set in 0..=i]
//! ```
//!
//! Neighbouring slots that say the same share one item. A node ends where all its slots are leaves, and then an item has
//! 16 bits; where one slot leads on, all its items are words. A word without runs is a leaf by itself: its base is the
//! leaf, since the first leaves of the arena are their own index. A reader loads a word once, so it sees a node before a
//! change or after it. (Counting runs by bits: Asai and Ohara, "Poptrie", 2015.)

use std::sync::Arc;

use super::{Lpm6, ROOTS};
use crate::fib::blocks::Blocks;
use crate::fib::error::FibError;
use crate::fib::next_hop::EntryId;
use crate::fib::options::FibMemory;
use crate::fib::stretch::{IDENTITY, SLOTS, base, load_leaf};
use crate::fib::sync::{AtomicU16, AtomicU64, Ordering, publish_order};

/// The word's items are words.
pub const LEADS_ON: u64 = 1;

/// The one who writes words and leaves.
#[derive(Debug)]
pub struct Words {
    table: Arc<Lpm6>,
    /// Each arena has two halves, of which one is filled: see [`Words::turn`].
    halves: [Half; 2],
    filling: usize,
    /// What was replaced since [`Words::retire`] was last called.
    replaced: Vec<u64>,
    retired: usize,
}

/// The books of one half of both arenas.
#[derive(Debug)]
struct Half {
    words: Blocks,
    leaves: Blocks,
}

impl Words {
    /// Those of an empty table, of which `retired` bytes of each kind may wait for readers.
    pub fn new(table: Arc<Lpm6>, retired: usize) -> Words {
        for (index, leaf) in (0..=EntryId::LAST.0).zip(table.leaves.iter()).take(IDENTITY) {
            leaf.store(index, Ordering::Relaxed);
        }
        let halves = [0, 1].map(|half| Half::new(&table, half, retired));
        Words { table, halves, filling: 0, replaced: Vec::new(), retired }
    }

    /// Whether a change that writes at most `nodes` nodes may begin. After this says yes, [`Words::write`] cannot fail.
    ///
    /// # Errors
    /// Readers stand still, or there is no room.
    pub fn admit(&mut self, nodes: usize) -> Result<(), FibError> {
        let Half { words, leaves } = self.half();
        words.admit(nodes * SLOTS)?;
        leaves.admit(nodes * SLOTS)
    }

    /// See [`Blocks::begin`].
    pub fn begin(&mut self) {
        let Half { words, leaves } = self.half();
        words.begin();
        leaves.begin();
    }

    /// See [`Blocks::end`].
    pub fn end(&mut self) {
        let Half { words, leaves } = self.half();
        words.end();
        leaves.end();
    }

    /// See [`Blocks::reclaim`].
    pub fn reclaim(&mut self) {
        for Half { words, leaves } in &mut self.halves {
            words.reclaim();
            leaves.reclaim();
        }
    }

    /// See [`super::Lpm6Writer::memory`].
    pub fn memory(&self) -> FibMemory {
        let bytes = |words: usize, leaves: usize| words * size_of::<AtomicU64>() + leaves * size_of::<AtomicU16>();
        let mut memory = FibMemory { used: bytes(ROOTS, IDENTITY), retired: 0 };
        for Half { words, leaves } in &self.halves {
            memory.used += bytes(words.used(), leaves.used());
            memory.retired += bytes(words.retired(), leaves.retired());
        }
        memory
    }

    /// From here on fills the other half, from its beginning. False where readers may still look at something there: then
    /// nothing has changed.
    pub fn turn(&mut self) -> bool {
        self.reclaim();
        let other = 1 - self.filling;
        let Half { words, leaves } = &self.halves[other];
        if words.used() + words.retired() + leaves.used() + leaves.retired() > 0 {
            return false;
        }
        self.halves[other] = Half::new(&self.table, other, self.retired);
        self.filling = other;
        true
    }

    /// See [`Blocks::forget_readers`].
    #[cfg(all(test, not(loom)))]
    pub fn forget_readers(&mut self) {
        let Half { words, leaves } = self.half();
        words.forget_readers();
        leaves.forget_readers();
    }

    fn half(&mut self) -> &mut Half {
        &mut self.halves[self.filling]
    }

    /// The word for a node with these slots, where it had `old`: that again if the runs stay, with its items changed in
    /// place, each by one store; else one that leads to a new block, which the caller stores where readers find it.
    ///
    /// # Errors
    /// There is no room (never after enough was admitted).
    pub fn write(&mut self, old: u64, slots: &[u64; SLOTS]) -> Result<u64, FibError> {
        let mut kind = 0;
        for (bit, pair) in (1..).zip(slots.windows(2)) {
            kind |= u32::from(pair.first() != pair.last()) << bit;
        }
        if slots.iter().any(|slot| *slot as u32 != 0) {
            kind |= LEADS_ON as u32;
        } else if kind == 0 {
            self.replace(old);
            return Ok(slots.first().copied().unwrap_or(0));
        }
        let items = slots.iter().enumerate().filter(|(slot, _)| *slot == 0 || kind >> slot & 1 == 1);
        let items = items.map(|(_, item)| *item);
        let leads_on = kind & LEADS_ON as u32 != 0;
        if kind == old as u32 {
            if leads_on {
                for (word, item) in self.table.words.iter().skip(base(old) as usize + 1).zip(items) {
                    if word.load(Ordering::Relaxed) != item {
                        word.store(item, publish_order());
                    }
                }
            } else {
                for (index, item) in (base(old)..).zip(items) {
                    if load_leaf(&self.table.leaves, index) != base(item) as u16 {
                        self.put_leaf(index, item);
                    }
                }
            }
            return Ok(old);
        }
        let count = units(kind);
        let base = if leads_on {
            let start = self.half().words.take(count).ok_or(FibError::Full)?;
            for (word, item) in self.table.words.iter().skip(start as usize).zip(items) {
                // The store of the word that leads here orders it.
                word.store(item, Ordering::Relaxed);
            }
            start - 1
        } else {
            let start = self.half().leaves.take(count).ok_or(FibError::Full)?;
            (start..).zip(items).for_each(|(index, item)| self.put_leaf(index, item));
            start
        };
        self.replace(old);
        Ok(u64::from(base) << 32 | u64::from(kind))
    }

    /// Stores a word of the root, if it is another.
    pub fn store_root(&self, root: usize, word: u64) {
        if let Some(place) = self.table.words.get(root).filter(|place| place.load(Ordering::Relaxed) != word) {
            place.store(word, publish_order());
        }
    }

    /// Retires the blocks that were replaced. Call when no word that readers can find leads to them any more.
    pub fn retire(&mut self) {
        let [low, high] = &mut self.halves;
        for word in self.replaced.drain(..) {
            let kind = word as u32;
            if u64::from(kind) & LEADS_ON != 0 {
                let start = base(word) + 1;
                let half = if start < Half::first_word(&self.table, 1) { &mut *low } else { &mut *high };
                half.words.retire(start, units(kind));
            } else {
                let start = base(word);
                let half = if start < Half::first_leaf(&self.table, 1) { &mut *low } else { &mut *high };
                half.leaves.retire(start, units(kind));
            }
        }
    }

    /// Notes what is no node's word any more.
    pub fn replace(&mut self, word: u64) {
        if word as u32 != 0 {
            self.replaced.push(word);
        }
    }

    fn put_leaf(&self, index: u32, item: u64) {
        if let Some(leaf) = self.table.leaves.get(index as usize) {
            // A word's store orders it, or it replaces a leaf that means something by itself.
            leaf.store(base(item) as u16, Ordering::Relaxed);
        }
    }
}

impl Half {
    /// Nothing in use.
    fn new(table: &Lpm6, half: usize, retired: usize) -> Half {
        let blocks = |first: fn(&Lpm6, usize) -> u32, item: usize| {
            Blocks::new(Arc::clone(&table.domain), first(table, half), first(table, half + 1), SLOTS, retired / item)
        };
        Half {
            words: blocks(Half::first_word, size_of::<AtomicU64>()),
            leaves: blocks(Half::first_leaf, size_of::<AtomicU16>()),
        }
    }

    /// Where the words of a half begin.
    fn first_word(table: &Lpm6, half: usize) -> u32 {
        (ROOTS + (table.words.len() - ROOTS) / 2 * half) as u32
    }

    /// Where the leaves of a half begin.
    fn first_leaf(table: &Lpm6, half: usize) -> u32 {
        (IDENTITY + (table.leaves.len() - IDENTITY) / 2 * half) as u32
    }
}

/// The size of a node's block: one item a run, and of leaves an even number.
fn units(kind: u32) -> usize {
    let runs = (kind & !(LEADS_ON as u32)).count_ones() as usize + 1;
    if u64::from(kind) & LEADS_ON != 0 { runs } else { runs.next_multiple_of(2) }
}
