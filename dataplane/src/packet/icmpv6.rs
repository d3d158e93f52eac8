//! What a router says of itself with ICMPv6 (RFC 4443): echo replies, and errors about packets it could not forward.
//!
//! The worker asks [`error_allowed`] before it calls [`write_error`]; rate limits are its own. Neighbour discovery is in
//! [`super::nd`].

use std::net::Ipv6Addr;

use super::checksum::{self, Sum};
use super::ipv6::{self, DestinationClass, HEADER_LEN, Ipv6Header, MIN_MTU, ORIGINATED_HOP_LIMIT, destination_class};
use super::ipv6_extension::UpperLayer;

/// Next header value of ICMPv6.
pub const NEXT_HEADER: u8 = 58;

/// The length of an ICMPv6 header in bytes, with the word that every message here has behind it.
pub const ICMP_HEADER_LEN: usize = 8;

/// The longest packet [`write_error`] makes, with its IPv6 header, in bytes (RFC 4443 section 2.4 c).
pub const MAX_ERROR_LEN: usize = MIN_MTU as usize;

/// Errors are sent in the class of internetwork control, as those of ICMP are (RFC 1812 section 4.3.2.5).
const ERROR_TRAFFIC_CLASS: u8 = 0xc0;

const DESTINATION_UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
/// The first type that is no error (RFC 4443 section 2.1).
const FIRST_INFORMATIONAL: u8 = 128;
const REDIRECT: u8 = 137;

/// What an ICMPv6 error says of the packet it quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no route to its destination.
    NoRoute,
    /// Its source is of this link only, and its destination on another.
    BeyondScope,
    /// Its destination is on a link here and does not answer.
    AddressUnreachable,
    /// It is for the router, which does not listen on its port.
    PortUnreachable,
    /// It is too long for the next hop: routers do not fragment (RFC 8200 section 5).
    PacketTooBig {
        /// The longest packet that fits, with its IPv6 header, in bytes.
        mtu: u16,
    },
    /// Its hop limit ended here.
    HopLimitExceeded,
    /// A field has a value that the router cannot deal with.
    ErroneousField {
        /// Where it is, from the beginning of the packet, in bytes.
        pointer: u16,
    },
    /// It is for the router, which does not know what is behind its headers.
    UnknownNextHeader {
        /// Where the next header field is, from the beginning of the packet, in bytes.
        pointer: u16,
    },
    /// It is for the router, which does not know one of its options, that must be known.
    UnknownOption {
        /// Where the option's type is, from the beginning of the packet, in bytes.
        pointer: u16,
    },
}

impl ErrorKind {
    /// Type, code, and the second word of the header.
    const fn header(self) -> (u8, u8, u16) {
        match self {
            ErrorKind::NoRoute => (DESTINATION_UNREACHABLE, 0, 0),
            ErrorKind::BeyondScope => (DESTINATION_UNREACHABLE, 2, 0),
            ErrorKind::AddressUnreachable => (DESTINATION_UNREACHABLE, 3, 0),
            ErrorKind::PortUnreachable => (DESTINATION_UNREACHABLE, 4, 0),
            ErrorKind::PacketTooBig { mtu } => (PACKET_TOO_BIG, 0, mtu),
            ErrorKind::HopLimitExceeded => (TIME_EXCEEDED, 0, 0),
            ErrorKind::ErroneousField { pointer } => (PARAMETER_PROBLEM, 0, pointer),
            ErrorKind::UnknownNextHeader { pointer } => (PARAMETER_PROBLEM, 1, pointer),
            ErrorKind::UnknownOption { pointer } => (PARAMETER_PROBLEM, 2, pointer),
        }
    }

    /// Whether it may also be sent about packets to a group (RFC 4443 section 2.4 e 3).
    const fn is_about_groups_too(self) -> bool {
        matches!(self, ErrorKind::PacketTooBig { .. } | ErrorKind::UnknownOption { .. })
    }
}

