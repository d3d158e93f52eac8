//! What several workers do with the packets of one path, by example.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::lab::*;
use super::team::*;
use crate::pool::{Dscp, Match, Rule, RuleSet};
use crate::worker::{Counter, Drop, WorkerOptions};

/// A flow that comes to this queue of two.
fn flow_to(queue: usize, path: u8, from: u16) -> (u16, u16) {
    let port = (from..).find(|port| spread(&udp(WEST_HOST, behind(path, 7), (*port, 9), 60, 0), 2) == queue);
    (port.expect("some flow does"), 9)
}

/// A packet of 60 bytes behind a path.
fn packet_of(ports: (u16, u16), path: u8, tag: u8) -> Vec<u8> {
    udp(WEST_HOST, behind(path, 7), ports, 60, tag)
}

/// How full pooled packets get with two workers when packets of 64 flows come, one of each in a window.
fn fill(pool_on: PoolOn) -> f64 {
    let mut team = Team::new(2, pool_on, options());
    for tag in 0..20u8 {
        for flow in 0..20 {
            team.rest.west_sends(&packet_of((5000 + flow, 9), 0, tag));
        }
        team.run();
        team.wait(Duration::from_millis(5));
        team.run();
    }
    let (total, _) = team.end();
    assert_eq!(total.get(Counter::PoolRowsSent) + total.get(Counter::PoolLone), 400);
    total.get(Counter::PoolRowsSent) as f64 / total.get(Counter::PoolSent) as f64
}

#[test]
fn a_path_with_one_owner_fills_its_pools_twice_as_far_as_two_workers_do() {
    let (local, owner) = (fill(PoolOn::Local), fill(PoolOn::Owner));
    println!("two workers: {local:.1} packets in a pooled packet with pools of each, {owner:.1} with an owner");
    assert!((8.0..12.0).contains(&local), "{local}");
    assert_eq!(owner, 20.0);
}

#[test]
fn packets_of_both_workers_share_one_pooled_packet_and_every_worker_accounts_for_its_own() {
    let mut team = Team::new(2, PoolOn::Owner, options());
    let packets: Vec<_> = (0..2).map(|queue| packet_of(flow_to(queue, 0, 5000), 0, queue as u8)).collect();
    for packet in &packets {
        team.rest.west_sends(packet);
    }
    team.run();
    team.wait(Duration::from_millis(5));
    team.run();
    let left = team.rest.east_gets();
    assert_eq!(left.iter().map(Vec::len).sum::<usize>(), 1, "one pooled packet");
    assert_eq!(taken_apart(&left.concat()).len(), 2);
    let counters = team.counters();
    let handed: Vec<_> = counters.iter().map(|one| one.get(Counter::AbsorbedHandedOver)).collect();
    let taken: Vec<_> = counters.iter().map(|one| one.get(Counter::CreatedTakenOver)).collect();
    assert_eq!((handed.iter().sum::<u64>(), taken.iter().sum::<u64>()), (1, 1));
    assert_ne!(handed, taken, "the one hands over, the other takes over");
    team.end();
}

#[test]
fn ttl_goes_down_once_on_the_way_over_two_workers() {
    let mut team = Team::new(2, PoolOn::Owner, options());
    for queue in 0..2 {
        let packet = packet_of(flow_to(queue, 1, 5000), 1, 9);
        team.rest.west_sends(&packet);
        team.run();
        team.wait(Duration::from_millis(5));
        team.run();
        assert_eq!(team.rest.east_gets().concat(), [after_hops(&packet, 1)]);
    }
    assert_eq!(team.end().0.get(Counter::AbsorbedHandedOver), 1);
}

/// The owner of a path among two: the one that hands none of its packets over.
fn owner_of(path: u8) -> usize {
    let mut team = Team::new(2, PoolOn::Owner, options());
    team.rest.west_sends(&packet_of(flow_to(0, path, 5000), path, 0));
    team.turn();
    let handed = team.counters()[0].get(Counter::AbsorbedHandedOver);
    team.end();
    handed as usize
}

/// A team of two, and a flow on path 0 that comes to the worker that does not own it.
fn away_from_home() -> (Team, (u16, u16)) {
    let ports = flow_to(1 - owner_of(0), 0, 5000);
    (Team::new(2, PoolOn::Owner, options()), ports)
}

