//! The atomics and cells of this module: the standard library's, or loom's when the tests explore every interleaving.

#[cfg(loom)]
pub use loom::{
    cell::UnsafeCell,
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence},
};
#[cfg(not(loom))]
pub use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering, fence},
};

/// A cell as loom has it, which watches who is at it.
#[cfg(not(loom))]
pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    /// Calls `access` with the place of the value, which is only written meanwhile.
    #[inline(always)]
    pub fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}

/// What a model test can break on purpose, to see that it would be noticed.
#[cfg(loom)]
pub mod mutant {
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Ends of a ring are published without ordering the slots before them.
    pub static RELAXED_RING: AtomicBool = AtomicBool::new(false);
    /// Who is about to sleep looks for work without a fence.
    pub static UNFENCED_SLEEP: AtomicBool = AtomicBool::new(false);

    /// How an end of a ring is stored.
    pub fn publish_order() -> Ordering {
        if RELAXED_RING.load(Ordering::Relaxed) { Ordering::Relaxed } else { Ordering::Release }
    }

    /// Whether who is about to sleep fences.
    pub fn fences_sleep() -> bool {
        !UNFENCED_SLEEP.load(Ordering::Relaxed)
    }
}

/// How an end of a ring is stored: what was done with the slots before it comes first.
#[cfg(not(loom))]
#[inline(always)]
pub fn publish_order() -> Ordering {
    Ordering::Release
}

#[cfg(loom)]
pub use mutant::publish_order;
