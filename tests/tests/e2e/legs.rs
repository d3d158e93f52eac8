//! Multicast and overlays on networks of their own: real sockets, ordinary routers between, every byte compared.

use std::time::Duration;

use carpool_tests::{
    carpoold::Idle,
    lab::{Alone, Lab},
    scenarios::{self, Plan},
};

const PLAN: Plan =
    Plan { streams: 20, duration: Duration::from_secs(3), window: Duration::from_millis(5), idle: Idle::Adaptive };

#[test]
fn receivers_behind_two_peers_get_every_packet_and_each_link_carries_one_copy() {
    let _alone = Alone::wait().expect("end to end tests run as root");
    let report = scenarios::multicast::run(Lab::new().expect("a lab"), PLAN).expect("the experiment");
    assert!(report.succeeded(), "{report:#?}");
    assert_eq!(report.receivers.len(), 6, "three receivers, each of both families");
}

#[test]
fn overlay_nodes_with_one_port_send_on_what_is_not_due_in_step_with_its_ttl() {
    let _alone = Alone::wait().expect("end to end tests run as root");
    let report = scenarios::overlay::run(Lab::new().expect("a lab"), PLAN).expect("the experiment");
    assert!(report.succeeded(), "{report:#?}");
}
