//! Pooling rules: which packets are stream packets, and how long and with how many others they may wait.
//!
//! The control thread compiles a [`RuleSet`] and publishes it; workers only read it. The first rule whose *match* fits
//! a packet decides. Size and count decide about admission only: a packet that is too large for its rule does not fall
//! through to the next one.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::compiled_match::{Bits, CompiledMatch, LaneMatch, class_word, first_fit, prefix4, prefix6};
use super::path::{MAX_HOPS, SharedHops};
use super::plain_burst::{Admits, Asked, Before, verdict};
use super::representation::{Index, Lone, Representation};
use super::rule_table::{AddressPair, RuleTables};
use super::stream_detector::{Addresses, StreamFields};
use super::window::MAX_WINDOWS;
use crate::arch::TickSpan;
use crate::arch::lanes::{Form, LANES, Lanes};

/// A differentiated services code point (RFC 2474), 0 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Dscp(pub(super) u8);

impl Dscp {
    /// The code point `value`; None above 63.
    pub const fn new(value: u8) -> Option<Dscp> {
        if value < 64 { Some(Dscp(value)) } else { None }
    }

    /// The code point in the upper six bits of an IPv4 TOS byte.
    #[inline(always)]
    pub const fn of_tos(tos: u8) -> Dscp {
        Dscp(tos >> 2)
    }

    /// 0 to 63.
    #[inline(always)]
    pub const fn value(self) -> u8 {
        self.0
    }
}

/// What a packet must look like for a rule to be its rule. What is None fits everything.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Match {
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Source ports. Fits only packets that have ports (TCP, UDP, UDP-Lite, DCCP, SCTP).
    pub source_ports: Option<RangeInclusive<u16>>,
    /// Destination ports: what the configuration calls `ports`. Fits only packets that have ports.
    pub destination_ports: Option<RangeInclusive<u16>>,
    /// Where the packet comes from; a rule that names a prefix is for packets of its family.
    pub source: Option<IpNet>,
    /// Where the packet goes to.
    pub destination: Option<IpNet>,
    /// Its class.
    pub dscp: Option<Dscp>,
}

/// A pooling rule, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What the operator calls it; unique in a set.
    pub name: String,
    /// The packets it is for.
    pub matcher: Match,
    /// False: its packets are never pooled.
    pub pool: bool,
    /// The longest packet it pools, in bytes of IP length.
    pub max_size: u16,
    /// The longest time a packet waits for company. Zero: only what arrives in the same iteration of the worker.
    pub window: TickSpan,
    /// The most packets in one pooled packet, at least 2.
    pub max_count: u8,
    /// A pool that holds fewer when its window ends waits on until it holds so many; 1 for none that waits, at most
    /// `max_count`.
    pub required_count: u8,
    /// The longest time that it waits for them, counted from its first packet; at least `window`.
    pub hold: TickSpan,
    /// Whether a packet leaves at once where the pool's arrival rate says that no company will come within the window.
    pub adaptive: bool,
    /// How much of their ways its packets must share to share a pool.
    pub shared_hops: SharedHops,
    /// The longest pooled packet, in bytes of IP length. None: the path's.
    pub path_mtu: Option<u16>,
    /// What becomes of a packet that no other joined.
    pub lone: Lone,
    /// How its packets travel, where the addressee takes that.
    pub representation: Representation,
    /// Where the index is, where the addressee takes that.
    pub index: Index,
}

impl Rule {
    /// A rule that pools whatever fits `matcher` and arrives in the same iteration of the worker, in whole packets that
    /// go the whole way together; for its other fields to be set as wanted.
    pub fn new(name: impl Into<String>, matcher: Match) -> Rule {
        Rule {
            name: name.into(),
            matcher,
            pool: true,
            max_size: u16::MAX,
            window: TickSpan(0),
            max_count: u8::MAX,
            required_count: 1,
            hold: TickSpan(u64::MAX),
            adaptive: false,
            shared_hops: SharedHops::WholePath,
            path_mtu: None,
            lone: Lone::Itself,
            representation: Representation::Whole,
            index: Index::InBand,
        }
    }

    /// Whether its packets can get out on the way, each where its TTL says: only whole packets behind an index in band
    /// can. If not, all get out at the addressee.
    #[inline(always)]
    pub fn has_ttls(&self) -> bool {
        self.representation == Representation::Whole && self.index == Index::InBand
    }

