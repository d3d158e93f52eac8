//! One open pool: its first packet alone, then a buffer that packets are copied into behind each other.
//!
//! The buffer begins with room for the headers and for as many rows as the pool can come to hold. Rows are written from
//! the start of that room as packets join; when the pool is flushed, they move up to the data, the headers go in front of
//! them, and what is left of the room is cut off.

use std::net::{IpAddr, Ipv4Addr};

use super::open_pools::PoolKey;
use super::outer_header::{OUTER_LENGTH, OuterHeader};
use super::path::Trunk;
use super::ride::Ride;
use super::wire::{ROW_LEN, Row, RowType};
use crate::arch::Tick;
use crate::fib::PeerIndex;
use crate::packet::checksum::copy_and_sum;
use crate::packet::{Buffer, BufferSource, Sum};

/// The shortest packet there is: an IPv4 header.
const SHORTEST: usize = 20;

/// How much a pool can come to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PoolSize {
    /// Longest pooled packet, in bytes of IP length.
    limit: u16,
    /// Most rows, 2 to 255.
    rows: u8,
}

impl PoolSize {
    /// The size of a pool whose packets may have `mtu` bytes and `max_count` rows, in buffers that hold `room` bytes.
    /// None where not even two of the shortest packets would fit.
    pub(super) fn new(mtu: u16, max_count: u8, room: u16) -> Option<PoolSize> {
        let longest = usize::from(mtu.min(room));
        let most_rows = longest.checked_sub(OUTER_LENGTH)? / (ROW_LEN + SHORTEST);
        let rows = most_rows.min(usize::from(max_count));
        if rows < 2 {
            return None;
        }
        // While a pool is open its rows' room is taken in full, so a buffer holds that much less data.
        let reserved = (rows - 2) * ROW_LEN;
        let limit = longest.min(usize::from(room) - reserved);
        Some(PoolSize { limit: limit as u16, rows: rows as u8 })
    }

    /// Whether a packet of `length` bytes leaves room for another one.
    #[inline]
    pub(super) fn can_share(self, length: usize) -> bool {
        length >= SHORTEST && OUTER_LENGTH + 2 * ROW_LEN + length + SHORTEST <= usize::from(self.limit)
    }
}

/// What an open pool has become when it is flushed.
pub(super) enum Flushed<B> {
    /// One packet, untouched.
    Lone(B),
    /// A pooled packet, complete.
    Pooled {
        /// Starts at the outer IPv4 header.
        packet: B,
        /// At least 2.
        rows: u8,
        /// Bytes of data: the lengths of the packets carried.
        data_length: u16,
    },
    /// A buffer that turned out shorter than what was written to it.
    Broken(B),
}

/// Why a packet did not join a pool; the pool is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There was no buffer for a pooled packet: the first packet is still alone.
    NoBuffer,
    /// The buffer for all has no more room.
    NoRoom,
}

/// Whether a pool has room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// For one more of the shortest packets at least.
    Left,
    /// Not for a single one: the path MTU is reached.
    NoBytes,
    /// The largest count is reached.
    NoRows,
}

/// An open pool. It has its packets' bytes as long as it is open, and nothing when it is closed.
pub(super) struct PoolBuffer<B> {
    /// The first packet, or the buffer for all. None while no pool is open here.
    buffer: Option<B>,
    /// Whether `buffer` is one for all.
    is_shared: bool,
    content: Content,
    trunk: Trunk,
    addressee: PeerIndex,
    outer_ttl: u8,
    with_checksum: bool,
    size: PoolSize,
    key: PoolKey,
    opened: Tick,
    source: IpAddr,
    destination: IpAddr,
    source_port: u16,
    destination_port: u16,
}

/// What a pool's index and data come to so far.
#[derive(Clone, Copy, Default)]
struct Content {
    rows: u8,
    data_length: u16,
    /// Sum of rows and data.
    sum: Sum,
}

impl<B: Buffer> PoolBuffer<B> {
    /// A place where no pool is open.
    pub(super) fn vacant() -> PoolBuffer<B> {
        PoolBuffer {
            buffer: None,
            is_shared: false,
            content: Content::default(),
            trunk: Trunk::new(&[], 0),
            addressee: PeerIndex(0),
            outer_ttl: 0,
            with_checksum: false,
            size: PoolSize { limit: 0, rows: 0 },
            key: PoolKey::default(),
            opened: Tick(0),
            source: Ipv4Addr::UNSPECIFIED.into(),
            destination: Ipv4Addr::UNSPECIFIED.into(),
            source_port: 0,
            destination_port: 0,
        }
    }

