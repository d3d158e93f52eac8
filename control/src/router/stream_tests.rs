//! Provisioned streams from the file and over the socket, as workers and clients see them.

use super::bench::*;
use super::*;
use carpool_dataplane::fib::FibOptions;
use carpool_dataplane::pool::hello::Capabilities;
use carpool_dataplane::pool::provisioned::Refused;

use crate::api::peer::{PeerAdd, PeerDel, PeerFormat};
use crate::api::route::Source;
use crate::api::stream::{Stream, StreamDel, StreamShow};
use crate::api::{Handler, RefusalKind};

fn stream(id: u16, peer: &str) -> Stream {
    Stream {
        id,
        peer: peer.into(),
        source: format!("10.0.0.9:{}", 16_384 + id).parse().expect("an endpoint"),
        destination: "203.0.113.9:20000".parse().expect("an endpoint"),
        dscp: "ef".parse().expect("a code point"),
        ttl: 64,
    }
}

/// The usual configuration with these streams of the peer.
fn with(ids: &[u16]) -> String {
    let table = |id: &u16| {
        let Stream { id, peer, source, destination, dscp, ttl } = stream(*id, "far");
        format!(
            "\n[[stream]]\nid = {id}\npeer = \"{peer}\"\nsource = \"{source}\"\ndestination = \"{destination}\"\n\
             dscp = \"{dscp}\"\nttl = {ttl}\n"
        )
    };
    CONFIG.to_owned() + &ids.iter().map(table).collect::<String>()
}

/// Whether workers know a stream of the peer with this address, and the generation of their pools.
fn known(bench: &mut Bench, peer: IpAddr, id: u16) -> (bool, u64) {
    let state = bench.state();
    let [high, low] = id.to_be_bytes();
    let index = state.peers.find(peer).expect("a peer");
    let opened = state.streams.open(index, &[high, low, 0]).map(|_| ());
    assert!(matches!(opened, Ok(()) | Err(Refused::UnknownStream)), "{opened:?}");
    (opened.is_ok(), state.pools)
}

fn shown(bench: &mut Bench) -> Vec<(u16, String, Option<String>, Source)> {
    let list = bench.client().stream_show(StreamShow { peer: None, offset: 0, limit: 10 }).expect("answered");
    assert_eq!(list.total, list.streams.len() as u64);
    list.streams.into_iter().map(|entry| (entry.id, entry.peer, entry.reason, entry.put_by)).collect()
}

#[test]
fn the_streams_of_the_file_are_there_before_the_first_worker_looks_and_change_with_it() {
    let mut bench = Bench::new(&with(&[1, 2]));
    let (is_known, before) = known(&mut bench, PEER, 1);
    assert!(is_known && known(&mut bench, PEER, 2).0 && !known(&mut bench, PEER, 3).0);
    bench.reload(&with(&[1, 3])).expect("possible");
    let (is_known, after) = known(&mut bench, PEER, 3);
    assert!(is_known && known(&mut bench, PEER, 1).0 && !known(&mut bench, PEER, 2).0);
    assert!(after > before, "pools that are open may have entries of stream 2");
}

#[test]
fn streams_come_and_go_over_the_socket_and_stay_over_a_reload() {
    let mut bench = Bench::new(&with(&[1]));
    let (_, before) = known(&mut bench, PEER, 1);
    bench.client().stream_add(stream(2, "far")).expect("possible");
    let (is_known, after) = known(&mut bench, PEER, 2);
    assert!(is_known && after > before, "packets of an open pool have not been compared with it");
    bench.client().stream_del(StreamDel { id: 1, peer: "far".into() }).expect("the file's");
    let (is_known, last) = known(&mut bench, PEER, 1);
    assert!(!is_known && last > after, "an open pool may have its entries");
    bench.reload(&with(&[1, 3])).expect("possible");
    assert_eq!(
        shown(&mut bench).into_iter().map(|(id, _, _, put_by)| (id, put_by)).collect::<Vec<_>>(),
        [(2, Source::Socket), (3, Source::Config)]
    );
    let error = bench.reload(&with(&[2])).expect_err("the socket's has this id");
    let expected = "with those that came over the control socket: stream 2 of peer \"far\" is there already";
    assert_eq!(error.to_string(), expected);
    assert!(known(&mut bench, PEER, 3).0, "nothing has changed");
}

#[test]
fn a_reload_that_fails_late_leaves_the_streams_as_they_were() {
    let mut bench = Bench::with(&with(&[1]), FibOptions { leaves: 2048, ..FibOptions::default() });
    let route = |i: u32| format!("\n[[route]]\nprefix = \"{}.{}.3.0/24\"\nvia = \"10.0.0.2\"\n", 20 + i % 5, i / 5);
    let text = with(&[2]) + &(0..1000).map(route).collect::<String>();
    bench.reload(&text).expect_err("there is no room for so many routes");
    assert!(known(&mut bench, PEER, 1).0 && !known(&mut bench, PEER, 2).0);
    assert_eq!(shown(&mut bench).len(), 1);
}

