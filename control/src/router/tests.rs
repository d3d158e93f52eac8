use super::handler::Client;
use super::*;
use arrayvec::ArrayVec;
use carpool_dataplane::dpdk::{Waiter, WakeHandle};
use carpool_dataplane::fib::PeerIndex;
use carpool_dataplane::fib::{
    Adjacency, Entry, EntryId, FibOptions, Lpm4, Lpm6, PathIndex, Reader, lpm4_with, lpm6_with,
};
use carpool_dataplane::packet::arp::Arp;
use carpool_dataplane::packet::ipv4::Ipv4Header;
use carpool_dataplane::packet::{ethernet, icmp, too_big};
use carpool_dataplane::pool::Format;
use carpool_dataplane::pool::hello::{Capabilities, HELLO_LEN};
use carpool_dataplane::pool::simplemux::Flavour;
use carpool_dataplane::worker::Inject;
use carpool_dataplane::worker::{Bell, WorkerShared};
use std::net::Ipv4Addr;

use crate::api::neighbor::{NeighborAdd, NeighborDel};
use crate::api::path::PathShow;
use crate::api::peer::{PathMtuSource, PeerFormat, PeerShow, PeerState};
use crate::api::route::{Route, RouteDel, RouteLoad, RouteShow, RouteTarget, Source};
use crate::api::rule::{RuleDel, RuleShow};
use crate::api::status::StatusShow;
use crate::api::text::MacAddress;
use crate::api::{Handler, RefusalKind};
use crate::config::parse;

/// Two ports, a peer two hops away behind the first, a path to it, a rule.
pub(super) const CONFIG: &str = r#"
[[port]]
name = "west"
device = "net_null0"
address = ["192.0.2.1/24"]

[[port]]
name = "east"
device = "net_null1"
address = ["10.0.0.1/24"]
mtu = 1400

[[route]]
prefix = "203.0.113.0/24"
via = "192.0.2.2"

[[route]]
prefix = "198.51.100.0/24"
via = "192.0.2.2"

[[peer]]
name = "far"
address = "198.51.100.7"

[[path]]
prefix = "203.0.113.0/24"
hops = ["192.0.2.2", "198.51.100.7"]

[[rule]]
name = "voice"
match = { protocol = "udp" }
max_size = "300B"
window = "2ms"
"#;

pub(super) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
const GATEWAY: Key = (PortIndex(0), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)));
pub(super) const INSTANCE: u32 = 77;
/// What peers say.
pub(super) const HELLO: Hello = Hello {
    sequence: 1,
    outer_ttl: 64,
    router_id: 5,
    instance: 6,
    heard_instance: INSTANCE,
    interval_ms: 200,
    capabilities: Capabilities(Capabilities::WHOLE_IPV4.0 | Capabilities::ON_THE_WAY.0),
    largest_pooled_packet: 1500,
    longest_hello: 0,
};
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

struct NoHardware;

impl Hardware for NoHardware {
    fn ports(&self, _: &[config::Port]) -> Vec<PortEntry> {
        Vec::new()
    }

    fn mempools(&self) -> Vec<Mempool> {
        Vec::new()
    }

    fn macs(&self) -> Vec<[u8; 6]> {
        vec![[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]]
    }
}

/// A router with one worker, which is the test.
pub(super) struct Bench {
    pub router: Router,
    pub published: Published<RouterState>,
    pub table: Arc<Lpm4>,
    pub table6: Arc<Lpm6>,
    pub reader: Reader,
    shared: Arc<WorkerShared>,
    pub now: Instant,
    /// Of the last hello that came.
    sequence: u32,
    _wake: WakeHandle,
}

impl Bench {
    pub fn new(text: &str) -> Bench {
        Bench::with(text, FibOptions::default())
    }

    pub fn with(text: &str, options: FibOptions) -> Bench {
        let config = parse(text, "c.toml").expect("a sound configuration");
        let domain = Domain::new(1);
        let (fib, table) = lpm4_with(&domain, options).expect("address space");
        let (fib6, table6) = lpm6_with(&domain, options).expect("address space");
        let reader = domain.reader().expect("one slot");
        let now = Instant::now();
        let identity = Identity { router_id: config.router_id, instance: INSTANCE };
        let parts = Parts {
            config,
            config_path: "c.toml".into(),
            cores: vec![1],
            identity,
            rate: TickRate::NANOSECONDS,
            hardware: Box::new(NoHardware),
            domain,
            fib,
            fib6,
        };
        let (mut router, published) = Router::new(parts, now).expect("it fits");
        let shared = WorkerShared::new(Bell::new().expect("a descriptor"));
        let (_, wake) = Waiter::new(&[]).expect("a descriptor");
        router.attach(vec![WorkerLink { shared: Arc::clone(&shared), wake: wake.clone() }]);
        Bench { router, published, table, table6, reader, shared, now, sequence: 0, _wake: wake }
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.router.hear_workers(self.now);
        self.router.tick(self.now);
    }

