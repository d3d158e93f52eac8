use super::*;
use std::time::Duration;

const PORT: PortIndex = PortIndex(0);
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn host(last: u8) -> Key {
    (PORT, Ipv4Addr::new(192, 0, 2, last).into())
}

fn neighbors(limit: usize) -> Neighbors {
    let addresses = vec!["192.0.2.1/24".parse().expect("a prefix")];
    Neighbors::new(vec![Link::new([2, 0, 0, 0, 0, 1], addresses)], limit)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Lets time pass until `end`, timer by timer; returns the requests with the second each was made in.
fn pass(neighbors: &mut Neighbors, start: Instant, end: Duration) -> Vec<(u64, Option<[u8; 6]>)> {
    let mut requests: Vec<_> = neighbors.take_requests().iter().map(|request| (0, request.to)).collect();
    while let Some(now) = neighbors.deadline().filter(|timer| *timer <= start + end) {
        neighbors.tick(now);
        let at = now.duration_since(start).as_secs();
        requests.extend(neighbors.take_requests().iter().map(|request| (at, request.to)));
    }
    requests
}

fn phase(neighbors: &Neighbors, key: Key) -> Option<Phase> {
    neighbors.views().iter().find(|view| (view.port, view.address) == key).map(|view| view.phase)
}

#[test]
fn a_wanted_neighbour_is_asked_for_at_once_and_found() {
    let (mut neighbors, now) = (neighbors(8), Instant::now());
    neighbors.wanted(host(2), now);
    neighbors.wanted(host(2), now);
    let requests = neighbors.take_requests();
    assert_eq!(requests.len(), 1, "it is asked for once, however many packets wait");
    assert_eq!(Some(requests[0].addresses), Addresses::new(host(1).1, host(2).1));
    assert!(!neighbors.changed(), "there is nothing to publish before it answers");
    neighbors.seen(host(2), MAC, true, now);
    assert!(neighbors.changed());
    assert_eq!(neighbors.table().find(PORT, host(2).1).and_then(|found| found.mac), Some(MAC));
    assert!(!neighbors.changed());
}

#[test]
fn a_neighbour_that_never_answers_is_asked_three_times_and_then_shown_as_failed() {
    let (mut neighbors, now) = (neighbors(8), Instant::now());
    neighbors.wanted(host(2), now);
    assert_eq!(pass(&mut neighbors, now, seconds(20)), [(0, None), (1, None), (2, None)]);
    assert_eq!(phase(&neighbors, host(2)), Some(Phase::Failed));
    neighbors.wanted(host(2), now + seconds(20));
    assert_eq!(neighbors.take_requests().len(), 1, "a packet for it starts over");
    pass(&mut neighbors, now, seconds(60));
    assert!(neighbors.is_empty(), "it is forgotten in the end");
}

#[test]
fn a_neighbour_that_is_wanted_again_while_it_is_asked_for_is_asked_for_another_round() {
    let (mut neighbors, now) = (neighbors(8), Instant::now());
    neighbors.wanted(host(2), now);
    let just_before = seconds(3) - Duration::from_millis(1);
    assert_eq!(pass(&mut neighbors, now, just_before), [(0, None), (1, None), (2, None)]);
    neighbors.wanted(host(2), now + just_before);
    assert_eq!(pass(&mut neighbors, now, seconds(20)), [(3, None), (4, None), (5, None)]);
    assert_eq!(phase(&neighbors, host(2)), Some(Phase::Failed), "nobody wanted it after that");
}

#[test]
fn a_neighbour_that_is_down_for_long_takes_no_more_memory() {
    let (mut neighbors, start) = (neighbors(8), Instant::now());
    for round in 0..1000 {
        let now = start + seconds(4 * round);
        neighbors.wanted(host(2), now);
        pass(&mut neighbors, now, seconds(4));
    }
    assert_eq!(neighbors.len(), 1);
    assert!(neighbors.unanswered.len() <= 16, "{} notes of one neighbour", neighbors.unanswered.len());
}

#[test]
fn a_neighbour_in_use_is_asked_directly_then_by_broadcast_then_given_up() {
    let (mut neighbors, now) = (neighbors(8), Instant::now());
    neighbors.seen(host(2), MAC, true, now);
    neighbors.table().find(PORT, host(2).1).expect("published").mark_used();
    let direct = Some(MAC);
    let expected = [(30, direct), (31, direct), (32, direct), (33, None), (34, None), (35, None)];
    let requests = pass(&mut neighbors, now, seconds(35));
    assert_eq!(requests, expected);
    assert!(!neighbors.changed(), "packets go to its old address meanwhile");
    assert_eq!(neighbors.mac(host(2)), direct);
    pass(&mut neighbors, now, seconds(36));
    assert!(neighbors.changed());
    assert!(neighbors.table().find(PORT, host(2).1).is_none());
}

#[test]
fn an_answer_to_a_probe_keeps_the_neighbour() {
    let (mut neighbors, now) = (neighbors(8), Instant::now());
    neighbors.seen(host(2), MAC, true, now);
    neighbors.table().find(PORT, host(2).1).expect("published").mark_used();
    pass(&mut neighbors, now, seconds(31));
    neighbors.seen(host(2), MAC, true, now + seconds(31));
    assert_eq!(phase(&neighbors, host(2)), Some(Phase::Reachable));
    assert!(!neighbors.changed(), "nothing new is to be published");
}

#[test]
fn a_neighbour_that_nobody_uses_is_not_asked_and_forgotten_after_ten_minutes() {
    let (mut neighbors, now) = (neighbors(8), Instant::now());
    neighbors.seen(host(2), MAC, true, now);
    neighbors.table();
    assert_eq!(pass(&mut neighbors, now, seconds(599)), []);
    assert_eq!(phase(&neighbors, host(2)), Some(Phase::Stale));
    neighbors.table().find(PORT, host(2).1).expect("published").mark_used();
    let requests = pass(&mut neighbors, now, seconds(600));
    assert_eq!(requests, [(600, Some(MAC))], "use of a stale one is noticed within a second");
    neighbors.seen(host(2), MAC, true, now + seconds(600));
    neighbors.table();
    pass(&mut neighbors, now, seconds(1300));
    assert!(neighbors.is_empty());
}

#[test]
fn word_of_others_updates_whom_we_know_and_teaches_nobody_new() {
    let (mut neighbors, now) = (neighbors(8), Instant::now());
    neighbors.seen(host(2), MAC, false, now);
    assert!(neighbors.is_empty());
    neighbors.seen(host(2), MAC, true, now);
    neighbors.seen(host(2), OTHER_MAC, false, now);
    assert_eq!(neighbors.mac(host(2)), Some(OTHER_MAC));
}

#[test]
fn what_cannot_be_a_neighbour_is_not_learned() {
    let (mut neighbors, now) = (neighbors(8), Instant::now());
    let elsewhere = (PORT, Ipv4Addr::new(10, 0, 0, 1).into());
    let no_port = (PortIndex(1), host(2).1);
    for key in [host(1), host(0), host(255), elsewhere, no_port] {
        neighbors.seen(key, MAC, true, now);
        neighbors.wanted(key, now);
        assert_eq!(neighbors.set_static(key, MAC, now), Err(NeighborError::NotOnLink(key.1)));
    }
    assert!(neighbors.is_empty() && neighbors.take_requests().is_empty());
}

#[test]
fn a_static_neighbour_neither_ages_nor_changes() {
    let (mut neighbors, now) = (neighbors(8), Instant::now());
    neighbors.set_static(host(2), MAC, now).expect("on the link");
    neighbors.seen(host(2), OTHER_MAC, true, now);
    assert_eq!(pass(&mut neighbors, now, seconds(10_000)), []);
    assert_eq!(neighbors.mac(host(2)), Some(MAC));
    assert!(neighbors.forget(host(2)));
    assert!(!neighbors.forget(host(2)));
}

#[test]
fn a_scan_takes_the_place_of_those_who_did_not_answer_only() {
    let (mut neighbors, now) = (neighbors(8), Instant::now());
    for last in 2..6 {
        neighbors.seen(host(last), MAC, true, now);
    }
    for last in 10..=250 {
        neighbors.wanted(host(last), now + Duration::from_millis(u64::from(last)));
    }
    assert_eq!(neighbors.len(), 8);
    for last in 2..6 {
        assert_eq!(neighbors.mac(host(last)), Some(MAC), "host {last} had answered");
    }
    let newest = (247..=250).all(|last| phase(&neighbors, host(last)).is_some());
    assert!(newest, "the newest four are asked for");
}

#[test]
fn a_full_table_of_answers_gives_up_the_stale_before_it_refuses() {
    let (mut neighbors, now) = (neighbors(2), Instant::now());
    neighbors.seen(host(2), MAC, true, now);
    neighbors.seen(host(3), MAC, true, now + seconds(1));
    neighbors.wanted(host(4), now + seconds(2));
    assert_eq!(phase(&neighbors, host(4)), None, "both were heard of lately");
    pass(&mut neighbors, now, seconds(40));
    neighbors.wanted(host(4), now + seconds(40));
    assert_eq!(phase(&neighbors, host(2)), None);
    assert_eq!(phase(&neighbors, host(4)), Some(Phase::Incomplete { asked: 1 }));
}

#[test]
fn gateways_and_static_neighbours_find_room_whoever_else_claims_to_be_there() {
    let (mut neighbors, now) = (neighbors(3), Instant::now());
    neighbors.hold_gateway(host(2));
    neighbors.hold_gateway(host(3));
    for last in 10..=250 {
        neighbors.seen(host(last), OTHER_MAC, true, now + Duration::from_millis(u64::from(last)));
    }
    assert_eq!(neighbors.len(), 3);
    let later = now + seconds(1);
    neighbors.wanted(host(2), later);
    neighbors.seen(host(2), MAC, true, later);
    neighbors.seen(host(3), MAC, false, later);
    neighbors.set_static(host(4), MAC, later).expect("room");
    assert_eq!([2, 3, 4].map(|last| neighbors.mac(host(last))), [Some(MAC); 3]);
    assert_eq!(neighbors.len(), 3, "all that nobody vouches for are gone");
    neighbors.set_static(host(5), MAC, later).expect("room of right");
    neighbors.set_static(host(6), MAC, later).expect("room of right");
    assert_eq!(neighbors.set_static(host(7), MAC, later), Err(NeighborError::Full(3)));
    assert_eq!([2, 3].map(|last| neighbors.mac(host(last))), [Some(MAC); 2], "gateways stay");
}

#[test]
fn a_full_table_has_room_again_when_a_neighbour_grows_stale() {
    let (mut neighbors, now) = (neighbors(1), Instant::now());
    neighbors.seen(host(2), MAC, true, now);
    neighbors.seen(host(3), MAC, true, now);
    assert_eq!(neighbors.mac(host(3)), None);
    pass(&mut neighbors, now, seconds(31));
    neighbors.seen(host(3), MAC, true, now + seconds(31));
    assert_eq!(neighbors.mac(host(3)), Some(MAC));
}

#[test]
fn a_gateway_keeps_its_place_while_an_entry_refers_to_it() {
    let (mut neighbors, now) = (neighbors(8), Instant::now());
    let first = neighbors.hold_gateway(host(2));
    let second = neighbors.hold_gateway(host(3));
    assert_eq!(neighbors.hold_gateway(host(2)), first);
    assert_eq!(neighbors.table().get(first).map(|found| (found.address, found.mac)), Some((host(2).1, None)));
    neighbors.seen(host(3), MAC, false, now);
    assert_eq!(neighbors.table().get(second).and_then(|found| found.mac), Some(MAC), "a gateway counts as known");
    neighbors.release_gateway(first);
    assert_eq!(neighbors.gateway(first), Some(host(2)));
    neighbors.release_gateway(first);
    assert_eq!(neighbors.gateway(first), None);
    assert_eq!(neighbors.table().get(second).map(|found| found.address), Some(host(3).1), "others do not move");
    assert_eq!(neighbors.hold_gateway(host(4)), first, "the place is used again");
}

/// The link of `neighbors`, with IPv6 on it.
fn neighbors6() -> Neighbors {
    let addresses = ["192.0.2.1/24", "2001:db8::1/64"].map(|own| own.parse().expect("a prefix"));
    Neighbors::new(vec![Link::new([2, 0, 0, 0, 0, 1], addresses.to_vec())], 8)
}

fn host6(text: &str) -> Key {
    (PORT, text.parse().expect("an address"))
}

fn said(mac: Option<[u8; 6]>, solicited: bool, overrides: bool) -> Advertised {
    Advertised { mac, solicited, overrides }
}

#[test]
fn a_neighbour_with_an_ipv6_address_is_asked_for_by_solicitation_and_found() {
    let (mut neighbors, now) = (neighbors6(), Instant::now());
    let key = host6("2001:db8::2");
    neighbors.wanted(key, now);
    let requests = neighbors.take_requests();
    assert_eq!(Some(requests[0].addresses), Addresses::new(host6("2001:db8::1").1, key.1));
    neighbors.advertised(key, said(Some(MAC), true, true), now);
    assert_eq!(phase(&neighbors, key), Some(Phase::Reachable));
    assert_eq!(neighbors.table().find(PORT, key.1).and_then(|found| found.mac), Some(MAC));
    neighbors.table().find(PORT, key.1).expect("published").mark_used();
    let probes = pass(&mut neighbors, now, seconds(32));
    assert_eq!(probes, [(30, Some(MAC)), (31, Some(MAC)), (32, Some(MAC))], "one in use is asked where it was");
}

#[test]
fn our_link_local_address_asks_for_those_of_others() {
    let (mut neighbors, now) = (neighbors6(), Instant::now());
    let (own, other) = (host6("fe80::ff:fe00:1"), host6("fe80::9"));
    neighbors.wanted(other, now);
    assert_eq!(Some(neighbors.take_requests()[0].addresses), Addresses::new(own.1, other.1));
    neighbors.wanted(own, now);
    neighbors.wanted(host6("2001:db8:1::1"), now);
    assert!(neighbors.take_requests().is_empty(), "neither ourselves nor who is elsewhere");
    let mut without = self::neighbors(8);
    without.wanted(other, now);
    assert!(without.is_empty(), "a port without an IPv6 address has no IPv6");
}

#[test]
fn who_asks_for_us_is_known_but_not_yet_taken_to_hear_us() {
    let (mut neighbors, now) = (neighbors6(), Instant::now());
    let key = host6("2001:db8::2");
    neighbors.seen(key, MAC, true, now);
    assert_eq!((phase(&neighbors, key), neighbors.mac(key)), (Some(Phase::Stale), Some(MAC)));
    neighbors.advertised(key, said(None, true, false), now);
    assert_eq!(phase(&neighbors, key), Some(Phase::Reachable), "it answers");
    neighbors.seen(key, MAC, true, now);
    assert_eq!(phase(&neighbors, key), Some(Phase::Reachable), "that is no news");
    neighbors.seen(key, OTHER_MAC, true, now);
    assert_eq!((phase(&neighbors, key), neighbors.mac(key)), (Some(Phase::Stale), Some(OTHER_MAC)));
}

/// RFC 4861, 7.2.5, and appendix C.
#[test]
fn an_advertisement_changes_what_it_may() {
    let now = Instant::now();
    let key = host6("2001:db8::2");
    let reachable = || {
        let mut neighbors = neighbors6();
        neighbors.wanted(key, now);
        neighbors.advertised(key, said(Some(MAC), true, true), now);
        neighbors
    };
    for (said, phase_after, mac_after) in [
        (said(Some(OTHER_MAC), false, false), Phase::Stale, MAC),
        (said(Some(OTHER_MAC), true, false), Phase::Stale, MAC),
        (said(Some(OTHER_MAC), false, true), Phase::Stale, OTHER_MAC),
        (said(Some(OTHER_MAC), true, true), Phase::Reachable, OTHER_MAC),
        (said(Some(MAC), false, true), Phase::Reachable, MAC),
        (said(None, false, true), Phase::Reachable, MAC),
    ] {
        let mut neighbors = reachable();
        neighbors.advertised(key, said, now);
        assert_eq!((phase(&neighbors, key), neighbors.mac(key)), (Some(phase_after), Some(mac_after)), "{said:?}");
    }
    let mut neighbors = neighbors6();
    neighbors.advertised(key, said(Some(MAC), true, true), now);
    assert!(neighbors.is_empty(), "nobody asked for it");
    neighbors.wanted(key, now);
    neighbors.advertised(key, said(None, true, true), now);
    assert_eq!(phase(&neighbors, key), Some(Phase::Incomplete { asked: 1 }), "it does not say where it is");
    neighbors.advertised(key, said(Some(MAC), false, false), now);
    assert_eq!(phase(&neighbors, key), Some(Phase::Stale));
    neighbors.set_static(key, OTHER_MAC, now).expect("room");
    neighbors.advertised(key, said(Some(MAC), true, true), now);
    assert_eq!(neighbors.mac(key), Some(OTHER_MAC), "an operator knows better");
}
