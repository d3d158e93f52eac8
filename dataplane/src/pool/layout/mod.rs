//! How the packets of a pool lie in the pooled packet: an index in front, separators between, or neither. A pool takes
//! its layout when it opens, and asks it for everything that depends on it.
//!
//! Each layout is a file with one struct that has the methods of [`Layout`] below, and a variant there;
//! [`Layout::open`] chooses. While a pool fills, its buffer begins with [`Layout::reserved`] bytes that are free for what
//! will be in front of the data; [`Layout::complete`] writes headers there and cuts off what is left of them.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

mod data_only;
mod entry_writer;
mod learned;
mod native;
mod outer_header;
mod predetermined;
mod provisioned;
mod simplemux;

pub(super) use entry_writer::{EntryWriter, Other};
pub(super) use native::{NativeRows, wrap};
pub(super) use outer_header::{OuterHeader, length as outer_length};

use std::sync::Arc;

use self::data_only::DataOnlyRows;
use self::learned::LearnedEntries;
use self::predetermined::Records;
use self::provisioned::ProvisionedRows;
use self::simplemux::SimplemuxEntries;
use super::hello::Capabilities;
use super::learned::{Compressor, IdSpace};
use super::provisioned::StreamSet;
use super::representation::{Format, Index, PoolLayout, Representation};
use super::ride::Ride;
use crate::arch::{Tick, TickSpan};
use crate::fib::PeerIndex;
use crate::packet::Buffer;

/// The shortest packet there is: an IPv4 header.
pub(super) const SHORTEST: usize = 20;

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

/// What makes entries of packets, for the layouts that carry more than whole packets: a worker has one.
pub(super) struct Encoders {
    /// Learned headers.
    pub(super) compressor: Compressor,
    /// The provisioned streams.
    pub(super) streams: Arc<StreamSet>,
}

/// The same for one pool.
pub(super) struct Codecs<'a> {
    pub(super) compressor: &'a mut Compressor,
    pub(super) streams: &'a StreamSet,
    /// Whom the pool is addressed to.
    pub(super) peer: PeerIndex,
    /// Whose ids it uses.
    pub(super) space: IdSpace,
    /// Nodes to the addressee: a packet with a row of this TTL goes all the way.
    pub(super) distance: u8,
    /// The time.
    pub(super) now: Tick,
}

/// How the packets of one pool lie in the pooled packet, and what they come to so far.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layout {
    /// Kind 0: whole packets behind an index of rows.
    Native(NativeRows),
    /// Kind 1: whole packets, whose index goes apart.
    DataOnly(DataOnlyRows),
    /// Kind 3: whole packets of known lengths.
    Predetermined(Records),
    /// Simplemux: whole packets for the peer itself, each behind a separator.
    Simplemux(SimplemuxEntries),
    /// Kind 0: entries of provisioned streams, and whole packets.
    Provisioned(ProvisionedRows),
    /// Kind 5: learned headers, behind short rows.
    Learned(LearnedEntries),
}

impl Layout {
    /// Of a place where no pool is open.
    pub(super) const NONE: Layout = Layout::Native(NativeRows::NONE);