    /// The longest that one of its pools may wait.
    #[inline(always)]
    pub fn longest_wait(&self) -> TickSpan {
        if self.required_count > 1 { self.hold.max(self.window) } else { self.window }
    }
}

/// The shortest pooled packet: outer headers and two of the shortest packets with their rows.
const SMALLEST_PATH_MTU: u16 = 88;

/// The place of a rule in its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleIndex(pub u16);

/// Why a list of rules is not a rule set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleSetError {
    #[error("{0} rules: at most 65535 are possible")]
    TooManyRules(usize),
    #[error("rule {0:?} is there twice")]
    DuplicateName(String),
    #[error("rule {rule:?}: {end} ports {first}-{last}: the range is empty")]
    EmptyPortRange { rule: String, end: &'static str, first: u16, last: u16 },
    #[error("rule {rule:?}: max_count {max_count}: at least 2 packets share a ride")]
    CountTooSmall { rule: String, max_count: u8 },
    #[error("rule {0:?}: source and destination are of different families: no packet is")]
    MixedFamilies(String),
    #[error("rule {rule:?}: max_size {max_size}: no IP packet is shorter than 20 bytes")]
    SizeTooSmall { rule: String, max_size: u16 },
    #[error("rule {rule:?}: required_count {required_count}: from 1 to max_count, which is {max_count}")]
    RequiredCount { rule: String, required_count: u8, max_count: u8 },
    #[error("rule {0:?}: hold is shorter than the window")]
    HoldTooShort(String),
    #[error("rule {rule:?}: shared_hops {hops}: from 1 to {MAX_HOPS}, or \"path\"")]
    SharedHops { rule: String, hops: u8 },
    #[error("rule {rule:?}: path_mtu {path_mtu}: a pooled packet has at least {SMALLEST_PATH_MTU} bytes")]
    PathMtuTooSmall { rule: String, path_mtu: u16 },
    #[error(
        "rule {0:?}: its window is one more than the {MAX_WINDOWS} different ones that are possible; what is left of hold counts as one"
    )]
    TooManyWindows(String),
}

/// So many rules are compared one after the other: of fewer than five that takes less time than looking them up in tables.
const FEW_RULES: usize = 4;

/// Rules in order of precedence, immutable, in the form a worker compares.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Box<[Rule]>,
    /// Where there are few rules, the match of each for IPv4 packets, apart from the rest so that a scan touches few
    /// cache lines.
    compiled4: Box<[CompiledMatch<u64>]>,
    /// The same for IPv6 packets, whose addresses take four times as much.
    compiled6: Box<[CompiledMatch<[u128; 2]>]>,
    /// The same as `compiled4` for eight packets at once, with what each rule says.
    lanes: Box<[LaneMatch]>,
    /// Where all rules are looked up at once.
    tables: RuleTables,
}

impl RuleSet {
    /// Checks and compiles `rules`, the first of which takes precedence.
    ///
    /// # Errors
    /// See [`RuleSetError`]; the first error found is reported.
    pub fn new(rules: Vec<Rule>) -> Result<RuleSet, RuleSetError> {
        if rules.len() > usize::from(u16::MAX) {
            return Err(RuleSetError::TooManyRules(rules.len()));
        }
        let mut names = HashSet::new();
        let mut windows: Vec<TickSpan> = Vec::new();
        for rule in &rules {
            check(rule)?;
            if !names.insert(&rule.name) {
                return Err(RuleSetError::DuplicateName(rule.name.clone()));
            }
            // Pools that are held wait in a queue of their own.
            let held = (rule.required_count > 1).then(|| TickSpan(rule.hold.0.saturating_sub(rule.window.0)));
            for span in [Some(rule.window), held].into_iter().flatten().filter(|_| rule.pool) {
                if !windows.contains(&span) {
                    windows.push(span);
                }
            }
            if windows.len() > MAX_WINDOWS {
                return Err(RuleSetError::TooManyWindows(rule.name.clone()));
            }
        }
        let few = if rules.len() <= FEW_RULES { &*rules } else { &[] };
        let compiled4: Box<[_]> = few.iter().map(|rule| CompiledMatch::new(&rule.matcher, prefix4)).collect();
        let compiled6 = few.iter().map(|rule| CompiledMatch::new(&rule.matcher, prefix6)).collect();
        let tables = RuleTables::new(&rules);
        let mut set = RuleSet { rules: rules.into(), compiled4, compiled6, lanes: Box::default(), tables };
        let numbered = set.compiled4.iter().zip(0..);
        let lanes = numbered.map(|(compiled, number)| LaneMatch::new(compiled, set.admits(Some(RuleIndex(number)))));
        set.lanes = lanes.collect();
        Ok(set)
    }

