//! Lines to and from a generator, with a limit on how long an answer may take.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use carpool_benches::interrupt::Interrupt;

use crate::error::{LoadError, Result};
use crate::patience::wait;

/// The two directions.
pub struct Talk {
    generator: &'static str,
    to: Box<dyn Write>,
    lines: Receiver<String>,
    interrupt: Interrupt,
}

impl Talk {
    /// Reads lines on a thread of its own, which ends with the generator's output.
    pub fn new(
        generator: &'static str,
        to: impl Write + 'static,
        from: impl Read + Send + 'static,
        interrupt: Interrupt,
    ) -> Talk {
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(std::result::Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Talk { generator, to: Box::new(to), lines, interrupt }
    }

    fn failed(&self, problem: impl Into<String>) -> LoadError {
        LoadError::Generator { generator: self.generator, problem: problem.into() }
    }

    /// Sends a line.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let sent = writeln!(self.to, "{line}").and_then(|()| self.to.flush());
        sent.map_err(|error| self.failed(format!("it does not listen any more ({error})")))
    }

    /// The next line; an error where it ended, or where none comes in time.
    pub fn hear(&mut self, limit: Duration) -> Result<String> {
        let heard = wait(&self.interrupt, limit, || match self.lines.try_recv() {
            Ok(line) => Ok(Some(Some(line))),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Ok(Some(None)),
        })?;
        match heard {
            Some(Some(line)) => Ok(line),
            Some(None) => Err(self.failed("it ended")),
            None => Err(self.failed(format!("it did not answer within {} s", limit.as_secs()))),
        }
    }
}
