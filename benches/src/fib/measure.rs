//! Look-ups a second: contenders in turn, round by round, on one thread.
//!
//! A contender's turn begins with look-ups that do not count, because the one before has had the caches; then it looks
//! up window after window of the stream for [`TURN`]. Its next turn goes on where this one ended. Time is the thread's
//! own processor time, so that what else runs on the machine counts less.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::address::Address;
use super::contender::{BURST, Contender};
use crate::error::BenchError;
use crate::interrupt::Interrupt;

/// Destinations looked up between two looks at the clock.
pub const WINDOW: usize = 1 << 14;
/// How long a contender warms up at least.
const WARM_UP: Duration = Duration::from_millis(10);
/// How long it then looks up at least.
const TURN: Duration = Duration::from_millis(15);

/// A contender and the stream it is measured with.
pub struct Entry<'e, A> {
    pub contender: &'e mut dyn Contender<A>,
    pub destinations: &'e [A],
}

/// Millions of look-ups a second, of each contender in each round.
pub fn rates<A: Address>(
    entries: &mut [Entry<'_, A>],
    rounds: u16,
    interrupt: &Interrupt,
) -> Result<Vec<Vec<f64>>, BenchError> {
    let mut rates = vec![Vec::new(); entries.len()];
    let mut cursors = vec![0; entries.len()];
    for _ in 0..rounds {
        for ((entry, rates), cursor) in entries.iter_mut().zip(&mut rates).zip(&mut cursors) {
            interrupt.check()?;
            rates.push(turn(entry, cursor)?);
        }
    }
    Ok(rates)
}

fn turn<A: Address>(entry: &mut Entry<'_, A>, cursor: &mut usize) -> Result<f64, BenchError> {
    let windows = entry.destinations.len().div_ceil(WINDOW);
    entry.contender.prepare();
    // Millions of look-ups a second over this time.
    let mut look_up = |at_least: Duration| {
        let mut looked_up = 0;
        let start = processor_time()?;
        loop {
            let window = entry.destinations.chunks(WINDOW).nth(*cursor % windows).unwrap_or_default();
            *cursor += 1;
            entry.contender.pass(window);
            looked_up += window.len();
            let took = processor_time()? - start;
            if took >= at_least {
                return Ok(looked_up as f64 / took.as_secs_f64() / 1e6);
            }
        }
    };
    look_up(WARM_UP)?;
    look_up(TURN)
}

/// Processor time of this thread.
pub fn processor_time() -> Result<Duration, BenchError> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map(Duration::from).map_err(|error| BenchError::System(format!("no processor time: {error}")))
}

const _: () = assert!(WINDOW.is_multiple_of(BURST));
