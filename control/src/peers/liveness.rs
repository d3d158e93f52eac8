//! Whether a peer lives, by what it last said and when.

use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use carpool_dataplane::pool::hello::Capabilities;

/// A peer is down after so many of its intervals without a hello.
const INTERVALS: u32 = 3;
/// The shortest silence that takes a peer down, whatever interval it announces.
const LEAST_SILENCE: Duration = Duration::from_millis(30);

/// What a peer last said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub at: Instant,
    pub router_id: u32,
    pub instance: u32,
    pub interval: Duration,
    /// It hears us.
    pub hears_us: bool,
    pub capabilities: Capabilities,
    /// The longest pooled packet that it takes, in bytes.
    pub largest: Option<NonZeroU16>,
    /// Hops that the hello came over.
    pub hops: Option<u8>,
}

impl Heard {
    /// When it is silent for too long, if nothing more comes.
    pub fn silent_at(&self) -> Instant {
        self.at + (self.interval * INTERVALS).max(LEAST_SILENCE)
    }
}

/// Why a peer is not up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// No hello ever came.
    NeverHeard,
    /// Hellos came, but none for so long.
    Silent(Duration),
    /// Hellos come, but say that ours do not arrive.
    DoesNotHearUs,
}

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Down::NeverHeard => f.write_str("no hello has come from it"),
            Down::Silent(time) => write!(f, "no hello has come from it for {} ms", time.as_millis()),
            Down::DoesNotHearUs => f.write_str("its hellos come, but it does not hear ours"),
        }
    }
}
