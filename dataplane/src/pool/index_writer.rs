//! Writes the indexes of pooled packets that travel without one (kind 1) into packets of their own (kind 2), and lets
//! both leave: the index in front, so that its pooled packets seldom wait for it.
//!
//! A batch is one index packet and the pooled packets it is about. The pooler lets all batches leave at the end of its
//! round, and before anything else leaves that could overtake them.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use arrayvec::ArrayVec;

use super::layout::OuterHeader;
use super::packet_pooler::PoolSink;
use super::wire::{BLOCK_HEADER_LEN, HEADER_LEN, Kind, PoolHeader, write_block_header};
use crate::fib::PeerIndex;
use crate::packet::{Buffer, Sum};

/// Batches at one time: sequences of pooled packets, by class. With more, one leaves early.
const BATCHES: usize = 16;
/// Pooled packets that one index packet is about at the most.
const PACKETS: usize = 32;
/// The batches that have not left.
pub(super) struct IndexWriter<B> {
    batches: ArrayVec<Batch<B>, BATCHES>,
}

/// An index packet, and what it is about.
struct Batch<B> {
    flow: usize,
    peer: PeerIndex,
    outer: OuterHeader,
    /// Longest index packet, in bytes of IP length.
    limit: u16,
    sequence: u32,
    /// The index packet: room for its headers, and the blocks behind that.
    index: B,
    packets: ArrayVec<(B, u8), PACKETS>,
    blocks: u8,
}

/// What left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Departed {
    /// Index packets.
    pub(super) indexes: u64,
    /// Their bytes, from the outer IP header on.
    pub(super) bytes: u64,
}

impl<B: Buffer> IndexWriter<B> {
    /// No batch.
    pub(super) fn new() -> IndexWriter<B> {
        IndexWriter { batches: ArrayVec::new() }
    }

    /// Whether everything has left.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Buffers that have not left.
    pub(super) fn held(&self) -> usize {
        self.batches.iter().map(|batch| 1 + batch.packets.len()).sum()
    }

    /// Writes the index of the next pooled packet of the sequence `flow`, whose rows are `rows`. An index packet that begins
    /// with it takes `sequence` and moves it on; the pooled packet itself has the number after that. Returns the place where
    /// it is to be [held](IndexWriter::hold). None where there was no memory.
    #[allow(clippy::too_many_arguments)] // Whose it is, what it is, and what it takes: each is only known to the pooler.
    pub(super) fn add<M: PoolSink<Buffer = B>>(
        &mut self,
        (flow, peer): (usize, PeerIndex),
        outer: OuterHeader,
        limit: u16,
        rows: &[u8],
        sequence: &mut u32,
        headroom: usize,
        departed: &mut Departed,
        out: &mut M,
    ) -> Option<usize> {
        let outer = outer.not_ecn_capable();
        let length = BLOCK_HEADER_LEN + rows.len();
        let same = self.batches.iter().position(|batch| batch.flow == flow && batch.outer == outer);
        let at = match same {
            Some(at) if self.batches.get(at).is_some_and(|batch| batch.has_room(length)) => at,
            full_or_none => {
                if full_or_none.is_some() || self.batches.is_full() {
                    self.leave(departed, out);
                }
                let front = outer.length()? + HEADER_LEN;
                let mut index = out.alloc(headroom)?;
                if index.append(front + length).is_none() {
                    out.free(index);
                    return None;
                }
                index.truncate(front);
                let number = *sequence;
                *sequence = number.wrapping_add(1);
                let packets = ArrayVec::new();
                self.batches.push(Batch { flow, peer, outer, limit, sequence: number, index, packets, blocks: 0 });
                self.batches.len() - 1
            }
        };
        self.batches.get_mut(at)?.write(*sequence, rows)?;
        Some(at)
    }

    /// Has a pooled packet wait for the others of its batch. Gives it back where its index is not in that batch.
    pub(super) fn hold(&mut self, at: usize, packet: B, rows: u8) -> Result<(), B> {
        let Some(batch) = self.batches.get_mut(at) else { return Err(packet) };
        batch.packets.try_push((packet, rows)).map_err(|full| full.element().0)
    }

    /// Lets everything leave, what was begun first in front: a receiver takes the first number it sees of a sequence for
    /// its beginning, and what comes behind that with a lower one for late.
    #[inline]
    pub(super) fn leave<M: PoolSink<Buffer = B>>(&mut self, departed: &mut Departed, out: &mut M) {
        for batch in self.batches.drain(..) {
            batch.leave(departed, out);
        }
    }
}

impl<B: Buffer> Batch<B> {
    /// Whether a block of this length may be added.
    fn has_room(&self, length: usize) -> bool {
        self.index.len() + length <= usize::from(self.limit) && !self.packets.is_full()
    }

    fn write(&mut self, sequence: u32, rows: &[u8]) -> Option<()> {
        let count = u8::try_from(rows.len() / super::wire::ROW_LEN).ok()?;
        let blocks = self.blocks.checked_add(1)?;
        let room = self.index.append(BLOCK_HEADER_LEN + rows.len())?;
        let (header, to) = room.split_first_chunk_mut::<BLOCK_HEADER_LEN>()?;
        write_block_header(sequence, count, header);
        to.copy_from_slice(rows);
        self.blocks = blocks;
        Some(())
    }

    fn leave<M: PoolSink<Buffer = B>>(self, departed: &mut Departed, out: &mut M) {
        let Batch { peer, outer, sequence, mut index, packets, blocks, .. } = self;
        match complete(&mut index, &outer, sequence, blocks) {
            Some(()) => {
                departed.indexes += 1;
                departed.bytes += index.len() as u64;
                out.pooled(index, peer, 0);
            }
            None => out.free(index),
        }
        for (packet, rows) in packets {
            out.pooled(packet, peer, rows);
        }
    }
}

/// Writes the headers in front of the blocks.
fn complete<B: Buffer>(index: &mut B, outer: &OuterHeader, sequence: u32, blocks: u8) -> Option<()> {
    let (ip_udp, payload) = index.bytes_mut().split_at_mut_checked(outer.length()?)?;
    let pool = payload.first_chunk_mut::<HEADER_LEN>()?;
    PoolHeader { kind: Kind::Index, count: blocks, outer_ttl: outer.ttl(), template: 0, sequence }.write(pool);
    let length = u16::try_from(payload.len()).ok()?;
    outer.write(length, || Sum::of_long(payload), ip_udp)
}
