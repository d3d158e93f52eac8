//! The User Datagram Protocol (RFC 768) over IPv4 and IPv6: header, and the checksum with its pseudo header.
//!
//! The pooler writes it around pooled packets, with the sum it gathered while it copied; the detector verifies it.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::checksum::Sum;
use super::ipv4::PROTOCOL_UDP;
use super::ipv6;

/// The length of a UDP header in bytes.
pub const HEADER_LEN: usize = 8;

/// The header of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpHeader {
    /// The sender's port.
    pub src_port: u16,
    /// The receiver's port.
    pub dst_port: u16,
    /// Length of header and data in bytes: at least 8.
    pub length: u16,
    /// The checksum as it is on the wire; 0 means that the sender computed none.
    pub checksum: u16,
}

/// Why a datagram is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UdpError {
    /// Shorter than a header.
    #[error("datagram shorter than a UDP header")]
    Truncated,
    /// The length field is below 8.
    #[error("UDP length below 8")]
    LengthBelowHeader,
    /// The length field says more than the IP packet carries.
    #[error("UDP length beyond the IP packet")]
    LengthBeyondPacket,
}

/// What the checksum of a datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The sender computed none.
    Absent,
    /// The datagram is as it was sent.
    Valid,
    /// It is not.
    Wrong,
}

impl UdpHeader {
    /// Reads the header at the start of `datagram`, the payload of an IP packet that is no fragment.
    #[inline]
    pub fn parse(datagram: &[u8]) -> Result<UdpHeader, UdpError> {
        let &[s0, s1, d0, d1, l0, l1, c0, c1] = datagram.first_chunk::<HEADER_LEN>().ok_or(UdpError::Truncated)?;
        let length = u16::from_be_bytes([l0, l1]);
        if usize::from(length) < HEADER_LEN {
            return Err(UdpError::LengthBelowHeader);
        }
        if usize::from(length) > datagram.len() {
            return Err(UdpError::LengthBeyondPacket);
        }
        Ok(UdpHeader {
            src_port: u16::from_be_bytes([s0, s1]),
            dst_port: u16::from_be_bytes([d0, d1]),
            length,
            checksum: u16::from_be_bytes([c0, c1]),
        })
    }

    /// Writes the header as it is on the wire.
    #[inline]
    pub fn write(&self, out: &mut [u8; HEADER_LEN]) {
        let [s0, s1] = self.src_port.to_be_bytes();
        let [d0, d1] = self.dst_port.to_be_bytes();
        let [l0, l1] = self.length.to_be_bytes();
        let [c0, c1] = self.checksum.to_be_bytes();
        *out = [s0, s1, d0, d1, l0, l1, c0, c1];
    }

    /// The checksum of a datagram with this header, whose own checksum field is not looked at, and with data whose
    /// sum is `data`. Never 0: a sum of 0 is sent as 0xffff.
    #[inline]
    pub fn checksum_over(&self, src: Ipv4Addr, dst: Ipv4Addr, data: Sum) -> u16 {
        self.checksum_with(pseudo_header(src, dst, self.length), data)
    }

    /// As [`UdpHeader::checksum_over`], over IPv6 (RFC 8200 section 8.1).
    #[inline]
    pub fn checksum_over6(&self, src: Ipv6Addr, dst: Ipv6Addr, data: Sum) -> u16 {
        self.checksum_with(ipv6::pseudo_header(src, dst, self.length, PROTOCOL_UDP), data)
    }

