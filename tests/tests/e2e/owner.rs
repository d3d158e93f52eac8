//! Routers with two workers each: where every path has one that pools for both, pooled packets are fuller.

use std::time::Duration;

use carpool_tests::{
    carpoold::Idle,
    network::Middle,
    rtp::Codec,
    voice::{Heading, Plan, Run},
};

use crate::network_with;

const WINDOW: Duration = Duration::from_millis(5);
/// Packets of 60 bytes, 50 a second each: ten in a window, of which a pooled packet holds 22.
const STREAMS: u16 = 40;

/// Stream packets in a pooled packet of A, and packets that its workers handed over to each other.
fn fill(pool_on: &str) -> (f64, u64) {
    let middle = Middle::Carpool { window: WINDOW, idle: Idle::Adaptive, both_cores: true, further: &[] };
    let (_alone, mut network) = network_with(middle, &[&format!("pool_on = \"{pool_on}\""), "buckets = 1"]);
    let plan = Plan {
        heading: Heading::East,
        streams: STREAMS,
        local: 2,
        duration: Duration::from_secs(5),
        codec: Codec::G729,
    };
    let run = Run::start(&network, &plan).expect("streams start");
    while !run.wait(Duration::from_secs(1)) {}
    let findings = run.finish().expect("the recordings are whole");
    for (what, comparison) in
        [("voice", &findings.voice), ("reference", &findings.reference), ("local", &findings.local)]
    {
        assert!(comparison.perfect(), "{pool_on}, {what}: {comparison}");
    }
    let control = &network.pair().expect("carpools").a.control;
    let [handed, taken] = ["absorbed_handed_over", "created_taken_over"].map(|name| control.counter(name));
    let handed = handed.expect("it is counted");
    assert_eq!(handed, taken.expect("it is counted"), "nothing is on the way any more");
    let pooled = control.pooled().expect("it answers");
    network.close().expect("both routers end in order");
    (pooled.rows as f64 / pooled.pooled_packets as f64, handed)
}

#[test]
fn a_path_with_an_owner_has_fuller_pools_than_two_workers_with_their_own() {
    let ((local, none), (owner, handed)) = (fill("local"), fill("owner"));
    println!("packets in a pooled packet with two workers: {local:.2} local, {owner:.2} owner, {handed} handed over");
    assert_eq!(none, 0, "each pools what it receives");
    assert!(handed > 0, "all streams came to one worker");
    assert!(owner > 1.25 * local, "owner {owner:.2}, local {local:.2}");
}
