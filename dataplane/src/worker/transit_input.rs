//! Third stage, for pooled packets in transit: what is due at this node gets out here.

use crate::dpdk::{HEADROOM, Nic};
use crate::packet::BufferSource;
use crate::pool::Format;
use crate::pool::packet_depooler::Exit;
use crate::pool::transit::{Passed, pass};

use super::counters::Counter;
use super::depool_input::ReentryExit;
use super::drop::Drop;
use super::moment::Moment;
use super::origin::{Header, Packet};
use super::reentry::MAX_DEPTH;
use super::stages::Stages;
use super::stopwatch::Stage;

impl<H: Header> Packet<H> {
    /// Whether this packet, which is not for us, may be a pooled packet in transit: there are peers, and it has the
    /// port.
    #[inline(always)]
    pub(super) fn is_to_pool_port(&self, moment: &Moment<'_>) -> bool {
        if !self.header.carries_udp() || moment.state.peers.is_empty() {
            return false;
        }
        let ports = self.header.upper_layer(self.mbuf.bytes()).first_chunk::<4>();
        ports.is_some_and(|&[_, _, d0, d1]| u16::from_be_bytes([d0, d1]) == moment.state.pool_port)
    }
}

impl<N: Nic> Stages<N> {
    /// Opens a pooled packet in transit that comes from a peer and sends what is due here back to the input, where it
    /// goes before what follows. Returns what goes on: the rest, or a packet that is not to be opened as it was; None
    /// where nothing is left.
    #[inline(never)]
    pub(super) fn transit_input<H: Header>(&mut self, packet: Packet<H>, moment: &Moment<'_>) -> Option<Packet<H>> {
        self.out.stopwatch.enter(Stage::Depool);
        let rest = self.open_in_transit(packet, moment);
        self.out.stopwatch.enter(Stage::Forward);
        rest
    }

    #[inline(always)]
    fn open_in_transit<H: Header>(&mut self, mut packet: Packet<H>, moment: &Moment<'_>) -> Option<Packet<H>> {
        let peers = &moment.state.peers;
        let peer = peers.find(packet.header.src().into()).and_then(|index| Some((index, peers.get(index)?)));
        let Some((index, peer)) = peer.filter(|(_, peer)| peer.path.format == Format::Native) else {
            return Some(packet);
        };
        if usize::from(packet.origin.depth()) >= MAX_DEPTH {
            return Some(packet);
        }
        let (inside, outer_ecn) = (packet.origin.deeper(Some(index)), packet.header.ecn());
        let mempool = &mut self.mempool;
        let mut exit = ReentryExit::new(inside, outer_ecn, self.hops.pool_port(), &mut self.reentry, &mut self.out);
        let mut no_buffer = 0;
        let passed = pass(packet.mbuf.bytes_mut(), moment.state.pool_port, peer.zero_checksum, |bytes| {
            match mempool.alloc_copy(bytes, HEADROOM) {
                Some(inner) => exit.take(inner, bytes),
                None => no_buffer += 1,
            }
        });
        let counters = &mut self.out.counters;
        let taken = match passed {
            Passed::Untouched => return Some(packet),
            Passed::Onward { taken, .. } | Passed::Ended { taken } => u64::from(taken),
        };
        counters.add(Counter::TransitOpened, 1);
        counters.add(Counter::TransitRows, taken);
        counters.add(Counter::CreatedExtracted, taken);
        counters.dropped(Drop::NoBuffer, no_buffer);
        if let Passed::Onward { length, .. } = passed {
            packet.mbuf.truncate(usize::from(length));
            packet.header.set_length(length);
            return Some(packet);
        }
        counters.add(Counter::TransitEnded, 1);
        counters.add(Counter::AbsorbedDepooled, 1);
        self.mempool.free(packet.mbuf);
        None
    }
}
