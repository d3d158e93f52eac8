//! All rules looked up at once: each part of a packet that some rule asks about names a set of rules that it may fit, and the
//! first rule that is in all sets is the packet's. That takes the same time whichever rule it is and however many there
//! are, up to 256; more are in several tables, and one of the same form tells which of these to look at.
//! Packets that are in the same sets have the same rule: of those that come one after the other, only the first is looked up.
//!
//! A prefix asks for a range of values of each byte of an address, independently of each other: so each byte has sets of its own,
//! and nothing is searched. The method is that of Lakshman and Stiliadis (SIGCOMM 1998), by bytes as in StrideBV
//! (Ganegedara and Prasanna, HPSR 2012).

use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::compiled_match::class_word;
use super::plain_burst::Asked as AskedOfLanes;
use super::rule::{Dscp, Match, Rule, RuleIndex};
use super::rule_bits::{ByteSets, Joined, PortSets, RuleBits};
use crate::arch::lanes::{Form, Lanes};

/// Parts of an IPv4 packet that are compared: protocol, class, ports, nothing, and eight bytes of addresses where they are not joined.
pub(super) const PARTS: usize = 13;

/// What rules ask about a packet between addresses of type `A`.
struct Asked<A> {
    addresses: A,
    /// Source in the upper half, destination in the lower; anything where there are none.
    ports: u32,
    /// Its [`class_word`].
    class: u32,
}

/// A pair of addresses, seen as one number whose upper half is the source.
pub(super) trait AddressPair: Copy {
    /// Its bytes, as they are looked up one by one.
    type Bytes: Copy;

    fn bytes(self) -> Self::Bytes;

    /// The byte at `at`, counted from the least significant one.
    fn byte(bytes: Self::Bytes, at: u8) -> u8;

    /// The addresses of this family in a table.
    fn family(table: &RuleTable) -> &Family;
}

impl AddressPair for u64 {
    type Bytes = [u8; 8];

    #[inline(always)]
    fn bytes(self) -> [u8; 8] {
        self.to_le_bytes()
    }

    #[inline(always)]
    fn byte(bytes: [u8; 8], at: u8) -> u8 {
        bytes[usize::from(at % 8)]
    }

    #[inline(always)]
    fn family(table: &RuleTable) -> &Family {
        &table.ipv4
    }
}

impl AddressPair for [u128; 2] {
    type Bytes = [[u8; 16]; 2];

    #[inline(always)]
    fn bytes(self) -> [[u8; 16]; 2] {
        let [source, destination] = self;
        [destination.to_le_bytes(), source.to_le_bytes()]
    }

    #[inline(always)]
    fn byte(bytes: [[u8; 16]; 2], at: u8) -> u8 {
        bytes.as_flattened()[usize::from(at % 32)]
    }

    #[inline(always)]
    fn family(table: &RuleTable) -> &Family {
        &table.ipv6
    }
}

/// One byte of a pair of addresses that some rule asks about.
#[derive(Clone, Debug)]
struct AddressByte {
    /// Where it is, counted from the least significant byte of the pair.
    at: u8,
    sets: ByteSets,
    /// For IPv4: its sets joined with those of the bytes before it in the same address, unless there are none or too many.
    joined: Option<Joined>,
}

/// What is different for the packets of either family.
#[derive(Clone, Debug)]
pub(super) struct Family {
    /// The rules for packets of this family.
    rules: RuleBits,
    /// Those of them that decide about a flow without ports, about one with ports, and about fragments, whose ports are not known.
    flow_rules: [RuleBits; 3],
    bytes: Box<[AddressByte]>,
}

/// Up to 256 rules, or groups of them, in order of precedence.
#[derive(Clone, Debug)]
pub(super) struct RuleTable {
    protocol: Option<Box<ByteSets>>,
    /// By the second byte of class words: DSCP, and whether there are ports.
    class: Option<Box<ByteSets>>,
    source_ports: Option<Box<PortSets>>,
    destination_ports: Option<Box<PortSets>>,
    ipv4: Family,
    ipv6: Family,
}

