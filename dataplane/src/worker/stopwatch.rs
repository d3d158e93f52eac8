//! Where a worker's time goes, stage by stage, measured while somebody asks ([`super::WorkerShared::time_stages`]) and
//! only then.
//!
//! The stage that time is spent in changes a few times for each burst, and each change reads the time stamp counter: what passed
//! since the last change was the stage before's. So the times of all stages add up to the whole. What a change itself costs is measured
//! when measuring begins, taken off the stages, and shown as [`Stage::Timing`]. While nobody asks a change is one branch.
//!
//! This is the only place of the packet path that reads the clock, and no packet fares otherwise for it.

use crate::arch::{Tick, now};

use super::counters::{Counter, Counters, Timed};

macro_rules! stages {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $meaning:literal;)+) => {
        /// What a worker spends its time on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Stage {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Stage {
            /// All of them, in the order that a packet passes them.
            pub const ALL: &'static [Stage] = &[$(Stage::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Stage::ALL.len();

            /// The name in output.
            pub fn name(self) -> &'static str {
                match self { $(Stage::$variant => $name,)+ }
            }

            /// What it is, in a few words.
            pub fn meaning(self) -> &'static str {
                match self { $(Stage::$variant => $meaning,)+ }
            }
        }
    };
}

stages! {
    /// Receive bursts of the ports, those included that found one of several ports empty.
    Rx = "rx", "taking packets from the ports";
    /// Ethernet and IP headers: what is for us, and sound; ARP.
    Input = "input", "Ethernet and IP headers: for us, sound; ARP";
    /// The routes of the burst.
    Lookup = "lookup", "route look-up";
    /// From the route to the frame in the transmit buffer: TTL, size, neighbour, Ethernet header; what replicates and refuses.
    Forward = "forward", "TTL, neighbour, Ethernet header, ICMP errors";
    /// The stream detector and the packet pooler, as packets come; what goes on unpooled where pools are in use.
    Pool = "pool", "rules, packets into pools";
    /// What is for the router itself, which is pooled packets above all; and pooled packets in transit.
    Depool = "depool", "packets to the router, taking them out of pooled packets";
    /// What has waited long enough leaves: pools, indexes, reports.
    Flush = "flush", "pools whose window has ended";
    /// Transmit bursts of the ports.
    Tx = "tx", "giving packets to the ports";
    /// All else in iterations that found something to do: news of the control thread, other workers, counters.
    Control = "control", "configuration, other workers, counters";
    /// Iterations that found nothing to do.
    Idle = "idle", "polling in vain";
    /// Measuring all this.
    Timing = "timing", "measuring this";
}

impl Stage {
    /// Whether the port does this, and not the router.
    pub fn is_port(self) -> bool {
        matches!(self, Stage::Rx | Stage::Tx)
    }
}

/// The changes whose mean is the cost of one, and how often that is measured: the least counts. An interrupt between two of
/// them would take all that is measured for the cost of measuring.
const REHEARSALS: u64 = 16;
const ROUNDS: usize = 8;

/// A worker's stopwatch.
#[derive(Debug)]
pub(super) struct Stopwatch {
    /// Whether it runs.
    on: bool,
    /// What time is spent on now.
    stage: Stage,
    /// Since when.
    since: Tick,
    /// Ticks that a change costs.
    cost: u64,
    /// Ticks of the stages in this iteration.
    lap: [u64; Stage::COUNT],
    /// Packets received and sent before it.
    before: [u64; 2],
}

impl Stopwatch {
    pub fn new() -> Stopwatch {
        Stopwatch { on: false, stage: Stage::Control, since: Tick(0), cost: 0, lap: [0; Stage::COUNT], before: [0; 2] }
    }

    /// Begins an iteration; it is measured if that is wanted.
    #[inline(always)]
    pub fn begin(&mut self, wanted: bool, counters: &Counters) {
        if wanted != self.on {
            self.turn(wanted, counters);
        }
    }

    #[cold]
    #[inline(never)]
    fn turn(&mut self, on: bool, counters: &Counters) {
        if on {
            self.rehearse(now);
        }
        self.on = on;
        self.before = [counters.get(Counter::In), counters.get(Counter::Out)];
    }

    /// Measures what a change costs by this clock, and starts.
    fn rehearse(&mut self, mut clock: impl FnMut() -> Tick) {
        (self.on, self.cost, self.stage) = (true, 0, Stage::Control);
        let mut least = u64::MAX;
        for _ in 0..ROUNDS {
            let started = clock();
            self.since = started;
            for _ in 0..REHEARSALS {
                self.enter_at(Stage::Control, clock());
            }
            least = least.min(self.since.since(started).0 / REHEARSALS);
        }
        self.cost = least;
        self.lap = [0; Stage::COUNT];
        self.since = clock();
    }

    /// From now on time is spent on `stage`.
    #[inline(always)]
    pub fn enter(&mut self, stage: Stage) {
        if self.on {
            self.enter_now(stage);
        }
    }

    /// The same; returns what it was spent on before.
    #[inline(always)]
    pub fn swap(&mut self, stage: Stage) -> Stage {
        let before = self.stage;
        self.enter(stage);
        before
    }

