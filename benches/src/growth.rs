//! How the rate changes as something grows: routes, paths, open pools, rules for ports or for all sorts of things, streams
//! with learned headers.

use std::str::FromStr;

use carpool_benches::plot::{Axis, Plot, Series};
use serde::Serialize;

use crate::case::Case;
use crate::figure::{Spread, round};
use crate::router::Rates;

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Routes, evenly picked from the table of the Internet; a million random destinations in them.
    Routes,
    /// Paths that there are pools for; the traffic goes by at most 64 of them.
    Paths,
    /// Paths that the traffic goes by in turn: a pool is open for each.
    OpenPools,
    /// Rules, of which the last one is that of the traffic, the others for other ports.
    Rules,
    /// The same, the others for other ports, classes, protocols and prefixes.
    MixedRules,
    /// Streams that share pools behind learned headers.
    LearnedStreams,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Dimension; 6] = [
        Dimension::Routes,
        Dimension::Paths,
        Dimension::OpenPools,
        Dimension::Rules,
        Dimension::MixedRules,
        Dimension::LearnedStreams,
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Dimension::Routes => "routes",
            Dimension::Paths => "paths",
            Dimension::OpenPools => "open-pools",
            Dimension::Rules => "rules",
            Dimension::MixedRules => "mixed-rules",
            Dimension::LearnedStreams => "learned-streams",
        }
    }

    /// The numbers that it is measured at.
    pub fn counts(self) -> &'static [u32] {
        match self {
            Dimension::Routes => &[1_000, 10_000, 100_000, 1_000_000],
            Dimension::Paths => &[1, 10, 100, 1_000, 10_000],
            Dimension::OpenPools => &[1, 10, 100, 1_000],
            Dimension::Rules | Dimension::MixedRules => &[1, 4, 16, 64, 256],
            Dimension::LearnedStreams => &[1, 10, 100, 1_000, 10_000, 100_000],
        }
    }

    /// The case that it grows in.
    fn case(self) -> Option<Case> {
        let name = match self {
            Dimension::Routes => "forward_64_1m",
            Dimension::Paths | Dimension::OpenPools | Dimension::Rules | Dimension::MixedRules => "pool_60",
            Dimension::LearnedStreams => "pool_learned_60",
        };
        name.parse().ok()
    }

    /// The cases of all numbers.
    pub fn cases(self) -> Vec<Case> {
        let grown =
            |count: &u32| Some(Case { growth: Some(Growth { dimension: self, count: *count }), ..self.case()? });
        self.counts().iter().filter_map(grown).collect()
    }
}

impl FromStr for Dimension {
    type Err = String;

    fn from_str(name: &str) -> Result<Dimension, String> {
        Dimension::ALL.into_iter().find(|dimension| dimension.name() == name).ok_or_else(|| {
            format!("nothing of that name grows; there are {}", Dimension::ALL.map(Dimension::name).join(", "))
        })
    }
}

/// How much there is of what grows in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    pub dimension: Dimension,
    pub count: u32,
}

impl std::fmt::Display for Growth {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}={}", self.dimension.name(), self.count)
    }
}

impl FromStr for Growth {
    type Err = String;

    fn from_str(text: &str) -> Result<Growth, String> {
        let expected = || format!("{text:?}: expected what grows and how far, like rules=16");
        let (dimension, count) = text.split_once('=').ok_or_else(expected)?;
        let count = count.parse().ok().filter(|count| (1..=1_000_000).contains(count)).ok_or_else(expected)?;
        Ok(Growth { dimension: dimension.parse()?, count })
    }
}

/// The rate at one point.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    pub bench: &'static str,
    pub case: &'static str,
    pub contender: &'static str,
    /// How much there is of what grows.
    pub count: u32,
    /// Median.
    pub value: f64,
    pub unit: &'static str,
    pub min: f64,
    pub max: f64,
    pub runs: usize,
    /// How many times as fast as at the first point: the median of what the turns say.
    pub ratio: f64,
}

