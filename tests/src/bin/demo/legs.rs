//! Packets with several legs ([`carpool_tests::scenarios`]): a multicast tree, and overlay nodes on an ordinary network.

use std::time::Duration;

use carpool_tests::{
    Error, Result,
    lab::{Alone, Lab},
    scenarios::{Plan, multicast, overlay},
};
use serde::Serialize;

use crate::{Arguments, Scenario, screen::Screen};

pub const MULTICAST: Scenario = Scenario {
    name: "multicast",
    what: "one source, a branch node, three receivers behind two peers: one copy on each link",
    show: |arguments, screen| {
        let told = |report: &multicast::Report| (report.sentence(), report.succeeded());
        show("multicast", multicast::run, told, arguments, screen)
    },
};

pub const OVERLAY: Scenario = Scenario {
    name: "overlay",
    what: "overlay nodes with one port on an ordinary network: readdressed from node to node",
    show: |arguments, screen| {
        let told = |report: &overlay::Report| (report.sentence(), report.succeeded());
        show("overlay", overlay::run, told, arguments, screen)
    },
};

const STREAMS: u16 = 20;

/// Returns whether all is as it should be. `told` says a report in a sentence, and whether it is one of success.
fn show<R: Serialize>(
    name: &str,
    run: impl FnOnce(Lab, Plan) -> Result<R>,
    told: impl FnOnce(&R) -> (String, bool),
    arguments: &Arguments,
    screen: &mut Screen,
) -> Result<bool> {
    if arguments.keep || arguments.pcap.is_some() || arguments.reverse || arguments.both {
        return Err(Error::Malformed {
            what: "the command line".to_owned(),
            why: format!("--keep, --pcap, --reverse and --both are not for {name}"),
        });
    }
    let plan = Plan {
        streams: STREAMS,
        duration: Duration::from_secs(arguments.duration),
        window: arguments.window(5000),
        idle: arguments.idle(),
    };
    let alone = Alone::wait()?;
    screen.say("Building the lab. The streams begin when all peers live.");
    let report = run(Lab::new()?, plan)?;
    drop(alone);
    let (sentence, succeeded) = told(&report);
    let verdict = if succeeded { "This is as it should be." } else { "This is NOT as it should be." };
    screen.say(&format!("{sentence}\n{verdict}"));
    if arguments.json {
        Screen::result(&report)?;
    }
    Ok(succeeded)
}
