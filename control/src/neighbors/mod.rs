//! Who is on our links: the neighbours' Ethernet addresses, found by ARP (RFC 826) and neighbour discovery (RFC 4861), and
//! kept fresh.
//!
//! Workers answer requests and say whom they want or have seen; here the states are kept, requests are made, and the
//! table that workers read is built. Gateways of routes keep their index in that table for as long as an entry refers to
//! them; other hosts are appended. The number of neighbours is bounded, and those that never answered go first, so
//! that a scan of a subnet takes neither memory nor the neighbours that do answer. Gateways and those that an operator
//! named find room whoever else claims to be there. Time is an argument.

mod reachability;
mod request;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use carpool_dataplane::fib::{Neighbour, NeighbourIndex, NeighbourTable, PortIndex};
use carpool_dataplane::packet::ethernet::MacAddr;
use carpool_dataplane::packet::ipv6::{is_link_local, link_local_of};
use hashbrown::HashMap;
use ipnet::IpNet;

use crate::config::names_no_host;
pub use reachability::{ASKED, Advertised, Phase, RETRY};
use reachability::{Known, Step};
pub use request::{Addresses, Request};

/// Neighbours that are kept unless told otherwise.
pub const NEIGHBOR_LIMIT: usize = 4096;

/// A port as far as ARP and neighbour discovery are concerned.
#[derive(Clone, Debug)]
pub struct Link {
    /// Our Ethernet address.
    pub mac: [u8; 6],
    /// Our addresses on the link, host bits included.
    pub addresses: Vec<IpNet>,
    /// Our link-local address, which follows from the Ethernet address; None where there is no IPv6.
    pub link_local: Option<Ipv6Addr>,
}

impl Link {
    /// The link of a port with this Ethernet address and these addresses. It has a link-local one (RFC 4291, 2.5.6) where
    /// one of these is of IPv6.
    pub fn new(mac: [u8; 6], addresses: Vec<IpNet>) -> Link {
        let has_ipv6 = addresses.iter().any(|net| net.addr().is_ipv6());
        Link { mac, addresses, link_local: has_ipv6.then(|| link_local_of(MacAddr(mac))) }
    }

    /// Our address in the subnet of a neighbour; None where it can be no neighbour on this link.
    pub fn source_for(&self, neighbor: IpAddr) -> Option<IpAddr> {
        let own = self.addresses.iter().map(IpNet::addr).chain(self.link_local.map(IpAddr::V6));
        if own.into_iter().any(|own| own == neighbor) {
            return None;
        }
        if matches!(neighbor, IpAddr::V6(neighbor) if is_link_local(neighbor)) {
            return self.link_local.map(IpAddr::V6);
        }
        let net = self.addresses.iter().find(|net| net.contains(&neighbor))?;
        (!names_no_host(net, neighbor)).then_some(net.addr())
    }
}

/// A neighbour's place: the same address can be on several links.
pub type Key = (PortIndex, IpAddr);

/// A gateway's place in the published table.
#[derive(Clone, Copy, Debug)]
struct Gateway {
    key: Key,
    /// Forwarding entries that refer to it.
    users: u32,
}

/// A neighbour for people to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborView {
    /// Its port.
    pub port: PortIndex,
    /// Its address.
    pub address: IpAddr,
    /// Its Ethernet address, where it is known.
    pub mac: Option<[u8; 6]>,
    /// What is known of it.
    pub phase: Phase,
    /// When it was last heard of, or else first asked for.
    pub since: Instant,
}

/// Why a neighbour cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NeighborError {
    #[error("{0} is not the address of another host on the link")]
    NotOnLink(IpAddr),
    #[error("there are {0} static neighbours already, which is the most there can be")]
    Full(usize),
}

