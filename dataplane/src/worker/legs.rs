//! Fourth stage of what leaves by legs: a packet is replicated, and each replica goes to a link or to a peer.
//!
//! A replica to a link leaves as itself, to all stations of its group. One to a peer is staged in that peer's pool like
//! any stream packet; where no rule pools it, it travels in a pooled packet of its own, because the network between
//! may know nothing of its destination.

use arrayvec::ArrayVec;

use crate::dpdk::{Mbuf, Nic};
use crate::fib::{PeerIndex, PortIndex};
use crate::pool::{Detected, Format, LoneRide, PeerPath, PoolKey, Ride, RuleIndex, StreamFields, detect};

use super::counters::Counter;
use super::drop::Drop;
use super::leg_header::{LegDestination, LegError, LegHeader};
use super::leg_table::{Ingress, Leg, LegRoute, MAX_LEGS, PeerLeg};
use super::moment::Moment;
use super::origin::{Destination, Origin, Packet};
use super::pooling::PoolExit;
use super::router_state::Peer;
use super::stages::Stages;

impl Origin {
    /// The way that a packet came in by.
    #[inline(always)]
    pub(super) fn way(&self) -> Ingress {
        match self.peer() {
            Some(peer) => Ingress::Peer(peer),
            None => Ingress::Port(self.port()),
        }
    }
}

/// The hashes of `fields` as one leg knows them: the replicas of one packet wait in the pools of several peers, and none of
/// them overtakes another.
pub(super) fn on_leg(fields: &StreamFields, peer: PeerIndex) -> StreamFields {
    let salt = (u32::from(peer.0) + 1).wrapping_mul(0x9e37_79b1);
    StreamFields { flow: fields.flow ^ salt, pair: fields.pair ^ salt, ..*fields }
}

impl<N: Nic> Stages<N> {
    /// Sends a packet, whose TTL is decremented, by all legs of a route but the one that it came in by. The last leg takes
    /// the packet, the others copies. Dropped for `reason` where there is no leg.
    pub(super) fn send_by_legs<H: LegHeader>(
        &mut self,
        packet: Packet<H>,
        route: &LegRoute,
        reason: Drop,
        moment: &Moment<'_>,
    ) {
        let legs: ArrayVec<&Leg, MAX_LEGS> = route.onward(packet.origin.way()).collect();
        let Some((last, others)) = legs.split_last() else { return self.out.drop(packet.mbuf, reason) };
        self.out.counters.add(Counter::Forwarded, 1);
        for leg in others {
            self.out.counters.add(Counter::CreatedReplicas, 1);
            match self.replica(&packet) {
                Some(replica) => self.send_by_leg(replica, leg, false, moment),
                None => self.out.counters.dropped(Drop::NoBuffer, 1),
            }
        }
        self.send_by_leg(packet, last, others.is_empty(), moment);
    }

    /// A copy. None, and nothing is held, where there is no memory for it.
    fn replica<H: LegHeader>(&mut self, packet: &Packet<H>) -> Option<Packet<H>> {
        let mut mbuf = self.mempool.alloc()?;
        match mbuf.append(packet.mbuf.len()) {
            Some(room) => {
                room.copy_from_slice(packet.mbuf.bytes());
                Some(Packet { mbuf, ..*packet })
            }
            None => {
                self.mempool.free(mbuf);
                None
            }
        }
    }

    /// `is_only`: there is no other leg.
    fn send_by_leg<H: LegHeader>(&mut self, packet: Packet<H>, leg: &Leg, is_only: bool, moment: &Moment<'_>) {
        match leg {
            Leg::Port(port) => self.send_by_port(packet, *port, moment),
            Leg::Peer(leg) => self.send_by_peer(packet, leg, is_only, moment),
        }
    }

    /// Sends a packet to its group on a link.
    fn send_by_port<H: LegHeader>(&mut self, packet: Packet<H>, port: PortIndex, moment: &Moment<'_>) {
        let Some(state) = moment.state.port(port) else { return self.out.drop(packet.mbuf, Drop::NoRoute) };
        let (mtu, mac, family) = (state.mtu, packet.header.dst().group_mac(), H::Address::FAMILY);
        if packet.header.total_len() <= usize::from(mtu) {
            return self.out.transmit(packet.mbuf, port, mac, family, moment);
        }
        for fragment in H::fragments(self, packet, mtu).into_iter().flatten() {
            self.out.transmit(fragment, port, mac, family, moment);
        }
    }

