//! One open pool: its first packet alone, then a buffer that packets are copied into, each where the pool's layout has
//! it.

use super::layout::{self, Codecs, Encoders, EntryWriter, Layout, NativeRows, OuterHeader, Room};
use super::open_pools::{PoolKey, PoolReference};
use super::path::Trunk;
use super::representation::{Lone, PoolLayout};
use super::ride::{LoneRide, Ride};
use super::shortcut::{Opening, Question};
use crate::arch::{Tick, TickSpan, prefetch_read};
use crate::fib::PeerIndex;
use crate::packet::{Buffer, BufferSource, ipv4};

/// Bytes of a cache line.
const LINE: usize = 64;

/// What an open pool has become when it is flushed.
pub(super) enum Flushed<B> {
    /// One packet, untouched.
    Lone(B),
    /// A pooled packet, complete.
    Pooled {
        /// Starts at the outer IPv4 header.
        packet: B,
        /// Packets in it.
        rows: u8,
        /// How many of them are entries of provisioned streams; None where it is not for those.
        entries: Option<u8>,
        /// Bytes of IP length of the packets carried.
        bytes_in: u16,
    },
    /// A buffer that turned out shorter than what was written to it.
    Broken(B),
}

/// What packets find in a pool that they board together.
pub(super) struct Seats {
    /// What is in it.
    pub(super) rows: NativeRows,
    /// So many of them may join, at least one, and nothing is to be decided about that but whether they fit.
    pub(super) most: u8,
    pub(super) aboard: Aboard,
}

/// Who is in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aboard {
    /// It is not open.
    Nobody,
    /// A packet in its own buffer.
    One,
    /// Packets in a buffer for all.
    Some,
}

/// Why a packet did not join a pool; the pool is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There was no buffer for a pooled packet: the first packet is still alone.
    NoBuffer,
    /// The pool has no more room, or its layout is not for this packet.
    NoRoom,
}

/// An open pool. It has its packets' bytes as long as it is open, and nothing when it is closed.
pub(super) struct PoolBuffer<B> {
    /// The first packet, or the buffer for all. None while no pool is open here.
    buffer: Option<B>,
    layout: Layout,
    /// Which opening of a pool this is, or was last; the default where none was.
    opening: Opening,
    /// What the packet asked that opened it.
    asked: Question,
    /// What others remember it by.
    reference: PoolReference,
    /// Whether `buffer` is one for all.
    is_shared: bool,
    /// Whether `buffer` is an IPv4 packet whose TTL is still to be decremented: where it is copied, not where it is read
    /// from soon after.
    is_plain: bool,
    trunk: Trunk,
    addressee: PeerIndex,
    key: PoolKey,
    opened: Tick,
    /// How long its window is.
    window: TickSpan,
    /// Whether it is for packets that may not wait at all.
    is_adaptive: bool,
    /// With so many packets it leaves and does not wait for its deadline.
    enough: u8,
    /// Where it has fewer than so many when its window ends, it is held.
    required: u8,
    /// How long its packets wait at most.
    hold: TickSpan,
    /// Whether its window has ended.
    is_held: bool,
    lone: Lone,
    outer: OuterHeader,
}

impl<B: Buffer> PoolBuffer<B> {
    /// A place where no pool is open.
    pub(super) fn vacant() -> PoolBuffer<B> {
        PoolBuffer {
            buffer: None,
            layout: Layout::NONE,
            opening: Opening::default(),
            asked: Question::NONE,
            reference: PoolReference::NONE,
            is_shared: false,
            is_plain: false,
            trunk: Trunk::new(&[], 0),
            addressee: PeerIndex(0),
            key: PoolKey::default(),
            opened: Tick(0),
            window: TickSpan(0),
            is_adaptive: false,
            enough: u8::MAX,
            required: 1,
            hold: TickSpan(0),
            is_held: false,
            lone: Lone::Itself,
            outer: OuterHeader::NONE,
        }
    }

