//! What is reported: one structure, from which the table, the JSON and the pages are made.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::bench::{Limit, LimitedBy, Method, Record};
use crate::machine::Machine;
use crate::pools::Pools;
use crate::router::Lost;
use crate::throughput::{BackToBack, LatencyAt, LossAt, Throughput};

/// A run's findings.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What this is: `carpool-loadtest`.
    pub report: &'static str,
    /// The version of this format.
    pub version: u32,
    pub machine: Machine,
    pub bench: Setting,
    pub method: Method,
    pub throughput: Vec<Throughput>,
    pub pools: Vec<Pools>,
    /// An empty loop on the generator's CPU, before the run: what the machine itself takes away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Value>,
    /// Whether all that was asked for is in it.
    pub complete: bool,
    /// What went wrong with the parts that are missing.
    pub problems: Vec<String>,
    /// Every trial that was made.
    pub trials: Vec<Record>,
}

/// Who was tested by whom, and how they were joined.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Setting {
    pub generator: String,
    /// CPU of the generator; its control threads are there as well.
    pub generator_core: usize,
    pub generator_devices: Vec<String>,
    /// How the ports were made.
    pub ports: String,
    /// What the router says of itself.
    pub router: Value,
    pub router_ports: Vec<String>,
    /// What it logged when it started: packet memory, workers.
    pub router_log: Vec<String>,
    /// Whether it was started for this run.
    pub own_router: bool,
}

/// A rate for a person.
pub fn mpps(pps: f64) -> String {
    if pps < 1e6 { format!("{:.1} k", pps / 1e3) } else { format!("{:.3} M", pps / 1e6) }
}

fn percent(part: f64) -> String {
    match part * 100.0 {
        0.0 => "0".into(),
        percent if percent < 0.01 => format!("{percent:.5}"),
        percent => format!("{percent:.2}"),
    }
}

fn microseconds(nanoseconds: f64) -> String {
    format!("{:.1}", nanoseconds / 1e3)
}

/// A table: rows of cells, the first row its head, columns as wide as they need to be, numbers at the right.
#[derive(Clone, Debug)]
pub struct Table {
    pub title: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    fn new(title: impl Into<String>, head: &[&str]) -> Table {
        Table { title: title.into(), head: head.iter().map(|&name| name.to_owned()).collect(), rows: vec![] }
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let width = |column: usize| {
            let cells = std::iter::once(&self.head).chain(&self.rows).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let mut text = format!("{}\n", self.title);
        for row in std::iter::once(&self.head).chain(&self.rows) {
            let cells: Vec<String> =
                row.iter().enumerate().map(|(column, cell)| format!("{cell:>width$}", width = width(column))).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {}", cells.join("  ").trim_end());
        }
        text
    }

    /// In Markdown.
    pub fn markdown(&self) -> String {
        let line = |row: &[String]| format!("| {} |\n", row.join(" | "));
        let rule = format!("|{}\n", " ---: |".repeat(self.head.len()));
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("## {}\n\n{}{rule}{rows}\n", self.title, line(&self.head))
    }
}

impl Report {
    /// What it is, who, where: names and values.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = self.machine.lines();
        let Setting {
            generator,
            generator_core,
            generator_devices,
            ports,
            router,
            router_ports,
            router_log,
            own_router,
        } = &self.bench;
        let text = |key: &str| router.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
        let cores = router.get("cores").map_or_else(String::new, Value::to_string);
        let whose = if *own_router { "started for this run" } else { "attached to" };
        facts.push((
            "router",
            format!(
                "carpoold {}, DPDK {}, CPU {cores}, idle {:?}, {whose}",
                text("version"),
                text("dpdk"),
                text("idle")
            ),
        ));
        facts.push(("its ports", router_ports.join("; ")));
        facts.extend(router_log.iter().map(|line| ("it says", line.clone())));
        facts.push(("generator", format!("{generator}, CPU {generator_core}")));
        facts.push(("its ports", generator_devices.join("; ")));
        facts.push(("joined by", ports.clone()));
        let Method { seconds, warm_up, resolution, trials, may_exceed, confirm, flows, destinations, line_gbps } =
            &self.method;
        facts.push((
            "trials",
            format!(
                "{seconds} s after {warm_up} s of warm-up; {trials} of each load, {may_exceed} of them may exceed; limits \
                 to {:.1}%, confirmed by {confirm}; {flows} flows, {destinations} destinations; loads up to {line_gbps} \
                 Gbit/s of Ethernet",
                resolution * 100.0
            ),
        ));
        if let Some(jitter) = &self.jitter {
            facts.push(("empty loop", jitter_line(jitter)));
        }
        let unbalanced = self.trials.iter().filter(|trial| !trial.balanced).count();
        let account = if unbalanced == 0 {
            "every packet accounted for behind every trial".to_owned()
        } else {
            format!("packets NOT accounted for behind {unbalanced} trials")
        };
        facts.push(("accounting", format!("{} trials; {account}", self.trials.len())));
        if !self.complete {
            facts.push(("incomplete", "not all that was asked for was measured".into()));
        }
        facts.extend(self.problems.iter().map(|problem| ("failed", problem.clone())));
        facts
    }

