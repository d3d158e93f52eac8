//! Learned headers and provisioned streams between two routers: what is lost is reported, and announced again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::lab::*;
use crate::pool::provisioned::{Stream, StreamId, StreamSet};
use crate::pool::{Dscp, Representation, Rule, RuleSet};
use crate::worker::{Counter, Drop, Event, PeerTable};

/// Packet `number` of one of ten voice streams.
fn voice(stream: u8, number: u16) -> Vec<u8> {
    let mut payload = [&[0x80, 18][..], &number.to_be_bytes(), &(160 * u32::from(number)).to_be_bytes()].concat();
    payload.extend([0, 0, 0, stream]);
    payload.extend([stream; 20]);
    udp_with(WEST_HOST, FAR_HOST, (16_400 + u16::from(stream), 16_500), &payload)
}

/// A router that pools by this representation.
fn pooler(representation: Representation) -> Bench {
    let mut bench = Bench::new();
    bench.change(|state| {
        state.pools += 1;
        state.rules = Arc::new(RuleSet::new(vec![Rule { representation, ..rule() }]).expect("a sound rule"));
    });
    bench
}

/// The router that its pooled packets are addressed to.
fn addressee() -> Bench {
    let mut bench = Bench::new();
    bench.routes.insert("198.51.100.77/32".parse().expect("prefix"), LOCAL).expect("room");
    bench.routes.insert("198.51.100.1/32".parse().expect("prefix"), VIA_EAST).expect("room");
    bench.routes.insert("203.0.113.0/24".parse().expect("prefix"), VIA_EAST).expect("room");
    bench.change(|state| {
        let mut peer = *state.peers.iter().next().expect("one peer");
        peer.path.addressee = OWN_EAST.into();
        peer.path.source = PEER.into();
        state.peers = Arc::new(PeerTable::new(vec![peer]));
    });
    bench
}

/// Has the pooler send packet `number` of each stream, in one pooled packet, which is returned.
fn pooled(bench: &mut Bench, number: u16) -> Vec<u8> {
    (0..10).for_each(|stream| bench.west_sends(&voice(stream, number)));
    bench.run();
    bench.wait(Duration::from_millis(5));
    bench.run();
    let mut left = bench.east_gets();
    assert_eq!(left.len(), 1, "one pooled packet");
    left.remove(0)
}

/// What the addressee makes of a packet: what it forwards, and what it reports.
fn depooled(bench: &mut Bench, packet: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    bench.west_sends(packet);
    bench.run();
    bench.east_gets().into_iter().partition(|packet| packet[16..20] == FAR_HOST.octets())
}

fn after_both(number: u16) -> Vec<Vec<u8>> {
    (0..10).map(|stream| after_hops(&voice(stream, number), 2)).collect()
}

#[test]
fn packets_without_their_headers_come_out_as_two_routers_would_have_sent_them() {
    let (mut west, mut east) = (pooler(Representation::Learned), addressee());
    for number in 0..5 {
        let packet = pooled(&mut west, number);
        assert_eq!(packet.len() < 400, number >= 2, "headers are left out from the third packet on");
        assert_eq!(depooled(&mut east, &packet), (after_both(number), vec![]));
    }
    let counters = west.end();
    assert_eq!((counters.get(Counter::LearnedAnnounced), counters.get(Counter::LearnedCompressed)), (10, 30));
    assert_eq!(east.end().get(Counter::PoolRowsReceived), 50);
}

