//! Packets that board a pool of whole packets together: as many as there is room for take their seats in one loop, and are
//! written in another.
//!
//! Where they fill the pool, it leaves at once, and nobody need know who was in it: no packet waits. A pool that is filled by
//! those that open it is never open.

use arrayvec::ArrayVec;

use super::super::flow_order::FlowOrder;
use super::super::index_writer::Departed;
use super::super::layout::{NativeRows, SHORTEST};
use super::super::open_pools::{Generations, PoolReference, Slot};
use super::super::pool_buffer::{Aboard, PoolBuffer, Seats};
use super::super::pooler_counters::FlushReason;
use super::super::wire::ROW_LEN;
use super::boarding::uncovered;
use super::{PacketPooler, PoolSink, Queue};
use crate::arch::{Tick, TickSpan};
use crate::packet::Buffer;

/// Packets that take their seats together: a burst.
const RUN: usize = 32;

/// Pools that leave together, at the most.
const LEAVING: usize = 8;

/// A pool that has ended: its buffer, what is in it, and why it leaves.
type Ended<B> = (B, NativeRows, FlushReason);

/// Pools that have ended and are sent together, as those who wrote them may still wait for their stores. Nothing else is sent before them.
type Leaving<B> = ArrayVec<Ended<B>, LEAVING>;

/// Packets that take their seats together.
type Run<B> = ArrayVec<B, RUN>;

/// Who came behind those that boarded.
enum Behind<P> {
    /// Nobody that was looked at.
    Nobody,
    /// One that the next pool may begin with.
    Next(P),
    /// One that something is to be decided about.
    Refused(P),
}

impl<B: Buffer> PacketPooler<B> {
    /// Has packets board the pool in `slot`, and those that open there next, while that takes no decision. Their rows have this
    /// TTL, and the first one may be at hand already. Returns how many did, and the one, if any, that did not.
    #[inline(never)]
    pub(super) fn board_rows<const FRONT: usize, M, T>(
        &mut self,
        seat: (Slot, u8),
        queue: &Queue<'_>,
        (mut next, packets): (Option<(B, T)>, &mut impl Iterator<Item = (B, T)>),
        now: Tick,
        out: &mut M,
    ) -> (usize, Option<(B, T)>)
    where
        M: PoolSink<Buffer = B>,
    {
        let (mut aboard, mut refused) = (0, None);
        let mut leaving = Leaving::new();
        while let Some(waiting) = queue.hashes.get(aboard..).filter(|waiting| !waiting.is_empty()) {
            let Some(first) = next.take().or_else(|| packets.next()) else { break };
            let pool = self.pools.get(seat.0.index());
            let seats = pool.and_then(|pool| pool.seats(queue.question, first.0.len().saturating_sub(FRONT)));
            let (boarding, more) = ((first, packets.by_ref()), (&mut leaving, now));
            let (more, behind) = match seats {
                Some(seats) if seats.aboard == Aboard::Nobody => {
                    self.board_new::<FRONT, M, T>(seat, &seats, waiting, boarding, more, out)
                }
                Some(seats) => self.board_more::<FRONT, M, T>(seat, &seats, waiting, boarding, more, out),
                None => (0, Behind::Refused(boarding.0)),
            };
            aboard += more;
            // A pool that does not leave although it has no room.
            let is_stuck = more == 0 && self.pools.get(seat.0.index()).is_some_and(PoolBuffer::is_open);
            match behind {
                Behind::Nobody => {}
                Behind::Next(packet) if !is_stuck => next = Some(packet),
                Behind::Next((packet, with)) | Behind::Refused((packet, with)) => {
                    refused = Some((uncovered::<FRONT, B>(packet), with));
                    break;
                }
            }
        }
        if !leaving.is_empty() {
            self.leave(seat.0, leaving.drain(..), out);
        }
        (aboard, refused)
    }

