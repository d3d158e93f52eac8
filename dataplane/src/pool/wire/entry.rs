//! An entry of a pooled packet with short rows: a whole packet, a packet that announces its header under the id of a
//! context, or a packet of which only the context's id and what changed are left.
//!
//! Pure reading and writing: what a context is, is for `pool::learned`.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

use super::WireError;
use crate::packet::copy::copy;

/// The most bytes that stand in front of what an entry has of its packet.
const MAX_PREFIX: usize = 13;

/// What stands in front of what an entry has of its packet: nothing where it has it whole.
#[derive(Clone, Copy, Debug)]
pub struct Prefix {
    /// Its bytes as little-endian words, with zeros behind.
    words: [u64; 2],
    len: u8,
}

/// What stands in front of a packet of which all is predicted but how much higher the sequence number is, and the marker: a
/// little-endian word that ends with its length.
#[derive(Clone, Copy, Debug)]
pub struct PredictedPrefix(u64);

/// Where the length is.
const LEN_SHIFT: u32 = 56;

const ANNOUNCEMENT: u8 = 0x10;
const RTP_ANNOUNCEMENT: u8 = 0x18;
const COUNTING_ANNOUNCEMENT: u8 = 0x1c;

const COMPRESSED: u8 = 0x80;
const WIDE_DIFFERENCE: u8 = 0x40;
const WIDE: u8 = COMPRESSED | WIDE_DIFFERENCE;
const TIMESTAMP: u8 = 0x30;
const TIMESTAMP_OFF: u8 = 0x10;
const TIMESTAMP_IS: u8 = 0x20;
const IP_ID: u8 = 0x0c;
const IP_ID_AHEAD: u8 = 0x04;
const IP_ID_IS: u8 = 0x08;
const MARKER: u8 = 0x02;
const RTP_START: u8 = 0x01;

/// An entry whose form exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A whole packet.
    Whole(&'a [u8]),
    /// A whole packet whose header later ones refer to.
    Announcement(Announcement, &'a [u8]),
    /// A packet of whose header the id of a context and what changed are left.
    Compressed(CompressedEntry<'a>),
}

/// What an announcement says beside the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The context's id.
    pub context: u16,
    /// How the header is told from those of later packets.
    pub profile: Profile,
}

/// How later headers of a context differ from the one announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Only lengths, checksums and the IP id do.
    Udp,
    /// The payload starts with an RTP header (RFC 3550) that goes on as well.
    Rtp {
        /// How far the timestamp goes on with each sequence number.
        stride: u16,
        /// Whether the IP id goes on by one with each sequence number; else it stays. IPv4 only.
        id_counts: bool,
    },
}

/// A compressed packet of which first byte and id are read: what the rest means depends on the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressedEntry<'a> {
    /// The context's id.
    pub context: u16,
    flags: u8,
    rest: &'a [u8],
}

/// What changed since the header that was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The IP id; [`IpId::Predicted`] in IPv6.
    pub ip_id: IpId,
    /// The RTP header, in contexts that have one.
    pub rtp: Option<RtpChange>,
}

/// The identification field of an IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpId {
    /// It is what the context's profile says.
    Predicted,
    /// It is so much higher than the one announced.
    Ahead(u8),
    /// It is this.
    Is(u16),
}

/// What changed of an RTP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpChange {
    /// How much higher the sequence number is, modulo 2^16.
    pub difference: u16,
    /// The timestamp.
    pub timestamp: Timestamp,
    /// The first two bytes.
    pub start: RtpStart,
}

/// The timestamp of an RTP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamp {
    /// As many strides beyond the one announced as the sequence number is beyond its own.
    Predicted,
    /// So much higher than that.
    Off(i16),
    /// This.
    Is(u32),
}

/// The first two bytes of an RTP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtpStart {
    /// Those that were announced, with the marker as given.
    Marker(bool),
    /// These.
    Is([u8; 2]),
}

