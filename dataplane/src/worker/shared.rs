//! What a worker and the control thread share: the rings, the published state and the counters.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::arch::Tick;

use super::counters::SharedCounters;
use super::event::{Event, HeardHello, Inject, UnknownThere};
use super::stages::MAX_PEERS;

/// Events a worker can have waiting for the control thread.
const EVENTS: usize = 4096;
/// Hellos that can be waiting for the control thread: one from each peer there can be, and an answered probe.
const HELLOS: usize = 2 * MAX_PEERS as usize;
/// Packets the control thread can have waiting for a worker: a hello and a probe to every peer.
const INJECTS: usize = 2 * MAX_PEERS as usize;
/// Reports that can be waiting for a worker; what finds no room is reported again.
const UNKNOWN_CONTEXTS: usize = 64;

/// One worker's joint with the control thread.
#[derive(Debug)]
pub struct WorkerShared {
    /// What the worker tells; pop from the control thread only.
    pub events: ArrayQueue<Event>,
    /// Hellos of peers that came to the worker; pop from the control thread only.
    pub hellos: ArrayQueue<HeardHello>,
    /// What the worker is to send; push from the control thread only, then wake the worker.
    pub injects: ArrayQueue<Inject>,
    /// Contexts of learned headers that an addressee reported unknown to another worker than the one that sends them: push
    /// from the control thread only.
    pub unknown_contexts: ArrayQueue<UnknownThere>,
    /// The worker's counters as of at most a few hundred microseconds ago.
    pub counters: SharedCounters,
    /// Rung by the worker when there are events.
    pub bell: Arc<Bell>,
    /// Packets that found no room in the rings of all workers.
    refused: AtomicU64,
    stop: AtomicBool,
    sample_requests: AtomicU64,
    /// Until which tick the worker is to measure its stages.
    timed_until: AtomicU64,
}

impl WorkerShared {
    /// The joint of a new worker that rings `bell`.
    pub fn new(bell: Arc<Bell>) -> Arc<WorkerShared> {
        Arc::new(WorkerShared {
            events: ArrayQueue::new(EVENTS),
            hellos: ArrayQueue::new(HELLOS),
            injects: ArrayQueue::new(INJECTS),
            unknown_contexts: ArrayQueue::new(UNKNOWN_CONTEXTS),
            counters: SharedCounters::default(),
            bell,
            refused: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            sample_requests: AtomicU64::new(0),
            timed_until: AtomicU64::new(0),
        })
    }

    /// Counts a packet of the control thread that no worker had room for.
    pub fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Packets counted so.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Asks the worker to flush its pools, empty its queues and return. Wake it afterwards.
    pub fn request_stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether the worker is to stop.
    #[inline(always)]
    pub fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Asks the worker to measure what its stages take until then, or until when it was asked before if that is later.
    pub fn time_stages(&self, until: Tick) {
        self.timed_until.fetch_max(until.0, Ordering::Relaxed);
    }

    /// Whether it is to measure that now.
    #[inline(always)]
    pub(super) fn is_timed(&self, now: Tick) -> bool {
        now.0 < self.timed_until.load(Ordering::Relaxed)
    }

    /// Asks for the open pools as [`Event::OpenPool`]s; returns the number that ends the answer. Wake the worker
    /// afterwards. Its counters are published with the answer.
    pub fn sample_pools(&self) -> u64 {
        self.sample_requests.fetch_add(1, Ordering::Release) + 1
    }

    /// The newest request made by [`WorkerShared::sample_pools`].
    #[inline(always)]
    pub fn sample_request(&self) -> u64 {
        self.sample_requests.load(Ordering::Acquire)
    }
}

/// A bell that the control thread sleeps by: a worker rings it at most once per iteration, and only when it has not
/// been rung since the control thread last looked.
#[derive(Debug)]
pub struct Bell {
    rung: AtomicBool,
    fd: EventFd,
}

impl Bell {
    /// A silent bell. Fails where the system has no file descriptor left.
    pub fn new() -> nix::Result<Arc<Bell>> {
        let fd = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Arc::new(Bell { rung: AtomicBool::new(false), fd }))
    }

    /// Makes the bell's descriptor readable.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // It can only fail with the counter at its end: it is readable then all the same.
            let _ = self.fd.write(1);
        }
    }

    /// Silences it. Call before looking at the rings, so that what comes later rings again.
    pub fn silence(&self) {
        let _ = self.fd.read();
        // A read-modify-write, not a store: whoever rang without effect before it is seen after it.
        self.rung.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn is_readable(bell: &Bell) -> bool {
        poll(&mut [PollFd::new(bell.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).expect("poll") == 1
    }

    #[test]
    fn a_bell_is_readable_from_its_ring_to_its_silence() {
        let bell = Bell::new().expect("a descriptor");
        assert!(!is_readable(&bell));
        bell.ring();
        bell.ring();
        assert!(is_readable(&bell));
        bell.silence();
        assert!(!is_readable(&bell));
        bell.ring();
        assert!(is_readable(&bell), "it rings again after it was silenced");
    }
}
