//! The main job: real voice streams share a ride, and nothing is lost, altered or reordered.

use std::time::Duration;

use carpool_tests::{
    carpoold::Idle,
    delay::Delays,
    network::Middle,
    report::Report,
    rtp::Codec,
    voice::{Findings, Heading, Plan, Run},
};

use crate::{SCHEDULING, STALL, network, network_of};

const WINDOW: Duration = Duration::from_millis(5);

/// Lets 20 streams (each way) flow and checks what holds whatever the heading.
fn voice(heading: Heading, idle: Idle) -> Findings {
    let (_alone, mut network) = network(WINDOW, idle);
    let plan = Plan { heading, streams: 20, local: 2, duration: Duration::from_secs(5), codec: Codec::G711 };
    let run = Run::start(&network, &plan).expect("streams start");
    while !run.wait(Duration::from_secs(1)) {}
    let findings = run.finish().expect("the recordings are whole");
    assert!(findings.voice.perfect(), "{}", findings.voice);
    assert!(findings.reference.perfect(), "packets of no rule: {}", findings.reference);
    assert!(findings.local.perfect(), "streams without a path: {}", findings.local);
    assert_eq!(findings.crossing.carried(), findings.voice.sent, "transit saw each packet once");
    let longest_open = network.pair().expect("carpools").longest_open().expect("both routers answer");
    assert!(longest_open < WINDOW + STALL, "a pool was open for {longest_open:?}");
    let report = Report::of(&findings, WINDOW, longest_open);
    assert!(report.ratio_of_model >= 0.95, "{report:?}");
    let longest = findings.voice.passages.iter().map(|passage| passage.delay()).max().unwrap_or_default();
    assert!(longest < WINDOW + STALL, "{longest:?} is more than the window and the scheduling explain");
    let delay = Delays::of(&findings.voice.passages).summary().expect("packets arrived");
    let bound = (WINDOW + SCHEDULING).as_micros() as f64;
    assert!(delay.p99 < bound, "{delay:?} is more than the window and the scheduling explain");
    network.close().expect("both routers end in order");
    findings
}

#[test]
fn voice_from_servers_to_clients_is_pooled_by_a_and_arrives_unchanged() {
    voice(Heading::East, Idle::Adaptive);
}

#[test]
fn voice_from_clients_to_servers_is_pooled_by_b_and_arrives_unchanged() {
    voice(Heading::West, Idle::Adaptive);
}

#[test]
fn voice_both_ways_at_once_is_pooled_by_both_and_arrives_unchanged() {
    voice(Heading::Both, Idle::Adaptive);
}

#[test]
fn voice_across_routers_with_two_workers_each_arrives_unchanged() {
    let (_alone, network) =
        network_of(Middle::Carpool { window: WINDOW, idle: Idle::Adaptive, both_cores: true, further: &[] });
    let plan =
        Plan { heading: Heading::Both, streams: 20, local: 2, duration: Duration::from_secs(5), codec: Codec::G711 };
    let run = Run::start(&network, &plan).expect("streams start");
    while !run.wait(Duration::from_secs(1)) {}
    let findings = run.finish().expect("the recordings are whole");
    for (what, comparison) in
        [("voice", &findings.voice), ("reference", &findings.reference), ("local", &findings.local)]
    {
        assert!(comparison.perfect(), "{what}: {comparison}");
    }
    // Each worker has pools of its own, so a ride is shared by fewer; how many depends on how flows hash.
    let ratio = findings.crossing.carried() as f64 / findings.crossing.packets() as f64;
    assert!(ratio > 1.5, "{:?}", findings.crossing);
    network.close().expect("both routers end in order");
}

#[test]
fn voice_across_spinning_workers_arrives_unchanged() {
    voice(Heading::East, Idle::Spin);
}
