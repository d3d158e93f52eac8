//! Paths over several peers, as a worker and a client see them.

use super::bench::*;
use super::*;
use carpool_dataplane::fib::Adjacency;
use carpool_dataplane::pool::hello::Capabilities;
use carpool_dataplane::pool::path::{PoolPath, SharedHops};
use std::net::Ipv4Addr;

use crate::api::lookup::Lookup;
use crate::api::path::{PathAdd, PathDel, PathEntry, PathShow};
use crate::api::peer::{PeerAdd, PeerDel, PeerFormat, PeerShow};
use crate::api::route::{RouteAdd, RouteDel, Source};
use crate::api::{Handler, RefusalKind};

/// Behind the first port an unequipped router, peer near, an unequipped router, peer far; near has another address on its
/// far side, by which a second path names it.
const CHAIN: &str = r#"
[[port]]
name = "west"
device = "net_null0"
address = ["192.0.2.1/24"]

[[port]]
name = "east"
device = "net_null1"
address = ["10.0.0.1/24"]

[[route]]
prefix = "203.0.112.0/20"
via = "192.0.2.2"

[[route]]
prefix = "198.51.100.0/24"
via = "192.0.2.2"

[[peer]]
name = "near"
address = "198.51.100.3"
alias = ["198.51.100.30"]

[[peer]]
name = "far"
address = "198.51.100.7"

[[path]]
prefix = "203.0.113.0/24"
hops = ["192.0.2.2", "198.51.100.3", "198.51.100.6", "198.51.100.7"]

[[path]]
prefix = "203.0.114.0/24"
hops = ["192.0.2.2", "198.51.100.30", "198.51.100.9"]
"#;

const NEAR: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 3));
const FAR: IpAddr = PEER;

fn bench() -> Bench {
    let mut bench = Bench::new(CHAIN);
    bench.hello_from(NEAR, HELLO);
    bench.hello_from(FAR, HELLO);
    bench
}

/// The path that packets to an address are pooled on, and whose address pooled packets have.
fn pooled_on(bench: &mut Bench, address: [u8; 4]) -> Option<(PoolPath, IpAddr)> {
    let index = bench.entry(address).0.path?;
    let state = bench.state();
    let path = *state.path(index).expect("an entry names a path that is there");
    let peer = state.peers.get(path.addressee.expect("it lives")).expect("a peer");
    Some((path, peer.path.addressee))
}

fn shown(bench: &mut Bench, prefix: &str) -> PathEntry {
    let show = PathShow { prefix: Some(net(prefix)), offset: 0, limit: 10 };
    bench.client().path_show(show).expect("answered").paths.first().expect("it is there").clone()
}

#[test]
fn packets_that_part_on_the_way_share_a_pool_as_far_as_the_last_peer_both_pass() {
    let mut bench = bench();
    let (far, addressee) = pooled_on(&mut bench, [203, 0, 113, 9]).expect("pooled");
    assert_eq!((addressee, far.trunk.distance()), (FAR, 4));
    let (turns, addressee) = pooled_on(&mut bench, [203, 0, 114, 9]).expect("pooled");
    assert_eq!((addressee, turns.trunk.distance()), (NEAR, 2), "by its alias");
    assert_eq!((far.trunk.index_ttl(&far.trunk), far.trunk.index_ttl(&turns.trunk)), (4, 2));
    assert_eq!(far.group(SharedHops::AtLeast(2)), turns.group(SharedHops::AtLeast(2)));
    assert_ne!(far.group(SharedHops::AtLeast(3)), turns.group(SharedHops::AtLeast(3)));
}

