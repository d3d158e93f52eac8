//! Whether the tables of a configuration agree with each other.

use std::net::IpAddr;

use carpool_dataplane::packet::ipv4;
use carpool_dataplane::packet::ipv6::{self, MIN_MTU, is_link_local};
use carpool_dataplane::pool::{self, MAX_WINDOWS};
use carpool_dataplane::worker::MAX_PEERS;
use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;
use prefix_trie::joint::map::JointPrefixMap;

use super::document::Document;
use super::{Config, DEFAULT_PEER_MTU, Dataplane, Index, POOL_OVERHEAD, Peer};
use crate::api::peer::PeerFormat;
use crate::api::route::{RouteTarget, wrong_with_gateway};
use crate::legs::{Keyed, ROUTE_LIMIT, wrong_with_multicast, wrong_with_overlay};
use crate::neighbors::NEIGHBOR_LIMIT;
use crate::rib::MAX_RECURSION;
use crate::streams::{STREAM_LIMIT, packets_of, wrong_with_stream};

/// Notes everything that does not agree.
pub(super) fn check(document: &Document<'_>, config: &Config) {
    let check = Check { document, config };
    check.cores();
    check.source_ports();
    check.ports();
    check.router();
    check.neighbors();
    check.routes();
    check.peers();
    check.paths();
    check.legs();
    check.templates();
    check.streams();
    check.rules();
}

/// Why no packet can be addressed to one host, here or elsewhere, with this address.
pub fn wrong_with_host(address: IpAddr) -> Option<&'static str> {
    let is_host = match address {
        IpAddr::V4(address) => ipv4::destination_class(address) == ipv4::DestinationClass::Unicast,
        IpAddr::V6(address) if is_link_local(address) => {
            return Some("expected an address that is not link-local: ports have such a one by themselves");
        }
        IpAddr::V6(address) => ipv6::destination_class(address) == ipv6::DestinationClass::Unicast,
    };
    (!is_host).then_some("expected the address of a host: no loopback, multicast or reserved address")
}

/// Whether an address names all hosts of a subnet, or none: its broadcast or network address. Subnets of two addresses
/// have neither (RFC 3021), nor those of IPv6.
pub fn names_no_host(net: &IpNet, address: IpAddr) -> bool {
    address.is_ipv4() && net.prefix_len() <= 30 && (address == net.network() || address == net.broadcast())
}

struct Check<'d, 't> {
    document: &'d Document<'t>,
    config: &'d Config,
}

impl Check<'_, '_> {
    fn error(&self, path: &str, message: impl Into<String>) {
        self.document.error(path, message);
    }

    /// Notes the second and later of equal values.
    fn unique<T: std::hash::Hash + Eq>(&self, values: impl IntoIterator<Item = (String, T)>, what: &str) {
        let mut seen = HashSet::new();
        for (path, value) in values {
            if !seen.insert(value) {
                self.error(&path, format!("{what} is there twice"));
            }
        }
    }

    /// All addresses of the router's ports, with their port.
    fn links(&self) -> impl Iterator<Item = (usize, IpNet)> {
        let ports = self.config.ports.iter().enumerate();
        ports.flat_map(|(index, port)| port.addresses.iter().map(move |net| (index, *net)))
    }

    /// The port on whose link an address is.
    fn link_of(&self, address: IpAddr) -> Option<(usize, IpNet)> {
        self.links().find(|(_, net)| net.contains(&address))
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.links().any(|(_, net)| net.addr() == address) || self.config.addresses.contains(&address)
    }

    fn has_ipv6(&self) -> bool {
        self.links().any(|(_, net)| net.addr().is_ipv6()) || self.config.addresses.iter().any(IpAddr::is_ipv6)
    }

    fn cores(&self) {
        let dataplane = &self.config.dataplane;
        for (key, cores) in [("cores", &dataplane.cores), ("control_cores", &dataplane.control_cores)] {
            let path = |position: usize| format!("dataplane.{key}[{position}]");
            self.unique(cores.iter().enumerate().map(|(i, core)| (path(i), core)), "this core");
        }
    }

