//! The unit that tables are made of: a stretch of 32 slots, each with a leaf, behind one 64-bit word.
//!
//! ```text
//! word   63                             32 31                              0
//!       +--------------------------------+--------------------------------+
//!       |       base: index of a leaf    | bit i: slot i begins a new run |   (bit 0 is never set)
//!       +--------------------------------+--------------------------------+
//! leaf of slot i = leaves[base + number of bits set in 0..=i]
//! ```
//!
//! Neighbouring slots with the same leaf share one 16-bit leaf, so a stretch that is all the same has one, and its base is
//! that leaf itself: the first leaves of the arena are their own index. A leaf from [`FIRST_TAIL`] on says that more
//! address bits decide; where to go on stands before the block's leaves, two items for each such leaf, the last first:
//!
//! ```text
//! block | tail 1 low, high | tail 0 low, high | leaf 0 | leaf 1 | ... |
//!                                             ^ base
//! ```
//!
//! A reader loads the word once and then one leaf, so it sees a stretch before or after a change and nothing between.
//! The writer changes a stretch with one store: of a leaf in place where the runs stay, else of a word that leads to a
//! new block, and then retires the old one. (The idea of bit-counted runs of leaves: Asai and Ohara, "Poptrie", 2015.)

use std::sync::Arc;

use super::arena::Arena;
use super::blocks::Blocks;
use super::error::FibError;
use super::sync::{AtomicU16, AtomicU64, Ordering, publish_order};

/// Slots of a stretch.
pub const SLOTS: usize = 32;
/// Leaves from here on are no forwarding entries: this one less is the rank of a tail in its block.
pub const FIRST_TAIL: u16 = 0xffe0;
/// So many leaves at the beginning of the arena are their own index.
#[cfg(not(loom))]
pub const IDENTITY: usize = 1 << 16;
#[cfg(loom)]
pub const IDENTITY: usize = 4;
/// The most units a stretch's block has: every slot a run of its own and a tail.
pub const LARGEST_BLOCK: usize = 3 * SLOTS;

/// The word of a stretch whose slots all have this leaf.
#[inline(always)]
pub fn uniform(leaf: u16) -> u64 {
    u64::from(leaf) << 32
}

/// The index of a slot's leaf. Only the low five bits of `slot` count.
#[inline(always)]
pub fn leaf_index(word: u64, slot: u32) -> u32 {
    base(word).wrapping_add(((word as u32) << (31 - (slot & 31))).count_ones())
}

/// The index of the first leaf.
#[inline(always)]
pub fn base(word: u64) -> u32 {
    (word >> 32) as u32
}

/// The index of the two items that say where the tail of a rank goes on.
#[inline(always)]
pub fn tail_index(word: u64, rank: u32) -> u32 {
    base(word).wrapping_sub(2 * (rank + 1))
}

/// A leaf, once the word that leads to it was loaded with Acquire.
#[inline(always)]
pub fn load_leaf(leaves: &[AtomicU16], index: u32) -> u16 {
    leaves.get(index as usize).map_or(0, |leaf| leaf.load(Ordering::Relaxed))
}

/// Where a tail goes on.
#[inline(always)]
pub fn load_tail(leaves: &[AtomicU16], word: u64, rank: u32) -> u32 {
    let index = tail_index(word, rank);
    u32::from(load_leaf(leaves, index)) | u32::from(load_leaf(leaves, index.wrapping_add(1))) << 16
}

/// What a stretch is to say: a leaf for each slot, and where each tail among them goes on, by rank.
#[derive(Clone, Debug)]
pub struct Stretch {
    pub slots: [u16; SLOTS],
    pub tails: arrayvec::ArrayVec<u32, SLOTS>,
}

impl Stretch {
    /// All slots the same.
    pub fn filled(leaf: u16) -> Stretch {
        Stretch { slots: [leaf; SLOTS], tails: arrayvec::ArrayVec::new() }
    }

    /// Which slots begin a run: bits 1 to 31.
    fn runs(&self) -> u32 {
        let mut runs = 0;
        for (bit, pair) in (1..).zip(self.slots.windows(2)) {
            runs |= u32::from(pair.first() != pair.last()) << bit;
        }
        runs
    }

