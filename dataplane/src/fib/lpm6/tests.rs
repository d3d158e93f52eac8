//! The table against a plain map of prefixes, in every form of look-up, through any sequence of changes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipnet::Ipv6Net;
use prefix_trie::PrefixMap;
use proptest::prelude::*;

use super::lookup::BURST;
use super::*;
use crate::fib::{FibError, Reader, transaction};

type Model = PrefixMap<Ipv6Net, EntryId>;

fn expected(model: &Model, address: u128) -> EntryId {
    model.get_lpm(&Ipv6Net::from(Ipv6Addr::from(address))).map_or(EntryId::NO_ROUTE, |(_, leaf)| *leaf)
}

fn put(model: &mut Model, prefix: Ipv6Net, leaf: Option<EntryId>) -> Option<EntryId> {
    match leaf {
        Some(leaf) => model.insert(prefix, leaf),
        None => model.remove(&prefix),
    }
}

/// A table in one form, with its writer and a reader.
struct Table {
    simd: Simd,
    writer: Lpm6Writer,
    table: Arc<Lpm6>,
    reader: Reader,
}

impl Table {
    fn new(options: FibOptions) -> Table {
        let domain = Domain::new(2);
        let (writer, table) = lpm6_with(&domain, options).expect("address space");
        Table { simd: options.simd, writer, table, reader: domain.reader().expect("a slot") }
    }

    /// One in every form that this processor can run.
    fn all() -> Vec<Table> {
        Simd::available().map(|simd| Table::new(FibOptions { simd, ..FibOptions::default() })).collect()
    }

    fn change(&mut self, prefix: Ipv6Net, leaf: Option<EntryId>) -> Result<Option<EntryId>, FibError> {
        match leaf {
            Some(leaf) => self.writer.insert(prefix, leaf),
            None => self.writer.remove(prefix),
        }
    }

    /// In bursts and one by one, it says what the model says.
    fn check(&mut self, model: &Model, probes: &[u128]) -> Result<(), TestCaseError> {
        let to: Vec<_> = probes.iter().map(|probe| probe.to_be_bytes()).collect();
        let mut leaves = vec![EntryId(99); probes.len()];
        let section = self.reader.enter();
        self.table.lookup_burst(section, &to, &mut leaves);
        for (probe, leaf) in probes.iter().zip(leaves) {
            let (address, expected) = (Ipv6Addr::from(*probe), expected(model, *probe));
            prop_assert_eq!(leaf, expected, "{} in {:?}", address, self.simd);
            prop_assert_eq!(self.table.lookup(section, address), expected, "{} alone", address);
        }
        Ok(())
    }

    /// What it uses when no reader holds anything up.
    fn settled(&mut self) -> crate::fib::FibMemory {
        self.writer.reclaim();
        let _ = self.reader.enter();
        self.writer.reclaim();
        self.writer.memory()
    }
}

const BASE: u128 = 0x2001_0db8_0000_0000_0000_0000_0000_0000;

/// Few distinct bits, so that prefixes nest, touch and overlap often, at all the places where the levels meet.
fn prefix() -> impl Strategy<Value = Ipv6Net> {
    let address = prop_oneof![
        prop::sample::select(vec![BASE, BASE | 0x8000 << 80, BASE | 0x1f << 80, BASE | 0x20 << 80, BASE + (1 << 96)]),
        prop::sample::select(vec![0, u128::MAX, 1 << 127, u128::MAX >> 1, BASE | 1, BASE | u128::MAX >> 32]),
        (0u128..1 << 12).prop_map(|low| BASE | low << 78),
        (0u128..1 << 12).prop_map(|low| BASE | low),
        (0u128..1 << 12).prop_map(|low| BASE | low << 58),
        (0u128..1 << 12).prop_map(|low| BASE ^ low << 92),
    ];
    let edges =
        vec![15u8, 16, 17, 18, 19, 22, 23, 24, 28, 31, 32, 33, 43, 44, 47, 48, 49, 53, 63, 64, 65, 123, 124, 127, 128];
    let length = prop_oneof![0u8..=128, prop::sample::select(edges)];
    (address, length).prop_map(|(address, length)| Ipv6Net::new(address.into(), length).expect("a length").trunc())
}

