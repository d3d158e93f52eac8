//! carpool-gen: sends packets at a set rate, and says what became of them.
//!
//! [`rig`] starts DPDK and an [`engine`] on each lcore; a [`trial`] is a [`plan`] that both ends of it follow: [`sender`] sends
//! [`frames`] when [`pacing`] says so, [`receiver`] finds their [`stamp`]s, and [`account`] has what is lost, twice or out of
//! order. [`serve`] and [`run`] are the two ways to ask for trials.
#![deny(unsafe_code)]

mod account;
mod engine;
mod flows;
mod frames;
mod host;
mod jitter;
mod latency;
mod options;
mod pacing;
mod plan;
mod receiver;
mod replay;
mod rig;
mod run;
mod sender;
mod serve;
mod stamp;
mod trial;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use carpool_benches::error::BenchError;
use carpool_benches::interrupt::Interrupt;
use carpool_benches::turn::Turn;
use carpool_dataplane::dpdk::EalError;
use clap::Parser;

use crate::options::{Action, Options};

/// Why there are no findings: one sentence for who asked.
#[derive(Debug, thiserror::Error)]
pub enum GenError {
    /// What was asked for cannot be: wrong usage.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Failed(String),
}

/// The exit code of wrong usage, as of arguments that are not understood.
const USAGE: u8 = 2;

impl GenError {
    fn new(problem: impl Into<String>) -> GenError {
        GenError::Failed(problem.into())
    }

    fn usage(problem: impl Into<String>) -> GenError {
        GenError::Usage(problem.into())
    }

    /// An lcore has ended that never should.
    fn gone() -> GenError {
        GenError::new("an lcore stopped working")
    }
}

macro_rules! errors {
    ($make:path: $($error:ty),*) => {
        $(impl From<$error> for GenError {
            fn from(error: $error) -> GenError {
                $make(error.to_string())
            }
        })*
    };
}

errors!(GenError::Failed: carpool_dataplane::dpdk::MempoolError, carpool_dataplane::dpdk::PortError);
errors!(GenError::Usage: flows::FlowsError, frames::FramesError);

impl From<EalError> for GenError {
    fn from(error: EalError) -> GenError {
        match error {
            EalError::CoreNotAllowed { .. } | EalError::DuplicateCore { .. } => GenError::usage(error.to_string()),
            _ => GenError::new(error.to_string()),
        }
    }
}

impl From<BenchError> for GenError {
    fn from(error: BenchError) -> GenError {
        match error {
            BenchError::Core { .. } => GenError::usage(error.to_string()),
            _ => GenError::new(error.to_string()),
        }
    }
}

/// Prints findings. Who has seen enough of them may close the pipe.
fn print(text: &str) -> Result<(), GenError> {
    let mut output = std::io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(GenError::new(format!("the findings cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

fn run(options: &Options) -> Result<(), GenError> {
    let interrupt = Interrupt::new()?;
    let say = |line: &str| {
        // Nobody has to look.
        let _ = writeln!(std::io::stderr(), "{line}");
    };
    let _turn = if options.no_turn { None } else { Some(Turn::take(&interrupt, say)?) };
    match &options.action {
        Action::Run(args) => run::run(args, interrupt.flag()),
        Action::Serve(args) => serve::serve(args, interrupt.flag()),
        Action::Jitter(args) => jitter::jitter(args, interrupt.flag()),
    }
}

fn main() -> ExitCode {
    let done = run(&Options::parse());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("carpool-gen: {error}");
            if matches!(error, GenError::Usage(_)) { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}