    pub fn client(&mut self) -> Client<'_> {
        Client { router: &mut self.router, now: self.now }
    }

    pub fn tell(&mut self, event: Event) {
        assert!(self.shared.events.push(event).is_ok());
        self.pass(Duration::ZERO);
    }

    /// A hello from the peer that says whose it hears.
    pub fn hello(&mut self, heard_instance: u32) {
        self.hello_of_one_that_takes(1500, heard_instance);
    }

    fn hello_of_one_that_takes(&mut self, largest_pooled_packet: u16, heard_instance: u32) {
        self.hello_from(PEER, Hello { largest_pooled_packet, heard_instance, ..HELLO });
    }

    pub fn hello_from(&mut self, from: impl Into<IpAddr>, hello: Hello) {
        let mut bytes = [0; HELLO_LEN];
        self.sequence += 1;
        Hello { sequence: self.sequence, ..hello }.write(&mut bytes);
        let mut payload = ArrayVec::new();
        payload.try_extend_from_slice(&bytes).expect("room");
        let hello = HeardHello { from: from.into(), ttl: 62, length: 56, payload };
        assert!(self.shared.hellos.push(hello).is_ok());
        self.pass(Duration::ZERO);
    }

    /// The entry and the generation of pools that a worker would use for an address.
    pub fn entry(&mut self, address: [u8; 4]) -> (Entry, u64) {
        let id: EntryId = self.table.lookup(self.reader.enter(), address.into());
        let state = self.state();
        (state.entry(id), state.pools)
    }

    /// The entry that a worker would use for an address of either family.
    pub fn entry_of(&mut self, address: IpAddr) -> Entry {
        let id = match address {
            IpAddr::V4(address) => self.table.lookup(self.reader.enter(), address),
            IpAddr::V6(address) => self.table6.lookup(self.reader.enter(), address),
        };
        self.state().entry(id)
    }

    /// What a worker would see; it blocks again afterwards.
    pub fn state(&mut self) -> RouterState {
        let state = self.published.load(self.reader.enter()).expect("the same domain").clone();
        self.reader.offline();
        state
    }

    pub fn injected(&mut self) -> Vec<Inject> {
        std::iter::from_fn(|| self.shared.injects.pop()).collect()
    }

    /// The beginnings of the padded hellos that were sent.
    pub fn probes(&mut self) -> Vec<Vec<u8>> {
        let probes = self.injected().into_iter().filter(|inject| inject.padding > 0);
        probes.map(|inject| inject.bytes.to_vec()).collect()
    }

    /// Finds a path MTU of 1500 to a peer, and passes the time until that is confirmed.
    pub fn unanswered_probe(&mut self, peer: impl Into<IpAddr>) -> Vec<u8> {
        let peer = peer.into();
        self.hello_from(peer, Hello { longest_hello: 56, ..HELLO });
        self.hello_from(peer, Hello { longest_hello: 1500, ..HELLO });
        assert_eq!(self.path_mtu(), Some(1500));
        self.injected();
        for _ in 0..5 {
            self.pass(Duration::from_millis(200));
            self.hello_from(peer, Hello { longest_hello: 56, ..HELLO });
        }
        let probe = self.probes().pop().expect("what was found is confirmed");
        assert_eq!(self.path_mtu(), Some(1500));
        probe
    }

    /// Whether a router that says so is believed enough for another probe.
    pub fn is_told_of_less(&mut self, too_big: TooBig) -> bool {
        let before = self.path_mtu();
        self.tell(Event::PacketTooBig(too_big));
        assert_eq!(self.path_mtu(), before);
        !self.shared.injects.is_empty()
    }

    /// The largest pooled packet to the first peer.
    pub fn path_mtu(&mut self) -> Option<u16> {
        self.state().peers.get(PeerIndex(0)).map(|peer| peer.path.mtu)
    }

    /// The hellos that were sent to the peer.
    fn hellos(&mut self) -> Vec<Hello> {
        let packets = self.injected().into_iter().filter(|inject| inject.target == InjectTarget::Routed);
        let hello = |inject: Inject| {
            let header = Ipv4Header::parse(&inject.bytes).expect("a sound packet");
            assert_eq!((IpAddr::V4(header.src), IpAddr::V4(header.dst)), (IpAddr::from([192, 0, 2, 1]), PEER));
            let payload = header.payload(&inject.bytes).expect("a payload");
            Hello::parse(&payload[8..]).expect("a hello")
        };
        packets.map(hello).collect()
    }

    pub fn reload(&mut self, text: &str) -> Result<(), ReloadError> {
        let config = parse(text, "c.toml").expect("a sound configuration");
        self.router.apply(config, self.now)
    }
}

pub(super) fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

pub(super) fn route(prefix: &str, gateway: [u8; 4]) -> Route {
    Route { prefix: net(prefix), target: RouteTarget::Via(gateway.into()) }
}

#[test]
fn the_configuration_is_in_force_before_the_first_worker_looks() {
    let mut bench = Bench::new(CONFIG);
    assert_eq!(bench.entry([192, 0, 2, 1]).0.adjacency, Adjacency::Local);
    assert_eq!(bench.entry([192, 0, 2, 255]).0.adjacency, Adjacency::Broadcast);
    assert_eq!(bench.entry([10, 0, 0, 9]).0.adjacency, Adjacency::Connected { port: PortIndex(1) });
    let (entry, _) = bench.entry([203, 0, 113, 9]);
    let Adjacency::Via { port, gateway } = entry.adjacency else { panic!("{entry:?}") };
    let state = bench.state();
    let neighbour = state.neighbours.get(gateway).expect("its gateway is there");
    assert_eq!((port, neighbour.address, neighbour.mac), (GATEWAY.0, GATEWAY.1, None));
    let path = state.peers.get(PeerIndex(0)).expect("the peer").path;
    assert_eq!((path.addressee, path.source), (PEER, IpAddr::from([192, 0, 2, 1])));
    assert_eq!(path.mtu, 1500);
    assert_eq!(state.path(PathIndex(0)).map(|path| path.addressee), Some(None), "it is not known to live");
}

