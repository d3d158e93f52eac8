//! Sets of rules by what one part of a packet is: one byte of it, or a port. The tables that
//! [`rule_table`](super::rule_table) puts together; made by the control thread, read by workers.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::arch::lanes::{Form, Lanes, Table};

/// A set of up to 256 rules: bit n % 64 of word n / 64 for the rule n. A cache line has two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(align(32))]
pub(super) struct RuleBits([u64; RuleBits::SIZE / 64]);

impl RuleBits {
    /// How many rules can be in a set.
    pub(super) const SIZE: usize = 256;

    /// Puts a rule in.
    pub(super) fn insert(&mut self, rule: u8) {
        if let Some(word) = self.0.get_mut(usize::from(rule) / 64) {
            *word |= 1 << (rule % 64);
        }
    }

    /// Takes a rule out.
    pub(super) fn remove(&mut self, rule: u8) {
        if let Some(word) = self.0.get_mut(usize::from(rule) / 64) {
            *word &= !(1 << (rule % 64));
        }
    }

    /// What is in both.
    #[inline(always)]
    pub(super) fn and(self, other: &RuleBits) -> RuleBits {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        RuleBits([a & e, b & f, c & g, d & h])
    }

    /// The first rule in the set. Without a branch: which word it is in is hard to foretell.
    #[inline(always)]
    pub(super) fn first(self) -> Option<usize> {
        let in_word = |at: usize, word: u64, next: usize| {
            if word == 0 { next } else { at * 64 + word.trailing_zeros() as usize }
        };
        let first = self.0.iter().enumerate().rev().fold(RuleBits::SIZE, |next, (at, word)| in_word(at, *word, next));
        (first < RuleBits::SIZE).then_some(first)
    }
}

/// The rules that may fit a packet by one of its bytes.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct ByteSets {
    sets: [RuleBits; 256],
    /// The same number for all bytes with the same set.
    classes: Table<u8>,
}

impl ByteSets {
    /// Of rules that ask for a byte in one of their ranges. None where every range has all bytes, so that the byte tells nothing.
    pub(super) fn new(ranges: impl Iterator<Item = (u8, RangeInclusive<u8>)> + Clone) -> Option<ByteSets> {
        let mut any = RuleBits::default();
        let mut some = ranges.clone().filter(|(_, range)| *range != (0..=u8::MAX)).peekable();
        some.peek()?;
        ranges.filter(|(_, range)| *range == (0..=u8::MAX)).for_each(|(rule, _)| any.insert(rule));
        let mut sets = [any; 256];
        for (rule, range) in some {
            let (first, last) = range.into_inner();
            sets.iter_mut().take(usize::from(last) + 1).skip(first.into()).for_each(|set| set.insert(rule));
        }
        let mut numbers = HashMap::new();
        let classes = sets.map(|set| {
            let next = numbers.len() as u8;
            *numbers.entry(set).or_insert(next)
        });
        Some(ByteSets { sets, classes: Table::new(classes) })
    }

    /// The set of a byte.
    #[inline(always)]
    pub(super) fn of(&self, byte: u8) -> &RuleBits {
        &self.sets[usize::from(byte)]
    }

    /// The number of the set of each of eight bytes.
    #[inline(always)]
    pub(super) fn classes_of<L: Lanes>(&self, bytes: L) -> L {
        bytes.bytes_of(&self.classes)
    }

    /// The sets by their numbers.
    pub(super) fn distinct(&self) -> Vec<RuleBits> {
        let mut distinct = Vec::new();
        for (byte, set) in self.sets.iter().enumerate() {
            // A number comes first where all below it have come.
            if usize::from(self.classes.at(byte)) == distinct.len() {
                distinct.push(*set);
            }
        }
        distinct
    }

    /// What they take, in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        size_of_val(self) + self.classes.memory()
    }
}

/// The numbers of sets that are in both of two.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    /// How many sets the second is one of.
    seconds: u32,
    /// By the number of the first times that, and the number of the second.
    numbers: Table<u16>,
}

impl Joined {
    /// So many pairs at most are joined.
    const MOST: usize = 4096;

