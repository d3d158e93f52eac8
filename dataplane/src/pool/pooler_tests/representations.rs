//! Pools of packets without their headers: what leaves is what the far end can rebuild, and more of it fits.

use std::sync::Arc;

use proptest::prelude::*;

use super::memory::{Memory, Sent, TestBuffer};
use super::*;
use crate::arch::{Tick, TickRate, TickSpan};
use crate::packet::Buffer;
use crate::packet::ipv4::Ipv4Header;
use crate::packet::udp::{Verdict, verify};
use crate::pool::learned::test_packets::{Header, rtp};
use crate::pool::learned::{CompressorLimits, ContextTimes, Decompressor, Origin, UnknownContexts, instance_towards};
use crate::pool::provisioned::{Stream, StreamId, StreamSet};
use crate::pool::wire::short_rows::ShortPacket;
use crate::pool::wire::{PooledPacket, RowType};
use crate::pool::{Dscp, FlushReason, PacketPooler, PoolerLimits, Representation};

const MS: u64 = 1_000_000;
const INSTANCE: u32 = 0xcafe_f00d;

struct Bench {
    pooler: PacketPooler<TestBuffer>,
    memory: Memory,
    decompressor: Decompressor,
    peer: PeerPath,
    rule: Rule,
    now: u64,
}

/// Packet `number` of the G.729 stream of a host.
fn voice(host: u8, number: u16) -> Vec<u8> {
    let payload = rtp([0x80, 18], number, 160 * u32::from(number), u32::from(host), &[host; 20]);
    Header { host, ..Header::USUAL }.packet(number, &payload)
}

impl Bench {
    fn new(representation: Representation) -> Bench {
        let learned = CompressorLimits::usual(TickRate::NANOSECONDS, SEED);
        let limits = PoolerLimits { peers: 4, instance: INSTANCE, learned, ..PoolerLimits::default() };
        let forget = ContextTimes::at(TickRate::NANOSECONDS).forget;
        Bench {
            pooler: PacketPooler::new(limits),
            memory: Memory::new(usize::from(limits.link_headroom) + usize::from(limits.buffer_room)),
            decompressor: Decompressor::new(1024, forget, UnknownContexts::new(TickRate::NANOSECONDS)),
            peer: peer(1, 1500),
            rule: Rule { representation, ..rule(5 * MS, 255) },
            now: 0,
        }
    }

    fn stage(&mut self, bytes: &[u8]) {
        let buffer = self.memory.receive(bytes);
        let ride = ride(&fields(bytes), 1, &self.peer, 0, &self.rule);
        stage(&mut self.pooler, buffer, &ride, Tick(self.now), &mut self.memory);
    }

    /// The same for packets that come together and whose TTL is still to be decremented.
    fn board(&mut self, packets: &[Vec<u8>]) {
        let receive = |packet: &Vec<u8>| {
            let mut buffer = self.memory.receive(packet);
            increment_ttl(buffer.bytes_mut());
            buffer
        };
        let mut buffers = packets.iter().map(receive).collect::<Vec<TestBuffer>>().into_iter().zip(packets);
        let rides: Vec<Ride<'_>> =
            packets.iter().map(|packet| ride(&fields(packet), 1, &self.peer, 0, &self.rule)).collect();
        let mut at = 0;
        while let Some(ride) = rides.get(at) {
            let hashes: Vec<(u32, u32)> = rides[at..].iter().map(|ride| (ride.flow, ride.pair)).collect();
            let queue = Queue { question: ride.question.expect("each asks the same"), hashes: &hashes };
            let (aboard, left) =
                self.pooler.board_plain::<0, _, _>(&mut buffers, &queue, Tick(self.now), &mut self.memory);
            at += aboard;
            if let Some((mut buffer, packet)) = left {
                buffer.bytes_mut().copy_from_slice(packet);
                self.pooler.stage(buffer, &rides[at], Tick(self.now), &mut self.memory);
                at += 1;
            }
        }
    }

    /// The UDP payloads of the pooled packets that left since the last time, outer headers checked; and what left alone.
    fn sent(&mut self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        self.now += 5 * MS;
        self.pooler.flush_due(Tick(self.now), &mut self.memory);
        let (mut pooled, mut lone) = (Vec::new(), Vec::new());
        for sent in self.memory.take_sent() {
            match sent {
                Sent::Lone(packet) => lone.push(packet.bytes().to_vec()),
                Sent::Pooled { packet, rows, .. } => {
                    assert!(packet.len() <= 1500);
                    let outer = Ipv4Header::parse(packet.bytes()).expect("a sound outer header");
                    assert_eq!(usize::from(outer.total_len), packet.len());
                    let datagram = outer.payload(packet.bytes()).expect("a datagram");
                    assert_eq!(verify(outer.src, outer.dst, datagram), Verdict::Valid);
                    assert_eq!(datagram[9], rows);
                    pooled.push(datagram[8..].to_vec());
                }
            }
        }
        (pooled, lone)
    }

