//! What comes back: our own packets are told from others, taken out of pooled packets where that is asked for, and counted.

use carpool_dataplane::arch::{Tick, TickRate, TickSpan};
use carpool_dataplane::packet::ipv4::PROTOCOL_UDP;
use carpool_dataplane::packet::udp::Verdict;
use carpool_dataplane::packet::{EtherType, EthernetHeader, Ipv4Header, Ipv6Header, UdpHeader, ethernet, udp};
use carpool_dataplane::pool::wire::{self, Kind, PoolHeader, PooledPacket};
use crossbeam::channel::{Receiver as Channel, Sender};
use serde::Serialize;

use crate::account::{Account, Arrival, Arrived};
use crate::flows::Flows;
use crate::latency::Latencies;
use crate::stamp::{Stamp, TrialId};

/// What a frame takes of a link beyond its bytes in memory: preamble and start 8, checksum 4, gap 12.
pub const WIRE_OVERHEAD: u64 = 24;
/// The shortest frame, without its checksum.
const MIN_FRAME: u64 = 60;

/// Bytes of a link that the frame around an IP packet takes.
pub fn wire_bytes(packet: usize) -> u64 {
    (packet as u64 + ethernet::HEADER_LEN as u64).max(MIN_FRAME) + WIRE_OVERHEAD
}

/// What came in pooled packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pooled {
    /// Pooled packets with packets of the trial in them.
    pub packets: u64,
    /// Packets in them.
    pub rows: u64,
    /// Packets of the trial that came as themselves.
    pub lone: u64,
    /// Bytes of a link that all these packets would have taken, each in a frame of its own.
    pub bytes_in: u64,
    /// Bytes of a link that the frames they came in took.
    pub bytes_out: u64,
    /// Packets to the pool port that cannot be taken apart here: other kinds than 0, or broken ones.
    pub opaque: u64,
}

/// What came, other than what the account has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// IP packets with a wrong length or checksum; ours with an impossible number.
    pub corrupted: u64,
    /// Packets that are none of ours.
    pub foreign: u64,
    /// Ours of an earlier trial, or of the time before this one began.
    pub earlier: u64,
    /// Talk among neighbours and peers.
    pub talk: u64,
    pub pooled: Pooled,
}

/// What was received in a while.
#[derive(Debug, Default)]
pub struct Interval {
    pub latencies: Latencies,
    /// From the beginning of the trial.
    pub arrived: Arrived,
    /// From the beginning of the trial.
    pub foreign: u64,
    /// The end of the trial, not a whole second.
    pub is_last: bool,
}

/// What a receiver is told of a trial.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub trial: TrialId,
    pub flows: Flows,
    /// More packets than it can have.
    pub limit: u64,
    /// Counting intervals begin here.
    pub start: Tick,
}

/// Takes packets in.
pub struct Receiver {
    /// Nanoseconds in a tick, as a fixed-point number with 32 bits behind the point.
    tick: u64,
    depool: bool,
    second: TickSpan,
    expected: Option<Expected>,
    account: Account,
    counts: Counts,
    interval: Box<Interval>,
    interval_end: Tick,
    full: Sender<Box<Interval>>,
    empty: Channel<Box<Interval>>,
}

impl Receiver {
    /// A receiver that passes on what it counted in each second, in memory that comes back empty.
    pub fn new(rate: TickRate, depool: bool, full: Sender<Box<Interval>>, empty: Channel<Box<Interval>>) -> Receiver {
        Receiver {
            tick: ((1_000_000_000 << 32) / u128::from(rate.hz())) as u64,
            depool,
            second: TickSpan(rate.hz()),
            expected: None,
            account: Account::new(1),
            counts: Counts::default(),
            interval: Box::default(),
            interval_end: Tick(u64::MAX),
            full,
            empty,
        }
    }

    /// Begins a trial.
    pub fn start(&mut self, expected: Expected) {
        self.account.restart(expected.flows.count() as usize);
        self.counts = Counts::default();
        self.interval.latencies.clear();
        self.interval_end = expected.start + self.second;
        self.expected = Some(expected);
    }

    /// Ends it. The last interval is passed on.
    pub fn finish(&mut self) -> (Arrived, Counts) {
        self.expected = None;
        self.pass_on(true);
        self.interval_end = Tick(u64::MAX);
        (self.account.arrived(), self.counts)
    }

