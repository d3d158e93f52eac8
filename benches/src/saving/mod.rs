//! What an ordinary router on the way saves when streams are pooled: the same streams through the same Linux router, as they are and
//! pooled.
//!
//! [`network`] makes sender, router and receiver, [`sender`] replays frames, this measures both contenders in turn, and
//! [`report`] makes the table.

mod network;
mod report;
mod sender;
mod spare_time;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;

use self::network::{Counts, Network};
use self::sender::{Offer, Offered};
use crate::case::{Carriage, Case, Destinations, PATH_MTU, Setting, Work};
use crate::cpu::Cpus;
use crate::error::BenchError;
use crate::fib::figure::{Figure, ratios};
use crate::interrupt::Interrupt;
use crate::traffic;
use crate::turn::Turn;

/// What is measured, and how long.
#[derive(Args)]
pub struct SavingOptions {
    /// IP length of the stream packets; can be given several times [default: 60, 200, 300]
    #[arg(long = "size", value_name = "BYTES", value_parser = clap::value_parser!(u16).range(46..=300))]
    sizes: Vec<u16>,
    /// Stream packets a second at which the router's effort is measured
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1_000..=500_000))]
    load: u32,
    /// Seconds of each pass
    #[arg(long, default_value_t = 0.4, value_name = "S", value_parser = crate::campaign::seconds)]
    seconds: f64,
    /// Runs, unpooled and pooled in turn
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// CPU of the router [default: the last one]
    #[arg(long, value_name = "CPU")]
    core: Option<usize>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

const BENCH: &str = "saving";
const UNPOOLED: &str = "unpooled";
const POOLED: &str = "pooled";
/// Of all frames offered, what may be lost where a rate counts as forwarded (the practice of RFC 2544 calls it PDR).
const LOSS: f64 = 0.005;
/// The rate is lowered so, as parts of what the router forwards when offered too much, until no more is lost.
const STEP: f64 = 0.03;
const STEPS: u32 = 20;
/// Preamble, checksum and gap of an Ethernet frame, in bytes (IEEE 802.3).
const WIRE: u64 = 24;

/// Measures what is asked for and prints the figures.
pub fn run(options: &SavingOptions) -> Result<(), BenchError> {
    let cpus = Cpus::choose(options.core)?;
    if cpus.core == cpus.main_core {
        return Err(BenchError::System("the router needs a CPU of its own: this process may run on one only".into()));
    }
    // Nothing has been made yet: a signal that comes while this waits may end it as it does any program.
    let _turn = Turn::take(&Interrupt::default(), |line| eprintln!("{line}"))?;
    let network = Network::new(cpus)?;
    eprintln!(
        "the router on CPU {}, all else on CPU {}, {} runs of some ten passes of {} s each, unpooled and pooled in turn",
        cpus.core, cpus.main_core, options.runs, options.seconds
    );
    let sizes = if options.sizes.is_empty() { &[60, 200, 300][..] } else { &options.sizes };
    let idle = 100.0 * network.idle(Duration::from_secs_f64(options.seconds))?;
    let mut figures = Vec::new();
    let mut take = |found: Vec<Figure>| -> Result<(), BenchError> {
        for figure in found {
            if options.json {
                let line = serde_json::to_string(&figure).map_err(|error| BenchError::System(error.to_string()))?;
                write(&format!("{line}\n"))?;
            }
            figures.push(figure);
        }
        Ok(())
    };
    take(vec![Figure::new(BENCH, "idle", "linux", report::SHARE, &[idle])])?;
    for size in sizes {
        take(Campaign { options, network: &network, size: *size }.figures()?)?;
    }
    if !options.json {
        write(&report::text(&figures, options.load))?;
    }
    Ok(())
}

/// To standard output. An error, and no panic, where nobody reads it: the namespaces are to be removed.
fn write(text: &str) -> Result<(), BenchError> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| BenchError::System(format!("the figures cannot be written: {error}")))
}

/// One size of stream packets.
struct Campaign<'c> {
    options: &'c SavingOptions,
    network: &'c Network,
    size: u16,
}

/// What one contender showed in one run.
#[derive(Clone, Copy, Debug)]
struct Run {
    steady: Effort,
    /// Stream packets a second that come through when more are offered than that.
    plateau: f64,
    /// The share of its CPU that the router had then: where it is not 1, something else had the rest.
    plateau_cpu: f64,
    /// Stream packets a second with hardly any loss; 0 where there is some at any rate that was tried.
    limit: f64,
}

/// What the router spends at the same load of stream packets, each second.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// Stream packets offered.
    stream_packets: f64,
    /// Packets forwarded.
    packets: f64,
    /// Part of the packets that found no room.
    lost: f64,
    /// Part of a CPU.
    cpu: f64,
    /// Nanoseconds of CPU per stream packet.
    nanoseconds: f64,
    /// Bits on the wire.
    bits: f64,
}

