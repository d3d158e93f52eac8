//! The contender: dpdk-testpmd on the same ports, reading the same frames.
//!
//! It is driven through its prompt: forwarding starts, and its port statistics are shown twice. The second time it says
//! how many packets a second there were since the first, by its own clock.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::case::Case;
use crate::child::{self, stdin_of};
use crate::error::BenchError;
use crate::router::{MBUFS, MEMORY_MB, WARM_UP, devices};

const PROGRAM: &str = "dpdk-testpmd";
/// From its start until it forwards.
const START: Duration = Duration::from_millis(700);

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

/// Where testpmd runs.
pub struct Place<'a> {
    /// The forwarding CPU.
    pub core: usize,
    /// The CPU of its prompt.
    pub main_core: usize,
    /// Whether packet memory is in hugepages.
    pub hugepages: bool,
    /// The capture file with the frames.
    pub capture: &'a Path,
    /// Where its output can be written to.
    pub directory: &'a Path,
}

/// Packets a second that it forwards, measured for `duration`.
pub fn measure(case: &Case, mode: Mode, place: &Place<'_>, duration: Duration) -> Result<f64, BenchError> {
    let path = place.directory.join("testpmd.log");
    let failed = |problem: String| BenchError::Run { program: PROGRAM, problem };
    let log = File::create(&path).map_err(|error| failed(error.to_string()))?;
    let errors = log.try_clone().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new(PROGRAM);
    command.args(eal_arguments(place));
    command.args(["--", "-i", mode.argument(), "--nb-cores=1", "--burst=32", "--mbcache=512"]);
    command.arg(format!("--total-num-mbufs={MBUFS}"));
    command.stdin(Stdio::piped()).stdout(log).stderr(errors);

    let mut child = child::spawn(&mut command, PROGRAM, "dpdk-dev")?;
    let mut prompt = stdin_of(&mut child, PROGRAM)?;
    let mut say = |line: &str, then: Duration| {
        // Where it is gone, its exit status tells.
        let _ = writeln!(prompt, "{line}");
        thread::sleep(then);
    };
    say("start", START + WARM_UP);
    say("show port stats all", duration);
    say("show port stats all", Duration::ZERO);
    say("stop", Duration::ZERO);
    say("quit", Duration::ZERO);
    let status = child::wait(child, PROGRAM)?;
    let output = fs::read(&path).map_err(|error| failed(error.to_string()))?;
    let output = String::from_utf8_lossy(&output);
    if !status.success() {
        let last: Vec<&str> = output.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
        return Err(failed(format!("{status}: {}", last.into_iter().rev().collect::<Vec<_>>().join("; "))));
    }
    packets_per_second(&output).map_err(|problem| BenchError::WrongWork {
        case: case.name,
        contender: mode.contender(),
        problem,
    })
}

fn eal_arguments(place: &Place<'_>) -> Vec<String> {
    let [west, east] = devices(place.capture);
    let memory = if place.hugepages { "--in-memory" } else { "--no-huge" };
    let lcores = format!("0@{},1@{}", place.main_core, place.core);
    let mut arguments: Vec<String> = ["--no-pci", "--no-telemetry", memory].map(String::from).into();
    arguments.extend(["--lcores".into(), lcores, "-m".into(), MEMORY_MB.to_string()]);
    arguments.push(format!("--file-prefix=carpool-bench-testpmd-{}", std::process::id()));
    arguments.extend(["--vdev".into(), west, "--vdev".into(), east]);
    arguments
}

/// The rate in testpmd's output: what the second port sent, where that is what the first received.
fn packets_per_second(output: &str) -> Result<f64, String> {
    let received = last_number(output, "statistics for port 0", "Rx-pps:")?;
    let sent = last_number(output, "statistics for port 1", "Tx-pps:")?;
    let dropped = last_number(output, "Accumulated forward statistics", "TX-dropped:")?;
    if dropped > 0.0 {
        return Err(format!("it dropped {dropped} packets"));
    }
    if sent == 0.0 || (sent - received).abs() > received / 100.0 {
        return Err(format!("it received {received} packets a second and sent {sent}"));
    }
    Ok(sent)
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

    #[test]
    fn the_rate_is_that_of_the_second_showing() {
        assert_eq!(packets_per_second(&output([21_687_365, 21_687_749], 0)), Ok(21_687_749.0));
    }

    #[test]
    fn a_run_that_dropped_packets_or_forwarded_none_is_refused() {
        assert!(packets_per_second(&output([1000, 1000], 3)).is_err());
        assert!(packets_per_second(&output([1000, 500], 0)).is_err());
        assert!(packets_per_second(&output([0, 0], 0)).is_err());
        assert!(packets_per_second("EAL: Error").is_err());
    }
}