#[test]
fn a_lost_announcement_is_reported_and_made_again() {
    let (mut west, mut east) = (pooler(Representation::Learned), addressee());
    pooled(&mut west, 0);
    pooled(&mut west, 1); // the announcements
    let (forwarded, reports) = depooled(&mut east, &pooled(&mut west, 2));
    assert_eq!((forwarded.len(), reports.len()), (0, 1));
    let (forwarded, more) = depooled(&mut east, &pooled(&mut west, 3));
    assert_eq!((forwarded.len(), more.len()), (0, 0), "one report says it all");
    west.east_sends(&reports[0]);
    west.run();
    for number in 4..6 {
        assert_eq!(depooled(&mut east, &pooled(&mut west, number)), (after_both(number), vec![]));
    }
    assert!(west.events().is_empty());
    west.east_sends(&reports[0]);
    west.run();
    let unknown = west.events().iter().filter(|event| matches!(event, Event::UnknownContext { .. })).count();
    assert_eq!(unknown, 10, "what this worker does not send, another may");
    let counters = west.end();
    assert_eq!((counters.get(Counter::LearnedLost), counters.get(Counter::AbsorbedReports)), (10, 2));
    let counters = east.end();
    assert_eq!((counters.drops(Drop::PoolUnknownContext), counters.get(Counter::CreatedReports)), (20, 1));
}

#[test]
fn what_an_addressee_reported_to_another_worker_reaches_the_one_that_sends_it() {
    let mut west = pooler(Representation::Learned);
    for number in 0..3 {
        pooled(&mut west, number);
    }
    let space = crate::pool::learned::IdSpace { addressee: PEER.into(), source_port: POOL_PORT };
    for context in 0..10 {
        west.shared.unknown_contexts.push((space, context)).expect("room");
    }
    assert!(pooled(&mut west, 3).len() > 400);
    assert_eq!(west.end().get(Counter::LearnedLost), 10);
}

#[test]
fn a_restarted_pooler_is_not_taken_for_what_it_was() {
    let (mut west, mut east) = (pooler(Representation::Learned), addressee());
    for number in 0..3 {
        assert_eq!(depooled(&mut east, &pooled(&mut west, number)).0, after_both(number));
    }
    let mut stale = pooled(&mut west, 3);
    let instance = 20 + 8 + 8 + 3;
    stale[instance] ^= 2;
    stale[26..28].fill(0);
    let header = crate::packet::ipv4::Ipv4Header::parse(&stale).expect("sound");
    let pseudo = crate::packet::udp::pseudo_header(header.src, header.dst, stale.len() as u16 - 20);
    let checksum = pseudo.add(crate::packet::Sum::of(&stale[20..])).checksum();
    stale[26..28].copy_from_slice(&checksum.to_be_bytes());
    let (forwarded, reports) = depooled(&mut east, &stale);
    assert_eq!((forwarded.len(), reports.len()), (0, 1));
    west.east_sends(&reports[0]);
    west.run();
    assert_eq!(west.end().get(Counter::LearnedLost), 0, "the report is about another run");
    east.end();
}

#[test]
fn payloads_of_provisioned_streams_come_out_as_two_routers_would_have_sent_them() {
    let (mut west, mut east) = (pooler(Representation::Provisioned), addressee());
    let stream = |stream: u8| Stream {
        id: StreamId(stream.into()),
        peer: crate::fib::PeerIndex(0),
        source: SocketAddr::new(WEST_HOST.into(), 16_400 + u16::from(stream)),
        destination: SocketAddr::new(FAR_HOST.into(), 16_500),
        dscp: Dscp::new(46).expect("a code point"),
        ttl: 64,
    };
    let set = |streams: u8| Arc::new(StreamSet::new(&(0..streams).map(stream).collect::<Vec<_>>()).expect("sound"));
    for (bench, streams) in [(&mut west, 9), (&mut east, 9)] {
        bench.change(|state| {
            state.pools += 1;
            state.streams = set(streams);
        });
        bench.run();
    }
    let packet = pooled(&mut west, 0);
    assert_eq!(packet.len(), 36 + 10 * 6 + 9 * (5 + 32) + 60, "one stream was not provisioned");
    assert_eq!(depooled(&mut east, &packet), (after_both(0), vec![]));
    east.change(|state| state.streams = set(8));
    let (forwarded, _) = depooled(&mut east, &pooled(&mut west, 1));
    assert_eq!(forwarded.len(), 9);
    assert_eq!(east.end().drops(Drop::PoolUnknownStream), 1);
    let counters = west.end();
    assert_eq!((counters.get(Counter::ProvisionedSent), counters.get(Counter::ProvisionedWhole)), (18, 2));
}
