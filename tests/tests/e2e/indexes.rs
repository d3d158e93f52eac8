//! Voice whose index travels apart from it, or not at all.

use std::time::Duration;

use carpool_tests::{
    carpoold::Idle,
    network::{Middle, Network},
    relay::Relay,
    rtp::Codec,
    transit::{POOL_PORT, indexes},
    voice::{Findings, Heading, Plan, Run},
};

use crate::{SCHEDULING, STALL, network_of};

const WINDOW: Duration = Duration::from_millis(5);
/// How long the addressee waits for an index.
const PATIENCE: Duration = Duration::from_millis(5);
const OUT_OF_BAND: &[&str] = &["index = \"out-of-band\""];
/// The recorded call has packets of 280 bytes.
const PREDETERMINED: &[&str] =
    &["index = \"predetermined\"", "template = 7", "[[template]]", "id = 7", "lengths = [280]"];

/// Lets 20 streams (each way) flow.
fn voice(network: &Network) -> Findings {
    let plan =
        Plan { heading: Heading::Both, streams: 20, local: 2, duration: Duration::from_secs(5), codec: Codec::G711 };
    let run = Run::start(network, &plan).expect("streams start");
    while !run.wait(Duration::from_secs(1)) {}
    run.finish().expect("the recordings are whole")
}

fn carpool(further: &'static [&'static str]) -> Middle {
    Middle::Carpool { window: WINDOW, idle: Idle::Adaptive, both_cores: false, further }
}

/// How many index packets crossed transit.
fn index_packets(findings: &Findings) -> usize {
    findings.transit.iter().filter_map(indexes).count()
}

fn check_all_arrived(findings: &Findings) {
    for (what, comparison) in
        [("voice", &findings.voice), ("reference", &findings.reference), ("local", &findings.local)]
    {
        assert!(comparison.perfect(), "{what}: {comparison}");
    }
    assert_eq!(findings.crossing.carried(), findings.voice.sent, "transit saw each packet once");
}

#[test]
fn voice_with_its_index_out_of_band_arrives_unchanged() {
    let (_alone, mut network) = network_of(carpool(OUT_OF_BAND));
    let findings = voice(&network);
    check_all_arrived(&findings);
    let crossing = findings.crossing;
    assert_eq!(crossing.lone, 0, "a packet alone travels in a pooled packet too");
    let indexes = index_packets(&findings);
    assert!((1..=crossing.pooled).contains(&indexes), "{indexes} index packets for {} pooled ones", crossing.pooled);
    let pair = network.pair().expect("carpools");
    for router in [&pair.a, &pair.b] {
        let drops = router.control.drops().expect("it answers");
        let dropped = drops.iter().find(|(name, count)| name.starts_with("pool_") && **count > 0);
        assert_eq!(dropped, None, "{drops:?}");
    }
    network.close().expect("both routers end in order");
}

#[test]
fn a_lost_index_loses_its_packets_by_name_and_the_rest_arrives_in_order_and_in_time() {
    let (_alone, mut network) = network_of(carpool(OUT_OF_BAND));
    let mut seen = 0;
    let keeps = move |packet: &[u8]| {
        let is_index = packet.get(22..24) == Some(&POOL_PORT.to_be_bytes()) && packet.get(28) == Some(&0x12);
        seen += usize::from(is_index);
        !is_index || seen % 5 != 0
    };
    let transit = network.lab.namespace("transit").expect("it is there");
    let relay = Relay::start(transit, ["A", "B"], keeps).expect("it relays");
    let findings = voice(&network);
    let lost_indexes = relay.lost();
    relay.stop().expect("it forwarded all the rest");
    let voice = &findings.voice;
    println!("{lost_indexes} of {} index packets lost: {voice}", index_packets(&findings));
    assert!(lost_indexes > 0 && !voice.lost.is_empty(), "{lost_indexes} index packets lost: {voice}");
    assert!(voice.identical() && voice.in_order(), "{voice}");
    let share = voice.lost.len() as f64 / voice.sent as f64;
    assert!((0.1..0.3).contains(&share), "one index in five was lost: {voice}");
    let longest = voice.passages.iter().map(|passage| passage.delay()).max().unwrap_or_default();
    assert!(longest < WINDOW + PATIENCE + SCHEDULING + STALL, "{longest:?}");
    let pair = network.pair().expect("carpools");
    let missing = |router: &carpool_tests::carpoold::Carpoold| {
        let drops = router.control.drops().expect("it answers");
        drops.get("pool_index_missing").copied().unwrap_or(0)
    };
    let missing = missing(&pair.a) + missing(&pair.b);
    assert!(missing >= lost_indexes as u64, "{missing} pooled packets dropped for {lost_indexes} lost index packets");
    network.close().expect("both routers end in order");
}

#[test]
fn voice_of_predetermined_lengths_arrives_unchanged_without_any_index() {
    let (_alone, mut network) = network_of(carpool(PREDETERMINED));
    let findings = voice(&network);
    check_all_arrived(&findings);
    let crossing = findings.crossing;
    assert!(crossing.rows > 3 * crossing.pooled, "{crossing:?}");
    assert_eq!(index_packets(&findings), 0);
    let longest = network.pair().expect("carpools").longest_open().expect("both routers answer");
    assert!(longest < WINDOW + STALL, "a pool was open for {longest:?}");
    network.close().expect("both routers end in order");
}
