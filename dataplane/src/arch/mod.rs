//! What depends on the processor: the time stamp counter and what is measured by it, prefetching, comparing several words at once, and which vector
//! instructions there are.

mod compare;
mod prefetch;
mod rate_limit;
mod simd;
mod time;

pub use compare::equal;
pub use prefetch::prefetch_read;
pub use rate_limit::RateLimit;
pub use simd::Simd;
pub use time::{Tick, TickRate, TickSpan, now};
