//! The packet pooler of one worker: stages stream packets and sends those that share a ride as one.
//!
//! The worker calls [`stage`](PacketPooler::stage) for each stream packet and [`pass`](PacketPooler::pass) or
//! [`pass_fragment`](PacketPooler::pass_fragment) for each other packet it forwards, before it does; and
//! [`flush_due`](PacketPooler::flush_due) once per iteration. Then no packet overtakes another of its flow, none waits
//! longer than its window (or its rule's `hold`) plus one iteration, and every packet that went in comes out. Nothing is allocated after
//! construction, and the work per packet does not depend on how many pools are open.

mod boarding;
mod flushing;
mod runs;

pub use boarding::{Crowd, Queue};

use std::sync::Arc;

use super::company::Company;
use super::flow_hash::FlowSeed;
use super::flow_order::FlowOrder;
use super::index_writer::IndexWriter;
use super::layout::{Encoders, Layout, Room};
use super::learned::{Compressor, CompressorLimits};
use super::open_pools::{OpenPools, PoolKey, Slot};
use super::pair_order::PairOrder;
use super::pool_buffer::{Flushed, PoolBuffer, Refused};
use super::pooler_counters::{FlushReason, PoolerCounters, Unstaged};
use super::provisioned::StreamSet;
use super::representation::PoolLayout;
use super::ride::{LoneRide, Ride};
use super::shortcut::{Opening, Shortcuts};
use super::window::WindowQueues;
use crate::arch::{Tick, TickRate, TickSpan};
use crate::fib::PeerIndex;
use crate::packet::{Buffer, BufferSource};

/// The most flow buckets that a worker can have.
pub const MAX_BUCKETS: u8 = 64;

/// What the pooler's memory is sized for, at construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolerLimits {
    /// Which worker this is, from 0: chooses the UDP source ports.
    pub worker: u16,
    /// Pools open at one time, at most 65534.
    pub pools: u16,
    /// Flows, and pairs of addresses, that can have packets waiting at one time; more only cost early flushes.
    pub flows: usize,
    /// Peers: rides name them from 0 to `peers` - 1.
    pub peers: u16,
    /// Flow buckets per worker, 1 to [`MAX_BUCKETS`].
    pub buckets: u8,
    /// Room to leave in front of a pooled packet for the link header, in bytes.
    pub link_headroom: u16,
    /// What a buffer holds behind `link_headroom`, in bytes; no pooled packet becomes longer.
    pub buffer_room: u16,
    /// Which run of the router this is, as its hellos say: contexts of learned headers belong to it.
    pub instance: u32,
    /// What learned headers take.
    pub learned: CompressorLimits,
}

impl Default for PoolerLimits {
    /// For mbufs of DPDK's default size (2048 bytes and 128 of headroom), link headers with two VLAN tags, and times in
    /// nanoseconds.
    fn default() -> PoolerLimits {
        PoolerLimits {
            worker: 0,
            pools: 4096,
            flows: 16384,
            peers: 1024,
            buckets: 1,
            link_headroom: 32,
            buffer_room: 2048 + 128 - 32,
            instance: 1,
            learned: CompressorLimits::small(TickRate::NANOSECONDS, FlowSeed(0)),
        }
    }
}

/// Where the pooler's buffers come from, and where what leaves it goes.
pub trait PoolSink: BufferSource {
    /// A packet that leaves as itself: it starts at its IP header and is to be forwarded by its destination.
    fn lone(&mut self, packet: Self::Buffer);

    /// A pooled packet with `rows` rows for `peer`: it starts at the outer IPv4 header, with checksums, and is to be routed
    /// by its destination like a packet of our own. The packets it carries have been given back to the source.
    fn pooled(&mut self, packet: Self::Buffer, peer: PeerIndex, rows: u8);
}

/// What became of a packet that was to be staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staged {
    /// It is in a pool, or has left in one already.
    Taken,
    /// It went on as itself.
    PassedOn(Unstaged),
}

/// An open pool, to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenPool {
    /// What its packets have in common.
    pub key: PoolKey,
    /// How they lie in it.
    pub layout: PoolLayout,
    /// Whom it is addressed to.
    pub peer: PeerIndex,
    /// Packets in it.
    pub rows: u8,
    /// Bytes of IP length the pooled packet would have now.
    pub length: u16,
    /// When its first packet came.
    pub opened: Tick,
    /// When its window ends.
    pub deadline: Tick,
}

