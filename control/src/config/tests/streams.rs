//! Provisioned streams.

use carpool_dataplane::pool::Representation;

use super::{LEAST, wrong};
use crate::api::stream::Stream;
use crate::config::parse;

/// Two peers, on lines 6 to 11.
const PEERS: &str = "[[peer]]\nname = \"east\"\naddress = \"198.51.100.7\"\n\
                     [[peer]]\nname = \"west\"\naddress = \"198.51.100.8\"\n";
/// A stream, its keys on lines 13 to 18.
const STREAM: &str = "[[stream]]\nid = 7\npeer = \"east\"\nsource = \"10.0.0.9:16384\"\n\
                      destination = \"203.0.113.9:20000\"\ndscp = \"ef\"\nttl = 64\n";

fn stream(id: u16, peer: &str, source: &str, destination: &str, dscp: &str, ttl: u8) -> Stream {
    Stream {
        id,
        peer: peer.into(),
        source: source.parse().expect("an endpoint"),
        destination: destination.parse().expect("an endpoint"),
        dscp: dscp.parse().expect("a code point"),
        ttl,
    }
}

#[test]
fn streams_of_both_families_are_read_and_rules_send_them() {
    let least = "[[stream]]\nid = 7\npeer = \"west\"\nsource = \"[2001:db8::9]:1\"\n\
                 destination = \"[2001:db8:1::9]:65535\"\nttl = 255\n";
    let rule = "[[rule]]\nname = \"voice\"\nmatch = {}\nwindow = \"2ms\"\nrepresentation = \"provisioned\"\n";
    let config = parse(&format!("{LEAST}{PEERS}{STREAM}{least}{rule}"), "c.toml").expect("sound streams");
    let expected = [
        stream(7, "east", "10.0.0.9:16384", "203.0.113.9:20000", "ef", 64),
        stream(7, "west", "[2001:db8::9]:1", "[2001:db8:1::9]:65535", "default", 255),
    ];
    assert_eq!(config.streams, expected, "ids are of a peer each, and the class is the default one");
    let criteria = config.rules.first().and_then(|rule| rule.criteria.as_ref()).expect("a rule that pools");
    assert_eq!(criteria.representation, Representation::Provisioned);
}

#[test]
fn what_is_no_stream_is_told_with_its_place() {
    let endpoint = "expected an address and a port such as \"192.0.2.9:5004\" or \"[2001:db8::9]:5004\"";
    let host = "expected the address of a host: no loopback, link-local, multicast or reserved one";
    let cases = [
        ("id = 7", "id = 65536", "13:6: stream.id = 65536: expected a whole number from 0 to 65535".into()),
        ("peer = \"east\"", "peer = \"north\"", "14:8: stream.peer = \"north\": expected the name of a peer".into()),
        (":16384", "", format!("15:10: stream.source = \"10.0.0.9\": {endpoint}")),
        (":16384", ":65536", format!("15:10: stream.source = \"10.0.0.9:65536\": {endpoint}")),
        ("10.0.0.9", "239.1.2.3", format!("15:10: stream.source = \"239.1.2.3:16384\": {host}")),
        (
            "203.0.113.9:20000",
            "[2001:db8::9]:20000",
            "16:15: stream.destination = \"[2001:db8::9]:20000\": expected an address of the family that the source's has"
                .into(),
        ),
        (
            "\"ef\"",
            "64",
            "17:8: stream.dscp = 64: expected a code point such as \"ef\", or its number from 0 to 63".into(),
        ),
        (
            "ttl = 64",
            "ttl = 1",
            "18:7: stream.ttl = 1: expected a whole number from 2 to 255: the TTL where packets are pooled".into(),
        ),
        (
            "ttl = 64\n",
            "",
            "12:1: stream.ttl: missing; expected a whole number from 2 to 255: the TTL where packets are pooled".into(),
        ),
        (
            "ttl = 64",
            "ttl = 64\nport = 7",
            "19:1: stream.port: unknown key; expected one of destination, dscp, id, peer, source, ttl".into(),
        ),
    ];
    for (sound, broken, expected) in cases {
        let told = wrong(&format!("{PEERS}{}", STREAM.replace(sound, broken)));
        assert_eq!(told, format!("c.toml:{expected}"));
    }
}

#[test]
fn streams_that_get_in_each_others_way_are_refused() {
    let told = wrong(&format!("{PEERS}{STREAM}{}", STREAM.replace("16384", "16386")));
    assert_eq!(told, "c.toml:20:6: stream.id = 7: a stream of this id and peer is there twice");
    let told = wrong(&format!("{PEERS}{STREAM}{}", STREAM.replace("id = 7", "id = 8")));
    assert_eq!(
        told,
        "c.toml:22:10: stream.source = \"10.0.0.9:16384\": a stream of this peer with these source, destination, dscp \
         and ttl is there twice"
    );
    let foreign = PEERS.replacen("address", "assume = true\nformat = \"simplemux\"\naddress", 1);
    let told = wrong(&format!("{foreign}{STREAM}"));
    assert!(told.contains("stream.peer = \"east\": expected a peer of the native format"), "{told}");
    let rule = "[[rule]]\nname = \"r\"\nmatch = {}\nwindow = \"2ms\"\nrepresentation = \"provisioned\"\nindex = ";
    let told = wrong(&format!("{rule}\"out-of-band\"\n"));
    assert_eq!(
        told,
        "c.toml:11:9: rule.index = \"out-of-band\": expected in-band beside provisioned streams, whose rows say which \
         entries are of streams"
    );
    let told = wrong(&rule.replace("provisioned", "short").replace("\nindex = ", "\n"));
    assert_eq!(
        told,
        "c.toml:10:18: rule.representation = \"short\": expected \"whole\", \"learned\" or \"provisioned\""
    );
}

#[test]
fn there_is_a_bound_on_streams() {
    let many = |count: u32| -> String {
        let one = |id: u32| {
            STREAM
                .replace("id = 7", &format!("id = {id}"))
                .replace("10.0.0.9", &format!("10.0.{}.{}", id >> 8, id & 0xff))
        };
        (1..=count).map(one).collect()
    };
    assert!(parse(&format!("{LEAST}{PEERS}{}", many(16_384)), "c.toml").is_ok());
    let told = wrong(&format!("{PEERS}{}", many(16_385)));
    assert_eq!(told, format!("c.toml:{}:1: stream: expected at most 16384 streams", 12 + 7 * 16_384));
}
