//! How packets board an open pool on the short way: where nothing is to be decided but whether they fit.
//!
//! [`PacketPooler`](super::super::packet_pooler::PacketPooler) asks here what a pool has room for, has the packets written, and
//! tells it. Whatever takes a decision [joins](PoolBuffer::join).

use super::super::layout::{Encoders, EntryWriter, Layout, NativeRows, Room};
use super::super::open_pools::PoolReference;
use super::super::shortcut::Question;
use super::PoolBuffer;
use crate::arch::{Tick, prefetch_read};
use crate::packet::{Buffer, BufferSource, ipv4};

/// Bytes of a cache line.
const LINE: usize = 64;

/// What packets find in a pool that they board together.
pub(in crate::pool) struct Seats {
    /// What is in it.
    pub(in crate::pool) rows: NativeRows,
    /// So many of them may join, at least one, and nothing is to be decided about that but whether they fit.
    pub(in crate::pool) most: u8,
    pub(in crate::pool) aboard: Aboard,
    /// Whether all its packets are of IPv6.
    pub(in crate::pool) is_ipv6: bool,
}

/// Who is in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Aboard {
    /// It is not open.
    Nobody,
    /// A packet in its own buffer.
    One,
    /// Packets in a buffer for all.
    Some,
}

impl<B: Buffer> PoolBuffer<B> {
    /// What packets find here that board together and ask this, of which the first has `length` bytes. None where their rows
    /// are not those of whole packets, or something is to be decided before it joins.
    #[inline(always)]
    pub(in crate::pool) fn seats(&self, question: Question, length: usize) -> Option<Seats> {
        let Layout::Native(rows) = &self.layout else { return None };
        let is_ipv6 = question.is_ipv6();
        let seats = match self.buffer {
            None => {
                let opens = self.asked == question && rows.can_open(length);
                // Of its rows none is taken, however many the last pool had.
                let rows = rows.emptied();
                opens.then(|| Seats { rows, most: rows.rows_left(), aboard: Aboard::Nobody, is_ipv6 })
            }
            Some(_) if self.is_shared => {
                let most = rows.rows_left().min(self.rows_to_fill().saturating_sub(rows.rows()));
                Some(Seats { rows: *rows, most, aboard: Aboard::Some, is_ipv6 })
            }
            Some(_) => {
                let takes_second = self.enough == u8::MAX;
                takes_second.then(|| Seats { rows: *rows, most: rows.rows_left(), aboard: Aboard::One, is_ipv6 })
            }
        };
        seats.filter(|seats| seats.most > 0)
    }

    /// The first packet, the TTL of its row, and whether its own is still to be decremented.
    #[inline(always)]
    pub(in crate::pool) fn first(&self) -> Option<(&[u8], u8, bool)> {
        self.buffer.as_ref().map(|first| (first.bytes(), self.trunk.distance(), self.is_plain))
    }

    /// The buffer for all, if there is one: for who tells the pool of what it writes to it.
    #[inline(always)]
    pub(in crate::pool) fn shared(&mut self) -> Option<&mut B> {
        self.buffer.as_mut().filter(|_| self.is_shared)
    }

    /// Notes what was written to the buffer for all.
    #[inline(always)]
    pub(in crate::pool) fn take_up(&mut self, rows: NativeRows) {
        self.layout = Layout::Native(rows);
    }

    /// Has this buffer, which the first packet was written to, be for all. Returns its own.
    #[inline(always)]
    pub(in crate::pool) fn share(&mut self, shared: B) -> Option<B> {
        (self.is_shared, self.is_plain) = (true, false);
        self.buffer.replace(shared)
    }

    /// Opens another pool as the last one was, with packets in a buffer for all.
    #[inline(always)]
    pub(in crate::pool) fn open_with(&mut self, shared: B, rows: NativeRows, reference: PoolReference, now: Tick) {
        (self.buffer, self.layout) = (Some(shared), Layout::Native(rows));
        (self.reference, self.opened) = (reference, now);
        (self.enough, self.is_shared, self.is_plain, self.is_held) = (u8::MAX, true, false, false);
    }

    /// Whether another pool may be opened here as the last one was, with a packet of `length` bytes that asks this, and nothing
    /// is to be decided about that.
    #[inline(always)]
    pub(in crate::pool) fn opens_again_for(&self, question: Question, length: usize) -> bool {
        let can_open = self.layout.opens_again() && self.layout.can_open(length);
        self.buffer.is_none() && self.asked == question && can_open
    }

    /// Opens another pool as the last one was, with the packet that [it opens again for](PoolBuffer::opens_again_for), whose TTL is
    /// still to be decremented.
    #[inline(always)]
    pub(in crate::pool) fn open_again(&mut self, packet: B, reference: PoolReference, now: Tick) {
        self.layout.open_again(packet.len());
        self.buffer = Some(packet);
        (self.reference, self.opened) = (reference, now);
        (self.enough, self.is_shared, self.is_plain, self.is_held) = (u8::MAX, false, true, false);
    }

    /// Whether a second packet of `length` bytes may join the first one, and nothing is to be decided about that.
    #[inline(always)]
    pub(in crate::pool) fn takes_second(&self, length: usize) -> bool {
        let fits = self.layout.opens_again() && self.layout.fits(length);
        self.buffer.is_some() && !self.is_shared && fits && self.enough == u8::MAX
    }

