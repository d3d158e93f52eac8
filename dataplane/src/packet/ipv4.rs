//! The IPv4 header: validation as RFC 1812 asks of a router, writing, and the change that forwarding makes.
//!
//! The worker comes by a header of a received packet through [`Ipv4Header::parse`], or [`Ipv4Header::of_sound`] of one that
//! [`Plain::recognise`] knew, so whoever holds one knows that its lengths lie within the packet and that its checksum was
//! right.

mod plain;

pub use plain::Plain;

use std::net::Ipv4Addr;

use super::checksum::{self, Sum};

/// The length of a header without options in bytes.
pub const MIN_HEADER_LEN: usize = 20;

/// Protocol number of the Internet Control Message Protocol.
pub const PROTOCOL_ICMP: u8 = 1;
/// Protocol number of the Transmission Control Protocol.
pub const PROTOCOL_TCP: u8 = 6;
/// Protocol number of the User Datagram Protocol.
pub const PROTOCOL_UDP: u8 = 17;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// The header of an IPv4 packet (RFC 791 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Header {
    /// Length of the header with its options, in bytes: 20 to 60.
    pub header_len: u8,
    /// Differentiated services code point in the upper six bits, ECN in the lower two (RFC 2474, RFC 3168).
    pub dscp_ecn: u8,
    /// Length of the packet with its header, in bytes; what the link added behind it is not in it.
    pub total_len: u16,
    /// What the fragments of one packet have in common.
    pub id: u16,
    /// Whether routers must not fragment it.
    pub dont_fragment: bool,
    /// Whether it is a fragment, and not the last one.
    pub more_fragments: bool,
    /// Where this fragment's payload starts in that of the whole packet, in bytes: a multiple of 8, 0 to 65,528.
    pub fragment_offset: u16,
    /// Hops left.
    pub ttl: u8,
    /// What the payload is.
    pub protocol: u8,
    /// Who sent it.
    pub src: Ipv4Addr,
    /// Who it is for.
    pub dst: Ipv4Addr,
}

/// Why a packet is not a valid IPv4 packet: the checks of RFC 1812 section 5.2.2, in an order in which each can be
/// made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ipv4Error {
    /// Fewer bytes than a header, or than the header says it has.
    #[error("fewer bytes than an IPv4 header")]
    Truncated,
    /// The version is not 4.
    #[error("IP version is not 4")]
    Version,
    /// The header says it is shorter than 20 bytes.
    #[error("IPv4 header length below 20 bytes")]
    HeaderLength,
    /// The header checksum is wrong.
    #[error("wrong IPv4 header checksum")]
    Checksum,
    /// The packet says it is shorter than its header.
    #[error("IPv4 total length below the header length")]
    TotalLengthBelowHeader,
    /// The packet says it is longer than what was received.
    #[error("IPv4 total length beyond the received bytes")]
    TotalLengthBeyondPacket,
}

impl Ipv4Error {
    /// Every reason there is.
    pub const ALL: [Ipv4Error; 6] = [
        Ipv4Error::Truncated,
        Ipv4Error::Version,
        Ipv4Error::HeaderLength,
        Ipv4Error::Checksum,
        Ipv4Error::TotalLengthBelowHeader,
        Ipv4Error::TotalLengthBeyondPacket,
    ];

    /// The name of its counter.
    pub const fn name(self) -> &'static str {
        match self {
            Ipv4Error::Truncated => "ipv4_truncated",
            Ipv4Error::Version => "ipv4_version",
            Ipv4Error::HeaderLength => "ipv4_header_length",
            Ipv4Error::Checksum => "ipv4_checksum",
            Ipv4Error::TotalLengthBelowHeader => "ipv4_total_length_below_header",
            Ipv4Error::TotalLengthBeyondPacket => "ipv4_total_length_beyond_packet",
        }
    }
}

