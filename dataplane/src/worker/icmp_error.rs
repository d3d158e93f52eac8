//! ICMP errors about packets that could not be forwarded or delivered (RFC 792, RFC 1812, 4.3).

use crate::arch::{RateLimit, TickRate};
use crate::dpdk::Nic;
use crate::fib::Adjacency;
use crate::packet::icmp::{ErrorKind, MAX_ERROR_LEN, error_allowed, write_error};

use super::counters::Counter;
use super::moment::Moment;
use super::origin::Packet;
use super::stages::Stages;

/// Errors a worker sends per second, in the long run.
const RATE: u64 = 1000;
/// Errors it sends at once after a quiet time.
const BURST: u64 = 100;

impl<N: Nic> Stages<N> {
    /// Tells the source of a packet what became of it: where that is allowed, not too often, and memory is there.
    #[cold]
    pub(super) fn icmp_error(&mut self, kind: ErrorKind, packet: &Packet, moment: &Moment<'_>) {
        if !error_allowed(&packet.header, packet.mbuf.bytes(), packet.origin.link_broadcast()) {
            return;
        }
        // RFC 1812, 4.3.2.4: from an address of the interface that the error leaves by.
        let port = match moment.entry_for(packet.header.src).adjacency {
            Adjacency::Connected { port } | Adjacency::Via { port, .. } => moment.state.port(port),
            _ => return,
        };
        let ports = port.into_iter().chain(moment.state.ports.iter());
        let Some(own) = ports.flat_map(|port| port.addresses.first()).next() else { return };
        if !self.icmp_limit.admits(moment.now) {
            self.out.counters.add(Counter::IcmpLimited, 1);
            return;
        }
        let Some(mut error) = self.mempool.alloc() else { return };
        let written = error
            .append(MAX_ERROR_LEN)
            .and_then(|out| write_error(kind, packet.mbuf.bytes(), own.address, packet.header.src, out));
        let Some(length) = written else { return };
        error.truncate(length);
        self.out.counters.add(Counter::CreatedIcmp, 1);
        self.out.route(error, moment);
    }
}

/// How often a worker sends them.
pub(super) fn icmp_limit(rate: TickRate) -> RateLimit {
    RateLimit::new(rate, RATE, BURST)
}