impl RuleTable {
    /// Of groups of so many rules each; what is found is the first group with a rule for each part of a packet. `rules`: no more than
    /// 256 groups.
    fn new(rules: &[Rule], group: usize) -> RuleTable {
        let numbered = || {
            (0..=u8::MAX)
                .zip(rules.chunks(group))
                .flat_map(|(number, rules)| rules.iter().map(move |rule| (number, rule)))
        };
        let ports = |ports: fn(&Match) -> &Option<RangeInclusive<u16>>| {
            let range = move |rule: &Rule| ports(&rule.matcher).clone().unwrap_or(0..=u16::MAX);
            PortSets::new(numbered().map(move |(number, rule)| (number, range(rule)))).map(Box::new)
        };
        let protocol = |rule: &Rule| rule.matcher.protocol.map_or(0..=u8::MAX, |protocol| protocol..=protocol);
        let classes = |(number, rule)| class_bytes(rule).into_iter().flatten().map(move |range| (number, range));
        RuleTable {
            protocol: ByteSets::new(numbered().map(|(number, rule)| (number, protocol(rule)))).map(Box::new),
            class: ByteSets::new(numbered().flat_map(classes)).map(Box::new),
            source_ports: ports(|matcher| &matcher.source_ports),
            destination_ports: ports(|matcher| &matcher.destination_ports),
            ipv4: Family::new(4, numbered()),
            ipv6: Family::new(16, numbered()),
        }
    }

    /// Those of `rules` that may fit a packet by its protocol and addresses.
    #[inline(always)]
    fn of_addresses<A: AddressPair>(&self, rules: RuleBits, asked: &Asked<A>) -> RuleBits {
        let mut set = rules;
        if let Some(protocol) = &self.protocol {
            set = set.and(protocol.of(asked.class as u8));
        }
        let bytes = asked.addresses.bytes();
        for byte in &A::family(self).bytes {
            set = set.and(byte.sets.of(A::byte(bytes, byte.at)));
        }
        set
    }

    /// Those of them that may fit it also by its ports.
    #[inline(always)]
    fn of_ports<A>(&self, rules: RuleBits, asked: &Asked<A>) -> RuleBits {
        let mut set = rules;
        if let Some(ports) = &self.destination_ports {
            set = set.and(ports.of(asked.ports as u16));
        }
        if let Some(ports) = &self.source_ports {
            set = set.and(ports.of((asked.ports >> 16) as u16));
        }
        set
    }

    /// The rules that fit a packet.
    #[inline(always)]
    fn of_packet<A: AddressPair>(&self, asked: &Asked<A>) -> RuleBits {
        let set = self.of_ports(self.of_addresses(A::family(self).rules, asked), asked);
        self.class.as_ref().map_or(set, |class| set.and(class.of((asked.class >> 8) as u8)))
    }

    /// The rules that fit packets of a flow, and decide about it.
    #[inline(always)]
    fn of_flow<A: AddressPair>(&self, asked: &Asked<A>, is_fragment: bool) -> RuleBits {
        let has_ports = asked.class & class_word(0, Dscp::default(), true) != 0;
        let kind = if is_fragment { 2 } else { usize::from(has_ports) };
        let set = self.of_addresses(A::family(self).flow_rules[kind], asked);
        if is_fragment { set } else { self.of_ports(set, asked) }
    }

    /// Which of eight IPv4 packets may fit the same rules as the one before them: a bit for each whose parts are all in the same sets.
    #[inline(always)]
    fn alike<F: Form>(&self, form: F, asked: &AskedOfLanes<F::Lanes>, before: &mut [F::Lanes; PARTS]) -> u32 {
        let byte = form.splat(0xff);
        let mut alike = form.splat(u32::MAX);
        let [protocol, dscp, destination_port, source_port, places @ ..] = before;
        let mut compare = Parts { alike: &mut alike };
        if let Some(sets) = &self.protocol {
            compare.part(sets.classes_of(asked.class & byte), protocol);
        }
        if let Some(sets) = &self.class {
            compare.part(sets.classes_of(asked.class.shr::<8>() & byte), dscp);
        }
        if let Some(sets) = &self.destination_ports {
            compare.part(sets.classes_of(form, asked.ports & form.splat(0xffff)), destination_port);
        }
        if let Some(sets) = &self.source_ports {
            compare.part(sets.classes_of(form, asked.ports.shr::<16>()), source_port);
        }
        let (source, destination) = (asked.source.swap_bytes(), asked.destination.swap_bytes());
        let (mut places, mut class) = (places.iter_mut(), form.splat(0));
        // The first byte of an address first: what no prefix of any rule begins with is alike, whatever comes behind it.
        for AddressByte { at, sets, joined } in self.ipv4.bytes.iter().rev() {
            let bytes = match at {
                0 => destination,
                1 => destination.shr::<8>(),
                2 => destination.shr::<16>(),
                3 => destination.shr::<24>(),
                4 => source,
                5 => source.shr::<8>(),
                6 => source.shr::<16>(),
                _ => source.shr::<24>(),
            };
            let next = sets.classes_of(bytes & byte);
            if let Some(joined) = joined {
                class = joined.of(form, class, next);
            } else if let Some(place) = places.next() {
                compare.part(class, place);
                class = next;
            }
        }
        if let Some(place) = places.next() {
            compare.part(class, place);
        }
        alike.bits()
    }