/// Whether this error may be sent about the packet in `l3`, from which `header` was read (RFC 4443 section 2.4 e).
/// `link_group`: it came to a broadcast or multicast link layer address.
pub fn error_allowed(kind: ErrorKind, header: &Ipv6Header, l3: &[u8], link_group: bool) -> bool {
    let to_group = link_group || destination_class(header.dst) == DestinationClass::Multicast;
    let from_one_node = header.src != Ipv6Addr::UNSPECIFIED && !ipv6::source_is_martian(header.src);
    from_one_node && (!to_group || kind.is_about_groups_too()) && !may_be_error(header, l3)
}

/// Whether the packet is an error or a redirect itself, as far as can be seen: what cannot be read is taken for one.
fn may_be_error(header: &Ipv6Header, l3: &[u8]) -> bool {
    let Ok(upper) = UpperLayer::find(header, l3) else { return true };
    let icmp_type = upper.bytes(header, l3).first().filter(|_| upper.is_first());
    upper.protocol == NEXT_HEADER && icmp_type.is_none_or(|kind| *kind < FIRST_INFORMATIONAL || *kind == REDIRECT)
}

/// Writes a whole IPv6 packet, an ICMPv6 error about `original`, to the front of `out` and returns its length: at most
/// [`MAX_ERROR_LEN`]. `original` starts with an IPv6 header as it was received; as much of it is quoted as fits,
/// without what the link added behind it. None where `out` is too short.
pub fn write_error(kind: ErrorKind, original: &[u8], src: Ipv6Addr, dst: Ipv6Addr, out: &mut [u8]) -> Option<usize> {
    let said = original
        .first_chunk::<HEADER_LEN>()
        .map_or(0, |&[_, _, _, _, l0, l1, ..]| HEADER_LEN + usize::from(u16::from_be_bytes([l0, l1])));
    let quoted = original.len().min(said).min(MAX_ERROR_LEN - HEADER_LEN - ICMP_HEADER_LEN);
    let payload_len = (ICMP_HEADER_LEN + quoted) as u16;
    let length = HEADER_LEN + usize::from(payload_len);

    let (ip, rest) = out.get_mut(..length)?.split_first_chunk_mut::<HEADER_LEN>()?;
    let (icmp, quote) = rest.split_first_chunk_mut::<ICMP_HEADER_LEN>()?;
    Ipv6Header {
        traffic_class: ERROR_TRAFFIC_CLASS,
        flow_label: 0,
        payload_len,
        next_header: NEXT_HEADER,
        hop_limit: ORIGINATED_HOP_LIMIT,
        src,
        dst,
    }
    .write(ip);
    let quote_sum = checksum::copy_and_sum(original, quote);
    let (icmp_type, code, word) = kind.header();
    let [w0, w1] = word.to_be_bytes();
    let header_sum = Sum::of_word(u16::from_be_bytes([icmp_type, code])).add_word(word);
    let pseudo = ipv6::pseudo_header(src, dst, payload_len, NEXT_HEADER);
    let [c0, c1] = pseudo.add(header_sum).add(quote_sum).checksum().to_be_bytes();
    *icmp = [icmp_type, code, c0, c1, 0, 0, w0, w1];
    Some(length)
}

/// Why a packet is not answered with an echo reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EchoError {
    /// It is no ICMPv6 echo request, or has extension headers, which an answer would have to do without.
    #[error("no plain ICMPv6 echo request")]
    NotEchoRequest,
    /// It is shorter than an ICMPv6 header.
    #[error("ICMPv6 message shorter than 8 bytes")]
    Truncated,
    /// Its checksum is wrong.
    #[error("wrong ICMPv6 checksum")]
    Checksum,
}

