//! What pooling does: how many packets share a ride, what that saves, and how long it takes them, for one window after the other.

use std::time::Duration;

use serde::Serialize;

use crate::bench::{Bench, Limit, Method};
use crate::error::Result;
use crate::throughput::PDR_LOSS;
use crate::trial::{FrameSize, Latency};

/// Microseconds.
pub const WINDOWS: [u64; 8] = [100, 200, 500, 1000, 2000, 5000, 10_000, 20_000];
/// The longest that can be asked for: the generator waits for twice as long and 100 ms when all is sent.
pub const LONGEST_WINDOW_US: u64 = 25_000;
/// IP length of stream packets, in bytes.
pub const SIZES: [u16; 3] = [60, 200, 300];
/// What a frame has beside its IP packet: header and FCS.
const ETHERNET: u16 = 18;
/// What a packet may wait longer than its window: the target of a worker that spins on a core of its own.
pub const BEYOND_US: f64 = 100.0;
/// The rule that pools, in the bench set-up.
const RULE: &str = "load";

/// A load on the pooler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Packets a second.
    Pps(f64),
    /// A part of the partial drop rate, in percent.
    OfPdr(u32),
}

impl Load {
    pub const ALL: [Load; 5] =
        [Load::Pps(10_000.0), Load::Pps(100_000.0), Load::OfPdr(10), Load::OfPdr(50), Load::OfPdr(90)];
}

/// What was found out about a size of stream packets.
#[derive(Clone, Debug, Serialize)]
pub struct Pools {
    /// IP length of the stream packets.
    pub ip_bytes: u16,
    /// What the router pools at most, at a window of 1 ms, packets a second.
    pub pdr: Limit,
    pub points: Vec<Point>,
}

/// A window and a load.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    pub window_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdr_percent: Option<u32>,
    pub pps: f64,
    pub achieved_pps: f64,
    pub loss: f64,
    /// Stream packets in a pooled packet.
    pub ratio: f64,
    /// The part of the stream packets that travelled in pooled packets.
    pub pooled_part: f64,
    /// The part of the bytes on the wire that is saved, preamble, FCS and gap included.
    pub saved: f64,
    pub latency_ns: Latency,
    /// For what part of the time router and generator waited for their CPUs.
    pub held_up: Option<f64>,
    /// The same load without the rule.
    pub unpooled_latency_ns: Latency,
    /// What pooling adds in the median and at the 99th percentile, as differences of percentiles.
    pub added_p50_us: f64,
    pub added_p99_us: f64,
    /// Whether 99% waited no longer than the window and 100 us.
    pub within_target: bool,
}

/// Trials of one size, about: one search, and a trial a point and an unpooled one a load.
pub fn expected(method: &Method, windows: usize, loads: usize) -> (u32, f64) {
    let trials = 10 + (loads * (windows + 1)) as u32;
    (trials, f64::from(trials) * (method.seconds + method.warm_up))
}

/// Measures a size; what is found out is added to `all` as it comes. The router begins with a window of 1 ms, and its rule is replaced for
/// each other one.
pub fn measure(bench: &mut Bench, ip_bytes: u16, windows: &[u64], loads: &[Load], all: &mut Vec<Pools>) -> Result<()> {
    let size = FrameSize::Bytes(ip_bytes + ETHERNET);
    set_rule(bench, Some(1000))?;
    let top = bench.top(size, false)?;
    let pdr = bench.limit("partial drop rate of pooling", size, top, PDR_LOSS, false)?;
    let rates: Vec<(Option<u32>, f64)> = loads
        .iter()
        .filter_map(|load| match *load {
            Load::Pps(pps) => Some((None, pps)),
            Load::OfPdr(percent) => Some((Some(percent), pdr.pps? * f64::from(percent) / 100.0)),
        })
        // What is more than it takes says nothing about waiting.
        .filter(|(_, pps)| pdr.pps.is_none_or(|most| *pps <= 0.9001 * most))
        .collect();
    let mut found = Pools { ip_bytes, pdr, points: vec![] };
    let done = measure_points(bench, size, windows, &rates, &mut found.points);
    all.push(found);
    done
}

/// A trial for each window and each load, beside those without the rule.
fn measure_points(
    bench: &mut Bench,
    size: FrameSize,
    windows: &[u64],
    rates: &[(Option<u32>, f64)],
    points: &mut Vec<Point>,
) -> Result<()> {
    set_rule(bench, None)?;
    let mut unpooled = Vec::new();
    for (_, pps) in rates {
        let record = bench.trial("delay, unpooled", bench.plain(size, *pps), true)?;
        unpooled.push(record.outcome.latency_ns);
    }
    for &window_us in windows {
        set_rule(bench, Some(window_us))?;
        for ((pdr_percent, pps), plain) in rates.iter().zip(&unpooled) {
            let record = bench.trial("delay and ratio, pooled", bench.plain(size, *pps), false)?;
            let (Some(pooled), Some(latency), Some(plain)) = (record.outcome.pooled, record.outcome.latency_ns, *plain)
            else {
                continue;
            };
            let part = |of: f64, all: f64| if all > 0.0 { of / all } else { 0.0 };
            points.push(Point {
                window_us,
                pdr_percent: *pdr_percent,
                pps: *pps,
                achieved_pps: record.outcome.achieved_pps,
                loss: record.loss,
                ratio: part(pooled.rows as f64, pooled.packets as f64),
                // Rows are counted from the warm-up on.
                pooled_part: part(pooled.rows as f64, record.outcome.received as f64).min(1.0),
                saved: 1.0 - part(pooled.bytes_out as f64, pooled.bytes_in as f64),
                latency_ns: latency,
                held_up: record.held_up,
                unpooled_latency_ns: plain,
                added_p50_us: (latency.p50 - plain.p50) / 1e3,
                added_p99_us: (latency.p99 - plain.p99) / 1e3,
                within_target: latency.p99 / 1e3 <= window_us as f64 + BEYOND_US,
            });
        }
    }
    Ok(())
}

/// Gives the router a rule with this window, or none.
fn set_rule(bench: &Bench, window_us: Option<u64>) -> Result<()> {
    let control = &bench.router.control;
    // There may be none to delete.
    let _ = control.ask(&["rule", "del", RULE]);
    if let Some(window_us) = window_us {
        let window = format!("{}us", Duration::from_micros(window_us).as_micros());
        control.ask(&["rule", "add", RULE, "match", "udp", "window", &window])?;
    }
    Ok(())
}
