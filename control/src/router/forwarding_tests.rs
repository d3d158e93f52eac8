//! The forwarding table and its entries as a worker and a client see them.

use super::tests::*;
use super::*;
use carpool_dataplane::fib::{Adjacency, FibOptions};

use crate::api::route::{RouteDel, RouteLoad, RouteShow};
use crate::api::status::{Status, StatusShow};
use crate::api::{Handler, RefusalKind};

fn status(bench: &mut Bench) -> Status {
    bench.client().status(StatusShow {}).expect("answered")
}

#[test]
fn a_change_that_there_is_no_room_for_is_refused_in_a_sentence_and_counted() {
    let mut bench = Bench::with(CONFIG, FibOptions { leaves: 2048, ..FibOptions::default() });
    let prefixes = status(&mut bench).fib.prefixes;
    let show = RouteShow { prefix: None, offset: 0, limit: 1000 };
    let before = bench.client().route_show(show).expect("answered");
    let routes: Vec<_> = (0..200u8)
        .flat_map(|i| (20..25u8).map(move |high| route(&format!("{high}.{i}.3.0/24"), [10, 0, 0, 2])))
        .collect();
    for refused in 1..=3 {
        let load = RouteLoad { routes: routes.clone(), replace: false };
        let refusal = bench.client().route_load(load).expect_err("no room");
        assert_eq!(refusal.kind, RefusalKind::Limit);
        assert_eq!(refusal.message, "the forwarding table is full; nothing was changed");
        assert_eq!(status(&mut bench).refused_changes, refused);
    }
    assert_eq!(bench.client().route_show(show).expect("answered"), before);
    bench.client().route_add(route("20.0.3.0/24", [172, 16, 0, 1])).expect_err("no way to this gateway");
    assert_eq!(status(&mut bench).refused_changes, 3, "that was not for want of room");
    bench.client().route_add(route("20.0.3.0/24", [10, 0, 0, 2])).expect("one fits");
    assert!(matches!(bench.entry([20, 0, 3, 9]).0.adjacency, Adjacency::Via { port: PortIndex(1), .. }));
    assert_eq!(status(&mut bench).fib.prefixes, prefixes + 1);
}

#[test]
fn changes_that_a_worker_which_stands_still_leaves_no_room_for_are_refused_until_it_goes_on() {
    let mut bench = Bench::with(CONFIG, FibOptions { retired: 256, ..FibOptions::default() });
    bench.reader.enter();
    let refused = (0..100_000).find_map(|round| {
        let mut client = bench.client();
        let changed = if round % 2 == 0 {
            client.route_add(route("20.0.3.0/24", [192, 0, 2, 2])).map(drop)
        } else {
            client.route_del(RouteDel { prefix: net("20.0.3.0/24") }).map(drop)
        };
        changed.err()
    });
    let refusal = refused.expect("memory is bounded");
    assert_eq!(refusal.kind, RefusalKind::Conflict);
    assert!(refusal.message.starts_with("a worker stands still"), "{}", refusal.message);
    let told = status(&mut bench);
    assert_eq!(told.refused_changes, 1);
    assert!(told.fib.retired_bytes > 256);
    let deadline = bench.router.deadline(bench.now).expect("something waits");
    assert!(deadline <= bench.now + RECLAIM);
    bench.pass(RECLAIM);
    assert_eq!(status(&mut bench).fib.retired_bytes, told.fib.retired_bytes, "it stands still");
    bench.reader.offline();
    bench.pass(RECLAIM);
    assert_eq!(status(&mut bench).fib.retired_bytes, 0, "given back, though no change came");
    assert!(!bench.router.unreclaimed);
    bench.client().route_add(route("20.0.3.0/24", [192, 0, 2, 2])).expect("room again");
}
