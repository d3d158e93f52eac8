//! Packets that board together: what comes out is what comes out of those that are staged one by one.

use proptest::prelude::*;

use super::memory::{Memory, Sent, TestBuffer};
use super::*;
use crate::packet::Buffer;
use crate::pool::path::SharedHops;
use crate::pool::{FlushReason, PoolerLimits};

/// What lies in front of those that board together.
pub(super) const FRONT: usize = 14;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Packets of these flows and lengths come at one time, each to the peer of this number.
    Burst(Vec<(u8, u16, u8)>),
    /// So much time passes.
    Wait(u64),
    /// A packet of this flow is forwarded.
    Pass(u8),
    /// All pools leave.
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let length = || prop_oneof![4 => Just(60u16), 2 => 20u16..120, 1 => 200u16..700];
    let to_one = (1u8..3).prop_flat_map(move |peer| prop::collection::vec((0u8..6, length(), Just(peer)), 1..20));
    let to_several = prop::collection::vec((0u8..6, length(), 1u8..4), 1..32);
    prop_oneof![
        6 => to_one.prop_map(Step::Burst),
        6 => to_several.prop_map(Step::Burst),
        2 => (1u64..400).prop_map(Step::Wait),
        1 => (0u8..6).prop_map(Step::Pass),
        1 => Just(Step::Flush),
    ]
}

fn some_rule() -> impl Strategy<Value = Rule> {
    (prop_oneof![Just(255u8), 2u8..8], 1u8..4, any::<bool>(), any::<bool>()).prop_map(
        |(max_count, required, adaptive, by_shared_hops)| {
            let shared_hops = if by_shared_hops { SharedHops::AtLeast(1) } else { SharedHops::WholePath };
            let rule = rule(100, max_count);
            Rule { required_count: required.min(max_count), hold: TickSpan(300), adaptive, shared_hops, ..rule }
        },
    )
}

pub(super) fn flow(number: u8) -> Flow {
    // Two flows of a pair, and a flow of another class.
    Flow {
        source: number / 2,
        destination: 1,
        port: u16::from(number % 2) + 7,
        tos: if number == 5 { 0 } else { 0xb8 },
    }
}

/// How packets are given to a pooler.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// One by one.
    Stage,
    /// Those together that come one after the other and ask the same.
    Runs,
    /// All together.
    Crowds,
}

/// A pooler, and how it is given packets.
pub(super) struct Side {
    pub(super) pooler: PacketPooler<TestBuffer>,
    pub(super) memory: Memory,
    by: By,
    now: Tick,
    number: u16,
    /// Packets that did not board.
    pub(super) staged: usize,
}

impl Side {
    pub(super) fn new(by: By) -> Side {
        Side::with(by, PoolerLimits { pools: 16, flows: 4096, peers: 4, ..PoolerLimits::default() })
    }

    pub(super) fn with(by: By, limits: PoolerLimits) -> Side {
        let (pooler, memory) = (PacketPooler::new(limits), Memory::new(2048));
        Side { pooler, memory, by, now: Tick(0), number: 0, staged: 0 }
    }

    pub(super) fn take(&mut self, step: &Step, rule: &Rule) {
        match step {
            Step::Burst(burst) => {
                let peers = [0, 1, 2, 3].map(|number| peer(number, 1000));
                let packets: Vec<Vec<u8>> = burst
                    .iter()
                    .map(|(of, length, _)| {
                        self.number += 1;
                        packet(flow(*of), self.number, *length)
                    })
                    .collect();
                let numbers = burst.iter().map(|(.., number)| *number);
                let rides: Vec<Ride<'_>> = packets
                    .iter()
                    .zip(numbers)
                    .map(|(packet, number)| ride(&fields(packet), number, &peers[usize::from(number)], 0, rule))
                    .collect();
                if self.by == By::Stage { self.stage(&packets, &rides) } else { self.board(&packets, &rides) }
            }
            Step::Wait(time) => {
                self.now = self.now + TickSpan(*time);
                self.pooler.flush_due(self.now, &mut self.memory);
            }
            Step::Pass(number) => {
                let fields = fields(&packet(flow(*number), 0, 60));
                assert!(self.pooler.may_overtake(fields.flow) || self.sent_by_passing(fields.flow) == 0);
                self.pooler.pass(fields.flow, self.now, &mut self.memory);
            }
            Step::Flush => self.pooler.flush_all(FlushReason::Reconfigured, self.now, &mut self.memory),
        }
    }

    /// How many packets leave when one of this flow is forwarded.
    fn sent_by_passing(&mut self, flow: u32) -> usize {
        let before = self.memory.sent();
        self.pooler.pass(flow, self.now, &mut self.memory);
        self.memory.sent() - before
    }

