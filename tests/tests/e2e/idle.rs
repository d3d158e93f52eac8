//! A router with nothing to do leaves the processor alone, and is there at once when something comes.

use std::time::Duration;

use carpool_tests::{
    carpoold::Idle,
    idle::{self, WakeUps},
};

use crate::network;

/// Less than this part of a core, hellos and all.
const IDLE_SHARE: f64 = 0.03;
/// From a packet's arrival at a blocked router to its departure, in the median, in microseconds.
const WAKE_UP_US: f64 = 100.0;
const PACKETS: usize = 100;
const ROUNDS: usize = 8;

#[test]
fn an_idle_router_uses_under_three_percent_of_a_core() {
    let (_alone, mut network) = network(Duration::from_millis(5), Idle::Adaptive);
    let pair = network.pair().expect("carpools");
    for share in idle::shares(pair, Duration::from_secs(5)).expect("both run") {
        println!("an idle router uses {:.2}% of a core", share * 100.0);
        assert!(share < IDLE_SHARE, "{:.1}% of a core", share * 100.0);
    }
    network.close().expect("both routers end in order");
}

#[test]
fn a_blocked_router_wakes_within_a_hundred_microseconds_in_the_median() {
    let (_alone, network) = network(Duration::from_millis(5), Idle::Adaptive);
    let mut wake_ups = WakeUps::new(&network.lab).expect("both servers are there");
    // Whatever else runs on the machine only makes it later: one quiet round of a second is enough to show it.
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let delay = wake_ups.round(PACKETS).expect("all arrive as they were sent");
        println!("from server to server by way of a blocked router, in microseconds: {delay:?}");
        best = best.min(delay.p50);
        if best < WAKE_UP_US {
            break;
        }
    }
    assert!(best < WAKE_UP_US, "{best} microseconds in the best of {ROUNDS} rounds");
    network.close().expect("both routers end in order");
}
