//! IPv6 beside IPv4, as workers and clients see it.

use super::bench::*;
use super::*;
use carpool_dataplane::fib::Adjacency;
use carpool_dataplane::packet::ipv6::Ipv6Header;
use carpool_dataplane::packet::nd::Message;
use carpool_dataplane::packet::{ethernet, icmpv6, too_big};

use crate::api::lookup::{Lookup, LookupResult};
use crate::api::neighbor::{NeighborAdd, NeighborDel, NeighborShow};
use crate::api::path::PathShow;
use crate::api::route::{AdjacencyKind, Route, RouteDel, RouteLoad, RouteShow, RouteTarget};
use crate::api::text::MacAddress;
use crate::api::{Handler, RefusalKind};

/// Behind the first port a router with addresses of both families; behind that a peer with an IPv6 address that has an
/// IPv4 one besides, and one the other way round.
const BOTH: &str = r#"
[[port]]
name = "west"
device = "net_null0"
address = ["192.0.2.1/24", "2001:db8:1::1/64"]

[[port]]
name = "east"
device = "net_null1"
address = ["10.0.0.1/24"]

[[route]]
prefix = "198.51.100.0/24"
via = "192.0.2.2"

[[route]]
prefix = "203.0.113.0/24"
via = "192.0.2.2"

[[route]]
prefix = "2001:db8:2::/48"
via = "2001:db8:1::2"

[[peer]]
name = "six"
address = "2001:db8:2::6"
alias = ["198.51.100.6"]

[[peer]]
name = "four"
address = "198.51.100.4"
alias = ["2001:db8:2::4"]

[[path]]
prefix = "2001:db8:2:6::/64"
hops = ["2001:db8:1::2", "2001:db8:2::6"]

[[path]]
prefix = "2001:db8:2:4::/64"
hops = ["2001:db8:1::2", "2001:db8:2::4"]

[[path]]
prefix = "203.0.113.0/24"
hops = ["192.0.2.2", "198.51.100.6"]

[[rule]]
name = "voice"
match = { protocol = "udp" }
window = "2ms"
"#;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn route(prefix: &str, via: &str) -> Route {
    Route::new(net(prefix), RouteTarget::Via(address(via))).expect("sound")
}

/// Whose address packets that are pooled to this one's destination have.
fn pooled_to(bench: &mut Bench, text: &str) -> Option<IpAddr> {
    let index = bench.entry_of(address(text)).path?;
    let state = bench.state();
    let addressee = state.path(index).expect("an entry names a path that is there").addressee?;
    Some(state.peers.get(addressee).expect("a peer").path.addressee)
}

#[test]
fn workers_have_the_addresses_routes_and_peers_of_both_families() {
    let mut bench = Bench::new(BOTH);
    let state = bench.state();
    let port = &state.ports[0];
    assert_eq!((port.addresses.len(), port.addresses6.len()), (1, 1));
    assert_eq!(port.link_local.map(IpAddr::V6), Some(address("fe80::ff:fe00:1")));
    assert_eq!(state.ports[1].link_local, None, "no IPv6 there");
    let peers: Vec<_> = state.peers.iter().map(|peer| (peer.path.addressee, peer.path.source)).collect();
    let expected = [("2001:db8:2::6", "2001:db8:1::1"), ("198.51.100.4", "192.0.2.1")];
    assert_eq!(peers, expected.map(|(addressee, source)| (address(addressee), address(source))));
    assert_eq!(bench.entry_of(address("2001:db8:1::1")).adjacency, Adjacency::Local);
    let connected = Adjacency::Connected { port: PortIndex(0) };
    for host in ["2001:db8:1::", "2001:db8:1::9", "2001:db8:1::ffff:ffff:ffff:ffff"] {
        assert_eq!(bench.entry_of(address(host)).adjacency, connected, "a subnet of IPv6 has no broadcast address");
    }
    assert_eq!(bench.entry_of(address("2001:db8:3::1")).adjacency, Adjacency::NoRoute);
}

