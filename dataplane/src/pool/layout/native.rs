//! Kind 0: whole packets behind each other, and an index of rows in front of them.
//!
//! The reserved bytes have room for as many rows as the pool can come to hold. Rows are written from the start of that
//! room as packets join; when the pool is flushed, they move up to the data, the headers go in front of them, and what
//! is left of the room is cut off. The UDP checksum is computed then, over all of it at once.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::super::representation::Lone;
use super::super::wire::{self, Kind, OVERLAY, PoolHeader, ROW_LEN, Row, RowType};
use super::outer_header::{self, OuterHeader};
use super::{Room, SHORTEST};
use crate::packet::copy::copy;
use crate::packet::{Buffer, Sum, Total, ipv4, ipv6};

/// A pool of kind 0: how much it can come to hold, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) struct NativeRows {
    /// Outer IP header, UDP header, pool header, in bytes.
    front: u16,
    /// Longest pooled packet, in bytes of IP length.
    limit: u16,
    /// Longest packet that a pool can begin with, in bytes.
    longest_first: u16,
    /// Most rows, 2 to 255.
    max_rows: u8,
    rows: u8,
    data_length: u16,
    /// Flags of kind 0.
    template: u8,
}

impl NativeRows {
    /// Of a place where no pool is open: no room.
    pub(super) const NONE: NativeRows =
        NativeRows { front: 0, limit: 0, longest_first: 0, max_rows: 0, rows: 0, data_length: 0, template: 0 };

    /// A pool whose packets may have `mtu` bytes, of which `outer_length` are IP and UDP headers, and `max_count` rows, in
    /// buffers that hold `room` bytes, with one packet of `length` bytes. None where that leaves no room for another one,
    /// unless it may be alone in a pooled packet, and for itself.
    pub(super) fn open(
        length: usize,
        outer_length: u16,
        mtu: u16,
        max_count: u8,
        lone: Lone,
        room: u16,
    ) -> Option<NativeRows> {
        let longest = usize::from(mtu.min(room));
        let front = outer_length + wire::HEADER_LEN as u16;
        let most_rows = longest.checked_sub(usize::from(front))? / (ROW_LEN + SHORTEST);
        let rows = most_rows.min(usize::from(max_count));
        if rows < 2 {
            return None;
        }
        // While a pool is open its rows' room is taken in full, so a buffer holds that much less data.
        let reserved = (rows - 2) * ROW_LEN;
        let limit = longest.min(usize::from(room) - reserved);
        let taken = usize::from(front);
        let longest_first = match lone {
            Lone::Itself => limit.checked_sub(taken + 2 * ROW_LEN + SHORTEST)?,
            Lone::Pooled => {
                limit.checked_sub(taken + ROW_LEN)?.min(usize::from(room).checked_sub(taken + ROW_LEN * rows)?)
            }
        };
        let data_length = u16::try_from(length).ok()?;
        let (limit, longest_first, max_rows) = (limit as u16, longest_first as u16, rows as u8);
        let pool = NativeRows { front, limit, longest_first, max_rows, rows: 1, data_length, template: 0 };
        pool.can_open(length).then_some(pool)
    }

    /// The same pool, its rows' TTLs counting overlay nodes.
    pub(super) fn between_overlay_nodes(self) -> NativeRows {
        NativeRows { template: OVERLAY, ..self }
    }

    /// The same pool with one packet of `length` bytes, which it [can open](NativeRows::can_open) with.
    #[inline(always)]
    pub(in crate::pool) fn open_again(&mut self, length: usize) {
        (self.rows, self.data_length) = (1, length as u16);
    }

    #[inline(always)]
    fn front(&self) -> usize {
        usize::from(self.front)
    }

    #[inline(always)]
    pub(in crate::pool) fn reserved(&self) -> usize {
        self.front() + ROW_LEN * usize::from(self.max_rows)
    }

    #[inline(always)]
    pub(in crate::pool) fn emptied(&self) -> NativeRows {
        NativeRows { rows: 0, data_length: 0, ..*self }
    }

    #[inline(always)]
    pub(in crate::pool) fn rows(&self) -> u8 {
        self.rows
    }

    #[inline(always)]
    pub(in crate::pool) fn bytes_in(&self) -> u16 {
        self.data_length
    }

    #[inline(always)]
    pub(super) fn length(&self) -> usize {
        self.front() + ROW_LEN * usize::from(self.rows) + usize::from(self.data_length)
    }

    #[inline]
    pub(in crate::pool) fn can_open(&self, length: usize) -> bool {
        (SHORTEST..=usize::from(self.longest_first)).contains(&length)
    }

    #[inline(always)]
    pub(in crate::pool) fn fits(&self, length: usize) -> bool {
        self.length() + ROW_LEN + length <= usize::from(self.limit)
    }