    /// The packets in a pooled packet of kind 5.
    fn opened(&mut self, payload: &[u8]) -> Vec<Vec<u8>> {
        let packet = ShortPacket::parse(payload).expect("a sound pooled packet");
        assert_eq!(packet.instance(), instance_towards(INSTANCE, self.peer.addressee), "of run and addressee");
        let origin =
            Origin { peer: std::net::Ipv4Addr::LOCALHOST.into(), instance: packet.instance(), source_port: 40_000 };
        let open = |entry| {
            let mut contexts = self.decompressor.of(origin, Tick(self.now));
            let opened = contexts.open(entry).expect("a known context");
            let mut packet = vec![0; opened.len()];
            opened.write(&mut packet).expect("room for it");
            packet
        };
        packet.entries().map(open).collect()
    }
}

#[test]
fn sixty_voice_packets_share_a_pooled_packet_of_1500_bytes() {
    let mut bench = Bench::new(Representation::Learned);
    for number in 0..10 {
        let packets: Vec<_> = (0..60).map(|host| voice(host, number)).collect();
        packets.iter().for_each(|packet| bench.stage(packet));
        let (pooled, lone) = bench.sent();
        assert!(lone.is_empty());
        let found: Vec<_> = pooled.iter().flat_map(|payload| bench.opened(payload)).collect();
        assert_eq!(found, packets, "in order, byte for byte");
        if number >= 2 {
            assert_eq!(pooled.iter().map(|payload| payload.len() + 28).collect::<Vec<_>>(), [1483]);
        }
    }
    let counters = *bench.pooler.compressor().counters();
    assert_eq!((counters.whole, counters.announced, counters.compressed), (60, 60, 480));
    assert_eq!(bench.memory.outstanding, 0);
}

#[test]
fn a_full_pool_leaves_and_the_packet_that_did_not_fit_opens_the_next() {
    let mut bench = Bench::new(Representation::Learned);
    let mut expected = Vec::new();
    for number in 0..10 {
        for host in 0..100 {
            bench.stage(&voice(host, number));
            expected.push(voice(host, number));
        }
    }
    let (pooled, lone) = bench.sent();
    let found: Vec<_> = pooled.iter().flat_map(|payload| bench.opened(payload)).collect();
    assert_eq!((found, lone), (expected, vec![]));
    assert!(pooled[13..pooled.len() - 1].iter().all(|payload| payload.len() + 28 > 1500 - 24), "they are full");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn packets_that_board_together_come_out_as_they_went_in(
        bursts in prop::collection::vec(
            prop::collection::vec((0u8..40, prop_oneof![8 => Just(0usize), 1 => 0..300usize], 0u8..20), 1..32), 1..40,
        ),
    ) {
        let mut bench = Bench::new(Representation::Learned);
        let (mut expected, mut numbers) = (Vec::new(), [0u16; 40]);
        let (mut found, mut alone) = (Vec::new(), Vec::new());
        for burst in bursts {
            let packets: Vec<Vec<u8>> = burst.into_iter().map(|(host, more, fate)| {
                let number = &mut numbers[usize::from(host)];
                *number += 1;
                let header = Header { host, ..Header::USUAL };
                let media = vec![host; 20 + more];
                let mut packet = header.packet(*number, &rtp([0x80, 18], *number, 160 * u32::from(*number), 7, &media));
                if fate == 0 {
                    // A wrong UDP checksum: it travels whole.
                    packet[26] ^= 1;
                }
                packet
            }).collect();
            bench.board(&packets);
            expected.extend(packets);
            if expected.len() % 3 == 0 {
                let (pooled, lone) = bench.sent();
                found.extend(pooled.iter().flat_map(|payload| bench.opened(payload)));
                alone.extend(lone);
            }
        }
        let (pooled, lone) = bench.sent();
        found.extend(pooled.iter().flat_map(|payload| bench.opened(payload)));
        alone.extend(lone);
        expected.retain(|packet| match alone.iter().position(|lone| lone == packet) {
            Some(at) => {
                alone.remove(at);
                false
            }
            None => true,
        });
        prop_assert_eq!(alone, Vec::<Vec<u8>>::new());
        prop_assert_eq!(found, expected);
        prop_assert_eq!(bench.memory.outstanding, 0);
    }
}

#[test]
fn pools_that_are_held_for_long_have_whole_packets() {
    let mut bench = Bench::new(Representation::Learned);
    let longest = 2000 * MS;
    for (required_count, window, hold, is_learned) in [
        (1, longest, longest, true),
        (1, longest + 1, longest + 1, false),
        (9, 5 * MS, longest, true),
        (9, 5 * MS, 30_000 * MS, false),
        (1, 5 * MS, 30_000 * MS, true),
    ] {
        let ticks = TickSpan;
        bench.rule = Rule { required_count, window: ticks(window), hold: ticks(hold), ..bench.rule.clone() };
        // Which a worker does whenever a rule changes.
        bench.pooler.flush_all(FlushReason::Reconfigured, Tick(bench.now), &mut bench.memory);
        (0..3).for_each(|host| bench.stage(&voice(host, 0)));
        bench.now += bench.rule.longest_wait().0;
        let (pooled, _) = bench.sent();
        assert_eq!(ShortPacket::parse(&pooled[0]).is_ok(), is_learned, "window {window}, hold {hold}");
        assert_eq!(PooledPacket::parse(&pooled[0]).is_ok(), !is_learned, "window {window}, hold {hold}");
    }
}

