//! How far it is: a line on standard error for what takes longer than two seconds, where that is a terminal.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

/// Whoever waits longer sees how far it is.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time between two figures.
const INTERVAL: Duration = Duration::from_millis(200);

/// A line that is written over and over, and goes when this ends.
pub(super) struct Progress {
    is_terminal: bool,
    /// When the next figure is due.
    due: Instant,
    shown: bool,
}

impl Progress {
    /// Begins now. What `takes` is known to be short is not shown at all, what is known to be long at once.
    pub fn begin(takes: Option<Duration>) -> Progress {
        let (is_terminal, now) = (io::stderr().is_terminal(), Instant::now());
        let known = takes.map(|takes| takes > PATIENCE);
        let due = if known == Some(true) { now } else { now + PATIENCE };
        Progress { is_terminal: is_terminal && known != Some(false), due, shown: false }
    }

    /// Shows what `say` says, unless it is too early for the next figure.
    pub fn show(&mut self, say: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.is_terminal && now >= self.due {
            self.due = now + INTERVAL;
            self.shown = true;
            // Back to the start of the line, and clear it: ECMA-48, EL.
            eprint!("\r\x1b[K{}", say());
            // It is shown later, then.
            let _ = io::stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

/// Waits for so long, and shows what is being waited for and how much of it is over.
pub(super) fn wait(time: Duration, what: &str) {
    let begin = Instant::now();
    let mut progress = Progress::begin(Some(time));
    loop {
        let over = begin.elapsed();
        let Some(left) = time.checked_sub(over).filter(|left| !left.is_zero()) else { return };
        progress.show(|| line(what, over, time));
        thread::sleep(left.min(INTERVAL));
    }
}

fn line(what: &str, over: Duration, time: Duration) -> String {
    format!("{what}: {} of {} s", over.as_secs(), time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_that_are_over_are_said() {
        let second = Duration::from_secs(1);
        assert_eq!(line("measuring", second * 9 - second / 10, second * 10), "measuring: 8 of 10 s");
        assert_eq!(line("measuring", second * 2, second * 5 / 2), "measuring: 2 of 2.5 s");
    }

    #[test]
    fn what_is_waited_for_is_over_when_it_says_so() {
        let begin = Instant::now();
        wait(Duration::from_millis(30), "measuring");
        assert!(begin.elapsed() >= Duration::from_millis(30));
    }
}
