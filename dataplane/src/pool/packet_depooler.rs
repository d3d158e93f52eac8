//! The packet depooler: takes the stream packets out of a pooled packet that is addressed to us.
//!
//! The worker calls it with what the detector found sound, and puts what comes out on its re-entry queue, where each
//! packet is validated like any other.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::wire::PooledPacket;
use crate::packet::{Buffer, BufferSource};

/// What came of a pooled packet: the sum is the number of rows that were to be taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depooled {
    /// Packets taken out.
    pub extracted: u32,
    /// Packets lost because there was no buffer, or none large enough.
    pub no_buffer: u32,
}

/// Copies each packet of `packet` into a fresh buffer with `headroom` bytes in front, and hands them to `emit` in the
/// order of the index, whatever TTL their rows have: the addressee takes them all.
#[inline]
pub fn depool<S: BufferSource>(
    packet: &PooledPacket<'_>,
    source: &mut S,
    headroom: usize,
    emit: impl FnMut(S::Buffer),
) -> Depooled {
    depool_each(packet.rows().map(|(_, bytes)| bytes), source, headroom, emit)
}

/// The same for packets that lie in a pooled packet without rows.
#[inline]
pub fn depool_each<'a, S: BufferSource>(
    packets: impl Iterator<Item = &'a [u8]>,
    source: &mut S,
    headroom: usize,
    mut emit: impl FnMut(S::Buffer),
) -> Depooled {
    let mut depooled = Depooled::default();
    for bytes in packets {
        match copy_out(bytes, source, headroom) {
            Some(buffer) => {
                depooled.extracted += 1;
                emit(buffer);
            }
            None => depooled.no_buffer += 1,
        }
    }
    depooled
}

/// A fresh buffer that holds `bytes`. None, and nothing is held, where there is none or it is too small.
#[inline(always)]
pub fn copy_out<S: BufferSource>(bytes: &[u8], source: &mut S, headroom: usize) -> Option<S::Buffer> {
    let mut buffer = source.alloc(headroom)?;
    match buffer.append(bytes.len()) {
        Some(room) if room.len() == bytes.len() => {
            room.copy_from_slice(bytes);
            Some(buffer)
        }
        _ => {
            source.free(buffer);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::heap_buffer::{HeapBuffer, HeapSource};
    use crate::pool::wire::pooled;

    fn depooled(lengths: &[u16], source: &mut HeapSource, headroom: usize) -> (Depooled, Vec<HeapBuffer>) {
        let payload = pooled(lengths);
        let mut out = Vec::new();
        let result = depool(&PooledPacket::parse(&payload).unwrap(), source, headroom, |buffer| out.push(buffer));
        (result, out)
    }

    #[test]
    fn every_row_comes_out_whole_in_order_and_with_headroom() {
        let lengths = [60, 20, 300];
        let (result, out) = depooled(&lengths, &mut HeapSource { room: 2048, available: 8 }, 128);
        assert_eq!(result, Depooled { extracted: 3, no_buffer: 0 });
        let payload = pooled(&lengths);
        let expected: Vec<&[u8]> = PooledPacket::parse(&payload).unwrap().rows().map(|(_, bytes)| bytes).collect();
        let found: Vec<&[u8]> = out.iter().map(HeapBuffer::bytes).collect();
        assert_eq!(found, expected);
        assert!(out.iter().all(|buffer| buffer.headroom() == 128));
    }

    #[test]
    fn rows_without_a_buffer_are_counted_and_the_others_come_out() {
        let (result, out) = depooled(&[60, 60, 60], &mut HeapSource { room: 2048, available: 2 }, 128);
        assert_eq!(result, Depooled { extracted: 2, no_buffer: 1 });
        assert_eq!(out.len(), 2);
    }

    #[test]
    fn a_row_too_large_for_a_buffer_is_counted_and_its_buffer_given_back() {
        let mut source = HeapSource { room: 200, available: 3 };
        let (result, out) = depooled(&[60, 300, 72], &mut source, 128);
        assert_eq!(result, Depooled { extracted: 2, no_buffer: 1 });
        assert_eq!(out.iter().map(Buffer::len).collect::<Vec<_>>(), [60, 72]);
        assert_eq!(source.available, 1, "three buffers, two of them in use");
    }
}
