//! Third stage, for what comes to the pool port: pooled packets are taken apart, hellos go to the control thread.

use arrayvec::ArrayVec;

use crate::dpdk::{HEADROOM, Mbuf, MempoolCache, Nic};
use crate::fib::PeerIndex;
use crate::packet::ecn;
use crate::packet::ipv4::Plain;
use crate::packet::udp;
use crate::pool::learned;
use crate::pool::packet_depooler::{Depooled, Exit, depool_each, depool_entries, depool_rows};
use crate::pool::pooled_packet_detector::{Datagram, PooledDrop, Special};
use crate::pool::wire::short_rows::ShortPacket;
use crate::pool::wire::{PoolHeader, PooledPacket, Row, Rows, WireError};

use super::counters::Counter;
use super::drop::Drop;
use super::event::{HELLO_BYTES, HeardHello};
use super::moment::Moment;
use super::origin::{Family, Header, Origin, Packet};
use super::output::Output;
use super::plain_rows::{cut_plain, cut_plain6, fill, rebuild_plain_entries, rebuild_plain_rows};
use super::reentry::{MAX_DEPTH, Queue, Reentry};
use super::stages::Stages;

/// How many rows are taken as they come once one is not plain, before plain ones are looked for again.
const UNEVEN_ROWS: usize = 16;

/// What is known of a packet around others.
struct Outer<'a, H> {
    header: &'a H,
    origin: Origin,
    /// Who sent it.
    peer: PeerIndex,
    src_port: u16,
}

impl<H: Header> Outer<'_, H> {
    /// The origin of what is inside.
    #[inline(always)]
    fn inside(&self) -> Origin {
        self.origin.deeper(Some(self.peer))
    }
}

impl<N: Nic> Stages<N> {
    /// Takes a packet to the pool port of one of our addresses.
    ///
    /// Its header is read anew: handed on from stage to stage it would have been written a moment before, in other pieces
    /// than it is read in, behind all that was copied out of the pooled packet before it.
    #[inline(always)]
    pub(super) fn depool_input<H: Header>(&mut self, mbuf: Mbuf, origin: Origin, moment: &Moment<'_>) {
        let Some(header) = H::reread(mbuf.bytes()) else { return self.out.drop(mbuf, Drop::LocalUnhandled) };
        let peer_of = |address| self.hops.peer(address, moment);
        let Datagram { peer, src_port, payload } = match header.detect(mbuf.bytes(), moment.state.pool_port, peer_of) {
            Ok(Some(datagram)) => datagram,
            Ok(None) => return self.out.drop(mbuf, Drop::LocalUnhandled),
            Err(reason) => return self.out.drop(mbuf, name(reason)),
        };
        let outer = &Outer { header: &header, origin, peer, src_port };
        let taken_apart = match PooledPacket::parse(payload) {
            Ok(pooled) => self.take_apart_rows(&pooled, mbuf.bytes(), outer, moment),
            Err(WireError::UnsupportedKind) => return self.special_input(mbuf, outer, moment),
            Err(error) => Err(name(error.into())),
        };
        self.finish(mbuf, taken_apart);
    }

    /// Takes out the rows of a pooled packet with its index in band that are due here.
    #[inline(always)]
    fn take_apart_rows<H: Header>(
        &mut self,
        pooled: &PooledPacket<'_>,
        l3: &[u8],
        outer: &Outer<'_, H>,
        moment: &Moment<'_>,
    ) -> Result<(), Drop> {
        self.begin(&pooled.header(), outer, moment)?;
        let depooled = if pooled.header().is_overlay() {
            let readdressed = self.readdress_rows(pooled, l3, outer.origin.depth(), outer.peer, moment);
            let rows = (0..=u8::MAX).zip(pooled.rows()).filter(|(at, _)| !readdressed.contains(*at));
            self.take_out_rows(rows.map(|(_, row)| row), outer, moment)
        } else {
            let mut rows = pooled.rows();
            let mut depooled = self.cut_rows(&mut rows, outer);
            while !rows.is_empty() {
                depooled.add(self.rebuild_rows(&mut rows, outer, moment));
                depooled.add(self.take_out_rows(rows.by_ref().take(UNEVEN_ROWS), outer, moment));
                depooled.add(self.cut_rows(&mut rows, outer));
            }
            depooled
        };
        account(&depooled, &mut self.out);
        self.note_number(outer.header, outer.origin, outer.src_port, pooled.header().sequence, moment);
        Ok(())
    }