    /// A pool with its first packet, for which `layout` was opened.
    pub(super) fn open(
        packet: B,
        ride: &Ride<'_>,
        layout: Layout,
        (opening, reference): (Opening, PoolReference),
        port_offset: u16,
        now: Tick,
    ) -> PoolBuffer<B> {
        PoolBuffer {
            buffer: Some(packet),
            layout,
            opening,
            asked: ride.question.unwrap_or(Question::NONE),
            reference,
            is_shared: false,
            is_plain: false,
            trunk: ride.path.trunk,
            addressee: ride.addressee,
            key: ride.key,
            opened: now,
            window: ride.rule.window,
            is_adaptive: ride.rule.adaptive,
            enough: u8::MAX,
            required: ride.rule.required_count,
            hold: ride.rule.hold,
            is_held: false,
            // A packet that leaves as itself would overtake those that wait at the addressee.
            lone: if layout.may_wait() { Lone::Pooled } else { ride.rule.lone },
            outer: OuterHeader::new(ride, port_offset),
        }
    }

    /// Whether another pool may be opened here as the last one was, with a packet of `length` bytes that asks this, and nothing
    /// is to be decided about that.
    #[inline(always)]
    pub(super) fn opens_again_for(&self, question: Question, length: usize) -> bool {
        let can_open = self.layout.opens_again() && self.layout.can_open(length);
        self.buffer.is_none() && self.asked == question && can_open && !self.is_adaptive
    }

    /// Opens another pool as the last one was, with the packet that [it opens again for](PoolBuffer::opens_again_for): one of
    /// IPv4 whose TTL is still to be decremented.
    #[inline(always)]
    pub(super) fn open_again(&mut self, packet: B, reference: PoolReference, now: Tick) {
        self.layout.open_again(packet.len());
        self.buffer = Some(packet);
        (self.reference, self.opened) = (reference, now);
        (self.enough, self.is_shared, self.is_plain, self.is_held) = (u8::MAX, false, true, false);
    }

    /// Decrements the TTL of the first packet where that is still to be done.
    #[inline(always)]
    fn settle_first(&mut self) {
        if std::mem::take(&mut self.is_plain)
            && let Some(first) = &mut self.buffer
        {
            ipv4::decrement_ttl(first.bytes_mut());
        }
    }

    /// What packets find here that board together and ask this, of which the first has `length` bytes. None where their rows
    /// are not those of whole packets, or something is to be decided before it joins.
    #[inline(always)]
    pub(super) fn seats(&self, question: Question, length: usize) -> Option<Seats> {
        let Layout::Native(rows) = &self.layout else { return None };
        let seats = match self.buffer {
            None => {
                let opens = self.asked == question && rows.can_open(length) && !self.is_adaptive;
                opens.then(|| Seats { rows: rows.emptied(), most: rows.rows_left(), aboard: Aboard::Nobody })
            }
            Some(_) if self.is_shared => {
                let most = rows.rows_left().min(self.rows_to_fill().saturating_sub(rows.rows()));
                Some(Seats { rows: *rows, most, aboard: Aboard::Some })
            }
            Some(_) => {
                let takes_second = self.enough == u8::MAX && !self.is_adaptive;
                takes_second.then(|| Seats { rows: *rows, most: rows.rows_left(), aboard: Aboard::One })
            }
        };
        seats.filter(|seats| seats.most > 0)
    }

    /// The first packet, the TTL of its row, and whether its own is still to be decremented.
    #[inline(always)]
    pub(super) fn first(&self) -> Option<(&[u8], u8, bool)> {
        self.buffer.as_ref().map(|first| (first.bytes(), self.trunk.distance(), self.is_plain))
    }

    /// The buffer for all, if there is one: for who tells the pool of what it writes to it.
    #[inline(always)]
    pub(super) fn shared(&mut self) -> Option<&mut B> {
        self.buffer.as_mut().filter(|_| self.is_shared)
    }

