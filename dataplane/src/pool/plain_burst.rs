//! What pooling asks of [plain](crate::packet::ipv4::Plain) packets, of eight at a time and without a branch for any of them.
//!
//! It says of each packet what [`StreamFields`](super::StreamFields) and [`detect`](super::detect) say.

use super::flow_hash::{FlowKeys, FlowSeed, hashes_of_lanes};
use super::open_pools::PoolKey;
use super::packet_pooler::{Crowd, Queue};
use super::rule::RuleSet;
use super::rule_table::PARTS;
use super::shortcut::{Question, Way};
use super::stream_detector::PROTOCOLS_WITH_PORTS;
use crate::arch::lanes::{Form, LANES, Lanes, Work};

/// The most packets of a burst: one for each bit of a word.
pub const BURST: usize = u32::BITS as usize;

/// So many packets that ask the same board faster together than each by itself.
const RUN: usize = 4;

/// The bytes of a packet that are looked at: a header without options, and ports.
pub const START: usize = 24;

/// More fragments and fragment offset, in the little-endian word they are in.
const FRAGMENT: u32 = 0xff3f << 16;

/// The packets of a burst.
pub struct PlainBurst<'a> {
    /// How each begins.
    pub starts: [&'a [u8; START]; BURST],
    /// By which way each leaves: its [word](Way::word).
    pub ways: [u64; BURST],
    /// How many there are.
    pub count: usize,
}

/// What was seen of the packets of a burst: a bit for each packet, the first one's the lowest, or a word for each.
pub struct PlainLooks {
    /// That may board a pool.
    pub boards: u32,
    /// Of these, that ask what the one right before them asks, which boards as well.
    pub alike: u32,
    /// That are to be forwarded as they are.
    pub free: u32,
    /// Of these, that are too large for their rule.
    pub too_large: u32,
    /// What those that may board ask.
    questions: [u64; BURST],
    /// The hashes of those that may board or are free, by flow and by pair.
    pub hashes: [(u32, u32); BURST],
}

/// What rules ask about, and how long a packet is.
#[derive(Default)]
pub(super) struct Asked<L> {
    /// As a little-endian word of what is on the wire.
    pub source: L,
    /// Likewise.
    pub destination: L,
    /// Source in the upper half, destination in the lower; zero where there are none.
    pub ports: L,
    /// Its [class word](super::class_word).
    pub class: L,
    /// In bytes.
    pub length: L,
}

/// What rules say of a packet: the number of the one that it may board by, or one of these.
pub(super) mod verdict {
    /// It is no stream packet.
    pub const ORDINARY: u32 = 1 << 16;
    /// It is too large for its rule.
    pub const TOO_LARGE: u32 = 1 << 17;
}

/// What a rule says of packets that fit it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admits {
    /// Bytes of the longest that it is for. Others are [too large](verdict::TOO_LARGE).
    pub most: u32,
    /// Of those.
    pub says: u32,
}

impl Admits {
    /// All are ordinary packets.
    pub const ALL: Admits = Admits { most: u32::MAX, says: verdict::ORDINARY };
}

/// What [`RuleSet::verdicts`] keeps of the packets before those it is called for.
pub(super) struct Before<L> {
    /// The sets that they are in by each part.
    pub parts: [L; PARTS],
    /// All bits but the lowest where there were none.
    pub is_known: u32,
    /// What the rule of the last one of them says.
    pub last: Admits,
}

impl<'a> PlainBurst<'a> {
    /// With no packet.
    pub fn empty() -> PlainBurst<'a> {
        PlainBurst { starts: [&[0; START]; BURST], ways: [Way::UNKNOWN.word(); BURST], count: 0 }
    }
}

impl PlainLooks {
    /// Nothing was seen.
    pub fn none() -> PlainLooks {
        PlainLooks { boards: 0, alike: 0, free: 0, too_large: 0, questions: [0; BURST], hashes: [(0, 0); BURST] }
    }

