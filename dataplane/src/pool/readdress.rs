//! Readdressing at an overlay node: the rows that are not due leave in a pooled packet to the next node at once, without
//! another window.
//!
//! The overlay node chooses the rows; here they get a packet of their own. Every TTL goes down by one, so that a pooled
//! packet that goes round in circles ends, although the TTLs of the packets inside stay as they are.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::layout::{OuterHeader, outer_length};
use super::ride::PeerPath;
use super::wire::{HEADER_LEN, Kind, OVERLAY, PoolHeader, PooledPacket, ROW_LEN, Row};
use crate::packet::checksum::copy_and_sum;
use crate::packet::{Buffer, BufferSource, Sum};

/// Some of the rows of a pooled packet, by their position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowSet([u64; 4]);

impl RowSet {
    /// Adds the row at this position.
    #[inline]
    pub fn insert(&mut self, row: u8) {
        if let Some(word) = self.0.get_mut(usize::from(row >> 6)) {
            *word |= 1 << (row & 63);
        }
    }

    /// Whether the row at this position is among them.
    #[inline(always)]
    pub fn contains(&self, row: u8) -> bool {
        self.0.get(usize::from(row >> 6)).is_some_and(|word| word >> (row & 63) & 1 == 1)
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> u8 {
        self.0.iter().map(|word| word.count_ones()).sum::<u32>() as u8
    }

    /// Whether there is none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}

/// Where readdressed rows go.
#[derive(Clone, Copy, Debug)]
pub struct Onward<'a> {
    /// The next overlay node.
    pub peer: &'a PeerPath,
    /// Added to the peer's first source port.
    pub port_offset: u16,
    /// The sequence number.
    pub sequence: u32,
    /// DSCP and ECN of the packet that they came in: a mark on its way is passed on (RFC 6040, 4.2).
    pub tos: u8,
}

/// A pooled packet with those rows of `packet`, each with one hop less to go, in a fresh buffer with `headroom` bytes in
/// front. None, and nothing is held, where there is no buffer, or the packet would be too long for the way.
pub fn readdress<S: BufferSource>(
    packet: &PooledPacket<'_>,
    rows: &RowSet,
    onward: &Onward<'_>,
    headroom: usize,
    source: &mut S,
) -> Option<S::Buffer> {
    let mut buffer = source.alloc(headroom)?;
    if write(packet, rows, onward, &mut buffer).is_none() {
        source.free(buffer);
        return None;
    }
    Some(buffer)
}

fn write<B: Buffer>(packet: &PooledPacket<'_>, rows: &RowSet, onward: &Onward<'_>, buffer: &mut B) -> Option<()> {
    let chosen = || (0..=u8::MAX).zip(packet.rows()).filter(|(at, _)| rows.contains(*at)).map(|(_, row)| row);
    let data_length: usize = chosen().map(|(_, bytes)| bytes.len()).sum();
    let index_length = ROW_LEN * usize::from(rows.len());
    let outer_length = usize::from(outer_length(onward.peer.source, onward.peer.addressee)?);
    let length = outer_length + HEADER_LEN + index_length + data_length;
    if length > usize::from(onward.peer.mtu) {
        return None;
    }
    let (ip_udp, behind) = buffer.append(length)?.split_at_mut_checked(outer_length)?;
    let (pool, behind) = behind.split_first_chunk_mut::<HEADER_LEN>()?;
    let (index, mut data) = behind.split_at_mut_checked(index_length)?;
    let (mut start, mut sum) = (0u16, Sum::ZERO);
    for ((row, bytes), out) in chosen().zip(index.as_chunks_mut::<ROW_LEN>().0) {
        Row { start, ttl: row.ttl.checked_sub(1)?, ..row }.write(out);
        let (place, rest) = data.split_at_mut_checked(bytes.len())?;
        let data_sum = copy_and_sum(bytes, place);
        // Headers and index are of even length: where the data is in the words depends on the data alone.
        sum = sum.add(Sum::of(out)).add(Sum::ZERO.then(usize::from(start), data_sum));
        start = start.checked_add(row.length)?;
        data = rest;
    }
    let outer = OuterHeader::to(onward.peer, onward.tos, onward.port_offset);
    let (count, outer_ttl) = (rows.len(), onward.peer.outer_ttl);
    PoolHeader { kind: Kind::Pooled, count, outer_ttl, template: OVERLAY, sequence: onward.sequence }.write(pool);
    let payload_length = u16::try_from(HEADER_LEN + index_length + data_length).ok()?;
    outer.write(payload_length, || Sum::of(pool).add(sum), ip_udp)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::heap_buffer::HeapSource;
    use crate::packet::ipv4::Ipv4Header;
    use crate::packet::udp::{Verdict, verify};
    use crate::pool::Format;
    use crate::pool::hello::Capabilities;
    use crate::pool::wire::{RowType, header_and_rows_len, write_header_and_rows};

    fn peer(mtu: u16) -> PeerPath {
        PeerPath {
            addressee: std::net::Ipv4Addr::new(198, 51, 100, 7).into(),
            source: std::net::Ipv4Addr::new(192, 0, 2, 1).into(),
            mtu,
            outer_ttl: 64,
            source_port_base: 7665,
            destination_port: 7665,
            checksum: true,
            format: Format::Native,
            capabilities: Capabilities::WHOLE_IPV4,
        }
    }

    /// A payload of kind 0 whose rows have these lengths and TTLs.
    fn payload(rows: &[(u16, u8)]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (number, &(length, ttl)) in rows.iter().enumerate() {
            index.push(Row { start: data.len() as u16, length, ttl, row_type: RowType::WholeIpv4 });
            let mut packet = vec![number as u8; usize::from(length)];
            packet[0] = 0x45;
            packet[2..4].copy_from_slice(&length.to_be_bytes());
            data.extend(packet);
        }
        let mut payload = vec![0; header_and_rows_len(rows.len())];
        write_header_and_rows(60, 9, &index, &mut payload).expect("room");
        payload.extend(data);
        payload
    }

    proptest! {
        #[test]
        fn the_rows_that_were_chosen_go_on_with_one_hop_less_and_the_others_do_not(
            rows in prop::collection::vec((20u16..90, 1u8..5, any::<bool>()), 1..12),
        ) {
            prop_assume!(rows.iter().any(|row| row.2));
            let payload = payload(&rows.iter().map(|row| (row.0, row.1)).collect::<Vec<_>>());
            let packet = PooledPacket::parse(&payload).expect("sound");
            let mut chosen = RowSet::default();
            (0..=u8::MAX).zip(&rows).filter(|(_, row)| row.2).for_each(|(at, _)| chosen.insert(at));
            let onward = Onward { peer: &peer(1500), port_offset: 3, sequence: 77, tos: 0xbb };
            let mut source = HeapSource { room: 2048, available: 1 };
            let out = readdress(&packet, &chosen, &onward, 128, &mut source).expect("it fits");

            let header = Ipv4Header::parse(out.bytes()).expect("a sound outer header");
            prop_assert_eq!((header.ttl, header.dscp_ecn, usize::from(header.total_len)), (64, 0xbb, out.bytes().len()));
            let udp = header.payload(out.bytes()).expect("payload");
            prop_assert_eq!(verify(header.src, header.dst, udp), Verdict::Valid);
            prop_assert_eq!(&udp[..2], &7668u16.to_be_bytes());
            let read = PooledPacket::parse(&udp[8..]).expect("sound");
            prop_assert!(read.header().is_overlay() && read.header().sequence == 77);
            let expected: Vec<_> = (0u8..)
                .zip(packet.rows())
                .filter(|(at, _)| chosen.contains(*at))
                .map(|(_, (row, bytes))| (row.ttl - 1, bytes.to_vec()))
                .collect();
            let found: Vec<_> = read.rows().map(|(row, bytes)| (row.ttl, bytes.to_vec())).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_example_of_the_document_is_readdressed_as_it_says() {
        let mut payload = payload(&[(20, 3), (300, 2)]);
        payload[3] = OVERLAY;
        let packet = PooledPacket::parse(&payload).expect("sound");
        let mut both = RowSet::default();
        both.insert(0);
        both.insert(1);
        let onward = Onward { peer: &peer(1500), port_offset: 0, sequence: 0x100, tos: 0 };
        let mut source = HeapSource { room: 2048, available: 1 };
        let out = readdress(&packet, &both, &onward, 64, &mut source).expect("it fits");
        let expected =
            [[0x10, 2, 64, 1, 0, 0, 1, 0].as_slice(), &[0, 0, 0, 20, 2, 4], &[0, 20, 1, 44, 1, 4], packet.data()];
        assert_eq!(out.bytes()[28..], expected.concat());
    }

    #[test]
    fn rows_that_the_way_cannot_take_hold_no_buffer() {
        let payload = payload(&[(100, 2), (100, 2)]);
        let packet = PooledPacket::parse(&payload).expect("sound");
        let mut both = RowSet::default();
        both.insert(0);
        both.insert(1);
        let whole = (28 + HEADER_LEN + 2 * ROW_LEN + 200) as u16;
        for (mtu, room, fits) in [(whole, 2048, true), (whole - 1, 2048, false), (whole, 200, false)] {
            let mut source = HeapSource { room, available: 1 };
            let onward = Onward { peer: &peer(mtu), port_offset: 0, sequence: 0, tos: 0 };
            let out = readdress(&packet, &both, &onward, 64, &mut source);
            assert_eq!((out.is_some(), source.available), (fits, usize::from(!fits)), "MTU {mtu}, room {room}");
        }
    }
}
