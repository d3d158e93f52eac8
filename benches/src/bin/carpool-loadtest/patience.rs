//! Waiting for what has no event to wait for: with a limit, and only as long as nobody wants this to end.

use std::thread;
use std::time::{Duration, Instant};

use carpool_benches::interrupt::Interrupt;

use crate::error::Result;

/// How often it is asked again.
const LOOK: Duration = Duration::from_millis(5);

/// Asks until there is an answer, or `limit` is over: then none. An error once a signal has come.
pub fn wait<T>(
    interrupt: &Interrupt,
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let begin = Instant::now();
    loop {
        interrupt.check()?;
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        if begin.elapsed() > limit {
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}
