//! Packet memory on the heap that knows how many buffers are out, can run dry, and records what the pooler sends.

use crate::fib::PeerIndex;
use crate::packet::{Buffer, BufferSource};
use crate::pool::PoolSink;

/// A buffer of a fixed size. Each has a number of its own, so that a copy cannot pass for the original.
#[derive(Debug)]
pub(super) struct TestBuffer {
    pub(super) number: u64,
    storage: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer for TestBuffer {
    fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.end]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.end]
    }

    fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(count)?;
        Some(&mut self.storage[self.start..self.start + count])
    }

    fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        let room = self.storage.get_mut(self.end..self.end + count)?;
        self.end += count;
        Some(room)
    }

    fn trim_front(&mut self, count: usize) -> bool {
        let is_long_enough = count <= self.len();
        self.start += if is_long_enough { count } else { 0 };
        is_long_enough
    }

    fn truncate(&mut self, length: usize) {
        self.end = self.end.min(self.start + length);
    }
}

impl TestBuffer {
    /// Bytes that could be prepended.
    pub(super) fn headroom(&self) -> usize {
        self.start
    }
}

/// What the pooler handed on.
#[derive(Debug)]
pub(super) enum Sent {
    Lone(TestBuffer),
    Pooled { packet: TestBuffer, peer: PeerIndex, rows: u8 },
}

/// Source and sink in one.
pub(super) struct Memory {
    /// Bytes in every buffer it allocates.
    pub(super) buffer_size: usize,
    /// Buffers it still hands out on request.
    pub(super) left: usize,
    /// Buffers that are neither given back nor taken from `sent`.
    pub(super) outstanding: usize,
    next_number: u64,
    sent: Vec<Sent>,
}

impl Memory {
    pub(super) fn new(buffer_size: usize) -> Memory {
        Memory { buffer_size, left: usize::MAX, outstanding: 0, next_number: 0, sent: Vec::new() }
    }

    /// A received packet. Reception has buffers even where `left` is zero.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> TestBuffer {
        let mut storage = vec![0xee; 128];
        storage.extend_from_slice(bytes);
        self.buffer(storage, 128, 128 + bytes.len())
    }

    /// Takes what was sent since the last time; those buffers are accounted for with that.
    pub(super) fn take_sent(&mut self) -> Vec<Sent> {
        self.outstanding -= self.sent.len();
        std::mem::take(&mut self.sent)
    }

    /// How many packets were sent since then.
    pub(super) fn sent(&self) -> usize {
        self.sent.len()
    }

    fn buffer(&mut self, storage: Vec<u8>, start: usize, end: usize) -> TestBuffer {
        self.outstanding += 1;
        self.next_number += 1;
        TestBuffer { number: self.next_number, storage, start, end }
    }
}

impl BufferSource for Memory {
    type Buffer = TestBuffer;

    fn alloc(&mut self, headroom: usize) -> Option<TestBuffer> {
        if headroom > self.buffer_size {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        Some(self.buffer(vec![0xdd; self.buffer_size], headroom, headroom))
    }

    fn free(&mut self, _buffer: TestBuffer) {
        self.outstanding -= 1;
    }
}

impl PoolSink for Memory {
    fn lone(&mut self, packet: TestBuffer) {
        self.sent.push(Sent::Lone(packet));
    }

    fn pooled(&mut self, packet: TestBuffer, peer: PeerIndex, rows: u8) {
        self.sent.push(Sent::Pooled { packet, peer, rows });
    }
}
