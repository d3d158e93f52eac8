//! Simplemux datagrams from a peer of that format, and from those that are none.

use std::sync::Arc;
use std::time::Duration;

use super::lab::{self, *};
use crate::packet::ipv4::Ipv4Header;
use crate::packet::udp::{self, Verdict};
use crate::pool::simplemux::{Datagram, Flavour, Writer};
use crate::pool::wire::{Row, RowType, write_header_and_rows};
use crate::pool::{Format, Lone, Rule, RuleSet};
use crate::worker::{Counter, Drop, Event, PeerTable};

/// A bench whose peer in the east speaks Simplemux.
fn bench_of(flavour: Flavour) -> Bench {
    let mut bench = Bench::new();
    bench.change(|state| {
        let mut peer = *state.peers.iter().next().expect("one peer");
        peer.path.format = Format::Simplemux(flavour);
        state.peers = Arc::new(PeerTable::new(vec![peer]));
    });
    bench
}

fn entries(flavour: Flavour, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = Writer::new(flavour);
    let entry = |packet: &Vec<u8>| [&writer.add(packet.len()).expect("it fits")[..], packet].concat();
    packets.iter().flat_map(entry).collect()
}

fn from_peer(flavour: Flavour, payload: &[u8]) -> Vec<u8> {
    udp_with(PEER, OWN_EAST, (flavour.port(), flavour.port()), payload)
}

fn inner() -> Vec<Vec<u8>> {
    (1..=3).map(|tag| lab::udp(PEER, WEST_HOST, (1, 2), 50 * usize::from(tag), tag)).collect()
}

#[test]
fn what_a_peer_sends_in_either_flavour_comes_out_in_order_and_is_counted_for_the_peer() {
    for flavour in [Flavour::Normal, Flavour::Fast] {
        let mut bench = bench_of(flavour);
        bench.east_sends(&from_peer(flavour, &entries(flavour, &inner())));
        bench.run();
        let expected: Vec<_> = inner().iter().map(|packet| after_hops(packet, 1)).collect();
        assert_eq!(bench.west_gets(), expected, "{flavour:?}");
        bench.shared.sample_pools();
        bench.run();
        let received = bench.events().into_iter().find_map(|event| match event {
            Event::PeerReceived(received) => Some((received.sequence.received, received.rows, received.sequence.lost)),
            _ => None,
        });
        assert_eq!(received, Some((1, 3, 0)));
        let counters = bench.end();
        let counts = [Counter::PoolReceived, Counter::PoolRowsReceived, Counter::CreatedExtracted];
        assert_eq!(counts.map(|counter| counters.get(counter)), [1, 3, 3]);
    }
}

/// The packets in a datagram to the peer, its outer headers checked.
fn carried(flavour: Flavour, outer: &[u8]) -> Vec<Vec<u8>> {
    let header = Ipv4Header::parse(outer).expect("a sound outer header");
    assert_eq!((header.src, header.dst, header.ttl, header.dont_fragment), (OWN_EAST, PEER, 64, true));
    assert_eq!((header.header_len, usize::from(header.total_len)), (20, outer.len()));
    let port = flavour.port().to_be_bytes();
    assert_eq!(outer[20..24], [port, port].concat(), "both ports");
    assert_eq!(udp::verify(OWN_EAST, PEER, &outer[20..]), Verdict::Valid);
    let datagram = Datagram::parse(flavour, &outer[28..]).expect("a sound datagram");
    datagram.entries().map(|entry| entry.bytes().to_vec()).collect()
}

fn stream(count: u8, length: usize) -> Vec<Vec<u8>> {
    (0..count).map(|tag| lab::udp(WEST_HOST, FAR_HOST, (16_400, 16_500), length, tag)).collect()
}

