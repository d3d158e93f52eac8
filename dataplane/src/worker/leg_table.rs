//! Routes with legs: groups whose packets are replicated, and prefixes behind an overlay.
//!
//! The control thread builds a [`LegTable`] and publishes it; workers only read it. A route never has the way that its
//! packets come in by among its legs. Peers are named by their index in the table of peers of the same published state.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashMap;
use ipnet::IpNet;

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

    /// The legs of packets that came in by this way.
    #[inline(always)]
    pub(super) fn onward(&self, way: Ingress) -> impl Iterator<Item = &Leg> {
        self.legs.iter().filter(move |leg| leg.way() != way)
    }
}

/// All routes with legs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegTable {
    v4: FamilyLegs<Ipv4Addr>,
    v6: FamilyLegs<Ipv6Addr>,
}

/// Those of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyLegs<A: LegAddress> {
    /// By group and source; the source is unspecified where any may send.
    groups: HashMap<(A, A), LegRoute>,
    /// Overlay routes by network, for each length of a prefix; the longest first.
    prefixes: Vec<(u8, HashMap<A, LegRoute>)>,
}

/// What the routes of one family are found by.
pub trait LegAddress: Copy + Eq + Hash + 'static {
    /// In the place of a source: any.
    const UNSPECIFIED: Self;

    /// Its first `length` bits, zeros behind.
    fn network(self, length: u8) -> Self;

    /// The routes of its family.
    fn legs(table: &LegTable) -> &FamilyLegs<Self>;
}

impl LegAddress for Ipv4Addr {
    const UNSPECIFIED: Self = Ipv4Addr::UNSPECIFIED;

    #[inline(always)]
    fn network(self, length: u8) -> Self {
        Ipv4Addr::from_bits(self.to_bits() & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0))
    }

    #[inline(always)]
    fn legs(table: &LegTable) -> &FamilyLegs<Self> {
        &table.v4
    }
}

impl LegAddress for Ipv6Addr {
    const UNSPECIFIED: Self = Ipv6Addr::UNSPECIFIED;

    #[inline(always)]
    fn network(self, length: u8) -> Self {
        Ipv6Addr::from_bits(self.to_bits() & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0))
    }

    #[inline(always)]
    fn legs(table: &LegTable) -> &FamilyLegs<Self> {
        &table.v6
    }
}

impl LegTable {
    /// A table of routes to groups, each for one source or, where there is None, for any, and of overlay routes. Of two
    /// of the same the later one stays; one from a source of another family than its group is left out.
    pub fn new(
        groups: impl IntoIterator<Item = (Option<IpAddr>, IpAddr, LegRoute)>,
        overlays: impl IntoIterator<Item = (IpNet, LegRoute)>,
    ) -> LegTable {
        let mut table = LegTable::default();
        for (source, group, route) in groups {
            match (group, source) {
                (IpAddr::V4(group), None) => table.v4.insert_group(Ipv4Addr::UNSPECIFIED, group, route),
                (IpAddr::V4(group), Some(IpAddr::V4(source))) => table.v4.insert_group(source, group, route),
                (IpAddr::V6(group), None) => table.v6.insert_group(Ipv6Addr::UNSPECIFIED, group, route),
                (IpAddr::V6(group), Some(IpAddr::V6(source))) => table.v6.insert_group(source, group, route),
                _ => {}
            }
        }
        for (prefix, route) in overlays {
            match prefix {
                IpNet::V4(prefix) => table.v4.insert_prefix(prefix.network(), prefix.prefix_len(), route),
                IpNet::V6(prefix) => table.v6.insert_prefix(prefix.network(), prefix.prefix_len(), route),
            }
        }
        table
    }

    /// The route of packets from a source to a group: that of the source, or else that of all sources.
    #[inline]
    pub fn multicast<A: LegAddress>(&self, source: A, group: A) -> Option<&LegRoute> {
        let groups = &A::legs(self).groups;
        if groups.is_empty() {
            return None;
        }
        groups.get(&(group, source)).or_else(|| groups.get(&(group, A::UNSPECIFIED)))
    }

