use super::*;
use carpool_dataplane::pool::path::SharedHops;
use carpool_dataplane::pool::{Lone, Match};
use proptest::prelude::*;

/// A configuration with every table in it.
const WHOLE: &str = r#"
[router]
id = "198.51.100.1"
address = ["198.51.100.1"]

[dataplane]
cores = [2, 3]
control_cores = [0]
idle = "spin"
memory = "no-huge"
memory_mb = 256
mbufs = 16384
pool_on = "owner"
buckets = 4

[control]
socket = "/tmp/carpool.sock"

[[port]]
name = "p0"
device = "0000:3b:00.0"
address = ["192.0.2.1/24"]

[[port]]
name = "p1"
device = "net_af_packet0,iface=veth0"
address = ["10.0.0.1/30", "10.1.0.1/31"]
mtu = 9000
rx_descriptors = 512
tx_descriptors = 2048

[[neighbor]]
address = "10.0.0.2"
mac = "02:00:00:00:00:02"
port = "p1"

[[route]]
prefix = "203.0.113.0/24"
via = "192.0.2.2"

[[route]]
prefix = "10.9.0.0/16"
blackhole = true

[[route]]
prefix = "10.8.0.0/16"
unreachable = true

[[peer]]
name = "east"
address = "198.51.100.7"
alias = ["198.51.100.8", "203.0.113.1"]
source = "192.0.2.1"
mtu = 1400
probe_mtu = false
hello_interval = "50ms"

[[peer]]
name = "west"
address = "10.0.0.2"
assume = true
format = "simplemux-fast"

[pool]
port = 7666

[[path]]
prefix = "203.0.113.0/24"
hops = ["192.0.2.2", "198.51.100.7"]

[[rule]]
name = "voice"
match = { protocol = "udp", ports = "16384-32767", from = "10.0.0.0/8", to = "203.0.113.0/24", dscp = "ef" }
max_size = "300B"
window = "2ms"
max_count = 5
required_count = 3
hold = "30ms"
shared_hops = 3
path_mtu = 1200
lone = "pooled"

[[rule]]
name = "rest"
match = { protocol = 6, source_ports = "5060", dscp = 46 }
window = "500µs"
adaptive = true
required_count = 2
shared_hops = "path"

[[rule]]
name = "never"
match = {}
pool = false
"#;

/// The least that is a configuration, 5 lines of it.
pub(super) const LEAST: &str = r#"
[[port]]
name = "p0"
device = "net_null0"
address = ["192.0.2.1/24"]
"#;

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// What is wrong with the least configuration and `more` behind it. The first line of `more` is line 6.
pub(super) fn wrong(more: &str) -> String {
    wrong_with(&format!("{LEAST}{more}"))
}

fn wrong_with(text: &str) -> String {
    parse(text, "c.toml").expect_err("something is wrong with it").to_string()
}

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
fn there_must_be_a_source_port_for_each_bucket_of_each_worker() {
    let with = |port: u32| format!("{LEAST}[dataplane]\ncores = [1, 2, 3]\nbuckets = 4\n[pool]\nport = {port}\n");
    assert!(parse(&with(65524), "c.toml").is_ok(), "65524 to 65535");
    assert_eq!(
        wrong_with(&with(65525)),
        "c.toml:8:11: dataplane.buckets = 4: expected fewer, or a lower pool.port: 3 workers with 4 flow buckets each \
         send from UDP ports 65525 to 65536, and there are 65535"
    );
    let one = format!("{LEAST}[pool]\nport = 65535\n");
    assert!(parse(&one, "c.toml").is_ok(), "one worker, one bucket");
}

