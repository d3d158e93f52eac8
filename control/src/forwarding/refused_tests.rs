//! What is left of a change that is refused: nothing.

use super::tests::*;
use super::*;
use carpool_dataplane::fib::{Adjacency, FibOptions, NeighbourIndex};
use std::net::Ipv4Addr;

use crate::neighbors::Key;
use crate::paths::Way;

/// All that a change can touch.
#[derive(Debug, PartialEq)]
struct Everything {
    routes: Vec<(IpNet, Routes)>,
    ways: Vec<(IpNet, Way)>,
    gateways: Vec<(IpAddr, Option<(PortIndex, IpAddr)>)>,
    entries: Vec<Entry>,
    neighbors: Vec<Option<Key>>,
    leaves: Vec<(IpNet, Option<EntryId>)>,
}

/// All of it but entries that wait for the workers: they move on first.
fn everything(bench: &mut Bench, prefixes: &[IpNet]) -> Everything {
    bench.reader.enter();
    bench.forwarding.reclaim(&mut bench.neighbors);
    everything_now(bench, prefixes)
}

fn everything_now(bench: &Bench, prefixes: &[IpNet]) -> Everything {
    let Forwarding { rib, paths, gateways, fib, .. } = &bench.forwarding;
    let mut entries = bench.forwarding.entries(|_| true);
    // Numbers that were used for a while stay there without meaning.
    let used = entries.iter().rposition(|entry| entry.adjacency != Adjacency::NoRoute).map_or(0, |last| last + 1);
    entries.truncate(used);
    let mut gateways: Vec<_> = gateways.iter().map(|(address, gateway)| (*address, gateway.next_hop)).collect();
    gateways.sort_unstable();
    Everything {
        routes: rib.iter().collect(),
        ways: paths.within(None).collect(),
        gateways,
        entries,
        neighbors: (0..64).map(|place| bench.neighbors.gateway(NeighbourIndex(place))).collect(),
        leaves: prefixes.iter().map(|prefix| (*prefix, fib.get(*prefix))).collect(),
    }
}

#[test]
fn a_change_that_the_table_has_no_room_for_changes_nothing() {
    let mut bench = Bench::with(FibOptions { leaves: 2048, ..FibOptions::default() });
    bench.tell(&[("203.0.113.0/24", via("192.0.2.2")), ("198.51.100.0/24", via("192.0.2.3"))]).expect("room");
    bench.change(Vec::new(), vec![path("203.0.113.0/24", "192.0.2.2")]).expect("room");
    let told = |gateway| Routes { socket: via(gateway), ..Routes::default() };
    // One moves to a new gateway, one goes, and a thousand come: each takes more than a byte or two.
    let mut routes = vec![(net("203.0.113.0/24"), told("10.0.0.2")), (net("198.51.100.0/24"), Routes::default())];
    routes.extend(
        (0..1000).map(|i| (IpNet::from(IpAddr::V4(Ipv4Addr::from_bits(0x1401_0203 + (i << 16)))), told("10.0.0.3"))),
    );
    let prefixes: Vec<_> = routes.iter().map(|(prefix, _)| *prefix).collect();
    let before = everything(&mut bench, &prefixes);
    let paths = vec![path("20.0.0.0/8", "10.0.0.3"), path("203.0.113.0/24", "10.0.0.2")];
    let error = bench.change(routes.clone(), paths).expect_err("there is no room");
    assert_eq!(error, ForwardingError::Table(FibError::Full));
    assert_eq!(error.to_string(), "the forwarding table is full; nothing was changed");
    assert_eq!(everything(&mut bench, &prefixes), before);
    for (prefix, _) in routes.iter().skip(2) {
        let id = bench.leaf(prefix.addr());
        assert_eq!(id, EntryId::NO_ROUTE, "{prefix}");
    }
    assert_eq!(bench.looks_up("203.0.113.9"), Some(Hop::Via(PORT, address("192.0.2.2"))));
    assert_eq!(bench.looks_up("198.51.100.9"), Some(Hop::Via(PORT, address("192.0.2.3"))));
    routes.truncate(12);
    bench.change(routes, Vec::new()).expect("ten of them fit");
    assert_eq!(bench.looks_up("20.10.2.3"), Some(Hop::Via(OTHER, address("10.0.0.3"))));
    assert_eq!(bench.looks_up("203.0.113.9"), Some(Hop::Via(OTHER, address("10.0.0.2"))));
}

