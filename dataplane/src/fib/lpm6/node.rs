//! A node as the writer keeps it: the prefixes that end in its five bits, and the nodes below it.

use super::DIGIT;
use crate::fib::next_hop::EntryId;
use crate::fib::stretch::SLOTS;

/// Which of the 62 prefixes of a node: `(1 << bits) | value` for the one to five bits that it has in it. Half of a number
/// is the next shorter prefix that covers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u32);

impl Place {
    /// That of a prefix in the node of a depth, which is less than its length by one to [`DIGIT`].
    pub fn new(address: u128, length: u32, depth: u32) -> Place {
        let bits = length - depth;
        let value = (address >> (128 - length)) as u32 & ((1 << bits) - 1);
        Place(1 << bits | value)
    }

    /// That of one slot.
    fn slot(slot: u32) -> Place {
        Place(SLOTS as u32 | slot)
    }

    /// The slots it covers.
    pub fn slots(self) -> std::ops::Range<u32> {
        let bits = self.0.ilog2();
        let first = (self.0 - (1 << bits)) << (DIGIT - bits);
        first..first + (1 << (DIGIT - bits))
    }

    /// How many bits it has in the node.
    pub fn bits(self) -> u32 {
        self.0.ilog2()
    }
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Bit n: the prefix of place n is in the table.
    prefixes: u64,
    /// Their leaves, by place.
    leaves: Vec<EntryId>,
    /// Bit i: there is a node below slot i.
    below: u32,
    /// Those nodes, by slot.
    children: Vec<u32>,
    /// What leads readers here, or, where all its slots say the same, the leaf.
    pub word: u64,
}

impl Node {
    /// One without prefixes.
    pub fn new(word: u64) -> Node {
        Node { prefixes: 0, leaves: Vec::new(), below: 0, children: Vec::new(), word }
    }

    /// The leaf of exactly this prefix.
    pub fn get(&self, place: Place) -> Option<EntryId> {
        let (is_in, rank) = self.rank(place);
        if is_in { self.leaves.get(rank).copied() } else { None }
    }

    /// Puts a prefix in, replaces its leaf, or takes it out.
    pub fn put(&mut self, place: Place, leaf: Option<EntryId>) {
        let (is_in, rank) = self.rank(place);
        match (leaf, is_in) {
            (Some(leaf), true) => self.leaves[rank] = leaf,
            (Some(leaf), false) => {
                self.prefixes |= 1 << place.0;
                self.leaves.insert(rank, leaf);
            }
            (None, true) => {
                self.prefixes &= !(1 << place.0);
                self.leaves.remove(rank);
            }
            (None, false) => {}
        }
    }

    /// The longest prefix in this node that covers a slot.
    pub fn cover(&self, slot: u32) -> Option<(Place, EntryId)> {
        let places = std::iter::successors(Some(Place::slot(slot)), |place| Some(Place(place.0 / 2)));
        places.take(DIGIT as usize).find_map(|place| Some((place, self.get(place)?)))
    }

    /// The leaf of every slot's longest match, where `default` is that of the whole node.
    pub fn covers(&self, default: EntryId) -> [EntryId; SLOTS] {
        let mut covers = [default; SLOTS];
        let mut rest = self.prefixes;
        // In the order of places: the shorter first.
        for leaf in &self.leaves {
            let slots = Place(rest.trailing_zeros()).slots();
            covers[slots.start as usize..slots.end as usize].fill(*leaf);
            rest &= rest - 1;
        }
        covers
    }

    /// The node below a slot.
    pub fn child(&self, slot: u32) -> Option<u32> {
        (self.below >> slot & 1 == 1).then(|| self.children[self.child_rank(slot)])
    }

    /// The slots that have nodes below, and these.
    pub fn children(&self) -> impl Iterator<Item = (u32, u32)> {
        (0..SLOTS as u32).filter(|slot| self.below >> slot & 1 == 1).zip(self.children.iter().copied())
    }

    /// Puts a node below a slot that has none.
    pub fn adopt(&mut self, slot: u32, child: u32) {
        self.children.insert(self.child_rank(slot), child);
        self.below |= 1 << slot;
    }

    /// Takes out the node below a slot.
    pub fn abandon(&mut self, slot: u32) {
        self.below &= !(1 << slot);
        self.children.remove(self.child_rank(slot));
    }

    /// Whether it is for nothing: no prefix, and no node below.
    pub fn is_empty(&self) -> bool {
        self.prefixes == 0 && self.below == 0
    }

    fn rank(&self, place: Place) -> (bool, usize) {
        let bit = 1u64 << place.0;
        (self.prefixes & bit != 0, (self.prefixes & (bit - 1)).count_ones() as usize)
    }

    fn child_rank(&self, slot: u32) -> usize {
        (self.below & ((1 << slot) - 1)).count_ones() as usize
    }
}
