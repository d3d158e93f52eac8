//! The router's control thread: owns all state, hears workers and clients, and publishes what follows.
//!
//! One thread calls everything here, from a loop that blocks until a bell rings or [`Router::deadline`] has come
//! ([`crate::daemon`]). Time is an argument. What clients may ask is in `handler`, how routes and paths
//! change in `change`, what a new configuration changes in `reload`, what workers are told in `publish`, what pools are open
//! in `open_pools`.

mod change;
mod handler;
mod heartbeat;
mod hello_packet;
mod leg_requests;
mod open_pools;
mod path_requests;
mod peer_requests;
mod publication;
mod publish;
mod refused_changes;
mod reload;
mod rule_requests;
mod stream_requests;
mod template_requests;
mod towards;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carpool_dataplane::arch::TickRate;
use carpool_dataplane::fib::{Domain, Lpm4Writer, Lpm6Writer, PortIndex, Published};
use carpool_dataplane::packet::ethernet::MacAddr;
use carpool_dataplane::packet::too_big::TooBig;
use carpool_dataplane::pool::RuleSet;
use carpool_dataplane::pool::hello::Hello;
use carpool_dataplane::pool::provisioned::StreamSet;
use carpool_dataplane::pool::wire::{Kind, PoolHeader, Templates};
use carpool_dataplane::worker::{Event, HeardHello, InjectTarget, PortAddress, PortAddress6, PortState, RouterState};
use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;
use log::{debug, error, warn};

use crate::api::multicast::MulticastRoute;
use crate::api::overlay::OverlayRoute;
use crate::api::port::PortEntry;
use crate::api::stats::Mempool;
use crate::config::{self, Config, DEFAULT_PEER_MTU};
use crate::forwarding::{Change, Forwarding};
use crate::legs;
use crate::neighbors::{ASKED, Advertised, Key, Link, NEIGHBOR_LIMIT, Neighbors, RETRY};
use crate::paths::{Arrangement, PathSource};
use crate::peers::{Arrival, Identity, Peers, Quoted, ToldPeers};
use crate::rib::{OwnRoute, Routes};
use crate::rules::Rules;
use crate::streams::Streams;
use crate::templates::ToldTemplates;
pub use change::ChangeError;
use heartbeat::inject;
use hello_packet::hello_port;
use open_pools::OpenPools;
pub use publication::{Publication, Stalled, WorkerLink};
use refused_changes::RefusedChanges;
pub use reload::ReloadError;

/// The least time between two publications that only neighbours ask for.
const NEIGHBOR_PAUSE: Duration = Duration::from_millis(1);
/// Events taken from a worker before others are looked at.
const EVENTS: usize = 4096;
/// How soon what waits for workers is looked at again.
const RECLAIM: Duration = Duration::from_millis(100);

/// What the router wants to know of its ports and packet memory.
pub trait Hardware {
    /// The ports with their counters, in the order of the configuration; `ports` is what it says of them.
    fn ports(&self, ports: &[config::Port]) -> Vec<PortEntry>;
    /// Packet memory.
    fn mempools(&self) -> Vec<Mempool>;
    /// Ethernet addresses of the ports.
    fn macs(&self) -> Vec<[u8; 6]>;
}

/// What the router is made of.
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// The file it is from.
    pub config_path: PathBuf,
    /// The CPUs of the workers.
    pub cores: Vec<u32>,
    /// Who the router is in this run.
    pub identity: Identity,
    /// Ticks a second.
    pub rate: TickRate,
    /// Ports and memory.
    pub hardware: Box<dyn Hardware>,
    /// The workers' domain.
    pub domain: Arc<Domain>,
    /// The forwarding table of IPv4.
    pub fib: Lpm4Writer,
    /// The forwarding table of IPv6.
    pub fib6: Lpm6Writer,
}

