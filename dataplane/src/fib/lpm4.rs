//! Longest prefix match for IPv4: a trie of 16, 8 and 8 bits that one thread changes while workers look up bursts.
//!
//! A slot is one 32-bit word: either a forwarding-entry id or the number of a node with 256 further slots. Prefixes are
//! pushed down to the slots they cover, so that a look-up takes one to three loads and never goes back. The writer
//! changes one slot with one store: a reader sees the old word or the new one. A node is filled before the word that
//! leads to it is stored, and used again only when no reader can be inside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ipnet::Ipv4Net;
use prefix_trie::PrefixMap;

use super::next_hop::EntryId;
use super::publication::{Domain, Section};
use crate::arch::prefetch_read;

/// Slots of the first level: one for each value of the upper 16 bits.
const ROOT: usize = 1 << 16;
/// Slots of a node.
const NODE: usize = 1 << 8;
/// The word leads to a node; its number is in the other bits.
const IS_NODE: u32 = 1 << 31;
/// Packets looked up together.
const STAGE: usize = 32;

/// Why a table cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lpm4Error {
    /// The table was made for fewer prefixes longer than /16.
    #[error("the IPv4 forwarding table is full ({0} nodes in use); nothing was changed for this prefix")]
    Full(usize),
}

/// The table as workers see it.
#[derive(Debug)]
pub struct Lpm4 {
    domain: Arc<Domain>,
    /// The root's slots, then those of the nodes. Pages that were never written take no memory.
    slots: Box<[AtomicU32]>,
}

/// The one writer.
#[derive(Debug)]
pub struct Lpm4Writer {
    table: Arc<Lpm4>,
    /// Every prefix with its leaf: what a slot falls back to when a prefix goes.
    prefixes: PrefixMap<Ipv4Net, EntryId>,
    /// The length of the prefix that each slot's leaf comes from.
    lengths: Vec<u8>,
    /// Nodes that may be used, with the epoch that all readers must have reached before.
    free: std::collections::VecDeque<(u64, u32)>,
    /// Nodes in use or free; those beyond were never used.
    touched: u32,
    capacity: u32,
    in_use: usize,
}

/// An empty table with room for `nodes` nodes: one for each /16 that has a longer prefix, and one for each /24 that has.
/// A node takes 1.25 KiB once it is used.
pub fn lpm4(domain: &Arc<Domain>, nodes: u32) -> (Lpm4Writer, Arc<Lpm4>) {
    let capacity = nodes.min(1 << 22);
    let slots = ROOT + capacity as usize * NODE;
    let words = vec![0u32; slots].into_boxed_slice();
    // SAFETY: AtomicU32 has the size, alignment and bit validity of u32, and the box is the only owner.
    let atomics = unsafe { Box::from_raw(Box::into_raw(words) as *mut [AtomicU32]) };
    let table = Arc::new(Lpm4 { domain: Arc::clone(domain), slots: atomics });
    let writer = Lpm4Writer {
        table: Arc::clone(&table),
        prefixes: PrefixMap::new(),
        lengths: vec![0; slots],
        free: std::collections::VecDeque::new(),
        touched: 0,
        capacity,
        in_use: 0,
    };
    (writer, table)
}

/// Where a node's slots begin.
#[inline(always)]
fn node_base(node: u32) -> usize {
    ROOT + node as usize * NODE
}

impl Lpm4 {
    /// Looks up every destination (host byte order) and writes the leaf to the same place of `leaves`; as many as the
    /// shorter of both has.
    #[inline]
    pub fn lookup_burst(&self, section: Section<'_>, destinations: &[u32], leaves: &mut [EntryId]) {
        for (destinations, leaves) in destinations.chunks(STAGE).zip(leaves.chunks_mut(STAGE)) {
            self.lookup_stage(section, destinations, leaves);
        }
    }

    /// Looks up one destination.
    #[inline]
    pub fn lookup(&self, section: Section<'_>, destination: std::net::Ipv4Addr) -> EntryId {
        let mut leaf = [EntryId::NO_ROUTE];
        self.lookup_stage(section, &[destination.to_bits()], &mut leaf);
        let [leaf] = leaf;
        leaf
    }

