//! The short way of packets that are only forwarded: it ends where the long way ends.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::lab::*;
use super::nodes::to_peer;
use crate::dpdk::BURST;
use crate::fib::{Adjacency, Entry, EntryId, NeighbourIndex, NeighbourTable, PathIndex};
use crate::packet::ipv4::Ipv4Header;
use crate::packet::ipv4::tests::seal;
use crate::packet::mutation::mutated;
use crate::pool::wire;
use crate::worker::{Counter, Drop, LegRoute, LegTable};

/// Destinations that are routed to the gateway, have no path, and lie in one route.
const UNPOOLED: Ipv4Addr = Ipv4Addr::new(203, 0, 114, 7);
const UNPOOLED_TOO: Ipv4Addr = Ipv4Addr::new(203, 0, 114, 8);
/// A host on the link to the east, and another that has the same place among those that are remembered.
const ON_LINK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
const ALIKE: Ipv4Addr = Ipv4Addr::new(198, 51, 110, 33);
const ALIKE_MAC: [u8; 6] = [2, 0, 0, 0, 1, 3];
/// The entry of what goes to the host in the west.
const VIA_WEST: EntryId = EntryId(10);

/// One that is routed back to where packets come from.
const BACK: Ipv4Addr = Ipv4Addr::new(203, 0, 116, 7);

/// A router that remembers the way to [`UNPOOLED`].
fn warm() -> Bench {
    let mut bench = Bench::with_mbufs(1023);
    let via_west = Adjacency::Via { port: WEST, gateway: NeighbourIndex(1) };
    bench.change(|state| {
        let back = Entry { adjacency: via_west, path: None };
        state.entries = state.entries.iter().copied().chain([back]).collect();
        state.neighbours = Arc::new(NeighbourTable::new(vec![
            neighbour(EAST, GATEWAY, GATEWAY_MAC),
            neighbour(WEST, WEST_HOST, WEST_HOST_MAC),
            neighbour(EAST, ON_LINK, GATEWAY_MAC),
            neighbour(EAST, ALIKE, ALIKE_MAC),
        ]));
    });
    bench.routes.insert("198.51.110.0/24".parse().expect("prefix"), EAST_LINK).expect("room");
    bench.routes.insert("203.0.116.0/24".parse().expect("prefix"), VIA_WEST).expect("room");
    bench.west_sends(&udp(WEST_HOST, UNPOOLED, (1, 2), 60, 0));
    bench.run();
    assert_eq!(bench.east_gets().len(), 1);
    bench
}

/// Packets that are forwarded, or nearly; or that are, all of them.
fn packets() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop_oneof![packets_of_all_kinds(), plain_packets()]
}

fn plain_packets() -> impl Strategy<Value = Vec<Vec<u8>>> {
    // All to one, to one gateway, to several, or to hosts on links, of which two share a place.
    let to = prop::sample::select(vec![
        vec![UNPOOLED],
        vec![UNPOOLED, UNPOOLED_TOO],
        vec![UNPOOLED, BACK],
        vec![ON_LINK],
        vec![WEST_HOST, ON_LINK],
        vec![UNPOOLED, WEST_HOST, ON_LINK],
        vec![ON_LINK, ALIKE],
    ]);
    let length = prop_oneof![20 => 28..200usize, 1 => 1390..1420usize];
    let parts = (any::<prop::sample::Index>(), 2..=255u8, length, any::<u8>());
    (to, prop::collection::vec(parts, 1..2 * BURST)).prop_map(|(to, packets)| {
        let made = packets.into_iter().map(|(at, ttl, length, tag)| {
            let data = udp(WEST_HOST, *at.get(&to), (9, 5004), length, tag);
            packet(Ipv4Header { ttl, ..Ipv4Header::parse(&data).expect("sound") }, &data[20..])
        });
        made.collect()
    })
}

