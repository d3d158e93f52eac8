//! The waiting room fed with what a network can do to packets and their indexes.

use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::arch::TickRate;
use crate::packet::BufferSource;
use crate::packet::heap_buffer::{HeapBuffer, HeapSource};
use crate::pool::wire::{DataOnly, Kind, PoolHeader, write_block_header};

const WAIT: Duration = Duration::from_millis(5);
/// What is in front of the UDP payload in a buffer.
const FRONT: usize = 28;
const BUFFERS: usize = 4000;

fn ticks(duration: Duration) -> TickSpan {
    TickRate::NANOSECONDS.ticks(duration)
}

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

fn key(src_port: u16) -> StreamKey {
    StreamKey { peer: Ipv4Addr::new(198, 51, 100, 7).into(), to: Ipv4Addr::new(192, 0, 2, 1).into(), src_port }
}

fn header(kind: Kind, count: usize, sequence: u32) -> Vec<u8> {
    let mut header = [0; HEADER_LEN];
    PoolHeader { kind, count: count as u8, outer_ttl: 64, template: 0, sequence }.write(&mut header);
    header.to_vec()
}

/// The packets of the pooled packet with this number: as many as one more than its number modulo 3, all of them telling
/// their number.
fn packets(sequence: u32) -> Vec<Vec<u8>> {
    let packet = |at: u32| {
        let length = 24 + (sequence + at) % 40;
        let mut packet = vec![sequence as u8; length as usize];
        (packet[0], packet[2], packet[3]) = (0x45, 0, length as u8);
        packet[20..24].copy_from_slice(&sequence.to_be_bytes());
        packet
    };
    (0..=sequence % 3).map(packet).collect()
}

fn data(sequence: u32) -> Vec<u8> {
    let packets = packets(sequence);
    [header(Kind::DataOnly, packets.len(), sequence), packets.concat()].concat()
}

/// An index packet of these pooled packets; each block has the rows of the packet that stands beside it.
fn index_of(sequence: u32, blocks: &[(u32, u32)]) -> Vec<u8> {
    let mut payload = header(Kind::Index, blocks.len(), sequence);
    for (of, like) in blocks {
        let (packets, mut start) = (packets(*like), 0u16);
        let mut block = [0; BLOCK_HEADER_LEN];
        write_block_header(*of, packets.len() as u8, &mut block);
        payload.extend_from_slice(&block);
        for packet in packets {
            payload
                .extend_from_slice(&[&start.to_be_bytes()[..], &(packet.len() as u16).to_be_bytes(), &[1, 4]].concat());
            start += packet.len() as u16;
        }
    }
    payload
}

fn index(sequence: u32, of: &[u32]) -> Vec<u8> {
    index_of(sequence, &of.iter().map(|of| (*of, *of)).collect::<Vec<_>>())
}

/// A queue, and what became of all that it was given.
struct Room {
    queue: IndexQueue<HeapBuffer, Tick>,
    source: HeapSource,
    now: Tick,
    delivered: Vec<u32>,
    longest: TickSpan,
    dropped: Vec<QueueDrop>,
    mismatched: usize,
    used: usize,
}

impl Room {
    fn new() -> Room {
        let limits = QueueLimits {
            streams: 4,
            packets: 1024,
            bytes: 1 << 20,
            wait: ticks(WAIT),
            forget: ticks(Duration::from_secs(1)),
        };
        Room::with(limits)
    }

    fn with(limits: QueueLimits) -> Room {
        Room {
            queue: IndexQueue::new(limits),
            source: HeapSource { room: 2048, available: BUFFERS },
            now: Tick(1_000_000_000),
            delivered: Vec::new(),
            longest: TickSpan(0),
            dropped: Vec::new(),
            mismatched: 0,
            used: 0,
        }
    }

