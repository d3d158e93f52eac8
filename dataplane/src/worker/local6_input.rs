//! Third stage, for IPv6 that is addressed to this router: pooled packets, hellos, neighbour discovery, echo requests.

use crate::dpdk::Nic;
use crate::packet::icmpv6::{self, ErrorKind, echo_reply};
use crate::packet::ipv4::PROTOCOL_UDP;
use crate::packet::ipv6::{HEADER_LEN, Ipv6Header};
use crate::packet::ipv6_extension::{Unprocessable, UpperLayer, check_at_destination};
use crate::packet::nd;
use crate::packet::too_big::packet_too_big;

use super::counters::Counter;
use super::drop::Drop;
use super::moment::Moment;
use super::origin::Packet6;
use super::stages::Stages;

impl<N: Nic> Stages<N> {
    /// Takes a packet that is for one of our own addresses or groups.
    #[inline]
    pub(super) fn local6_input(&mut self, packet: Packet6, moment: &Moment<'_>) {
        let Ok(upper) = UpperLayer::find(&packet.header, packet.mbuf.bytes()) else {
            return self.out.drop(packet.mbuf, Drop::Ipv6Extensions);
        };
        if usize::from(upper.offset) != HEADER_LEN
            && let Err(why) = check_at_destination(&packet.header, packet.mbuf.bytes())
        {
            return self.refuse_extensions(packet, why, moment);
        }
        if self.is_to_pool_port6(&packet, &upper, moment) {
            return self.depool_input::<Ipv6Header>(packet.mbuf, packet.origin, moment);
        }
        if upper.is_fragment() {
            return self.out.drop(packet.mbuf, Drop::LocalFragment);
        }
        match upper.protocol {
            icmpv6::NEXT_HEADER => self.icmp6_input(packet, upper, moment),
            PROTOCOL_UDP => self.refuse6(packet, ErrorKind::PortUnreachable, Drop::LocalUnhandled, moment),
            _ => {
                let kind = ErrorKind::UnknownNextHeader { pointer: upper.protocol_at };
                self.refuse6(packet, kind, Drop::LocalUnhandled, moment);
            }
        }
    }

    /// Not so for groups: a peer has one address of ours, and pooled packets to many are not for one.
    #[inline]
    fn is_to_pool_port6(&self, packet: &Packet6, upper: &UpperLayer, moment: &Moment<'_>) -> bool {
        let ports = upper.bytes(&packet.header, packet.mbuf.bytes()).first_chunk::<4>();
        let to_pool_port = ports.is_some_and(|&[_, _, d0, d1]| u16::from_be_bytes([d0, d1]) == moment.state.pool_port);
        upper.protocol == PROTOCOL_UDP && upper.is_first() && to_pool_port && !packet.header.dst.is_multicast()
    }

    #[cold]
    fn refuse_extensions(&mut self, packet: Packet6, why: Unprocessable, moment: &Moment<'_>) {
        let kind = match why {
            Unprocessable::Silent => return self.out.drop(packet.mbuf, Drop::Ipv6Extensions),
            Unprocessable::Field(pointer) => ErrorKind::ErroneousField { pointer },
            Unprocessable::Option(pointer) => ErrorKind::UnknownOption { pointer },
        };
        self.refuse6(packet, kind, Drop::Ipv6Extensions, moment);
    }

    /// Neighbour discovery; what routers say of packets to peers that were too long, without extension headers in front;
    /// and echo requests to one address, answered in place (RFC 4443, 4.2; those to groups need no answer).
    #[cold]
    fn icmp6_input(&mut self, mut packet: Packet6, upper: UpperLayer, moment: &Moment<'_>) {
        let message = upper.bytes(&packet.header, packet.mbuf.bytes());
        if message.first().is_some_and(|icmp_type| nd::TYPES.contains(icmp_type)) {
            return self.nd_input(packet, moment);
        }
        let is_to_us_alone = !packet.header.dst.is_multicast();
        if let Some(too_big) = packet_too_big(&packet.header, message).filter(|_| is_to_us_alone) {
            return self.hear_too_big(packet.mbuf, too_big, moment);
        }
        if packet.header.dst.is_multicast() || echo_reply(packet.mbuf.bytes_mut(), &packet.header).is_err() {
            return self.out.drop(packet.mbuf, Drop::LocalIcmp);
        }
        self.out.counters.add(Counter::EchoReplies, 1);
        self.out.route_back(packet.mbuf, packet.header.src, packet.origin.port(), moment);
    }
}
