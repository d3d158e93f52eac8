//! Neighbour discovery (RFC 4861): who on the link has an IPv6 address, asked and answered.
//!
//! Workers answer solicitations for our addresses and pass on what they learn; the control thread asks. Messages are
//! accepted only as section 7.1 has it: from this link (hop limit 255), whole (RFC 6980), with a right checksum.

use std::net::Ipv6Addr;

use super::checksum::Sum;
use super::ethernet::MacAddr;
use super::icmpv6::{self, NEXT_HEADER};
use super::ipv6::{self, HEADER_LEN, Ipv6Header};

/// All nodes on the link (RFC 4291 section 2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Length of a message with one link layer address, with its IPv6 header, in bytes.
pub const PACKET_LEN: usize = HEADER_LEN + MESSAGE_LEN + OPTION_LEN;

/// The hop limit of a packet that no router forwarded (RFC 4861 section 3.1).
const HOP_LIMIT: u8 = 255;
/// Type, code, checksum, flags, target.
const MESSAGE_LEN: usize = 24;
/// A link layer address option with an Ethernet address.
const OPTION_LEN: usize = 8;

/// ICMPv6 types of router solicitation to redirect: what neighbour discovery is made of.
pub const TYPES: std::ops::RangeInclusive<u8> = 133..=137;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// The group that a node with this address listens to, so that it is found without waking everybody (RFC 4291 section
/// 2.7.1).
#[inline]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from_octets([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The link layer address of a group (RFC 2464 section 7).
#[inline]
pub const fn group_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// Who has this address?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicitation {
    /// Who asks; unspecified: one who wants to take the address itself (RFC 4862 section 5.4).
    pub src: Ipv6Addr,
    /// Whom the question went to: the target, or its group.
    pub dst: Ipv6Addr,
    /// The address in question.
    pub target: Ipv6Addr,
    /// Where the asker is; one that has no address does not say.
    pub source_mac: Option<MacAddr>,
}

/// An answer, or news that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// Who says it.
    pub src: Ipv6Addr,
    /// Whom it went to: the asker, or all nodes.
    pub dst: Ipv6Addr,
    /// The address that it is about.
    pub target: Ipv6Addr,
    /// Whether the sender is a router.
    pub router: bool,
    /// Whether it is the answer to a solicitation: proof that both directions work.
    pub solicited: bool,
    /// Whether it takes the place of what was known.
    pub overrides: bool,
    /// Where the target is.
    pub target_mac: Option<MacAddr>,
}

/// A message that a host or router needs in order to find its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A question.
    Solicitation(Solicitation),
    /// An answer.
    Advertisement(Advertisement),
}

/// Why a message is not to be trusted (RFC 4861 sections 7.1.1 and 7.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NdError {
    /// Not ICMPv6 right behind the header, or neither solicitation nor advertisement.
    #[error("no neighbour solicitation or advertisement")]
    NotNeighbour,
    /// Its hop limit is not 255: it may come from another link.
    #[error("neighbour discovery with a hop limit below 255")]
    HopLimit,
    /// Its checksum is wrong.
    #[error("neighbour discovery with a wrong checksum")]
    Checksum,
    /// Its code is not 0.
    #[error("neighbour discovery with a code")]
    Code,
    /// It is shorter than 24 bytes.
    #[error("neighbour discovery shorter than 24 bytes")]
    Truncated,
    /// An option is empty, goes beyond the message, or holds no address of a station.
    #[error("neighbour discovery with a malformed option")]
    Option,
    /// Its target is a group.
    #[error("neighbour discovery about a multicast address")]
    Target,
    /// It is about an address that is being taken, and not to that address's group or with a link layer address.
    #[error("neighbour solicitation from nowhere, with an address or not to its group")]
    Unspecified,
    /// It is an answer to everybody that says it was asked for.
    #[error("solicited advertisement to a group")]
    SolicitedGroup,
}

