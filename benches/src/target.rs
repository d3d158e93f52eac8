//! What carpool is to reach beside others and beside itself: the one place with the numbers.

use serde::Serialize;

use crate::case::Case;
use crate::contender::Contender;
use crate::error::BenchError;
use crate::figure::Figure;
use crate::l3fwd::Lookup;
use crate::testpmd::Mode;

/// What of a case's figures is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// How many times as fast carpool is as what the case compares it with; at least the bound.
    Ratio,
    /// How many times as fast two workers are as one; at least the bound.
    Scaling,
    /// Ticks per packet without what the ports take; at most the bound.
    NetCycles,
}

/// A bound, and what is hoped for beyond it.
struct Target {
    case: &'static str,
    what: What,
    bound: f64,
    aim: Option<f64>,
    text: &'static str,
}

const fn target(case: &'static str, what: What, bound: f64, aim: Option<f64>, text: &'static str) -> Target {
    Target { case, what, bound, aim, text }
}

const TARGETS: [Target; 13] = [
    target("forward_64_1m", What::Ratio, 1.0, Some(1.2), "forward, a million destinations: x the better l3fwd"),
    target("forward_64", What::Ratio, 0.7, Some(0.9), "forward, 256 destinations: x the better l3fwd, two routes"),
    target("forward_64", What::NetCycles, 67.0, None, "forward: cycles a packet without the ports"),
    target("pool_60", What::Ratio, 0.8, Some(1.0), "pool 60 B: x forwarding the same"),
    target("pool_300", What::Ratio, 0.8, Some(1.0), "pool 300 B: x forwarding the same"),
    target("depool_60", What::Ratio, 0.8, None, "take out 60 B: x forwarding the same"),
    target("depool_300", What::Ratio, 0.8, None, "take out 300 B: x forwarding the same"),
    target("extract_60", What::Ratio, 0.5, None, "take one row of five out in transit: x taking out all"),
    target("pool_learned_60", What::Ratio, 0.6, None, "pool with learned headers: x pooling whole packets"),
    target("depool_learned_60", What::Ratio, 0.6, None, "take out with learned headers: x taking out whole packets"),
    target("forward_64", What::Scaling, 1.9, None, "forward: two workers x one"),
    target("pool_60", What::Scaling, 1.9, None, "pool 60 B: two workers x one"),
    target("depool_60", What::Scaling, 1.9, None, "take out 60 B: two workers x one"),
];

/// A target beside what was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub bench: &'static str,
    pub case: &'static str,
    pub target: &'static str,
    /// What was measured; none where the case has not been.
    pub value: Option<f64>,
    pub unit: &'static str,
    /// What is to be reached: at least of a ratio, at most of cycles.
    pub bound: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aim: Option<f64>,
    pub met: bool,
}

/// The cases that there are targets for, each once, in the order of all cases, with the contenders it takes.
pub fn cases() -> Vec<(Case, Vec<Contender>)> {
    let has = |case: &&Case| TARGETS.iter().any(|target| target.case == case.name);
    let contenders = |case: &Case| {
        let needs = |what| TARGETS.iter().any(|target| target.case == case.name && target.what == what);
        let mut contenders = vec![Contender::Carpool, Contender::Reference];
        contenders.extend(needs(What::Scaling).then_some(Contender::TwoWorkers));
        contenders.extend([Lookup::Lpm, Lookup::Fib].map(Contender::L3fwd));
        contenders.push(Contender::Testpmd(Mode::Io));
        contenders
    };
    Case::ALL.iter().filter(has).map(|case| (*case, contenders(case))).collect()
}

/// What became of each target. Peers other than l3fwd are no measure for it.
pub fn outcomes(figures: &[Figure]) -> Vec<Outcome> {
    let outcome = |target: &Target| {
        let contender = if target.what == What::Scaling { "carpool-two-workers" } else { "carpool" };
        let figure = figures.iter().find(|figure| figure.case == target.case && figure.contender == contender);
        let detail = figure.and_then(|figure| figure.detail.as_ref());
        let value = match target.what {
            What::NetCycles => detail.and_then(|detail| detail.net_cycles),
            What::Ratio | What::Scaling => detail.and_then(|detail| {
                detail.ratio.filter(|_| detail.reference.as_deref().is_some_and(|name| !name.starts_with("testpmd")))
            }),
        };
        let met = value.is_some_and(|value| match target.what {
            What::NetCycles => value <= target.bound,
            What::Ratio | What::Scaling => value >= target.bound,
        });
        let unit = if target.what == What::NetCycles { "cycles" } else { "x" };
        let Target { case, bound, aim, text, .. } = *target;
        Outcome { bench: "targets", case, target: text, value, unit, bound, aim, met }
    };
    TARGETS.iter().map(outcome).collect()
}

