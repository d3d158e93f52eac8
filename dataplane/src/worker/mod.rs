//! The life of a packet on one core.

mod counters;
mod drop;
mod event;
mod shared;

pub use counters::{Counter, Counters, SharedCounters};
pub use drop::Drop;
pub use event::{CONTROL_BYTES, Event, HELLO_BYTES, Inject, InjectTarget, OpenPoolSample};
pub use shared::{Bell, WorkerShared};
