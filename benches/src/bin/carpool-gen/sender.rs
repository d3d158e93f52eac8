//! Sends the packets of a trial when they are due.

use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use carpool_dataplane::arch::Tick;
use carpool_dataplane::dpdk::{Mbuf, MempoolCache, Nic, TX_BUFFER};

use crate::pacing::Pacer;
use crate::plan::Plan;

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Packets that the port took.
    pub packets: u64,
    /// Packets that the port took ahead of those that count.
    pub ahead: u64,
    /// Packets that were due while the generator was held up, and were not sent.
    pub skipped: u64,
    /// Packets that are sent together.
    pub burst: u64,
    /// When the first and the last were handed to the port.
    pub first: Option<Tick>,
    pub last: Tick,
    /// Somebody ended it, or the port took no more.
    pub is_cut_short: bool,
}

/// Sends the packets of one trial.
pub struct Sender {
    warm_up: Pacer,
    pacer: Pacer,
    /// Whether those that go ahead are all sent.
    is_counting: bool,
    /// Packets that are due and not made yet: packet memory was short.
    owed: usize,
    /// Number of the next packet.
    sequence: u64,
    /// Packets that the port did not take yet.
    waiting: ArrayVec<Mbuf, TX_BUFFER>,
    sent: Sent,
    has_ended: bool,
}

impl Sender {
    /// Sends what is planned.
    pub fn new(plan: &Plan) -> Sender {
        let pacer = plan.pacer();
        let sent = Sent { burst: pacer.burst(), ..Sent::default() };
        Sender {
            warm_up: plan.warm_up_pacer(),
            pacer,
            is_counting: plan.warm_up_time.is_zero(),
            owed: 0,
            sequence: 0,
            waiting: ArrayVec::new(),
            sent,
            has_ended: false,
        }
    }

    /// Sends what is due at `now`.
    #[inline]
    pub fn send(&mut self, plan: &Plan, nic: &mut impl Nic, cache: &mut MempoolCache, now: Tick) {
        if self.has_ended {
            return;
        }
        if self.waiting.is_empty() && !self.make(plan, cache, now) {
            return;
        }
        let taken = nic.tx_burst(&mut self.waiting) as u64;
        if !self.is_counting {
            self.sent.ahead += taken;
        } else if taken > 0 {
            self.sent.packets += taken;
            self.sent.first.get_or_insert(now);
            self.sent.last = now;
            plan.course.sent.store(self.sent.packets, Ordering::Relaxed);
        }
        if now >= plan.sending_must_end() {
            self.end(plan, now);
        }
    }

    /// Makes the packets that are due. False where there are none.
    #[inline]
    fn make(&mut self, plan: &Plan, cache: &mut MempoolCache, now: Tick) -> bool {
        if self.owed == 0 {
            let pacer = if self.is_counting { &mut self.pacer } else { &mut self.warm_up };
            self.owed = pacer.take(now) as usize;
            if self.owed == 0 {
                self.step(plan, now);
                return false;
            }
        }
        if !cache.alloc_bulk(&mut self.waiting, self.owed) {
            return false;
        }
        self.owed = 0;
        let trial = if self.is_counting { plan.trial } else { plan.warm_up };
        for mbuf in &mut self.waiting {
            // It was made so that it fits.
            plan.source.write(mbuf, trial, self.sequence, now);
            self.sequence += 1;
        }
        true
    }

    /// Goes on to those that count when those that go ahead are sent, and ends when all are.
    fn step(&mut self, plan: &Plan, now: Tick) {
        if !self.is_counting {
            if self.warm_up.is_finished(now) && now >= plan.counting_from() {
                self.is_counting = true;
                self.sequence = 0;
            }
        } else if self.pacer.is_finished(now) {
            self.end(plan, now);
        }
    }

    /// Sends no more.
    pub fn end(&mut self, plan: &Plan, now: Tick) {
        if !self.has_ended {
            self.has_ended = true;
            self.sent.is_cut_short = !self.waiting.is_empty() || !self.pacer.is_finished(now);
            self.waiting.clear();
            plan.end_sending(now);
        }
    }

    /// What was sent.
    pub fn sent(&self) -> Sent {
        Sent { skipped: self.pacer.skipped(), ..self.sent }
    }
}
