//! Whether a thread sleeps, for those that have work for it.
//!
//! Who is about to sleep says so, and then looks for work a last time. Who has shown it work asks whether it sleeps, and
//! wakes it. One of them sees what the other did (Dijkstra's and Dekker's store and load, fenced on both sides), so no work
//! is slept over; and of all that have work for a sleeper only one wakes it, with the one system call that takes.

use crossbeam::utils::CachePadded;

use super::sync::{AtomicBool, Ordering, fence};

/// Whether one thread sleeps.
#[derive(Debug)]
pub struct Sleeper(CachePadded<AtomicBool>);

impl Default for Sleeper {
    /// One that is awake.
    fn default() -> Self {
        Sleeper(CachePadded::new(AtomicBool::new(false)))
    }
}

impl Sleeper {
    /// Says that this thread will sleep, unless it finds work when it looks for it now.
    pub fn lies_down(&self) {
        self.0.store(true, Ordering::Relaxed);
        // Between saying so and looking for work, as `must_be_woken` has it the other way round.
        #[cfg(loom)]
        if !super::sync::mutant::fences_sleep() {
            return;
        }
        fence(Ordering::SeqCst);
    }

    /// Says that it is awake.
    pub fn gets_up(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether the caller, which has shown it work, is the one to wake it.
    #[inline]
    pub fn must_be_woken(&self) -> bool {
        fence(Ordering::SeqCst);
        // The load spares everyone the exchange while it is awake.
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_of_all_wakes_a_sleeper_once() {
        let sleeper = Sleeper::default();
        assert!(!sleeper.must_be_woken(), "it is awake");
        sleeper.lies_down();
        assert_eq!([(); 3].map(|()| sleeper.must_be_woken()), [true, false, false]);
        sleeper.lies_down();
        sleeper.gets_up();
        assert!(!sleeper.must_be_woken(), "it got up by itself");
    }
}
