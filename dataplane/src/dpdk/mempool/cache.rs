//! One thread's way to a pool of mbufs: a cache of them in front of it.
//!
//! Workers allocate and free through it, in Rust, without a call into C until it runs empty or full.

use std::marker::PhantomData;
use std::ptr::NonNull;

use arrayvec::ArrayVec;
use dpdk_sys::{rte_mbuf, rte_mempool_cache};

use super::super::mbuf::Mbuf;
use super::{HEADROOM, Mempool};
use crate::packet::BufferSource;
use crate::packet::copy::copy;

impl Mempool {
    /// This thread's way to the pool: the cache of its lcore, which drivers use as well, or one of its own where the
    /// thread is no lcore.
    pub fn cache(&self) -> MempoolCache {
        // SAFETY: reads a variable of this thread.
        let lcore = unsafe { dpdk_sys::rte_lcore_id() };
        // SAFETY: the pool is alive; the function itself refuses the id of a thread that is no lcore.
        let shared = unsafe { dpdk_sys::rte_mempool_default_cache(self.raw().as_ptr(), lcore) };
        if let Some(cache) = NonNull::new(shared) {
            return MempoolCache { pool: self.clone(), cache: Some(cache), owned: false, _thread: PhantomData };
        }
        // SAFETY: EAL runs; the size is within DPDK's limit.
        let own = unsafe { dpdk_sys::rte_mempool_cache_create(self.0.cache_size, dpdk_sys::SOCKET_ID_ANY) };
        // Without memory for a cache the pool is used directly.
        MempoolCache { pool: self.clone(), cache: NonNull::new(own), owned: true, _thread: PhantomData }
    }
}

/// One thread's cache in front of a [`Mempool`]. It cannot leave its thread.
pub struct MempoolCache {
    pool: Mempool,
    /// Valid while the pool is. Only this thread uses it: drivers that it calls, and other values of this type, included;
    /// so no reference to it is kept, and it is read anew each time. None: there was no memory for one.
    cache: Option<NonNull<rte_mempool_cache>>,
    /// Whether the cache is this value's own, to be flushed and freed with it.
    owned: bool,
    _thread: PhantomData<*mut ()>,
}

impl MempoolCache {
    /// The pool behind it.
    pub fn pool(&self) -> &Mempool {
        &self.pool
    }

    /// An empty packet with [`HEADROOM`]. None where the pool is exhausted.
    #[inline(always)]
    pub fn alloc(&mut self) -> Option<Mbuf> {
        let mut mbuf = self.take()?;
        mbuf.reset(HEADROOM as u16);
        Some(mbuf)
    }

    /// Appends `count` empty packets with [`HEADROOM`] to `packets`. False, and nothing changes, where the pool has less
    /// or they do not fit.
    #[inline]
    pub fn alloc_bulk<const N: usize>(&mut self, packets: &mut ArrayVec<Mbuf, N>, count: usize) -> bool {
        let start = packets.len();
        if count > packets.remaining_capacity() {
            return false;
        }
        // An Mbuf is a pointer to an mbuf.
        let spare = packets.as_mut_ptr().wrapping_add(start).cast::<*mut rte_mbuf>();
        match self.top(count) {
            Some(top) => {
                // SAFETY: `count` pointers are in the cache from `top`, and fit into the spare room of `packets`.
                unsafe { std::ptr::copy_nonoverlapping(top, spare, count) };
                self.shrink(count);
            }
            None if !self.refill(spare, count) => return false,
            None => {}
        }
        // SAFETY: the `count` entries behind `start` are now mbufs out of the pool, owned by no one else.
        unsafe { packets.set_len(start + count) };
        for mbuf in packets.iter_mut().skip(start) {
            mbuf.reset(HEADROOM as u16);
        }
        true
    }

