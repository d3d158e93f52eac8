//! A network port: opened by PCI address or vdev string, and asked for its state.
//!
//! The control thread opens ports, hands their [`PortQueue`]s to workers and reads statistics. A port closes when both
//! it and its queues are gone.

mod setup;

pub use setup::{PortError, PortOptions};

use std::sync::Arc;

use dpdk_sys::{rte_eth_link, rte_eth_stats};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;

use super::device::{Device, driver_name};
use super::eal::Eal;
use super::log_stream;
use super::mempool::Mempool;
use super::queue::{PortQueue, RxSource};
use setup::Setup;

/// The state of a port's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether it carries packets.
    pub up: bool,
    /// Megabits a second; `u32::MAX` where the driver does not know.
    pub speed_mbps: u32,
}

/// What a port counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    /// Packets the device dropped because its receive queue was full.
    pub rx_missed: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    /// Packets dropped because the mempool was exhausted; memif and af_packet do not count them.
    pub rx_no_mbuf: u64,
}

/// An open port.
pub struct Port {
    device: Arc<Device>,
    driver: String,
    mac: [u8; 6],
    mtu: u16,
    /// The kernel's index of the interface that net_af_packet sits on; that driver calls its link up, whatever happens.
    interface: Option<u32>,
    queues: Vec<PortQueue>,
}

impl Port {
    /// Opens `device`, a PCI address or a vdev string like `net_af_packet0,iface=veth0`, sets it up and starts it. What
    /// it receives lies in mbufs of `mempool`.
    ///
    /// # Errors
    /// One sentence that names the device, what was wanted of it and what to change.
    pub fn open(eal: &Eal, device: &str, options: &PortOptions, mempool: &Mempool) -> Result<Port, PortError> {
        let device = Device::probe(eal, device, mempool)?;
        let setup = Setup { device: &device, options, mempool };
        let info = device.info().map_err(|status| setup.failed("say what it can do", status))?;
        let (rx_queues, tx_queues) = setup.queue_counts(&info)?;
        setup.check_sizes(&info)?;
        // Receive interrupts let an idle worker block. A driver that cannot have them may refuse to start with them.
        let (with_interrupts, _) = log_stream::capture(|| setup.start(&info, rx_queues, tx_queues, true));
        let interrupts = with_interrupts.is_ok();
        if !interrupts {
            setup.start(&info, rx_queues, tx_queues, false)?;
        }
        let mac = setup.mac();
        let driver = driver_name(&info);
        let interface = (driver == "net_af_packet").then_some(info.if_index);
        let source = match interface {
            Some(interface) => RxSource::PacketSocket { interface },
            None if interrupts => RxSource::Interrupts,
            None => RxSource::None,
        };
        let device = Arc::new(device);
        let queues = (0..tx_queues)
            .map(|queue| PortQueue::new(Arc::clone(&device), (queue < rx_queues).then_some(queue), queue, source))
            .collect();
        Ok(Port { device, driver, mac, mtu: options.mtu, interface, queues })
    }

    /// DPDK's number for the port: what received mbufs carry.
    pub fn id(&self) -> u16 {
        self.device.port()
    }

    /// The device's name: a PCI address or a vdev's name.
    pub fn name(&self) -> &str {
        self.device.name()
    }

    /// The driver's name, like `net_ixgbe`.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// The port's Ethernet address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Largest IP packet in bytes.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// The state of the link, as far as the driver knows it without waiting.
    pub fn link(&self) -> Link {
        let mut link = rte_eth_link::default();
        // SAFETY: the port exists as long as its device, and `link` has room for the answer.
        let status = unsafe { dpdk_sys::rte_eth_link_get_nowait(self.id(), &raw mut link) };
        let up = status == 0 && link.link_status() == 1 && self.interface.is_none_or(is_running);
        Link { up, speed_mbps: link.link_speed }
    }

    /// What the port counted; zeros where the driver counts nothing.
    pub fn stats(&self) -> PortStats {
        let mut stats = rte_eth_stats::default();
        // SAFETY: the port exists as long as its device, and `stats` has room for the answer.
        if unsafe { dpdk_sys::rte_eth_stats_get(self.id(), &raw mut stats) } != 0 {
            return PortStats::default();
        }
        PortStats {
            rx_packets: stats.ipackets,
            tx_packets: stats.opackets,
            rx_bytes: stats.ibytes,
            tx_bytes: stats.obytes,
            rx_missed: stats.imissed,
            rx_errors: stats.ierrors,
            tx_errors: stats.oerrors,
            rx_no_mbuf: stats.rx_nombuf,
        }
    }

    /// The port's queues, one per transmit queue; the first call gets them all. The i-th receives from receive queue i where
    /// there is one, else nothing.
    pub fn take_queues(&mut self) -> Vec<PortQueue> {
        std::mem::take(&mut self.queues)
    }

    /// Stops and closes the port, or leaves that to the last of its queues. The same as dropping it.
    pub fn close(self) {}
}

