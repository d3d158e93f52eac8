//! A worker's iteration: the life of a packet from top to bottom.

use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;

use crate::arch::{Tick, TickRate, TickSpan};
use crate::dpdk::{BURST, Mbuf, MempoolCache, Nic};
use crate::fib::{Lpm4, Lpm6, PortIndex, Published, Reader};

use super::counters::{Counter, Counters};
use super::handover::Handover;
use super::ip_input::SoundBurst;
use super::moment::Moment;
use super::router_state::RouterState;
use super::shared::WorkerShared;
use super::stages::Stages;
use super::stopwatch::Stage;

/// How often the counters are published while there is work.
const PUBLISH_EVERY: Duration = Duration::from_micros(100);
/// How often they are published while there is none and the worker polls all the same.
const PUBLISH_IDLE: Duration = Duration::from_millis(10);

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Blocks until a packet arrives, a pool is due or the control thread has something.
    Adaptive,
    /// Goes on polling.
    Spin,
}

/// What makes one worker differ from another.
#[derive(Clone, Copy, Debug)]
pub struct WorkerOptions {
    /// Its number among the workers, from 0: part of the source port of its pooled packets.
    pub index: u16,
    /// Ticks a second.
    pub rate: TickRate,
    /// What it does when there is nothing to do.
    pub idle: Idle,
    /// Pools that can be open at once.
    pub open_pools: u16,
    /// Flow buckets: parts of one path's pools, each with a source port of its own, that receivers and equal-cost paths can
    /// spread. 1 to [`crate::pool::MAX_BUCKETS`], the same for all workers.
    pub buckets: u8,
    /// Bytes of packet memory in an mbuf, headroom included; at least 128.
    pub buffer_room: u16,
    /// A random number, so that nobody outside can choose flows whose hashes collide.
    pub seed: u64,
    /// Which run of the router this is, as its hellos say.
    pub instance: u32,
}

/// One worker: its queues, pools, counters and memory, and its view of what the control thread publishes.
pub struct Worker<N> {
    pub(super) options: WorkerOptions,
    pub(super) reader: Reader,
    pub(super) state: Published<RouterState>,
    fib: Arc<Lpm4>,
    fib6: Arc<Lpm6>,
    pub(super) shared: Arc<WorkerShared>,
    pub(super) stages: Stages<N>,
    publish_every: TickSpan,
    publish_idle: TickSpan,
    published: Tick,
    unpublished: bool,
}

impl<N: Nic> Worker<N> {
    /// A worker with these queues, at most one per port. `mempool` is the cache of the thread it will run on; `fib` and
    /// `fib6` are of the domain of `reader`.
    #[allow(clippy::too_many_arguments)] // Each is a part of its own that only the caller can make.
    pub fn new(
        options: WorkerOptions,
        queues: Vec<(PortIndex, N)>,
        mempool: MempoolCache,
        reader: Reader,
        state: Published<RouterState>,
        fib: Arc<Lpm4>,
        fib6: Arc<Lpm6>,
        shared: Arc<WorkerShared>,
    ) -> Worker<N> {
        let (publish_every, publish_idle) = (options.rate.ticks(PUBLISH_EVERY), options.rate.ticks(PUBLISH_IDLE));
        let stages = Stages::new(&options, queues, mempool, Arc::clone(&shared));
        let (published, unpublished) = (Tick(0), true);
        Worker {
            options,
            reader,
            state,
            fib,
            fib6,
            shared,
            stages,
            publish_every,
            publish_idle,
            published,
            unpublished,
        }
    }

    /// Has the pools of each path with one worker for all: with this one, or with that it hands packets over to. `handover` is
    /// the part of the number that this worker has in its options.
    pub fn share_pools(mut self, handover: Handover) -> Worker<N> {
        self.stages.handover = Some(handover);
        self.stages.hops.share_paths();
        self
    }

    /// Hands nothing over to other workers any longer, and tells them so. [`Worker::drain`] does that by itself, but then waits
    /// for the others to do it: those that share a thread do it before.
    pub fn stop_handing_over(&mut self) {
        self.stages.stop_handing_over();
    }