#[test]
fn a_router_without_ports_is_none() {
    assert_eq!(wrong_with(""), "c.toml:1:1: port: missing; expected at least one [[port]]");
    assert_eq!(wrong_with("port = []\n"), "c.toml:1:8: port: missing; expected at least one [[port]]");
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

const BOTH: &str = r#"
[[port]]
name = "p0"
device = "net_null0"
address = ["192.0.2.1/24", "2001:db8::1/64"]
"#;

#[test]
fn addresses_of_both_families_stand_wherever_addresses_do() {
    let text = format!(
        "{BOTH}[router]\naddress = [\"2001:db8:ffff::1\"]\n\
         [[neighbor]]\naddress = \"2001:db8::9\"\nmac = \"02:00:00:00:00:02\"\nport = \"p0\"\n\
         [[route]]\nprefix = \"2001:db8:1::/48\"\nvia = \"2001:db8::2\"\n\
         [[route]]\nprefix = \"203.0.113.0/24\"\nvia = \"2001:db8:1::2\"\n\
         [[peer]]\nname = \"east\"\naddress = \"2001:db8:1::7\"\nalias = [\"198.51.100.7\"]\nsource = \"2001:db8:ffff::1\"\n\
         [[path]]\nprefix = \"2001:db8:1::/48\"\nhops = [\"2001:db8::2\", \"2001:db8:1::7\"]\n\
         [[rule]]\nname = \"voice\"\nmatch = {{ to = \"2001:db8:1::/48\" }}\nwindow = \"2ms\"\n"
    );
    let config = parse(&text, "c.toml").expect("sound");
    assert_eq!(config.router_id, std::net::Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(config.ports[0].addresses, [net("192.0.2.1/24"), net("2001:db8::1/64")]);
    assert_eq!(config.routes[1].target, crate::api::route::RouteTarget::Via(address("2001:db8:1::2")), "RFC 8950");
    assert_eq!(config.rules[0].matcher.destination, Some(net("2001:db8:1::/48")));
}

#[test]
fn what_no_ipv6_address_can_be_is_refused() {
    let link_local = "expected an address that is not link-local: ports have such a one by themselves";
    let cases = [
        ("address = [\"fe80::1/64\"]", format!("c.toml:5:12: port.address = \"fe80::1/64\": {link_local}")),
        (
            "address = [\"ff02::1/64\"]",
            "c.toml:5:12: port.address = \"ff02::1/64\": expected the address of a host: no loopback, multicast or \
             reserved address"
                .into(),
        ),
        (
            "address = [\"2001:db8::1/64\"]\nmtu = 1000",
            "c.toml:6:7: port.mtu = 1000: expected at least 1280 bytes on a port with an IPv6 address".into(),
        ),
    ];
    for (keys, expected) in cases {
        let text = LEAST.replace("address = [\"192.0.2.1/24\"]", keys);
        assert_eq!(wrong_with(&format!("{text}[router]\nid = \"192.0.2.1\"\n")), expected);
    }
    let told = wrong_with(&LEAST.replace("192.0.2.1/24", "2001:db8::1/64"));
    assert!(told.contains("router.id: missing where no port has an IPv4 address; expected an IPv4 address"), "{told}");
}

#[test]
fn families_that_do_not_go_together_are_refused() {
    let cases = [
        (
            "[[route]]\nprefix = \"2001:db8:1::/48\"\nvia = \"192.0.2.2\"\n",
            "c.toml:8:7: route.via = \"192.0.2.2\": expected an IPv6 address, as the prefix is one of IPv6",
        ),
        (
            "[[route]]\nprefix = \"2001:db8:1::/48\"\nvia = \"fe80::2\"\n",
            "c.toml:8:7: route.via = \"fe80::2\": expected a port behind the link-local address, as in fe80::1%p0: \
             it does not say on which link it is",
        ),
        (
            "[[peer]]\nname = \"east\"\naddress = \"198.51.100.7\"\nsource = \"2001:db8::1\"\n",
            "c.toml:9:10: peer.source = \"2001:db8::1\": expected an address of the family that the peer's has",
        ),
    ];
    for (more, expected) in cases {
        assert_eq!(wrong_with(&format!("{BOTH}{more}")), expected);
    }
    let told = wrong("[[peer]]\nname = \"east\"\naddress = \"2001:db8:1::7\"\n");
    assert!(told.ends_with("expected an IPv4 address: the router has no IPv6 address to send from"), "{told}");
}

#[test]
fn all_errors_are_told_in_the_order_of_the_file() {
    let told = wrong("mtu = 1\n[[rule]]\nname = \"a b\"\nmatch = {}\nwindow = \"0ms\"\n");
    let expected = "c.toml:6:7: port.mtu = 1: expected a whole number from 576 to 9000\n\
                    c.toml:8:8: rule.name = \"a b\": expected a name of 1 to 32 letters, digits, '-', '_' or '.'\n\
                    c.toml:10:10: rule.window = \"0ms\": expected a time from \"1us\" to \"10s\"";
    assert_eq!(told, expected);
}

#[test]
fn ports_must_not_get_in_each_others_way() {
    let port = |name: &str, device: &str, address: &str| {
        format!("[[port]]\nname = {name:?}\ndevice = {device:?}\naddress = [{address:?}]\n")
    };
    let cases = [
        (port("p0", "net_null1", "10.0.0.1/8"), "c.toml:7:8: port.name = \"p0\": a port of this name is there twice"),
        (
            port("p1", "net_null0,size=64", "10.0.0.1/8"),
            "c.toml:8:10: port.device = \"net_null0,size=64\": this device is there twice",
        ),
        (
            port("p1", "net_null1", "192.0.2.129/25"),
            "c.toml:9:12: port.address = \"192.0.2.129/25\": its subnet overlaps with 192.0.2.1/24 of port \"p0\"",
        ),
        (
            port("p1", "net_null1", "192.0.2.1/32"),
            "c.toml:9:12: port.address = \"192.0.2.1/32\": this address is there twice: 192.0.2.1/24 of port \"p0\"",
        ),
        (
            port("p1", "net_null1", "10.0.0.255/24"),
            "c.toml:9:12: port.address = \"10.0.0.255/24\": expected the address of a host: this is the broadcast address of the subnet",
        ),
        (
            port("p1", "net_null1", "127.0.0.1/8"),
            "c.toml:9:12: port.address = \"127.0.0.1/8\": expected the address of a host: no loopback, multicast or reserved address",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(wrong(&text), expected);
    }
    let second = LEAST.replace("[\"192.0.2.1/24\"]", "[\"192.0.2.1/24\", \"192.0.2.9/24\"]");
    assert!(parse(&second, "c.toml").is_ok(), "a port may have two addresses in one subnet");
}

#[test]
fn routes_need_a_gateway_that_can_be_reached() {
    let route = |prefix: &str, to: &str| format!("[[route]]\nprefix = {prefix:?}\n{to}\n");
    let via = |gateway: &str| route("10.0.0.0/8", &format!("via = {gateway:?}"));
    let cases = [
        (
            route("10.0.0.1/8", "blackhole = true"),
            "c.toml:7:10: route.prefix = \"10.0.0.1/8\": expected a prefix without host bits, such as \"203.0.113.0/24\" or \"2001:db8::/32\"",
        ),
        (
            route("10.0.0.0/8", ""),
            "c.toml:7:10: route.prefix = \"10.0.0.0/8\": expected exactly one of via, blackhole = true and unreachable = true beside it",
        ),
        (
            route("10.0.0.0/8", "via = \"192.0.2.2\"\nblackhole = true"),
            "c.toml:7:10: route.prefix = \"10.0.0.0/8\": expected exactly one of via, blackhole = true and unreachable = true beside it",
        ),
        (route("10.0.0.0/8", "blackhole = false"), "c.toml:8:13: route.blackhole = false: expected true"),
        (
            via("198.51.100.1"),
            "c.toml:8:7: route.via = \"198.51.100.1\": expected the address of a router on the link of a port, or one that a route leads to",
        ),
        (
            via("192.0.2.1"),
            "c.toml:8:7: route.via = \"192.0.2.1\": expected the address of another router, this one is our own",
        ),
        (
            via("192.0.2.255"),
            "c.toml:8:7: route.via = \"192.0.2.255\": expected the address of a router: this one names no host of 192.0.2.0/24",
        ),
        (
            via("10.1.1.1"),
            "c.toml:8:7: route.via = \"10.1.1.1\": its route leads over more than 8 further routes, or in a circle",
        ),
        (
            route("192.0.2.0/24", "via = \"192.0.2.2\""),
            "c.toml:7:10: route.prefix = \"192.0.2.0/24\": this is the subnet of a port: there is a route to it already",
        ),
        (
            via("192.0.2.2") + &via("192.0.2.3"),
            "c.toml:10:10: route.prefix = \"10.0.0.0/8\": a route to this prefix is there twice",
        ),
        (
            route("172.16.0.0/12", "blackhole = true") + &via("172.16.0.1"),
            "c.toml:11:7: route.via = \"172.16.0.1\": the route to it, 172.16.0.0/12, leads nowhere",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(wrong(&text), expected);
    }
    let behind = format!("{LEAST}{}{}", via("192.0.2.2"), route("172.16.0.0/12", "via = \"10.0.0.9\""));
    assert!(parse(&behind, "c.toml").is_ok(), "a gateway may be behind another route");
}

#[test]
fn neighbours_are_others_on_the_link() {
    let neighbor = |address: &str, mac: &str, port: &str| {
        format!("[[neighbor]]\naddress = {address:?}\nmac = {mac:?}\nport = {port:?}\n")
    };
    let mac = "02:00:00:00:00:02";
    let cases = [
        (
            neighbor("10.0.0.1", mac, "p0"),
            "c.toml:7:11: neighbor.address = \"10.0.0.1\": expected an address on the link of port \"p0\"",
        ),
        (
            neighbor("192.0.2.1", mac, "p0"),
            "c.toml:7:11: neighbor.address = \"192.0.2.1\": expected the address of another host on the link",
        ),
        (
            neighbor("192.0.2.2", mac, "p1"),
            "c.toml:9:8: neighbor.port = \"p1\": expected the name of a [[port]]: \"p0\"",
        ),
        (
            neighbor("192.0.2.2", "03:00:00:00:00:02", "p0"),
            "c.toml:8:7: neighbor.mac = \"03:00:00:00:00:02\": expected an Ethernet address of a station, such as \"02:00:00:00:00:01\"",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(wrong(&text), expected);
    }
}

#[test]
fn peers_and_paths_fit_together() {
    let peer =
        |name: &str, address: &str, more: &str| format!("[[peer]]\nname = {name:?}\naddress = {address:?}\n{more}\n");
    let path = |prefix: &str, hops: &str| format!("[[path]]\nprefix = {prefix:?}\nhops = [{hops}]\n");
    let east = peer("east", "198.51.100.7", "");
    let cases = [
        (
            peer("me", "192.0.2.1", ""),
            "c.toml:8:11: peer.address = \"192.0.2.1\": expected the address of another router, this one is our own",
        ),
        (
            east.clone() + &peer("east", "198.51.100.8", ""),
            "c.toml:11:8: peer.name = \"east\": a peer of this name is there twice",
        ),
        (
            peer("east", "198.51.100.7", "source = \"192.0.2.9\""),
            "c.toml:9:10: peer.source = \"192.0.2.9\": expected one of the router's own addresses",
        ),
        (
            peer("east", "198.51.100.7", "mtu = 1501"),
            "c.toml:9:7: peer.mtu = 1501: expected at most 1500, the largest MTU of a port",
        ),
        (
            peer("east", "198.51.100.7", "hello_interval = \"1ms\""),
            "c.toml:9:18: peer.hello_interval = \"1ms\": expected a time from \"10ms\" to \"60s\"",
        ),
        (
            peer("east", "198.51.100.7", "format = \"simplemux\""),
            "c.toml:9:10: peer.format = \"simplemux\": expected assume = true beside it: there are no hellos in this format",
        ),
        (
            peer("east", "198.51.100.7", "format = \"fast\""),
            "c.toml:9:10: peer.format = \"fast\": expected \"native\", \"simplemux\" or \"simplemux-fast\"",
        ),
        (
            "[pool]\nport = 55555\n".to_owned()
                + &peer("east", "198.51.100.7", "assume = true\nformat = \"simplemux\""),
            "c.toml:7:8: pool.port = 55555: expected a port that no format of a peer has: peer \"east\" is reached there",
        ),
        (
            path("10.0.0.0/8", "\"192.0.2.2\""),
            "c.toml:8:8: path.hops: expected at least one hop that is an address of a [[peer]]",
        ),
        (
            east.clone() + &path("10.0.0.0/8", "\"198.51.100.7\""),
            "c.toml:12:9: path.hops = \"198.51.100.7\": expected the next hop: a router on the link of a port",
        ),
        (
            east.clone() + &path("10.0.0.0/8", "\"192.0.2.2\", \"192.0.2.2\", \"198.51.100.7\""),
            "c.toml:12:22: path.hops = \"192.0.2.2\": this router is there twice",
        ),
        (
            peer("east", "198.51.100.7", "alias = [\"192.0.2.2\"]")
                + &path("10.0.0.0/8", "\"192.0.2.2\", \"198.51.100.7\""),
            "c.toml:12:22: path.hops = \"198.51.100.7\": this router is there twice",
        ),
        (
            east.clone() + &peer("west", "192.0.2.3", "alias = [\"192.0.2.4\", \"198.51.100.7\"]"),
            "c.toml:13:23: peer.alias = \"198.51.100.7\": a peer with this address is there twice",
        ),
        (
            peer("east", "198.51.100.7", "alias = [\"192.0.2.1\"]"),
            "c.toml:9:10: peer.alias = \"192.0.2.1\": expected the address of another router, this one is our own",
        ),
        (
            path("10.0.0.0/8", ""),
            "c.toml:8:8: path.hops: expected the addresses of 1 to 16 routers, the next hop first",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(wrong(&text), expected);
    }
}

#[test]
fn templates_list_lengths_and_rules_name_them() {
    let template = |text: &str| format!("[[template]]\n{text}\n");
    let rule = "[[rule]]\nname = \"r\"\nmatch = {}\nwindow = \"2ms\"\nindex = \"predetermined\"\ntemplate = 7\n";
    let text = format!("{LEAST}{}{rule}", template("id = 7\nlengths = [60, 200]"));
    let config = parse(&text, "c.toml").expect("sound");
    let (id, lengths) = config.templates.first().expect("one");
    assert_eq!((id.value(), lengths.lengths()), (7, &[60, 200][..]));
    let criteria = config.rules.first().and_then(|rule| rule.criteria.as_ref()).expect("it pools");
    assert_eq!(criteria.index, Index::Predetermined(*id));
    let cases = [
        (template("id = 0\nlengths = [60]"), "c.toml:7:6: template.id = 0: expected a whole number from 1 to 255"),
        (template("id = 7\nlengths = []"), "c.toml:8:11: template.lengths: no lengths: at least one is needed"),
        (
            template("id = 7\nlengths = [60]") + &template("id = 7\nlengths = [60]"),
            "c.toml:10:6: template.id = 7: a template of this id is there twice",
        ),
    ];
    for (more, expected) in cases {
        let errors = parse(&format!("{LEAST}{more}"), "c.toml").expect_err("it is not sound").to_string();
        assert!(errors.contains(expected), "{errors}");
    }
    let short = parse(&format!("{LEAST}{}", template("id = 7\nlengths = [19]")), "c.toml").expect_err("too short");
    assert!(short.to_string().contains("expected a length from 20 to 9000 bytes"), "{short}");
}

#[test]
fn rules_say_what_can_be_pooled() {
    let rule = |more: &str| format!("[[rule]]\nname = \"a\"\n{more}\n");
    let cases = [
        (
            rule("window = \"1ms\""),
            "c.toml:6:1: rule.match: missing; expected a table such as { protocol = \"udp\", ports = \"5004\" }",
        ),
        (rule("match = {}"), "c.toml:6:1: rule.window: missing; expected a time from \"1us\" to \"10s\""),
        (
            rule("match = {}\nwindow = \"1ms\"\nmax_size = \"1459B\""),
            "c.toml:10:12: rule.max_size = \"1459B\": expected at most \"1458B\": a path MTU of 1500 less 42 bytes of headers",
        ),
        (
            rule("match = {}\nwindow = \"1ms\"\nmax_count = 1"),
            "c.toml:10:13: rule.max_count = 1: expected a whole number from 2 to 255",
        ),
        (
            rule("match = {}\nwindow = \"1ms\"\nmax_count = 4\nrequired_count = 5"),
            "c.toml:11:18: rule.required_count = 5: expected at most 4, the rule's max_count",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nrequired_count = 5\nhold = \"1ms\""),
            "c.toml:11:8: rule.hold = \"1ms\": expected at least \"2ms\", the rule's window",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nhold = \"9ms\""),
            "c.toml:10:8: rule.hold = \"9ms\": expected required_count beside it, the packets that pools are held for",
        ),
        (
            rule("match = {}\nwindow = \"2001ms\"\nrepresentation = \"learned\""),
            "c.toml:9:10: rule.window = \"2001ms\": expected at most \"2s\" beside learned headers",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nrequired_count = 5\nhold = \"2001ms\"\nrepresentation = \"learned\""),
            "c.toml:11:8: rule.hold = \"2001ms\": expected at most \"2s\" beside learned headers",
        ),
        (
            rule("match = {}\nwindow = \"201ms\"\nrequired_count = 5\nrepresentation = \"learned\""),
            "c.toml:9:10: rule.window = \"201ms\": expected at most \"200ms\" beside learned headers and required_count: without hold, 10 times that is what pools are held for",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nmax_size = \"1kB\"\npath_mtu = 1000"),
            "c.toml:10:12: rule.max_size = \"1kB\": expected at most \"958B\": path_mtu 1000 less 42 bytes of headers",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nshared_hops = 17"),
            "c.toml:10:15: rule.shared_hops = 17: expected \"path\" or a whole number from 1 to 16",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nshared_hops = \"3\""),
            "c.toml:10:15: rule.shared_hops = \"3\": expected \"path\" or a whole number from 1 to 16",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nlone = \"alone\""),
            "c.toml:10:8: rule.lone = \"alone\": expected \"itself\" or \"pooled\"",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nindex = \"elsewhere\""),
            "c.toml:10:9: rule.index = \"elsewhere\": expected \"in-band\", \"out-of-band\" or \"predetermined\"",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nindex = \"out-of-band\"\ntemplate = 7"),
            "c.toml:11:12: rule.template = 7: expected index = \"predetermined\" beside it",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nindex = \"predetermined\"\ntemplate = 0"),
            "c.toml:11:12: rule.template = 0: expected a whole number from 1 to 255",
        ),
        (
            rule("match = {}\nwindow = \"2ms\"\nindex = \"predetermined\"\ntemplate = 7"),
            "c.toml:11:12: rule.template = 7: expected the id of a [[template]]",
        ),
        (
            rule("match = {}\npool = false\nwindow = \"2ms\""),
            "c.toml:10:10: rule.window = \"2ms\": expected no such key beside pool = false: a rule that never pools needs none",
        ),
        (
            rule("match = { ports = \"5004\" }\nwindow = \"1ms\""),
            "c.toml:8:9: rule.match = { ports = \"5004\" }: expected protocol = \"udp\", \"tcp\" or another one that has ports",
        ),
        (
            rule("match = { protocol = \"udp\", ports = \"9-1\" }\nwindow = \"1ms\""),
            "c.toml:8:37: rule.match.ports = \"9-1\": expected a port such as \"5060\" or a range such as \"16384-32767\"",
        ),
        (
            rule("match = { dscp = 64 }\nwindow = \"1ms\""),
            "c.toml:8:18: rule.match.dscp = 64: expected a code point such as \"ef\", or its number from 0 to 63",
        ),
        (
            rule("match = {}\nwindow = \"1ms\"") + &rule("match = {}\nwindow = \"1ms\""),
            "c.toml:11:8: rule.name = \"a\": a rule of this name is there twice",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(wrong(&text), expected);
    }
}

