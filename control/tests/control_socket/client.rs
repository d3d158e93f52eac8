//! The `carpool` program against a pretending router: output, errors, exit codes.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use carpool_control::api::Limits;

use crate::dead_socket;
use crate::fake_router::{Directory, FakeRouter};

struct Outcome {
    code: i32,
    output: String,
    errors: String,
}

fn command(socket: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carpool"));
    command.args(line.split_whitespace()).env("CARPOOL_SOCKET", socket);
    command
}

fn carpool(socket: &Path, line: &str) -> Outcome {
    let output = command(socket, line).stdin(Stdio::null()).output().expect("carpool runs");
    Outcome {
        code: output.status.code().expect("an exit code"),
        output: String::from_utf8(output.stdout).expect("text"),
        errors: String::from_utf8(output.stderr).expect("text"),
    }
}

/// Runs what is to succeed without a word of complaint.
fn done(router: &FakeRouter, line: &str) -> String {
    let outcome = carpool(&router.socket(), line);
    assert_eq!((outcome.code, outcome.errors.as_str()), (0, ""), "carpool {line}");
    outcome.output
}

#[test]
fn routes_are_added_shown_and_deleted() {
    let router = FakeRouter::start(Limits::default());
    assert_eq!(done(&router, "route add 203.0.113.0/24 via 192.0.2.2"), "");
    assert_eq!(done(&router, "r a blackhole 10.0.0.0/8"), "");
    assert_eq!(
        done(&router, "r s"),
        "\
prefix          adjacency  via        port  pooled to  source
203.0.113.0/24  via        192.0.2.2  -     -          socket
10.0.0.0/8      blackhole  -          -     -          socket
"
    );
    assert_eq!(
        done(&router, "route show 203.0.0.0/8 --json"),
        "{\"total\":1,\"offset\":0,\"routes\":[{\"prefix\":\"203.0.113.0/24\",\"adjacency\":\"via\",\
         \"via\":\"192.0.2.2\",\"source\":\"socket\"}]}\n"
    );
    assert_eq!(done(&router, "route del 203.0.113.0/24 --json"), "{}\n");
    assert_eq!(done(&router, "route show 203.0.0.0/8"), "");
}

#[test]
fn a_refusal_is_one_sentence_and_exit_code_1() {
    let router = FakeRouter::start(Limits::default());
    let outcome = carpool(&router.socket(), "route add 10.0.0.0/8 via 192.0.2.99");
    assert_eq!(outcome.errors, "carpool: route 10.0.0.0/8: 192.0.2.99 is on no link of this router\n");
    assert_eq!((outcome.code, outcome.output.as_str()), (1, ""));
}

#[test]
fn wrong_usage_is_exit_code_2_and_reaches_nobody() {
    let directory = Directory::new();
    let nobody = directory.socket();
    for (line, expected) in [
        ("route add 10.0.0.0/8 by 192.0.2.1", "carpool: \"by\": expected via ADDRESS\n"),
        ("rule add voice window 2 max-size 300B", "carpool: \"2\": a time needs its unit: us, ms or s\n"),
        ("neighbor add 192.0.2.1", "carpool: expected lladdr MAC\n"),
        ("route add blackhole 10.0.0.0/8 --watch 1", "carpool: --watch: only what shows something can be repeated\n"),
    ] {
        let outcome = carpool(&nobody, line);
        assert_eq!((outcome.code, outcome.errors.as_str()), (2, expected), "carpool {line}");
    }
    assert_eq!(carpool(&nobody, "no such thing").code, 2);
    assert_eq!(carpool(&nobody, "").code, 2);
}

#[test]
fn a_router_that_is_not_there_is_exit_code_3() {
    let directory = Directory::new();
    let socket = directory.socket();
    let outcome = carpool(&socket, "version");
    let expected = format!(
        "carpool: no router answers at {} (No such file or directory); is carpoold running?\n",
        socket.display()
    );
    assert_eq!((outcome.code, outcome.errors.as_str()), (3, expected.as_str()));

    dead_socket(&socket);
    let outcome = carpool(&socket, "version");
    assert_eq!(outcome.code, 3);
    assert!(outcome.errors.contains("(Connection refused); is carpoold running?"), "{}", outcome.errors);
}

#[test]
fn a_router_that_hangs_up_or_talks_nonsense_is_exit_code_3() {
    let directory = Directory::new();
    let listener = UnixListener::bind(directory.socket()).expect("a socket");
    let strange = std::thread::spawn(move || {
        for answer in ["", "nonsense\n", "{\"id\":7,\"result\":{\"version\":\"1\",\"dpdk\":\"2\"}}\n"] {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).expect("a request");
            stream.write_all(answer.as_bytes()).expect("the client reads");
        }
    });
    for expected in ["it closed the connection", "is not understood", "something else than version"] {
        let outcome = carpool(&directory.socket(), "version");
        assert_eq!(outcome.code, 3);
        assert!(outcome.errors.contains(expected), "{}", outcome.errors);
    }
    strange.join().expect("the strange router did not panic");
}