    /// Whether there are overlay routes for packets of a family.
    pub fn has_overlays<A: LegAddress>(&self) -> bool {
        !A::legs(self).prefixes.is_empty()
    }

    /// The overlay route with the longest prefix that covers a destination. Costs one look for each length of a prefix
    /// that there is: on routers without overlay routes nothing.
    #[inline(always)]
    pub fn overlay<A: LegAddress>(&self, destination: A) -> Option<&LegRoute> {
        let legs = A::legs(self);
        if legs.prefixes.is_empty() { None } else { legs.longest(destination) }
    }
}

impl<A: LegAddress> Default for FamilyLegs<A> {
    fn default() -> Self {
        FamilyLegs { groups: HashMap::new(), prefixes: Vec::new() }
    }
}

impl<A: LegAddress> FamilyLegs<A> {
    fn insert_group(&mut self, source: A, group: A, route: LegRoute) {
        self.groups.insert((group, source), route);
    }

    fn insert_prefix(&mut self, network: A, length: u8, route: LegRoute) {
        let at = self.prefixes.partition_point(|(other, _)| *other > length);
        match self.prefixes.get_mut(at) {
            Some((other, routes)) if *other == length => {
                routes.insert(network, route);
            }
            _ => self.prefixes.insert(at, (length, [(network, route)].into_iter().collect())),
        }
    }

    fn longest(&self, destination: A) -> Option<&LegRoute> {
        self.prefixes.iter().find_map(|(length, routes)| routes.get(&destination.network(*length)))
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
        let six = "ff0e::1".parse().expect("an address");
        let groups = [(None, GROUP.into(), to(1)), (Some(known.into()), GROUP.into(), to(2)), (None, six, to(3))];
        let table = LegTable::new(groups.into_iter().chain([(Some(six), GROUP.into(), to(4))]), []);
        assert_eq!(table.multicast(known, GROUP), Some(&to(2)));
        assert_eq!(table.multicast(other, GROUP), Some(&to(1)));
        assert_eq!(table.multicast(known, Ipv4Addr::new(239, 1, 2, 4)), None);
        assert_eq!(table.multicast(Ipv6Addr::LOCALHOST, "ff0e::1".parse().expect("an address")), Some(&to(3)));
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

    /// Addresses of one family that differ in their first and in their last bits.
    fn address(n: u8, is_v4: bool) -> IpAddr {
        if is_v4 {
            Ipv4Addr::from_bits(u32::from(n) << 29 | u32::from(n)).into()
        } else {
            Ipv6Addr::from_bits(u128::from(n) << 125 | u128::from(n)).into()
        }
    }

    proptest! {
        #[test]
        fn the_longest_overlay_prefix_of_the_family_holds(
            prefixes in prop::collection::vec((0u8..8, 0u8..=128, any::<bool>()), 0..24),
            destination in 0u8..8,
            is_v4: bool,
        ) {
            let routes: Vec<_> = (0u16..)
                .zip(&prefixes)
                .map(|(number, (n, length, is_v4))| {
                    let length = if *is_v4 { length % 33 } else { *length };
                    (IpNet::new(address(*n, *is_v4), length).expect("length").trunc(), to(number))
                })
                .collect();
            let table = LegTable::new([], routes.clone());
            let destination = address(destination, is_v4);
            let longest = routes
                .iter()
                .filter(|(prefix, _)| prefix.contains(&destination))
                .max_by_key(|(prefix, _)| prefix.prefix_len());
            let last = longest.and_then(|(longest, _)| routes.iter().rev().find(|(prefix, _)| prefix == longest));
            let found = match destination {
                IpAddr::V4(destination) => table.overlay(destination),
                IpAddr::V6(destination) => table.overlay(destination),
            };
            prop_assert_eq!(found, last.map(|(_, route)| route));
        }
    }
}
