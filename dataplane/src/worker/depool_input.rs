//! Third stage, for what comes to the pool port: pooled packets are taken apart, hellos go to the control thread.

use arrayvec::ArrayVec;

use crate::dpdk::{HEADROOM, Mbuf, MempoolCache, Nic};
use crate::fib::PeerIndex;
use crate::packet::ecn;
use crate::packet::ipv4::Plain;
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
                        depool_rows(rows, streams, mempool, HEADROOM, |inner, bytes| exit.re_enter(inner, bytes))
                    })
                } else {
                    self.take_apart(header, &packet, peer, src_port, moment, |mempool, _, exit| {
                        depool_rows(pooled.rows(), streams, mempool, HEADROOM, |inner, bytes| {
                            exit.re_enter(inner, bytes)
                        })
                    })
                };
                self.finish(packet, ours);
            }
            Ok(Detection::Predetermined { peer, src_port, packet: pooled }) => {
                let packets = pooled.packets();
                let ours = self.take_apart(pooled.header(), &packet, peer, src_port, moment, |mempool, _, exit| {
                    depool_each(packets, mempool, HEADROOM, |inner, bytes| exit.re_enter(inner, bytes))
                });
                self.finish(packet, ours);
            }
            Ok(Detection::Short { peer, src_port, packet: pooled }) => {
                let (from, now) = ((packet.header.src().into(), src_port), moment.now);
                let ours = self.take_apart(pooled.header(), &packet, peer, src_port, moment, |mempool, known, exit| {
                    depool_short(&pooled, from, (known, now), mempool, HEADROOM, |inner| exit.re_enter(inner, &[]))
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
        let exit = &mut Exit::new(inside, outer_ecn, self.hops.pool_port(), &mut self.reentry, &mut self.out);
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

/// Where packets that were taken out of a pooled packet go: back to the input.
pub(super) struct Exit<'a, N> {
    /// Their origin.
    inside: Origin,
    /// The ECN field of the pooled packet.
    outer_ecn: u8,
    /// The port that [`Plain::recognise`] is to leave alone.
    pool_port: u32,
    reentry: &'a mut Reentry,
    out: &'a mut Output<N>,
}

impl<'a, N: Nic> Exit<'a, N> {
    /// For what was in a packet with the ECN field `outer_ecn`. `pool_port`: as the hops remember it.
    #[inline(always)]
    pub fn new(
        inside: Origin,
        outer_ecn: u8,
        pool_port: u32,
        reentry: &'a mut Reentry,
        out: &'a mut Output<N>,
    ) -> Exit<'a, N> {
        Exit { inside: inside.read_as(Family::V4), outer_ecn, pool_port, reentry, out }
    }

    /// Sends a packet on, which is a copy of `bytes`, or rebuilt where these are none. They are looked at in its place: what
    /// was just written is slow to read.
    #[inline(always)]
    pub fn re_enter(&mut self, inner: Mbuf, bytes: &[u8]) {
        let plain = match Plain::recognise(bytes, self.pool_port) {
            Some(plain) if usize::from(plain.total_len) == bytes.len() => plain,
            _ => return self.re_enter_unknown(inner),
        };
        // What a mark on the outside does to a packet, and what came in a broadcast frame, is looked at below.
        if self.outer_ecn & ecn::ECT_1 != 0 || self.inside.link_broadcast() {
            return self.re_enter_unknown(inner);
        }
        self.push(inner, self.inside, Some(plain.dst));
    }

    #[inline(never)]
    fn re_enter_unknown(&mut self, mut inner: Mbuf) {
        // The type of its row agreed with its version, or the pooled packet would not be sound.
        let origin = self.inside.read_as(Family::of(inner.bytes()));
        // RFC 6040, 4.2: a mark on the outside is passed on to what can carry it, and drops what cannot. Not-ECT and ECT(0)
        // say nothing to what is inside.
        if self.outer_ecn & ecn::ECT_1 != 0 && !ecn::take_out(inner.bytes_mut(), self.outer_ecn) {
            self.out.drop(inner, Drop::PoolCongested);
        } else {
            self.push(inner, origin, None);
        }
    }

    #[inline(always)]
    fn push(&mut self, inner: Mbuf, origin: Origin, plain_to: Option<u32>) {
        if let Err(inner) = self.reentry.push(origin.depth().saturating_sub(1), inner, origin, plain_to) {
            self.out.drop(inner, Drop::ReentryFull);
        }
    }
}

/// Takes packets out of a pooled packet and sends them back to the input. Returns how many packets it held.
#[inline]
pub(super) fn take_out<'a, N: Nic>(
    packets: impl Iterator<Item = &'a [u8]>,
    mempool: &mut MempoolCache,
    mut exit: Exit<'_, N>,
) -> u64 {
    let depooled = depool_each(packets, mempool, HEADROOM, |inner, bytes| exit.re_enter(inner, bytes));
    account(&depooled, exit.out);
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
