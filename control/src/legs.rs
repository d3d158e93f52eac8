//! Multicast and overlay routes in force: those of the configuration, what the control socket made of them, and the table
//! that workers get.
//!
//! For one group and source, or one prefix, what came over the socket comes before what the file says. A configured route
//! that was deleted over the socket is hidden until a restart. Ports and peers are known by their names; a name that means
//! nothing any more is a leg by which nothing is sent.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use carpool_dataplane::fib::{PeerIndex, PortIndex};
use carpool_dataplane::packet::ipv6::{is_forwarded_group, is_link_local};
use carpool_dataplane::pool::path::{MAX_HOPS, NodeNumber, PoolPath, Trunk};
use carpool_dataplane::worker::{Ingress, Leg, LegRoute, LegTable, MAX_LEGS, PeerLeg};
use hashbrown::HashMap;
use ipnet::IpNet;

use crate::api::multicast::MulticastRoute;
use crate::api::overlay::OverlayRoute;
use crate::api::peer::PeerFormat;
use crate::api::route::Source;
use crate::config::{Config, wrong_with_host};
use crate::peers::Peers;

/// Multicast routes, and overlay routes, that can be in force.
pub const ROUTE_LIMIT: usize = 1024;

/// The first and the last group of IPv4 that routers forward (RFC 5771, 4).
const IPV4_GROUPS: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(224, 0, 1, 0), Ipv4Addr::new(239, 255, 255, 255));

/// A route that there is one of for each key.
pub trait Keyed: Clone {
    /// What tells it from others.
    type Key: Copy + Ord;
    /// Its key.
    fn key(&self) -> Self::Key;
}

impl Keyed for MulticastRoute {
    type Key = (IpAddr, Option<IpAddr>);

    fn key(&self) -> Self::Key {
        (self.group, self.source)
    }
}

impl Keyed for OverlayRoute {
    type Key = IpNet;

    fn key(&self) -> IpNet {
        self.prefix
    }
}

/// What was told of one key.
#[derive(Clone, Debug)]
struct Told<R> {
    config: Option<R>,
    socket: Option<R>,
    config_hidden: bool,
}

impl<R> Told<R> {
    fn in_force(&self) -> Option<(&R, Source)> {
        let config = self.config.as_ref().filter(|_| !self.config_hidden).map(|route| (route, Source::Config));
        self.socket.as_ref().map(|route| (route, Source::Socket)).or(config)
    }
}

/// All routes of a kind.
#[derive(Clone, Debug)]
pub struct Routes<R: Keyed> {
    told: BTreeMap<R::Key, Told<R>>,
}

impl<R: Keyed> Default for Routes<R> {
    fn default() -> Self {
        Routes { told: BTreeMap::new() }
    }
}

impl<R: Keyed> Routes<R> {
    /// Takes over what the file says from now on.
    pub fn configure(&mut self, config: &[R]) {
        self.told.values_mut().for_each(|told| told.config = None);
        for route in config {
            self.of(route.key()).config = Some(route.clone());
        }
        self.told.retain(|_, told| told.config.is_some() || told.socket.is_some() || told.config_hidden);
    }

    /// Adds a route over the socket; whether it replaces one. None where there is no room for one more.
    pub fn add(&mut self, route: R) -> Option<bool> {
        let replaced = self.told.get(&route.key()).is_some_and(|told| told.in_force().is_some());
        if !replaced && self.in_force().count() >= ROUTE_LIMIT {
            return None;
        }
        let key = route.key();
        self.of(key).socket = Some(route);
        Some(replaced)
    }

    /// Deletes a route over the socket; whether there was one.
    pub fn delete(&mut self, key: R::Key) -> bool {
        let Some(told) = self.told.get_mut(&key).filter(|told| told.in_force().is_some()) else { return false };
        told.socket = None;
        told.config_hidden = told.config.is_some();
        if !told.config_hidden {
            self.told.remove(&key);
        }
        true
    }

    /// The routes in force in order of their keys, and who put each there.
    pub fn in_force(&self) -> impl Iterator<Item = (&R, Source)> {
        self.told.values().filter_map(Told::in_force)
    }

    fn of(&mut self, key: R::Key) -> &mut Told<R> {
        self.told.entry(key).or_insert(Told { config: None, socket: None, config_hidden: false })
    }
}

/// What a name in a route means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A port.
    Port(PortIndex),
    /// The peer with this address.
    Peer(IpAddr),
}

/// The port or peer of a name.
///
/// # Errors
/// Why there is none, in words.
pub fn end(config: &Config, name: &str) -> Result<End, String> {
    let port = config.port_named(name);
    let peer = config.peers.iter().find(|peer| peer.name == name).map(|peer| peer.address);
    match (port, peer) {
        (Some(port), None) => Ok(End::Port(port)),
        (None, Some(peer)) => Ok(End::Peer(peer)),
        (None, None) => Err(format!("expected the name of a port or a peer: there is none called {name:?}")),
        (Some(_), Some(_)) => Err(format!("{name:?} is a port and a peer: give one of them another name")),
    }
}

