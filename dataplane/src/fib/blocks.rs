//! The writer's book of an arena: which stretches of it are blocks in use, free, or retired.
//!
//! A block that readers can no longer be led to is retired. It is used again only when every reader has been through a
//! quiescent state since ([`Domain`]). A reader that stands still makes the retired part grow up to a bound; from there
//! on changes are refused, so that a stuck worker cannot use up the memory. What a transaction retires it may have to
//! put back: so much room is kept for that while it runs, and so a transaction can always be undone.

use std::collections::VecDeque;
use std::sync::Arc;

use super::error::FibError;
use super::publication::Domain;

/// So many blocks are retired under one epoch: the line that holds the epoch is not taken from the readers at every change.
const BATCH: usize = 256;

/// A part of the arena.
#[derive(Clone, Copy, Debug)]
struct Block {
    start: u32,
    units: u32,
}

/// The blocks of one arena. Sizes and offsets count items of the arena ("units").
#[derive(Debug)]
pub struct Blocks {
    domain: Arc<Domain>,
    /// Free blocks, by size.
    free: Vec<Vec<u32>>,
    /// Where blocks are cut from when there is no free one of their size: from `next` to `end`.
    next: u32,
    end: u32,
    /// Retired, with the epoch that all readers must have reached; the oldest first.
    retired: VecDeque<(u64, Vec<Block>)>,
    /// Retired since an epoch was last begun.
    fresh: Vec<Block>,
    /// [`BATCH`], but in tests.
    batch: usize,
    retired_units: usize,
    /// A block was freed or taken since free blocks were last joined.
    changed: bool,
    /// More is not retired than this and what one change retires, or the undoing of a transaction.
    bound: usize,
    used_units: usize,
    /// Room that is kept so that the transaction which runs can be undone.
    owed: usize,
    /// Whether one runs.
    in_transaction: bool,
}

impl Blocks {
    /// Nothing in use of an arena whose units from `first` to `capacity` may be handed out, in blocks of at most
    /// `largest` units. At most `bound` units wait for readers before changes are refused.
    pub fn new(domain: Arc<Domain>, first: u32, capacity: u32, largest: usize, bound: usize) -> Blocks {
        Blocks {
            domain,
            free: vec![Vec::new(); largest + 1],
            next: first,
            end: capacity,
            retired: VecDeque::new(),
            fresh: Vec::new(),
            batch: BATCH,
            retired_units: 0,
            changed: false,
            bound,
            used_units: 0,
            owed: 0,
            in_transaction: false,
        }
    }

    /// Units in blocks that are in use.
    pub fn used(&self) -> usize {
        self.used_units
    }

    /// Units in blocks that wait for readers.
    pub fn retired(&self) -> usize {
        self.retired_units
    }

    /// Whether a change may begin that takes at most `units` and retires at most as many. After this says yes, taking
    /// them cannot fail, nor can putting back what a transaction retires by it.
    ///
    /// # Errors
    /// Readers stand still, or there is no room.
    pub fn admit(&mut self, units: usize) -> Result<(), FibError> {
        if self.retired_units > self.bound {
            self.reclaim();
            if self.retired_units > self.bound {
                return Err(FibError::ReadersStalled);
            }
        }
        // What is retired after this is owed only then: the room for it must not go to what is taken.
        let units = if self.in_transaction { 2 * units } else { units };
        if self.room() < units {
            self.reclaim();
            if std::mem::take(&mut self.changed) {
                self.sweep();
            }
        }
        if self.room() >= units { Ok(()) } else { Err(FibError::Full) }
    }

    /// Units that can be taken in blocks of any size, less what is kept.
    fn room(&self) -> usize {
        // Blocks that are all of one unit fit anywhere.
        let (1, [_, free]) = (self.free.len() - 1, self.free.as_slice()) else {
            return ((self.end - self.next) as usize).saturating_sub(self.owed);
        };
        ((self.end - self.next) as usize + free.len()).saturating_sub(self.owed)
    }

    /// Joins free blocks that are next to each other, and goes on cutting in the longest piece.
    fn sweep(&mut self) {
        let sizes = (0u32..).zip(&mut self.free);
        let mut free: Vec<_> =
            sizes.flat_map(|(units, starts)| starts.drain(..).map(move |start| (start, start + units))).collect();
        free.push((self.next, self.end));
        free.sort_unstable();
        let mut pieces: Vec<(u32, u32)> = Vec::new();
        for (start, end) in free {
            match pieces.last_mut() {
                Some((_, last)) if *last == start => *last = end,
                _ => pieces.push((start, end)),
            }
        }
        let longest = pieces.iter().copied().max_by_key(|(start, end)| end - start).unwrap_or_default();
        (self.next, self.end) = longest;
        let largest = self.free.len() - 1;
        for (mut start, end) in pieces.into_iter().filter(|piece| *piece != longest) {
            while start < end {
                let units = largest.min((end - start) as usize);
                if let Some(free) = self.free.get_mut(units) {
                    free.push(start);
                }
                start += units as u32;
            }
        }
    }

    /// A block of `units`, with whatever was in it before. None where there is no room: never after [`Blocks::admit`].
    pub fn take(&mut self, units: usize) -> Option<u32> {
        let start = match self.free.get_mut(units)?.pop() {
            Some(start) => start,
            None => {
                let units = u32::try_from(units).ok()?;
                let start = self.next;
                self.next = self.next.checked_add(units).filter(|next| *next <= self.end)?;
                start
            }
        };
        self.used_units += units;
        self.changed = true;
        Some(start)
    }

    /// No word leads to this block any more.
    pub fn retire(&mut self, start: u32, units: usize) {
        self.used_units -= units;
        self.retired_units += units;
        if self.in_transaction {
            self.owed += units;
        }
        self.fresh.push(Block { start, units: units as u32 });
        if self.fresh.len() >= self.batch {
            self.reclaim();
        }
    }

    /// Makes blocks free that no reader can be inside any more.
    pub fn reclaim(&mut self) {
        if !self.fresh.is_empty() {
            let epoch = self.domain.advance();
            self.retired.push_back((epoch, std::mem::take(&mut self.fresh)));
        }
        while let Some((epoch, _)) = self.retired.front()
            && self.domain.has_passed(*epoch)
        {
            for block in self.retired.pop_front().into_iter().flat_map(|(_, blocks)| blocks) {
                self.retired_units -= block.units as usize;
                if let Some(free) = self.free.get_mut(block.units as usize) {
                    free.push(block.start);
                    self.changed = true;
                }
            }
        }
    }

    /// From here on what is retired may have to be put back.
    pub fn begin(&mut self) {
        self.in_transaction = true;
    }

    /// The transaction stays, or its undoing begins: the room that was kept may be used.
    pub fn end(&mut self) {
        (self.in_transaction, self.owed) = (false, 0);
    }

    /// For a test that must fail: from here on readers are not waited for, and blocks are used again at once.
    #[cfg(test)]
    pub fn forget_readers(&mut self) {
        self.domain = Domain::new(0);
        self.batch = 1;
    }

    /// For tests in which a few changes have to be enough: every block waits under an epoch of its own.
    #[cfg(all(test, loom))]
    pub fn retire_each_alone(&mut self) {
        self.batch = 1;
    }
}
