//! Fourth stage of what leaves by legs: a packet is replicated, and each replica goes to a link or to a peer.
//!
//! A replica to a link leaves as itself, to all stations of its group. One to a peer is staged in that peer's pool like
//! any stream packet; where no rule pools it, it travels in a pooled packet of its own, because the network between
//! may know nothing of its destination.

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;

use crate::dpdk::{Mbuf, Nic};
use crate::fib::{PeerIndex, PortIndex};
use crate::pool::{Detected, Format, LoneRide, PeerPath, PoolKey, Ride, RuleIndex, StreamFields, detect};

use super::counters::Counter;
use super::drop::Drop;
use super::leg_table::{Ingress, Leg, LegRoute, MAX_LEGS, PeerLeg};
use super::moment::Moment;
use super::origin::{Family, Origin, Packet};
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
    pub(super) fn send_by_legs(&mut self, packet: Packet, route: &LegRoute, reason: Drop, moment: &Moment<'_>) {
        let way = packet.origin.way();
        let legs: ArrayVec<&Leg, MAX_LEGS> = route.legs().iter().filter(|leg| leg.way() != way).collect();
        let Some((last, others)) = legs.split_last() else { return self.out.drop(packet.mbuf, reason) };
        self.out.counters.add(Counter::Forwarded, 1);
        for leg in others {
            self.out.counters.add(Counter::CreatedReplicas, 1);
            match self.replica(&packet) {
                Some(replica) => self.send_by_leg(replica, leg, moment),
                None => self.out.counters.dropped(Drop::NoBuffer, 1),
            }
        }
        self.send_by_leg(packet, last, moment);
    }

    /// A copy. None, and nothing is held, where there is no memory for it.
    fn replica(&mut self, packet: &Packet) -> Option<Packet> {
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

    fn send_by_leg(&mut self, packet: Packet, leg: &Leg, moment: &Moment<'_>) {
        match leg {
            Leg::Port(port) => self.send_by_port(packet, *port, moment),
            Leg::Peer(leg) => self.send_by_peer(packet, leg, moment),
        }
    }

    /// Sends a packet to its group on a link.
    fn send_by_port(&mut self, packet: Packet, port: PortIndex, moment: &Moment<'_>) {
        let Some(state) = moment.state.port(port) else { return self.out.drop(packet.mbuf, Drop::NoRoute) };
        let (mtu, mac) = (state.mtu, group_mac(packet.header.dst));
        if packet.header.total_len <= mtu {
            return self.out.transmit(packet.mbuf, port, mac, Family::V4, moment);
        }
        for fragment in self.fragments_of(packet, mtu).into_iter().flatten() {
            self.out.transmit(fragment, port, mac, Family::V4, moment);
        }
    }

    /// Sends a packet to a peer, in company or by itself, but inside a pooled packet always.
    fn send_by_peer(&mut self, packet: Packet, leg: &PeerLeg, moment: &Moment<'_>) {
        let peers = &moment.state.peers;
        let alive = leg.path.addressee.and_then(|index| Some((index, overlay_path(peers.get(index)?)?)));
        let Some(addressee) = alive else { return self.out.drop(packet.mbuf, Drop::LegDown) };
        let longest = addressee.1.longest_alone();
        if packet.header.total_len <= longest {
            return self.pool_on_leg(packet.mbuf, leg, addressee, moment);
        }
        for fragment in self.fragments_of(packet, longest).into_iter().flatten() {
            self.pool_on_leg(fragment, leg, addressee, moment);
        }
    }

    /// The fragments of a packet that is too large for a leg; None where it must not be cut. Nobody is told: there are no
    /// ICMP errors about multicast (RFC 1122, 3.2.2).
    fn fragments_of(&mut self, packet: Packet, mtu: u16) -> Option<impl Iterator<Item = Mbuf> + use<N>> {
        if packet.header.dont_fragment {
            self.out.drop(packet.mbuf, Drop::FragmentationNeeded);
            return None;
        }
        self.fragments(packet, mtu).map(IntoIterator::into_iter)
    }

    /// Stages a packet that a rule selects; sends any other at once, after those of its flow that wait.
    fn pool_on_leg(
        &mut self,
        mbuf: Mbuf,
        leg: &PeerLeg,
        (addressee, peer): (PeerIndex, &PeerPath),
        moment: &Moment<'_>,
    ) {
        let Some(fields) = StreamFields::read(mbuf.bytes(), self.seed) else {
            return self.out.drop(mbuf, Drop::Ipv4Length);
        };
        let fields = on_leg(&fields, leg.peer);
        let rules = &moment.state.rules;
        let buckets = self.pooler.limits().buckets;
        let mut exit = PoolExit { out: &mut self.out, mempool: &mut self.mempool, moment };
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

/// The way to a peer as an overlay node; None where its format knows nothing of overlays.
#[inline(always)]
pub(super) fn overlay_path(peer: &Peer) -> Option<&PeerPath> {
    Some(&peer.path).filter(|path| path.format == Format::Native)
}

/// The Ethernet address of a group: 01:00:5e, and the low 23 bits of the group's (RFC 1112, 6.4).
pub(super) fn group_mac(group: Ipv4Addr) -> [u8; 6] {
    let [_, a, b, c] = group.octets();
    [0x01, 0x00, 0x5e, a & 0x7f, b, c]
}
