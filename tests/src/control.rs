//! What a router says of itself, asked through `carpool --json`.
//!
//! This is the only file that knows the shape of those answers; everything else in the lab sees the types below.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    error::{Error, Result},
    namespace,
};

/// A carpoold's control socket and the client to ask through it.
#[derive(Clone, Debug)]
pub struct Control {
    pub client: PathBuf,
    pub socket: PathBuf,
}

/// The accounting equation of DESIGN.md, "The life of a packet", at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Accounting {
    #[serde(rename = "in")]
    pub received: u64,
    pub created: u64,
    #[serde(rename = "out")]
    pub sent: u64,
    pub held: u64,
    pub dropped: u64,
    pub absorbed: u64,
}

impl Accounting {
    /// in + created = out + held + dropped + absorbed
    pub fn balances(&self) -> bool {
        self.received + self.created == self.sent + self.held + self.dropped + self.absorbed
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Peer {
    pub name: String,
    pub alive: bool,
}

impl Control {
    /// `carpool --socket SOCKET --json <words>`, its answer parsed.
    pub fn ask(&self, words: &[&str]) -> Result<Value> {
        let answer =
            namespace::run(Command::new(&self.client).arg("--socket").arg(&self.socket).arg("--json").args(words))?;
        serde_json::from_str(&answer).map_err(|error| Error::Malformed {
            what: format!("the answer to `carpool --json {}`", words.join(" ")),
            why: format!("{error}: {answer}"),
        })
    }

    pub fn accounting(&self) -> Result<Accounting> {
        read(&self.ask(&["stats"])?, "stats")
    }

    /// Packets dropped so far, by reason; reasons that never happened may be absent.
    pub fn drops(&self) -> Result<BTreeMap<String, u64>> {
        read(&self.ask(&["stats", "--drops"])?, "stats --drops")
    }

    pub fn peers(&self) -> Result<Vec<Peer>> {
        read(&self.ask(&["peer", "show"])?, "peer show")
    }
}

fn read<T: for<'a> Deserialize<'a>>(answer: &Value, command: &str) -> Result<T> {
    T::deserialize(answer).map_err(|error| Error::Malformed {
        what: format!("the answer to `carpool --json {command}`"),
        why: format!("{error}: {answer}"),
    })
}

/// The program `name` of this workspace: beside this executable, or above it where that is a test in `deps/`.
pub fn program(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe().unwrap_or_default();
    let beside = here.parent().unwrap_or(Path::new("."));
    let directory = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside };
    let path = directory.join(name);
    if path.exists() {
        return Ok(path);
    }
    Err(Error::Missing {
        what: name.to_owned(),
        path: path.display().to_string(),
        remedy: "build it first: cargo build --workspace".to_owned(),
    })
}
