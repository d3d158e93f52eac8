//! `scripts/loadtest` end to end, as short as it goes and without hugepages: not to measure, but to see that a report is
//! complete, and that its figures agree with each other and with what the router counted.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use carpool_tests::lab::Alone;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;

const SHORT: [&str; 12] = [
    "--quick",
    "--sizes",
    "64",
    "--seconds",
    "0.1",
    "--warm-up",
    "0.05",
    "--resolution",
    "50",
    "--line",
    "0.02",
    "--json",
];

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("loadtest-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("it can be made");
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn command(arguments: &[&str], temporary: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carpool-loadtest"));
    command.args(arguments).env("TMPDIR", temporary);
    command
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it is JSON")
}

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {path}: {value}"))
}

fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).unwrap_or_else(|| panic!("no list at {path}: {value}"))
}

/// What holds of every trial, however slow the machine is.
fn check_trials(report: &Value) {
    let trials = list(report, "/trials");
    assert!(!trials.is_empty());
    let mut held_up = 0;
    for trial in trials {
        // Of the first trial of a generator that is still starting nothing is known.
        held_up += usize::from(trial["held_up"].is_number());
        assert_eq!(trial["balanced"], true, "the router accounts for every packet: {trial}");
        let [sent, received, lost] = ["/sent", "/received", "/lost"].map(|path| number(trial, path));
        assert_eq!(lost, (sent - received).max(0.0), "{trial}");
        assert!((0.0..=1.0).contains(&number(trial, "/loss")), "{trial}");
        assert_eq!(number(trial, "/corrupted"), 0.0, "{trial}");
    }
    assert!(trials.iter().any(|trial| number(trial, "/received") > 0.0), "something arrived: {report}");
    let is_kept = fs::read_to_string("/proc/self/schedstat").is_ok();
    assert!(held_up >= usize::from(is_kept && trials.len() > 5), "nobody looked at how long threads wait: {report}");
}

#[test]
fn a_short_run_has_every_part_of_a_report() {
    let _alone = Alone::wait().expect("nobody else measures");
    let directory = Directory::new("report");
    let pages = directory.0.join("pages");
    let pages_argument = pages.display().to_string();
    let pools = ["--report", &pages_argument, "--windows", "2000", "--pool-loads", "20000,50%"];
    let output = command(&[SHORT.as_slice(), &pools].concat(), &directory.0).output().expect("it can be started");
    let report = report(&output);
    check_trials(&report);

    let found = &list(&report, "/throughput")[0];
    assert_eq!(found["size"], 64);
    for limit in ["pdr", "ndr"] {
        let limit = &found[limit];
        match (limit["pps"].as_f64(), limit["fails_at_pps"].as_f64()) {
            (Some(pps), Some(fails)) => assert!(pps < fails, "{limit}"),
            (Some(pps), None) | (None, Some(pps)) => assert!(pps > 0.0, "{limit}"),
            (None, None) => panic!("a search ends with something: {limit}"),
        }
        assert!(["loss", "offer", "line"].contains(&limit["limited_by"].as_str().unwrap_or("")), "{limit}");
    }
    assert!(!list(found, "/loss").is_empty(), "{found}");
    assert!(number(found, "/back_to_back/searches") >= 1.0);
    if let Some(pdr) = found["pdr"]["pps"].as_f64() {
        // Where a limit is so low that nothing was sent at a tenth of it, nothing can be said of that.
        let trials = || list(&report, "/trials").iter().filter(|trial| trial["purpose"] == "latency");
        assert_eq!(trials().count(), 3);
        let told = trials().filter(|trial| trial.get("latency_ns").is_some()).count();
        assert_eq!(list(found, "/latency").len(), told);
        assert!(trials().filter(|trial| number(trial, "/received") > 0.0).count() <= told, "{report}");
        for at in list(found, "/latency") {
            assert!(number(at, "/pps") < pdr, "{at}");
            let percentiles =
                ["min", "p50", "p90", "p99", "p999", "max"].map(|name| number(&at["latency_ns"], &format!("/{name}")));
            assert!(percentiles.is_sorted(), "{at}");
        }
    }
    let pools = &list(&report, "/pools")[0];
    assert_eq!(pools["ip_bytes"], 60);
    for point in list(pools, "/points") {
        assert_eq!(point["window_us"], 2000);
        // 22 rows of 60 B in 1500 B.
        assert!((1.0..=22.0).contains(&number(point, "/ratio")), "{point}");
        assert!(number(point, "/saved") < 0.5, "{point}");
    }
    assert_eq!(report["complete"], true, "{report}");
    for (path, what) in
        [("/machine/cpu", "the processor"), ("/bench/ports", "the ports"), ("/bench/router/dpdk", "DPDK's version")]
    {
        assert!(report.pointer(path).and_then(Value::as_str).is_some_and(|text| !text.is_empty()), "{what} is named");
    }
    assert!(report["jitter"].is_object(), "an empty loop was looked at");

    let page = fs::read_to_string(pages.join("index.html")).expect("there is a page");
    let markdown = fs::read_to_string(pages.join("report.md")).expect("there is a report in Markdown");
    let plots: Vec<String> = fs::read_dir(&pages)
        .expect("there are pages")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".svg"))
        .collect();
    assert!(plots.iter().any(|name| name == "throughput.svg"), "{plots:?}");
    for plot in &plots {
        assert!(page.contains(plot) && markdown.contains(plot), "{plot} is shown");
    }
    drop(fs::remove_dir_all(&pages));
    let left: Vec<_> = fs::read_dir(&directory.0).expect("it is there").flatten().collect();
    assert!(left.is_empty(), "nothing of the run is left: {left:?}");
}

