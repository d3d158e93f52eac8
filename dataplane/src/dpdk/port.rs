//! A network port: opened by PCI address or vdev string, configured, started, and asked for its state.
//!
//! The control thread opens ports, hands their [`PortQueue`]s to workers and reads statistics. A port closes when both
//! it and its queues are gone.

use std::sync::Arc;

use dpdk_sys::{rte_eth_conf, rte_eth_dev_info, rte_eth_link, rte_eth_stats, rte_ether_addr};
use thiserror::Error;

use super::device::{Device, driver_name};
use super::eal::Eal;
use super::mempool::{HEADROOM, Mempool};
use super::queue::{PortQueue, RxEvent};
use super::{error_text, log_stream};

/// Bytes an Ethernet frame has beyond its IP packet: header, one VLAN tag, checksum.
const FRAME_OVERHEAD: usize = 14 + 4 + 4;

/// How a port is to be set up.
#[derive(Clone, Debug)]
pub struct PortOptions {
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Receive queues wanted: one per worker. Fewer are used where the device has fewer.
    pub rx_queues: u16,
    /// Transmit queues needed: one per worker.
    pub tx_queues: u16,
    /// Descriptors per receive queue; adjusted to what the device can do.
    pub rx_descriptors: u16,
    /// Descriptors per transmit queue; adjusted to what the device can do.
    pub tx_descriptors: u16,
}

impl Default for PortOptions {
    fn default() -> PortOptions {
        PortOptions { mtu: 1500, rx_queues: 1, tx_queues: 1, rx_descriptors: 1024, tx_descriptors: 1024 }
    }
}

