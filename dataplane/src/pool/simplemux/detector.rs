//! Is a packet to a Simplemux port from a peer that speaks this flavour, and sound?
//!
//! The worker asks about every UDP packet to one of our addresses and one of the two ports, as it asks the pooled packet
//! detector about those to the pool port.

use std::net::Ipv4Addr;

use super::{Datagram, Flavour, SimplemuxError};
use crate::packet::ipv4::Ipv4Header;
use crate::packet::udp::{self, UdpHeader, Verdict};
use crate::pool::pooled_packet_detector::ZeroChecksum;

/// A sound datagram and who sent it. `P` is how the caller tells its peers apart.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a, P> {
    /// Who sent it.
    pub peer: P,
    /// What it carries.
    pub datagram: Datagram<'a>,
}

/// Why a packet to a Simplemux port is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SimplemuxDrop {
    /// Its sender is no configured peer, or one of another format.
    #[error("simplemux packet from an address that is no peer of this format")]
    UnknownPeer,
    /// Its IPv4 header has options.
    #[error("simplemux packet with IPv4 options")]
    OuterOptions,
    /// It is the first fragment of a packet, and nothing is reassembled.
    #[error("simplemux packet in fragments")]
    Fragment,
    /// The UDP length is not that of what the IP packet carries.
    #[error("simplemux packet with a wrong UDP length")]
    UdpLength,
    /// Its source port is not its destination port.
    #[error("simplemux packet from another port")]
    SourcePort,
    /// The UDP checksum is wrong, or missing where it is asked for.
    #[error("simplemux packet with a wrong UDP checksum")]
    UdpChecksum,
    /// A bound of the format does not hold.
    #[error("simplemux packet: {0}")]
    Format(#[from] SimplemuxError),
}

impl SimplemuxDrop {
    /// The reasons that are about the outer packet.
    pub const OUTER: [SimplemuxDrop; 6] = [
        SimplemuxDrop::UnknownPeer,
        SimplemuxDrop::OuterOptions,
        SimplemuxDrop::Fragment,
        SimplemuxDrop::UdpLength,
        SimplemuxDrop::SourcePort,
        SimplemuxDrop::UdpChecksum,
    ];

    /// The name of its counter.
    pub const fn name(self) -> &'static str {
        match self {
            SimplemuxDrop::UnknownPeer => "unknown_peer",
            SimplemuxDrop::OuterOptions => "outer_options",
            SimplemuxDrop::Fragment => "fragment",
            SimplemuxDrop::UdpLength => "udp_length",
            SimplemuxDrop::SourcePort => "source_port",
            SimplemuxDrop::UdpChecksum => "udp_checksum",
            SimplemuxDrop::Format(error) => error.name(),
        }
    }
}

