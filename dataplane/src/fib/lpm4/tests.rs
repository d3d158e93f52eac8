//! The table against a plain map of prefixes, in every form of look-up, through any sequence of changes.

use std::collections::HashMap;

use ipnet::Ipv4Net;
use proptest::prelude::*;

use super::*;
use crate::fib::{FibError, Reader};

/// What the longest match is, worked out the slow way.
#[derive(Clone, Debug, Default)]
struct Model(HashMap<Ipv4Net, EntryId>);

impl Model {
    fn lookup(&self, address: u32) -> EntryId {
        let covers = (0..=32).rev().map(|length| Ipv4Net::new(address.into(), length).expect("a length").trunc());
        covers.into_iter().find_map(|prefix| self.0.get(&prefix).copied()).unwrap_or(EntryId::NO_ROUTE)
    }
}

/// A table in every form that this processor can run, changed alike.
struct Tables {
    readers: Vec<(Simd, Lpm4Writer, Arc<Lpm4>, Reader)>,
}

impl Tables {
    fn new() -> Tables {
        let table = |simd| {
            let domain = Domain::new(1);
            let (writer, table) =
                lpm4_with(&domain, FibOptions { simd, ..FibOptions::default() }).expect("address space");
            (simd, writer, table, domain.reader().expect("a slot"))
        };
        Tables { readers: Simd::available().map(table).collect() }
    }

    fn change(&mut self, prefix: Ipv4Net, leaf: Option<EntryId>) -> Vec<Result<Option<EntryId>, FibError>> {
        let changed = self.readers.iter_mut().map(|(_, writer, ..)| match leaf {
            Some(leaf) => writer.insert(prefix, leaf),
            None => writer.remove(prefix),
        });
        changed.collect()
    }

    /// Every form, with the summary and without, and one by one, says what the model says.
    fn check(&mut self, model: &Model, probes: &[u32]) -> Result<(), TestCaseError> {
        let expected: Vec<_> = probes.iter().map(|probe| model.lookup(*probe)).collect();
        for (simd, _, table, reader) in &mut self.readers {
            let mut leaves = vec![EntryId(99); probes.len()];
            let section = reader.enter();
            for summary in [0, 1 << 31] {
                for (to, leaf) in probes.chunks(BURST).zip(leaves.chunks_mut(BURST)) {
                    section.note().set(summary | 1);
                    table.lookup_burst(section, to, leaf);
                }
                for ((probe, expected), leaf) in probes.iter().zip(&expected).zip(&leaves) {
                    let address = Ipv4Addr::from(*probe);
                    prop_assert_eq!(leaf, expected, "{} {:?} summary {}", address, simd, summary != 0);
                    prop_assert_eq!(table.lookup(section, address), *expected, "{} alone", address);
                }
            }
        }
        Ok(())
    }
}

use super::lookup::BURST;

/// Few distinct bits, so that prefixes nest, touch and overlap often, at all the places where the levels meet.
fn prefix() -> impl Strategy<Value = Ipv4Net> {
    let address = prop_oneof![
        prop::sample::select(vec![0x0a00_0000u32, 0x0a01_0000, 0x0a01_0200, 0x0a01_02ff, 0x0a01_1fff, 0x0a01_2000]),
        prop::sample::select(vec![0xffff_ffffu32, 0, 0xe000_0000, 0x7fff_ffff, 0x0a01_02e0, 0x0a01_0301]),
        (0u32..1 << 14).prop_map(|low| 0x0a01_0000 | low),
    ];
    // The shortest ones touch half a million words each: fewer of them.
    let edges = prop::sample::select(vec![15u8, 16, 17, 18, 19, 20, 23, 24, 25, 27, 28, 32]);
    let length = prop_oneof![1 => 0u8..=7, 20 => 8u8..=32, 20 => edges];
    (address, length).prop_map(|(address, length)| Ipv4Net::new(address.into(), length).expect("a length").trunc())
}

