//! Third stage, for what goes to a group: does it come the right way, and where are its receivers (RFC 1812, 5.2.1.2).
//!
//! Nobody is sent an ICMP error about a packet to a group (RFC 1122, 3.2.2): what ends here is counted by name.

use std::net::Ipv4Addr;

use crate::dpdk::Nic;
use crate::packet::ipv4::decrement_ttl;

use super::drop::Drop;
use super::moment::Moment;
use super::origin::Packet;
use super::stages::Stages;

impl<N: Nic> Stages<N> {
    /// Replicates a packet to a group once per leg of its route.
    #[inline(never)]
    pub(super) fn multicast_input(&mut self, mut packet: Packet, moment: &Moment<'_>) {
        let (source, group) = (packet.header.src, packet.header.dst);
        if is_link_local(group) {
            return self.out.drop(packet.mbuf, Drop::MulticastLinkLocal);
        }
        let Some(route) = moment.state.legs.multicast(source, group) else {
            return self.out.drop(packet.mbuf, Drop::NoMulticastRoute);
        };
        if !route.admits(packet.origin.way()) {
            return self.out.drop(packet.mbuf, Drop::MulticastRpf);
        }
        if packet.header.ttl <= 1 {
            return self.out.drop(packet.mbuf, Drop::TtlExpired);
        }
        decrement_ttl(packet.mbuf.bytes_mut());
        self.send_by_legs(packet, route, Drop::NoMulticastRoute, moment);
    }
}

/// 224.0.0.0/24: never forwarded, whatever the TTL (RFC 5771, 4).
fn is_link_local(group: Ipv4Addr) -> bool {
    matches!(group.octets(), [224, 0, 0, _])
}
