//! Millions of packets per second on one core: carpool beside DPDK's testpmd, on the same ports, in the same run.
//!
//! Or forwarding tables side by side: [`fib`].
//!
//! [`case`] says what is measured, [`traffic`] and [`peer`] make the packets, [`router`] and [`testpmd`] run the contenders, one
//! after the other in turn, and [`figure`] prints what they did. `scripts/bench` builds and runs this.
#![deny(unsafe_code)]

mod carriage;
mod case;
mod child;
mod cpu;
mod error;
mod fib;
mod figure;
mod instructions;
mod interrupt;
mod memory;
mod network;
mod peer;
mod router;
mod testpmd;
mod traffic;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use carpool_dataplane::dpdk::Memory;
use clap::{Args, Parser, Subcommand};

use crate::case::Case;
use crate::cpu::Cpus;
use crate::error::BenchError;
use crate::fib::FibOptions;
use crate::figure::Figure;
use crate::interrupt::Interrupt;
use crate::memory::PacketMemory;
use crate::router::Rates;
use crate::testpmd::Mode;

/// Millions of packets per second on one core: carpool beside dpdk-testpmd, on the same virtual ports.
#[derive(Parser)]
#[command(
    name = "scripts/bench",
    bin_name = "scripts/bench",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
struct Options {
    #[command(subcommand)]
    part: Option<Part>,
    /// Measure this case only; can be given several times
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<Case>,
    /// Seconds that packets are counted in each run
    #[arg(long, default_value_t = 1.0, value_name = "S", value_parser = seconds)]
    seconds: f64,
    /// Runs of each contender, taking turns
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// CPU that packets are forwarded on [default: the last one]
    #[arg(long, value_name = "CPU")]
    core: Option<usize>,
    /// Keep packets in ordinary pages even where hugepages can be had
    #[arg(long)]
    no_huge: bool,
    /// Count carpool's instructions per packet with callgrind instead of measuring time
    #[arg(long)]
    instructions: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// List the cases
    #[arg(long)]
    list: bool,
}

/// Measurements of something else; and what the benchmark runs itself for, as DPDK starts once per process.
#[derive(Subcommand)]
enum Part {
    /// Millions of look-ups a second: carpool's forwarding tables beside DPDK's and others', with a full Internet table.
    ///
    /// Bursts of 32 destinations, as a worker looks them up; contenders take turns on one CPU; every answer is compared
    /// before time counts. carpool's tables enter a section of their reclamation scheme for every burst.
    Fib(FibOptions),
    /// Measures carpool once
    #[command(hide = true)]
    Measure {
        #[command(flatten)]
        place: PlaceArgs,
        #[arg(long)]
        seconds: f64,
        #[arg(long)]
        hugepages: bool,
    },
    /// Runs carpool for a number of iterations
    #[command(hide = true)]
    Step {
        #[command(flatten)]
        place: PlaceArgs,
        #[arg(long)]
        iterations: u64,
    },
}

