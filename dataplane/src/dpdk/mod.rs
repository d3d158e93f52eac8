//! The only place that calls DPDK: memory, packets, ports and worker cores as safe types.
//!
//! [`Eal`] is the proof that DPDK's environment runs; everything else is made from it. A [`Mempool`] holds packet
//! memory, a [`MempoolCache`] is one thread's way to it, an [`Mbuf`] is one packet. A [`Port`] is a device, its
//! [`PortQueue`]s are what workers receive from and send to through the trait [`Nic`]; a [`WireEnd`] is a `Nic` in
//! memory, for tests and simulations. An idle worker blocks on a [`Waiter`].
//!
//! What holds: per packet there is no call into C (mbuf fields, allocation and release are written in Rust over the
//! generated structs), per burst there is one. Whatever an owner forgets to give back, `Drop` does: an mbuf that goes
//! out of scope returns to its pool, a port closes when the last of its queues is gone.

mod device;
mod eal;
mod lcore;
mod log_stream;
mod mbuf;
mod memory;
mod mempool;
mod nic;
mod packet_socket;
mod port;
mod queue;
mod stale_socket;
mod wake;
mod wire;

pub use device::pci_address;
pub use eal::{Eal, EalError, EalOptions, test_eal};
pub use lcore::{Lcore, LcoreHandle};
pub use mbuf::Mbuf;
pub use memory::{Memory, MemoryChoice};
pub use mempool::{HEADROOM, Mempool, MempoolCache, MempoolError};
pub use nic::{BURST, Nic, TX_BUFFER, move_first};
pub use port::{Link, Port, PortError, PortOptions, PortStats};
pub use queue::PortQueue;
pub use wake::{Armed, Waiter, WakeHandle, Woken};
pub use wire::{WireEnd, wire_pair};

/// DPDK's version, like `22.11.7`: the one this was built with, which the dynamic linker matches by its first two numbers.
pub fn version() -> String {
    let [year, month, minor] =
        [dpdk_sys::DPDK_VERSION_YEAR, dpdk_sys::DPDK_VERSION_MONTH, dpdk_sys::DPDK_VERSION_MINOR];
    format!("{year}.{month:02}.{minor}")
}

/// DPDK's text for an error number, positive or negative.
fn error_text(number: i32) -> String {
    // SAFETY: rte_strerror takes any number and returns a NUL-terminated string: a constant, or a buffer of this
    // thread that stays until its next call.
    let text = unsafe { dpdk_sys::rte_strerror(number.saturating_abs()) };
    if text.is_null() {
        return format!("error {number}");
    }
    // SAFETY: not null, terminated, and copied before this thread calls rte_strerror again.
    unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// `rte_errno` of this thread.
fn last_error() -> i32 {
    // SAFETY: reads a variable of this thread; needs no EAL.
    unsafe { dpdk_sys::dpdk_errno() }
}
