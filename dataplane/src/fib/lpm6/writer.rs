//! The one who changes the table. A change works out anew the node that its prefix ends in, those below that show through
//! to it, and those above whose words lead there: each address goes from its old leaf to its new one with a single store.

use std::net::Ipv6Addr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use ipnet::Ipv6Net;

use super::node::Place;
use super::trie::{Cover, Trie, depth, root, slot};
use super::word::Words;
use super::{DIGIT, Lpm6, ROOT_BITS};
use crate::fib::error::FibError;
use crate::fib::next_hop::EntryId;
use crate::fib::options::FibMemory;
use crate::fib::stretch::{SLOTS, uniform};
use crate::fib::transaction;

/// Nodes one below another.
const LEVELS: usize = (128 - ROOT_BITS).div_ceil(DIGIT) as usize;

/// The one writer.
#[derive(Debug)]
pub struct Lpm6Writer {
    trie: Trie,
    words: Words,
}

impl Lpm6Writer {
    pub(super) fn new(table: Arc<Lpm6>, retired: usize) -> Lpm6Writer {
        Lpm6Writer { trie: Trie::new(), words: Words::new(table, retired) }
    }

    /// Adds a prefix or replaces its leaf; returns the leaf it had. Host bits of the prefix do not count.
    ///
    /// # Errors
    /// See [`FibError`]; then nothing has changed.
    pub fn insert(&mut self, prefix: Ipv6Net, leaf: EntryId) -> Result<Option<EntryId>, FibError> {
        self.change(prefix, Some(leaf))
    }

    /// Takes a prefix out: its addresses go back to the next shorter prefix. Returns the leaf it had, if it was there.
    ///
    /// # Errors
    /// See [`FibError`]; then nothing has changed.
    pub fn remove(&mut self, prefix: Ipv6Net) -> Result<Option<EntryId>, FibError> {
        self.change(prefix, None)
    }

    /// A transaction: gives prefixes leaves or takes them out (None), all or none. The last change of a prefix counts.
    /// Readers see it prefix by prefix, in such an order that each address goes from its old leaf to its new one at once:
    /// first what is put in, the longest first, then what is taken out, the shortest first. `pulse` is called every few
    /// thousand prefixes: a full table takes some 0.2 s.
    ///
    /// # Errors
    /// See [`FibError`]; then nothing has changed for the caller, but readers may have seen some changes come and go.
    pub fn apply(&mut self, changes: &[(Ipv6Net, Option<EntryId>)], pulse: &mut dyn FnMut()) -> Result<(), FibError> {
        let changes = transaction::ordered(changes, |prefix| (prefix.prefix_len(), prefix.trunc()));
        let changed = changes.len();
        self.words.begin();
        let done = transaction::apply(changes, pulse, |prefix, leaf| self.change(prefix, leaf));
        self.words.end();
        if done.is_ok() && changed > self.len() / 2 {
            self.settle();
        }
        done.map_err(|(error, undo)| {
            for (prefix, leaf) in undo {
                // The room it takes was kept, and it fits where it was.
                let undone = self.write(prefix, leaf);
                debug_assert!(undone.is_ok(), "{prefix} is not what it was: {undone:?}");
            }
            error
        })
    }

    /// The leaf of exactly this prefix.
    pub fn get(&self, prefix: Ipv6Net) -> Option<EntryId> {
        self.trie.get(prefix.trunc())
    }

    /// The longest prefix that covers an address, and its leaf.
    pub fn longest_match(&self, address: Ipv6Addr) -> Option<(Ipv6Net, EntryId)> {
        self.trie.longest_match(address.to_bits())
    }

    /// Number of prefixes.
    pub fn len(&self) -> usize {
        self.trie.len()
    }

    /// Whether there is no prefix at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes memory usable again that no reader can look at any more. Changes do so themselves, now and then.
    pub fn reclaim(&mut self) {
        self.words.reclaim();
    }

