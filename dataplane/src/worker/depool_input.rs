//! Third stage, for what comes to the pool port: pooled packets are taken apart, hellos go to the control thread.

use arrayvec::ArrayVec;

use crate::dpdk::{HEADROOM, Mbuf, MempoolCache, Nic};
use crate::fib::PeerIndex;
use crate::packet::ecn;
use crate::pool::Format;
use crate::pool::learned::Decompressor;
use crate::pool::packet_depooler::{Depooled, depool_each, depool_rows, depool_short};
use crate::pool::pooled_packet_detector::{Detection, PooledDrop};
use crate::pool::wire::{PoolHeader, WireError};

use super::counters::Counter;
use super::drop::Drop;
use super::event::{HELLO_BYTES, HeardHello};
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
                if usize::from(packet.origin.depth()) >= MAX_DEPTH {
                    return self.out.drop(packet.mbuf, Drop::PoolNesting);
                }
                let streams = (&*moment.state.streams, peer);
                let header = pooled.header();
                let ours = if header.is_overlay() {
                    let (outer, depth) = (packet.mbuf.bytes(), packet.origin.depth());
                    let readdressed = self.readdress_rows(&pooled, outer, depth, peer, moment);
                    let rows = (0..=u8::MAX).zip(pooled.rows()).filter(|(at, _)| !readdressed.contains(*at));
                    let rows = rows.map(|(_, row)| row);
                    self.take_apart(header, &packet, peer, src_port, moment, |mempool, _, exit| {
                        depool_rows(rows, streams, mempool, HEADROOM, |inner| exit.re_enter(inner))
                    })
                } else {
                    self.take_apart(header, &packet, peer, src_port, moment, |mempool, _, exit| {
                        depool_rows(pooled.rows(), streams, mempool, HEADROOM, |inner| exit.re_enter(inner))
                    })
                };
                self.finish(packet, ours);
            }
            Ok(Detection::Predetermined { peer, src_port, packet: pooled }) => {
                let packets = pooled.packets();
                let ours = self.take_apart(pooled.header(), &packet, peer, src_port, moment, |mempool, _, exit| {
                    depool_each(packets, mempool, HEADROOM, |inner| exit.re_enter(inner))
                });
                self.finish(packet, ours);
            }
            Ok(Detection::Short { peer, src_port, packet: pooled }) => {
                let (from, now) = ((packet.header.src().into(), src_port), moment.now);
                let ours = self.take_apart(pooled.header(), &packet, peer, src_port, moment, |mempool, known, exit| {
                    depool_short(&pooled, from, (known, now), mempool, HEADROOM, |inner| exit.re_enter(inner))
                });
                self.finish(packet, ours);
            }
            Ok(Detection::Report { peer, src_port, report }) => {
                let sequence = report.header().sequence;
                self.peers.received(peer, moment.state, src_port, sequence, 0);
                self.heed(&report, peer, moment);
                self.note_number(&packet, src_port, sequence, moment);
                self.out.counters.add(Counter::AbsorbedReports, 1);
                self.mempool.free(packet.mbuf);
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

    /// Takes out what a pooled packet of this peer holds, as `depool` does it.
    #[inline]
    fn take_apart<H: Header>(
        &mut self,
        header: &PoolHeader,
        packet: &Packet<H>,
        peer: PeerIndex,
        src_port: u16,
        moment: &Moment<'_>,
        depool: impl FnOnce(&mut MempoolCache, &mut Decompressor, &mut Exit<'_, N>) -> Depooled,
    ) -> Result<(), Drop> {
        if usize::from(packet.origin.depth()) >= MAX_DEPTH {
            return Err(Drop::PoolNesting);
        }
        self.peers.received(peer, moment.state, src_port, header.sequence, header.count);
        let (inside, outer_ecn) = (packet.origin.deeper(Some(peer)), packet.header.ecn());
        let exit = &mut Exit { inside, outer_ecn, reentry: &mut self.reentry, out: &mut self.out };
        let depooled = depool(&mut self.mempool, &mut self.decompressor, exit);
        account(&depooled, &mut self.out);
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
        let length = u16::try_from(packet.mbuf.bytes().len()).unwrap_or(u16::MAX);
        let hello = HeardHello { from: packet.header.src().into(), ttl: packet.header.hop_limit(), length, payload };
        if self.out.tell_hello(hello) {
            self.out.counters.add(Counter::AbsorbedControl, 1);
            self.mempool.free(packet.mbuf);
        } else {
            self.out.drop(packet.mbuf, Drop::ControlRingFull);
        }
    }
}

/// Where packets that were taken out of a pooled packet go.
struct Exit<'a, N> {
    /// Their origin.
    inside: Origin,
    /// The ECN field of the pooled packet.
    outer_ecn: u8,
    reentry: &'a mut Reentry,
    out: &'a mut Output<N>,
}

