//! The router's ports.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::text::MacAddress;

/// `port_show`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortShow {}

/// Reply to `port_show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortList {
    /// The ports, in the order of the configuration.
    pub ports: Vec<PortEntry>,
}

/// A port and its device's counters since the router started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortEntry {
    /// Its name.
    pub name: String,
    /// The PCI address or vdev string it was opened by.
    pub device: String,
    /// DPDK's driver.
    pub driver: String,
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// The largest IP packet, in bytes.
    pub mtu: u16,
    /// Whether the link is up.
    pub link_up: bool,
    /// Speed of the link in Mbit/s, where the device knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mbps: Option<u32>,
    /// Our addresses, each with the length of its subnet's prefix.
    pub addresses: Vec<IpNet>,
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames the device dropped because its receive queues were full.
    pub rx_missed: u64,
    /// Frames received with errors.
    pub rx_errors: u64,
    /// Frames dropped because there was no memory to receive them into.
    pub rx_no_buffer: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
}
