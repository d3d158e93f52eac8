//! The demo's promises to scripts: one line of JSON at the end, and nothing left behind.

use std::{fs, process::Command, process::Output};

use carpool_tests::{lab::Alone, report::Report, scenarios};

fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_carpool-demo")).args(arguments).output().expect("carpool-demo starts")
}

/// The names of all namespaces of this machine's labs that belong to this process id.
fn left_by(pid: u32) -> Vec<String> {
    fs::read_dir("/run/netns")
        .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        .map(|names: Vec<String>| names.into_iter().filter(|name| name.starts_with(&format!("cp{pid}x"))).collect())
        .unwrap_or_default()
}

#[test]
fn the_demo_ends_with_one_line_of_json_and_exits_with_success() {
    let output = demo(&["voice", "--json", "--duration", "3"]);
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {said}", output.status);
    assert_eq!(printed.lines().count(), 1, "stdout carries the result alone: {printed}");
    let report: Report = serde_json::from_str(printed.trim()).expect("the line parses");
    assert!(report.succeeded(), "{report:?}");
    assert_eq!((report.delivered, report.window_us), (report.sent, 5000));
    for key in ["\"sent\":", "\"delivered\":", "\"identical\":true", "\"in_order\":true", "\"transit_packets\":"] {
        assert!(printed.contains(key), "{key} in {printed}");
    }
}

#[test]
fn scenarios_of_their_own_networks_end_with_one_line_of_json_as_well() {
    let output = demo(&["multicast", "--json", "--duration", "1"]);
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {said}{printed}", output.status);
    assert_eq!(printed.lines().count(), 1, "stdout carries the result alone: {printed}");
    let report: scenarios::multicast::Report = serde_json::from_str(printed.trim()).expect("the line parses");
    assert!(report.succeeded(), "{report:?}");
    let refused = demo(&["overlay", "--keep"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--keep"), "it says what it cannot do");
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing_behind() {
    let alone = Alone::wait().expect("end to end tests run as root");
    let mut child = Command::new(env!("CARGO_BIN_EXE_carpool-demo"))
        .args(["plain", "--duration", "60"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("carpool-demo starts");
    // It takes the lock that this test holds, so it begins now.
    drop(alone);
    let pid = child.id();
    while left_by(pid).len() < 8 {
        assert!(child.try_wait().expect("the demo can be asked").is_none(), "it ended before it was interrupted");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), nix::sys::signal::Signal::SIGINT)
        .expect("it can be interrupted");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130), "as the shell reports a death by SIGINT");
    assert_eq!(left_by(pid), Vec::<String>::new());
}

#[test]
fn an_unknown_scenario_is_refused_in_one_sentence_that_names_those_there_are() {
    let output = demo(&["video"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        said.trim(),
        "carpool-demo: there is no scenario \"video\"; there are: voice, plain, branch, headers, multicast, overlay"
    );
}
