//! Figures: one JSON object a line for machines, and the table for people made from the same.

use serde::Serialize;

use crate::case::{Case, Work};
use crate::contender::Contender;
use crate::router::Rates;
use crate::testpmd::Mode;

/// A contender's figure in a case.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub bench: &'static str,
    pub case: &'static str,
    pub contender: String,
    /// Median.
    pub value: f64,
    pub unit: &'static str,
    pub min: f64,
    pub max: f64,
    pub runs: usize,
    #[serde(flatten)]
    pub detail: Option<Detail>,
}

/// What else a run in time tells; medians.
#[derive(Clone, Debug, Serialize)]
pub struct Detail {
    /// The driver of the ports.
    pub ports: &'static str,
    /// Millions of packets received a second.
    pub mpps_in: f64,
    /// Millions of packets sent a second.
    pub mpps_out: f64,
    /// Ticks of the time stamp counter per packet that `value` counts.
    pub cycles: f64,
    /// Those that are left without what the ports take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_cycles: Option<f64>,
    /// How many times as fast as `reference`: the median of what the turns say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// The contender that it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// The runs of a contender, in the order of the turns.
pub struct Runs {
    pub contender: Contender,
    pub rates: Vec<Rates>,
}

/// The figures of all contenders of a case.
pub fn of_case(case: &Case, ports: &'static str, measured: &[Runs]) -> Vec<Figure> {
    let find = |contender| measured.iter().find(|runs| runs.contender == contender);
    let io = find(Contender::Testpmd(Mode::Io)).map(|runs| {
        let spread = |of: &dyn Fn(&Rates) -> f64| Spread::of(runs.rates.iter().map(of)).median;
        spread(&|run| run.hz) / spread(&|run| run.packets_in)
    });
    let reference = reference(case, measured);
    measured
        .iter()
        .map(|runs| {
            let spread = |of: &dyn Fn(&Rates) -> f64| Spread::of(runs.rates.iter().map(of));
            let counted = spread(&|run| counted(case, runs.contender, run) / 1e6);
            let mpps_in = spread(&|run| run.packets_in / 1e6).median;
            let cycles = spread(&|run| run.hz).median / 1e6 / counted.median;
            // What the ports cost for each packet that came in, spread over the packets that are counted.
            let has_net = match runs.contender {
                Contender::Testpmd(Mode::Io) | Contender::TwoWorkers => false,
                // Of other frames than those that were measured.
                Contender::Reference => case.work == Work::Pool,
                _ => true,
            };
            let net_cycles = io.filter(|_| has_net).map(|io| cycles - io * mpps_in / counted.median);
            let reference = match runs.contender {
                Contender::TwoWorkers => find(Contender::Carpool),
                _ => reference,
            };
            let ratio = reference.map(|reference| {
                let ratio = |(own, other): (&Rates, &Rates)| {
                    compared(case, runs.contender, own) / compared(case, reference.contender, other)
                };
                Spread::of(runs.rates.iter().zip(&reference.rates).map(ratio)).median
            });
            let detail = Detail {
                ports,
                mpps_in: round(mpps_in),
                mpps_out: round(spread(&|run| run.packets_out / 1e6).median),
                cycles: round(cycles),
                net_cycles: net_cycles.map(round),
                ratio: ratio.map(round),
                reference: reference.map(|reference| reference.contender.title(case)),
            };
            figure(case, runs.contender.title(case), "Mpps", counted, runs.rates.len(), Some(detail))
        })
        .collect()
}

/// The instructions per packet of a case: the same in every run.
pub fn of_instructions(case: &Case, instructions: f64) -> Figure {
    let spread = Spread { median: instructions, min: instructions, max: instructions };
    figure(case, "carpool".into(), "instructions/packet", spread, 1, None)
}

fn figure(
    case: &Case,
    contender: String,
    unit: &'static str,
    spread: Spread,
    runs: usize,
    detail: Option<Detail>,
) -> Figure {
    let [value, min, max] = [spread.median, spread.min, spread.max].map(round);
    Figure { bench: "dataplane", case: case.name, contender, value, unit, min, max, runs, detail }
}

/// Whom the others are compared with: carpool doing something else with the packets, or the better l3fwd, or testpmd.
fn reference<'a>(case: &Case, measured: &'a [Runs]) -> Option<&'a Runs> {
    let is = |of: fn(Contender) -> bool| measured.iter().filter(move |runs| of(runs.contender));
    let median = |runs: &&Runs| Spread::of(runs.rates.iter().map(|run| counted(case, runs.contender, run))).median;
    is(|contender| contender == Contender::Reference)
        .next()
        .or_else(|| {
            is(|contender| matches!(contender, Contender::L3fwd(_))).max_by(|a, b| median(a).total_cmp(&median(b)))
        })
        .or_else(|| is(|contender| contender == Contender::Testpmd(Mode::Mac)).next())
}

/// Packets a second that the figure of a contender counts. Peers take nothing apart: what they forward is what came in.
fn counted(case: &Case, contender: Contender, run: &Rates) -> f64 {
    match contender {
        Contender::Carpool | Contender::TwoWorkers => case.counted(run.packets_in, run.packets_out),
        Contender::Reference => {
            case.reference().map_or(0.0, |reference| reference.counted(run.packets_in, run.packets_out))
        }
        Contender::Testpmd(_) | Contender::L3fwd(_) => run.packets_in,
    }
}

/// Packets a second where contenders are compared.
fn compared(case: &Case, contender: Contender, run: &Rates) -> f64 {
    let work = match contender {
        Contender::Carpool | Contender::TwoWorkers => case.work,
        Contender::Reference => case.reference().map_or(case.work, |reference| reference.work),
        Contender::Testpmd(_) | Contender::L3fwd(_) => Work::Forward,
    };
    case.compared(work, run.packets_in, run.packets_out)
}

