//! The packet depooler: takes the stream packets out of a pooled packet that is addressed to us.
//!
//! The worker calls it with what the detector found sound, and puts what comes out on its re-entry queue, where each
//! packet is validated like any other.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::learned::{self, OriginContexts};
use super::provisioned::{self, StreamSet};
use super::wire::{Row, RowType};
use crate::fib::PeerIndex;
use crate::packet::{Buffer, BufferSource};

/// Where packets that were taken out go.
pub trait Exit<B> {
    /// Takes a packet that is a copy of `bytes`.
    fn take(&mut self, packet: B, bytes: &[u8]);

    /// Takes one that was rebuilt.
    fn take_rebuilt(&mut self, packet: B);
}

/// What came of a pooled packet: the sum is the number of rows, or entries, that were to be taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depooled {
    /// Packets taken out.
    pub extracted: u32,
    /// Packets lost because there was no buffer, or none large enough.
    pub no_buffer: u32,
    /// Packets without their headers, of contexts that are not known.
    pub unknown_context: u32,
    /// Packets without their headers, of streams that are not known.
    pub unknown_stream: u32,
    /// Rows and entries that say what cannot be.
    pub malformed: u32,
}

impl Depooled {
    /// Rows, or entries.
    #[inline(always)]
    pub fn rows(&self) -> u64 {
        let Depooled { extracted, no_buffer, unknown_context, unknown_stream, malformed } = *self;
        [extracted, no_buffer, unknown_context, unknown_stream, malformed].into_iter().map(u64::from).sum()
    }

    /// Adds what came of more of its rows.
    #[inline(always)]
    pub fn add(&mut self, more: Depooled) {
        self.extracted += more.extracted;
        self.no_buffer += more.no_buffer;
        self.unknown_context += more.unknown_context;
        self.unknown_stream += more.unknown_stream;
        self.malformed += more.malformed;
    }

    #[inline(always)]
    fn take<B>(&mut self, taken: Option<B>, exit: impl FnOnce(B)) {
        match taken {
            Some(packet) => {
                self.extracted += 1;
                exit(packet);
            }
            None => self.no_buffer += 1,
        }
    }
}

/// Copies whole packets into fresh buffers with `headroom` bytes in front, and hands them to `exit` in order.
#[inline]
pub fn depool_each<'a, S: BufferSource>(
    packets: impl Iterator<Item = &'a [u8]>,
    source: &mut S,
    headroom: usize,
    exit: &mut impl Exit<S::Buffer>,
) -> Depooled {
    let mut depooled = Depooled::default();
    for bytes in packets {
        depooled.take(source.alloc_copy(bytes, headroom), |packet| exit.take(packet, bytes));
    }
    depooled
}

/// The same for rows of a pooled packet that `peer` sent, whatever TTL they have: the addressee takes them all. Packets of
/// provisioned streams are rebuilt.
#[inline]
pub fn depool_rows<'a, S: BufferSource>(
    rows: impl Iterator<Item = (Row, &'a [u8])>,
    (streams, peer): (&StreamSet, PeerIndex),
    source: &mut S,
    headroom: usize,
    exit: &mut impl Exit<S::Buffer>,
) -> Depooled {
    let mut depooled = Depooled::default();
    for (row, bytes) in rows {
        if row.row_type != RowType::Provisioned {
            depooled.take(source.alloc_copy(bytes, headroom), |packet| exit.take(packet, bytes));
            continue;
        }
        match streams.open(peer, bytes) {
            Ok(rebuilt) => {
                let taken = write_out(rebuilt.len(), |room| rebuilt.write(room), source, headroom);
                depooled.take(taken, |packet| exit.take_rebuilt(packet));
            }
            Err(provisioned::Refused::UnknownStream) => depooled.unknown_stream += 1,
            Err(provisioned::Refused::Malformed) => depooled.malformed += 1,
        }
    }
    depooled
}