    /// Of each of the first with each of the second, and these sets by their numbers; None where that is too many.
    pub(super) fn new(firsts: &[RuleBits], seconds: &[RuleBits]) -> Option<(Joined, Vec<RuleBits>)> {
        if firsts.len() * seconds.len() > Joined::MOST {
            return None;
        }
        let (mut known, mut distinct) = (HashMap::new(), Vec::new());
        let pairs = firsts.iter().flat_map(|first| seconds.iter().map(move |second| first.and(second)));
        let numbers = Table::new(pairs.map(|set| {
            *known.entry(set).or_insert_with(|| {
                distinct.push(set);
                (distinct.len() - 1) as u16
            })
        }));
        Some((Joined { seconds: seconds.len() as u32, numbers }, distinct))
    }

    /// Of eight pairs.
    #[inline(always)]
    pub(super) fn of<F: Form>(&self, form: F, first: F::Lanes, second: F::Lanes) -> F::Lanes {
        (first * form.splat(self.seconds) + second).halves_of(&self.numbers)
    }

    /// What they take, in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.numbers.memory()
    }
}

/// The rules that may fit a packet by one of its ports. Ports of the same rules are of one class.
#[derive(Clone, Debug)]
pub(super) struct PortSets {
    /// Of the upper byte of a port: where its lower one is looked up. Pages that are alike are there once.
    pages: Table<u8>,
    /// Of each page, one behind the other: the classes of its ports.
    classes: Table<u16>,
    /// Of each class.
    sets: Box<[RuleBits]>,
}

/// A set with no rule.
static NO_RULE: RuleBits = RuleBits([0; RuleBits::SIZE / 64]);

impl PortSets {
    /// Of rules that ask for a port in one of their ranges. None where every range has all ports.
    pub(super) fn new(ranges: impl Iterator<Item = (u8, RangeInclusive<u16>)> + Clone) -> Option<PortSets> {
        ranges.clone().find(|(_, range)| *range != (0..=u16::MAX))?;
        // Where a range begins, and the port behind it.
        let ends = ranges.flat_map(|(rule, range)| {
            let (first, last) = range.into_inner();
            [(u32::from(first), rule, true), (u32::from(last) + 1, rule, false)]
        });
        let mut ends: Vec<_> = ends.chain([(0, 0, true), (0, 0, false)]).collect();
        ends.sort_unstable_by_key(|(port, ..)| *port);
        let mut numbers = HashMap::new();
        let (mut sets, mut classes) = (Vec::new(), Vec::with_capacity(1 << 16));
        let (mut set, mut ranges_of) = (RuleBits::default(), [0i32; RuleBits::SIZE]);
        let mut ends = ends.chunk_by(|(one, ..), (next, ..)| one == next).peekable();
        while let Some(here) = ends.next() {
            for (_, rule, begins) in here {
                ranges_of[usize::from(*rule)] += if *begins { 1 } else { -1 };
            }
            for (_, rule, _) in here {
                if ranges_of[usize::from(*rule)] > 0 { set.insert(*rule) } else { set.remove(*rule) }
            }
            let next = ends.peek().and_then(|next| next.first()).map_or(1 << 16, |(port, ..)| *port as usize);
            let number = *numbers.entry(set).or_insert_with(|| {
                sets.push(set);
                (sets.len() - 1) as u16
            });
            classes.resize(next.min(1 << 16), number);
        }
        let (mut pages, mut known, mut distinct) = ([0u8; 256], HashMap::new(), Vec::new());
        for (page, classes) in pages.iter_mut().zip(classes.as_chunks::<256>().0) {
            *page = *known.entry(classes).or_insert_with(|| {
                distinct.extend(classes);
                (distinct.len() / 256 - 1) as u8
            });
        }
        Some(PortSets { pages: Table::new(pages), classes: Table::new(distinct), sets: sets.into() })
    }

    /// The set of a port.
    #[inline(always)]
    pub(super) fn of(&self, port: u16) -> &RuleBits {
        let page = self.pages.at((port >> 8).into());
        let class = self.classes.at(usize::from(page) << 8 | usize::from(port as u8));
        self.sets.get(usize::from(class)).unwrap_or(&NO_RULE)
    }

    /// The number of the set of each of eight ports: the same for all with the same set.
    #[inline(always)]
    pub(super) fn classes_of<F: Form>(&self, form: F, ports: F::Lanes) -> F::Lanes {
        let pages = ports.shr::<8>().bytes_of(&self.pages);
        (pages.shl::<8>() | ports & form.splat(0xff)).halves_of(&self.classes)
    }

    /// What they take, in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        size_of_val(self) + self.pages.memory() + self.classes.memory() + size_of_val(&*self.sets)
    }
}
