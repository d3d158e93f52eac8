//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser};

use crate::bench::Method;
use crate::error::{LoadError, Result};
use crate::generator::Kind;
use crate::pools::{LONGEST_WINDOW_US, Load, SIZES, WINDOWS};
use crate::setup::Ports;
use crate::throughput::Parts;
use crate::trial::FrameSize;

/// Finds the limits of a carpool router with a real generator: RFC 2544, RFC 9004, and what its pools do.
///
/// By default it starts a carpoold of its own, joined to the generator by virtual ports. docs/loadtest.md says what each
/// figure means.
#[derive(Parser, Debug)]
#[command(name = "scripts/loadtest", bin_name = "scripts/loadtest")]
pub struct Options {
    /// What makes the load
    #[arg(long, value_enum, default_value_t = Kind::CarpoolGen)]
    pub generator: Kind,
    /// A few minutes: three sizes, short trials, coarse limits
    #[arg(long)]
    pub quick: bool,
    /// Frame sizes in bytes, FCS included, and imix [default: 64,128,256,512,1024,1280,1518,imix; quick: 64,1518,imix]
    #[arg(long, value_name = "SIZE,...", value_delimiter = ',')]
    pub sizes: Vec<FrameSize>,
    /// Seconds of a trial [default: 5; quick: 0.5]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub seconds: Option<f64>,
    /// Seconds of the same load before packets count [default: 0.2]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub warm_up: Option<f64>,
    /// Searches end when load that passes and load that fails are so many percent apart [default: 1; quick: 5]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub resolution: Option<f64>,
    /// Trials of each load of a search [default: 3; quick: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub trials: Option<u32>,
    /// How many of these may lose more than is allowed; RFC 2544 has 0 [default: fewer than half of them]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=99))]
    pub may_exceed: Option<u32>,
    /// Trials that confirm what was found [default: 1; quick: 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub confirm: Option<u32>,
    /// UDP flows
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=32768))]
    pub flows: u32,
    /// Destinations
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=131_072))]
    pub destinations: u32,
    /// Rate of the wire that loads are limited to, Gbit/s
    #[arg(long, value_name = "GBPS", default_value_t = 10.0, value_parser = gbps)]
    pub line: f64,
    /// Only throughput: no loss against load, latency, bursts, pools
    #[arg(long)]
    pub throughput_only: bool,
    /// Only pools
    #[arg(long, conflicts_with_all = ["throughput_only", "no_pools"])]
    pub pools_only: bool,
    /// Leave pools out
    #[arg(long)]
    pub no_pools: bool,
    /// Pooling windows in microseconds, up to 25000 [default: 100,200,500,1000,2000,5000,10000,20000; quick: 500,5000]
    #[arg(long, value_name = "US,...", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=LONGEST_WINDOW_US))]
    pub windows: Vec<u64>,
    /// IP lengths of stream packets in bytes [default: 60,200,300; quick: 60]
    #[arg(long, value_name = "BYTES,...", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(46..=1400))]
    pub pool_sizes: Vec<u16>,
    /// Loads on the pools, packets a second or percent of what can be pooled [default: 10000,100000,10%,50%,90%]
    #[arg(long, value_name = "N|N%,...", value_delimiter = ',', value_parser = load)]
    pub pool_loads: Vec<Load>,
    /// How the router that is started and the generator are joined
    #[arg(long, value_enum, default_value_t = Ports::Vhost, conflicts_with = "attach")]
    pub ports: Ports,
    /// Control socket of a router that runs already; the generator's ports are those of --device
    #[arg(long, value_name = "SOCKET", requires = "device")]
    pub attach: Option<PathBuf>,
    /// The generator's ports: where it sends, where it receives; PCI addresses or DPDK virtual devices
    #[arg(long, value_name = "DEVICE", action = ArgAction::Append, requires = "attach")]
    pub device: Vec<String>,
    /// The router's ports by name: in, out [default: its first two]
    #[arg(long, value_name = "IN,OUT", value_delimiter = ',', requires = "attach")]
    pub router_ports: Vec<String>,
    /// CPU of the router that is started [default: the last one]
    #[arg(long, value_name = "CPU", conflicts_with = "attach")]
    pub router_core: Option<usize>,
    /// CPU of the generator [default: the last one that is free]
    #[arg(long, value_name = "CPU")]
    pub core: Option<usize>,
    /// Use hugepages where there are enough
    #[arg(long)]
    pub hugepages: bool,
    /// Pktgen-DPDK's program [default: pktgen, on the PATH]
    #[arg(long, value_name = "PATH")]
    pub pktgen: Option<PathBuf>,
    /// All figures and every trial as JSON, into a file or, without one, to standard output in place of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
    /// Write a page with plots, the same in Markdown, and the JSON into a directory
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Say how long it would take, and end
    #[arg(long)]
    pub estimate: bool,
}

impl Options {
    pub fn method(&self) -> Result<Method> {
        let [seconds, resolution] = if self.quick { [0.5, 5.0] } else { [5.0, 1.0] };
        let [trials, confirm] = if self.quick { [1, 0] } else { [3, 1] };
        let trials = self.trials.unwrap_or(trials);
        let may_exceed = self.may_exceed.unwrap_or((trials - 1) / 2);
        if may_exceed >= trials {
            let problem = format!("{may_exceed} of {trials} trials may exceed: expected fewer than there are");
            return Err(LoadError::Option { option: "--may-exceed", problem });
        }
        if self.pools_only && self.pools().is_none() {
            let problem = "pools are measured with carpool-gen, in a router of our own (without --attach)".into();
            return Err(LoadError::Option { option: "--pools-only", problem });
        }
        if self.attach.is_some() {
            self.devices()?;
            self.router_ports()?;
        }
        Ok(Method {
            seconds: self.seconds.unwrap_or(seconds),
            warm_up: self.warm_up.unwrap_or(0.2),
            resolution: self.resolution.unwrap_or(resolution) / 100.0,
            trials,
            may_exceed,
            confirm: self.confirm.unwrap_or(confirm),
            flows: self.flows,
            destinations: self.destinations,
            line_gbps: self.line,
        })
    }

