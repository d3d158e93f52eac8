//! One behaviour of the packet pooler per test.

use super::memory::{Memory, Sent, TestBuffer};
use super::reader::{self, Pooled};
use super::*;
use crate::arch::Tick;
use crate::packet::Buffer;
use crate::pool::{FlushCounter, FlushReason, PacketPooler, PoolerLimits, Staged, Unstaged};

pub(super) const VOICE: Flow = Flow { source: 1, destination: 1, port: 16384, tos: 46 << 2 };

pub(super) struct Bench {
    pub(super) pooler: PacketPooler<TestBuffer>,
    pub(super) memory: Memory,
    next_number: u16,
}

impl Bench {
    pub(super) fn new() -> Bench {
        Bench::with(PoolerLimits { pools: 16, flows: 64, peers: 4, ..PoolerLimits::default() })
    }

    pub(super) fn with(limits: PoolerLimits) -> Bench {
        let buffer_size = usize::from(limits.link_headroom) + usize::from(limits.buffer_room);
        Bench { pooler: PacketPooler::new(limits), memory: Memory::new(buffer_size), next_number: 0 }
    }

    /// Stages a packet of `flow` to peer 1 at `now`, under `rule`.
    pub(super) fn stage(&mut self, flow: Flow, length: u16, rule: &Rule, now: u64) -> Staged {
        self.stage_to(1, flow, length, rule, now)
    }

    fn stage_to(&mut self, number: u8, flow: Flow, length: u16, rule: &Rule, now: u64) -> Staged {
        self.next_number += 1;
        let bytes = packet(flow, self.next_number, length);
        let peer = peer(number, 1500);
        let buffer = self.memory.receive(&bytes);
        let ride = ride(&fields(&bytes), number, &peer, 0, rule);
        stage(&mut self.pooler, buffer, &ride, Tick(now), &mut self.memory)
    }

    pub(super) fn flush_due(&mut self, now: u64) {
        self.pooler.flush_due(Tick(now), &mut self.memory);
    }

    /// What was sent since the last call: packet numbers, in brackets where they shared a packet.
    pub(super) fn sent(&mut self) -> String {
        let number = |bytes: &[u8]| u16::from_be_bytes([bytes[4], bytes[5]]).to_string();
        let describe = |sent: Sent| match sent {
            Sent::Lone(packet) => number(packet.bytes()),
            Sent::Pooled { packet, rows, .. } => {
                let pooled = reader::read(packet.bytes());
                assert_eq!(pooled.rows.len(), usize::from(rows));
                format!("[{}]", pooled.rows.iter().map(|row| number(&row.1)).collect::<Vec<_>>().join(" "))
            }
        };
        self.memory.take_sent().into_iter().map(describe).collect::<Vec<_>>().join(" ")
    }

    /// The one pooled packet that was sent since the last call.
    pub(super) fn the_pooled(&mut self) -> (TestBuffer, Pooled) {
        let mut sent = self.memory.take_sent();
        match (sent.pop(), sent.pop()) {
            (Some(Sent::Pooled { packet, .. }), None) => {
                let pooled = reader::read(packet.bytes());
                (packet, pooled)
            }
            other => panic!("not one pooled packet: {other:?}"),
        }
    }

    pub(super) fn flushed(&self, reason: FlushReason) -> (u64, u64) {
        let FlushCounter { lone, pooled } = self.pooler.counters().flushed_for(reason);
        (lone, pooled)
    }
}

