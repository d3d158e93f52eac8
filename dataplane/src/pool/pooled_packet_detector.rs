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
use super::wire::{DataOnly, IndexPacket, Kind, PoolHeader, PooledPacket, Predetermined, Templates, WireError};
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

/// What a packet turned out to be. `P` is how the caller tells its peers apart.
#[derive(Clone, Copy, Debug)]
pub enum Detection<'a, P> {
    /// A pooled packet whose bounds hold.
    Pooled {
        /// Who sent it.
        peer: P,
        /// The UDP source port: with the peer it names the sequence that the packet is part of.
        src_port: u16,
        /// What it carries.
        packet: PooledPacket<'a>,
    },
    /// A pooled packet whose index travels apart from it.
    DataOnly {
        /// Who sent it.
        peer: P,
        /// The UDP source port.
        src_port: u16,
        /// What it carries.
        packet: DataOnly<'a>,
    },
    /// The indexes of such pooled packets.
    Index {
        /// Who sent it.
        peer: P,
        /// The UDP source port.
        src_port: u16,
        /// What it says.
        packet: IndexPacket<'a>,
    },
    /// A pooled packet of lengths that are known here.
    Predetermined {
        /// Who sent it.
        peer: P,
        /// The UDP source port.
        src_port: u16,
        /// What it carries.
        packet: Predetermined<'a>,
    },
    /// A pooled packet with short rows whose bounds hold.
    Short {
        /// Who sent it.
        peer: P,
        /// The UDP source port: with the peer it names the sequence that the packet is part of.
        src_port: u16,
        /// What it carries.
        packet: ShortPacket<'a>,
    },
    /// A report on pooled packets that we sent.
    Report {
        /// Who sent it.
        peer: P,
        /// The UDP source port.
        src_port: u16,
        /// What it says.
        report: Report<'a>,
    },
    /// A hello.
    Hello {
        /// Who sent it.
        peer: P,
        /// The UDP source port.
        src_port: u16,
        /// What it says.
        hello: Hello,
    },
    /// Nothing to do with pooling.
    NotPooled,
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

/// Decides what a packet to one of our addresses is. `l4` is its payload ([`Ipv4Header::payload`]), `port` the UDP
/// port that is listened to; `peer_of` knows the configured peers by address, and `templates` are
/// the lists of lengths that are.
///
/// A later fragment has no ports and is never taken for a pooled packet: as the first one is dropped here, the rest
/// cannot become one. The ports are looked at before the peer, and nothing behind the UDP header before the checksum.
#[inline]
pub fn detect<'a, P>(
    header: &Ipv4Header,
    l4: &'a [u8],
    port: u16,
    templates: &'a Templates,
    peer_of: impl Fn(IpAddr) -> Option<(P, ZeroChecksum)>,
) -> Result<Detection<'a, P>, PooledDrop> {
    if header.protocol != PROTOCOL_UDP || header.fragment_offset != 0 || !is_to_port(l4, port) {
        return Ok(Detection::NotPooled);
    }
    let (peer, zero_checksum) = peer_of(header.src.into()).ok_or(PooledDrop::UnknownPeer)?;
    if header.is_fragment() {
        return Err(PooledDrop::Fragment);
    }
    judge(peer, zero_checksum, l4, templates, || udp::verify(header.src, header.dst, l4))
}