/// A configuration with a few bytes of it changed, doubled, or swapped with what could stand there.
fn mutated() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "",
        "\"",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        "\n",
        "0",
        "-1",
        "99999999999999999999",
        "true",
        "\u{0}",
        "µ",
        "1e9",
        "0x7f",
        "1979-05-27",
        "\"\"",
        "[1]",
        "''",
        "nan",
        "/33",
        "255.255.255.255",
        "0.0.0.0",
    ]);
    prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, pieces), 0..6).prop_map(|changes| {
        let mut text: Vec<char> = WHOLE.chars().collect();
        for (place, length, piece) in changes {
            let start = place.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, piece.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_panics_and_every_error_names_a_place(text in mutated()) {
        if let Err(errors) = parse(&text, "c.toml") {
            prop_assert!(!errors.0.is_empty());
            let lines = text.split('\n').count();
            for error in errors.0 {
                prop_assert!((1..=lines).contains(&error.line), "{error}");
                prop_assert!(error.column >= 1, "{error}");
                prop_assert!(!error.message.is_empty());
            }
        }
    }

    #[test]
    fn no_garbage_panics(text in "\\PC{0,200}") {
        let _ = parse(&text, "c.toml");
    }
}

/// The TOML in docs/configuration.md.
fn documented() -> String {
    let document = include_str!("../../../docs/configuration.md");
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
    let document = include_str!("../../../docs/configuration.md");
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

#[test]
fn there_are_at_most_so_many_neighbours() {
    let least = LEAST.replace("192.0.2.1/24", "10.0.0.1/16");
    let neighbor = |i: u32| {
        let address = Ipv4Addr::from_bits(0x0a00_0100 + i);
        format!("[[neighbor]]\naddress = \"{address}\"\nmac = \"02:00:00:00:00:02\"\nport = \"p0\"\n")
    };
    let most: String = (0..4096).map(neighbor).collect();
    assert!(parse(&format!("{least}{most}"), "c.toml").is_ok());
    let errors = parse(&format!("{least}{most}{}", neighbor(4096)), "c.toml").expect_err("one too many");
    assert!(errors.to_string().ends_with("expected at most 4096 neighbours"), "{errors}");
}

#[test]
fn there_are_at_most_so_many_different_windows() {
    let rule = |i: usize, window: usize| format!("[[rule]]\nname = \"r{i}\"\nmatch = {{}}\nwindow = \"{window}ms\"\n");
    let sixteen: String = (1..=16).map(|i| rule(i, i)).collect();
    assert!(parse(&format!("{LEAST}{sixteen}{}", rule(99, 16)), "c.toml").is_ok());
    let told = wrong(&format!("{sixteen}{}", rule(17, 17)));
    let expected = "rule.window = \"17ms\": expected one of the windows above: there can be 16 different ones";
    assert!(told.ends_with(expected), "{told}");
    let holds = rule(17, 16) + "required_count = 2\nhold = \"99ms\"\n";
    let told = wrong(&format!("{sixteen}{holds}"));
    let expected = "rule.hold = \"99ms\": what it is longer than the window is one more than 16 different windows";
    assert!(told.ends_with(expected), "{told}");
    let never = "[[rule]]\nname = \"never\"\nmatch = {}\npool = false\n";
    assert!(parse(&format!("{LEAST}{sixteen}{never}"), "c.toml").is_ok(), "it has no window");
}

#[test]
fn a_link_local_gateway_has_a_port_that_speaks_ipv6() {
    let six = LEAST.replacen("address = [", "address = [\"2001:db8:1::1/64\", ", 1);
    let route = |gateway: &str| format!("[[route]]\nprefix = \"2001:db8:9::/48\"\nvia = \"{gateway}\"\n");
    let config = parse(&format!("{six}{}", route("fe80::2%p0")), "c.toml").expect("a sound configuration");
    assert_eq!(config.routes[0].target.gateway().as_deref(), Some("fe80::2%p0"));
    for (text, expected) in [
        (
            format!("{six}{}", route("fe80::2%p9")),
            "route.via = \"fe80::2%p9\": expected the name of a port behind %: there is none called \"p9\"",
        ),
        (
            format!("{LEAST}{}", route("fe80::2%p0")),
            "route.via = \"fe80::2%p0\": expected a port with an IPv6 address behind %: \"p0\" has none, and speaks no IPv6",
        ),
        (
            format!("{six}{}", route("fe80::2")),
            "route.via = \"fe80::2\": expected a port behind the link-local address, as in fe80::1%p0: it does not say on which \
             link it is",
        ),
    ] {
        let told = parse(&text, "c.toml").expect_err("a broken configuration was accepted").to_string();
        assert!(told.ends_with(expected), "{told}");
    }
}

#[test]
fn routes_with_legs_name_ports_and_peers_that_there_are() {
    const EAST: &str = "[[peer]]\nname = \"east\"\naddress = \"198.51.100.7\"\n";
    let multicast = |keys: &str| format!("[[multicast]]\n{keys}\n");
    let config = parse(
        &format!("{LEAST}{}", multicast("group = \"239.1.2.3\"\nfrom = \"p0\"\nto = [\"east\"]") + EAST),
        "c.toml",
    );
    let config = config.expect("a sound configuration");
    assert_eq!((config.multicast[0].from.as_str(), config.multicast[0].source), ("p0", None));
    let six = multicast("group = \"ff3e::8000:1\"\nsource = \"2001:db8::9\"\nfrom = \"p0\"\nto = [\"east\"]");
    let overlay6 =
        "[[overlay]]\nprefix = \"2001:db8:f::/48\"\nto = [\"east\"]\nhops = [\"2001:db8::7\", \"10.9.9.9\"]\n";
    let config = parse(&format!("{LEAST}{six}{overlay6}{EAST}"), "c.toml").expect("a sound configuration");
    assert_eq!(config.multicast[0].source, Some("2001:db8::9".parse().expect("an address")));
    assert_eq!((config.overlays[0].prefix.to_string().as_str(), config.overlays[0].hops.len()), ("2001:db8:f::/48", 2));
    let overlay = |keys: &str| format!("[[overlay]]\n{keys}\n") + EAST;
    for (text, expected) in [
        (
            multicast("group = \"224.0.0.5\"\nfrom = \"p0\"\nto = [\"p0\"]"),
            "multicast.group = \"224.0.0.5\": expected a group from 224.0.1.0 to 239.255.255.255, or one of IPv6 with a scope of 3 to f",
        ),
        (
            multicast("group = \"ff12::1\"\nfrom = \"p0\"\nto = [\"p0\"]"),
            "multicast.group = \"ff12::1\": expected a group from 224.0.1.0 to 239.255.255.255, or one of IPv6 with a scope of 3 to f",
        ),
        (
            multicast("group = \"ff3e::1\"\nsource = \"10.0.0.9\"\nfrom = \"p0\"\nto = [\"p0\"]"),
            "multicast.source = \"10.0.0.9\": expected an address of the family of the group",
        ),
        (
            overlay("prefix = \"fe80::/64\"\nto = [\"east\"]"),
            "overlay.prefix = \"fe80::/64\": expected a prefix of hosts beyond the link",
        ),
        (
            overlay("prefix = \"ff3e::/32\"\nto = [\"east\"]"),
            "overlay.prefix = \"ff3e::/32\": expected a prefix of hosts, not of groups",
        ),
        (
            multicast("group = \"239.1.2.3\"\nfrom = \"p0\"\nto = [\"p0\"]"),
            "multicast.to: \"p0\" is where packets come from: expected another leg",
        ),
        (
            multicast("group = \"239.1.2.3\"\nfrom = \"p0\""),
            "multicast.to: missing; expected a list of names such as [\"p1\", \"east\"]",
        ),
        (
            multicast("group = \"239.1.2.3\"\nfrom = \"p9\"\nto = [\"p0\"]"),
            "multicast.from = \"p9\": expected the name of a port or a peer: there is none called \"p9\"",
        ),
        (overlay("prefix = \"10.9.0.0/16\"\nto = [\"p0\"]"), "overlay.to: expected peers: \"p0\" is a port"),
        (overlay("prefix = \"10.9.0.0/16\"\nto = []"), "overlay.to: expected 1 to 32 legs"),
    ] {
        let wrong = wrong(&text);
        assert!(wrong.ends_with(expected), "{wrong}");
    }
}
