//! The short way of whole bursts: where all that was received are plain packets whose ways are remembered, and nothing is
//! pooled, they are looked up, written and handed on together, and nothing is asked of any of them alone.
//!
//! What it does to a packet is what `send_each` in `ip_input` does; whatever needs more than that has the whole burst go there.

use arrayvec::ArrayVec;

use crate::arch::Starts;
use crate::dpdk::{BURST, Mbuf, Nic};
use crate::fib::EntryId;
use crate::packet::ethernet::HEADER_LEN;

use super::counters::Counter;
use super::hop_cache::{Hop, HopCache};
use super::moment::Moment;
use super::stages::Stages;
use super::stopwatch::Stage;

/// The frames of a burst, by what they begin with.
pub(super) type FrameStarts<'a> = ArrayVec<&'a mut [u8; Starts::LEN], BURST>;

/// Where the packets of a burst leave.
pub(super) enum Leave {
    /// All by the port at this position.
    Together(usize),
    /// By several ports: those of these leaves.
    Apart([EntryId; BURST]),
}

impl<N: Nic> Stages<N> {
    /// Looks up a burst of plain packets, and makes them what they are when they leave. None, and nothing has changed, where one
    /// of them needs more.
    #[inline(always)]
    pub(super) fn write_short(
        &mut self,
        starts: &mut FrameStarts<'_>,
        lengths: &[u16; BURST],
        seen: &Starts,
        moment: &Moment<'_>,
    ) -> Option<Leave> {
        self.out.stopwatch.enter(Stage::Lookup);
        let mut leaves = [EntryId::NO_ROUTE; BURST];
        let destinations = seen.destinations.get(..starts.len())?;
        moment.fib.lookup_burst(moment.section, destinations, &mut leaves);
        self.out.stopwatch.enter(Stage::Forward);
        let found = leaves.get(..starts.len())?;
        let (first, others) = found.split_first()?;
        // Without a branch, so that it compares many at a time.
        if others.iter().fold(0, |differ, other| differ | (other.0 ^ first.0)) == 0 {
            let hop = self.hops.at(*first);
            if !self.hops.is_of(hop, *first) || usize::from(seen.longest) > longest(hop) {
                return None;
            }
            for (start, counted_down) in starts.iter_mut().zip(&seen.counted_down) {
                write(start, counted_down, hop);
            }
            Some(Leave::Together(usize::from(hop.at)))
        } else {
            let together = find_all(&self.hops, found, lengths)?;
            for ((start, counted_down), leaf) in starts.iter_mut().zip(&seen.counted_down).zip(found) {
                write(start, counted_down, self.hops.at(*leaf));
            }
            Some(together.map_or(Leave::Apart(leaves), Leave::Together))
        }
    }

    /// Hands on a burst that was written.
    #[inline(always)]
    pub(super) fn send_short(&mut self, frames: &mut ArrayVec<Mbuf, BURST>, padded: u32, leave: &Leave) {
        self.out.counters.add(Counter::Forwarded, frames.len() as u64);
        cut(frames, padded);
        match leave {
            Leave::Together(at) => self.out.queue_burst(frames, *at),
            Leave::Apart(leaves) => {
                for (frame, leaf) in frames.drain(..).zip(leaves) {
                    self.out.queue_at(frame, usize::from(self.hops.at(*leaf).at));
                }
            }
        }
    }
}

/// Whether the ways of all these leaves are remembered, and take frames of these lengths: None where not. The port that all leave
/// by, if there is one.
#[inline(always)]
fn find_all(hops: &HopCache, leaves: &[EntryId], lengths: &[u16; BURST]) -> Option<Option<usize>> {
    let at = hops.at(*leaves.first()?).at;
    let (mut all, mut differ) = (true, 0);
    for (leaf, length) in leaves.iter().zip(lengths) {
        let hop = hops.at(*leaf);
        all &= hops.is_of(hop, *leaf) & (usize::from(*length) <= longest(hop));
        differ |= hop.at ^ at;
    }
    all.then_some((differ == 0).then_some(usize::from(at)))
}

/// The longest frame that takes a way, in bytes.
#[inline(always)]
fn longest(hop: &Hop) -> usize {
    usize::from(hop.mtu) + HEADER_LEN
}

#[inline(always)]
fn write(start: &mut [u8; Starts::LEN], counted_down: &[u8; 4], hop: &Hop) {
    if let Some(header) = start.first_chunk_mut() {
        *header = hop.frame;
    }
    if let Some(ttl) = start.get_mut(Starts::TTL..).and_then(|rest| rest.first_chunk_mut()) {
        *ttl = *counted_down;
    }
}

/// Cuts what the link added behind the packets of the frames that have a bit in `padded`. All are plain.
#[inline(always)]
pub(super) fn cut(frames: &mut ArrayVec<Mbuf, BURST>, mut padded: u32) {
    while padded != 0 {
        if let Some(frame) = frames.get_mut(padded.trailing_zeros() as usize)
            && let Some(&[h, l]) = frame.bytes().get(HEADER_LEN + 2..).and_then(|length| length.first_chunk())
        {
            frame.truncate(HEADER_LEN + usize::from(u16::from_be_bytes([h, l])));
        }
        padded &= padded - 1;
    }
}
