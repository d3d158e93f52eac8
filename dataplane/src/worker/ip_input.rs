//! Second stage: is it a sound IP packet, and where does it go. For IPv4 that is RFC 1812, 5.2.2 and 5.3.7; what is asked
//! of an IPv6 packet is in `ip6_input`.

use arrayvec::ArrayVec;

use crate::dpdk::{BURST, Mbuf, Nic};
use crate::fib::{Adjacency, EntryId};
use crate::packet::icmp::ErrorKind;
use crate::packet::ipv4::{DestinationClass, Ipv4Error, Ipv4Header, destination_class, source_is_martian};

use super::drop::Drop;
use super::ethernet_input::IpBurst;
use super::ip6_input::Ipv6Burst;
use super::moment::Moment;
use super::origin::{Family, Origin, Packet};
use super::output::drop_reason;
use super::stages::Stages;

impl<N: Nic> Stages<N> {
    /// Validates a burst, looks all of it up, and sends each packet on its way, in the order they came. All its packets have
    /// the same `depth`. What they contained is on its way as well when this returns: it calls itself, once for each level
    /// of nesting.
    #[inline]
    pub(super) fn ip_input(&mut self, burst: &mut IpBurst, depth: u8, moment: &Moment<'_>) {
        let mut packets: ArrayVec<Packet, BURST> = ArrayVec::new();
        let mut destinations: ArrayVec<u32, BURST> = ArrayVec::new();
        let mut packets6 = Ipv6Burst::new();
        for (mut mbuf, origin) in burst.drain(..) {
            if origin.family() == Family::V6 {
                self.ip6_input(mbuf, origin, packets.len(), &mut packets6, moment);
                continue;
            }
            match validate(&mut mbuf, origin) {
                Ok(header) => {
                    destinations.push(header.dst.to_bits());
                    packets.push(Packet { mbuf, header, origin });
                }
                Err(reason) => self.out.drop(mbuf, reason),
            }
        }
        let mut leaves = [EntryId::NO_ROUTE; BURST];
        moment.fib.lookup_burst(moment.section, &destinations, &mut leaves);
        packets6.look_up(moment);

        for (position, (packet, &leaf)) in packets.drain(..).zip(&leaves).enumerate() {
            while let Some((packet6, leaf6)) = packets6.next_before(position) {
                self.send_on6(packet6, leaf6, depth, moment);
            }
            self.send_on(packet, leaf, depth, moment);
        }
        while let Some((packet6, leaf6)) = packets6.next_before(usize::MAX) {
            self.send_on6(packet6, leaf6, depth, moment);
        }
        self.take_up_reentry(depth, 1, moment);
        self.out.free_dropped(&mut self.mempool);
    }

    /// Sends a packet where its leaf leads.
    #[inline(always)]
    fn send_on(&mut self, packet: Packet, leaf: EntryId, depth: u8, moment: &Moment<'_>) {
        let entry = moment.state.entry(leaf);
        // What a packet of ours may hold comes behind what waits: before it only bursts are taken up, so that memory which is
        // soon free is taken again while it is in the cache. Never more waits than the rest of a burst and what one packet held.
        let least = if entry.adjacency == Adjacency::Local { BURST } else { 1 };
        self.take_up_reentry(depth, least, moment);
        if packet.header.dst.is_multicast() {
            return self.multicast_input(packet, moment);
        }
        if let Some(route) = self.overlay_route(&packet, entry, moment) {
            return self.overlay_input(packet, route, moment);
        }
        match entry.adjacency {
            Adjacency::Connected { .. } | Adjacency::Via { .. } => self.forward(packet, entry, moment),
            Adjacency::Local => self.local_input(packet, moment),
            Adjacency::NoRoute => self.refuse(packet, ErrorKind::NetUnreachable, Drop::NoRoute, moment),
            Adjacency::Unreachable => {
                self.refuse(packet, ErrorKind::HostUnreachable, Drop::RouteUnreachable, moment);
            }
            other @ (Adjacency::Broadcast | Adjacency::Blackhole) => {
                self.out.drop(packet.mbuf, drop_reason(other));
            }
        }
    }

    /// Sends what was taken out of pooled packets of this depth on its way, while it is at least `least` packets. It came
    /// before whatever goes on next.
    #[inline(always)]
    pub(super) fn take_up_reentry(&mut self, depth: u8, least: usize, moment: &Moment<'_>) {
        if self.reentry.waiting(depth) >= least {
            self.take_up_bursts(depth, least, moment);
        }
    }

    #[inline(never)]
    fn take_up_bursts(&mut self, depth: u8, least: usize, moment: &Moment<'_>) {
        while self.reentry.waiting(depth) >= least {
            let mut inner = IpBurst::new();
            self.reentry.fill(depth, &mut inner);
            self.ip_input(&mut inner, depth + 1, moment);
        }
    }

    /// Drops a packet and tells its source why, where that is allowed.
    #[cold]
    pub(super) fn refuse(&mut self, packet: Packet, kind: ErrorKind, reason: Drop, moment: &Moment<'_>) {
        self.icmp_error(kind, &packet, moment);
        self.out.drop(packet.mbuf, reason);
    }
}

/// Checks a packet and cuts what the link added behind it.
#[inline(always)]
fn validate(mbuf: &mut Mbuf, origin: Origin) -> Result<Ipv4Header, Drop> {
    let header = Ipv4Header::parse(mbuf.bytes()).map_err(|error| match error {
        Ipv4Error::Truncated | Ipv4Error::TotalLengthBelowHeader | Ipv4Error::TotalLengthBeyondPacket => {
            Drop::Ipv4Length
        }
        Ipv4Error::Version | Ipv4Error::HeaderLength => Drop::Ipv4Header,
        Ipv4Error::Checksum => Drop::Ipv4Checksum,
    })?;
    mbuf.truncate(usize::from(header.total_len));
    if source_is_martian(header.src) {
        return Err(Drop::MartianSource);
    }
    match destination_class(header.dst) {
        DestinationClass::Unicast if origin.link_broadcast() => Err(Drop::LinkBroadcast),
        DestinationClass::Unicast | DestinationClass::Multicast => Ok(header),
        DestinationClass::LimitedBroadcast | DestinationClass::Martian => Err(Drop::MartianDestination),
    }
}