    /// Takes a datagram that is no pooled packet with its index in band.
    #[inline(never)]
    fn special_input<H: Header>(&mut self, mbuf: Mbuf, outer: &Outer<'_, H>, moment: &Moment<'_>) {
        let &Outer { header, origin, peer, src_port } = outer;
        let payload = header.upper_layer(mbuf.bytes()).get(udp::HEADER_LEN..).unwrap_or_default();
        match Special::parse(payload, &moment.state.templates) {
            Ok(Special::Predetermined(pooled)) => {
                let begun = self.begin(pooled.header(), outer, moment);
                if begun.is_ok() {
                    let pool_port = self.hops.pool_port();
                    let exit =
                        ReentryExit::new(outer.inside(), header.ecn(), pool_port, &mut self.reentry, &mut self.out);
                    take_out(pooled.packets(), &mut self.mempool, exit);
                    self.note_number(header, origin, src_port, pooled.header().sequence, moment);
                }
                self.finish(mbuf, begun);
            }
            Ok(Special::Short(pooled)) => {
                let begun = self.begin(pooled.header(), outer, moment);
                if begun.is_ok() {
                    self.rebuild_entries(&pooled, outer, moment);
                    self.note_number(header, origin, src_port, pooled.header().sequence, moment);
                }
                self.finish(mbuf, begun);
            }
            Ok(Special::Report(report)) => {
                let sequence = report.header().sequence;
                self.peers.received(peer, moment.state, src_port, sequence, 0);
                self.heed(&report, peer, moment);
                self.note_number(header, origin, src_port, sequence, moment);
                self.out.counters.add(Counter::AbsorbedReports, 1);
                self.mempool.free(mbuf);
            }
            Ok(Special::DataOnly(pooled)) => {
                let sequence = pooled.header().sequence;
                self.data_only_input(Packet { mbuf, header: *header, origin }, peer, src_port, sequence, moment);
            }
            Ok(Special::Index(index)) => {
                let sequence = index.header().sequence;
                let first = index.blocks().next().map_or(sequence, |block| block.sequence);
                let packet = Packet { mbuf, header: *header, origin };
                self.index_packet_input(packet, peer, src_port, sequence, first, moment);
            }
            Ok(Special::Hello(_)) => self.hello(Packet { mbuf, header: *header, origin }),
            Err(error) => self.out.drop(mbuf, name(error.into())),
        }
    }

    /// Takes note of a pooled packet, unless it is inside of too many.
    #[inline(always)]
    fn begin<H: Header>(&mut self, header: &PoolHeader, outer: &Outer<'_, H>, moment: &Moment<'_>) -> Result<(), Drop> {
        if usize::from(outer.origin.depth()) >= MAX_DEPTH {
            return Err(Drop::PoolNesting);
        }
        self.peers.received(outer.peer, moment.state, outer.src_port, header.sequence, header.count);
        Ok(())
    }

    /// Takes out rows of a pooled packet.
    #[inline(never)]
    fn take_out_rows<'a, H: Header>(
        &mut self,
        rows: impl Iterator<Item = (Row, &'a [u8])>,
        outer: &Outer<'_, H>,
        moment: &Moment<'_>,
    ) -> Depooled {
        let streams = (&*moment.state.streams, outer.peer);
        let (pool_port, ecn) = (self.hops.pool_port(), outer.header.ecn());
        let mut exit = ReentryExit::new(outer.inside(), ecn, pool_port, &mut self.reentry, &mut self.out);
        depool_rows(rows, streams, &mut self.mempool, HEADROOM, &mut exit)
    }

