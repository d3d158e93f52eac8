//! Peers that come up, fall silent, leave: what is pooled to them, and what clients are told of them.

use std::net::IpAddr;
use std::time::Duration;

use carpool_dataplane::fib::{PathIndex, PeerIndex};
use carpool_dataplane::pool::Format;
use carpool_dataplane::pool::simplemux::Flavour;
use carpool_dataplane::worker::InjectTarget;

use super::bench::*;
use crate::api::Handler;
use crate::api::path::PathShow;
use crate::api::peer::{PeerFormat, PeerShow};
use crate::api::route::RouteDel;

#[test]
fn packets_are_pooled_while_the_peer_lives() {
    let mut bench = Bench::new(CONFIG);
    let (entry, first) = bench.entry([203, 0, 113, 9]);
    assert_eq!(entry.path, None);
    bench.hello(INSTANCE);
    let (entry, second) = bench.entry([203, 0, 113, 9]);
    assert_eq!(entry.path, Some(PathIndex(0)));
    assert!(second > first, "open pools are flushed at the change");
    let end = bench.router.deadline(bench.now).expect("something to do");
    assert!(end <= bench.now + Duration::from_millis(200));
    bench.pass(Duration::from_millis(599));
    assert_eq!(bench.entry([203, 0, 113, 9]).0.path, Some(PathIndex(0)));
    bench.pass(Duration::from_millis(1));
    let (entry, third) = bench.entry([203, 0, 113, 9]);
    assert_eq!(entry.path, None, "it was silent for three intervals");
    assert!(third > second);
}

#[test]
fn pooled_packets_are_no_larger_than_the_peer_takes() {
    let mut bench = Bench::new(CONFIG);
    let mut before = 0;
    for (takes, mtu) in [(1200, 1200), (9000, 1500), (0, 1500), (1, 128)] {
        bench.hello_of_one_that_takes(takes, INSTANCE);
        let state = bench.state();
        assert_eq!(state.peers.get(PeerIndex(0)).map(|peer| peer.path.mtu), Some(mtu), "it says {takes}");
        let same = takes == 0;
        assert!(state.pools > before || same, "open pools are flushed at the change");
        before = state.pools;
    }
    let announced: Vec<_> = bench.hellos().iter().map(|hello| hello.largest_pooled_packet).collect();
    assert_eq!(announced.first(), Some(&1500), "the largest MTU of our ports");
}

#[test]
fn packets_are_not_pooled_while_the_peer_is_reached_another_way() {
    let mut bench = Bench::new(CONFIG);
    bench.hello(INSTANCE);
    bench.client().route_add(route("198.51.100.7/32", [10, 0, 0, 2])).expect("possible");
    assert_eq!(bench.entry([203, 0, 113, 9]).0.path, None);
    let show = PathShow { prefix: None, offset: 0, limit: 10 };
    let paths = bench.client().path_show(show).expect("answered").paths;
    let reason = "packets to peer far leave by 10.0.0.2, not by 192.0.2.2";
    assert_eq!(paths.first().and_then(|path| path.reason.as_deref()), Some(reason));
    let peers = bench.client().peer_show(PeerShow {}).expect("answered").peers;
    let peer = peers.first().expect("the peer");
    assert_eq!((peer.path_mtu, peer.source), (1400, Some(IpAddr::from([10, 0, 0, 1]))), "as of the port towards it");
    bench.client().route_del(RouteDel { prefix: net("198.51.100.7/32") }).expect("possible");
    assert_eq!(bench.entry([203, 0, 113, 9]).0.path, Some(PathIndex(0)));
}

#[test]
fn a_peer_does_not_take_the_name_of_a_port() {
    let mut bench = Bench::new(CONFIG);
    let add =
        serde_json::from_value(serde_json::json!({"name": "west", "address": "198.51.100.9"})).expect("a request");
    let refusal = bench.client().peer_add(add).expect_err("a leg of a route could be either");
    assert_eq!(refusal.message, "peer \"west\": a port has that name, and legs of routes are named by either");
}

#[test]
fn a_peer_that_leaves_the_file_is_not_listened_to() {
    let mut bench = Bench::new(CONFIG);
    bench.hello(INSTANCE);
    let start = CONFIG.find("[[peer]]").expect("there");
    let end = CONFIG.find("[[rule]]").expect("there");
    let without = format!("{}{}", &CONFIG[..start], &CONFIG[end..]);
    bench.reload(&without).expect("possible");
    assert_eq!(bench.entry([203, 0, 113, 9]).0.path, None);
    let state = bench.state();
    assert_eq!(state.peers.find(PEER), None);
    bench.reload(CONFIG).expect("and back");
    assert_eq!(bench.entry([203, 0, 113, 9]).0.path, None, "it has to be heard again");
    bench.hello(INSTANCE);
    let index = bench.state().peers.find(PEER);
    assert!(index.is_some());
    let path = bench.entry([203, 0, 113, 9]).0.path.and_then(|path| bench.state().path(path).copied());
    assert_eq!(path.and_then(|path| path.addressee), index);
}

#[test]
fn a_peer_of_another_format_is_pooled_to_without_a_word_and_shown_with_its_format() {
    let text = CONFIG.replace("[[path]]", "assume = true\nformat = \"simplemux-fast\"\n\n[[path]]");
    let mut bench = Bench::new(&text);
    let (entry, before) = bench.entry([203, 0, 113, 9]);
    assert!(entry.path.is_some(), "nobody waits for a hello");
    let format = bench.state().peers.iter().next().map(|peer| peer.path.format);
    assert_eq!(format, Some(Format::Simplemux(Flavour::Fast)));
    bench.pass(Duration::from_secs(1));
    assert!(bench.injected().iter().all(|inject| inject.target != InjectTarget::Routed), "no hello is sent");
    let shown = bench.client().peer_show(Default::default()).expect("answered").peers;
    assert_eq!(shown.first().map(|peer| peer.format), Some(PeerFormat::SimplemuxFast));
    bench.reload(&text.replace("-fast", "")).expect("possible");
    let index = bench.state().peers.find(PEER).expect("the same address");
    let published = bench.state().peers.get(index).map(|peer| peer.path.format);
    assert_eq!(published, Some(Format::Simplemux(Flavour::Normal)));
    assert!(bench.entry([203, 0, 113, 9]).1 > before, "open pools are flushed at the change");
}
