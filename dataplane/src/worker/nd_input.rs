//! Neighbour discovery (RFC 4861): answers solicitations for our addresses, hands what it learns to the control thread.

use std::net::Ipv6Addr;

use crate::dpdk::{Mbuf, Nic};
use crate::fib::{Adjacency, PortIndex};
use crate::packet::ethernet::MacAddr;
use crate::packet::ipv6::is_link_local;
use crate::packet::nd::{Advertisement, Message, NdError, PACKET_LEN, Solicitation, group_mac};

use super::counters::Counter;
use super::drop::Drop;
use super::event::Event;
use super::moment::Moment;
use super::neighbour_news::News;
use super::origin::{Family, Packet6};
use super::router_state::PortState;
use super::stages::Stages;

impl<N: Nic> Stages<N> {
    /// Handles a packet to this router that is neighbour discovery by its ICMPv6 type.
    #[cold]
    pub(super) fn nd_input(&mut self, packet: Packet6, moment: &Moment<'_>) {
        let port = packet.origin.port();
        // A hop limit of 255 says nothing of what was inside a pooled packet: that came from beyond this link.
        let Some(state) = moment.state.port(port).filter(|_| packet.origin.depth() == 0) else {
            return self.out.drop(packet.mbuf, Drop::NdMalformed);
        };
        match Message::parse(&packet.header, packet.mbuf.bytes()) {
            Ok(Message::Solicitation(question)) if is_ours(state, question.target) => {
                self.answer_solicitation(packet.mbuf, &question, port, state, moment);
            }
            Ok(Message::Solicitation(_)) => self.out.drop(packet.mbuf, Drop::NdIgnored),
            Ok(Message::Advertisement(answer)) => self.take_advertisement(packet.mbuf, &answer, port, state, moment),
            // Router discovery and redirects are for hosts.
            Err(NdError::NotNeighbour) => self.out.drop(packet.mbuf, Drop::NdIgnored),
            Err(_) => self.out.drop(packet.mbuf, Drop::NdMalformed),
        }
    }

    /// RFC 4861, 7.2.3 and 7.2.4: the asker is told, and known from now on.
    fn answer_solicitation(
        &mut self,
        mut mbuf: Mbuf,
        question: &Solicitation,
        port: PortIndex,
        state: &PortState,
        moment: &Moment<'_>,
    ) {
        if let Some(mac) = question.source_mac
            && is_on_link(state, question.src)
        {
            let (address, mac) = (question.src.into(), mac.0);
            // Whoever asks too often to be learned from has an answer all the same.
            let news = Event::NeighbourSeen { port, address, mac, addressed_to_us: true };
            let _ = self.tell_news(News::Question, news, moment.now);
        }
        let answer = question.answer(MacAddr(state.mac));
        mbuf.truncate(0);
        let Some(room) = mbuf.append(PACKET_LEN).and_then(|room| room.first_chunk_mut::<PACKET_LEN>()) else {
            return self.out.drop(mbuf, Drop::NoBuffer);
        };
        let length = answer.write(room);
        mbuf.truncate(length);
        self.out.counters.add(Counter::NdReplies, 1);
        let to = if answer.dst.is_multicast() { Some(group_mac(answer.dst)) } else { question.source_mac };
        match to {
            Some(mac) => self.out.transmit(mbuf, port, mac.0, Family::V6, moment),
            None => self.out.send(mbuf, Adjacency::Connected { port }, answer.dst, moment),
        }
    }

    /// RFC 4861, 7.2.5 is the control thread's: it knows whom we asked. What only repeats what is known stays here.
    fn take_advertisement(
        &mut self,
        mbuf: Mbuf,
        answer: &Advertisement,
        port: PortIndex,
        state: &PortState,
        moment: &Moment<'_>,
    ) {
        let address = answer.target;
        let mac = answer.target_mac.map(|mac| mac.0);
        let known = moment.state.neighbours.find6(port, address).and_then(|known| known.mac);
        let is_news = answer.solicited || mac.is_some_and(|mac| known != Some(mac));
        if !is_news || !is_on_link(state, address) {
            return self.out.drop(mbuf, Drop::NdIgnored);
        }
        let (solicited, overrides) = (answer.solicited, answer.overrides);
        let news = Event::NeighbourAdvertised { port, address, mac, solicited, overrides };
        let kind = if solicited { News::Answer } else { News::Question };
        match self.tell_news(kind, news, moment.now) {
            Ok(()) => {
                self.out.counters.add(Counter::AbsorbedControl, 1);
                self.out.bin(mbuf);
            }
            Err(reason) => self.out.drop(mbuf, reason),
        }
    }
}

/// Whether an address is one of ours on this link.
fn is_ours(state: &PortState, address: Ipv6Addr) -> bool {
    state.link_local == Some(address) || state.addresses6.iter().any(|own| own.address == address)
}

/// Whether an address is one that a neighbour on this link can have: link-local or in a subnet of ours, and not ours.
fn is_on_link(state: &PortState, address: Ipv6Addr) -> bool {
    let in_subnet = is_link_local(address) || state.addresses6.iter().any(|own| own.contains(address));
    in_subnet && !is_ours(state, address)
}