    /// Has those board a pool that is open, from the `first` on. `waiting` are their hashes.
    #[inline(always)]
    fn board_more<const FRONT: usize, M, T>(
        &mut self,
        (slot, ttl): (Slot, u8),
        seats: &Seats,
        waiting: &[(u32, u32)],
        (first, packets): ((B, T), &mut impl Iterator<Item = (B, T)>),
        (leaving, now): (&mut Leaving<B>, Tick),
        out: &mut M,
    ) -> (usize, Behind<(B, T)>)
    where
        M: PoolSink<Buffer = B>,
    {
        let Some(pool) = self.pools.get_mut(slot.index()) else { return (0, Behind::Refused(first)) };
        // The buffer for all is taken before anybody boards: where there is none, nobody does.
        let mut fresh = None;
        let claimed = if seats.aboard == Aboard::One {
            fresh = out.alloc(self.limits.link_headroom.into());
            fresh.as_mut().and_then(|fresh| seats.rows.emptied().claim(fresh))
        } else {
            pool.shared().and_then(|shared| seats.rows.claim(shared))
        };
        let Some(data_at) = claimed else {
            fresh.into_iter().for_each(|fresh| out.free(fresh));
            return (0, Behind::Refused(first));
        };
        let mut run = Run::new();
        let (rows, reason, behind) = WhoWaits::new(&self.flows, self.open.generations(), slot)
            .have_board::<FRONT, B, T>(&mut run, seats, waiting, first, packets);
        let count = run.len();
        let written = match &mut fresh {
            _ if count == 0 => None,
            Some(fresh) => {
                write_run::<FRONT, B>((&seats.rows.emptied(), seats.is_ipv6), fresh, data_at, pool.first(), &run, ttl)
            }
            None => pool.shared().and_then(|shared| {
                write_run::<FRONT, B>((&seats.rows, seats.is_ipv6), shared, data_at, None, &run, ttl)
            }),
        };
        out.free_all(&mut run);
        if written.is_none() {
            // What was claimed turned out shorter, if it is not that nobody boards.
            self.counters.broken += count as u64;
            match fresh {
                Some(fresh) => out.free(fresh),
                None => pool.shared().into_iter().for_each(|shared| shared.truncate(data_at)),
            }
            if let (0, Some(reason)) = (count, reason) {
                self.leave(slot, leaving.drain(..), out);
                self.flush(slot, reason, now, out);
            }
            return (count, behind);
        }
        self.counters.staged += count as u64;
        self.counters.absorbed += count as u64;
        if let Some(fresh) = fresh {
            self.counters.absorbed += 1;
            self.counters.created += 1;
            pool.share(fresh).into_iter().for_each(|first| out.free(first));
            if pool.is_adaptive() {
                self.company.came(pool.key());
            }
        }
        pool.take_up(rows);
        match reason {
            Some(reason) => {
                if let Some((packet, rows)) = pool.take_rows() {
                    self.has_closed(slot, now);
                    self.end(slot, (packet, rows, reason), leaving, out);
                }
            }
            None => self.enter(slot, waiting.get(..count).unwrap_or_default(), (leaving, now), out),
        }
        (count, behind)
    }

