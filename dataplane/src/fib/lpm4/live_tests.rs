//! The table while it changes: what readers see, with the scheme as it is and with one that does not wait for them; and
//! what happens when one of them stands still.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;

use super::*;
use crate::fib::{FibError, Reader};

/// Steps through numbers that look random (xorshift64*, Marsaglia 2003), the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

/// One prefix, its leaf, and whether it comes and goes. No other prefix has its leaf, nor the one above it.
#[derive(Clone, Copy, Debug)]
struct Route {
    prefix: Ipv4Net,
    leaf: u16,
    churns: bool,
}

/// Nested prefixes of all lengths in a few words; 30% of them churn. 10.0.0.0/8 stays.
fn routes(count: usize) -> Vec<Route> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut seen = std::collections::HashSet::new();
    let mut routes = vec![Route { prefix: "10.0.0.0/8".parse().expect("a prefix"), leaf: 2, churns: false }];
    while routes.len() < count {
        let address = 0x0a00_0000 | random.below(1 << 17) as u32;
        let length = [16, 17, 18, 19, 20, 21, 22, 23, 24, 24, 25, 26, 27, 28, 30, 32][random.below(16)];
        let prefix = Ipv4Net::new(address.into(), length).expect("a length").trunc();
        if seen.insert(prefix) {
            routes.push(Route { prefix, leaf: 2 + 2 * routes.len() as u16, churns: random.below(100) < 30 });
        }
    }
    routes
}

/// Every leaf that the longest match of an address can have at some moment.
fn allowed(routes: &[Route], address: u32) -> Vec<u16> {
    let mut covers: Vec<_> = routes.iter().filter(|route| route.prefix.contains(&Ipv4Addr::from(address))).collect();
    covers.sort_by_key(|route| std::cmp::Reverse(route.prefix.prefix_len()));
    let mut leaves = Vec::new();
    for route in covers {
        leaves.push(route.leaf);
        if !route.churns {
            return leaves;
        }
        leaves.push(route.leaf + 1);
    }
    leaves.push(EntryId::NO_ROUTE.0);
    leaves
}

/// What readers counted.
#[derive(Debug, Default)]
struct Seen {
    lookups: AtomicU64,
    foreign: AtomicU64,
    no_route: AtomicU64,
}

