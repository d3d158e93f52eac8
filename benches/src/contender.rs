//! Who is measured in a case.

use std::str::FromStr;

use crate::case::{Case, Work};
use crate::l3fwd::Lookup;
use crate::testpmd::Mode;

/// Somebody who forwards packets, or does what else a case says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// The router.
    Carpool,
    /// The router with two workers, on two CPUs.
    TwoWorkers,
    /// The router doing what the case is compared with.
    Reference,
    Testpmd(Mode),
    L3fwd(Lookup),
}

impl Contender {
    const ALL: [Contender; 7] = [
        Contender::Carpool,
        Contender::Reference,
        Contender::TwoWorkers,
        Contender::L3fwd(Lookup::Lpm),
        Contender::L3fwd(Lookup::Fib),
        Contender::Testpmd(Mode::Mac),
        Contender::Testpmd(Mode::Io),
    ];

    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Contender::Carpool => "carpool",
            Contender::Reference => "reference",
            Contender::TwoWorkers => "two-workers",
            Contender::L3fwd(Lookup::Lpm) => "l3fwd-lpm",
            Contender::L3fwd(Lookup::Fib) => "l3fwd-fib",
            Contender::Testpmd(Mode::Mac) => "testpmd-mac",
            Contender::Testpmd(Mode::Io) => "testpmd-io",
        }
    }

    /// What it is called in the figures of a case.
    pub fn title(self, case: &Case) -> String {
        match (self, case.reference()) {
            (Contender::Reference, Some(reference)) => format!("carpool-{}", reference.name),
            (Contender::TwoWorkers, _) => "carpool-two-workers".into(),
            _ => self.name().into(),
        }
    }

    /// Those that a case can be measured with: on net_lean, on so many CPUs.
    pub fn of(case: &Case, lean: bool, cpus: usize) -> Vec<Contender> {
        let takes_part = |contender: &Contender| match contender {
            Contender::Carpool | Contender::Testpmd(_) => true,
            Contender::Reference => case.reference().is_some(),
            // Each queue of net_pcap would take a file of its own.
            Contender::TwoWorkers => lean && cpus > 1 && case.scales(),
            // It asks ports for offloads that net_pcap has not.
            Contender::L3fwd(_) => lean && case.work == Work::Forward,
        };
        Contender::ALL.into_iter().filter(takes_part).collect()
    }
}

impl FromStr for Contender {
    type Err = String;

    fn from_str(name: &str) -> Result<Contender, String> {
        Contender::ALL.into_iter().find(|contender| contender.name() == name).ok_or_else(|| {
            format!("there is no such contender; there are {}", Contender::ALL.map(Contender::name).join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(case: &str, lean: bool, cpus: usize) -> Vec<String> {
        let case = case.parse().expect("a case");
        Contender::of(&case, lean, cpus).into_iter().map(|contender| contender.title(&case)).collect()
    }

    #[test]
    fn a_case_has_the_contenders_that_can_do_it() {
        assert_eq!(named("forward_64", false, 2), ["carpool", "testpmd-mac", "testpmd-io"]);
        let all = ["carpool", "carpool-two-workers", "l3fwd-lpm", "l3fwd-fib", "testpmd-mac", "testpmd-io"];
        assert_eq!(named("forward_64", true, 2), all);
        assert_eq!(named("pool_60", true, 1), ["carpool", "carpool-forward_60", "testpmd-mac", "testpmd-io"]);
    }

    #[test]
    fn an_unknown_contender_is_refused_with_the_names_there_are() {
        let error = "vpp".parse::<Contender>().expect_err("there is none");
        assert!(error.contains("carpool, reference"), "{error}");
    }
}
