//! SIGINT, SIGTERM and SIGHUP end a measurement in an orderly way: hugepages are given back, files removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::BenchError;

/// Whether somebody wants this to end.
#[derive(Clone, Default)]
pub struct Interrupt {
    wanted: Arc<AtomicBool>,
}

impl Interrupt {
    /// Notices the signals from now on.
    pub fn new() -> Result<Interrupt, BenchError> {
        let interrupt = Interrupt::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.wanted))
                .map_err(|error| BenchError::System(error.to_string()))?;
        }
        Ok(interrupt)
    }

    /// Whether a signal has come, for other threads to look at.
    pub fn flag(&self) -> &Arc<AtomicBool> {
        &self.wanted
    }

    /// An error once a signal has come.
    pub fn check(&self) -> Result<(), BenchError> {
        if self.wanted.load(Ordering::Relaxed) { Err(BenchError::Interrupted) } else { Ok(()) }
    }
}