#[test]
fn packets_of_a_stream_leave_in_the_format_of_the_peer_when_the_window_ends() {
    for flavour in [Flavour::Normal, Flavour::Fast] {
        let mut bench = bench_of(flavour);
        let packets = [stream(2, 61), stream(2, 200)].concat();
        packets.iter().for_each(|packet| bench.west_sends(packet));
        bench.run();
        assert!(bench.east_gets().is_empty(), "the window is still open");
        bench.wait(Duration::from_millis(5));
        bench.run();
        let left = bench.east_gets();
        assert_eq!(left.len(), 1);
        let expected: Vec<_> = packets.iter().map(|packet| after_hops(packet, 1)).collect();
        assert_eq!(carried(flavour, &left[0]), expected);
        assert_eq!(left[0][28..], entries(flavour, &expected), "and in as few bytes as the writer needs");
        let counters = bench.end();
        let counts = [Counter::PoolSent, Counter::PoolRowsSent, Counter::PoolBytesIn, Counter::PoolBytesOut];
        assert_eq!(counts.map(|counter| counters.get(counter)), [1, 4, 522, left[0].len() as u64]);
    }
}

#[test]
fn a_datagram_is_never_longer_than_the_path_takes_and_has_at_most_a_hundred_entries() {
    let flavour = Flavour::Normal;
    let mut bench = bench_of(flavour);
    let packets = stream(210, 28);
    packets.iter().for_each(|packet| bench.west_sends(packet));
    bench.run();
    bench.wait(Duration::from_millis(5));
    bench.run();
    let left = bench.east_gets();
    // The first has a separator of two bytes, the others of one: 1500 - 28 = 30 + 49 x 29 and 21 to spare.
    assert_eq!(left.iter().map(|outer| carried(flavour, outer).len()).collect::<Vec<_>>(), [50, 50, 50, 50, 10]);
    assert!(left.iter().all(|outer| outer.len() <= 1500));
    bench.end();

    let mut wide = bench_of(flavour);
    wide.change(|state| {
        let mut peer = *state.peers.iter().next().expect("one peer");
        peer.path.mtu = 2140;
        state.peers = Arc::new(PeerTable::new(vec![peer]));
        state.ports = state.ports.iter().map(|port| crate::worker::PortState { mtu: 9000, ..port.clone() }).collect();
    });
    let packets: Vec<_> = (0..210).map(|_| packet(header(WEST_HOST, FAR_HOST, 17, 0), &[])).collect();
    packets.iter().for_each(|packet| wide.west_sends(packet));
    wide.run();
    wide.wait(Duration::from_millis(5));
    wide.run();
    let left = wide.east_gets();
    assert_eq!(left.iter().map(|outer| carried(flavour, outer).len()).collect::<Vec<_>>(), [100, 100, 10]);
    wide.end();
}

#[test]
fn a_lone_packet_leaves_as_itself_whatever_the_format() {
    let mut bench = bench_of(Flavour::Normal);
    let packets = stream(1, 200);
    bench.west_sends(&packets[0]);
    bench.run();
    bench.wait(Duration::from_millis(5));
    bench.run();
    assert_eq!(bench.east_gets(), [after_hops(&packets[0], 1)]);
    bench.end();
}

#[test]
fn a_lone_packet_leaves_in_a_datagram_of_its_own_where_the_rule_says_so() {
    let flavour = Flavour::Normal;
    let mut bench = bench_of(flavour);
    bench.change(|state| {
        let rules = vec![Rule { lone: Lone::Pooled, ..rule() }];
        state.rules = Arc::new(RuleSet::new(rules).expect("a sound rule"));
    });
    let packets = stream(1, 200);
    bench.west_sends(&packets[0]);
    bench.run();
    bench.wait(Duration::from_millis(5));
    bench.run();
    let left = bench.east_gets();
    assert_eq!(left.iter().map(|outer| carried(flavour, outer)).collect::<Vec<_>>(), [[after_hops(&packets[0], 1)]]);
    bench.end();
}

