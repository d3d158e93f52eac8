//! IPv6 through a whole worker: forwarded, answered, refused by name.

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::lab::*;
use super::lab6::*;
use crate::fib::PeerIndex;
use crate::packet::icmpv6;
use crate::packet::ipv6::Ipv6Header;
use crate::packet::too_big::TooBig;
use crate::worker::{Counter, Drop, Event, PeerTable};

#[test]
fn a_packet_is_forwarded_with_its_hop_limit_one_lower_and_nothing_else_changed() {
    let mut bench = Bench::new();
    let sent = [udp6(WEST_HOST6, FAR_HOST6, (1, 2), 60, 1), udp6(WEST_HOST6, FAR_HOST6, (1, 2), 1500, 2)];
    sent.iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    assert_eq!(bench.east_gets(), sent.map(|packet| after_hops6(&packet, 1)));
    assert_eq!(bench.end().get(Counter::Forwarded), 2);
}

#[test]
fn a_host_on_the_link_is_reached_by_its_own_address() {
    let mut bench = Bench::new();
    let sent = udp6(FAR_HOST6, WEST_HOST6, (1, 2), 60, 1);
    bench.east_sends(&sent);
    bench.run();
    assert_eq!(bench.west_gets(), [after_hops6(&sent, 1)]);
    bench.end();
}

#[test]
fn what_only_the_default_route_covers_goes_by_it() {
    let mut bench = Bench::new();
    bench.routes6.insert("::/0".parse().expect("prefix"), VIA_EAST6).expect("room");
    let sent = udp6(WEST_HOST6, "2001:db8:dead::1".parse().expect("an address"), (1, 2), 60, 1);
    bench.west_sends(&sent);
    bench.run();
    assert_eq!(bench.east_gets(), [after_hops6(&sent, 1)]);
    bench.end();
}

#[test]
fn an_ipv4_packet_goes_by_a_gateway_with_an_ipv6_address() {
    let mut bench = Bench::new();
    bench.routes.insert("203.0.114.0/24".parse().expect("prefix"), VIA_EAST6).expect("room");
    let sent = udp(WEST_HOST, [203, 0, 114, 7].into(), (1, 2), 60, 1);
    bench.west_sends(&sent);
    bench.run();
    assert_eq!(bench.east_gets(), [after_hops(&sent, 1)]);
    bench.end();
}

#[test]
fn both_families_of_a_burst_keep_their_order_on_each_link() {
    let mut bench = Bench::new();
    bench.change(|state| state.rules = Default::default());
    let sent: Vec<_> = (0..90u8)
        .map(|tag| match tag % 7 {
            0 | 3 | 4 => udp6(WEST_HOST6, FAR_HOST6, (1, 2), 60, tag),
            _ => udp(WEST_HOST, FAR_HOST, (1, 2), 60, tag),
        })
        .collect();
    sent.iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    let tags: Vec<_> = bench.east_gets().iter().map(|packet| packet[59]).collect();
    assert_eq!(tags, (0..90).collect::<Vec<u8>>());
    bench.end();
}

#[test]
fn a_hop_limit_that_ends_here_is_told_of() {
    for hop_limit in [0, 1] {
        let mut bench = Bench::new();
        let mut sent = udp6(WEST_HOST6, FAR_HOST6, (1, 2), 100, 5);
        sent[7] = hop_limit;
        bench.west_sends(&sent);
        bench.run();
        let answers = bench.west_gets();
        assert_eq!(error_of(&answers[0]), (OWN_WEST6, WEST_HOST6, [3, 0], 0, &sent[..]));
        assert_eq!((answers.len(), bench.east_gets().len()), (1, 0));
        assert_eq!(bench.end().drops(Drop::TtlExpired), 1);
    }
}

#[test]
fn a_packet_too_large_for_the_next_link_is_refused_with_that_links_mtu() {
    let mut bench = Bench::new();
    bench.change(|state| {
        let mut ports = state.ports.to_vec();
        ports[1].mtu = 1400;
        state.ports = ports.into();
    });
    let (fits, large) = (udp6(WEST_HOST6, FAR_HOST6, (1, 2), 1400, 1), udp6(WEST_HOST6, FAR_HOST6, (1, 2), 1401, 2));
    bench.west_sends(&fits);
    bench.west_sends(&large);
    bench.run();
    assert_eq!(bench.east_gets(), [after_hops6(&fits, 1)]);
    let answers = bench.west_gets();
    assert_eq!(answers[0].len(), 1280, "as much as every link takes");
    assert_eq!(error_of(&answers[0]), (OWN_WEST6, WEST_HOST6, [2, 0], 1400, &large[..1232]));
    assert_eq!(bench.end().drops(Drop::FragmentationNeeded), 1);
}

