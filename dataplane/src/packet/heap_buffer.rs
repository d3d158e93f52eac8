//! Packet memory for tests of pure code: a vector per packet, from a source that can run dry.

use super::buffer::{Buffer, BufferSource};

/// A packet in a vector of fixed size.
#[derive(Clone, Debug)]
pub(crate) struct HeapBuffer {
    memory: Vec<u8>,
    start: usize,
    end: usize,
}

impl HeapBuffer {
    pub(crate) fn headroom(&self) -> usize {
        self.start
    }
}

impl Buffer for HeapBuffer {
    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.end]
    }

    fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(count)?;
        Some(&mut self.memory[self.start..self.start + count])
    }

    fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        let (start, end) = (self.end, self.end.checked_add(count)?);
        let claimed = self.memory.get_mut(start..end)?;
        self.end = end;
        Some(claimed)
    }

    fn trim_front(&mut self, count: usize) -> bool {
        let fits = count <= self.end - self.start;
        self.start += if fits { count } else { 0 };
        fits
    }

    fn truncate(&mut self, length: usize) {
        self.end = self.end.min(self.start + length);
    }
}

/// Hands out at most `available` packets at a time, each in `room` bytes of memory.
#[derive(Debug)]
pub(crate) struct HeapSource {
    pub(crate) room: usize,
    pub(crate) available: usize,
}

impl BufferSource for HeapSource {
    type Buffer = HeapBuffer;

    fn alloc(&mut self, headroom: usize) -> Option<HeapBuffer> {
        if headroom > self.room {
            return None;
        }
        self.available = self.available.checked_sub(1)?;
        Some(HeapBuffer { memory: vec![0; self.room], start: headroom, end: headroom })
    }

    fn free(&mut self, _buffer: HeapBuffer) {
        self.available += 1;
    }
}
