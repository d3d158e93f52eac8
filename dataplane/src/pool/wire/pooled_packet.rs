//! Kind 0: a pooled packet with its index in band.
//!
//! A [`PooledPacket`] exists only where every bound of the index was checked against the data.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::{HEADER_LEN, Kind, PoolHeader, WireError};
use crate::packet::Sum;

/// The length of a row of the index in bytes.
pub const ROW_LEN: usize = 6;

const IPV4_HEADER: u16 = 20;
/// The shortest packet there is: an IPv4 header.
pub(super) const SHORTEST: u16 = IPV4_HEADER;
const IPV6_HEADER: u16 = 40;

/// How a stream packet travels inside a pooled packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowType {
    /// Type 4: a whole IPv4 packet.
    WholeIpv4,
    /// Type 41: a whole IPv6 packet.
    WholeIpv6,
    /// Type 128: a packet of a provisioned stream, without its headers.
    Provisioned,
    /// Any other type: a representation that means something to the addressee alone. Reserved here.
    Other(u8),
}

impl RowType {
    /// The type with this number on the wire.
    #[inline(always)]
    pub const fn of(number: u8) -> RowType {
        match number {
            4 => RowType::WholeIpv4,
            41 => RowType::WholeIpv6,
            128 => RowType::Provisioned,
            other => RowType::Other(other),
        }
    }

    /// The number on the wire.
    #[inline(always)]
    pub const fn number(self) -> u8 {
        match self {
            RowType::WholeIpv4 => 4,
            RowType::WholeIpv6 => 41,
            RowType::Provisioned => 128,
            RowType::Other(number) => number,
        }
    }

    /// Whether the row is a packet as it is, which any node on the way can take out.
    #[inline(always)]
    pub const fn is_whole(self) -> bool {
        matches!(self, RowType::WholeIpv4 | RowType::WholeIpv6)
    }
}

/// A row of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where its packet starts, in bytes from the start of the data.
    pub start: u16,
    /// Length of its packet in bytes: at least that of an IP header where the packet is whole.
    pub length: u16,
    /// At the how-manieth node it is taken out. The addressee takes all rows whatever it says.
    pub ttl: u8,
    /// How the packet travels.
    pub row_type: RowType,
}

impl Row {
    /// Reads a row; nothing is checked.
    #[inline(always)]
    fn parse(bytes: &[u8; ROW_LEN]) -> Row {
        let &[s0, s1, l0, l1, ttl, row_type] = bytes;
        let (start, length) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([l0, l1]));
        Row { start, length, ttl, row_type: RowType::of(row_type) }
    }

    /// Writes the row as it is on the wire.
    #[inline]
    pub fn write(&self, out: &mut [u8; ROW_LEN]) {
        let (place, rest) = out.split_at_mut(4);
        place.copy_from_slice(&(u32::from(self.start) << 16 | u32::from(self.length)).to_be_bytes());
        rest.copy_from_slice(&[self.ttl, self.row_type.number()]);
    }
}

/// A pooled packet all of whose bounds hold: its rows lie behind each other, from the first byte of the data to the
/// last, and each whole packet has the version that its row's type says, and its row's length.
#[derive(Clone, Copy, Debug)]
pub struct PooledPacket<'a> {
    /// The pool header as it came: a word, so that it is read in the width that it was written in.
    header: u64,
    index: &'a [[u8; ROW_LEN]],
    data: &'a [u8],
}

