//! `carpool route load`: a table of routes in chunks, committed at once.

use super::Failure;
use super::client::Client;
use super::progress::Progress;
use crate::api::route::{Route, RouteLoaded};
use crate::api::route_load::{LoadedRoute, RouteLoadBegin, RouteLoadChunk, RouteLoadCommit};

/// Routes in a chunk. The longest takes 41 bytes, so that a chunk stays well below the 1 MiB that a line may have.
const CHUNK: usize = 20_000;

/// Sends the routes and commits them.
pub(super) fn load(mut client: Client, routes: &[Route], replace: bool) -> Result<RouteLoaded, Failure> {
    let mut progress = Progress::begin(None);
    let id = client.call(&RouteLoadBegin {})?.id;
    for (number, chunk) in routes.chunks(CHUNK).enumerate() {
        progress.show(|| line(number * CHUNK, routes.len()));
        client.call(&RouteLoadChunk { id, routes: chunk.iter().copied().map(LoadedRoute).collect() })?;
    }
    progress.show(|| line(routes.len(), routes.len()));
    client.call(&RouteLoadCommit { id, replace })
}

fn line(sent: usize, all: usize) -> String {
    let percent = (sent * 100).checked_div(all).unwrap_or(100);
    format!("{sent} of {all} routes sent ({percent}%)")
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
