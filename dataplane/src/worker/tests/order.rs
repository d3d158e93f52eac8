//! All kinds of packets at once, alone and in pooled packets: complete, in order, accounted for; and ports that take frames now and then.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::lab::*;
use super::lab6::*;
use super::pooling::addressee_of;
use super::two_routers::hops_later;
use crate::arch::TickRate;
use crate::packet::ipv4::Ipv4Header;
use crate::packet::ipv6::Ipv6Header;
use crate::packet::udp::UdpHeader;
use crate::pool::wire::{Row, RowType, header_and_rows_len, write_header_and_rows};
use crate::pool::{Match, Representation, Rule, RuleSet};
use crate::worker::Drop;

const UNPOOLED: Ipv4Addr = Ipv4Addr::new(203, 0, 114, 7);

/// Catches: a port that is given up because it once took nothing, though all that it was given since has left.
#[test]
fn a_port_that_went_on_is_not_given_up_for_what_was_long_ago() {
    let mut bench = Bench::new();
    // 10 more than the wire holds: once, the port takes nothing.
    for tag in 0..WIRE + 10 {
        bench.west_sends(&udp(WEST_HOST, UNPOOLED, (1, 2), 60, tag as u8));
        bench.run();
    }
    assert_eq!(bench.east_gets().len(), WIRE);
    // Pooled packets: what they hold leaves as soon as a burst of frames is queued, and nothing is left to be flushed.
    let inner: Vec<_> = (0..22u8).map(|tag| udp(PEER, UNPOOLED, (1, 2), 60, tag)).collect();
    bench.west_sends(&pooled(PEER, OWN_WEST, 0, 1, &inner));
    bench.run();
    assert_eq!((bench.east_gets().len(), bench.counters().drops_total()), (32, 0), "all have left");
    bench.wait(Duration::from_secs(10));
    // A burst of pooled packets that hold 24 more than the wire does.
    let inner: Vec<_> = (0..32u8).map(|tag| udp(PEER, UNPOOLED, (1, 2), 40, tag)).collect();
    for sequence in 2..34 {
        bench.west_sends(&pooled(PEER, OWN_WEST, 0, sequence, &inner));
    }
    bench.now = bench.now + TickRate::NANOSECONDS.ticks(Duration::from_micros(1));
    let now = bench.now;
    bench.worker.iterate(now);
    assert_eq!(bench.counters().imbalance(), 0);
    // 24 frames wait for no time at all, of the 100 ms that they may.
    assert_eq!(bench.counters().drops(Drop::TxFull), 0, "frames that have waited for 100 ms");
}

/// Catches: a port that is given up though it takes frames all the time, only none of them at the end of an iteration.
#[test]
fn a_port_that_takes_frames_is_not_given_up() {
    let mut bench = Bench::new();
    let inner: Vec<_> = (0..32u8).map(|tag| udp(PEER, UNPOOLED, (1, 2), 40, tag)).collect();
    let mut taken = 0;
    for round in 0..4u32 {
        // 24 more each time than the wire holds.
        for sequence in 0..32 {
            bench.west_sends(&pooled(PEER, OWN_WEST, 0, round * 32 + sequence, &inner));
        }
        bench.wait(Duration::from_millis(60));
        let now = bench.now;
        bench.worker.iterate(now);
        assert_eq!(bench.counters().imbalance(), 0);
        taken += bench.east_gets().len();
    }
    assert_eq!(taken, 4 * WIRE, "it took all that it had room for");
    assert_eq!(bench.counters().drops(Drop::TxFull), 0, "of a port that takes 1000 frames every 60 ms");
}

/// A pooled packet with these packets.
pub(super) fn pooled(src: Ipv4Addr, dst: Ipv4Addr, ecn: u8, sequence: u32, inner: &[Vec<u8>]) -> Vec<u8> {
    let mut start = 0;
    let rows: Vec<Row> = inner
        .iter()
        .map(|packet| {
            let row_type = if packet[0] >> 4 == 6 { RowType::WholeIpv6 } else { RowType::WholeIpv4 };
            let row = Row { start, length: packet.len() as u16, ttl: 1, row_type };
            start += packet.len() as u16;
            row
        })
        .collect();
    let mut payload = vec![0; header_and_rows_len(rows.len())];
    write_header_and_rows(64, sequence, &rows, &mut payload).expect("rows");
    payload.extend(inner.concat());
    let mut outer = udp_with(src, dst, (POOL_PORT, POOL_PORT), &payload);
    outer[1] = outer[1] & 0xfc | ecn;
    hops_later(&outer, 0)
}

