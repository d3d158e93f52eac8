//! What clients may do to the server, and what it does to them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use carpool_control::api::{Limits, Server, ServerError};
use serde_json::{Value, json};

use crate::dead_socket;
use crate::fake_router::{Directory, FakeRouter, Silent, State, listen};

/// A client that speaks for itself.
struct RawClient {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl RawClient {
    fn connect(socket: &Path) -> RawClient {
        let stream = UnixStream::connect(socket).expect("the server accepts");
        // A test that would hang fails.
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        RawClient { stream, reader }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// The next answer; None where the server has closed the connection.
    fn answer(&mut self) -> Option<Value> {
        let mut line = Vec::new();
        match self.reader.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_slice(&line).expect("an answer is JSON")),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    fn ask(&mut self, request: Value) -> Value {
        self.send(format!("{request}\n").as_bytes());
        self.answer().expect("an answer")
    }

    fn error(&mut self) -> (i64, String) {
        let answer = self.answer().expect("an answer");
        (answer["error"]["code"].as_i64().expect("a code"), answer["error"]["message"].as_str().expect("text").into())
    }
}

const VERSION: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\n";

#[test]
fn a_request_is_answered_under_its_id() {
    let router = FakeRouter::start(Limits::default());
    let mut client = RawClient::connect(&router.socket());
    assert_eq!(
        client.ask(json!({"jsonrpc": "2.0", "id": "a", "method": "version"})),
        json!({"jsonrpc": "2.0", "id": "a", "result": {"version": "0.1.0", "dpdk": "22.11"}})
    );
    assert_eq!(
        client.ask(json!({"jsonrpc": "2.0", "id": 2, "method": "route_del", "params": {"prefix": "10.0.0.0/8"}})),
        json!({"jsonrpc": "2.0", "id": 2, "error": {"code": -32001, "message": "route 10.0.0.0/8: there is none"}})
    );
}

#[test]
fn an_answer_may_come_later_than_the_call() {
    let router = FakeRouter::start(Limits::default());
    let mut client = RawClient::connect(&router.socket());
    let answer = client.ask(json!({"jsonrpc": "2.0", "id": 1, "method": "pool_show"}));
    assert_eq!(answer["result"]["open"], json!([]));
}

#[test]
fn answers_come_in_the_order_of_the_requests_however_the_bytes_arrive() {
    let router = FakeRouter::start(Limits::default());
    let mut client = RawClient::connect(&router.socket());
    let mut bytes = Vec::new();
    for id in 0..50 {
        let method = if id % 3 == 0 { "pool_show" } else { "version" };
        bytes.extend(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\"}}\n \n").bytes());
    }
    let mut rest = bytes.as_slice();
    for length in (1..).map(|i| i % 97) {
        let (part, later) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        client.send(part);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    for id in 0..50 {
        assert_eq!(client.answer().expect("an answer")["id"], json!(id));
    }
}

#[test]
fn a_notification_is_carried_out_and_not_answered() {
    let router = FakeRouter::start(Limits::default());
    let mut client = RawClient::connect(&router.socket());
    let params = json!({"prefix": "10.0.0.0/8", "blackhole": true});
    client.send(format!("{}\n", json!({"jsonrpc": "2.0", "method": "route_add", "params": params})).as_bytes());
    client.send(b"{\"jsonrpc\":\"2.0\",\"method\":\"nothing\"}\n");
    let answer = client.ask(json!({"jsonrpc": "2.0", "id": 1, "method": "route_show"}));
    assert_eq!((&answer["id"], &answer["result"]["total"]), (&json!(1), &json!(1)));
}

#[test]
fn garbage_is_answered_and_the_connection_goes_on() {
    let router = FakeRouter::start(Limits::default());
    let mut client = RawClient::connect(&router.socket());
    client.send(b"\xff\x00garbage\n");
    assert_eq!(client.error().0, -32700);
    client.send(b"[]\n");
    assert_eq!(client.error().0, -32600);
    client.send(VERSION);
    assert_eq!(client.answer().expect("an answer")["id"], json!(1));
}

#[test]
fn half_a_line_at_the_end_is_forgotten() {
    let router = FakeRouter::start(Limits::default());
    let mut client = RawClient::connect(&router.socket());
    client.send(VERSION);
    client.send(
        b"{\"jsonrpc\":\"2.0\",\"method\":\"route_add\",\"params\":{\"prefix\":\"10.0.0.0/8\",\"blackhole\":true}}",
    );
    client.stream.shutdown(Shutdown::Write).expect("the write side closes");
    assert!(client.answer().is_some());
    assert_eq!(client.answer(), None);
    assert!(router.stop().routes.is_empty(), "half a line was carried out");
}

#[test]
fn a_line_that_is_too_long_is_answered_and_the_connection_closed() {
    let router = FakeRouter::start(Limits { line_bytes: 1000, ..Limits::default() });
    let mut fits = VERSION.strip_suffix(b"\n").expect("a line").to_vec();
    fits.resize(1000, b' ');
    let mut client = RawClient::connect(&router.socket());
    client.send(&[fits.as_slice(), b"\n"].concat());
    assert_eq!(client.answer().expect("an answer")["id"], json!(1), "a line of exactly the bound is served");
    client.send(&[fits.as_slice(), b" \n"].concat());
    assert_eq!(client.error(), (-32014, "a request is at most 1000 bytes long".to_owned()));
    assert_eq!(client.answer(), None);

    let mut endless = RawClient::connect(&router.socket());
    endless.send(&[b'x'; 1001]);
    assert_eq!(endless.error().0, -32014, "a line is refused before it ends");
}

#[test]
fn a_client_too_many_is_told_so_and_served_when_another_has_left() {
    let router = FakeRouter::start(Limits { clients: 2, ..Limits::default() });
    let mut clients: Vec<RawClient> = (0..2).map(|_| RawClient::connect(&router.socket())).collect();
    for client in &mut clients {
        client.send(VERSION);
        assert!(client.answer().is_some());
    }
    let mut third = RawClient::connect(&router.socket());
    assert_eq!(third.error(), (-32013, "2 clients are connected, and no more are served".to_owned()));
    assert_eq!(third.answer(), None);

    let mut leaving = clients.pop().expect("two clients");
    leaving.stream.shutdown(Shutdown::Write).expect("the write side closes");
    assert_eq!(leaving.answer(), None);
    // The server closes a connection just before it counts it as gone.
    let served = (0..10_000).any(|_| {
        let mut client = RawClient::connect(&router.socket());
        let sent = client.stream.write_all(VERSION);
        let answer = client.answer();
        sent.is_ok() && answer.is_some_and(|answer| answer.get("result").is_some())
    });
    assert!(served, "the place of a client that left is not given to another");
}

#[test]
fn a_silent_client_is_cut_off() {
    let router = FakeRouter::start(Limits { idle: Duration::from_millis(50), ..Limits::default() });
    let mut client = RawClient::connect(&router.socket());
    assert_eq!(client.error(), (-32015, "no request came for 0.05 s".to_owned()));
    assert_eq!(client.answer(), None);
}

#[test]
fn a_client_that_trickles_its_request_is_cut_off() {
    let line_time = Duration::from_millis(50);
    let router = FakeRouter::start(Limits { line_time, ..Limits::default() });
    let mut client = RawClient::connect(&router.socket());
    let mut trickle = client.stream.try_clone().expect("a descriptor");
    // Each byte comes well within the bound, the line does not.
    let trickling = std::thread::spawn(move || {
        while trickle.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    assert_eq!(client.error(), (-32015, "a request took longer than 0.05 s to arrive".to_owned()));
    assert_eq!(client.answer(), None);
    trickling.join().expect("the client's thread did not panic");
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let line_time = Duration::from_millis(50);
    let router = FakeRouter::start(Limits { line_time, ..Limits::default() });
    let mut client = RawClient::connect(&router.socket());
    client.stream.set_write_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    // Its answers fill the socket's buffers, the server stops reading, and then hangs up.
    while client.stream.write_all(VERSION).is_ok() {}
    let mut rest = Vec::new();
    let _ = client.reader.read_to_end(&mut rest);
    assert!(rest.len() > VERSION.len(), "it was served until then");
    let mut other = RawClient::connect(&router.socket());
    other.send(VERSION);
    assert!(other.answer().is_some(), "others are served all the same");
}

#[test]
fn a_command_whose_client_was_told_that_nothing_was_done_is_never_carried_out() {
    let directory = Directory::new();
    let command_time = Duration::from_millis(20);
    let (_server, calls) = listen(&directory.socket(), Limits { command_time, ..Limits::default() });
    let mut client = RawClient::connect(&directory.socket());
    let params = json!({"prefix": "10.0.0.0/8", "blackhole": true});
    let request = json!({"jsonrpc": "2.0", "id": 2, "method": "route_add", "params": params});
    client.send(format!("{request}\n").as_bytes());
    let (code, message) = client.error();
    assert_eq!((code, message.as_str()), (-32011, "the router did not get to it within 0.02 s; nothing was done"));
    let mut state = State::default();
    calls.recv().expect("the call is still in the queue").serve(&mut state);
    assert!(state.routes.is_empty());
}

#[test]
fn a_dropped_call_is_an_error_to_its_client() {
    let directory = Directory::new();
    let (_server, calls) = listen(&directory.socket(), Limits::default());
    let mut client = RawClient::connect(&directory.socket());
    client.send(VERSION);
    drop(calls.recv().expect("a call"));
    assert_eq!(client.error(), (-32012, "the router is stopping".to_owned()));
    drop(calls);
    client.send(VERSION);
    assert_eq!(client.error().0, -32012);
}

#[test]
fn stopping_does_not_wait_for_clients_or_for_answers() {
    let directory = Directory::new();
    let (server, calls) = listen(&directory.socket(), Limits::default());
    let idle = RawClient::connect(&directory.socket());
    let mut waiting = RawClient::connect(&directory.socket());
    waiting.send(VERSION);
    let call = calls.recv().expect("a call");
    drop(server);
    let told = waiting.answer();
    assert!(told.is_none_or(|answer| answer["error"]["code"] == json!(-32012)));
    assert!(!directory.socket().exists(), "the socket file is still there");
    drop((idle, call));
}

#[test]
fn a_table_of_routes_is_seen_all_at_once() {
    let router = FakeRouter::start(Limits { load_routes: 3, ..Limits::default() });
    let mut client = RawClient::connect(&router.socket());
    let mut call = |method: &str, params: Value| {
        client.ask(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    };
    let id = call("route_load_begin", json!({}))["result"]["id"].clone();
    let routes = json!([["10.0.0.0/8", "192.0.2.1"], ["10.1.0.0/16", "blackhole"]]);
    assert_eq!(call("route_load_chunk", json!({"id": id, "routes": routes}))["result"], json!({}));
    assert_eq!(call("route_show", json!({}))["result"]["total"], json!(0));
    assert_eq!(call("route_load_chunk", json!({"id": id, "routes": routes}))["error"]["code"], json!(-32003));
    let committed = call("route_load_commit", json!({"id": id, "replace": true}));
    assert_eq!(committed["result"], json!({"routes": 2, "changed": 2, "seconds": 0.5}));
    assert_eq!(call("route_load_commit", json!({"id": id}))["error"]["code"], json!(-32001));
    assert_eq!(call("route_show", json!({}))["result"]["total"], json!(2));
    drop(client);
    assert_eq!(router.stop().loads, [(2, true)]);
}

#[test]
fn only_owner_and_group_may_open_the_socket() {
    let router = FakeRouter::start(Limits::default());
    let mode = std::fs::metadata(router.socket()).expect("a socket file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o660);
}

#[test]
fn the_socket_of_a_living_router_is_left_alone_and_that_of_a_dead_one_replaced() {
    let directory = Directory::new();
    let socket = directory.socket();
    dead_socket(&socket);
    assert!(socket.exists(), "a closed socket leaves its file");
    let (server, _calls) = listen(&socket, Limits::default());

    let second = Server::listen(&socket, Limits::default(), std::sync::Arc::new(Silent));
    let Err(error @ ServerError::InUse(_)) = second else { panic!("two routers listen at {}", socket.display()) };
    assert_eq!(error.to_string(), format!("control socket {}: another router answers there", socket.display()));
    assert!(socket.exists(), "the refused router took the file with it");
    drop(server);
    assert!(!socket.exists());
}

#[test]
fn a_file_that_is_no_socket_is_never_removed() {
    let directory = Directory::new();
    std::fs::write(directory.socket(), "precious").expect("a file");
    let refused = Server::listen(&directory.socket(), Limits::default(), std::sync::Arc::new(Silent));
    assert!(matches!(refused, Err(ServerError::NotASocket(_))));
    assert_eq!(std::fs::read(directory.socket()).expect("the file"), b"precious");
}

#[test]
fn the_directory_of_the_socket_is_made() {
    let directory = Directory::new();
    let socket = directory.0.join("carpool").join("control.sock");
    let (_server, _calls) = listen(&socket, Limits::default());
    assert!(socket.exists());
    let too_deep = directory.0.join("not").join("there").join("control.sock");
    assert!(Server::listen(&too_deep, Limits::default(), std::sync::Arc::new(Silent)).is_err());
}

#[test]
fn a_later_router_keeps_the_file_when_an_earlier_one_ends() {
    let directory = Directory::new();
    let (first, _first_calls) = listen(&directory.socket(), Limits::default());
    std::fs::remove_file(directory.socket()).expect("an operator removes the file");
    let (_second, _second_calls) = listen(&directory.socket(), Limits::default());
    drop(first);
    assert!(directory.socket().exists(), "the first router removed the second one's socket");
}