#[test]
fn packets_too_large_and_fragments_take_the_same_way_as_their_flow() {
    let (mut team, ports) = away_from_home();
    let small = packet_of(ports, 0, 1);
    let large = udp(WEST_HOST, behind(0, 7), ports, 900, 2);
    for sent in [&small, &large] {
        team.rest.west_sends(sent);
    }
    team.run();
    let left = team.rest.east_gets().concat();
    assert_eq!(left, [after_hops(&small, 1), after_hops(&large, 1)], "the small one waited until the large one came");
    let handed = team.total().get(Counter::AbsorbedHandedOver);
    assert_eq!(handed, 2);
    // Fragments are spread by their addresses alone: some come to another worker than their flow, and none may overtake it.
    let mut elsewhere = 0;
    for host in 1..=16 {
        let source = Ipv4Addr::new(192, 0, 2, 100 + host);
        let small = udp(source, behind(0, 7), ports, 60, host);
        let mut header = header(source, behind(0, 7), 17, 40);
        header.more_fragments = true;
        team.rest.west_sends(&small);
        team.run();
        assert_eq!(team.rest.east_gets().concat(), Vec::<Vec<u8>>::new(), "it waits for company");
        elsewhere += usize::from(team.rest.west_sends(&packet(header, &[3; 40])) != owner_of(0));
        team.run();
        header.ttl -= 1;
        let left = team.rest.east_gets().concat();
        assert_eq!(left, [after_hops(&small, 1), packet(header, &[3; 40])], "host {host}");
    }
    assert!(elsewhere > 0, "every fragment came to the owner");
    team.end();
}

#[test]
fn what_no_rule_can_pool_stays_where_it_came() {
    let (mut team, ports) = away_from_home();
    let never = Rule { pool: false, ..Rule::new("never", Match { protocol: Some(17), ..Match::default() }) };
    let marked = Match { protocol: Some(17), dscp: Dscp::new(10), ..Match::default() };
    let rules = |rules| Arc::new(RuleSet::new(rules).expect("sound rules"));
    for (set, handed) in [
        (vec![never.clone(), rule()], 0),
        (vec![Rule { pool: false, ..Rule::new("marked", marked.clone()) }, rule()], 1),
        // Another packet of the flow may have the class.
        (vec![Rule::new("marked", marked), never], 1),
        (vec![], 0),
    ] {
        let before = team.total().get(Counter::AbsorbedHandedOver);
        team.rest.change(|state| (state.rules, state.pools) = (rules(set.clone()), state.pools + 1));
        team.rest.west_sends(&packet_of(ports, 0, 1));
        // To a place that no path leads to, and without an addressee on the path.
        team.rest.west_sends(&udp(WEST_HOST, Ipv4Addr::new(203, 0, 114, 7), ports, 60, 1));
        team.run();
        assert_eq!(team.total().get(Counter::AbsorbedHandedOver) - before, handed, "{set:?}");
    }
    team.end();
}

#[test]
fn a_path_without_an_addressee_has_no_owner() {
    let (mut team, ports) = away_from_home();
    team.rest.change(|state| {
        let mut paths = state.paths.to_vec();
        paths[0].addressee = None;
        (state.paths, state.pools) = (paths.into(), state.pools + 1);
    });
    team.rest.west_sends(&packet_of(ports, 0, 1));
    team.run();
    assert_eq!(team.total().get(Counter::AbsorbedHandedOver), 0);
    assert_eq!(team.end().1.len() + 1, 3, "and it left");
}

#[test]
fn packets_taken_out_of_a_pooled_packet_go_to_the_owner_and_a_hello_in_transit_does_not() {
    let (mut team, ports) = away_from_home();
    // Pooled packets of the peer to us, with two packets behind path 0, by whichever worker gets them.
    let mut maker = Bench::new();
    maker.change(|state| {
        let mut peer = *state.peers.iter().next().expect("one peer");
        (peer.path.addressee, peer.path.source) = (OWN_EAST.into(), PEER.into());
        state.peers = Arc::new(crate::worker::PeerTable::new(vec![peer]));
    });
    maker.routes.insert("203.0.120.0/24".parse().expect("prefix"), VIA_EAST_POOLED).expect("room");
    maker.routes.insert("198.51.100.1/32".parse().expect("prefix"), VIA_EAST).expect("room");
    let inside = [packet_of(ports, 0, 1), packet_of(ports, 0, 2)];
    inside.iter().for_each(|packet| maker.west_sends(packet));
    maker.run();
    maker.wait(Duration::from_millis(5));
    maker.run();
    let pooled = maker.east_gets().remove(0);
    maker.end();
    let away = 1 - owner_of(0);
    let frame = frame(OWN_WEST_MAC, WEST_HOST_MAC, 0x0800, &pooled);
    let mut cache = team.rest.cache();
    assert!(team.rest.queues[away].west.send_bytes(&mut cache, &frame));
    drop(cache);
    team.run();
    let counters = team.counters();
    assert_eq!(counters[away].get(Counter::AbsorbedHandedOver), 2, "both were taken out and handed over");
    assert_eq!(counters[1 - away].get(Counter::CreatedTakenOver), 2);
    team.wait(Duration::from_millis(5));
    team.run();
    let expected: Vec<_> = inside.iter().map(|packet| after_hops(packet, 2)).collect();
    let left = taken_apart(&team.rest.east_gets().concat());
    assert_eq!(left.iter().map(|left| left.bytes.clone()).collect::<Vec<_>>(), expected);

    // What goes to the pool port of somebody behind the path is no stream packet, whatever the rules say.
    team.rest.west_sends(&udp(WEST_HOST, behind(0, 7), (ports.0, POOL_PORT), 60, 1));
    team.run();
    assert_eq!(team.total().get(Counter::AbsorbedHandedOver), 2);
    team.end();
}

