//! What is measured: the cases, and what must come of each packet in them.

use std::str::FromStr;

use carpool_dataplane::pool::simplemux::Flavour;

use crate::growth::{Dimension, Growth};

/// Streams that packets of one case belong to.
pub const STREAMS: u16 = 64;
/// Destinations that packets are forwarded to, each with a route of its own.
pub const DESTINATIONS: u16 = 256;
/// The path MTU that pools are formed for, in bytes.
pub const PATH_MTU: u16 = 1500;

/// Where kinds of packets are mixed, every so manieth is of another kind.
pub const MIXED: u16 = 16;
/// In transit every so manieth row is due.
pub const EXTRACT_EVERY: u16 = 5;

/// What the router does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Forwards it as it is.
    Forward,
    /// Pools it.
    Pool,
    /// Takes it apart and forwards what was inside.
    Depool,
    /// Counts down the index of a pooled packet to another router and forwards it.
    Transit,
    /// Takes the rows out that are due, forwards them and the rest.
    Extract,
}

/// How stream packets travel inside a pooled packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// Whole, behind an index.
    Whole,
    /// IPv6 packets, whole, with IPv6 outside where they are pooled.
    Ipv6,
    /// RTP, behind headers that the far end learns.
    Learned,
    /// Payloads of streams that both ends were told of.
    Provisioned,
    /// Whole, with their index in a packet of its own.
    OutOfBand,
    /// Whole, of a length that both ends know.
    Predetermined,
    /// In Simplemux's format.
    Simplemux(Flavour),
}

/// What is not as in other cases of the same work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Nothing.
    Usual,
    /// The rule is adaptive.
    Adaptive,
    /// Two workers share the pools, the one that receives owns the path.
    OwnPath,
    /// Two workers share the pools, the other one owns the path.
    HandedOver,
    /// One packet in [`MIXED`] has an option in its header.
    Mixed,
    /// Every second packet goes to a destination without a path, so that it is not pooled.
    HalfPooled,
    /// Likewise all but those to one of the [`DESTINATIONS`].
    FewPooled,
}

/// Where packets go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destinations {
    /// Those of the streams, [`STREAMS`], with a route each.
    Streams,
    /// [`DESTINATIONS`], with a route each.
    Few,
    /// The same, but hosts on links.
    Hosts,
    /// So many random ones in the table of the Internet, which has a million routes. Only net_lean writes them into frames.
    Random(u32),
}

/// One case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// What it is called on the command line and in the figures.
    pub name: &'static str,
    /// What is done.
    pub work: Work,
    /// How what is pooled travels.
    pub carriage: Carriage,
    /// What is not as usual.
    pub setting: Setting,
    /// IP length of a forwarded packet or a stream packet, in bytes.
    pub length: u16,
    /// Packets in a full pooled packet; 1 where none are pooled.
    pub rows: u16,
    /// Where they go to.
    pub destinations: Destinations,
    /// How far what grows has grown, if anything does.
    pub growth: Option<Growth>,
}

const fn case(name: &'static str, work: Work, carriage: Carriage, length: u16, rows: u16) -> Case {
    let (setting, destinations) = (Setting::Usual, Destinations::Streams);
    Case { name, work, carriage, setting, length, rows, destinations, growth: None }
}

const fn forward(name: &'static str, length: u16, destinations: Destinations) -> Case {
    Case { destinations, ..case(name, Work::Forward, Carriage::Whole, length, 1) }
}

const fn forward_ipv6(name: &'static str, length: u16, destinations: Destinations) -> Case {
    Case { carriage: Carriage::Ipv6, ..forward(name, length, destinations) }
}

const fn pool_whole(name: &'static str, setting: Setting, length: u16, rows: u16) -> Case {
    Case { setting, ..case(name, Work::Pool, Carriage::Whole, length, rows) }
}