    /// Notes what was written to the buffer for all.
    #[inline(always)]
    pub(super) fn take_up(&mut self, rows: NativeRows) {
        self.layout = Layout::Native(rows);
    }

    /// Has this buffer, which the first packet was written to, be for all. Returns its own.
    #[inline(always)]
    pub(super) fn share(&mut self, shared: B) -> Option<B> {
        (self.is_shared, self.is_plain) = (true, false);
        self.buffer.replace(shared)
    }

    /// Opens another pool as the last one was, with packets in a buffer for all.
    #[inline(always)]
    pub(super) fn open_with(&mut self, shared: B, rows: NativeRows, reference: PoolReference, now: Tick) {
        (self.buffer, self.layout) = (Some(shared), Layout::Native(rows));
        (self.reference, self.opened) = (reference, now);
        (self.enough, self.is_shared, self.is_plain, self.is_held) = (u8::MAX, true, false, false);
    }

    /// Ends the pool and gives its buffer away, where that is one for all in which packets are whole and behind rows.
    #[inline(always)]
    pub(super) fn take_rows(&mut self) -> Option<(B, NativeRows)> {
        match self.layout {
            Layout::Native(rows) if self.is_shared => self.buffer.take().map(|shared| (shared, rows)),
            _ => None,
        }
    }