#[test]
fn packets_of_either_family_are_pooled_to_peers_of_either() {
    let mut bench = Bench::new(BOTH);
    assert_eq!(pooled_to(&mut bench, "2001:db8:2:6::1"), None, "nobody lives");
    bench.hello_from(address("2001:db8:2::6"), HELLO);
    bench.hello_from(address("198.51.100.4"), HELLO);
    assert_eq!(pooled_to(&mut bench, "2001:db8:2:6::1"), Some(address("2001:db8:2::6")));
    assert_eq!(pooled_to(&mut bench, "2001:db8:2:4::1"), Some(address("198.51.100.4")), "known by its alias");
    assert_eq!(pooled_to(&mut bench, "203.0.113.1"), Some(address("2001:db8:2::6")), "known by its alias");
    let paths = bench.client().path_show(PathShow { prefix: None, offset: 0, limit: 10 }).expect("answered");
    let peers: Vec<_> = paths.paths.iter().map(|path| (path.prefix.to_string(), path.peer.as_deref())).collect();
    let expected = [("203.0.113.0/24", "six"), ("2001:db8:2:4::/64", "four"), ("2001:db8:2:6::/64", "six")];
    assert_eq!(peers, expected.map(|(prefix, peer)| (prefix.to_owned(), Some(peer))));
    // The router that leads to the IPv4 address is another one now.
    bench.client().route_add(route("198.51.100.4/32", "10.0.0.2")).expect("room");
    assert_eq!(pooled_to(&mut bench, "2001:db8:2:4::1"), None, "pooled packets would leave by another port");
}

#[test]
fn a_neighbour_with_an_ipv6_address_is_asked_for_and_published_when_it_answers() {
    let mut bench = Bench::new(BOTH);
    let (port, target) = (PortIndex(0), "2001:db8:1::2".parse().expect("an address"));
    bench.tell(Event::NeighbourWanted { port, address: IpAddr::V6(target) });
    let frame = bench.injected().into_iter().find(|inject| inject.target == InjectTarget::Frame(port));
    let packet = &frame.expect("a question").bytes[ethernet::HEADER_LEN..];
    let header = Ipv6Header::parse(packet).expect("a header");
    let Ok(Message::Solicitation(asked)) = Message::parse(&header, packet) else { panic!("no solicitation") };
    assert_eq!((IpAddr::V6(asked.src), asked.target), (address("2001:db8:1::1"), target));
    let mac = [2, 0, 0, 0, 0, 9];
    bench.tell(Event::NeighbourAdvertised { port, address: target, mac: Some(mac), solicited: true, overrides: true });
    bench.pass(NEIGHBOR_PAUSE);
    let found = bench.state().neighbours.find6(port, target).and_then(|found| found.mac);
    assert_eq!(found, Some(mac));
    let shown = bench.client().neighbor_show(NeighborShow { offset: 0, limit: 10 }).expect("answered");
    assert!(shown.neighbors.iter().any(|neighbor| neighbor.address == IpAddr::V6(target)), "{shown:?}");
}

#[test]
fn clients_change_routes_and_neighbours_of_ipv6_and_are_shown_both_families() {
    let mut bench = Bench::new(BOTH);
    let show = |bench: &mut Bench, prefix: Option<&str>, offset, limit| {
        let prefix = prefix.map(net);
        let list = bench.client().route_show(RouteShow { prefix, offset, limit }).expect("answered");
        (list.total, list.routes.iter().map(|route| route.prefix.to_string()).collect::<Vec<_>>())
    };
    let (total, all) = show(&mut bench, None, 0, 100);
    assert_eq!(total as usize, all.len());
    let at = all.iter().position(|prefix| prefix.contains(':')).expect("some of IPv6");
    assert!(all[at..].iter().all(|prefix| prefix.contains(':')), "IPv4 first: {all:?}");
    assert_eq!(show(&mut bench, None, at as u32 - 1, 2).1, all[at - 1..=at], "a page with both");
    assert_eq!(show(&mut bench, Some("2001:db8:2::/48"), 0, 9).1, ["2001:db8:2::/48"]);
    bench.client().route_add(route("2001:db8:5::/48", "2001:db8:2::9")).expect("room");
    let looked_up = bench.client().lookup(Lookup { address: address("2001:db8:5::1") }).expect("answered");
    assert_eq!((looked_up.adjacency, looked_up.via), (AdjacencyKind::Via, Some(address("2001:db8:1::2"))));
    bench.client().route_del(RouteDel { prefix: net("2001:db8:5::/48") }).expect("it is there");
    let routes = vec![route("2001:db8:6::/48", "2001:db8:1::3"), route("100.64.0.0/10", "2001:db8:1::3")];
    assert_eq!(bench.client().route_load(RouteLoad { routes, replace: true }).expect("room").changed, 2);
    let (four, six) = (bench.entry_of(address("100.64.0.1")), bench.entry_of(address("2001:db8:6::1")));
    assert_eq!(four.adjacency, six.adjacency, "RFC 8950");
    let refusal = bench.client().route_add(route("2001:db8:7::/48", "2001:db8:1::1")).expect_err("our own");
    assert_eq!(refusal.kind, RefusalKind::Conflict);

    let mac = MacAddress([2, 0, 0, 0, 0, 9]);
    let add = |address, port: Option<&str>| NeighborAdd { address, mac, port: port.map(Into::into) };
    bench.client().neighbor_add(add(address("2001:db8:1::3"), None)).expect("on the link");
    let refusal = bench.client().neighbor_add(add(address("fe80::3"), None)).expect_err("on which link?");
    assert_eq!(refusal.message, "fe80::3 can be on every link; expected its port beside it");
    bench.client().neighbor_add(add(address("fe80::3"), Some("west"))).expect("on the link");
    bench.client().neighbor_add(add(address("fe80::3"), Some("east"))).expect_err("no IPv6 there");
    bench.client().neighbor_del(NeighborDel { address: address("2001:db8:1::3"), port: None }).expect("it is there");
}

