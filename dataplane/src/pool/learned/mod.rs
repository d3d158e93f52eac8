//! Learned headers: stream packets without the headers that their streams repeat (docs/wire-format.md, kind 5).
//!
//! The [`Compressor`] announces a stream's header under the id of a context, and later sends the id and what changed
//! since; the [`Decompressor`] rebuilds the packets byte for byte. Every packet decodes from the announcement alone,
//! and an id means one header only until everybody has forgotten it: whatever gets lost, doubled or overtaken, what
//! comes out is what went in. Time is an argument, memory is taken at construction, and nothing here knows of peers
//! more than the numbers that tell them apart.

mod compressor;
mod decompressor;
mod id_spaces;
mod reference;
mod stream;
mod unknown_contexts;

pub use compressor::{Compressor, CompressorCounters, CompressorLimits, Encoded};
pub use decompressor::{Decompressor, Opened, Refused};
pub use unknown_contexts::{Origin, UnknownContexts, instance_towards};

use std::net::IpAddr;
use std::time::Duration;

use crate::arch::{TickRate, TickSpan};

/// How long a receiver may use a context after its announcement arrived. A sender uses an id for another header only
/// when twice that has passed since it last announced one under it.
pub const FORGET: Duration = Duration::from_secs(10);

/// After that a sender announces anew.
pub const REFRESH: Duration = Duration::from_secs(5);

/// How long packets may wait in a pool behind the moment at which it was decided how they travel: what is left of
/// [`FORGET`] is for the way. A pool that waited longer because the whole worker did is dropped after half as much again.
pub const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The times that make ids safe, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextTimes {
    /// [`FORGET`]: a receiver's contexts live that long.
    pub forget: TickSpan,
    /// [`REFRESH`]: a sender announces anew after that.
    pub refresh: TickSpan,
    /// Twice [`FORGET`]: an id is free again after that.
    pub reuse: TickSpan,
    /// [`LONGEST_WAIT`]: a pool of learned headers waits no longer.
    pub longest_wait: TickSpan,
    /// One that did all the same does not leave any more.
    pub stale: TickSpan,
}

impl ContextTimes {
    /// The times in ticks of this rate.
    pub fn at(rate: TickRate) -> ContextTimes {
        ContextTimes {
            forget: rate.ticks(FORGET),
            refresh: rate.ticks(REFRESH),
            reuse: rate.ticks(2 * FORGET),
            longest_wait: rate.ticks(LONGEST_WAIT),
            stale: rate.ticks(LONGEST_WAIT * 3 / 2),
        }
    }
}

/// Whose ids these are: those of one source port mean something to one addressee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdSpace {
    /// Where pooled packets go.
    pub addressee: IpAddr,
    /// The UDP source port they leave by.
    pub source_port: u16,
}

#[cfg(test)]
pub(super) mod test_packets;
#[cfg(test)]
mod tests;