    /// Takes out the next rows as long as they are plain packets and there is memory for them in the cache, which is nearly
    /// always to the last: [`Stages::take_out_rows`] is for the others.
    #[inline(always)]
    fn cut_rows<H: Header>(&mut self, rows: &mut Rows<'_>, outer: &Outer<'_, H>) -> Depooled {
        let (pool_port, mempool, mut depooled) = (self.hops.pool_port(), &mut self.mempool, Depooled::default());
        if let Some((queue, inside)) = queue_of_plain(&mut self.reentry, outer) {
            fill(queue, |burst| {
                depooled.extracted += cut_plain(rows, burst, inside, pool_port, mempool);
                !rows.is_empty()
            });
        }
        if !rows.is_empty() {
            depooled.extracted += self.cut_rows6(rows, outer);
        }
        depooled
    }

    /// The same for the next rows that are plain IPv6 packets.
    #[inline(never)]
    fn cut_rows6<H: Header>(&mut self, rows: &mut Rows<'_>, outer: &Outer<'_, H>) -> u32 {
        let (pool_port, mempool, mut cut) = (self.hops.pool_port(), &mut self.mempool, 0);
        if let Some((queue, inside)) = queue_of_plain(&mut self.reentry, outer) {
            let inside = inside.read_as(Family::V6);
            fill(queue, |burst| {
                cut += cut_plain6(rows, burst, inside, pool_port, mempool);
                !rows.is_empty()
            });
        }
        cut
    }

    /// The same for the next rows that are of provisioned streams.
    #[inline(never)]
    fn rebuild_rows<H: Header>(&mut self, rows: &mut Rows<'_>, outer: &Outer<'_, H>, moment: &Moment<'_>) -> Depooled {
        let (pool_port, mempool, mut depooled) = (self.hops.pool_port(), &mut self.mempool, Depooled::default());
        let streams = (&*moment.state.streams, outer.peer);
        if let Some((queue, inside)) = queue_of_plain(&mut self.reentry, outer) {
            fill(queue, |burst| {
                depooled.extracted += rebuild_plain_rows(rows, streams, burst, inside, pool_port, mempool);
                !rows.is_empty()
            });
        }
        depooled
    }

    /// Takes out the entries of a pooled packet with short rows: those that are plain packets, and for which there is memory in
    /// the cache, in a loop of their own.
    #[inline(always)]
    fn rebuild_entries<H: Header>(&mut self, pooled: &ShortPacket<'_>, outer: &Outer<'_, H>, moment: &Moment<'_>) {
        let (peer, instance) = (outer.header.src().into(), pooled.instance());
        let origin = learned::Origin { peer, instance, source_port: outer.src_port };
        let mut contexts = self.decompressor.of(origin, moment.now);
        let (pool_port, mempool) = (self.hops.pool_port(), &mut self.mempool);
        let (mut entries, mut depooled) = (pooled.entries(), Depooled::default());
        loop {
            if let Some((queue, inside)) = queue_of_plain(&mut self.reentry, outer) {
                fill(queue, |burst| {
                    depooled.extracted +=
                        rebuild_plain_entries(&mut entries, &contexts, burst, inside, pool_port, mempool);
                    !entries.is_empty()
                });
            }
            let (inside, ecn) = (outer.inside(), outer.header.ecn());
            let mut exit = ReentryExit::new(inside, ecn, pool_port, &mut self.reentry, &mut self.out);
            let uneven = entries.by_ref().take(UNEVEN_ROWS);
            let uneven = depool_entries(uneven, &mut contexts, mempool, HEADROOM, &mut exit);
            depooled.add(uneven);
            if uneven.rows() == 0 {
                break;
            }
        }
        account(&depooled, &mut self.out);
    }

    /// Ends a pooled packet that was taken apart or was not.
    #[inline(always)]
    fn finish(&mut self, mbuf: Mbuf, taken_apart: Result<(), Drop>) {
        match taken_apart {
            Ok(()) => self.mempool.free(mbuf),
            Err(reason) => self.out.drop(mbuf, reason),
        }
    }