    /// Takes out what there is now, and checks that what is handed out is what was sent.
    fn drain(&mut self) {
        while let Some(settled) = self.queue.next(self.now) {
            let (buffer, arrived) = match settled {
                Settled::Ready(arrival, rows) => {
                    let payload = &arrival.buffer.bytes()[usize::from(arrival.payload_at)..];
                    let packet = DataOnly::parse(payload).expect("it was sound when it came");
                    let sequence = packet.header().sequence;
                    match packet.join(rows) {
                        Ok(joined) => {
                            let found: Vec<Vec<u8>> = joined.rows().map(|(_, bytes)| bytes.to_vec()).collect();
                            assert_eq!(found, packets(sequence), "{sequence}");
                            self.delivered.push(sequence);
                        }
                        Err(_) => self.mismatched += 1,
                    }
                    (arrival.buffer, Some(arrival.tag))
                }
                Settled::Dropped(buffer, reason) => {
                    self.dropped.push(reason);
                    (buffer, None)
                }
                Settled::Used(buffer) => {
                    self.used += 1;
                    (buffer, None)
                }
            };
            self.source.free(buffer);
            self.longest = self.longest.max(arrived.map_or(TickSpan(0), |arrived| self.now.since(arrived)));
        }
        assert!(self.queue.next_deadline().is_none_or(|deadline| deadline > self.now), "something waits too long");
        let idle = BUFFERS - self.source.available;
        assert_eq!(self.queue.held(), idle, "every packet is held or has come out");
    }

    /// A packet comes in.
    fn get(&mut self, src_port: u16, payload: &[u8]) {
        let pool = PoolHeader::parse(payload).expect("a header");
        let (key, now, sequence) = (key(src_port), self.now, pool.sequence);
        let begin = match pool.kind {
            Kind::Index => IndexPacket::parse(payload).expect("sound").blocks().next().expect("a block").sequence,
            _ => sequence,
        };
        if !matches!(pool.kind, Kind::DataOnly | Kind::Index) && !self.queue.follows(key) {
            return;
        }
        let reached = self.queue.reach(key, sequence, begin, now);
        self.drain();
        if let Err(reason) = reached {
            self.dropped.push(reason);
            return;
        }
        let mut buffer = self.source.alloc(FRONT).expect("a buffer");
        buffer.append(payload.len()).expect("room").copy_from_slice(payload);
        buffer.prepend(FRONT).expect("headroom");
        let arrival = Arrival { buffer, payload_at: FRONT as u16, tag: now };
        let added = match pool.kind {
            Kind::DataOnly => self.queue.add_data(key, sequence, arrival, now),
            Kind::Index => self.queue.add_index(key, sequence, arrival, now),
            _ => {
                self.source.free(arrival.buffer);
                self.queue.add_other(key, sequence, now);
                Ok(())
            }
        };
        if let Err((buffer, reason)) = added {
            self.source.free(buffer);
            self.dropped.push(reason);
        }
        self.drain();
    }

    /// Lets time pass as a worker does, which looks when something is due.
    fn wait(&mut self, duration: Duration) {
        let until = self.now + ticks(duration);
        while let Some(deadline) = self.queue.next_deadline().filter(|deadline| *deadline <= until) {
            self.now = deadline;
            self.drain();
        }
        self.now = until;
        self.drain();
    }
}

const OTHER: Kind = Kind::Pooled;

#[test]
fn a_packet_behind_its_index_does_not_wait_at_all() {
    let mut room = Room::new();
    room.get(1, &index(9, &[10, 11]));
    room.get(1, &data(10));
    room.get(1, &data(11));
    assert_eq!((room.delivered, room.longest, room.used, room.queue.held()), (vec![10, 11], TickSpan(0), 1, 0));
    assert_eq!(room.dropped, []);
}

#[test]
fn a_packet_waits_for_its_index_and_those_behind_it_wait_too() {
    let mut room = Room::new();
    room.get(1, &data(10));
    room.get(1, &index(12, &[11]));
    room.get(1, &data(11));
    room.wait(micros(4999));
    assert_eq!(room.delivered, []);
    room.get(1, &index(9, &[10]));
    assert_eq!((room.delivered, room.used), (vec![10, 11], 2));
}

#[test]
fn a_packet_whose_index_does_not_come_is_dropped_and_does_not_hold_up_the_rest() {
    let mut room = Room::new();
    room.get(1, &data(10));
    room.get(1, &index(11, &[12]));
    room.get(1, &data(12));
    room.wait(micros(4999));
    assert_eq!((room.delivered.len(), room.dropped.len()), (0, 0));
    room.wait(micros(1));
    assert_eq!((&room.delivered[..], &room.dropped[..]), (&[12][..], &[QueueDrop::IndexMissing][..]));
    room.get(1, &index(9, &[10]));
    assert_eq!(room.dropped[1..], [QueueDrop::IndexLate]);
}

