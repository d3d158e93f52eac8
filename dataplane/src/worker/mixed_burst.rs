//! A received burst of which some packets, or none, have taken the short way as far as the ports. The others go the long way between
//! them: all leave in the order they came.
//!
//! What is written may leave whatever the others do: nothing that decided it changes within an iteration. But what one of
//! these does may have packets wait in pools, of a flow that comes behind it.

use std::ops::Range;

use arrayvec::ArrayVec;

use crate::arch::Starts;
use crate::dpdk::{BURST, Mbuf, Nic};
use crate::fib::EntryId;
use crate::packet::ethernet::HEADER_LEN;

use super::counters::Counter;
use super::ethernet_input::Receiver;
use super::ip_input::SoundBurst;
use super::moment::Moment;
use super::short_way::{Written, first_positions};
use super::stages::Stages;
use super::stopwatch::Stage;

/// What is known of a burst.
pub(super) struct KnownBurst {
    /// What its frames begin with.
    pub seen: Starts,
    /// Where they go, if they hold packets of IPv4.
    pub leaves: [EntryId; BURST],
    /// What has gone the short way.
    pub written: Written,
    /// What flows those that were written are of; known where a pool was open when they came.
    pub flows: Option<Flows>,
}

/// The flows of the packets of a burst.
pub(super) struct Flows {
    /// Their hashes.
    pub hashes: [u32; BURST],
    /// A bit for each packet whose flow is not known from its first bytes: a fragment, or one that ends before ports do.
    pub unknown: u32,
}

impl KnownBurst {
    /// Nothing is known yet.
    #[inline(always)]
    pub fn new() -> KnownBurst {
        let (seen, leaves) = (Starts::default(), [EntryId::NO_ROUTE; BURST]);
        KnownBurst { seen, leaves, written: Written::NONE, flows: None }
    }
}

impl<N: Nic> Stages<N> {
    /// Sends each frame of such a burst on its way. What the link added behind plain packets was cut. `others` is empty, and is so
    /// again.
    #[inline(never)]
    pub(super) fn send_mixed(
        &mut self,
        frames: &mut ArrayVec<Mbuf, BURST>,
        burst: &KnownBurst,
        receiver: Receiver,
        others: &mut SoundBurst,
        moment: &Moment<'_>,
    ) {
        let (written, count) = (&burst.written, frames.len());
        if written.packets == 0 && burst.seen.plain == first_positions(count) {
            self.out.stopwatch.enter(Stage::Input);
            let origin = receiver.origin();
            frames
                .drain(..)
                .zip(burst.seen.destinations)
                .for_each(|(frame, dst)| others.push_plain(frame, origin, dst));
            return self.send_found(others, &burst.leaves, 0, moment);
        }
        let mut position = 0;
        while position < count {
            let left = written.packets >> position;
            let (run, gap) = (left.trailing_ones() as usize, left.trailing_zeros() as usize);
            if run > 0 {
                self.send_run(frames, position..position + run, burst, moment);
                position += run;
            } else {
                let positions = position..count.min(position + gap);
                position = positions.end;
                self.send_others(frames, (positions, burst), receiver, others, moment);
            }
        }
        self.out.counters.add(Counter::Forwarded, written.packets.count_ones().into());
    }

    /// Queues the first of `frames`, which are at these positions and were written, behind packets of their flows that wait in pools.
    #[inline(always)]
    fn send_run(
        &mut self,
        frames: &mut ArrayVec<Mbuf, BURST>,
        positions: Range<usize>,
        burst: &KnownBurst,
        moment: &Moment<'_>,
    ) {
        let (written, run) = (&burst.written, positions.len().min(frames.len()));
        let is_watched = !self.pooler.is_empty();
        if !is_watched && !written.is_apart {
            return self.out.queue_first(frames, run, usize::from(written.port));
        }
        for (position, frame) in positions.zip(frames.drain(..run)) {
            if is_watched {
                self.have_flow_leave_before(&frame, position, burst, moment);
            }
            self.out.queue_at(frame, written.port_of(position));
        }
    }

    /// Sends the first of `frames`, which are at these positions, the long way.
    #[inline(always)]
    fn send_others(
        &mut self,
        frames: &mut ArrayVec<Mbuf, BURST>,
        (positions, burst): (Range<usize>, &KnownBurst),
        receiver: Receiver,
        others: &mut SoundBurst,
        moment: &Moment<'_>,
    ) {
        self.out.stopwatch.enter(Stage::Input);
        let KnownBurst { seen, leaves, .. } = burst;
        let mut found = [EntryId::NO_ROUTE; BURST];
        let origin = receiver.origin();
        let gap = positions.len().min(frames.len());
        for (position, frame) in positions.zip(frames.drain(..gap)) {
            found[others.len4() % BURST] = leaves[position % BURST];
            if seen.plain >> position & 1 == 1 {
                others.push_plain(frame, origin, seen.destinations[position % BURST]);
            } else {
                self.sort_frame(frame, receiver, others, moment);
            }
        }
        self.send_found(others, &found, 0, moment);
    }

    /// Has packets of the flow of a frame that was written, which wait in pools, leave before it.
    #[inline(always)]
    fn have_flow_leave_before(&mut self, frame: &Mbuf, position: usize, burst: &KnownBurst, moment: &Moment<'_>) {
        let may_overtake = burst.flows.as_ref().is_none_or(|flows| {
            flows.unknown >> position & 1 == 1 || self.pooler.may_overtake(flows.hashes[position % BURST])
        });
        if may_overtake {
            self.have_leave_before(frame.bytes().get(HEADER_LEN..).unwrap_or_default(), moment);
        }
    }
}
