//! What clients of the control socket may ask and change. Nothing here knows of JSON or of threads.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use carpool_dataplane::arch;
use carpool_dataplane::fib::{FibError, PortIndex};
use carpool_dataplane::packet::ipv6::is_link_local;
use ipnet::IpNet;
use log::info;

use super::rule_requests::{added_rule, rule_entry};
use super::{ChangeError, Router, WorkerLink};
use crate::api::command::Done;
use crate::api::lookup::{Lookup, LookupResult};
use crate::api::multicast::{MulticastDel, MulticastList, MulticastRoute, MulticastShow};
use crate::api::neighbor::{NeighborAdd, NeighborDel, NeighborEntry, NeighborList, NeighborShow, NeighborState};
use crate::api::overlay::{OverlayDel, OverlayList, OverlayRoute, OverlayShow};
use crate::api::path::{PathAdd, PathChanged, PathDel, PathList, PathShow};
use crate::api::peer::{PeerAdd, PeerDel, PeerList, PeerShow};
use crate::api::pool::{PoolReport, PoolShow};
use crate::api::port::{PortList, PortShow};
use crate::api::route::{
    AdjacencyKind, Route, RouteAdd, RouteChanged, RouteDel, RouteEntry, RouteList, RouteLoad, RouteLoaded, RouteShow,
    Source,
};
use crate::api::rule::{RuleAdd, RuleDel, RuleList, RuleShow};
use crate::api::stages::{STAGES_MAX_MS, Stages, StagesShow, WorkerStages};
use crate::api::stats::{Stats, StatsShow};
use crate::api::status::{Fib, Status, StatusShow, Version, VersionShow};
use crate::api::stream::{Stream, StreamDel, StreamList, StreamShow};
use crate::api::template::{TemplateAdd, TemplateDel, TemplateList, TemplateShow};
use crate::api::text::MacAddress;
use crate::api::{Answer, Call, Handler, Refusal};
use crate::config::{self, Config, Idle};
use crate::forwarding::{Change, ForwardingError, Hop, NoOtherHost, PULSE};
use crate::neighbors::{Link, NeighborError, Phase};
use crate::paths::ToldPaths;
use crate::rib::{RouteTarget, Routes, Target};
use crate::rules::{Rules, RulesError};
use crate::streams::Streams;

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Refusal {
        match error {
            ChangeError::Forwarding(ForwardingError::Gateway { .. } | ForwardingError::NoRouter { .. })
            | ChangeError::Forwarding(ForwardingError::Table(FibError::ReadersStalled))
            | ChangeError::Stalled(_) => Refusal::conflict(error.to_string()),
            ChangeError::Forwarding(_) => Refusal::limit(error.to_string()),
        }
    }
}

impl From<RulesError> for Refusal {
    fn from(error: RulesError) -> Refusal {
        let message = error.to_string();
        match error {
            RulesError::Exists(_) | RulesError::Taken(_) => Refusal::exists(message),
            RulesError::NotFound(_) => Refusal::not_found(message),
            RulesError::NoTemplate { .. } | RulesError::Set(_) => Refusal::conflict(message),
        }
    }
}

impl Router {
    /// Carries a client's command out.
    pub fn serve(&mut self, call: Call, now: Instant) {
        call.serve(&mut Client { router: self, now });
    }
}

/// The router at the time of a command.
pub(super) struct Client<'r> {
    pub router: &'r mut Router,
    pub now: Instant,
}

impl Client<'_> {
    /// Changes what the socket says of prefixes.
    fn change_routes(&mut self, routes: Vec<(IpNet, Routes)>) -> Result<(), Refusal> {
        self.router.change(Change { routes, paths: Vec::new(), needs_gateways: true }, self.now)?;
        Ok(())
    }

    /// Changes what is told of the path to a prefix.
    fn change_path(&mut self, prefix: IpNet, told: ToldPaths) -> Result<(), Refusal> {
        self.router.change(Change { paths: vec![(prefix, told)], ..Change::default() }, self.now)?;
        Ok(())
    }

    fn change_rules(&mut self, rules: Rules) -> Result<Done, Refusal> {
        let set = rules.compile(self.router.rate, &self.router.publication.current().templates)?;
        self.router.publish_rules(rules, set, self.now);
        Ok(Done {})
    }

    fn change_streams(&mut self, streams: Streams) -> Done {
        self.router.provision(streams);
        self.router.publish(true, self.now);
        Done {}
    }

    /// The port that a neighbour is named at, or on whose link its address is.
    fn port_of(&self, address: IpAddr, name: Option<&str>) -> Result<PortIndex, Refusal> {
        let Some(name) = name else {
            if matches!(address, IpAddr::V6(address) if is_link_local(address)) {
                return Err(Refusal::conflict(format!("{address} can be on every link; expected its port beside it")));
            }
            let port = self.router.neighbors.port_of(address);
            let what = self.router.forwarding.why_no_other_host(address);
            let what = what.map_or("is on the link of no port", NoOtherHost::words);
            return port.ok_or_else(|| Refusal::conflict(format!("{address} {what}")));
        };
        self.router.config.port_named(name).ok_or_else(|| Refusal::not_found(format!("there is no port {name:?}")))
    }
}

