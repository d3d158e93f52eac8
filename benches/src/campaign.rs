//! The measurements of a run: each case with its contenders in turn, each in a process of its own.

use std::cell::RefCell;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use carpool_dataplane::arch::TickRate;
use clap::Args;

use crate::budget;
use crate::case::Case;
use crate::contender::Contender;
use crate::cpu::Cpus;
use crate::error::BenchError;
use crate::figure::{self, Figure, Runs};
use crate::growth::{self, Dimension, Point};
use crate::interrupt::Interrupt;
use crate::memory::PacketMemory;
use crate::ports::{Input, PortKind, Ports};
use crate::router::{self, Rates};
use crate::turn::Turn;
use crate::{child, instructions, l3fwd, ports, routes, testpmd, traffic};

/// How a run goes.
#[derive(Args)]
pub struct RunOptions {
    /// Seconds that packets are counted in each run
    #[arg(long, default_value_t = 1.0, value_name = "S", value_parser = seconds)]
    pub seconds: f64,
    /// Runs of each contender, taking turns
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub runs: u16,
    /// CPU that packets are forwarded on [default: the last one]
    #[arg(long, value_name = "CPU")]
    pub core: Option<usize>,
    /// Keep packets in ordinary pages even where hugepages can be had
    #[arg(long)]
    pub no_huge: bool,
    /// The ports [default: lean where it can be built, which takes Debian's source package of dpdk]
    #[arg(long, value_name = "KIND")]
    pub ports: Option<PortKind>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

pub fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds from 0.1 to 3600".into()),
    }
}

/// What all runs have in common.
pub struct Campaign {
    cpus: Cpus,
    runs: u16,
    duration: Duration,
    json: bool,
    memory: PacketMemory,
    directory: Directory,
    interrupt: Interrupt,
    _turn: Turn,
    progress: Progress,
    ports: Ports,
    hz: f64,
    /// Why runs were refused to the end.
    refused: RefCell<Vec<String>>,
}

/// How often a run is tried.
const ATTEMPTS: u32 = 3;

impl Campaign {
    /// Prepares to measure rates, or instructions.
    pub fn new(options: &RunOptions, instructions: bool) -> Result<Campaign, BenchError> {
        let cpus = Cpus::choose(options.core)?;
        let interrupt = Interrupt::new()?;
        let progress = Progress { terminal: std::io::stderr().is_terminal() };
        let turn = Turn::take(&interrupt, |line| progress.say(line))?;
        // net_pcap is a shared object of DPDK's own: what is counted with it is the same on every machine.
        let wanted = options.ports.or(instructions.then_some(PortKind::Pcap));
        let ports = Ports::choose(wanted, |line| progress.say(line));
        interrupt.check()?;
        let ports = ports?;
        let megabytes = match ports {
            Ports::Pcap => router::MEMORY_MB,
            Ports::Lean { .. } => l3fwd::MEMORY_MB,
        };
        let memory = PacketMemory::choose(megabytes, options.no_huge || instructions);
        if instructions {
            progress.say(&format!("instructions counted by callgrind, ports ({}) included", ports.names()));
        } else {
            progress.say(&format!(
                "CPU {}, {}, {memory}, {} runs of {} s each, contenders taking turns",
                cpus.core,
                ports.names(),
                options.runs,
                options.seconds
            ));
        }
        Ok(Campaign {
            cpus,
            runs: options.runs,
            duration: Duration::from_secs_f64(options.seconds),
            json: options.json,
            memory,
            directory: Directory::new()?,
            interrupt,
            _turn: turn,
            progress,
            ports,
            hz: TickRate::measure().hz() as f64,
            refused: RefCell::default(),
        })
    }

    /// Whether net_lean writes destinations into frames.
    pub fn is_lean(&self) -> bool {
        matches!(self.ports, Ports::Lean { .. })
    }

    /// Those of the contenders asked for that a case can be measured with; all, where none was asked for.
    pub fn contenders(&self, case: &Case, wanted: &[Contender]) -> Vec<Contender> {
        let cpus = if self.cpus.main_core == self.cpus.core { 1 } else { 2 };
        let mut contenders = Contender::of(case, self.is_lean(), cpus);
        contenders.retain(|contender| wanted.is_empty() || wanted.contains(contender));
        contenders
    }

    /// Measures packets a second of each contender and prints the figures.
    pub fn rates(&self, case: &Case, contenders: &[Contender]) -> Result<Vec<Figure>, BenchError> {
        let mut measured: Vec<Runs> =
            contenders.iter().map(|contender| Runs { contender: *contender, rates: Vec::new() }).collect();
        let own = self.input(case)?;
        let reference = match case.reference() {
            Some(reference) if contenders.contains(&Contender::Reference) => Some((reference, self.input(&reference)?)),
            _ => None,
        };
        for run in 1..=self.runs {
            let mut refused = Vec::new();
            for runs in &mut measured {
                let rates = self.tried(case, run, || match (runs.contender, &reference) {
                    (Contender::Reference, Some((reference, input))) => {
                        self.measure(reference, Contender::Carpool, input)
                    }
                    (contender, _) => self.measure(case, contender, &own),
                })?;
                match rates {
                    Some(rates) => runs.rates.push(rates),
                    None => refused.push(runs.contender),
                }
            }
            // A turn that one of them has not taken would be compared with others' next one.
            measured.retain(|runs| !refused.contains(&runs.contender));
        }
        let figures = figure::of_case(case, self.ports.names(), &measured);
        self.print(&figures)?;
        Ok(figures)
    }