#[test]
fn two_routers_exchange_packets_in_either_flavour() {
    for flavour in [Flavour::Normal, Flavour::Fast] {
        let mut pooler = bench_of(flavour);
        let packets = [stream(7, 280), stream(5, 61)].concat();
        packets.iter().for_each(|packet| pooler.west_sends(packet));
        pooler.run();
        pooler.wait(Duration::from_millis(5));
        pooler.run();
        let outers = pooler.east_gets();
        assert!(outers.len() < packets.len());
        pooler.end();

        let mut depooler = bench_of(flavour);
        depooler.routes.insert("198.51.100.77/32".parse().expect("prefix"), LOCAL).expect("room");
        depooler.routes.insert("203.0.113.0/24".parse().expect("prefix"), VIA_EAST).expect("room");
        depooler.change(|state| {
            let mut peer = *state.peers.iter().next().expect("one peer");
            (peer.path.addressee, peer.path.source) = (OWN_EAST.into(), PEER.into());
            state.peers = Arc::new(PeerTable::new(vec![peer]));
        });
        outers.iter().for_each(|outer| depooler.west_sends(outer));
        depooler.run();
        let expected: Vec<_> = packets.iter().map(|packet| after_hops(packet, 2)).collect();
        assert_eq!(depooler.east_gets(), expected, "{flavour:?}");
        depooler.end();
    }
}

#[test]
fn only_peers_of_the_same_flavour_are_listened_to() {
    let (normal, fast) = (Flavour::Normal, Flavour::Fast);
    let mut bench = bench_of(normal);
    bench.east_sends(&from_peer(fast, &entries(fast, &inner())));
    let stranger = std::net::Ipv4Addr::new(198, 51, 100, 78);
    let ports = (normal.port(), normal.port());
    bench.east_sends(&udp_with(stranger, OWN_EAST, ports, &entries(normal, &inner())));
    bench.run();
    assert!(bench.west_gets().is_empty());
    assert!(bench.east_gets().is_empty(), "and nobody is told");
    assert_eq!(bench.end().drops(Drop::SimplemuxUnknownPeer), 2);

    let mut native = Bench::new();
    native.east_sends(&from_peer(normal, &entries(normal, &inner())));
    native.run();
    assert_eq!(native.end().drops(Drop::SimplemuxUnknownPeer), 1);
}

#[test]
fn a_peer_of_this_format_is_no_peer_of_ours() {
    let mut bench = bench_of(Flavour::Normal);
    bench.east_sends(&udp_with(PEER, OWN_EAST, (POOL_PORT, POOL_PORT), &[0x10; 40]));
    bench.run();
    assert_eq!(bench.end().drops(Drop::PoolUnknownPeer), 1);
}

#[test]
fn pooled_packets_of_ours_from_a_peer_of_this_format_are_not_opened_on_their_way() {
    let inside = lab::udp(PEER, WEST_HOST, (1, 2), 60, 1);
    let mut payload = vec![0; 14];
    let row = Row { start: 0, length: 60, ttl: 1, row_type: RowType::WholeIpv4 };
    write_header_and_rows(64, 1, &[row], &mut payload).expect("room for the index");
    let outer = udp_with(PEER, WEST_HOST, (POOL_PORT, POOL_PORT), &[&payload[..], &inside].concat());
    for (mut bench, gets) in
        [(bench_of(Flavour::Normal), after_hops(&outer, 1)), (Bench::new(), after_hops(&inside, 1))]
    {
        bench.east_sends(&outer);
        bench.run();
        assert_eq!(bench.west_gets(), [gets]);
        bench.end();
    }
}

#[test]
fn entries_of_other_protocols_are_dropped_alone() {
    let mut bench = bench_of(Flavour::Fast);
    let packets = inner();
    let mut payload = entries(Flavour::Fast, &packets);
    let second = 3 + packets[0].len();
    payload[second + 2] = 142;
    bench.east_sends(&from_peer(Flavour::Fast, &payload));
    bench.run();
    assert_eq!(bench.west_gets(), [after_hops(&packets[0], 1), after_hops(&packets[2], 1)]);
    assert_eq!(bench.end().drops(Drop::SimplemuxUnsupportedProtocol), 1);
}

