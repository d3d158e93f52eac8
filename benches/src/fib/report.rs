//! The table for people, made from the figures.

use std::fmt::Write;

use super::carpool::{ALL_LENGTHS, NAME};
use super::figure::{Bound, Figure};
use super::stream::Stream;

const BENCHES: [(&str, &str); 2] = [("fib4", "IPv4"), ("fib6", "IPv6")];
/// The widths of the names and of the columns.
const NAMES: usize = 32;
const COLUMN: usize = 16;

/// All that was measured.
pub fn text(figures: &[Figure]) -> String {
    let mut text = String::new();
    for (bench, family) in BENCHES {
        let of: Vec<&Figure> = figures.iter().filter(|figure| figure.bench == bench).collect();
        streams(&mut text, family, &of);
    }
    others(&mut text, figures);
    text
}

/// Look-ups: a row for each contender, a column for each stream.
fn streams(text: &mut String, family: &str, figures: &[&Figure]) {
    let columns: Vec<&str> = Stream::ALL
        .into_iter()
        .map(Stream::name)
        .filter(|name| figures.iter().any(|figure| figure.case == *name && figure.unit == "Mlps"))
        .collect();
    if columns.is_empty() {
        return;
    }
    let mut row = |name: &str, cell: &dyn Fn(&str) -> String| {
        let _ = write!(text, "{name:<NAMES$}");
        for column in &columns {
            let _ = write!(text, " {:>COLUMN$}", cell(column));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    };
    row(&format!("{family}: Mlps (min to max)"), &|column| column.to_owned());
    let find = |case: &str, contender: &str, unit: &str| {
        figures.iter().find(|figure| figure.case == case && figure.contender == contender && figure.unit == unit)
    };
    let mut contenders: Vec<&str> = Vec::new();
    for figure in figures.iter().filter(|figure| figure.unit == "Mlps" && columns.contains(&figure.case.as_str())) {
        if !contenders.contains(&figure.contender.as_str()) {
            contenders.push(&figure.contender);
        }
    }
    for contender in contenders {
        row(contender, &|column| {
            find(column, contender, "Mlps")
                .map_or("-".into(), |figure| format!("{:.0} ({:.0}-{:.0})", figure.value, figure.min, figure.max))
        });
    }
    // The first is the ratio to DPDK's best, the second, where there is one, to the best without wide vectors.
    let ratio = |column: &str, number: usize| {
        let of_carpool = |figure: &&&Figure| {
            figure.case == column && figure.unit == "ratio" && figure.contender.starts_with(&format!("{NAME}/"))
        };
        figures.iter().filter(of_carpool).nth(number).copied()
    };
    type Cell = fn(&Figure) -> String;
    let cells: [(&str, usize, Cell); 7] = [
        ("carpool x DPDK's best", 0, |figure| format!("{:.2}", figure.value)),
        ("  target", 0, |figure| bound(figure.target)),
        ("  DPDK's best", 0, |figure| peer(figure).to_owned()),
        ("  looks up by", 0, |figure| figure.lookup.unwrap_or("-").to_owned()),
        ("carpool x DPDK's best by default", 1, |figure| format!("{:.2}", figure.value)),
        ("  which is", 1, |figure| peer(figure).to_owned()),
        ("  looks up by", 1, |figure| figure.lookup.unwrap_or("-").to_owned()),
    ];
    for (name, number, cell) in cells {
        if columns.iter().any(|column| ratio(column, number).is_some()) {
            row(name, &|column| ratio(column, number).map_or("-".into(), cell));
        }
    }
    let contenders = format!("{ALL_LENGTHS}/{NAME}");
    for (name, suffix) in [("all lengths, same stream", ""), ("all lengths, own stream", "-all-lengths")] {
        let change = |column: &str| find(&format!("{column}{suffix}"), &contenders, "ratio");
        if columns.iter().any(|column| change(column).is_some()) {
            row(name, &|column| {
                change(column).map_or("-".into(), |figure| {
                    format!(
                        "{:+.0}% {}",
                        100.0 * (figure.value - 1.0),
                        if met(figure.target) { "met" } else { "not met" }
                    )
                })
            });
        }
    }
    text.push('\n');
}

/// Everything else: a line each.
fn others(text: &mut String, figures: &[Figure]) {
    let is_stream = |figure: &Figure| {
        Stream::ALL.iter().any(|stream| figure.case.trim_end_matches("-all-lengths") == stream.name())
    };
    let others: Vec<&Figure> = figures.iter().filter(|figure| !is_stream(figure)).collect();
    if others.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "{:<5}  {:<24}  {:<20}  {:>11}  {:<24}  {:<5}  target",
        "bench", "case", "contender", "value", "(min to max)", "unit"
    );
    for figure in others {
        let digits = if figure.value.abs() >= 1000.0 { 0 } else { 2 };
        let line = format!(
            "{:<5}  {:<24}  {:<20}  {:>11.digits$}  {:<24}  {:<5}  {}",
            figure.bench,
            figure.case,
            figure.contender,
            figure.value,
            if figure.runs > 1 {
                format!("({:.digits$} to {:.digits$})", figure.min, figure.max)
            } else {
                String::new()
            },
            figure.unit,
            figure.target.map_or(String::new(), |target| bound(Some(target))),
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// The other contender of a ratio.
fn peer(ratio: &Figure) -> &str {
    ratio.contender.split_once('/').map_or("-", |(_, peer)| peer)
}

fn met(bound: Option<Bound>) -> bool {
    bound.is_none_or(|bound| bound.met)
}

fn bound(bound: Option<Bound>) -> String {
    let Some(Bound { target, met }) = bound else { return "-".into() };
    format!("{target} {}", if met { "met" } else { "not met" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fib::target::Target;

    #[test]
    fn a_stream_has_a_column_with_the_ratio_and_whether_its_target_is_met() {
        let figures = [
            Figure::new("fib4", "zipf", "carpool", "Mlps", &[300.0]),
            Figure::new("fib4", "zipf", "rte_fib", "Mlps", &[100.0]).with_lookup(Some("scalar_uni")),
            Figure::new("fib4", "zipf", "carpool/rte_fib", "ratio", &[3.0])
                .with_lookup(Some("scalar_uni"))
                .with_target(Some(Target::AtLeast(3.5))),
            Figure::new("fib4", "memory", "carpool", "MB", &[5.0]).with_target(Some(Target::AtMost(6.0))),
        ];
        let text = text(&figures);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0].last(), Some(&"zipf"));
        assert_eq!(lines[1], ["carpool", "300", "(300-300)"]);
        assert_eq!(lines[3][lines[3].len() - 1], "3.00");
        assert_eq!(lines[4][1..], [">=", "3.5", "not", "met"]);
        assert_eq!(lines[6][lines[6].len() - 1], "scalar_uni");
        assert_eq!(lines.last().expect("a line")[..], ["fib4", "memory", "carpool", "5.00", "MB", "<=", "6", "met"]);
    }
}
