//! The short way into a pool: what the last packet that asked the same was told holds for this one, and nothing is to be
//! decided about it. Most packets go it.

use arrayvec::ArrayVec;

use super::super::flow_order::FlowOrder;
use super::super::layout::{EntryWriter, Other, Room};
use super::super::open_pools::{Generations, PoolReference, Slot};
use super::super::pair_order::PairOrder;
use super::super::pool_buffer::PoolBuffer;
use super::super::pooler_counters::FlushReason;
use super::super::ride::Ride;
use super::super::shortcut::Question;
use super::{PacketPooler, PoolSink};
use crate::arch::Tick;
use crate::packet::Buffer;

/// Pools that are brought closer at once: a burst.
const BROUGHT: usize = 32;
/// Where so many packets of a run are not what is predicted of their streams, it is not expected of the others either.
const FEW_UNFORESEEN: usize = 2;
/// So many open pools are in the cache anyway.
const FEW: usize = 128;

/// The packet without what is in front of it.
#[inline(always)]
pub(super) fn uncovered<const FRONT: usize, B: Buffer>(mut packet: B) -> B {
    packet.trim_front(FRONT);
    packet
}

/// Packets that ask the same, one after the other, and what is to be known of each.
pub struct Queue<'a> {
    /// What they ask.
    pub question: Question,
    /// Their hashes, as in [`Ride`]: by flow and by pair.
    pub hashes: &'a [(u32, u32)],
}

/// Packets one after the other, each of which asks something, and what is to be known of each.
#[derive(Clone, Copy)]
pub struct Crowd<'a> {
    /// What each of them asks: the words of their questions.
    pub(in super::super) questions: &'a [u64],
    /// Their hashes, as in [`Ride`]: by flow and by pair.
    pub(in super::super) hashes: &'a [(u32, u32)],
}

impl<'a> Crowd<'a> {
    /// The same but for so many in front.
    fn from(&self, first: usize) -> Crowd<'a> {
        Crowd {
            questions: self.questions.get(first..).unwrap_or_default(),
            hashes: self.hashes.get(first..).unwrap_or_default(),
        }
    }

    /// Those from the one at `first` on that ask the same.
    fn queue(&self, first: usize) -> Option<Queue<'a>> {
        let Crowd { questions, hashes } = self.from(first);
        let word = questions.first()?;
        let count = questions.iter().take_while(|other| *other == word).count();
        Some(Queue { question: Question::of_word(*word), hashes: hashes.get(..count).unwrap_or(hashes) })
    }
}

/// What there is of a packet that did not take a seat.
enum Unseated<P> {
    /// It was not taken: there are no seats.
    NotTaken,
    /// There is no room for it at this seat.
    NoRoom((Slot, u8), P),
    /// Something is to be decided about it.
    Refused(P),
}

impl<B: Buffer> PacketPooler<B> {
    /// Takes a stream packet into the open pool that the last one joined which asked the same, where that takes no decision;
    /// most do. What it gives back is to be [staged](PacketPooler::stage), and so are those that nobody asked for: what
    /// holds for the packet and for `now` is the same. `hashes` are its hashes as in [`Ride`], by flow and by pair.
    #[inline]
    pub fn board<M>(
        &mut self,
        packet: B,
        question: Question,
        hashes: (u32, u32),
        now: Tick,
        out: &mut M,
    ) -> Result<(), B>
    where
        M: PoolSink<Buffer = B>,
    {
        let Some((slot, ttl)) = self.asked(question) else { return Err(packet) };
        self.board_one::<false, M>(packet, (slot, ttl), hashes, now, out)
    }

