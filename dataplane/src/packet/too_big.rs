//! ICMP messages that tell a sender that its packet was too long for a link on its way: "fragmentation needed" (RFC 1191)
//! and "packet too big" (RFC 8201).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::Sum;
use super::icmpv6;
use super::ipv4::PROTOCOL_UDP;
use super::ipv6::{self, Ipv6Header, MIN_MTU};

/// So much of a quoted UDP packet is looked at behind its IP header: the UDP header, and 8 bytes behind.
const UDP_QUOTE: usize = 8 + 8;
/// So much of a quoted IPv4 packet is looked at: its header without options, and what is behind.
const QUOTE: usize = 20 + UDP_QUOTE;
/// So much of a quoted IPv6 packet is looked at.
const QUOTE6: usize = ipv6::HEADER_LEN + UDP_QUOTE;

/// What a router says of a UDP packet that did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooBig {
    /// The MTU of the link, in bytes: at least 1, and 1280 where the packet was of IPv6.
    pub mtu: u16,
    /// The beginning of the packet.
    pub quoted: QuotedDatagram,
}

/// What a quoted UDP packet was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotedDatagram {
    /// Who sent it: we, unless the message lies.
    pub src: IpAddr,
    /// Who it was for; of the same family.
    pub dst: IpAddr,
    /// Its length with the IP header, in bytes.
    pub total_len: u16,
    /// The UDP port it came from.
    pub src_port: u16,
    /// The UDP port it went to.
    pub dst_port: u16,
    /// The first bytes behind the UDP header.
    pub payload: [u8; 8],
}

/// Reads "fragmentation needed" from an ICMP message, without its IP header. None where it is another message or damaged,
/// names no MTU, or does not quote as much as is looked at of a UDP packet without IPv4 options that must not be fragmented.
pub fn fragmentation_needed(message: &[u8]) -> Option<TooBig> {
    let (&[3, 4, _, _, _, _, m0, m1], quote) = message.split_first_chunk()? else { return None };
    // RFC 1191, 5: a router that does not know of path MTUs leaves it 0.
    let mtu = u16::from_be_bytes([m0, m1]);
    let quoted = QuotedDatagram::read(quote.first_chunk()?)?;
    (mtu > 0 && Sum::of(message).is_valid()).then_some(TooBig { mtu, quoted })
}

/// Reads "packet too big" from an ICMPv6 message that `header` is directly in front of. None where it is another
/// message or damaged, or does not quote as much as is looked at of a UDP packet without extension headers; and where the link
/// takes less than 1280 bytes, which is to be discarded (RFC 8201, 4), or more than any packet has.
pub fn packet_too_big(header: &Ipv6Header, message: &[u8]) -> Option<TooBig> {
    let (&[2, _, _, _, 0, 0, m0, m1], quote) = message.split_first_chunk()? else { return None };
    let mtu = u16::from_be_bytes([m0, m1]);
    let quoted = QuotedDatagram::read6(quote.first_chunk()?)?;
    (mtu >= MIN_MTU && icmpv6::is_intact(header, message)).then_some(TooBig { mtu, quoted })
}

impl QuotedDatagram {
    /// Reads the beginning of an IPv4 packet without options that must not be fragmented and carries UDP; None where it is
    /// another.
    fn read(quote: &[u8; QUOTE]) -> Option<QuotedDatagram> {
        let (&[0x45, _, l0, l1, _, _, 0x40, 0, _, PROTOCOL_UDP, _, _], rest) = quote.split_first_chunk()? else {
            return None;
        };
        let (src, rest) = rest.split_first_chunk::<4>()?;
        let (dst, udp) = rest.split_first_chunk::<4>()?;
        let (src, dst) = (Ipv4Addr::from(*src), Ipv4Addr::from(*dst));
        Some(QuotedDatagram::of(src.into(), dst.into(), u16::from_be_bytes([l0, l1]), udp.first_chunk()?))
    }

    /// Reads the beginning of an IPv6 packet that carries UDP without extension headers; None where it is another.
    fn read6(quote: &[u8; QUOTE6]) -> Option<QuotedDatagram> {
        let (&[0x60..=0x6f, _, _, _, l0, l1, PROTOCOL_UDP, _], rest) = quote.split_first_chunk()? else { return None };
        let (src, rest) = rest.split_first_chunk::<16>()?;
        let (dst, udp) = rest.split_first_chunk::<16>()?;
        let (src, dst) = (Ipv6Addr::from(*src), Ipv6Addr::from(*dst));
        let total_len = u16::from_be_bytes([l0, l1]).checked_add(ipv6::HEADER_LEN as u16)?;
        Some(QuotedDatagram::of(src.into(), dst.into(), total_len, udp.first_chunk()?))
    }