    #[inline(always)]
    pub(in crate::pool) fn room(&self) -> Room {
        if !self.fits(SHORTEST) {
            Room::NoBytes
        } else if self.rows >= self.max_rows {
            Room::NoRows
        } else {
            Room::Left
        }
    }

    #[inline]
    pub(in crate::pool) fn append<B: Buffer>(&mut self, buffer: &mut B, packet: &[u8], ttl: u8) -> Option<()> {
        let write = |out: &mut [u8]| copy(packet, out).then_some(());
        self.append_entry(buffer, row_type(packet), packet.len(), ttl, write)
    }

    /// Puts a packet that fits, and whose TTL, which is above 0, is still to be decremented, behind those in `buffer`. None, and the
    /// pool is as before, where the buffer has no room for it.
    #[inline(always)]
    pub(in crate::pool) fn seat<B: Buffer>(
        &mut self,
        buffer: &mut B,
        packet: &[u8],
        ttl: u8,
        is_ipv6: bool,
    ) -> Option<()> {
        if is_ipv6 {
            return self.append_entry(buffer, RowType::WholeIpv6, packet.len(), ttl, |out| copy_plain6(packet, out));
        }
        self.append_entry(buffer, RowType::WholeIpv4, packet.len(), ttl, |out| copy_plain(packet, out))
    }

    /// Where the next row goes, in bytes from the start of the buffer.
    #[inline(always)]
    pub(in crate::pool) fn next_row(&self) -> usize {
        self.front() + ROW_LEN * usize::from(self.rows)
    }

    /// Bytes that are left for rows and packets.
    #[inline(always)]
    pub(in crate::pool) fn left(&self) -> usize {
        usize::from(self.limit).saturating_sub(self.length())
    }

    /// How many more rows it can come to have.
    #[inline(always)]
    pub(in crate::pool) fn rows_left(&self) -> u8 {
        self.max_rows.saturating_sub(self.rows)
    }

    /// The same pool when `rows` more, of `bytes` bytes in all, have joined.
    #[inline(always)]
    pub(in crate::pool) fn joined_by(&self, rows: u8, bytes: u16) -> NativeRows {
        let (rows, data_length) = (self.rows.saturating_add(rows), self.data_length.saturating_add(bytes));
        NativeRows { rows, data_length, ..*self }
    }

    /// The same pool when no more will join.
    #[inline(always)]
    pub(in crate::pool) fn closed(&self) -> NativeRows {
        NativeRows { max_rows: self.rows, ..*self }
    }

    /// Has `buffer`, in which those packets are that it has, grow by all that can join. Returns where the next one goes. None,
    /// and nothing changes, where the buffer is too small.
    #[inline(always)]
    pub(in crate::pool) fn claim<B: Buffer>(&self, buffer: &mut B) -> Option<usize> {
        let (data_at, reserved) = match buffer.len() {
            0 => (self.reserved(), self.reserved()),
            length => (length, 0),
        };
        // The rows' room is taken already, and there will be two at least: where the buffer is what limits the pool, it has
        // no room for theirs once more.
        let for_rows = ROW_LEN * 2usize.saturating_sub(usize::from(self.rows));
        buffer.append((reserved + self.left()).checked_sub(for_rows)?)?;
        Some(data_at)
    }