/// The open pools of one worker and all that finds them.
pub struct PacketPooler<B> {
    limits: PoolerLimits,
    open: OpenPools,
    /// One per slot of `open`.
    pools: Box<[PoolBuffer<B>]>,
    /// The newest opening of one.
    newest: Opening,
    shortcuts: Shortcuts,
    windows: WindowQueues,
    flows: FlowOrder,
    pairs: PairOrder,
    /// What adaptive rules go by.
    company: Company,
    /// Pooled packets whose indexes go apart from them, and these.
    indexes: IndexWriter<B>,
    /// The next sequence number of each outer flow: peers by buckets.
    sequences: Box<[u32]>,
    encoders: Encoders,
    counters: PoolerCounters,
}

impl<B: Buffer> PacketPooler<B> {
    /// A pooler with no pool open. All the memory it will ever need is allocated here.
    pub fn new(limits: PoolerLimits) -> PacketPooler<B> {
        let limits = PoolerLimits {
            pools: limits.pools.min(u16::MAX - 1),
            buckets: limits.buckets.clamp(1, MAX_BUCKETS),
            ..limits
        };
        PacketPooler {
            limits,
            open: OpenPools::new(limits.pools),
            pools: (0..limits.pools).map(|_| PoolBuffer::vacant()).collect(),
            newest: Opening::first(),
            shortcuts: Shortcuts::new(),
            windows: WindowQueues::new(limits.pools),
            flows: FlowOrder::new(limits.flows),
            pairs: PairOrder::new(limits.flows),
            company: Company::new(2 * usize::from(limits.pools)),
            indexes: IndexWriter::new(),
            sequences: vec![0; usize::from(limits.peers) * usize::from(limits.buckets)].into(),
            encoders: Encoders { compressor: Compressor::new(limits.learned), streams: Arc::default() },
            counters: PoolerCounters::default(),
        }
    }

    /// The provisioned streams from now on. Pools that are open are to be flushed before.
    pub fn provision(&mut self, streams: &Arc<StreamSet>) {
        self.encoders.streams = Arc::clone(streams);
    }

    /// Learned headers: what they did, and what a peer reports of them.
    pub fn compressor(&mut self) -> &mut Compressor {
        &mut self.encoders.compressor
    }

    /// Takes a stream packet into its pool, or hands it on where it cannot be pooled. It starts at its IP header, is as
    /// long as that says, is no fragment, and its TTL is decremented. `now` is never before that of an earlier call.
    pub fn stage<M>(&mut self, packet: B, ride: &Ride<'_>, now: Tick, out: &mut M) -> Staged
    where
        M: PoolSink<Buffer = B>,
    {
        let own = self.open.find(ride.key);
        // A flow whose packets changed class, peer or rule has packets in another pool: they leave first.
        while let Some(other) = self.flows.resident(ride.flow, own, self.open.generations()) {
            self.flush(other, FlushReason::Order, now, out);
        }
        let taken = match own {
            Some(slot) => self.join(slot, packet, ride, now, out),
            None => self.begin(packet, ride, now),
        };
        match taken {
            Ok(slot) => {
                self.counters.staged += 1;
                self.after_joining(slot, ride, now, out);
                self.remember(slot, ride);
                Staged::Taken
            }
            // Between overlay nodes nothing goes by itself.
            Err((packet, _)) if ride.path.trunk.is_overlay() => {
                self.send_alone(packet, &ride.alone(), now, out);
                Staged::Taken
            }
            Err((packet, reason)) => self.hand_on(packet, reason, out),
        }
    }

    /// Whether something may have to leave before a packet of this flow that is not staged: [`pass`](PacketPooler::pass) has it
    /// leave.
    #[inline(always)]
    pub fn may_overtake(&self, flow: u32) -> bool {
        !self.indexes.is_empty() || self.flows.resident(flow, None, self.open.generations()).is_some()
    }

    /// To be called for every packet that is forwarded without being staged, before it is: flushes the pool that has
    /// packets of its flow, which it would overtake.
    #[inline(always)]
    pub fn pass<M: PoolSink<Buffer = B>>(&mut self, flow: u32, now: Tick, out: &mut M) {
        if !self.is_empty() {
            while let Some(slot) = self.flows.resident(flow, None, self.open.generations()) {
                self.flush(slot, FlushReason::Order, now, out);
            }
            self.send_indexes(out);
        }
    }

    /// The same for a fragment, which does not tell its ports: flushes all pools that have packets between the same
    /// addresses.
    #[inline(always)]
    pub fn pass_fragment<M: PoolSink<Buffer = B>>(&mut self, pair: u32, now: Tick, out: &mut M) {
        if !self.is_empty() {
            if self.pairs.is_everywhere(pair) {
                while let Some(slot) = self.windows.any() {
                    self.flush(slot, FlushReason::Order, now, out);
                }
                self.pairs.forget_everywhere(pair);
            }
            while let Some(slot) = self.pairs.resident(pair, self.open.generations()) {
                self.flush(slot, FlushReason::Order, now, out);
            }
            self.send_indexes(out);
        }
    }

    /// Sends a packet between overlay nodes at once, inside a pooled packet of its own, after those of its flow that
    /// wait. For a fragment, call [`pass_fragment`](PacketPooler::pass_fragment) first. It is at most as long as
    /// [`PeerPath::longest_alone`](super::PeerPath::longest_alone) says.
    pub fn send_alone<M: PoolSink<Buffer = B>>(&mut self, packet: B, ride: &LoneRide<'_>, now: Tick, out: &mut M) {
        self.pass(ride.flow, now, out);
        self.counters.staged += 1;
        let (port_offset, instance) = (self.port_offset(ride.key), self.limits.instance);
        let Some(sequence) = self.next_sequence(ride.addressee, ride.key.bucket()) else {
            self.counters.broken += 1;
            return out.free(packet);
        };
        match PoolBuffer::alone(packet, ride, port_offset).flush(sequence, instance) {
            Some(Flushed::Pooled { packet, rows, bytes_in, .. }) => {
                self.counters.count_pooled(FlushReason::Count, rows, bytes_in, packet.len());
                out.pooled(packet, ride.addressee, rows);
            }
            Some(Flushed::Lone(packet) | Flushed::Broken(packet)) => {
                self.counters.broken += 1;
                out.free(packet);
            }
            None => {}
        }
    }

    /// The next sequence number to a peer in a flow bucket, to be moved on by who uses it. None beyond the limits.
    pub fn next_sequence(&mut self, peer: PeerIndex, bucket: u8) -> Option<&mut u32> {
        let flow = peer.index() * usize::from(self.limits.buckets) + usize::from(bucket);
        self.sequences.get_mut(flow)
    }

    /// Which of our source ports pools with this key use, counted from the peer's first.
    fn port_offset(&self, key: PoolKey) -> u16 {
        self.first_port_offset().wrapping_add(u16::from(key.bucket()))
    }

    /// The source port of the first flow bucket, counted from the peer's first.
    pub fn first_port_offset(&self) -> u16 {
        self.limits.worker.wrapping_mul(u16::from(self.limits.buckets))
    }

    /// When the next window ends: the worker must not sleep past it.
    #[inline]
    pub fn next_deadline(&self) -> Option<Tick> {
        self.windows.next_deadline()
    }

    /// Whether no pool is open and nothing that was flushed has yet to leave: no packet waits, and none can be overtaken.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.open.len() == 0 && self.indexes.is_empty()
    }

