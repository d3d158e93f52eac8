//! ICMP messages that tell a sender that its packet was too long for a link on its way (RFC 1191).

use std::net::Ipv4Addr;

use super::checksum::Sum;
use super::ipv4::PROTOCOL_UDP;

/// So much of the quoted packet is looked at: its IPv4 header without options, the UDP header, and 8 bytes behind.
pub const QUOTE_LEN: usize = 20 + 8 + 8;

/// Reads "fragmentation needed" from an ICMP message, without its IP header: the MTU of the link, in bytes, and the
/// beginning of the packet that did not fit. None where it is another message or damaged, names no MTU, or quotes less than
/// [`QUOTE_LEN`] bytes.
pub fn fragmentation_needed(message: &[u8]) -> Option<(u16, &[u8; QUOTE_LEN])> {
    let (&[3, 4, _, _, _, _, m0, m1], quote) = message.split_first_chunk()? else { return None };
    let (mtu, quote) = (u16::from_be_bytes([m0, m1]), quote.first_chunk()?);
    // RFC 1191, 5: a router that does not know of path MTUs leaves it 0.
    (mtu > 0 && Sum::of(message).is_valid()).then_some((mtu, quote))
}

/// What a quoted UDP packet was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotedDatagram {
    /// Who sent it: we, unless the message lies.
    pub src: Ipv4Addr,
    /// Who it was for.
    pub dst: Ipv4Addr,
    /// Its length with the IP header, in bytes.
    pub total_len: u16,
    /// The UDP port it came from.
    pub src_port: u16,
    /// The UDP port it went to.
    pub dst_port: u16,
    /// The first bytes behind the UDP header.
    pub payload: [u8; 8],
}

impl QuotedDatagram {
    /// Reads the beginning of an IPv4 packet without options that must not be fragmented and carries UDP; None where it is
    /// another.
    pub fn read(quote: &[u8; QUOTE_LEN]) -> Option<QuotedDatagram> {
        let &[
            0x45,
            _,
            l0,
            l1,
            _,
            _,
            flags,
            offset,
            _,
            PROTOCOL_UDP,
            _,
            _,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
            ref udp @ ..,
        ] = quote
        else {
            return None;
        };
        let &[p0, p1, q0, q1, _, _, _, _, ref payload @ ..] = udp;
        (flags == 0x40 && offset == 0).then_some(QuotedDatagram {
            src: Ipv4Addr::new(s0, s1, s2, s3),
            dst: Ipv4Addr::new(d0, d1, d2, d3),
            total_len: u16::from_be_bytes([l0, l1]),
            src_port: u16::from_be_bytes([p0, p1]),
            dst_port: u16::from_be_bytes([q0, q1]),
            payload: *payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::icmp::{ErrorKind, write_error};
    use crate::packet::ipv4::MIN_HEADER_LEN;
    use crate::packet::mutation::mutated;

    /// A datagram of 100 bytes, 192.0.2.1:7664 to 198.51.100.7:7665.
    fn datagram() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 100, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7];
        packet.extend([0x1d, 0xf0, 0x1d, 0xf1, 0, 80, 0, 0, 0x14, 0, 64, 0, 0, 0, 0, 9]);
        packet.resize(100, 0);
        packet
    }

    fn message(next_hop_mtu: u16) -> Vec<u8> {
        let mut out = [0; 600];
        let kind = ErrorKind::FragmentationNeeded { next_hop_mtu };
        let (router, us) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(192, 0, 2, 1));
        let length = write_error(kind, &datagram(), router, us, &mut out).expect("room");
        out[MIN_HEADER_LEN..length].to_vec()
    }

    #[test]
    fn what_did_not_fit_is_read_from_what_a_router_says() {
        let message = message(1400);
        let (mtu, quote) = fragmentation_needed(&message).expect("a sound message");
        let quoted = QuotedDatagram::read(quote).expect("a datagram");
        assert_eq!((mtu, quoted.total_len), (1400, 100));
        assert_eq!((quoted.src, quoted.src_port), (Ipv4Addr::new(192, 0, 2, 1), 7664));
        assert_eq!((quoted.dst, quoted.dst_port), (Ipv4Addr::new(198, 51, 100, 7), 7665));
        assert_eq!(quoted.payload, [0x14, 0, 64, 0, 0, 0, 0, 9]);
    }

    #[test]
    fn what_says_nothing_of_use_is_ignored() {
        assert_eq!(fragmentation_needed(&message(0)), None, "no MTU");
        assert_eq!(fragmentation_needed(&message(1400)[..43]), None, "too little is quoted");
        let mut damaged = message(1400);
        damaged[20] ^= 1;
        assert_eq!(fragmentation_needed(&damaged), None);
        let fragment = |flags| {
            let mut packet = datagram();
            packet[6] = flags;
            QuotedDatagram::read(packet.first_chunk().expect("long enough"))
        };
        assert!(fragment(0x40).is_some());
        assert_eq!((fragment(0), fragment(0x60)), (None, None), "we send none that may be fragmented");
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(bytes in mutated(Just(message(1400)))) {
            if let Some((mtu, quote)) = fragmentation_needed(&bytes) {
                prop_assert!(mtu > 0);
                let _ = QuotedDatagram::read(quote);
            }
        }
    }
}
