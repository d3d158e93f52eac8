//! Figures: one JSON object a line for machines, and the table for people made from the same.

use serde::Serialize;

use crate::case::Case;
use crate::router::Rates;

/// The contender that the others are compared with.
const REFERENCE: &str = "testpmd-mac";
/// The contender that shows what the ports themselves cost.
const PORTS: &str = "testpmd-io";

/// A contender's figure in a case.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub bench: &'static str,
    pub case: &'static str,
    pub contender: &'static str,
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
    /// Millions of packets received a second.
    pub mpps_in: f64,
    /// Millions of packets sent a second.
    pub mpps_out: f64,
    /// Ticks of the time stamp counter per packet that `value` counts.
    pub cycles: f64,
}

impl Figure {
    /// The figure of these runs, of which there is at least one.
    pub fn of_rates(case: &Case, contender: &'static str, runs: &[Rates]) -> Figure {
        let mega = |count: &dyn Fn(&Rates) -> f64| Spread::of(runs.iter().map(|run| count(run) / 1e6));
        // testpmd takes nothing apart: what it forwards is what came in.
        let counted = mega(&|run| match contender {
            "carpool" => case.counted(run.packets_in, run.packets_out),
            _ => run.packets_in,
        });
        let hz = Spread::of(runs.iter().map(|run| run.hz)).median;
        let detail = Detail {
            mpps_in: round(mega(&|run| run.packets_in).median),
            mpps_out: round(mega(&|run| run.packets_out).median),
            cycles: round(hz / 1e6 / counted.median),
        };
        Figure::new(case, contender, "Mpps", &counted, runs.len(), Some(detail))
    }

    /// The instructions per packet of a case: the same in every run.
    pub fn of_instructions(case: &Case, instructions: f64) -> Figure {
        let spread = Spread { median: instructions, min: instructions, max: instructions };
        Figure::new(case, "carpool", "instructions/packet", &spread, 1, None)
    }

    fn new(
        case: &Case,
        contender: &'static str,
        unit: &'static str,
        spread: &Spread,
        runs: usize,
        detail: Option<Detail>,
    ) -> Figure {
        let [value, min, max] = [spread.median, spread.min, spread.max].map(round);
        Figure { bench: "dataplane", case: case.name, contender, value, unit, min, max, runs, detail }
    }
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

/// The table for people.
pub fn table(figures: &[Figure]) -> String {
    let mut lines = String::new();
    let width = figures.iter().map(|figure| figure.case.len()).max().unwrap_or(0).max(12);
    for (number, figure) in figures.iter().enumerate() {
        let Some(detail) = &figure.detail else {
            if number == 0 {
                lines.push_str(&format!("{:<width$}  instructions per packet\n", "case"));
            }
            lines.push_str(&format!("{:<width$}  {:>23.1}\n", figure.case, figure.value));
            continue;
        };
        if number == 0 {
            lines.push_str(&format!(
                "{:<width$}  contender      Mpps  (min to max)      Mpps in  Mpps out  x testpmd-mac  cycles/packet  \
                 net of ports\n",
                "case"
            ));
        }
        let of = |contender| figures.iter().find(|other| other.case == figure.case && other.contender == contender);
        let ratio = of(REFERENCE).and_then(|other| other.detail.as_ref()).map(|other| detail.mpps_in / other.mpps_in);
        // What the ports cost for each packet that came in, spread over the packets that are counted.
        let ports =
            of(PORTS).and_then(|other| other.detail.as_ref()).map(|io| io.cycles * detail.mpps_in / figure.value);
        let net = ports.map(|ports| detail.cycles - ports).filter(|_| figure.contender != PORTS);
        let text = |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
        let again = number > 0 && figures.get(number - 1).is_some_and(|above| above.case == figure.case);
        lines.push_str(&format!(
            "{:<width$}  {:<11}  {:>6.2}  {:<16}  {:>7.2}  {:>8.2}  {:>13}  {:>13.1}  {:>12}\n",
            if again { "" } else { figure.case },
            figure.contender,
            figure.value,
            format!("({:.2} to {:.2})", figure.min, figure.max),
            detail.mpps_in,
            detail.mpps_out,
            text(ratio, 2),
            detail.cycles,
            text(net, 1),
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(packets_in: f64, packets_out: f64) -> Rates {
        Rates { packets_in, packets_out, hz: 2e9 }
    }

    #[test]
    fn the_median_stands_between_the_two_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0].into_iter()), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0].into_iter()), Spread { median: 2.5, min: 1.0, max: 4.0 });
    }

    #[test]
    fn depooling_counts_what_comes_out_and_is_compared_by_what_came_in() {
        let case = "depool_300".parse().expect("a case");
        let figures = [
            Figure::of_rates(&case, "carpool", &[rates(5e6, 20e6)]),
            Figure::of_rates(&case, "testpmd-mac", &[rates(10e6, 10e6)]),
            Figure::of_rates(&case, "testpmd-io", &[rates(20e6, 20e6)]),
        ];
        assert_eq!((figures[0].value, figures[1].value), (20.0, 10.0));
        let table = table(&figures);
        let carpool: Vec<&str> = table.lines().nth(1).expect("a row").split_whitespace().collect();
        // 100 cycles per packet out, of which 100 per packet in, a quarter of that per packet out, are the ports'.
        assert_eq!(carpool[6..], ["5.00", "20.00", "0.50", "100.0", "75.0"]);
    }

    #[test]
    fn a_figure_is_one_line_of_json_in_the_shape_of_all_figures() {
        let case = "forward_64".parse().expect("a case");
        let figure = Figure::of_rates(&case, "carpool", &[rates(2e7, 2e7), rates(1e7, 1e7), rates(3e7, 3e7)]);
        let line = serde_json::to_string(&figure).expect("plain data");
        let start = r#"{"bench":"dataplane","case":"forward_64","contender":"carpool","value":20.0,"unit":"Mpps","min":10.0,"max":30.0,"runs":3,"#;
        assert!(line.starts_with(start), "{line}");
    }
}
