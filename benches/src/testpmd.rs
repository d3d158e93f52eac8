//! The contender: dpdk-testpmd on the same ports, reading the same frames.
//!
//! It is driven through its prompt. Where the ports are net_lean, what they count says how fast it is, as with any program; else
//! its port statistics are shown twice: the second time it says how many packets a second there were since the first, by its
//! own clock.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::case::Case;
use crate::child::{self, last_lines, stdin_of};
use crate::error::BenchError;
use crate::lean::Count;
use crate::ports;
use crate::router::{MBUFS, MEMORY_MB, Rates, WARM_UP};

const PROGRAM: &str = "dpdk-testpmd";
/// From its start until it forwards, where nothing tells.
const START: Duration = Duration::from_millis(700);
/// How long a program may take until it forwards.
const PATIENCE: Duration = Duration::from_secs(60);

/// How testpmd forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Rewrites both Ethernet addresses.
    Mac,
    /// Leaves frames as they are: what the ports themselves cost.
    Io,
}

impl Mode {
    /// What it is called in the figures.
    pub fn contender(self) -> &'static str {
        match self {
            Mode::Mac => "testpmd-mac",
            Mode::Io => "testpmd-io",
        }
    }

    fn argument(self) -> &'static str {
        match self {
            Mode::Mac => "--forward-mode=mac",
            Mode::Io => "--forward-mode=io",
        }
    }
}

/// Where a program runs, and for how long it is measured.
pub struct Place<'a> {
    /// The forwarding CPU.
    pub core: usize,
    /// The CPU of its prompt.
    pub main_core: usize,
    /// Whether packet memory is in hugepages.
    pub hugepages: bool,
    /// The ports, as DPDK's arguments.
    pub devices: [String; 2],
    /// The driver of the ports, where it is net_lean.
    pub driver: Option<&'a Path>,
    /// Where its output can be written to; net_lean counts there.
    pub directory: &'a Path,
    /// How long its packets are counted.
    pub duration: Duration,
    /// Ticks of the time stamp counter a second.
    pub hz: f64,
}

/// Packets a second that it forwards.
pub fn measure(case: &Case, mode: Mode, place: &Place<'_>) -> Result<Rates, BenchError> {
    let path = place.directory.join("testpmd.log");
    let failed = |problem: String| BenchError::Run { program: PROGRAM, problem };
    let log = File::create(&path).map_err(|error| failed(error.to_string()))?;
    let errors = log.try_clone().map_err(|error| failed(error.to_string()))?;
    let mut command = child::command(PROGRAM);
    command.args(eal_arguments(place, MEMORY_MB));
    command.args(["--", "-i", mode.argument(), "--nb-cores=1", "--burst=32", "--mbcache=512"]);
    command.arg(format!("--total-num-mbufs={MBUFS}"));
    command.stdin(Stdio::piped()).stdout(log).stderr(errors);

    let mut child = child::spawn(&mut command, PROGRAM, "dpdk-dev")?;
    let mut prompt = stdin_of(&mut child, PROGRAM)?;
    let mut say = |line: &str| {
        // Where it is gone, its exit status tells.
        let _ = writeln!(prompt, "{line}");
    };
    say("start");
    let counted = if place.driver.is_some() {
        rate(&mut child, place)
    } else {
        thread::sleep(START + WARM_UP);
        say("show port stats all");
        thread::sleep(place.duration);
        say("show port stats all");
        None
    };
    say("stop");
    say("quit");
    let status = child::wait(child, PROGRAM)?;
    let output = fs::read(&path).map_err(|error| failed(error.to_string()))?;
    let output = String::from_utf8_lossy(&output);
    if !status.success() {
        return Err(failed(format!("{status}: {}", last_lines(&output))));
    }
    let wrong = |problem| BenchError::WrongWork { case: case.name, contender: mode.contender(), problem };
    let [received, sent] = match counted {
        Some(rates) => [rates.packets_in, rates.packets_out],
        None if place.driver.is_some() => return Err(failed(format!("it forwarded nothing: {}", last_lines(&output)))),
        None => shown_rates(&output).map_err(wrong)?,
    };
    check(received, sent, &output).map_err(wrong)?;
    Ok(Rates { packets_in: received, packets_out: sent, hz: place.hz })
}

