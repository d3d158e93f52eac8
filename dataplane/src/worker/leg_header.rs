//! What the families do differently with packets that leave by legs: size, time to live, and what their source is told.

use std::net::{Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;

use crate::dpdk::{Mbuf, Nic};
use crate::packet::ipv4::{self, Ipv4Header};
use crate::packet::ipv6::{self, Ipv6Header};
use crate::packet::{icmp, icmpv6};
use crate::pool::hello::Capabilities;

use super::drop::Drop;
use super::fragment::MAX_FRAGMENTS;
use super::leg_table::LegAddress;
use super::moment::Moment;
use super::origin::{Destination, Header, Packet};
use super::stages::Stages;

/// What the source of a packet that ends here is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LegError {
    /// Its time to live ends here.
    TimeExceeded,
    /// The only leg that it goes by is down.
    Unreachable,
    /// It is longer than a leg takes, which is so many bytes, and nobody but its source may cut it.
    TooBig { mtu: u16 },
}

/// A header of either family, to stages that replicate packets.
pub(super) trait LegHeader: Header<Address: LegDestination> + Copy {
    /// Sources hear of packets to groups that were too large: over IPv6 (RFC 4443, 2.4 e 3), never over IPv4 (RFC 1122, 3.2.2).
    const TELLS_SENDERS_TO_GROUPS: bool;
    /// Why a packet is dropped in which the flow was not found.
    const UNREADABLE: Drop;

    /// The length of the packet in bytes.
    fn total_len(&self) -> usize;

    /// Whether only its source may cut it.
    fn must_stay_whole(&self) -> bool;

    /// Takes one off the time to live of the packet in `bytes`.
    fn decrement(bytes: &mut [u8]);

    /// Tells the source of a packet what became of it, where that is allowed.
    fn tell<N: Nic>(stages: &mut Stages<N>, error: LegError, packet: &Packet<Self>, moment: &Moment<'_>);

    /// The fragments of a packet, which is gone then. None: it could not be cut, and was dropped.
    fn fragments<N: Nic>(
        stages: &mut Stages<N>,
        packet: Packet<Self>,
        mtu: u16,
    ) -> Option<ArrayVec<Mbuf, MAX_FRAGMENTS>>;
}

/// An address of either family, to stages that replicate packets.
pub(super) trait LegDestination: Destination + LegAddress {
    /// What a peer has to take that packets of this family are sent to.
    const CAPABILITY: Capabilities;

    /// Whether this is a group whose packets are never forwarded, whatever their time to live.
    fn is_confined_group(self) -> bool;

    /// The Ethernet address of this group.
    fn group_mac(self) -> [u8; 6];

    /// Whether this is the address of a host, not of a group or none.
    fn is_one_host(self) -> bool;
}

impl LegHeader for Ipv4Header {
    const TELLS_SENDERS_TO_GROUPS: bool = false;
    const UNREADABLE: Drop = Drop::Ipv4Length;

    #[inline(always)]
    fn total_len(&self) -> usize {
        usize::from(self.total_len)
    }

    #[inline(always)]
    fn must_stay_whole(&self) -> bool {
        self.dont_fragment
    }

    #[inline(always)]
    fn decrement(bytes: &mut [u8]) {
        ipv4::decrement_ttl(bytes);
    }

    #[cold]
    fn tell<N: Nic>(stages: &mut Stages<N>, error: LegError, packet: &Packet, moment: &Moment<'_>) {
        let kind = match error {
            LegError::TimeExceeded => icmp::ErrorKind::TimeExceeded,
            LegError::Unreachable => icmp::ErrorKind::HostUnreachable,
            LegError::TooBig { mtu } => icmp::ErrorKind::FragmentationNeeded { next_hop_mtu: mtu },
        };
        stages.icmp_error(kind, packet, moment);
    }

    #[cold]
    fn fragments<N: Nic>(stages: &mut Stages<N>, packet: Packet, mtu: u16) -> Option<ArrayVec<Mbuf, MAX_FRAGMENTS>> {
        if packet.header.dont_fragment {
            stages.out.drop(packet.mbuf, Drop::FragmentationNeeded);
            return None;
        }
        stages.fragments(packet, mtu)
    }
}

impl LegHeader for Ipv6Header {
    const TELLS_SENDERS_TO_GROUPS: bool = true;
    const UNREADABLE: Drop = Drop::Ipv6Extensions;

    #[inline(always)]
    fn total_len(&self) -> usize {
        Ipv6Header::total_len(self)
    }

    #[inline(always)]
    fn must_stay_whole(&self) -> bool {
        true
    }

    #[inline(always)]
    fn decrement(bytes: &mut [u8]) {
        ipv6::decrement_hop_limit(bytes);
    }

    #[cold]
    fn tell<N: Nic>(stages: &mut Stages<N>, error: LegError, packet: &Packet<Self>, moment: &Moment<'_>) {
        let kind = match error {
            LegError::TimeExceeded => icmpv6::ErrorKind::HopLimitExceeded,
            LegError::Unreachable => icmpv6::ErrorKind::AddressUnreachable,
            LegError::TooBig { mtu } => icmpv6::ErrorKind::PacketTooBig { mtu },
        };
        stages.icmp6_error(kind, packet, moment);
    }

    /// RFC 8200, 5: only sources fragment.
    #[cold]
    fn fragments<N: Nic>(
        stages: &mut Stages<N>,
        packet: Packet<Self>,
        _mtu: u16,
    ) -> Option<ArrayVec<Mbuf, MAX_FRAGMENTS>> {
        stages.out.drop(packet.mbuf, Drop::FragmentationNeeded);
        None
    }
}

impl LegDestination for Ipv4Addr {
    const CAPABILITY: Capabilities = Capabilities::WHOLE_IPV4;

    /// 224.0.0.0/24 (RFC 5771, 4).
    #[inline(always)]
    fn is_confined_group(self) -> bool {
        matches!(self.octets(), [224, 0, 0, _])
    }

    /// 01:00:5e, and the low 23 bits of the group (RFC 1112, 6.4).
    #[inline(always)]
    fn group_mac(self) -> [u8; 6] {
        let [_, a, b, c] = self.octets();
        [0x01, 0x00, 0x5e, a & 0x7f, b, c]
    }

    #[inline(always)]
    fn is_one_host(self) -> bool {
        ipv4::destination_class(self) == ipv4::DestinationClass::Unicast
    }
}

impl LegDestination for Ipv6Addr {
    const CAPABILITY: Capabilities = Capabilities::WHOLE_IPV6;

    #[inline(always)]
    fn is_confined_group(self) -> bool {
        !ipv6::is_forwarded_group(self)
    }

    /// 33:33, and the low 32 bits of the group (RFC 2464, 7).
    #[inline(always)]
    fn group_mac(self) -> [u8; 6] {
        let [.., a, b, c, d] = self.octets();
        [0x33, 0x33, a, b, c, d]
    }

    #[inline(always)]
    fn is_one_host(self) -> bool {
        ipv6::destination_class(self) == ipv6::DestinationClass::Unicast
    }
}
