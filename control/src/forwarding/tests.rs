use super::*;
use std::net::Ipv4Addr;

use carpool_dataplane::fib::{Adjacency, FibOptions, Lpm4, Lpm6, PathIndex, Reader, lpm4_with, lpm6_with};
use proptest::prelude::*;

use crate::neighbors::Link;
use crate::paths::{HopList, PathSource};

pub(super) const PORT: PortIndex = PortIndex(0);
pub(super) const OTHER: PortIndex = PortIndex(1);

pub(super) fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A router on 192.0.2.1/24 and 10.0.0.1/24, with the table as a worker sees it.
pub(super) struct Bench {
    pub forwarding: Forwarding,
    pub neighbors: Neighbors,
    pub table: Arc<Lpm4>,
    pub table6: Arc<Lpm6>,
    pub reader: Reader,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(FibOptions::default())
    }

    pub fn with(options: FibOptions) -> Bench {
        let domain = Domain::new(1);
        let (writer, table) = lpm4_with(&domain, options).expect("address space");
        let (writer6, table6) = lpm6_with(&domain, options).expect("address space");
        let reader = domain.reader().expect("one slot");
        let links = ["192.0.2.1/24", "10.0.0.1/24"].map(|own| Link::new([2; 6], vec![net(own)]));
        let neighbors = Neighbors::new(links.to_vec(), 64);
        let mut bench =
            Bench { forwarding: Forwarding::new(domain, writer, writer6), neighbors, table, table6, reader };
        let own = |own| Routes { own: Some(own), ..Routes::default() };
        let routes = [
            (net("192.0.2.0/24"), own(OwnRoute::Connected(PORT))),
            (net("192.0.2.1/32"), own(OwnRoute::Local)),
            (net("10.0.0.0/24"), own(OwnRoute::Connected(OTHER))),
        ];
        bench.change(routes.to_vec(), Vec::new()).expect("own routes");
        bench
    }

    pub fn change(
        &mut self,
        routes: Vec<(IpNet, Routes)>,
        paths: Vec<(IpNet, ToldPaths)>,
    ) -> Result<Committed, ForwardingError> {
        let change = Change { routes, paths, needs_gateways: true };
        let prepared = self.forwarding.prepare(change, &mut self.neighbors, &mut || ())?;
        self.reader.enter();
        self.forwarding.entries_are_known();
        let committed = self.forwarding.commit(prepared, &mut self.neighbors, &mut || ());
        self.reader.enter();
        committed
    }

    pub fn tell(&mut self, routes: &[(&str, Option<RouteTarget>)]) -> Result<Committed, ForwardingError> {
        let routes = routes.iter().map(|(prefix, socket)| {
            let before = self.forwarding.rib().get(net(prefix));
            (net(prefix), Routes { socket: *socket, ..before })
        });
        let routes = routes.collect();
        self.change(routes, Vec::new())
    }

    /// What a worker finds in the table of an address's family.
    pub fn leaf(&mut self, address: IpAddr) -> EntryId {
        match address {
            IpAddr::V4(address) => self.table.lookup(self.reader.enter(), address),
            IpAddr::V6(address) => self.table6.lookup(self.reader.enter(), address),
        }
    }

    /// What a worker would do, by the table and the entries.
    pub fn looks_up(&mut self, text: &str) -> Option<Hop> {
        let id = self.leaf(address(text));
        let entries = self.forwarding.entries(|_| true);
        let entry = entries.get(usize::from(id.0)).copied().expect("every leaf names an entry");
        match entry.adjacency {
            Adjacency::NoRoute => None,
            Adjacency::Local => Some(Hop::Local),
            Adjacency::Broadcast => Some(Hop::Broadcast),
            Adjacency::Connected { port } => Some(Hop::Connected(port)),
            Adjacency::Unreachable => Some(Hop::Unreachable),
            Adjacency::Blackhole => Some(Hop::Blackhole),
            Adjacency::Via { port, gateway } => {
                let (at, address) = self.neighbors.gateway(gateway).expect("an entry's gateway is held");
                assert_eq!(at, port);
                Some(Hop::Via(port, address))
            }
        }
    }
}

