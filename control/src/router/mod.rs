//! The router's control thread: owns all state, hears workers and clients, and publishes what follows.
//!
//! One thread calls everything here, from a loop that blocks until a bell rings or [`Router::deadline`] has come
//! ([`crate::daemon`]). Time is an argument. What clients may ask is in `handler`, how routes and paths
//! change in `change`, what a new configuration changes in `reload`, what pools are open in `open_pools`.

mod change;
mod handler;
mod hello_packet;
mod legs;
mod open_pools;
mod path_requests;
mod peer_requests;
mod publication;
mod refused_changes;
mod reload;
mod rule_requests;
mod stream_requests;
mod template_requests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carpool_dataplane::arch::TickRate;
use carpool_dataplane::fib::{Domain, Lpm4Writer, Lpm6Writer, PathIndex, PeerIndex, PortIndex, Published};
use carpool_dataplane::packet::ethernet::MacAddr;
use carpool_dataplane::packet::too_big::TooBig;
use carpool_dataplane::pool::hello::{Capabilities, Hello};
use carpool_dataplane::pool::pooled_packet_detector::ZeroChecksum;
use carpool_dataplane::pool::provisioned::StreamSet;
use carpool_dataplane::pool::wire::{Kind, PoolHeader, Templates};
use carpool_dataplane::pool::{Format, PeerPath, RuleSet};
use carpool_dataplane::worker::{
    Event, HeardHello, Inject, InjectTarget, Peer as PublishedPeer, PeerTable, PortAddress, PortAddress6, PortState,
    RouterState,
};
use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;
use log::{debug, error, warn};

