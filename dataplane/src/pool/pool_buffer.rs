//! One open pool: its first packet alone, then a buffer that packets are copied into, each where the pool's layout has
//! it.
//!
//! Here is what a pool is, and how it comes and goes; [`seats`] has how packets board it on the short way.

mod seats;

pub(super) use seats::{Aboard, Seats};

use super::layout::{self, Codecs, Encoders, Layout, NativeRows, OuterHeader, Room};
use super::open_pools::{PoolKey, PoolReference};
use super::path::Trunk;
use super::representation::{Lone, PoolLayout};
use super::ride::{LoneRide, Ride};
use super::shortcut::{Opening, Question};
use crate::arch::{Tick, TickSpan};
use crate::fib::PeerIndex;
use crate::packet::ipv6::decrement_hop_limit;
use crate::packet::{Buffer, BufferSource, ipv4};

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
    /// Whether `buffer` is a packet whose TTL is still to be decremented: where it is copied, not where it is read
    /// from soon after.
    is_plain: bool,
    trunk: Trunk,
    addressee: PeerIndex,
    key: PoolKey,
    opened: Tick,
    /// How long its window is.
    window: TickSpan,
    /// Whether its packets wait only where company is likely.
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

    /// Whether its packets wait only where company is likely.
    #[inline(always)]
    pub(super) fn is_adaptive(&self) -> bool {
        self.is_adaptive
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

    /// Decrements the TTL of the first packet where that is still to be done.
    #[inline(always)]
    fn settle_first(&mut self) {
        if std::mem::take(&mut self.is_plain)
            && let Some(first) = &mut self.buffer
        {
            let bytes = first.bytes_mut();
            // Which was above 0.
            let _ = match bytes.first() {
                Some(0x60..=0x6f) => decrement_hop_limit(bytes),
                _ => ipv4::decrement_ttl(bytes),
            };
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

    /// Ends the pool and gives its buffer away, where that is one for all in which packets are whole and behind rows.
    #[inline(always)]
    pub(super) fn take_rows(&mut self) -> Option<(B, NativeRows)> {
        match self.layout {
            Layout::Native(rows) if self.is_shared => self.buffer.take().map(|shared| (shared, rows)),
            _ => None,
        }
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