#[test]
fn testpmd_makes_load_as_well() {
    let _alone = Alone::wait().expect("nobody else measures");
    let directory = Directory::new("testpmd");
    let output = command(&[["--generator", "testpmd"].as_slice(), &SHORT].concat(), &directory.0).output();
    let report = report(&output.expect("it can be started"));
    check_trials(&report);
    assert!(number(&list(&report, "/throughput")[0], "/loss/0/received_pps") > 0.0, "{report}");
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    let _alone = Alone::wait().expect("nobody else measures");
    let directory = Directory::new("interrupt");
    let mut run = command(&["--seconds", "60", "--no-pools", "--json"], &directory.0);
    let mut run = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it can be started");
    // Once the generator has a log and there are two processes, a router runs and a generator starts.
    let begin = Instant::now();
    let log = directory.0.join(format!("carpool-loadtest-{}", run.id())).join("carpool-gen.log");
    while !log.exists() || children(run.id()).len() < 2 {
        assert!(begin.elapsed() < Duration::from_secs(120), "no generator was started");
        assert_eq!(run.try_wait().expect("it is ours"), None, "it ended by itself");
        std::thread::sleep(Duration::from_millis(20));
    }
    let children = children(run.id());
    assert!(children.len() >= 2, "a router and a generator: {children:?}");
    kill(Pid::from_raw(run.id().cast_signed()), Signal::SIGINT).expect("it is ours");
    assert_eq!(run.wait().expect("it ends").code(), Some(130));
    for child in children {
        assert!(!Path::new(&format!("/proc/{child}")).exists(), "{child} still runs");
    }
    let left: Vec<_> = fs::read_dir(&directory.0).expect("it is there").flatten().collect();
    assert!(left.is_empty(), "files are left: {left:?}");
}

/// The report that a run keeps in a file, once it has something in it.
fn kept(path: &Path) -> Option<Value> {
    let text = fs::read_to_string(path).ok()?;
    // It may be written this moment.
    serde_json::from_str(&text).ok()
}