    /// Has those open pools, from the `first` on, as the last one in `slot` was. `waiting` are their hashes.
    #[inline(always)]
    fn board_new<const FRONT: usize, M, T>(
        &mut self,
        (slot, ttl): (Slot, u8),
        seats: &Seats,
        waiting: &[(u32, u32)],
        (mut first, packets): ((B, T), &mut impl Iterator<Item = (B, T)>),
        (leaving, now): (&mut Leaving<B>, Tick),
        out: &mut M,
    ) -> (usize, Behind<(B, T)>)
    where
        M: PoolSink<Buffer = B>,
    {
        let opens = self
            .pools
            .get(slot.index())
            .is_some_and(|pool| self.open.can_open_again(slot, pool.key()) && self.windows.has_room(pool.window()));
        if !opens {
            return (0, Behind::Refused(first));
        }
        let mut run = Run::new();
        let mut aboard = 0;
        loop {
            if !self.would_wait(slot, now) {
                return (aboard, Behind::Refused(first));
            }
            // The buffer for all is taken before anybody boards: where there is none, one does.
            let waiting = waiting.get(aboard..).unwrap_or_default();
            let mut fresh = if waiting.len() > 1 { out.alloc(self.limits.link_headroom.into()) } else { None };
            let claimed = fresh.as_mut().and_then(|fresh| seats.rows.claim(fresh));
            let alone = Seats { most: 1, ..*seats };
            let seats = if claimed.is_some() { seats } else { &alone };
            let (rows, reason, behind) = WhoWaits::new(&self.flows, self.open.generations(), slot)
                .have_board::<FRONT, B, T>(&mut run, seats, waiting, first, packets);
            let count = run.len();
            aboard += count;
            if count > 0 {
                self.has_opened(slot, now);
            }
            if count > 1 {
                self.has_company(slot);
            }
            let (mut shared, data_at) = match (fresh, claimed) {
                (Some(shared), Some(data_at)) if count > 1 => (shared, data_at),
                (fresh, _) => {
                    fresh.into_iter().for_each(|fresh| out.free(fresh));
                    if let (Some(packet), Some(&hashes)) = (run.pop(), waiting.first()) {
                        self.open_alone(slot, uncovered::<FRONT, B>(packet), hashes, (leaving, now), out);
                        if let Some(reason) = reason {
                            self.leave(slot, leaving.drain(..), out);
                            self.flush(slot, reason, now, out);
                        }
                    }
                    return (aboard, behind);
                }
            };
            // Where nobody else comes, no room is left for more rows.
            let rows = if reason.is_some() { rows.closed() } else { rows };
            let data_at = if reason.is_some() { rows.reserved() } else { data_at };
            let written = write_run::<FRONT, B>((&seats.rows, seats.is_ipv6), &mut shared, data_at, None, &run, ttl);
            out.free_all(&mut run);
            if written.is_none() {
                // What was claimed turned out shorter.
                self.counters.broken += count as u64;
                out.free(shared);
                return (aboard, behind);
            }
            self.counters.staged += count as u64;
            self.counters.absorbed += count as u64;
            self.counters.created += 1;
            let Some(reason) = reason else {
                self.open_with(slot, (shared, rows), waiting.get(..count).unwrap_or_default(), (leaving, now), out);
                return (aboard, behind);
            };
            self.counters.count_delay(TickSpan(0));
            self.end(slot, (shared, rows, reason), leaving, out);
            match behind {
                Behind::Next(next) if rows.can_open(next.0.len().saturating_sub(FRONT)) => first = next,
                behind => return (aboard, behind),
            }
        }
    }

    /// Has a pool that was open in `slot`, or would have been, leave with others.
    #[inline(always)]
    fn end<M>(&mut self, slot: Slot, ended: Ended<B>, leaving: &mut Leaving<B>, out: &mut M)
    where
        M: PoolSink<Buffer = B>,
    {
        if leaving.is_full() {
            self.leave(slot, leaving.drain(..), out);
        }
        // There is room.
        let _ = leaving.try_push(ended);
    }

    /// Opens a pool as the last one in `slot` was, with a packet in its own buffer.
    #[inline(always)]
    fn open_alone<M>(
        &mut self,
        slot: Slot,
        packet: B,
        hashes: (u32, u32),
        (leaving, now): (&mut Leaving<B>, Tick),
        out: &mut M,
    ) where
        M: PoolSink<Buffer = B>,
    {
        let Some(pool) = self.pools.get_mut(slot.index()) else { return out.free(packet) };
        // Both were asked for before.
        self.open.open_again(slot, pool.key());
        self.windows.push(slot, pool.window(), now);
        pool.open_again(packet, self.open.generations().reference(slot), now);
        self.counters.staged += 1;
        self.enter(slot, &[hashes], (leaving, now), out);
    }

