//! Second stage: is it a sound IP packet, and where does it go. For IPv4 that is RFC 1812, 5.2.2 and 5.3.7; what is asked
//! of an IPv6 packet is in `ip6_input`.

use arrayvec::ArrayVec;

use crate::dpdk::{BURST, Mbuf, Nic};
use crate::fib::{Adjacency, EntryId};
use crate::packet::ethernet::HEADER_LEN;
use crate::packet::icmp::ErrorKind;
use crate::packet::ipv4::{self, DestinationClass, Ipv4Error, Ipv4Header, Plain, destination_class, source_is_martian};

use super::counters::Counter;
use super::drop::Drop;
use super::ethernet_input::IpBurst;
use super::ip6_input::{self, Ipv6Burst};
use super::moment::Moment;
use super::origin::{Family, Origin, Packet};
use super::output::drop_reason;
use super::pooling::{Look, Looks};
use super::stages::Stages;
use super::stopwatch::Stage;

/// The packets of a burst that were found sound, in the order they came. All of them came in the same way: received, or out of
/// pooled packets of one depth.
pub(super) struct SoundBurst {
    /// Those of IPv4.
    packets: ArrayVec<(Mbuf, Origin), BURST>,
    /// A bit for each of them that is a frame: it begins with as many bytes as an Ethernet header has, whatever these are. So
    /// are all that are [`Plain`].
    frames: u32,
    /// Whom each of them is for.
    destinations: [u32; BURST],
    /// A bit for each of them that is not [`Plain`], or comes next after one of IPv6.
    special: u32,
    /// Those of IPv6.
    packets6: Ipv6Burst,
}

/// There is a bit for each packet.
const _: () = assert!(BURST <= u32::BITS as usize);

impl SoundBurst {
    /// An empty burst.
    #[inline(always)]
    pub fn new() -> SoundBurst {
        SoundBurst {
            packets: ArrayVec::new(),
            frames: 0,
            destinations: [0; BURST],
            special: 0,
            packets6: Ipv6Burst::new(),
        }
    }

    /// How many packets of IPv4 it has.
    #[inline(always)]
    pub fn len4(&self) -> usize {
        self.packets.len()
    }

    /// How many packets of IPv4 it can come to have beside those of IPv6.
    #[inline(always)]
    pub fn most4(&self) -> usize {
        BURST.saturating_sub(self.packets6.len())
    }

    /// How many packets it has.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.packets.len() + self.packets6.len()
    }

    /// Adds a plain packet to the destination `dst`. `frame` holds it behind room for an Ethernet header, and nothing else.
    #[inline(always)]
    pub fn push_plain(&mut self, frame: Mbuf, origin: Origin, dst: u32) {
        self.frames |= self.next_bit();
        self.push(frame, origin, dst);
    }

    /// Those of IPv6.
    #[inline(always)]
    pub fn packets6(&mut self) -> &mut Ipv6Burst {
        &mut self.packets6
    }

    /// Adds a plain IPv6 packet, likewise.
    #[inline(always)]
    pub fn push_plain6(&mut self, frame: Mbuf, origin: Origin, dst: [u8; 16]) {
        self.next_is_special();
        self.packets6.push_plain(frame, origin, dst, self.packets.len());
    }

    /// Adds a packet that takes the long way. `mbuf` holds nothing else.
    pub fn push_special(&mut self, mbuf: Mbuf, origin: Origin, dst: u32) {
        self.next_is_special();
        self.push(mbuf, origin, dst);
    }

    #[inline(always)]
    fn push(&mut self, mbuf: Mbuf, origin: Origin, dst: u32) {
        if let Some(destination) = self.destinations.get_mut(self.packets.len()) {
            *destination = dst;
        }
        self.packets.push((mbuf, origin));
    }

    /// Has the next packet take the long way.
    fn next_is_special(&mut self) {
        self.special |= self.next_bit();
    }

    #[inline(always)]
    fn next_bit(&self) -> u32 {
        1u32.wrapping_shl(self.packets.len() as u32)
    }

    /// All its packets, with nothing in front of them: it knows nothing more of them.
    pub fn uncover(&mut self) -> &mut IpBurst {
        for (position, (mbuf, _)) in self.packets.iter_mut().enumerate() {
            if self.frames >> position & 1 == 1 {
                mbuf.trim_front(HEADER_LEN);
            }
        }
        (self.frames, self.special) = (0, 0);
        if self.packets6.len() > 0 {
            self.join();
        }
        &mut self.packets
    }

    /// Puts the packets of both families in the order they came, as IPv4 packets. There is nothing in front of those.
    #[cold]
    fn join(&mut self) {
        let before = std::mem::take(&mut self.packets);
        self.packets6.turn();
        for (position, packet) in before.into_iter().enumerate() {
            for _ in 0..self.packets6.due(position) {
                self.packets.extend(self.packets6.take_uncovered());
            }
            self.packets.push(packet);
        }
        self.packets.extend(std::iter::from_fn(|| self.packets6.take_uncovered()));
        self.packets6.clear();
    }
}