/// Why a port could not be opened.
#[derive(Debug, Error)]
pub enum PortError {
    #[error("device {device:?} cannot be used: {cause}")]
    Probe { device: String, cause: String },
    #[error("device {device:?} is already in use by another port")]
    InUse { device: String },
    #[error("port {device:?} has {available} transmit queues and {needed} workers need one each: {fix}")]
    TxQueues { device: String, needed: u16, available: u16, fix: &'static str },
    #[error("port {device:?} spreads packets over {available} receive queues and only {read} would be read: {fix}")]
    RxQueues { device: String, read: u16, available: u16, fix: &'static str },
    #[error("port {device:?} cannot have MTU {mtu}: its driver allows {min} to {max}")]
    Mtu { device: String, mtu: u16, min: u16, max: u16 },
    #[error("port {device:?} with MTU {mtu} needs mbufs of {needed} bytes: those of its mempool have {data_room}")]
    MbufSize { device: String, mtu: u16, needed: usize, data_room: usize },
    #[error("port {device:?} failed to {step}: {cause}")]
    Setup { device: String, step: &'static str, cause: String },
}

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
        let device = Arc::new(device);
        let queues = (0..tx_queues)
            .map(|queue| {
                let rx = (queue < rx_queues).then(|| (queue, rx_event(&device, queue, interrupts)));
                PortQueue::new(Arc::clone(&device), rx, queue)
            })
            .collect();
        Ok(Port { device, driver: driver_name(&info), mac, mtu: options.mtu, queues })
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
        Link { up: status == 0 && link.link_status() == 1, speed_mbps: link.link_speed }
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

/// How a worker learns that a receive queue has packets.
fn rx_event(device: &Device, queue: u16, interrupts: bool) -> RxEvent {
    if let Some(socket) = device.socket(queue) {
        return RxEvent::Socket(socket);
    }
    if !interrupts {
        return RxEvent::None;
    }
    let (descriptor, _) = log_stream::capture(|| {
        // SAFETY: the port exists and is started, with this receive queue.
        unsafe { dpdk_sys::rte_eth_dev_rx_intr_ctl_q_get_fd(device.port(), queue) }
    });
    if descriptor >= 0 { RxEvent::Interrupt } else { RxEvent::None }
}

/// A device on its way to become a port.
struct Setup<'a> {
    device: &'a Device,
    options: &'a PortOptions,
    mempool: &'a Mempool,
}

impl Setup<'_> {
    fn name(&self) -> String {
        self.device.name().into()
    }

    fn failed(&self, step: &'static str, status: i32) -> PortError {
        PortError::Setup { device: self.name(), step, cause: error_text(status) }
    }

    /// Receive and transmit queues to configure.
    fn queue_counts(&self, info: &rte_eth_dev_info) -> Result<(u16, u16), PortError> {
        let driver = driver_name(info);
        let tx = self.options.tx_queues.max(1);
        if tx > info.max_tx_queues {
            let fix = match driver.as_str() {
                "net_af_packet" => "give it as many queue pairs as there are workers (qpairs=N)",
                "net_pcap" => "name as many files for it as there are workers (tx_pcap=FILE,tx_pcap=FILE)",
                "net_memif" | "net_vhost" | "net_virtio_user" => "give it more queues, or use fewer workers",
                _ => "use fewer workers",
            };
            let available = info.max_tx_queues;
            return Err(PortError::TxQueues { device: self.name(), needed: tx, available, fix });
        }
        let rx = self.options.rx_queues.max(1).min(info.max_rx_queues);
        // The kernel spreads packets over all sockets of the fanout group, read or not.
        if driver == "net_af_packet" && rx < info.max_rx_queues {
            let fix = "give it as many queue pairs as there are workers (qpairs=N)";
            return Err(PortError::RxQueues { device: self.name(), read: rx, available: info.max_rx_queues, fix });
        }
        Ok((rx, tx))
    }

    /// Checks the MTU against the driver and the mbufs: a received packet must fit into one.
    fn check_sizes(&self, info: &rte_eth_dev_info) -> Result<(), PortError> {
        let mtu = self.options.mtu;
        // Drivers that do not care leave zeros.
        let max = if info.max_mtu == 0 { u16::MAX } else { info.max_mtu };
        if mtu < info.min_mtu || mtu > max {
            return Err(PortError::Mtu { device: self.name(), mtu, min: info.min_mtu, max });
        }
        let needed = HEADROOM + usize::from(mtu) + FRAME_OVERHEAD;
        let data_room = self.mempool.data_room();
        if data_room < needed {
            return Err(PortError::MbufSize { device: self.name(), mtu, needed, data_room });
        }
        Ok(())
    }

    /// Configures the port, its queues and its MTU, and starts it.
    fn start(
        &self,
        info: &rte_eth_dev_info,
        rx_queues: u16,
        tx_queues: u16,
        interrupts: bool,
    ) -> Result<(), PortError> {
        let port = self.device.port();
        let check = |step, status| if status == 0 { Ok(()) } else { Err(self.failed(step, status)) };

        let mut conf = rte_eth_conf::default();
        conf.rxmode.mtu = u32::from(self.options.mtu);
        conf.intr_conf.set_rxq(u32::from(interrupts));
        let hash = dpdk_sys::DPDK_RSS_IP_UDP_TCP & info.flow_type_rss_offloads;
        if rx_queues > 1 && hash != 0 {
            conf.rxmode.mq_mode = dpdk_sys::rte_eth_rx_mq_mode_RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = hash;
        }
        // SAFETY: the port exists and is stopped; `conf` is read only.
        let status = unsafe { dpdk_sys::rte_eth_dev_configure(port, rx_queues, tx_queues, &raw const conf) };
        check("be configured", status)?;

        let (mut rx_descriptors, mut tx_descriptors) = (self.options.rx_descriptors, self.options.tx_descriptors);
        // SAFETY: the port exists, and both numbers are ours to be changed.
        let status = unsafe {
            dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(port, &raw mut rx_descriptors, &raw mut tx_descriptors)
        };
        check("adjust its descriptors", status)?;

        let socket = dpdk_sys::SOCKET_ID_ANY as u32;
        let mempool = self.mempool.raw().as_ptr();
        for queue in 0..rx_queues {
            // SAFETY: the port is configured with this queue and stopped; null asks for the driver's defaults, and the
            // mempool lives as long as the device, which holds it.
            let status = unsafe {
                dpdk_sys::rte_eth_rx_queue_setup(port, queue, rx_descriptors, socket, std::ptr::null(), mempool)
            };
            check("set up a receive queue", status)?;
        }
        for queue in 0..tx_queues {
            // SAFETY: the port is configured with this queue and stopped; null asks for the driver's defaults.
            let status =
                unsafe { dpdk_sys::rte_eth_tx_queue_setup(port, queue, tx_descriptors, socket, std::ptr::null()) };
            check("set up a transmit queue", status)?;
        }
        // Drivers without the operation carry what they are given.
        // SAFETY: the port exists and is configured.
        let status = unsafe { dpdk_sys::rte_eth_dev_set_mtu(port, self.options.mtu) };
        if status != -nix::libc::ENOTSUP {
            check("set its MTU", status)?;
        }
        self.device.start().map_err(|status| self.failed("start", status))?;
        // Not every driver can, and those that cannot have nothing to turn off.
        // SAFETY: the port exists.
        unsafe { dpdk_sys::rte_eth_promiscuous_disable(port) };
        Ok(())
    }

    fn mac(&self) -> [u8; 6] {
        let mut address = rte_ether_addr::default();
        // SAFETY: the port exists, and `address` has room for the answer; it stays zero where there is none.
        unsafe { dpdk_sys::rte_eth_macaddr_get(self.device.port(), &raw mut address) };
        address.addr_bytes
    }
}