    /// The same with packets in a buffer for all, of which these are the hashes.
    #[inline(always)]
    fn open_with<M>(
        &mut self,
        slot: Slot,
        (shared, rows): (B, NativeRows),
        waiting: &[(u32, u32)],
        (leaving, now): (&mut Leaving<B>, Tick),
        out: &mut M,
    ) where
        M: PoolSink<Buffer = B>,
    {
        let Some(pool) = self.pools.get_mut(slot.index()) else { return out.free(shared) };
        // Both were asked for before.
        self.open.open_again(slot, pool.key());
        self.windows.push(slot, pool.window(), now);
        pool.open_with(shared, rows, self.open.generations().reference(slot), now);
        self.enter(slot, waiting, (leaving, now), out);
    }

    /// Notes who waits in the open pool in `slot`.
    #[inline(always)]
    fn enter<M>(&mut self, slot: Slot, waiting: &[(u32, u32)], (leaving, now): (&mut Leaving<B>, Tick), out: &mut M)
    where
        M: PoolSink<Buffer = B>,
    {
        let reference = self.open.generations().reference(slot);
        for &(flow, pair) in waiting {
            let open = self.open.generations();
            if self.flows.enter(flow, reference, open) {
                self.pairs.enter(pair, reference, open);
            } else {
                // A place is taken from another, whose pool leaves for that: it may be this one.
                self.leave(slot, leaving.drain(..), out);
                self.note(slot, (flow, pair), now, out);
                if !self.open.generations().is_open(reference) {
                    return;
                }
            }
        }
    }

    /// Sends pools that have ended to where the last one in `slot` was to go.
    #[inline(never)]
    pub(super) fn leave<M>(&mut self, slot: Slot, ended: impl Iterator<Item = Ended<B>>, out: &mut M)
    where
        M: PoolSink<Buffer = B>,
    {
        let Some(pool) = self.pools.get(slot.index()) else { return };
        let (bucket, peer) = (pool.key().bucket(), pool.addressee());
        let flow = peer.index() * usize::from(self.limits.buckets) + usize::from(bucket);
        for (mut packet, rows, reason) in ended {
            let completed = self.sequences.get_mut(flow).and_then(|sequence| {
                let number = *sequence;
                *sequence = number.wrapping_add(1);
                rows.complete(&mut packet, pool.outer(), number)
            });
            if completed.is_none() {
                self.counters.broken += 1;
                out.free(packet);
                continue;
            }
            self.counters.count_pooled(reason, rows.rows(), rows.bytes_in(), packet.len());
            if !self.indexes.is_empty() {
                let mut departed = Departed::default();
                self.indexes.leave(&mut departed, out);
                self.counters.count_indexes(departed.indexes, departed.bytes);
            }
            out.pooled(packet, peer, rows.rows());
        }
    }
}

/// Who waits where: the flows of packets that are to board a pool.
struct WhoWaits<'a> {
    flows: &'a FlowOrder,
    open: &'a Generations,
    /// The pool.
    own: PoolReference,
}

