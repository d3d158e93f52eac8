//! The search for the highest load that still passes: RFC 2544, 26.1, by bisection.
//!
//! Pure: it says which load to try next and is told what became of it. A load is tried [`Bounds::trials`] times and passes
//! where no more than [`Bounds::may_exceed`] of these trials lose more than is allowed; with 0 that is RFC 2544's own rule,
//! with a minority it is that of MLRsearch (the goal exceed ratio), which forgives a machine that looks away for a moment.
//! What was found is tried once more, [`Bounds::confirm`] times by the same rule, and given up for a lower load where
//! that fails. Loads are packets a second, or packets in a burst.

/// What is searched for, and how closely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The lowest load that is tried.
    pub low: f64,
    /// The highest, tried first.
    pub high: f64,
    /// The search ends when the load that failed is at most this much above the one that passed, as a part of it.
    pub resolution: f64,
    /// The part of the packets that may be lost.
    pub loss: f64,
    /// Trials of each load; at least 1.
    pub trials: u32,
    /// How many of them may lose more.
    pub may_exceed: u32,
    /// Trials of the load that was found, once the search has ended.
    pub confirm: u32,
}

/// What became of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// The part of the packets sent that did not arrive.
    pub loss: f64,
    /// Whether the load was offered at all: a generator, or a port that pushes back, can fall short of it.
    pub offered: bool,
    /// What arrived, in the unit of the load: after the first failure the next load is chosen by it.
    pub arrived: f64,
}

/// The end of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found {
    /// The load passes, and `above` it one fails.
    Between { load: f64, above: f64 },
    /// The highest load that was to be tried passes.
    AtLeast { load: f64 },
    /// The lowest load that was to be tried fails.
    Below { load: f64 },
}

/// A search on its way.
#[derive(Clone, Debug)]
pub struct Search {
    bounds: Bounds,
    /// Loads that passed, each above the one before it.
    passed: Vec<f64>,
    /// The lowest load that failed.
    failed: Option<f64>,
    /// The load that is being tried, and its trials so far: good ones, bad ones.
    trying: f64,
    good: u32,
    bad: u32,
    confirming: bool,
    /// The load was chosen by what arrived of a higher one: if it passes, what is sought is just above it.
    hinted: bool,
    found: Option<Found>,
}

impl Search {
    pub fn new(bounds: Bounds) -> Search {
        let low = bounds.low.min(bounds.high);
        let trials = bounds.trials.max(1);
        let bounds = Bounds { low, trials, may_exceed: bounds.may_exceed.min(trials - 1), ..bounds };
        let trying = bounds.high;
        Search {
            bounds,
            passed: vec![],
            failed: None,
            trying,
            good: 0,
            bad: 0,
            confirming: false,
            hinted: false,
            found: None,
        }
    }

    /// The load to try next; none at the end.
    pub fn next(&self) -> Option<f64> {
        self.found.is_none().then_some(self.trying)
    }

    /// How it ended.
    pub fn found(&self) -> Option<Found> {
        self.found
    }

    /// Takes what became of the trial of [`Search::next`].
    pub fn record(&mut self, seen: Seen) {
        if self.found.is_some() {
            return;
        }
        if seen.offered && seen.loss <= self.bounds.loss {
            self.good += 1;
        } else {
            self.bad += 1;
        }
        let wanted = if self.confirming { self.bounds.confirm } else { self.bounds.trials };
        let may_exceed = self.bounds.may_exceed.min(wanted.saturating_sub(1));
        if self.bad > may_exceed {
            self.load_failed(seen.arrived);
        } else if self.good + may_exceed >= wanted {
            self.load_passed();
        }
    }

    fn load_passed(&mut self) {
        if self.confirming {
            self.end();
            return;
        }
        self.passed.push(self.trying);
        self.go_on(None);
    }

    fn load_failed(&mut self, arrived: f64) {
        let first = self.failed.is_none();
        self.failed = Some(self.trying);
        if self.confirming {
            self.passed.pop();
            self.confirming = false;
        }
        if self.trying <= self.bounds.low {
            self.found = Some(Found::Below { load: self.trying });
            return;
        }
        self.go_on(first.then_some(arrived));
    }

