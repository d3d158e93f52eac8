//! Packets that board in runs, with tables and memory so small that everything is refused at times.

use std::collections::HashMap;

use proptest::prelude::*;

use super::memory::{Memory, Sent, TestBuffer};
use super::*;
use crate::arch::TickRate;
use crate::packet::Buffer;
use crate::packet::ipv4::Ipv4Header;
use crate::pool::learned::test_packets::{Header, rtp};
use crate::pool::learned::{CompressorLimits, ContextTimes, Decompressor, Origin, UnknownContexts};
use crate::pool::open_pools::{Generations, PoolReference, Slot};
use crate::pool::pair_order::PairOrder;
use crate::pool::wire::PooledPacket;
use crate::pool::wire::short_rows::ShortPacket;
use crate::pool::{FlushReason, Lone, PoolerLimits, Representation};

const FRONT: usize = 14;
const MS: u64 = 1_000_000;

#[derive(Clone, Debug)]
enum Step {
    Burst(Vec<(u8, u8, u16)>),
    Wait(u64),
    Pass(u8),
    Fragment(u8),
    Flush,
    Memory(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let packet = (0u8..12, 1u8..4, prop_oneof![6 => Just(20u16), 2 => 12u16..120, 1 => 200u16..1400]);
    prop_oneof![
        12 => prop::collection::vec(packet, 1..33).prop_map(Step::Burst),
        3 => (1u64..4).prop_map(Step::Wait),
        1 => (0u8..12).prop_map(Step::Pass),
        1 => (0u8..12).prop_map(Step::Fragment),
        1 => Just(Step::Flush),
        1 => prop_oneof![0usize..4, Just(usize::MAX)].prop_map(Step::Memory),
    ]
}

fn header(flow: u8) -> Header {
    let tos = [0xb8, 0xba, 0xbb, 0][usize::from(flow % 4)];
    Header { host: flow / 4, port: 16_384 + u16::from(flow) * 2, tos, ..Header::USUAL }
}

struct Run {
    pooler: PacketPooler<TestBuffer>,
    memory: Memory,
    decompressor: Decompressor,
    rule: Rule,
    mtu: u16,
    now: u64,
    numbers: [u16; 12],
    waiting: HashMap<(u8, u8, u16), Vec<u8>>,
    last: HashMap<(u8, u16), u16>,
    lone: u64,
    long_way: usize,
}

impl Run {
    fn new(limits: PoolerLimits, rule: Rule, mtu: u16) -> Run {
        let forget = ContextTimes::at(TickRate::NANOSECONDS).forget;
        Run {
            pooler: PacketPooler::new(limits),
            memory: Memory::new(usize::from(limits.link_headroom) + usize::from(limits.buffer_room)),
            decompressor: Decompressor::new(1024, forget, UnknownContexts::new(TickRate::NANOSECONDS)),
            rule,
            mtu,
            now: 0,
            numbers: [0; 12],
            waiting: HashMap::new(),
            last: HashMap::new(),
            lone: 0,
            long_way: 0,
        }
    }

    fn packet(&mut self, flow: u8, more: u16) -> Vec<u8> {
        let number = &mut self.numbers[usize::from(flow)];
        *number += 1;
        let media = vec![flow; usize::from(more)];
        header(flow).packet(*number, &rtp([0x80, 18], *number, 160 * u32::from(*number), 7, &media))
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Burst(packets) => self.burst(packets),
            Step::Wait(ms) => {
                self.now += ms * MS;
                self.pooler.flush_due(Tick(self.now), &mut self.memory);
            }
            Step::Pass(flow) => {
                let bytes = header(*flow).packet(0, &[1; 40]);
                self.pooler.pass(fields(&bytes).flow, Tick(self.now), &mut self.memory);
                self.check();
                assert!(!self.waiting.keys().any(|(of, ..)| of == flow), "overtaken");
            }
            Step::Fragment(flow) => {
                let mut bytes = header(*flow).packet(0, &[1; 40]);
                bytes[7] = 9;
                self.pooler.pass_fragment(fields(&bytes).pair, Tick(self.now), &mut self.memory);
                self.check();
                assert!(!self.waiting.keys().any(|(of, ..)| of / 4 == flow / 4), "overtaken by a fragment");
            }
            Step::Flush => self.pooler.flush_all(FlushReason::Reconfigured, Tick(self.now), &mut self.memory),
            Step::Memory(left) => self.memory.left = *left,
        }
        self.check();
    }