impl<'a> WhoWaits<'a> {
    #[inline(always)]
    fn new(flows: &'a FlowOrder, open: &'a Generations, slot: Slot) -> WhoWaits<'a> {
        WhoWaits { flows, open, own: open.reference(slot) }
    }

    /// Has packets board, from the `first` on, of which `waiting` are the hashes: `run` is who does. Returns what is in the pool then,
    /// why it leaves if it does, and who comes behind.
    #[inline(always)]
    fn have_board<const FRONT: usize, B: Buffer, T>(
        &self,
        run: &mut Run<B>,
        seats: &Seats,
        waiting: &[(u32, u32)],
        first: (B, T),
        packets: &mut impl Iterator<Item = (B, T)>,
    ) -> (NativeRows, Option<FlushReason>, Behind<(B, T)>) {
        let room = seats.rows.left();
        let mut left = room;
        let most = waiting.get(..usize::from(seats.most).min(RUN)).unwrap_or(waiting);
        let behind = self.take_seats::<FRONT, B, T>(run, &mut left, most, first, packets);
        let count = run.len();
        let rows = seats.rows.joined_by(count as u8, (room - left - count * ROW_LEN) as u16);
        let (reason, behind) = match behind {
            behind if left < ROW_LEN + SHORTEST => {
                (Some(FlushReason::Full), behind.map_or(Behind::Nobody, Behind::Next))
            }
            None => ((rows.rows_left() == 0).then_some(FlushReason::Count), Behind::Nobody),
            Some(next) => {
                // Who does not wait elsewhere was refused for want of room: the next pool may have it.
                let opens_next = rows.can_open(next.0.len().saturating_sub(FRONT));
                match waiting.get(count) {
                    Some(&(flow, _)) if opens_next && !self.is_elsewhere(flow) => {
                        (Some(FlushReason::Full), Behind::Next(next))
                    }
                    _ => (None, Behind::Refused(next)),
                }
            }
        };
        (rows, reason, behind)
    }

    /// Whether packets of this flow wait in another pool.
    #[inline(always)]
    fn is_elsewhere(&self, flow: u32) -> bool {
        self.flows.is_elsewhere(flow, self.own, self.open)
    }

    /// Moves packets to `run`, from the `first` on, while they fit into what is `left`, with their rows, and none of their flow
    /// waits elsewhere; at most as many as there are `hashes`. Returns the one that was refused.
    #[inline(never)]
    fn take_seats<const FRONT: usize, B: Buffer, T>(
        &self,
        run: &mut Run<B>,
        left: &mut usize,
        hashes: &[(u32, u32)],
        (mut packet, mut with): (B, T),
        packets: &mut impl Iterator<Item = (B, T)>,
    ) -> Option<(B, T)> {
        let mut hashes = hashes.iter();
        let Some(mut hash) = hashes.next() else { return Some((packet, with)) };
        loop {
            let taken = packet.len().checked_sub(FRONT).map(|length| length + ROW_LEN);
            match taken.and_then(|taken| left.checked_sub(taken)) {
                Some(rest) if !self.is_elsewhere(hash.0) => *left = rest,
                _ => return Some((packet, with)),
            }
            // There is room for a burst.
            let _ = run.try_push(packet);
            hash = hashes.next()?;
            (packet, with) = packets.next()?;
        }
    }
}

/// Writes packets, all of one family and each behind `FRONT` bytes that are not its own, to a buffer, behind the rows in it and from
/// `data_at` on; before them the first one, which has a row with another TTL and may have its own still to be decremented. The
/// buffer then ends with the last one. None where they do not fit.
#[inline(never)]
fn write_run<const FRONT: usize, B: Buffer>(
    (rows, is_ipv6): (&NativeRows, bool),
    buffer: &mut B,
    data_at: usize,
    first: Option<(&[u8], u8, bool)>,
    run: &[B],
    ttl: u8,
) -> Option<()> {
    let mut writer = rows.writer(buffer, data_at)?;
    if is_ipv6 {
        if let Some((packet, ttl, is_plain)) = first {
            writer.write6(packet, ttl, is_plain)?;
        }
        for packet in run {
            writer.write6(packet.bytes().get(FRONT..)?, ttl, true)?;
        }
    } else {
        if let Some((packet, ttl, is_plain)) = first {
            writer.write(packet, ttl, is_plain)?;
        }
        for packet in run {
            writer.write(packet.bytes().get(FRONT..)?, ttl, true)?;
        }
    }
    let end = writer.finish();
    buffer.truncate(end);
    Some(())
}