/// Decides about a packet to the port of `flavour` that is not a later fragment. `l4` is its payload
/// ([`Ipv4Header::payload`]); `peer_of` knows the configured peers of this flavour by address.
///
/// Nothing behind the UDP header is looked at before the checksum.
#[inline]
pub fn detect<'a, P>(
    header: &Ipv4Header,
    l4: &'a [u8],
    flavour: Flavour,
    peer_of: impl Fn(Ipv4Addr) -> Option<(P, ZeroChecksum)>,
) -> Result<Received<'a, P>, SimplemuxDrop> {
    let (peer, zero_checksum) = peer_of(header.src).ok_or(SimplemuxDrop::UnknownPeer)?;
    if header.has_options() {
        return Err(SimplemuxDrop::OuterOptions);
    }
    if header.is_fragment() {
        return Err(SimplemuxDrop::Fragment);
    }
    let udp = UdpHeader::parse(l4).map_err(|_| SimplemuxDrop::UdpLength)?;
    if usize::from(udp.length) != l4.len() {
        return Err(SimplemuxDrop::UdpLength);
    }
    if udp.src_port != flavour.port() {
        return Err(SimplemuxDrop::SourcePort);
    }
    match (udp::verify(header.src, header.dst, l4), zero_checksum) {
        (Verdict::Valid, _) | (Verdict::Absent, ZeroChecksum::Allowed) => {}
        (Verdict::Wrong, _) | (Verdict::Absent, ZeroChecksum::Refused) => return Err(SimplemuxDrop::UdpChecksum),
    }
    let payload = l4.get(udp::HEADER_LEN..).ok_or(SimplemuxDrop::UdpLength)?;
    Ok(Received { peer, datagram: Datagram::parse(flavour, payload)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::Sum;
    use crate::packet::ipv4::PROTOCOL_UDP;
    use crate::packet::mutation::mutated;
    use crate::pool::simplemux::tests::written;

    const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    const US: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

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

    fn datagram(src_port: u16, flavour: Flavour, payload: &[u8]) -> Vec<u8> {
        let length = (udp::HEADER_LEN + payload.len()) as u16;
        let mut header = UdpHeader { src_port, dst_port: flavour.port(), length, checksum: 0 };
        header.checksum = header.checksum_over(PEER, US, Sum::of(payload));
        let mut bytes = vec![0; udp::HEADER_LEN];
        header.write(bytes.first_chunk_mut().unwrap());
        bytes.extend_from_slice(payload);
        bytes
    }

    fn from_peer(flavour: Flavour, payload: &[u8]) -> Vec<u8> {
        datagram(flavour.port(), flavour, payload)
    }

    fn detected<'a>(header: &Ipv4Header, l4: &'a [u8], zero: ZeroChecksum) -> Result<Received<'a, u16>, SimplemuxDrop> {
        detect(header, l4, Flavour::Normal, |src| (src == PEER).then_some((3, zero)))
    }

    #[test]
    fn a_datagram_of_each_flavour_from_its_peer_is_received() {
        for flavour in [Flavour::Normal, Flavour::Fast] {
            let l4 = from_peer(flavour, &written(flavour, &[60, 300]));
            let received = detect(&header(), &l4, flavour, |src| (src == PEER).then_some((3, ZeroChecksum::Refused)));
            let received = received.expect("a sound datagram");
            assert_eq!((received.peer, received.datagram.count()), (3, 2));
        }
    }

    #[test]
    fn every_drop_of_the_outer_packet_has_its_reason() {
        let l4 = from_peer(Flavour::Normal, &written(Flavour::Normal, &[60]));
        let dropped =
            |header: &Ipv4Header, l4: &[u8]| detected(header, l4, ZeroChecksum::Refused).map(|_| ()).unwrap_err();
        let stranger = Ipv4Header { src: Ipv4Addr::new(203, 0, 113, 1), ..header() };
        assert_eq!(dropped(&stranger, &l4), SimplemuxDrop::UnknownPeer);
        let options = Ipv4Header { header_len: 24, ..header() };
        assert_eq!(dropped(&options, &l4), SimplemuxDrop::OuterOptions);
        let first_fragment = Ipv4Header { more_fragments: true, ..header() };
        assert_eq!(dropped(&first_fragment, &l4), SimplemuxDrop::Fragment);
        assert_eq!(dropped(&header(), &l4[..7]), SimplemuxDrop::UdpLength);
        assert_eq!(dropped(&header(), &l4[..l4.len() - 1]), SimplemuxDrop::UdpLength);
        let longer = [&l4[..], &[0]].concat();
        assert_eq!(dropped(&header(), &longer), SimplemuxDrop::UdpLength);
        let other_port = datagram(40_000, Flavour::Normal, &written(Flavour::Normal, &[60]));
        assert_eq!(dropped(&header(), &other_port), SimplemuxDrop::SourcePort);
        let mut damaged = l4.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(dropped(&header(), &damaged), SimplemuxDrop::UdpChecksum);
        let empty = from_peer(Flavour::Normal, &[]);
        assert_eq!(dropped(&header(), &empty), SimplemuxDrop::Format(SimplemuxError::NoEntries));
    }

    #[test]
    fn no_checksum_is_taken_only_where_the_peer_may() {
        let mut l4 = from_peer(Flavour::Normal, &written(Flavour::Normal, &[60]));
        l4[6..8].fill(0);
        let refused = detected(&header(), &l4, ZeroChecksum::Refused).map(|_| ());
        assert_eq!(refused, Err(SimplemuxDrop::UdpChecksum));
        assert!(detected(&header(), &l4, ZeroChecksum::Allowed).is_ok());
    }

    proptest! {
        #[test]
        fn no_datagram_panics_and_none_from_a_stranger_is_taken(
            l4 in mutated(Just(from_peer(Flavour::Normal, &written(Flavour::Normal, &[30, 200])))), is_peer: bool,
        ) {
            let header = Ipv4Header { src: if is_peer { PEER } else { US }, ..header() };
            let found = detected(&header, &l4, ZeroChecksum::Allowed);
            prop_assert!(is_peer || found.is_err());
        }
    }
}
