//! Tools that others wrote, with their own opinion of loss, order and latency.

use std::time::Duration;

use carpool_tests::{
    capture::{Capture, Direction},
    carpoold::Idle,
    compare::{Routers, compare},
    frame::{Flow, Observation, observe},
    network::{CLIENTS, Network, ROUTERS, SERVERS},
    process::Process,
    transit::{Crossing, Riders},
};
use serde_json::Value;

use crate::{STALL, network};

const IPERF_PORT: u16 = 16384;
const SOCKPERF_PORT: u16 = 16400;
/// Expedited forwarding as a TOS byte: the voice rule asks for it.
const TOS: &str = "184";

/// Starts a tool's server in client1, to be ended with the test.
fn serve(network: &Network, program: &str, arguments: &[&str]) -> Process {
    let (client, _) = CLIENTS[0];
    let mut command = network.lab.namespace(client).expect("client1 is there").command(program);
    let log = network.lab.directory().join(format!("{program}.log"));
    Process::start(program, command.args(arguments), &log).expect("the server starts")
}

/// Runs a tool's client in server1 to its end and returns what it printed.
fn call(network: &Network, program: &str, arguments: &[&str]) -> String {
    let (server, _) = SERVERS[0];
    let mut command = network.lab.namespace(server).expect("server1 is there").command(program);
    let output = command.args(arguments).output().expect("the client starts");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} ended with {}: {printed}{}", output.status, errors(&output.stderr));
    printed
}

fn errors(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until something in client1 listens on this UDP or TCP port.
fn wait_for_listener(network: &Network, socket_kind: &str, port: u16) {
    let (client, _) = CLIENTS[0];
    let namespace = network.lab.namespace(client).expect("client1 is there");
    for _ in 0..100 {
        let listing = namespace.command("ss").args(["-Hln", socket_kind, "sport", "=", &format!(":{port}")]).output();
        if listing.is_ok_and(|output| !output.stdout.is_empty()) {
            return;
        }
        // ss cannot wait and servers do not tell.
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("nothing listens on port {port} in {client}");
}

#[test]
fn iperf3_with_200_byte_datagrams_loses_nothing_and_rides_in_pooled_packets() {
    let (_alone, network) = network(Duration::from_millis(5), Idle::Adaptive);
    let (server, client) = (SERVERS[0], CLIENTS[0]);
    let port = IPERF_PORT.to_string();
    let target = client.1.to_string();
    let _server = serve(&network, "iperf3", &["-s", "-1", "-p", &port]);
    wait_for_listener(&network, "-t", IPERF_PORT);
    let start = |node: &str, interface: &str| {
        Capture::start(network.lab.namespace(node).expect("a node"), interface).expect("a capture starts")
    };
    let (leaving, crossing, arriving) = (start(server.0, "A"), start("transit", "A"), start(client.0, "B"));
    let printed = call(
        &network,
        "iperf3",
        &["-c", &target, "-p", &port, "-u", "-l", "200", "-b", "4M", "-t", "3", "--tos", TOS, "--json"],
    );
    let summary: Value = serde_json::from_str(&printed).expect("iperf3 prints JSON");
    let sum = &summary["end"]["sum"];
    assert_eq!(sum["lost_packets"], 0, "iperf3's own count: {sum}");
    assert!(sum["packets"].as_u64().is_some_and(|packets| packets > 7000), "2500 packets a second: {sum}");

    let wanted = |flow: &Flow| flow.destination.port() == IPERF_PORT;
    let [leaving, crossing, arriving] = [leaving, crossing, arriving].map(|capture| {
        let recorded = capture.stop().expect("the capture ends");
        assert_eq!(recorded.dropped, 0, "the recording is whole");
        recorded.frames
    });
    let (mut crossed, mut riders) = (Crossing::default(), Riders::default());
    for observation in crossing.iter().filter(|frame| frame.direction == Direction::In).filter_map(Observation::of) {
        crossed.add(&observation, wanted);
        riders.add(&observation);
    }
    let (sent, received) = (observe(&leaving, Direction::Out, wanted), observe(&arriving, Direction::In, wanted));
    let result = compare(&sent, &received, Routers::LessWhenPooled(ROUTERS, &riders));
    assert!(result.perfect(), "{result}");
    // 228 bytes each: six fill 1500 bytes, and 2500 packets a second bring a dozen within the window.
    let ratio = crossed.carried() as f64 / crossed.packets() as f64;
    assert!(ratio > 5.0, "{crossed:?}");
    network.close().expect("both routers end in order");
}

#[test]
fn sockperf_under_a_window_of_half_a_millisecond_loses_nothing_on_the_way_and_stays_in_order() {
    let window = Duration::from_micros(500);
    let (_alone, mut network) = network(window, Idle::Adaptive);
    let (port, target) = (SOCKPERF_PORT.to_string(), CLIENTS[0].1.to_string());
    let _server = serve(&network, "sockperf", &["server", "-i", &target, "-p", &port, "--tos", TOS]);
    wait_for_listener(&network, "-u", SOCKPERF_PORT);
    let start = |node: &str, interface: &str| {
        Capture::start(network.lab.namespace(node).expect("a node"), interface).expect("a capture starts")
    };
    let [west, east, middle_west, middle_east] =
        [start(SERVERS[0].0, "A"), start(CLIENTS[0].0, "B"), start("transit", "A"), start("transit", "B")];
    // Its replies go to a port of the rule, so that both ways are pooled.
    let printed = call(
        &network,
        "sockperf",
        &[
            "under-load",
            "-i",
            &target,
            "-p",
            &port,
            "--client_port",
            "16500",
            "--tos",
            TOS,
            "-t",
            "3",
            "--mps",
            "4000",
            "--reply-every",
            "5",
            "-m",
            "200",
        ],
    );
    let [west, east, middle_west, middle_east] = [west, east, middle_west, middle_east].map(|capture| {
        let recorded = capture.stop().expect("the capture ends");
        assert_eq!(recorded.dropped, 0, "the recording is whole");
        recorded.frames
    });
    let mut riders = Riders::default();
    for frame in middle_west.iter().chain(&middle_east).filter(|frame| frame.direction == Direction::In) {
        if let Some(observation) = Observation::of(frame) {
            riders.add(&observation);
        }
    }
    let wanted = |flow: &Flow| flow.destination.port() == SOCKPERF_PORT || flow.source.port() == SOCKPERF_PORT;
    for (what, from, to) in [("requests", &west, &east), ("replies", &east, &west)] {
        let (sent, received) = (observe(from, Direction::Out, wanted), observe(to, Direction::In, wanted));
        let result = compare(&sent, &received, Routers::LessWhenPooled(ROUTERS, &riders));
        assert!(result.perfect(), "{what}: {result}");
    }
    // What it lost, the recordings say that no router did: its own sockets had no room for it.
    assert!(printed.contains("# duplicated messages = 0; # out-of-order messages = 0"), "{printed}");
    let median = printed
        .lines()
        .find(|line| line.contains("percentile 50.000"))
        .and_then(|line| line.rsplit('=').next()?.trim().parse::<f64>().ok())
        .unwrap_or_else(|| panic!("no median in: {printed}"));
    // Half a round trip: a window at most each way, and what the machine's scheduler adds. Within 1 ms of a deadline workers
    // do not block, so on two cores two of them, sockperf's two ends and the control threads take turns.
    assert!((20.0..5000.0).contains(&median), "the median is {median} us: {printed}");
    let longest_open = network.pair().expect("carpools").longest_open().expect("both routers answer");
    assert!(longest_open < window + STALL, "a pool was open for {longest_open:?}");
    network.close().expect("both routers end in order");
}