use crate::api::multicast::MulticastRoute;
use crate::api::overlay::OverlayRoute;
use crate::api::port::PortEntry;
use crate::api::stats::Mempool;
use crate::config::{self, Config, DEFAULT_PEER_MTU, PEER_MTU};
use crate::forwarding::{Change, Forwarding};
use crate::legs as leg_routes;
use crate::neighbors::{ASKED, Advertised, Key, Link, NEIGHBOR_LIMIT, Neighbors, RETRY};
use crate::paths::{Arrangement, Node, PathSource, Reached, keeps_pools};
use crate::peers::{Arrival, DueHello, HELLO_TTL, Identity, Peer, Peers, Quoted, ToldPeers};
use crate::rib::{OwnRoute, Routes};
use crate::rules::Rules;
use crate::streams::Streams;
use crate::templates::ToldTemplates;
pub use change::ChangeError;
use hello_packet::{hello_packet, hello_port};
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
    multicast: leg_routes::Routes<MulticastRoute>,
    overlays: leg_routes::Routes<OverlayRoute>,
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
            multicast: leg_routes::Routes::default(),
            overlays: leg_routes::Routes::default(),
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

    /// Publishes the state as it is now; `pools_depend` where open pools depend on what has changed besides. Returns
    /// the epoch in which every worker has it.
    fn publish(&mut self, pools_depend: bool, now: Instant) -> u64 {
        self.publish_with(Arc::clone(&self.publication.current().rules), pools_depend, now)
    }

    /// Publishes whom we know on our links, where nothing else has changed: with many of them that is up to once a
    /// millisecond, and there can be thousands of entries and paths.
    fn publish_neighbors(&mut self, now: Instant) {
        let state = RouterState { neighbours: self.neighbors.table(), ..self.publication.current().clone() };
        self.hand_out(state, now);
    }

    /// Publishes other rules. Pools name their rule by its position: no worker may see these without flushing the pools of
    /// the ones before.
    fn publish_rules(&mut self, rules: Rules, set: RuleSet, now: Instant) {
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
        let legs = leg_routes::table(&self.multicast, &self.overlays, &self.config, &self.peers, alive);
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

    /// Takes over what the configuration says of multicast and overlay routes.
    fn configure_legs(&mut self) {
        self.multicast.configure(&self.config.multicast);
        self.overlays.configure(&self.config.overlays);
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

    /// Our address that a peer knows us by, and the largest pooled packet to it.
    fn towards(&self, peer: &Peer) -> (IpAddr, u16) {
        let (source, ceiling) = self.limits_towards(peer);
        (source, peer.path_mtu().map_or(ceiling, |path_mtu| path_mtu.current().min(ceiling)))
    }

    /// Our address that a peer knows us by, and the largest packet to it that makes sense: as configured, or those of the
    /// port towards it, and no larger than the peer takes.
    fn limits_towards(&self, peer: &Peer) -> (IpAddr, u16) {
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
    fn limit_probes(&mut self, now: Instant) {
        let ceilings: Vec<_> = self.peers.iter().map(|(index, peer)| (index, self.limits_towards(peer).1)).collect();
        for (index, ceiling) in ceilings {
            self.peers.limit_probes(index, ceiling, now);
        }
    }

    /// An address of ours, for peers that no port with an address of their family leads to.
    fn any_address(&self, is_v4: bool) -> IpAddr {
        if is_v4 {
            return self.config.router_id.into();
        }
        let of_ports = self.config.ports.iter().flat_map(|port| &port.addresses).map(IpNet::addr);
        let mut all = self.config.addresses.iter().copied().chain(of_ports);
        all.find(IpAddr::is_ipv6).unwrap_or(Ipv6Addr::UNSPECIFIED.into())
    }

    /// How pooled packets reach a peer, whether it lives or not. A router on the link has an address of each family: where
    /// a route leads to the peer's address of the other family by the same port, its next hop is the same router.
    fn reached(&self, peer: &Peer) -> Option<Reached> {
        let (port, first_hop) = self.forwarding.next_hop(peer.config.address)?;
        let other = peer.addresses.iter().find(|other| other.is_ipv4() != peer.config.address.is_ipv4());
        let other = other.and_then(|other| self.forwarding.next_hop(*other)).filter(|other| other.0 == port);
        let first_hops = [Some(first_hop), other.map(|(_, first_hop)| first_hop)];
        let on_the_way = peer.capabilities().contains(Capabilities::ON_THE_WAY);
        Some(Reached { first_hops, on_the_way, takes_ttls: peer.has_hellos() })
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

    /// The way of hellos to all peers as it is now, for as long as no event is read.
    fn heartbeat(&self, now: Instant) -> Heartbeat {
        self.heartbeat_to(self.peers.iter(), now)
    }

    fn heartbeat_to<'p>(&self, peers: impl Iterator<Item = (PeerIndex, &'p Peer)>, now: Instant) -> Heartbeat {
        let reachable = peers.filter(|(_, peer)| self.forwarding.next_hop(peer.config.address).is_some());
        let ways = reachable.map(|(index, peer)| (index, (self.towards(peer).0, peer.config.address)));
        Heartbeat { ways: ways.collect(), pool_port: self.config.pool_port, heard_until: now }
    }

    fn send_hellos(&mut self, now: Instant) {
        if self.peers.hello_is_due(now) {
            let heartbeat = self.heartbeat_to(self.peers.due(now), now);
            heartbeat.send(&mut self.peers, &self.workers, now);
        }
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

/// Sends hellos, also from the middle of a long change: a router that loads a full table must not seem dead.
struct Heartbeat {
    /// Source and destination of hellos to each peer that a route leads to.
    ways: HashMap<PeerIndex, (IpAddr, IpAddr)>,
    pool_port: u16,
    /// When the change began. What peers said since waits to be read: nobody has fallen silent meanwhile.
    heard_until: Instant,
}

impl Heartbeat {
    /// Sends what is due now, whatever time the change began at.
    fn beat(&self, peers: &mut Peers, workers: &[WorkerLink], now: Instant) {
        // Before there are workers, nobody could send them.
        if !workers.is_empty() && peers.hello_is_due(now) {
            self.send(peers, workers, now);
        }
    }

    fn send(&self, peers: &mut Peers, workers: &[WorkerLink], now: Instant) {
        peers.send_due(now, self.heard_until, |DueHello { peer, hello, length }| {
            // Where no route leads to a peer, its hellos are lost.
            self.ways.get(peer).is_none_or(|(source, address)| {
                let packet = hello_packet(hello, *source, *address, self.pool_port, *length);
                inject(workers, InjectTarget::Routed, &packet, length.saturating_sub(packet.len() as u16))
            })
        });
    }
}

/// Hands a packet to the first worker that has room for it; each has a transmit queue of every port. False where none has,
/// which the first one counts. So many zero bytes as `padding` says follow the packet.
fn inject(workers: &[WorkerLink], target: InjectTarget, packet: &[u8], padding: u16) -> bool {
    let Ok(bytes) = packet.try_into() else {
        error!("a packet of {} bytes is too long for workers", packet.len());
        return true;
    };
    let mut inject = Inject { target, bytes, padding };
    for worker in workers {
        match worker.inject(inject) {
            None => return true,
            Some(refused) => inject = refused,
        }
    }
    if let Some(worker) = workers.first() {
        worker.shared.count_refused();
    }
    false
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
mod forwarding_tests;
#[cfg(test)]
mod ipv6_tests;
#[cfg(test)]
mod path_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod template_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wire_tests;
