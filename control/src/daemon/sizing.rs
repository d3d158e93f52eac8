//! How much packet memory a configuration needs.

use carpool_dataplane::dpdk::{BURST, HEADROOM, TX_BUFFER};
use carpool_dataplane::worker::Handover;

use crate::config::{Config, PoolOn};

/// Pools that a worker can have open at once.
pub(super) const OPEN_POOLS: u16 = 1024;
/// Most rows of a pooled packet.
const MAX_ROWS: usize = 255;
/// What a re-entry queue holds at the most: two bursts of pooled packets as full as can be.
const REENTRY: usize = 2 * BURST * MAX_ROWS;
/// Packets that wait for neighbours at the most.
const WAITING: usize = 32 * 16;
/// Pooled packets and indexes that wait for each other at the most.
const INDEXES: usize = 1024;
/// What a worker's mempool cache holds at the most: one and a half times its size (rte_mempool's flush threshold).
const CACHE: usize = 768;
/// Bytes of an Ethernet frame beyond its IP packet: header, a VLAN tag, checksum.
const FRAME_OVERHEAD: usize = 14 + 4 + 4;
/// Bytes of an mbuf beyond its data room: its own fields, and those of the mempool, with padding.
const MBUF_OVERHEAD: usize = 256;
/// Bytes of an ordinary page.
const PAGE: usize = 4096;
/// Megabytes for everything but packets: rings, ports, DPDK itself.
const BASE_MB: usize = 64;

/// Packet memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizing {
    /// Packet buffers.
    pub mbufs: usize,
    /// Bytes of each, headroom included.
    pub data_room: usize,
    /// Megabytes for DPDK in hugepages.
    pub memory_mb: usize,
    /// Megabytes for DPDK in ordinary pages.
    pub ordinary_mb: usize,
}

impl Sizing {
    /// As configured, or else so much that `workers` workers can fill all their queues and still receive.
    pub fn of(config: &Config, workers: usize) -> Sizing {
        let queues = config.ports.iter().map(|port| {
            let descriptors = usize::from(port.rx_descriptors) + usize::from(port.tx_descriptors);
            descriptors + TX_BUFFER
        });
        let handed_over = match config.dataplane.pool_on {
            PoolOn::Local => 0,
            PoolOn::Owner => Handover::on_the_way(workers),
        };
        let held = usize::from(OPEN_POOLS) + WAITING + INDEXES + handed_over;
        let worker = queues.sum::<usize>() + REENTRY + held + CACHE + BURST;
        // A power of two less one wastes no memory in the pool's ring.
        let needed = (worker * workers + 1).next_power_of_two() - 1;
        let mbufs = config.dataplane.mbufs.map_or(needed, |mbufs| mbufs as usize);
        let mtu = config.ports.iter().map(|port| usize::from(port.mtu)).max().unwrap_or(0);
        let data_room = HEADROOM + (mtu + FRAME_OVERHEAD).next_multiple_of(64).max(2048);
        let mbuf = data_room + MBUF_OVERHEAD;
        // An mbuf does not cross the border of an ordinary page, unless it is larger than one.
        let ordinary = if mbuf > PAGE { mbuf.next_multiple_of(PAGE) } else { PAGE / (PAGE / mbuf) };
        let megabytes = |mbuf: usize| {
            let needed = (mbufs * mbuf).div_ceil(1 << 20) + BASE_MB;
            config.dataplane.memory_mb.map_or(needed, |mb| mb as usize)
        };
        Sizing { mbufs, data_room, memory_mb: megabytes(mbuf), ordinary_mb: megabytes(ordinary) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const PORT: &str = "[[port]]\nname = \"p0\"\ndevice = \"net_null0\"\naddress = [\"192.0.2.1/24\"]\n";

    #[test]
    fn every_queue_can_be_full_and_packets_still_be_received() {
        let config = parse(PORT, "c.toml").expect("sound");
        let sizing = Sizing::of(&config, 1);
        assert_eq!(sizing.data_room, HEADROOM + 2048);
        assert!(sizing.mbufs >= REENTRY + 2048 + TX_BUFFER);
        assert!(Sizing::of(&config, 4).mbufs >= 4 * (REENTRY + 2048 + TX_BUFFER));
        assert!(sizing.memory_mb * (1 << 20) > sizing.mbufs * sizing.data_room);
        assert!(sizing.ordinary_mb * (1 << 20) > sizing.mbufs * PAGE, "two such mbufs do not fit into a page");
    }

    #[test]
    fn what_workers_hand_over_to_each_other_is_allowed_for() {
        let config = parse(&format!("{PORT}[dataplane]\npool_on = \"owner\"\n"), "c.toml").expect("sound");
        let rings = 4 * Handover::on_the_way(4);
        assert!(Sizing::of(&config, 4).mbufs >= 4 * (REENTRY + 2048 + TX_BUFFER) + rings);
    }

    #[test]
    fn a_larger_mtu_makes_larger_buffers() {
        let config = parse(&format!("{PORT}mtu = 9000\n"), "c.toml").expect("sound");
        assert!(Sizing::of(&config, 1).data_room >= HEADROOM + 9000 + FRAME_OVERHEAD);
    }

    #[test]
    fn what_is_configured_is_taken() {
        let text = format!("{PORT}[dataplane]\nmbufs = 4096\nmemory_mb = 100\n");
        let sizing = Sizing::of(&parse(&text, "c.toml").expect("sound"), 1);
        assert_eq!((sizing.mbufs, sizing.memory_mb), (4096, 100));
    }
}
