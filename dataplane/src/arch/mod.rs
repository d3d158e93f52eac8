//! What depends on the processor: the time stamp counter and what is measured by it, prefetching, comparing several words
//! at once, and which vector instructions there are; and what threads pass to each other, the order of memory in mind.

mod compare;
pub mod lanes;
mod prefetch;
mod rate_limit;
mod simd;
mod sleep;
mod spsc;
mod starts;
mod sum;
mod sync;
mod time;

pub use compare::equal;
pub use prefetch::prefetch_read;
pub use rate_limit::RateLimit;
pub use simd::Simd;
pub use sleep::Sleeper;
pub use spsc::{Consumer, Producer, spsc};
pub use starts::Starts;
pub use sum::sum_words;
pub use time::{Tick, TickRate, TickSpan, now};

#[cfg(all(test, loom))]
mod models;
