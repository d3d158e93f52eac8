//! docs/control-socket.md says what is so: its requests are accepted, its replies are those of the types, and no method
//! or error code is left out.

use carpool_control::api::command::{Command, Method};
use carpool_control::api::json_rpc::{Code, parse_line};
use carpool_control::api::lookup::Lookup;
use carpool_control::api::multicast::{MulticastDel, MulticastRoute, MulticastShow};
use carpool_control::api::neighbor::{NeighborAdd, NeighborDel, NeighborShow};
use carpool_control::api::overlay::{OverlayDel, OverlayRoute, OverlayShow};
use carpool_control::api::path::{PathAdd, PathDel, PathShow};
use carpool_control::api::peer::{PeerAdd, PeerDel, PeerShow};
use carpool_control::api::pool::PoolShow;
use carpool_control::api::port::PortShow;
use carpool_control::api::route::{RouteAdd, RouteDel, RouteShow};
use carpool_control::api::route_load::{LoadStep, RouteLoadBegin, RouteLoadChunk, RouteLoadCommit};
use carpool_control::api::rule::{RuleAdd, RuleDel, RuleShow};
use carpool_control::api::stages::StagesShow;
use carpool_control::api::stats::StatsShow;
use carpool_control::api::status::{StatusShow, VersionShow};
use carpool_control::api::stream::{Stream, StreamDel, StreamShow};
use carpool_control::api::template::{TemplateAdd, TemplateDel, TemplateShow};
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../docs/control-socket.md");

/// Every example: the request and its reply.
fn examples() -> Vec<(&'static str, Value)> {
    let mut lines = DOCUMENT.lines();
    let mut examples = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(request) = line.strip_prefix("> ") {
            let reply = lines.next().and_then(|line| line.strip_prefix("< ")).expect("a reply follows each request");
            examples.push((request, serde_json::from_str(reply).unwrap_or_else(|error| panic!("{reply}: {error}"))));
        }
    }
    examples
}

#[test]
fn every_request_in_the_document_is_accepted() {
    for (request, reply) in examples() {
        let parsed = parse_line(request.as_bytes()).unwrap_or_else(|rejected| panic!("{request}: {rejected:?}"));
        assert_eq!(parsed.id.as_ref(), Some(&reply["id"]), "{request}");
    }
}

/// Checks that a method's examples have all of a reply's keys and no other.
fn check_replies<M: Method>() {
    let examples = examples();
    let method = Value::from(M::NAME);
    let mut results = examples
        .iter()
        .filter(|(request, _)| serde_json::from_str::<Value>(request).expect("JSON")["method"] == method)
        .filter_map(|(_, reply)| reply.get("result"))
        .peekable();
    assert!(results.peek().is_some(), "{}: no example", M::NAME);
    for result in results {
        let reply: M::Reply =
            serde_json::from_value(result.clone()).unwrap_or_else(|error| panic!("{}: {error}", M::NAME));
        assert_eq!(&serde_json::to_value(&reply).expect("serializable"), result, "{}", M::NAME);
    }
}

#[test]
fn every_reply_in_the_document_is_one_that_the_router_gives() {
    check_replies::<RouteAdd>();
    check_replies::<RouteDel>();
    check_replies::<RouteShow>();
    check_replies::<RouteLoadBegin>();
    check_replies::<RouteLoadChunk>();
    check_replies::<RouteLoadCommit>();
    check_replies::<Lookup>();
    check_replies::<PortShow>();
    check_replies::<NeighborShow>();
    check_replies::<NeighborAdd>();
    check_replies::<NeighborDel>();
    check_replies::<RuleAdd>();
    check_replies::<RuleDel>();
    check_replies::<RuleShow>();
    check_replies::<PathAdd>();
    check_replies::<PathDel>();
    check_replies::<MulticastRoute>();
    check_replies::<MulticastDel>();
    check_replies::<MulticastShow>();
    check_replies::<OverlayRoute>();
    check_replies::<OverlayDel>();
    check_replies::<OverlayShow>();
    check_replies::<PathShow>();
    check_replies::<PeerAdd>();
    check_replies::<PeerDel>();
    check_replies::<PeerShow>();
    check_replies::<Stream>();
    check_replies::<StreamDel>();
    check_replies::<StreamShow>();
    check_replies::<TemplateAdd>();
    check_replies::<TemplateDel>();
    check_replies::<TemplateShow>();
    check_replies::<PoolShow>();
    check_replies::<StatsShow>();
    check_replies::<StagesShow>();
    check_replies::<StatusShow>();
    check_replies::<VersionShow>();
}

#[test]
fn every_method_and_every_error_code_is_in_the_document() {
    for method in Command::METHODS.iter().chain(LoadStep::METHODS) {
        let heading = DOCUMENT.lines().any(|line| line.starts_with("### ") && line.contains(method));
        assert!(heading, "{method} has no heading");
        assert!(DOCUMENT.contains(&format!("\"method\":\"{method}\"")), "{method} has no example");
    }
    for code in Code::ALL {
        assert!(DOCUMENT.contains(&format!("| {} |", *code as i32)), "{code:?} is not in the table");
    }
}
