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
mod tags;
mod unknown_contexts;

pub use compressor::{Compressor, CompressorCounters, CompressorLimits, Encoded, PREDICTED, Place, Undo};
pub use decompressor::{Decompressor, Opened, OriginContexts, Refused};
pub use id_spaces::SpaceIndex;
pub use unknown_contexts::{Origin, UnknownContexts, instance_towards};

use std::net::IpAddr;
use std::time::Duration;

use crate::arch::{TickRate, TickSpan};

/// How long a receiver may use a context after its announcement arrived. A sender uses an id for another header only
/// when twice that has passed since it last announced one under it.
pub const FORGET: Duration = Duration::from_secs(10);

/// After that a sender announces anew.
pub const REFRESH: Duration = Duration::from_secs(5);

/// How long a sender refers to one announcement where no id is free for another: a packet that then waits for
/// [`LONGEST_WAIT`] and is a second late is still rebuilt.
pub const LONGEST_USE: Duration = Duration::from_secs(7);

/// A sender does not announce a context again, because it is reported unknown, within this.
const AGAIN: Duration = Duration::from_millis(50);

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
    /// [`LONGEST_USE`]: it does not refer to the old one any longer then, whether it could announce anew or not.
    pub longest_use: TickSpan,
    /// What is reported unknown so shortly after its announcement goes whole first.
    pub again: TickSpan,
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
            longest_use: rate.ticks(LONGEST_USE),
            again: rate.ticks(AGAIN),
            reuse: rate.ticks(2 * FORGET),
            longest_wait: rate.ticks(LONGEST_WAIT),
            stale: rate.ticks(LONGEST_WAIT * 3 / 2),
        }
    }
}

/// Odd and without pattern.
const MULTIPLIERS: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93, 0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db];

/// Multiplies to 128 bits and folds: every bit of the product's halves depends on many of either factor's.
#[inline(always)]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

/// The same for the same address and port, and else likely others.
#[inline]
fn bits_of(address: IpAddr, port: u16) -> u64 {
    let address = match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            (bits >> 64) as u64 ^ (bits as u64).rotate_left(16)
        }
    };
    address << 16 ^ address >> 48 ^ u64::from(port)
}

/// Whose ids these are: those of one source port mean something to one addressee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdSpace {
    /// Where pooled packets go.
    pub addressee: IpAddr,
    /// The UDP source port they leave by.
    pub source_port: u16,
}

impl IdSpace {
    /// The same for the same space, and else likely far away.
    #[inline]
    fn hash(self) -> u64 {
        let [multiplier, ..] = MULTIPLIERS;
        mix(bits_of(self.addressee, self.source_port), multiplier)
    }
}

#[cfg(test)]
pub(super) mod test_packets;
#[cfg(test)]
mod tests;
