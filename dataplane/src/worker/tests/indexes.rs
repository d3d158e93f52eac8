//! Pooled packets without an index in front: indexes out of band, and lengths that are known beforehand.

use std::sync::Arc;
use std::time::Duration;

use super::lab::*;
use super::pooling::addressee;
use crate::pool::wire::{
    BLOCK_HEADER_LEN, HEADER_LEN, Kind, PoolHeader, ROW_LEN, Row, RowType, Template, TemplateId, write_block_header,
};
use crate::worker::{Counter, Drop, PeerTable};

const WAIT: Duration = Duration::from_millis(5);

fn stream(count: u8, length: usize) -> Vec<Vec<u8>> {
    (0..count).map(|tag| udp(WEST_HOST, FAR_HOST, (16_400, 16_500), length, tag)).collect()
}

fn header(kind: Kind, count: usize, template: u8, sequence: u32) -> Vec<u8> {
    let mut header = [0; HEADER_LEN];
    PoolHeader { kind, count: count as u8, outer_ttl: 64, template, sequence }.write(&mut header);
    header.to_vec()
}

/// As the peer sends it.
fn outer(payload: &[u8]) -> Vec<u8> {
    udp_with(OWN_EAST, PEER, (POOL_PORT, POOL_PORT), payload)
}

fn data(sequence: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    outer(&[header(Kind::DataOnly, packets.len(), 0, sequence), packets.concat()].concat())
}

fn index(sequence: u32, blocks: &[(u32, &[Vec<u8>])]) -> Vec<u8> {
    let mut payload = header(Kind::Index, blocks.len(), 0, sequence);
    for (of, packets) in blocks {
        let mut block = [0; BLOCK_HEADER_LEN];
        write_block_header(*of, packets.len() as u8, &mut block);
        payload.extend_from_slice(&block);
        let mut start = 0;
        for packet in *packets {
            let mut row = [0; ROW_LEN];
            Row { start, length: packet.len() as u16, ttl: 1, row_type: RowType::WholeIpv4 }.write(&mut row);
            payload.extend_from_slice(&row);
            start += packet.len() as u16;
        }
    }
    outer(&payload)
}

fn forwarded(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    packets.iter().map(|packet| after_hops(packet, 1)).collect()
}

#[test]
fn packets_behind_their_index_go_on_at_once() {
    let mut bench = addressee();
    let packets = stream(5, 100);
    bench.west_sends(&index(9, &[(10, &packets[..3]), (11, &packets[3..])]));
    bench.west_sends(&data(10, &packets[..3]));
    bench.west_sends(&data(11, &packets[3..]));
    bench.run();
    assert_eq!(bench.east_gets(), forwarded(&packets));
    let counters = bench.end();
    assert_eq!((counters.get(Counter::PoolReceived), counters.get(Counter::AbsorbedIndex)), (2, 1));
    assert_eq!((counters.get(Counter::CreatedExtracted), counters.drops_total()), (5, 0));
}

#[test]
fn a_packet_is_held_until_its_index_comes_and_what_came_behind_it_too() {
    let mut bench = addressee();
    let packets = stream(4, 100);
    bench.west_sends(&data(10, &packets[..2]));
    bench.west_sends(&index(11, &[(12, &packets[2..])]));
    bench.west_sends(&data(12, &packets[2..]));
    bench.run();
    assert!(bench.east_gets().is_empty());
    assert_eq!((bench.counters().get(Counter::Held), bench.counters().get(Counter::PoolIndexWaiting)), (3, 3));
    bench.west_sends(&index(13, &[(10, &packets[..2])]));
    bench.run();
    assert_eq!(bench.east_gets(), forwarded(&packets));
    assert_eq!(bench.end().drops_total(), 0);
}

#[test]
fn a_packet_whose_index_is_lost_is_dropped_in_time_and_the_rest_goes_on() {
    let mut bench = addressee();
    let packets = stream(4, 100);
    bench.west_sends(&data(10, &packets[..2]));
    bench.west_sends(&index(11, &[(12, &packets[2..])]));
    bench.west_sends(&data(12, &packets[2..]));
    bench.run();
    let deadline = bench.worker.stages.next_deadline().expect("something waits");
    assert!(deadline <= bench.now + crate::arch::TickRate::NANOSECONDS.ticks(WAIT), "the worker knows when to wake");
    bench.wait(WAIT);
    bench.run();
    assert_eq!(bench.east_gets(), forwarded(&packets[2..]));
    bench.west_sends(&index(9, &[(10, &packets[..2])]));
    bench.run();
    let counters = bench.end();
    assert_eq!((counters.drops(Drop::PoolIndexMissing), counters.drops(Drop::PoolIndexLate)), (1, 1));
    assert_eq!(counters.drops_total(), 2);
}

#[test]
fn an_index_that_contradicts_its_packet_drops_it_by_the_name_of_the_bound() {
    let mut bench = addressee();
    let (short, long) = (stream(2, 100), stream(2, 101));
    bench.west_sends(&index(9, &[(10, &long), (11, &short[..1]), (12, &short)]));
    (10..13).for_each(|sequence| bench.west_sends(&data(sequence, &short)));
    bench.run();
    assert_eq!(bench.east_gets(), forwarded(&short));
    let counters = bench.end();
    assert_eq!((counters.drops(Drop::PoolInnerLength), counters.drops(Drop::PoolIndexCount)), (1, 1));
    assert_eq!(counters.drops_total(), 2);
}

