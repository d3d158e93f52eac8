use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const INTERVAL: Duration = Duration::from_millis(200);
const MS: Duration = Duration::from_millis(1);
const PLAIN: u16 = 56;

/// A search, and a path with a peer at its end that answers probes at once.
struct Bench {
    mtu: PathMtu,
    /// What the path takes.
    takes: u16,
    interval: Duration,
    round_trip: Duration,
    begin: Instant,
    now: Instant,
    next_hello: Instant,
    sequence: u32,
    /// Lengths that are told, and when they are.
    reports: VecDeque<(Instant, u16)>,
    /// Everything that is sent meanwhile, from the begin, is lost.
    outage: std::ops::Range<Duration>,
    /// Probes that were sent.
    probes: u32,
    /// The least length that was in force since the search was first over.
    least_since_found: Option<u16>,
}

impl Bench {
    fn new(mtu: impl FnOnce(Instant) -> PathMtu, takes: u16) -> Bench {
        let now = Instant::now();
        Bench {
            mtu: mtu(now),
            takes,
            interval: INTERVAL,
            round_trip: MS,
            begin: now,
            now,
            next_hello: now,
            sequence: u32::MAX - 3,
            reports: VecDeque::new(),
            outage: Duration::ZERO..Duration::ZERO,
            probes: 0,
            least_since_found: None,
        }
    }

    fn of(ceiling: u16, takes: u16) -> Bench {
        Bench::new(|now| PathMtu::new(ceiling, now), takes)
    }

    fn with(self, interval: Duration, round_trip: Duration) -> Bench {
        // Hellos were going back and forth before.
        let told = (1u32..).map(|count| interval * count).take_while(|after| *after < round_trip);
        let reports = told.map(|after| (self.now + after, PLAIN)).collect();
        Bench { interval, round_trip, reports, ..self }
    }

    fn send(&mut self, length: u16) {
        if length <= self.takes && !self.outage.contains(&(self.now - self.begin)) {
            self.reports.push_back((self.now + self.round_trip, length));
        }
    }

    /// A probe leaves at once if one is due; its sequence number and length.
    fn probe(&mut self) -> Option<(u32, u16)> {
        let length = self.mtu.due(self.interval, self.now)?;
        self.sequence = self.sequence.wrapping_add(1);
        self.mtu.sent(self.sequence, self.interval, self.now);
        self.probes += 1;
        self.send(length);
        Some((self.sequence, length))
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let report = self.reports.front().map(|(at, _)| *at);
            let next = report.into_iter().chain([self.next_hello]).min().expect("a hello");
            if next > end {
                break;
            }
            self.now = next;
            if report == Some(next) {
                let (_, length) = self.reports.pop_front().expect("a report");
                self.mtu.received(length, self.interval, next);
                // The next step of a search is taken at once.
                if length > PLAIN {
                    self.probe();
                }
            } else {
                self.next_hello += self.interval;
                self.send(PLAIN);
                self.probe();
            }
            if self.mtu.is_found() || self.least_since_found.is_some() {
                let least = self.least_since_found.unwrap_or(u16::MAX);
                self.least_since_found = Some(least.min(self.mtu.current()));
            }
        }
        self.now = end;
    }

    fn told(&mut self, mtu: u16, quoted: Quoted) -> bool {
        self.mtu.told(mtu, quoted, self.interval, self.now)
    }

    fn found(&self) -> (u16, bool) {
        (self.mtu.current(), self.mtu.is_found())
    }
}

fn hello((sequence, length): (u32, u16)) -> Quoted {
    Quoted::Hello { sequence, length }
}

#[test]
fn a_path_that_takes_all_is_known_after_one_probe() {
    let mut bench = Bench::of(9000, 9000);
    assert_eq!(bench.found(), (1200, false));
    bench.pass(MS);
    assert_eq!((bench.found(), bench.probes), ((9000, true), 1));
    bench.pass(SECOND - MS);
    assert_eq!(bench.probes, 1);
    bench.pass(INTERVAL);
    assert_eq!(bench.probes, 2, "confirmed from time to time");
}

