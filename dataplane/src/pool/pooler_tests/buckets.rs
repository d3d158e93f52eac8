//! Flow buckets: what they split, and what that costs in fill.

use std::collections::HashMap;

use super::memory::{Memory, Sent};
use super::*;
use crate::arch::Tick;
use crate::packet::Buffer;
use crate::pool::{FlowSeed, MAX_BUCKETS, PacketPooler, PoolerLimits, StreamFields};

/// Packets of 60 bytes in turn of 256 flows, 40 in each window of 1000 ticks, in this many buckets. Returns packets in
/// for one packet out, and the source ports of each flow.
fn run(buckets: u8) -> (f64, HashMap<u8, Vec<u16>>) {
    let rule = rule(1000, 255);
    let limits = PoolerLimits { worker: 2, pools: 128, peers: 2, buckets, ..PoolerLimits::default() };
    let mut pooler = PacketPooler::new(limits);
    let mut memory = Memory::new(2176);
    let (mut packets_out, mut ports): (u32, HashMap<u8, Vec<u16>>) = (0, HashMap::new());
    for number in 0..20_000u16 {
        let now = Tick(1 + u64::from(number) * 25);
        pooler.flush_due(now, &mut memory);
        let flow = Flow { source: (number % 256) as u8, destination: 1, port: 5000, tos: 0 };
        let bytes = packet(flow, number, 60);
        let fields = fields(&bytes);
        let peer = peer(1, 1500);
        let key = PoolKey::of_stream(1, RuleIndex(0), &fields, pooler.limits().buckets);
        let buffer = memory.receive(&bytes);
        let ride = Ride::new(key, path(1), (PeerIndex(1), &peer), &rule, &fields);
        pooler.stage(buffer, &ride, now, &mut memory);
        for sent in memory.take_sent() {
            packets_out += 1;
            if let Sent::Pooled { packet, .. } = sent {
                let pooled = reader::read(packet.bytes());
                for (_, inner) in &pooled.rows {
                    ports.entry(inner[15]).or_default().push(pooled.source_port);
                }
            }
        }
    }
    (20_000.0 / f64::from(packets_out), ports)
}

#[test]
fn a_flow_keeps_its_source_port_and_each_bucket_has_its_own() {
    let (_, ports) = run(4);
    let mut used: Vec<u16> = Vec::new();
    for (flow, mut ports) in ports {
        ports.dedup();
        assert_eq!(ports.len(), 1, "flow {flow}");
        used.extend(ports);
    }
    used.sort_unstable();
    used.dedup();
    assert_eq!(used, [40_008, 40_009, 40_010, 40_011], "behind those of workers 0 and 1");
}

#[test]
fn each_bucket_is_filled_by_its_share_of_the_packets() {
    // A pool that does not get full takes what comes in its window, and the packet that opened it.
    for (buckets, least, most) in [(1, 22.0, 22.1), (2, 18.0, 22.0), (4, 10.0, 13.0), (16, 3.0, 4.0), (64, 1.3, 2.0)] {
        let (fill, _) = run(buckets);
        println!("{buckets} buckets: {fill:.2} packets in for one out");
        assert!((least..most).contains(&fill), "{buckets} buckets: {fill}");
    }
}

/// The calls of a gateway: one pair of addresses, and every other port.
#[test]
fn flows_of_neighbouring_ports_are_spread_over_all_buckets() {
    let mut counts = [0u32; 8];
    for call in 0..400 {
        let bytes = packet(Flow { source: 1, destination: 1, port: 16_384 + 2 * call, tos: 0 }, call, 60);
        for seed in [1u64, 0x9d3e_5a71_c4b2_08f6] {
            let fields = StreamFields::read(&bytes, FlowSeed(seed)).expect("a sound packet");
            counts[usize::from(PoolKey::of_stream(1, RuleIndex(0), &fields, 8).bucket())] += 1;
        }
    }
    assert!(counts.iter().all(|count| (60..140).contains(count)), "100 each would be even: {counts:?}");
}

#[test]
fn there_are_at_most_64_buckets() {
    let limits = PoolerLimits { buckets: 200, ..PoolerLimits::default() };
    assert_eq!(PacketPooler::<super::memory::TestBuffer>::new(limits).limits().buckets, MAX_BUCKETS);
}
