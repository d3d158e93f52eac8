//! What a reader pays, once a burst, for saying that it holds nothing from before: quiescent states against pinning an
//! epoch.

use std::hint::black_box;

use carpool_dataplane::fib::Domain;
use crossbeam::epoch;

use super::measure::processor_time;
use crate::error::BenchError;

/// Bursts in a run.
const BURSTS: u32 = 5_000_000;

/// Nanoseconds a burst: carpool's quiescent states, and pinning crossbeam's epoch. What the loop itself takes is taken
/// off.
pub fn nanoseconds() -> Result<(f64, f64), BenchError> {
    let domain = Domain::new(1);
    let mut reader = domain.reader().ok_or_else(|| BenchError::System("a new domain has no room".into()))?;
    let collector = epoch::Collector::new();
    let handle = collector.register();
    let empty = time(|| {})?;
    let quiescent = time(|| {
        black_box(reader.enter());
    })?;
    let pinned = time(|| {
        black_box(handle.pin());
    })?;
    Ok(((quiescent - empty).max(0.0), (pinned - empty).max(0.0)))
}

fn time(mut burst: impl FnMut()) -> Result<f64, BenchError> {
    let start = processor_time()?;
    for number in 0..BURSTS {
        black_box(number);
        burst();
    }
    Ok((processor_time()? - start).as_secs_f64() * 1e9 / f64::from(BURSTS))
}