    /// Level by level over all destinations, so that their cache misses overlap.
    #[inline(always)]
    fn lookup_stage(&self, _section: Section<'_>, destinations: &[u32], leaves: &mut [EntryId]) {
        let mut words = [0u32; STAGE];
        let mut deeper = 0u32;
        for (word, destination) in words.iter_mut().zip(destinations) {
            *word = self.word((destination >> 16) as usize);
            deeper |= *word;
            if *word & IS_NODE != 0 {
                let slot = node_base(*word & !IS_NODE) + ((destination >> 8) & 0xff) as usize;
                prefetch_read(self.slots.as_ptr().wrapping_add(slot));
            }
        }
        for shift in [8, 0] {
            if deeper & IS_NODE == 0 {
                break;
            }
            deeper = 0;
            for (word, destination) in words.iter_mut().zip(destinations) {
                if *word & IS_NODE != 0 {
                    *word = self.word(node_base(*word & !IS_NODE) + ((destination >> shift) & 0xff) as usize);
                    deeper |= *word;
                    if *word & IS_NODE != 0 {
                        let slot = node_base(*word & !IS_NODE) + (destination & 0xff) as usize;
                        prefetch_read(self.slots.as_ptr().wrapping_add(slot));
                    }
                }
            }
        }
        for (leaf, word) in leaves.iter_mut().zip(words) {
            *leaf = EntryId(word as u16);
        }
    }

    /// A slot's word. Acquire: what the word leads to was written before it was stored.
    #[inline(always)]
    fn word(&self, slot: usize) -> u32 {
        self.slots.get(slot).map_or(0, |slot| slot.load(Ordering::Acquire))
    }
}

impl Lpm4Writer {
    /// Adds or replaces a prefix. Each slot changes from the old leaf to the new one with a single store.
    pub fn insert(&mut self, prefix: Ipv4Net, leaf: EntryId) -> Result<(), Lpm4Error> {
        let prefix = prefix.trunc();
        if let Err(error) = self.descend(prefix) {
            // The first of two nodes may have been made.
            self.fold(prefix);
            return Err(error);
        }
        self.prefixes.insert(prefix, leaf);
        self.paint(prefix, leaf, prefix.prefix_len(), |length, own| length <= own);
        Ok(())
    }

    /// Takes a prefix out: its slots go back to the next shorter prefix. False where it was not there.
    pub fn remove(&mut self, prefix: Ipv4Net) -> bool {
        let prefix = prefix.trunc();
        if self.prefixes.remove(&prefix).is_none() {
            return false;
        }
        let (leaf, length) =
            self.prefixes.get_lpm(&prefix).map_or((EntryId::NO_ROUTE, 0), |(cover, leaf)| (*leaf, cover.prefix_len()));
        self.paint(prefix, leaf, length, |length, own| length == own);
        self.fold(prefix);
        true
    }

    /// The leaf of exactly this prefix.
    pub fn get(&self, prefix: Ipv4Net) -> Option<EntryId> {
        self.prefixes.get(&prefix.trunc()).copied()
    }

    /// The longest prefix that covers an address, and its leaf.
    pub fn longest_match(&self, address: std::net::Ipv4Addr) -> Option<(Ipv4Net, EntryId)> {
        self.prefixes.get_lpm(&Ipv4Net::from(address)).map(|(prefix, leaf)| (*prefix, *leaf))
    }

    /// Number of prefixes.
    pub fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Whether there is no prefix at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Nodes in use.
    pub fn nodes(&self) -> usize {
        self.in_use
    }

    fn load(&self, slot: usize) -> u32 {
        // Only this thread stores.
        self.table.slots.get(slot).map_or(0, |slot| slot.load(Ordering::Relaxed))
    }

    fn store(&mut self, slot: usize, word: u32, length: u8) {
        if let (Some(atomic), Some(own)) = (self.table.slots.get(slot), self.lengths.get_mut(slot)) {
            *own = length;
            // Release: a node's slots, or the forwarding entry a leaf names, come before the word that leads there.
            atomic.store(word, Ordering::Release);
        }
    }

    fn length(&self, slot: usize) -> u8 {
        self.lengths.get(slot).copied().unwrap_or(0)
    }

