//! Many rules at once on the chain with branches: what each asks for is seen on the links, and everything arrives as it was
//! sent, in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use carpool_tests::{
    capture::Direction,
    carpoold::Idle,
    chain::{
        network::{Chain, RECEIVERS, Told, Wish},
        run::{Calls, Delivery, Findings, Run},
    },
    frame::{Flow, Observation, observe},
    lab::{Alone, Lab},
    rtp::Codec,
    transit::{INDEXES, OUT_OF_BAND, POOL_PORT, SHORT_ROWS, kind, rows, whole_packets},
};
use serde_json::Value;

use crate::STALL;

/// Each rule has so many ports.
const PORTS: u16 = 1000;
const FIRST_PORT: u16 = 20_000;
/// What Ethernet adds to an IP packet (38 bytes with preamble, FCS and gap).
const ETHERNET: usize = 38;
const HOLD: Duration = Duration::from_millis(300);
/// Rare enough for packets of one stream (30 ms apart) to find no company.
const SPARSE: Duration = Duration::from_millis(20);

type Keys = &'static [(&'static str, &'static str)];

/// A rule's name, its window and further keys, and how many streams of what to each receiver it is for.
type Case = (&'static str, Option<(Duration, Keys)>, u16, Codec);

const CASES: [Case; 9] = [
    ("three-hops", Some((Duration::from_millis(15), &[("shared_hops", "3")])), 2, Codec::G711),
    (
        "required",
        Some((Duration::from_millis(1), &[("shared_hops", "1"), ("required_count", "4"), ("hold", "300ms")])),
        2,
        Codec::G711,
    ),
    ("adaptive", Some((SPARSE, &[("adaptive", "true")])), 1, Codec::G711),
    ("short", Some((Duration::from_millis(15), &[("shared_hops", "1"), ("path_mtu", "700")])), 2, Codec::G711),
    ("pooled", Some((Duration::from_millis(2), &[("lone", "pooled")])), 1, Codec::G711),
    ("never", None, 1, Codec::G711),
    ("learned", Some((SPARSE, &[("representation", "learned")])), 5, Codec::G729),
    ("apart", Some((Duration::from_millis(15), &[("index", "out-of-band")])), 2, Codec::G711),
    ("two", Some((Duration::from_millis(15), &[("shared_hops", "1"), ("max_count", "2")])), 2, Codec::G711),
];

fn port(case: usize) -> u16 {
    FIRST_PORT + PORTS * case as u16
}

/// What a rule's packets did.
struct Seen<'a> {
    name: &'static str,
    case: usize,
    findings: &'a Findings,
}

impl<'a> Seen<'a> {
    fn of(findings: &'a Findings, name: &'static str) -> Seen<'a> {
        let case = CASES.iter().position(|case| case.0 == name).expect("a case");
        Seen { name, case, findings }
    }

    fn is_ours(&self, flow: &Flow) -> bool {
        (port(self.case)..port(self.case + 1)).contains(&flow.destination.port())
    }

    /// Its pooled packets of whole packets on a link (0: the first), with what is inside.
    fn pools(&self, link: usize) -> Vec<(Observation, Vec<Observation>)> {
        let all = observe(&self.findings.crossed[link], Direction::In, |flow| flow.destination.port() == POOL_PORT);
        let opened = all.into_iter().map(|pooled| (whole_packets(&pooled), pooled));
        opened
            .filter(|(inside, _)| inside.first().is_some_and(|packet| self.is_ours(&packet.flow)))
            .map(|(inside, pooled)| (pooled, inside))
            .collect()
    }

    /// Its packets that crossed a link as themselves.
    fn alone(&self, link: usize) -> Vec<Observation> {
        observe(&self.findings.crossed[link], Direction::In, |flow| self.is_ours(flow))
    }

    fn to(&self, receiver: &str) -> &'a Delivery {
        let ours = |delivery: &&Delivery| delivery.kind == self.case && delivery.receiver.name == receiver;
        self.findings.deliveries.iter().find(ours).expect("a delivery")
    }

    fn sent(&self) -> usize {
        RECEIVERS.iter().map(|receiver| self.to(receiver.name).comparison.sent).sum()
    }

    fn median_delay(&self, receiver: &str) -> Duration {
        let mut delays: Vec<_> = self.to(receiver).comparison.passages.iter().map(|passage| passage.delay()).collect();
        delays.sort();
        delays[delays.len() / 2]
    }

    /// Packets leave pooled packets where these end, and not on the way.
    fn check_taken_out_at_the_end(&self) {
        for receiver in RECEIVERS {
            let places: Vec<_> = self.to(receiver.name).taken_out_at.keys().copied().collect();
            assert_eq!(places, [receiver.due_at], "{}: packets to {}", self.name, receiver.name);
        }
    }
}

