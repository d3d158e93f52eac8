//! Kind 5: a pooled packet with short rows, for entries of a few dozen bytes that all go to the addressee.
//!
//! A row is nothing but a length: where an entry starts follows from those in front of it, and all are taken out by the
//! addressee. Equal lengths behind each other cost three bytes together. [`ShortRows`] writes such an index piece by
//! piece as entries come, and [`ShortPacket`] exists only where every bound of it holds.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::entry::Entry;
use super::{HEADER_LEN, Kind, MAX_ROWS, PoolHeader, WireError};

/// The length of the pool header and the instance behind it, in bytes.
pub const SHORT_HEADER_LEN: usize = HEADER_LEN + 4;

/// The longest entry that a short row can be about, in bytes.
pub const MAX_ENTRY: u16 = TWO_BYTES as u16 + 0x0fff;

/// A row that says how often the length in front of it comes again.
const REPEAT: u8 = 0;
/// From here on the low four bits of a row are the high ones of what a length has beyond this.
const TWO_BYTES: u8 = 240;

/// A pooled packet with short rows all of whose bounds hold: its entries lie behind each other, from the first byte of
/// the data to the last, and each has a form that exists.
#[derive(Clone, Copy, Debug)]
pub struct ShortPacket<'a> {
    header: PoolHeader,
    instance: u32,
    runs: Runs<'a>,
    data: &'a [u8],
}

impl<'a> ShortPacket<'a> {
    /// Reads a UDP payload of kind 5 and checks every bound before it touches what the bound is about.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<ShortPacket<'a>, WireError> {
        let header = PoolHeader::parse(payload)?;
        if header.kind != Kind::Short {
            return Err(WireError::UnsupportedKind);
        }
        if header.count == 0 {
            return Err(WireError::NoRows);
        }
        let behind_header = payload.get(HEADER_LEN..).unwrap_or_default();
        let (&instance, rows) = behind_header.split_first_chunk().ok_or(WireError::TruncatedIndex)?;
        let runs = Runs { rest: rows, length: 0 };
        let (mut behind, mut sum, mut missing) = (runs, 0usize, header.count);
        while missing > 0 {
            let (length, times) = behind.next()?;
            missing = missing.checked_sub(times).ok_or(WireError::RowRepetition)?;
            sum += usize::from(length) * usize::from(times);
        }
        let data = behind.rest;
        if sum > data.len() {
            return Err(WireError::RowBeyondData);
        }
        if sum < data.len() {
            return Err(WireError::TrailingData);
        }
        let packet = ShortPacket { header, instance: u32::from_be_bytes(instance), runs, data };
        packet.entries().try_for_each(|entry| Entry::parse(entry).map(|_| ()))?;
        Ok(packet)
    }

    /// The pool header.
    #[inline]
    pub fn header(&self) -> &PoolHeader {
        &self.header
    }

    /// Which run of the sender its contexts belong to.
    #[inline]
    pub fn instance(&self) -> u32 {
        self.instance
    }

    /// The entries in order: each is at least one byte long and has a form that exists.
    #[inline]
    pub fn entries(&self) -> Entries<'a> {
        Entries { runs: self.runs, missing: self.header.count, again: 0, rest: self.data }
    }
}

/// The entries of a pooled packet that have not been looked at.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    runs: Runs<'a>,
    /// How many there are behind those of the length that was read last.
    missing: u8,
    /// How many there are of that length.
    again: u8,
    /// They and what is behind them.
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    /// The next one, which stays the next one; None where all have been looked at.
    #[inline(always)]
    pub fn front(&mut self) -> Option<&'a [u8]> {
        if self.again == 0 {
            self.next_run()?;
        }
        self.rest.get(..usize::from(self.runs.length))
    }

    /// Goes on behind the one that [`Entries::front`] gave.
    #[inline(always)]
    pub fn pass_front(&mut self) {
        self.again = self.again.saturating_sub(1);
        self.rest = self.rest.get(usize::from(self.runs.length)..).unwrap_or_default();
    }

    /// Whether all have been looked at.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.again == 0 && self.missing == 0
    }

    #[inline(always)]
    fn next_run(&mut self) -> Option<()> {
        if self.missing == 0 {
            return None;
        }
        let (_, times) = self.runs.next().ok()?;
        self.missing = self.missing.checked_sub(times)?;
        self.again = times;
        Some(())
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a [u8]> {
        let entry = self.front()?;
        self.pass_front();
        Some(entry)
    }
}