#[test]
fn what_has_no_way_on_is_refused_by_name_and_told_of_where_it_may_be() {
    let nowhere: Ipv6Addr = "2001:db8:dead::1".parse().expect("an address");
    let outside: Ipv6Addr = "2001:db8:b::1".parse().expect("an address");
    let error = icmp6(WEST_HOST6, nowhere, 64, &[1, 0, 0, 0, 0, 0, 0, 0]);
    let cases: [(Vec<u8>, Drop, Option<[u8; 2]>); 3] = [
        (udp6(WEST_HOST6, nowhere, (1, 2), 100, 5), Drop::NoRoute, Some([1, 0])),
        (error, Drop::NoRoute, None),
        (udp6(WEST_HOST6, outside, (1, 2), 100, 5), Drop::RouteBlackhole, None),
    ];
    for (sent, reason, told) in cases {
        let mut bench = Bench::new();
        bench.west_sends(&sent);
        bench.run();
        let answers = bench.west_gets();
        let said = answers.first().map(|answer| error_of(answer));
        assert_eq!(said.map(|(_, _, said, _, quoted)| (said, quoted.len())), told.map(|told| (told, sent.len())));
        assert_eq!(bench.east_gets().len(), 0);
        assert_eq!(bench.end().drops(reason), 1, "{}", reason.name());
    }
}

#[test]
fn one_with_an_address_of_its_link_only_is_told_that_it_cannot_be_answered_from_afar() {
    let mut bench = Bench::new();
    bench.neighbours(vec![neighbour(WEST, WEST_HOST_LOCAL, WEST_HOST_MAC)]);
    let sent = udp6(WEST_HOST_LOCAL, WEST_HOST6, (1, 2), 100, 5);
    bench.west_sends(&sent);
    bench.run();
    assert_eq!(error_of(&bench.west_gets()[0]), (OWN_WEST_LOCAL, WEST_HOST_LOCAL, [1, 2], 0, &sent[..]));
    assert_eq!(bench.end().drops(Drop::LinkScope), 1);
}

#[test]
fn errors_of_both_families_share_one_limit() {
    let mut bench = Bench::new();
    let nowhere: Ipv6Addr = "2001:db8:dead::1".parse().expect("an address");
    for _ in 0..200 {
        bench.west_sends(&udp6(WEST_HOST6, nowhere, (1, 2), 60, 1));
        bench.west_sends(&udp(WEST_HOST, [8, 8, 8, 8].into(), (1, 2), 60, 1));
    }
    bench.run();
    let counters = bench.end();
    assert_eq!(counters.drops(Drop::NoRoute), 400);
    assert!((100..110).contains(&counters.get(Counter::CreatedIcmp)), "{counters:?}");
    assert_eq!(counters.get(Counter::CreatedIcmp) + counters.get(Counter::IcmpLimited), 400);
}

#[test]
fn an_echo_request_to_any_of_our_addresses_is_answered_from_that_address() {
    let cases = [(WEST_HOST6, OWN_EAST6), (WEST_HOST6, OWN_WEST_LOCAL), (WEST_HOST_LOCAL, OWN_WEST_LOCAL)];
    for (host, own) in cases {
        let mut bench = Bench::new();
        bench.neighbours(vec![neighbour(WEST, host, WEST_HOST_MAC)]);
        let message = [128, 0, 0, 0, 0, 1, 0, 2, 42, 43];
        bench.west_sends(&icmp6(host, own, 255, &message));
        bench.run();
        let answers = bench.west_gets();
        let header = Ipv6Header::parse(&answers[0]).expect("a sound answer");
        assert_eq!((header.src, header.dst, answers.len()), (own, host, 1));
        assert!(icmpv6::is_intact(&header, &answers[0][40..]));
        assert_eq!((answers[0][40], &answers[0][44..]), (129, &message[4..]));
        assert_eq!(bench.end().get(Counter::EchoReplies), 1);
    }
}

