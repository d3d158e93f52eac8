//! Where a forwarded packet meets the packet pooler: it shares a ride, or makes those leave first that it would overtake.

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;

use crate::dpdk::{BURST, Mbuf, MempoolCache, Nic};
use crate::fib::{Entry, EntryId, PathIndex, PeerIndex};
use crate::packet::BufferSource;
use crate::packet::ethernet::HEADER_LEN;
use crate::packet::ipv4::{self, PROTOCOL_UDP};
use crate::packet::ipv6::Ipv6Header;
use crate::pool::hello::Capabilities;
use crate::pool::path::SharedHops;
use crate::pool::{
    self, Crowd, Detected, FlowSeed, FlushReason, Format, Ordinary, Plain6, PlainBurst, PlainLooks, PoolKey, PoolSink,
    Question, Queue, Ride, RuleIndex, RuleSet, StreamFields, Unstaged, Way, detect, look_at_plain6,
};

use super::counters::Counter;
use super::drop::Drop;
use super::hop_cache::HopCache;
use super::moment::Moment;
use super::origin::{Header, Origin, Packet};
use super::output::Output;
use super::stages::Stages;
use super::stopwatch::Stage;

/// Where the pooler's memory comes from and where its packets go: the worker's mempool and its way out.
pub(super) struct PoolExit<'a, N> {
    pub out: &'a mut Output<N>,
    pub mempool: &'a mut MempoolCache,
    pub hops: &'a mut HopCache,
    pub moment: &'a Moment<'a>,
}

impl<N: Nic> BufferSource for PoolExit<'_, N> {
    type Buffer = Mbuf;

    #[inline(always)]
    fn alloc(&mut self, headroom: usize) -> Option<Mbuf> {
        BufferSource::alloc(self.mempool, headroom)
    }

    #[inline(always)]
    fn free(&mut self, mbuf: Mbuf) {
        self.out.bin(mbuf);
    }

    #[inline(always)]
    fn free_all<const MOST: usize>(&mut self, mbufs: &mut ArrayVec<Mbuf, MOST>) {
        self.mempool.free_bulk(mbufs);
    }
}

impl<N: Nic> PoolSink for PoolExit<'_, N> {
    fn lone(&mut self, packet: Mbuf) {
        self.out.route(packet, self.moment);
    }

    fn pooled(&mut self, packet: Mbuf, _peer: PeerIndex, _rows: u8) {
        let Some(&[0x45, .., d0, d1, d2, d3]) = packet.bytes().first_chunk::<{ ipv4::MIN_HEADER_LEN }>() else {
            return self.pooled6(packet);
        };
        let destination = Ipv4Addr::new(d0, d1, d2, d3);
        let leaf = self.hops.leaf(destination, self.moment);
        let hop = self.hops.at(leaf);
        if self.hops.is_of(hop, leaf) && packet.len() <= usize::from(hop.mtu) {
            return self.out.send_short(packet, hop);
        }
        let entry = self.moment.state.entry(leaf);
        if self.hops.is_ours(&entry) {
            self.hops.learn(leaf, entry, self.moment, |port| self.out.position(port));
        }
        let length = packet.len();
        self.out.route_by(packet, length, entry.adjacency, destination, self.moment);
    }
}

impl<N: Nic> PoolExit<'_, N> {
    /// Sends a pooled packet with IPv6 outside.
    #[inline(never)]
    fn pooled6(&mut self, packet: Mbuf) {
        let Ok(Ipv6Header { dst, .. }) = Ipv6Header::parse(packet.bytes()) else {
            return self.out.route(packet, self.moment);
        };
        let leaf = self.hops.leaf6(dst, self.moment);
        let hop = self.hops.at6(leaf);
        if self.hops.is_of(hop, leaf) && packet.len() <= usize::from(hop.mtu) {
            return self.out.send_short(packet, hop);
        }
        let entry = self.moment.state.entry(leaf);
        if self.hops.is_ours(&entry) {
            self.hops.learn6(leaf, entry, self.moment, |port| self.out.position(port));
        }
        let length = packet.len();
        self.out.route_by(packet, length, entry.adjacency, dst, self.moment);
    }
}