/// Whether the kernel's interface exists, is up, and has a carrier, in the network of this thread.
fn is_running(interface: u32) -> bool {
    let has_index = |address: &InterfaceAddress| {
        let link = address.address.as_ref().and_then(|address| address.as_link_addr());
        link.is_some_and(|link| link.ifindex() == interface as usize)
    };
    let running = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    getifaddrs()
        .is_ok_and(|mut addresses| addresses.any(|address| has_index(&address) && address.flags.contains(running)))
}

#[cfg(test)]
mod tests {
    use std::ffi::c_void;
    use std::fs;
    use std::path::PathBuf;

    use arrayvec::ArrayVec;
    use dpdk_sys::rte_mbuf;

    use super::super::{BURST, HEADROOM, Mbuf, MempoolCache, Nic, TX_BUFFER, test_eal};
    use super::*;

    pub(super) fn pool(name: &str) -> Mempool {
        Mempool::create(test_eal(), name, 1023, 2048 + HEADROOM).expect("the test's EAL has room for a small pool")
    }

    pub(super) fn options(queues: u16) -> PortOptions {
        PortOptions { rx_queues: queues, tx_queues: queues, ..PortOptions::default() }
    }

    fn packet(cache: &mut MempoolCache, bytes: &[u8]) -> Mbuf {
        let mut mbuf = cache.alloc().expect("the pool is not empty");
        mbuf.append(bytes.len()).expect("it fits").copy_from_slice(bytes);
        mbuf
    }

