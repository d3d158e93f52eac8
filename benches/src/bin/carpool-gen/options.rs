//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use carpool_dataplane::dpdk::Memory;
use carpool_dataplane::packet::MacAddr;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::flows::Order;
use crate::frames::Size;

/// Sends packets at a set rate and says what became of them: loss, order, latency, pooling.
///
/// docs/carpool-gen.md says what each figure is.
#[derive(Parser)]
#[command(name = "carpool-gen", disable_help_subcommand = true)]
pub struct Options {
    #[command(subcommand)]
    pub action: Action,
    /// Do not wait for another measurement on this machine to end: this is part of it, or neither is in the other's way
    #[arg(long, global = true)]
    pub no_turn: bool,
}

#[derive(Subcommand)]
pub enum Action {
    /// One trial: a line a second on standard error, the findings on standard output.
    Run(RunArgs),
    /// Trials as they are asked for: a JSON command a line on standard input, an answer a line on standard output.
    Serve(ServeArgs),
    /// How long an empty loop is held up on a CPU: what the machine itself adds to latencies.
    Jitter(JitterArgs),
}

/// The ports, and who lives on them.
#[derive(Args)]
pub struct PortArgs {
    /// Device that packets are sent by: a PCI address, or a DPDK virtual device with its arguments
    #[arg(long, value_name = "DEVICE")]
    pub send: String,
    /// Address of ours on that link; can be given several times
    #[arg(long, value_name = "IP")]
    pub send_address: Vec<IpAddr>,
    /// Who forwards the packets: an address on that link, which is asked for, or an Ethernet address
    #[arg(long, value_name = "IP|MAC")]
    pub gateway: Gateway,
    /// Device that packets come back by [default: the same]
    #[arg(long, value_name = "DEVICE")]
    pub receive: Option<String>,
    /// Address of ours on that link; can be given several times
    #[arg(long, value_name = "IP")]
    pub receive_address: Vec<IpAddr>,
    /// CPUs to work on: one, or one that sends and one that receives [default: the last one]
    #[arg(long, value_name = "CPU[,CPU]", value_delimiter = ',')]
    pub lcores: Vec<usize>,
    /// Where packet memory is
    #[arg(long, default_value = "auto")]
    pub memory: MemoryArg,
    /// Packet buffers
    #[arg(long, default_value_t = 8191, value_name = "N", value_parser = clap::value_parser!(u32).range(2047..=1_048_575))]
    pub mbufs: u32,
    /// Be the far end of a pooler: take pooled packets apart
    #[arg(long)]
    pub depool: bool,
    /// Where packets go: destinations are spread evenly over this prefix
    #[arg(long, default_value = "198.18.0.0/15", value_name = "PREFIX")]
    pub destination_prefix: IpNet,
    /// Whether destinations and ports take turns or are drawn
    #[arg(long, default_value = "sequential")]
    pub order: Order,
    /// Where packets come from [default: the first address of the sending port]
    #[arg(long, value_name = "IP")]
    pub source: Option<IpAddr>,
    /// The first source port; each flow has one of its own
    #[arg(long, default_value_t = 20_000, value_name = "PORT")]
    pub source_port: u16,
    /// The destination port
    #[arg(long, default_value_t = 30_000, value_name = "PORT")]
    pub destination_port: u16,
    /// Class of service, as a number
    #[arg(long, default_value_t = 0, value_name = "DSCP", value_parser = clap::value_parser!(u8).range(0..=63))]
    pub dscp: u8,
    /// How long to wait for packets when all are sent: 100 ms and twice the longest pooling window is enough
    #[arg(long, default_value = "0.1", value_name = "S", value_parser = seconds)]
    pub drain: Duration,
}

#[derive(Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub ports: PortArgs,
    /// Packets a second; of what it can send at the most, like 50%; or max
    #[arg(long, default_value = "100000", value_name = "N|N%|max")]
    pub pps: Pps,
    /// How long to send
    #[arg(long, default_value = "10", value_name = "S", value_parser = seconds)]
    pub seconds: Duration,
    /// How long to send ahead of that, without counting
    #[arg(long, default_value = "0.2", value_name = "S", value_parser = seconds_or_none)]
    pub warm_up: Duration,
    /// Frame size in bytes, checksum included, or imix
    #[arg(long, default_value = "64", value_name = "BYTES|imix")]
    pub size: Size,
    /// Source ports
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub flows: u16,
    /// Destination addresses
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub destinations: u32,
    /// Send so many packets at that rate, in place of --seconds (--pps max: back to back)
    #[arg(long, value_name = "N")]
    pub burst: Option<u64>,
    /// Send the frames of a capture file (pcap, pcapng), over and over, to the gateway
    #[arg(long, value_name = "FILE", conflicts_with_all = ["size", "flows", "destinations", "depool"])]
    pub replay: Option<PathBuf>,
    /// Print the findings as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub ports: PortArgs,
}

