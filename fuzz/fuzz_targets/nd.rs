//! Neighbour discovery: what is accepted came from this link, and means the same when it is written again.
#![no_main]

use carpool_dataplane::packet::Sum;
use carpool_dataplane::packet::icmpv6::NEXT_HEADER;
use carpool_dataplane::packet::ipv6::{self, HEADER_LEN, Ipv6Header};
use carpool_dataplane::packet::nd::{Message, PACKET_LEN};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    check(input);
    // Again with a right checksum, which a fuzzer does not find.
    let mut sealed = input.to_vec();
    if let Ok(header) = Ipv6Header::parse(input)
        && header.payload_len >= 4
    {
        sealed[42..44].fill(0);
        let pseudo = ipv6::pseudo_header(header.src, header.dst, header.payload_len, NEXT_HEADER);
        let checksum = pseudo.add(Sum::of(&sealed[HEADER_LEN..header.total_len()])).checksum();
        sealed[42..44].copy_from_slice(&checksum.to_be_bytes());
        check(&sealed);
    }
});

fn check(bytes: &[u8]) {
    let Ok(header) = Ipv6Header::parse(bytes) else { return };
    let Ok(message) = Message::parse(&header, bytes) else { return };
    assert_eq!(header.hop_limit, 255);
    let mut out = [0; PACKET_LEN];
    let length = match message {
        Message::Solicitation(solicitation) => solicitation.write(&mut out),
        Message::Advertisement(advertisement) => advertisement.write(&mut out),
    };
    let written = Ipv6Header::parse(&out[..length]).expect("what is written is sound");
    assert_eq!(Message::parse(&written, &out[..length]), Ok(message));
}