fn packets_of_all_kinds() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let ttl = prop_oneof![4 => Just(64), 1 => 0..4u8];
    let to = prop_oneof![
        8 => Just(UNPOOLED),
        4 => Just(UNPOOLED_TOO),
        2 => Just(FAR_HOST),
        1 => Just(PEER),
        1 => Just(OWN_EAST),
        1 => Just(GATEWAY),
        2 => Just(ON_LINK),
        1 => Just(Ipv4Addr::new(203, 0, 115, 1)),
        1 => Just(Ipv4Addr::new(224, 1, 2, 3)),
        1 => Just(Ipv4Addr::new(240, 0, 0, 1)),
    ];
    let port = prop_oneof![6 => Just(5004u16), 1 => Just(wire::PORT)];
    let length = prop_oneof![6 => 28..200usize, 1 => 1390..1420usize];
    let packet = (to, ttl, port, length, any::<bool>()).prop_map(|(to, ttl, port, length, dont_fragment)| {
        let data = udp(WEST_HOST, to, (9, port), length, 1);
        let header = Ipv4Header::parse(&data).expect("sound");
        packet(Ipv4Header { ttl, dont_fragment, ..header }, &data[20..])
    });
    let broken = (mutated(packet.clone()), any::<bool>()).prop_map(|(mut bytes, sealed)| {
        if sealed {
            seal(&mut bytes);
        }
        // What an Ethernet frame holds; the bench reads its type off the first byte.
        bytes.resize(bytes.len().clamp(1, 1500), 0);
        bytes
    });
    prop::collection::vec(prop_oneof![5 => packet, 1 => broken], 1..2 * BURST)
}

/// The frames that left to the east.
fn east_gets(bench: &mut Bench) -> Vec<Vec<u8>> {
    bench.east.receive_all_bytes()
}

/// The counters that say what became of packets.
fn fates(bench: &mut Bench) -> Vec<(&'static str, u64)> {
    let counters = bench.counters();
    let drops = Drop::ALL.iter().map(|drop| (drop.name(), counters.drops(*drop)));
    let others = [Counter::In, Counter::Created, Counter::Out, Counter::Held, Counter::Absorbed, Counter::Forwarded];
    others.iter().map(|counter| (counter.name(), counters.get(*counter))).chain(drops).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_remembered_changes_nothing(packets in packets(), mtu in prop_oneof![Just(1500u16), Just(1400)]) {
        let [mut remembers, mut forgets] = [warm(), warm()];
        for bench in [&mut remembers, &mut forgets] {
            bench.change(|state| {
                let mut ports = state.ports.to_vec();
                ports[1].mtu = mtu;
                state.ports = ports.into();
            });
            bench.west_sends(&udp(WEST_HOST, UNPOOLED, (1, 2), 60, 0));
            bench.run();
            bench.east_gets();
        }
        for packet in &packets {
            remembers.west_sends(packet);
            // One packet in an iteration, and each of them in one that remembers nothing.
            forgets.west_sends(packet);
            forgets.change(|_| {});
            forgets.run();
        }
        remembers.run();
        // Windows end at other times here and there.
        for bench in [&mut remembers, &mut forgets] {
            bench.wait(Duration::from_millis(20));
            bench.run();
        }
        let (mut here, mut there) = (east_gets(&mut remembers), east_gets(&mut forgets));
        if packets.iter().all(|packet| packet.get(16..19) != Some(&FAR_HOST.octets()[..3])) {
            prop_assert_eq!(&here, &there);
            prop_assert_eq!(fates(&mut remembers), fates(&mut forgets));
        } else {
            // Pools are flushed when anything is published, so here and there others share a ride.
            let plain = |packets: &mut Vec<Vec<u8>>| packets.retain(|packet| packet.get(30..33) == Some(&[203, 0, 114]));
            plain(&mut here);
            plain(&mut there);
            prop_assert_eq!(here, there);
        }
        prop_assert_eq!(remembers.west_gets(), forgets.west_gets());
        remembers.end();
        forgets.end();
    }
}

/// Catches: a packet that leaves by a link which it is a byte too long for.
#[test]
fn no_way_that_is_remembered_takes_a_byte_more_than_its_link() {
    // One after the other to the same gateway, to the same host, and to one and the other in turn.
    for to in [[UNPOOLED, UNPOOLED_TOO], [ON_LINK, ON_LINK], [UNPOOLED, ON_LINK]] {
        // By themselves, and behind one whose way is not remembered.
        for alone in [true, false] {
            let mut bench = warm();
            bench.change(|state| {
                let mut ports = state.ports.to_vec();
                ports[1].mtu = 1400;
                state.ports = ports.into();
            });
            let of_length = |to, length| {
                let data = udp(WEST_HOST, to, (1, 2), length, 1);
                packet(Ipv4Header { dont_fragment: true, ..Ipv4Header::parse(&data).expect("sound") }, &data[20..])
            };
            for to in to {
                bench.west_sends(&of_length(to, 60));
                bench.run();
            }
            east_gets(&mut bench);
            if !alone {
                bench.west_sends(&of_length(Ipv4Addr::new(203, 0, 115, 1), 60));
            }
            let [small, fits, too_long] = [60, 1400, 1401].map(|length| to.map(|to| of_length(to, length)));
            let sent = [&small[0], &fits[1], &too_long[0], &small[0], &small[1], &too_long[1], &fits[0]];
            sent.iter().for_each(|packet| bench.west_sends(packet));
            bench.run();
            let expected: Vec<_> =
                sent.iter().filter(|packet| packet.len() <= 1400).map(|packet| after_hops(packet, 1)).collect();
            let got: Vec<_> = east_gets(&mut bench).iter().map(|frame| frame[14..].to_vec()).collect();
            assert_eq!(got, expected, "{to:?}, alone: {alone}");
            assert_eq!(bench.end().drops(Drop::FragmentationNeeded), 2, "{to:?}, alone: {alone}");
        }
    }
}

