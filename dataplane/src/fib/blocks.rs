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

/// So many blocks are retired under one epoch: readers announce a quiescent state only once for all of them, and the
/// line that holds the epoch is not taken from them at every change.
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
    /// Everything from here to `capacity` was never used.
    next: u32,
    capacity: u32,
    /// Retired, with the epoch that all readers must have reached; the oldest first.
    retired: VecDeque<(u64, Vec<Block>)>,
    /// Retired since an epoch was last begun.
    fresh: Vec<Block>,
    retired_units: usize,
    /// More is not retired than this and what one change retires.
    bound: usize,
    used_units: usize,
    /// Room that is kept so that the transaction which runs can be undone; None outside of one.
    owed: Option<u32>,
}

impl Blocks {
    /// Nothing in use of an arena whose units from `first` to `capacity` may be handed out, in blocks of at most
    /// `largest` units. At most `bound` units wait for readers before changes are refused.
    pub fn new(domain: Arc<Domain>, first: u32, capacity: u32, largest: usize, bound: usize) -> Blocks {
        Blocks {
            domain,
            free: vec![Vec::new(); largest + 1],
            next: first,
            capacity,
            retired: VecDeque::new(),
            fresh: Vec::new(),
            retired_units: 0,
            bound,
            used_units: 0,
            owed: None,
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

    /// Whether a change that takes at most `units` may begin. After this says yes, taking them cannot fail.
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
        let room = (self.capacity - self.next).saturating_sub(self.owed.unwrap_or(0));
        if room as usize >= units { Ok(()) } else { Err(FibError::Full) }
    }

    /// A block of `units`, with whatever was in it before. None where there is no room: never after [`Blocks::admit`].
    pub fn take(&mut self, units: usize) -> Option<u32> {
        let start = match self.free.get_mut(units)?.pop() {
            Some(start) => start,
            None => {
                let units = u32::try_from(units).ok()?;
                let start = self.next;
                self.next = self.next.checked_add(units).filter(|end| *end <= self.capacity)?;
                start
            }
        };
        self.used_units += units;
        Some(start)
    }

    /// No word leads to this block any more.
    pub fn retire(&mut self, start: u32, units: usize) {
        self.used_units -= units;
        self.retired_units += units;
        let units = units as u32;
        if let Some(owed) = &mut self.owed {
            *owed = owed.saturating_add(units);
        }
        self.fresh.push(Block { start, units });
        if self.fresh.len() >= BATCH {
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
                }
            }
        }
    }

    /// From here on what is retired may have to be put back.
    pub fn begin(&mut self) {
        self.owed = Some(0);
    }

    /// The transaction stays, or its undoing begins: the room that was kept may be used.
    pub fn end(&mut self) {
        self.owed = None;
    }
}
