//! A trial, as both ends of it know it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carpool_dataplane::arch::{Tick, TickRate};
use carpool_dataplane::dpdk::Mbuf;

use crate::flows::Flows;
use crate::frames::Frames;
use crate::pacing::{Load, Pacer};
use crate::stamp::TrialId;

/// How long a port may refuse packets before a trial goes on without them, beside what it takes by plan.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long copies are waited for when every packet is there.
const COPIES: Duration = Duration::from_millis(20);
/// Packets a second that warm up for a load that has no rate.
const WARM_UP_PPS: u64 = 10_000;

/// What is sent.
pub enum Source {
    /// Frames of our own.
    Made(Frames),
    /// Frames of a capture file, over and over.
    Replayed(Vec<Vec<u8>>),
}

impl Source {
    /// Writes the packet with this number into an empty mbuf. False where it does not fit.
    #[inline]
    pub fn write(&self, mbuf: &mut Mbuf, trial: TrialId, sequence: u64, now: Tick) -> bool {
        match self {
            Source::Made(frames) => frames.write(mbuf, trial, sequence, now),
            Source::Replayed(frames) => {
                let Some(frame) = frames.get((sequence % frames.len().max(1) as u64) as usize) else { return false };
                let Some(room) = mbuf.append(frame.len()) else { return false };
                room.copy_from_slice(frame);
                true
            }
        }
    }
}

/// What a trial is.
pub struct Plan {
    /// Packets that go ahead of it, at the same load; they do not count.
    pub warm_up: TrialId,
    pub warm_up_time: Duration,
    pub trial: TrialId,
    pub source: Source,
    pub flows: Flows,
    pub load: Load,
    /// How long to wait for packets when all are sent, if they do not all come earlier.
    pub drain: Duration,
    /// When it begins, with the packets ahead of it.
    pub start: Tick,
    pub rate: TickRate,
    pub course: Course,
}

/// How far a trial is.
#[derive(Default)]
pub struct Course {
    /// Packets that were sent and count, for who wants to see.
    pub sent: AtomicU64,
    /// When all are sent; 0 until then.
    sending_ended: AtomicU64,
    /// When all were received; 0 until then.
    all_received: AtomicU64,
}

impl Plan {
    /// When packets begin to count.
    pub fn counting_from(&self) -> Tick {
        self.start + self.rate.ticks(self.warm_up_time)
    }

    /// Says when packets are due that go ahead.
    pub fn warm_up_pacer(&self) -> Pacer {
        let duration = self.warm_up_time;
        let load = match self.load {
            Load::Rate { pps, .. } | Load::Burst { pps: Some(pps), .. } => Load::Rate { pps, duration },
            Load::Flood { .. } => Load::Flood { duration },
            Load::Burst { pps: None, .. } => Load::Rate { pps: WARM_UP_PPS, duration },
        };
        Pacer::new(load, self.start, self.rate)
    }

    /// Says when packets are due that count.
    pub fn pacer(&self) -> Pacer {
        Pacer::new(self.load, self.counting_from(), self.rate)
    }

    /// When sending ends, whatever is left to be sent.
    pub fn sending_must_end(&self) -> Tick {
        let planned = match self.load {
            Load::Rate { duration, .. } | Load::Flood { duration } => duration,
            Load::Burst { pps: Some(pps), packets } => Duration::from_secs_f64(packets as f64 / pps.max(1) as f64),
            Load::Burst { pps: None, .. } => Duration::ZERO,
        };
        self.counting_from() + self.rate.ticks(planned) + self.rate.ticks(PATIENCE)
    }

    /// Says that all are sent.
    pub fn end_sending(&self, now: Tick) {
        self.course.sending_ended.store(now.0.max(1), Ordering::Release);
    }

    /// Takes note of how many are received; all of them: only copies can still come.
    #[inline]
    pub fn note_received(&self, received: u64, now: Tick) {
        let Course { sent, sending_ended, all_received } = &self.course;
        let all = sending_ended.load(Ordering::Acquire) != 0 && received == sent.load(Ordering::Relaxed);
        if all && all_received.load(Ordering::Relaxed) == 0 {
            all_received.store(now.0.max(1), Ordering::Release);
        }
    }

    /// Whether nothing is waited for any more.
    #[inline]
    pub fn is_over(&self, now: Tick) -> bool {
        let since = |at: u64, wait| at != 0 && now >= Tick(at) + self.rate.ticks(wait);
        let ended = self.course.sending_ended.load(Ordering::Acquire);
        since(ended, self.drain) || ended != 0 && since(self.course.all_received.load(Ordering::Acquire), COPIES)
    }
}
