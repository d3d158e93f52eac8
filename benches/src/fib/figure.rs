//! Figures of the tables: one JSON object a line for machines; [`super::report`] makes the text for people from them.

use serde::Serialize;

use super::target::Target;
use crate::figure::{Spread, round};

/// A figure, of a contender in a case.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// `fib4`, `fib6`, or `fib` for what is the same for both.
    pub bench: &'static str,
    pub case: String,
    /// A ratio has two, with a stroke between.
    pub contender: String,
    /// Median.
    pub value: f64,
    pub unit: &'static str,
    pub min: f64,
    pub max: f64,
    pub runs: usize,
    /// The look-up function, where the table has several: the one that was fastest in this case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup: Option<&'static str>,
    /// What is to be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Bound>,
}

/// A target and whether it is reached.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Bound {
    #[serde(flatten)]
    pub target: Target,
    pub met: bool,
}

impl Figure {
    /// A figure of these runs, of which there is at least one.
    pub fn new(bench: &'static str, case: &str, contender: &str, unit: &'static str, runs: &[f64]) -> Figure {
        let spread = Spread::of(runs.iter().copied());
        let [value, min, max] = [spread.median, spread.min, spread.max].map(round);
        let (case, contender) = (case.to_owned(), contender.to_owned());
        Figure { bench, case, contender, value, unit, min, max, runs: runs.len(), lookup: None, target: None }
    }

    /// With what is to be reached, if there is something.
    pub fn with_target(mut self, target: Option<Target>) -> Figure {
        self.target = target.map(|target| Bound { target, met: target.is_met(self.value) });
        self
    }

    /// With the look-up function.
    pub fn with_lookup(mut self, lookup: Option<&'static str>) -> Figure {
        self.lookup = lookup;
        self
    }
}

/// Run by run, how many times as much as the other.
pub fn ratios(these: &[f64], others: &[f64]) -> Vec<f64> {
    these.iter().zip(others).map(|(this, other)| this / other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_one_line_of_json_in_the_shape_of_all_figures() {
        let figure = Figure::new("fib4", "uniform", "carpool", "Mlps", &[245.1, 240.0, 250.5]);
        let line = serde_json::to_string(&figure).expect("plain data");
        let (names, numbers) = line.split_once(r#","value""#).expect("a value");
        assert_eq!(names, r#"{"bench":"fib4","case":"uniform","contender":"carpool""#);
        assert_eq!(numbers, r#":245.1,"unit":"Mlps","min":240.0,"max":250.5,"runs":3}"#);
    }

    #[test]
    fn a_ratio_tells_its_target_and_whether_it_is_met() {
        let runs = ratios(&[30.0, 20.0, 28.0], &[10.0, 10.0, 10.0]);
        let figure = Figure::new("fib6", "prefix", "carpool/rte_fib6", "ratio", &runs);
        let met = |bound| figure.clone().with_target(Some(Target::AtLeast(bound))).target.map(|target| target.met);
        assert_eq!((figure.value, met(2.8), met(2.9)), (2.8, Some(true), Some(false)));
        let line = serde_json::to_string(&figure.with_target(Some(Target::AtLeast(3.0)))).expect("plain data");
        assert!(line.ends_with(r#""runs":3,"target":{"at_least":3.0,"met":false}}"#), "{line}");
    }
}
