//! Pooled packets whose index travels apart from them: both wait for each other, and what is complete is taken apart in
//! the order of its sequence ([`IndexQueue`](crate::pool::index_queue::IndexQueue)).
//!
//! Inside of another pooled packet neither is taken: routers that pool do not pool what is pooled already, and what comes
//! out of the queue can so go through the input at once.

use std::net::IpAddr;
use std::time::Duration;

use crate::arch::{Tick, TickRate};
use crate::dpdk::Nic;
use crate::fib::PeerIndex;
use crate::packet::udp;
use crate::pool::index_queue::{Arrival, QueueDrop, QueueLimits, Settled, StreamKey};
use crate::pool::pooled_packet_detector::PooledDrop;
use crate::pool::wire::{DataOnly, WireError};

use super::counters::Counter;
use super::depool_input::{ReentryExit, name, take_out};
use super::drop::Drop;
use super::moment::Moment;
use super::origin::{Header, Origin, Packet};
use super::stages::Stages;

/// The longest that anything waits. An index leaves within microseconds of its packets, in front of them, so what keeps
/// them apart is the network between: two links of a bundle, two queues of an adapter; well below a millisecond. This
/// leaves room for a busy receiver, and is a quarter of what players of voice buffer.
const WAIT: Duration = Duration::from_millis(5);
/// A sequence that was silent for so long may go on with any number.
const FORGET: Duration = Duration::from_secs(1);
/// Sequences followed at once.
const STREAMS: u16 = 128;
/// Packets that wait at once.
const PACKETS: u16 = 1024;
/// Their bytes in all.
const BYTES: usize = 2 << 20;

/// The bounds of a worker's queue.
pub(super) fn index_queue_limits(rate: TickRate) -> QueueLimits {
    let (wait, forget) = (rate.ticks(WAIT), rate.ticks(FORGET));
    QueueLimits { streams: STREAMS, packets: PACKETS, bytes: BYTES, wait, forget }
}

/// What is to be known of a packet that waits when it is taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outside {
    origin: Origin,
    /// Its ECN field.
    outer_ecn: u8,
    peer: PeerIndex,
    /// The peer's address: an index can come to mean another peer.
    address: IpAddr,
}

impl<N: Nic> Stages<N> {
    /// Takes a pooled packet without its index, with the number `sequence`.
    pub(super) fn data_only_input<H: Header>(
        &mut self,
        packet: Packet<H>,
        peer: PeerIndex,
        src_port: u16,
        sequence: u32,
        moment: &Moment<'_>,
    ) {
        if let Some((key, packet)) = self.reach(packet, peer, src_port, (sequence, sequence), moment) {
            let added = self.indexes.add_data(key, sequence, arrival(packet, peer, key), moment.now);
            if let Err((mbuf, reason)) = added {
                self.out.drop(mbuf, drop_for(reason));
            }
            self.settle_indexes(moment.now, moment);
        }
    }

    /// Takes an index packet with the number `sequence`, whose first block is about the pooled packet `first`.
    pub(super) fn index_packet_input<H: Header>(
        &mut self,
        packet: Packet<H>,
        peer: PeerIndex,
        src_port: u16,
        sequence: u32,
        first: u32,
        moment: &Moment<'_>,
    ) {
        if let Some((key, packet)) = self.reach(packet, peer, src_port, (sequence, first), moment) {
            let added = self.indexes.add_index(key, sequence, arrival(packet, peer, key), moment.now);
            if let Err((mbuf, reason)) = added {
                self.out.drop(mbuf, drop_for(reason));
            }
            self.settle_indexes(moment.now, moment);
        }
    }

    /// Takes note of a packet of another kind: where its sequence has packets that wait for their index, they do not wait
    /// for this number.
    #[inline(always)]
    pub(super) fn note_number<H: Header>(
        &mut self,
        header: &H,
        origin: Origin,
        src_port: u16,
        sequence: u32,
        moment: &Moment<'_>,
    ) {
        let key = StreamKey { peer: header.src().into(), to: header.dst().into(), src_port };
        if origin.depth() == 0 && self.indexes.follows(key) {
            let is_believed = self.indexes.reach(key, sequence, sequence, moment.now).is_ok();
            self.settle_indexes(moment.now, moment);
            if is_believed {
                self.indexes.add_other(key, sequence, moment.now);
                self.settle_indexes(moment.now, moment);
            }
        }
    }

    /// Takes apart what is complete, and drops what has waited too long at the time `now`; returns how many packets that
    /// were.
    #[inline(always)]
    pub(super) fn settle_indexes(&mut self, now: Tick, moment: &Moment<'_>) -> usize {
        if self.indexes.held() == 0 { 0 } else { self.take_settled(now, drop_for, moment) }
    }

