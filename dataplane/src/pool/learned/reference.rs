//! What was announced of a header: both ends keep it, one to tell what changed, the other to undo that.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use crate::pool::rtp::Rtp;
use crate::pool::wire::entry::{Change, IpId, Profile, RtpChange, RtpStart, Timestamp};

/// What an announcement fixes beside the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) profile: Profile,
    /// The IP id of the packet that announced; 0 in IPv6.
    pub(super) ip_id: u16,
    /// Its RTP header; nothing of account where the profile has none.
    pub(super) rtp: Rtp,
}

const MARKER: u8 = 0x80;

impl Reference {
    /// Whether later headers have an RTP header to rebuild.
    #[inline]
    pub(super) fn has_rtp(&self) -> bool {
        matches!(self.profile, Profile::Rtp { .. })
    }

    /// Whether a packet with this RTP header, if it looks like one, can be told by what changed, and if so whether it has an
    /// RTP header to rebuild.
    #[inline]
    pub(super) fn fits(&self, rtp: Option<Rtp>) -> Option<bool> {
        match rtp {
            _ if !self.has_rtp() => Some(false),
            Some(rtp) if rtp.source == self.rtp.source => Some(true),
            _ => None,
        }
    }

    /// Whether all of this IP id and likely RTP header is predicted but how much higher the sequence number is, and the
    /// marker: then these two.
    #[inline(always)]
    pub(super) fn predicts(&self, ip_id: u16, rtp: &Rtp) -> Option<(u16, bool)> {
        let Profile::Rtp { stride, id_counts } = self.profile else { return None };
        let difference = rtp.sequence.wrapping_sub(self.rtp.sequence);
        let (predicted, timestamp) = self.ahead_by(difference, stride, id_counts);
        let [own, other] = [self.rtp.start, rtp.start].map(u16::from_le_bytes);
        let is_predicted = rtp.source == self.rtp.source
            && rtp.timestamp == timestamp
            && ip_id == predicted
            && (own ^ other) & u16::from_le_bytes([0xff, !MARKER]) == 0;
        is_predicted.then_some((difference, rtp.marker()))
    }

    /// The IP id and the RTP header that are predicted where the sequence number is so much higher. None where there is none.
    #[inline(always)]
    pub(super) fn predicted(&self, difference: u16, marker: bool) -> Option<(u16, Rtp)> {
        let Profile::Rtp { stride, id_counts } = self.profile else { return None };
        let (ip_id, timestamp) = self.ahead_by(difference, stride, id_counts);
        let sequence = self.rtp.sequence.wrapping_add(difference);
        Some((ip_id, Rtp { start: self.start_with(marker), sequence, timestamp, source: self.rtp.source }))
    }

    /// The IP id and the timestamp that go with a sequence number so much higher.
    #[inline(always)]
    fn ahead_by(&self, difference: u16, stride: u16, id_counts: bool) -> (u16, u32) {
        let ip_id = self.ip_id.wrapping_add(if id_counts { difference } else { 0 });
        (ip_id, self.timestamp_after(stride, difference))
    }

    /// What changed to this IP id and RTP header. `rtp` is looked at where the profile has one, and is of the same
    /// source as the one announced.
    #[inline]
    pub(super) fn change_to(&self, ip_id: u16, rtp: &Rtp) -> Change {
        let Profile::Rtp { stride, id_counts } = self.profile else {
            return Change { ip_id: told(self.ip_id, self.ip_id, ip_id), rtp: None };
        };
        let difference = rtp.sequence.wrapping_sub(self.rtp.sequence);
        let (predicted, timestamp) = self.ahead_by(difference, stride, id_counts);
        let off = rtp.timestamp.wrapping_sub(timestamp) as i32;
        let timestamp = match i16::try_from(off) {
            Ok(0) => Timestamp::Predicted,
            Ok(off) => Timestamp::Off(off),
            Err(_) => Timestamp::Is(rtp.timestamp),
        };
        let start = if rtp.start == self.start_with(rtp.marker()) {
            RtpStart::Marker(rtp.marker())
        } else {
            RtpStart::Is(rtp.start)
        };
        Change { ip_id: told(predicted, self.ip_id, ip_id), rtp: Some(RtpChange { difference, timestamp, start }) }
    }

