//! The headers that every pooled packet starts with, whatever its layout: outer IPv4 and UDP.
//!
//! Written once per pooled packet, when it is flushed. The sum of what is behind them comes from the layout.

use std::net::{IpAddr, Ipv4Addr};

use super::super::open_pools::PoolKey;
use super::super::ride::Ride;
use crate::packet::Sum;
use crate::packet::ipv4::{Ipv4Header, MIN_HEADER_LEN, PROTOCOL_UDP};
use crate::packet::udp::{self, UdpHeader};

/// Outer IPv4 header and UDP header, in bytes.
pub(super) const LENGTH: usize = MIN_HEADER_LEN + udp::HEADER_LEN;

/// Where a pool's packet goes and what its outer headers say.
#[derive(Clone, Copy)]
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
    /// Whether there is a UDP checksum; if not, it is zero.
    pub(super) with_checksum: bool,
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
    };

    /// Of a pool that opens on this ride; its UDP source port is `port_offset` behind the peer's first one, unless the
    /// peer's format has a port for itself.
    #[inline]
    pub(in crate::pool) fn new(ride: &Ride<'_>, port_offset: u16) -> OuterHeader {
        let source_port = match ride.peer.format.port() {
            Some(port) => port,
            None => ride.peer.source_port_base.wrapping_add(port_offset),
        };
        OuterHeader {
            source: ride.peer.source,
            destination: ride.peer.addressee,
            source_port,
            destination_port: ride.peer.destination_port,
            tos: outer_tos(ride.key),
            ttl: ride.peer.outer_ttl,
            with_checksum: ride.peer.checksum,
        }
    }

    /// Writes the headers, checksums included, of a packet with `payload_length` bytes behind them, at most 65535 less
    /// [`LENGTH`]. Their sum is asked for where it is needed. None where the addresses are not IPv4.
    #[inline]
    pub(super) fn write(&self, payload_length: u16, sum: impl FnOnce() -> Sum, out: &mut [u8; LENGTH]) -> Option<()> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (self.source, self.destination) else { return None };
        let (ip, rest) = out.split_first_chunk_mut::<MIN_HEADER_LEN>()?;
        let udp = rest.first_chunk_mut::<{ udp::HEADER_LEN }>()?;
        let length = payload_length.checked_add(udp::HEADER_LEN as u16)?;
        let mut datagram =
            UdpHeader { src_port: self.source_port, dst_port: self.destination_port, length, checksum: 0 };
        if self.with_checksum {
            datagram.checksum = datagram.checksum_over(source, destination, sum());
        }
        datagram.write(udp);
        let outer = Ipv4Header {
            header_len: MIN_HEADER_LEN as u8,
            dscp_ecn: self.tos,
            total_len: length.checked_add(MIN_HEADER_LEN as u16)?,
            // The packet is atomic, it cannot be fragmented: its identification may be anything (RFC 6864, 4.1).
            id: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: self.ttl,
            protocol: PROTOCOL_UDP,
            src: source,
            dst: destination,
        };
        outer.write(ip);
        Some(())
    }
}

/// The pool's class, and ECT(0) where every packet in it is ECN-capable, else Not-ECT (RFC 6040, section 4.1, where the
/// inner fields agree). An inner ECT(1) or CE stays what it is: CE on the outer packet would be copied to each packet
/// inside, and congestion that one of them met is not theirs.
#[inline(always)]
fn outer_tos(key: PoolKey) -> u8 {
    const ECT_0: u8 = 0b10;
    key.class().value() << 2 | if key.is_ecn_capable() { ECT_0 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(payload_sum: Option<Sum>) -> [u8; LENGTH] {
        let header = OuterHeader {
            source: [192, 0, 2, 1].into(),
            destination: [198, 51, 100, 7].into(),
            source_port: 40000,
            destination_port: 7665,
            tos: 46 << 2,
            ttl: 64,
            with_checksum: payload_sum.is_some(),
        };
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
    fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
        let sums = (0..=0xffffu16).map(Sum::of_word);
        let zero = sums.map(|sum| bytes(Some(sum))).find(|bytes| bytes[26..28] == [0, 0]);
        assert_eq!(zero, None);
    }
}
