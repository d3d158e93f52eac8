//! From routes and paths to the forwarding table: which prefixes have a leaf, and what each leaf means.
//!
//! A prefix has a leaf where a usable route or a path names it. The leaf of a path that is more specific than the route
//! to its destinations has the next hop of that route. What a leaf *means* is the next hop and the path its stream
//! packets could be pooled on; whether peers on it live is not part of it, so that a peer that comes or goes
//! changes forwarding entries in place and no leaf.
//!
//! Changes are transactions. [`Forwarding::prepare`] works out all of one and changes only what workers do not see;
//! the caller publishes the new entries and waits until every worker has them; [`Forwarding::commit`] then writes the
//! leaves, or undoes what it wrote. An entry that no leaf names is used again only when every worker has passed on.

mod entries;
mod tables;

use std::net::IpAddr;
use std::sync::Arc;

use carpool_dataplane::fib::{
    Domain, Entry, EntryId, FibError, FibMemory, Lpm4Writer, Lpm6Writer, PathIndex, PortIndex,
};
use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;

use crate::neighbors::Neighbors;
use crate::paths::{PathTable, PathsError, ToldPaths};
use crate::rib::{OwnRoute, Rib, RouteTarget, Routes, Source, Target};
use entries::Entries;
pub use entries::{Hop, Meaning};
use tables::{LeafChange, Tables};

/// So many prefixes are dealt with between two pulses: well below a hello interval.
pub const PULSE: usize = 4096;

/// Why routes cannot be changed. Nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardingError {
    #[error("route {prefix} via {gateway}: {gateway} is neither on the link of a port nor behind another route")]
    Gateway { prefix: IpNet, gateway: IpAddr },
    #[error("route {prefix} via {gateway}: {gateway} {what}")]
    NoRouter { prefix: IpNet, gateway: IpAddr, what: &'static str },
    #[error("more than 65503 different next hops and paths are in use")]
    Entries,
    #[error(transparent)]
    Paths(#[from] PathsError),
    #[error(transparent)]
    Table(#[from] FibError),
}

/// What an address of one of our links is that is not another host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoOtherHost {
    /// Our own.
    Own,
    /// That of all hosts of a subnet, or of none.
    Subnet,
}

impl NoOtherHost {
    /// The same in words, to stand behind the address.
    pub fn words(self) -> &'static str {
        match self {
            NoOtherHost::Own => "is one of the router's own addresses",
            NoOtherHost::Subnet => "is the network or broadcast address of a subnet",
        }
    }
}

/// What is to change.
#[derive(Debug, Default)]
pub struct Change {
    /// All that is told of these prefixes from now on.
    pub routes: Vec<(IpNet, Routes)>,
    /// All that is told of the paths to these prefixes from now on.
    pub paths: Vec<(IpNet, ToldPaths)>,
    /// Whether a route that comes over the socket must have a gateway that can be reached.
    pub needs_gateways: bool,
}

/// A change that is worked out and not in force yet. Goes to [`Forwarding::commit`] or [`Forwarding::abort`].
#[must_use]
#[derive(Debug, Default)]
pub struct Prepared {
    /// What was told of the changed prefixes before.
    routes_before: Vec<(IpNet, Routes)>,
    /// What was told of the changed paths before.
    paths_before: Vec<(IpNet, ToldPaths)>,
    /// The paths that held there: their numbers stay theirs until it is sure that they are not needed again.
    held_paths: Vec<PathIndex>,
    /// The leaves to write, each prefix once.
    leaves: Vec<(IpNet, Option<EntryId>)>,
    /// Whether there are entries that workers do not know yet.
    pub new_entries: bool,
}

/// What a change did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Leaves that were written.
    pub leaves: usize,
    /// Whether destinations are among them whose packets were, or may now be, pooled.
    pub pooled: bool,
}

/// A gateway that routes name.
#[derive(Clone, Copy, Debug, Default)]
struct Gateway {
    routes: usize,
    next_hop: Option<(PortIndex, IpAddr)>,
    /// Whether it was looked up before: no leaf depends on one that never was.
    resolved: bool,
}

/// The routes, the paths, and the forwarding table that they make.
#[derive(Debug)]
pub struct Forwarding {
    domain: Arc<Domain>,
    rib: Rib,
    paths: PathTable,
    gateways: HashMap<IpAddr, Gateway>,
    entries: Entries,
    fib: Tables,
}