    fn of(src: IpAddr, dst: IpAddr, total_len: u16, udp: &[u8; UDP_QUOTE]) -> QuotedDatagram {
        let &[p0, p1, q0, q1, _, _, _, _, ref payload @ ..] = udp;
        let (src_port, dst_port) = (u16::from_be_bytes([p0, p1]), u16::from_be_bytes([q0, q1]));
        QuotedDatagram { src, dst, total_len, src_port, dst_port, payload: *payload }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::icmp::{ErrorKind, write_error};
    use crate::packet::icmpv6;
    use crate::packet::ipv4::MIN_HEADER_LEN;
    use crate::packet::mutation::mutated;

    const US: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    const US6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 7);
    /// Ports 7664 and 7665, and the beginning of what is behind the UDP header.
    const UDP: [u8; 16] = [0x1d, 0xf0, 0x1d, 0xf1, 0, 80, 0, 0, 0x14, 0, 64, 0, 0, 0, 0, 9];

    /// A datagram of 100 bytes.
    fn datagram() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 100, 0, 0, 0x40, 0, 64, 17, 0, 0];
        packet.extend([US.octets(), PEER.octets()].concat());
        packet.extend(UDP);
        packet.resize(100, 0);
        packet
    }

    /// One of 1400 bytes over IPv6.
    fn datagram6() -> Vec<u8> {
        let mut packet = vec![0x6c, 0, 0, 0, 5, 80, 17, 64];
        packet.extend([US6.octets(), PEER6.octets()].concat());
        packet.extend(UDP);
        packet.resize(1400, 0);
        packet
    }

    fn message(next_hop_mtu: u16) -> Vec<u8> {
        let mut out = [0; 600];
        let kind = ErrorKind::FragmentationNeeded { next_hop_mtu };
        let length = write_error(kind, &datagram(), Ipv4Addr::new(10, 0, 0, 1), US, &mut out).expect("room");
        out[MIN_HEADER_LEN..length].to_vec()
    }

    /// What a router says of a packet, and that message's header.
    fn message6(mtu: u16, packet: &[u8]) -> (Ipv6Header, Vec<u8>) {
        let mut out = [0; icmpv6::MAX_ERROR_LEN];
        let kind = icmpv6::ErrorKind::PacketTooBig { mtu };
        let length = icmpv6::write_error(kind, packet, PEER6, US6, &mut out).expect("room");
        (Ipv6Header::parse(&out[..length]).expect("sound"), out[ipv6::HEADER_LEN..length].to_vec())
    }

    fn read6(mtu: u16, packet: &[u8]) -> Option<TooBig> {
        let (header, message) = message6(mtu, packet);
        packet_too_big(&header, &message)
    }

    #[test]
    fn what_did_not_fit_is_read_from_what_a_router_says() {
        let payload = [0x14, 0, 64, 0, 0, 0, 0, 9];
        let quoted =
            |src, dst, total_len| QuotedDatagram { src, dst, total_len, src_port: 7664, dst_port: 7665, payload };
        let expected = TooBig { mtu: 1400, quoted: quoted(US.into(), PEER.into(), 100) };
        assert_eq!(fragmentation_needed(&message(1400)), Some(expected));
        let expected = TooBig { mtu: 1280, quoted: quoted(US6.into(), PEER6.into(), 1400) };
        assert_eq!(read6(1280, &datagram6()), Some(expected));
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

    #[test]
    fn what_says_nothing_of_use_over_ipv6_is_ignored() {
        assert_eq!(read6(1279, &datagram6()), None, "every link takes 1280 bytes");
        assert_eq!(read6(1400, &datagram6()[..55]), None, "too little is quoted");
        let (header, mut message) = message6(1400, &datagram6());
        message[4] = 1;
        assert_eq!(packet_too_big(&header, &message), None, "no link takes that much");
        message[4] = 0;
        assert!(packet_too_big(&header, &message).is_some());
        message[60] ^= 1;
        assert_eq!(packet_too_big(&header, &message), None, "damaged");
        for (position, value) in [(0, &[0x45][..]), (6, &[44]), (4, &[0xff; 2])] {
            let mut other = datagram6();
            other[position..][..value.len()].copy_from_slice(value);
            let quoted = QuotedDatagram::read6(other.first_chunk().expect("long enough"));
            assert_eq!(quoted, None, "another version, an extension header, a length beyond all: byte {position}");
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(bytes in mutated(Just(message(1400)))) {
            if let Some(too_big) = fragmentation_needed(&bytes) {
                prop_assert!(too_big.mtu > 0);
            }
        }

        #[test]
        fn no_message_of_ipv6_makes_it_panic(bytes in mutated(Just(message6(1400, &datagram6()).1))) {
            let header = Ipv6Header { payload_len: bytes.len() as u16, ..message6(1400, &datagram6()).0 };
            if let Some(too_big) = packet_too_big(&header, &bytes) {
                prop_assert!(too_big.mtu >= MIN_MTU);
            }
        }
    }
}
