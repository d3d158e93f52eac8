//! The header of RTP (RFC 3550), as streams of voice and video have it behind UDP's.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use crate::packet::Total;

/// Without contributing sources and extension (RFC 3550 section 5.1), in bytes.
pub(super) const RTP_LEN: usize = 12;

/// The fixed part of an RTP header (RFC 3550 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rtp {
    /// Version, padding, extension, count of contributing sources; marker and payload type.
    pub(super) start: [u8; 2],
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) source: [u8; 4],
}

impl Rtp {
    /// Of no packet.
    pub(super) const NONE: Rtp = Rtp { start: [0; 2], sequence: 0, timestamp: 0, source: [0; 4] };

    /// Reads what may be an RTP header: any 12 bytes.
    #[inline]
    pub(super) fn read(payload: &[u8]) -> Option<(Rtp, &[u8])> {
        let (&[v, pt, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3], rest) = payload.split_first_chunk::<RTP_LEN>()?;
        let rtp = Rtp {
            start: [v, pt],
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            source: [r0, r1, r2, r3],
        };
        Some((rtp, rest))
    }

    /// The same of its bytes as little-endian words: what is behind four others in the first, and the second.
    #[inline(always)]
    pub(super) fn of_words(d: u64, e: u64) -> Rtp {
        Rtp {
            start: ((d >> 32) as u16).to_le_bytes(),
            sequence: ((d >> 48) as u16).swap_bytes(),
            timestamp: (e as u32).swap_bytes(),
            source: ((e >> 32) as u32).to_le_bytes(),
        }
    }

    /// Whether this looks like RTP: version 2, and no type of RTCP (RFC 5761 section 4).
    #[inline]
    pub(super) fn is_likely(&self) -> bool {
        let [first, second] = self.start;
        first >> 6 == 2 && !(192..224).contains(&second)
    }

    /// Writes the header as it is on the wire, and adds it up.
    #[inline(always)]
    pub(super) fn write(&self, total: &mut Total, out: &mut [u8; RTP_LEN]) {
        let start = u64::from(u16::from_le_bytes(self.start));
        let first = u64::from(self.timestamp.swap_bytes()) << 32 | u64::from(self.sequence.swap_bytes()) << 16 | start;
        let source = u32::from_le_bytes(self.source);
        total.add(first);
        total.add(source.into());
        let bytes = (u128::from(source) << 64 | u128::from(first)).to_le_bytes();
        if let Some(bytes) = bytes.first_chunk() {
            *out = *bytes;
        }
    }
}
