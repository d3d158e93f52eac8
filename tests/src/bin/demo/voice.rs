//! The main job: recorded calls across two carpool routers, or across ordinary ones to compare with.

use std::time::Duration;

use carpool_tests::{
    Result,
    lab::{Alone, Lab},
    network::{Middle, Network},
    pcap,
    report::Report,
    rtp::Codec,
    transit::POOL_PORT,
    voice::{Heading, Plan, Progress, Run},
};

use crate::{
    Arguments, KEPT, Scenario,
    screen::{Rows, Screen},
};

pub const VOICE: Scenario = Scenario {
    name: "voice",
    what: "20 recorded G.711 calls across two carpool routers and an ordinary one between (the default)",
    show: |arguments, screen| {
        let window = arguments.window(5000);
        screen.say("Building the lab: servers, clients, A and B (carpoold), transit (an ordinary Linux router).");
        show(Middle::Carpool { window, idle: arguments.idle(), both_cores: false, further: &[] }, arguments, screen)
    },
};

pub const PLAIN: Scenario = Scenario {
    name: "plain",
    what: "the same calls with ordinary Linux routers everywhere: nothing is pooled, to compare with",
    show: |arguments, screen| {
        screen.say("Building the lab: servers, clients, and ordinary Linux routers A, transit and B.");
        show(Middle::Linux, arguments, screen)
    },
};

const STREAMS: u16 = 20;

fn heading(arguments: &Arguments) -> Heading {
    match (arguments.both, arguments.reverse) {
        (true, _) => Heading::Both,
        (false, true) => Heading::West,
        (false, false) => Heading::East,
    }
}

/// Returns whether all is as it should be.
fn show(middle: Middle, arguments: &Arguments, screen: &mut Screen) -> Result<bool> {
    let alone = Alone::wait()?;
    let lab = if arguments.keep { Lab::replacing(KEPT)? } else { Lab::new()? };
    let network = Network::build(lab, middle)?;
    screen.say("Everybody reaches everybody. The streams begin.");
    let plan = Plan {
        heading: heading(arguments),
        streams: STREAMS,
        local: 0,
        duration: Duration::from_secs(arguments.duration),
        codec: Codec::G711,
    };
    let mut run = Run::start(&network, &plan)?;
    while !run.wait(screen.period()) {
        screen.draw(&rows(&run.progress()));
    }
    let findings = run.finish()?;
    screen.draw_last(&rows(&findings.progress()));
    drop(alone);
    let longest_open = match &network.carpools {
        Some(pair) => pair.longest_open()?,
        None => Duration::ZERO,
    };
    let report = Report::of(&findings, middle.window(), longest_open);
    screen.say(&verdict(&findings.voice.to_string(), &report));
    if let Some(path) = &arguments.pcap {
        pcap::write(path, &findings.transit)?;
        screen.say(&format!("What came into transit is in {}.", path.display()));
    }
    if arguments.keep {
        screen.say(&how_to_play(&network));
        network.keep();
    }
    if arguments.json {
        Screen::result(&report)?;
    }
    Ok(report.succeeded())
}

pub fn rows(progress: &Progress) -> Rows {
    let carried = progress.crossing.carried();
    let packets = progress.crossing.packets();
    let ratio = if packets == 0 { "-".to_owned() } else { format!("{:.2}", carried as f64 / packets as f64) };
    let delay = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |us| format!("{us:.0} us"));
    let rows = [
        ("streams", progress.streams.to_string()),
        ("packets sent", progress.sent.to_string()),
        ("packets arrived", progress.arrived.to_string()),
        ("pooled packets through transit", progress.crossing.pooled.to_string()),
        ("unpooled through transit", progress.crossing.lone.to_string()),
        ("ratio", ratio),
        ("delay p50", delay(progress.delay.map(|delay| delay.p50))),
        ("delay p99", delay(progress.delay.map(|delay| delay.p99))),
    ];
    rows.map(|(name, value)| (name.to_owned(), value)).into()
}

fn verdict(comparison: &str, report: &Report) -> String {
    let mut sentence = comparison.to_owned();
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let Report { streams, sent, transit_packets, ratio, delay_us: delay, baseline_us: baseline, .. } = report;
    let of_model = report.ratio_of_model * 100.0;
    let mut text = format!("\n{sentence}.\n{streams} streams, {sent} packets, crossed transit as {transit_packets}: ");
    if report.window_us > 0 {
        text += &format!("{ratio:.2} share a ride, {of_model:.1}% of what a model of the pooler expects.\n");
    } else {
        text += "each as itself.\n";
    }
    text +=
        &format!("Delay: half below {:.0} us, 99% below {:.0} us, longest {:.0} us", delay.p50, delay.p99, delay.max);
    if report.window_us > 0 {
        text += &format!(
            "; unpooled packets on the same way: {:.0}, {:.0} and {:.0} us.\n\
             The window is {} us; no pool was open for longer than {} us",
            baseline.p50, baseline.p99, baseline.max, report.window_us, report.longest_open_us,
        );
    }
    text += if report.succeeded() { ".\nThis is as it should be." } else { ".\nThis is NOT as it should be." };
    text
}

pub fn how_to_play(network: &Network) -> String {
    let mut text = String::from("\nThe lab stays up. Its machines are network namespaces:\n");
    for (name, namespace) in network.lab.namespaces() {
        text += &format!("  {name:<8} ip netns exec {} bash\n", namespace.full_name());
    }
    let directory = network.lab.directory().display();
    text += "For example:\n";
    if let Some(pair) = &network.carpools {
        let client = pair.a.control.client.display();
        text += &format!("  {client} --socket {directory}/A.sock pool show\n");
        text += &format!("  ip netns exec {KEPT}-transit tcpdump -ni A udp port {POOL_PORT}\n");
    }
    text += &format!(
        "  ip netns exec {KEPT}-client1 iperf3 -s -1 -D -p 16384\n\
         \x20 ip netns exec {KEPT}-server1 iperf3 -c 203.0.113.10 -p 16384 -u -b 4M -l 200 --dscp ef\n\
         Configuration, log and control socket of A and B are in {directory}.\n\
         To remove it: scripts/demo --remove"
    );
    text
}
