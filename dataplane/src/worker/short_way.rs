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
    Together(u16),
    /// Each by the port at its position here.
    Apart([u16; BURST]),
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
        let alike = others.iter().fold(0, |differ, other| differ | (other.0 ^ first.0)) == 0;
        let hop = self.hops.at(*first);
        if alike && self.hops.is_of(hop, *first) {
            if usize::from(seen.longest) > longest(hop) {
                return None;
            }
            for (start, counted_down) in starts.iter_mut().zip(&seen.counted_down) {
                write(start, counted_down, hop);
            }
            Some(Leave::Together(hop.at))
        } else {
            let leave = find_all(&self.hops, found, &seen.destinations, lengths)?;
            let ways = found.iter().zip(&seen.destinations);
            for ((start, counted_down), (leaf, address)) in starts.iter_mut().zip(&seen.counted_down).zip(ways) {
                if let Some(hop) = self.hops.find(*leaf, *address) {
                    write(start, counted_down, hop);
                }
            }
            Some(leave)
        }
    }

    /// Hands on a burst that was written.
    #[inline(always)]
    pub(super) fn send_short(&mut self, frames: &mut ArrayVec<Mbuf, BURST>, padded: u32, leave: &Leave) {
        self.out.counters.add(Counter::Forwarded, frames.len() as u64);
        cut(frames, padded);
        match leave {
            Leave::Together(at) => self.out.queue_burst(frames, usize::from(*at)),
            Leave::Apart(positions) => {
                for (frame, at) in frames.drain(..).zip(positions) {
                    self.out.queue_at(frame, usize::from(*at));
                }
            }
        }
    }
}

/// The ports that packets with these leaves to these addresses leave by. None where the way of one is not remembered, or does not
/// take a frame of its length.
#[inline(always)]
fn find_all(hops: &HopCache, leaves: &[EntryId], addresses: &[u32; BURST], lengths: &[u16; BURST]) -> Option<Leave> {
    let (mut positions, mut differ) = ([0; BURST], 0);
    let first = hops.find(*leaves.first()?, *addresses.first()?)?.at;
    let packets = leaves.iter().zip(addresses).zip(lengths);
    for (((leaf, address), length), at) in packets.zip(&mut positions) {
        let hop = hops.find(*leaf, *address)?;
        if usize::from(*length) > longest(hop) {
            return None;
        }
        *at = hop.at;
        differ |= hop.at ^ first;
    }
    Some(if differ == 0 { Leave::Together(first) } else { Leave::Apart(positions) })
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
