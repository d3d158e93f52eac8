//! Whatever happens to the packet pooler, what comes out is what went in: every byte, in order per flow, in time, within
//! the path MTU, and with every buffer accounted for.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use proptest::prelude::*;

use super::memory::{Memory, Sent, TestBuffer};
use super::*;
use crate::arch::Tick;
use crate::packet::Buffer;
use crate::pool::{FlushReason, Lone, PacketPooler, PoolerCounters, PoolerLimits, Staged};

const PEERS: u8 = 4;

/// MTUs: the usual, one that holds few, one that holds two of the shortest, and one that holds nothing.
fn peers() -> [PeerPath; PEERS as usize] {
    let without_checksum = PeerPath { checksum: false, ..peer(1, 600) };
    [peer(0, 1500), without_checksum, peer(2, 88), peer(3, 60)]
}

fn rules() -> [Rule; 9] {
    let held = Rule { required_count: 4, hold: TickSpan(1000), ..rule(300, 255) };
    [
        rule(1000, 255),
        rule(300, 3),
        rule(0, 10),
        rule(1000, 2),
        Rule { required_count: 2, hold: TickSpan(700), ..rule(0, 5) },
        Rule { lone: Lone::Pooled, ..rule(300, 10) },
        Rule { adaptive: true, ..rule(300, 255) },
        Rule { path_mtu: Some(300), lone: Lone::Pooled, adaptive: true, ..held.clone() },
        held,
    ]
}

/// How long a packet may wait under a rule.
fn bound(rule: &Rule) -> u64 {
    if rule.required_count > 1 { rule.hold.0 } else { rule.window.0 }
}

#[derive(Clone, Debug)]
enum Step {
    /// A stream packet.
    Stage {
        flow: u8,
        tos: u8,
        length: u16,
        peer: u8,
        rule: u8,
    },
    /// A packet of a flow that is forwarded as it is.
    Forward {
        flow: u8,
    },
    /// A fragment of a flow.
    Fragment {
        flow: u8,
    },
    Wait(u64),
    FlushAll,
    /// The buffers that are left for pooled packets.
    Memory(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![6 => 20u16..120, 3 => 120u16..400, 1 => 400u16..1501];
    let tos = prop_oneof![6 => Just(46 << 2), 1 => Just(0), 1 => Just(46 << 2 | 1), 1 => Just(46 << 2 | 3)];
    let peer = prop_oneof![6 => Just(0u8), 2 => Just(1), 1 => 2..PEERS + 1];
    let rule = prop_oneof![6 => Just(0u8), 2 => Just(1), 3 => 2u8..9];
    prop_oneof![
        40 => (0u8..12, tos, length, peer, rule)
            .prop_map(|(flow, tos, length, peer, rule)| Step::Stage { flow, tos, length, peer, rule }),
        3 => (0u8..12).prop_map(|flow| Step::Forward { flow }),
        2 => (0u8..12).prop_map(|flow| Step::Fragment { flow }),
        6 => (0u64..700).prop_map(Step::Wait),
        1 => Just(Step::FlushAll),
        1 => prop_oneof![0usize..3, Just(usize::MAX)].prop_map(Step::Memory),
    ]
}

/// Small tables crowd, so that what is displaced and refused matters.
fn any_limits() -> impl Strategy<Value = PoolerLimits> {
    let pools = prop_oneof![1u16..5, Just(64)];
    let flows = prop_oneof![Just(1usize), Just(256)];
    let buffer_room = prop_oneof![2 => Just(2144u16), 1 => 100u16..1600];
    (pools, flows, buffer_room).prop_map(|(pools, flows, buffer_room)| PoolerLimits {
        worker: 1,
        pools,
        flows,
        peers: u16::from(PEERS),
        buckets: 1,
        link_headroom: 18,
        buffer_room,
        ..PoolerLimits::default()
    })
}

/// A packet that is in the pooler, by the order of its arrival.
struct Waiting {
    bytes: Vec<u8>,
    arrived: u64,
    rule: usize,
}

/// The pooler, and what must be true of it.
struct Model {
    pooler: PacketPooler<TestBuffer>,
    memory: Memory,
    now: u64,
    arrivals: u16,
    waiting: BTreeMap<u16, Waiting>,
    sequences: HashMap<(IpAddr, u16, IpAddr), u32>,
    lone: u64,
    pooled: u64,
    rows: u64,
    staged: u64,
    passed_on: u64,
}

fn flow(number: u8, tos: u8) -> Flow {
    Flow { source: number % 2, destination: number / 2 % 2, port: u16::from(number), tos }
}

impl Model {
    fn new(limits: PoolerLimits, buffer_size: usize) -> Model {
        Model {
            pooler: PacketPooler::new(limits),
            memory: Memory::new(buffer_size),
            now: 0,
            arrivals: 0,
            waiting: BTreeMap::new(),
            sequences: HashMap::new(),
            lone: 0,
            pooled: 0,
            rows: 0,
            staged: 0,
            passed_on: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Stage { flow: number, tos, length, peer, rule } => {
                self.stage(flow(number, tos), length, peer, usize::from(rule))
            }
            Step::Forward { flow: number } => {
                let bytes = packet(flow(number, 0), self.arrive(), 1200);
                self.pooler.pass(fields(&bytes).flow, Tick(self.now), &mut self.memory);
                self.check_sent();
                self.nothing_is_overtaken_by(&bytes, |waiting| fields(waiting).flow == fields(&bytes).flow);
            }
            Step::Fragment { flow: number } => {
                let bytes = fragment(flow(number, 0), self.arrive(), 1200);
                self.pooler.pass_fragment(fields(&bytes).pair, Tick(self.now), &mut self.memory);
                self.check_sent();
                self.nothing_is_overtaken_by(&bytes, |waiting| waiting[12..20] == bytes[12..20]);
            }
            Step::Wait(span) => self.wait(span),
            Step::FlushAll => self.flush_all(FlushReason::Reconfigured),
            Step::Memory(left) => self.memory.left = left,
        }
        self.check_sent();
        self.check_accounts();
    }