impl<N: Nic> Exit<'_, N> {
    #[inline(always)]
    fn re_enter(&mut self, inner: Mbuf) {
        re_enter(inner, self.inside, self.outer_ecn, self.reentry, self.out);
    }
}

/// Takes packets out of a pooled packet and sends them back to the input, with the origin `inside`. `outer_ecn`: the
/// ECN field of the pooled packet. Returns how many packets it held.
#[inline]
pub(super) fn take_out<'a, N: Nic>(
    packets: impl Iterator<Item = &'a [u8]>,
    inside: Origin,
    outer_ecn: u8,
    mempool: &mut MempoolCache,
    reentry: &mut Reentry,
    out: &mut Output<N>,
) -> u64 {
    let depooled = depool_each(packets, mempool, HEADROOM, |inner| re_enter(inner, inside, outer_ecn, reentry, out));
    account(&depooled, out);
    depooled.rows()
}

/// Accounts for a pooled packet of which this came.
#[inline]
fn account<N: Nic>(depooled: &Depooled, out: &mut Output<N>) {
    let (rows, counters) = (depooled.rows(), &mut out.counters);
    counters.add(Counter::CreatedExtracted, rows);
    for (reason, count) in [
        (Drop::NoBuffer, depooled.no_buffer),
        (Drop::PoolUnknownContext, depooled.unknown_context),
        (Drop::PoolUnknownStream, depooled.unknown_stream),
        (Drop::PoolMalformedEntry, depooled.malformed),
    ] {
        counters.dropped(reason, u64::from(count));
    }
    counters.add(Counter::AbsorbedDepooled, 1);
    counters.add(Counter::PoolReceived, 1);
    counters.add(Counter::PoolRowsReceived, rows);
}

/// Sends what was taken out of a pooled packet back to the input. `outer_ecn`: the ECN field of that packet.
#[inline(always)]
pub(super) fn re_enter<N: Nic>(
    mut inner: Mbuf,
    origin: Origin,
    outer_ecn: u8,
    reentry: &mut Reentry,
    out: &mut Output<N>,
) {
    // The type of its row agreed with its version, or the pooled packet would not be sound.
    let origin = origin.read_as(Family::of(inner.bytes()));
    // RFC 6040, 4.2: a mark on the outside is passed on to what can carry it, and drops what cannot. Not-ECT and ECT(0)
    // say nothing to what is inside.
    if outer_ecn & ecn::ECT_1 != 0 && !ecn::take_out(inner.bytes_mut(), outer_ecn) {
        out.drop(inner, Drop::PoolCongested);
    } else if let Err(inner) = reentry.push(origin.depth().saturating_sub(1), inner, origin) {
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
            WireError::RowRepetition => Drop::PoolRowRepetition,
            WireError::UnsupportedEntry => Drop::PoolUnsupportedEntry,
            WireError::TruncatedReport => Drop::PoolTruncatedReport,
            WireError::ReportItem => Drop::PoolReportItem,
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