/// The table for people.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut lines = format!("{:<60}  {:>8}  {:>8}  {:>6}\n", "target", "measured", "bound", "aim");
    for outcome in outcomes {
        let sign = if outcome.unit == "cycles" { "<=" } else { ">=" };
        let value = outcome.value.map_or("-".into(), |value| format!("{value:.2}"));
        let aim = outcome.aim.map_or("-".into(), |aim| format!("{aim:.1}"));
        let verdict = match (outcome.met, outcome.value) {
            (true, _) => "met",
            (false, Some(_)) => "not met",
            (false, None) => "not measured",
        };
        let bound = format!("{sign} {}", outcome.bound);
        lines.push_str(&format!("{:<60}  {value:>8}  {bound:>8}  {aim:>6}  {verdict}\n", outcome.target));
    }
    lines
}

/// An error that names the targets that were not reached, if any was not; else those that could not be measured.
pub fn check(outcomes: &[Outcome]) -> Result<(), BenchError> {
    let named = |measured: bool| -> Vec<&str> {
        let of = |outcome: &&Outcome| !outcome.met && outcome.value.is_some() == measured;
        outcomes.iter().filter(of).map(|outcome| outcome.target).collect()
    };
    let sentence = |targets: &[&str], what| {
        format!("{} of {} targets were not {what}: {}", targets.len(), outcomes.len(), targets.join("; "))
    };
    match (named(true).as_slice(), named(false).as_slice()) {
        ([], []) => Ok(()),
        ([], unmeasured) => Err(BenchError::System(sentence(unmeasured, "measured"))),
        (missed, _) => Err(BenchError::Missed(sentence(missed, "reached"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Runs, of_case};
    use crate::router::Rates;

    fn measured(case: &str, contenders: &[(Contender, f64)]) -> Vec<Figure> {
        let run = |(contender, rate): &(Contender, f64)| Runs {
            contender: *contender,
            rates: vec![Rates { packets_in: *rate, packets_out: *rate, hz: 2e9 }],
        };
        let runs: Vec<Runs> = contenders.iter().map(run).collect();
        of_case(&case.parse().expect("a case"), "net_lean", &runs)
    }

    #[test]
    fn a_target_is_met_not_met_or_not_measured() {
        let fib = Contender::L3fwd(Lookup::Fib);
        let mut figures = measured("forward_64_1m", &[(Contender::Carpool, 30e6), (fib, 29e6)]);
        figures.extend(measured("pool_60", &[(Contender::Carpool, 30e6), (Contender::Reference, 60e6)]));
        let outcomes = outcomes(&figures);
        let of = |case: &str| outcomes.iter().find(|outcome| outcome.case == case).expect("it has a target");
        assert_eq!((of("forward_64_1m").value, of("forward_64_1m").met), (Some(1.034), true));
        assert_eq!((of("pool_60").value, of("pool_60").met), (Some(0.5), false));
        assert_eq!((of("pool_300").value, of("pool_300").met), (None, false));
        let table = table(&outcomes);
        assert!(table.contains("0.50    >= 0.8     1.0  not met"), "{table}");
        let error = check(&outcomes).expect_err("one was not reached");
        assert!(error.to_string().starts_with("1 of 13 targets were not reached: pool"), "{error}");
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn what_could_not_be_measured_was_not_missed() {
        let fib = Contender::L3fwd(Lookup::Fib);
        let figures = measured("forward_64_1m", &[(Contender::Carpool, 30e6), (fib, 29e6)]);
        let error = check(&outcomes(&figures)).expect_err("the others were not measured");
        assert!(error.to_string().starts_with("12 of 13 targets were not measured: forward, 256"), "{error}");
        assert_eq!(error.exit_code(), 3);
        assert!(check(&[]).is_ok());
    }

    #[test]
    fn a_program_that_does_not_route_is_no_measure() {
        let figures = measured("forward_64", &[(Contender::Carpool, 30e6), (Contender::Testpmd(Mode::Mac), 29e6)]);
        assert!(outcomes(&figures).iter().all(|outcome| outcome.value.is_none()));
    }

    #[test]
    fn every_case_with_a_target_is_measured() {
        let names: Vec<&str> = cases().iter().map(|(case, _)| case.name).collect();
        assert!(TARGETS.iter().all(|target| names.contains(&target.case)), "{names:?}");
    }
}