/// To whom the packets inside go.
fn receivers(inside: &[Observation]) -> BTreeSet<&'static str> {
    let to = |packet: &Observation| RECEIVERS.iter().find(|receiver| receiver.address == *packet.flow.destination.ip());
    inside.iter().filter_map(to).map(|receiver| receiver.name).collect()
}

fn check_three_hops(seen: &Seen<'_>) {
    let together: Vec<_> = seen.pools(0).iter().map(|(_, inside)| receivers(inside)).collect();
    assert!(
        together.iter().any(|to| to.contains("mid") && to.contains("far")),
        "three hops are the same: {together:?}"
    );
    let others = |to: &BTreeSet<_>| to.contains("near") && to.len() > 1;
    assert!(!together.iter().any(others), "near has two hops of the same: {together:?}");
    let places = |receiver| seen.to(receiver).taken_out_at.keys().copied().collect::<Vec<_>>();
    assert_eq!(["near", "mid", "side"].map(places), [["B"], ["C"], ["C"]]);
    assert_eq!(places("far"), ["C", "D"], "with those to mid, and alone");
}

fn check_required(seen: &Seen<'_>, totals: &Value) {
    let flushed = |why: &str| totals["flush"][why].as_u64().expect("a count") as usize;
    let pools = seen.pools(0);
    let too_few = pools.iter().filter(|(_, inside)| inside.len() < 4).count() + seen.alone(0).len();
    let explained = flushed("hold") + flushed("order") + flushed("reconfigured");
    assert!(too_few <= explained, "{too_few} packets with fewer than four, {explained} may be: {totals}");
    assert!(flushed("required_count") > 20 && too_few * 10 < pools.len(), "{too_few} of {}: {totals}", pools.len());
    for receiver in RECEIVERS {
        let passages = &seen.to(receiver.name).comparison.passages;
        let longest = passages.iter().map(|passage| passage.delay()).max().expect("they arrived");
        assert!(longest < HOLD + STALL, "{longest:?}");
    }
}

fn check_adaptive(seen: &Seen<'_>) {
    let alone = seen.alone(0);
    for receiver in RECEIVERS.iter().filter(|receiver| ["near", "far"].contains(&receiver.name)) {
        let count = alone.iter().filter(|packet| *packet.flow.destination.ip() == receiver.address).count();
        let sent = seen.to(receiver.name).comparison.sent;
        assert!(count * 10 > sent * 6, "{count} of {sent} packets to {} left at once", receiver.name);
        let delay = seen.median_delay(receiver.name);
        assert!(delay < SPARSE / 2, "half of those to {} took {delay:?} and more", receiver.name);
    }
    // Those to mid and side get out at the same router and come 7.5 ms after each other.
    let shared: usize = seen.pools(0).iter().map(|(_, inside)| inside.len()).sum();
    let sent = seen.to("mid").comparison.sent + seen.to("side").comparison.sent;
    assert!(shared * 2 > sent, "{shared} of {sent} packets with company shared a ride");
}

fn check_short(seen: &Seen<'_>) {
    let pools = seen.pools(0);
    let longest = pools.iter().map(|(pooled, _)| pooled.packet().len()).max().expect("pooled packets");
    let counts: BTreeSet<_> = pools.iter().map(|(_, inside)| inside.len()).collect();
    // Outer headers of 36 bytes, and 286 for each packet: two fit.
    assert_eq!((longest, counts.last()), (36 + 2 * 286, Some(&2)), "{counts:?}");
}

fn check_lone_pooled(seen: &Seen<'_>) {
    assert_eq!(seen.alone(0).len(), 0, "all are in pooled packets");
    let pools = seen.pools(0);
    let single = pools.iter().filter(|(_, inside)| inside.len() == 1).count();
    assert!(single * 2 > pools.len(), "{single} of {} found no company", pools.len());
    seen.check_taken_out_at_the_end();
}

fn check_never(seen: &Seen<'_>) {
    for receiver in RECEIVERS {
        let delivery = seen.to(receiver.name);
        let longest_way = receiver.routers.len() - 1;
        assert_eq!(delivery.taken_out_at, BTreeMap::new());
        for link in 0..longest_way {
            let crossed = seen.alone(link);
            let to_it = crossed.iter().filter(|packet| *packet.flow.destination.ip() == receiver.address);
            assert_eq!(to_it.count(), delivery.comparison.sent, "to {} on link {link}", receiver.name);
        }
    }
}