    /// The first leaf of each run.
    fn leaves(&self, runs: u32) -> impl Iterator<Item = u16> {
        (0..).zip(self.slots).filter(move |(slot, _)| *slot == 0 || runs >> slot & 1 == 1).map(|(_, leaf)| leaf)
    }
}

/// The one who writes stretches.
#[derive(Debug)]
pub struct StretchWriter {
    leaves: Arc<Arena<AtomicU16>>,
    pub blocks: Blocks,
}

impl StretchWriter {
    /// Writes blocks into `leaves`, of which `blocks` keeps the book, from [`IDENTITY`] on.
    pub fn new(leaves: Arc<Arena<AtomicU16>>, blocks: Blocks) -> StretchWriter {
        for (index, leaf) in (0..FIRST_TAIL).zip(leaves.iter()).take(IDENTITY) {
            leaf.store(index, Ordering::Relaxed);
        }
        StretchWriter { leaves, blocks }
    }

    /// The tails of a word, by rank. Only the writer reads like this: nobody else stores.
    pub fn tails(&self, word: &AtomicU64) -> arrayvec::ArrayVec<u32, SLOTS> {
        self.tails_of(word.load(Ordering::Relaxed)).collect()
    }

    /// Where the slot goes on, if it has a tail.
    pub fn tail(&self, word: &AtomicU64, slot: u32) -> Option<u32> {
        let word = word.load(Ordering::Relaxed);
        let rank = load_leaf(&self.leaves, leaf_index(word, slot)).checked_sub(FIRST_TAIL)?;
        Some(load_tail(&self.leaves, word, u32::from(rank)))
    }

    /// Has a word say something else. Each slot changes with one store, to the new leaf from the old.
    ///
    /// # Errors
    /// There is no room (never after enough was admitted); then the word says what it said.
    pub fn store(&mut self, word: &AtomicU64, stretch: &Stretch) -> Result<(), FibError> {
        let runs = stretch.runs();
        let old = word.load(Ordering::Relaxed);
        if runs == 0 {
            let new = uniform(stretch.slots.first().copied().unwrap_or(0));
            if new != old {
                word.store(new, publish_order());
                self.retire(old);
            }
            return Ok(());
        }
        if old as u32 == runs && self.tails_of(old).eq(stretch.tails.iter().copied()) {
            for (index, leaf) in (base(old)..).zip(stretch.leaves(runs)) {
                if load_leaf(&self.leaves, index) != leaf {
                    self.put(index, leaf);
                }
            }
            return Ok(());
        }
        let start = self.blocks.take(units(runs, stretch.tails.len())).ok_or(FibError::Full)?;
        let base = start + 2 * stretch.tails.len() as u32;
        let new = u64::from(base) << 32 | u64::from(runs);
        for (rank, tail) in (0..).zip(&stretch.tails) {
            self.put(tail_index(new, rank), *tail as u16);
            self.put(tail_index(new, rank) + 1, (*tail >> 16) as u16);
        }
        for (index, leaf) in (base..).zip(stretch.leaves(runs)) {
            self.put(index, leaf);
        }
        word.store(new, publish_order());
        self.retire(old);
        Ok(())
    }

    /// A word that readers are no longer led to: its block is retired.
    pub fn retire(&mut self, word: u64) {
        let runs = word as u32;
        if runs != 0 {
            let tails = self.tail_count(word);
            self.blocks.retire(base(word) - 2 * tails, units(runs, tails as usize));
        }
    }

    fn put(&self, index: u32, leaf: u16) {
        if let Some(item) = self.leaves.get(index as usize) {
            // The word's store orders it, or it replaces a leaf that means something by itself.
            item.store(leaf, Ordering::Relaxed);
        }
    }

    fn tails_of(&self, word: u64) -> impl Iterator<Item = u32> {
        (0..self.tail_count(word)).map(move |rank| load_tail(&self.leaves, word, rank))
    }

    fn tail_count(&self, word: u64) -> u32 {
        let runs = word as u32;
        if runs == 0 {
            return 0;
        }
        let leaves = base(word)..base(word) + runs.count_ones() + 1;
        leaves.filter(|index| load_leaf(&self.leaves, *index) >= FIRST_TAIL).count() as u32
    }
}

/// The size of a block: two items a tail, one a run, and an even number.
fn units(runs: u32, tails: usize) -> usize {
    (2 * tails + runs.count_ones() as usize + 1).next_multiple_of(2)
}