    /// The same for packets whose TTL is above 1 and was not decremented yet: it is in the pool only. Takes them from
    /// `packets`, each behind `FRONT` bytes that are not its own and with something that the caller has with it, and returns how
    /// many are aboard, and the one, if any, that is not: nothing is in front of that one any more. Those behind it are left.
    #[inline(always)]
    pub fn board_plain<const FRONT: usize, M, T>(
        &mut self,
        packets: &mut impl Iterator<Item = (B, T)>,
        queue: &Queue<'_>,
        now: Tick,
        out: &mut M,
    ) -> (usize, Option<(B, T)>)
    where
        M: PoolSink<Buffer = B>,
    {
        let Some((slot, ttl)) = self.asked(queue.question) else {
            return (0, packets.next().map(|(packet, with)| (uncovered::<FRONT, B>(packet), with)));
        };
        // Nothing else opens there meanwhile: what takes a decision is left to the caller.
        match self.pools.get(slot.index()) {
            // Only whole ones are written with their hop limit still to be decremented.
            Some(pool) if !pool.has_rows() && queue.question.is_ipv6() => {
                (0, packets.next().map(|(packet, with)| (uncovered::<FRONT, B>(packet), with)))
            }
            Some(pool) if !pool.has_rows() => self.board_each::<FRONT, _, _>((slot, ttl), queue, packets, now, out),
            _ => self.board_rows::<FRONT, _, _>((slot, ttl), queue, (None, packets), now, out),
        }
    }

    /// The same for packets of which hardly any asks what the one before it asks: each takes its seat by itself.
    #[inline(always)]
    pub fn board_crowd<const FRONT: usize, M, T>(
        &mut self,
        packets: &mut impl Iterator<Item = (B, T)>,
        crowd: &Crowd<'_>,
        now: Tick,
        out: &mut M,
    ) -> (usize, Option<(B, T)>)
    where
        M: PoolSink<Buffer = B>,
    {
        let mut aboard = 0;
        while aboard < crowd.hashes.len() {
            let (more, behind) = self.seat_each::<FRONT, M, T>(packets, crowd.from(aboard), now, out);
            aboard += more;
            let Some(queue) = crowd.queue(aboard) else { break };
            let (more, refused) = match behind {
                Unseated::NotTaken => self.board_plain::<FRONT, M, T>(packets, &queue, now, out),
                Unseated::NoRoom(seat, packet) => {
                    self.board_rows::<FRONT, M, T>(seat, &queue, (Some(packet), packets), now, out)
                }
                Unseated::Refused((packet, with)) => (0, Some((uncovered::<FRONT, B>(packet), with))),
            };
            aboard += more;
            if more == 0 || refused.is_some() {
                return (aboard, refused);
            }
        }
        (aboard, None)
    }

    /// Has packets take their seats one by one, where there are rows in a buffer for all. Returns how many did, and what there is of
    /// the one that did not.
    #[inline(never)]
    fn seat_each<const FRONT: usize, M, T>(
        &mut self,
        packets: &mut impl Iterator<Item = (B, T)>,
        crowd: Crowd<'_>,
        now: Tick,
        out: &mut M,
    ) -> (usize, Unseated<(B, T)>)
    where
        M: PoolSink<Buffer = B>,
    {
        let (mut aboard, mut behind) = (0, Unseated::NotTaken);
        // Nothing opens meanwhile: what was found for the one before holds for one that asks the same.
        let (mut last, mut found) = (Question::NONE, None);
        for (&question, &(flow, pair)) in crowd.questions.iter().zip(crowd.hashes) {
            let question = Question::of_word(question);
            if question != last {
                (last, found) = (question, self.asked(question));
            }
            let Some((slot, ttl)) = found else { break };
            let Some(pool) = self.pools.get_mut(slot.index()) else { break };
            let reference = pool.reference();
            let Some((rows, shared)) = pool.seated() else { break };
            let Some((packet, with)) = packets.next() else { break };
            let bytes = packet.bytes().get(FRONT..).unwrap_or_default();
            if !rows.fits(bytes.len()) {
                behind = Unseated::NoRoom((slot, ttl), (packet, with));
                break;
            }
            let open = self.open.generations();
            if !self.flows.enter(flow, reference, open) || rows.seat(shared, bytes, ttl, question.is_ipv6()).is_none() {
                behind = Unseated::Refused((packet, with));
                break;
            }
            self.pairs.enter(pair, reference, open);
            let room = rows.room();
            aboard += 1;
            out.free(packet);
            self.leave_full(slot, room, now, out);
        }
        self.counters.staged += aboard as u64;
        self.counters.absorbed += aboard as u64;
        (aboard, behind)
    }