impl Forwarding {
    /// No routes yet. The readers of both tables are those of `domain`.
    pub fn new(domain: Arc<Domain>, fib4: Lpm4Writer, fib6: Lpm6Writer) -> Forwarding {
        let fib = Tables::new(fib4, fib6);
        let entries = Entries::default();
        let gateways = HashMap::new();
        Forwarding { domain, rib: Rib::default(), paths: PathTable::default(), gateways, entries, fib }
    }

    /// The routes.
    pub fn rib(&self) -> &Rib {
        &self.rib
    }

    /// The paths.
    pub fn paths(&self) -> &PathTable {
        &self.paths
    }

    /// Where packets to an address go, pooling left aside; None where no usable route leads there.
    pub fn hop(&self, address: IpAddr) -> Option<(IpNet, Source, Hop)> {
        self.route(address.into())
    }

    /// The router or host on one of our links that packets to an address are handed to.
    pub fn next_hop(&self, address: IpAddr) -> Option<(PortIndex, IpAddr)> {
        match self.hop(address)?.2 {
            Hop::Connected(port) => Some((port, address)),
            Hop::Via(port, gateway) => Some((port, gateway)),
            _ => None,
        }
    }

    /// What the leaf of exactly this prefix means.
    pub fn leaf(&self, prefix: IpNet) -> Option<Meaning> {
        self.entries.meaning(self.fib.get(prefix)?)
    }

    /// The leaf that decides about an address, and what it means.
    pub fn lookup(&self, address: IpAddr) -> Option<(IpNet, Meaning)> {
        let (prefix, id) = self.fib.longest_match(address)?;
        Some((prefix, self.entries.meaning(id)?))
    }

    /// The best usable route to exactly this prefix.
    pub fn best(&self, routes: &Routes) -> Option<(Source, Hop)> {
        routes.by_preference().find_map(|(target, source)| Some((source, self.usable(target)?)))
    }

    /// The entries for workers. `pools` says on which paths packets are pooled now.
    pub fn entries(&self, pools: impl FnMut(PathIndex) -> bool) -> Vec<Entry> {
        self.entries.published(pools)
    }

    /// Every worker has seen the entries that [`Forwarding::entries`] returned last.
    pub fn entries_are_known(&mut self) {
        self.entries.all_known();
    }