    /// Lays the table out anew in the order of its addresses, so that what a look-up needs lies together: after many
    /// single changes it is scattered, and look-ups that miss the cache take a quarter longer. Some 20 ms for a full
    /// table; every address keeps its leaf all the while. False, and nothing has changed, where readers may still look at
    /// what was there before the last time. [`Lpm6Writer::apply`] does so by itself where it changes half of the table.
    pub fn settle(&mut self) -> bool {
        if !self.words.turn() {
            return false;
        }
        let mut settled = Ok(());
        for (root, node) in self.trie.roots() {
            settled = settled.and_then(|()| self.settle_node(node, self.trie.root_cover(root).leaf));
            self.words.store_root(root, self.trie.node(node).word);
            self.words.retire();
        }
        // So that readers are waited for from now on, and not only once the next change begins an epoch.
        self.words.reclaim();
        debug_assert!(settled.is_ok(), "what fits into one half fits into the other");
        settled.is_ok()
    }

    /// Bytes that readers may look at: in use now, and waiting for readers to move on.
    pub fn memory(&self) -> FibMemory {
        self.words.memory()
    }

    /// For a test that must fail: memory is used again at once, whatever readers may look at.
    #[cfg(all(test, not(loom)))]
    pub(super) fn forget_readers(&mut self) {
        self.words.forget_readers();
    }

    fn change(&mut self, prefix: Ipv6Net, leaf: Option<EntryId>) -> Result<Option<EntryId>, FibError> {
        let prefix = prefix.trunc();
        if let Some(leaf) = leaf.filter(|leaf| *leaf > EntryId::LAST) {
            return Err(FibError::NoLeaf(leaf.0));
        }
        let nodes = self.reach(prefix);
        // What comes leaves as much room again: a change that takes something out of a full table needs some, too.
        let comes = leaf.is_some() && self.trie.get(prefix).is_none();
        self.words.admit(if comes { 2 * nodes } else { nodes })?;
        self.write(prefix, leaf)
    }

    /// So many nodes a change of this prefix may write at most.
    fn reach(&self, prefix: Ipv6Net) -> usize {
        let (address, length) = (prefix.network().to_bits(), prefix.prefix_len());
        if u32::from(length) <= ROOT_BITS {
            let roots = root(address)..=root(prefix.broadcast().to_bits());
            return roots.filter_map(|root| self.trie.root(root)).map(|node| self.trie.size(node)).sum();
        }
        let depth = depth(length);
        let slots = Place::new(address, u32::from(length), depth).slots();
        let node = self.trie.node_at(address, depth).map(|node| self.trie.node(node));
        let below = node.into_iter().flat_map(|node| node.children()).filter(|(slot, _)| slots.contains(slot));
        LEVELS + below.map(|(_, child)| self.trie.size(child)).sum::<usize>()
    }

    /// A change that is admitted, or whose room was kept.
    fn write(&mut self, prefix: Ipv6Net, leaf: Option<EntryId>) -> Result<Option<EntryId>, FibError> {
        let before = self.trie.get(prefix);
        if before != leaf {
            let (address, length) = (prefix.network().to_bits(), prefix.prefix_len());
            if u32::from(length) <= ROOT_BITS {
                self.write_short(prefix, leaf)?;
            } else {
                self.write_long(address, length, leaf)?;
            }
        }
        Ok(before)
    }

    /// A prefix that ends in the root.
    fn write_short(&mut self, prefix: Ipv6Net, leaf: Option<EntryId>) -> Result<(), FibError> {
        let (address, length) = (prefix.network().to_bits(), prefix.prefix_len());
        self.trie.put_short(address, length, leaf);
        let cover = match leaf {
            Some(leaf) => Cover { length, leaf },
            None => self.trie.short_cover(address, length),
        };
        for root in root(address)..=root(prefix.broadcast().to_bits()) {
            let Some(before) = self.trie.cover_again(root, length, cover) else { continue };
            let word = match self.trie.root(root) {
                Some(node) => {
                    self.show_through(node, before.leaf, cover.leaf)?;
                    self.trie.node(node).word
                }
                None => uniform(cover.leaf.0),
            };
            self.words.store_root(root, word);
            self.words.retire();
        }
        Ok(())
    }

