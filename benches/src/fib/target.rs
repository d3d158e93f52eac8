//! What carpool's tables are to reach: the one place with the numbers.

use serde::Serialize;

use super::table::Family;

/// A bound that a figure of carpool's is to keep.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    /// Whether a figure keeps it.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Target::AtLeast(bound) => value >= bound,
            Target::AtMost(bound) => value <= bound,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::AtLeast(bound) => write!(formatter, ">= {bound}"),
            Target::AtMost(bound) => write!(formatter, "<= {bound}"),
        }
    }
}

/// What is to be reached in a case. Of a stream it is the ratio to DPDK's best table; `all-lengths` is the ratio, with
/// all prefixes in the table, to the table without the longer ones. The other cases have units of their own.
const TARGETS: [(Family, &str, Target); 26] = {
    use Family::{V4, V6};
    use Target::{AtLeast, AtMost};
    [
        (V4, "uniform", AtLeast(3.0)),
        (V4, "prefix", AtLeast(2.2)),
        (V4, "zipf", AtLeast(1.8)),
        (V4, "sequential", AtLeast(0.5)),
        (V4, "random", AtLeast(3.0)),
        (V6, "uniform", AtLeast(1.4)),
        (V6, "prefix", AtLeast(3.0)),
        (V6, "zipf", AtLeast(2.5)),
        (V6, "sequential", AtLeast(1.3)),
        (V6, "random", AtLeast(2.0)),
        (V4, "all-lengths", AtLeast(0.7)),
        (V6, "all-lengths", AtLeast(0.7)),
        (V4, "memory", AtMost(6.0)),
        (V6, "memory", AtMost(12.0)),
        (V4, "build", AtMost(0.5)),
        (V6, "build", AtMost(0.5)),
        (V4, "build-batch", AtMost(0.5)),
        (V6, "build-batch", AtMost(0.5)),
        (V4, "updates", AtLeast(500_000.0)),
        (V6, "updates", AtLeast(200_000.0)),
        (V4, "update-p99", AtMost(10.0)),
        (V6, "update-p99", AtMost(10.0)),
        (V4, "loss-at-10k", AtMost(10.0)),
        (V6, "loss-at-10k", AtMost(10.0)),
        (V4, "updates-with-reader", AtLeast(500_000.0)),
        (V6, "updates-with-reader", AtLeast(200_000.0)),
    ]
};

/// Megabytes that the tables of both families may take together, all lengths in them, or grown to round numbers.
pub const MEMORY_TOGETHER: Target = Target::AtMost(20.0);

/// What is to be reached in a case, if anything is.
pub fn of(family: Family, case: &str) -> Option<Target> {
    TARGETS.iter().find(|(of, name, _)| *of == family && *name == case).map(|(.., target)| *target)
}
