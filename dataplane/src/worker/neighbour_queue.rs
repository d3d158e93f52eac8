//! Packets that wait until their neighbour's Ethernet address is known.
//!
//! Few and bounded, per neighbour and in all, so that neighbours that never answer cannot take the memory that
//! reception needs. RFC 1122, 2.3.2.2 asks to keep at least one packet; a handful more lets a stream begin whole.

use std::net::IpAddr;

use arrayvec::ArrayVec;

use crate::arch::{Tick, TickSpan};
use crate::dpdk::Mbuf;
use crate::fib::{NeighbourTable, PortIndex};

use super::moment::Publication;

/// Packets that wait for one neighbour at the most.
pub const PACKETS_PER_NEIGHBOUR: usize = 16;
/// Neighbours that packets wait for at the most.
pub const NEIGHBOURS: usize = 32;
/// Of the packets that found no place, one in this many still has its neighbour asked for: a sweep over many
/// addresses must not keep a host that does answer from ever being asked.
const ASK_ONE_IN: u64 = 64;

/// What became of a packet that is to wait.
pub(super) enum Held {
    /// It is the first to wait for this neighbour, which must be asked for.
    First,
    /// It waits behind others.
    Behind,
    /// There is no room for it; whether to ask for the neighbour all the same.
    Full(Mbuf, bool),
}

/// The packets that wait for one neighbour.
struct Waiting {
    port: PortIndex,
    address: IpAddr,
    since: Tick,
    packets: ArrayVec<Mbuf, PACKETS_PER_NEIGHBOUR>,
}

/// What became of a neighbour that packets waited for.
pub(super) enum Outcome {
    /// Its address is known now.
    Resolved { port: PortIndex, address: IpAddr },
    /// It did not answer.
    TimedOut,
}

/// All waiting packets.
pub(super) struct NeighbourQueue {
    waiting: Vec<Waiting>,
    refused: u64,
    /// The state whose neighbours were last looked at.
    looked_at: Publication,
}

impl NeighbourQueue {
    /// An empty queue. All memory it will ever need is taken here.
    pub fn new() -> NeighbourQueue {
        NeighbourQueue { waiting: Vec::with_capacity(NEIGHBOURS), refused: 0, looked_at: Publication::NONE }
    }

    /// Has a packet wait.
    pub fn hold(&mut self, mbuf: Mbuf, port: PortIndex, address: IpAddr, now: Tick) -> Held {
        if let Some(waiting) = self.waiting.iter_mut().find(|w| w.address == address && w.port == port) {
            return match waiting.packets.try_push(mbuf) {
                Ok(()) => Held::Behind,
                Err(full) => Held::Full(full.element(), false),
            };
        }
        if self.waiting.len() == NEIGHBOURS {
            self.refused += 1;
            return Held::Full(mbuf, self.refused % ASK_ONE_IN == 1);
        }
        let mut packets = ArrayVec::new();
        packets.push(mbuf);
        self.waiting.push(Waiting { port, address, since: now, packets });
        Held::First
    }

    /// Whether nobody waits.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether anything was published since the neighbours were last looked at, or one has been waited for too long.
    pub fn may_be_ready(&self, current: Publication, now: Tick, timeout: TickSpan) -> bool {
        current != self.looked_at || self.deadline(timeout).is_some_and(|deadline| deadline <= now)
    }

    /// Takes note that all neighbours of this state have been looked at.
    pub fn looked_at(&mut self, current: Publication) {
        self.looked_at = current;
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.waiting.iter().map(|waiting| waiting.packets.len()).sum()
    }

    /// When the first of them has waited for `timeout`.
    pub fn deadline(&self, timeout: TickSpan) -> Option<Tick> {
        self.waiting.iter().map(|waiting| waiting.since + timeout).min()
    }

    /// The next neighbour that is resolved or has been waited for too long, and its packets in order.
    pub fn next_ready(
        &mut self,
        neighbours: &NeighbourTable,
        now: Tick,
        timeout: TickSpan,
    ) -> Option<(Outcome, ArrayVec<Mbuf, PACKETS_PER_NEIGHBOUR>)> {
        let (at, outcome) = self.waiting.iter().enumerate().find_map(|(at, waiting)| {
            let (port, address) = (waiting.port, waiting.address);
            if neighbours.find(port, address).is_some_and(|neighbour| neighbour.mac.is_some()) {
                Some((at, Outcome::Resolved { port, address }))
            } else {
                (now.since(waiting.since) >= timeout).then_some((at, Outcome::TimedOut))
            }
        })?;
        Some((outcome, self.waiting.swap_remove(at).packets))
    }

    /// The packets of any neighbour; None when nobody waits.
    pub fn take_any(&mut self) -> Option<ArrayVec<Mbuf, PACKETS_PER_NEIGHBOUR>> {
        self.waiting.pop().map(|waiting| waiting.packets)
    }
}