    /// The layout of a pool that a packet of `length` bytes opens on this ride, in buffers that hold `room` bytes behind
    /// the link header. The packet counts as the first. None where a pool cannot begin with it,
    /// or our address and the peer's are of different families. Where it may wait for more than `longest_learned`, headers are not
    /// left out that the far end has to learn.
    #[inline]
    pub(super) fn open(ride: &Ride<'_>, length: usize, room: u16, longest_learned: TickSpan) -> Option<Layout> {
        let outer_length = outer_header::length(ride.peer.source, ride.peer.addressee)?;
        let mtu = ride.peer.mtu.min(ride.rule.path_mtu.unwrap_or(u16::MAX));
        let (max_count, lone) = (ride.rule.max_count, ride.rule.lone);
        let whole = || NativeRows::open(length, outer_length, mtu, max_count, lone, room);
        if ride.path.trunk.is_overlay() {
            // Overlay nodes readdress rows that they can read.
            return Some(Layout::Native(whole()?.between_overlay_nodes()));
        }
        let takes = |flags| ride.peer.capabilities.contains(flags);
        match (ride.peer.format, ride.rule.index, ride.rule.representation) {
            (Format::Simplemux(flavour), _, _) => {
                // The format is for IPv4 inside of IPv4.
                (ride.peer.addressee.is_ipv4() && !ride.key.is_ipv6()).then_some(())?;
                let (max_count, lone) = (ride.rule.max_count, ride.rule.lone);
                SimplemuxEntries::open(length, flavour, mtu, max_count, lone, room).map(Layout::Simplemux)
            }
            (Format::Native, Index::OutOfBand, Representation::Whole) if takes(Capabilities::INDEX_OUT_OF_BAND) => {
                DataOnlyRows::open(length, outer_length, mtu, ride.rule.max_count, room).map(Layout::DataOnly)
            }
            (Format::Native, Index::Predetermined { id, template }, Representation::Whole)
                if takes(Capabilities::PREDETERMINED) =>
            {
                let (max_count, template) = (ride.rule.max_count, (id, template));
                Records::open(length, outer_length, mtu, max_count, room, template).map(Layout::Predetermined)
            }
            (Format::Native, _, Representation::Learned)
                if takes(Capabilities::LEARNED) && ride.rule.longest_wait() <= longest_learned =>
            {
                LearnedEntries::open(length, outer_length, mtu, max_count, lone, room).map(Layout::Learned)
            }
            (Format::Native, _, Representation::Provisioned) if takes(Capabilities::PROVISIONED) => {
                ProvisionedRows::open(length, whole()?).map(Layout::Provisioned)
            }
            // What the addressee does not take goes whole and behind an index in band, which every native peer takes.
            (Format::Native, _, _) => whole().map(Layout::Native),
        }
    }

    /// Which one it is.
    pub(super) fn kind(&self) -> PoolLayout {
        match self {
            Layout::Native(_) => PoolLayout::Whole,
            Layout::DataOnly(_) => PoolLayout::OutOfBand,
            Layout::Predetermined(_) => PoolLayout::Predetermined,
            Layout::Simplemux(_) => PoolLayout::Simplemux,
            Layout::Provisioned(_) => PoolLayout::Provisioned,
            Layout::Learned(_) => PoolLayout::Learned,
        }
    }

    /// Whether another pool may open as this one did, and take a second packet, without a decision.
    #[inline(always)]
    pub(super) fn opens_again(&self) -> bool {
        matches!(self, Layout::Native(_) | Layout::Learned(_))
    }

    /// The same layout with one packet of `length` bytes, which it [can open](Layout::can_open) with, where it
    /// [opens again](Layout::opens_again).
    #[inline(always)]
    pub(super) fn open_again(&mut self, length: usize) {
        match self {
            Layout::Native(rows) => rows.open_again(length),
            Layout::Learned(pool) => pool.open_again(length),
            Layout::Simplemux(_) | Layout::DataOnly(_) | Layout::Predetermined(_) | Layout::Provisioned(_) => {}
        }
    }

    /// Bytes to be kept free in front of the data while the pool is open.
    #[inline(always)]
    pub(super) fn reserved(&self) -> usize {
        match self {
            Layout::Native(rows) => rows.reserved(),
            Layout::Simplemux(entries) => entries.reserved(),
            Layout::DataOnly(rows) => rows.reserved(),
            Layout::Predetermined(records) => records.reserved(),
            Layout::Provisioned(pool) => pool.rows.reserved(),
            Layout::Learned(pool) => pool.reserved(),
        }
    }

    /// The same layout with no packet in it.
    #[inline(always)]
    pub(super) fn emptied(&self) -> Layout {
        match self {
            Layout::Native(rows) => Layout::Native(rows.emptied()),
            Layout::Simplemux(entries) => Layout::Simplemux(entries.emptied()),
            Layout::DataOnly(rows) => Layout::DataOnly(rows.emptied()),
            Layout::Predetermined(records) => Layout::Predetermined(records.emptied()),
            Layout::Provisioned(pool) => Layout::Provisioned(pool.emptied()),
            Layout::Learned(pool) => Layout::Learned(pool.emptied()),
        }
    }

