//! The figures of an experiment: one JSON object for machines, one sentence for people.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    compare::Passage,
    delay::{Delay, Delays},
    voice::Findings,
};

/// The smallest part of the model's ratio that counts as success.
pub const ENOUGH: f64 = 0.95;

/// Keys as `scripts/demo --json` prints them; times in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub sent: usize,
    pub delivered: usize,
    /// Every packet that arrived is byte for byte one that was sent (TTL lower by the routers crossed), once.
    pub identical: bool,
    pub in_order: bool,
    /// Packets that carried stream packets through transit, pooled or alone.
    pub transit_packets: usize,
    /// Stream packets sent per packet in transit.
    pub ratio: f64,
    pub delay_us: Delay,
    pub window_us: u64,
    pub streams: usize,
    pub lost: usize,
    pub altered: usize,
    pub duplicated: usize,
    pub reordered: usize,
    /// Stream packets that crossed transit as themselves.
    pub unpooled: usize,
    /// What a model of the pooler computes from the times at which the packets were sent.
    pub model_ratio: f64,
    pub ratio_of_model: f64,
    /// The same way at the same time for packets that no rule selects.
    pub baseline_us: Delay,
    /// The longest that a router kept a pool open, as it says itself: what is later than this waited elsewhere.
    pub longest_open_us: u64,
}

impl Report {
    pub fn of(findings: &Findings, window: Duration, longest_open: Duration) -> Self {
        let voice = &findings.voice;
        let microseconds = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let transit_packets = findings.crossing.packets();
        let ratio = if transit_packets == 0 { 0.0 } else { voice.sent as f64 / transit_packets as f64 };
        let model_ratio = findings.prediction.ratio();
        let delay = |passages: &[Passage]| Delays::of(passages).summary().unwrap_or_default();
        Self {
            sent: voice.sent,
            delivered: voice.delivered,
            identical: voice.identical(),
            in_order: voice.in_order(),
            transit_packets,
            ratio: rounded(ratio),
            delay_us: delay(&voice.passages),
            window_us: microseconds(window),
            streams: findings.streams,
            lost: voice.lost.len(),
            altered: voice.altered.len(),
            duplicated: voice.duplicated,
            reordered: voice.reordered,
            unpooled: findings.crossing.lone,
            model_ratio: rounded(model_ratio),
            ratio_of_model: rounded(ratio / model_ratio),
            baseline_us: delay(&findings.reference.passages),
            longest_open_us: microseconds(longest_open),
        }
    }

    /// Everything arrived as it was sent, in as few packets as can be expected.
    pub fn succeeded(&self) -> bool {
        self.sent > 0
            && self.delivered == self.sent
            && self.lost == 0
            && self.identical
            && self.in_order
            && self.ratio_of_model >= ENOUGH
    }
}

/// Three decimals are all that such a measurement is good for.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