/// Whether the checksum of `icmp`, all of the message that `header` is in front of, is right.
#[inline]
pub fn is_intact(header: &Ipv6Header, icmp: &[u8]) -> bool {
    let pseudo = ipv6::pseudo_header(header.src, header.dst, header.payload_len, NEXT_HEADER);
    icmp.len() == usize::from(header.payload_len) && pseudo.add(Sum::of(icmp)).is_valid()
}

/// Turns the echo request in `l3`, from which `header` was read, into its reply: addresses change places, the hop limit is
/// that of a packet sent here, and no flow is named. On an error nothing changes.
pub fn echo_reply(l3: &mut [u8], header: &Ipv6Header) -> Result<(), EchoError> {
    if header.next_header != NEXT_HEADER {
        return Err(EchoError::NotEchoRequest);
    }
    let icmp = header.payload(l3).ok_or(EchoError::Truncated)?;
    let &[icmp_type, code, c0, c1, ..] = icmp.first_chunk::<ICMP_HEADER_LEN>().ok_or(EchoError::Truncated)?;
    if icmp_type != ECHO_REQUEST {
        return Err(EchoError::NotEchoRequest);
    }
    if !is_intact(header, icmp) {
        return Err(EchoError::Checksum);
    }
    let (old, new) = (u16::from_be_bytes([icmp_type, code]), u16::from_be_bytes([ECHO_REPLY, code]));
    let checksum = checksum::update(u16::from_be_bytes([c0, c1]), old, new);
    let (ip, rest) = l3.split_first_chunk_mut::<HEADER_LEN>().ok_or(EchoError::Truncated)?;
    let message = rest.first_chunk_mut::<4>().ok_or(EchoError::Truncated)?;
    let [c0, c1] = checksum.to_be_bytes();
    *message = [ECHO_REPLY, code, c0, c1];
    let (src, dst) = (header.dst, header.src);
    Ipv6Header { hop_limit: ORIGINATED_HOP_LIMIT, flow_label: 0, src, dst, ..*header }.write(ip);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::ipv6::tests::packet;
    use crate::packet::mutation::mutated;

    fn router() -> Ipv6Addr {
        "2001:db8:1::7".parse().unwrap()
    }

    fn host() -> Ipv6Addr {
        "2001:db8::1".parse().unwrap()
    }

    /// A packet with this ICMPv6 message, its checksum made right.
    pub(crate) fn icmp(message: &[u8]) -> Vec<u8> {
        let mut bytes = packet();
        bytes.truncate(40);
        bytes[6] = NEXT_HEADER;
        bytes[4..6].copy_from_slice(&(message.len() as u16).to_be_bytes());
        bytes.extend_from_slice(message);
        seal(&mut bytes);
        bytes
    }

    /// Makes the checksum right, where there is one.
    pub(crate) fn seal(bytes: &mut [u8]) {
        if let Ok(header) = Ipv6Header::parse(bytes)
            && header.next_header == NEXT_HEADER
            && header.payload_len >= 4
        {
            bytes[42..44].fill(0);
            let pseudo = ipv6::pseudo_header(header.src, header.dst, header.payload_len, NEXT_HEADER);
            let checksum = pseudo.add(Sum::of(&bytes[40..header.total_len()])).checksum();
            bytes[42..44].copy_from_slice(&checksum.to_be_bytes());
        }
    }

    fn echo_request(data: &[u8]) -> Vec<u8> {
        icmp(&[&[ECHO_REQUEST, 0, 0, 0, 0x12, 0x34, 0, 7], data].concat())
    }

    fn allowed(kind: ErrorKind, bytes: &[u8]) -> bool {
        error_allowed(kind, &Ipv6Header::parse(bytes).unwrap(), bytes, false)
    }

    #[test]
    fn a_reply_goes_back_with_the_same_data_and_a_valid_checksum() {
        let mut bytes = echo_request(b"abcde");
        let header = Ipv6Header::parse(&bytes).unwrap();
        echo_reply(&mut bytes, &header).unwrap();
        let reply = Ipv6Header::parse(&bytes).unwrap();
        assert_eq!((reply.src, reply.dst, reply.hop_limit), (header.dst, header.src, ORIGINATED_HOP_LIMIT));
        assert!(is_intact(&reply, &bytes[40..]));
        assert_eq!((bytes[40], &bytes[44..]), (ECHO_REPLY, &b"\x12\x34\0\x07abcde"[..]));
    }

    #[test]
    fn what_is_no_whole_echo_request_is_refused_and_left_alone() {
        let refused = |bytes: &[u8]| {
            let mut changed = bytes.to_vec();
            let result = echo_reply(&mut changed, &Ipv6Header::parse(bytes).unwrap());
            assert_eq!(changed, bytes, "changed in spite of {result:?}");
            result
        };
        assert_eq!(refused(&packet()), Err(EchoError::NotEchoRequest));
        assert_eq!(refused(&icmp(&[ECHO_REPLY, 0, 0, 0, 0, 0, 0, 0])), Err(EchoError::NotEchoRequest));
        assert_eq!(refused(&icmp(&[ECHO_REQUEST, 0, 0, 0, 0, 0, 0])), Err(EchoError::Truncated));
        let mut damaged = echo_request(b"abcde");
        damaged[50] ^= 1;
        assert_eq!(refused(&damaged), Err(EchoError::Checksum));
    }

    #[test]
    fn every_error_has_the_type_and_code_of_its_rfc() {
        let kinds = [
            (ErrorKind::NoRoute, [1, 0, 0, 0]),
            (ErrorKind::BeyondScope, [1, 2, 0, 0]),
            (ErrorKind::AddressUnreachable, [1, 3, 0, 0]),
            (ErrorKind::PortUnreachable, [1, 4, 0, 0]),
            (ErrorKind::PacketTooBig { mtu: 1400 }, [2, 0, 0x05, 0x78]),
            (ErrorKind::HopLimitExceeded, [3, 0, 0, 0]),
            (ErrorKind::ErroneousField { pointer: 42 }, [4, 0, 0, 42]),
            (ErrorKind::UnknownNextHeader { pointer: 6 }, [4, 1, 0, 6]),
            (ErrorKind::UnknownOption { pointer: 300 }, [4, 2, 1, 44]),
        ];
        for (kind, [icmp_type, code, w0, w1]) in kinds {
            let mut out = [0xaa; 1500];
            let length = write_error(kind, &packet(), router(), host(), &mut out).unwrap();
            let error = &out[..length];
            let header = Ipv6Header::parse(error).unwrap();
            assert_eq!((header.src, header.dst, header.next_header), (router(), host(), NEXT_HEADER));
            assert_eq!((&error[40..42], &error[44..48]), (&[icmp_type, code][..], &[0, 0, w0, w1][..]), "{kind:?}");
            assert!(is_intact(&header, &error[40..]), "{kind:?}");
            assert_eq!(&error[48..], packet(), "{kind:?} quotes the packet as it came");
        }
    }

    #[test]
    fn a_long_packet_is_quoted_up_to_1280_bytes_and_padding_is_not() {
        let mut long = packet();
        long.resize(1500, 0x77);
        long[4..6].copy_from_slice(&1460u16.to_be_bytes());
        let mut out = [0; 1500];
        assert_eq!(write_error(ErrorKind::NoRoute, &long, router(), host(), &mut out), Some(1280));
        assert_eq!(&out[48..1280], &long[..1232]);
        let mut padded = packet();
        padded.resize(60, 0xee);
        assert_eq!(write_error(ErrorKind::NoRoute, &padded, router(), host(), &mut out), Some(96));
        assert_eq!(write_error(ErrorKind::NoRoute, &packet(), router(), host(), &mut out[..95]), None);
    }

    #[test]
    fn errors_are_allowed_about_data_and_questions_and_never_about_errors_and_redirects() {
        assert!(allowed(ErrorKind::NoRoute, &packet()));
        assert!(allowed(ErrorKind::NoRoute, &echo_request(b"")));
        for icmp_type in [0, 1, 2, 3, 4, 100, 127, REDIRECT] {
            assert!(!allowed(ErrorKind::NoRoute, &icmp(&[icmp_type, 0, 0, 0, 0, 0, 0, 0])), "type {icmp_type}");
        }
        assert!(!allowed(ErrorKind::NoRoute, &icmp(&[])), "a message without a type");
    }

    #[test]
    fn an_error_behind_extension_headers_or_in_a_later_fragment_is_not_answered() {
        let mut hidden = icmp(&[]);
        hidden[6] = 60;
        hidden.extend([58, 0, 1, 4, 0, 0, 0, 0, 1, 0, 0, 0]);
        hidden[5] = 12;
        assert!(!allowed(ErrorKind::NoRoute, &hidden));
        hidden[48] = 128;
        assert!(allowed(ErrorKind::NoRoute, &hidden));
        (hidden[6], hidden[43]) = (44, 8);
        assert!(!allowed(ErrorKind::NoRoute, &hidden), "it cannot be seen what the whole is");
    }

    #[test]
    fn about_groups_only_size_and_options_are_told_and_nothing_to_what_is_no_node() {
        let mut to_group = packet();
        to_group[24] = 0xff;
        assert!(!allowed(ErrorKind::NoRoute, &to_group));
        assert!(allowed(ErrorKind::PacketTooBig { mtu: 1280 }, &to_group));
        assert!(allowed(ErrorKind::UnknownOption { pointer: 42 }, &to_group));
        let header = Ipv6Header::parse(&packet()).unwrap();
        assert!(!error_allowed(ErrorKind::NoRoute, &header, &packet(), true), "a multicast frame");
        for src in ["::", "::1", "ff02::1", "::ffff:10.0.0.1"] {
            let mut bytes = packet();
            bytes[8..24].copy_from_slice(&src.parse::<Ipv6Addr>().unwrap().octets());
            assert!(!allowed(ErrorKind::PacketTooBig { mtu: 1280 }, &bytes), "{src}");
        }
    }

    proptest! {
        #[test]
        fn what_is_answered_had_a_valid_question_and_gets_a_valid_answer(
            mut bytes in mutated(prop::collection::vec(any::<u8>(), 0..40).prop_map(|data| echo_request(&data))),
            sealed in prop::bool::weighted(0.8),
        ) {
            if sealed {
                seal(&mut bytes);
            }
            if let Ok(header) = Ipv6Header::parse(&bytes) {
                let before = bytes.clone();
                if echo_reply(&mut bytes, &header).is_ok() {
                    prop_assert!(is_intact(&header, &before[40..header.total_len()]));
                    let reply = Ipv6Header::parse(&bytes).unwrap();
                    prop_assert!(is_intact(&reply, &bytes[40..reply.total_len()]));
                    prop_assert_eq!((reply.src, reply.dst), (header.dst, header.src));
                } else {
                    prop_assert_eq!(bytes, before);
                }
            }
        }

        #[test]
        fn any_original_makes_a_valid_error_that_is_not_answered_or_none(
            original in mutated(Just(packet())), mtu: u16, room in prop_oneof![Just(1500usize), 0usize..100],
        ) {
            let mut out = vec![0; room];
            let kind = ErrorKind::PacketTooBig { mtu };
            if let Some(length) = write_error(kind, &original, router(), host(), &mut out) {
                prop_assert!(length <= MAX_ERROR_LEN);
                let header = Ipv6Header::parse(&out[..length]).unwrap();
                prop_assert_eq!(header.total_len(), length);
                prop_assert!(is_intact(&header, &out[40..length]));
                prop_assert!(!error_allowed(kind, &header, &out[..length], false));
            }
        }
    }
}
