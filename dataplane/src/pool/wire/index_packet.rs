//! Kind 2: the indexes of pooled packets that travel without one (kind 1), each in a block of its own.
//!
//! An [`IndexPacket`] exists only where its blocks fill it exactly and the rows of each lie behind each other. Whether
//! they are the rows of the packet that a block names is found when both are there: [`super::DataOnly::join`].
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::pooled_packet::check_rows;
use super::{HEADER_LEN, Kind, PoolHeader, ROW_LEN, WireError};

/// The length of what is in front of the rows of a block in bytes: as much as a row.
pub const BLOCK_HEADER_LEN: usize = ROW_LEN;

/// The most that two blocks of one packet may be apart: half of what a receiver looks ahead.
pub const MAX_BLOCK_DISTANCE: u32 = 128;

/// Indexes of pooled packets, all of whose bounds hold: at least one block, each with at least one row, their sequence
/// numbers rising, and nothing behind the last.
#[derive(Clone, Copy, Debug)]
pub struct IndexPacket<'a> {
    header: PoolHeader,
    blocks: &'a [u8],
}

/// The index of one pooled packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexBlock<'a> {
    /// The sequence number of the pooled packet.
    pub sequence: u32,
    /// Its rows, as they are on the wire: at least one.
    pub rows: &'a [[u8; ROW_LEN]],
}

impl<'a> IndexPacket<'a> {
    /// Reads a UDP payload of kind 2 and checks every bound that can be checked without the pooled packets.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<IndexPacket<'a>, WireError> {
        let header = PoolHeader::parse(payload)?;
        if header.kind != Kind::Index {
            return Err(WireError::UnsupportedKind);
        }
        if header.count == 0 {
            return Err(WireError::NoBlocks);
        }
        let blocks = payload.get(HEADER_LEN..).unwrap_or_default();
        let mut rest = blocks;
        let mut first = None;
        let mut previous = None;
        for _ in 0..header.count {
            let (block, behind) = split_block(rest).ok_or(WireError::TruncatedIndex)?;
            if block.rows.is_empty() {
                return Err(WireError::NoRows);
            }
            let rises = previous.is_none_or(|previous| is_behind(block.sequence, previous));
            let first = *first.get_or_insert(block.sequence);
            if !rises || block.sequence.wrapping_sub(first) > MAX_BLOCK_DISTANCE {
                return Err(WireError::BlockOrder);
            }
            check_rows(block.rows)?;
            previous = Some(block.sequence);
            rest = behind;
        }
        if !rest.is_empty() {
            return Err(WireError::TrailingIndex);
        }
        Ok(IndexPacket { header, blocks })
    }

    /// The pool header: its count is the number of blocks.
    #[inline]
    pub fn header(&self) -> &PoolHeader {
        &self.header
    }

    /// The blocks in order.
    #[inline]
    pub fn blocks(&self) -> impl Iterator<Item = IndexBlock<'a>> + use<'a> {
        let mut rest = self.blocks;
        std::iter::from_fn(move || {
            let (block, behind) = split_block(rest)?;
            rest = behind;
            Some(block)
        })
    }
}

/// Whether a sequence number comes behind another (RFC 1982, 3.2).
#[inline]
fn is_behind(sequence: u32, other: u32) -> bool {
    (sequence.wrapping_sub(other) as i32) > 0
}

/// The first block and what is behind it. None where it does not end within `bytes`.
#[inline]
fn split_block(bytes: &[u8]) -> Option<(IndexBlock<'_>, &[u8])> {
    let (&[s0, s1, s2, s3, count, _reserved], behind) = bytes.split_first_chunk::<BLOCK_HEADER_LEN>()?;
    let (rows, behind) = behind.split_at_checked(usize::from(count) * ROW_LEN)?;
    Some((IndexBlock { sequence: u32::from_be_bytes([s0, s1, s2, s3]), rows: rows.as_chunks().0 }, behind))
}

