//! The pooled packet detector: is a packet to one of our addresses a pooled packet or a hello, from a peer, and
//! sound?
//!
//! The worker asks it about every packet for the router itself. What it calls pooled goes to the depooler, a hello to
//! the control thread, everything else on to local delivery.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use std::net::IpAddr;

use super::hello::Hello;
use super::wire::report::Report;
use super::wire::short_rows::ShortPacket;
use super::wire::{DataOnly, IndexPacket, Kind, PoolHeader, Predetermined, Templates, WireError};
use crate::packet::ipv4::{Ipv4Header, PROTOCOL_UDP};
use crate::packet::ipv6::Ipv6Header;
use crate::packet::ipv6_extension::UpperLayer;
use crate::packet::udp::{self, UdpHeader, Verdict};

/// Whether a peer may send without a UDP checksum (RFC 6935 names what that takes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroChecksum {
    /// A checksum of 0 is refused.
    Refused,
    /// A checksum of 0 is taken for "none".
    Allowed,
}

/// A datagram to the pool port that came from a peer in one piece. `P` is how the caller tells its peers apart.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a, P> {
    /// Who sent it.
    pub peer: P,
    /// The UDP source port: with the peer it names the sequence that the packet is part of.
    pub src_port: u16,
    /// What it carries, of which nothing is known.
    pub payload: &'a [u8],
}

/// What such a datagram can be but a pooled packet with its index in band, which [`PooledPacket`] reads.
///
/// [`PooledPacket`]: super::wire::PooledPacket
#[derive(Clone, Copy, Debug)]
pub enum Special<'a> {
    /// A pooled packet whose index travels apart from it.
    DataOnly(DataOnly<'a>),
    /// The indexes of such pooled packets.
    Index(IndexPacket<'a>),
    /// A pooled packet whose lengths both ends know.
    Predetermined(Predetermined<'a>),
    /// A pooled packet with short rows.
    Short(ShortPacket<'a>),
    /// A report on pooled packets that we sent.
    Report(Report<'a>),
    /// A hello.
    Hello(Hello),
}

impl<'a> Special<'a> {
    /// Reads the payload of a datagram. `templates` are the lists of lengths that are configured.
    ///
    /// # Errors
    /// The bound that does not hold; [`WireError::UnsupportedKind`] where its index is in band.
    #[inline]
    pub fn parse(payload: &'a [u8], templates: &'a Templates) -> Result<Special<'a>, WireError> {
        Ok(match PoolHeader::parse(payload)?.kind {
            Kind::Pooled => return Err(WireError::UnsupportedKind),
            Kind::Hello => Special::Hello(Hello::parse(payload)?),
            Kind::DataOnly => Special::DataOnly(DataOnly::parse(payload)?),
            Kind::Index => Special::Index(IndexPacket::parse(payload)?),
            Kind::Predetermined => Special::Predetermined(Predetermined::parse(payload, templates)?),
            Kind::Short => Special::Short(ShortPacket::parse(payload)?),
            Kind::Report => Special::Report(Report::parse(payload)?),
        })
    }
}

/// Why a packet to the pool port is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PooledDrop {
    /// Its sender is no configured peer.
    #[error("pooled packet from an address that is no peer")]
    UnknownPeer,
    /// It is the first fragment of a packet: pooled packets are never fragmented, and not reassembled.
    #[error("pooled packet in fragments")]
    Fragment,
    /// The UDP length is not that of what the IP packet carries.
    #[error("pooled packet with a wrong UDP length")]
    UdpLength,
    /// The UDP checksum is wrong, or missing where it is asked for.
    #[error("pooled packet with a wrong UDP checksum")]
    UdpChecksum,
    /// A bound of the wire format does not hold.
    #[error("pooled packet: {0}")]
    Wire(#[from] WireError),
}

impl PooledDrop {
    /// Every reason there is.
    pub const ALL: [PooledDrop; 4 + WireError::ALL.len()] = Self::all();

    /// The name of its counter.
    pub const fn name(self) -> &'static str {
        match self {
            PooledDrop::UnknownPeer => "unknown_peer",
            PooledDrop::Fragment => "fragment",
            PooledDrop::UdpLength => "udp_length",
            PooledDrop::UdpChecksum => "udp_checksum",
            PooledDrop::Wire(error) => error.name(),
        }
    }

    #[allow(clippy::indexing_slicing)] // Evaluated at compile time, where an index out of range is an error.
    const fn all() -> [PooledDrop; 4 + WireError::ALL.len()] {
        let mut all = [PooledDrop::UnknownPeer; 4 + WireError::ALL.len()];
        all[1] = PooledDrop::Fragment;
        all[2] = PooledDrop::UdpLength;
        all[3] = PooledDrop::UdpChecksum;
        let mut next = 0;
        while next < WireError::ALL.len() {
            all[4 + next] = PooledDrop::Wire(WireError::ALL[next]);
            next += 1;
        }
        all
    }
}

/// Decides whether a packet to one of our addresses has to do with pooling: None where it has not. `l4` is its payload
/// ([`Ipv4Header::payload`]), `port` the UDP port that is listened to; `peer_of` knows the configured peers by address.
///
/// A later fragment has no ports and is never taken for a pooled packet: as the first one is dropped here, the rest
/// cannot become one. The ports are looked at before the peer, and nothing behind the UDP header before the checksum.
#[inline(always)]
pub fn detect<'a, P>(
    header: &Ipv4Header,
    l4: &'a [u8],
    port: u16,
    peer_of: impl FnOnce(IpAddr) -> Option<(P, ZeroChecksum)>,
) -> Result<Option<Datagram<'a, P>>, PooledDrop> {
    if header.protocol != PROTOCOL_UDP || header.fragment_offset != 0 || !is_to_port(l4, port) {
        return Ok(None);
    }
    let (peer, zero_checksum) = peer_of(header.src.into()).ok_or(PooledDrop::UnknownPeer)?;
    if header.is_fragment() {
        return Err(PooledDrop::Fragment);
    }
    judge(peer, zero_checksum, l4, || udp::verify(header.src, header.dst, l4)).map(Some)
}