fn edges(prefix: Ipv4Net) -> impl Iterator<Item = u32> {
    let (first, last) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
    [first, last, first / 2 + last / 2].into_iter().flat_map(|edge| [edge.wrapping_sub(1), edge, edge.wrapping_add(1)])
}

proptest! {
    #[test]
    fn a_look_up_is_the_longest_match_after_any_sequence_of_changes(
        changes in prop::collection::vec((prefix(), prop::option::weighted(0.7, 0u16..9)), 1..40),
    ) {
        let mut tables = Tables::new();
        let mut model = Model::default();
        let mut probes = vec![0, u32::MAX];
        for (prefix, leaf) in changes {
            let leaf = leaf.map(EntryId);
            probes.extend(edges(prefix));
            let before = match leaf {
                Some(leaf) => model.0.insert(prefix, leaf),
                None => model.0.remove(&prefix),
            };
            for changed in tables.change(prefix, leaf) {
                prop_assert_eq!(changed, Ok(before));
            }
            tables.check(&model, &probes)?;
        }
        for (_, writer, ..) in &tables.readers {
            prop_assert_eq!(writer.len(), model.0.len());
            for probe in &probes {
                let expected = model.lookup(*probe);
                let found = writer.longest_match(Ipv4Addr::from(*probe));
                prop_assert_eq!(found.map_or(EntryId::NO_ROUTE, |(_, leaf)| leaf), expected);
                if let Some((prefix, leaf)) = found {
                    prop_assert_eq!(model.0.get(&prefix), Some(&leaf));
                }
            }
        }
        for prefix in model.0.keys().copied().collect::<Vec<_>>() {
            prop_assert_eq!(model.0.get(&prefix).copied(), tables.readers[0].1.get(prefix));
            tables.change(prefix, None);
        }
        tables.check(&Model::default(), &probes)?;
        for (_, writer, _, reader) in &mut tables.readers {
            let empty = lpm4(&Domain::new(1)).expect("address space").0.memory();
            writer.reclaim();
            let _ = reader.enter();
            writer.reclaim();
            prop_assert_eq!(writer.memory(), empty, "something is left of what was removed");
        }
    }

    #[test]
    fn a_transaction_gives_each_address_its_new_leaf_at_once_and_leaves_what_single_changes_leave(
        before in prop::collection::vec((prefix(), 1u16..5), 0..20),
        changes in prop::collection::vec((prefix(), prop::option::of(5u16..9)), 1..20),
    ) {
        let domain = Domain::new(1);
        let (mut writer, table) = lpm4(&domain).expect("address space");
        let mut reader = domain.reader().expect("a slot");
        let mut model = Model::default();
        for (prefix, leaf) in before {
            writer.insert(prefix, EntryId(leaf)).expect("room");
            model.0.insert(prefix, EntryId(leaf));
        }
        let changes: Vec<_> = changes.into_iter().map(|(prefix, leaf)| (prefix, leaf.map(EntryId))).collect();
        let mut after = model.clone();
        for (prefix, leaf) in &changes {
            match leaf {
                Some(leaf) => after.0.insert(*prefix, *leaf),
                None => after.0.remove(prefix),
            };
        }
        let probes: Vec<u32> = changes.iter().flat_map(|(prefix, _)| edges(*prefix)).collect();
        // Step by step, in the order that apply takes.
        let mut seen = vec![false; probes.len()];
        for (prefix, leaf) in transaction::ordered(&changes, |prefix| (prefix.prefix_len(), prefix.trunc())) {
            match leaf {
                Some(leaf) => writer.insert(prefix, leaf).expect("room"),
                None => writer.remove(prefix).expect("room"),
            };
            for (probe, seen) in probes.iter().zip(&mut seen) {
                let leaf = table.lookup(reader.enter(), Ipv4Addr::from(*probe));
                let (old, new) = (model.lookup(*probe), after.lookup(*probe));
                prop_assert!(leaf == new || (leaf == old && !*seen), "{probe:#x}: {old:?} {leaf:?} {new:?}");
                *seen |= leaf == new && old != new;
            }
        }
        for (prefix, leaf) in &model.0 {
            writer.insert(*prefix, *leaf).expect("room");
        }
        for prefix in after.0.keys().filter(|prefix| !model.0.contains_key(*prefix)) {
            writer.remove(*prefix).expect("room");
        }
        writer.apply(&changes, &mut || ()).expect("room");
        for probe in &probes {
            prop_assert_eq!(table.lookup(reader.enter(), Ipv4Addr::from(*probe)), after.lookup(*probe));
        }
        prop_assert_eq!(writer.len(), after.0.len());
    }
}