    fn burst(&mut self, burst: &[(u8, u8, u16)]) {
        let mut packets = Vec::new();
        for &(flow, peer, more) in burst {
            let packet = self.packet(flow, more);
            let number = self.numbers[usize::from(flow)];
            self.waiting.insert((flow, peer, number), packet.clone());
            packets.push((packet, peer));
        }
        let peers: Vec<PeerPath> = (0..5).map(|number| peer(number, self.mtu)).collect();
        let rule = self.rule.clone();
        let rides: Vec<Ride<'_>> = packets
            .iter()
            .map(|(packet, number)| ride(&fields(packet), *number, &peers[usize::from(*number)], 0, &rule))
            .collect();
        let buffers: Vec<TestBuffer> = packets
            .iter()
            .map(|(packet, _)| {
                let mut packet = self.memory.receive(packet);
                increment_ttl(packet.bytes_mut());
                packet.prepend(FRONT).expect("there is headroom").fill(0xff);
                packet
            })
            .collect();
        let mut buffers = buffers.into_iter().zip(0usize..);
        let mut at = 0;
        while let Some(ride) = rides.get(at) {
            let alike = rides[at..].iter().take_while(|other| other.question == ride.question);
            let hashes: Vec<(u32, u32)> = alike.map(|ride| (ride.flow, ride.pair)).collect();
            let queue = Queue { question: ride.question.expect("asked"), hashes: &hashes };
            let now = Tick(self.now);
            let (aboard, left) = self.pooler.board_plain::<FRONT, _, _>(&mut buffers, &queue, now, &mut self.memory);
            at += aboard;
            match left {
                Some((mut buffer, number)) => {
                    self.long_way += 1;
                    assert_eq!(number, at, "taken out of turn");
                    let mut before = packets[at].0.clone();
                    increment_ttl(&mut before);
                    assert_eq!(buffer.bytes(), before, "as it was");
                    buffer.bytes_mut().copy_from_slice(&packets[at].0);
                    self.pooler.stage(buffer, &rides[at], now, &mut self.memory);
                    at += 1;
                }
                None => assert_eq!(aboard, hashes.len()),
            }
        }
        assert!(buffers.next().is_none());
    }

    /// All that was sent came in, once, in order by flow.
    fn check(&mut self) {
        for sent in self.memory.take_sent() {
            match sent {
                Sent::Lone(packet) => {
                    self.lone += 1;
                    self.came_out(packet.bytes(), None);
                }
                Sent::Pooled { packet, peer, rows } => {
                    assert!(packet.len() <= usize::from(self.mtu));
                    let bytes = packet.bytes().to_vec();
                    let outer = Ipv4Header::parse(&bytes).expect("sound");
                    let datagram = outer.payload(&bytes).expect("a datagram");
                    let payload = &datagram[8..];
                    assert_eq!(payload[1], rows);
                    let number = peer.0 as u8;
                    if let Ok(short) = ShortPacket::parse(payload) {
                        let source_port = u16::from_be_bytes([datagram[0], datagram[1]]);
                        let origin = Origin { peer: outer.dst.into(), instance: short.instance(), source_port };
                        let entries: Vec<Vec<u8>> = short.entries().map(<[u8]>::to_vec).collect();
                        for entry in entries {
                            let mut contexts = self.decompressor.of(origin, Tick(self.now));
                            let opened = contexts.open(&entry).expect("a known context");
                            let mut packet = vec![0; opened.len()];
                            opened.write(&mut packet).expect("room");
                            self.came_out(&packet, Some(number));
                        }
                    } else {
                        let pooled = PooledPacket::parse(payload).expect("kind 0");
                        for (row, packet) in pooled.rows() {
                            assert_eq!(row.ttl, distance(number));
                            self.came_out(packet, Some(number));
                        }
                    }
                }
            }
        }
    }

