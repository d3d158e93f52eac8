//! Pooled packets that pass a router on their way to another one: what is due gets out, the rest goes on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::lab::*;
use crate::fib::{Adjacency, Entry, EntryId, NeighbourIndex, PathIndex, PeerIndex};
use crate::packet::ecn::{self, CE};
use crate::packet::ipv4::{Ipv4Header, decrement_ttl};
use crate::packet::udp::UdpHeader;
use crate::pool::path::{MAX_HOPS, PoolPath, SharedHops, Trunk};
use crate::pool::vectors::Vector;
use crate::pool::wire::PooledPacket;
use crate::pool::{Rule, RuleSet};
use crate::worker::{Counter, Drop, Peer, PeerTable};

/// Back to the host in the west.
pub(super) const VIA_WEST: EntryId = EntryId(10);

/// Whom the golden vectors come from; they go to 198.51.100.5.
pub(super) const POOLER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The same for those with an outer IPv6 header; they go to 2001:db8:e::5.
pub(super) const POOLER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 1);

pub(super) fn is_v6(packet: &[u8]) -> bool {
    packet[0] >> 4 == 6
}

/// A router that has one more peer, `peer`. What the golden vectors are addressed to is in the east, the stream
/// packets inside them go to the west.
pub(super) fn on_the_way(peer: IpAddr) -> Bench {
    let mut bench = Bench::new();
    bench.change(|state| {
        let via_west = Adjacency::Via { port: WEST, gateway: NeighbourIndex(1) };
        state.entries = state.entries.iter().copied().chain([Entry { adjacency: via_west, path: None }]).collect();
        let other: Peer = *state.peers.iter().next().expect("one peer");
        let mut behind_us = other;
        behind_us.path.addressee = peer;
        state.peers = Arc::new(PeerTable::new(vec![other, behind_us]));
    });
    bench.run();
    route(&mut bench, "198.51.100.5/32", VIA_EAST);
    route(&mut bench, "10.1.0.0/16", VIA_WEST);
    bench
}

pub(super) fn route(bench: &mut Bench, prefix: &str, entry: EntryId) {
    bench.routes.insert(prefix.parse().expect("prefix"), entry).expect("room");
}

/// A golden vector.
fn vector(name: &str) -> Vector {
    Vector::named("kind0", name)
}

/// Three packets of 300 bytes, of which the third is due where this arrives.
fn third_is_due() -> Vec<u8> {
    vector("chain_three_node3").section("packet").bytes.clone()
}

/// The packet with another IP header.
fn with_header(packet: &[u8], change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
    let mut header = Ipv4Header::parse(packet).expect("a sound packet");
    change(&mut header);
    super::lab::packet(header, &packet[20..])
}

/// The packet with its payload changed, and the checksums right.
fn with_payload(packet: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let header = Ipv4Header::parse(packet).expect("a sound packet");
    let mut payload = packet[28..].to_vec();
    change(&mut payload);
    let ports = UdpHeader::parse(&packet[20..]).expect("UDP");
    let rebuilt = udp_with(header.src, header.dst, (ports.src_port, ports.dst_port), &payload);
    let rebuilt_header = Ipv4Header::parse(&rebuilt).expect("sound");
    super::lab::packet(Ipv4Header { total_len: rebuilt_header.total_len, ..header }, &rebuilt[20..])
}

#[test]
fn what_is_due_is_counted_and_so_is_a_packet_that_ends_here() {
    let mut bench = on_the_way(POOLER.into());
    for name in ["chain_three_node1", "chain_three_node3", "chain_ended_node1"] {
        bench.west_sends(&vector(name).section("packet").bytes);
    }
    bench.run();
    let counters = bench.end();
    let transit = [Counter::TransitOpened, Counter::TransitRows, Counter::TransitEnded].map(|c| counters.get(c));
    assert_eq!(transit, [3, 3, 1]);
    assert_eq!((counters.get(Counter::In), counters.get(Counter::Out)), (3, 5));
    assert_eq!((counters.get(Counter::AbsorbedDepooled), counters.get(Counter::PoolReceived)), (1, 0));
}

