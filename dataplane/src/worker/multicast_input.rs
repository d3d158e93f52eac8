//! Third stage, for what goes to a group: does it come the right way, and where are its receivers (RFC 1812, 5.2.1.2).
//!
//! Nobody is sent an ICMP error about a packet to a group (RFC 1122, 3.2.2), but that it is too large where it is of IPv6
//! (RFC 4443, 2.4 e 3): what ends here is counted by name.

use crate::dpdk::Nic;

use super::drop::Drop;
use super::leg_header::{LegDestination, LegError, LegHeader};
use super::legs::too_long_for;
use super::moment::Moment;
use super::origin::Packet;
use super::stages::Stages;

impl<N: Nic> Stages<N> {
    /// Replicates a packet to a group once per leg of its route.
    #[inline(never)]
    pub(super) fn multicast_input<H: LegHeader>(&mut self, mut packet: Packet<H>, moment: &Moment<'_>) {
        let (source, group) = (packet.header.src(), packet.header.dst());
        if group.is_confined_group() {
            return self.out.drop(packet.mbuf, Drop::MulticastLinkLocal);
        }
        let Some(route) = moment.state.legs.multicast(source, group) else {
            return self.out.drop(packet.mbuf, Drop::NoMulticastRoute);
        };
        if !route.admits(packet.origin.way()) {
            return self.out.drop(packet.mbuf, Drop::MulticastRpf);
        }
        if packet.header.hop_limit() <= 1 {
            return self.out.drop(packet.mbuf, Drop::TtlExpired);
        }
        // The legs that take it get it all the same.
        if H::TELLS_SENDERS_TO_GROUPS
            && let Some(mtu) = too_long_for(&packet, route, moment)
        {
            H::tell(self, LegError::TooBig { mtu }, &packet, moment);
        }
        H::decrement(packet.mbuf.bytes_mut());
        self.send_by_legs(packet, route, Drop::NoMulticastRoute, moment);
    }
}
