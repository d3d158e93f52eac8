//! The short way of a received burst: its packets are looked up together, and those that are plain, whose ways are remembered and
//! that no pool is for are written and handed on, without asking anything of any of them alone.
//!
//! What it does to a packet is what `send_each` in `ip_input` does. Where some of a burst need more, `mixed_burst` sends these
//! between the others; where many are to be pooled, the whole burst goes there.

use std::ops::Range;

use arrayvec::ArrayVec;

use crate::arch::Starts;
use crate::dpdk::{BURST, Mbuf, Nic};
use crate::fib::EntryId;
use crate::packet::ethernet::{EtherType, HEADER_LEN};
use crate::pool::FlowLook;

use super::counters::Counter;
use super::hop_cache::{Hop, HopCache};
use super::mixed_burst::{Flows, KnownBurst};
use super::moment::Moment;
use super::stages::Stages;
use super::stopwatch::Stage;

/// The frames of a burst, by what they begin with.
pub(super) type FrameStarts<'a> = ArrayVec<&'a mut [u8; Starts::LEN], BURST>;

/// From so many packets on that may be pooled a burst is looked at as a whole: they may share a ride.
const MANY: u32 = 4;

/// Where in a frame its EtherType is.
const ETHER_TYPE: usize = 12;

/// What of a burst has taken the short way as far as the ports.
///
/// It is made in its place, and never handed on by value: a copy waits for the narrow stores that made it.
pub(super) struct Written {
    /// A bit for each packet that has.
    pub packets: u32,
    /// The position of the port that all of them leave by, unless they leave apart.
    pub port: u16,
    /// Whether each leaves by the port at its position in `ports`.
    pub is_apart: bool,
    ports: [u16; BURST],
}

impl Written {
    /// Nothing.
    pub const NONE: Written = Written { packets: 0, port: 0, is_apart: false, ports: [0; BURST] };

    /// The position of the port that a packet leaves by.
    #[inline(always)]
    pub fn port_of(&self, position: usize) -> usize {
        usize::from(if self.is_apart { self.ports[position % BURST] } else { self.port })
    }
}

impl<N: Nic> Stages<N> {
    /// Looks up the burst of frames that begin with `starts`, some of which are plain.
    #[inline(always)]
    pub(super) fn look_up(&mut self, starts: &FrameStarts<'_>, burst: &mut KnownBurst, moment: &Moment<'_>) {
        self.out.stopwatch.enter(Stage::Lookup);
        let KnownBurst { seen, leaves, .. } = burst;
        if seen.plain != first_positions(starts.len()) {
            look_like_plain(starts, seen);
        }
        let destinations = seen.destinations.get(..starts.len()).unwrap_or_default();
        moment.fib.lookup_burst(moment.section, destinations, leaves);
        self.out.stopwatch.enter(Stage::Forward);
    }

    /// Makes those plain packets of a burst that was looked up what they are when they leave which need nothing else.
    #[inline(always)]
    pub(super) fn write_short(&self, starts: &mut FrameStarts<'_>, lengths: &[u16; BURST], burst: &mut KnownBurst) {
        let KnownBurst { seen, leaves, flows, written, .. } = burst;
        let Some((first, others)) = leaves.get(..starts.len()).and_then(|leaves| leaves.split_first()) else {
            return;
        };
        // Without a branch, so that it compares many at a time.
        let alike = others.iter().fold(0, |differ, other| differ | (other.0 ^ first.0)) == 0;
        let hop = self.hops.at(*first);
        let is_all_plain = seen.plain == first_positions(starts.len());
        let one_way = alike && self.hops.is_of(hop, *first);
        if one_way && seen.longest <= hop.longest {
            if is_all_plain {
                write_each(starts, &seen.counted_down, hop);
            } else {
                for run in runs_of(seen.plain) {
                    let counted_down = seen.counted_down.get(run.clone()).unwrap_or_default();
                    write_each(starts.get_mut(run).unwrap_or_default(), counted_down, hop);
                }
            }
            (written.packets, written.port) = (seen.plain, hop.at);
        } else if one_way && hop.path.is_some() {
            return;
        } else if is_all_plain && find_all(&self.hops, (leaves, starts.len()), (seen, lengths), written).is_some() {
            let ways = leaves.iter().zip(&seen.destinations);
            for ((start, counted_down), (leaf, address)) in starts.iter_mut().zip(&seen.counted_down).zip(ways) {
                if let Some(hop) = self.hops.find(*leaf, *address) {
                    write(start, counted_down, hop);
                }
            }
            written.packets = seen.plain;
        } else {
            self.write_some(starts, lengths, (seen, leaves), written);
        }
        if !self.pooler.is_empty() && written.packets != 0 {
            *flows = Some(self.find_flows(starts));
        }
    }

