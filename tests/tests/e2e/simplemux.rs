//! Packets across routers that speak Simplemux to each other: carpoolds, and one of them with the published tool.

use std::{
    io::{Write, stderr},
    net::{SocketAddrV4, UdpSocket},
    time::Duration,
};

use carpool_tests::{
    capture::{Capture, Direction, Recorded},
    compare::{Comparison, Routers, compare},
    frame::{Flow, Observation, observe},
    lab::{Alone, Lab},
    network::VOICE_PORTS,
    simplemux::{Flavour, LEFT, Line, Other, RIGHT, ROUTERS, TOOL, carried},
    transit::Riders,
};

/// Bursts each way.
const ROUNDS: usize = 30;
/// Packets of a burst, on as many flows.
const BURST: usize = 20;
/// How long a burst may take to arrive on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);

/// One way across the line.
struct Way {
    flows: Vec<Flow>,
    sockets: Vec<UdpSocket>,
    leaving: Capture,
    crossing: Capture,
    arriving: Capture,
}

impl Way {
    /// From `from` to `to`, over the first and then the last of `routers`.
    fn open(line: &Line, from: &str, to: &str, ends: [SocketAddrV4; 2], routers: [&str; 2]) -> Way {
        let namespace = |name| line.lab.namespace(name).expect("it is there");
        let port = |end: SocketAddrV4, nth| SocketAddrV4::new(*end.ip(), end.port() + nth);
        let flows: Vec<_> =
            (0..BURST as u16).map(|nth| Flow { source: port(ends[0], nth), destination: port(ends[1], nth) }).collect();
        let open = |flow: &Flow| {
            let bound = namespace(from).enter(|| UdpSocket::bind(flow.source));
            bound.expect("the host can be entered").expect("a socket")
        };
        Way {
            sockets: flows.iter().map(open).collect(),
            flows,
            leaving: Capture::start(namespace(from), routers[0]).expect("a capture starts"),
            crossing: Capture::start(namespace("transit"), routers[0]).expect("a capture starts"),
            arriving: Capture::start(namespace(to), routers[1]).expect("a capture starts"),
        }
    }

    /// Sends a burst of packets of all lengths that the rule lets in, from 29 bytes on.
    fn send(&self, round: usize) {
        for (nth, (socket, flow)) in self.sockets.iter().zip(&self.flows).enumerate() {
            let number = round * BURST + nth;
            let payload: Vec<u8> = (0..1 + number * 41 % 270).map(|at| (at * 13 + number * 7) as u8).collect();
            socket.send_to(&payload, flow.destination).expect("it can be sent");
        }
    }

    /// Whether so many packets arrive within the limit.
    fn has_arrived(&self, packets: usize) -> bool {
        let mine = |flow: &Flow| self.flows.contains(flow);
        self.arriving.wait_until(LIMIT, |frames| observe(frames, Direction::In, mine).len() >= packets)
    }

    /// Compares what was sent with what arrived; returns also the number of packets in each datagram that crossed.
    fn judge(self, flavour: Flavour) -> (Comparison, Vec<usize>) {
        let mine = |flow: &Flow| self.flows.contains(flow);
        let stop = |capture: Capture| {
            let Recorded { frames, dropped } = capture.stop().expect("the recording is whole");
            assert_eq!(dropped, 0, "frames that were not recorded");
            frames
        };
        let (mut riders, mut datagrams) = (Riders::default(), Vec::new());
        for frame in stop(self.crossing).iter().filter(|frame| frame.direction == Direction::In) {
            let Some(observation) = Observation::of(frame) else { continue };
            if let Some(packets) = carried(&observation, flavour).expect("a sound datagram") {
                assert!(packets.len() <= 100 && observation.payload().len() <= 2304);
                datagrams.push(packets.len());
                packets.iter().for_each(|packet| riders.add_packet(packet, observation.at));
            }
        }
        let sent = observe(&stop(self.leaving), Direction::Out, mine);
        let received = observe(&stop(self.arriving), Direction::In, mine);
        (compare(&sent, &received, Routers::LessWhenPooled(ROUTERS, &riders)), datagrams)
    }
}

/// Lets packets cross both ways at once and checks that each arrives as it was sent, and that they shared rides.
fn across(flavour: Flavour, other: &Other) {
    let _alone = Alone::wait().expect("end to end tests run as root");
    let line = Line::build(Lab::new().expect("a lab can be made"), flavour, other).expect("the network comes up");
    let end = |(_, address), port| SocketAddrV4::new(address, port);
    let (near, far) = (VOICE_PORTS.0, VOICE_PORTS.0 + 1000);
    let east = Way::open(&line, LEFT.0, RIGHT.0, [end(LEFT, near), end(RIGHT, far)], ["A", "B"]);
    let west = Way::open(&line, RIGHT.0, LEFT.0, [end(RIGHT, far + 1000), end(LEFT, near + 1000)], ["B", "A"]);
    for round in 0..ROUNDS {
        east.send(round);
        west.send(round);
        for (what, way) in [("eastward", &east), ("westward", &west)] {
            assert!(way.has_arrived((round + 1) * BURST), "{what}, round {round}: packets are missing");
        }
    }
    for (what, way) in [("eastward", east), ("westward", west)] {
        let (comparison, datagrams) = way.judge(flavour);
        let riders: usize = datagrams.iter().sum();
        println!("{flavour:?}, {what}: {comparison}; {riders} packets crossed in {} datagrams", datagrams.len());
        assert_eq!(comparison.sent, ROUNDS * BURST);
        assert!(comparison.perfect(), "{what}: {comparison}");
        assert!(riders >= 3 * datagrams.len(), "{what}: {riders} packets in {} datagrams", datagrams.len());
        assert!(riders * 2 > comparison.sent, "{what}: {riders} packets shared a ride");
    }
    line.close().expect("both routers end in order");
}

#[test]
fn carpools_that_speak_simplemux_to_each_other_lose_and_change_nothing() {
    across(Flavour::Normal, &Other::Carpool);
}

#[test]
fn carpools_that_speak_fast_simplemux_to_each_other_lose_and_change_nothing() {
    across(Flavour::Fast, &Other::Carpool);
}

#[test]
fn a_carpool_and_the_published_tool_exchange_packets_both_ways_in_both_flavours() {
    let Some(tool) = Other::tool() else {
        // Written past the test harness, which shows only what failing tests print.
        let _ = writeln!(stderr(), "SKIPPED: {TOOL} names no program: nothing was tried with the published tool");
        return;
    };
    for flavour in [Flavour::Normal, Flavour::Fast] {
        across(flavour, &tool);
    }
}