fn edges(prefix: Ipv6Net) -> impl Iterator<Item = u128> {
    let (first, last) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
    [first, last, first / 2 + last / 2].into_iter().flat_map(|edge| [edge.wrapping_sub(1), edge, edge.wrapping_add(1)])
}

/// Numbers that look random and are the same in every run: xorshift64* (Vigna 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }
}

/// A table like the Internet's: networks of /29 to /36, some of which have up to thousands of longer prefixes, mostly of
/// their own next hop.
fn internet(prefixes: usize) -> Vec<(Ipv6Net, EntryId)> {
    let mut random = Random(0x5eed);
    let mut routes = std::collections::BTreeMap::new();
    while routes.len() < prefixes {
        let network = (0x2000 + u128::from(random.below(64)) * 16) << 112 | u128::from(random.below(1 << 16)) << 96;
        let leaf = EntryId(1 + random.below(250) as u16);
        let prefix = |address: u128, length: u64| Ipv6Net::new(address.into(), length as u8).expect("a length").trunc();
        routes.insert(prefix(network, 29 + random.below(8)), leaf);
        let more = 1u64 << random.below(13);
        for _ in 0..if random.below(3) == 0 { more } else { 0 } {
            let digits = 4 + random.below(13);
            let address = network | u128::from(random.below(1 << digits)) << 80;
            let length = if random.below(3) == 0 { 33 + random.below(16) } else { 48 };
            let own = random.below(4) > 0;
            let address = if random.below(100) == 0 { address | u128::from(random.next()) } else { address };
            let length = if address as u64 != 0 { 64 + random.below(65) } else { length };
            routes.insert(prefix(address, length), if own { leaf } else { EntryId(1 + random.below(250) as u16) });
        }
    }
    routes.into_iter().collect()
}

/// Some address of a prefix.
fn inside(prefix: Ipv6Net, random: &mut Random) -> u128 {
    let (first, last) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
    first | (u128::from(random.next()) << 64 | u128::from(random.next())) & (first ^ last)
}