#[test]
fn packets_are_pooled_while_the_peer_lives() {
    let mut bench = Bench::new(CONFIG);
    let (entry, first) = bench.entry([203, 0, 113, 9]);
    assert_eq!(entry.path, None);
    bench.hello(INSTANCE);
    let (entry, second) = bench.entry([203, 0, 113, 9]);
    assert_eq!(entry.path, Some(PathIndex(0)));
    assert!(second > first, "open pools are flushed at the change");
    let end = bench.router.deadline(bench.now).expect("something to do");
    assert!(end <= bench.now + Duration::from_millis(200));
    bench.pass(Duration::from_millis(599));
    assert_eq!(bench.entry([203, 0, 113, 9]).0.path, Some(PathIndex(0)));
    bench.pass(Duration::from_millis(1));
    let (entry, third) = bench.entry([203, 0, 113, 9]);
    assert_eq!(entry.path, None, "it was silent for three intervals");
    assert!(third > second);
}

#[test]
fn pooled_packets_are_no_larger_than_the_peer_takes() {
    let mut bench = Bench::new(CONFIG);
    let mut before = 0;
    for (takes, mtu) in [(1200, 1200), (9000, 1500), (0, 1500), (1, 128)] {
        bench.hello_of_one_that_takes(takes, INSTANCE);
        let state = bench.state();
        assert_eq!(state.peers.get(PeerIndex(0)).map(|peer| peer.path.mtu), Some(mtu), "it says {takes}");
        let same = takes == 0;
        assert!(state.pools > before || same, "open pools are flushed at the change");
        before = state.pools;
    }
    let announced: Vec<_> = bench.hellos().iter().map(|hello| hello.largest_pooled_packet).collect();
    assert_eq!(announced.first(), Some(&1500), "the largest MTU of our ports");
}

#[test]
fn the_path_mtu_is_searched_for_up_to_the_mtu_of_the_port() {
    let mut bench = Bench::new(&CONFIG.replace("net_null0\"", "net_null0\"\nmtu = 9000"));
    bench.injected();
    bench.hello_from(PEER, Hello { largest_pooled_packet: 9000, longest_hello: 56, ..HELLO });
    let mtu = |bench: &mut Bench| bench.state().peers.get(PeerIndex(0)).map(|peer| peer.path.mtu);
    assert_eq!(mtu(&mut bench), Some(1200), "nothing longer has arrived yet");
    let known = |bench: &mut Bench| bench.client().peer_show(PeerShow {}).expect("answered").peers[0].path_mtu_source;
    assert_eq!(known(&mut bench), PathMtuSource::Probing);
    let probes: Vec<_> =
        bench.injected().iter().map(|inject| inject.bytes.len() + usize::from(inject.padding)).collect();
    assert_eq!(probes, [56, 9000]);
    bench.hello_from(PEER, Hello { largest_pooled_packet: 9000, longest_hello: 9000, ..HELLO });
    assert_eq!((mtu(&mut bench), known(&mut bench)), (Some(9000), PathMtuSource::Probed));
    bench.pass(Duration::from_millis(600));
    bench.hello_from(PEER, HELLO);
    assert_eq!(mtu(&mut bench), Some(1500), "it was away, and does not say what arrives");
}

/// What a router says of a packet that was too long for it.
fn too_big(packet: &[u8], next_hop_mtu: u16) -> TooBig {
    let (router, us) = ([10, 9, 9, 9].into(), [192, 0, 2, 1].into());
    let mut out = [0; icmp::MAX_ERROR_LEN];
    let kind = icmp::ErrorKind::FragmentationNeeded { next_hop_mtu };
    let length = icmp::write_error(kind, packet, router, us, &mut out).expect("room");
    too_big::fragmentation_needed(&out[20..length]).expect("a datagram")
}

#[test]
fn a_router_on_the_way_that_quotes_a_probe_lowers_the_path_mtu() {
    let mut bench = Bench::new(CONFIG);
    let probe = bench.unanswered_probe(PEER);
    // Source, destination, either port, kind, sequence number, length: not what we sent.
    for position in [12, 16, 20, 21, 22, 23, 28, 35, 3] {
        let mut other = probe.clone();
        other[position] ^= 1;
        assert!(!bench.is_told_of_less(too_big(&other, 1300)), "byte {position}");
    }
    assert!(bench.is_told_of_less(too_big(&probe, 1300)));
    assert_eq!(bench.path_mtu(), Some(1500), "it is asked once more");
    let probe = bench.probes().pop().expect("another probe");
    bench.tell(Event::PacketTooBig(too_big(&probe, 1300)));
    assert_eq!(bench.path_mtu(), Some(1300));
}