impl<'a> Entry<'a> {
    /// Reads an entry as far as can be without its context.
    #[inline]
    pub fn parse(entry: &'a [u8]) -> Result<Entry<'a>, WireError> {
        match CompressedEntry::parse(entry) {
            Some(entry) => Ok(Entry::Compressed(entry)),
            None => Entry::parse_longer(entry),
        }
    }

    /// Reads what has a whole packet in it.
    #[inline(never)]
    fn parse_longer(entry: &'a [u8]) -> Result<Entry<'a>, WireError> {
        let &[flags, id0, id1, ref rest @ ..] = entry else {
            return Err(match entry.first().copied() {
                None
                | Some(
                    ANNOUNCEMENT | RTP_ANNOUNCEMENT | COUNTING_ANNOUNCEMENT | 0x40..0x50 | 0x60..0x70 | COMPRESSED..,
                ) => WireError::RowTooShort,
                Some(_) => WireError::UnsupportedEntry,
            });
        };
        let context = u16::from_be_bytes([id0, id1]);
        match flags {
            0x40..0x50 | 0x60..0x70 => whole(entry).map(Entry::Whole),
            ANNOUNCEMENT => announcement(context, Profile::Udp, rest),
            RTP_ANNOUNCEMENT | COUNTING_ANNOUNCEMENT => {
                let (&stride, packet) = rest.split_first_chunk().ok_or(WireError::RowTooShort)?;
                let id_counts = flags == COUNTING_ANNOUNCEMENT;
                announcement(context, Profile::Rtp { stride: u16::from_be_bytes(stride), id_counts }, packet)
            }
            _ => Err(WireError::UnsupportedEntry),
        }
    }
}

#[inline]
fn announcement(context: u16, profile: Profile, packet: &[u8]) -> Result<Entry<'_>, WireError> {
    Ok(Entry::Announcement(Announcement { context, profile }, whole(packet)?))
}

/// An IP packet as long as its own header says.
#[inline]
fn whole(packet: &[u8]) -> Result<&[u8], WireError> {
    let (shortest, length) = match packet {
        [0x40..0x50, _, l0, l1, ..] => (20, usize::from(u16::from_be_bytes([*l0, *l1]))),
        [0x60..0x70, _, _, _, l0, l1, ..] => (40, 40 + usize::from(u16::from_be_bytes([*l0, *l1]))),
        [] | [0x40..0x50 | 0x60..0x70, ..] => return Err(WireError::RowTooShort),
        _ => return Err(WireError::InnerVersion),
    };
    if packet.len() < shortest {
        return Err(WireError::RowTooShort);
    }
    if packet.len() == length { Ok(packet) } else { Err(WireError::InnerLength) }
}

impl Prefix {
    /// Of a whole packet.
    pub const NONE: Prefix = Prefix { words: [0; 2], len: 0 };

    /// Its length in bytes.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len.into()
    }

    /// Whether it is none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> impl Iterator<Item = u8> + use<> {
        self.words.map(u64::to_le_bytes).into_iter().flatten().take(self.len())
    }

    /// Writes it and `body` behind it to `out`. False where that is not exactly as long.
    #[inline(always)]
    pub fn write(&self, body: &[u8], out: &mut [u8]) -> bool {
        if self.len() + body.len() != out.len() {
            return false;
        }
        if let ([first, second, ..], _) = out.as_chunks_mut::<8>() {
            // At once: the body is written over what is more than the prefix.
            let [low, high] = self.words;
            (*first, *second) = (low.to_le_bytes(), high.to_le_bytes());
        } else {
            out.iter_mut().zip(self.bytes()).for_each(|(out, byte)| *out = byte);
        }
        out.get_mut(self.len()..).is_some_and(|behind| copy(body, behind))
    }
}