    /// Passes on what was counted, once a second.
    #[inline]
    pub fn tick(&mut self, now: Tick) {
        if now >= self.interval_end {
            self.pass_on(false);
            self.interval_end = self.interval_end + self.second;
        }
    }

    fn pass_on(&mut self, is_last: bool) {
        // Nobody has read the earlier ones: this one goes on.
        let Ok(next) = self.empty.try_recv() else { return };
        self.interval.arrived = self.account.arrived();
        self.interval.foreign = self.counts.foreign;
        self.interval.is_last = is_last;
        let full = std::mem::replace(&mut self.interval, next);
        // As many are under way as the channel has room for.
        let _ = self.full.try_send(full);
    }

    /// Packets of the trial that were received.
    #[inline]
    pub fn received(&self) -> u64 {
        self.account.arrived().received
    }

    /// Counts talk among neighbours.
    pub fn talk(&mut self) {
        self.counts.talk += 1;
    }

    /// Takes a frame in that came at `now`.
    #[inline]
    pub fn take(&mut self, frame: &[u8], now: Tick) {
        let Some(expected) = self.expected else { return };
        let header = EthernetHeader::parse(frame);
        let packet = frame.get(ethernet::HEADER_LEN..).unwrap_or_default();
        let datagram = match header.map(|header| header.ether_type) {
            Some(EtherType::IPV4) => datagram4(packet),
            Some(EtherType::IPV6) => datagram6(packet),
            _ => Err(Unread::Foreign),
        };
        match datagram {
            Ok(datagram) if self.depool && datagram.header.dst_port == wire::PORT => {
                self.take_apart(&datagram, &expected, now);
            }
            Ok(datagram) => {
                if self.take_stamped(&datagram, &expected, now) {
                    let bytes = wire_bytes(datagram.packet_len);
                    self.counts.pooled.lone += 1;
                    self.counts.pooled.bytes_in += bytes;
                    self.counts.pooled.bytes_out += bytes;
                }
            }
            Err(unread) => self.count_unread(unread),
        }
    }

    fn count_unread(&mut self, unread: Unread) {
        match unread {
            Unread::Corrupted => self.counts.corrupted += 1,
            Unread::Foreign => self.counts.foreign += 1,
        }
    }

    /// Takes the packets out of a pooled packet.
    fn take_apart(&mut self, outer: &Datagram<'_>, expected: &Expected, now: Tick) {
        match PoolHeader::parse(outer.payload).map(|header| header.kind) {
            Ok(Kind::Hello | Kind::Report) => {
                self.counts.talk += 1;
                return;
            }
            Ok(Kind::Pooled) => {}
            _ => {
                self.counts.pooled.opaque += 1;
                return;
            }
        }
        let Ok(pooled) = PooledPacket::parse(outer.payload) else {
            self.counts.pooled.opaque += 1;
            return;
        };
        let (mut rows, mut bytes, mut ours) = (0, 0, false);
        for (_, packet) in pooled.rows() {
            rows += 1;
            bytes += wire_bytes(packet.len());
            let datagram = match packet.first().map(|byte| byte >> 4) {
                Some(4) => datagram4(packet),
                _ => datagram6(packet),
            };
            match datagram {
                Ok(datagram) => ours |= self.take_stamped(&datagram, expected, now),
                Err(unread) => self.count_unread(unread),
            }
        }
        if ours {
            self.counts.pooled.packets += 1;
            self.counts.pooled.rows += rows;
            self.counts.pooled.bytes_in += bytes;
            self.counts.pooled.bytes_out += wire_bytes(outer.packet_len);
        }
    }

    /// Counts a packet if it has a stamp. Whether it is one of this trial.
    #[inline]
    fn take_stamped(&mut self, datagram: &Datagram<'_>, expected: &Expected, now: Tick) -> bool {
        let Some(stamp) = Stamp::parse(datagram.payload) else {
            self.counts.foreign += 1;
            return false;
        };
        if stamp.trial != expected.trial {
            self.counts.earlier += 1;
            return false;
        }
        // All of ours have a checksum.
        if stamp.sequence >= expected.limit || datagram.header.checksum == 0 {
            self.counts.corrupted += 1;
            return false;
        }
        let flow = expected.flows.of(stamp.sequence) as usize;
        if self.account.arrive(stamp.sequence, flow) == Arrival::First {
            let nanoseconds = (u128::from(stamp.age(now).0) * u128::from(self.tick)) >> 32;
            self.interval.latencies.record(nanoseconds as u64);
        }
        true
    }
}

