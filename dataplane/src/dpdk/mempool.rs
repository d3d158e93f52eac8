//! Packet memory: a pool of mbufs that threads share.
//!
//! Created by the control thread, which also asks it how many mbufs are out; workers allocate and free through a
//! [`MempoolCache`].

mod cache;

pub use cache::MempoolCache;

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys::{rte_mbuf, rte_mempool};
use thiserror::Error;

use super::eal::{Eal, Running};
use super::{error_text, last_error};

/// Bytes a fresh or received packet can grow in front.
pub const HEADROOM: usize = dpdk_sys::RTE_PKTMBUF_HEADROOM as usize;

/// The largest cache in front of a pool, in mbufs: DPDK's limit. A burst of 32 full pooled packets becomes some 700 small
/// ones; a cache that holds most of them keeps their memory warm and spares the way to the shared ring.
const LARGEST_CACHE: usize = 512;

/// Why there is no mempool.
#[derive(Debug, Error)]
pub enum MempoolError {
    #[error("mempool {name:?} cannot be created: {problem}")]
    Invalid { name: String, problem: String },
    #[error("mempool {name:?} of {megabytes} MB cannot be created: {cause}; raise the DPDK memory if it is short")]
    Create { name: String, megabytes: usize, cause: String },
}

/// A pool of mbufs. Clones are handles on the same pool. When the last of them goes, and every mbuf is back, its memory
/// is given back; where mbufs are still out, it is not, and a warning says so.
#[derive(Clone)]
pub struct Mempool(Arc<Pool>);

struct Pool {
    pool: NonNull<rte_mempool>,
    name: String,
    size: usize,
    data_room: u16,
    cache_size: u32,
    /// Keeps the memory mapped.
    running: Arc<Running>,
}

// SAFETY: a mempool is made for many threads: its ring is multi-producer and multi-consumer, and the caches, which are
// not, are reached through MempoolCache only.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Mempool {
    /// Creates a pool of `count` mbufs with `data_room` bytes each, the [`HEADROOM`] included. A count of a power of two
    /// less one wastes least memory. Names are unique in the process, and have at most 25 bytes.
    ///
    /// # Errors
    /// What is wrong with the arguments, or DPDK's reason: the name is taken, the memory is short.
    pub fn create(eal: &Eal, name: &str, count: usize, data_room: usize) -> Result<Mempool, MempoolError> {
        let invalid = |problem: &str| MempoolError::Invalid { name: name.into(), problem: problem.into() };
        let c_name = CString::new(name).map_err(|_| invalid("its name contains a NUL byte"))?;
        if name.is_empty() || name.len() >= dpdk_sys::DPDK_MEMPOOL_NAMESIZE as usize {
            return Err(invalid("its name is not 1 to 25 bytes long"));
        }
        let objects = u32::try_from(count).ok().filter(|&count| count > 0);
        let objects = objects.ok_or_else(|| invalid("its count is not 1 to 4294967295"))?;
        let room = u16::try_from(data_room).ok().filter(|&room| usize::from(room) > HEADROOM);
        let room = room.ok_or_else(|| invalid("its data room is not more than the headroom and at most 65535"))?;

        // A small pool has a small cache, or a few threads would hold all of it.
        let cache_size = (count / 8).clamp(1, LARGEST_CACHE) as u32;
        // SAFETY: EAL runs (`eal` is the proof), and the name is NUL-terminated and copied.
        let pool = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(c_name.as_ptr(), objects, cache_size, 0, room, dpdk_sys::SOCKET_ID_ANY)
        };
        let pool = NonNull::new(pool).ok_or_else(|| MempoolError::Create {
            name: name.into(),
            megabytes: (count * (data_room + size_of::<rte_mbuf>())) >> 20,
            cause: error_text(last_error()),
        })?;
        let running = Arc::clone(&eal.running);
        Ok(Mempool(Arc::new(Pool { pool, name: name.into(), size: count, data_room: room, cache_size, running })))
    }

    /// Mbufs in the pool when all are back.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// Bytes in each mbuf, headroom included.
    pub fn data_room(&self) -> usize {
        usize::from(self.0.data_room)
    }

    /// Mbufs that are not in use: in the pool, and in the caches of lcores. Counted one by one: not for the packet path,
    /// and a snapshot only while workers run.
    pub fn available(&self) -> usize {
        self.0.available()
    }

    /// Mbufs that are out. Exact when no one allocates or frees meanwhile, but for what lies in the cache of a thread
    /// that is no lcore: that counts as in use until it is flushed or dropped.
    pub fn in_use(&self) -> usize {
        self.size().saturating_sub(self.available())
    }

    pub(super) fn raw(&self) -> NonNull<rte_mempool> {
        self.0.pool
    }
}

impl std::fmt::Debug for Mempool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Mempool").field("name", &self.0.name).field("size", &self.size()).finish()
    }
}

impl Pool {
    fn available(&self) -> usize {
        // SAFETY: the pool is alive as long as `self`.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.pool.as_ptr()) as usize }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let out = self.size.saturating_sub(self.available());
        if out == 0 {
            // SAFETY: no handle, cache or port refers to it (each holds an Arc of this), and no mbuf is out.
            unsafe { dpdk_sys::rte_mempool_free(self.pool.as_ptr()) };
        } else {
            log::warn!("mempool {} stays: {out} of its {} mbufs are still in use", self.name, self.size);
            // EAL's memory must stay as well.
            std::mem::forget(Arc::clone(&self.running));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Mbuf, test_eal};
    use super::*;

    pub(super) fn pool(name: &str, count: usize) -> Mempool {
        Mempool::create(test_eal(), name, count, HEADROOM + 512).expect("the test's EAL has memory for small pools")
    }

    #[test]
    fn every_mbuf_can_be_taken_once_and_all_come_back() {
        let pool = pool("pool_balance", 63);
        let mut cache = pool.cache();
        let mut taken: Vec<Mbuf> = std::iter::from_fn(|| cache.alloc()).collect();
        assert_eq!((taken.len(), pool.available(), pool.in_use()), (63, 0, 63));
        let mut addresses: Vec<_> = taken.iter().map(|mbuf| mbuf.bytes().as_ptr()).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 63, "no mbuf was handed out twice");
        taken.drain(..20).for_each(drop);
        taken.drain(..).for_each(|mbuf| cache.free(mbuf));
        assert_eq!(pool.in_use(), cache.cached());
        drop(cache);
        assert_eq!((pool.in_use(), pool.available()), (0, 63));
    }

    #[test]
    fn a_pool_that_loses_its_handles_before_its_mbufs_keeps_their_memory() {
        let pool = pool("pool_outlived", 15);
        let mut mbuf = pool.cache().alloc().expect("there are some");
        drop(pool);
        mbuf.append(4).expect("there is room").copy_from_slice(b"here");
        assert_eq!(mbuf.bytes(), b"here");
    }

    #[test]
    fn bad_arguments_are_refused_and_the_message_names_the_pool() {
        let _taken = pool("pool_taken", 15);
        for (name, count, room) in [
            ("pool_taken", 15, 2048),
            ("pool_none", 0, 2048),
            ("pool_room", 15, HEADROOM),
            ("pool_huge_room", 15, 65536),
            ("pool_with_a_name_that_is_far_too_long", 15, 2048),
            ("pool_too_big", 600_000_000, 2048),
        ] {
            let error = Mempool::create(test_eal(), name, count, room).expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