    /// As [`BufferSource::alloc_copy`] with [`HEADROOM`], of which `front` bytes are of the packet, whatever they are; but also
    /// None where the cache is empty: no call is in it.
    #[inline(always)]
    pub fn alloc_copy_cached(&mut self, bytes: &[u8], front: u16) -> Option<Mbuf> {
        self.alloc_filled_cached(bytes.len(), front, |room| copy(bytes, room).then_some(()))
    }

    /// The same with `length` bytes that `fill` writes; also None, and nothing is held, where that does not.
    #[inline(always)]
    pub fn alloc_filled_cached(
        &mut self,
        length: usize,
        front: u16,
        fill: impl FnOnce(&mut [u8]) -> Option<()>,
    ) -> Option<Mbuf> {
        self.alloc_filled_from(length, (HEADROOM, front), fill, MempoolCache::take_cached)
    }

    #[inline(always)]
    fn alloc_filled_from(
        &mut self,
        length: usize,
        (headroom, front): (usize, u16),
        fill: impl FnOnce(&mut [u8]) -> Option<()>,
        take: impl FnOnce(&mut MempoolCache) -> Option<Mbuf>,
    ) -> Option<Mbuf> {
        let spare = usize::from(self.pool.0.data_room).checked_sub(headroom)?;
        let headroom = u16::try_from(headroom).ok().filter(|_| length <= spare)?;
        let headroom = headroom.checked_sub(front)?;
        let mut mbuf = take(self)?;
        // SAFETY: every mbuf of the pool has as many bytes as its data room, and headroom, front and packet are no more.
        let room = unsafe { mbuf.reset_to(headroom, front, length as u16) };
        if fill(room).is_some() {
            return Some(mbuf);
        }
        self.free(mbuf);
        None
    }

    /// Gives a packet back, to whatever pool it is from.
    #[inline(always)]
    pub fn free(&mut self, mbuf: Mbuf) {
        if !mbuf.is_plain(self.pool.raw()) {
            return drop_slowly(mbuf);
        }
        let raw = mbuf.into_raw().as_ptr();
        match self.room(1) {
            Some(slot) => {
                // SAFETY: the slot is within the cache's array, behind the pointers that are in use.
                unsafe { slot.write(raw) };
                self.grow(1);
            }
            None => self.flush_into_pool(&raw const raw, 1),
        }
    }

    /// Gives all `packets` back, to whatever pools they are from.
    #[inline]
    pub fn free_bulk<const N: usize>(&mut self, packets: &mut ArrayVec<Mbuf, N>) {
        if !packets.iter().all(|mbuf| mbuf.is_plain(self.pool.raw())) {
            return packets.drain(..).for_each(|mbuf| self.free(mbuf));
        }
        let count = packets.len();
        let start = packets.as_ptr().cast::<*mut rte_mbuf>();
        // SAFETY: an empty array is always valid; the mbufs it held are the cache's or the pool's from here on.
        unsafe { packets.set_len(0) };
        match self.room(count) {
            Some(slot) => {
                // SAFETY: `count` pointers are at `start`, and as many fit into the cache's array at `slot`.
                unsafe { std::ptr::copy_nonoverlapping(start, slot, count) };
                self.grow(count);
            }
            None => self.flush_into_pool(start, count),
        }
    }

    /// Mbufs in the cache.
    pub fn cached(&self) -> usize {
        // SAFETY: the cache is alive (see the field), and only this thread changes it.
        self.cache.map_or(0, |cache| unsafe { cache.as_ref() }.len as usize)
    }

    /// Empties the cache into the pool.
    pub fn flush(&mut self) {
        if let Some(cache) = self.cache {
            // SAFETY: cache and pool are alive and belong together.
            unsafe { dpdk_sys::rte_mempool_cache_flush(cache.as_ptr(), self.pool.raw().as_ptr()) };
        }
    }

    /// An mbuf out of the pool, as it was put there.
    #[inline(always)]
    fn take(&mut self) -> Option<Mbuf> {
        self.take_cached().or_else(|| self.take_shared())
    }

