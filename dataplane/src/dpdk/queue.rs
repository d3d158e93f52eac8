//! A port's queues on the packet path: bursts straight through the driver's functions.
//!
//! This is `rte_eth_rx_burst` and `rte_eth_tx_burst` written in Rust: one indirect call per burst, and the callbacks
//! that dpdk-dumpcap hooks in.

use std::ffi::c_void;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use arrayvec::ArrayVec;
use dpdk_sys::{rte_eth_fp_ops, rte_mbuf};

use super::device::Device;
use super::mbuf::Mbuf;
use super::nic::{BURST, Nic, TX_BUFFER};
use super::{log_stream, packet_socket};

/// How a worker can learn, while it sleeps, that a receive queue has packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RxEvent {
    /// This packet socket is readable while there are any.
    Socket(RawFd),
    /// The driver has receive interrupts.
    Interrupt,
    /// Not at all: the queue must be polled.
    None,
}

/// Where a port's receive events may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RxSource {
    /// It is net_af_packet's, on this interface of the kernel's: from the sockets of its queues.
    PacketSocket { interface: u32 },
    /// It was started with receive interrupts; its driver may not have any all the same.
    Interrupts,
    /// From nowhere.
    None,
}

/// One transmit queue of a port and, where there is one for it, a receive queue. Belongs to one worker.
pub struct PortQueue {
    device: Arc<Device>,
    /// The port's entry in DPDK's table of driver functions.
    functions: NonNull<rte_eth_fp_ops>,
    rx: Option<(u16, RxEvent)>,
    tx: u16,
}

// SAFETY: a queue may be used from any one thread; `functions` points into a static table, which only changes when the
// port starts or stops: before this value was made, and after the last one is gone (each holds the device).
unsafe impl Send for PortQueue {}

impl PortQueue {
    /// `device` is started with these queues, each given to one `PortQueue` only.
    pub(super) fn new(device: Arc<Device>, rx: Option<u16>, tx: u16, source: RxSource) -> PortQueue {
        let table = (&raw mut dpdk_sys::rte_eth_fp_ops).cast::<rte_eth_fp_ops>();
        let entry = table.wrapping_add(usize::from(device.port()));
        // SAFETY: a static table with an entry for every port number.
        let functions = unsafe { NonNull::new_unchecked(entry) };
        let mut queue = PortQueue { device, functions, rx: None, tx };
        queue.rx = rx.map(|rx| (rx, queue.event(rx, source)));
        queue
    }

    /// How a worker learns that a receive queue has packets.
    fn event(&self, rx: u16, source: RxSource) -> RxEvent {
        match source {
            RxSource::PacketSocket { interface } => {
                // SAFETY: the port is started with this queue.
                let data = unsafe { queue_data(self.functions().rxq.data, rx) };
                let Some(data) = NonNull::new(data) else { return RxEvent::None };
                // SAFETY: this source is given for net_af_packet's ports only.
                unsafe { packet_socket::of_queue(data, interface) }.map_or(RxEvent::None, RxEvent::Socket)
            }
            RxSource::Interrupts => {
                let (descriptor, _) = log_stream::capture(|| {
                    // SAFETY: the port is started with this queue.
                    unsafe { dpdk_sys::rte_eth_dev_rx_intr_ctl_q_get_fd(self.port(), rx) }
                });
                if descriptor >= 0 { RxEvent::Interrupt } else { RxEvent::None }
            }
            RxSource::None => RxEvent::None,
        }
    }

    /// DPDK's number of the port.
    pub fn port(&self) -> u16 {
        self.device.port()
    }

    /// Its receive queue and how to wait for it.
    pub(super) fn rx(&self) -> Option<(u16, RxEvent)> {
        self.rx
    }

    pub(super) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    #[inline(always)]
    fn functions(&self) -> &rte_eth_fp_ops {
        // SAFETY: an entry of a static table that does not change while a PortQueue of the port exists.
        unsafe { self.functions.as_ref() }
    }
}