/// What a packet must not overtake: packets of its flow, or, as far as a fragment tells, between its addresses.
enum Order {
    Flow(u32),
    Pair(u32),
}

impl Order {
    #[inline(always)]
    fn of(fields: &StreamFields) -> Order {
        if fields.is_fragment { Order::Pair(fields.pair) } else { Order::Flow(fields.flow) }
    }
}

/// What a look at a plain packet, of either family, says about it.
pub(super) enum Look<'a> {
    /// It may board a pool, with those that come next and ask the same.
    Boards(Queue<'a>),
    /// It may board a pool, and those that come next may board others.
    Crowd(Crowd<'a>),
    /// It is to be forwarded as it is where nothing of its flow waits. `too_large`: for its rule.
    Free { flow: u32, too_large: bool },
    /// Nothing.
    Undecided,
}

/// What was seen of the packets of a burst.
pub(super) struct Looks(PlainLooks);

const _: () = assert!(BURST == pool::BURST);

impl Looks {
    /// Nothing was seen.
    #[inline(always)]
    pub fn none() -> Looks {
        Looks(PlainLooks::none())
    }

    /// Looks at plain IPv6 packets.
    #[inline(always)]
    pub fn look_at6<'a>(
        &mut self,
        packets: impl Iterator<Item = Option<Plain6<'a>>>,
        rules: &RuleSet,
        seed: FlowSeed,
        buckets: u8,
    ) {
        look_at_plain6(packets, rules, seed, buckets, &mut self.0);
    }

    /// What was seen of the packet at this position.
    #[inline(always)]
    pub fn at(&self, position: usize) -> Look<'_> {
        let has = |bits: u32| position < BURST && bits >> position & 1 == 1;
        let looks = &self.0;
        let Some(&(flow, _)) = looks.hashes.get(position) else { return Look::Undecided };
        if has(looks.boards) {
            looks.run(position).map_or_else(|| Look::Crowd(looks.crowd(position)), Look::Boards)
        } else if has(looks.free) {
            Look::Free { flow, too_large: has(looks.too_large) }
        } else {
            Look::Undecided
        }
    }
}

impl<N: Nic> Stages<N> {
    /// Looks at the packets of a burst that are to be forwarded: a bit in `special` says that one is not plain. What is seen goes to
    /// `looks`.
    #[inline(never)]
    pub(super) fn look_at(
        &self,
        packets: &[(Mbuf, Origin)],
        leaves: &[EntryId; BURST],
        special: u32,
        moment: &Moment<'_>,
        looks: &mut Looks,
    ) {
        let mut burst = PlainBurst::empty();
        let (mut last, mut way) = (EntryId::NO_ROUTE, Way::UNKNOWN);
        burst.count = packets.len();
        let places = burst.starts.iter_mut().zip(&mut burst.ways);
        for (((mbuf, _), &leaf), (start, known)) in packets.iter().zip(leaves).zip(places) {
            if leaf != last {
                let hop = self.hops.at(leaf);
                way = if self.hops.is_of(hop, leaf) { Way::new(hop.path, hop.mtu) } else { Way::UNKNOWN };
                last = leaf;
            }
            if let Some((_, packet)) = mbuf.bytes().split_first_chunk::<HEADER_LEN>()
                && let Some(bytes) = packet.first_chunk()
            {
                (*start, *known) = (bytes, way.word());
            }
        }
        let (rules, buckets) = (&moment.state.rules, self.pooler.limits().buckets);
        self.vectors.run(pool::Look { burst: &burst, special, rules, seed: self.seed, buckets, looks: &mut looks.0 });
        self.bring_closer(looks);
    }

    /// Has what the packets that were looked at will need brought closer, where it may be far.
    #[inline(always)]
    pub(super) fn bring_closer(&self, Looks(looks): &Looks) {
        if self.pooler.has_many_open() {
            let first = |position: &usize| (looks.boards & !looks.alike) >> position & 1 == 1;
            let asked = (0..BURST).filter(first).filter_map(|at| Some((looks.question(at)?, *looks.hashes.get(at)?)));
            self.pooler.bring_closer(asked);
        }
    }