#[test]
fn what_waited_too_long_because_all_stood_still_does_not_leave() {
    let mut bench = Bench::new(Representation::Learned);
    for (stood_still, left) in [(2_995 * MS, 1), (2_995 * MS + 1, 0)] {
        (0..3).for_each(|host| bench.stage(&voice(host, 0)));
        bench.now += stood_still;
        assert_eq!(bench.sent().0.len(), left);
    }
    assert_eq!((bench.pooler.counters().broken, bench.memory.outstanding), (1, 0));
}

#[test]
fn a_lone_packet_leaves_as_itself_and_announces_nothing() {
    let mut bench = Bench::new(Representation::Learned);
    for number in 0..3 {
        bench.stage(&voice(1, number));
        assert_eq!(bench.sent(), (vec![], vec![voice(1, number)]));
    }
    assert_eq!(bench.pooler.compressor().counters().announced, 0);
}

#[test]
fn where_the_second_packet_finds_no_room_the_first_has_announced_nothing() {
    let mut bench = Bench::new(Representation::Learned);
    let long = |number: u16| Header::USUAL.packet(number, &vec![number as u8; 1300]);
    // The stream is known from company it had. Its next packet would announce it, but leaves no room for this one whole.
    bench.stage(&long(0));
    bench.stage(&voice(9, 0));
    let (pooled, _) = bench.sent();
    assert_eq!(bench.opened(&pooled[0]), [long(0), voice(9, 0)]);
    bench.stage(&long(1));
    bench.stage(&Header { host: 2, ..Header::USUAL }.packet(0, &[2; 132]));
    let (pooled, lone) = bench.sent();
    assert_eq!((pooled.len(), lone.len()), (0, 2));
    bench.stage(&long(2));
    bench.stage(&voice(9, 1));
    let (pooled, _) = bench.sent();
    assert_eq!(bench.opened(&pooled[0]), [long(2), voice(9, 1)], "what was not announced is not referred to");
}

#[test]
fn an_addressee_that_takes_neither_learned_headers_nor_entries_of_streams_gets_whole_packets() {
    for representation in [Representation::Learned, Representation::Provisioned] {
        let mut bench = Bench::new(representation);
        bench.pooler.provision(&usual_stream());
        bench.peer.capabilities = Capabilities::WHOLE_IPV4;
        (1..4).for_each(|host| bench.stage(&voice(host, 0)));
        let (pooled, _) = bench.sent();
        let packet = PooledPacket::parse(&pooled[0]).expect("kind 0");
        assert!(packet.rows().all(|(row, _)| row.row_type == RowType::WholeIpv4), "{representation:?}");
    }
}

/// One stream: that of host 1.
fn usual_stream() -> Arc<StreamSet> {
    let (source, destination) = Header::USUAL.ends();
    let dscp = Dscp::of_tos(Header::USUAL.tos);
    let stream = Stream { id: StreamId(7), peer: PeerIndex(1), source, destination, dscp, ttl: Header::USUAL.ttl + 1 };
    Arc::new(StreamSet::new(&[stream]).expect("a sound set"))
}

#[test]
fn packets_of_provisioned_streams_travel_as_ids_and_payloads_among_whole_ones() {
    let mut bench = Bench::new(Representation::Provisioned);
    let streams = usual_stream();
    bench.pooler.provision(&streams);
    let packets = [voice(1, 0), voice(2, 0), voice(1, 1)];
    packets.iter().for_each(|packet| bench.stage(packet));
    let (pooled, _) = bench.sent();
    let packet = PooledPacket::parse(&pooled[0]).expect("a sound pooled packet");
    let types: Vec<_> = packet.rows().map(|(row, bytes)| (row.row_type, bytes.len())).collect();
    assert_eq!(types, [(RowType::Provisioned, 35), (RowType::WholeIpv4, 60), (RowType::Provisioned, 37)]);
    for ((row, bytes), packet) in packet.rows().zip(&packets) {
        if row.row_type == RowType::Provisioned {
            let rebuilt = streams.open(PeerIndex(1), bytes).expect("a known stream");
            let mut found = vec![0; rebuilt.len()];
            rebuilt.write(&mut found).expect("room for it");
            assert_eq!(found, *packet);
        } else {
            assert_eq!(bytes, packet);
        }
    }
    let counters = bench.pooler.counters();
    assert_eq!(counters.bytes_in, 180, "as they came");
    assert_eq!((counters.provisioned_entries, counters.provisioned_whole), (2, 1));
    for host in 0..200u32 {
        bench.stage(&voice(1, host as u16 + 2));
    }
    let (pooled, _) = bench.sent();
    assert_eq!(PooledPacket::parse(&pooled[0]).expect("sound").rows().count(), 1464 / 43);
}
