//! Addresses of IPv4 and IPv6: where either may stand, and where they do not go together.

use super::{BOTH, LEAST, address, net, wrong, wrong_with};
use crate::config::parse;

#[test]
fn addresses_of_both_families_stand_wherever_addresses_do() {
    let text = format!(
        "{BOTH}[router]\naddress = [\"2001:db8:ffff::1\"]\n\
         [[neighbor]]\naddress = \"2001:db8::9\"\nmac = \"02:00:00:00:00:02\"\nport = \"p0\"\n\
         [[route]]\nprefix = \"2001:db8:1::/48\"\nvia = \"2001:db8::2\"\n\
         [[route]]\nprefix = \"203.0.113.0/24\"\nvia = \"2001:db8:1::2\"\n\
         [[peer]]\nname = \"east\"\naddress = \"2001:db8:1::7\"\nalias = [\"198.51.100.7\"]\nsource = \"2001:db8:ffff::1\"\n\
         [[path]]\nprefix = \"2001:db8:1::/48\"\nhops = [\"2001:db8::2\", \"2001:db8:1::7\"]\n\
         [[rule]]\nname = \"voice\"\nmatch = {{ to = \"2001:db8:1::/48\" }}\nwindow = \"2ms\"\n"
    );
    let config = parse(&text, "c.toml").expect("sound");
    assert_eq!(config.router_id, std::net::Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(config.ports[0].addresses, [net("192.0.2.1/24"), net("2001:db8::1/64")]);
    assert_eq!(config.routes[1].target, crate::api::route::RouteTarget::Via(address("2001:db8:1::2")), "RFC 8950");
    assert_eq!(config.rules[0].matcher.destination, Some(net("2001:db8:1::/48")));
}

#[test]
fn what_no_ipv6_address_can_be_is_refused() {
    let link_local = "expected an address that is not link-local: ports have such a one by themselves";
    let cases = [
        ("address = [\"fe80::1/64\"]", format!("c.toml:5:12: port.address = \"fe80::1/64\": {link_local}")),
        (
            "address = [\"ff02::1/64\"]",
            "c.toml:5:12: port.address = \"ff02::1/64\": expected the address of a host: no loopback, multicast or \
             reserved address"
                .into(),
        ),
        (
            "address = [\"2001:db8::1/64\"]\nmtu = 1000",
            "c.toml:6:7: port.mtu = 1000: expected at least 1280 bytes on a port with an IPv6 address".into(),
        ),
    ];
    for (keys, expected) in cases {
        let text = LEAST.replace("address = [\"192.0.2.1/24\"]", keys);
        assert_eq!(wrong_with(&format!("{text}[router]\nid = \"192.0.2.1\"\n")), expected);
    }
    let told = wrong_with(&LEAST.replace("192.0.2.1/24", "2001:db8::1/64"));
    assert!(told.contains("router.id: missing where no port has an IPv4 address; expected an IPv4 address"), "{told}");
}

#[test]
fn families_that_do_not_go_together_are_refused() {
    let cases = [
        (
            "[[route]]\nprefix = \"2001:db8:1::/48\"\nvia = \"192.0.2.2\"\n",
            "c.toml:8:7: route.via = \"192.0.2.2\": expected an IPv6 address, as the prefix is one of IPv6",
        ),
        (
            "[[route]]\nprefix = \"2001:db8:1::/48\"\nvia = \"fe80::2\"\n",
            "c.toml:8:7: route.via = \"fe80::2\": expected a port behind the link-local address, as in fe80::1%p0: \
             it does not say on which link it is",
        ),
        (
            "[[peer]]\nname = \"east\"\naddress = \"198.51.100.7\"\nsource = \"2001:db8::1\"\n",
            "c.toml:9:10: peer.source = \"2001:db8::1\": expected an address of the family that the peer's has",
        ),
    ];
    for (more, expected) in cases {
        assert_eq!(wrong_with(&format!("{BOTH}{more}")), expected);
    }
    let told = wrong("[[peer]]\nname = \"east\"\naddress = \"2001:db8:1::7\"\n");
    assert!(told.ends_with("expected an IPv4 address: the router has no IPv6 address to send from"), "{told}");
}

#[test]
fn a_link_local_gateway_has_a_port_that_speaks_ipv6() {
    let six = LEAST.replacen("address = [", "address = [\"2001:db8:1::1/64\", ", 1);
    let route = |gateway: &str| format!("[[route]]\nprefix = \"2001:db8:9::/48\"\nvia = \"{gateway}\"\n");
    let config = parse(&format!("{six}{}", route("fe80::2%p0")), "c.toml").expect("a sound configuration");
    assert_eq!(config.routes[0].target.gateway().as_deref(), Some("fe80::2%p0"));
    for (text, expected) in [
        (
            format!("{six}{}", route("fe80::2%p9")),
            "route.via = \"fe80::2%p9\": expected the name of a port behind %: there is none called \"p9\"",
        ),
        (
            format!("{LEAST}{}", route("fe80::2%p0")),
            "route.via = \"fe80::2%p0\": expected a port with an IPv6 address behind %: \"p0\" has none, and speaks no IPv6",
        ),
        (
            format!("{six}{}", route("fe80::2")),
            "route.via = \"fe80::2\": expected a port behind the link-local address, as in fe80::1%p0: it does not say on which \
             link it is",
        ),
    ] {
        let told = parse(&text, "c.toml").expect_err("a broken configuration was accepted").to_string();
        assert!(told.ends_with(expected), "{told}");
    }
}
