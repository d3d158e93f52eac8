//! A hello as an IP packet.

use std::net::Ipv4Addr;

use carpool_dataplane::packet::checksum::Sum;
use carpool_dataplane::packet::ipv4::{Ipv4Header, MIN_HEADER_LEN, PROTOCOL_UDP};
use carpool_dataplane::packet::udp::{self, UdpHeader};
use carpool_dataplane::pool::hello::{HELLO_LEN, Hello};

use crate::peers::HELLO_TTL;

/// Class selector 6, network control (RFC 2474, 4.2.2.2), in the TOS byte: hellos must arrive where packets do.
const NETWORK_CONTROL: u8 = 48 << 2;
/// The packet's length in bytes.
pub const LENGTH: usize = MIN_HEADER_LEN + udp::HEADER_LEN + HELLO_LEN;

/// The UDP port that hellos come from.
pub fn hello_port(pool_port: u16) -> u16 {
    pool_port.saturating_sub(1).max(1)
}

/// The packet with which `hello` goes from `source` to `peer`, to the pool port. It comes from a port of its own, because
/// its sequence numbers do too: those of workers begin at the pool port. Zero bytes have to follow up to `length`, if it is
/// longer; they change no checksum.
pub fn hello_packet(hello: &Hello, source: Ipv4Addr, peer: Ipv4Addr, pool_port: u16, length: u16) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    let mut payload = [0; HELLO_LEN];
    hello.write(&mut payload);
    let total_len = length.max(LENGTH as u16);
    let datagram_len = total_len - MIN_HEADER_LEN as u16;
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
        src: source,
        dst: peer,
    };
    let mut udp = UdpHeader { src_port: hello_port(pool_port), dst_port: pool_port, length: datagram_len, checksum: 0 };
    udp.checksum = udp.checksum_over(source, peer, Sum::of(&payload));
    if let Some((header, rest)) = packet.split_first_chunk_mut::<MIN_HEADER_LEN>()
        && let Some((datagram, data)) = rest.split_first_chunk_mut::<{ udp::HEADER_LEN }>()
    {
        ip.write(header);
        udp.write(datagram);
        data.copy_from_slice(&payload);
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use carpool_dataplane::packet::udp::Verdict;
    use carpool_dataplane::pool::hello::Capabilities;

    #[test]
    fn the_packet_is_one_that_the_other_side_takes() {
        let hello = Hello {
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
        let (source, peer) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 7));
        let packet = hello_packet(&hello, source, peer, 7665, 0);
        let header = Ipv4Header::parse(&packet).expect("a sound header");
        assert_eq!((header.src, header.dst, header.ttl, header.dscp()), (source, peer, 64, 48));
        let datagram = header.payload(&packet).expect("a payload");
        assert_eq!(udp::verify(source, peer, datagram), Verdict::Valid);
        assert_eq!(UdpHeader::parse(datagram).map(|udp| udp.dst_port), Ok(7665));
        assert_eq!(Hello::parse(&datagram[udp::HEADER_LEN..]), Ok(hello));
        let mut probe = hello_packet(&hello, source, peer, 7665, 1280).to_vec();
        probe.resize(1280, 0);
        let header = Ipv4Header::parse(&probe).expect("a sound header");
        let datagram = header.payload(&probe).expect("all of it");
        assert_eq!((header.total_len, udp::verify(source, peer, datagram)), (1280, Verdict::Valid));
    }
}