#[derive(Clone, Debug)]
struct One {
    flow: usize,
    length: usize,
    ttl: u8,
    oddity: u8,
}

#[derive(Clone, Debug)]
enum Item {
    One(One),
    Pooled(u8, Vec<Item>),
}

#[derive(Clone, Debug)]
enum Step {
    Item(Item),
    Wait(u64),
}

fn one() -> impl Strategy<Value = One> {
    let length = prop_oneof![3 => Just(60usize), 2 => 20usize..90, 1 => 250usize..340];
    let ttl = prop_oneof![12 => Just(64u8), 1 => 1u8..5];
    let oddity = prop_oneof![20 => Just(0u8), 1 => Just(1u8), 1 => Just(2), 1 => Just(3), 1 => Just(4)];
    (prop_oneof![4 => 0..2usize, 3 => 0..7usize], length, ttl, oddity).prop_map(|(flow, length, ttl, oddity)| One {
        flow,
        length,
        ttl,
        oddity,
    })
}

fn item() -> impl Strategy<Value = Item> {
    let nested =
        (Just(0u8), prop::collection::vec(one().prop_map(Item::One), 1..6)).prop_map(|(e, i)| Item::Pooled(e, i));
    let inner = prop_oneof![14 => one().prop_map(Item::One), 1 => nested];
    let ecn = prop_oneof![6 => Just(0u8), 1 => Just(1), 1 => Just(2)];
    let pooled = (ecn, prop_oneof![prop::collection::vec(inner.clone(), 1..4), prop::collection::vec(inner, 1..45)])
        .prop_map(|(ecn, items)| Item::Pooled(ecn, items));
    prop_oneof![5 => one().prop_map(Item::One), 2 => pooled]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![3 => Just(0u64), 1 => 0u64..6000, 1 => 9000u64..12000];
    let step = prop_oneof![12 => item().prop_map(Step::Item), 1 => wait.prop_map(Step::Wait)];
    prop::collection::vec(step, 1..100)
}

#[derive(Default)]
struct Sent {
    expected: Vec<(usize, Vec<u8>)>,
    number: u16,
    sequence: u32,
}

impl Sent {
    fn one(&mut self, one: &One) -> Vec<u8> {
        self.number += 1;
        let number = self.number;
        let flow = one.flow;
        let port = 5000 + flow as u16;
        let (dst, dst6) = match flow {
            0 | 1 | 5 => (FAR_HOST, None),
            2 | 3 => (UNPOOLED, None),
            4 => (FAR_HOST, Some(POOLED_HOST6)),
            _ => (FAR_HOST, Some(FAR_HOST6)),
        };
        let bytes = if let Some(dst) = dst6 {
            let length = one.length.max(52) - 40;
            let mut udp = UdpHeader { src_port: 9, dst_port: port, length: length as u16, checksum: 0 };
            let data = vec![number as u8; length - 8];
            udp.checksum = udp.checksum_over6(WEST_HOST6, dst, crate::packet::checksum::Sum::of(&data));
            let mut bytes = [0; 8];
            udp.write(&mut bytes);
            let header = header6(WEST_HOST6, dst, 17, length);
            packet6(
                Ipv6Header { flow_label: u32::from(number), hop_limit: one.ttl, ..header },
                &[&bytes[..], &data].concat(),
            )
        } else {
            let protocol = if flow == 5 { 253 } else { 17 };
            let length = if flow == 5 { one.length } else { one.length.max(28) } - 20;
            let payload = if flow == 5 {
                vec![number as u8; length]
            } else {
                let data = vec![number as u8; length - 8];
                let mut udp = UdpHeader { src_port: 9, dst_port: port, length: length as u16, checksum: 0 };
                udp.checksum = udp.checksum_over(WEST_HOST, dst, crate::packet::checksum::Sum::of(&data));
                let mut bytes = [0; 8];
                udp.write(&mut bytes);
                [&bytes[..], &data].concat()
            };
            let header = Ipv4Header {
                ttl: one.ttl,
                id: number,
                more_fragments: one.oddity == 1 && length % 8 == 0,
                dscp_ecn: if one.oddity == 2 { 0x28 } else { 0xb8 },
                ..header(WEST_HOST, dst, protocol, payload.len())
            };
            let mut bytes = packet(header, &payload);
            if one.oddity == 3 {
                bytes.splice(20..20, [1; 4]);
                bytes[0] = 0x46;
                let length = (bytes.len() as u16).to_be_bytes();
                bytes[2..4].copy_from_slice(&length);
                bytes = hops_later(&bytes, 0);
            }
            if one.oddity == 4 {
                // A TTL that nothing forwards.
                bytes[8] = 1;
                bytes = hops_later(&bytes, 0);
                return bytes;
            }
            bytes
        };
        if one.ttl > 2 {
            self.expected.push((flow, hops_later(&bytes, 2)));
        }
        bytes
    }