    /// The slots of a prefix at the level it ends in, given where that level's slots begin.
    fn range(prefix: Ipv4Net, base: usize) -> std::ops::Range<usize> {
        let address = prefix.network().to_bits();
        let (first, level) = match prefix.prefix_len() {
            0..=16 => ((address >> 16) as usize, 16),
            17..=24 => (((address >> 8) & 0xff) as usize, 24),
            _ => ((address & 0xff) as usize, 32),
        };
        base + first..base + first + (1usize << (level - prefix.prefix_len()))
    }

    /// Makes the nodes that a prefix needs. Readers see the same leaves through them as before.
    fn descend(&mut self, prefix: Ipv4Net) -> Result<(), Lpm4Error> {
        let address = prefix.network().to_bits();
        if prefix.prefix_len() > 16 {
            let base = self.node_at((address >> 16) as usize)?;
            if prefix.prefix_len() > 24 {
                self.node_at(base + ((address >> 8) & 0xff) as usize)?;
            }
        }
        Ok(())
    }

    /// Where the slots below `slot` begin; makes the node where there is none.
    fn node_at(&mut self, slot: usize) -> Result<usize, Lpm4Error> {
        let word = self.load(slot);
        if word & IS_NODE != 0 {
            return Ok(node_base(word & !IS_NODE));
        }
        let length = self.length(slot);
        let node = self.take_node().ok_or(Lpm4Error::Full(self.in_use))?;
        let base = node_base(node);
        for below in base..base + NODE {
            self.store(below, word, length);
        }
        self.store(slot, IS_NODE | node, length);
        Ok(base)
    }

    fn take_node(&mut self) -> Option<u32> {
        let node = match self.free.front() {
            Some((epoch, _)) if self.table.domain.has_passed(*epoch) => self.free.pop_front().map(|(_, node)| node),
            _ if self.touched < self.capacity => {
                self.touched += 1;
                Some(self.touched - 1)
            }
            _ => None,
        };
        self.in_use += usize::from(node.is_some());
        node
    }

    /// Stores `leaf` (of a prefix of `length`) to the slots of `prefix` whose present length satisfies `replace`.
    fn paint(&mut self, prefix: Ipv4Net, leaf: EntryId, length: u8, replace: fn(u8, u8) -> bool) {
        let own = prefix.prefix_len();
        let address = prefix.network().to_bits();
        let mut base = 0;
        if own > 16 {
            base = node_base(self.load((address >> 16) as usize) & !IS_NODE);
            if own > 24 {
                base = node_base(self.load(base + ((address >> 8) & 0xff) as usize) & !IS_NODE);
            }
        }
        for slot in Self::range(prefix, base) {
            self.paint_slot(slot, leaf, length, own, replace);
        }
    }

    /// One slot, and all that is below it: at most three levels deep.
    fn paint_slot(&mut self, slot: usize, leaf: EntryId, length: u8, own: u8, replace: fn(u8, u8) -> bool) {
        let word = self.load(slot);
        if word & IS_NODE != 0 {
            let base = node_base(word & !IS_NODE);
            for below in base..base + NODE {
                self.paint_slot(below, leaf, length, own, replace);
            }
        } else if replace(self.length(slot), own) {
            self.store(slot, u32::from(leaf.0), length);
        }
    }

    /// Gives back the nodes on a prefix's way that say the same in all their slots.
    fn fold(&mut self, prefix: Ipv4Net) {
        let address = prefix.network().to_bits();
        let root = (address >> 16) as usize;
        if prefix.prefix_len() > 16 {
            let word = self.load(root);
            if word & IS_NODE == 0 {
                return;
            }
            if prefix.prefix_len() > 24 {
                self.fold_slot(node_base(word & !IS_NODE) + ((address >> 8) & 0xff) as usize, 24);
            }
            self.fold_slot(root, 16);
        }
    }

