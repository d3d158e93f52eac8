//! What learned headers save: the figures of G.729-sized voice in pooled packets without its headers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    delay::{Delay, Delays},
    frame::Observation,
    transit::{POOL_PORT, rows},
    voice::Findings,
};

/// Stream packets that a pooled packet of 1500 bytes must hold, and the part of all pooled packets that must: the others are
/// those that announce headers, here some ten in a hundred. The best published multiplexer has 57.
pub const ENOUGH_ROWS: usize = 55;
pub const ENOUGH_PART: f64 = 0.85;
/// Bytes of Ethernet saved that count as success, as a part of what they were.
pub const ENOUGH_SAVED: f64 = 0.70;
/// What Ethernet adds to an IP packet: header 14, FCS 4, preamble and start delimiter 8, gap 12 (IEEE 802.3).
const ETHERNET: usize = 38;

/// Keys as `scripts/demo headers --json` prints them; times in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub streams: usize,
    pub sent: usize,
    pub delivered: usize,
    /// Every packet that arrived is byte for byte one that was sent (TTL lower by the routers crossed), once.
    pub identical: bool,
    pub in_order: bool,
    pub lost: usize,
    pub pooled_packets: usize,
    /// Stream packets in pooled packets: on average, in the fullest, and the part of pooled packets that have [`ENOUGH_ROWS`].
    pub packets_per_pooled: f64,
    pub most_packets: usize,
    pub with_55: f64,
    /// The longest pooled packet, in bytes of IP packet.
    pub longest_pooled: usize,
    /// Stream packets that crossed transit as themselves.
    pub unpooled: usize,
    /// Bytes on an Ethernet wire (38 a frame added) that the packets would have taken as themselves, and that they took.
    pub wire_bytes_before: usize,
    pub wire_bytes: usize,
    /// The part that was saved.
    pub saved: f64,
    pub window_us: u64,
    pub delay_us: Delay,
}

impl Report {
    pub fn of(findings: &Findings, window: Duration) -> Report {
        let voice = &findings.voice;
        let crossing = findings.crossing;
        let observed: Vec<_> = findings.transit.iter().filter_map(Observation::of).collect();
        let pooled: Vec<_> =
            observed.iter().filter_map(|packet| Some((rows(packet)?, packet.packet().len()))).collect();
        let with_enough = pooled.iter().filter(|(rows, _)| *rows >= ENOUGH_ROWS).count();
        let reports_and_pooled = observed.iter().filter(|packet| packet.flow.destination.port() == POOL_PORT);
        let on_wire = |packets: &mut dyn Iterator<Item = usize>| packets.map(|length| length + ETHERNET).sum::<usize>();
        let alone = observed.iter().filter(|packet| findings.flows.contains(&packet.flow));
        let wire_bytes = on_wire(&mut reports_and_pooled.chain(alone).map(|packet| packet.packet().len()));
        let wire_bytes_before = on_wire(&mut findings.lengths.iter().copied());
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        Report {
            streams: findings.streams,
            sent: voice.sent,
            delivered: voice.delivered,
            identical: voice.identical(),
            in_order: voice.in_order(),
            lost: voice.lost.len(),
            pooled_packets: crossing.pooled,
            packets_per_pooled: rounded(crossing.rows as f64 / crossing.pooled.max(1) as f64),
            most_packets: pooled.iter().map(|(rows, _)| *rows).max().unwrap_or(0),
            with_55: rounded(with_enough as f64 / pooled.len().max(1) as f64),
            longest_pooled: pooled.iter().map(|(_, length)| *length).max().unwrap_or(0),
            unpooled: crossing.lone,
            wire_bytes_before,
            wire_bytes,
            saved: rounded(1.0 - wire_bytes as f64 / wire_bytes_before.max(1) as f64),
            window_us: u64::try_from(window.as_micros()).unwrap_or(u64::MAX),
            delay_us: Delays::of(&voice.passages).summary().unwrap_or_default(),
        }
    }

    /// Everything arrived as it was sent, in as few bytes as is promised.
    pub fn succeeded(&self) -> bool {
        self.sent > 0
            && self.delivered == self.sent
            && self.lost == 0
            && self.identical
            && self.in_order
            && self.with_55 >= ENOUGH_PART
            && self.saved >= ENOUGH_SAVED
    }
}
