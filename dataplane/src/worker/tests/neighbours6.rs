//! IPv6 neighbours: solicitations answered, advertisements passed on, packets that wait.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::lab::*;
use super::lab6::*;
use crate::fib::Neighbour;
use crate::packet::ethernet::MacAddr;
use crate::packet::ipv6::Ipv6Header;
use crate::packet::nd::{ALL_NODES, Advertisement, Message, PACKET_LEN, Solicitation, group_mac};
use crate::worker::{Counter, Drop, Event};

const ASKER_MAC: [u8; 6] = [2, 9, 9, 9, 9, 9];
const ASKER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x33);

fn solicitation(question: Solicitation) -> Vec<u8> {
    let mut out = [0; PACKET_LEN];
    let length = question.write(&mut out);
    out[..length].to_vec()
}

fn advertisement(answer: Advertisement) -> Vec<u8> {
    let mut out = [0; PACKET_LEN];
    let length = answer.write(&mut out);
    out[..length].to_vec()
}

/// What the host in the west says of itself.
fn news() -> Advertisement {
    Advertisement {
        src: WEST_HOST6,
        dst: OWN_WEST6,
        target: WEST_HOST6,
        router: false,
        solicited: true,
        overrides: true,
        target_mac: Some(MacAddr(ASKER_MAC)),
    }
}

/// Has a packet come in from the west, in a frame to its group or to us.
fn sends(bench: &mut Bench, packet: &[u8]) {
    let dst = Ipv6Header::parse(packet).expect("a sound header").dst;
    let mac = if dst.is_multicast() { group_mac(dst).0 } else { OWN_WEST_MAC };
    assert!(bench.west.send_bytes(&mut bench.cache, &frame(mac, ASKER_MAC, 0x86dd, packet)));
}

#[test]
fn a_solicitation_for_any_of_our_addresses_is_answered_and_its_sender_learned() {
    for (own, to_group) in [(OWN_WEST6, true), (OWN_WEST_LOCAL, true), (OWN_WEST6, false)] {
        let mut bench = Bench::new();
        let question = Solicitation::new(ASKER, MacAddr(ASKER_MAC), own, to_group);
        sends(&mut bench, &solicitation(question));
        bench.run();
        let frames = bench.west.receive_all_bytes();
        assert_eq!((&frames[0][..6], &frames[0][6..12], frames.len()), (&ASKER_MAC[..], &OWN_WEST_MAC[..], 1));
        assert_eq!(frames[0][12..14], [0x86, 0xdd]);
        let header = Ipv6Header::parse(&frames[0][14..]).expect("a sound packet");
        assert_eq!((header.src, header.dst, header.hop_limit), (own, ASKER, 255));
        let expected = question.answer(MacAddr(OWN_WEST_MAC));
        assert!(expected.router && expected.solicited && expected.overrides);
        assert_eq!(Message::parse(&header, &frames[0][14..]), Ok(Message::Advertisement(expected)));
        let events = bench.events();
        assert!(
            matches!(events[..], [Event::NeighbourSeen { address, mac: ASKER_MAC, addressed_to_us: true, port: WEST }] if address == ASKER),
            "{events:?}"
        );
        assert_eq!(bench.end().get(Counter::NdReplies), 1);
    }
}

#[test]
fn one_who_wants_to_take_our_address_is_told_before_all_nodes() {
    let mut bench = Bench::new();
    let asked = Solicitation::new(Ipv6Addr::UNSPECIFIED, MacAddr(ASKER_MAC), OWN_WEST6, true);
    sends(&mut bench, &solicitation(Solicitation { source_mac: None, ..asked }));
    bench.run();
    let frames = bench.west.receive_all_bytes();
    assert_eq!((&frames[0][..6], frames.len()), (&[0x33, 0x33, 0, 0, 0, 1][..], 1));
    let header = Ipv6Header::parse(&frames[0][14..]).expect("a sound packet");
    assert_eq!((header.src, header.dst), (OWN_WEST6, ALL_NODES));
    assert!(bench.events().is_empty());
    bench.end();
}

#[test]
fn an_asker_that_does_not_say_where_it_is_is_answered_where_it_is_known_to_be() {
    let mut bench = Bench::new();
    let asked = Solicitation::new(WEST_HOST6, MacAddr(ASKER_MAC), OWN_WEST6, false);
    sends(&mut bench, &solicitation(Solicitation { source_mac: None, ..asked }));
    bench.run();
    let answers = bench.west_gets();
    assert_eq!((answers.len(), answers[0][40]), (1, 136));
    assert!(bench.events().is_empty());
    bench.end();
}

#[test]
fn nothing_is_learned_from_senders_that_cannot_be_on_the_link() {
    for sender in [FAR_HOST6, OWN_WEST6] {
        let mut bench = Bench::new();
        sends(&mut bench, &solicitation(Solicitation::new(sender, MacAddr(ASKER_MAC), OWN_WEST6, true)));
        bench.run();
        assert!(bench.events().is_empty(), "{sender}");
        bench.end();
    }
}