    #[inline]
    fn checksum_with(&self, pseudo_header: Sum, data: Sum) -> u16 {
        let sum = pseudo_header.add_word(self.src_port).add_word(self.dst_port).add_word(self.length).add(data);
        match sum.checksum() {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}

/// The sum of the pseudo header; `length` is that of the datagram with its header, in bytes.
#[inline]
pub fn pseudo_header(src: Ipv4Addr, dst: Ipv4Addr, length: u16) -> Sum {
    Sum::of(&src.octets()).add(Sum::of(&dst.octets())).add_word(u16::from(PROTOCOL_UDP)).add_word(length)
}

/// Checks the checksum of `datagram`: header and data, nothing behind.
#[inline]
pub fn verify(src: Ipv4Addr, dst: Ipv4Addr, datagram: &[u8]) -> Verdict {
    verify_with(|length| pseudo_header(src, dst, length), datagram)
}

/// As [`verify`], over IPv6. There no checksum is an error, but for tunnels that agreed on it (RFC 6935).
#[inline]
pub fn verify6(src: Ipv6Addr, dst: Ipv6Addr, datagram: &[u8]) -> Verdict {
    verify_with(|length| ipv6::pseudo_header(src, dst, length, PROTOCOL_UDP), datagram)
}

#[inline]
fn verify_with(pseudo_header: impl FnOnce(u16) -> Sum, datagram: &[u8]) -> Verdict {
    let (Ok(length), Some([.., c0, c1])) = (u16::try_from(datagram.len()), datagram.first_chunk::<HEADER_LEN>()) else {
        return Verdict::Wrong;
    };
    if [*c0, *c1] == [0, 0] {
        return Verdict::Absent;
    }
    if pseudo_header(length).add(Sum::of_long(datagram)).is_valid() { Verdict::Valid } else { Verdict::Wrong }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SRC: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const DST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

    fn datagram(src_port: u16, dst_port: u16, data: &[u8]) -> Vec<u8> {
        let length = (HEADER_LEN + data.len()) as u16;
        let mut header = UdpHeader { src_port, dst_port, length, checksum: 0 };
        header.checksum = header.checksum_over(SRC, DST, Sum::of(data));
        let mut bytes = vec![0; HEADER_LEN];
        header.write(bytes.first_chunk_mut().unwrap());
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn each_broken_length_has_its_error() {
        let bytes = datagram(1000, 2000, b"hello");
        assert_eq!(UdpHeader::parse(&bytes[..7]), Err(UdpError::Truncated));
        assert_eq!(UdpHeader::parse(&bytes[..12]), Err(UdpError::LengthBeyondPacket));
        let mut short = bytes.clone();
        short[5] = 7;
        assert_eq!(UdpHeader::parse(&short), Err(UdpError::LengthBelowHeader));
    }

    #[test]
    fn a_checksum_of_zero_means_none() {
        let mut bytes = datagram(1000, 2000, b"hello");
        bytes[6..8].fill(0);
        assert_eq!(verify(SRC, DST, &bytes), Verdict::Absent);
    }

    #[test]
    fn a_computed_zero_is_sent_as_all_ones() {
        // The data completes the sum to 0xffff, whose complement is 0.
        let header = UdpHeader { src_port: 1, dst_port: 2, length: 10, checksum: 0 };
        let without = !header.checksum_over(SRC, DST, Sum::ZERO);
        let data = (!without).to_be_bytes();
        assert_eq!(header.checksum_over(SRC, DST, Sum::of(&data)), 0xffff);
        assert_eq!(verify(SRC, DST, &datagram(1, 2, &data)), Verdict::Valid);
    }

    #[test]
    fn less_than_a_header_is_not_valid() {
        assert_eq!(verify(SRC, DST, &[0; 7]), Verdict::Wrong);
        assert_eq!(verify6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST, &[0; 7]), Verdict::Wrong);
    }

    #[test]
    fn over_ipv6_all_of_both_addresses_is_in_the_checksum() {
        let (src, dst) =
            (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6));
        let mut header = UdpHeader { src_port: 7, dst_port: 9, length: 13, checksum: 0 };
        header.checksum = header.checksum_over6(src, dst, Sum::of(b"hello"));
        let mut bytes = [0; 13];
        header.write(bytes.first_chunk_mut().unwrap());
        bytes[8..].copy_from_slice(b"hello");
        assert_eq!(verify6(src, dst, &bytes), Verdict::Valid);
        for bit in 0..128 {
            let other = Ipv6Addr::from_bits(dst.to_bits() ^ 1 << bit);
            assert_eq!(verify6(src, other, &bytes), Verdict::Wrong, "bit {bit} of the destination");
        }
        bytes[6..8].fill(0);
        assert_eq!(verify6(src, dst, &bytes), Verdict::Absent);
    }

    proptest! {
        #[test]
        fn what_was_sent_is_valid_and_any_flipped_bit_is_found(
            src_port: u16, dst_port: u16, data in prop::collection::vec(any::<u8>(), 0..100),
            position: prop::sample::Index, bit in 0u32..8,
        ) {
            let mut bytes = datagram(src_port, dst_port, &data);
            prop_assert_eq!(verify(SRC, DST, &bytes), Verdict::Valid);
            prop_assert_eq!(UdpHeader::parse(&bytes).map(|header| header.src_port), Ok(src_port));
            *position.get_mut(&mut bytes) ^= 1 << bit;
            prop_assert_ne!(verify(SRC, DST, &bytes), Verdict::Valid);
        }

        #[test]
        fn no_datagram_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = UdpHeader::parse(&bytes);
            let _ = verify(SRC, DST, &bytes);
        }
    }
}
