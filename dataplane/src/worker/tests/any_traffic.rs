//! Whatever packets, rules, times and losses there are: what comes out behind two routers is a subset of what went in, as
//! two routers would have forwarded it, in order per flow, and nothing waits longer than its rule allows.
//!
//! A pooler and its addressee, whole workers, with a network between that loses, doubles and delays what it likes. Some
//! flows go on to a second addressee behind the first; that one is the test itself, and takes apart what gets to it.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseResult, TestRng, TestRunner};

use super::any_traffic_case::*;
use super::lab::*;
use super::two_routers::*;
use crate::arch::{Tick, TickRate, TickSpan};
use crate::packet::udp::Verdict;
use crate::pool::wire::PooledPacket;
use crate::pool::{Index, Representation, Rule};
use crate::worker::{Counter, Drop};

/// What an iteration takes here, and a burst more than one of.
const LOOP: Duration = Duration::from_micros(20);
/// How long an addressee waits for an index (docs/wire-format.md, kinds 1 and 2).
const INDEX_WAIT: Duration = Duration::from_millis(5);

fn ticks(duration: Duration) -> TickSpan {
    TickRate::NANOSECONDS.ticks(duration)
}

/// A packet that went in.
struct Original {
    flow: usize,
    arrived: Tick,
    /// How long it may wait at the pooler.
    bound: TickSpan,
    way: Way,
    came_out: usize,
}

/// What the network can do to the order and number of packets depends on how they travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// All that is needed to take it out is where it is itself, be that in a pooled packet or by itself.
    Plain,
    /// It may need another packet that was sent before.
    Learned,
    /// It needs another packet, and the addressee restores the order.
    OutOfBand,
}

/// Both routers, what is between them, and what must be true of it all.
struct World<'a> {
    case: &'a Case,
    west: Bench,
    east: Bench,
    network: Network,
    now: Tick,
    rules: &'a [Rule],
    originals: Vec<Original>,
    /// What an original is behind two routers.
    expected: HashMap<Vec<u8>, usize>,
    seen: &'a mut BTreeSet<String>,
}

