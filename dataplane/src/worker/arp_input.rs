//! ARP (RFC 826): answers requests for our addresses, hands what it learns to the control thread.

use crate::dpdk::{Mbuf, Nic};
use crate::fib::PortIndex;
use crate::packet::arp::{ARP_LEN, Arp, ArpOperation};
use crate::packet::ethernet::{EtherType, EthernetHeader, HEADER_LEN, MacAddr};

use super::counters::Counter;
use super::drop::Drop;
use super::event::Event;
use super::moment::Moment;
use super::neighbour_news::News;
use super::router_state::PortState;
use super::stages::Stages;

impl<N: Nic> Stages<N> {
    /// Handles a frame of type ARP.
    pub(super) fn arp_input(&mut self, mut frame: Mbuf, port: PortIndex, moment: &Moment<'_>) {
        let parsed = frame.bytes().get(HEADER_LEN..).map(Arp::parse);
        let (Some(Ok(arp)), Some(state)) = (parsed, moment.state.port(port)) else {
            return self.out.drop(frame, Drop::ArpMalformed);
        };
        let to_us = state.addresses.iter().any(|own| own.address == arp.target_ip);
        let told = self.tell_seen(&arp, to_us, port, state, moment);

        if to_us && arp.operation == ArpOperation::Request {
            frame.truncate(HEADER_LEN + ARP_LEN);
            let own = MacAddr(state.mac);
            if write_reply(frame.bytes_mut(), &arp.reply(own), own) {
                self.out.counters.add(Counter::ArpReplies, 1);
                self.out.queue(frame, port);
            } else {
                self.out.drop(frame, Drop::ArpMalformed);
            }
        } else {
            match told {
                Ok(()) => {
                    self.out.counters.add(Counter::AbsorbedControl, 1);
                    self.out.bin(frame);
                }
                Err(reason) => self.out.drop(frame, reason),
            }
        }
    }

    /// Tells the control thread of the sender, where there is something to learn: RFC 826 merges what anybody says of a
    /// neighbour that is known already, and learns a new one only from what is addressed to us.
    fn tell_seen(
        &mut self,
        arp: &Arp,
        addressed_to_us: bool,
        port: PortIndex,
        state: &PortState,
        moment: &Moment<'_>,
    ) -> Result<(), Drop> {
        let (address, mac) = (arp.sender_ip.into(), arp.sender_mac.0);
        let known = moment.state.neighbours.find4(port, arp.sender_ip);
        let is_news = addressed_to_us || known.is_some_and(|known| known.mac != Some(mac));
        if !is_news || !is_on_link(state, arp) {
            return Err(Drop::ArpIgnored);
        }
        let news = Event::NeighbourSeen { port, address, mac, addressed_to_us };
        let is_answer = addressed_to_us && arp.operation == ArpOperation::Reply;
        self.tell_news(if is_answer { News::Answer } else { News::Question }, news, moment.now)
    }
}

/// Whether the sender's address is one that a neighbour on this link can have: in a subnet of ours, and not ours.
/// 0.0.0.0, a probe's sender (RFC 5227), never is.
fn is_on_link(state: &PortState, arp: &Arp) -> bool {
    let ours = state.addresses.iter().any(|own| own.address == arp.sender_ip);
    !ours && state.addresses.iter().any(|own| own.contains(arp.sender_ip))
}

/// Writes an ARP reply over a frame that is as long as one.
fn write_reply(frame: &mut [u8], reply: &Arp, own: MacAddr) -> bool {
    let Some((ethernet, rest)) = frame.split_first_chunk_mut::<HEADER_LEN>() else { return false };
    let Some(arp) = rest.first_chunk_mut::<ARP_LEN>() else { return false };
    EthernetHeader { dst: reply.target_mac, src: own, ether_type: EtherType::ARP }.write(ethernet);
    reply.write(arp);
    true
}
