//! Third stage, for IPv6 that goes on: scope, hop limit, size, and whether it shares a ride.

use crate::dpdk::Nic;
use crate::fib::Entry;
use crate::packet::icmpv6::ErrorKind;
use crate::packet::ipv6::{decrement_hop_limit, is_link_local};

use super::counters::Counter;
use super::drop::Drop;
use super::moment::Moment;
use super::origin::Packet6;
use super::stages::Stages;
use super::stopwatch::Stage;

impl<N: Nic> Stages<N> {
    /// Forwards a packet to a next hop, alone or in a pool.
    #[inline]
    pub(super) fn forward6(&mut self, mut packet: Packet6, entry: Entry, moment: &Moment<'_>) {
        // RFC 4291, 2.5.6, and RFC 4443, 3.1: its source could not be answered from where it is going.
        if is_link_local(packet.header.src) {
            return self.refuse6(packet, ErrorKind::BeyondScope, Drop::LinkScope, moment);
        }
        // RFC 8200, 3: it is not forwarded where its hop limit was zero or is decremented to zero.
        if packet.header.hop_limit <= 1 {
            return self.refuse6(packet, ErrorKind::HopLimitExceeded, Drop::TtlExpired, moment);
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
        // RFC 8200, 5: only sources fragment.
        if packet.header.total_len() > usize::from(mtu) {
            return self.refuse6(packet, ErrorKind::PacketTooBig { mtu }, Drop::FragmentationNeeded, moment);
        }
        decrement_hop_limit(packet.mbuf.bytes_mut());
        self.out.counters.add(Counter::Forwarded, 1);
        if self.is_pooling(&entry, moment) {
            self.out.stopwatch.enter(Stage::Pool);
            self.pool_or_send(packet, entry, mtu, moment);
            self.out.stopwatch.enter(Stage::Forward);
        } else {
            self.out.send(packet.mbuf, entry.adjacency, packet.header.dst, moment);
        }
    }
}
