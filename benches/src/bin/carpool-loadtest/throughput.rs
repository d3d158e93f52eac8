//! RFC 2544 for one frame size after the other: throughput, loss against load, latency, back-to-back.

use serde::Serialize;

use crate::bench::{Bench, Limit, Method, Record};
use crate::error::Result;
use crate::generator::Abilities;
use crate::router::Lost;
use crate::search::{Bounds, Found, Search, Seen, expected_trials};
use crate::trial::{FrameSize, Latency, Trial};

/// The part of the packets that the partial drop rate may lose.
pub const PDR_LOSS: f64 = 0.005;
/// Latency is measured at these parts of the partial drop rate, in percent.
pub const LATENCY_AT: [u32; 3] = [10, 50, 90];
/// The longest burst, in seconds of the highest load (RFC 2544, 26.4: at least 2 s).
const LONGEST_BURST_S: f64 = 2.0;
const SHORTEST_BURST: f64 = 32.0;
const BURST_RESOLUTION: f64 = 0.05;

/// What is measured of each size.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Loss against load.
    pub loss: bool,
    pub latency: bool,
    /// How often the longest burst is searched for; RFC 9004 has the mean.
    pub bursts: u32,
}

/// What was found out about a size.
#[derive(Clone, Debug, Serialize)]
pub struct Throughput {
    pub size: FrameSize,
    /// The highest load that could be offered, packets a second: what loads in percent are parts of.
    pub top_pps: f64,
    /// What arrived then.
    pub top_received_pps: f64,
    /// The highest rate that was really sent in a trial of which nothing was lost, also where more had been asked for: what is
    /// left of a limit where the generator is what ends it.
    pub lossless_pps: f64,
    /// Nothing lost (RFC 2544, 26.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ndr: Option<Limit>,
    /// No more than half a percent lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdr: Option<Limit>,
    /// RFC 2544, 26.3.
    pub loss: Vec<LossAt>,
    /// RFC 2544, 26.2, with percentiles.
    pub latency: Vec<LatencyAt>,
    /// RFC 9004.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_to_back: Option<BackToBack>,
}

#[derive(Clone, Debug, Serialize)]
pub struct LossAt {
    pub load_percent: u32,
    pub offered_pps: f64,
    pub achieved_pps: f64,
    pub received_pps: f64,
    /// Whether the generator could offer the load.
    pub offered: bool,
    pub sent: u64,
    pub lost: u64,
    /// The part of the packets sent.
    pub loss: f64,
    pub lost_where: Lost,
}

#[derive(Clone, Debug, Serialize)]
pub struct LatencyAt {
    pub pdr_percent: u32,
    pub pps: f64,
    pub loss: f64,
    /// For what part of the time router and generator waited for their CPUs.
    pub held_up: Option<f64>,
    /// Nanoseconds.
    pub latency_ns: Latency,
}

#[derive(Clone, Debug, Serialize)]
pub struct BackToBack {
    /// Mean length of the longest burst of which nothing was lost, in frames.
    pub frames: f64,
    pub min: f64,
    pub max: f64,
    pub searches: usize,
    /// Whether nothing was lost of any burst: the figure is a lower bound then.
    pub at_least: bool,
    /// Bursts went at this rate.
    pub pps: f64,
    /// RFC 9004, 6.4: the time that the buffer holds, less what was forwarded meanwhile; where the no-drop rate is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrected_buffer_us: Option<f64>,
}

/// About how many trials a size takes, and how many seconds they last.
pub fn expected(method: &Method, can: Abilities, parts: Parts) -> (u32, f64) {
    let time = method.seconds + method.warm_up;
    if !can.rates {
        return (1, time);
    }
    let bounds = |resolution, trials, confirm| Bounds {
        low: 1.0,
        high: 1000.0,
        resolution,
        loss: 0.0,
        trials,
        may_exceed: method.may_exceed,
        confirm,
    };
    let search = expected_trials(&bounds(method.resolution, method.trials, method.confirm));
    let rates = 1 + 2 * search + if parts.loss { 10 } else { 0 } + if parts.latency && can.latency { 3 } else { 0 };
    let bursts = parts.bursts * expected_trials(&bounds(BURST_RESOLUTION, 1, 0));
    (rates + bursts, f64::from(rates) * time + f64::from(bursts) * LONGEST_BURST_S / 3.0)
}

/// Measures a size; what is found out is added to `all` as it comes.
pub fn measure(bench: &mut Bench, size: FrameSize, parts: Parts, all: &mut Vec<Throughput>) -> Result<()> {
    let begin = bench.records.len();
    let top = bench.top(size, true)?;
    let top_received_pps = bench.records.last().map_or(0.0, |record| record.outcome.received_pps);
    let mut found = Throughput {
        size,
        top_pps: top,
        top_received_pps,
        lossless_pps: 0.0,
        ndr: None,
        pdr: None,
        loss: vec![],
        latency: vec![],
        back_to_back: None,
    };
    let done = measure_below(bench, top, parts, &mut found);
    found.lossless_pps = lossless(bench.records.get(begin..).unwrap_or_default());
    all.push(found);
    done
}

