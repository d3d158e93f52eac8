use std::cell::Cell;

use super::*;
use crate::api::peer::PeerFormat;

const EAST: IpAddr = IpAddr::V4(EAST_ID);
const EAST_ID: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const PLAIN: Arrival = Arrival { ttl: 63, length: 56 };
const INTERVAL: Duration = Duration::from_millis(200);

fn peer(address: IpAddr, assume: bool) -> config::Peer {
    config::Peer { assume, ..config::Peer::new(address.to_string(), address) }
}

fn peers(instance: u32, now: Instant) -> Peers {
    let mut peers = Peers::new(Identity { router_id: Ipv4Addr::new(192, 0, 2, 1), instance }, 1500);
    peers.configure([peer(EAST, false)], now);
    peers
}

impl Peers {
    /// What is sent where there is room for all.
    fn sent_by(&mut self, now: Instant, heard_until: Instant) -> Vec<DueHello> {
        let mut sent = Vec::new();
        self.send_due(now, heard_until, |due| {
            sent.push(*due);
            true
        });
        sent
    }
}

/// What the other side would send; no two have one sequence number.
fn hello(instance: u32, heard_instance: u32) -> Hello {
    thread_local!(static SEQUENCE: Cell<u32> = const { Cell::new(1) });
    Hello {
        sequence: SEQUENCE.replace(SEQUENCE.get() + 2),
        outer_ttl: 64,
        router_id: EAST_ID.to_bits(),
        instance,
        heard_instance,
        interval_ms: 100,
        capabilities: Capabilities::OURS,
        largest_pooled_packet: 0,
        longest_hello: 0,
    }
}

const ROW: PeerIndex = PeerIndex(0);

#[test]
fn a_peer_is_up_when_it_hears_us_and_down_after_three_of_its_intervals() {
    let now = Instant::now();
    let mut peers = peers(7, now);
    assert_eq!(peers.get(ROW).expect("row").state(now), Err(Down::NeverHeard));
    peers.hello(EAST, &hello(1, 0), PLAIN, now);
    assert_eq!(peers.get(ROW).expect("row").state(now), Err(Down::DoesNotHearUs));
    assert!(!peers.take_changes(now));
    peers.hello(EAST, &hello(1, 7), PLAIN, now);
    assert!(peers.take_changes(now) && peers.is_up(ROW, now));
    let end = now + Duration::from_millis(300);
    assert!(peers.is_up(ROW, end - Duration::from_millis(1)));
    assert!(!peers.is_up(ROW, end));
    peers.sent_by(end - INTERVAL / 2, end - INTERVAL / 2);
    assert_eq!(peers.deadline(), Some(end), "the end of its life wakes the control thread");
    assert!(peers.take_changes(end));
}

#[test]
fn hellos_go_out_at_the_interval_and_say_whom_we_hear() {
    let now = Instant::now();
    let mut peers = peers(7, now);
    let first = peers.sent_by(now, now);
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].hello.instance, first[0].hello.heard_instance, first[0].hello.interval_ms), (7, 0, 200));
    assert_eq!(peers.deadline(), Some(now + INTERVAL));
    assert!(
        peers.sent_by(now + INTERVAL - Duration::from_millis(1), now + INTERVAL - Duration::from_millis(1)).is_empty()
    );
    peers.hello(EAST, &hello(1, 0), PLAIN, now);
    let second = peers.sent_by(now, now);
    assert_eq!(second[0].hello.heard_instance, 1, "who begins to be heard is told so at once");
    peers.hello(EAST, &hello(1, 7), PLAIN, now);
    assert!(peers.sent_by(now, now).is_empty(), "once");
    let late = peers.sent_by(now + Duration::from_secs(1), now + Duration::from_secs(1));
    assert_eq!(late[0].hello.heard_instance, 0, "who fell silent is not heard any more");
}

