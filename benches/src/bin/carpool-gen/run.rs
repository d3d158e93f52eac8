//! One trial for a person, or one JSON object for a program.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::latency::Summary;
use crate::options::{Pps, RunArgs};
use crate::replay;
use crate::rig::{Rig, Second};
use crate::trial::{Findings, Trial, Trials};
use crate::{GenError, print};

/// How long the generator shows what it can do when a share of that is asked for, in seconds.
const CALIBRATION: f64 = 0.5;

/// Runs a trial and prints what became of it.
pub fn run(args: &RunArgs, interrupted: &Arc<AtomicBool>) -> Result<(), GenError> {
    let mut rig = Rig::start(&args.ports, interrupted)?;
    let done = measure(args, &mut rig);
    rig.stop();
    let findings = done?;
    if args.json {
        print(&serde_json::to_string(&findings).map_err(|error| GenError::new(error.to_string()))?)?;
    } else {
        print(table(&findings).trim_end())?;
    }
    if interrupted.load(Ordering::Relaxed) { Err(GenError::new("interrupted: that is what there was")) } else { Ok(()) }
}

fn measure(args: &RunArgs, rig: &mut Rig) -> Result<Findings, GenError> {
    let mut trials = Trials::new(&args.ports, rig);
    let frames = match &args.replay {
        Some(path) => Some(replay::read(path, trials.link())?),
        None => None,
    };
    let mut trial = Trial {
        pps: None,
        seconds: args.seconds.as_secs_f64(),
        warm_up: args.warm_up.as_secs_f64(),
        size: args.size,
        flows: args.flows,
        destinations: args.destinations,
        burst: args.burst,
        drain: None,
    };
    let mut once = |trial: &Trial, show: &mut dyn FnMut(&Second<'_>)| match &frames {
        Some(frames) => trials.replay(trial, frames.clone(), show),
        None => trials.run(trial, show),
    };
    trial.pps = match args.pps {
        Pps::Packets(pps) => Some(pps as f64),
        Pps::Max => None,
        Pps::Share(share) => {
            let flood = Trial { seconds: CALIBRATION, burst: None, ..trial.clone() };
            let most = once(&flood, &mut |_| ())?.achieved_pps;
            // Nobody has to look.
            let _ = writeln!(std::io::stderr(), "it can send {most:.0} packets a second");
            Some((most * share).max(1.0))
        }
    };
    if frames.is_some() && trial.warm_up > 0.0 {
        // Without stamps, packets that go ahead could not be told from those that count.
        once(&Trial { seconds: trial.warm_up, warm_up: 0.0, burst: None, ..trial.clone() }, &mut |_| ())?;
        trial.warm_up = 0.0;
    }
    let mut before = (0, 0);
    once(&trial, &mut |second| {
        let interval = second.interval;
        let received = if frames.is_some() { interval.foreign } else { interval.arrived.received };
        // Nobody has to look.
        let _ = writeln!(std::io::stderr(), "{}", line(second, second.sent - before.0, received - before.1));
        before = (second.sent, received);
    })
}

/// What is said of a second.
fn line(second: &Second<'_>, sent: u64, received: u64) -> String {
    let mut text = format!("sent {sent:>10}  received {received:>10}");
    if let Some(Summary { p50, p99, max, .. }) = second.interval.latencies.summary() {
        let _ = write!(text, "  p50 {}  p99 {}  max {}", us(p50), us(p99), us(max));
    }
    text
}

/// What became of a trial, for a person.
fn table(findings: &Findings) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12}{value}");
    };
    let share = |count: u64, of: u64| format!("{count} ({:.4}%)", 100.0 * count as f64 / of.max(1) as f64);
    row("offered", format!("{:.0} pps, {} at a time", findings.offered_pps, findings.burst));
    row("sent", format!("{} at {:.0} pps", findings.sent, findings.achieved_pps));
    row("received", format!("{} at {:.0} pps", findings.received, findings.received_pps));
    row("lost", share(findings.lost, findings.sent));
    row("reordered", share(findings.reordered, findings.received));
    for (name, count) in [
        ("duplicated", findings.duplicated),
        ("corrupted", findings.corrupted),
        ("late", findings.late),
        ("foreign", findings.foreign),
        ("skipped", findings.skipped),
        ("rx missed", findings.rx_missed),
    ] {
        if count > 0 {
            row(name, count.to_string());
        }
    }
    if let Some(Summary { min, p50, p90, p99, p999, max, mean }) = findings.latency_ns {
        let quantiles = [("min", min), ("p50", p50), ("p90", p90), ("p99", p99), ("p99.9", p999), ("max", max)];
        let quantiles: Vec<String> = quantiles.iter().map(|(name, value)| format!("{name} {}", us(*value))).collect();
        row("latency", format!("{}  mean {}", quantiles.join("  "), us(mean as u64)));
    }
    if let Some(pooled) = findings.pooled {
        row(
            "pooled",
            format!(
                "{} packets in {} pooled packets ({:.2} each), {} as themselves",
                pooled.rows,
                pooled.packets,
                pooled.rows as f64 / pooled.packets.max(1) as f64,
                pooled.lone
            ),
        );
        row(
            "on the wire",
            format!(
                "{} B instead of {} B, {:.1}% saved",
                pooled.bytes_out,
                pooled.bytes_in,
                100.0 - 100.0 * pooled.bytes_out as f64 / pooled.bytes_in.max(1) as f64
            ),
        );
        if pooled.opaque > 0 {
            row("opaque", pooled.opaque.to_string());
        }
    }
    text
}

fn us(nanoseconds: u64) -> String {
    format!("{:.2} us", nanoseconds as f64 / 1000.0)
}