#[test]
fn a_router_on_the_way_that_quotes_a_pooled_packet_has_the_path_mtu_tried() {
    let mut bench = Bench::new(CONFIG);
    let mut quoted = bench.unanswered_probe(PEER);
    // From the first port of the first worker, kind 0, of another length than any hello.
    quoted[20..22].copy_from_slice(&7665u16.to_be_bytes());
    quoted[28] = 0x10;
    quoted[2..4].copy_from_slice(&1280u16.to_be_bytes());
    assert!(!bench.is_told_of_less(too_big(&quoted, 1280)), "it fits");
    assert!(!bench.is_told_of_less(too_big(&quoted, 1500)), "that is no less");
    let mut early = quoted.clone();
    early[20..22].copy_from_slice(&7663u16.to_be_bytes());
    assert!(!bench.is_told_of_less(too_big(&early, 1200)), "no worker sends from that port");
    assert!(bench.is_told_of_less(too_big(&quoted, 1200)));
    assert_eq!(bench.path_mtu(), Some(1500));
}

#[test]
fn packets_are_not_pooled_while_the_peer_is_reached_another_way() {
    let mut bench = Bench::new(CONFIG);
    bench.hello(INSTANCE);
    bench.client().route_add(route("198.51.100.7/32", [10, 0, 0, 2])).expect("possible");
    assert_eq!(bench.entry([203, 0, 113, 9]).0.path, None);
    let show = PathShow { prefix: None, offset: 0, limit: 10 };
    let paths = bench.client().path_show(show).expect("answered").paths;
    let reason = "packets to peer far leave by 10.0.0.2, not by 192.0.2.2";
    assert_eq!(paths.first().and_then(|path| path.reason.as_deref()), Some(reason));
    let peers = bench.client().peer_show(PeerShow {}).expect("answered").peers;
    let peer = peers.first().expect("the peer");
    assert_eq!((peer.path_mtu, peer.source), (1400, Some(IpAddr::from([10, 0, 0, 1]))), "as of the port towards it");
    bench.client().route_del(RouteDel { prefix: net("198.51.100.7/32") }).expect("possible");
    assert_eq!(bench.entry([203, 0, 113, 9]).0.path, Some(PathIndex(0)));
}

#[test]
fn hellos_leave_for_the_peer_and_say_whom_we_hear() {
    let mut bench = Bench::new(CONFIG);
    bench.pass(Duration::ZERO);
    bench.hello(0);
    let heard: Vec<_> = bench.hellos().iter().map(|hello| hello.heard_instance).collect();
    assert_eq!(heard, [0, 6], "the second one at once, when the peer was first heard");
    let peers = bench.client().peer_show(PeerShow {}).expect("answered").peers;
    assert_eq!(peers.first().map(|peer| peer.state), Some(PeerState::Down), "it does not hear us yet");
}

#[test]
fn every_one_of_many_peers_gets_its_hellos_from_a_worker_that_sends_a_few_at_a_time() {
    let address = |last: u16| Ipv4Addr::from_bits(0xc633_6400 + u32::from(last));
    let peers = (0..1024).map(|last| format!("[[peer]]\nname = \"p{last}\"\naddress = \"{}\"\n", address(last)));
    let config = CONFIG
        .replace("198.51.100.0/24", "198.51.96.0/20")
        .replace("address = \"198.51.100.7\"", "address = \"10.0.0.9\"");
    let mut bench = Bench::new(&(config + &peers.skip(1).collect::<String>()));
    let mut got: HashMap<Ipv4Addr, u32> = HashMap::new();
    for _ in 0..600 {
        bench.pass(Duration::from_millis(1));
        for _ in 0..16 {
            let Some(inject) = bench.shared.injects.pop() else { break };
            let header = Ipv4Header::parse(&inject.bytes).expect("a sound packet");
            *got.entry(header.dst).or_default() += 1;
        }
    }
    for last in 1..1024 {
        let count = got.get(&address(last)).copied().unwrap_or_default();
        assert!((2..=4).contains(&count), "{count} hellos to {}", address(last));
    }
    assert_eq!(bench.shared.refused(), 0);
}

#[test]
fn a_hello_that_finds_all_rings_full_is_sent_when_there_is_room() {
    let mut bench = Bench::new(CONFIG);
    let frame = || Inject { target: InjectTarget::Frame(PortIndex(0)), bytes: ArrayVec::new(), padding: 0 };
    while bench.shared.injects.push(frame()).is_ok() {}
    bench.pass(Duration::ZERO);
    assert_eq!(bench.shared.refused(), 1, "it is counted");
    let retry = bench.router.deadline(bench.now).expect("a time");
    assert!(retry > bench.now, "the control thread does not spin");
    assert!(bench.hellos().is_empty());
    bench.pass(retry.duration_since(bench.now));
    assert_eq!(bench.hellos().len(), 1);
}

#[test]
fn hellos_from_the_middle_of_a_long_change_do_not_call_anybody_silent() {
    let mut bench = Bench::new(CONFIG);
    bench.hello(INSTANCE);
    bench.injected();
    let heartbeat = bench.router.heartbeat(bench.now);
    let Router { peers, workers, .. } = &mut bench.router;
    heartbeat.beat(peers, workers, bench.now + Duration::from_secs(1));
    let heard: Vec<_> = bench.hellos().iter().map(|hello| hello.heard_instance).collect();
    assert_eq!(heard, [6], "its hellos of the last second have not been read");
}

