//! What is measured: the cases, and what must come of each packet in them.

use std::str::FromStr;

/// Streams that packets of one case belong to.
pub const STREAMS: u16 = 64;
/// Destinations that packets are forwarded to, each with a route of its own.
pub const DESTINATIONS: u16 = 256;
/// The path MTU that pools are formed for, in bytes.
pub const PATH_MTU: u16 = 1500;

/// In transit every so manieth row, the first one included, is due.
pub const EXTRACT_EVERY: u16 = 8;

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

/// One case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// What it is called on the command line and in the figures.
    pub name: &'static str,
    /// What its packets per second count.
    pub counts: &'static str,
    /// What is done.
    pub work: Work,
    /// IP length of a forwarded packet, a stream packet or a row, in bytes.
    pub length: u16,
    /// Packets in a full pooled packet; 1 where none are pooled.
    pub rows: u16,
}

impl Case {
    /// All of them.
    pub const ALL: &'static [Case] = &[
        Case { name: "forward_64", counts: "frames of 64 B forwarded", work: Work::Forward, length: 46, rows: 1 },
        Case { name: "pool_60", counts: "stream packets of 60 B in", work: Work::Pool, length: 60, rows: rows(60) },
        Case { name: "pool_300", counts: "stream packets of 300 B in", work: Work::Pool, length: 300, rows: rows(300) },
        Case { name: "depool_60", counts: "packets of 60 B out", work: Work::Depool, length: 60, rows: rows(60) },
        Case { name: "depool_300", counts: "packets of 300 B out", work: Work::Depool, length: 300, rows: rows(300) },
        Case {
            name: "transit_60",
            counts: "pooled packets in transit",
            work: Work::Transit,
            length: 60,
            rows: rows(60),
        },
        Case {
            name: "extract_60",
            counts: "pooled packets in transit",
            work: Work::Extract,
            length: 60,
            rows: rows(60),
        },
    ];

    /// How many rows of a pooled packet are taken out here.
    pub const fn taken(&self) -> u16 {
        match self.work {
            Work::Forward | Work::Pool | Work::Transit => 0,
            Work::Depool => self.rows,
            Work::Extract => self.rows.div_ceil(EXTRACT_EVERY),
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

/// How many packets of `length` bytes fill a pooled packet: outer IPv4, UDP and pool header take 36 bytes, a row 6.
const fn rows(length: u16) -> u16 {
    (PATH_MTU - 36) / (length + 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_found_by_its_name_and_an_unknown_one_refused_with_the_names_there_are() {
        assert_eq!("pool_60".parse(), Ok(Case::ALL[1]));
        let error = "pool_61".parse::<Case>().expect_err("there is none");
        assert!(error.contains("pool_60, pool_300"), "{error}");
    }

    #[test]
    fn full_pooled_packets_have_22_and_4_rows() {
        assert_eq!((rows(60), rows(300)), (22, 4));
        let taken = |name: &str| name.parse::<Case>().map(|case| case.taken());
        assert_eq!([taken("depool_60"), taken("transit_60"), taken("extract_60")], [Ok(22), Ok(0), Ok(3)]);
    }
}
