//! carpool-gen: a JSON command a line, a JSON answer a line.

use std::time::Duration;

use carpool_tests::control;
use carpool_tests::process::Process;
use serde::Deserialize;
use serde_json::json;

use super::talk::Talk;
use super::{Abilities, Generator, Kind, START_LIMIT, Site};
use crate::error::{LoadError, Result};
use crate::pools::LONGEST_WINDOW_US;
use crate::router::Router;
use crate::setup::{GENERATOR_EAST, GENERATOR_WEST};
use crate::trial::{Outcome, Trial};

const NAME: &str = "carpool-gen";
/// How long it waits for packets when all are sent: twice the longest window that is measured, and 100 ms.
const DRAIN: Duration = Duration::from_micros(100_000 + 2 * LONGEST_WINDOW_US);

/// A running carpool-gen.
pub struct CarpoolGen {
    talk: Talk,
    process: Process,
    depool: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Error { error: String },
    Trial(Box<Outcome>),
}

impl CarpoolGen {
    pub fn start(site: &Site) -> Result<CarpoolGen> {
        let program = match &site.program {
            Some(program) => program.clone(),
            None => control::program(NAME)?,
        };
        let [send, receive] = &site.devices;
        let mut command = site.command(&program);
        command.args(["serve", "--no-turn", "--send", send, "--receive", receive, "--gateway", &site.router_mac]);
        command.args(["--send-address", GENERATOR_WEST, "--receive-address", GENERATOR_EAST]);
        command.args(["--lcores", &site.core.to_string(), "--drain", &DRAIN.as_secs_f64().to_string()]);
        command.args(["--memory", if site.hugepages { "auto" } else { "no-huge" }]);
        if site.depool {
            command.arg("--depool");
        }
        let log = site.directory.join("carpool-gen.log");
        let (process, to, from) = Process::start_talking(NAME, &mut command, &log)?;
        Ok(CarpoolGen { talk: Talk::new(NAME, to, from, site.interrupt.clone()), process, depool: site.depool })
    }
}

impl Generator for CarpoolGen {
    fn name(&self) -> String {
        NAME.into()
    }

    fn can(&self) -> Abilities {
        Kind::CarpoolGen.can(self.depool)
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn trial(&mut self, trial: &Trial, _: &Router) -> Result<Outcome> {
        let command = json!({"trial": {
            "pps": trial.pps.round().max(1.0) as u64,
            "seconds": trial.seconds,
            "warm_up": trial.warm_up,
            "size": trial.size,
            "flows": trial.flows,
            "destinations": trial.destinations,
            "burst": trial.burst,
        }});
        let failed = |problem: String| LoadError::Generator { generator: NAME, problem };
        self.talk.say(&command.to_string())?;
        let limit = START_LIMIT + Duration::from_secs_f64(2.0 * trial.time());
        let line = self.talk.hear(limit).map_err(|error| match error {
            LoadError::Interrupted => error,
            error => {
                let log = self.process.output();
                let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
                failed(format!("{error}; its last words: {last}"))
            }
        })?;
        match serde_json::from_str(&line)
            .map_err(|error| failed(format!("its answer is not as expected ({error}): {line}")))?
        {
            Answer::Error { error } => Err(failed(error)),
            Answer::Trial(outcome) => Ok(*outcome),
        }
    }
}