    /// Has plain packets, which are frames, board the pool of those that asked the same. Returns how many are aboard, and the
    /// one, if any, that has to take the long way before the others go on: no frame any more.
    #[inline(always)]
    pub(super) fn board(
        &mut self,
        packets: &mut impl Iterator<Item = (Mbuf, Origin)>,
        queue: &Queue<'_>,
        moment: &Moment<'_>,
    ) -> (usize, Option<(Mbuf, Origin)>) {
        self.out.stopwatch.enter(Stage::Pool);
        let mut exit = PoolExit { out: &mut self.out, mempool: &mut self.mempool, hops: &mut self.hops, moment };
        let boarded = self.pooler.board_plain::<HEADER_LEN, _, _>(packets, queue, moment.now, &mut exit);
        self.out.stopwatch.enter(Stage::Forward);
        boarded
    }

    /// The same for packets each of which may ask something else.
    #[inline(always)]
    pub(super) fn board_crowd(
        &mut self,
        packets: &mut impl Iterator<Item = (Mbuf, Origin)>,
        crowd: &Crowd<'_>,
        moment: &Moment<'_>,
    ) -> (usize, Option<(Mbuf, Origin)>) {
        self.out.stopwatch.enter(Stage::Pool);
        let mut exit = PoolExit { out: &mut self.out, mempool: &mut self.mempool, hops: &mut self.hops, moment };
        let boarded = self.pooler.board_crowd::<HEADER_LEN, _, _>(packets, crowd, moment.now, &mut exit);
        self.out.stopwatch.enter(Stage::Forward);
        boarded
    }

    /// Whether the pooler has to see a forwarded packet with this entry: it may be pooled, or overtake what is.
    #[inline(always)]
    pub(super) fn is_pooling(&self, entry: &Entry, moment: &Moment<'_>) -> bool {
        entry.path.is_some() && !moment.state.rules.is_empty() || !self.pooler.is_empty()
    }

    /// Stages a packet that a rule selects and a peer can take; sends any other, after those of its flow that wait. `mtu`
    /// is that of the link it leaves by.
    #[inline(never)]
    pub(super) fn pool_or_send<H: Header>(
        &mut self,
        mut packet: Packet<H>,
        entry: Entry,
        mtu: u16,
        moment: &Moment<'_>,
    ) {
        let Some(fields) = packet.header.stream_fields(packet.mbuf.bytes(), self.seed) else {
            return self.out.send(packet.mbuf, entry.adjacency, packet.header.dst(), moment);
        };
        // A pooled packet or a hello in transit is not pooled once more.
        let is_pool_traffic = fields.protocol == PROTOCOL_UDP && fields.destination_port == moment.state.pool_port;
        if let Some(path) = entry.path.filter(|_| !is_pool_traffic) {
            match detect(&moment.state.rules, &fields) {
                Detected::Stream(rule) => {
                    let bucket = PoolKey::bucket_of(fields.flow, self.pooler.limits().buckets);
                    let question = Question::new(path, rule, fields.tos(), (bucket, fields.is_ipv6()), mtu);
                    let mut exit =
                        PoolExit { out: &mut self.out, mempool: &mut self.mempool, hops: &mut self.hops, moment };
                    let hashes = (fields.flow, fields.pair);
                    match self.pooler.board(packet.mbuf, question, hashes, moment.now, &mut exit) {
                        Ok(()) => return,
                        Err(mbuf) => packet.mbuf = mbuf,
                    }
                    return self.stage_or_send(packet, (path, rule, question), (entry, mtu), moment);
                }
                Detected::Ordinary(Ordinary::TooLarge(_)) => self.out.counters.add(Counter::PoolTooLarge, 1),
                Detected::Ordinary(Ordinary::NoRule | Ordinary::NeverPooled(_) | Ordinary::Fragment) => {}
            }
        }
        self.send_unpooled(packet, Order::of(&fields), entry, moment);
    }

