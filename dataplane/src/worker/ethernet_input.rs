//! First stage: is the frame for us, and what is in it.

use arrayvec::ArrayVec;

use crate::arch::prefetch_read;
use crate::dpdk::{BURST, Mbuf, Nic};
use crate::fib::PortIndex;
use crate::packet::ethernet::{EtherType, EthernetHeader, HEADER_LEN, MacAddr};

use super::drop::Drop;
use super::moment::Moment;
use super::origin::{Family, Origin};
use super::stages::Stages;

/// IP packets with their origin, on the way to validation.
pub(super) type IpBurst = ArrayVec<(Mbuf, Origin), BURST>;

impl<N: Nic> Stages<N> {
    /// Sorts a received burst: IP packets go to `ip`, their Ethernet header cut; ARP is handled; the rest is dropped.
    #[inline]
    pub(super) fn ethernet_input(
        &mut self,
        frames: &mut ArrayVec<Mbuf, BURST>,
        port: PortIndex,
        ip: &mut IpBurst,
        moment: &Moment<'_>,
    ) {
        for frame in frames.iter() {
            prefetch_read(frame.bytes().as_ptr());
        }
        let own = moment.state.port(port).map_or(MacAddr::ZERO, |port| MacAddr(port.mac));
        for mut frame in frames.drain(..) {
            let header = match EthernetHeader::parse(frame.bytes()) {
                Some(header) if frame.is_contiguous() => header,
                _ => {
                    self.out.drop(frame, Drop::FrameMalformed);
                    continue;
                }
            };
            let link_broadcast = header.dst.is_multicast();
            if header.dst != own && !link_broadcast {
                self.out.drop(frame, Drop::NotForUs);
                continue;
            }
            match header.ether_type {
                EtherType::IPV4 => {
                    frame.trim_front(HEADER_LEN);
                    ip.push((
                        frame,
                        Origin { port, link_broadcast, peer: None, depth: 0, family: Family::V4, handed_over: false },
                    ));
                }
                EtherType::IPV6 => {
                    frame.trim_front(HEADER_LEN);
                    ip.push((
                        frame,
                        Origin { port, link_broadcast, peer: None, depth: 0, family: Family::V6, handed_over: false },
                    ));
                }
                EtherType::ARP => self.arp_input(frame, port, moment),
                _ => self.out.drop(frame, Drop::EtherTypeUnknown),
            }
        }
    }
}
