//! The paths, by the destinations they lead to, and the numbers of their lists of hops.
//!
//! Prefixes with the same hops share one number, the [`PathIndex`] by which forwarding entries and workers name them. A
//! number keeps its meaning while a prefix or a forwarding entry names it; forwarding entries go only when every
//! worker has moved on, and so no worker meets a number whose meaning has changed under it.

use std::net::IpAddr;

use carpool_dataplane::fib::PathIndex;
use hashbrown::HashMap;
use ipnet::IpNet;
use prefix_trie::joint::map::JointPrefixMap;

use super::{HopList, PathSource, ToldPaths};

/// The most different lists of hops: as many as a [`PathIndex`] can tell apart.
const MAX_PATHS: usize = 1 << 16;
/// The most addresses in them: nodes have numbers of 16 bits, of which peers need some.
const MAX_ADDRESSES: usize = 60_000;

/// Why a path cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathsError {
    #[error("more than {MAX_PATHS} paths with different hops")]
    Paths,
    #[error("more than {MAX_ADDRESSES} different routers on all paths")]
    Routers,
}

/// What forwarding wants to know of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Its first hop.
    pub next_hop: IpAddr,
    /// The number of its hops.
    pub path: PathIndex,
}

#[derive(Debug)]
struct Slot {
    hops: HopList,
    /// Prefixes and forwarding entries that name it.
    users: usize,
}

/// All paths.
#[derive(Debug, Default)]
pub struct PathTable {
    told: JointPrefixMap<IpNet, ToldPaths>,
    /// What holds.
    ways: JointPrefixMap<IpNet, Way>,
    slots: Vec<Option<Slot>>,
    by_hops: HashMap<HopList, PathIndex>,
    free: Vec<PathIndex>,
    /// The addresses in all lists of hops, and in how many each is.
    addresses: HashMap<IpAddr, usize>,
    /// Counts the changes of `slots`.
    version: u64,
}

impl PathTable {
    /// Whether there is no path.
    pub fn is_empty(&self) -> bool {
        self.ways.is_empty()
    }

    /// How many prefixes have a path that holds.
    pub fn count(&self) -> usize {
        self.ways.len()
    }

    /// All that was told of exactly this prefix.
    pub fn told(&self, prefix: IpNet) -> ToldPaths {
        self.told.get(&prefix).cloned().unwrap_or_default()
    }

    /// The path to exactly this prefix.
    pub fn exact(&self, prefix: IpNet) -> Option<Way> {
        self.ways.get(&prefix).copied()
    }

    /// The longest path that covers a prefix.
    pub fn way(&self, prefix: IpNet) -> Option<Way> {
        self.ways.get_lpm(&prefix).map(|(_, way)| *way)
    }

    /// The paths, within a prefix or at all, in order, those of IPv4 first.
    pub fn within(&self, prefix: Option<IpNet>) -> impl Iterator<Item = (IpNet, Way)> {
        let ways = prefix.map_or_else(|| self.ways.iter(), |prefix| self.ways.children(&prefix));
        ways.map(|(prefix, way)| (prefix, *way))
    }

    /// The hops of a number.
    pub fn hops(&self, path: PathIndex) -> Option<&HopList> {
        Some(&self.slots.get(path.index())?.as_ref()?.hops)
    }

    /// The hops of all numbers, in their order; None where one is free.
    pub(super) fn all_hops(&self) -> impl Iterator<Item = Option<&HopList>> {
        self.slots.iter().map(|slot| slot.as_ref().map(|slot| &slot.hops))
    }

    /// Another number after every change of what [`PathTable::hops`] returns.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// What has to be told so that a source tells these paths and no others. Of one prefix the last one counts.
    pub fn replacement(
        &self,
        source: PathSource,
        paths: impl IntoIterator<Item = (IpNet, HopList)>,
    ) -> Vec<(IpNet, ToldPaths)> {
        let had = self.told.iter().filter(|(_, told)| told.of(source).is_some());
        let mut after: HashMap<IpNet, Option<HopList>> = had.map(|(prefix, _)| (prefix, None)).collect();
        after.extend(paths.into_iter().map(|(prefix, hops)| (prefix, Some(hops))));
        let told = after.into_iter().map(|(prefix, hops)| (prefix, self.told(prefix), hops));
        let changed = told.filter(|(_, told, hops)| told.of(source) != hops.as_ref());
        changed.map(|(prefix, told, hops)| (prefix, told.with(source, hops))).collect()
    }