#[test]
fn a_probe_that_is_lost_once_or_twice_is_not_too_long() {
    let mut bench = Bench::of(1500, 100);
    bench.pass(3 * INTERVAL);
    assert_eq!(bench.probes, 2);
    bench.takes = 1500;
    bench.pass(INTERVAL + MS);
    assert_eq!((bench.probes, bench.found()), (3, (1500, true)));
}

#[test]
fn hellos_shorter_than_the_probe_confirm_nothing() {
    let mut bench = Bench::of(1500, 100);
    bench.pass(MS * 10);
    assert_eq!(bench.found(), (1200, false));
}

#[test]
fn a_satellite_and_a_far_continent_are_waited_for() {
    for (interval, round_trip) in [(200, 620), (50, 200), (10, 300), (1000, 2500)] {
        let (interval, round_trip) = (MS * interval, MS * round_trip);
        let mut bench = Bench::of(1500, 1500).with(interval, round_trip);
        bench.pass(round_trip);
        assert_eq!(bench.found(), (1500, true), "one round trip of {round_trip:?}");
        let before = bench.probes;
        bench.pass(100 * SECOND);
        assert_eq!(bench.least_since_found, Some(1500), "{round_trip:?} at {interval:?}");
        let often = 100 * SECOND.as_millis() / ((interval * CONFIRM).max(SECOND) + round_trip).as_millis();
        assert!(u128::from(bench.probes - before) <= 2 * often, "no three for one: {}", bench.probes);
    }
}

#[test]
fn what_does_not_get_through_any_more_is_noticed_and_searched_for_again() {
    let mut bench = Bench::of(1500, 1500);
    bench.pass(SECOND);
    assert_eq!(bench.mtu.current(), 1500);
    bench.takes = 1400;
    bench.pass(3 * SECOND);
    assert!(bench.mtu.current() <= 1400, "after three probes");
    bench.pass(20 * SECOND);
    assert!((1392..=1400).contains(&bench.mtu.current()) && bench.mtu.is_found(), "{:?}", bench.mtu);
}

#[test]
fn a_path_that_widens_is_found_when_it_is_tried_again() {
    let mut bench = Bench::of(1500, 1400);
    bench.pass(30 * SECOND);
    bench.takes = 1500;
    bench.pass(8 * SECOND);
    assert!(bench.mtu.current() <= 1400, "not at once");
    bench.pass(RAISE);
    assert_eq!(bench.mtu.current(), 1500);
}

#[test]
fn a_path_that_takes_almost_all_is_watched_after_the_rest_was_tried_again() {
    let mut bench = Bench::of(1500, 1496);
    bench.pass(RAISE + 30 * SECOND);
    let found = bench.mtu.current();
    assert!((1500 - STEP..=1496).contains(&found), "{found}");
    bench.takes = 1400;
    bench.pass(20 * SECOND);
    assert!((1400 - STEP..=1400).contains(&bench.mtu.current()), "a black hole: {:?}", bench.mtu);
}

#[test]
fn an_outage_says_nothing_of_lengths() {
    for outage in [2, 5, 60].map(Duration::from_secs) {
        let mut bench = Bench::of(1500, 1500);
        bench.outage = SECOND..SECOND + outage;
        bench.pass(SECOND + outage);
        let during = bench.probes;
        assert!(during <= 4, "nothing is tried that cannot succeed: {during} probes");
        bench.pass(2 * SECOND);
        assert_eq!((bench.found(), bench.least_since_found), ((1500, true), Some(1500)), "{outage:?}");
        assert!(bench.probes > during, "it is confirmed at once");
    }
}

#[test]
fn what_was_lost_while_nothing_longer_than_a_hello_got_through_is_tried_again() {
    let mut bench = Bench::of(1500, 1500);
    bench.pass(SECOND);
    bench.takes = PLAIN;
    bench.pass(8 * SECOND);
    assert_eq!(bench.mtu.current(), 576);
    bench.takes = 1500;
    bench.pass(8 * SECOND);
    assert_eq!(bench.found(), (1500, true), "not after ten minutes");
}