#[test]
fn a_gateway_that_has_another_address_gets_the_next_packet_there() {
    const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 9, 9];
    let mut bench = warm();
    bench.neighbours(vec![neighbour(EAST, GATEWAY, OTHER_MAC)]);
    let sent = udp(WEST_HOST, UNPOOLED, (1, 2), 60, 1);
    bench.west_sends(&sent);
    bench.run();
    let frames = bench.east.receive_all_bytes();
    assert_eq!(frames.len(), 1);
    assert_eq!(ip_of(&frames[0], OTHER_MAC, OWN_EAST_MAC), after_hops(&sent, 1));
    bench.end();
}

#[test]
fn a_host_on_a_link_is_remembered_until_it_has_another_address() {
    let mut bench = warm();
    let sent = udp(WEST_HOST, ON_LINK, (1, 2), 60, 1);
    for mac in [GATEWAY_MAC, GATEWAY_MAC, ALIKE_MAC] {
        bench.neighbours(vec![neighbour(EAST, ON_LINK, mac)]);
        for _ in 0..2 {
            bench.west_sends(&sent);
            bench.worker.iterate(bench.now);
            let frames = bench.east.receive_all_bytes();
            assert_eq!(frames.len(), 1);
            assert_eq!(ip_of(&frames[0], mac, OWN_EAST_MAC), after_hops(&sent, 1));
            assert_eq!(bench.worker.stages.hops.remembered_hosts(), 1);
        }
    }
    bench.end();
}

/// Catches: packets that are not pooled any more though there is a path, as the way to their host is remembered.
#[test]
fn packets_to_a_host_on_a_link_are_pooled_where_that_has_a_path() {
    let mut bench = warm();
    bench.change(|state| {
        let mut entries = state.entries.to_vec();
        entries[usize::from(EAST_LINK.0)].path = Some(PathIndex(0));
        state.entries = entries.into();
    });
    for _ in 0..3 {
        [1, 2].iter().for_each(|tag| bench.west_sends(&udp(WEST_HOST, ON_LINK, (7, 8), 60, *tag)));
        bench.run();
        bench.wait(Duration::from_millis(5));
        bench.run();
    }
    assert_eq!(bench.end().get(Counter::PoolStaged), 6);
}

#[test]
fn a_host_that_is_not_resolved_is_not_remembered() {
    let mut bench = warm();
    bench.neighbours(vec![]);
    bench.west_sends(&udp(WEST_HOST, ON_LINK, (1, 2), 60, 1));
    bench.run();
    assert_eq!(bench.worker.stages.hops.remembered_hosts(), 0);
    assert_eq!(bench.counters().get(Counter::Held), 1, "it waits for the host");
    bench.wait(Duration::from_secs(10));
    bench.run();
    bench.end();
}

#[test]
fn a_gateway_in_use_is_marked_as_used_again_and_again() {
    let mut bench = warm();
    let table = Arc::new(NeighbourTable::new(vec![neighbour(EAST, GATEWAY, GATEWAY_MAC)]));
    bench.change(|state| state.neighbours = Arc::clone(&table));
    for second in 0..3 {
        bench.west_sends(&udp(WEST_HOST, UNPOOLED, (1, 2), 60, 1));
        bench.run();
        assert!(table.iter().any(|gateway| gateway.take_used()), "after {second} s");
        bench.wait(Duration::from_secs(1));
    }
    bench.end();
}

