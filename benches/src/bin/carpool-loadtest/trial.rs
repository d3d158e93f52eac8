//! One trial: a load that is offered for some time, and what became of its packets.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

/// Bytes that a frame takes on the wire beside those of its length: preamble and inter-frame gap (IEEE 802.3).
pub const GAP: f64 = 20.0;

/// The simple mix of the Internet's sizes: so many of each length in twelve.
const IMIX: [(f64, f64); 3] = [(7.0, 64.0), (4.0, 570.0), (1.0, 1518.0)];

/// The length of frames, FCS included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrameSize {
    Bytes(u16),
    Imix,
}

impl FrameSize {
    /// RFC 2544, 9.1, and the mix.
    pub const ALL: [FrameSize; 8] = [
        FrameSize::Bytes(64),
        FrameSize::Bytes(128),
        FrameSize::Bytes(256),
        FrameSize::Bytes(512),
        FrameSize::Bytes(1024),
        FrameSize::Bytes(1280),
        FrameSize::Bytes(1518),
        FrameSize::Imix,
    ];

    /// Its length, or the mean length.
    pub fn mean(self) -> f64 {
        match self {
            FrameSize::Bytes(bytes) => f64::from(bytes),
            FrameSize::Imix => {
                IMIX.iter().map(|(parts, bytes)| parts * bytes).sum::<f64>()
                    / IMIX.iter().map(|(parts, _)| parts).sum::<f64>()
            }
        }
    }

    /// Frames a second on a wire of so many Gbit/s (RFC 2544, appendix B).
    pub fn line_rate(self, gbps: f64) -> f64 {
        gbps * 1e9 / 8.0 / (self.mean() + GAP)
    }
}

impl fmt::Display for FrameSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameSize::Bytes(bytes) => fmt::Display::fmt(bytes, formatter),
            FrameSize::Imix => formatter.pad("imix"),
        }
    }
}

impl FromStr for FrameSize {
    type Err = String;

    fn from_str(text: &str) -> Result<FrameSize, String> {
        match text.parse() {
            _ if text == "imix" => Ok(FrameSize::Imix),
            Ok(bytes) if (64..=1518).contains(&bytes) => Ok(FrameSize::Bytes(bytes)),
            _ => Err("expected a frame length from 64 to 1518 bytes (with its FCS), or imix".into()),
        }
    }
}

/// A number, or `"imix"`.
impl Serialize for FrameSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            FrameSize::Bytes(bytes) => serializer.serialize_u16(*bytes),
            FrameSize::Imix => serializer.serialize_str("imix"),
        }
    }
}

/// What a generator is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// Packets a second.
    pub pps: f64,
    /// How long, after the warm-up.
    pub seconds: f64,
    /// Seconds of the same load before packets count.
    pub warm_up: f64,
    pub size: FrameSize,
    /// UDP flows.
    pub flows: u32,
    /// Destinations, one prefix of addresses.
    pub destinations: u32,
    /// So many packets, at `pps`, instead of some time. Pktgen sends them at the speed of the link.
    pub burst: Option<u64>,
}

impl Trial {
    /// How long it takes, nearly.
    pub fn time(&self) -> f64 {
        self.warm_up + self.burst.map_or(self.seconds, |packets| packets as f64 / self.pps)
    }
}

/// Nanoseconds from sending to receiving.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    pub mean: f64,
}

/// Pooled packets that came back and were taken apart by the generator.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pooled {
    /// Pooled packets.
    pub packets: u64,
    /// Stream packets in them.
    pub rows: u64,
    /// What the stream packets would take on the wire by themselves, in bytes, with preamble, FCS and gap.
    pub bytes_in: u64,
    /// What everything took that came back.
    pub bytes_out: u64,
}

/// What became of a trial's packets, as the generator saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub sent: u64,
    pub received: u64,
    pub lost: u64,
    #[serde(default)]
    pub duplicated: u64,
    #[serde(default)]
    pub reordered: u64,
    #[serde(default)]
    pub corrupted: u64,
    /// What the generator's own port had no room for; part of what is lost.
    #[serde(default, alias = "rx_missed")]
    pub missed: u64,
    /// What the generator did not send because it was held up itself; not among the sent.
    #[serde(default)]
    pub skipped: u64,
    pub offered_pps: f64,
    pub achieved_pps: f64,
    pub received_pps: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ns: Option<Latency>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooled: Option<Pooled>,
}

impl Outcome {
    /// The part of what was sent that did not arrive.
    pub fn loss(&self) -> f64 {
        if self.sent == 0 { 1.0 } else { self.lost as f64 / self.sent as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_rates_are_those_of_rfc_2544() {
        // Appendix B, 10 Mbit/s: 14880 frames of 64 bytes, 812 of 1518.
        assert_eq!(FrameSize::Bytes(64).line_rate(0.01).floor(), 14880.0);
        assert_eq!(FrameSize::Bytes(1518).line_rate(0.01).floor(), 812.0);
    }

    #[test]
    fn the_mix_has_the_mean_of_its_parts() {
        assert_eq!(FrameSize::Imix.mean(), (7.0 * 64.0 + 4.0 * 570.0 + 1518.0) / 12.0);
    }

    #[test]
    fn sizes_are_read_as_they_are_written_and_others_refused() {
        for size in FrameSize::ALL {
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        for wrong in ["63", "1519", "IMIX", "", "-64", "64B"] {
            assert!(wrong.parse::<FrameSize>().is_err(), "{wrong}");
        }
    }
}