proptest! {
    #[test]
    fn a_look_up_is_the_longest_match_after_any_sequence_of_changes(
        changes in prop::collection::vec((prefix(), prop::option::weighted(0.7, 0u16..9)), 1..40),
    ) {
        let mut tables = Table::all();
        let empty = tables[0].settled();
        let mut model = Model::new();
        let mut probes = vec![0, u128::MAX];
        for (prefix, leaf) in changes {
            let leaf = leaf.map(EntryId);
            probes.extend(edges(prefix));
            let before = put(&mut model, prefix, leaf);
            for table in &mut tables {
                prop_assert_eq!(table.change(prefix, leaf), Ok(before));
                table.check(&model, &probes)?;
            }
        }
        for table in &mut tables {
            prop_assert_eq!(table.writer.len(), model.len());
            for probe in &probes {
                let address = Ipv6Addr::from(*probe);
                let longest = model.get_lpm(&Ipv6Net::from(address)).map(|(prefix, leaf)| (*prefix, *leaf));
                prop_assert_eq!(table.writer.longest_match(address), longest);
            }
            for (prefix, leaf) in &model {
                prop_assert_eq!(table.writer.get(*prefix), Some(*leaf));
                table.writer.remove(*prefix).expect("room");
            }
            table.check(&Model::new(), &probes)?;
            prop_assert!(table.writer.is_empty());
            prop_assert_eq!(table.settled(), empty, "something is left of what was removed");
        }
    }

    #[test]
    fn many_prefixes_in_one_network_come_and_go_in_any_order(seed in 1u64..1 << 40, count in 1usize..3000) {
        let mut random = Random(seed);
        let mut table = Table::new(FibOptions::default());
        let empty = table.settled();
        let mut model = Model::new();
        for _ in 0..count {
            let address = BASE | u128::from(random.below(1 << 16)) << 80;
            let prefix = Ipv6Net::new(address.into(), 32 + random.below(17) as u8).expect("a length").trunc();
            let leaf = (random.below(8) > 2).then(|| EntryId(1 + random.below(4) as u16));
            prop_assert_eq!(table.change(prefix, leaf), Ok(put(&mut model, prefix, leaf)));
        }
        let probes: Vec<u128> = (0..1 << 16).map(|digit: u128| BASE | digit << 80 | 0xffff).collect();
        table.check(&model, &probes)?;
        for (prefix, _) in &model {
            table.writer.remove(*prefix).expect("room");
        }
        table.check(&Model::new(), &probes)?;
        prop_assert_eq!(table.settled(), empty, "something is left of what was removed");
    }

    #[test]
    fn a_transaction_gives_each_address_its_new_leaf_at_once_and_leaves_what_single_changes_leave(
        before in prop::collection::vec((prefix(), 1u16..5), 0..20),
        changes in prop::collection::vec((prefix(), prop::option::of(5u16..9)), 1..20),
    ) {
        let mut table = Table::new(FibOptions::default());
        let mut model = Model::new();
        for (prefix, leaf) in before {
            table.writer.insert(prefix, EntryId(leaf)).expect("room");
            model.insert(prefix, EntryId(leaf));
        }
        let changes: Vec<_> = changes.into_iter().map(|(prefix, leaf)| (prefix, leaf.map(EntryId))).collect();
        let mut after = model.clone();
        for (prefix, leaf) in &changes {
            put(&mut after, *prefix, *leaf);
        }
        let probes: Vec<u128> = changes.iter().flat_map(|(prefix, _)| edges(*prefix)).collect();
        // Step by step, in the order that apply takes.
        let mut seen = vec![false; probes.len()];
        for (prefix, leaf) in transaction::ordered(&changes, |prefix| (prefix.prefix_len(), prefix.trunc())) {
            table.change(prefix, leaf).expect("room");
            for (probe, seen) in probes.iter().zip(&mut seen) {
                let leaf = table.table.lookup(table.reader.enter(), Ipv6Addr::from(*probe));
                let (old, new) = (expected(&model, *probe), expected(&after, *probe));
                prop_assert!(leaf == new || (leaf == old && !*seen), "{probe:#x}: {old:?} {leaf:?} {new:?}");
                *seen |= leaf == new && old != new;
            }
        }
        let memory = table.settled();
        for (prefix, leaf) in &model {
            table.writer.insert(*prefix, *leaf).expect("room");
        }
        for (prefix, _) in after.iter().filter(|(prefix, _)| model.get(*prefix).is_none()) {
            table.writer.remove(*prefix).expect("room");
        }
        table.check(&model, &probes)?;
        table.writer.apply(&changes, &mut || ()).expect("room");
        table.check(&after, &probes)?;
        prop_assert_eq!(table.writer.len(), after.len());
        prop_assert_eq!(table.settled(), memory);
    }

    #[test]
    fn a_transaction_that_does_not_fit_changes_nothing(
        before in prop::collection::vec((prefix(), 1u16..5), 0..20),
        changes in prop::collection::vec((prefix(), prop::option::weighted(0.8, 1u16..9)), 1..300),
        room in 1usize << 13..1 << 15,
    ) {
        let mut table = Table::new(FibOptions { leaves: room, ..FibOptions::default() });
        let mut model = Model::new();
        for (prefix, leaf) in before {
            if table.writer.insert(prefix, EntryId(leaf)).is_ok() {
                model.insert(prefix, EntryId(leaf));
            }
        }
        let memory = table.settled();
        let changes: Vec<_> = changes.into_iter().map(|(prefix, leaf)| (prefix, leaf.map(EntryId))).collect();
        let probes: Vec<u128> = changes.iter().flat_map(|(prefix, _)| edges(*prefix)).collect();
        match table.writer.apply(&changes, &mut || ()) {
            Ok(()) => changes.iter().for_each(|(prefix, leaf)| {
                put(&mut model, *prefix, *leaf);
            }),
            Err(error) => {
                prop_assert_eq!(error, FibError::Full);
                prop_assert_eq!(table.settled(), memory);
            }
        }
        table.check(&model, &probes)?;
        prop_assert_eq!(table.writer.len(), model.len());
    }
}