    /// The first rule whose match fits the packet. Neither size nor count are looked at.
    #[inline(always)]
    pub fn first_match(&self, fields: &StreamFields) -> Option<RuleIndex> {
        let class = class_word(fields.protocol, fields.dscp, fields.has_ports);
        match fields.addresses {
            Addresses::V4 { source, destination } => {
                self.first_match4(Bits::pair(source, destination), ports_word(fields), class)
            }
            Addresses::V6 { source, destination } => {
                self.first_fit(&self.compiled6, Bits::pair(source, destination), ports_word(fields), class)
            }
        }
    }

    /// The same for an IPv4 packet of which no more is known than what rules ask about: its addresses, the source in the
    /// upper half; its ports, likewise, anything where it has none; and its [`class_word`].
    #[inline(always)]
    pub fn first_match4(&self, addresses: u64, ports: u32, class: u32) -> Option<RuleIndex> {
        self.first_fit(&self.compiled4, addresses, ports, class)
    }

    #[inline(always)]
    fn first_fit<A: Bits + AddressPair>(
        &self,
        compiled: &[CompiledMatch<A>],
        addresses: A,
        ports: u32,
        class: u32,
    ) -> Option<RuleIndex> {
        match first_fit(compiled, addresses, ports, class) {
            Some(position) => u16::try_from(position).ok().map(RuleIndex),
            // Asked last: nothing is compiled for a scan where there are many.
            None if self.rules.len() > FEW_RULES => self.tables.first(addresses, ports, class),
            None => None,
        }
    }

    /// What the rules [say](verdict) of eight packets, behind those that it was called for `before`: of those with a bit in `wanted`.
    #[inline(always)]
    pub(super) fn verdicts<F: Form>(
        &self,
        form: F,
        asked: &Asked<F::Lanes>,
        wanted: u32,
        before: &mut Before<F::Lanes>,
    ) -> F::Lanes {
        const ALL: u32 = (1 << LANES) - 1;
        let wanted = wanted & ALL;
        if wanted == 0 {
            before.is_known = !1;
            return form.splat(verdict::ORDINARY);
        }
        // The last one first, as those before it take precedence.
        if self.rules.len() <= FEW_RULES {
            let mut verdicts = form.splat(verdict::ORDINARY);
            for rule in self.lanes.iter().rev() {
                verdicts = rule.verdicts(form, asked, verdicts);
            }
            return verdicts;
        }
        // Nothing is known of what comes before a packet that rules were not asked about.
        let alike = self.tables.alike(form, asked, &mut before.parts) & before.is_known & (wanted << 1 | 1);
        before.is_known = if wanted >> (LANES - 1) == 1 { u32::MAX } else { !1 };
        let known = alike | !wanted;
        let (most, says) = if known & ALL == ALL {
            let Admits { most, says } = before.last;
            (form.splat(most), form.splat(says))
        } else {
            let mut words = Asked::default();
            asked.source.store(&mut words.source);
            asked.destination.store(&mut words.destination);
            asked.ports.store(&mut words.ports);
            asked.class.store(&mut words.class);
            let (most, says) = self.look_up(&words, known, &mut before.last);
            (form.load(&most), form.load(&says))
        };
        asked.length.at_most(most).choose(says, form.splat(verdict::TOO_LARGE))
    }

    /// What is to be said of packets of how many bytes at most, of eight. Those with a bit in `known` are as the one before, or nobody's
    /// concern; `last` is of the one before them, and becomes that of their last.
    #[inline(never)]
    fn look_up(&self, asked: &Asked<[u32; LANES]>, known: u32, last: &mut Admits) -> ([u32; LANES], [u32; LANES]) {
        let (mut most, mut says) = ([0; LANES], [0; LANES]);
        for at in 0..LANES {
            if known >> at & 1 == 0 {
                let addresses: u64 = Bits::pair(u32::from_be(asked.source[at]), u32::from_be(asked.destination[at]));
                *last = self.admits(self.tables.first(addresses, asked.ports[at], asked.class[at]));
            }
            (most[at], says[at]) = (last.most, last.says);
        }
        (most, says)
    }

