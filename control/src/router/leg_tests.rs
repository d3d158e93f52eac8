//! Multicast and overlay routes from the file and over the socket, as workers and clients see their legs.

use std::net::Ipv4Addr;
use std::time::Duration;

use carpool_dataplane::fib::{PeerIndex, PortIndex};

use super::bench::*;
use crate::api::{Handler, RefusalKind};

/// The configuration with a route of the group from the east to the peer, and an overlay route by the peer.
fn with_legs() -> String {
    format!(
        "{CONFIG}
[[multicast]]
group = \"239.1.2.3\"
from = \"east\"
to = [\"west\", \"far\"]

[[overlay]]
prefix = \"203.0.114.0/24\"
to = [\"far\"]
hops = [\"198.51.100.9\"]
"
    )
}

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

const SENDER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

const BEHIND: Ipv4Addr = Ipv4Addr::new(203, 0, 115, 1);

/// The legs that a worker sees for the group: for a port its index, for a peer whether it is alive.
fn group_legs(bench: &mut Bench) -> Option<Vec<Result<u16, bool>>> {
    let state = bench.state();
    let route = state.legs.multicast(SENDER, GROUP)?;
    let leg = |leg: &carpool_dataplane::worker::Leg| match leg {
        carpool_dataplane::worker::Leg::Port(port) => Ok(port.0),
        carpool_dataplane::worker::Leg::Peer(leg) => Err(leg.path.addressee.is_some()),
    };
    Some(route.legs().iter().map(leg).collect())
}

#[test]
fn legs_to_a_peer_are_used_while_it_lives() {
    use carpool_dataplane::worker::{Ingress, Leg};
    let mut bench = Bench::new(&with_legs());
    assert_eq!(group_legs(&mut bench), Some(vec![Ok(0), Err(false)]));
    let shown = bench.client().multicast_show(Default::default()).expect("answered").multicast;
    assert_eq!(shown[0].to[1].reason.as_deref(), Some("no hello has come from it"));
    let before = bench.state().pools;
    bench.hello(INSTANCE);
    assert_eq!(group_legs(&mut bench), Some(vec![Ok(0), Err(true)]));
    let state = bench.state();
    assert!(state.pools > before, "open pools go by the legs before");
    let route = state.legs.multicast(SENDER, GROUP).expect("the route");
    assert!(route.admits(Ingress::Port(PortIndex(1))) && !route.admits(Ingress::Port(PortIndex(0))));
    let overlay = state.legs.overlay(Ipv4Addr::new(203, 0, 114, 9)).expect("the route");
    let [Leg::Peer(leg)] = overlay.legs() else { panic!("{overlay:?}") };
    assert!(leg.path.trunk.is_overlay());
    assert_eq!((leg.path.trunk.distance(), leg.peer), (2, PeerIndex(0)));
    bench.pass(Duration::from_secs(1));
    assert_eq!(group_legs(&mut bench), Some(vec![Ok(0), Err(false)]), "it fell silent");
}

#[test]
fn a_leg_whose_peer_speaks_another_format_now_says_so() {
    use crate::api::multicast::MulticastRoute;
    use crate::api::overlay::OverlayRoute;
    let mut bench = Bench::new(CONFIG);
    let to = vec!["far".into()];
    let multicast = MulticastRoute { group: GROUP.into(), source: None, from: "east".into(), to: to.clone() };
    bench.client().multicast_add(multicast).expect("possible");
    let prefix = "203.0.114.0/24".parse().expect("a prefix");
    bench.client().overlay_add(OverlayRoute { prefix, from: None, to, hops: vec![] }).expect("possible");
    let text = CONFIG.replace("[[path]]", "assume = true\nformat = \"simplemux\"\n\n[[path]]");
    bench.reload(&text).expect("possible");
    let reason = Some("it speaks Simplemux, which has no legs");
    let multicast = bench.client().multicast_show(Default::default()).expect("answered").multicast;
    assert_eq!(multicast[0].to[0].reason.as_deref(), reason);
    let overlays = bench.client().overlay_show(Default::default()).expect("answered").overlays;
    assert_eq!(overlays[0].to[0].reason.as_deref(), reason);
}

#[test]
fn multicast_and_overlay_routes_come_and_go_over_the_socket_and_with_the_file() {
    use crate::api::multicast::{MulticastDel, MulticastRoute};
    use crate::api::overlay::{OverlayDel, OverlayRoute};
    let mut bench = Bench::new(CONFIG);
    assert_eq!(group_legs(&mut bench), None);
    let route = MulticastRoute { group: GROUP.into(), source: None, from: "west".into(), to: vec!["east".into()] };
    assert!(!bench.client().multicast_add(route.clone()).expect("possible").replaced);
    assert!(bench.client().multicast_add(route.clone()).expect("possible").replaced);
    assert_eq!(group_legs(&mut bench), Some(vec![Ok(1)]));
    bench.reload(&with_legs()).expect("possible");
    assert_eq!(group_legs(&mut bench), Some(vec![Ok(1)]), "what the socket says comes first");
    bench.client().multicast_del(MulticastDel { group: GROUP.into(), source: None }).expect("it is there");
    assert_eq!(group_legs(&mut bench), None, "the file's is hidden");
    bench.reload(CONFIG).expect("possible");
    let missing = bench.client().multicast_del(MulticastDel { group: GROUP.into(), source: None });
    assert_eq!(missing.expect_err("gone").kind, RefusalKind::NotFound);

    let wrong = [
        MulticastRoute { group: [224, 0, 0, 9].into(), ..route.clone() },
        MulticastRoute { source: Some(GROUP.into()), ..route.clone() },
        MulticastRoute { from: "nowhere".into(), ..route.clone() },
        MulticastRoute { to: vec!["west".into()], ..route.clone() },
        MulticastRoute { to: vec!["east".into(), "east".into()], ..route.clone() },
        MulticastRoute { to: vec![], ..route },
    ];
    for route in wrong {
        let refused = bench.client().multicast_add(route.clone()).expect_err("it is wrong");
        assert_eq!(refused.kind, RefusalKind::Conflict, "{route:?}");
    }
    let overlay = OverlayRoute {
        prefix: "203.0.115.0/24".parse().expect("a prefix"),
        from: None,
        to: vec!["far".into()],
        hops: vec![],
    };
    bench.client().overlay_add(overlay.clone()).expect("possible");
    assert!(bench.state().legs.overlay(BEHIND).is_some());
    bench.client().overlay_del(OverlayDel { prefix: overlay.prefix }).expect("it is there");
    assert!(bench.state().legs.overlay(BEHIND).is_none());
    for overlay in [
        OverlayRoute { to: vec!["west".into()], ..overlay.clone() },
        OverlayRoute { prefix: "239.0.0.0/8".parse().expect("a prefix"), ..overlay.clone() },
        OverlayRoute { hops: vec![GROUP.into()], ..overlay.clone() },
        OverlayRoute { hops: vec![SENDER.into(); 16], ..overlay.clone() },
    ] {
        assert!(bench.client().overlay_add(overlay.clone()).is_err(), "{overlay:?}");
    }
}

#[test]
fn a_route_whose_peer_left_the_file_says_so_and_sends_nothing_there() {
    use crate::api::multicast::MulticastRoute;
    let mut bench = Bench::new(CONFIG);
    let to = vec!["east".into(), "far".into()];
    bench
        .client()
        .multicast_add(MulticastRoute { group: GROUP.into(), source: None, from: "west".into(), to })
        .expect("possible");
    let without_peer =
        CONFIG.replace("[[path]]\nprefix = \"203.0.113.0/24\"\nhops = [\"192.0.2.2\", \"198.51.100.7\"]", "");
    let without_peer = without_peer.replace("[[peer]]\nname = \"far\"\naddress = \"198.51.100.7\"", "");
    bench.reload(&without_peer).expect("possible");
    assert_eq!(group_legs(&mut bench), Some(vec![Ok(1)]));
    let shown = bench.client().multicast_show(Default::default()).expect("answered").multicast;
    assert_eq!(shown[0].to[1].kind, None);
}
