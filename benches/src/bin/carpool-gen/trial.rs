//! What is asked of a trial, and what is said of it when it is over.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::GenError;
use crate::account::Arrived;
use crate::flows::Flows;
use crate::frames::{Frames, Size};
use crate::latency::Summary;
use crate::options::{MAX_PPS, PortArgs, duration};
use crate::pacing::Load;
use crate::plan::{Course, Plan, Source};
use crate::receiver::Pooled;
use crate::rig::{Outcome, Rig, Second};
use crate::stamp::TrialId;

/// What is asked of a trial.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Packets a second; none: as many as the port takes.
    #[serde(default)]
    pub pps: Option<f64>,
    /// How long packets are sent that count.
    pub seconds: f64,
    /// How long packets are sent ahead of them.
    #[serde(default)]
    pub warm_up: f64,
    pub size: Size,
    /// Source ports.
    #[serde(default = "one")]
    pub flows: u16,
    #[serde(default = "one_destination")]
    pub destinations: u32,
    /// So many packets, in place of `seconds`.
    #[serde(default)]
    pub burst: Option<u64>,
    /// How long to wait when all are sent; none: as long as the command line says.
    #[serde(default)]
    pub drain: Option<f64>,
}

fn one() -> u16 {
    1
}

fn one_destination() -> u32 {
    1
}

/// What became of a trial.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// Packets that the port took.
    pub sent: u64,
    /// Packets that went ahead, which no other figure counts.
    pub sent_ahead: u64,
    /// Packets that came back, each counted once.
    pub received: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupted: u64,
    /// Packets that came back too late to be counted as received.
    pub late: u64,
    /// Packets that are none of ours.
    pub foreign: u64,
    /// Packets that were due while the generator was held up; they are not among the sent.
    pub skipped: u64,
    /// Packets that the generator's ports say they had no room for.
    pub rx_missed: u64,
    /// Packets that are sent together.
    pub burst: u64,
    pub offered_pps: f64,
    pub achieved_pps: f64,
    pub received_pps: f64,
    pub latency_ns: Option<Summary>,
    /// HdrHistogram, format V2, deflated, base64: nanoseconds.
    pub histogram: String,
    /// Only where pooled packets are taken apart.
    pub pooled: Option<Pooled>,
}

/// Runs trials one after the other.
pub struct Trials<'a> {
    args: &'a PortArgs,
    rig: &'a mut Rig,
    /// Packets that were sent ahead of a trial have the number before its own.
    last: u16,
}

