//! Second stage for IPv6: is it a sound packet (RFC 8200, RFC 4291), and where does it go.

use arrayvec::ArrayVec;

use crate::dpdk::{BURST, Mbuf, Nic};
use crate::fib::{Adjacency, EntryId};
use crate::packet::icmpv6::ErrorKind;
use crate::packet::ipv6::{
    DestinationClass, Ipv6Error, Ipv6Header, destination_class, is_forwarded_group, is_link_local, source_is_martian,
};
use crate::packet::nd::{ALL_NODES, solicited_node};

use super::drop::Drop;
use super::moment::Moment;
use super::origin::{Origin, Packet, Packet6};
use super::output::drop_reason;
use super::router_state::PortState;
use super::stages::Stages;
use super::stopwatch::Stage;

/// The IPv6 packets of a burst, validated. They are looked up together, as those of IPv4 are, and go on between those in the
/// order they came: what a pooled packet of either family held can be of the same flow as what lay beside it.
pub(super) struct Ipv6Burst {
    /// Each with how many IPv4 packets go before it.
    packets: ArrayVec<(Packet6, u8), BURST>,
    destinations: ArrayVec<[u8; 16], BURST>,
    leaves: [EntryId; BURST],
    /// Packets that have gone on.
    taken: usize,
}

impl Ipv6Burst {
    /// No packets.
    #[inline(always)]
    pub fn new() -> Ipv6Burst {
        let leaves = [EntryId::NO_ROUTE; BURST];
        Ipv6Burst { packets: ArrayVec::new(), destinations: ArrayVec::new(), leaves, taken: 0 }
    }

    /// Looks all of them up, and turns them round, so that the first is the last in memory and taken first.
    #[inline(always)]
    pub fn look_up(&mut self, moment: &Moment<'_>) {
        if !self.packets.is_empty() {
            moment.fib6.lookup_burst(moment.section, &self.destinations, &mut self.leaves);
            self.packets.reverse();
            self.destinations.clear();
            self.taken = 0;
        }
    }

    /// The next packet, if at most `position` IPv4 packets go before it, and its leaf.
    #[inline(always)]
    pub fn next_before(&mut self, position: usize) -> Option<(Packet6, EntryId)> {
        let (_, before) = self.packets.last()?;
        if usize::from(*before) > position {
            return None;
        }
        let (packet, _) = self.packets.pop()?;
        let leaf = self.leaves.get(self.taken).copied().unwrap_or(EntryId::NO_ROUTE);
        self.taken += 1;
        Some((packet, leaf))
    }
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
            Ok(header) => {
                burst.destinations.push(header.dst.octets());
                burst.packets.push((Packet { mbuf, header, origin }, before as u8));
            }
            Err(reason) => self.out.drop(mbuf, reason),
        }
    }

    /// Sends a packet where its leaf leads. Groups of the link and link-local addresses, which no route is for, are ours where
    /// they were found valid.
    #[inline(never)]
    pub(super) fn send_on6(&mut self, packet: Packet6, leaf: EntryId, depth: u8, moment: &Moment<'_>) {
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
            Adjacency::Connected { .. } | Adjacency::Via { .. } => self.forward6(packet, entry, moment),
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