    /// The same, where there is one in the cache.
    #[inline(always)]
    fn take_cached(&mut self) -> Option<Mbuf> {
        let top = self.top(1)?;
        // SAFETY: the pointer at `top` is in the cache.
        let raw = NonNull::new(unsafe { top.read() })?;
        self.shrink(1);
        // SAFETY: an mbuf out of the pool is initialised and owned by who took it.
        Some(unsafe { Mbuf::from_raw(raw) })
    }

    /// The same, with more for the cache.
    #[cold]
    fn take_shared(&mut self) -> Option<Mbuf> {
        let mut raw = std::ptr::null_mut();
        if !self.refill(&raw mut raw, 1) {
            return None;
        }
        // SAFETY: an mbuf out of the pool is initialised and owned by who took it.
        NonNull::new(raw).map(|raw| unsafe { Mbuf::from_raw(raw) })
    }

    /// Where the uppermost `count` pointers of the cache are; none where it holds fewer.
    #[inline(always)]
    fn top(&self, count: usize) -> Option<*const *mut rte_mbuf> {
        let below = self.cached().checked_sub(count)?;
        Some(self.objects()?.wrapping_add(below).cast_const())
    }

    /// Where `count` more pointers can be put; none where the cache would pass its threshold.
    #[inline(always)]
    fn room(&self, count: usize) -> Option<*mut *mut rte_mbuf> {
        let cached = self.cached();
        // SAFETY: the cache is alive, and the threshold never changes.
        let threshold = self.cache.map_or(0, |cache| unsafe { cache.as_ref() }.flushthresh as usize);
        if cached + count > threshold {
            return None;
        }
        Some(self.objects()?.wrapping_add(cached))
    }

    /// The start of the cache's array.
    #[inline(always)]
    fn objects(&self) -> Option<*mut *mut rte_mbuf> {
        let cache = self.cache?.as_ptr();
        // SAFETY: the cache is alive; only the place is computed. The array holds twice the largest cache, and the
        // threshold is one and a half times the size: what `room` allows is within.
        let objects = unsafe { &raw mut (*cache).objs };
        Some(objects.cast())
    }

    /// Notes that `count` pointers were taken off the top.
    #[inline(always)]
    fn shrink(&mut self, count: usize) {
        if let Some(mut cache) = self.cache {
            // SAFETY: the cache is alive, only this thread uses it, and the reference ends with the statement.
            unsafe { cache.as_mut() }.len -= count as u32;
        }
    }

    /// Notes that `count` pointers were put on top.
    #[inline(always)]
    fn grow(&mut self, count: usize) {
        if let Some(mut cache) = self.cache {
            // SAFETY: the cache is alive, only this thread uses it, and the reference ends with the statement.
            unsafe { cache.as_mut() }.len += count as u32;
        }
    }

    fn cache_pointer(&self) -> *mut rte_mempool_cache {
        self.cache.map_or(std::ptr::null_mut(), NonNull::as_ptr)
    }

    /// Takes `count` mbufs through the pool, which fills the cache on the way. False where there are fewer.
    #[cold]
    fn refill(&mut self, target: *mut *mut rte_mbuf, count: usize) -> bool {
        let Ok(count) = u32::try_from(count) else { return false };
        // SAFETY: pool and cache are alive and belong together, and `target` has room for `count` pointers.
        let status = unsafe {
            dpdk_sys::rte_mempool_generic_get(self.pool.raw().as_ptr(), target.cast(), count, self.cache_pointer())
        };
        status == 0
    }

    /// Puts `count` mbufs back through the pool, which empties the cache on the way.
    #[cold]
    fn flush_into_pool(&mut self, mbufs: *const *mut rte_mbuf, count: usize) {
        // SAFETY: pool and cache are alive and belong together, `count` pointers are at `mbufs`, plain mbufs of this
        // pool that their owner gave up. An ArrayVec's capacity fits into u32.
        unsafe {
            dpdk_sys::rte_mempool_generic_put(
                self.pool.raw().as_ptr(),
                mbufs.cast(),
                count as u32,
                self.cache_pointer(),
            );
        };
    }
}