/// The router.
pub struct Router {
    /// What the file says, but for the peers: those in force, whoever told them.
    config: Config,
    config_path: PathBuf,
    started: Instant,
    rate: TickRate,
    hardware: Box<dyn Hardware>,
    workers: Vec<WorkerLink>,
    cores: Vec<u32>,
    forwarding: Forwarding,
    neighbors: Neighbors,
    /// Neighbours that clients added or deleted: what the file says of them does not count.
    socket_neighbors: HashSet<Key>,
    told_peers: ToldPeers,
    peers: Peers,
    /// The paths as workers have them.
    arrangement: Arrangement,
    rules: Rules,
    templates: ToldTemplates,
    streams: Streams,
    /// The same as workers have them, or will with the next publication.
    provisioned: Arc<StreamSet>,
    multicast: legs::Routes<MulticastRoute>,
    overlays: legs::Routes<OverlayRoute>,
    publication: Publication,
    published_at: Instant,
    open_pools: OpenPools,
    /// Whether entries, states or memory of the table that are out of use still wait for workers.
    unreclaimed: bool,
    refused_changes: RefusedChanges,
}

impl Router {
    /// A router with its configuration in force; also returns the workers' end of what it publishes. No worker may run
    /// before [`Router::attach`].
    ///
    /// # Errors
    /// Where the configuration's routes do not fit into the table.
    pub fn new(parts: Parts, now: Instant) -> Result<(Router, Published<RouterState>), ChangeError> {
        let Parts { config, config_path, cores, identity, rate, hardware, domain, fib, fib6 } = parts;
        let macs = hardware.macs();
        let links = config.ports.iter().zip(&macs).map(|(port, mac)| Link::new(*mac, port.addresses.clone()));
        let links: Vec<_> = links.collect();
        let ports = config.ports.iter().zip(&links).map(|(port, link)| port_state(link, port.mtu));
        let ports: Vec<_> = ports.collect();
        let largest = config.ports.iter().map(|port| port.mtu).max().unwrap_or(DEFAULT_PEER_MTU);
        let rules = Rules::new(config.rules.clone());
        let told_templates = ToldTemplates::new(&config.templates);
        let templates = told_templates.compile();
        let first = RouterState {
            pools: 0,
            ports: ports.into(),
            entries: Arc::default(),
            neighbours: Arc::default(),
            peers: Arc::default(),
            paths: Arc::default(),
            legs: Arc::default(),
            rules: Arc::new(compiled(&rules, rate, &templates)),
            templates: Arc::new(templates),
            streams: Arc::default(),
            pool_port: config.pool_port,
            neighbour_timeout: rate.ticks(RETRY * u32::from(ASKED)),
        };
        let (publication, published) = Publication::new(Arc::clone(&domain), first);
        let mut router = Router {
            config_path,
            started: now,
            rate,
            hardware,
            workers: Vec::new(),
            cores,
            forwarding: Forwarding::new(domain, fib, fib6),
            neighbors: Neighbors::new(links, NEIGHBOR_LIMIT),
            socket_neighbors: HashSet::new(),
            told_peers: ToldPeers::new(config.peers.clone()),
            peers: Peers::new(identity, largest),
            arrangement: Arrangement::default(),
            rules,
            templates: told_templates,
            streams: Streams::default(),
            provisioned: Arc::default(),
            multicast: legs::Routes::default(),
            overlays: legs::Routes::default(),
            publication,
            published_at: now,
            open_pools: OpenPools::default(),
            unreclaimed: false,
            refused_changes: RefusedChanges::default(),
            config,
        };
        router.peers.configure(router.config.peers.iter().cloned(), now);
        router.provision(Streams::new(router.config.streams.clone()));
        router.configure_legs();
        let routes = configured_routes(&router.config);
        let paths = router.config.paths.iter().map(|path| (path.prefix, path.hops.clone()));
        let paths = router.forwarding.paths().replacement(PathSource::Config, paths);
        router.change(Change { routes, paths, needs_gateways: false }, now)?;
        for neighbor in router.config.neighbors.clone() {
            router.set_configured_neighbor(neighbor, now);
        }
        router.peers.take_changes(now);
        router.publish(false, now);
        Ok((router, published))
    }

    /// The workers, in the order of their cores.
    pub fn attach(&mut self, workers: Vec<WorkerLink>) {
        self.workers = workers;
    }

