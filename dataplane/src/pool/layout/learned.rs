//! Kind 5: entries without the headers that their streams repeat, behind short rows. All go to the addressee.
//!
//! The reserved bytes have room for as many rows as the pool can come to hold, two bytes each; most rows take less. They
//! are written from the start of that room and move up to the data when the pool is flushed. Headers, rows and entries
//! may be of odd lengths: their sums are kept apart until then.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::super::learned::{Encoded, Undo, instance_towards};
use super::super::representation::Lone;
use super::super::wire::short_rows::{MAX_ENTRY, SHORT_HEADER_LEN, ShortRows, write_short_header};
use super::outer_header::OuterHeader;
use super::{Codecs, Room, SHORTEST};
use crate::packet::{Buffer, Sum};

/// What a row takes at the most, in bytes.
const ROW: usize = 2;
/// What is in front of a packet that announces its header, in bytes.
const ANNOUNCEMENT: usize = 5;
/// The shortest entries there may be many of, each with its row, in bytes. A pool of shorter ones is full earlier.
const SHORT_ENTRY: usize = 8;
/// The most that an entry is shorter than its packet, in bytes: IPv6, UDP and RTP become id and sequence number.
const MOST_SAVED: usize = 56;

/// A pool of kind 5: how much it can come to hold, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) struct LearnedEntries {
    /// Outer IP header, UDP header, pool header and instance, in bytes.
    front: u16,
    /// Longest pooled packet, in bytes of IP length.
    limit: u16,
    /// Longest packet that a pool can begin with, in bytes: it may have to announce its header.
    longest_first: u16,
    /// Most rows, 2 to 255.
    max_rows: u8,
    /// The packets in it: the first counts before it is written.
    packets: u8,
    rows: ShortRows,
    /// Bytes of IP length that the pooled packet would have now, at most `limit` unless it is one packet that is not written yet.
    length: u16,
    /// The shortest entry so far: one more like it is what the pool waits for.
    shortest: u16,
    /// Bytes of IP length of the packets in it.
    bytes_in: u16,
    /// What it takes to undo what the compressor noted of the packet appended last.
    undo: Option<Undo>,
}

