//! What workers are told of the paths: the nodes on each, who takes packets out there, and who can share a pool.
//!
//! A peer is one node with all its addresses; any other address is a node of its own, which just forwards. A peer on a
//! path is *equipped* there where it lives, packets addressed to it leave by the path's first hop, and it can do what its
//! place asks for: the last such peer is the addressee, those in front of it must take packets out on the way. All is
//! worked out anew when paths or peers change, and remembered in between.

use std::net::IpAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use carpool_dataplane::fib::{PathIndex, PeerIndex};
use carpool_dataplane::pool::path::{MAX_HOPS, NodeNumber, PoolPath, Trunk};
use hashbrown::HashMap;

use super::PathTable;

/// A peer as a node of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Which peer it is.
    pub peer: PeerIndex,
    /// Its addresses.
    pub addresses: Arc<[IpAddr]>,
    /// How pooled packets reach it; None: they must not be sent there.
    pub reached: Option<Reached>,
}

/// How pooled packets get to a peer that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The next hop of the route to it; and of that to an address of its other family, if that is by the same port.
    pub first_hops: [Option<IpAddr>; 2],
    /// It takes packets out of pooled packets that are addressed to others.
    pub on_the_way: bool,
    /// Pooled packets to it say where each packet is taken out; if not, all go as far as it does.
    pub takes_ttls: bool,
}

impl Reached {
    /// Whether pooled packets to it leave by this next hop, by whichever of its addresses it is named.
    pub fn is_by(&self, first_hop: IpAddr) -> bool {
        self.first_hops.contains(&Some(first_hop))
    }
}

/// The paths for workers, and what they were made of.
#[derive(Debug, Default)]
pub struct Arrangement {
    table_version: u64,
    nodes: Vec<Node>,
    paths: Arc<[PoolPath]>,
}

impl Arrangement {
    /// The paths of a table for workers, by [`PathIndex`]. `nodes` are the peers, in order of their index.
    pub fn of(&mut self, table: &PathTable, nodes: Vec<Node>) -> &Arc<[PoolPath]> {
        if table.version() != self.table_version || nodes != self.nodes {
            self.paths = arranged(table, &nodes).into();
            (self.table_version, self.nodes) = (table.version(), nodes);
        }
        &self.paths
    }
}

/// Whether pools that were begun with `before` mean the same with `after`. Paths that were not there before change
/// nothing: groups are named after paths that were.
pub fn keeps_pools(before: &[PoolPath], after: &[PoolPath]) -> bool {
    let stays = |(index, path): (usize, &PoolPath)| path.addressee.is_none() || after.get(index) == Some(path);
    before.iter().enumerate().all(stays)
}

/// A path before its groups are known.
struct Numbered {
    index: u16,
    first_hop: IpAddr,
    nodes: ArrayVec<NodeNumber, MAX_HOPS>,
    /// Bit n: node n, counted from 0, is equipped here.
    equipped: u16,
    addressee: Option<PeerIndex>,
}

impl Numbered {
    /// How many nodes on the first equipped one is.
    fn first_equipped(&self) -> usize {
        self.equipped.trailing_zeros() as usize + 1
    }

    /// How many nodes others must share to be in one group with this one where a rule asks for so many.
    fn must_share(&self, hops: usize) -> usize {
        hops.max(self.first_equipped()).min(self.nodes.len())
    }

    /// How many nodes from the first on are the same in both. Those that leave by different next hops share none.
    fn shared(&self, other: &Numbered) -> usize {
        let same = self.nodes.iter().zip(&other.nodes).take_while(|(a, b)| a == b).count();
        if self.first_hop == other.first_hop { same } else { 0 }
    }

    /// The nodes as far as the addressee.
    fn to_addressee(&self) -> &[NodeNumber] {
        let distance = (u16::BITS - self.equipped.leading_zeros()) as usize;
        self.nodes.get(..distance).unwrap_or_default()
    }
}