/// A packet that is chained, cloned or another pool's.
#[cold]
fn drop_slowly(mbuf: Mbuf) {
    drop(mbuf);
}

impl Drop for MempoolCache {
    fn drop(&mut self) {
        if !self.owned {
            return;
        }
        self.flush();
        if let Some(cache) = self.cache {
            // SAFETY: made by rte_mempool_cache_create, empty, and used by no one else.
            unsafe { dpdk_sys::rte_mempool_cache_free(cache.as_ptr()) };
        }
    }
}

impl BufferSource for MempoolCache {
    type Buffer = Mbuf;

    #[inline(always)]
    fn alloc(&mut self, headroom: usize) -> Option<Mbuf> {
        let headroom = u16::try_from(headroom).ok().filter(|&headroom| headroom <= self.pool.0.data_room)?;
        let mut mbuf = self.take()?;
        mbuf.reset(headroom);
        Some(mbuf)
    }

    #[inline(always)]
    fn alloc_copy(&mut self, bytes: &[u8], headroom: usize) -> Option<Mbuf> {
        self.alloc_filled_from(bytes.len(), (headroom, 0), |room| copy(bytes, room).then_some(()), MempoolCache::take)
    }

    #[inline(always)]
    fn free(&mut self, buffer: Mbuf) {
        MempoolCache::free(self, buffer);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::super::test_eal;
    use super::super::tests::pool;
    use super::*;
    use crate::packet::Buffer;

    #[test]
    fn a_bulk_is_all_or_nothing() {
        let pool = pool("pool_bulk", 63);
        let mut cache = pool.cache();
        let mut packets = ArrayVec::<Mbuf, 40>::new();
        assert!(!cache.alloc_bulk(&mut packets, 41), "more than fit into the array");
        assert!(cache.alloc_bulk(&mut packets, 40));
        assert!(packets.iter().all(|mbuf| mbuf.is_empty() && mbuf.headroom() == HEADROOM));
        let mut rest = ArrayVec::<Mbuf, 40>::new();
        assert!(!cache.alloc_bulk(&mut rest, 24), "one more than is left");
        assert!(rest.is_empty());
        assert!(cache.alloc_bulk(&mut rest, 23));
        assert!(cache.alloc().is_none());
        for _ in 0..100 {
            cache.free_bulk(&mut rest);
            assert!(rest.is_empty());
            assert!(cache.alloc_bulk(&mut rest, 23), "what was freed can be taken again");
        }
        cache.free_bulk(&mut packets);
        cache.free_bulk(&mut rest);
        cache.free_bulk(&mut rest);
        drop(cache);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn packets_of_another_pool_return_there() {
        let (ours, theirs) = (pool("pool_ours", 31), pool("pool_theirs", 31));
        let (mut our_cache, mut their_cache) = (ours.cache(), theirs.cache());
        let mut mixed = ArrayVec::<Mbuf, 8>::new();
        for _ in 0..4 {
            mixed.extend(our_cache.alloc());
            mixed.extend(their_cache.alloc());
        }
        assert_eq!(mixed.len(), 8);
        our_cache.free_bulk(&mut mixed);
        drop((our_cache, their_cache));
        assert_eq!((ours.in_use(), theirs.in_use()), (0, 0));
    }

    #[test]
    fn a_packet_starts_where_it_is_asked_to_and_never_beyond_its_buffer() {
        let pool = pool("pool_headroom", 31);
        let mut cache = pool.cache();
        for headroom in [0, 1, 300, HEADROOM + 512] {
            let mut mbuf = BufferSource::alloc(&mut cache, headroom).expect("it fits");
            assert_eq!((mbuf.headroom(), mbuf.tailroom()), (headroom, HEADROOM + 512 - headroom));
            assert!(Buffer::prepend(&mut mbuf, headroom + 1).is_none());
            assert!(Buffer::append(&mut mbuf, HEADROOM + 512 - headroom + 1).is_none());
            BufferSource::free(&mut cache, mbuf);
        }
        assert!(BufferSource::alloc(&mut cache, HEADROOM + 513).is_none());
        assert!(BufferSource::alloc(&mut cache, usize::MAX).is_none());
        drop(cache);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn a_copy_has_the_bytes_and_none_of_the_marks_that_its_memory_had() {
        let pool = pool("pool_copy", 1);
        let mut cache = pool.cache();
        let mut mbuf = cache.alloc().expect("there is one");
        mbuf.set_port(3);
        mbuf.append(9).expect("there is room");
        cache.free(mbuf);
        let bytes: Vec<u8> = (0..513usize).map(|at| at as u8).collect();
        for length in [0, 20, 60, 300, 512] {
            for cached in [true, false] {
                let bytes = &bytes[..length];
                let copy = if cached { cache.alloc_copy_cached(bytes, 0) } else { cache.alloc_copy(bytes, HEADROOM) };
                let copy = copy.expect("one is in the cache");
                assert_eq!((copy.bytes(), copy.headroom(), copy.port()), (bytes, HEADROOM, u16::MAX));
                assert!(copy.is_plain(pool.raw()));
                cache.free(copy);
            }
        }
        let with_front = cache.alloc_copy_cached(&bytes[..60], 14).expect("one is in the cache");
        assert_eq!((with_front.headroom(), &with_front.bytes()[14..]), (HEADROOM - 14, &bytes[..60]));
        cache.free(with_front);
        assert!(cache.alloc_copy(&bytes, HEADROOM).is_none(), "one byte more than there is room for");
        assert!(cache.alloc_copy_cached(&bytes, 0).is_none());
        let filled =
            cache.alloc_filled_cached(3, 14, |room| copy(b"abc", room).then_some(())).expect("one is in the cache");
        assert_eq!((filled.len(), &filled.bytes()[14..]), (17, &b"abc"[..]));
        cache.free(filled);
        assert!(cache.alloc_filled_cached(3, 14, |_| None).is_none(), "it was not filled");
        cache.flush();
        assert!(cache.alloc_copy_cached(&bytes[..20], 0).is_none(), "the cache is empty");
        assert_eq!(pool.in_use(), 0, "nothing is held where there is no copy");
    }

    #[test]
    fn a_reused_packet_is_empty_and_without_marks() {
        let pool = pool("pool_reuse", 1);
        let mut cache = pool.cache();
        let mut mbuf = cache.alloc().expect("there is one");
        mbuf.set_port(3);
        mbuf.append(9).expect("there is room");
        cache.free(mbuf);
        let mbuf = cache.alloc().expect("it is back");
        assert_eq!((mbuf.port(), mbuf.len(), mbuf.headroom()), (u16::MAX, 0, HEADROOM));
    }

    #[test]
    fn threads_that_are_no_lcores_exchange_packets_without_loss() {
        let pool = pool("pool_threads", 1023);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut cache = pool.cache();
                    let mut packets = ArrayVec::<Mbuf, 32>::new();
                    for round in 0..2000usize {
                        if cache.alloc_bulk(&mut packets, round % 32) {
                            packets.iter_mut().for_each(|mbuf| assert!(mbuf.append(8).is_some()));
                        }
                        cache.free_bulk(&mut packets);
                    }
                });
            }
        });
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn an_lcore_uses_its_own_cache_which_counts_as_available() {
        let pool = pool("pool_lcore", 255);
        let theirs = pool.clone();
        let eal = test_eal();
        let handle = eal.launch(eal.workers()[3], move || {
            let mut cache = theirs.cache();
            let mut packets = ArrayVec::<Mbuf, 32>::new();
            assert!(!cache.owned && cache.alloc_bulk(&mut packets, 32));
            cache.free_bulk(&mut packets);
            cache.cached()
        });
        assert!(handle.expect("no other test uses this worker").join() > 0, "what was freed lies in the cache");
        assert_eq!(pool.in_use(), 0);
    }
}
