//! The headers that every pooled packet starts with, whatever its layout: outer IPv4 or IPv6, and UDP.
//!
//! Made once when a pool opens by a decision, but for lengths and checksums, and written once per pooled packet, when it is
//! flushed. The sum of what is behind them comes from the layout.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::super::header_template::{Open, Template, TemplateSums};
use super::super::learned::IdSpace;
use super::super::open_pools::PoolKey;
use super::super::ride::{PeerPath, Ride};
use super::super::rule::Dscp;
use crate::packet::{Sum, Total, ipv4, ipv6, udp};

/// Outer IPv4 header and UDP header, in bytes.
pub(super) const LENGTH_IPV4: usize = ipv4::MIN_HEADER_LEN + udp::HEADER_LEN;

/// Outer IP header and UDP header, in bytes. None where the addresses are of different families.
#[inline]
pub(in crate::pool) const fn length(source: IpAddr, destination: IpAddr) -> Option<u16> {
    match (source, destination) {
        (IpAddr::V4(_), IpAddr::V4(_)) => Some(LENGTH_IPV4 as u16),
        (IpAddr::V6(_), IpAddr::V6(_)) => Some((ipv6::HEADER_LEN + udp::HEADER_LEN) as u16),
        _ => None,
    }
}

/// CS6 in the DSCP: what keeps the network going (RFC 4594, section 3.1).
const NETWORK_CONTROL: u8 = 48 << 2;

/// Where a pool's packet goes and what its outer headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) struct OuterHeader {
    /// Our address.
    pub(super) source: IpAddr,
    /// The peer's.
    pub(super) destination: IpAddr,
    /// UDP source port.
    pub(super) source_port: u16,
    /// UDP destination port.
    pub(super) destination_port: u16,
    /// DSCP and ECN.
    pub(super) tos: u8,
    /// The TTL it is sent with.
    pub(super) ttl: u8,
    /// Whether there is a UDP checksum; if not, it is zero. No checksum is for peers that agreed on it (RFC 6935): the
    /// configuration says so, RFC 6936, 4, what it takes.
    pub(super) with_checksum: bool,
    /// All of that as it is written. None where the addresses are of different families.
    prepared: Option<(Template, TemplateSums)>,
}

impl OuterHeader {
    /// Of a place where no pool is open.
    pub(in crate::pool) const NONE: OuterHeader = OuterHeader {
        source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        destination: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        source_port: 0,
        destination_port: 0,
        tos: 0,
        ttl: 0,
        with_checksum: false,
        prepared: None,
    };

    /// Of a pool that opens on this ride; its UDP source port is `port_offset` behind the peer's first one, unless the
    /// peer's format has a port for itself, at both ends.
    #[inline]
    pub(in crate::pool) fn new(ride: &Ride<'_>, port_offset: u16) -> OuterHeader {
        OuterHeader::of_class(ride.peer, ride.key, port_offset)
    }

    /// The same for a pool with this key to a peer.
    #[inline]
    pub(in crate::pool) fn of_class(peer: &PeerPath, key: PoolKey, port_offset: u16) -> OuterHeader {
        OuterHeader::to(peer, key.outer_tos(), port_offset)
    }

    /// The same with these bits of DSCP and ECN.
    #[inline]
    pub(in crate::pool) fn to(peer: &PeerPath, tos: u8, port_offset: u16) -> OuterHeader {
        let (source_port, destination_port) = match peer.format.port() {
            Some(port) => (port, port),
            None => (peer.source_port_base.wrapping_add(port_offset), peer.destination_port),
        };
        OuterHeader {
            source: peer.source,
            destination: peer.addressee,
            source_port,
            destination_port,
            tos,
            ttl: peer.outer_ttl,
            with_checksum: peer.checksum,
            prepared: None,
        }
        .prepared()
    }

    /// The same header, prepared to be written.
    #[inline]
    fn prepared(self) -> OuterHeader {
        let source = SocketAddr::new(self.source, self.source_port);
        let destination = SocketAddr::new(self.destination, self.destination_port);
        let template = Template::new(source, destination, Dscp::of_tos(self.tos), self.ttl);
        // An IPv4 packet is atomic, it cannot be fragmented: its identification may be anything (RFC 6864, 4.1). A tunnel's
        // flow label tells its flows apart (RFC 6438); here the source port does.
        let (ecn, has_udp_checksum) = (self.tos & 0b11, self.with_checksum);
        let open = Open { ecn, dont_fragment: true, has_udp_checksum, flow_label: [0; 3] };
        let template = template.map(|template| template.with_open(&open));
        OuterHeader { prepared: template.map(|template| (template, template.sums())), ..self }
    }

    /// The length of both headers in bytes. None where the addresses are of different families.
    pub(in crate::pool) fn length(&self) -> Option<usize> {
        length(self.source, self.destination).map(usize::from)
    }