/// Why a packet cannot be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    Corrupted,
    Foreign,
}

/// A datagram whose lengths and checksums are right.
struct Datagram<'a> {
    header: UdpHeader,
    payload: &'a [u8],
    /// Length of the IP packet.
    packet_len: usize,
}

#[inline]
fn datagram4(packet: &[u8]) -> Result<Datagram<'_>, Unread> {
    let header = Ipv4Header::parse(packet).map_err(|_| Unread::Corrupted)?;
    if header.protocol != PROTOCOL_UDP || header.is_fragment() {
        return Err(Unread::Foreign);
    }
    let bytes = header.payload(packet).ok_or(Unread::Corrupted)?;
    datagram(bytes, udp::verify(header.src, header.dst, bytes), header.total_len.into())
}

#[inline]
fn datagram6(packet: &[u8]) -> Result<Datagram<'_>, Unread> {
    let header = Ipv6Header::parse(packet).map_err(|_| Unread::Corrupted)?;
    if header.next_header != PROTOCOL_UDP {
        return Err(Unread::Foreign);
    }
    let bytes = header.payload(packet).ok_or(Unread::Corrupted)?;
    datagram(bytes, udp::verify6(header.src, header.dst, bytes), header.total_len())
}

#[inline]
fn datagram(bytes: &[u8], verdict: Verdict, packet_len: usize) -> Result<Datagram<'_>, Unread> {
    let header = UdpHeader::parse(bytes).map_err(|_| Unread::Corrupted)?;
    if verdict == Verdict::Wrong || usize::from(header.length) != bytes.len() {
        return Err(Unread::Corrupted);
    }
    let payload = bytes.get(udp::HEADER_LEN..).unwrap_or_default();
    Ok(Datagram { header, payload, packet_len })
}

#[cfg(test)]
mod tests {
    use carpool_dataplane::dpdk::{HEADROOM, Mempool, test_eal};
    use carpool_dataplane::packet::{Sum, ipv4};
    use carpool_dataplane::pool::wire::{Row, RowType, header_and_rows_len, write_header_and_rows};
    use crossbeam::channel::bounded;
    use proptest::prelude::*;

    use super::*;
    use crate::flows::Order;
    use crate::flows::tests::flows;
    use crate::frames::{Frames, Link, Size};

    const TRIAL: TrialId = TrialId(5);

    fn frames(name: &str, prefix: &str, size: u16, count: u64) -> Vec<Vec<u8>> {
        let pool = Mempool::create(test_eal(), name, 15, HEADROOM + 2048).expect("there is memory");
        let mut cache = pool.cache();
        let mac = carpool_dataplane::packet::MacAddr([2; 6]);
        let link = Link { source: mac, gateway: mac };
        let frames = Frames::new(Size::Bytes(size), link, flows(prefix, 4, 4, Order::Sequential), 0).expect("sound");
        (0..count)
            .map(|sequence| {
                let mut mbuf = cache.alloc().expect("the pool is not empty");
                assert!(frames.write(&mut mbuf, TRIAL, sequence, Tick(1000)));
                mbuf.bytes().to_vec()
            })
            .collect()
    }

    fn receiver(depool: bool) -> Receiver {
        let mut receiver = Receiver::new(TickRate::NANOSECONDS, depool, bounded(1).0, bounded(1).1);
        let flows = flows("198.18.0.0/15", 4, 4, Order::Sequential);
        receiver.start(Expected { trial: TRIAL, flows, limit: 100, start: Tick(0) });
        receiver
    }

    /// A frame with a pooled packet of these packets.
    fn pooled(packets: &[&[u8]]) -> Vec<u8> {
        let mut start = 0;
        let rows: Vec<Row> = packets
            .iter()
            .map(|packet| {
                let row = Row {
                    start,
                    length: packet.len() as u16,
                    ttl: 1,
                    row_type: RowType::of(if packet[0] >> 4 == 4 { 4 } else { 41 }),
                };
                start += row.length;
                row
            })
            .collect();
        let mut payload = vec![0; header_and_rows_len(rows.len())];
        write_header_and_rows(64, 1, &rows, &mut payload).expect("sound");
        payload.extend(packets.concat());
        let (src, dst) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let length = (udp::HEADER_LEN + payload.len()) as u16;
        let mut header = UdpHeader { src_port: wire::PORT, dst_port: wire::PORT, length, checksum: 0 };
        header.checksum = header.checksum_over(src, dst, Sum::of(&payload));
        let ip = Ipv4Header {
            header_len: ipv4::MIN_HEADER_LEN as u8,
            dscp_ecn: 0,
            total_len: ipv4::MIN_HEADER_LEN as u16 + length,
            id: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol: PROTOCOL_UDP,
            src,
            dst,
        };
        let (mut frame, mut ip_bytes, mut udp_bytes) = (vec![2; 12], [0; 20], [0; 8]);
        ip.write(&mut ip_bytes);
        header.write(&mut udp_bytes);
        frame.extend([8, 0]);
        frame.extend([&ip_bytes[..], &udp_bytes, &payload].concat());
        frame
    }

