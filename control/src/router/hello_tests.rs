//! The hellos of the router, as they reach the workers that send them.

use std::net::Ipv4Addr;
use std::time::Duration;

use arrayvec::ArrayVec;
use carpool_dataplane::fib::PortIndex;
use carpool_dataplane::packet::ipv4::Ipv4Header;
use carpool_dataplane::worker::{Inject, InjectTarget};
use hashbrown::HashMap;

use super::Router;
use super::bench::*;
use crate::api::Handler;
use crate::api::peer::{PeerShow, PeerState};
use crate::api::route::RouteLoad;

#[test]
fn hellos_leave_for_the_peer_and_say_whom_we_hear() {
    let mut bench = Bench::new(CONFIG);
    bench.pass(Duration::ZERO);
    bench.hello(0);
    let heard: Vec<_> = bench.hellos().iter().map(|hello| hello.heard_instance).collect();
    assert_eq!(heard, [0, 6], "the second one at once, when the peer was first heard");
    let peers = bench.client().peer_show(PeerShow {}).expect("answered").peers;
    assert_eq!(peers.first().map(|peer| peer.state), Some(PeerState::Down), "it does not hear us yet");
}

#[test]
fn every_one_of_many_peers_gets_its_hellos_from_a_worker_that_sends_a_few_at_a_time() {
    let address = |last: u16| Ipv4Addr::from_bits(0xc633_6400 + u32::from(last));
    let peers = (0..1024).map(|last| format!("[[peer]]\nname = \"p{last}\"\naddress = \"{}\"\n", address(last)));
    let config = CONFIG
        .replace("198.51.100.0/24", "198.51.96.0/20")
        .replace("address = \"198.51.100.7\"", "address = \"10.0.0.9\"");
    let mut bench = Bench::new(&(config + &peers.skip(1).collect::<String>()));
    let mut got: HashMap<Ipv4Addr, u32> = HashMap::new();
    for _ in 0..600 {
        bench.pass(Duration::from_millis(1));
        for _ in 0..16 {
            let Some(inject) = bench.shared.injects.pop() else { break };
            let header = Ipv4Header::parse(&inject.bytes).expect("a sound packet");
            *got.entry(header.dst).or_default() += 1;
        }
    }
    for last in 1..1024 {
        let count = got.get(&address(last)).copied().unwrap_or_default();
        assert!((2..=4).contains(&count), "{count} hellos to {}", address(last));
    }
    assert_eq!(bench.shared.refused(), 0);
}

#[test]
fn a_hello_that_finds_all_rings_full_is_sent_when_there_is_room() {
    let mut bench = Bench::new(CONFIG);
    let frame = || Inject { target: InjectTarget::Frame(PortIndex(0)), bytes: ArrayVec::new(), padding: 0 };
    while bench.shared.injects.push(frame()).is_ok() {}
    bench.pass(Duration::ZERO);
    assert_eq!(bench.shared.refused(), 1, "it is counted");
    let retry = bench.router.deadline(bench.now).expect("a time");
    assert!(retry > bench.now, "the control thread does not spin");
    assert!(bench.hellos().is_empty());
    bench.pass(retry.duration_since(bench.now));
    assert_eq!(bench.hellos().len(), 1);
}

#[test]
fn hellos_from_the_middle_of_a_long_change_do_not_call_anybody_silent() {
    let mut bench = Bench::new(CONFIG);
    bench.hello(INSTANCE);
    bench.injected();
    let heartbeat = bench.router.heartbeat(bench.now);
    let Router { peers, workers, .. } = &mut bench.router;
    heartbeat.beat(peers, workers, bench.now + Duration::from_secs(1));
    let heard: Vec<_> = bench.hellos().iter().map(|hello| hello.heard_instance).collect();
    assert_eq!(heard, [6], "its hellos of the last second have not been read");
}

#[test]
fn hellos_leave_while_a_loaded_table_is_compared_with_the_one_that_is_there() {
    let mut bench = Bench::new(CONFIG);
    let load = || {
        let routes = (0..200u8).map(|i| route(&format!("100.64.{i}.0/24"), [10, 0, 0, 3]));
        RouteLoad { routes: routes.collect(), replace: true }
    };
    bench.client().route_load(load()).expect("possible");
    bench.injected();
    std::thread::sleep(Duration::from_millis(250));
    // Nothing changes: all that takes time is the comparison.
    assert_eq!(bench.client().route_load(load()).expect("possible").changed, 0);
    assert_eq!(bench.hellos().len(), 1, "one was due");
}
