//! One packet: an owned DPDK mbuf.
//!
//! Field access is written in Rust over the generated struct, so a packet costs no call into C. Packets here are one
//! segment; a chained one can only come from a driver, and all that can be done with it is to look at its first segment
//! and free it.
//!
//! What holds for every `Mbuf`: the pointer is an mbuf that is initialised, out of its pool, and owned by this value alone
//! (reference count 1, but for clones that only C makes); `data_off + data_len <= buf_len`; `buf_len` bytes at
//! `buf_addr` are readable and writable; its pool outlives it.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use dpdk_sys::{rte_mbuf, rte_mempool};

use crate::arch::prefetch_read;
use crate::packet::Buffer;

/// Flags of an mbuf whose data is not in its own memory.
const NOT_DIRECT: u64 = dpdk_sys::RTE_MBUF_F_INDIRECT | dpdk_sys::RTE_MBUF_F_EXTERNAL;

/// An owned packet. Dropping it gives it back to its pool, correctly and slowly; a worker gives packets back through its
/// [`super::MempoolCache`].
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

// Arrays of `Mbuf` are handed to drivers as arrays of pointers.
const _: () = assert!(size_of::<Mbuf>() == size_of::<*mut rte_mbuf>());

// SAFETY: an mbuf is memory and is not tied to a thread; the value owns it alone.
unsafe impl Send for Mbuf {}
// SAFETY: through a shared reference an mbuf is only read.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// Takes ownership of an mbuf.
    ///
    /// # Safety
    /// What the module says holds for every `Mbuf` must hold for it, and no one else may own it.
    #[inline(always)]
    pub(super) unsafe fn from_raw(mbuf: NonNull<rte_mbuf>) -> Mbuf {
        Mbuf(mbuf)
    }

    /// Gives up ownership.
    #[inline(always)]
    pub(super) fn into_raw(self) -> NonNull<rte_mbuf> {
        ManuallyDrop::new(self).0
    }

    #[inline(always)]
    fn raw(&self) -> &rte_mbuf {
        // SAFETY: the module's invariant: a valid mbuf, owned by `self`, which is borrowed as long as the result.
        unsafe { self.0.as_ref() }
    }

    #[inline(always)]
    fn raw_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: the module's invariant: a valid mbuf, owned by `self`, which is borrowed as long as the result.
        unsafe { self.0.as_mut() }
    }

    /// Makes it an empty packet of one segment, with the data at `headroom`: what `rte_pktmbuf_reset` does to an mbuf
    /// that comes from its pool. `next` is null there already, and `tx_offload` is not read without a flag that says so:
    /// the second cache line stays cold.
    ///
    /// `headroom` must not exceed the buffer; it is cut to it.
    #[inline(always)]
    pub(super) fn reset(&mut self, headroom: u16) {
        let mbuf = self.raw_mut();
        // These four are one store of eight bytes.
        mbuf.data_off = headroom.min(mbuf.buf_len);
        mbuf.refcnt = 1;
        mbuf.nb_segs = 1;
        mbuf.port = dpdk_sys::RTE_MBUF_PORT_INVALID as u16;
        mbuf.ol_flags = 0;
        mbuf.__bindgen_anon_1.packet_type = 0;
        mbuf.pkt_len = 0;
        mbuf.data_len = 0;
        mbuf.vlan_tci = 0;
        mbuf.vlan_tci_outer = 0;
    }

    /// As [`Mbuf::reset`], with `length` bytes behind `front` others, all of them whatever they are; returns the former. The
    /// tags of VLANs are not read without a flag that says so.
    ///
    /// # Safety
    /// The buffer must have room for all of it.
    #[inline(always)]
    pub(super) unsafe fn reset_to(&mut self, headroom: u16, front: u16, length: u16) -> &mut [u8] {
        let mbuf = self.raw_mut();
        mbuf.data_off = headroom;
        mbuf.refcnt = 1;
        mbuf.nb_segs = 1;
        mbuf.port = dpdk_sys::RTE_MBUF_PORT_INVALID as u16;
        mbuf.ol_flags = 0;
        mbuf.__bindgen_anon_1.packet_type = 0;
        mbuf.data_len = front + length;
        mbuf.pkt_len = u32::from(mbuf.data_len);
        let data = mbuf.buf_addr.cast::<u8>().wrapping_add(usize::from(headroom) + usize::from(front));
        // SAFETY: the caller says that the buffer reaches to the end of these bytes; they are borrowed exclusively with `self`.
        unsafe { std::slice::from_raw_parts_mut(data, usize::from(length)) }
    }

    /// Whether it can go back to `pool` as it is: no one else refers to it, it is one segment, its data is its own.
    /// `nb_segs` is 1 exactly where `next` is null, and it is in the cache line that is hot.
    #[inline(always)]
    pub(super) fn is_plain(&self, pool: NonNull<rte_mempool>) -> bool {
        let mbuf = self.raw();
        mbuf.refcnt == 1 && mbuf.nb_segs == 1 && mbuf.ol_flags & NOT_DIRECT == 0 && mbuf.pool == pool.as_ptr()
    }

    /// The bytes of the first segment: of the whole packet where [`Mbuf::is_contiguous`].
    #[inline(always)]
    pub fn bytes(&self) -> &[u8] {
        let mbuf = self.raw();
        let data = mbuf.buf_addr.cast::<u8>().wrapping_add(usize::from(mbuf.data_off));
        // SAFETY: data_off + data_len <= buf_len bytes at buf_addr are readable, and borrowed with `self`.
        unsafe { std::slice::from_raw_parts(data, usize::from(mbuf.data_len)) }
    }

    /// The bytes of the first segment, to be changed in place.
    #[inline(always)]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let mbuf = self.raw();
        let data = mbuf.buf_addr.cast::<u8>().wrapping_add(usize::from(mbuf.data_off));
        let length = usize::from(mbuf.data_len);
        // SAFETY: data_off + data_len <= buf_len bytes at buf_addr are writable, and borrowed exclusively with `self`.
        unsafe { std::slice::from_raw_parts_mut(data, length) }
    }

    /// The first bytes of the packet, to be changed in place; None where it has fewer, or is chained.
    #[inline(always)]
    pub fn start_mut<const LEN: usize>(&mut self) -> Option<&mut [u8; LEN]> {
        if self.is_contiguous() { self.bytes_mut().first_chunk_mut() } else { None }
    }

    /// Bytes in the first segment.
    #[inline(always)]
    pub fn len(&self) -> usize {
        usize::from(self.raw().data_len)
    }

    /// Whether the first segment has no bytes.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the packet is one segment, so that [`Mbuf::bytes`] is all of it.
    #[inline(always)]
    pub fn is_contiguous(&self) -> bool {
        self.raw().nb_segs == 1
    }

    /// Bytes by which the packet can grow in front.
    #[inline(always)]
    pub fn headroom(&self) -> usize {
        usize::from(self.raw().data_off)
    }

    /// Bytes by which the first segment can grow behind.
    #[inline(always)]
    pub fn tailroom(&self) -> usize {
        let mbuf = self.raw();
        usize::from(mbuf.buf_len).saturating_sub(usize::from(mbuf.data_off) + usize::from(mbuf.data_len))
    }

    /// The port it was received on, or whatever was put there since; `u16::MAX` in a fresh packet.
    #[inline(always)]
    pub fn port(&self) -> u16 {
        self.raw().port
    }

    /// Marks it with a port number.
    #[inline(always)]
    pub fn set_port(&mut self, port: u16) {
        self.raw_mut().port = port;
    }

    /// Grows the packet by `count` bytes in front and returns them. None, and nothing changes, without the headroom.
    #[inline(always)]
    pub fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        self.extend_front(count)?.get_mut(..count)
    }

    /// The same, but returns all of the first segment.
    #[inline(always)]
    pub fn extend_front(&mut self, count: usize) -> Option<&mut [u8]> {
        let mbuf = self.raw_mut();
        let count = u16::try_from(count).ok()?;
        mbuf.data_off = mbuf.data_off.checked_sub(count)?;
        // data_off + data_len stays what it was, within buf_len: a u16.
        mbuf.data_len += count;
        mbuf.pkt_len += u32::from(count);
        Some(self.bytes_mut())
    }

    /// Grows the packet by `count` bytes behind and returns them. None, and nothing changes, where there is no room or
    /// the packet is chained.
    #[inline(always)]
    pub fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        if count > self.tailroom() || !self.is_contiguous() {
            return None;
        }
        let start = self.len();
        let count = u16::try_from(count).ok()?;
        let mbuf = self.raw_mut();
        mbuf.data_len += count;
        mbuf.pkt_len += u32::from(count);
        self.bytes_mut().get_mut(start..)
    }

    /// Cuts `count` bytes off the front. False, and nothing changes, where the first segment is shorter.
    #[inline(always)]
    pub fn trim_front(&mut self, count: usize) -> bool {
        let mbuf = self.raw_mut();
        let Ok(count) = u16::try_from(count) else { return false };
        let Some(rest) = mbuf.data_len.checked_sub(count) else { return false };
        mbuf.data_off += count;
        mbuf.data_len = rest;
        mbuf.pkt_len -= u32::from(count);
        true
    }

    /// Cuts the first segment to `length` bytes; does nothing where it is not longer.
    #[inline(always)]
    pub fn truncate(&mut self, length: usize) {
        let mbuf = self.raw_mut();
        let Ok(length) = u16::try_from(length) else { return };
        if let Some(excess) = mbuf.data_len.checked_sub(length) {
            mbuf.data_len = length;
            mbuf.pkt_len -= u32::from(excess);
        }
    }
}

