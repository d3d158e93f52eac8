//! Overlay nodes: what enters an overlay here, and what crosses this node on the way to the next one.
//!
//! A packet to a prefix behind an overlay leaves in pooled packets to a peer, which looks up its own overlay route. Rows
//! that are not due at this node and whose next node is the same leave at once in a pooled packet of their own: that
//! costs no window. Others are taken out and pooled anew.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::dpdk::{HEADROOM, Nic};
use crate::fib::{Adjacency, Entry, PeerIndex};
use crate::pool::readdress::{Onward, RowSet, readdress};
use crate::pool::wire::{PooledPacket, RowType};
use crate::pool::{PeerPath, StreamFields};

use super::counters::Counter;
use super::drop::Drop;
use super::leg_header::{LegDestination, LegError, LegHeader};
use super::leg_table::{Ingress, Leg, LegRoute};
use super::legs::{addressee, on_leg, too_long_for};
use super::moment::Moment;
use super::origin::{Family, Packet};
use super::pooling::PoolExit;
use super::stages::Stages;

/// Where in the header of an inner IPv4 packet its destination is.
const DESTINATION: usize = 16;
/// The same of an inner IPv6 packet.
const DESTINATION6: usize = 24;

impl<N: Nic> Stages<N> {
    /// The overlay route of a packet, if there is one: it comes before ordinary routes, but not before our own addresses.
    /// A pooled packet in transit is not pooled once more.
    #[inline(always)]
    pub(super) fn overlay_route<'m, H: LegHeader>(
        &self,
        packet: &Packet<H>,
        entry: Entry,
        moment: &Moment<'m>,
    ) -> Option<&'m LegRoute> {
        let route = moment.state.legs.overlay(packet.header.dst())?;
        let is_ours = matches!(entry.adjacency, Adjacency::Local | Adjacency::Broadcast);
        (!is_ours && !packet.is_to_pool_port(moment)).then_some(route)
    }

    /// Sends a packet to a prefix behind an overlay on its way.
    pub(super) fn overlay_input<H: LegHeader>(&mut self, mut packet: Packet<H>, route: &LegRoute, moment: &Moment<'_>) {
        if !route.admits(packet.origin.way()) {
            return self.out.drop(packet.mbuf, Drop::OverlayRpf);
        }
        if packet.header.hop_limit() <= 1 {
            H::tell(self, LegError::TimeExceeded, &packet, moment);
            return self.out.drop(packet.mbuf, Drop::TtlExpired);
        }
        if packet.header.must_stay_whole()
            && let Some(mtu) = too_long_for(&packet, route, moment)
        {
            H::tell(self, LegError::TooBig { mtu }, &packet, moment);
            return self.out.drop(packet.mbuf, Drop::FragmentationNeeded);
        }
        H::decrement(packet.mbuf.bytes_mut());
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
            if row.ttl <= 1 {
                continue;
            }
            let onward = match row.row_type {
                RowType::WholeIpv4 => {
                    destination(bytes, DESTINATION).and_then(|to: Ipv4Addr| next_node(to, from, moment))
                }
                RowType::WholeIpv6 => {
                    destination(bytes, DESTINATION6).and_then(|to: Ipv6Addr| next_node(to, from, moment))
                }
                _ => None,
            };
            let Some(onward) = onward else { continue };
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
        self.take_up_reentry(depth, 1, moment);
        let mut exit = PoolExit { out: &mut self.out, mempool: &mut self.mempool, hops: &mut self.hops, moment };
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

/// The address at this place of an inner packet.
#[inline(always)]
fn destination<A: From<[u8; LENGTH]>, const LENGTH: usize>(inner: &[u8], at: usize) -> Option<A> {
    Some(A::from(*inner.get(at..)?.first_chunk::<LENGTH>()?))
}

/// The overlay node that an inner packet to this address goes to next, and the way there: where it has a route with a single
/// leg, which is alive, does not lead back, and may be taken from there. None for what is for this node itself or for no
/// single host: that is taken out and judged like any other packet.
fn next_node<'m, A: LegDestination>(
    destination: A,
    from: PeerIndex,
    moment: &Moment<'m>,
) -> Option<(PeerIndex, &'m PeerPath)> {
    let route = moment.state.legs.overlay(destination)?;
    let is_ours = matches!(moment.entry_for(destination).adjacency, Adjacency::Local | Adjacency::Broadcast);
    if is_ours || !destination.is_one_host() {
        return None;
    }
    match route.legs() {
        [Leg::Peer(leg)] if leg.peer != from && route.admits(Ingress::Peer(from)) => addressee::<A>(leg, moment),
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
