//! dpdk-testpmd in txonly mode: as fast as it goes, one length, flows by source address. It receives nothing: what arrives
//! is what the router's other port has sent.

use std::path::Path;
use std::time::{Duration, Instant};

use carpool_tests::process::Process;

use super::talk::Talk;
use super::{Abilities, Generator, Kind, START_LIMIT, Site};
use crate::error::{LoadError, Result};
use crate::router::Router;
use crate::trial::{FrameSize, Outcome, Trial};

const NAME: &str = "dpdk-testpmd";
const MEMORY_MB: usize = 256;
const ANSWER: Duration = Duration::from_secs(20);
/// What is on its way when the clock stops.
const STRAGGLERS: Duration = Duration::from_millis(100);

/// A running testpmd.
pub struct Testpmd {
    talk: Talk,
    process: Process,
}

fn failed(problem: impl Into<String>) -> LoadError {
    LoadError::Generator { generator: NAME, problem: problem.into() }
}

impl Testpmd {
    pub fn start(site: &Site) -> Result<Testpmd> {
        let lcores = format!("0@{core},1@{core}", core = site.core);
        // Its answers have to come line by line: a C library keeps back what it writes to a pipe.
        let mut command = site.command(Path::new("stdbuf"));
        command.args(["-oL", NAME]);
        let [west, _] = &site.devices;
        command.args(site.eal(&lcores, MEMORY_MB, std::slice::from_ref(west)));
        command.args(["--", "-i", "--nb-cores=1", "--forward-mode=txonly", "--txonly-multi-flow", "--mbcache=512"]);
        command.args(["--total-num-mbufs=16383", "--port-topology=chained", "--tx-ip=192.0.2.2,198.18.0.1"]);
        command.args(["--tx-udp=20000,30000".to_owned(), format!("--eth-peer=0,{}", site.router_mac)]);
        let log = site.directory.join("testpmd.log");
        let (process, to, from) = Process::start_talking(NAME, &mut command, &log)?;
        let mut testpmd = Testpmd { talk: Talk::new(NAME, to, from, site.interrupt.clone()), process };
        testpmd.ask("show config fwd", "txonly", START_LIMIT)?;
        Ok(testpmd)
    }

    /// Says something and returns the first line of the answer that has this word.
    fn ask(&mut self, words: &str, until: &str, limit: Duration) -> Result<String> {
        self.talk.say(words)?;
        loop {
            let line = self.talk.hear(limit)?;
            if line.contains(until) && !line.contains(words) {
                return Ok(line);
            }
        }
    }
}

impl Generator for Testpmd {
    fn name(&self) -> String {
        NAME.into()
    }

    fn can(&self) -> Abilities {
        Kind::Testpmd.can(false)
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn trial(&mut self, trial: &Trial, router: &Router) -> Result<Outcome> {
        let FrameSize::Bytes(size) = trial.size else {
            return Err(failed("it sends one frame length at a time"));
        };
        // Its lengths are without the FCS.
        self.talk.say(&format!("set txpkts {}", size - 4))?;
        self.talk.say("clear port stats all")?;
        let before = router.counted()?;
        let begin = Instant::now();
        self.talk.say("start")?;
        std::thread::sleep(Duration::from_secs_f64(trial.seconds));
        // Behind its statistics.
        self.ask("stop", "Done.", ANSWER)?;
        let seconds = begin.elapsed().as_secs_f64();
        let line = self.ask("show port stats 0", "TX-packets:", ANSWER)?;
        let sent = number_behind(&line, "TX-packets:").ok_or_else(|| failed(format!("no number in {line:?}")))?;
        std::thread::sleep(STRAGGLERS);
        let received = router.counted()?.since(&before).sent;
        let per_second = |packets: u64| packets as f64 / seconds;
        Ok(Outcome {
            sent,
            received,
            lost: sent.saturating_sub(received),
            duplicated: 0,
            reordered: 0,
            corrupted: 0,
            skipped: 0,
            missed: 0,
            offered_pps: per_second(sent),
            achieved_pps: per_second(sent),
            received_pps: per_second(received),
            latency_ns: None,
            pooled: None,
        })
    }
}

/// The number behind a label in a line.
fn number_behind(line: &str, label: &str) -> Option<u64> {
    line.split_once(label)?.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_its_table() {
        let line = "  TX-packets: 6543210    TX-errors: 0          TX-bytes:  392592600";
        assert_eq!(number_behind(line, "TX-packets:"), Some(6_543_210));
        assert_eq!(number_behind(line, "RX-packets:"), None);
    }
}
