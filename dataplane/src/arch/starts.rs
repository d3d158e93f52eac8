//! What the frames of a burst begin with, looked at together: which of them hold plain IPv4 packets, and what becomes of those
//! when they are forwarded.
//!
//! Eight frames at a time are turned round, so that a vector has the same four bytes of each, and every check is made of eight
//! frames by one instruction. `packet::ipv4::Plain` says the same of one packet, and why.

use std::arch::x86_64::*;

/// Frames in a burst.
const BURST: usize = 32;
/// Frames to a vector.
const LANES: usize = 8;
/// An EtherType (0x0800) and behind it the first byte of a header without options, as a little-endian word.
const IPV4: i32 = 0x45_00_08;

/// What is seen of a burst of frames. The arrays have something at the place of every frame, but what they say is meant of plain
/// ones only, but for `destinations`: these are those of all headers of IPv4, whatever options are behind.
#[derive(Default)]
pub struct Starts {
    /// A bit for each frame to the station that holds a plain packet.
    pub plain: u32,
    /// A bit for each frame that is longer than its packet.
    pub padded: u32,
    /// The length of the longest frame in bytes.
    pub longest: u16,
    /// Whom the packets are for, as they are looked up.
    pub destinations: [u32; BURST],
    /// TTL, protocol and checksum of the packets when they go on, as they lie in the frame from [`Starts::TTL`] on.
    pub counted_down: [[u8; 4]; BURST],
}

impl Starts {
    /// Bytes that a frame is recognised by: Ethernet header, IPv4 header without options, and ports.
    pub const LEN: usize = 38;
    /// Where in a frame the TTL is.
    pub const TTL: usize = 22;

    /// Looks at the frames that begin with `starts` and have these `lengths`, at most [`BURST`]; behind theirs, `lengths` has zeros.
    /// They are plain where they are to the Ethernet address `station`, and hold what `packet::ipv4::Plain` recognises; `but` is the port that it takes, in
    /// network byte order. False, and nothing is seen, where the processor has no vectors to do that with.
    #[inline(always)]
    pub fn look(
        &mut self,
        starts: &[&mut [u8; Self::LEN]],
        lengths: &[u16; BURST],
        station: [u8; 6],
        but: u32,
    ) -> bool {
        let has_form = is_x86_feature_detected!("avx2");
        if has_form {
            // SAFETY: the processor has what the function was compiled for.
            unsafe { self.look_avx2(starts, lengths, station, but) }
        }
        has_form
    }

    #[target_feature(enable = "avx2")]
    fn look_avx2(&mut self, starts: &[&mut [u8; Self::LEN]], lengths: &[u16; BURST], station: [u8; 6], but: u32) {
        let wanted = Wanted::new(station, but);
        let (eights, rest) = starts.as_chunks::<LANES>();
        let (all_lengths, _) = lengths.as_chunks::<LANES>();
        let (all_destinations, _) = self.destinations.as_chunks_mut::<LANES>();
        let (all_counted_down, _) = self.counted_down.as_chunks_mut::<LANES>();
        let mut places = (0..).step_by(LANES).zip(all_lengths).zip(all_destinations).zip(all_counted_down);
        (self.plain, self.padded) = (0, 0);
        let mut see = |starts: [&[u8; Self::LEN]; LANES]| {
            let Some((((at, lengths), destinations), counted_down)) = places.next() else { return };
            let (plain, exact) = wanted.see(starts, lengths, destinations, counted_down);
            self.plain |= plain << at;
            self.padded |= (plain & !exact) << at;
        };
        for [a, b, c, d, e, f, g, h] in eights {
            see([a, b, c, d, e, f, g, h]);
        }
        if let [first, ..] = rest {
            // The first once more in place of those that are missing: without a length it is not plain.
            see(std::array::from_fn(|lane| &**rest.get(lane).unwrap_or(first)));
        }
        self.longest = longest(lengths);
    }
}

/// What is compared with, in vectors.
struct Wanted {
    station: [__m256i; 2],
    but: __m256i,
}

impl Wanted {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new([s0, s1, s2, s3, s4, s5]: [u8; 6], but: u32) -> Wanted {
        Wanted {
            station: [
                _mm256_set1_epi32(i32::from_le_bytes([s0, s1, s2, s3])),
                _mm256_set1_epi32(i32::from_le_bytes([0, 0, s4, s5])),
            ],
            but: _mm256_set1_epi32(but.cast_signed()),
        }
    }