#[test]
fn a_peer_in_mid_path_that_falls_silent_is_passed_by() {
    let mut bench = bench();
    let before = bench.state().pools;
    bench.pass(Duration::from_millis(500));
    bench.hello_from(FAR, HELLO);
    bench.pass(Duration::from_millis(100));
    let (far, addressee) = pooled_on(&mut bench, [203, 0, 113, 9]).expect("far lives");
    assert_eq!((addressee, far.trunk.distance()), (FAR, 4));
    assert_eq!(pooled_on(&mut bench, [203, 0, 114, 9]), None, "nobody else is on its way");
    assert!(bench.state().pools > before, "pools with packets for it are flushed");
    let hops = shown(&mut bench, "203.0.113.0/24").hops;
    assert_eq!(hops[1].reason.as_deref(), Some("peer near is down: no hello has come from it for 600 ms"));
    assert_eq!([hops[1].ttl, hops[3].ttl], [None, Some(4)]);
    bench.hello_from(NEAR, HELLO);
    assert!(pooled_on(&mut bench, [203, 0, 114, 9]).is_some(), "pooled again when it is back");
}

#[test]
fn the_peer_in_front_of_a_silent_last_one_becomes_the_addressee() {
    let mut bench = bench();
    bench.pass(Duration::from_millis(500));
    bench.hello_from(NEAR, HELLO);
    bench.pass(Duration::from_millis(100));
    let (path, addressee) = pooled_on(&mut bench, [203, 0, 113, 9]).expect("near lives");
    assert_eq!((addressee, path.trunk.distance()), (NEAR, 2));
    let entry = shown(&mut bench, "203.0.113.0/24");
    assert_eq!((entry.peer.as_deref(), entry.reason), (Some("near"), None));
}

#[test]
fn a_peer_that_packets_reach_another_way_is_no_addressee() {
    let mut bench = bench();
    bench.client().route_add(route("198.51.100.7/32", [10, 0, 0, 2])).expect("possible");
    let (_, addressee) = pooled_on(&mut bench, [203, 0, 113, 9]).expect("near is still reached by the first hop");
    assert_eq!(addressee, NEAR);
    let hops = shown(&mut bench, "203.0.113.0/24").hops;
    assert_eq!(hops[3].reason.as_deref(), Some("packets to peer far leave by 10.0.0.2, not by 192.0.2.2"));
    bench.client().route_add(route("198.51.100.0/24", [10, 0, 0, 2])).expect("possible");
    assert_eq!(pooled_on(&mut bench, [203, 0, 113, 9]), None);
    bench.client().route_del(RouteDel { prefix: net("198.51.100.7/32") }).expect("possible");
    bench.client().route_add(route("203.0.112.0/20", [10, 0, 0, 2])).expect("possible");
    let reason = shown(&mut bench, "203.0.113.0/24").reason.expect("nothing is pooled");
    assert_eq!(reason, "the route leaves by 10.0.0.2, not by the path's first hop 192.0.2.2");
}

#[test]
fn a_peer_that_opens_only_what_is_addressed_to_it_is_passed_by_on_the_way() {
    let mut bench = bench();
    bench.hello_from(NEAR, Hello { capabilities: Capabilities::WHOLE_IPV4, ..HELLO });
    let (far, _) = pooled_on(&mut bench, [203, 0, 113, 9]).expect("far lives");
    let (turns, addressee) = pooled_on(&mut bench, [203, 0, 114, 9]).expect("it takes what is addressed to it");
    assert_eq!((addressee, far.trunk.index_ttl(&turns.trunk)), (NEAR, 0));
    assert_ne!(far.group(SharedHops::AtLeast(1)), turns.group(SharedHops::AtLeast(1)));
    let reason = shown(&mut bench, "203.0.113.0/24").hops[1].reason.clone();
    assert_eq!(reason.as_deref(), Some("it takes out only what is addressed to it"));
}

