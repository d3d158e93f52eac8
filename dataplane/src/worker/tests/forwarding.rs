//! Plain routing: what goes where, what it looks like then, and what its source is told if it goes nowhere.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::lab::*;
use crate::fib::Neighbour;
use crate::packet::arp::{Arp, ArpOperation};
use crate::packet::checksum::Sum;
use crate::packet::ethernet::MacAddr;
use crate::packet::icmp::{ErrorKind, write_error};
use crate::packet::ipv4::Ipv4Header;
use crate::packet::too_big::TooBig;
use crate::worker::{Counter, Drop, Event, Inject, InjectTarget};

/// A destination that is routed to the gateway and has no path.
const UNPOOLED: Ipv4Addr = Ipv4Addr::new(203, 0, 114, 7);

#[test]
fn a_packet_goes_to_its_next_hop_with_one_less_to_live_and_without_its_padding() {
    let mut bench = Bench::new();
    let sent = udp(WEST_HOST, UNPOOLED, (1, 2), 29, 5);
    bench.west_sends(&sent);
    bench.run();
    assert_eq!(bench.east_gets(), [after_hops(&sent, 1)]);
    assert_eq!(bench.end().get(Counter::Forwarded), 1);
}

#[test]
fn a_packet_to_a_host_on_a_link_goes_to_that_host() {
    let mut bench = Bench::new();
    let sent = udp(FAR_HOST, WEST_HOST, (1, 2), 100, 5);
    bench.east_sends(&sent);
    bench.run();
    assert_eq!(bench.west_gets(), [after_hops(&sent, 1)]);
    bench.end();
}

/// The one ICMP message among `packets`, checked: type, code, last word, and what it quotes.
fn icmp(packets: &[Vec<u8>], quoted: &[u8]) -> (u8, u8, u16) {
    let [error] = packets else { panic!("{} packets instead of one ICMP error", packets.len()) };
    let header = Ipv4Header::parse(error).expect("a sound error");
    assert_eq!((header.src, header.dst, header.protocol), (OWN_WEST, WEST_HOST, 1));
    let icmp = header.payload(error).expect("a payload");
    assert!(Sum::of(icmp).is_valid(), "ICMP checksum");
    let quote = &icmp[8..];
    assert_eq!(*quote, quoted[..quote.len()], "it quotes the packet as it came");
    assert!(quote.len() >= 28, "it quotes the IP header and eight bytes at least");
    (icmp[0], icmp[1], u16::from_be_bytes([icmp[6], icmp[7]]))
}

#[test]
fn sources_are_told_by_icmp_what_became_of_their_packets() {
    let too_large = udp(WEST_HOST, UNPOOLED, (1, 2), 1480, 5);
    let dont_fragment = {
        let mut header = Ipv4Header::parse(&too_large).expect("sound");
        header.dont_fragment = true;
        packet(header, &too_large[20..])
    };
    let dying = {
        let data = udp(WEST_HOST, UNPOOLED, (1, 2), 100, 5);
        let header = Ipv4Header { ttl: 1, ..Ipv4Header::parse(&data).expect("sound") };
        packet(header, &data[20..])
    };
    let nowhere = udp(WEST_HOST, Ipv4Addr::new(8, 8, 8, 8), (1, 2), 100, 5);
    let to_us = udp(WEST_HOST, OWN_EAST, (1, 53), 100, 5);
    let tcp_to_us = packet(header(WEST_HOST, OWN_WEST, 6, 40), &[0; 40]);
    for (sent, expected, reason) in [
        (dying, (11, 0, 0), Drop::TtlExpired),
        (nowhere, (3, 0, 0), Drop::NoRoute),
        (to_us, (3, 3, 0), Drop::LocalUnhandled),
        (tcp_to_us, (3, 2, 0), Drop::LocalUnhandled),
        (dont_fragment, (3, 4, 1400), Drop::FragmentationNeeded),
    ] {
        let mut bench = Bench::new();
        bench.change(|state| {
            let mut ports = state.ports.to_vec();
            ports[1].mtu = 1400;
            state.ports = ports.into();
        });
        bench.west_sends(&sent);
        bench.run();
        assert_eq!(icmp(&bench.west_gets(), &sent), expected, "{}", reason.name());
        let counters = bench.end();
        assert_eq!((counters.drops(reason), counters.get(Counter::CreatedIcmp)), (1, 1), "{}", reason.name());
    }
}

