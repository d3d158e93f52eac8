//! How an idle worker sleeps until there is something to do: blocked on descriptors, never for a fixed time.
//!
//! A [`Waiter`] knows a descriptor for every receive queue of a worker, and an eventfd by which control threads wake it.
//! The worker arms it, polls its queues a last time (what came before the interrupt was armed raises none), and waits.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::device::Device;
use super::log_stream;
use super::queue::{PortQueue, RxEvent};

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// A receive queue has packets, or had trouble that polling will show.
    Packets,
    /// A [`WakeHandle`].
    Handle,
    /// The time is over, or a signal came.
    Timeout,
}

/// Wakes a worker that waits, or makes its next wait return at once.
#[derive(Clone)]
pub struct WakeHandle(Arc<EventFd>);

impl WakeHandle {
    /// Wakes the worker.
    pub fn wake(&self) {
        // It only fails when the counter is full, and then the worker is being woken already.
        let _ = self.0.write(1);
    }
}

/// What an idle worker blocks on.
pub struct Waiter {
    wake: Arc<EventFd>,
    interrupts: Vec<Interrupt>,
    /// Holds the interrupts' descriptors.
    epoll: Option<Epoll>,
    /// The eventfd, the packet sockets, then the epoll descriptor if there are interrupts.
    descriptors: Vec<libc::pollfd>,
    can_block: bool,
    /// Keeps the packet sockets open.
    _devices: Vec<Arc<Device>>,
}

/// A receive queue with an interrupt that is in the epoll set.
struct Interrupt {
    device: Arc<Device>,
    queue: u16,
}

impl Waiter {
    /// A waiter for a worker with these queues, and the handle that wakes it.
    ///
    /// # Errors
    /// Where the process is out of file descriptors.
    pub fn new(queues: &[&PortQueue]) -> Result<(Waiter, WakeHandle), Errno> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let wake = Arc::new(EventFd::from_value_and_flags(0, flags)?);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut waiter = Waiter {
            descriptors: vec![readable(wake.as_raw_fd())],
            wake: Arc::clone(&wake),
            interrupts: Vec::new(),
            epoll: None,
            can_block: true,
            _devices: queues.iter().map(|queue| Arc::clone(queue.device())).collect(),
        };
        for queue in queues {
            match queue.rx() {
                Some((_, RxEvent::Socket(socket))) => waiter.descriptors.push(readable(socket)),
                Some((id, RxEvent::Interrupt)) => match Interrupt::add(queue.device(), id, &epoll) {
                    Some(interrupt) => waiter.interrupts.push(interrupt),
                    None => waiter.can_block = false,
                },
                Some((_, RxEvent::None)) => waiter.can_block = false,
                None => {}
            }
        }
        if !waiter.interrupts.is_empty() {
            waiter.descriptors.push(readable(epoll.0.as_raw_fd()));
            waiter.epoll = Some(epoll);
        }
        Ok((waiter, WakeHandle(wake)))
    }

    /// Whether every receive queue can wake the worker. If not, it must keep polling, or wait for short times only.
    pub fn can_block(&self) -> bool {
        self.can_block
    }

    /// Prepares to wait: enables receive interrupts. Poll all queues once more after this, before [`Armed::wait`].
    pub fn arm(&mut self) -> Armed<'_> {
        self.interrupts.iter().for_each(Interrupt::enable);
        Armed { waiter: self }
    }
}

/// A waiter that is ready to wait. Dropped without waiting, it is as if it had never been armed.
pub struct Armed<'a> {
    waiter: &'a mut Waiter,
}

