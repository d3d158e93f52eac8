//! The headers in front of a pooled packet's index: outer IPv4, UDP, and the pool header of Kind 0.
//!
//! Written once per pooled packet, when it is flushed. The sums of index and data come folded from the copies, so no
//! byte of them is read again.

use std::net::IpAddr;

use super::wire::{self, Kind, PoolHeader};
use crate::packet::Sum;
use crate::packet::ipv4::{Ipv4Header, MIN_HEADER_LEN, PROTOCOL_UDP};
use crate::packet::udp::{self, UdpHeader};

/// Outer IPv4 header, UDP header, pool header, in bytes.
pub(super) const OUTER_LENGTH: usize = MIN_HEADER_LEN + udp::HEADER_LEN + wire::HEADER_LEN;

/// Where a pooled packet goes and what its headers say.
pub(super) struct OuterHeader {
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
    /// The TTL it is sent with, which the pool header repeats.
    pub(super) ttl: u8,
    /// Rows.
    pub(super) count: u8,
    /// Of the flow (source address, source port, destination address).
    pub(super) sequence: u32,
    /// Length of rows and data together, in bytes: at most 65535 less [`OUTER_LENGTH`].
    pub(super) payload_length: u16,
    /// Sum of rows and data; None leaves the UDP checksum zero: not computed.
    pub(super) payload_sum: Option<Sum>,
}

impl OuterHeader {
    /// Writes the headers, checksums included. None where the addresses are not IPv4.
    pub(super) fn write(&self, out: &mut [u8; OUTER_LENGTH]) -> Option<()> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (self.source, self.destination) else { return None };
        let (ip, rest) = out.split_first_chunk_mut::<MIN_HEADER_LEN>()?;
        let (udp, rest) = rest.split_first_chunk_mut::<{ udp::HEADER_LEN }>()?;
        let pool = rest.first_chunk_mut::<{ wire::HEADER_LEN }>()?;
        let header = PoolHeader {
            kind: Kind::Pooled,
            count: self.count,
            outer_ttl: self.ttl,
            template: 0,
            sequence: self.sequence,
        };
        header.write(pool);
        let length = self.payload_length.checked_add((udp::HEADER_LEN + wire::HEADER_LEN) as u16)?;
        let mut datagram =
            UdpHeader { src_port: self.source_port, dst_port: self.destination_port, length, checksum: 0 };
        if let Some(sum) = self.payload_sum {
            // The pool header is of even length, so what is behind it keeps its place in the words.
            datagram.checksum = datagram.checksum_over(source, destination, Sum::of(pool).add(sum));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(sequence: u32, payload_sum: Option<Sum>) -> [u8; OUTER_LENGTH] {
        let header = OuterHeader {
            source: [192, 0, 2, 1].into(),
            destination: [198, 51, 100, 7].into(),
            source_port: 40000,
            destination_port: 7665,
            tos: 46 << 2,
            ttl: 64,
            count: 2,
            sequence,
            payload_length: 132,
            payload_sum,
        };
        let mut bytes = [0xee; OUTER_LENGTH];
        header.write(&mut bytes).expect("lengths are in range");
        bytes
    }

    #[test]
    fn every_field_is_where_the_format_has_it() {
        let bytes = bytes(0x0102_0304, None);
        assert_eq!(bytes[..10], [0x45, 0xb8, 0, 168, 0, 0, 0x40, 0, 64, 17]);
        assert!(Sum::of(&bytes[..20]).is_valid(), "IPv4 header checksum");
        assert_eq!(bytes[12..20], [192, 0, 2, 1, 198, 51, 100, 7]);
        assert_eq!(bytes[20..28], [0x9c, 0x40, 0x1d, 0xf1, 0, 148, 0, 0]);
        assert_eq!(bytes[28..], [0x10, 2, 64, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
        let sums = (0..=0xffffu16).map(Sum::of_word);
        let zero = sums.map(|sum| bytes(0, Some(sum))).find(|bytes| bytes[26..28] == [0, 0]);
        assert_eq!(zero, None);
    }
}