#[test]
fn what_nothing_here_listens_to_is_refused_from_the_address_it_was_for() {
    let hidden = |chain: &[u8], next: u8| packet6(header6(WEST_HOST6, OWN_EAST6, next, chain.len()), chain);
    let cases: [(Vec<u8>, Drop, [u8; 2], u32); 5] = [
        (udp6(WEST_HOST6, OWN_EAST6, (1, 2), 100, 5), Drop::LocalUnhandled, [1, 4], 0),
        (hidden(&[0; 40], 6), Drop::LocalUnhandled, [4, 1], 6),
        // A destination options header that only pads, and behind it a protocol nobody knows.
        (hidden(&[253, 0, 1, 4, 0, 0, 0, 0], 60), Drop::LocalUnhandled, [4, 1], 40),
        // An option that must be known, and a routing header with a segment left.
        (hidden(&[17, 0, 0xc2, 4, 0, 0, 0, 0], 0), Drop::Ipv6Extensions, [4, 2], 42),
        (hidden(&[17, 0, 4, 1, 0, 0, 0, 0], 43), Drop::Ipv6Extensions, [4, 0], 42),
    ];
    for (sent, reason, said, word) in cases {
        let mut bench = Bench::new();
        bench.west_sends(&sent);
        bench.run();
        assert_eq!(error_of(&bench.west_gets()[0]), (OWN_EAST6, WEST_HOST6, said, word, &sent[..]));
        assert_eq!(bench.end().drops(reason), 1, "{}", reason.name());
    }
}

#[test]
fn hostile_packets_are_dropped_by_name_and_without_a_word() {
    let address = |text: &str| -> Ipv6Addr { text.parse().expect("an address") };
    let with = |change: fn(&mut Vec<u8>)| {
        let mut packet = udp6(WEST_HOST6, FAR_HOST6, (1, 2), 100, 5);
        change(&mut packet);
        packet
    };
    let to_us = |next: u8, chain: &[u8]| packet6(header6(WEST_HOST6, OWN_WEST6, next, chain.len()), chain);
    let cases: Vec<(Vec<u8>, Drop)> = vec![
        (with(|packet| packet.truncate(39)), Drop::Ipv6Length),
        (with(|packet| packet[5] += 1), Drop::Ipv6Length),
        (with(|packet| packet[0] = 0x75), Drop::Ipv6Header),
        (with(|packet| packet[0] = 0x45), Drop::Ipv6Header),
        (udp6(address("::"), FAR_HOST6, (1, 2), 100, 1), Drop::MartianSource),
        (udp6(address("::1"), FAR_HOST6, (1, 2), 100, 1), Drop::MartianSource),
        (udp6(address("ff02::1"), FAR_HOST6, (1, 2), 100, 1), Drop::MartianSource),
        (udp6(address("::ffff:10.0.0.1"), FAR_HOST6, (1, 2), 100, 1), Drop::MartianSource),
        (udp6(WEST_HOST6, address("::"), (1, 2), 100, 1), Drop::MartianDestination),
        (udp6(WEST_HOST6, address("::1"), (1, 2), 100, 1), Drop::MartianDestination),
        (udp6(WEST_HOST6, address("::ffff:10.0.0.1"), (1, 2), 100, 1), Drop::MartianDestination),
        (udp6(WEST_HOST6, address("fe80::99"), (1, 2), 100, 1), Drop::LinkScope),
        (udp6(WEST_HOST6, address("ff0e::1"), (1, 2), 100, 1), Drop::NoMulticastRoute),
        (udp6(WEST_HOST6, address("ff02::1:ff00:2"), (1, 2), 100, 1), Drop::MulticastLinkLocal),
        (udp6(WEST_HOST6, address("ff15::1"), (1, 2), 100, 1), Drop::NoMulticastRoute),
        (udp6(address("::"), address("ff0e::1"), (1, 2), 100, 1), Drop::MartianSource),
        (udp6(WEST_HOST_LOCAL, address("ff0e::1"), (1, 2), 100, 1), Drop::LinkScope),
        (udp6(WEST_HOST6, address("ff02::1"), (1, 2), 100, 1), Drop::LocalUnhandled),
        (icmp6(WEST_HOST6, address("ff02::1"), 255, &[128, 0, 0, 0, 0, 0, 0, 0]), Drop::LocalIcmp),
        (icmp6(WEST_HOST6, OWN_WEST6, 64, &[129, 0, 0, 0, 0, 0, 0, 0]), Drop::LocalIcmp),
        (to_us(60, &[17, 1, 1, 4, 0, 0, 0, 0]), Drop::Ipv6Extensions),
        (to_us(60, &[60, 0, 1, 4, 0, 0, 0, 0].repeat(9)), Drop::Ipv6Extensions),
        (to_us(0, &[17, 0, 0x42, 4, 0, 0, 0, 0]), Drop::Ipv6Extensions),
        (to_us(44, &[17, 0, 0, 1, 0, 0, 0, 7, 1, 2, 3, 4]), Drop::LocalFragment),
    ];
    for (sent, reason) in cases {
        let mut bench = Bench::new();
        assert!(bench.west.send_bytes(&mut bench.cache, &frame6(OWN_WEST_MAC, &sent)));
        bench.run();
        assert_eq!((bench.west_gets().len(), bench.east_gets().len()), (0, 0), "{}: {sent:02x?}", reason.name());
        assert_eq!(bench.end().drops(reason), 1, "{}: {sent:02x?}", reason.name());
    }
}

