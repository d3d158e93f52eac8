//! Bytes from the wire are hostile: whatever comes, nothing crashes, everything is counted, all memory comes back.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::lab::*;
use super::lab6::*;
use crate::packet::arp::{ARP_LEN, Arp, ArpOperation};
use crate::packet::checksum::Sum;
use crate::packet::ethernet::MacAddr;
use crate::packet::icmp::{ErrorKind, write_error};
use crate::packet::ipv4::Ipv4Header;
use crate::packet::nd::{PACKET_LEN, Solicitation};
use crate::packet::too_big::TooBig;
use crate::pool::wire::{Row, RowType, write_header_and_rows};
use crate::worker::{Counter, Drop, Event};

/// A pooled packet from the peer with two rows, its bytes open to change before the checksums are made.
fn pooled(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let inner = [udp(PEER, WEST_HOST, (1, 2), 60, 1), udp(PEER, WEST_HOST, (1, 2), 80, 2)];
    let rows = [
        Row { start: 0, length: 60, ttl: 1, row_type: RowType::WholeIpv4 },
        Row { start: 60, length: 80, ttl: 1, row_type: RowType::WholeIpv4 },
    ];
    let mut payload = vec![0; 8 + 2 * 6];
    write_header_and_rows(64, 1, &rows, &mut payload).expect("room for the index");
    payload.extend(inner.concat());
    change(&mut payload);
    udp_with(PEER, OWN_EAST, (POOL_PORT, POOL_PORT), &payload)
}

#[test]
fn a_sound_pooled_packet_is_delivered() {
    let mut bench = Bench::new();
    bench.east_sends(&pooled(|_| ()));
    bench.run();
    assert_eq!(bench.west_gets().len(), 2);
    bench.end();
}

#[test]
fn every_broken_bound_drops_the_pooled_packet_whole_under_its_name() {
    type Change = fn(&mut Vec<u8>);
    let cases: &[(Drop, Change)] = &[
        (Drop::PoolTruncatedHeader, |p| p.truncate(7)),
        (Drop::PoolUnsupportedVersion, |p| p[0] = 0x20),
        (Drop::PoolAuthenticatedUnsupported, |p| p[0] = 0x18),
        (Drop::PoolUnsupportedKind, |p| p[0] = 0x17),
        (Drop::PoolNoRows, |p| p[1] = 0),
        (Drop::PoolTruncatedIndex, |p| p[1] = 255),
        (Drop::PoolFirstRowStart, |p| p[9] = 1),
        (Drop::PoolRowOverlap, |p| p[15] = 59),
        (Drop::PoolRowGap, |p| p[15] = 61),
        (Drop::PoolUnsupportedType, |p| p[13] = 129),
        (Drop::PoolRowTooShort, |p| (p[11], p[15]) = (19, 19)),
        (Drop::PoolRowBeyondData, |p| p[17] = 81),
        (Drop::PoolTrailingData, |p| p.push(0)),
        (Drop::PoolInnerVersion, |p| p[20] = 0x65),
        (Drop::PoolInnerLength, |p| p[23] = 61),
        (Drop::PoolRowOrder, |p| {
            p[1] = 3;
            p.splice(20..20, [0, 30, 0, 50, 1, 4]);
        }),
        (Drop::PoolTruncatedHello, |p| {
            (p[0], p[1]) = (0x14, 0);
            p.truncate(12);
        }),
        (Drop::PoolHelloRows, |p| p[0] = 0x14),
        (Drop::PoolHelloInstance, |p| {
            (p[0], p[1]) = (0x14, 0);
            p[12..16].fill(0);
        }),
    ];
    for (reason, change) in cases {
        let mut bench = Bench::new();
        bench.east_sends(&pooled(change));
        bench.run();
        assert_eq!(bench.west_gets().len(), 0, "{}: nothing is delivered", reason.name());
        assert_eq!(bench.end().drops(*reason), 1, "{}", reason.name());
    }
}

#[test]
fn only_configured_peers_are_listened_to() {
    let mut bench = Bench::new();
    let from_peer = pooled(|_| ());
    let stranger = std::net::Ipv4Addr::new(198, 51, 100, 78);
    bench.east_sends(&udp_with(stranger, OWN_EAST, (POOL_PORT, POOL_PORT), &from_peer[28..]));
    bench.run();
    assert_eq!(bench.west_gets().len(), 0);
    assert_eq!(bench.end().drops(Drop::PoolUnknownPeer), 1);
}

