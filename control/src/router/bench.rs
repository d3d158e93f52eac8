//! A router on the test bench: one worker, which is the test, and the time in its hands.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use carpool_dataplane::arch::TickRate;
use carpool_dataplane::dpdk::{Waiter, WakeHandle};
use carpool_dataplane::fib::{
    Domain, Entry, EntryId, FibOptions, Lpm4, Lpm6, PeerIndex, PortIndex, Published, Reader, lpm4_with, lpm6_with,
};
use carpool_dataplane::packet::ipv4::Ipv4Header;
use carpool_dataplane::packet::too_big::TooBig;
use carpool_dataplane::pool::hello::{Capabilities, HELLO_LEN, Hello};
use carpool_dataplane::worker::{Bell, Event, HeardHello, Inject, InjectTarget, RouterState, WorkerShared};
use ipnet::IpNet;

use super::handler::Client;
use super::{Hardware, Parts, ReloadError, Router, WorkerLink};
use crate::api::port::PortEntry;
use crate::api::route::{Route, RouteTarget};
use crate::api::stats::Mempool;
use crate::config::{self, parse};
use crate::neighbors::Key;
use crate::peers::Identity;

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

pub(super) const GATEWAY: Key = (PortIndex(0), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)));

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

pub(super) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

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
    pub shared: Arc<WorkerShared>,
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

    pub fn hello_of_one_that_takes(&mut self, largest_pooled_packet: u16, heard_instance: u32) {
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
    pub fn hellos(&mut self) -> Vec<Hello> {
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
