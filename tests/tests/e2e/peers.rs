//! A peer that falls silent, and one behind a link that takes less than the ports do.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use carpool_tests::{
    carpoold::{Carpoold, Idle},
    control::Control,
    error::Result,
    frame::Observation,
    network::{Network, Pair},
    relay::Relay,
    rtp::Codec,
    transit::{POOL_PORT, rows},
    voice::{Findings, Heading, Plan, Run},
};

use crate::{STALL, network};

const WINDOW: Duration = Duration::from_millis(5);
/// A peer is silent when so much time has passed without a hello: three of their intervals.
const SILENCE: Duration = Duration::from_millis(600);
const LIMIT: Duration = Duration::from_secs(60);

/// 20 streams each way for so many seconds.
fn plan(seconds: u64) -> Plan {
    let duration = Duration::from_secs(seconds);
    Plan { heading: Heading::Both, streams: 20, local: 0, duration, codec: Codec::G711 }
}

/// Since the Unix epoch, as recordings have it.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970")
}

fn is_hello(packet: &[u8]) -> bool {
    packet.get(22..24) == Some(&POOL_PORT.to_be_bytes()) && packet.get(28) == Some(&0x14)
}

fn wait_for_silence(router: &mut Carpoold) -> Result<()> {
    router.wait_until("no peer lives", LIMIT, |control| Ok(control.peers()?.iter().all(|peer| !peer.alive)))
}

/// Pooled packets that came into transit: when, and their length in bytes of IP packet.
fn pooled(findings: &Findings) -> Vec<(Duration, usize)> {
    let observations = findings.transit.iter().filter_map(Observation::of);
    let pooled = observations.filter(|observation| rows(observation).is_some());
    pooled.map(|observation| (observation.at, observation.packet().len())).collect()
}

fn check_all_arrived(findings: &Findings) {
    for (what, comparison) in [("voice", &findings.voice), ("reference", &findings.reference)] {
        assert!(comparison.perfect(), "{what}: {comparison}");
    }
}

#[test]
fn a_silent_peer_is_bypassed_after_three_hellos_and_pooled_to_again_when_it_is_back() {
    let (_alone, mut network) = network(WINDOW, Idle::Adaptive);
    let is_silent = Arc::new(AtomicBool::new(false));
    let loses = Arc::clone(&is_silent);
    let keeps = move |packet: &[u8]| !(is_hello(packet) && loses.load(Ordering::Relaxed));
    let transit = network.lab.namespace("transit").expect("it is there");
    let relay = Relay::start(transit, ["A", "B"], keeps).expect("it relays");
    let run = Run::start(&network, &plan(12)).expect("streams start");
    run.wait(Duration::from_secs(2));
    let Pair { a, b } = network.pair().expect("carpools");
    is_silent.store(true, Ordering::Relaxed);
    let silent_from = now();
    wait_for_silence(a).and_then(|()| wait_for_silence(b)).expect("their silence is noticed");
    assert!(!run.wait(Duration::from_secs(1)), "streams flow on");
    let back_at = now();
    is_silent.store(false, Ordering::Relaxed);
    for router in [a, b] {
        router.wait_for_peers(LIMIT).expect("they are back");
    }
    let both_back = now();
    while !run.wait(Duration::from_secs(1)) {}
    let findings = run.finish().expect("the recordings are whole");
    assert!(relay.lost() > 0);
    relay.stop().expect("it forwarded all the rest");
    check_all_arrived(&findings);
    let pooled = pooled(&findings);
    let count = |from: Duration, to: Duration| pooled.iter().filter(|(at, _)| (from..to).contains(at)).count();
    assert!(count(Duration::ZERO, silent_from) > 100);
    let bypassed_from = silent_from + SILENCE + STALL;
    assert_eq!(count(bypassed_from, back_at), 0, "of {} pooled packets", pooled.len());
    assert!(count(both_back, Duration::MAX) > 100, "and then pooled again");
    network.close().expect("both routers end in order");
}

/// The path MTU that the search of a router has ended with.
fn found(control: &Control) -> Result<Option<u64>> {
    let answer = control.ask(&["peer", "show"])?;
    let peer = &answer["peers"][0];
    Ok(peer["path_mtu"].as_u64().filter(|_| peer["path_mtu_source"] == "probed"))
}

fn wait_for_path_mtu(router: &mut Carpoold, range: &RangeInclusive<u64>) -> Result<()> {
    let event = format!("a path MTU of {range:?} is found");
    router.wait_until(&event, LIMIT, |control| Ok(found(control)?.is_some_and(|mtu| range.contains(&mtu))))
}

#[test]
fn a_link_that_takes_1400_bytes_and_says_nothing_is_found_and_pooled_packets_fit_it() {
    let (_alone, mut network) = network(Duration::from_millis(20), Idle::Adaptive);
    let Pair { a, b } = network.pair().expect("carpools");
    for router in [a, b] {
        wait_for_path_mtu(router, &(1500..=1500)).expect("all links take as much");
    }
    let transit = network.lab.namespace("transit").expect("it is there");
    let relay = Relay::start(transit, ["A", "B"], |packet| packet.len() <= 1400).expect("it relays");
    let fits = 1392..=1400;
    let Pair { a, b } = network.pair().expect("carpools");
    for router in [a, b] {
        wait_for_path_mtu(router, &fits).expect("it is found");
    }
    let findings = voice(&network);
    check_all_arrived(&findings);
    let longest = pooled(&findings).into_iter().map(|(_, length)| length).max().unwrap_or_default();
    assert!(relay.lost() > 0, "longer probes");
    relay.stop().expect("it forwarded all the rest");
    assert!((1100..=1400).contains(&longest), "the longest pooled packet has {longest} bytes");
    network.close().expect("both routers end in order");
}

fn voice(network: &Network) -> Findings {
    let run = Run::start(network, &plan(5)).expect("streams start");
    while !run.wait(Duration::from_secs(1)) {}
    run.finish().expect("the recordings are whole")
}