/// All neighbours.
#[derive(Debug)]
pub struct Neighbors {
    links: Vec<Link>,
    limit: usize,
    known: HashMap<Key, Known>,
    /// Those that have not answered, the first asked for first; some have since.
    unanswered: VecDeque<(Key, Instant)>,
    /// No neighbour may go, until one's state changes.
    is_full: bool,
    gateways: Vec<Option<Gateway>>,
    gateway_at: HashMap<Key, NeighbourIndex>,
    table: Arc<NeighbourTable>,
    /// Whether the table is older than what is known.
    changed: bool,
    requests: Vec<Request>,
    /// No timer ends before this.
    next_timer: Option<Instant>,
}

impl Neighbors {
    /// Nobody yet, on these links; at most `limit` of them.
    pub fn new(links: Vec<Link>, limit: usize) -> Neighbors {
        Neighbors {
            links,
            limit,
            known: HashMap::new(),
            unanswered: VecDeque::new(),
            is_full: false,
            gateways: Vec::new(),
            gateway_at: HashMap::new(),
            table: Arc::default(),
            changed: false,
            requests: Vec::new(),
            next_timer: None,
        }
    }

    /// The port on whose link an address can be a neighbour.
    pub fn port_of(&self, address: IpAddr) -> Option<PortIndex> {
        let port = self.links.iter().position(|link| link.source_for(address).is_some())?;
        u16::try_from(port).ok().map(PortIndex)
    }