    /// Looks at eight frames. Returns a bit for each that is plain, and one for each whose packet ends where it does.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn see(
        &self,
        starts: [&[u8; Starts::LEN]; LANES],
        lengths: &[u16; LANES],
        destinations: &mut [u32; LANES],
        counted_down: &mut [[u8; 4]; LANES],
    ) -> (u32, u32) {
        let [dst, dst_src, _, type_tos] = turned::<0>(starts);
        let [tos_len, fragment, ttl, from] = turned::<14>(starts);
        let [_, _, to, ports] = turned::<22>(starts);
        let word = |word: i32| _mm256_set1_epi32(word);
        let zero = _mm256_setzero_si256();

        // What is wrong with a frame leaves a bit in its lane of one of these.
        let station = _mm256_or_si256(
            _mm256_xor_si256(dst, self.station[0]),
            _mm256_xor_si256(_mm256_slli_epi32::<16>(dst_src), self.station[1]),
        );
        let kind = _mm256_xor_si256(_mm256_and_si256(type_tos, word(0xff_ffff)), word(IPV4));
        // Longer than a header, and no longer than what is behind the Ethernet header.
        let total = _mm256_shuffle_epi8(tos_len, bytes_of_words([3, 2, -1, -1]));
        // SAFETY: eight integers of 16 bits are loaded from as many; no alignment is needed.
        let lengths = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(lengths.as_ptr().cast()) });
        let behind = _mm256_sub_epi32(lengths, word(14));
        let length = _mm256_or_si256(_mm256_cmpgt_epi32(total, behind), _mm256_cmpgt_epi32(word(20), total));
        let old = _mm256_cmpeq_epi32(_mm256_and_si256(ttl, word(0xfe)), zero);
        // Hosts begin with 1 to 126 and 128 to 223. The others but 127 are, 32 later, 0 to 32.
        let hosts = _mm256_blend_epi16::<0b1010_1010>(from, _mm256_slli_epi32::<16>(to));
        let later = _mm256_add_epi8(hosts, _mm256_set1_epi8(32));
        let others = _mm256_or_si256(
            _mm256_cmpeq_epi8(_mm256_min_epu8(later, _mm256_set1_epi8(32)), later),
            _mm256_cmpeq_epi8(hosts, _mm256_set1_epi8(127)),
        );
        let others = _mm256_and_si256(others, word(0x00ff_00ff));
        let port = _mm256_cmpeq_epi32(_mm256_srli_epi32::<16>(ports), self.but);
        let sum = _mm256_xor_si256(folded_sum([tos_len, fragment, ttl, from, to]), word(0xffff));

        let wrong = _mm256_or_si256(
            _mm256_or_si256(_mm256_or_si256(station, kind), _mm256_or_si256(length, old)),
            _mm256_or_si256(_mm256_or_si256(others, port), sum),
        );
        let found = _mm256_shuffle_epi8(to, bytes_of_words([3, 2, 1, 0]));
        // SAFETY: eight integers of 32 bits are stored to as many; no alignment is needed.
        unsafe { _mm256_storeu_si256(destinations.as_mut_ptr().cast(), found) };
        // RFC 1624 as `packet::ipv4::decrement_ttl` has it: one is added to the checksum, and one more where that reaches 0xffff.
        let carries = word(0xfffe_0000_u32.cast_signed());
        let carries = _mm256_cmpeq_epi32(_mm256_max_epu32(ttl, carries), ttl);
        let counted = _mm256_sub_epi32(_mm256_add_epi32(ttl, word(0xffff)), _mm256_slli_epi32::<16>(carries));
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(counted_down.as_mut_ptr().cast(), counted) };
        (bits(_mm256_cmpeq_epi32(wrong, zero)), bits(_mm256_cmpeq_epi32(total, behind)))
    }
}

/// The sixteen bytes that each of two frames has from `AT` on.
#[inline]
#[target_feature(enable = "avx2")]
fn pair<const AT: usize>(lower: &[u8; Starts::LEN], upper: &[u8; Starts::LEN]) -> __m256i {
    const { assert!(AT + 16 <= Starts::LEN) };
    // SAFETY: so many bytes lie there, as was asserted; no alignment is needed.
    let lower = unsafe { _mm_loadu_si128(lower.as_ptr().wrapping_add(AT).cast()) };
    // SAFETY: as above.
    let upper = unsafe { _mm_loadu_si128(upper.as_ptr().wrapping_add(AT).cast()) };
    _mm256_set_m128i(upper, lower)
}

