//! Packets for tests: of streams that differ as told, with checksums as every sender would compute them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::packet::Sum;

/// What tells the streams of a test apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) is_ipv6: bool,
    pub(crate) host: u8,
    pub(crate) port: u16,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) has_checksum: bool,
}

impl Header {
    pub(crate) const USUAL: Header =
        Header { is_ipv6: false, host: 1, port: 16_384, tos: 0xb8, ttl: 63, has_checksum: true };
    pub(crate) const IPV6: Header = Header { is_ipv6: true, ..Header::USUAL };

    /// Source and destination.
    pub(crate) fn ends(self) -> (SocketAddr, SocketAddr) {
        let (source, destination) = self.addresses();
        (SocketAddr::new(source, self.port), SocketAddr::new(destination, 5004))
    }

    fn addresses(self) -> (IpAddr, IpAddr) {
        if self.is_ipv6 {
            let source = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, self.host.into());
            (source.into(), Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 9).into())
        } else {
            (Ipv4Addr::new(10, 0, 0, self.host).into(), Ipv4Addr::new(10, 9, 0, 1).into())
        }
    }

    /// A packet with checksums as every sender would compute them.
    pub(crate) fn packet(self, ip_id: u16, payload: &[u8]) -> Vec<u8> {
        let udp_len = (8 + payload.len()) as u16;
        let ports = [self.port.to_be_bytes(), 5004u16.to_be_bytes()].concat();
        let (source, destination) = self.addresses();
        let addresses = [octets(source), octets(destination)].concat();
        let mut packet = if self.is_ipv6 {
            let [l0, l1] = udp_len.to_be_bytes();
            let first = [0x60 | self.tos >> 4, self.tos << 4 | 5, 0x12, 0x34, l0, l1, 17, self.ttl];
            [&first[..], &addresses].concat()
        } else {
            let [l0, l1] = (20 + udp_len).to_be_bytes();
            let [i0, i1] = ip_id.to_be_bytes();
            let first = [0x45, self.tos, l0, l1, i0, i1, 0x40, 0, self.ttl, 17, 0, 0];
            let mut packet = [&first[..], &addresses].concat();
            let checksum = Sum::of(&packet).checksum();
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            packet
        };
        let mut datagram = [&ports[..], &udp_len.to_be_bytes(), &[0, 0], payload].concat();
        if self.has_checksum {
            let pseudo = Sum::of(&addresses).add_word(17).add_word(udp_len);
            let checksum = match pseudo.add(Sum::of(&datagram)).checksum() {
                0 => 0xffff,
                checksum => checksum,
            };
            datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
        }
        packet.append(&mut datagram);
        packet
    }
}

/// An RTP packet's payload of UDP.
pub(crate) fn rtp(start: [u8; 2], sequence: u16, timestamp: u32, source: u32, media: &[u8]) -> Vec<u8> {
    [&start[..], &sequence.to_be_bytes(), &timestamp.to_be_bytes(), &source.to_be_bytes(), media].concat()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
