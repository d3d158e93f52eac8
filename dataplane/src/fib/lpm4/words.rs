//! The words of the table, worked out anew from the list of routes where a change touches them.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::routes::{Long, Routes, host_bits};
use super::{Lpm4, MIXED, TAIL, TAILS, WORDS_OF_HALF};
use crate::fib::blocks::Blocks;
use crate::fib::error::FibError;
use crate::fib::stretch::{FIRST_TAIL, IDENTITY, LARGEST_BLOCK, SLOTS, Stretch, StretchWriter, uniform};
use crate::fib::sync::{AtomicU16, AtomicU64, Ordering, publish_order};

/// Addresses of a word, less one.
const WORD_SPAN: u16 = 0x1fff;

/// The table, and the book of what it uses.
#[derive(Debug)]
pub struct Words {
    table: Arc<Lpm4>,
    pub stretches: StretchWriter,
    /// A block is one tail.
    pub tails: Blocks,
}

impl Words {
    /// The words of an empty table, of which `retired` bytes may wait for readers.
    pub fn new(table: Arc<Lpm4>, retired: usize) -> Words {
        let domain = || Arc::clone(&table.domain);
        let room = table.leaves.len() as u32;
        let leaves = Blocks::new(domain(), IDENTITY as u32, room, LARGEST_BLOCK, retired / size_of::<AtomicU16>());
        let tails = Blocks::new(domain(), 0, TAILS as u32, 1, retired / (TAIL * size_of::<AtomicU64>()));
        let stretches = StretchWriter::new(Arc::clone(&table.leaves), leaves);
        Words { table, stretches, tails }
    }

    /// Works out anew what a range of addresses within a /16 leads to. Readers who ask the summary are sent to the words
    /// first, so that all see each address change at the same moment.
    pub fn rebuild(&mut self, routes: &Routes, half: usize, range: RangeInclusive<u16>) -> Result<(), FibError> {
        let table = Arc::clone(&self.table);
        let (Some(words), Some(summary)) =
            (table.words.get(half * WORDS_OF_HALF..(half + 1) * WORDS_OF_HALF), table.summary.get(half))
        else {
            return Ok(());
        };
        if summary.load(Ordering::Relaxed) != MIXED {
            summary.store(MIXED, publish_order());
        }
        let mut done = Ok(());
        for (start, word) in (0..).map(|index| index << 13).zip(words) {
            let end = start | WORD_SPAN;
            if start <= *range.end() && *range.start() <= end {
                let within = start.max(*range.start())..=end.min(*range.end());
                done = done.and(self.rebuild_word(routes, half, word, start, within));
            }
        }
        let first = words.first().map_or(0, |word| word.load(Ordering::Relaxed));
        if first as u32 == 0 && words.iter().all(|word| word.load(Ordering::Relaxed) == first) {
            summary.store((first >> 32) as u16, publish_order());
        }
        done
    }

    /// One word: the 8,192 addresses from `start` on. The tails of /24s outside of `range` stay as they are.
    fn rebuild_word(
        &mut self,
        routes: &Routes,
        half: usize,
        word: &AtomicU64,
        start: u16,
        range: RangeInclusive<u16>,
    ) -> Result<(), FibError> {
        let mut stretch = Stretch::filled(routes.cover(half).leaf.0);
        self.paint(routes.long(half), word, start, range, &mut stretch)?;
        let tails_before = self.stretches.tails(word);
        self.stretches.store(word, &stretch)?;
        for tail in tails_before.iter().filter(|tail| !stretch.tails.contains(tail)) {
            self.retire_tail(*tail);
        }
        Ok(())
    }

