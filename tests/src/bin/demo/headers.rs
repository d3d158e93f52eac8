//! Learned headers: voice in packets of 60 bytes crosses an ordinary router without most of its headers.

use std::time::Duration;

use carpool_tests::{
    Error, Result,
    headers::{ENOUGH_PART, ENOUGH_ROWS, ENOUGH_SAVED, Report},
    lab::{Alone, Lab},
    network::{Middle, Network},
    pcap,
    rtp::Codec,
    voice::{Heading, Plan, Run},
};

use crate::{Arguments, KEPT, Scenario, screen::Screen, voice};

pub const HEADERS: Scenario = Scenario {
    name: "headers",
    what: "160 streams of G.729 size (60 bytes) whose headers the far end learns: 56 share a ride",
    show,
};

const STREAMS: u16 = 160;
const RULE: &[&str] = &["representation = \"learned\""];

fn show(arguments: &Arguments, screen: &mut Screen) -> Result<bool> {
    if arguments.reverse || arguments.both {
        let why = "--reverse and --both are for voice and plain".to_owned();
        return Err(Error::Malformed { what: "the command line".to_owned(), why });
    }
    let alone = Alone::wait()?;
    screen.say("Building the lab: servers, clients, A and B (carpoold), transit (an ordinary Linux router).");
    let lab = if arguments.keep { Lab::replacing(KEPT)? } else { Lab::new()? };
    let window = arguments.window(20_000);
    let network =
        Network::build(lab, Middle::Carpool { window, idle: arguments.idle(), both_cores: false, further: RULE })?;
    screen.say("Everybody reaches everybody. The streams begin.");
    let duration = Duration::from_secs(arguments.duration);
    let plan = Plan { heading: Heading::East, streams: STREAMS, local: 0, duration, codec: Codec::G729 };
    let mut run = Run::start(&network, &plan)?;
    while !run.wait(screen.period()) {
        screen.draw(&voice::rows(&run.progress()));
    }
    let findings = run.finish()?;
    screen.draw_last(&voice::rows(&findings.progress()));
    drop(alone);
    let report = Report::of(&findings, window);
    screen.say(&verdict(&findings.voice.to_string(), &report));
    if let Some(path) = &arguments.pcap {
        pcap::write(path, &findings.transit)?;
        screen.say(&format!("What came into transit is in {}.", path.display()));
    }
    if arguments.keep {
        screen.say(&voice::how_to_play(&network));
        network.keep();
    }
    if arguments.json {
        Screen::result(&report)?;
    }
    Ok(report.succeeded())
}

fn verdict(comparison: &str, report: &Report) -> String {
    let Report { streams, sent, pooled_packets, packets_per_pooled, with_55, longest_pooled, .. } = report;
    let Report { wire_bytes_before, wire_bytes, delay_us: delay, .. } = report;
    let mut text = format!(
        "\n{streams} streams: {comparison}.\n{sent} packets of 60 bytes crossed in {pooled_packets} pooled packets: \
         {packets_per_pooled:.1} share a ride on average, {ENOUGH_ROWS} or more in {:.0}% of them (expected: at least \
         {:.0}%; the others announce headers); the longest has {longest_pooled} bytes.\nOn an Ethernet wire they take {wire_bytes} bytes instead of \
         {wire_bytes_before}: {:.1}% less (expected: at least {:.0}%).\n\
         Delay: half below {:.0} us, 99% below {:.0} us, longest {:.0} us; the window is {} us.\n",
        with_55 * 100.0,
        ENOUGH_PART * 100.0,
        report.saved * 100.0,
        ENOUGH_SAVED * 100.0,
        delay.p50,
        delay.p99,
        delay.max,
        report.window_us,
    );
    text += if report.succeeded() { "This is as it should be." } else { "This is NOT as it should be." };
    text
}
