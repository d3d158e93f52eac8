//! Reads pooled packets as DESIGN's wire format has them, sharing no code with what writes them, and insists on every
//! bound and checksum.

use std::net::{IpAddr, Ipv4Addr};

/// A pooled packet, taken apart.
#[derive(Debug)]
pub(super) struct Pooled {
    pub(super) tos: u8,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) udp_checksum: u16,
    pub(super) sequence: u32,
    /// TTL and bytes of each packet carried.
    pub(super) rows: Vec<(u8, Vec<u8>)>,
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Ones' complement sum, one word after the other.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The UDP datagram in a packet.
///
/// # Panics
/// Where anything outside of it or in its header is not as the format has it.
pub(super) fn datagram(bytes: &[u8]) -> &[u8] {
    assert_eq!(bytes[0], 0x45, "version and header length");
    assert_eq!(usize::from(word(bytes, 2)), bytes.len(), "total length");
    assert_eq!(word(bytes, 4), 0, "identification");
    assert_eq!(word(bytes, 6), 0x4000, "DF and nothing else");
    assert_eq!(bytes[9], 17, "protocol");
    assert_eq!(sum(&bytes[..20]), 0xffff, "IPv4 header checksum");
    let udp = &bytes[20..];
    assert_eq!(usize::from(word(udp, 4)), udp.len(), "UDP length");
    let udp_checksum = word(udp, 6);
    if udp_checksum != 0 {
        let mut with_pseudo_header = bytes[12..20].to_vec();
        with_pseudo_header.extend_from_slice(&[0, 17, udp[4], udp[5]]);
        with_pseudo_header.extend_from_slice(udp);
        assert_eq!(sum(&with_pseudo_header), 0xffff, "UDP checksum");
    }
    udp
}

/// Takes a pooled packet of kind 0 apart.
///
/// # Panics
/// Where anything is not as the format has it.
pub(super) fn read(bytes: &[u8]) -> Pooled {
    let udp = datagram(bytes);
    let udp_checksum = word(udp, 6);
    let pool = &udp[8..];
    assert_eq!(pool[0], 0x10, "version 1, kind 0");
    assert_eq!(pool[2], bytes[8], "the outer TTL as sent");
    assert_eq!(pool[3], 0, "template");
    let count = usize::from(pool[1]);
    assert!(count >= 1, "no rows");
    let (index, data) = pool[8..].split_at(6 * count);
    let mut expected_start = 0;
    let mut rows = Vec::new();
    for row in index.chunks(6) {
        let (start, length) = (usize::from(word(row, 0)), usize::from(word(row, 2)));
        assert_eq!(start, expected_start, "rows are contiguous");
        assert_eq!(row[5], 4, "a whole IPv4 packet");
        let inner = &data[start..start + length];
        assert_eq!(usize::from(word(inner, 2)), length, "the row's length is the inner IP length");
        rows.push((row[4], inner.to_vec()));
        expected_start += length;
    }
    assert_eq!(expected_start, data.len(), "the last row ends the data");
    let address = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]).into();
    Pooled {
        tos: bytes[1],
        source: address(12),
        destination: address(16),
        source_port: word(udp, 0),
        destination_port: word(udp, 2),
        udp_checksum,
        sequence: u32::from_be_bytes([pool[4], pool[5], pool[6], pool[7]]),
        rows,
    }
}
