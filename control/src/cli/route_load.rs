//! `carpool route load`: a table of routes in chunks, committed at once.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::Failure;
use super::client::Client;
use crate::api::route::{Route, RouteLoaded};
use crate::api::route_load::{LoadedRoute, RouteLoadBegin, RouteLoadChunk, RouteLoadCommit};

/// Routes in a chunk. The longest takes 41 bytes, so that a chunk stays well below the 1 MiB that a line may have.
const CHUNK: usize = 20_000;
/// Whoever waits longer sees how far it is.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time between two figures.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Sends the routes and commits them.
pub(super) fn load(mut client: Client, routes: &[Route], replace: bool) -> Result<RouteLoaded, Failure> {
    let mut progress = Progress::begin();
    let id = client.call(&RouteLoadBegin {})?.id;
    for (number, chunk) in routes.chunks(CHUNK).enumerate() {
        progress.show(number * CHUNK, routes.len());
        client.call(&RouteLoadChunk { id, routes: chunk.iter().copied().map(LoadedRoute).collect() })?;
    }
    progress.show(routes.len(), routes.len());
    let loaded = client.call(&RouteLoadCommit { id, replace });
    progress.end();
    loaded
}

/// How far it is, on a terminal, for what takes long.
struct Progress {
    is_terminal: bool,
    /// When the next figure is due.
    due: Instant,
    shown: bool,
}

impl Progress {
    fn begin() -> Progress {
        Progress { is_terminal: io::stderr().is_terminal(), due: Instant::now() + PATIENCE, shown: false }
    }

    fn show(&mut self, sent: usize, all: usize) {
        let now = Instant::now();
        if self.is_terminal && now >= self.due {
            self.due = now + PROGRESS_INTERVAL;
            self.shown = true;
            let percent = (sent * 100).checked_div(all).unwrap_or(100);
            eprint!("\r{sent} of {all} routes sent ({percent}%)");
            let _ = io::stderr().flush();
        }
    }

    fn end(&self) {
        if self.shown {
            // Back to the start of the line, and clear it: ECMA-48, EL.
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Limits;
    use crate::api::route::RouteTarget;

    #[test]
    fn the_largest_chunk_fits_in_a_line() {
        let prefix = "255.255.255.255/32".parse().expect("a prefix");
        let route = LoadedRoute(Route { prefix, target: RouteTarget::Via([255; 4].into()) });
        let chunk = RouteLoadChunk { id: u64::MAX, routes: vec![route; CHUNK] };
        let bytes = serde_json::to_vec(&chunk).expect("serializable").len();
        assert!(bytes + 200 < Limits::default().line_bytes, "{bytes} bytes");
    }
}
