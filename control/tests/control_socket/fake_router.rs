//! A router that only pretends: it keeps routes in a list, and answers the rest with constants.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use carpool_control::api::command::Done;
use carpool_control::api::lookup::{Lookup, LookupResult};
use carpool_control::api::multicast::{MulticastDel, MulticastList, MulticastRoute, MulticastShow};
use carpool_control::api::neighbor::{
    NeighborAdd, NeighborDel, NeighborEntry, NeighborList, NeighborShow, NeighborState,
};
use carpool_control::api::overlay::{OverlayDel, OverlayList, OverlayRoute, OverlayShow};
use carpool_control::api::path::{PathAdd, PathChanged, PathDel, PathEntry, PathHop, PathList, PathShow};
use carpool_control::api::peer::{PeerAdd, PeerDel, PeerList, PeerShow};
use carpool_control::api::pool::{PoolReport, PoolShow, PoolTotals};
use carpool_control::api::port::{PortList, PortShow};
use carpool_control::api::route::{
    AdjacencyKind, Route, RouteAdd, RouteChanged, RouteDel, RouteEntry, RouteList, RouteLoad, RouteLoaded, RouteShow,
    RouteTarget, Source,
};
use carpool_control::api::rule::{RuleAdd, RuleDel, RuleEntry, RuleList, RuleShow};
use carpool_control::api::stages::{Stages, StagesShow, WorkerStages};
use carpool_control::api::stats::{Stats, StatsShow};
use carpool_control::api::status::{Status, StatusShow, Version, VersionShow};
use carpool_control::api::stream::{Stream, StreamDel, StreamEntry, StreamList, StreamShow};
use carpool_control::api::template::{TemplateAdd, TemplateDel, TemplateEntry, TemplateList, TemplateShow};
use carpool_control::api::{Answer, Call, Handler, Limits, Refusal, Ring, Server};
use carpool_dataplane::worker::{Counter, Counters, Drop as DropReason};
use crossbeam::channel::Receiver;

/// A bell that nobody hears: the fake control thread waits on the channel itself.
pub struct Silent;

impl Ring for Silent {
    fn ring(&self) {}
}

/// A directory of a test's own, removed at its end.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Directory {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("carpool-control-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a fresh directory");
        Directory(path)
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server at `path` whose calls nobody takes.
pub fn listen(path: &Path, limits: Limits) -> (Server, Receiver<Call>) {
    Server::listen(path, limits, Arc::new(Silent)).expect("the server listens")
}

/// A server with a pretending router behind it.
pub struct FakeRouter {
    directory: Directory,
    server: Option<Server>,
    control: Option<JoinHandle<State>>,
}

impl FakeRouter {
    pub fn start(limits: Limits) -> FakeRouter {
        let directory = Directory::new();
        let (server, calls) = listen(&directory.socket(), limits);
        let control = thread::spawn(move || {
            let mut state = State::default();
            for call in calls {
                call.serve(&mut state);
            }
            state
        });
        FakeRouter { directory, server: Some(server), control: Some(control) }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.socket()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.0.join(name)
    }

    /// Stops it and returns what it came to know.
    pub fn stop(mut self) -> State {
        self.server = None;
        self.control.take().expect("it runs").join().expect("the control thread did not panic")
    }
}

/// What the router knows.
#[derive(Default)]
pub struct State {
    pub routes: Vec<Route>,
    pub loads: Vec<(usize, bool)>,
    pub rules: Vec<RuleAdd>,
    pub paths: Vec<PathAdd>,
    pub peers: Vec<PeerAdd>,
    pub neighbors: Vec<NeighborAdd>,
    pub streams: Vec<Stream>,
    pub templates: Vec<TemplateAdd>,
    /// For how long stages were to be measured, in milliseconds, each time.
    pub stages_asked: Vec<u32>,
}

impl Handler for State {
    fn route_add(&mut self, route: RouteAdd) -> Result<RouteChanged, Refusal> {
        if route.target == RouteTarget::Via([192, 0, 2, 99].into()) {
            return Err(Refusal::conflict("route 10.0.0.0/8: 192.0.2.99 is on no link of this router"));
        }
        let before = self.routes.len();
        self.routes.retain(|known| known.prefix != route.prefix);
        let replaced = self.routes.len() < before;
        self.routes.push(route);
        Ok(RouteChanged { replaced })
    }

    fn route_del(&mut self, route: RouteDel) -> Result<Done, Refusal> {
        let before = self.routes.len();
        self.routes.retain(|known| known.prefix != route.prefix);
        if self.routes.len() < before {
            Ok(Done {})
        } else {
            Err(Refusal::not_found(format!("route {}: there is none", route.prefix)))
        }
    }

