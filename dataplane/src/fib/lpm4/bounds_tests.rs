//! Tables with hardly any room, and readers that hardly ever move on: what is refused changes nothing.

use std::collections::HashMap;

use ipnet::Ipv4Net;
use proptest::prelude::*;

use super::*;
use crate::fib::FibError;

fn net(address: u32, length: u8) -> Ipv4Net {
    Ipv4Net::new(address.into(), length).expect("a length").trunc()
}

fn lookup(model: &HashMap<Ipv4Net, EntryId>, address: u32) -> EntryId {
    let covers = (0..=32).rev().map(|length| net(address, length));
    covers.into_iter().find_map(|prefix| model.get(&prefix).copied()).unwrap_or(EntryId::NO_ROUTE)
}

/// In each word of 10.1.0.0/16 fifteen /24s with a tail, and one without: all say what the /16 says, so that another
/// leaf for it needs new blocks for the words and for all tails, while the words' old blocks wait.
#[test]
fn a_transaction_can_be_undone_however_little_room_its_last_change_left() {
    let mut refused = 0;
    for leaves in (8 << 10..28 << 10).step_by(256) {
        let domain = Domain::new(1);
        let options = FibOptions { leaves, ..FibOptions::default() };
        let (mut writer, table) = lpm4_with(&domain, options).expect("address space");
        let mut reader = domain.reader().expect("a slot");
        let section = reader.enter();
        let wide = net(0x0a01_0000, 16);
        let mut routes = vec![(wide, EntryId(1))];
        for third in (0..256u32).step_by(2) {
            let length = if third % 32 == 30 { 24 } else { 32 };
            routes.push((net(0x0a01_0010 | third << 8, length), EntryId(1)));
        }
        if routes.iter().any(|(prefix, leaf)| writer.insert(*prefix, *leaf).is_err()) {
            continue;
        }
        let changes = [(wide, Some(EntryId(2))), (net(0x0a00_0000, 15), Some(EntryId(3)))];
        if writer.apply(&changes, &mut || ()) != Err(FibError::Full) {
            continue;
        }
        refused += 1;
        assert_eq!(writer.len(), routes.len());
        for address in (0x0a01_0000..=0x0a01_ffff).step_by(8) {
            assert_eq!(table.lookup(section, address.into()), EntryId(1), "{leaves}: {address:#x}");
        }
    }
    assert!(refused > 1, "nothing was refused");
}

#[derive(Clone, Debug)]
enum Step {
    Change(Ipv4Net, Option<EntryId>),
    Apply(Vec<(Ipv4Net, Option<EntryId>)>),
    Enter,
}

fn prefix() -> impl Strategy<Value = Ipv4Net> {
    let address = prop_oneof![
        (0u32..1 << 14).prop_map(|low| 0x0a01_0000 | low),
        (0u32..1 << 9).prop_map(|low| 0xffff_ffff - low),
        0u32..1 << 9,
    ];
    let length = prop_oneof![1 => 12u8..=16, 6 => 17u8..=24, 10 => 24u8..=32];
    (address, length).prop_map(|(address, length)| net(address, length))
}

