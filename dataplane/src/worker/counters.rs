//! What a worker counts, and how the control thread reads it without stopping the worker.
//!
//! A worker counts in plain integers of its own and now and then copies all of them to shared memory at a quiescent
//! point, under a sequence lock (Linux, `seqlock_t`): a reader gets all values of one moment, for which
//! `in + created = out + held + dropped + absorbed` holds exactly, or tries again.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::drop::Drop;
use super::stopwatch::Stage;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// What is counted besides drops.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Counter {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Counter {
            /// All counters in order.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Counter::ALL.len();

            /// The name in output and metrics.
            pub fn name(self) -> &'static str {
                match self { $(Counter::$variant => $name,)+ }
            }
        }
    };
}

counters! {
    /// Packets taken from receive queues.
    In = "in",
    /// Packets made here: the sum of the `created_` counters.
    Created = "created",
    /// Packets handed to transmit queues.
    Out = "out",
    /// Packets in the worker's hands now: in pools, in the re-entry queue, waiting for a neighbour or for a port.
    Held = "held",
    /// Packets that ended in something else: the sum of the `absorbed_` counters.
    Absorbed = "absorbed",
    /// ICMP errors made.
    CreatedIcmp = "created_icmp_errors",
    /// Fragments made.
    CreatedFragments = "created_fragments",
    /// Pooled packets begun.
    CreatedPooled = "created_pooled",
    /// Index packets begun, for pooled packets without one.
    CreatedIndex = "created_index",
    /// Packets taken out of pooled packets.
    CreatedExtracted = "created_extracted",
    /// Copies for legs of multicast and overlay routes; the last leg takes the packet itself.
    CreatedReplicas = "created_replicas",
    /// Pooled packets begun with rows for the next overlay node.
    CreatedReaddressed = "created_readdressed",
    /// Packets that the control thread handed down: ARP requests, neighbour solicitations, hellos.
    CreatedControl = "created_control",
    /// Reports to peers on their pooled packets.
    CreatedReports = "created_reports",
    /// Packets that other workers handed over, because this one has the pools of their paths.
    CreatedTakenOver = "created_taken_over",
    /// Packets copied into a pooled packet.
    AbsorbedStaged = "absorbed_staged",
    /// Pooled packets taken apart.
    AbsorbedDepooled = "absorbed_depooled",
    /// Index packets used.
    AbsorbedIndex = "absorbed_index",
    /// Reports of peers on our pooled packets.
    AbsorbedReports = "absorbed_reports",
    /// Packets replaced by their fragments.
    AbsorbedFragmented = "absorbed_fragmented",
    /// ARP packets, neighbour advertisements and hellos whose content went to the control thread.
    AbsorbedControl = "absorbed_control",
    /// Packets handed over to the worker that has the pools of their path.
    AbsorbedHandedOver = "absorbed_handed_over",
    /// Packets found fit to go on to a next hop, alone or in a pool; pooled packets of our own are not counted.
    Forwarded = "forwarded",
    /// Echo requests answered.
    EchoReplies = "echo_replies",
    /// ARP requests answered.
    ArpReplies = "arp_replies",
    /// Neighbour solicitations answered.
    NdReplies = "nd_replies",
    /// ICMP errors not sent because of their rate limit.
    IcmpLimited = "icmp_errors_limited",
    /// Stream packets handed to the pooler.
    PoolStaged = "pool_staged",
    /// Packets that travelled whole in pooled packets of learned headers.
    LearnedWhole = "learned_whole",
    /// Packets that announced their headers.
    LearnedAnnounced = "learned_announced",
    /// Packets that travelled without their headers.
    LearnedCompressed = "learned_compressed",
    /// Announcements that found no free id: their packets travelled whole.
    LearnedNoId = "learned_no_id",
    /// Announced headers that an addressee reported unknown, and that were announced again.
    LearnedLost = "learned_lost",
    /// Packets that travelled as entries of provisioned streams: an id and the payload.
    ProvisionedSent = "provisioned_sent",
    /// Packets that travelled whole in pooled packets for such entries: they are of no stream that was told, or leave the
    /// pooled packet on the way.
    ProvisionedWhole = "provisioned_whole",
    /// Headers that an addressee reported unknown but that are not in use any more, were reported already, or are too many.
    LearnedNotLost = "learned_not_lost",
    /// Announcements of a peer that contradict one under the same id: neither counts.
    LearnedDisputed = "learned_disputed",
    /// Reports of peers, or parts of them, that nothing was done about: too many, or about another run of this router.
    ReportsIgnored = "reports_ignored",
    /// Reports that did not leave, for want of memory or because the peer is none any more.
    ReportsNotSent = "reports_not_sent",
    /// Stream packets that left as themselves because no company came within the window, or none was to be expected.
    PoolLone = "pool_lone",
    /// Pooled packets sent.
    PoolSent = "pool_sent",
    /// Stream packets sent inside pooled packets.
    PoolRowsSent = "pool_rows_sent",
    /// Bytes of stream packets sent inside pooled packets.
    PoolBytesIn = "pool_bytes_in",
    /// Bytes of pooled packets sent, from the outer IP header on.
    PoolBytesOut = "pool_bytes_out",
    /// Pools flushed because their window had ended.
    FlushWindow = "flush_window",
    /// Pools flushed because the next packet would have exceeded the path MTU.
    FlushFull = "flush_full",
    /// Pools flushed because the rule's largest count was reached.
    FlushCount = "flush_count",
    /// Pools flushed because, after their window had ended, they got as many packets as their rule requires.
    FlushRequiredCount = "flush_required_count",
    /// Pools flushed because they had waited for packets that their rule requires as long as it allows.
    FlushHold = "flush_hold",
    /// Pools flushed with their first packet because no company was likely to come within the window.
    FlushAdaptive = "flush_adaptive",
    /// Pools flushed so that a packet of one of their flows did not overtake them.
    FlushOrder = "flush_order",
    /// Pools flushed because there was no memory for a pooled packet.
    FlushNoBuffer = "flush_no_buffer",
    /// Pools flushed because routes, rules or peers changed.
    FlushReconfigured = "flush_reconfigured",
    /// Pools flushed because the router stopped.
    FlushShutdown = "flush_shutdown",
    /// Stream packets larger than their rule pools.
    PoolTooLarge = "pool_too_large",
    /// Stream packets so long that no other could ever share a pooled packet with them.
    PoolCannotShare = "pool_cannot_share",
    /// Stream packets that went unpooled because too many pools were open.
    PoolTableFull = "pool_table_full",
    /// Stream packets that went unpooled because there was no memory for a pooled packet.
    PoolNoBuffer = "pool_no_buffer",
    /// Stream packets that went unpooled because the peer of their path is silent, or does not take them, or takes longer
    /// packets than the link towards it.
    PoolNoPeer = "pool_no_peer",
    /// Pools open now.
    PoolsOpen = "pools_open",
    /// The longest that a pool was open, in nanoseconds, from its first packet to its flush.
    PoolLongestNs = "pool_longest_ns",
    /// Pooled packets received and taken apart.
    PoolReceived = "pool_received",
    /// Packets taken out of pooled packets.
    PoolRowsReceived = "pool_rows_received",
    /// Pooled packets in transit whose index was counted down.
    TransitOpened = "pool_transit_opened",
    /// Packets taken out of pooled packets in transit.
    TransitRows = "pool_transit_rows",
    /// Pooled packets in transit that ended here, because every packet in them was taken out.
    TransitEnded = "pool_transit_ended",
    /// Packets that went on to the next overlay node without being taken out.
    RowsReaddressed = "rows_readdressed",
    /// Pooled packets that wait for their index now, and indexes that wait for their packet.
    PoolIndexWaiting = "pool_index_waiting",
    /// What neighbours said and the control thread was not told, because they said too much.
    EventsLimited = "events_limited",
    /// Messages to the control thread that found its ring full.
    EventsLost = "events_lost",
    /// Packets of the control thread that found the rings of all workers full: hellos are sent a little later, what asks for
    /// neighbours when its timer ends.
    ControlRefused = "control_refused",
    /// Iterations of the worker's loop.
    Iterations = "iterations",
    /// Iterations that found nothing to do.
    IterationsIdle = "iterations_idle",
    /// Times the worker blocked until a packet or the control thread woke it.
    Parked = "parked",
}

