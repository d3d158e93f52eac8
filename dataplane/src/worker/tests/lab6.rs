//! Addresses and packets of IPv6, for the router on its bench.

use std::net::Ipv6Addr;

use crate::packet::checksum::Sum;
use crate::packet::icmpv6::{self, NEXT_HEADER};
use crate::packet::ipv6::{self, Ipv6Header};
use crate::packet::udp::UdpHeader;

pub(super) const WEST_HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 9);
pub(super) const OWN_WEST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
pub(super) const OWN_EAST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1);
pub(super) const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2);
pub(super) const FAR_HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 7);
/// A host behind the gateway whose packets are pooled, and the peer with an IPv6 address.
pub(super) const POOLED_HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 7);
pub(super) const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x77);
/// The router's address on its western link, and that of the host there.
pub(super) const OWN_WEST_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 1);
pub(super) const WEST_HOST_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0x101);

/// A header for tests to change.
pub(super) fn header6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, payload: usize) -> Ipv6Header {
    let payload_len = payload as u16;
    Ipv6Header { traffic_class: 0xb8, flow_label: 0x54321, payload_len, next_header, hop_limit: 64, src, dst }
}

/// An IPv6 packet with this header.
pub(super) fn packet6(header: Ipv6Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [0; 40];
    header.write(&mut bytes);
    [&bytes[..], payload].concat()
}

/// A UDP packet of `length` bytes in all, whose data tells `tag`.
pub(super) fn udp6(src: Ipv6Addr, dst: Ipv6Addr, ports: (u16, u16), length: usize, tag: u8) -> Vec<u8> {
    udp6_with(src, dst, ports, &vec![tag; length - 48])
}

/// A UDP packet with these data.
pub(super) fn udp6_with(src: Ipv6Addr, dst: Ipv6Addr, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    let mut udp = UdpHeader { src_port: ports.0, dst_port: ports.1, length: (8 + data.len()) as u16, checksum: 0 };
    udp.checksum = udp.checksum_over6(src, dst, Sum::of(data));
    let mut bytes = [0; 8];
    udp.write(&mut bytes);
    packet6(header6(src, dst, 17, 8 + data.len()), &[&bytes[..], data].concat())
}

/// An ICMPv6 packet with this message, whose checksum is made right.
pub(super) fn icmp6(src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8, message: &[u8]) -> Vec<u8> {
    let header = Ipv6Header { hop_limit, ..header6(src, dst, NEXT_HEADER, message.len()) };
    let mut packet = packet6(header, message);
    packet[42..44].fill(0);
    let pseudo = ipv6::pseudo_header(src, dst, header.payload_len, NEXT_HEADER);
    let checksum = pseudo.add(Sum::of(&packet[40..])).checksum();
    packet[42..44].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// What a packet is after so many routers.
pub(super) fn after_hops6(packet: &[u8], hops: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[7] -= hops;
    packet
}

/// Checks that a packet is an ICMPv6 error, and returns its addresses, its type, code and second word, and what it quotes.
pub(super) fn error_of(packet: &[u8]) -> (Ipv6Addr, Ipv6Addr, [u8; 2], u32, &[u8]) {
    let header = Ipv6Header::parse(packet).expect("a sound packet");
    assert_eq!(header.next_header, NEXT_HEADER);
    assert!(icmpv6::is_intact(&header, &packet[40..]), "its checksum");
    let word = u32::from_be_bytes([packet[44], packet[45], packet[46], packet[47]]);
    (header.src, header.dst, [packet[40], packet[41]], word, &packet[48..])
}