#[test]
fn a_hello_that_changes_the_largest_pooled_packet_is_a_change() {
    let now = Instant::now();
    let mut peers = peers(7, now);
    peers.hello(EAST, &hello(1, 7), PLAIN, now);
    peers.take_changes(now);
    assert_eq!(peers.get(ROW).expect("row").largest_pooled_packet(), None, "0 says nothing");
    let smaller = Hello { largest_pooled_packet: 1200, ..hello(1, 7) };
    peers.hello(EAST, &smaller, PLAIN, now);
    assert!(peers.take_changes(now));
    assert_eq!(peers.get(ROW).expect("row").largest_pooled_packet().map(u16::from), Some(1200));
    peers.hello(EAST, &smaller, PLAIN, now);
    assert!(!peers.take_changes(now), "it says the same");
    assert_eq!(peers.sent_by(now, now)[0].hello.largest_pooled_packet, 1500, "we say what we take");
}

#[test]
fn a_hello_tells_what_the_peer_can_do_and_how_far_it_is() {
    let now = Instant::now();
    let mut peers = peers(7, now);
    let plain = Hello { capabilities: Capabilities::WHOLE_IPV4, ..hello(1, 7) };
    peers.hello(EAST, &plain, Arrival { ttl: 62, ..PLAIN }, now);
    peers.take_changes(now);
    let of = |peers: &Peers| peers.get(ROW).map(|peer| (peer.hops(), peer.capabilities()));
    assert_eq!(of(&peers), Some((Some(3), Capabilities::WHOLE_IPV4)));
    let both = Capabilities(Capabilities::WHOLE_IPV4.0 | Capabilities::ON_THE_WAY.0);
    peers.hello(EAST, &Hello { capabilities: both, ..hello(1, 7) }, Arrival { ttl: 65, ..PLAIN }, now);
    assert_eq!(of(&peers), Some((None, both)), "a TTL that has grown tells nothing");
    assert!(peers.take_changes(now), "paths over it change");
}

#[test]
fn a_run_that_heard_us_takes_the_place_of_the_one_before() {
    let now = Instant::now();
    let mut peers = peers(7, now);
    let instance = |peers: &Peers| peers.get(ROW).and_then(|peer| peer.heard).map(|heard| heard.instance);
    peers.hello(EAST, &hello(1, 7), PLAIN, now);
    for echoes in [0, 6] {
        peers.hello(EAST, &hello(2, echoes), PLAIN, now);
        assert!(peers.is_up(ROW, now) && instance(&peers) == Some(1), "anybody can say so");
    }
    let silent = now + Duration::from_millis(300);
    peers.hello(EAST, &hello(2, 6), PLAIN, silent);
    assert_eq!((instance(&peers), peers.is_up(ROW, silent)), (Some(2), false), "the old one is not heard any more");
    peers.hello(EAST, &hello(3, 7), PLAIN, silent);
    assert_eq!((instance(&peers), peers.is_up(ROW, silent)), (Some(3), true), "it heard us");
    let due = peers.sent_by(silent, silent);
    assert_eq!(due[0].hello.heard_instance, 3, "and is told so at once");
}

#[test]
fn made_up_runs_on_both_sides_do_not_keep_two_peers_apart() {
    let begin = Instant::now();
    let west = IpAddr::from([192, 0, 2, 1]);
    let mut at_west = peers(7, begin);
    let mut at_east = Peers::new(Identity { router_id: EAST_ID, instance: 8 }, 1500);
    at_east.configure([peer(west, false)], begin);
    for ms in 0..2000 {
        let now = begin + Duration::from_millis(ms);
        if ms % 50 == 0 {
            at_west.hello(EAST, &hello(0xbad, 0), PLAIN, now);
            at_east.hello(west, &Hello { router_id: 0xc000_0201, ..hello(0xbad, 0) }, PLAIN, now);
        }
        if ms >= 10 {
            at_west.sent_by(now, now).iter().for_each(|due| at_east.hello(west, &due.hello, PLAIN, now));
            at_east.sent_by(now, now).iter().for_each(|due| at_west.hello(EAST, &due.hello, PLAIN, now));
        }
        let up = [at_west.is_up(ROW, now), at_east.is_up(ROW, now)];
        assert!(ms < 1000 || up == [true, true], "after {ms} ms: {up:?}");
    }
}

