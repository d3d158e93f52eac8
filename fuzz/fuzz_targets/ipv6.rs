//! The IPv6 header and the chain behind it: what is accepted lies within its bytes and is written as it was read, the walk
//! ends, and what the router says about the packet is sound and is not answered itself.
#![no_main]

use std::net::Ipv6Addr;

use carpool_dataplane::packet::icmpv6::{self, ErrorKind};
use carpool_dataplane::packet::ipv6::{self, HEADER_LEN, Ipv6Header};
use carpool_dataplane::packet::ipv6_extension::{UpperLayer, check_at_destination};
use libfuzzer_sys::fuzz_target;

const ROUTER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const TOO_BIG: ErrorKind = ErrorKind::PacketTooBig { mtu: 1400 };

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = Ipv6Header::parse(bytes) else { return };
    let packet = header.packet(bytes).expect("the packet lies within its bytes");
    let mut out = [0; HEADER_LEN];
    header.write(&mut out);
    assert_eq!(out, packet[..HEADER_LEN]);
    if let Ok(upper) = UpperLayer::find(&header, bytes) {
        assert_eq!(usize::from(upper.offset) + upper.bytes(&header, bytes).len(), packet.len());
    }
    let _ = check_at_destination(&header, bytes);

    if icmpv6::error_allowed(TOO_BIG, &header, bytes, false) {
        assert!(!ipv6::source_is_martian(header.src) && header.src != Ipv6Addr::UNSPECIFIED);
        let mut out = [0; icmpv6::MAX_ERROR_LEN];
        let length = icmpv6::write_error(TOO_BIG, bytes, ROUTER, header.src, &mut out).expect("the longest error fits");
        let error = Ipv6Header::parse(&out[..length]).expect("an error is a valid packet");
        assert!(icmpv6::is_intact(&error, &out[HEADER_LEN..length]));
        assert!(!icmpv6::error_allowed(TOO_BIG, &error, &out[..length], false), "an error about an error");
    }
    let mut l3 = packet.to_vec();
    if icmpv6::echo_reply(&mut l3, &header).is_ok() {
        let reply = Ipv6Header::parse(&l3).expect("a reply is a valid packet");
        assert_eq!((reply.src, reply.dst), (header.dst, header.src));
        assert!(icmpv6::is_intact(&reply, &l3[HEADER_LEN..]));
    }
});