#[test]
fn changes_are_refused_once_too_much_waits_for_a_worker_that_stands_still_and_go_on_when_it_does() {
    let mut bench = Bench::with(FibOptions { retired: 256, ..FibOptions::default() });
    let prefixes = [net("203.0.113.0/24"), net("203.0.114.0/24")];
    bench.tell(&[("203.0.113.0/24", via("192.0.2.2")), ("198.51.100.0/24", via("192.0.2.3"))]).expect("room");
    let routes = |round: usize| {
        let gateway = if round.is_multiple_of(2) { via("192.0.2.3") } else { None };
        let come_and_go = Routes { socket: gateway, ..Routes::default() };
        let stays = Routes { socket: via(["192.0.2.2", "192.0.2.3"][round % 2]), ..Routes::default() };
        vec![(prefixes[0], stays), (prefixes[1], come_and_go)]
    };
    // The worker stays where it is from here on. No change needs an entry that it does not know.
    bench.reader.enter();
    let mut before = everything_now(&bench, &prefixes);
    let refused = (0..100_000).find_map(|round| {
        let change = Change { routes: routes(round), ..Change::default() };
        let prepared = bench.forwarding.prepare(change, &mut bench.neighbors, &mut || ()).expect("worked out");
        assert!(!prepared.new_entries);
        match bench.forwarding.commit(prepared, &mut bench.neighbors, &mut || ()) {
            Ok(_) => before = everything_now(&bench, &prefixes),
            Err(error) => return Some((round, error)),
        }
        None
    });
    let (round, error) = refused.expect("memory is bounded");
    assert_eq!(error, ForwardingError::Table(FibError::ReadersStalled));
    assert_eq!(everything_now(&bench, &prefixes), before);
    let waiting = bench.forwarding.fib_memory().retired;
    assert!((256..1024).contains(&waiting), "{waiting} bytes wait");
    assert!(bench.forwarding.reclaim(&mut bench.neighbors), "as long as the worker stands still");
    bench.reader.enter();
    assert!(!bench.forwarding.reclaim(&mut bench.neighbors), "nothing waits any more");
    assert_eq!(bench.forwarding.fib_memory().retired, 0);
    bench.change(routes(round), Vec::new()).expect("the same change");
}

#[test]
fn what_one_familys_table_has_no_room_for_is_taken_back_in_the_others() {
    let mut bench = Bench::with(FibOptions { leaves: 1 << 16, ..FibOptions::default() });
    let own = Routes { own: Some(OwnRoute::Connected(PORT)), ..Routes::default() };
    bench.change(vec![(net("2001:db8::/64"), own)], Vec::new()).expect("room");
    bench.tell(&[("203.0.113.0/24", via("192.0.2.2")), ("198.51.100.0/24", via("192.0.2.3"))]).expect("room");
    let told = |gateway| Routes { socket: via(gateway), ..Routes::default() };
    let mut routes = vec![
        (net("203.0.113.0/24"), told("10.0.0.2")),
        (net("198.51.100.0/24"), Routes::default()),
        (net("100.64.0.0/10"), told("2001:db8::2")),
    ];
    let address = |i: u128| IpAddr::V6((0x2001_0db8_0001_u128 << 80 | i << 64 | i).into());
    routes.extend((0..1000).map(|i| (IpNet::from(address(i)), told("2001:db8::3"))));
    let prefixes: Vec<_> = routes.iter().map(|(prefix, _)| *prefix).collect();
    let before = everything(&mut bench, &prefixes);
    let error = bench.change(routes.clone(), Vec::new()).expect_err("there is no room");
    assert_eq!(error, ForwardingError::Table(FibError::Full));
    assert_eq!(everything(&mut bench, &prefixes), before);
    assert_eq!(bench.looks_up("203.0.113.9"), Some(Hop::Via(PORT, "192.0.2.2".parse().expect("an address"))));
    assert_eq!(bench.looks_up("198.51.100.9"), Some(Hop::Via(PORT, "192.0.2.3".parse().expect("an address"))));
    assert_eq!((bench.looks_up("100.64.0.1"), bench.looks_up("2001:db8:1::")), (None, None));
    bench.change(routes.into_iter().take(13).collect(), Vec::new()).expect("room for less");
    let next_hop = Some(Hop::Via(PORT, "2001:db8::2".parse().expect("an address")));
    assert_eq!((bench.looks_up("100.64.0.1"), bench.looks_up("198.51.100.9")), (next_hop, None));
    assert!(bench.looks_up("2001:db8:1:9::9").is_some());
}