    /// Says what is told of a prefix, and returns what was told before.
    ///
    /// # Errors
    /// There are too many; then nothing has changed.
    pub fn put(&mut self, prefix: IpNet, told: ToldPaths) -> Result<ToldPaths, PathsError> {
        let way = match told.best() {
            Some((hops, _)) => Some(Way { next_hop: hops.first(), path: self.number(hops)? }),
            None => None,
        };
        let way_before = match way {
            Some(way) => self.ways.insert(prefix, way),
            None => self.ways.remove(&prefix),
        };
        if let Some(way) = way_before {
            self.release(way.path);
        }
        let before = if told.is_empty() { self.told.remove(&prefix) } else { self.told.insert(prefix, told) };
        Ok(before.unwrap_or_default())
    }

    /// A forwarding entry, or a change under way, names a path until [`PathTable::release`].
    pub fn hold(&mut self, path: PathIndex) {
        if let Some(slot) = self.slots.get_mut(path.index()).and_then(Option::as_mut) {
            slot.users += 1;
        }
    }

    /// Ends several holds.
    pub fn release_all(&mut self, paths: &[PathIndex]) {
        for path in paths {
            self.release(*path);
        }
    }

    /// Ends a hold.
    pub fn release(&mut self, path: PathIndex) {
        let Some(place) = self.slots.get_mut(path.index()) else { return };
        let Some(slot) = place else { return };
        slot.users -= 1;
        if slot.users == 0 {
            for address in slot.hops.iter() {
                if let Some(count) = self.addresses.get_mut(&address) {
                    *count -= 1;
                    if *count == 0 {
                        self.addresses.remove(&address);
                    }
                }
            }
            self.by_hops.remove(&slot.hops);
            *place = None;
            self.free.push(path);
            self.version += 1;
        }
    }

