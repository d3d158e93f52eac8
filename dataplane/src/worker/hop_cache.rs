//! What a worker remembers of the way out: all that a packet to be forwarded needs, in one look.
//!
//! From a leaf of the routes to the bytes of an Ethernet header it is five dependent loads: entry, port, gateway, neighbour,
//! position of the queue. Most packets go where others went before, so each worker keeps what it found for the leaves it met,
//! as long as the control thread publishes nothing; and of leaves that are a link, for the IPv4 hosts there. Only what is no one's
//! special case is remembered: a packet whose leaf is not here takes the long way, which decides everything and loses nothing
//! but time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::arch::{Tick, TickRate, TickSpan};
use crate::fib::{Adjacency, Entry, EntryId, Neighbour, PathIndex, PeerIndex, PortIndex};
use crate::packet::ethernet::{EthernetHeader, HEADER_LEN, MacAddr};
use crate::pool::Format;
use crate::pool::pooled_packet_detector::ZeroChecksum;

use super::moment::{Moment, Publication};
use super::origin::Family;

/// Leaves that are remembered at once; a power of two. Those that share a place take turns.
const PLACES: usize = 1024;
/// Hosts on our links that are remembered at once: two to this. Those that share a place take turns.
const HOST_BITS: u32 = 12;
const HOST_PLACES: usize = 1 << HOST_BITS;
/// How long at most a hop is remembered: from then on its neighbour is marked as used again, which the control thread looks
/// for every few seconds.
const MEMORY: Duration = Duration::from_millis(10);
/// No UDP port: where there are no peers no packet is a pooled packet in transit.
const NO_PORT: u32 = u32::MAX;

/// The way to a next hop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    /// Which leaf it is of, and since which generation.
    tag: u64,
    /// The Ethernet header of a packet that takes it, of the family that it was remembered for.
    pub frame: [u8; HEADER_LEN],
    /// The largest packet that takes it, in bytes.
    pub mtu: u16,
    /// The longest frame that takes it and need not be looked at, in bytes: none where there is a path.
    pub longest: u16,
    /// Which of the worker's ports it leaves by.
    pub at: u16,
    /// The path that stream packets can be pooled on, where there are rules for that.
    pub path: Option<PathIndex>,
}

/// The way to a host on a link.
#[derive(Clone, Copy, Debug)]
struct Host {
    address: u32,
    hop: Hop,
}

/// The hops that a worker remembers.
pub(super) struct HopCache {
    places: Box<[Hop; PLACES]>,
    /// The same of leaves that IPv6 packets have met.
    places6: Box<[Hop; PLACES]>,
    /// Hosts of leaves that have no gateway.
    hosts: Box<[Host; HOST_PLACES]>,
    /// Grows whenever all is forgotten, by more than there are leaves: the upper bits of tags. Those of generation 0 are of no leaf.
    generation: u64,
    /// The state that it was learnt from.
    learnt_from: Publication,
    until: Tick,
    memory: TickSpan,
    /// The UDP port whose packets take the long way, in network byte order.
    pool_port: u32,
    /// Whether stream packets can be pooled on one of the ways.
    has_paths: bool,
    /// Whether some paths are other workers'.
    shares_paths: bool,
    /// The peer that the last pooled packet came from, by its address.
    last_peer: Option<(IpAddr, KnownPeer)>,
    /// Where the last pooled packet of ours went in this iteration, and the leaf of that.
    last_destination: Option<(u32, EntryId)>,
    /// The same of one with IPv6 outside.
    last_destination6: Option<(u128, EntryId)>,
}

/// What is to be known of a peer to take its pooled packets.
pub(super) type KnownPeer = (PeerIndex, ZeroChecksum);

impl HopCache {
    /// An empty one.
    pub fn new(rate: TickRate) -> HopCache {
        let nowhere = Hop { tag: 0, frame: [0; HEADER_LEN], mtu: 0, longest: 0, at: 0, path: None };
        HopCache {
            places: Box::new([nowhere; PLACES]),
            places6: Box::new([nowhere; PLACES]),
            hosts: Box::new([Host { address: 0, hop: nowhere }; HOST_PLACES]),
            generation: 0,
            learnt_from: Publication::NONE,
            until: Tick(0),
            memory: rate.ticks(MEMORY),
            pool_port: NO_PORT,
            has_paths: false,
            shares_paths: false,
            last_peer: None,
            last_destination: None,
            last_destination6: None,
        }
    }

    /// Forgets what may not be true any more. At the start of each iteration.
    #[inline(always)]
    pub fn refresh(&mut self, moment: &Moment<'_>) {
        let source = moment.publication();
        (self.last_destination, self.last_destination6) = (None, None);
        if self.learnt_from != source || moment.now.since(self.until) > TickSpan(0) {
            self.forget(source, moment);
        }
    }

