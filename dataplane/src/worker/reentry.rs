//! Packets that were taken out of pooled packets and go through the whole input again.
//!
//! A worker receives only when this queue is empty, so it holds at most what one burst can contain: no packet inside
//! is shorter than its IP header, and pooled packets inside pooled packets only shrink.

use std::collections::VecDeque;

use crate::dpdk::{BURST, Mbuf};

use super::ethernet_input::IpBurst;
use super::origin::Origin;

/// Rows that one index can have.
const MAX_ROWS: usize = 255;
/// Room for a burst of pooled packets with every row there can be, and the packets of the last burst that were nested.
const CAPACITY: usize = BURST * MAX_ROWS * 2;

/// The queue.
pub(super) struct Reentry {
    queue: VecDeque<(Mbuf, Origin)>,
}

impl Reentry {
    /// An empty queue with all the memory it will ever need.
    pub fn new() -> Reentry {
        Reentry { queue: VecDeque::with_capacity(CAPACITY) }
    }

    /// Packets in it.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether it is empty.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds one; gives it back where there is no room.
    #[inline]
    pub fn push(&mut self, mbuf: Mbuf, origin: Origin) -> Result<(), Mbuf> {
        if self.queue.len() == CAPACITY {
            return Err(mbuf);
        }
        self.queue.push_back((mbuf, origin));
        Ok(())
    }

    /// Moves the oldest to `burst`, as many as fit.
    #[inline]
    pub fn fill(&mut self, burst: &mut IpBurst) {
        let count = burst.remaining_capacity().min(self.queue.len());
        burst.extend(self.queue.drain(..count));
    }
}