#[test]
fn a_wrong_udp_checksum_a_fragment_and_a_wrong_udp_length_are_refused() {
    let mut bench = Bench::new();
    let mut wrong = pooled(|_| ());
    let last = wrong.len() - 1;
    wrong[last] ^= 1;
    bench.east_sends(&wrong);
    let whole = pooled(|_| ());
    let header = Ipv4Header { more_fragments: true, dont_fragment: false, ..Ipv4Header::parse(&whole).expect("sound") };
    bench.east_sends(&packet(header, &whole[20..]));
    // A datagram shorter than what carries it.
    let longer = Ipv4Header { total_len: whole.len() as u16 + 4, ..Ipv4Header::parse(&whole).expect("sound") };
    bench.east_sends(&packet(longer, &[&whole[20..], &[0; 4]].concat()));
    bench.run();
    assert_eq!(bench.west_gets().len(), 0);
    let counters = bench.end();
    let drops = [Drop::PoolUdpChecksum, Drop::PoolFragment, Drop::PoolUdpLength].map(|reason| counters.drops(reason));
    assert_eq!(drops, [1, 1, 1]);
}

#[test]
fn an_invalid_packet_inside_a_sound_pooled_packet_is_dropped_alone() {
    let mut bench = Bench::new();
    bench.east_sends(&pooled(|payload| payload[20 + 10] ^= 1));
    bench.run();
    assert_eq!(bench.west_gets().len(), 1);
    assert_eq!(bench.end().drops(Drop::Ipv4Checksum), 1);
}

#[test]
fn pooled_packets_inside_each_other_end_somewhere() {
    let mut inside = pooled(|_| ());
    for _ in 0..4 {
        let mut payload = vec![0; 8 + 6];
        let row = Row { start: 0, length: inside.len() as u16, ttl: 1, row_type: RowType::WholeIpv4 };
        write_header_and_rows(64, 1, &[row], &mut payload).expect("room");
        payload.extend(&inside);
        inside = udp_with(PEER, OWN_EAST, (POOL_PORT, POOL_PORT), &payload);
    }
    let mut bench = Bench::new();
    bench.east_sends(&inside);
    bench.run();
    assert_eq!(bench.west_gets().len(), 0);
    assert_eq!(bench.end().drops(Drop::PoolNesting), 1);
}

#[test]
fn exhausted_memory_loses_packets_by_name_only() {
    let mut bench = Bench::new();
    let mut hoard = Vec::new();
    bench.east_sends(&pooled(|_| ()));
    while let Some(mbuf) = bench.cache.alloc() {
        hoard.push(mbuf);
    }
    bench.run();
    let counters = bench.counters();
    assert_eq!(counters.drops(Drop::NoBuffer) + bench.west_gets().len() as u64, 2);
    assert!(counters.drops(Drop::NoBuffer) >= 1, "{counters:?}");
    drop(hoard);
    bench.end();
}

/// A question for the address of our eastern port.
fn asked() -> Vec<u8> {
    let mut out = [0; PACKET_LEN];
    let length = Solicitation::new(GATEWAY6, MacAddr(GATEWAY_MAC), OWN_EAST6, true).write(&mut out);
    out[..length].to_vec()
}

