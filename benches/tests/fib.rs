//! `scripts/bench fib` end to end, without hugepages and as short as it goes: not to measure, but to see that all
//! contenders give the same answers and that the figures have the shape that all figures have.

use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carpool-bench"));
    command.arg("fib").args(arguments).output().expect("the benchmark can be started")
}

fn figures(arguments: &[&str]) -> Vec<Value> {
    let output = bench(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

#[test]
fn every_contender_answers_alike_and_has_a_figure() {
    let short = ["--no-huge", "--rounds", "1", "--destinations", "50000"];
    let figures = figures(&[["--json", "--case", "prefix", "--case", "memory"].as_slice(), &short].concat());
    let has = |bench: &str, contender: &str, unit: &str| {
        let figure = figures
            .iter()
            .find(|figure| figure["bench"] == bench && figure["contender"] == contender && figure["unit"] == unit);
        let figure = figure.unwrap_or_else(|| panic!("{contender} has no {unit} in {bench}"));
        for key in ["value", "min", "max"] {
            assert!(figure[key].as_f64().is_some_and(|value| value > 0.0), "{figure}");
        }
        assert_eq!(figure["runs"], 1, "{figure}");
        figure
    };
    let expected = [
        ("fib4", ["carpool", "carpool-all-lengths", "rte_fib", "prefix-trie", "treebitmap"].as_slice()),
        ("fib6", ["carpool", "carpool-all-lengths", "rte_fib6", "rte_lpm6", "prefix-trie", "treebitmap"].as_slice()),
    ];
    for (bench, contenders) in expected {
        for contender in contenders {
            assert_eq!(has(bench, contender, "Mlps")["case"], "prefix");
        }
    }
    assert!(has("fib4", "rte_fib", "Mlps")["lookup"].is_string());
    assert_eq!(has("fib4", "carpool/rte_fib", "ratio")["target"]["at_least"], 2.2);
    assert_eq!(has("fib4", "carpool", "MB")["target"]["at_most"], 6.0);
}

#[test]
fn what_it_cannot_do_it_says_in_a_sentence() {
    for (arguments, expected) in [
        (["--case", "fast"], "there is no such case; there are uniform"),
        (["--only", "v5"], "possible values: v4, v6"),
        (["--rounds", "0"], "0 is not in 1..=1000"),
        (["--core", "4095"], "CPU 4095 is not one this process may run on"),
    ] {
        let output = bench(&arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains(expected), "{arguments:?}: {message}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(output.stdout.is_empty());
    }
}
