//! The headers in front of a pooled packet's index: outer IPv4, UDP, and the pool header of Kind 0.
//!
//! Written once per pooled packet, when it is flushed. The sums of index and data come folded from the copies, so no
//! byte of them is read again.

use super::checksum::fold;

/// Outer IPv4 header, UDP header, pool header, in bytes.
pub(super) const OUTER_LENGTH: usize = 20 + 8 + 8;

/// A row of the pooled packet index, in bytes.
pub(super) const ROW_LENGTH: usize = 6;

/// The row type of a whole IPv4 packet.
pub(super) const ROW_IPV4: u8 = 4;

/// Version 1, Kind 0 (index in band).
const VERSION_AND_KIND: u8 = 1 << 4;

const UDP: u8 = 17;
const DONT_FRAGMENT: u16 = 0x4000;

/// Where a pooled packet goes and what its headers say. Integers are in host byte order.
pub(super) struct OuterHeader {
    /// IPv4 source address.
    pub(super) source: u32,
    /// IPv4 destination address.
    pub(super) destination: u32,
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
    /// Length of rows and data together, in bytes.
    pub(super) payload_length: u16,
    /// Ones' complement partial sum of rows and data; None leaves the UDP checksum zero: not computed.
    pub(super) payload_sum: Option<u64>,
}

impl OuterHeader {
    /// The header bytes, checksums included. `payload_length` is at most 65535 less `OUTER_LENGTH`.
    pub(super) fn bytes(&self) -> [u8; OUTER_LENGTH] {
        let total_length = self.payload_length.saturating_add(OUTER_LENGTH as u16);
        let udp_length = self.payload_length.saturating_add(16);
        let ttl = self.ttl;
        let [l0, l1] = total_length.to_be_bytes();
        let [f0, f1] = DONT_FRAGMENT.to_be_bytes();
        let [c0, c1] = self.header_checksum(total_length).to_be_bytes();
        let [s0, s1, s2, s3] = self.source.to_be_bytes();
        let [d0, d1, d2, d3] = self.destination.to_be_bytes();
        let [sp0, sp1] = self.source_port.to_be_bytes();
        let [dp0, dp1] = self.destination_port.to_be_bytes();
        let [ul0, ul1] = udp_length.to_be_bytes();
        let [uc0, uc1] = self.udp_checksum(udp_length).to_be_bytes();
        let [q0, q1, q2, q3] = self.sequence.to_be_bytes();
        // Identification zero: the packet is atomic, it cannot be fragmented (RFC 6864, section 4.1).
        [
            0x45,
            self.tos,
            l0,
            l1,
            0,
            0,
            f0,
            f1,
            ttl,
            UDP,
            c0,
            c1,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3, // IPv4
            sp0,
            sp1,
            dp0,
            dp1,
            ul0,
            ul1,
            uc0,
            uc1, // UDP
            VERSION_AND_KIND,
            self.count,
            ttl,
            0,
            q0,
            q1,
            q2,
            q3, // pool header
        ]
    }

    fn addresses_sum(&self) -> u64 {
        halves(self.source) + halves(self.destination)
    }

    fn header_checksum(&self, total_length: u16) -> u16 {
        let sum = (0x4500 | u64::from(self.tos))
            + u64::from(total_length)
            + u64::from(DONT_FRAGMENT)
            + (u64::from(self.ttl) << 8 | u64::from(UDP))
            + self.addresses_sum();
        !fold(sum)
    }

    /// RFC 768: over a pseudo header, the UDP header and everything behind it; a sum of zero is sent as all ones.
    fn udp_checksum(&self, udp_length: u16) -> u16 {
        let Some(payload_sum) = self.payload_sum else { return 0 };
        let pseudo_header = self.addresses_sum() + u64::from(UDP) + u64::from(udp_length);
        let udp_header = u64::from(self.source_port) + u64::from(self.destination_port) + u64::from(udp_length);
        let pool_header = (u64::from(VERSION_AND_KIND) << 8 | u64::from(self.count))
            + (u64::from(self.ttl) << 8)
            + halves(self.sequence);
        match !fold(pseudo_header + udp_header + pool_header + payload_sum) {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}

/// The sum of the two 16-bit words of a 32-bit field.
#[inline(always)]
fn halves(word: u32) -> u64 {
    u64::from(word >> 16) + u64::from(word & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(sequence: u32, payload_sum: Option<u64>) -> OuterHeader {
        OuterHeader {
            source: 0xc000_0201,
            destination: 0xc633_6407,
            source_port: 40000,
            destination_port: 7665,
            tos: 46 << 2,
            ttl: 64,
            count: 2,
            sequence,
            payload_length: 132,
            payload_sum,
        }
    }

    #[test]
    fn every_field_is_where_the_format_has_it() {
        let bytes = header(0x0102_0304, None).bytes();
        assert_eq!(bytes[..10], [0x45, 0xb8, 0, 168, 0, 0, 0x40, 0, 64, 17]);
        assert_eq!(bytes[12..20], [192, 0, 2, 1, 198, 51, 100, 7]);
        assert_eq!(bytes[20..28], [0x9c, 0x40, 0x1d, 0xf1, 0, 148, 0, 0]);
        assert_eq!(bytes[28..], [0x10, 2, 64, 0, 1, 2, 3, 4]);
        let words = bytes[..20].chunks(2).map(|word| u64::from(word[0]) << 8 | u64::from(word[1]));
        assert_eq!(fold(words.sum()), 0xffff, "IPv4 header checksum");
    }

    #[test]
    fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
        let sums = 0..=0xffffu64;
        let zero = sums.map(|sum| header(0, Some(sum)).bytes()).find(|bytes| bytes[26..28] == [0, 0]);
        assert_eq!(zero, None);
    }
}
