//! Kind 3: whole packets behind each other, each of the length that the rule's template has for it, without any index.
//!
//! The reserved bytes are those of the headers. A packet of another length does not fit; where it is one that the template
//! begins with, it opens the next pool.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::super::wire::{self, Kind, PoolHeader, Template, TemplateId};
use super::Room;
use super::outer_header::OuterHeader;
use crate::packet::copy::copy;
use crate::packet::{Buffer, Sum};

/// A pool of kind 3: how much it can come to hold, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) struct Records {
    id: TemplateId,
    template: Template,
    /// Outer IP header, UDP header, pool header, in bytes.
    front: u16,
    /// Longest pooled packet, in bytes of IP length.
    limit: u16,
    /// Most packets, 2 to 255.
    max_count: u8,
    count: u8,
    data_length: u16,
}

impl Records {
    /// A pool whose packets may have `mtu` bytes, of which `outer_length` are IP and UDP headers, and hold `max_count`
    /// packets, in buffers that hold `room` bytes, with one packet of `length` bytes. None where that is not what the template begins with, or leaves no room for the second.
    pub(super) fn open(
        length: usize,
        outer_length: u16,
        mtu: u16,
        max_count: u8,
        room: u16,
        (id, template): (TemplateId, Template),
    ) -> Option<Records> {
        let data_length = u16::try_from(length).ok()?;
        let (limit, front) = (mtu.min(room), outer_length + wire::HEADER_LEN as u16);
        let pool = Records { id, template, front, limit, max_count, count: 1, data_length };
        pool.can_open(length).then_some(pool)
    }

    #[inline(always)]
    fn front(&self) -> usize {
        usize::from(self.front)
    }

    #[inline(always)]
    pub(super) fn reserved(&self) -> usize {
        self.front()
    }

    #[inline(always)]
    pub(super) fn emptied(&self) -> Records {
        Records { count: 0, data_length: 0, ..*self }
    }

    #[inline(always)]
    pub(super) fn rows(&self) -> u8 {
        self.count
    }

    #[inline(always)]
    pub(super) fn bytes_in(&self) -> u16 {
        self.data_length
    }

    #[inline(always)]
    pub(super) fn length(&self) -> usize {
        self.front() + usize::from(self.data_length)
    }

    #[inline]
    pub(super) fn can_open(&self, length: usize) -> bool {
        let second = usize::from(self.template.length_at(1));
        length == usize::from(self.template.length_at(0)) && self.front() + length + second <= usize::from(self.limit)
    }

    #[inline(always)]
    pub(super) fn fits(&self, length: usize) -> bool {
        length == self.next() && self.length() + length <= usize::from(self.limit)
    }

    #[inline(always)]
    pub(super) fn room(&self) -> Room {
        if !self.fits(self.next()) {
            Room::NoBytes
        } else if self.count >= self.max_count {
            Room::NoRows
        } else {
            Room::Left
        }
    }

    #[inline]
    pub(super) fn append<B: Buffer>(&mut self, buffer: &mut B, packet: &[u8]) -> Option<()> {
        if packet.len() != self.next() {
            return None;
        }
        let data_length = self.data_length.checked_add(packet.len() as u16)?;
        let count = self.count.checked_add(1)?;
        copy(packet, buffer.append(packet.len())?).then_some(())?;
        self.data_length = data_length;
        self.count = count;
        Some(())
    }

    pub(super) fn complete<B: Buffer>(&self, buffer: &mut B, outer: &OuterHeader, sequence: u32) -> Option<()> {
        let length = self.data_length.checked_add(wire::HEADER_LEN as u16)?;
        let outer_length = self.front().checked_sub(wire::HEADER_LEN)?;
        let bytes = buffer.bytes_mut().get_mut(..outer_length + usize::from(length))?;
        let (ip_udp, behind) = bytes.split_at_mut_checked(outer_length)?;
        let pool = behind.first_chunk_mut::<{ wire::HEADER_LEN }>()?;
        let template = self.id.value();
        PoolHeader { kind: Kind::Predetermined, count: self.count, outer_ttl: outer.ttl, template, sequence }
            .write(pool);
        outer.write(length, || Sum::of_long(behind), ip_udp)
    }

    /// The length that the next packet must have.
    #[inline(always)]
    fn next(&self) -> usize {
        usize::from(self.template.length_at(self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(length: usize, lengths: &[u16]) -> Option<Records> {
        let (id, template) = (TemplateId::new(7).unwrap(), Template::new(lengths).unwrap());
        Records::open(length, 28, 1500, 3, 2144, (id, template))
    }

    #[test]
    fn a_pool_opens_with_the_first_length_and_goes_on_with_the_next() {
        assert!(opened(200, &[60, 200]).is_none());
        let pool = opened(60, &[60, 200]).unwrap();
        assert!(pool.fits(200) && !pool.fits(60) && !pool.fits(199));
        assert_eq!(pool.room(), Room::Left);
    }

    #[test]
    fn a_pool_has_room_as_long_as_the_next_length_fits() {
        assert!(opened(700, &[700, 764]).is_some());
        assert!(opened(700, &[700, 765]).is_none(), "the second one would never fit");
        let full = Records { count: 2, data_length: 1400, ..opened(700, &[700, 700]).unwrap() };
        assert_eq!(full.room(), Room::NoBytes);
        let full = Records { count: 3, data_length: 180, ..opened(60, &[60]).unwrap() };
        assert_eq!(full.room(), Room::NoRows);
    }
}