#[test]
fn a_client_too_many_is_told_why() {
    let router = FakeRouter::start(Limits { clients: 0, ..Limits::default() });
    let outcome = carpool(&router.socket(), "version");
    assert_eq!(outcome.errors, "carpool: 0 clients are connected, and no more are served\n");
    assert_eq!(outcome.code, 1);
}

#[test]
fn a_table_is_loaded_whole() {
    let router = FakeRouter::start(Limits::default());
    let file = router.file("table");
    let mut table = String::from("# a table\nblackhole 10.0.0.0/8\n");
    for i in 0..45_000u32 {
        table.push_str(&format!("{}/32 via 192.0.2.1\n", std::net::Ipv4Addr::from(0x0a00_0000 + i)));
    }
    std::fs::write(&file, table).expect("a file");
    let output = done(&router, &format!("route load {} --replace", file.display()));
    assert_eq!(output, "45001 routes loaded, 45001 changed, in 0.500 s\n");
    let shown = done(&router, "route show");
    assert_eq!(shown.lines().count(), 45_002, "all pages are shown, under one line of headings");
    assert_eq!(router.stop().loads, [(45_001, true)]);
}

#[test]
fn a_table_comes_from_standard_input_too() {
    let router = FakeRouter::start(Limits::default());
    let mut child = command(&router.socket(), "route load - --json")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("carpool runs");
    child.stdin.take().expect("a pipe").write_all(b"default via 192.0.2.1\n").expect("carpool reads");
    let output = child.wait_with_output().expect("carpool ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"routes\":1,\"changed\":1,\"seconds\":0.5}\n");
}

#[test]
fn of_a_table_with_a_wrong_line_nothing_is_sent() {
    let router = FakeRouter::start(Limits::default());
    let file = router.file("table");
    std::fs::write(&file, "10.0.0.0/8 via 192.0.2.1\n10.1.0.0/16 via\n").expect("a file");
    let outcome = carpool(&router.socket(), &format!("route load {}", file.display()));
    assert_eq!(outcome.errors, format!("carpool: {}:2: expected an address at the end\n", file.display()));
    assert_eq!(outcome.code, 2);
    assert!(router.stop().loads.is_empty());
}

#[test]
fn paths_are_added_replaced_and_shown() {
    let router = FakeRouter::start(Limits::default());
    let path = "path add 203.0.113.0/24 hops 192.0.2.2 198.51.100.7";
    assert_eq!(done(&router, path), "");
    assert_eq!(done(&router, &format!("{path} --json")), "{\"replaced\":true}\n");
    assert_eq!(
        done(&router, "path show"),
        "\
prefix          hops                      pooled to  source  why not
203.0.113.0/24  192.0.2.2 > 198.51.100.7  -          socket  none of its hops is a peer
"
    );
    assert_eq!(done(&router, "path del 203.0.113.0/24"), "");
    assert_eq!(router.stop().paths, []);
}

#[test]
fn peers_are_added_and_deleted() {
    let router = FakeRouter::start(Limits::default());
    assert_eq!(done(&router, "peer add east address 198.51.100.7 alias 10.0.0.2,10.0.0.3"), "");
    assert_eq!(done(&router, "peer add west address 198.51.100.8"), "");
    assert_eq!(done(&router, "peer del west"), "");
    let gone = carpool(&router.socket(), "peer del west");
    assert_eq!((gone.code, gone.errors.as_str()), (1, "carpool: there is no peer \"west\"\n"));
    let peers = router.stop().peers;
    let peers: Vec<_> = peers.iter().map(|peer| (peer.name.as_str(), peer.alias.len())).collect();
    assert_eq!(peers, [("east", 2)]);
}

#[test]
fn streams_are_added_shown_and_deleted() {
    let router = FakeRouter::start(Limits::default());
    let more = "peer east source 10.0.0.9:16384 destination 203.0.113.9:20000 dscp ef ttl 64";
    for id in [7, 8] {
        assert_eq!(done(&router, &format!("stream add {id} {more}")), "");
    }
    assert_eq!(
        done(&router, "stream show east"),
        "\
id  peer  source          destination        dscp  ttl  put by  why whole
 7  east  10.0.0.9:16384  203.0.113.9:20000  ef     64  socket  -
 8  east  10.0.0.9:16384  203.0.113.9:20000  ef     64  socket  -
"
    );
    assert_eq!(done(&router, "stream show west"), "");
    assert_eq!(done(&router, "stream del 7 peer east"), "");
    let gone = carpool(&router.socket(), "stream del 7 peer east");
    assert_eq!((gone.code, gone.errors.as_str()), (1, "carpool: there is no stream 7 of peer \"east\"\n"));
    let wrong = carpool(&router.socket(), "stream add 9 peer east");
    assert_eq!((wrong.code, wrong.errors.as_str()), (2, "carpool: expected source ADDRESS:PORT\n"));
    let streams = router.stop().streams;
    assert_eq!(streams.iter().map(|stream| stream.id).collect::<Vec<_>>(), [8]);
}