    /// Puts a second packet, which [it takes](PoolBuffer::takes_second), to the first: one of IPv4 whose TTL is still to be
    /// decremented. The buffers of both go back to `memory`, and what room is left is returned.
    ///
    /// # Errors
    /// The packet, and the pool is as before.
    #[inline(never)]
    pub(super) fn second_coded<M>(
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

    /// A pool of a single packet that nothing joins, to be flushed at once.
    pub(super) fn alone(packet: B, ride: &LoneRide<'_>, port_offset: u16) -> PoolBuffer<B> {
        PoolBuffer {
            buffer: Some(packet),
            trunk: ride.path.trunk,
            addressee: ride.addressee,
            key: ride.key,
            outer: OuterHeader::of_class(ride.peer, ride.key, port_offset),
            ..PoolBuffer::vacant()
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

    /// The TTL of the row of a packet with this ride; 0 where nobody would take it out in time: no equipped node is in
    /// reach, or all that is in the pool comes out at an addressee that is not the packet's.
    #[inline(always)]
    pub(super) fn index_ttl(&self, ride: &Ride<'_>) -> u8 {
        match self.layout.has_ttls() {
            true => self.trunk.index_ttl(&ride.path.trunk),
            false if ride.addressee == self.addressee => self.trunk.distance(),
            false => 0,
        }
    }

    /// Whether a pool is open here.
    #[inline(always)]
    pub(super) fn is_open(&self) -> bool {
        self.buffer.is_some()
    }

    /// Has what says where its buffer is brought closer.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        let place = std::ptr::from_ref(self).cast::<u8>();
        for line in 0..size_of::<PoolBuffer<B>>().div_ceil(LINE) {
            prefetch_read(place.wrapping_add(line * LINE));
        }
    }

    /// The same with what says where the buffer's bytes are.
    #[inline(always)]
    pub(super) fn prefetch_buffer(&self) {
        if let Some(buffer) = &self.buffer {
            buffer.prefetch();
        }
    }

    /// The same with where the next packet goes.
    #[inline(always)]
    pub(super) fn prefetch_seat(&self) {
        if let (Some(buffer), Layout::Native(rows)) = (&self.buffer, &self.layout) {
            let bytes = buffer.bytes();
            prefetch_read(bytes.as_ptr().wrapping_add(rows.next_row()));
            prefetch_read(bytes.as_ptr_range().end);
            prefetch_read(bytes.as_ptr_range().end.wrapping_add(LINE));
        }
    }

    /// Whether a second packet of `length` bytes may join the first one, and nothing is to be decided about that.
    #[inline(always)]
    pub(super) fn takes_second(&self, length: usize) -> bool {
        let fits = self.layout.opens_again() && self.layout.fits(length);
        self.buffer.is_some() && !self.is_shared && fits && self.enough == u8::MAX && !self.is_adaptive
    }

    /// How long its window is.
    #[inline(always)]
    pub(super) fn window(&self) -> TickSpan {
        self.window
    }

    /// Which opening of a pool this is, or was last.
    #[inline(always)]
    pub(super) fn opening(&self) -> Opening {
        self.opening
    }

    /// What others remember it by.
    #[inline(always)]
    pub(super) fn reference(&self) -> PoolReference {
        self.reference
    }

    /// Whether a packet of `length` bytes may join and nothing is to be decided about that: there is a buffer for all, room,
    /// and the pool does not leave for the number of its packets.
    #[inline(always)]
    pub(super) fn has_seat(&self, length: usize) -> bool {
        let (fits, rows) = self.layout.has_room(length);
        fits && self.buffer.is_some() && self.is_shared && rows < self.rows_to_fill()
    }

    /// Whether it is to leave because a packet of `length` bytes does not fit, and nothing is to be decided about that but how
    /// the next one opens.
    #[inline(always)]
    pub(super) fn is_full_for(&self, length: usize) -> bool {
        let is_full = self.layout.opens_again() && !self.layout.fits(length) && self.layout.can_open(length);
        self.buffer.is_some() && is_full
    }

    /// The pool that has fewer packets than this does not leave for the number of them when one more joins.
    #[inline(always)]
    pub(super) fn rows_to_fill(&self) -> u8 {
        self.enough.saturating_sub(1)
    }

    /// Writes several IPv4 packets to it, where they are to go without the headers that the far end has learned, and there is a
    /// buffer for all. `hashes` are those of the packets.
    #[inline(always)]
    pub(super) fn entry_writer<'a>(
        &'a mut self,
        (hashes, tos): (&[(u32, u32)], u8),
        encoders: &'a mut Encoders,
        now: Tick,
    ) -> Option<EntryWriter<'a, B>> {
        let codecs = self.codecs(encoders, now);
        match (&mut self.layout, &mut self.buffer) {
            (Layout::Learned(entries), Some(buffer)) if self.is_shared => {
                Some(EntryWriter::new(entries, buffer, codecs, (hashes, tos)))
            }
            _ => None,
        }
    }