#[test]
fn a_report_that_comes_late_counts() {
    let mut bench = Bench::of(1500, 1500).with(INTERVAL, 5 * SECOND);
    bench.pass(24 * INTERVAL);
    assert_eq!(bench.mtu.too_long, 1500, "it has been given up");
    bench.pass(2 * INTERVAL);
    assert_eq!(bench.found(), (1500, true), "as long as reported, not as what was tried last");
    bench.mtu.received(9000, INTERVAL, bench.now);
    assert_eq!(bench.mtu.current(), 1500, "nobody sent that");
}

#[test]
fn what_a_router_says_of_a_probe_is_tried_next() {
    let mut bench = Bench::of(9000, 1400);
    let probe = bench.probe().expect("the longest");
    assert!(bench.told(1400, hello(probe)));
    assert!(!bench.told(1400, hello(probe)), "once");
    assert_eq!(bench.mtu.current(), 1200);
    assert_eq!(bench.probe().map(|(_, length)| length), Some(1400));
    bench.pass(MS);
    assert_eq!(bench.found(), (1400, true));
    assert!(!bench.told(5000, hello(probe)), "nobody raises it");
}

#[test]
fn less_than_is_known_to_get_through_is_tried_before_it_is_believed() {
    let mut bench = Bench::of(1500, 1500);
    bench.pass(SECOND + INTERVAL / 2);
    let lie = Quoted::PooledPacket { length: 1500 };
    assert!(bench.told(1300, lie));
    assert_eq!(bench.mtu.current(), 1500);
    assert_eq!(bench.probe().map(|(_, length)| length), Some(1500));
    bench.pass(SECOND / 2);
    assert_eq!((bench.found(), bench.least_since_found), ((1500, true), Some(1500)), "it was a lie");
}

#[test]
fn a_router_that_says_so_of_what_was_sent_to_find_out_is_believed_at_once() {
    let mut bench = Bench::of(1500, 1500);
    bench.pass(SECOND + INTERVAL / 2);
    bench.takes = 1300;
    assert!(bench.told(1300, Quoted::PooledPacket { length: 1400 }));
    let probe = bench.probe().expect("a probe");
    for wrong in [(probe.0 + 1, probe.1), (probe.0, probe.1 - 1)] {
        assert!(!bench.told(1300, hello(wrong)), "not what was sent");
    }
    assert_eq!(bench.mtu.current(), 1500);
    assert!(bench.told(1300, hello(probe)));
    assert_eq!((bench.mtu.current(), bench.probe().map(|(_, length)| length)), (1300, Some(1300)));
    bench.pass(MS);
    assert_eq!(bench.found(), (1300, true));
}

#[test]
fn the_probe_that_a_router_quotes_first_does_not_prove_it() {
    let mut bench = Bench::of(1500, 1500);
    bench.pass(MS);
    bench.takes = 1300;
    bench.pass(SECOND + INTERVAL);
    let confirmation = (bench.sequence, 1500);
    assert!(bench.told(1300, hello(confirmation)));
    assert!(!bench.told(1300, hello(confirmation)), "said twice it is no truer");
    assert_eq!(bench.mtu.current(), 1500);
    let probe = bench.probe().expect("another one");
    assert!(bench.told(1300, hello(probe)));
    assert_eq!(bench.mtu.current(), 1300);
}

#[test]
fn a_router_that_says_so_once_is_believed_after_a_second() {
    let mut bench = Bench::of(1500, 1500);
    bench.pass(SECOND + INTERVAL / 2);
    bench.takes = 1300;
    assert!(bench.told(1300, Quoted::PooledPacket { length: 1500 }));
    bench.probe();
    bench.pass(SECOND + INTERVAL);
    assert_eq!(bench.mtu.current(), 1300, "nothing longer was reported");
    bench.pass(20 * SECOND);
    assert!((1292..=1300).contains(&bench.mtu.current()) && bench.mtu.is_found());
}

