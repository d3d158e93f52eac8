//! Routes with legs: groups whose packets are replicated, and prefixes behind an overlay.
//!
//! The control thread builds a [`LegTable`] and publishes it; workers only read it. A route never has the way that its
//! packets come in by among its legs. Peers are named by their index in the table of peers of the same published state.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use std::net::Ipv4Addr;

use hashbrown::HashMap;
use ipnet::Ipv4Net;

use crate::fib::{PeerIndex, PortIndex};
use crate::pool::path::PoolPath;

/// The most legs of a route.
pub const MAX_LEGS: usize = 32;

/// The way that a packet came in by: what the reverse-path check compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ingress {
    /// It was received on this port as itself.
    Port(PortIndex),
    /// It was taken out of a pooled packet from this peer.
    Peer(PeerIndex),
}

/// A leg of a route: packets leave once by each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// On the link of this port, to all who listen there.
    Port(PortIndex),
    /// To this peer, inside pooled packets always.
    Peer(PeerLeg),
}

impl Leg {
    /// What packets that come in by this leg would be told by.
    #[inline(always)]
    pub fn way(&self) -> Ingress {
        match self {
            Leg::Port(port) => Ingress::Port(*port),
            Leg::Peer(leg) => Ingress::Peer(leg.peer),
        }
    }
}

/// A leg to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerLeg {
    /// The peer.
    pub peer: PeerIndex,
    /// The overlay nodes on this leg, of which the peer is the first. Its addressee is the peer while that lives.
    pub path: PoolPath,
}

/// Where packets come from and where they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegRoute {
    from: Option<Ingress>,
    legs: Box<[Leg]>,
}

impl LegRoute {
    /// A route by these legs, [`MAX_LEGS`] at the most, for packets that come in by `from`; None: by any way. A leg that
    /// leads back, and one that is there already, is left out.
    pub fn new(from: Option<Ingress>, legs: impl IntoIterator<Item = Leg>) -> LegRoute {
        let mut kept: Vec<Leg> = Vec::new();
        for leg in legs {
            let is_new = kept.iter().all(|other| other.way() != leg.way());
            if is_new && Some(leg.way()) != from && kept.len() < MAX_LEGS {
                kept.push(leg);
            }
        }
        LegRoute { from, legs: kept.into() }
    }

    /// Whether packets may come in by this way.
    #[inline(always)]
    pub fn admits(&self, way: Ingress) -> bool {
        self.from.is_none_or(|from| from == way)
    }

    /// The legs.
    #[inline(always)]
    pub fn legs(&self) -> &[Leg] {
        &self.legs
    }
}

/// All routes with legs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegTable {
    /// By group and source; the source is 0.0.0.0 where any may send.
    groups: HashMap<(Ipv4Addr, Ipv4Addr), LegRoute>,
    /// Overlay routes by network, for each length of a prefix; the longest first.
    prefixes: Vec<(u8, HashMap<u32, LegRoute>)>,
}

impl LegTable {
    /// A table of routes to groups, each for one source or, where there is None, for any, and of overlay routes. Of two
    /// of the same the later one stays.
    pub fn new(
        groups: impl IntoIterator<Item = (Option<Ipv4Addr>, Ipv4Addr, LegRoute)>,
        overlays: impl IntoIterator<Item = (Ipv4Net, LegRoute)>,
    ) -> LegTable {
        let key = |source: Option<Ipv4Addr>| source.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let groups = groups.into_iter().map(|(source, group, route)| ((group, key(source)), route)).collect();
        let mut prefixes: Vec<(u8, HashMap<u32, LegRoute>)> = Vec::new();
        for (prefix, route) in overlays {
            let (length, network) = (prefix.prefix_len(), prefix.network().to_bits());
            match prefixes.iter_mut().find(|(other, _)| *other == length) {
                Some((_, routes)) => {
                    routes.insert(network, route);
                }
                None => prefixes.push((length, [(network, route)].into_iter().collect())),
            }
        }
        prefixes.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        LegTable { groups, prefixes }
    }

    /// The route of packets from a source to a group: that of the source, or else that of all sources.
    #[inline]
    pub fn multicast(&self, source: Ipv4Addr, group: Ipv4Addr) -> Option<&LegRoute> {
        if self.groups.is_empty() {
            return None;
        }
        self.groups.get(&(group, source)).or_else(|| self.groups.get(&(group, Ipv4Addr::UNSPECIFIED)))
    }

    /// The overlay route with the longest prefix that covers a destination. Costs one look for each length of a prefix
    /// that there is: on routers without overlay routes nothing.
    #[inline(always)]
    pub fn overlay(&self, destination: Ipv4Addr) -> Option<&LegRoute> {
        if self.prefixes.is_empty() { None } else { self.longest(destination) }
    }

    fn longest(&self, destination: Ipv4Addr) -> Option<&LegRoute> {
        self.prefixes.iter().find_map(|(length, routes)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0);
            routes.get(&(destination.to_bits() & mask))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

    fn to(port: u16) -> LegRoute {
        LegRoute::new(None, [Leg::Port(PortIndex(port))])
    }

    #[test]
    fn the_route_of_a_source_comes_before_that_of_all() {
        let (known, other) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let table = LegTable::new([(None, GROUP, to(1)), (Some(known), GROUP, to(2))], []);
        assert_eq!(table.multicast(known, GROUP), Some(&to(2)));
        assert_eq!(table.multicast(other, GROUP), Some(&to(1)));
        assert_eq!(table.multicast(known, Ipv4Addr::new(239, 1, 2, 4)), None);
        assert_eq!(LegTable::default().multicast(known, GROUP), None);
    }

    #[test]
    fn no_leg_leads_back_and_none_is_there_twice() {
        let from = Ingress::Port(PortIndex(3));
        let legs = [3, 1, 1, 2].map(|port| Leg::Port(PortIndex(port)));
        let route = LegRoute::new(Some(from), legs);
        assert_eq!(route.legs(), [Leg::Port(PortIndex(1)), Leg::Port(PortIndex(2))]);
        assert!(route.admits(from) && !route.admits(Ingress::Peer(PeerIndex(3))));
        let many = LegRoute::new(None, (0..100).map(|port| Leg::Port(PortIndex(port))));
        assert_eq!(many.legs().len(), MAX_LEGS);
    }

    proptest! {
        #[test]
        fn the_longest_overlay_prefix_holds(
            prefixes in prop::collection::vec((0u32..8, 0u8..=32), 0..12), destination in 0u32..8,
        ) {
            // Addresses that differ in their first and in their last bits.
            let address = |n: u32| Ipv4Addr::from_bits(n << 29 | n);
            let routes: Vec<_> = (0u16..)
                .zip(&prefixes)
                .map(|(number, (n, length))| (Ipv4Net::new(address(*n), *length).expect("length").trunc(), to(number)))
                .collect();
            let table = LegTable::new([], routes.clone());
            let destination = address(destination);
            let longest = routes
                .iter()
                .filter(|(prefix, _)| prefix.contains(&destination))
                .max_by_key(|(prefix, _)| prefix.prefix_len());
            let last = longest.and_then(|(longest, _)| routes.iter().rev().find(|(prefix, _)| prefix == longest));
            prop_assert_eq!(table.overlay(destination), last.map(|(_, route)| route));
        }
    }
}
