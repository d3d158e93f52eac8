//! The control side of carpool: everything that is not on a worker core.
//!
//! [`config`] reads the file, [`rib`] keeps the routes and [`paths`] what is known of the ways, `forwarding` makes forwarding
//! entries of them, `neighbors` and `peers` watch who lives; `router` is the one thread that owns all of it and publishes it to the workers. [`api`] is
//! the socket through which the router is asked and changed.
#![deny(unsafe_code)]

pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod forwarding;
pub mod legs;
pub mod neighbors;
pub mod paths;
pub mod peers;
pub mod rib;
pub mod router;
pub mod rules;
pub mod streams;
pub mod templates;