    /// Some paths are other workers' from now on. Ways with such a path are not to be learnt.
    pub fn share_paths(&mut self) {
        self.shares_paths = true;
    }

    /// Whether a way with this entry is certain to be this worker's.
    #[inline(always)]
    pub fn is_ours(&self, entry: &Entry) -> bool {
        !self.shares_paths || entry.path.is_none()
    }

    /// Has the next iteration forget everything. To be called before the worker goes offline: what it learnt from may then be
    /// freed and another state lie in its place, and an epoch that was read before that does not tell the two apart.
    pub fn forget_all(&mut self) {
        self.learnt_from = Publication::NONE;
    }

    /// How many leaves are remembered.
    #[cfg(test)]
    pub fn remembered(&self) -> usize {
        let places = self.places.iter().chain(&*self.places6);
        places.filter(|hop| hop.tag >> 16 == self.generation >> 16 && hop.mtu > 0).count()
    }

    /// How many hosts are remembered.
    #[cfg(test)]
    pub fn remembered_hosts(&self) -> usize {
        self.hosts.iter().filter(|host| host.hop.tag >> 16 == self.generation >> 16 && host.hop.mtu > 0).count()
    }

    #[cold]
    fn forget(&mut self, source: Publication, moment: &Moment<'_>) {
        self.generation += 1 << 16;
        self.learnt_from = source;
        self.until = moment.now + self.memory;
        self.has_paths = false;
        self.last_peer = None;
        self.pool_port =
            if moment.state.peers.is_empty() { NO_PORT } else { u32::from(moment.state.pool_port.to_be()) };
    }

    /// The peer with this address that sends pooled packets of our own format; None where there is none.
    #[inline(always)]
    pub fn peer(&mut self, address: IpAddr, moment: &Moment<'_>) -> Option<KnownPeer> {
        match self.last_peer {
            Some((last, peer)) if last == address => Some(peer),
            _ => self.find_peer(address, moment),
        }
    }

    #[inline(never)]
    fn find_peer(&mut self, address: IpAddr, moment: &Moment<'_>) -> Option<KnownPeer> {
        let index = moment.state.peers.find(address)?;
        let peer = moment.state.peers.get(index).filter(|peer| peer.path.format == Format::Native)?;
        let known = (index, peer.zero_checksum);
        self.last_peer = Some((address, known));
        Some(known)
    }

    /// The leaf of the destination of a pooled packet of ours. Those of an iteration go to few peers: routes do not change for them
    /// in between.
    #[inline(always)]
    pub fn leaf(&mut self, destination: Ipv4Addr, moment: &Moment<'_>) -> EntryId {
        match self.last_destination {
            Some((last, leaf)) if last == destination.to_bits() => leaf,
            _ => self.find_leaf(destination, moment),
        }
    }

    #[inline(never)]
    fn find_leaf(&mut self, destination: Ipv4Addr, moment: &Moment<'_>) -> EntryId {
        let leaf = moment.fib.lookup(moment.section, destination);
        self.last_destination = Some((destination.to_bits(), leaf));
        leaf
    }

    /// The same with IPv6 outside.
    #[inline(always)]
    pub fn leaf6(&mut self, destination: Ipv6Addr, moment: &Moment<'_>) -> EntryId {
        match self.last_destination6 {
            Some((last, leaf)) if last == destination.to_bits() => leaf,
            _ => self.find_leaf6(destination, moment),
        }
    }

    #[inline(never)]
    fn find_leaf6(&mut self, destination: Ipv6Addr, moment: &Moment<'_>) -> EntryId {
        let leaf = moment.fib6.lookup(moment.section, destination);
        self.last_destination6 = Some((destination.to_bits(), leaf));
        leaf
    }

    /// Whether stream packets can be pooled on one of the ways that are remembered.
    #[inline(always)]
    pub fn has_paths(&self) -> bool {
        self.has_paths
    }

    /// What is remembered where a leaf has its place, of whatever leaf it is.
    #[inline(always)]
    pub fn at(&self, leaf: EntryId) -> &Hop {
        &self.places[usize::from(leaf.0) % PLACES]
    }

    /// The same for IPv6 packets.
    #[inline(always)]
    pub fn at6(&self, leaf: EntryId) -> &Hop {
        &self.places6[usize::from(leaf.0) % PLACES]
    }

    /// Whether a hop is what is known of a leaf.
    #[inline(always)]
    pub fn is_of(&self, hop: &Hop, leaf: EntryId) -> bool {
        hop.tag == self.tag(leaf)
    }

