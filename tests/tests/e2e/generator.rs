//! carpool-gen around a router: what it says of loss, order and pooling is what the router did.

use std::{
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    time::Duration,
};

use carpool_tests::{
    carpoold::{Carpoold, Config, Port, Rule},
    control,
    lab::{Alone, End, Kind, Lab},
};
use ipnet::Ipv4Net;
use serde_json::Value;

/// The generator's addresses: where it sends and where it receives.
const WEST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const EAST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// Name of the link at both ends, and the router's address on it.
const LINKS: [(&str, &str); 2] = [("west", "192.0.2.1/24"), ("east", "198.51.100.1/24")];
const TARGETS: &str = "198.18.0.0/15";
/// Frames that the queues of all ports hold: more than any trial here has.
const FRAMES: u16 = 2048;

fn net(text: &str) -> Ipv4Net {
    text.parse().expect("a prefix")
}

/// A router and a generator, joined by two links.
fn lab() -> Lab {
    let mut lab = Lab::new().expect("a lab can be made");
    for node in ["gen", "R"] {
        lab.add(node, Kind::Carpool).expect("a namespace");
    }
    for (name, address) in LINKS {
        // Both have no address in the kernel; the generator and the router bring their own.
        let ends = ["gen", "R"].map(|node| End { node, address: net(address) });
        lab.link(ends[0], ends[1], 1500).expect("a link");
        for (node, neighbour) in [("gen", "R"), ("R", "gen")] {
            let namespace = lab.namespace(node).expect("it was added");
            for change in [&["down"][..], &["name", name], &["up"]] {
                let device = if change == ["up"] { name } else { neighbour };
                namespace.ip(&[&["link", "set", device][..], change].concat()).expect("the link can be renamed");
            }
        }
    }
    lab
}

/// A router that forwards everything to the generator.
fn config() -> Config {
    Config {
        cores: vec![0],
        ports: LINKS
            .map(|(name, address)| Port { interface: name.to_owned(), address: net(address), mtu: 1500 })
            .into(),
        routes: vec![(net(TARGETS), EAST)],
        ..Config::default()
    }
}

/// A generator that waits for commands.
struct Generator {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Generator {
    fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let program = control::program("carpool-gen").expect("carpool-gen is built");
        let device = |number, name| format!("net_af_packet{number},iface={name},framecnt={FRAMES}");
        let mut child = lab
            .namespace("gen")
            .expect("it was added")
            .command(&program.to_string_lossy())
            .args([
                "serve",
                "--send",
                &device(0, "west"),
                "--send-address",
                &WEST.to_string(),
                "--gateway",
                "192.0.2.1",
            ])
            .args(["--receive", &device(1, "east"), "--receive-address", &EAST.to_string()])
            // It ends earlier, when everything is there.
            .args(["--memory", "no-huge", "--drain", "20", "--destination-prefix", TARGETS])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be run");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut generator = Self { child, input, output };
        // The first packets may find that a neighbour is not resolved yet.
        for _ in 0..20 {
            let probe = generator.trial(r#"{"trial":{"pps":100,"seconds":1,"size":78,"burst":5,"drain":0.5}}"#);
            if probe["received"] == 5 {
                return generator;
            }
        }
        panic!("no packet comes back");
    }

    fn trial(&mut self, command: &str) -> Value {
        writeln!(self.input.as_mut().expect("it is open"), "{command}").expect("it reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// No more commands: it ends by itself.
    fn end(mut self) {
        self.input = None;
        assert!(self.child.wait().expect("it can be waited for").success());
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // Where a test failed; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn check(answer: &Value, sent: u64) {
    assert_eq!(answer["sent"], sent, "{answer}");
    assert_eq!(answer["received"], sent, "{answer}");
    for name in ["lost", "duplicated", "reordered", "corrupted", "late", "foreign", "skipped"] {
        assert_eq!(answer[name], 0, "{name}: {answer}");
    }
    assert!(answer["latency_ns"]["min"].as_u64().is_some_and(|least| least > 0), "{answer}");
}

fn stop(mut router: Carpoold) {
    router.check_accounting().expect("every packet is accounted for");
    router.stop().expect("it ends in order");
}

#[test]
fn everything_comes_back_through_a_router_that_forwards() {
    let _alone = Alone::wait().expect("end to end tests run as root");
    let lab = lab();
    let router = Carpoold::start(&lab, "R", &config()).expect("the router starts");
    let mut generator = Generator::start(&lab, &["--order", "random"]);
    for size in ["64", "\"imix\"", "1518"] {
        let answer = generator.trial(&format!(
            r#"{{"trial":{{"pps":2000,"seconds":1,"size":{size},"flows":16,"destinations":64,"burst":1500}}}}"#
        ));
        check(&answer, 1500);
        assert!(answer["pooled"].is_null(), "{answer}");
    }
    generator.end();
    stop(router);
}

#[test]
fn a_pooler_and_the_generator_at_its_far_end_count_the_same() {
    const WINDOW: Duration = Duration::from_millis(5);
    let _alone = Alone::wait().expect("end to end tests run as root");
    let lab = lab();
    let mut config = config();
    config.paths = vec![(net(TARGETS), vec![EAST])];
    // The generator says no hellos.
    config.further = vec![format!("[[peer]]\nname = \"gen\"\naddress = \"{EAST}\"\nassume = true\nmtu = 1500")];
    config.rules = vec![Rule {
        name: "streams".to_owned(),
        matching: "protocol = \"udp\", dscp = \"ef\"".to_owned(),
        max_size: 300,
        window: WINDOW,
        further: vec![],
    }];
    let router = Carpoold::start(&lab, "R", &config).expect("the router starts");
    let mut generator = Generator::start(&lab, &["--depool", "--dscp", "46"]);
    let before = router.control.pooled().expect("it answers");
    let answer =
        generator.trial(r#"{"trial":{"pps":2000,"seconds":1,"size":78,"flows":16,"destinations":16,"burst":1500}}"#);
    check(&answer, 1500);
    let after = router.control.pooled().expect("it answers");
    let pooled = |name: &str| answer["pooled"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {answer}"));
    assert_eq!(pooled("packets"), after.pooled_packets - before.pooled_packets, "{answer}");
    assert_eq!(pooled("rows"), after.rows - before.rows, "{answer}");
    assert_eq!(pooled("rows") + pooled("lone"), 1500, "{answer}");
    assert_eq!(pooled("opaque"), 0, "{answer}");
    // Ten packets come in a window, or more where somebody was held up.
    assert!(pooled("rows") > 4 * pooled("packets"), "{answer}");
    // 60 bytes of IP in a frame each, preamble and gap included.
    assert_eq!(pooled("bytes_in"), 1500 * 98, "{answer}");
    assert!(pooled("bytes_out") < pooled("bytes_in"), "{answer}");
    generator.end();
    stop(router);
}
