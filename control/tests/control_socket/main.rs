//! The control socket end to end: the server with a router that only pretends, raw clients, and the `carpool` program.
//!
//! Nothing here needs DPDK, a network or root.

use std::os::fd::AsRawFd;
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};

mod client;
mod document;
mod fake_router;
mod markdown;
mod server;

/// Leaves the file of a socket that nobody listens on, as a router does that was killed. One that has listened would
/// not do: programs started meanwhile by other tests hold a copy of it for a moment, and as long it takes connections.
fn dead_socket(path: &Path) {
    let unused = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    bind(unused.as_raw_fd(), &UnixAddr::new(path).expect("a short path")).expect("the file is not there yet");
}