    fn fold_slot(&mut self, slot: usize, level: u8) {
        let word = self.load(slot);
        if word & IS_NODE == 0 {
            return;
        }
        let base = node_base(word & !IS_NODE);
        let (first, length) = (self.load(base), self.length(base));
        let uniform = first & IS_NODE == 0
            && length <= level
            && (base..base + NODE).all(|below| self.load(below) == first && self.length(below) == length);
        if uniform {
            self.store(slot, first, length);
            let epoch = self.table.domain.advance();
            self.free.push_back((epoch, word & !IS_NODE));
            self.in_use -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn prefix() -> impl Strategy<Value = Ipv4Net> {
        // Few distinct bits, so that prefixes nest and overlap often.
        (prop::sample::select(vec![0x0a00_0000u32, 0x0a01_0000, 0x0a01_0200, 0x0a01_02ff, 0xffff_ffff, 0]), 0u8..=32)
            .prop_map(|(address, length)| Ipv4Net::new(address.into(), length).expect("length").trunc())
    }

    fn expected(routes: &HashMap<Ipv4Net, EntryId>, address: u32) -> EntryId {
        let covers = routes.iter().filter(|(prefix, _)| prefix.contains(&std::net::Ipv4Addr::from(address)));
        covers.max_by_key(|(prefix, _)| prefix.prefix_len()).map_or(EntryId::NO_ROUTE, |(_, leaf)| *leaf)
    }

    proptest! {
        #[test]
        fn a_look_up_is_the_longest_match_after_any_sequence_of_changes(
            changes in prop::collection::vec((prefix(), prop::option::of(1u16..9)), 1..60),
        ) {
            let domain = Domain::new(1);
            let (mut writer, table) = lpm4(&domain, 64);
            let mut reader = domain.reader().expect("slot");
            let mut routes = HashMap::new();
            let mut edges = vec![0u32, u32::MAX];
            for (prefix, leaf) in changes {
                edges.extend([prefix.network().to_bits(), prefix.broadcast().to_bits()]);
                match leaf {
                    Some(leaf) => {
                        prop_assert_eq!(writer.insert(prefix, EntryId(leaf)), Ok(()));
                        routes.insert(prefix, EntryId(leaf));
                    }
                    None => prop_assert_eq!(writer.remove(prefix), routes.remove(&prefix).is_some()),
                }
                let probes: Vec<u32> =
                    edges.iter().flat_map(|e| [e.wrapping_sub(1), *e, e.wrapping_add(1)]).collect();
                let mut leaves = vec![EntryId(99); probes.len()];
                table.lookup_burst(reader.enter(), &probes, &mut leaves);
                for (probe, leaf) in probes.iter().zip(leaves) {
                    prop_assert_eq!(leaf, expected(&routes, *probe), "{}", std::net::Ipv4Addr::from(*probe));
                }
            }
            for prefix in routes.keys() {
                writer.remove(*prefix);
            }
            prop_assert_eq!(writer.nodes(), 0, "nodes are given back when the last prefix goes");
        }
    }

    #[test]
    fn a_full_table_refuses_and_keeps_what_it_has() {
        let domain = Domain::new(1);
        let (mut writer, table) = lpm4(&domain, 1);
        let mut reader = domain.reader().expect("slot");
        let short = "10.1.0.0/17".parse().expect("prefix");
        writer.insert(short, EntryId(1)).expect("one node is there");
        assert_eq!(writer.insert("10.2.0.0/24".parse().expect("prefix"), EntryId(2)), Err(Lpm4Error::Full(1)));
        assert_eq!(table.lookup(reader.enter(), "10.1.2.3".parse().expect("address")), EntryId(1));
        assert_eq!(table.lookup(reader.enter(), "10.2.0.1".parse().expect("address")), EntryId::NO_ROUTE);
    }

    #[test]
    fn a_node_is_not_used_again_while_a_reader_may_be_inside() {
        let domain = Domain::new(1);
        let (mut writer, _table) = lpm4(&domain, 1);
        let mut reader = domain.reader().expect("slot");
        let _ = reader.enter();
        let prefix = "10.1.2.0/24".parse().expect("prefix");
        writer.insert(prefix, EntryId(1)).expect("free");
        writer.remove(prefix);
        assert!(writer.insert(prefix, EntryId(2)).is_err(), "the reader has not moved on");
        let _ = reader.enter();
        assert!(writer.insert(prefix, EntryId(2)).is_ok());
    }
}
