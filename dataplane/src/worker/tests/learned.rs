//! Learned headers and provisioned streams between two routers: what is lost is reported, and announced again.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::lab::*;
use crate::arch::TickRate;
use crate::pool::learned::{IdSpace, instance_towards};
use crate::pool::provisioned::{Stream, StreamId, StreamSet};
use crate::pool::wire::report::{unknown_contexts_len, write_unknown_contexts};
use crate::pool::{Dscp, Representation, Rule, RuleSet};
use crate::worker::{Counter, Drop, Event, PeerTable, UnknownThere};

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
    let whole = pooled(&mut west, 4);
    assert_eq!(
        (whole.len() > 400, depooled(&mut east, &whole)),
        (true, (after_both(4), vec![])),
        "so soon, without an id"
    );
    west.wait(Duration::from_millis(50));
    for number in 5..7 {
        let packet = pooled(&mut west, number);
        assert_eq!((packet.len() > 400, depooled(&mut east, &packet)), (number == 5, (after_both(number), vec![])));
    }
    west.east_sends(&reports[0]);
    west.run();
    assert!(west.events().is_empty(), "these ids are this worker's");
    let counters = west.end();
    assert_eq!((counters.get(Counter::LearnedLost), counters.get(Counter::AbsorbedReports)), (10, 2));
    assert_eq!((counters.get(Counter::LearnedNotLost), counters.get(Counter::LearnedAnnounced)), (10, 20));
    let counters = east.end();
    assert_eq!((counters.drops(Drop::PoolUnknownContext), counters.get(Counter::CreatedReports)), (20, 1));
}

/// A report of these contexts, each item with the instance and source port of its pooled packets.
fn report(from: Ipv4Addr, items: &[(u32, u16)], contexts: &[u16]) -> Vec<u8> {
    let mut payload = vec![];
    for &(instance, source_port) in items {
        let mut one = vec![0; unknown_contexts_len(contexts.len())];
        write_unknown_contexts(64, 7, instance, source_port, contexts, &mut one).expect("a sound report");
        payload.extend_from_slice(&one[if payload.is_empty() { 0 } else { 8 }..]);
    }
    payload[1] = items.len() as u8;
    udp_with(from, OWN_EAST, (POOL_PORT, POOL_PORT), &payload)
}

#[test]
fn the_worker_that_announced_a_context_hears_of_it_and_no_other_does() {
    let mut west = pooler(Representation::Learned);
    for number in 0..3 {
        pooled(&mut west, number);
    }
    let contexts: Vec<u16> = (0..10).collect();
    let space = IdSpace { addressee: PEER.into(), source_port: POOL_PORT };
    let what = UnknownThere { space, contexts: contexts.iter().copied().collect() };
    west.shared.unknown_contexts.push(what.clone()).expect("room");
    assert!(pooled(&mut west, 3).len() > 400);

    let meant = instance_towards(1, PEER.into());
    west.east_sends(&report(PEER, &[(meant, POOL_PORT + 3), (meant, POOL_PORT + 4)], &contexts));
    west.run();
    let events: Vec<_> = west.events().into_iter().collect();
    let [Event::UnknownThere { worker: 3, what: told }] = &events[..] else { panic!("one event: {events:?}") };
    assert_eq!(*told, UnknownThere { space: IdSpace { source_port: POOL_PORT + 3, ..space }, ..what });
    let counters = west.end();
    assert_eq!((counters.get(Counter::LearnedLost), counters.get(Counter::ReportsIgnored)), (10, 1));
}