/// Frames that are nearly sound: a good one with some bytes changed, the checksum of its IP header often mended.
fn nearly_sound() -> impl Strategy<Value = Vec<u8>> {
    let good = prop::sample::select(vec![
        frame(OWN_EAST_MAC, GATEWAY_MAC, 0x0800, &pooled(|_| ())),
        frame(OWN_EAST_MAC, GATEWAY_MAC, 0x0800, &udp(PEER, FAR_HOST, (16_400, 16_500), 280, 3)),
        frame(OWN_EAST_MAC, GATEWAY_MAC, 0x0800, &udp(PEER, OWN_EAST, (1, 2), 100, 3)),
        frame(OWN_EAST_MAC, GATEWAY_MAC, 0x86dd, &udp6(WEST_HOST6, FAR_HOST6, (16_400, 16_500), 280, 3)),
        frame(OWN_EAST_MAC, GATEWAY_MAC, 0x86dd, &icmp6(WEST_HOST6, OWN_EAST6, 255, &[128, 0, 0, 0, 1, 2, 3, 4])),
        frame(
            OWN_EAST_MAC,
            GATEWAY_MAC,
            0x86dd,
            &packet6(
                header6(WEST_HOST6, OWN_EAST6, 0, 20),
                &[44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 2],
            ),
        ),
        frame([0x33, 0x33, 0xff, 0, 0, 1], GATEWAY_MAC, 0x86dd, &asked()),
        frame(
            [0xff; 6],
            GATEWAY_MAC,
            0x0806,
            &[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 1, 2, 198, 51, 100, 2, 0, 0, 0, 0, 0, 0, 198, 51, 100, 1],
        ),
    ]);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (good, changes, any::<bool>(), any::<prop::sample::Index>(), 0..10u8).prop_map(
        |(mut frame, changes, mend, cut, odds)| {
            for (at, value) in changes {
                let at = at.index(frame.len());
                frame[at] = value;
            }
            if odds == 0 {
                frame.truncate(cut.index(frame.len()));
            }
            if mend && frame.len() >= 34 && frame[12..14] == [8, 0] {
                (frame[24], frame[25]) = (0, 0);
                let [c0, c1] = Sum::of(&frame[14..34]).checksum().to_be_bytes();
                (frame[24], frame[25]) = (c0, c1);
            }
            frame
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_comes_is_accounted_for(frames in prop::collection::vec((nearly_sound(), any::<bool>()), 1..80)) {
        let mut bench = Bench::new();
        let count = frames.len() as u64;
        for (frame, from_west) in frames {
            let end = if from_west { &mut bench.west } else { &mut bench.east };
            prop_assert!(end.send_bytes(&mut bench.cache, &frame));
        }
        bench.run();
        bench.wait(std::time::Duration::from_secs(10));
        bench.run();
        let counters = bench.end();
        prop_assert_eq!(counters.get(Counter::In), count);
        prop_assert_eq!(counters.get(Counter::Held), 0);
    }
}

/// What a router says of a pooled packet of ours to `to` that was too long for its next link.
fn too_long(to: Ipv4Addr) -> Vec<u8> {
    let router = Ipv4Addr::new(10, 9, 9, 9);
    let ours = udp(OWN_EAST, to, (POOL_PORT, POOL_PORT), 1400, 1);
    let uncut = Ipv4Header { dont_fragment: true, ..Ipv4Header::parse(&ours).expect("sound") };
    let mut out = [0; 600];
    let kind = ErrorKind::FragmentationNeeded { next_hop_mtu: 1300 };
    let length = write_error(kind, &packet(uncut, &ours[20..]), router, OWN_EAST, &mut out).expect("room");
    out[..length].to_vec()
}

#[test]
fn a_flood_of_icmp_messages_leaves_the_control_thread_to_the_hellos_of_peers() {
    let mut bench = Bench::new();
    bench.east_sends(&too_long(PEER));
    bench.run();
    assert!(
        matches!(bench.events()[..], [Event::PacketTooBig(TooBig { mtu: 1300, .. })]),
        "it is told of what we sent"
    );

    bench.east_sends(&too_long(Ipv4Addr::new(10, 8, 8, 8)));
    bench.run();
    assert!(bench.events().is_empty(), "nothing of ours goes to strangers");

    const FLOOD: u64 = 6000;
    for _ in 0..FLOOD / 500 {
        (0..500).for_each(|_| bench.east_sends(&too_long(PEER)));
        bench.run();
    }
    let told = bench.events().len() as u64;
    assert!((1..200).contains(&told), "{told} of {FLOOD}");
    let counters = bench.end();
    assert_eq!(counters.drops(Drop::ControlRingFull), 0);
    assert_eq!(counters.drops(Drop::LocalIcmp), FLOOD + 1 - told);
}

/// A host that asks for our address, or answers us, in the name of `sender`.
fn arp_from(sender: Ipv4Addr, operation: ArpOperation) -> Vec<u8> {
    let mut arp = [0; ARP_LEN];
    let (sender_mac, target_mac) = (MacAddr(WEST_HOST_MAC), MacAddr([0; 6]));
    Arp { operation, sender_mac, sender_ip: sender, target_mac, target_ip: OWN_WEST }.write(&mut arp);
    frame(OWN_WEST_MAC, WEST_HOST_MAC, 0x0806, &arp)
}

#[test]
fn a_flood_of_questions_is_answered_and_leaves_the_control_thread_to_the_answers_of_others() {
    let mut bench = Bench::new();
    const FLOOD: usize = 2000;
    let say = |bench: &mut Bench, sender, operation| {
        assert!(bench.west.send_bytes(&mut bench.cache, &arp_from(sender, operation)));
        bench.run();
        bench.west.receive_all_bytes().len()
    };
    let ask = |bench: &mut Bench, host: u8| say(bench, Ipv4Addr::new(192, 0, 2, host), ArpOperation::Request);
    // One that is known, and many that are not.
    let answers: usize = (9..250).cycle().take(FLOOD).map(|host| ask(&mut bench, host)).sum();
    assert_eq!(answers, FLOOD);
    let told = bench.events().len();
    assert!((1..200).contains(&told), "{told} of {FLOOD}");
    for sender in [WEST_HOST, Ipv4Addr::new(192, 0, 2, 251)] {
        say(&mut bench, sender, ArpOperation::Reply);
        let events = bench.events();
        assert!(
            matches!(events[..], [Event::NeighbourSeen { address, .. }] if address == sender),
            "{sender} answers: {events:?}"
        );
    }
    let counters = bench.end();
    assert_eq!(counters.get(Counter::EventsLimited), (FLOOD - told) as u64);
    assert_eq!(counters.drops_total(), 0);
}
