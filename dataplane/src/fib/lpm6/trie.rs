//! The prefixes of a table as its writer keeps them: a trie with the same steps as the readers', and beside it the few
//! prefixes that end in the root.

use hashbrown::HashMap;
use ipnet::Ipv6Net;

use super::node::{Node, Place};
use super::{DIGIT, ROOT_BITS, ROOTS};
use crate::fib::next_hop::EntryId;
use crate::fib::stretch::uniform;

/// The longest prefix up to /18 that covers a word of the root. With length 0 and no route: none, or the default route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    pub length: u8,
    pub leaf: EntryId,
}

/// All prefixes.
#[derive(Debug)]
pub struct Trie {
    /// Those up to /18, by first address and length.
    short: HashMap<(u128, u8), EntryId>,
    covers: Vec<Cover>,
    /// The nodes below the root.
    roots: HashMap<usize, u32>,
    nodes: Vec<Node>,
    /// Nodes that are not used.
    free: Vec<u32>,
    len: usize,
}

/// The word of the root for an address.
pub fn root(address: u128) -> usize {
    (address >> (128 - ROOT_BITS)) as usize
}

/// The slot for an address in a node of a depth.
pub fn slot(address: u128, depth: u32) -> u32 {
    (address >> (128 - DIGIT - depth)) as u32 & ((1 << DIGIT) - 1)
}

/// The depth of the node where a prefix longer than /18 ends.
pub fn depth(length: u8) -> u32 {
    let beyond = u32::from(length) - ROOT_BITS - 1;
    ROOT_BITS + beyond / DIGIT * DIGIT
}

impl Trie {
    /// No prefixes.
    pub fn new() -> Trie {
        Trie {
            short: HashMap::new(),
            covers: vec![Cover::default(); ROOTS],
            roots: HashMap::new(),
            nodes: Vec::new(),
            free: Vec::new(),
            len: 0,
        }
    }

    /// Number of prefixes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// A node.
    pub fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    /// A node to change.
    pub fn node_mut(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }

    /// The node below a word of the root.
    pub fn root(&self, root: usize) -> Option<u32> {
        self.roots.get(&root).copied()
    }

    /// All words of the root with a node below, and these, in order.
    pub fn roots(&self) -> Vec<(usize, u32)> {
        let mut roots: Vec<_> = self.roots.iter().map(|(root, node)| (*root, *node)).collect();
        roots.sort_unstable();
        roots
    }

    /// The cover of a word of the root.
    pub fn root_cover(&self, root: usize) -> Cover {
        self.covers[root]
    }

    /// Notes the cover of a word of the root after a prefix of `length` was put: the new one, or where it went, the next
    /// shorter. Returns what it was; None where a longer one covers the word before and after.
    pub fn cover_again(&mut self, root: usize, length: u8, new: Cover) -> Option<Cover> {
        let cover = &mut self.covers[root];
        (cover.length <= length).then(|| std::mem::replace(cover, new))
    }

    /// The longest prefix up to /`length`, at most /18, that covers an address.
    pub fn short_cover(&self, address: u128, length: u8) -> Cover {
        let cover = (0..=length).rev().find_map(|length| {
            let leaf = *self.short.get(&(address & mask(length), length))?;
            Some(Cover { length, leaf })
        });
        cover.unwrap_or_default()
    }

    /// The leaf of exactly this prefix.
    pub fn get(&self, prefix: Ipv6Net) -> Option<EntryId> {
        let (address, length) = (prefix.network().to_bits(), prefix.prefix_len());
        if u32::from(length) <= ROOT_BITS {
            return self.short.get(&(address, length)).copied();
        }
        let depth = depth(length);
        self.node(self.node_at(address, depth)?).get(Place::new(address, u32::from(length), depth))
    }

    /// The node that an address leads to at a depth.
    pub fn node_at(&self, address: u128, depth: u32) -> Option<u32> {
        let mut node = self.root(root(address))?;
        for above in (ROOT_BITS..depth).step_by(DIGIT as usize) {
            node = self.node(node).child(slot(address, above))?;
        }
        Some(node)
    }

    /// The longest prefix that covers an address, and its leaf.
    pub fn longest_match(&self, address: u128) -> Option<(Ipv6Net, EntryId)> {
        let mut longest = None;
        let mut node = self.root(root(address));
        for depth in (ROOT_BITS..128).step_by(DIGIT as usize) {
            let Some(here) = node.map(|node| self.node(node)) else { break };
            let slot = slot(address, depth);
            if let Some((place, leaf)) = here.cover(slot) {
                longest = Some(((depth + place.bits()) as u8, leaf));
            }
            node = here.child(slot);
        }
        let (length, leaf) = longest.or_else(|| {
            let cover = self.short_cover(address, ROOT_BITS as u8);
            let leaf = self.short.get(&(address & mask(cover.length), cover.length))?;
            Some((cover.length, *leaf))
        })?;
        Some((Ipv6Net::new((address & mask(length)).into(), length).ok()?, leaf))
    }

    /// Puts a prefix up to /18 in, replaces its leaf, or takes it out.
    pub fn put_short(&mut self, address: u128, length: u8, leaf: Option<EntryId>) {
        let before = match leaf {
            Some(leaf) => self.short.insert((address, length), leaf),
            None => self.short.remove(&(address, length)),
        };
        self.count(before, leaf);
    }

    /// Puts a prefix in, replaces its leaf, or takes it out, at its place in a node.
    pub fn put(&mut self, node: u32, place: Place, leaf: Option<EntryId>) {
        let before = self.node(node).get(place);
        self.node_mut(node).put(place, leaf);
        self.count(before, leaf);
    }

    /// The node below a word of the root; makes it where there is none.
    pub fn make_root(&mut self, root: usize) -> u32 {
        match self.root(root) {
            Some(node) => node,
            None => {
                let node = self.make(self.root_cover(root).leaf);
                self.roots.insert(root, node);
                node
            }
        }
    }

    /// The node below a slot, whose leaf is `default`; makes it where there is none.
    pub fn make_child(&mut self, node: u32, slot: u32, default: EntryId) -> u32 {
        match self.node(node).child(slot) {
            Some(child) => child,
            None => {
                let child = self.make(default);
                self.node_mut(node).adopt(slot, child);
                child
            }
        }
    }

    /// Gives back the node below a word of the root, which is empty.
    pub fn drop_root(&mut self, root: usize) {
        self.free.extend(self.roots.remove(&root));
    }

    /// Gives back the node below a slot, which is empty.
    pub fn drop_child(&mut self, node: u32, slot: u32) {
        let child = self.node(node).child(slot);
        self.node_mut(node).abandon(slot);
        self.free.extend(child);
    }

    /// The number of nodes from this one down.
    pub fn size(&self, node: u32) -> usize {
        1 + self.node(node).children().map(|(_, child)| self.size(child)).sum::<usize>()
    }

    fn make(&mut self, leaf: EntryId) -> u32 {
        let node = Node::new(uniform(leaf.0));
        match self.free.pop() {
            Some(free) => {
                self.nodes[free as usize] = node;
                free
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        }
    }

    fn count(&mut self, before: Option<EntryId>, after: Option<EntryId>) {
        self.len = self.len + usize::from(after.is_some()) - usize::from(before.is_some());
    }
}

/// The bits of an address that a prefix of this length decides.
fn mask(length: u8) -> u128 {
    !u128::MAX.checked_shr(u32::from(length)).unwrap_or(0)
}