    /// What the rule at `index` says, or no rule.
    #[inline(always)]
    fn admits(&self, index: Option<RuleIndex>) -> Admits {
        match index.and_then(|index| Some((index, self.get(index)?))) {
            Some((index, rule)) if rule.pool => Admits { most: rule.max_size.into(), says: index.0.into() },
            _ => Admits::ALL,
        }
    }

    /// Whether a packet of this one's flow may be pooled, were it of any size and class: false where none can be. The same for
    /// all packets of a flow; its fragments, which do not tell their ports, count as if they had those of a rule.
    pub fn may_pool_flow(&self, fields: &StreamFields) -> bool {
        let class = class_word(fields.protocol, fields.dscp, fields.has_ports);
        let ports = ports_word(fields);
        let decisive = match fields.addresses {
            Addresses::V4 { source, destination } => {
                let addresses: u64 = Bits::pair(source, destination);
                self.tables.first_of_flow(addresses, ports, class, fields.is_fragment)
            }
            Addresses::V6 { source, destination } => {
                self.tables.first_of_flow([source, destination], ports, class, fields.is_fragment)
            }
        };
        decisive.and_then(|index| self.get(index)).is_some_and(|rule| rule.pool)
    }

    /// The rule at `index`; None where the index is from another set.
    #[inline(always)]
    pub fn get(&self, index: RuleIndex) -> Option<&Rule> {
        self.rules.get(usize::from(index.0))
    }

    /// All rules in order of precedence.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What the tables take in which all rules are looked up at once, in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.tables.memory()
    }

    /// Whether there is no rule, so that no packet can be a stream packet.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// Source and destination port in one word.
#[inline(always)]
fn ports_word(fields: &StreamFields) -> u32 {
    u32::from(fields.source_port) << 16 | u32::from(fields.destination_port)
}