impl<'a> PooledPacket<'a> {
    /// Reads a UDP payload of kind 0 as its addressee, which takes the types that are known here, and checks every bound before it
    /// touches what the bound is about.
    #[inline(always)]
    pub fn parse(payload: &'a [u8]) -> Result<PooledPacket<'a>, WireError> {
        PooledPacket::check::<false>(payload)
    }

    /// Reads it as a node on the way, which carries on what it does not know: of such rows it checks only that they lie
    /// where they should.
    #[inline]
    pub fn parse_in_transit(payload: &'a [u8]) -> Result<PooledPacket<'a>, WireError> {
        PooledPacket::check::<true>(payload)
    }

    #[inline(always)]
    fn check<const IN_TRANSIT: bool>(payload: &'a [u8]) -> Result<PooledPacket<'a>, WireError> {
        let (fixed, behind) = payload.split_first_chunk().ok_or(WireError::TruncatedHeader)?;
        if Kind::parse(fixed)? != Kind::Pooled {
            return Err(WireError::UnsupportedKind);
        }
        let &[_, count, ..] = fixed;
        if count == 0 {
            return Err(WireError::NoRows);
        }
        let rows = usize::from(count) * ROW_LEN;
        let (index, data) = behind.split_at_checked(rows).ok_or(WireError::TruncatedIndex)?;
        let index = index.as_chunks::<ROW_LEN>().0;
        check_bounds::<IN_TRANSIT>(index, data)?;
        Ok(PooledPacket { header: u64::from_ne_bytes(*fixed), index, data })
    }

    /// A pooled packet whose header says how many rows there are in `index`, which came apart from `data`, read as its
    /// addressee.
    #[inline]
    pub(super) fn of_parts(
        header: PoolHeader,
        index: &'a [[u8; ROW_LEN]],
        data: &'a [u8],
    ) -> Result<PooledPacket<'a>, WireError> {
        check_bounds::<false>(index, data)?;
        let mut fixed = [0; HEADER_LEN];
        // Of this kind alone the template is a set of flags.
        PoolHeader { kind: Kind::Pooled, template: 0, ..header }.write(&mut fixed);
        Ok(PooledPacket { header: u64::from_ne_bytes(fixed), index, data })
    }

    /// The pool header.
    #[inline(always)]
    pub fn header(&self) -> PoolHeader {
        PoolHeader::with_kind(Kind::Pooled, &self.header.to_ne_bytes())
    }

    /// The packets, all of them, one behind the other.
    #[inline]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The rows in order, without a look at the data.
    #[inline]
    pub fn index(&self) -> impl Iterator<Item = Row> + use<'a> {
        self.index.iter().map(Row::parse)
    }

    /// The rows in order, each with its packet.
    #[inline(always)]
    pub fn rows(&self) -> Rows<'a> {
        Rows { index: self.index.iter(), rest: self.data }
    }
}

/// The rows of a pooled packet that have not been looked at.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    index: std::slice::Iter<'a, [u8; ROW_LEN]>,
    rest: &'a [u8],
}

impl Rows<'_> {
    /// Whether all have been looked at.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.index.as_slice().is_empty()
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = (Row, &'a [u8]);

    #[inline(always)]
    fn next(&mut self) -> Option<(Row, &'a [u8])> {
        let row = Row::parse(self.index.next()?);
        let (packet, behind) = self.rest.split_at_checked(usize::from(row.length))?;
        self.rest = behind;
        Some((row, packet))
    }
}

/// Checks every bound between an index and data. It is a small function by itself: inside of a large one its loop has no
/// registers.
#[inline(never)]
fn check_bounds<const IN_TRANSIT: bool>(index: &[[u8; ROW_LEN]], data: &[u8]) -> Result<(), WireError> {
    let (mut rest, mut end) = (data, 0);
    for (at, row) in index.iter().enumerate() {
        let &[s0, s1, l0, l1, _, row_type] = row;
        let (start, length) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([l0, l1]));
        // Nearly all rows are in their place and of IPv4. What another one is, or lacks, is found out below.
        if row_type == RowType::WholeIpv4.number()
            && u32::from(start) == end
            && length >= IPV4_HEADER
            && let Some((&[v, _, p0, p1, ..], behind)) = rest.split_at_checked(usize::from(length))
            && v >> 4 == 4
            && [p0, p1] == [l0, l1]
        {
            (rest, end) = (behind, end + u32::from(length));
            continue;
        }
        let row = Row::parse(row);
        if !IN_TRANSIT && matches!(row.row_type, RowType::Other(_)) {
            return Err(WireError::UnsupportedType);
        }
        end = check_start(&row, end, at, index)?;
        rest = check_packet(&row, rest)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(WireError::TrailingData) }
}