impl LearnedEntries {
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
    ) -> Option<LearnedEntries> {
        let longest = usize::from(mtu.min(room));
        let front = outer_length + SHORT_HEADER_LEN as u16;
        let max_rows = (longest.checked_sub(usize::from(front))? / SHORT_ENTRY).min(usize::from(max_count));
        if max_rows < 2 {
            return None;
        }
        // While a pool is open its rows' room is taken in full, so a buffer holds that much less data.
        let limit = longest.min(usize::from(room).checked_sub(ROW * (max_rows - 2))?);
        let first = usize::from(front) + ROW + ANNOUNCEMENT;
        let longest_first = match lone {
            Lone::Itself => limit.checked_sub(first + ROW + SHORTEST)?,
            Lone::Pooled => {
                let reserved = usize::from(front) + ROW * max_rows + ANNOUNCEMENT;
                limit.checked_sub(first)?.min(usize::from(room).checked_sub(reserved)?)
            }
        };
        let bytes_in = u16::try_from(length).ok()?;
        let pool = LearnedEntries {
            front,
            limit: limit as u16,
            longest_first: longest_first.min(usize::from(MAX_ENTRY) - ANNOUNCEMENT) as u16,
            max_rows: max_rows as u8,
            packets: 1,
            rows: ShortRows::default(),
            length: front.checked_add(bytes_in)?,
            shortest: u16::MAX,
            bytes_in,
            undo: None,
        };
        pool.can_open(length).then_some(pool)
    }

    #[inline(always)]
    fn front(&self) -> usize {
        usize::from(self.front)
    }

    #[inline(always)]
    pub(super) fn reserved(&self) -> usize {
        self.front() + ROW * usize::from(self.max_rows)
    }

    #[inline(always)]
    pub(super) fn emptied(&self) -> LearnedEntries {
        LearnedEntries { packets: 0, length: self.front, bytes_in: 0, ..*self }
    }

    #[inline(always)]
    pub(super) fn rows(&self) -> u8 {
        self.packets
    }

    #[inline(always)]
    pub(super) fn bytes_in(&self) -> u16 {
        self.bytes_in
    }

    #[inline(always)]
    pub(super) fn length(&self) -> usize {
        self.length.into()
    }

    #[inline]
    pub(in crate::pool) fn can_open(&self, length: usize) -> bool {
        (SHORTEST..=usize::from(self.longest_first)).contains(&length)
    }

    /// How much shorter a packet becomes shows when it is appended: here it is enough that it may fit.
    #[inline(always)]
    pub(in crate::pool) fn fits(&self, length: usize) -> bool {
        self.packets < self.max_rows && self.length() + length.saturating_sub(MOST_SAVED) <= usize::from(self.limit)
    }

    #[inline(always)]
    pub(super) fn room(&self) -> Room {
        if self.packets >= self.max_rows {
            Room::NoRows
        } else if self.shortest < u16::MAX && self.length() + usize::from(self.shortest) > usize::from(self.limit) {
            Room::NoBytes
        } else {
            Room::Left
        }
    }

    #[inline]
    pub(super) fn append<B: Buffer>(&mut self, buffer: &mut B, packet: &[u8], codecs: &mut Codecs<'_>) -> Option<()> {
        let encoded = codecs.compressor.encode(packet, &codecs.space, codecs.now);
        self.append_entry(buffer, packet, &encoded)?;
        self.undo = Some(codecs.compressor.sent(&encoded));
        Some(())
    }

    /// For how many entries like the shortest there may be room.
    #[inline(always)]
    pub(super) fn rooms(&self) -> usize {
        let left = usize::from(self.limit).saturating_sub(self.length());
        left.checked_div(self.shortest.into()).unwrap_or(usize::MAX)
    }

    /// Has `buffer`, in which these entries are, grow by all that can join. Returns where the rows are and where the next entry goes. None,
    /// and nothing changes, where the buffer is too small, or more can join than can be counted.
    #[inline(always)]
    pub(super) fn claim<'b, B: Buffer>(&self, buffer: &'b mut B) -> Option<(&'b mut [u8], &'b mut [u8])> {
        let left = usize::from(self.limit).checked_sub(self.length())?;
        let most_in = usize::from(self.bytes_in) + left + MOST_SAVED * usize::from(self.max_rows);
        if most_in > usize::from(u16::MAX) {
            return None;
        }
        let data_at = buffer.len();
        if buffer.append(left).is_none() {
            // The buffer is what limits the pool: it has no room for two rows that may still be one byte long.
            buffer.append((left + self.rows.len()).checked_sub(2 * ROW)?)?;
        }
        let (front, free) = buffer.bytes_mut().split_at_mut_checked(data_at)?;
        Some((front.get_mut(self.front()..self.reserved())?, free))
    }

    /// The rows so far, and the length of the shortest entry.
    #[inline(always)]
    pub(super) fn written(&self) -> (ShortRows, usize) {
        (self.rows, self.shortest.into())
    }

    /// Takes up what was written where it was [claimed](LearnedEntries::claim): `rows` are all there are then, and of entries so many
    /// bytes more, of packets of so many, the shortest of all of this length.
    #[inline(always)]
    pub(super) fn take_up(
        &mut self,
        rows: ShortRows,
        (written, bytes_in, shortest): (usize, usize, usize),
        undo: Option<Undo>,
    ) {
        self.length = (self.length() + rows.len() - self.rows.len() + written) as u16;
        self.rows = rows;
        self.packets = rows.rows();
        self.shortest = shortest as u16;
        self.bytes_in += bytes_in as u16;
        self.undo = undo.or(self.undo);
    }

    /// Where the entries in its buffer end.
    #[inline(always)]
    pub(super) fn end(&self) -> usize {
        self.reserved() + self.length() - self.front() - self.rows.len()
    }

    /// Notes what it takes to undo what the compressor noted of the packet appended last.
    #[inline(always)]
    pub(super) fn note(&mut self, undo: Undo) {
        self.undo = Some(undo);
    }

    /// The most packets there can be.
    #[inline(always)]
    pub(super) fn max_rows(&self) -> u8 {
        self.max_rows
    }

    /// Writes an entry behind those in `buffer`.
    #[inline(always)]
    pub(super) fn append_entry<B: Buffer>(&mut self, buffer: &mut B, packet: &[u8], encoded: &Encoded) -> Option<()> {
        let bytes_in = self.bytes_in.checked_add(u16::try_from(packet.len()).ok()?)?;
        let length = encoded.len(packet.len());
        let growth = self.rows.growth(length)?;
        let pooled = self.length() + growth + length;
        if self.packets >= self.max_rows || pooled > usize::from(self.limit) {
            return None;
        }
        encoded.write(packet, buffer.append(length)?)?;
        if growth == 0 {
            self.rows.push_again();
        } else {
            self.rows.push(length, buffer.bytes_mut().get_mut(self.front()..self.reserved())?)?;
        }
        self.packets = self.rows.rows();
        self.length = pooled as u16;
        self.shortest = self.shortest.min(length as u16);
        self.bytes_in = bytes_in;
        Some(())
    }

    /// The same pool with one packet of `length` bytes, which it [can open](LearnedEntries::can_open) with.
    #[inline]
    pub(in crate::pool) fn open_again(&mut self, length: usize) {
        let length = length as u16;
        *self = LearnedEntries {
            packets: 1,
            length: self.front + length,
            bytes_in: length,
            rows: ShortRows::default(),
            shortest: u16::MAX,
            undo: None,
            ..*self
        };
    }

    /// The packet appended last, and to no other pool since, does not leave in this one.
    pub(super) fn withdraw(&self, codecs: &mut Codecs<'_>) {
        if let Some(undo) = self.undo {
            codecs.compressor.withdraw(undo);
        }
    }

    pub(super) fn complete<B: Buffer>(
        &self,
        buffer: &mut B,
        outer: &OuterHeader,
        instance: u32,
        sequence: u32,
    ) -> Option<()> {
        let index = self.rows.len();
        let unused = (ROW * usize::from(self.max_rows)).checked_sub(index)?;
        let front = self.front();
        let outer_length = front.checked_sub(SHORT_HEADER_LEN)?;
        let bytes = buffer.bytes_mut().get_mut(..unused + self.length())?;
        self.rows.finish(bytes.get_mut(front..)?)?;
        bytes.copy_within(front..front + index, front + unused);
        let (ip_udp, behind) = bytes.get_mut(unused..)?.split_at_mut_checked(outer_length)?;
        write_short_header(
            self.packets,
            outer.ttl,
            sequence,
            instance_towards(instance, outer.destination),
            behind.first_chunk_mut()?,
        );
        let length = u16::try_from(behind.len()).ok()?;
        outer.write(length, || Sum::of_long(behind), ip_udp)?;
        buffer.trim_front(unused).then_some(())
    }
}