fn arranged(table: &PathTable, nodes: &[Node]) -> Vec<PoolPath> {
    let numbered = numbered(table, nodes);
    // A group is named after the first of its paths: a path more changes no name.
    let unused = |index| PoolPath { trunk: Trunk::new(&[], 0), addressee: None, groups: [index; MAX_HOPS + 1] };
    let mut paths: Vec<_> = (0..=u16::MAX).zip(table.all_hops()).map(|(index, _)| unused(index)).collect();
    for path in &numbered {
        if let Some(place) = paths.get_mut(usize::from(path.index)) {
            place.trunk = Trunk::new(&path.nodes, path.equipped);
            place.addressee = path.addressee;
        }
    }
    let mut pooled: Vec<&Numbered> = numbered.iter().filter(|path| path.addressee.is_some()).collect();
    group_by_whole_path(&pooled, &mut paths);
    // In order, those that share any number of nodes are neighbours.
    pooled.sort_unstable_by(|a, b| (a.first_hop, &a.nodes, a.index).cmp(&(b.first_hop, &b.nodes, b.index)));
    let shared: Vec<_> = pooled.windows(2).map(shared_by_pair).collect();
    for hops in 1..=MAX_HOPS {
        group_by_shared_hops(hops, &pooled, &shared, &mut paths);
    }
    paths
}

/// How many nodes two paths share.
fn shared_by_pair(pair: &[&Numbered]) -> usize {
    match pair {
        [a, b] => a.shared(b),
        _ => 0,
    }
}

/// Numbers the nodes of all paths, and finds out who is equipped on each.
fn numbered(table: &PathTable, nodes: &[Node]) -> Vec<Numbered> {
    // Peers by their index, which stays; the others by their first appearance, behind them.
    let number = |peer: PeerIndex| peer.0.saturating_add(1);
    let mut next = nodes.iter().map(|node| number(node.peer)).max().unwrap_or(0).saturating_add(1);
    let by_address = nodes.iter().flat_map(|node| node.addresses.iter().map(move |address| (*address, node)));
    let mut known: HashMap<IpAddr, (NodeNumber, Option<&Node>)> =
        by_address.map(|(address, node)| (address, (number(node.peer), Some(node)))).collect();
    let mut all = Vec::new();
    for (index, hops) in (0..=u16::MAX).zip(table.all_hops()) {
        let Some(hops) = hops else { continue };
        let first_hop = hops.first();
        let mut path = Numbered { index, first_hop, nodes: ArrayVec::new(), equipped: 0, addressee: None };
        let mut addressee = None;
        for (position, hop) in hops.iter().enumerate() {
            let (number, node) = *known.entry(hop).or_insert_with(|| {
                let number = next;
                next = next.saturating_add(1);
                (number, None)
            });
            path.nodes.push(number);
            if let Some(node) = node
                && let Some(reached) = node.reached.filter(|reached| reached.is_by(first_hop))
            {
                path.equipped |= u16::from(reached.on_the_way) << position;
                addressee = Some((position, node.peer, reached));
            }
        }
        if let Some((position, peer, reached)) = addressee {
            if !reached.takes_ttls {
                path.equipped = 0;
            }
            // The addressee takes out what comes to it, whether it opens what goes to others or not.
            path.equipped |= 1 << position;
            path.addressee = Some(peer);
        }
        all.push(path);
    }
    all
}

/// Those that share at least so many nodes, and at least one that is equipped. A shorter path is shared whole.
fn group_by_shared_hops(hops: usize, pooled: &[&Numbered], shared: &[usize], paths: &mut [PoolPath]) {
    let mut rest = pooled;
    let mut shared = shared.iter();
    while let Some(first) = rest.first() {
        let must_share = first.must_share(hops);
        let mut members = 1;
        let mut name = first.index;
        while let Some(next) = rest.get(members)
            && shared.next().is_some_and(|shared| *shared >= must_share)
            && next.must_share(hops) == must_share
        {
            name = name.min(next.index);
            members += 1;
        }
        let (group, others) = rest.split_at(members);
        for path in group {
            set_group(paths, path.index, hops - 1, name);
        }
        rest = others;
    }
}

/// Those that have the same nodes as far as the addressee.
fn group_by_whole_path(pooled: &[&Numbered], paths: &mut [PoolPath]) {
    let mut names = HashMap::with_capacity(pooled.len());
    for path in pooled {
        let name = *names.entry((path.first_hop, path.to_addressee())).or_insert(path.index);
        set_group(paths, path.index, MAX_HOPS, name);
    }
}

fn set_group(paths: &mut [PoolPath], index: u16, position: usize, name: u16) {
    if let Some(path) = paths.get_mut(PathIndex(index).index())
        && let Some(group) = path.groups.get_mut(position)
    {
        *group = name;
    }
}

#[cfg(test)]
mod tests;