#[test]
fn hellos_leave_while_a_loaded_table_is_compared_with_the_one_that_is_there() {
    let mut bench = Bench::new(CONFIG);
    let load = || {
        let routes = (0..200u8).map(|i| route(&format!("100.64.{i}.0/24"), [10, 0, 0, 3]));
        RouteLoad { routes: routes.collect(), replace: true }
    };
    bench.client().route_load(load()).expect("possible");
    bench.injected();
    std::thread::sleep(Duration::from_millis(250));
    // Nothing changes: all that takes time is the comparison.
    assert_eq!(bench.client().route_load(load()).expect("possible").changed, 0);
    assert_eq!(bench.hellos().len(), 1, "one was due");
}

#[test]
fn a_wanted_neighbour_is_asked_for_and_published_when_it_answers() {
    let mut bench = Bench::new(CONFIG);
    let (port, address) = GATEWAY;
    bench.tell(Event::NeighbourWanted { port, address });
    let frames: Vec<_> = bench.injected();
    let frame = frames.iter().find(|inject| inject.target == InjectTarget::Frame(port)).expect("a request");
    let arp = Arp::parse(&frame.bytes[ethernet::HEADER_LEN..]).expect("an ARP packet");
    assert_eq!((IpAddr::V4(arp.target_ip), arp.sender_ip), (address, Ipv4Addr::new(192, 0, 2, 1)));
    bench.tell(Event::NeighbourSeen { port, address, mac: MAC, addressed_to_us: true });
    bench.pass(NEIGHBOR_PAUSE);
    let state = bench.state();
    assert_eq!(state.neighbours.find(port, address).and_then(|found| found.mac), Some(MAC));
}

#[test]
fn a_worker_that_does_not_go_on_holds_nobody_up_for_long() {
    let mut bench = Bench::new(CONFIG);
    bench.reader.enter();
    let refusal = bench.client().route_add(route("172.16.0.0/12", [10, 0, 0, 2])).expect_err("the worker is stuck");
    assert_eq!(refusal.kind, RefusalKind::Conflict);
    assert_eq!(refusal.message, "a worker has not finished an iteration within 1000 ms: nothing was changed");
    assert_eq!(bench.client().status(StatusShow {}).expect("answered").refused_changes, 1);
    assert_eq!(bench.entry([172, 16, 0, 1]).0.adjacency, Adjacency::NoRoute);
    bench.reader.offline();
    bench.client().route_add(route("172.16.0.0/12", [10, 0, 0, 2])).expect("it blocks now");
    assert!(matches!(bench.entry([172, 16, 0, 1]).0.adjacency, Adjacency::Via { port: PortIndex(1), .. }));
}

#[test]
fn a_loaded_table_replaces_what_came_over_the_socket_and_nothing_else() {
    let mut bench = Bench::new(CONFIG);
    bench.client().route_add(route("172.16.0.0/12", [10, 0, 0, 2])).expect("possible");
    let routes: Vec<_> = (0..200u8).map(|i| route(&format!("100.64.{i}.0/24"), [10, 0, 0, 3])).collect();
    let loaded = bench.client().route_load(RouteLoad { routes, replace: true }).expect("possible");
    assert_eq!((loaded.routes, loaded.changed), (200, 201));
    assert_eq!(bench.entry([172, 16, 0, 1]).0.adjacency, Adjacency::NoRoute);
    assert!(matches!(bench.entry([203, 0, 113, 9]).0.adjacency, Adjacency::Via { port: PortIndex(0), .. }));
    let twice = vec![route("172.31.0.0/24", [10, 0, 0, 3]), route("172.31.0.0/24", [192, 0, 2, 2])];
    bench.client().route_load(RouteLoad { routes: twice, replace: false }).expect("possible");
    let last = bench.entry([172, 31, 0, 1]).0.adjacency;
    assert!(matches!(last, Adjacency::Via { port: PortIndex(0), .. }), "of two the later one holds");
    let routes = vec![route("100.65.0.0/24", [10, 0, 0, 3]), route("192.0.2.1/32", [10, 0, 0, 3])];
    let refusal = bench.client().route_load(RouteLoad { routes, replace: true }).expect_err("one is our own address");
    assert_eq!(refusal.kind, RefusalKind::Conflict);
    assert_eq!(bench.entry([100, 65, 0, 1]).0.adjacency, Adjacency::NoRoute, "all or nothing");
    let show = RouteShow { prefix: Some(net("100.64.0.0/10")), offset: 198, limit: 10 };
    let page = bench.client().route_show(show).expect("answered");
    assert_eq!((page.total, page.routes.len()), (200, 2));
}

#[test]
fn a_configured_route_that_was_deleted_over_the_socket_stays_away() {
    let mut bench = Bench::new(CONFIG);
    let prefix = net("203.0.113.0/24");
    bench.client().route_del(RouteDel { prefix }).expect("possible");
    assert_eq!(bench.entry([203, 0, 113, 9]).0.adjacency, Adjacency::NoRoute);
    bench.reload(CONFIG).expect("the same file");
    bench
        .reload(
            &CONFIG
                .replace("via = \"192.0.2.2\"", "via = \"192.0.2.3\"")
                .replace("hops = [\"192.0.2.2\"", "hops = [\"192.0.2.3\""),
        )
        .expect("another gateway");
    assert_eq!(bench.entry([203, 0, 113, 9]).0.adjacency, Adjacency::NoRoute, "until a restart");
    let refusal = bench.client().route_del(RouteDel { prefix }).expect_err("it is gone already");
    assert_eq!(refusal.kind, RefusalKind::NotFound);
}