    /// Entries in use, for the log.
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }

    /// Prefixes in the forwarding tables.
    pub fn leaf_count(&self) -> usize {
        self.fib.len()
    }

    /// Bytes of the forwarding tables.
    pub fn fib_memory(&self) -> FibMemory {
        self.fib.memory()
    }

    /// Works a change out. Workers see nothing of it yet. `pulse` is called again and again: a full table takes seconds.
    ///
    /// # Errors
    /// Why it cannot be done; then nothing has changed.
    pub fn prepare(
        &mut self,
        change: Change,
        neighbors: &mut Neighbors,
        pulse: &mut dyn FnMut(),
    ) -> Result<Prepared, ForwardingError> {
        self.entries.reclaim(&self.domain, neighbors, &mut self.paths);
        let mut dirty = Vec::new();
        let told: Vec<_> = change.routes.iter().map(|(prefix, _)| *prefix).collect();
        let routes_before = self.put_all(change.routes, pulse);
        let mut prepared = Prepared { routes_before, ..Prepared::default() };
        for (count, (prefix, told)) in change.paths.into_iter().enumerate() {
            if count % PULSE == 0 {
                pulse();
            }
            if let Some(way) = self.paths.exact(prefix) {
                self.paths.hold(way.path);
                prepared.held_paths.push(way.path);
            }
            match self.paths.put(prefix, told) {
                Ok(before) => prepared.paths_before.push((prefix, before)),
                Err(error) => {
                    self.abort(prepared, neighbors);
                    return Err(error.into());
                }
            }
            dirty.push(prefix);
            dirty.extend(self.rib.within(prefix).map(|(prefix, _)| prefix));
        }
        self.mark_dirty(&told, &mut dirty);
        let moved = self.resolve_gateways();
        if !moved.is_empty() {
            let names_moved = |routes: &Routes| routes.gateways().any(|gateway| moved.contains(&gateway));
            let affected = self.rib.iter().filter(|(_, routes)| names_moved(routes));
            let affected: Vec<_> = affected.map(|(prefix, _)| prefix).collect();
            self.mark_dirty(&affected, &mut dirty);
        }
        if change.needs_gateways
            && let Err(error) = self.check_gateways(&told)
        {
            self.abort(prepared, neighbors);
            return Err(error);
        }
        dirty.sort_unstable();
        dirty.dedup();
        prepared.leaves.reserve(dirty.len());
        for (count, prefix) in dirty.into_iter().enumerate() {
            if count % PULSE == 0 {
                pulse();
            }
            let id = match self.meaning(prefix) {
                None => None,
                Some(meaning) => match self.entries.hold(meaning, neighbors, &mut self.paths) {
                    Some((id, new)) => {
                        prepared.new_entries |= new;
                        Some(id)
                    }
                    None => {
                        self.abort(prepared, neighbors);
                        return Err(ForwardingError::Entries);
                    }
                },
            };
            if id.is_some() || self.fib.get(prefix).is_some() {
                prepared.leaves.push((prefix, id));
            }
        }
        Ok(prepared)
    }

    /// Writes the leaves of a change whose entries every worker knows. `pulse` as in [`Forwarding::prepare`].
    ///
    /// # Errors
    /// Where the table has no room, or a worker stands still; then nothing has changed.
    pub fn commit(
        &mut self,
        prepared: Prepared,
        neighbors: &mut Neighbors,
        pulse: &mut dyn FnMut(),
    ) -> Result<Committed, ForwardingError> {
        let mut changes = Vec::with_capacity(prepared.leaves.len());
        for (count, (prefix, leaf)) in prepared.leaves.iter().enumerate() {
            if count % PULSE == 0 {
                pulse();
            }
            let (prefix, before, after) = (*prefix, self.fib.get(*prefix), *leaf);
            if before != after {
                changes.push(LeafChange { prefix, before, after });
            }
        }
        if let Err(refused) = self.fib.apply(&changes, pulse) {
            self.abort(prepared, neighbors);
            return Err(refused.into());
        }
        let mut committed = Committed { leaves: changes.len(), pooled: false };
        for LeafChange { before, after, .. } in changes {
            committed.pooled |= [before, after].into_iter().flatten().any(|id| self.entries.pools(id));
            if let Some(after) = after {
                self.entries.named(after);
            }
            if let Some(before) = before {
                self.entries.unnamed(before);
            }
        }
        self.let_go(&prepared);
        self.paths.release_all(&prepared.held_paths);
        Ok(committed)
    }

    /// Takes back what [`Forwarding::prepare`] did.
    pub fn abort(&mut self, prepared: Prepared, neighbors: &mut Neighbors) {
        self.let_go(&prepared);
        // In reverse: a prefix that was named twice gets back what was told of it first.
        let undo: Vec<_> = prepared.routes_before.into_iter().rev().collect();
        self.put_all(undo, &mut || ());
        for (prefix, told) in prepared.paths_before.into_iter().rev() {
            // It needs no room: its number was kept for it.
            let restored = self.paths.put(prefix, told);
            debug_assert!(restored.is_ok(), "{restored:?}");
        }
        self.paths.release_all(&prepared.held_paths);
        self.resolve_gateways();
        self.entries.reclaim(&self.domain, neighbors, &mut self.paths);
    }

    /// Makes entries and memory of the table usable again that every worker has passed by. Returns whether any still wait
    /// for that.
    pub fn reclaim(&mut self, neighbors: &mut Neighbors) -> bool {
        self.fib.reclaim();
        self.entries.reclaim(&self.domain, neighbors, &mut self.paths) > 0 || self.fib.memory().retired > 0
    }

    /// The hold that `prepare` had on its entries ends: those that no leaf names wait for the workers.
    fn let_go(&mut self, prepared: &Prepared) {
        for (_, id) in &prepared.leaves {
            if let Some(id) = id {
                self.entries.release(*id);
            }
        }
        self.entries.retire(&self.domain);
    }

    /// Tells the routes, and returns what was told before.
    fn put_all(&mut self, routes: Vec<(IpNet, Routes)>, pulse: &mut dyn FnMut()) -> Vec<(IpNet, Routes)> {
        let mut before_all = Vec::with_capacity(routes.len());
        for (count, (prefix, after)) in routes.into_iter().enumerate() {
            if count % PULSE == 0 {
                pulse();
            }
            let before = self.rib.put(prefix, after);
            before_all.push((prefix, before));
            for gateway in after.gateways() {
                self.gateways.entry(gateway).or_default().routes += 1;
            }
            for gateway in before.gateways() {
                if let Some(known) = self.gateways.get_mut(&gateway) {
                    known.routes -= 1;
                }
            }
        }
        before_all
    }

    /// Looks every gateway up again; returns those that are reached another way than before. One that is looked up for the
    /// first time is not among them: all routes that name it are part of the change that brought it.
    fn resolve_gateways(&mut self) -> HashSet<IpAddr> {
        self.gateways.retain(|_, gateway| gateway.routes > 0);
        let mut moved = HashSet::new();
        for (address, gateway) in &mut self.gateways {
            let next_hop = self.rib.resolve(*address);
            if gateway.resolved && gateway.next_hop != next_hop {
                moved.insert(*address);
            }
            (gateway.next_hop, gateway.resolved) = (next_hop, true);
        }
        moved
    }

    /// Notes that prefixes and the paths within them have to be looked at.
    fn mark_dirty(&self, prefixes: &[IpNet], dirty: &mut Vec<IpNet>) {
        dirty.extend_from_slice(prefixes);
        if !self.paths.is_empty() {
            for prefix in prefixes {
                dirty.extend(self.paths.within(Some(*prefix)).map(|(prefix, _)| prefix));
            }
        }
    }

    fn check_gateways(&self, told: &[IpNet]) -> Result<(), ForwardingError> {
        for prefix in told {
            if let Some(RouteTarget::Via(gateway)) = self.rib.get(*prefix).socket
                && self.gateways.get(&gateway).is_none_or(|known| known.next_hop.is_none())
            {
                let prefix = *prefix;
                return Err(match self.why_no_other_host(gateway) {
                    Some(what) => ForwardingError::NoRouter { prefix, gateway, what: what.words() },
                    None => ForwardingError::Gateway { prefix, gateway },
                });
            }
        }
        Ok(())
    }

    /// What an address of one of our links is, where it is not that of another host.
    pub fn why_no_other_host(&self, address: IpAddr) -> Option<NoOtherHost> {
        match self.rib.get(address.into()).own? {
            OwnRoute::Local => Some(NoOtherHost::Own),
            OwnRoute::Broadcast => Some(NoOtherHost::Subnet),
            OwnRoute::Connected(_) => None,
        }
    }

    /// Whether an address is one of the router's own.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.why_no_other_host(address) == Some(NoOtherHost::Own)
    }

    /// What a route says to do, where it can be done.
    fn usable(&self, target: Target) -> Option<Hop> {
        match target {
            Target::Own(OwnRoute::Local) => Some(Hop::Local),
            Target::Own(OwnRoute::Broadcast) => Some(Hop::Broadcast),
            Target::Own(OwnRoute::Connected(port)) => Some(Hop::Connected(port)),
            Target::Told(RouteTarget::Blackhole) => Some(Hop::Blackhole),
            Target::Told(RouteTarget::Unreachable) => Some(Hop::Unreachable),
            Target::Told(RouteTarget::OnLink(gateway, port)) => Some(Hop::Via(port, gateway.into())),
            Target::Told(RouteTarget::Via(gateway)) => {
                let (port, next_hop) = self.gateways.get(&gateway)?.next_hop?;
                Some(Hop::Via(port, next_hop))
            }
        }
    }

    /// The longest usable route to a prefix or one that covers it.
    fn route(&self, prefix: IpNet) -> Option<(IpNet, Source, Hop)> {
        // Most often it is the route to the prefix itself.
        if let Some((source, hop)) = self.best(&self.rib.get(prefix)) {
            return Some((prefix, source, hop));
        }
        self.rib.covering(prefix).find_map(|(covering, routes)| {
            let (source, hop) = self.best(&routes)?;
            Some((covering, source, hop))
        })
    }

    /// What the leaf of a prefix has to mean; None where it has none.
    fn meaning(&self, prefix: IpNet) -> Option<Meaning> {
        let (covering, _, hop) = self.route(prefix)?;
        if covering != prefix && self.paths.exact(prefix).is_none() {
            return None;
        }
        let path = match hop {
            Hop::Via(_, gateway) => self.paths.way(prefix).filter(|way| way.next_hop == gateway).map(|way| way.path),
            _ => None,
        };
        Some(Meaning { hop, path })
    }
}

#[cfg(test)]
mod refused_tests;
#[cfg(test)]
mod tests;