#[test]
fn a_lost_packet_holds_up_the_next_for_no_longer_than_the_bound() {
    let mut room = Room::new();
    room.get(1, &index(9, &[10, 11, 12]));
    room.get(1, &data(10));
    room.get(1, &data(12));
    assert_eq!(room.delivered, [10]);
    room.wait(WAIT);
    assert_eq!((&room.delivered[..], room.longest), (&[10, 12][..], ticks(WAIT)));
    room.get(1, &data(11));
    assert_eq!((room.delivered, room.dropped), (vec![10, 12], vec![QueueDrop::DataLate]));
}

#[test]
fn a_packet_that_was_overtaken_is_handed_out_in_its_place() {
    let mut room = Room::new();
    room.get(1, &index(9, &[10, 11, 12]));
    for sequence in [10, 12, 11] {
        room.get(1, &data(sequence));
    }
    assert_eq!((room.delivered, room.longest), (vec![10, 11, 12], TickSpan(0)));
}

#[test]
fn a_complete_packet_whose_index_has_waited_long_enough_is_handed_out_and_not_lost() {
    let mut room = Room::new();
    room.get(1, &index(8, &[9]));
    room.get(1, &data(9));
    room.get(1, &index(10, &[12]));
    room.wait(micros(1000));
    room.get(1, &data(12));
    room.wait(micros(4000));
    assert_eq!((&room.delivered[..], room.longest), (&[9, 12][..], ticks(micros(4000))));
}

#[test]
fn a_number_that_another_kind_of_packet_had_is_not_waited_for() {
    let mut room = Room::new();
    room.get(1, &index(9, &[10, 12]));
    room.get(1, &data(10));
    room.get(1, &header(OTHER, 1, 11));
    room.get(1, &data(12));
    assert_eq!((room.delivered, room.longest), (vec![10, 12], TickSpan(0)));
}

#[test]
fn a_gap_that_nothing_waited_behind_is_forgotten_in_time() {
    let mut room = Room::new();
    room.get(1, &index(9, &[10]));
    room.get(1, &data(10));
    room.get(1, &header(OTHER, 1, 12));
    room.wait(WAIT);
    room.get(1, &index(13, &[14]));
    room.get(1, &data(14));
    assert_eq!((room.delivered, room.longest), (vec![10, 14], TickSpan(0)));
}

#[test]
fn duplicates_are_told_from_what_is_late() {
    let mut room = Room::new();
    room.get(1, &index(9, &[10, 11]));
    room.get(1, &index(9, &[10, 11]));
    room.get(1, &data(10));
    room.get(1, &data(10));
    room.get(1, &data(12));
    room.get(1, &data(12));
    room.get(1, &index(9, &[10]));
    let duplicate = [QueueDrop::IndexDuplicate, QueueDrop::DataDuplicate, QueueDrop::DataDuplicate];
    assert_eq!((&room.delivered[..], &room.dropped[..3]), (&[10][..], &duplicate[..]));
    assert_eq!(room.dropped[3..], [QueueDrop::IndexDuplicate]);
}

#[test]
fn an_index_that_contradicts_its_packet_costs_that_packet_only() {
    let mut room = Room::new();
    room.get(1, &index_of(9, &[(10, 11), (11, 11)]));
    room.get(1, &data(10));
    room.get(1, &data(11));
    assert_eq!((room.mismatched, &room.delivered[..]), (1, &[11][..]));
}

#[test]
fn an_index_without_its_packet_is_dropped_when_it_has_waited_long_enough() {
    let mut room = Room::new();
    room.get(1, &index(9, &[10, 11]));
    room.wait(WAIT);
    assert_eq!((&room.dropped[..], room.queue.held()), (&[QueueDrop::IndexUnused][..], 0));
}

#[test]
fn one_stray_packet_moves_nothing_and_a_sender_that_begins_anew_is_followed() {
    let mut room = Room::new();
    room.get(1, &index(1_000_009, &[1_000_010]));
    room.get(1, &data(1_000_010));
    room.get(1, &data(5));
    assert_eq!(room.dropped, [QueueDrop::Stray]);
    room.get(1, &index(1_000_011, &[1_000_012]));
    room.get(1, &data(1_000_012));
    assert_eq!(room.delivered, [1_000_010, 1_000_012]);
    room.get(1, &index(20, &[21, 22]));
    room.get(1, &data(21));
    room.get(1, &index(22, &[23, 24]));
    room.get(1, &data(23));
    room.get(1, &data(24));
    room.wait(WAIT);
    assert_eq!(room.delivered[2..], [23, 24], "what was sent before its number was believed is lost");
}