#[test]
fn templates_are_added_shown_and_deleted() {
    let router = FakeRouter::start(Limits::default());
    assert_eq!(done(&router, "template add 7 60 200B"), "");
    assert_eq!(done(&router, "template add 8 1200 --json"), "{}\n");
    assert_eq!(
        done(&router, "template"),
        "\
id  lengths   named by rules  source
 7  60B 200B  -               socket
 8  1200B     -               socket
"
    );
    assert_eq!(done(&router, "template del 7"), "");
    let gone = carpool(&router.socket(), "template del 7");
    assert_eq!((gone.code, gone.errors.as_str()), (1, "carpool: there is no template 7\n"));
    assert_eq!(carpool(&router.socket(), "template add 0 60").code, 2);
    assert_eq!(router.stop().templates.iter().map(|template| template.id).collect::<Vec<_>>(), [8]);
}

#[test]
fn rules_and_neighbors_are_added_and_shown() {
    let router = FakeRouter::start(Limits::default());
    let rule = "rule add voice match udp port 16384-32767 dscp ef max-size 300B window 2ms";
    assert_eq!(done(&router, rule), "");
    assert_eq!(
        done(&router, "rule show"),
        "\
position  name   match                         max-size  window  max-count  shared-hops  more  source
       0  voice  udp port 16384-32767 dscp ef      300B     2ms        255            -  -     socket
"
    );
    let again = carpool(&router.socket(), rule);
    assert_eq!((again.code, again.errors.as_str()), (1, "carpool: rule \"voice\" is there already\n"));
    assert_eq!(done(&router, "rule del voice"), "");

    assert_eq!(done(&router, "neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev p0"), "");
    assert_eq!(
        done(&router, "neigh"),
        "\
address    mac                port  state   age
192.0.2.9  02:00:00:00:00:09  p0    static    -
"
    );
    assert_eq!(done(&router, "neigh del 192.0.2.9"), "");
}

#[test]
fn statistics_name_the_drops() {
    let router = FakeRouter::start(Limits::default());
    assert!(done(&router, "stats").contains("balanced: 3 = 3, every packet is accounted for\n"));
    assert!(done(&router, "stats --drops").contains("no_route        2  No prefix covers the destination.\n"));
    let json: serde_json::Value = serde_json::from_str(&done(&router, "stats --drops --json")).expect("JSON");
    assert_eq!(json["total"]["drops"]["no_route"], 2);
    assert_eq!(json["total"]["balanced"], true);
    assert_eq!(json["workers"][0]["in"], 3);
}

#[test]
fn stages_are_what_was_measured_between_two_questions() {
    let router = FakeRouter::start(Limits::default());
    let text = done(&router, "stats --stages --seconds 0.1");
    assert!(text.starts_with("worker 0: 5 packets in, 5 out in 0.500 s of 0.000 GHz, 1 iterations\n"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&done(&router, "stats --stages --seconds 0.1 --json")).expect("JSON");
    assert_eq!(json["workers"][0]["ticks"]["lookup"], 400);
    assert_eq!(carpool(&router.socket(), "stats --seconds 2").code, 2, "a time is of no use without --stages");
    // A second more, so that they measure to the end.
    assert_eq!(router.stop().stages_asked, [1100; 4]);
}

#[test]
fn every_object_can_be_shown_as_one_line_of_json() {
    let router = FakeRouter::start(Limits::default());
    for line in [
        "route show",
        "lookup 203.0.113.9",
        "port show",
        "neighbor show",
        "rule show",
        "path show",
        "peer show",
        "stream show",
        "template show",
        "pool show",
        "stats",
        "version",
    ] {
        let output = done(&router, &format!("{line} --json"));
        assert_eq!(output.lines().count(), 1, "carpool {line} --json");
        serde_json::from_str::<serde_json::Value>(&output).unwrap_or_else(|error| panic!("{line}: {error}"));
        done(&router, line);
    }
}

#[test]
fn what_is_watched_is_shown_again_and_ends_with_its_reader() {
    let router = FakeRouter::start(Limits::default());
    let mut child =
        command(&router.socket(), "version --json --watch 0.1").stdout(Stdio::piped()).spawn().expect("carpool runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for _ in 0..3 {
        let line = lines.next().expect("it goes on").expect("text");
        assert_eq!(line, "{\"version\":\"0.1.0\",\"dpdk\":\"22.11\"}");
    }
    drop(lines);
    let status = child.wait().expect("carpool ends when nobody reads it any more");
    assert_eq!(status.code(), Some(0));
}
