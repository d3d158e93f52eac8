//! The way out: next hop, Ethernet header, transmit buffer.
//!
//! A packet whose neighbour is not resolved yet waits in a small queue of its own; the others go to a buffer per port
//! that is handed to the port at the end of the iteration, or when it is full.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;

use crate::arch::{Tick, TickRate, TickSpan};
use crate::dpdk::{BURST, Mbuf, MempoolCache, Nic, TX_BUFFER, move_first};
use crate::fib::{Adjacency, PortIndex};
use crate::packet::ethernet::{EthernetHeader, HEADER_LEN, MacAddr};
use crate::packet::ipv4;
use crate::packet::ipv6::{self, Ipv6Header};

use super::counters::{Counter, Counters};
use super::drop::Drop;
use super::event::{Event, HeardHello};
use super::hop_cache::Hop;
use super::moment::Moment;
use super::neighbour_queue::{Held, NeighbourQueue};
use super::origin::{Destination, Family};
use super::shared::WorkerShared;
use super::stopwatch::{Stage, Stopwatch};

/// Frames that are handed to a port at once.
const TX_BURST: usize = 32;
/// Dropped packets that are freed together.
const BIN: usize = 64;
/// How long frames wait for a port that takes none.
const PATIENCE: Duration = Duration::from_millis(100);

/// One port's queues and what waits for them.
pub(super) struct PortOutput<N> {
    /// Which port.
    pub port: PortIndex,
    /// Its queues.
    pub nic: N,
    /// Frames for it, in order.
    buffer: ArrayVec<Mbuf, TX_BUFFER>,
    /// Since when it has taken none of them.
    stalled: Option<Tick>,
}

/// Everything behind the decision where a packet goes.
pub(super) struct Output<N> {
    /// The ports this worker has queues of.
    pub ports: Vec<PortOutput<N>>,
    /// Position in `ports` by [`PortIndex`].
    position: Vec<Option<usize>>,
    /// Packets that wait for a neighbour.
    pub waiting: NeighbourQueue,
    /// What is counted.
    pub counters: Counters,
    /// Where the time goes.
    pub stopwatch: Stopwatch,
    /// Packets that were dropped and are to be freed.
    pub bin: ArrayVec<Mbuf, BIN>,
    shared: Arc<WorkerShared>,
    /// How long frames wait for a port that takes none, such as one without a link.
    patience: TickSpan,
    /// There are events the control thread was not told of.
    events_pending: bool,
}

impl<N: Nic> Output<N> {
    /// The way out by these ports.
    pub fn new(queues: Vec<(PortIndex, N)>, rate: TickRate, shared: Arc<WorkerShared>) -> Output<N> {
        let slots = queues.iter().map(|(port, _)| port.index() + 1).max().unwrap_or(0);
        let mut position = vec![None; slots];
        for (at, (port, _)) in queues.iter().enumerate() {
            position[port.index()] = Some(at);
        }
        Output {
            ports: queues
                .into_iter()
                .map(|(port, nic)| PortOutput { port, nic, buffer: ArrayVec::new(), stalled: None })
                .collect(),
            position,
            waiting: NeighbourQueue::new(),
            counters: Counters::default(),
            stopwatch: Stopwatch::new(),
            bin: ArrayVec::new(),
            shared,
            patience: rate.ticks(PATIENCE),
            events_pending: false,
        }
    }

    /// Ends a packet's life here, under its reason. Its memory goes back with that of others.
    #[inline(always)]
    pub fn drop(&mut self, mbuf: Mbuf, reason: Drop) {
        self.counters.dropped(reason, 1);
        self.bin(mbuf);
    }

    /// Has a packet's memory go back with that of others.
    #[inline]
    pub fn bin(&mut self, mbuf: Mbuf) {
        // What finds the bin full goes back by itself, at a few times the cost.
        let _ = self.bin.try_push(mbuf);
    }

    /// Gives the memory of dropped packets back. After each burst, and at the end of each iteration.
    #[inline(always)]
    pub fn free_dropped(&mut self, mempool: &mut MempoolCache) {
        if !self.bin.is_empty() {
            mempool.free_bulk(&mut self.bin);
        }
    }

    /// Tells the control thread something; false where its ring is full.
    #[inline]
    pub fn tell(&mut self, event: Event) -> bool {
        let told = self.shared.events.push(event).is_ok();
        self.told(told)
    }