    /// Puts a second packet, which [it takes](PoolBuffer::takes_second), to the first: one of IPv4 whose TTL is still to be
    /// decremented. The buffers of both go back to `memory`, and what room is left is returned.
    ///
    /// # Errors
    /// The packet, and the pool is as before.
    #[inline(never)]
    pub(in crate::pool) fn second_coded<M>(
        &mut self,
        mut packet: B,
        ttl: u8,
        headroom: usize,
        encoders: (&mut Encoders, Tick),
        memory: &mut M,
    ) -> Result<Room, B>
    where
        M: BufferSource<Buffer = B>,
    {
        let Some(header) = packet.bytes().first_chunk::<{ ipv4::MIN_HEADER_LEN }>().copied() else {
            return Err(packet);
        };
        ipv4::decrement_ttl(packet.bytes_mut());
        match self.join(packet, ttl, headroom, encoders, memory) {
            Ok(_) => Ok(self.room()),
            Err((mut packet, _)) => {
                if let Some(changed) = packet.bytes_mut().first_chunk_mut() {
                    *changed = header;
                }
                Err(packet)
            }
        }
    }

    /// Whether a packet of `length` bytes may join and nothing is to be decided about that: there is a buffer for all, room,
    /// and the pool does not leave for the number of its packets.
    #[inline(always)]
    pub(in crate::pool) fn has_seat(&self, length: usize) -> bool {
        let (fits, rows) = self.layout.has_room(length);
        fits && self.buffer.is_some() && self.is_shared && rows < self.rows_to_fill()
    }

    /// The pool that has fewer packets than this does not leave for the number of them when one more joins.
    #[inline(always)]
    pub(in crate::pool) fn rows_to_fill(&self) -> u8 {
        self.enough.saturating_sub(1)
    }

    /// Writes a packet that has a seat behind those that are there, and says what room is left. None, and pool and packet are as
    /// before, where its layout is not for it. `PLAIN`: it is an IPv4 packet, and its TTL is still to be decremented.
    #[inline(never)]
    pub(in crate::pool) fn seat<const PLAIN: bool>(
        &mut self,
        packet: &mut B,
        ttl: u8,
        (encoders, now): (&mut Encoders, Tick),
    ) -> Option<Room> {
        let codecs = &mut self.codecs(encoders, now);
        let header = if PLAIN { packet.bytes().first_chunk::<{ ipv4::MIN_HEADER_LEN }>().copied() } else { None };
        if header.is_some() {
            ipv4::decrement_ttl(packet.bytes_mut());
        }
        let taken = self.layout.append(self.buffer.as_mut()?, packet.bytes(), ttl, codecs);
        if let (None, Some(header), Some(changed)) = (taken, header, packet.bytes_mut().first_chunk_mut()) {
            *changed = header;
        }
        taken.map(|()| self.layout.room())
    }

    /// The rows of its packets and the buffer for all, where these are whole and it does not leave for the number of them when
    /// one more joins.
    #[inline(always)]
    pub(in crate::pool) fn seated(&mut self) -> Option<(&mut NativeRows, &mut B)> {
        let most = self.rows_to_fill();
        match (&mut self.layout, &mut self.buffer) {
            (Layout::Native(rows), Some(shared)) if self.is_shared && rows.rows() < most => Some((rows, shared)),
            _ => None,
        }
    }

    /// Writes several IPv4 packets to it, where they are to go without the headers that the far end has learned, and there is a
    /// buffer for all.
    #[inline(always)]
    pub(in crate::pool) fn entry_writer<'a>(
        &'a mut self,
        encoders: &'a mut Encoders,
        now: Tick,
    ) -> Option<EntryWriter<'a, B>> {
        let codecs = self.codecs(encoders, now);
        match (&mut self.layout, &mut self.buffer) {
            (Layout::Learned(entries), Some(buffer)) if self.is_shared => {
                Some(EntryWriter::new(entries, buffer, codecs))
            }
            _ => None,
        }
    }

    /// Whether it is to leave because a packet of `length` bytes does not fit, and nothing is to be decided about that but how
    /// the next one opens.
    #[inline(always)]
    pub(in crate::pool) fn is_full_for(&self, length: usize) -> bool {
        let is_full = self.layout.opens_again() && !self.layout.fits(length) && self.layout.can_open(length);
        self.buffer.is_some() && is_full
    }

    /// Has what says where its buffer is brought closer.
    #[inline(always)]
    pub(in crate::pool) fn prefetch(&self) {
        let place = std::ptr::from_ref(self).cast::<u8>();
        for line in 0..size_of::<PoolBuffer<B>>().div_ceil(LINE) {
            prefetch_read(place.wrapping_add(line * LINE));
        }
    }

    /// The same with what says where the buffer's bytes are.
    #[inline(always)]
    pub(in crate::pool) fn prefetch_buffer(&self) {
        if let Some(buffer) = &self.buffer {
            buffer.prefetch();
        }
    }

    /// The same with where the next packet goes.
    #[inline(always)]
    pub(in crate::pool) fn prefetch_seat(&self) {
        if let (Some(buffer), Layout::Native(rows)) = (&self.buffer, &self.layout) {
            let bytes = buffer.bytes();
            prefetch_read(bytes.as_ptr().wrapping_add(rows.next_row()));
            prefetch_read(bytes.as_ptr_range().end);
            prefetch_read(bytes.as_ptr_range().end.wrapping_add(LINE));
        }
    }
}
