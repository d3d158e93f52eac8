//! A packet on its way through the worker, and where it came from.

use std::fmt::{self, Debug, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dpdk::Mbuf;
use crate::fib::{Neighbour, NeighbourTable, PeerIndex, PortIndex};
use crate::packet::ethernet::EtherType;
use crate::packet::ipv4::{Ipv4Header, PROTOCOL_UDP};
use crate::packet::ipv6::{self, Ipv6Header};
use crate::packet::ipv6_extension::UpperLayer;
use crate::pool::pooled_packet_detector::{Datagram, PooledDrop, ZeroChecksum, detect, detect6};
use crate::pool::{FlowSeed, StreamFields};

/// Which protocol a packet is said to be by what carried it: the EtherType of its frame, or the type of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// The family of a packet that was checked when it came, by its version.
    #[inline(always)]
    pub fn of(packet: &[u8]) -> Family {
        if matches!(packet.first(), Some(0x60..=0x6f)) { Family::V6 } else { Family::V4 }
    }

    /// The EtherType of its frames.
    #[inline(always)]
    pub fn ether_type(self) -> EtherType {
        match self {
            Family::V4 => EtherType::IPV4,
            Family::V6 => EtherType::IPV6,
        }
    }
}

/// Where a packet came from. What is taken out of a pooled packet has the origin of that packet, one level deeper.
///
/// It is one word because every packet takes it along from queue to queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin(u64);

/// Where in the word the parts are: the port in the lowest 16 bits, then these.
const PEER: u32 = 16;
const DEPTH: u32 = 32;
const HAS_PEER: u64 = 1 << 40;
const LINK_BROADCAST: u64 = 1 << 41;
const IPV6: u64 = 1 << 42;
const HANDED_OVER: u64 = 1 << 43;

impl Origin {
    /// The origin of a packet that was received on `port`. `link_broadcast`: it came in a broadcast or multicast frame.
    /// `family`: what it is to be read as.
    #[inline(always)]
    pub fn received(port: PortIndex, link_broadcast: bool, family: Family) -> Origin {
        let link_broadcast = if link_broadcast { LINK_BROADCAST } else { 0 };
        Origin(u64::from(port.0) | link_broadcast).read_as(family)
    }

    /// The origin of what was inside a pooled packet of this one, which `peer` sent.
    #[inline(always)]
    pub fn deeper(self, peer: Option<PeerIndex>) -> Origin {
        let without = self.0 & !(0xff << DEPTH | HAS_PEER | HANDED_OVER | 0xffff << PEER);
        let peer = peer.map_or(0, |peer| HAS_PEER | u64::from(peer.0) << PEER);
        Origin(without | peer | u64::from(self.depth().saturating_add(1)) << DEPTH)
    }

    /// The same, of a packet of this family.
    #[inline(always)]
    pub fn read_as(self, family: Family) -> Origin {
        match family {
            Family::V4 => Origin(self.0 & !IPV6),
            Family::V6 => Origin(self.0 | IPV6),
        }
    }

    /// The same, of a packet that another worker handed over: it goes no further.
    #[inline(always)]
    pub fn handed_over(self) -> Origin {
        Origin(self.0 | HANDED_OVER)
    }

    /// Whether another worker handed it over.
    #[inline(always)]
    pub fn was_handed_over(self) -> bool {
        self.0 & HANDED_OVER != 0
    }

    /// The port that it, or the pooled packet around it, was received on.
    #[inline(always)]
    pub fn port(self) -> PortIndex {
        PortIndex(self.0 as u16)
    }

    /// Whether it came in a broadcast or multicast frame.
    #[inline(always)]
    pub fn link_broadcast(self) -> bool {
        self.0 & LINK_BROADCAST != 0
    }

    /// The peer that sent the pooled packet it was taken out of; None where it was received as itself.
    #[inline(always)]
    pub fn peer(self) -> Option<PeerIndex> {
        (self.0 & HAS_PEER != 0).then_some(PeerIndex((self.0 >> PEER) as u16))
    }