#[test]
fn every_broken_bound_drops_the_datagram_whole_under_its_name() {
    let flavour = Flavour::Normal;
    type Change = fn(&mut Vec<u8>);
    // A datagram of more than 2304 bytes does not fit into these mbufs: the codec's tests have it.
    // Here b2 04 and 50 bytes, 64 and 100 bytes, 81 16 and 150 bytes.
    let cases: &[(Drop, Change)] = &[
        (Drop::SimplemuxNoEntries, Vec::clear),
        (Drop::SimplemuxTooManyEntries, |p| *p = [&[0x80, 59][..], &[0; 100]].concat()),
        (Drop::SimplemuxTruncatedSeparator, |p| p.push(0x81)),
        (Drop::SimplemuxThreeByteLength, |p| p.extend([0x81, 0x80, 0])),
        (Drop::SimplemuxOverlongLength, |p| p.extend([0x80, 0x7f])),
        (Drop::SimplemuxEntryTooShort, |p| p.push(19)),
        (Drop::SimplemuxEntryBeyondEnd, |p| p.truncate(p.len() - 1)),
        (Drop::SimplemuxInnerVersion, |p| p[2] = 0x65),
        (Drop::SimplemuxInnerLength, |p| p[5] = 51),
    ];
    for (reason, change) in cases {
        let mut bench = bench_of(flavour);
        let mut payload = entries(flavour, &inner());
        change(&mut payload);
        bench.east_sends(&from_peer(flavour, &payload));
        bench.run();
        assert!(bench.west_gets().is_empty(), "{}: nothing is delivered", reason.name());
        assert_eq!(bench.end().drops(*reason), 1, "{}", reason.name());
    }
}

#[test]
fn an_invalid_packet_inside_a_sound_datagram_is_dropped_alone() {
    let mut bench = bench_of(Flavour::Normal);
    let mut payload = entries(Flavour::Normal, &inner());
    payload[2 + 10] ^= 1;
    bench.east_sends(&from_peer(Flavour::Normal, &payload));
    bench.run();
    assert_eq!(bench.west_gets().len(), 2);
    assert_eq!(bench.end().drops(Drop::Ipv4Checksum), 1);
}

#[test]
fn a_congestion_mark_on_the_outside_reaches_what_can_carry_it_and_drops_what_cannot() {
    let mut bench = bench_of(Flavour::Normal);
    let mut packets = inner();
    let header = Ipv4Header { dscp_ecn: 0xb8 | 2, ..Ipv4Header::parse(&packets[1]).expect("sound") };
    packets[1] = packet(header, &packets[1][20..]);
    let outer = from_peer(Flavour::Normal, &entries(Flavour::Normal, &packets));
    let header = Ipv4Header { dscp_ecn: 0xb8 | 3, ..Ipv4Header::parse(&outer).expect("sound") };
    bench.east_sends(&packet(header, &outer[20..]));
    bench.run();
    let out = bench.west_gets();
    assert_eq!(out.iter().map(|inner| inner[1] & 3).collect::<Vec<_>>(), [3]);
    assert_eq!(bench.end().drops(Drop::PoolCongested), 2);
}

#[test]
fn datagrams_inside_each_other_end_somewhere() {
    let flavour = Flavour::Fast;
    let mut bench = bench_of(flavour);
    let mut inside = inner().swap_remove(0);
    for _ in 0..3 {
        inside = from_peer(flavour, &entries(flavour, &[inside]));
    }
    bench.east_sends(&inside);
    bench.run();
    assert!(bench.west_gets().is_empty());
    assert_eq!(bench.end().drops(Drop::PoolNesting), 1);
}
