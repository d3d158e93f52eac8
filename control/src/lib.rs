//! The control side of carpool.
#![deny(unsafe_code)]

pub mod api;
