//! The IPv6 header: validation as RFC 8200 asks of a router, writing, the change that forwarding makes, address classes.
//!
//! [`Ipv6Header::parse`] is the only way the worker comes by a header of a received packet, so whoever holds one knows
//! that the packet lies within its bytes. What is behind the fixed header is walked by [`super::ipv6_extension`].

use std::net::Ipv6Addr;

use super::checksum::Sum;
use super::ethernet::MacAddr;

/// The length of the fixed header in bytes.
pub const HEADER_LEN: usize = 40;

/// Where in it the hop limit is, in bytes.
pub const HOP_LIMIT_AT: usize = 7;

/// What every link must carry whole, in bytes (RFC 8200 section 5).
pub const MIN_MTU: u16 = 1280;

/// Hop limit of what the router itself sends: the default of RFC 1700, "IP Time to Live Parameter".
pub const ORIGINATED_HOP_LIMIT: u8 = 64;

/// The fixed header of an IPv6 packet (RFC 8200 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Header {
    /// Differentiated services code point in the upper six bits, ECN in the lower two (RFC 2474, RFC 3168).
    pub traffic_class: u8,
    /// Names a flow of its source: 0 to 0xfffff; 0: no flow (RFC 6437).
    pub flow_label: u32,
    /// Length of what is behind this header, in bytes; what the link added behind it is not in it.
    pub payload_len: u16,
    /// What is behind this header: an extension header or the upper layer.
    pub next_header: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// Who sent it.
    pub src: Ipv6Addr,
    /// Who it is for.
    pub dst: Ipv6Addr,
}

/// Why a packet is not a valid IPv6 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ipv6Error {
    /// Fewer bytes than the fixed header.
    #[error("fewer bytes than an IPv6 header")]
    Truncated,
    /// The version is not 6.
    #[error("IP version is not 6")]
    Version,
    /// The packet says it is longer than what was received.
    #[error("IPv6 payload length beyond the received bytes")]
    PayloadBeyondPacket,
}

impl Ipv6Header {
    /// Reads and validates the header at the start of `bytes`, which may go on behind the packet (Ethernet padding).
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Ipv6Header, Ipv6Error> {
        let (&first, rest) = bytes.split_first_chunk::<4>().ok_or(Ipv6Error::Truncated)?;
        let (&[l0, l1, next_header, hop_limit], rest) = rest.split_first_chunk().ok_or(Ipv6Error::Truncated)?;
        let (src, rest) = rest.split_first_chunk::<16>().ok_or(Ipv6Error::Truncated)?;
        let (dst, payload) = rest.split_first_chunk::<16>().ok_or(Ipv6Error::Truncated)?;
        let word = u32::from_be_bytes(first);
        if word >> 28 != 6 {
            return Err(Ipv6Error::Version);
        }
        let payload_len = u16::from_be_bytes([l0, l1]);
        if usize::from(payload_len) > payload.len() {
            return Err(Ipv6Error::PayloadBeyondPacket);
        }
        Ok(Ipv6Header {
            traffic_class: (word >> 20) as u8,
            flow_label: word & 0xf_ffff,
            payload_len,
            next_header,
            hop_limit,
            src: Ipv6Addr::from_octets(*src),
            dst: Ipv6Addr::from_octets(*dst),
        })
    }

    /// Writes the header as it is on the wire; of the flow label the lower twenty bits.
    #[inline]
    pub fn write(&self, out: &mut [u8; HEADER_LEN]) {
        let word = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        let [l0, l1] = self.payload_len.to_be_bytes();
        let ([v0, v1, v2, v3], src, dst) = (word.to_be_bytes(), self.src.octets(), self.dst.octets());
        let (fixed, addresses) = out.split_at_mut(8);
        fixed.copy_from_slice(&[v0, v1, v2, v3, l0, l1, self.next_header, self.hop_limit]);
        let (source, destination) = addresses.split_at_mut(16);
        source.copy_from_slice(&src);
        destination.copy_from_slice(&dst);
    }

    /// Length of the packet with this header, in bytes: 40 to 65,575.
    #[inline]
    pub const fn total_len(&self) -> usize {
        HEADER_LEN + self.payload_len as usize
    }