    fn came_out(&mut self, packet: &[u8], peer: Option<u8>) {
        let port = u16::from_be_bytes([packet[20], packet[21]]);
        let flow = ((port - 16_384) / 2) as u8;
        let number = u16::from_be_bytes([packet[4], packet[5]]);
        let found = self.waiting.keys().find(|key| (key.0, key.2) == (flow, number)).copied();
        let key = found.expect("came in, and not out before");
        assert!(peer.is_none_or(|peer| peer == key.1), "to its own peer");
        assert_eq!(self.waiting.remove(&key).as_deref(), Some(packet), "byte for byte, TTL decremented once");
        let last = self.last.insert((flow, port), number).unwrap_or(0);
        assert!(last < number, "flow {flow}: {number} behind {last}");
    }
}

fn limits(pools: u16, flows: usize, buffer_room: u16, buckets: u8) -> PoolerLimits {
    let learned = CompressorLimits { streams: 8, ..CompressorLimits::usual(TickRate::NANOSECONDS, SEED) };
    PoolerLimits { pools, flows, peers: 8, buffer_room, buckets, learned, ..PoolerLimits::default() }
}

proptest! {
    #[test]
    fn whatever_is_refused_nothing_is_lost_or_overtaken(
        steps in prop::collection::vec(step(), 1..40),
        pools in prop_oneof![1u16..4, Just(64)], flows in prop_oneof![Just(1usize), Just(16), Just(4096)],
        learned: bool, adaptive in prop::bool::weighted(0.2), lone_pooled in prop::bool::weighted(0.3),
        max_count in prop_oneof![Just(255u8), 2u8..8], required in 1u8..4,
        mtu in prop_oneof![3 => Just(1500u16), 1 => 200u16..600, 1 => Just(9000)],
        window in 0u64..3,
    ) {
        let rule = Rule {
            representation: if learned { Representation::Learned } else { Representation::Whole },
            lone: if lone_pooled { Lone::Pooled } else { Lone::Itself },
            required_count: required.min(max_count),
            hold: TickSpan(4 * MS),
            adaptive,
            ..rule(window * MS, max_count)
        };
        let mut run = Run::new(limits(pools, flows, 2144, 1), rule, mtu);
        for step in steps.iter().chain(&[Step::Memory(usize::MAX), Step::Flush]) {
            run.take(step);
        }
        prop_assert_eq!(run.waiting.len(), 0);
        prop_assert_eq!((run.memory.outstanding, run.pooler.held()), (0, 0));
        let counters = run.pooler.counters();
        let total: u64 = run.numbers.iter().map(|number| u64::from(*number)).sum();
        prop_assert_eq!(counters.broken, 0);
        // in + created = out + absorbed
        prop_assert_eq!(total + counters.created, run.lone + counters.pooled_packets + counters.absorbed);
        prop_assert_eq!(run.lone + counters.rows, total);
    }
}

fn steady(mtu: u16, representation: Representation) -> (usize, u64) {
    let rule = Rule { representation, ..rule(5 * MS, 255) };
    let mut run = Run::new(limits(64, 4096, if mtu > 1500 { 9300 } else { 2144 }, 1), rule, mtu);
    for _ in 0..200 {
        let burst: Vec<(u8, u8, u16)> = (0..32).map(|_| (0, 1, 200)).collect();
        run.take(&Step::Burst(burst));
    }
    run.take(&Step::Flush);
    (run.long_way, run.pooler.counters().pooled_packets)
}

