//! The file as a whole: every key with its value, errors with their places, and the documentation of both.

use std::path::PathBuf;
use std::time::Duration;

use carpool_dataplane::pool::path::SharedHops;
use carpool_dataplane::pool::{Lone, Match};

use super::{LEAST, WHOLE, address, net, wrong, wrong_with};
use crate::api::peer::PeerFormat;
use crate::config::{Criteria, Dataplane, Idle, Memory, Neighbor, Path, Peer, PoolOn, Port, Rule, parse};
use crate::paths::HopList;

#[test]
fn every_key_is_read() {
    let config = parse(WHOLE, "c.toml").expect("a whole configuration");
    assert_eq!(config.router_id, address("198.51.100.1"));
    assert_eq!(config.addresses, [address("198.51.100.1")]);
    let dataplane = Dataplane {
        cores: vec![2, 3],
        control_cores: vec![0],
        idle: Idle::Spin,
        memory: Memory::NoHuge,
        memory_mb: Some(256),
        mbufs: Some(16384),
        pool_on: PoolOn::Owner,
        buckets: 4,
    };
    assert_eq!(config.dataplane, dataplane);
    assert_eq!(config.socket, PathBuf::from("/tmp/carpool.sock"));
    let port = Port {
        name: "p1".into(),
        device: "net_af_packet0,iface=veth0".into(),
        addresses: vec![net("10.0.0.1/30"), net("10.1.0.1/31")],
        mtu: 9000,
        rx_descriptors: 512,
        tx_descriptors: 2048,
    };
    assert_eq!(config.ports.get(1), Some(&port));
    assert_eq!(config.neighbors, [Neighbor { address: address("10.0.0.2"), mac: [2, 0, 0, 0, 0, 2], port: 1 }]);
    use crate::api::route::RouteTarget::{Blackhole, Unreachable, Via};
    let routes: Vec<_> = config.routes.iter().map(|route| (route.prefix, route.target)).collect();
    let expected =
        [("203.0.113.0/24", Via(address("192.0.2.2"))), ("10.9.0.0/16", Blackhole), ("10.8.0.0/16", Unreachable)];
    assert_eq!(routes, expected.map(|(prefix, target)| (net(prefix), target)));
    let east = Peer {
        name: "east".into(),
        address: address("198.51.100.7"),
        alias: vec![address("198.51.100.8"), address("203.0.113.1")],
        source: Some(address("192.0.2.1")),
        mtu: Some(1400),
        probe_mtu: false,
        assume: false,
        format: PeerFormat::Native,
        hello_interval: Duration::from_millis(50),
    };
    let west = Peer {
        name: "west".into(),
        address: address("10.0.0.2"),
        alias: Vec::new(),
        source: None,
        mtu: None,
        probe_mtu: true,
        assume: true,
        format: PeerFormat::SimplemuxFast,
        hello_interval: Duration::from_millis(200),
    };
    assert_eq!(config.peers, [east, west]);
    assert_eq!(config.pool_port, 7666);
    let hops = HopList::new(&[address("192.0.2.2"), address("198.51.100.7")]);
    let path = Path { prefix: net("203.0.113.0/24"), hops: hops.expect("two") };
    assert_eq!(config.paths, [path]);
    let ef = carpool_dataplane::pool::Dscp::new(46);
    let voice = Match {
        protocol: Some(17),
        source_ports: None,
        destination_ports: Some(16384..=32767),
        source: Some(net("10.0.0.0/8")),
        destination: Some(net("203.0.113.0/24")),
        dscp: ef,
    };
    let rest = Match { protocol: Some(6), source_ports: Some(5060..=5060), dscp: ef, ..Match::default() };
    let voice_criteria = Criteria {
        max_size: Some(300),
        max_count: Some(5),
        required_count: Some(3),
        hold: Some(Duration::from_millis(30)),
        shared_hops: SharedHops::AtLeast(3),
        path_mtu: Some(1200),
        lone: Lone::Pooled,
        ..Criteria::new(Duration::from_millis(2))
    };
    let rest_criteria =
        Criteria { adaptive: true, required_count: Some(2), ..Criteria::new(Duration::from_micros(500)) };
    let rules = [
        Rule { name: "voice".into(), matcher: voice, criteria: Some(voice_criteria) },
        Rule { name: "rest".into(), matcher: rest, criteria: Some(rest_criteria) },
        Rule { name: "never".into(), matcher: Match::default(), criteria: None },
    ];
    assert_eq!(config.rules, rules);
}

#[test]
fn a_port_is_all_that_is_needed() {
    let config = parse(LEAST, "c.toml").expect("the least configuration");
    assert_eq!(config.router_id, address("192.0.2.1"), "the first address identifies the router");
    assert_eq!(config.dataplane, Dataplane::default());
    assert_eq!(config.socket, PathBuf::from("/run/carpool/control.sock"));
    assert_eq!(config.pool_port, 7665);
    let port = config.ports.first().expect("the port");
    assert_eq!((port.mtu, port.rx_descriptors, port.tx_descriptors), (1500, 1024, 1024));
}

