//! Finds the limits of a carpool router with a real generator and reports them.
//!
//! [`setup`] starts a router (or [`router`] is attached to), [`generator`] the generator; [`bench`] makes trials of both,
//! [`search`] chooses their loads; [`throughput`] and [`pools`] say which, [`report`] and [`pages`] what came of it.
//! `scripts/loadtest` builds and runs this.
#![deny(unsafe_code)]

mod bench;
mod error;
mod generator;
mod keep;
mod machine;
mod options;
mod pages;
mod patience;
mod pools;
mod progress;
mod report;
mod router;
mod search;
mod setup;
mod throughput;
mod trial;
mod waiting;
mod workplace;

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use carpool_benches::child;
use carpool_benches::interrupt::Interrupt;
use carpool_benches::turn::Turn;
use carpool_tests::control::{self, Control};
use clap::Parser;
use serde_json::Value;

use crate::bench::{Bench, Method};
use crate::error::{LoadError, Result};
use crate::generator::{Kind, Site};
use crate::machine::Machine;
use crate::options::{Options, window};
use crate::pools::Load;
use crate::progress::Progress;
use crate::report::{Report, Setting};
use crate::router::Router;
use crate::setup::{Plan, Setup};
use crate::waiting::Waiting;
use crate::workplace::Workplace;

/// As the shell reports a death by SIGINT.
const INTERRUPTED: u8 = 130;
/// As of arguments that are not understood.
const USAGE: u8 = 2;
/// The window that the router of the bench set-up begins with where pools are measured.
const FIRST_WINDOW_US: u64 = 1000;

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            match error {
                LoadError::Interrupted => ExitCode::from(INTERRUPTED),
                LoadError::Option { .. } => ExitCode::from(USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let interrupt = Interrupt::new()?;
    let method = options.method()?;
    let cores = Machine::look()?.cores(options.router_core, options.core)?;
    // Also where the table goes to nobody: whoever waits is to know for what.
    let _turn = if options.estimate { None } else { Some(Turn::take(&interrupt, say)?) };
    let machine = Machine::look()?;
    let progress = Progress::new(options.json.as_deref() == Some(Path::new("-")));
    let workplace = Workplace::new()?;
    let run = Run { options, interrupt, method, cores, progress, workplace };

    let mut report = Report {
        report: "carpool-loadtest",
        version: 1,
        machine,
        bench: Setting::default(),
        method: run.method.clone(),
        throughput: vec![],
        pools: vec![],
        jitter: None,
        complete: false,
        problems: vec![],
        trials: vec![],
    };
    if !run.estimate()? {
        return Ok(());
    }
    prepare(options)?;
    let done = run.measure(&mut report).map_err(|error| run.cause(error));
    run.progress.clear();
    // What was found is worth having also where not all was; and to be seen also where it cannot be saved.
    if done.is_ok() || !report.trials.is_empty() {
        let printed = print(options, &report);
        let saved = save(options, &report);
        return first_of([done, printed, saved]);
    }
    done
}

/// The first error is why there is no whole report; others are said, unless they are the same again.
fn first_of(results: [Result<()>; 3]) -> Result<()> {
    let mut errors = results.into_iter().filter_map(Result::err);
    let Some(first) = errors.next() else { return Ok(()) };
    let reason = first.to_string();
    errors.map(|other| other.to_string()).filter(|other| *other != reason).for_each(|other| say(&other));
    Err(first)
}

fn say(line: &str) {
    eprintln!("scripts/loadtest: {line}");
}

/// Prints the report. Who has seen enough of it may close the pipe.
fn print(options: &Options, report: &Report) -> Result<()> {
    let text = match options.json.as_deref() {
        Some(path) if path == Path::new("-") => json(report)? + "\n",
        _ => report.text(),
    };
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(source) if source.kind() != ErrorKind::BrokenPipe => {
            Err(LoadError::File { doing: "writing", path: "standard output".into(), source })
        }
        _ => Ok(()),
    }
}

/// Makes what the report is to be written to: whoever waits for it is not to lose it to a misspelt path.
fn prepare(options: &Options) -> Result<()> {
    if let Some(path) = options.json.as_deref().filter(|path| *path != Path::new("-")) {
        keep::prepare(path)?;
    }
    let Some(directory) = &options.report else { return Ok(()) };
    let failed = |source| LoadError::File { doing: "making", path: directory.clone(), source };
    fs::create_dir_all(directory).map_err(failed)
}

