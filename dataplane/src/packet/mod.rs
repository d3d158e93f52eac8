//! Header views over byte slices: pure, bounds checked, no I/O.
//!
//! Each module parses one protocol into a value that cannot be wrong, and writes it back. Workers call them on the
//! bytes of an mbuf, tests and fuzzers on bytes of their own. No input panics; what is refused is refused by name.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

pub mod arp;
pub mod buffer;
pub mod checksum;
pub mod copy;
pub mod ecn;
pub mod ethernet;
pub mod icmp;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod ipv6_extension;
pub mod ipv6_plain;
pub mod nd;
pub mod too_big;
pub mod udp;

#[cfg(test)]
pub(crate) mod heap_buffer;
#[cfg(test)]
pub(crate) mod mutation;

pub use arp::{Arp, ArpError, ArpOperation};
pub use buffer::{Buffer, BufferSource};
pub use checksum::{Sum, Total};
pub use ethernet::{EtherType, EthernetHeader, MacAddr};
pub use ipv4::{DestinationClass, Ipv4Error, Ipv4Header};
pub use ipv6::{Ipv6Error, Ipv6Header};
pub use udp::{UdpError, UdpHeader};
