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

const TYPE_IPV4: u8 = 4;
const MIN_IPV4_LEN: u16 = 20;

/// How a stream packet travels inside a pooled packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowType {
    /// Type 4: a whole IPv4 packet. Type 41, a whole IPv6 packet, is reserved.
    WholeIpv4,
}

/// A row of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where its packet starts, in bytes from the start of the data.
    pub start: u16,
    /// Length of its packet in bytes: at least 20.
    pub length: u16,
    /// At the how-manieth node it is taken out. The addressee takes all rows whatever it says.
    pub ttl: u8,
    /// How the packet travels.
    pub row_type: RowType,
}

impl Row {
    /// Reads a row; nothing but its type is checked.
    #[inline]
    fn parse(bytes: &[u8; ROW_LEN]) -> Result<Row, WireError> {
        let &[s0, s1, l0, l1, ttl, row_type] = bytes;
        let row_type = match row_type {
            TYPE_IPV4 => RowType::WholeIpv4,
            _ => return Err(WireError::UnsupportedType),
        };
        Ok(Row { start: u16::from_be_bytes([s0, s1]), length: u16::from_be_bytes([l0, l1]), ttl, row_type })
    }

    /// Writes the row as it is on the wire.
    #[inline]
    pub fn write(&self, out: &mut [u8; ROW_LEN]) {
        let [s0, s1] = self.start.to_be_bytes();
        let [l0, l1] = self.length.to_be_bytes();
        let row_type = match self.row_type {
            RowType::WholeIpv4 => TYPE_IPV4,
        };
        *out = [s0, s1, l0, l1, self.ttl, row_type];
    }
}

/// A pooled packet all of whose bounds hold: its rows lie behind each other, from the first byte of the data to the
/// last, and each is an IPv4 packet of its row's length.
#[derive(Clone, Copy, Debug)]
pub struct PooledPacket<'a> {
    header: PoolHeader,
    index: &'a [[u8; ROW_LEN]],
    data: &'a [u8],
}

impl<'a> PooledPacket<'a> {
    /// Reads a UDP payload of kind 0 and checks every bound before it touches what the bound is about.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<PooledPacket<'a>, WireError> {
        let header = PoolHeader::parse(payload)?;
        if header.kind != Kind::Pooled {
            return Err(WireError::UnsupportedKind);
        }
        if header.count == 0 {
            return Err(WireError::NoRows);
        }
        let (index, data) = payload
            .get(HEADER_LEN..)
            .and_then(|behind| behind.split_at_checked(usize::from(header.count) * ROW_LEN))
            .ok_or(WireError::TruncatedIndex)?;
        let (index, _) = index.as_chunks::<ROW_LEN>();

        let mut previous: Option<Row> = None;
        let mut rest = data;
        for row in index {
            let row = Row::parse(row)?;
            check_start(&row, previous)?;
            rest = check_packet(&row, rest)?;
            previous = Some(row);
        }
        if !rest.is_empty() {
            return Err(WireError::TrailingData);
        }
        Ok(PooledPacket { header, index, data })
    }

    /// The pool header.
    #[inline]
    pub fn header(&self) -> &PoolHeader {
        &self.header
    }

    /// The packets, all of them, one behind the other.
    #[inline]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The rows in order, each with its packet.
    #[inline]
    pub fn rows(&self) -> impl Iterator<Item = (Row, &'a [u8])> + use<'a> {
        let mut rest = self.data;
        self.index.iter().map_while(move |row| {
            let row = Row::parse(row).ok()?;
            let (packet, behind) = rest.split_at_checked(usize::from(row.length))?;
            rest = behind;
            Some((row, packet))
        })
    }
}

/// Whether `row` starts where the one in front of it ends.
#[inline]
fn check_start(row: &Row, previous: Option<Row>) -> Result<(), WireError> {
    let Some(previous) = previous else {
        return if row.start == 0 { Ok(()) } else { Err(WireError::FirstRowStart) };
    };
    let end = u32::from(previous.start) + u32::from(previous.length);
    match u32::from(row.start) {
        start if start == end => Ok(()),
        start if start > end => Err(WireError::RowGap),
        _ if row.start < previous.start => Err(WireError::RowOrder),
        _ => Err(WireError::RowOverlap),
    }
}

/// Whether `data`, which starts where `row` does, holds the packet that the row is about. Returns what is behind it.
#[inline]
fn check_packet<'a>(row: &Row, data: &'a [u8]) -> Result<&'a [u8], WireError> {
    if row.length < MIN_IPV4_LEN {
        return Err(WireError::RowTooShort);
    }
    let (packet, rest) = data.split_at_checked(usize::from(row.length)).ok_or(WireError::RowBeyondData)?;
    match packet {
        [version_ihl, ..] if version_ihl >> 4 != 4 => Err(WireError::InnerVersion),
        [_, _, l0, l1, ..] if u16::from_be_bytes([*l0, *l1]) == row.length => Ok(rest),
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
            (broken(|p| p[ROW_1 + 5] = 41), WireError::UnsupportedType),
            (broken(|p| p[ROW_1 + 5] = 0), WireError::UnsupportedType),
            (broken(|p| set_u16(p, ROW_0 + 2, 19)), WireError::RowTooShort),
            (broken(|p| set_u16(p, ROW_0 + 2, 0)), WireError::RowTooShort),
            (broken(|p| set_u16(p, ROW_2 + 2, 21)), WireError::RowBeyondData),
            (broken(|p| set_u16(p, ROW_2 + 2, 0xffff)), WireError::RowBeyondData),
            (broken(|p| p.truncate(DATA + 89)), WireError::RowBeyondData),
            (broken(|p| p.push(0)), WireError::TrailingData),
            (broken(|p| p[DATA + 30] = 0x65), WireError::InnerVersion),
            (broken(|p| set_u16(p, DATA + 2, 29)), WireError::InnerLength),
        ];
        for (number, (found, expected)) in cases.iter().enumerate() {
            assert_eq!(found, expected, "case {number}");
        }
        for error in WireError::ALL {
            let of_hello = matches!(error, WireError::HelloRows | WireError::TruncatedHello | WireError::HelloInstance);
            assert!(of_hello || cases.iter().any(|(_, expected)| *expected == error), "{error:?} was never seen");
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