/// Whether `row`, which is number `at` of `index`, starts at `end`, where the one in front of it ends. Returns where it ends
/// itself.
#[inline(always)]
fn check_start(row: &Row, end: u32, at: usize, index: &[[u8; ROW_LEN]]) -> Result<u32, WireError> {
    if u32::from(row.start) == end {
        Ok(end + u32::from(row.length))
    } else {
        Err(start_error(row, at.checked_sub(1).and_then(|before| index.get(before))))
    }
}

/// What is wrong with a row that does not start where the one in front of it ends.
#[cold]
fn start_error(row: &Row, previous: Option<&[u8; ROW_LEN]>) -> WireError {
    let Some(previous) = previous.map(Row::parse) else { return WireError::FirstRowStart };
    let end = u32::from(previous.start) + u32::from(previous.length);
    match u32::from(row.start) {
        start if start > end => WireError::RowGap,
        _ if row.start < previous.start => WireError::RowOrder,
        _ => WireError::RowOverlap,
    }
}

/// Whether rows whose data is elsewhere lie behind each other, and none is shorter than any packet.
#[inline]
pub(super) fn check_rows(index: &[[u8; ROW_LEN]]) -> Result<(), WireError> {
    let mut end = 0;
    for (at, row) in index.iter().enumerate() {
        let row = Row::parse(row);
        if !row.row_type.is_whole() {
            return Err(WireError::UnsupportedType);
        }
        end = check_start(&row, end, at, index)?;
        if row.length < shortest(row.row_type) {
            return Err(WireError::RowTooShort);
        }
    }
    Ok(())
}

/// Whether `packet` is an IP packet of either family, as long as its own header says.
#[inline]
pub(super) fn check_whole(packet: &[u8]) -> Result<(), WireError> {
    let (shortest, length) = match packet {
        [0x40..0x50, _, l0, l1, ..] => (SHORTEST, u32::from(u16::from_be_bytes([*l0, *l1]))),
        [0x60..0x70, _, _, _, l0, l1, ..] => {
            (IPV6_HEADER, u32::from(IPV6_HEADER) + u32::from(u16::from_be_bytes([*l0, *l1])))
        }
        _ => return Err(WireError::InnerVersion),
    };
    if packet.len() < usize::from(shortest) {
        return Err(WireError::RowTooShort);
    }
    if u32::try_from(packet.len()) == Ok(length) { Ok(()) } else { Err(WireError::InnerLength) }
}

/// The shortest packet of a type, in bytes.
#[inline(always)]
const fn shortest(row_type: RowType) -> u16 {
    match row_type {
        RowType::WholeIpv4 => IPV4_HEADER,
        RowType::WholeIpv6 => IPV6_HEADER,
        RowType::Provisioned | RowType::Other(_) => 0,
    }
}

/// Whether `data`, which starts where `row` does, holds the packet that the row is about. Returns what is behind it.
#[inline(always)]
fn check_packet<'a>(row: &Row, data: &'a [u8]) -> Result<&'a [u8], WireError> {
    if row.length < shortest(row.row_type) {
        return Err(WireError::RowTooShort);
    }
    let (packet, rest) = data.split_at_checked(usize::from(row.length)).ok_or(WireError::RowBeyondData)?;
    match (row.row_type, packet) {
        (RowType::WholeIpv4, [first, ..]) if first >> 4 != 4 => Err(WireError::InnerVersion),
        (RowType::WholeIpv4, [_, _, l0, l1, ..]) if u16::from_be_bytes([*l0, *l1]) == row.length => Ok(rest),
        (RowType::WholeIpv6, [first, ..]) if first >> 4 != 6 => Err(WireError::InnerVersion),
        // The row is not shorter than the header.
        (RowType::WholeIpv6, [_, _, _, _, l0, l1, ..])
            if u16::from_be_bytes([*l0, *l1]) == row.length.saturating_sub(IPV6_HEADER) =>
        {
            Ok(rest)
        }
        (RowType::Provisioned | RowType::Other(_), _) => Ok(rest),
        _ => Err(WireError::InnerLength),
    }
}

/// The bytes that the header and an index of `rows` rows take.
#[inline]
pub const fn header_and_rows_len(rows: usize) -> usize {
    HEADER_LEN + rows * ROW_LEN
}