    /// Every worker has a source port for each of its flow buckets, from the pool port on.
    fn source_ports(&self) {
        let Dataplane { cores, buckets, .. } = &self.config.dataplane;
        let (workers, first) = (cores.len().max(1), usize::from(self.config.pool_port));
        let last = first + workers * usize::from(*buckets) - 1;
        if last > usize::from(u16::MAX) {
            let message = format!(
                "expected fewer, or a lower pool.port: {workers} workers with {buckets} flow buckets each send from UDP \
                 ports {first} to {last}, and there are 65535"
            );
            self.error("dataplane.buckets", message);
        }
    }

    fn ports(&self) {
        let ports = &self.config.ports;
        self.unique(ports.iter().enumerate().map(|(i, p)| (format!("port[{i}].name"), &p.name)), "a port of this name");
        let devices = ports.iter().enumerate().map(|(i, p)| {
            // The driver's arguments do not make it another device.
            (format!("port[{i}].device"), p.device.split(',').next().unwrap_or(""))
        });
        self.unique(devices, "this device");
        let mut before: Vec<(usize, IpNet)> = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            for (position, net) in port.addresses.iter().enumerate() {
                let path = format!("port[{index}].address[{position}]");
                if let Some(wrong) = wrong_with_host(net.addr()) {
                    self.error(&path, wrong);
                } else if names_no_host(net, net.addr()) {
                    let what = if net.addr() == net.network() { "network" } else { "broadcast" };
                    self.error(
                        &path,
                        format!("expected the address of a host: this is the {what} address of the subnet"),
                    );
                } else if let Some((other, taken)) = before.iter().find(|(_, taken)| taken.addr() == net.addr()) {
                    let name = ports.get(*other).map_or("", |port| &port.name);
                    self.error(&path, format!("this address is there twice: {taken} of port {name:?}"));
                } else if let Some((other, taken)) =
                    before.iter().find(|(other, taken)| overlap(index, net, *other, taken))
                {
                    let name = ports.get(*other).map_or("", |port| &port.name);
                    self.error(&path, format!("its subnet overlaps with {taken} of port {name:?}"));
                }
                before.push((index, *net));
            }
            if port.mtu < MIN_MTU && port.addresses.iter().any(|net| net.addr().is_ipv6()) {
                // RFC 8200, 5.
                let message = format!("expected at least {MIN_MTU} bytes on a port with an IPv6 address");
                self.error(&format!("port[{index}].mtu"), message);
            }
        }
    }

    fn router(&self) {
        let own = self.config.addresses.iter().enumerate();
        for (position, address) in own.clone() {
            let path = format!("router.address[{position}]");
            if let Some(wrong) = wrong_with_host(*address) {
                self.error(&path, wrong);
            } else if let Some((_, net)) = self.link_of(*address) {
                self.error(
                    &path,
                    format!("expected an address outside of the ports' subnets, this one is in {}", net.trunc()),
                );
            }
        }
        self.unique(own.map(|(i, address)| (format!("router.address[{i}]"), address)), "this address");
        if self.config.router_id.is_unspecified() {
            self.error("router.id", "expected an identity other than 0.0.0.0");
        }
    }

    fn neighbors(&self) {
        let neighbors = self.config.neighbors.iter().enumerate();
        if self.config.neighbors.len() > NEIGHBOR_LIMIT {
            self.error(&format!("neighbor[{NEIGHBOR_LIMIT}]"), format!("expected at most {NEIGHBOR_LIMIT} neighbours"));
        }
        for (index, neighbor) in neighbors.clone() {
            let path = format!("neighbor[{index}].address");
            let port = self.config.ports.get(usize::from(neighbor.port));
            let on_link = port.and_then(|port| port.addresses.iter().find(|net| net.contains(&neighbor.address)));
            match on_link {
                None => self.error(
                    &path,
                    format!("expected an address on the link of port {:?}", port.map_or("", |port| port.name.as_str())),
                ),
                Some(net) if names_no_host(net, neighbor.address) || self.is_own(neighbor.address) => {
                    self.error(&path, "expected the address of another host on the link");
                }
                Some(_) => {}
            }
        }
        self.unique(neighbors.map(|(i, n)| (format!("neighbor[{i}].address"), n.address)), "this neighbour");
    }

    fn routes(&self) {
        let routes = self.config.routes.iter().enumerate();
        self.unique(routes.clone().map(|(i, r)| (format!("route[{i}].prefix"), r.prefix)), "a route to this prefix");
        let mut by_prefix: JointPrefixMap<IpNet, RouteTarget> = JointPrefixMap::new();
        for (_, route) in routes.clone() {
            by_prefix.insert(route.prefix, route.target);
        }
        // Many routes have few gateways.
        let mut verdicts: HashMap<IpAddr, Option<String>> = HashMap::new();
        for (index, route) in routes {
            let path = |key| format!("route[{index}].{key}");
            if self.links().any(|(_, net)| net.trunc() == route.prefix) {
                self.error(&path("prefix"), "this is the subnet of a port: there is a route to it already");
            }
            let gateway = match route.target {
                RouteTarget::Via(gateway) => gateway,
                RouteTarget::OnLink(_, port) => {
                    if let Some(wrong) = self.wrong_with_zone(&port) {
                        self.error(&path("via"), wrong);
                    }
                    continue;
                }
                RouteTarget::Blackhole | RouteTarget::Unreachable => continue,
            };
            if let Some(wrong) = wrong_with_gateway(route.prefix, gateway) {
                self.error(&path("via"), wrong);
            } else if let Some(wrong) =
                verdicts.entry(gateway).or_insert_with(|| self.wrong_with_gateway(gateway, &by_prefix))
            {
                self.error(&path("via"), wrong.as_str());
            }
        }
    }

    /// Why there are no link-local addresses on the link of a port.
    fn wrong_with_zone(&self, name: &str) -> Option<String> {
        let Some(port) = self.config.ports.iter().find(|port| port.name == name) else {
            return Some(format!("expected the name of a port behind %: there is none called {name:?}"));
        };
        let has_ipv6 = port.addresses.iter().any(|net| net.addr().is_ipv6());
        (!has_ipv6)
            .then(|| format!("expected a port with an IPv6 address behind %: {name:?} has none, and speaks no IPv6"))
    }

    /// Why packets cannot be handed to a gateway.
    fn wrong_with_gateway(&self, gateway: IpAddr, routes: &JointPrefixMap<IpNet, RouteTarget>) -> Option<String> {
        let mut address = gateway;
        for _ in 0..=MAX_RECURSION {
            if self.is_own(address) {
                return Some("expected the address of another router, this one is our own".into());
            }
            if let Some((_, net)) = self.link_of(address) {
                let wrong = names_no_host(&net, address);
                return wrong
                    .then(|| format!("expected the address of a router: this one names no host of {}", net.trunc()));
            }
            match routes.get_lpm(&IpNet::from(address)) {
                Some((_, RouteTarget::Via(next))) => address = *next,
                Some((_, RouteTarget::OnLink(..))) => return None,
                Some((prefix, _)) => return Some(format!("the route to it, {prefix}, leads nowhere")),
                None => {
                    return Some(
                        "expected the address of a router on the link of a port, or one that a route leads to".into(),
                    );
                }
            }
        }
        Some(format!("its route leads over more than {MAX_RECURSION} further routes, or in a circle"))
    }

    fn peers(&self) {
        let peers = self.config.peers.iter().enumerate();
        self.unique(peers.clone().map(|(i, p)| (format!("peer[{i}].name"), &p.name)), "a peer of this name");
        let addresses = peers.clone().flat_map(|(i, peer)| {
            let aliases = peer.alias.iter().enumerate();
            let aliases = aliases.map(move |(at, alias)| (format!("peer[{i}].alias[{at}]"), *alias));
            std::iter::once((format!("peer[{i}].address"), peer.address)).chain(aliases)
        });
        self.unique(addresses.clone(), "a peer with this address");
        for (path, address) in addresses {
            if let Some(wrong) = wrong_with_host(address) {
                self.error(&path, wrong);
            } else if self.is_own(address) {
                self.error(&path, "expected the address of another router, this one is our own");
            }
        }
        let widest = self.config.ports.iter().map(|port| port.mtu).max().unwrap_or(0);
        if let Some((index, _)) = peers.clone().nth(usize::from(MAX_PEERS)) {
            self.error(&format!("peer[{index}]"), format!("expected at most {MAX_PEERS} peers"));
        }
        for (index, peer) in peers {
            let path = |key| format!("peer[{index}].{key}");
            if peer.source.is_some_and(|source| !self.is_own(source)) {
                self.error(&path("source"), "expected one of the router's own addresses");
            } else if peer.source.is_some_and(|source| source.is_ipv4() != peer.address.is_ipv4()) {
                self.error(&path("source"), "expected an address of the family that the peer's has");
            } else if peer.address.is_ipv6() && !self.has_ipv6() {
                self.error(&path("address"), "expected an IPv4 address: the router has no IPv6 address to send from");
            }
            if peer.format != PeerFormat::Native {
                self.foreign_format(index, peer);
            }
            if peer.mtu.is_some_and(|mtu| mtu > widest) {
                self.error(&path("mtu"), format!("expected at most {widest}, the largest MTU of a port"));
            }
        }
    }

    /// A peer that speaks another format than ours.
    fn foreign_format(&self, index: usize, peer: &Peer) {
        if peer.address.is_ipv6() {
            let message = "expected an IPv4 address of the peer beside it: this format has no IPv6";
            self.error(&format!("peer[{index}].format"), message);
        }
        if !peer.assume {
            let message = "expected assume = true beside it: there are no hellos in this format";
            self.error(&format!("peer[{index}].format"), message);
        }
        if pool::Format::from(peer.format).port() == Some(self.config.pool_port) {
            let message =
                format!("expected a port that no format of a peer has: peer {:?} is reached there", peer.name);
            self.error("pool.port", message);
        }
    }

    fn paths(&self) {
        let paths = self.config.paths.iter().enumerate();
        self.unique(paths.clone().map(|(i, p)| (format!("path[{i}].prefix"), p.prefix)), "a path to this prefix");
        let peers = self.config.peers.iter().enumerate();
        let peers: HashMap<_, _> =
            peers.flat_map(|(index, peer)| peer.addresses().map(move |address| (address, index))).collect();
        for (index, path) in paths {
            let hops = format!("path[{index}].hops");
            // By whichever of its addresses: a peer is one router.
            let router = |hop| peers.get(&hop).map_or(Err(hop), |peer| Ok(*peer));
            let routers = path.hops.iter().enumerate().map(|(i, hop)| (format!("{hops}[{i}]"), router(hop)));
            self.unique(routers, "this router");
            let first = path.hops.first();
            if let Some(position) = path.hops.iter().position(|hop| self.is_own(hop)) {
                self.error(&format!("{hops}[{position}]"), "expected another router, this address is our own");
            } else if self.link_of(first).is_none_or(|(_, net)| names_no_host(&net, first)) {
                self.error(&format!("{hops}[0]"), "expected the next hop: a router on the link of a port");
            } else if path.prefix.addr().is_ipv6() && first.is_ipv4() {
                let message =
                    "expected the IPv6 address of the next hop, as the gateway of routes to an IPv6 prefix has";
                self.error(&format!("{hops}[0]"), message);
            }
            if !path.hops.iter().any(|hop| peers.contains_key(&hop)) {
                self.error(&hops, "expected at least one hop that is an address of a [[peer]]");
            }
        }
    }

    /// Multicast and overlay routes.
    fn legs(&self) {
        let (multicast, overlays) = (&self.config.multicast, &self.config.overlays);
        let keys = multicast.iter().enumerate().map(|(i, route)| (format!("multicast[{i}].group"), route.key()));
        self.unique(keys, "a route for this group and source");
        let keys = overlays.iter().enumerate().map(|(i, route)| (format!("overlay[{i}].prefix"), route.key()));
        self.unique(keys, "an overlay route to this prefix");
        for (table, count) in [("multicast", multicast.len()), ("overlay", overlays.len())] {
            if count > ROUTE_LIMIT {
                self.error(&format!("{table}[{ROUTE_LIMIT}]"), format!("expected at most {ROUTE_LIMIT} of them"));
            }
        }
        let wrong = multicast.iter().map(|route| wrong_with_multicast(route, self.config)).enumerate();
        for (index, (key, message)) in wrong.filter_map(|(index, wrong)| Some((index, wrong?))) {
            self.error(&format!("multicast[{index}].{key}"), message);
        }
        let wrong = overlays.iter().map(|route| wrong_with_overlay(route, self.config)).enumerate();
        for (index, (key, message)) in wrong.filter_map(|(index, wrong)| Some((index, wrong?))) {
            self.error(&format!("overlay[{index}].{key}"), message);
        }
    }

    /// Templates, and the rules that name them.
    fn templates(&self) {
        let ids = self.config.templates.iter().map(|(id, _)| *id);
        let keys = ids.clone().enumerate().map(|(i, id)| (format!("template[{i}].id"), id));
        self.unique(keys, "a template of this id");
        for (index, rule) in self.config.rules.iter().enumerate() {
            if let Some(Index::Predetermined(id)) = rule.criteria.as_ref().map(|criteria| criteria.index)
                && !ids.clone().any(|known| known == id)
            {
                self.error(&format!("rule[{index}].template"), "expected the id of a [[template]]");
            }
        }
    }

    fn streams(&self) {
        let streams = self.config.streams.iter().enumerate();
        let ids = streams.clone().map(|(i, stream)| (format!("stream[{i}].id"), (stream.id, &stream.peer)));
        self.unique(ids, "a stream of this id and peer");
        let packets = streams.clone().map(|(i, stream)| (format!("stream[{i}].source"), packets_of(stream)));
        self.unique(packets, "a stream of this peer with these source, destination, dscp and ttl");
        if self.config.streams.len() > STREAM_LIMIT {
            self.error(&format!("stream[{STREAM_LIMIT}]"), format!("expected at most {STREAM_LIMIT} streams"));
        }
        let peers: HashMap<_, _> = self.config.peers.iter().map(|peer| (&peer.name, peer)).collect();
        for (index, stream) in streams {
            if let Some((key, message)) = wrong_with_stream(stream, peers.get(&stream.peer).copied()) {
                self.error(&format!("stream[{index}].{key}"), message);
            }
        }
    }

    fn rules(&self) {
        let rules = self.config.rules.iter().enumerate();
        self.unique(rules.clone().map(|(i, r)| (format!("rule[{i}].name"), &r.name)), "a rule of this name");
        let mut windows = HashSet::new();
        for (index, rule) in rules.clone() {
            let Some(criteria) = &rule.criteria else { continue };
            for (key, window) in ["window", "hold"].into_iter().zip(criteria.windows()) {
                windows.insert(window);
                if windows.len() > MAX_WINDOWS {
                    let message = if key == "window" {
                        format!("expected one of the windows above: there can be {MAX_WINDOWS} different ones")
                    } else {
                        format!("what it is longer than the window is one more than {MAX_WINDOWS} different windows")
                    };
                    self.error(&format!("rule[{index}].{key}"), message);
                    windows.remove(&window);
                }
            }
        }
        let widest = self.config.ports.iter().map(|port| port.mtu).max().unwrap_or(0);
        let mtus = self.config.peers.iter().map(|peer| peer.mtu.unwrap_or(DEFAULT_PEER_MTU));
        let mtu = mtus.max().unwrap_or(DEFAULT_PEER_MTU).min(widest);
        for (index, rule) in rules {
            let path = |key| format!("rule[{index}].{key}");
            let most = mtu.saturating_sub(POOL_OVERHEAD);
            let max_size = rule.criteria.as_ref().and_then(|criteria| criteria.max_size);
            if max_size.is_some_and(|size| size > most) {
                let message =
                    format!("expected at most \"{most}B\": a path MTU of {mtu} less {POOL_OVERHEAD} bytes of headers");
                self.error(&path("max_size"), message);
            }
            let ports = rule.matcher.source_ports.is_some() || rule.matcher.destination_ports.is_some();
            if ports && rule.matcher.protocol.is_none_or(|protocol| !has_ports(protocol)) {
                self.error(&path("match"), "expected protocol = \"udp\", \"tcp\" or another one that has ports");
            }
        }
    }
}

/// Whether a protocol has ports in the first four bytes behind the IP header: TCP, UDP, DCCP, SCTP and UDP-Lite do.
pub fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

/// Whether two subnets get in each other's way: they share addresses and are not the same one of the same port.
fn overlap(port: usize, net: &IpNet, other_port: usize, other: &IpNet) -> bool {
    let shared = net.contains(&other.network()) || other.contains(&net.network());
    shared && !(port == other_port && net.trunc() == other.trunc())
}