/// Refuses to touch what the router's own addresses make.
fn not_own(prefix: IpNet, routes: Routes) -> Result<Routes, Refusal> {
    match routes.own {
        Some(_) => Err(Refusal::conflict(format!("route {prefix}: it is made by one of the router's own addresses"))),
        None => Ok(routes),
    }
}

/// Where a route leads, the port of a link-local gateway known by its index.
fn target(route: &Route, config: &Config, links: &[Link]) -> Result<RouteTarget, Refusal> {
    route.target.on(|gateway, name| {
        let wrong = |what: &str| Err(Refusal::conflict(format!("route {} via {gateway}%{name}: {what}", route.prefix)));
        let Some(port) = config.port_named(&name) else { return wrong(&format!("there is no port {name:?}")) };
        match links.get(port.index()).and_then(|link| link.link_local) {
            None => wrong(&format!("port {name:?} has no IPv6 address, and speaks no IPv6")),
            Some(own) if own == gateway => wrong("that is one of the router's own addresses"),
            Some(_) => Ok(port),
        }
    })
}

/// Where a hop leads, in the words of clients.
fn adjacency(hop: Hop) -> (AdjacencyKind, Option<IpAddr>, Option<PortIndex>) {
    match hop {
        Hop::Local => (AdjacencyKind::Local, None, None),
        Hop::Broadcast => (AdjacencyKind::Broadcast, None, None),
        Hop::Connected(port) => (AdjacencyKind::Connected, None, Some(port)),
        Hop::Via(port, gateway) => (AdjacencyKind::Via, Some(gateway), Some(port)),
        Hop::Unreachable => (AdjacencyKind::Unreachable, None, None),
        Hop::Blackhole => (AdjacencyKind::Blackhole, None, None),
    }
}

impl Router {
    fn route_entry(&self, prefix: IpNet, routes: &Routes) -> Option<RouteEntry> {
        let Some((source, hop)) = self.forwarding.best(routes) else {
            // Told, and not usable: its gateway cannot be reached.
            let (target, source) = routes.best()?;
            let Target::Told(RouteTarget::Via(gateway)) = target else { return None };
            let via = Some(gateway);
            return Some(RouteEntry { prefix, adjacency: AdjacencyKind::Via, via, port: None, peer: None, source });
        };
        let (adjacency, via, port) = adjacency(hop);
        let peer = self.pooled_to(self.forwarding.leaf(prefix));
        Some(RouteEntry { prefix, adjacency, via, port: port.map(|port| self.port_name(port)), peer, source })
    }
}