    /// One iteration at the time `now`. Returns how many packets it dealt with: received, taken out of pooled packets,
    /// handed down or over, or flushed with their pools.
    #[inline]
    pub fn iterate(&mut self, now: Tick) -> usize {
        // 1. The time came as an argument; here is what the control thread has published.
        let section = self.reader.enter();
        let Some(state) = self.state.load(section) else { return 0 };
        let moment = &Moment { now, section, state, fib: &self.fib, fib6: &self.fib6 };
        let stages = &mut self.stages;
        stages.out.stopwatch.begin(self.shared.is_timed(now), &stages.out.counters);
        stages.hops.refresh(moment);
        // In this order: what waits for a neighbour came before what waits in a pool.
        stages.release_waiting(moment);
        stages.adopt(moment);
        let mut packets = stages.control_input(moment);
        packets += stages.take_over(moment);

        // 2. A burst from each queue. What comes out of its pooled packets is through before the next is received.
        let mut ip = SoundBurst::new();
        let mut frames: ArrayVec<Mbuf, BURST> = ArrayVec::new();
        stages.out.stopwatch.enter(Stage::Rx);
        for at in 0..stages.out.ports.len() {
            let Some(port) = stages.out.ports.get_mut(at) else { break };
            let (received, port) = (port.nic.rx_burst(&mut frames), port.port);
            if received > 0 {
                packets += received;
                stages.out.counters.add(Counter::In, received as u64);
                // 3. Ethernet: ARP is handled. 4. and 5. IP: validated, looked up, then dropped, answered, taken apart, forwarded or staged.
                stages.out.stopwatch.enter(Stage::Input);
                stages.ethernet_input(&mut frames, port, &mut ip, moment);
                stages.out.stopwatch.enter(Stage::Rx);
            }
        }

        // 6. What has waited long enough: for its index, then, as that may be pooled, pools whose window has ended.
        stages.out.stopwatch.enter(Stage::Flush);
        packets += stages.settle_indexes(now, moment);
        packets += stages.flush_due(moment);
        packets += stages.report_unknown(moment);
        // 7. Everything that is to leave, leaves; what was dropped without a burst goes back as well.
        stages.out.stopwatch.enter(Stage::Tx);
        stages.out.flush(now);
        stages.out.stopwatch.end(packets, &mut stages.out.counters);
        stages.out.free_dropped(&mut stages.mempool);
        stages.publish_handovers();

        // 8. Bookkeeping at a quiescent point.
        stages.answer_samples(moment);
        stages.out.ring();
        self.unpublished |= packets > 0;
        self.stages.out.counters.add(Counter::Iterations, 1);
        if packets == 0 {
            self.stages.out.counters.add(Counter::IterationsIdle, 1);
        }
        // What happened without a packet, such as a neighbour given up, shows a little later.
        let due = if self.unpublished { self.publish_every } else { self.publish_idle };
        if now.since(self.published) >= due {
            self.publish(now);
        }
        packets
    }

    /// Flushes all pools and sends what there is, until nothing is left and no other worker will hand anything over, or
    /// `deadline` has come; drops the rest by name. `now` is asked for the time.
    pub fn drain(&mut self, mut now: impl FnMut() -> Tick, deadline: Tick) {
        self.stop_handing_over();
        loop {
            let time = now();
            let section = self.reader.enter();
            let Some(state) = self.state.load(section) else { break };
            let moment = &Moment { now: time, section, state, fib: &self.fib, fib6: &self.fib6 };
            let stages = &mut self.stages;
            stages.hops.refresh(moment);
            stages.take_over(moment);
            stages.release_waiting(moment);
            stages.abandon_indexes(moment);
            stages.flush_for_shutdown(moment);
            stages.abandon_waiting();
            stages.out.flush(time);
            stages.out.free_dropped(&mut stages.mempool);
            if stages.held() == 0 && stages.has_taken_over_all() {
                break;
            }
            if time >= deadline {
                stages.abandon_handovers();
                stages.out.abandon();
                break;
            }
        }
        self.reader.offline();
        self.publish(deadline);
    }

    /// The counters as of now.
    pub fn counters(&mut self) -> Counters {
        self.stages.settle();
        self.stages.out.counters.clone()
    }

    /// Publishes the counters.
    pub(super) fn publish(&mut self, now: Tick) {
        self.stages.settle();
        self.shared.counters.store(&self.stages.out.counters);
        self.published = now;
        self.unpublished = false;
    }
}
