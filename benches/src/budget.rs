//! Where a packet's ticks go, stage by stage: what the ports cost, and what the router adds. Each case is run as it is and with
//! the worker's stopwatch, in turn: what the stopwatch itself costs shows beside the stages.

use std::collections::BTreeMap;
use std::fmt::Write;

use carpool_dataplane::worker::{Counters, Stage, Timed};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::campaign::RunOptions;
use crate::case::Case;
use crate::fib::figure::Figure;
use crate::router::Rates;

/// What is measured.
#[derive(Args)]
pub struct BudgetOptions {
    #[command(flatten)]
    pub run: RunOptions,
    /// Measure this case only; can be given several times [default: forward_64, forward_64_1m, pool_60, depool_60]
    #[arg(long = "case", value_name = "NAME")]
    pub cases: Vec<Case>,
}

/// The cases that are measured where none is asked for.
pub const CASES: [&str; 4] = ["forward_64", "forward_64_1m", "pool_60", "depool_60"];
const BENCH: &str = "budget";
const UNIT: &str = "ticks/packet";

/// Further rows, beside those of the stages.
const PORT: &str = "= port";
const ROUTER: &str = "= router";
const SUM: &str = "= all stages";
const CLOCK: &str = "by the clock";
const UNMEASURED: &str = "unmeasured";
const ROWS: [(&str, &str); 5] = [
    (PORT, "rx and tx"),
    (ROUTER, "all else, without idle and timing"),
    (SUM, "idle and timing included"),
    (CLOCK, "the same runs, by rate and clock"),
    (UNMEASURED, "where nobody measures stages"),
];

/// What the stages of all workers took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stages {
    /// Packets received and sent meanwhile.
    pub packets_in: u64,
    pub packets_out: u64,
    /// Ticks of the time stamp counter by stage.
    pub ticks: BTreeMap<String, u64>,
}

impl Stages {
    /// Between two moments.
    pub fn between(before: &Counters, after: &Counters) -> Stages {
        let ticks = |stage: &Stage| (stage.name().to_owned(), after.stage(*stage) - before.stage(*stage));
        Stages {
            packets_in: after.timed(Timed::In) - before.timed(Timed::In),
            packets_out: after.timed(Timed::Out) - before.timed(Timed::Out),
            ticks: Stage::ALL.iter().map(ticks).collect(),
        }
    }
}

/// A turn: a run as it is, one with the stopwatch, and what that showed.
pub struct Turn {
    pub unmeasured: Rates,
    pub measured: Rates,
    pub stages: Stages,
}

/// What of each packet's ticks goes where: a figure a row.
pub fn figures(case: &Case, turns: &[Turn]) -> Vec<Figure> {
    let figure = |row: &str, of: &dyn Fn(&Turn) -> f64| {
        let values: Vec<f64> = turns.iter().map(of).collect();
        Figure::new(BENCH, case.name, row, UNIT, &values)
    };
    let each = |turn: &Turn, wanted: &dyn Fn(Stage) -> bool| {
        let ticks = |stage: &Stage| turn.stages.ticks.get(stage.name()).copied().unwrap_or(0);
        let sum: u64 = Stage::ALL.iter().filter(|stage| wanted(**stage)).map(ticks).sum();
        sum as f64 / case.counted(turn.stages.packets_in as f64, turn.stages.packets_out as f64)
    };
    let rate = |rates: &Rates| rates.hz / case.counted(rates.packets_in, rates.packets_out);
    let is_work = |stage: Stage| !matches!(stage, Stage::Idle | Stage::Timing);
    let mut figures: Vec<Figure> =
        Stage::ALL.iter().map(|stage| figure(stage.name(), &|turn| each(turn, &|one| one == *stage))).collect();
    figures.push(figure(PORT, &|turn| each(turn, &|stage| is_work(stage) && stage.is_port())));
    figures.push(figure(ROUTER, &|turn| each(turn, &|stage| is_work(stage) && !stage.is_port())));
    figures.push(figure(SUM, &|turn| each(turn, &|_| true)));
    figures.push(figure(CLOCK, &|turn| rate(&turn.measured)));
    figures.push(figure(UNMEASURED, &|turn| rate(&turn.unmeasured)));
    figures
}

/// The table for people: a row a stage, a column a case.
pub fn table(cases: &[Case], figures: &[Figure]) -> String {
    let stages = Stage::ALL.iter().map(|stage| (stage.name(), stage.meaning()));
    let mut text = String::new();
    let mut row = |name: &str, cell: &dyn Fn(&Case) -> String, meaning: &str| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{name:<14}");
        for case in cases {
            let _ = write!(text, "  {:>width$}", cell(case), width = case.name.len().max(8));
        }
        let _ = writeln!(text, "  {meaning}");
    };
    row("stage", &|case| case.name.into(), "what it is");
    for (name, meaning) in stages.chain(ROWS) {
        let find = |case: &Case| figures.iter().find(|figure| figure.case == case.name && figure.contender == name);
        row(name, &|case| find(case).map_or("-".into(), |figure| format!("{:.1}", figure.value)), meaning);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(rx: u64, lookup: u64, timing: u64) -> Turn {
        let ticks = [("rx", rx), ("lookup", lookup), ("timing", timing)];
        let ticks = ticks.into_iter().map(|(name, ticks)| (name.to_owned(), ticks)).collect();
        let rates = |rate| Rates { packets_in: rate, packets_out: 22.0 * rate, hz: 2e9 };
        Turn {
            unmeasured: rates(1e6),
            measured: rates(8e5),
            stages: Stages { packets_in: 10, packets_out: 220, ticks },
        }
    }

    #[test]
    fn the_ticks_of_a_packet_are_split_between_ports_router_and_stopwatch() {
        let case: Case = "forward_64".parse().expect("a case");
        let figures = figures(&case, &[turn(100, 50, 10), turn(120, 50, 10), turn(110, 50, 10)]);
        let value = |row: &str| figures.iter().find(|figure| figure.contender == row).expect("a row").value;
        assert_eq!((value("rx"), value(PORT), value(ROUTER), value("tx")), (11.0, 11.0, 5.0, 0.0));
        assert_eq!((value(SUM), value(CLOCK), value(UNMEASURED)), (17.0, 2500.0, 2000.0));
        let table = table(&[case], &figures);
        let lookup = table.lines().find(|line| line.starts_with("lookup")).expect("a row");
        assert_eq!(lookup.split_whitespace().collect::<Vec<_>>(), ["lookup", "5.0", "route", "look-up"]);
    }

    #[test]
    fn where_packets_are_taken_out_those_are_what_a_share_is_of() {
        let case: Case = "depool_60".parse().expect("a case");
        let figures = figures(&case, &[turn(220, 0, 0)]);
        assert_eq!(figures.iter().find(|figure| figure.contender == "rx").expect("a row").value, 1.0);
    }

    #[test]
    fn the_cases_that_are_measured_by_themselves_exist() {
        assert!(CASES.iter().all(|name| name.parse::<Case>().is_ok()));
    }
}