/// Catches: a flow that is noted for a pool which its packet is too large for.
#[test]
fn a_packet_too_large_for_a_pool_does_not_have_it_leave() {
    for representation in [Representation::Whole, Representation::Learned] {
        let rule = Rule { representation, ..rule(5 * MS, 255) };
        let mut run = Run::new(limits(64, 4096, 2144, 1), rule, 1500);
        for _ in 0..8 {
            run.take(&Step::Burst(vec![(0, 1, 20), (4, 1, 20)]));
        }
        run.take(&Step::Burst(vec![(0, 1, 20), (4, 1, 20), (8, 1, 1440), (0, 1, 20), (4, 1, 20)]));
        assert_eq!(run.pooler.counters().flushed_for(FlushReason::Order).pooled, 0, "{representation:?}");
        // Of those that have boarded nothing is forgotten.
        run.take(&Step::Pass(0));
        assert_eq!(run.pooler.counters().flushed_for(FlushReason::Order).pooled, 1, "{representation:?}");
        run.take(&Step::Flush);
    }
}

#[test]
fn jumbo_pools_take_their_second_packet_the_short_way() {
    for mtu in [600u16, 1500, 1750, 1800, 4000, 9000] {
        let (long, pooled) = steady(mtu, Representation::Whole);
        assert!(long < pooled as usize / 2, "{mtu}: {long} packets of 6400 the long way, {pooled} pools");
    }
}

/// Calls of a gateway: one pair of addresses, so many ports, in so many buckets, 4 packets of each in a window.
fn gateway(buckets: u8) -> (u64, f64) {
    let rule = rule(5 * MS, 255);
    let limits = PoolerLimits { pools: 4096, flows: 16384, peers: 8, buckets, ..PoolerLimits::default() };
    let mut pooler: PacketPooler<TestBuffer> = PacketPooler::new(limits);
    let mut memory = Memory::new(2176);
    let peer = peer(1, 1500);
    let mut now = 0;
    let (mut total, mut out) = (0u64, 0u64);
    for round in 0..50u16 {
        for call in 0..256u16 {
            let flow = Flow { source: 1, destination: 1, port: 5000 + 2 * call, tos: 0 };
            let bytes = packet(flow, round, 60);
            let fields = fields(&bytes);
            let key = PoolKey::of_stream(1, RuleIndex(0), &fields, buckets);
            let buffer = memory.receive(&bytes);
            let ride = Ride::new(key, path(1), (PeerIndex(1), &peer), &rule, &fields);
            pooler.stage(buffer, &ride, Tick(now), &mut memory);
            total += 1;
            out += memory.take_sent().len() as u64;
        }
        now += 6 * MS;
        pooler.flush_due(Tick(now), &mut memory);
        out += memory.take_sent().len() as u64;
    }
    let order = pooler.counters().flushed_for(FlushReason::Order);
    (order.lone + order.pooled, total as f64 / out as f64)
}

/// More buckets than a pair of addresses has places: none leaves for the order of another, and only as many share as are in a bucket.
/// Where 256 calls are spread evenly over 8, each fills a packet and begins another: 16 in for one out.
#[test]
fn a_gateways_calls_fill_pools_in_many_buckets() {
    for (buckets, least) in [(1u8, 17.0), (8, 15.0), (16, 14.0), (64, 3.5)] {
        let (order, fill) = gateway(buckets);
        assert_eq!(order, 0, "{buckets} buckets: flushed for order");
        assert!(fill > least, "{buckets} buckets: {fill:.2} packets in for one out");
    }
}

