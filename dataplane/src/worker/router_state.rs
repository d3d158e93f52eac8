//! What the control thread publishes to workers, as one immutable value.
//!
//! A worker loads it once per iteration. Parts that did not change are shared between one state and the next. A route
//! is written to the longest-prefix-match table only after every worker has seen the state with the forwarding entry
//! that the route names, and an entry is given another meaning only after every worker has seen it unused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::arch::TickSpan;
use crate::fib::{Adjacency, Entry, EntryId, NeighbourTable, PathIndex, PeerIndex, PortIndex};
use crate::pool::path::PoolPath;
use crate::pool::pooled_packet_detector::ZeroChecksum;
use crate::pool::provisioned::StreamSet;
use crate::pool::wire::Templates;
use crate::pool::{PeerPath, RuleSet};

use super::leg_table::LegTable;

/// One of this router's IPv4 addresses on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix, in bits.
    pub prefix_len: u8,
}

impl PortAddress {
    /// Whether an address is in the subnet.
    #[inline]
    pub fn contains(&self, other: Ipv4Addr) -> bool {
        let host_bits = 32u32.saturating_sub(u32::from(self.prefix_len));
        (self.address.to_bits() ^ other.to_bits()).checked_shr(host_bits).unwrap_or(0) == 0
    }
}

/// One of this router's IPv6 addresses on a port, link-local ones apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortAddress6 {
    /// The address.
    pub address: Ipv6Addr,
    /// Length of the subnet's prefix, in bits.
    pub prefix_len: u8,
}

impl PortAddress6 {
    /// Whether an address is in the subnet.
    #[inline]
    pub fn contains(&self, other: Ipv6Addr) -> bool {
        let host_bits = 128u32.saturating_sub(u32::from(self.prefix_len));
        (self.address.to_bits() ^ other.to_bits()).checked_shr(host_bits).unwrap_or(0) == 0
    }
}

/// What a worker knows of a port.
#[derive(Clone, Debug)]
pub struct PortState {
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// The largest IP packet that may leave by it, in bytes.
    pub mtu: u16,
    /// Our IPv4 addresses on its link; the first one is the source of ICMP errors.
    pub addresses: Vec<PortAddress>,
    /// Our IPv6 addresses on its link; the first one is the source of ICMPv6 errors to other links.
    pub addresses6: Vec<PortAddress6>,
    /// Our link-local address (RFC 4291, 2.5.6). None: no IPv6 here.
    pub link_local: Option<Ipv6Addr>,
}

/// A node that pooled packets are exchanged with.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The way to it. Pooled packets from it come from the address that those to it go to.
    pub path: PeerPath,
    /// Whether it may send without a UDP checksum.
    pub zero_checksum: ZeroChecksum,
}

/// The peers, by index and by address.
#[derive(Debug, Default)]
pub struct PeerTable {
    peers: Vec<Peer>,
    by_address4: HashMap<Ipv4Addr, PeerIndex>,
    by_address6: HashMap<Ipv6Addr, PeerIndex>,
}

impl PeerTable {
    /// A table of these, each with the index of its position.
    pub fn new(peers: Vec<Peer>) -> PeerTable {
        let (mut by_address4, mut by_address6) = (HashMap::new(), HashMap::new());
        for (index, peer) in (0u16..).map(PeerIndex).zip(&peers) {
            match peer.path.addressee {
                IpAddr::V4(address) => by_address4.insert(address, index),
                IpAddr::V6(address) => by_address6.insert(address, index),
            };
        }
        PeerTable { peers, by_address4, by_address6 }
    }

    /// The peer with this index.
    #[inline(always)]
    pub fn get(&self, index: PeerIndex) -> Option<&Peer> {
        self.peers.get(index.index())
    }

    /// The peer that sends from this address.
    #[inline(always)]
    pub fn find(&self, address: IpAddr) -> Option<PeerIndex> {
        match address {
            IpAddr::V4(address) => self.by_address4.get(&address).copied(),
            IpAddr::V6(address) => self.by_address6.get(&address).copied(),
        }
    }

    /// Whether there is none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// All of them, in the order of their index.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter()
    }
}

/// All that workers read of the configuration and of the control plane's knowledge, but for the routes themselves.
#[derive(Clone, Debug)]
pub struct RouterState {
    /// Changes when anything changes that open pools depend on: rules, peers, routes to them. Workers then flush all
    /// pools before they take another packet.
    pub pools: u64,
    /// The ports, by [`PortIndex`].
    pub ports: Arc<[PortState]>,
    /// The forwarding entries, by [`EntryId`]. Entry 0 is [`Adjacency::NoRoute`].
    pub entries: Arc<[Entry]>,
    /// Whom we know on our links.
    pub neighbours: Arc<NeighbourTable>,
    /// Whom we exchange pooled packets with.
    pub peers: Arc<PeerTable>,
    /// The paths that packets are pooled on, by [`PathIndex`].
    pub paths: Arc<[PoolPath]>,
    /// Routes with legs: multicast groups, and prefixes behind overlays.
    pub legs: Arc<LegTable>,
    /// Which packets are pooled, and how.
    pub rules: Arc<RuleSet>,
    /// The lists of lengths that predetermined pooled packets name.
    pub templates: Arc<Templates>,
    /// The streams that both ends were told of. Peers have the same indices there.
    pub streams: Arc<StreamSet>,
    /// The UDP port that pooled packets come to.
    pub pool_port: u16,
    /// How long packets wait for a neighbour that does not answer.
    pub neighbour_timeout: TickSpan,
}

impl RouterState {
    /// The entry with this id; one that is not there means no route.
    #[inline(always)]
    pub fn entry(&self, id: EntryId) -> Entry {
        const NO_ROUTE: Entry = Entry { adjacency: Adjacency::NoRoute, path: None };
        self.entries.get(usize::from(id.0)).copied().unwrap_or(NO_ROUTE)
    }

    /// The path with this index.
    #[inline(always)]
    pub fn path(&self, index: PathIndex) -> Option<&PoolPath> {
        self.paths.get(index.index())
    }

    /// The port with this index.
    #[inline(always)]
    pub fn port(&self, index: PortIndex) -> Option<&PortState> {
        self.ports.get(index.index())
    }
}