    /// Sends a packet to a peer, in company or by itself, but inside a pooled packet always.
    fn send_by_peer<H: LegHeader>(&mut self, packet: Packet<H>, leg: &PeerLeg, is_only: bool, moment: &Moment<'_>) {
        let Some(addressee) = addressee::<H::Address>(leg, moment) else {
            if is_only {
                // Not of groups: no family's errors are about those.
                H::tell(self, LegError::Unreachable, &packet, moment);
            }
            return self.out.drop(packet.mbuf, Drop::LegDown);
        };
        let longest = addressee.1.longest_alone();
        if packet.header.total_len() <= usize::from(longest) {
            return self.pool_on_leg::<H>(packet.mbuf, leg, addressee, moment);
        }
        for fragment in H::fragments(self, packet, longest).into_iter().flatten() {
            self.pool_on_leg::<H>(fragment, leg, addressee, moment);
        }
    }

    /// Stages a packet that a rule selects; sends any other at once, after those of its flow that wait.
    fn pool_on_leg<H: LegHeader>(
        &mut self,
        mbuf: Mbuf,
        leg: &PeerLeg,
        (addressee, peer): (PeerIndex, &PeerPath),
        moment: &Moment<'_>,
    ) {
        let Some(fields) = StreamFields::read(mbuf.bytes(), self.seed) else {
            return self.out.drop(mbuf, H::UNREADABLE);
        };
        let fields = on_leg(&fields, leg.peer);
        let rules = &moment.state.rules;
        let buckets = self.pooler.limits().buckets;
        let mut exit = PoolExit { out: &mut self.out, mempool: &mut self.mempool, hops: &mut self.hops, moment };
        if let Detected::Stream(index) = detect(rules, &fields)
            && let Some(rule) = rules.get(index)
        {
            let key = PoolKey::of_stream(leg.path.group(rule.shared_hops), index, &fields, buckets);
            let ride = Ride::new(key, &leg.path, (addressee, peer), rule, &fields);
            self.pooler.stage(mbuf, &ride, moment.now, &mut exit);
            return;
        }
        if fields.is_fragment {
            self.pooler.pass_fragment(fields.pair, moment.now, &mut exit);
        }
        let key = PoolKey::of_stream(0, RuleIndex(u16::MAX), &fields, buckets);
        let ride = LoneRide { key, path: &leg.path, addressee, peer, flow: fields.flow };
        self.pooler.send_alone(mbuf, &ride, moment.now, &mut exit);
    }
}

/// The peer that packets of this family go to by a leg; None where it is not alive or does not take them.
#[inline(always)]
pub(super) fn addressee<'m, A: LegDestination>(
    leg: &PeerLeg,
    moment: &Moment<'m>,
) -> Option<(PeerIndex, &'m PeerPath)> {
    let index = leg.path.addressee?;
    let peer = overlay_path(moment.state.peers.get(index)?)?;
    peer.capabilities.contains(A::CAPABILITY).then_some((index, peer))
}

/// The way to a peer as an overlay node; None where its format knows nothing of overlays.
#[inline(always)]
fn overlay_path(peer: &Peer) -> Option<&PeerPath> {
    Some(&peer.path).filter(|path| path.format == Format::Native)
}

/// The longest packet of this family that a leg takes whole; None where it takes none.
fn longest<A: LegDestination>(leg: &Leg, moment: &Moment<'_>) -> Option<u16> {
    match leg {
        Leg::Port(port) => Some(moment.state.port(*port)?.mtu),
        Leg::Peer(leg) => Some(addressee::<A>(leg, moment)?.1.longest_alone()),
    }
}

/// How long packets may be at most, where this one is too long for a leg that it goes by.
#[inline]
pub(super) fn too_long_for<H: LegHeader>(packet: &Packet<H>, route: &LegRoute, moment: &Moment<'_>) -> Option<u16> {
    let legs = route.onward(packet.origin.way());
    let shortest = legs.filter_map(|leg| longest::<H::Address>(leg, moment)).min()?;
    (packet.header.total_len() > usize::from(shortest)).then_some(shortest)
}