/// Median and extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of values of which there is at least one.
    pub fn of(values: impl Iterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let (lower, upper) = (values.len().saturating_sub(1) / 2, values.len() / 2);
        Spread { median: (at(lower) + at(upper)) / 2.0, min: at(0), max: at(values.len().saturating_sub(1)) }
    }
}

/// To three decimals.
pub fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The heading of a table of rates.
pub fn heading() -> String {
    format!(
        "{:<24}  {:<27}  {:>7}  {:<18}  {:>7}  {:>8}  {:>13}  {:>12}  x reference",
        "case", "contender", "Mpps", "(min to max)", "Mpps in", "Mpps out", "cycles/packet", "net of ports"
    )
}

/// The rows of a case, or of its instructions.
pub fn rows(figures: &[Figure]) -> String {
    let mut lines = String::new();
    for (number, figure) in figures.iter().enumerate() {
        let Some(detail) = &figure.detail else {
            lines.push_str(&format!("{:<24}  {:>9.1} instructions per packet\n", figure.case, figure.value));
            continue;
        };
        let net = detail.net_cycles.map_or("-".into(), |cycles| format!("{cycles:.1}"));
        let ratio = match (&detail.reference, detail.ratio) {
            (Some(reference), Some(ratio)) if *reference != figure.contender => format!("{ratio:.2} {reference}"),
            (Some(_), Some(_)) => "1".into(),
            _ => "-".into(),
        };
        lines.push_str(&format!(
            "{:<24}  {:<27}  {:>7.2}  {:<18}  {:>7.2}  {:>8.2}  {:>13.1}  {:>12}  {}\n",
            if number > 0 { "" } else { figure.case },
            figure.contender,
            figure.value,
            format!("({:.2} to {:.2})", figure.min, figure.max),
            detail.mpps_in,
            detail.mpps_out,
            detail.cycles,
            net,
            ratio,
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l3fwd::Lookup;

    fn rates(packets_in: f64, packets_out: f64) -> Rates {
        Rates { packets_in, packets_out, hz: 2e9 }
    }

    fn runs(contender: Contender, rates: &[Rates]) -> Runs {
        Runs { contender, rates: rates.to_vec() }
    }

    fn case(name: &str) -> Case {
        name.parse().expect("a case")
    }

    #[test]
    fn the_median_stands_between_the_two_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0].into_iter()), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0].into_iter()), Spread { median: 2.5, min: 1.0, max: 4.0 });
    }

    #[test]
    fn depooling_counts_what_comes_out_and_is_compared_with_forwarding_that() {
        let measured = [
            runs(Contender::Carpool, &[rates(5e6, 20e6)]),
            runs(Contender::Reference, &[rates(40e6, 40e6)]),
            runs(Contender::Testpmd(Mode::Io), &[rates(20e6, 20e6)]),
        ];
        let figures = of_case(&case("depool_300"), "net_lean", &measured);
        assert_eq!((figures[0].value, figures[1].value), (20.0, 40.0));
        let detail = figures[0].detail.as_ref().expect("a rate");
        // 100 cycles per packet out, of which 100 per packet in, a quarter of that per packet out, are the ports'.
        assert_eq!((detail.cycles, detail.net_cycles, detail.ratio), (100.0, Some(75.0), Some(0.5)));
        assert_eq!(detail.reference.as_deref(), Some("carpool-forward_300"));
        let rows = rows(&figures);
        assert!(rows.lines().next().is_some_and(|row| row.ends_with("0.50 carpool-forward_300")), "{rows}");
    }

    #[test]
    fn taking_out_on_the_way_is_compared_by_pooled_packets() {
        let measured = [runs(Contender::Carpool, &[rates(2e6, 8e6)]), runs(Contender::Reference, &[rates(4e6, 88e6)])];
        let figures = of_case(&case("extract_60"), "net_lean", &measured);
        assert_eq!(figures[0].detail.as_ref().and_then(|detail| detail.ratio), Some(0.5));
    }

    #[test]
    fn forwarding_is_compared_with_the_better_l3fwd_turn_by_turn_and_two_workers_with_one() {
        let forwards = |values: [f64; 3]| values.map(|value| rates(value, value));
        let measured = [
            runs(Contender::Carpool, &forwards([10e6, 30e6, 20e6])),
            runs(Contender::TwoWorkers, &forwards([20e6, 45e6, 38e6])),
            runs(Contender::L3fwd(Lookup::Lpm), &forwards([20e6, 30e6, 30e6])),
            runs(Contender::L3fwd(Lookup::Fib), &forwards([20e6, 20e6, 20e6])),
        ];
        let figures = of_case(&case("forward_64"), "net_lean", &measured);
        let ratio = |index: usize| figures[index].detail.as_ref().and_then(|detail| detail.ratio);
        assert_eq!((ratio(0), ratio(1), ratio(2)), (Some(0.667), Some(1.9), Some(1.0)));
    }

    #[test]
    fn a_figure_is_one_line_of_json_in_the_shape_of_all_figures() {
        let measured = [runs(Contender::Carpool, &[rates(2e7, 2e7), rates(1e7, 1e7), rates(3e7, 3e7)])];
        let figures = of_case(&case("forward_64"), "net_lean", &measured);
        let line = serde_json::to_string(&figures[0]).expect("plain data");
        let start = r#"{"bench":"dataplane","case":"forward_64","contender":"carpool","value":20.0,"unit":"Mpps","min":10.0,"max":30.0,"runs":3,"ports":"net_lean","#;
        assert!(line.starts_with(start), "{line}");
    }
}