    /// The same where they are not whole, or do not lie behind rows.
    #[inline(never)]
    fn board_each<const FRONT: usize, M, T>(
        &mut self,
        (slot, ttl): (Slot, u8),
        queue: &Queue<'_>,
        packets: &mut impl Iterator<Item = (B, T)>,
        now: Tick,
        out: &mut M,
    ) -> (usize, Option<(B, T)>)
    where
        M: PoolSink<Buffer = B>,
    {
        let mut aboard = 0;
        while let Some(waiting) = queue.hashes.get(aboard..).filter(|waiting| !waiting.is_empty()) {
            let tos = queue.question.tos();
            let (more, left_behind) = self.fill_coded::<FRONT, _, _>((slot, tos), packets, waiting, now, out);
            aboard += more;
            let (packet, with) = match left_behind {
                None if more > 0 => continue,
                left_behind => match left_behind.or_else(|| packets.next()) {
                    Some((packet, with)) => (uncovered::<FRONT, B>(packet), with),
                    None => break,
                },
            };
            let Some(hashes) = queue.hashes.get(aboard) else { return (aboard, Some((packet, with))) };
            match self.board_first(packet, (slot, ttl), queue.question, *hashes, now, out) {
                Ok(()) => aboard += 1,
                Err(packet) => return (aboard, Some((packet, with))),
            }
        }
        (aboard, None)
    }

    /// Has packets board the pool in `slot`, where they go without the headers that the far end has learned, while they take no
    /// decision and there is a buffer for all. Returns how many, and the one that did not.
    #[inline(never)]
    fn fill_coded<const FRONT: usize, M, T>(
        &mut self,
        (slot, tos): (Slot, u8),
        packets: &mut impl Iterator<Item = (B, T)>,
        hashes: &[(u32, u32)],
        now: Tick,
        out: &mut M,
    ) -> (usize, Option<(B, T)>)
    where
        M: PoolSink<Buffer = B>,
    {
        let Some(pool) = self.pools.get_mut(slot.index()) else { return (0, None) };
        let (reference, most) = (pool.reference(), pool.rows_to_fill());
        let order = Order { flows: &mut self.flows, pairs: &mut self.pairs, open: self.open.generations(), reference };
        let Some(entries) = pool.entry_writer(&mut self.encoders, now) else { return (0, None) };
        let (aboard, left_behind, room) = order.fill::<FRONT, M, T>(entries, most, packets, (hashes, tos), out);
        self.counters.staged += aboard as u64;
        self.counters.absorbed += aboard as u64;
        self.leave_full(slot, room, now, out);
        (aboard, left_behind)
    }

    /// Has a packet board a pool that has no buffer for all yet, or is of another layout, or has no room: that one leaves.
    #[inline(never)]
    fn board_first<M>(
        &mut self,
        packet: B,
        (slot, ttl): (Slot, u8),
        question: Question,
        hashes: (u32, u32),
        now: Tick,
        out: &mut M,
    ) -> Result<(), B>
    where
        M: PoolSink<Buffer = B>,
    {
        let Some(pool) = self.pools.get(slot.index()) else { return Err(packet) };
        if pool.takes_second(packet.len()) {
            return self.board_second(packet, (slot, ttl), hashes, now, out);
        }
        let is_full = pool.is_full_for(packet.len());
        if is_full && self.flows.resident(hashes.0, Some(slot), self.open.generations()).is_none() {
            self.flush(slot, FlushReason::Full, now, out);
            return self.open_again(packet, slot, question, hashes, now, out);
        }
        if !is_full && !pool.is_open() {
            return self.open_again(packet, slot, question, hashes, now, out);
        }
        self.board_one::<true, M>(packet, (slot, ttl), hashes, now, out)
    }

