//! The forwarding table and its entries as a worker and a client see them.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::bench::*;
use super::handler::Client;
use super::*;
use carpool_dataplane::fib::{Adjacency, EntryId, FibOptions};
use std::net::Ipv4Addr;

use crate::api::route::{RouteDel, RouteLoad, RouteShow};
use crate::api::status::{Status, StatusShow};
use crate::api::{Handler, RefusalKind};

fn status(bench: &mut Bench) -> Status {
    bench.client().status(StatusShow {}).expect("answered")
}

/// The worker is slow: changes come while it is inside an iteration, with the state that it took at the beginning.
#[test]
fn an_entry_is_known_to_every_worker_before_the_first_leaf_that_names_it() {
    let mut bench = Bench::new(CONFIG);
    let Bench { router, published, table, reader, now, .. } = &mut bench;
    let prefixes = ["100.64.0.0/24", "100.64.1.0/24"];
    let destinations = [Ipv4Addr::new(100, 64, 0, 9), Ipv4Addr::new(100, 64, 1, 9)];
    let (begun, stop, mut routed) = (Barrier::new(2), AtomicBool::new(false), 0);
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            reader.enter();
            begun.wait();
            while !stop.load(Ordering::Relaxed) {
                let section = reader.enter();
                let state = published.load(section).expect("the same domain");
                for _ in 0..20 {
                    thread::sleep(Duration::from_micros(50));
                    for (parity, destination) in (0..).zip(destinations) {
                        let id = table.lookup(section, destination);
                        let entry =
                            state.entries.get(usize::from(id.0)).expect("the state holds every entry of a leaf");
                        match entry.adjacency {
                            Adjacency::Via { gateway, .. } => {
                                let gateway = state.neighbours.get(gateway).expect("its gateway is there").address;
                                let IpAddr::V4(gateway) = gateway else { panic!("{destination} goes by {gateway}") };
                                assert_eq!(gateway.octets()[3] % 2, parity, "{destination} goes by {gateway}");
                                routed += 1;
                            }
                            other => assert_eq!((id, other), (EntryId::NO_ROUTE, Adjacency::NoRoute)),
                        }
                    }
                }
            }
            reader.offline();
        });
        // The first prefix goes by even gateways only and the second by odd ones; no gateway comes twice in a row, and
        // so entries are made, and their numbers given to others, all the time.
        begun.wait();
        for round in 0..60u8 {
            let at = usize::from(round % 2);
            let mut client = Client { router, now: *now };
            client.route_add(route(prefixes[at], [10, 0, 0, 100 + round])).expect("the worker goes on");
            if round % 3 == 0 {
                client.route_del(RouteDel { prefix: net(prefixes[at]) }).expect("it is there");
            }
        }
        stop.store(true, Ordering::Relaxed);
        worker.join().expect("what the worker saw was sound");
    });
    assert!(routed > 0, "it saw routes at all");
    bench.router.reclaim();
    let entries = bench.router.forwarding.entries(|_| true).len();
    assert!(entries < 20, "numbers are given to others: {entries} were enough for 60 gateways");
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
