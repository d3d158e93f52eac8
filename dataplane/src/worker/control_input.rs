//! The joint with the control thread, once per iteration: what it published, what it hands down, what it asks.

use std::net::IpAddr;

use crate::dpdk::{Mbuf, Nic};
use crate::fib::{Adjacency, PortIndex};

use super::counters::Counter;
use super::drop::Drop;
use super::event::{Event, InjectTarget, OpenPoolSample, UnknownThere};
use super::moment::Moment;
use super::neighbour_queue::Outcome;
use super::origin::{Family, Origin, Packet};
use super::stages::Stages;
use crate::packet::icmp::ErrorKind;
use crate::packet::icmpv6;
use crate::packet::ipv4::Ipv4Header;
use crate::packet::ipv6::{self, Ipv6Header};

/// Packets taken from the control thread in one iteration.
const INJECTS: usize = 8;
/// Reports that other workers received, likewise.
const REPORTS: usize = 4;
/// Open pools that are shown at the most.
const SAMPLES: usize = 1024;

impl<N: Nic> Stages<N> {
    /// Takes note of a new state: pools that belong to an older one are flushed.
    #[inline(always)]
    pub(super) fn adopt(&mut self, moment: &Moment<'_>) {
        if self.pools_generation != moment.state.pools {
            self.pools_generation = moment.state.pools;
            self.drop_indexes_of_strangers(moment);
            self.heed.adopt(&moment.state.peers, self.pooler.limits().instance);
            self.flush_reconfigured(moment);
            self.pooler.provision(&moment.state.streams);
        }
    }

    /// Sends what the control thread handed down; returns how many packets.
    #[inline]
    pub(super) fn control_input(&mut self, moment: &Moment<'_>) -> usize {
        for UnknownThere { space, contexts } in (0..REPORTS).map_while(|_| self.shared.unknown_contexts.pop()) {
            for context in contexts {
                self.pooler.compressor().unknown_there(space, context, moment.now);
            }
        }
        let mut count = 0;
        while count < INJECTS
            && let Some(inject) = self.shared.injects.pop()
        {
            count += 1;
            self.out.counters.add(Counter::CreatedControl, 1);
            let Some(mut mbuf) = self.mempool.alloc() else {
                self.out.counters.dropped(Drop::NoBuffer, 1);
                continue;
            };
            match mbuf.append(inject.bytes.len() + usize::from(inject.padding)) {
                Some(room) => {
                    let (bytes, padding) = room.split_at_mut(inject.bytes.len());
                    bytes.copy_from_slice(&inject.bytes);
                    padding.fill(0);
                }
                None => {
                    self.out.drop(mbuf, Drop::NoBuffer);
                    continue;
                }
            }
            match inject.target {
                InjectTarget::Frame(port) => self.out.queue(mbuf, port),
                InjectTarget::Routed => self.out.route(mbuf, moment),
            }
        }
        count
    }

    /// Sends the packets whose neighbour is resolved now; gives up on those that waited too long.
    #[inline(always)]
    pub(super) fn release_waiting(&mut self, moment: &Moment<'_>) {
        let waiting = &self.out.waiting;
        if !waiting.is_empty() && waiting.may_be_ready(moment.publication(), moment.now, moment.state.neighbour_timeout)
        {
            self.release_ready(moment);
        }
    }

    #[cold]
    fn release_ready(&mut self, moment: &Moment<'_>) {
        let timeout = moment.state.neighbour_timeout;
        self.out.waiting.looked_at(moment.publication());
        while let Some((outcome, packets)) = self.out.waiting.next_ready(&moment.state.neighbours, moment.now, timeout)
        {
            match outcome {
                Outcome::Resolved { port, address } => {
                    let neighbour = moment.state.neighbours.find(port, address);
                    for mbuf in packets {
                        match neighbour.and_then(|neighbour| neighbour.mac) {
                            Some(mac) => {
                                let family = Family::of(mbuf.bytes());
                                self.out.transmit(mbuf, port, mac, family, moment);
                            }
                            None => self.out.drop(mbuf, Drop::NeighbourUnreachable),
                        }
                    }
                }
                Outcome::TimedOut => {
                    for mbuf in packets {
                        self.host_unreachable(mbuf, moment);
                    }
                }
            }
        }
    }

    /// RFC 1812, 5.2.7.1, RFC 4861, 7.2.2: the source of a packet whose neighbour does not answer is told so, unless that
    /// is ourselves.
    fn host_unreachable(&mut self, mbuf: Mbuf, moment: &Moment<'_>) {
        let is_ours = |src: IpAddr| moment.entry_for(src).adjacency == Adjacency::Local;
        let family = Family::of(mbuf.bytes());
        let origin = Origin::received(PortIndex(0), false, family);
        let reason = Drop::NeighbourUnreachable;
        match family {
            Family::V4 => match Ipv4Header::parse(mbuf.bytes()) {
                Ok(header) if !is_ours(header.src.into()) => {
                    self.refuse(Packet { mbuf, header, origin }, ErrorKind::HostUnreachable, reason, moment);
                }
                _ => self.out.drop(mbuf, reason),
            },
            // What has a link-local source here is our own: others' are not forwarded.
            Family::V6 => match Ipv6Header::parse(mbuf.bytes()) {
                Ok(header) if !ipv6::is_link_local(header.src) && !is_ours(header.src.into()) => {
                    let kind = icmpv6::ErrorKind::AddressUnreachable;
                    self.refuse6(Packet { mbuf, header, origin }, kind, reason, moment);
                }
                _ => self.out.drop(mbuf, reason),
            },
        }
    }

    /// Drops what still waits for a neighbour when the worker stops.
    pub(super) fn abandon_waiting(&mut self) {
        while let Some(packets) = self.out.waiting.take_any() {
            for mbuf in packets {
                self.out.drop(mbuf, Drop::Shutdown);
            }
        }
    }

    /// Tells the control thread of the open pools if it asked.
    #[inline(always)]
    pub(super) fn answer_samples(&mut self, moment: &Moment<'_>) {
        let request = self.shared.sample_request();
        // Asked again in the next iteration where the ring had no room for the end of the answer.
        if request != self.sampled && self.sample_pools(request, moment) {
            self.sampled = request;
        }
    }

    #[cold]
    fn sample_pools(&mut self, request: u64, moment: &Moment<'_>) -> bool {
        self.settle();
        self.shared.counters.store(&self.out.counters);
        let rate = self.rate;
        for pool in self.pooler.open_pools().take(SAMPLES) {
            let sample = OpenPoolSample {
                peer: pool.peer,
                key: pool.key,
                layout: pool.layout,
                packets: u16::from(pool.rows),
                bytes: u32::from(pool.length),
                age_ns: rate.duration(moment.now.since(pool.opened)).as_nanos() as u64,
            };
            if !self.out.tell(Event::OpenPool(sample)) {
                break;
            }
        }
        for received in self.peers.iter(moment.state) {
            self.out.tell(Event::PeerReceived(received));
        }
        self.out.tell(Event::OpenPoolsEnd { request })
    }
}