    /// Opens a pool as the last one in `slot` was, with this packet, which asks what opened that one.
    #[inline(always)]
    fn open_again<M>(
        &mut self,
        packet: B,
        slot: Slot,
        question: Question,
        hashes: (u32, u32),
        now: Tick,
        out: &mut M,
    ) -> Result<(), B>
    where
        M: PoolSink<Buffer = B>,
    {
        let waits = self.would_wait(slot, now);
        let Some(pool) = self.pools.get_mut(slot.index()) else { return Err(packet) };
        if !waits || !pool.opens_again_for(question, packet.len()) || !self.open.open_again(slot, pool.key()) {
            return Err(packet);
        }
        let (reference, open) = (self.open.generations().reference(slot), self.open.generations());
        let is_alone = self.flows.enter(hashes.0, reference, open);
        if !is_alone || !self.windows.push(slot, pool.window(), now) {
            // What was noted is of a pool that is not open.
            self.open.close(slot);
            return Err(packet);
        }
        self.pairs.enter(hashes.1, reference, open);
        pool.open_again(packet, reference, now);
        let room = pool.room();
        self.has_opened(slot, now);
        self.counters.staged += 1;
        self.leave_full(slot, room, now, out);
        Ok(())
    }

    /// Puts a second packet into a pool, which gets a buffer for all.
    #[inline(always)]
    fn board_second<M>(
        &mut self,
        packet: B,
        (slot, ttl): (Slot, u8),
        (flow, pair): (u32, u32),
        now: Tick,
        out: &mut M,
    ) -> Result<(), B>
    where
        M: PoolSink<Buffer = B>,
    {
        let Some(pool) = self.pools.get_mut(slot.index()) else { return Err(packet) };
        let (reference, open) = (pool.reference(), self.open.generations());
        if !self.flows.enter(flow, reference, open) {
            return Err(packet);
        }
        self.pairs.enter(pair, reference, open);
        let headroom = usize::from(self.limits.link_headroom);
        let room = pool.second_coded(packet, ttl, headroom, (&mut self.encoders, now), out)?;
        self.has_company(slot);
        self.counters.staged += 1;
        self.counters.absorbed += 2;
        self.counters.created += 1;
        self.leave_full(slot, room, now, out);
        Ok(())
    }

    /// Flushes a pool that has no room.
    #[inline(always)]
    fn leave_full<M: PoolSink<Buffer = B>>(&mut self, slot: Slot, room: Room, now: Tick, out: &mut M) {
        match room {
            Room::Left => {}
            Room::NoBytes => self.flush(slot, FlushReason::Full, now, out),
            Room::NoRows => self.flush(slot, FlushReason::Count, now, out),
        }
    }

    /// Has the pools that these packets will board brought closer, and what is known of their flows: step by step for all of
    /// them, so that none waits for what another one waits for. Worth its while where more pools are open than are in the cache.
    #[inline(never)]
    pub fn bring_closer(&self, packets: impl Iterator<Item = (Question, (u32, u32))>) {
        let mut pools = ArrayVec::<&PoolBuffer<B>, BROUGHT>::new();
        for (question, (flow, pair)) in packets {
            self.flows.prefetch(flow);
            self.pairs.prefetch(pair);
            if let Some((opening, _)) = self.shortcuts.find(question)
                && let Some(pool) = self.pools.get(opening.slot().index())
            {
                pool.prefetch();
                if pools.try_push(pool).is_err() {
                    break;
                }
            }
        }
        pools.iter().for_each(|pool| pool.prefetch_buffer());
        pools.iter().for_each(|pool| pool.prefetch_seat());
    }

    /// Whether so many pools are open that they have to be [brought closer](PacketPooler::bring_closer).
    #[inline(always)]
    pub fn has_many_open(&self) -> bool {
        self.open.len() > FEW
    }

    /// Where those who asked this are, or were last, and the TTL of their rows.
    #[inline(always)]
    fn asked(&self, question: Question) -> Option<(Slot, u8)> {
        let (opening, ttl) = self.shortcuts.find(question)?;
        let slot = opening.slot();
        let pool = self.pools.get(slot.index())?;
        (pool.opening() == opening).then_some((slot, ttl))
    }

