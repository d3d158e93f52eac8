//! Packets for a neighbour that never answers must not be at the cost of anybody else.

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use carpool_tests::{
    carpoold::Idle,
    network::SERVERS,
    rtp::Codec,
    voice::{Heading, Plan, Run},
};

use crate::network;

/// On the link between A and server1, and nobody's.
const NOBODY: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 99);
/// Packets at a time, and how often: 20,000 a second.
const BURST: usize = 20;
const PERIOD: Duration = Duration::from_millis(1);

/// Sends small packets to nobody for this long, and says how many.
fn flood(socket: &UdpSocket, duration: Duration) -> u64 {
    let begin = Instant::now();
    let mut sent = 0;
    for burst in 1.. {
        for _ in 0..BURST {
            sent += u64::from(socket.send_to(&[0; 18], SocketAddrV4::new(NOBODY, 9)).is_ok());
        }
        let due = PERIOD * burst;
        if due > duration {
            break;
        }
        // The pace of the flood, not a wait for an event.
        thread::sleep(due.saturating_sub(begin.elapsed()));
    }
    sent
}

#[test]
fn a_flood_for_a_neighbour_that_never_answers_costs_other_flows_nothing() {
    let (_alone, mut network) = network(Duration::from_millis(5), Idle::Adaptive);
    let (name, address) = SERVERS[1];
    let socket = network
        .lab
        .namespace(name)
        .expect("server2 is there")
        .enter(|| UdpSocket::bind(SocketAddrV4::new(address, 0)))
        .expect("server2 can be entered")
        .expect("a socket");
    let plan =
        Plan { heading: Heading::East, streams: 20, local: 2, duration: Duration::from_secs(5), codec: Codec::G711 };
    let run = Run::start(&network, &plan).expect("streams start");
    let flooded = flood(&socket, Duration::from_secs(3));
    while !run.wait(Duration::from_secs(1)) {}
    let findings = run.finish().expect("the recordings are whole");
    assert!(findings.voice.perfect(), "{}", findings.voice);
    assert!(findings.local.perfect(), "{}", findings.local);
    let pair = network.pair().expect("carpools");
    // The last few wait until A gives the neighbour up.
    let mut dropped = 0;
    pair.a
        .wait_until("the flood is dropped by name", Duration::from_secs(10), |control| {
            let drops = control.drops()?;
            let count = |reason| drops.get(reason).copied().unwrap_or(0);
            dropped = count("neighbour_queue_full") + count("neighbour_unreachable");
            Ok(dropped >= flooded)
        })
        .unwrap_or_else(|error| panic!("{dropped} of {flooded} packets were dropped by name: {error}"));
    assert_eq!(dropped, flooded, "and nothing else was dropped for such a reason");
    network.close().expect("both routers end in order");
}
