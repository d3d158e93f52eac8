//! SIGHUP: the difference between the old file and the new one, all of it or nothing.

use std::time::Duration;

use carpool_tests::{carpoold::Idle, control::Control};

use crate::network;

const SOON: Duration = Duration::from_secs(5);

/// The window of the voice rule, in microseconds.
fn window(control: &Control) -> carpool_tests::error::Result<Option<u64>> {
    Ok(control.ask(&["rule", "show"])?["rules"][0]["window_us"].as_u64())
}

#[test]
fn a_changed_file_is_applied_and_a_broken_one_changes_nothing() {
    let (_alone, mut network) = network(Duration::from_millis(5), Idle::Adaptive);
    let a = &mut network.pair().expect("carpools").a;
    let text = a.configuration().expect("the file is there");
    a.control.ask(&["route", "add", "10.9.0.0/16", "via", "192.0.2.2"]).expect("a route is added over the socket");

    a.reconfigure(&text.replace("5000us", "7ms")).expect("it can be asked");
    a.wait_until("the rule has its new window", SOON, |control| Ok(window(control)? == Some(7000))).expect("reloaded");

    let broken = text.replace("5000us", "9ms").replace("[[path]]", "[[pathway]]");
    let line = broken.lines().position(|line| line == "[[pathway]]").expect("it is in there") + 1;
    a.reconfigure(&broken).expect("it can be asked");
    let said = format!("A.toml:{line}:");
    let log = a.output_until(SOON, |log| log.contains(&said));
    assert!(log.contains(&said), "the log does not say {said}: {log}");
    assert_eq!(window(&a.control).expect("A answers"), Some(7000), "nothing of a broken file is applied");

    let found = a.control.ask(&["lookup", "10.9.8.7"]).expect("A answers");
    assert_eq!(found["prefix"], "10.9.0.0/16", "what came over the socket stays: {found}");
    network.close().expect("both routers end in order");
}
