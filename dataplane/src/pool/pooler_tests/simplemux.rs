//! Pools to peers that speak Simplemux.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::memory::{Memory, Sent, TestBuffer};
use super::*;
use crate::arch::Tick;
use crate::packet::Buffer;
use crate::pool::simplemux::{Datagram, Flavour, Writer};
use crate::pool::{FlushReason, PacketPooler, PoolerLimits, Staged};

fn speaks(flavour: Flavour, number: u8, mtu: u16) -> PeerPath {
    PeerPath { format: Format::Simplemux(flavour), ..peer(number, mtu) }
}

fn pooler() -> (PacketPooler<TestBuffer>, Memory) {
    let limits = PoolerLimits { worker: 3, pools: 16, flows: 64, peers: 4, ..PoolerLimits::default() };
    let buffer_size = usize::from(limits.link_headroom) + usize::from(limits.buffer_room);
    (PacketPooler::new(limits), Memory::new(buffer_size))
}

/// The packets in a datagram, its headers checked, and that it is what a writer makes of them.
fn carried(outer: &[u8], flavour: Flavour, peer: &PeerPath) -> Vec<Vec<u8>> {
    assert!(outer.len() <= usize::from(peer.mtu), "{} bytes exceed {}", outer.len(), peer.mtu);
    let port = flavour.port().to_be_bytes();
    assert_eq!((outer[0], &outer[20..24]), (0x45, [port, port].concat().as_slice()));
    let datagram = Datagram::parse(flavour, &outer[28..]).expect("a sound datagram");
    let packets: Vec<_> = datagram.entries().map(|entry| entry.bytes().to_vec()).collect();
    let mut writer = Writer::new(flavour);
    let again: Vec<u8> =
        packets.iter().flat_map(|packet| [&writer.add(packet.len()).expect("it fits")[..], packet].concat()).collect();
    assert_eq!(outer[28..], again);
    packets
}

proptest! {
    #[test]
    fn what_comes_out_is_what_went_in_and_in_order(
        fast: bool, mtu in 60u16..2500, max_count in 2u8..=255,
        steps in prop::collection::vec((0u16..4, 20u16..700, prop_oneof![3 => Just(0u64), 1 => 0u64..400]), 1..300),
    ) {
        let flavour = if fast { Flavour::Fast } else { Flavour::Normal };
        let (peer, rule) = (speaks(flavour, 1, mtu), rule(1000, max_count));
        let (mut pooler, mut memory) = pooler();
        let (mut now, mut waiting) = (0, BTreeMap::new());
        let mut sent = Vec::new();
        for (number, (port, length, wait)) in (0u16..).zip(steps) {
            now += wait;
            pooler.flush_due(Tick(now), &mut memory);
            let flow = Flow { source: 1, destination: 1, port, tos: 46 << 2 };
            let bytes = packet(flow, number, length);
            let buffer = memory.receive(&bytes);
            pooler.stage(buffer, &ride(&fields(&bytes), 1, &peer, 0, &rule), Tick(now), &mut memory);
            waiting.insert(number, bytes);
            sent.extend(memory.take_sent());
        }
        pooler.flush_all(FlushReason::Shutdown, Tick(now), &mut memory);
        sent.extend(memory.take_sent());
        for sent in sent {
            let packets = match sent {
                Sent::Lone(packet) => vec![packet.bytes().to_vec()],
                Sent::Pooled { packet, rows, .. } => {
                    let packets = carried(packet.bytes(), flavour, &peer);
                    prop_assert_eq!(packets.len(), usize::from(rows));
                    prop_assert!((2..=usize::from(max_count.min(100))).contains(&packets.len()));
                    packets
                }
            };
            for bytes in packets {
                let number = u16::from_be_bytes([bytes[4], bytes[5]]);
                prop_assert_eq!(waiting.remove(&number), Some(bytes.clone()), "came out twice, or changed");
                let flow = fields(&bytes).flow;
                let overtaken = waiting.range(..number).find(|(_, earlier)| fields(earlier).flow == flow);
                prop_assert!(overtaken.is_none(), "packet {} overtook {:?}", number, overtaken.map(|(earlier, _)| earlier));
            }
        }
        prop_assert!(waiting.is_empty(), "{} packets did not come out", waiting.len());
        prop_assert_eq!(memory.outstanding, 0);
        prop_assert_eq!(pooler.counters().broken, 0);
    }
}

#[test]
fn only_ipv4_shares_a_ride_and_only_inside_of_ipv4() {
    let (mut pooler, mut memory) = pooler();
    let rule = rule(1000, 10);
    let peer = speaks(Flavour::Normal, 1, 1500);
    let mut ipv6 = vec![0; 60];
    (ipv6[0], ipv6[5], ipv6[6], ipv6[7]) = (0x60, 20, 17, 64);
    let ipv4 = packet(Flow { source: 1, destination: 1, port: 5000, tos: 0 }, 1, 100);
    let outer_ipv6 = PeerPath { addressee: [0x20; 16].into(), source: [0x21; 16].into(), ..peer };
    for (bytes, peer, is_taken) in [(&ipv6, &peer, false), (&ipv4, &outer_ipv6, false), (&ipv4, &peer, true)] {
        let buffer = memory.receive(bytes);
        let staged = pooler.stage(buffer, &ride(&fields(bytes), 1, peer, 0, &rule), Tick(0), &mut memory);
        assert_eq!(staged == Staged::Taken, is_taken, "{staged:?}");
    }
}

#[test]
fn a_packet_for_another_addressee_does_not_get_into_a_datagram_that_ends_at_the_first_ones() {
    let flow = |destination| Flow { source: 1, destination, port: 5000, tos: 0 };
    for (format, shares) in [(Format::Native, true), (Format::Simplemux(Flavour::Normal), false)] {
        let (mut pooler, mut memory) = pooler();
        let rule = rule(1000, 10);
        let peers = [1, 2].map(|number| PeerPath { format, ..peer(number, 1500) });
        // Both go by node 1, which is equipped, and would share a pool under a rule that asks for one hop.
        let paths = [1, 2].map(|number| PoolPath {
            trunk: Trunk::new(&[1, 1 + number], 0b11),
            addressee: Some(PeerIndex(number)),
            groups: [0; MAX_HOPS + 1],
        });
        let mut stage = |which: usize, number: u16| {
            let bytes = packet(flow(which as u8), number, 100);
            let fields = fields(&bytes);
            let key = PoolKey::of_stream(0, RuleIndex(0), &fields, 1);
            let addressee = (PeerIndex(which as u16 + 1), &peers[which]);
            let ride = Ride::new(key, &paths[which], addressee, &rule, &fields);
            let buffer = memory.receive(&bytes);
            pooler.stage(buffer, &ride, Tick(0), &mut memory)
        };
        assert_eq!(stage(0, 1), Staged::Taken);
        assert_eq!(stage(1, 2) == Staged::Taken, shares, "{format:?}");
        assert_eq!(stage(0, 3), Staged::Taken);
        pooler.flush_all(FlushReason::Shutdown, Tick(0), &mut memory);
        let rows: Vec<_> = memory
            .take_sent()
            .iter()
            .map(|sent| match sent {
                Sent::Lone(_) => 1,
                Sent::Pooled { rows, .. } => *rows,
            })
            .collect();
        assert_eq!(rows, if shares { vec![3] } else { vec![1, 2] });
    }
}