    fn route_show(&mut self, show: RouteShow) -> Result<RouteList, Refusal> {
        let fits = |route: &&Route| show.prefix.is_none_or(|prefix| prefix.contains(&route.prefix));
        let entry = |route: &Route| RouteEntry {
            prefix: route.prefix,
            adjacency: match route.target {
                RouteTarget::Via(_) | RouteTarget::OnLink(..) => AdjacencyKind::Via,
                RouteTarget::Blackhole => AdjacencyKind::Blackhole,
                RouteTarget::Unreachable => AdjacencyKind::Unreachable,
            },
            via: match route.target {
                RouteTarget::Via(gateway) => Some(gateway),
                RouteTarget::OnLink(gateway, _) => Some(gateway.into()),
                _ => None,
            },
            port: None,
            peer: None,
            source: Source::Socket,
        };
        let total = self.routes.iter().filter(fits).count() as u64;
        let page = self.routes.iter().filter(fits).skip(show.offset as usize).take(show.limit as usize);
        Ok(RouteList { total, offset: show.offset, routes: page.map(entry).collect() })
    }

    fn lookup(&mut self, lookup: Lookup) -> Result<LookupResult, Refusal> {
        Ok(LookupResult {
            address: lookup.address,
            adjacency: AdjacencyKind::NoRoute,
            prefix: None,
            source: None,
            via: None,
            port: None,
            mac: None,
            peer: None,
            path: None,
            overlay: None,
            multicast: vec![],
        })
    }

    fn port_show(&mut self, _: PortShow) -> Result<PortList, Refusal> {
        Ok(PortList { ports: vec![] })
    }

    fn neighbor_add(&mut self, neighbor: NeighborAdd) -> Result<Done, Refusal> {
        self.neighbors.push(neighbor);
        Ok(Done {})
    }

    fn neighbor_del(&mut self, neighbor: NeighborDel) -> Result<Done, Refusal> {
        self.neighbors.retain(|known| known.address != neighbor.address);
        Ok(Done {})
    }

    fn neighbor_show(&mut self, show: NeighborShow) -> Result<NeighborList, Refusal> {
        let entry = |neighbor: &NeighborAdd| NeighborEntry {
            address: neighbor.address,
            mac: Some(neighbor.mac),
            port: neighbor.port.clone().unwrap_or_default(),
            state: NeighborState::Reachable,
            age_ms: 0,
            is_static: true,
        };
        let neighbors = self.neighbors.iter().skip(show.offset as usize).take(show.limit as usize).map(entry).collect();
        Ok(NeighborList { total: self.neighbors.len() as u64, offset: show.offset, neighbors })
    }

    fn rule_add(&mut self, rule: RuleAdd) -> Result<Done, Refusal> {
        if self.rules.iter().any(|known| known.name == rule.name) {
            return Err(Refusal::exists(format!("rule {:?} is there already", rule.name)));
        }
        self.rules.push(rule);
        Ok(Done {})
    }

    fn rule_del(&mut self, rule: RuleDel) -> Result<Done, Refusal> {
        self.rules.retain(|known| known.name != rule.name);
        Ok(Done {})
    }

    fn rule_show(&mut self, _: RuleShow) -> Result<RuleList, Refusal> {
        let entry = |(position, rule): (u32, &RuleAdd)| RuleEntry {
            position,
            name: rule.name.clone(),
            matches: rule.matches,
            pool: rule.pool,
            max_size_bytes: rule.max_size_bytes,
            window_us: rule.window_us,
            max_count: rule.max_count.or(Some(255)),
            required_count: rule.required_count,
            hold_us: rule.hold_us,
            adaptive: Some(rule.adaptive),
            shared_hops: rule.shared_hops,
            path_mtu: rule.path_mtu,
            lone: rule.lone,
            representation: rule.representation,
            index: rule.index,
            template: rule.template,
            source: Source::Socket,
        };
        Ok(RuleList { rules: (0..).zip(&self.rules).map(entry).collect() })
    }

    fn multicast_add(&mut self, _: MulticastRoute) -> Result<RouteChanged, Refusal> {
        Ok(RouteChanged { replaced: false })
    }

    fn multicast_del(&mut self, _: MulticastDel) -> Result<Done, Refusal> {
        Ok(Done {})
    }

    fn multicast_show(&mut self, _: MulticastShow) -> Result<MulticastList, Refusal> {
        Ok(MulticastList { multicast: vec![] })
    }

    fn overlay_add(&mut self, _: OverlayRoute) -> Result<RouteChanged, Refusal> {
        Ok(RouteChanged { replaced: false })
    }

    fn overlay_del(&mut self, _: OverlayDel) -> Result<Done, Refusal> {
        Ok(Done {})
    }

    fn overlay_show(&mut self, _: OverlayShow) -> Result<OverlayList, Refusal> {
        Ok(OverlayList { overlays: vec![] })
    }

    fn path_add(&mut self, path: PathAdd) -> Result<PathChanged, Refusal> {
        let before = self.paths.len();
        self.paths.retain(|known| known.prefix != path.prefix);
        let replaced = self.paths.len() < before;
        self.paths.push(path);
        Ok(PathChanged { replaced })
    }

    fn path_del(&mut self, path: PathDel) -> Result<Done, Refusal> {
        self.paths.retain(|known| known.prefix != path.prefix);
        Ok(Done {})
    }