    fn stage(&mut self, flow: Flow, length: u16, number: u8, rule_index: usize) {
        let (peers, rules) = (peers(), rules());
        let rule = &rules[rule_index];
        let arrival = self.arrive();
        let bytes = packet(flow, arrival, length);
        self.waiting.insert(arrival, Waiting { bytes: bytes.clone(), arrived: self.now, rule: rule_index });
        let peer = &peers[usize::from(number.min(PEERS - 1))];
        let buffer = self.memory.receive(&bytes);
        let ride = ride(&fields(&bytes), number, peer, rule_index as u16, rule);
        match stage(&mut self.pooler, buffer, &ride, Tick(self.now), &mut self.memory) {
            Staged::Taken => self.staged += 1,
            Staged::PassedOn(_) => {
                self.passed_on += 1;
                self.check_sent();
                assert!(!self.waiting.contains_key(&arrival), "said to be passed on, and was not");
            }
        }
    }

    /// Lets time pass as a worker does that wakes at every deadline.
    fn wait(&mut self, span: u64) {
        let end = self.now + span;
        while let Some(Tick(deadline)) = self.pooler.next_deadline().filter(|deadline| deadline.0 <= end) {
            self.now = self.now.max(deadline);
            self.pooler.flush_due(Tick(self.now), &mut self.memory);
            self.check_sent();
            assert!(self.pooler.next_deadline().is_none_or(|next| next.0 > self.now), "a due pool is still open");
        }
        self.now = end;
    }

    fn flush_all(&mut self, reason: FlushReason) {
        self.pooler.flush_all(reason, Tick(self.now), &mut self.memory);
        self.check_sent();
        assert!(self.pooler.is_empty() && self.waiting.is_empty());
    }

    fn arrive(&mut self) -> u16 {
        self.arrivals += 1;
        self.arrivals
    }

    fn nothing_is_overtaken_by(&self, bytes: &[u8], is_before: impl Fn(&[u8]) -> bool) {
        let overtaken = self.waiting.values().find(|waiting| is_before(&waiting.bytes));
        assert!(overtaken.is_none(), "{:02x?} overtakes", &bytes[..24]);
    }

    fn check_sent(&mut self) {
        for sent in self.memory.take_sent() {
            match sent {
                Sent::Lone(packet) => {
                    self.lone += 1;
                    self.left(packet.bytes());
                }
                Sent::Pooled { packet, peer, rows } => self.check_pooled(&packet, peer, rows),
            }
        }
    }