    /// Passes a hello on to the control thread; false where its ring is full.
    pub fn tell_hello(&mut self, hello: HeardHello) -> bool {
        let told = self.shared.hellos.push(hello).is_ok();
        self.told(told)
    }

    fn told(&mut self, told: bool) -> bool {
        self.events_pending |= told;
        self.counters.add(Counter::EventsLost, u64::from(!told));
        told
    }

    /// Wakes the control thread if it has not been told of all events. Once per iteration.
    #[inline(always)]
    pub fn ring(&mut self) {
        if self.events_pending {
            self.events_pending = false;
            self.shared.bell.ring();
        }
    }

    /// Sends an IP packet of our own making: looks it up and sends it, its TTL left as it is.
    pub fn route(&mut self, mbuf: Mbuf, moment: &Moment<'_>) {
        match Family::of(mbuf.bytes()) {
            Family::V4 => match mbuf.bytes().first_chunk::<{ ipv4::MIN_HEADER_LEN }>() {
                Some(&[_, _, l0, l1, .., d0, d1, d2, d3]) => {
                    let length = usize::from(u16::from_be_bytes([l0, l1]));
                    self.route_to(mbuf, length, Ipv4Addr::new(d0, d1, d2, d3), moment);
                }
                None => self.drop(mbuf, Drop::Ipv4Length),
            },
            Family::V6 => match Ipv6Header::parse(mbuf.bytes()) {
                Ok(header) => self.route_to(mbuf, header.total_len(), header.dst, moment),
                Err(_) => self.drop(mbuf, Drop::Ipv6Length),
            },
        }
    }

    #[inline(always)]
    fn route_to(&mut self, mbuf: Mbuf, length: usize, destination: impl Destination, moment: &Moment<'_>) {
        self.route_by(mbuf, length, moment.entry_for(destination).adjacency, destination, moment);
    }

    /// The same where its way is known.
    #[inline(always)]
    pub fn route_by<D: Destination>(
        &mut self,
        mbuf: Mbuf,
        length: usize,
        adjacency: Adjacency,
        destination: D,
        moment: &Moment<'_>,
    ) {
        match moment.mtu(adjacency) {
            Some(mtu) if length <= usize::from(mtu) => self.send(mbuf, adjacency, destination, moment),
            Some(_) => self.drop(mbuf, Drop::FragmentationNeeded),
            None => self.drop(mbuf, drop_reason(adjacency)),
        }
    }

    /// Sends an IPv6 packet of our own making to whoever sent a packet that was received on this port: a link-local address
    /// means nothing to the table of routes.
    pub fn route_back(&mut self, mbuf: Mbuf, destination: Ipv6Addr, port: PortIndex, moment: &Moment<'_>) {
        if ipv6::is_link_local(destination) {
            self.send(mbuf, Adjacency::Connected { port }, destination, moment);
        } else {
            self.route(mbuf, moment);
        }
    }

    /// Sends an IP packet to its next hop, or has it wait for the neighbour.
    #[inline(always)]
    pub fn send<D: Destination>(&mut self, mbuf: Mbuf, adjacency: Adjacency, destination: D, moment: &Moment<'_>) {
        let neighbours = &moment.state.neighbours;
        let (port, neighbour) = match adjacency {
            Adjacency::Connected { port } => (port, destination.neighbour(neighbours, port)),
            Adjacency::Via { port, gateway } => match neighbours.get(gateway) {
                Some(neighbour) => (port, Some(neighbour)),
                None => return self.drop(mbuf, Drop::NoRoute),
            },
            other => return self.drop(mbuf, drop_reason(other)),
        };
        match neighbour {
            Some(neighbour) if let Some(mac) = neighbour.mac => {
                neighbour.mark_used();
                self.transmit(mbuf, port, mac, D::FAMILY, moment);
            }
            neighbour => {
                let address = neighbour.map_or(destination.into(), |neighbour| neighbour.address);
                self.hold(mbuf, port, address, moment);
            }
        }
    }

