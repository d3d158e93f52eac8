//! ICMPv6 errors about packets that could not be forwarded or delivered (RFC 4443).

use std::net::Ipv6Addr;

use crate::dpdk::Nic;
use crate::fib::Adjacency;
use crate::packet::icmpv6::{ErrorKind, MAX_ERROR_LEN, error_allowed, write_error};
use crate::packet::ipv6::is_link_local;

use super::counters::Counter;
use super::moment::Moment;
use super::origin::Packet6;
use super::stages::Stages;

impl<N: Nic> Stages<N> {
    /// Tells the source of a packet what became of it: where that is allowed, not too often (RFC 4443, 2.4 f), and memory is
    /// there.
    #[cold]
    pub(super) fn icmp6_error(&mut self, kind: ErrorKind, packet: &Packet6, moment: &Moment<'_>) {
        if !error_allowed(kind, &packet.header, packet.mbuf.bytes(), packet.origin.link_broadcast()) {
            return;
        }
        let (src, port) = (packet.header.src, packet.origin.port());
        let Some(own) = own_address(packet, moment) else { return };
        if !self.icmp_limit.admits(moment.now) {
            self.out.counters.add(Counter::IcmpLimited, 1);
            return;
        }
        let Some(mut error) = self.mempool.alloc() else { return };
        let written = error.append(MAX_ERROR_LEN).and_then(|out| write_error(kind, packet.mbuf.bytes(), own, src, out));
        let Some(length) = written else { return };
        error.truncate(length);
        self.out.counters.add(Counter::CreatedIcmp, 1);
        self.out.route_back(error, src, port, moment);
    }
}

/// The source of an error about a packet (RFC 4443, 2.2): the address that the packet was for, where that is ours, or else
/// one of the link that the error leaves by.
fn own_address(packet: &Packet6, moment: &Moment<'_>) -> Option<Ipv6Addr> {
    let (src, dst) = (packet.header.src, packet.header.dst);
    // Packets to other nodes' link-local addresses have not come this far.
    if is_link_local(dst) || (!dst.is_multicast() && moment.entry_for(dst).adjacency == Adjacency::Local) {
        return Some(dst);
    }
    if is_link_local(src) {
        return moment.state.port(packet.origin.port())?.link_local;
    }
    let port = match moment.entry_for(src).adjacency {
        Adjacency::Connected { port } | Adjacency::Via { port, .. } => moment.state.port(port),
        _ => return None,
    };
    let ports = port.into_iter().chain(moment.state.ports.iter());
    ports.flat_map(|port| port.addresses6.first()).next().map(|own| own.address)
}
