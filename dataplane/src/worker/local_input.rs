//! Third stage, for what is addressed to this router: pooled packets of either format, hellos, echo requests.

use crate::dpdk::{Mbuf, Nic};
use crate::packet::icmp::{EchoError, ErrorKind, echo_reply};
use crate::packet::ipv4::{Ipv4Header, PROTOCOL_ICMP, PROTOCOL_UDP};
use crate::packet::too_big::{TooBig, fragmentation_needed};
use crate::pool::simplemux::Flavour;

use super::counters::Counter;
use super::drop::Drop;
use super::event::Event;
use super::moment::Moment;
use super::origin::Packet;
use super::stages::Stages;

impl<N: Nic> Stages<N> {
    /// Takes a packet that is for one of our own addresses.
    #[inline]
    pub(super) fn local_input(&mut self, packet: Packet, moment: &Moment<'_>) {
        match packet.header.protocol {
            PROTOCOL_UDP => self.udp(packet, moment),
            PROTOCOL_ICMP => self.icmp(packet, moment),
            _ => self.refuse(packet, ErrorKind::ProtocolUnreachable, Drop::LocalUnhandled, moment),
        }
    }

    /// Takes a datagram by its port. A later fragment has none: nothing here is for it.
    #[inline]
    fn udp(&mut self, packet: Packet, moment: &Moment<'_>) {
        let ports = packet.header.payload(packet.mbuf.bytes()).and_then(|udp| udp.first_chunk::<4>());
        let port = ports.map(|&[_, _, d0, d1]| u16::from_be_bytes([d0, d1]));
        match port.filter(|_| packet.header.fragment_offset == 0) {
            Some(port) if port == moment.state.pool_port => {
                self.depool_input::<Ipv4Header>(packet.mbuf, packet.origin, moment);
            }
            Some(port) if let Some(flavour) = Flavour::of_port(port) => self.simplemux_input(packet, flavour, moment),
            _ => self.refuse(packet, ErrorKind::PortUnreachable, Drop::LocalUnhandled, moment),
        }
    }

    /// Takes an ICMP message: the control thread hears of packets to peers that were too long, echo requests are answered.
    #[cold]
    fn icmp(&mut self, packet: Packet, moment: &Moment<'_>) {
        let message = packet.header.payload(packet.mbuf.bytes()).unwrap_or_default();
        let is_whole = packet.header.fragment_offset == 0 && !packet.header.more_fragments;
        match fragmentation_needed(message).filter(|_| is_whole) {
            Some(too_big) => self.hear_too_big(packet.mbuf, too_big, moment),
            None => self.echo(packet, moment),
        }
    }

    /// Tells the control thread of a packet to a peer that was too long, as the message in `mbuf` says. Anybody can send such
    /// messages, and hellos go through the same ring: there are no more of them than errors of ours.
    #[cold]
    pub(super) fn hear_too_big(&mut self, mbuf: Mbuf, too_big: TooBig, moment: &Moment<'_>) {
        let quoted = &too_big.quoted;
        let is_to_peer = quoted.dst_port == moment.state.pool_port && moment.state.peers.find(quoted.dst).is_some();
        if !is_to_peer || !self.too_big_limit.admits(moment.now) {
            return self.out.drop(mbuf, Drop::LocalIcmp);
        }
        if self.out.tell(Event::PacketTooBig(too_big)) {
            self.out.counters.add(Counter::AbsorbedControl, 1);
            self.mempool.free(mbuf);
        } else {
            self.out.drop(mbuf, Drop::ControlRingFull);
        }
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