#[derive(Args)]
pub struct JitterArgs {
    /// CPU to look at
    #[arg(long, value_name = "CPU")]
    pub core: usize,
    /// For how long
    #[arg(long, default_value = "10", value_name = "S", value_parser = seconds)]
    pub seconds: Duration,
    /// Print the findings as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Who forwards the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// Its Ethernet address is asked for.
    Address(IpAddr),
    /// It is known.
    Mac(MacAddr),
}

impl std::str::FromStr for Gateway {
    type Err = String;

    fn from_str(text: &str) -> Result<Gateway, String> {
        let address = text.parse().map(Gateway::Address).ok();
        let mac = || text.parse().map(Gateway::Mac).ok();
        address.or_else(mac).ok_or_else(|| "expected an IP address or an Ethernet address".into())
    }
}

/// A rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pps {
    Packets(u64),
    /// Of what the generator can send, 0 to 1.
    Share(f64),
    Max,
}

impl std::str::FromStr for Pps {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Pps, &'static str> {
        let error = "expected packets a second from 1 to 1000000000, a percentage above 0 to 100, or max";
        if text == "max" {
            return Ok(Pps::Max);
        }
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.parse().map_err(|_| error)?;
            return if percent > 0.0 && percent <= 100.0 { Ok(Pps::Share(percent / 100.0)) } else { Err(error) };
        }
        text.parse().ok().filter(|pps| (1..=MAX_PPS).contains(pps)).map(Pps::Packets).ok_or(error)
    }
}

/// The highest rate that can be asked for.
pub const MAX_PPS: u64 = 1_000_000_000;

/// Where packet memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MemoryArg {
    /// In hugepages where enough are free, else in ordinary pages
    Auto,
    Hugepages,
    NoHuge,
}

impl From<MemoryArg> for Memory {
    fn from(memory: MemoryArg) -> Memory {
        match memory {
            MemoryArg::Auto => Memory::Auto,
            MemoryArg::Hugepages => Memory::Hugepages,
            MemoryArg::NoHuge => Memory::NoHuge,
        }
    }
}

/// The longest time that can be asked for, in seconds.
pub const MAX_SECONDS: f64 = 86_400.0;

/// A number of seconds as a time; none where it is negative, too large or no number.
pub fn duration(seconds: f64) -> Option<Duration> {
    (0.0..=MAX_SECONDS).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

fn seconds_or_none(text: &str) -> Result<Duration, &'static str> {
    text.parse().ok().and_then(duration).ok_or("expected a number of seconds from 0 to 86400")
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    seconds_or_none(text)
        .ok()
        .filter(|time| *time >= Duration::from_millis(1))
        .ok_or("expected a number of seconds from 0.001 to 86400")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn rates_are_numbers_shares_or_all_there_is() {
        assert_eq!("1000".parse(), Ok(Pps::Packets(1000)));
        assert_eq!("50%".parse(), Ok(Pps::Share(0.5)));
        assert_eq!("max".parse(), Ok(Pps::Max));
        for text in ["", "0", "-1", "0%", "101%", "NaN%", "1e3", "1000000001", "%"] {
            assert!(text.parse::<Pps>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_gateway_is_one_address_or_the_other() {
        assert!(matches!("192.0.2.1".parse(), Ok(Gateway::Address(_))));
        assert!(matches!("2001:db8::1".parse(), Ok(Gateway::Address(_))));
        assert!(matches!("02:00:00:00:00:01".parse(), Ok(Gateway::Mac(_))));
        assert!("gateway".parse::<Gateway>().is_err());
    }

    #[test]
    fn times_that_are_none_are_refused() {
        for text in ["0", "-1", "NaN", "inf", "1e99", ""] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds_or_none("0"), Ok(Duration::ZERO));
    }
}