/// What is counted of the iterations whose stages were measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Timed {
    /// Iterations.
    Iterations,
    /// Packets received in them.
    In,
    /// Packets sent in them.
    Out,
}

/// Where the drops begin, the ticks of the stages, and what is counted beside those.
const DROPS: usize = Counter::COUNT;
const STAGES: usize = DROPS + Drop::COUNT;
const TIMED: usize = STAGES + Stage::COUNT;
/// Values a worker publishes.
const VALUES: usize = TIMED + 3;

/// One worker's counters, all of one moment.
#[derive(Clone, Debug)]
pub struct Counters {
    values: [u64; VALUES],
}

impl Default for Counters {
    fn default() -> Self {
        Counters { values: [0; VALUES] }
    }
}

impl Counters {
    /// A counter's value.
    #[inline(always)]
    pub fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    /// Adds to a counter.
    #[inline(always)]
    pub fn add(&mut self, counter: Counter, count: u64) {
        self.values[counter as usize] += count;
    }

    /// Sets a gauge.
    #[inline(always)]
    pub fn set(&mut self, counter: Counter, value: u64) {
        self.values[counter as usize] = value;
    }

    /// Sums up [`Counter::Created`] and [`Counter::Absorbed`] from their parts.
    pub fn total(&mut self) {
        let sum = |parts: &[Counter]| parts.iter().map(|part| self.get(*part)).sum();
        let created = sum(&[
            Counter::CreatedIcmp,
            Counter::CreatedFragments,
            Counter::CreatedPooled,
            Counter::CreatedIndex,
            Counter::CreatedExtracted,
            Counter::CreatedReplicas,
            Counter::CreatedReaddressed,
            Counter::CreatedControl,
            Counter::CreatedReports,
            Counter::CreatedTakenOver,
        ]);
        let absorbed = sum(&[
            Counter::AbsorbedStaged,
            Counter::AbsorbedDepooled,
            Counter::AbsorbedIndex,
            Counter::AbsorbedFragmented,
            Counter::AbsorbedControl,
            Counter::AbsorbedReports,
            Counter::AbsorbedHandedOver,
        ]);
        self.set(Counter::Created, created);
        self.set(Counter::Absorbed, absorbed);
    }