    fn path_show(&mut self, show: PathShow) -> Result<PathList, Refusal> {
        let entry = |path: &PathAdd| PathEntry {
            prefix: path.prefix,
            hops: path
                .hops
                .iter()
                .map(|address| PathHop { address: *address, peer: None, ttl: None, reason: None })
                .collect(),
            peer: None,
            reason: Some("none of its hops is a peer".to_owned()),
            source: Source::Socket,
        };
        let page = self.paths.iter().skip(show.offset as usize).take(show.limit as usize);
        Ok(PathList { total: self.paths.len() as u64, offset: show.offset, paths: page.map(entry).collect() })
    }

    fn peer_add(&mut self, peer: PeerAdd) -> Result<Done, Refusal> {
        self.peers.push(peer);
        Ok(Done {})
    }

    fn peer_del(&mut self, peer: PeerDel) -> Result<Done, Refusal> {
        let before = self.peers.len();
        self.peers.retain(|known| known.name != peer.name);
        if self.peers.len() < before {
            Ok(Done {})
        } else {
            Err(Refusal::not_found(format!("there is no peer {:?}", peer.name)))
        }
    }

    fn peer_show(&mut self, _: PeerShow) -> Result<PeerList, Refusal> {
        Ok(PeerList { peers: vec![] })
    }

    fn stream_add(&mut self, stream: Stream) -> Result<Done, Refusal> {
        self.streams.push(stream);
        Ok(Done {})
    }

    fn stream_del(&mut self, del: StreamDel) -> Result<Done, Refusal> {
        let before = self.streams.len();
        self.streams.retain(|known| (known.id, &known.peer) != (del.id, &del.peer));
        if self.streams.len() < before {
            Ok(Done {})
        } else {
            Err(Refusal::not_found(format!("there is no stream {} of peer {:?}", del.id, del.peer)))
        }
    }

    fn stream_show(&mut self, show: StreamShow) -> Result<StreamList, Refusal> {
        let entry = |stream: &Stream| StreamEntry {
            id: stream.id,
            peer: stream.peer.clone(),
            source: stream.source,
            destination: stream.destination,
            dscp: stream.dscp,
            ttl: stream.ttl,
            reason: None,
            put_by: Source::Socket,
        };
        let shown = self.streams.iter().filter(|stream| show.peer.as_ref().is_none_or(|peer| stream.peer == *peer));
        let page = shown.clone().skip(show.offset as usize).take(show.limit as usize);
        let total = shown.clone().count() as u64;
        Ok(StreamList { total, offset: show.offset, streams: page.map(entry).collect() })
    }

    fn template_add(&mut self, template: TemplateAdd) -> Result<Done, Refusal> {
        self.templates.push(template);
        Ok(Done {})
    }

    fn template_del(&mut self, del: TemplateDel) -> Result<Done, Refusal> {
        let before = self.templates.len();
        self.templates.retain(|known| known.id != del.id);
        if self.templates.len() < before {
            Ok(Done {})
        } else {
            Err(Refusal::not_found(format!("there is no template {}", del.id)))
        }
    }

    fn template_show(&mut self, _: TemplateShow) -> Result<TemplateList, Refusal> {
        let entry = |template: &TemplateAdd| TemplateEntry {
            id: template.id,
            lengths: template.lengths.clone(),
            rules: vec![],
            source: Source::Socket,
        };
        Ok(TemplateList { templates: self.templates.iter().map(entry).collect() })
    }

    fn stats(&mut self, show: StatsShow) -> Result<Stats, Refusal> {
        let mut counters = Counters::default();
        counters.add(Counter::In, 3);
        counters.add(Counter::Out, 1);
        counters.dropped(DropReason::NoRoute, 2);
        Ok(Stats::of(&[counters], show.drops, vec![]))
    }

    /// A worker that measures five packets and 500 ticks between two questions.
    fn stages(&mut self, show: StagesShow) -> Result<Stages, Refusal> {
        self.stages_asked.push(show.for_ms);
        let asked = self.stages_asked.len() as u64;
        let ticks = [("rx".into(), 100 * asked), ("lookup".into(), 400 * asked)].into_iter().collect();
        let worker = WorkerStages { index: 0, iterations: asked, received: 5 * asked, out: 5 * asked, ticks };
        Ok(Stages { ticks_per_second: 1000, workers: vec![worker] })
    }

    fn status(&mut self, _: StatusShow) -> Result<Status, Refusal> {
        Err(Refusal::conflict("a pretending router has no status"))
    }

    fn version(&mut self, _: VersionShow) -> Result<Version, Refusal> {
        Ok(Version { version: "0.1.0".to_owned(), dpdk: "22.11".to_owned() })
    }

    fn pool_show(&mut self, _: PoolShow, answer: Answer<PoolReport>) {
        // As the router does, which first asks its workers.
        let report = PoolReport { totals: PoolTotals::default(), workers: vec![], open: vec![], received_from: vec![] };
        thread::spawn(move || answer.send(Ok(report)));
    }

    fn route_load(&mut self, load: RouteLoad) -> Result<RouteLoaded, Refusal> {
        self.loads.push((load.routes.len(), load.replace));
        let count = load.routes.len() as u64;
        self.routes.extend(load.routes);
        Ok(RouteLoaded { routes: count, changed: count, seconds: 0.5 })
    }
}