/// As [`detect`], for an outer packet of IPv6: `upper` is what is behind its headers, `l4` all of that. A checksum of 0 is
/// refused there but from peers that may (RFC 6935, RFC 6936).
#[inline]
pub fn detect6<'a, P>(
    header: &Ipv6Header,
    upper: &UpperLayer,
    l4: &'a [u8],
    port: u16,
    templates: &'a Templates,
    peer_of: impl Fn(IpAddr) -> Option<(P, ZeroChecksum)>,
) -> Result<Detection<'a, P>, PooledDrop> {
    if upper.protocol != PROTOCOL_UDP || !upper.is_first() || !is_to_port(l4, port) {
        return Ok(Detection::NotPooled);
    }
    let (peer, zero_checksum) = peer_of(header.src.into()).ok_or(PooledDrop::UnknownPeer)?;
    if upper.is_fragment() {
        return Err(PooledDrop::Fragment);
    }
    judge(peer, zero_checksum, l4, templates, || udp::verify6(header.src, header.dst, l4))
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
    templates: &'a Templates,
    verdict: impl FnOnce() -> Verdict,
) -> Result<Detection<'a, P>, PooledDrop> {
    let udp = UdpHeader::parse(l4).map_err(|_| PooledDrop::UdpLength)?;
    if usize::from(udp.length) != l4.len() {
        return Err(PooledDrop::UdpLength);
    }
    match (verdict(), zero_checksum) {
        (Verdict::Valid, _) | (Verdict::Absent, ZeroChecksum::Allowed) => {}
        (Verdict::Wrong, _) | (Verdict::Absent, ZeroChecksum::Refused) => return Err(PooledDrop::UdpChecksum),
    }
    let payload = l4.get(udp::HEADER_LEN..).ok_or(PooledDrop::UdpLength)?;
    let src_port = udp.src_port;
    match PoolHeader::parse(payload)?.kind {
        Kind::Pooled => Ok(Detection::Pooled { peer, src_port, packet: PooledPacket::parse(payload)? }),
        Kind::Hello => Ok(Detection::Hello { peer, src_port, hello: Hello::parse(payload)? }),
        Kind::DataOnly => Ok(Detection::DataOnly { peer, src_port, packet: DataOnly::parse(payload)? }),
        Kind::Index => Ok(Detection::Index { peer, src_port, packet: IndexPacket::parse(payload)? }),
        Kind::Predetermined => {
            Ok(Detection::Predetermined { peer, src_port, packet: Predetermined::parse(payload, templates)? })
        }
        Kind::Short => Ok(Detection::Short { peer, src_port, packet: ShortPacket::parse(payload)? }),
        Kind::Report => Ok(Detection::Report { peer, src_port, report: Report::parse(payload)? }),
    }
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

    fn detected<'a>(header: &Ipv4Header, l4: &'a [u8]) -> Result<Detection<'a, u16>, PooledDrop> {
        detect(header, l4, PORT, &TEMPLATES, peer_of(ZeroChecksum::Refused))
    }

    #[test]
    fn a_pooled_packet_from_a_peer_is_detected() {
        let l4 = datagram(PORT, &pooled(&[60, 61]));
        let Ok(Detection::Pooled { peer: 3, src_port: SRC_PORT, packet }) = detected(&header(), &l4) else {
            panic!("{:?}", detected(&header(), &l4));
        };
        assert_eq!(packet.rows().count(), 2);
    }

    #[test]
    fn data_indexes_and_predetermined_packets_from_a_peer_are_detected() {
        let data = datagram(PORT, &parted(&[60, 61]).0);
        let found = detected(&header(), &data);
        assert!(matches!(found, Ok(Detection::DataOnly { peer: 3, src_port: SRC_PORT, .. })), "{found:?}");
        let index = datagram(PORT, &index_packet(6, &[(7, &[60, 61])]));
        let found = detected(&header(), &index);
        assert!(matches!(found, Ok(Detection::Index { peer: 3, src_port: SRC_PORT, .. })), "{found:?}");
        let known = datagram(PORT, &predetermined(7, &[60, 60]));
        let found = detected(&header(), &known);
        assert!(matches!(found, Ok(Detection::Predetermined { peer: 3, src_port: SRC_PORT, .. })), "{found:?}");
        let unknown = datagram(PORT, &predetermined(8, &[60, 60]));
        let found = detected(&header(), &unknown).map(|_| ());
        assert_eq!(found, Err(PooledDrop::Wire(WireError::UnknownTemplate)));
    }

    #[test]
    fn a_hello_from_a_peer_is_detected() {
        let l4 = datagram(PORT, &hello());
        let found = detected(&header(), &l4);
        assert!(matches!(found, Ok(Detection::Hello { peer: 3, src_port: SRC_PORT, hello: HELLO })), "{found:?}");
    }

    #[test]
    fn other_ports_protocols_and_later_fragments_are_not_ours_to_judge() {
        let l4 = datagram(PORT, &pooled(&[60]));
        let other_port = datagram(PORT + 1, &pooled(&[60]));
        assert!(matches!(detected(&header(), &other_port), Ok(Detection::NotPooled)));
        let tcp = Ipv4Header { protocol: 6, ..header() };
        assert!(matches!(detected(&tcp, &l4), Ok(Detection::NotPooled)));
        let later = Ipv4Header { fragment_offset: 8, ..header() };
        assert!(matches!(detected(&later, &l4), Ok(Detection::NotPooled)));
        assert!(matches!(detected(&header(), &l4[..3]), Ok(Detection::NotPooled)));
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
        let broken = datagram(PORT, &pooled(&[60])[..20]);
        assert_eq!(dropped(&header(), &broken), PooledDrop::Wire(WireError::RowBeyondData));
        let unknown_kind = datagram(PORT, &[0x17, 1, 64, 0, 0, 0, 0, 0]);
        assert_eq!(dropped(&header(), &unknown_kind), PooledDrop::Wire(WireError::UnsupportedKind));
    }

    #[test]
    fn no_checksum_is_taken_only_where_the_peer_may() {
        let mut l4 = datagram(PORT, &pooled(&[60]));
        l4[6..8].fill(0);
        assert_eq!(detected(&header(), &l4).map(|_| ()), Err(PooledDrop::UdpChecksum));
        assert!(detect(&header(), &l4, PORT, &TEMPLATES, peer_of(ZeroChecksum::Allowed)).is_ok());
        l4[6] = 1;
        let wrong = detect(&header(), &l4, PORT, &TEMPLATES, peer_of(ZeroChecksum::Allowed));
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
            detect6(&header(src), &upper, l4, PORT, &TEMPLATES, peer_of(zero))
                .map(|found| matches!(found, Detection::Pooled { .. }))
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
            let found = detect(&header, &l4, PORT, &TEMPLATES, peer_of(ZeroChecksum::Allowed));
            if !from_peer || more_fragments {
                prop_assert!(matches!(found, Ok(Detection::NotPooled) | Err(_)), "{:?}", found);
            }
        }
    }
}
