//! What the machine takes away from a program that never waits: the gaps in an empty loop that reads the clock.
//!
//! Interrupts, other threads, and the host of a virtual machine show as gaps. No latency that is measured on this CPU can be
//! believed to be better than this.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use carpool_benches::cpu;
use carpool_dataplane::arch::{TickRate, TickSpan, now};
use serde::Serialize;

use crate::latency::{Latencies, Summary};
use crate::options::JitterArgs;
use crate::{GenError, print};

/// Gaps that are longer than so many nanoseconds are counted, by each of these. What is not longer than the first is the
/// loop's own.
const LENGTHS: [u64; 6] = [1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// What was seen.
#[derive(Debug, Serialize)]
struct Findings {
    core: usize,
    seconds: f64,
    /// Gaps of more than a microsecond.
    gaps: u64,
    /// Of the time, what was in them.
    share: f64,
    /// How many gaps are longer than so many nanoseconds.
    longer_than_ns: Vec<(u64, u64)>,
    gap_ns: Option<Summary>,
    /// HdrHistogram, format V2, deflated, base64: nanoseconds.
    histogram: String,
}

/// Looks at a CPU and prints what it saw.
pub fn jitter(args: &JitterArgs, interrupted: &Arc<AtomicBool>) -> Result<(), GenError> {
    cpu::pin(args.core)?;
    let findings = look(args, interrupted)?;
    if args.json {
        return print(&serde_json::to_string(&findings).map_err(|error| GenError::new(error.to_string()))?);
    }
    print(&table(&findings))
}

fn table(findings: &Findings) -> String {
    let mut lines = vec![format!(
        "CPU {}, {:.1} s: {} gaps of more than 1 us, {:.3}% of the time",
        findings.core,
        findings.seconds,
        findings.gaps,
        100.0 * findings.share
    )];
    for (length, count) in &findings.longer_than_ns {
        lines.push(format!("longer than {:>7} us: {count}", length / 1000));
    }
    if let Some(Summary { p50, p99, max, .. }) = findings.gap_ns {
        let us = |value: u64| value as f64 / 1000.0;
        lines.push(format!("gaps: p50 {:.1} us  p99 {:.1} us  max {:.1} us", us(p50), us(p99), us(max)));
    }
    lines.join("\n")
}

fn look(args: &JitterArgs, interrupted: &AtomicBool) -> Result<Findings, GenError> {
    let rate = TickRate::measure();
    // Compared in ticks, all of them: rounded to nanoseconds, a gap can be longer than the first and not seem so.
    let mut longer = LENGTHS.map(|length| (rate.ticks(Duration::from_nanos(length)), 0));
    let shortest = longer[0].0;
    let mut latencies = Latencies::default();
    let mut lost = TickSpan(0);
    let begin = now();
    let end = begin + rate.ticks(args.seconds);
    let mut last = begin;
    while last < end && !interrupted.load(Ordering::Relaxed) {
        let at = now();
        let gap = at.since(last);
        if gap > shortest {
            lost = TickSpan(lost.0 + gap.0);
            latencies.record(rate.duration(gap).as_nanos() as u64);
            longer.iter_mut().filter(|(least, _)| gap > *least).for_each(|(_, count)| *count += 1);
            // What counting took is no gap.
            last = now();
        } else {
            last = at;
        }
    }
    let seconds = rate.duration(last.since(begin)).as_secs_f64();
    Ok(Findings {
        core: args.core,
        seconds,
        gaps: longer[0].1,
        share: lost.0 as f64 / last.since(begin).0.max(1) as f64,
        longer_than_ns: LENGTHS.into_iter().zip(longer.map(|(_, count)| count)).collect(),
        gap_ns: latencies.summary(),
        histogram: latencies.encoded().map_err(GenError::new)?,
    })
}
