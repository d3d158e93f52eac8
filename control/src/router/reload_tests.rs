//! The configuration in force, and what becomes of it when the file has changed.

use std::net::IpAddr;

use carpool_dataplane::fib::{Adjacency, PathIndex, PeerIndex, PortIndex};

use super::bench::*;
use crate::api::Handler;
use crate::api::route::Source;
use crate::api::rule::{RuleDel, RuleShow};

#[test]
fn the_configuration_is_in_force_before_the_first_worker_looks() {
    let mut bench = Bench::new(CONFIG);
    assert_eq!(bench.entry([192, 0, 2, 1]).0.adjacency, Adjacency::Local);
    assert_eq!(bench.entry([192, 0, 2, 255]).0.adjacency, Adjacency::Broadcast);
    assert_eq!(bench.entry([10, 0, 0, 9]).0.adjacency, Adjacency::Connected { port: PortIndex(1) });
    let (entry, _) = bench.entry([203, 0, 113, 9]);
    let Adjacency::Via { port, gateway } = entry.adjacency else { panic!("{entry:?}") };
    let state = bench.state();
    let neighbour = state.neighbours.get(gateway).expect("its gateway is there");
    assert_eq!((port, neighbour.address, neighbour.mac), (GATEWAY.0, GATEWAY.1, None));
    let path = state.peers.get(PeerIndex(0)).expect("the peer").path;
    assert_eq!((path.addressee, path.source), (PEER, IpAddr::from([192, 0, 2, 1])));
    assert_eq!(path.mtu, 1500);
    assert_eq!(state.path(PathIndex(0)).map(|path| path.addressee), Some(None), "it is not known to live");
}

#[test]
fn a_reload_changes_what_the_file_changes_and_keeps_what_the_socket_did() {
    let mut bench = Bench::new(CONFIG);
    bench.hello(INSTANCE);
    bench.client().route_add(route("172.16.0.0/12", [10, 0, 0, 2])).expect("possible");
    let text = CONFIG.replace("203.0.113.0/24", "203.0.114.0/24").replace("name = \"voice\"", "name = \"games\"");
    let (_, before) = bench.entry([203, 0, 113, 9]);
    bench.reload(&text).expect("possible");
    assert_eq!(bench.entry([203, 0, 113, 9]).0.adjacency, Adjacency::NoRoute);
    let (entry, after) = bench.entry([203, 0, 114, 9]);
    assert_eq!(entry.path, Some(PathIndex(0)), "the peer lives on, its path is new");
    assert!(after > before);
    assert!(matches!(bench.entry([172, 16, 0, 1]).0.adjacency, Adjacency::Via { .. }));
    let rules = bench.client().rule_show(RuleShow {}).expect("answered").rules;
    assert_eq!(
        rules.iter().map(|rule| (rule.name.as_str(), rule.source)).collect::<Vec<_>>(),
        [("games", Source::Config)]
    );
    bench.client().rule_del(RuleDel { name: "games".into() }).expect("possible");
    let state = bench.state();
    assert!(state.rules.is_empty());
}

#[test]
fn a_reload_that_needs_a_restart_changes_nothing() {
    let mut bench = Bench::new(CONFIG);
    let cases = [
        (CONFIG.replace("mtu = 1400", "mtu = 1300"), "[[port]] \"east\""),
        (format!("[dataplane]\nidle = \"spin\"\n{CONFIG}"), "dataplane.idle"),
        (format!("[router]\nid = \"9.9.9.9\"\n{CONFIG}"), "router.id"),
        (format!("[control]\nsocket = \"/tmp/other\"\n{CONFIG}"), "control.socket"),
        (format!("[pool]\nport = 7777\n{CONFIG}"), "pool.port"),
    ];
    for (text, what) in cases {
        let text = text.replace("203.0.113.0/24", "203.0.114.0/24");
        let error = bench.reload(&text).expect_err("not while it runs");
        let expected = format!("{what} cannot be changed while the router runs: restart it for that");
        assert_eq!(error.to_string(), expected);
        assert_eq!(bench.entry([203, 0, 114, 9]).0.adjacency, Adjacency::NoRoute);
    }
}

#[test]
fn other_rules_and_the_flush_of_the_pools_of_the_old_ones_come_at_once() {
    let mut bench = Bench::new(CONFIG);
    let before = bench.router.publish(false, bench.now);
    bench.client().rule_del(RuleDel { name: "voice".into() }).expect("possible");
    let after = bench.router.publish(false, bench.now);
    assert_eq!(after - before, 2, "one publication between two others");
}
