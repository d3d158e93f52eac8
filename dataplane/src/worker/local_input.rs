//! Third stage, for what is addressed to this router: pooled packets, hellos, echo requests.

use crate::dpdk::Nic;
use crate::packet::icmp::{EchoError, ErrorKind, echo_reply};
use crate::packet::ipv4::{PROTOCOL_ICMP, PROTOCOL_UDP};

use super::counters::Counter;
use super::drop::Drop;
use super::moment::Moment;
use super::origin::Packet;
use super::stages::Stages;

impl<N: Nic> Stages<N> {
    /// Takes a packet that is for one of our own addresses.
    #[inline]
    pub(super) fn local_input(&mut self, packet: Packet, moment: &Moment<'_>) {
        match packet.header.protocol {
            PROTOCOL_UDP if self.is_to_pool_port(&packet, moment) => self.depool_input(packet, moment),
            PROTOCOL_ICMP => self.echo(packet, moment),
            PROTOCOL_UDP => self.refuse(packet, ErrorKind::PortUnreachable, Drop::LocalUnhandled, moment),
            _ => self.refuse(packet, ErrorKind::ProtocolUnreachable, Drop::LocalUnhandled, moment),
        }
    }

    fn is_to_pool_port(&self, packet: &Packet, moment: &Moment<'_>) -> bool {
        let ports = packet.header.payload(packet.mbuf.bytes()).and_then(|udp| udp.first_chunk::<4>());
        let to_pool_port = ports.is_some_and(|&[_, _, d0, d1]| u16::from_be_bytes([d0, d1]) == moment.state.pool_port);
        packet.header.fragment_offset == 0 && to_pool_port
    }

    /// Answers an echo request in place (RFC 1812, 4.3.3.6).
    #[cold]
    fn echo(&mut self, mut packet: Packet, moment: &Moment<'_>) {
        // A source route would have to be reversed (RFC 1812, 4.3.3.6): not answered.
        if packet.header.has_options() {
            return self.out.drop(packet.mbuf, Drop::LocalIcmp);
        }
        match echo_reply(packet.mbuf.bytes_mut(), &packet.header) {
            Ok(()) => {
                self.out.counters.add(Counter::EchoReplies, 1);
                self.out.route(packet.mbuf, moment);
            }
            Err(EchoError::NotEchoRequest | EchoError::Fragment | EchoError::Truncated | EchoError::Checksum) => {
                self.out.drop(packet.mbuf, Drop::LocalIcmp);
            }
        }
    }
}
