//! Overlay nodes: what enters an overlay here, and what crosses this node on the way to the next one.
//!
//! A packet to a prefix behind an overlay leaves in pooled packets to a peer, which looks up its own overlay route. Rows
//! that are not due at this node and whose next node is the same leave at once in a pooled packet of their own: that
//! costs no window. Others are taken out and pooled anew.

use std::net::Ipv4Addr;

use crate::dpdk::{HEADROOM, Nic};
use crate::fib::{Adjacency, Entry, PeerIndex};
use crate::packet::icmp::ErrorKind;
use crate::packet::ipv4::{DestinationClass, decrement_ttl, destination_class};
use crate::pool::readdress::{Onward, RowSet, readdress};
use crate::pool::wire::{PooledPacket, RowType};
use crate::pool::{PeerPath, StreamFields};

use super::counters::Counter;
use super::drop::Drop;
use super::leg_table::{Ingress, Leg, LegRoute, PeerLeg};
use super::legs::{on_leg, overlay_path};
use super::moment::Moment;
use super::origin::{Family, Packet};
use super::pooling::PoolExit;
use super::stages::Stages;

/// Where in the headers of an inner packet its destination is.
const DESTINATION: usize = 16;

impl<N: Nic> Stages<N> {
    /// The overlay route of a packet, if there is one: it comes before ordinary routes, but not before our own addresses.
    /// A pooled packet in transit is not pooled once more.
    #[inline(always)]
    pub(super) fn overlay_route<'m>(&self, packet: &Packet, entry: Entry, moment: &Moment<'m>) -> Option<&'m LegRoute> {
        let route = moment.state.legs.overlay(packet.header.dst)?;
        let is_ours = matches!(entry.adjacency, Adjacency::Local | Adjacency::Broadcast);
        (!is_ours && !packet.is_to_pool_port(moment)).then_some(route)
    }

    /// Sends a packet to a prefix behind an overlay on its way.
    pub(super) fn overlay_input(&mut self, mut packet: Packet, route: &LegRoute, moment: &Moment<'_>) {
        if !route.admits(packet.origin.way()) {
            return self.out.drop(packet.mbuf, Drop::OverlayRpf);
        }
        if packet.header.ttl <= 1 {
            return self.refuse(packet, ErrorKind::TimeExceeded, Drop::TtlExpired, moment);
        }
        if packet.header.dont_fragment
            && let Some(longest) = route.legs().iter().filter_map(|leg| longest(leg, moment)).min()
            && packet.header.total_len > longest
        {
            let kind = ErrorKind::FragmentationNeeded { next_hop_mtu: longest };
            return self.refuse(packet, kind, Drop::FragmentationNeeded, moment);
        }
        decrement_ttl(packet.mbuf.bytes_mut());
        self.send_by_legs(packet, route, Drop::OverlayRpf, moment);
    }

    /// Sends those rows of a pooled packet between overlay nodes on that are not due here, and says which they are: all
    /// whose route leads to the same next node as that of the first.
    #[inline]
    pub(super) fn readdress_rows(
        &mut self,
        pooled: &PooledPacket<'_>,
        outer: &[u8],
        depth: u8,
        from: PeerIndex,
        moment: &Moment<'_>,
    ) -> RowSet {
        let mut rows = RowSet::default();
        if !pooled.header().is_overlay() {
            return rows;
        }
        let mut next: Option<(PeerIndex, &PeerPath)> = None;
        for (at, (row, bytes)) in (0..=u8::MAX).zip(pooled.rows()) {
            if row.ttl <= 1 || row.row_type != RowType::WholeIpv4 {
                continue;
            }
            let Some(onward) = next_node(bytes, from, moment) else { continue };
            if next.get_or_insert(onward).0 == onward.0 {
                rows.insert(at);
            }
        }
        match next {
            Some(next) if self.send_readdressed(pooled, &rows, (outer, depth), next, moment) => rows,
            _ => RowSet::default(),
        }
    }

    /// False, and nothing was sent, where there is no memory or the rows are too long for the way.
    fn send_readdressed(
        &mut self,
        pooled: &PooledPacket<'_>,
        rows: &RowSet,
        (outer, depth): (&[u8], u8),
        (index, peer): (PeerIndex, &PeerPath),
        moment: &Moment<'_>,
    ) -> bool {
        // What came before, out of pooled packets or still in pools, leaves before.
        self.take_up_reentry(depth, moment);
        let mut exit = PoolExit { out: &mut self.out, mempool: &mut self.mempool, moment };
        if !self.pooler.is_empty() {
            for (_, (_, bytes)) in (0..=u8::MAX).zip(pooled.rows()).filter(|(at, _)| rows.contains(*at)) {
                if let Some(fields) = StreamFields::read(bytes, self.seed) {
                    let fields = on_leg(&fields, index);
                    self.pooler.pass(fields.flow, moment.now, &mut exit);
                    if fields.is_fragment {
                        self.pooler.pass_fragment(fields.pair, moment.now, &mut exit);
                    }
                }
            }
        }
        let port_offset = self.pooler.first_port_offset();
        let Some(sequence) = self.pooler.next_sequence(index, 0) else { return false };
        let onward = Onward { peer, port_offset, sequence: *sequence, tos: tos_of(outer) };
        let Some(mbuf) = readdress(pooled, rows, &onward, HEADROOM, &mut self.mempool) else { return false };
        *sequence = sequence.wrapping_add(1);
        self.out.counters.add(Counter::CreatedReaddressed, 1);
        self.out.counters.add(Counter::RowsReaddressed, u64::from(rows.len()));
        self.out.route(mbuf, moment);
        true
    }
}

/// The overlay node that an inner packet goes to next, and the way there: where it has a route with a single leg, which
/// is alive, does not lead back, and may be taken from there. None for what is for this node itself or for no single host:
/// that is taken out and judged like any other packet.
fn next_node<'m>(inner: &[u8], from: PeerIndex, moment: &Moment<'m>) -> Option<(PeerIndex, &'m PeerPath)> {
    let destination = Ipv4Addr::from(*inner.get(DESTINATION..)?.first_chunk::<4>()?);
    let route = moment.state.legs.overlay(destination)?;
    let is_ours = matches!(moment.entry_for(destination).adjacency, Adjacency::Local | Adjacency::Broadcast);
    if is_ours || destination_class(destination) != DestinationClass::Unicast {
        return None;
    }
    match route.legs() {
        [Leg::Peer(PeerLeg { peer, path })] if *peer != from && route.admits(Ingress::Peer(from)) => {
            let index = path.addressee?;
            Some((index, overlay_path(moment.state.peers.get(index)?)?))
        }
        _ => None,
    }
}

/// DSCP and ECN of a packet of either family that was checked when it came.
fn tos_of(packet: &[u8]) -> u8 {
    match (Family::of(packet), packet) {
        (Family::V4, [_, tos, ..]) => *tos,
        (Family::V6, [first, second, ..]) => first << 4 | second >> 4,
        _ => 0,
    }
}

/// The longest packet that a leg takes whole; None where it takes none.
fn longest(leg: &Leg, moment: &Moment<'_>) -> Option<u16> {
    match leg {
        Leg::Port(port) => Some(moment.state.port(*port)?.mtu),
        Leg::Peer(leg) => Some(moment.state.peers.get(leg.path.addressee?)?.path.longest_alone()),
    }
}