impl Message {
    /// Reads the message in `l3`, from which `header` was read.
    pub fn parse(header: &Ipv6Header, l3: &[u8]) -> Result<Message, NdError> {
        let icmp = header.payload(l3).filter(|_| header.next_header == NEXT_HEADER).ok_or(NdError::NotNeighbour)?;
        let icmp_type = *icmp.first().ok_or(NdError::NotNeighbour)?;
        if !matches!(icmp_type, SOLICITATION | ADVERTISEMENT) {
            return Err(NdError::NotNeighbour);
        }
        if header.hop_limit != HOP_LIMIT {
            return Err(NdError::HopLimit);
        }
        if !icmpv6::is_intact(header, icmp) {
            return Err(NdError::Checksum);
        }
        let (&[_, code, _, _, flags, _, _, _], rest) = icmp.split_first_chunk::<8>().ok_or(NdError::Truncated)?;
        let (target, options) = rest.split_first_chunk::<16>().ok_or(NdError::Truncated)?;
        let target = Ipv6Addr::from_octets(*target);
        if code != 0 {
            return Err(NdError::Code);
        }
        if target.is_multicast() {
            return Err(NdError::Target);
        }
        let (src, dst) = (header.src, header.dst);
        if icmp_type == SOLICITATION {
            let source_mac = link_layer_address(options, SOURCE_LINK_LAYER)?;
            if src == Ipv6Addr::UNSPECIFIED && (dst != solicited_node(target) || source_mac.is_some()) {
                return Err(NdError::Unspecified);
            }
            return Ok(Message::Solicitation(Solicitation { src, dst, target, source_mac }));
        }
        let target_mac = link_layer_address(options, TARGET_LINK_LAYER)?;
        let [router, solicited, overrides] = [ROUTER, SOLICITED, OVERRIDE].map(|flag| flags & flag != 0);
        if solicited && dst.is_multicast() {
            return Err(NdError::SolicitedGroup);
        }
        Ok(Message::Advertisement(Advertisement { src, dst, target, router, solicited, overrides, target_mac }))
    }
}

/// The address in the first option of this kind. All options are walked: one that is malformed spoils the message
/// (RFC 4861 section 4.6).
fn link_layer_address(mut options: &[u8], wanted: u8) -> Result<Option<MacAddr>, NdError> {
    let mut found = None;
    while let [kind, rest @ ..] = options {
        let length = rest.first().map_or(0, |length| usize::from(*length) * 8);
        let (option, behind) = options.split_at_checked(length).filter(|_| length > 0).ok_or(NdError::Option)?;
        if *kind == wanted && found.is_none() {
            let &[_, _, a, b, c, d, e, f] = <&[u8; OPTION_LEN]>::try_from(option).map_err(|_| NdError::Option)?;
            let mac = MacAddr([a, b, c, d, e, f]);
            if mac.is_multicast() || mac == MacAddr::ZERO {
                return Err(NdError::Option);
            }
            found = Some(mac);
        }
        options = behind;
    }
    Ok(found)
}

impl Solicitation {
    /// The question of `source` who has `target`, to its group, or to the target itself to see whether it is there still.
    pub const fn new(source: Ipv6Addr, source_mac: MacAddr, target: Ipv6Addr, to_group: bool) -> Solicitation {
        let dst = if to_group { solicited_node(target) } else { target };
        Solicitation { src: source, dst, target, source_mac: Some(source_mac) }
    }

    /// The answer of the router that has the target at `mac` (RFC 4861 section 7.2.4; to all nodes where the asker has no
    /// address, section 7.2.4 as well).
    pub fn answer(&self, mac: MacAddr) -> Advertisement {
        let solicited = self.src != Ipv6Addr::UNSPECIFIED;
        Advertisement {
            src: self.target,
            dst: if solicited { self.src } else { ALL_NODES },
            target: self.target,
            router: true,
            solicited,
            overrides: true,
            target_mac: Some(mac),
        }
    }