    #[test]
    fn packets_of_both_families_are_found_in_pooled_packets_and_beside_them() {
        let (four, six) =
            (frames("gen_pooled4", "198.18.0.0/15", 78, 3), frames("gen_pooled6", "2001:db8::/32", 98, 5));
        let mut receiver = receiver(true);
        receiver.take(&pooled(&[&four[0][14..], &four[1][14..], &six[3][14..]]), Tick(3000));
        receiver.take(&six[4], Tick(3000));
        let (arrived, counts) = receiver.finish();
        assert_eq!(arrived, Arrived { received: 4, ..Arrived::default() });
        // Frames of 74, 74, 94 and 94 bytes would have been sent; frames of 14 + 36 + 3 * 6 + 60 + 60 + 80 and of 94 were.
        let pooled =
            Pooled { packets: 1, rows: 3, lone: 1, bytes_in: 336 + 4 * 24, bytes_out: 268 + 94 + 48, opaque: 0 };
        assert_eq!(counts, Counts { pooled, ..Counts::default() });
    }

    #[test]
    fn without_being_asked_nothing_is_taken_apart() {
        let four = frames("gen_whole", "198.18.0.0/15", 78, 1);
        let mut receiver = receiver(false);
        receiver.take(&pooled(&[&four[0][14..]]), Tick(3000));
        assert_eq!(receiver.finish().1, Counts { foreign: 1, ..Counts::default() });
    }

    #[test]
    fn pooled_packets_that_break_a_bound_are_counted_and_not_read() {
        let four = frames("gen_broken", "198.18.0.0/15", 78, 1);
        let sound = pooled(&[&four[0][14..]]);
        let mut receiver = receiver(true);
        // Another kind, with a right checksum: what was added to one word is taken from another.
        let mut other = sound.clone();
        other[42] += 1;
        other[44] -= 1;
        receiver.take(&other, Tick(3000));
        let (arrived, counts) = receiver.finish();
        assert_eq!(arrived, Arrived::default());
        assert_eq!(counts, Counts { pooled: Pooled { opaque: 1, ..Pooled::default() }, ..Counts::default() });
    }

    #[test]
    fn a_packet_with_one_bit_changed_is_none_of_ours() {
        let mut receiver = receiver(true);
        let expected = receiver.expected.expect("a trial has begun");
        for (prefix, size) in [("198.18.0.0/15", 78), ("2001:db8::/32", 98)] {
            let frame = frames("gen_bit", prefix, size, 1).remove(0);
            let six = prefix.contains(':');
            for (at, bit) in (0..frame.len() - 14).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut changed = frame.clone();
                changed[14 + at] ^= 1 << bit;
                receiver.start(expected);
                receiver.take(&changed, Tick(3000));
                let (arrived, counts) = receiver.finish();
                // Traffic class, flow label and hop limit of IPv6 are in no checksum.
                let unprotected = u64::from(six && matches!((at, bit), (0, 0..4) | (1..4, _) | (7, _)));
                assert_eq!(arrived.received, unprotected, "bit {bit} of byte {at}");
                assert_eq!(counts.corrupted + counts.foreign, 1 - unprotected, "bit {bit} of byte {at}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_frame_does_any_harm(frame: Vec<u8>, front in 0..3u8) {
            let mut receiver = receiver(true);
            let mut bytes = vec![0; 12];
            bytes.extend(match front { 0 => [8, 0], 1 => [0x86, 0xdd], _ => [8, 6] });
            bytes.extend(frame);
            receiver.take(&bytes, Tick(1));
            prop_assert_eq!(receiver.finish().0, Arrived::default());
        }
    }
}
