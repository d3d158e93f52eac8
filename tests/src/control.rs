//! What a router says of itself, asked through `carpool --json`.
//!
//! This is the only file that knows the shape of those answers; everything else in the lab sees the types below.

use std::{
    collections::BTreeMap,
    fmt,
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

impl fmt::Display for Accounting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, created, sent, held, dropped, absorbed } = self;
        let sign = if self.balances() { "=" } else { "is not" };
        write!(
            formatter,
            "in {received} + created {created} {sign} out {sent} + held {held} + dropped {dropped} + absorbed {absorbed}"
        )
    }
}

/// A peer as its router sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub name: String,
    /// Its hellos arrive, or it is assumed to live.
    pub alive: bool,
}

/// What a router has pooled since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Pooled {
    /// Stream packets that left as themselves at the end of their window.
    pub lone: u64,
    /// Pooled packets sent.
    pub pooled_packets: u64,
    /// Stream packets sent inside them.
    pub rows: u64,
    /// The longest that a pool was open, in microseconds.
    pub longest_us: u64,
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
        let answer: Stats<Accounting> = read(self.ask(&["stats"])?, "stats")?;
        Ok(answer.total)
    }

    /// Packets dropped so far, by reason.
    pub fn drops(&self) -> Result<BTreeMap<String, u64>> {
        #[derive(Deserialize)]
        struct Drops {
            drops: BTreeMap<String, u64>,
        }
        let answer: Stats<Drops> = read(self.ask(&["stats", "--drops"])?, "stats --drops")?;
        Ok(answer.total.drops)
    }

    /// One of the other counters, by name, of all workers together.
    pub fn counter(&self, name: &str) -> Result<u64> {
        #[derive(Deserialize)]
        struct Counters {
            counters: BTreeMap<String, u64>,
        }
        let answer: Stats<Counters> = read(self.ask(&["stats"])?, "stats")?;
        answer.total.counters.get(name).copied().ok_or_else(|| Error::Malformed {
            what: "the answer to `carpool --json stats`".to_owned(),
            why: format!("it has no counter {name}"),
        })
    }

    pub fn peers(&self) -> Result<Vec<Peer>> {
        #[derive(Deserialize)]
        struct Peers {
            peers: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            name: String,
            state: String,
        }
        let answer: Peers = read(self.ask(&["peer", "show"])?, "peer show")?;
        let alive = |state: &str| matches!(state, "up" | "assumed");
        Ok(answer.peers.into_iter().map(|Entry { name, state }| Peer { name, alive: alive(&state) }).collect())
    }

    pub fn pooled(&self) -> Result<Pooled> {
        #[derive(Deserialize)]
        struct Pools {
            totals: Pooled,
        }
        let answer: Pools = read(self.ask(&["pool", "show"])?, "pool show")?;
        Ok(answer.totals)
    }

    /// Stream packets that wait in open pools now.
    pub fn waiting(&self) -> Result<u64> {
        #[derive(Deserialize)]
        struct Pools {
            open: Vec<Open>,
        }
        #[derive(Deserialize)]
        struct Open {
            packets: u64,
        }
        let answer: Pools = read(self.ask(&["pool", "show"])?, "pool show")?;
        Ok(answer.open.iter().map(|pool| pool.packets).sum())
    }
}

/// The answer to `stats`, as far as it is about all workers together.
#[derive(Deserialize)]
struct Stats<T> {
    total: T,
}

fn read<T: for<'a> Deserialize<'a>>(answer: Value, command: &str) -> Result<T> {
    T::deserialize(&answer).map_err(|error| Error::Malformed {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_account_of_all_workers_is_read_from_the_total_and_checked() {
        let total = json!({"in": 10, "created": 2, "out": 7, "held": 1, "dropped": 1, "absorbed": 3, "balanced": true,
            "counters": {}});
        let answer: Stats<Accounting> = read(json!({"total": total, "workers": [], "mempools": []}), "stats").unwrap();
        assert!(answer.total.balances());
        let lost_one = Accounting { sent: 6, ..answer.total };
        assert_eq!(lost_one.to_string(), "in 10 + created 2 is not out 6 + held 1 + dropped 1 + absorbed 3");
    }

    #[test]
    fn an_answer_of_another_shape_is_an_error_that_shows_it() {
        let error = read::<Stats<Accounting>>(json!({"total": 3}), "stats").err().expect("it is refused");
        assert!(error.to_string().contains("carpool --json stats"), "{error}");
        assert!(error.to_string().contains("{\"total\":3}"), "{error}");
    }
}