#[test]
fn old_hellos_of_a_run_change_nothing() {
    let now = Instant::now();
    let mut peers = peers(7, now);
    let first = hello(1, 7);
    peers.hello(EAST, &first, PLAIN, now);
    let newest = hello(1, 7);
    let overtaken = Hello { sequence: newest.sequence - 1, heard_instance: 0, ..newest };
    peers.hello(EAST, &Hello { sequence: newest.sequence + 1, ..newest }, PLAIN, now);
    let later = now + Duration::from_millis(299);
    for old in [first, overtaken, overtaken] {
        peers.hello(EAST, &old, PLAIN, later);
    }
    assert!(peers.is_up(ROW, later));
    let end = now + Duration::from_millis(300);
    assert!(!peers.is_up(ROW, end), "whoever sends them again does not keep it alive");
    peers.hello(EAST, &Hello { sequence: newest.sequence.wrapping_sub(1000), ..newest }, PLAIN, end);
    assert!(peers.is_up(ROW, end), "its numbers began anew");
}

#[test]
fn a_probe_that_was_overtaken_is_told_all_the_same() {
    let now = Instant::now();
    let mut peers = peers(7, now);
    let probe = hello(1, 7);
    peers.hello(EAST, &hello(1, 7), PLAIN, now);
    peers.hello(EAST, &probe, Arrival { length: 1500, ..PLAIN }, now);
    assert_eq!(peers.sent_by(now, now)[0].hello.longest_hello, 1500);
}

#[test]
fn hellos_to_many_peers_are_spread_over_their_interval() {
    let now = Instant::now();
    let mut peers = Peers::new(Identity { router_id: EAST_ID, instance: 1 }, 1500);
    let many = (0..u32::from(MAX_PEERS)).map(|last| peer(Ipv4Addr::from_bits(0x0a00_0000 + last).into(), false));
    peers.configure(many, now);
    let mut numbers = vec![0; usize::from(MAX_PEERS)];
    // Nothing is sent for a while, as in the middle of a long change: what is late does not stay together.
    for begin in [now, now + Duration::from_secs(60)] {
        for ms in 1..=400 {
            let due = peers.sent_by(begin + Duration::from_millis(ms), now);
            let most = if ms == 1 { due.len() } else { 6 };
            assert!(due.len() <= most, "{} hellos at one time", due.len());
            due.iter().for_each(|due| numbers[due.peer.index()] += 1);
        }
    }
    assert!(numbers.iter().all(|sent| (4..=6).contains(sent)), "{numbers:?}");
}

#[test]
fn a_hello_that_finds_no_room_is_sent_as_soon_as_there_is_some() {
    let now = Instant::now();
    let mut peers = peers(7, now);
    let addresses = [[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3]].map(IpAddr::from);
    peers.configure(addresses.map(|address| peer(address, false)), now);
    let later = now + INTERVAL / 2;
    let mut room = 2;
    let mut first = Vec::new();
    peers.send_due(later, later, |due| {
        let has_room = room > 0;
        if has_room {
            room -= 1;
            first.push(due.peer);
        }
        has_room
    });
    assert_eq!(first.len(), 2);
    assert!(!peers.hello_is_due(later), "there is no room");
    let retry = peers.deadline().expect("one is left");
    assert!(retry > later && retry < later + Duration::from_millis(10), "but soon");
    let rest = peers.sent_by(retry, retry);
    assert_eq!(rest.len(), 1);
    assert!(!first.contains(&rest[0].peer));
    peers.sent_by(retry + INTERVAL, retry);
    let mut next = Vec::new();
    peers.send_due(retry + 3 * INTERVAL, retry, |due| {
        next.push(due.peer);
        next.len() < 2
    });
    let last = peers.sent_by(retry + 4 * INTERVAL, retry);
    assert_eq!(last[0].peer, next[1], "who found no room comes first");
}