    #[cold]
    fn hello<H: Header>(&mut self, packet: Packet<H>) {
        let mut payload = ArrayVec::new();
        let udp = packet.header.upper_layer(packet.mbuf.bytes());
        payload.extend(udp.iter().copied().skip(udp::HEADER_LEN).take(HELLO_BYTES));
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
pub(super) struct ReentryExit<'a, N> {
    /// Their origin.
    inside: Origin,
    /// The ECN field of the pooled packet.
    outer_ecn: u8,
    /// Whether they may be plain: what a mark on the outside does to a packet, and what came in a broadcast frame, needs a closer
    /// look.
    may_be_plain: bool,
    /// The port that [`Plain::recognise`] is to leave alone.
    pool_port: u32,
    /// Where they wait; None where they are inside of too many.
    queue: Option<&'a mut Queue>,
    out: &'a mut Output<N>,
}

impl<N: Nic> Exit<Mbuf> for ReentryExit<'_, N> {
    /// The bytes are looked at in place of the packet: what was just written is slow to read.
    #[inline(always)]
    fn take(&mut self, inner: Mbuf, bytes: &[u8]) {
        match Plain::recognise(bytes, self.pool_port) {
            Some(plain) if self.may_be_plain && usize::from(plain.total_len) == bytes.len() => {
                self.push(inner, self.inside, Some(plain.dst));
            }
            _ => self.take_unknown(inner),
        }
    }

    /// Its header was written in the words that are read now.
    #[inline(always)]
    fn take_rebuilt(&mut self, inner: Mbuf) {
        match Plain::recognise(inner.bytes(), self.pool_port) {
            Some(plain) if self.may_be_plain && usize::from(plain.total_len) == inner.len() => {
                self.push(inner, self.inside, Some(plain.dst));
            }
            _ => self.take_unknown(inner),
        }
    }
}

impl<'a, N: Nic> ReentryExit<'a, N> {
    /// For what was in a packet with the ECN field `outer_ecn`. `pool_port`: as the hops remember it.
    #[inline(always)]
    pub fn new(
        inside: Origin,
        outer_ecn: u8,
        pool_port: u32,
        reentry: &'a mut Reentry,
        out: &'a mut Output<N>,
    ) -> ReentryExit<'a, N> {
        let queue = reentry.queue(inside.depth().saturating_sub(1));
        let may_be_plain = outer_ecn & ecn::ECT_1 == 0 && !inside.link_broadcast();
        ReentryExit { inside: inside.read_as(Family::V4), outer_ecn, may_be_plain, pool_port, queue, out }
    }

    #[inline(never)]
    fn take_unknown(&mut self, mut inner: Mbuf) {
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
        let refused = match &mut self.queue {
            Some(queue) => queue.push(inner, origin, plain_to).err(),
            None => Some(inner),
        };
        if let Some(inner) = refused {
            self.out.drop(inner, Drop::ReentryFull);
        }
    }
}

/// Where plain packets that were in this one wait, and their origin. None where they need a closer look each: what a mark
/// on the outside does to a packet, and what came in a broadcast frame; or where they are inside of too many.
#[inline(always)]
fn queue_of_plain<'a, H: Header>(reentry: &'a mut Reentry, outer: &Outer<'_, H>) -> Option<(&'a mut Queue, Origin)> {
    let inside = outer.inside().read_as(Family::V4);
    if outer.header.ecn() & ecn::ECT_1 != 0 || inside.link_broadcast() {
        return None;
    }
    Some((reentry.queue(outer.origin.depth())?, inside))
}

/// Takes packets out of a pooled packet and sends them back to the input. Returns how many packets it held.
#[inline]
pub(super) fn take_out<'a, N: Nic>(
    packets: impl Iterator<Item = &'a [u8]>,
    mempool: &mut MempoolCache,
    mut exit: ReentryExit<'_, N>,
) -> u64 {
    let depooled = depool_each(packets, mempool, HEADROOM, &mut exit);
    account(&depooled, exit.out);
    depooled.rows()
}

/// Accounts for a pooled packet of which this came.
#[inline(always)]
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
