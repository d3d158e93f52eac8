//! A packet as nearly all are, recognised in one look: sound, and nothing keeps it from being forwarded.
//!
//! Workers look for it first; what is not plain gets a closer look, by [`Ipv4Header::parse`](super::Ipv4Header::parse) and what
//! comes behind it. [`Starts`](crate::arch::Starts) recognises the same in eight frames at once.

use super::{MIN_HEADER_LEN, is_host};
use crate::packet::checksum;

/// What a packet that is nothing but forwarded is forwarded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Length of the packet with its header, in bytes.
    pub total_len: u16,
    /// Who it is for: a single host, as far as the address alone tells. As a number, as it is looked up.
    pub dst: u32,
}

impl Plain {
    /// Bytes that a packet is recognised by: a header without options, and ports.
    pub const START: usize = MIN_HEADER_LEN + 4;

    /// Recognises a packet as nearly all are, at the start of `bytes`, which may go on behind it (Ethernet padding): sound,
    /// without options, from a host to a host, with a TTL that suffices to forward it, and not to the UDP port `but` (in
    /// network byte order, or above 65,535 where there is no such port). None says nothing but that it needs a closer look.
    ///
    /// [`Ipv4Header::parse`], [`source_is_martian`] and [`destination_class`] say the same, and more, in twice the time.
    ///
    /// [`Ipv4Header::parse`]: super::Ipv4Header::parse
    /// [`source_is_martian`]: super::source_is_martian
    /// [`destination_class`]: super::destination_class
    #[inline(always)]
    pub fn recognise(bytes: &[u8], but: u32) -> Option<Plain> {
        Plain::of_start(bytes.first_chunk()?, bytes.len(), but)
    }

    /// The same of a packet of which this is the start, and behind which there are so many bytes from its start on.
    #[inline(always)]
    pub fn of_start(start: &[u8; Plain::START], bytes: usize, but: u32) -> Option<Plain> {
        let (header, behind) = start.split_at(16);
        let (a, b) = header.split_at(8);
        let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let (a, b, c) = (word(a), word(b), word(behind));
        let total_len = (a >> 16) as u16;
        let total_len = total_len.swap_bytes();
        let is_plain = a as u8 == 0x45
            && usize::from(total_len.wrapping_sub(MIN_HEADER_LEN as u16)) <= bytes.saturating_sub(MIN_HEADER_LEN)
            && is_host((b >> 32) as u8)
            && is_host(c as u8)
            && b as u8 > 1
            && (c >> 48) as u32 != but
            && checksum::is_header_valid(a, b, c as u32);
        is_plain.then_some(Plain { total_len, dst: (c as u32).swap_bytes() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{packet, seal};
    use super::super::{DestinationClass, Ipv4Header, destination_class, source_is_martian};
    use super::*;
    use crate::packet::mutation::mutated;

    proptest! {
        #[test]
        fn plain_is_what_parsing_and_both_addresses_say(
            mut bytes in mutated(prop_oneof![Just(packet()), Just([packet(), vec![0x5a; 30]].concat())]),
            sealed in prop::bool::weighted(0.8),
            change in prop::option::of((prop_oneof![Just(8usize), 12..24usize], any::<u8>())),
            but in prop_oneof![Just(u32::MAX), Just(u32::from(u16::from_ne_bytes([0x5a, 0x5a])))],
        ) {
            if let Some((at, to)) = change && let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            if sealed {
                seal(&mut bytes);
            }
            let port = bytes.get(22..24).map(|port| u32::from(u16::from_ne_bytes([port[0], port[1]])));
            let plain = Ipv4Header::parse(&bytes).ok().filter(|header| {
                !header.has_options()
                    && header.ttl > 1
                    && !source_is_martian(header.src)
                    && destination_class(header.dst) == DestinationClass::Unicast
                    && port.is_some_and(|port| port != but)
            });
            let expected = plain.map(|header| Plain { total_len: header.total_len, dst: header.dst.to_bits() });
            prop_assert_eq!(Plain::recognise(&bytes, but), expected);
        }
    }
}
