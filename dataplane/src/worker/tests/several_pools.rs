//! Bursts whose packets board several pools: those of a flow keep their order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::lab::*;
use crate::packet::ipv4::Ipv4Header;
use crate::pool::wire::PooledPacket;
use crate::pool::{Match, Rule, RuleSet};

/// The ports that the first rule is for.
const FIRST: std::ops::RangeInclusive<u16> = 0..=16_402;

/// A packet of a flow, with a class and so many bytes of payload.
type One = (u16, u8, usize);

fn bytes((flow, tos, length): One, number: u32) -> Vec<u8> {
    let mut data = vec![0; length];
    data[..4].copy_from_slice(&number.to_be_bytes());
    let plain = udp_with(WEST_HOST, FAR_HOST, (16_500, 16_400 + flow), &data);
    let mut header = Ipv4Header::parse(&plain).expect("a sound packet");
    header.dscp_ecn = tos;
    packet(header, &plain[20..])
}

/// The packets that left in this one, or it itself.
fn within(left: &[u8]) -> Vec<Vec<u8>> {
    let header = Ipv4Header::parse(left).expect("a sound packet");
    if header.dst != PEER {
        return vec![left.to_vec()];
    }
    let payload = header.payload(left).expect("payload");
    let pooled = PooledPacket::parse(&payload[8..]).expect("a sound pooled packet");
    pooled.rows().map(|(_, bytes)| bytes.to_vec()).collect()
}

/// Flows that have a class each, of which some packets have another.
fn burst() -> impl Strategy<Value = Vec<One>> {
    let other = prop_oneof![60 => Just(None), 1 => Just(Some(0u8)), 1 => Just(Some(0xb9))];
    let length = prop_oneof![20 => Just(32usize), 4 => 16usize..200, 1 => Just(900)];
    let one = (0u16..6, other, length).prop_map(|(flow, other, length)| {
        let tos = other.unwrap_or(if flow % 3 == 0 { 0x28 } else { 0xb8 });
        (flow, tos, length)
    });
    prop::collection::vec(one, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Catches: packets of a flow that leave in another order than they came, and any that are lost, doubled or changed.
    #[test]
    fn a_flow_keeps_its_order_whatever_pools_its_packets_and_others_board(
        bursts in prop::collection::vec(burst(), 1..12), max_count in prop_oneof![Just(255u8), 2u8..8], adaptive: bool,
    ) {
        let mut bench = Bench::new();
        let rule = Rule { max_count, adaptive, ..rule() };
        let first = Rule { matcher: Match { destination_ports: Some(FIRST), ..Match::default() }, ..rule.clone() };
        let rest = Rule { name: "rest".into(), matcher: Match::default(), ..rule };
        bench.change(|state| state.rules = Arc::new(RuleSet::new(vec![first, rest]).expect("sound")));
        let (mut expected, mut left) = (HashMap::<u16, Vec<Vec<u8>>>::new(), Vec::new());
        let mut number = 0;
        for burst in bursts {
            for one in burst {
                number += 1;
                let bytes = bytes(one, number);
                bench.west_sends(&bytes);
                expected.entry(one.0).or_default().push(after_hops(&bytes, 1));
            }
            bench.run();
            left.extend(bench.east_gets());
            bench.wait(Duration::from_millis(u64::from(number % 3)));
        }
        bench.wait(Duration::from_millis(50));
        bench.run();
        left.extend(bench.east_gets());
        let mut found = HashMap::<u16, Vec<Vec<u8>>>::new();
        for packet in left.iter().flat_map(|left| within(left)) {
            let port = u16::from_be_bytes([packet[22], packet[23]]);
            found.entry(port - 16_400).or_default().push(packet);
        }
        for (flow, packets) in &expected {
            prop_assert_eq!(found.get(flow), Some(packets), "flow {}", flow);
        }
        prop_assert_eq!(found.len(), expected.len());
        bench.end();
    }
}