    /// Writes several packets to a buffer that was [claimed](NativeRows::claim) for it, from `data_at` on.
    /// [`RowWriter::finish`] is to be called when they are written.
    #[inline(always)]
    pub(in crate::pool) fn writer<'a, B: Buffer>(&self, buffer: &'a mut B, data_at: usize) -> Option<RowWriter<'a>> {
        let (front, data) = buffer.bytes_mut().split_at_mut_checked(data_at)?;
        Some(RowWriter { rows: front.get_mut(self.next_row()..)?, data, start: self.data_length, data_at })
    }

    /// Writes a row of `length` bytes, which `write` does, behind those in `buffer`.
    #[inline(always)]
    pub(super) fn append_entry<B: Buffer>(
        &mut self,
        buffer: &mut B,
        row_type: RowType,
        length: usize,
        ttl: u8,
        write: impl FnOnce(&mut [u8]) -> Option<()>,
    ) -> Option<()> {
        let row_length = u16::try_from(length).ok()?;
        let data_length = self.data_length.checked_add(row_length)?;
        let rows = self.rows.checked_add(1)?;
        let row_at = self.front() + ROW_LEN * usize::from(self.rows);
        let row = buffer.bytes_mut().get_mut(row_at..)?.first_chunk_mut::<ROW_LEN>()?;
        let entry = Row { start: self.data_length, length: row_length, ttl, row_type };
        entry.write(row);
        let end = buffer.len();
        if write(buffer.append(length)?).is_none() {
            buffer.truncate(end);
            return None;
        }
        self.data_length = data_length;
        self.rows = rows;
        Some(())
    }

    #[inline(always)]
    pub(in crate::pool) fn complete<B: Buffer>(
        &self,
        buffer: &mut B,
        outer: &OuterHeader,
        sequence: u32,
    ) -> Option<()> {
        let (front, reserved, index_length) = (self.front(), self.reserved(), ROW_LEN * usize::from(self.rows));
        let unused = ROW_LEN * usize::from(self.max_rows.checked_sub(self.rows)?);
        let bytes = buffer.bytes_mut().get_mut(..reserved + usize::from(self.data_length))?;
        let template = self.template;
        let header =
            PoolHeader { kind: Kind::Pooled, count: self.rows, outer_ttl: outer.ttl, template, sequence }.word();
        // Each part where it was written, some time ago: nothing waits for what is written now.
        let (rows, data) = (bytes.get(front..front + index_length)?, bytes.get(reserved..)?);
        let sum = outer.with_checksum.then(|| {
            let mut total = Total::default();
            total.add(header);
            total.add_bytes(rows);
            total.add_sum(Sum::of_long(data));
            total.sum()
        });
        if unused > 0 {
            bytes.copy_within(front..front + index_length, front + unused);
        }
        let (ip_udp, behind) = bytes.get_mut(unused..)?.split_at_mut_checked(front.checked_sub(wire::HEADER_LEN)?)?;
        *behind.first_chunk_mut()? = header.to_le_bytes();
        outer.write(u16::try_from(behind.len()).ok()?, || sum.unwrap_or_default(), ip_udp)?;
        buffer.trim_front(unused).then_some(())
    }
}

/// Writes packets to a pool: what it changes with each of them is at hand.
pub(in crate::pool) struct RowWriter<'a> {
    /// From the next row on.
    rows: &'a mut [u8],
    /// From the next packet on.
    data: &'a mut [u8],
    /// Bytes of packets.
    start: u16,
    /// Where the next packet goes, in bytes from the start of the buffer.
    data_at: usize,
}

impl<'a> RowWriter<'a> {
    /// Writes an IPv4 packet, its TTL, which is above 0, decremented where it is `plain`. None, and it is not there, where it does not fit.
    #[inline(always)]
    pub(in crate::pool) fn write(&mut self, packet: &[u8], ttl: u8, plain: bool) -> Option<()> {
        let copied = self.add(packet, ttl, RowType::WholeIpv4)?;
        if plain {
            copy_plain(packet, copied)?;
        } else {
            copy(packet, copied);
        }
        Some(())
    }

    /// The same with an IPv6 packet and its hop limit.
    #[inline(always)]
    pub(in crate::pool) fn write6(&mut self, packet: &[u8], ttl: u8, plain: bool) -> Option<()> {
        let copied = self.add(packet, ttl, RowType::WholeIpv6)?;
        if plain {
            copy_plain6(packet, copied)?;
        } else {
            copy(packet, copied);
        }
        Some(())
    }

    /// Writes the row of a packet. Returns where the packet goes.
    #[inline(always)]
    fn add(&mut self, packet: &[u8], ttl: u8, row_type: RowType) -> Option<&'a mut [u8]> {
        let (row, rows) = std::mem::take(&mut self.rows).split_first_chunk_mut::<ROW_LEN>()?;
        let (copied, data) = std::mem::take(&mut self.data).split_at_mut_checked(packet.len())?;
        (self.rows, self.data) = (rows, data);
        let length = packet.len() as u16;
        Row { start: self.start, length, ttl, row_type }.write(row);
        (self.start, self.data_at) = (self.start.wrapping_add(length), self.data_at + packet.len());
        Some(copied)
    }

    /// Ends writing. Returns where the last packet ends in the buffer.
    #[inline(always)]
    pub(in crate::pool) fn finish(self) -> usize {
        self.data_at
    }
}

/// Copies an IPv4 packet with its TTL decremented.
#[inline(always)]
fn copy_plain(packet: &[u8], out: &mut [u8]) -> Option<()> {
    copy(packet, out);
    let (from, to) = (second_word(packet)?, out.get_mut(8..)?.first_chunk_mut()?);
    *to = ipv4::decrement_ttl_in(u64::from_le_bytes(from)).to_le_bytes();
    Some(())
}

/// Copies an IPv6 packet with its hop limit, which is above 0, decremented.
#[inline(always)]
fn copy_plain6(packet: &[u8], out: &mut [u8]) -> Option<()> {
    copy(packet, out);
    *out.get_mut(ipv6::HOP_LIMIT_AT)? = packet.get(ipv6::HOP_LIMIT_AT)?.saturating_sub(1);
    Some(())
}

/// The second eight bytes of a header.
#[inline(always)]
fn second_word(packet: &[u8]) -> Option<[u8; 8]> {
    packet.get(8..)?.first_chunk().copied()
}