impl Effort {
    /// What was found when `load` stream packets a second were wanted. Where the sender was late, it offered fewer; packets and bits
    /// are as many as those of `load`.
    fn of(offered: &Offered, counts: &Counts, load: f64) -> Effort {
        let seconds = offered.time.as_secs_f64();
        let scale = load / offered.stream_packets as f64;
        // Time slices of others are not the router's.
        let mine = seconds - offered.spare.long_gaps.as_secs_f64();
        let cpu = 1.0 - offered.spare.had.as_secs_f64() / mine;
        Effort {
            stream_packets: offered.stream_packets as f64 / seconds,
            lost: counts.lost as f64 / offered.frames as f64,
            packets: counts.forwarded as f64 * scale,
            cpu,
            nanoseconds: cpu * 1e9 * seconds / offered.stream_packets as f64,
            bits: 8.0 * (offered.bytes + WIRE * offered.frames) as f64 * scale,
        }
    }
}

impl Campaign<'_> {
    fn figures(&self) -> Result<Vec<Figure>, BenchError> {
        // As the streams are, and as they are on the way from one router to another.
        let contenders = [(UNPOOLED, Work::Pool), (POOLED, Work::Transit)];
        let frames = contenders.map(|(_, work)| self.frames(work));
        let [unpooled, pooled] = frames;
        let frames = [unpooled?, pooled?];
        let mut runs = [Vec::new(), Vec::new()];
        for number in 1..=self.options.runs {
            for ((frames, runs), (name, _)) in frames.iter().zip(&mut runs).zip(contenders) {
                self.say(name, number);
                runs.push(self.run(frames)?);
            }
        }
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
        let [unpooled, pooled] = &runs;
        Ok(self.compared(unpooled, pooled))
    }

    /// The frames that the sender replays, and the stream packets in each.
    fn frames(&self, work: Work) -> Result<Vec<(Vec<u8>, u16)>, BenchError> {
        let rows = (PATH_MTU - 36) / (self.size + 6);
        let (carriage, setting, destinations) = (Carriage::Whole, Setting::Usual, Destinations::Streams);
        let case = Case { name: BENCH, work, carriage, setting, length: self.size, rows, destinations, growth: None };
        Ok(traffic::frames(&case)?.into_iter().map(|sent| (sent.packet, sent.rows)).collect())
    }

    fn run(&self, frames: &[(Vec<u8>, u16)]) -> Result<Run, BenchError> {
        let duration = Duration::from_secs_f64(self.options.seconds);
        let rows = frames.iter().map(|(_, rows)| f64::from(*rows)).sum::<f64>() / frames.len() as f64;
        let steady = Offer::PerSecond(f64::from(self.options.load) / rows);
        let (offered, counts) = self.network.pass(frames, steady, duration)?;
        let steady = Effort::of(&offered, &counts, f64::from(self.options.load));

        let (offered, counts) = self.network.pass(frames, Offer::All, duration)?;
        let seconds = offered.time.as_secs_f64();
        let plateau = counts.forwarded as f64 / seconds;
        let plateau_cpu = 1.0 - offered.spare.had.as_secs_f64() / seconds;
        for step in 0..STEPS {
            let rate = plateau * (1.0 - STEP * f64::from(step));
            let (offered, counts) = self.network.pass(frames, Offer::PerSecond(rate), duration)?;
            if counts.lost as f64 <= LOSS * offered.frames as f64 {
                let limit = offered.stream_packets as f64 / offered.time.as_secs_f64();
                return Ok(Run { steady, plateau: plateau * rows, plateau_cpu, limit });
            }
        }
        Ok(Run { steady, plateau: plateau * rows, plateau_cpu, limit: 0.0 })
    }

    /// The figures of both and their ratios.
    fn compared(&self, unpooled: &[Run], pooled: &[Run]) -> Vec<Figure> {
        type Value = fn(&Run) -> f64;
        let values: [(&str, &'static str, Value); 10] = [
            ("steady", report::OFFERED, |run| run.steady.stream_packets),
            ("steady", report::LOST, |run| 100.0 * run.steady.lost),
            ("steady", report::PACKETS, |run| run.steady.packets),
            ("steady", report::SHARE, |run| 100.0 * run.steady.cpu),
            ("steady", report::EACH, |run| run.steady.nanoseconds),
            ("steady", report::BITS, |run| run.steady.bits / 1e6),
            ("limit", report::RATE, |run| run.limit / 1e6),
            ("plateau", report::RATE, |run| run.plateau / 1e6),
            ("plateau", report::SHARE, |run| 100.0 * run.plateau_cpu),
            ("plateau", report::EACH, |run| run.plateau_cpu * 1e9 / run.plateau),
        ];
        let mut figures = Vec::new();
        for (case, unit, value) in values {
            let case = report::case(case, self.size);
            let [one, other] = [unpooled, pooled].map(|runs| runs.iter().map(value).collect::<Vec<f64>>());
            figures.push(Figure::new(BENCH, &case, UNPOOLED, unit, &one));
            figures.push(Figure::new(BENCH, &case, POOLED, unit, &other));
            let Some(ratio_unit) = report::ratio_of(unit) else { continue };
            let (ratio, of) = if unit == report::RATE {
                (ratios(&other, &one), format!("{POOLED}/{UNPOOLED}"))
            } else {
                (ratios(&one, &other), format!("{UNPOOLED}/{POOLED}"))
            };
            figures.push(Figure::new(BENCH, &case, &of, ratio_unit, &ratio));
        }
        figures
    }

    /// On standard error, what is going on.
    fn say(&self, name: &str, number: u16) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{} B, {name}: run {number} of {}", self.size, self.options.runs);
        } else if number == 1 {
            eprintln!("{} B, {name}: {} runs", self.size, self.options.runs);
        }
    }
}
