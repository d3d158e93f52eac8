//! The configuration: `carpool.toml` in, a [`Config`] whose parts agree with each other out, or what is wrong and where.
//!
//! Parsing is pure. [`parse`] first reads every table by itself (`sections`), then asks whether they make sense
//! together (`check`); it reports all errors of the first kind, or else all of the second. carpoold calls it at start,
//! for `--check` and on SIGHUP. Every key is described in docs/configuration.md.

mod check;
mod document;
mod error;
mod rule;
mod sections;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use carpool_dataplane::fib::PortIndex;
use carpool_dataplane::pool::wire::{Template, TemplateId};
use ipnet::IpNet;

pub use check::{has_ports, names_no_host, wrong_with_host};
pub use error::{ConfigError, ConfigErrors};
pub use rule::{Criteria, Index, RULE_COUNT, RULE_HOLD, RULE_SIZE, RULE_WINDOW, Rule};
pub use sections::{HELLO_INTERVAL, PEER_MTU, is_name};

use crate::api::multicast::MulticastRoute;
use crate::api::overlay::OverlayRoute;
use crate::api::peer::PeerFormat;
use crate::api::route::{Route, RouteTarget, Zone};
use crate::api::stream::Stream;
use crate::paths::HopList;

/// The UDP port of pooled packets unless configured otherwise.
pub const DEFAULT_POOL_PORT: u16 = 7665;
/// The path MTU to a peer unless configured otherwise, in bytes; never more than that of the port it leaves by.
pub const DEFAULT_PEER_MTU: u16 = 1500;
/// The time between hellos to a peer unless configured otherwise.
pub const DEFAULT_HELLO_INTERVAL: Duration = Duration::from_millis(200);
/// What a pooled packet with one row has in front of its data at least, in bytes: IPv4, UDP, the header of pooled packets, a row.
pub const POOL_OVERHEAD: u16 = 20 + 8 + 8 + 6;

/// A whole configuration whose parts agree with each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The router's identity in hellos: configured, or the first IPv4 address of its ports.
    pub router_id: Ipv4Addr,
    /// Addresses of the router beside those of its ports.
    pub addresses: Vec<IpAddr>,
    /// Cores and memory.
    pub dataplane: Dataplane,
    /// Where the control socket is.
    pub socket: PathBuf,
    /// The ports, in the order of their index. At least one.
    pub ports: Vec<Port>,
    /// Neighbours that are not asked for.
    pub neighbors: Vec<Neighbor>,
    /// Static routes, one for a prefix.
    pub routes: Vec<Route>,
    /// Nodes that pooled packets are exchanged with.
    pub peers: Vec<Peer>,
    /// UDP destination port of pooled packets.
    pub pool_port: u16,
    /// Static paths, one for a prefix.
    pub paths: Vec<Path>,
    /// Multicast routes, one for a group and source.
    pub multicast: Vec<MulticastRoute>,
    /// Overlay routes, one for a prefix.
    pub overlays: Vec<OverlayRoute>,
    /// The lists of lengths that predetermined pooled packets name, one for an id.
    pub templates: Vec<(TemplateId, Template)>,
    /// Provisioned streams, one for an id and peer.
    pub streams: Vec<Stream>,
    /// Pooling rules; the first that matches decides.
    pub rules: Vec<Rule>,
}

impl Config {
    /// The port of this name.
    pub fn port_named(&self, name: &str) -> Option<PortIndex> {
        (0u16..).zip(&self.ports).find(|(_, port)| port.name == name).map(|(index, _)| PortIndex(index))
    }

    /// The routes and where they lead, ports known by their index. None is left out: the file was checked.
    pub fn route_targets(&self) -> impl Iterator<Item = (IpNet, RouteTarget<PortIndex>)> {
        let port = |_, name: Zone| self.port_named(&name).ok_or(());
        self.routes.iter().filter_map(move |route| Some((route.prefix, route.target.on(port).ok()?)))
    }
}

