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

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;
    use std::time::Instant;

    use arrayvec::ArrayVec;
    use nix::sched::{CloneFlags, unshare};

    use super::super::{BURST, HEADROOM, Mbuf, Mempool, Nic, Port, PortError, PortOptions, TX_BUFFER, test_eal};
    use super::*;

    /// Long enough never to be reached, short enough to fail in.
    const LONG: Duration = Duration::from_secs(20);

    fn pool(name: &str) -> Mempool {
        Mempool::create(test_eal(), name, 1023, 2048 + HEADROOM).expect("the test's EAL has room for a small pool")
    }

    fn options(queues: u16) -> PortOptions {
        PortOptions { rx_queues: queues, tx_queues: queues, ..PortOptions::default() }
    }

    fn ip(arguments: &str) {
        let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("iproute2 is installed");
        assert!(status.success(), "ip {arguments}");
    }

    /// Runs `test` on a thread with a network of its own, which goes when the thread ends, or says why it does not.
    fn in_own_network(test: impl FnOnce() + Send) {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: network interfaces can only be made as root");
            return;
        }
        // EAL's own threads stay in the network they started in.
        test_eal();
        let run = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may have a network namespace");
            test();
        };
        let outcome = thread::scope(|scope| scope.spawn(run).join());
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    }

    /// Two interfaces joined to each other, up, without traffic of the kernel's own.
    fn veth(one: &str, other: &str) {
        ip(&format!("link add {one} type veth peer name {other}"));
        for name in [one, other] {
            ip(&format!("link set {name} addrgenmode none arp off up"));
        }
    }

    fn af_packet(number: u32, interface: &str, queues: u16, pool: &Mempool) -> Result<Port, PortError> {
        let device = format!("net_af_packet{number},iface={interface},qpairs={queues}");
        Port::open(test_eal(), &device, &options(queues), pool)
    }

    fn send(queue: &mut PortQueue, pool: &Mempool, bytes: &[u8]) {
        let mut mbuf = pool.cache().alloc().expect("the pool is not empty");
        mbuf.append(bytes.len()).expect("it fits").copy_from_slice(bytes);
        let mut packets = ArrayVec::<Mbuf, TX_BUFFER>::from_iter([mbuf]);
        assert_eq!(queue.tx_burst(&mut packets), 1);
    }

    /// An Ethernet frame to everybody.
    fn frame(number: u8) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, number, 0x88, 0xb5]);
        frame.resize(60, number);
        frame
    }

    #[test]
    fn a_queue_without_any_event_must_be_polled_but_the_handle_and_the_time_still_end_a_wait() {
        let pool = pool("wake_null");
        let mut port = Port::open(test_eal(), "net_null8", &options(1), &pool).expect("net_null works everywhere");
        let queues = port.take_queues();
        let (mut waiter, handle) = Waiter::new(&[&queues[0]]).expect("descriptors are not short");
        assert!(!waiter.can_block());
        assert_eq!(waiter.arm().wait(Some(Duration::from_millis(1))), Woken::Timeout);
        handle.wake();
        handle.clone().wake();
        assert_eq!(waiter.arm().wait(Some(LONG)), Woken::Handle);
        assert_eq!(waiter.arm().wait(Some(Duration::ZERO)), Woken::Timeout, "two wakes are one");
        thread::scope(|scope| {
            scope.spawn(|| handle.wake());
            assert_eq!(waiter.arm().wait(None), Woken::Handle);
        });
    }

    #[test]
    fn a_worker_without_queues_waits_for_its_handle() {
        let (mut waiter, handle) = Waiter::new(&[]).expect("descriptors are not short");
        assert!(waiter.can_block());
        handle.wake();
        assert_eq!(waiter.arm().wait(None), Woken::Handle);
    }

    #[test]
    fn a_packet_on_an_af_packet_port_ends_the_wait_until_it_is_received() {
        in_own_network(|| {
            let pool = pool("wake_af_packet");
            veth("veth-a", "veth-b");
            let mut near = af_packet(0, "veth-a", 1, &pool).expect("the interface is there");
            let mut far = af_packet(1, "veth-b", 1, &pool).expect("the interface is there");
            assert!(near.link().up);
            let mut near_queue = near.take_queues().pop().expect("one queue was asked for");
            let mut far_queue = far.take_queues().pop().expect("one queue was asked for");
            let (mut waiter, _handle) = Waiter::new(&[&near_queue]).expect("descriptors are not short");
            assert!(waiter.can_block());
            assert_eq!(waiter.arm().wait(Some(Duration::from_millis(5))), Woken::Timeout, "nothing was sent yet");
            let mut received = ArrayVec::<Mbuf, BURST>::new();
            for number in 0..50 {
                send(&mut far_queue, &pool, &frame(number));
                assert_eq!(waiter.arm().wait(Some(LONG)), Woken::Packets);
                assert_eq!(waiter.arm().wait(Some(LONG)), Woken::Packets, "it was not received yet");
                assert_eq!(near_queue.rx_burst(&mut received), 1);
                assert_eq!(received.pop().map(|mbuf| mbuf.bytes().to_vec()), Some(frame(number)));
                assert_eq!(waiter.arm().wait(Some(Duration::ZERO)), Woken::Timeout, "all was received");
            }
            // What we send ourselves is nothing to wake up for.
            send(&mut near_queue, &pool, &frame(99));
            assert_eq!(waiter.arm().wait(Some(Duration::from_millis(5))), Woken::Timeout);
            assert_eq!((near.stats().rx_packets, near.stats().tx_packets), (50, 1));
            drop((waiter, near_queue, far_queue, near, far));
            assert_eq!(pool.in_use(), 0);
        });
    }

    #[test]
    fn an_interface_that_goes_down_does_not_keep_the_worker_awake_and_works_when_it_is_back() {
        in_own_network(|| {
            let pool = pool("wake_down");
            veth("veth-a", "veth-b");
            let mut near = af_packet(2, "veth-a", 1, &pool).expect("the interface is there");
            let mut far = af_packet(3, "veth-b", 1, &pool).expect("the interface is there");
            let mut near_queue = near.take_queues().pop().expect("one queue was asked for");
            let mut far_queue = far.take_queues().pop().expect("one queue was asked for");
            let (mut waiter, _handle) = Waiter::new(&[&near_queue]).expect("descriptors are not short");
            ip("link set veth-a down");
            assert_eq!(waiter.arm().wait(Some(LONG)), Woken::Packets, "the socket reports it once");
            assert_eq!(waiter.arm().wait(Some(Duration::from_millis(5))), Woken::Timeout);
            assert!(!near.link().up);
            ip("link set veth-a up");
            send(&mut far_queue, &pool, &frame(1));
            assert_eq!(waiter.arm().wait(Some(LONG)), Woken::Packets);
            let mut received = ArrayVec::<Mbuf, BURST>::new();
            assert_eq!(near_queue.rx_burst(&mut received), 1);
        });
    }

    #[test]
    fn each_queue_of_an_af_packet_port_has_its_own_socket_and_none_may_go_unread() {
        in_own_network(|| {
            let pool = pool("wake_queues");
            veth("veth-a", "veth-b");
            let mut near = af_packet(4, "veth-a", 2, &pool).expect("the interface is there");
            let mut far = af_packet(5, "veth-b", 1, &pool).expect("the interface is there");
            let mut queues = near.take_queues();
            let mut far_queue = far.take_queues().pop().expect("one queue was asked for");
            let mut waiters: Vec<Waiter> =
                queues.iter().map(|queue| Waiter::new(&[queue]).expect("descriptors are not short").0).collect();
            assert!(waiters.iter().all(Waiter::can_block));
            let mut seen = [0; 2];
            for number in 0..64 {
                // Different flows, so that the kernel uses both sockets.
                let mut flow = frame(number);
                flow[12..14].copy_from_slice(&[0x08, 0x00]);
                flow[14..34]
                    .copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, number, 10, 0, 1, number]);
                send(&mut far_queue, &pool, &flow);
                let start = Instant::now();
                let awake = loop {
                    let mut woken = waiters.iter_mut().map(|waiter| waiter.arm().wait(Some(Duration::ZERO)));
                    if let Some(awake) = woken.position(|woken| woken == Woken::Packets) {
                        break awake;
                    }
                    assert!(start.elapsed() < LONG, "the packet woke nobody");
                };
                let mut received = ArrayVec::<Mbuf, BURST>::new();
                assert_eq!(queues[awake].rx_burst(&mut received), 1, "the queue whose socket was readable has it");
                seen[awake] += 1;
            }
            assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
            drop((waiters, queues, near));

            let device = "net_af_packet6,iface=veth-a,qpairs=2";
            let error = Port::open(test_eal(), device, &options(1), &pool).err().expect("one queue would go unread");
            assert!(error.to_string().contains("qpairs=N"), "{error}");
            let device = "net_af_packet6,iface=veth-a";
            let error = Port::open(test_eal(), device, &options(2), &pool).err().expect("there is one queue only");
            assert!(error.to_string().contains("qpairs=N"), "{error}");
        });
    }

    #[test]
    fn a_tap_port_wakes_by_receive_interrupt() {
        in_own_network(|| {
            let pool = pool("wake_tap");
            let device = "net_tap0,iface=tap-a";
            // The driver takes an mbuf for each receive descriptor when it starts.
            let few = PortOptions { rx_descriptors: 128, ..options(1) };
            let mut port = Port::open(test_eal(), device, &few, &pool).expect("root may make tap interfaces");
            let mut queue = port.take_queues().pop().expect("one queue was asked for");
            ip("link set tap-a addrgenmode none up");
            let (mut waiter, _handle) = Waiter::new(&[&queue]).expect("descriptors are not short");
            assert!(waiter.can_block());
            let mut received = ArrayVec::<Mbuf, BURST>::new();
            ip("address add 192.0.2.1/24 dev tap-a");
            ip("neighbor add 192.0.2.2 lladdr 02:00:00:00:00:02 dev tap-a");
            let socket = std::net::UdpSocket::bind("192.0.2.1:0").expect("the address is there");
            for round in 0..20 {
                while queue.rx_burst(&mut received) > 0 {
                    received.clear();
                }
                let armed = waiter.arm();
                socket.send_to(&[round; 30], "192.0.2.2:9").expect("the interface is up");
                assert_eq!(armed.wait(Some(LONG)), Woken::Packets, "round {round}");
                let start = Instant::now();
                while received.is_empty() {
                    queue.rx_burst(&mut received);
                    assert!(start.elapsed() < LONG, "no packet after waking: {:?}", port.stats());
                }
                received.clear();
            }
            drop((waiter, queue, port));
            assert_eq!(pool.in_use(), 0);
        });
    }
}