    /// Puts the Ethernet header in front and queues the frame.
    #[inline(always)]
    pub fn transmit(&mut self, mut mbuf: Mbuf, port: PortIndex, mac: [u8; 6], family: Family, moment: &Moment<'_>) {
        let Some(state) = moment.state.port(port) else {
            return self.drop(mbuf, Drop::NoRoute);
        };
        match mbuf.prepend(HEADER_LEN).and_then(|header| header.first_chunk_mut::<HEADER_LEN>()) {
            Some(header) => {
                EthernetHeader { dst: MacAddr(mac), src: MacAddr(state.mac), ether_type: family.ether_type() }
                    .write(header);
            }
            None => return self.drop(mbuf, Drop::NoBuffer),
        }
        self.queue(mbuf, port);
    }

    /// Forwards a plain packet, which begins with room for an Ethernet header, to a hop that was found for it.
    #[inline(always)]
    pub fn forward_frame(&mut self, mut frame: Mbuf, hop: &Hop) {
        match write_forwarded(&mut frame, hop) {
            Some(()) => self.queue_at(frame, usize::from(hop.at)),
            None => self.drop(frame, Drop::NoBuffer),
        }
    }

    /// Forwards the next `most` plain packets, at most, to one hop, as far as they are not too long for it. Returns how many, and the one that is.
    #[inline(always)]
    pub fn forward_run<T>(
        &mut self,
        packets: &mut impl Iterator<Item = (Mbuf, T)>,
        most: usize,
        hop: &Hop,
    ) -> (usize, Option<(Mbuf, T)>) {
        let longest = usize::from(hop.mtu) + HEADER_LEN;
        let at = usize::from(hop.at);
        if self.ports.get(at).is_some_and(|output| output.buffer.remaining_capacity() < most) {
            self.send_queued(at);
        }
        let Some(output) = self.ports.get_mut(at) else { return (0, None) };
        for sent in 0..most {
            let Some((mut frame, with)) = packets.next() else { return (sent, None) };
            if frame.len() > longest {
                return (sent, Some((frame, with)));
            }
            let refused = match write_forwarded(&mut frame, hop) {
                Some(()) => output.buffer.try_push(frame).err().map(|full| (full.element(), Drop::TxFull)),
                None => Some((frame, Drop::NoBuffer)),
            };
            if let Some((frame, reason)) = refused {
                self.counters.dropped(reason, 1);
                let _ = self.bin.try_push(frame);
            }
        }
        (most, None)
    }

    /// Sends a packet of our own making to a hop that was found for it.
    #[inline(always)]
    pub fn send_short(&mut self, mut mbuf: Mbuf, hop: &Hop) {
        match mbuf.prepend(HEADER_LEN).and_then(|header| header.first_chunk_mut::<HEADER_LEN>()) {
            Some(header) => {
                *header = hop.frame;
                self.queue_at(mbuf, usize::from(hop.at));
            }
            None => self.drop(mbuf, Drop::NoBuffer),
        }
    }

    /// Queues a whole frame for a port.
    #[inline(always)]
    pub fn queue(&mut self, frame: Mbuf, port: PortIndex) {
        match self.position(port) {
            Some(at) => self.queue_at(frame, at),
            None => self.drop(frame, Drop::NoRoute),
        }
    }

    /// Which of `ports` a port is; None where this worker has no queue of it.
    #[inline(always)]
    pub fn position(&self, port: PortIndex) -> Option<usize> {
        self.position.get(port.index()).copied().flatten()
    }

    /// Queues a whole frame for the port at this position.
    #[inline(always)]
    pub fn queue_at(&mut self, frame: Mbuf, at: usize) {
        let Some(output) = self.ports.get_mut(at) else {
            return self.drop(frame, Drop::NoRoute);
        };
        if output.buffer.is_full() {
            let before = self.stopwatch.swap(Stage::Tx);
            let sent = output.nic.tx_burst(&mut output.buffer);
            if sent > 0 {
                output.stalled = None;
            }
            self.counters.add(Counter::Out, sent as u64);
            self.stopwatch.enter(before);
        }
        if let Err(full) = output.buffer.try_push(frame) {
            self.drop(full.element(), Drop::TxFull);
        }
    }

    /// Queues whole frames, the first `count` of `frames`, for the port at this position.
    #[inline(always)]
    pub fn queue_first(&mut self, frames: &mut ArrayVec<Mbuf, BURST>, count: usize, at: usize) {
        if self.ports.get(at).is_some_and(|output| output.buffer.remaining_capacity() < count) {
            self.send_queued(at);
        }
        let before = frames.len();
        if let Some(output) = self.ports.get_mut(at) {
            move_first(frames, count, &mut output.buffer);
        }
        if frames.len() == before {
            self.queue_as_many(frames.drain(..count.min(before)), at);
        }
    }

