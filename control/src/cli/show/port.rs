//! Ports, a paragraph each, as ip(8) shows links.

use super::show;
use crate::api::port::{PortEntry, PortList};

show!(PortList, |list| list.ports.iter().map(port).collect());

fn port(port: &PortEntry) -> String {
    let link = if port.link_up { "up" } else { "down" };
    let speed = port.speed_mbps.map_or_else(String::new, |speed| format!(", {speed} Mbit/s"));
    let mut text = format!("{}: link {link}{speed}, mtu {} bytes, mac {}\n", port.name, port.mtu, port.mac);
    text.push_str(&format!("  device    {} ({})\n", port.device, port.driver));
    for address in &port.addresses {
        text.push_str(&format!("  address   {address}\n"));
    }
    text.push_str(&format!(
        "  received  {} packets, {} bytes; {} missed, {} with errors, {} without a buffer\n",
        port.rx_packets, port.rx_bytes, port.rx_missed, port.rx_errors, port.rx_no_buffer
    ));
    text.push_str(&format!(
        "  sent      {} packets, {} bytes; {} with errors\n",
        port.tx_packets, port.tx_bytes, port.tx_errors
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::text::MacAddress;
    use crate::cli::show::Show;

    #[test]
    fn a_port_shows_as_a_paragraph() {
        let port = PortEntry {
            name: "p0".to_owned(),
            device: "0000:3b:00.0".to_owned(),
            driver: "net_ixgbe".to_owned(),
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            link_up: true,
            speed_mbps: Some(10_000),
            addresses: vec!["192.0.2.1/24".parse().expect("an address")],
            rx_packets: 1,
            rx_bytes: 60,
            tx_packets: 2,
            tx_bytes: 120,
            rx_missed: 3,
            rx_errors: 4,
            rx_no_buffer: 5,
            tx_errors: 6,
        };
        let down =
            PortEntry { name: "p1".to_owned(), link_up: false, speed_mbps: None, addresses: vec![], ..port.clone() };
        assert_eq!(
            PortList { ports: vec![port, down] }.text(),
            "\
p0: link up, 10000 Mbit/s, mtu 1500 bytes, mac 02:00:00:00:00:01
  device    0000:3b:00.0 (net_ixgbe)
  address   192.0.2.1/24
  received  1 packets, 60 bytes; 3 missed, 4 with errors, 5 without a buffer
  sent      2 packets, 120 bytes; 6 with errors
p1: link down, mtu 1500 bytes, mac 02:00:00:00:00:01
  device    0000:3b:00.0 (net_ixgbe)
  received  1 packets, 60 bytes; 3 missed, 4 with errors, 5 without a buffer
  sent      2 packets, 120 bytes; 6 with errors
"
        );
    }
}