/// What a router says of a packet that was too long for it.
fn too_big_for(packet: &[u8], mtu: u16) -> TooBig {
    let us = "2001:db8:1::1".parse().expect("an address");
    let mut out = [0; icmpv6::MAX_ERROR_LEN];
    let kind = icmpv6::ErrorKind::PacketTooBig { mtu };
    let length = icmpv6::write_error(kind, packet, us, us, &mut out).expect("room");
    let header = Ipv6Header::parse(&out[..length]).expect("sound");
    too_big::packet_too_big(&header, &out[40..length]).expect("a datagram")
}

#[test]
fn a_router_on_the_way_that_quotes_a_probe_over_ipv6_lowers_the_path_mtu() {
    let mut bench = Bench::new(BOTH);
    let peer = address("2001:db8:2::6");
    bench.injected();
    bench.hello_from(peer, Hello { longest_hello: 56, ..HELLO });
    assert_eq!(bench.path_mtu(), Some(1280), "every link takes that much");
    let probe = bench.unanswered_probe(peer);
    // Source, destination, either port, kind, sequence number, length: not what we sent.
    for position in [23, 39, 40, 41, 42, 43, 48, 55, 5] {
        let mut other = probe.clone();
        other[position] ^= 1;
        assert!(!bench.is_told_of_less(too_big_for(&other, 1300)), "byte {position}");
    }
    assert!(bench.is_told_of_less(too_big_for(&probe, 1300)));
    let probe = bench.probes().pop().expect("another probe");
    bench.tell(Event::PacketTooBig(too_big_for(&probe, 1300)));
    assert_eq!(bench.path_mtu(), Some(1300));
}

#[test]
fn a_link_local_gateway_is_named_with_its_port_in_the_file_and_over_the_socket() {
    let mut bench = Bench::new(&BOTH.replace("via = \"2001:db8:1::2\"", "via = \"fe80::2%west\""));
    let neighbour = |bench: &mut Bench, text: &str| {
        let Adjacency::Via { port, gateway } = bench.entry_of(address(text)).adjacency else { panic!("{text}") };
        (port, bench.state().neighbours.get(gateway).expect("a gateway").address)
    };
    let west = PortIndex(0);
    assert_eq!(neighbour(&mut bench, "2001:db8:2::1"), (west, address("fe80::2")));
    let add = |bench: &mut Bench, prefix: &str, gateway: &str| {
        let target = RouteTarget::parse_gateway(gateway).expect("a gateway");
        bench.client().route_add(Route::new(net(prefix), target).expect("sound"))
    };
    add(&mut bench, "2001:db8:5::/48", "fe80::3%west").expect("on the link");
    add(&mut bench, "100.64.0.0/10", "fe80::3%west").expect("RFC 8950");
    add(&mut bench, "2001:db8:6::/48", "2001:db8:5::9").expect("behind the first");
    for behind in ["2001:db8:5::1", "100.64.0.1", "2001:db8:6::1"] {
        assert_eq!(neighbour(&mut bench, behind), (west, address("fe80::3")), "{behind}");
    }
    let found = bench.client().lookup(Lookup { address: address("2001:db8:6::1") }).expect("answered");
    assert_eq!((found.via, found.port.as_deref()), (Some(address("fe80::3")), Some("west")));
    bench.tell(Event::NeighbourWanted { port: west, address: address("fe80::3") });
    let asked = bench.injected().into_iter().any(|inject| inject.target == InjectTarget::Frame(west));
    assert!(asked, "it is asked for on that link");

    let routes = ["fe80::4%west", "fe80::4%west"].map(|gateway| {
        let target = RouteTarget::parse_gateway(gateway).expect("a gateway");
        Route::new(net("2001:db8:7::/48"), target).expect("sound")
    });
    assert_eq!(
        bench.client().route_load(RouteLoad { routes: routes.into(), replace: false }).expect("room").changed,
        1
    );
    for (gateway, why) in [
        ("fe80::3%nowhere", "there is no port \"nowhere\""),
        ("fe80::3%east", "port \"east\" has no IPv6 address, and speaks no IPv6"),
        ("fe80::ff:fe00:1%west", "that is one of the router's own addresses"),
    ] {
        let refusal = add(&mut bench, "2001:db8:8::/48", gateway).expect_err("it leads nowhere");
        assert_eq!(refusal.message, format!("route 2001:db8:8::/48 via {gateway}: {why}"));
    }
}

