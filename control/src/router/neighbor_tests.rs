//! Neighbours that are asked for, that the file tells and that clients add or delete.

use std::net::{IpAddr, Ipv4Addr};

use carpool_dataplane::fib::{Adjacency, PortIndex};
use carpool_dataplane::packet::arp::Arp;
use carpool_dataplane::packet::ethernet;
use carpool_dataplane::worker::{Event, InjectTarget};

use super::bench::*;
use super::{NEIGHBOR_PAUSE, ReloadError};
use crate::api::neighbor::{NeighborAdd, NeighborDel};
use crate::api::text::MacAddress;
use crate::api::{Handler, RefusalKind};

#[test]
fn a_wanted_neighbour_is_asked_for_and_published_when_it_answers() {
    let mut bench = Bench::new(CONFIG);
    let (port, address) = GATEWAY;
    bench.tell(Event::NeighbourWanted { port, address });
    let frames: Vec<_> = bench.injected();
    let frame = frames.iter().find(|inject| inject.target == InjectTarget::Frame(port)).expect("a request");
    let arp = Arp::parse(&frame.bytes[ethernet::HEADER_LEN..]).expect("an ARP packet");
    assert_eq!((IpAddr::V4(arp.target_ip), arp.sender_ip), (address, Ipv4Addr::new(192, 0, 2, 1)));
    bench.tell(Event::NeighbourSeen { port, address, mac: MAC, addressed_to_us: true });
    bench.pass(NEIGHBOR_PAUSE);
    let state = bench.state();
    assert_eq!(state.neighbours.find(port, address).and_then(|found| found.mac), Some(MAC));
}

#[test]
fn a_reload_with_more_neighbours_than_there_is_room_for_changes_nothing() {
    let config = CONFIG.replace("10.0.0.1/24", "10.0.0.1/16");
    let mut bench = Bench::new(&config);
    let add = NeighborAdd { address: IpAddr::from([192, 0, 2, 9]), mac: MacAddress(MAC), port: None };
    bench.client().neighbor_add(add).expect("room");
    let neighbor = |i: u32| {
        let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0100 + i));
        format!("[[neighbor]]\naddress = \"{address}\"\nmac = \"02:00:00:00:00:02\"\nport = \"east\"\n")
    };
    let with = |count| config.replace("203.0.113", "203.0.114") + &(0..count).map(neighbor).collect::<String>();
    let error = bench.reload(&with(4096)).expect_err("one too many with the one of the socket");
    assert!(matches!(error, ReloadError::Neighbors(4096)), "{error}");
    assert_eq!(bench.entry([203, 0, 114, 9]).0.adjacency, Adjacency::NoRoute);
    bench.reload(&with(4095)).expect("room");
    assert_eq!(bench.router.neighbors.len(), 4096);
}

#[test]
fn a_neighbour_that_was_deleted_is_in_force_again_when_the_file_first_names_it() {
    let mut bench = Bench::new(CONFIG);
    let address = IpAddr::from([192, 0, 2, 9]);
    let key = (PortIndex(0), address);
    let told =
        format!("{CONFIG}\n[[neighbor]]\naddress = \"{address}\"\nmac = \"02:00:00:00:00:09\"\nport = \"west\"\n");
    let del = || NeighborDel { address, port: None };
    bench.client().neighbor_add(NeighborAdd { address, mac: MacAddress(MAC), port: None }).expect("room");
    bench.client().neighbor_del(del()).expect("it is there");
    bench.reload(&told).expect("possible");
    assert!(bench.router.neighbors.is_static(key), "the file had not named it before");

    bench.client().neighbor_del(del()).expect("it is there");
    bench.reload(&told.replace("name = \"voice\"", "name = \"games\"")).expect("possible");
    assert!(!bench.router.neighbors.is_static(key), "what the file said of it was deleted");
}

#[test]
fn an_address_that_is_no_other_hosts_is_refused_for_what_it_is() {
    let mut bench = Bench::new(CONFIG);
    let own = "is one of the router's own addresses";
    let no_host = "is the network or broadcast address of a subnet";
    for (address, what) in [([192, 0, 2, 1], own), ([192, 0, 2, 255], no_host), ([10, 0, 0, 0], no_host)] {
        let name = Ipv4Addr::from(address);
        let refusal = bench.client().route_add(route("100.64.0.0/10", address)).expect_err("no router");
        let expected = format!("route 100.64.0.0/10 via {name}: {name} {what}");
        assert_eq!((refusal.kind, refusal.message), (RefusalKind::Conflict, expected));
        let add = NeighborAdd { address: name.into(), mac: MacAddress(MAC), port: None };
        let refusal = bench.client().neighbor_add(add).expect_err("no neighbour");
        assert_eq!((refusal.kind, refusal.message), (RefusalKind::Conflict, format!("{name} {what}")));
    }
}
