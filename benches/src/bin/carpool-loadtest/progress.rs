//! A bar while trials are made; lines now and then where there is no terminal.

use std::cell::Cell;
use std::io::IsTerminal;
use std::rc::Rc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::trial::Trial;

/// The bar, and lines beside it.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
    quiet: bool,
    begin: Instant,
    /// When a line last stood for the bar.
    said: Rc<Cell<Instant>>,
}

/// The time between such lines.
const INTERVAL: Duration = Duration::from_secs(30);

impl Progress {
    /// A bar that is full after about so many trials. `quiet`: neither bar nor lines.
    pub fn new(quiet: bool) -> Progress {
        let target = if quiet || !std::io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed} (about {eta} left) {msg}") {
            bar.set_style(style);
        }
        let begin = Instant::now();
        Progress { bar, quiet, begin, said: Rc::new(Cell::new(begin)) }
    }

    /// So many more trials are expected.
    pub fn expect(&self, trials: u64) {
        self.bar.set_length(self.bar.position() + trials.max(1));
    }

    /// What is being done now.
    pub fn say(&self, purpose: &str, trial: &Trial) {
        let load = match trial.burst {
            Some(packets) => format!("{packets} packets"),
            None => format!("{:.3} Mpps", trial.pps / 1e6),
        };
        self.bar.set_message(format!("{purpose}, {} B, {load}", trial.size));
    }

    /// A trial is done. Where there is no terminal a line says so now and then.
    pub fn step(&self) {
        if Some(self.bar.position()) >= self.bar.length() {
            // Searches take as long as they take.
            self.bar.inc_length(1);
        }
        self.bar.inc(1);
        if self.bar.is_hidden() && self.said.get().elapsed() > INTERVAL {
            self.said.set(Instant::now());
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
            self.line(&format!("{done} of about {all} trials, {} s", self.begin.elapsed().as_secs()));
        }
    }

    /// So many are not needed.
    pub fn skip(&self, trials: u64) {
        self.bar.set_length(self.bar.length().unwrap_or(0).saturating_sub(trials).max(self.bar.position()));
    }

    /// A line above the bar.
    pub fn line(&self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| eprintln!("{text}"));
        }
    }

    /// The bar goes.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
