//! ARP: what is accepted is written as it was read.
#![no_main]

use carpool_dataplane::packet::Arp;
use carpool_dataplane::packet::arp::ARP_LEN;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(arp) = Arp::parse(bytes) {
        let mut out = [0; ARP_LEN];
        arp.write(&mut out);
        assert_eq!(out, bytes[..ARP_LEN]);
    }
});