#[test]
fn a_full_table_is_looked_up_alike_in_every_form_and_leaves_nothing_behind() {
    let routes = internet(100_000);
    let model: Model = routes.iter().copied().collect();
    let mut random = Random(7);
    let mut probes: Vec<u128> = routes.iter().step_by(3).flat_map(|(prefix, _)| edges(*prefix)).collect();
    probes.extend((0..50_000).map(|_| inside(routes[random.below(routes.len() as u64) as usize].0, &mut random)));
    let expected: Vec<_> = probes.iter().map(|probe| expected(&model, *probe)).collect();
    let to: Vec<_> = probes.iter().map(|probe| probe.to_be_bytes()).collect();
    let changes: Vec<_> = routes.iter().map(|(prefix, leaf)| (*prefix, Some(*leaf))).collect();
    for mut table in Table::all() {
        let empty = table.settled();
        table.writer.apply(&changes, &mut || ()).expect("room");
        let mut leaves = vec![EntryId(0); to.len()];
        table.table.lookup_burst(table.reader.enter(), &to, &mut leaves);
        assert!(leaves == expected, "{:?}", table.simd);
        let gone: Vec<_> = routes.iter().map(|(prefix, _)| (*prefix, None)).collect();
        table.writer.apply(&gone, &mut || ()).expect("room");
        assert_eq!(table.settled(), empty);
    }
}

/// What readers counted while the table changed.
#[derive(Debug, Default)]
struct Seen {
    lookups: AtomicU64,
    wrong: AtomicU64,
}