pub(super) fn via(gateway: &str) -> Option<RouteTarget> {
    Some(RouteTarget::Via(address(gateway)))
}

/// The router that all paths end at.
const EAST: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

pub(super) fn told_path(next_hop: Option<IpAddr>) -> ToldPaths {
    let hops = next_hop.and_then(|next_hop| HopList::new(&[next_hop, EAST]));
    ToldPaths::default().with(PathSource::Config, hops)
}

pub(super) fn path(prefix: &str, next_hop: &str) -> (IpNet, ToldPaths) {
    (net(prefix), told_path(Some(address(next_hop))))
}

fn no_path(prefix: &str) -> (IpNet, ToldPaths) {
    (net(prefix), ToldPaths::default())
}

#[test]
fn a_route_leads_to_its_gateway_until_it_goes() {
    let mut bench = Bench::new();
    assert_eq!(bench.looks_up("203.0.113.9"), None);
    bench.tell(&[("203.0.113.0/24", via("192.0.2.2"))]).expect("a gateway on the link");
    assert_eq!(bench.looks_up("203.0.113.9"), Some(Hop::Via(PORT, address("192.0.2.2"))));
    bench.tell(&[("203.0.113.0/24", Some(RouteTarget::Blackhole))]).expect("replaced");
    assert_eq!(bench.looks_up("203.0.113.9"), Some(Hop::Blackhole));
    bench.tell(&[("203.0.113.0/24", None)]).expect("deleted");
    assert_eq!(bench.looks_up("203.0.113.9"), None);
    bench.forwarding.reclaim(&mut bench.neighbors);
    assert_eq!(bench.neighbors.gateway(carpool_dataplane::fib::NeighbourIndex(0)), None, "the gateway is let go");
    assert_eq!(bench.looks_up("192.0.2.1"), Some(Hop::Local));
    assert_eq!(bench.looks_up("192.0.2.77"), Some(Hop::Connected(PORT)));
}

#[test]
fn routes_with_one_gateway_share_an_entry() {
    let mut bench = Bench::new();
    let before = bench.forwarding.entry_count();
    let routes: Vec<_> =
        (0..200u8).map(|i| IpNet::from(IpAddr::V4(Ipv4Addr::new(203, 0, 113, i))).to_string()).collect();
    let routes: Vec<_> = routes.iter().map(|prefix| (prefix.as_str(), via("192.0.2.2"))).collect();
    bench.tell(&routes).expect("room");
    assert_eq!(bench.forwarding.entry_count(), before + 1);
}

#[test]
fn a_batch_with_one_bad_gateway_changes_nothing() {
    let mut bench = Bench::new();
    bench.tell(&[("203.0.113.0/24", via("192.0.2.2"))]).expect("good");
    let batch = [("203.0.113.0/24", via("10.0.0.2")), ("198.51.100.0/24", via("172.16.0.1"))];
    let error = bench.tell(&batch).expect_err("172.16.0.1 cannot be reached");
    let (prefix, gateway) = (net("198.51.100.0/24"), address("172.16.0.1"));
    assert_eq!(error, ForwardingError::Gateway { prefix, gateway });
    assert_eq!(bench.looks_up("203.0.113.9"), Some(Hop::Via(PORT, address("192.0.2.2"))));
    assert_eq!(bench.forwarding.rib().get(prefix), Routes::default());
    assert_eq!(bench.forwarding.rib().get(net("203.0.113.0/24")).socket, via("192.0.2.2"));
}

#[test]
fn a_gateway_behind_a_route_follows_that_route() {
    let mut bench = Bench::new();
    bench.tell(&[("172.16.0.0/12", via("192.0.2.2")), ("203.0.113.0/24", via("172.16.0.1"))]).expect("in one batch");
    assert_eq!(bench.looks_up("203.0.113.9"), Some(Hop::Via(PORT, address("192.0.2.2"))));
    bench.tell(&[("172.16.0.0/16", via("10.0.0.2"))]).expect("a better way to the gateway");
    assert_eq!(bench.looks_up("203.0.113.9"), Some(Hop::Via(OTHER, address("10.0.0.2"))));
    bench.tell(&[("172.16.0.0/16", None), ("172.16.0.0/12", None)]).expect("both ways go");
    assert_eq!(bench.looks_up("203.0.113.9"), None, "a route that cannot be used has no leaf");
    bench.tell(&[("172.16.0.0/16", via("10.0.0.2"))]).expect("and back");
    assert_eq!(bench.looks_up("203.0.113.9"), Some(Hop::Via(OTHER, address("10.0.0.2"))));
}