    /// Stages a packet that this rule selects, on this path, where a peer can take it.
    #[inline(never)]
    fn stage_or_send<H: Header>(
        &mut self,
        packet: Packet<H>,
        (path, rule_index, question): (PathIndex, RuleIndex, Question),
        (entry, mtu): (Entry, u16),
        moment: &Moment<'_>,
    ) {
        // Read once more, which is seldom done, so that whoever calls this often need not keep it in memory.
        let Some(fields) = packet.header.stream_fields(packet.mbuf.bytes(), self.seed) else {
            return self.out.send(packet.mbuf, entry.adjacency, packet.header.dst(), moment);
        };
        let (rules, buckets) = (&moment.state.rules, self.pooler.limits().buckets);
        // The peer is behind the same next hop: a pool that the link does not take would be lost whole.
        let path = moment.state.path(path);
        let addressee = path.and_then(|path| path.addressee).and_then(|addressee| {
            let peer = moment.state.peers.get(addressee)?;
            let takes_it = !fields.is_ipv6() || peer.path.capabilities.contains(Capabilities::WHOLE_IPV6);
            (takes_it && peer.path.mtu <= mtu).then_some((addressee, &peer.path))
        });
        if let (Some(path), Some(addressee), Some(rule)) = (path, addressee, rules.get(rule_index)) {
            // What has no TTLs gets out at the addressee, all of it.
            let has_ttls = addressee.1.format == Format::Native && rule.has_ttls();
            let shared = if has_ttls { rule.shared_hops } else { SharedHops::WholePath };
            let key = PoolKey::of_stream(path.group(shared), rule_index, &fields, buckets);
            let ride = Ride { question: Some(question), ..Ride::new(key, path, addressee, rule, &fields) };
            let mut exit = PoolExit { out: &mut self.out, mempool: &mut self.mempool, hops: &mut self.hops, moment };
            self.pooler.stage(packet.mbuf, &ride, moment.now, &mut exit);
            return;
        }
        self.out.counters.add(Counter::PoolNoPeer, 1);
        self.send_unpooled(packet, Order::of(&fields), entry, moment);
    }

    /// Sends a packet as it is, after those of its flow that wait.
    #[inline(always)]
    fn send_unpooled<H: Header>(&mut self, packet: Packet<H>, order: Order, entry: Entry, moment: &Moment<'_>) {
        self.hold_back(order, moment);
        self.out.send(packet.mbuf, entry.adjacency, packet.header.dst(), moment);
    }

    /// Has the pools leave that hold packets which this one, of IPv4, would overtake.
    #[inline(never)]
    pub(super) fn have_leave_before(&mut self, packet: &[u8], moment: &Moment<'_>) {
        if let Some(fields) = StreamFields::read(packet, self.seed) {
            self.hold_back(Order::of(&fields), moment);
        }
    }

    #[inline(always)]
    fn hold_back(&mut self, order: Order, moment: &Moment<'_>) {
        let mut exit = PoolExit { out: &mut self.out, mempool: &mut self.mempool, hops: &mut self.hops, moment };
        match order {
            Order::Pair(pair) => self.pooler.pass_fragment(pair, moment.now, &mut exit),
            Order::Flow(flow) => self.pooler.pass(flow, moment.now, &mut exit),
        }
    }

    /// Has the pools leave that hold packets which the fragments of this packet would overtake.
    pub(super) fn hold_back_pools(&mut self, packet: &[u8], moment: &Moment<'_>) {
        if let Some(fields) = StreamFields::read(packet, self.seed) {
            let mut exit = PoolExit { out: &mut self.out, mempool: &mut self.mempool, hops: &mut self.hops, moment };
            self.pooler.pass_fragment(fields.pair, moment.now, &mut exit);
            self.pooler.pass(fields.flow, moment.now, &mut exit);
        }
    }

    /// Flushes the pools whose window has ended; returns how many pools that were.
    #[inline(always)]
    pub(super) fn flush_due(&mut self, moment: &Moment<'_>) -> usize {
        let open = self.pooler.held();
        if open > 0 {
            let mut exit = PoolExit { out: &mut self.out, mempool: &mut self.mempool, hops: &mut self.hops, moment };
            self.pooler.flush_due(moment.now, &mut exit);
        }
        open - self.pooler.held().min(open)
    }

