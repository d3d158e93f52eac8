//! What comes out of pooled packets passes the input again in its order, and does not take all memory while it does.

use std::time::Duration;

use super::lab::*;
use super::pooling::addressee_of;
use crate::dpdk::BURST;
use crate::worker::{Counter, Drop};

/// Rows in a full pooled packet of packets of 60 bytes.
const ROWS: usize = 22;

/// Packets of one flow as they arrive here, and the full pooled packets that a router made of them.
fn pooled(count: usize) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut pooler = Bench::new();
    let tags = (0..=u8::MAX).cycle().take(count);
    let packets: Vec<_> = tags.map(|tag| udp(WEST_HOST, FAR_HOST, (16_400, 16_500), 60, tag)).collect();
    packets.iter().for_each(|packet| pooler.west_sends(packet));
    pooler.run();
    pooler.wait(Duration::from_millis(5));
    pooler.run();
    let outers = pooler.east_gets();
    pooler.end();
    assert_eq!(outers.len(), count / ROWS, "they are full");
    (packets.iter().map(|packet| after_hops(packet, 1)).collect(), outers)
}

#[test]
fn what_re_enters_keeps_its_place_among_what_came_before_and_behind_it() {
    // Before the packet that goes on, less than a burst waits; or a burst was taken up and its rest waits.
    for pooled_in_a_row in [1, 2, 3, 7] {
        let (packets, outers) = pooled(7 * ROWS);
        let mut depooler = addressee_of(Bench::new());
        let mut expected = Vec::new();
        for (some, held) in outers.chunks(pooled_in_a_row).zip(packets.chunks(pooled_in_a_row * ROWS)) {
            some.iter().for_each(|outer| depooler.west_sends(outer));
            let behind = udp(WEST_HOST, FAR_HOST, (16_400, 16_500), 60, 0xff);
            depooler.west_sends(&behind);
            expected.extend(held.iter().chain([&behind]).map(|packet| after_hops(packet, 1)));
        }
        depooler.run();
        assert_eq!(depooler.east_gets(), expected, "{pooled_in_a_row} pooled packets in a row");
        depooler.end();
    }
}

#[test]
fn a_burst_of_pooled_packets_needs_memory_for_two_bursts_and_not_for_all_that_is_in_it() {
    let (packets, outers) = pooled(BURST * ROWS);
    assert_eq!(outers.len(), BURST);
    // They themselves, what one holds, two bursts of what was in them, and what lies in caches.
    const MBUFS: usize = 255;
    let mut depooler = addressee_of(Bench::with_mbufs(MBUFS));
    assert!(packets.len() > 2 * MBUFS, "or it would not matter");
    // What leaves would stay in the memory of this router as long as it is on the wire.
    depooler.routes.insert("203.0.113.0/24".parse().expect("prefix"), BLACKHOLE).expect("room");
    outers.iter().for_each(|outer| depooler.west_sends(outer));
    depooler.run();
    let counters = depooler.end();
    assert_eq!(counters.drops(Drop::NoBuffer), 0, "each found an mbuf");
    assert_eq!(counters.drops(Drop::RouteBlackhole), packets.len() as u64);
    assert_eq!(counters.get(Counter::CreatedExtracted), packets.len() as u64);
}
