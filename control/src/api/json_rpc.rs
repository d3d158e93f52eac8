//! JSON-RPC 2.0 on a line: requests out of bytes, answers into bytes. Pure.
//!
//! No bytes make it panic, and every answer is one line of valid JSON. Batches (arrays) and parameters by position are
//! refused: a client that wants several answers sends several lines.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::call::{NoAnswer, Refusal, RefusalKind};
use super::command::Command;
use super::route_load::LoadStep;

/// The longest `id` that is sent back, in bytes of JSON.
const ID_MAX: usize = 128;

/// Error codes: those of JSON-RPC 2.0, section 5.1, and our own from -32000 down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// The line is not JSON.
    Parse = -32700,
    /// The line is not a request.
    InvalidRequest = -32600,
    /// There is no such method.
    MethodNotFound = -32601,
    /// The parameters are not those of the method.
    InvalidParams = -32602,
    /// The answer cannot be written as JSON.
    Internal = -32603,
    /// Refused: it contradicts the router's state or configuration.
    Conflict = -32000,
    /// Refused: what it is about is not there.
    NotFound = -32001,
    /// Refused: it is there already.
    Exists = -32002,
    /// Refused: there is no room for more.
    Limit = -32003,
    /// The control thread has too many requests waiting; nothing was done.
    Busy = -32010,
    /// The control thread did not answer in time.
    Timeout = -32011,
    /// The router is stopping.
    Stopping = -32012,
    /// Too many clients are connected; the connection is closed.
    TooManyClients = -32013,
    /// The line is too long; the connection is closed.
    LineTooLong = -32014,
    /// No request came for too long, or one took too long to arrive; the connection is closed.
    Idle = -32015,
}

impl Code {
    /// All of them.
    pub const ALL: &'static [Code] = &[
        Code::Parse,
        Code::InvalidRequest,
        Code::MethodNotFound,
        Code::InvalidParams,
        Code::Internal,
        Code::Conflict,
        Code::NotFound,
        Code::Exists,
        Code::Limit,
        Code::Busy,
        Code::Timeout,
        Code::Stopping,
        Code::TooManyClients,
        Code::LineTooLong,
        Code::Idle,
    ];
}

/// An error, as it stands in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpcError {
    /// What kind of error; see [`Code`].
    pub code: i32,
    /// One sentence for people.
    pub message: String,
}

impl RpcError {
    /// An error of this kind.
    pub fn new(code: Code, message: impl Into<String>) -> RpcError {
        RpcError { code: code as i32, message: message.into() }
    }
}

impl From<Refusal> for RpcError {
    fn from(refusal: Refusal) -> RpcError {
        let code = match refusal.kind {
            RefusalKind::Conflict => Code::Conflict,
            RefusalKind::NotFound => Code::NotFound,
            RefusalKind::Exists => Code::Exists,
            RefusalKind::Limit => Code::Limit,
        };
        RpcError::new(code, refusal.message)
    }
}

impl From<NoAnswer> for RpcError {
    fn from(reason: NoAnswer) -> RpcError {
        match reason {
            NoAnswer::Busy => RpcError::new(Code::Busy, "too many requests are waiting; nothing was done"),
            NoAnswer::NotBegun(time) => {
                let message = format!("the router did not get to it within {} s; nothing was done", time.as_secs_f64());
                RpcError::new(Code::Timeout, message)
            }
            NoAnswer::NotFinished(time) => {
                let message = format!("the router did not finish within {} s; it may do so yet", time.as_secs_f64());
                RpcError::new(Code::Timeout, message)
            }
            NoAnswer::Stopping => RpcError::new(Code::Stopping, "the router is stopping"),
        }
    }
}

/// A sound request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What the answer carries; None for a notification, which gets no answer.
    pub id: Option<Value>,
    /// What to do.
    pub operation: Operation,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Something of the control thread.
    Command(Command),
    /// A step of loading a table of routes, which the connection gathers by itself.
    Load(LoadStep),
}

/// A line that is no sound request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// What the answer carries; None for a notification, which gets no answer.
    pub id: Option<Value>,
    /// What is wrong.
    pub error: RpcError,
}

