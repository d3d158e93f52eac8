//! Explicit congestion notification (RFC 3168) of packets that are carried inside others (RFC 6040).

use super::checksum::update;
use super::ipv6;

/// Not ECN-capable.
pub const NOT_ECT: u8 = 0b00;
/// ECN-capable, of those for whom congestion is answered at once and a little (L4S, RFC 9331).
pub const ECT_1: u8 = 0b01;
/// ECN-capable, of those for whom a mark means what a loss means.
pub const ECT_0: u8 = 0b10;
/// Congestion experienced.
pub const CE: u8 = 0b11;

/// The ECN field of the packet that carries one with the ECN field `inside`: the same (RFC 6040, section 4.1), but ECT(0)
/// for CE. CE on the outside would be copied to each packet inside, and congestion that one of them met is not theirs.
#[inline(always)]
pub const fn outside(inside: u8) -> u8 {
    inside & !(inside >> 1)
}

/// The ECN field that a packet with the field `inside` has once it is taken out of one with the field `outside`, 0 to 3
/// both; None where it must be dropped, as it cannot carry the mark (RFC 6040, section 4.2).
#[inline(always)]
pub const fn taken_out(inside: u8, outside: u8) -> Option<u8> {
    match (inside, outside) {
        (NOT_ECT, CE) => None,
        (ECT_0, ECT_1) => Some(ECT_1),
        (ECT_0 | ECT_1, CE) => Some(CE),
        _ => Some(inside),
    }
}

/// Gives the IP packet in `bytes` the ECN field that it has once it is taken out of one with the field `outside`; an IPv4
/// header's checksum is corrected. False where it must be dropped, or is shorter than a header.
#[inline]
pub fn take_out(bytes: &mut [u8], outside: u8) -> bool {
    if let [0x60..=0x6f, ..] = bytes {
        let Some([_, second, ..]) = bytes.first_chunk_mut::<{ ipv6::HEADER_LEN }>() else { return false };
        // The traffic class is between the version and the flow label, so ECN is in the upper half of this byte.
        let Some(field) = taken_out(*second >> 4 & CE, outside) else { return false };
        *second = *second & !(CE << 4) | field << 4;
        return true;
    }
    let Some([version_ihl, tos, _, _, _, _, _, _, _, _, c0, c1, ..]) = bytes.first_chunk_mut::<20>() else {
        return false;
    };
    let Some(field) = taken_out(*tos & CE, outside) else { return false };
    let (old, new) = (u16::from_be_bytes([*version_ihl, *tos]), *tos & !CE | field);
    // Only then: a header whose checksum is wrong comes out as it went in.
    if new != *tos {
        let checksum = update(u16::from_be_bytes([*c0, *c1]), old, u16::from_be_bytes([*version_ihl, new]));
        *tos = new;
        [*c0, *c1] = checksum.to_be_bytes();
    }
    true
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::packet::checksum::Sum;
    use crate::packet::ipv4::Ipv4Header;
    use crate::packet::ipv6::Ipv6Header;

    /// The table of RFC 6040, section 4.2: what comes out for each field inside (a line) under each field outside (Not-ECT,
    /// ECT(0), ECT(1), CE). None: dropped.
    pub(crate) const RFC_6040: [(u8, [Option<u8>; 4]); 4] = [
        (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
        (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
        (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
        (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
    ];

    /// The columns of that table.
    pub(crate) const OUTSIDE: [u8; 4] = [NOT_ECT, ECT_0, ECT_1, CE];

    #[test]
    fn ipv4_comes_out_as_the_table_says_and_its_checksum_stays_right() {
        for (inside, row) in RFC_6040 {
            for (outside, expected) in OUTSIDE.into_iter().zip(row) {
                let fields = Ipv4Header {
                    header_len: 20,
                    dscp_ecn: 0xb8 | inside,
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
                let mut header = [0u8; 20];
                fields.write(&mut header);
                assert_eq!(take_out(&mut header, outside), expected.is_some(), "{inside} in {outside}");
                let mut wanted = [0u8; 20];
                Ipv4Header { dscp_ecn: 0xb8 | expected.unwrap_or(inside), ..fields }.write(&mut wanted);
                assert_eq!(header, wanted, "{inside} in {outside}");
                assert!(Sum::of(&header).is_valid(), "checksum of {inside} in {outside}");
            }
        }
    }

    #[test]
    fn ipv6_comes_out_as_the_table_says_and_nothing_else_of_it_changes() {
        for (inside, row) in RFC_6040 {
            for (outside, expected) in OUTSIDE.into_iter().zip(row) {
                let mut bytes = crate::packet::ipv6::tests::packet();
                let header = Ipv6Header { traffic_class: 0xb8 | inside, ..Ipv6Header::parse(&bytes).expect("sound") };
                header.write(bytes.first_chunk_mut().expect("a header"));
                let rest = bytes[ipv6::HEADER_LEN..].to_vec();
                assert_eq!(take_out(&mut bytes, outside), expected.is_some(), "{inside} in {outside}");
                let traffic_class = 0xb8 | expected.unwrap_or(inside);
                assert_eq!(
                    Ipv6Header::parse(&bytes),
                    Ok(Ipv6Header { traffic_class, ..header }),
                    "{inside} in {outside}"
                );
                assert_eq!(bytes[ipv6::HEADER_LEN..], rest);
            }
        }
    }

    #[test]
    fn what_carries_a_packet_can_carry_marks_just_where_it_can_and_has_none() {
        assert_eq!([NOT_ECT, ECT_1, ECT_0, CE].map(outside), [NOT_ECT, ECT_1, ECT_0, ECT_0]);
    }

    #[test]
    fn a_packet_comes_out_as_it_went_in_where_nothing_met_congestion() {
        for inside in [NOT_ECT, ECT_1, ECT_0, CE] {
            assert_eq!(taken_out(inside, outside(inside)), Some(inside));
        }
    }

    #[test]
    fn what_is_shorter_than_a_header_is_left_alone() {
        assert!(!take_out(&mut [0x45, 1, 2], CE));
        assert!(!take_out(&mut [0x6f; 39], CE));
    }
}
