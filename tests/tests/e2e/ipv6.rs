//! Streams of both families, over an outer packet of either: two carpool routers with an ordinary one between.

use std::{
    net::{IpAddr, Ipv6Addr, UdpSocket},
    time::Duration,
};

use carpool_tests::{
    capture::{Capture, Direction},
    carpoold::{Carpoold, Config},
    frame::observe,
    lab::{Alone, End, Kind, Lab},
    network::MTU,
    probe::probe,
    scenarios::{
        packet6,
        traffic::{self, Received, is_stream},
    },
    transit::POOL_PORT,
};

const WINDOW: Duration = Duration::from_millis(5);
const READY: Duration = Duration::from_secs(20);
/// Of each family.
const STREAMS: u16 = 10;
/// Nodes that forward a packet as itself: A and B. The router between forwards what it is in.
const NODES: u8 = 2;

/// A link: left node, right node, and the number of its prefixes. The left node has host 1 there, the right one host 2.
const LINKS: [(&str, &str, u8); 4] = [("source", "A", 1), ("A", "transit", 2), ("transit", "B", 3), ("B", "sink", 4)];

fn v4(link: u8, host: u8) -> IpAddr {
    IpAddr::from([198, 18, link, host])
}

fn v6(link: u8, host: u8) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, link.into(), 0, 0, 0, host.into()).into()
}

/// The prefix of a link in the family of an address maker.
fn prefix(address: fn(u8, u8) -> IpAddr, link: u8) -> String {
    format!("{}/{}", address(link, 0), if address(link, 0).is_ipv4() { 24 } else { 64 })
}

fn build(lab: &mut Lab) {
    for (name, kind) in [
        ("source", Kind::Host),
        ("A", Kind::Carpool),
        ("transit", Kind::LinuxRouter),
        ("B", Kind::Carpool),
        ("sink", Kind::Host),
    ] {
        lab.add(name, kind).expect("a node");
    }
    for (left, right, link) in LINKS {
        let end = |node, host| End { node, address: format!("{}/24", v4(link, host)).parse().expect("a prefix") };
        lab.link(end(left, 1), end(right, 2), MTU).expect("a link");
        for (node, neighbour, host) in [(left, right, 1), (right, left, 2)] {
            if !["A", "B"].contains(&node) {
                let address = format!("{}/64", v6(link, host)).parse().expect("a prefix");
                lab.ipv6(node, neighbour, address).expect("it speaks IPv6");
            }
        }
    }
    let transit = lab.namespace("transit").expect("it is there");
    transit.sysctl("ipv6/conf/all/forwarding", "1").expect("it forwards");
    for address in [v4, v6] {
        let routes = [
            ("source", 4, address(1, 2)),
            ("source", 3, address(1, 2)),
            ("transit", 1, address(2, 1)),
            ("transit", 4, address(3, 2)),
            ("sink", 1, address(4, 1)),
        ];
        for (node, to, via) in routes {
            let words = ["route", "add", &prefix(address, to), "via", &via.to_string()];
            lab.namespace(node).and_then(|node| node.ip(&words)).expect("a route");
        }
    }
}

/// A router on two links, west and east, its own host number on each; `behind` are links beyond `via`, and `hops` the way to
/// the last of them. The peer is at `peer`, its address first and its alias then.
fn config(
    core: usize,
    ports: [(&str, u8, u8); 2],
    behind: [u8; 2],
    via: (u8, u8),
    peer: [IpAddr; 2],
    hops: &[(u8, u8)],
) -> Config {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut further = Vec::new();
    for (number, (interface, link, host)) in ports.into_iter().enumerate() {
        further.push(format!(
            "[[port]]\nname = \"{interface}\"\ndevice = \"net_af_packet{number},iface={interface},framecnt=2048\"\n\
             address = [\"{}/24\", \"{}/64\"]\n",
            v4(link, host),
            v6(link, host)
        ));
    }
    for address in [v4, v6] {
        for link in behind {
            let (prefix, via) = (prefix(address, link), address(via.0, via.1));
            further.push(format!("[[route]]\nprefix = \"{prefix}\"\nvia = \"{via}\"\n"));
        }
        let hops: Vec<_> = hops.iter().map(|(link, host)| format!("\"{}\"", address(*link, *host))).collect();
        let to = prefix(address, behind[1]);
        further.push(format!("[[path]]\nprefix = \"{to}\"\nhops = [{}]\n", hops.join(", ")));
    }
    let [address, alias] = peer;
    further.push(format!("[[peer]]\nname = \"other\"\naddress = \"{address}\"\nalias = [\"{alias}\"]\n"));
    let mut rule = traffic::rule(WINDOW);
    rule.further = vec!["lone = \"pooled\"".to_owned()];
    Config { cores: vec![core % cores], rules: vec![rule], further, ..Config::default() }
}