/// Churns a third of the prefixes at least so long and until `enough` says so, a minute at most, while two readers check
/// every answer; returns what they saw and the changes made.
fn churn(simd: Simd, waits: bool, at_least: Duration, enough: impl Fn(&Seen) -> bool) -> (Seen, u64) {
    let routes = internet(20_000);
    let domain = Domain::new(2);
    let (mut writer, table) = lpm6_with(&domain, FibOptions { simd, ..FibOptions::default() }).expect("address space");
    let changes: Vec<_> = routes.iter().map(|(prefix, leaf)| (*prefix, Some(*leaf))).collect();
    writer.apply(&changes, &mut || ()).expect("room");
    let model: Model = routes.iter().copied().collect();
    // Every third prefix changes between its leaf, another, and none: an address may have those of its covers.
    let churned = |index: usize| index.is_multiple_of(3);
    let other = |leaf: EntryId| EntryId(leaf.0 + 1000);
    let churning: std::collections::HashSet<_> =
        routes.iter().enumerate().filter(|(index, _)| churned(*index)).map(|(_, (prefix, _))| *prefix).collect();
    let mut random = Random(11);
    let probes: Vec<(u128, Vec<EntryId>)> = (0..20_000)
        .map(|_| {
            let address = inside(routes[random.below(routes.len() as u64) as usize].0, &mut random);
            let mut covers: Vec<_> = model.cover(&Ipv6Net::from(Ipv6Addr::from(address))).collect();
            covers.reverse();
            let stays = covers.iter().position(|(prefix, _)| !churning.contains(*prefix));
            let mut allowed: Vec<_> =
                covers.iter().take(stays.map_or(covers.len(), |at| at + 1)).map(|(_, leaf)| **leaf).collect();
            allowed.extend(covers.iter().take(stays.unwrap_or(covers.len())).map(|(_, leaf)| other(**leaf)));
            allowed.extend(stays.is_none().then_some(EntryId::NO_ROUTE));
            (address, allowed)
        })
        .collect();
    if !waits {
        writer.forget_readers();
    }
    let (stop, seen, mut changes) = (AtomicBool::new(false), Seen::default(), 0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let mut reader = domain.reader().expect("two slots");
            let (table, probes, stop, seen) = (&table, &probes, &stop, &seen);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for probes in probes.chunks(BURST) {
                        let to: Vec<_> = probes.iter().map(|(address, _)| address.to_be_bytes()).collect();
                        let mut leaves = vec![EntryId(99); to.len()];
                        table.lookup_burst(reader.enter(), &to, &mut leaves);
                        let wrong = probes.iter().zip(leaves).filter(|((_, allowed), leaf)| !allowed.contains(leaf));
                        seen.wrong.fetch_add(wrong.count() as u64, Ordering::Relaxed);
                        seen.lookups.fetch_add(to.len() as u64, Ordering::Relaxed);
                    }
                }
            });
        }
        let started = Instant::now();
        let mut random = Random(13);
        let goes_on = |elapsed| elapsed < at_least || (!enough(&seen) && elapsed < Duration::from_secs(60));
        while goes_on(started.elapsed()) {
            for _ in 0..1000 {
                let (prefix, leaf) = routes[random.below(routes.len().div_ceil(3) as u64) as usize * 3];
                let changed = match random.below(4) {
                    0 => writer.remove(prefix),
                    1 => writer.insert(prefix, other(leaf)),
                    _ => writer.insert(prefix, leaf),
                };
                match changed {
                    Ok(_) => changes += 1,
                    // A reader was not given the processor for a while.
                    Err(FibError::ReadersStalled) => std::thread::yield_now(),
                    Err(other) => panic!("{other}"),
                }
            }
            if waits {
                writer.settle();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    (seen, changes)
}

#[test]
fn an_answer_is_the_longest_match_at_some_moment_of_its_burst_however_fast_the_table_changes() {
    // As for IPv4: a longer campaign on demand.
    let seconds = std::env::var("CARPOOL_CHURN_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let at_least = seconds.map_or(Duration::from_millis(700), Duration::from_secs);
    for simd in Simd::available() {
        let enough = |seen: &Seen| seen.lookups.load(Ordering::Relaxed) > 1_000_000;
        let (seen, changes) = churn(simd, true, at_least, enough);
        println!("{simd:?}: {changes} changes, {seen:?}");
        assert_eq!(seen.wrong.load(Ordering::Relaxed), 0, "{simd:?}: {seen:?}");
        assert!(changes > 1000 && enough(&seen), "{simd:?}: {changes} changes, {seen:?}");
    }
}

#[test]
fn without_waiting_for_readers_the_same_test_sees_wrong_leaves() {
    let wrong = |seen: &Seen| seen.wrong.load(Ordering::Relaxed) > 0;
    let (seen, changes) = churn(Simd::Baseline, false, Duration::ZERO, wrong);
    assert!(wrong(&seen), "{changes} changes without waiting, and nothing wrong in {seen:?}");
}

#[test]
fn settling_changes_no_answer_and_uses_no_more_memory_and_waits_for_readers() {
    let routes = internet(20_000);
    let model: Model = routes.iter().copied().collect();
    let mut random = Random(3);
    let probes: Vec<_> = routes.iter().map(|(prefix, _)| inside(*prefix, &mut random)).collect();
    let mut table = Table::new(FibOptions::default());
    for (prefix, leaf) in routes.iter().rev() {
        table.writer.insert(*prefix, *leaf).expect("room");
    }
    let used = table.settled();
    for _ in 0..3 {
        assert!(table.writer.settle(), "nothing is left of the time before");
        table.check(&model, &probes).expect("the model's answers");
        let _ = table.reader.enter();
        assert!(table.writer.settle());
        assert!(!table.writer.settle(), "the reader may still be where the table was");
        table.check(&model, &probes).expect("the model's answers");
        assert_eq!(table.settled(), used);
    }
    for (prefix, _) in &routes {
        table.writer.remove(*prefix).expect("room");
    }
    assert_eq!(table.settled(), Table::new(FibOptions::default()).settled());
}

#[test]
fn a_reader_that_stands_still_makes_memory_grow_to_a_bound_and_changes_go_on_when_it_moves() {
    let bound = 64 << 10;
    let domain = Domain::new(1);
    let options = FibOptions { retired: bound, ..FibOptions::default() };
    let (mut writer, table) = lpm6_with(&domain, options).expect("address space");
    let mut reader = domain.reader().expect("a slot");
    let stays = Ipv6Net::new(BASE.into(), 32).expect("a length");
    writer.insert(stays, EntryId(7)).expect("room");
    let section = reader.enter();
    let mut refused = None;
    for round in 0..1_000_000u128 {
        let prefix = Ipv6Net::new((BASE | (round % 0xffff + 1) << 80).into(), 48).expect("a length");
        let changed = if round / 0xffff % 2 == 0 { writer.insert(prefix, EntryId(8)) } else { writer.remove(prefix) };
        if let Err(error) = changed {
            refused = Some((prefix, error));
            break;
        }
    }
    let (prefix, error) = refused.expect("a bound");
    assert_eq!(error, FibError::ReadersStalled);
    assert!(writer.memory().retired <= 2 * (bound + 32 * 8 * 22), "{:?}", writer.memory());
    assert_eq!(writer.get(prefix), None, "refused, and yet it is there");
    assert_eq!(table.lookup(section, BASE.into()), EntryId(7));
    let _ = reader.enter();
    writer.insert(prefix, EntryId(9)).expect("the reader has moved on");
    assert_eq!(table.lookup(reader.enter(), prefix.network()), EntryId(9));
}

#[test]
fn a_burst_of_any_length_is_looked_up_whole() {
    let mut table = Table::new(FibOptions::default());
    table.writer.insert("2001:db8::/32".parse().expect("a prefix"), EntryId(7)).expect("room");
    for count in 0..100 {
        let to = vec![(BASE | 1).to_be_bytes(); count];
        let mut leaves = vec![EntryId(99); count + 1];
        table.table.lookup_burst(table.reader.enter(), &to, &mut leaves);
        assert!(leaves[..count].iter().all(|leaf| *leaf == EntryId(7)), "{count}");
        assert_eq!(leaves[count], EntryId(99), "{count}: more was written than asked for");
    }
}

#[test]
fn a_burst_to_one_network_is_looked_up_where_the_last_64_bits_decide() {
    for mut table in Table::all() {
        let mut model = Model::new();
        for (leaf, text) in
            (1..).zip(["2001:db8::/32", "2001:db8::/63", "2001:db8::/64", "2001:db8::8/125", "2001:db8::9/128"])
        {
            let prefix = text.parse().expect("a prefix");
            let probes: Vec<u128> = (0..2 * BURST as u128).map(|low| BASE | low).collect();
            let changed = table.change(prefix, Some(EntryId(leaf)));
            assert_eq!(changed, Ok(put(&mut model, prefix, Some(EntryId(leaf)))));
            table.check(&model, &probes).expect("the model's answers");
        }
    }
}

#[test]
fn a_leaf_that_the_table_keeps_for_itself_is_refused() {
    let (mut writer, _) = lpm6(&Domain::new(1)).expect("address space");
    let prefix = "2001:db8::/32".parse().expect("a prefix");
    assert_eq!(writer.insert(prefix, EntryId(EntryId::LAST.0 + 1)), Err(FibError::NoLeaf(EntryId::LAST.0 + 1)));
    assert_eq!(writer.insert(prefix, EntryId::LAST), Ok(None));
    assert_eq!(writer.get(prefix), Some(EntryId::LAST));
}

#[test]
fn a_section_of_another_domain_finds_no_route() {
    let (mut writer, table) = lpm6(&Domain::new(1)).expect("address space");
    writer.insert("::/0".parse().expect("a prefix"), EntryId(7)).expect("room");
    let mut stranger = Domain::new(1).reader().expect("a slot");
    let mut leaves = [EntryId(99); 3];
    table.lookup_burst(stranger.enter(), &[[1; 16], [2; 16]], &mut leaves);
    assert_eq!(leaves, [EntryId::NO_ROUTE, EntryId::NO_ROUTE, EntryId(99)]);
    assert_eq!(table.lookup(stranger.enter(), Ipv6Addr::LOCALHOST), EntryId::NO_ROUTE);
}