impl<'a> Trials<'a> {
    pub fn new(args: &'a PortArgs, rig: &'a mut Rig) -> Trials<'a> {
        Trials { args, rig, last: 0 }
    }

    /// Runs a trial with packets of our own.
    pub fn run(&mut self, trial: &Trial, show: impl FnMut(&Second<'_>)) -> Result<Findings, GenError> {
        let flows = self.flows(trial)?;
        let frames = Frames::new(trial.size, self.rig.link(), flows, self.args.dscp)?;
        self.run_with(trial, flows, Source::Made(frames), show)
    }

    /// Runs a trial with these frames.
    pub fn replay(
        &mut self,
        trial: &Trial,
        frames: Vec<Vec<u8>>,
        show: impl FnMut(&Second<'_>),
    ) -> Result<Findings, GenError> {
        let flows = Flows { destinations: 1, source_ports: 1, ..self.flows(trial)? };
        let mut findings = self.run_with(trial, flows, Source::Replayed(frames), show)?;
        // Without stamps every frame counts.
        findings.received = findings.foreign;
        findings.foreign = 0;
        findings.lost = findings.sent.saturating_sub(findings.received);
        findings.received_pps = findings.achieved_pps * findings.received as f64 / findings.sent.max(1) as f64;
        Ok(findings)
    }

    /// Addresses of frames that are sent.
    pub fn link(&self) -> crate::frames::Link {
        self.rig.link()
    }

    fn flows(&self, trial: &Trial) -> Result<Flows, GenError> {
        let prefix = self.args.destination_prefix;
        let of_family = |address: &&std::net::IpAddr| address.is_ipv4() == matches!(prefix, IpNet::V4(_));
        let source = self.args.source.or_else(|| self.args.send_address.iter().find(of_family).copied());
        let source = source.ok_or_else(|| {
            GenError::usage(format!(
                "packets to {prefix} have no source: give --source, or an address of that family to the sending port \
                 (--send-address)"
            ))
        })?;
        let flows = Flows {
            source,
            prefix,
            destinations: trial.destinations,
            first_source_port: self.args.source_port,
            source_ports: trial.flows,
            destination_port: self.args.destination_port,
            order: self.args.order,
        };
        flows.check()?;
        Ok(flows)
    }

    fn run_with(
        &mut self,
        trial: &Trial,
        flows: Flows,
        source: Source,
        show: impl FnMut(&Second<'_>),
    ) -> Result<Findings, GenError> {
        let load = trial.load()?;
        let drain = match trial.drain {
            Some(drain) => time("drain", drain)?,
            None => self.args.drain,
        };
        let [warm_up, own] = [self.last.wrapping_add(1), self.last.wrapping_add(2)].map(TrialId);
        self.last = own.0;
        let plan = Plan {
            warm_up,
            warm_up_time: time("warm_up", trial.warm_up)?,
            trial: own,
            source,
            flows,
            load,
            drain,
            start: self.rig.soon(),
            rate: self.rig.rate(),
            course: Course::default(),
        };
        let rate = self.rig.rate();
        let outcome = self.rig.trial(plan, show)?;
        let took = outcome.sent.first.map_or(Duration::ZERO, |first| rate.duration(outcome.sent.last.since(first)));
        findings(load, took, &outcome, self.args.depool)
    }
}

impl Trial {
    /// Its load, checked.
    fn load(&self) -> Result<Load, GenError> {
        let pps = match self.pps {
            None => None,
            Some(pps) if (1.0..=MAX_PPS as f64).contains(&pps) => Some(pps.round() as u64),
            Some(pps) => {
                return Err(GenError::usage(format!(
                    "pps {pps}: expected 1 to {MAX_PPS}, or null for as many as possible"
                )));
            }
        };
        let duration = time("seconds", self.seconds)?;
        match (self.burst, pps) {
            (Some(0), _) => Err(GenError::usage("burst 0: expected at least 1 packet, or null")),
            (Some(packets), pps) => Ok(Load::Burst { pps, packets }),
            (None, _) if duration.is_zero() => Err(GenError::usage("seconds 0: expected more")),
            (None, Some(pps)) => Ok(Load::Rate { pps, duration }),
            (None, None) => Ok(Load::Flood { duration }),
        }
    }
}

fn time(what: &str, seconds: f64) -> Result<Duration, GenError> {
    duration(seconds).ok_or_else(|| GenError::usage(format!("{what} {seconds}: expected seconds from 0 to 86400")))
}

fn findings(load: Load, took: Duration, outcome: &Outcome, depool: bool) -> Result<Findings, GenError> {
    let Outcome { sent, arrived, counts, latencies, rx_missed } = outcome;
    let Arrived { received, duplicated, reordered, late } = *arrived;
    // The last packets are handed over a little before the time is over.
    let seconds = match load {
        _ if sent.is_cut_short => took.max(Duration::from_micros(1)),
        Load::Rate { duration, .. } | Load::Flood { duration } => duration.max(took),
        Load::Burst { .. } => took.max(Duration::from_micros(1)),
    }
    .as_secs_f64();
    let achieved = sent.packets as f64 / seconds;
    let offered = match load {
        Load::Rate { pps, .. } | Load::Burst { pps: Some(pps), .. } => pps as f64,
        Load::Flood { .. } | Load::Burst { pps: None, .. } => achieved,
    };
    Ok(Findings {
        sent: sent.packets,
        sent_ahead: sent.ahead,
        received,
        lost: sent.packets.saturating_sub(received),
        duplicated,
        reordered,
        corrupted: counts.corrupted,
        late,
        foreign: counts.foreign,
        skipped: sent.skipped,
        rx_missed: *rx_missed,
        burst: sent.burst,
        offered_pps: offered,
        achieved_pps: achieved,
        received_pps: received as f64 / seconds,
        latency_ns: latencies.summary(),
        histogram: latencies.encoded().map_err(GenError::new)?,
        pooled: depool.then_some(counts.pooled),
    })
}