    /// All tables that have something in them.
    pub fn tables(&self) -> Vec<Table> {
        let mut tables = vec![self.limits(), self.latency(), self.bursts(), self.loss()];
        tables.extend(self.pools.iter().map(pools));
        tables.retain(|table| !table.rows.is_empty());
        tables
    }

    fn limits(&self) -> Table {
        let head = [
            "size",
            "offered at most",
            "arrived of it",
            "without loss",
            "NDR",
            "Gbit/s",
            "PDR 0.5%",
            "Gbit/s",
            "limited by",
            "lost (PDR search)",
        ];
        let mut table = Table::new("Throughput, packets a second (RFC 2544, 26.1)", &head);
        for found in &self.throughput {
            let pps = |limit: &Option<Limit>| match limit {
                Some(Limit { pps: Some(pps), fails_at_pps: None, .. }) => format!(">= {}", mpps(*pps)),
                Some(Limit { pps: Some(pps), .. }) => mpps(*pps),
                Some(Limit { fails_at_pps: Some(failed), .. }) => format!("< {}", mpps(*failed)),
                _ => "-".into(),
            };
            let gbps = |limit: &Option<Limit>| {
                limit.as_ref().and_then(|limit| limit.gbps).map_or("-".into(), |gbps| format!("{gbps:.2}"))
            };
            let by = found.pdr.as_ref().map_or("-", |limit| match limit.limited_by {
                LimitedBy::Loss => "loss",
                LimitedBy::Offer => "what can be offered",
                LimitedBy::Line => "line rate",
            });
            table.rows.push(vec![
                found.size.to_string(),
                mpps(found.top_pps),
                mpps(found.top_received_pps),
                mpps(found.lossless_pps),
                pps(&found.ndr),
                gbps(&found.ndr),
                pps(&found.pdr),
                gbps(&found.pdr),
                by.into(),
                found.pdr.as_ref().map_or("-".into(), |limit| lost(&limit.lost_where)),
            ]);
        }
        table
    }

    fn loss(&self) -> Table {
        let head = ["size", "load %", "packets/s", "sent/s", "arrived/s", "sent", "lost", "loss %", "lost where"];
        let mut table = Table::new("Loss against load (RFC 2544, 26.3)", &head);
        for found in &self.throughput {
            for LossAt {
                load_percent,
                offered_pps,
                achieved_pps,
                received_pps,
                sent,
                lost: count,
                loss,
                lost_where,
                ..
            } in &found.loss
            {
                table.rows.push(vec![
                    found.size.to_string(),
                    load_percent.to_string(),
                    mpps(*offered_pps),
                    mpps(*achieved_pps),
                    mpps(*received_pps),
                    sent.to_string(),
                    count.to_string(),
                    percent(*loss),
                    lost(lost_where),
                ]);
            }
        }
        table
    }