#[test]
fn as_many_peers_as_there_can_be_are_exchanged_for_others() {
    let now = Instant::now();
    let mut peers = Peers::new(Identity { router_id: EAST_ID, instance: 1 }, 1500);
    let some = |from: u32, count: u32| {
        (from..from + count).map(|last| peer(Ipv4Addr::from_bits(0x0a00_0000 + last).into(), false))
    };
    for (from, count) in [(0, 600), (1000, 600), (500, 1024), (2000, 1024), (2000, 1), (0, 1024)] {
        peers.configure(some(from, count), now);
        assert_eq!(peers.iter().count(), count as usize);
        assert!(peers.rows().len() <= usize::from(MAX_PEERS), "workers know no more rows");
    }
}

#[test]
fn strangers_and_echoes_of_ourselves_say_nothing() {
    let now = Instant::now();
    let mut peers = peers(7, now);
    peers.hello(IpAddr::from([10, 0, 0, 1]), &hello(1, 7), PLAIN, now);
    let echo = Hello { router_id: Ipv4Addr::new(192, 0, 2, 1).to_bits(), ..hello(7, 7) };
    peers.hello(EAST, &echo, PLAIN, now);
    let incapable = Hello { capabilities: Capabilities(0), ..hello(1, 7) };
    peers.hello(EAST, &incapable, PLAIN, now);
    assert_eq!(peers.get(ROW).expect("row").state(now), Err(Down::NeverHeard));
    assert!(peers.get(ROW).expect("row").is_incapable);
    peers.hello(EAST, &hello(1, 7), PLAIN, now);
    assert!(!peers.get(ROW).expect("row").is_incapable, "it would be news again");
}

#[test]
fn a_probe_is_sent_beside_the_hello_and_what_arrived_of_the_peers_is_told_once() {
    let now = Instant::now();
    let mut peers = peers(7, now);
    let lengths = |due: &[DueHello]| due.iter().map(|due| due.length).collect::<Vec<_>>();
    let told = |due: &[DueHello]| due.iter().map(|due| due.hello.longest_hello).collect::<Vec<_>>();
    peers.hello(EAST, &hello(1, 7), PLAIN, now);
    assert_eq!(lengths(&peers.sent_by(now, now)), [0], "it does not say which hellos arrive");
    peers.hello(EAST, &Hello { longest_hello: 56, ..hello(1, 7) }, PLAIN, now);
    assert_eq!(peers.get(ROW).and_then(Peer::path_mtu).map(PathMtu::current), Some(1200));
    let later = now + INTERVAL;
    let due = peers.sent_by(later, later);
    assert_eq!((lengths(&due), told(&due)), (vec![0, 1500], vec![56, 0]));
    assert_eq!(due[1].hello.sequence, due[0].hello.sequence + 1);
    peers.take_changes(later);
    peers.hello(EAST, &Hello { longest_hello: 1500, ..hello(1, 7) }, Arrival { length: 1400, ..PLAIN }, later);
    assert!(peers.take_changes(later), "the path MTU has grown");
    let due = peers.sent_by(later, later);
    assert_eq!((lengths(&due), told(&due)), (vec![0], vec![1400]), "its probe is answered at once");
    peers.hello(EAST, &hello(2, 7), PLAIN, later);
    assert!(peers.get(ROW).is_some_and(|peer| peer.path_mtu().is_none()), "it has restarted");
}

