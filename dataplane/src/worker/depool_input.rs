//! Third stage, for what comes to the pool port: pooled packets are taken apart, hellos go to the control thread.

use arrayvec::ArrayVec;

use crate::dpdk::{HEADROOM, Mbuf, Nic};
use crate::packet::ecn::{CE, mark_congestion};
use crate::pool::Format;
use crate::pool::packet_depooler::depool_others;
use crate::pool::pooled_packet_detector::{Detection, PooledDrop};
use crate::pool::wire::WireError;

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
        match packet.header.detect(packet.mbuf.bytes(), moment.state.pool_port, peer_of) {
            Ok(Detection::Pooled { peer, src_port, packet: pooled }) => {
                if usize::from(packet.origin.depth) >= MAX_DEPTH {
                    return self.out.drop(packet.mbuf, Drop::PoolNesting);
                }
                self.peers.received(peer, moment.state, src_port, pooled.header().sequence, pooled.header().count);
                let readdressed = self.readdress_rows(&pooled, packet.mbuf.bytes(), packet.origin.depth, peer, moment);
                let origin = packet.origin.deeper(Some(peer));
                let congested = packet.header.ecn() == CE;
                let (reentry, out) = (&mut self.reentry, &mut self.out);
                let depooled = depool_others(&pooled, &readdressed, &mut self.mempool, HEADROOM, |inner| {
                    re_enter(inner, origin, congested, reentry, out);
                });
                let counters = &mut self.out.counters;
                let rows = u64::from(depooled.extracted) + u64::from(depooled.no_buffer);
                counters.add(Counter::CreatedExtracted, rows);
                counters.dropped(Drop::NoBuffer, u64::from(depooled.no_buffer));
                counters.add(Counter::AbsorbedDepooled, 1);
                counters.add(Counter::PoolReceived, 1);
                counters.add(Counter::PoolRowsReceived, rows);
                self.mempool.free(packet.mbuf);
            }
            Ok(Detection::Hello { .. }) => self.hello(packet),
            Ok(Detection::NotPooled) => self.out.drop(packet.mbuf, Drop::LocalUnhandled),
            Err(reason) => self.out.drop(packet.mbuf, name(reason)),
        }
    }

    #[cold]
    fn hello<H: Header>(&mut self, packet: Packet<H>) {
        let mut payload = ArrayVec::new();
        let udp = packet.header.upper_layer(packet.mbuf.bytes());
        payload.extend(udp.iter().copied().skip(crate::packet::udp::HEADER_LEN).take(HELLO_BYTES));
        let length = u16::try_from(packet.mbuf.bytes().len()).unwrap_or(u16::MAX);
        let hello = Event::Hello { from: packet.header.src(), ttl: packet.header.hop_limit(), length, payload };
        if self.out.tell(hello) {
            self.out.counters.add(Counter::AbsorbedControl, 1);
            self.mempool.free(packet.mbuf);
        } else {
            self.out.drop(packet.mbuf, Drop::ControlRingFull);
        }
    }
}

/// Sends what was taken out of a pooled packet back to the input. `congested`: that packet had met congestion.
#[inline]
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
fn name(reason: PooledDrop) -> Drop {
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