    /// The packets from `first` on that board one after the other, up to so many that ask the same that they are to board as a
    /// [run](PlainLooks::run).
    #[inline(always)]
    pub fn crowd(&self, first: usize) -> Crowd<'_> {
        let in_a_row = (1..RUN).fold(u32::MAX, |runs, behind| runs & self.alike >> behind);
        let runs = in_a_row.checked_shr(first as u32).unwrap_or(0);
        let boards = self.boards.checked_shr(first as u32).unwrap_or(0);
        let end = first + boards.trailing_ones().min(runs.trailing_zeros()) as usize;
        Crowd {
            questions: self.questions.get(first..end).unwrap_or_default(),
            hashes: self.hashes.get(first..end).unwrap_or_default(),
        }
    }

    /// The packets from `first` on that ask the same, where they are as many as board faster together than each by itself.
    #[inline(always)]
    pub fn run(&self, first: usize) -> Option<Queue<'_>> {
        // Behind it; at the end a zero was shifted in.
        let more = (self.alike.checked_shr(first as u32 + 1).unwrap_or(0)).trailing_ones() as usize;
        if more + 1 < RUN {
            return None;
        }
        Some(Queue { question: self.question(first)?, hashes: self.hashes.get(first..=first + more)? })
    }

    /// Notes what was seen of the packet at this position.
    #[inline(always)]
    pub(super) fn note(&mut self, position: usize, question: Question, hashes: (u32, u32)) {
        if let (Some(asked), Some(place)) = (self.questions.get_mut(position), self.hashes.get_mut(position)) {
            (*asked, *place) = (question.word(), hashes);
        }
    }

    /// What the packet at this position asks, if it may board.
    #[inline(always)]
    pub fn question(&self, position: usize) -> Option<Question> {
        self.questions.get(position).map(|word| Question::of_word(*word))
    }
}

/// A look at all packets of a burst.
pub struct Look<'a> {
    /// These.
    pub burst: &'a PlainBurst<'a>,
    /// A bit for each that is not plain: nothing is said of it.
    pub special: u32,
    /// By these rules.
    pub rules: &'a RuleSet,
    /// What hashes are made with.
    pub seed: FlowSeed,
    /// How many flow buckets there are.
    pub buckets: u8,
    /// What is seen goes here; nothing was seen before.
    pub looks: &'a mut PlainLooks,
}

impl Work for Look<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Form>(self, form: F) {
        let Look { burst, special, rules, seed, buckets, looks } = self;
        let keys = seed.keys();
        let groups = burst.starts.as_chunks().0.iter().zip(burst.ways.as_chunks().0);
        let places = looks.questions.as_chunks_mut().0.iter_mut().zip(looks.hashes.as_chunks_mut().0);
        let mut before = Before { parts: [form.splat(0); PARTS], is_known: !1, last: Admits::ALL };
        let (mut last, mut shift, mut same) = ([form.splat(0); 2], 0, 0);
        for ((starts, ways), (questions, hashes)) in groups.zip(places).take(burst.count.div_ceil(LANES)) {
            let [way, path] = form.load_halves(ways);
            let fields = Fields::read(form, starts, keys);
            fields.flow.store_pairs(fields.pair, hashes);
            // Of masks that are not stored, the upper bit counts.
            let fits = fields.asked.length.at_most(way.shr::<16>());
            let free = fits & fields.fragment.is(form.splat(0)) & Way::known(way);
            let pools = free & Way::pools(way);
            let verdict = rules.verdicts(form, &fields.asked, pools.bits() & !(special >> shift), &mut before);
            let boards = pools & verdict.at_most(form.splat(verdict::ORDINARY - 1));
            let too_large = pools & verdict.is(form.splat(verdict::TOO_LARGE));
            let bucket = PoolKey::bucket_of_lanes(form, fields.flow, buckets);
            let question = Question::of_lanes(form, [way, path], verdict, fields.tos, bucket);
            let [lower, upper] = question;
            lower.store_under(upper, questions);
            let [last_lower, last_upper] = last;
            same |= (lower.is(lower.after(last_lower)) & upper.is(upper.after(last_upper))).bits() << shift;
            looks.boards |= boards.bits() << shift;
            looks.free |= free.bits() << shift;
            looks.too_large |= too_large.bits() << shift;
            last = question;
            shift += LANES as u32;
        }
        looks.boards &= !special;
        looks.alike = looks.boards & looks.boards << 1 & same;
        looks.free &= !(special | looks.boards);
        looks.too_large &= !special;
    }
}