/// The first, second, third and fourth words that eight frames have from `AT` on.
#[inline]
#[target_feature(enable = "avx2")]
fn turned<const AT: usize>([a, b, c, d, e, f, g, h]: [&[u8; Starts::LEN]; LANES]) -> [__m256i; 4] {
    let (a, b) = (pair::<AT>(a, e), pair::<AT>(b, f));
    let (c, d) = (pair::<AT>(c, g), pair::<AT>(d, h));
    let (ab_lower, ab_upper) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let (cd_lower, cd_upper) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    [
        _mm256_unpacklo_epi64(ab_lower, cd_lower),
        _mm256_unpackhi_epi64(ab_lower, cd_lower),
        _mm256_unpacklo_epi64(ab_upper, cd_upper),
        _mm256_unpackhi_epi64(ab_upper, cd_upper),
    ]
}

/// The sums of all words of 16 bits in five vectors, lane by lane, with what is above 16 bits added once more: 0xffff exactly
/// where that of a header is right, as there are ten of them and one is not 0.
#[inline]
#[target_feature(enable = "avx2")]
fn folded_sum(words: [__m256i; 5]) -> __m256i {
    let mut sum = _mm256_set1_epi32(10 << 15);
    for words in words {
        // The instruction that adds up pairs takes them to be signed: each less 2^15 is.
        let signed = _mm256_xor_si256(words, _mm256_set1_epi16(i16::MIN));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(signed, _mm256_set1_epi16(1)));
    }
    _mm256_add_epi32(_mm256_and_si256(sum, _mm256_set1_epi32(0xffff)), _mm256_srli_epi32::<16>(sum))
}

/// What has a shuffle put these bytes of each word in the place of its own; zero for -1.
#[inline]
#[target_feature(enable = "avx2")]
fn bytes_of_words([a, b, c, d]: [i8; 4]) -> __m256i {
    let of = |word: i8, byte: i8| if byte < 0 { -1 } else { 4 * word + byte };
    let half = _mm_setr_epi8(
        of(0, a),
        of(0, b),
        of(0, c),
        of(0, d),
        of(1, a),
        of(1, b),
        of(1, c),
        of(1, d),
        of(2, a),
        of(2, b),
        of(2, c),
        of(2, d),
        of(3, a),
        of(3, b),
        of(3, c),
        of(3, d),
    );
    _mm256_broadcastsi128_si256(half)
}

/// A bit for each lane that is all ones.
#[inline]
#[target_feature(enable = "avx2")]
fn bits(lanes: __m256i) -> u32 {
    _mm256_movemask_ps(_mm256_castsi256_ps(lanes)).cast_unsigned()
}