impl PredictedPrefix {
    /// In front of a packet whose sequence number is so much higher, and that has this marker.
    #[inline(always)]
    pub fn new(context: u16, difference: u16, marker: bool) -> PredictedPrefix {
        let (flags, difference, len) = match u8::try_from(difference) {
            Ok(difference) => (COMPRESSED, u64::from(difference), 4),
            Err(_) => (WIDE, u64::from(difference.swap_bytes()), 5),
        };
        let flags = flags | if marker { MARKER } else { 0 };
        let context = u64::from(context.swap_bytes());
        PredictedPrefix(u64::from(flags) | context << 8 | difference << 24 | len << LEN_SHIFT)
    }

    /// Its length in bytes.
    #[inline(always)]
    pub fn length(self) -> usize {
        (self.0 >> LEN_SHIFT) as usize
    }

    /// Writes it and `body` behind it to `out`. False where that is not exactly as long.
    #[inline(always)]
    pub fn write(self, body: &[u8], out: &mut [u8]) -> bool {
        if let Some(start) = out.first_chunk_mut() {
            // The body takes the place of what is behind the prefix; no prefix is so long that its length, the last byte, stays.
            *start = self.0.to_le_bytes();
        } else {
            out.iter_mut().zip(self.0.to_le_bytes()).for_each(|(out, byte)| *out = byte);
        }
        out.get_mut(self.length()..).is_some_and(|behind| copy(body, behind))
    }
}

impl From<PredictedPrefix> for Prefix {
    #[inline(always)]
    fn from(prefix: PredictedPrefix) -> Prefix {
        Prefix { words: [prefix.0 & !(0xff << LEN_SHIFT), 0], len: prefix.length() as u8 }
    }
}

impl Announcement {
    /// What stands in front of the packet.
    #[inline]
    pub fn prefix(&self) -> Prefix {
        let flags = match self.profile {
            Profile::Udp => ANNOUNCEMENT,
            Profile::Rtp { id_counts: false, .. } => RTP_ANNOUNCEMENT,
            Profile::Rtp { id_counts: true, .. } => COUNTING_ANNOUNCEMENT,
        };
        let mut prefix = Writer::new(self.context);
        if let Profile::Rtp { stride, .. } = self.profile {
            prefix.put(stride.to_be_bytes());
        }
        prefix.finish(flags)
    }
}

