//! First stage: is the frame for us, and what is in it.

use arrayvec::ArrayVec;

use crate::arch::prefetch_read;
use crate::dpdk::{BURST, Mbuf, Nic};
use crate::fib::PortIndex;
use crate::packet::ethernet::{EtherType, EthernetHeader, HEADER_LEN, MacAddr};
use crate::packet::ipv4::Plain;

use super::drop::Drop;
use super::ip_input::SoundBurst;
use super::ip6_input;
use super::mixed_burst::KnownBurst;
use super::moment::Moment;
use super::origin::{Family, Origin};
use super::short_way::{FrameStarts, cut, first_positions};
use super::stages::Stages;
use super::stopwatch::Stage;

/// IP packets with their origin, on the way to validation.
pub(super) type IpBurst = ArrayVec<(Mbuf, Origin), BURST>;

/// Who received a frame.
#[derive(Clone, Copy)]
pub(super) struct Receiver {
    port: PortIndex,
    /// The Ethernet address of the port.
    own: MacAddr,
}

impl Receiver {
    /// The origin of plain packets.
    #[inline(always)]
    pub fn origin(self) -> Origin {
        Origin::received(self.port, false, Family::V4)
    }
}

impl<N: Nic> Stages<N> {
    /// Sorts a received burst and sends all of it on its way: IP packets, alone or in `ip`, which is empty and is so again; ARP is
    /// handled; the rest is dropped.
    #[inline]
    pub(super) fn ethernet_input(
        &mut self,
        frames: &mut ArrayVec<Mbuf, BURST>,
        port: PortIndex,
        ip: &mut SoundBurst,
        moment: &Moment<'_>,
    ) {
        let own = moment.state.port(port).map_or(MacAddr::ZERO, |port| MacAddr(port.mac));
        if frames.first().is_some_and(holds_ipv6) && self.burst6_input(frames, Receiver { port, own }, ip, moment) {
            return;
        }
        let count = frames.len();
        let mut burst = KnownBurst::new();
        let is_seen = {
            let (mut starts, mut lengths) = (FrameStarts::default(), [0; BURST]);
            for (frame, length) in frames.iter_mut().zip(&mut lengths) {
                *length = frame.len() as u16;
                if let Some(start) = frame.start_mut() {
                    prefetch_read(start.as_ptr());
                    starts.push(start);
                }
            }
            let seen = &mut burst.seen;
            let is_seen = starts.len() == count && seen.look(&starts, &lengths, own.0, self.hops.pool_port());
            if is_seen && seen.plain != 0 {
                self.look_up(&starts, &mut burst, moment);
                self.write_short(&mut starts, &lengths, &mut burst);
            }
            is_seen
        };
        if burst.seen.plain == 0 {
            self.sort_each(frames, Receiver { port, own }, !is_seen, ip, moment);
            self.send_all(ip, 0, moment);
        } else if burst.written.packets == first_positions(count) && !self.may_overtake(&burst) {
            self.send_short(frames, burst.seen.padded, &burst.written);
        } else {
            cut(frames, burst.seen.padded);
            self.send_mixed(frames, &burst, Receiver { port, own }, ip, moment);
        }
    }

    /// Sorts frames of which nothing is known, or that none of them is plain.
    #[inline(never)]
    fn sort_each(
        &mut self,
        frames: &mut ArrayVec<Mbuf, BURST>,
        receiver: Receiver,
        may_be_plain: bool,
        ip: &mut SoundBurst,
        moment: &Moment<'_>,
    ) {
        self.out.stopwatch.enter(Stage::Input);
        let (own_number, pool_port) = (number_of(receiver.own), self.hops.pool_port());
        for mut frame in frames.drain(..) {
            match Some(&frame).filter(|_| may_be_plain).and_then(|frame| recognise(frame, own_number, pool_port)) {
                Some(plain) => {
                    frame.truncate(HEADER_LEN + usize::from(plain.total_len));
                    ip.push_plain(frame, receiver.origin(), plain.dst);
                }
                None => self.sort_frame(frame, receiver, ip, moment),
            }
        }
    }