    /// Gives the slots of a word the leaves of the prefixes that reach into it.
    fn paint(
        &mut self,
        routes: &[Long],
        word: &AtomicU64,
        start: u16,
        range: RangeInclusive<u16>,
        stretch: &mut Stretch,
    ) -> Result<(), FibError> {
        let end = start | WORD_SPAN;
        for wider in [17, 18].into_iter().filter_map(|length| wider(routes, start, length)) {
            stretch.slots = [wider.leaf.0; SLOTS];
        }
        let first = routes.partition_point(|long| long.start < start);
        let mut within = routes.get(first..).unwrap_or(&[]).iter().take_while(|long| long.start <= end).peekable();
        while let Some(long) = within.next() {
            let slot = usize::from(long.start - start) >> 8;
            if long.length <= 24 {
                let slots = stretch.slots.get_mut(slot..=usize::from(long.end().min(end) - start) >> 8);
                slots.into_iter().flatten().for_each(|leaf| *leaf = long.leaf.0);
                continue;
            }
            // All that are longer than /24 in this /24 stand here together.
            let slot_end = long.start | 0xff;
            let from = routes.partition_point(|other| (other.start, other.length) < (long.start, long.length));
            let to = routes.partition_point(|other| other.start <= slot_end);
            while within.next_if(|other| other.start <= slot_end).is_some() {}
            let Some(leaf) = stretch.slots.get_mut(slot) else { continue };
            let default = *leaf;
            let existing = self.stretches.tail(word, slot as u32);
            let tail = match existing {
                Some(tail) if *range.start() > slot_end || *range.end() < slot_end & 0xff00 => tail,
                Some(tail) => self.fill_tail(tail, default, routes.get(from..to).unwrap_or(&[])).map(|()| tail)?,
                None => {
                    let tail = self.take_tail(default)?;
                    self.fill_tail(tail, default, routes.get(from..to).unwrap_or(&[])).map(|()| tail)?
                }
            };
            *leaf = FIRST_TAIL + stretch.tails.len() as u16;
            stretch.tails.push(tail);
        }
        Ok(())
    }

    /// A tail that says the same of all its addresses. No reader is led to it yet.
    fn take_tail(&mut self, leaf: u16) -> Result<u32, FibError> {
        let tail = self.tails.take(1).ok_or(FibError::Full)?;
        for word in tail_words(&self.table, tail) {
            word.store(uniform(leaf), Ordering::Relaxed);
        }
        Ok(tail)
    }

    /// Gives the addresses of a /24 the leaves of the prefixes longer than /24 in it, or of the one that covers it.
    fn fill_tail(&mut self, tail: u32, default: u16, routes: &[Long]) -> Result<(), FibError> {
        let mut leaves = [default; 256];
        for long in routes {
            let addresses = leaves.get_mut(usize::from(long.start & 0xff)..=usize::from(long.end() & 0xff));
            addresses.into_iter().flatten().for_each(|leaf| *leaf = long.leaf.0);
        }
        let table = Arc::clone(&self.table);
        let (slots, _) = leaves.as_chunks::<SLOTS>();
        for (word, slots) in tail_words(&table, tail).iter().zip(slots) {
            self.stretches.store(word, &Stretch { slots: *slots, tails: arrayvec::ArrayVec::new() })?;
        }
        Ok(())
    }

    /// No word leads to this tail any more. What its words say stays until no reader can be there.
    fn retire_tail(&mut self, tail: u32) {
        let table = Arc::clone(&self.table);
        for word in tail_words(&table, tail) {
            self.stretches.retire(word.load(Ordering::Relaxed));
        }
        self.tails.retire(tail, 1);
    }
}

/// The eight words of a tail.
fn tail_words(table: &Lpm4, tail: u32) -> &[AtomicU64] {
    let first = tail as usize * TAIL;
    table.tails.get(first..first + TAIL).unwrap_or(&[])
}

/// The prefix of a length, /17 or /18, that covers a word but begins before it.
fn wider(routes: &[Long], start: u16, length: u8) -> Option<Long> {
    let first = start & !(host_bits(length) as u16);
    if first == start {
        return None;
    }
    let at = routes.binary_search_by_key(&(first, length), |long| (long.start, long.length)).ok()?;
    routes.get(at).copied()
}
