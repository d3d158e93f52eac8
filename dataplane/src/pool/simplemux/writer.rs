//! The writer's side: what stands in front of each packet, and whether there is room for one more.
//!
//! All that is written are whole IPv4 packets, so the bit for "all of one protocol" is always set and the protocol
//! stands once, in the first separator: that separator is known before anything about the second packet is.

use arrayvec::ArrayVec;

use super::{Flavour, MAX_ENTRIES, MAX_LENGTH, PROTOCOL_IPV4};

/// What stands in front of a packet.
pub type Separator = ArrayVec<u8, 3>;

/// In a first separator: all packets have the protocol that follows.
const SINGLE_PROTOCOL: u8 = 0x80;
/// In a first separator: the length goes on in the next byte.
const LONGER_FIRST: u8 = 0x40;
/// In any other separator: the same.
const LONGER: u8 = 0x80;
/// What the second byte of a length holds.
const LOW: u16 = 0x7f;

/// A datagram in the making: how many packets it has and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    flavour: Flavour,
    entries: u8,
    length: u16,
}

impl Writer {
    /// A datagram without a packet.
    #[inline]
    pub const fn new(flavour: Flavour) -> Writer {
        Writer { flavour, entries: 0, length: 0 }
    }

    /// Packets in it, at most [`MAX_ENTRIES`].
    #[inline(always)]
    pub const fn entries(self) -> u8 {
        self.entries
    }

    /// Its length without a UDP header, in bytes: at most [`MAX_LENGTH`].
    #[inline(always)]
    pub const fn length(self) -> u16 {
        self.length
    }

    /// How much longer one more packet of `length` bytes makes it, its separator included. None where the format does
    /// not let it in.
    #[inline]
    pub fn growth(self, length: usize) -> Option<u16> {
        if length > MAX_LENGTH {
            return None;
        }
        let growth = match self.flavour {
            Flavour::Fast => length + 3,
            Flavour::Normal if self.entries == 0 => length + if length < 64 { 2 } else { 3 },
            Flavour::Normal => length + if length < 128 { 1 } else { 2 },
        };
        let fits = self.entries < MAX_ENTRIES && usize::from(self.length) + growth <= MAX_LENGTH;
        u16::try_from(growth).ok().filter(|_| fits)
    }

    /// Adds a whole IPv4 packet of `length` bytes and returns the separator that goes in front of it. None, and nothing
    /// changes, where the format does not let it in.
    #[inline]
    pub fn add(&mut self, length: usize) -> Option<Separator> {
        let growth = self.growth(length)?;
        // It fits into the datagram, so its length has 12 bits: never three bytes of it.
        let length = u16::try_from(length).ok()?;
        let (high, low) = ((length >> 7) as u8, (length & LOW) as u8);
        let mut separator = Separator::new();
        match self.flavour {
            Flavour::Fast => {
                separator.extend(length.to_be_bytes());
                separator.push(PROTOCOL_IPV4);
            }
            Flavour::Normal if self.entries == 0 => {
                if length < 64 {
                    separator.push(SINGLE_PROTOCOL | low);
                } else {
                    separator.extend([SINGLE_PROTOCOL | LONGER_FIRST | high, low]);
                }
                separator.push(PROTOCOL_IPV4);
            }
            Flavour::Normal if length < 128 => separator.push(low),
            Flavour::Normal => separator.extend([LONGER | high, low]),
        }
        self.entries += 1;
        self.length += growth;
        Some(separator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn separators(flavour: Flavour, lengths: &[usize]) -> Vec<Vec<u8>> {
        let mut writer = Writer::new(flavour);
        lengths.iter().map(|&length| writer.add(length).expect("it fits").to_vec()).collect()
    }

    #[test]
    fn a_first_length_takes_a_second_byte_from_64_on() {
        let first = |length| separators(Flavour::Normal, &[length]).concat();
        assert_eq!(first(20), [0x94, 4]);
        assert_eq!(first(63), [0xbf, 4]);
        assert_eq!(first(64), [0xc0, 0x40, 4]);
        assert_eq!(first(127), [0xc0, 0x7f, 4]);
        assert_eq!(first(128), [0xc1, 0, 4]);
        assert_eq!(first(2301), [0xd1, 0x7d, 4]);
    }

    #[test]
    fn any_other_length_takes_a_second_byte_from_128_on() {
        let second = |length| separators(Flavour::Normal, &[20, length])[1].clone();
        assert_eq!(second(64), [0x40]);
        assert_eq!(second(127), [0x7f]);
        assert_eq!(second(128), [0x81, 0]);
        assert_eq!(second(300), [0x82, 0x2c]);
    }

    #[test]
    fn a_fast_separator_is_always_the_same_three_bytes() {
        assert_eq!(separators(Flavour::Fast, &[20, 300]), [vec![0, 20, 4], vec![1, 44, 4]]);
    }

    #[test]
    fn a_datagram_takes_a_hundred_packets_and_no_more() {
        for flavour in [Flavour::Normal, Flavour::Fast] {
            let mut writer = Writer::new(flavour);
            let taken = std::iter::from_fn(|| writer.add(20)).count();
            assert_eq!((taken, writer.entries()), (100, 100));
        }
    }

    #[test]
    fn a_datagram_takes_2304_bytes_and_no_more() {
        for (flavour, overhead) in [(Flavour::Normal, 5), (Flavour::Fast, 6)] {
            let mut writer = Writer::new(flavour);
            assert_eq!(writer.add(1000).map(|separator| separator.len()), Some(3));
            let rest = MAX_LENGTH - 1000 - overhead;
            assert_eq!(writer.growth(rest + 1), None);
            assert_eq!(writer.add(rest + 1), None);
            assert_eq!(writer.growth(rest), Some((MAX_LENGTH - 1003) as u16));
            assert!(writer.add(rest).is_some());
            assert_eq!(usize::from(writer.length()), MAX_LENGTH);
            assert_eq!(writer.add(0), None);
        }
        assert_eq!(Writer::new(Flavour::Fast).add(usize::from(u16::MAX) + 1), None);
    }

    #[test]
    fn growth_is_the_separator_and_the_packet() {
        for flavour in [Flavour::Normal, Flavour::Fast] {
            for length in 20..=1000 {
                let mut writer = Writer::new(flavour);
                for _ in 0..2 {
                    let growth = writer.growth(length).map(usize::from);
                    let before = writer.length();
                    let separator = writer.add(length).expect("it fits");
                    assert_eq!(growth, Some(separator.len() + length));
                    assert_eq!(Some(usize::from(writer.length() - before)), growth);
                }
            }
        }
    }
}