impl<'a> CompressedEntry<'a> {
    /// The entry, if it is one of these and is not too short.
    #[inline(always)]
    pub fn parse(entry: &'a [u8]) -> Option<CompressedEntry<'a>> {
        match entry {
            &[flags, id0, id1, ref rest @ ..] if flags & COMPRESSED != 0 => {
                Some(CompressedEntry { context: u16::from_be_bytes([id0, id1]), flags, rest })
            }
            _ => None,
        }
    }

    /// How much higher the sequence number is, whether the packet has the marker, and the payload behind, where all else is
    /// as the context's RTP profile predicts. None where it is not, and where the entry is too short.
    #[inline(always)]
    pub fn predicted(&self) -> Option<(u16, bool, &'a [u8])> {
        let (difference, payload) = match (self.flags & !MARKER, self.rest) {
            (COMPRESSED, &[difference, ref payload @ ..]) => (difference.into(), payload),
            (WIDE, &[d0, d1, ref payload @ ..]) => (u16::from_be_bytes([d0, d1]), payload),
            _ => return None,
        };
        Some((difference, self.flags & MARKER != 0, payload))
    }

    /// What changed, and the payload behind it, in a context that has an RTP header or not. None where the entry is
    /// too short for what it says, or says what does not exist there.
    #[inline]
    pub fn change(&self, has_rtp: bool) -> Option<(Change, &'a [u8])> {
        let (flags, mut rest) = (self.flags, self.rest);
        if !has_rtp && flags & !(COMPRESSED | IP_ID) != 0 {
            return None;
        }
        let difference = match has_rtp {
            false => 0,
            true if flags & WIDE_DIFFERENCE != 0 => u16::from_be_bytes(take(&mut rest)?),
            true => u16::from(u8::from_be_bytes(take(&mut rest)?)),
        };
        let timestamp = match flags & TIMESTAMP {
            0 => Timestamp::Predicted,
            TIMESTAMP_OFF => Timestamp::Off(i16::from_be_bytes(take(&mut rest)?)),
            TIMESTAMP_IS => Timestamp::Is(u32::from_be_bytes(take(&mut rest)?)),
            _ => return None,
        };
        let ip_id = match flags & IP_ID {
            0 => IpId::Predicted,
            IP_ID_AHEAD => IpId::Ahead(u8::from_be_bytes(take(&mut rest)?)),
            IP_ID_IS => IpId::Is(u16::from_be_bytes(take(&mut rest)?)),
            _ => return None,
        };
        let start = match flags & (MARKER | RTP_START) {
            0 => RtpStart::Marker(false),
            MARKER => RtpStart::Marker(true),
            RTP_START => RtpStart::Is(take(&mut rest)?),
            _ => return None,
        };
        let rtp = has_rtp.then_some(RtpChange { difference, timestamp, start });
        Some((Change { ip_id, rtp }, rest))
    }
}

impl Change {
    /// What stands in front of the payload of a packet that changed so since `context` was announced.
    #[inline]
    pub fn prefix(&self, context: u16) -> Prefix {
        let mut prefix = Writer::new(context);
        let mut flags = COMPRESSED;
        if let Some(rtp) = self.rtp {
            match u8::try_from(rtp.difference) {
                Ok(difference) => prefix.put([difference]),
                Err(_) => {
                    flags |= WIDE_DIFFERENCE;
                    prefix.put(rtp.difference.to_be_bytes());
                }
            }
            match rtp.timestamp {
                Timestamp::Predicted => {}
                Timestamp::Off(by) => {
                    flags |= TIMESTAMP_OFF;
                    prefix.put(by.to_be_bytes());
                }
                Timestamp::Is(timestamp) => {
                    flags |= TIMESTAMP_IS;
                    prefix.put(timestamp.to_be_bytes());
                }
            }
        }
        match self.ip_id {
            IpId::Predicted => {}
            IpId::Ahead(by) => {
                flags |= IP_ID_AHEAD;
                prefix.put([by]);
            }
            IpId::Is(id) => {
                flags |= IP_ID_IS;
                prefix.put(id.to_be_bytes());
            }
        }
        match self.rtp.map(|rtp| rtp.start) {
            None | Some(RtpStart::Marker(false)) => {}
            Some(RtpStart::Marker(true)) => flags |= MARKER,
            Some(RtpStart::Is(start)) => {
                flags |= RTP_START;
                prefix.put(start);
            }
        }
        prefix.finish(flags)
    }

    /// How long that is.
    #[inline]
    pub fn prefix_len(&self) -> usize {
        let of_rtp = |rtp: RtpChange| {
            let timestamp = match rtp.timestamp {
                Timestamp::Predicted => 0,
                Timestamp::Off(_) => 2,
                Timestamp::Is(_) => 4,
            };
            let difference = if rtp.difference > u8::MAX.into() { 2 } else { 1 };
            difference + timestamp + if matches!(rtp.start, RtpStart::Is(_)) { 2 } else { 0 }
        };
        let ip_id = match self.ip_id {
            IpId::Predicted => 0,
            IpId::Ahead(_) => 1,
            IpId::Is(_) => 2,
        };
        3 + self.rtp.map_or(0, of_rtp) + ip_id
    }
}

/// A prefix as it grows: behind its first byte, which is told last.
struct Writer {
    /// Its bytes as a little-endian number.
    bytes: u128,
    bits: u32,
}

impl Writer {
    #[inline(always)]
    fn new(context: u16) -> Writer {
        Writer { bytes: u128::from(context.swap_bytes()) << 8, bits: 24 }
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        debug_assert!(self.bits as usize / 8 + N <= MAX_PREFIX, "a prefix longer than the longest");
        let word = bytes.iter().rev().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        self.bytes |= u128::from(word) << self.bits;
        self.bits += 8 * N as u32;
    }