/// A run with as many parts as there are sizes, each of them short, that keeps its report in a file.
fn in_parts(file: &Path, temporary: &Path) -> Child {
    let mut run = command(&SHORT, temporary);
    run.arg(file).args(["--throughput-only", "--sizes", "128,256,512,1024,1280,1518,imix"]);
    // In a process group of its own, as a shell starts it.
    run.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started")
}

#[test]
fn what_was_found_is_kept_when_a_run_is_interrupted() {
    let _alone = Alone::wait().expect("nobody else measures");
    let directory = Directory::new("kept");
    let file = directory.0.join("report.json");
    let mut run = in_parts(&file, &directory.0);
    while kept(&file).is_none() {
        assert_eq!(run.try_wait().expect("it is ours"), None, "it ended by itself");
        std::thread::sleep(Duration::from_millis(20));
    }
    // As a terminal does it: while the router is asked, and to who asks it as well.
    while !children(run.id()).into_iter().any(|child| name(child) == "carpool") {
        assert_eq!(run.try_wait().expect("it is ours"), None, "it ended by itself");
    }
    killpg(Pid::from_raw(run.id().cast_signed()), Signal::SIGINT).expect("it is ours");
    let output = run.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    let report = kept(&file).expect("it is there still");
    assert_eq!(report["complete"], false, "{report}");
    assert!(list(&report, "/problems").is_empty(), "nothing has failed by itself: {report}");
    assert!(!list(&report, "/throughput").is_empty() && !list(&report, "/trials").is_empty(), "{report}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("incomplete") && text.contains("Throughput"), "{text}");
}

#[test]
fn a_part_that_fails_does_not_take_the_others_with_it() {
    let _alone = Alone::wait().expect("nobody else measures");
    let directory = Directory::new("part");
    let file = directory.0.join("report.json");
    let mut run = in_parts(&file, &directory.0);
    let generator = loop {
        let is_generator = |child: &u32| {
            let words = fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
            name(*child) == "carpool-gen" && words.contains("serve")
        };
        if let Some(child) = children(run.id()).into_iter().find(is_generator) {
            break child;
        }
        assert_eq!(run.try_wait().expect("it is ours"), None, "it ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    };
    kill(Pid::from_raw(generator.cast_signed()), Signal::SIGKILL).expect("it is a child of ours");
    let output = run.wait_with_output().expect("it ends");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("the report is not complete: frames of"), "{message}");
    let report = kept(&file).expect("there is a report");
    assert_eq!(report["complete"], false, "{report}");
    // A busy machine may have others.
    let problem = list(&report, "/problems").first().and_then(Value::as_str).unwrap_or_default();
    assert!(problem.starts_with("frames of 64 B: carpool-gen"), "{report}");
    let last = list(&report, "/throughput").last().expect("others were measured");
    assert_eq!(last["size"], "imix", "{last}");
    assert!(last["ndr"].is_object(), "{last}");
}

fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

#[test]
fn what_it_cannot_do_it_says_in_a_sentence() {
    for (arguments, code, expected) in [
        (["--generator", "pktgen", "--pktgen", "/nowhere/pktgen"].as_slice(), 1, "build 23.03 (docs/loadtest.md"),
        (&["--attach", "/nowhere.sock", "--device", "a", "--device", "b"], 1, "/nowhere.sock"),
        (&["--attach", "/nowhere.sock", "--device", "a"], 2, "--device: given 1 times"),
        (&["--router-core", "4095"], 2, "CPU 4095 is not one this process may run on"),
        (&["--sizes", "9000"], 2, "expected a frame length from 64 to 1518"),
        (&["--trials", "1", "--may-exceed", "1"], 2, "expected fewer than there are"),
    ] {
        let output = command(arguments, &std::env::temp_dir()).output().expect("it can be started");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains(expected), "{arguments:?}: {message}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn it_says_beforehand_how_long_it_takes() {
    let output = command(&["--estimate"], &std::env::temp_dir()).output().expect("it can be started");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && message.contains("trials") && message.contains("minutes"), "{message}");
}