    pub fn sizes(&self) -> Vec<FrameSize> {
        match (self.sizes.as_slice(), self.quick) {
            ([], true) => vec![FrameSize::Bytes(64), FrameSize::Bytes(1518), FrameSize::Imix],
            ([], false) => FrameSize::ALL.to_vec(),
            (sizes, _) => sizes.to_vec(),
        }
    }

    pub fn parts(&self) -> Parts {
        let all = !self.throughput_only;
        Parts {
            loss: all,
            latency: all,
            bursts: if !all {
                0
            } else if self.quick {
                1
            } else {
                3
            },
        }
    }

    /// Windows, sizes and loads of pools; none where they are left out.
    pub fn pools(&self) -> Option<(Vec<u64>, Vec<u16>, Vec<Load>)> {
        if self.no_pools || self.throughput_only || self.attach.is_some() || self.generator != Kind::CarpoolGen {
            return None;
        }
        let or = |given: &[u64], quick: &[u64], full: &[u64]| match (given, self.quick) {
            ([], true) => quick.to_vec(),
            ([], false) => full.to_vec(),
            (given, _) => given.to_vec(),
        };
        let sizes = match (self.pool_sizes.as_slice(), self.quick) {
            ([], true) => vec![SIZES[0]],
            ([], false) => SIZES.to_vec(),
            (sizes, _) => sizes.to_vec(),
        };
        let loads = match (self.pool_loads.as_slice(), self.quick) {
            ([], true) => vec![Load::Pps(100_000.0), Load::OfPdr(90)],
            ([], false) => Load::ALL.to_vec(),
            (loads, _) => loads.to_vec(),
        };
        Some((or(&self.windows, &[500, 5000], &WINDOWS), sizes, loads))
    }

    /// The generator's ports, where the router runs already.
    pub fn devices(&self) -> Result<[String; 2]> {
        <[String; 2]>::try_from(self.device.clone()).map_err(|devices| LoadError::Option {
            option: "--device",
            problem: format!(
                "given {} times: expected two, where packets are sent and where they come back",
                devices.len()
            ),
        })
    }

    pub fn router_ports(&self) -> Result<Option<[String; 2]>> {
        match self.router_ports.as_slice() {
            [] => Ok(None),
            [west, east] => Ok(Some([west.clone(), east.clone()])),
            other => Err(LoadError::Option {
                option: "--router-ports",
                problem: format!("{} names: expected two, the port in and the port out", other.len()),
            }),
        }
    }
}

/// A window as the router takes it.
pub fn window(microseconds: u64) -> Duration {
    Duration::from_micros(microseconds)
}

fn within(text: &str, range: std::ops::RangeInclusive<f64>, what: &str) -> std::result::Result<f64, String> {
    let expected = || format!("expected {what} from {} to {}", range.start(), range.end());
    text.parse().ok().filter(|value| range.contains(value)).ok_or_else(expected)
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    within(text, 0.05..=3600.0, "seconds")
}

fn percent(text: &str) -> std::result::Result<f64, String> {
    within(text, 0.01..=50.0, "a percentage")
}

fn gbps(text: &str) -> std::result::Result<f64, String> {
    within(text, 0.001..=800.0, "Gbit/s")
}

fn load(text: &str) -> std::result::Result<Load, String> {
    let expected = "expected packets a second from 100 to 1000000000, or a percentage from 1% to 90%";
    match text.strip_suffix('%') {
        Some(percent) => match percent.parse() {
            Ok(percent) if (1..=90).contains(&percent) => Ok(Load::OfPdr(percent)),
            _ => Err(expected.into()),
        },
        None => within(text, 100.0..=1e9, "packets a second").map(Load::Pps).map_err(|_| expected.into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn options(words: &[&str]) -> Options {
        Options::try_parse_from(std::iter::once(&"loadtest").chain(words)).expect("it is understood")
    }

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn a_quick_run_is_a_part_of_a_full_one() {
        let (quick, full) = (options(&["--quick"]), options(&[]));
        assert!(quick.sizes().iter().all(|size| full.sizes().contains(size)));
        assert_eq!(full.sizes().len(), 8);
        assert_eq!(full.pools().expect("they are measured").0, WINDOWS);
        let method = full.method().expect("it is sound");
        assert_eq!((method.trials, method.may_exceed), (3, 1));
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_a_sentence() {
        let error = options(&["--trials", "2", "--may-exceed", "2"]).method().expect_err("none would have to pass");
        assert!(error.to_string().contains("--may-exceed"), "{error}");
        let error = options(&["--pools-only", "--generator", "testpmd"]).method().expect_err("it takes none apart");
        assert!(error.to_string().contains("carpool-gen"), "{error}");
        let error = options(&["--attach", "/x", "--device", "a"]).devices().expect_err("one is too few");
        assert!(error.to_string().contains("given 1 times"), "{error}");
        for words in [
            ["--pool-loads", "95%"],
            ["--windows", "25001"],
            ["--sizes", "63"],
            ["--seconds", "0"],
            ["--line", "-1"],
            ["--attach", "/x"],
        ] {
            assert!(Options::try_parse_from(std::iter::once(&"loadtest").chain(&words)).is_err(), "{words:?}");
        }
    }
}
