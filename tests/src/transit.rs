//! What the router in the middle saw: pooled packets, the rows in them, and stream packets that travelled alone.
//!
//! Reads the pool header of DESIGN.md, "Wire format", on its own: version and kind in the first byte, the count of
//! rows in the second.

use crate::frame::{Flow, Observation};

/// The UDP destination port of pooled packets.
pub const POOL_PORT: u16 = 7665;
const VERSION: u8 = 1;
/// Kind 0: the index is in the packet.
const IN_BAND: u8 = 0;
/// The high bit of the kind: an authentication trailer ends the packet.
const AUTHENTICATED: u8 = 0x8;

/// Packets that carried the streams across one link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crossing {
    pub pooled: usize,
    /// Stream packets inside the pooled ones.
    pub rows: usize,
    /// Stream packets that crossed as themselves.
    pub lone: usize,
}

impl Crossing {
    /// Counts a packet that is neither of a stream nor pooled (a hello, say) as nothing.
    pub fn add(&mut self, observation: &Observation, is_stream: impl Fn(&Flow) -> bool) {
        if is_stream(&observation.flow) {
            self.lone += 1;
        } else if let Some(rows) = rows(observation) {
            self.pooled += 1;
            self.rows += rows;
        }
    }

    /// All packets in transit that carried stream packets.
    pub fn packets(&self) -> usize {
        self.pooled + self.lone
    }

    /// Stream packets that crossed.
    pub fn carried(&self) -> usize {
        self.rows + self.lone
    }
}

/// How many rows a pooled packet has; `None` for any other packet.
pub fn rows(observation: &Observation) -> Option<usize> {
    if observation.flow.destination.port() != POOL_PORT {
        return None;
    }
    let (&first, &count) = (observation.payload().first()?, observation.payload().get(1)?);
    (first >> 4 == VERSION && first & 0x0f & !AUTHENTICATED == IN_BAND).then_some(usize::from(count))
}