/// Writes what is in front of the index of a pooled packet with short rows.
#[inline]
pub fn write_short_header(count: u8, outer_ttl: u8, sequence: u32, instance: u32, out: &mut [u8; SHORT_HEADER_LEN]) {
    let mut header = [0; HEADER_LEN];
    PoolHeader { kind: Kind::Short, count, outer_ttl, template: 0, sequence }.write(&mut header);
    let [h0, h1, h2, h3, h4, h5, h6, h7] = header;
    let [i0, i1, i2, i3] = instance.to_be_bytes();
    *out = [h0, h1, h2, h3, h4, h5, h6, h7, i0, i1, i2, i3];
}

/// Reads the rows one by one: a length, and how many entries have it.
#[derive(Clone, Copy, Debug)]
struct Runs<'a> {
    rest: &'a [u8],
    /// The length read last; 0: none was.
    length: u16,
}

impl Runs<'_> {
    #[inline]
    fn next(&mut self) -> Result<(u16, u8), WireError> {
        let (&first, rest) = self.rest.split_first().ok_or(WireError::TruncatedIndex)?;
        self.rest = rest;
        if first != REPEAT && first < TWO_BYTES {
            self.length = u16::from(first);
            return Ok((self.length, 1));
        }
        let (&second, rest) = rest.split_first().ok_or(WireError::TruncatedIndex)?;
        self.rest = rest;
        if first != REPEAT {
            self.length = u16::from(TWO_BYTES) + (u16::from(first & 0x0f) << 8 | u16::from(second));
            return Ok((self.length, 1));
        }
        if self.length == 0 || second == 0 {
            return Err(WireError::RowRepetition);
        }
        Ok((self.length, second))
    }
}

/// An index of short rows as it grows. How often the last length comes again is in it only when [`ShortRows::finish`] was
/// called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShortRows {
    rows: u8,
    /// Bytes written.
    len: u16,
    /// The length of the entry added last; 0: there is none.
    last: u16,
    /// How many entries of that length are at the end.
    run: u8,
}

impl ShortRows {
    /// Entries so far.
    #[inline]
    pub fn rows(&self) -> u8 {
        self.rows
    }

