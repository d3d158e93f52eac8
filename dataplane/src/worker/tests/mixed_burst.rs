//! Bursts in which plain packets and others are mixed: all of them leave as they would alone, in the order they came.

use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::lab::*;
use super::lab6::*;
use super::order::pooled;
use crate::dpdk::{BURST, TX_BUFFER};
use crate::packet::arp::Arp;
use crate::packet::ethernet::MacAddr;
use crate::packet::ipv4::tests::seal;
use crate::packet::ipv4::{Ipv4Header, decrement_ttl};
use crate::worker::{Counter, Drop};

/// A destination that is routed to the gateway and has no path.
const UNPOOLED: Ipv4Addr = Ipv4Addr::new(203, 0, 114, 7);
const PORTS: (u16, u16) = (7, 8);

/// What comes in, all of one flow if it is of IPv4.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    /// With an option in its header.
    Option,
    Fragment,
    Ipv6,
    Arp,
    /// Does not go on.
    Old,
    /// Likewise.
    TooLong,
    /// Is in a pooled packet to us, with another one.
    Contained,
}

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    let odd = prop::sample::select(vec![
        Kind::Option,
        Kind::Fragment,
        Kind::Ipv6,
        Kind::Arp,
        Kind::Old,
        Kind::TooLong,
        Kind::Contained,
    ]);
    let of = |plain: u32| prop_oneof![plain => Just(Kind::Plain), 1 => odd.clone()];
    prop_oneof![
        prop::collection::vec(of(1), 1..2 * BURST),
        prop::collection::vec(of(8), 1..2 * BURST),
        prop::collection::vec(of(20), 1..2 * BURST)
    ]
}

/// A packet with an option in its header.
fn with_option(packet: &[u8]) -> Vec<u8> {
    let mut packet = [&packet[..20], &[1; 4], &packet[20..]].concat();
    let length = packet.len() as u16;
    packet[0] = 0x46;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    seal(&mut packet);
    packet
}

/// A packet as it leaves.
fn later(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    decrement_ttl(&mut packet);
    packet
}

fn changed(packet: &[u8], change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
    let mut header = Ipv4Header::parse(packet).expect("sound");
    change(&mut header);
    self::packet(header, &packet[20..])
}

/// A router of which we know whether it has found the way to [`UNPOOLED`].
fn bench(knows: bool) -> Bench {
    let mut bench = Bench::with_mbufs(2047);
    if knows {
        bench.west_sends(&udp(WEST_HOST, UNPOOLED, (1, 2), 60, 0));
        bench.run();
        assert_eq!(bench.east_gets().len(), 1);
    }
    bench
}

