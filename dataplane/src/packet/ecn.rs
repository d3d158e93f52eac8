//! Explicit congestion notification (RFC 3168) on the headers of packets that were carried inside others (RFC 6040).

use super::checksum::update;

/// Not ECN-capable.
pub const NOT_ECT: u8 = 0;
/// Congestion experienced.
pub const CE: u8 = 3;

/// Marks the IP packet in `bytes` as having met congestion, where it is ECN-capable; corrects the header checksum of an
/// IPv4 packet. Returns whether it carries the mark now.
#[inline]
pub fn mark_congestion(bytes: &mut [u8]) -> bool {
    match bytes.first() {
        Some(first) if first >> 4 == 6 => mark_congestion6(bytes),
        _ => mark_congestion4(bytes),
    }
}

#[inline]
fn mark_congestion4(bytes: &mut [u8]) -> bool {
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

/// The traffic class lies across the first two bytes (RFC 8200 section 3): its lowest two bits in the second.
#[inline]
fn mark_congestion6(bytes: &mut [u8]) -> bool {
    let Some([_, class_label, ..]) = bytes.first_chunk_mut::<40>() else { return false };
    if (*class_label >> 4) & 3 == NOT_ECT {
        return false;
    }
    *class_label |= CE << 4;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::checksum::Sum;
    use crate::packet::ipv4::Ipv4Header;

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
    fn a_mark_on_ipv6_changes_two_bits_of_the_traffic_class_and_nothing_else() {
        for ecn in 0..4u8 {
            let mut header = [0xa5; 40];
            (header[0], header[1]) = (0x6b, 0x87 | ecn << 4);
            let before = header;
            assert_eq!(mark_congestion(&mut header), ecn != NOT_ECT);
            assert_eq!(header[1], if ecn == NOT_ECT { 0x87 } else { 0xb7 });
            header[1] = before[1];
            assert_eq!(header, before);
        }
    }

    #[test]
    fn what_is_shorter_than_a_header_is_left_alone() {
        assert!(!mark_congestion(&mut [0x45, 1, 2]));
        assert!(!mark_congestion(&mut [0x60; 39]));
    }
}