fn check(rule: &Rule) -> Result<(), RuleSetError> {
    if rule.max_count < 2 {
        return Err(RuleSetError::CountTooSmall { rule: rule.name.clone(), max_count: rule.max_count });
    }
    if rule.max_size < 20 {
        return Err(RuleSetError::SizeTooSmall { rule: rule.name.clone(), max_size: rule.max_size });
    }
    if let (Some(source), Some(destination)) = (rule.matcher.source, rule.matcher.destination)
        && source.addr().is_ipv4() != destination.addr().is_ipv4()
    {
        return Err(RuleSetError::MixedFamilies(rule.name.clone()));
    }
    let name = || rule.name.clone();
    if !(1..=rule.max_count).contains(&rule.required_count) {
        let (required_count, max_count) = (rule.required_count, rule.max_count);
        return Err(RuleSetError::RequiredCount { rule: name(), required_count, max_count });
    }
    if rule.hold < rule.window {
        return Err(RuleSetError::HoldTooShort(name()));
    }
    if let SharedHops::AtLeast(hops) = rule.shared_hops
        && !(1..=MAX_HOPS).contains(&usize::from(hops))
    {
        return Err(RuleSetError::SharedHops { rule: name(), hops });
    }
    if let Some(path_mtu) = rule.path_mtu.filter(|path_mtu| *path_mtu < SMALLEST_PATH_MTU) {
        return Err(RuleSetError::PathMtuTooSmall { rule: name(), path_mtu });
    }
    let ends = [("source", &rule.matcher.source_ports), ("destination", &rule.matcher.destination_ports)];
    for (end, ports) in ends {
        if let Some(ports) = ports
            && ports.is_empty()
        {
            let (first, last) = (*ports.start(), *ports.end());
            return Err(RuleSetError::EmptyPortRange { rule: rule.name.clone(), end, first, last });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, matcher: Match) -> Rule {
        Rule { max_size: 300, window: TickSpan(1000), max_count: 10, ..Rule::new(name, matcher) }
    }

    fn fields(source: [u8; 4], destination: [u8; 4], protocol: u8, ports: Option<(u16, u16)>) -> StreamFields {
        let (source_port, destination_port) = ports.unwrap_or((0, 0));
        StreamFields {
            addresses: Addresses::V4 {
                source: u32::from_be_bytes(source),
                destination: u32::from_be_bytes(destination),
            },
            protocol,
            has_ports: ports.is_some(),
            source_port,
            destination_port,
            dscp: Dscp(46),
            ecn: 0,
            length: 100,
            is_fragment: false,
            flow: 0,
            pair: 0,
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let narrow = Match { protocol: Some(17), destination_ports: Some(5000..=5009), ..Match::default() };
        let wide = Match { protocol: Some(17), ..Match::default() };
        let rules = RuleSet::new(vec![rule("narrow", narrow), rule("wide", wide)]).expect("a sound set");
        let at = |port| rules.first_match(&fields([10, 0, 0, 1], [10, 0, 0, 2], 17, Some((1, port))));
        assert_eq!(at(4999), Some(RuleIndex(1)));
        assert_eq!(at(5000), Some(RuleIndex(0)));
        assert_eq!(at(5009), Some(RuleIndex(0)));
        assert_eq!(at(5010), Some(RuleIndex(1)));
        assert_eq!(rules.first_match(&fields([10, 0, 0, 1], [10, 0, 0, 2], 6, Some((1, 5000)))), None);
    }

    #[test]
    fn a_rule_about_ports_is_not_for_packets_without_any() {
        let all_ports = Match { destination_ports: Some(0..=u16::MAX), ..Match::default() };
        let rules = RuleSet::new(vec![rule("ports", all_ports)]).expect("a sound set");
        assert_eq!(rules.first_match(&fields([1, 1, 1, 1], [2, 2, 2, 2], 1, None)), None);
        assert_eq!(rules.first_match(&fields([1, 1, 1, 1], [2, 2, 2, 2], 17, Some((0, 0)))), Some(RuleIndex(0)));
    }

    #[test]
    fn sets_that_cannot_work_are_refused_by_name() {
        let with = |change: fn(&mut Rule)| {
            let mut bad = rule("bad", Match::default());
            change(&mut bad);
            RuleSet::new(vec![bad]).expect_err("a bad rule was accepted").to_string()
        };
        assert!(with(|bad| bad.max_count = 1).contains("\"bad\": max_count 1"));
        assert!(with(|bad| bad.max_size = 19).contains("\"bad\": max_size 19"));
        assert!(with(|bad| bad.required_count = 0).contains("\"bad\": required_count 0"));
        assert!(with(|bad| bad.required_count = 11).contains("required_count 11: from 1 to max_count, which is 10"));
        assert!(with(|bad| bad.hold = TickSpan(999)).contains("\"bad\": hold"));
        assert!(with(|bad| bad.shared_hops = SharedHops::AtLeast(0)).contains("\"bad\": shared_hops 0"));
        assert!(with(|bad| bad.shared_hops = SharedHops::AtLeast(17)).contains("\"bad\": shared_hops 17"));
        assert!(with(|bad| bad.path_mtu = Some(87)).contains("\"bad\": path_mtu 87"));
        #[allow(clippy::reversed_empty_ranges)]
        let empty = with(|bad| bad.matcher.source_ports = Some(9..=8));
        assert!(empty.contains("\"bad\": source ports 9-8"), "{empty}");
        let nets = ["10.0.0.0/8", "2001:db8::/32"].map(|net| net.parse().ok());
        let mixed = Match { source: nets[0], destination: nets[1], ..Match::default() };
        assert_eq!(RuleSet::new(vec![rule("r", mixed)]).err(), Some(RuleSetError::MixedFamilies("r".to_owned())));
        let twice = RuleSet::new(vec![rule("one", Match::default()), rule("one", Match::default())]);
        assert_eq!(twice.err(), Some(RuleSetError::DuplicateName("one".to_owned())));
        let many = (0..=MAX_WINDOWS)
            .map(|i| Rule { window: TickSpan(i as u64), ..rule(&format!("r{i}"), Match::default()) })
            .collect();
        assert_eq!(RuleSet::new(many).err(), Some(RuleSetError::TooManyWindows("r16".to_owned())));
        let held = (0..9)
            .map(|i| {
                let (window, hold) = (TickSpan(100 * (i + 1)), TickSpan(101 * (i + 1) + 5000));
                Rule { window, required_count: 2, hold, ..rule(&format!("r{i}"), Match::default()) }
            })
            .collect();
        assert_eq!(RuleSet::new(held).err(), Some(RuleSetError::TooManyWindows("r8".to_owned())));
    }
}
