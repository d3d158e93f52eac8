//! Changes of routes over the socket, one by one and a whole table at once.

use carpool_dataplane::fib::{Adjacency, PortIndex};

use super::bench::*;
use crate::api::route::{RouteDel, RouteLoad, RouteShow};
use crate::api::status::StatusShow;
use crate::api::{Handler, RefusalKind};

#[test]
fn a_worker_that_does_not_go_on_holds_nobody_up_for_long() {
    let mut bench = Bench::new(CONFIG);
    bench.reader.enter();
    let refusal = bench.client().route_add(route("172.16.0.0/12", [10, 0, 0, 2])).expect_err("the worker is stuck");
    assert_eq!(refusal.kind, RefusalKind::Conflict);
    assert_eq!(refusal.message, "a worker has not finished an iteration within 1000 ms: nothing was changed");
    assert_eq!(bench.client().status(StatusShow {}).expect("answered").refused_changes, 1);
    assert_eq!(bench.entry([172, 16, 0, 1]).0.adjacency, Adjacency::NoRoute);
    bench.reader.offline();
    bench.client().route_add(route("172.16.0.0/12", [10, 0, 0, 2])).expect("it blocks now");
    assert!(matches!(bench.entry([172, 16, 0, 1]).0.adjacency, Adjacency::Via { port: PortIndex(1), .. }));
}

#[test]
fn a_loaded_table_replaces_what_came_over_the_socket_and_nothing_else() {
    let mut bench = Bench::new(CONFIG);
    bench.client().route_add(route("172.16.0.0/12", [10, 0, 0, 2])).expect("possible");
    let routes: Vec<_> = (0..200u8).map(|i| route(&format!("100.64.{i}.0/24"), [10, 0, 0, 3])).collect();
    let loaded = bench.client().route_load(RouteLoad { routes, replace: true }).expect("possible");
    assert_eq!((loaded.routes, loaded.changed), (200, 201));
    assert_eq!(bench.entry([172, 16, 0, 1]).0.adjacency, Adjacency::NoRoute);
    assert!(matches!(bench.entry([203, 0, 113, 9]).0.adjacency, Adjacency::Via { port: PortIndex(0), .. }));
    let twice = vec![route("172.31.0.0/24", [10, 0, 0, 3]), route("172.31.0.0/24", [192, 0, 2, 2])];
    bench.client().route_load(RouteLoad { routes: twice, replace: false }).expect("possible");
    let last = bench.entry([172, 31, 0, 1]).0.adjacency;
    assert!(matches!(last, Adjacency::Via { port: PortIndex(0), .. }), "of two the later one holds");
    let routes = vec![route("100.65.0.0/24", [10, 0, 0, 3]), route("192.0.2.1/32", [10, 0, 0, 3])];
    let refusal = bench.client().route_load(RouteLoad { routes, replace: true }).expect_err("one is our own address");
    assert_eq!(refusal.kind, RefusalKind::Conflict);
    assert_eq!(bench.entry([100, 65, 0, 1]).0.adjacency, Adjacency::NoRoute, "all or nothing");
    let show = RouteShow { prefix: Some(net("100.64.0.0/10")), offset: 198, limit: 10 };
    let page = bench.client().route_show(show).expect("answered");
    assert_eq!((page.total, page.routes.len()), (200, 2));
}

#[test]
fn a_configured_route_that_was_deleted_over_the_socket_stays_away() {
    let mut bench = Bench::new(CONFIG);
    let prefix = net("203.0.113.0/24");
    bench.client().route_del(RouteDel { prefix }).expect("possible");
    assert_eq!(bench.entry([203, 0, 113, 9]).0.adjacency, Adjacency::NoRoute);
    bench.reload(CONFIG).expect("the same file");
    bench
        .reload(
            &CONFIG
                .replace("via = \"192.0.2.2\"", "via = \"192.0.2.3\"")
                .replace("hops = [\"192.0.2.2\"", "hops = [\"192.0.2.3\""),
        )
        .expect("another gateway");
    assert_eq!(bench.entry([203, 0, 113, 9]).0.adjacency, Adjacency::NoRoute, "until a restart");
    let refusal = bench.client().route_del(RouteDel { prefix }).expect_err("it is gone already");
    assert_eq!(refusal.kind, RefusalKind::NotFound);
}
