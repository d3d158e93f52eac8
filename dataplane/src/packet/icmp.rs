//! What a router says of itself with ICMP (RFC 792): echo replies, and errors about packets it could not forward.
//!
//! The worker asks [`error_allowed`] before it calls [`write_error`]; rate limits are its own. A directed broadcast
//! address looks like a host's here: the caller, who knows the interfaces, excludes it.

use std::net::Ipv4Addr;

use super::checksum::{self, Sum};
use super::ipv4::{
    self, DestinationClass, Ipv4Header, MIN_HEADER_LEN, PROTOCOL_ICMP, destination_class, source_is_martian,
};

/// The length of an ICMP header in bytes.
pub const HEADER_LEN: usize = 8;

/// The longest packet [`write_error`] makes, with its IP header, in bytes (RFC 1812 section 4.3.2.3).
pub const MAX_ERROR_LEN: usize = 576;

/// TTL of what the router itself sends: the default of RFC 1700, "IP Time to Live Parameter".
pub const ORIGINATED_TTL: u8 = 64;

/// Errors are sent with precedence 6, internetwork control (RFC 1812 section 4.3.2.5).
const ERROR_DSCP_ECN: u8 = 0xc0;

const ECHO_REPLY: u8 = 0;
const DESTINATION_UNREACHABLE: u8 = 3;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;

/// What an ICMP error says of the packet it quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Its TTL ended here.
    TimeExceeded,
    /// There is no route to its destination.
    NetUnreachable,
    /// Its destination is on a link here and does not answer.
    HostUnreachable,
    /// It is for the router, which does not speak its protocol.
    ProtocolUnreachable,
    /// It is for the router, which does not listen on its port.
    PortUnreachable,
    /// It is too long for the next hop and must not be fragmented (RFC 1191 section 4).
    FragmentationNeeded {
        /// The longest packet that fits, with its IP header, in bytes.
        next_hop_mtu: u16,
    },
}

impl ErrorKind {
    /// Type, code, and the last word of the header.
    const fn header(self) -> (u8, u8, u16) {
        match self {
            ErrorKind::TimeExceeded => (TIME_EXCEEDED, 0, 0),
            ErrorKind::NetUnreachable => (DESTINATION_UNREACHABLE, 0, 0),
            ErrorKind::HostUnreachable => (DESTINATION_UNREACHABLE, 1, 0),
            ErrorKind::ProtocolUnreachable => (DESTINATION_UNREACHABLE, 2, 0),
            ErrorKind::PortUnreachable => (DESTINATION_UNREACHABLE, 3, 0),
            ErrorKind::FragmentationNeeded { next_hop_mtu } => (DESTINATION_UNREACHABLE, 4, next_hop_mtu),
        }
    }
}

/// Whether an ICMP error may be sent about the packet in `l3`, from which `header` was read (RFC 1122 section 3.2.2,
/// RFC 1812 section 4.3.2.7). `link_broadcast`: it came to a broadcast or multicast link layer address.
pub fn error_allowed(header: &Ipv4Header, l3: &[u8], link_broadcast: bool) -> bool {
    !link_broadcast
        && destination_class(header.dst) == DestinationClass::Unicast
        && !source_is_martian(header.src)
        && header.fragment_offset == 0
        && (header.protocol != PROTOCOL_ICMP || is_icmp_query(header, l3))
}

/// Whether an ICMP packet is a question or an answer. Types this does not know may be errors and are taken as such.
fn is_icmp_query(header: &Ipv4Header, l3: &[u8]) -> bool {
    // Echo, router discovery, timestamp, information, address mask, extended echo (RFC 8335).
    let icmp_type = header.payload(l3).and_then(|l4| l4.first());
    matches!(icmp_type, Some(0 | 8..=10 | 13..=18 | 42 | 43))
}