#[test]
fn what_is_not_toml_is_told_with_its_place() {
    assert_eq!(wrong("[[route]\n"), "c.toml:6:9: unclosed array table, expected `]`");
    assert_eq!(wrong("[[rule]]\nname = \"a\"\nname = \"b\"\n"), "c.toml:8:1: duplicate key");
}

#[test]
fn unknown_keys_and_tables_are_told_with_the_known_ones() {
    let table = "c.toml:6:2: pools: unknown key; expected one of \
                 control, dataplane, multicast, neighbor, overlay, path, peer, pool, port, route, router, rule, stream, template";
    assert_eq!(wrong("[pools]\n"), table);
    let key = "c.toml:7:1: dataplane.core: unknown key; expected one of \
               buckets, control_cores, cores, idle, mbufs, memory, memory_mb, pool_on";
    assert_eq!(wrong("[dataplane]\ncore = [1]\n"), key);
}

#[test]
fn a_value_of_the_wrong_kind_is_told_with_what_was_expected() {
    let cases = [
        (
            "[dataplane]\ncores = 2\n",
            "c.toml:7:9: dataplane.cores = 2: expected a list, each a CPU number from 0 to 1023",
        ),
        ("[dataplane]\ncores = [1, -1]\n", "c.toml:7:13: dataplane.cores = -1: expected a CPU number from 0 to 1023"),
        ("[dataplane]\nidle = \"lazy\"\n", "c.toml:7:8: dataplane.idle = \"lazy\": expected \"adaptive\" or \"spin\""),
        (
            "[dataplane]\npool_on = \"both\"\n",
            "c.toml:7:11: dataplane.pool_on = \"both\": expected \"local\" or \"owner\"",
        ),
        ("[dataplane]\nbuckets = 0\n", "c.toml:7:11: dataplane.buckets = 0: expected a whole number from 1 to 64"),
        ("[dataplane]\nbuckets = 65\n", "c.toml:7:11: dataplane.buckets = 65: expected a whole number from 1 to 64"),
        (
            "[dataplane]\nmemory_mb = 1\n",
            "c.toml:7:13: dataplane.memory_mb = 1: expected a whole number from 16 to 1048576",
        ),
        (
            "[control]\nsocket = \"c.sock\"\n",
            "c.toml:7:10: control.socket = \"c.sock\": expected an absolute path of at most 107 bytes",
        ),
        ("[pool]\nport = 0\n", "c.toml:7:8: pool.port = 0: expected a whole number from 1 to 65535"),
        ("mtu = 68\n", "c.toml:6:7: port.mtu = 68: expected a whole number from 576 to 9000"),
        ("rx_descriptors = 1000\n", "c.toml:6:18: port.rx_descriptors = 1000: expected a power of two from 64 to 4096"),
        ("[rule]\n", "c.toml:6:1: rule: expected tables, each begun with [[rule]]"),
    ];
    for (text, expected) in cases {
        assert_eq!(wrong(text), expected);
    }
}

#[test]
fn all_errors_are_told_in_the_order_of_the_file() {
    let told = wrong("mtu = 1\n[[rule]]\nname = \"a b\"\nmatch = {}\nwindow = \"0ms\"\n");
    let expected = "c.toml:6:7: port.mtu = 1: expected a whole number from 576 to 9000\n\
                    c.toml:8:8: rule.name = \"a b\": expected a name of 1 to 32 letters, digits, '-', '_' or '.'\n\
                    c.toml:10:10: rule.window = \"0ms\": expected a time from \"1us\" to \"10s\"";
    assert_eq!(told, expected);
}

/// The TOML in docs/configuration.md.
fn documented() -> String {
    let document = include_str!("../../../../docs/configuration.md");
    let (_, rest) = document.split_once("```toml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    example.into()
}

#[test]
fn the_documented_example_is_sound_and_has_every_table() {
    let config = parse(&documented(), "docs/configuration.md").expect("what is documented works");
    assert_eq!((config.ports.len(), config.neighbors.len(), config.routes.len()), (2, 1, 3));
    assert_eq!((config.peers.len(), config.paths.len(), config.rules.len()), (1, 1, 1));
}

#[test]
fn every_key_is_documented() {
    let document = include_str!("../../../../docs/configuration.md");
    // An unknown key in each table makes the parser name all that it knows.
    let tables = ["router", "dataplane", "control", "pool"].map(|table| format!("[{table}]\nx = 1\n"));
    let lists =
        ["port", "neighbor", "route", "peer", "path", "template", "rule"].map(|table| format!("[[{table}]]\nx = 1\n"));
    let rule = "[[rule]]\nname = \"a\"\nmatch = { x = 1 }\nwindow = \"1ms\"\n".to_owned();
    let mut keys = 0;
    for text in tables.into_iter().chain(lists).chain([rule]) {
        let told = wrong_with(&text);
        let line = told.lines().find(|line| line.contains(".x: unknown key")).expect("told of");
        let (_, known) = line.split_once("expected one of ").expect("with those it knows");
        for key in known.split(", ") {
            assert!(document.contains(&format!("| `{key}` |")), "{key} of {text:?} is not documented");
            keys += 1;
        }
    }
    assert_eq!(keys, 59, "all tables were asked");
}