/// Catches: a pooled packet that goes the way which is remembered, unopened, as a runt came with it.
#[test]
fn what_is_due_gets_out_where_frames_are_looked_at_one_by_one() {
    let mut bench = on_the_way(POOLER.into());
    let runt = packet(header(WEST_HOST, Ipv4Addr::new(198, 51, 100, 5), 99, 0), &[]);
    let runt = [&OWN_WEST_MAC[..], &WEST_HOST_MAC, &[8, 0], &runt].concat();
    for _ in 0..2 {
        assert!(bench.west.send_bytes(&mut bench.cache, &runt));
        bench.west_sends(&third_is_due());
        bench.run();
    }
    assert_eq!(bench.end().get(Counter::TransitOpened), 2);
}

#[test]
fn what_may_not_be_opened_goes_on_untouched() {
    let sound = third_is_due();
    let hostile = [
        ("from no peer", with_header(&sound, |header| header.src = WEST_HOST)),
        ("a first fragment", with_header(&sound, |header| header.more_fragments = true)),
        ("a later fragment", with_header(&sound, |header| header.fragment_offset = 8)),
        ("of version 2", with_payload(&sound, |payload| payload[0] = 0x20)),
        ("with a trailer", with_payload(&sound, |payload| payload[0] = 0x18)),
        ("of another kind", with_payload(&sound, |payload| payload[0] = 0x13)),
        ("without rows", with_payload(&sound, |payload| payload[1] = 0)),
        ("with an index beyond the end", with_payload(&sound, |payload| payload[1] = 255)),
        ("with a gap", with_payload(&sound, |payload| payload[8 + 6 + 1] ^= 2)),
        ("with data behind the last row", with_payload(&sound, |payload| payload.push(0))),
        ("with a wrong length inside", with_payload(&sound, |payload| payload[8 + 18 + 3] ^= 1)),
        ("with a wrong checksum", {
            let mut wrong = sound.clone();
            *wrong.last_mut().expect("bytes") ^= 1;
            wrong
        }),
        ("without a checksum", {
            let mut without = sound.clone();
            without[26..28].fill(0);
            without
        }),
        ("to another port", {
            let mut other = sound.clone();
            other[23] ^= 1;
            other
        }),
    ];
    let mut bench = on_the_way(POOLER.into());
    for (what, packet) in hostile {
        bench.west_sends(&packet);
        bench.run();
        assert_eq!(bench.east_gets(), [after_hops(&packet, 1)], "{what}");
        assert!(bench.west_gets().is_empty(), "{what}");
    }
    let counters = bench.end();
    assert_eq!((counters.get(Counter::TransitOpened), counters.drops_total()), (0, 0));
}

#[test]
fn a_pooled_packet_is_forwarded_as_it_is_where_there_is_no_peer() {
    let mut bench = on_the_way(POOLER.into());
    bench.change(|state| state.peers = Arc::default());
    bench.west_sends(&third_is_due());
    bench.run();
    assert_eq!(bench.east_gets(), [after_hops(&third_is_due(), 1)]);
    bench.end();
}

#[test]
fn what_gets_out_goes_before_what_came_behind() {
    let mut bench = on_the_way(POOLER.into());
    let inner = vector("chain_three_node3").expected()[0].1.to_vec();
    let behind = with_header(&inner, |header| header.id = 99);
    for packet in [&third_is_due(), &behind, &third_is_due(), &behind] {
        bench.west_sends(packet);
    }
    bench.run();
    let expected = [&inner, &behind, &inner, &behind].map(|packet| after_hops(packet, 1));
    assert_eq!(bench.west_gets(), expected);
    assert_eq!(bench.east_gets().len(), 2);
    bench.end();
}

