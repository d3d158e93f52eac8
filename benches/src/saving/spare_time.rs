//! The time that a CPU has left, measured by a thread that wants all of it.
//!
//! The kernel's own accounts do not do here: without CONFIG_IRQ_TIME_ACCOUNTING it knows the time of softirqs by samples only, and
//! the run time of a woken thread begins, for the scheduler, when the other CPU sends the interrupt that wakes it. This thread
//! reads the clock over and over; what passes between two readings that are far apart it did not have. As a side effect
//! the CPU never sleeps (like `idle=poll`), and others get less of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::cpu;
use crate::error::BenchError;

/// Two readings of the clock are some 30 ns apart; an interrupt takes longer than this.
const GAP: Duration = Duration::from_micros(1);

/// A router that keeps up is done with what it was told of long before this: the CPU was somebody else's, for a time slice of the
/// scheduler's.
const SLICE: Duration = Duration::from_millis(1);

/// What the thread found so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spare {
    /// Time that it had.
    pub had: Duration,
    /// Time of the longest gaps.
    pub long_gaps: Duration,
}

impl Spare {
    /// What was found since `before`.
    pub fn since(self, before: Spare) -> Spare {
        Spare { had: self.had - before.had, long_gaps: self.long_gaps - before.long_gaps }
    }
}

/// The thread; it ends with its owner.
pub struct SpareTime(Arc<Shared>);

#[derive(Default)]
struct Shared {
    had: AtomicU64,
    long_gaps: AtomicU64,
    stop: AtomicBool,
}

impl SpareTime {
    /// Starts to measure the spare time of this CPU.
    pub fn of<'s>(core: usize, scope: &'s Scope<'s, '_>) -> Result<SpareTime, BenchError> {
        let shared = Arc::new(Shared::default());
        let spare = SpareTime(Arc::clone(&shared));
        let (ready, pinned) = mpsc::channel();
        scope.spawn(move || {
            // Whoever waits for it is there.
            let _ = ready.send(cpu::pin(core));
            let mut last = Instant::now();
            let (mut had, mut long_gaps) = (0, 0);
            while !shared.stop.load(Ordering::Relaxed) {
                let now = Instant::now();
                let gap = now - last;
                if gap < GAP {
                    had += gap.as_nanos() as u64;
                    shared.had.store(had, Ordering::Relaxed);
                } else if gap > SLICE {
                    long_gaps += gap.as_nanos() as u64;
                    shared.long_gaps.store(long_gaps, Ordering::Relaxed);
                }
                last = now;
            }
        });
        pinned.recv().map_err(|error| BenchError::System(error.to_string()))??;
        Ok(spare)
    }

    /// What was found since the start.
    pub fn so_far(&self) -> Spare {
        let time = |nanoseconds: &AtomicU64| Duration::from_nanos(nanoseconds.load(Ordering::Relaxed));
        Spare { had: time(&self.0.had), long_gaps: time(&self.0.long_gaps) }
    }
}

impl Drop for SpareTime {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}
