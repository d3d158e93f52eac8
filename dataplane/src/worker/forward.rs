//! Third stage, for what goes on: time to live, size, and whether it shares a ride.

use crate::dpdk::Nic;
use crate::fib::Entry;
use crate::packet::icmp::ErrorKind;
use crate::packet::ipv4::decrement_ttl;

use super::counters::Counter;
use super::drop::Drop;
use super::moment::Moment;
use super::origin::Packet;
use super::stages::Stages;
use super::stopwatch::Stage;

impl<N: Nic> Stages<N> {
    /// Forwards a packet to a next hop, alone or in a pool.
    #[inline(always)]
    pub(super) fn forward(&mut self, mut packet: Packet, entry: Entry, moment: &Moment<'_>) {
        // RFC 1812, 5.3.1: a packet that arrives with a time to live of one or zero is not forwarded.
        if packet.header.ttl <= 1 {
            return self.refuse(packet, ErrorKind::TimeExceeded, Drop::TtlExpired, moment);
        }
        let Some(mtu) = moment.mtu(entry.adjacency) else {
            return self.out.drop(packet.mbuf, Drop::NoRoute);
        };
        if self.handover.is_some() && self.is_owned_elsewhere(&entry, moment) {
            // Before anything is done to it: there it passes the whole input again.
            match self.hand_over(packet, &entry, moment) {
                Some(rest) => packet = rest,
                None => return,
            }
        }
        if packet.is_to_pool_port(moment) {
            // What is due here gets out, before the size of the rest is looked at.
            match self.transit_input(packet, moment) {
                Some(rest) => packet = rest,
                None => return,
            }
        }
        if packet.header.total_len > mtu {
            return self.forward_too_large(packet, entry, mtu, moment);
        }
        decrement_ttl(packet.mbuf.bytes_mut());
        self.out.counters.add(Counter::Forwarded, 1);
        if self.is_pooling(&entry, moment) {
            self.out.stopwatch.enter(Stage::Pool);
            self.pool_or_send(packet, entry, mtu, moment);
            self.out.stopwatch.enter(Stage::Forward);
        } else {
            self.out.send(packet.mbuf, entry.adjacency, packet.header.dst, moment);
        }
    }

    /// RFC 1812, 5.3.2 and 4.2.2.7: fragmented, or refused where its source forbids that.
    #[cold]
    fn forward_too_large(&mut self, mut packet: Packet, entry: Entry, mtu: u16, moment: &Moment<'_>) {
        if packet.header.dont_fragment {
            let kind = ErrorKind::FragmentationNeeded { next_hop_mtu: mtu };
            return self.refuse(packet, kind, Drop::FragmentationNeeded, moment);
        }
        decrement_ttl(packet.mbuf.bytes_mut());
        self.out.counters.add(Counter::Forwarded, 1);
        self.hold_back_pools(packet.mbuf.bytes(), moment);
        self.fragment(packet, entry, mtu, moment);
    }
}
