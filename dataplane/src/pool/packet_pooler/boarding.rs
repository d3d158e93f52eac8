//! The short way into a pool: what the last packet that asked the same was told holds for this one, and nothing is to be
//! decided about it. Most packets go it.

use super::super::layout::Room;
use super::super::open_pools::Slot;
use super::super::pooler_counters::FlushReason;
use super::super::ride::Ride;
use super::super::shortcut::{Opening, Question};
use super::{PacketPooler, PoolSink};
use crate::arch::Tick;
use crate::packet::Buffer;

impl<B: Buffer> PacketPooler<B> {
    /// Takes a stream packet into the open pool that the last one joined which asked the same, where that takes no decision;
    /// most do. What it gives back is to be [staged](PacketPooler::stage), and so are those that nobody asked for: what
    /// holds for the packet and for `now` is the same. `flow` and `pair` are its hashes as in [`Ride`].
    #[inline(always)]
    pub fn board<M>(
        &mut self,
        packet: B,
        question: Question,
        (flow, pair): (u32, u32),
        now: Tick,
        out: &mut M,
    ) -> Result<(), B>
    where
        M: PoolSink<Buffer = B>,
    {
        let Some((opening, ttl)) = self.shortcuts.find(question) else { return Err(packet) };
        let slot = opening.slot();
        let Some(pool) = self.pools.get_mut(slot.index()) else { return Err(packet) };
        if pool.opening() != opening || !pool.has_seat(packet.len()) {
            return Err(packet);
        }
        let (reference, open) = (pool.reference(), self.open.generations());
        // A flow with packets in another pool, and one that displaces another: that takes a decision.
        if !self.flows.enter::<false>(flow, reference, open) || !self.pairs.enter::<true>(pair, reference, open) {
            return Err(packet);
        }
        let Some(room) = pool.seat(packet.bytes(), ttl, (&mut self.encoders, now)) else { return Err(packet) };
        self.counters.staged += 1;
        self.counters.absorbed += 1;
        out.free(packet);
        match room {
            Room::Left => {}
            Room::NoBytes => self.flush(slot, FlushReason::Full, now, out),
            Room::NoRows => self.flush(slot, FlushReason::Count, now, out),
        }
        Ok(())
    }

    /// Notes which pool packets join that ask the same as the one that has joined the pool in `slot`, if it is still open.
    pub(super) fn remember(&mut self, slot: Slot, ride: &Ride<'_>) {
        let pool = self.pools.get(slot.index()).filter(|pool| pool.opening() != Opening::default());
        if let (Some(pool), Some(question)) = (pool, ride.question) {
            self.shortcuts.remember(question, pool.opening(), pool.index_ttl(ride));
        }
    }
}
