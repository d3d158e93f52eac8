//! The control socket end to end: the server with a router that only pretends, raw clients, and the `carpool` program.
//!
//! Nothing here needs DPDK, a network or root.

mod client;
mod document;
mod fake_router;
mod markdown;
mod server;
