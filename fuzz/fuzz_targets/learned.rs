//! Kinds 5 and 6: entries of what is accepted are opened without panic, and what is rebuilt is as long as promised and
//! comes out of compressor and decompressor unchanged.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use carpool_dataplane::arch::{Tick, TickRate};
use carpool_dataplane::pool::FlowSeed;
use carpool_dataplane::pool::learned::{
    Compressor, CompressorLimits, ContextTimes, Decompressor, IdSpace, Origin, UnknownContexts,
};
use carpool_dataplane::pool::wire::report::Report;
use carpool_dataplane::pool::wire::short_rows::ShortPacket;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    if let Ok(report) = Report::parse(payload) {
        assert_eq!(report.items().count(), usize::from(report.header().count));
    }
    let Ok(packet) = ShortPacket::parse(payload) else { return };
    let times = ContextTimes::at(TickRate::NANOSECONDS);
    // Room for all that 255 entries can announce.
    let decompressor = || Decompressor::new(4096, times.forget, UnknownContexts::new(TickRate::NANOSECONDS));
    let space = IdSpace { addressee: IpAddr::V4(Ipv4Addr::LOCALHOST), source_port: 7665 };
    let origin = Origin { peer: IpAddr::V4(Ipv4Addr::LOCALHOST), instance: packet.instance(), source_port: space.source_port };

    let (mut first, mut second) = (decompressor(), decompressor());
    let mut compressor = Compressor::new(CompressorLimits::small(TickRate::NANOSECONDS, FlowSeed(1)));
    for entry in packet.entries() {
        let Ok(opened) = first.open(origin, entry, Tick(0)) else { continue };
        let mut packet = vec![0; opened.len()];
        opened.write(&mut packet).expect("as long as promised");
        for _ in 0..3 {
            let encoded = compressor.encode(&packet, space, Tick(0));
            compressor.sent(&encoded);
            let mut entry = vec![0; encoded.len(packet.len())];
            encoded.write(&packet, &mut entry).expect("as long as promised");
            let opened = second.open(origin, &entry, Tick(0)).expect("announced before");
            let mut again = vec![0; opened.len()];
            opened.write(&mut again).expect("as long as promised");
            assert_eq!(again, packet);
        }
    }
});
