//! Explicit congestion notification (RFC 3168) on the headers of packets that were carried inside others (RFC 6040).

use super::checksum::update;
use super::ipv6;

/// Not ECN-capable.
pub const NOT_ECT: u8 = 0;
/// Congestion experienced.
pub const CE: u8 = 3;

/// Marks the IP packet in `bytes` as having met congestion, where it is ECN-capable; an IPv4 header's checksum is
/// corrected. Returns whether it carries the mark now.
#[inline]
pub fn mark_congestion(bytes: &mut [u8]) -> bool {
    if let [0x60..=0x6f, ..] = bytes {
        let Some([_, second, ..]) = bytes.first_chunk_mut::<{ ipv6::HEADER_LEN }>() else { return false };
        // The traffic class is between the version and the flow label, so ECN is in the upper half of this byte.
        let capable = *second >> 4 & 3 != NOT_ECT;
        if capable {
            *second |= CE << 4;
        }
        return capable;
    }
    let Some([version_ihl, tos, _, _, _, _, _, _, _, _, c0, c1, ..]) = bytes.first_chunk_mut::<20>() else {
        return false;
    };
    if *tos & 3 == NOT_ECT {
        return false;
    }
    let (old, marked) = (u16::from_be_bytes([*version_ihl, *tos]), *tos | CE);
    let checksum = update(u16::from_be_bytes([*c0, *c1]), old, u16::from_be_bytes([*version_ihl, marked]));
    *tos = marked;
    [*c0, *c1] = checksum.to_be_bytes();
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::checksum::Sum;
    use crate::packet::ipv4::Ipv4Header;
    use crate::packet::ipv6::Ipv6Header;

    #[test]
    fn a_mark_goes_only_on_capable_packets_and_leaves_the_checksum_right() {
        for ecn in 0..4u8 {
            let mut header = [0u8; 20];
            let fields = Ipv4Header {
                header_len: 20,
                dscp_ecn: 0xb8 | ecn,
                total_len: 20,
                id: 7,
                dont_fragment: false,
                more_fragments: false,
                fragment_offset: 0,
                ttl: 9,
                protocol: 17,
                src: [192, 0, 2, 1].into(),
                dst: [198, 51, 100, 1].into(),
            };
            fields.write(&mut header);
            assert_eq!(mark_congestion(&mut header), ecn != NOT_ECT);
            assert!(Sum::of(&header).is_valid(), "checksum after ECN {ecn}");
            assert_eq!(header[1], if ecn == NOT_ECT { 0xb8 } else { 0xbb });
        }
    }

    #[test]
    fn an_ipv6_packet_is_marked_in_its_traffic_class_and_nowhere_else() {
        for ecn in 0..4u8 {
            let mut bytes = crate::packet::ipv6::tests::packet();
            let header = Ipv6Header { traffic_class: 0xb8 | ecn, ..Ipv6Header::parse(&bytes).expect("sound") };
            header.write(bytes.first_chunk_mut().expect("a header"));
            assert_eq!(mark_congestion(&mut bytes), ecn != NOT_ECT);
            let traffic_class = if ecn == NOT_ECT { 0xb8 } else { 0xbb };
            assert_eq!(Ipv6Header::parse(&bytes), Ok(Ipv6Header { traffic_class, ..header }));
        }
    }

    #[test]
    fn what_is_shorter_than_a_header_is_left_alone() {
        assert!(!mark_congestion(&mut [0x45, 1, 2]));
        assert!(!mark_congestion(&mut [0x6f; 39]));
    }
}