#[test]
fn a_reload_changes_what_the_file_changes_and_keeps_what_the_socket_did() {
    let mut bench = Bench::new(CONFIG);
    bench.hello(INSTANCE);
    bench.client().route_add(route("172.16.0.0/12", [10, 0, 0, 2])).expect("possible");
    let text = CONFIG.replace("203.0.113.0/24", "203.0.114.0/24").replace("name = \"voice\"", "name = \"games\"");
    let (_, before) = bench.entry([203, 0, 113, 9]);
    bench.reload(&text).expect("possible");
    assert_eq!(bench.entry([203, 0, 113, 9]).0.adjacency, Adjacency::NoRoute);
    let (entry, after) = bench.entry([203, 0, 114, 9]);
    assert_eq!(entry.path, Some(PathIndex(0)), "the peer lives on, its path is new");
    assert!(after > before);
    assert!(matches!(bench.entry([172, 16, 0, 1]).0.adjacency, Adjacency::Via { .. }));
    let rules = bench.client().rule_show(RuleShow {}).expect("answered").rules;
    assert_eq!(
        rules.iter().map(|rule| (rule.name.as_str(), rule.source)).collect::<Vec<_>>(),
        [("games", Source::Config)]
    );
    bench.client().rule_del(RuleDel { name: "games".into() }).expect("possible");
    let state = bench.state();
    assert!(state.rules.is_empty());
}

#[test]
fn a_reload_that_needs_a_restart_changes_nothing() {
    let mut bench = Bench::new(CONFIG);
    let cases = [
        (CONFIG.replace("mtu = 1400", "mtu = 1300"), "[[port]] \"east\""),
        (format!("[dataplane]\nidle = \"spin\"\n{CONFIG}"), "dataplane.idle"),
        (format!("[router]\nid = \"9.9.9.9\"\n{CONFIG}"), "router.id"),
        (format!("[control]\nsocket = \"/tmp/other\"\n{CONFIG}"), "control.socket"),
        (format!("[pool]\nport = 7777\n{CONFIG}"), "pool.port"),
    ];
    for (text, what) in cases {
        let text = text.replace("203.0.113.0/24", "203.0.114.0/24");
        let error = bench.reload(&text).expect_err("not while it runs");
        let expected = format!("{what} cannot be changed while the router runs: restart it for that");
        assert_eq!(error.to_string(), expected);
        assert_eq!(bench.entry([203, 0, 114, 9]).0.adjacency, Adjacency::NoRoute);
    }
}

#[test]
fn other_rules_and_the_flush_of_the_pools_of_the_old_ones_come_at_once() {
    let mut bench = Bench::new(CONFIG);
    let before = bench.router.publish(false, bench.now);
    bench.client().rule_del(RuleDel { name: "voice".into() }).expect("possible");
    let after = bench.router.publish(false, bench.now);
    assert_eq!(after - before, 2, "one publication between two others");
}

#[test]
fn a_reload_with_more_neighbours_than_there_is_room_for_changes_nothing() {
    let config = CONFIG.replace("10.0.0.1/24", "10.0.0.1/16");
    let mut bench = Bench::new(&config);
    let add = NeighborAdd { address: IpAddr::from([192, 0, 2, 9]), mac: MacAddress(MAC), port: None };
    bench.client().neighbor_add(add).expect("room");
    let neighbor = |i: u32| {
        let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0100 + i));
        format!("[[neighbor]]\naddress = \"{address}\"\nmac = \"02:00:00:00:00:02\"\nport = \"east\"\n")
    };
    let with = |count| config.replace("203.0.113", "203.0.114") + &(0..count).map(neighbor).collect::<String>();
    let error = bench.reload(&with(4096)).expect_err("one too many with the one of the socket");
    assert!(matches!(error, ReloadError::Neighbors(4096)), "{error}");
    assert_eq!(bench.entry([203, 0, 114, 9]).0.adjacency, Adjacency::NoRoute);
    bench.reload(&with(4095)).expect("room");
    assert_eq!(bench.router.neighbors.len(), 4096);
}

#[test]
fn a_neighbour_that_was_deleted_is_in_force_again_when_the_file_first_names_it() {
    let mut bench = Bench::new(CONFIG);
    let address = IpAddr::from([192, 0, 2, 9]);
    let key = (PortIndex(0), address);
    let told =
        format!("{CONFIG}\n[[neighbor]]\naddress = \"{address}\"\nmac = \"02:00:00:00:00:09\"\nport = \"west\"\n");
    let del = || NeighborDel { address, port: None };
    bench.client().neighbor_add(NeighborAdd { address, mac: MacAddress(MAC), port: None }).expect("room");
    bench.client().neighbor_del(del()).expect("it is there");
    bench.reload(&told).expect("possible");
    assert!(bench.router.neighbors.is_static(key), "the file had not named it before");

    bench.client().neighbor_del(del()).expect("it is there");
    bench.reload(&told.replace("name = \"voice\"", "name = \"games\"")).expect("possible");
    assert!(!bench.router.neighbors.is_static(key), "what the file said of it was deleted");
}