/// Writes a whole IPv4 packet, an ICMP error about `original`, to the front of `out` and returns its length: at most
/// [`MAX_ERROR_LEN`]. `original` starts with an IPv4 header as it was received; as much of it is quoted as fits,
/// without what the link added behind it. None where `out` is too short.
pub fn write_error(kind: ErrorKind, original: &[u8], src: Ipv4Addr, dst: Ipv4Addr, out: &mut [u8]) -> Option<usize> {
    let total_len = original.first_chunk::<4>().map_or(0, |&[_, _, l0, l1]| usize::from(u16::from_be_bytes([l0, l1])));
    let quoted = original.len().min(total_len).min(MAX_ERROR_LEN - MIN_HEADER_LEN - HEADER_LEN);
    let length = MIN_HEADER_LEN + HEADER_LEN + quoted;

    let (ip, rest) = out.get_mut(..length)?.split_first_chunk_mut::<MIN_HEADER_LEN>()?;
    let (icmp, quote) = rest.split_first_chunk_mut::<HEADER_LEN>()?;
    Ipv4Header {
        header_len: MIN_HEADER_LEN as u8,
        dscp_ecn: ERROR_DSCP_ECN,
        total_len: length as u16,
        // Not to be fragmented, so that the identification may be anything (RFC 6864 section 4.1).
        id: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        ttl: ORIGINATED_TTL,
        protocol: PROTOCOL_ICMP,
        src,
        dst,
    }
    .write(ip);
    let quote_sum = checksum::copy_and_sum(original, quote);
    let (icmp_type, code, word) = kind.header();
    let [w0, w1] = word.to_be_bytes();
    let header_sum = Sum::of_word(u16::from_be_bytes([icmp_type, code])).add_word(word);
    let [c0, c1] = header_sum.add(quote_sum).checksum().to_be_bytes();
    *icmp = [icmp_type, code, c0, c1, 0, 0, w0, w1];
    Some(length)
}

/// Why a packet is not answered with an echo reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EchoError {
    /// It is no ICMP echo request.
    #[error("no ICMP echo request")]
    NotEchoRequest,
    /// It is a fragment: what it asks is not all there.
    #[error("ICMP echo request in fragments")]
    Fragment,
    /// It is shorter than an ICMP header.
    #[error("ICMP message shorter than 8 bytes")]
    Truncated,
    /// Its ICMP checksum is wrong.
    #[error("wrong ICMP checksum")]
    Checksum,
}

impl EchoError {
    /// Every reason there is.
    pub const ALL: [EchoError; 4] =
        [EchoError::NotEchoRequest, EchoError::Fragment, EchoError::Truncated, EchoError::Checksum];

    /// The name of its counter.
    pub const fn name(self) -> &'static str {
        match self {
            EchoError::NotEchoRequest => "icmp_not_echo_request",
            EchoError::Fragment => "icmp_fragment",
            EchoError::Truncated => "icmp_truncated",
            EchoError::Checksum => "icmp_checksum",
        }
    }
}

/// An echo request or reply without its data (RFC 792, "Echo or Echo Reply Message").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Whether it is the question.
    pub request: bool,
    /// Which pinger.
    pub id: u16,
    /// Which of its questions.
    pub sequence: u16,
}

impl Echo {
    /// Reads an echo message; `icmp` is the payload of an IP packet that is no fragment.
    pub fn parse(icmp: &[u8]) -> Result<Echo, EchoError> {
        let &[icmp_type, _, _, _, i0, i1, s0, s1] = icmp.first_chunk::<HEADER_LEN>().ok_or(EchoError::Truncated)?;
        let request = match icmp_type {
            ECHO_REQUEST => true,
            ECHO_REPLY => false,
            _ => return Err(EchoError::NotEchoRequest),
        };
        if !Sum::of(icmp).is_valid() {
            return Err(EchoError::Checksum);
        }
        Ok(Echo { request, id: u16::from_be_bytes([i0, i1]), sequence: u16::from_be_bytes([s0, s1]) })
    }
}