/// Kind, addressee and what is in it, of each packet with learned headers on a link.
fn learned(findings: &Findings, link: usize) -> Vec<Observation> {
    let mut all = observe(&findings.crossed[link], Direction::In, |_| true);
    all.retain(|packet| kind(packet) == Some(SHORT_ROWS));
    all
}

fn check_learned(seen: &Seen<'_>, totals: &Value) {
    seen.check_taken_out_at_the_end();
    let pooled = learned(seen.findings, 0);
    let carried: usize = pooled.iter().filter_map(rows).sum();
    assert!(carried * 10 > seen.sent() * 8, "{carried} of {} packets shared a ride", seen.sent());
    let taken: usize = pooled.iter().map(|packet| packet.packet().len() + ETHERNET).sum();
    let would_take = carried * (60 + ETHERNET);
    assert!(taken * 2 < would_take, "{taken} bytes on the wire instead of {would_take}");
    // What goes to D crosses B and C, which speak the same language and leave it as it is.
    let to_d = |link| -> Vec<Vec<u8>> {
        let furthest = learned(seen.findings, 4).first().expect("some go to D").flow.destination;
        let there = learned(seen.findings, link).into_iter().filter(|packet| packet.flow.destination == furthest);
        there.map(|packet| packet.payload().to_vec()).collect()
    };
    for link in 1..5 {
        assert!(to_d(link) == to_d(0), "opened or lost before link {link}");
    }
    let counted = |what: &str| totals["learned"][what].as_u64().expect("a count");
    assert!(counted("compressed") > 4 * counted("announced"), "{totals}");
    assert_eq!((counted("lost"), counted("disputed")), (0, 0), "{totals}");
}

fn check_apart(seen: &Seen<'_>) {
    seen.check_taken_out_at_the_end();
    let pools = seen.pools(0);
    assert!(pools.iter().all(|(pooled, _)| kind(pooled) == Some(OUT_OF_BAND)));
    assert_eq!(seen.alone(0).len(), 0);
    assert!(pools.iter().any(|(_, inside)| inside.len() > 1), "none shared a ride");
    let is_index = |packet: &Observation| kind(packet) == Some(INDEXES);
    let indexes = observe(&seen.findings.crossed[4], Direction::In, |_| true).into_iter().filter(is_index).count();
    assert!(indexes > 0, "no index came to D");
}

fn check_two(seen: &Seen<'_>, totals: &Value) {
    let counts: Vec<_> = seen.pools(0).iter().map(|(_, inside)| inside.len()).collect();
    assert!(counts.len() > 50 && counts.iter().all(|count| *count <= 2), "{counts:?}");
    assert!(totals["flush"]["count"].as_u64() > Some(50), "{totals}");
}

#[test]
fn each_of_nine_rules_on_the_chain_does_what_it_says_and_everything_arrives_unchanged() {
    let _alone = Alone::wait().expect("end to end tests run as root");
    let lab = Lab::new().expect("a lab can be made");
    let (mut wishes, mut calls) = (Vec::new(), Vec::new());
    for (case, (name, pooling, streams, codec)) in CASES.into_iter().enumerate() {
        wishes.push(Wish { name, ports: (port(case), port(case + 1) - 1), pooling });
        calls.push(Calls { port: port(case), streams, codec });
    }
    let chain = Chain::build(lab, Idle::Adaptive, &wishes, Told::InFiles).expect("the chain comes up");
    let run = Run::start(&chain, &calls, Duration::from_secs(3)).expect("streams start");
    while !run.wait(Duration::from_secs(1)) {}
    let findings = run.finish().expect("the recordings are whole");
    let totals = &chain.carpools[0].control.ask(&["pool", "show"]).expect("A answers")["totals"];
    for Delivery { kind, receiver, comparison, .. } in &findings.deliveries {
        assert!(comparison.perfect(), "{}, {}: {comparison}", CASES[*kind].0, receiver.name);
    }
    let seen = |name| Seen::of(&findings, name);
    check_three_hops(&seen("three-hops"));
    check_required(&seen("required"), totals);
    check_adaptive(&seen("adaptive"));
    check_short(&seen("short"));
    check_lone_pooled(&seen("pooled"));
    check_never(&seen("never"));
    check_learned(&seen("learned"), totals);
    check_apart(&seen("apart"));
    check_two(&seen("two"), totals);
    chain.close().expect("all routers end in order");
}
