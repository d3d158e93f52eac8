//! ECN (RFC 6040) and TTL of what travels inside, whatever it travels in: every representation, every index and format,
//! either family inside of either.

use std::time::Duration;

use super::any_traffic_case::{Case, Flow, Oddity, template};
use super::lab::*;
use super::two_routers::*;
use crate::packet::ecn::{CE, NOT_ECT};
use crate::pool::simplemux::Flavour;
use crate::pool::{Format, Index, Representation, Rule};
use crate::worker::Drop;

const ROUNDS: u32 = 4;
/// Lengths of the packets of a round: the ones that the template has.
const LENGTHS: [u16; 2] = [80, 200];

/// How a pair of routers carries packets, and what the pooled packets look like once streams are known.
struct Carriage {
    format: Format,
    representation: Representation,
    index: Index,
    looks_like: &'static str,
}

fn carriages() -> Vec<Carriage> {
    let (id, template) = template();
    let native =
        |representation, index, looks_like| Carriage { format: Format::Native, representation, index, looks_like };
    let simplemux = |flavour| Carriage {
        format: Format::Simplemux(flavour),
        ..native(Representation::Whole, Index::InBand, "Simplemux")
    };
    vec![
        native(Representation::Whole, Index::InBand, "kind 0 of"),
        native(Representation::Provisioned, Index::InBand, "kind 0 of 128"),
        native(Representation::Learned, Index::InBand, "kind 5"),
        native(Representation::Whole, Index::OutOfBand, "kind 1"),
        native(Representation::Whole, Index::Predetermined { id, template }, "kind 3"),
        simplemux(Flavour::Normal),
        simplemux(Flavour::Fast),
    ]
}

fn ecn(packet: &[u8]) -> u8 {
    if packet[0] >> 4 == 6 { packet[1] >> 4 & 3 } else { packet[1] & 3 }
}

/// The same with congestion marked on it, whatever it was.
fn marked(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[1] |= if packet[0] >> 4 == 6 { CE << 4 } else { CE };
    hops_later(&packet, 0)
}

/// A pair of routers, and what passed.
struct Pair<'a> {
    case: &'a Case,
    west: Bench,
    east: Bench,
    number: u32,
}

impl Pair<'_> {
    /// Packets of a flow that share a pooled packet, and what comes out of the second router. Where `is_marked`, what has
    /// packets in it met congestion between the routers.
    fn round(&mut self, flow: usize, is_marked: bool, looks_like: &str) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let packets = LENGTHS.map(|length| {
            self.number += 1;
            self.case.flows[flow].packet(flow as u16, false, self.number, length, 1, Oddity::Nothing)
        });
        packets.iter().for_each(|packet| self.west.west_sends(packet));
        self.west.run();
        self.west.wait(Duration::from_millis(1));
        self.west.run();
        self.east.now = self.west.now;
        let mut pooled = 0;
        for outer in self.west.east_gets() {
            let description = description(&outer);
            let is_index = description.starts_with("kind 2");
            if !is_index {
                pooled += 1;
                assert!(description.starts_with(looks_like), "{description}, not {looks_like}");
                assert_eq!(ecn(&outer) == NOT_ECT, ecn(&packets[0]) == NOT_ECT, "{description}: the outside");
                assert_ne!(ecn(&outer), CE, "{description}: what was marked before says so inside");
            }
            self.east.west_sends(&if is_marked && !is_index { marked(&outer) } else { outer });
        }
        assert_eq!(pooled, 1, "one pooled packet");
        self.east.run();
        self.east.west_gets(); // errors
        (packets.to_vec(), self.east.east_gets())
    }
}

/// One after the other, for all that `check` is to be done with: routers, the flows to try, and what they look like.
fn with_each(flows: impl Fn(bool) -> Vec<Flow>, mut check: impl FnMut(&mut Pair<'_>, &str, &str)) {
    for Carriage { format, representation, index, looks_like } in carriages() {
        for (inner, outer) in [(false, false), (false, true), (true, false), (true, true)] {
            if format != Format::Native && (inner || outer) {
                continue; // Simplemux is for IPv4 in IPv4.
            }
            let window = rule().window;
            let window = crate::arch::TickSpan(window.0 / 5);
            let rules = vec![vec![Rule { window, representation, index, ..rule() }]];
            let case = Case { outer_ipv6: outer, format, rules, flows: flows(inner), steps: vec![], fates: vec![] };
            let mut pair = Pair { west: pooler(&case), east: addressee(&case), case: &case, number: 0 };
            let what = format!("{looks_like}, IPv6 inside: {inner}, outside: {outer}");
            check(&mut pair, looks_like, &what);
            let (west, east) = (pair.west.end(), pair.east.end());
            assert_eq!(west.drops_total(), 0, "{what}");
            let dropped = east.drops(Drop::PoolCongested) + east.drops(Drop::TtlExpired);
            assert_eq!(east.drops_total(), dropped, "{what}");
        }
    }
}

#[test]
fn congestion_is_passed_on_to_all_inside_that_can_carry_it_and_drops_the_rest() {
    let flows = |ipv6| (0..4).map(|ecn| Flow::voice(ipv6, 0xb8 | ecn, 64)).collect();
    with_each(flows, |pair, looks_like, what| {
        for flow in 0..4 {
            let what = format!("{what}, ECN {flow} inside");
            for round in 0..ROUNDS {
                // Streams are not known yet; what they then look like is in the last round.
                let looks_like = if round + 1 < ROUNDS { "" } else { looks_like };
                let (sent, out) = pair.round(flow, false, looks_like);
                let expected: Vec<_> = sent.iter().map(|packet| hops_later(packet, 2)).collect();
                assert_eq!(out, expected, "{what}: not marked");
            }
            let before = pair.east.counters().drops(Drop::PoolCongested);
            let (sent, out) = pair.round(flow, true, looks_like);
            let dropped = pair.east.counters().drops(Drop::PoolCongested) - before;
            if flow == usize::from(NOT_ECT) {
                assert_eq!((out.len(), dropped), (0, 2), "{what}: it cannot carry the mark");
                continue;
            }
            let expected: Vec<_> = sent.iter().map(|packet| marked(&hops_later(packet, 2))).collect();
            assert_eq!((out, dropped), (expected, 0), "{what}: it can carry the mark");
        }
    });
}

#[test]
fn a_packet_inside_loses_a_hop_at_either_router_and_ends_where_none_is_left() {
    let flows = |ipv6| [3, 2].map(|ttl| Flow::voice(ipv6, 0xb8, ttl)).to_vec();
    with_each(flows, |pair, looks_like, what| {
        for round in 0..ROUNDS {
            let looks_like = if round + 1 < ROUNDS { "" } else { looks_like };
            let (sent, out) = pair.round(0, false, looks_like);
            let expected: Vec<_> = sent.iter().map(|packet| hops_later(packet, 2)).collect();
            assert_eq!(out, expected, "{what}: one hop is left");
            let (_, out) = pair.round(1, false, looks_like);
            assert_eq!(out.len(), 0, "{what}: none is left");
        }
        assert_eq!(pair.east.counters().drops(Drop::TtlExpired), 2 * u64::from(ROUNDS), "{what}");
    });
}
