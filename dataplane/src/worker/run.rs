//! The loop around the iterations: reads the time, and decides when to block.
//!
//! An idle worker blocks on file descriptors, never for a fixed time: until a packet arrives, the control thread rings,
//! or a deadline of its own comes near. It never blocks within a millisecond of a pool's deadline, or an index's, because a wake-up
//! can come that late.

use std::time::Duration;

use crate::arch::{Tick, TickSpan, now};
use crate::dpdk::{Nic, Waiter};

use super::counters::{Counter, Counters};
use super::handover::Handover;
use super::iteration::{Idle, Worker};
use super::moment::Publication;

/// How long a worker polls in vain before it blocks.
const POLL_BEFORE_BLOCKING: Duration = Duration::from_micros(50);
/// How much earlier than a pool's deadline it is awake.
const AWAKE_BEFORE_DEADLINE: Duration = Duration::from_millis(1);
/// How long it tries to send what is left when it stops.
const DRAIN: Duration = Duration::from_millis(200);

impl<N: Nic> Worker<N> {
    /// Runs until the control thread asks it to stop; then flushes, empties its queues and returns its counters.
    pub fn run(mut self, mut waiter: Waiter) -> Counters {
        let rate = self.options.rate;
        let blocking = self.options.idle == Idle::Adaptive && waiter.can_block();
        let (patience, early) = (rate.ticks(POLL_BEFORE_BLOCKING), rate.ticks(AWAKE_BEFORE_DEADLINE));
        let mut worked = now();
        while !self.shared.stop_requested() {
            let time = now();
            if self.iterate(time) > 0 {
                worked = time;
            } else if blocking && time.since(worked) >= patience && self.may_block(time, early) {
                // After a wait it polls once at least; when that finds nothing it may block again at once.
                worked = if self.block(&mut waiter, early) { now() - patience } else { now() };
            }
        }
        let deadline = now() + rate.ticks(DRAIN);
        self.drain(now, deadline);
        self.counters()
    }

    /// Whether nothing here needs the worker soon.
    fn may_block(&self, time: Tick, early: TickSpan) -> bool {
        let stages = &self.stages;
        stages.out.queued() == 0 && stages.next_deadline().is_none_or(|deadline| deadline.since(time) > early)
    }

    /// Blocks, unless there is something to do after all; returns whether it did.
    fn block(&mut self, waiter: &mut Waiter, early: TickSpan) -> bool {
        let armed = waiter.arm();
        // Other workers see from here on that they must wake this one.
        self.stages.handover.iter().for_each(Handover::lies_down);
        let time = now();
        // What came before the interrupts were armed raises none, and what was handed over before wakes nobody.
        if self.iterate(time) > 0 || !self.may_block(time, early) || self.shared.stop_requested() {
            self.stages.handover.iter().for_each(Handover::gets_up);
            return false;
        }
        let pools = self.stages.next_deadline().map(|deadline| deadline - early);
        let timeout = self.neighbour_timeout();
        let neighbours = self.stages.out.waiting.deadline(timeout);
        let until = pools.into_iter().chain(neighbours).min();
        let rate = self.options.rate;
        self.stages.out.counters.add(Counter::Parked, 1);
        self.publish(time);
        self.stages.out.stopwatch.stop();
        self.go_offline();
        armed.wait(until.map(|until| rate.duration(until.since(time))));
        self.stages.handover.iter().for_each(Handover::gets_up);
        true
    }

    /// What the control thread replaces from here on it may free at once: nothing that was learnt from it is kept.
    pub(super) fn go_offline(&mut self) {
        self.stages.hops.forget_all();
        self.stages.out.waiting.looked_at(Publication::NONE);
        self.reader.offline();
    }

    fn neighbour_timeout(&mut self) -> TickSpan {
        let section = self.reader.enter();
        self.state.load(section).map_or(TickSpan(0), |state| state.neighbour_timeout)
    }
}
