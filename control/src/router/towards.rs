//! The way to a peer: by which address of ours it knows us, how large a packet to it may be, and which node its pooled packets
//! reach.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use carpool_dataplane::pool::hello::Capabilities;
use ipnet::IpNet;

use super::Router;
use crate::config::{DEFAULT_PEER_MTU, PEER_MTU};
use crate::paths::Reached;
use crate::peers::Peer;

impl Router {
    /// Our address that a peer knows us by, and the largest pooled packet to it.
    pub(super) fn towards(&self, peer: &Peer) -> (IpAddr, u16) {
        let (source, ceiling) = self.limits_towards(peer);
        (source, peer.path_mtu().map_or(ceiling, |path_mtu| path_mtu.current().min(ceiling)))
    }

    /// Our address that a peer knows us by, and the largest packet to it that makes sense: as configured, or those of the
    /// port towards it, and no larger than the peer takes.
    pub(super) fn limits_towards(&self, peer: &Peer) -> (IpAddr, u16) {
        let next_hop = self.forwarding.next_hop(peer.config.address);
        let config = self.config.ports.get(next_hop.map_or(0, |(port, _)| port.index()));
        let is_v4 = peer.config.address.is_ipv4();
        let of_family = |net: &&IpNet| net.addr().is_ipv4() == is_v4;
        let is_on_link = |net: &&IpNet| next_hop.is_some_and(|(_, gateway)| net.contains(&gateway));
        let of_port = || config.into_iter().flat_map(|config| &config.addresses).filter(of_family);
        let source = of_port().find(is_on_link).or_else(|| of_port().next()).map(IpNet::addr);
        let source = source.unwrap_or_else(|| self.any_address(is_v4));
        // Where the path is not probed, it is taken to be an ordinary one.
        let unprobed = if peer.path_mtu().is_some() { u16::MAX } else { DEFAULT_PEER_MTU };
        let mtu = peer.config.mtu.unwrap_or(unprobed);
        // A peer that takes hardly anything is held to what a path MTU may be at least.
        let takes = peer.largest_pooled_packet().map_or(u16::MAX, |takes| takes.get().max(*PEER_MTU.start()));
        let mtu = mtu.min(takes);
        (peer.config.source.unwrap_or(source), config.map_or(mtu, |config| mtu.min(config.mtu)))
    }

    /// Tells the search for path MTUs how far it makes sense.
    pub(super) fn limit_probes(&mut self, now: Instant) {
        let ceilings: Vec<_> = self.peers.iter().map(|(index, peer)| (index, self.limits_towards(peer).1)).collect();
        for (index, ceiling) in ceilings {
            self.peers.limit_probes(index, ceiling, now);
        }
    }

    /// An address of ours, for peers that no port with an address of their family leads to.
    pub(super) fn any_address(&self, is_v4: bool) -> IpAddr {
        if is_v4 {
            return self.config.router_id.into();
        }
        let of_ports = self.config.ports.iter().flat_map(|port| &port.addresses).map(IpNet::addr);
        let mut all = self.config.addresses.iter().copied().chain(of_ports);
        all.find(IpAddr::is_ipv6).unwrap_or(Ipv6Addr::UNSPECIFIED.into())
    }

    /// How pooled packets reach a peer, whether it lives or not. A router on the link has an address of each family: where
    /// a route leads to the peer's address of the other family by the same port, its next hop is the same router.
    pub(super) fn reached(&self, peer: &Peer) -> Option<Reached> {
        let (port, first_hop) = self.forwarding.next_hop(peer.config.address)?;
        let other = peer.addresses.iter().find(|other| other.is_ipv4() != peer.config.address.is_ipv4());
        let other = other.and_then(|other| self.forwarding.next_hop(*other)).filter(|other| other.0 == port);
        let first_hops = [Some(first_hop), other.map(|(_, first_hop)| first_hop)];
        let on_the_way = peer.capabilities().contains(Capabilities::ON_THE_WAY);
        Some(Reached { first_hops, on_the_way, takes_ttls: peer.has_hellos() })
    }
}