    /// Counts dropped packets.
    #[inline(always)]
    pub fn dropped(&mut self, reason: Drop, count: u64) {
        self.values[DROPS + reason as usize] += count;
    }

    /// Sets the number of packets dropped for a reason that is counted elsewhere.
    pub fn set_dropped(&mut self, reason: Drop, count: u64) {
        self.values[DROPS + reason as usize] = count;
    }

    /// Packets dropped for a reason.
    pub fn drops(&self, reason: Drop) -> u64 {
        self.values[DROPS + reason as usize]
    }

    /// Packets dropped for any reason.
    pub fn drops_total(&self) -> u64 {
        Drop::ALL.iter().map(|reason| self.drops(*reason)).sum()
    }

    /// Ticks that were spent on a stage while stages were measured.
    pub fn stage(&self, stage: Stage) -> u64 {
        self.values[STAGES + stage as usize]
    }

    /// Adds to those.
    pub(super) fn add_stage(&mut self, stage: Stage, ticks: u64) {
        self.values[STAGES + stage as usize] += ticks;
    }

    /// What was counted of the iterations whose stages were measured.
    pub fn timed(&self, what: Timed) -> u64 {
        self.values[TIMED + what as usize]
    }

    /// Adds to that.
    pub(super) fn add_timed(&mut self, what: Timed, count: u64) {
        self.values[TIMED + what as usize] += count;
    }

    /// What is missing or too much in `in + created = out + held + dropped + absorbed`: zero when every packet is
    /// accounted for.
    pub fn imbalance(&self) -> i64 {
        let came = self.get(Counter::In) + self.get(Counter::Created);
        let went = self.get(Counter::Out) + self.get(Counter::Held) + self.drops_total() + self.get(Counter::Absorbed);
        came.wrapping_sub(went) as i64
    }

    /// Adds another worker's values; of [`Counter::PoolLongestNs`] the larger one stays.
    pub fn merge(&mut self, other: &Counters) {
        let longest = self.get(Counter::PoolLongestNs).max(other.get(Counter::PoolLongestNs));
        for (value, other) in self.values.iter_mut().zip(other.values) {
            *value = value.wrapping_add(other);
        }
        self.set(Counter::PoolLongestNs, longest);
    }
}

/// Where a worker's counters are published.
#[derive(Debug)]
pub struct SharedCounters {
    /// Odd while the worker is writing.
    sequence: AtomicU64,
    values: [AtomicU64; VALUES],
}

impl Default for SharedCounters {
    fn default() -> Self {
        SharedCounters { sequence: AtomicU64::new(0), values: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl SharedCounters {
    /// Publishes `counters`. Only the worker that owns them calls this.
    pub fn store(&self, counters: &Counters) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (shared, value) in self.values.iter().zip(counters.values) {
            shared.store(value, Ordering::Relaxed);
        }
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// The values last published, all of one moment.
    pub fn load(&self) -> Counters {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let counters = Counters { values: std::array::from_fn(|i| self.values[i].load(Ordering::Relaxed)) };
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return counters;
            }
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_reader_never_sees_a_mixture_of_two_moments() {
        let shared = Arc::new(SharedCounters::default());
        let stop = Arc::new(AtomicBool::new(false));
        let writer = {
            let (shared, stop) = (shared.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut counters = Counters::default();
                while !stop.load(Ordering::Relaxed) {
                    counters.add(Counter::In, 3);
                    counters.add(Counter::Out, 2);
                    counters.dropped(Drop::Shutdown, 1);
                    shared.store(&counters);
                }
            })
        };
        let mut last = 0;
        while last < 30_000 {
            let counters = shared.load();
            assert_eq!(counters.imbalance(), 0);
            last = counters.get(Counter::In);
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer does not fail");
    }

    #[test]
    fn a_missing_packet_shows_as_an_imbalance() {
        let mut counters = Counters::default();
        counters.add(Counter::In, 2);
        counters.add(Counter::Out, 1);
        assert_eq!(counters.imbalance(), 1);
        counters.dropped(Drop::NoRoute, 1);
        assert_eq!(counters.imbalance(), 0);
    }
}
