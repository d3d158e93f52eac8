//! The chain of extension headers behind an IPv6 header (RFC 8200 section 4), walked to the upper layer.
//!
//! A router forwards without looking at them; it walks them where it is the destination, where a rule asks for ports, and
//! before it sends an error. The walk is bounded in headers and in bytes, whatever the chain says.

use super::ipv6::{HEADER_LEN, Ipv6Header};

/// Next header value of the hop-by-hop options header.
pub const HOP_BY_HOP: u8 = 0;
/// Next header value of the routing header.
pub const ROUTING: u8 = 43;
/// Next header value of the fragment header.
pub const FRAGMENT: u8 = 44;
/// Next header value of the Authentication Header (RFC 4302).
const AUTHENTICATION: u8 = 51;
/// Next header value of the destination options header.
pub const DESTINATION_OPTIONS: u8 = 60;

/// Extension headers that a packet may have: RFC 8200 section 4.1 has an order in which there are at most seven.
const MAX_HEADERS: usize = 8;
/// Byte of the fixed header that says what is behind it.
const NEXT_HEADER_AT: u16 = 6;

/// What a fragment header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where this fragment's part starts in the fragmentable part of the whole, in bytes: a multiple of 8.
    pub offset: u16,
    /// Whether more follow.
    pub more: bool,
}

impl Fragment {
    /// Whether this is the whole packet all the same (RFC 6946).
    pub const fn is_atomic(self) -> bool {
        self.offset == 0 && !self.more
    }
}

/// What is behind the extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpperLayer {
    /// What it is: a protocol number.
    pub protocol: u8,
    /// Where the byte is that says so, from the beginning of the packet.
    pub protocol_at: u16,
    /// Where it begins, from the beginning of the packet: 40 where there are no extension headers.
    pub offset: u16,
    /// What the fragment header says, where there is one. Where its offset is not 0, no upper layer's header is here.
    pub fragment: Option<Fragment>,
}

/// Why a chain of extension headers leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// A header goes beyond the end of the packet.
    #[error("IPv6 extension header beyond the packet")]
    Truncated,
    /// There are more than any packet has use for.
    #[error("more than 8 IPv6 extension headers")]
    TooMany,
}

/// A header of the chain, as [`walk`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionHeader<'a> {
    /// Which: its next header value.
    pub kind: u8,
    /// Where it begins, from the beginning of the packet.
    pub offset: u16,
    /// All of it.
    pub bytes: &'a [u8],
}

impl UpperLayer {
    /// The upper layer of the packet in `l3`, from which `header` was read.
    #[inline]
    pub fn find(header: &Ipv6Header, l3: &[u8]) -> Result<UpperLayer, ExtensionError> {
        if !is_extension(header.next_header) {
            let (protocol, offset) = (header.next_header, HEADER_LEN as u16);
            return Ok(UpperLayer { protocol, protocol_at: NEXT_HEADER_AT, offset, fragment: None });
        }
        walk(header, l3, |_| ())
    }

    /// What is there of the upper layer, of the packet it was found in.
    #[inline]
    pub fn bytes<'a>(&self, header: &Ipv6Header, l3: &'a [u8]) -> &'a [u8] {
        header.packet(l3).and_then(|packet| packet.get(usize::from(self.offset)..)).unwrap_or_default()
    }

    /// Whether this is a part of a packet and not the whole.
    #[inline]
    pub const fn is_fragment(&self) -> bool {
        matches!(self.fragment, Some(fragment) if !fragment.is_atomic())
    }

    /// Whether the upper layer's header is in this packet.
    #[inline]
    pub const fn is_first(&self) -> bool {
        matches!(self.fragment, None | Some(Fragment { offset: 0, .. }))
    }
}