#[inline]
#[target_feature(enable = "avx2")]
fn longest(lengths: &[u16; BURST]) -> u16 {
    // SAFETY: the first 16 integers of 16 bits of 32 are loaded; no alignment is needed.
    let lower = unsafe { _mm256_loadu_si256(lengths.as_ptr().cast()) };
    // SAFETY: the others.
    let upper = unsafe { _mm256_loadu_si256(lengths.as_ptr().wrapping_add(16).cast()) };
    let longest = _mm256_max_epu16(lower, upper);
    let longest = _mm_max_epu16(_mm256_castsi256_si128(longest), _mm256_extracti128_si256::<1>(longest));
    // The instruction finds the least.
    let least = _mm_minpos_epu16(_mm_xor_si128(longest, _mm_set1_epi16(-1)));
    !(_mm_extract_epi16::<0>(least) as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::ethernet::HEADER_LEN;
    use crate::packet::ipv4::tests::{packet, seal};
    use crate::packet::ipv4::{Plain, decrement_ttl};

    const STATION: [u8; 6] = [2, 0, 0, 0, 0, 9];

    /// Frames that hold a plain packet, or nearly.
    fn frame() -> impl Strategy<Value = (Vec<u8>, u16)> {
        let byte = prop_oneof![any::<u8>(), Just(0), Just(1), Just(127), Just(223), Just(224), Just(0xff)];
        let change = prop_oneof![
            4 => Just(None),
            3 => (0..Starts::LEN, byte.clone()).prop_map(Some),
            // First bytes of addresses, TTL, upper and lower byte of the length.
            3 => (prop_oneof![Just(26usize), Just(30), Just(22), Just(16), Just(17)], byte).prop_map(Some),
        ];
        let id = prop_oneof![any::<u16>(), Just(0)];
        (change, prop::bool::weighted(0.8), id, 28..70u8, 0..6u16).prop_map(|(change, sealed, id, length, behind)| {
            let mut frame = [&STATION[..], &[2, 0, 0, 0, 0, 7, 8, 0], &packet()].concat();
            frame.resize(Starts::LEN.max(HEADER_LEN + usize::from(length)), 0);
            frame[17] = length;
            frame[18..20].copy_from_slice(&id.to_be_bytes());
            if let Some((at, byte)) = change {
                frame[at] = byte;
            }
            if sealed {
                seal(&mut frame[HEADER_LEN..]);
            }
            // One less than the packet has, as many, or more.
            let total = frame.len() as u16 - 1 + behind;
            (frame, total.max(Starts::LEN as u16))
        })
    }

    proptest! {
        #[test]
        fn a_burst_is_seen_as_its_packets_are_one_by_one(
            frames in prop::collection::vec(frame(), 0..=BURST),
            but in prop_oneof![Just(u32::MAX), Just(u32::from(0x5a5a_u16)), Just(0)],
        ) {
            let mut firsts: Vec<[u8; Starts::LEN]> =
                frames.iter().map(|(frame, _)| *frame.first_chunk().expect("long enough")).collect();
            let before = firsts.clone();
            let starts: Vec<&mut [u8; Starts::LEN]> = firsts.iter_mut().collect();
            let mut lengths = [0; BURST];
            lengths.iter_mut().zip(&frames).for_each(|(to, (_, length))| *to = *length);
            let mut seen = Starts::default();
            if !seen.look(&starts, &lengths, STATION, but) {
                return Ok(());
            }
            prop_assert_eq!(seen.longest, lengths.iter().copied().max().unwrap_or(0));
            prop_assert_eq!(u64::from(seen.plain) >> frames.len(), 0, "bits of frames that are not there");
            prop_assert_eq!(seen.padded & !seen.plain, 0, "what ends where is known of plain ones only");
            for (at, (start, length)) in before.iter().zip(lengths).enumerate() {
                let (header, packet) = start.split_first_chunk::<HEADER_LEN>().expect("long enough");
                let is_for_us = header.starts_with(&STATION) && header.ends_with(&[8, 0]);
                let mut packet: [u8; Plain::START] = *packet.first_chunk().expect("long enough");
                let expected = Plain::of_start(&packet, usize::from(length) - HEADER_LEN, but).filter(|_| is_for_us);
                let is_plain = seen.plain >> at & 1 == 1;
                if header.ends_with(&[8, 0]) {
                    prop_assert_eq!(&seen.destinations[at].to_be_bytes()[..], &packet[16..20]);
                }
                prop_assert_eq!(is_plain, expected.is_some(), "frame {}: {:x?} of {}", at, start, length);
                let Some(plain) = expected else { continue };
                prop_assert_eq!(seen.destinations[at], plain.dst);
                prop_assert_eq!(seen.padded >> at & 1 == 1, usize::from(plain.total_len) + HEADER_LEN < usize::from(length));
                decrement_ttl(&mut packet);
                prop_assert_eq!(&seen.counted_down[at], &packet[8..12]);
            }
        }
    }

    #[test]
    fn every_checksum_is_accepted_and_counted_down_as_that_of_one_packet() {
        let mut frame = [&STATION[..], &[2, 0, 0, 0, 0, 7, 8, 0], &packet()].concat();
        frame.resize(Starts::LEN.max(frame.len()), 0);
        for wrong in [0u16, 1, 0xfffe, 0xffff] {
            for first in (0..=u16::MAX).step_by(BURST) {
                let mut firsts = [[0; Starts::LEN]; BURST];
                for (id, start) in (first..=u16::MAX).zip(&mut firsts) {
                    let mut frame = frame.clone();
                    frame[18..20].copy_from_slice(&id.to_be_bytes());
                    seal(&mut frame[HEADER_LEN..]);
                    let sum = u16::from_be_bytes([frame[24], frame[25]]).wrapping_add(wrong);
                    frame[24..26].copy_from_slice(&sum.to_be_bytes());
                    *start = *frame.first_chunk().expect("long enough");
                }
                let before = firsts;
                let starts: Vec<&mut [u8; Starts::LEN]> = firsts.iter_mut().collect();
                let mut seen = Starts::default();
                if !seen.look(&starts, &[200; BURST], STATION, u32::MAX) {
                    return;
                }
                for (at, start) in before.iter().enumerate() {
                    let mut packet: [u8; Plain::START] = *start[HEADER_LEN..].first_chunk().expect("long enough");
                    let expected = Plain::of_start(&packet, 200 - HEADER_LEN, u32::MAX);
                    assert_eq!(seen.plain >> at & 1 == 1, expected.is_some(), "{start:x?}");
                    decrement_ttl(&mut packet);
                    assert!(expected.is_none() || seen.counted_down[at] == packet[8..12], "{start:x?}");
                }
            }
        }
    }
}