#[test]
fn a_router_with_several_addresses_reports_from_any_of_them() {
    let mut west = pooler(Representation::Learned);
    let other = Ipv4Addr::new(198, 51, 100, 78);
    west.change(|state| {
        state.pools += 1;
        let peer = *state.peers.iter().next().expect("one peer");
        let mut second = peer;
        second.path.addressee = other.into();
        state.peers = Arc::new(PeerTable::new(vec![peer, second]));
    });
    for number in 0..3 {
        pooled(&mut west, number);
    }
    west.east_sends(&report(other, &[(instance_towards(1, PEER.into()), POOL_PORT)], &[0, 1, 2]));
    west.east_sends(&report(other, &[(instance_towards(2, PEER.into()), POOL_PORT)], &[3]));
    west.east_sends(&report(other, &[(instance_towards(1, other.into()), POOL_PORT)], &[4]));
    west.run();
    let counters = west.end();
    assert_eq!(counters.get(Counter::LearnedLost), 3);
    assert_eq!(counters.get(Counter::ReportsIgnored), 1, "about another run");
    assert_eq!(counters.get(Counter::LearnedNotLost), 1, "nothing was announced to that address");
}

#[test]
fn a_flood_of_reports_is_looked_at_in_part_and_tells_the_control_thread_little() {
    let mut west = pooler(Representation::Learned);
    let meant = instance_towards(1, PEER.into());
    for number in 0..500u16 {
        west.east_sends(&report(PEER, &[(meant, POOL_PORT + 1), (number.into(), POOL_PORT)], &[number]));
        if number % 100 == 99 {
            west.run();
        }
    }
    let told = west.events().len();
    assert!((64..70).contains(&told), "{told}");
    let counters = west.end();
    assert_eq!(counters.get(Counter::AbsorbedReports), 500);
    assert_eq!(
        counters.get(Counter::ReportsIgnored),
        500,
        "those beyond the limit, and the second items of the others"
    );
}

#[test]
fn what_is_to_be_reported_keeps_the_worker_from_sleeping_and_is_counted_where_it_cannot_leave() {
    let (mut west, mut east) = (pooler(Representation::Learned), addressee());
    (0..2).for_each(|number| drop(pooled(&mut west, number)));
    assert_eq!(depooled(&mut east, &pooled(&mut west, 2)).1.len(), 1);
    assert_eq!(east.worker.stages.next_deadline(), None);
    // An announcement that was lost as well.
    west.wait(Duration::from_secs(5));
    east.wait(Duration::from_secs(5));
    pooled(&mut west, 3);
    assert_eq!(depooled(&mut east, &pooled(&mut west, 4)).1.len(), 1);
    let entry = pooled(&mut west, 5);
    east.wait(Duration::from_millis(101));
    assert_eq!(depooled(&mut east, &entry).1.len(), 1);
    let (_, reports) = depooled(&mut east, &with_source_port(&entry, POOL_PORT + 9));
    assert_eq!(reports.len(), 0, "less than 5 ms later");
    let deadline = east.worker.stages.next_deadline().expect("a report is due");
    assert!(deadline > east.now && deadline.since(east.now) <= TickRate::NANOSECONDS.ticks(Duration::from_millis(5)));
    east.change(|state| state.peers = Arc::default());
    east.wait(Duration::from_millis(5));
    east.run();
    assert_eq!(east.worker.stages.next_deadline(), None);
    assert_eq!(east.end().get(Counter::ReportsNotSent), 1);
    west.end();
}

#[test]
fn contexts_stay_known_when_peers_are_numbered_anew() {
    let (mut west, mut east) = (pooler(Representation::Learned), addressee());
    for number in 0..2 {
        depooled(&mut east, &pooled(&mut west, number));
    }
    east.change(|state| {
        state.pools += 1;
        let peer = *state.peers.iter().next().expect("one peer");
        let mut first = peer;
        first.path.addressee = GATEWAY.into();
        state.peers = Arc::new(PeerTable::new(vec![first, peer]));
    });
    assert_eq!(depooled(&mut east, &pooled(&mut west, 2)), (after_both(2), vec![]));
    east.end();
    west.end();
}

/// A UDP packet as if it came from another port.
fn with_source_port(packet: &[u8], port: u16) -> Vec<u8> {
    let header = crate::packet::ipv4::Ipv4Header::parse(packet).expect("sound");
    let [d0, d1] = [packet[22], packet[23]];
    udp_with(header.src, header.dst, (port, u16::from_be_bytes([d0, d1])), &packet[28..])
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
