//! End to end: two carpoolds, an ordinary router between them, real traffic. As root; nothing but packages of the
//! distribution and the programs of this workspace is needed.
//!
//! Every test closes its network by [`carpool_tests::network::Network::close`]: both routers' accounts must balance
//! (in + created = out + held + dropped + absorbed), both must exit with 0 on SIGTERM, with every mbuf back.

mod branch;
mod crash;
mod criteria;
mod demo;
mod flood;
mod generator;
mod headers;
mod hostile;
mod idle;
mod indexes;
mod ipv6;
mod legs;
mod live_tools;
mod owner;
mod peers;
mod provisioned;
mod reload;
mod simplemux;
mod stages;
mod streams;

use std::time::Duration;

use carpool_tests::{
    carpoold::Idle,
    lab::{Alone, Lab},
    network::{Middle, Network},
};

/// How late the scheduler of a small and busy machine may be for nearly everything on the way. That no packet waits longer
/// than its window plus one iteration is shown on time that tests make themselves, by the pooler's property tests; here
/// it is shown that nothing but the machine comes on top.
const SCHEDULING: Duration = Duration::from_millis(20);
/// How late it may be now and then: two routers, both ends of the streams and the recordings share two cores with whatever
/// else runs.
const STALL: Duration = Duration::from_millis(200);

/// A network with carpool routers in the places of A and B, alone on this machine as long as the guard is held.
fn network(window: Duration, idle: Idle) -> (Alone, Network) {
    network_of(Middle::Carpool { window, idle, both_cores: false, further: &[] })
}

/// The same with this in the places of A and B.
fn network_of(middle: Middle) -> (Alone, Network) {
    network_with(middle, &[])
}

/// The same with further keys of both routers' `[dataplane]`.
fn network_with(middle: Middle, dataplane: &[&str]) -> (Alone, Network) {
    let alone = Alone::wait().expect("end to end tests run as root");
    let lab = Lab::new().expect("a lab can be made");
    let network = Network::build_with(lab, middle, dataplane).expect("the network comes up");
    (alone, network)
}