/// What is wrong with a route: the key and a sentence.
type Wrong = (&'static str, String);

/// Why a multicast route cannot be in force, if it cannot.
pub fn wrong_with_multicast(route: &MulticastRoute, config: &Config) -> Option<Wrong> {
    let is_forwarded = match route.group {
        IpAddr::V4(group) => (IPV4_GROUPS.0..=IPV4_GROUPS.1).contains(&group),
        IpAddr::V6(group) => is_forwarded_group(group),
    };
    if !is_forwarded {
        let (first, last) = IPV4_GROUPS;
        let message = format!("expected a group from {first} to {last}, or one of IPv6 with a scope of 3 to f");
        return Some(("group", message));
    }
    if let Some(source) = route.source {
        if let Some(wrong) = wrong_with_host(source) {
            return Some(("source", wrong.into()));
        }
        if source.is_ipv4() != route.group.is_ipv4() {
            return Some(("source", "expected an address of the family of the group".into()));
        }
    }
    if let Err(wrong) = end(config, &route.from) {
        return Some(("from", wrong));
    }
    wrong_with_legs(Some(&route.from), &route.to, config)
}

/// Why an overlay route cannot be in force, if it cannot.
pub fn wrong_with_overlay(route: &OverlayRoute, config: &Config) -> Option<Wrong> {
    let first = route.prefix.network();
    if first.is_multicast() {
        return Some(("prefix", "expected a prefix of hosts, not of groups".into()));
    }
    if matches!(first, IpAddr::V6(first) if is_link_local(first)) {
        return Some(("prefix", "expected a prefix of hosts beyond the link".into()));
    }
    if let Some(Err(wrong)) = route.from.as_ref().map(|from| end(config, from)) {
        return Some(("from", wrong));
    }
    if let Some(port) = route.to.iter().find(|name| matches!(end(config, name), Ok(End::Port(_)))) {
        return Some(("to", format!("expected peers: {port:?} is a port")));
    }
    if route.hops.len() >= MAX_HOPS {
        return Some(("hops", format!("expected at most {} overlay nodes behind the peer", MAX_HOPS - 1)));
    }
    if !route.hops.is_empty() && route.to.len() != 1 {
        return Some(("hops", "expected one peer in `to` beside it".into()));
    }
    if let Some((hop, wrong)) = route.hops.iter().find_map(|hop| Some((hop, wrong_with_host(*hop)?))) {
        return Some(("hops", format!("{hop}: {wrong}")));
    }
    wrong_with_legs(route.from.as_deref(), &route.to, config)
}

fn wrong_with_legs(from: Option<&str>, to: &[String], config: &Config) -> Option<Wrong> {
    if !(1..=MAX_LEGS).contains(&to.len()) {
        return Some(("to", format!("expected 1 to {MAX_LEGS} legs")));
    }
    for (at, name) in to.iter().enumerate() {
        match end(config, name) {
            Err(wrong) => return Some(("to", wrong)),
            Ok(End::Peer(address)) if !is_native(address, config) => {
                return Some(("to", format!("{name:?} speaks Simplemux, which has no legs: expected another peer")));
            }
            Ok(_) => {}
        }
        if Some(name.as_str()) == from {
            return Some(("to", format!("{name:?} is where packets come from: expected another leg")));
        }
        if to.iter().take(at).any(|other| other == name) {
            return Some(("to", format!("{name:?} is there twice")));
        }
    }
    None
}

/// Whether a peer speaks the format that says what overlay nodes need to know.
fn is_native(address: IpAddr, config: &Config) -> bool {
    config.peers.iter().any(|peer| peer.address == address && peer.format == PeerFormat::Native)
}

/// The table for workers. `alive` says whether a peer lives and is reached.
pub fn table(
    multicast: &Routes<MulticastRoute>,
    overlays: &Routes<OverlayRoute>,
    config: &Config,
    peers: &Peers,
    alive: impl Fn(PeerIndex) -> bool,
) -> LegTable {
    let mut builder = Builder { config, peers, alive, nodes: HashMap::new(), groups: HashMap::new() };
    let groups: Vec<_> = multicast
        .in_force()
        .filter_map(|(route, _)| {
            // Where nothing may come from, nothing is forwarded.
            let from = Some(builder.ingress(&route.from)?);
            let legs: Vec<_> = route.to.iter().filter_map(|name| builder.leg(name, &[])).collect();
            Some((route.source, route.group, LegRoute::new(from, legs)))
        })
        .collect();
    let prefixes: Vec<_> = overlays
        .in_force()
        .filter_map(|(route, _)| {
            let from = match &route.from {
                Some(name) => Some(builder.ingress(name)?),
                None => None,
            };
            let legs: Vec<_> = route.to.iter().filter_map(|name| builder.leg(name, &route.hops)).collect();
            Some((route.prefix, LegRoute::new(from, legs)))
        })
        .collect();
    LegTable::new(groups, prefixes)
}

/// Numbers for the nodes and for the groups of paths of one table.
struct Builder<'a, A> {
    config: &'a Config,
    peers: &'a Peers,
    alive: A,
    nodes: HashMap<IpAddr, NodeNumber>,
    /// By what the paths of a group have in common.
    groups: HashMap<Vec<NodeNumber>, u16>,
}

