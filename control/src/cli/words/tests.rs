//! Lines as people type them, and what is said of those that are wrong.

use super::*;
use serde_json::json;

fn split(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn a_route_leads_via_an_address_or_nowhere() {
    let route = |line| serde_json::to_value(super::route(&split(line)).expect("a sound route")).expect("JSON");
    assert_eq!(route("10.0.0.0/8 via 192.0.2.1"), json!({"prefix": "10.0.0.0/8", "via": "192.0.2.1"}));
    assert_eq!(route("default via 192.0.2.1"), json!({"prefix": "0.0.0.0/0", "via": "192.0.2.1"}));
    assert_eq!(route("blackhole 10.0.0.0/8"), json!({"prefix": "10.0.0.0/8", "blackhole": true}));
    assert_eq!(route("unreachable 10.1.2.3"), json!({"prefix": "10.1.2.3/32", "unreachable": true}));
}

#[test]
fn what_is_no_route_is_told_what_was_expected() {
    let wrong = |line| route(&split(line)).expect_err("a broken route was accepted");
    assert_eq!(wrong("10.0.0.0/8"), "expected via ADDRESS at the end");
    assert_eq!(wrong("10.0.0.0/8 dev p0"), "\"dev\": expected via ADDRESS");
    assert_eq!(wrong("10.0.0.0/8 via nowhere"), "\"nowhere\": expected an IP address");
    assert_eq!(wrong("10.0.0.0/8 via 192.0.2.1 dev p0"), "\"dev\": nothing more was expected");
    assert_eq!(wrong("blackhole"), "expected a prefix at the end");
    assert_eq!(wrong("10.0.0.1/8 via 192.0.2.1"), "10.0.0.1/8 has bits set beyond its length; 10.0.0.0/8 was meant?");
}

#[test]
fn a_neighbor_has_an_address_and_perhaps_a_port() {
    let words = split("192.0.2.9 lladdr 02:00:00:00:00:09 dev p0");
    let neighbor = serde_json::to_value(neighbor_add(&words).expect("a sound neighbour")).expect("JSON");
    assert_eq!(neighbor, json!({"address": "192.0.2.9", "mac": "02:00:00:00:00:09", "port": "p0"}));
    assert_eq!(neighbor_add(&split("192.0.2.9")), Err("expected lladdr MAC".to_owned()));
    assert_eq!(neighbor_del(&split("192.0.2.9")).map(|neighbor| neighbor.port), Ok(None));
    assert!(neighbor_del(&split("192.0.2.9 lladdr x")).is_err());
}

#[test]
fn a_peer_is_read_in_any_order() {
    let peer = |line| serde_json::to_value(super::peer(&split(line)).expect("a sound peer")).expect("JSON");
    let least = json!({"name": "east", "address": "198.51.100.7"});
    assert_eq!(peer("east address 198.51.100.7"), least);
    let all = "far hello-interval 50ms format simplemux assume true probe-mtu false mtu 1400 source 192.0.2.1 \
               alias 10.0.0.2,10.0.0.3 address 198.51.100.8";
    assert_eq!(
        peer(all),
        json!({
            "name": "far", "address": "198.51.100.8", "alias": ["10.0.0.2", "10.0.0.3"], "source": "192.0.2.1",
            "mtu": 1400, "probe_mtu": false, "assume": true, "format": "simplemux", "hello_interval_ms": 50,
        })
    );
    let wrong = |line| super::peer(&split(line)).expect_err("a broken peer was accepted");
    assert_eq!(wrong("east"), "expected address ADDRESS");
    assert_eq!(wrong("east 198.51.100.7").split(':').next(), Some("\"198.51.100.7\""));
    assert_eq!(wrong("east address 198.51.100.7 format x"), "format x: expected native, simplemux or simplemux-fast");
    let fraction = "hello-interval 1500us: expected whole milliseconds";
    assert_eq!(wrong("east address 198.51.100.7 hello-interval 1500us"), fraction);
}

#[test]
fn a_path_names_its_routers_from_the_next_hop_on() {
    let expected = json!({"prefix": "203.0.113.0/24", "hops": ["192.0.2.2", "10.0.0.2", "198.51.100.7"]});
    for line in [
        "203.0.113.0/24 hops 192.0.2.2 10.0.0.2 198.51.100.7",
        "203.0.113.0/24 hops 192.0.2.2,10.0.0.2,198.51.100.7",
        "203.0.113.0/24 hops 192.0.2.2, 10.0.0.2, 198.51.100.7",
    ] {
        let path = serde_json::to_value(path(&split(line)).expect("a sound path")).expect("JSON");
        assert_eq!(path, expected, "{line}");
    }
    let wrong = |line| path(&split(line)).expect_err("a broken path was accepted");
    assert_eq!(wrong("203.0.113.0/24 192.0.2.2"), "\"192.0.2.2\": expected hops ADDRESS...");
    assert_eq!(wrong("203.0.113.0/24 hops"), "expected an address at the end");
    assert_eq!(wrong("203.0.113.0/24 hops 192.0.2.2 east"), "\"east\": expected an IP address");
}

#[test]
fn a_stream_is_read_in_any_order() {
    let expected = json!({
        "id": 7, "peer": "east", "source": "10.0.0.9:16384", "destination": "203.0.113.9:20000", "dscp": "ef", "ttl": 64,
    });
    for line in [
        "7 peer east source 10.0.0.9:16384 destination 203.0.113.9:20000 dscp ef ttl 64",
        "7 ttl 64 dscp 46 destination 203.0.113.9:20000 source 10.0.0.9:16384 peer east",
    ] {
        let added = stream_add(&split(line)).expect("a sound stream");
        assert_eq!(serde_json::to_value(added).expect("JSON"), expected, "{line}");
    }
    let six = "0 peer east source [2001:db8::9]:1 destination [2001:db8::10]:2 ttl 2";
    let six = serde_json::to_value(stream_add(&split(six)).expect("a sound stream")).expect("JSON");
    assert_eq!((&six["source"], &six["dscp"]), (&json!("[2001:db8::9]:1"), &json!("default")));
    let del = stream_del(&split("7 peer east")).expect("sound");
    assert_eq!(serde_json::to_value(del).expect("JSON"), json!({"id": 7, "peer": "east"}));
}

#[test]
fn what_is_no_stream_is_told_what_was_expected() {
    let wrong = |line| stream_add(&split(line)).expect_err("a broken stream was accepted");
    let whole = "7 peer east source 10.0.0.9:16384 destination 203.0.113.9:20000";
    assert_eq!(wrong("voice peer east"), "\"voice\": expected the stream's id, a number from 0 to 65535");
    assert_eq!(wrong("7 ttl 64"), "expected peer NAME, the router at the other end");
    assert_eq!(wrong("7 peer east ttl 64"), "expected source ADDRESS:PORT");
    let port = "\"10.0.0.9\": expected an address and a port such as 192.0.2.9:5004 or [2001:db8::9]:5004";
    assert_eq!(wrong("7 source 10.0.0.9"), port);
    assert_eq!(wrong(whole), "expected ttl N, which packets have where they come to the router that pools them");
    assert_eq!(wrong("7 ttl 256"), "ttl 256: expected a number from 2 to 255");
    assert_eq!(wrong("7 via east"), "\"via\": expected peer, source, destination, dscp or ttl");
    assert_eq!(stream_del(&split("7 of east")).expect_err("wrong"), "\"of\": expected peer NAME");
    assert_eq!(stream_del(&split("7 peer east 9")).expect_err("wrong"), "\"9\": nothing more was expected");
}

#[test]
fn legs_are_as_many_names_as_stand_there() {
    let added = |line| serde_json::to_value(multicast_add(&split(line)).expect("a sound route")).expect("JSON");
    let expected = json!({"group": "239.1.2.3", "source": "10.0.0.2", "from": "p0", "to": ["p1", "B"]});
    assert_eq!(added("239.1.2.3 source 10.0.0.2 from p0 to p1 B"), expected);
    assert_eq!(added("239.1.2.3 to p1 B from p0 source 10.0.0.2"), expected);
    assert_eq!(added("239.1.2.3 from p0 to p1"), json!({"group": "239.1.2.3", "from": "p0", "to": ["p1"]}));
    let overlay = overlay_add(&split("203.0.113.0/24 to B hops 10.0.0.3 10.0.0.4 from p0")).expect("a sound route");
    assert_eq!(
        serde_json::to_value(overlay).expect("JSON"),
        json!({"prefix": "203.0.113.0/24", "from": "p0", "to": ["B"], "hops": ["10.0.0.3", "10.0.0.4"]})
    );
    let del = multicast_del(&split("239.1.2.3 source 10.0.0.2")).expect("a sound route");
    assert_eq!(del.source, Some([10, 0, 0, 2].into()));
}

#[test]
fn what_is_no_route_with_legs_is_told_what_was_expected() {
    let wrong = |line| multicast_add(&split(line)).expect_err("a broken route was accepted");
    assert_eq!(wrong("239.1.2.3 to p1"), "expected from NAME, a port or peer");
    assert_eq!(wrong("239.1.2.3 from p0"), "expected to NAME..., ports and peers");
    assert_eq!(wrong("239.1.2.3 from p0 to"), "expected a name after to");
    assert_eq!(wrong("239.1.2.3 via p0"), "\"via\": expected source, from or to");
    assert_eq!(
        overlay_add(&split("10.0.0.0/8 to B hops here")).expect_err("wrong"),
        "\"here\": expected an IP address"
    );
}

#[test]
fn a_rule_is_read_in_any_order() {
    let expected = json!({
        "name": "voice",
        "match": {"protocol": "udp", "ports": "16384-32767", "dscp": "ef", "from": "10.0.0.0/8", "to": "10.1.0.0/16"},
        "max_size_bytes": 300, "window_us": 2000, "max_count": 7,
    });
    for line in [
        "voice match udp port 16384-32767 dscp ef from 10.0.0.0/8 to 10.1.0.0/16 max-size 300B window 2ms max-count 7",
        "voice max-count 7 window 2000us max-size 300 match to 10.1.0.0/16 dscp 46 from 10.0.0.0/8 port 16384-32767 protocol 17",
    ] {
        let rule = serde_json::to_value(rule(&split(line)).expect("a sound rule")).expect("JSON");
        assert_eq!(rule, expected, "{line}");
    }
    let rule = |line| serde_json::to_value(super::rule(&split(line)).expect("a sound rule")).expect("JSON");
    assert_eq!(
        rule("bulk window 2ms required-count 5 hold 50ms shared-hops path path-mtu 1200 lone pooled"),
        json!({
            "name": "bulk", "match": {}, "window_us": 2000, "required_count": 5, "hold_us": 50_000,
            "shared_hops": "path", "path_mtu": 1200, "lone": "pooled",
        })
    );
    let quick = json!({"name": "quick", "match": {}, "window_us": 2000, "shared_hops": 3, "adaptive": true});
    assert_eq!(rule("quick shared-hops 3 adaptive true window 2ms"), quick);
    let never = json!({"name": "never", "match": {"protocol": "tcp"}, "pool": false});
    assert_eq!(rule("never match tcp pool false"), never);
}

#[test]
fn what_is_no_rule_is_told_what_was_expected() {
    let wrong = |line| rule(&split(line)).expect_err("a broken rule was accepted");
    assert_eq!(wrong("voice match udp max-size 300B"), "expected window, such as window 2ms, or pool false");
    assert_eq!(wrong("voice pool never"), "pool never: expected true or false");
    assert_eq!(wrong("voice window 2ms required-count 1"), "required-count 1: expected a number from 2 to 255");
    assert_eq!(
        wrong("voice window 2ms shared-hops 0"),
        "shared-hops \"0\": expected \"path\" or a whole number from 1 to 16"
    );
    assert_eq!(wrong("voice window 2ms lone behold"), "lone behold: expected itself or pooled");
    assert_eq!(wrong("voice match udp tcp"), "protocol is there twice");
    assert_eq!(wrong("voice window 2"), "\"2\": a time needs its unit: us, ms or s");
    assert_eq!(wrong("voice max-size 70kB"), "max-size 70kB: at most 65535 bytes");
    assert_eq!(wrong("voice max-count 1"), "max-count 1: expected a number from 2 to 255");
    assert!(wrong("voice match 17").starts_with("\"17\": expected udp, tcp, protocol"));
}