#[test]
fn a_packet_for_one_node_in_a_frame_for_many_is_dropped() {
    let mut bench = Bench::new();
    let sent = udp6(WEST_HOST6, FAR_HOST6, (1, 2), 100, 5);
    assert!(bench.west.send_bytes(&mut bench.cache, &frame6([0x33, 0x33, 0, 0, 0, 1], &sent)));
    bench.run();
    assert_eq!((bench.west_gets().len(), bench.east_gets().len()), (0, 0));
    assert_eq!(bench.end().drops(Drop::LinkBroadcast), 1);
}

/// A frame of type IPv6 without padding.
fn frame6(dst: [u8; 6], ip: &[u8]) -> Vec<u8> {
    [&dst[..], &WEST_HOST_MAC, &[0x86, 0xdd], ip].concat()
}

/// What a router says of a packet of ours that was too long for its next link.
fn too_long(ours: &[u8], mtu: u16) -> Vec<u8> {
    let mut out = [0; icmpv6::MAX_ERROR_LEN];
    let kind = icmpv6::ErrorKind::PacketTooBig { mtu };
    let length = icmpv6::write_error(kind, ours, PEER6, OWN_EAST6, &mut out).expect("room");
    out[..length].to_vec()
}

#[test]
fn a_router_that_says_that_a_packet_of_ours_was_too_long_is_heard_by_the_control_thread() {
    let mut bench = Bench::new();
    bench.change(|state| {
        let mut peer = *state.peers.get(PeerIndex(0)).expect("a peer");
        (peer.path.addressee, peer.path.source) = (PEER6.into(), OWN_EAST6.into());
        state.peers = Arc::new(PeerTable::new(vec![peer]));
    });
    let to = |peer, port| udp6(OWN_EAST6, peer, (port, port), 1400, 9);
    bench.east_sends(&too_long(&to(PEER6, POOL_PORT), 1300));
    bench.run();
    let events = bench.events();
    let [Event::PacketTooBig(TooBig { mtu: 1300, quoted })] = &events[..] else { panic!("{events:?}") };
    assert_eq!((quoted.src, quoted.dst, quoted.total_len), (OWN_EAST6.into(), PEER6.into(), 1400));
    let mut damaged = too_long(&to(PEER6, POOL_PORT), 1300);
    damaged[100] ^= 1;
    let none = [
        damaged,
        too_long(&to(PEER6, POOL_PORT), 1279),
        too_long(&to(PEER6, POOL_PORT + 1), 1300),
        too_long(&to(FAR_HOST6, POOL_PORT), 1300),
    ];
    none.iter().for_each(|message| bench.east_sends(message));
    bench.run();
    assert!(bench.events().is_empty(), "damaged, less than any link takes, to another port, to a stranger");
    let counters = bench.end();
    assert_eq!((counters.get(Counter::AbsorbedControl), counters.drops(Drop::LocalIcmp)), (1, 4));
}
