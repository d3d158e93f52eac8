//! Packets that were taken out of pooled packets and go through the whole input again.
//!
//! They go before anything that came behind the pooled packet they were in: a burst is not done before its queue is
//! empty, so nothing is left here between iterations. There is a queue for each depth, because what a nested pooled
//! packet held goes before what lay behind that packet.
//!
//! They wait in bursts, as they will be looked up. Nearly all are plain, and were found so where they were cut, from bytes
//! that had just been read; a burst of such packets goes to the look-up as it is.

use std::collections::VecDeque;

use crate::dpdk::{BURST, Mbuf};
use crate::packet::ethernet::HEADER_LEN;

use super::ip_input::SoundBurst;
use super::origin::Origin;

/// How many pooled packets a packet may be inside of. Routers that pool do not pool what is pooled already, so one
/// level is all that a network of ours makes; two leave room for tunnels of others.
pub(super) const MAX_DEPTH: usize = 2;
/// Bursts that can wait at each depth. What a pooled packet held waits behind less than a burst, and what was in one more that
/// waited for its index.
const BURSTS: usize = (2 * crate::pool::wire::MAX_ROWS).div_ceil(BURST) + 2;

/// A burst of packets that wait.
pub(super) struct WaitingBurst {
    /// The packets.
    pub burst: SoundBurst,
    /// Whether all of them are known to be plain. Otherwise nothing is known of any.
    pub is_plain: bool,
}

/// The packets of one depth.
pub(super) struct Queue {
    /// Whole bursts.
    full: VecDeque<Box<WaitingBurst>>,
    /// The one that the next packet goes to.
    filling: Box<WaitingBurst>,
    /// Those that are not in use.
    // Boxed, as they change places with the others without being moved.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<WaitingBurst>>,
}

/// The queues.
pub(super) struct Reentry {
    /// By the depth of the pooled packets that their packets were in.
    queues: [Queue; MAX_DEPTH],
}

impl WaitingBurst {
    fn new() -> Box<WaitingBurst> {
        Box::new(WaitingBurst { burst: SoundBurst::new(), is_plain: true })
    }
}

impl Queue {
    fn new() -> Queue {
        let spare = (0..BURSTS).map(|_| WaitingBurst::new()).collect();
        Queue { full: VecDeque::with_capacity(BURSTS + 1), filling: WaitingBurst::new(), spare }
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.full.len() * BURST + self.filling.burst.len()
    }

    /// The burst that the next packet goes to, which has room; None where there is none.
    #[inline(always)]
    pub fn with_room(&mut self) -> Option<&mut SoundBurst> {
        let has_room = self.filling.burst.len() < BURST || self.next();
        has_room.then_some(&mut self.filling.burst)
    }

    /// Adds a packet; gives it back where there is no room. `plain_to`: whom it is for, where it is known to be plain.
    #[inline(always)]
    pub fn push(&mut self, mut mbuf: Mbuf, origin: Origin, plain_to: Option<u32>) -> Result<(), Mbuf> {
        let Some(burst) = self.with_room() else { return Err(mbuf) };
        match plain_to {
            Some(dst) if mbuf.headroom() >= HEADER_LEN => {
                mbuf.extend_front(HEADER_LEN);
                burst.push_plain(mbuf, origin, dst);
            }
            _ => {
                burst.push_special(mbuf, origin, 0);
                self.filling.is_plain = false;
            }
        }
        Ok(())
    }

    /// Has the next packet go to another burst; false where there is none.
    #[inline(never)]
    fn next(&mut self) -> bool {
        let Some(next) = self.spare.pop() else { return false };
        self.full.push_back(std::mem::replace(&mut self.filling, next));
        true
    }
}

impl Reentry {
    /// Empty queues with all the memory they will ever need.
    pub fn new() -> Reentry {
        Reentry { queues: std::array::from_fn(|_| Queue::new()) }
    }

    /// Packets in all of them.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.queues.iter().map(Queue::len).sum()
    }

    /// Packets that were in pooled packets of this depth.
    #[inline(always)]
    pub fn waiting(&self, depth: u8) -> usize {
        self.queues.get(usize::from(depth)).map_or(0, Queue::len)
    }

    /// Where packets go that were in pooled packets of this depth.
    #[inline(always)]
    pub fn queue(&mut self, depth: u8) -> Option<&mut Queue> {
        self.queues.get_mut(usize::from(depth))
    }

    /// Takes the oldest burst of a depth, full or the only one; None where no packet waits.
    #[inline(always)]
    pub fn take(&mut self, depth: u8) -> Option<Box<WaitingBurst>> {
        let queue = self.queues.get_mut(usize::from(depth))?;
        match queue.full.pop_front() {
            None if queue.filling.burst.len() > 0 => Some(std::mem::replace(&mut queue.filling, queue.spare.pop()?)),
            oldest => oldest,
        }
    }

    /// Takes back a burst of this depth that has gone on.
    #[inline(always)]
    pub fn give_back(&mut self, depth: u8, mut burst: Box<WaitingBurst>) {
        burst.is_plain = true;
        if let Some(queue) = self.queues.get_mut(usize::from(depth)) {
            queue.spare.push(burst);
        }
    }
}