    /// Whether packets can get out on the way, each where its TTL says; if not, all get out at the addressee.
    #[inline(always)]
    pub(super) fn has_ttls(&self) -> bool {
        match self {
            Layout::Native(_) | Layout::Provisioned(_) => true,
            Layout::Simplemux(_) | Layout::DataOnly(_) | Layout::Predetermined(_) | Layout::Learned(_) => false,
        }
    }

    /// Packets in it, 1 to 255.
    #[inline(always)]
    pub(super) fn rows(&self) -> u8 {
        match self {
            Layout::Native(rows) => rows.rows(),
            Layout::Simplemux(entries) => entries.rows(),
            Layout::DataOnly(rows) => rows.rows(),
            Layout::Predetermined(records) => records.rows(),
            Layout::Provisioned(pool) => pool.rows.rows(),
            Layout::Learned(pool) => pool.rows(),
        }
    }

    /// How many of them are entries of provisioned streams; None where the layout is not for those.
    #[inline(always)]
    pub(super) fn entries(&self) -> Option<u8> {
        match self {
            Layout::Provisioned(pool) => Some(pool.entries()),
            Layout::Native(_)
            | Layout::Simplemux(_)
            | Layout::DataOnly(_)
            | Layout::Predetermined(_)
            | Layout::Learned(_) => None,
        }
    }

    /// The lengths of the packets in it, summed up, in bytes of IP length.
    #[inline(always)]
    pub(super) fn bytes_in(&self) -> u16 {
        match self {
            Layout::Native(rows) => rows.bytes_in(),
            Layout::Simplemux(entries) => entries.bytes_in(),
            Layout::DataOnly(rows) => rows.bytes_in(),
            Layout::Predetermined(records) => records.bytes_in(),
            Layout::Provisioned(pool) => pool.bytes_in(),
            Layout::Learned(pool) => pool.bytes_in(),
        }
    }

    /// Bytes of IP length that the pooled packet would have now.
    #[inline(always)]
    pub(super) fn length(&self) -> usize {
        match self {
            Layout::Native(rows) => rows.length(),
            Layout::Simplemux(entries) => entries.length(),
            Layout::DataOnly(rows) => rows.length(),
            Layout::Predetermined(records) => records.length(),
            Layout::Provisioned(pool) => pool.rows.length(),
            Layout::Learned(pool) => pool.length(),
        }
    }

    /// Whether a pool like this can begin with a packet of `length` bytes.
    #[inline]
    pub(super) fn can_open(&self, length: usize) -> bool {
        match self {
            Layout::Native(rows) => rows.can_open(length),
            Layout::Simplemux(entries) => entries.can_open(length),
            Layout::DataOnly(rows) => rows.can_open(length),
            Layout::Predetermined(records) => records.can_open(length),
            Layout::Provisioned(pool) => pool.rows.can_open(length),
            Layout::Learned(pool) => pool.can_open(length),
        }
    }

    /// Whether one more packet of `length` bytes may fit; [`append`](Layout::append) has the last word.
    #[inline(always)]
    pub(super) fn fits(&self, length: usize) -> bool {
        match self {
            Layout::Native(rows) => rows.fits(length),
            Layout::Simplemux(entries) => entries.fits(length),
            Layout::DataOnly(rows) => rows.fits(length),
            Layout::Predetermined(records) => records.fits(length),
            Layout::Provisioned(pool) => pool.fits(length),
            Layout::Learned(pool) => pool.fits(length),
        }
    }

    /// Whether one more packet of `length` bytes may fit, and how many there are.
    #[inline(never)]
    pub(super) fn has_room(&self, length: usize) -> (bool, u8) {
        (self.fits(length), self.rows())
    }

