//! What the generator writes into the packets it makes, so that it knows them when they come back.
//!
//! 18 bytes, which is what the shortest Ethernet frame leaves to UDP over IPv4: at the beginning of the payload, in network
//! byte order, a mark (2), the trial (2), the sequence number (8) and the lower 48 bits of the time stamp counter (6).

use carpool_dataplane::arch::{Tick, TickSpan};

/// Length of a stamp in bytes.
pub const STAMP_LEN: usize = 18;

/// What tells our packets from others at a glance; the UDP checksum says whether the rest is to be believed.
const MARK: u16 = 0xca47;
/// Bits of the time stamp counter. They wrap after a day or so, and no packet is under way for that long.
const TIME: u64 = (1 << 48) - 1;

/// Names a trial of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrialId(pub u16);

/// A stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The trial that the packet belongs to.
    pub trial: TrialId,
    /// Counts the packets of the trial from 0.
    pub sequence: u64,
    /// The lower 48 bits of the time it was sent at.
    time: u64,
}

impl Stamp {
    /// The stamp of a packet that is sent at `now`.
    pub fn new(trial: TrialId, sequence: u64, now: Tick) -> Stamp {
        Stamp { trial, sequence, time: now.0 & TIME }
    }

    /// Reads the stamp at the beginning of a payload. None where there is none.
    #[inline]
    pub fn parse(payload: &[u8]) -> Option<Stamp> {
        let (mark, rest) = payload.split_first_chunk()?;
        let (trial, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let &[a, b, c, d, e, f] = rest.first_chunk()?;
        if u16::from_be_bytes(*mark) != MARK {
            return None;
        }
        Some(Stamp {
            trial: TrialId(u16::from_be_bytes(*trial)),
            sequence: u64::from_be_bytes(*sequence),
            time: u64::from_be_bytes([0, 0, a, b, c, d, e, f]),
        })
    }

    /// Writes it as it is on the wire.
    #[inline]
    pub fn write(&self, out: &mut [u8; STAMP_LEN]) {
        let [m0, m1] = MARK.to_be_bytes();
        let [i0, i1] = self.trial.0.to_be_bytes();
        let [s0, s1, s2, s3, s4, s5, s6, s7] = self.sequence.to_be_bytes();
        let [_, _, a, b, c, d, e, f] = self.time.to_be_bytes();
        *out = [m0, m1, i0, i1, s0, s1, s2, s3, s4, s5, s6, s7, a, b, c, d, e, f];
    }

    /// How long ago it was sent.
    #[inline]
    pub fn age(&self, now: Tick) -> TickSpan {
        TickSpan(now.0.wrapping_sub(self.time) & TIME)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_stamp_is_read_as_it_was_written_and_knows_its_age(
            trial: u16, sequence: u64, sent: u64, age in 0..1u64 << 48, behind: Vec<u8>,
        ) {
            let stamp = Stamp::new(TrialId(trial), sequence, Tick(sent));
            let mut bytes = [0; STAMP_LEN];
            stamp.write(&mut bytes);
            let read = Stamp::parse(&[&bytes[..], &behind].concat());
            prop_assert_eq!(read, Some(stamp));
            prop_assert_eq!(stamp.age(Tick(sent.wrapping_add(age))), TickSpan(age));
        }

        #[test]
        fn other_bytes_are_no_stamp(mut bytes: Vec<u8>) {
            if let Some(first) = bytes.first_mut() {
                *first &= 0x7f;
            }
            prop_assert_eq!(Stamp::parse(&bytes), None);
        }
    }

    #[test]
    fn a_payload_that_is_too_short_has_no_stamp() {
        let mut bytes = [0; STAMP_LEN];
        Stamp::new(TrialId(7), 1, Tick(9)).write(&mut bytes);
        assert!((0..STAMP_LEN).all(|length| Stamp::parse(&bytes[..length]).is_none()));
    }
}