/// EAL's part of the command line: one forwarding lcore, number 1, and the two ports.
pub fn eal_arguments(place: &Place<'_>, memory_mb: usize) -> Vec<String> {
    let [west, east] = place.devices.clone();
    let memory = if place.hugepages { "--in-memory" } else { "--no-huge" };
    let lcores = format!("0@{},1@{}", place.main_core, place.core);
    let mut arguments: Vec<String> = ["--no-pci", "--no-telemetry", memory].map(String::from).into();
    arguments.extend(["--lcores".into(), lcores, "-m".into(), memory_mb.to_string()]);
    arguments.push("--file-prefix=carpool-bench-peer".into());
    if let Some(driver) = place.driver {
        arguments.extend(["-d".into(), driver.display().to_string()]);
    }
    arguments.extend(["--vdev".into(), west, "--vdev".into(), east]);
    arguments
}

/// Packets a second between the net_lean ports of a program that was just started: none if it ends or forwards nothing. The files
/// they count in were not there before.
pub fn rate(child: &mut Child, place: &Place<'_>) -> Option<Rates> {
    let [west, east] = ports::counters(place.directory);
    let started = Instant::now();
    while Count::read(&east).sent == 0 {
        if started.elapsed() > PATIENCE || !matches!(child.try_wait(), Ok(None)) {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(WARM_UP);
    // Each file has a moment of its own: this process may be held up between the two.
    let count = |file: &Path, of: fn(Count) -> u64| (Instant::now(), of(Count::read(file)));
    let both = || [count(&west, |count| count.received), count(&east, |count| count.sent)];
    let before = both();
    thread::sleep(place.duration);
    let after = both();
    let per_second = |port: usize| {
        let ((since, before), (until, after)) = (before[port], after[port]);
        after.saturating_sub(before) as f64 / until.duration_since(since).as_secs_f64()
    };
    Some(Rates { packets_in: per_second(0), packets_out: per_second(1), hz: place.hz })
}

/// The rates in testpmd's output: what the first port received and the second sent.
fn shown_rates(output: &str) -> Result<[f64; 2], String> {
    let received = last_number(output, "statistics for port 0", "Rx-pps:")?;
    Ok([received, last_number(output, "statistics for port 1", "Tx-pps:")?])
}

/// Whether it sent what it received, and dropped nothing.
fn check(received: f64, sent: f64, output: &str) -> Result<(), String> {
    let dropped = last_number(output, "Accumulated forward statistics", "TX-dropped:")?;
    if dropped > 0.0 {
        return Err(format!("it dropped {dropped} packets"));
    }
    forwarded(received, sent)
}

/// Whether all that is received is sent.
pub fn forwarded(received: f64, sent: f64) -> Result<(), String> {
    if sent == 0.0 || (sent - received).abs() > received / 100.0 {
        return Err(format!("it received {received:.0} packets a second and sent {sent:.0}"));
    }
    Ok(())
}

/// The number behind the first `label` after the last `heading` that has such a label.
fn last_number(output: &str, heading: &str, label: &str) -> Result<f64, String> {
    let number = output.rsplit(heading).find_map(|section| {
        let section = section.split("####\n\n").next()?;
        section.split_once(label)?.1.split_whitespace().next()?.parse().ok()
    });
    number.ok_or_else(|| format!("its output has no {label} for {heading:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u8, rx: u64, tx: u64) -> String {
        format!(
            "  ######################## NIC statistics for port {number}  ########################\n  RX-packets: 9\n\n  \
             Throughput (since last show)\n  Rx-pps:     {rx}          Rx-bps:  10\n  Tx-pps:            {tx}          \
             Tx-bps: 0\n  ####\n\n"
        )
    }

    fn output(rates: [u64; 2], dropped: u64) -> String {
        let [rx, tx] = rates;
        let forward = "  ---- Forward statistics for port 0  ----\n  TX-packets: 0   TX-dropped: 0   TX-total: 0\n";
        let total = format!(
            "  +++ Accumulated forward statistics for all ports+++\n  TX-packets: 5  TX-dropped: {dropped}  TX-total: 5\n"
        );
        [port(0, 0, 0), port(1, 0, 0), port(0, rx, 0), port(1, 0, tx), forward.into(), total].concat()
    }

    fn judged(output: &str) -> Result<[f64; 2], String> {
        let [received, sent] = shown_rates(output)?;
        check(received, sent, output).map(|()| [received, sent])
    }

    #[test]
    fn the_rate_is_that_of_the_second_showing() {
        assert_eq!(judged(&output([21_687_365, 21_687_749], 0)), Ok([21_687_365.0, 21_687_749.0]));
    }

    #[test]
    fn a_run_that_dropped_packets_or_forwarded_none_is_refused() {
        assert!(judged(&output([1000, 1000], 3)).is_err());
        assert!(judged(&output([1000, 500], 0)).is_err());
        assert!(judged(&output([0, 0], 0)).is_err());
        assert!(judged("EAL: Error").is_err());
    }
}