/// Walks the chain of the packet in `l3`, from which `header` was read, and shows each header to `seen`.
pub fn walk<'a>(
    header: &Ipv6Header,
    l3: &'a [u8],
    mut seen: impl FnMut(ExtensionHeader<'a>),
) -> Result<UpperLayer, ExtensionError> {
    let mut rest = header.payload(l3).ok_or(ExtensionError::Truncated)?;
    let (mut protocol, mut protocol_at, mut offset) = (header.next_header, NEXT_HEADER_AT, HEADER_LEN as u16);
    let mut fragment = None;
    for _ in 0..=MAX_HEADERS {
        if !is_extension(protocol) {
            return Ok(UpperLayer { protocol, protocol_at, offset, fragment });
        }
        let &[next, length, o0, o1] = rest.first_chunk::<4>().ok_or(ExtensionError::Truncated)?;
        let length = match protocol {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        let (bytes, behind) = rest.split_at_checked(length).ok_or(ExtensionError::Truncated)?;
        seen(ExtensionHeader { kind: protocol, offset, bytes });
        protocol_at = offset;
        offset = u16::try_from(usize::from(offset) + length).map_err(|_| ExtensionError::Truncated)?;
        if protocol == FRAGMENT {
            let word = u16::from_be_bytes([o0, o1]);
            let part = Fragment { offset: word & 0xfff8, more: word & 1 != 0 };
            fragment = Some(part);
            if part.offset != 0 {
                // What follows is from the middle of the packet: no header.
                return Ok(UpperLayer { protocol: next, protocol_at, offset, fragment });
            }
        }
        (protocol, rest) = (next, behind);
    }
    Err(ExtensionError::TooMany)
}

/// Headers that have a next header field where others have theirs: RFC 8200 section 4.1, Mobility (RFC 6275), HIP
/// (RFC 7401), Shim6 (RFC 5533). Encapsulating Security Payload is none: what is in it cannot be read.
#[inline]
pub(super) const fn is_extension(next_header: u8) -> bool {
    matches!(next_header, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS | 135 | 139 | 140)
}

/// Why a packet that has reached its destination is not to be processed there: its extension headers ask for something
/// that this node does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unprocessable {
    /// Its source is not to be told.
    Silent,
    /// Its source is to be told that this byte of the packet could not be dealt with: a routing header's type
    /// (RFC 8200 section 4.4).
    Field(u16),
    /// Its source is to be told that the option whose type is this byte of the packet is not known (section 4.2).
    Option(u16),
}

/// Whether the destination may process the packet in `l3`, from which `header` was read: routing headers must be at their
/// end, and unknown options must be such as may be skipped. To be asked once the chain was found sound.
pub fn check_at_destination(header: &Ipv6Header, l3: &[u8]) -> Result<(), Unprocessable> {
    let mut verdict = Ok(());
    let walked = walk(header, l3, |extension| {
        if verdict.is_ok() {
            verdict = match (extension.kind, extension.bytes) {
                // Segments left: it is to be routed on, which this router does for no type (RFC 5095 for type 0).
                (ROUTING, [_, _, _, left, ..]) if *left > 0 => {
                    Err(Unprocessable::Field(extension.offset.saturating_add(2)))
                }
                (HOP_BY_HOP | DESTINATION_OPTIONS, bytes) => check_options(bytes, extension.offset, header),
                _ => Ok(()),
            };
        }
    });
    if walked.is_err() { Err(Unprocessable::Silent) } else { verdict }
}

