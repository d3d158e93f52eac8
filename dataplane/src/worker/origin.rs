//! A packet on its way through the worker, and where it came from.

use crate::dpdk::Mbuf;
use crate::fib::PortIndex;
use crate::packet::ipv4::Ipv4Header;

/// Where a packet came from. What is taken out of a pooled packet has the origin of that packet, one level deeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The port that it, or the pooled packet around it, was received on.
    pub port: PortIndex,
    /// It came in a broadcast or multicast frame.
    pub link_broadcast: bool,
    /// How many pooled packets it has been taken out of.
    pub depth: u8,
}

impl Origin {
    /// The origin of what was inside a pooled packet of this one.
    #[inline(always)]
    pub fn deeper(self) -> Origin {
        Origin { depth: self.depth.saturating_add(1), ..self }
    }
}

/// A validated IPv4 packet. The mbuf begins with its header and ends with its last byte.
pub(super) struct Packet {
    /// Its memory.
    pub mbuf: Mbuf,
    /// Its header as it was received.
    pub header: Ipv4Header,
    /// Where it came from.
    pub origin: Origin,
}