    /// Bytes of the index so far.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there is no entry yet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// By how many bytes an entry of `length` bytes makes the index longer: 0 to 2. None where it cannot be added:
    /// its length is 0 or more than [`MAX_ENTRY`], or there are [`MAX_ROWS`] already.
    #[inline(always)]
    pub fn growth(&self, length: usize) -> Option<usize> {
        if length == 0 || length > usize::from(MAX_ENTRY) || usize::from(self.rows) == MAX_ROWS {
            return None;
        }
        let is_short = length < usize::from(TWO_BYTES);
        Some(match (length == usize::from(self.last) && self.is_repeated(), is_short) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        })
    }

    /// Whether the index ends with how often the last length comes again.
    #[inline(always)]
    fn is_repeated(&self) -> bool {
        self.run >= if self.last < u16::from(TWO_BYTES) { 3 } else { 2 }
    }

    /// Adds an entry of `length` bytes to the index that starts with the first byte of `index`. None, and nothing of
    /// account changes, where it cannot be added or `index` has no room for it.
    #[inline(always)]
    pub fn push(&mut self, length: usize, index: &mut [u8]) -> Option<()> {
        match self.growth(length)? {
            0 => self.push_again(),
            growth => self.push_row(length, growth, index)?,
        }
        Some(())
    }

    /// Adds one more entry like the last, by which the index grows by nothing, as [`ShortRows::growth`] said.
    #[inline(always)]
    pub fn push_again(&mut self) {
        self.push_more(1);
    }

    /// Adds so many of them.
    #[inline(always)]
    pub fn push_more(&mut self, entries: u8) {
        self.rows = self.rows.saturating_add(entries);
        self.run = self.run.saturating_add(entries);
    }

    /// The length of the entries by which the index grows by nothing; 0 where there is none.
    #[inline(always)]
    pub fn length_again(&self) -> usize {
        if self.is_repeated() { self.last.into() } else { 0 }
    }

    /// Adds an entry that makes the index longer.
    #[inline(never)]
    fn push_row(&mut self, length: usize, growth: usize, index: &mut [u8]) -> Option<()> {
        self.finish(index)?;
        let at = self.len();
        let short = u8::try_from(length).ok().filter(|&length| length < TWO_BYTES);
        let is_again = length == usize::from(self.last);
        match (short, self.run) {
            (Some(_), 2) if is_again => {
                let [second, third] = index.get_mut(at.checked_sub(1)?..)?.first_chunk_mut()?;
                (*second, *third) = (REPEAT, 2);
            }
            (None, 1) if is_again => *index.get_mut(at..)?.first_chunk_mut()? = [REPEAT, 1],
            (Some(short), _) => *index.get_mut(at)? = short,
            (None, _) => {
                let [high, low] = (length as u16 - u16::from(TWO_BYTES)).to_be_bytes();
                *index.get_mut(at..)?.first_chunk_mut()? = [TWO_BYTES | high, low];
            }
        }
        self.rows += 1;
        self.len += growth as u16;
        self.run = if is_again { self.run + 1 } else { 1 };
        self.last = length as u16;
        Some(())
    }

    /// Completes the index that starts with the first byte of `index`: more entries may be added all the same. None where
    /// this is shorter than what was added.
    #[inline]
    pub fn finish(&self, index: &mut [u8]) -> Option<()> {
        if self.is_repeated() {
            // It counts what comes behind the first of its length.
            *index.get_mut(self.len().checked_sub(1)?)? = self.run - 1;
        }
        Some(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::mutation::mutated;

    /// A UDP payload of kind 5 with these entries.
    pub(crate) fn short(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut rows = ShortRows::default();
        let mut index = [0; 2 * MAX_ROWS];
        for entry in entries {
            rows.push(entry.len(), &mut index).unwrap();
        }
        rows.finish(&mut index).unwrap();
        let mut payload = vec![0; SHORT_HEADER_LEN];
        write_short_header(rows.rows(), 64, 7, 0xcafe_f00d, payload.first_chunk_mut().unwrap());
        payload.extend_from_slice(&index[..rows.len()]);
        payload.extend(entries.iter().flatten());
        payload
    }

    /// An entry of so many bytes whose form exists: a context's id, and something behind it.
    fn entry(length: usize) -> Vec<u8> {
        let mut entry = vec![0x5a; length];
        entry[0] = 0x80;
        entry
    }

    fn index_of(lengths: &[usize]) -> Vec<u8> {
        let entries: Vec<_> = lengths.iter().map(|&length| entry(length)).collect();
        let payload = short(&entries);
        payload[SHORT_HEADER_LEN..payload.len() - lengths.iter().sum::<usize>()].to_vec()
    }

    #[test]
    fn the_header_is_what_the_document_draws() {
        let payload = short(&[entry(24)]);
        assert_eq!(payload[..13], [0x15, 1, 64, 0, 0, 0, 0, 7, 0xca, 0xfe, 0xf0, 0x0d, 24]);
        assert_eq!(ShortPacket::parse(&payload).map(|packet| packet.instance()), Ok(0xcafe_f00d));
    }

    #[test]
    fn rows_are_what_the_document_says() {
        assert_eq!(index_of(&[24]), [24]);
        assert_eq!(index_of(&[24, 24]), [24, 24]);
        assert_eq!(index_of(&[24, 24, 24]), [24, 0, 2]);
        assert_eq!(index_of(&[24; 60]), [24, 0, 59]);
        assert_eq!(index_of(&[24, 24, 24, 30, 24]), [24, 0, 2, 30, 24]);
        assert_eq!(index_of(&[239, 240, 495, 496, 4335]), [239, 0xf0, 0, 0xf0, 255, 0xf1, 0, 0xff, 255]);
        assert_eq!(index_of(&[300, 300]), [0xf0, 60, 0, 1]);
        assert_eq!(index_of(&[300, 300, 300, 300]), [0xf0, 60, 0, 3]);
        assert_eq!(index_of(&[24; 255]), [24, 0, 254]);
    }

    #[test]
    fn every_broken_bound_has_its_name() {
        let broken = |change: fn(&mut Vec<u8>)| {
            let mut payload = short(&[entry(30), entry(30), entry(30), entry(5)]);
            change(&mut payload);
            ShortPacket::parse(&payload).map(|_| ()).unwrap_err()
        };
        assert_eq!(broken(|p| p.truncate(7)), WireError::TruncatedHeader);
        assert_eq!(broken(|p| p[0] = 0x10), WireError::UnsupportedKind);
        assert_eq!(broken(|p| p[1] = 0), WireError::NoRows);
        assert_eq!(broken(|p| p.truncate(11)), WireError::TruncatedIndex);
        assert_eq!(broken(|p| p.truncate(14)), WireError::TruncatedIndex);
        assert_eq!(broken(|p| p[12] = 0), WireError::RowRepetition); // nothing to repeat
        assert_eq!(broken(|p| p[14] = 0), WireError::RowRepetition); // no times
        assert_eq!(broken(|p| p[14] = 4), WireError::RowRepetition); // more often than there are rows
        assert_eq!(broken(|p| p[15] = 6), WireError::RowBeyondData);
        assert_eq!(broken(|p| p.truncate(p.len() - 1)), WireError::RowBeyondData);
        assert_eq!(broken(|p| p[15] = 4), WireError::TrailingData);
        assert_eq!(broken(|p| p.push(0)), WireError::TrailingData);
        assert_eq!(broken(|p| p[16] = 0x20), WireError::UnsupportedEntry);
    }

    #[test]
    fn what_cannot_be_said_is_not_written() {
        let mut rows = ShortRows::default();
        let mut index = [0; 8];
        assert_eq!(rows.push(0, &mut index), None);
        assert_eq!(rows.push(usize::from(MAX_ENTRY) + 1, &mut index), None);
        assert_eq!(rows.push(300, &mut index[..1]), None);
        assert_eq!(rows, ShortRows::default());
        for _ in 0..MAX_ROWS {
            rows.push(9, &mut index).unwrap();
        }
        assert_eq!((rows.push(9, &mut index), rows.growth(9)), (None, None));
    }

    proptest! {
        #[test]
        fn any_lengths_are_read_as_they_were_written(
            lengths in prop::collection::vec(
                prop_oneof![Just(24usize), Just(300), 3usize..30, 235usize..250, Just(4335)], 1..=255
            ),
        ) {
            let mut rows = ShortRows::default();
            let mut index = [0; 2 * MAX_ROWS];
            for &length in &lengths {
                let (before, growth) = (rows.len(), rows.growth(length).unwrap());
                rows.push(length, &mut index[..before + growth]).unwrap();
                prop_assert_eq!(rows.len(), before + growth, "it says before what it takes");
            }
            let entries: Vec<_> = lengths.iter().map(|&length| entry(length)).collect();
            let payload = short(&entries);
            let packet = ShortPacket::parse(&payload).unwrap();
            let found: Vec<usize> = packet.entries().map(<[u8]>::len).collect();
            prop_assert_eq!(found, lengths);
        }

        #[test]
        fn many_of_a_length_are_added_as_one_by_one(length in 3usize..300, before in 1u8..5, more in 0u8..250) {
            let mut rows = ShortRows::default();
            let mut index = [0; 2 * MAX_ROWS];
            (0..before).for_each(|_| rows.push(length, &mut index).unwrap());
            let (mut together, again) = (rows, rows.length_again());
            prop_assert_eq!(again == length, rows.growth(length) == Some(0));
            if again == length {
                together.push_more(more);
                (0..more).for_each(|_| rows.push(length, &mut index).unwrap());
                prop_assert_eq!(together, rows);
            } else {
                prop_assert_eq!(again, 0);
            }
        }

        #[test]
        fn what_is_accepted_covers_its_data(
            payload in mutated(prop::collection::vec(prop_oneof![3usize..40, 230usize..320], 1..9)
                .prop_map(|lengths| short(&lengths.into_iter().map(entry).collect::<Vec<_>>()))),
        ) {
            if let Ok(packet) = ShortPacket::parse(&payload) {
                prop_assert_eq!(packet.entries().count(), usize::from(packet.header().count));
                let covered: Vec<u8> = packet.entries().flatten().copied().collect();
                prop_assert!(payload.ends_with(&covered));
                prop_assert!(packet.entries().all(|entry| Entry::parse(entry).is_ok()));
            }
        }
    }
}
