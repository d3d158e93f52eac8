//! What a person sees while the streams flow: on a terminal a table redrawn in place, elsewhere a line now and then.
//!
//! With `--json` all of it goes to stderr, so that stdout carries the result alone.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use carpool_tests::{Result, error::Doing as _};
use serde::Serialize;

/// What there is to see, line by line: a name and a value.
pub type Rows = Vec<(String, String)>;

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

    pub fn draw(&mut self, rows: &Rows) {
        let elapsed = self.begun.get_or_insert_with(Instant::now).elapsed() + self.period();
        if self.terminal {
            let mut text = String::new();
            if self.drawn > 0 {
                // Up to the table's first line, and clear from there (ECMA-48: CUU, ED).
                text += &format!("\x1b[{}A\x1b[J", self.drawn);
            }
            text += &format!("\n  {:<34}{:>8.0} s\n", "time", elapsed.as_secs_f64());
            for (name, value) in rows {
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
    pub fn draw_last(&mut self, rows: &Rows) {
        if self.terminal {
            self.draw(rows);
        }
    }

    /// Ends the output of a scenario with its figures as one line of JSON on stdout.
    pub fn result(report: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(report).map_err(io::Error::from);
        let written = line.and_then(|line| writeln!(io::stdout(), "{line}"));
        written.doing("writing the result to stdout")
    }

    fn put(&mut self, text: &str) {
        // A reader that went away does not stop the experiment; the exit code still tells.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}