/// Writes header and index of a pooled packet (kind 0) to `out`, which the data follows directly, and returns the sum
/// of what it wrote, for the UDP checksum. None where there is no row or more than [`MAX_ROWS`], or `out` is not
/// exactly as long as [`header_and_rows_len`] says.
#[inline]
pub fn write_header_and_rows(outer_ttl: u8, sequence: u32, rows: &[Row], out: &mut [u8]) -> Option<Sum> {
    let count = u8::try_from(rows.len()).ok().filter(|count| *count > 0)?;
    if out.len() != header_and_rows_len(rows.len()) {
        return None;
    }
    let (header, index) = out.split_first_chunk_mut::<HEADER_LEN>()?;
    PoolHeader { kind: Kind::Pooled, count, outer_ttl, template: 0, sequence }.write(header);
    for (row, out) in rows.iter().zip(index.as_chunks_mut::<ROW_LEN>().0) {
        row.write(out);
    }
    Some(Sum::of(out))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::mutation::mutated;

    /// A UDP payload of kind 0 that carries a packet of each length, each filled with its number.
    pub(crate) fn pooled(lengths: &[u16]) -> Vec<u8> {
        let mut rows = Vec::new();
        let mut data = Vec::new();
        for (number, &length) in lengths.iter().enumerate() {
            rows.push(Row { start: data.len() as u16, length, ttl: 1, row_type: RowType::WholeIpv4 });
            let mut packet = vec![number as u8; usize::from(length)];
            packet[0] = 0x45;
            packet[2..4].copy_from_slice(&length.to_be_bytes());
            data.extend_from_slice(&packet);
        }
        let mut payload = vec![0; header_and_rows_len(rows.len())];
        write_header_and_rows(64, 7, &rows, &mut payload).unwrap();
        payload.extend_from_slice(&data);
        payload
    }

    fn broken(change: impl FnOnce(&mut Vec<u8>)) -> WireError {
        let mut payload = pooled(&[30, 40, 20]);
        change(&mut payload);
        PooledPacket::parse(&payload).map(|_| ()).unwrap_err()
    }

    fn set_u16(payload: &mut [u8], at: usize, value: u16) {
        payload[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    const ROW_0: usize = HEADER_LEN;
    const ROW_1: usize = ROW_0 + ROW_LEN;
    const ROW_2: usize = ROW_1 + ROW_LEN;
    const DATA: usize = ROW_2 + ROW_LEN;

    #[test]
    fn a_pooled_packet_is_what_the_document_draws() {
        let payload = pooled(&[20, 300]);
        let expected = [
            0x10, 2, 64, 0, 0, 0, 0, 7, // version 1, kind 0; two rows; outer TTL; template; sequence
            0, 0, 0, 20, 1, 4, // start 0, length 20, TTL 1, type 4
            0, 20, 0x01, 0x2c, 1, 4, // start 20, length 300
        ];
        assert_eq!(payload[..20], expected);
        assert_eq!(payload.len(), 20 + 320);
    }

    #[test]
    fn rows_come_out_in_order_with_their_packets() {
        let payload = pooled(&[30, 40, 20]);
        let packet = PooledPacket::parse(&payload).unwrap();
        assert_eq!((packet.header().count, packet.header().outer_ttl, packet.header().sequence), (3, 64, 7));
        let rows: Vec<(u16, u16, usize, u8)> =
            packet.rows().map(|(row, bytes)| (row.start, row.length, bytes.len(), bytes[19])).collect();
        assert_eq!(rows, [(0, 30, 30, 0), (30, 40, 40, 1), (70, 20, 20, 2)]);
    }

    #[test]
    fn every_broken_bound_of_a_pooled_packet_has_its_name() {
        let cases: Vec<(WireError, WireError)> = vec![
            (broken(|p| p.truncate(7)), WireError::TruncatedHeader),
            (broken(|p| p[0] = 0x20), WireError::UnsupportedVersion),
            (broken(|p| p[0] = 0x18), WireError::AuthenticatedUnsupported),
            (broken(|p| p[0] = 0x1c), WireError::AuthenticatedUnsupported),
            (broken(|p| p[0] = 0x11), WireError::UnsupportedKind),
            (broken(|p| p[0] = 0x14), WireError::UnsupportedKind),
            (broken(|p| p[1] = 0), WireError::NoRows),
            (broken(|p| p.truncate(DATA - 1)), WireError::TruncatedIndex),
            (broken(|p| set_u16(p, ROW_0, 1)), WireError::FirstRowStart),
            (broken(|p| set_u16(p, ROW_2, 29)), WireError::RowOrder),
            (broken(|p| set_u16(p, ROW_1, 29)), WireError::RowOverlap),
            (broken(|p| set_u16(p, ROW_2, 30)), WireError::RowOverlap),
            (broken(|p| set_u16(p, ROW_1, 31)), WireError::RowGap),
            (broken(|p| p[ROW_1 + 5] = 129), WireError::UnsupportedType),
            (broken(|p| p[ROW_1 + 5] = 0), WireError::UnsupportedType),
            (broken(|p| set_u16(p, ROW_0 + 2, 19)), WireError::RowTooShort),
            (broken(|p| set_u16(p, ROW_0 + 2, 0)), WireError::RowTooShort),
            (broken(|p| set_u16(p, ROW_2 + 2, 21)), WireError::RowBeyondData),
            (broken(|p| set_u16(p, ROW_2 + 2, 0xffff)), WireError::RowBeyondData),
            (broken(|p| p.truncate(DATA + 89)), WireError::RowBeyondData),
            (broken(|p| p.push(0)), WireError::TrailingData),
            (broken(|p| p[DATA + 30] = 0x65), WireError::InnerVersion),
            (broken(|p| p[ROW_1 + 5] = 41), WireError::InnerVersion),
            (broken(|p| p[ROW_0 + 5] = 41), WireError::RowTooShort),
            (broken(|p| set_u16(p, DATA + 2, 29)), WireError::InnerLength),
        ];
        for (number, (found, expected)) in cases.iter().enumerate() {
            assert_eq!(found, expected, "case {number}");
        }
        for error in WireError::ALL {
            let of_other_kinds = matches!(
                error,
                WireError::DataTooShort
                    | WireError::IndexCount
                    | WireError::NoBlocks
                    | WireError::BlockOrder
                    | WireError::TrailingIndex
                    | WireError::UnknownTemplate
                    | WireError::TemplateLength
                    | WireError::HelloRows
                    | WireError::TruncatedHello
                    | WireError::HelloInstance
                    | WireError::RowRepetition
                    | WireError::UnsupportedEntry
                    | WireError::TruncatedReport
                    | WireError::ReportItem
            );
            assert!(of_other_kinds || cases.iter().any(|(_, expected)| *expected == error), "{error:?} was never seen");
        }
    }

    /// A UDP payload of kind 0 with one row of type 41, `length` bytes long.
    fn pooled6(length: u16) -> Vec<u8> {
        let row = Row { start: 0, length, ttl: 1, row_type: RowType::WholeIpv6 };
        let mut payload = vec![0; header_and_rows_len(1)];
        write_header_and_rows(64, 7, &[row], &mut payload).unwrap();
        let mut packet = vec![0; usize::from(length)];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&length.saturating_sub(40).to_be_bytes());
        payload.extend_from_slice(&packet);
        payload
    }

    #[test]
    fn a_whole_ipv6_packet_has_the_length_of_its_header_and_payload() {
        for length in [40, 41, 1280, u16::MAX] {
            let payload = pooled6(length);
            let packet = PooledPacket::parse(&payload).unwrap();
            let rows: Vec<_> = packet.rows().map(|(row, bytes)| (row.row_type, bytes.len())).collect();
            assert_eq!(rows, [(RowType::WholeIpv6, usize::from(length))]);
        }
        assert_eq!(PooledPacket::parse(&pooled6(39)).map(|_| ()), Err(WireError::RowTooShort));
        const DATA: usize = header_and_rows_len(1);
        let mut wrong = pooled6(100);
        wrong[DATA + 5] = 61;
        assert_eq!(PooledPacket::parse(&wrong).map(|_| ()), Err(WireError::InnerLength));
        wrong[DATA + 4..DATA + 6].fill(0xff);
        assert_eq!(PooledPacket::parse(&wrong).map(|_| ()), Err(WireError::InnerLength), "65535 + 40 does not wrap");
        wrong[DATA] = 0x45;
        assert_eq!(PooledPacket::parse(&wrong).map(|_| ()), Err(WireError::InnerVersion));
    }

    #[test]
    fn a_node_on_the_way_takes_types_it_does_not_know_for_what_they_are_not_whole_packets() {
        for number in [0, 1, 3, 5, 40, 42, 127, 129, 255] {
            let mut payload = pooled(&[30, 40, 20]);
            payload[ROW_1 + 5] = number;
            payload[DATA + 30..DATA + 70].fill(0); // whatever it is, it is not looked at
            assert_eq!(PooledPacket::parse(&payload).map(|_| ()), Err(WireError::UnsupportedType), "{number}");
            let packet = PooledPacket::parse_in_transit(&payload).unwrap();
            let types: Vec<RowType> = packet.index().map(|row| row.row_type).collect();
            assert_eq!(types, [RowType::WholeIpv4, RowType::Other(number), RowType::WholeIpv4]);
            set_u16(&mut payload, ROW_1, 31);
            assert_eq!(PooledPacket::parse_in_transit(&payload).map(|_| ()), Err(WireError::RowGap), "{number}");
        }
    }

    #[test]
    fn every_type_has_its_number() {
        for number in 0..=255 {
            assert_eq!(RowType::of(number).number(), number);
            assert_eq!(RowType::of(number).is_whole(), number == 4 || number == 41);
        }
    }

    #[test]
    fn no_index_is_written_that_no_receiver_would_take() {
        let row = Row { start: 0, length: 20, ttl: 1, row_type: RowType::WholeIpv4 };
        let mut out = vec![0; header_and_rows_len(256)];
        assert_eq!(write_header_and_rows(64, 0, &[], &mut out[..HEADER_LEN]), None);
        assert_eq!(write_header_and_rows(64, 0, &[row; 256], &mut out), None);
        assert_eq!(write_header_and_rows(64, 0, &[row], &mut out[..13]), None);
        assert_eq!(write_header_and_rows(64, 0, &[row], &mut out[..15]), None);
        assert!(write_header_and_rows(64, 0, &[row; 255], &mut out[..header_and_rows_len(255)]).is_some());
    }

    #[test]
    fn the_sum_returned_is_that_of_what_was_written() {
        let row = Row { start: 0, length: 20, ttl: 3, row_type: RowType::WholeIpv4 };
        let mut out = [0; 14];
        let sum = write_header_and_rows(61, 0xdead_beef, &[row], &mut out);
        assert_eq!(sum, Some(Sum::of(&out)));
    }

    proptest! {
        #[test]
        fn what_is_accepted_covers_its_data_and_is_written_as_it_was_read(
            payload in mutated(prop::collection::vec(20u16..80, 1..6).prop_map(|lengths| pooled(&lengths))),
        ) {
            if let Ok(packet) = PooledPacket::parse(&payload) {
                prop_assert_eq!(packet.rows().count(), usize::from(packet.header().count));
                let covered: Vec<u8> = packet.rows().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
                prop_assert_eq!(&covered[..], packet.data());
                for (row, bytes) in packet.rows() {
                    let start = usize::from(row.start);
                    prop_assert_eq!(&packet.data()[start..start + usize::from(row.length)], bytes);
                }
                let rows: Vec<Row> = packet.rows().map(|(row, _)| row).collect();
                let mut written = vec![0; header_and_rows_len(rows.len())];
                let header = packet.header();
                write_header_and_rows(header.outer_ttl, header.sequence, &rows, &mut written).unwrap();
                written[3] = header.template; // what a receiver ignores
                written.extend_from_slice(&covered);
                prop_assert_eq!(written, payload);
            }
        }

        #[test]
        fn any_lengths_that_fit_are_accepted(lengths in prop::collection::vec(20u16..250, 1..=255)) {
            let payload = pooled(&lengths);
            let packet = PooledPacket::parse(&payload).unwrap();
            let found: Vec<u16> = packet.rows().map(|(row, _)| row.length).collect();
            prop_assert_eq!(found, lengths);
        }
    }
}
