//! A hello as an IP packet.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use carpool_dataplane::packet::checksum::Sum;
use carpool_dataplane::packet::ipv4::{Ipv4Header, MIN_HEADER_LEN, PROTOCOL_UDP};
use carpool_dataplane::packet::ipv6::{self, Ipv6Header};
use carpool_dataplane::packet::udp::{self, UdpHeader};
use carpool_dataplane::pool::hello::{HELLO_LEN, Hello};

use crate::peers::HELLO_TTL;

/// Class selector 6, network control (RFC 2474, 4.2.2.2), in the TOS byte: hellos must arrive where packets do.
const NETWORK_CONTROL: u8 = 48 << 2;
/// The UDP datagram's length in bytes.
const DATAGRAM: usize = udp::HEADER_LEN + HELLO_LEN;
/// The longer packet's length in bytes.
const LONGEST: usize = ipv6::HEADER_LEN + DATAGRAM;

/// The UDP port that hellos come from.
pub fn hello_port(pool_port: u16) -> u16 {
    pool_port.saturating_sub(1).max(1)
}

/// The packet with which `hello` goes from `source` to `peer`, to the pool port; empty where the two are not of one family.
/// It comes from a port of its own, because its sequence numbers do too: those of workers begin at the pool port. Zero bytes
/// have to follow up to `length`, if it is longer; they change no checksum.
pub fn hello_packet(hello: &Hello, source: IpAddr, peer: IpAddr, pool_port: u16, length: u16) -> ArrayVec<u8, LONGEST> {
    let mut payload = [0; HELLO_LEN];
    hello.write(&mut payload);
    let header_len = if source.is_ipv4() { MIN_HEADER_LEN } else { ipv6::HEADER_LEN };
    let total_len = length.max((header_len + DATAGRAM) as u16);
    let length = total_len - header_len as u16;
    let mut udp = UdpHeader { src_port: hello_port(pool_port), dst_port: pool_port, length, checksum: 0 };
    let mut packet = ArrayVec::new();
    match (source, peer) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            udp.checksum = udp.checksum_over(src, dst, Sum::of(&payload));
            let ip = Ipv4Header {
                header_len: MIN_HEADER_LEN as u8,
                dscp_ecn: NETWORK_CONTROL,
                total_len,
                id: 0,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
                ttl: HELLO_TTL,
                protocol: PROTOCOL_UDP,
                src,
                dst,
            };
            let mut header = [0; MIN_HEADER_LEN];
            ip.write(&mut header);
            packet.extend(header);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            udp.checksum = udp.checksum_over6(src, dst, Sum::of(&payload));
            let ip = Ipv6Header {
                traffic_class: NETWORK_CONTROL,
                flow_label: 0,
                payload_len: length,
                next_header: PROTOCOL_UDP,
                hop_limit: HELLO_TTL,
                src,
                dst,
            };
            let mut header = [0; ipv6::HEADER_LEN];
            ip.write(&mut header);
            packet.extend(header);
        }
        _ => return packet,
    }
    let mut header = [0; udp::HEADER_LEN];
    udp.write(&mut header);
    packet.extend(header.into_iter().chain(payload));
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use carpool_dataplane::packet::udp::Verdict;
    use carpool_dataplane::pool::hello::Capabilities;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const HELLO: Hello = Hello {
        sequence: 1,
        outer_ttl: HELLO_TTL,
        router_id: 1,
        instance: 2,
        heard_instance: 3,
        interval_ms: 200,
        capabilities: Capabilities::WHOLE_IPV4,
        largest_pooled_packet: 9000,
        longest_hello: 1500,
    };

    #[test]
    fn the_packet_is_one_that_the_other_side_takes() {
        let (source, peer) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 7));
        let packet = hello_packet(&HELLO, source.into(), peer.into(), 7665, 0);
        let header = Ipv4Header::parse(&packet).expect("a sound header");
        assert_eq!((header.src, header.dst, header.ttl, header.dscp()), (source, peer, 64, 48));
        let datagram = header.payload(&packet).expect("a payload");
        assert_eq!(udp::verify(source, peer, datagram), Verdict::Valid);
        assert_eq!(UdpHeader::parse(datagram).map(|udp| udp.dst_port), Ok(7665));
        assert_eq!(Hello::parse(&datagram[udp::HEADER_LEN..]), Ok(HELLO));
        let mut probe = hello_packet(&HELLO, source.into(), peer.into(), 7665, 1280).to_vec();
        probe.resize(1280, 0);
        let header = Ipv4Header::parse(&probe).expect("a sound header");
        let datagram = header.payload(&probe).expect("all of it");
        assert_eq!((header.total_len, udp::verify(source, peer, datagram)), (1280, Verdict::Valid));
    }

    #[test]
    fn so_is_the_packet_over_ipv6() {
        let source: Ipv6Addr = "2001:db8:1::1".parse().expect("an address");
        let peer: Ipv6Addr = "2001:db8:2::7".parse().expect("an address");
        let packet = hello_packet(&HELLO, source.into(), peer.into(), 7665, 0);
        let header = Ipv6Header::parse(&packet).expect("a sound header");
        assert_eq!((header.src, header.dst, header.hop_limit, header.dscp()), (source, peer, 64, 48));
        let datagram = header.payload(&packet).expect("a payload");
        assert_eq!(udp::verify6(source, peer, datagram), Verdict::Valid);
        assert_eq!(UdpHeader::parse(datagram).map(|udp| udp.dst_port), Ok(7665));
        assert_eq!(Hello::parse(&datagram[udp::HEADER_LEN..]), Ok(HELLO));
        let mut probe = hello_packet(&HELLO, source.into(), peer.into(), 7665, 1280).to_vec();
        probe.resize(1280, 0);
        let header = Ipv6Header::parse(&probe).expect("a sound header");
        let datagram = header.payload(&probe).expect("all of it");
        assert_eq!((header.total_len(), udp::verify6(source, peer, datagram)), (1280, Verdict::Valid));
    }
}
