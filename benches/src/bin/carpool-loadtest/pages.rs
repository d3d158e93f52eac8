//! The report as a directory: plots, a page that shows them, the same in Markdown, and all figures as JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use carpool_benches::plot::{Axis, Plot, Series};

use crate::error::{LoadError, Result};
use crate::keep;
use crate::report::Report;
use crate::trial::FrameSize;

/// Writes everything into a directory, which is made.
pub fn write(report: &Report, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).map_err(|source| LoadError::File {
        doing: "making",
        path: directory.to_owned(),
        source,
    })?;
    let plots = plots(report);
    let file = |name: &str, text: &str| keep::replace(&directory.join(name), text);
    for (name, plot) in &plots {
        file(name, &plot.to_svg().map_err(LoadError::Plot)?)?;
    }
    let names: Vec<(&str, &str)> = plots.iter().map(|(name, plot)| (name.as_str(), plot.title.as_str())).collect();
    file("report.md", &markdown(report, &names))?;
    file("index.html", &html(report, &names))?;
    let json = serde_json::to_string_pretty(report).map_err(|error| LoadError::System(error.to_string()))?;
    file("report.json", &json)
}

/// The pictures that there are figures for, with their file names.
pub fn plots(report: &Report) -> Vec<(String, Plot)> {
    let mut plots = Vec::new();
    let mut add = |name: &str, title: &str, x: Axis, y: Axis, series: Vec<Series>| {
        if series.iter().any(|series| !series.points.is_empty()) {
            plots.push((format!("{name}.svg"), Plot { title: title.into(), x, y, series }));
        }
    };
    let sizes = || report.throughput.iter();
    let by_size = |pick: fn(&crate::throughput::Throughput) -> Option<f64>| {
        sizes().filter_map(|found| Some((found.size.mean(), pick(found)? / 1e6))).collect::<Vec<_>>()
    };
    let mut throughput = vec![
        series("no-drop rate", by_size(|found| found.ndr.as_ref()?.pps)),
        series("partial drop rate, 0.5%", by_size(|found| found.pdr.as_ref()?.pps)),
        series("offered at most", by_size(|found| Some(found.top_pps))),
    ];
    for series in &mut throughput {
        series.points.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    }
    add(
        "throughput",
        "Throughput",
        Axis::linear("frame size, bytes (the mix at its mean)"),
        Axis::linear("Mpps"),
        throughput,
    );
    let loss = sizes().filter(|found| found.loss.len() > 1).map(|found| {
        let points = found.loss.iter().map(|loss| (loss.offered_pps / 1e6, loss.loss * 100.0));
        series(&size_name(found.size), points.collect())
    });
    add("loss", "Loss against load", Axis::linear("offered, Mpps"), Axis::linear("lost, %"), loss.collect());
    let carried = sizes().filter(|found| found.loss.len() > 1).map(|found| {
        let points = found.loss.iter().map(|loss| (loss.offered_pps / 1e6, loss.received_pps / 1e6));
        series(&size_name(found.size), points.collect())
    });
    add(
        "carried",
        "Carried against offered",
        Axis::linear("offered, Mpps"),
        Axis::linear("arrived, Mpps"),
        carried.collect(),
    );
    let latency = sizes().flat_map(|found| {
        let percentile = |name: &str, pick: fn(&crate::trial::Latency) -> f64| {
            let points = found.latency.iter().map(|at| (f64::from(at.pdr_percent), pick(&at.latency_ns) / 1e3));
            series(&format!("{}, {name}", size_name(found.size)), points.collect())
        };
        [percentile("p50", |latency| latency.p50), percentile("p99", |latency| latency.p99)]
    });
    add(
        "latency",
        "Latency",
        Axis::linear("load, % of the partial drop rate"),
        Axis::log("us"),
        latency.take(8).collect(),
    );
    for pools in &report.pools {
        let mut loads: BTreeMap<u64, Vec<&crate::pools::Point>> = BTreeMap::new();
        for point in &pools.points {
            loads.entry(point.pps as u64).or_default().push(point);
        }
        let lines = |pick: fn(&crate::pools::Point) -> f64| {
            loads.iter().map(move |(pps, points)| {
                let points = points.iter().map(|point| (point.window_us as f64, pick(point)));
                series(&format!("{}/s", crate::report::mpps(*pps as f64)), points.collect())
            })
        };
        let bytes = pools.ip_bytes;
        let window = || Axis::log("window, us");
        let name = |what: &str| format!("pools-{what}-{bytes}");
        let title = |what: &str| format!("{what}, stream packets of {bytes} B");
        add(
            &name("ratio"),
            &title("Packets in a pooled packet"),
            window(),
            Axis::linear("ratio"),
            lines(|point| point.ratio).collect(),
        );
        let saved = lines(|point| point.saved * 100.0).collect();
        add(&name("saved"), &title("Saved on the wire"), window(), Axis::linear("bytes saved, %"), saved);
        let mut delay: Vec<Series> = lines(|point| point.latency_ns.p99 / 1e3).collect();
        let target =
            pools.points.iter().map(|point| (point.window_us as f64, point.window_us as f64 + crate::pools::BEYOND_US));
        let mut target: Vec<(f64, f64)> = target.collect();
        target.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        target.dedup();
        delay.push(series("window + 100 us", target));
        add(&name("delay"), &title("Delay, 99% below"), window(), Axis::log("us"), delay);
    }
    plots
}

fn series(name: &str, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.into(), points }
}

fn size_name(size: FrameSize) -> String {
    match size {
        FrameSize::Bytes(bytes) => format!("{bytes} B"),
        FrameSize::Imix => "imix".into(),
    }
}

const TITLE: &str = "Load test of a carpool router";

fn markdown(report: &Report, plots: &[(&str, &str)]) -> String {
    let facts: String = report.facts().iter().map(|(name, value)| format!("- {name}: {value}\n")).collect();
    let tables: String = report.tables().iter().map(|table| table.markdown()).collect();
    let plots: String = plots.iter().map(|(name, title)| format!("![{title}]({name})\n\n")).collect();
    format!("# {TITLE}\n\n{facts}\n{tables}{plots}")
}

fn html(report: &Report, plots: &[(&str, &str)]) -> String {
    let facts: String = report
        .facts()
        .iter()
        .map(|(name, value)| format!("<tr><th>{}</th><td>{}</td></tr>\n", escape(name), escape(value)))
        .collect();
    let cells = |row: &[String], tag: &str| -> String {
        row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect()
    };
    let tables: String = report
        .tables()
        .iter()
        .map(|table| {
            let rows: String = table.rows.iter().map(|row| format!("<tr>{}</tr>\n", cells(row, "td"))).collect();
            format!(
                "<h2>{}</h2>\n<table class=\"figures\"><tr>{}</tr>\n{rows}</table>\n",
                escape(&table.title),
                cells(&table.head, "th")
            )
        })
        .collect();
    let plots: String =
        plots.iter().map(|(name, title)| format!("<img src=\"{name}\" alt=\"{}\">\n", escape(title))).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{TITLE}</title>\n<style>\
         body{{font-family:sans-serif;margin:2em;max-width:70em}}table{{border-collapse:collapse}}\
         th,td{{padding:.2em .7em;text-align:left;vertical-align:top}}.figures td,.figures th{{text-align:right}}\
         .figures tr:nth-child(even){{background:#f2f2f2}}img{{max-width:100%}}</style></head>\n\
         <body><h1>{TITLE}</h1>\n<table>{facts}</table>\n{plots}{tables}</body></html>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
