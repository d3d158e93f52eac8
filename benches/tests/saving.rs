//! `scripts/bench saving` end to end, as short as it goes, as root: not to measure, but to see that every packet is accounted for and that
//! pooled there are as many fewer as share a pooled packet.

use std::process::{Command, Output};

use serde_json::Value;

/// Stream packets a second.
const LOAD: f64 = 20_000.0;

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carpool-bench"));
    command.arg("saving").args(arguments).output().expect("the benchmark can be started")
}

#[test]
fn pooled_packets_pass_an_ordinary_router_for_all_that_are_in_them() {
    let output = bench(&["--json", "--load", &LOAD.to_string(), "--seconds", "0.1", "--runs", "1"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let figures: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let value = |case: &str, contender: &str, unit: &str| {
        let of = |figure: &&Value| {
            figure["bench"] == "saving"
                && figure["case"] == case
                && figure["contender"] == contender
                && figure["unit"] == unit
        };
        let figure = figures.iter().find(of).unwrap_or_else(|| panic!("{case}: {contender} has no {unit}"));
        figure["value"].as_f64().unwrap_or_else(|| panic!("{figure}"))
    };
    // All pooled packets are full.
    for (size, rows) in [(60, 22.0), (200, 7.0), (300, 4.0)] {
        let case = format!("steady_{size}");
        for (contender, rows) in [("unpooled", 1.0), ("pooled", rows)] {
            let [offered, lost, forwarded] =
                ["stream packets/s", "% lost", "packets/s"].map(|unit| value(&case, contender, unit));
            assert!(offered > 0.0, "{case}: {contender}");
            let expected = LOAD / rows * (1.0 - lost / 100.0);
            assert!((forwarded / expected - 1.0).abs() < 0.01, "{case}: {contender}: {forwarded}, not {expected}");
            assert!(value(&format!("plateau_{size}"), contender, "M stream packets/s") > 0.0);
            assert!(value(&format!("limit_{size}"), contender, "M stream packets/s") >= 0.0);
        }
    }
}

#[test]
fn what_it_cannot_do_it_says_in_a_sentence() {
    for (arguments, expected) in [
        (["--size", "301"], "301 is not in 46..=300"),
        (["--load", "999"], "999 is not in 1000..=500000"),
        (["--core", "4095"], "CPU 4095 is not one this process may run on"),
    ] {
        let output = bench(&arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains(expected), "{arguments:?}: {message}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(output.stdout.is_empty());
    }
}
