//! Third stage, for what comes to the ports of Simplemux: its datagrams are taken apart like pooled packets of our own
//! format.

use std::net::Ipv4Addr;

use crate::dpdk::{HEADROOM, Nic};
use crate::packet::BufferSource;
use crate::pool::Format;
use crate::pool::packet_depooler::Exit;
use crate::pool::simplemux::{Entry, Flavour, SimplemuxDrop, SimplemuxError, detect};

use super::counters::Counter;
use super::depool_input::ReentryExit;
use super::drop::Drop;
use super::moment::Moment;
use super::origin::Packet;
use super::reentry::MAX_DEPTH;
use super::stages::Stages;

impl<N: Nic> Stages<N> {
    /// Takes a packet to the port of `flavour` of one of our addresses; it is no later fragment.
    #[inline(never)]
    pub(super) fn simplemux_input(&mut self, packet: Packet, flavour: Flavour, moment: &Moment<'_>) {
        let peers = &moment.state.peers;
        let peer_of = |address: Ipv4Addr| {
            let index = peers.find(address.into())?;
            let peer = peers.get(index).filter(|peer| peer.path.format == Format::Simplemux(flavour))?;
            Some((index, peer.zero_checksum))
        };
        let payload = packet.header.payload(packet.mbuf.bytes()).unwrap_or_default();
        let received = match detect(&packet.header, payload, flavour, peer_of) {
            Ok(received) => received,
            Err(reason) => return self.out.drop(packet.mbuf, name(reason)),
        };
        if usize::from(packet.origin.depth()) >= MAX_DEPTH {
            return self.out.drop(packet.mbuf, Drop::PoolNesting);
        }
        let datagram = received.datagram;
        self.peers.received_unnumbered(received.peer, moment.state, datagram.count());
        let (inside, outer_ecn) = (packet.origin.deeper(Some(received.peer)), packet.header.ecn());
        let mut exit = ReentryExit::new(inside, outer_ecn, self.hops.pool_port(), &mut self.reentry, &mut self.out);
        let (mut no_buffer, mut unsupported) = (0, 0);
        for entry in datagram.entries() {
            match entry {
                Entry::Ipv4(bytes) => match self.mempool.alloc_copy(bytes, HEADROOM) {
                    Some(inner) => exit.take(inner, bytes),
                    None => no_buffer += 1,
                },
                Entry::Other(..) => unsupported += 1,
            }
        }
        let counters = &mut self.out.counters;
        // Every entry is created; those that come out no further than here are dropped.
        counters.add(Counter::CreatedExtracted, u64::from(datagram.count()));
        counters.dropped(Drop::NoBuffer, no_buffer);
        counters.dropped(Drop::SimplemuxUnsupportedProtocol, unsupported);
        counters.add(Counter::AbsorbedDepooled, 1);
        counters.add(Counter::PoolReceived, 1);
        counters.add(Counter::PoolRowsReceived, u64::from(datagram.count()));
        self.mempool.free(packet.mbuf);
    }
}

/// The reason a packet to a Simplemux port is dropped for, among all reasons.
fn name(reason: SimplemuxDrop) -> Drop {
    match reason {
        SimplemuxDrop::UnknownPeer => Drop::SimplemuxUnknownPeer,
        SimplemuxDrop::OuterOptions => Drop::SimplemuxOuterOptions,
        SimplemuxDrop::Fragment => Drop::SimplemuxFragment,
        SimplemuxDrop::UdpLength => Drop::SimplemuxUdpLength,
        SimplemuxDrop::SourcePort => Drop::SimplemuxSourcePort,
        SimplemuxDrop::UdpChecksum => Drop::SimplemuxUdpChecksum,
        SimplemuxDrop::Format(error) => match error {
            SimplemuxError::NoEntries => Drop::SimplemuxNoEntries,
            SimplemuxError::TooLong => Drop::SimplemuxTooLong,
            SimplemuxError::TooManyEntries => Drop::SimplemuxTooManyEntries,
            SimplemuxError::TruncatedSeparator => Drop::SimplemuxTruncatedSeparator,
            SimplemuxError::ThreeByteLength => Drop::SimplemuxThreeByteLength,
            SimplemuxError::OverlongLength => Drop::SimplemuxOverlongLength,
            SimplemuxError::EntryTooShort => Drop::SimplemuxEntryTooShort,
            SimplemuxError::EntryBeyondEnd => Drop::SimplemuxEntryBeyondEnd,
            SimplemuxError::InnerVersion => Drop::SimplemuxInnerVersion,
            SimplemuxError::InnerLength => Drop::SimplemuxInnerLength,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_the_detector_has_a_counter_of_the_same_name() {
        let errors = SimplemuxError::ALL.map(SimplemuxDrop::Format);
        for reason in SimplemuxDrop::OUTER.into_iter().chain(errors) {
            assert_eq!(name(reason).name(), format!("simplemux_{}", reason.name()));
        }
    }
}
