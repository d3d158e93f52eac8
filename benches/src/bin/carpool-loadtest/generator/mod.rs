//! What makes the load: several programs behind one trait.

mod carpool_gen;
mod pktgen;
mod talk;
mod testpmd;

use std::path::PathBuf;
use std::time::Duration;

use carpool_benches::child;
use carpool_benches::interrupt::Interrupt;
use clap::ValueEnum;

use crate::error::Result;
use crate::router::Router;
use crate::trial::{Outcome, Trial};

/// Which program makes the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// carpool's own: stamps packets, so it measures latency, order and pools as well
    CarpoolGen,
    /// Pktgen-DPDK 23.03, driven by the scripts in scripts/pktgen
    Pktgen,
    /// dpdk-testpmd: sends as fast as it can and nothing else
    Testpmd,
}

/// What a generator can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Send at a rate, so that a limit can be searched for.
    pub rates: bool,
    /// Tell how long packets took.
    pub latency: bool,
    /// Send a mix of sizes.
    pub mix: bool,
    /// Take pooled packets apart.
    pub pools: bool,
}

/// Where a generator is to run, and against what.
#[derive(Clone)]
pub struct Site {
    /// Its two ports, as DPDK names devices: where it sends, where it receives.
    pub devices: [String; 2],
    /// The Ethernet address of the router's port that it sends to.
    pub router_mac: String,
    /// CPU that sends and receives.
    pub core: usize,
    /// Whether packet memory may be in hugepages.
    pub hugepages: bool,
    /// Where sockets and logs go.
    pub directory: PathBuf,
    /// The network namespace to run in.
    pub namespace: Option<String>,
    /// A program to use instead of the one that would be found.
    pub program: Option<PathBuf>,
    /// It is the far end of the pooler.
    pub depool: bool,
    pub interrupt: Interrupt,
}

/// A generator that is up.
pub trait Generator {
    /// Its name and version.
    fn name(&self) -> String;

    /// What it can do.
    fn can(&self) -> Abilities;

    /// Its process.
    fn pid(&self) -> u32;

    /// Offers a load and says what became of it.
    fn trial(&mut self, trial: &Trial, router: &Router) -> Result<Outcome>;
}

impl Kind {
    /// Starts it and waits until it can be asked for trials.
    pub fn start(self, site: &Site) -> Result<Box<dyn Generator>> {
        Ok(match self {
            Kind::CarpoolGen => Box::new(carpool_gen::CarpoolGen::start(site)?),
            Kind::Pktgen => Box::new(pktgen::Pktgen::start(site)?),
            Kind::Testpmd => Box::new(testpmd::Testpmd::start(site)?),
        })
    }

    /// What it can do; `depool`: as the far end of a pooler.
    pub fn can(self, depool: bool) -> Abilities {
        let own = self == Kind::CarpoolGen;
        Abilities { rates: self != Kind::Testpmd, latency: own, mix: own, pools: own && depool }
    }

    /// What a trial takes beside its own time: seconds.
    pub fn overhead(self) -> f64 {
        match self {
            Kind::CarpoolGen => 0.4,
            // It counts once a second: before and after a trial that has to be waited for.
            Kind::Pktgen => 2.8,
            Kind::Testpmd => 0.5,
        }
    }

    /// Whether its received packets are counted by the router's port instead of one of its own.
    pub fn is_one_way(self) -> bool {
        self == Kind::Testpmd
    }
}

/// How long a generator may take to start.
const START_LIMIT: Duration = Duration::from_secs(60);

impl Site {
    /// EAL's arguments: memory, no other devices than these, a name of its own.
    fn eal(&self, lcores: &str, memory_mb: usize, devices: &[String]) -> Vec<String> {
        let mut arguments = vec!["--no-telemetry".to_owned(), "--lcores".into(), lcores.into()];
        arguments.push(if self.hugepages { "--in-memory".into() } else { "--no-huge".into() });
        // A vhost back end takes at most eight regions of memory: few files, then.
        if self.hugepages && devices.iter().any(|device| device.starts_with("net_virtio_user")) {
            arguments.push("--single-file-segments".into());
        }
        arguments.extend(["-m".into(), memory_mb.to_string()]);
        arguments.push(format!("--file-prefix=carpool-load-{}", std::process::id()));
        let (virtual_ones, pci): (Vec<_>, Vec<_>) = devices.iter().partition(|device| device.starts_with("net_"));
        if pci.is_empty() {
            arguments.push("--no-pci".into());
        }
        for device in pci {
            arguments.extend(["-a".into(), device.clone()]);
        }
        for device in virtual_ones {
            arguments.extend(["--vdev".into(), device.clone()]);
        }
        arguments
    }

    /// A command that runs a program where it is to run, on its CPU.
    fn command(&self, program: &std::path::Path) -> std::process::Command {
        let mut words: Vec<std::ffi::OsString> = Vec::new();
        if let Some(namespace) = &self.namespace {
            words.extend(["ip", "netns", "exec", namespace].map(Into::into));
        }
        // Threads that DPDK does not place run where the program was started: beside the lcore, not on the router's.
        words.extend(["taskset".into(), "--cpu-list".into(), self.core.to_string().into(), program.into()]);
        let mut words = words.into_iter();
        let mut command = child::command(words.next().unwrap_or_default());
        command.args(words).env("RUNTIME_DIRECTORY", &self.directory).env("XDG_RUNTIME_DIR", &self.directory);
        command
    }
}