fn change() -> impl Strategy<Value = (Ipv4Net, Option<EntryId>)> {
    (prefix(), prop::option::weighted(0.7, (0u16..4).prop_map(EntryId)))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => change().prop_map(|(prefix, leaf)| Step::Change(prefix, leaf)),
        2 => prop::collection::vec(change(), 1..40).prop_map(Step::Apply),
        2 => Just(Step::Enter),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_refused_changes_nothing(
        steps in prop::collection::vec(step(), 1..120),
        leaves in 256usize..8 << 10,
        retired in prop_oneof![0usize..512, Just(1 << 20)],
    ) {
        let domain = Domain::new(1);
        let options = FibOptions { leaves, retired, ..FibOptions::default() };
        let (mut writer, table) = lpm4_with(&domain, options).expect("address space");
        let mut reader = domain.reader().expect("a slot");
        let _ = reader.enter();
        let mut model = HashMap::new();
        let mut probes = vec![0, u32::MAX];
        for step in steps {
            let (changes, done) = match step {
                Step::Enter => {
                    let _ = reader.enter();
                    continue;
                }
                Step::Change(prefix, leaf) => {
                    let done = match leaf {
                        Some(leaf) => writer.insert(prefix, leaf),
                        None => writer.remove(prefix),
                    };
                    let before = model.get(&prefix).copied();
                    prop_assert!(done.is_err() || done == Ok(before));
                    (vec![(prefix, leaf)], done.map(|_| ()))
                }
                Step::Apply(changes) => {
                    let done = writer.apply(&changes, &mut || ());
                    (changes, done)
                }
            };
            for (prefix, leaf) in changes {
                let (first, last) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
                probes.extend([first.wrapping_sub(1), first, last, last.wrapping_add(1), first / 2 + last / 2]);
                match (done, leaf) {
                    (Ok(()), Some(leaf)) => {
                        model.insert(prefix, leaf);
                    }
                    (Ok(()), None) => {
                        model.remove(&prefix);
                    }
                    (Err(_), _) => {}
                }
            }
            prop_assert_eq!(writer.len(), model.len());
            for probe in &probes {
                prop_assert_eq!(table.lookup_one(*probe), lookup(&model, *probe), "{:#x}", probe);
            }
        }
    }
}

/// Fills a table with distinct prefixes until one is refused.
fn filled(leaves: usize, prefixes: impl Iterator<Item = Ipv4Net>) -> (Lpm4Writer, Vec<Ipv4Net>) {
    let (mut writer, _) = lpm4_with(&Domain::new(0), FibOptions { leaves, ..FibOptions::default() }).expect("memory");
    let mut inside = Vec::new();
    for (leaf, prefix) in (0..).zip(prefixes) {
        match writer.insert(prefix, EntryId(1 + leaf % 7)) {
            Ok(None) => inside.push(prefix),
            Ok(Some(_)) => {}
            Err(error) => {
                assert_eq!(error, FibError::Full);
                return (writer, inside);
            }
        }
    }
    panic!("{} prefixes fit into {leaves} bytes", inside.len());
}

/// A number that looks random, another for each index.
fn mixed(index: u32) -> u32 {
    index.wrapping_mul(0x9e37_79b1)
}

#[test]
fn what_is_in_a_full_table_can_be_taken_out() {
    let length = |index| 17 + (mixed(index) >> 3) as u8 % 16;
    for leaves in [1 << 10, 2500, 8 << 10] {
        let one_half = (0..1 << 16).map(|index| net(0x0a01_0000 | mixed(index) >> 16, length(index)));
        let few_halves = (0..1 << 16).map(|index| net(mixed(index) >> 12, length(index)));
        let all_halves = (0..1 << 16).map(|index| net(mixed(index), length(index)));
        let one_then_all = one_half.clone().take(50).chain(all_halves.clone());
        let cases: [&mut dyn Iterator<Item = Ipv4Net>; 4] =
            [&mut one_half.clone(), &mut few_halves.clone(), &mut all_halves.clone(), &mut one_then_all.clone()];
        for (case, prefixes) in cases.into_iter().enumerate() {
            let (mut writer, mut inside) = filled(leaves, prefixes);
            while !inside.is_empty() {
                let before = inside.len();
                inside.retain(|prefix| writer.remove(*prefix).is_err());
                assert!(inside.len() < before, "case {case}, {leaves} bytes: {before} cannot be taken out");
            }
            assert!(writer.is_empty());
        }
    }
}

#[test]
fn more_leaves_than_words_can_lead_to_are_an_error() {
    for leaves in [8 << 30, usize::MAX] {
        assert!(lpm4_with(&Domain::new(0), FibOptions { leaves, ..FibOptions::default() }).is_err(), "{leaves}");
    }
}
