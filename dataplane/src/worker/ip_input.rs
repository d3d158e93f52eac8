//! Second stage: is it a sound IPv4 packet (RFC 1812, 5.2.2 and 5.3.7), and where does it go.

use arrayvec::ArrayVec;

use crate::dpdk::{BURST, Mbuf, Nic};
use crate::fib::{Adjacency, EntryId};
use crate::packet::icmp::ErrorKind;
use crate::packet::ipv4::{DestinationClass, Ipv4Error, Ipv4Header, destination_class, source_is_martian};

use super::drop::Drop;
use super::ethernet_input::IpBurst;
use super::moment::Moment;
use super::origin::{Origin, Packet};
use super::output::drop_reason;
use super::stages::Stages;

impl<N: Nic> Stages<N> {
    /// Validates a burst, looks all of it up, and sends each packet on its way. All its packets have the same `depth`.
    /// What they contained is on its way as well when this returns: it calls itself, once for each level of nesting.
    #[inline]
    pub(super) fn ip_input(&mut self, burst: &mut IpBurst, depth: u8, moment: &Moment<'_>) {
        let mut packets: ArrayVec<Packet, BURST> = ArrayVec::new();
        let mut destinations: ArrayVec<u32, BURST> = ArrayVec::new();
        for (mut mbuf, origin) in burst.drain(..) {
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

        for (packet, leaf) in packets.into_iter().zip(leaves) {
            let entry = moment.state.entry(leaf);
            if entry.adjacency != Adjacency::Local {
                self.take_up_reentry(depth, moment);
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
        self.take_up_reentry(depth, moment);
        self.out.free_dropped(&mut self.mempool);
    }

    /// Sends what was taken out of pooled packets of this depth on its way. It came before whatever goes on next.
    #[inline(always)]
    fn take_up_reentry(&mut self, depth: u8, moment: &Moment<'_>) {
        while !self.reentry.is_empty(depth) {
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
        DestinationClass::Unicast if origin.link_broadcast => Err(Drop::LinkBroadcast),
        DestinationClass::Unicast => Ok(header),
        DestinationClass::Multicast => Err(Drop::NoMulticastRoute),
        DestinationClass::LimitedBroadcast | DestinationClass::Martian => Err(Drop::MartianDestination),
    }
}