    #[inline(always)]
    fn board_one<const PLAIN: bool, M>(
        &mut self,
        mut packet: B,
        (slot, ttl): (Slot, u8),
        (flow, pair): (u32, u32),
        now: Tick,
        out: &mut M,
    ) -> Result<(), B>
    where
        M: PoolSink<Buffer = B>,
    {
        let Some(pool) = self.pools.get_mut(slot.index()) else { return Err(packet) };
        if !pool.has_seat(packet.len()) {
            return Err(packet);
        }
        let (reference, open) = (pool.reference(), self.open.generations());
        if !self.flows.enter(flow, reference, open) {
            return Err(packet);
        }
        self.pairs.enter(pair, reference, open);
        let encoders = (&mut self.encoders, now);
        let Some(room) = pool.seat::<PLAIN>(&mut packet, ttl, encoders) else { return Err(packet) };
        self.counters.staged += 1;
        self.counters.absorbed += 1;
        out.free(packet);
        self.leave_full(slot, room, now, out);
        Ok(())
    }

    /// Notes which pool packets join that ask the same as the one that has joined the pool in `slot`, if it is still open.
    pub(super) fn remember(&mut self, slot: Slot, ride: &Ride<'_>) {
        let pool = self.pools.get(slot.index()).filter(|pool| pool.is_open());
        if let (Some(pool), Some(question)) = (pool, ride.question) {
            self.shortcuts.remember(question, pool.opening(), pool.index_ttl(ride));
        }
    }
}

/// Who waits in which pool, and the pool that packets are to board.
struct Order<'a> {
    flows: &'a mut FlowOrder,
    pairs: &'a mut PairOrder,
    open: &'a Generations,
    reference: PoolReference,
}

impl Order<'_> {
    /// Has packets board, until there are `most`, while they take no decision. Returns how many did, the one that did not, and what room is
    /// left.
    #[inline(always)]
    fn fill<const FRONT: usize, M, T>(
        mut self,
        mut pool: EntryWriter<'_, M::Buffer>,
        most: u8,
        packets: &mut impl Iterator<Item = (M::Buffer, T)>,
        (hashes, tos): (&[(u32, u32)], u8),
        out: &mut M,
    ) -> (usize, Option<(M::Buffer, T)>, Room)
    where
        M: PoolSink,
    {
        let hashes = hashes.get(..pool.seats(most)).unwrap_or(hashes);
        let (hashes, new) = self.enter(hashes);
        let places = pool.places(hashes, tos);
        let mut places = places.iter();
        let (mut aboard, mut unforeseen) = (0, 0);
        loop {
            let other = if unforeseen < FEW_UNFORESEEN {
                let (run, other) = pool.write_run::<FRONT, T, M>(&mut places, packets, out);
                aboard += run;
                other
            } else {
                Other::next(&mut places, packets)
            };
            let Some(Other { packet: (packet, with), place, may_fit }) = other else {
                return (aboard, None, pool.room());
            };
            let bytes = packet.bytes().get(FRONT..).unwrap_or_default();
            if !may_fit || pool.write(bytes, place).is_none() {
                self.leave(hashes, new, aboard);
                return (aboard, Some((packet, with)), Room::Left);
            }
            aboard += 1;
            unforeseen += 1;
            out.free(packet);
            let room = pool.room();
            if room != Room::Left {
                return (aboard, None, room);
            }
        }
    }

    /// Notes that packets with these hashes are in the pool, before they are. Returns those of the first ones, and a bit for each
    /// whose flow had none there. The one behind them is of a flow with packets in another pool, or one that displaces another: that
    /// takes a decision.
    #[inline(always)]
    fn enter<'h>(&mut self, hashes: &'h [(u32, u32)]) -> (&'h [(u32, u32)], u32) {
        let mut new = 0;
        for (at, &(flow, pair)) in hashes.iter().enumerate() {
            let Some(is_new) = self.flows.enter_before(flow, self.reference, self.open) else {
                return (hashes.get(..at).unwrap_or_default(), new);
            };
            new |= u32::from(is_new).wrapping_shl(at as u32);
            self.pairs.enter(pair, self.reference, self.open);
        }
        (hashes, new)
    }

    /// Forgets the flows that only those are of that are not `aboard`: what passes would have the pool leave for them. Pairs stay:
    /// fragments are few.
    #[inline(never)]
    fn leave(&mut self, hashes: &[(u32, u32)], new: u32, aboard: usize) {
        for (at, (flow, _)) in hashes.iter().enumerate().skip(aboard) {
            if new.wrapping_shr(at as u32) & 1 == 1 {
                self.flows.leave(*flow, self.reference);
            }
        }
    }
}