    /// What is remembered of the way to `address`, whose leaf this is: by its gateway, or as a host on a link.
    #[inline(always)]
    pub fn find(&self, leaf: EntryId, address: u32) -> Option<&Hop> {
        let hop = self.at(leaf);
        if self.is_of(hop, leaf) { Some(hop) } else { self.host(leaf, address) }
    }

    /// What is remembered of the way to the host `address` on the link that this leaf is of.
    #[inline(always)]
    pub fn host(&self, leaf: EntryId, address: u32) -> Option<&Hop> {
        let host = &self.hosts[host_place(address)];
        (host.address == address && self.is_of(&host.hop, leaf)).then_some(&host.hop)
    }

    /// The UDP port that packets to be forwarded must not have to go without a closer look, in network byte order; larger than
    /// any where there is none.
    #[inline(always)]
    pub fn pool_port(&self) -> u32 {
        self.pool_port
    }

    /// Remembers the way of a leaf whose packets go to a next hop that is there. `at`: the position of a port among the
    /// worker's.
    pub fn learn(&mut self, leaf: EntryId, entry: Entry, moment: &Moment<'_>, at: impl Fn(PortIndex) -> Option<usize>) {
        if let Some(hop) = self.hop_of(leaf, entry, Family::V4, moment, at) {
            self.places[usize::from(leaf.0) % PLACES] = hop;
        }
    }

    /// The same for IPv6 packets.
    pub fn learn6(
        &mut self,
        leaf: EntryId,
        entry: Entry,
        moment: &Moment<'_>,
        at: impl Fn(PortIndex) -> Option<usize>,
    ) {
        if let Some(hop) = self.hop_of(leaf, entry, Family::V6, moment, at) {
            self.places6[usize::from(leaf.0) % PLACES] = hop;
        }
    }

    /// The way of a leaf whose packets go to a next hop that is there.
    fn hop_of(
        &mut self,
        leaf: EntryId,
        entry: Entry,
        family: Family,
        moment: &Moment<'_>,
        at: impl Fn(PortIndex) -> Option<usize>,
    ) -> Option<Hop> {
        let Adjacency::Via { port, gateway } = entry.adjacency else { return None };
        let path = entry.path.filter(|_| !moment.state.rules.is_empty());
        let hop = self.hop_to(moment.state.neighbours.get(gateway), (leaf, port, path), family, moment, at)?;
        self.has_paths |= path.is_some();
        Some(hop)
    }

    /// Remembers the way to the host `address` on a link, where it is there, and its leaf has no path. `at`: as above.
    pub fn learn_host(
        &mut self,
        address: Ipv4Addr,
        leaf: EntryId,
        entry: Entry,
        moment: &Moment<'_>,
        at: impl Fn(PortIndex) -> Option<usize>,
    ) {
        let Entry { adjacency: Adjacency::Connected { port }, path: None } = entry else { return };
        let neighbour = moment.state.neighbours.find4(port, address);
        if let Some(hop) = self.hop_to(neighbour, (leaf, port, None), Family::V4, moment, at) {
            let address = address.to_bits();
            self.hosts[host_place(address)] = Host { address, hop };
        }
    }

    /// The way of packets of a family to a neighbour that is there.
    fn hop_to(
        &self,
        neighbour: Option<&Neighbour>,
        (leaf, port, path): (EntryId, PortIndex, Option<PathIndex>),
        family: Family,
        moment: &Moment<'_>,
        at: impl Fn(PortIndex) -> Option<usize>,
    ) -> Option<Hop> {
        let (neighbour, out) = (neighbour?, moment.state.port(port)?);
        let at = at(port).and_then(|at| u16::try_from(at).ok())?;
        let has_overlays = match family {
            Family::V4 => moment.state.legs.has_overlays::<Ipv4Addr>(),
            Family::V6 => moment.state.legs.has_overlays::<Ipv6Addr>(),
        };
        let mac = neighbour.mac.filter(|_| !has_overlays)?;
        neighbour.mark_used();
        let mut frame = [0; HEADER_LEN];
        EthernetHeader { dst: MacAddr(mac), src: MacAddr(out.mac), ether_type: family.ether_type() }.write(&mut frame);
        let longest = if path.is_none() { out.mtu.saturating_add(HEADER_LEN as u16) } else { 0 };
        Some(Hop { tag: self.tag(leaf), frame, mtu: out.mtu, longest, at, path })
    }

    #[inline(always)]
    fn tag(&self, leaf: EntryId) -> u64 {
        self.generation | u64::from(leaf.0)
    }
}

/// The place of a host. Addresses in even steps, such as the first hosts of many links, have one each (Knuth, The Art of Computer
/// Programming, volume 3, section 6.4, on multiplying by the golden ratio).
#[inline(always)]
const fn host_place(address: u32) -> usize {
    (address.wrapping_mul(0x9e37_79b1) >> (u32::BITS - HOST_BITS)) as usize
}
