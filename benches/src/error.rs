//! Why there is no figure.

use std::net::IpAddr;
use std::path::PathBuf;

use thiserror::Error;

/// Why there is no figure: one sentence for who asked for it.
#[derive(Debug, Error)]
pub enum BenchError {
    #[error("the capture file {path} cannot be written: {problem}")]
    Capture { path: PathBuf, problem: String },
    #[error("{program} is missing: install Debian's package {package}")]
    Missing { program: &'static str, package: &'static str },
    #[error("{program} did not run: {problem}")]
    Run { program: &'static str, problem: String },
    #[error("{case}: {contender} did not do what is measured: {problem}")]
    WrongWork { case: &'static str, contender: &'static str, problem: String },
    #[error("{contender} cannot be compared with: {problem}")]
    Table { contender: &'static str, problem: String },
    #[error("{case}: {contender} has a wrong answer: {address} leads to {answer}, not to {expected} (0: no route)")]
    WrongAnswer { case: String, contender: &'static str, address: IpAddr, answer: u16, expected: u16 },
    #[error("the router did not start: {0}")]
    Router(String),
    #[error("CPU {core} is not one this process may run on")]
    Core { core: usize },
    #[error("not all could be measured: {0}")]
    Refused(String),
    /// It was measured, and is not as it was to be.
    #[error("{0}")]
    Missed(String),
    /// What was asked for cannot be measured at all.
    #[error("{0}")]
    Usage(String),
    #[error("interrupted")]
    Interrupted,
    #[error("{0}")]
    System(String),
}

impl BenchError {
    /// The exit code of `scripts/bench`.
    pub fn exit_code(&self) -> u8 {
        match self {
            BenchError::Missed(_) => 1,
            // As of arguments that are not understood.
            BenchError::Usage(_) | BenchError::Core { .. } => 2,
            // As the shell reports a death by SIGINT.
            BenchError::Interrupted => 130,
            _ => 3,
        }
    }
}