    /// Queues frames for the port at this position, which was asked a moment ago, as far as there is room.
    #[inline(never)]
    fn queue_as_many(&mut self, frames: impl Iterator<Item = Mbuf>, at: usize) {
        for frame in frames {
            let refused = match self.ports.get_mut(at) {
                Some(output) => output.buffer.try_push(frame).map_err(|full| (full.element(), Drop::TxFull)),
                None => Err((frame, Drop::NoRoute)),
            };
            if let Err((frame, reason)) = refused {
                self.drop(frame, reason);
            }
        }
    }

    /// Hands whole bursts of queued frames to the ports, before more frames are made: the memory of those that have left comes
    /// back while it is in the cache.
    #[inline]
    pub fn send_bursts(&mut self) {
        for at in 0..self.ports.len() {
            if self.ports.get(at).is_some_and(|output| output.buffer.len() >= TX_BURST) {
                self.send_queued(at);
            }
        }
    }

    /// Hands the frames that are queued for the port at this position to it.
    #[inline(never)]
    fn send_queued(&mut self, at: usize) {
        let Some(output) = self.ports.get_mut(at) else { return };
        let before = self.stopwatch.swap(Stage::Tx);
        let sent = output.nic.tx_burst(&mut output.buffer);
        if sent > 0 {
            output.stalled = None;
        }
        self.counters.add(Counter::Out, sent as u64);
        self.stopwatch.enter(before);
    }

    /// Hands the queued frames to the ports. What a port does not take now stays queued, in order, but not for ever.
    #[inline]
    pub fn flush(&mut self, now: Tick) {
        for output in &mut self.ports {
            if output.buffer.is_empty() {
                continue;
            }
            let sent = output.nic.tx_burst(&mut output.buffer);
            self.counters.add(Counter::Out, sent as u64);
            if sent > 0 || output.buffer.is_empty() {
                output.stalled = None;
            } else if now.since(*output.stalled.get_or_insert(now)) > self.patience {
                output.stalled = None;
                self.counters.dropped(Drop::TxFull, output.buffer.len() as u64);
                output.buffer.clear();
            }
        }
    }

    /// Frames queued for ports.
    pub fn queued(&self) -> usize {
        self.ports.iter().map(|output| output.buffer.len()).sum()
    }

    /// Drops the frames that no port takes.
    pub fn abandon(&mut self) {
        for output in &mut self.ports {
            self.counters.dropped(Drop::TxFull, output.buffer.len() as u64);
            output.buffer.clear();
        }
    }

    #[cold]
    fn hold(&mut self, mbuf: Mbuf, port: PortIndex, address: IpAddr, moment: &Moment<'_>) {
        match self.waiting.hold(mbuf, port, address, moment.now) {
            Held::First => {
                // Where the ring is full nobody asks for this neighbour now; the packet times out, the next one asks.
                self.tell(Event::NeighbourWanted { port, address });
            }
            Held::Behind => {}
            Held::Full(mbuf, ask) => {
                if ask {
                    self.tell(Event::NeighbourWanted { port, address });
                }
                self.drop(mbuf, Drop::NeighbourQueueFull);
            }
        }
    }
}

/// Makes the frame of a plain packet one to this hop, and counts the packet's TTL down. None where it is too short.
#[inline(always)]
fn write_forwarded(frame: &mut Mbuf, hop: &Hop) -> Option<()> {
    let headers = frame.bytes_mut().first_chunk_mut::<{ HEADER_LEN + ipv4::MIN_HEADER_LEN }>()?;
    let (header, packet) = headers.split_first_chunk_mut::<HEADER_LEN>()?;
    *header = hop.frame;
    ipv4::decrement_ttl(packet);
    Some(())
}

/// Why a packet is dropped whose adjacency leads nowhere.
pub(super) fn drop_reason(adjacency: Adjacency) -> Drop {
    match adjacency {
        Adjacency::Broadcast => Drop::DirectedBroadcast,
        Adjacency::Unreachable => Drop::RouteUnreachable,
        Adjacency::Blackhole => Drop::RouteBlackhole,
        Adjacency::Local => Drop::LocalUnhandled,
        Adjacency::NoRoute | Adjacency::Connected { .. } | Adjacency::Via { .. } => Drop::NoRoute,
    }
}
