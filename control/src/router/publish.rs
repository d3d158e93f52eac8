//! What workers are to know, worked out from the state and handed to them.
//!
//! Each publication is a whole [`RouterState`]; what has not changed is shared with the one before. Where open pools depend
//! on what has changed, its generation of pools is another, and workers flush those they have.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use carpool_dataplane::fib::{PathIndex, PeerIndex};
use carpool_dataplane::pool::hello::Capabilities;
use carpool_dataplane::pool::pooled_packet_detector::ZeroChecksum;
use carpool_dataplane::pool::{Format, PeerPath, RuleSet};
use carpool_dataplane::worker::{Peer as PublishedPeer, PeerTable, RouterState};

use super::Router;
use crate::config::DEFAULT_PEER_MTU;
use crate::legs;
use crate::paths::{Node, keeps_pools};
use crate::peers::{HELLO_TTL, Peer};
use crate::rules::Rules;

impl Router {
    /// Publishes the state as it is now; `pools_depend` where open pools depend on what has changed besides. Returns
    /// the epoch in which every worker has it.
    pub(super) fn publish(&mut self, pools_depend: bool, now: Instant) -> u64 {
        self.publish_with(Arc::clone(&self.publication.current().rules), pools_depend, now)
    }

    /// Publishes whom we know on our links, where nothing else has changed: with many of them that is up to once a
    /// millisecond, and there can be thousands of entries and paths.
    pub(super) fn publish_neighbors(&mut self, now: Instant) {
        let state = RouterState { neighbours: self.neighbors.table(), ..self.publication.current().clone() };
        self.hand_out(state, now);
    }

    /// Publishes other rules. Pools name their rule by its position: no worker may see these without flushing the pools of
    /// the ones before.
    pub(super) fn publish_rules(&mut self, rules: Rules, set: RuleSet, now: Instant) {
        self.rules = rules;
        self.publish_with(Arc::new(set), true, now);
    }

    fn publish_with(&mut self, rules: Arc<RuleSet>, pools_depend: bool, now: Instant) -> u64 {
        let mut state = RouterState { rules, ..self.publication.current().clone() };
        self.limit_probes(now);
        let nodes = self.nodes(now);
        let paths = Arc::clone(self.arrangement.of(self.forwarding.paths(), nodes));
        let pools = |path: PathIndex| paths.get(path.index()).is_some_and(|path| path.addressee.is_some());
        let entries = self.forwarding.entries(pools);
        let mut pools_depend = pools_depend;
        if entries[..] != state.entries[..] {
            let both = entries.iter().zip(state.entries.iter());
            pools_depend |=
                both.filter(|(new, old)| new.adjacency == old.adjacency).any(|(new, old)| new.path != old.path);
            state.entries = entries.into();
        }
        let peers: Vec<_> = self.peers.rows().iter().map(|row| self.published_peer(row.as_ref())).collect();
        let same = |(new, old): (&PublishedPeer, &PublishedPeer)| new.path == old.path;
        if peers.len() != state.peers.iter().count() || !peers.iter().zip(state.peers.iter()).all(same) {
            state.peers = Arc::new(PeerTable::new(peers));
            pools_depend = true;
        }
        if !Arc::ptr_eq(&paths, &state.paths) {
            pools_depend |= !keeps_pools(&state.paths, &paths);
            state.paths = paths;
        }
        let reaches = |peer: &Peer| self.forwarding.next_hop(peer.config.address).is_some();
        let alive = |peer| self.peers.is_up(peer, now) && self.peers.get(peer).is_some_and(reaches);
        let legs = legs::table(&self.multicast, &self.overlays, &self.config, &self.peers, alive);
        if legs != *state.legs {
            state.legs = Arc::new(legs);
            pools_depend = true;
        }
        let templates = self.templates.compile();
        if *state.templates != templates {
            state.templates = Arc::new(templates);
            pools_depend = true;
        }
        if !Arc::ptr_eq(&state.streams, &self.provisioned) {
            state.streams = Arc::clone(&self.provisioned);
            pools_depend = true;
        }
        if self.neighbors.changed() {
            state.neighbours = self.neighbors.table();
        }
        if pools_depend {
            state.pools += 1;
        }
        self.hand_out(state, now)
    }

    fn hand_out(&mut self, state: RouterState, now: Instant) -> u64 {
        self.published_at = now;
        let epoch = self.publication.publish(state);
        self.unreclaimed = true;
        self.wake_workers();
        epoch
    }

    /// A blocked worker has to see what packets that wait for a neighbour, or in pools, depend on.
    fn wake_workers(&self) {
        for worker in &self.workers {
            worker.wake.wake();
        }
    }

    fn published_peer(&self, peer: Option<&Peer>) -> PublishedPeer {
        let (addressee, source, mtu) = match peer {
            Some(peer) => {
                let (source, mtu) = self.towards(peer);
                (peer.config.address, source, mtu)
            }
            // A row without a peer: no packet comes from this address or goes to it.
            None => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into(), DEFAULT_PEER_MTU),
        };
        let format = peer.map_or(Format::Native, |peer| peer.config.format.into());
        let path = PeerPath {
            addressee,
            source,
            mtu,
            outer_ttl: HELLO_TTL,
            source_port_base: self.config.pool_port,
            destination_port: self.config.pool_port,
            checksum: true,
            format,
            capabilities: peer.map_or(Capabilities::WHOLE_IPV4, Peer::capabilities),
        };
        PublishedPeer { path, zero_checksum: ZeroChecksum::Refused }
    }

    /// The peers as nodes of paths.
    fn nodes(&self, now: Instant) -> Vec<Node> {
        let reached = |peer: &Peer| self.reached(peer).filter(|_| peer.state(now).is_ok());
        let node = |(index, peer): (PeerIndex, &Peer)| Node {
            peer: index,
            addresses: Arc::clone(&peer.addresses),
            reached: reached(peer),
        };
        self.peers.iter().map(node).collect()
    }
}
