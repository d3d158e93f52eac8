//! Learned headers: packets of 60 bytes cross without most of their headers and arrive with every byte of them.

use std::time::Duration;

use carpool_tests::{
    carpoold::Idle,
    headers::Report,
    network::Middle,
    rtp::Codec,
    voice::{Heading, Plan, Run},
};

use crate::network_of;

const WINDOW: Duration = Duration::from_millis(20);

#[test]
fn g729_without_its_headers_is_55_or_more_in_nearly_every_pooled_packet_and_arrives_unchanged() {
    let further = &["representation = \"learned\""];
    let middle = Middle::Carpool { window: WINDOW, idle: Idle::Adaptive, both_cores: false, further };
    let (_alone, network) = network_of(middle);
    let duration = Duration::from_secs(5);
    let plan = Plan { heading: Heading::East, streams: 160, local: 0, duration, codec: Codec::G729 };
    let run = Run::start(&network, &plan).expect("streams start");
    while !run.wait(Duration::from_secs(1)) {}
    let findings = run.finish().expect("the recordings are whole");
    assert!(findings.voice.perfect(), "{}", findings.voice);
    assert!(findings.reference.perfect(), "packets of no rule: {}", findings.reference);
    let report = Report::of(&findings, WINDOW);
    assert!(report.succeeded(), "{report:?}");
    network.close().expect("both routers end in order");
}