impl Ipv4Header {
    /// Reads and validates the header at the start of `bytes`, which may go on behind the packet (Ethernet padding).
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Ipv4Header, Ipv4Error> {
        let fixed = bytes.first_chunk::<MIN_HEADER_LEN>().ok_or(Ipv4Error::Truncated)?;
        let &[version_ihl, _, l0, l1, ..] = fixed;
        let sum = if version_ihl == 0x45 {
            Sum::of(fixed)
        } else {
            if version_ihl >> 4 != 4 {
                return Err(Ipv4Error::Version);
            }
            let header_len = header_len(version_ihl);
            if usize::from(header_len) < MIN_HEADER_LEN {
                return Err(Ipv4Error::HeaderLength);
            }
            Sum::of(bytes.get(..usize::from(header_len)).ok_or(Ipv4Error::Truncated)?)
        };
        if !sum.is_valid() {
            return Err(Ipv4Error::Checksum);
        }
        let header_len = header_len(version_ihl);
        let total_len = u16::from_be_bytes([l0, l1]);
        if total_len < u16::from(header_len) {
            return Err(Ipv4Error::TotalLengthBelowHeader);
        }
        if usize::from(total_len) > bytes.len() {
            return Err(Ipv4Error::TotalLengthBeyondPacket);
        }
        Ok(Ipv4Header::of_sound(fixed))
    }

    /// Reads a header that was found sound.
    #[inline(always)]
    pub fn of_sound(fixed: &[u8; MIN_HEADER_LEN]) -> Ipv4Header {
        let &[version_ihl, dscp_ecn, l0, l1, i0, i1, f0, f1, ttl, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
            fixed;
        let fragment = u16::from_be_bytes([f0, f1]);
        Ipv4Header {
            header_len: header_len(version_ihl),
            dscp_ecn,
            total_len: u16::from_be_bytes([l0, l1]),
            id: u16::from_be_bytes([i0, i1]),
            dont_fragment: fragment & DONT_FRAGMENT != 0,
            more_fragments: fragment & MORE_FRAGMENTS != 0,
            fragment_offset: (fragment & OFFSET_MASK) << 3,
            ttl,
            protocol,
            src: Ipv4Addr::new(s0, s1, s2, s3),
            dst: Ipv4Addr::new(d0, d1, d2, d3),
        }
    }

    /// Writes a header without options, checksum included. `header_len` is not looked at: what is written says 20.
    #[inline]
    pub fn write(&self, out: &mut [u8; MIN_HEADER_LEN]) {
        let flags = if self.dont_fragment { DONT_FRAGMENT } else { 0 }
            | if self.more_fragments { MORE_FRAGMENTS } else { 0 }
            | self.fragment_offset >> 3;
        // In words, as they are added up: bytes that were just written one by one cannot be read together at once.
        let a = 0x45 << 56
            | u64::from(self.dscp_ecn) << 48
            | u64::from(self.total_len) << 32
            | u64::from(self.id) << 16
            | u64::from(flags);
        let b = u64::from(self.ttl) << 56 | u64::from(self.protocol) << 48 | u64::from(self.src.to_bits());
        let checksum = Sum::of_header(a.swap_bytes(), b.swap_bytes(), self.dst.to_bits().swap_bytes()).checksum();
        let (start, rest) = out.split_at_mut(8);
        let (middle, end) = rest.split_at_mut(8);
        start.copy_from_slice(&a.to_be_bytes());
        middle.copy_from_slice(&(b | u64::from(checksum) << 32).to_be_bytes());
        end.copy_from_slice(&self.dst.octets());
    }

    /// The packet without what the link added behind it. None where `bytes` are not those the header was read from.
    #[inline]
    pub fn packet<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.get(..usize::from(self.total_len))
    }

