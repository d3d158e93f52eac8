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
        self.pass_on();
        self.interval_end = Tick(u64::MAX);
        (self.account.arrived(), self.counts)
    }

    /// Passes on what was counted, once a second.
    #[inline]
    pub fn tick(&mut self, now: Tick) {
        if now >= self.interval_end {
            self.pass_on();
            self.interval_end = self.interval_end + self.second;
        }
    }

    fn pass_on(&mut self) {
        // Nobody has read the earlier ones: this one goes on.
        let Ok(next) = self.empty.try_recv() else { return };
        self.interval.arrived = self.account.arrived();
        self.interval.foreign = self.counts.foreign;
        let full = std::mem::replace(&mut self.interval, next);
        // As many are under way as the channel has room for.
        let _ = self.full.try_send(full);
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