#[test]
fn only_routes_whose_gateway_is_new_or_moves_are_looked_at() {
    let mut bench = Bench::new();
    let direct: Vec<_> = (0..100u8).map(|i| format!("203.0.{i}.0/24")).collect();
    let direct: Vec<_> = direct.iter().map(|prefix| (prefix.as_str(), via("192.0.2.2"))).collect();
    bench.tell(&direct).expect("room");
    bench.tell(&[("172.16.0.0/12", via("192.0.2.2")), ("198.51.100.0/24", via("172.16.0.1"))]).expect("room");
    let cases = [
        ("100.64.0.0/24", "192.0.2.77", vec!["100.64.0.0/24"]),
        ("172.16.0.0/16", "10.0.0.2", vec!["172.16.0.0/16", "198.51.100.0/24"]),
    ];
    for (prefix, gateway, expected) in cases {
        let routes = vec![(net(prefix), Routes { socket: via(gateway), ..Routes::default() })];
        let change = Change { routes, ..Change::default() };
        let prepared = bench.forwarding.prepare(change, &mut bench.neighbors, &mut || ()).expect("worked out");
        let leaves: Vec<_> = prepared.leaves.iter().map(|(prefix, _)| *prefix).collect();
        assert_eq!(leaves, expected.into_iter().map(net).collect::<Vec<_>>(), "{prefix} via {gateway}");
        bench.forwarding.abort(prepared, &mut bench.neighbors);
    }
}

#[test]
fn the_best_source_wins_and_the_next_one_takes_over_with_one_replacement_of_the_leaf() {
    let mut bench = Bench::new();
    let prefix = net("203.0.113.0/24");
    let own = Some(OwnRoute::Connected(OTHER));
    let all = Routes { own, socket: via("192.0.2.2"), config: via("192.0.2.3"), config_hidden: false };
    let [of_socket, of_config] = ["192.0.2.2", "192.0.2.3"].map(|gateway| Hop::Via(PORT, address(gateway)));
    let steps = [
        (Routes { own: None, socket: None, ..all }, Some(of_config)),
        (Routes { own: None, ..all }, Some(of_socket)),
        (all, Some(Hop::Connected(OTHER))),
        (Routes { socket: None, ..all }, Some(Hop::Connected(OTHER))),
        (all, Some(Hop::Connected(OTHER))),
        (Routes { own: None, ..all }, Some(of_socket)),
        (Routes { own: None, socket: None, ..all }, Some(of_config)),
        (Routes { own: None, socket: None, config_hidden: true, ..all }, None),
    ];
    let mut before = None;
    for (step, (routes, after)) in steps.into_iter().enumerate() {
        let change = Change { routes: vec![(prefix, routes)], ..Change::default() };
        let prepared = bench.forwarding.prepare(change, &mut bench.neighbors, &mut || ()).expect("worked out");
        bench.reader.enter();
        bench.forwarding.entries_are_known();
        let leaves: Vec<_> = prepared.leaves.iter().map(|(prefix, leaf)| (*prefix, leaf.is_some())).collect();
        assert_eq!(leaves, [(prefix, after.is_some())], "step {step}: one change, and none that takes it out first");
        assert_eq!(bench.looks_up("203.0.113.9"), before, "step {step}: not before the commit");
        let Bench { forwarding, neighbors, table, reader, .. } = &mut bench;
        let mut sees = || table.lookup(reader.enter(), Ipv4Addr::new(203, 0, 113, 9)) != EntryId::NO_ROUTE;
        let mut pulse = || assert_eq!(sees(), before.is_some(), "step {step}");
        let committed = forwarding.commit(prepared, neighbors, &mut pulse).expect("room");
        assert_eq!(committed.leaves, usize::from(before != after), "step {step}: only what differs is written");
        assert_eq!(bench.looks_up("203.0.113.9"), after, "step {step}");
        before = after;
    }
}

