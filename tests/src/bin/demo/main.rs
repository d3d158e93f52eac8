//! carpool-demo: the experiment of [`carpool_tests::voice`] for people to watch, and for scripts by its last line.
//!
//! `scripts/demo` builds everything and runs this. It needs root for namespaces and raw sockets, and takes everything
//! down again however it ends, unless asked to leave the lab up.

mod screen;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use carpool_tests::{
    Result,
    carpoold::Idle,
    lab::{Alone, Lab},
    leftovers,
    network::{Middle, Network},
    pcap,
    report::Report,
    transit::POOL_PORT,
    voice::{Heading, Plan, Run},
};
use clap::{Parser, ValueEnum};

use crate::screen::Screen;

/// The name under which a lab stays up.
const KEPT: &str = "carpool-demo";
const STREAMS: u16 = 20;

/// What there is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    Voice,
    Plain,
}

impl Scenario {
    const ALL: [Self; 2] = [Self::Voice, Self::Plain];

    fn name(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::Plain => "plain",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Voice => {
                "20 recorded G.711 calls across two carpool routers and an ordinary one between (the default)"
            }
            Self::Plain => "the same calls with ordinary Linux routers everywhere: nothing is pooled, to compare with",
        }
    }
}

/// Two carpool routers pool real voice streams across an ordinary router, and every packet is checked.
///
/// Builds a network of namespaces on this machine (server1, server2, A, transit, B, client1 to client3), sends real
/// RTP through it, shows what happens, compares every packet that arrived with every packet sent, and takes
/// everything down again. Exits with 0 when nothing was lost, altered or reordered and at least 95% of the pooling
/// that a model expects was reached.
#[derive(Debug, Parser)]
#[command(name = "carpool-demo", version)]
struct Arguments {
    /// What to show (see --list)
    #[arg(default_value = "voice")]
    scenario: String,
    /// End with one line of JSON on stdout; what people read goes to stderr
    #[arg(long)]
    json: bool,
    /// Leave the lab up at the end and say how to play with it
    #[arg(long)]
    keep: bool,
    /// Remove a lab that was left up by --keep, and do nothing else
    #[arg(long, conflicts_with_all = ["keep", "list"])]
    remove: bool,
    /// Write what came into the transit router as a pcap file (nanosecond timestamps)
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Name the scenarios and do nothing else
    #[arg(long)]
    list: bool,
    /// What the routers' workers do when they find nothing
    #[arg(long, value_enum, default_value_t = IdlePolicy::Adaptive)]
    idle: IdlePolicy,
    /// How long each stream lasts, in seconds
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    duration: u64,
    /// The pooling window, in microseconds
    #[arg(long, value_name = "US", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    window: u64,
    /// Streams go from clients to servers: B pools, A depools
    #[arg(long, conflicts_with = "both")]
    reverse: bool,
    /// Streams go both ways at once
    #[arg(long)]
    both: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum IdlePolicy {
    /// Block on descriptors after a while (the default of carpoold)
    Adaptive,
    /// Never block: least delay, a whole core each
    Spin,
}

impl Arguments {
    fn heading(&self) -> Heading {
        match (self.both, self.reverse) {
            (true, _) => Heading::Both,
            (false, true) => Heading::West,
            (false, false) => Heading::East,
        }
    }

    fn idle(&self) -> Idle {
        match self.idle {
            IdlePolicy::Adaptive => Idle::Adaptive,
            IdlePolicy::Spin => Idle::Spin,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for scenario in Scenario::ALL {
            println!("{:<8} {}", scenario.name(), scenario.what());
        }
        return ExitCode::SUCCESS;
    }
    let Some(scenario) = Scenario::ALL.into_iter().find(|scenario| scenario.name() == arguments.scenario) else {
        let names = Scenario::ALL.map(Scenario::name).join(", ");
        eprintln!("carpool-demo: there is no scenario \"{}\"; there are: {names}", arguments.scenario);
        return ExitCode::from(2);
    };
    let outcome = if arguments.remove { remove() } else { show(scenario, &arguments) };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("carpool-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn remove() -> Result<bool> {
    let was_there = leftovers::remove_kept(KEPT)?;
    println!("{}", if was_there { "The lab is removed." } else { "No lab is up." });
    Ok(true)
}

/// Returns whether all is as it should be.
fn show(scenario: Scenario, arguments: &Arguments) -> Result<bool> {
    let mut screen = Screen::new(arguments.json);
    let middle = match scenario {
        Scenario::Voice => {
            let window = Duration::from_micros(arguments.window);
            Middle::Carpool { window, idle: arguments.idle(), both_cores: false }
        }
        Scenario::Plain => Middle::Linux,
    };
    let alone = Alone::wait()?;
    let lab = if arguments.keep { Lab::replacing(KEPT)? } else { Lab::new()? };
    screen.say(match scenario {
        Scenario::Voice => {
            "Building the lab: servers, clients, A and B (carpoold), transit (an ordinary Linux router)."
        }
        Scenario::Plain => "Building the lab: servers, clients, and ordinary Linux routers A, transit and B.",
    });
    let network = Network::build(lab, middle)?;
    screen.say("Everybody reaches everybody. The streams begin.");
    let plan = Plan {
        heading: arguments.heading(),
        streams: STREAMS,
        local: 0,
        duration: Duration::from_secs(arguments.duration),
    };
    let mut run = Run::start(&network, &plan)?;
    while !run.wait(screen.period()) {
        screen.draw(&run.progress());
    }
    screen.draw_last(&run.progress());
    let findings = run.finish()?;
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
        let line = serde_json::to_string(&report).map_err(io::Error::from);
        let written = line.and_then(|line| writeln!(io::stdout(), "{line}"));
        carpool_tests::error::Doing::doing(written, "writing the result to stdout")?;
    }
    Ok(report.succeeded())
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

fn how_to_play(network: &Network) -> String {
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