    /// The links, by port.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    fn is_on_link(&self, (port, address): Key) -> bool {
        self.links.get(port.index()).is_some_and(|link| link.source_for(address).is_some())
    }

    /// A packet waits for a neighbour: it is asked for, unless that is under way.
    pub fn wanted(&mut self, key: Key, now: Instant) {
        if !self.is_on_link(key) {
            return;
        }
        if let Some(known) = self.known.get_mut(&key).filter(|known| known.phase != Phase::Failed) {
            known.used = true;
            return;
        }
        if !self.known.contains_key(&key) && !self.make_room(self.gateway_at.contains_key(&key)) {
            return;
        }
        self.known.insert(key, Known::asked_for(now));
        self.note_unanswered(key, now);
        self.ask(key, None);
        self.wait_until(Some(now + RETRY));
    }

    /// Notes that a neighbour has to answer. Notes that are out of date go before they outnumber the neighbours: one that
    /// fails and is wanted again, over and over, has a new one every time.
    fn note_unanswered(&mut self, key: Key, since: Instant) {
        if self.unanswered.len() >= 2 * self.limit {
            self.unanswered.retain(|note| is_unanswered(&self.known, note));
        }
        self.unanswered.push_back((key, since));
        self.is_full = false;
    }

    /// A neighbour was heard of (RFC 826: a known one is updated by whatever it says; a new one is only learned from
    /// what was addressed to us). One with an IPv6 address has asked for us.
    pub fn seen(&mut self, key: Key, mac: [u8; 6], addressed_to_us: bool, now: Instant) {
        if !self.is_on_link(key) {
            return;
        }
        let is_gateway = self.gateway_at.contains_key(&key);
        let learn = addressed_to_us || is_gateway;
        if !self.known.contains_key(&key) && (!learn || !self.make_room(is_gateway)) {
            return;
        }
        let known = self.known.entry(key).or_insert_with(|| Known::asked_for(now));
        let before = known.mac;
        if key.1.is_ipv4() {
            known.heard(mac, now)
        } else {
            known.asked_us(mac, now)
        }
        let (after, timer) = (known.mac, known.timer);
        self.changed |= before != after;
        self.wait_until(timer);
    }

    /// An advertisement told of a neighbour; one that nobody asked for is none of ours (RFC 4861, 7.2.5).
    pub fn advertised(&mut self, key: Key, said: Advertised, now: Instant) {
        let Some(known) = self.known.get_mut(&key) else { return };
        let before = known.mac;
        known.advertised(said, now);
        let (after, timer) = (known.mac, known.timer);
        self.changed |= before != after;
        self.wait_until(timer);
    }

    /// Adds or replaces a neighbour that is not asked for and does not age.
    pub fn set_static(&mut self, key: Key, mac: [u8; 6], now: Instant) -> Result<(), NeighborError> {
        if !self.is_on_link(key) {
            return Err(NeighborError::NotOnLink(key.1));
        }
        if !self.is_static(key) && self.static_keys().count() >= self.limit {
            return Err(NeighborError::Full(self.limit));
        }
        if !self.known.contains_key(&key) {
            self.make_room(true);
        }
        self.known.insert(key, Known::told(mac, now));
        self.changed = true;
        Ok(())
    }

    /// Whether a neighbour was added by [`Neighbors::set_static`].
    pub fn is_static(&self, key: Key) -> bool {
        self.known.get(&key).is_some_and(|known| known.phase == Phase::Static)
    }

    fn static_keys(&self) -> impl Iterator<Item = &Key> {
        self.known.iter().filter(|(_, known)| known.phase == Phase::Static).map(|(key, _)| key)
    }

    /// Neighbours that can be added by [`Neighbors::set_static`].
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Forgets a neighbour. False where there was none.
    pub fn forget(&mut self, key: Key) -> bool {
        let forgotten = self.known.remove(&key).is_some();
        self.changed |= forgotten;
        self.is_full &= !forgotten;
        forgotten
    }

    /// A place in the table for a gateway; each call wants a call of [`Neighbors::release_gateway`].
    pub fn hold_gateway(&mut self, key: Key) -> NeighbourIndex {
        if let Some(index) = self.gateway_at.get(&key)
            && let Some(Some(gateway)) = self.gateways.get_mut(index.0 as usize)
        {
            gateway.users += 1;
            return *index;
        }
        let gateway = Some(Gateway { key, users: 1 });
        let place = self.gateways.iter().position(Option::is_none);
        let place = place.unwrap_or_else(|| {
            self.gateways.push(None);
            self.gateways.len() - 1
        });
        if let Some(slot) = self.gateways.get_mut(place) {
            *slot = gateway;
        }
        let index = NeighbourIndex(u32::try_from(place).unwrap_or(u32::MAX));
        self.gateway_at.insert(key, index);
        self.changed = true;
        index
    }

    /// Gives a gateway's place back.
    pub fn release_gateway(&mut self, index: NeighbourIndex) {
        let Some(slot) = self.gateways.get_mut(index.0 as usize) else { return };
        if let Some(gateway) = slot {
            gateway.users -= 1;
            if gateway.users == 0 {
                self.gateway_at.remove(&gateway.key);
                *slot = None;
                self.changed = true;
            }
        }
    }

    /// Lets time pass: asks again, gives up, forgets. Cheap where no timer has ended.
    pub fn tick(&mut self, now: Instant) {
        if self.next_timer.is_none_or(|timer| now < timer) {
            return;
        }
        self.collect_used();
        self.next_timer = None;
        self.is_full = false;
        let mut asks = Vec::new();
        let mut gone = Vec::new();
        for (key, known) in &mut self.known {
            if known.timer.is_some_and(|timer| timer <= now) {
                let before = known.mac;
                match known.timer_ended(now) {
                    Step::Ask(to) => asks.push((*key, to)),
                    Step::Forget => gone.push(*key),
                    Step::Nothing => {}
                }
                self.changed |= before != known.mac;
            }
            self.next_timer = self.next_timer.into_iter().chain(known.timer).min();
        }
        for (key, to) in asks {
            self.ask(key, to);
        }
        for key in gone {
            self.forget(key);
        }
    }

    /// When [`Neighbors::tick`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.next_timer
    }

    /// The requests to send.
    pub fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// Whether [`Neighbors::table`] would return something new.
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// The table for workers: gateways at their index, then the other hosts whose address is known.
    pub fn table(&mut self) -> Arc<NeighbourTable> {
        if self.changed {
            self.collect_used();
            let mac = |key: &Key| self.known.get(key).and_then(|known| known.mac);
            let gateways = self.gateways.iter().map(|gateway| match gateway {
                Some(Gateway { key, .. }) => Neighbour::new(key.0, key.1, mac(key)),
                // Nobody refers to this place, and no packet is sent to this address.
                None => Neighbour::new(PortIndex(0), Ipv4Addr::UNSPECIFIED.into(), None),
            });
            let hosts = self.known.iter().filter(|(key, _)| !self.gateway_at.contains_key(*key));
            let hosts = hosts.filter_map(|(key, known)| Some(Neighbour::new(key.0, key.1, Some(known.mac?))));
            self.table = Arc::new(NeighbourTable::new(gateways.chain(hosts).collect()));
            self.changed = false;
        }
        Arc::clone(&self.table)
    }

    /// A neighbour's Ethernet address.
    pub fn mac(&self, key: Key) -> Option<[u8; 6]> {
        self.known.get(&key)?.mac
    }

    /// The neighbour at a place of the gateways.
    pub fn gateway(&self, index: NeighbourIndex) -> Option<Key> {
        self.gateways.get(index.0 as usize)?.map(|gateway| gateway.key)
    }

    /// How many are known or asked for.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nobody is known or asked for.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether a neighbour is known or asked for.
    pub fn contains(&self, key: Key) -> bool {
        self.known.contains_key(&key)
    }

    /// All of them in order of address.
    pub fn views(&self) -> Vec<NeighborView> {
        let view = |((port, address), known): (&Key, &Known)| NeighborView {
            port: *port,
            address: *address,
            mac: known.mac,
            phase: known.phase,
            since: known.since,
        };
        let mut views: Vec<_> = self.known.iter().map(view).collect();
        views.sort_unstable_by_key(|view| (view.address, view.port));
        views
    }

    fn ask(&mut self, (port, target): Key, to: Option<[u8; 6]>) {
        if let Some(link) = self.links.get(port.index())
            && let Some(source) = link.source_for(target)
            && let Some(addresses) = Addresses::new(source, target)
        {
            self.requests.push(Request { port, mac: link.mac, addresses, to });
        }
    }

    fn wait_until(&mut self, timer: Option<Instant>) {
        self.next_timer = self.next_timer.into_iter().chain(timer).min();
    }

    /// Notes whom workers sent to since the last time.
    fn collect_used(&mut self) {
        for neighbour in self.table.iter() {
            if neighbour.take_used()
                && let Some(known) = self.known.get_mut(&(neighbour.port, neighbour.address))
            {
                known.used = true;
            }
        }
    }

    /// Makes room for one more: at the limit, the one goes that has been asked for longest and did not answer, or else the
    /// one that was not heard of for longest and is not used. Where there is none of either, one `of_right` takes the place
    /// of any host that is neither a gateway nor told by an operator, or goes beyond the limit where there are only such;
    /// for others the answer is false.
    fn make_room(&mut self, of_right: bool) -> bool {
        if self.is_full && !of_right {
            return false;
        }
        while let Some(note) = self.unanswered.front().copied() {
            let (waits, (key, _)) = (is_unanswered(&self.known, &note), note);
            if waits && self.known.len() < self.limit {
                break;
            }
            self.unanswered.pop_front();
            if waits {
                self.known.remove(&key);
            }
        }
        if self.known.len() < self.limit {
            return true;
        }
        self.collect_used();
        let stale = self.known.iter().filter(|(_, known)| known.phase == Phase::Stale && !known.used);
        let oldest = stale.min_by_key(|(_, known)| known.since).map(|(key, _)| *key);
        if oldest.is_some_and(|key| self.forget(key)) {
            return true;
        }
        if of_right {
            let may_go =
                |(key, known): &(&Key, &Known)| known.phase != Phase::Static && !self.gateway_at.contains_key(*key);
            let oldest = self.known.iter().filter(may_go).min_by_key(|(_, known)| known.since).map(|(key, _)| *key);
            if let Some(key) = oldest {
                self.forget(key);
            }
        }
        self.is_full = true;
        of_right
    }
}

/// Whether the neighbour of a note still has to answer.
fn is_unanswered(known: &HashMap<Key, Known>, (key, since): &(Key, Instant)) -> bool {
    known.get(key).is_some_and(|known| known.mac.is_none() && known.since == *since)
}

#[cfg(test)]
mod tests;