#[test]
fn where_the_best_source_cannot_be_used_the_next_one_takes_over() {
    let mut bench = Bench::new();
    bench.tell(&[("172.16.0.0/12", via("10.0.0.2"))]).expect("a way to the gateway");
    let routes = Routes { socket: via("172.16.0.1"), config: via("192.0.2.3"), ..Routes::default() };
    bench.change(vec![(net("203.0.113.0/24"), routes)], Vec::new()).expect("both can be used");
    assert_eq!(bench.looks_up("203.0.113.9"), Some(Hop::Via(OTHER, address("10.0.0.2"))));
    let committed = bench.tell(&[("172.16.0.0/12", None)]).expect("the way goes");
    assert_eq!(committed.leaves, 2, "one taken out, and one replaced");
    assert_eq!(bench.looks_up("203.0.113.9"), Some(Hop::Via(PORT, address("192.0.2.3"))));
}

#[test]
fn a_path_is_that_of_its_destinations_where_it_leaves_by_the_same_gateway() {
    let mut bench = Bench::new();
    bench.tell(&[("203.0.113.0/24", via("192.0.2.2")), ("198.51.100.0/24", via("192.0.2.3"))]).expect("routes");
    let paths = vec![path("203.0.113.0/24", "192.0.2.2"), path("198.51.100.0/24", "192.0.2.2")];
    let committed = bench.change(Vec::new(), paths).expect("paths");
    assert!(committed.pooled);
    let number = |bench: &Bench, prefix| bench.forwarding.leaf(net(prefix)).expect("a leaf").path;
    assert_eq!(number(&bench, "203.0.113.0/24"), Some(PathIndex(0)));
    assert_eq!(number(&bench, "198.51.100.0/24"), None, "its route leaves by another gateway");
    bench.tell(&[("198.51.100.0/24", via("192.0.2.2"))]).expect("now by the same");
    assert_eq!(number(&bench, "198.51.100.0/24"), Some(PathIndex(0)), "the hops are the same");
    let unpooled = bench.tell(&[("10.9.0.0/16", via("192.0.2.2"))]).expect("no path leads there");
    assert!(!unpooled.pooled, "open pools do not depend on it");
    bench.change(Vec::new(), vec![no_path("203.0.113.0/24")]).expect("one path less");
    assert_eq!(number(&bench, "203.0.113.0/24"), None);
}

#[test]
fn a_path_more_specific_than_its_route_has_a_leaf_with_the_routes_next_hop() {
    let mut bench = Bench::new();
    bench.tell(&[("203.0.112.0/20", via("192.0.2.2"))]).expect("a route");
    bench.change(Vec::new(), vec![path("203.0.113.0/24", "192.0.2.2")]).expect("a path");
    let meaning = Meaning { hop: Hop::Via(PORT, address("192.0.2.2")), path: Some(PathIndex(0)) };
    assert_eq!(bench.forwarding.leaf(net("203.0.113.0/24")), Some(meaning));
    assert_eq!(bench.forwarding.leaf(net("203.0.112.0/20")).expect("a leaf").path, None);
    bench.tell(&[("203.0.112.0/20", via("10.0.0.2"))]).expect("the route moves");
    let meaning = Meaning { hop: Hop::Via(OTHER, address("10.0.0.2")), path: None };
    assert_eq!(bench.forwarding.leaf(net("203.0.113.0/24")), Some(meaning), "and the path's leaf with it");
    bench.tell(&[("203.0.112.0/20", None)]).expect("the route goes");
    assert_eq!(bench.forwarding.leaf(net("203.0.113.0/24")), None);
}

