//! The virtual ports that all contenders have alike: packets come from a file in memory, over and over, and go nowhere.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::cache::Cache;
use crate::dpdk_source::DpdkSource;
use crate::error::BenchError;
use crate::{l3fwd, lean};

/// The cache's directory for all that the benchmark builds.
const CACHE: &str = "bench";

/// Which ports to measure on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PortKind {
    /// net_lean, the benchmark's own: costs what a good driver of a NIC costs
    Lean,
    /// DPDK's net_pcap and net_null
    Pcap,
}

/// The ports, ready to be opened.
pub enum Ports {
    Pcap,
    Lean {
        /// The driver's shared object.
        driver: PathBuf,
        /// The peer that can be had where the driver can.
        l3fwd: PathBuf,
    },
}

/// What comes in.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The capture file with the frames.
    pub capture: &'a Path,
    /// The file with the destinations that they get one after the other, if they do not keep their own.
    pub destinations: Option<&'a Path>,
}

impl Ports {
    /// Those asked for; where nothing was, net_lean if it can be had. `say` hears what takes time, and what is done without.
    pub fn choose(wanted: Option<PortKind>, mut say: impl FnMut(&str)) -> Result<Ports, BenchError> {
        if wanted == Some(PortKind::Pcap) {
            return Ok(Ports::Pcap);
        }
        let build = |say: &mut dyn FnMut(&str)| {
            let cache = Cache::open(CACHE)?;
            let source = DpdkSource::get(&cache, say)?;
            Ok(Ports::Lean { driver: lean::driver(&cache, &source)?, l3fwd: l3fwd::program(&cache, &source)? })
        };
        match (build(&mut say), wanted) {
            (Err(BenchError::Interrupted), _) => Err(BenchError::Interrupted),
            (Err(error), None) => {
                say(&format!("net_lean and l3fwd cannot be had ({error}); the ports are net_pcap and net_null"));
                Ok(Ports::Pcap)
            }
            (built, _) => built,
        }
    }

    /// The driver to load, if it is not one of DPDK's.
    pub fn driver(&self) -> Option<&Path> {
        match self {
            Ports::Pcap => None,
            Ports::Lean { driver, .. } => Some(driver),
        }
    }

    /// The names of the drivers.
    pub fn names(&self) -> &'static str {
        match self {
            Ports::Pcap => "net_pcap and net_null",
            Ports::Lean { .. } => "net_lean",
        }
    }

    /// The port that packets come from and the one that they go to, as DPDK's arguments. net_lean counts in files of `directory`.
    pub fn devices(&self, input: &Input<'_>, directory: &Path) -> [String; 2] {
        let capture = input.capture.display();
        if let Ports::Pcap = self {
            return [format!("net_pcap0,rx_pcap={capture},infinite_rx=1"), "net_null0,no-rx=1".into()];
        }
        let [west, east] = counters(directory);
        let mut first = format!("net_lean0,frames={capture},counters={}", west.display());
        if let Some(destinations) = input.destinations {
            first.push_str(&format!(",destinations={}", destinations.display()));
        }
        [first, format!("net_lean1,counters={}", east.display())]
    }
}

/// The files that net_lean's ports count in.
pub fn counters(directory: &Path) -> [PathBuf; 2] {
    ["west.counters", "east.counters"].map(|name| directory.join(name))
}
