//! Multicast and overlay routes.

use super::{LEAST, wrong};
use crate::config::parse;

#[test]
fn routes_with_legs_name_ports_and_peers_that_there_are() {
    const EAST: &str = "[[peer]]\nname = \"east\"\naddress = \"198.51.100.7\"\n";
    let multicast = |keys: &str| format!("[[multicast]]\n{keys}\n");
    let config = parse(
        &format!("{LEAST}{}", multicast("group = \"239.1.2.3\"\nfrom = \"p0\"\nto = [\"east\"]") + EAST),
        "c.toml",
    );
    let config = config.expect("a sound configuration");
    assert_eq!((config.multicast[0].from.as_str(), config.multicast[0].source), ("p0", None));
    let six = multicast("group = \"ff3e::8000:1\"\nsource = \"2001:db8::9\"\nfrom = \"p0\"\nto = [\"east\"]");
    let overlay6 =
        "[[overlay]]\nprefix = \"2001:db8:f::/48\"\nto = [\"east\"]\nhops = [\"2001:db8::7\", \"10.9.9.9\"]\n";
    let config = parse(&format!("{LEAST}{six}{overlay6}{EAST}"), "c.toml").expect("a sound configuration");
    assert_eq!(config.multicast[0].source, Some("2001:db8::9".parse().expect("an address")));
    assert_eq!((config.overlays[0].prefix.to_string().as_str(), config.overlays[0].hops.len()), ("2001:db8:f::/48", 2));
    let overlay = |keys: &str| format!("[[overlay]]\n{keys}\n") + EAST;
    for (text, expected) in [
        (
            multicast("group = \"224.0.0.5\"\nfrom = \"p0\"\nto = [\"p0\"]"),
            "multicast.group = \"224.0.0.5\": expected a group from 224.0.1.0 to 239.255.255.255, or one of IPv6 with a scope of 3 to f",
        ),
        (
            multicast("group = \"ff12::1\"\nfrom = \"p0\"\nto = [\"p0\"]"),
            "multicast.group = \"ff12::1\": expected a group from 224.0.1.0 to 239.255.255.255, or one of IPv6 with a scope of 3 to f",
        ),
        (
            multicast("group = \"ff3e::1\"\nsource = \"10.0.0.9\"\nfrom = \"p0\"\nto = [\"p0\"]"),
            "multicast.source = \"10.0.0.9\": expected an address of the family of the group",
        ),
        (
            overlay("prefix = \"fe80::/64\"\nto = [\"east\"]"),
            "overlay.prefix = \"fe80::/64\": expected a prefix of hosts beyond the link",
        ),
        (
            overlay("prefix = \"ff3e::/32\"\nto = [\"east\"]"),
            "overlay.prefix = \"ff3e::/32\": expected a prefix of hosts, not of groups",
        ),
        (
            multicast("group = \"239.1.2.3\"\nfrom = \"p0\"\nto = [\"p0\"]"),
            "multicast.to: \"p0\" is where packets come from: expected another leg",
        ),
        (
            multicast("group = \"239.1.2.3\"\nfrom = \"p0\""),
            "multicast.to: missing; expected a list of names such as [\"p1\", \"east\"]",
        ),
        (
            multicast("group = \"239.1.2.3\"\nfrom = \"p9\"\nto = [\"p0\"]"),
            "multicast.from = \"p9\": expected the name of a port or a peer: there is none called \"p9\"",
        ),
        (overlay("prefix = \"10.9.0.0/16\"\nto = [\"p0\"]"), "overlay.to: expected peers: \"p0\" is a port"),
        (overlay("prefix = \"10.9.0.0/16\"\nto = []"), "overlay.to: expected 1 to 32 legs"),
    ] {
        let wrong = wrong(&text);
        assert!(wrong.ends_with(expected), "{wrong}");
    }
}