    /// What it takes, in bytes.
    #[cfg(test)]
    fn memory(&self) -> usize {
        let classes = [&self.protocol, &self.class].into_iter().flatten().map(|sets| sets.memory()).sum::<usize>();
        let ports = [&self.source_ports, &self.destination_ports].into_iter().flatten().map(|ports| ports.memory());
        let bytes = [&self.ipv4, &self.ipv6]
            .into_iter()
            .flat_map(|family| &*family.bytes)
            .map(|byte| byte.sets.memory() + byte.joined.as_ref().map_or(0, Joined::memory));
        size_of_val(self) + classes + ports.chain(bytes).sum::<usize>()
    }
}

/// What is [alike](RuleTable::alike) so far.
struct Parts<'a, L> {
    alike: &'a mut L,
}

impl<L: Lanes> Parts<'_, L> {
    /// `classes` of a part of eight packets, and those of the eight `before`.
    #[inline(always)]
    fn part(&mut self, classes: L, before: &mut L) {
        *self.alike = *self.alike & classes.is(classes.after(*before));
        *before = classes;
    }
}

/// What a rule asks for in the second byte of class words, as up to two ranges.
fn class_bytes(rule: &Rule) -> [Option<RangeInclusive<u8>>; 2] {
    const HAS_PORTS: u8 = 1 << 6;
    match (rule.matcher.dscp, needs_ports(rule)) {
        (None, false) => [Some(0..=u8::MAX), None],
        (None, true) => [Some(HAS_PORTS..=u8::MAX), None],
        (Some(dscp), needs_ports) => {
            let with_ports = dscp.value() | HAS_PORTS;
            [Some(with_ports..=with_ports), (!needs_ports).then(|| dscp.value()..=dscp.value())]
        }
    }
}

/// Whether a rule is only for packets that have ports.
fn needs_ports(rule: &Rule) -> bool {
    rule.matcher.source_ports.is_some() || rule.matcher.destination_ports.is_some()
}

impl Family {
    /// Of the rules for packets whose addresses have `size` bytes.
    fn new<'a>(size: u8, rules: impl Iterator<Item = (u8, &'a Rule)> + Clone) -> Family {
        let is_ours = move |net: &IpNet| net.max_prefix_len() / 8 == size;
        // Source and destination of a rule are of one family.
        let rules = rules.filter(move |(_, Rule { matcher, .. })| {
            matcher.source.as_ref().or(matcher.destination.as_ref()).is_none_or(is_ours)
        });
        let those = |is_one: &dyn Fn(&Rule) -> bool| {
            let mut set = RuleBits::default();
            rules.clone().filter(|(_, rule)| is_one(rule)).for_each(|(number, _)| set.insert(number));
            set
        };
        // A rule that pools decides, and one that forbids it whatever the class and, of fragments, whatever the ports.
        let decides = |rule: &Rule| rule.pool || rule.matcher.dscp.is_none();
        let source = |rule: &Rule| rule.matcher.source;
        let destination = |rule: &Rule| rule.matcher.destination;
        let byte = |at: u8| {
            let (net, place): (fn(&Rule) -> Option<IpNet>, u8) =
                if at < size { (destination, size - 1 - at) } else { (source, 2 * size - 1 - at) };
            let ranges = rules.clone().map(move |(number, rule)| (number, byte_of_prefix(net(rule), place)));
            ByteSets::new(ranges).map(|sets| AddressByte { at, sets, joined: None })
        };
        let mut bytes: Box<[_]> = (0..2 * size).filter_map(byte).collect();
        if size == 4 {
            join(&mut bytes);
        }
        Family {
            rules: those(&|_| true),
            flow_rules: [
                those(&|rule| decides(rule) && !needs_ports(rule)),
                those(&decides),
                those(&|rule| rule.pool || decides(rule) && !needs_ports(rule)),
            ],
            bytes,
        }
    }
}

