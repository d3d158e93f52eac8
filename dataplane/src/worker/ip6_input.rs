//! Second stage for IPv6: is it a sound packet (RFC 8200, RFC 4291), and where does it go.

use arrayvec::ArrayVec;

use crate::dpdk::{BURST, Mbuf, Nic};
use crate::fib::{Adjacency, EntryId};
use crate::packet::ethernet;
use crate::packet::icmpv6::ErrorKind;
use crate::packet::ipv6::{
    DestinationClass, Ipv6Error, Ipv6Header, destination_class, is_forwarded_group, is_link_local, source_is_martian,
};
use crate::packet::ipv6_plain::is_plain;
use crate::packet::nd::{ALL_NODES, solicited_node};

use super::drop::Drop;
use super::moment::Moment;
use super::origin::{Origin, Packet, Packet6};
use super::output::drop_reason;
use super::router_state::PortState;
use super::stages::Stages;
use super::stopwatch::Stage;

/// The IPv6 packets of a burst that were found sound. They are looked up together, as those of IPv4 are, and go on between those in the
/// order they came: what a pooled packet of either family held can be of the same flow as what lay beside it.
pub(super) struct Ipv6Burst {
    /// Once they were looked up the first is the last in memory, and taken first.
    packets: ArrayVec<(Mbuf, Origin), BURST>,
    /// How many IPv4 packets go before each.
    before: ArrayVec<u8, BURST>,
    destinations: ArrayVec<[u8; 16], BURST>,
    /// A bit for each that is plain, and a frame: it begins with as many bytes as an Ethernet header has, whatever these are.
    plain: u32,
    leaves: [EntryId; BURST],
    /// Whether the leaves are those of all destinations.
    is_found: bool,
    /// How many have gone on.
    gone: usize,
}

impl Ipv6Burst {
    /// No packets.
    #[inline(always)]
    pub fn new() -> Ipv6Burst {
        Ipv6Burst {
            packets: ArrayVec::new(),
            before: ArrayVec::new(),
            destinations: ArrayVec::new(),
            plain: 0,
            leaves: [EntryId::NO_ROUTE; BURST],
            is_found: false,
            gone: 0,
        }
    }

    /// How many packets have not gone on.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Adds a plain packet to the destination `dst`, that so many IPv4 packets go before. `frame` holds it behind room for an
    /// Ethernet header, and nothing else.
    #[inline(always)]
    pub fn push_plain(&mut self, frame: Mbuf, origin: Origin, dst: [u8; 16], before: usize) {
        self.plain |= 1u32.wrapping_shl(self.packets.len() as u32);
        self.push(frame, origin, dst, before);
    }

    #[inline(always)]
    fn push(&mut self, mbuf: Mbuf, origin: Origin, dst: [u8; 16], before: usize) {
        self.destinations.push(dst);
        self.before.push(before as u8);
        self.packets.push((mbuf, origin));
    }

    /// Looks all of them up. From now on they go on.
    #[inline(always)]
    pub fn look_up(&mut self, moment: &Moment<'_>) {
        if !self.packets.is_empty() {
            if !self.is_found {
                self.find(moment);
            }
            self.turn();
        }
    }

    /// Expects plain packets to these destinations, where there are no packets yet.
    #[inline(always)]
    pub fn expect(&mut self, destinations: impl Iterator<Item = [u8; 16]>) {
        self.destinations.extend(destinations);
    }

    /// How many packets are expected.
    #[inline(always)]
    pub fn expected(&self) -> usize {
        self.destinations.len()
    }

    /// Looks up all destinations, also of packets that are expected. No packets to others are added from now on.
    #[inline(always)]
    pub fn find(&mut self, moment: &Moment<'_>) {
        moment.fib6.lookup_burst(moment.section, &self.destinations, &mut self.leaves);
        self.is_found = true;
    }

    /// The leaves of all destinations.
    #[inline(always)]
    pub fn leaves(&self) -> &[EntryId] {
        self.leaves.get(..self.destinations.len()).unwrap_or_default()
    }

    /// Adds the packets that were expected, as [`Ipv6Burst::push_plain`] does, before any of IPv4: the first ones of `frames`.
    #[inline(always)]
    pub fn push_expected(&mut self, frames: &mut ArrayVec<Mbuf, BURST>, origin: Origin) {
        for frame in frames.drain(..self.destinations.len().min(frames.len())) {
            self.plain |= 1u32.wrapping_shl(self.packets.len() as u32);
            self.before.push(0);
            self.packets.push((frame, origin));
        }
    }

    /// Has the first packet be the one that is taken first.
    #[inline(always)]
    pub fn turn(&mut self) {
        self.packets.reverse();
    }

    /// Has room for others, when all have gone on.
    #[inline(always)]
    pub fn clear(&mut self) {
        if !self.destinations.is_empty() {
            self.before.clear();
            self.destinations.clear();
            (self.plain, self.is_found, self.gone) = (0, false, 0);
        }
    }