impl Case {
    /// All of them.
    pub const ALL: &'static [Case] = &[
        forward("forward_64", 46, Destinations::Few),
        forward("forward_64_hosts", 46, Destinations::Hosts),
        Case { setting: Setting::Mixed, ..forward("forward_64_mixed", 46, Destinations::Few) },
        forward("forward_64_4k", 46, Destinations::Random(4_000)),
        forward("forward_64_1m", 46, Destinations::Random(1_000_000)),
        forward_ipv6("forward_ipv6_78", 60, Destinations::Few),
        forward("forward_60", 60, Destinations::Streams),
        forward("forward_300", 300, Destinations::Streams),
        case("pool_60", Work::Pool, Carriage::Whole, 60, 22),
        case("pool_300", Work::Pool, Carriage::Whole, 300, 4),
        case("depool_60", Work::Depool, Carriage::Whole, 60, 22),
        case("depool_300", Work::Depool, Carriage::Whole, 300, 4),
        case("transit_60", Work::Transit, Carriage::Whole, 60, 22),
        case("extract_60", Work::Extract, Carriage::Whole, 60, 22),
        pool_whole("pool_60_adaptive", Setting::Adaptive, 60, 22),
        pool_whole("pool_300_adaptive", Setting::Adaptive, 300, 4),
        pool_whole("pool_60_own_path", Setting::OwnPath, 60, 22),
        pool_whole("pool_60_handed_over", Setting::HandedOver, 60, 22),
        pool_whole("pool_60_half", Setting::HalfPooled, 60, 22),
        Case { destinations: Destinations::Few, ..pool_whole("pool_64_few", Setting::FewPooled, 46, 28) },
        case("pool_ipv6_60", Work::Pool, Carriage::Ipv6, 60, 21),
        case("depool_ipv6_60", Work::Depool, Carriage::Ipv6, 60, 21),
        // The file is short: one packet in four is behind the one announced, which takes a byte more.
        case("pool_learned_60", Work::Pool, Carriage::Learned, 60, 59),
        case("depool_learned_60", Work::Depool, Carriage::Learned, 60, 60),
        case("pool_provisioned_60", Work::Pool, Carriage::Provisioned, 60, 35),
        case("depool_provisioned_60", Work::Depool, Carriage::Provisioned, 60, 35),
        case("pool_out_of_band_60", Work::Pool, Carriage::OutOfBand, 60, 24),
        case("depool_out_of_band_60", Work::Depool, Carriage::OutOfBand, 60, 24),
        case("pool_predetermined_60", Work::Pool, Carriage::Predetermined, 60, 24),
        case("depool_predetermined_60", Work::Depool, Carriage::Predetermined, 60, 24),
        case("pool_simplemux_60", Work::Pool, Carriage::Simplemux(Flavour::Normal), 60, 24),
        case("depool_simplemux_60", Work::Depool, Carriage::Simplemux(Flavour::Normal), 60, 24),
        case("pool_simplemux_fast_60", Work::Pool, Carriage::Simplemux(Flavour::Fast), 60, 23),
        case("depool_simplemux_fast_60", Work::Depool, Carriage::Simplemux(Flavour::Fast), 60, 23),
    ];

    /// How many workers there are. Those of a case share a core, so that only their instructions say anything.
    pub fn workers(&self) -> u16 {
        match self.setting {
            Setting::OwnPath | Setting::HandedOver => 2,
            _ => 1,
        }
    }

    /// Whether the packets to destination `number` are pooled.
    pub fn pools(&self, number: u16) -> bool {
        self.work == Work::Pool
            && match self.setting {
                Setting::HalfPooled => number.is_multiple_of(2),
                Setting::FewPooled => number == 0,
                _ => true,
            }
    }

    /// The case that it is compared with in the same run, if there is one: what else the same router would do with the packets.
    pub fn reference(&self) -> Option<Case> {
        let name = match (self.work, self.carriage, self.length) {
            (Work::Pool, Carriage::Whole, 46) => "forward_64",
            (Work::Pool, Carriage::Whole, 60) | (Work::Depool, Carriage::Whole, 60) => "forward_60",
            (Work::Pool, Carriage::Whole, 300) | (Work::Depool, Carriage::Whole, 300) => "forward_300",
            (Work::Pool, ..) => "pool_60",
            (Work::Depool, ..) | (Work::Transit | Work::Extract, ..) => "depool_60",
            (Work::Forward, ..) => return None,
        };
        name.parse().ok()
    }

    /// Packets that count where it is compared with its reference.
    pub fn compared(&self, work: Work, packets_in: f64, packets_out: f64) -> f64 {
        match (self.work, work) {
            // A router on the way handles pooled packets, of which it opens as many as its peer.
            (Work::Transit | Work::Extract, _) => packets_in,
            (_, Work::Depool) => packets_out,
            _ => packets_in,
        }
    }

    /// Whether two workers on two cores are measured as well.
    pub fn scales(&self) -> bool {
        ["forward_64", "forward_64_1m", "pool_60", "depool_60"].contains(&self.name)
    }

    /// How much there is of something that grows, where it does in this case.
    pub fn grown(&self, dimension: Dimension) -> Option<u32> {
        self.growth.filter(|growth| growth.dimension == dimension).map(|growth| growth.count)
    }

    /// Whether only net_lean can make its frames.
    pub fn needs_lean(&self) -> bool {
        matches!(self.destinations, Destinations::Random(_))
    }

    /// What its packets per second count.
    pub fn counts(&self) -> String {
        match self.work {
            Work::Forward => format!("packets of {} B forwarded", self.length),
            Work::Pool => format!("stream packets of {} B in", self.length),
            Work::Depool => format!("packets of {} B out", self.length),
            Work::Transit | Work::Extract => "pooled packets in transit".into(),
        }
    }

    /// Packets that the figure counts, of what came in and what went out.
    pub fn counted(&self, packets_in: f64, packets_out: f64) -> f64 {
        match self.work {
            Work::Forward | Work::Pool | Work::Transit | Work::Extract => packets_in,
            Work::Depool => packets_out,
        }
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> Result<Case, String> {
        Case::ALL.iter().find(|case| case.name == name).copied().ok_or_else(|| {
            let names: Vec<&str> = Case::ALL.iter().map(|case| case.name).collect();
            format!("there is no such case; there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_found_by_its_name_and_an_unknown_one_refused_with_the_names_there_are() {
        assert_eq!("pool_60".parse().map(|case: Case| case.name), Ok("pool_60"));
        let error = "pool_61".parse::<Case>().expect_err("there is none");
        assert!(error.contains("pool_60, pool_300"), "{error}");
    }

    #[test]
    fn what_a_case_is_compared_with_exists() {
        for case in Case::ALL {
            assert_eq!(case.reference().is_none(), case.work == Work::Forward, "{}", case.name);
        }
    }

    #[test]
    fn names_differ() {
        let names: std::collections::HashSet<&str> = Case::ALL.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), Case::ALL.len());
    }
}
