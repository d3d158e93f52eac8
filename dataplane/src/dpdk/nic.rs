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

/// Moves the first `count` received packets behind those that wait to be transmitted, in order: all of these, or none where they have
/// no room or are not so many.
#[inline(always)]
pub fn move_first(from: &mut ArrayVec<Mbuf, BURST>, count: usize, to: &mut ArrayVec<Mbuf, TX_BUFFER>) {
    let (len, start) = (from.len(), to.len());
    if count > to.remaining_capacity() || count > len {
        return;
    }
    let end = to.as_mut_ptr().wrapping_add(start);
    // SAFETY: `count` packets are read, and there is room for as many behind the `start` that are there; the regions are two.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), end, count) };
    if count < len {
        let first = from.as_mut_ptr();
        // SAFETY: the packets behind those are read, and take the places from the first one on, of which there are more.
        unsafe { std::ptr::copy(first.wrapping_add(count), first, len - count) };
    }
    // SAFETY: so many are left here, from the first place on: each packet has one owner.
    unsafe { from.set_len(len - count) };
    // SAFETY: so many are initialised.
    unsafe { to.set_len(start + count) };
}
