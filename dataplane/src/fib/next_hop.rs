//! What a leaf of the longest-prefix-match table leads to: a forwarding entry, and the neighbour that a packet leaves to.
//!
//! A forwarding entry is a next hop and, where the routing process knows one, the path behind it. Directly connected
//! hosts share one entry per port (a scan of a /16 must not exhaust them); their neighbours are found by address.
//! Entries and neighbours are of either family: the gateway of an IPv4 route may have an IPv6 address (RFC 8950).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;

/// Index of a port, in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PortIndex(pub u16);

impl PortIndex {
    /// As an index into a table of ports.
    #[inline(always)]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Index of a peer in the published table of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIndex(pub u16);

impl PeerIndex {
    /// As an index into a table of peers.
    #[inline(always)]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Index of a path in the published table of paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathIndex(pub u16);

impl PathIndex {
    /// As an index into a table of paths.
    #[inline(always)]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Index of a neighbour in the published [`NeighbourTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighbourIndex(pub u32);

/// Names a forwarding entry: the leaf of the longest-prefix-match table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct EntryId(pub u16);

impl EntryId {
    /// No prefix covers the destination.
    pub const NO_ROUTE: EntryId = EntryId(0);
    /// The largest that a leaf can name: the tables keep those above for themselves.
    pub const LAST: EntryId = EntryId(super::stretch::FIRST_TAIL - 1);
}

/// What is done with packets to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Adjacency {
    /// Nothing is known: network unreachable.
    NoRoute,
    /// One of this router's own addresses.
    Local,
    /// A host on the link of a port: the destination is the neighbour.
    Connected { port: PortIndex },
    /// A router on the link of a port.
    Via { port: PortIndex, gateway: NeighbourIndex },
    /// A subnet's broadcast or network address: never forwarded (RFC 2644).
    Broadcast,
    /// A route that says "unreachable": dropped, and the source is told so.
    Unreachable,
    /// A route that says "blackhole": dropped without a word.
    Blackhole,
}

/// A forwarding entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Where packets go.
    pub adjacency: Adjacency,
    /// The path that stream packets to this destination may be pooled on: it leaves by this adjacency, and an equipped
    /// node on it lives. None: nothing is pooled.
    pub path: Option<PathIndex>,
}

/// A host or router on one of our links.
#[derive(Debug)]
pub struct Neighbour {
    /// The port it is behind.
    pub port: PortIndex,
    /// Its address.
    pub address: IpAddr,
    /// Its Ethernet address, where it is known.
    pub mac: Option<[u8; 6]>,
    /// Set by workers when they send to it, cleared by the control thread: a neighbour in use is kept fresh.
    used: AtomicBool,
}

impl Neighbour {
    /// A neighbour that has not been used.
    pub fn new(port: PortIndex, address: IpAddr, mac: Option<[u8; 6]>) -> Neighbour {
        Neighbour { port, address, mac, used: AtomicBool::new(false) }
    }

    /// Notes that a packet went to it. Stores only when the note is not there, so that the cache line stays shared.
    #[inline(always)]
    pub fn mark_used(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was used since the last call.
    pub fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }
}

/// All neighbours: by index for gateways, by port and address for connected hosts. Immutable once published.
#[derive(Debug, Default)]
pub struct NeighbourTable {
    neighbours: Vec<Neighbour>,
    // Apart by family: the key of an IPv4 host is hashed in one step, whatever there is of IPv6.
    by_address4: HashMap<(PortIndex, Ipv4Addr), NeighbourIndex>,
    by_address6: HashMap<(PortIndex, Ipv6Addr), NeighbourIndex>,
}

impl NeighbourTable {
    /// A table of these, each with the index of its position. A later one with the same port and address is found
    /// instead of an earlier one.
    pub fn new(neighbours: Vec<Neighbour>) -> NeighbourTable {
        let (mut by_address4, mut by_address6) = (HashMap::new(), HashMap::new());
        for (index, neighbour) in (0u32..).map(NeighbourIndex).zip(&neighbours) {
            match neighbour.address {
                IpAddr::V4(address) => by_address4.insert((neighbour.port, address), index),
                IpAddr::V6(address) => by_address6.insert((neighbour.port, address), index),
            };
        }
        NeighbourTable { neighbours, by_address4, by_address6 }
    }

    /// The neighbour with this index.
    #[inline(always)]
    pub fn get(&self, index: NeighbourIndex) -> Option<&Neighbour> {
        self.neighbours.get(index.0 as usize)
    }

    /// The neighbour with this address on the link of this port.
    #[inline(always)]
    pub fn find(&self, port: PortIndex, address: IpAddr) -> Option<&Neighbour> {
        match address {
            IpAddr::V4(address) => self.find4(port, address),
            IpAddr::V6(address) => self.find6(port, address),
        }
    }

    /// As [`NeighbourTable::find`], for who knows the family.
    #[inline(always)]
    pub fn find4(&self, port: PortIndex, address: Ipv4Addr) -> Option<&Neighbour> {
        self.by_address4.get(&(port, address)).and_then(|index| self.get(*index))
    }

    /// As [`NeighbourTable::find`], for who knows the family.
    #[inline(always)]
    pub fn find6(&self, port: PortIndex, address: Ipv6Addr) -> Option<&Neighbour> {
        self.by_address6.get(&(port, address)).and_then(|index| self.get(*index))
    }

    /// All of them, in the order of their index.
    pub fn iter(&self) -> impl Iterator<Item = &Neighbour> {
        self.neighbours.iter()
    }
}