#[test]
fn no_icmp_error_is_sent_about_what_must_not_cause_one() {
    let nowhere = Ipv4Addr::new(8, 8, 8, 8);
    let about_error = packet(header(WEST_HOST, nowhere, 1, 36), &{
        let mut message = [0u8; 36];
        message[0] = 3;
        let [c0, c1] = Sum::of(&message).checksum().to_be_bytes();
        (message[2], message[3]) = (c0, c1);
        message
    });
    let fragment = {
        let mut header = header(WEST_HOST, nowhere, 17, 64);
        header.fragment_offset = 64;
        packet(header, &[0; 64])
    };
    let blackholed = udp(WEST_HOST, Ipv4Addr::new(203, 0, 115, 1), (1, 2), 60, 1);
    let broadcast = udp(FAR_HOST, Ipv4Addr::new(192, 0, 2, 255), (1, 2), 60, 1);
    for (sent, reason) in [
        (about_error, Drop::NoRoute),
        (fragment, Drop::NoRoute),
        (blackholed, Drop::RouteBlackhole),
        (broadcast, Drop::DirectedBroadcast),
    ] {
        let mut bench = Bench::new();
        bench.west_sends(&sent);
        bench.run();
        assert_eq!((bench.west_gets().len(), bench.east_gets().len()), (0, 0), "{}", reason.name());
        assert_eq!(bench.end().drops(reason), 1);
    }
}

#[test]
fn icmp_errors_are_limited_in_number() {
    let mut bench = Bench::new();
    for _ in 0..400 {
        bench.west_sends(&udp(WEST_HOST, Ipv4Addr::new(8, 8, 8, 8), (1, 2), 60, 1));
    }
    bench.run();
    let counters = bench.end();
    assert_eq!(counters.drops(Drop::NoRoute), 400);
    assert!((100..110).contains(&counters.get(Counter::CreatedIcmp)), "{counters:?}");
    assert_eq!(counters.get(Counter::CreatedIcmp) + counters.get(Counter::IcmpLimited), 400);
}

#[test]
fn what_may_be_cut_is_sent_in_fragments_that_make_the_whole() {
    let mut bench = Bench::new();
    bench.change(|state| {
        let mut ports = state.ports.to_vec();
        ports[1].mtu = 600;
        state.ports = ports.into();
    });
    let data: Vec<u8> = (0..1400u16).map(|i| i as u8).collect();
    let sent = udp_with(WEST_HOST, UNPOOLED, (1, 2), &data);
    bench.west_sends(&sent);
    bench.run();
    let fragments = bench.east_gets();
    let mut payload = Vec::new();
    for (at, fragment) in fragments.iter().enumerate() {
        let header = Ipv4Header::parse(fragment).expect("a sound fragment");
        assert!(fragment.len() <= 600);
        assert_eq!((header.ttl, header.id, usize::from(header.fragment_offset)), (63, 0x1234, payload.len()));
        assert_eq!(header.more_fragments, at + 1 < fragments.len());
        payload.extend_from_slice(header.payload(fragment).expect("payload"));
    }
    assert_eq!((fragments.len(), &payload[..]), (3, &sent[20..]));
    let counters = bench.end();
    assert_eq!((counters.get(Counter::CreatedFragments), counters.get(Counter::AbsorbedFragmented)), (3, 1));
}