    fn stage(&mut self, packets: &[Vec<u8>], rides: &[Ride<'_>]) {
        for (packet, ride) in packets.iter().zip(rides) {
            let packet = self.memory.receive(packet);
            self.pooler.stage(packet, &Ride { question: None, ..*ride }, self.now, &mut self.memory);
        }
    }

    pub(super) fn board(&mut self, packets: &[Vec<u8>], rides: &[Ride<'_>]) {
        let receive = |packet: &Vec<u8>| {
            let mut packet = self.memory.receive(packet);
            increment_ttl(packet.bytes_mut());
            packet.prepend(FRONT).expect("there is headroom").fill(0xff);
            packet
        };
        let buffers: Vec<TestBuffer> = packets.iter().map(receive).collect();
        let mut buffers = buffers.into_iter().zip(0usize..);
        self.pooler.bring_closer(rides.iter().filter_map(|ride| Some((ride.question?, (ride.flow, ride.pair)))));
        let mut at = 0;
        while let Some(ride) = rides.get(at) {
            let question = ride.question.expect("each asks something");
            let is_asked = |other: &&Ride<'_>| self.by == By::Crowds || other.question == ride.question;
            let asking = rides[at..].iter().take_while(is_asked);
            let (hashes, questions): (Vec<(u32, u32)>, Vec<u64>) =
                asking.map(|ride| ((ride.flow, ride.pair), ride.question.map_or(u64::MAX, Question::word))).unzip();
            let (now, memory) = (self.now, &mut self.memory);
            let (aboard, left) = if self.by == By::Crowds {
                let crowd = Crowd { questions: &questions, hashes: &hashes };
                self.pooler.board_crowd::<FRONT, _, _>(&mut buffers, &crowd, now, memory)
            } else {
                let queue = Queue { question, hashes: &hashes };
                self.pooler.board_plain::<FRONT, _, _>(&mut buffers, &queue, now, memory)
            };
            at += aboard;
            match left {
                Some((mut buffer, number)) => {
                    assert_eq!(number, at, "taken out of turn");
                    buffer.bytes_mut().copy_from_slice(&packets[at]);
                    self.staged += 1;
                    self.pooler.stage(buffer, &rides[at], self.now, &mut self.memory);
                    at += 1;
                }
                None => assert_eq!(aboard, hashes.len(), "left, and not given back"),
            }
        }
        assert!(buffers.next().is_none());
    }

    pub(super) fn sent(&mut self) -> Vec<Vec<u8>> {
        let bytes = |sent: Sent| match sent {
            Sent::Lone(packet) | Sent::Pooled { packet, .. } => packet.bytes().to_vec(),
        };
        self.memory.take_sent().into_iter().map(bytes).collect()
    }
}

proptest! {
    #[test]
    fn those_that_board_together_leave_as_those_that_are_staged_one_by_one(
        rule in some_rule(), steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut alone = Side::new(By::Stage);
        let mut others = [By::Runs, By::Crowds].map(Side::new);
        for step in steps.iter().chain(&[Step::Flush]) {
            alone.take(step, &rule);
            let sent = alone.sent();
            for together in &mut others {
                together.take(step, &rule);
                prop_assert_eq!(&together.sent(), &sent);
                prop_assert_eq!(together.pooler.held(), alone.pooler.held());
                prop_assert_eq!(together.memory.outstanding, alone.memory.outstanding);
            }
        }
        for together in others {
            prop_assert_eq!(together.memory.outstanding, 0);
            prop_assert_eq!(together.pooler.counters(), alone.pooler.counters());
        }
    }
}

#[test]
fn what_pools_were_opened_by_is_forgotten_when_all_are_flushed() {
    let mut side = Side::new(By::Runs);
    let rule = rule(100, 3);
    let mut addressees = Vec::new();
    for number in [1, 99] {
        // The same question; what it is decided by has changed.
        let peer = PeerPath { addressee: Ipv4Addr::new(198, 51, 100, number).into(), ..peer(1, 1000) };
        for _ in 0..2 {
            let packets: Vec<Vec<u8>> = (0..3).map(|at| packet(flow(at), 1, 60)).collect();
            let rides: Vec<Ride<'_>> = packets.iter().map(|packet| ride(&fields(packet), 1, &peer, 0, &rule)).collect();
            side.board(&packets, &rides);
            let sent = side.sent();
            addressees.extend(sent.iter().map(|packet| packet[19]));
        }
        side.take(&Step::Flush, &rule);
    }
    assert_eq!(addressees, [1, 1, 99, 99]);
}