impl Drop for Mbuf {
    /// Frees it, whatever it is: chained, cloned, from any pool, on any thread. Its segments go to the pool itself and not
    /// to this thread's cache: once the pool counts them, no one touches it on their behalf any more.
    fn drop(&mut self) {
        let mut segment = self.0.as_ptr();
        while !segment.is_null() {
            // SAFETY: the first segment is owned by `self`, the others by the one before.
            let next = unsafe { (*segment).next };
            // SAFETY: an owned segment; the reference this value held is given up with the call.
            let last = unsafe { dpdk_sys::rte_pktmbuf_prefree_seg(segment) };
            if !last.is_null() {
                // SAFETY: it was the last reference, so the segment is ours until it is in its pool.
                let pool = unsafe { (*last).pool };
                let object = last.cast();
                // SAFETY: the pool outlives its mbufs, and gets one back that rte_pktmbuf_prefree_seg made ready.
                unsafe { dpdk_sys::rte_mempool_generic_put(pool, &raw const object, 1, std::ptr::null_mut()) };
            }
            segment = next;
        }
    }
}

impl std::fmt::Debug for Mbuf {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Mbuf").field("port", &self.port()).field("bytes", &self.bytes()).finish()
    }
}

impl Buffer for Mbuf {
    #[inline(always)]
    fn prefetch(&self) {
        prefetch_read(self.0.as_ptr());
    }

    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        Mbuf::bytes(self)
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        Mbuf::bytes_mut(self)
    }

    #[inline(always)]
    fn len(&self) -> usize {
        Mbuf::len(self)
    }

    #[inline(always)]
    fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        Mbuf::prepend(self, count)
    }

    #[inline(always)]
    fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        Mbuf::append(self, count)
    }

    #[inline(always)]
    fn trim_front(&mut self, count: usize) -> bool {
        Mbuf::trim_front(self, count)
    }

    #[inline(always)]
    fn truncate(&mut self, length: usize) {
        Mbuf::truncate(self, length);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{HEADROOM, Mempool, MempoolCache, test_eal};
    use super::*;

    /// Bytes behind the headroom in the tests' mbufs.
    const ROOM: usize = 256;

    fn pool(name: &str) -> Mempool {
        Mempool::create(test_eal(), name, 15, HEADROOM + ROOM).expect("the test's EAL has room for 15 mbufs")
    }

    fn packet(cache: &mut MempoolCache, bytes: &[u8]) -> Mbuf {
        let mut mbuf = cache.alloc().expect("the pool is not empty");
        mbuf.append(bytes.len()).expect("the buffer has room").copy_from_slice(bytes);
        mbuf
    }

    #[test]
    fn headers_come_and_go_in_front_within_the_headroom() {
        let pool = pool("mbuf_front");
        let mut cache = pool.cache();
        let mut mbuf = packet(&mut cache, b"data");
        assert_eq!((mbuf.headroom(), mbuf.tailroom(), mbuf.port()), (HEADROOM, ROOM - 4, u16::MAX));
        mbuf.prepend(3).expect("there is headroom").copy_from_slice(b"ip ");
        assert_eq!(mbuf.bytes(), b"ip data");
        assert!(mbuf.prepend(HEADROOM - 2).is_none(), "one byte more than is left");
        assert_eq!(mbuf.bytes(), b"ip data");
        assert_eq!(mbuf.prepend(HEADROOM - 3).map(|bytes| bytes.len()), Some(HEADROOM - 3));
        assert_eq!((mbuf.headroom(), mbuf.len()), (0, HEADROOM + 4));
        assert!(mbuf.prepend(usize::MAX).is_none());
        assert!(mbuf.trim_front(HEADROOM));
        assert_eq!(mbuf.bytes(), b"data");
        assert!(!mbuf.trim_front(5));
        assert!(!mbuf.trim_front(usize::MAX));
        assert_eq!(mbuf.bytes(), b"data");
    }

    #[test]
    fn data_grows_behind_as_far_as_the_buffer_goes() {
        let pool = pool("mbuf_back");
        let mut cache = pool.cache();
        let mut mbuf = packet(&mut cache, b"");
        assert_eq!(mbuf.append(ROOM).map(|bytes| bytes.len()), Some(ROOM));
        assert_eq!(mbuf.tailroom(), 0);
        assert!(mbuf.append(1).is_none());
        assert!(mbuf.append(usize::MAX).is_none());
        mbuf.truncate(10);
        mbuf.truncate(11);
        assert_eq!((mbuf.len(), mbuf.tailroom()), (10, ROOM - 10));
        mbuf.truncate(0);
        assert!(mbuf.is_empty());
    }

    #[test]
    fn a_chained_packet_shows_its_first_segment_and_returns_whole() {
        let pool = pool("mbuf_chain");
        let mut cache = pool.cache();
        for through_cache in [false, true] {
            let head = packet(&mut cache, b"head").into_raw();
            let tail = packet(&mut cache, b"tail").into_raw();
            // SAFETY: both are owned, and the head owns the tail afterwards.
            assert_eq!(unsafe { dpdk_sys::rte_pktmbuf_chain(head.as_ptr(), tail.as_ptr()) }, 0);
            // SAFETY: it is owned by no one else.
            let mut chained = unsafe { Mbuf::from_raw(head) };
            assert!(!chained.is_contiguous());
            assert_eq!(chained.bytes(), b"head");
            assert!(chained.append(1).is_none(), "the first segment is not the end of the packet");
            assert!(chained.trim_front(2));
            chained.truncate(1);
            assert_eq!(chained.bytes(), b"a");
            if through_cache {
                cache.free(chained);
            } else {
                drop(chained);
            }
            cache.flush();
            assert_eq!(pool.in_use(), 0);
        }
    }

    #[test]
    fn a_clone_keeps_the_data_alive_and_both_return() {
        let pool = pool("mbuf_clone");
        let mut cache = pool.cache();
        for through_cache in [false, true] {
            let original = packet(&mut cache, b"shared").into_raw();
            // SAFETY: the original is a valid mbuf, and the pool is its own.
            let clone = unsafe { dpdk_sys::rte_pktmbuf_clone(original.as_ptr(), pool.raw().as_ptr()) };
            // SAFETY: this value owns its reference; the clone owns another. Neither is written to.
            let original = unsafe { Mbuf::from_raw(original) };
            // SAFETY: as above.
            let clone = unsafe { Mbuf::from_raw(NonNull::new(clone).expect("the pool is not empty")) };
            assert!(!clone.is_plain(pool.raw()) && !original.is_plain(pool.raw()));
            if through_cache {
                cache.free(original);
                assert_eq!(clone.bytes(), b"shared");
                cache.free(clone);
            } else {
                drop(original);
                assert_eq!(clone.bytes(), b"shared");
                drop(clone);
            }
            cache.flush();
            assert_eq!(pool.in_use(), 0);
        }
    }

    /// One way to change a packet.
    #[derive(Clone, Debug)]
    enum Change {
        Prepend(Vec<u8>),
        Append(Vec<u8>),
        TrimFront(usize),
        Truncate(usize),
    }

    fn change() -> impl Strategy<Value = Change> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
        prop_oneof![
            bytes().prop_map(Change::Prepend),
            bytes().prop_map(Change::Append),
            (0..300usize).prop_map(Change::TrimFront),
            (0..300usize).prop_map(Change::Truncate),
        ]
    }

    #[test]
    fn an_mbuf_behaves_like_a_vector_with_limited_room_at_both_ends() {
        let pool = pool("mbuf_model");
        proptest!(|(changes in proptest::collection::vec(change(), 1..40))| {
            let mut cache = pool.cache();
            let mut mbuf = cache.alloc().expect("the pool is not empty");
            let mut model: Vec<u8> = Vec::new();
            let mut headroom = HEADROOM;
            for change in changes {
                match change {
                    Change::Prepend(bytes) => {
                        let fits = bytes.len() <= headroom;
                        let claimed = mbuf.prepend(bytes.len());
                        prop_assert_eq!(claimed.is_some(), fits);
                        if let Some(claimed) = claimed {
                            claimed.copy_from_slice(&bytes);
                            headroom -= bytes.len();
                            model.splice(..0, bytes);
                        }
                    }
                    Change::Append(bytes) => {
                        let fits = headroom + model.len() + bytes.len() <= HEADROOM + ROOM;
                        let claimed = mbuf.append(bytes.len());
                        prop_assert_eq!(claimed.is_some(), fits);
                        if let Some(claimed) = claimed {
                            claimed.copy_from_slice(&bytes);
                            model.extend(bytes);
                        }
                    }
                    Change::TrimFront(count) => {
                        let fits = count <= model.len();
                        prop_assert_eq!(mbuf.trim_front(count), fits);
                        if fits {
                            model.drain(..count);
                            headroom += count;
                        }
                    }
                    Change::Truncate(length) => {
                        mbuf.truncate(length);
                        model.truncate(length);
                    }
                }
                prop_assert_eq!(mbuf.bytes(), &model[..]);
                prop_assert_eq!(mbuf.headroom(), headroom);
                prop_assert_eq!(mbuf.tailroom(), HEADROOM + ROOM - headroom - model.len());
            }
            drop(mbuf);
        });
        assert_eq!(pool.in_use(), 0);
    }
}