    #[cold]
    #[inline(never)]
    fn enter_now(&mut self, stage: Stage) {
        self.enter_at(stage, now());
    }

    fn enter_at(&mut self, stage: Stage, now: Tick) {
        let spent = now.since(self.since).0;
        let timing = spent.min(self.cost);
        for (stage, ticks) in [(self.stage, spent - timing), (Stage::Timing, timing)] {
            if let Some(lap) = self.lap.get_mut(stage as usize) {
                *lap += ticks;
            }
        }
        (self.stage, self.since) = (stage, now);
    }

    /// Ends an iteration that dealt with so many packets; what follows, until the next one ends, counts for that.
    #[inline(always)]
    pub fn end(&mut self, packets: usize, counters: &mut Counters) {
        if self.on {
            self.end_now(packets, counters);
        }
    }

    #[cold]
    #[inline(never)]
    fn end_now(&mut self, packets: usize, counters: &mut Counters) {
        self.end_at(packets, counters, now());
    }

    fn end_at(&mut self, packets: usize, counters: &mut Counters, now: Tick) {
        self.enter_at(Stage::Control, now);
        let [received, sent] = self.before;
        counters.add_timed(Timed::Iterations, 1);
        counters.add_timed(Timed::In, counters.get(Counter::In) - received);
        counters.add_timed(Timed::Out, counters.get(Counter::Out) - sent);
        self.before = [counters.get(Counter::In), counters.get(Counter::Out)];
        for (stage, ticks) in Stage::ALL.iter().zip(&mut self.lap) {
            // An iteration that found nothing was idle, all but the measuring of it.
            let of = if packets == 0 && *stage != Stage::Timing { Stage::Idle } else { *stage };
            counters.add_stage(of, std::mem::take(ticks));
        }
    }

    /// The worker is about to block: that time is nobody's.
    pub fn stop(&mut self) {
        self.on = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Running since tick 0, each change at a cost of 3.
    fn running() -> Stopwatch {
        Stopwatch { on: true, cost: 3, ..Stopwatch::new() }
    }

    #[test]
    fn the_times_of_all_stages_add_up_to_the_whole_without_what_the_changes_cost() {
        let (mut watch, mut counters) = (running(), Counters::default());
        for (stage, at) in [(Stage::Rx, 10), (Stage::Lookup, 110), (Stage::Rx, 150), (Stage::Tx, 151)] {
            watch.enter_at(stage, Tick(at));
        }
        watch.end_at(5, &mut counters, Tick(200));
        let of = |stage| counters.stage(stage);
        assert_eq!((of(Stage::Control), of(Stage::Rx), of(Stage::Lookup), of(Stage::Tx)), (7, 97, 37, 46));
        // A change that was quicker than usual takes no more off than there is.
        assert_eq!(of(Stage::Timing), 4 * 3 + 1);
        assert_eq!(Stage::ALL.iter().map(|stage| of(*stage)).sum::<u64>(), 200);
        assert_eq!(counters.timed(Timed::Iterations), 1);
    }

    #[test]
    fn an_iteration_without_packets_was_idle() {
        let (mut watch, mut counters) = (running(), Counters::default());
        watch.enter_at(Stage::Rx, Tick(10));
        watch.enter_at(Stage::Tx, Tick(30));
        watch.end_at(0, &mut counters, Tick(50));
        assert_eq!((counters.stage(Stage::Idle), counters.stage(Stage::Timing)), (41, 9));
    }

    #[test]
    fn packets_count_from_the_beginning_of_the_iteration() {
        let (mut watch, mut counters) = (Stopwatch::new(), Counters::default());
        counters.add(Counter::In, 100);
        counters.add(Counter::Out, 90);
        watch.begin(true, &counters);
        counters.add(Counter::In, 32);
        counters.add(Counter::Out, 8);
        watch.end(32, &mut counters);
        watch.begin(false, &counters);
        counters.add(Counter::In, 32);
        watch.end(32, &mut counters);
        assert_eq!((counters.timed(Timed::In), counters.timed(Timed::Out)), (32, 8));
    }

    #[test]
    fn a_change_costs_something_and_nothing_is_measured_before_anybody_asks() {
        let (mut watch, mut counters) = (Stopwatch::new(), Counters::default());
        watch.begin(false, &counters);
        assert_eq!(watch.swap(Stage::Rx), Stage::Control);
        assert_eq!(watch.stage, Stage::Control);
        watch.end(1, &mut counters);
        assert_eq!(counters.timed(Timed::Iterations), 0);
        watch.begin(true, &counters);
        assert!(watch.cost > 0 && watch.lap == [0; Stage::COUNT]);
    }

    #[test]
    fn an_interrupt_while_a_change_is_rehearsed_is_no_cost_of_changes() {
        let (mut watch, mut read) = (Stopwatch::new(), 0);
        watch.rehearse(|| {
            read += 1;
            Tick(20 * read + if read > 40 { 5_000_000 } else { 0 })
        });
        assert_eq!(watch.cost, 20);
    }
}