    /// The IP id and the RTP header that changed so.
    #[inline]
    pub(super) fn after(&self, change: &Change) -> (u16, Rtp) {
        let difference = change.rtp.map_or(0, |rtp| rtp.difference);
        let (stride, id_counts) = match self.profile {
            Profile::Rtp { stride, id_counts } => (stride, id_counts),
            Profile::Udp => (0, false),
        };
        let ip_id = match change.ip_id {
            IpId::Predicted if id_counts => self.ip_id.wrapping_add(difference),
            IpId::Predicted => self.ip_id,
            IpId::Ahead(by) => self.ip_id.wrapping_add(u16::from(by)),
            IpId::Is(id) => id,
        };
        let Some(RtpChange { timestamp, start, .. }) = change.rtp else { return (ip_id, self.rtp) };
        let predicted = self.timestamp_after(stride, difference);
        let rtp = Rtp {
            start: match start {
                RtpStart::Marker(marker) => self.start_with(marker),
                RtpStart::Is(start) => start,
            },
            sequence: self.rtp.sequence.wrapping_add(difference),
            timestamp: match timestamp {
                Timestamp::Predicted => predicted,
                Timestamp::Off(by) => predicted.wrapping_add_signed(i32::from(by)),
                Timestamp::Is(timestamp) => timestamp,
            },
            source: self.rtp.source,
        };
        (ip_id, rtp)
    }

    /// The timestamp that goes with a sequence number so much higher: from 2^15 on it is a lower one.
    #[inline]
    fn timestamp_after(&self, stride: u16, difference: u16) -> u32 {
        let strides = i32::from(difference as i16).wrapping_mul(i32::from(stride));
        self.rtp.timestamp.wrapping_add_signed(strides)
    }

    #[inline]
    fn start_with(&self, marker: bool) -> [u8; 2] {
        let [first, second] = self.rtp.start;
        [first, second & !MARKER | if marker { MARKER } else { 0 }]
    }
}

impl Rtp {
    #[inline]
    fn marker(&self) -> bool {
        let [_, second] = self.start;
        second & MARKER != 0
    }
}

/// The shortest way to tell an IP id.
#[inline]
fn told(predicted: u16, announced: u16, ip_id: u16) -> IpId {
    if ip_id == predicted {
        return IpId::Predicted;
    }
    match u8::try_from(ip_id.wrapping_sub(announced)) {
        Ok(by) => IpId::Ahead(by),
        Err(_) => IpId::Is(ip_id),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rtp() -> impl Strategy<Value = Rtp> {
        (any::<[u8; 2]>(), any::<u16>(), any::<u32>()).prop_map(|(start, sequence, timestamp)| Rtp {
            start,
            sequence,
            timestamp,
            source: [1, 2, 3, 4],
        })
    }

    #[test]
    fn a_steady_voice_stream_changes_in_nothing_but_its_sequence_number() {
        let announced = Rtp { start: [0x80, 18], sequence: 65_530, timestamp: u32::MAX - 100, source: [9; 4] };
        let reference =
            Reference { profile: Profile::Rtp { stride: 160, id_counts: true }, ip_id: 65_534, rtp: announced };
        for packets in 1..=255u16 {
            let rtp = Rtp {
                sequence: announced.sequence.wrapping_add(packets),
                timestamp: announced.timestamp.wrapping_add(160 * u32::from(packets)),
                ..announced
            };
            let change = reference.change_to(65_534u16.wrapping_add(packets), &rtp);
            assert_eq!(change.prefix(1).len(), 4, "packet {packets}");
        }
    }

    #[test]
    fn an_overtaken_packet_is_told_like_any_other() {
        let announced = Rtp { start: [0x80, 18], sequence: 10, timestamp: 1600, source: [9; 4] };
        let profile = Profile::Rtp { stride: 160, id_counts: true };
        let reference = Reference { profile, ip_id: 10, rtp: announced };
        let earlier = Rtp { sequence: 8, timestamp: 1600 - 320, ..announced };
        let change = reference.change_to(8, &earlier);
        assert_eq!(change.prefix(1).len(), 5, "a sequence difference of two bytes, all else predicted");
        assert_eq!(reference.after(&change), (8, earlier));
    }

    proptest! {
        #[test]
        fn whatever_changed_is_undone(
            announced in rtp(), later in rtp(), near: bool, ip_ids: (u16, u16), stride: u16, id_counts: bool,
            has_rtp: bool,
        ) {
            let later = if near {
                let steps = later.sequence % 300;
                Rtp {
                    sequence: announced.sequence.wrapping_add(steps),
                    timestamp: announced.timestamp.wrapping_add(u32::from(stride) * u32::from(steps)),
                    ..later
                }
            } else {
                later
            };
            let profile = if has_rtp { Profile::Rtp { stride, id_counts } } else { Profile::Udp };
            let reference = Reference { profile, ip_id: ip_ids.0, rtp: announced };
            let change = reference.change_to(ip_ids.1, &later);
            let (ip_id, rtp) = reference.after(&change);
            prop_assert_eq!(ip_id, ip_ids.1);
            if has_rtp {
                prop_assert_eq!(rtp, later);
            }
        }
    }
}
