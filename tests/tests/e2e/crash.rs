//! A router that dies in the middle of it all, and one that is asked to end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use carpool_tests::{
    carpoold::Idle,
    rtp::Codec,
    voice::{Heading, Plan, Run},
};

use crate::network;

const WINDOW: Duration = Duration::from_millis(5);
/// How soon after its restart a router must carry streams again.
const BACK_WITHIN: Duration = Duration::from_secs(2);

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970")
}

#[test]
fn streams_are_back_within_two_seconds_when_b_is_killed_and_restarted_and_others_lose_nothing() {
    let (_alone, mut network) = network(WINDOW, Idle::Adaptive);
    let plan =
        Plan { heading: Heading::East, streams: 20, local: 4, duration: Duration::from_secs(10), codec: Codec::G711 };
    let run = Run::start(&network, &plan).expect("streams start");
    assert!(!run.wait(Duration::from_secs(3)), "the streams flow for ten seconds");
    let killed = now();
    network.pair().expect("carpools").b.kill().expect("B is killed");
    assert!(!run.wait(Duration::from_secs(1)), "the streams go on");
    network.pair().expect("carpools").b.restart().expect("B starts again");
    let restarted = now();
    while !run.wait(Duration::from_secs(1)) {}
    let findings = run.finish().expect("the recordings are whole");

    assert!(findings.local.perfect(), "streams that do not cross B: {}", findings.local);
    let voice = &findings.voice;
    assert!(voice.identical() && voice.in_order(), "what arrived is as it was sent: {voice}");
    assert!(!voice.lost.is_empty(), "without B nothing can arrive; this test has not tested");
    // What waited in a pool or was under way when B died was sent a window before.
    let (first, last) = (killed - WINDOW - Duration::from_millis(50), restarted + BACK_WITHIN);
    for ((flow, position), at) in voice.lost.iter().zip(&voice.lost_at) {
        assert!(
            (first..last).contains(at),
            "{flow}, packet {position}, was sent {:?} after B was killed, {:?} after its restart, and lost",
            at.saturating_sub(killed),
            at.saturating_sub(restarted),
        );
    }
    assert!(voice.passages.iter().any(|passage| passage.sent > last), "streams flow again: {voice}");
    network.close().expect("both routers end in order");
}

#[test]
fn a_router_that_is_asked_to_end_flushes_its_pools_first() {
    // A window so long that only the end of the router can end it.
    let window = Duration::from_secs(10);
    let (_alone, mut network) = network(window, Idle::Adaptive);
    let plan =
        Plan { heading: Heading::East, streams: 3, local: 0, duration: Duration::from_millis(10), codec: Codec::G711 };
    let run = Run::start(&network, &plan).expect("streams start");
    while !run.wait(Duration::from_secs(1)) {}
    let pair = network.pair().expect("carpools");
    // One packet of each stream waits, too few to fill a pooled packet.
    pair.a
        .wait_until("three packets wait in a pool", Duration::from_secs(5), |control| Ok(control.waiting()? == 3))
        .expect("A holds them");
    pair.a.check_accounting().expect("A's account balances while it holds packets");
    pair.a.stop().expect("A ends in order");
    let findings = run.finish().expect("the recordings are whole");
    assert!(findings.voice.perfect(), "{}", findings.voice);
    assert_eq!(findings.crossing.packets(), 1, "they shared their last ride");
    pair.b.stop().expect("B ends in order");
}