impl<'a> World<'a> {
    fn new(case: &'a Case, seen: &'a mut BTreeSet<String>) -> World<'a> {
        let (west, east) = (pooler(case), addressee(case));
        let now = west.now;
        World {
            west,
            east,
            network: Network::new(&case.fates),
            now,
            rules: &case.rules[0],
            originals: Vec::new(),
            expected: Default::default(),
            seen,
            case,
        }
    }

    fn live(mut self) -> TestCaseResult {
        self.exchange()?;
        for (number, step) in self.case.steps.iter().enumerate() {
            match step {
                Step::Packet { flow, length, noise, oddity } => {
                    let flow = flow.index(self.case.flows.len());
                    self.send(flow, number as u32, *length, *noise, *oddity);
                }
                Step::Wait(us) => self.wait(Duration::from_micros(*us))?,
                Step::Rules(number) => {
                    self.exchange()?;
                    self.rules = &self.case.rules[number.index(self.case.rules.len())];
                    set_rules(&mut self.west, self.rules);
                }
            }
        }
        self.wait(Duration::from_millis(100))?;
        self.check_all()
    }

    fn send(&mut self, flow_number: usize, number: u32, length: u16, noise: u32, oddity: Oddity) {
        let flow = &self.case.flows[flow_number];
        let is_far = self.case.is_far(flow);
        let packet = flow.packet(flow_number as u16, is_far, number, length, noise, oddity);
        let rule = self.rules.get(flow.rule).filter(|rule| {
            rule.pool && packet.len() <= usize::from(rule.max_size) && !matches!(oddity, Oddity::Fragment)
        });
        let way = match rule {
            Some(rule) if !self.case.is_native() || rule.has_ttls() => Way::Plain,
            Some(Rule { index: Index::OutOfBand, .. }) => Way::OutOfBand,
            Some(Rule { representation: Representation::Learned, .. }) => Way::Learned,
            _ => Way::Plain,
        };
        let bound = rule.map_or(TickSpan(0), |rule| if rule.required_count > 1 { rule.hold } else { rule.window });
        let before = self.expected.insert(hops_later(&packet, 2), self.originals.len());
        assert!(before.is_none(), "the test's packets differ");
        self.originals.push(Original { flow: flow_number, arrived: self.now, bound, way, came_out: 0 });
        self.west.west_sends(&packet);
    }

    /// Lets time pass, with an iteration of each worker whenever it wants one, and no other.
    fn wait(&mut self, span: Duration) -> TestCaseResult {
        self.exchange()?;
        let end = self.now + ticks(span);
        loop {
            let deadlines = [&self.west, &self.east].map(|bench| bench.worker.stages.next_deadline());
            let next = deadlines.into_iter().chain([self.network.next_arrival()]).flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            self.exchange()?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    /// Has both routers deal with all that is there for them.
    fn exchange(&mut self) -> TestCaseResult {
        loop {
            self.now = run(&mut self.west, self.now);
            for packet in self.west.east_gets() {
                self.seen.insert(description(&packet));
                self.network.send(Side::East, packet, self.now);
            }
            for packet in self.network.arrived(Side::East, self.now) {
                self.east.west_sends(&packet);
            }
            self.now = run(&mut self.east, self.now);
            for packet in self.east.east_gets() {
                self.leaves_the_addressee(packet)?;
            }
            let back = self.network.arrived(Side::West, self.now);
            back.iter().for_each(|packet| self.west.east_sends(packet));
            if back.is_empty() && self.network.next_arrival().is_none_or(|next| next > self.now) {
                break;
            }
        }
        for bench in [&mut self.west, &mut self.east] {
            // Catches: a pool or an index that is overlooked at its deadline.
            let deadline = bench.worker.stages.next_deadline();
            prop_assert!(deadline.is_none_or(|deadline| deadline > bench.now), "something due is still held");
            prop_assert!(bench.west_gets().is_empty(), "something came back");
        }
        Ok(())
    }

    fn leaves_the_addressee(&mut self, packet: Vec<u8>) -> TestCaseResult {
        let (_, destination) = addresses(&packet);
        if destination == pooler_address(self.case.outer_ipv6) {
            self.seen.insert("report".into());
            self.network.send(Side::West, packet, self.now);
            return Ok(());
        }
        if destination != far_peer(self.case.outer_ipv6) {
            return self.came_out(&packet);
        }
        self.seen.insert("in transit".into());
        // Catches: checksums that were not made right where rows were taken out.
        prop_assert_eq!(verified(&packet), Verdict::Valid, "the outer checksum");
        let pooled = PooledPacket::parse(udp_payload(&packet))
            .map_err(|error| TestCaseError::fail(format!("a pooled packet in transit: {error}")))?;
        for (row, bytes) in pooled.rows() {
            // Catches: a TTL that was not taken down, or by too much.
            prop_assert_eq!(row.ttl, 1, "the second addressee is one hop away");
            self.came_out(&hops_later(bytes, 1))?;
        }
        Ok(())
    }

    /// A packet is out of both routers.
    fn came_out(&mut self, packet: &[u8]) -> TestCaseResult {
        // Catches: a byte that differs, a header rebuilt wrong, a TTL or checksum that two routers would not have sent,
        // bytes of another packet.
        let Some(number) = self.expected.get(packet).copied() else {
            return Err(TestCaseError::fail(format!("{packet:02x?} is nothing that went in")));
        };
        let (case, now) = (self.case, self.now);
        let original = &mut self.originals[number];
        original.came_out += 1;
        // Catches: a packet taken out twice. The order that kind 1 has tells copies as well.
        let copies = if case.duplicates() && original.way != Way::OutOfBand { 2 } else { 1 };
        prop_assert!(original.came_out <= copies, "packet {} came out {} times", number, original.came_out);
        let index_wait = if original.way == Way::OutOfBand && !case.is_perfect() { INDEX_WAIT } else { Duration::ZERO };
        // Catches: a window measured from another packet than the first, one that is not looked at, a hold forgotten.
        let bound = TickSpan(original.bound.0 + ticks(case.longest_delay() + index_wait + LOOP).0);
        let waited = now.since(original.arrived);
        prop_assert!(waited <= bound, "packet {} waited {:?}, not {:?}", number, waited, bound);
        if original.came_out > 1 {
            return Ok(());
        }
        // Catches: a pool of the flow that is not flushed before a packet that overtakes it, here or at the addressee.
        let (flow, way) = (original.flow, original.way);
        let is_in_order = |later: &Original| {
            let is_comparable = case.is_lossless_and_ordered()
                || later.way == Way::OutOfBand && way == Way::OutOfBand
                || case.keeps_order() && later.way != Way::OutOfBand && way != Way::OutOfBand;
            later.flow != flow || later.came_out == 0 || !is_comparable
        };
        let overtaken_by = (number + 1..).zip(&self.originals[number + 1..]).find(|(_, later)| !is_in_order(later));
        prop_assert!(
            overtaken_by.is_none(),
            "packet {} of flow {} overtook {}",
            overtaken_by.map_or(0, |later| later.0),
            flow,
            number
        );
        Ok(())
    }

    /// When all is over.
    fn check_all(self) -> TestCaseResult {
        let World { case, west, east, network, originals, .. } = self;
        let missing = |way: &[Way]| {
            originals.iter().filter(|original| original.came_out == 0 && way.contains(&original.way)).count()
        };
        let all = [Way::Plain, Way::Learned, Way::OutOfBand];
        // Catches: a packet that is lost in a router without loss on the way, whatever the counters say.
        if case.is_lossless_and_ordered() {
            prop_assert_eq!(missing(&all), 0, "packets that did not come out");
        }
        // Catches: more lost than what was in the lost packets, and a count in a header that is not that of what is inside.
        if !case.duplicates() {
            let lost = network.lost;
            prop_assert!(missing(&[Way::Plain]) <= lost, "of {} lost, {} missing", lost, missing(&all));
            if originals.iter().all(|original| original.way == Way::Plain) {
                prop_assert_eq!(missing(&all), lost);
            }
        }
        // Catches: mbufs lost (`end` looks at both mempools), and drops that the network does not explain.
        let (west, east) = (west.end(), east.end());
        prop_assert_eq!(west.drops_total(), 0, "drops at the pooler");
        let explained = [
            Drop::PoolUnknownContext,
            Drop::PoolIndexMissing,
            Drop::PoolIndexUnused,
            Drop::PoolIndexLate,
            Drop::PoolIndexDuplicate,
            Drop::PoolDataLate,
            Drop::PoolDataDuplicate,
        ];
        let explained: u64 = explained.map(|drop| east.drops(drop)).iter().sum();
        prop_assert_eq!(east.drops_total(), explained, "drops at the addressee");
        if case.is_perfect() {
            prop_assert_eq!(explained, 0);
            // Catches: rows that are counted and not there.
            let rows = [(&west, Counter::PoolRowsSent), (&east, Counter::PoolRowsReceived)].map(|(c, n)| c.get(n));
            prop_assert!(rows[1] <= rows[0], "{:?} rows sent and received", rows);
        }
        Ok(())
    }
}

/// Steps a router until it rests; returns the time then. Catches at each iteration: a packet that no counter has (`imbalance`).
fn run(bench: &mut Bench, now: Tick) -> Tick {
    bench.now = now;
    bench.run();
    bench.now
}

/// Lives through cases; returns what was in them.
fn what_cases_had(mut runner: TestRunner) -> BTreeSet<String> {
    let seen = RefCell::new(BTreeSet::new());
    let outcome = runner.run(&any_case(), |case| World::new(&case, &mut seen.borrow_mut()).live());
    if let Err(problem) = outcome {
        panic!("{problem}");
    }
    seen.into_inner()
}

#[test]
fn what_comes_out_is_what_went_in_whatever_the_network_does() {
    let config = ProptestConfig { source_file: Some(file!()), ..ProptestConfig::with_cases(100) };
    what_cases_had(TestRunner::new(config.clone()));
    // These are the same every time: what they have been of is no matter of luck.
    let same = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let seen = what_cases_had(TestRunner::new_with_rng(ProptestConfig { failure_persistence: None, ..config }, same));
    // Each format and family was among them. Reports are not wanted: few cases lose an announcement and go on long enough.
    let outer = ["IPv4", "IPv6"];
    let kinds = ["kind 0 of 4", "kind 0 of 41", "kind 0 of 128", "kind 1", "kind 2", "kind 3", "kind 5"];
    let mut wanted: Vec<String> =
        outer.iter().flat_map(|outer| kinds.map(|kind| format!("{kind} over {outer}"))).collect();
    wanted.extend(["itself over IPv4", "itself over IPv6", "Simplemux over IPv4", "in transit"].map(String::from));
    wanted.retain(|wanted| !seen.contains(wanted));
    assert!(wanted.is_empty(), "no case had {wanted:?}: {seen:?}");
}
