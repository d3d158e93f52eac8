//! Whatever several workers are sent, what leaves is what came: unchanged, in order per flow, in time; and the same on
//! threads of their own, which sleep.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::lab::*;
use super::team::*;
use crate::arch::{TickRate, TickSpan};
use crate::dpdk::WireEnd;
use crate::pool::path::SharedHops;
use crate::pool::{Dscp, Lone, Match, Rule, RuleSet};
use crate::worker::{Counter, Idle, Worker, WorkerOptions};

fn millis(count: u64) -> TickSpan {
    TickRate::NANOSECONDS.ticks(Duration::from_millis(count))
}

/// Rules that an operator could have, the last of which is for everything.
fn any_rules() -> impl Strategy<Value = Vec<Rule>> {
    let named = |name: &str, matcher| Rule { max_size: 300, window: millis(5), ..Rule::new(name, matcher) };
    let choices = vec![
        Rule { window: millis(1), ..named("ef", Match { dscp: Dscp::new(46), ..Match::default() }) },
        Rule {
            pool: false,
            ..named("never", Match { destination_ports: Some(10..=10), protocol: Some(17), ..Match::default() })
        },
        Rule { pool: false, ..named("never class", Match { dscp: Dscp::new(10), ..Match::default() }) },
        Rule {
            shared_hops: SharedHops::AtLeast(1),
            ..named("near", Match { destination_ports: Some(9..=9), protocol: Some(17), ..Match::default() })
        },
        Rule { lone: Lone::Pooled, max_count: 3, ..named("pooled", Match { protocol: Some(17), ..Match::default() }) },
        Rule {
            required_count: 4,
            hold: millis(9),
            ..named("held", Match { destination: "203.0.121.0/24".parse().ok(), ..Match::default() })
        },
        Rule {
            adaptive: true,
            ..named("adaptive", Match { destination: "203.0.122.0/24".parse().ok(), ..Match::default() })
        },
        named("all", Match::default()),
    ];
    let all = choices.len();
    proptest::sample::subsequence(choices, 1..=all)
}

#[derive(Clone, Debug)]
enum Step {
    Send {
        flow: u16,
        path: u8,
        tos: u8,
        length: usize,
    },
    Fragment {
        path: u8,
    },
    Turn,
    /// Microseconds in which nobody iterates.
    Wait(u64),
    /// Rules, peers or routes are published anew.
    Reconfigure,
}

fn any_step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![8 => 40usize..120, 2 => 120usize..400, 1 => 400usize..1400];
    let tos = prop_oneof![4 => Just(46u8 << 2), 2 => Just(0), 1 => Just(10 << 2), 1 => Just(46 << 2 | 2)];
    prop_oneof![
        30 => (0u16..24, 0u8..4, tos, length)
            .prop_map(|(flow, path, tos, length)| Step::Send { flow, path, tos, length }),
        1 => (0u8..4).prop_map(|path| Step::Fragment { path }),
        8 => Just(Step::Turn),
        4 => (0u64..3000).prop_map(Step::Wait),
        1 => Just(Step::Reconfigure),
    ]
}

/// The addresses and ports of a packet: its flow.
fn flow_of(bytes: &[u8]) -> [u8; 12] {
    bytes[12..24].try_into().expect("a packet with ports")
}

/// What is to come out.
#[derive(Default)]
struct Expected {
    /// By flow, in order: the packet as it leaves, and when it came.
    packets: HashMap<[u8; 12], std::collections::VecDeque<(Vec<u8>, u64)>>,
    fragments: Vec<Vec<u8>>,
    /// By which queue a flow leaves, and with which source port in a pool.
    ways: HashMap<[u8; 12], usize>,
    ports: HashMap<[u8; 12], u16>,
}