    /// The packet without what the link added behind it. None where `bytes` are not those the header was read from.
    #[inline]
    pub fn packet<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.get(..self.total_len())
    }

    /// What is behind the fixed header. None where `bytes` are not those the header was read from.
    #[inline]
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.get(HEADER_LEN..self.total_len())
    }

    /// Differentiated services code point: 0 to 63.
    #[inline]
    pub const fn dscp(&self) -> u8 {
        self.traffic_class >> 2
    }

    /// Explicit congestion notification: 0 not capable, 1 and 2 capable, 3 congestion experienced.
    #[inline]
    pub const fn ecn(&self) -> u8 {
        self.traffic_class & 3
    }
}

/// Takes one off the hop limit of the packet in `bytes`. Returns what is left; None, and nothing changes, where it was 0
/// already or there is no header.
#[inline]
pub fn decrement_hop_limit(bytes: &mut [u8]) -> Option<u8> {
    let [_, _, _, _, _, _, _, hop_limit, ..] = bytes.first_chunk_mut::<HEADER_LEN>()?;
    *hop_limit = hop_limit.checked_sub(1)?;
    Some(*hop_limit)
}

/// The sum of the pseudo header (RFC 8200 section 8.1); `length` is that of the upper layer's packet in bytes.
#[inline]
pub fn pseudo_header(src: Ipv6Addr, dst: Ipv6Addr, length: u16, next_header: u8) -> Sum {
    Sum::of(&src.octets()).add(Sum::of(&dst.octets())).add_word(length).add_word(u16::from(next_header))
}

/// Whether an address is for one link only: fe80::/10 (RFC 4291 section 2.5.6).
#[inline]
pub const fn is_link_local(address: Ipv6Addr) -> bool {
    matches!(address.octets(), [0xfe, second, ..] if second & 0xc0 == 0x80)
}

/// The link-local address that a station makes of its own link layer address (RFC 4291, appendix A).
pub const fn link_local_of(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// Whether an address cannot be that of a sender: multicast (RFC 4291 section 2.7), loopback (2.5.3), or an IPv4-mapped
/// address, which is no address on the wire (RFC 6890, table 20). The unspecified address is not among them: a node that
/// has no address yet sends from it, to its own link (2.5.2).
#[inline]
pub const fn source_is_martian(src: Ipv6Addr) -> bool {
    matches!(src.octets(), [0xff, ..]) || is_loopback_or_mapped(src)
}

/// Whether an address is of a group whose packets routers forward: its scope is wider than a link (RFC 4291 section 2.7; scope 0
/// is reserved and never forwarded, 1 is an interface, 2 a link).
#[inline]
pub const fn is_forwarded_group(address: Ipv6Addr) -> bool {
    matches!(address.octets(), [0xff, second, ..] if second & 0xf > 2)
}

/// What a destination address is, as far as the address alone tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationClass {
    /// To be looked up and forwarded.
    Unicast,
    /// fe80::/10: a node on the link it came from.
    LinkLocal,
    /// ff00::/8: a group.
    Multicast,
    /// Unspecified, loopback, IPv4-mapped: never forwarded (RFC 4291 sections 2.5.2 and 2.5.3, RFC 6890).
    Martian,
}

/// The class of a destination address.
#[inline]
pub const fn destination_class(dst: Ipv6Addr) -> DestinationClass {
    match dst.octets() {
        [0xff, ..] => DestinationClass::Multicast,
        _ if is_link_local(dst) => DestinationClass::LinkLocal,
        _ if dst.to_bits() == 0 || is_loopback_or_mapped(dst) => DestinationClass::Martian,
        _ => DestinationClass::Unicast,
    }
}