/// What is read of eight packets.
pub(super) struct Fields<L> {
    asked: Asked<L>,
    /// Zero where it is no fragment.
    pub fragment: L,
    /// DSCP and ECN.
    tos: L,
    pub flow: L,
    pair: L,
}

impl<L: Lanes> Fields<L> {
    /// A bit for each packet whose flow they tell: it is no fragment, and so long that ports are its own.
    #[inline(always)]
    pub fn tell_flow(&self, form: impl Form<Lanes = L>) -> u32 {
        let is_short = self.asked.length.at_most(form.splat(START as u32 - 1));
        self.fragment.is(form.splat(0)).bits() & !is_short.bits()
    }

    #[inline(always)]
    pub fn read(form: impl Form<Lanes = L>, starts: &[&[u8; START]; LANES], keys: FlowKeys) -> Fields<L> {
        let [first, second, third, source, destination, ports] = form.load_columns(starts);
        let byte = form.splat(0xff);
        let (tos, protocol) = (first.shr::<8>() & byte, third.shr::<8>() & byte);
        let mut has_ports = form.splat(0);
        for with in PROTOCOLS_WITH_PORTS {
            has_ports = has_ports | protocol.is(form.splat(with.into()));
        }
        let ports = ports & has_ports;
        let (flow, pair) = hashes_of_lanes(form, keys, [source, destination, ports], protocol);
        let class = protocol | (tos & form.splat(0xfc)).shl::<6>() | has_ports & form.splat(1 << 14);
        let length = first.swap_bytes() & form.splat(0xffff);
        Fields {
            asked: Asked { source, destination, ports: ports.swap_bytes(), class, length },
            fragment: second & form.splat(FRAGMENT),
            tos,
            flow,
            pair,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rule::{Dscp, Match, Rule, RuleIndex};
    use super::super::stream_detector::{Detected, Ordinary, StreamFields, detect};
    use super::*;
    use crate::arch::lanes::Vectors;
    use crate::fib::PathIndex;

    const SEED: FlowSeed = FlowSeed(0x0123_4567_89ab_cdef);

    fn rules(count: usize, max_size: u16, pool: bool) -> RuleSet {
        let nets = |source: &str, destination: &str| Match {
            source: Some(source.parse().expect("a prefix")),
            destination: Some(destination.parse().expect("a prefix")),
            ..Match::default()
        };
        let matches = [
            Match { destination_ports: Some(7..=9), protocol: Some(17), ..Match::default() },
            Match { source_ports: Some(0..=2), dscp: Dscp::new(46), ..Match::default() },
            nets("10.0.0.0/31", "0.0.0.0/0"),
            nets("0.0.0.0/0", "10.0.0.2/32"),
            Match { protocol: Some(6), ..Match::default() },
            Match { dscp: Dscp::new(0), ..Match::default() },
        ];
        let rule = |(number, matcher): (usize, Match)| Rule {
            max_size: if number % 2 == 0 { max_size } else { 60 },
            pool: pool || number % 3 != 0,
            ..Rule::new(number.to_string(), matcher)
        };
        RuleSet::new(matches.into_iter().enumerate().map(rule).take(count).collect()).expect("sound rules")
    }

    /// A packet with few values of everything, and its way.
    fn packet() -> impl Strategy<Value = (Vec<u8>, Option<(Option<u16>, u16)>)> {
        let fields = (
            prop_oneof![8 => Just(17u8), 1 => any::<u8>(), 1 => Just(6u8)],
            prop_oneof![8 => Just(0u16), 2 => Just(0x4000u16), 1 => any::<u16>()],
            prop_oneof![3 => Just(46u8 << 2), 1 => Just(0), 1 => any::<u8>()],
            (
                0u8..3,
                0u8..3,
                0u8..3,
                6u8..11,
                prop_oneof![6 => Just([10u8, 0]), 1 => Just([10, 1]), 1 => Just([11, 0])],
            ),
            24u16..90,
        );
        let mtu = prop_oneof![3 => Just(80u16), 1 => 60u16..90];
        let way = prop::option::weighted(0.9, (prop::option::weighted(0.8, 0u16..2), mtu));
        (fields, way).prop_map(|((protocol, fragment, tos, (source, destination, from, to, net), length), way)| {
            let mut packet = vec![0; usize::from(length)];
            (packet[0], packet[1], packet[8], packet[9]) = (0x45, tos, 64, protocol);
            packet[2..4].copy_from_slice(&length.to_be_bytes());
            packet[6..8].copy_from_slice(&fragment.to_be_bytes());
            packet[12..16].copy_from_slice(&[net[0], net[1], 0, source]);
            packet[16..20].copy_from_slice(&[10, net[1], 0, destination]);
            packet[20..24].copy_from_slice(&[0, from, 0, to]);
            (packet, way)
        })
    }

    proptest! {
        #[test]
        fn of_each_packet_it_says_what_is_said_of_it_alone(
            packets in prop::collection::vec(packet(), 0..=BURST), special: u32, count in 0usize..=6, max_size in 20u16..90,
            pool: bool, buckets in prop_oneof![Just(1u8), 2u8..=64],
        ) {
            let rules = rules(count, max_size, pool);
            let mut burst = PlainBurst::empty();
            burst.count = packets.len();
            for (at, (packet, way)) in packets.iter().enumerate() {
                burst.starts[at] = packet.first_chunk().expect("long enough");
                let way = way.map_or(Way::UNKNOWN, |(path, mtu)| Way::new(path.map(PathIndex), mtu));
                burst.ways[at] = way.word();
            }
            for form in Vectors::available() {
                let mut looks = PlainLooks::none();
                form.run(Look { burst: &burst, special, rules: &rules, seed: SEED, buckets, looks: &mut looks });
                let mut last = None;
                for at in 0..BURST {
                    let has = |bits: u32| bits >> at & 1 == 1;
                    let said = (has(looks.boards), has(looks.free), has(looks.too_large), has(looks.alike));
                    let known = packets.get(at).filter(|_| !has(special)).and_then(|(packet, way)| Some((packet, (*way)?)));
                    let fields = known.map(|(packet, _)| StreamFields::read(packet, SEED).expect("a whole packet"));
                    let (Some((packet, (path, mtu))), Some(fields)) = (known, fields) else {
                        prop_assert_eq!(said, (false, false, false, false), "{}", at);
                        last = None;
                        continue;
                    };
                    let closer = fields.is_fragment || packet.len() > usize::from(mtu);
                    let detected = path.filter(|_| !closer).map(|path| (path, detect(&rules, &fields)));
                    let asked = match detected {
                        Some((path, Detected::Stream(RuleIndex(rule)))) => {
                            let bucket = PoolKey::bucket_of(fields.flow, buckets);
                            Some(Question::new(PathIndex(path), RuleIndex(rule), fields.tos(), (bucket, false), mtu))
                        }
                        _ => None,
                    };
                    let too_large = matches!(detected, Some((_, Detected::Ordinary(Ordinary::TooLarge(_)))));
                    let alike = asked.is_some() && asked == last;
                    prop_assert_eq!(said, (asked.is_some(), !closer && asked.is_none(), too_large, alike), "{} {:?}", at, form);
                    if asked.is_some() {
                        prop_assert_eq!(looks.question(at), asked, "{} {:?}", at, form);
                    }
                    if !closer {
                        prop_assert_eq!(looks.hashes[at], (fields.flow, fields.pair), "{} {:?}", at, form);
                    }
                    last = asked;
                }
            }
        }
    }

    /// Rules of which there are several tables, rules of the other family, and ranges of ports that meet.
    fn many(count: usize, ipv6: bool) -> RuleSet {
        let matcher = |number: usize| {
            let low = number as u8;
            match number % 5 {
                0 if ipv6 => Match { source: Some("2001:db8::/32".parse().expect("a prefix")), ..Match::default() },
                0 | 1 => Match {
                    destination: Some(format!("10.0.{}.0/24", low / 5).parse().expect("a prefix")),
                    ..Match::default()
                },
                2 => Match {
                    source_ports: Some(number as u16 % 3..=number as u16 % 4 + 2),
                    destination_ports: Some(6 + number as u16 % 3..=8 + number as u16 % 3),
                    dscp: Dscp::new(low % 64),
                    ..Match::default()
                },
                3 => Match { protocol: Some(low), ..Match::default() },
                _ => Match {
                    source: Some(format!("10.0.0.{}/32", low % 7).parse().expect("a prefix")),
                    destination_ports: Some(9..=9 + number as u16),
                    ..Match::default()
                },
            }
        };
        let rule = |number: usize| Rule {
            max_size: 30 + (number * 7 % 60) as u16,
            pool: number % 4 != 3,
            ..Rule::new(number.to_string(), matcher(number))
        };
        RuleSet::new((0..count).map(rule).collect()).expect("sound rules")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn of_each_packet_it_says_what_many_rules_say_of_it_alone(
            packets in prop::collection::vec(packet(), 0..=BURST), special: u32, seed: u64,
            count in prop_oneof![1usize..=4, 5usize..40, Just(256usize), 257usize..300, Just(600usize)], ipv6: bool,
        ) {
            let rules = many(count, ipv6);
            let mut burst = PlainBurst::empty();
            burst.count = packets.len();
            for (at, (packet, way)) in packets.iter().enumerate() {
                burst.starts[at] = packet.first_chunk().expect("long enough");
                burst.ways[at] = way.map_or(Way::UNKNOWN, |(path, mtu)| Way::new(path.map(PathIndex), mtu)).word();
            }
            let seed = FlowSeed(seed);
            for form in Vectors::available() {
                let mut looks = PlainLooks::none();
                form.run(Look { burst: &burst, special, rules: &rules, seed, buckets: 1, looks: &mut looks });
                for (at, (packet, way)) in packets.iter().enumerate().filter(|(at, _)| special >> at & 1 == 0) {
                    let (boards, large) = (looks.boards >> at & 1 == 1, looks.too_large >> at & 1 == 1);
                    let fields = StreamFields::read(packet, seed).expect("a whole packet");
                    let Some((Some(path), mtu)) = *way else { prop_assert!(!boards && !large); continue };
                    if fields.is_fragment || packet.len() > usize::from(mtu) { prop_assert!(!boards && !large); continue }
                    prop_assert_eq!(looks.hashes[at], (fields.flow, fields.pair));
                    match detect(&rules, &fields) {
                        Detected::Stream(rule) => {
                            prop_assert!(boards && !large, "{} {:?}", at, form);
                            let asked = Question::new(PathIndex(path), rule, fields.tos(), (0, false), mtu);
                            prop_assert_eq!(looks.question(at), Some(asked), "{} {:?}", at, form);
                        }
                        Detected::Ordinary(Ordinary::TooLarge(_)) => prop_assert!(!boards && large, "{} {:?}", at, form),
                        Detected::Ordinary(_) => prop_assert!(!boards && !large, "{} {:?}", at, form),
                    }
                }
            }
        }
    }
}