#[test]
fn a_sender_that_was_silent_begins_where_it_likes() {
    let mut room = Room::new();
    room.get(1, &index(1_000_009, &[1_000_010]));
    room.get(1, &data(1_000_010));
    room.wait(Duration::from_secs(1));
    room.get(1, &index(4, &[5]));
    room.get(1, &data(5));
    assert_eq!((room.delivered, room.dropped), (vec![1_000_010, 5], vec![]));
}

#[test]
fn a_sequence_that_runs_ahead_gives_up_what_waits_longest() {
    let mut room = Room::new();
    room.get(1, &data(1000));
    for sequence in (1001..1451).step_by(3) {
        room.get(1, &index(sequence, &[sequence + 1, sequence + 2]));
        room.get(1, &data(sequence + 1));
        room.get(1, &data(sequence + 2));
    }
    assert_eq!((room.delivered.len(), room.dropped.first()), (300, Some(&QueueDrop::IndexMissing)));
    assert_eq!(room.longest, TickSpan(0));
    room.get(1, &header(OTHER, 1, 1451 + 60_000));
    room.get(1, &index(1452 + 60_000, &[1453 + 60_000]));
    room.get(1, &data(1453 + 60_000));
    room.wait(WAIT);
    assert_eq!(room.delivered.last(), Some(&(1453 + 60_000)), "a long gap is taken for loss");
}

#[test]
fn packets_bytes_and_streams_are_bounded() {
    let wait = ticks(WAIT);
    let limits = QueueLimits { streams: 2, packets: 3, bytes: 1 << 20, wait, forget: TickSpan(u64::MAX) };
    let mut room = Room::with(limits);
    (10..14).for_each(|sequence| room.get(1, &data(sequence)));
    assert_eq!((&room.dropped[..], room.queue.held()), (&[QueueDrop::Full][..], 3));
    room.get(1, &index(20, &[21]));
    assert_eq!((room.dropped.len(), room.queue.held()), (2, 3));
    let mut room = Room::with(QueueLimits { packets: 100, bytes: 200, ..limits });
    (10..20).for_each(|sequence| room.get(1, &data(sequence)));
    assert!(room.dropped.iter().all(|reason| *reason == QueueDrop::Full) && room.queue.held() < 4);
    let mut room = Room::with(QueueLimits { packets: 100, ..limits });
    (1..4).for_each(|port| room.get(port, &data(10)));
    assert_eq!((&room.dropped[..], room.queue.held()), (&[QueueDrop::Full][..], 2), "both have something waiting");
    room.wait(WAIT);
    room.get(3, &data(10));
    assert!(room.queue.follows(key(3)) && !room.queue.follows(key(1)), "the one that was silent longest made room");
}

#[test]
fn what_waits_for_a_sender_that_is_gone_comes_out() {
    let mut room = Room::new();
    for port in [1, 2] {
        room.get(port, &data(10));
        room.get(port, &index(12, &[13]));
    }
    let mut gone = 0;
    while let Some(buffer) = room.queue.take_unless(|key| key.src_port != 1) {
        gone += 1;
        room.source.free(buffer);
    }
    room.drain();
    assert_eq!((gone, room.queue.held(), room.queue.follows(key(1)), room.queue.follows(key(2))), (2, 2, false, true));
    room.get(2, &index(9, &[10]));
    room.get(1, &index(9, &[10]));
    room.get(1, &data(10));
    assert_eq!(room.delivered, [10, 10]);
}

/// What the network does to a packet: when each copy of it arrives, if any.
fn copies() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![
        6 => Just(vec![0]),
        3 => (0u64..8000).prop_map(|delay| vec![delay]),
        1 => Just(vec![]),
        1 => (0u64..8000, 0u64..8000).prop_map(|(one, other)| vec![one, other]),
    ]
}

/// What a sender sends: pooled packets in groups, each with its index in front, behind, or forged in front of the true
/// one, and a packet of another kind in between.
fn groups() -> impl Strategy<Value = Vec<(u32, u8, Vec<Vec<u64>>)>> {
    prop::collection::vec((1u32..4, 0u8..6, prop::collection::vec(copies(), 6)), 1..24)
}

