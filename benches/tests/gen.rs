//! carpool-gen as a program, on a ring that leads back to it: what is sent comes back, and what is asked wrongly is refused.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use carpool_benches::cpu::allowed;
use carpool_benches::interrupt::Interrupt;
use carpool_benches::turn::Turn;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A port whose packets come back to it; no router, no root, no hugepages.
const LOOP: [&str; 8] =
    ["--send", "net_ring0", "--send-address", "192.0.2.2", "--gateway", "02:00:00:00:00:01", "--memory", "no-huge"];

fn carpool_gen(action: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carpool-gen"));
    // These send to themselves: they are in nobody's way.
    command
        .args([action, "--no-turn"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A CPU that this process may use.
fn cpu() -> String {
    allowed().expect("the kernel says").first().expect("this runs on one").to_string()
}

fn output(command: &mut Command) -> Output {
    command.output().expect("carpool-gen can be run")
}

/// The answers to these commands, a line each.
fn served(commands: &[&str], arguments: &[&str]) -> Vec<Value> {
    let mut child =
        carpool_gen("serve", &[&LOOP[..], arguments].concat()).stdin(Stdio::piped()).spawn().expect("it can be run");
    let mut input = child.stdin.take().expect("it is a pipe");
    for command in commands {
        writeln!(input, "{command}").expect("it reads");
    }
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("answers are text");
    text.lines().map(|line| serde_json::from_str(line).expect("answers are JSON")).collect()
}

#[track_caller]
fn count(answer: &Value, name: &str) -> u64 {
    answer[name].as_u64().unwrap_or_else(|| panic!("no {name} in {answer}"))
}

#[test]
fn it_waits_for_another_measurement_to_end_and_says_so() {
    let turn = Turn::take(&Interrupt::default(), |_| ()).expect("it is free some time");
    let mut command = Command::new(env!("CARGO_BIN_EXE_carpool-gen"));
    command.args(["jitter", "--json", "--core", &cpu(), "--seconds", "0.1"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be run");
    let mut line = String::new();
    BufReader::new(child.stderr.take().expect("a pipe")).read_line(&mut line).expect("it speaks");
    assert!(line.starts_with("another measurement runs here"), "{line}");
    assert_eq!(child.try_wait().expect("it is ours"), None, "it waits");
    drop(turn);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && !output.stdout.is_empty(), "it has measured then");
}

#[test]
fn trials_are_answered_in_order_and_lose_nothing() {
    let answers = served(
        &[
            r#"{"trial":{"pps":20000,"seconds":0.5,"warm_up":0.1,"size":64,"flows":64,"destinations":256,"burst":null}}"#,
            "",
            "nonsense",
            r#"{"trial":{"pps":null,"seconds":1,"size":"imix","flows":3,"destinations":1000,"burst":5000}}"#,
            r#"{"trial":{"pps":0,"seconds":1,"size":64}}"#,
            r#"{"trial":{"pps":1,"seconds":1,"size":63}}"#,
            r#"{"trial":{"pps":1,"seconds":1,"size":64,"destinations":2000000}}"#,
            r#"{"trial":{"pps":50000,"seconds":0.1,"size":1518,"burst":100}}"#,
        ],
        &[],
    );
    assert_eq!(answers.len(), 7, "one for each line that is not empty");
    for (answer, sent) in [(&answers[0], None), (&answers[2], Some(5000)), (&answers[6], Some(100))] {
        // What a busy machine kept the generator from is skipped.
        assert_eq!(count(answer, "sent"), sent.unwrap_or(10_000 - count(answer, "skipped")), "{answer}");
        assert_eq!(count(answer, "received"), count(answer, "sent"), "{answer}");
        for name in ["lost", "duplicated", "reordered", "corrupted", "late", "foreign"] {
            assert_eq!(count(answer, name), 0, "{name}: {answer}");
        }
        let latency = &answer["latency_ns"];
        let quantiles: Vec<u64> = ["min", "p50", "p90", "p99", "p999", "max"].map(|name| count(latency, name)).into();
        assert!(quantiles.is_sorted() && quantiles[0] > 0, "{latency}");
        assert!(answer["histogram"].as_str().is_some_and(|text| text.len() > 20));
        assert!(answer["achieved_pps"].as_f64().is_some_and(|pps| pps > 0.0));
        assert!(answer["pooled"].is_null());
    }
    for (answer, word) in [(1, "expected"), (3, "pps 0"), (4, "64 to 1518"), (5, "2000000 destinations")] {
        let error = answers[answer]["error"].as_str().unwrap_or_else(|| panic!("no error: {}", answers[answer]));
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn where_pooled_packets_are_taken_apart_single_ones_are_counted_too() {
    let answers = served(&[r#"{"trial":{"pps":10000,"seconds":1,"size":78,"burst":1000}}"#], &["--depool"]);
    let pooled = &answers[0]["pooled"];
    let wire = 1000 * (74 + 24);
    for (name, expected) in [("packets", 0), ("rows", 0), ("lone", 1000), ("bytes_in", wire), ("bytes_out", wire)] {
        assert_eq!(count(pooled, name), expected, "{name}: {pooled}");
    }
}

#[test]
fn a_run_prints_a_table_or_one_json_object() {
    let run = ["--pps", "5000", "--seconds", "0.2", "--warm-up", "0"];
    let table = output(&mut carpool_gen("run", &[&LOOP[..], &run].concat()));
    assert!(table.status.success(), "{}", String::from_utf8_lossy(&table.stderr));
    let text = String::from_utf8_lossy(&table.stdout);
    assert!(text.lines().any(|line| line == "lost        0 (0.0000%)"), "{text}");
    let json = output(&mut carpool_gen("run", &[&LOOP[..], &run, &["--json"]].concat()));
    let findings: Value = serde_json::from_slice(&json.stdout).expect("one JSON object");
    assert_eq!(count(&findings, "sent") + count(&findings, "skipped"), 1000);
}

#[test]
fn an_interrupted_run_says_what_there_was_until_then() {
    let run = ["--pps", "1000", "--seconds", "600", "--json"];
    let mut child = carpool_gen("run", &[&LOOP[..], &run].concat()).spawn().expect("it can be run");
    // A line a second.
    let mut errors = BufReader::new(child.stderr.take().expect("it is a pipe"));
    let mut line = String::new();
    while !line.contains("sent") {
        line.clear();
        assert!(errors.read_line(&mut line).expect("it says something") > 0, "it ended by itself");
    }
    let pid = Pid::from_raw(child.id().try_into().expect("a process id"));
    kill(pid, Signal::SIGINT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    let findings: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert!(count(&findings, "sent") > 0 && count(&findings, "lost") == 0, "{findings}");
}

#[test]
fn what_cannot_be_done_is_said_in_a_sentence_and_by_the_exit_code() {
    let refused = [
        (&["--send", "net_nonsense0", "--gateway", "02:00:00:00:00:01", "--memory", "no-huge"][..], 1, "net_nonsense0"),
        (&["--send", "net_ring0", "--gateway", "192.0.2.1", "--memory", "no-huge"], 2, "--send-address"),
        (&[&LOOP[..], &["--lcores", "100000"]].concat(), 2, "core 100000"),
        (
            &[&LOOP[..], &["--size", "64", "--destinations", "5", "--destination-prefix", "198.18.0.0/31"]].concat(),
            2,
            "2 addresses",
        ),
        (&["--send", "net_ring0", "--gateway", "here"], 2, "Ethernet address"),
        (&["--gateway", "192.0.2.1"], 2, "--send"),
    ];
    for (arguments, code, word) in refused {
        let output = output(&mut carpool_gen("run", arguments));
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(word), "{arguments:?}: {error}");
    }
}

#[test]
fn a_pipe_that_nobody_reads_does_no_harm() {
    let mut child = carpool_gen("jitter", &["--core", &cpu(), "--seconds", "0.1"]).spawn().expect("it can be run");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!error.contains("panicked"), "{error}");
}

#[test]
fn gaps_are_counted_on_a_cpu_that_there_is() {
    let seen = output(&mut carpool_gen("jitter", &["--core", &cpu(), "--seconds", "0.1", "--json"]));
    assert!(seen.status.success(), "{}", String::from_utf8_lossy(&seen.stderr));
    let findings: Value = serde_json::from_slice(&seen.stdout).expect("one JSON object");
    let lengths = findings["longer_than_ns"].as_array().expect("a list");
    assert_eq!(count(&findings, "gaps"), lengths[0][1].as_u64().expect("a number"));
    let counts: Vec<u64> = lengths.iter().map(|length| length[1].as_u64().expect("a number")).collect();
    assert!(counts.is_sorted_by(|shorter, longer| shorter >= longer), "longer gaps are not rarer: {counts:?}");
    assert!(findings["share"].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)));
    assert_eq!(output(&mut carpool_gen("jitter", &["--core", "100000"])).status.code(), Some(2));
}