    /// How many of those that are left come before the IPv4 packet at `position`.
    #[inline(always)]
    pub fn due(&self, position: usize) -> usize {
        if position == usize::MAX {
            return self.packets.len();
        }
        let left = self.before.get(self.gone..).unwrap_or_default();
        left.iter().take_while(|before| usize::from(**before) <= position).count()
    }

    /// The leaf of the next packet, and how many of the next ones, at most `due`, are plain and have the same.
    #[inline(always)]
    pub fn alike(&self, due: usize) -> (EntryId, usize) {
        let leaves = self.leaves.get(self.gone..).unwrap_or_default();
        let leaf = leaves.first().copied().unwrap_or(EntryId::NO_ROUTE);
        let plain = self.plain.checked_shr(self.gone as u32).map_or(0, u32::trailing_ones) as usize;
        (leaf, leaves.iter().take(plain.min(due)).take_while(|other| **other == leaf).count())
    }

    /// The next packet, with room for an Ethernet header in front where it is plain.
    #[inline(always)]
    pub fn take(&mut self) -> Option<(Mbuf, Origin)> {
        let packet = self.packets.pop()?;
        self.gone += 1;
        Some(packet)
    }

    /// The next packet with nothing in front of it.
    pub fn take_uncovered(&mut self) -> Option<(Mbuf, Origin)> {
        let is_plain = self.is_plain(self.gone);
        let (mut mbuf, origin) = self.take()?;
        if is_plain {
            mbuf.trim_front(ethernet::HEADER_LEN);
        }
        Some((mbuf, origin))
    }

    /// How many packets have gone on.
    #[inline(always)]
    pub fn gone(&self) -> usize {
        self.gone
    }

    /// The leaf of the next packet.
    #[inline(always)]
    pub fn leaf(&self) -> EntryId {
        self.leaves.get(self.gone).copied().unwrap_or(EntryId::NO_ROUTE)
    }

    /// The leaf of the packet that was taken last.
    pub fn leaf_taken(&self) -> EntryId {
        self.leaves.get(self.gone.wrapping_sub(1)).copied().unwrap_or(EntryId::NO_ROUTE)
    }

    /// The leaves of the packets that are left, and those that are plain.
    #[inline(always)]
    pub fn plain(&self) -> impl Iterator<Item = (EntryId, Option<&Mbuf>)> {
        let leaves = self.leaves.iter().enumerate().skip(self.gone);
        leaves
            .zip(self.packets.iter().rev())
            .map(|((position, leaf), (frame, _))| (*leaf, self.is_plain(position).then_some(frame)))
    }

    #[inline(always)]
    fn is_plain(&self, position: usize) -> bool {
        self.plain.checked_shr(position as u32).is_some_and(|bits| bits & 1 == 1)
    }
}

/// Recognises the plain packet in `l3`, which is all there is of it. Returns whom it is for. `but`: as for [`is_plain`].
#[inline(always)]
pub(super) fn recognise(l3: &[u8], but: u32) -> Option<[u8; 16]> {
    let start = l3.first_chunk()?;
    if is_plain(start, l3.len(), but) { start.get(24..)?.first_chunk().copied() } else { None }
}

impl<N: Nic> Stages<N> {
    /// Validates a packet that `before` IPv4 packets of its burst go before.
    #[inline(never)]
    pub(super) fn ip6_input(
        &mut self,
        mut mbuf: Mbuf,
        origin: Origin,
        before: usize,
        burst: &mut Ipv6Burst,
        moment: &Moment<'_>,
    ) {
        match validate(&mut mbuf, origin, moment) {
            Ok(header) => burst.push(mbuf, origin, header.dst.octets(), before),
            Err(reason) => self.out.drop(mbuf, reason),
        }
    }

    /// Sends a packet the long way. Its header is read anew: most packets have it where they are read the first time.
    #[inline(never)]
    pub(super) fn send_long6(&mut self, mbuf: Mbuf, origin: Origin, leaf: EntryId, depth: u8, moment: &Moment<'_>) {
        match Ipv6Header::parse(mbuf.bytes()) {
            Ok(header) => self.send_on6(Packet { mbuf, header, origin }, leaf, depth, moment),
            Err(_) => self.out.drop(mbuf, Drop::Ipv6Length),
        }
    }

