//! A router with nothing to do leaves the processor alone, and is there at once when something comes.

use std::{
    net::{SocketAddrV4, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use carpool_tests::{
    capture::{Capture, Direction},
    carpoold::Idle,
    compare::{Routers, compare},
    delay::Delays,
    frame::{Flow, Observation, observe},
    network::SERVERS,
};

use crate::network;

/// Less than this part of a core, hellos and all.
const IDLE_SHARE: f64 = 0.03;
/// From a packet's arrival at a blocked router to its departure, in the median, in microseconds.
const WAKE_UP_US: f64 = 100.0;
/// So far apart that the worker blocks before each.
const APART: Duration = Duration::from_millis(10);
const PACKETS: usize = 100;
const ROUNDS: usize = 8;
const PORT: u16 = 40_100;

#[test]
fn an_idle_router_uses_under_three_percent_of_a_core() {
    let (_alone, mut network) = network(Duration::from_millis(5), Idle::Adaptive);
    let pair = network.pair().expect("carpools");
    let used = |router: &carpool_tests::carpoold::Carpoold| router.processor_time().expect("it runs");
    let (begin, before) = (Instant::now(), [used(&pair.a), used(&pair.b)]);
    // What is measured is this very time.
    thread::sleep(Duration::from_secs(5));
    let elapsed = begin.elapsed();
    for (router, before) in [&pair.a, &pair.b].into_iter().zip(before) {
        let share = (used(router) - before).as_secs_f64() / elapsed.as_secs_f64();
        println!("an idle router uses {:.2}% of a core", share * 100.0);
        assert!(share < IDLE_SHARE, "{:.1}% of a core", share * 100.0);
    }
    network.close().expect("both routers end in order");
}

#[test]
fn a_blocked_router_wakes_within_a_hundred_microseconds_in_the_median() {
    let (_alone, network) = network(Duration::from_millis(5), Idle::Adaptive);
    let [(from, source), (to, destination)] = SERVERS;
    let namespace = |name| network.lab.namespace(name).expect("both servers are there");
    let socket = |name, address| {
        let bound = namespace(name).enter(move || UdpSocket::bind(SocketAddrV4::new(address, PORT)));
        bound.expect("the server can be entered").expect("a socket")
    };
    let (sender, _receiver) = (socket(from, source), socket(to, destination));
    let leaving = Capture::start(namespace(from), "A").expect("a capture starts");
    let arriving = Capture::start(namespace(to), "A").expect("a capture starts");
    // Whatever else runs on the machine only makes it later: one quiet round of a second is enough to show it.
    let mut best = f64::INFINITY;
    for round in 0..ROUNDS {
        for number in 0..PACKETS {
            // The pace of the source, not a wait for an event.
            thread::sleep(APART);
            let data = (round * PACKETS + number).to_be_bytes();
            sender.send_to(&data, SocketAddrV4::new(destination, PORT)).expect("a packet is sent");
        }
        let wanted = |flow: &Flow| flow.destination.port() == PORT;
        let [until_now, so_far] =
            [(&leaving, Direction::Out), (&arriving, Direction::In)].map(|(capture, direction)| {
                let sent = (round + 1) * PACKETS;
                capture.wait_until(Duration::from_secs(5), |frames| observe(frames, direction, wanted).len() >= sent);
                observe(&capture.from(0), direction, wanted)
            });
        let of_round = |seen: &[Observation]| seen.iter().skip(round * PACKETS).cloned().collect::<Vec<_>>();
        let result = compare(&of_round(&until_now), &of_round(&so_far), Routers::All(1));
        assert!(result.perfect(), "{result}");
        let delay = Delays::of(&result.passages).summary().expect("packets arrived");
        println!("from server to server by way of a blocked router, in microseconds: {delay:?}");
        best = best.min(delay.p50);
        if best < WAKE_UP_US {
            break;
        }
    }
    assert!(best < WAKE_UP_US, "{best} microseconds in the best of {ROUNDS} rounds");
    network.close().expect("both routers end in order");
}
