//! Filling and changing a table: how long it takes, and what it costs those who read.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use carpool_dataplane::arch::Simd;

use super::carpool::{Fib, Offline};
use super::contender::{BURST, Lookup};
use super::hop::NEXT_HOPS;
use super::measure::{WINDOW, processor_time};
use super::stream::Random;
use super::table::{Route, Table};
use crate::cpu::{self, Cpus};
use crate::error::BenchError;

/// Of a hundred prefixes, how many change.
const CHURN_PERCENT: u128 = 30;
/// Prefixes that are replaced, then removed, then added again, before the next ones are.
const GROUP: usize = 1000;
/// How long a steady writer sleeps. It does not wait in a loop: where its CPU shares a core with the reader's, as
/// virtual ones may, that alone takes up to half of the reader's look-ups.
const PAUSE: Duration = Duration::from_millis(1);
/// How long a reader's look-ups are counted at a time.
const WINDOW_OF_TIME: Duration = Duration::from_millis(150);

/// How long changes took: as many as fit in a second of processor time, and single ones by the clock on the wall.
pub struct Updates {
    pub per_second: f64,
    /// Microseconds: half of the changes took no longer.
    pub p50: f64,
    /// Microseconds: 99 of 100 took no longer.
    pub p99: f64,
    /// Microseconds.
    pub max: f64,
}

/// Seconds of processor time to fill a table prefix by prefix, and as one batch.
pub fn build<F: Fib>(table: &Table, simd: Simd) -> Result<(f64, f64), BenchError> {
    let start = processor_time()?;
    let mut fib = F::new(simd)?;
    table.routes.iter().try_for_each(|route| fib.insert(route))?;
    let one_by_one = processor_time()? - start;
    drop(fib);
    let start = processor_time()?;
    let fib = F::filled(table, simd)?;
    let batch = processor_time()? - start;
    drop(fib);
    Ok((one_by_one.as_secs_f64(), batch.as_secs_f64()))
}

/// A change of the table.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Set(Route),
    Remove(Route),
}

/// The changes of a churn over 30% of the prefixes, in random order; after them the table is as it was before.
pub fn churn(table: &Table) -> Vec<Change> {
    let mut random = Random(0xc4u64);
    let mut chosen: Vec<Route> = table.routes.iter().filter(|_| random.below(100) < CHURN_PERCENT).copied().collect();
    for at in (1..chosen.len()).rev() {
        chosen.swap(at, random.below(at as u128 + 1) as usize);
    }
    let mut changes = Vec::with_capacity(3 * chosen.len());
    for group in chosen.chunks(GROUP) {
        changes.extend(group.iter().map(|route| Change::Set(Route { hop: 1 + route.hop % NEXT_HOPS, ..*route })));
        changes.extend(group.iter().map(|route| Change::Remove(*route)));
        changes.extend(group.iter().map(|route| Change::Set(*route)));
    }
    changes
}

fn make<F: Fib>(fib: &mut F, change: &Change) -> Result<(), BenchError> {
    match change {
        Change::Set(route) => fib.insert(route),
        Change::Remove(route) => fib.remove(route),
    }
}

/// Makes these changes as fast as it goes, with nobody reading.
pub fn alone<F: Fib>(fib: &mut F, changes: &[Change], cpus: Cpus) -> Result<Updates, BenchError> {
    cpu::pin(cpus.main_core)?;
    let mut times = Vec::with_capacity(changes.len());
    let start = processor_time()?;
    let mut before = Instant::now();
    for change in changes {
        make(fib, change)?;
        let now = Instant::now();
        times.push(now - before);
        before = now;
    }
    let took = (processor_time()? - start).as_secs_f64();
    times.sort_unstable();
    let at = |share: f64| {
        let time = times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1)));
        time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
    };
    Ok(Updates { per_second: times.len() as f64 / took, p50: at(0.5), p99: at(0.99), max: at(1.0) })
}