/// The type of a whole packet, which was checked when it came.
#[inline(always)]
pub(super) fn row_type(packet: &[u8]) -> RowType {
    if matches!(packet.first(), Some(0x60..=0x6f)) { RowType::WholeIpv6 } else { RowType::WholeIpv4 }
}

/// Makes a packet between overlay nodes a pooled packet with a single row, in the buffer that it is in: row and headers go
/// in front of it. None, and the buffer's bytes mean nothing, where there is no room for them.
pub(in crate::pool) fn wrap<B: Buffer>(packet: &mut B, outer: &OuterHeader, ttl: u8, sequence: u32) -> Option<()> {
    let length = u16::try_from(packet.len()).ok()?;
    let row_type = row_type(packet.bytes());
    let packet_sum = if outer.with_checksum { Sum::of(packet.bytes()) } else { Sum::ZERO };
    let outer_length = usize::from(outer_header::length(outer.source, outer.destination)?);
    let front = packet.prepend(outer_length + wire::HEADER_LEN + ROW_LEN)?;
    let (ip_udp, behind) = front.split_at_mut_checked(outer_length)?;
    let (pool, row) = behind.split_first_chunk_mut::<{ wire::HEADER_LEN }>()?;
    let row = row.first_chunk_mut::<ROW_LEN>()?;
    Row { start: 0, length, ttl, row_type }.write(row);
    PoolHeader { kind: Kind::Pooled, count: 1, outer_ttl: outer.ttl, template: OVERLAY, sequence }.write(pool);
    // Header and row are of even length: the packet keeps its place in the words.
    let sum = || Sum::of(pool).add(Sum::of(row)).add(packet_sum);
    outer.write(length.checked_add((wire::HEADER_LEN + ROW_LEN) as u16)?, sum, ip_udp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(mtu: u16, max_count: u8, room: u16) -> Option<(u16, u8)> {
        NativeRows::open(SHORTEST, 28, mtu, max_count, Lone::Itself, room).map(|pool| (pool.limit, pool.max_rows))
    }

    #[test]
    fn a_pool_holds_what_mtu_count_and_buffer_allow() {
        assert_eq!(size(1500, 255, 2144), Some((1500, 56)));
        assert_eq!(size(1500, 5, 2144), Some((1500, 5)));
        assert_eq!(size(9000, 255, 2144), Some((2144 - 79 * 6, 81)));
        assert_eq!(size(88, 255, 2144), Some((88, 2)));
        assert_eq!(size(87, 255, 2144), None);
        assert_eq!(size(0, 255, 2144), None);
        assert_eq!(size(1500, 1, 2144), None);
        assert_eq!(size(1500, 2, 0), None);
    }

    /// Catches: second packets that never take the short way, where buffers are what limits a pooled packet.
    #[test]
    fn two_packets_can_be_written_whatever_limits_a_pool() {
        use crate::packet::BufferSource;
        use crate::packet::heap_buffer::HeapSource;
        for mtu in [1500, 1700, 1800, 2144, 9000] {
            let pool = NativeRows::open(60, 28, mtu, 255, Lone::Itself, 2144).expect("it opens");
            let mut buffer = HeapSource { room: 2144, available: 1 }.alloc(0).expect("one");
            let pool = pool.emptied();
            let data_at = pool.claim(&mut buffer).unwrap_or_else(|| panic!("no room at {mtu}"));
            let mut writer = pool.writer(&mut buffer, data_at).expect("there is room");
            assert!(writer.write(&[0; 60], 1, false).and_then(|_| writer.write(&[0; 60], 1, false)).is_some());
        }
    }

    #[test]
    fn a_packet_that_leaves_room_for_none_cannot_share() {
        let opens = |length| NativeRows::open(length, 28, 1500, 255, Lone::Itself, 2144).is_some();
        assert!(opens(1500 - 36 - 12 - 20));
        assert!(!opens(1500 - 36 - 12 - 20 + 1));
        assert!(!opens(19));
        let over_ipv6 = |length| NativeRows::open(length, 48, 1500, 255, Lone::Itself, 2144).is_some();
        assert!(over_ipv6(1500 - 56 - 12 - 20) && !over_ipv6(1500 - 56 - 12 - 20 + 1));
    }

    #[test]
    fn a_packet_that_may_be_alone_in_a_pooled_packet_needs_room_for_itself() {
        let opens = |length, room| NativeRows::open(length, 28, 1500, 255, Lone::Pooled, room).is_some();
        assert!(opens(1500 - 36 - 6, 2144));
        assert!(!opens(1500 - 36 - 6 + 1, 2144));
        assert!(!opens(1500 - 36 - 6, 1500), "the room of the rows that do not come is taken all the same");
    }
}
