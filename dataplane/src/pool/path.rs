//! Paths as the pooler sees them: which nodes a packet will pass, and with whom it can therefore share a ride.
//!
//! The control thread numbers the nodes, finds out which are equipped and alive, and publishes one [`PoolPath`] for each
//! path that forwarding entries name. Everything a packet needs is then one look at its own path, and one comparison of
//! two paths where it joins a pool that another path opened.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use crate::fib::PeerIndex;

/// The most nodes of a path.
pub const MAX_HOPS: usize = 16;

/// A node's number in one published state. 0 is none.
pub type NodeNumber = u16;

/// How much of their ways packets must share to share a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SharedHops {
    /// At least so many nodes from here on, 1 to [`MAX_HOPS`].
    AtLeast(u8),
    /// The whole way to the node that takes them out.
    WholePath,
}

impl SharedHops {
    /// Where the group for this is found in [`PoolPath::groups`].
    #[inline(always)]
    fn position(self) -> usize {
        match self {
            SharedHops::AtLeast(hops) => usize::from(hops.clamp(1, MAX_HOPS as u8)) - 1,
            SharedHops::WholePath => MAX_HOPS,
        }
    }
}

/// The nodes of a path, in order, and which of them can take packets out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Node numbers; 0 behind the end.
    nodes: [NodeNumber; MAX_HOPS],
    /// Bit n: node n, counted from 0, is equipped and alive.
    equipped: u16,
    /// Its nodes are overlay nodes: between two of them is a network that knows nothing of this path.
    is_overlay: bool,
}

impl Trunk {
    /// The path over these nodes, of which those in `equipped` take packets out. What is beyond [`MAX_HOPS`] is cut off.
    pub fn new(nodes: &[NodeNumber], equipped: u16) -> Trunk {
        let mut all = [0; MAX_HOPS];
        for (to, from) in all.iter_mut().zip(nodes) {
            *to = *from;
        }
        let known = all.iter().take_while(|node| **node != 0).count();
        let within = if known == MAX_HOPS { u16::MAX } else { (1 << known) - 1 };
        Trunk { nodes: all, equipped: equipped & within, is_overlay: false }
    }

    /// The path over these overlay nodes. A pooled packet on it is addressed to the first of them, and by each to the next;
    /// the TTLs of its rows count overlay nodes. It leaves with one row where that is all there is, never as its only
    /// packet: the network between need not know the way to that packet's destination.
    pub fn overlay(nodes: &[NodeNumber]) -> Trunk {
        Trunk { is_overlay: true, ..Trunk::new(nodes, u16::MAX) }
    }

    /// Whether the nodes are overlay nodes.
    #[inline(always)]
    pub fn is_overlay(&self) -> bool {
        self.is_overlay
    }

    /// How many nodes from the first on are the same in both.
    #[inline]
    pub fn shared_hops(&self, other: &Trunk) -> u8 {
        let differs = self.nodes.iter().zip(&other.nodes).enumerate().fold(0u32, |differs, (at, (a, b))| {
            // Behind the end of both nothing is shared.
            differs | u32::from(a != b || *a == 0) << at
        });
        (differs | 1 << MAX_HOPS).trailing_zeros() as u8
    }

    /// The TTL of a row for a packet on `joining` in a pool with this trunk: how many nodes on, both still on the same way,
    /// the last equipped one is. 0: there is none.
    #[inline]
    pub fn index_ttl(&self, joining: &Trunk) -> u8 {
        // Most packets of a pool are on the way of its first: one comparison of all nodes.
        if self.nodes == joining.nodes {
            return self.distance();
        }
        let shared = u32::from(self.shared_hops(joining));
        let reached = u32::from(self.equipped) & ((1u32 << shared) - 1);
        (u32::BITS - reached.leading_zeros()) as u8
    }

    /// At the how-manieth node the last equipped one is. 0: there is none.
    #[inline]
    pub fn distance(&self) -> u8 {
        (u16::BITS - self.equipped.leading_zeros()) as u8
    }
}

/// A path that packets can be pooled on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolPath {
    /// Its nodes.
    pub trunk: Trunk,
    /// Whom a pooled packet on this path is addressed to: the last equipped node, alive. None: nothing is pooled.
    pub addressee: Option<PeerIndex>,
    /// For 1 to 16 shared hops, and for the whole path: the number of the group of paths that can share a pool.
    pub groups: [u16; MAX_HOPS + 1],
}

impl PoolPath {
    /// The group of paths whose packets share a pool under a rule that asks for this.
    #[inline(always)]
    pub fn group(&self, shared: SharedHops) -> u16 {
        self.groups.get(shared.position()).copied().unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_packets_of_one_pool_get_out_where_their_ways_part() {
        // A's pool to 1-2-3-4-5; the third packet turns off behind node 3.
        let trunk = Trunk::new(&[1, 2, 3, 4, 5], 0b1_1111);
        let turning = Trunk::new(&[1, 2, 3, 9], 0b1111);
        assert_eq!([trunk.index_ttl(&trunk), trunk.index_ttl(&trunk), trunk.index_ttl(&turning)], [5, 5, 3]);
    }

    #[test]
    fn what_is_due_at_an_unequipped_node_comes_out_at_the_last_equipped_one_before_it() {
        let trunk = Trunk::new(&[1, 2, 3, 4, 5], 0b1_1011);
        assert_eq!(trunk.index_ttl(&Trunk::new(&[1, 2, 3, 9], 0b1011)), 2);
        assert_eq!(trunk.distance(), 5);
        assert_eq!(Trunk::new(&[1, 2], 0b10).index_ttl(&Trunk::new(&[1, 9], 0b10)), 0, "nobody there to take it out");
    }

    #[test]
    fn a_path_of_the_greatest_length_shares_all_of_itself() {
        let nodes: Vec<u16> = (1..=16).collect();
        let trunk = Trunk::new(&nodes, u16::MAX);
        assert_eq!((trunk.shared_hops(&trunk), trunk.index_ttl(&trunk), trunk.distance()), (16, 16, 16));
    }

    proptest! {
        #[test]
        fn shared_hops_and_ttl_are_what_a_walk_along_both_paths_finds(
            a in prop::collection::vec(1u16..4, 0..=16), b in prop::collection::vec(1u16..4, 0..=16), equipped: u16,
        ) {
            let (trunk, other) = (Trunk::new(&a, equipped), Trunk::new(&b, 0));
            let shared = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
            let ttl = (0..shared).filter(|node| equipped >> node & 1 == 1).map(|node| node + 1).max().unwrap_or(0);
            prop_assert_eq!(usize::from(trunk.shared_hops(&other)), shared);
            prop_assert_eq!(usize::from(other.shared_hops(&trunk)), shared);
            prop_assert_eq!(usize::from(trunk.index_ttl(&other)), ttl);
        }
    }
}
