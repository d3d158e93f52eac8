//! A whole received frame through what a worker does before it looks anything up: every header, the decision whether
//! an ICMP error is allowed, the error itself, the echo reply, the flow.
#![no_main]

use std::net::Ipv4Addr;

use carpool_dataplane::packet::ipv4::{self, Ipv4Header};
use carpool_dataplane::packet::{Arp, EtherType, EthernetHeader, Sum, ethernet, icmp};
use libfuzzer_sys::fuzz_target;

const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fuzz_target!(|frame: &[u8]| {
    let Some(ethernet) = EthernetHeader::parse(frame) else { return };
    let mut l3 = frame[ethernet::HEADER_LEN..].to_vec();
    match ethernet.ether_type {
        EtherType::ARP => {
            let _ = Arp::parse(&l3);
        }
        EtherType::IPV4 => {
            // A fuzzer does not find checksums: make the header's right.
            let header_len = l3.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
            if (20..=l3.len()).contains(&header_len) {
                l3[10..12].fill(0);
                let checksum = Sum::of(&l3[..header_len]).checksum();
                l3[10..12].copy_from_slice(&checksum.to_be_bytes());
            }
            if let Ok(header) = Ipv4Header::parse(&l3) {
                ipv4_packet(&header, &mut l3, ethernet.dst.is_multicast());
            }
        }
        _ => {}
    }
});

fn ipv4_packet(header: &Ipv4Header, l3: &mut [u8], link_broadcast: bool) {
    if icmp::error_allowed(header, l3, link_broadcast) {
        assert!(!link_broadcast && header.fragment_offset == 0 && !ipv4::source_is_martian(header.src));
        let mut out = [0; icmp::MAX_ERROR_LEN];
        let length = icmp::write_error(icmp::ErrorKind::TimeExceeded, l3, ROUTER, header.src, &mut out)
            .expect("the longest error fits");
        let error = Ipv4Header::parse(&out[..length]).expect("an error is a valid packet");
        assert!(!icmp::error_allowed(&error, &out[..length], false), "an error about an error");
        assert!(Sum::of(&out[20..length]).is_valid());
    }
    if header.ttl > 0 {
        assert_eq!(ipv4::decrement_ttl(l3), Some(header.ttl - 1));
        Ipv4Header::parse(l3).expect("the checksum follows the TTL");
    }
    if icmp::echo_reply(l3, header).is_ok() {
        let reply = Ipv4Header::parse(l3).expect("a reply is a valid packet");
        assert_eq!((reply.src, reply.dst), (header.dst, header.src));
    }
}