    fn check_pooled(&mut self, packet: &TestBuffer, peer: PeerIndex, rows: u8) {
        let path = peers()[peer.index()];
        assert!(packet.len() <= usize::from(path.mtu), "{} bytes exceed the path MTU {}", packet.len(), path.mtu);
        assert!(packet.headroom() >= 18, "no room for the link header");
        let pooled = reader::read(packet.bytes());
        assert_eq!(pooled.rows.len(), usize::from(rows));
        assert_eq!((pooled.source, pooled.destination), (path.source, path.addressee));
        assert_eq!((pooled.source_port, pooled.destination_port), (40001, 7665));
        assert_eq!(pooled.udp_checksum != 0, path.checksum);
        let flow = (pooled.source, pooled.source_port, pooled.destination);
        let sequence = self.sequences.entry(flow).or_default();
        assert_eq!(pooled.sequence, *sequence, "sequence number");
        *sequence += 1;
        let number = |bytes: &[u8]| u16::from_be_bytes([bytes[4], bytes[5]]);
        let first = self.waiting.get(&number(&pooled.rows[0].1)).expect("came out twice, or was never there").rule;
        let rule = &rules()[first];
        assert!(packet.len() <= usize::from(rule.path_mtu.unwrap_or(u16::MAX)), "{} bytes", packet.len());
        assert!(pooled.rows.len() <= usize::from(rule.max_count));
        assert!(pooled.rows.len() > 1 || rule.lone == Lone::Pooled, "a lone packet leaves as itself");
        for (ttl, bytes) in &pooled.rows {
            assert_eq!(self.waiting.get(&number(bytes)).map(|waiting| waiting.rule), Some(first), "one rule");
            assert_eq!(*ttl, distance(peer.0 as u8));
            assert_eq!(bytes[1] >> 2, pooled.tos >> 2, "class");
            assert_eq!(crate::packet::ecn::outside(bytes[1] & 3), pooled.tos & 3, "ECN");
            self.left(bytes);
        }
        self.pooled += 1;
        self.rows += u64::from(rows);
    }

    /// A packet has come out.
    fn left(&mut self, bytes: &[u8]) {
        let number = u16::from_be_bytes([bytes[4], bytes[5]]);
        let waited = self.waiting.remove(&number).expect("came out twice, or was never there");
        assert_eq!(bytes, waited.bytes, "bytes differ");
        assert!(
            self.now - waited.arrived <= bound(&rules()[waited.rule]),
            "waited {} ticks",
            self.now - waited.arrived
        );
        let flow = fields(bytes).flow;
        let earlier = self.waiting.range(..number).find(|(_, waiting)| fields(&waiting.bytes).flow == flow);
        assert!(earlier.is_none(), "packet {number} overtook {:?}", earlier.map(|(earlier, _)| earlier));
    }

    fn check_accounts(&self) {
        let held = self.pooler.held();
        let counters: &PoolerCounters = self.pooler.counters();
        assert_eq!(self.memory.outstanding, held, "buffers out, and held");
        assert_eq!(self.pooler.open_pools().count(), held);
        let waiting: usize = self.pooler.open_pools().map(|pool| usize::from(pool.rows)).sum();
        assert_eq!(waiting, self.waiting.len());
        assert_eq!(counters.staged, self.staged);
        assert_eq!(counters.unstaged.iter().sum::<u64>(), self.passed_on);
        assert_eq!(counters.lone() + self.passed_on, self.lone);
        assert_eq!((counters.pooled_packets, counters.rows), (self.pooled, self.rows));
        assert_eq!(counters.flushed.iter().map(|flushed| flushed.pooled).sum::<u64>(), self.pooled);
        assert_eq!(counters.rows_histogram.iter().sum::<u64>(), self.pooled);
        assert_eq!(counters.delay_histogram.iter().sum::<u64>(), self.pooled + counters.lone());
        assert_eq!(counters.broken, 0);
        assert_eq!(
            counters.staged + counters.created,
            counters.lone() + counters.pooled_packets + held as u64 + counters.absorbed,
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_out_is_what_went_in(
        limits in any_limits(),
        steps in proptest::collection::vec(any_step(), 0..250),
        missing in prop_oneof![3 => Just(0usize), 1 => 0usize..1200],
    ) {
        // Buffers can turn out smaller than the pooler was told: it then pools less, and loses nothing.
        let promised = usize::from(limits.link_headroom) + usize::from(limits.buffer_room);
        let mut model = Model::new(limits, promised.saturating_sub(missing));
        for step in steps {
            model.step(step);
        }
        model.flush_all(FlushReason::Shutdown);
        model.check_accounts();
        prop_assert_eq!(model.memory.outstanding, 0);
    }
}