#[test]
fn an_echo_request_to_any_of_our_addresses_is_answered() {
    let mut bench = Bench::new();
    let mut echo = [8, 0, 0, 0, 0, 1, 0, 2, 42, 43];
    let [c0, c1] = Sum::of(&echo).checksum().to_be_bytes();
    (echo[2], echo[3]) = (c0, c1);
    bench.west_sends(&packet(header(WEST_HOST, OWN_EAST, 1, echo.len()), &echo));
    bench.run();
    let answers = bench.west_gets();
    let header = Ipv4Header::parse(&answers[0]).expect("a sound answer");
    assert_eq!((header.src, header.dst, answers.len()), (OWN_EAST, WEST_HOST, 1));
    let icmp = header.payload(&answers[0]).expect("payload");
    assert!(Sum::of(icmp).is_valid());
    assert_eq!((icmp[0], &icmp[4..]), (0, &echo[4..]));
    bench.end();
}

#[test]
fn arp_requests_for_our_address_are_answered_and_their_sender_learned() {
    let mut bench = Bench::new();
    let asker = Ipv4Addr::new(192, 0, 2, 33);
    let request = Arp::request(MacAddr([2, 9, 9, 9, 9, 9]), asker, OWN_WEST);
    let mut arp = [0; 28];
    request.write(&mut arp);
    assert!(bench.west.send_bytes(&mut bench.cache, &frame([0xff; 6], [2, 9, 9, 9, 9, 9], 0x0806, &arp)));
    bench.run();
    let frames = bench.west.receive_all_bytes();
    let reply = Arp::parse(&frames[0][14..]).expect("a sound reply");
    assert_eq!((&frames[0][..6], frames.len()), (&[2, 9, 9, 9, 9, 9][..], 1));
    assert_eq!(
        (reply.operation, reply.sender_mac, reply.sender_ip),
        (ArpOperation::Reply, MacAddr(OWN_WEST_MAC), OWN_WEST)
    );
    let events = bench.events();
    assert!(
        matches!(events[..], [Event::NeighbourSeen { address, addressed_to_us: true, .. }] if address == asker),
        "{events:?}"
    );
    bench.end();
}

#[test]
fn nothing_is_learned_from_senders_that_cannot_be_on_the_link() {
    for sender in [Ipv4Addr::UNSPECIFIED, OWN_WEST, FAR_HOST] {
        let mut bench = Bench::new();
        let mut arp = [0; 28];
        Arp::request(MacAddr([2, 9, 9, 9, 9, 9]), sender, OWN_WEST).write(&mut arp);
        assert!(bench.west.send_bytes(&mut bench.cache, &frame([0xff; 6], [2, 9, 9, 9, 9, 9], 0x0806, &arp)));
        bench.run();
        assert!(bench.events().is_empty(), "{sender}");
        bench.end();
    }
}

#[test]
fn packets_wait_for_their_neighbour_in_order_and_leave_when_it_answers() {
    let mut bench = Bench::new();
    bench.neighbours(vec![Neighbour::new(crate::fib::PortIndex(1), GATEWAY.into(), None)]);
    let packets: Vec<_> = (0..3).map(|tag| udp(WEST_HOST, UNPOOLED, (1, 2), 60, tag)).collect();
    packets.iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    assert!(bench.east_gets().is_empty());
    let events = bench.events();
    assert!(
        matches!(events[..], [Event::NeighbourWanted { address, .. }] if address == GATEWAY),
        "asked for once: {events:?}"
    );
    assert_eq!(bench.counters().get(Counter::Held), 3);
    bench.neighbours(vec![Neighbour::new(crate::fib::PortIndex(1), GATEWAY.into(), Some(GATEWAY_MAC))]);
    bench.run();
    let expected: Vec<_> = packets.iter().map(|packet| after_hops(packet, 1)).collect();
    assert_eq!(bench.east_gets(), expected);
    bench.end();
}