    /// The number of these hops, held.
    fn number(&mut self, hops: &HopList) -> Result<PathIndex, PathsError> {
        if let Some(path) = self.by_hops.get(hops).copied() {
            self.hold(path);
            return Ok(path);
        }
        if self.addresses.len() + hops.iter().filter(|hop| !self.addresses.contains_key(hop)).count() > MAX_ADDRESSES {
            return Err(PathsError::Routers);
        }
        let path = match self.free.pop() {
            Some(path) => path,
            None => {
                let path = u16::try_from(self.slots.len()).map_err(|_| PathsError::Paths)?;
                self.slots.push(None);
                PathIndex(path)
            }
        };
        for address in hops.iter() {
            *self.addresses.entry(address).or_default() += 1;
        }
        if let Some(place) = self.slots.get_mut(path.index()) {
            *place = Some(Slot { hops: hops.clone(), users: 1 });
        }
        self.by_hops.insert(hops.clone(), path);
        self.version += 1;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn hops(bits: &[u32]) -> HopList {
        let addresses: Vec<_> = bits.iter().map(|bits| IpAddr::V4(std::net::Ipv4Addr::from_bits(*bits))).collect();
        HopList::new(&addresses).expect("1 to 16 hops")
    }

    fn told(list: HopList) -> ToldPaths {
        ToldPaths::default().with(PathSource::Config, Some(list))
    }

    #[test]
    fn prefixes_with_the_same_hops_share_a_number() {
        let mut table = PathTable::default();
        for prefix in ["10.0.0.0/8", "10.1.0.0/16"] {
            table.put(net(prefix), told(hops(&[1, 2]))).expect("room");
        }
        table.put(net("10.2.0.0/16"), told(hops(&[1, 3]))).expect("room");
        let path = |prefix| table.way(net(prefix)).expect("a path").path;
        assert_eq!([path("10.9.0.0/16"), path("10.1.2.0/24"), path("10.2.2.0/24")], [0, 0, 1].map(PathIndex));
    }

    #[test]
    fn a_number_keeps_its_meaning_while_an_entry_names_it() {
        let mut table = PathTable::default();
        table.put(net("10.0.0.0/8"), told(hops(&[1, 2]))).expect("room");
        let path = table.way(net("10.0.0.0/8")).expect("a path").path;
        table.hold(path);
        table.put(net("10.0.0.0/8"), told(hops(&[1, 3]))).expect("room");
        assert_ne!(table.way(net("10.0.0.0/8")).expect("a path").path, path);
        assert_eq!(table.hops(path), Some(&hops(&[1, 2])));
        table.release(path);
        assert_eq!(table.hops(path), None);
        table.put(net("10.1.0.0/16"), told(hops(&[7]))).expect("room");
        assert_eq!(table.hops(path), Some(&hops(&[7])), "now it is free for others");
    }

    #[test]
    fn a_source_replaces_what_it_told_and_nothing_else() {
        let mut table = PathTable::default();
        table.put(net("10.0.0.0/8"), told(hops(&[1]))).expect("room");
        table.put(net("10.1.0.0/16"), told(hops(&[2]))).expect("room");
        let socket = ToldPaths::default().with(PathSource::Socket, Some(hops(&[3])));
        table.put(net("10.2.0.0/16"), socket.clone()).expect("room");
        let new = [(net("10.1.0.0/16"), hops(&[2])), (net("10.2.0.0/16"), hops(&[4]))];
        let mut changes = table.replacement(PathSource::Config, new);
        changes.sort_by_key(|(prefix, _)| *prefix);
        let both = socket.with(PathSource::Config, Some(hops(&[4])));
        assert_eq!(changes, [(net("10.0.0.0/8"), ToldPaths::default()), (net("10.2.0.0/16"), both)]);
    }

    #[test]
    fn more_paths_than_numbers_are_refused() {
        let mut table = PathTable::default();
        let prefix = |i: u32| IpNet::from(IpAddr::V4(std::net::Ipv4Addr::from_bits(i)));
        for i in 0..1 << 16 {
            table.put(prefix(i), told(hops(&[i / 256, 1000 + i % 256]))).expect("room");
        }
        let one_more = told(hops(&[1, 2, 3]));
        let error = table.put(prefix(0), one_more.clone()).expect_err("no number is left");
        assert_eq!(error.to_string(), "more than 65536 paths with different hops");
        assert_eq!(table.told(prefix(0)), told(hops(&[0, 1000])), "nothing has changed");
        table.put(prefix(70_000), told(hops(&[0, 1000]))).expect("these hops have a number");
        table.put(prefix(1), ToldPaths::default()).expect("one less");
        table.put(prefix(0), one_more).expect("room again");
    }

    #[test]
    fn more_routers_than_node_numbers_are_refused() {
        let mut table = PathTable::default();
        let prefix = |i: u32| IpNet::from(IpAddr::V4(std::net::Ipv4Addr::from_bits(i)));
        let list = |i: u32| hops(&(i * 16..i * 16 + 16).collect::<Vec<_>>());
        for i in 0..3750 {
            table.put(prefix(i), told(list(i))).expect("room");
        }
        let error = table.put(prefix(9999), told(list(3750))).expect_err("60,000 are there");
        assert_eq!(error.to_string(), "more than 60000 different routers on all paths");
        table.put(prefix(9999), told(hops(&[16, 0]))).expect("these are known");
        table.put(prefix(5), ToldPaths::default()).expect("16 less");
        table.put(prefix(9999), told(list(3750))).expect("room again");
    }

    proptest! {
        /// Numbers, users and addresses are what a table has that was told the same at once.
        #[test]
        fn nothing_is_left_of_what_went(
            steps in prop::collection::vec((0u32..6, prop::option::of(prop::collection::vec(1u32..5, 1..4))), 1..40),
        ) {
            let mut table = PathTable::default();
            let mut last = std::collections::BTreeMap::new();
            for (prefix, list) in steps {
                let now = list.map_or_else(ToldPaths::default, |list| told(hops(&list)));
                let before = table.put(prefix_of(prefix), now.clone()).expect("room");
                prop_assert_eq!(before, last.insert(prefix, now).unwrap_or_default());
            }
            let mut once = PathTable::default();
            for (prefix, told) in &last {
                once.put(prefix_of(*prefix), told.clone()).expect("room");
            }
            prop_assert_eq!(&table.addresses, &once.addresses);
            prop_assert_eq!(table.by_hops.len(), once.by_hops.len());
            for prefix in last.keys() {
                let of = |table: &PathTable| table.way(prefix_of(*prefix)).map(|way| table.hops(way.path).cloned());
                prop_assert_eq!(of(&table), of(&once));
            }
        }
    }

    fn prefix_of(number: u32) -> IpNet {
        IpNet::from(IpAddr::V4(std::net::Ipv4Addr::from_bits(number << 8)))
    }
}
