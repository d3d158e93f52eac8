//! Instructions per packet as they were when somebody last looked: `benches/instructions.toml`.
//!
//! They are the same in every run of the same program, so that a change of two percent is one of the program. Another compiler
//! makes another program, and another processor may have it take other ways: then nothing can be said.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::error::BenchError;

/// The compiler that made this program.
const RUSTC: &str = env!("CARPOOL_RUSTC");
/// How much a figure may change, as a part of it.
const TOLERANCE: f64 = 0.02;

/// What was recorded.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// What `rustc --version` says.
    rustc: String,
    /// Whether valgrind had AVX2 to offer; it has no AVX-512.
    avx2: bool,
    /// Instructions per packet of each case.
    instructions: BTreeMap<String, f64>,
}

/// What a count says beside the recorded one.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// It is the same, or as good as.
    Kept,
    /// It is less: a sentence for who might record it.
    Less(String),
    /// It is more: a sentence for who has to look into it.
    More(String),
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.toml")
}

impl Recorded {
    /// Reads the file.
    pub fn load() -> Result<Recorded, BenchError> {
        let path = path();
        let failed = |problem: String| BenchError::System(format!("{} cannot be read: {problem}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        toml::from_str(&text).map_err(|error| failed(error.to_string()))
    }

    /// What was counted by this program, on this machine.
    pub fn of(counted: &[(Case, f64)]) -> Recorded {
        let rounded = |(case, count): &(Case, f64)| (case.name.to_owned(), (count * 10.0).round() / 10.0);
        Recorded {
            rustc: RUSTC.into(),
            avx2: is_x86_feature_detected!("avx2"),
            instructions: counted.iter().map(rounded).collect(),
        }
    }

    /// With these counts of this program; those of other cases stay where they were counted alike.
    pub fn with(&self, counted: &[(Case, f64)]) -> Recorded {
        let mut new = Recorded::of(counted);
        if self.mismatch().is_none() {
            for (name, count) in &self.instructions {
                new.instructions.entry(name.clone()).or_insert(*count);
            }
        }
        new
    }

    /// Whether there is a figure for a case.
    pub fn has(&self, case: &Case) -> bool {
        self.instructions.contains_key(case.name)
    }

    /// Writes the file.
    pub fn save(&self) -> Result<(), BenchError> {
        let path = path();
        let failed = |problem: String| BenchError::System(format!("{} cannot be written: {problem}", path.display()));
        let text = toml::to_string(self).map_err(|error| failed(error.to_string()))?;
        let heading =
            "# Instructions per packet, ports (net_pcap, net_null) included: scripts/bench --instructions --record\n";
        std::fs::write(&path, format!("{heading}{text}")).map_err(|error| failed(error.to_string()))
    }

    /// The cases that there are figures for.
    pub fn cases(&self) -> Result<Vec<Case>, BenchError> {
        let unknown = |error| BenchError::System(format!("{}: {error}", path().display()));
        self.instructions.keys().map(|name| name.parse().map_err(unknown)).collect()
    }

    /// Why nothing can be said of this program beside what was recorded, if nothing can.
    pub fn mismatch(&self) -> Option<String> {
        let own = Recorded::of(&[]);
        if self.rustc != own.rustc {
            return Some(format!("they were counted with {}, this is {}", self.rustc, own.rustc));
        }
        (self.avx2 != own.avx2).then(|| "they were counted on a processor that differs in having AVX2".into())
    }

    /// Compares a count with what was recorded.
    pub fn judge(&self, case: &Case, counted: f64) -> Verdict {
        let Some(recorded) = self.instructions.get(case.name) else { return Verdict::Kept };
        let change = counted / recorded - 1.0;
        let sentence = |more: &str| {
            format!(
                "{} takes {counted:.1} instructions a packet, {:.1}% {more} than {recorded}",
                case.name,
                change.abs() * 100.0
            )
        };
        match change {
            change if change > TOLERANCE => Verdict::More(sentence("more")),
            change if change < -TOLERANCE => Verdict::Less(sentence("less")),
            _ => Verdict::Kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Case {
        "pool_60".parse().expect("a case")
    }

    #[test]
    fn more_than_two_percent_in_either_direction_is_said() {
        let recorded = Recorded::of(&[(case(), 1000.0)]);
        assert_eq!(recorded.mismatch(), None);
        for same in [1000.0, 1019.0, 981.0] {
            assert_eq!(recorded.judge(&case(), same), Verdict::Kept, "{same}");
        }
        let more = "pool_60 takes 1030.0 instructions a packet, 3.0% more than 1000";
        assert_eq!(recorded.judge(&case(), 1030.0), Verdict::More(more.into()));
        assert!(matches!(recorded.judge(&case(), 900.0), Verdict::Less(sentence) if sentence.contains("10.0% less")));
    }

    #[test]
    fn recording_one_case_keeps_the_others_of_the_same_compiler() {
        let other: Case = "forward_64".parse().expect("a case");
        let recorded = Recorded::of(&[(case(), 1000.0), (other, 400.0)]);
        let new = recorded.with(&[(case(), 900.0)]);
        assert_eq!(new.instructions.values().copied().collect::<Vec<_>>(), [400.0, 900.0]);
        let foreign = Recorded { rustc: "rustc 1.0.0".into(), ..recorded };
        assert!(!foreign.with(&[(case(), 900.0)]).has(&other));
    }

    #[test]
    fn another_compiler_makes_another_program() {
        let recorded = Recorded { rustc: "rustc 1.0.0".into(), ..Recorded::of(&[]) };
        assert!(recorded.mismatch().is_some_and(|why| why.contains("rustc 1.0.0, this is rustc ")));
    }

    #[test]
    fn the_file_names_cases_that_exist() {
        let recorded = Recorded::load().expect("it is in the tree");
        assert!(recorded.cases().expect("cases").len() > 5);
    }
}