    #[inline(always)]
    fn finish(self, first: u8) -> Prefix {
        let bytes = self.bytes | u128::from(first);
        Prefix { words: [bytes as u64, (bytes >> 64) as u64], len: (self.bits / 8) as u8 }
    }
}

/// The next bytes.
#[inline(always)]
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (&bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet4(length: u16) -> Vec<u8> {
        let mut packet = vec![0; usize::from(length)];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet
    }

    fn bytes(prefix: Prefix) -> Vec<u8> {
        prefix.bytes().collect()
    }

    fn refused(entry: &[u8]) -> WireError {
        Entry::parse(entry).map(|_| ()).unwrap_err()
    }

    #[test]
    fn whole_packets_need_no_prefix() {
        assert_eq!(Entry::parse(&packet4(20)), Ok(Entry::Whole(&packet4(20))));
        let mut packet6 = vec![0; 48];
        packet6[0] = 0x60;
        packet6[5] = 8;
        assert_eq!(Entry::parse(&packet6), Ok(Entry::Whole(&packet6)));
        packet6[5] = 9;
        assert_eq!(refused(&packet6), WireError::InnerLength);
        assert_eq!(refused(&packet6[..39]), WireError::RowTooShort);
        assert_eq!(refused(&packet4(30)[..29]), WireError::InnerLength);
        assert_eq!(refused(&packet4(19)), WireError::RowTooShort);
        assert_eq!(refused(&[0x45]), WireError::RowTooShort);
    }

    #[test]
    fn an_announcement_is_a_packet_with_an_id_in_front() {
        let announcement = |profile| Announcement { context: 0x1234, profile };
        let rtp = |id_counts| Profile::Rtp { stride: 160, id_counts };
        for (profile, prefix) in [
            (Profile::Udp, &[0x10, 0x12, 0x34][..]),
            (rtp(false), &[0x18, 0x12, 0x34, 0, 160]),
            (rtp(true), &[0x1c, 0x12, 0x34, 0, 160]),
        ] {
            assert_eq!(bytes(announcement(profile).prefix()), prefix);
            let entry = [prefix, &packet4(60)].concat();
            assert_eq!(Entry::parse(&entry), Ok(Entry::Announcement(announcement(profile), &packet4(60))));
            assert_eq!(refused(&entry[..entry.len() - 1]), WireError::InnerLength);
            assert_eq!(refused(prefix), WireError::RowTooShort);
        }
        assert_eq!(refused(&[&[0x10, 0, 1], &[0u8; 20][..]].concat()), WireError::InnerVersion);
    }

    #[test]
    fn forms_that_do_not_exist_are_refused() {
        for first in (0..0x10).chain(0x11..0x18).chain(0x19..0x1c).chain(0x1d..0x40).chain(0x50..0x60).chain(0x70..0x80)
        {
            for length in [1, 2, 3, 60] {
                assert_eq!(refused(&vec![first; length]), WireError::UnsupportedEntry, "{first:#04x}, {length} bytes");
            }
        }
        for first in [0x10, 0x18, 0x1c, 0x40, 0x4f, 0x60, 0x6f, 0x80, 0xff] {
            assert_eq!(refused(&[first]), WireError::RowTooShort, "{first:#04x}");
        }
        assert_eq!(refused(&[]), WireError::RowTooShort);
        assert_eq!(refused(&[0x80, 0]), WireError::RowTooShort);
        assert_eq!(refused(&[0x20, 0]), WireError::UnsupportedEntry);
    }

    #[test]
    fn the_usual_voice_packet_costs_four_bytes() {
        let start = RtpStart::Marker(false);
        let rtp = Some(RtpChange { difference: 7, timestamp: Timestamp::Predicted, start });
        assert_eq!(bytes(Change { ip_id: IpId::Predicted, rtp }.prefix(0x0102)), [0x80, 1, 2, 7]);
        assert_eq!(bytes(Change { ip_id: IpId::Is(0xabcd), rtp }.prefix(0x0102)), [0x88, 1, 2, 7, 0xab, 0xcd]);
        assert_eq!(bytes(Change { ip_id: IpId::Ahead(3), rtp: None }.prefix(9)), [0x84, 0, 9, 3]);
    }

    #[test]
    fn what_a_context_does_not_have_cannot_have_changed() {
        let change = |flags: u8, has_rtp| {
            let entry = [flags, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let Ok(Entry::Compressed(entry)) = Entry::parse(&entry) else { panic!("{flags:#04x}") };
            entry.change(has_rtp).is_some()
        };
        for flags in 0x80..=0xff {
            let exists = flags & 0x30 != 0x30 && flags & 0x0c != 0x0c && flags & 3 != 3;
            assert_eq!(change(flags, true), exists, "{flags:#04x}");
            let exists = flags & 0x73 == 0 && flags & 0x0c != 0x0c;
            assert_eq!(change(flags, false), exists, "{flags:#04x}");
        }
    }

    fn change() -> impl Strategy<Value = Change> {
        let ip_id =
            prop_oneof![Just(IpId::Predicted), any::<u8>().prop_map(IpId::Ahead), any::<u16>().prop_map(IpId::Is)];
        let timestamp = prop_oneof![
            Just(Timestamp::Predicted),
            any::<i16>().prop_map(Timestamp::Off),
            any::<u32>().prop_map(Timestamp::Is)
        ];
        let start = prop_oneof![any::<bool>().prop_map(RtpStart::Marker), any::<[u8; 2]>().prop_map(RtpStart::Is)];
        let rtp = (prop_oneof![0u16..300, any::<u16>()], timestamp, start)
            .prop_map(|(difference, timestamp, start)| RtpChange { difference, timestamp, start });
        (ip_id, prop::option::of(rtp)).prop_map(|(ip_id, rtp)| Change { ip_id, rtp })
    }

    proptest! {
        #[test]
        fn a_change_is_read_as_it_was_written_and_never_when_cut(
            change in change(), context: u16, payload in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let prefix = change.prefix(context);
            prop_assert_eq!(prefix.len(), change.prefix_len());
            let mut entry = vec![0xee; prefix.len() + payload.len()];
            prop_assert!(prefix.write(&payload, &mut entry));
            prop_assert_eq!(&entry, &[&bytes(prefix)[..], &payload].concat());
            let bytes = entry;
            let Ok(Entry::Compressed(entry)) = Entry::parse(&bytes) else { panic!("no compressed entry") };
            prop_assert_eq!(entry.context, context);
            prop_assert_eq!(entry.change(change.rtp.is_some()), Some((change, &payload[..])));
            if let Some(RtpChange { difference, timestamp: Timestamp::Predicted, start: RtpStart::Marker(marker) }) = change.rtp
                && change.ip_id == IpId::Predicted
            {
                prop_assert_eq!(entry.predicted(), Some((difference, marker, &payload[..])));
                let predicted = PredictedPrefix::new(context, difference, marker);
                prop_assert!(Prefix::from(predicted).bytes().eq(prefix.bytes()));
                let mut entry = vec![0xee; predicted.length() + payload.len()];
                prop_assert!(predicted.write(&payload, &mut entry));
                prop_assert_eq!(&entry, &bytes);
            } else if change.rtp.is_some() {
                prop_assert_eq!(entry.predicted(), None);
            }
            for length in 3..prefix.len() {
                let Ok(Entry::Compressed(entry)) = Entry::parse(&bytes[..length]) else { panic!("no compressed entry") };
                prop_assert_eq!(entry.change(change.rtp.is_some()), None);
            }
        }
    }
}