    /// How many pooled packets it has been taken out of.
    #[inline(always)]
    pub fn depth(self) -> u8 {
        (self.0 >> DEPTH) as u8
    }

    /// What it is to be read as.
    #[inline(always)]
    pub fn family(self) -> Family {
        if self.0 & IPV6 == 0 { Family::V4 } else { Family::V6 }
    }
}

impl Debug for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Origin");
        shown.field("port", &self.port()).field("link_broadcast", &self.link_broadcast());
        shown.field("peer", &self.peer()).field("depth", &self.depth()).field("family", &self.family());
        shown.field("handed_over", &self.was_handed_over()).finish()
    }
}

/// A validated packet. The mbuf begins with its header and ends with its last byte.
///
/// The families are types of their own: IPv6 headers are twice as long, and nothing that IPv4 packets pass through is to
/// carry that or ask which it is.
pub(super) struct Packet<H = Ipv4Header> {
    /// Its memory.
    pub mbuf: Mbuf,
    /// Its header as it was received.
    pub header: H,
    /// Where it came from.
    pub origin: Origin,
}

/// A validated IPv6 packet.
pub(super) type Packet6 = Packet<Ipv6Header>;

/// A header of either family, to stages that do the same with both.
pub(super) trait Header: Copy {
    /// Its addresses.
    type Address: Destination;

    /// Who the packet is for.
    fn dst(&self) -> Self::Address;

    /// Who sent it.
    fn src(&self) -> Self::Address;

    /// Its TTL or hop limit, as it was received.
    fn hop_limit(&self) -> u8;

    /// Whether it is ECN-capable, and what it met (RFC 3168).
    fn ecn(&self) -> u8;

    /// What the packet in `l3` carries, behind all headers of IP.
    fn upper_layer<'a>(&self, l3: &'a [u8]) -> &'a [u8];

    /// What pooling wants to know of the packet in `l3`.
    fn stream_fields(&self, l3: &[u8], seed: FlowSeed) -> Option<StreamFields>;

    /// Reads the header of the packet in `l3` once more, which was found sound.
    fn reread(l3: &[u8]) -> Option<Self>;

    /// What the packet in `l3`, which is for us, is to pooling.
    fn detect<'a, P>(
        &self,
        l3: &'a [u8],
        port: u16,
        peer_of: impl FnOnce(IpAddr) -> Option<(P, ZeroChecksum)>,
    ) -> Result<Option<Datagram<'a, P>>, PooledDrop>;

    /// Whether what follows this header, and no other header between, is a UDP datagram, or the first fragment of one.
    fn carries_udp(&self) -> bool;

    /// Takes note that the packet has this length now, from this header to its last byte.
    fn set_length(&mut self, length: u16);
}

impl Header for Ipv4Header {
    type Address = Ipv4Addr;

    #[inline(always)]
    fn dst(&self) -> Ipv4Addr {
        self.dst
    }

    #[inline(always)]
    fn src(&self) -> Ipv4Addr {
        self.src
    }

    #[inline(always)]
    fn hop_limit(&self) -> u8 {
        self.ttl
    }

    #[inline(always)]
    fn ecn(&self) -> u8 {
        Ipv4Header::ecn(self)
    }

    #[inline(always)]
    fn upper_layer<'a>(&self, l3: &'a [u8]) -> &'a [u8] {
        self.payload(l3).unwrap_or_default()
    }

    #[inline(always)]
    fn stream_fields(&self, l3: &[u8], seed: FlowSeed) -> Option<StreamFields> {
        // From the packet itself, not from this header: that was written a moment ago, in other pieces than it would be read in.
        Some(StreamFields::of_ipv4(l3.first_chunk()?, self.payload(l3)?, seed))
    }

    #[inline(always)]
    fn reread(l3: &[u8]) -> Option<Ipv4Header> {
        l3.first_chunk().map(Ipv4Header::of_sound)
    }

    #[inline(always)]
    fn detect<'a, P>(
        &self,
        l3: &'a [u8],
        port: u16,
        peer_of: impl FnOnce(IpAddr) -> Option<(P, ZeroChecksum)>,
    ) -> Result<Option<Datagram<'a, P>>, PooledDrop> {
        detect(self, self.upper_layer(l3), port, peer_of)
    }

    #[inline(always)]
    fn carries_udp(&self) -> bool {
        self.protocol == PROTOCOL_UDP && self.fragment_offset == 0
    }

    #[inline(always)]
    fn set_length(&mut self, length: u16) {
        self.total_len = length;
    }
}

