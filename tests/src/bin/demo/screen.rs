//! What a person sees while the streams flow: on a terminal a table redrawn in place, elsewhere a line now and then.
//!
//! With `--json` all of it goes to stderr, so that stdout carries the result alone.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use carpool_tests::voice::Progress;

/// A terminal is redrawn often enough to look alive.
const REDRAW: Duration = Duration::from_millis(250);
/// A log gets a line rarely enough to be read.
const LINE: Duration = Duration::from_secs(3);

pub struct Screen {
    out: Box<dyn Write>,
    terminal: bool,
    begun: Option<Instant>,
    /// Lines of the table on the screen now.
    drawn: usize,
}

impl Screen {
    pub fn new(json: bool) -> Self {
        let (out, terminal): (Box<dyn Write>, bool) = if json {
            (Box::new(io::stderr()), io::stderr().is_terminal())
        } else {
            (Box::new(io::stdout()), io::stdout().is_terminal())
        };
        Self { out, terminal, begun: None, drawn: 0 }
    }

    /// How long to wait before the next [`Self::draw`].
    pub fn period(&self) -> Duration {
        if self.terminal { REDRAW } else { LINE }
    }

    pub fn say(&mut self, text: &str) {
        self.put(&format!("{text}\n"));
    }

    pub fn draw(&mut self, progress: &Progress) {
        let elapsed = self.begun.get_or_insert_with(Instant::now).elapsed() + self.period();
        let rows = rows(progress);
        if self.terminal {
            let mut text = String::new();
            if self.drawn > 0 {
                // Up to the table's first line, and clear from there (ECMA-48: CUU, ED).
                text += &format!("\x1b[{}A\x1b[J", self.drawn);
            }
            text += &format!("\n  {:<34}{:>8.0} s\n", "time", elapsed.as_secs_f64());
            for (name, value) in &rows {
                text += &format!("  {name:<34}{value:>10}\n");
            }
            self.drawn = rows.len() + 2;
            self.put(&text);
        } else {
            let cells: Vec<_> = rows.iter().map(|(name, value)| format!("{name} {value}")).collect();
            self.put(&format!("{}\n", cells.join(" | ")));
        }
    }

    /// The last table stays; where lines are written the verdict says it all.
    pub fn draw_last(&mut self, progress: &Progress) {
        if self.terminal {
            self.draw(progress);
        }
    }

    fn put(&mut self, text: &str) {
        // A reader that went away does not stop the experiment; the exit code still tells.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

fn rows(progress: &Progress) -> Vec<(&'static str, String)> {
    let carried = progress.crossing.carried();
    let packets = progress.crossing.packets();
    let ratio = if packets == 0 { "-".to_owned() } else { format!("{:.2}", carried as f64 / packets as f64) };
    let delay = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |us| format!("{us:.0} us"));
    vec![
        ("streams", progress.streams.to_string()),
        ("packets sent", progress.sent.to_string()),
        ("packets arrived", progress.arrived.to_string()),
        ("pooled packets through transit", progress.crossing.pooled.to_string()),
        ("unpooled through transit", progress.crossing.lone.to_string()),
        ("ratio", ratio),
        ("delay p50", delay(progress.delay.map(|delay| delay.p50))),
        ("delay p99", delay(progress.delay.map(|delay| delay.p99))),
    ]
}