/// Joins the bytes of each IPv4 address.
fn join(bytes: &mut [AddressByte]) {
    let mut before: Option<(u8, Vec<RuleBits>)> = None;
    for byte in bytes.iter_mut().rev() {
        let (address, sets) = (byte.at / 4, byte.sets.distinct());
        let joined =
            before.filter(|(before, _)| *before == address).and_then(|(_, before)| Joined::new(&before, &sets));
        let (joined, sets) = joined.map_or((None, sets), |(joined, sets)| (Some(joined), sets));
        byte.joined = joined;
        before = Some((address, sets));
    }
}

/// What a prefix asks for in the byte at `place` of an address, the first one being 0.
fn byte_of_prefix(net: Option<IpNet>, place: u8) -> RangeInclusive<u8> {
    let Some(net) = net else { return 0..=u8::MAX };
    let fixed = net.prefix_len().saturating_sub(place * 8).min(8);
    let byte = match net.network() {
        std::net::IpAddr::V4(address) => address.octets().get(usize::from(place)).copied(),
        std::net::IpAddr::V6(address) => address.octets().get(usize::from(place)).copied(),
    };
    let first = byte.unwrap_or_default();
    first..=first | u8::MAX.checked_shr(fixed.into()).unwrap_or(0)
}

/// The tables of any number of rules.
#[derive(Clone, Debug, Default)]
pub(super) struct RuleTables {
    /// Of 256 rules each, the last one of what is left.
    tables: Box<[RuleTable]>,
    /// Where there are several: which of them have rules that may fit.
    overview: Option<Box<RuleTable>>,
}

impl RuleTables {
    /// Of at most 65,536 rules.
    pub(super) fn new(rules: &[Rule]) -> RuleTables {
        let tables: Box<[_]> = rules.chunks(RuleBits::SIZE).map(|rules| RuleTable::new(rules, 1)).collect();
        let overview = (tables.len() > 1).then(|| Box::new(RuleTable::new(rules, RuleBits::SIZE)));
        RuleTables { tables, overview }
    }

    /// The position of the first rule that fits a packet.
    #[inline(never)]
    pub(super) fn first<A: AddressPair>(&self, addresses: A, ports: u32, class: u32) -> Option<RuleIndex> {
        let asked = Asked { addresses, ports, class };
        self.first_in(move |table| table.of_packet(&asked))
    }

    /// The position of the first rule that decides about the flow of a packet.
    #[inline(never)]
    pub(super) fn first_of_flow<A: AddressPair>(
        &self,
        addresses: A,
        ports: u32,
        class: u32,
        is_fragment: bool,
    ) -> Option<RuleIndex> {
        let asked = Asked { addresses, ports, class };
        self.first_in(move |table| table.of_flow(&asked, is_fragment))
    }

    /// Which of eight IPv4 packets have the same first rule as the one before them, as far as that takes less than to look them up: a bit
    /// for each. `before`: of the eight packets before them, for this function.
    #[inline(always)]
    pub(super) fn alike<F: Form>(
        &self,
        form: F,
        asked: &AskedOfLanes<F::Lanes>,
        before: &mut [F::Lanes; PARTS],
    ) -> u32 {
        match &*self.tables {
            [table] => table.alike(form, asked, before),
            _ => 0,
        }
    }

    #[inline(always)]
    fn first_in(&self, fits: impl Fn(&RuleTable) -> RuleBits) -> Option<RuleIndex> {
        let position = match &self.overview {
            None => fits(self.tables.first()?).first(),
            Some(overview) => self.first_of_many(overview, fits),
        }?;
        u16::try_from(position).ok().map(RuleIndex)
    }

    #[inline(never)]
    fn first_of_many(&self, overview: &RuleTable, fits: impl Fn(&RuleTable) -> RuleBits) -> Option<usize> {
        let mut tables = fits(overview);
        while let Some(at) = tables.first() {
            if let Some(position) = fits(self.tables.get(at)?).first() {
                return Some(at * RuleBits::SIZE + position);
            }
            tables.remove(at as u8);
        }
        None
    }

    /// What they take, in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.tables.iter().chain(self.overview.as_deref()).map(RuleTable::memory).sum()
    }
}