    /// Takes apart what is complete and drops the rest, because the worker stops.
    #[cold]
    pub(super) fn abandon_indexes(&mut self, moment: &Moment<'_>) {
        self.take_settled(Tick(u64::MAX), |_| Drop::Shutdown, moment);
    }

    /// Drops what waits for senders that are no peers any longer.
    #[cold]
    pub(super) fn drop_indexes_of_strangers(&mut self, moment: &Moment<'_>) {
        while let Some(mbuf) = self.indexes.take_unless(|key| moment.state.peers.find(key.peer).is_some()) {
            self.out.drop(mbuf, Drop::PoolPeerGone);
        }
    }

    /// Says that a packet has come, and makes room for its number. Gives it back where it is to be added.
    fn reach<H: Header>(
        &mut self,
        packet: Packet<H>,
        peer: PeerIndex,
        src_port: u16,
        (sequence, begin): (u32, u32),
        moment: &Moment<'_>,
    ) -> Option<(StreamKey, Packet<H>)> {
        if packet.origin.depth() > 0 {
            self.out.drop(packet.mbuf, Drop::PoolNesting);
            return None;
        }
        // How many packets it holds is only known when it is taken apart.
        self.peers.received(peer, moment.state, src_port, sequence, 0);
        let key = StreamKey { peer: packet.header.src().into(), to: packet.header.dst().into(), src_port };
        let reached = self.indexes.reach(key, sequence, begin, moment.now);
        self.settle_indexes(moment.now, moment);
        match reached {
            Ok(()) => Some((key, packet)),
            Err(reason) => {
                self.out.drop(packet.mbuf, drop_for(reason));
                None
            }
        }
    }

    fn take_settled(&mut self, now: Tick, drop_for: impl Fn(QueueDrop) -> Drop, moment: &Moment<'_>) -> usize {
        let mut count = 0;
        while let Some(settled) = self.indexes.next(now) {
            count += 1;
            match settled {
                Settled::Ready(Arrival { buffer: mbuf, payload_at, tag: outside }, rows) => {
                    let payload = mbuf.bytes().get(usize::from(payload_at)..).ok_or(WireError::TruncatedHeader);
                    match payload.and_then(DataOnly::parse).and_then(|data| data.join(rows)) {
                        Ok(pooled) => {
                            let packets = pooled.rows().map(|(_, bytes)| bytes);
                            let Outside { origin, outer_ecn, peer, address } = outside;
                            let (inside, pool_port) = (origin.deeper(Some(peer)), self.hops.pool_port());
                            let exit = ReentryExit::new(inside, outer_ecn, pool_port, &mut self.reentry, &mut self.out);
                            let rows = take_out(packets, &mut self.mempool, exit);
                            self.peers.taken_out(peer, address, rows);
                            self.mempool.free(mbuf);
                        }
                        Err(error) => self.out.drop(mbuf, name(PooledDrop::Wire(error))),
                    }
                    // The re-entry queue has room for what one packet holds: it is emptied before it is filled further.
                    self.take_up_reentry(0, 1, moment);
                }
                Settled::Used(mbuf) => {
                    self.out.counters.add(Counter::AbsorbedIndex, 1);
                    self.mempool.free(mbuf);
                }
                Settled::Dropped(mbuf, reason) => self.out.drop(mbuf, drop_for(reason)),
            }
        }
        count
    }
}

/// A packet as it waits.
fn arrival<H: Header>(packet: Packet<H>, peer: PeerIndex, key: StreamKey) -> Arrival<crate::dpdk::Mbuf, Outside> {
    let bytes = packet.mbuf.bytes();
    let headers = bytes.len() - packet.header.upper_layer(bytes).len() + udp::HEADER_LEN;
    let payload_at = headers.min(bytes.len()) as u16;
    let outer_ecn = packet.header.ecn();
    let tag = Outside { origin: packet.origin, outer_ecn, peer, address: key.peer };
    Arrival { buffer: packet.mbuf, payload_at, tag }
}

/// The reason that the queue has for a drop, among all reasons.
fn drop_for(reason: QueueDrop) -> Drop {
    match reason {
        QueueDrop::IndexMissing => Drop::PoolIndexMissing,
        QueueDrop::DataLate => Drop::PoolDataLate,
        QueueDrop::DataDuplicate => Drop::PoolDataDuplicate,
        QueueDrop::IndexUnused => Drop::PoolIndexUnused,
        QueueDrop::IndexLate => Drop::PoolIndexLate,
        QueueDrop::IndexDuplicate => Drop::PoolIndexDuplicate,
        QueueDrop::Stray => Drop::PoolSequenceStray,
        QueueDrop::Full => Drop::PoolIndexQueueFull,
    }
}