#[test]
fn a_packet_that_could_go_the_short_way_does_not_overtake_its_flow() {
    let mut bench = warm();
    let [first, second] = [1, 2].map(|tag| udp(WEST_HOST, FAR_HOST, (7, 8), 60, tag));
    bench.west_sends(&first);
    bench.run();
    assert_eq!(bench.east_gets().len(), 0, "it waits for company");
    // Its destination gets a route of its own, whose way is remembered and has no path.
    bench.routes.insert("203.0.113.7/32".parse().expect("prefix"), VIA_EAST).expect("room");
    bench.west_sends(&second);
    bench.run();
    assert_eq!(bench.east_gets(), [first, second].map(|packet| after_hops(&packet, 1)));
    bench.end();
}

#[test]
fn what_was_learnt_from_a_state_that_may_be_freed_is_forgotten() {
    let mut bench = warm();
    bench.worker.iterate(bench.now);
    assert_eq!(bench.worker.stages.hops.remembered(), 1);
    // Offline: the epoch and the address of the next state may be those of this one.
    bench.worker.go_offline();
    bench.worker.iterate(bench.now);
    assert_eq!(bench.worker.stages.hops.remembered(), 0);
    bench.end();
}

#[test]
fn a_worker_that_stops_goes_by_what_was_published_last() {
    let mut bench = warm();
    assert_eq!(bench.worker.stages.hops.remembered(), 1);
    bench.neighbours(vec![]);
    let now = bench.now;
    bench.worker.drain(|| now, now);
    assert_eq!(bench.worker.stages.hops.remembered(), 0);
    bench.end();
}

#[test]
fn an_overlay_route_comes_before_a_way_that_is_remembered() {
    let mut bench = warm();
    let prefix = "203.0.114.7/32".parse().expect("prefix");
    bench.change(|state| state.legs = Arc::new(LegTable::new([], [(prefix, LegRoute::new(None, [to_peer(0, &[1])]))])));
    // Another destination of the same leaf could have its way remembered.
    let [other, sent] = [UNPOOLED_TOO, UNPOOLED].map(|to| udp(WEST_HOST, to, (1, 2), 60, 1));
    bench.west_sends(&other);
    bench.run();
    assert_eq!(bench.east_gets(), [after_hops(&other, 1)]);
    bench.west_sends(&sent);
    bench.run();
    assert!(!bench.east_gets().contains(&after_hops(&sent, 1)), "it went by the ordinary route");
    bench.end();
}

#[test]
fn a_burst_that_its_port_has_no_room_for_asks_the_port_once_and_not_for_each_packet() {
    use arrayvec::ArrayVec;

    use crate::arch::TickRate;
    use crate::dpdk::{HEADROOM, Mbuf, Mempool, Nic, TX_BUFFER, test_eal};
    use crate::worker::output::Output;
    use crate::worker::{Bell, WorkerShared};

    #[derive(Default)]
    struct Stalled(usize);

    impl Nic for Stalled {
        fn rx_burst(&mut self, _: &mut ArrayVec<Mbuf, BURST>) -> usize {
            0
        }

        fn tx_burst(&mut self, _: &mut ArrayVec<Mbuf, TX_BUFFER>) -> usize {
            self.0 += 1;
            0
        }
    }

    let mempool = Mempool::create(test_eal(), "stalled", 511, 256 + HEADROOM).expect("memory");
    let mut cache = mempool.cache();
    let shared = WorkerShared::new(Bell::new().expect("a descriptor"));
    let mut out = Output::new(vec![(EAST, Stalled::default())], TickRate::NANOSECONDS, shared);
    for _ in 0..TX_BUFFER / BURST {
        let mut burst: ArrayVec<Mbuf, BURST> = (0..BURST).map(|_| cache.alloc().expect("memory")).collect();
        out.queue_first(&mut burst, BURST, 0);
    }
    assert_eq!((out.queued(), out.ports[0].nic.0), (TX_BUFFER, 0));
    let mut burst: ArrayVec<Mbuf, BURST> = (0..BURST).map(|_| cache.alloc().expect("memory")).collect();
    out.queue_first(&mut burst, BURST, 0);
    assert_eq!(out.counters.drops(Drop::TxFull), BURST as u64);
    let asked = out.ports[0].nic.0;
    out.abandon();
    out.free_dropped(&mut cache);
    assert_eq!(asked, 1, "calls of the port for one burst, all of which is dropped");
}