/// A fragment tells no ports, so it may be of any call: none of them waits on when it goes, however many pools they are in.
#[test]
fn a_fragment_between_gateways_overtakes_none_of_their_calls() {
    let rule = rule(5 * MS, 255);
    let limits = PoolerLimits { pools: 64, flows: 16384, peers: 8, buckets: 64, ..PoolerLimits::default() };
    let mut pooler: PacketPooler<TestBuffer> = PacketPooler::new(limits);
    let (mut memory, peer) = (Memory::new(2176), peer(1, 1500));
    // The second time as the first: what was noted of a crowd is gone with it.
    for now in [0, MS] {
        let mut pair = 0;
        for call in 0..256u16 {
            let bytes = packet(Flow { source: 1, destination: 1, port: 5000 + 2 * call, tos: 0 }, call, 60);
            let fields = fields(&bytes);
            pair = fields.pair;
            let key = PoolKey::of_stream(1, RuleIndex(0), &fields, limits.buckets);
            let ride = Ride::new(key, path(1), (PeerIndex(1), &peer), &rule, &fields);
            let buffer = memory.receive(&bytes);
            pooler.stage(buffer, &ride, Tick(now), &mut memory);
        }
        assert!(pooler.held() > 32, "{} pools", pooler.held());
        pooler.pass_fragment(pair, Tick(now), &mut memory);
        assert_eq!(pooler.held(), 0, "pools wait behind the fragment");
        memory.take_sent();
    }
    let other = fields(&packet(Flow { source: 9, destination: 9, port: 1, tos: 0 }, 0, 60)).pair;
    let bytes = packet(Flow { source: 1, destination: 1, port: 5000, tos: 0 }, 0, 60);
    let fields = fields(&bytes);
    let key = PoolKey::of_stream(1, RuleIndex(0), &fields, limits.buckets);
    let ride = Ride::new(key, path(1), (PeerIndex(1), &peer), &rule, &fields);
    let buffer = memory.receive(&bytes);
    pooler.stage(buffer, &ride, Tick(2 * MS), &mut memory);
    pooler.pass_fragment(other, Tick(2 * MS), &mut memory);
    assert_eq!(pooler.held(), 1, "a fragment between others");
}

/// Eight pools of one pair have room in its set, whichever closes and opens again.
#[test]
fn as_many_pools_as_there_are_places_do_not_crowd_a_pair() {
    for pools in [2u16, 3, 4, 6, 8] {
        let mut order = PairOrder::new(8);
        let mut generations = vec![1u16; usize::from(pools)];
        let mut random = 1u32;
        for _ in 0..10_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let slot = (random >> 16) as u16 % pools;
            // One closes, and opens again when it is its turn; the others have packets meanwhile.
            if random >> 8 & 3 == 0 {
                let closes = usize::from((random >> 24) as u16 % pools);
                generations[closes] = generations[closes].wrapping_add(2);
            }
            let open = Generations::for_test(generations.clone());
            order.enter(5, PoolReference::new(Slot::from_number(slot), generations[usize::from(slot)]), &open);
        }
        assert!(!order.is_everywhere(5), "{pools} pools");
    }
}

/// One flow in so many classes, learned headers: how its packets travel.
fn classes(count: u8) -> (u64, u64, u64) {
    let rule = Rule { representation: Representation::Learned, ..rule(5 * MS, 255) };
    let mut pooler: PacketPooler<TestBuffer> = PacketPooler::new(PoolerLimits {
        peers: 8,
        learned: CompressorLimits::usual(TickRate::NANOSECONDS, SEED),
        ..PoolerLimits::default()
    });
    let mut memory = Memory::new(2176);
    let peer = peer(1, 1500);
    let mut now = 0;
    for number in 0..100u16 {
        for class in 0..count {
            for twice in 0..2 {
                let header = Header { tos: class << 2, ..Header::USUAL };
                let number = number * 2 + twice;
                let payload = rtp([0x80, 18], number, 160 * u32::from(number), u32::from(class), &[1; 20]);
                let bytes = header.packet(number, &payload);
                let fields = fields(&bytes);
                let buffer = memory.receive(&bytes);
                let ride = ride(&fields, 1, &peer, 0, &rule);
                pooler.stage(buffer, &ride, Tick(now), &mut memory);
            }
        }
        now += 6 * MS;
        pooler.flush_due(Tick(now), &mut memory);
        drop(memory.take_sent());
    }
    let counters = *pooler.compressor().counters();
    (counters.whole, counters.announced, counters.compressed)
}

#[test]
fn classes_of_one_flow_have_places_of_their_own() {
    for count in [1u8, 4, 5, 8, 16] {
        let (whole, ..) = classes(count);
        assert!(whole <= 2 * u64::from(count), "{count} classes: {whole} of {} packets whole", 200 * u32::from(count));
    }
}