#[test]
fn a_peer_does_not_take_the_name_of_a_port() {
    let mut bench = Bench::new(CONFIG);
    let add =
        serde_json::from_value(serde_json::json!({"name": "west", "address": "198.51.100.9"})).expect("a request");
    let refusal = bench.client().peer_add(add).expect_err("a leg of a route could be either");
    assert_eq!(refusal.message, "peer \"west\": a port has that name, and legs of routes are named by either");
}

#[test]
fn an_address_that_is_no_other_hosts_is_refused_for_what_it_is() {
    let mut bench = Bench::new(CONFIG);
    let own = "is one of the router's own addresses";
    let no_host = "is the network or broadcast address of a subnet";
    for (address, what) in [([192, 0, 2, 1], own), ([192, 0, 2, 255], no_host), ([10, 0, 0, 0], no_host)] {
        let name = Ipv4Addr::from(address);
        let refusal = bench.client().route_add(route("100.64.0.0/10", address)).expect_err("no router");
        let expected = format!("route 100.64.0.0/10 via {name}: {name} {what}");
        assert_eq!((refusal.kind, refusal.message), (RefusalKind::Conflict, expected));
        let add = NeighborAdd { address: name.into(), mac: MacAddress(MAC), port: None };
        let refusal = bench.client().neighbor_add(add).expect_err("no neighbour");
        assert_eq!((refusal.kind, refusal.message), (RefusalKind::Conflict, format!("{name} {what}")));
    }
}

#[test]
fn a_peer_that_leaves_the_file_is_not_listened_to() {
    let mut bench = Bench::new(CONFIG);
    bench.hello(INSTANCE);
    let start = CONFIG.find("[[peer]]").expect("there");
    let end = CONFIG.find("[[rule]]").expect("there");
    let without = format!("{}{}", &CONFIG[..start], &CONFIG[end..]);
    bench.reload(&without).expect("possible");
    assert_eq!(bench.entry([203, 0, 113, 9]).0.path, None);
    let state = bench.state();
    assert_eq!(state.peers.find(PEER), None);
    bench.reload(CONFIG).expect("and back");
    assert_eq!(bench.entry([203, 0, 113, 9]).0.path, None, "it has to be heard again");
    bench.hello(INSTANCE);
    let index = bench.state().peers.find(PEER);
    assert!(index.is_some());
    let path = bench.entry([203, 0, 113, 9]).0.path.and_then(|path| bench.state().path(path).copied());
    assert_eq!(path.and_then(|path| path.addressee), index);
}

#[test]
fn a_peer_of_another_format_is_pooled_to_without_a_word_and_shown_with_its_format() {
    let text = CONFIG.replace("[[path]]", "assume = true\nformat = \"simplemux-fast\"\n\n[[path]]");
    let mut bench = Bench::new(&text);
    let (entry, before) = bench.entry([203, 0, 113, 9]);
    assert!(entry.path.is_some(), "nobody waits for a hello");
    let format = bench.state().peers.iter().next().map(|peer| peer.path.format);
    assert_eq!(format, Some(Format::Simplemux(Flavour::Fast)));
    bench.pass(Duration::from_secs(1));
    assert!(bench.injected().iter().all(|inject| inject.target != InjectTarget::Routed), "no hello is sent");
    let shown = bench.client().peer_show(Default::default()).expect("answered").peers;
    assert_eq!(shown.first().map(|peer| peer.format), Some(PeerFormat::SimplemuxFast));
    bench.reload(&text.replace("-fast", "")).expect("possible");
    let index = bench.state().peers.find(PEER).expect("the same address");
    let published = bench.state().peers.get(index).map(|peer| peer.path.format);
    assert_eq!(published, Some(Format::Simplemux(Flavour::Normal)));
    assert!(bench.entry([203, 0, 113, 9]).1 > before, "open pools are flushed at the change");
}