/// The same for entries of pooled packets with short rows, all of the one whose contexts these are.
#[inline]
pub fn depool_entries<'a, S: BufferSource>(
    entries: impl Iterator<Item = &'a [u8]>,
    contexts: &mut OriginContexts<'_>,
    source: &mut S,
    headroom: usize,
    exit: &mut impl Exit<S::Buffer>,
) -> Depooled {
    let mut depooled = Depooled::default();
    for entry in entries {
        match contexts.open(entry) {
            Ok(opened) => {
                let taken = write_out(opened.len(), |room| opened.write(room), source, headroom);
                depooled.take(taken, |packet| exit.take_rebuilt(packet));
            }
            Err(learned::Refused::UnknownContext) => depooled.unknown_context += 1,
            Err(learned::Refused::Malformed) => depooled.malformed += 1,
        }
    }
    depooled
}

/// A fresh buffer with `length` bytes, which `write` writes. None, and nothing is held, where there is none or it is
/// too small.
#[inline(always)]
fn write_out<S: BufferSource>(
    length: usize,
    write: impl FnOnce(&mut [u8]) -> Option<()>,
    source: &mut S,
    headroom: usize,
) -> Option<S::Buffer> {
    let mut buffer = source.alloc(headroom)?;
    let written = buffer.append(length).filter(|room| room.len() == length).and_then(write);
    if written.is_none() {
        source.free(buffer);
        return None;
    }
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::heap_buffer::{HeapBuffer, HeapSource};
    use crate::pool::wire::{PooledPacket, pooled};

    #[derive(Default)]
    struct Copies(Vec<HeapBuffer>);

    impl Exit<HeapBuffer> for Copies {
        fn take(&mut self, packet: HeapBuffer, bytes: &[u8]) {
            assert_eq!(packet.bytes(), bytes, "it is a copy");
            self.0.push(packet);
        }

        fn take_rebuilt(&mut self, packet: HeapBuffer) {
            self.0.push(packet);
        }
    }

    fn depooled(lengths: &[u16], source: &mut HeapSource, headroom: usize) -> (Depooled, Vec<HeapBuffer>) {
        let payload = pooled(lengths);
        let mut out = Copies::default();
        let packet = PooledPacket::parse(&payload).unwrap();
        let streams = StreamSet::default();
        let result = depool_rows(packet.rows(), (&streams, PeerIndex(0)), source, headroom, &mut out);
        (result, out.0)
    }

    #[test]
    fn every_row_comes_out_whole_in_order_and_with_headroom() {
        let lengths = [60, 20, 300];
        let (result, out) = depooled(&lengths, &mut HeapSource { room: 2048, available: 8 }, 128);
        assert_eq!(result, Depooled { extracted: 3, ..Depooled::default() });
        let payload = pooled(&lengths);
        let expected: Vec<&[u8]> = PooledPacket::parse(&payload).unwrap().rows().map(|(_, bytes)| bytes).collect();
        let found: Vec<&[u8]> = out.iter().map(HeapBuffer::bytes).collect();
        assert_eq!(found, expected);
        assert!(out.iter().all(|buffer| buffer.headroom() == 128));
    }

    #[test]
    fn rows_without_a_buffer_are_counted_and_the_others_come_out() {
        let (result, out) = depooled(&[60, 60, 60], &mut HeapSource { room: 2048, available: 2 }, 128);
        assert_eq!(result, Depooled { extracted: 2, no_buffer: 1, ..Depooled::default() });
        assert_eq!(out.len(), 2);
    }

    #[test]
    fn a_row_too_large_for_a_buffer_is_counted_and_its_buffer_given_back() {
        let mut source = HeapSource { room: 200, available: 3 };
        let (result, out) = depooled(&[60, 300, 72], &mut source, 128);
        assert_eq!(result, Depooled { extracted: 2, no_buffer: 1, ..Depooled::default() });
        assert_eq!(out.iter().map(Buffer::len).collect::<Vec<_>>(), [60, 72]);
        assert_eq!(source.available, 1, "three buffers, two of them in use");
    }
}
