//! Pools whose index goes apart from them, or needs none.

use std::collections::HashMap;

use proptest::prelude::*;

use super::memory::{Memory, Sent, TestBuffer};
use super::*;
use crate::arch::Tick;
use crate::packet::Buffer;
use crate::pool::wire::{
    DataOnly, IndexPacket, Kind, PoolHeader, PooledPacket, Predetermined, Template, TemplateId, Templates,
};
use crate::pool::{FlushReason, Index, PacketPooler, PoolerLimits, Staged, Unstaged};

const VOICE: Flow = Flow { source: 1, destination: 1, port: 16384, tos: 46 << 2 };
const OTHER: Flow = Flow { source: 2, destination: 2, port: 16386, tos: 46 << 2 };

fn template() -> (TemplateId, Template) {
    (TemplateId::new(7).expect("not 0"), Template::new(&[60, 200]).expect("sound lengths"))
}

fn out_of_band(window: u64, max_count: u8) -> Rule {
    Rule { index: Index::OutOfBand, ..rule(window, max_count) }
}

fn predetermined(window: u64, max_count: u8) -> Rule {
    let (id, template) = template();
    Rule { index: Index::Predetermined { id, template }, ..rule(window, max_count) }
}

/// A pooler, its memory, and a reader of what it sends that has no patience: an index that is not there when its packet
/// comes is an error.
struct Bench {
    pooler: PacketPooler<TestBuffer>,
    memory: Memory,
    next_number: u16,
    peer: PeerPath,
    /// Rows by the number of their pooled packet.
    indexes: HashMap<u32, Vec<[u8; 6]>>,
    newest: Option<u32>,
    now: u64,
    /// What went in and has not come out: its bytes, and by when it must.
    waiting: HashMap<u16, (Vec<u8>, u64)>,
    /// What was sent when, since it was last asked for.
    departed: Vec<(u64, Sent)>,
}

impl Bench {
    fn new() -> Bench {
        let limits = PoolerLimits { pools: 16, flows: 64, peers: 4, ..PoolerLimits::default() };
        let memory = Memory::new(usize::from(limits.link_headroom) + usize::from(limits.buffer_room));
        Bench {
            pooler: PacketPooler::new(limits),
            memory,
            next_number: 0,
            peer: peer(1, 1500),
            indexes: HashMap::new(),
            newest: None,
            now: 0,
            waiting: HashMap::new(),
            departed: Vec::new(),
        }
    }

    fn stage(&mut self, flow: Flow, length: u16, rule_index: u16, rule: &Rule, now: u64) -> Staged {
        self.next_number += 1;
        let bytes = packet(flow, self.next_number, length);
        let buffer = self.memory.receive(&bytes);
        let ride = ride(&fields(&bytes), 1, &self.peer, rule_index, rule);
        self.now = now;
        self.waiting.insert(self.next_number, (bytes, now + rule.window.0));
        stage(&mut self.pooler, buffer, &ride, Tick(now), &mut self.memory)
    }

    /// Ends the round that it is in, and has one at each deadline up to `now`, as a worker has that wakes for them.
    fn flush_due(&mut self, now: u64) {
        self.round();
        while let Some(Tick(deadline)) = self.pooler.next_deadline().filter(|deadline| deadline.0 <= now) {
            self.now = self.now.max(deadline);
            self.round();
        }
        self.now = now;
    }

    fn round(&mut self) {
        self.pooler.flush_due(Tick(self.now), &mut self.memory);
        self.departed.extend(self.memory.take_sent().into_iter().map(|sent| (self.now, sent)));
    }

    /// What was sent since the last call, and when.
    fn departed(&mut self) -> Vec<(u64, Sent)> {
        self.departed.extend(self.memory.take_sent().into_iter().map(|sent| (self.now, sent)));
        std::mem::take(&mut self.departed)
    }

    /// A packet has come out at the time `at`: it is what went in, and in time. Returns its number.
    fn came_out(&mut self, bytes: &[u8], at: u64) -> String {
        let number = u16::from_be_bytes([bytes[4], bytes[5]]);
        let (original, latest) = self.waiting.remove(&number).expect("came out twice, or was never there");
        assert_eq!(bytes, original, "packet {number}");
        assert!(at <= latest, "packet {number} left at {at}, not by {latest}");
        number.to_string()
    }