impl<N: Nic> Stages<N> {
    /// Validates a burst, looks all of it up, and sends each packet on its way, in the order they came. All its packets have
    /// the same `depth`. What they contained is on its way as well when this returns: it calls itself, once for each level
    /// of nesting.
    #[inline]
    pub(super) fn ip_input(&mut self, burst: &mut IpBurst, depth: u8, moment: &Moment<'_>) {
        let mut sound = SoundBurst::new();
        self.out.stopwatch.enter(Stage::Input);
        for (mut mbuf, origin) in burst.drain(..) {
            let plain = match origin.family() {
                Family::V4 => Plain::recognise(mbuf.bytes(), self.hops.pool_port()),
                Family::V6 => {
                    let may_be_plain = !origin.link_broadcast() && mbuf.headroom() >= HEADER_LEN;
                    match ip6_input::recognise(mbuf.bytes(), self.hops.pool_port()).filter(|_| may_be_plain) {
                        Some(dst) => {
                            mbuf.extend_front(HEADER_LEN);
                            sound.push_plain6(mbuf, origin, dst);
                        }
                        None => self.admit(mbuf, origin, &mut sound, moment),
                    }
                    continue;
                }
            };
            match plain {
                Some(plain) if !origin.link_broadcast() && mbuf.headroom() >= HEADER_LEN => {
                    mbuf.truncate(usize::from(plain.total_len));
                    mbuf.extend_front(HEADER_LEN);
                    sound.push_plain(mbuf, origin, plain.dst);
                }
                _ => self.admit(mbuf, origin, &mut sound, moment),
            }
        }
        self.send_all(&mut sound, depth, moment);
    }

    /// Adds a packet that is not known to be plain to `burst`, if it is sound.
    #[inline(never)]
    pub(super) fn admit(&mut self, mut mbuf: Mbuf, origin: Origin, burst: &mut SoundBurst, moment: &Moment<'_>) {
        if origin.family() == Family::V6 {
            burst.next_is_special();
            return self.ip6_input(mbuf, origin, burst.packets.len(), &mut burst.packets6, moment);
        }
        match validate(&mut mbuf, origin) {
            Ok(header) => burst.push_special(mbuf, origin, header.dst.to_bits()),
            Err(reason) => self.out.drop(mbuf, reason),
        }
    }

    /// Looks a burst up and sends each of its packets on its way.
    #[inline(never)]
    pub(super) fn send_all(&mut self, burst: &mut SoundBurst, depth: u8, moment: &Moment<'_>) {
        self.out.stopwatch.enter(Stage::Lookup);
        let mut leaves = [EntryId::NO_ROUTE; BURST];
        let count = burst.packets.len();
        let destinations = burst.destinations.get(..count).unwrap_or_default();
        moment.fib.lookup_burst(moment.section, destinations, &mut leaves);
        self.send_found(burst, &leaves, depth, moment);
    }

    /// The same where its IPv4 packets were looked up.
    #[inline(never)]
    pub(super) fn send_found(
        &mut self,
        burst: &mut SoundBurst,
        leaves: &[EntryId; BURST],
        depth: u8,
        moment: &Moment<'_>,
    ) {
        burst.packets6.look_up(moment);
        self.out.stopwatch.enter(Stage::Forward);
        // A loop of its own where nothing is pooled: what it need not ask costs a tenth.
        if self.is_only_forwarding() {
            self.send_each(burst, leaves, depth, moment);
        } else {
            self.pool_or_send_each(burst, leaves, depth, moment);
        }
        (burst.frames, burst.special) = (0, 0);
        burst.packets6.clear();
        self.take_up_reentry(depth, 1, moment);
        self.out.free_dropped(&mut self.mempool);
    }

