//! Routes, and what became of a loaded table.

use super::{show, word};
use crate::api::route::{RouteEntry, RouteList, RouteLoaded};
use crate::cli::table::{Align, Table, cell};

show!(RouteList, |list| routes(&list.routes));
show!(RouteLoaded, |loaded| {
    format!("{} routes loaded, {} changed, in {:.3} s\n", loaded.routes, loaded.changed, loaded.seconds)
});

fn routes(routes: &[RouteEntry]) -> String {
    let left = |heading| (heading, Align::Left);
    let mut table = Table::new(&["prefix", "adjacency", "via", "port", "pooled to", "source"].map(left));
    for route in routes {
        table.row([
            route.prefix.to_string(),
            word(&route.adjacency),
            cell(route.via),
            cell(route.port.as_ref()),
            cell(route.peer.as_ref()),
            word(&route.source),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::route::{AdjacencyKind, Source};
    use crate::cli::show::Show;

    #[test]
    fn routes_show_as_a_table() {
        let route = |prefix: &str, adjacency, via: Option<[u8; 4]>, port: Option<&str>, peer: Option<&str>, source| {
            RouteEntry {
                prefix: prefix.parse().expect("a prefix"),
                adjacency,
                via: via.map(Into::into),
                port: port.map(Into::into),
                peer: peer.map(Into::into),
                source,
            }
        };
        let routes = vec![
            route("192.0.2.0/24", AdjacencyKind::Connected, None, Some("p0"), None, Source::Connected),
            route("198.51.100.0/24", AdjacencyKind::Blackhole, None, None, None, Source::Socket),
            route("203.0.113.0/24", AdjacencyKind::Via, Some([192, 0, 2, 2]), Some("p0"), Some("east"), Source::Config),
        ];
        let list = RouteList { total: 3, offset: 0, routes };
        assert_eq!(
            list.text(),
            "\
prefix           adjacency  via        port  pooled to  source
192.0.2.0/24     connected  -          p0    -          connected
198.51.100.0/24  blackhole  -          -     -          socket
203.0.113.0/24   via        192.0.2.2  p0    east       config
"
        );
    }

    #[test]
    fn a_load_says_how_many_and_how_long() {
        let loaded = RouteLoaded { routes: 950_000, changed: 12, seconds: 1.2345 };
        assert_eq!(loaded.text(), "950000 routes loaded, 12 changed, in 1.234 s\n");
    }
}