/// Turns the echo request in `l3`, from which `header` was read, into its reply: addresses change places, the TTL is
/// that of a packet sent here. On an error nothing changes.
///
/// Options stay as they are; a caller that minds source routes asks [`Ipv4Header::has_options`] first.
pub fn echo_reply(l3: &mut [u8], header: &Ipv4Header) -> Result<(), EchoError> {
    if header.protocol != PROTOCOL_ICMP {
        return Err(EchoError::NotEchoRequest);
    }
    if header.is_fragment() {
        return Err(EchoError::Fragment);
    }
    let message = usize::from(header.header_len)..usize::from(header.total_len);
    let icmp = l3.get_mut(message).ok_or(EchoError::Truncated)?;
    if !Echo::parse(icmp)?.request {
        return Err(EchoError::NotEchoRequest);
    }
    let [icmp_type, code, c0, c1, ..] = icmp.first_chunk_mut::<HEADER_LEN>().ok_or(EchoError::Truncated)?;
    let (old, new) = (u16::from_be_bytes([*icmp_type, *code]), u16::from_be_bytes([ECHO_REPLY, *code]));
    let checksum = match checksum::update(u16::from_be_bytes([*c0, *c1]), old, new) {
        // Here the message may be nothing but zeros, over which only 0xffff is a valid checksum; over others both
        // are.
        0 => 0xffff,
        checksum => checksum,
    };
    *icmp_type = ECHO_REPLY;
    [*c0, *c1] = checksum.to_be_bytes();
    ipv4::turn_around(l3, ORIGINATED_TTL).ok_or(EchoError::Truncated)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::ipv4::tests::{packet, seal};
    use crate::packet::mutation::mutated;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn icmp(message: &[u8]) -> Vec<u8> {
        let mut bytes = packet();
        bytes.truncate(20);
        bytes[9] = PROTOCOL_ICMP;
        bytes.extend_from_slice(message);
        let length = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        seal_all(&mut bytes);
        bytes
    }

    /// Makes both checksums right.
    fn seal_all(bytes: &mut [u8]) {
        seal(bytes);
        if bytes.len() >= 28 {
            bytes[22..24].fill(0);
            let checksum = Sum::of(&bytes[20..]).checksum();
            bytes[22..24].copy_from_slice(&checksum.to_be_bytes());
        }
    }

    fn echo_request(data: &[u8]) -> Vec<u8> {
        let mut message = vec![ECHO_REQUEST, 0, 0, 0, 0x12, 0x34, 0, 7];
        message.extend_from_slice(data);
        icmp(&message)
    }

    fn allowed(bytes: &mut [u8]) -> bool {
        seal(bytes);
        error_allowed(&Ipv4Header::parse(bytes).unwrap(), bytes, false)
    }

    #[test]
    fn a_reply_goes_back_with_the_same_data_and_valid_checksums() {
        let mut bytes = echo_request(b"abcde");
        let header = Ipv4Header::parse(&bytes).unwrap();
        assert_eq!(Echo::parse(&bytes[20..]), Ok(Echo { request: true, id: 0x1234, sequence: 7 }));
        echo_reply(&mut bytes, &header).unwrap();
        let reply = Ipv4Header::parse(&bytes).expect("a valid header checksum");
        assert_eq!((reply.src, reply.dst, reply.ttl), (header.dst, header.src, ORIGINATED_TTL));
        assert_eq!(Echo::parse(&bytes[20..]), Ok(Echo { request: false, id: 0x1234, sequence: 7 }));
        assert_eq!(&bytes[28..], b"abcde");
    }

    #[test]
    fn a_reply_of_nothing_but_zeros_has_a_valid_checksum() {
        let mut bytes = icmp(&[ECHO_REQUEST, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let header = Ipv4Header::parse(&bytes).unwrap();
        echo_reply(&mut bytes, &header).unwrap();
        assert_eq!(&bytes[20..], [0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_no_whole_echo_request_is_refused_and_left_alone() {
        let refused = |mut bytes: Vec<u8>| {
            seal(&mut bytes);
            let before = bytes.clone();
            let result = echo_reply(&mut bytes, &Ipv4Header::parse(&before).unwrap());
            assert_eq!(bytes, before, "changed in spite of {result:?}");
            result
        };
        assert_eq!(refused(packet()), Err(EchoError::NotEchoRequest));
        assert_eq!(refused(icmp(&[ECHO_REPLY, 0, 0, 0, 0, 0, 0, 0])), Err(EchoError::NotEchoRequest));
        assert_eq!(refused(icmp(&[13, 0, 0, 0, 0, 0, 0, 0])), Err(EchoError::NotEchoRequest));
        assert_eq!(refused(icmp(&[ECHO_REQUEST, 0, 0, 0, 0, 0, 0])), Err(EchoError::Truncated));
        let mut damaged = echo_request(b"abcde");
        damaged[30] ^= 1;
        assert_eq!(refused(damaged), Err(EchoError::Checksum));
        let mut fragment = echo_request(b"abcde");
        fragment[6] = 0x20;
        assert_eq!(refused(fragment), Err(EchoError::Fragment));
    }

    #[test]
    fn every_error_has_the_type_and_code_of_its_rfc() {
        let kinds = [
            (ErrorKind::TimeExceeded, [11, 0, 0, 0]),
            (ErrorKind::NetUnreachable, [3, 0, 0, 0]),
            (ErrorKind::HostUnreachable, [3, 1, 0, 0]),
            (ErrorKind::ProtocolUnreachable, [3, 2, 0, 0]),
            (ErrorKind::PortUnreachable, [3, 3, 0, 0]),
            (ErrorKind::FragmentationNeeded { next_hop_mtu: 1400 }, [3, 4, 0x05, 0x78]),
        ];
        for (kind, [icmp_type, code, m0, m1]) in kinds {
            let mut out = [0xaa; 1500];
            let length = write_error(kind, &packet(), ROUTER, HOST, &mut out).unwrap();
            let error = &out[..length];
            let header = Ipv4Header::parse(error).unwrap();
            assert_eq!((header.src, header.dst, header.protocol), (ROUTER, HOST, PROTOCOL_ICMP));
            assert_eq!((error[20], error[21]), (icmp_type, code), "{kind:?}");
            assert_eq!(&error[24..28], [0, 0, m0, m1], "{kind:?}");
            assert!(Sum::of(&error[20..]).is_valid(), "{kind:?}");
            assert_eq!(&error[28..], packet(), "{kind:?} quotes the packet as it came");
        }
    }

    #[test]
    fn a_long_packet_is_quoted_up_to_576_bytes_and_padding_is_not() {
        let mut long = packet();
        long.resize(1500, 0x77);
        long[2..4].copy_from_slice(&1500u16.to_be_bytes());
        let mut out = [0; 1500];
        assert_eq!(write_error(ErrorKind::TimeExceeded, &long, ROUTER, HOST, &mut out), Some(576));
        assert_eq!(&out[28..576], &long[..548]);
        let mut padded = packet();
        padded.resize(46, 0xee);
        assert_eq!(write_error(ErrorKind::TimeExceeded, &padded, ROUTER, HOST, &mut out), Some(56));
    }

    #[test]
    fn an_error_that_does_not_fit_is_not_written() {
        let mut out = [0; 55];
        assert_eq!(write_error(ErrorKind::TimeExceeded, &packet(), ROUTER, HOST, &mut out), None);
    }

    #[test]
    fn errors_are_allowed_about_data_and_questions() {
        assert!(allowed(&mut packet()));
        assert!(allowed(&mut echo_request(b"")));
        let mut first_fragment = packet();
        first_fragment[6] = 0x20;
        assert!(allowed(&mut first_fragment));
    }

    #[test]
    fn no_error_is_sent_about_an_error_or_an_unknown_type() {
        for icmp_type in [3, 4, 5, 11, 12, 19, 44, 255] {
            assert!(!allowed(&mut icmp(&[icmp_type, 0, 0, 0, 0, 0, 0, 0])), "type {icmp_type}");
        }
        assert!(!allowed(&mut icmp(&[])), "a message without a type");
    }

    #[test]
    fn no_error_is_sent_about_a_later_fragment() {
        let mut fragment = packet();
        fragment[7] = 1;
        assert!(!allowed(&mut fragment));
    }

    #[test]
    fn no_error_is_sent_about_a_broadcast_or_to_what_is_no_host() {
        let bytes = packet();
        assert!(!error_allowed(&Ipv4Header::parse(&bytes).unwrap(), &bytes, true), "a link broadcast");
        for dst in [[255, 255, 255, 255], [224, 0, 0, 1], [127, 0, 0, 1]] {
            let mut bytes = packet();
            bytes[16..20].copy_from_slice(&dst);
            assert!(!allowed(&mut bytes), "to {dst:?}");
        }
        for src in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255, 255, 255, 255]] {
            let mut bytes = packet();
            bytes[12..16].copy_from_slice(&src);
            assert!(!allowed(&mut bytes), "from {src:?}");
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
            if let Ok(header) = Ipv4Header::parse(&bytes) {
                let (start, end) = (usize::from(header.header_len), usize::from(header.total_len));
                let (before, valid) = (bytes.clone(), Sum::of(&bytes[start..end]).is_valid());
                if echo_reply(&mut bytes, &header).is_ok() {
                    prop_assert!(valid);
                    prop_assert!(Sum::of(&bytes[start..end]).is_valid());
                    let reply = Ipv4Header::parse(&bytes);
                    prop_assert_eq!(reply.map(|reply| (reply.src, reply.dst)), Ok((header.dst, header.src)));
                } else {
                    prop_assert_eq!(bytes, before);
                }
            }
        }

        #[test]
        fn any_original_makes_a_valid_error_or_none(
            original in mutated(Just(packet())), mtu: u16, room in prop_oneof![Just(1500usize), 0usize..100],
        ) {
            let mut out = vec![0; room];
            let kind = ErrorKind::FragmentationNeeded { next_hop_mtu: mtu };
            if let Some(length) = write_error(kind, &original, ROUTER, HOST, &mut out) {
                prop_assert!(length <= MAX_ERROR_LEN);
                let header = Ipv4Header::parse(&out[..length]);
                prop_assert_eq!(header.map(|header| usize::from(header.total_len)), Ok(length));
                prop_assert!(Sum::of(&out[20..length]).is_valid());
            }
        }
    }
}
