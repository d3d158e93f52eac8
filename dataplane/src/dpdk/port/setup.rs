//! How a device becomes a port: what is wanted of it, why it may not do, and how it is configured and started.

use dpdk_sys::{rte_eth_conf, rte_eth_dev_info, rte_ether_addr};
use thiserror::Error;

use super::super::device::{Device, driver_name};
use super::super::error_text;
use super::super::mempool::{HEADROOM, Mempool};

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
    /// Descriptors per receive queue; adjusted to what the device can do. Most drivers take an mbuf for each when the
    /// port starts: the mempool must hold them all, and what workers have in hand besides.
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

/// A device on its way to become a port.
pub(super) struct Setup<'a> {
    pub(super) device: &'a Device,
    pub(super) options: &'a PortOptions,
    pub(super) mempool: &'a Mempool,
}

impl Setup<'_> {
    fn name(&self) -> String {
        self.device.name().into()
    }

    pub(super) fn failed(&self, step: &'static str, status: i32) -> PortError {
        PortError::Setup { device: self.name(), step, cause: error_text(status) }
    }

    /// Receive and transmit queues to configure.
    pub(super) fn queue_counts(&self, info: &rte_eth_dev_info) -> Result<(u16, u16), PortError> {
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
    pub(super) fn check_sizes(&self, info: &rte_eth_dev_info) -> Result<(), PortError> {
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
    pub(super) fn start(
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
        // IPv6 neighbours ask groups, one for the last 24 bits of each of our addresses; filters for as many are rare.
        // Drivers without the operation hand all groups up, or say so by their other filters.
        // SAFETY: the port exists.
        unsafe { dpdk_sys::rte_eth_allmulticast_enable(port) };
        Ok(())
    }

    pub(super) fn mac(&self) -> [u8; 6] {
        let mut address = rte_ether_addr::default();
        // SAFETY: the port exists, and `address` has room for the answer; it stays zero where there is none.
        unsafe { dpdk_sys::rte_eth_macaddr_get(self.device.port(), &raw mut address) };
        address.addr_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::test_eal;
    use super::super::Port;
    use super::super::tests::{options, pool};
    use super::*;

    #[test]
    fn every_refusal_names_the_device_and_the_way_out() {
        let pool = pool("port_errors");
        let small = Mempool::create(test_eal(), "port_small", 63, 1500).expect("there is room for a small pool");
        let eal = test_eal();
        let error = |device: &str, options: &PortOptions, pool: &Mempool| match Port::open(eal, device, options, pool) {
            Ok(_) => panic!("{device} opened"),
            Err(error) => error.to_string(),
        };
        let _taken = Port::open(eal, "net_null2", &options(1), &pool).expect("net_null works everywhere");
        let text = error("net_null2,size=64", &options(1), &pool);
        assert!(text.contains("net_null2") && text.contains("in use"), "{text}");
        let text = error("net_nonsense0", &options(1), &pool);
        assert!(text.contains("net_nonsense0"), "{text}");
        let text = error("0000:ff:1f.7", &options(1), &pool);
        assert!(text.contains("0000:ff:1f.7"), "{text}");
        let text = error("net_af_packet7,iface=no-such-if", &options(1), &pool);
        assert!(text.contains("no-such-if"), "{text}");
        let text = error("net_ring2", &options(33), &pool);
        assert!(text.contains("net_ring2") && text.contains("fewer workers"), "{text}");
        let text = error("net_null3", &options(1), &small);
        assert!(text.contains("1650") && text.contains("1500"), "{text}");
        let tiny = PortOptions { mtu: 20, ..options(1) };
        let text = error("net_null3", &tiny, &pool);
        assert!(text.contains("MTU 20") && text.contains("allows"), "{text}");
        Port::open(eal, "net_null3", &options(1), &pool).expect("after a refusal the device can be used");
    }
}