#[test]
fn a_path_over_the_socket_comes_before_that_of_the_file_and_stays_over_a_reload() {
    let mut bench = bench();
    let add = |hops: &[[u8; 4]]| PathAdd {
        prefix: net("203.0.114.0/24"),
        hops: hops.iter().map(|hop| (*hop).into()).collect(),
    };
    let added =
        bench.client().path_add(add(&[[192, 0, 2, 2], [198, 51, 100, 9], [198, 51, 100, 7]])).expect("possible");
    assert!(added.replaced);
    let (path, addressee) = pooled_on(&mut bench, [203, 0, 114, 9]).expect("pooled");
    assert_eq!((addressee, path.trunk.distance()), (FAR, 3), "one peer at two distances");
    assert_eq!(shown(&mut bench, "203.0.114.0/24").source, Source::Socket);
    bench.reload(&CHAIN.replace("\"198.51.100.9\"", "\"198.51.100.8\"")).expect("possible");
    let (path, addressee) = pooled_on(&mut bench, [203, 0, 114, 9]).expect("pooled as before");
    assert_eq!((addressee, path.trunk.distance()), (FAR, 3));
    let prefix = net("203.0.114.0/24");
    bench.client().path_del(PathDel { prefix }).expect("it is there");
    assert_eq!(pooled_on(&mut bench, [203, 0, 114, 9]), None, "the file's went with it");
    let refusal = bench.client().path_del(PathDel { prefix }).expect_err("it is gone");
    assert_eq!(
        (refusal.kind, refusal.message.as_str()),
        (RefusalKind::NotFound, "there is no path to exactly 203.0.114.0/24")
    );
    bench.reload(CHAIN).expect("possible");
    assert_eq!(pooled_on(&mut bench, [203, 0, 114, 9]), None, "until a restart");
    bench.client().path_add(add(&[[192, 0, 2, 2], [198, 51, 100, 30]])).expect("possible");
    assert!(pooled_on(&mut bench, [203, 0, 114, 9]).is_some());
}

#[test]
fn what_is_no_path_is_refused_in_a_sentence() {
    let mut bench = bench();
    let mut refused = |hops: &[[u8; 4]]| {
        let hops = hops.iter().map(|hop| (*hop).into()).collect();
        bench.client().path_add(PathAdd { prefix: net("10.9.0.0/16"), hops }).expect_err("no path").message
    };
    assert_eq!(refused(&[]), "path 10.9.0.0/16: 0 hops: expected 1 to 16");
    assert_eq!(refused(&[[192, 0, 2, 2]; 17]), "path 10.9.0.0/16: 17 hops: expected 1 to 16");
    let far_away = "path 10.9.0.0/16: its first hop 198.51.100.7 is on the link of no port";
    assert_eq!(refused(&[[198, 51, 100, 7]]), far_away);
    let broadcast = "path 10.9.0.0/16: its first hop 192.0.2.255 is the network or broadcast address of a subnet";
    assert_eq!(refused(&[[192, 0, 2, 255]]), broadcast);
    let own = "path 10.9.0.0/16: hop 10.0.0.1 is one of the router's own addresses";
    assert_eq!(refused(&[[192, 0, 2, 2], [10, 0, 0, 1]]), own);
    let twice = "path 10.9.0.0/16: the router 198.51.100.30 is there twice";
    assert_eq!(refused(&[[192, 0, 2, 2], [198, 51, 100, 3], [198, 51, 100, 30]]), twice);
}

#[test]
fn a_lookup_shows_the_path_and_pages_show_all_paths() {
    let mut bench = bench();
    let found = bench.client().lookup(Lookup { address: [203, 0, 113, 9].into() }).expect("answered");
    let path = found.path.expect("a path leads there");
    assert_eq!(path.iter().map(|hop| hop.ttl).collect::<Vec<_>>(), [None, Some(2), None, Some(4)]);
    assert_eq!((found.peer.as_deref(), path[1].peer.as_deref()), (Some("far"), Some("near")));
    for i in 0..9u8 {
        let prefix = IpNet::from(IpAddr::V4(Ipv4Addr::new(203, 0, 115, i)));
        bench.client().path_add(PathAdd { prefix, hops: vec![[192, 0, 2, 2].into()] }).expect("possible");
    }
    let show = |prefix: Option<&str>, offset| PathShow { prefix: prefix.map(net), offset, limit: 4 };
    let list = bench.client().path_show(show(None, 8)).expect("answered");
    assert_eq!((list.total, list.paths.len()), (11, 3));
    let within = bench.client().path_show(show(Some("203.0.115.0/24"), 0)).expect("answered");
    assert_eq!((within.total, within.paths.len()), (9, 4));
    assert_eq!(within.paths[0].reason.as_deref(), Some("none of its hops is a peer"));
    let add = RouteAdd { prefix: net("203.0.115.0/32"), target: crate::api::route::RouteTarget::Blackhole };
    bench.client().route_add(add).expect("possible");
    assert_eq!(bench.entry([203, 0, 115, 0]).0.adjacency, Adjacency::Blackhole);
    let reason = shown(&mut bench, "203.0.115.0/32").reason;
    assert_eq!(reason.as_deref(), Some("no route leads by the path's first hop 192.0.2.2"));
}