proptest! {
    /// Whatever is lost, repeated or overtaken: what comes out is a subset of what was sent, unchanged and in order;
    /// nothing waits longer than the bound; and all memory comes back.
    #[test]
    fn what_comes_out_was_sent_and_is_in_order(start: u32, groups in groups()) {
        let mut sent: Vec<(u64, Vec<u8>)> = Vec::new();
        let (mut sequence, mut time, mut in_order) = (start, 0, Vec::new());
        let mut send = |payload: Vec<u8>, copies: &[u64], time: &mut u64| {
            sent.extend(copies.iter().map(|delay| (*time + delay, payload.clone())));
            *time += 50;
        };
        for (count, form, copies) in &groups {
            let mut copies = copies.iter().cycle();
            let mut next = || copies.next().map_or(&[][..], Vec::as_slice);
            let behind = *form == 1;
            let first = if behind { sequence } else { sequence.wrapping_add(1) };
            let numbers: Vec<u32> = (0..*count).map(|at| first.wrapping_add(at)).collect();
            let index_number = if behind { first.wrapping_add(*count) } else { sequence };
            if *form == 2 {
                let forged: Vec<(u32, u32)> = numbers.iter().map(|of| (*of, of.wrapping_add(1))).collect();
                send(index_of(index_number, &forged), next(), &mut time);
            }
            if !behind {
                send(index(index_number, &numbers), next(), &mut time);
            }
            for number in &numbers {
                send(data(*number), next(), &mut time);
                in_order.push(*number);
            }
            if behind {
                send(index(index_number, &numbers), next(), &mut time);
            }
            sequence = sequence.wrapping_add(count + 1);
            if *form == 3 {
                send(header(OTHER, 1, sequence), next(), &mut time);
                sequence = sequence.wrapping_add(1);
            }
        }
        sent.sort_by_key(|(time, _)| *time);
        let mut room = Room::new();
        let mut clock = 0;
        for (time, payload) in &sent {
            room.wait(micros(time - clock));
            clock = *time;
            room.get(1, payload);
        }
        room.wait(WAIT);
        prop_assert_eq!(room.queue.held(), 0);
        prop_assert!(room.longest <= ticks(WAIT));
        let positions: Vec<usize> = room.delivered.iter().map(|number| {
            in_order.iter().position(|sent| sent == number).expect("it was sent")
        }).collect();
        prop_assert!(positions.is_sorted_by(|one, next| one < next), "{:?}", positions);
    }

    #[test]
    fn a_network_that_does_nothing_loses_and_delays_nothing(start: u32, groups in prop::collection::vec(1u32..5, 1..60)) {
        let mut room = Room::new();
        let (mut sequence, mut expected) = (start, Vec::new());
        for count in groups {
            let numbers: Vec<u32> = (1..=count).map(|at| sequence.wrapping_add(at)).collect();
            room.get(1, &index(sequence, &numbers));
            numbers.iter().for_each(|number| room.get(1, &data(*number)));
            sequence = sequence.wrapping_add(count + 1);
            expected.extend(numbers);
            room.wait(micros(700));
        }
        prop_assert_eq!((room.longest, room.queue.held()), (TickSpan(0), 0));
        prop_assert_eq!(room.dropped, vec![]);
        prop_assert_eq!(room.delivered, expected);
    }

    /// Any sound packets at all, from anybody's imagination.
    #[test]
    fn no_packets_make_it_lose_memory_or_wait_too_long(
        packets in prop::collection::vec((0u16..6, 0u32..1100, 0u8..3, prop::collection::vec(0u32..100, 1..4), 0u64..3000), 0..200),
    ) {
        let mut room = Room::new();
        for (port, number, kind, blocks, pause) in packets {
            // Numbers near each other, and some far away.
            let sequence = if number < 1000 { number } else { number.wrapping_mul(8_589_935) };
            match kind {
                0 => room.get(port, &data(sequence)),
                1 => {
                    let mut of = sequence;
                    let blocks: Vec<(u32, u32)> = blocks.iter().map(|step| {
                        of = of.wrapping_add(step % 40 + 1);
                        (of, if *step < 50 { of } else { *step })
                    }).collect();
                    room.get(port, &index_of(sequence, &blocks));
                }
                _ => room.get(port, &header(OTHER, 1, sequence)),
            }
            room.wait(micros(pause));
        }
        prop_assert!(room.longest <= ticks(WAIT));
        room.wait(WAIT);
        prop_assert_eq!((room.queue.held(), room.source.available), (0, BUFFERS));
    }
}