    /// Sends each packet the way it needs: the short way where nothing in its header needs a closer look, nothing waits that it
    /// could overtake, and a way is remembered that takes it.
    #[inline(always)]
    fn send_each(&mut self, burst: &mut SoundBurst, leaves: &[EntryId; BURST], depth: u8, moment: &Moment<'_>) {
        let (mut packets, packets6) = (burst.packets.drain(..), &mut burst.packets6);
        let (mut forwarded, mut position) = (0, 0);
        let mut special = burst.special;
        while let Some((&leaf, behind)) = leaves.get(position..).and_then(|leaves| leaves.split_first()) {
            let hop = self.hops.at(leaf);
            let mut packet = None;
            if special >> position & 1 == 0 && self.hops.is_of(hop, leaf) {
                // Many packets go where the one before them went.
                if behind.first() == Some(&leaf) {
                    let plain = (special >> position).trailing_zeros() as usize;
                    let alike = plain.min(1 + behind.iter().take_while(|other| **other == leaf).count());
                    let (sent, left) = self.out.forward_run(&mut packets, alike, hop);
                    forwarded += sent;
                    position += sent;
                    packet = left;
                    if packet.is_none() && sent > 0 {
                        continue;
                    }
                } else {
                    packet = packets.next();
                    if let Some((frame, _)) =
                        packet.take_if(|(frame, _)| frame.len() <= usize::from(hop.mtu) + HEADER_LEN)
                    {
                        self.out.forward_frame(frame, hop);
                        forwarded += 1;
                        position += 1;
                        continue;
                    }
                }
            }
            let dst = burst.destinations.get(position).copied().unwrap_or_default();
            if packet.is_none()
                && special >> position & 1 == 0
                && let Some(hop) = self.hops.host(leaf, dst)
            {
                packet = packets.next();
                if let Some((frame, _)) = packet.take_if(|(frame, _)| frame.len() <= usize::from(hop.mtu) + HEADER_LEN)
                {
                    self.out.forward_frame(frame, hop);
                    forwarded += 1;
                    position += 1;
                    continue;
                }
            }
            let Some((mbuf, origin)) = packet.or_else(|| packets.next()) else { break };
            self.send_long((uncovered(mbuf, burst.frames, position), origin), leaf, position, packets6, depth, moment);
            let goes_on = self.is_only_forwarding() && self.reentry.waiting(depth) == 0;
            special = if goes_on { burst.special } else { u32::MAX };
            position += 1;
        }
        drop(packets);
        self.out.counters.add(Counter::Forwarded, forwarded as u64);
        self.send_each6(packets6, usize::MAX, depth, moment);
    }

    /// Whether no packet waits in a pool, and none that takes a way which is remembered can be to.
    #[inline(always)]
    pub(super) fn is_only_forwarding(&self) -> bool {
        self.pooler.is_empty() && !self.hops.has_paths()
    }

    /// The same where packets may be pooled, or overtake what is: all are looked at before any of them goes on.
    #[inline(never)]
    fn pool_or_send_each(&mut self, burst: &mut SoundBurst, leaves: &[EntryId; BURST], depth: u8, moment: &Moment<'_>) {
        self.out.stopwatch.enter(Stage::Pool);
        let mut looks = Looks::none();
        self.look_at(&burst.packets, leaves, burst.special, moment, &mut looks);
        self.out.stopwatch.enter(Stage::Forward);
        let (mut packets, packets6) = (burst.packets.drain(..), &mut burst.packets6);
        let (mut forwarded, mut position) = (0, 0);
        let mut none_waits = self.reentry.waiting(depth) == 0;
        loop {
            let packet = match looks.at(position) {
                look @ (Look::Boards(_) | Look::Crowd(_)) if none_waits => {
                    let (aboard, left) = match look {
                        Look::Crowd(crowd) => self.board_crowd(&mut packets, &crowd, moment),
                        Look::Boards(queue) => self.board(&mut packets, &queue, moment),
                        _ => (0, None),
                    };
                    forwarded += aboard;
                    position += aboard;
                    match left {
                        None if aboard > 0 => continue,
                        Some((mbuf, origin)) => {
                            let Some(&leaf) = leaves.get(position) else { break };
                            self.send_long((mbuf, origin), leaf, position, packets6, depth, moment);
                            none_waits = self.reentry.waiting(depth) == 0;
                            position += 1;
                            continue;
                        }
                        None => break,
                    }
                }
                Look::Free { flow, too_large } if none_waits && !self.pooler.may_overtake(flow) => {
                    let leaf = leaves.get(position).copied().unwrap_or(EntryId::NO_ROUTE);
                    let hop = self.hops.at(leaf);
                    // What took the long way may have had another remembered in its place.
                    match packets.next() {
                        Some((mbuf, _)) if self.hops.is_of(hop, leaf) => {
                            forwarded += 1;
                            position += 1;
                            self.out.counters.add(Counter::PoolTooLarge, u64::from(too_large));
                            self.out.forward_frame(mbuf, hop);
                            continue;
                        }
                        packet => packet,
                    }
                }
                Look::Boards(_) | Look::Crowd(_) | Look::Free { .. } | Look::Undecided => packets.next(),
            };
            let (Some((mbuf, origin)), Some(&leaf)) = (packet, leaves.get(position)) else { break };
            self.send_long((uncovered(mbuf, burst.frames, position), origin), leaf, position, packets6, depth, moment);
            none_waits = self.reentry.waiting(depth) == 0;
            position += 1;
        }
        drop(packets);
        self.out.counters.add(Counter::Forwarded, forwarded as u64);
        self.send_each6(packets6, usize::MAX, depth, moment);
    }

