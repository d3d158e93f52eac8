//! Extraction on the way: packets of several destinations share a pool and leave it where their ways part.

use std::time::Duration;

use carpool_tests::{
    carpoold::Idle,
    chain::{network::Chain, report::Report, run::Run},
    lab::{Alone, Lab},
};

const WINDOW: Duration = Duration::from_millis(5);

/// Calls to all four receivers under A's rule with these further keys; whatever they are, everything arrives unchanged.
fn calls(further: &[&str]) -> Report {
    let _alone = Alone::wait().expect("end to end tests run as root");
    let lab = Lab::new().expect("a lab can be made");
    let chain = Chain::build(lab, WINDOW, Idle::Adaptive, further).expect("the chain comes up");
    let run = Run::start(&chain, 5, Duration::from_secs(5)).expect("streams start");
    while !run.wait(Duration::from_secs(1)) {}
    let findings = run.finish().expect("the recordings are whole");
    let report = Report::of(&findings, WINDOW, chain.taken_out_on_the_way().expect("all routers answer"));
    for delivery in &findings.deliveries {
        assert!(delivery.comparison.perfect(), "{}: {}", delivery.receiver.name, delivery.comparison);
    }
    chain.close().expect("all routers end in order");
    report
}

#[test]
fn packets_that_share_the_first_hop_share_a_pool_and_get_out_where_they_are_due() {
    let report = calls(&["shared_hops = 1"]);
    assert!(report.succeeded(), "{}", report.table());
    let [first, ..] = &report.links[..] else { panic!("{report:?}") };
    assert!(first.ratio > 2.5, "{}", report.table());
    // Whoever opened the pool says how far it goes: packets to far ride with those to near, to mid and side, and alone.
    let far = report.receivers.last().expect("the last receiver");
    let places: Vec<_> = far.taken_out_at.keys().collect();
    assert_eq!(places, ["B", "C", "D"], "{}", report.table());
}

#[test]
fn packets_that_must_share_the_whole_way_get_out_at_its_end_and_nowhere_else() {
    let report = calls(&["shared_hops = \"path\""]);
    assert_eq!(report.taken_out_on_the_way, 0, "{}", report.table());
    for receiver in &report.receivers {
        let places: Vec<_> = receiver.taken_out_at.keys().collect();
        assert_eq!(places, [&receiver.due_at], "{}", report.table());
    }
}