    /// The same where some of the packets need more.
    #[inline(never)]
    fn write_some(
        &self,
        starts: &mut FrameStarts<'_>,
        lengths: &[u16; BURST],
        (seen, leaves): (&Starts, &[EntryId; BURST]),
        written: &mut Written,
    ) {
        let hop = |position: usize| self.hops.find(leaves[position % BURST], seen.destinations[position % BURST]);
        let (mut packets, mut pooled) = (0, 0);
        for position in positions_of(seen.plain) {
            let Some(hop) = hop(position) else { continue };
            packets |= u32::from(lengths[position % BURST] <= hop.longest) << position;
            pooled += u32::from(hop.path.is_some());
            if pooled == MANY {
                return;
            }
        }
        for position in positions_of(packets) {
            if let Some(hop) = hop(position) {
                if let Some(start) = starts.get_mut(position) {
                    write(start, &seen.counted_down[position % BURST], hop);
                }
                written.ports[position % BURST] = hop.at;
            }
        }
        (written.packets, written.is_apart) = (packets, true);
    }

    #[inline(never)]
    fn find_flows(&self, starts: &FrameStarts<'_>) -> Flows {
        let mut look = FlowLook::empty(self.seed);
        for (packet, start) in look.packets.iter_mut().zip(starts) {
            if let Some(bytes) = start.last_chunk() {
                *packet = bytes;
            }
        }
        let (hashes, unknown) = self.vectors.run(look);
        Flows { hashes, unknown }
    }

    /// Whether packets that wait may have to leave before some of those that were written.
    #[inline(always)]
    pub(super) fn may_overtake(&self, KnownBurst { flows, written, .. }: &KnownBurst) -> bool {
        let Some(flows) = flows else { return false };
        flows.unknown & written.packets != 0
            || positions_of(written.packets).any(|position| self.pooler.may_overtake(flows.hashes[position % BURST]))
    }

    /// Hands on a burst all of which was written.
    #[inline(always)]
    pub(super) fn send_short(&mut self, frames: &mut ArrayVec<Mbuf, BURST>, padded: u32, written: &Written) {
        self.out.counters.add(Counter::Forwarded, frames.len() as u64);
        cut(frames, padded);
        if !written.is_apart {
            return self.out.queue_first(frames, frames.len(), usize::from(written.port));
        }
        for (frame, at) in frames.drain(..).zip(&written.ports) {
            self.out.queue_at(frame, usize::from(*at));
        }
    }
}

/// A bit for each of the first `count` positions.
#[inline(always)]
pub(super) fn first_positions(count: usize) -> u32 {
    u32::MAX.checked_shr((BURST - count.min(BURST)) as u32).unwrap_or(0)
}

/// The positions that have a bit.
#[inline(always)]
fn positions_of(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let position = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (position < BURST).then_some(position)
    })
}

/// The runs of positions that have a bit.
#[inline(always)]
fn runs_of(bits: u32) -> impl Iterator<Item = Range<usize>> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let start = next + bits.checked_shr(next)?.trailing_zeros();
        let end = start + bits.checked_shr(start)?.trailing_ones();
        next = end;
        Some(start as usize..end as usize)
    })
}

/// Has what is no packet of IPv4 be looked up like the first plain packet.
#[inline(never)]
fn look_like_plain(starts: &FrameStarts<'_>, seen: &mut Starts) {
    let plain = seen.destinations[seen.plain.trailing_zeros() as usize % BURST];
    for position in positions_of(first_positions(starts.len()) & !seen.plain) {
        if starts.get(position).is_some_and(|start| start[ETHER_TYPE..HEADER_LEN] != EtherType::IPV4.0.to_be_bytes()) {
            seen.destinations[position % BURST] = plain;
        }
    }
}

/// Finds the ports that packets with these leaves leave by. None where the way of one is not remembered, is one that packets are
/// pooled on, or does not take a frame of its length.
#[inline(always)]
fn find_all(
    hops: &HopCache,
    (leaves, count): (&[EntryId; BURST], usize),
    (seen, lengths): (&Starts, &[u16; BURST]),
    written: &mut Written,
) -> Option<()> {
    let mut differ = 0;
    let first = hops.find(leaves[0], seen.destinations[0])?.at;
    let packets = leaves.iter().zip(&seen.destinations).zip(lengths).take(count);
    for (((leaf, address), length), at) in packets.zip(&mut written.ports) {
        let hop = hops.find(*leaf, *address)?;
        if *length > hop.longest {
            return None;
        }
        *at = hop.at;
        differ |= hop.at ^ first;
    }
    (written.port, written.is_apart) = (first, differ != 0);
    Some(())
}

/// Writes frames that all go the same way.
#[inline(always)]
fn write_each(starts: &mut [&mut [u8; Starts::LEN]], counted_down: &[[u8; 4]], hop: &Hop) {
    for (start, counted_down) in starts.iter_mut().zip(counted_down) {
        write(start, counted_down, hop);
    }
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
