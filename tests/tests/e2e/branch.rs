//! Extraction on the way: packets of several destinations share a pool and leave it where their ways part.

use std::time::Duration;

use carpool_tests::{
    carpoold::Idle,
    chain::{
        network::{Chain, Told, Wish},
        report::Report,
        run::{Calls, Findings, Run},
    },
    lab::{Alone, Lab},
    network::VOICE_PORTS,
    rtp::Codec,
    transit::Crossing,
};

const WINDOW: Duration = Duration::from_millis(5);

const FIRST_HOP: &[(&str, &str)] = &[("shared_hops", "1")];
const VOICE: Wish = Wish { name: "voice", ports: VOICE_PORTS, pooling: None };
const CALLS: Calls = Calls { port: VOICE_PORTS.0, streams: 5, codec: Codec::G711 };

fn chain(lab: Lab, further: &'static [(&'static str, &'static str)], told: Told) -> Chain {
    let wish = Wish { pooling: Some((WINDOW, further)), ..VOICE };
    Chain::build(lab, Idle::Adaptive, &[wish], told).expect("the chain comes up")
}

/// Calls to all four receivers for so long; whatever A's rule is, everything arrives unchanged.
fn calls(chain: &Chain, duration: Duration) -> Report {
    let run = Run::start(chain, &[CALLS], duration).expect("streams start");
    while !run.wait(Duration::from_secs(1)) {}
    let findings = run.finish().expect("the recordings are whole");
    check_all_arrived(&findings);
    Report::of(&findings, WINDOW, chain.taken_out_on_the_way().expect("all routers answer"))
}

fn check_all_arrived(findings: &Findings) {
    for delivery in &findings.deliveries {
        assert!(delivery.comparison.perfect(), "{}: {}", delivery.receiver.name, delivery.comparison);
    }
}

fn check_first_hop_shared(report: &Report) {
    assert!(report.succeeded(), "{}", report.table());
    let [first, ..] = &report.links[..] else { panic!("{report:?}") };
    assert!(first.ratio > 2.5, "{}", report.table());
    // Whoever opened the pool says how far it goes: packets to far ride with those to near, to mid and side, and alone.
    let far = report.receivers.last().expect("the last receiver");
    let places: Vec<_> = far.taken_out_at.keys().collect();
    assert_eq!(places, ["B", "C", "D"], "{}", report.table());
}

#[test]
fn packets_that_share_the_first_hop_share_a_pool_and_get_out_where_they_are_due() {
    let _alone = Alone::wait().expect("end to end tests run as root");
    let chain = chain(Lab::new().expect("a lab can be made"), FIRST_HOP, Told::InFiles);
    check_first_hop_shared(&calls(&chain, Duration::from_secs(3)));
    chain.close().expect("all routers end in order");
}

/// Waits until so many more packets have crossed the first link in a way that `count` counts, while streams flow.
fn wait_for(run: &mut Run, what: &str, more: usize, count: impl Fn(&Crossing) -> usize) {
    let before = count(&run.progress().links[0]);
    while count(&run.progress().links[0]) < before + more {
        assert!(!run.wait(Duration::from_millis(20)), "no {more} more packets {what}");
    }
}

#[test]
fn a_chain_told_over_its_sockets_does_the_same_and_forgets_while_streams_flow_without_a_loss() {
    let _alone = Alone::wait().expect("end to end tests run as root");
    let chain = chain(Lab::new().expect("a lab can be made"), FIRST_HOP, Told::OverSockets);
    check_first_hop_shared(&calls(&chain, Duration::from_secs(2)));

    let mut run = Run::start(&chain, &[CALLS], Duration::from_secs(4)).expect("streams start");
    let a = &chain.carpools[0].control;
    let (inside, alone) = (|link: &Crossing| link.rows, |link: &Crossing| link.lone);
    wait_for(&mut run, "shared a ride", 100, inside);
    a.ask(&["rule", "del", VOICE.name]).expect("A has it");
    wait_for(&mut run, "went alone without a rule", 100, alone);
    Wish { pooling: Some((WINDOW, FIRST_HOP)), ..VOICE }.add(a).expect("A takes it again");
    wait_for(&mut run, "shared a ride again", 100, inside);
    a.ask(&["path", "del", "203.0.113.0/26"]).expect("A has the path to near");
    a.ask(&["peer", "del", "d"]).expect("A has it");
    wait_for(&mut run, "to near went alone", 20, alone);
    for name in ["b", "c"] {
        a.ask(&["peer", "del", name]).expect("A has it");
    }
    wait_for(&mut run, "went alone without a peer", 100, alone);
    while !run.wait(Duration::from_secs(1)) {}
    check_all_arrived(&run.finish().expect("the recordings are whole"));
    chain.close().expect("all routers end in order");
}

#[test]
fn packets_that_must_share_the_whole_way_get_out_at_its_end_and_nowhere_else() {
    let _alone = Alone::wait().expect("end to end tests run as root");
    let chain = chain(Lab::new().expect("a lab can be made"), &[("shared_hops", "path")], Told::InFiles);
    let report = calls(&chain, Duration::from_secs(3));
    assert_eq!(report.taken_out_on_the_way, 0, "{}", report.table());
    for receiver in &report.receivers {
        let places: Vec<_> = receiver.taken_out_at.keys().collect();
        assert_eq!(places, [&receiver.due_at], "{}", report.table());
    }
    chain.close().expect("all routers end in order");
}
