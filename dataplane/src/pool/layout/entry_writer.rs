//! Several IPv4 packets that are written to a pool of learned headers one after the other: most are what their streams'
//! contexts predict, and are written in a run.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use std::slice::Iter;

use arrayvec::ArrayVec;

use super::super::learned::{Compressor, PREDICTED, Place, SpaceIndex};
use super::super::wire::entry::PredictedPrefix;
use super::super::wire::short_rows::ShortRows;
use super::learned::LearnedEntries;
use super::{Codecs, Room};
use crate::arch::Tick;
use crate::packet::{Buffer, BufferSource, ipv4};

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

/// Packets that are predicted and have a seat, and what goes in front of each.
struct Run<B> {
    packets: ArrayVec<B, AHEAD>,
    prefixes: ArrayVec<PredictedPrefix, AHEAD>,
}

/// The room for entries of packets that are predicted.
struct Seats<'a> {
    rows: ShortRows,
    /// Where the rows are.
    index: &'a mut [u8],
    /// Bytes that are left for entries, and for rows that grow.
    free: usize,
    /// The length of an entry that makes the rows no longer; 0: there is none.
    again: usize,
    shortest: usize,
    /// Entries that the rows do not count yet.
    uncounted: u8,
}

/// One that is not written with those before it.
pub(in crate::pool) struct Other<P> {
    pub(in crate::pool) packet: P,
    /// Where its stream may be.
    pub(in crate::pool) place: Place,
    /// Whether it may be [written](EntryWriter::write) by itself: there is room, as far as is known.
    pub(in crate::pool) may_fit: bool,
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

    /// How many packets more there may be before there are `most`, or no room for one more like the shortest.
    #[inline(always)]
    pub(in crate::pool) fn seats(&self, most: u8) -> usize {
        let most = most.min(self.entries.max_rows()).saturating_sub(self.entries.rows());
        self.entries.rooms().min(most.into())
    }

    /// What room is left.
    #[inline(always)]
    pub(in crate::pool) fn room(&self) -> Room {
        self.entries.room()
    }

    /// Has packets board while they are as predicted, each behind `FRONT` bytes that are not its own. They are
    /// [plain](ipv4::Plain), their TTL is still to be decremented, and there are [seats](EntryWriter::seats) for as many as
    /// there are `places`. Returns how many did, and the one that did not.
    #[inline(always)]
    pub(in crate::pool) fn write_run<const FRONT: usize, T, M>(
        &mut self,
        places: &mut Iter<'_, Place>,
        packets: &mut impl Iterator<Item = (B, T)>,
        memory: &mut M,
    ) -> (usize, Option<Other<(B, T)>>)
    where
        M: BufferSource<Buffer = B>,
    {
        let Codecs { compressor, space, now, .. } = &mut self.codecs;
        // One after the other: what is claimed is to be given back.
        let claimed = match compressor.space_of(space) {
            Some(space) => self.entries.claim(self.buffer).map(|claimed| (space, claimed)),
            None => None,
        };
        let Some((space, (index, free))) = claimed else {
            return (0, Other::next(places, packets));
        };
        let (rows, shortest) = self.entries.written();
        let again = rows.length_again();
        let mut seats = Seats { rows, index, free: free.len(), again, shortest, uncounted: 0 };
        let mut run = Run { packets: ArrayVec::new(), prefixes: ArrayVec::new() };
        let other = run.take_seats::<FRONT, T>(&mut seats, compressor, (space, *now), places, packets);
        seats.rows.push_more(seats.uncounted);
        let (rows, shortest) = (seats.rows, seats.shortest);
        let (written, bytes_in) = run.write::<FRONT>(free);
        let count = run.packets.len();
        memory.free_all(&mut run.packets);
        let undo = (count > 0).then(|| compressor.sent_predicted(count));
        self.entries.take_up(rows, (written, bytes_in, shortest), undo);
        self.buffer.truncate(self.entries.end());
        (count, other)
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

impl<P> Other<P> {
    /// The next one, where there is a place for it: else it stays the next one.
    #[inline(always)]
    pub(in crate::pool) fn next(
        places: &mut Iter<'_, Place>,
        packets: &mut impl Iterator<Item = P>,
    ) -> Option<Other<P>> {
        let place = *places.next()?;
        Some(Other { packet: packets.next()?, place, may_fit: true })
    }
}

impl<B: Buffer> Run<B> {
    /// Takes packets up while they are as predicted and there is a seat. Returns the one that is not taken up.
    #[inline(never)]
    fn take_seats<const FRONT: usize, T>(
        &mut self,
        seats: &mut Seats<'_>,
        compressor: &mut Compressor,
        (space, now): (SpaceIndex, Tick),
        places: &mut Iter<'_, Place>,
        packets: &mut impl Iterator<Item = (B, T)>,
    ) -> Option<Other<(B, T)>> {
        for &place in places.by_ref() {
            let (packet, with) = packets.next()?;
            let bytes = packet.bytes().get(FRONT..).unwrap_or_default();
            let Some((prefix, body)) = compressor.predicted(bytes, place, space, now) else {
                return Some(Other { packet: (packet, with), place, may_fit: true });
            };
            let length = prefix.length() + body.len();
            if !seats.take(length) {
                return Some(Other { packet: (packet, with), place, may_fit: false });
            }
            // There is room for as many as there are places.
            let _ = self.packets.try_push(packet);
            let _ = self.prefixes.try_push(prefix);
            if seats.free < seats.shortest {
                break;
            }
        }
        None
    }

    /// Writes their entries, for which there is room. Returns how many bytes these have, and how many the packets had.
    #[inline(never)]
    fn write<const FRONT: usize>(&self, mut free: &mut [u8]) -> (usize, usize) {
        let (mut written, mut bytes_in) = (0, 0);
        for (packet, prefix) in self.packets.iter().zip(&self.prefixes) {
            let body = packet.bytes().get(FRONT + PREDICTED..).unwrap_or_default();
            let length = prefix.length() + body.len();
            let Some((entry, behind)) = free.split_at_mut_checked(length) else { break };
            prefix.write(body, entry);
            (written, bytes_in) = (written + length, bytes_in + PREDICTED + body.len());
            free = behind;
        }
        (written, bytes_in)
    }
}

impl Seats<'_> {
    /// Takes room for an entry, and for its row. False, and nothing of account changes, where there is none.
    #[inline(always)]
    fn take(&mut self, length: usize) -> bool {
        if length == self.again
            && let Some(left) = self.free.checked_sub(length)
        {
            self.free = left;
            self.uncounted += 1;
            return true;
        }
        self.begin_row(length).is_some()
    }

    /// The same for one of another length than the last ones, or where there is no room.
    #[inline(never)]
    fn begin_row(&mut self, length: usize) -> Option<()> {
        self.rows.push_more(std::mem::take(&mut self.uncounted));
        let left = self.free.checked_sub(self.rows.growth(length)? + length)?;
        self.rows.push(length, self.index)?;
        (self.free, self.again) = (left, self.rows.length_again());
        self.shortest = self.shortest.min(length);
        Some(())
    }
}
