//! What packet processing needs to know of a packet's memory.
//!
//! The worker's packets are mbufs; tests of pure code bring their own. Nothing here depends on DPDK.

use arrayvec::ArrayVec;

use super::copy::copy;

/// One packet in contiguous memory, with room that can be claimed in front and behind.
pub trait Buffer {
    /// The bytes of the packet.
    fn bytes(&self) -> &[u8];

    /// The bytes of the packet, to be changed in place.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Has what says where its bytes are brought closer, which is asked for soon.
    #[inline(always)]
    fn prefetch(&self) {}

    /// Length in bytes.
    fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Whether the packet has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Grows the packet by `count` bytes in front and returns them, uninitialised in content but valid memory.
    /// None, and nothing changes, where there is not that much headroom.
    fn prepend(&mut self, count: usize) -> Option<&mut [u8]>;

    /// Grows the packet by `count` bytes behind and returns them. None, and nothing changes, where there is no room.
    fn append(&mut self, count: usize) -> Option<&mut [u8]>;

    /// Cuts `count` bytes off the front. False, and nothing changes, where the packet is shorter.
    fn trim_front(&mut self, count: usize) -> bool;

    /// Cuts the packet to `length` bytes; does nothing where it is not longer.
    fn truncate(&mut self, length: usize);
}

/// Where packet memory comes from and goes back to.
pub trait BufferSource {
    /// The packets it hands out.
    type Buffer: Buffer;

    /// An empty packet whose data would start `headroom` bytes into its memory. None where memory is exhausted or no
    /// buffer is large enough for that headroom.
    fn alloc(&mut self, headroom: usize) -> Option<Self::Buffer>;

    /// A packet that holds a copy of `bytes`, `headroom` bytes into its memory. None, and nothing is held, where memory is
    /// exhausted or no buffer is large enough.
    fn alloc_copy(&mut self, bytes: &[u8], headroom: usize) -> Option<Self::Buffer> {
        let mut buffer = self.alloc(headroom)?;
        if buffer.append(bytes.len()).is_some_and(|room| copy(bytes, room)) {
            return Some(buffer);
        }
        self.free(buffer);
        None
    }

    /// Gives a packet back.
    fn free(&mut self, buffer: Self::Buffer);

    /// Gives several packets back.
    fn free_all<const N: usize>(&mut self, buffers: &mut ArrayVec<Self::Buffer, N>) {
        buffers.drain(..).for_each(|buffer| self.free(buffer));
    }
}