    /// What the packet carries, behind header and options. None where `bytes` are not those the header was read from.
    #[inline]
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.get(usize::from(self.header_len)..usize::from(self.total_len))
    }

    /// Differentiated services code point: 0 to 63.
    #[inline]
    pub const fn dscp(&self) -> u8 {
        self.dscp_ecn >> 2
    }

    /// Explicit congestion notification: 0 not capable, 1 and 2 capable, 3 congestion experienced.
    #[inline]
    pub const fn ecn(&self) -> u8 {
        self.dscp_ecn & 3
    }

    /// Whether it is a part of a packet, the first one included.
    #[inline]
    pub const fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// Whether there are options behind the fixed header.
    #[inline]
    pub const fn has_options(&self) -> bool {
        self.header_len as usize > MIN_HEADER_LEN
    }
}

/// Whether a sound packet is to this UDP port of a single host, without options and in one piece. `port` is in network byte
/// order, or above 65,535 where there is no such port.
#[inline(always)]
pub fn is_datagram_to(packet: &[u8], port: u32) -> bool {
    let Some(&[v, _, _, _, _, _, f0, f1, _, protocol, .., d0, _, _, _, _, _, p0, p1]) = packet.first_chunk::<24>()
    else {
        return false;
    };
    v == 0x45
        && protocol == PROTOCOL_UDP
        && u16::from_be_bytes([f0, f1]) & (MORE_FRAGMENTS | OFFSET_MASK) == 0
        && is_host(d0)
        && u32::from(u16::from_ne_bytes([p0, p1])) == port
}

/// Whether an address with this first byte is that of a host.
#[inline(always)]
const fn is_host(first: u8) -> bool {
    first.wrapping_sub(1) < 223 && first != 127
}

/// The header length that the first byte of a header gives, in bytes: 0 to 60.
#[inline]
const fn header_len(version_ihl: u8) -> u8 {
    (version_ihl & 0x0f) << 2
}

/// Takes one off the TTL of the packet in `bytes` and corrects its checksum (RFC 1624). Returns the TTL that is left;
/// None, and nothing changes, where it was 0 already or there is no header.
#[inline]
pub fn decrement_ttl(bytes: &mut [u8]) -> Option<u8> {
    let [_, _, _, _, _, _, _, _, ttl, _, c0, c1, ..] = bytes.first_chunk_mut::<MIN_HEADER_LEN>()?;
    let left = ttl.checked_sub(1)?;
    // RFC 1624, equation 3, of which ~m + m' is 0xfeff whatever stands beside the TTL: one is added to the first byte, and at the
    // end round again. In little-endian that is the low one.
    let checksum = u32::from(u16::from_le_bytes([*c0, *c1])) + 1;
    let checksum = checksum + u32::from(checksum >= 0xffff);
    *ttl = left;
    [*c0, *c1] = (checksum as u16).to_le_bytes();
    Some(left)
}

/// The same for the second eight bytes of a header, as a little-endian word. Their TTL is above 0.
#[inline(always)]
pub const fn decrement_ttl_in(word: u64) -> u64 {
    // Nothing carries beyond the checksum, and what is taken off the TTL borrows from nobody: one addition.
    if (word as u32) < 0xfffe_0000 { word + 0xffff } else { decrement_ttl_around(word) }
}

/// The same where the checksum goes round.
#[cold]
const fn decrement_ttl_around(word: u64) -> u64 {
    let checksum = ((word >> 16) as u16) as u64 + 1;
    let checksum = checksum + (checksum >= 0xffff) as u64;
    ((word & !0xffff_0000) - 1) | ((checksum as u16 as u64) << 16)
}

/// Swaps source and destination of the packet in `bytes`, gives it the TTL `ttl` and corrects its checksum. None, and
/// nothing changes, where there is no header.
pub fn turn_around(bytes: &mut [u8], ttl: u8) -> Option<()> {
    let [_, _, _, _, _, _, _, _, old, protocol, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3] =
        bytes.first_chunk_mut::<MIN_HEADER_LEN>()?;
    for (from, to) in [(s0, d0), (s1, d1), (s2, d2), (s3, d3)] {
        std::mem::swap(from, to);
    }
    let words = (u16::from_be_bytes([*old, *protocol]), u16::from_be_bytes([ttl, *protocol]));
    let checksum = checksum::update(u16::from_be_bytes([*c0, *c1]), words.0, words.1);
    *old = ttl;
    [*c0, *c1] = checksum.to_be_bytes();
    Some(())
}