    /// The workers, in the order of their cores.
    pub fn workers(&self) -> &[WorkerLink] {
        &self.workers
    }

    /// Hears what workers have to say.
    pub fn hear_workers(&mut self, now: Instant) {
        for worker in 0..self.workers.len() {
            for _ in 0..EVENTS {
                let Some(hello) = self.workers.get(worker).and_then(|link| link.shared.hellos.pop()) else { break };
                self.hear_hello(&hello, now);
            }
            for _ in 0..EVENTS {
                let Some(event) = self.workers.get(worker).and_then(|link| link.shared.events.pop()) else { break };
                self.hear(worker, event, now);
            }
        }
    }

    fn hear_hello(&mut self, heard: &HeardHello, now: Instant) {
        let HeardHello { from, ttl, length, ref payload } = *heard;
        match Hello::parse(payload) {
            Ok(hello) => self.peers.hello(from, &hello, Arrival { ttl, length }, now),
            Err(error) => debug!("a hello from {from}: {error}"),
        }
    }

    fn hear(&mut self, worker: usize, event: Event, now: Instant) {
        match event {
            Event::NeighbourSeen { port, address, mac, addressed_to_us } => {
                self.neighbors.seen((port, address), mac, addressed_to_us, now);
            }
            Event::NeighbourAdvertised { port, address, mac, solicited, overrides } => {
                let advertised = Advertised { mac, solicited, overrides };
                self.neighbors.advertised((port, address.into()), advertised, now);
            }
            Event::NeighbourWanted { port, address } => {
                self.neighbors.wanted((port, address), now);
            }
            Event::PacketTooBig(too_big) => self.packet_too_big(&too_big, now),
            Event::UnknownThere { worker: announcer, what } => {
                if let Some(announcer) = self.workers.get(usize::from(announcer)) {
                    // A full ring: the addressee reports it again.
                    let _ = announcer.shared.unknown_contexts.push(what);
                }
            }
            Event::OpenPool(sample) => self.open_pools.sample(worker, sample),
            Event::PeerReceived(received) => self.open_pools.received(worker, received),
            Event::OpenPoolsEnd { request } => self.open_pools.end(worker, request),
        }
    }

    /// A router says that a packet was too long. Whether it was one of ours is seen from its addresses, ports and contents.
    fn packet_too_big(&mut self, too_big: &TooBig, now: Instant) {
        let TooBig { mtu, quoted } = *too_big;
        let Some(peer) = self.peers.index_of(quoted.dst).and_then(|index| self.peers.get(index)) else { return };
        let pool_port = self.config.pool_port;
        let is_ours = quoted.src == self.limits_towards(peer).0 && quoted.dst_port == pool_port;
        if !is_ours || quoted.total_len <= mtu {
            return;
        }
        let length = quoted.total_len;
        let quotes = match PoolHeader::parse(&quoted.payload) {
            Ok(header) if quoted.src_port == hello_port(pool_port) && header.kind == Kind::Hello => {
                Quoted::Hello { sequence: header.sequence, length }
            }
            Ok(header) if quoted.src_port >= pool_port && header.kind != Kind::Hello => Quoted::PooledPacket { length },
            _ => return,
        };
        self.peers.packet_too_big(quoted.dst, mtu, quotes, now);
    }

    /// Does what is due: asks for neighbours, sends hellos, notes who came up or went down, answers, publishes.
    pub fn tick(&mut self, now: Instant) {
        self.neighbors.tick(now);
        let peers_changed = self.peers.take_changes(now);
        let neighbors_due = self.neighbors.changed() && now >= self.published_at + NEIGHBOR_PAUSE;
        if peers_changed {
            self.publish(false, now);
        } else if neighbors_due {
            self.publish_neighbors(now);
        }
        self.send_hellos(now);
        self.ask_for_neighbors();
        self.answer_open_pools(now);
        if self.unreclaimed {
            self.reclaim();
        }
    }