#[test]
fn peers_come_and_go_over_the_socket() {
    let mut bench = bench();
    let prefix = net("203.0.115.0/24");
    let hops = vec![[192, 0, 2, 2].into(), [198, 51, 100, 50].into()];
    bench.client().path_add(PathAdd { prefix, hops }).expect("possible");
    assert_eq!(pooled_on(&mut bench, [203, 0, 115, 9]), None, "a router that just forwards");
    let mut add = PeerAdd::new("new".into(), [198, 51, 100, 5].into());
    add.alias = vec![[198, 51, 100, 50].into()];
    bench.client().peer_add(add.clone()).expect("possible");
    assert_eq!(pooled_on(&mut bench, [203, 0, 115, 9]), None, "it was not heard yet");
    let new = Ipv4Addr::new(198, 51, 100, 5);
    bench.hello_from(new, HELLO);
    let (path, addressee) = pooled_on(&mut bench, [203, 0, 115, 9]).expect("pooled");
    assert_eq!((addressee, path.trunk.distance()), (new.into(), 2));
    bench.reload(CHAIN).expect("possible");
    assert!(pooled_on(&mut bench, [203, 0, 115, 9]).is_some(), "it stays over a reload");
    let again = bench.client().peer_add(add).expect_err("it is there");
    assert_eq!((again.kind, again.message.as_str()), (RefusalKind::Exists, "peer \"new\" is there already"));
    bench.client().peer_del(PeerDel { name: "new".into() }).expect("it is there");
    assert_eq!(pooled_on(&mut bench, [203, 0, 115, 9]), None);
    assert_eq!(bench.state().peers.find(new.into()), None, "it is not listened to any more");
    bench.client().peer_del(PeerDel { name: "near".into() }).expect("it is there");
    let peers = bench.client().peer_show(PeerShow {}).expect("answered").peers;
    assert_eq!(peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>(), ["far"]);
    assert_eq!(shown(&mut bench, "203.0.113.0/24").hops[1].peer, None);
}

#[test]
fn what_is_no_peer_is_refused_in_a_sentence() {
    let mut bench = bench();
    let mut refused = |address: [u8; 4], change: &dyn Fn(&mut PeerAdd)| {
        let mut add = PeerAdd::new("new".into(), address.into());
        change(&mut add);
        bench.client().peer_add(add).expect_err("no peer").message
    };
    let new = [198, 51, 100, 5];
    assert_eq!(refused([192, 0, 2, 1], &|_| ()), "peer \"new\": 192.0.2.1 is one of the router's own addresses");
    assert_eq!(refused([224, 0, 0, 1], &|_| ()), "peer \"new\": 224.0.0.1 is not the address of a host");
    let taken = "peer \"new\": 198.51.100.30 is an address of peer \"near\" already";
    assert_eq!(refused([198, 51, 100, 30], &|_| ()), taken);
    let source = "peer \"new\": source 10.0.0.9: expected one of the router's own addresses";
    assert_eq!(refused(new, &|add| add.source = Some([10, 0, 0, 9].into())), source);
    let mtu = "peer \"new\": mtu 1501: expected 128 to 1500, the largest MTU of a port";
    assert_eq!(refused(new, &|add| add.mtu = Some(1501)), mtu);
    let interval = "peer \"new\": hello_interval 9 ms: expected 10 ms to 60 s";
    assert_eq!(refused(new, &|add| add.hello_interval_ms = Some(9)), interval);
    let format = "peer \"new\": format: expected assume beside it: there are no hellos in this format";
    assert_eq!(refused(new, &|add| add.format = Some(PeerFormat::Simplemux)), format);
}