#[test]
fn only_a_quoted_hello_of_ours_lowers_the_path_mtu() {
    let now = Instant::now();
    let mut peers = peers(7, now);
    peers.hello(EAST, &Hello { longest_hello: 56, ..hello(1, 7) }, PLAIN, now);
    let probe = |peers: &mut Peers, now| {
        let probe = peers.sent_by(now, now).pop().filter(|due| due.length > 0)?;
        Some(Quoted::Hello { sequence: probe.hello.sequence, length: probe.length })
    };
    probe(&mut peers, now).expect("the longest");
    peers.hello(EAST, &Hello { longest_hello: 1500, ..hello(1, 7) }, PLAIN, now);
    let mtu = |peers: &Peers| peers.get(ROW).and_then(Peer::path_mtu).map(PathMtu::current);
    assert_eq!(mtu(&peers), Some(1500));
    let quoted = Quoted::PooledPacket { length: 1450 };
    peers.packet_too_big(IpAddr::from([10, 0, 0, 1]), 1400, quoted, now);
    assert_eq!(probe(&mut peers, now), None, "that is not a peer");
    peers.packet_too_big(EAST, 1400, quoted, now);
    let quoted = probe(&mut peers, now).expect("it is tried at once");
    assert_eq!(mtu(&peers), Some(1500), "a pooled packet is quoted");
    peers.packet_too_big(EAST, 1400, quoted, now);
    assert_eq!(mtu(&peers), Some(1400));
}

#[test]
fn nobody_can_tell_which_sequence_number_a_hello_has() {
    let now = Instant::now();
    let first = || {
        let mut peers = peers(7, now);
        peers.configure([peer(EAST, false), peer(IpAddr::from([10, 0, 0, 2]), false)], now);
        let due = peers.sent_by(now + INTERVAL, now);
        [due[0].hello.sequence, due[1].hello.sequence]
    };
    let [all, others] = [first(), first()];
    let numbers = std::collections::BTreeSet::from([all[0], all[1], others[0], others[1]]);
    assert!(numbers.len() > 2, "{numbers:?}");
}

#[test]
fn a_peer_that_comes_again_gets_later_sequence_numbers_than_before() {
    let now = Instant::now();
    let mut peers = peers(7, now);
    let mut last = peers.sent_by(now, now)[0].hello.sequence;
    // Half way round, a number is old.
    for days in [0, 30, 45, 60] {
        let now = now + INTERVAL + Duration::from_secs(days * 24 * 3600);
        peers.configure([], now);
        peers.configure([peer(EAST, false)], now);
        let next = peers.sent_by(now + INTERVAL, now)[0].hello.sequence;
        assert!((1..10_000).contains(&next.wrapping_sub(last)), "after {days} days: {last}, then {next}");
        last = next;
    }
}

#[test]
fn no_more_sequence_numbers_of_peers_that_left_are_kept_than_there_are_rows() {
    let now = Instant::now();
    let mut peers = peers(7, now);
    for from in [0, 1000, 2000] {
        let some = (from..from + 1000u32).map(|last| peer(Ipv4Addr::from_bits(0x0a00_0000 + last).into(), false));
        peers.configure(some, now);
    }
    assert_eq!(peers.departed.len(), usize::from(MAX_PEERS));
    peers.configure([], now);
    assert_eq!(peers.departed.len(), usize::from(MAX_PEERS));
}

#[test]
fn peers_that_are_restored_number_no_two_hellos_alike() {
    let now = Instant::now();
    let other = IpAddr::from([10, 0, 0, 2]);
    let mut peers = peers(7, now);
    peers.sent_by(now, now);
    let before = peers.clone();
    peers.configure([peer(EAST, false), peer(other, false)], now);
    let sent = peers.sent_by(now + INTERVAL, now);
    let later = now + INTERVAL + Duration::from_millis(1);
    let mut peers = before.restore(&peers, later);
    assert!(peers.sent_by(later, later).is_empty(), "it was sent meanwhile");
    peers.configure([peer(EAST, false), peer(other, false)], later);
    let next = peers.sent_by(later + INTERVAL, later);
    for address in [EAST, other] {
        let index = peers.index_of(address).expect("it is there");
        let [sent, next] = [&sent, &next].map(|due| due.iter().find(|due| due.peer == index).expect("a hello"));
        assert_eq!(next.hello.sequence, sent.hello.sequence.wrapping_add(1), "{address}");
    }
}