/// The configuration with a route of the group from the east to the peer, and an overlay route by the peer.
fn with_legs() -> String {
    format!(
        "{CONFIG}
[[multicast]]
group = \"239.1.2.3\"
from = \"east\"
to = [\"west\", \"far\"]

[[overlay]]
prefix = \"203.0.114.0/24\"
to = [\"far\"]
hops = [\"198.51.100.9\"]
"
    )
}

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const SENDER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const BEHIND: Ipv4Addr = Ipv4Addr::new(203, 0, 115, 1);

/// The legs that a worker sees for the group: for a port its index, for a peer whether it is alive.
fn group_legs(bench: &mut Bench) -> Option<Vec<Result<u16, bool>>> {
    let state = bench.state();
    let route = state.legs.multicast(SENDER, GROUP)?;
    let leg = |leg: &carpool_dataplane::worker::Leg| match leg {
        carpool_dataplane::worker::Leg::Port(port) => Ok(port.0),
        carpool_dataplane::worker::Leg::Peer(leg) => Err(leg.path.addressee.is_some()),
    };
    Some(route.legs().iter().map(leg).collect())
}

#[test]
fn legs_to_a_peer_are_used_while_it_lives() {
    use carpool_dataplane::worker::{Ingress, Leg};
    let mut bench = Bench::new(&with_legs());
    assert_eq!(group_legs(&mut bench), Some(vec![Ok(0), Err(false)]));
    let shown = bench.client().multicast_show(Default::default()).expect("answered").multicast;
    assert_eq!(shown[0].to[1].reason.as_deref(), Some("no hello has come from it"));
    let before = bench.state().pools;
    bench.hello(INSTANCE);
    assert_eq!(group_legs(&mut bench), Some(vec![Ok(0), Err(true)]));
    let state = bench.state();
    assert!(state.pools > before, "open pools go by the legs before");
    let route = state.legs.multicast(SENDER, GROUP).expect("the route");
    assert!(route.admits(Ingress::Port(PortIndex(1))) && !route.admits(Ingress::Port(PortIndex(0))));
    let overlay = state.legs.overlay(Ipv4Addr::new(203, 0, 114, 9)).expect("the route");
    let [Leg::Peer(leg)] = overlay.legs() else { panic!("{overlay:?}") };
    assert!(leg.path.trunk.is_overlay());
    assert_eq!((leg.path.trunk.distance(), leg.peer), (2, PeerIndex(0)));
    bench.pass(Duration::from_secs(1));
    assert_eq!(group_legs(&mut bench), Some(vec![Ok(0), Err(false)]), "it fell silent");
}

#[test]
fn multicast_and_overlay_routes_come_and_go_over_the_socket_and_with_the_file() {
    use crate::api::multicast::{MulticastDel, MulticastRoute};
    use crate::api::overlay::{OverlayDel, OverlayRoute};
    let mut bench = Bench::new(CONFIG);
    assert_eq!(group_legs(&mut bench), None);
    let route = MulticastRoute { group: GROUP.into(), source: None, from: "west".into(), to: vec!["east".into()] };
    assert!(!bench.client().multicast_add(route.clone()).expect("possible").replaced);
    assert!(bench.client().multicast_add(route.clone()).expect("possible").replaced);
    assert_eq!(group_legs(&mut bench), Some(vec![Ok(1)]));
    bench.reload(&with_legs()).expect("possible");
    assert_eq!(group_legs(&mut bench), Some(vec![Ok(1)]), "what the socket says comes first");
    bench.client().multicast_del(MulticastDel { group: GROUP.into(), source: None }).expect("it is there");
    assert_eq!(group_legs(&mut bench), None, "the file's is hidden");
    bench.reload(CONFIG).expect("possible");
    let missing = bench.client().multicast_del(MulticastDel { group: GROUP.into(), source: None });
    assert_eq!(missing.expect_err("gone").kind, RefusalKind::NotFound);

    let wrong = [
        MulticastRoute { group: [224, 0, 0, 9].into(), ..route.clone() },
        MulticastRoute { source: Some(GROUP.into()), ..route.clone() },
        MulticastRoute { from: "nowhere".into(), ..route.clone() },
        MulticastRoute { to: vec!["west".into()], ..route.clone() },
        MulticastRoute { to: vec!["east".into(), "east".into()], ..route.clone() },
        MulticastRoute { to: vec![], ..route },
    ];
    for route in wrong {
        let refused = bench.client().multicast_add(route.clone()).expect_err("it is wrong");
        assert_eq!(refused.kind, RefusalKind::Conflict, "{route:?}");
    }
    let overlay = OverlayRoute {
        prefix: "203.0.115.0/24".parse().expect("a prefix"),
        from: None,
        to: vec!["far".into()],
        hops: vec![],
    };
    bench.client().overlay_add(overlay.clone()).expect("possible");
    assert!(bench.state().legs.overlay(BEHIND).is_some());
    bench.client().overlay_del(OverlayDel { prefix: overlay.prefix }).expect("it is there");
    assert!(bench.state().legs.overlay(BEHIND).is_none());
    for overlay in [
        OverlayRoute { to: vec!["west".into()], ..overlay.clone() },
        OverlayRoute { prefix: "239.0.0.0/8".parse().expect("a prefix"), ..overlay.clone() },
        OverlayRoute { hops: vec![GROUP.into()], ..overlay.clone() },
        OverlayRoute { hops: vec![SENDER.into(); 16], ..overlay.clone() },
    ] {
        assert!(bench.client().overlay_add(overlay.clone()).is_err(), "{overlay:?}");
    }
}

#[test]
fn a_route_whose_peer_left_the_file_says_so_and_sends_nothing_there() {
    use crate::api::multicast::MulticastRoute;
    let mut bench = Bench::new(CONFIG);
    let to = vec!["east".into(), "far".into()];
    bench
        .client()
        .multicast_add(MulticastRoute { group: GROUP.into(), source: None, from: "west".into(), to })
        .expect("possible");
    let without_peer =
        CONFIG.replace("[[path]]\nprefix = \"203.0.113.0/24\"\nhops = [\"192.0.2.2\", \"198.51.100.7\"]", "");
    let without_peer = without_peer.replace("[[peer]]\nname = \"far\"\naddress = \"198.51.100.7\"", "");
    bench.reload(&without_peer).expect("possible");
    assert_eq!(group_legs(&mut bench), Some(vec![Ok(1)]));
    let shown = bench.client().multicast_show(Default::default()).expect("answered").multicast;
    assert_eq!(shown[0].to[1].kind, None);
}
