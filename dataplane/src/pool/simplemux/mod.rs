//! Simplemux over UDP: the published format of another multiplexer, in both of its flavours (docs/simplemux.md).
//!
//! [`Writer`] says what is written in front of each packet, [`Datagram`] exists only where every bound of what was
//! received holds, and [`detect`] decides about a whole packet to one of the two ports. The format has no index: an
//! entry is a separator and the packet behind it, so everything is read and written from front to back.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

mod datagram;
mod detector;
#[cfg(test)]
mod tests;
mod writer;

pub use datagram::{Datagram, Entry, SimplemuxError};
pub use detector::{Received, SimplemuxDrop, detect};
pub use writer::{Separator, Writer};

/// The most entries in a datagram.
pub const MAX_ENTRIES: u8 = 100;

/// The longest datagram without its UDP header, in bytes: what the published tool has room for.
pub const MAX_LENGTH: usize = 2304;

/// The protocol number of a whole IPv4 packet (IANA's "IPv4 encapsulation").
pub const PROTOCOL_IPV4: u8 = 4;

/// The two ways to write separators, each with a UDP port of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// As short as they can be: one or two bytes of length, and the protocol as seldom as possible.
    Normal,
    /// Always 16 bits of length and the protocol.
    Fast,
}

impl Flavour {
    /// The UDP port: source and destination of every datagram.
    #[inline(always)]
    pub const fn port(self) -> u16 {
        match self {
            Flavour::Normal => 55555,
            Flavour::Fast => 55557,
        }
    }

    /// The flavour that is spoken at a UDP port.
    #[inline(always)]
    pub const fn of_port(port: u16) -> Option<Flavour> {
        match port {
            55555 => Some(Flavour::Normal),
            55557 => Some(Flavour::Fast),
            _ => None,
        }
    }
}
