//! How pools leave: when their window has ended, or something has them leave before; their indexes in front of them.

use super::super::index_writer::Departed;
use super::super::open_pools::Slot;
use super::super::pool_buffer::{Flushed, PoolBuffer};
use super::super::pooler_counters::FlushReason;
use super::{PacketPooler, PoolSink};
use crate::arch::{Tick, TickSpan};
use crate::packet::Buffer;

impl<B: Buffer> PacketPooler<B> {
    /// Flushes the pools whose window has ended, but for those that still lack packets their rule requires: these have the
    /// rest of its `hold`.
    #[inline]
    pub fn flush_due<M: PoolSink<Buffer = B>>(&mut self, now: Tick, out: &mut M) {
        while let Some(slot) = self.windows.due(now) {
            let Some(pool) = self.pools.get_mut(slot.index()) else { return };
            let reason = if pool.is_held() { FlushReason::Hold } else { FlushReason::Window };
            if let Some(hold) = pool.to_hold(now)
                && let Some(ended) = self.windows.deadline(slot)
            {
                // All pools that are held for one rule get the same span: one more queue in order of deadline.
                let rest = TickSpan((pool.opened() + hold).since(ended).0);
                if self.windows.has_room(rest) {
                    pool.hold();
                    self.windows.remove(slot);
                    self.windows.push(slot, rest, ended);
                    continue;
                }
            }
            self.flush(slot, reason, now, out);
        }
        self.send_indexes(out);
    }

    /// Flushes every pool, and forgets what they were opened by: it may not hold any more.
    pub fn flush_all<M: PoolSink<Buffer = B>>(&mut self, reason: FlushReason, now: Tick, out: &mut M) {
        while let Some(slot) = self.windows.any() {
            self.flush(slot, reason, now, out);
        }
        self.send_indexes(out);
        self.shortcuts.forget();
    }

    /// Ends the pool in `slot`, if one is open there, and sends what it held.
    #[inline(never)]
    pub(super) fn flush<M: PoolSink<Buffer = B>>(&mut self, slot: Slot, reason: FlushReason, now: Tick, out: &mut M) {
        let Some(pool) = self.pools.get_mut(slot.index()) else { return };
        if let Some((packet, rows)) = pool.take_rows() {
            self.has_closed(slot, now);
            return self.leave(slot, std::iter::once((packet, rows, reason)), out);
        }
        self.flush_any(slot, reason, now, out);
    }

    /// The pool in `slot` has ended.
    #[inline(always)]
    pub(super) fn has_closed(&mut self, slot: Slot, now: Tick) {
        self.windows.remove(slot);
        self.open.close(slot);
        let opened = self.pools.get(slot.index()).map_or(now, PoolBuffer::opened);
        self.counters.count_delay(now.since(opened));
    }

    /// Ends a pool, whatever is in it.
    #[inline(never)]
    fn flush_any<M: PoolSink<Buffer = B>>(&mut self, slot: Slot, reason: FlushReason, now: Tick, out: &mut M) {
        let Some(pool) = self.pools.get_mut(slot.index()) else { return };
        let (key, peer, opened) = (pool.key(), pool.addressee(), pool.opened());
        let flow = peer.index() * usize::from(self.limits.buckets) + usize::from(key.bucket());
        let Some(sequence) = self.sequences.get_mut(flow) else { return };
        let headroom = usize::from(self.limits.link_headroom);
        // What is encoded only now is not stale, however long its packet has been here.
        let is_stale = pool.gets_stale() && now.since(opened) > self.limits.learned.times.stale;
        if pool.pool_lone(headroom, (&mut self.encoders, now), out) {
            self.counters.created += 1;
            self.counters.absorbed += 1;
        }
        let batch = pool.rows_apart().map(|(rows, limit)| {
            let mut departed = Departed::default();
            let (whose, outer, sequence) = ((flow, peer), *pool.outer(), &mut *sequence);
            let batch = self.indexes.add(whose, outer, limit, rows, sequence, headroom, &mut departed, out);
            self.counters.count_indexes(departed.indexes, departed.bytes);
            batch
        });
        let Some(flushed) = pool.flush(sequence, self.limits.instance) else { return };
        self.has_closed(slot, now);
        match flushed {
            Flushed::Lone(packet) => {
                self.counters.count_lone(reason);
                self.send_indexes(out);
                out.lone(packet);
            }
            // There was no memory for its index, without which it is worth nothing; or the worker stood still for so long
            // that ids in it may come to mean something else before it arrives.
            Flushed::Pooled { packet, .. } if batch == Some(None) || is_stale => {
                self.counters.broken += 1;
                out.free(packet);
            }
            Flushed::Pooled { packet, rows, entries, bytes_in } => {
                self.counters.count_pooled(reason, rows, bytes_in, packet.len());
                self.counters.count_provisioned(rows, entries);
                match batch.flatten() {
                    Some(batch) => {
                        if let Err(packet) = self.indexes.hold(batch, packet, rows) {
                            self.counters.broken += 1;
                            out.free(packet);
                        }
                    }
                    None => {
                        self.send_indexes(out);
                        out.pooled(packet, peer, rows);
                    }
                }
            }
            Flushed::Broken(packet) => {
                self.counters.broken += 1;
                out.free(packet);
            }
        }
    }

    /// Lets the pooled packets leave whose indexes go apart from them, and these in front of them. They came before whatever
    /// leaves next.
    #[inline(always)]
    pub(super) fn send_indexes<M: PoolSink<Buffer = B>>(&mut self, out: &mut M) {
        if !self.indexes.is_empty() {
            let mut departed = Departed::default();
            self.indexes.leave(&mut departed, out);
            self.counters.count_indexes(departed.indexes, departed.bytes);
        }
    }
}
