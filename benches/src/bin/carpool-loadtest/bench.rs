//! Trials one after the other: each is recorded with where its packets were lost.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use carpool_benches::interrupt::Interrupt;
use serde::Serialize;

use crate::error::{LoadError, Result};
use crate::generator::Generator;
use crate::patience::wait;
use crate::progress::Progress;
use crate::report::lost;
use crate::router::{Counted, Lost, Router};
use crate::search::{Bounds, Found, Search, Seen};
use crate::trial::{FrameSize, Outcome, Trial};
use crate::waiting::Waiting;

/// A load counts as offered where the generator got rid of this part of it.
const OFFERED: f64 = 0.98;
/// Nothing passes where nothing was counted for so long.
const STILL: Duration = Duration::from_millis(20);
/// How long that is waited for.
const SETTLE: Duration = Duration::from_secs(2);

/// How trials are made and limits are searched for.
#[derive(Clone, Debug, Serialize)]
pub struct Method {
    /// Seconds of a trial.
    pub seconds: f64,
    /// Seconds of the same load before.
    pub warm_up: f64,
    /// How close to the limit a search ends, as a part of it.
    pub resolution: f64,
    /// Trials of each load.
    pub trials: u32,
    /// How many of them may lose more than is allowed.
    pub may_exceed: u32,
    /// Trials of what was found.
    pub confirm: u32,
    pub flows: u32,
    pub destinations: u32,
    /// The rate of the wire that loads are parts of, Gbit/s.
    pub line_gbps: f64,
}

/// A trial that was made.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// What it was for.
    pub purpose: &'static str,
    #[serde(flatten)]
    pub trial: Trial,
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The part of the packets sent that did not arrive.
    pub loss: f64,
    /// Whether the generator could offer the load.
    pub offered: bool,
    /// Where packets were lost.
    pub lost_where: Lost,
    /// Whether the router accounted for every packet.
    pub balanced: bool,
    /// For what part of the trial's time router and generator together had to wait for their CPUs, where the kernel knows.
    pub held_up: Option<f64>,
}

/// How a limit was found.
#[derive(Clone, Debug, Serialize)]
pub struct Limit {
    /// The highest load that passes; none where even the lowest one that was tried fails.
    pub pps: Option<f64>,
    /// The lowest one that fails; none where the highest one passes.
    pub fails_at_pps: Option<f64>,
    /// The part of the packets that may be lost.
    pub loss_allowed: f64,
    /// On a wire, with preamble and gap.
    pub gbps: Option<f64>,
    pub limited_by: LimitedBy,
    /// How many trials it took.
    pub trials: usize,
    /// Where packets were lost in the trials that failed.
    pub lost_where: Lost,
}

impl Limit {
    /// Where nothing failed up to another limit, which may lose more, what failed above that one fails here as well.
    pub fn ends_like(&mut self, other: &Limit) {
        if self.fails_at_pps.is_none() && self.pps == other.pps {
            (self.fails_at_pps, self.limited_by) = (other.fails_at_pps, other.limited_by);
            self.lost_where = other.lost_where.clone();
        }
    }
}

/// What ended a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitedBy {
    /// Packets were lost above the limit.
    Loss,
    /// More could not be offered: the generator has no more, or the port pushes back.
    Offer,
    /// The wire has no more.
    Line,
}

/// A generator, a router, and the trials made so far.
pub struct Bench {
    pub generator: Box<dyn Generator>,
    pub router: Router,
    pub waiting: Waiting,
    pub method: Method,
    pub progress: Progress,
    pub interrupt: Interrupt,
    pub records: Vec<Record>,
}

impl Bench {
    /// A trial of the method's length.
    pub fn plain(&self, size: FrameSize, pps: f64) -> Trial {
        let Method { seconds, warm_up, flows, destinations, .. } = self.method;
        Trial { pps, seconds, warm_up, size, flows, destinations, burst: None }
    }

    /// What the router has counted, once nothing passes any more: what is late of one trial is not to count in the next one.
    fn still(&self) -> Result<Counted> {
        let mut last = self.router.counted()?;
        let settled = wait(&self.interrupt, SETTLE, || {
            thread::sleep(STILL);
            let now = self.router.counted()?;
            let still = now.stands_still_since(&last);
            last = now;
            Ok(still.then_some(()))
        })?;
        if settled.is_none() {
            self.progress.line("traffic passes the router that is not of this test: it counts as well");
        }
        Ok(last)
    }

