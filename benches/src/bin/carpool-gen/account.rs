//! What became of the packets of a trial: each counted once, whatever order they come in and however often.
//!
//! Reordered is what RFC 4737, section 3.3, calls so: a packet whose sequence number is smaller than the next one expected, which is
//! one more than the largest seen so far. It is counted flow by flow, as no router promises more than the order of a flow. A
//! copy of a packet that was seen is a duplicate and nothing else.
//!
//! Which packets were seen is known of the last [`WINDOW`] sequence numbers. What comes later than that is late, and lost all the
//! same (RFC 7680, section 2.2, has such a bound for loss).

/// Sequence numbers that are remembered: at 10 million packets a second, those of 0.8 seconds.
pub const WINDOW: u64 = 1 << 23;

/// What a packet turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Seen for the first time.
    First,
    /// Seen before.
    Duplicate,
    /// Too far behind to know.
    Late,
}

/// What arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Packets that were seen, each once.
    pub received: u64,
    /// Further copies of them.
    pub duplicated: u64,
    /// Packets among the received that came behind a later one of their flow.
    pub reordered: u64,
    /// Packets that came more than [`WINDOW`] sequence numbers behind the latest; they are not among the received.
    pub late: u64,
}

/// Keeps account of one trial after the other.
pub struct Account {
    /// One bit for each of the last sequence numbers: whether it was seen.
    seen: Vec<u64>,
    /// One more than the largest sequence number seen.
    next: u64,
    /// The same of each flow.
    flows: Vec<u64>,
    arrived: Arrived,
}

impl Account {
    /// An account that can tell `flows` flows apart.
    pub fn new(flows: usize) -> Account {
        Account { seen: vec![0; (WINDOW / 64) as usize], next: 0, flows: vec![0; flows], arrived: Arrived::default() }
    }

    /// Forgets everything, for a trial with `flows` flows.
    pub fn restart(&mut self, flows: usize) {
        self.seen.fill(0);
        self.next = 0;
        self.flows.clear();
        self.flows.resize(flows, 0);
        self.arrived = Arrived::default();
    }

    /// What arrived so far.
    pub fn arrived(&self) -> Arrived {
        self.arrived
    }

    /// Counts a packet of a flow that arrives.
    #[inline]
    pub fn arrive(&mut self, sequence: u64, flow: usize) -> Arrival {
        if sequence >= self.next {
            self.forget_up_to(sequence);
            self.next = sequence + 1;
        } else if self.next - sequence > WINDOW {
            self.arrived.late += 1;
            return Arrival::Late;
        }
        let Some(word) = self.seen.get_mut((sequence % WINDOW / 64) as usize) else { return Arrival::Late };
        let bit = 1 << (sequence % 64);
        if *word & bit != 0 {
            self.arrived.duplicated += 1;
            return Arrival::Duplicate;
        }
        *word |= bit;
        self.arrived.received += 1;
        if let Some(next) = self.flows.get_mut(flow) {
            if sequence >= *next {
                *next = sequence + 1;
            } else {
                self.arrived.reordered += 1;
            }
        }
        Arrival::First
    }

    /// Makes room for the sequence numbers from the next one expected to this one.
    #[inline]
    fn forget_up_to(&mut self, sequence: u64) {
        let mut at = self.next;
        // Behind a whole window nothing is left to be forgotten.
        let end = sequence.min(at.saturating_add(WINDOW - 1));
        while at <= end {
            let Some(word) = self.seen.get_mut((at % WINDOW / 64) as usize) else { return };
            if at.is_multiple_of(64) && end - at >= 63 {
                *word = 0;
                at += 64;
            } else {
                *word &= !(1 << (at % 64));
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// What the account is held against: it remembers everything.
    #[derive(Default)]
    struct Model {
        seen: HashSet<u64>,
        largest: Option<u64>,
        flows: Vec<Option<u64>>,
        arrived: Arrived,
    }

    impl Model {
        fn arrive(&mut self, sequence: u64, flow: usize) {
            if self.largest.is_some_and(|largest| largest >= sequence + WINDOW) {
                self.arrived.late += 1;
                return;
            }
            self.largest = self.largest.max(Some(sequence));
            if !self.seen.insert(sequence) {
                self.arrived.duplicated += 1;
                return;
            }
            self.arrived.received += 1;
            self.flows.resize(self.flows.len().max(flow + 1), None);
            if self.flows[flow].is_some_and(|largest| largest > sequence) {
                self.arrived.reordered += 1;
            }
            self.flows[flow] = self.flows[flow].max(Some(sequence));
        }
    }

    #[test]
    fn loss_duplicates_and_order_are_told_apart() {
        let mut account = Account::new(1);
        let arrivals = [0, 1, 1, 4, 2, 4, 2, 5].map(|sequence| account.arrive(sequence, 0));
        use Arrival::{Duplicate, First};
        assert_eq!(arrivals, [First, First, Duplicate, First, First, Duplicate, Duplicate, First]);
        // Of six packets 3 is missing, and only 2 came behind a later one.
        assert_eq!(account.arrived(), Arrived { received: 5, duplicated: 3, reordered: 1, late: 0 });
    }

    #[test]
    fn packets_of_other_flows_may_overtake() {
        let mut account = Account::new(2);
        for sequence in [1, 0, 3, 2, 5, 4] {
            account.arrive(sequence, (sequence % 2) as usize);
        }
        assert_eq!(account.arrived(), Arrived { received: 6, ..Arrived::default() });
    }

    #[test]
    fn what_comes_behind_the_window_is_late() {
        let mut account = Account::new(1);
        account.arrive(WINDOW, 0);
        assert_eq!((account.arrive(1, 0), account.arrive(0, 0)), (Arrival::First, Arrival::Late));
        assert_eq!(account.arrived(), Arrived { received: 2, duplicated: 0, reordered: 1, late: 1 });
    }

    proptest! {
        #[test]
        fn the_account_is_that_of_one_who_remembers_everything(
            moves in prop::collection::vec((0..40u8, 0..400u64), 1..400), flows in 1..5u64,
        ) {
            let mut account = Account::new(flows as usize);
            // Twice: nothing of a trial is left in the next one.
            for _ in 0..2 {
                account.restart(flows as usize);
                let mut model = Model::default();
                let mut at = 0u64;
                for &(kind, by) in &moves {
                    let sequence = match kind {
                        0..25 => { at += 1; at }
                        25..32 => at.saturating_sub(by),
                        32..39 => { at += by; at }
                        // Around the end of the window.
                        _ => { at += WINDOW - 200 + by; at }
                    };
                    let flow = (sequence % flows) as usize;
                    account.arrive(sequence, flow);
                    model.arrive(sequence, flow);
                    prop_assert_eq!(account.arrived(), model.arrived, "after {}", sequence);
                }
            }
        }
    }
}