/// Looks up all the time and counts answers that the table had at no moment of the burst.
fn read(table: &Lpm4, mut reader: Reader, probes: &[(u32, Vec<u16>)], stop: &AtomicBool, seen: &Seen) {
    let to: Vec<u32> = probes.iter().map(|(address, _)| *address).collect();
    let mut leaves = [EntryId::NO_ROUTE; 32];
    while !stop.load(Ordering::Relaxed) {
        for (to, probes) in to.chunks(32).zip(probes.chunks(32)) {
            table.lookup_burst(reader.enter(), to, &mut leaves);
            for ((_, allowed), leaf) in probes.iter().zip(leaves) {
                if !allowed.contains(&leaf.0) {
                    let counter = if leaf == EntryId::NO_ROUTE { &seen.no_route } else { &seen.foreign };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
            seen.lookups.fetch_add(to.len() as u64, Ordering::Relaxed);
        }
    }
}

/// Churns at least so long and until `enough` says so, five minutes at most, while two readers look; returns what they saw and the
/// changes made. It takes a second where threads get their processors, and has taken more than a minute where twenty others
/// wanted them.
fn churn(simd: Simd, waits: bool, at_least: Duration, enough: impl Fn(&Seen) -> bool) -> (Seen, u64) {
    let domain = Domain::new(2);
    let options = FibOptions { simd, ..FibOptions::default() };
    let (mut writer, table) = lpm4_with(&domain, options).expect("address space");
    let routes = routes(6000);
    for route in &routes {
        writer.insert(route.prefix, EntryId(route.leaf)).expect("room");
    }
    if !waits {
        writer.forget_readers();
    }
    let mut random = Random(42);
    let probes: Vec<_> = (0..1024)
        .map(|_| {
            let prefix = routes[random.below(routes.len())].prefix;
            let address = prefix.network().to_bits() + random.below(prefix.hosts().count()) as u32;
            (address, allowed(&routes, address))
        })
        .collect();
    let churning: Vec<_> = routes.iter().filter(|route| route.churns).collect();
    let (stop, seen, mut changes) = (AtomicBool::new(false), Seen::default(), 0);
    std::thread::scope(|scope| {
        for reader in [domain.reader(), domain.reader()] {
            let (table, probes, stop, seen) = (&table, &probes, &stop, &seen);
            scope.spawn(move || read(table, reader.expect("two slots"), probes, stop, seen));
        }
        let started = Instant::now();
        let goes_on = |elapsed| elapsed < at_least || (!enough(&seen) && elapsed < Duration::from_secs(300));
        while goes_on(started.elapsed()) {
            for _ in 0..256 {
                let route = churning[random.below(churning.len())];
                let change = match random.below(3) {
                    0 => writer.remove(route.prefix),
                    which => writer.insert(route.prefix, EntryId(route.leaf + which as u16 - 1)),
                };
                match change {
                    Ok(_) => changes += 1,
                    // A reader was not given the processor for a while.
                    Err(FibError::ReadersStalled) => std::thread::yield_now(),
                    Err(other) => panic!("{other}"),
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    (seen, changes)
}

/// How long to look for a wrong answer: `CARPOOL_CHURN_SECONDS` for a longer campaign.
fn campaign() -> Duration {
    let seconds = std::env::var("CARPOOL_CHURN_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    seconds.map_or(Duration::from_millis(700), Duration::from_secs)
}

#[test]
fn an_answer_is_the_longest_match_at_some_moment_of_its_burst_however_fast_the_table_changes() {
    for simd in Simd::available() {
        let (seen, changes) = churn(simd, true, campaign(), |seen| seen.lookups.load(Ordering::Relaxed) > 1_000_000);
        assert_eq!(seen.foreign.load(Ordering::Relaxed), 0, "{simd:?}: foreign leaves in {seen:?}");
        assert_eq!(seen.no_route.load(Ordering::Relaxed), 0, "{simd:?}: no route for covered addresses in {seen:?}");
        println!("{simd:?}: {changes} changes, {seen:?}");
        assert!(changes > 1000 && seen.lookups.load(Ordering::Relaxed) > 1_000_000, "{changes} changes, {seen:?}");
    }
}

#[test]
fn without_waiting_for_readers_the_same_test_sees_foreign_leaves() {
    let wrong = |seen: &Seen| seen.foreign.load(Ordering::Relaxed) + seen.no_route.load(Ordering::Relaxed) > 0;
    let (seen, changes) = churn(Simd::Baseline, false, Duration::ZERO, wrong);
    assert!(wrong(&seen), "{changes} changes without waiting, and nothing wrong in {seen:?}");
}

#[test]
fn a_replaced_leaf_is_the_old_one_or_the_new_one_and_never_that_of_a_shorter_prefix() {
    let domain = Domain::new(1);
    let (mut writer, table) = lpm4(&domain).expect("address space");
    let prefixes = ["10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/20", "10.1.2.0/24", "10.1.2.128/25", "10.1.2.200/32"];
    for (leaf, prefix) in (10..).step_by(10).zip(prefixes) {
        writer.insert(prefix.parse().expect("a prefix"), EntryId(leaf)).expect("room");
    }
    let destinations = [0x0a02_0000u32, 0x0a01_f000, 0x0a01_0100, 0x0a01_0201, 0x0a01_0281, 0x0a01_02c8];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut reader = domain.reader().expect("a slot");
        scope.spawn({
            let (table, stop) = (&table, &stop);
            move || {
                let mut leaves = [EntryId::NO_ROUTE; 6];
                while !stop.load(Ordering::Relaxed) {
                    table.lookup_burst(reader.enter(), &destinations, &mut leaves);
                    for (own, leaf) in (1..).zip(leaves) {
                        assert_eq!(leaf.0 / 10, own, "{} of prefix {}", leaf.0, prefixes[usize::from(own) - 1]);
                    }
                }
            }
        });
        for round in 0..3000u16 {
            for (leaf, prefix) in (10..).step_by(10).zip(prefixes) {
                let leaf = EntryId(leaf + round % 10);
                match writer.insert(prefix.parse().expect("a prefix"), leaf) {
                    Ok(before) => assert!(before.is_some()),
                    Err(error) => assert_eq!(error, FibError::ReadersStalled),
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// A table of which little may wait for readers, with some routes in it.
fn small_table(options: FibOptions) -> (Arc<Domain>, Lpm4Writer, Arc<Lpm4>, Vec<Route>) {
    let domain = Domain::new(1);
    let (mut writer, table) = lpm4_with(&domain, options).expect("address space");
    let routes = routes(500);
    for route in &routes {
        writer.insert(route.prefix, EntryId(route.leaf)).expect("room");
    }
    writer.reclaim();
    (domain, writer, table, routes)
}

/// What a table says of an address within each prefix, and of the one after it.
fn answers(table: &Lpm4, reader: &mut Reader, routes: &[Route]) -> Vec<EntryId> {
    let ends = routes.iter().flat_map(|route| {
        let prefix = route.prefix;
        [prefix.network(), prefix.broadcast(), Ipv4Addr::from_bits(prefix.broadcast().to_bits().wrapping_add(1))]
    });
    ends.map(|address| table.lookup(reader.enter(), address)).collect()
}

#[test]
fn a_reader_that_stands_still_bounds_what_is_kept_for_it_and_changes_go_on_when_it_does() {
    const BOUND: usize = 32 << 10;
    let (domain, mut writer, table, routes) = small_table(FibOptions { retired: BOUND, ..FibOptions::default() });
    let mut reader = domain.reader().expect("a slot");
    let section = reader.enter();
    let before: Vec<_> = routes.iter().map(|route| table.lookup(section, route.prefix.network())).collect();
    let mut refused = None;
    for round in 0..200 {
        for route in routes.iter().filter(|route| route.churns) {
            let change = if round % 2 == 0 { None } else { Some(EntryId(route.leaf)) };
            let was = writer.get(route.prefix);
            let changed = match change {
                Some(leaf) => writer.insert(route.prefix, leaf),
                None => writer.remove(route.prefix),
            };
            if changed == Err(FibError::ReadersStalled) {
                assert_eq!(writer.get(route.prefix), was, "a refused change was made");
                refused = Some(writer.memory().retired);
            }
            // What one change takes out of use may go beyond the bound: here at most a few words and a tail.
            assert!(writer.memory().retired <= 2 * BOUND + 8192, "{:?}", writer.memory());
        }
    }
    assert!(refused.is_some_and(|retired| retired > BOUND), "{refused:?}: nothing was refused, or too early");
    assert_eq!(before.len(), routes.len());
    let _ = reader.enter();
    for route in &routes {
        writer.insert(route.prefix, EntryId(route.leaf)).expect("the reader moved on");
    }
    writer.reclaim();
    let _ = reader.enter();
    writer.reclaim();
    assert_eq!(writer.memory().retired, 0);
    let after: Vec<_> = routes.iter().map(|route| table.lookup(reader.enter(), route.prefix.network())).collect();
    assert_eq!(before, after);
}

#[test]
fn a_parked_reader_holds_nothing_up() {
    let (domain, mut writer, _table, routes) = small_table(FibOptions { retired: 32 << 10, ..FibOptions::default() });
    let mut reader = domain.reader().expect("a slot");
    let _ = reader.enter();
    reader.offline();
    for _ in 0..100 {
        for route in routes.iter().filter(|route| route.churns) {
            writer.remove(route.prefix).expect("nobody is looking");
            writer.insert(route.prefix, EntryId(route.leaf)).expect("nobody is looking");
        }
    }
    writer.reclaim();
    assert_eq!(writer.memory().retired, 0);
}

#[test]
fn a_transaction_that_is_refused_leaves_the_table_as_it_was() {
    let many: Vec<_> = (0..4000u32)
        .map(|index| Ipv4Net::new((0x0b00_0000 | index << 9).into(), 24).expect("a length"))
        .map(|prefix| (prefix, Some(EntryId(7))))
        .collect();
    let taken_out = |routes: &[Route]| routes.iter().map(|route| (route.prefix, None)).collect::<Vec<_>>();
    for (options, expected) in [
        (FibOptions { leaves: 32 << 10, ..FibOptions::default() }, FibError::Full),
        (FibOptions { retired: 4 << 10, ..FibOptions::default() }, FibError::ReadersStalled),
    ] {
        let (domain, mut writer, table, routes) = small_table(options);
        let mut reader = domain.reader().expect("a slot");
        let before = answers(&table, &mut reader, &routes);
        let used = writer.memory().used;
        let changes = [many.clone(), taken_out(&routes)].concat();
        // The reader stays in the section that `answers` entered last.
        assert_eq!(writer.apply(&changes, &mut || ()), Err(expected));
        assert_eq!(writer.len(), routes.len());
        assert!(routes.iter().all(|route| writer.get(route.prefix) == Some(EntryId(route.leaf))));
        assert_eq!(answers(&table, &mut reader, &routes), before);
        assert_eq!(table.lookup(reader.enter(), Ipv4Addr::new(11, 0, 0, 1)), EntryId::NO_ROUTE);
        assert_eq!(writer.memory().used, used);
        for route in &routes {
            writer.reclaim();
            let _ = reader.enter();
            writer.reclaim();
            writer.remove(route.prefix).expect("room, once the reader has moved on");
        }
        assert!(writer.is_empty());
    }
}