    /// Sends a packet the long way, behind those of IPv6 that came before it.
    #[inline(never)]
    fn send_long(
        &mut self,
        (mbuf, origin): (Mbuf, Origin),
        leaf: EntryId,
        position: usize,
        packets6: &mut Ipv6Burst,
        depth: u8,
        moment: &Moment<'_>,
    ) {
        self.send_each6(packets6, position, depth, moment);
        let to_pool_port = ipv4::is_datagram_to(mbuf.bytes(), self.hops.pool_port());
        if to_pool_port && moment.state.entry(leaf).adjacency == Adjacency::Local {
            self.take_up_reentry(depth, BURST, moment);
            self.out.stopwatch.enter(Stage::Depool);
            self.depool_input::<Ipv4Header>(mbuf, origin, moment);
            return self.out.stopwatch.enter(Stage::Forward);
        }
        match mbuf.bytes().first_chunk().map(Ipv4Header::of_sound) {
            Some(header) => self.send_on(Packet { mbuf, header, origin }, leaf, depth, moment),
            None => self.out.drop(mbuf, Drop::Ipv4Length),
        }
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
            Adjacency::Connected { .. } | Adjacency::Via { .. } => {
                let is_known = self.hops.find(leaf, packet.header.dst.to_bits()).is_some();
                if !is_known && (self.hops.is_ours(&entry) || !self.is_owned_elsewhere(&entry, moment)) {
                    self.hops.learn(leaf, entry, moment, |port| self.out.position(port));
                    self.hops.learn_host(packet.header.dst, leaf, entry, moment, |port| self.out.position(port));
                }
                self.forward(packet, entry, moment);
            }
            Adjacency::Local => {
                self.out.stopwatch.enter(Stage::Depool);
                self.local_input(packet, moment);
                self.out.stopwatch.enter(Stage::Forward);
            }
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
        let before = self.out.stopwatch.swap(Stage::Input);
        while self.reentry.waiting(depth) >= least
            && let Some(mut waiting) = self.reentry.take(depth)
        {
            if waiting.is_plain {
                self.send_all(&mut waiting.burst, depth + 1, moment);
            } else {
                self.ip_input(waiting.burst.uncover(), depth + 1, moment);
            }
            self.reentry.give_back(depth, waiting);
            self.out.send_bursts();
        }
        self.out.stopwatch.enter(before);
    }

    /// Drops a packet and tells its source why, where that is allowed.
    #[cold]
    pub(super) fn refuse(&mut self, packet: Packet, kind: ErrorKind, reason: Drop, moment: &Moment<'_>) {
        self.icmp_error(kind, &packet, moment);
        self.out.drop(packet.mbuf, reason);
    }
}

/// The packet at this position of a burst with nothing in front of it, where a bit in `frames` says which have.
#[inline(always)]
fn uncovered(mut mbuf: Mbuf, frames: u32, position: usize) -> Mbuf {
    if frames >> position & 1 == 1 {
        mbuf.trim_front(HEADER_LEN);
    }
    mbuf
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