    /// When [`Router::tick`] has something to do, if nothing else happens before.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let publication = self.neighbors.changed().then(|| self.published_at + NEIGHBOR_PAUSE);
        let reclaim = self.unreclaimed.then(|| now + RECLAIM);
        let others =
            [self.neighbors.deadline(), self.peers.deadline(), self.open_pools.deadline(), publication, reclaim];
        others.into_iter().flatten().min()
    }

    /// Takes over what the configuration says of multicast and overlay routes.
    fn configure_legs(&mut self) {
        self.multicast.configure(&self.config.multicast);
        self.overlays.configure(&self.config.overlays);
    }

    fn ask_for_neighbors(&mut self) {
        for request in self.neighbors.take_requests() {
            debug!("asking for {} at port {}", request.addresses.target(), request.port.0);
            // What finds no room is asked for again when its timer ends.
            inject(&self.workers, InjectTarget::Frame(request.port), &request.frame(), 0);
        }
    }

    fn set_configured_neighbor(&mut self, neighbor: config::Neighbor, now: Instant) {
        let key = (PortIndex(neighbor.port), neighbor.address);
        if !self.socket_neighbors.contains(&key)
            && let Err(error) = self.neighbors.set_static(key, neighbor.mac, now)
        {
            warn!("neighbor {} {}: {error}", neighbor.address, MacAddr(neighbor.mac));
        }
    }

    /// A port's name.
    fn port_name(&self, port: PortIndex) -> String {
        self.config.ports.get(port.index()).map(|port| port.name.clone()).unwrap_or_default()
    }
}

/// Rules of a configuration that was checked.
fn compiled(rules: &Rules, rate: TickRate, templates: &Templates) -> RuleSet {
    rules.compile(rate, templates).unwrap_or_else(|error| {
        error!("{error}: nothing is pooled");
        RuleSet::default()
    })
}

/// A port as workers know it.
fn port_state(link: &Link, mtu: u16) -> PortState {
    let (mut addresses, mut addresses6) = (Vec::new(), Vec::new());
    for net in &link.addresses {
        let prefix_len = net.prefix_len();
        match net.addr() {
            IpAddr::V4(address) => addresses.push(PortAddress { address, prefix_len }),
            IpAddr::V6(address) => addresses6.push(PortAddress6 { address, prefix_len }),
        }
    }
    PortState { mac: link.mac, mtu, addresses, addresses6, link_local: link.link_local }
}

/// The routes that a configuration and the addresses in it make.
fn configured_routes(config: &Config) -> Vec<(IpNet, Routes)> {
    let mut routes: HashMap<IpNet, Routes> = HashMap::new();
    let mut own = |prefix: IpNet, own| routes.entry(prefix).or_default().own = Some(own);
    for (index, port) in (0u16..).zip(&config.ports) {
        for net in &port.addresses {
            own(net.trunc(), OwnRoute::Connected(PortIndex(index)));
            // RFC 3021: a subnet of two addresses has neither a network nor a broadcast address; those of IPv6 have none.
            if net.addr().is_ipv4() && net.prefix_len() <= 30 {
                own(net.network().into(), OwnRoute::Broadcast);
                own(net.broadcast().into(), OwnRoute::Broadcast);
            }
        }
    }
    // Last: a port's address with a prefix of all its bits is its own subnet, and ours all the same.
    let ports = config.ports.iter().flat_map(|port| &port.addresses).map(IpNet::addr);
    for address in ports.chain(config.addresses.iter().copied()) {
        own(address.into(), OwnRoute::Local);
    }
    for (prefix, target) in config.route_targets() {
        routes.entry(prefix).or_default().config = Some(target);
    }
    routes.into_iter().collect()
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod change_tests;
#[cfg(test)]
mod forwarding_tests;
#[cfg(test)]
mod hello_tests;
#[cfg(test)]
mod ipv6_tests;
#[cfg(test)]
mod leg_tests;
#[cfg(test)]
mod neighbor_tests;
#[cfg(test)]
mod path_mtu_tests;
#[cfg(test)]
mod path_tests;
#[cfg(test)]
mod peer_tests;
#[cfg(test)]
mod reload_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod template_tests;
#[cfg(test)]
mod wire_tests;