    /// The same headers for a packet that nobody hears of congestion from.
    pub(in crate::pool) fn not_ecn_capable(self) -> OuterHeader {
        OuterHeader { tos: self.tos & !0b11, ..self }.prepared()
    }

    /// The TTL it is sent with.
    pub(in crate::pool) fn ttl(&self) -> u8 {
        self.ttl
    }

    /// Of a report to a peer, in the class of hellos.
    pub(in crate::pool) fn of_report(path: &PeerPath, port_offset: u16) -> OuterHeader {
        OuterHeader {
            source: path.source,
            destination: path.addressee,
            source_port: path.source_port_base.wrapping_add(port_offset),
            destination_port: path.destination_port,
            tos: NETWORK_CONTROL,
            ttl: path.outer_ttl,
            with_checksum: path.checksum,
            prepared: None,
        }
        .prepared()
    }

    /// Whose ids learned headers go by.
    #[inline(always)]
    pub(in crate::pool) fn id_space(&self) -> IdSpace {
        IdSpace { addressee: self.destination, source_port: self.source_port }
    }

    /// Writes the headers, checksums included, of a packet with `payload_length` bytes behind them, at most 65487, to `out`, which
    /// is as long as they [are](length). The payload's sum is asked for where it is needed.
    #[inline]
    pub(in crate::pool) fn write(&self, payload_length: u16, sum: impl FnOnce() -> Sum, out: &mut [u8]) -> Option<()> {
        let (template, sums) = self.prepared.as_ref()?;
        let mut payload = Total::default();
        if self.with_checksum {
            payload.add_sum(sum());
        }
        template.write(sums, 0, payload_length.into(), payload, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: usize = 28;

    fn bytes(payload_sum: Option<Sum>) -> [u8; LENGTH] {
        let header = OuterHeader {
            source: [192, 0, 2, 1].into(),
            destination: [198, 51, 100, 7].into(),
            source_port: 40000,
            destination_port: 7665,
            tos: 46 << 2,
            ttl: 64,
            with_checksum: payload_sum.is_some(),
            prepared: None,
        }
        .prepared();
        let mut bytes = [0xee; LENGTH];
        header.write(140, || payload_sum.unwrap_or_default(), &mut bytes).expect("lengths are in range");
        bytes
    }

    #[test]
    fn every_field_is_where_the_format_has_it() {
        let bytes = bytes(None);
        assert_eq!(bytes[..10], [0x45, 0xb8, 0, 168, 0, 0, 0x40, 0, 64, 17]);
        assert!(Sum::of(&bytes[..20]).is_valid(), "IPv4 header checksum");
        assert_eq!(bytes[12..20], [192, 0, 2, 1, 198, 51, 100, 7]);
        assert_eq!(bytes[20..28], [0x9c, 0x40, 0x1d, 0xf1, 0, 148, 0, 0]);
    }

    #[test]
    fn over_ipv6_the_headers_are_twenty_bytes_longer_and_all_of_them_is_in_the_checksum() {
        let (source, destination) = ([0x20; 16].into(), [0x21; 16].into());
        let header = OuterHeader {
            source,
            destination,
            source_port: 40000,
            destination_port: 7665,
            tos: 46 << 2 | 2,
            ttl: 64,
            with_checksum: true,
            prepared: None,
        }
        .prepared();
        let payload = [7; 140];
        let mut bytes = [0xee; 48];
        assert_eq!(length(source, destination), Some(48));
        header.write(140, || Sum::of(&payload), &mut bytes).expect("lengths are in range");
        assert_eq!(bytes[..8], [0x6b, 0xa0, 0, 0, 0, 148, 17, 64]);
        assert_eq!((&bytes[8..24], &bytes[24..40]), (&[0x20; 16][..], &[0x21; 16][..]));
        assert_eq!(bytes[40..46], [0x9c, 0x40, 0x1d, 0xf1, 0, 148]);
        let datagram = [&bytes[40..], &payload].concat();
        assert_eq!(udp::verify6([0x20; 16].into(), [0x21; 16].into(), &datagram), udp::Verdict::Valid);
        OuterHeader { with_checksum: false, ..header }
            .prepared()
            .write(140, || Sum::ZERO, &mut bytes)
            .expect("as before");
        assert_eq!(bytes[46..], [0, 0]);
    }

    #[test]
    fn addresses_of_different_families_are_no_way() {
        let header = OuterHeader { destination: [0x21; 16].into(), ..OuterHeader::NONE }.prepared();
        assert_eq!(length(header.source, header.destination), None);
        assert_eq!(header.write(0, || Sum::ZERO, &mut [0; 48]), None);
    }

    #[test]
    fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
        let sums = (0..=0xffffu16).map(Sum::of_word);
        let zero = sums.map(|sum| bytes(Some(sum))).find(|bytes| bytes[26..28] == [0, 0]);
        assert_eq!(zero, None);
    }
}
