//! Third stage, for what comes to the pool port: pooled packets are taken apart, hellos go to the control thread.

use arrayvec::ArrayVec;

use crate::dpdk::{HEADROOM, Mbuf, MempoolCache, Nic};
use crate::fib::PeerIndex;
use crate::packet::ecn::{CE, mark_congestion};
use crate::pool::Format;
use crate::pool::packet_depooler::depool_each;
use crate::pool::pooled_packet_detector::{Detection, PooledDrop};
use crate::pool::wire::{PoolHeader, WireError};

use super::counters::Counter;
use super::drop::Drop;
use super::event::{Event, HELLO_BYTES};
use super::moment::Moment;
use super::origin::{Family, Header, Origin, Packet};
use super::output::Output;
use super::reentry::{MAX_DEPTH, Reentry};
use super::stages::Stages;

impl<N: Nic> Stages<N> {
    /// Takes a packet to the pool port of one of our addresses.
    #[inline]
    pub(super) fn depool_input<H: Header>(&mut self, packet: Packet<H>, moment: &Moment<'_>) {
        let peers = &moment.state.peers;
        let peer_of = |address| {
            let index = peers.find(address)?;
            let peer = peers.get(index).filter(|peer| peer.path.format == Format::Native)?;
            Some((index, peer.zero_checksum))
        };
        let templates = &moment.state.templates;
        match packet.header.detect(packet.mbuf.bytes(), moment.state.pool_port, templates, peer_of) {
            Ok(Detection::Pooled { peer, src_port, packet: pooled }) => {
                if usize::from(packet.origin.depth) >= MAX_DEPTH {
                    return self.out.drop(packet.mbuf, Drop::PoolNesting);
                }
                let ours = if pooled.header().is_overlay() {
                    let (outer, depth) = (packet.mbuf.bytes(), packet.origin.depth);
                    let readdressed = self.readdress_rows(&pooled, outer, depth, peer, moment);
                    let rows = (0u8..).zip(pooled.rows()).filter(|(at, _)| !readdressed.contains(*at));
                    let packets = rows.map(|(_, (_, bytes))| bytes);
                    self.take_apart(packets, pooled.header(), &packet, peer, src_port, moment)
                } else {
                    let packets = pooled.rows().map(|(_, bytes)| bytes);
                    self.take_apart(packets, pooled.header(), &packet, peer, src_port, moment)
                };
                self.finish(packet, ours);
            }
            Ok(Detection::Predetermined { peer, src_port, packet: pooled }) => {
                let ours = self.take_apart(pooled.packets(), pooled.header(), &packet, peer, src_port, moment);
                self.finish(packet, ours);
            }
            Ok(Detection::DataOnly { peer, src_port, packet: pooled }) => {
                let sequence = pooled.header().sequence;
                self.data_only_input(packet, peer, src_port, sequence, moment);
            }
            Ok(Detection::Index { peer, src_port, packet: index }) => {
                let sequence = index.header().sequence;
                let first = index.blocks().next().map_or(sequence, |block| block.sequence);
                self.index_packet_input(packet, peer, src_port, sequence, first, moment);
            }
            Ok(Detection::Hello { .. }) => self.hello(packet),
            Ok(Detection::NotPooled) => self.out.drop(packet.mbuf, Drop::LocalUnhandled),
            Err(reason) => self.out.drop(packet.mbuf, name(reason)),
        }
    }

    /// Takes out what a pooled packet of this peer holds.
    #[inline]
    fn take_apart<'a, H: Header>(
        &mut self,
        packets: impl Iterator<Item = &'a [u8]>,
        header: &PoolHeader,
        packet: &Packet<H>,
        peer: PeerIndex,
        src_port: u16,
        moment: &Moment<'_>,
    ) -> Result<(), Drop> {
        if usize::from(packet.origin.depth) >= MAX_DEPTH {
            return Err(Drop::PoolNesting);
        }
        self.peers.received(peer, moment.state, src_port, header.sequence, header.count);
        let (reentry, out) = (&mut self.reentry, &mut self.out);
        take_out(packets, packet.origin.deeper(Some(peer)), packet.header.ecn() == CE, &mut self.mempool, reentry, out);
        self.note_number(packet, src_port, header.sequence, moment);
        Ok(())
    }

    /// Ends a pooled packet that was taken apart or was not.
    #[inline]
    fn finish<H: Header>(&mut self, packet: Packet<H>, taken_apart: Result<(), Drop>) {
        match taken_apart {
            Ok(()) => self.mempool.free(packet.mbuf),
            Err(reason) => self.out.drop(packet.mbuf, reason),
        }
    }

    #[cold]
    fn hello<H: Header>(&mut self, packet: Packet<H>) {
        let mut payload = ArrayVec::new();
        let udp = packet.header.upper_layer(packet.mbuf.bytes());
        payload.extend(udp.iter().copied().skip(crate::packet::udp::HEADER_LEN).take(HELLO_BYTES));
        if self.out.tell(Event::Hello { from: packet.header.src(), ttl: packet.header.hop_limit(), payload }) {
            self.out.counters.add(Counter::AbsorbedControl, 1);
            self.mempool.free(packet.mbuf);
        } else {
            self.out.drop(packet.mbuf, Drop::ControlRingFull);
        }
    }
}

