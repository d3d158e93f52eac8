//! Header views over byte slices: pure, bounds checked, no I/O.

pub mod buffer;

pub use buffer::{Buffer, BufferSource};