#[derive(Args)]
struct PlaceArgs {
    #[arg(long)]
    case: Case,
    #[arg(long)]
    core: usize,
    #[arg(long)]
    capture: PathBuf,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds from 0.1 to 3600".into()),
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.part {
        None => campaign(&options),
        Some(Part::Fib(options)) => fib::run(options),
        Some(Part::Measure { place, seconds, hugepages }) => measure(place, *seconds, *hugepages),
        Some(Part::Step { place, iterations }) => step(place, *iterations),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scripts/bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(place: &PlaceArgs, seconds: f64, hugepages: bool) -> Result<(), BenchError> {
    let memory = if hugepages { Memory::Hugepages } else { Memory::NoHuge };
    let place_of = router::Place { core: place.core, memory, capture: &place.capture };
    let rates = router::measure(&place.case, &place_of, Duration::from_secs_f64(seconds))?;
    println!("{}", serde_json::to_string(&rates).map_err(|error| BenchError::System(error.to_string()))?);
    Ok(())
}

fn step(place: &PlaceArgs, iterations: u64) -> Result<(), BenchError> {
    let place_of = router::Place { core: place.core, memory: Memory::NoHuge, capture: &place.capture };
    println!("{}", router::step(&place.case, &place_of, iterations)?);
    Ok(())
}

/// Measures the cases asked for and prints the figures.
fn campaign(options: &Options) -> Result<(), BenchError> {
    if options.list {
        for case in Case::ALL {
            println!("{:<24}  {}", case.name, case.counts());
        }
        return Ok(());
    }
    let campaign = Campaign::new(options)?;
    let all: Vec<Case> = Case::ALL.iter().filter(|case| options.instructions || case.workers() == 1).copied().collect();
    let cases = if options.cases.is_empty() { &all } else { &options.cases };
    if let Some(case) = cases.iter().find(|case| !options.instructions && case.workers() > 1) {
        let problem = "its workers share one core, so it says nothing about time: give --instructions as well";
        return Err(BenchError::System(format!("{}: {problem}", case.name)));
    }
    let mut figures = Vec::new();
    for case in cases {
        let found = if options.instructions { campaign.instructions(case)? } else { campaign.rates(case)? };
        if options.json {
            for figure in &found {
                println!("{}", serde_json::to_string(figure).map_err(|error| BenchError::System(error.to_string()))?);
            }
        }
        figures.extend(found);
    }
    if !options.json {
        print!("{}", figure::table(&figures));
    }
    Ok(())
}

/// What all runs have in common.
struct Campaign {
    core: usize,
    main_core: usize,
    runs: u16,
    duration: Duration,
    memory: PacketMemory,
    directory: Directory,
    interrupt: Interrupt,
    progress: Progress,
}

impl Campaign {
    fn new(options: &Options) -> Result<Campaign, BenchError> {
        let Cpus { core, main_core } = Cpus::choose(options.core)?;
        let interrupt = Interrupt::new()?;
        let memory = PacketMemory::choose(router::MEMORY_MB, options.no_huge || options.instructions);
        let duration = Duration::from_secs_f64(options.seconds);
        let progress = Progress { terminal: std::io::stderr().is_terminal() };
        if options.instructions {
            progress.say("instructions counted by callgrind, ports included");
        } else {
            progress.say(&format!(
                "CPU {core}, {memory}, {} runs of {} s each, contenders taking turns",
                options.runs, options.seconds
            ));
        }
        let directory = Directory::new()?;
        Ok(Campaign { core, main_core, runs: options.runs, duration, memory, directory, interrupt, progress })
    }

    /// Every contender's packets per second.
    fn rates(&self, case: &Case) -> Result<Vec<Figure>, BenchError> {
        let capture = self.capture(case)?;
        let place = testpmd::Place {
            core: self.core,
            main_core: self.main_core,
            hugepages: self.memory.hugepages(),
            capture: &capture,
            directory: &self.directory.path,
        };
        let (mut carpool, mut mac, mut io) = (Vec::new(), Vec::new(), Vec::new());
        for run in 1..=self.runs {
            self.progress.step(case, run, self.runs);
            carpool.push(self.carpool(case, &capture)?);
            let hz = carpool.last().map_or(0.0, |rates| rates.hz);
            for (mode, runs) in [(Mode::Mac, &mut mac), (Mode::Io, &mut io)] {
                let rate = testpmd::measure(case, mode, &place, self.duration);
                self.interrupt.check()?;
                let rate = rate?;
                runs.push(Rates { packets_in: rate, packets_out: rate, hz });
            }
        }
        self.progress.clear();
        Ok(vec![
            Figure::of_rates(case, "carpool", &carpool),
            Figure::of_rates(case, Mode::Mac.contender(), &mac),
            Figure::of_rates(case, Mode::Io.contender(), &io),
        ])
    }

    /// One measurement of carpool, in a process of its own.
    fn carpool(&self, case: &Case, capture: &Path) -> Result<Rates, BenchError> {
        const PROGRAM: &str = "carpool";
        let failed = |problem: String| BenchError::Run { program: PROGRAM, problem };
        let own = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let mut command = Command::new(own);
        command.args(["measure", "--case", case.name, "--core", &self.core.to_string()]);
        command.args(["--seconds", &self.duration.as_secs_f64().to_string()]).arg("--capture").arg(capture);
        if self.memory.hugepages() {
            command.arg("--hugepages");
        }
        // What DPDK says while it starts is of interest only where it fails.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = child::spawn(&mut command, PROGRAM, PROGRAM)?;
        let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
        self.interrupt.check()?;
        if !output.status.success() {
            return Err(failed(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
    }

    fn instructions(&self, case: &Case) -> Result<Vec<Figure>, BenchError> {
        self.progress.step(case, 1, 1);
        let capture = self.capture(case)?;
        let counted = instructions::count(case, self.core, &capture, &self.directory.path);
        self.progress.clear();
        self.interrupt.check()?;
        Ok(vec![Figure::of_instructions(case, counted?)])
    }

    fn capture(&self, case: &Case) -> Result<PathBuf, BenchError> {
        let path = self.directory.path.join(format!("{}.pcap", case.name));
        traffic::write_capture(case, &path)?;
        Ok(path)
    }
}

/// A directory for capture files and logs, gone with its owner.
struct Directory {
    path: PathBuf,
}

impl Directory {
    fn new() -> Result<Directory, BenchError> {
        let path = std::env::temp_dir().join(format!("carpool-bench-{}", std::process::id()));
        std::fs::create_dir(&path)
            .map_err(|error| BenchError::System(format!("{} cannot be made: {error}", path.display())))?;
        Ok(Directory { path })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is a few megabytes in the directory for such things.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Says on standard error what is going on.
struct Progress {
    terminal: bool,
}

impl Progress {
    fn say(&self, line: &str) {
        eprintln!("{line}");
    }

    fn step(&self, case: &Case, run: u16, runs: u16) {
        if self.terminal {
            eprint!("\r{}: run {run} of {runs} ", case.name);
            // It is shown later, then.
            let _ = std::io::stderr().flush();
        } else if run == 1 {
            eprintln!("{}: {runs} runs", case.name);
        }
    }

    fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}