#[test]
fn an_assumed_peer_that_was_silent_keeps_its_path_mtu() {
    let now = Instant::now();
    let mut peers = Peers::new(Identity { router_id: Ipv4Addr::new(192, 0, 2, 1), instance: 7 }, 1500);
    peers.configure([peer(EAST, true)], now);
    peers.hello(EAST, &Hello { longest_hello: 56, ..hello(1, 7) }, PLAIN, now);
    peers.sent_by(now, now);
    peers.hello(EAST, &Hello { longest_hello: 1500, ..hello(1, 7) }, PLAIN, now);
    for hellos in 1..=50 {
        peers.sent_by(now + INTERVAL * hellos, now);
    }
    assert_eq!(peers.get(ROW).and_then(Peer::path_mtu).map(PathMtu::current), Some(1500));
}

#[test]
fn an_assumed_peer_is_up_without_a_word() {
    let now = Instant::now();
    let mut peers = Peers::new(Identity { router_id: EAST_ID, instance: 1 }, 1500);
    peers.configure([peer(IpAddr::from([10, 0, 0, 1]), true)], now);
    assert!(peers.take_changes(now));
    assert!(peers.is_up(ROW, now + Duration::from_secs(1000)));
}

#[test]
fn an_assumed_peer_takes_whole_packets_until_it_says_what_else() {
    let now = Instant::now();
    let mut peers = peers(7, now);
    peers.configure([peer(EAST, true)], now);
    let takes = |peers: &Peers| peers.iter().next().map(|(_, peer)| peer.capabilities());
    assert_eq!(takes(&peers), Some(Capabilities(0b11)));
    peers.hello(EAST, &hello(1, 7), PLAIN, now);
    assert_eq!(takes(&peers), Some(hello(1, 7).capabilities));
}

#[test]
fn a_peer_of_another_format_gets_no_hellos_and_nothing_heard_before_counts_for_it() {
    let now = Instant::now();
    let mut peers = peers(7, now);
    peers.hello(EAST, &hello(1, 7), PLAIN, now);
    peers.configure([config::Peer { format: PeerFormat::Simplemux, ..peer(EAST, true) }], now);
    assert!(!peers.hello_is_due(now) && peers.sent_by(now, now).is_empty());
    assert_eq!(peers.deadline(), None);
    let (index, east) = peers.iter().next().expect("it is there");
    assert_eq!((east.last_hello(now), peers.is_up(index, now)), (None, true));
    assert_eq!(east.capabilities(), Capabilities::WHOLE_IPV4, "the format has no other");
}

#[test]
fn peers_keep_their_index_when_others_come_and_go() {
    let now = Instant::now();
    let (a, b, c) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 0, 0, 3]));
    let mut peers = peers(7, now);
    peers.configure([peer(a, false), peer(b, false), peer(EAST, false)], now);
    let index = peers.index_of(b).expect("b");
    peers.hello(b, &hello(1, 7), PLAIN, now);
    peers.configure([peer(c, false), peer(b, false)], now);
    assert_eq!(peers.index_of(b), Some(index));
    assert!(peers.is_up(index, now), "what is known of it stays");
    assert_eq!(peers.index_of(a), None);
    let row = peers.index_of(c).expect("c");
    assert_eq!(peers.rows().len(), 4, "rows are not used again at once");
    assert!(!peers.is_up(row, now));
    peers.configure([peer(a, false), peer(b, false), peer(c, false)], now);
    assert_eq!(peers.rows().len(), 4, "but later");
    assert_eq!((peers.index_of(b), peers.index_of(c)), (Some(index), Some(row)));
}