/// Reads a request from a line, with or without its end.
///
/// # Errors
/// What is wrong with it, to be answered under the id given.
pub fn parse_line(line: &[u8]) -> Result<Request, Rejected> {
    let reject = |id, code, message: String| Err(Rejected { id, error: RpcError::new(code, message) });
    let unidentified = |message: &str| reject(Some(Value::Null), Code::InvalidRequest, message.to_owned());

    let mut request: Map<String, Value> = match serde_json::from_slice(line) {
        Ok(Value::Object(request)) => request,
        Ok(Value::Array(_)) => return unidentified("batches are not supported: send one request a line"),
        Ok(_) => {
            return unidentified("expected an object such as {\"jsonrpc\":\"2.0\",\"method\":\"version\",\"id\":1}");
        }
        Err(error) => return reject(Some(Value::Null), Code::Parse, format!("not JSON: {error}")),
    };
    let id = request.remove("id");
    match &id {
        None | Some(Value::Null) => {}
        // A fraction may not come back as it was sent (JSON-RPC 2.0, section 4, advises against it, too).
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {}
        Some(Value::String(text)) if text.len() <= ID_MAX => {}
        Some(_) => return unidentified("id: expected an integer, null or a string of at most 128 bytes"),
    }
    if request.remove("jsonrpc") != Some(Value::from("2.0")) {
        return reject(id.or(Some(Value::Null)), Code::InvalidRequest, "jsonrpc: expected \"2.0\"".to_owned());
    }
    let Some(Value::String(method)) = request.remove("method") else {
        return reject(id.or(Some(Value::Null)), Code::InvalidRequest, "method: expected a string".to_owned());
    };
    let params = match request.remove("params") {
        None => Value::Object(Map::new()),
        Some(params @ Value::Object(_)) => params,
        Some(_) => return reject(id, Code::InvalidParams, format!("{method}: params: expected an object")),
    };
    if let Some(key) = request.keys().next() {
        return reject(id.or(Some(Value::Null)), Code::InvalidRequest, format!("{}: no such key", shortened(key)));
    }
    let parsed = match LoadStep::parse(&method, &params) {
        Some(step) => Some(step.map(Operation::Load)),
        None => Command::parse(&method, params).map(|command| command.map(Operation::Command)),
    };
    match parsed {
        Some(Ok(operation)) => Ok(Request { id, operation }),
        Some(Err(error)) => reject(id, Code::InvalidParams, shortened(&format!("{method}: {error}"))),
        None => reject(id, Code::MethodNotFound, format!("{}: no such method", shortened(&method))),
    }
}

/// The line that answers a request: one JSON object and a line feed.
pub fn answer_line<R: Serialize>(id: &Value, answer: Result<&R, &RpcError>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Success<'a, R> {
        jsonrpc: &'static str,
        id: &'a Value,
        result: &'a R,
    }
    #[derive(Serialize)]
    struct Failure<'a> {
        jsonrpc: &'static str,
        id: &'a Value,
        error: &'a RpcError,
    }
    let jsonrpc = "2.0";
    let line = match answer {
        Ok(result) => serde_json::to_vec(&Success { jsonrpc, id, result }),
        Err(error) => serde_json::to_vec(&Failure { jsonrpc, id, error }),
    };
    // Only maps whose keys are no strings fail, and no reply has one; a client would be told all the same.
    let mut line = line.unwrap_or_else(|error| {
        let error = RpcError::new(Code::Internal, error.to_string());
        json!({"jsonrpc": jsonrpc, "id": id, "error": error}).to_string().into_bytes()
    });
    line.push(b'\n');
    line
}

