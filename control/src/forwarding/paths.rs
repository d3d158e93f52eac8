//! The paths, by the destinations they lead to.

use std::net::Ipv4Addr;

use carpool_dataplane::fib::PeerIndex;
use ipnet::Ipv4Net;
use prefix_trie::PrefixMap;

/// What forwarding wants to know of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Its first hop.
    pub next_hop: Ipv4Addr,
    /// The last equipped node on it.
    pub peer: PeerIndex,
}

/// All paths.
#[derive(Clone, Debug, Default)]
pub struct PathTable {
    ways: PrefixMap<Ipv4Net, Way>,
}

impl PathTable {
    /// A table of these; of equal prefixes the last one stays.
    pub fn new(ways: impl IntoIterator<Item = (Ipv4Net, Way)>) -> PathTable {
        PathTable { ways: ways.into_iter().collect() }
    }

    /// Whether there is no path.
    pub fn is_empty(&self) -> bool {
        self.ways.is_empty()
    }

    /// Whether a path leads to exactly this prefix.
    pub fn contains(&self, prefix: Ipv4Net) -> bool {
        self.ways.contains_key(&prefix)
    }

    /// The longest path that covers a prefix.
    pub fn way(&self, prefix: Ipv4Net) -> Option<Way> {
        self.ways.get_lpm(&prefix).map(|(_, way)| *way)
    }

    /// The longest path that covers an address.
    pub fn prefix_of(&self, address: Ipv4Addr) -> Option<Ipv4Net> {
        self.ways.get_lpm(&address.into()).map(|(prefix, _)| *prefix)
    }

    /// The prefixes of the paths within a prefix.
    pub fn within(&self, prefix: Ipv4Net) -> impl Iterator<Item = Ipv4Net> {
        self.ways.children(&prefix).map(|(prefix, _)| *prefix)
    }

    /// The prefixes whose paths are not the same in both.
    pub fn differences(&self, other: &PathTable) -> Vec<Ipv4Net> {
        let differs = |a: &PathTable, b: &PathTable| -> Vec<Ipv4Net> {
            a.ways.iter().filter(|(prefix, way)| b.ways.get(*prefix) != Some(*way)).map(|(prefix, _)| *prefix).collect()
        };
        let mut prefixes = differs(self, other);
        prefixes.extend(differs(other, self));
        prefixes
    }
}
