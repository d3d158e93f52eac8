//! Simplemux (docs/simplemux.md): each packet behind a separator of its own, and nothing in front of the first.
//!
//! Every separator is known when its packet joins, so the buffer fills from front to back, and a flush writes the outer
//! headers and no more. All packets are for the peer itself: the format has no place for a TTL.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::super::representation::Lone;
use super::super::simplemux::{Flavour, MAX_ENTRIES, MAX_LENGTH, Writer};
use super::outer_header::{self, OuterHeader};
use super::{Room, SHORTEST};
use crate::packet::copy::copy;
use crate::packet::{Buffer, Sum};

/// A pool that becomes a Simplemux datagram: how much it can come to hold, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) struct SimplemuxEntries {
    /// Longest pooled packet, in bytes of IP length.
    limit: u16,
    /// Most packets, 2 to 100.
    max_entries: u8,
    /// Whether a packet may be alone in it.
    lone: Lone,
    flavour: Flavour,
    writer: Writer,
    /// The lengths of the packets, without their separators.
    bytes_in: u16,
}

impl SimplemuxEntries {
    /// A pool whose packets may have `mtu` bytes and `max_count` entries, in buffers that hold `room` bytes, with one
    /// packet of `length` bytes. None where that leaves no room for another one, unless it may be alone in a datagram.
    pub(super) fn open(
        length: usize,
        flavour: Flavour,
        mtu: u16,
        max_count: u8,
        lone: Lone,
        room: u16,
    ) -> Option<SimplemuxEntries> {
        let limit = usize::from(mtu.min(room)).min(outer_header::LENGTH_IPV4 + MAX_LENGTH) as u16;
        let max_entries = max_count.min(MAX_ENTRIES);
        let mut writer = Writer::new(flavour);
        let empty = SimplemuxEntries { limit, max_entries, lone, flavour, writer, bytes_in: 0 };
        if max_entries < 2 || !empty.can_open(length) {
            return None;
        }
        writer.add(length)?;
        Some(SimplemuxEntries { writer, bytes_in: u16::try_from(length).ok()?, ..empty })
    }

    #[inline(always)]
    pub(super) fn reserved(&self) -> usize {
        outer_header::LENGTH_IPV4
    }

    #[inline(always)]
    pub(super) fn emptied(&self) -> SimplemuxEntries {
        SimplemuxEntries { writer: Writer::new(self.flavour), bytes_in: 0, ..*self }
    }

    #[inline(always)]
    pub(super) fn rows(&self) -> u8 {
        self.writer.entries()
    }

    #[inline(always)]
    pub(super) fn bytes_in(&self) -> u16 {
        self.bytes_in
    }

    #[inline(always)]
    pub(super) fn length(&self) -> usize {
        outer_header::LENGTH_IPV4 + usize::from(self.writer.length())
    }

    #[inline]
    pub(super) fn can_open(&self, length: usize) -> bool {
        let mut alone = self.emptied();
        let is_in = length >= SHORTEST && alone.fits(length) && alone.writer.add(length).is_some();
        is_in && (self.lone == Lone::Pooled || alone.fits(SHORTEST))
    }

    #[inline(always)]
    pub(super) fn fits(&self, length: usize) -> bool {
        let growth = self.writer.growth(length);
        growth.is_some_and(|growth| self.length() + usize::from(growth) <= usize::from(self.limit))
    }

    #[inline(always)]
    pub(super) fn room(&self) -> Room {
        if self.rows() >= self.max_entries {
            Room::NoRows
        } else if !self.fits(SHORTEST) {
            Room::NoBytes
        } else {
            Room::Left
        }
    }

    #[inline]
    pub(super) fn append<B: Buffer>(&mut self, buffer: &mut B, packet: &[u8]) -> Option<()> {
        // What is said to be an IPv4 packet is one.
        packet.first().filter(|first| **first >> 4 == 4)?;
        let mut writer = self.writer;
        let separator = writer.add(packet.len())?;
        let (front, behind) = buffer.append(separator.len() + packet.len())?.split_at_mut_checked(separator.len())?;
        (copy(&separator, front) && copy(packet, behind)).then_some(())?;
        self.bytes_in = self.bytes_in.checked_add(u16::try_from(packet.len()).ok()?)?;
        self.writer = writer;
        Some(())
    }