/// All that follows the highest load.
fn measure_below(bench: &mut Bench, top: f64, parts: Parts, found: &mut Throughput) -> Result<()> {
    let size = found.size;
    let can = bench.generator.can();
    if !can.rates {
        if let Some(record) = bench.records.last() {
            found.loss.push(loss_at(100, record));
        }
        return Ok(());
    }
    let pdr = found.pdr.insert(bench.limit("partial drop rate", size, top, PDR_LOSS, true)?);
    // What loses half a percent loses something.
    let mut ndr = bench.limit("no-drop rate", size, pdr.pps.unwrap_or(top / 1000.0), 0.0, true)?;
    ndr.ends_like(pdr);
    let (pdr, ndr) = (pdr.pps, found.ndr.insert(ndr).pps);
    if parts.loss {
        found.loss = loss_against_load(bench, size, top)?;
    }
    if let Some(pps) = pdr.filter(|_| parts.latency && can.latency) {
        for percent in LATENCY_AT {
            let trial = bench.plain(size, pps * f64::from(percent) / 100.0);
            let record = bench.trial("latency", trial, true)?;
            if let Some(latency_ns) = record.outcome.latency_ns {
                let (pdr_percent, held_up) = (percent, record.held_up);
                found.latency.push(LatencyAt { pdr_percent, pps: trial.pps, loss: record.loss, held_up, latency_ns });
            }
        }
    }
    if parts.bursts > 0 {
        found.back_to_back = Some(back_to_back(bench, size, top, ndr, parts.bursts)?);
    }
    Ok(())
}

/// The highest rate in trials of which nothing was lost. Bursts are too short to say a rate.
fn lossless(records: &[Record]) -> f64 {
    let without_loss = records.iter().filter(|record| record.loss == 0.0 && record.trial.burst.is_none());
    without_loss.map(|record| record.outcome.achieved_pps).fold(0.0, f64::max)
}

/// From the highest load down in steps of 10%, until two in a row lose nothing.
fn loss_against_load(bench: &mut Bench, size: FrameSize, top: f64) -> Result<Vec<LossAt>> {
    let mut found: Vec<LossAt> = Vec::new();
    for percent in (1..=10).rev().map(|tenths| 10 * tenths) {
        let trial = bench.plain(size, top * f64::from(percent) / 100.0);
        let record = bench.trial("loss against load", trial, true)?;
        found.push(loss_at(percent, &record));
        if found.len() >= 2 && found.iter().rev().take(2).all(|loss| loss.lost == 0 && loss.offered) {
            let skipped = percent / 10 - 1;
            bench.progress.skip(u64::from(skipped));
            break;
        }
    }
    found.reverse();
    Ok(found)
}

fn loss_at(load_percent: u32, record: &Record) -> LossAt {
    LossAt {
        load_percent,
        offered_pps: record.trial.pps,
        achieved_pps: record.outcome.achieved_pps,
        received_pps: record.outcome.received_pps,
        offered: record.offered,
        sent: record.outcome.sent,
        lost: record.outcome.lost,
        loss: record.loss,
        lost_where: record.lost_where.clone(),
    }
}

/// The longest burst of which nothing is lost, several times.
fn back_to_back(bench: &mut Bench, size: FrameSize, top: f64, ndr: Option<f64>, searches: u32) -> Result<BackToBack> {
    let high = (top * LONGEST_BURST_S).max(SHORTEST_BURST);
    let mut lengths = Vec::new();
    // A burst that could not be sent whole says nothing about what would have been lost of it.
    let mut nothing_lost = true;
    for _ in 0..searches {
        let bounds = Bounds {
            low: SHORTEST_BURST,
            high,
            resolution: BURST_RESOLUTION,
            loss: 0.0,
            trials: 1,
            may_exceed: 0,
            confirm: 0,
        };
        let mut search = Search::new(bounds);
        while let Some(frames) = search.next() {
            let burst = Some(frames.round() as u64);
            let trial = Trial { burst, warm_up: 0.0, ..bench.plain(size, top) };
            let record = bench.trial("back to back", trial, true)?;
            let arrived = record.outcome.received as f64;
            nothing_lost &= record.loss == 0.0;
            search.record(Seen { loss: record.loss, offered: record.offered, arrived });
        }
        lengths.push(match search.found() {
            Some(Found::AtLeast { load } | Found::Between { load, .. }) => load,
            _ => 0.0,
        });
    }
    let frames = lengths.iter().sum::<f64>() / lengths.len().max(1) as f64;
    let corrected = |ndr: f64| frames / top * ((top - ndr) / top).max(0.0) * 1e6;
    Ok(BackToBack {
        frames,
        min: lengths.iter().copied().fold(f64::INFINITY, f64::min),
        max: lengths.iter().copied().fold(0.0, f64::max),
        searches: lengths.len(),
        at_least: nothing_lost,
        pps: top,
        corrected_buffer_us: ndr.filter(|_| !nothing_lost).map(corrected),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::Outcome;

    fn record(achieved_pps: f64, lost: u64, burst: Option<u64>) -> Record {
        let (warm_up, flows, destinations, size) = (0.0, 1, 1, FrameSize::Bytes(64));
        Record {
            purpose: "a test",
            trial: Trial { pps: 9e6, seconds: 1.0, warm_up, size, flows, destinations, burst },
            outcome: Outcome {
                sent: 1000,
                received: 1000 - lost,
                lost,
                duplicated: 0,
                reordered: 0,
                corrupted: 0,
                missed: 0,
                skipped: 0,
                offered_pps: 9e6,
                achieved_pps,
                received_pps: achieved_pps,
                latency_ns: None,
                pooled: None,
            },
            loss: lost as f64 / 1000.0,
            offered: false,
            lost_where: Lost::default(),
            balanced: true,
            held_up: None,
        }
    }

    #[test]
    fn what_passed_without_loss_is_told_also_where_more_was_asked_for() {
        let trials = [record(5e6, 0, None), record(7e6, 0, None), record(8e6, 1, None), record(9e6, 0, Some(32))];
        assert_eq!(lossless(&trials), 7e6);
        assert_eq!(lossless(&trials[2..]), 0.0);
    }
}