    /// Measures packets a second of carpool as something grows, all numbers in turn, and prints them.
    pub fn growth(&self, dimension: Dimension) -> Result<Vec<Point>, BenchError> {
        let mut measured: Vec<(Case, Vec<Rates>)> =
            dimension.cases().into_iter().map(|case| (case, Vec::new())).collect();
        let inputs = measured.iter().map(|(case, _)| self.input(case)).collect::<Result<Vec<_>, _>>()?;
        for run in 1..=self.runs {
            for ((case, rates), input) in measured.iter_mut().zip(&inputs) {
                if rates.len() + 1 == usize::from(run) {
                    rates.extend(self.tried(case, run, || self.measure(case, Contender::Carpool, input))?);
                }
            }
        }
        measured.retain(|(_, rates)| rates.len() == usize::from(self.runs));
        let points = growth::points(&measured);
        if self.json {
            for point in &points {
                println!("{}", serde_json::to_string(point).map_err(|error| BenchError::System(error.to_string()))?);
            }
        } else {
            print!("{}", growth::rows(&points));
        }
        Ok(points)
    }

    /// Measures what carpool's stages take in a case, beside what it takes when nobody looks, in turn.
    pub fn budget(&self, case: &Case) -> Result<Vec<budget::Turn>, BenchError> {
        let input = self.input(case)?;
        let mut turns = Vec::new();
        for run in 1..=self.runs {
            let cores = [self.cpus.core];
            let of = |by_stage| self.tried(case, run, || self.carpool(case, &cores, &input, by_stage));
            let (Some(unmeasured), Some(measured)) = (of(false)?, of(true)?) else { return Ok(Vec::new()) };
            let stages = measured.stages.ok_or_else(|| BenchError::System("no stages were measured".into()))?;
            turns.push(budget::Turn { unmeasured: unmeasured.rates, measured: measured.rates, stages });
        }
        Ok(turns)
    }

    /// What a run found; none where it was refused to the end. That ends the benchmark only when all else is measured. An error where
    /// somebody wants this to end.
    fn tried<T>(
        &self,
        case: &Case,
        run: u16,
        measure: impl Fn() -> Result<T, BenchError>,
    ) -> Result<Option<T>, BenchError> {
        let once = || {
            self.progress.step(case, run, self.runs);
            let found = measure();
            self.progress.clear();
            self.interrupt.check()?;
            found
        };
        match persist(once, |problem| self.progress.say(problem)) {
            Ok(found) => Ok(Some(found)),
            Err(BenchError::Interrupted) => Err(BenchError::Interrupted),
            Err(error) => {
                self.progress.say(&error.to_string());
                self.refused.borrow_mut().push(error.to_string());
                Ok(None)
            }
        }
    }

    /// An error where runs were refused: what was printed has not all that was asked for.
    pub fn finish(&self) -> Result<(), BenchError> {
        let refused = self.refused.borrow();
        if refused.is_empty() { Ok(()) } else { Err(BenchError::Refused(refused.join("; "))) }
    }

    /// Counts carpool's instructions per packet and prints them.
    pub fn instructions(&self, case: &Case) -> Result<f64, BenchError> {
        self.progress.step(case, 1, 1);
        let input = self.input(case)?;
        let counted = instructions::count(case, &self.arguments(case, &[self.cpus.core], &input), &self.directory.path);
        self.progress.clear();
        self.interrupt.check()?;
        let counted = counted?;
        self.print(&[figure::of_instructions(case, counted)])?;
        Ok(counted)
    }

    /// What stands above the rows of rates.
    pub fn print_heading(&self) {
        if !self.json {
            println!("{}", figure::heading());
        }
    }

    fn print(&self, figures: &[Figure]) -> Result<(), BenchError> {
        if !self.json {
            print!("{}", figure::rows(figures));
            return Ok(());
        }
        for figure in figures {
            println!("{}", serde_json::to_string(figure).map_err(|error| BenchError::System(error.to_string()))?);
        }
        Ok(())
    }

    /// One measurement.
    fn measure(&self, case: &Case, contender: Contender, input: &Files) -> Result<Rates, BenchError> {
        let place = testpmd::Place {
            core: self.cpus.core,
            main_core: self.cpus.main_core,
            hugepages: self.memory.hugepages(),
            devices: self.devices(input),
            driver: self.ports.driver(),
            directory: &self.directory.path,
            duration: self.duration,
            hz: self.hz,
        };
        for file in ports::counters(&self.directory.path) {
            // There may be none; what it says is not to be taken for what the next contender counts.
            let _ = fs::remove_file(file);
        }
        match (contender, &self.ports) {
            (Contender::Testpmd(mode), _) => testpmd::measure(case, mode, &place),
            (Contender::L3fwd(lookup), Ports::Lean { l3fwd, .. }) => l3fwd::measure(case, lookup, l3fwd, &place),
            (Contender::TwoWorkers, _) => {
                Ok(self.carpool(case, &[self.cpus.core, self.cpus.main_core], input, false)?.rates)
            }
            _ => Ok(self.carpool(case, &[self.cpus.core], input, false)?.rates),
        }
    }

