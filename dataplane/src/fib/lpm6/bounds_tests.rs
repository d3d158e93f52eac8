//! Tables with hardly any room, and readers that hardly ever move on: what is refused changes nothing.

use std::collections::HashMap;

use ipnet::Ipv6Net;
use proptest::prelude::*;

use super::*;

fn net(address: u128, length: u8) -> Ipv6Net {
    Ipv6Net::new(address.into(), length).expect("a length").trunc()
}

fn lookup(model: &HashMap<Ipv6Net, EntryId>, address: u128) -> EntryId {
    let covers = (0..=128).rev().map(|length| net(address, length));
    covers.into_iter().find_map(|prefix| model.get(&prefix).copied()).unwrap_or(EntryId::NO_ROUTE)
}

#[derive(Clone, Debug)]
enum Step {
    Change(Ipv6Net, Option<EntryId>),
    Apply(Vec<(Ipv6Net, Option<EntryId>)>),
    Settle,
    Enter,
}

fn prefix() -> impl Strategy<Value = Ipv6Net> {
    let address = prop_oneof![
        (0u128..1 << 14).prop_map(|middle| 0x2001_0db8 << 96 | middle << 82),
        (0u128..1 << 9).prop_map(|low| u128::MAX - low),
        (0u128..1 << 9).prop_map(|low| 0x2001_0db8 << 96 | low),
        0u128..1 << 9,
    ];
    let length = prop_oneof![1 => 14u8..=18, 8 => 19u8..=48, 2 => 60u8..=70, 4 => 119u8..=128];
    (address, length).prop_map(|(address, length)| net(address, length))
}

fn change() -> impl Strategy<Value = (Ipv6Net, Option<EntryId>)> {
    (prefix(), prop::option::weighted(0.7, (0u16..4).prop_map(EntryId)))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => change().prop_map(|(prefix, leaf)| Step::Change(prefix, leaf)),
        2 => prop::collection::vec(change(), 1..40).prop_map(Step::Apply),
        1 => Just(Step::Settle),
        2 => Just(Step::Enter),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_refused_changes_nothing(
        steps in prop::collection::vec(step(), 1..100),
        leaves in 5usize << 10..32 << 10,
        retired in prop_oneof![0usize..512, Just(1 << 20)],
    ) {
        let domain = Domain::new(1);
        let options = FibOptions { leaves, retired, ..FibOptions::default() };
        let (mut writer, table) = lpm6_with(&domain, options).expect("address space");
        let mut reader = domain.reader().expect("a slot");
        let _ = reader.enter();
        let mut model = HashMap::new();
        let mut probes = vec![0, u128::MAX];
        for step in steps {
            let (changes, done) = match step {
                Step::Enter => {
                    let _ = reader.enter();
                    continue;
                }
                Step::Settle => {
                    writer.settle();
                    (Vec::new(), Ok(()))
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

#[test]
fn what_is_in_a_full_table_can_be_taken_out() {
    for leaves in [12 << 10, 20_000, 64 << 10] {
        for (base, bits, shortest) in [(0x2001_0db8, 14, 33), (0x2001_0db8, 4, 36), (0x2001_0000, 16, 30)] {
            let options = FibOptions { leaves, ..FibOptions::default() };
            let (mut writer, _) = lpm6_with(&Domain::new(0), options).expect("memory");
            let mut inside = Vec::new();
            for index in 0..1u32 << 20 {
                let mixed = index.wrapping_mul(0x9e37_79b1);
                let address = base << 96 | u128::from(mixed >> (32 - bits)) << (96 - bits) | u128::from(mixed) << 16;
                let prefix = net(address, shortest + (mixed >> 3) as u8 % 90);
                match writer.insert(prefix, EntryId(1 + index as u16 % 7)) {
                    Ok(None) => inside.push(prefix),
                    Ok(Some(_)) => {}
                    Err(_) => break,
                }
            }
            while !inside.is_empty() {
                let before = inside.len();
                inside.retain(|prefix| writer.remove(*prefix).is_err());
                assert!(inside.len() < before, "{base:#x}, {leaves} bytes: {before} cannot be taken out");
            }
            assert!(writer.is_empty());
        }
    }
}

#[test]
fn more_leaves_than_words_can_lead_to_are_an_error() {
    for leaves in [4 << 30, usize::MAX] {
        assert!(lpm6_with(&Domain::new(0), FibOptions { leaves, ..FibOptions::default() }).is_err(), "{leaves}");
    }
}