/// The types of the rows of a pooled packet, from what is behind its outer UDP header; of anything else none.
fn row_types(payload: &[u8]) -> impl Iterator<Item = u8> {
    let count = if payload.first() == Some(&0x10) { usize::from(payload[1]) } else { 0 };
    payload.get(8..).unwrap_or_default().chunks_exact(6).take(count).map(|row| row[5])
}

/// Streams of both families from source to sink, in pooled packets whose outer addresses `outer` makes.
fn both_families_over(outer: fn(u8, u8) -> IpAddr, other: fn(u8, u8) -> IpAddr) {
    let _alone = Alone::wait().expect("end to end tests run as root");
    let mut lab = Lab::new().expect("a lab can be made");
    build(&mut lab);
    let a =
        config(0, [("source", 1, 2), ("transit", 2, 1)], [3, 4], (2, 2), [outer(3, 2), other(3, 2)], &[(2, 2), (3, 2)]);
    let b =
        config(1, [("transit", 3, 2), ("sink", 4, 1)], [2, 1], (3, 1), [outer(2, 1), other(2, 1)], &[(3, 1), (2, 1)]);
    let mut routers =
        [("A", a), ("B", b)].map(|(name, config)| Carpoold::start(&lab, name, &config).expect("it starts"));
    for address in [v4, v6] {
        let (source, sink) = (("source", address(1, 1)), ("sink", address(4, 2)));
        let logs = || routers.iter().map(Carpoold::output).collect();
        probe(&lab, source, sink, READY, logs).expect("packets pass");
        probe(&lab, sink, source, READY, logs).expect("packets pass");
    }
    for router in &mut routers {
        router.wait_for_peers(READY).expect("the peer lives");
    }

    let mut targets = traffic::targets(v4(4, 2), STREAMS);
    targets.extend(traffic::targets(v6(4, 2), STREAMS));
    let sink = lab.namespace("sink").expect("it is there");
    let bind = || targets.iter().map(UdpSocket::bind).collect::<Result<Vec<_>, _>>();
    let _listeners = sink.enter(bind).expect("it can be entered").expect("sockets");
    let record = |node, neighbour| traffic::record(&lab, node, neighbour).expect("a recording starts");
    let [source, between, came] = [record("source", "A"), record("transit", "A"), record("sink", "B")];
    let sources = [v4(1, 1), v6(1, 1)];
    let sent = traffic::send(&lab, "source", &sources, &targets, Duration::from_secs(2)).expect("streams leave");
    let IpAddr::V6(sink6) = v6(4, 2) else { unreachable!("it is one of IPv6") };
    traffic::wait_for(&came, sent / 2);
    came.wait_until(traffic::LATE, |frames| packet6::packets_to(frames, Direction::In, sink6).len() >= sent / 2);

    let whole = |capture: Capture| traffic::whole(capture).expect("a whole recording");
    let [source, between, came] = [whole(source), whole(between), whole(came)];
    let streams = [traffic::streams(&source, Direction::Out), traffic::streams(&came, Direction::In)];
    let (received, comparison) = Received::of("sink", &streams[0], &streams[1], NODES);
    assert!(received.perfect(), "{comparison}");
    let sent6 = packet6::packets_to(&source.frames, Direction::Out, sink6);
    let received6 = packet6::compare("sink", &sent6, &packet6::packets_to(&came.frames, Direction::In, sink6), NODES);
    assert!(received6.perfect(), "{received6:?}");
    assert_eq!((streams[0].len(), sent6.len()), (sent / 2, sent / 2));

    // Nothing crossed the link between but in pooled packets of the outer family.
    assert_eq!(observe(&between.frames, Direction::In, is_stream).len(), 0, "IPv4 as itself");
    assert_eq!(packet6::packets_to(&between.frames, Direction::In, sink6).len(), 0, "IPv6 as itself");
    let payloads: Vec<Vec<u8>> = match outer(3, 2) {
        IpAddr::V4(_) => {
            let pooled = observe(&between.frames, Direction::In, |flow| flow.destination.port() == POOL_PORT);
            pooled.iter().map(|packet| packet.payload().to_vec()).collect()
        }
        IpAddr::V6(b) => {
            let pooled = packet6::packets_to(&between.frames, Direction::In, b);
            pooled.iter().map(|packet| packet[48..].to_vec()).collect()
        }
    };
    let rows = |of: u8| payloads.iter().flat_map(|payload| row_types(payload)).filter(|kind| *kind == of).count();
    assert_eq!((rows(4), rows(41)), (sent / 2, sent / 2), "rows of whole packets of either family");
    let pooled = payloads.iter().filter(|payload| row_types(payload).count() > 0).count();
    assert!(sent > 3 * pooled, "{sent} packets in {pooled} pooled packets");
    for router in &mut routers {
        router.check_accounting().expect("its account balances");
        router.stop().expect("it ends in order");
    }
}

#[test]
fn streams_of_both_families_share_rides_in_packets_of_ipv6_and_arrive_unchanged() {
    both_families_over(v6, v4);
}

#[test]
fn streams_of_both_families_share_rides_in_packets_of_ipv4_and_arrive_unchanged() {
    both_families_over(v4, v6);
}