    /// The numbers of packets that came out together.
    fn list<'a>(&mut self, at: u64, packets: impl Iterator<Item = &'a [u8]>) -> String {
        packets.map(|bytes| self.came_out(bytes, at)).collect::<Vec<_>>().join(" ")
    }

    /// What was sent since the last call, in order: `index N`, packet numbers by themselves, or behind the letter of
    /// their kind in brackets.
    fn sent(&mut self) -> Vec<String> {
        self.departed().into_iter().map(|(at, sent)| self.describe(at, &sent)).collect()
    }

    fn describe(&mut self, at: u64, sent: &Sent) -> String {
        let packet = match sent {
            Sent::Lone(packet) => return self.came_out(packet.bytes(), at),
            Sent::Pooled { packet, .. } => packet.bytes(),
        };
        assert!(packet.len() <= 1500, "the path MTU");
        let payload = &super::reader::datagram(packet)[8..];
        let header = PoolHeader::parse(payload).expect("a pool header");
        assert!(
            self.newest.is_none_or(|newest| header.sequence == newest.wrapping_add(1)),
            "numbers follow each other"
        );
        self.newest = Some(header.sequence);
        match header.kind {
            Kind::Pooled => {
                let pooled = PooledPacket::parse(payload).expect("a sound pooled packet");
                format!("[{}]", self.list(at, pooled.rows().map(|(_, bytes)| bytes)))
            }
            Kind::Index => {
                let index = IndexPacket::parse(payload).expect("a sound index");
                assert_eq!(packet[1] & 3, 0, "congestion that an index meets would be nobody's");
                for block in index.blocks() {
                    self.indexes.insert(block.sequence, block.rows.to_vec());
                }
                format!("index {}", index.blocks().count())
            }
            Kind::DataOnly => {
                let rows = self.indexes.remove(&header.sequence).expect("its index was in front of it");
                let data = DataOnly::parse(payload).expect("sound data");
                let joined = data.join(&rows).expect("its own rows");
                assert!(joined.rows().all(|(row, _)| row.ttl == distance(1)));
                format!("D[{}]", self.list(at, joined.rows().map(|(_, bytes)| bytes)))
            }
            Kind::Predetermined => {
                let templates: Templates = [template()].into_iter().collect();
                let records = Predetermined::parse(payload, &templates).expect("records of the template");
                format!("P[{}]", self.list(at, records.packets()))
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_index_leaves_in_front_of_its_packet_and_both_are_sound() {
    let mut bench = Bench::new();
    let rule = out_of_band(100, 255);
    for length in [60, 101, 200] {
        bench.stage(VOICE, length, 0, &rule, 0);
    }
    assert_eq!(bench.sent(), [""; 0]);
    bench.flush_due(100);
    assert_eq!(bench.sent(), ["index 1", "D[1 2 3]"]);
    let counters = bench.pooler.counters();
    assert_eq!((counters.indexes, counters.pooled_packets, counters.created), (1, 1, 1));
    assert_eq!(counters.bytes_out, u64::from(36 + 6 + 18 + 36 + 361u16));
    assert_eq!(bench.pooler.held(), 0);
}

#[test]
fn pools_that_leave_together_share_an_index_packet() {
    let mut bench = Bench::new();
    let rule = out_of_band(100, 255);
    for rule_index in 0..3 {
        bench.stage(Flow { port: 5000 + rule_index, ..VOICE }, 60, rule_index, &rule, 0);
        bench.stage(Flow { port: 5000 + rule_index, ..VOICE }, 60, rule_index, &rule, 0);
    }
    bench.flush_due(100);
    assert_eq!(bench.sent(), ["index 3", "D[1 2]", "D[3 4]", "D[5 6]"]);
}

#[test]
fn classes_have_index_packets_of_their_own_class() {
    let mut bench = Bench::new();
    let rule = out_of_band(100, 255);
    bench.stage(VOICE, 60, 0, &rule, 0);
    bench.stage(Flow { tos: 2, ..OTHER }, 60, 0, &rule, 0);
    bench.flush_due(100);
    let tos: Vec<u8> = bench
        .departed()
        .iter()
        .map(|(_, sent)| match sent {
            Sent::Pooled { packet, .. } | Sent::Lone(packet) => packet.bytes()[1],
        })
        .collect();
    let of = |class: u8| tos.iter().filter(|tos| *tos >> 2 == class).count();
    assert_eq!((of(46), of(0), tos.len()), (2, 2, 4));
}

#[test]
fn classes_leave_in_the_order_of_their_numbers() {
    let mut bench = Bench::new();
    let rule = out_of_band(100, 255);
    bench.stage(VOICE, 60, 0, &rule, 0);
    bench.stage(Flow { tos: 2, ..OTHER }, 60, 0, &rule, 0);
    bench.flush_due(100);
    // Numbers follow each other, or the bench would say so.
    assert_eq!(bench.sent(), ["index 1", "D[1]", "index 1", "D[2]"]);
}

#[test]
fn a_packet_alone_travels_in_a_pooled_packet_all_the_same() {
    let mut bench = Bench::new();
    bench.stage(VOICE, 60, 0, &out_of_band(100, 255), 0);
    bench.flush_due(100);
    assert_eq!(bench.sent(), ["index 1", "D[1]"]);
    assert_eq!((bench.pooler.counters().created, bench.pooler.counters().absorbed), (1, 1));
}

#[test]
fn what_was_flushed_leaves_before_a_packet_that_would_overtake_it() {
    let mut bench = Bench::new();
    let rule = out_of_band(100, 2);
    bench.stage(VOICE, 60, 0, &rule, 0);
    bench.stage(VOICE, 60, 0, &rule, 0);
    assert_eq!((bench.sent(), bench.pooler.held()), (vec![], 2), "it waits for more indexes of this round");
    assert!(!bench.pooler.is_empty(), "the worker has to say what passes by");
    let flow = fields(&packet(VOICE, 9, 60)).flow;
    bench.pooler.pass(flow, Tick(0), &mut bench.memory);
    assert_eq!((bench.sent(), bench.pooler.held()), (vec!["index 1".to_owned(), "D[1 2]".to_owned()], 0));
    bench.stage(VOICE, 60, 0, &rule, 0);
    assert_eq!(bench.stage(VOICE, 1480, 0, &rule, 0), Staged::PassedOn(Unstaged::CannotShare));
    assert_eq!(bench.sent(), ["index 1", "D[3]", "4"]);
    bench.stage(VOICE, 60, 0, &rule, 0);
    bench.stage(VOICE, 60, 0, &rule, 0);
    bench.stage(VOICE, 60, 1, &super::rule(100, 2), 0);
    bench.stage(VOICE, 60, 1, &super::rule(100, 2), 0);
    assert_eq!(bench.sent(), ["index 1", "D[5 6]", "[7 8]"]);
}

#[test]
fn an_index_packet_is_no_longer_than_the_path_takes() {
    let mut bench = Bench::new();
    let rule = out_of_band(100, 255);
    (0..73 * 5).for_each(|_| assert_eq!(bench.stage(VOICE, 20, 0, &rule, 0), Staged::Taken));
    bench.flush_due(100);
    let sent = bench.sent();
    let kinds: Vec<&str> = sent.iter().map(|sent| &sent[..1]).collect();
    assert_eq!(kinds.concat(), "iDDDiDD", "three indexes of 444 bytes in a packet: {sent:?}");
}

#[test]
fn a_peer_that_takes_no_such_index_gets_it_in_band() {
    let mut bench = Bench::new();
    bench.peer.capabilities = Capabilities::WHOLE_IPV4;
    for rule in [out_of_band(100, 2), predetermined(100, 2)] {
        bench.stage(VOICE, 60, 0, &rule, 0);
        bench.stage(VOICE, 200, 0, &rule, 0);
    }
    assert_eq!(bench.sent(), ["[1 2]", "[3 4]"]);
}

#[test]
fn without_memory_for_an_index_its_packet_is_given_up_and_counted() {
    let mut bench = Bench::new();
    let rule = out_of_band(100, 255);
    bench.stage(VOICE, 60, 0, &rule, 0);
    bench.stage(VOICE, 60, 0, &rule, 0);
    bench.memory.left = 0;
    bench.flush_due(100);
    assert_eq!((bench.sent(), bench.pooler.counters().broken, bench.pooler.held()), (vec![], 1, 0));
}

#[test]
fn packets_of_the_lengths_that_come_next_share_and_another_one_travels_by_itself() {
    let mut bench = Bench::new();
    let rule = predetermined(100, 255);
    for length in [60, 200, 60] {
        bench.stage(VOICE, length, 0, &rule, 0);
    }
    assert_eq!(bench.stage(VOICE, 100, 0, &rule, 0), Staged::PassedOn(Unstaged::CannotShare));
    assert_eq!(bench.sent(), ["P[1 2 3]", "4"]);
    for length in [60, 60, 200] {
        bench.stage(VOICE, length, 0, &rule, 0);
    }
    assert_eq!(bench.sent(), ["5"], "the template begins anew with a packet that it can begin with");
    bench.flush_due(100);
    assert_eq!(bench.sent(), ["P[6 7]"]);
    assert_eq!(bench.pooler.counters().flushed_for(FlushReason::Order).pooled, 1);
}

#[test]
fn a_predetermined_pool_is_full_when_the_next_length_does_not_fit() {
    let mut bench = Bench::new();
    let rule = predetermined(100, 255);
    let lengths = [60, 200].into_iter().cycle();
    lengths.take(11).for_each(|length| assert_eq!(bench.stage(VOICE, length, 0, &rule, 0), Staged::Taken));
    assert_eq!(bench.sent(), ["P[1 2 3 4 5 6 7 8 9 10 11]"], "36 bytes and 1360: no room for 200");
}

proptest! {
    /// Under rules of all three kinds, in any mixture: every packet comes out as it went in and before its window ends,
    /// each flow's in order, every index in front of its packet, and nothing is left over.
    #[test]
    fn flows_stay_in_order_whatever_carries_them(
        steps in prop::collection::vec((0u8..3, 0u8..4, prop_oneof![Just(60u16), Just(200), 28u16..700, 1300u16..1500], 0u64..60), 1..120),
    ) {
        let rules = [out_of_band(100, 4), predetermined(100, 5), super::rule(100, 3), out_of_band(200, 255)];
        let mut bench = Bench::new();
        let (mut now, mut flow_of, mut out) = (0, HashMap::new(), Vec::new());
        for (flow, rule, length, pause) in steps {
            now += pause;
            bench.flush_due(now);
            let flow_number = flow;
            let flow = Flow { source: flow, destination: flow, ..VOICE };
            bench.stage(flow, length, rule.into(), &rules[usize::from(rule)], now);
            flow_of.insert(bench.next_number.to_string(), flow_number);
            out.extend(bench.sent());
        }
        bench.flush_due(now + 1000);
        out.extend(bench.sent());
        prop_assert_eq!((bench.pooler.held(), bench.indexes.len(), bench.waiting.len()), (0, 0, 0));
        let indexes = out.iter().filter(|sent| sent.starts_with("index")).count();
        prop_assert_eq!(bench.pooler.counters().indexes, indexes as u64);
        let numbers: Vec<&str> = out
            .iter()
            .filter(|sent| !sent.starts_with("index"))
            .flat_map(|sent| sent.trim_start_matches(['D', 'P', '[']).trim_end_matches(']').split(' '))
            .collect();
        prop_assert_eq!(numbers.len(), flow_of.len());
        for flow in 0..3u8 {
            let of_flow = numbers.iter().filter(|number| flow_of[**number] == flow);
            let of_flow: Vec<u16> = of_flow.map(|number| number.parse().expect("a number")).collect();
            prop_assert!(of_flow.is_sorted(), "{:?} in {:?}", of_flow, out);
        }
    }
}
