//! What the stages of the workers' loops take.

use std::borrow::Cow;

use carpool_dataplane::worker::{Counters, Stage, Timed};
use serde::{Deserialize, Serialize};

use super::stats::Tally;

/// The longest that one request has the workers measure, in milliseconds.
pub const STAGES_MAX_MS: u32 = 3_600_000;

/// `stages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagesShow {
    /// How long from now the workers measure, in milliseconds: at most [`STAGES_MAX_MS`].
    pub for_ms: u32,
}

/// Reply to `stages`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stages {
    /// Ticks of the time stamp counter in a second.
    pub ticks_per_second: u64,
    /// Each worker, in the order of the configured cores.
    pub workers: Vec<WorkerStages>,
}

/// What a worker measured since it started; what it did while nobody asked is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStages {
    /// The worker.
    pub index: u32,
    /// Iterations that were measured.
    pub iterations: u64,
    /// Packets received in them.
    #[serde(rename = "in")]
    pub received: u64,
    /// Packets sent in them.
    pub out: u64,
    /// Ticks by stage. They add up to the time that was measured.
    pub ticks: Tally,
}

impl WorkerStages {
    /// A worker's, of its counters.
    pub fn of(index: u32, counters: &Counters) -> WorkerStages {
        let stages = Stage::ALL.iter().map(|stage| (Cow::Borrowed(stage.name()), counters.stage(*stage)));
        WorkerStages {
            index,
            iterations: counters.timed(Timed::Iterations),
            received: counters.timed(Timed::In),
            out: counters.timed(Timed::Out),
            ticks: stages.collect(),
        }
    }

    /// What was measured since `before`; everything where the worker is another one by now.
    pub fn since(&self, before: &WorkerStages) -> WorkerStages {
        let ticks = self.ticks.iter().map(|(name, ticks)| {
            let earlier = before.ticks.get(name).unwrap_or(0);
            (Cow::Owned(name.to_owned()), ticks.saturating_sub(earlier))
        });
        WorkerStages {
            index: self.index,
            iterations: self.iterations.saturating_sub(before.iterations),
            received: self.received.saturating_sub(before.received),
            out: self.out.saturating_sub(before.out),
            ticks: ticks.collect(),
        }
    }
}

impl Stages {
    /// What was measured since `before`.
    pub fn since(&self, before: &Stages) -> Stages {
        let of = |worker: &WorkerStages| {
            let earlier = before.workers.iter().find(|earlier| earlier.index == worker.index);
            earlier.map_or_else(|| worker.clone(), |earlier| worker.since(earlier))
        };
        Stages { ticks_per_second: self.ticks_per_second, workers: self.workers.iter().map(of).collect() }
    }
}
