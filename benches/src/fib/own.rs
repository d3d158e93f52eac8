//! The cases that are about carpool's tables alone: memory, filling, changes, and what changes cost readers.

use carpool_dataplane::arch::Simd;

use super::carpool::{ALL_LENGTHS, Fib, GROWN, NAME};
use super::contender::{Contender, Named};
use super::figure::{Figure, ratios};
use super::streams::Streams;
use super::table::{Family, Table, Tables};
use super::target;
use super::updates::{self, Pace, Updates};
use crate::cpu::Cpus;
use crate::error::BenchError;
use crate::interrupt::Interrupt;

/// How often a table is filled, and into how many runs a churn is divided.
const RUNS: usize = 3;
/// How often a reader is measured at each pace, in turn.
const ROUNDS: usize = 5;
/// Updates a second that readers hardly notice.
const STEADY: u32 = 10_000;

/// One family's table and where it runs.
pub struct Own<'o> {
    pub bench: &'static str,
    pub family: Family,
    pub tables: &'o Tables,
    pub cpus: Cpus,
    pub simd: Simd,
    pub interrupt: &'o Interrupt,
}

impl Own<'_> {
    fn figure(&self, case: &str, contender: &str, unit: &'static str, runs: &[f64]) -> Figure {
        let target = if contender == NAME { target::of(self.family, case) } else { None };
        Figure::new(self.bench, case, contender, unit, runs).with_target(target)
    }

    /// Bytes in use, a million each, by the table, by the one with all lengths, and by one of a round number of prefixes.
    pub fn memory<F: Fib>(&self) -> Result<Vec<Figure>, BenchError> {
        let megabytes = |table: &Table| Ok::<_, BenchError>(F::filled(table, self.simd)?.memory() as f64 / 1e6);
        Ok(vec![
            self.figure("memory", NAME, "MB", &[megabytes(&self.tables.announced)?]),
            self.figure("memory", ALL_LENGTHS, "MB", &[megabytes(&self.tables.all_lengths)?]),
            self.figure("memory", GROWN, "MB", &[megabytes(&self.tables.grown_to(grown(self.family)))?]),
        ])
    }

    /// Seconds to fill a table.
    pub fn build<F: Fib>(&self) -> Result<Vec<Figure>, BenchError> {
        crate::cpu::pin(self.cpus.main_core)?;
        let (mut one_by_one, mut batch) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            self.interrupt.check()?;
            let (one, all) = updates::build::<F>(&self.tables.announced, self.simd)?;
            one_by_one.push(one);
            batch.push(all);
        }
        Ok(vec![self.figure("build", NAME, "s", &one_by_one), self.figure("build-batch", NAME, "s", &batch)])
    }

    /// Changes a second and how long one takes, without readers and with one.
    pub fn updates<F: Fib>(&self, streams: &Streams<'_>) -> Result<Vec<Figure>, BenchError> {
        let mut fib = F::filled(&self.tables.announced, self.simd)?;
        let mut reader = fib.reader()?;
        let (destinations, expected) = streams.prefixes::<F::Address>();
        let changes = updates::churn(&self.tables.announced);
        let (mut alone, mut with_reader) = (Vec::new(), Vec::new());
        for part in changes.chunks(changes.len().div_ceil(RUNS)) {
            self.interrupt.check()?;
            alone.push(updates::alone(&mut fib, part, self.cpus)?);
        }
        for part in changes.chunks(changes.len().div_ceil(RUNS)) {
            self.interrupt.check()?;
            with_reader.push(updates::with_reader(&mut fib, &mut reader, &destinations, part, self.cpus)?);
        }
        let mut asked = Named { name: NAME, way: None, lookup: reader };
        if asked.answers(&destinations) != expected {
            let problem = "its answers are wrong after changes that undo each other".into();
            return Err(BenchError::Table { contender: NAME, problem });
        }
        let mut figures = Vec::new();
        for (suffix, runs) in [("", &alone), ("-with-reader", &with_reader)] {
            let mut add = |case: &str, unit, of: fn(&Updates) -> f64| {
                let runs: Vec<f64> = runs.iter().map(of).collect();
                figures.push(self.figure(&format!("{case}{suffix}"), NAME, unit, &runs));
            };
            add("updates", "1/s", |run| run.per_second);
            add("update-p50", "us", |run| run.p50);
            add("update-p99", "us", |run| run.p99);
            add("update-max", "us", |run| run.max);
        }
        Ok(figures)
    }

    /// What readers lose while a writer changes the table, steadily and at full speed.
    pub fn readers<F: Fib>(&self, streams: &Streams<'_>) -> Result<Vec<Figure>, BenchError> {
        let mut fib = F::filled(&self.tables.announced, self.simd)?;
        let mut reader = fib.reader()?;
        let (destinations, _) = streams.prefixes::<F::Address>();
        let changes = updates::churn(&self.tables.announced);
        let mut next = 0;
        const PACES: [Pace; 3] = [Pace::PerSecond(0), Pace::PerSecond(STEADY), Pace::FullSpeed];
        let mut rates = PACES.map(|_| Vec::new());
        let mut full_speed = Vec::new();
        for _ in 0..ROUNDS {
            for (pace, rates) in PACES.into_iter().zip(&mut rates) {
                self.interrupt.check()?;
                let churn = (changes.as_slice(), &mut next);
                let (rate, changed) =
                    updates::reading_while(&mut fib, &mut reader, &destinations, churn, pace, self.cpus)?;
                rates.push(rate);
                if pace == Pace::FullSpeed {
                    full_speed.push(changed);
                }
            }
        }
        let [never, steady, full] = &rates;
        let loss = |rates: &[f64]| -> Vec<f64> {
            ratios(rates, never).into_iter().map(|ratio| 100.0 * (1.0 - ratio)).collect()
        };
        Ok(vec![
            self.figure("reader", NAME, "Mlps", never),
            self.figure("loss-at-10k", NAME, "%", &loss(steady)),
            self.figure("loss-at-full-speed", NAME, "%", &loss(full)),
            self.figure("full-speed", NAME, "1/s", &full_speed),
        ])
    }
}

/// Prefixes of the table that is to fit together with that of the other family.
fn grown(family: Family) -> usize {
    match family {
        Family::V4 => 1_000_000,
        Family::V6 => 230_000,
    }
}

/// What the tables of both families take together, all lengths in them or grown, if both were measured.
pub fn memory_together(figures: &[Figure]) -> Vec<Figure> {
    let together = |contender: &str| {
        let of = |figure: &&Figure| figure.case == "memory" && figure.contender == contender;
        let found: Vec<f64> = figures.iter().filter(of).map(|figure| figure.value).collect();
        let [v4, v6] = found[..] else { return None };
        Some(Figure::new("fib", "memory", contender, "MB", &[v4 + v6]).with_target(Some(target::MEMORY_TOGETHER)))
    };
    [ALL_LENGTHS, GROWN].into_iter().filter_map(together).collect()
}