#[test]
fn a_lone_packet_leaves_as_itself_when_its_window_ends_and_not_before() {
    let mut bench = Bench::new();
    let bytes = packet(VOICE, 7, 280);
    let buffer = bench.memory.receive(&bytes);
    let (number, peer, rule) = (buffer.number, peer(1, 1500), rule(1000, 10));
    let ride = ride(&fields(&bytes), 1, &peer, 0, &rule);
    assert_eq!(bench.pooler.stage(buffer, &ride, Tick(5), &mut bench.memory), Staged::Taken);
    assert_eq!((bench.pooler.held(), bench.pooler.next_deadline()), (1, Some(Tick(1005))));
    bench.flush_due(1004);
    assert_eq!(bench.sent(), "");
    bench.flush_due(1005);
    match bench.memory.take_sent().as_slice() {
        [Sent::Lone(packet)] => {
            assert_eq!(packet.number, number, "it is a copy");
            assert_eq!(packet.bytes(), bytes);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((bench.pooler.held(), bench.pooler.next_deadline()), (0, None));
    assert_eq!(bench.flushed(FlushReason::Window), (1, 0));
    assert_eq!(bench.pooler.counters().delay_max, TickSpan(1000));
}

#[test]
fn five_packets_of_280_bytes_fill_1500_and_leave_when_the_sixth_comes() {
    let mut bench = Bench::new();
    for _ in 0..5 {
        bench.stage(VOICE, 280, &rule(1000, 255), 0);
    }
    assert_eq!(bench.sent(), "", "there is room for a packet of 20 bytes");
    bench.stage(VOICE, 280, &rule(1000, 255), 10);
    let (packet, pooled) = bench.the_pooled();
    assert_eq!(packet.len(), 1466);
    assert_eq!(pooled.rows.len(), 5);
    assert!(pooled.rows.iter().all(|row| row.0 == 3), "row TTL");
    assert!(packet.headroom() >= 32, "no room for the link header");
    assert_eq!(bench.flushed(FlushReason::Full), (0, 1));
    let counters = bench.pooler.counters();
    assert_eq!((counters.bytes_in, counters.bytes_out, counters.rows), (1400, 1466, 5));
    assert_eq!(counters.rows_histogram[5], 1);
}

#[test]
fn a_pool_with_no_room_for_even_the_shortest_packet_does_not_wait() {
    // 1408 bytes of data, 20 more, six rows and the headers are 1500 bytes.
    for (last, sent) in [(288, ""), (289, "[1 2 3 4 5]")] {
        let mut bench = Bench::new();
        for length in [280, 280, 280, 280, last] {
            bench.stage(VOICE, length, &rule(1000, 255), 0);
        }
        assert_eq!(bench.sent(), sent, "last of {last} bytes");
    }
}

#[test]
fn a_packet_that_does_not_fit_flushes_the_pool_and_begins_the_next() {
    let mut bench = Bench::new();
    for length in [700, 600, 300] {
        bench.stage(VOICE, length, &rule(1000, 255), 0);
    }
    assert_eq!(bench.sent(), "[1 2]");
    assert_eq!(bench.flushed(FlushReason::Full), (0, 1));
    bench.flush_due(1000);
    assert_eq!(bench.sent(), "3");
}

#[test]
fn a_pool_that_reached_its_count_leaves_at_once() {
    let mut bench = Bench::new();
    for _ in 0..7 {
        bench.stage(VOICE, 60, &rule(1000, 3), 0);
    }
    assert_eq!(bench.sent(), "[1 2 3] [4 5 6]");
    assert_eq!(bench.flushed(FlushReason::Count), (0, 2));
}

#[test]
fn the_shortest_packets_fill_a_pooled_packet_to_the_last_row() {
    let mut bench = Bench::new();
    for _ in 0..56 {
        bench.stage(VOICE, 20, &rule(1000, 255), 0);
    }
    let (packet, pooled) = bench.the_pooled();
    assert_eq!((packet.len(), pooled.rows.len()), (36 + 56 * 26, 56));
    assert_eq!(bench.flushed(FlushReason::Full), (0, 1));
}

#[test]
fn an_open_pool_costs_one_buffer_however_many_packets_are_in_it() {
    let (mut bench, rule) = (Bench::new(), rule(1000, 255));
    for count in 1..=22 {
        bench.stage(VOICE, 60, &rule, 0);
        assert_eq!(bench.memory.outstanding, 1, "{count} packets");
    }
    bench.flush_due(1000);
    let (_, pooled) = bench.the_pooled();
    assert_eq!((pooled.rows.len(), bench.memory.outstanding), (22, 0));
}

#[test]
fn the_window_is_that_of_the_first_packet() {
    let mut bench = Bench::new();
    bench.stage(VOICE, 60, &rule(1000, 10), 0);
    bench.stage(VOICE, 60, &rule(1000, 10), 999);
    bench.flush_due(999);
    assert_eq!(bench.sent(), "");
    bench.flush_due(1000);
    assert_eq!(bench.sent(), "[1 2]");
}

#[test]
fn pools_of_different_windows_end_each_in_its_own_time() {
    let mut bench = Bench::new();
    let (voice, video) = (VOICE, Flow { tos: 34 << 2, ..VOICE });
    let video = Flow { source: 2, ..video };
    bench.stage(voice, 60, &rule(5000, 10), 0);
    bench.stage(video, 60, &rule(1000, 10), 100);
    assert_eq!(bench.pooler.next_deadline(), Some(Tick(1100)));
    bench.flush_due(1100);
    assert_eq!(bench.sent(), "2");
    bench.flush_due(5000);
    assert_eq!(bench.sent(), "1");
}

#[test]
fn a_flow_that_changes_class_or_peer_flushes_the_pool_it_is_in() {
    let mut bench = Bench::new();
    bench.stage(VOICE, 60, &rule(1000, 10), 0);
    bench.stage(VOICE, 60, &rule(1000, 10), 0);
    bench.stage(Flow { tos: 0, ..VOICE }, 60, &rule(1000, 10), 0);
    assert_eq!(bench.sent(), "[1 2]");
    bench.stage_to(2, Flow { tos: 0, ..VOICE }, 60, &rule(1000, 10), 0);
    assert_eq!(bench.sent(), "3");
    assert_eq!(bench.flushed(FlushReason::Order), (1, 1));
}

#[test]
fn a_forwarded_packet_flushes_the_pool_of_its_flow_and_no_other() {
    let mut bench = Bench::new();
    let other = Flow { source: 9, tos: 0, ..VOICE };
    bench.stage(VOICE, 60, &rule(1000, 10), 0);
    bench.stage(other, 60, &rule(1000, 10), 0);
    let stranger = fields(&packet(Flow { port: 1, ..VOICE }, 0, 1400));
    bench.pooler.pass(stranger.flow, Tick(1), &mut bench.memory);
    assert_eq!(bench.sent(), "");
    let large = fields(&packet(VOICE, 0, 1400));
    bench.pooler.pass(large.flow, Tick(1), &mut bench.memory);
    assert_eq!(bench.sent(), "1");
    assert_eq!(bench.pooler.held(), 1);
}

#[test]
fn a_fragment_flushes_all_pools_with_packets_between_its_addresses_and_no_other() {
    let mut bench = Bench::new();
    let of = fields(&fragment(VOICE, 0, 600));
    // Pairs that share a set are not told apart.
    let set_of = |source| fields(&packet(Flow { source, ..VOICE }, 0, 60)).pair % 8;
    let other = (2..).find(|source| set_of(*source) != of.pair % 8).expect("some source has another set");
    for (source, port, tos) in [(1, 1, 0), (1, 2, 4), (1, 3, 8), (other, 1, 12)] {
        bench.stage(Flow { source, port, tos, ..VOICE }, 60, &rule(1000, 10), 0);
    }
    bench.pooler.pass_fragment(of.pair, Tick(1), &mut bench.memory);
    let mut sent: Vec<String> = bench.sent().split(' ').map(str::to_owned).collect();
    sent.sort();
    assert_eq!(sent, ["1", "2", "3"]);
    assert_eq!(bench.pooler.held(), 1);
}

#[test]
fn no_fragment_overtakes_where_more_pairs_wait_than_the_order_table_holds() {
    // As many flows and pairs as there are places, so that some sets of either table overflow and others do not.
    let mut bench = Bench::with(PoolerLimits { pools: 64, flows: 64, peers: 4, ..PoolerLimits::default() });
    let flow = |number: u8| Flow { source: number, tos: number << 2, ..VOICE };
    for number in 0..64 {
        assert_eq!(bench.stage(flow(number), 60, &rule(1000, 10), 0), Staged::Taken);
    }
    let mut left: Vec<String> = bench.sent().split(' ').map(str::to_owned).collect();
    assert!((1..40).contains(&left.len()), "{left:?}");
    for number in 0..64u8 {
        let pair = fields(&fragment(flow(number), 0, 600)).pair;
        bench.pooler.pass_fragment(pair, Tick(1), &mut bench.memory);
        left.extend(bench.sent().split(' ').map(str::to_owned));
        assert!(left.contains(&(u32::from(number) + 1).to_string()), "a fragment overtakes packet {}", number + 1);
    }
}

#[test]
fn a_packet_too_large_to_ever_share_leaves_strangers_in_their_pool() {
    let mut bench = Bench::new();
    let other = Flow { source: 9, ..VOICE };
    bench.stage(VOICE, 60, &rule(1000, 10), 0);
    assert_eq!(bench.stage(other, 1433, &rule(1000, 10), 0), Staged::PassedOn(Unstaged::CannotShare));
    assert_eq!(bench.sent(), "2");
    assert_eq!(bench.stage(VOICE, 1433, &rule(1000, 10), 0), Staged::PassedOn(Unstaged::CannotShare));
    assert_eq!(bench.sent(), "1 3");
    assert_eq!(bench.pooler.counters().unstaged_for(Unstaged::CannotShare), 2);
}

#[test]
fn packets_share_with_their_like_in_ecn_and_each_pool_is_marked_as_its_packets() {
    let mut bench = Bench::new();
    for (source, ecn) in [(1, 0), (2, 1), (3, 0), (4, 2), (5, 3), (6, 1)] {
        bench.stage(Flow { source, tos: 46 << 2 | ecn, ..VOICE }, 60, &rule(1000, 10), 0);
    }
    bench.flush_due(1000);
    let sent: Vec<(u8, Vec<u8>)> = bench
        .memory
        .take_sent()
        .into_iter()
        .map(|sent| match sent {
            Sent::Pooled { packet, .. } => {
                let pooled = reader::read(packet.bytes());
                (pooled.tos, pooled.rows.iter().map(|row| row.1[1]).collect())
            }
            Sent::Lone(packet) => panic!("{packet:?}"),
        })
        .collect();
    let expected = [(0xb8, vec![0xb8, 0xb8]), (0xb9, vec![0xb9, 0xb9]), (0xba, vec![0xba, 0xbb])];
    assert_eq!(sent, expected, "Not-ECT; ECT(1); ECT(0), whose company includes CE");
}

#[test]
fn the_outer_flow_is_that_of_peer_worker_and_bucket_and_its_packets_are_numbered() {
    let limits = PoolerLimits { worker: 3, buckets: 4, peers: 2, ..PoolerLimits::default() };
    let mut bench = Bench::with(limits);
    let (bytes, peer, rule) = (packet(VOICE, 0, 60), peer(1, 1500), rule(1000, 2));
    for (bucket, sequence) in [(0, 0), (3, 0), (3, 1), (0, 1), (3, 2)] {
        let mut ride = ride(&fields(&bytes), 1, &peer, 0, &rule);
        ride.key = PoolKey::new(1, RuleIndex(0), ride.key.class(), 0, bucket);
        for _ in 0..2 {
            let buffer = bench.memory.receive(&bytes);
            assert_eq!(bench.pooler.stage(buffer, &ride, Tick(0), &mut bench.memory), Staged::Taken);
        }
        let (_, pooled) = bench.the_pooled();
        assert_eq!((pooled.source, pooled.destination), (peer.source, peer.addressee));
        assert_eq!((pooled.source_port, pooled.destination_port), (40012 + u16::from(bucket), 7665));
        assert_eq!(pooled.sequence, sequence, "bucket {bucket}");
    }
}

#[test]
fn a_peer_or_bucket_beyond_the_limits_is_not_pooled() {
    let mut bench = Bench::new();
    assert_eq!(bench.stage_to(4, VOICE, 60, &rule(1000, 10), 0), Staged::PassedOn(Unstaged::BeyondLimits));
    assert_eq!(bench.stage_to(3, VOICE, 60, &rule(1000, 10), 0), Staged::Taken);
    assert_eq!(bench.sent(), "1");
}

#[test]
fn the_udp_checksum_is_zero_only_where_configured() {
    let (bytes, rule) = (packet(VOICE, 0, 61), rule(1000, 2));
    for checksum in [true, false] {
        let mut bench = Bench::new();
        let peer = PeerPath { checksum, ..peer(1, 1500) };
        for _ in 0..2 {
            let buffer = bench.memory.receive(&bytes);
            let ride = ride(&fields(&bytes), 1, &peer, 0, &rule);
            assert_eq!(bench.pooler.stage(buffer, &ride, Tick(0), &mut bench.memory), Staged::Taken);
        }
        assert_eq!(bench.the_pooled().1.udp_checksum != 0, checksum);
    }
}

#[test]
fn without_memory_for_a_pooled_packet_all_go_on_alone_and_in_order() {
    let mut bench = Bench::new();
    bench.memory.left = 0;
    assert_eq!(bench.stage(VOICE, 60, &rule(1000, 10), 0), Staged::Taken);
    assert_eq!(bench.stage(VOICE, 60, &rule(1000, 10), 0), Staged::PassedOn(Unstaged::NoPoolBuffer));
    assert_eq!(bench.sent(), "1 2");
    assert_eq!((bench.pooler.held(), bench.memory.outstanding), (0, 0));
    assert_eq!(bench.flushed(FlushReason::NoBuffer), (1, 0));
    bench.memory.left = 1;
    bench.stage(VOICE, 60, &rule(1000, 10), 0);
    bench.stage(VOICE, 60, &rule(1000, 10), 0);
    bench.flush_due(1000);
    assert_eq!(bench.sent(), "[3 4]");
}

#[test]
fn a_full_pool_table_passes_on_what_would_need_another_pool() {
    let mut bench = Bench::with(PoolerLimits { pools: 1, peers: 4, ..PoolerLimits::default() });
    bench.stage(VOICE, 60, &rule(1000, 10), 0);
    let other = Flow { source: 2, tos: 0, ..VOICE };
    assert_eq!(bench.stage(other, 60, &rule(1000, 10), 0), Staged::PassedOn(Unstaged::PoolTableFull));
    assert_eq!(bench.stage(VOICE, 60, &rule(1000, 10), 0), Staged::Taken);
    bench.flush_due(1000);
    assert_eq!(bench.sent(), "2 [1 3]");
}

#[test]
fn a_seventeenth_window_is_passed_on_until_one_is_free() {
    let mut bench = Bench::with(PoolerLimits { peers: 4, ..PoolerLimits::default() });
    let flow = |tos: u8| Flow { source: tos, tos: tos << 2, ..VOICE };
    for number in 0..16 {
        assert_eq!(bench.stage(flow(number), 60, &rule(1000 + u64::from(number), 10), 0), Staged::Taken);
    }
    let refused = Staged::PassedOn(Unstaged::PoolTableFull);
    assert_eq!(bench.stage(flow(16), 60, &rule(9000, 10), 0), refused);
    assert_eq!(bench.pooler.held(), 16);
    bench.flush_due(1000);
    assert_eq!(bench.stage(flow(16), 60, &rule(9000, 10), 1000), Staged::Taken);
}

#[test]
fn open_pools_can_be_shown() {
    let mut bench = Bench::new();
    bench.stage(VOICE, 60, &rule(1000, 10), 3);
    bench.stage(VOICE, 61, &rule(1000, 10), 4);
    let shown: Vec<_> = bench.pooler.open_pools().collect();
    let [pool] = shown.as_slice() else { panic!("{shown:?}") };
    assert_eq!((pool.peer.0, pool.key.class().value(), pool.rows, pool.length), (1, 46, 2, 36 + 12 + 121));
    assert_eq!((pool.opened, pool.deadline), (Tick(3), Tick(1003)));
}

#[test]
fn a_flow_whose_hash_is_zero_is_a_flow_like_any_other() {
    let mut pooler = PacketPooler::new(PoolerLimits::default());
    let mut memory = super::memory::Memory::new(2176);
    let bytes = super::packet(super::Flow { source: 0, destination: 0, port: 1, tos: 0 }, 1, 100);
    let (p, r) = (super::peer(0, 1500), super::rule(10, 255));
    let f = super::StreamFields { flow: 0, ..super::fields(&bytes) };
    let ride = super::ride(&f, 0, &p, 0, &r);
    let buffer = memory.receive(&bytes);
    pooler.stage(buffer, &ride, crate::arch::Tick(1), &mut memory);
}
