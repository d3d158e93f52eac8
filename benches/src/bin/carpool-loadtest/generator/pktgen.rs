//! Pktgen-DPDK: driven by scripts/pktgen/serve.lua, which it runs; counts what its ports send and receive.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use carpool_tests::process::Process;
use serde::Deserialize;

use super::talk::Talk;
use super::{Abilities, Generator, Kind, START_LIMIT, Site};
use crate::error::{LoadError, Result};
use crate::router::Router;
use crate::trial::{FrameSize, Outcome, Trial};

const NAME: &str = "Pktgen-DPDK";
/// Answers are among all that Pktgen draws on its terminal.
const MARK: &str = "@carpool ";
/// Its mempools, in ordinary pages: less is not enough for two ports.
const MEMORY_MB: usize = 3072;
/// The lowest priority there is.
const IDLE_NICE: &str = "19";

/// A running Pktgen.
pub struct Pktgen {
    version: String,
    talk: Talk,
    process: Process,
}

/// What serve.lua answers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Ready { ready: String },
    Error { error: String },
    Trial { sent: u64, received: u64, lost: u64, missed: u64, offered_pps: f64, seconds: f64 },
}

fn failed(problem: impl Into<String>) -> LoadError {
    LoadError::Generator { generator: NAME, problem: problem.into() }
}

impl Pktgen {
    pub fn start(site: &Site) -> Result<Pktgen> {
        let program = program(site.program.as_deref())?;
        let script = scripts()?.join("serve.lua");
        let mut command = site.command(&program);
        // Its first lcore draws and runs scripts, the second one sends and receives; they share a CPU.
        let lcores = format!("0@{core},1@{core}", core = site.core);
        command.args(site.eal(&lcores, MEMORY_MB, &site.devices)).args(["--", "-P", "-m", "1.[0-1]", "-f"]).arg(script);
        command.env("CARPOOL_ROUTER_MAC", &site.router_mac);
        let log = site.directory.join("pktgen.log");
        let (process, to, from) = Process::start_talking(NAME, &mut command, &log)?;
        let talk = Talk::new(NAME, to, from, site.interrupt.clone());
        let mut pktgen = Pktgen { version: String::new(), talk, process };
        match pktgen.hear(START_LIMIT)? {
            Answer::Ready { ready } => pktgen.version = ready,
            _ => return Err(failed("it did not say that it is ready")),
        }
        pktgen.calm();
        Ok(pktgen)
    }

    /// The next answer.
    fn hear(&mut self, limit: Duration) -> Result<Answer> {
        let mut last = String::new();
        loop {
            let line = match self.talk.hear(limit) {
                Ok(line) => line,
                Err(LoadError::Interrupted) => return Err(LoadError::Interrupted),
                Err(error) => {
                    let complaint = self.process.output();
                    let complaint = complaint.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or(&last);
                    return Err(failed(format!("{error}; its last words: {}", complaint.trim())));
                }
            };
            match line.split_once(MARK) {
                Some((_, answer)) => {
                    let answer = serde_json::from_str(answer).map_err(|error| failed(format!("{answer}: {error}")))?;
                    if let Answer::Error { error } = answer {
                        return Err(failed(error));
                    }
                    return Ok(answer);
                }
                None if line.contains("ERROR") || line.contains("lua") => last = line,
                None => {}
            }
        }
    }

    /// A thread of Pktgen's does nothing but look at the clock. Where its lcore is on the same CPU, it would take half of
    /// that: it gets the least share there is.
    fn calm(&self) {
        let tasks = format!("/proc/{}/task", self.process.pid());
        let Ok(tasks) = std::fs::read_dir(tasks) else { return };
        for task in tasks.flatten() {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if !name.starts_with("rte-worker") {
                // Where that is not possible it goes on as before.
                let _ = Command::new("renice").args(["-n", IDLE_NICE, "-p"]).arg(task.file_name()).output();
            }
        }
    }
}

impl Generator for Pktgen {
    fn name(&self) -> String {
        format!("{NAME} {}", self.version.trim_start_matches("Pktgen "))
    }

    fn can(&self) -> Abilities {
        Kind::Pktgen.can(false)
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn trial(&mut self, trial: &Trial, _: &Router) -> Result<Outcome> {
        let FrameSize::Bytes(size) = trial.size else {
            return Err(failed("it sends one frame length at a time"));
        };
        let burst = trial.burst.map_or(String::new(), |packets| format!(" burst={packets}"));
        self.talk.say(&format!(
            "trial pps={:.1} seconds={:.3} size={size} flows={} destinations={}{burst}",
            trial.pps, trial.seconds, trial.flows, trial.destinations
        ))?;
        let limit = Duration::from_secs_f64(4.0 * trial.time() + 30.0);
        match self.hear(limit)? {
            Answer::Trial { sent, received, lost, missed, offered_pps, seconds } => {
                let per_second = |packets: u64| packets as f64 / seconds.max(1e-3);
                Ok(Outcome {
                    sent,
                    received,
                    lost,
                    missed,
                    offered_pps,
                    achieved_pps: per_second(sent).min(offered_pps),
                    received_pps: per_second(received).min(offered_pps),
                    duplicated: 0,
                    reordered: 0,
                    corrupted: 0,
                    skipped: 0,
                    latency_ns: None,
                    pooled: None,
                })
            }
            _ => Err(failed("it answered something else than a trial")),
        }
    }
}

impl Drop for Pktgen {
    fn drop(&mut self) {
        // On SIGTERM it would set up its terminal again and wait.
        let _ = self.process.kill();
    }
}

/// The program: the one that was named, else the one on the PATH.
fn program(named: Option<&Path>) -> Result<PathBuf> {
    let missing = |program: String| LoadError::Missing {
        program,
        remedy: "Debian has no package of Pktgen-DPDK: build 23.03 (docs/loadtest.md says how) and name it with --pktgen PATH",
    };
    if let Some(named) = named {
        return if named.is_file() { Ok(named.to_owned()) } else { Err(missing(named.display().to_string())) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join("pktgen")).find(|path| path.is_file());
    found.ok_or_else(|| missing("pktgen".into()))
}

/// Where the Lua scripts are: scripts/loadtest says so, else they are where this was built.
fn scripts() -> Result<PathBuf> {
    let directory = std::env::var_os("CARPOOL_PKTGEN_SCRIPTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/pktgen"), PathBuf::from);
    let directory = directory.canonicalize().unwrap_or(directory);
    if directory.join("serve.lua").is_file() {
        return Ok(directory);
    }
    Err(LoadError::Missing {
        program: directory.join("serve.lua").display().to_string(),
        remedy: "run scripts/loadtest",
    })
}