/// What the driver knows of a queue.
///
/// # Safety
/// `data` is the array of a started port, and has an entry for `queue`.
#[inline(always)]
unsafe fn queue_data(data: *mut *mut c_void, queue: u16) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { data.wrapping_add(usize::from(queue)).read() }
}

/// The first of a queue's callbacks, null without any. They are added and removed while the queue is in use.
///
/// # Safety
/// `callbacks` is the array of a started port, and has an entry for `queue`.
#[inline(always)]
unsafe fn first_callback(callbacks: *mut *mut c_void, queue: u16) -> *mut c_void {
    let entry = callbacks.wrapping_add(usize::from(queue));
    // SAFETY: the caller's promise; DPDK writes the entry atomically, with release order.
    let entry = unsafe { AtomicPtr::from_ptr(entry) };
    entry.load(Ordering::Acquire)
}

impl Nic for PortQueue {
    #[inline]
    fn rx_burst(&mut self, packets: &mut ArrayVec<Mbuf, BURST>) -> usize {
        let Some((queue, _)) = self.rx else { return 0 };
        let functions = self.functions();
        let Some(receive) = functions.rx_pkt_burst else { return 0 };
        let start = packets.len();
        let room = packets.remaining_capacity() as u16;
        // An Mbuf is a pointer to an mbuf.
        let spare = packets.as_mut_ptr().wrapping_add(start).cast::<*mut rte_mbuf>();
        // SAFETY: the port is started with this queue.
        let data = unsafe { queue_data(functions.rxq.data, queue) };
        // SAFETY: the driver's receive function for this queue, which only this worker uses, and room for the result.
        let mut count = unsafe { receive(data, spare, room) };
        // SAFETY: the port is started with this queue.
        let callback = unsafe { first_callback(functions.rxq.clbk, queue) };
        if !callback.is_null() {
            // SAFETY: as rte_eth_rx_burst does: the packets just received, and the first of the queue's callbacks.
            count =
                unsafe { dpdk_sys::rte_eth_call_rx_callbacks(self.device.port(), queue, spare, count, room, callback) };
        }
        let count = usize::from(count.min(room));
        // SAFETY: the driver filled `count` entries, at most `room`, with mbufs that are the caller's from now on.
        unsafe { packets.set_len(start + count) };
        count
    }

    #[inline]
    fn tx_burst(&mut self, packets: &mut ArrayVec<Mbuf, TX_BUFFER>) -> usize {
        let functions = self.functions();
        let Some(transmit) = functions.tx_pkt_burst else { return 0 };
        let total = packets.len();
        let mut offered = total as u16;
        let start = packets.as_mut_ptr().cast::<*mut rte_mbuf>();
        // SAFETY: the port is started with this queue.
        let callback = unsafe { first_callback(functions.txq.clbk, self.tx) };
        if !callback.is_null() {
            // SAFETY: as rte_eth_tx_burst does: the packets about to be sent, and the first of the queue's callbacks.
            offered =
                unsafe { dpdk_sys::rte_eth_call_tx_callbacks(self.device.port(), self.tx, start, offered, callback) };
        }
        // SAFETY: the port is started with this queue.
        let data = unsafe { queue_data(functions.txq.data, self.tx) };
        // SAFETY: the driver's transmit function for this queue, which only this worker uses, and `offered` packets.
        let sent = usize::from(unsafe { transmit(data, start, offered) }).min(total);
        // The driver owns the first `sent` packets now: the others move to the front.
        let rest = total - sent;
        // SAFETY: `rest` initialised entries lie behind the first `sent`; the regions may overlap.
        unsafe { std::ptr::copy(start.wrapping_add(sent), start, rest) };
        // SAFETY: the first `rest` entries are packets that are still ours, each once.
        unsafe { packets.set_len(rest) };
        sent
    }
}