    pub(super) fn complete<B: Buffer>(&self, buffer: &mut B, outer: &OuterHeader) -> Option<()> {
        let length = self.writer.length();
        let (front, behind) = buffer.bytes_mut().split_at_mut_checked(outer_header::LENGTH_IPV4)?;
        let datagram = behind.get(..usize::from(length))?;
        outer.write(length, || Sum::of_long(datagram), front)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::BufferSource;
    use crate::packet::heap_buffer::HeapSource;
    use crate::pool::simplemux::{Datagram, Entry};

    fn size(flavour: Flavour, mtu: u16, max_count: u8, room: u16) -> Option<(u16, u8)> {
        SimplemuxEntries::open(SHORTEST, flavour, mtu, max_count, Lone::Itself, room)
            .map(|pool| (pool.limit, pool.max_entries))
    }

    #[test]
    fn a_pool_holds_what_mtu_count_buffer_and_format_allow() {
        assert_eq!(size(Flavour::Normal, 1500, 255, 2144), Some((1500, 100)));
        assert_eq!(size(Flavour::Normal, 1500, 5, 2144), Some((1500, 5)));
        assert_eq!(size(Flavour::Normal, 9000, 255, 2144), Some((2144, 100)));
        assert_eq!(size(Flavour::Fast, 9000, 255, 9000), Some((28 + 2304, 100)));
        // Outer headers, two packets, and 2 + 1 bytes of separators, or 3 + 3.
        assert_eq!(size(Flavour::Normal, 71, 255, 2144), Some((71, 100)));
        assert_eq!(size(Flavour::Normal, 70, 255, 2144), None);
        assert_eq!(size(Flavour::Fast, 74, 255, 2144), Some((74, 100)));
        assert_eq!(size(Flavour::Fast, 73, 255, 2144), None);
        assert_eq!(size(Flavour::Normal, 1500, 1, 2144), None);
        assert_eq!(size(Flavour::Normal, 1500, 2, 0), None);
    }

    #[test]
    fn a_packet_that_leaves_room_for_none_opens_a_pool_only_where_it_may_be_alone() {
        let opens = |length, lone| SimplemuxEntries::open(length, Flavour::Normal, 1500, 255, lone, 2144).is_some();
        assert!(opens(1500 - 28 - 3 - 1 - 20, Lone::Itself));
        assert!(!opens(1500 - 28 - 3 - 1 - 20 + 1, Lone::Itself));
        assert!(opens(1500 - 28 - 3, Lone::Pooled));
        assert!(!opens(1500 - 28 - 3 + 1, Lone::Pooled));
        assert!(!opens(19, Lone::Itself) && !opens(19, Lone::Pooled));
    }

    #[test]
    fn what_is_no_ipv4_packet_does_not_get_in() {
        let mut source = HeapSource { room: 2048, available: 1 };
        let mut buffer = source.alloc(32).expect("memory");
        let mut pool =
            SimplemuxEntries::open(40, Flavour::Normal, 1500, 255, Lone::Itself, 2016).expect("room").emptied();
        buffer.append(pool.reserved()).expect("room");
        let before = pool;
        assert_eq!(pool.append(&mut buffer, &[0x60; 40]), None);
        assert_eq!((pool, buffer.len()), (before, pool.reserved()));
    }

    #[test]
    fn what_is_appended_is_a_datagram_of_as_many_bytes_as_are_told() {
        for flavour in [Flavour::Normal, Flavour::Fast] {
            let mut source = HeapSource { room: 2048, available: 1 };
            let mut buffer = source.alloc(32).expect("memory");
            let mut pool = SimplemuxEntries::open(61, flavour, 1500, 4, Lone::Itself, 2016).expect("room").emptied();
            buffer.append(pool.reserved()).expect("room");
            let packets: Vec<Vec<u8>> = [61u16, 300, 127, 128]
                .iter()
                .map(|&length| {
                    let mut packet: Vec<u8> = (0..length).map(|at| (at * 7) as u8).collect();
                    (packet[0], packet[2], packet[3]) = (0x45, (length >> 8) as u8, length as u8);
                    packet
                })
                .collect();
            for packet in &packets {
                assert_eq!(pool.room(), Room::Left);
                pool.append(&mut buffer, packet).expect("room");
                assert_eq!(pool.length(), buffer.len());
            }
            assert_eq!((pool.room(), pool.rows(), pool.bytes_in()), (Room::NoRows, 4, 616));
            let payload = &buffer.bytes()[28..];
            let datagram = Datagram::parse(flavour, payload).expect("it is sound");
            assert!(datagram.entries().zip(&packets).all(|(entry, packet)| entry == Entry::Ipv4(packet)));
        }
    }
}
