//! What depends on the processor: the time stamp counter and prefetching.

mod prefetch;
mod time;

pub use prefetch::prefetch_read;
pub use time::{Tick, TickRate, TickSpan, now};
