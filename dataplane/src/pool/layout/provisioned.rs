//! Kind 0 with entries of provisioned streams among its rows: id and payload where the packet is one of a stream that
//! both ends were told of and goes as far as the addressee, which alone can rebuild it; the whole packet else.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::super::wire::RowType;
use super::native::NativeRows;
use super::{Codecs, Room};
use crate::packet::Buffer;

/// A pool of kind 0, and what its packets come to as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) struct ProvisionedRows {
    /// Where everything is.
    pub(super) rows: NativeRows,
    /// Bytes of IP length.
    bytes_in: u16,
    /// Rows that are entries of streams.
    entries: u8,
}

impl ProvisionedRows {
    /// A pool as [`NativeRows::open`] has it: its first packet may have to travel whole.
    pub(super) fn open(length: usize, rows: NativeRows) -> Option<ProvisionedRows> {
        Some(ProvisionedRows { rows, bytes_in: u16::try_from(length).ok()?, entries: 0 })
    }

    #[inline(always)]
    pub(super) fn emptied(&self) -> ProvisionedRows {
        ProvisionedRows { rows: self.rows.emptied(), bytes_in: 0, entries: 0 }
    }

    #[inline(always)]
    pub(super) fn bytes_in(&self) -> u16 {
        self.bytes_in
    }

    #[inline(always)]
    pub(super) fn entries(&self) -> u8 {
        self.entries
    }

    /// How much shorter a packet becomes shows when it is appended: here it is enough that its payload would fit.
    #[inline(always)]
    pub(super) fn fits(&self, length: usize) -> bool {
        self.rows.fits(length.saturating_sub(MOST_SAVED))
    }

    #[inline(always)]
    pub(super) fn room(&self) -> Room {
        self.rows.room()
    }

    #[inline]
    pub(super) fn append<B: Buffer>(
        &mut self,
        buffer: &mut B,
        packet: &[u8],
        ttl: u8,
        codecs: &mut Codecs<'_>,
    ) -> Option<()> {
        let bytes_in = self.bytes_in.checked_add(u16::try_from(packet.len()).ok()?)?;
        let encoded = if ttl == codecs.distance { codecs.streams.encode(codecs.peer, packet) } else { None };
        match encoded {
            Some(encoded) => {
                let length = encoded.len(packet.len());
                if !self.rows.fits(length) {
                    return None;
                }
                let write = |out: &mut [u8]| encoded.write(packet, out);
                self.rows.append_entry(buffer, RowType::Provisioned, length, ttl, write)?;
                // No more than rows, which are counted in a byte too.
                self.entries = self.entries.saturating_add(1);
            }
            None if self.rows.fits(packet.len()) => self.rows.append(buffer, packet, ttl)?,
            None => return None,
        }
        self.bytes_in = bytes_in;
        Some(())
    }
}

/// The headers of IPv6 and UDP, less the id and flags of an entry, in bytes.
const MOST_SAVED: usize = 45;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Tick, TickRate, TickSpan};
    use crate::fib::PeerIndex;
    use crate::packet::BufferSource;
    use crate::packet::heap_buffer::HeapSource;
    use crate::pool::learned::test_packets::Header;
    use crate::pool::learned::{Compressor, CompressorLimits, IdSpace};
    use crate::pool::provisioned::{Stream, StreamId, StreamSet};
    use crate::pool::representation::Lone;
    use crate::pool::{Dscp, FlowSeed};

    #[test]
    fn what_gets_out_on_the_way_travels_whole() {
        let (source, destination) = Header::USUAL.ends();
        let dscp = Dscp::of_tos(Header::USUAL.tos);
        let (id, peer) = (StreamId(7), PeerIndex(1));
        let stream = Stream { id, peer, source, destination, dscp, ttl: Header::USUAL.ttl + 1 };
        let streams = StreamSet::new(&[stream]).expect("a sound set");
        let mut compressor = Compressor::new(CompressorLimits::small(TickRate::NANOSECONDS, FlowSeed(1)));
        let codecs = &mut Codecs {
            compressor: &mut compressor,
            streams: &streams,
            peer,
            space: IdSpace { addressee: destination.ip(), source_port: 1 },
            distance: 3,
            now: Tick(0) + TickSpan(1),
        };
        let packet = Header::USUAL.packet(0, &[9; 32]);
        let rows = NativeRows::open(packet.len(), 28, 1500, 255, Lone::Itself, 2000).expect("room");
        let mut pool = ProvisionedRows::open(packet.len(), rows).expect("a packet").emptied();
        let mut buffer = HeapSource { room: 2000, available: 1 }.alloc(0).expect("a buffer");
        buffer.append(pool.rows.reserved()).expect("room");
        for (ttl, length) in [(3, 3 + 32), (2, packet.len()), (4, packet.len())] {
            let before = buffer.bytes().len();
            pool.append(&mut buffer, &packet, ttl, codecs).expect("room");
            assert_eq!(buffer.bytes().len() - before, length, "a row of TTL {ttl}, the addressee is 3 nodes away");
        }
    }
}