    /// Writes the whole IPv6 packet to the front of `out` and returns its length, at most [`PACKET_LEN`].
    pub fn write(&self, out: &mut [u8; PACKET_LEN]) -> usize {
        let option = self.source_mac.map(|mac| (SOURCE_LINK_LAYER, mac));
        write(out, self.src, self.dst, [SOLICITATION, 0], self.target, option)
    }
}

impl Advertisement {
    /// Writes the whole IPv6 packet to the front of `out` and returns its length, at most [`PACKET_LEN`].
    pub fn write(&self, out: &mut [u8; PACKET_LEN]) -> usize {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let flags = flag(self.router, ROUTER) | flag(self.solicited, SOLICITED) | flag(self.overrides, OVERRIDE);
        let option = self.target_mac.map(|mac| (TARGET_LINK_LAYER, mac));
        write(out, self.src, self.dst, [ADVERTISEMENT, flags], self.target, option)
    }
}

fn write(
    out: &mut [u8; PACKET_LEN],
    src: Ipv6Addr,
    dst: Ipv6Addr,
    [icmp_type, flags]: [u8; 2],
    target: Ipv6Addr,
    option: Option<(u8, MacAddr)>,
) -> usize {
    let payload_len = MESSAGE_LEN + if option.is_some() { OPTION_LEN } else { 0 };
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: payload_len as u16,
        next_header: NEXT_HEADER,
        hop_limit: HOP_LIMIT,
        src,
        dst,
    };
    let mut bytes = [0; OPTION_LEN];
    if let Some((kind, MacAddr([a, b, c, d, e, f]))) = option {
        bytes = [kind, 1, a, b, c, d, e, f];
    }
    let target = target.octets();
    let sum = ipv6::pseudo_header(src, dst, header.payload_len, NEXT_HEADER)
        .add_word(u16::from_be_bytes([icmp_type, 0]))
        .add_word(u16::from_be_bytes([flags, 0]))
        .add(Sum::of(&target))
        .add(Sum::of(&bytes));
    let [c0, c1] = sum.checksum().to_be_bytes();
    let mut ip = [0; HEADER_LEN];
    header.write(&mut ip);
    let parts: [&[u8]; 4] = [&ip, &[icmp_type, 0, c0, c1, flags, 0, 0, 0], &target, &bytes];
    for (to, from) in out.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    HEADER_LEN + payload_len
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::icmpv6::tests::seal;
    use crate::packet::mutation::mutated;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn question() -> Solicitation {
        Solicitation::new(address("fe80::9"), MAC, address("2001:db8::12:3456"), true)
    }

    fn bytes_of(solicitation: Solicitation) -> Vec<u8> {
        let mut out = [0; PACKET_LEN];
        let length = solicitation.write(&mut out);
        out[..length].to_vec()
    }

    fn advertisement_bytes(advertisement: Advertisement) -> Vec<u8> {
        let mut out = [0; PACKET_LEN];
        let length = advertisement.write(&mut out);
        out[..length].to_vec()
    }

    fn parse(bytes: &[u8]) -> Result<Message, NdError> {
        Message::parse(&Ipv6Header::parse(bytes).unwrap(), bytes)
    }

    #[test]
    fn groups_have_the_addresses_of_their_rfcs() {
        // The example of RFC 4291, section 2.7.1.
        let group = solicited_node(address("4037::1:800:200e:8c6c"));
        assert_eq!(group, address("ff02::1:ff0e:8c6c"));
        assert_eq!(group_mac(group), MacAddr([0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]));
    }

    #[test]
    fn a_question_is_read_as_it_was_written_and_answered_to_the_asker() {
        let bytes = bytes_of(question());
        assert_eq!((bytes.len(), bytes[7], &bytes[40..42]), (72, 255, &[135, 0][..]));
        assert_eq!(parse(&bytes), Ok(Message::Solicitation(question())));
        let answer = question().answer(MacAddr([2, 0, 0, 0, 0, 1]));
        assert_eq!(
            (answer.dst, answer.solicited, answer.overrides, answer.router),
            (address("fe80::9"), true, true, true)
        );
        assert_eq!(parse(&advertisement_bytes(answer)), Ok(Message::Advertisement(answer)));
    }

    #[test]
    fn one_who_wants_the_address_is_told_before_all_nodes() {
        let question = Solicitation { src: Ipv6Addr::UNSPECIFIED, source_mac: None, ..question() };
        let bytes = bytes_of(question);
        assert_eq!((bytes.len(), parse(&bytes)), (64, Ok(Message::Solicitation(question))));
        let answer = question.answer(MAC);
        assert_eq!((answer.dst, answer.solicited), (ALL_NODES, false));
    }

    #[test]
    fn each_check_of_rfc_4861_has_its_error() {
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = bytes_of(question());
            change(&mut bytes);
            seal(&mut bytes);
            parse(&bytes)
        };
        assert_eq!(with(&|bytes| bytes[6] = 17), Err(NdError::NotNeighbour));
        assert_eq!(with(&|bytes| bytes[40] = 134), Err(NdError::NotNeighbour));
        assert_eq!(with(&|bytes| bytes[7] = 254), Err(NdError::HopLimit));
        assert_eq!(with(&|bytes| bytes[41] = 1), Err(NdError::Code));
        assert_eq!(with(&|bytes| bytes[5] = 23), Err(NdError::Truncated));
        assert_eq!(with(&|bytes| bytes[48] = 0xff), Err(NdError::Target));
        for length in [0, 2, 255] {
            assert_eq!(with(&|bytes| bytes[65] = length), Err(NdError::Option), "length {length}");
        }
        assert_eq!(with(&|bytes| bytes[66] = 3), Err(NdError::Option), "a group is no station");
        assert_eq!(
            with(&|bytes| bytes[66] = 0),
            Ok(Message::Solicitation(Solicitation { source_mac: Some(MacAddr([0, 0, 0, 0, 0, 9])), ..question() }))
        );
        assert_eq!(with(&|bytes| bytes[8..24].fill(0)), Err(NdError::Unspecified));
        let mut wrong = bytes_of(question());
        wrong[71] ^= 1;
        assert_eq!(parse(&wrong), Err(NdError::Checksum));
        let to_all = Advertisement { dst: ALL_NODES, ..question().answer(MAC) };
        assert_eq!(parse(&advertisement_bytes(to_all)), Err(NdError::SolicitedGroup));
    }

    #[test]
    fn unknown_options_are_skipped() {
        let mut bytes = bytes_of(question());
        let option = bytes.split_off(64);
        bytes.extend([14, 1, 1, 2, 3, 4, 5, 6]);
        bytes.extend(option);
        bytes[5] = 40;
        seal(&mut bytes);
        assert_eq!(parse(&bytes), Ok(Message::Solicitation(question())));
    }

    proptest! {
        #[test]
        fn what_is_accepted_means_the_same_when_it_is_written_again(
            mut bytes in mutated(prop_oneof![
                Just(bytes_of(question())),
                Just(advertisement_bytes(question().answer(MAC))),
            ]),
            sealed in prop::bool::weighted(0.8),
        ) {
            if sealed {
                seal(&mut bytes);
            }
            if let Ok(header) = Ipv6Header::parse(&bytes)
                && let Ok(message) = Message::parse(&header, &bytes)
            {
                prop_assert_eq!(header.hop_limit, 255);
                let written = match message {
                    Message::Solicitation(solicitation) => bytes_of(solicitation),
                    Message::Advertisement(advertisement) => advertisement_bytes(advertisement),
                };
                prop_assert_eq!(parse(&written), Ok(message));
            }
        }
    }
}
