//! The golden vectors, played to a router: what arrives there, and all that must come of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::lab::*;
use super::lab6::after_hops6;
use super::transit::{POOLER, POOLER6, VIA_WEST, is_v6, on_the_way, route};
use crate::fib::PeerIndex;
use crate::packet::ipv6::Ipv6Header;
use crate::pool::Dscp;
use crate::pool::pooled_packet_detector::{PooledDrop, ZeroChecksum};
use crate::pool::provisioned::{Stream, StreamId, StreamSet};

use crate::pool::vectors::Vector;
use crate::pool::wire::{Template, TemplateId, WireError};
use crate::worker::{Counters, Drop, PeerTable};

/// Those of pooled packets that a router on its bench can be shown. Hellos are for the control thread, overlay nodes
/// have another bench, and Simplemux has other ports.
const DIRECTORIES: [&str; 6] = ["indexes", "kind0", "kind5", "kind6", "outer", "provisioned"];

/// Longer than anything waits for its index.
const SETTLED: Duration = Duration::from_millis(6);

/// A router where the vectors' packets go on to the east, or that is their addressee; what they hold goes to the west.
fn router(at: &str) -> Bench {
    let mut bench = on_the_way(POOLER.into());
    bench.change(|state| {
        let mut peers: Vec<_> = state.peers.iter().copied().collect();
        let mut over_ipv6 = peers[0];
        over_ipv6.path.addressee = POOLER6.into();
        peers.push(over_ipv6);
        state.peers = Arc::new(PeerTable::new(peers));
    });
    route(&mut bench, "10.0.0.0/8", VIA_WEST);
    match at {
        "transit" => {}
        "addressee" => {
            route(&mut bench, "198.51.100.5/32", LOCAL);
            bench.routes6.insert("2001:db8:e::5/128".parse().expect("prefix"), LOCAL).expect("room");
        }
        other => panic!("at {other}"),
    }
    bench
}

/// Tells the router what the vector takes as given.
fn tell(bench: &mut Bench, vector: &Vector) {
    let (mut zero_checksum, mut templates, mut streams) = (ZeroChecksum::Refused, Vec::new(), Vec::new());
    for words in vector.given() {
        match words.as_slice() {
            ["no-checksum"] => zero_checksum = ZeroChecksum::Allowed,
            ["template", id, lengths @ ..] => {
                let lengths: Vec<u16> = lengths.iter().map(|length| length.parse().expect("a length")).collect();
                let id = TemplateId::new(id.parse().expect("0 to 255")).expect("not 0");
                templates.push((id, Template::new(&lengths).expect("sound lengths")));
            }
            ["stream", id, "from", source, source_port, "to", destination, port, "dscp", dscp, "ttl", ttl] => {
                let end = |address: &str, port: &str| {
                    SocketAddr::new(address.parse().expect("an address"), port.parse().expect("a port"))
                };
                streams.push(Stream {
                    id: StreamId(u16::from_str_radix(id, 16).expect("four hex digits")),
                    peer: PeerIndex(1),
                    source: end(source, source_port),
                    destination: end(destination, port),
                    dscp: Dscp::new(dscp.parse().expect("a number")).expect("a code point"),
                    ttl: ttl.parse().expect("a number"),
                });
            }
            _ => panic!("{}: given {words:?}", vector.name),
        }
    }
    bench.change(|state| {
        let peers = state.peers.iter().map(|peer| crate::worker::Peer { zero_checksum, ..*peer });
        state.peers = Arc::new(PeerTable::new(peers.collect()));
        state.templates = Arc::new(templates.into_iter().collect());
        state.streams = Arc::new(StreamSet::new(&streams).expect("a sound set"));
    });
    let inner = vector.expected().into_iter().filter(|(words, _)| words[0] == "take").map(|(_, bytes)| bytes);
    for inner in inner.filter(|inner| is_v6(inner)) {
        let to = Ipv6Header::parse(inner).expect("a sound packet").dst;
        bench.routes6.insert(to.into(), VIA_WEST).expect("room");
    }
    bench.run();
}

/// What was dropped of pooled packets between the two, by the names of docs/wire-format.md.
fn drops(before: &Counters, after: &Counters) -> BTreeMap<&'static str, u64> {
    let count = |reason: &Drop| after.drops(*reason) - before.drops(*reason);
    let of_pools = Drop::ALL.iter().filter_map(|reason| Some((reason.name().strip_prefix("pool_")?, count(reason))));
    of_pools.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn a_router_does_with_every_vector_what_it_says() {
    let mut benches = BTreeMap::from(["addressee", "transit"].map(|at| (at, router(at))));
    let mut names = std::collections::HashSet::new();
    let vectors = DIRECTORIES.into_iter().flat_map(Vector::all);
    // From a source port of its own each is a sequence of its own, and so are its contexts.
    for (source_port, vector) in (20_000..).zip(vectors) {
        let bench = benches.get_mut(vector.section("at").words[1].as_str()).expect("a place that is known");
        tell(bench, &vector);
        let before = bench.counters();
        for (word, bytes) in vector.arrivals() {
            match word {
                "packet" => bench.west_sends(bytes),
                _ => bench.west_sends(&udp_with(POOLER, [198, 51, 100, 5].into(), (source_port, POOL_PORT), bytes)),
            }
            bench.run();
        }
        bench.wait(SETTLED);
        bench.run();
        let (mut taken, mut onward, mut dropped) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (words, bytes) in vector.expected() {
            match words.as_slice() {
                ["take"] if is_v6(bytes) => taken.push(after_hops6(bytes, 1)),
                ["take"] => taken.push(after_hops(bytes, 1)),
                ["forward"] => onward.push(bytes.to_vec()),
                ["drop" | "drop-entry", name] => {
                    *dropped.entry(*name).or_insert(0) += 1;
                    names.insert(name.to_string());
                }
                // What a pooler makes of it is shown to the pooler.
                ["unknown", ..] => {}
                _ => panic!("{}: expect {words:?}", vector.name),
            }
        }
        assert_eq!(drops(&before, &bench.counters()), dropped, "{}", vector.name);
        assert_eq!(bench.west_gets(), taken, "{}", vector.name);
        assert_eq!(bench.east_gets(), onward, "{}", vector.name);
    }
    let of_hellos = [WireError::HelloRows, WireError::TruncatedHello, WireError::HelloInstance].map(PooledDrop::Wire);
    for reason in PooledDrop::ALL.iter().filter(|reason| !of_hellos.contains(reason)) {
        assert!(names.contains(reason.name()), "{} has no vector", reason.name());
    }
    for name in ["unknown_context", "unknown_stream", "malformed_entry", "congested", "index_missing", "index_unused"] {
        assert!(names.contains(name), "{name} has no vector");
    }
    for bench in benches.into_values() {
        bench.end();
    }
}