pub(super) fn milliseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Handler for Client<'_> {
    fn route_add(&mut self, route: RouteAdd) -> Result<RouteChanged, Refusal> {
        let before = not_own(route.prefix, self.router.forwarding.rib().get(route.prefix))?;
        let target = target(&route, &self.router.config, self.router.neighbors.links())?;
        self.change_routes(vec![(route.prefix, Routes { socket: Some(target), ..before })])?;
        Ok(RouteChanged { replaced: before.hold() })
    }

    fn route_del(&mut self, route: RouteDel) -> Result<Done, Refusal> {
        let before = not_own(route.prefix, self.router.forwarding.rib().get(route.prefix))?;
        if !before.hold() {
            return Err(Refusal::not_found(format!("there is no route to exactly {}", route.prefix)));
        }
        let after = Routes { socket: None, config_hidden: before.config.is_some(), ..before };
        self.change_routes(vec![(route.prefix, after)])?;
        Ok(Done {})
    }

    fn route_load(&mut self, load: RouteLoad) -> Result<RouteLoaded, Refusal> {
        let begin = Instant::now();
        let heartbeat = self.router.heartbeat(self.now);
        let Router { forwarding, peers, workers, config, neighbors, .. } = &mut *self.router;
        let mut beat = |count: usize| {
            if count.is_multiple_of(PULSE) {
                heartbeat.beat(peers, workers, Instant::now());
            }
        };
        let rib = forwarding.rib();
        let count = load.routes.len() as u64;
        // In order of prefix, which makes tries fast; of equal ones the last that was loaded holds.
        let mut loaded = load.routes;
        loaded.reverse();
        loaded.sort_by_key(|route| route.prefix);
        loaded.dedup_by_key(|route| route.prefix);
        let mut changes = Vec::new();
        for (count, route) in loaded.iter().enumerate() {
            beat(count);
            let before = not_own(route.prefix, rib.get(route.prefix))?;
            let target = target(route, config, neighbors.links())?;
            if before.socket != Some(target) {
                changes.push((route.prefix, Routes { socket: Some(target), ..before }));
            }
        }
        if load.replace {
            let stays = |prefix: &IpNet| loaded.binary_search_by_key(prefix, |route| route.prefix).is_ok();
            for (count, (prefix, routes)) in rib.iter().enumerate() {
                beat(count);
                if routes.socket.is_some() && !stays(&prefix) {
                    changes.push((prefix, Routes { socket: None, ..routes }));
                }
            }
        }
        let changed = changes.len() as u64;
        self.change_routes(changes)?;
        let seconds = begin.elapsed().as_secs_f64();
        info!("{count} routes loaded in {seconds:.3} s, {changed} routes changed");
        Ok(RouteLoaded { routes: count, changed, seconds })
    }

    fn route_show(&mut self, show: RouteShow) -> Result<RouteList, Refusal> {
        let router = &self.router;
        let within = show.prefix;
        let rib = router.forwarding.rib();
        let page = rib.page(within, show.offset as usize).take(show.limit as usize);
        let routes = page.filter_map(|(prefix, routes)| router.route_entry(prefix, &routes)).collect();
        Ok(RouteList { total: rib.count_within(within) as u64, offset: show.offset, routes })
    }

    fn lookup(&mut self, lookup: Lookup) -> Result<LookupResult, Refusal> {
        let router = &self.router;
        let address = lookup.address;
        let nothing = LookupResult {
            address,
            adjacency: AdjacencyKind::NoRoute,
            prefix: None,
            source: None,
            via: None,
            port: None,
            mac: None,
            peer: None,
            path: None,
            overlay: self.overlay_of(address),
            multicast: self.multicast_of(address),
        };
        let Some((prefix, meaning)) = router.forwarding.lookup(address) else { return Ok(nothing) };
        let (adjacency, via, port) = adjacency(meaning.hop);
        // Our own addresses come before every overlay.
        let is_ours = matches!(adjacency, AdjacencyKind::Local | AdjacencyKind::Broadcast);
        let next_hop = port.map(|port| (port, via.unwrap_or(address)));
        Ok(LookupResult {
            adjacency,
            prefix: Some(prefix),
            source: router.forwarding.hop(address).map(|(_, source, _)| source),
            via,
            port: port.map(|port| router.port_name(port)),
            mac: next_hop.and_then(|key| router.neighbors.mac(key)).map(MacAddress),
            peer: router.pooled_to(Some(meaning)),
            path: router.hops_of(meaning, self.now),
            overlay: nothing.overlay.filter(|_| !is_ours),
            ..nothing
        })
    }

    fn port_show(&mut self, _: PortShow) -> Result<PortList, Refusal> {
        Ok(PortList { ports: self.router.hardware.ports(&self.router.config.ports) })
    }

    fn neighbor_add(&mut self, add: NeighborAdd) -> Result<Done, Refusal> {
        let key = (self.port_of(add.address, add.port.as_deref())?, add.address);
        if add.mac.is_multicast() || add.mac.0 == [0; 6] {
            return Err(Refusal::conflict(format!("{} is not the Ethernet address of a station", add.mac)));
        }
        self.router.neighbors.set_static(key, add.mac.0, self.now).map_err(|error| match error {
            NeighborError::NotOnLink(_) => Refusal::conflict(error.to_string()),
            NeighborError::Full(_) => Refusal::limit(error.to_string()),
        })?;
        self.router.socket_neighbors.insert(key);
        self.router.publish(false, self.now);
        Ok(Done {})
    }

    fn neighbor_del(&mut self, del: NeighborDel) -> Result<Done, Refusal> {
        let key = (self.port_of(del.address, del.port.as_deref())?, del.address);
        if !self.router.neighbors.forget(key) {
            return Err(Refusal::not_found(format!("there is no neighbour {}", del.address)));
        }
        // What the file says of a neighbour that was deleted is not heeded again; of one it does not name there is nothing
        // to remember.
        if self.router.config.neighbors.iter().any(|told| (PortIndex(told.port), told.address) == key) {
            self.router.socket_neighbors.insert(key);
        } else {
            self.router.socket_neighbors.remove(&key);
        }
        self.router.publish(false, self.now);
        Ok(Done {})
    }

    fn neighbor_show(&mut self, show: NeighborShow) -> Result<NeighborList, Refusal> {
        let views = self.router.neighbors.views();
        let total = views.len() as u64;
        let page = views.into_iter().skip(show.offset as usize).take(show.limit as usize);
        let neighbors = page.map(|view| NeighborEntry {
            address: view.address,
            mac: view.mac.map(MacAddress),
            port: self.router.port_name(view.port),
            state: match view.phase {
                Phase::Static | Phase::Reachable => NeighborState::Reachable,
                Phase::Incomplete { .. } => NeighborState::Incomplete,
                Phase::Stale => NeighborState::Stale,
                Phase::Probe { .. } => NeighborState::Probe,
                Phase::Failed => NeighborState::Failed,
            },
            age_ms: milliseconds(self.now.saturating_duration_since(view.since)),
            is_static: view.phase == Phase::Static,
        });
        Ok(NeighborList { total, offset: show.offset, neighbors: neighbors.collect() })
    }

    fn rule_add(&mut self, add: RuleAdd) -> Result<Done, Refusal> {
        let position = add.position.map(|position| position as usize);
        let rules = self.router.rules.with(added_rule(add)?, position)?;
        self.change_rules(rules)
    }

    fn rule_del(&mut self, del: RuleDel) -> Result<Done, Refusal> {
        let rules = self.router.rules.without(&del.name)?;
        self.change_rules(rules)
    }

    fn rule_show(&mut self, _: RuleShow) -> Result<RuleList, Refusal> {
        let entry = |(position, (rule, source)): (u32, (&config::Rule, Source))| rule_entry(position, rule, source);
        Ok(RuleList { rules: (0..).zip(self.router.rules.in_force()).map(entry).collect() })
    }

    fn multicast_add(&mut self, route: MulticastRoute) -> Result<RouteChanged, Refusal> {
        self.add_multicast(route)
    }

    fn multicast_del(&mut self, del: MulticastDel) -> Result<Done, Refusal> {
        self.del_multicast(del)
    }

    fn multicast_show(&mut self, _: MulticastShow) -> Result<MulticastList, Refusal> {
        Ok(self.list_multicast())
    }

    fn overlay_add(&mut self, route: OverlayRoute) -> Result<RouteChanged, Refusal> {
        self.add_overlay(route)
    }

    fn overlay_del(&mut self, del: OverlayDel) -> Result<Done, Refusal> {
        self.del_overlay(del)
    }

    fn overlay_show(&mut self, _: OverlayShow) -> Result<OverlayList, Refusal> {
        Ok(self.list_overlays())
    }

    fn path_add(&mut self, add: PathAdd) -> Result<PathChanged, Refusal> {
        let told = self.router.told_with(&add)?;
        let replaced = self.router.forwarding.paths().exact(add.prefix).is_some();
        self.change_path(add.prefix, told)?;
        Ok(PathChanged { replaced })
    }

    fn path_del(&mut self, del: PathDel) -> Result<Done, Refusal> {
        let paths = self.router.forwarding.paths();
        if paths.exact(del.prefix).is_none() {
            return Err(Refusal::not_found(format!("there is no path to exactly {}", del.prefix)));
        }
        let told = paths.told(del.prefix).deleted();
        self.change_path(del.prefix, told)?;
        Ok(Done {})
    }

    fn path_show(&mut self, show: PathShow) -> Result<PathList, Refusal> {
        Ok(self.router.path_list(&show, self.now))
    }

    fn peer_add(&mut self, add: PeerAdd) -> Result<Done, Refusal> {
        let told = self.router.told_peers.with(self.router.added_peer(add)?)?;
        self.router.change_peers(told, self.now);
        Ok(Done {})
    }

    fn peer_del(&mut self, del: PeerDel) -> Result<Done, Refusal> {
        let told = self.router.told_peers.without(&del.name)?;
        self.router.change_peers(told, self.now);
        Ok(Done {})
    }

    fn peer_show(&mut self, _: PeerShow) -> Result<PeerList, Refusal> {
        let router = &self.router;
        let configured = router.config.peers.iter().filter_map(|peer| router.peers.index_of(peer.address));
        let peers = configured.filter_map(|index| router.peers.get(index));
        Ok(PeerList { peers: peers.map(|peer| router.peer_entry(peer, self.now)).collect() })
    }

    fn template_add(&mut self, add: TemplateAdd) -> Result<Done, Refusal> {
        self.add_template(&add)
    }

    fn template_del(&mut self, del: TemplateDel) -> Result<Done, Refusal> {
        self.del_template(&del)
    }

    fn template_show(&mut self, _: TemplateShow) -> Result<TemplateList, Refusal> {
        Ok(self.router.template_list())
    }

    fn stream_add(&mut self, stream: Stream) -> Result<Done, Refusal> {
        let streams = self.router.with_stream(stream)?;
        Ok(self.change_streams(streams))
    }

    fn stream_del(&mut self, del: StreamDel) -> Result<Done, Refusal> {
        let streams = self.router.streams.without(del.id, &del.peer)?;
        Ok(self.change_streams(streams))
    }

    fn stream_show(&mut self, show: StreamShow) -> Result<StreamList, Refusal> {
        Ok(self.router.stream_list(&show))
    }

    fn stats(&mut self, show: StatsShow) -> Result<Stats, Refusal> {
        let counters: Vec<_> = self.router.workers.iter().map(|worker| worker.shared.counters.load()).collect();
        Ok(Stats::of(&counters, show.drops, self.router.hardware.mempools()))
    }

    fn stages(&mut self, show: StagesShow) -> Result<Stages, Refusal> {
        if show.for_ms > STAGES_MAX_MS {
            let problem = format!("for_ms {}: expected at most {STAGES_MAX_MS}", show.for_ms);
            return Err(Refusal::conflict(problem));
        }
        let rate = self.router.rate;
        let until = arch::now() + rate.ticks(Duration::from_millis(show.for_ms.into()));
        let of = |(index, worker): (u32, &WorkerLink)| {
            worker.shared.time_stages(until);
            WorkerStages::of(index, &worker.shared.counters.load())
        };
        Ok(Stages { ticks_per_second: rate.hz(), workers: (0..).zip(&self.router.workers).map(of).collect() })
    }

    fn status(&mut self, _: StatusShow) -> Result<Status, Refusal> {
        let router = &self.router;
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let memory = router.forwarding.fib_memory();
        let idle = match router.config.dataplane.idle {
            Idle::Adaptive => "adaptive",
            Idle::Spin => "spin",
        };
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_ms: milliseconds(self.now.saturating_duration_since(router.started)),
            config: router.config_path.display().to_string(),
            cores: router.cores.clone(),
            idle: idle.into(),
            routes: count(router.forwarding.rib().count()),
            neighbors: count(router.neighbors.len()),
            rules: count(router.rules.in_force().len()),
            peers_up: count(router.peers.iter().filter(|(_, peer)| peer.state(self.now).is_ok()).count()),
            peers: count(router.peers.iter().count()),
            fib: Fib {
                prefixes: count(router.forwarding.leaf_count()),
                used_bytes: count(memory.used),
                retired_bytes: count(memory.retired),
            },
            refused_changes: router.refused_changes.count(),
        })
    }

    fn version(&mut self, _: VersionShow) -> Result<Version, Refusal> {
        Ok(Version { version: env!("CARGO_PKG_VERSION").into(), dpdk: carpool_dataplane::dpdk::version() })
    }

    fn pool_show(&mut self, show: PoolShow, answer: Answer<PoolReport>) {
        self.router.ask_for_open_pools(show, answer, self.now);
    }
}
