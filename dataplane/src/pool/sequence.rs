//! What the sequence numbers of pooled packets tell: loss, reordering and duplicates, per stream of a peer.
//!
//! A sender counts per source port, so a peer with several workers or flow buckets has several streams. The worker
//! keeps a [`SequenceTracker`] per peer and feeds it whatever sound pooled packet or hello it receives; nothing is
//! dropped for what it finds. Everything is inline: no allocation, a fixed number of streams.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

/// How far behind the newest a packet may come and still be told from a duplicate.
const WINDOW: u32 = 64;

/// The largest gap that is taken for loss; a larger one is taken for a sender that began anew.
const MAX_GAP: u32 = 1 << 16;

/// The streams of one peer that are followed at once; with more, the one that was silent longest is forgotten.
pub const STREAMS: usize = 8;

/// What was received from a peer. Each but `missing` only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceCounts {
    /// Packets received, duplicates and all.
    pub received: u64,
    /// Packets that were passed over and did not come while the next 64 of their stream did.
    pub lost: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets that had come before.
    pub duplicates: u64,
    /// Packets too far from the newest to be told lost, late or duplicate; the second of two in a row begins a stream
    /// anew.
    pub stray: u64,
    /// How often a stream began anew.
    pub restarts: u64,
    /// Packets passed over that may still come: lost, if they do not.
    pub missing: u32,
}

/// Follows the streams of one peer.
#[derive(Clone, Debug, Default)]
pub struct SequenceTracker {
    streams: [Option<Stream>; STREAMS],
    counts: SequenceCounts,
}

/// The sequence of one source port.
#[derive(Clone, Copy, Debug)]
struct Stream {
    src_port: u16,
    /// The newest sequence number.
    newest: u32,
    /// Bit n: the packet n before the newest has come.
    seen: u64,
    /// The number that would follow the last stray one (RFC 3550 appendix A.1 resynchronises the same way).
    after_stray: Option<u32>,
    /// The peer's packet count when this stream was last heard: who is silent longest.
    last_heard: u64,
}

impl SequenceTracker {
    /// Takes note of a packet from `src_port` with the number `sequence`.
    #[inline]
    pub fn record(&mut self, src_port: u16, sequence: u32) {
        self.counts.received += 1;
        let now = self.counts.received;
        let known = self.streams.iter_mut().flatten().find(|stream| stream.src_port == src_port);
        match known {
            Some(stream) => {
                stream.last_heard = now;
                stream.record(sequence, &mut self.counts);
            }
            None => self.begin(Stream::new(src_port, sequence, now)),
        }
    }

    /// Takes note of a packet without a number, of which nothing is known but that it came.
    #[inline]
    pub fn record_unnumbered(&mut self) {
        self.counts.received += 1;
    }

    /// What was received so far.
    pub fn counts(&self) -> SequenceCounts {
        let missing = self.streams.iter().flatten().map(|stream| stream.missing()).sum();
        SequenceCounts { missing, ..self.counts }
    }

    /// Follows a new stream, in the place of the one that was silent longest where there is no other.
    fn begin(&mut self, stream: Stream) {
        let place = self.streams.iter_mut().min_by_key(|place| place.map_or(0, |stream| stream.last_heard));
        if let Some(forgotten) = place.and_then(|place| place.replace(stream)) {
            self.counts.lost += u64::from(forgotten.missing());
        }
    }
}

impl Stream {
    /// Nothing is missing before the first packet that is heard.
    fn new(src_port: u16, sequence: u32, last_heard: u64) -> Stream {
        Stream { src_port, newest: sequence, seen: u64::MAX, after_stray: None, last_heard }
    }

    fn missing(&self) -> u32 {
        self.seen.count_zeros()
    }

    #[inline]
    fn record(&mut self, sequence: u32, counts: &mut SequenceCounts) {
        let ahead = sequence.wrapping_sub(self.newest);
        let behind = self.newest.wrapping_sub(sequence);
        if (1..=MAX_GAP).contains(&ahead) {
            self.advance(sequence, ahead, counts);
        } else if behind < WINDOW {
            let bit = 1u64 << behind;
            if self.seen & bit != 0 {
                counts.duplicates += 1;
            } else {
                self.seen |= bit;
                counts.reordered += 1;
            }
        } else {
            counts.stray += 1;
            if self.after_stray == Some(sequence) {
                counts.lost += u64::from(self.missing());
                counts.restarts += 1;
                *self = Stream::new(self.src_port, sequence, self.last_heard);
            } else {
                self.after_stray = Some(sequence.wrapping_add(1));
            }
            return;
        }
        self.after_stray = None;
    }