    /// A pool with its first packet, which `size` says can share.
    pub(super) fn open(packet: B, ride: &Ride<'_>, size: PoolSize, port_offset: u16, now: Tick) -> PoolBuffer<B> {
        let data_length = packet.len() as u16;
        PoolBuffer {
            buffer: Some(packet),
            is_shared: false,
            content: Content { rows: 1, data_length, sum: Sum::ZERO },
            trunk: ride.path.trunk,
            addressee: ride.addressee,
            outer_ttl: ride.peer.outer_ttl,
            with_checksum: ride.peer.checksum,
            size,
            key: ride.key,
            opened: now,
            source: ride.peer.source,
            destination: ride.peer.addressee,
            source_port: ride.peer.source_port_base.wrapping_add(port_offset),
            destination_port: ride.peer.destination_port,
        }
    }

    /// The pool's key.
    #[inline(always)]
    pub(super) fn key(&self) -> PoolKey {
        self.key
    }

    /// The peer it is addressed to: the last equipped node on the path of its first packet.
    #[inline(always)]
    pub(super) fn addressee(&self) -> PeerIndex {
        self.addressee
    }

    /// The TTL of the row of a packet on `joining`; 0 where no equipped node is in reach.
    #[inline(always)]
    pub(super) fn index_ttl(&self, joining: &Trunk) -> u8 {
        self.trunk.index_ttl(joining)
    }

    /// When its first packet came.
    #[inline(always)]
    pub(super) fn opened(&self) -> Tick {
        self.opened
    }

    /// Packets in it.
    #[inline(always)]
    pub(super) fn rows(&self) -> u8 {
        self.content.rows
    }

    /// Bytes of IP length the pooled packet would have now.
    #[inline(always)]
    pub(super) fn length(&self) -> usize {
        OUTER_LENGTH + ROW_LEN * usize::from(self.content.rows) + usize::from(self.content.data_length)
    }

    /// How much it can come to hold.
    #[inline(always)]
    pub(super) fn size(&self) -> PoolSize {
        self.size
    }

    /// Whether one more packet of `length` bytes keeps the pooled packet within its limit.
    #[inline(always)]
    pub(super) fn fits(&self, length: usize) -> bool {
        self.length() + ROW_LEN + length <= usize::from(self.size.limit)
    }

    /// Whether the pool has to wait for more at all.
    #[inline(always)]
    pub(super) fn room(&self) -> Room {
        if !self.fits(SHORTEST) {
            Room::NoBytes
        } else if self.content.rows >= self.size.rows {
            Room::NoRows
        } else {
            Room::Left
        }
    }

    /// Puts a packet that fits behind those that are there. Its buffer goes back to `memory`, and that of a packet
    /// which was alone so far as well: the number returned says how many.
    ///
    /// # Errors
    /// The packet and why it could not join.
    pub(super) fn join<M>(&mut self, packet: B, ttl: u8, headroom: usize, memory: &mut M) -> Result<u64, (B, Refused)>
    where
        M: BufferSource<Buffer = B>,
    {
        if self.is_shared {
            let joined = self.buffer.as_mut().and_then(|buffer| self.content.add(buffer, packet.bytes(), ttl));
            return match joined {
                Some(()) => {
                    memory.free(packet);
                    Ok(1)
                }
                None => Err((packet, Refused::NoRoom)),
            };
        }
        let Some(first) = self.buffer.take() else { return Err((packet, Refused::NoRoom)) };
        let Some(mut shared) = memory.alloc(headroom) else {
            self.buffer = Some(first);
            return Err((packet, Refused::NoBuffer));
        };
        let mut content = Content::default();
        let reserved = OUTER_LENGTH + ROW_LEN * usize::from(self.size.rows);
        let joined = shared
            .append(reserved)
            .is_some()
            .then(|| content.add(&mut shared, first.bytes(), self.trunk.distance()))
            .flatten()
            .and_then(|()| content.add(&mut shared, packet.bytes(), ttl));
        match joined {
            Some(()) => {
                memory.free(first);
                memory.free(packet);
                self.buffer = Some(shared);
                self.is_shared = true;
                self.content = content;
                Ok(2)
            }
            None => {
                memory.free(shared);
                self.buffer = Some(first);
                Err((packet, Refused::NoBuffer))
            }
        }
    }

