//! What pooling asks of plain IPv6 packets (see [`ipv6_plain`](crate::packet::ipv6_plain)), of those of a burst one by one: four
//! times as many bytes of address as IPv4 packets have leave little to vectors.
//!
//! It says of each packet what [`StreamFields`] and [`detect`] say.

use super::flow_hash::FlowSeed;
use super::open_pools::PoolKey;
use super::plain_burst::PlainLooks;
use super::rule::RuleSet;
use super::shortcut::Question;
use super::stream_detector::{Detected, Ordinary, StreamFields, detect};
use crate::fib::PathIndex;
use crate::packet::ipv6_plain::START;

/// A plain IPv6 packet, and what is known of its way.
pub struct Plain6<'a> {
    /// How it begins.
    pub start: &'a [u8; START],
    /// The path that it can be pooled on, where there is one.
    pub path: Option<PathIndex>,
    /// The longest packet that the link takes, in bytes.
    pub mtu: u16,
}

/// Looks at packets, of each of which nothing is said where there is None. What is seen goes to `looks`, where nothing was seen
/// before.
#[inline]
pub fn look_at_plain6<'a>(
    packets: impl Iterator<Item = Option<Plain6<'a>>>,
    rules: &RuleSet,
    seed: FlowSeed,
    buckets: u8,
    looks: &mut PlainLooks,
) {
    let mut last = Question::NONE;
    for (position, packet) in packets.enumerate() {
        let asked = packet.and_then(|packet| look_at_one(position, packet, rules, seed, buckets, looks));
        if let Some(question) = asked
            && question == last
        {
            looks.alike |= 1 << position;
        }
        last = asked.unwrap_or(Question::NONE);
    }
}

/// Returns what the packet asks, if it may board a pool.
#[inline(always)]
fn look_at_one(
    position: usize,
    Plain6 { start, path, mtu }: Plain6<'_>,
    rules: &RuleSet,
    seed: FlowSeed,
    buckets: u8,
    looks: &mut PlainLooks,
) -> Option<Question> {
    let fields = StreamFields::of_plain6(start, seed);
    if fields.length > mtu {
        return None;
    }
    let bit = 1u32.checked_shl(position as u32)?;
    match path.map(|path| (path, detect(rules, &fields))) {
        Some((path, Detected::Stream(rule))) => {
            let bucket = PoolKey::bucket_of(fields.flow, buckets);
            let question = Question::new(path, rule, fields.tos(), (bucket, true), mtu);
            looks.boards |= bit;
            looks.note(position, question, (fields.flow, fields.pair));
            Some(question)
        }
        detected => {
            looks.free |= bit;
            if matches!(detected, Some((_, Detected::Ordinary(Ordinary::TooLarge(_))))) {
                looks.too_large |= bit;
            }
            looks.note(position, Question::NONE, (fields.flow, fields.pair));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::plain_burst::BURST;
    use super::super::rule::{Match, Rule};
    use super::*;
    use crate::packet::Ipv6Header;

    const SEED: FlowSeed = FlowSeed(0x0123_4567_89ab_cdef);

    fn rules(max_size: u16, pool: bool) -> RuleSet {
        let matches = [
            Match { destination_ports: Some(7..=9), protocol: Some(17), ..Match::default() },
            Match { source: Some("2001:db8::1/128".parse().expect("a prefix")), ..Match::default() },
            Match { protocol: Some(58), ..Match::default() },
        ];
        let rule = |(number, matcher): (usize, Match)| Rule {
            max_size: if number == 0 { max_size } else { 60 },
            pool: pool || number != 1,
            ..Rule::new(number.to_string(), matcher)
        };
        RuleSet::new(matches.into_iter().enumerate().map(rule).collect()).expect("sound rules")
    }

    /// A packet with few values of everything, and its way.
    fn packet() -> impl Strategy<Value = (Vec<u8>, Option<(Option<u16>, u16)>)> {
        let fields = (prop::sample::select(vec![17u8, 17, 17, 6, 58, 59]), 0u8..2, 0u16..3, 5u8..11, 44u16..90);
        let way = prop::option::weighted(0.9, (prop::option::weighted(0.8, 0u16..2), 60u16..90));
        let class = prop::sample::select(vec![0xb8u8, 0xb8, 0, 1]);
        (fields, class, way).prop_map(|((next_header, source, to, port, length), traffic_class, way)| {
            let header = Ipv6Header {
                traffic_class,
                flow_label: 0,
                payload_len: length - 40,
                next_header,
                hop_limit: 64,
                src: std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, source.into()),
                dst: std::net::Ipv6Addr::new(0x2001, 0xdb8, to, 0, 0, 0, 0, 9),
            };
            let mut packet = vec![0; length.into()];
            header.write(packet.first_chunk_mut().expect("long enough"));
            packet[40..44].copy_from_slice(&[0, 5, 0, port]);
            (packet, way)
        })
    }

    proptest! {
        #[test]
        fn of_each_packet_it_says_what_is_said_of_it_alone(
            packets in prop::collection::vec(packet(), 0..=BURST), max_size in 40u16..90, pool: bool,
            buckets in prop_oneof![Just(1u8), 2u8..=64],
        ) {
            let rules = rules(max_size, pool);
            let plain = packets.iter().map(|(packet, way)| {
                let start = packet.first_chunk().expect("long enough");
                way.map(|(path, mtu)| Plain6 { start, path: path.map(PathIndex), mtu })
            });
            let mut looks = PlainLooks::none();
            look_at_plain6(plain, &rules, SEED, buckets, &mut looks);
            let mut last = None;
            for (at, (packet, way)) in packets.iter().enumerate() {
                let has = |bits: u32| bits >> at & 1 == 1;
                let fields = StreamFields::read(packet, SEED).expect("a whole packet");
                let known = way.filter(|(_, mtu)| packet.len() <= usize::from(*mtu));
                let detected = known.and_then(|(path, _)| Some((path?, detect(&rules, &fields))));
                let asked = match (known, detected) {
                    (Some((_, mtu)), Some((path, Detected::Stream(rule)))) => {
                        let bucket = PoolKey::bucket_of(fields.flow, buckets);
                        Some(Question::new(PathIndex(path), rule, fields.tos(), (bucket, true), mtu))
                    }
                    _ => None,
                };
                let too_large = matches!(detected, Some((_, Detected::Ordinary(Ordinary::TooLarge(_)))));
                let expected = (asked.is_some(), known.is_some() && asked.is_none(), too_large, asked.is_some() && asked == last);
                prop_assert_eq!((has(looks.boards), has(looks.free), has(looks.too_large), has(looks.alike)), expected, "{}", at);
                if asked.is_some() {
                    prop_assert_eq!(looks.question(at), asked, "{}", at);
                }
                if known.is_some() {
                    prop_assert_eq!(looks.hashes[at], (fields.flow, fields.pair), "{}", at);
                }
                last = asked;
            }
        }
    }
}
