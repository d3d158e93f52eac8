//! Packets that were taken out of pooled packets and go through the whole input again.
//!
//! They go before anything that came behind the pooled packet they were in: a burst is not done before its queue is
//! empty, so nothing is left here between iterations. There is a queue for each depth, because what a nested pooled
//! packet held goes before what lay behind that packet.

use std::collections::VecDeque;

use crate::dpdk::{BURST, Mbuf};

use super::ethernet_input::IpBurst;
use super::origin::Origin;

/// How many pooled packets a packet may be inside of. Routers that pool do not pool what is pooled already, so one
/// level is all that a network of ours makes; two leave room for tunnels of others.
pub(super) const MAX_DEPTH: usize = 2;
/// What one burst can hold: every packet of it pooled, with every row there can be.
const CAPACITY: usize = BURST * crate::pool::wire::MAX_ROWS;

/// The queues.
pub(super) struct Reentry {
    /// By the depth of the pooled packets that their packets were in.
    queues: [VecDeque<(Mbuf, Origin)>; MAX_DEPTH],
}

impl Reentry {
    /// Empty queues with all the memory they will ever need.
    pub fn new() -> Reentry {
        Reentry { queues: std::array::from_fn(|_| VecDeque::with_capacity(CAPACITY)) }
    }

    /// Packets in all of them.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    /// Packets that were in pooled packets of this depth.
    #[inline(always)]
    pub fn waiting(&self, depth: u8) -> usize {
        self.queues.get(usize::from(depth)).map_or(0, VecDeque::len)
    }

    /// Adds a packet that was in a pooled packet of the depth `depth`; gives it back where there is no room.
    #[inline]
    pub fn push(&mut self, depth: u8, mbuf: Mbuf, origin: Origin) -> Result<(), Mbuf> {
        match self.queues.get_mut(usize::from(depth)) {
            Some(queue) if queue.len() < CAPACITY => {
                queue.push_back((mbuf, origin));
                Ok(())
            }
            _ => Err(mbuf),
        }
    }

    /// Moves the oldest to `burst`, as many as fit.
    #[inline(always)]
    pub fn fill(&mut self, depth: u8, burst: &mut IpBurst) {
        let Some(queue) = self.queues.get_mut(usize::from(depth)) else { return };
        let count = burst.remaining_capacity().min(queue.len());
        burst.extend(queue.drain(..count));
    }
}
