//! Learned headers: packets of 60 bytes cross without most of their headers and arrive with every byte of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use carpool_tests::{
    carpoold::Idle,
    headers::Report,
    network::Middle,
    relay::Relay,
    rtp::Codec,
    transit::{POOL_PORT, SHORT_ROWS},
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

/// How many packets a pooled packet with learned headers has inside, by its count; `None` for any other packet.
fn learned_rows(packet: &[u8]) -> Option<usize> {
    let is_learned =
        packet.get(22..24) == Some(&POOL_PORT.to_be_bytes()) && packet.get(28) == Some(&(0x10 | SHORT_ROWS));
    packet.get(29).filter(|_| is_learned).map(|count| usize::from(*count))
}

#[test]
fn one_pooled_packet_in_twenty_lost_loses_what_was_inside_and_little_else() {
    let further = &["representation = \"learned\""];
    let middle = Middle::Carpool { window: WINDOW, idle: Idle::Adaptive, both_cores: false, further };
    let (_alone, mut network) = network_of(middle);
    let lost_rows = Arc::new(AtomicUsize::new(0));
    let keeps = {
        let (lost_rows, mut seen) = (Arc::clone(&lost_rows), 0);
        move |packet: &[u8]| {
            let Some(rows) = learned_rows(packet) else { return true };
            seen += 1;
            // The first one announces streams: that is lost as well.
            let is_lost = seen % 20 == 1;
            lost_rows.fetch_add(if is_lost { rows } else { 0 }, Ordering::Relaxed);
            !is_lost
        }
    };
    let transit = network.lab.namespace("transit").expect("it is there");
    let relay = Relay::start(transit, ["A", "B"], keeps).expect("it relays");
    let duration = Duration::from_secs(5);
    let plan = Plan { heading: Heading::East, streams: 160, local: 0, duration, codec: Codec::G729 };
    let run = Run::start(&network, &plan).expect("streams start");
    while !run.wait(Duration::from_secs(1)) {}
    let findings = run.finish().expect("the recordings are whole");
    let (lost_pooled, lost_rows) = (relay.lost(), lost_rows.load(Ordering::Relaxed));
    relay.stop().expect("it forwarded all the rest");
    let voice = &findings.voice;
    assert!(voice.identical() && voice.in_order(), "{voice}");
    assert!(findings.reference.perfect(), "packets of no rule: {}", findings.reference);

    let pair = network.pair().expect("carpools");
    let unknown = pair.b.control.drops().expect("B answers").get("pool_unknown_context").copied().unwrap_or(0) as usize;
    let totals = pair.a.control.ask(&["pool", "show"]).expect("A answers")["totals"]["learned"].clone();
    println!(
        "{lost_pooled} pooled packets lost with {lost_rows} inside, {unknown} of unknown contexts: {voice}; {totals}"
    );
    assert!(lost_pooled > 20, "{lost_pooled} pooled packets lost");
    assert_eq!(voice.lost.len(), lost_rows + unknown, "{voice}");
    // What nobody knew was announced again once it was reported: within a round trip, which is a few packets of a stream.
    let announced_again = totals["lost"].as_u64().expect("a count") as usize;
    assert!((1..=lost_rows).contains(&announced_again), "{announced_again} announced again");
    assert!(
        unknown <= 10 * announced_again && unknown < lost_rows / 5,
        "{unknown} of {announced_again} unknown contexts"
    );
    network.close().expect("both routers end in order");
}
