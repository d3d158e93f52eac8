//! The packet sockets that net_af_packet receives from.
//!
//! That driver has no receive interrupt and no way to ask for its sockets, but they are descriptors of this process, and
//! a packet socket with a receive ring polls as readable exactly while the ring holds a frame the driver has not
//! consumed (`packet_poll` in the kernel's af_packet.c). So an idle worker can block on the driver's own sockets: no second socket that
//! copies every frame, no race, no cost under load.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::RawFd;

use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};

/// This process's packet sockets and the interfaces they are bound to (0: none).
pub(super) fn all() -> BTreeMap<RawFd, u32> {
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else { return BTreeMap::new() };
    descriptors
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok())
        .filter_map(|descriptor| Some((descriptor, interface_of(descriptor)?)))
        .collect()
}

/// The interface a descriptor is bound to, if it is a packet socket.
fn interface_of(descriptor: RawFd) -> Option<u32> {
    let address = getsockname::<SockaddrStorage>(descriptor).ok()?;
    address.family().filter(|&family| family == AddressFamily::Packet)?;
    u32::try_from(address.as_link_addr()?.ifindex()).ok()
}
