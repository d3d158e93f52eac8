//! Paths in the words of clients: what they add, what they are shown, and why nothing is pooled on one.

use std::net::IpAddr;
use std::time::Instant;

use carpool_dataplane::fib::{PathIndex, PeerIndex};
use carpool_dataplane::pool::hello::Capabilities;
use carpool_dataplane::pool::path::PoolPath;
use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;

use super::Router;
use crate::api::Refusal;
use crate::api::path::{PathAdd, PathEntry, PathHop, PathList, PathShow};
use crate::forwarding::{Hop, Meaning, NoOtherHost};
use crate::paths::{HopList, MAX_HOPS, PathSource, Reached, ToldPaths};
use crate::peers::Peer;

impl Router {
    /// The path that workers pool packets of a leaf on now, with its number; None where they pool none.
    fn pool_path(&self, meaning: Meaning) -> Option<(PathIndex, &PoolPath, PeerIndex)> {
        let index = meaning.path?;
        let path = self.publication.current().path(index)?;
        Some((index, path, path.addressee?))
    }

    /// The name of the peer that packets of a leaf are pooled to now.
    pub(super) fn pooled_to(&self, meaning: Option<Meaning>) -> Option<String> {
        let (_, _, peer) = self.pool_path(meaning?)?;
        Some(self.peers.get(peer)?.config.name.clone())
    }

    /// The routers on the path of a leaf.
    pub(super) fn hops_of(&self, meaning: Meaning, now: Instant) -> Option<Vec<PathHop>> {
        let hops = self.forwarding.paths().hops(meaning.path?)?;
        Some(self.path_hops(hops, Some(meaning), &self.peers_by_address(), now))
    }

    /// All peers by each of their addresses.
    fn peers_by_address(&self) -> HashMap<IpAddr, PeerIndex> {
        let all = self.peers.iter();
        all.flat_map(|(index, peer)| peer.addresses.iter().map(move |address| (*address, index))).collect()
    }

    fn path_hops(
        &self,
        hops: &HopList,
        meaning: Option<Meaning>,
        peers: &HashMap<IpAddr, PeerIndex>,
        now: Instant,
    ) -> Vec<PathHop> {
        let addressee = meaning.and_then(|meaning| Some(self.pool_path(meaning)?.2));
        // Nothing is sent to those behind the addressee.
        let last = addressee.and_then(|addressee| hops.iter().rposition(|hop| peers.get(&hop) == Some(&addressee)));
        let takes_ttls = addressee.and_then(|addressee| self.peers.get(addressee)).is_none_or(Peer::has_hellos);
        let hop = |(position, address): (usize, IpAddr)| {
            let Some((index, peer)) = peers.get(&address).and_then(|index| Some((*index, self.peers.get(*index)?)))
            else {
                return PathHop { address, peer: None, ttl: None, reason: None };
            };
            let why_not = self.why_not_reached(peer, hops.first(), now);
            let (ttl, reason) = match (why_not, last) {
                (Err(reason), _) => (None, Some(reason)),
                (Ok(()), Some(last)) if position < last && !takes_ttls => {
                    (None, Some("pooled packets to the addressee do not say where packets are taken out".into()))
                }
                (Ok(()), None) => (None, None),
                (Ok(()), Some(last)) if position < last && !peer.capabilities().contains(Capabilities::ON_THE_WAY) => {
                    (None, Some("it takes out only what is addressed to it".into()))
                }
                (Ok(()), Some(_)) => (u8::try_from(position + 1).ok(), None),
            };
            let name = self.peers.get(index).map(|peer| peer.config.name.clone());
            PathHop { address, peer: name, ttl, reason }
        };
        hops.iter().enumerate().map(hop).collect()
    }

    /// Why no pooled packet can be sent to a peer by a next hop, if none can.
    fn why_not_reached(&self, peer: &Peer, first: IpAddr, now: Instant) -> Result<(), String> {
        let name = &peer.config.name;
        peer.state(now).map_err(|down| format!("peer {name} is down: {down}"))?;
        match self.reached(peer) {
            Some(reached) if reached.is_by(first) => Ok(()),
            Some(Reached { first_hops: [Some(gateway), _], .. }) => {
                Err(format!("packets to peer {name} leave by {gateway}, not by {first}"))
            }
            _ => Err(format!("no usable route leads to peer {name}")),
        }
    }

    /// Why packets of a path are not pooled.
    fn why_unpooled(&self, prefix: IpNet, hops: &HopList, shown: &[PathHop]) -> String {
        let first = hops.first();
        match self.forwarding.leaf(prefix).map(|meaning| meaning.hop) {
            None => return format!("no usable route leads to {prefix}"),
            Some(Hop::Via(_, gateway)) if gateway == first => {}
            Some(Hop::Via(_, gateway)) => {
                return format!("the route leaves by {gateway}, not by the path's first hop {first}");
            }
            Some(_) => return format!("no route leads by the path's first hop {first}"),
        }
        let deepest = shown.iter().rev().find_map(|hop| hop.reason.clone());
        deepest.unwrap_or_else(|| "none of its hops is a peer".into())
    }

    pub(super) fn path_list(&self, show: &PathShow, now: Instant) -> PathList {
        let within = show.prefix;
        let table = self.forwarding.paths();
        let peers = self.peers_by_address();
        let page = table.within(within).skip(show.offset as usize).take(show.limit as usize);
        let entry = |prefix| {
            let told = table.told(prefix);
            let (hops, source) = told.best()?;
            let meaning = self.forwarding.leaf(prefix);
            let shown = self.path_hops(hops, meaning, &peers, now);
            let peer = self.pooled_to(meaning);
            let reason = peer.is_none().then(|| self.why_unpooled(prefix, hops, &shown));
            Some(PathEntry { prefix, hops: shown, peer, reason, source: source.name() })
        };
        let total = if within.is_none() { table.count() } else { table.within(within).count() };
        PathList {
            total: total as u64,
            offset: show.offset,
            paths: page.filter_map(|(prefix, _)| entry(prefix)).collect(),
        }
    }

    /// What is told of a prefix once a client has added a path to it.
    pub(super) fn told_with(&self, add: &PathAdd) -> Result<ToldPaths, Refusal> {
        let prefix = add.prefix;
        let wrong = |what: String| Err(Refusal::conflict(format!("path {prefix}: {what}")));
        let Some(hops) = HopList::new(&add.hops) else {
            return wrong(format!("{} hops: expected 1 to {MAX_HOPS}", add.hops.len()));
        };
        if let Some(hop) = hops.iter().find(|hop| self.forwarding.is_own(*hop)) {
            return wrong(format!("hop {hop} {}", NoOtherHost::Own.words()));
        }
        let first = hops.first();
        if self.neighbors.port_of(first).is_none() {
            let what = self.forwarding.why_no_other_host(first).map_or("is on the link of no port", NoOtherHost::words);
            return wrong(format!("its first hop {first} {what}"));
        }
        let peers = self.peers_by_address();
        let mut routers = HashSet::new();
        let mut is_new = |hop: IpAddr| routers.insert(peers.get(&hop).map_or(Err(hop), |peer| Ok(*peer)));
        if let Some(hop) = hops.iter().find(|hop| !is_new(*hop)) {
            return wrong(format!("the router {hop} is there twice"));
        }
        Ok(self.forwarding.paths().told(prefix).with(PathSource::Socket, Some(hops)))
    }
}