#[test]
fn a_stream_means_its_peer_by_name_whatever_row_that_has() {
    let mut bench = Bench::new(&with(&[1]));
    bench.client().peer_del(PeerDel { name: "far".into() }).expect("it is there");
    let reasons = |bench: &mut Bench| shown(bench).into_iter().map(|(_, _, reason, _)| reason).collect::<Vec<_>>();
    assert_eq!(reasons(&mut bench), [Some("there is no peer far".to_owned())]);
    // It takes the row of the one that went.
    let other = IpAddr::from([198, 51, 100, 8]);
    bench.client().peer_add(PeerAdd::new("other".into(), other)).expect("room");
    assert!(!known(&mut bench, other, 1).0, "entries from it are of no stream");
    bench.client().peer_add(PeerAdd::new("far".into(), PEER)).expect("room");
    assert!(known(&mut bench, PEER, 1).0 && !known(&mut bench, other, 1).0);
    assert_eq!(reasons(&mut bench), [None]);

    bench.client().peer_del(PeerDel { name: "far".into() }).expect("it is there");
    let foreign =
        PeerAdd { format: Some(PeerFormat::Simplemux), assume: Some(true), ..PeerAdd::new("far".into(), PEER) };
    bench.client().peer_add(foreign).expect("possible");
    assert_eq!(reasons(&mut bench), [Some("peer far is not of the native format".to_owned())]);
    assert!(!known(&mut bench, PEER, 1).0);
}

#[test]
fn clients_see_that_a_peer_takes_no_streams_and_pages_of_all() {
    let mut bench = Bench::new(&with(&[3, 1, 2]));
    bench.hello(INSTANCE);
    let whole = Some("peer far does not take entries of provisioned streams".to_owned());
    let ids: Vec<_> = shown(&mut bench).into_iter().map(|(id, peer, reason, _)| (id, peer, reason)).collect();
    assert_eq!(ids, [1, 2, 3].map(|id| (id, "far".to_owned(), whole.clone())));
    bench.hello_from(PEER, Hello { capabilities: Capabilities::OURS, ..HELLO });
    assert!(shown(&mut bench).into_iter().all(|(_, _, reason, _)| reason.is_none()));
    let page = bench.client().stream_show(StreamShow { peer: Some("far".into()), offset: 1, limit: 1 });
    let page = page.expect("answered");
    assert_eq!((page.total, page.streams.first().map(|stream| stream.id), page.streams.len()), (3, Some(2), 1));
    let none = StreamShow { peer: Some("near".into()), offset: 0, limit: 10 };
    assert_eq!(bench.client().stream_show(none).expect("answered").total, 0);
}

#[test]
fn what_is_no_stream_is_refused_in_a_sentence() {
    let mut bench = Bench::new(&with(&[1]));
    let before = known(&mut bench, PEER, 1);
    let cases = [
        (stream(1, "far"), RefusalKind::Exists, "stream 1 of peer \"far\" is there already"),
        (
            Stream { id: 2, ..stream(1, "far") },
            RefusalKind::Exists,
            "stream 2 of peer \"far\": stream 1 of this peer has the same source, destination, dscp and ttl",
        ),
        (stream(2, "near"), RefusalKind::Conflict, "stream 2 of peer \"near\": peer: expected the name of a peer"),
        (
            Stream { ttl: 1, ..stream(2, "far") },
            RefusalKind::Conflict,
            "stream 2 of peer \"far\": ttl: expected 2 to 255: the TTL with which packets arrive where they are pooled",
        ),
        (
            Stream { source: "[2001:db8::1]:1".parse().expect("an endpoint"), ..stream(2, "far") },
            RefusalKind::Conflict,
            "stream 2 of peer \"far\": destination: expected an address of the family that the source's has",
        ),
    ];
    for (stream, kind, message) in cases {
        let refusal = bench.client().stream_add(stream).expect_err("a broken stream was accepted");
        assert_eq!((refusal.kind, refusal.message.as_str()), (kind, message));
    }
    let refusal = bench.client().stream_del(StreamDel { id: 9, peer: "far".into() }).expect_err("it is not there");
    assert_eq!(
        (refusal.kind, refusal.message.as_str()),
        (RefusalKind::NotFound, "there is no stream 9 of peer \"far\"")
    );
    assert_eq!(known(&mut bench, PEER, 1), before, "nothing was published");
}