    /// Ends the pool; a pooled packet takes `sequence` and moves it on by one. None where no pool is open here.
    pub(super) fn flush(&mut self, sequence: &mut u32) -> Option<Flushed<B>> {
        let mut packet = self.buffer.take()?;
        if !self.is_shared {
            return Some(Flushed::Lone(packet));
        }
        let number = *sequence;
        *sequence = number.wrapping_add(1);
        match self.complete(&mut packet, number) {
            Some(()) => {
                let Content { rows, data_length, .. } = self.content;
                Some(Flushed::Pooled { packet, rows, data_length })
            }
            None => Some(Flushed::Broken(packet)),
        }
    }

    /// Moves the rows to the data and writes the headers in front of them.
    fn complete(&self, packet: &mut B, sequence: u32) -> Option<()> {
        let Content { rows, data_length, sum } = self.content;
        let index_length = ROW_LEN * usize::from(rows);
        let unused = ROW_LEN * usize::from(self.size.rows.checked_sub(rows)?);
        let header = OuterHeader {
            source: self.source,
            destination: self.destination,
            source_port: self.source_port,
            destination_port: self.destination_port,
            tos: outer_tos(self.key),
            ttl: self.outer_ttl,
            count: rows,
            sequence,
            payload_length: data_length.checked_add(index_length as u16)?,
            payload_sum: self.with_checksum.then_some(sum),
        };
        let front = packet.bytes_mut().get_mut(..OUTER_LENGTH + unused + index_length)?;
        front.copy_within(OUTER_LENGTH..OUTER_LENGTH + index_length, OUTER_LENGTH + unused);
        header.write(front.get_mut(unused..)?.first_chunk_mut()?)?;
        packet.trim_front(unused).then_some(())
    }
}

impl Content {
    /// Copies a packet behind the data of `buffer` and writes its row. None, and nothing of account changes, where
    /// there is no room.
    #[inline]
    fn add<B: Buffer>(&mut self, buffer: &mut B, packet: &[u8], ttl: u8) -> Option<()> {
        let length = u16::try_from(packet.len()).ok()?;
        let data_length = self.data_length.checked_add(length)?;
        let rows = self.rows.checked_add(1)?;
        let row_at = OUTER_LENGTH + ROW_LEN * usize::from(self.rows);
        let row = buffer.bytes_mut().get_mut(row_at..)?.first_chunk_mut::<ROW_LEN>()?;
        Row { start: self.data_length, length, ttl, row_type: RowType::WholeIpv4 }.write(row);
        let row_sum = Sum::of(row);
        let packet_sum = copy_and_sum(packet, buffer.append(packet.len())?);
        // Index and headers are of even length: where the data is in the words depends on the data alone.
        self.sum = self.sum.add(row_sum).add(Sum::ZERO.then(usize::from(self.data_length), packet_sum));
        self.data_length = data_length;
        self.rows = rows;
        Some(())
    }
}

/// The pool's class, and ECT(0) where every packet in it is ECN-capable, else Not-ECT (RFC 6040, section 4.1, where the
/// inner fields agree). An inner ECT(1) or CE stays what it is: CE on the outer packet would be copied to each packet
/// inside, and congestion that one of them met is not theirs.
#[inline(always)]
fn outer_tos(key: PoolKey) -> u8 {
    const ECT_0: u8 = 0b10;
    key.class().value() << 2 | if key.is_ecn_capable() { ECT_0 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_holds_what_mtu_count_and_buffer_allow() {
        assert_eq!(PoolSize::new(1500, 255, 2144), Some(PoolSize { limit: 1500, rows: 56 }));
        assert_eq!(PoolSize::new(1500, 5, 2144), Some(PoolSize { limit: 1500, rows: 5 }));
        assert_eq!(PoolSize::new(9000, 255, 2144), Some(PoolSize { limit: 2144 - 79 * 6, rows: 81 }));
        assert_eq!(PoolSize::new(88, 255, 2144), Some(PoolSize { limit: 88, rows: 2 }));
        assert_eq!(PoolSize::new(87, 255, 2144), None);
        assert_eq!(PoolSize::new(0, 255, 2144), None);
        assert_eq!(PoolSize::new(1500, 1, 2144), None);
        assert_eq!(PoolSize::new(1500, 2, 0), None);
    }

    #[test]
    fn a_packet_that_leaves_room_for_none_cannot_share() {
        let size = PoolSize::new(1500, 255, 2144).expect("a usual size");
        assert!(size.can_share(1500 - 36 - 12 - 20));
        assert!(!size.can_share(1500 - 36 - 12 - 20 + 1));
        assert!(!size.can_share(19));
    }
}