    /// A capture file of these packets: libpcap's format, little-endian, Ethernet.
    fn pcap(packets: &[&[u8]]) -> Vec<u8> {
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65535, 1] {
            file.extend(word.to_le_bytes());
        }
        for packet in packets {
            let length = packet.len() as u32;
            for word in [0, 0, length, length] {
                file.extend(word.to_le_bytes());
            }
            file.extend(*packet);
        }
        file
    }

    fn scratch_file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("carpool-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_port_receives_bursts_sends_what_it_is_given_and_can_be_opened_again() {
        let pool = pool("port_null");
        for round in 1..=2 {
            let mut port =
                Port::open(test_eal(), "net_null0,size=60", &options(2), &pool).expect("net_null works everywhere");
            assert_eq!((port.name(), port.driver(), port.mtu()), ("net_null0", "net_null", 1500));
            assert!(port.link().up);
            let mut queues = port.take_queues();
            assert_eq!((queues.len(), port.take_queues().len()), (2, 0));
            let mut received = ArrayVec::<Mbuf, BURST>::new();
            let mut sent = ArrayVec::<Mbuf, TX_BUFFER>::new();
            for queue in &mut queues {
                assert_eq!(queue.rx_burst(&mut received), BURST);
                assert_eq!(queue.rx_burst(&mut received), 0, "the array is full");
                assert!(received.iter().all(|mbuf| mbuf.len() == 60 && mbuf.port() == port.id()));
                sent.extend(received.drain(..));
                assert_eq!((queue.tx_burst(&mut sent), sent.len()), (BURST, 0));
                assert_eq!(queue.tx_burst(&mut sent), 0, "nothing to send");
            }
            assert_eq!((port.stats().rx_packets, port.stats().tx_packets), (64, 64), "round {round}");
            port.close();
            assert!(queues[0].rx_burst(&mut received) > 0, "the queues keep the port open");
        }
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn packets_keep_their_bytes_and_order_through_a_ring() {
        let pool = pool("port_ring");
        let mut cache = pool.cache();
        let mut port = Port::open(test_eal(), "net_ring0", &options(1), &pool).expect("net_ring works everywhere");
        let mut queue = port.take_queues().pop().expect("one queue was asked for");
        let mut sent: ArrayVec<Mbuf, TX_BUFFER> = (0..20u8).map(|number| packet(&mut cache, &[number; 60])).collect();
        assert_eq!(queue.tx_burst(&mut sent), 20);
        let mut received = ArrayVec::<Mbuf, BURST>::new();
        assert_eq!(queue.rx_burst(&mut received), 20);
        for (number, mbuf) in (0u8..).zip(&received) {
            assert_eq!(mbuf.bytes(), [number; 60]);
        }
        cache.free_bulk(&mut received);
        drop((queue, port, cache));
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn a_full_device_leaves_the_rest_of_a_burst_with_the_sender_in_order() {
        let pool = pool("port_partial");
        let mut cache = pool.cache();
        // Its ring has room for 1023 packets at most: keep sending until it refuses.
        let mut port = Port::open(test_eal(), "net_ring1", &options(1), &pool).expect("net_ring works everywhere");
        let mut queue = port.take_queues().pop().expect("one queue was asked for");
        let mut sent = ArrayVec::<Mbuf, TX_BUFFER>::new();
        let mut taken = 0u32;
        let mut next = 0u32;
        loop {
            while !sent.is_full() {
                let Some(mut mbuf) = cache.alloc() else { break };
                mbuf.append(4).expect("it fits").copy_from_slice(&next.to_be_bytes());
                next += 1;
                sent.push(mbuf);
            }
            let offered = sent.len();
            let count = queue.tx_burst(&mut sent);
            taken += count as u32;
            let numbers: Vec<u32> =
                sent.iter().map(|mbuf| u32::from_be_bytes(mbuf.bytes().try_into().expect("4 bytes"))).collect();
            assert_eq!(numbers, (taken..next).collect::<Vec<u32>>());
            if count < offered || offered == 0 {
                break;
            }
        }
        let mut received = ArrayVec::<Mbuf, BURST>::new();
        while queue.rx_burst(&mut received) > 0 {
            cache.free_bulk(&mut received);
        }
        cache.free_bulk(&mut sent);
        drop((queue, port, cache));
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn a_capture_file_is_received_and_another_is_written() {
        let pool = pool("port_pcap");
        let (input, output) = (scratch_file("in.pcap"), scratch_file("out.pcap"));
        let packets: [&[u8]; 3] = [&[1; 60], &[2; 1514], &[3; 99]];
        fs::write(&input, pcap(&packets)).expect("the temporary directory is writable");
        let device = format!("net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
        let mut port = Port::open(test_eal(), &device, &options(1), &pool).expect("net_pcap works everywhere");
        let mut queue = port.take_queues().pop().expect("one queue was asked for");
        let mut received = ArrayVec::<Mbuf, BURST>::new();
        assert_eq!(queue.rx_burst(&mut received), 3);
        for (mbuf, bytes) in received.iter().zip(packets) {
            assert!(mbuf.is_contiguous());
            assert_eq!(mbuf.bytes(), bytes);
        }
        let mut sent: ArrayVec<Mbuf, TX_BUFFER> = received.drain(..).collect();
        assert_eq!(queue.tx_burst(&mut sent), 3);
        drop((queue, port));
        assert_eq!(pool.in_use(), 0);
        let written = fs::read(&output).expect("the driver wrote it").len();
        assert_eq!(written, pcap(&packets).len());
        for file in [input, output] {
            fs::remove_file(file).expect("it was there a moment ago");
        }
    }

    #[test]
    fn a_queue_without_a_receive_side_still_sends() {
        let pool = pool("port_asymmetric");
        let input = scratch_file("one.pcap");
        fs::write(&input, pcap(&[&[1; 60]])).expect("the temporary directory is writable");
        let (one, two) = (scratch_file("one.out"), scratch_file("two.out"));
        let device =
            format!("net_pcap1,rx_pcap={},tx_pcap={},tx_pcap={}", input.display(), one.display(), two.display());
        let mut port = Port::open(test_eal(), &device, &options(2), &pool).expect("two transmit queues suffice");
        let mut queues = port.take_queues();
        assert_eq!(queues.len(), 2);
        let mut received = ArrayVec::<Mbuf, BURST>::new();
        assert_eq!(queues[1].rx_burst(&mut received), 0);
        assert_eq!(queues[0].rx_burst(&mut received), 1);
        let mut sent: ArrayVec<Mbuf, TX_BUFFER> = received.drain(..).collect();
        assert_eq!(queues[1].tx_burst(&mut sent), 1);
        drop((queues, port));
        assert_eq!(pool.in_use(), 0);
        for file in [input, one, two] {
            fs::remove_file(file).expect("it was there a moment ago");
        }
    }

    /// What dpdk-dumpcap hooks in does to a burst, but visible: it marks every packet.
    unsafe extern "C" fn mark(
        _port: u16,
        _queue: u16,
        packets: *mut *mut rte_mbuf,
        count: u16,
        _room: u16,
        _user: *mut c_void,
    ) -> u16 {
        for index in 0..usize::from(count) {
            // SAFETY: DPDK passes `count` received packets.
            let mbuf = unsafe { packets.wrapping_add(index).read() };
            // SAFETY: as above.
            unsafe { (*mbuf).port = 777 };
        }
        count
    }

    #[test]
    fn receive_callbacks_see_every_burst_while_they_are_installed() {
        let pool = pool("port_callback");
        let mut port = Port::open(test_eal(), "net_null1", &options(1), &pool).expect("net_null works everywhere");
        let mut queue = port.take_queues().pop().expect("one queue was asked for");
        let mut ports = || {
            let mut received = ArrayVec::<Mbuf, BURST>::new();
            queue.rx_burst(&mut received);
            received.iter().map(Mbuf::port).collect::<std::collections::BTreeSet<u16>>()
        };
        assert_eq!(ports(), [port.id()].into());
        // SAFETY: the port is started with this queue, and the callback needs no user data.
        let callback = unsafe { dpdk_sys::rte_eth_add_rx_callback(port.id(), 0, Some(mark), std::ptr::null_mut()) };
        assert!(!callback.is_null());
        assert_eq!(ports(), [777].into());
        // SAFETY: it was just added, and no burst is under way. The test leaks it: DPDK frees no callbacks.
        assert_eq!(unsafe { dpdk_sys::rte_eth_remove_rx_callback(port.id(), 0, callback) }, 0);
        assert_eq!(ports(), [port.id()].into());
    }
}
