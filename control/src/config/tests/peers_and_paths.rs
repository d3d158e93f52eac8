//! Peers, paths, and how they fit together.

use super::wrong;

#[test]
fn peers_and_paths_fit_together() {
    let peer =
        |name: &str, address: &str, more: &str| format!("[[peer]]\nname = {name:?}\naddress = {address:?}\n{more}\n");
    let path = |prefix: &str, hops: &str| format!("[[path]]\nprefix = {prefix:?}\nhops = [{hops}]\n");
    let east = peer("east", "198.51.100.7", "");
    let cases = [
        (
            peer("me", "192.0.2.1", ""),
            "c.toml:8:11: peer.address = \"192.0.2.1\": expected the address of another router, this one is our own",
        ),
        (
            east.clone() + &peer("east", "198.51.100.8", ""),
            "c.toml:11:8: peer.name = \"east\": a peer of this name is there twice",
        ),
        (
            peer("east", "198.51.100.7", "source = \"192.0.2.9\""),
            "c.toml:9:10: peer.source = \"192.0.2.9\": expected one of the router's own addresses",
        ),
        (
            peer("east", "198.51.100.7", "mtu = 1501"),
            "c.toml:9:7: peer.mtu = 1501: expected at most 1500, the largest MTU of a port",
        ),
        (
            peer("east", "198.51.100.7", "hello_interval = \"1ms\""),
            "c.toml:9:18: peer.hello_interval = \"1ms\": expected a time from \"10ms\" to \"60s\"",
        ),
        (
            peer("east", "198.51.100.7", "format = \"simplemux\""),
            "c.toml:9:10: peer.format = \"simplemux\": expected assume = true beside it: there are no hellos in this format",
        ),
        (
            peer("east", "198.51.100.7", "format = \"fast\""),
            "c.toml:9:10: peer.format = \"fast\": expected \"native\", \"simplemux\" or \"simplemux-fast\"",
        ),
        (
            "[pool]\nport = 55555\n".to_owned()
                + &peer("east", "198.51.100.7", "assume = true\nformat = \"simplemux\""),
            "c.toml:7:8: pool.port = 55555: expected a port that no format of a peer has: peer \"east\" is reached there",
        ),
        (
            path("10.0.0.0/8", "\"192.0.2.2\""),
            "c.toml:8:8: path.hops: expected at least one hop that is an address of a [[peer]]",
        ),
        (
            east.clone() + &path("10.0.0.0/8", "\"198.51.100.7\""),
            "c.toml:12:9: path.hops = \"198.51.100.7\": expected the next hop: a router on the link of a port",
        ),
        (
            east.clone() + &path("10.0.0.0/8", "\"192.0.2.2\", \"192.0.2.2\", \"198.51.100.7\""),
            "c.toml:12:22: path.hops = \"192.0.2.2\": this router is there twice",
        ),
        (
            peer("east", "198.51.100.7", "alias = [\"192.0.2.2\"]")
                + &path("10.0.0.0/8", "\"192.0.2.2\", \"198.51.100.7\""),
            "c.toml:12:22: path.hops = \"198.51.100.7\": this router is there twice",
        ),
        (
            east.clone() + &peer("west", "192.0.2.3", "alias = [\"192.0.2.4\", \"198.51.100.7\"]"),
            "c.toml:13:23: peer.alias = \"198.51.100.7\": a peer with this address is there twice",
        ),
        (
            peer("east", "198.51.100.7", "alias = [\"192.0.2.1\"]"),
            "c.toml:9:10: peer.alias = \"192.0.2.1\": expected the address of another router, this one is our own",
        ),
        (
            path("10.0.0.0/8", ""),
            "c.toml:8:8: path.hops: expected the addresses of 1 to 16 routers, the next hop first",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(wrong(&text), expected);
    }
}