impl Expected {
    fn check(&mut self, left: &[Vec<Vec<u8>>], now: u64, longest: u64) {
        for (queue, left) in left.iter().enumerate() {
            for left in taken_apart(left) {
                if left.bytes[6] & 0x20 != 0 {
                    let at = self.fragments.iter().position(|fragment| *fragment == left.bytes);
                    self.fragments.remove(at.expect("a fragment that nobody sent"));
                    continue;
                }
                let flow = flow_of(&left.bytes);
                let waiting = self.packets.get_mut(&flow).and_then(std::collections::VecDeque::pop_front);
                let (bytes, came) = waiting.expect("a packet that nobody sent, or twice");
                assert_eq!(left.bytes, bytes, "changed, or out of order in its flow");
                assert!(now - came <= longest, "waited {} ns", now - came);
                assert_eq!(*self.ways.entry(flow).or_insert(queue), queue, "a flow takes one way");
                if let Some(port) = left.source_port {
                    assert_eq!(*self.ports.entry(flow).or_insert(port), port, "a flow has one source port");
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.fragments.is_empty() && self.packets.values().all(|waiting| waiting.is_empty())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_several_workers_send_is_what_they_got(
        workers in 1u16..5,
        buckets in 1u8..5,
        owner: bool,
        rules in any_rules(),
        steps in prop::collection::vec(any_step(), 0..250),
    ) {
        let pool_on = if owner { PoolOn::Owner } else { PoolOn::Local };
        let mut team = Team::new(workers, pool_on, WorkerOptions { buckets, ..options() });
        let longest = rules.iter().map(|rule| if rule.required_count > 1 { rule.hold } else { rule.window }).max();
        // Handed over in one turn, taken over in the next at the latest, and then a window until the turn that sees its end.
        let turn = u64::from(workers) * 1000;
        // Between two looks at the clock nobody iterates for up to 250 microseconds, and then everybody until nobody has
        // anything to do: what left in the first of those turns is looked at after the last.
        let longest = longest.map_or(0, |longest| longest.0) + 8 * turn + 250_000;
        team.rest.change(|state| (state.rules, state.pools) = (Arc::new(RuleSet::new(rules).expect("sound")), state.pools + 1));
        let mut expected = Expected::default();
        let mut number = 0u16;
        for step in steps.into_iter().chain([Step::Wait(9000)]) {
            match step {
                Step::Send { flow, path, tos, length } => {
                    number += 1;
                    let mut header = header(WEST_HOST, behind(path, 7), 17, length - 20);
                    (header.dscp_ecn, header.id) = (tos, number);
                    let mut payload = vec![number as u8; length - 20];
                    payload[..4].copy_from_slice(&[0x20, flow as u8, 0, 8 + (flow % 3) as u8]);
                    let bytes = packet(header, &payload);
                    team.rest.west_sends(&bytes);
                    let out = (after_hops(&bytes, 1), team.now.0);
                    expected.packets.entry(flow_of(&bytes)).or_default().push_back(out);
                }
                Step::Fragment { path } => {
                    number += 1;
                    let mut header = header(WEST_HOST, behind(path, 7), 17, 64);
                    (header.more_fragments, header.id) = (true, number);
                    team.rest.west_sends(&packet(header, &[number as u8; 64]));
                    header.ttl -= 1;
                    expected.fragments.push(packet(header, &[number as u8; 64]));
                }
                Step::Turn => drop(team.turn()),
                Step::Wait(micros) => {
                    // As long as somebody has something to do they do not wait.
                    team.run();
                    for _ in 0..micros / 250 {
                        team.wait(Duration::from_micros(250));
                        team.run();
                        expected.check(&team.rest.east_gets(), team.now.0, longest);
                    }
                }
                Step::Reconfigure => team.rest.change(|state| state.pools += 1),
            }
            expected.check(&team.rest.east_gets(), team.now.0, longest);
        }
        let now = team.now.0;
        let (total, left) = team.end();
        expected.check(&left, now, longest);
        prop_assert!(expected.is_empty(), "packets were lost");
        prop_assert_eq!(total.drops_total(), 0);
        prop_assert_eq!(total.get(Counter::AbsorbedHandedOver), total.get(Counter::CreatedTakenOver));
        prop_assert!(owner || total.get(Counter::AbsorbedHandedOver) == 0);
    }
}

/// Two workers on threads of their own; each sends the counters of its end.
#[test]
fn sleeping_workers_wake_each_other_and_stop_together() {
    const PACKETS: u16 = 400;
    let options = WorkerOptions { idle: Idle::Adaptive, rate: TickRate::measure(), ..options() };
    let (parts, mut rest) = parts(2, PoolOn::Owner, options);
    rest.change(|state| {
        let window = options.rate.ticks(Duration::from_micros(200));
        let rules = vec![Rule { window, ..rule() }];
        (state.rules, state.pools) = (Arc::new(RuleSet::new(rules).expect("sound")), state.pools + 1);
    });
    let threads: Vec<_> = parts
        .into_iter()
        .map(|(parts, waiter)| std::thread::spawn(move || Worker::<WireEnd>::run(parts.worker(), waiter)))
        .collect();
    let mut sent: HashMap<[u8; 12], Vec<Vec<u8>>> = HashMap::new();
    let mut came: HashMap<[u8; 12], Vec<Vec<u8>>> = HashMap::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    let slept = |rest: &Rest| -> Vec<u64> {
        rest.queues.iter().map(|queue| queue.shared.counters.load().get(Counter::Parked)).collect()
    };
    let mut count = 0;
    for number in 0..PACKETS {
        let before = slept(&rest);
        let packet = udp_with(WEST_HOST, behind((number % 4) as u8, 7), (5000 + number % 40, 9), &number.to_be_bytes());
        let queue = rest.west_sends(&packet);
        // Wires wake nobody.
        rest.queues[queue].wake.wake();
        sent.entry(flow_of(&packet)).or_default().push(after_hops(&packet, 1));
        // It came alone, and the next one comes when whoever had to do with it sleeps again.
        while count <= usize::from(number) || slept(&rest)[queue] == before[queue] {
            assert!(Instant::now() < deadline, "packet {number} is slept over: {count} came");
            let left = taken_apart(&rest.east_gets().concat());
            count += left.len();
            left.into_iter().for_each(|left| came.entry(flow_of(&left.bytes)).or_default().push(left.bytes));
        }
    }
    for queue in &rest.queues {
        queue.shared.request_stop();
        queue.wake.wake();
    }
    let counters: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("a worker does not fail")).collect();
    let left = taken_apart(&rest.east_gets().concat());
    left.into_iter().for_each(|left| came.entry(flow_of(&left.bytes)).or_default().push(left.bytes));
    assert_eq!(came, sent, "all packets, in order per flow");
    let sum = |counter| counters.iter().map(|one| one.get(counter)).sum::<u64>();
    assert_eq!(sum(Counter::AbsorbedHandedOver), sum(Counter::CreatedTakenOver));
    assert!(sum(Counter::AbsorbedHandedOver) > 100, "{}", sum(Counter::AbsorbedHandedOver));
    assert!(counters.iter().all(|one| one.imbalance() == 0 && one.drops_total() == 0 && one.get(Counter::Parked) > 0));
    rest.end();
}