/// Takes packets out of a pooled packet and sends them back to the input, with the origin `inside`. `congested`: the pooled
/// packet had met congestion. Returns how many packets it held.
#[inline]
pub(super) fn take_out<'a, N: Nic>(
    packets: impl Iterator<Item = &'a [u8]>,
    inside: Origin,
    congested: bool,
    mempool: &mut MempoolCache,
    reentry: &mut Reentry,
    out: &mut Output<N>,
) -> u64 {
    let depooled = depool_each(packets, mempool, HEADROOM, |inner| re_enter(inner, inside, congested, reentry, out));
    let rows = u64::from(depooled.extracted) + u64::from(depooled.no_buffer);
    out.counters.add(Counter::CreatedExtracted, rows);
    out.counters.dropped(Drop::NoBuffer, u64::from(depooled.no_buffer));
    out.counters.add(Counter::AbsorbedDepooled, 1);
    out.counters.add(Counter::PoolReceived, 1);
    out.counters.add(Counter::PoolRowsReceived, rows);
    rows
}

/// Sends what was taken out of a pooled packet back to the input. `congested`: that packet had met congestion.
#[inline(always)]
pub(super) fn re_enter<N: Nic>(
    mut inner: Mbuf,
    origin: Origin,
    congested: bool,
    reentry: &mut Reentry,
    out: &mut Output<N>,
) {
    // The type of its row agreed with its version, or the pooled packet would not be sound.
    let origin = Origin { family: Family::of(inner.bytes()), ..origin };
    // RFC 6040, 4.2: a mark on the outside is passed on to what can carry it, and drops what cannot.
    if congested && !mark_congestion(inner.bytes_mut()) {
        out.drop(inner, Drop::PoolCongested);
    } else if let Err(inner) = reentry.push(origin.depth.saturating_sub(1), inner, origin) {
        out.drop(inner, Drop::ReentryFull);
    }
}

/// The reason a packet to the pool port is dropped for, among all reasons.
pub(super) fn name(reason: PooledDrop) -> Drop {
    match reason {
        PooledDrop::UnknownPeer => Drop::PoolUnknownPeer,
        PooledDrop::Fragment => Drop::PoolFragment,
        PooledDrop::UdpLength => Drop::PoolUdpLength,
        PooledDrop::UdpChecksum => Drop::PoolUdpChecksum,
        PooledDrop::Wire(error) => match error {
            WireError::TruncatedHeader => Drop::PoolTruncatedHeader,
            WireError::UnsupportedVersion => Drop::PoolUnsupportedVersion,
            WireError::AuthenticatedUnsupported => Drop::PoolAuthenticatedUnsupported,
            WireError::UnsupportedKind => Drop::PoolUnsupportedKind,
            WireError::NoRows => Drop::PoolNoRows,
            WireError::TruncatedIndex => Drop::PoolTruncatedIndex,
            WireError::FirstRowStart => Drop::PoolFirstRowStart,
            WireError::RowOrder => Drop::PoolRowOrder,
            WireError::RowOverlap => Drop::PoolRowOverlap,
            WireError::RowGap => Drop::PoolRowGap,
            WireError::UnsupportedType => Drop::PoolUnsupportedType,
            WireError::RowTooShort => Drop::PoolRowTooShort,
            WireError::RowBeyondData => Drop::PoolRowBeyondData,
            WireError::TrailingData => Drop::PoolTrailingData,
            WireError::InnerVersion => Drop::PoolInnerVersion,
            WireError::InnerLength => Drop::PoolInnerLength,
            WireError::DataTooShort => Drop::PoolDataTooShort,
            WireError::IndexCount => Drop::PoolIndexCount,
            WireError::NoBlocks => Drop::PoolNoBlocks,
            WireError::BlockOrder => Drop::PoolBlockOrder,
            WireError::TrailingIndex => Drop::PoolTrailingIndex,
            WireError::UnknownTemplate => Drop::PoolUnknownTemplate,
            WireError::TemplateLength => Drop::PoolTemplateLength,
            WireError::HelloRows => Drop::PoolHelloRows,
            WireError::TruncatedHello => Drop::PoolTruncatedHello,
            WireError::HelloInstance => Drop::PoolHelloInstance,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_the_detector_has_a_counter_of_the_same_name() {
        for reason in PooledDrop::ALL {
            assert_eq!(name(reason).name(), format!("pool_{}", reason.name()));
        }
    }
}