    /// One measurement of carpool, in a process of its own.
    fn carpool(
        &self,
        case: &Case,
        cores: &[usize],
        input: &Files,
        by_stage: bool,
    ) -> Result<router::Measured, BenchError> {
        const PROGRAM: &str = "carpool";
        let failed = |problem: String| BenchError::Run { program: PROGRAM, problem };
        let own = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let mut command = child::command(own);
        command.arg("measure").args(self.arguments(case, cores, input));
        command.args(["--seconds", &self.duration.as_secs_f64().to_string()]);
        if self.memory.hugepages() {
            command.arg("--hugepages");
        }
        if by_stage {
            command.arg("--stages");
        }
        let output = child::output(&mut command, PROGRAM, PROGRAM)?;
        serde_json::from_str(&output).map_err(|error| failed(error.to_string()))
    }

    /// What the benchmark says to itself about a case, in another process.
    fn arguments(&self, case: &Case, cores: &[usize], input: &Files) -> Vec<String> {
        let mut arguments: Vec<String> = vec!["--case".into(), case.name.into()];
        arguments.extend(case.growth.into_iter().flat_map(|growth| ["--growth".into(), growth.to_string()]));
        arguments.extend(cores.iter().flat_map(|core| ["--core".into(), core.to_string()]));
        arguments.extend(self.devices(input).into_iter().flat_map(|device| ["--device".into(), device]));
        arguments
            .extend(self.ports.driver().into_iter().flat_map(|file| ["--driver".into(), file.display().to_string()]));
        arguments
    }

    fn devices(&self, input: &Files) -> [String; 2] {
        let input = Input { capture: &input.capture, destinations: input.destinations.as_deref() };
        self.ports.devices(&input, &self.directory.path)
    }

    /// Writes what comes in.
    fn input(&self, case: &Case) -> Result<Files, BenchError> {
        // DPDK's arguments have no other place for an equals sign than behind a name.
        let growth = case.growth.map_or(String::new(), |growth| format!("-{growth}").replace('=', "-"));
        let path = |ending| self.directory.path.join(format!("{}{growth}.{ending}", case.name));
        let capture = path("pcap");
        traffic::write_capture(case, &capture)?;
        let Some(listed) = routes::destinations(case)? else { return Ok(Files { capture, destinations: None }) };
        let destinations = path("destinations");
        fs::write(&destinations, listed)
            .map_err(|error| BenchError::System(format!("{} cannot be written: {error}", destinations.display())))?;
        Ok(Files { capture, destinations: Some(destinations) })
    }
}

/// Tries a run that is refused again, as the machine may have looked away.
fn persist<T>(mut once: impl FnMut() -> Result<T, BenchError>, say: impl Fn(&str)) -> Result<T, BenchError> {
    for _ in 1..ATTEMPTS {
        match once() {
            Err(error @ (BenchError::WrongWork { .. } | BenchError::Run { .. })) => say(&format!("{error}; once more")),
            found => return found,
        }
    }
    once()
}

/// The files of what comes in.
struct Files {
    capture: PathBuf,
    destinations: Option<PathBuf>,
}

/// A directory for capture files and logs, gone with its owner.
struct Directory {
    path: PathBuf,
}

impl Directory {
    fn new() -> Result<Directory, BenchError> {
        let path = std::env::temp_dir().join(format!("carpool-bench-{}", std::process::id()));
        fs::create_dir(&path)
            .map_err(|error| BenchError::System(format!("{} cannot be made: {error}", path.display())))?;
        Ok(Directory { path })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is a few megabytes in the directory for such things.
        let _ = fs::remove_dir_all(&self.path);
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
        }
    }

    fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> BenchError {
        BenchError::WrongWork {
            case: "pool_60",
            contender: "carpool",
            problem: "it dropped 1 packets (tx_full)".into(),
        }
    }

    #[test]
    fn a_run_that_is_refused_is_tried_again_but_not_for_ever() {
        let tries = |good: u32, error: fn() -> BenchError| {
            let mut made = 0;
            let once = || {
                made += 1;
                if made == good { Ok(made) } else { Err(error()) }
            };
            let found = persist(once, |line| assert!(line.ends_with("; once more"), "{line}"));
            (found.ok(), made)
        };
        assert_eq!(tries(1, refused), (Some(1), 1));
        assert_eq!(tries(3, refused), (Some(3), 3));
        assert_eq!(tries(4, refused), (None, 3));
        // Nothing changes where a program is missing, or where somebody wants this to end.
        assert_eq!(tries(2, || BenchError::Missing { program: "a", package: "b" }), (None, 1));
        assert_eq!(tries(2, || BenchError::Interrupted), (None, 1));
    }
}