/// Writes what is in front of the `count` rows of the pooled packet with the number `sequence`.
#[inline]
pub fn write_block_header(sequence: u32, count: u8, out: &mut [u8; BLOCK_HEADER_LEN]) {
    let [s0, s1, s2, s3] = sequence.to_be_bytes();
    *out = [s0, s1, s2, s3, count, 0];
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::mutation::mutated;
    use crate::pool::wire::data_only::tests::parted;

    /// A UDP payload of kind 2 with a block for each number, whose rows have the lengths given.
    pub(crate) fn index_packet(sequence: u32, blocks: &[(u32, &[u16])]) -> Vec<u8> {
        let mut payload = vec![0; HEADER_LEN];
        PoolHeader { kind: Kind::Index, count: blocks.len() as u8, outer_ttl: 64, template: 0, sequence }
            .write(payload.first_chunk_mut().unwrap());
        for (sequence, lengths) in blocks {
            let mut header = [0; BLOCK_HEADER_LEN];
            write_block_header(*sequence, lengths.len() as u8, &mut header);
            payload.extend_from_slice(&header);
            payload.extend(parted(lengths).1.concat());
        }
        payload
    }

    #[test]
    fn an_index_packet_is_what_the_document_draws() {
        let expected = [
            0x12, 2, 64, 0, 0, 0, 0, 9, // version 1, kind 2; two blocks; outer TTL; template; sequence
            0, 0, 0, 10, 2, 0, // of packet 10, two rows
            0, 0, 0, 30, 1, 4, // start 0, length 30, TTL 1, type 4
            0, 30, 0, 40, 1, 4, //
            0, 0, 0, 12, 1, 0, // of packet 12, one row
            0, 0, 0, 20, 1, 4,
        ];
        assert_eq!(index_packet(9, &[(10, &[30, 40]), (12, &[20])]), expected);
    }

    #[test]
    fn blocks_come_out_in_order_with_their_rows_even_where_numbers_wrap() {
        let payload = index_packet(9, &[(u32::MAX, &[30, 40]), (3, &[20])]);
        let packet = IndexPacket::parse(&payload).unwrap();
        assert_eq!((packet.header().count, packet.header().sequence), (2, 9));
        let (first, second) = (parted(&[30, 40]).1, parted(&[20]).1);
        let expected = [IndexBlock { sequence: u32::MAX, rows: &first }, IndexBlock { sequence: 3, rows: &second }];
        assert_eq!(packet.blocks().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_broken_bound_of_an_index_packet_has_its_name() {
        let broken = |change: fn(&mut Vec<u8>)| {
            let mut payload = index_packet(9, &[(10, &[30, 40]), (12, &[20])]);
            change(&mut payload);
            IndexPacket::parse(&payload).map(|_| ()).unwrap_err()
        };
        const BLOCK_0: usize = HEADER_LEN;
        const BLOCK_1: usize = BLOCK_0 + 18;
        assert_eq!(broken(|p| p.truncate(7)), WireError::TruncatedHeader);
        assert_eq!(broken(|p| p[0] = 0x11), WireError::UnsupportedKind);
        assert_eq!(broken(|p| p[1] = 0), WireError::NoBlocks);
        assert_eq!(broken(|p| p[1] = 1), WireError::TrailingIndex);
        assert_eq!(broken(|p| p[1] = 3), WireError::TruncatedIndex);
        assert_eq!(broken(|p| p.truncate(p.len() - 1)), WireError::TruncatedIndex);
        assert_eq!(broken(|p| p.truncate(BLOCK_1 + 5)), WireError::TruncatedIndex);
        assert_eq!(broken(|p| p.push(0)), WireError::TrailingIndex);
        assert_eq!(broken(|p| p[BLOCK_0 + 4] = 0), WireError::NoRows);
        assert_eq!(broken(|p| p[BLOCK_1 + 3] = 10), WireError::BlockOrder);
        assert_eq!(broken(|p| p[BLOCK_1 + 3] = 9), WireError::BlockOrder);
        assert_eq!(broken(|p| p[BLOCK_1 + 3] = 10 + 129), WireError::BlockOrder);
        assert_eq!(broken(|p| p[BLOCK_0 + 7] = 1), WireError::FirstRowStart);
        assert_eq!(broken(|p| p[BLOCK_0 + 13] = 31), WireError::RowGap);
        assert_eq!(broken(|p| p[BLOCK_0 + 13] = 29), WireError::RowOverlap);
        assert_eq!(broken(|p| p[BLOCK_1 + 9] = 19), WireError::RowTooShort);
        assert_eq!(broken(|p| p[BLOCK_1 + 11] = 0), WireError::UnsupportedType);
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_all_there_and_is_written_as_it_was_read(
            mut payload in mutated(
                prop::collection::vec(prop::collection::vec(20u16..80, 1..4), 1..4).prop_map(|blocks| {
                    let blocks: Vec<(u32, &[u16])> = (10..).zip(blocks.iter().map(Vec::as_slice)).collect();
                    index_packet(9, &blocks)
                }),
            ),
        ) {
            if let Ok(packet) = IndexPacket::parse(&payload) {
                prop_assert_eq!(packet.blocks().count(), usize::from(packet.header().count));
                let mut written = payload[..HEADER_LEN].to_vec();
                for block in packet.blocks() {
                    let mut header = [0; BLOCK_HEADER_LEN];
                    write_block_header(block.sequence, block.rows.len() as u8, &mut header);
                    written.extend_from_slice(&header);
                    written.extend_from_slice(block.rows.as_flattened());
                }
                // What a receiver ignores.
                let reserved: Vec<usize> = packet.blocks().scan(HEADER_LEN, |at, block| {
                    let reserved = *at + 5;
                    *at += BLOCK_HEADER_LEN + block.rows.len() * ROW_LEN;
                    Some(reserved)
                }).collect();
                reserved.into_iter().for_each(|at| payload[at] = 0);
                prop_assert_eq!(written, payload);
            }
        }
    }
}