#[inline]
const fn is_loopback_or_mapped(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    bits == 1 || bits >> 32 == 0xffff
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::mutation::mutated;

    #[test]
    fn groups_of_a_link_are_told_from_wider_ones_by_their_scope() {
        let forwarded = |text: &str| is_forwarded_group(text.parse().unwrap());
        for confined in ["ff00::1", "ff01::1", "ff02::1", "ff12::1", "ff32::8000:1", "fe80::1", "2001:db8::1"] {
            assert!(!forwarded(confined), "{confined}");
        }
        for wide in ["ff03::1", "ff05::1:3", "ff15::1", "ff0e::1", "ff3e::8000:1", "ff0f::1"] {
            assert!(forwarded(wide), "{wide}");
        }
    }

    /// A packet of 48 bytes, header and eight of payload.
    pub(crate) fn packet() -> Vec<u8> {
        let header = Ipv6Header {
            traffic_class: 0xb9,
            flow_label: 0x1_2345,
            payload_len: 8,
            next_header: 17,
            hop_limit: 64,
            src: "2001:db8::1".parse().unwrap(),
            dst: "2001:db8:1::7".parse().unwrap(),
        };
        let mut bytes = vec![0x5a; 48];
        header.write(bytes.first_chunk_mut().unwrap());
        bytes
    }

    #[test]
    fn fields_are_where_rfc_8200_draws_them() {
        let bytes = packet();
        assert_eq!(bytes[..8], [0x6b, 0x91, 0x23, 0x45, 0, 8, 17, 64]);
        let header = Ipv6Header::parse(&bytes).unwrap();
        assert_eq!((header.dscp(), header.ecn(), header.flow_label), (46, 1, 0x1_2345));
        assert_eq!((header.next_header, header.hop_limit, header.total_len()), (17, 64, 48));
        assert_eq!((header.src.to_string(), header.dst.to_string()), ("2001:db8::1".into(), "2001:db8:1::7".into()));
        assert_eq!(header.payload(&bytes), Some(&[0x5a; 8][..]));
    }

    #[test]
    fn each_broken_bound_has_its_error() {
        assert_eq!(Ipv6Header::parse(&packet()[..39]), Err(Ipv6Error::Truncated));
        assert_eq!(Ipv6Header::parse(&packet()[..47]), Err(Ipv6Error::PayloadBeyondPacket));
        let mut version = packet();
        version[0] = 0x45;
        assert_eq!(Ipv6Header::parse(&version), Err(Ipv6Error::Version));
    }

    #[test]
    fn padding_behind_the_packet_is_cut() {
        let mut bytes = packet();
        bytes.resize(60, 0xee);
        let header = Ipv6Header::parse(&bytes).unwrap();
        assert_eq!(header.packet(&bytes), Some(&packet()[..]));
    }

    #[test]
    fn the_hop_limit_ends_at_zero() {
        let mut bytes = packet();
        assert_eq!(decrement_hop_limit(&mut bytes), Some(63));
        bytes[7] = 0;
        let before = bytes.clone();
        assert_eq!(decrement_hop_limit(&mut bytes), None);
        assert_eq!(bytes, before);
        assert_eq!(decrement_hop_limit(&mut bytes[..39]), None);
    }

    #[test]
    fn addresses_have_their_class() {
        let class = |text: &str| destination_class(text.parse().unwrap());
        for unicast in ["2001:db8::1", "64:ff9b::1", "fc00::1", "fec0::1", "::2", "fe00::1"] {
            assert_eq!(class(unicast), DestinationClass::Unicast, "{unicast}");
        }
        for local in ["fe80::1", "febf::1"] {
            assert_eq!(class(local), DestinationClass::LinkLocal, "{local}");
        }
        assert_eq!(class("ff02::1"), DestinationClass::Multicast);
        for martian in ["::", "::1", "::ffff:192.0.2.1"] {
            assert_eq!(class(martian), DestinationClass::Martian, "{martian}");
        }
        for martian in ["ff02::1", "::1", "::ffff:192.0.2.1"] {
            assert!(source_is_martian(martian.parse().unwrap()), "{martian}");
        }
        for source in ["::", "fe80::1", "2001:db8::1"] {
            assert!(!source_is_martian(source.parse().unwrap()), "{source}");
        }
    }

    #[test]
    fn a_link_local_address_is_made_of_the_mac_with_one_bit_turned() {
        let address = link_local_of(MacAddr([0x02, 0, 0x5e, 0x10, 0, 0xff]));
        assert_eq!(address.to_string(), "fe80::5eff:fe10:ff");
    }

    proptest! {
        #[test]
        fn what_is_accepted_lies_within_its_bytes_and_is_written_as_it_was_read(bytes in mutated(Just(packet()))) {
            if let Ok(header) = Ipv6Header::parse(&bytes) {
                prop_assert_eq!(header.packet(&bytes).map(<[u8]>::len), Some(header.total_len()));
                prop_assert_eq!(header.payload(&bytes).map(<[u8]>::len), Some(usize::from(header.payload_len)));
                let mut out = [0; HEADER_LEN];
                header.write(&mut out);
                prop_assert_eq!(&out[..], &bytes[..HEADER_LEN]);
            }
        }
    }
}
