//! What depends on the processor: the time stamp counter, prefetching, and which vector instructions there are.

mod prefetch;
mod simd;
mod time;

pub use prefetch::prefetch_read;
pub use simd::Simd;
pub use time::{Tick, TickRate, TickSpan, now};
