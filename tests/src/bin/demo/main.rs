//! carpool-demo: the experiments of [`carpool_tests`] for people to watch, and for scripts by their last line.
//!
//! `scripts/demo` builds everything and runs this. It needs root for namespaces and raw sockets, and takes everything
//! down again however it ends, unless asked to leave the lab up.

mod branch;
mod headers;
mod legs;
mod screen;
mod voice;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use carpool_tests::{Result, carpoold::Idle, leftovers};
use clap::{Parser, ValueEnum};

use crate::screen::Screen;

/// The name under which a lab stays up.
const KEPT: &str = "carpool-demo";

/// What there is to show.
pub struct Scenario {
    /// As it is named on the command line.
    pub name: &'static str,
    /// One line for `--list`.
    pub what: &'static str,
    /// Shows it; returns whether all is as it should be.
    pub show: fn(&Arguments, &mut Screen) -> Result<bool>,
}

const SCENARIOS: [Scenario; 6] =
    [voice::VOICE, voice::PLAIN, branch::BRANCH, headers::HEADERS, legs::MULTICAST, legs::OVERLAY];

/// Carpool routers pool real voice streams across ordinary routers, and every packet is checked.
///
/// Builds a network of namespaces on this machine, sends real RTP through it, shows what happens, compares every packet
/// that arrived with every packet sent, and takes everything down again. Exits with 0 when nothing was lost, altered or
/// reordered and the scenario showed what it is there for: at least 95% of the pooling that a model expects (voice),
/// packets taken out of pooled packets where they are due (branch).
#[derive(Debug, Parser)]
#[command(name = "carpool-demo", version)]
pub struct Arguments {
    /// What to show (see --list)
    #[arg(default_value = "voice")]
    scenario: String,
    /// End with one line of JSON on stdout; what people read goes to stderr
    #[arg(long)]
    json: bool,
    /// Leave the lab up at the end and say how to play with it
    #[arg(long)]
    keep: bool,
    /// Remove a lab that was left up by --keep, and do nothing else
    #[arg(long, conflicts_with_all = ["keep", "list"])]
    remove: bool,
    /// Write what came into the (first) ordinary router as a pcap file (nanosecond timestamps)
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Name the scenarios and do nothing else
    #[arg(long)]
    list: bool,
    /// What the routers' workers do when they find nothing
    #[arg(long, value_enum, default_value_t = IdlePolicy::Adaptive)]
    idle: IdlePolicy,
    /// How long each stream lasts, in seconds
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    duration: u64,
    /// The pooling window, in microseconds [default: 5000; 20000 for headers]
    #[arg(long, value_name = "US", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    window: Option<u64>,
    /// Streams go from clients to servers: B pools, A depools (voice, plain)
    #[arg(long, conflicts_with = "both")]
    reverse: bool,
    /// Streams go both ways at once (voice, plain)
    #[arg(long)]
    both: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum IdlePolicy {
    /// Block on descriptors after a while (the default of carpoold)
    Adaptive,
    /// Never block: least delay, a whole core each
    Spin,
}

impl Arguments {
    /// The pooling window, where none is given so many microseconds.
    fn window(&self, default: u64) -> Duration {
        Duration::from_micros(self.window.unwrap_or(default))
    }

    fn idle(&self) -> Idle {
        match self.idle {
            IdlePolicy::Adaptive => Idle::Adaptive,
            IdlePolicy::Spin => Idle::Spin,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for scenario in SCENARIOS {
            println!("{:<9} {}", scenario.name, scenario.what);
        }
        return ExitCode::SUCCESS;
    }
    let Some(scenario) = SCENARIOS.into_iter().find(|scenario| scenario.name == arguments.scenario) else {
        let names = SCENARIOS.map(|scenario| scenario.name).join(", ");
        eprintln!("carpool-demo: there is no scenario \"{}\"; there are: {names}", arguments.scenario);
        return ExitCode::from(2);
    };
    let outcome =
        if arguments.remove { remove() } else { (scenario.show)(&arguments, &mut Screen::new(arguments.json)) };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("carpool-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn remove() -> Result<bool> {
    let was_there = leftovers::remove_kept(KEPT)?;
    println!("{}", if was_there { "The lab is removed." } else { "No lab is up." });
    Ok(true)
}
