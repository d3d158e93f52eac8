//! IPv6 packets that are nothing but forwarded, recognised by a few words of their headers.

use super::ipv4::{PROTOCOL_TCP, PROTOCOL_UDP};
use super::ipv6::HEADER_LEN;
use super::ipv6_extension::is_extension;

/// Bytes that a packet is recognised by: the fixed header, and ports.
pub const START: usize = HEADER_LEN + 4;

/// The upper half of the first address that is for one link only: fe80:: (RFC 4291 section 2.5.6). Groups are above it.
const FIRST_CONFINED: u64 = 0xfe80 << 48;

/// Whether a packet that starts like this and has so many bytes, from its first to the last that was received, is as nearly all
/// are: sound, without extension headers and without anything behind it, from a host to a host that may both be beyond their
/// links, with a hop limit that suffices to forward it, and not to the UDP port `but` (in network byte order, or above 65,535
/// where there is no such port). No says nothing but that it needs a closer look.
///
/// [`Ipv6Header::parse`](super::Ipv6Header::parse), [`source_is_martian`](super::ipv6::source_is_martian),
/// [`destination_class`](super::ipv6::destination_class) and [`UpperLayer::find`](super::ipv6_extension::UpperLayer::find) say
/// the same, and more.
#[inline(always)]
pub fn is_plain(start: &[u8; START], bytes: usize, but: u32) -> bool {
    let ([fixed, source, _, destination, _], &[_, _, p0, p1]) = start.as_chunks::<8>() else { return false };
    let fixed = u64::from_le_bytes(*fixed);
    let payload_len = ((fixed >> 32) as u16).swap_bytes();
    fixed as u8 >> 4 == 6
        && HEADER_LEN + usize::from(payload_len) == bytes
        && leads_to_ports((fixed >> 48) as u8)
        && fixed >> 56 > 1
        && is_host(source)
        && is_host(destination)
        && u32::from(u16::from_ne_bytes([p0, p1])) != but
}

/// Whether no extension header begins where this next header value says. Nearly all are one of the first two.
#[inline(always)]
const fn leads_to_ports(next_header: u8) -> bool {
    matches!(next_header, PROTOCOL_UDP | PROTOCOL_TCP) || !is_extension(next_header)
}

/// Whether an address with this upper half is that of a host which may be beyond its link. Of ::/64, where loopback and the mapped
/// addresses are, none is said to be.
#[inline(always)]
const fn is_host(upper: &[u8; 8]) -> bool {
    u64::from_be_bytes(*upper).wrapping_sub(1) < FIRST_CONFINED - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::Ipv6Header;
    use crate::packet::ipv6::{DestinationClass, destination_class, is_link_local, source_is_martian, tests::packet};
    use crate::packet::ipv6_extension::UpperLayer;
    use crate::packet::mutation::mutated;

    /// What the pieces say that look at a packet alone.
    fn is_ordinary(bytes: &[u8], but: u32) -> bool {
        let Ok(header) = Ipv6Header::parse(bytes) else { return false };
        let Ok(upper) = UpperLayer::find(&header, bytes) else { return false };
        let port = bytes.get(42..44).map(|port| u32::from(u16::from_ne_bytes([port[0], port[1]])));
        header.total_len() == bytes.len()
            && usize::from(upper.offset) == HEADER_LEN
            && header.hop_limit > 1
            && !(source_is_martian(header.src) || header.src.is_unspecified() || is_link_local(header.src))
            && destination_class(header.dst) == DestinationClass::Unicast
            && port.is_some_and(|port| port != but)
    }

    proptest! {
        #[test]
        fn plain_is_what_parsing_addresses_and_headers_say(
            mut bytes in prop_oneof![2 => Just(packet()).boxed(), 1 => mutated(Just(packet())).boxed()],
            changes in prop::collection::vec(
                (
                    prop_oneof![Just(6usize), Just(7), Just(8), Just(9), Just(24), Just(25), Just(42), 0..48usize],
                    prop_oneof![any::<u8>(), Just(0), Just(1), Just(2), 0xfdu8..=0xff, 0x7fu8..=0xc0],
                ),
                0..3,
            ),
            but in prop_oneof![Just(u32::MAX), Just(u32::from(0x5a5a_u16))],
        ) {
            for (at, to) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = to;
                }
            }
            let Some(start) = bytes.first_chunk() else { return Ok(()) };
            let is_plain = is_plain(start, bytes.len(), but);
            // Site-local addresses, which are no more (RFC 3879), and those of ::/64 are looked at closer although they need not be.
            let uncommon = [8, 24].iter().any(|at| {
                bytes[*at..at + 8] == [0; 8] || (bytes[*at] == 0xfe && bytes[at + 1] >= 0xc0)
            });
            prop_assert_eq!(is_plain, is_ordinary(&bytes, but) && !uncommon, "{:02x?}", bytes);
        }
    }

    #[test]
    fn every_next_header_is_plain_but_extension_headers() {
        for next_header in 0..=u8::MAX {
            let mut bytes = packet();
            bytes[6] = next_header;
            let header = Ipv6Header::parse(&bytes).expect("sound");
            let start = bytes.first_chunk().expect("long enough");
            let upper = UpperLayer::find(&header, &bytes).map(|upper| usize::from(upper.offset));
            assert_eq!(is_plain(start, bytes.len(), u32::MAX), upper == Ok(HEADER_LEN), "{next_header}");
        }
    }
}
