//! All that a worker owns and changes: the pooler, the re-entry queue, the way out. The stages are its methods, one
//! file each.

use std::sync::Arc;

use crate::arch::lanes::Vectors;
use crate::arch::{RateLimit, Tick, TickRate};
use crate::dpdk::{Mbuf, MempoolCache, Nic};
use crate::fib::PortIndex;
use crate::packet::ethernet::HEADER_LEN;
use crate::pool::index_queue::IndexQueue;
use crate::pool::learned::{CompressorLimits, ContextTimes, Decompressor, UnknownContexts};
use crate::pool::{FlowSeed, PacketPooler, PoolerLimits};

use super::WorkerOptions;
use super::handover::Handover;
use super::hop_cache::HopCache;
use super::icmp_error::icmp_limit;
use super::index_input::{Outside, index_queue_limits};
use super::neighbour_news::NewsLimits;
use super::output::Output;
use super::peer_traffic::PeerTraffic;
use super::reentry::Reentry;
use super::reporting::Heed;
use super::shared::WorkerShared;

/// Peers that a router can have.
pub const MAX_PEERS: u16 = 1024;
/// Flows, and pairs of addresses, whose order is watched while they have packets in a pool; more only flush early.
const WATCHED_FLOWS: usize = 1 << 15;

/// Contexts of learned headers that a worker knows: those of twice as many streams as it sends.
const CONTEXTS: usize = 32_768;

/// A worker's own state.
pub(super) struct Stages<N> {
    /// The way out, and the counters.
    pub out: Output<N>,
    /// What this worker and others hand over to each other; None where each has pools of its own.
    pub handover: Option<Handover>,
    /// The next hops that packets went to lately.
    pub hops: HopCache,
    /// Pools that are filling.
    pub pooler: PacketPooler<Mbuf>,
    /// Packets taken out of pooled packets.
    pub reentry: Reentry,
    /// Pooled packets and indexes that wait for each other.
    pub indexes: IndexQueue<Mbuf, Outside>,
    /// The headers that peers announced.
    pub decompressor: Decompressor,
    /// How what they report is taken.
    pub heed: Heed,
    /// What came from each peer.
    pub peers: PeerTraffic,
    /// Memory for packets.
    pub mempool: MempoolCache,
    /// How often ICMP errors may be sent.
    pub icmp_limit: RateLimit,
    /// How often the control thread is told of packets that were too long.
    pub too_big_limit: RateLimit,
    /// How often it is told what neighbours say.
    pub news_limits: NewsLimits,
    /// What flow hashes are made with.
    pub seed: FlowSeed,
    /// How eight packets at a time are looked at that may be pooled.
    pub vectors: Vectors,
    /// Ticks a second.
    pub rate: TickRate,
    /// [`super::RouterState::pools`] that the open pools belong to.
    pub pools_generation: u64,
    /// The newest request for open pools that was answered.
    pub sampled: u64,
    /// The joint with the control thread.
    pub shared: Arc<WorkerShared>,
}

impl<N: Nic> Stages<N> {
    pub fn new(
        options: &WorkerOptions,
        queues: Vec<(PortIndex, N)>,
        mempool: MempoolCache,
        shared: Arc<WorkerShared>,
    ) -> Stages<N> {
        let limits = PoolerLimits {
            worker: options.index,
            pools: options.open_pools,
            flows: WATCHED_FLOWS,
            peers: MAX_PEERS,
            buckets: options.buckets,
            link_headroom: HEADER_LEN as u16,
            buffer_room: options.buffer_room - HEADER_LEN as u16,
            instance: options.instance,
            learned: CompressorLimits::usual(options.rate, FlowSeed(options.seed)),
        };
        let forget = ContextTimes::at(options.rate).forget;
        Stages {
            out: Output::new(queues, options.rate, Arc::clone(&shared)),
            handover: None,
            hops: HopCache::new(options.rate),
            pooler: PacketPooler::new(limits),
            reentry: Reentry::new(),
            indexes: IndexQueue::new(index_queue_limits(options.rate)),
            decompressor: Decompressor::new(CONTEXTS, forget, UnknownContexts::new(options.rate)),
            heed: Heed::new(options.rate),
            peers: PeerTraffic::new(MAX_PEERS),
            mempool,
            icmp_limit: icmp_limit(options.rate),
            too_big_limit: icmp_limit(options.rate),
            news_limits: NewsLimits::new(options.rate),
            seed: FlowSeed(options.seed),
            vectors: Vectors::best(),
            rate: options.rate,
            pools_generation: u64::MAX,
            sampled: 0,
            shared,
        }
    }

    /// When the next pool or the next packet without its index has waited long enough, or a report is due.
    #[inline]
    pub fn next_deadline(&self) -> Option<Tick> {
        let deadlines =
            [self.pooler.next_deadline(), self.indexes.next_deadline(), self.decompressor.report_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Packets in this worker's hands.
    pub fn held(&self) -> usize {
        self.pooler.held() + self.indexes.held() + self.reentry.len() + self.out.waiting.len() + self.out.queued()
    }
}