impl<A: Fn(PeerIndex) -> bool> Builder<'_, A> {
    fn ingress(&self, name: &str) -> Option<Ingress> {
        match end(self.config, name).ok()? {
            End::Port(port) => Some(Ingress::Port(port)),
            End::Peer(address) => Some(Ingress::Peer(self.peers.index_of(address)?)),
        }
    }

    fn leg(&mut self, name: &str, hops: &[IpAddr]) -> Option<Leg> {
        let address = match end(self.config, name).ok()? {
            End::Port(port) => return Some(Leg::Port(port)),
            End::Peer(address) => address,
        };
        let peer = self.peers.index_of(address)?;
        let nodes: Vec<_> = std::iter::once(address).chain(hops.iter().copied()).map(|node| self.node(node)).collect();
        let mut groups = [0; MAX_HOPS + 1];
        for (group, hops) in groups.iter_mut().zip(1..=MAX_HOPS) {
            *group = self.group(nodes.iter().copied().take(hops).collect());
        }
        // For "the whole path": the same first node, which pooled packets are addressed to, and the same last.
        let ends = [nodes.first(), Some(&0), nodes.last()].into_iter().flatten().copied().collect();
        if let Some(group) = groups.last_mut() {
            *group = self.group(ends);
        }
        let addressee = Some(peer).filter(|peer| (self.alive)(*peer));
        Some(Leg::Peer(PeerLeg { peer, path: PoolPath { trunk: Trunk::overlay(&nodes), addressee, groups } }))
    }

    fn node(&mut self, address: IpAddr) -> NodeNumber {
        let next = NodeNumber::try_from(self.nodes.len() + 1).unwrap_or(NodeNumber::MAX);
        *self.nodes.entry(address).or_insert(next)
    }

    /// Groups of overlay paths are numbered from the end, those of other paths from the start: they never share a pool.
    fn group(&mut self, common: Vec<NodeNumber>) -> u16 {
        let next = u16::MAX - 1 - u16::try_from(self.groups.len()).unwrap_or(u16::MAX - 1);
        *self.groups.entry(common).or_insert(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(group: u8, to: &str) -> MulticastRoute {
        MulticastRoute { group: [239, 0, 0, group].into(), source: None, from: "in".into(), to: vec![to.into()] }
    }

    fn in_force(routes: &Routes<MulticastRoute>) -> Vec<(u8, &str, Source)> {
        let last = |group| if let IpAddr::V4(group) = group { group.octets()[3] } else { panic!("{group}") };
        routes.in_force().map(|(route, source)| (last(route.group), route.to[0].as_str(), source)).collect()
    }

    #[test]
    fn what_the_socket_says_comes_first_and_survives_a_new_file() {
        let mut routes = Routes::default();
        routes.configure(&[route(1, "file"), route(2, "file")]);
        assert_eq!(routes.add(route(1, "socket")), Some(true));
        assert_eq!(routes.add(route(3, "socket")), Some(false));
        assert!(routes.delete(route(2, "").key()));
        assert!(!routes.delete(route(2, "").key()), "it is hidden already");
        routes.configure(&[route(1, "new"), route(2, "new"), route(4, "new")]);
        let (socket, config) = (Source::Socket, Source::Config);
        assert_eq!(in_force(&routes), [(1, "socket", socket), (3, "socket", socket), (4, "new", config)]);
        assert!(routes.delete(route(1, "").key()) && routes.delete(route(3, "").key()));
        assert_eq!(in_force(&routes), [(4, "new", config)]);
        assert_eq!(routes.add(route(2, "again")), Some(false));
        routes.configure(&[]);
        assert_eq!(in_force(&routes), [(2, "again", socket)]);
    }

    #[test]
    fn there_is_room_for_so_many_routes_and_no_more() {
        let mut routes = Routes::default();
        let numbered = |n: usize| {
            let n = u16::try_from(n).expect("a small number").to_be_bytes();
            MulticastRoute { group: [239, 0, n[0], n[1]].into(), ..route(0, "out") }
        };
        assert!((0..ROUTE_LIMIT).all(|n| routes.add(numbered(n)) == Some(false)));
        assert_eq!(routes.add(numbered(ROUTE_LIMIT)), None);
        assert_eq!(routes.add(numbered(0)), Some(true), "one that is there can be replaced");
    }
}