    /// Chooses the next load, or that the one found is to be confirmed, or the end.
    fn go_on(&mut self, arrived: Option<f64>) {
        (self.good, self.bad) = (0, 0);
        let passed = self.passed.last().copied();
        let below = passed.unwrap_or(self.bounds.low);
        let hinted = std::mem::replace(&mut self.hinted, false);
        let just_above = below * (1.0 + self.bounds.resolution);
        self.trying = match (self.failed, passed) {
            (Some(failed), Some(_)) if failed > just_above && hinted => just_above,
            (Some(failed), _) if failed > just_above => match arrived {
                Some(arrived) if arrived > below && arrived < failed => {
                    self.hinted = true;
                    arrived
                }
                _ => below + (failed - below) / 2.0,
            },
            // Nothing is left between them: the lowest load was not tried yet.
            (Some(_), None) => self.bounds.low,
            (_, Some(passed)) if self.bounds.confirm > 0 => {
                self.confirming = true;
                passed
            }
            _ => return self.end(),
        };
    }

    fn end(&mut self) {
        self.found = self.passed.last().map(|&load| match self.failed {
            Some(above) => Found::Between { load, above },
            None => Found::AtLeast { load },
        });
    }
}

/// About how many trials a search takes, for the estimate of a run.
pub fn expected_trials(bounds: &Bounds) -> u32 {
    // From the first failure on, what arrived is close to what is looked for: some halvings are saved.
    let halvings = (0.5 / bounds.resolution.clamp(1e-6, 0.5)).log2().ceil() as u32;
    (2 + halvings) * (bounds.trials.max(1) - bounds.may_exceed.min(bounds.trials.saturating_sub(1))) + bounds.confirm
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: Bounds =
        Bounds { low: 1e3, high: 14.88e6, resolution: 0.01, loss: 0.0, trials: 1, may_exceed: 0, confirm: 0 };

    /// A device that carries so many packets a second, and now and then looks away, when it loses some at any load.
    struct Device {
        capacity: f64,
        looks_away: Vec<bool>,
        trials: usize,
    }

    impl Device {
        fn carry(&mut self, load: f64) -> Seen {
            let away = self.looks_away.get(self.trials).copied().unwrap_or(false);
            self.trials += 1;
            let arrived = self.capacity.min(load) * if away { 0.9 } else { 1.0 };
            Seen { loss: 1.0 - arrived / load, offered: true, arrived }
        }
    }

    /// Runs a search to its end and returns what it found with every load it tried and whether that trial was good.
    fn run(bounds: Bounds, mut carry: impl FnMut(f64) -> Seen) -> (Found, Vec<(f64, bool)>) {
        let mut search = Search::new(bounds);
        let mut tried = Vec::new();
        while let Some(load) = search.next() {
            let seen = carry(load);
            tried.push((load, seen.offered && seen.loss <= bounds.loss));
            search.record(seen);
            assert!(tried.len() < 5000, "it does not end");
        }
        (search.found().expect("no load is left to try, so it has ended"), tried)
    }

    fn bounds() -> impl Strategy<Value = Bounds> {
        (1.0..1e5f64, 1.0..1e3f64, 0.001..0.2f64, prop::sample::select(vec![0.0, 0.005]), 1..6u32, 0..5u32, 0..4u32)
            .prop_map(|(low, factor, resolution, loss, trials, may_exceed, confirm)| Bounds {
                low,
                high: low * factor,
                resolution,
                loss,
                trials,
                may_exceed,
                confirm,
            })
    }

    proptest! {
        #[test]
        fn a_steady_device_is_found_to_its_capacity_within_the_resolution(
            bounds in bounds(), part in 0.0001..1.2f64,
        ) {
            let capacity = bounds.high * part;
            let mut device = Device { capacity, looks_away: vec![], trials: 0 };
            // So much more may be sent than it carries before the loss is more than allowed.
            let limit = capacity / (1.0 - bounds.loss);
            match run(bounds, |load| device.carry(load)).0 {
                Found::AtLeast { load } => {
                    prop_assert_eq!(load, bounds.high);
                    prop_assert!(load <= limit * (1.0 + 1e-9));
                }
                Found::Below { load } => {
                    prop_assert_eq!(load, bounds.low);
                    prop_assert!(load > limit * (1.0 - 1e-9));
                }
                Found::Between { load, above } => {
                    prop_assert!(load <= limit * (1.0 + 1e-9) && above > limit * (1.0 - 1e-9), "{load} {limit} {above}");
                    prop_assert!(above <= load * (1.0 + bounds.resolution) * (1.0 + 1e-9));
                }
            }
        }

        #[test]
        fn a_noisy_device_is_never_credited_with_more_than_its_trials_showed(
            bounds in bounds(), part in 0.0001..1.2f64, looks_away in prop::collection::vec(any::<bool>(), 0..200),
        ) {
            let capacity = bounds.high * part;
            let mut device = Device { capacity, looks_away, trials: 0 };
            let (found, tried) = run(bounds, |load| device.carry(load));
            for (load, _) in &tried {
                prop_assert!(*load >= bounds.low * (1.0 - 1e-9) && *load <= bounds.high * (1.0 + 1e-9));
            }
            let load = match found {
                Found::Between { load, above } => {
                    prop_assert!(load < above);
                    load
                }
                Found::AtLeast { load } => load,
                Found::Below { .. } => return Ok(()),
            };
            prop_assert!(load <= capacity / (1.0 - bounds.loss) * (1.0 + 1e-9), "{load} is more than {capacity}");
            let at_it: Vec<bool> = tried.iter().filter(|(tried, _)| *tried == load).map(|(_, good)| *good).collect();
            let may_exceed = bounds.may_exceed.min(bounds.trials - 1);
            let good = at_it.iter().filter(|good| **good).count();
            prop_assert!(good as u32 >= bounds.trials - may_exceed, "{good} good trials are too few");
            if bounds.confirm > 0 {
                let last = &tried[tried.len().saturating_sub(bounds.confirm as usize)..];
                prop_assert!(last.iter().any(|(_, good)| *good), "what was found was not confirmed");
            }
        }

        #[test]
        fn it_ends_soon_whatever_it_is_told(
            bounds in bounds(), seen in prop::collection::vec((0.0..1.0f64, any::<bool>(), 0.0..1e8f64), 1..50),
        ) {
            let mut told = seen.iter().cycle();
            let (_, tried) = run(bounds, |_| {
                let (loss, offered, arrived) = *told.next().expect("it is a cycle");
                Seen { loss: if loss < 0.5 { 0.0 } else { loss }, offered, arrived }
            });
            prop_assert!(tried.len() < 2000, "{} trials", tried.len());
        }
    }

    #[test]
    fn a_load_that_is_not_offered_does_not_pass() {
        let (found, _) = run(PLAIN, |load| Seen { loss: 0.0, offered: load <= 5e6, arrived: load.min(5e6) });
        let Found::Between { load, above } = found else { panic!("{found:?}") };
        assert!(load <= 5e6 && above > 5e6, "{load} {above}");
    }

    #[test]
    fn one_moment_of_looking_away_is_forgiven_where_a_minority_may_exceed() {
        let forgiving = Bounds { trials: 3, may_exceed: 1, ..PLAIN };
        let looks_away = vec![true, false, false];
        let mut device = Device { capacity: 20e6, looks_away: looks_away.clone(), trials: 0 };
        assert_eq!(run(forgiving, |load| device.carry(load)).0, Found::AtLeast { load: PLAIN.high });
        let mut device = Device { capacity: 20e6, looks_away, trials: 0 };
        let (found, _) = run(PLAIN, |load| device.carry(load));
        assert!(matches!(found, Found::Between { .. }), "RFC 2544 forgives nothing: {found:?}");
    }

    #[test]
    fn what_cannot_be_confirmed_is_given_up_for_less() {
        let mut tried_top = 0;
        let (found, _) = run(Bounds { confirm: 2, ..PLAIN }, |load| {
            tried_top += u32::from(load == PLAIN.high);
            let lucky = load < 1e6 || (load == PLAIN.high && tried_top == 1);
            Seen { loss: if lucky { 0.0 } else { 0.1 }, offered: true, arrived: 1e6 }
        });
        let Found::Between { load, .. } = found else { panic!("{found:?}") };
        assert!(load < 1e6 && load > 0.98e6, "{load}");
    }

    #[test]
    fn about_as_many_trials_as_expected_are_needed() {
        for capacity in [1.0e6, 3.3e6, 9.9e6] {
            let mut device = Device { capacity, looks_away: vec![], trials: 0 };
            let (_, tried) = run(PLAIN, |load| device.carry(load));
            let expected = expected_trials(&PLAIN) as usize;
            assert!(tried.len() <= 2 * expected && 4 * tried.len() >= expected, "{} of {expected}", tried.len());
        }
    }
}