#[test]
fn a_peer_that_dies_changes_entries_and_no_leaf() {
    let mut bench = Bench::new();
    bench.tell(&[("203.0.113.0/24", via("192.0.2.2"))]).expect("a route");
    bench.change(Vec::new(), vec![path("203.0.113.0/24", "192.0.2.2")]).expect("a path");
    let pooled = |entries: Vec<Entry>| entries.iter().filter(|entry| entry.path == Some(PathIndex(0))).count();
    assert_eq!(pooled(bench.forwarding.entries(|path| path == PathIndex(0))), 1);
    assert_eq!(pooled(bench.forwarding.entries(|_| false)), 0);
}

#[test]
fn the_number_of_a_path_is_given_to_another_only_when_every_worker_has_passed() {
    let mut bench = Bench::new();
    bench.tell(&[("203.0.113.0/24", via("192.0.2.2"))]).expect("a route");
    bench.change(Vec::new(), vec![path("203.0.113.0/24", "192.0.2.2")]).expect("a path");
    let hops = |bench: &Bench, path| bench.forwarding.paths().hops(PathIndex(path)).map(HopList::first);
    // The worker stays where it is from here on: it may hold an entry that names path 0.
    let steps = [no_path("203.0.113.0/24"), path("203.0.113.0/24", "192.0.2.3"), path("10.0.0.0/8", "192.0.2.9")];
    for paths in steps {
        let change = Change { paths: vec![paths], ..Change::default() };
        let prepared = bench.forwarding.prepare(change, &mut bench.neighbors, &mut || ()).expect("worked out");
        bench.forwarding.commit(prepared, &mut bench.neighbors, &mut || ()).expect("room");
        assert_eq!(hops(&bench, 0), Some(address("192.0.2.2")));
    }
    bench.reader.enter();
    bench.forwarding.reclaim(&mut bench.neighbors);
    assert_eq!(hops(&bench, 0), None);
    bench.change(Vec::new(), vec![path("10.1.0.0/16", "192.0.2.8")]).expect("room");
    assert_eq!(hops(&bench, 0), Some(address("192.0.2.8")));
}

#[test]
fn an_entry_is_not_used_again_before_every_worker_has_passed() {
    let mut bench = Bench::new();
    bench.tell(&[("203.0.113.0/24", via("192.0.2.2"))]).expect("a route");
    let id = bench.leaf(address("203.0.113.9"));
    let change = |socket| vec![(net("203.0.113.0/24"), Routes { socket, ..Routes::default() })];
    // The reader stays where it is from here on.
    for (step, target) in [(1, Some(RouteTarget::Blackhole)), (2, Some(RouteTarget::Unreachable))] {
        let change = Change { routes: change(target), ..Change::default() };
        let prepared = bench.forwarding.prepare(change, &mut bench.neighbors, &mut || ()).expect("worked out");
        bench.forwarding.commit(prepared, &mut bench.neighbors, &mut || ()).expect("written");
        let entries = bench.forwarding.entries(|_| true);
        let entry = entries.get(usize::from(id.0)).expect("still there");
        assert!(matches!(entry.adjacency, Adjacency::Via { .. }), "step {step}: a worker may still hold it");
    }
    bench.reader.enter();
    assert!(!bench.forwarding.reclaim(&mut bench.neighbors), "nothing waits any more");
    let entries = bench.forwarding.entries(|_| true);
    assert_eq!(entries.get(usize::from(id.0)).expect("its place").adjacency, Adjacency::NoRoute);
}

#[test]
fn an_entry_that_workers_never_saw_stays_new() {
    let mut bench = Bench::new();
    let change = || {
        let routes = Routes { socket: via("192.0.2.2"), ..Routes::default() };
        Change { routes: vec![(net("203.0.113.0/24"), routes)], ..Change::default() }
    };
    let prepared = bench.forwarding.prepare(change(), &mut bench.neighbors, &mut || ()).expect("worked out");
    assert!(prepared.new_entries);
    bench.forwarding.abort(prepared, &mut bench.neighbors);
    let again = bench.forwarding.prepare(change(), &mut bench.neighbors, &mut || ()).expect("worked out");
    assert!(again.new_entries, "its publication did not reach every worker");
    bench.forwarding.abort(again, &mut bench.neighbors);
}