#[test]
fn a_congestion_mark_reaches_what_gets_out_and_stays_on_the_rest() {
    let capable = with_payload(&third_is_due(), |payload| {
        let third = &mut payload[8 + 18 + 600..];
        let marked = with_header(third, |header| header.dscp_ecn |= 2);
        third.copy_from_slice(&marked);
    });
    let mut bench = on_the_way(POOLER.into());
    for packet in [&capable, &third_is_due()] {
        let mut marked = with_header(packet, |header| header.dscp_ecn |= 2);
        assert!(ecn::take_out(&mut marked, CE));
        bench.west_sends(&marked);
    }
    bench.run();
    let ecn = |packets: Vec<Vec<u8>>| -> Vec<u8> {
        packets.iter().map(|packet| Ipv4Header::parse(packet).expect("sound").ecn()).collect()
    };
    assert_eq!(ecn(bench.west_gets()), [CE], "one can carry the mark, the other is dropped");
    assert_eq!(ecn(bench.east_gets()), [CE, CE]);
    assert_eq!(bench.end().drops(Drop::PoolCongested), 1);
}

#[test]
fn a_pooled_packet_whose_ttl_runs_out_is_dropped_like_any_other() {
    let mut bench = on_the_way(POOLER.into());
    bench.west_sends(&with_header(&third_is_due(), |header| header.ttl = 1));
    bench.run();
    assert!(bench.east_gets().is_empty());
    let counters = bench.end();
    assert_eq!((counters.drops(Drop::TtlExpired), counters.get(Counter::TransitOpened)), (1, 0));
}

#[test]
fn a_link_needs_to_take_only_what_is_left() {
    let mut bench = on_the_way(POOLER.into());
    bench.change(|state| {
        let mut ports = state.ports.to_vec();
        ports[EAST.index()].mtu = 700;
        state.ports = ports.into();
    });
    bench.west_sends(&third_is_due());
    bench.run();
    assert_eq!(bench.east_gets().iter().map(Vec::len).collect::<Vec<_>>(), [20 + 8 + 8 + 2 * 6 + 600]);
    assert_eq!(bench.end().drops_total(), 0);
}

#[test]
fn what_gets_out_can_share_a_ride_again() {
    let mut bench = on_the_way(POOLER.into());
    route(&mut bench, "10.1.0.0/16", VIA_EAST_POOLED);
    (0..3).for_each(|_| bench.west_sends(&third_is_due()));
    bench.run();
    assert_eq!(bench.east_gets().len(), 3, "the rest has gone on");
    bench.wait(Duration::from_millis(5));
    bench.run();
    let left = bench.east_gets();
    assert_eq!(left.len(), 1);
    let anew = PooledPacket::parse(&left[0][28..]).expect("a sound pooled packet");
    let inner = vector("chain_three_node3").expected()[0].1.to_vec();
    assert!(anew.rows().all(|(_, bytes)| bytes == after_hops(&inner, 1)));
    assert_eq!(anew.rows().count(), 3);
    assert_eq!(bench.end().get(Counter::PoolStaged), 3);
}

/// The pooler of the chain below: streams to .113 go all the way to node 6, those to .114 turn off behind node 3, those to
/// .115 behind node 5. Nodes 1 and 4 are not equipped.
fn pooler() -> Bench {
    let mut bench = Bench::new();
    let path = |nodes: &[u16]| PoolPath {
        trunk: Trunk::new(nodes, 0b11_0110),
        addressee: Some(PeerIndex(0)),
        groups: [0; MAX_HOPS + 1],
    };
    let (to_3, to_5) = (EntryId(10), EntryId(11));
    bench.change(|state| {
        state.paths =
            [path(&[1, 2, 3, 4, 5, 6]), path(&[1, 2, 3, 14]), path(&[1, 2, 3, 4, 5, 16])].into_iter().collect();
        let via = state.entries[usize::from(VIA_EAST.0)].adjacency;
        let turning = [PathIndex(1), PathIndex(2)].map(|path| Entry { adjacency: via, path: Some(path) });
        state.entries = state.entries.iter().copied().chain(turning).collect();
        // Every pool begins with a packet that goes all the way, which makes that way the trunk.
        let eight = Rule { max_count: 8, shared_hops: SharedHops::AtLeast(1), ..rule() };
        state.rules = Arc::new(RuleSet::new(vec![eight]).expect("a sound rule"));
        state.pools += 1;
    });
    bench.run();
    route(&mut bench, "203.0.114.0/24", to_3);
    route(&mut bench, "203.0.115.0/24", to_5);
    bench
}