#[test]
fn a_neighbour_that_never_answers_costs_few_packets_of_memory_and_others_nothing() {
    let mut bench = Bench::new();
    let silent = |host: u8| Ipv4Addr::new(198, 51, 100, host);
    for host in 100..180 {
        for tag in 0..20 {
            bench.west_sends(&udp(WEST_HOST, silent(host), (1, 2), 60, tag));
        }
    }
    let good: Vec<_> = (0..50).map(|tag| udp(WEST_HOST, UNPOOLED, (1, 2), 60, tag)).collect();
    good.iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    assert_eq!(bench.east_gets().len(), good.len(), "other flows lose nothing");
    assert!(bench.counters().get(Counter::Held) <= 512, "{:?}", bench.counters());
    bench.wait(Duration::from_secs(4));
    bench.run();
    let counters = bench.counters();
    assert_eq!(counters.get(Counter::Held), 0);
    assert_eq!(counters.drops(Drop::NeighbourQueueFull) + counters.drops(Drop::NeighbourUnreachable), 1600);
    let told = bench.west_gets();
    assert!(!told.is_empty() && told.iter().all(|error| error[20..22] == [3, 1]), "host unreachable");
    bench.end();
}

#[test]
fn frames_for_a_port_that_takes_none_wait_a_while_and_are_then_dropped_by_name() {
    let mut bench = Bench::new();
    let full = WIRE + 10;
    for tag in 0..full {
        bench.west_sends(&udp(WEST_HOST, UNPOOLED, (1, 2), 60, tag as u8));
        bench.run();
    }
    assert_eq!((bench.counters().get(Counter::Held), bench.counters().drops_total()), (10, 0));
    bench.wait(Duration::from_millis(101));
    bench.run();
    assert_eq!(bench.east_gets().len(), WIRE);
    assert_eq!(bench.end().drops(Drop::TxFull), 10);
}

#[test]
fn what_the_control_thread_hands_down_is_sent() {
    let mut bench = Bench::new();
    let hello = udp(OWN_EAST, PEER, (POOL_PORT, POOL_PORT), 60, 9);
    let routed = Inject { target: InjectTarget::Routed, bytes: hello.iter().copied().collect(), padding: 0 };
    assert!(bench.shared.injects.push(routed).is_ok());
    bench.run();
    assert_eq!(bench.east_gets(), [hello], "its TTL is left as it is");
    bench.end();
}

#[test]
fn padding_follows_what_the_control_thread_hands_down() {
    let mut bench = Bench::new();
    let mut probe = udp(OWN_EAST, PEER, (POOL_PORT, POOL_PORT), 1200, 9);
    let start = probe.len() - 1128;
    probe[start..].fill(0);
    let bytes = probe[..start].iter().copied().collect();
    assert!(bench.shared.injects.push(Inject { target: InjectTarget::Routed, bytes, padding: 1128 }).is_ok());
    let bytes = probe[..start].iter().copied().collect();
    assert!(bench.shared.injects.push(Inject { target: InjectTarget::Routed, bytes, padding: 60_000 }).is_ok());
    bench.run();
    assert_eq!(bench.east_gets(), [probe]);
    assert_eq!(bench.end().drops(Drop::NoBuffer), 1, "there is no room for that much");
}

#[test]
fn a_router_that_says_that_a_packet_of_ours_was_too_long_is_heard_by_the_control_thread() {
    let mut bench = Bench::new();
    let ours = udp(OWN_EAST, PEER, (POOL_PORT, POOL_PORT), 1200, 9);
    // All that we send to peers must not be fragmented.
    let uncut = Ipv4Header { dont_fragment: true, ..Ipv4Header::parse(&ours).expect("sound") };
    let ours = packet(uncut, &ours[20..]);
    let mut message = vec![0; 576];
    let kind = ErrorKind::FragmentationNeeded { next_hop_mtu: 1100 };
    let length = write_error(kind, &ours, PEER, OWN_EAST, &mut message).expect("room");
    message.truncate(length);
    bench.east_sends(&message);
    bench.run();
    let events = bench.events();
    let [Event::PacketTooBig(TooBig { mtu: 1100, quoted })] = &events[..] else { panic!("{events:?}") };
    assert_eq!((quoted.src, quoted.dst, quoted.total_len), (OWN_EAST.into(), PEER.into(), 1200));
    message[40] ^= 1;
    bench.east_sends(&message);
    bench.run();
    assert!(bench.events().is_empty(), "its checksum is wrong");
    let counters = bench.end();
    assert_eq!((counters.get(Counter::AbsorbedControl), counters.drops(Drop::LocalIcmp)), (1, 1));
}