#[test]
fn what_came_twice_or_too_late_is_dropped_by_name() {
    let mut bench = addressee();
    let packets = stream(2, 100);
    for _ in 0..2 {
        bench.west_sends(&index(9, &[(10, &packets)]));
        bench.west_sends(&data(10, &packets));
    }
    bench.west_sends(&data(9, &packets));
    bench.west_sends(&data(1_000_000, &packets));
    bench.west_sends(&index(2_000_000, &[(2_000_001, &packets)]));
    bench.run();
    assert_eq!(bench.east_gets(), forwarded(&packets));
    let counters = bench.end();
    let drops = [Drop::PoolIndexDuplicate, Drop::PoolDataDuplicate, Drop::PoolDataLate, Drop::PoolSequenceStray];
    assert_eq!(drops.map(|reason| counters.drops(reason)), [1, 1, 1, 2]);
    assert_eq!(counters.drops_total(), 5);
}

#[test]
fn a_pooled_packet_of_kind_0_between_them_is_not_waited_for() {
    let mut bench = addressee();
    let packets = stream(3, 100);
    bench.west_sends(&index(9, &[(10, &packets[..1]), (12, &packets[2..])]));
    bench.west_sends(&data(10, &packets[..1]));
    bench.west_sends(&data(12, &packets[2..]));
    bench.run();
    assert_eq!(bench.east_gets(), forwarded(&packets[..1]));
    let row = [0, 0, 0, 100, 1, 4];
    bench.west_sends(&outer(&[&header(Kind::Pooled, 1, 0, 11)[..], &row, &packets[1]].concat()));
    bench.run();
    assert_eq!(bench.east_gets(), forwarded(&packets[1..]));
    bench.end();
}

#[test]
fn an_index_in_another_pooled_packet_is_not_taken() {
    let mut bench = addressee();
    let packets = stream(2, 100);
    let inner = data(10, &packets);
    let row = [&[0, 0][..], &(inner.len() as u16).to_be_bytes(), &[1, 4]].concat();
    bench.west_sends(&outer(&[&header(Kind::Pooled, 1, 0, 11)[..], &row, &inner].concat()));
    bench.run();
    assert_eq!(bench.end().drops(Drop::PoolNesting), 1);
}

#[test]
fn what_waits_for_a_peer_that_is_removed_is_dropped_and_for_others_it_is_not() {
    let mut bench = addressee();
    let packets = stream(2, 100);
    bench.west_sends(&data(10, &packets));
    bench.run();
    bench.change(|state| state.pools += 1);
    bench.run();
    assert_eq!(bench.counters().get(Counter::Held), 1, "it is a peer still");
    bench.change(|state| {
        state.pools += 1;
        state.peers = Arc::new(PeerTable::default());
    });
    bench.run();
    assert_eq!(bench.end().drops(Drop::PoolPeerGone), 1);
}

#[test]
fn a_worker_that_stops_hands_out_what_is_complete_and_drops_the_rest() {
    let mut bench = addressee();
    let packets = stream(3, 100);
    bench.west_sends(&data(10, &packets[..1]));
    bench.west_sends(&index(11, &[(12, &packets[1..])]));
    bench.west_sends(&data(12, &packets[1..]));
    bench.run();
    let counters = bench.end();
    assert_eq!((counters.drops(Drop::Shutdown), counters.get(Counter::CreatedExtracted)), (1, 2));
    assert_eq!(counters.get(Counter::Out), 2);
}

#[test]
fn a_mark_of_congestion_on_the_data_reaches_what_is_in_it_after_it_waited() {
    let mut bench = addressee();
    let packets = stream(2, 100);
    let marked = |packet: Vec<u8>| {
        let mut header = crate::packet::ipv4::Ipv4Header::parse(&packet).expect("sound");
        header.dscp_ecn |= 3;
        super::lab::packet(header, &packet[20..])
    };
    bench.west_sends(&marked(data(10, &packets)));
    bench.run();
    bench.west_sends(&index(9, &[(10, &packets)]));
    bench.run();
    assert_eq!(bench.end().drops(Drop::PoolCongested), 2, "they are not ECN-capable");
}

#[test]
fn packets_of_known_lengths_need_no_index() {
    let mut bench = addressee();
    let id = TemplateId::new(7).expect("not 0");
    let template = Template::new(&[100, 60]).expect("sound lengths");
    bench.change(|state| state.templates = Arc::new([(id, template)].into_iter().collect()));
    let packets: Vec<Vec<u8>> =
        [100, 60, 100].into_iter().map(|length| udp(WEST_HOST, FAR_HOST, (1, 2), length, 5)).collect();
    let payload = |template| [header(Kind::Predetermined, 3, template, 10), packets.concat()].concat();
    bench.west_sends(&outer(&payload(7)));
    bench.run();
    assert_eq!(bench.east_gets(), forwarded(&packets));
    bench.west_sends(&outer(&payload(8)));
    bench.west_sends(&outer(&[payload(7), vec![0]].concat()));
    bench.run();
    let counters = bench.end();
    assert_eq!((counters.drops(Drop::PoolUnknownTemplate), counters.drops(Drop::PoolTemplateLength)), (1, 1));
    assert_eq!((counters.get(Counter::PoolReceived), counters.get(Counter::PoolRowsReceived)), (1, 3));
}
