//! How long packets were on their way.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::compare::Passage;

/// From leaving the sender's interface to arriving at the receiver's, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delay {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// Collects delays; three significant digits, nanoseconds inside.
#[derive(Clone, Debug)]
pub struct Delays {
    histogram: Histogram<u64>,
}

impl Default for Delays {
    fn default() -> Self {
        // Up to a minute: later than that is lost. These bounds are constants that the library accepts.
        let histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("constant bounds of a histogram");
        Self { histogram }
    }
}

impl Delays {
    pub fn record(&mut self, delay: Duration) {
        self.histogram.saturating_record(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn of<'a>(passages: impl IntoIterator<Item = &'a Passage>) -> Self {
        let mut delays = Self::default();
        for passage in passages {
            delays.record(passage.delay());
        }
        delays
    }

    /// `None` when nothing was recorded.
    pub fn summary(&self) -> Option<Delay> {
        let microseconds = |nanoseconds: u64| (nanoseconds as f64 / 100.0).round() / 10.0;
        (!self.histogram.is_empty()).then(|| Delay {
            p50: microseconds(self.histogram.value_at_quantile(0.5)),
            p99: microseconds(self.histogram.value_at_quantile(0.99)),
            max: microseconds(self.histogram.max()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_microseconds_and_nothing_recorded_has_none() {
        let mut delays = Delays::default();
        assert_eq!(delays.summary(), None);
        for microseconds in 1..=1000 {
            delays.record(Duration::from_micros(microseconds));
        }
        let Delay { p50, p99, max } = delays.summary().expect("a thousand were recorded");
        assert!((p50 - 500.0).abs() < 2.0, "p50 is {p50}");
        assert!((p99 - 990.0).abs() < 2.0, "p99 is {p99}");
        assert!((max - 1000.0).abs() < 2.0, "max is {max}");
    }
}
