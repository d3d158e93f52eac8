//! Ports, routes by them and neighbours on their links.

use std::net::Ipv4Addr;

use super::{LEAST, wrong, wrong_with};
use crate::config::parse;

#[test]
fn there_must_be_a_source_port_for_each_bucket_of_each_worker() {
    let with = |port: u32| format!("{LEAST}[dataplane]\ncores = [1, 2, 3]\nbuckets = 4\n[pool]\nport = {port}\n");
    assert!(parse(&with(65524), "c.toml").is_ok(), "65524 to 65535");
    assert_eq!(
        wrong_with(&with(65525)),
        "c.toml:8:11: dataplane.buckets = 4: expected fewer, or a lower pool.port: 3 workers with 4 flow buckets each \
         send from UDP ports 65525 to 65536, and there are 65535"
    );
    let one = format!("{LEAST}[pool]\nport = 65535\n");
    assert!(parse(&one, "c.toml").is_ok(), "one worker, one bucket");
}

#[test]
fn a_router_without_ports_is_none() {
    assert_eq!(wrong_with(""), "c.toml:1:1: port: missing; expected at least one [[port]]");
    assert_eq!(wrong_with("port = []\n"), "c.toml:1:8: port: missing; expected at least one [[port]]");
}

#[test]
fn ports_must_not_get_in_each_others_way() {
    let port = |name: &str, device: &str, address: &str| {
        format!("[[port]]\nname = {name:?}\ndevice = {device:?}\naddress = [{address:?}]\n")
    };
    let cases = [
        (port("p0", "net_null1", "10.0.0.1/8"), "c.toml:7:8: port.name = \"p0\": a port of this name is there twice"),
        (
            port("p1", "net_null0,size=64", "10.0.0.1/8"),
            "c.toml:8:10: port.device = \"net_null0,size=64\": this device is there twice",
        ),
        (
            port("p1", "net_null1", "192.0.2.129/25"),
            "c.toml:9:12: port.address = \"192.0.2.129/25\": its subnet overlaps with 192.0.2.1/24 of port \"p0\"",
        ),
        (
            port("p1", "net_null1", "192.0.2.1/32"),
            "c.toml:9:12: port.address = \"192.0.2.1/32\": this address is there twice: 192.0.2.1/24 of port \"p0\"",
        ),
        (
            port("p1", "net_null1", "10.0.0.255/24"),
            "c.toml:9:12: port.address = \"10.0.0.255/24\": expected the address of a host: this is the broadcast address of the subnet",
        ),
        (
            port("p1", "net_null1", "127.0.0.1/8"),
            "c.toml:9:12: port.address = \"127.0.0.1/8\": expected the address of a host: no loopback, multicast or reserved address",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(wrong(&text), expected);
    }
    let second = LEAST.replace("[\"192.0.2.1/24\"]", "[\"192.0.2.1/24\", \"192.0.2.9/24\"]");
    assert!(parse(&second, "c.toml").is_ok(), "a port may have two addresses in one subnet");
}

#[test]
fn routes_need_a_gateway_that_can_be_reached() {
    let route = |prefix: &str, to: &str| format!("[[route]]\nprefix = {prefix:?}\n{to}\n");
    let via = |gateway: &str| route("10.0.0.0/8", &format!("via = {gateway:?}"));
    let cases = [
        (
            route("10.0.0.1/8", "blackhole = true"),
            "c.toml:7:10: route.prefix = \"10.0.0.1/8\": expected a prefix without host bits, such as \"203.0.113.0/24\" or \"2001:db8::/32\"",
        ),
        (
            route("10.0.0.0/8", ""),
            "c.toml:7:10: route.prefix = \"10.0.0.0/8\": expected exactly one of via, blackhole = true and unreachable = true beside it",
        ),
        (
            route("10.0.0.0/8", "via = \"192.0.2.2\"\nblackhole = true"),
            "c.toml:7:10: route.prefix = \"10.0.0.0/8\": expected exactly one of via, blackhole = true and unreachable = true beside it",
        ),
        (route("10.0.0.0/8", "blackhole = false"), "c.toml:8:13: route.blackhole = false: expected true"),
        (
            via("198.51.100.1"),
            "c.toml:8:7: route.via = \"198.51.100.1\": expected the address of a router on the link of a port, or one that a route leads to",
        ),
        (
            via("192.0.2.1"),
            "c.toml:8:7: route.via = \"192.0.2.1\": expected the address of another router, this one is our own",
        ),
        (
            via("192.0.2.255"),
            "c.toml:8:7: route.via = \"192.0.2.255\": expected the address of a router: this one names no host of 192.0.2.0/24",
        ),
        (
            via("10.1.1.1"),
            "c.toml:8:7: route.via = \"10.1.1.1\": its route leads over more than 8 further routes, or in a circle",
        ),
        (
            route("192.0.2.0/24", "via = \"192.0.2.2\""),
            "c.toml:7:10: route.prefix = \"192.0.2.0/24\": this is the subnet of a port: there is a route to it already",
        ),
        (
            via("192.0.2.2") + &via("192.0.2.3"),
            "c.toml:10:10: route.prefix = \"10.0.0.0/8\": a route to this prefix is there twice",
        ),
        (
            route("172.16.0.0/12", "blackhole = true") + &via("172.16.0.1"),
            "c.toml:11:7: route.via = \"172.16.0.1\": the route to it, 172.16.0.0/12, leads nowhere",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(wrong(&text), expected);
    }
    let behind = format!("{LEAST}{}{}", via("192.0.2.2"), route("172.16.0.0/12", "via = \"10.0.0.9\""));
    assert!(parse(&behind, "c.toml").is_ok(), "a gateway may be behind another route");
}

#[test]
fn neighbours_are_others_on_the_link() {
    let neighbor = |address: &str, mac: &str, port: &str| {
        format!("[[neighbor]]\naddress = {address:?}\nmac = {mac:?}\nport = {port:?}\n")
    };
    let mac = "02:00:00:00:00:02";
    let cases = [
        (
            neighbor("10.0.0.1", mac, "p0"),
            "c.toml:7:11: neighbor.address = \"10.0.0.1\": expected an address on the link of port \"p0\"",
        ),
        (
            neighbor("192.0.2.1", mac, "p0"),
            "c.toml:7:11: neighbor.address = \"192.0.2.1\": expected the address of another host on the link",
        ),
        (
            neighbor("192.0.2.2", mac, "p1"),
            "c.toml:9:8: neighbor.port = \"p1\": expected the name of a [[port]]: \"p0\"",
        ),
        (
            neighbor("192.0.2.2", "03:00:00:00:00:02", "p0"),
            "c.toml:8:7: neighbor.mac = \"03:00:00:00:00:02\": expected an Ethernet address of a station, such as \"02:00:00:00:00:01\"",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(wrong(&text), expected);
    }
}

#[test]
fn there_are_at_most_so_many_neighbours() {
    let least = LEAST.replace("192.0.2.1/24", "10.0.0.1/16");
    let neighbor = |i: u32| {
        let address = Ipv4Addr::from_bits(0x0a00_0100 + i);
        format!("[[neighbor]]\naddress = \"{address}\"\nmac = \"02:00:00:00:00:02\"\nport = \"p0\"\n")
    };
    let most: String = (0..4096).map(neighbor).collect();
    assert!(parse(&format!("{least}{most}"), "c.toml").is_ok());
    let errors = parse(&format!("{least}{most}{}", neighbor(4096)), "c.toml").expect_err("one too many");
    assert!(errors.to_string().ends_with("expected at most 4096 neighbours"), "{errors}");
}