/// Catches: packets that are dropped although their port would have taken what was queued for it.
#[test]
fn a_run_that_there_is_no_room_for_has_its_port_take_what_is_queued() {
    use arrayvec::ArrayVec;

    use crate::arch::TickRate;
    use crate::dpdk::{HEADROOM, Mbuf, Mempool, Nic, TX_BUFFER, test_eal};
    use crate::worker::hop_cache::HopCache;
    use crate::worker::output::Output;
    use crate::worker::{Bell, WorkerShared};

    #[derive(Default)]
    struct Takes(usize);

    impl Nic for Takes {
        fn rx_burst(&mut self, _: &mut ArrayVec<Mbuf, BURST>) -> usize {
            0
        }

        fn tx_burst(&mut self, frames: &mut ArrayVec<Mbuf, TX_BUFFER>) -> usize {
            let count = frames.drain(..).count();
            self.0 += count;
            count
        }
    }

    let mempool = Mempool::create(test_eal(), "takes", 511, 256 + HEADROOM).expect("memory");
    let mut cache = mempool.cache();
    let shared = WorkerShared::new(Bell::new().expect("a descriptor"));
    let mut out = Output::new(vec![(EAST, Takes::default())], TickRate::NANOSECONDS, shared);
    let mut frame = || {
        let mut frame = cache.alloc().expect("memory");
        frame.append(60).expect("room").fill(0);
        frame
    };
    // A run finds room for half of it.
    let queued = TX_BUFFER - BURST / 2;
    (0..queued).for_each(|_| out.queue_at(frame(), 0));
    let mut hop = *HopCache::new(TickRate::NANOSECONDS).at(EntryId::NO_ROUTE);
    hop.mtu = 1500;
    let (sent, left) = out.forward_run(&mut (0..BURST).map(|_| (frame(), ())), BURST, &hop);
    assert!(left.is_none());
    assert_eq!((sent, out.ports[0].nic.0, out.queued(), out.counters.drops(Drop::TxFull)), (BURST, queued, BURST, 0));
    out.abandon();
    out.free_dropped(&mut cache);
}

/// Catches: a packet that goes the way of another leaf, as that was remembered in the place of its own meanwhile.
#[test]
fn a_way_that_was_forgotten_for_another_since_the_look_is_not_taken() {
    let mut bench = warm();
    // 1024 entries further on, one has the same place.
    let same_place = EntryId(VIA_EAST_POOLED.0 + 1024);
    bench.change(|state| {
        let mut entries = state.entries.to_vec();
        let via_west = entries[usize::from(VIA_WEST.0)];
        entries.resize(usize::from(same_place.0) + 1, entries[0]);
        entries[usize::from(same_place.0)] = via_west;
        state.entries = entries.into();
    });
    bench.routes.insert("203.0.117.0/24".parse().expect("prefix"), same_place).expect("room");
    // Too large for the rule.
    let large = udp(WEST_HOST, FAR_HOST, (1, 2), 900, 1);
    bench.west_sends(&large);
    bench.run();
    let elsewhere = udp(WEST_HOST, Ipv4Addr::new(203, 0, 117, 7), (1, 2), 60, 2);
    bench.west_sends(&elsewhere);
    bench.west_sends(&large);
    bench.run();
    assert_eq!(bench.east_gets(), vec![after_hops(&large, 1); 2]);
    assert_eq!(bench.west_gets(), [after_hops(&elsewhere, 1)]);
    bench.end();
}

#[test]
fn a_burst_of_frames_of_all_lengths_from_nothing_on_is_forwarded_in_order() {
    let mut bench = warm();
    let mut expected = [vec![], vec![]];
    for number in 0..BURST as u8 {
        // Every eighth frame is a runt of 34 to 37 bytes, which a virtual link delivers as it is.
        let runt = number % 8 == 7;
        let payload = if runt { usize::from(number / 8) } else { 40 };
        // One goes elsewhere than the next.
        let way = usize::from(number % 2);
        let ip = packet(header(WEST_HOST, [UNPOOLED, BACK][way], 99, payload), &vec![number; payload]);
        // One is padded, and one to another station.
        let padding = if number % 8 == 3 { 9 } else { 0 };
        let station = if number == 5 { ALIKE_MAC } else { OWN_WEST_MAC };
        let frame = [&station[..], &WEST_HOST_MAC, &[8, 0], &ip, &[0xee; 9][..padding]].concat();
        assert!(bench.west.send_bytes(&mut bench.cache, &frame));
        if number != 5 {
            expected[way].push(after_hops(&ip, 1));
        }
    }
    bench.run();
    assert_eq!([bench.east_gets(), bench.west_gets()], expected);
    assert_eq!(bench.end().drops(Drop::NotForUs), 1);
}
