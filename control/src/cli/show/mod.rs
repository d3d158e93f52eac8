//! What the router answers, for people and as JSON.
//!
//! A file per feature, as in [`crate::api`]. The text of a reply depends on nothing but the reply.

mod legs;
mod lookup;
mod neighbor;
mod path;
mod peer;
mod pool;
mod port;
mod route;
mod rule;
mod stages;
mod stats;
mod status;
mod stream;
mod template;

use serde::Serialize;

pub(super) use stats::StatsView;

use super::Failure;

/// A reply that can be shown.
pub(super) trait Show {
    /// For people: lines, each ended.
    fn text(&self) -> String;

    /// For programs: one line.
    fn json_line(&self) -> Result<String, Failure>;
}

/// A value as one line of JSON.
pub(super) fn json_line<T: Serialize>(value: &T) -> Result<String, Failure> {
    let line = serde_json::to_string(value).map_err(std::io::Error::from)?;
    Ok(line + "\n")
}

/// Implements [`Show`] for replies whose text is made by a function.
macro_rules! show {
    ($reply:ty, $text:expr) => {
        impl $crate::cli::show::Show for $reply {
            fn text(&self) -> String {
                let text: fn(&$reply) -> String = $text;
                text(self)
            }

            fn json_line(&self) -> Result<String, $crate::cli::Failure> {
                $crate::cli::show::json_line(self)
            }
        }
    };
}

use show;

/// The word that a value has in JSON, for enums of words.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.replace('_', " "),
        _ => String::new(),
    }
}

/// A time in the past or a duration, short: 12 ms, 3.4 s, 5 min, 2 h, 3 d.
fn short_time(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        60_000..3_600_000 => format!("{} min", milliseconds / 60_000),
        3_600_000..86_400_000 => format!("{} h", milliseconds / 3_600_000),
        _ => format!("{} d", milliseconds / 86_400_000),
    }
}

/// Memory, in megabytes of 1000 × 1000 bytes: 3.4 MB.
fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}
