//! What can go wrong in the lab, said so that a person knows what was being done.
//!
//! Every fallible call of the operating system is wrapped with [`Doing::doing`]; the bare errno never reaches a reader.

use std::{fmt, io, time::Duration};

pub type Result<T> = std::result::Result<T, Error>;

#[derive(thiserror::Error)]
pub enum Error {
    #[error("the lab makes network namespaces and raw sockets: run it as root")]
    NotRoot,
    #[error("{what} is not at {path}: {remedy}")]
    Missing { what: String, path: String, remedy: String },
    #[error("{doing}: {source}")]
    System { doing: String, source: io::Error },
    #[error("`{command}` failed: {output}")]
    Command { command: String, output: String },
    #[error("waited {after:?} for {event}; last seen: {seen}")]
    Timeout { event: String, after: Duration, seen: String },
    #[error("{what} is not as expected: {why}")]
    Malformed { what: String, why: String },
    #[error("a thread of the lab ended early: {0}")]
    Thread(String),
}

/// A test that fails prints its error this way: the sentence is all there is to know.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Says what was being done when the operating system refused.
pub trait Doing<T> {
    fn doing(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|error| Error::System { doing: what.into(), source: error.into() })
    }
}
