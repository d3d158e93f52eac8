//! Experiments on networks of their own, a file each: the demo shows them, the end to end tests judge them.
//!
//! Each has a `run` that builds its network, lets packets flow, compares, takes everything down, and returns a report:
//! serializable, with a `succeeded` and a sentence for people.

pub mod multicast;
pub mod overlay;
pub mod packet6;
pub mod traffic;

use std::time::Duration;

use crate::carpoold::Idle;

/// How much an experiment sends, and how its routers pool it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Streams, of 50 packets a second each.
    pub streams: u16,
    /// How long they last.
    pub duration: Duration,
    /// The pooling window.
    pub window: Duration,
    /// What workers do when they find nothing.
    pub idle: Idle,
}
