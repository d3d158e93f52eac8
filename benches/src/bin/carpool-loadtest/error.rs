//! Why there is no report.

use std::path::PathBuf;

use carpool_benches::error::BenchError;
use thiserror::Error;

/// Why there is no report: one sentence for who asked for it.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("{0}")]
    Lab(#[from] carpool_tests::Error),
    #[error("{doing} {path}: {source}")]
    File { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{program} is missing: {remedy}")]
    Missing { program: String, remedy: &'static str },
    #[error("{generator}: {problem}")]
    Generator { generator: &'static str, problem: String },
    #[error("the router at {socket}: {problem}")]
    Router { socket: String, problem: String },
    #[error("{option}: {problem}")]
    Option { option: &'static str, problem: String },
    #[error("the plots cannot be drawn: {0}")]
    Plot(String),
    #[error("{0}")]
    System(String),
    #[error("the report is not complete: {0}")]
    Parts(String),
    #[error("interrupted")]
    Interrupted,
}

impl From<BenchError> for LoadError {
    fn from(error: BenchError) -> LoadError {
        match error {
            BenchError::Interrupted => LoadError::Interrupted,
            error => LoadError::System(error.to_string()),
        }
    }
}

/// What this program's functions return.
pub type Result<T> = std::result::Result<T, LoadError>;
