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

use carpool_benches::interrupt::Interrupt;
use carpool_benches::turn::Turn;
use clap::Parser;

use crate::options::{Action, Options};

/// Why there are no findings: one sentence for who asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct GenError(String);

impl GenError {
    fn new(problem: impl Into<String>) -> GenError {
        GenError(problem.into())
    }

    /// An lcore has ended that never should.
    fn gone() -> GenError {
        GenError("an lcore stopped working".into())
    }
}

macro_rules! errors {
    ($($error:ty),*) => {
        $(impl From<$error> for GenError {
            fn from(error: $error) -> GenError {
                GenError(error.to_string())
            }
        })*
    };
}

errors!(
    carpool_dataplane::dpdk::EalError,
    carpool_dataplane::dpdk::MempoolError,
    carpool_dataplane::dpdk::PortError,
    carpool_benches::error::BenchError,
    flows::FlowsError,
    frames::FramesError
);

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
            ExitCode::FAILURE
        }
    }
}
