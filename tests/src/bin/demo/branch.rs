//! Extraction on the way: calls to four receivers share pools on a chain of routers, and leave them where their ways part.

use std::time::Duration;

use carpool_tests::{
    Error, Result,
    chain::{
        network::{Chain, EQUIPPED, ROUTERS, Told, Wish},
        report::Report,
        run::{Calls, Progress, Run},
    },
    lab::{Alone, Lab},
    network::VOICE_PORTS,
    pcap,
    rtp::Codec,
};

use crate::{
    Arguments, KEPT, Scenario,
    screen::{Rows, Screen},
};

pub const BRANCH: Scenario = Scenario {
    name: "branch",
    what: "20 calls to four receivers along a chain of four carpool routers and two ordinary ones, with branches",
    show,
};

const CALLS: Calls = Calls { port: VOICE_PORTS.0, streams: 5, codec: Codec::G711 };

fn show(arguments: &Arguments, screen: &mut Screen) -> Result<bool> {
    if arguments.reverse || arguments.both {
        let why = "--reverse and --both are for voice and plain: here only A pools".to_owned();
        return Err(Error::Malformed { what: "the command line".to_owned(), why });
    }
    let alone = Alone::wait()?;
    screen.say(
        "Building the chain: A, B, C, D (carpoold), u1 and u2 (ordinary Linux routers), a source, four receivers.",
    );
    let lab = if arguments.keep { Lab::replacing(KEPT)? } else { Lab::new()? };
    let window = arguments.window(5000);
    // What all ways have in common is enough to share a pool.
    let wish = Wish { name: "voice", ports: VOICE_PORTS, pooling: Some((window, &[("shared_hops", "1")])) };
    let chain = Chain::build(lab, arguments.idle(), &[wish], Told::InFiles)?;
    screen.say("The source reaches everybody. The streams begin.");
    let mut run = Run::start(&chain, &[CALLS], Duration::from_secs(arguments.duration))?;
    while !run.wait(screen.period()) {
        screen.draw(&rows(&run.progress()));
    }
    screen.draw_last(&rows(&run.progress()));
    let findings = run.finish()?;
    drop(alone);
    let report = Report::of(&findings, window, chain.taken_out_on_the_way()?);
    screen.say(&report.table());
    if let Some(path) = &arguments.pcap {
        pcap::write(path, findings.crossed.first().map_or(&[][..], Vec::as_slice))?;
        screen.say(&format!("What crossed the link from A to u1 is in {}.", path.display()));
    }
    if arguments.keep {
        screen.say(&how_to_play(&chain));
        chain.keep();
    }
    if arguments.json {
        Screen::result(&report)?;
    }
    Ok(report.succeeded())
}

fn rows(progress: &Progress) -> Rows {
    let mut rows = vec![
        ("packets sent".to_owned(), progress.sent.to_string()),
        ("packets arrived".to_owned(), progress.arrived.to_string()),
    ];
    for (ends, crossing) in ROUTERS.windows(2).zip(&progress.links) {
        let packets = crossing.packets();
        let ratio =
            if packets == 0 { "-".to_owned() } else { format!("{:.2}", crossing.carried() as f64 / packets as f64) };
        rows.push((format!("packets, share a ride {} - {}", ends[0], ends[1]), format!("{packets}, {ratio}")));
    }
    rows
}

fn how_to_play(chain: &Chain) -> String {
    let mut text = String::from("\nThe chain stays up. Its machines are network namespaces:\n");
    for (name, namespace) in chain.lab.namespaces() {
        text += &format!("  {name:<8} ip netns exec {} bash\n", namespace.full_name());
    }
    let directory = chain.lab.directory().display();
    text += "For example:\n";
    for (name, router) in EQUIPPED.into_iter().zip(&chain.carpools) {
        text += &format!("  {} --socket {directory}/{name}.sock path show\n", router.control.client.display());
    }
    text += &format!(
        "  ip netns exec {KEPT}-u1 tcpdump -ni A udp\n\
         Configurations, logs and control sockets are in {directory}.\n\
         To remove it: scripts/demo --remove"
    );
    text
}
