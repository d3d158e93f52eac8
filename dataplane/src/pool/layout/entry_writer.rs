//! Several IPv4 packets that are written to a pool of learned headers one after the other: most are what their streams'
//! contexts predict, and are written in a run.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use arrayvec::ArrayVec;

use super::super::learned::{Compressor, Place, SpaceIndex};
use super::super::wire::short_rows::ShortRows;
use super::learned::LearnedEntries;
use super::{Codecs, Room};
use crate::arch::Tick;
use crate::packet::{Buffer, ipv4};

/// Packets that are looked for at once: a burst.
const AHEAD: usize = 32;

/// Where the streams of packets may be, in turn.
pub(in crate::pool) type Places = ArrayVec<Place, AHEAD>;

/// Writes packets to a pool.
pub(in crate::pool) struct EntryWriter<'a, B> {
    entries: &'a mut LearnedEntries,
    buffer: &'a mut B,
    codecs: Codecs<'a>,
}

/// Packets that are predicted, as they are written: nothing of them is in the pool before its [end](Run::end) is
/// [taken up](EntryWriter::take_up).
pub(in crate::pool) struct Run<'a> {
    compressor: &'a mut Compressor,
    space: SpaceIndex,
    now: Tick,
    rows: ShortRows,
    /// Where the rows are.
    index: &'a mut [u8],
    /// What is left for entries, and for rows that grow.
    free: &'a mut [u8],
    /// The length of an entry that makes the rows no longer; 0: there is none.
    again: usize,
    shortest: usize,
    bytes_in: usize,
    /// Bytes of entries.
    written: usize,
    /// Packets in all.
    packets: u8,
    /// Those of them that the rows count.
    counted: u8,
}

/// What a run came to.
pub(in crate::pool) struct RunEnd {
    rows: ShortRows,
    shortest: usize,
    bytes_in: usize,
    written: usize,
    packets: u8,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Written {
    /// It is written.
    Yes,
    /// It is not: there is no room.
    NoRoom,
    /// It is not: it is not as predicted.
    Unforeseen,
}

impl<'a, B: Buffer> EntryWriter<'a, B> {
    #[inline(always)]
    pub(in crate::pool) fn new(
        entries: &'a mut LearnedEntries,
        buffer: &'a mut B,
        codecs: Codecs<'a>,
    ) -> EntryWriter<'a, B> {
        EntryWriter { entries, buffer, codecs }
    }

    /// Where the streams of the packets with these hashes, by flow and by pair, may be, a burst at most: those are brought closer.
    /// All have these bits of DSCP and ECN.
    #[inline(always)]
    pub(in crate::pool) fn places(&self, hashes: &[(u32, u32)], tos: u8) -> Places {
        hashes.iter().take(AHEAD).map(|(flow, _)| self.codecs.compressor.place_of(*flow, tos)).collect()
    }

    /// How many packets more there may be before there are `most`.
    #[inline(always)]
    pub(in crate::pool) fn seats(&self, most: u8) -> u8 {
        most.min(self.entries.max_rows()).saturating_sub(self.entries.rows())
    }

    /// What room is left.
    #[inline(always)]
    pub(in crate::pool) fn room(&self) -> Room {
        self.entries.room()
    }

    /// Begins to write packets that are predicted. None where that is not known of any, or the buffer is too small for what
    /// may come.
    #[inline(always)]
    pub(in crate::pool) fn run(&mut self) -> Option<Run<'_>> {
        let space = self.codecs.compressor.space_of(&self.codecs.space)?;
        let (index, free) = self.entries.claim(self.buffer)?;
        let (rows, shortest) = self.entries.written();
        Some(Run {
            compressor: self.codecs.compressor,
            space,
            now: self.codecs.now,
            rows,
            index,
            free,
            again: rows.length_again(),
            shortest,
            bytes_in: 0,
            written: 0,
            packets: 0,
            counted: 0,
        })
    }

    /// Has what a run wrote be in the pool.
    #[inline(always)]
    pub(in crate::pool) fn take_up(&mut self, run: RunEnd) {
        let undo = (run.packets > 0).then(|| self.codecs.compressor.sent_predicted(run.packets));
        self.entries.take_up(run.rows, (run.written, run.bytes_in, run.shortest), undo);
        let end = self.entries.end();
        self.buffer.truncate(end);
    }

    /// Writes a sound packet behind those that are there, its TTL, which is above 1, decremented. None, and it is not there, where it
    /// does not fit.
    #[inline(never)]
    pub(in crate::pool) fn write(&mut self, packet: &[u8], place: Place) -> Option<()> {
        if !self.entries.fits(packet.len()) {
            return None;
        }
        let Codecs { compressor, space, now, .. } = &mut self.codecs;
        let encoded = compressor.encode_forwarded(packet, place, space, *now);
        let at = self.buffer.len();
        self.entries.append_entry(self.buffer, packet, &encoded)?;
        if let Some(whole_at) = encoded.whole_at() {
            ipv4::decrement_ttl(self.buffer.bytes_mut().get_mut(at + whole_at..)?);
        }
        self.entries.note(compressor.sent(&encoded));
        Some(())
    }
}

impl<'a> Run<'a> {
    /// Writes a packet that is [plain](ipv4::Plain), its TTL decremented, if it is as predicted. There is a
    /// [seat](EntryWriter::seats) for it.
    #[inline(always)]
    pub(in crate::pool) fn write(&mut self, packet: &[u8], place: Place) -> Written {
        let Some((prefix, body)) = self.compressor.predicted(packet, place, self.space, self.now) else {
            return Written::Unforeseen;
        };
        let length = prefix.len() + body.len();
        let free = std::mem::take(&mut self.free);
        let free = if length == self.again { Some(free) } else { self.begin_row(length, free) };
        let Some((entry, free)) = free.and_then(|free| free.split_at_mut_checked(length)) else {
            return Written::NoRoom;
        };
        self.free = free;
        prefix.write(body, entry);
        self.bytes_in += packet.len();
        self.written += length;
        self.packets += 1;
        Written::Yes
    }

    /// Whether there is no room for one more like the shortest.
    #[inline(always)]
    pub(in crate::pool) fn is_full(&self) -> bool {
        self.free.len() < self.shortest
    }

    /// What was written.
    #[inline(always)]
    pub(in crate::pool) fn end(mut self) -> RunEnd {
        self.rows.push_more(self.packets - self.counted);
        let Run { rows, shortest, bytes_in, written, packets, .. } = self;
        RunEnd { rows, shortest, bytes_in, written, packets }
    }

    /// Counts an entry of another length than the last ones in the rows, which may grow for that. Returns what is `free` then. None,
    /// and nothing more can be written, where the entry does not fit.
    #[inline(always)]
    fn begin_row(&mut self, length: usize, free: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let growth = push_row(&mut self.rows, self.index, self.packets - self.counted, length, free.len());
        self.counted = self.packets + u8::from(growth.is_some());
        let left = free.len() - growth?;
        self.again = self.rows.length_again();
        self.shortest = self.shortest.min(length);
        free.get_mut(..left)
    }
}

/// Adds an entry of this length to the index, which counts all before it but so many like the last. Returns by how many bytes it grew, at most
/// what is `free` behind the entry. None, and nothing of account changes but that those are counted, where there is no room.
#[inline(never)]
fn push_row(rows: &mut ShortRows, index: &mut [u8], uncounted: u8, length: usize, free: usize) -> Option<usize> {
    rows.push_more(uncounted);
    let growth = rows.growth(length).filter(|growth| growth + length <= free)?;
    rows.push(length, index)?;
    Some(growth)
}
