//! What carpoold costs while nothing comes, and how soon it is there when something does: two routers that block when idle, in
//! the lab's network of namespaces, with hellos going.

use std::io::Write;
use std::time::Duration;

use carpool_tests::carpoold;
use carpool_tests::idle::{WakeUps, shares};
use carpool_tests::lab::{Alone, Lab};
use carpool_tests::network::{Middle, Network};
use clap::Args;

use crate::error::BenchError;
use crate::fib::figure::Figure;
use crate::fib::target::Target;
use crate::interrupt::Interrupt;
use crate::turn::Turn;

/// How long is measured.
#[derive(Args)]
pub struct IdleOptions {
    /// Seconds without traffic in each run
    #[arg(long, default_value_t = 2.0, value_name = "S", value_parser = crate::campaign::seconds)]
    seconds: f64,
    /// Packets in each run, 10 ms apart
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u16).range(10..))]
    packets: u16,
    /// Runs
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

const BENCH: &str = "idle";
/// Per cent of a core that an idle router may take, and microseconds in which a packet finds it awake, in the median.
const SHARE: Target = Target::AtMost(3.0);
const WAKE_UP: Target = Target::AtMost(100.0);

fn failed(error: impl std::fmt::Display) -> BenchError {
    BenchError::System(error.to_string())
}

/// Measures and prints the figures.
pub fn run(options: &IdleOptions) -> Result<(), BenchError> {
    // Nothing has been made yet: a signal that comes while this waits may end it as it does any program.
    let _turn = Turn::take(&Interrupt::default(), |line| eprintln!("{line}"))?;
    let _alone = Alone::wait().map_err(failed)?;
    let window = Duration::from_millis(5);
    let middle = Middle::Carpool { window, idle: carpoold::Idle::Adaptive, both_cores: false, further: &[] };
    let mut network = Network::build(Lab::new().map_err(failed)?, middle).map_err(failed)?;
    eprintln!(
        "two routers, {} runs of {} s without traffic and {} packets 10 ms apart",
        options.runs, options.seconds, options.packets
    );
    let (mut share, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    let mut wake_ups = WakeUps::new(&network.lab).map_err(failed)?;
    for _ in 0..options.runs {
        let time = Duration::from_secs_f64(options.seconds);
        let pair = network.pair().map_err(failed)?;
        share.extend(shares(pair, time).map_err(failed)?.map(|share| 100.0 * share));
        let delay = wake_ups.round(options.packets.into()).map_err(failed)?;
        p50.push(delay.p50);
        p99.push(delay.p99);
    }
    drop(wake_ups);
    network.close().map_err(failed)?;
    let figures = [
        Figure::new(BENCH, "share", "carpool", "% of a core", &share).with_target(Some(SHARE)),
        Figure::new(BENCH, "wake-up-p50", "carpool", "us", &p50).with_target(Some(WAKE_UP)),
        Figure::new(BENCH, "wake-up-p99", "carpool", "us", &p99),
    ];
    let text = if options.json {
        let lines: Result<Vec<String>, _> = figures.iter().map(serde_json::to_string).collect();
        lines.map_err(failed)?.join("\n") + "\n"
    } else {
        crate::fib::report::text(&figures)
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(failed)
}
