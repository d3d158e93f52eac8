//! The forwarding tables of both families as one: a transaction on both is made whole or not at all.

use std::net::IpAddr;

use carpool_dataplane::fib::{EntryId, FibError, FibMemory, Lpm4Writer, Lpm6Writer};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What becomes of a prefix: its leaf before, and from now on.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeafChange {
    pub prefix: IpNet,
    pub before: Option<EntryId>,
    pub after: Option<EntryId>,
}

/// Both tables. The numbers of entries in them are from one space.
#[derive(Debug)]
pub(super) struct Tables {
    v4: Lpm4Writer,
    v6: Lpm6Writer,
}

impl Tables {
    pub fn new(v4: Lpm4Writer, v6: Lpm6Writer) -> Tables {
        Tables { v4, v6 }
    }

    /// The leaf of exactly this prefix.
    pub fn get(&self, prefix: IpNet) -> Option<EntryId> {
        match prefix {
            IpNet::V4(prefix) => self.v4.get(prefix),
            IpNet::V6(prefix) => self.v6.get(prefix),
        }
    }

    /// The longest prefix that covers an address, and its leaf.
    pub fn longest_match(&self, address: IpAddr) -> Option<(IpNet, EntryId)> {
        match address {
            IpAddr::V4(address) => self.v4.longest_match(address).map(|(prefix, leaf)| (prefix.into(), leaf)),
            IpAddr::V6(address) => self.v6.longest_match(address).map(|(prefix, leaf)| (prefix.into(), leaf)),
        }
    }

    /// Makes all changes or none; each prefix is there once. Workers see them prefix by prefix, those of IPv4 first.
    ///
    /// # Errors
    /// What either table says; then nothing has changed for the caller.
    pub fn apply(&mut self, changes: &[LeafChange], pulse: &mut dyn FnMut()) -> Result<(), FibError> {
        let (v4, v6) = by_family(changes, |change| change.after);
        if !v4.is_empty() {
            self.v4.apply(&v4, pulse)?;
        }
        if !v6.is_empty()
            && let Err(refused) = self.v6.apply(&v6, pulse)
        {
            self.v4.take_back(&by_family(changes, |change| change.before).0);
            return Err(refused);
        }
        Ok(())
    }

    /// Prefixes in both.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Bytes of both.
    pub fn memory(&self) -> FibMemory {
        let (v4, v6) = (self.v4.memory(), self.v6.memory());
        FibMemory { used: v4.used + v6.used, retired: v4.retired + v6.retired }
    }

    /// Makes memory usable again that every worker has passed by.
    pub fn reclaim(&mut self) {
        self.v4.reclaim();
        self.v6.reclaim();
    }
}

type Leaves<P> = Vec<(P, Option<EntryId>)>;

fn by_family(
    changes: &[LeafChange],
    leaf: impl Fn(&LeafChange) -> Option<EntryId>,
) -> (Leaves<Ipv4Net>, Leaves<Ipv6Net>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for change in changes {
        match change.prefix {
            IpNet::V4(prefix) => v4.push((prefix, leaf(change))),
            IpNet::V6(prefix) => v6.push((prefix, leaf(change))),
        }
    }
    (v4, v6)
}