/// What of a client's text is repeated in a message: its first 200 characters.
fn shortened(text: &str) -> String {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", text.split_at_checked(end).map_or("", |(start, _)| start)),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rejected(line: &str) -> (Option<Value>, i32, String) {
        let rejected = parse_line(line.as_bytes()).expect_err("a broken request was accepted");
        (rejected.id, rejected.error.code, rejected.error.message)
    }

    #[test]
    fn a_request_becomes_a_typed_command() {
        let line = br#"{"jsonrpc":"2.0","id":7,"method":"lookup","params":{"address":"203.0.113.9"}}"#;
        let request = parse_line(line).expect("a sound request");
        assert_eq!(request.id, Some(json!(7)));
        let lookup = crate::api::lookup::Lookup { address: [203, 0, 113, 9].into() };
        assert_eq!(request.operation, Operation::Command(Command::Lookup(lookup)));
    }

    #[test]
    fn params_may_be_missing_where_none_is_needed() {
        let request = parse_line(br#"{"jsonrpc":"2.0","id":"a","method":"port_show"}"#).expect("a sound request");
        assert_eq!(request.operation, Operation::Command(Command::PortShow(Default::default())));
    }

    #[test]
    fn what_is_not_json_is_a_parse_error_without_an_id() {
        for line in ["", "{", "nonsense", "{\"jsonrpc\":\"2.0\"", "{} {}", "\u{0}"] {
            let (id, code, _) = rejected(line);
            assert_eq!((id, code), (Some(Value::Null), -32700), "{line:?}");
        }
    }

    #[test]
    fn batches_are_refused_and_told_how_to_do_it() {
        let (id, code, message) = rejected(r#"[{"jsonrpc":"2.0","id":1,"method":"version"}]"#);
        assert_eq!((id, code), (Some(Value::Null), -32600));
        assert!(message.contains("one request a line"), "{message}");
    }

    #[test]
    fn what_is_json_but_no_request_is_an_invalid_request() {
        for line in [
            "1",
            "null",
            "{}",
            r#"{"jsonrpc":"1.0","id":1,"method":"version"}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":2}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"version"}"#,
            r#"{"jsonrpc":"2.0","id":2.2517520329361105e204,"method":"version"}"#,
            r#"{"jsonrpc":"2.0","id":18446744073709551616,"method":"version"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"version","extra":1}"#,
        ] {
            assert_eq!(rejected(line).1, -32600, "{line}");
        }
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"version"}}"#, "x".repeat(129));
        assert_eq!(rejected(&long).1, -32600);
    }

    #[test]
    fn parameters_that_do_not_fit_are_named() {
        let with = |method: &str, params: &str| {
            rejected(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#))
        };
        let (id, code, message) = with("lookup", r#"{"adress":"1.2.3.4"}"#);
        assert_eq!((id, code), (Some(json!(1)), -32602));
        assert!(message.contains("lookup: unknown field `adress`"), "{message}");
        assert!(with("lookup", "{}").2.contains("missing field `address`"));
        assert!(with("lookup", r#"["1.2.3.4"]"#).2.contains("expected an object"));
        assert!(with("route_add", r#"{"prefix":"10.0.0.1/8","blackhole":true}"#).2.contains("10.0.0.0/8 was meant?"));
        assert!(with("route_add", r#"{"prefix":"10.0.0.0/8"}"#).2.contains("exactly one of via, blackhole"));
        let (_, code, message) = with("route_ad", "{}");
        assert_eq!((code, message.as_str()), (-32601, "route_ad: no such method"));
    }

    #[test]
    fn a_notification_has_no_id_even_when_it_is_wrong() {
        assert_eq!(parse_line(br#"{"jsonrpc":"2.0","method":"version"}"#).map(|request| request.id), Ok(None));
        assert_eq!(rejected(r#"{"jsonrpc":"2.0","method":"nothing"}"#).0, None);
        assert_eq!(rejected(r#"{"jsonrpc":"2.0","method":"lookup"}"#).0, None);
    }

    #[test]
    fn an_id_of_null_is_answered() {
        let request = parse_line(br#"{"jsonrpc":"2.0","id":null,"method":"version"}"#).expect("a sound request");
        assert_eq!(request.id, Some(Value::Null));
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_full_stack() {
        assert_eq!(rejected(&"[".repeat(1 << 20)).1, -32700);
        assert_eq!(rejected(&r#"{"a":"#.repeat(100_000)).1, -32700);
    }

    /// Text that is nearly a request.
    fn nearly_a_request() -> impl Strategy<Value = String> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,12}|2\\.0|[0-9./:-]{0,18}".prop_map(Value::from),
        ];
        let value = scalar.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("prefix|via|address|name|match|window_us|limit|id|routes", inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        });
        let method = prop::sample::select([Command::METHODS, LoadStep::METHODS, &["nothing", ""]].concat());
        let broken = (value.clone(), value.clone(), value.clone())
            .prop_map(|(id, method, params)| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        let whole = (value.clone(), method, value.clone())
            .prop_map(|(id, method, params)| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        let line = prop_oneof![value, broken, whole].prop_map(|value| value.to_string());
        (line, any::<Option<(prop::sample::Index, char)>>()).prop_map(|(mut line, replaced)| {
            if let Some((at, c)) = replaced {
                let at = at.index(line.len());
                if line.is_char_boundary(at) {
                    line.insert(at, c);
                }
            }
            line
        })
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_every_answer_is_one_line_of_json(
            line in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                nearly_a_request().prop_map(String::into_bytes),
            ],
        ) {
            let (id, answer) = match parse_line(&line) {
                Ok(request) => (request.id, Ok(&json!({}))),
                Err(rejected) => (rejected.id, Err(rejected.error)),
            };
            if let Some(id) = id {
                let answer = answer_line(&id, answer.as_ref().map(|reply| *reply));
                let body = answer.strip_suffix(b"\n").expect("an answer ends its line");
                prop_assert!(!body.contains(&b'\n'), "an answer is one line");
                let answer: Value = serde_json::from_slice(body).expect("an answer is JSON");
                prop_assert_eq!(&answer["id"], &id);
                prop_assert!(answer.get("result").is_some() != answer.get("error").is_some());
            }
        }
    }
}