    /// Writes a packet that has a seat behind those that are there, and says what room is left. None, and pool and packet are as
    /// before, where its layout is not for it. `PLAIN`: it is an IPv4 packet, and its TTL is still to be decremented.
    #[inline(never)]
    pub(super) fn seat<const PLAIN: bool>(
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

    /// Writes an IPv4 packet that has a seat, and whose TTL is still to be decremented, behind rows of whole packets, and says what room
    /// is left. None, and the pool is as before, where there are no such rows.
    #[inline(always)]
    pub(super) fn seat_row(&mut self, packet: &[u8], ttl: u8) -> Option<Room> {
        let (Layout::Native(rows), Some(shared), true) = (&self.layout, &mut self.buffer, self.is_shared) else {
            return None;
        };
        let data_at = rows.claim(shared)?;
        let written = rows.writer(shared, data_at).and_then(|mut writer| {
            writer.write(packet, ttl, true)?;
            Some(writer.finish())
        });
        shared.truncate(written.unwrap_or(data_at));
        written?;
        self.layout = Layout::Native(rows.joined_by(1, packet.len() as u16));
        Some(self.layout.room())
    }

    /// When its first packet came.
    #[inline(always)]
    pub(super) fn opened(&self) -> Tick {
        self.opened
    }

    /// Whether its packets are whole and lie behind rows.
    #[inline(always)]
    pub(super) fn has_rows(&self) -> bool {
        matches!(self.layout, Layout::Native(_))
    }

    /// How its packets lie in it.
    pub(super) fn layout(&self) -> PoolLayout {
        self.layout.kind()
    }

    /// Packets in it.
    #[inline(always)]
    pub(super) fn rows(&self) -> u8 {
        self.layout.rows()
    }

    /// Bytes of IP length the pooled packet would have now.
    #[inline(always)]
    pub(super) fn length(&self) -> usize {
        self.layout.length()
    }

    /// Whether one more packet of `length` bytes may fit.
    #[inline(always)]
    pub(super) fn fits(&self, length: usize) -> bool {
        self.layout.fits(length)
    }

    /// Whether another pool like this could begin with a packet of `length` bytes.
    #[inline]
    pub(super) fn can_open(&self, length: usize) -> bool {
        self.layout.can_open(length)
    }

    /// Whether the pool has to wait for more at all.
    #[inline(always)]
    pub(super) fn room(&self) -> Room {
        self.layout.room()
    }

    /// Whether it does not wait any longer: it was not to wait at all, or it is held and has what it is held for.
    #[inline(always)]
    pub(super) fn has_enough(&self) -> bool {
        self.layout.rows() >= self.enough
    }

    /// Has the pool leave with its first packet.
    pub(super) fn leave_at_once(&mut self) {
        self.enough = 1;
    }

    /// Whether it waits on beyond its window, for packets that its rule requires.
    #[inline(always)]
    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }

    /// How long it has to wait on when its window has ended, counted from its first packet. None: it leaves.
    pub(super) fn to_hold(&self, now: Tick) -> Option<TickSpan> {
        let has_to = !self.is_held && self.layout.rows() < self.required && now.since(self.opened) < self.hold;
        has_to.then_some(self.hold)
    }

    /// Its window has ended, and it waits on until it has what is required.
    pub(super) fn hold(&mut self) {
        self.is_held = true;
        self.enough = self.required;
    }

    /// Puts a packet behind those that are there. Its buffer goes back to `memory`, and that of a packet which was alone
    /// so far as well: the number returned says how many.
    ///
    /// # Errors
    /// The packet and why it could not join.
    pub(super) fn join<M>(
        &mut self,
        packet: B,
        ttl: u8,
        headroom: usize,
        (encoders, now): (&mut Encoders, Tick),
        memory: &mut M,
    ) -> Result<u64, (B, Refused)>
    where
        M: BufferSource<Buffer = B>,
    {
        self.settle_first();
        let codecs = &mut self.codecs(encoders, now);
        if self.is_shared {
            let append = |buffer: &mut B| self.layout.append(buffer, packet.bytes(), ttl, codecs);
            let joined = self.buffer.as_mut().and_then(append);
            return match joined {
                Some(()) => {
                    memory.free(packet);
                    Ok(1)
                }
                None => Err((packet, Refused::NoRoom)),
            };
        }
        let Some(first) = self.buffer.take() else { return Err((packet, Refused::NoRoom)) };
        let (mut shared, mut layout) = match self.share_first(&first, headroom, codecs, memory) {
            Ok(shared) => shared,
            Err(refused) => {
                self.buffer = Some(first);
                return Err((packet, refused));
            }
        };
        match layout.append(&mut shared, packet.bytes(), ttl, codecs) {
            Some(()) => {
                memory.free(first);
                memory.free(packet);
                self.buffer = Some(shared);
                self.is_shared = true;
                self.layout = layout;
                Ok(2)
            }
            None => {
                // The first packet does not leave as it was written.
                layout.withdraw(codecs);
                memory.free(shared);
                self.buffer = Some(first);
                Err((packet, Refused::NoRoom))
            }
        }
    }

