//! The atomics of this module: the standard library's, or loom's when the tests explore every interleaving.
//!
//! `scripts/test` builds once more with `--cfg loom`; then the very code that ships runs under the model checker.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicPtr, AtomicU16, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicPtr, AtomicU16, AtomicU64, Ordering, fence};

/// How a word that leads readers somewhere is stored: what it leads to comes before it.
#[cfg(not(loom))]
#[inline(always)]
pub fn publish_order() -> Ordering {
    Ordering::Release
}

#[cfg(loom)]
pub use mutant::publish_order;

/// What a model test can break on purpose, to see that it would be noticed.
#[cfg(loom)]
pub mod mutant {
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Words are published without ordering what they lead to.
    pub static RELAXED_PUBLICATION: AtomicBool = AtomicBool::new(false);

    /// As the shipped function, but for the mutant.
    pub fn publish_order() -> Ordering {
        if RELAXED_PUBLICATION.load(Ordering::Relaxed) { Ordering::Relaxed } else { Ordering::Release }
    }
}
