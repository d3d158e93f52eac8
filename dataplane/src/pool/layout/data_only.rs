//! Kind 1: whole packets behind each other; their index goes apart from them (kind 2, [`super::super::index_writer`]).
//!
//! While the pool fills, rows are written to the reserved bytes as in [`super::native`]. They are taken from there before the
//! pooled packet is completed, which cuts all of that room off.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::super::wire::{self, BLOCK_HEADER_LEN, Kind, PoolHeader, ROW_LEN, Row};
use super::native::row_type;
use super::outer_header::OuterHeader;
use super::{Room, SHORTEST};
use crate::packet::copy::copy;
use crate::packet::{Buffer, Sum};

/// A pool of kind 1: how much it can come to hold, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) struct DataOnlyRows {
    /// Outer IP header, UDP header, pool header, in bytes.
    front: u16,
    /// Longest pooled packet, in bytes of IP length.
    limit: u16,
    /// Longest packet that gets there, in bytes: also for the index.
    path_mtu: u16,
    /// Most rows, 2 to 255.
    max_rows: u8,
    rows: u8,
    data_length: u16,
}

impl DataOnlyRows {
    /// A pool whose packets may have `mtu` bytes, of which `outer_length` are IP and UDP headers, and hold `max_count`
    /// packets, in buffers that hold `room` bytes, with one packet of `length` bytes. None where that finds no room; it need not leave any, because it travels in a pooled packet
    /// even if it stays alone.
    pub(super) fn open(length: usize, outer_length: u16, mtu: u16, max_count: u8, room: u16) -> Option<DataOnlyRows> {
        let longest = usize::from(mtu.min(room));
        let front = outer_length + wire::HEADER_LEN as u16;
        let in_packet = longest.checked_sub(usize::from(front))? / SHORTEST;
        let in_index = longest.checked_sub(usize::from(front) + BLOCK_HEADER_LEN)? / ROW_LEN;
        let rows = in_packet.min(in_index).min(usize::from(max_count));
        if rows < 2 {
            return None;
        }
        // While a pool is open its rows' room is taken in full, so a buffer holds that much less data.
        let limit = longest.min(usize::from(room).checked_sub(rows * ROW_LEN)?);
        let data_length = u16::try_from(length).ok()?;
        let (limit, path_mtu, max_rows) = (limit as u16, longest as u16, rows as u8);
        let pool = DataOnlyRows { front, limit, path_mtu, max_rows, rows: 1, data_length };
        pool.can_open(length).then_some(pool)
    }

    #[inline(always)]
    fn front(&self) -> usize {
        usize::from(self.front)
    }

    #[inline(always)]
    pub(super) fn reserved(&self) -> usize {
        self.front() + ROW_LEN * usize::from(self.max_rows)
    }

    #[inline(always)]
    pub(super) fn emptied(&self) -> DataOnlyRows {
        DataOnlyRows { rows: 0, data_length: 0, ..*self }
    }

    #[inline(always)]
    pub(super) fn rows(&self) -> u8 {
        self.rows
    }

    #[inline(always)]
    pub(super) fn bytes_in(&self) -> u16 {
        self.data_length
    }

    #[inline(always)]
    pub(super) fn length(&self) -> usize {
        self.front() + usize::from(self.data_length)
    }

    #[inline]
    pub(super) fn can_open(&self, length: usize) -> bool {
        length >= SHORTEST && self.front() + length <= usize::from(self.limit)
    }

    #[inline(always)]
    pub(super) fn fits(&self, length: usize) -> bool {
        self.length() + length <= usize::from(self.limit)
    }

    #[inline(always)]
    pub(super) fn room(&self) -> Room {
        if !self.fits(SHORTEST) {
            Room::NoBytes
        } else if self.rows >= self.max_rows {
            Room::NoRows
        } else {
            Room::Left
        }
    }

    #[inline]
    pub(super) fn append<B: Buffer>(&mut self, buffer: &mut B, packet: &[u8], ttl: u8) -> Option<()> {
        let length = u16::try_from(packet.len()).ok()?;
        let data_length = self.data_length.checked_add(length)?;
        let rows = self.rows.checked_add(1)?;
        let row_at = self.front() + ROW_LEN * usize::from(self.rows);
        let row = buffer.bytes_mut().get_mut(row_at..)?.first_chunk_mut::<ROW_LEN>()?;
        Row { start: self.data_length, length, ttl, row_type: row_type(packet) }.write(row);
        copy(packet, buffer.append(packet.len())?).then_some(())?;
        self.data_length = data_length;
        self.rows = rows;
        Some(())
    }

    pub(super) fn rows_apart<'a, B: Buffer>(&self, buffer: &'a B) -> Option<&'a [u8]> {
        buffer.bytes().get(self.front()..self.front() + ROW_LEN * usize::from(self.rows))
    }

    #[inline(always)]
    pub(super) fn path_mtu(&self) -> u16 {
        self.path_mtu
    }

    pub(super) fn complete<B: Buffer>(&self, buffer: &mut B, outer: &OuterHeader, sequence: u32) -> Option<()> {
        let unused = ROW_LEN * usize::from(self.max_rows);
        let length = self.data_length.checked_add(wire::HEADER_LEN as u16)?;
        let outer_length = self.front().checked_sub(wire::HEADER_LEN)?;
        let bytes = buffer.bytes_mut().get_mut(unused..unused + outer_length + usize::from(length))?;
        let (ip_udp, behind) = bytes.split_at_mut_checked(outer_length)?;
        let pool = behind.first_chunk_mut::<{ wire::HEADER_LEN }>()?;
        PoolHeader { kind: Kind::DataOnly, count: self.rows, outer_ttl: outer.ttl, template: 0, sequence }.write(pool);
        outer.write(length, || Sum::of_long(behind), ip_udp)?;
        buffer.trim_front(unused).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(mtu: u16, max_count: u8, room: u16) -> Option<(u16, u8)> {
        DataOnlyRows::open(SHORTEST, 28, mtu, max_count, room).map(|pool| (pool.limit, pool.max_rows))
    }

    #[test]
    fn a_pool_holds_what_mtu_count_buffer_and_its_index_allow() {
        assert_eq!(size(1500, 255, 2144), Some((1500, 73)));
        assert_eq!(size(1500, 5, 2144), Some((1500, 5)));
        assert_eq!(size(1500, 255, 1500), Some((1500 - 73 * 6, 73)));
        assert_eq!(size(9000, 255, 9500), Some((9500 - 255 * 6, 255)));
        assert_eq!(size(76, 255, 2144), Some((76, 2)));
        assert_eq!(size(75, 255, 2144), None);
    }

    #[test]
    fn a_packet_needs_room_for_itself_only() {
        let opens = |length| DataOnlyRows::open(length, 28, 1500, 255, 2144).is_some();
        assert!(opens(1500 - 36));
        assert!(!opens(1500 - 36 + 1));
        assert!(!opens(19));
    }
}