use crate::fib::transaction;

#[test]
fn a_burst_of_any_length_is_looked_up_whole() {
    let domain = Domain::new(1);
    let (mut writer, table) = lpm4(&domain).expect("address space");
    writer.insert("10.0.0.0/8".parse().expect("a prefix"), EntryId(7)).expect("room");
    let mut reader = domain.reader().expect("a slot");
    for count in 0..100 {
        let to = vec![0x0a00_0001; count];
        let mut leaves = vec![EntryId(99); count + 1];
        table.lookup_burst(reader.enter(), &to, &mut leaves);
        assert!(leaves[..count].iter().all(|leaf| *leaf == EntryId(7)), "{count}");
        assert_eq!(leaves[count], EntryId(99), "{count}: more was written than asked for");
    }
}

#[test]
fn traffic_that_goes_everywhere_turns_a_reader_to_the_summary_and_other_traffic_back() {
    let domain = Domain::new(1);
    let (mut writer, table) = lpm4(&domain).expect("address space");
    for third in 0..=255u32 {
        let prefix = Ipv4Net::new((0x0a01_0000 | third << 8).into(), 24).expect("a length");
        writer.insert(prefix, EntryId(1 + third as u16 % 2)).expect("room");
    }
    let mut reader = domain.reader().expect("a slot");
    let mut bursts = |first: u32, step: u32| {
        for _ in 0..200 {
            let to: Vec<u32> = (0..32).map(|index| first + index * step).collect();
            table.lookup_burst(reader.enter(), &to, &mut [EntryId::NO_ROUTE; 32]);
        }
        reader.enter().note().get() >> 31 == 1
    };
    assert!(bursts(0, 1 << 26), "a uniform /16 each time, and the words were asked");
    assert!(!bursts(0x0a01_0000, 256), "never a uniform /16, and the summary was asked");
    assert!(bursts(0, 1 << 26));
}

#[test]
fn a_leaf_that_the_table_keeps_for_itself_is_refused() {
    let (mut writer, _) = lpm4(&Domain::new(1)).expect("address space");
    let prefix = "10.0.0.0/8".parse().expect("a prefix");
    assert_eq!(writer.insert(prefix, EntryId(EntryId::LAST.0 + 1)), Err(FibError::NoLeaf(EntryId::LAST.0 + 1)));
    assert_eq!(writer.insert(prefix, EntryId::LAST), Ok(None));
    assert_eq!(writer.get(prefix), Some(EntryId::LAST));
}

#[test]
fn a_section_of_another_domain_finds_no_route() {
    let (mut writer, table) = lpm4(&Domain::new(1)).expect("address space");
    writer.insert("0.0.0.0/0".parse().expect("a prefix"), EntryId(7)).expect("room");
    let mut stranger = Domain::new(1).reader().expect("a slot");
    let mut leaves = [EntryId(99); 3];
    table.lookup_burst(stranger.enter(), &[1, 2], &mut leaves);
    assert_eq!(leaves, [EntryId::NO_ROUTE, EntryId::NO_ROUTE, EntryId(99)]);
    assert_eq!(table.lookup(stranger.enter(), Ipv4Addr::LOCALHOST), EntryId::NO_ROUTE);
}