    /// Buffers held: one per open pool, and until the end of the round those that wait for their index to be complete.
    #[inline]
    pub fn held(&self) -> usize {
        self.open.len() + self.indexes.held()
    }

    /// What was counted since construction.
    pub fn counters(&self) -> &PoolerCounters {
        &self.counters
    }

    /// What the pooler was made for.
    pub fn limits(&self) -> &PoolerLimits {
        &self.limits
    }

    /// The open pools, in no particular order.
    pub fn open_pools(&self) -> impl Iterator<Item = OpenPool> + '_ {
        self.open.iter().filter_map(|(key, slot)| {
            let pool = self.pools.get(slot.index())?;
            let deadline = self.windows.deadline(slot)?;
            Some(OpenPool {
                key,
                layout: pool.layout(),
                peer: pool.addressee(),
                rows: pool.rows(),
                length: pool.length() as u16,
                opened: pool.opened(),
                deadline,
            })
        })
    }

    /// Puts a packet into an open pool, or flushes that and opens the next, or leaves it alone where the packet is too
    /// large for company.
    #[inline(always)]
    fn join<M>(&mut self, slot: Slot, packet: B, ride: &Ride<'_>, now: Tick, out: &mut M) -> Result<Slot, (B, Unstaged)>
    where
        M: PoolSink<Buffer = B>,
    {
        let headroom = usize::from(self.limits.link_headroom);
        let Some(pool) = self.pools.get_mut(slot.index()) else { return Err((packet, Unstaged::BeyondLimits)) };
        if !pool.fits(packet.len()) {
            if pool.can_open(packet.len()) {
                self.flush(slot, FlushReason::Full, now, out);
                return self.begin(packet, ride, now);
            }
            self.pass(ride.flow, now, out);
            return Err((packet, Unstaged::CannotShare));
        }
        let ttl = pool.index_ttl(ride);
        if ttl == 0 {
            self.pass(ride.flow, now, out);
            return Err((packet, Unstaged::BeyondLimits));
        }
        match pool.join(packet, ttl, headroom, (&mut self.encoders, now), out) {
            Ok(absorbed) => {
                self.counters.absorbed += absorbed;
                if absorbed == 2 {
                    self.counters.created += 1;
                    self.has_company(slot);
                }
                Ok(slot)
            }
            Err((packet, Refused::NoRoom)) => {
                self.flush(slot, FlushReason::Full, now, out);
                self.begin(packet, ride, now)
            }
            Err((packet, Refused::NoBuffer)) => {
                self.flush(slot, FlushReason::NoBuffer, now, out);
                Err((packet, Unstaged::NoPoolBuffer))
            }
        }
    }

    /// Opens the pool of `ride`, of which none is open, with its first packet.
    fn begin(&mut self, packet: B, ride: &Ride<'_>, now: Tick) -> Result<Slot, (B, Unstaged)> {
        let longest_learned = self.limits.learned.times.longest_wait;
        let Some(layout) = Layout::open(ride, packet.len(), self.limits.buffer_room, longest_learned) else {
            return Err((packet, Unstaged::CannotShare));
        };
        if ride.addressee.0 >= self.limits.peers || ride.key.bucket() >= self.limits.buckets {
            return Err((packet, Unstaged::BeyondLimits));
        }
        let Some(slot) = self.open.open(ride.key) else { return Err((packet, Unstaged::PoolTableFull)) };
        let port_offset = self.port_offset(ride.key);
        let is_queued = self.windows.push(slot, ride.rule.window, now);
        let (Some(pool), true) = (self.pools.get_mut(slot.index()), is_queued) else {
            self.open.close(slot);
            return Err((packet, Unstaged::PoolTableFull));
        };
        self.newest = self.newest.next(slot);
        let names = (self.newest, self.open.generations().reference(slot));
        *pool = PoolBuffer::open(packet, ride, layout, names, port_offset, now);
        let window = ride.rule.window;
        if ride.rule.adaptive && window > TickSpan(0) && !self.company.opens(ride.key, window, now) {
            pool.leave_at_once();
        }
        Ok(slot)
    }

    /// Whether the first packet of another pool like the last one in `slot` would wait at all.
    #[inline(always)]
    fn would_wait(&self, slot: Slot, now: Tick) -> bool {
        self.pools.get(slot.index()).is_some_and(|pool| {
            !pool.is_adaptive()
                || pool.window() == TickSpan(0)
                || self.company.would_wait(pool.key(), pool.window(), now)
        })
    }

    /// Another pool like the last one in `slot` has opened, with a packet that [would wait](PacketPooler::would_wait).
    #[inline(always)]
    fn has_opened(&mut self, slot: Slot, now: Tick) {
        if let Some(pool) =
            self.pools.get(slot.index()).filter(|pool| pool.is_adaptive() && pool.window() > TickSpan(0))
        {
            self.company.opens(pool.key(), pool.window(), now);
        }
    }

    /// The first packet of the pool in `slot` has company.
    #[inline(always)]
    fn has_company(&mut self, slot: Slot) {
        if let Some(pool) = self.pools.get(slot.index()).filter(|pool| pool.is_adaptive()) {
            self.company.came(pool.key());
        }
    }

    /// A pool that has no room for any packet, or expects none, does not wait for one; any other remembers whose packets it has.
    #[inline(always)]
    fn after_joining<M: PoolSink<Buffer = B>>(&mut self, slot: Slot, ride: &Ride<'_>, now: Tick, out: &mut M) {
        let Some(pool) = self.pools.get(slot.index()) else { return };
        match pool.room() {
            Room::NoBytes => self.flush(slot, FlushReason::Full, now, out),
            Room::NoRows => self.flush(slot, FlushReason::Count, now, out),
            Room::Left if pool.has_enough() => {
                let reason = if pool.is_held() { FlushReason::RequiredCount } else { FlushReason::Adaptive };
                self.flush(slot, reason, now, out);
            }
            Room::Left => self.note(slot, (ride.flow, ride.pair), now, out),
        }
    }

    /// Remembers that the open pool in `slot` has packets of this flow, and between these addresses.
    #[inline(always)]
    fn note<M: PoolSink<Buffer = B>>(&mut self, slot: Slot, (flow, pair): (u32, u32), now: Tick, out: &mut M) {
        let reference = self.open.generations().reference(slot);
        if let Some(displaced) = self.flows.record(flow, reference, self.open.generations()) {
            self.flush(displaced, FlushReason::Order, now, out);
            if displaced == slot {
                return;
            }
        }
        self.pairs.enter(pair, reference, self.open.generations());
    }

    fn hand_on<M: PoolSink<Buffer = B>>(&mut self, packet: B, reason: Unstaged, out: &mut M) -> Staged {
        self.counters.count_unstaged(reason);
        self.send_indexes(out);
        out.lone(packet);
        Staged::PassedOn(reason)
    }
}