    fn latency(&self) -> Table {
        let head = ["size", "% of PDR", "packets/s", "min", "p50", "p90", "p99", "p99.9", "max", "loss %", "held up %"];
        let mut table = Table::new("Latency, us (RFC 2544, 26.2)", &head);
        for found in &self.throughput {
            for LatencyAt { pdr_percent, pps, loss, held_up, latency_ns } in &found.latency {
                let of = latency_ns;
                let mut row = vec![found.size.to_string(), pdr_percent.to_string(), mpps(*pps)];
                row.extend([of.min, of.p50, of.p90, of.p99, of.p999, of.max].map(microseconds));
                row.extend([percent(*loss), held_up.map_or("-".into(), percent)]);
                table.rows.push(row);
            }
        }
        table
    }

    fn bursts(&self) -> Table {
        let head = ["size", "frames", "min", "max", "searches", "at packets/s", "corrected buffer, us"];
        let mut table = Table::new("Back-to-back, longest burst without loss (RFC 9004)", &head);
        for found in &self.throughput {
            if let Some(BackToBack { frames, min, max, searches, at_least, pps, corrected_buffer_us }) =
                &found.back_to_back
            {
                let sign = if *at_least { ">= " } else { "" };
                table.rows.push(vec![
                    found.size.to_string(),
                    format!("{sign}{frames:.0}"),
                    format!("{min:.0}"),
                    format!("{max:.0}"),
                    searches.to_string(),
                    mpps(*pps),
                    corrected_buffer_us.map_or("-".into(), |time| format!("{time:.0}")),
                ]);
            }
        }
        table
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.facts() {
            let _ = writeln!(text, "{name:>12}  {value}");
        }
        for table in self.tables() {
            let _ = write!(text, "\n{}", table.text());
        }
        text
    }
}

fn pools(pools: &Pools) -> Table {
    let most = pools.pdr.pps.map_or("-".into(), mpps);
    let title = format!(
        "Pools of stream packets of {} B (IP); at most {most}/s are pooled at a window of 1 ms",
        pools.ip_bytes
    );
    let head = [
        "window us",
        "packets/s",
        "% of PDR",
        "ratio",
        "pooled %",
        "saved %",
        "p50 us",
        "p99 us",
        "max us",
        "added p50",
        "added p99",
        "held up %",
        "p99 <= window + 100 us",
    ];
    let mut table = Table::new(title, &head);
    for point in &pools.points {
        table.rows.push(vec![
            point.window_us.to_string(),
            mpps(point.pps),
            point.pdr_percent.map_or("-".into(), |percent| percent.to_string()),
            format!("{:.2}", point.ratio),
            percent(point.pooled_part),
            format!("{:.1}", point.saved * 100.0),
            microseconds(point.latency_ns.p50),
            microseconds(point.latency_ns.p99),
            microseconds(point.latency_ns.max),
            format!("{:.0}", point.added_p50_us),
            format!("{:.0}", point.added_p99_us),
            point.held_up.map_or("-".into(), percent),
            if point.within_target { "yes" } else { "no" }.into(),
        ]);
    }
    table
}

/// Where packets were lost, in a few words.
pub fn lost(lost: &Lost) -> String {
    let mut places = Vec::new();
    if lost.before > 0 {
        places.push(format!("{} before the router", lost.before));
    }
    places.extend(lost.router.iter().map(|(reason, count)| format!("{count} {reason}")));
    if lost.behind > 0 {
        places.push(format!("{} behind it", lost.behind));
    }
    if places.is_empty() { "-".into() } else { places.join(", ") }
}

/// An empty loop's gaps, in a few words; all of it is in the JSON.
fn jitter_line(jitter: &Value) -> String {
    let number = |path: &str| jitter.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let gap = |path: &str| microseconds(number(path));
    format!(
        "held up {:.2}% of {:.1} s; {} gaps above 1 us: p50 {}, p99 {}, max {} us",
        100.0 * number("/share"),
        number("/seconds"),
        number("/gaps"),
        gap("/gap_ns/p50"),
        gap("/gap_ns/p99"),
        gap("/gap_ns/max")
    )
}