/// The points of a dimension, of the cases and what was measured in them.
pub fn points(measured: &[(Case, Vec<Rates>)]) -> Vec<Point> {
    let first = measured.first();
    let point = |(case, rates): &(Case, Vec<Rates>)| {
        let growth = case.growth?;
        let counted = |run: &Rates| case.counted(run.packets_in, run.packets_out);
        let spread = Spread::of(rates.iter().map(|run| counted(run) / 1e6));
        let ratio = |(run, first): (&Rates, &Rates)| counted(run) / counted(first);
        let ratio = Spread::of(rates.iter().zip(first.map_or(&[][..], |(_, rates)| rates)).map(ratio)).median;
        let [value, min, max, ratio] = [spread.median, spread.min, spread.max, ratio].map(round);
        let (case, count, runs) = (growth.dimension.name(), growth.count, rates.len());
        Some(Point { bench: "growth", case, contender: "carpool", count, value, unit: "Mpps", min, max, runs, ratio })
    };
    measured.iter().filter_map(point).collect()
}

/// The heading of a table of points.
pub fn heading() -> String {
    format!("{:<16}  {:>8}  {:>7}  {:<18}  x first", "what grows", "to", "Mpps", "(min to max)")
}

/// The rows of a dimension.
pub fn rows(points: &[Point]) -> String {
    let row = |(number, point): (usize, &Point)| {
        let name = if number > 0 { "" } else { point.case };
        let range = format!("({:.2} to {:.2})", point.min, point.max);
        format!("{name:<16}  {:>8}  {:>7.2}  {range:<18}  {:.2}\n", point.count, point.value, point.ratio)
    };
    points.iter().enumerate().map(row).collect()
}

/// A picture of all that was measured, as SVG: how many there are, from left to right, and the rate beside that of the first.
pub fn plot(points: &[Point]) -> Result<String, String> {
    let series = points.chunk_by(|one, next| one.case == next.case).map(|points| {
        let name = points.first().map_or("", |point| point.case).to_owned();
        Series { name, points: points.iter().map(|point| (f64::from(point.count), point.ratio)).collect() }
    });
    let plot = Plot {
        title: "Rate as one thing grows".into(),
        x: Axis::log("how many there are"),
        y: Axis::linear("rate, 1 with the fewest"),
        series: series.collect(),
    };
    plot.to_svg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_read_as_it_is_written_and_anything_else_refused() {
        for dimension in Dimension::ALL {
            for case in dimension.cases() {
                let growth = case.growth.expect("it grows");
                assert_eq!(growth.to_string().parse(), Ok(growth));
            }
        }
        for wrong in ["rules", "rules=0", "rules=1000001", "rules=x", "weight=3", "=1"] {
            assert!(wrong.parse::<Growth>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_point_is_compared_with_the_first() {
        let rates = |rate| vec![Rates { packets_in: rate, packets_out: rate, hz: 2e9 }];
        let cases = Dimension::Rules.cases();
        let points = points(&[(cases[0], rates(40e6)), (cases[1], rates(30e6))]);
        assert_eq!((points[1].count, points[1].value, points[1].ratio), (4, 30.0, 0.75));
        assert_eq!(rows(&points).lines().count(), 2);
    }

    #[test]
    fn what_grows_has_a_line_each_in_the_picture() {
        let rates = |rate| vec![Rates { packets_in: rate, packets_out: rate, hz: 2e9 }];
        let line = |dimension: Dimension| {
            points(&dimension.cases().into_iter().map(|case| (case, rates(30e6))).collect::<Vec<_>>())
        };
        let both = [line(Dimension::Rules), line(Dimension::Routes)].concat();
        let svg = plot(&both).expect("a picture");
        assert!(svg.contains("rules") && svg.contains("routes") && !svg.contains("paths"), "{svg}");
    }
}
