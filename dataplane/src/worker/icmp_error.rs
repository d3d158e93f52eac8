//! ICMP errors about packets that could not be forwarded or delivered (RFC 792, RFC 1812, 4.3).

use crate::arch::{Tick, TickRate, TickSpan};
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

/// A rate limit: the generic cell rate algorithm (ITU-T I.371), which needs one time and no timer.
pub(super) struct RateLimit {
    /// When the next packet would arrive if all came at the even rate.
    expected: Tick,
    interval: TickSpan,
    tolerance: TickSpan,
}

impl RateLimit {
    /// [`RATE`] packets a second, [`BURST`] at once.
    pub fn icmp(rate: TickRate) -> RateLimit {
        let interval = TickSpan((rate.hz() / RATE).max(1));
        RateLimit { expected: Tick(0), interval, tolerance: TickSpan(interval.0 * (BURST - 1)) }
    }

    /// Whether one more may go now; counts it where it may.
    pub fn admits(&mut self, now: Tick) -> bool {
        if self.expected > now + self.tolerance {
            return false;
        }
        self.expected = self.expected.max(now) + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_the_even_rate() {
        let mut limit = RateLimit::icmp(TickRate::NANOSECONDS);
        let start = Tick(5_000_000_000);
        assert_eq!((0..1000).filter(|_| limit.admits(start)).count() as u64, BURST);
        let later = start + TickSpan(10_000_000);
        assert_eq!((0..1000).filter(|_| limit.admits(later)).count(), 10, "one a millisecond");
    }
}
