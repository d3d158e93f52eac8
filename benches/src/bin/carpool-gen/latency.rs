//! How long packets took: a histogram with three digits (HdrHistogram), and how it is written down.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};
use serde::Serialize;

/// The longest time that is told apart from longer ones, in nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// Times in nanoseconds.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

/// What is said of them: nanoseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Summary {
    pub min: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
    pub mean: f64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        let mut histogram = Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("bounds that a histogram can have");
        // Written once, its memory is there when packets are counted.
        histogram.reset();
        Latencies(histogram)
    }
}

impl Latencies {
    /// Counts one.
    #[inline]
    pub fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds);
    }

    /// Adds those of another.
    pub fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// What is to be said of them; none where there are none.
    pub fn summary(&self) -> Option<Summary> {
        if self.0.is_empty() {
            return None;
        }
        let at = |quantile| self.0.value_at_quantile(quantile);
        Some(Summary {
            min: self.0.min(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max(),
            mean: self.0.mean(),
        })
    }

    /// All of it: HdrHistogram's interchange format V2, deflated, in base64.
    pub fn encoded(&self) -> Result<String, String> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&self.0, &mut bytes).map_err(|error| error.to_string())?;
        Ok(STANDARD.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;

    use super::*;

    #[test]
    fn times_are_summed_up_and_survive_being_written_down() {
        let mut latencies = Latencies::default();
        assert!(latencies.summary().is_none());
        (1..=1000).for_each(|microseconds| latencies.record(microseconds * 1000));
        let mut twice = latencies.clone();
        twice.add(&latencies);
        let summary = twice.summary().expect("there are some");
        let near = |value: u64, expected: u64| value.abs_diff(expected) * 500 <= expected;
        assert!(
            near(summary.p50, 500_000) && near(summary.p99, 990_000) && near(summary.max, 1_000_000),
            "{summary:?}"
        );
        let bytes = STANDARD.decode(twice.encoded().expect("it can be written")).expect("base64");
        let read: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).expect("it can be read");
        assert_eq!((read.len(), read.max()), (2000, summary.max));
        twice.clear();
        assert!(twice.summary().is_none());
    }

    #[test]
    fn what_takes_longer_than_a_minute_counts_as_a_minute() {
        let mut latencies = Latencies::default();
        latencies.record(u64::MAX);
        assert!(latencies.summary().is_some_and(|summary| summary.max >= LONGEST));
    }
}
