//! carpoold: brings the dataplane up, runs the control thread's loop, and takes everything down again.
//!
//! The loop blocks on two descriptors: the bell that workers and clients ring, and a pipe that signals write to; else
//! until the router's next deadline.

mod dataplane;
mod options;
mod sizing;

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use carpool_dataplane::worker::Bell;
use clap::Parser;
use crossbeam::channel::Receiver;
use log::{LevelFilter, error, info};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::api::{Call, Limits, Server};
use crate::config::{self, Config};
use crate::router::Router;
use dataplane::Dataplane;
use options::Options;

/// The router cannot start: the machine, a device or the socket.
const EXIT_START: u8 = 1;
/// The router cannot start: its configuration.
const EXIT_CONFIG: u8 = 2;
/// The router ran and stopped, and packets or their memory are not accounted for.
const EXIT_LOST: u8 = 3;

/// Why the router cannot start, in one sentence.
type StartError = Box<dyn std::error::Error>;

/// Runs carpoold with the arguments of the process.
pub fn main() -> ExitCode {
    let options = Options::parse();
    start_log(options.verbose);
    let config = match read_config(&options.config) {
        Ok(config) => config,
        Err(error) => {
            // Not through the log: every line of it begins with a place in the file, for editors to jump to.
            let _ = writeln!(std::io::stderr(), "{error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if options.check {
        let summary = format!(
            "{}: sound: {} ports, {} routes, {} peers, {} paths, {} rules",
            options.config.display(),
            config.ports.len(),
            config.routes.len(),
            config.peers.len(),
            config.paths.len(),
            config.rules.len()
        );
        let _ = writeln!(std::io::stdout(), "{summary}");
        return ExitCode::SUCCESS;
    }
    match run(&options, config) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_LOST),
        Err(error) => {
            error!("{error}");
            ExitCode::from(EXIT_START)
        }
    }
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level).format_target(false).format_timestamp_millis();
    // The environment has the last word.
    builder.parse_default_env().init();
}

fn read_config(path: &Path) -> Result<Config, StartError> {
    let name = path.to_string_lossy();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: cannot be read: {error}"))?;
    Ok(config::parse(&text, &name)?)
}

/// Runs the router until a signal ends it; returns whether every packet was accounted for and its memory back.
fn run(options: &Options, config: Config) -> Result<bool, StartError> {
    let signals = Signals::register()?;
    let bell = Bell::new()?;
    let socket = std::path::absolute(options.socket().unwrap_or_else(|| config.socket.clone()))?;
    // Asked before DPDK starts: with its memory the other router would be disturbed, and the reason hard to find.
    if UnixStream::connect(&socket).is_ok() {
        return Err(format!("control socket {}: another router answers there", socket.display()).into());
    }
    let (mut dataplane, mut router) = Dataplane::start(config, &options.config, &socket, &bell)?;
    // The last thing that can fail: whoever gets an answer knows that the router runs.
    let listening = make_directory(&socket).and_then(|()| {
        let server = Server::listen(&socket, Limits::default(), Arc::clone(&bell) as _)?;
        Ok(server)
    });
    let result = listening.map(|(server, calls)| {
        info!("control socket {}", server.path().display());
        serve(&mut router, &bell, &signals, &calls);
    });
    let all_back = dataplane.stop(router);
    result.map(|()| all_back)
}

/// Makes the directory of the default socket, which is gone after each boot.
fn make_directory(socket: &Path) -> Result<(), StartError> {
    let Some(directory) = socket.parent().filter(|directory| !directory.exists()) else { return Ok(()) };
    let made = std::fs::create_dir_all(directory);
    Ok(made.map_err(|error| format!("control socket {}: cannot make its directory: {error}", socket.display()))?)
}

/// The loop of the control thread, until a signal ends it.
fn serve(router: &mut Router, bell: &Bell, signals: &Signals, calls: &Receiver<Call>) {
    loop {
        // First: what comes while the rings are looked at rings again.
        bell.silence();
        // One at a time: clients that ask without a pause must not keep signals, hellos and neighbours waiting.
        if let Ok(call) = calls.try_recv() {
            router.serve(call, Instant::now());
        }
        if signals.take_reload() {
            match router.reload(Instant::now()) {
                Ok(()) => info!("the new configuration is in force"),
                Err(error) => error!("the old configuration stays: {error}"),
            }
        }
        if signals.stop_requested() {
            info!("stopping");
            return;
        }
        // Workers are heard after what can take long, and before time is judged: a peer whose hellos are still in a ring
        // is not silent.
        let now = Instant::now();
        router.hear_workers(now);
        router.tick(now);
        let timeout = router.deadline(now).map(|deadline| deadline.saturating_duration_since(now));
        // Rounded up, so that the deadline has come when it ends.
        let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
            i32::try_from(timeout.as_micros().div_ceil(1000))
                .ok()
                .and_then(|ms| PollTimeout::try_from(ms).ok())
                .unwrap_or(PollTimeout::MAX)
        });
        let timeout = if calls.is_empty() { timeout } else { PollTimeout::ZERO };
        let mut descriptors =
            [PollFd::new(bell.as_fd(), PollFlags::POLLIN), PollFd::new(signals.pipe.as_fd(), PollFlags::POLLIN)];
        // An interrupted or failed poll is a loop more.
        let _ = poll(&mut descriptors, timeout);
    }
}

/// The signals that mean something: SIGTERM and SIGINT stop, SIGHUP reads the configuration again.
struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    /// Readable after a signal.
    pipe: UnixStream,
}

impl Signals {
    fn register() -> std::io::Result<Signals> {
        let (pipe, writer) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        let signals = Signals { stop: Arc::default(), reload: Arc::default(), pipe };
        for (signal, flag) in [(SIGTERM, &signals.stop), (SIGINT, &signals.stop), (SIGHUP, &signals.reload)] {
            // Actions run in the order they were registered: the flag is set before the pipe wakes anybody.
            signal_hook::flag::register(signal, Arc::clone(flag))?;
            signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
        }
        Ok(signals)
    }

    fn take_reload(&self) -> bool {
        let mut bytes = [0; 64];
        while matches!(std::io::Read::read(&mut &self.pipe, &mut bytes), Ok(read) if read > 0) {}
        self.reload.swap(false, Ordering::AcqRel)
    }

    fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}