/// Has all that came in go on, a burst at a time, while no time passes.
fn go_on(bench: &mut Bench) {
    let now = bench.now;
    while bench.worker.iterate(now) > 0 {}
    assert_eq!(bench.counters().imbalance(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn each_packet_of_a_mixed_burst_keeps_its_place(kinds in kinds(), knows: bool, pools: bool) {
        let mut bench = bench(knows);
        let (mut expected, mut refused) = (Vec::new(), 0);
        let waiting = udp(WEST_HOST, FAR_HOST, PORTS, 60, 0);
        if pools {
            bench.west_sends(&waiting);
            go_on(&mut bench);
        }
        for (number, kind) in kinds.iter().enumerate() {
            let plain = udp(WEST_HOST, UNPOOLED, PORTS, 60 + number, number as u8);
            let sent = match kind {
                Kind::Plain => plain,
                Kind::Option => with_option(&plain),
                Kind::Fragment => changed(&plain, |header| header.more_fragments = true),
                Kind::Ipv6 => udp6(WEST_HOST6, "2001:db8:f::7".parse().expect("an address"), PORTS, 80, number as u8),
                Kind::Arp => {
                    let mut arp = [0; 28];
                    Arp::request(MacAddr(WEST_HOST_MAC), WEST_HOST, OWN_WEST).write(&mut arp);
                    let frame = frame([0xff; 6], WEST_HOST_MAC, 0x0806, &arp);
                    prop_assert!(bench.west.send_bytes(&mut bench.cache, &frame));
                    continue;
                }
                Kind::Old => changed(&plain, |header| header.ttl = 1),
                Kind::TooLong => {
                    let long = udp(WEST_HOST, UNPOOLED, PORTS, 1501, 0);
                    changed(&long, |header| header.dont_fragment = true)
                }
                Kind::Contained => {
                    let inner = [0, 1].map(|more| udp(PEER, UNPOOLED, PORTS, 60 + number, number as u8 + more));
                    expected.extend(inner.iter().map(|packet| later(packet)));
                    bench.west_sends(&pooled(PEER, OWN_WEST, 0, number as u32, &inner));
                    continue;
                }
            };
            match kind {
                Kind::Old | Kind::TooLong => refused += 1,
                Kind::Ipv6 => expected.push(after_hops6(&sent, 1)),
                _ => expected.push(later(&sent)),
            }
            bench.west_sends(&sent);
        }
        go_on(&mut bench);
        prop_assert_eq!(bench.east_gets(), expected);
        let counters = bench.counters();
        let drops = counters.drops(Drop::TtlExpired) + counters.drops(Drop::FragmentationNeeded);
        prop_assert_eq!((drops, counters.drops_total()), (refused, refused));
        prop_assert_eq!(counters.get(Counter::Held), u64::from(pools), "it waits for company");
        bench.wait(Duration::from_millis(20));
        bench.run();
        prop_assert_eq!(bench.east_gets(), vec![later(&waiting); usize::from(pools)]);
        bench.end();
    }
}

/// Catches: what was written too early, or without asking whether packets of its flow wait.
#[test]
fn a_packet_behind_others_does_not_overtake_its_flow_in_a_pool() {
    let other = udp(WEST_HOST, UNPOOLED, PORTS, 60, 9);
    let [first, second, third] = [1, 2, 3].map(|tag| udp(WEST_HOST, FAR_HOST, PORTS, 60, tag));
    // A fragment that does not tell its ports.
    let behind = changed(&udp(WEST_HOST, FAR_HOST, (9, 9), 60, 2), |header| header.fragment_offset = 8);
    let bursts = [
        vec![other.clone(), second.clone(), third.clone()],
        vec![with_option(&other), second.clone(), third.clone()],
        vec![other.clone(), with_option(&other), second.clone(), with_option(&third)],
        vec![other.clone(), changed(&second, |header| header.more_fragments = true), third.clone()],
        vec![other.clone(), behind.clone()],
        vec![with_option(&other), behind, with_option(&third)],
    ];
    for burst in bursts {
        let mut bench = bench(true);
        bench.west_sends(&first);
        go_on(&mut bench);
        assert_eq!(bench.east_gets().len(), 0, "it waits for company");
        // From now on nothing is pooled that goes there.
        bench.routes.insert("203.0.113.7/32".parse().expect("prefix"), VIA_EAST).expect("room");
        burst.iter().for_each(|packet| bench.west_sends(packet));
        go_on(&mut bench);
        let mut expected: Vec<_> = burst.iter().map(|packet| later(packet)).collect();
        let place = burst.iter().position(|packet| packet[16..20] == FAR_HOST.octets()).expect("one of the flow");
        expected.insert(place, later(&first));
        assert_eq!(bench.east_gets(), expected);
        bench.end();
    }
}

#[test]
fn a_pool_that_a_packet_opens_takes_those_behind_it_and_lets_the_others_go_on() {
    for others in [1, 3, BURST - 3] {
        let mut bench = bench(true);
        let [odd, plain] =
            [with_option(&udp(WEST_HOST, FAR_HOST, PORTS, 60, 1)), udp(WEST_HOST, FAR_HOST, PORTS, 60, 2)];
        let unpooled: Vec<_> = (0..others as u8).map(|tag| udp(WEST_HOST, UNPOOLED, PORTS, 60, tag)).collect();
        bench.west_sends(&unpooled[0]);
        bench.west_sends(&odd);
        unpooled[1..].iter().for_each(|packet| bench.west_sends(packet));
        bench.west_sends(&plain);
        go_on(&mut bench);
        assert_eq!(bench.east_gets(), unpooled.iter().map(|packet| later(packet)).collect::<Vec<_>>());
        let counters = bench.counters();
        assert_eq!((counters.get(Counter::PoolStaged), counters.get(Counter::Held)), (2, 1));
        bench.end();
    }
}

#[test]
fn a_packet_that_follows_others_goes_by_a_way_that_was_remembered_a_moment_ago() {
    let mut bench = bench(true);
    // The first of those to the gateway has it remembered as a host.
    let packets: Vec<_> = (0..BURST as u8)
        .map(|number| match number % 4 {
            0 => with_option(&udp(WEST_HOST, GATEWAY, PORTS, 60, number)),
            1 => udp(WEST_HOST, GATEWAY, PORTS, 60, number),
            _ => udp(WEST_HOST, UNPOOLED, PORTS, 60, number),
        })
        .collect();
    packets.iter().for_each(|packet| bench.west_sends(packet));
    go_on(&mut bench);
    assert_eq!(bench.east_gets(), packets.iter().map(|packet| later(packet)).collect::<Vec<_>>());
    assert_eq!(bench.worker.stages.hops.remembered_hosts(), 1);
    bench.end();
}

#[test]
fn what_a_port_has_no_room_for_is_dropped_by_name_and_the_rest_leaves_in_order() {
    const SENT: usize = WIRE + TX_BUFFER + 3 * BURST;
    for pools in [false, true] {
        let mut bench = bench(true);
        if pools {
            bench.west_sends(&udp(WEST_HOST, FAR_HOST, PORTS, 60, 0));
            go_on(&mut bench);
        }
        let packets: Vec<_> = (0..SENT as u16)
            .map(|number| {
                let packet = changed(&udp(WEST_HOST, UNPOOLED, PORTS, 60, 0), |header| header.id = number);
                if number % 5 == 3 { with_option(&packet) } else { packet }
            })
            .collect();
        for burst in packets.chunks(BURST) {
            burst.iter().for_each(|packet| bench.west_sends(packet));
            go_on(&mut bench);
        }
        let counters = bench.counters();
        let (out, queued) = (counters.get(Counter::Out) as usize - 1, counters.get(Counter::Held) as usize);
        assert_eq!((out, queued), (WIRE, TX_BUFFER + usize::from(pools)));
        assert_eq!(counters.drops(Drop::TxFull) as usize, SENT - WIRE - TX_BUFFER);
        let mut got = bench.east_gets();
        bench.run();
        got.extend(bench.east_gets());
        let first: Vec<_> = packets.iter().take(WIRE + TX_BUFFER).map(|packet| later(packet)).collect();
        assert!(got == first, "{} packets, or in another order", got.len());
        bench.wait(Duration::from_secs(1));
        bench.run();
        bench.end();
    }
}

/// Catches: what a link adds behind a packet that ends before ports do, taken for its ports.
#[test]
fn a_packet_that_ends_before_its_ports_does_not_overtake_its_flow() {
    for payload in 0..=4 {
        let data = &[0xab, 0xcd, 0xef, 0x11][..payload];
        let of = |id| changed(&packet(header(WEST_HOST, FAR_HOST, 17, payload), data), |header| header.id = id);
        let mut bench = bench(true);
        bench.west_sends(&of(1));
        go_on(&mut bench);
        // The next one goes by a way without a path.
        bench.routes.insert("203.0.113.7/32".parse().expect("prefix"), VIA_EAST).expect("room");
        bench.west_sends(&of(2));
        go_on(&mut bench);
        let ids: Vec<u8> = bench.east_gets().iter().map(|packet| packet[5]).collect();
        assert_eq!(ids, [1, 2], "{payload} bytes behind the header");
        bench.end();
    }
}