    /// Whether the pool has to wait for more at all.
    #[inline(always)]
    pub(super) fn room(&self) -> Room {
        match self {
            Layout::Native(rows) => rows.room(),
            Layout::Simplemux(entries) => entries.room(),
            Layout::DataOnly(rows) => rows.room(),
            Layout::Predetermined(records) => records.room(),
            Layout::Provisioned(pool) => pool.room(),
            Layout::Learned(pool) => pool.room(),
        }
    }

    /// Writes a packet, whose row has this TTL, behind those in `buffer`, which begins with the reserved bytes. None, and
    /// what was written before still counts, where it does not fit: there is no room, or the layout is not for it.
    #[inline(always)]
    pub(super) fn append<B: Buffer>(
        &mut self,
        buffer: &mut B,
        packet: &[u8],
        ttl: u8,
        codecs: &mut Codecs<'_>,
    ) -> Option<()> {
        match self {
            Layout::Native(rows) => rows.append(buffer, packet, ttl),
            Layout::Simplemux(entries) => entries.append(buffer, packet),
            Layout::DataOnly(rows) => rows.append(buffer, packet, ttl),
            Layout::Predetermined(records) => records.append(buffer, packet),
            Layout::Provisioned(pool) => pool.append(buffer, packet, ttl, codecs),
            Layout::Learned(pool) => pool.append(buffer, packet, codecs),
        }
    }

    /// The packet that was appended last does not leave in this pool after all. It is the last one appended to any.
    #[cold]
    pub(super) fn withdraw(&self, codecs: &mut Codecs<'_>) {
        match self {
            Layout::Learned(pool) => pool.withdraw(codecs),
            Layout::Native(_)
            | Layout::Simplemux(_)
            | Layout::DataOnly(_)
            | Layout::Predetermined(_)
            | Layout::Provisioned(_) => {}
        }
    }

    /// Makes `buffer`, to which all packets were appended, the pooled packet: it then starts at its outer header and is
    /// complete, checksums included. `instance` is our own. None where the buffer is shorter than what was appended to it.
    #[inline]
    pub(super) fn complete<B: Buffer>(
        &self,
        buffer: &mut B,
        outer: &OuterHeader,
        instance: u32,
        sequence: u32,
    ) -> Option<()> {
        match self {
            Layout::Native(rows) => rows.complete(buffer, outer, sequence),
            Layout::Simplemux(entries) => entries.complete(buffer, outer),
            Layout::DataOnly(rows) => rows.complete(buffer, outer, sequence),
            Layout::Predetermined(records) => records.complete(buffer, outer, sequence),
            Layout::Provisioned(pool) => pool.rows.complete(buffer, outer, sequence),
            Layout::Learned(pool) => pool.complete(buffer, outer, instance, sequence),
        }
    }

    /// The rows of the packets in `buffer`, as they are on the wire, where these go apart from it; to be asked for before
    /// the buffer is completed.
    #[inline(always)]
    pub(super) fn rows_apart<'a, B: Buffer>(&self, buffer: &'a B) -> Option<&'a [u8]> {
        match self {
            Layout::DataOnly(rows) => rows.rows_apart(buffer),
            Layout::Native(_)
            | Layout::Simplemux(_)
            | Layout::Predetermined(_)
            | Layout::Provisioned(_)
            | Layout::Learned(_) => None,
        }
    }

    /// Whether packets wait at the addressee, so that what does not travel in the same way could overtake them.
    #[inline(always)]
    pub(super) fn may_wait(&self) -> bool {
        matches!(self, Layout::DataOnly(_))
    }

    /// Whether what it holds means something for a short time only.
    #[inline(always)]
    pub(super) fn gets_stale(&self) -> bool {
        matches!(self, Layout::Learned(_))
    }

    /// The longest packet this layout makes, in bytes of IP length: what gets to the addressee.
    #[inline(always)]
    pub(super) fn path_mtu(&self) -> u16 {
        match self {
            Layout::DataOnly(rows) => rows.path_mtu(),
            Layout::Native(_)
            | Layout::Simplemux(_)
            | Layout::Predetermined(_)
            | Layout::Provisioned(_)
            | Layout::Learned(_) => u16::MAX,
        }
    }
}