impl Header for Ipv6Header {
    type Address = Ipv6Addr;

    #[inline(always)]
    fn dst(&self) -> Ipv6Addr {
        self.dst
    }

    #[inline(always)]
    fn src(&self) -> Ipv6Addr {
        self.src
    }

    #[inline(always)]
    fn hop_limit(&self) -> u8 {
        self.hop_limit
    }

    #[inline(always)]
    fn ecn(&self) -> u8 {
        Ipv6Header::ecn(self)
    }

    #[inline]
    fn upper_layer<'a>(&self, l3: &'a [u8]) -> &'a [u8] {
        UpperLayer::find(self, l3).map_or(&[], |upper| upper.bytes(self, l3))
    }

    #[inline]
    fn stream_fields(&self, l3: &[u8], seed: FlowSeed) -> Option<StreamFields> {
        StreamFields::read6(l3, seed)
    }

    #[inline(always)]
    fn reread(l3: &[u8]) -> Option<Ipv6Header> {
        Ipv6Header::parse(l3).ok()
    }

    #[inline]
    fn detect<'a, P>(
        &self,
        l3: &'a [u8],
        port: u16,
        peer_of: impl FnOnce(IpAddr) -> Option<(P, ZeroChecksum)>,
    ) -> Result<Option<Datagram<'a, P>>, PooledDrop> {
        let Ok(upper) = UpperLayer::find(self, l3) else { return Ok(None) };
        detect6(self, &upper, upper.bytes(self, l3), port, peer_of)
    }

    #[inline(always)]
    fn carries_udp(&self) -> bool {
        self.next_header == PROTOCOL_UDP
    }

    #[inline(always)]
    fn set_length(&mut self, length: u16) {
        self.payload_len = length.saturating_sub(ipv6::HEADER_LEN as u16);
    }
}

/// Who a packet is for, of the packet's family.
pub(super) trait Destination: Copy + Into<IpAddr> {
    /// The family.
    const FAMILY: Family;

    /// The neighbour that has this address on the link of a port.
    fn neighbour(self, neighbours: &NeighbourTable, port: PortIndex) -> Option<&Neighbour>;
}

impl Destination for Ipv4Addr {
    const FAMILY: Family = Family::V4;

    #[inline(always)]
    fn neighbour(self, neighbours: &NeighbourTable, port: PortIndex) -> Option<&Neighbour> {
        neighbours.find4(port, self)
    }
}

impl Destination for Ipv6Addr {
    const FAMILY: Family = Family::V6;

    #[inline(always)]
    fn neighbour(self, neighbours: &NeighbourTable, port: PortIndex) -> Option<&Neighbour> {
        neighbours.find6(port, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_tells_what_it_was_made_of() {
        let received = Origin::received(PortIndex(0xffff), true, Family::V6);
        assert_eq!((received.port(), received.link_broadcast()), (PortIndex(0xffff), true));
        assert_eq!((received.peer(), received.depth(), received.family()), (None, 0, Family::V6));
        let inside = received.deeper(Some(PeerIndex(0xffff))).deeper(Some(PeerIndex(3))).read_as(Family::V4);
        assert_eq!((inside.port(), inside.link_broadcast()), (PortIndex(0xffff), true));
        assert_eq!((inside.peer(), inside.depth(), inside.family()), (Some(PeerIndex(3)), 2, Family::V4));
        assert_eq!(inside.deeper(None).peer(), None);
        let deepest = (0..300).fold(inside, |origin, _| origin.deeper(None));
        assert_eq!((deepest.depth(), deepest.port()), (255, PortIndex(0xffff)));
    }
}
