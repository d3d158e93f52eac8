//! What a pooler with this window and path MTU would send, computed from when its packets were actually sent.
//!
//! The pool opens with its first packet and is flushed when the window has passed or the next packet does not fit; a
//! packet that found no company leaves as itself. Wire format version 1 over IPv4: 20 bytes of IP header, 8 of UDP,
//! 8 of pool header, 6 per row.

use std::{ops::Add, time::Duration};

const OUTER_HEADERS: usize = 20 + 8 + 8;
const ROW: usize = 6;

#[derive(Clone, Copy, Debug)]
pub struct Pooler {
    pub window: Duration,
    /// Largest outer packet in bytes, IP header included.
    pub mtu: usize,
}

/// What the model says would cross the transit link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prediction {
    /// Stream packets that went in.
    pub packets: usize,
    /// Packets that come out, pooled or lone.
    pub transit: usize,
}

impl Prediction {
    /// Stream packets per packet in transit; 1 when there were none.
    pub fn ratio(&self) -> f64 {
        if self.transit == 0 { 1.0 } else { self.packets as f64 / self.transit as f64 }
    }
}

impl Add for Prediction {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, transit: self.transit + other.transit }
    }
}

impl Pooler {
    /// Predicts for packets given as (time sent, bytes of IP packet), in order of time.
    pub fn predict(&self, packets: impl IntoIterator<Item = (Duration, usize)>) -> Prediction {
        let mut prediction = Prediction::default();
        // When the open pool opened, and the bytes of its packet so far.
        let mut open: Option<(Duration, usize)> = None;
        for (at, length) in packets {
            prediction.packets += 1;
            open = match open {
                Some((opened, bytes)) if at < opened + self.window && bytes + ROW + length <= self.mtu => {
                    Some((opened, bytes + ROW + length))
                }
                _ => {
                    prediction.transit += 1;
                    Some((at, OUTER_HEADERS + ROW + length))
                }
            };
        }
        prediction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOLER: Pooler = Pooler { window: Duration::from_millis(5), mtu: 1500 };

    fn every(gap: Duration, length: usize, count: u32) -> Vec<(Duration, usize)> {
        (0..count).map(|nth| (gap * nth, length)).collect()
    }

    #[test]
    fn voice_at_one_packet_every_millisecond_and_a_half_rides_in_fours() {
        // At 0, 1.5, 3 and 4.5 ms; the one at 6 ms is past the window.
        let prediction = POOLER.predict(every(Duration::from_micros(1500), 280, 400));
        assert_eq!(prediction, Prediction { packets: 400, transit: 100 });
    }

    #[test]
    fn five_packets_of_280_bytes_fill_1500_and_a_sixth_opens_the_next_pool() {
        let prediction = POOLER.predict(every(Duration::from_micros(10), 280, 10));
        assert_eq!(prediction.transit, 2);
        // 36 + 5 x 286 = 1466; 36 + 6 x 286 = 1752.
        let tight = Pooler { mtu: 1465, ..POOLER };
        assert_eq!(tight.predict(every(Duration::from_micros(10), 280, 10)).transit, 3);
    }

    #[test]
    fn packets_further_apart_than_the_window_leave_one_by_one() {
        assert_eq!(POOLER.predict(every(Duration::from_millis(5), 280, 50)).transit, 50);
    }
}
