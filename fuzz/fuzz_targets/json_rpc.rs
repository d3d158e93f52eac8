//! A line from the control socket: whatever it is, it is answered with one line of valid JSON, or is a request.
#![no_main]

use carpool_control::api::json_rpc::{answer_line, parse_line};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    if let Err(rejected) = parse_line(line)
        && let Some(id) = rejected.id
    {
        let answer = answer_line::<()>(&id, Err(&rejected.error));
        assert_eq!(answer.iter().filter(|byte| **byte == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&answer).expect("the answer is JSON");
        assert_eq!(value["id"], id, "it names the request it is about");
    }
});