#[test]
fn nothing_less_than_hosts_must_take_is_believed() {
    let mut bench = Bench::of(1500, 1500);
    bench.pass(SECOND + INTERVAL / 2);
    bench.told(68, Quoted::PooledPacket { length: 1500 });
    let probe = bench.probe().expect("a probe");
    bench.told(68, hello(probe));
    assert_eq!(bench.mtu.current(), 576);
}

#[test]
fn no_path_over_ipv6_is_taken_to_have_less_than_every_link_takes() {
    let mut bench = Bench::new(|now| PathMtu::new6(1500, now), 1279);
    assert_eq!((bench.mtu.current(), bench.mtu.due(INTERVAL, bench.now)), (1280, Some(1500)));
    let probe = bench.probe().expect("a probe");
    bench.told(1279, hello(probe));
    assert_eq!(bench.mtu.current(), 1280);
    bench.pass(10 * SECOND);
    assert_eq!(bench.mtu.current(), 1280, "a path that loses everything is not one with a smaller MTU");
    bench.takes = 1400;
    bench.mtu.set_ceiling(1400, bench.now);
    bench.pass(4 * SECOND);
    assert_eq!(bench.found(), (1400, true));
}

#[test]
fn doubts_bring_one_probe_in_a_second() {
    let mut bench = Bench::of(9000, 9000).with(MS * 10, MS / 2);
    bench.pass(SECOND);
    let before = bench.probes;
    for _ in 0..1000 {
        if bench.told(600, Quoted::PooledPacket { length: 9000 }) {
            bench.probe();
        }
        bench.pass(MS);
    }
    assert!(bench.probes - before <= 2, "{} probes of 9000 bytes", bench.probes - before);
    assert_eq!(bench.mtu.current(), 9000);
}

#[test]
fn doubts_do_not_keep_the_search_from_its_end() {
    for (interval, round_trip) in [(200, 1), (50, 200), (200, 620), (1000, 1500)] {
        let mut bench = Bench::of(1500, 1400).with(MS * interval, MS * round_trip);
        bench.pass(MS * round_trip);
        for _ in 0..1500 {
            bench.told(600, Quoted::PooledPacket { length: 1000 });
            bench.pass(SECOND / 10);
        }
        let found = bench.mtu.current();
        assert!((1400 - STEP..=1400).contains(&found), "{round_trip} ms at {interval} ms: {:?}", bench.mtu);
        assert!(bench.least_since_found.is_none_or(|least| least >= 1400 - STEP), "{:?}", bench.least_since_found);
    }
}

proptest! {
    #[test]
    fn every_path_mtu_is_found_and_kept_however_far_the_peer_is(
        ceiling in 128u16..=9000,
        path in 576u16..=9000,
        interval in prop_oneof![10u32..=50, 51u32..=1000, 1001u32..=60_000],
        round_trip in prop_oneof![0u32..=50, 51u32..=1000, 1001u32..=5000],
    ) {
        let interval = MS * interval;
        let mut bench = Bench::of(ceiling, path).with(interval, MS * round_trip);
        bench.pass(interval.max(SECOND) * 200 + MS * round_trip * 60);
        let expected = ceiling.min(path);
        // The search may have begun again meanwhile, for a path that has widened.
        prop_assert!(bench.least_since_found.is_some(), "{:?}", bench.mtu);
        let found = bench.mtu.current();
        prop_assert!(found <= expected && expected - found <= STEP, "{found} of {expected}");
        prop_assert!(bench.least_since_found >= Some(expected - STEP), "{:?} of {expected}", bench.least_since_found);
    }

    #[test]
    fn no_outage_costs_what_was_found(
        begin in 0u32..=20_000,
        length in 0u32..=20_000,
        interval in prop_oneof![10u32..=50, 51u32..=2000],
        round_trip in 0u32..=1000,
    ) {
        let interval = MS * interval;
        let mut bench = Bench::of(1500, 1500).with(interval, MS * round_trip);
        bench.pass(4 * SECOND);
        let begin = 4 * SECOND + MS * begin;
        bench.outage = begin..begin + MS * length;
        bench.pass(60 * SECOND);
        prop_assert_eq!((bench.least_since_found, bench.found()), (Some(1500), (1500, true)));
    }
}