    #[inline(always)]
    fn codecs<'a>(&self, encoders: &'a mut Encoders, now: Tick) -> Codecs<'a> {
        Codecs {
            compressor: &mut encoders.compressor,
            streams: &encoders.streams,
            peer: self.addressee,
            space: self.outer.id_space(),
            distance: self.trunk.distance(),
            now,
        }
    }

    /// A buffer for all, and in it the packet that was alone so far.
    #[inline(always)]
    fn share_first<M>(
        &self,
        first: &B,
        headroom: usize,
        codecs: &mut Codecs<'_>,
        memory: &mut M,
    ) -> Result<(B, Layout), Refused>
    where
        M: BufferSource<Buffer = B>,
    {
        let mut shared = memory.alloc(headroom).ok_or(Refused::NoBuffer)?;
        let mut layout = self.layout.emptied();
        let written = match shared.append(layout.reserved()) {
            Some(_) => layout.append(&mut shared, first.bytes(), codecs.distance, codecs),
            None => None,
        };
        if written.is_none() {
            memory.free(shared);
            return Err(Refused::NoRoom);
        }
        Ok((shared, layout))
    }

    /// Where no packet is to leave as itself, and one is alone: puts it into a pooled packet if there is memory for one, and
    /// returns true.
    #[inline]
    pub(super) fn pool_lone<M>(
        &mut self,
        headroom: usize,
        (encoders, now): (&mut Encoders, Tick),
        memory: &mut M,
    ) -> bool
    where
        M: BufferSource<Buffer = B>,
    {
        if self.is_shared || self.lone == Lone::Itself {
            return false;
        }
        self.settle_first();
        let Some(first) = self.buffer.take() else { return false };
        let Ok((shared, layout)) = self.share_first(&first, headroom, &mut self.codecs(encoders, now), memory) else {
            self.buffer = Some(first);
            return false;
        };
        memory.free(first);
        (self.buffer, self.layout, self.is_shared) = (Some(shared), layout, true);
        true
    }

    /// Whether what it holds means something for a short time only.
    #[inline(always)]
    pub(super) fn gets_stale(&self) -> bool {
        self.is_shared && self.layout.gets_stale()
    }

    /// The rows of its packets, where these are to go apart from them, and the longest packet they may be in.
    #[inline(always)]
    pub(super) fn rows_apart(&self) -> Option<(&[u8], u16)> {
        let buffer = self.buffer.as_ref().filter(|_| self.is_shared)?;
        Some((self.layout.rows_apart(buffer)?, self.layout.path_mtu()))
    }

    /// What its outer headers will say, or said last.
    #[inline(always)]
    pub(super) fn outer(&self) -> &OuterHeader {
        &self.outer
    }

    /// Ends the pool; a pooled packet takes `sequence` and moves it on by one. `instance` is our own. None where no pool is
    /// open here.
    pub(super) fn flush(&mut self, sequence: &mut u32, instance: u32) -> Option<Flushed<B>> {
        self.settle_first();
        let mut packet = self.buffer.take()?;
        if !self.is_shared && !self.trunk.is_overlay() {
            return Some(Flushed::Lone(packet));
        }
        let number = *sequence;
        *sequence = number.wrapping_add(1);
        if !self.is_shared {
            // Between overlay nodes nothing goes by itself.
            let bytes_in = packet.len() as u16;
            return match layout::wrap(&mut packet, &self.outer, self.trunk.distance(), number) {
                Some(()) => Some(Flushed::Pooled { packet, rows: 1, entries: None, bytes_in }),
                None => Some(Flushed::Broken(packet)),
            };
        }
        match self.layout.complete(&mut packet, &self.outer, instance, number) {
            Some(()) => {
                let layout = &self.layout;
                let (rows, entries, bytes_in) = (layout.rows(), layout.entries(), layout.bytes_in());
                Some(Flushed::Pooled { packet, rows, entries, bytes_in })
            }
            None => Some(Flushed::Broken(packet)),
        }
    }
}