    /// Sends a burst on its way whose frames all hold plain IPv6 packets. False, and nothing has changed, where one does not.
    #[inline(never)]
    fn burst6_input(
        &mut self,
        frames: &mut ArrayVec<Mbuf, BURST>,
        Receiver { port, own }: Receiver,
        ip: &mut SoundBurst,
        moment: &Moment<'_>,
    ) -> bool {
        frames.iter().for_each(|frame| prefetch_read(frame.bytes().as_ptr()));
        let (own_number, pool_port) = (number_of(own), self.hops.pool_port());
        let packets6 = ip.packets6();
        packets6.expect(frames.iter().map_while(|frame| recognise6(frame, own_number, pool_port)));
        if packets6.expected() < frames.len() {
            packets6.clear();
            return false;
        }
        self.out.stopwatch.enter(Stage::Lookup);
        packets6.find(moment);
        if self.forward_burst6(frames, packets6.leaves()) {
            packets6.clear();
        } else {
            packets6.push_expected(frames, Origin::received(port, false, Family::V6));
            self.send_all(ip, 0, moment);
        }
        true
    }

    /// Sorts a frame that is not known to hold a plain IPv4 packet for us.
    #[inline(never)]
    pub(super) fn sort_frame(
        &mut self,
        mut frame: Mbuf,
        Receiver { port, own }: Receiver,
        ip: &mut SoundBurst,
        moment: &Moment<'_>,
    ) {
        if let Some(dst) = recognise6(&frame, number_of(own), self.hops.pool_port()) {
            return ip.push_plain6(frame, Origin::received(port, false, Family::V6), dst);
        }
        let header = match EthernetHeader::parse(frame.bytes()) {
            Some(header) if frame.is_contiguous() => header,
            _ => return self.out.drop(frame, Drop::FrameMalformed),
        };
        let link_broadcast = header.dst.is_multicast();
        if header.dst != own && !link_broadcast {
            return self.out.drop(frame, Drop::NotForUs);
        }
        let family = match header.ether_type {
            EtherType::IPV4 => Family::V4,
            EtherType::IPV6 => Family::V6,
            EtherType::ARP => return self.arp_input(frame, port, moment),
            _ => return self.out.drop(frame, Drop::EtherTypeUnknown),
        };
        frame.trim_front(HEADER_LEN);
        self.admit(frame, Origin::received(port, link_broadcast, family), ip, moment);
    }
}

/// An address as it is compared.
#[inline(always)]
fn number_of(MacAddr([o0, o1, o2, o3, o4, o5]): MacAddr) -> u64 {
    u64::from_be_bytes([0, 0, o0, o1, o2, o3, o4, o5])
}

/// Whether a frame is said to hold an IPv6 packet.
#[inline(always)]
fn holds_ipv6(frame: &Mbuf) -> bool {
    frame
        .bytes()
        .first_chunk()
        .is_some_and(|&[.., t0, t1]: &[u8; HEADER_LEN]| [t0, t1] == EtherType::IPV6.0.to_be_bytes())
}

/// Recognises the plain IPv6 packet in a frame to the station `own`. Returns whom it is for.
#[inline(always)]
fn recognise6(frame: &Mbuf, own: u64, but: u32) -> Option<[u8; 16]> {
    let (header, packet) = frame.bytes().split_first_chunk::<HEADER_LEN>()?;
    let &[d0, d1, d2, d3, d4, d5, s0, s1, ..] = header;
    let dst = u64::from_be_bytes([d0, d1, d2, d3, d4, d5, s0, s1]) >> 16;
    let is_for_us = dst == own && holds_ipv6(frame) && frame.is_contiguous();
    if is_for_us { ip6_input::recognise(packet, but) } else { None }
}

/// Recognises the plain packet in a frame to the station `own`, as [`Plain::recognise`] does.
#[inline(always)]
fn recognise(frame: &Mbuf, own: u64, but: u32) -> Option<Plain> {
    let start = frame.bytes().first_chunk::<{ HEADER_LEN + Plain::START }>()?;
    let (header, packet) = start.split_first_chunk::<HEADER_LEN>()?;
    let &[d0, d1, d2, d3, d4, d5, s0, s1, _, _, _, _, t0, t1] = header;
    // The address that it is to, in one load.
    let dst = u64::from_be_bytes([d0, d1, d2, d3, d4, d5, s0, s1]) >> 16;
    let is_for_us = dst == own && [t0, t1] == EtherType::IPV4.0.to_be_bytes();
    let behind = frame.len().saturating_sub(HEADER_LEN);
    if is_for_us && frame.is_contiguous() { Plain::of_start(packet.first_chunk()?, behind, but) } else { None }
}
