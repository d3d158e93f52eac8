//! Forwarding entries: one for each meaning that a leaf can have, named by a number that workers see.
//!
//! A number is given another meaning only after no leaf names it and every worker has moved on since. Entry 0 means that
//! there is no route, and is always there.

use std::net::IpAddr;

use carpool_dataplane::fib::{Adjacency, Domain, Entry, EntryId, NeighbourIndex, PathIndex, PortIndex};
use hashbrown::HashMap;

use crate::neighbors::Neighbors;
use crate::paths::PathTable;

/// What is done with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hop {
    /// They are for us.
    Local,
    /// They are for all hosts of a subnet of ours: not forwarded.
    Broadcast,
    /// They are for a host on this port's link.
    Connected(PortIndex),
    /// They go to this router on this port's link.
    Via(PortIndex, IpAddr),
    /// They are dropped, and their source is told so.
    Unreachable,
    /// They are dropped.
    Blackhole,
}

/// What a leaf means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Meaning {
    /// What is done with packets.
    pub hop: Hop,
    /// The path that stream packets are pooled on, when somebody on it lives who takes them out.
    pub path: Option<PathIndex>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    meaning: Meaning,
    gateway: Option<NeighbourIndex>,
    /// Leaves that name it, and changes in preparation that will.
    users: usize,
    /// Every worker has had it published.
    known: bool,
    /// When nobody names it: the epoch that every worker must have reached before it is free.
    retired: Option<u64>,
}

/// All entries.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Entry 1 is the first.
    slots: Vec<Option<Slot>>,
    by_meaning: HashMap<Meaning, EntryId>,
    free: Vec<EntryId>,
    /// Entries that lost their last user since `retire` was last called.
    unused: Vec<EntryId>,
    retired: Vec<EntryId>,
}

impl Entries {
    fn slot(&self, id: EntryId) -> Option<&Slot> {
        self.slots.get(usize::from(id.0).checked_sub(1)?)?.as_ref()
    }

    fn slot_mut(&mut self, id: EntryId) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(id.0).checked_sub(1)?)?.as_mut()
    }

    /// What an entry means.
    pub fn meaning(&self, id: EntryId) -> Option<Meaning> {
        self.slot(id).map(|slot| slot.meaning)
    }

    /// Whether packets of an entry may be pooled.
    pub fn pools(&self, id: EntryId) -> bool {
        self.slot(id).is_some_and(|slot| slot.meaning.path.is_some())
    }

    /// Entries in use.
    pub fn len(&self) -> usize {
        self.by_meaning.len()
    }

    /// The entry with a meaning, held until [`Entries::release`]; whether workers may not know it yet. None where all
    /// numbers are taken.
    pub fn hold(
        &mut self,
        meaning: Meaning,
        neighbors: &mut Neighbors,
        paths: &mut PathTable,
    ) -> Option<(EntryId, bool)> {
        if let Some(id) = self.by_meaning.get(&meaning).copied() {
            let slot = self.slot_mut(id)?;
            slot.users += 1;
            slot.retired = None;
            return Some((id, !slot.known));
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                let id = u16::try_from(self.slots.len() + 1).ok().map(EntryId).filter(|id| *id <= EntryId::LAST)?;
                self.slots.push(None);
                id
            }
        };
        let gateway = match meaning.hop {
            Hop::Via(port, address) => Some(neighbors.hold_gateway((port, address))),
            _ => None,
        };
        if let Some(path) = meaning.path {
            paths.hold(path);
        }
        *self.slots.get_mut(usize::from(id.0).checked_sub(1)?)? =
            Some(Slot { meaning, gateway, users: 1, known: false, retired: None });
        self.by_meaning.insert(meaning, id);
        Some((id, true))
    }

    /// Every worker has seen the entries that were published last.
    pub fn all_known(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            slot.known = true;
        }
    }

    /// Ends a hold.
    pub fn release(&mut self, id: EntryId) {
        self.unnamed(id);
    }

    /// One more leaf names an entry.
    pub fn named(&mut self, id: EntryId) {
        if let Some(slot) = self.slot_mut(id) {
            slot.users += 1;
        }
    }

    /// One leaf less names an entry.
    pub fn unnamed(&mut self, id: EntryId) {
        if let Some(slot) = self.slot_mut(id) {
            slot.users -= 1;
            if slot.users == 0 {
                self.unused.push(id);
            }
        }
    }

    /// Has entries that nobody names any more wait for the workers.
    pub fn retire(&mut self, domain: &Domain) {
        let unused = std::mem::take(&mut self.unused);
        if unused.is_empty() {
            return;
        }
        let epoch = domain.advance();
        for id in unused {
            if let Some(slot) = self.slot_mut(id).filter(|slot| slot.users == 0 && slot.retired.is_none()) {
                slot.retired = Some(epoch);
                self.retired.push(id);
            }
        }
    }

    /// Frees the entries that every worker has passed by. Returns how many still wait.
    pub fn reclaim(&mut self, domain: &Domain, neighbors: &mut Neighbors, paths: &mut PathTable) -> usize {
        for id in std::mem::take(&mut self.retired) {
            let Some(slot) = self.slot(id).copied() else { continue };
            match slot.retired {
                // It is in use again.
                None => {}
                Some(epoch) if !domain.has_passed(epoch) => self.retired.push(id),
                Some(_) => {
                    if let Some(gateway) = slot.gateway {
                        neighbors.release_gateway(gateway);
                    }
                    if let Some(path) = slot.meaning.path {
                        paths.release(path);
                    }
                    self.by_meaning.remove(&slot.meaning);
                    if let Some(slot) = self.slots.get_mut(usize::from(id.0).saturating_sub(1)) {
                        *slot = None;
                    }
                    self.free.push(id);
                }
            }
        }
        self.retired.len()
    }

    /// The entries for workers. `pools` says on which paths packets are pooled now.
    pub fn published(&self, mut pools: impl FnMut(PathIndex) -> bool) -> Vec<Entry> {
        const NO_ROUTE: Entry = Entry { adjacency: Adjacency::NoRoute, path: None };
        let entry = |slot: &Option<Slot>| {
            let Some(slot) = slot else { return NO_ROUTE };
            let adjacency = match (slot.meaning.hop, slot.gateway) {
                (Hop::Local, _) => Adjacency::Local,
                (Hop::Broadcast, _) => Adjacency::Broadcast,
                (Hop::Connected(port), _) => Adjacency::Connected { port },
                (Hop::Via(port, _), Some(gateway)) => Adjacency::Via { port, gateway },
                (Hop::Via(..), None) => Adjacency::NoRoute,
                (Hop::Unreachable, _) => Adjacency::Unreachable,
                (Hop::Blackhole, _) => Adjacency::Blackhole,
            };
            Entry { adjacency, path: slot.meaning.path.filter(|path| pools(*path)) }
        };
        std::iter::once(NO_ROUTE).chain(self.slots.iter().map(entry)).collect()
    }
}
