//! Publishing to the workers, and waiting until they have what was published.

use std::sync::Arc;
use std::time::{Duration, Instant};

use carpool_dataplane::dpdk::WakeHandle;
use carpool_dataplane::fib::{Domain, Published, Publisher, publish};
use carpool_dataplane::worker::{Inject, RouterState, WorkerShared};
use log::debug;

/// How long a worker may take to finish an iteration.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_micros(20);

/// A worker as the control thread reaches it.
pub struct WorkerLink {
    /// Rings, counters, requests.
    pub shared: Arc<WorkerShared>,
    /// Wakes it where it blocks.
    pub wake: WakeHandle,
}

impl WorkerLink {
    /// Hands a packet down; gives it back where the worker has too many waiting.
    pub fn inject(&self, inject: Inject) -> Option<Inject> {
        let refused = self.shared.injects.push(inject).err();
        self.wake.wake();
        refused
    }
}

/// A worker does not go on: what was to be changed was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a worker has not finished an iteration within {} ms: nothing was changed", PATIENCE.as_millis())]
pub struct Stalled;

/// The writing end of the published state, and what was written last.
#[derive(Debug)]
pub struct Publication {
    domain: Arc<Domain>,
    publisher: Publisher<RouterState>,
    current: RouterState,
}

impl Publication {
    /// Publishes a first state; also returns the workers' end.
    pub fn new(domain: Arc<Domain>, first: RouterState) -> (Publication, Published<RouterState>) {
        let (publisher, published) = publish(&domain, first.clone());
        (Publication { domain, publisher, current: first }, published)
    }

    /// What workers read now.
    pub fn current(&self) -> &RouterState {
        &self.current
    }

    /// Publishes a state; returns the epoch from which on no worker sees the one before.
    pub fn publish(&mut self, state: RouterState) -> u64 {
        self.current = state.clone();
        self.publisher.publish(state)
    }

    /// Frees what no worker reads any more; returns how many states still wait for that.
    pub fn reclaim(&mut self) -> usize {
        self.publisher.reclaim()
    }

    /// Waits until no worker sees what was published before `epoch`. A worker that blocks sees nothing, and one that works
    /// gets there within an iteration.
    ///
    /// # Errors
    /// Where one has not within a second.
    pub fn wait(&self, epoch: u64) -> Result<(), Stalled> {
        let begin = Instant::now();
        while !self.domain.has_passed(epoch) {
            if begin.elapsed() > PATIENCE {
                return Err(Stalled);
            }
            std::thread::sleep(LOOK);
        }
        debug!("all workers have epoch {epoch} after {:?}", begin.elapsed());
        Ok(())
    }
}
