//! The IPv4 header: what is accepted lies within its bytes and is written as it was read.
#![no_main]

use carpool_dataplane::packet::Sum;
use carpool_dataplane::packet::ipv4::Ipv4Header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    check(input);
    // Again with a right checksum, which a fuzzer does not find.
    let mut sealed = input.to_vec();
    let header_len = sealed.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    if (20..=sealed.len()).contains(&header_len) {
        sealed[10..12].fill(0);
        let checksum = Sum::of(&sealed[..header_len]).checksum();
        sealed[10..12].copy_from_slice(&checksum.to_be_bytes());
        check(&sealed);
    }
});

fn check(bytes: &[u8]) {
    let Ok(header) = Ipv4Header::parse(bytes) else { return };
    let packet = header.packet(bytes).expect("the packet lies within its bytes");
    let payload = header.payload(bytes).expect("so does its payload");
    assert_eq!(packet.len(), usize::from(header.header_len) + payload.len());
    let reserved_bit = bytes[6] & 0x80 != 0;
    let negative_zero = bytes[10..12] == [0xff, 0xff];
    if !header.has_options() && !reserved_bit && !negative_zero {
        let mut out = [0; 20];
        header.write(&mut out);
        assert_eq!(out, bytes[..20]);
    }
}