/// RFC 8200 section 4.2: the two highest bits of an option's type say what becomes of a packet to a node that does not
/// know it. This one knows those that pad.
fn check_options(bytes: &[u8], offset: u16, header: &Ipv6Header) -> Result<(), Unprocessable> {
    let mut at = offset.saturating_add(2);
    let mut options = bytes.get(2..).unwrap_or_default();
    while let [kind, rest @ ..] = options {
        let length = match (kind, rest) {
            (0, _) => 1,
            (_, [length, ..]) => usize::from(*length) + 2,
            _ => return Err(Unprocessable::Silent),
        };
        match (*kind, *kind >> 6) {
            (0 | 1, _) | (_, 0) => {}
            (_, 1) => return Err(Unprocessable::Silent),
            (_, 3) if header.dst.is_multicast() => return Err(Unprocessable::Silent),
            _ => return Err(Unprocessable::Option(at)),
        }
        at = at.saturating_add(length as u16);
        options = options.get(length..).ok_or(Unprocessable::Silent)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::ipv6::tests::packet;
    use crate::packet::mutation::mutated;

    /// A packet with these next header values in a row, each extension header eight bytes long.
    fn chain(kinds: &[u8]) -> Vec<u8> {
        let mut bytes = packet();
        bytes.truncate(40);
        bytes[6] = kinds[0];
        for kind in &kinds[1..] {
            bytes.extend([*kind, 0, 0, 0, 0, 0, 0, 0]);
        }
        bytes.extend([0x12, 0x34, 0x56, 0x78]);
        let payload = (bytes.len() - 40) as u16;
        bytes[4..6].copy_from_slice(&payload.to_be_bytes());
        bytes
    }

    fn find(bytes: &[u8]) -> Result<UpperLayer, ExtensionError> {
        UpperLayer::find(&Ipv6Header::parse(bytes).unwrap(), bytes)
    }

    fn check(bytes: &[u8]) -> Result<(), Unprocessable> {
        check_at_destination(&Ipv6Header::parse(bytes).unwrap(), bytes)
    }

    #[test]
    fn without_extensions_the_upper_layer_is_behind_the_header() {
        let expected = UpperLayer { protocol: 17, protocol_at: 6, offset: 40, fragment: None };
        assert_eq!(find(&chain(&[17])), Ok(expected));
        // What ESP carries cannot be read: it is the upper layer.
        assert_eq!(find(&chain(&[50])).map(|upper| upper.protocol), Ok(50));
    }

    #[test]
    fn a_chain_is_walked_to_its_end() {
        let bytes = chain(&[HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING, FRAGMENT, 17]);
        let upper = find(&bytes).unwrap();
        assert_eq!((upper.protocol, upper.protocol_at, upper.offset), (17, 64, 72));
        assert_eq!(upper.fragment, Some(Fragment { offset: 0, more: false }));
        assert!(!upper.is_fragment() && upper.is_first(), "an atomic fragment is a whole packet");
        assert_eq!(upper.bytes(&Ipv6Header::parse(&bytes).unwrap(), &bytes), [0x12, 0x34, 0x56, 0x78]);
    }

    #[test]
    fn each_header_counts_its_length_in_its_own_way() {
        let mut authentication = chain(&[AUTHENTICATION, 17]);
        authentication[41] = 1;
        assert_eq!(find(&authentication).map(|upper| upper.offset), Ok(52));
        let mut options = chain(&[DESTINATION_OPTIONS, 59, 17]);
        options[41] = 1;
        assert_eq!(find(&options).map(|upper| (upper.protocol, upper.offset)), Ok((59, 56)));
    }

    #[test]
    fn a_later_fragment_has_no_upper_layer_header() {
        let mut bytes = chain(&[FRAGMENT, HOP_BY_HOP]);
        bytes[43] = 0x09;
        let upper = find(&bytes).unwrap();
        assert_eq!(upper.fragment, Some(Fragment { offset: 8, more: true }));
        assert_eq!((upper.protocol, upper.offset), (HOP_BY_HOP, 48), "what follows is not walked");
        assert!(upper.is_fragment() && !upper.is_first());
    }

    #[test]
    fn chains_that_go_beyond_the_packet_or_never_end_are_refused() {
        let mut beyond = chain(&[ROUTING, 17]);
        beyond[41] = 1;
        assert_eq!(find(&beyond), Err(ExtensionError::Truncated));
        assert_eq!(find(&chain(&[ROUTING])), Err(ExtensionError::Truncated));
        assert!(find(&chain(&[[60; 8].as_slice(), &[17]].concat())).is_ok());
        assert_eq!(find(&chain(&[[60; 9].as_slice(), &[17]].concat())), Err(ExtensionError::TooMany));
    }

    #[test]
    fn at_the_destination_routing_headers_must_be_at_their_end() {
        let mut bytes = chain(&[DESTINATION_OPTIONS, ROUTING, 17]);
        assert_eq!(check(&bytes), Ok(()));
        bytes[51] = 1;
        assert_eq!(check(&bytes), Err(Unprocessable::Field(50)));
    }

    #[test]
    fn an_unknown_option_says_itself_what_becomes_of_the_packet() {
        let with = |kind: u8, dst: u8| {
            let mut bytes = chain(&[HOP_BY_HOP, 17]);
            bytes[24] = dst;
            bytes[42..48].copy_from_slice(&[1, 0, kind, 2, 0, 0]);
            check(&bytes)
        };
        assert_eq!(with(0x1e, 0x20), Ok(()));
        assert_eq!(with(0x5e, 0x20), Err(Unprocessable::Silent));
        assert_eq!(with(0x9e, 0x20), Err(Unprocessable::Option(44)));
        assert_eq!(with(0xde, 0x20), Err(Unprocessable::Option(44)));
        assert_eq!((with(0x9e, 0xff), with(0xde, 0xff)), (Err(Unprocessable::Option(44)), Err(Unprocessable::Silent)));
    }

    proptest! {
        #[test]
        fn whatever_the_chain_says_the_walk_stays_within_the_packet(
            bytes in mutated(prop::collection::vec(prop::sample::select(vec![0u8, 43, 44, 51, 60, 135, 17]), 1..10)
                .prop_map(|kinds| chain(&kinds))),
        ) {
            if let Ok(header) = Ipv6Header::parse(&bytes) {
                let (mut end, mut headers) = (HEADER_LEN, 0);
                let upper = walk(&header, &bytes, |extension| {
                    assert_eq!(usize::from(extension.offset), end, "one behind the other");
                    end += extension.bytes.len();
                    headers += 1;
                });
                prop_assert!(end <= header.total_len() && headers <= MAX_HEADERS + 1);
                if let Ok(upper) = upper {
                    prop_assert_eq!(usize::from(upper.offset), end);
                    prop_assert_eq!(upper.bytes(&header, &bytes).len(), header.total_len() - end);
                    prop_assert_eq!(UpperLayer::find(&header, &bytes), Ok(upper));
                }
                let _ = check_at_destination(&header, &bytes);
            }
        }
    }
}
