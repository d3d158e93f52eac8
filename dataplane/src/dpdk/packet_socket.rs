//! The packet sockets that net_af_packet receives from.
//!
//! That driver has no receive interrupt and no way to ask for its sockets, but they are descriptors of this process, and
//! a packet socket with a receive ring polls as readable exactly while the ring holds a frame the driver has not consumed
//! (`packet_poll` in the kernel's af_packet.c). So an idle worker can block on the driver's own sockets: no second
//! socket that copies every frame, no race, no cost under load. Asked once per queue, when a port is opened.

use std::ffi::c_void;
use std::os::fd::RawFd;
use std::ptr::NonNull;

use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};

/// The socket that a receive queue of net_af_packet reads from. `interface` is the kernel's index of the port's
/// interface. None where the driver's structure does not begin with such a socket: another version's may not.
///
/// # Safety
/// `queue` is what net_af_packet keeps for a configured receive queue.
pub(super) unsafe fn of_queue(queue: NonNull<c_void>, interface: u32) -> Option<RawFd> {
    // The numbers of the descriptors do not tell: another thread may close one while the driver opens its own.
    // SAFETY: `struct pkt_rx_queue` of DPDK 22.11 begins with `int sockfd`; in any version it is larger than an int.
    let socket = unsafe { queue.cast::<RawFd>().read() };
    (interface_of(socket) == Some(interface)).then_some(socket)
}

/// The interface a descriptor is bound to, if it is a packet socket.
fn interface_of(descriptor: RawFd) -> Option<u32> {
    let address = getsockname::<SockaddrStorage>(descriptor).ok()?;
    address.family().filter(|&family| family == AddressFamily::Packet)?;
    u32::try_from(address.as_link_addr()?.ifindex()).ok()
}
