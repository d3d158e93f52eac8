//! Changes that were refused for want of room, or because a worker stands still: counted, and told in the log.

use std::time::{Duration, Instant};

use super::ChangeError;

/// The least time between two lines of the log: a client that tries again and again does not fill it.
const PAUSE: Duration = Duration::from_secs(10);

/// The refused changes since the router started.
#[derive(Debug, Default)]
pub(super) struct RefusedChanges {
    count: u64,
    /// Those since the last line of the log.
    untold: u64,
    told_at: Option<Instant>,
}

impl RefusedChanges {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// One more; returns the line for the log, if it is time for one.
    pub fn add(&mut self, why: &ChangeError, now: Instant) -> Option<String> {
        self.count += 1;
        if self.told_at.is_some_and(|told_at| now < told_at + PAUSE) {
            self.untold += 1;
            return None;
        }
        self.told_at = Some(now);
        Some(match std::mem::take(&mut self.untold) {
            0 => format!("a change was refused: {why}"),
            others => format!("a change was refused, as were {others} since the last such line: {why}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forwarding::ForwardingError;
    use carpool_dataplane::fib::FibError;

    #[test]
    fn a_flood_of_refused_changes_is_counted_whole_and_told_in_a_line_now_and_then() {
        let full = ChangeError::Forwarding(ForwardingError::Table(FibError::Full));
        let mut refused = RefusedChanges::default();
        let now = Instant::now();
        let first = refused.add(&full, now).expect("told at once");
        assert_eq!(first, "a change was refused: the forwarding table is full; nothing was changed");
        for millisecond in 0..1000 {
            assert_eq!(refused.add(&full, now + Duration::from_millis(millisecond)), None);
        }
        let next = refused.add(&full, now + PAUSE).expect("told again");
        let expected = "a change was refused, as were 1000 since the last such line: \
                        the forwarding table is full; nothing was changed";
        assert_eq!(next, expected);
        let last = refused.add(&full, now + 2 * PAUSE).expect("told again");
        assert_eq!(last, first, "none in between");
        assert_eq!(refused.count(), 1003);
    }
}