    /// A longer prefix: `leaf` is Some, or it is in the table.
    fn write_long(&mut self, address: u128, length: u8, leaf: Option<EntryId>) -> Result<(), FibError> {
        let bottom = depth(length);
        let root = root(address);
        let mut node = self.trie.make_root(root);
        let mut default = self.trie.root_cover(root).leaf;
        let mut above = ArrayVec::<(u32, u32, EntryId), LEVELS>::new();
        for depth in (ROOT_BITS..bottom).step_by(DIGIT as usize) {
            let slot = slot(address, depth);
            above.push((node, slot, default));
            default = self.trie.node(node).cover(slot).map_or(default, |(_, leaf)| leaf);
            node = self.trie.make_child(node, slot, default);
        }
        let before = self.trie.node(node).covers(default);
        self.trie.put(node, Place::new(address, u32::from(length), bottom), leaf);
        self.show(node, &before, default)?;
        // Up to where the word stays what it is, and nothing has become empty.
        for (parent, slot, default) in above.into_iter().rev() {
            let empty = self.trie.node(node).is_empty();
            if empty {
                self.trie.drop_child(parent, slot);
            }
            let word = self.trie.node(parent).word;
            let covers = self.trie.node(parent).covers(default);
            self.put_word(parent, &covers)?;
            node = parent;
            if !empty && self.trie.node(parent).word == word {
                break;
            }
        }
        let top = self.trie.make_root(root);
        self.words.store_root(root, self.trie.node(top).word);
        if self.trie.node(top).is_empty() {
            self.trie.drop_root(root);
        }
        self.words.retire();
        Ok(())
    }

    /// A node, and those below it, after the leaf of all that they do not decide themselves has changed.
    fn show_through(&mut self, node: u32, before: EntryId, default: EntryId) -> Result<(), FibError> {
        let covers = self.trie.node(node).covers(before);
        self.show(node, &covers, default)
    }

    /// A node, and those below it, after the leaves of its slots have changed from `before`.
    fn show(&mut self, node: u32, before: &[EntryId; SLOTS], default: EntryId) -> Result<(), FibError> {
        let covers = self.trie.node(node).covers(default);
        if covers == *before {
            return Ok(());
        }
        let changed = |slot: u32| before[slot as usize] != covers[slot as usize];
        let below: ArrayVec<(u32, u32), SLOTS> =
            self.trie.node(node).children().filter(|(slot, _)| changed(*slot)).collect();
        for (slot, child) in below {
            self.show_through(child, before[slot as usize], covers[slot as usize])?;
        }
        self.put_word(node, &covers)
    }

    /// Works out a node's word anew, from the leaves of its slots and the words of the nodes below them.
    fn put_word(&mut self, node: u32, covers: &[EntryId; SLOTS]) -> Result<(), FibError> {
        let slots = self.slots(node, covers);
        let word = self.words.write(self.trie.node(node).word, &slots)?;
        self.trie.node_mut(node).word = word;
        Ok(())
    }

    /// Writes a node and those below it to new blocks, these first.
    fn settle_node(&mut self, node: u32, default: EntryId) -> Result<(), FibError> {
        let covers = self.trie.node(node).covers(default);
        let below: ArrayVec<(u32, u32), SLOTS> = self.trie.node(node).children().collect();
        for (slot, child) in below {
            self.settle_node(child, covers[slot as usize])?;
        }
        let slots = self.slots(node, &covers);
        let word = self.words.write(uniform(0), &slots)?;
        self.words.replace(std::mem::replace(&mut self.trie.node_mut(node).word, word));
        Ok(())
    }

    /// What a node's slots say: the words of the nodes below them, or else their leaves.
    fn slots(&self, node: u32, covers: &[EntryId; SLOTS]) -> [u64; SLOTS] {
        let mut slots = covers.map(|leaf| uniform(leaf.0));
        for (slot, child) in self.trie.node(node).children() {
            slots[slot as usize] = self.trie.node(child).word;
        }
        slots
    }
}