/// A router of the chain; streams whose networks are in `here` leave to the west.
fn chain_node(here: &[&str]) -> Bench {
    let mut bench = on_the_way(OWN_EAST.into());
    for prefix in ["203.0.113.0/24", "203.0.114.0/24", "203.0.115.0/24"] {
        route(&mut bench, prefix, if here.contains(&prefix) { VIA_WEST } else { VIA_EAST });
    }
    bench
}

#[test]
fn packets_of_three_destinations_share_a_ride_and_get_out_where_their_ways_part() {
    let mut a = pooler();
    let network = |third: u8| Ipv4Addr::new(203, 0, third, 7);
    let mut sent: [Vec<Vec<u8>>; 3] = Default::default();
    for round in 0..20u8 {
        for (which, third) in [(0, 113), (1, 114), (0, 113), (2, 115)] {
            let length = 60 + usize::from(round) * 5 + usize::from(third) - 113;
            let packet = udp(WEST_HOST, network(third), (16_400, 16_500), length, round);
            a.west_sends(&packet);
            sent[which].push(after_hops(&packet, 2));
        }
    }
    a.run();
    a.wait(Duration::from_millis(5));
    a.run();
    let mut on_the_wire = a.east_gets();
    assert_eq!(a.end().get(Counter::PoolLone), 0);
    let rows = |packets: &[Vec<u8>]| -> Vec<u8> {
        let of_packet = |packet: &Vec<u8>| {
            let pooled = PooledPacket::parse(&packet[28..]).expect("sound");
            pooled.index().map(|row| row.ttl).collect::<Vec<_>>()
        };
        let mut ttls: Vec<u8> = packets.iter().flat_map(of_packet).collect();
        ttls.sort();
        ttls.dedup();
        ttls
    };
    assert_eq!(rows(&on_the_wire), [3, 5, 6]);

    let unequipped =
        |packets: &mut Vec<Vec<u8>>| packets.iter_mut().for_each(|packet| assert!(decrement_ttl(packet).is_some()));
    let pass = |mut bench: Bench, packets: &mut Vec<Vec<u8>>| -> Vec<Vec<u8>> {
        packets.iter().for_each(|packet| bench.west_sends(packet));
        bench.run();
        *packets = bench.east_gets();
        let here = bench.west_gets();
        assert_eq!(bench.end().drops_total(), 0);
        here
    };
    unequipped(&mut on_the_wire);
    assert!(pass(chain_node(&[]), &mut on_the_wire).is_empty(), "nothing is due at node 2");
    assert_eq!(rows(&on_the_wire), [1, 3, 4]);
    assert_eq!(pass(chain_node(&["203.0.114.0/24"]), &mut on_the_wire), sent[1], "node 3");
    assert_eq!(rows(&on_the_wire), [2, 3]);
    unequipped(&mut on_the_wire);
    assert_eq!(pass(chain_node(&["203.0.115.0/24"]), &mut on_the_wire), sent[2], "node 5");
    assert_eq!(rows(&on_the_wire), [1]);
    let mut last = chain_node(&["203.0.113.0/24"]);
    route(&mut last, "198.51.100.77/32", LOCAL);
    assert_eq!(pass(last, &mut on_the_wire), sent[0], "node 6");
    assert!(on_the_wire.is_empty());
}