/// As [`detect`], for an outer packet of IPv6: `upper` is what is behind its headers, `l4` all of that. A checksum of 0 is
/// refused there but from peers that may (RFC 6935, RFC 6936).
#[inline]
pub fn detect6<'a, P>(
    header: &Ipv6Header,
    upper: &UpperLayer,
    l4: &'a [u8],
    port: u16,
    peer_of: impl FnOnce(IpAddr) -> Option<(P, ZeroChecksum)>,
) -> Result<Option<Datagram<'a, P>>, PooledDrop> {
    if upper.protocol != PROTOCOL_UDP || !upper.is_first() || !is_to_port(l4, port) {
        return Ok(None);
    }
    let (peer, zero_checksum) = peer_of(header.src.into()).ok_or(PooledDrop::UnknownPeer)?;
    if upper.is_fragment() {
        return Err(PooledDrop::Fragment);
    }
    judge(peer, zero_checksum, l4, || udp::verify6(header.src, header.dst, l4)).map(Some)
}

#[inline(always)]
fn is_to_port(l4: &[u8], port: u16) -> bool {
    matches!(l4, [_, _, d0, d1, ..] if u16::from_be_bytes([*d0, *d1]) == port)
}

/// Whether a whole datagram from a peer is sound.
#[inline(always)]
fn judge<'a, P>(
    peer: P,
    zero_checksum: ZeroChecksum,
    l4: &'a [u8],
    verdict: impl FnOnce() -> Verdict,
) -> Result<Datagram<'a, P>, PooledDrop> {
    let udp = UdpHeader::parse(l4).map_err(|_| PooledDrop::UdpLength)?;
    if usize::from(udp.length) != l4.len() {
        return Err(PooledDrop::UdpLength);
    }
    match (verdict(), zero_checksum) {
        (Verdict::Valid, _) | (Verdict::Absent, ZeroChecksum::Allowed) => {}
        (Verdict::Wrong, _) | (Verdict::Absent, ZeroChecksum::Refused) => return Err(PooledDrop::UdpChecksum),
    }
    let payload = l4.get(udp::HEADER_LEN..).ok_or(PooledDrop::UdpLength)?;
    Ok(Datagram { peer, src_port: udp.src_port, payload })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::packet::Sum;
    use crate::packet::ipv6_extension::Fragment;
    use crate::packet::mutation::mutated;
    use crate::pool::hello::tests::{HELLO, hello};
    use crate::pool::wire::PORT;
    use crate::pool::wire::{index_packet, parted, pooled, predetermined, templates};

    const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    const US: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
    const SRC_PORT: u16 = 40_000;
    static TEMPLATES: LazyLock<Templates> = LazyLock::new(|| templates(7, &[60]));

    fn header() -> Ipv4Header {
        Ipv4Header {
            header_len: 20,
            dscp_ecn: 0,
            total_len: 20,
            id: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 63,
            protocol: PROTOCOL_UDP,
            src: PEER,
            dst: US,
        }
    }

    fn datagram(dst_port: u16, payload: &[u8]) -> Vec<u8> {
        let length = (udp::HEADER_LEN + payload.len()) as u16;
        let mut header = UdpHeader { src_port: SRC_PORT, dst_port, length, checksum: 0 };
        header.checksum = header.checksum_over(PEER, US, Sum::of(payload));
        let mut bytes = vec![0; udp::HEADER_LEN];
        header.write(bytes.first_chunk_mut().unwrap());
        bytes.extend_from_slice(payload);
        bytes
    }

    fn peer_of(zero_checksum: ZeroChecksum) -> impl Fn(IpAddr) -> Option<(u16, ZeroChecksum)> {
        move |src| (src == PEER || src == PEER6).then_some((3, zero_checksum))
    }

    fn detected<'a>(header: &Ipv4Header, l4: &'a [u8]) -> Result<Option<Datagram<'a, u16>>, PooledDrop> {
        detect(header, l4, PORT, peer_of(ZeroChecksum::Refused))
    }

    /// What a datagram from the peer turns out to be.
    fn special(l4: &[u8]) -> Result<Special<'_>, WireError> {
        let datagram = detected(&header(), l4).expect("it is sound").expect("it has to do with pooling");
        assert_eq!((datagram.peer, datagram.src_port), (3, SRC_PORT));
        Special::parse(datagram.payload, &TEMPLATES)
    }

    #[test]
    fn a_pooled_packet_from_a_peer_is_detected_and_is_nothing_special() {
        let payload = pooled(&[60, 61]);
        let l4 = datagram(PORT, &payload);
        let found = detected(&header(), &l4).expect("it is sound").expect("it has to do with pooling");
        assert_eq!((found.peer, found.src_port, found.payload), (3, SRC_PORT, &*payload));
        assert_eq!(special(&l4).map(|_| ()), Err(WireError::UnsupportedKind));
    }

    #[test]
    fn data_indexes_predetermined_packets_and_hellos_are_special() {
        let data = datagram(PORT, &parted(&[60, 61]).0);
        assert!(matches!(special(&data), Ok(Special::DataOnly(_))), "{:?}", special(&data));
        let index = datagram(PORT, &index_packet(6, &[(7, &[60, 61])]));
        assert!(matches!(special(&index), Ok(Special::Index(_))), "{:?}", special(&index));
        let known = datagram(PORT, &predetermined(7, &[60, 60]));
        assert!(matches!(special(&known), Ok(Special::Predetermined(_))), "{:?}", special(&known));
        let unknown = datagram(PORT, &predetermined(8, &[60, 60]));
        assert_eq!(special(&unknown).map(|_| ()), Err(WireError::UnknownTemplate));
        let hello = datagram(PORT, &hello());
        assert!(matches!(special(&hello), Ok(Special::Hello(HELLO))), "{:?}", special(&hello));
        let unheard_of = datagram(PORT, &[0x17, 1, 64, 0, 0, 0, 0, 0]);
        assert_eq!(special(&unheard_of).map(|_| ()), Err(WireError::UnsupportedKind));
    }

    #[test]
    fn other_ports_protocols_and_later_fragments_are_not_ours_to_judge() {
        let l4 = datagram(PORT, &pooled(&[60]));
        let other_port = datagram(PORT + 1, &pooled(&[60]));
        assert!(matches!(detected(&header(), &other_port), Ok(None)));
        let tcp = Ipv4Header { protocol: 6, ..header() };
        assert!(matches!(detected(&tcp, &l4), Ok(None)));
        let later = Ipv4Header { fragment_offset: 8, ..header() };
        assert!(matches!(detected(&later, &l4), Ok(None)));
        assert!(matches!(detected(&header(), &l4[..3]), Ok(None)));
    }

    #[test]
    fn every_drop_of_the_outer_packet_has_its_reason() {
        let l4 = datagram(PORT, &pooled(&[60]));
        let dropped = |header: &Ipv4Header, l4: &[u8]| detected(header, l4).map(|_| ()).unwrap_err();

        let stranger = Ipv4Header { src: Ipv4Addr::new(203, 0, 113, 1), ..header() };
        assert_eq!(dropped(&stranger, &l4), PooledDrop::UnknownPeer);
        let first_fragment = Ipv4Header { more_fragments: true, ..header() };
        assert_eq!(dropped(&first_fragment, &l4), PooledDrop::Fragment);
        assert_eq!(dropped(&header(), &l4[..7]), PooledDrop::UdpLength);
        assert_eq!(dropped(&header(), &l4[..l4.len() - 1]), PooledDrop::UdpLength);
        let mut longer = l4.clone();
        longer.push(0);
        assert_eq!(dropped(&header(), &longer), PooledDrop::UdpLength);
        let mut damaged = l4.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(dropped(&header(), &damaged), PooledDrop::UdpChecksum);
    }

    #[test]
    fn no_checksum_is_taken_only_where_the_peer_may() {
        let mut l4 = datagram(PORT, &pooled(&[60]));
        l4[6..8].fill(0);
        assert_eq!(detected(&header(), &l4).map(|_| ()), Err(PooledDrop::UdpChecksum));
        assert!(detect(&header(), &l4, PORT, peer_of(ZeroChecksum::Allowed)).is_ok());
        l4[6] = 1;
        let wrong = detect(&header(), &l4, PORT, peer_of(ZeroChecksum::Allowed));
        assert_eq!(wrong.map(|_| ()), Err(PooledDrop::UdpChecksum), "a wrong one is wrong for everybody");
    }

    #[test]
    fn over_ipv6_the_same_is_asked_of_a_packet() {
        let us = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        let mut l4 = datagram(PORT, &pooled(&[60, 61]));
        let mut udp = UdpHeader::parse(&l4).unwrap();
        udp.checksum = udp.checksum_over6(PEER6, us, Sum::of(&l4[8..]));
        udp.write(l4.first_chunk_mut().unwrap());
        let header = |src| Ipv6Header {
            traffic_class: 0,
            flow_label: 0,
            payload_len: l4.len() as u16,
            next_header: PROTOCOL_UDP,
            hop_limit: 63,
            src,
            dst: us,
        };
        let whole = UpperLayer { protocol: PROTOCOL_UDP, protocol_at: 6, offset: 40, fragment: None };
        let found = |src, upper: UpperLayer, l4: &[u8], zero| {
            detect6(&header(src), &upper, l4, PORT, peer_of(zero))
                .map(|found| found.is_some_and(|datagram| datagram.peer == 3))
        };
        let (refused, allowed) = (ZeroChecksum::Refused, ZeroChecksum::Allowed);
        assert_eq!(found(PEER6, whole, &l4, refused), Ok(true));
        assert_eq!(found(us, whole, &l4, refused), Err(PooledDrop::UnknownPeer));
        let part = |offset| UpperLayer { fragment: Some(Fragment { offset, more: true }), ..whole };
        assert_eq!(found(PEER6, part(0), &l4, refused), Err(PooledDrop::Fragment));
        assert_eq!(found(PEER6, part(8), &l4, refused), Ok(false));
        assert_eq!(found(PEER6, UpperLayer { protocol: 6, ..whole }, &l4, refused), Ok(false));
        assert_eq!(found(PEER6, whole, &l4[..l4.len() - 1], refused), Err(PooledDrop::UdpLength));
        let mut other = l4.clone();
        *other.last_mut().unwrap() ^= 1;
        assert_eq!(found(PEER6, whole, &other, allowed), Err(PooledDrop::UdpChecksum));
        other = l4.clone();
        other[6..8].fill(0);
        assert_eq!(found(PEER6, whole, &other, refused), Err(PooledDrop::UdpChecksum));
        assert_eq!(found(PEER6, whole, &other, allowed), Ok(true));
    }

    #[test]
    fn all_reasons_are_listed_once() {
        let names: std::collections::HashSet<_> = PooledDrop::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), PooledDrop::ALL.len());
        for reason in [PooledDrop::UnknownPeer, PooledDrop::Fragment, PooledDrop::UdpLength, PooledDrop::UdpChecksum] {
            assert!(PooledDrop::ALL.contains(&reason), "{reason:?}");
        }
        for error in WireError::ALL {
            assert!(PooledDrop::ALL.contains(&PooledDrop::Wire(error)), "{error:?}");
        }
    }

    proptest! {
        #[test]
        fn no_datagram_panics_and_none_from_a_stranger_is_taken(
            l4 in mutated(prop_oneof![Just(datagram(PORT, &pooled(&[30, 20]))), Just(datagram(PORT, &hello()))]),
            more_fragments: bool, from_peer: bool,
        ) {
            let src = if from_peer { PEER } else { US };
            let header = Ipv4Header { src, more_fragments, ..header() };
            let found = detect(&header, &l4, PORT, peer_of(ZeroChecksum::Allowed));
            if !from_peer || more_fragments {
                prop_assert!(matches!(found, Ok(None) | Err(_)), "{:?}", found);
            }
        }
    }
}