#[test]
fn a_long_change_pulses() {
    let mut bench = Bench::new();
    let prefix = |i: u32| IpNet::from(IpAddr::V4(Ipv4Addr::from_bits(0xcb00_0000 | i)));
    let routes = (0..20_000).map(|i| (prefix(i), Routes { socket: via("192.0.2.2"), ..Routes::default() }));
    let change = Change { routes: routes.collect(), ..Change::default() };
    let mut pulses = 0;
    let prepared = bench.forwarding.prepare(change, &mut bench.neighbors, &mut || pulses += 1).expect("worked out");
    assert_eq!(pulses, 10, "twice through 20,000 prefixes");
    bench.forwarding.commit(prepared, &mut bench.neighbors, &mut || pulses += 1).expect("room");
    assert_eq!(pulses, 20, "twice through 20,000 leaves");
}

/// A prefix, and what the socket, the file and the paths say of it.
type Told = (IpNet, Option<RouteTarget>, Option<RouteTarget>, Option<IpAddr>);

fn told() -> impl Strategy<Value = Told> {
    let gateways = ["192.0.2.2", "192.0.2.3", "10.0.0.2", "172.16.0.1", "172.16.1.1"].map(address);
    let gateway = prop::sample::select(gateways.to_vec());
    let target = prop_oneof![
        4 => gateway.clone().prop_map(RouteTarget::Via),
        1 => Just(RouteTarget::Blackhole),
        1 => Just(RouteTarget::Unreachable),
    ];
    let prefixes = ["0.0.0.0/0", "172.16.0.0/12", "172.16.0.0/24", "172.16.1.1/32", "203.0.112.0/20", "203.0.113.0/24"];
    let prefix = prop::sample::select(prefixes.map(net).to_vec());
    (prefix, prop::option::of(target.clone()), prop::option::of(target), prop::option::of(gateway))
}

proptest! {
    /// However it came about, the table is what the same routes and paths make of an empty one.
    #[test]
    fn any_sequence_of_changes_ends_where_one_change_would(steps in prop::collection::vec(told(), 1..20)) {
        let mut bench = Bench::new();
        let mut paths = std::collections::BTreeMap::new();
        let mut routes = std::collections::BTreeMap::new();
        for (prefix, socket, config, next_hop) in steps {
            match next_hop {
                Some(next_hop) => paths.insert(prefix, told_path(Some(next_hop))),
                None => paths.insert(prefix, ToldPaths::default()),
            };
            let told = Routes { socket, config, ..Routes::default() };
            routes.insert(prefix, told);
            let change = Change {
                routes: vec![(prefix, told)],
                paths: vec![(prefix, told_path(next_hop))],
                needs_gateways: false,
            };
            let prepared = bench.forwarding.prepare(change, &mut bench.neighbors, &mut || ()).expect("worked out");
            bench.forwarding.entries_are_known();
            bench.forwarding.commit(prepared, &mut bench.neighbors, &mut || ()).expect("room");
            bench.reader.enter();
        }
        let mut once = Bench::new();
        let change = Change {
            routes: routes.into_iter().collect(),
            paths: paths.into_iter().collect(),
            needs_gateways: false,
        };
        let prepared = once.forwarding.prepare(change, &mut once.neighbors, &mut || ()).expect("worked out");
        once.forwarding.commit(prepared, &mut once.neighbors, &mut || ()).expect("room");
        for probe in ["1.1.1.1", "172.16.0.1", "172.16.1.1", "172.17.0.0", "203.0.112.1", "203.0.113.1", "192.0.2.9"] {
            prop_assert_eq!(bench.looks_up(probe), once.looks_up(probe), "{}", probe);
            let hops = |bench: &Bench| {
                let (_, meaning) = bench.forwarding.lookup(address(probe))?;
                bench.forwarding.paths().hops(meaning.path?).cloned()
            };
            prop_assert_eq!(hops(&bench), hops(&once), "{}", probe);
        }
        bench.forwarding.reclaim(&mut bench.neighbors);
        prop_assert_eq!(bench.forwarding.entry_count(), once.forwarding.entry_count(), "unused entries are given back");
    }
}