/// `[dataplane]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataplane {
    /// The CPUs with a worker each. Empty: the last one that the process may use.
    pub cores: Vec<u16>,
    /// The CPUs that everything else runs on. Empty: all but those of the workers.
    pub control_cores: Vec<u16>,
    /// What a worker does when there is nothing to do.
    pub idle: Idle,
    /// Where packet memory comes from.
    pub memory: Memory,
    /// How much of it, in MiB. None: what the packet buffers need.
    pub memory_mb: Option<u32>,
    /// Packet buffers. None: computed from ports, queues and pools.
    pub mbufs: Option<u32>,
    /// Which worker has the pools of a path.
    pub pool_on: PoolOn,
    /// Flow buckets of each worker, 1 to [`MAX_BUCKETS`](carpool_dataplane::pool::MAX_BUCKETS).
    pub buckets: u8,
}

/// Which worker has the pools of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolOn {
    /// Each worker pools what it receives.
    Local,
    /// One for all: the others hand its packets over.
    Owner,
}

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// It blocks until a packet comes.
    Adaptive,
    /// It goes on looking, and uses its core whole.
    Spin,
}

/// Where packet memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Hugepages where there are enough, else ordinary pages.
    Auto,
    /// Hugepages, or the router does not start.
    Hugepages,
    /// Ordinary pages.
    NoHuge,
}

/// `[[port]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// What the operator calls it.
    pub name: String,
    /// PCI address or DPDK virtual device with its arguments.
    pub device: String,
    /// The router's addresses on its link, host bits included. At least one.
    pub addresses: Vec<IpNet>,
    /// The largest IP packet on its link, in bytes.
    pub mtu: u16,
    /// Descriptors of each receive queue.
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue.
    pub tx_descriptors: u16,
}

/// `[[neighbor]]`: an Ethernet address that is not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// Its address, on the link of the port.
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Position of its port.
    pub port: u16,
}

/// `[[peer]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What the operator calls it.
    pub name: String,
    /// Where pooled packets to it are addressed and those from it come from.
    pub address: IpAddr,
    /// Its other addresses, as hops of paths name it.
    pub alias: Vec<IpAddr>,
    /// The address of ours that it knows us by. None: that of the port towards it.
    pub source: Option<IpAddr>,
    /// The largest pooled packet on the way to it, in bytes, outer IP header included. None: [`DEFAULT_PEER_MTU`].
    pub mtu: Option<u16>,
    /// Whether the path MTU to it is searched for. `mtu` is then the most that is tried.
    pub probe_mtu: bool,
    /// It is taken to be alive without hellos.
    pub assume: bool,
    /// In which format pooled packets are exchanged with it.
    pub format: PeerFormat,
    /// The time between hellos to it.
    pub hello_interval: Duration,
}

/// `[[path]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The destinations; no host bits.
    pub prefix: IpNet,
    /// The routers on the way.
    pub hops: HopList,
}

impl Peer {
    /// A peer of which nothing else is told.
    pub fn new(name: String, address: IpAddr) -> Peer {
        Peer {
            name,
            address,
            alias: Vec::new(),
            source: None,
            mtu: None,
            probe_mtu: true,
            assume: false,
            format: PeerFormat::Native,
            hello_interval: DEFAULT_HELLO_INTERVAL,
        }
    }

    /// All its addresses; the first is where pooled packets go.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(self.address).chain(self.alias.iter().copied())
    }
}

/// Reads a configuration. `file` is what errors call it.
///
/// # Errors
/// All that is wrong with the tables by themselves; where nothing is, all that is wrong between them.
pub fn parse(text: &str, file: &str) -> Result<Config, ConfigErrors> {
    let document = document::Document::new(file, text);
    let config = document.root().and_then(|root| sections::read(&document, root.get_ref()));
    if let (Some(config), true) = (&config, document.is_sound()) {
        check::check(&document, config);
    }
    document.finish(config)
}

#[cfg(test)]
mod tests;