    /// Moves the window on by `ahead` packets; what leaves it unseen is lost.
    #[inline]
    fn advance(&mut self, sequence: u32, ahead: u32, counts: &mut SequenceCounts) {
        if ahead < WINDOW {
            let leaving = !self.seen >> (WINDOW - ahead);
            counts.lost += u64::from(leaving.count_ones());
            self.seen = self.seen << ahead | 1;
        } else {
            // All of the old window, and of the gap what the new one does not hold.
            counts.lost += u64::from(self.missing()) + u64::from(ahead - WINDOW);
            self.seen = 1;
        }
        self.newest = sequence;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn counts(sequences: impl IntoIterator<Item = u32>) -> SequenceCounts {
        let mut tracker = SequenceTracker::default();
        for sequence in sequences {
            tracker.record(1, sequence);
        }
        tracker.counts()
    }

    #[test]
    fn a_stream_in_order_has_nothing_to_report_even_where_numbers_wrap() {
        let found = counts((0..1000u32).map(|n| n.wrapping_sub(500)));
        assert_eq!(found, SequenceCounts { received: 1000, ..SequenceCounts::default() });
    }

    #[test]
    fn a_passed_over_packet_is_missing_and_then_lost() {
        let found = counts((0..20).filter(|n| *n != 10));
        assert_eq!((found.missing, found.lost), (1, 0));
        let found = counts((0..200).filter(|n| *n != 10));
        assert_eq!((found.missing, found.lost), (0, 1));
    }

    #[test]
    fn a_late_packet_is_reordered_and_not_lost() {
        let found = counts([0, 1, 3, 4, 2].into_iter().chain(5..200));
        assert_eq!((found.reordered, found.lost, found.missing, found.duplicates), (1, 0, 0, 0));
    }

    #[test]
    fn a_repeated_packet_is_a_duplicate() {
        let found = counts([0, 1, 2, 2, 1, 3]);
        assert_eq!((found.duplicates, found.reordered, found.received), (2, 0, 6));
    }

    #[test]
    fn a_gap_longer_than_the_window_is_lost_as_a_whole() {
        let found = counts([0, 1, 1001]);
        assert_eq!(found.lost + u64::from(found.missing), 999);
        assert_eq!(found.restarts, 0);
    }

    #[test]
    fn a_sender_that_begins_anew_is_followed_from_its_second_packet() {
        let found = counts((5_000_000..5_000_010).chain(0..200));
        assert_eq!((found.restarts, found.stray, found.lost, found.missing), (1, 2, 0, 0));
    }

    #[test]
    fn one_stray_packet_does_not_move_the_stream() {
        let found = counts((0..10).chain([4_000_000_000]).chain(10..200));
        assert_eq!((found.restarts, found.stray, found.lost, found.missing), (0, 1, 0, 0));
    }

    #[test]
    fn streams_are_told_apart_by_their_port() {
        let mut tracker = SequenceTracker::default();
        for n in 0..100 {
            for port in 0..STREAMS as u16 {
                tracker.record(port, n + 1_000_000 * u32::from(port));
            }
        }
        let expected = SequenceCounts { received: 100 * STREAMS as u64, ..SequenceCounts::default() };
        assert_eq!(tracker.counts(), expected);
    }

    #[test]
    fn the_stream_that_was_silent_longest_makes_room_and_its_missing_are_lost() {
        let mut tracker = SequenceTracker::default();
        tracker.record(0, 0);
        tracker.record(0, 2);
        for port in 1..=STREAMS as u16 {
            tracker.record(port, 0);
        }
        assert_eq!((tracker.counts().lost, tracker.counts().missing), (1, 0));
        tracker.record(1, 1);
        assert_eq!(tracker.counts().stray, 0, "port 1 is still followed");
    }

    proptest! {
        #[test]
        fn every_number_passed_over_is_received_or_missing_or_lost(
            start: u32,
            steps in prop::collection::vec(prop_oneof![4 => Just(1i64), 2 => -60i64..60, 1 => 60i64..300], 0..300),
        ) {
            // Offsets from the first packet, none of them too late or ahead to be judged.
            let mut tracker = SequenceTracker::default();
            let (mut newest, mut came) = (0i64, HashSet::from([0i64]));
            let mut duplicates = 0;
            tracker.record(9, start);
            for step in steps {
                let offset = (newest + step).max(0);
                if newest - offset >= i64::from(WINDOW) {
                    continue;
                }
                duplicates += u64::from(!came.insert(offset));
                newest = newest.max(offset);
                tracker.record(9, start.wrapping_add(offset as u32));
            }
            let found = tracker.counts();
            prop_assert_eq!(found.duplicates, duplicates);
            prop_assert_eq!(found.lost + u64::from(found.missing), newest as u64 + 1 - came.len() as u64);
            prop_assert_eq!((found.stray, found.restarts), (0, 0));
        }

        #[test]
        fn no_sequence_panics(records in prop::collection::vec((0u16..20, any::<u32>()), 0..200)) {
            let mut tracker = SequenceTracker::default();
            for (port, sequence) in &records {
                tracker.record(*port, *sequence);
            }
            prop_assert_eq!(tracker.counts().received, records.len() as u64);
        }
    }
}