#[test]
fn multicast_and_overlay_routes_of_ipv6_come_over_the_socket_and_with_the_file() {
    use carpool_dataplane::worker::{Ingress, Leg};
    use std::net::Ipv6Addr;

    use crate::api::multicast::{MulticastDel, MulticastRoute};
    use crate::api::overlay::{OverlayDel, OverlayRoute};
    let text = format!(
        "{BOTH}
[[multicast]]
group = \"ff3e::8000:1\"
source = \"2001:db8:1::9\"
from = \"west\"
to = [\"east\", \"six\"]

[[overlay]]
prefix = \"2001:db8:7::/48\"
to = [\"six\"]
hops = [\"2001:db8:2::7\"]
"
    );
    let mut bench = Bench::new(&text);
    let parsed = |text: &str| text.parse::<Ipv6Addr>().expect("an address");
    let (group, source, behind) = (parsed("ff3e::8000:1"), parsed("2001:db8:1::9"), parsed("2001:db8:7::9"));
    bench.hello_from(address("2001:db8:2::6"), HELLO);
    let state = bench.state();
    let route = state.legs.multicast(source, group).expect("the route");
    assert!(route.admits(Ingress::Port(PortIndex(0))) && !route.admits(Ingress::Port(PortIndex(1))));
    assert!(matches!(route.legs(), [Leg::Port(PortIndex(1)), Leg::Peer(leg)] if leg.path.addressee.is_some()));
    let [Leg::Peer(leg)] = state.legs.overlay(behind).expect("the route").legs() else { panic!("one leg") };
    assert_eq!(leg.path.trunk.distance(), 2);

    let any = MulticastRoute { group: group.into(), source: None, from: "east".into(), to: vec!["west".into()] };
    assert!(!bench.client().multicast_add(any).expect("possible").replaced, "another source");
    let shown = bench.client().multicast_show(Default::default()).expect("answered").multicast;
    assert_eq!(shown.iter().map(|route| route.source).collect::<Vec<_>>(), [None, Some(source.into())]);
    bench.client().multicast_del(MulticastDel { group: group.into(), source: Some(source.into()) }).expect("there");
    let admits = |bench: &mut Bench, port| {
        bench.state().legs.multicast(source, group).is_some_and(|route| route.admits(Ingress::Port(PortIndex(port))))
    };
    assert!(admits(&mut bench, 1) && !admits(&mut bench, 0), "the one for all sources is left");
    let looked_up = |bench: &mut Bench, address: IpAddr| bench.client().lookup(Lookup { address }).expect("answered");
    assert_eq!(looked_up(&mut bench, group.into()).multicast.len(), 1);
    let found = looked_up(&mut bench, behind.into()).overlay.expect("an overlay route");
    assert_eq!((found.prefix, found.to[0].name.as_str()), (net("2001:db8:7::/48"), "six"));
    assert!(looked_up(&mut bench, address("2001:db8:dead::1")).overlay.is_none());
    let overlay = OverlayRoute { prefix: net("::/0"), from: None, to: vec!["four".into()], hops: vec![] };
    bench.client().overlay_add(overlay).expect("possible");
    assert!(bench.state().legs.overlay(parsed("2001:db8:dead::1")).is_some());
    let names = |found: LookupResult| found.overlay.map(|route| route.prefix);
    assert_eq!(names(looked_up(&mut bench, behind.into())), Some(net("2001:db8:7::/48")), "the longest prefix");
    for ours in ["2001:db8:1::1", "ff3e::8000:1"] {
        assert_eq!(names(looked_up(&mut bench, address(ours))), None, "{ours} is never behind an overlay");
    }
    bench.client().overlay_del(OverlayDel { prefix: net("2001:db8:7::/48") }).expect("it is there");
    let refused = bench.client().overlay_del(OverlayDel { prefix: net("2001:db8:7::/48") });
    assert_eq!(refused.expect_err("gone").kind, RefusalKind::NotFound);
}