    /// Makes a trial. `unpooled`: what goes in comes out packet by packet.
    pub fn trial(&mut self, purpose: &'static str, trial: Trial, unpooled: bool) -> Result<Record> {
        self.interrupt.check()?;
        self.progress.say(purpose, &trial);
        let before = self.still()?;
        let (begin, waited) = (Instant::now(), self.waiting.so_far());
        let outcome = self.generator.trial(&trial, &self.router)?;
        let held_up = waited.zip(self.waiting.so_far()).and_then(|(before, after)| {
            Some(after.since(before)?.as_secs_f64() / begin.elapsed().as_secs_f64().max(1e-3))
        });
        let done = self.still()?.since(&before);
        // What a burst is compared with is its length: how fast it went is for who made it to say.
        let offered = match trial.burst {
            Some(packets) => outcome.sent >= packets,
            None => outcome.achieved_pps >= OFFERED * trial.pps,
        };
        let record = Record {
            purpose,
            trial,
            loss: outcome.loss(),
            offered,
            lost_where: done.lost(outcome.sent, outcome.received, unpooled),
            balanced: done.balanced,
            held_up,
            outcome,
        };
        self.progress.step();
        self.records.push(record.clone());
        Ok(record)
    }

    /// The highest load that this size can be offered at: that of the wire, or what the generator gets rid of.
    pub fn top(&mut self, size: FrameSize, unpooled: bool) -> Result<f64> {
        let line = size.line_rate(self.method.line_gbps);
        let trial = self.plain(size, line);
        let purpose = "most that can be offered";
        let mut record = self.trial(purpose, trial, unpooled)?;
        if record.outcome.received == 0 {
            // In a short trial the machine may have had something else to do all the time.
            record = self.trial(purpose, trial, unpooled)?;
        }
        if record.outcome.received == 0 {
            let (sent, way) = (record.outcome.sent, lost(&record.lost_where));
            return Err(LoadError::System(format!("nothing arrived of {sent} packets of {size} B; lost: {way}")));
        }
        Ok(if record.offered { line } else { record.outcome.achieved_pps.min(line) })
    }

    /// Searches for the highest load up to `top` that loses no more than a part of its packets.
    pub fn limit(
        &mut self,
        purpose: &'static str,
        size: FrameSize,
        top: f64,
        loss: f64,
        unpooled: bool,
    ) -> Result<Limit> {
        let Method { resolution, trials, may_exceed, confirm, line_gbps, .. } = self.method;
        let mut search =
            Search::new(Bounds { low: top / 1000.0, high: top, resolution, loss, trials, may_exceed, confirm });
        let begin = self.records.len();
        while let Some(pps) = search.next() {
            let record = self.trial(purpose, self.plain(size, pps), unpooled)?;
            search.record(Seen { loss: record.loss, offered: record.offered, arrived: record.outcome.received_pps });
        }
        let made = self.records.get(begin..).unwrap_or_default();
        Ok(limit(search.found(), made, loss, size, line_gbps))
    }
}

/// What the search and its trials say.
fn limit(found: Option<Found>, made: &[Record], loss: f64, size: FrameSize, line_gbps: f64) -> Limit {
    let (pps, fails_at_pps) = match found {
        Some(Found::Between { load, above }) => (Some(load), Some(above)),
        Some(Found::AtLeast { load }) => (Some(load), None),
        Some(Found::Below { load }) => (None, Some(load)),
        None => (None, None),
    };
    let failed = |record: &&Record| !record.offered || record.loss > loss;
    let lossy = |record: &Record| record.loss > loss;
    let line = size.line_rate(line_gbps);
    let limited_by = match fails_at_pps {
        Some(above) if made.iter().filter(|record| record.trial.pps == above).any(lossy) => LimitedBy::Loss,
        None if pps.is_some_and(|pps| pps >= line) => LimitedBy::Line,
        _ => LimitedBy::Offer,
    };
    let mut lost_where = Lost::default();
    for record in made.iter().filter(failed) {
        lost_where.before += record.lost_where.before;
        lost_where.behind += record.lost_where.behind;
        add(&mut lost_where.router, &record.lost_where.router);
    }
    let gbps = pps.map(|pps| pps / line * line_gbps);
    Limit { pps, fails_at_pps, loss_allowed: loss, gbps, limited_by, trials: made.len(), lost_where }
}

fn add(sum: &mut BTreeMap<String, u64>, drops: &BTreeMap<String, u64>) {
    for (reason, count) in drops {
        *sum.entry(reason.clone()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(pps: f64, fails_at_pps: Option<f64>, limited_by: LimitedBy) -> Limit {
        let (pps, lost_where) = (Some(pps), Lost::default());
        Limit { pps, fails_at_pps, loss_allowed: 0.0, gbps: None, limited_by, trials: 1, lost_where }
    }

    #[test]
    fn a_no_drop_rate_as_high_as_the_partial_drop_rate_ends_for_the_same_reason() {
        let partial = limit(1e6, Some(2e6), LimitedBy::Loss);
        let mut same = limit(1e6, None, LimitedBy::Offer);
        same.ends_like(&partial);
        assert_eq!((same.fails_at_pps, same.limited_by), (Some(2e6), LimitedBy::Loss));
        let mut lower = limit(5e5, Some(6e5), LimitedBy::Offer);
        lower.ends_like(&partial);
        assert_eq!((lower.fails_at_pps, lower.limited_by), (Some(6e5), LimitedBy::Offer));
    }
}