/// Whether an address cannot be that of a single host: networks 0 and 127, multicast, class E and the limited
/// broadcast (RFC 1812 section 5.3.7, RFC 1122 section 3.2.1.3). A packet with such a source is not forwarded.
/// Directed broadcasts are for the caller to know.
#[inline]
pub const fn source_is_martian(src: Ipv4Addr) -> bool {
    let [first, ..] = src.octets();
    matches!(first, 0 | 127 | 224..)
}

/// What a destination address is, as far as the address alone tells: a directed broadcast is a unicast address here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationClass {
    /// To be looked up and forwarded.
    Unicast,
    /// 224.0.0.0/4: a group.
    Multicast,
    /// 255.255.255.255: all on the link, never forwarded.
    LimitedBroadcast,
    /// Networks 0, 127 and class E: never forwarded (RFC 1812 section 5.3.7).
    Martian,
}

/// The class of a destination address.
#[inline]
pub const fn destination_class(dst: Ipv4Addr) -> DestinationClass {
    match dst.octets() {
        [255, 255, 255, 255] => DestinationClass::LimitedBroadcast,
        [0 | 127 | 240.., ..] => DestinationClass::Martian,
        [224..=239, ..] => DestinationClass::Multicast,
        _ => DestinationClass::Unicast,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::mutation::mutated;

    /// A packet of 28 bytes, header and eight of payload.
    pub(crate) fn packet() -> Vec<u8> {
        let header = Ipv4Header {
            header_len: 20,
            dscp_ecn: 0xb8,
            total_len: 28,
            id: 0x1234,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol: PROTOCOL_UDP,
            src: Ipv4Addr::new(192, 0, 2, 1),
            dst: Ipv4Addr::new(198, 51, 100, 7),
        };
        let mut bytes = vec![0x5a; 28];
        header.write(bytes.first_chunk_mut().unwrap());
        bytes
    }

    /// Makes the checksum right, as far as there is a header.
    pub(crate) fn seal(bytes: &mut [u8]) {
        let Some(&first) = bytes.first() else { return };
        let length = usize::from(header_len(first)).min(bytes.len());
        if length >= MIN_HEADER_LEN {
            bytes[10..12].fill(0);
            let checksum = Sum::of(&bytes[..length]).checksum();
            bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
    }

    fn with(change: impl FnOnce(&mut Vec<u8>)) -> Result<Ipv4Header, Ipv4Error> {
        let mut bytes = packet();
        change(&mut bytes);
        seal(&mut bytes);
        Ipv4Header::parse(&bytes)
    }

    #[test]
    fn fields_are_where_rfc_791_draws_them() {
        let header = Ipv4Header::parse(&packet()).unwrap();
        assert_eq!((header.header_len, header.total_len, header.id), (20, 28, 0x1234));
        assert_eq!((header.dscp(), header.ecn()), (46, 0));
        assert!(header.dont_fragment && !header.is_fragment() && !header.has_options());
        assert_eq!((header.ttl, header.protocol), (64, 17));
        assert_eq!((header.src, header.dst), (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 7)));
        assert_eq!(header.payload(&packet()), Some(&[0x5a; 8][..]));
    }

    #[test]
    fn each_check_of_rfc_1812_has_its_error() {
        assert_eq!(Ipv4Header::parse(&packet()[..19]), Err(Ipv4Error::Truncated));
        assert_eq!(with(|bytes| bytes[0] = 0x65), Err(Ipv4Error::Version));
        assert_eq!(with(|bytes| bytes[0] = 0x44), Err(Ipv4Error::HeaderLength));
        assert_eq!(with(|bytes| bytes[0] = 0x48), Err(Ipv4Error::Truncated));
        assert_eq!(with(|bytes| bytes[3] = 19), Err(Ipv4Error::TotalLengthBelowHeader));
        assert_eq!(with(|bytes| bytes[3] = 29), Err(Ipv4Error::TotalLengthBeyondPacket));
        let mut bytes = packet();
        bytes[11] ^= 1;
        assert_eq!(Ipv4Header::parse(&bytes), Err(Ipv4Error::Checksum));
    }

    #[test]
    fn options_belong_to_the_header_and_its_checksum() {
        let header = with(|bytes| bytes[0] = 0x46).unwrap();
        assert!(header.has_options());
        assert_eq!(header.header_len, 24);
        let mut bytes = packet();
        bytes[0] = 0x46;
        seal(&mut bytes);
        bytes[23] ^= 1;
        assert_eq!(Ipv4Header::parse(&bytes), Err(Ipv4Error::Checksum));
    }

    #[test]
    fn padding_behind_the_packet_is_cut() {
        let mut bytes = packet();
        bytes.resize(46, 0xee);
        let header = Ipv4Header::parse(&bytes).unwrap();
        assert_eq!(header.packet(&bytes), Some(&packet()[..]));
        assert_eq!(header.payload(&bytes).map(<[u8]>::len), Some(8));
    }

    #[test]
    fn first_middle_and_last_fragments_are_fragments() {
        let fragment = |high: u8, low: u8| {
            with(|bytes| {
                bytes[6] = high;
                bytes[7] = low;
            })
            .unwrap()
        };
        assert!(fragment(0x20, 0).is_fragment());
        assert!(fragment(0x20, 1).is_fragment());
        assert!(fragment(0, 1).is_fragment());
        assert!(!fragment(0x80, 0).is_fragment(), "the reserved bit says nothing of fragments");
        assert_eq!(fragment(0x1f, 0xff).fragment_offset, 65_528);
    }

    #[test]
    fn a_ttl_of_zero_is_not_decremented() {
        let mut bytes = packet();
        bytes[8] = 0;
        let before = bytes.clone();
        assert_eq!(decrement_ttl(&mut bytes), None);
        assert_eq!(bytes, before);
        assert_eq!(decrement_ttl(&mut bytes[..19]), None);
    }

    #[test]
    fn decrementing_works_where_the_checksum_is_all_zeros_or_all_ones() {
        // Choose the identification so that the checksum before, or after, becomes the corner value.
        for target in [0x0000u16, 0x0001, 0x00ff, 0x0100, 0xfeff, 0xfffe] {
            let mut bytes = packet();
            bytes[4..6].fill(0);
            seal(&mut bytes);
            let checksum = u16::from_be_bytes([bytes[10], bytes[11]]);
            let id = Sum::of_word(!target).add_word(checksum).checksum();
            bytes[4..6].copy_from_slice(&(!id).to_be_bytes());
            seal(&mut bytes);
            assert_eq!(u16::from_be_bytes([bytes[10], bytes[11]]), target, "the test's own arithmetic");
            while let Some(ttl) = decrement_ttl(&mut bytes) {
                let incremental = bytes.clone();
                seal(&mut bytes);
                assert_eq!(incremental, bytes, "from checksum {target:#06x}, at TTL {ttl}");
            }
        }
    }

    #[test]
    fn addresses_that_are_no_single_host_are_no_sources() {
        for martian in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.5", "240.0.0.1", "255.255.255.255"] {
            assert!(source_is_martian(martian.parse().unwrap()), "{martian}");
        }
        for host in ["1.0.0.0", "10.0.0.1", "126.255.255.255", "128.0.0.1", "223.255.255.255"] {
            assert!(!source_is_martian(host.parse().unwrap()), "{host}");
        }
    }

    #[test]
    fn destinations_have_their_class() {
        let class = |text: &str| destination_class(text.parse().unwrap());
        assert_eq!(class("10.0.0.1"), DestinationClass::Unicast);
        assert_eq!(class("224.0.0.0"), DestinationClass::Multicast);
        assert_eq!(class("239.255.255.255"), DestinationClass::Multicast);
        assert_eq!(class("255.255.255.255"), DestinationClass::LimitedBroadcast);
        for martian in ["0.0.0.0", "127.0.0.1", "240.0.0.0", "255.255.255.254"] {
            assert_eq!(class(martian), DestinationClass::Martian, "{martian}");
        }
    }

    proptest! {
        #[test]
        fn decrementing_equals_a_new_checksum(
            mut bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(0xff)], 20..=20),
            ttl in 1u8..,
        ) {
            bytes[0] = 0x45;
            bytes[8] = ttl;
            seal(&mut bytes);
            let word = |bytes: &[u8]| u64::from_le_bytes(*bytes[8..].first_chunk().unwrap());
            let in_word = decrement_ttl_in(word(&bytes));
            prop_assert_eq!(decrement_ttl(&mut bytes), Some(ttl - 1));
            prop_assert_eq!(in_word, word(&bytes));
            let incremental = bytes.clone();
            seal(&mut bytes);
            prop_assert_eq!(incremental, bytes);
        }

        #[test]
        fn what_is_accepted_lies_within_its_bytes_and_is_written_as_it_was_read(
            mut bytes in mutated(Just(packet())), sealed in prop::bool::weighted(0.8),
        ) {
            if sealed {
                seal(&mut bytes);
            }
            if let Ok(header) = Ipv4Header::parse(&bytes) {
                let header_len = usize::from(header.header_len);
                prop_assert!((20..=60).contains(&header_len));
                prop_assert!(header.packet(&bytes).is_some());
                let payload_len = header.payload(&bytes).map(<[u8]>::len);
                prop_assert_eq!(payload_len, Some(usize::from(header.total_len) - header_len));
                let reserved_bit = bytes[6] & 0x80 != 0;
                let negative_zero = bytes[10..12] == [0xff, 0xff];
                if !header.has_options() && !reserved_bit && !negative_zero {
                    let mut out = [0; 20];
                    header.write(&mut out);
                    prop_assert_eq!(&out[..], &bytes[..20]);
                }
            }
        }
    }

    #[test]
    fn a_datagram_to_a_port_is_told_from_all_that_is_not_one_in_one_piece() {
        let fields = Ipv4Header {
            header_len: 20,
            dscp_ecn: 0,
            total_len: 28,
            id: 7,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 1,
            protocol: PROTOCOL_UDP,
            src: Ipv4Addr::new(192, 0, 2, 1),
            dst: Ipv4Addr::new(198, 51, 100, 1),
        };
        let packet = |fields: Ipv4Header| {
            let mut packet = [0; 28];
            fields.write(packet.first_chunk_mut().unwrap());
            packet[22..24].copy_from_slice(&7665u16.to_be_bytes());
            packet
        };
        let port = u32::from(7665u16.to_be());
        let whole = packet(fields);
        assert!(is_datagram_to(&whole, port));
        assert!(!is_datagram_to(&whole, u32::from(7666u16.to_be())) && !is_datagram_to(&whole, u32::MAX));
        assert!(!is_datagram_to(&whole[..23], port));
        assert!(!is_datagram_to(&packet(Ipv4Header { protocol: PROTOCOL_TCP, ..fields }), port));
        assert!(!is_datagram_to(&packet(Ipv4Header { more_fragments: true, ..fields }), port));
        assert!(!is_datagram_to(&packet(Ipv4Header { fragment_offset: 8, ..fields }), port));
        assert!(!is_datagram_to(&packet(Ipv4Header { dst: Ipv4Addr::new(224, 0, 0, 9), ..fields }), port));
        let mut with_options = whole;
        with_options[0] = 0x46;
        assert!(!is_datagram_to(&with_options, port));
    }
}
