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