fn json(report: &Report) -> Result<String> {
    serde_json::to_string(report).map_err(|error| LoadError::System(error.to_string()))
}

/// Writes the report where it was asked for: after each part, also one that failed, so that a run that is killed leaves what it had.
fn save(options: &Options, report: &Report) -> Result<()> {
    if let Some(path) = options.json.as_deref().filter(|path| *path != Path::new("-")) {
        keep::replace(path, &(json(report)? + "\n"))?;
    }
    match &options.report {
        Some(directory) => pages::write(report, directory),
        None => Ok(()),
    }
}

/// What all parts of a run have in common.
struct Run<'a> {
    options: &'a Options,
    interrupt: Interrupt,
    method: Method,
    /// CPUs of the router and of the generator.
    cores: (usize, usize),
    progress: Progress,
    workplace: Workplace,
}

/// A router and a generator that are up.
struct Pair {
    bench: Bench,
    setup: Option<Setup>,
    setting: Setting,
}

impl Run<'_> {
    /// Says how long it will take. Whether it is to go on.
    fn estimate(&self) -> Result<bool> {
        let overhead = self.options.generator.overhead();
        let (mut trials, mut seconds) = (0, 0.0);
        if !self.options.pools_only {
            let each = throughput::expected(&self.method, self.options.generator.can(false), self.options.parts());
            let sizes = self.sizes().len() as u32;
            trials += sizes * each.0;
            seconds += f64::from(sizes) * each.1;
        }
        if let Some((windows, sizes, loads)) = self.options.pools() {
            let each = pools::expected(&self.method, windows.len(), loads.len());
            trials += sizes.len() as u32 * each.0;
            seconds += sizes.len() as f64 * each.1;
        }
        let minutes = (seconds + f64::from(trials) * overhead) / 60.0;
        self.progress.line(&format!("about {trials} trials, {} to {} minutes", minutes.ceil(), (1.5 * minutes).ceil()));
        self.progress.expect(u64::from(trials));
        Ok(!self.options.estimate)
    }

    /// The sizes that the generator can send.
    fn sizes(&self) -> Vec<trial::FrameSize> {
        let mix = self.options.generator.can(false).mix;
        self.options.sizes().into_iter().filter(|size| mix || *size != trial::FrameSize::Imix).collect()
    }

    /// An empty loop on the generator's CPU.
    fn jitter(&self) -> Result<Option<Value>> {
        if self.options.generator != Kind::CarpoolGen {
            return Ok(None);
        }
        let seconds = if self.options.quick { "1" } else { "5" };
        let mut command = child::command(control::program("carpool-gen")?);
        command.args(["jitter", "--no-turn", "--json", "--core", &self.cores.1.to_string(), "--seconds", seconds]);
        let output = command.output().map_err(|error| LoadError::System(format!("carpool-gen jitter: {error}")))?;
        self.interrupt.check()?;
        if !output.status.success() {
            let problem = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(LoadError::Generator { generator: "carpool-gen jitter", problem });
        }
        let answer = serde_json::from_slice(&output.stdout);
        answer.map(Some).map_err(|error| LoadError::System(format!("carpool-gen jitter: {error}")))
    }

    /// Measures all that was asked for. An error where it ends early, or where a part of it failed.
    fn measure(&self, report: &mut Report) -> Result<()> {
        report.jitter = self.jitter()?;
        if !self.options.pools_only {
            self.throughput(report)?;
        }
        if let Some((windows, sizes, loads)) = self.options.pools() {
            self.pools(report, &windows, &sizes, &loads)?;
        }
        report.complete = report.problems.is_empty();
        if report.complete { Ok(()) } else { Err(LoadError::Parts(report.problems.join("; "))) }
    }

    fn throughput(&self, report: &mut Report) -> Result<()> {
        let mut pair = None;
        for size in self.sizes() {
            self.part(report, &mut pair, None, &format!("frames of {size} B"), |bench, report| {
                throughput::measure(bench, size, self.options.parts(), &mut report.throughput)
            })?;
        }
        stop(pair, report);
        Ok(())
    }

    fn pools(&self, report: &mut Report, windows: &[u64], sizes: &[u16], loads: &[Load]) -> Result<()> {
        let mut pair = None;
        for &ip_bytes in sizes {
            let first = Some(window(FIRST_WINDOW_US));
            self.part(report, &mut pair, first, &format!("pools of {ip_bytes} B"), |bench, report| {
                pools::measure(bench, ip_bytes, windows, loads, &mut report.pools)
            })?;
        }
        stop(pair, report);
        Ok(())
    }

    /// Measures a part, with a router and a generator that are up, or are started for it. What goes wrong is noted, and the next part has
    /// others: nobody knows what has become of these. An error where nothing can be started, or somebody wants this to end.
    fn part(
        &self,
        report: &mut Report,
        pair: &mut Option<Pair>,
        window: Option<Duration>,
        what: &str,
        measure: impl FnOnce(&mut Bench, &mut Report) -> Result<()>,
    ) -> Result<()> {
        let mut running = match pair.take() {
            Some(running) => running,
            None => self.start(window)?,
        };
        report.bench = running.setting.clone();
        let done = measure(&mut running.bench, report).map_err(|error| self.cause(error));
        report.trials.append(&mut running.bench.records);
        match done {
            Ok(()) => {
                self.progress.line(&format!("{what}: done"));
                *pair = Some(running);
                save(self.options, report)
            }
            Err(LoadError::Interrupted) => Err(LoadError::Interrupted),
            Err(error) => {
                let problem = format!("{what}: {error}");
                self.progress.line(&problem);
                report.problems.push(problem);
                stop(Some(running), report);
                save(self.options, report)
            }
        }
    }

    /// Why something failed. SIGINT of a terminal also ends the programs that are asked meanwhile: that they fail is then not the cause.
    fn cause(&self, error: LoadError) -> LoadError {
        self.interrupt.check().err().map_or(error, LoadError::from)
    }

    /// Starts a router, unless one runs already, and the generator.
    fn start(&self, window: Option<Duration>) -> Result<Pair> {
        let options = self.options;
        let (setup, router, devices, namespace, ports) = match &options.attach {
            Some(socket) => {
                let control = Control { client: control::program("carpool")?, socket: socket.clone() };
                let router = Router::new(control, options.router_ports()?)?;
                (None, router, options.devices()?, None, "as the router that was attached to has them".to_owned())
            }
            None => {
                let one_way = options.generator.is_one_way();
                let plan =
                    Plan { ports: options.ports, core: self.cores.0, hugepages: options.hugepages, window, one_way };
                let setup = Setup::start(&plan, &self.workplace, &self.interrupt)?;
                let (devices, namespace) = (setup.devices.clone(), setup.namespace.clone());
                let router = setup.router.clone();
                (Some(setup), router, devices, namespace, options.ports.to_string())
            }
        };
        let site = Site {
            devices: devices.clone(),
            router_mac: router.port(&router.west)?.mac,
            core: self.cores.1,
            hugepages: options.hugepages,
            directory: self.workplace.path().to_owned(),
            namespace,
            program: options.pktgen.clone().filter(|_| options.generator == Kind::Pktgen),
            depool: window.is_some(),
            interrupt: self.interrupt.clone(),
        };
        let generator = options.generator.start(&site)?;
        let known = router.ports()?;
        let status = router.status()?;
        let router_pid = status.get("pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok());
        let processes = router_pid.into_iter().chain([generator.pid()]).collect();
        let setting = Setting {
            generator: generator.name(),
            generator_core: self.cores.1,
            generator_devices: devices.into(),
            ports,
            router: status,
            router_ports: known.iter().map(|port| format!("{} {} ({})", port.name, port.device, port.driver)).collect(),
            router_log: setup.as_ref().map(Setup::said).unwrap_or_default(),
            own_router: setup.is_some(),
        };
        let bench = Bench {
            generator,
            router,
            waiting: Waiting::of(processes),
            method: self.method.clone(),
            progress: self.progress.clone(),
            interrupt: self.interrupt.clone(),
            records: vec![],
        };
        Ok(Pair { bench, setup, setting })
    }
}

/// Ends the generator, then the router; where that does not end in order, the report says so.
fn stop(pair: Option<Pair>, report: &mut Report) {
    let Some(Pair { bench, setup, .. }) = pair else { return };
    drop(bench);
    if let Some(Err(error)) = setup.map(Setup::stop) {
        report.problems.push(error.to_string());
    }
}