#[test]
fn an_answer_goes_to_the_control_thread() {
    let mut bench = Bench::new();
    sends(&mut bench, &advertisement(news()));
    bench.run();
    let events = bench.events();
    let expected = matches!(
        events[..],
        [Event::NeighbourAdvertised {
            port: WEST,
            address: WEST_HOST6,
            mac: Some(ASKER_MAC),
            solicited: true,
            overrides: true
        }]
    );
    assert!(expected, "{events:?}");
    assert_eq!(bench.end().get(Counter::AbsorbedControl), 1);
}

#[test]
fn neighbour_discovery_that_is_no_news_or_not_to_be_trusted_is_dropped_by_name() {
    let known = Advertisement { solicited: false, target_mac: Some(MacAddr(WEST_HOST_MAC)), ..news() };
    let ours = Advertisement { target: OWN_WEST6, ..news() };
    let elsewhere = Advertisement { target: FAR_HOST6, ..news() };
    let mut from_afar = advertisement(news());
    from_afar[7] = 254;
    let mut damaged = advertisement(news());
    damaged[50] ^= 1;
    let another = Solicitation::new(ASKER, MacAddr(ASKER_MAC), "2001:db8:1::2".parse().expect("an address"), false);
    let mut another = solicitation(Solicitation { dst: OWN_WEST6, ..another });
    let redirect = icmp6(WEST_HOST_LOCAL, OWN_WEST6, 255, &[137; 40]);
    let cases = [
        (advertisement(known), Drop::NdIgnored),
        (advertisement(ours), Drop::NdIgnored),
        (advertisement(elsewhere), Drop::NdIgnored),
        (std::mem::take(&mut another), Drop::NdIgnored),
        (redirect, Drop::NdIgnored),
        (from_afar, Drop::NdMalformed),
        (damaged, Drop::NdMalformed),
    ];
    for (sent, reason) in cases {
        let mut bench = Bench::new();
        sends(&mut bench, &sent);
        bench.run();
        assert!(bench.events().is_empty() && bench.west_gets().is_empty(), "{}: {sent:02x?}", reason.name());
        assert_eq!(bench.end().drops(reason), 1, "{}: {sent:02x?}", reason.name());
    }
}

#[test]
fn packets_of_both_families_wait_for_their_neighbour_in_order_and_leave_when_it_answers() {
    let mut bench = Bench::new();
    let gateway = |mac| {
        let unused = Neighbour::new(WEST, WEST_HOST.into(), None);
        vec![unused, Neighbour::new(WEST, WEST_HOST6.into(), None), Neighbour::new(EAST, GATEWAY6.into(), mac)]
    };
    bench.routes.insert("203.0.114.0/24".parse().expect("prefix"), VIA_EAST6).expect("room");
    bench.neighbours(gateway(None));
    let packets = [
        udp6(WEST_HOST6, FAR_HOST6, (1, 2), 60, 0),
        udp(WEST_HOST, [203, 0, 114, 7].into(), (1, 2), 60, 1),
        udp6(WEST_HOST6, FAR_HOST6, (1, 2), 60, 2),
    ];
    packets.iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    let events = bench.events();
    assert!(
        matches!(events[..], [Event::NeighbourWanted { address, port: EAST }] if address == GATEWAY6),
        "{events:?}"
    );
    assert_eq!((bench.east_gets().len(), bench.counters().get(Counter::Held)), (0, 3));
    bench.neighbours(gateway(Some(GATEWAY_MAC)));
    bench.run();
    let expected = [after_hops6(&packets[0], 1), after_hops(&packets[1], 1), after_hops6(&packets[2], 1)];
    assert_eq!(bench.east_gets(), expected);
    bench.end();
}

#[test]
fn a_neighbour_that_never_answers_is_told_of_as_unreachable() {
    let mut bench = Bench::new();
    let silent: Ipv6Addr = "2001:db8:2::99".parse().expect("an address");
    let sent = udp6(WEST_HOST6, silent, (1, 2), 60, 0);
    bench.west_sends(&sent);
    bench.run();
    bench.wait(Duration::from_secs(4));
    bench.run();
    let answers = bench.west_gets();
    let (src, dst, said, _, quoted) = error_of(&answers[0]);
    assert_eq!((src, dst, said, quoted), (OWN_WEST6, WEST_HOST6, [1, 3], &after_hops6(&sent, 1)[..]));
    assert_eq!(bench.end().drops(Drop::NeighbourUnreachable), 1);
}

#[test]
fn our_own_answers_to_a_host_that_is_gone_are_dropped_without_another_answer() {
    let mut bench = Bench::new();
    let gone: Ipv6Addr = "fe80::77".parse().expect("an address");
    bench.west_sends(&icmp6(gone, OWN_WEST_LOCAL, 64, &[128, 0, 0, 0, 0, 0, 0, 0]));
    bench.run();
    bench.wait(Duration::from_secs(4));
    bench.run();
    assert!(bench.west_gets().is_empty() && bench.east_gets().is_empty());
    assert_eq!(bench.end().drops(Drop::NeighbourUnreachable), 1);
}