#[test]
fn what_finds_the_ring_full_is_dropped_by_name() {
    let (mut team, ports) = away_from_home();
    let away = 1 - owner_of(0);
    for round in 0..80u8 {
        for tag in 0..32 {
            team.rest.west_sends(&packet_of(ports, 0, tag));
        }
        team.now = crate::arch::Tick(team.now.0 + 1000);
        let now = team.now;
        team.workers[away].iterate(now);
        assert_eq!(team.workers[away].counters().imbalance(), 0, "round {round}");
    }
    let dropped = team.total().drops(Drop::HandoverFull);
    assert_eq!(dropped, 80 * 32 - 2048);
    let (total, _) = team.end();
    assert_eq!(total.get(Counter::CreatedTakenOver), 2048, "the owner still gets the others");
}

#[test]
fn what_is_on_the_way_when_the_router_stops_leaves() {
    let (mut team, ports) = away_from_home();
    let away = 1 - owner_of(0);
    let sent: Vec<_> = (0..3).map(|tag| packet_of(ports, 0, tag)).collect();
    for packet in &sent {
        team.rest.west_sends(packet);
    }
    let now = team.now;
    team.workers[away].iterate(now);
    let (total, left) = team.end();
    assert_eq!((total.get(Counter::AbsorbedHandedOver), total.get(Counter::CreatedTakenOver)), (3, 3));
    assert_eq!(total.drops_total(), 0);
    let left: Vec<_> = taken_apart(&left.concat()).into_iter().map(|left| left.bytes).collect();
    assert_eq!(left, sent.iter().map(|packet| after_hops(packet, 1)).collect::<Vec<_>>());
}

#[test]
fn an_owner_that_may_not_wait_longer_drops_by_name_what_was_handed_over() {
    let (mut team, ports) = away_from_home();
    let owner = owner_of(0);
    for tag in 0..40 {
        team.rest.west_sends(&packet_of(ports, 0, tag));
    }
    let now = team.now;
    for _ in 0..2 {
        team.workers[1 - owner].iterate(now);
    }
    // The other one hands over still when the owner's time is over.
    team.workers[owner].drain(|| now, now);
    let counters = team.workers[owner].counters();
    assert_eq!(counters.drops(Drop::Shutdown), 40 - 32, "all but the burst that it took");
    assert_eq!(counters.imbalance(), 0);
    team.end();
}

#[test]
fn nobody_waits_for_a_worker_that_was_never_started() {
    let (mut parts, rest) = parts(2, PoolOn::Owner, options());
    let mut started = parts.remove(0).0.worker();
    drop(parts);
    let mut asked = 0;
    let time = || {
        asked += 1;
        assert!(asked < 10, "it waits");
        crate::arch::Tick(1)
    };
    started.drain(time, crate::arch::Tick(u64::MAX));
    drop(started);
    rest.end();
}

#[test]
fn flow_buckets_of_two_workers_have_source_ports_of_their_own() {
    let options = WorkerOptions { buckets: 4, ..options() };
    let mut team = Team::new(2, PoolOn::Local, options);
    for flow in 0..200 {
        for tag in 0..2 {
            team.rest.west_sends(&packet_of((5000 + flow, 9), 0, tag));
        }
    }
    team.run();
    team.wait(Duration::from_millis(5));
    team.run();
    for (worker, left) in team.rest.east_gets().iter().enumerate() {
        let mut ports: Vec<_> = taken_apart(left).iter().filter_map(|left| left.source_port).collect();
        ports.sort_unstable();
        ports.dedup();
        let first = POOL_PORT + 4 * worker as u16;
        assert_eq!(ports, (first..first + 4).collect::<Vec<_>>(), "worker {worker}");
    }
    team.end();
}
