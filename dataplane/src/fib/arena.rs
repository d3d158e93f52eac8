//! Memory for tables: a fixed number of zeroed atomics in one piece, on huge pages where the system has them.
//!
//! The address space is reserved at once and pages are taken as they are first written, so room that is never used
//! costs nothing, and nothing ever moves: readers may keep offsets. A look-up goes to random places, so a table of
//! a few megabytes on 4 KiB pages would miss the TLB on nearly every load.

#[cfg(not(loom))]
mod mapped {
    use std::ffi::c_void;
    use std::io;
    use std::num::NonZeroUsize;
    use std::ops::Deref;
    use std::ptr::NonNull;

    use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

    /// The size and alignment of a huge page on x86-64.
    const HUGE_PAGE: usize = 2 << 20;

    /// What may begin its life as zero bytes.
    ///
    /// # Safety
    /// All bytes zero must be a valid value, and there must be nothing to drop.
    pub unsafe trait Zeroed: Sync {}
    // SAFETY: an atomic integer has the bit validity of the integer.
    unsafe impl Zeroed for std::sync::atomic::AtomicU16 {}
    // SAFETY: as above.
    unsafe impl Zeroed for std::sync::atomic::AtomicU64 {}

    /// A fixed number of atomics, all zero at first. The four bytes behind the last one can be read, too.
    #[derive(Debug)]
    pub struct Arena<T> {
        items: NonNull<T>,
        len: usize,
        map: NonNull<c_void>,
        bytes: usize,
    }

    // SAFETY: it owns its memory, and T (Zeroed) may be shared between threads.
    unsafe impl<T: Zeroed> Send for Arena<T> {}
    // SAFETY: as above; only shared references to T are given out.
    unsafe impl<T: Zeroed> Sync for Arena<T> {}

    impl<T: Zeroed> Arena<T> {
        /// Reserves room for `len` items.
        ///
        /// # Errors
        /// Those of mmap(2), and more items than 32 bits can number.
        pub fn new(len: usize) -> io::Result<Arena<T>> {
            // Readers keep indexes of 32 bits; so the size below cannot overflow, either.
            u32::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
            // One huge page more, so that the first item can stand at the beginning of one; its rest is the pad.
            let bytes = (len * size_of::<T>()).next_multiple_of(HUGE_PAGE) + HUGE_PAGE;
            let length = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::InvalidInput)?;
            let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
            // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
            let map = unsafe { mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags) }?;
            // SAFETY: the range was mapped just now; the advice changes how it is backed and not what it holds.
            let advised = unsafe { madvise(map, bytes, MmapAdvise::MADV_HUGEPAGE) };
            // A kernel without transparent huge pages refuses: slower, not wrong.
            advised.unwrap_or_else(|error| log::debug!("no huge pages for a forwarding table: {error}"));
            let skip = map.as_ptr().align_offset(HUGE_PAGE).min(HUGE_PAGE - size_of::<u32>());
            // SAFETY: `skip` is below HUGE_PAGE, and the mapping is that much longer than the items.
            let items = unsafe { map.byte_add(skip) }.cast();
            Ok(Arena { items, len, map, bytes })
        }
    }

    impl<T> Deref for Arena<T> {
        type Target = [T];

        #[inline(always)]
        fn deref(&self) -> &[T] {
            // SAFETY: `len` items fit into the mapping, aligned, zero at first (valid: Zeroed); only shared references
            // exist, and the mapping lives as long as `self`.
            unsafe { std::slice::from_raw_parts(self.items.as_ptr(), self.len) }
        }
    }

    impl<T> Drop for Arena<T> {
        fn drop(&mut self) {
            // SAFETY: the mapping is this arena's own, and no reference into it outlives the arena.
            let unmapped = unsafe { munmap(self.map, self.bytes) };
            unmapped.unwrap_or_else(|error| log::debug!("a forwarding table's memory stays mapped: {error}"));
        }
    }
}

#[cfg(loom)]
mod mapped {
    use crate::fib::sync::{AtomicU16, AtomicU64};

    /// What may begin its life as zero.
    pub trait Zeroed {
        /// Zero.
        fn zero() -> Self;
    }
    impl Zeroed for AtomicU16 {
        fn zero() -> Self {
            AtomicU16::new(0)
        }
    }
    impl Zeroed for AtomicU64 {
        fn zero() -> Self {
            AtomicU64::new(0)
        }
    }

    /// As many as the model needs, in a vector.
    #[derive(Debug)]
    pub struct Arena<T>(Vec<T>);

    impl<T: Zeroed> Arena<T> {
        pub fn new(len: usize) -> std::io::Result<Arena<T>> {
            Ok(Arena((0..len).map(|_| T::zero()).collect()))
        }
    }

    impl<T> std::ops::Deref for Arena<T> {
        type Target = [T];

        fn deref(&self) -> &[T] {
            &self.0
        }
    }
}

pub use mapped::Arena;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

    #[test]
    fn an_arena_is_zero_at_first_and_keeps_what_is_stored_at_both_ends() {
        let arena: Arena<AtomicU64> = Arena::new(1 << 19).expect("address space");
        assert_eq!(arena.len(), 1 << 19);
        assert!(arena.iter().step_by(511).all(|item| item.load(Ordering::Relaxed) == 0));
        for (index, item) in [(0, &arena[0]), ((1 << 19) - 1, &arena[(1 << 19) - 1])] {
            item.store(index + 7, Ordering::Relaxed);
        }
        assert_eq!(arena[0].load(Ordering::Relaxed), 7);
        assert_eq!(arena[(1 << 19) - 1].load(Ordering::Relaxed), (1 << 19) + 6);
    }

    #[test]
    fn room_that_is_not_used_costs_nothing() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/smaps_rollup").expect("procfs");
            let line = status.lines().find_map(|line| line.strip_prefix("Rss:")).expect("a line for the resident set");
            line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number")
        };
        let before = resident();
        let arena: Arena<AtomicU16> = Arena::new(1 << 30).expect("address space");
        arena[1 << 29].store(1, Ordering::Relaxed);
        let grown = resident().saturating_sub(before);
        assert!(grown < 100 << 10, "2 GiB reserved, {grown} KiB resident");
    }

    #[test]
    fn an_arena_that_cannot_be_held_or_numbered_is_an_error() {
        assert!(Arena::<AtomicU64>::new(1 << 50).is_err());
        assert!(Arena::<AtomicU64>::new(1 << 61).is_err(), "the number of bytes overflows");
        assert!(Arena::<AtomicU16>::new(1 << 32).is_err(), "more than words can lead to");
    }
}