    fn item(&mut self, item: &Item) -> Vec<u8> {
        match item {
            Item::One(one) => self.one(one),
            Item::Pooled(ecn, items) => {
                let mut inner = Vec::new();
                let mut length = 0;
                for item in items {
                    // What fits into a frame.
                    let needs = match item {
                        Item::One(one) => one.length.max(52) + 10,
                        Item::Pooled(_, items) => 100 + items.len() * 350,
                    };
                    if length + needs > 1900 {
                        continue;
                    }
                    let bytes = self.item(item);
                    length += bytes.len() + 6;
                    inner.push(bytes);
                }
                self.sequence += 1;
                if inner.is_empty() {
                    return self.one(&One { flow: 0, length: 60, ttl: 64, oddity: 0 });
                }
                pooled(PEER, OWN_WEST, *ecn, self.sequence, &inner)
            }
        }
    }
}

fn live(steps: &[Step], rules: Vec<Rule>, is_total: bool) -> Result<(), TestCaseError> {
    let mut first = Bench::new();
    first.change(|state| state.rules = Arc::new(RuleSet::new(rules).expect("sound")));
    let mut second = addressee_of(Bench::new());
    second.change(|state| state.rules = Arc::new(RuleSet::new(vec![]).expect("sound")));
    let mut sent = Sent::default();
    let mut got = Vec::new();
    let mut exchange = |first: &mut Bench, second: &mut Bench| {
        first.run();
        for packet in first.east_gets() {
            second.west_sends(&packet);
        }
        second.now = first.now;
        second.run();
        got.extend(second.east_gets());
    };
    for step in steps {
        match step {
            Step::Item(item) => {
                let bytes = sent.item(item);
                first.west_sends(&bytes);
            }
            Step::Wait(us) => {
                exchange(&mut first, &mut second);
                first.wait(Duration::from_micros(*us));
                exchange(&mut first, &mut second);
            }
        }
        if sent.number > 500 {
            break;
        }
    }
    exchange(&mut first, &mut second);
    first.wait(Duration::from_millis(50));
    exchange(&mut first, &mut second);
    first.end();
    second.end();
    let flow_of: HashMap<&[u8], usize> = sent.expected.iter().map(|(flow, bytes)| (&bytes[..], *flow)).collect();
    if is_total {
        let expected: Vec<_> = sent.expected.iter().map(|(_, bytes)| bytes).collect();
        prop_assert_eq!(got.iter().collect::<Vec<_>>(), expected);
    } else {
        for packet in &got {
            prop_assert!(flow_of.contains_key(&packet[..]), "unknown {:02x?}", packet);
        }
        for flow in 0..7 {
            let number = |bytes: &[u8]| {
                if bytes[0] >> 4 == 6 {
                    u16::from_be_bytes([bytes[2], bytes[3]])
                } else {
                    u16::from_be_bytes([bytes[4], bytes[5]])
                }
            };
            let expected: Vec<_> = sent.expected.iter().filter(|(f, _)| *f == flow).map(|(_, b)| number(b)).collect();
            let found: Vec<_> = got.iter().filter(|b| flow_of[&b[..]] == flow).map(|b| number(b)).collect();
            prop_assert_eq!(found, expected, "flow {}", flow);
        }
    }
    Ok(())
}

fn cases() -> u32 {
    std::env::var("REVIEW_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    /// Catches: any packet that is lost, doubled, changed or out of its place where nothing is pooled.
    #[test]
    fn what_is_only_taken_out_and_forwarded_keeps_its_place_among_all(steps in steps()) {
        live(&steps, vec![], true)?;
    }

    /// Catches: the same within a flow where packets are pooled again.
    #[test]
    fn what_is_taken_out_and_pooled_again_keeps_its_place_in_its_flow(
        steps in steps(),
        max_count in prop_oneof![Just(255u8), 2u8..6],
        learned: bool,
        all: bool,
    ) {
        let rule = Rule {
            max_size: 300,
            max_count,
            window: TickRate::NANOSECONDS.ticks(Duration::from_millis(5)),
            representation: if learned { Representation::Learned } else { Representation::Whole },
            ..Rule::new("some", if all { Match::default() } else { Match { protocol: Some(17), ..Match::default() } })
        };
        live(&steps, vec![rule], false)?;
    }
}
