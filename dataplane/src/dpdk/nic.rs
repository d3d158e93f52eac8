//! A network interface as a worker sees it: one receive queue and one transmit queue.
//!
//! DPDK ports are one implementation, in-memory wires another; the worker is compiled for each, so there is no dynamic
//! call on the packet path.

use arrayvec::ArrayVec;

use super::mbuf::Mbuf;

/// The largest number of packets a worker takes from a queue at once.
pub const BURST: usize = 32;

/// The packets that wait in a worker for a port to transmit them.
pub const TX_BUFFER: usize = 256;

/// One receive queue and one transmit queue of a port.
pub trait Nic {
    /// Appends up to `BURST` received packets to `packets`, as many as fit, and returns how many.
    fn rx_burst(&mut self, packets: &mut ArrayVec<Mbuf, BURST>) -> usize;

    /// Hands packets to the interface from the front of `packets` in order, removes those it took, returns how many.
    fn tx_burst(&mut self, packets: &mut ArrayVec<Mbuf, TX_BUFFER>) -> usize;
}