    /// Sends a packet where its leaf leads. Groups of the link and link-local addresses, which no route is for, are ours where
    /// they were found valid.
    #[inline(always)]
    fn send_on6(&mut self, packet: Packet6, leaf: EntryId, depth: u8, moment: &Moment<'_>) {
        let entry = moment.state.entry(leaf);
        let to_group = is_forwarded_group(packet.header.dst);
        let is_routed = to_group || destination_class(packet.header.dst) == DestinationClass::Unicast;
        let is_ours = entry.adjacency == Adjacency::Local || !is_routed;
        self.take_up_reentry(depth, if is_ours { BURST } else { 1 }, moment);
        if is_ours {
            self.out.stopwatch.enter(Stage::Depool);
            self.local6_input(packet, moment);
            self.out.stopwatch.enter(Stage::Forward);
            return;
        }
        if to_group {
            return self.multicast_input(packet, moment);
        }
        if let Some(route) = self.overlay_route(&packet, entry, moment) {
            // RFC 4291, 2.5.6, and RFC 4443, 3.1: its source could not be answered from where it is going.
            if is_link_local(packet.header.src) {
                return self.refuse6(packet, ErrorKind::BeyondScope, Drop::LinkScope, moment);
            }
            return self.overlay_input(packet, route, moment);
        }
        match entry.adjacency {
            Adjacency::Connected { .. } | Adjacency::Via { .. } => {
                let is_known = self.hops.is_of(self.hops.at6(leaf), leaf);
                if !is_known && (self.hops.is_ours(&entry) || !self.is_owned_elsewhere(&entry, moment)) {
                    self.hops.learn6(leaf, entry, moment, |port| self.out.position(port));
                }
                self.forward6(packet, entry, moment);
            }
            Adjacency::NoRoute => self.refuse6(packet, ErrorKind::NoRoute, Drop::NoRoute, moment),
            Adjacency::Unreachable => {
                self.refuse6(packet, ErrorKind::AddressUnreachable, Drop::RouteUnreachable, moment);
            }
            other @ (Adjacency::Local | Adjacency::Broadcast | Adjacency::Blackhole) => {
                self.out.drop(packet.mbuf, drop_reason(other));
            }
        }
    }

    /// Drops a packet and tells its source why, where that is allowed.
    #[cold]
    pub(super) fn refuse6(&mut self, packet: Packet6, kind: ErrorKind, reason: Drop, moment: &Moment<'_>) {
        self.icmp6_error(kind, &packet, moment);
        self.out.drop(packet.mbuf, reason);
    }
}

/// Checks a packet and cuts what the link added behind it.
#[inline(always)]
fn validate(mbuf: &mut Mbuf, origin: Origin, moment: &Moment<'_>) -> Result<Ipv6Header, Drop> {
    let header = Ipv6Header::parse(mbuf.bytes()).map_err(|error| match error {
        Ipv6Error::Truncated | Ipv6Error::PayloadBeyondPacket => Drop::Ipv6Length,
        Ipv6Error::Version => Drop::Ipv6Header,
    })?;
    mbuf.truncate(header.total_len());
    let class = destination_class(header.dst);
    // RFC 4291, 2.5.2: only who asks whether an address is free sends from none.
    if source_is_martian(header.src) || (header.src.is_unspecified() && class != DestinationClass::Multicast) {
        return Err(Drop::MartianSource);
    }
    // What was inside a pooled packet came from beyond this link, whatever its addresses say.
    if origin.depth() > 0 && is_link_local(header.src) {
        return Err(Drop::LinkScope);
    }
    let port = || moment.state.port(origin.port());
    match class {
        DestinationClass::Unicast if origin.link_broadcast() => Err(Drop::LinkBroadcast),
        DestinationClass::Unicast => Ok(header),
        DestinationClass::Martian => Err(Drop::MartianDestination),
        DestinationClass::LinkLocal => {
            let ours = origin.depth() == 0 && port().is_some_and(|port| port.link_local == Some(header.dst));
            if ours { Ok(header) } else { Err(Drop::LinkScope) }
        }
        DestinationClass::Multicast => {
            let ours = origin.depth() == 0 && port().is_some_and(|port| is_our_group(port, &header));
            if ours { Ok(header) } else { validate_group(header) }
        }
    }
}

/// Whether a packet to a group that we are not in may leave its link (RFC 4291, 2.5.2, 2.5.6 and 2.7).
#[inline]
fn validate_group(header: Ipv6Header) -> Result<Ipv6Header, Drop> {
    if !is_forwarded_group(header.dst) {
        Err(Drop::MulticastLinkLocal)
    } else if header.src.is_unspecified() {
        Err(Drop::MartianSource)
    } else if is_link_local(header.src) {
        Err(Drop::LinkScope)
    } else {
        Ok(header)
    }
}

/// Whether a packet is to a group that we are in on this link: all nodes, and the solicited-node groups of our addresses
/// (RFC 4291, 2.8).
#[inline]
fn is_our_group(port: &PortState, header: &Ipv6Header) -> bool {
    let own = port.addresses6.iter().map(|own| own.address).chain(port.link_local);
    (header.dst == ALL_NODES && port.link_local.is_some()) || own.map(solicited_node).any(|group| group == header.dst)
}
