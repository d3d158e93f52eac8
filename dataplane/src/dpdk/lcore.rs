//! Worker cores: EAL's pinned threads, and running a closure on one.
//!
//! The control thread launches each worker's loop here and joins it at shutdown.

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, PoisonError};

use super::eal::{Eal, EalError};

/// A worker lcore: a thread of EAL's that waits for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lcore {
    id: u32,
    cpu: Option<usize>,
}

impl Lcore {
    pub(super) fn new(id: u32, cpu: Option<usize>) -> Lcore {
        Lcore { id, cpu }
    }

    /// DPDK's number for it; worker lcores count from 1.
    pub fn id(self) -> u32 {
        self.id
    }

    /// The CPU it is pinned to; none where it may run on any.
    pub fn cpu(self) -> Option<usize> {
        self.cpu
    }
}

/// What an lcore is given to run.
type Job = Box<dyn FnOnce() + Send>;

/// A closure that runs on an lcore.
pub struct LcoreHandle<R> {
    lcore: Lcore,
    outcome: Receiver<Result<R, Box<dyn Any + Send>>>,
}

impl Eal {
    /// Runs `work` on a worker lcore.
    ///
    /// # Errors
    /// [`EalError::LcoreBusy`] while the lcore runs something else.
    pub fn launch<R, F>(&self, lcore: Lcore, work: F) -> Result<LcoreHandle<R>, EalError>
    where
        R: Send + 'static,
        F: FnOnce() -> R + Send + 'static,
    {
        let (sender, outcome) = sync_channel(1);
        let running = Arc::clone(&self.running);
        let job: Job = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(work));
            drop(running);
            // The handle may be gone: then nobody wants to know.
            let _ = sender.send(result);
        });
        let argument = Box::into_raw(Box::new(job));
        let turn = self.launching.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: EAL runs, the lcore is one of its workers (only this module's callers make an Lcore), launches are
        // serialised by the lock, and `argument` is what `run` expects: a Job that is handed over for good.
        let status = unsafe { dpdk_sys::rte_eal_remote_launch(Some(run), argument.cast(), lcore.id) };
        drop(turn);
        if status != 0 {
            // SAFETY: the launch was refused, so the pointer from into_raw above is still ours alone.
            drop(unsafe { Box::from_raw(argument) });
            return Err(EalError::LcoreBusy { lcore: lcore.id });
        }
        Ok(LcoreHandle { lcore, outcome })
    }
}

impl<R> LcoreHandle<R> {
    /// Blocks until the closure has returned, and returns what it did. The lcore is then free for the next launch.
    ///
    /// # Panics
    /// With the closure's own panic, if it panicked.
    pub fn join(self) -> R {
        let result = self.outcome.recv();
        // The lcore says that it is free a moment after the result is here: this wait is that short.
        // SAFETY: EAL runs (a job can only have been launched on it), and the lcore is one of its workers.
        unsafe { dpdk_sys::rte_eal_wait_lcore(self.lcore.id) };
        match result {
            Ok(Ok(value)) => value,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => unreachable!("a job sends its result, whatever happens in it"),
        }
    }

    /// Where it runs.
    pub fn lcore(&self) -> Lcore {
        self.lcore
    }
}

/// What EAL calls on the lcore.
extern "C" fn run(argument: *mut c_void) -> c_int {
    // SAFETY: `launch` passes a Box<Job> it gave up, and EAL calls this once.
    let job = unsafe { Box::from_raw(argument.cast::<Job>()) };
    job();
    0
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::super::test_eal;
    use super::*;

    #[test]
    fn a_closure_runs_on_the_lcore_it_was_launched_on_and_returns_its_value() {
        let eal = test_eal();
        let lcore = eal.workers()[0];
        for round in 0..3 {
            let handle = eal
                .launch(lcore, move || {
                    // SAFETY: reads a variable of this thread.
                    (round, unsafe { dpdk_sys::rte_lcore_id() })
                })
                .expect("the lcore is free again after each join");
            assert_eq!(handle.join(), (round, lcore.id()));
        }
    }

    #[test]
    fn a_busy_lcore_refuses_a_second_launch() {
        let eal = test_eal();
        let lcore = eal.workers()[1];
        let (finish, wait) = channel::<()>();
        let handle = eal.launch(lcore, move || wait.recv().is_ok()).expect("the lcore is free");
        assert!(matches!(eal.launch(lcore, || ()), Err(EalError::LcoreBusy { .. })));
        finish.send(()).expect("the job waits");
        assert!(handle.join());
    }

    #[test]
    fn a_panic_on_the_lcore_reaches_who_joins_and_leaves_the_lcore_usable() {
        let eal = test_eal();
        let lcore = eal.workers()[2];
        let handle = eal.launch(lcore, || panic!("as intended")).expect("the lcore is free");
        let panic = catch_unwind(AssertUnwindSafe(|| handle.join())).expect_err("it panicked");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"as intended"));
        assert_eq!(eal.launch(lcore, || 7).expect("still usable").join(), 7);
    }
}
