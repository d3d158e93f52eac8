//! A packet on its way through the worker, and where it came from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dpdk::Mbuf;
use crate::fib::{Neighbour, NeighbourTable, PeerIndex, PortIndex};
use crate::packet::ethernet::EtherType;
use crate::packet::ipv4::{Ipv4Header, PROTOCOL_UDP};
use crate::packet::ipv6::{self, Ipv6Header};
use crate::packet::ipv6_extension::UpperLayer;
use crate::pool::pooled_packet_detector::{Detection, PooledDrop, ZeroChecksum, detect, detect6};
use crate::pool::wire::Templates;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The port that it, or the pooled packet around it, was received on.
    pub port: PortIndex,
    /// It came in a broadcast or multicast frame.
    pub link_broadcast: bool,
    /// The peer that sent the pooled packet it was taken out of; None where it was received as itself.
    pub peer: Option<PeerIndex>,
    /// How many pooled packets it has been taken out of.
    pub depth: u8,
    /// What it is to be read as.
    pub family: Family,
    /// Another worker handed it over: it goes no further.
    pub handed_over: bool,
}

impl Origin {
    /// The origin of what was inside a pooled packet of this one, which `peer` sent.
    #[inline(always)]
    pub fn deeper(self, peer: Option<PeerIndex>) -> Origin {
        Origin { peer, depth: self.depth.saturating_add(1), handed_over: false, ..self }
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
pub(super) trait Header {
    /// Its addresses.
    type Address: Destination;

    /// Who the packet is for.
    fn dst(&self) -> Self::Address;

    /// Who sent it.
    fn src(&self) -> IpAddr;

    /// Its TTL or hop limit, as it was received.
    fn hop_limit(&self) -> u8;

    /// Whether it is ECN-capable, and what it met (RFC 3168).
    fn ecn(&self) -> u8;

    /// What the packet in `l3` carries, behind all headers of IP.
    fn upper_layer<'a>(&self, l3: &'a [u8]) -> &'a [u8];

    /// What pooling wants to know of the packet in `l3`.
    fn stream_fields(&self, l3: &[u8], seed: FlowSeed) -> Option<StreamFields>;

    /// What the packet in `l3`, which is for us, is to pooling.
    fn detect<'a, P>(
        &self,
        l3: &'a [u8],
        port: u16,
        templates: &'a Templates,
        peer_of: impl Fn(IpAddr) -> Option<(P, ZeroChecksum)>,
    ) -> Result<Detection<'a, P>, PooledDrop>;

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
    fn src(&self) -> IpAddr {
        self.src.into()
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
        StreamFields::read4(l3, seed)
    }

    #[inline(always)]
    fn detect<'a, P>(
        &self,
        l3: &'a [u8],
        port: u16,
        templates: &'a Templates,
        peer_of: impl Fn(IpAddr) -> Option<(P, ZeroChecksum)>,
    ) -> Result<Detection<'a, P>, PooledDrop> {
        detect(self, self.upper_layer(l3), port, templates, peer_of)
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
    fn src(&self) -> IpAddr {
        self.src.into()
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

    #[inline]
    fn detect<'a, P>(
        &self,
        l3: &'a [u8],
        port: u16,
        templates: &'a Templates,
        peer_of: impl Fn(IpAddr) -> Option<(P, ZeroChecksum)>,
    ) -> Result<Detection<'a, P>, PooledDrop> {
        let Ok(upper) = UpperLayer::find(self, l3) else { return Ok(Detection::NotPooled) };
        detect6(self, &upper, upper.bytes(self, l3), port, templates, peer_of)
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
