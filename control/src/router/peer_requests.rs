//! Peers in the words of clients: what they add, and what they are shown.

use std::time::{Duration, Instant};

use carpool_dataplane::pool;
use carpool_dataplane::pool::hello::Capabilities;

use super::Router;
use super::handler::milliseconds;
use crate::api::Refusal;
use crate::api::peer::{PathMtuSource, PeerAdd, PeerEntry, PeerFormat, PeerState};
use crate::config::{self, HELLO_INTERVAL, PEER_MTU};
use crate::peers::{Peer, ToldPeers, ToldPeersError};

impl From<ToldPeersError> for Refusal {
    fn from(error: ToldPeersError) -> Refusal {
        let message = error.to_string();
        match error {
            ToldPeersError::Exists(_) | ToldPeersError::Address { .. } => Refusal::exists(message),
            ToldPeersError::NotFound(_) => Refusal::not_found(message),
            ToldPeersError::TooMany => Refusal::limit(message),
        }
    }
}

impl Router {
    /// Puts other peers in force.
    pub(super) fn change_peers(&mut self, told: ToldPeers, now: Instant) {
        self.told_peers = told;
        self.config.peers = self.told_peers.in_force().cloned().collect();
        self.peers.configure(self.config.peers.iter().cloned(), now);
        let streams = std::mem::take(&mut self.streams);
        self.provision(streams);
        self.peers.take_changes(now);
        self.publish(true, now);
    }

    /// A peer as a client gives it, in the same bounds as in the file.
    pub(super) fn added_peer(&self, add: PeerAdd) -> Result<config::Peer, Refusal> {
        let name = add.name.clone();
        let wrong = |what: String| Err(Refusal::conflict(format!("peer {name:?}: {what}")));
        if !config::is_name(&name) {
            return wrong("expected a name of 1 to 32 letters, digits, '-', '_' or '.'".into());
        }
        if self.config.ports.iter().any(|port| port.name == name) {
            return wrong("a port has that name, and legs of routes are named by either".into());
        }
        let default = config::Peer::new(add.name, add.address);
        let interval = add.hello_interval_ms.map_or(default.hello_interval, Duration::from_millis);
        let peer = config::Peer {
            alias: add.alias,
            source: add.source,
            mtu: add.mtu,
            probe_mtu: add.probe_mtu.unwrap_or(default.probe_mtu),
            assume: add.assume.unwrap_or(default.assume),
            format: add.format.unwrap_or_default(),
            hello_interval: interval,
            ..default
        };
        for address in peer.addresses() {
            if config::wrong_with_host(address).is_some() {
                return wrong(format!("{address} is not the address of a host"));
            }
            if self.forwarding.is_own(address) {
                return wrong(format!("{address} is one of the router's own addresses"));
            }
        }
        if let Some(source) = peer.source.filter(|source| !self.forwarding.is_own(*source)) {
            return wrong(format!("source {source}: expected one of the router's own addresses"));
        }
        if peer.source.is_some_and(|source| source.is_ipv4() != peer.address.is_ipv4()) {
            return wrong("source: expected an address of the family that the peer's has".into());
        }
        if peer.address.is_ipv6() && self.any_address(false).is_unspecified() {
            return wrong("address: expected an IPv4 one, the router has no IPv6 address to send from".into());
        }
        if peer.address.is_ipv6() && peer.format != PeerFormat::Native {
            return wrong("format: expected an IPv4 address of the peer beside it, this format has no IPv6".into());
        }
        let widest = self.config.ports.iter().map(|port| port.mtu).max().unwrap_or(*PEER_MTU.end());
        let most = widest.min(*PEER_MTU.end());
        if let Some(mtu) = peer.mtu.filter(|mtu| !(*PEER_MTU.start()..=most).contains(mtu)) {
            return wrong(format!("mtu {mtu}: expected {} to {most}, the largest MTU of a port", PEER_MTU.start()));
        }
        if !HELLO_INTERVAL.contains(&interval) {
            return wrong(format!("hello_interval {} ms: expected 10 ms to 60 s", interval.as_millis()));
        }
        if peer.format != PeerFormat::Native {
            if !peer.assume {
                return wrong("format: expected assume beside it: there are no hellos in this format".into());
            }
            if pool::Format::from(peer.format).port() == Some(self.config.pool_port) {
                return wrong(format!("format: its port {} is that of our pooled packets", self.config.pool_port));
            }
        }
        Ok(peer)
    }

    /// A peer as clients are shown it.
    pub(super) fn peer_entry(&self, peer: &Peer, now: Instant) -> PeerEntry {
        let (source, path_mtu) = self.towards(peer);
        let reachable = self.forwarding.next_hop(peer.config.address).is_some();
        let (state, reason) = match peer.state(now) {
            Ok(()) if peer.config.assume => (PeerState::Assumed, None),
            Ok(()) => (PeerState::Up, None),
            Err(_) if !reachable => (PeerState::Down, Some("no usable route leads to it".into())),
            Err(down) => (PeerState::Down, Some(down.to_string())),
        };
        let flags = Capabilities::NAMES.iter().filter(|(flag, _)| peer.capabilities().contains(*flag));
        PeerEntry {
            name: peer.config.name.clone(),
            address: peer.config.address,
            alias: peer.config.alias.clone(),
            source: reachable.then_some(source).or(peer.config.source),
            format: peer.config.format,
            state,
            reason,
            hops: peer.hops(),
            path_mtu,
            path_mtu_source: match peer.path_mtu() {
                None => PathMtuSource::Configured,
                Some(search) if search.is_found() => PathMtuSource::Probed,
                Some(_) => PathMtuSource::Probing,
            },
            capabilities: flags.map(|(_, name)| (*name).into()).collect(),
            router_id: peer.router_id(),
            last_hello_ms: peer.last_hello(now).map(milliseconds),
        }
    }
}
