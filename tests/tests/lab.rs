//! The lab on trial: with plain Linux routers in the places of A and B, nothing may be lost, changed or pooled. What
//! fails here is the lab's fault, not the router's.

use std::time::Duration;

use carpool_tests::{
    lab::{Alone, Lab},
    network::{Middle, Network},
    report::Report,
    rtp::Codec,
    voice::{Heading, Plan, Run},
};

#[test]
fn the_lab_loses_nothing_with_plain_linux_routers() {
    let _alone = Alone::wait().expect("the lab runs as root");
    let network = Network::build(Lab::new().expect("a lab"), Middle::Linux).expect("the network comes up");
    let plan =
        Plan { heading: Heading::Both, streams: 20, local: 2, duration: Duration::from_secs(2), codec: Codec::G711 };
    let run = Run::start(&network, &plan).expect("streams start");
    while !run.wait(Duration::from_secs(1)) {}
    let findings = run.finish().expect("the recordings are whole");
    // Twenty streams each way, a packet every 30 ms (the recording's own timing: 66 or 67 in two seconds).
    assert!((2600..=2700).contains(&findings.voice.sent), "{}", findings.voice.sent);
    assert!(findings.voice.perfect(), "{}", findings.voice);
    assert!(findings.reference.perfect(), "{}", findings.reference);
    assert!(findings.local.perfect(), "{}", findings.local);
    assert_eq!(findings.crossing.lone, findings.voice.sent, "each packet crosses transit as itself");
    assert_eq!(findings.crossing.pooled, 0);
    let report = Report::of(&findings, Duration::ZERO, Duration::ZERO);
    assert!(report.succeeded(), "{report:?}");
    assert!((report.ratio - 1.0).abs() < 1e-9, "{report:?}");
}