/// The same while a thread looks up without a pause.
pub fn with_reader<F: Fib>(
    fib: &mut F,
    reader: &mut F::Reader,
    destinations: &[F::Address],
    changes: &[Change],
    cpus: Cpus,
) -> Result<Updates, BenchError> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reading = scope.spawn(|| read(reader, destinations, cpus.core, || done.load(Ordering::Relaxed)));
        let updates = alone(fib, changes, cpus);
        done.store(true, Ordering::Relaxed);
        joined(reading)?;
        updates
    })
}

/// How often a writer changes the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So many times a second: what has come due in a [`PAUSE`], together.
    PerSecond(u32),
    FullSpeed,
}

/// Millions of look-ups a second of processor time that a reader makes while a writer changes the table at this pace,
/// and how many changes a second those were. `next` says which of the changes comes next, and goes on over all of them
/// in turn.
pub fn reading_while<F: Fib>(
    fib: &mut F,
    reader: &mut F::Reader,
    destinations: &[F::Address],
    (changes, next): (&[Change], &mut usize),
    pace: Pace,
    cpus: Cpus,
) -> Result<(f64, f64), BenchError> {
    cpu::pin(cpus.main_core)?;
    let begin = Instant::now();
    let end = begin + WINDOW_OF_TIME;
    let mut made = 0u32;
    let rate = thread::scope(|scope| {
        let reading = scope.spawn(|| read(reader, destinations, cpus.core, || Instant::now() >= end));
        let mut now = begin;
        while now < end {
            let due = match pace {
                Pace::PerSecond(rate) => (now - begin).as_secs_f64() * f64::from(rate) > f64::from(made),
                Pace::FullSpeed => true,
            };
            if due {
                make(fib, &changes[*next % changes.len()])?;
                *next += 1;
                made += 1;
            } else {
                thread::sleep(PAUSE);
            }
            now = Instant::now();
        }
        joined(reading)
    })?;
    Ok((rate, f64::from(made) / WINDOW_OF_TIME.as_secs_f64()))
}

/// Looks up until it is done; millions a second of this thread's processor time.
fn read<R: Lookup + Offline>(
    reader: &mut R,
    destinations: &[R::Address],
    core: usize,
    done: impl Fn() -> bool,
) -> Result<f64, BenchError> {
    cpu::pin(core)?;
    let mut hops = [R::Hop::default(); BURST];
    let mut looked_up = 0;
    let start = processor_time()?;
    'reading: loop {
        // A small part of a window at a time: the end waits for a look at the clock.
        for part in destinations.chunks(WINDOW / 8) {
            for burst in part.chunks(BURST) {
                reader.burst(burst, &mut hops[..burst.len()]);
                black_box(&mut hops);
            }
            looked_up += part.len();
            if done() {
                break 'reading;
            }
        }
    }
    let took = processor_time()? - start;
    reader.offline();
    Ok(looked_up as f64 / took.as_secs_f64() / 1e6)
}

fn joined(reading: thread::ScopedJoinHandle<'_, Result<f64, BenchError>>) -> Result<f64, BenchError> {
    reading.join().map_err(|_| BenchError::System("the reading thread panicked".into()))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fib::table::Family;
    use std::collections::BTreeMap;

    #[test]
    fn a_churn_touches_a_good_quarter_of_the_prefixes_and_leaves_the_table_as_it_was() {
        let routes: Vec<Route> =
            (0..5_000).map(|n| Route { first: n << 8, length: 24, hop: 1 + n as u16 % 250 }).collect();
        let table = Table { family: Family::V4, routes };
        let changes = churn(&table);
        assert!((1_250..1_750).contains(&(changes.len() / 3)), "{}", changes.len());
        let mut now: BTreeMap<(u128, u8), u16> =
            table.routes.iter().map(|route| ((route.first, route.length), route.hop)).collect();
        let before = now.clone();
        let mut replaced = 0;
        for change in changes {
            match change {
                Change::Set(route) => match now.insert((route.first, route.length), route.hop) {
                    Some(hop) if hop != route.hop => replaced += 1,
                    Some(_) => panic!("{route:?} was set to what it was"),
                    None => {}
                },
                Change::Remove(route) => assert!(now.remove(&(route.first, route.length)).is_some(), "{route:?}"),
            }
        }
        assert_eq!(now, before);
        assert!(replaced > 1_250, "{replaced}");
    }
}