    /// Flushes all pools because what they were formed by has changed.
    #[cold]
    pub(super) fn flush_reconfigured(&mut self, moment: &Moment<'_>) {
        self.flush_all(FlushReason::Reconfigured, moment);
    }

    /// Flushes all pools because the worker stops.
    #[cold]
    pub(super) fn flush_for_shutdown(&mut self, moment: &Moment<'_>) {
        self.flush_all(FlushReason::Shutdown, moment);
    }

    fn flush_all(&mut self, reason: FlushReason, moment: &Moment<'_>) {
        let mut exit = PoolExit { out: &mut self.out, mempool: &mut self.mempool, hops: &mut self.hops, moment };
        self.pooler.flush_all(reason, moment.now, &mut exit);
    }

    /// Brings the counters up to date with what the pooler counts itself, and with what is held.
    pub(super) fn settle(&mut self) {
        let learned = *self.pooler.compressor().counters();
        let pooler = self.pooler.counters();
        let flushed = |reason| {
            let count = pooler.flushed_for(reason);
            count.lone + count.pooled
        };
        let table_full = pooler.unstaged_for(Unstaged::PoolTableFull) + pooler.unstaged_for(Unstaged::BeyondLimits);
        self.out.counters.set_dropped(Drop::PoolBroken, pooler.broken);
        let values = [
            (Counter::CreatedPooled, pooler.created),
            (Counter::CreatedIndex, pooler.indexes),
            (Counter::AbsorbedStaged, pooler.absorbed),
            (Counter::PoolStaged, pooler.staged),
            (Counter::PoolLone, pooler.lone()),
            (Counter::PoolSent, pooler.pooled_packets),
            (Counter::PoolRowsSent, pooler.rows),
            (Counter::PoolBytesIn, pooler.bytes_in),
            (Counter::PoolBytesOut, pooler.bytes_out),
            (Counter::FlushWindow, flushed(FlushReason::Window)),
            (Counter::FlushFull, flushed(FlushReason::Full)),
            (Counter::FlushCount, flushed(FlushReason::Count)),
            (Counter::FlushRequiredCount, flushed(FlushReason::RequiredCount)),
            (Counter::FlushHold, flushed(FlushReason::Hold)),
            (Counter::FlushAdaptive, flushed(FlushReason::Adaptive)),
            (Counter::FlushOrder, flushed(FlushReason::Order)),
            (Counter::FlushNoBuffer, flushed(FlushReason::NoBuffer)),
            (Counter::FlushReconfigured, flushed(FlushReason::Reconfigured)),
            (Counter::FlushShutdown, flushed(FlushReason::Shutdown)),
            (Counter::PoolCannotShare, pooler.unstaged_for(Unstaged::CannotShare)),
            (Counter::PoolTableFull, table_full),
            (Counter::PoolNoBuffer, pooler.unstaged_for(Unstaged::NoPoolBuffer)),
            (Counter::PoolIndexWaiting, self.indexes.held() as u64),
            (Counter::LearnedWhole, learned.whole),
            (Counter::LearnedAnnounced, learned.announced),
            (Counter::LearnedCompressed, learned.compressed),
            (Counter::LearnedNoId, learned.no_id),
            (Counter::LearnedLost, learned.lost),
            (Counter::ProvisionedSent, pooler.provisioned_entries),
            (Counter::ProvisionedWhole, pooler.provisioned_whole),
            (Counter::LearnedNotLost, learned.not_lost),
            (Counter::LearnedDisputed, self.decompressor.disputed()),
            (Counter::PoolsOpen, self.pooler.held() as u64),
            (Counter::PoolLongestNs, self.rate.duration(pooler.delay_max).as_nanos() as u64),
            (Counter::ControlRefused, self.shared.refused()),
            (Counter::Held, self.held() as u64),
        ];
        for (counter, value) in values {
            self.out.counters.set(counter, value);
        }
        self.out.counters.total();
    }
}