impl Armed<'_> {
    /// Blocks until a receive queue has packets, the handle is used, or `timeout` is over (never without one).
    pub fn wait(self, timeout: Option<Duration>) -> Woken {
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let descriptors = &mut self.waiter.descriptors;
        let count = descriptors.len() as libc::nfds_t;
        // SAFETY: `count` entries to read and write, and a timeout that is null or valid. The descriptors are open: the
        // waiter holds their owners.
        let ready = unsafe { libc::ppoll(descriptors.as_mut_ptr(), count, timeout, std::ptr::null()) };
        if ready <= 0 {
            return Woken::Timeout;
        }
        let Some((wake, queues)) = descriptors.split_first() else { return Woken::Timeout };
        let mut woken = Woken::Timeout;
        if wake.revents != 0 {
            // Empties the counter; it can only be empty already.
            let _ = self.waiter.wake.read();
            woken = Woken::Handle;
        }
        for descriptor in queues.iter().filter(|descriptor| descriptor.revents != 0) {
            woken = Woken::Packets;
            if descriptor.revents & libc::POLLERR != 0 {
                clear_error(descriptor.fd);
            }
        }
        if let Some(epoll) = &self.waiter.epoll {
            consume_interrupts(epoll, self.waiter.interrupts.len());
        }
        woken
    }
}

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        self.waiter.interrupts.iter().for_each(Interrupt::disable);
    }
}

fn readable(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// Takes a socket's pending error (its interface went down), which would otherwise end every wait at once.
fn clear_error(socket: RawFd) {
    let mut error: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    let target = (&raw mut error).cast();
    // SAFETY: room for an int and its length; a descriptor that is no socket is refused.
    unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_ERROR, target, &raw mut length) };
}

/// Lets EAL read the counters of the interrupts that fired; their events are edge-triggered and may be stale otherwise.
fn consume_interrupts(epoll: &Epoll, queues: usize) {
    const AT_ONCE: usize = 16;
    let mut events: [dpdk_sys::rte_epoll_event; AT_ONCE] = Default::default();
    for _ in 0..queues.div_ceil(AT_ONCE) {
        // SAFETY: an open epoll descriptor with EAL's events, and room for as many as are asked for; it does not block.
        let count = unsafe { dpdk_sys::rte_epoll_wait(epoll.0.as_raw_fd(), events.as_mut_ptr(), AT_ONCE as i32, 0) };
        if count < AT_ONCE as i32 {
            return;
        }
    }
}

impl Interrupt {
    /// Adds the queue's interrupt to the epoll set.
    fn add(device: &Arc<Device>, queue: u16, epoll: &Epoll) -> Option<Interrupt> {
        let add = dpdk_sys::RTE_INTR_EVENT_ADD as i32;
        let (status, lines) = log_stream::capture(|| {
            // SAFETY: the port is started with this queue, and the epoll descriptor is open; there is no user data.
            unsafe {
                dpdk_sys::rte_eth_dev_rx_intr_ctl_q(
                    device.port(),
                    queue,
                    epoll.0.as_raw_fd(),
                    add,
                    std::ptr::null_mut(),
                )
            }
        });
        if status != 0 {
            log::debug!("{} queue {queue} has no usable receive interrupt: {lines}", device.name());
            return None;
        }
        Some(Interrupt { device: Arc::clone(device), queue })
    }

    /// Drivers whose descriptor is always live (TAP) have nothing to enable, and say so.
    fn enable(&self) {
        // SAFETY: the port is started with this queue.
        unsafe { dpdk_sys::rte_eth_dev_rx_intr_enable(self.device.port(), self.queue) };
    }

    fn disable(&self) {
        // SAFETY: the port is started with this queue.
        unsafe { dpdk_sys::rte_eth_dev_rx_intr_disable(self.device.port(), self.queue) };
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let Some(epoll) = &self.epoll else { return };
        let remove = dpdk_sys::RTE_INTR_EVENT_DEL as i32;
        for Interrupt { device, queue } in &self.interrupts {
            // SAFETY: the port is started with this queue, whose interrupt is in this epoll set.
            unsafe {
                dpdk_sys::rte_eth_dev_rx_intr_ctl_q(
                    device.port(),
                    *queue,
                    epoll.0.as_raw_fd(),
                    remove,
                    std::ptr::null_mut(),
                );
            };
        }
    }
}
