use super::super::{HopList, PathSource, ToldPaths};
use super::*;
use carpool_dataplane::pool::path::SharedHops;
use proptest::prelude::*;
use std::net::Ipv4Addr;

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn hops(lasts: &[u8]) -> HopList {
    let addresses: Vec<_> = lasts.iter().map(|last| address(*last)).collect();
    HopList::new(&addresses).expect("1 to 16 hops")
}

/// A table whose numbers are the positions of these paths. No two may be the same.
fn table(paths: &[&[u8]]) -> PathTable {
    let mut table = PathTable::default();
    for (place, lasts) in (0u32..).zip(paths) {
        let told = ToldPaths::default().with(PathSource::Config, Some(hops(lasts)));
        table.put(IpAddr::V4(Ipv4Addr::from_bits(place)).into(), told).expect("room");
    }
    table
}

/// The peer at these addresses that is reached by a next hop.
fn node(peer: u16, addresses: &[u8], first_hop: u8) -> Node {
    let reached = Reached { first_hops: [Some(address(first_hop)), None], on_the_way: true, takes_ttls: true };
    Node {
        peer: PeerIndex(peer),
        addresses: addresses.iter().map(|last| address(*last)).collect(),
        reached: Some(reached),
    }
}

fn at_least(hops: u8) -> SharedHops {
    SharedHops::AtLeast(hops)
}

#[test]
fn a_peer_is_one_node_by_any_of_its_addresses() {
    let table = table(&[&[2, 7], &[3, 8], &[2, 9]]);
    let paths = arranged(&table, &[node(0, &[7, 8, 9], 2)]);
    let [a, b, c] = &paths[..] else { panic!("three paths") };
    assert_eq!((a.trunk, a.addressee), (c.trunk, Some(PeerIndex(0))));
    assert_eq!(a.groups, c.groups, "the same nodes by the same next hop");
    assert_eq!(b.addressee, None, "packets to it do not leave by 192.0.2.3");
    assert_eq!(a.trunk.shared_hops(&b.trunk), 0, "2 and 3 are two routers");
    assert_eq!(a.trunk.distance(), 2);
}

#[test]
fn the_addressee_is_the_deepest_peer_that_is_reached_by_the_first_hop() {
    let table = table(&[&[2, 3, 4, 5]]);
    let near = node(0, &[3], 2);
    let middle = Node { reached: None, ..node(1, &[4], 2) };
    let far = node(2, &[5], 9);
    let paths = arranged(&table, &[near.clone(), middle.clone(), far]);
    assert_eq!((paths[0].addressee, paths[0].trunk.distance()), (Some(PeerIndex(0)), 2), "the next one that fits");
    let paths = arranged(&table, &[near, middle, node(2, &[5], 2)]);
    assert_eq!(paths[0].addressee, Some(PeerIndex(2)));
    assert_eq!(paths[0].trunk, Trunk::new(&[4, 1, 2, 3], 0b1010), "who is down just forwards");
    let nobody = Node { reached: None, ..node(0, &[3], 2) };
    assert_eq!(arranged(&table, &[nobody])[0].addressee, None);
}

#[test]
fn who_does_not_open_what_goes_to_others_is_only_an_addressee() {
    let table = table(&[&[2, 3]]);
    let passes = |peer, last| {
        let reached = Reached { first_hops: [Some(address(2)), None], on_the_way: false, takes_ttls: true };
        Node { reached: Some(reached), ..node(peer, &[last], 2) }
    };
    let paths = arranged(&table, &[passes(0, 2), passes(1, 3)]);
    assert_eq!((paths[0].trunk, paths[0].addressee), (Trunk::new(&[1, 2], 0b10), Some(PeerIndex(1))));
}

#[test]
fn packets_in_a_format_without_ttls_all_go_to_the_addressee() {
    let table = table(&[&[1, 2], &[1, 3], &[1, 2, 4]]);
    let foreign = Reached { first_hops: [Some(address(1)), None], on_the_way: false, takes_ttls: false };
    let nodes = [node(0, &[1], 1), Node { reached: Some(foreign), ..node(1, &[2], 1) }, node(2, &[3], 1)];
    let paths = arranged(&table, &nodes);
    assert_eq!((paths[0].trunk, paths[0].addressee), (Trunk::new(&[1, 2], 0b10), Some(PeerIndex(1))));
    assert_ne!(paths[0].group(at_least(1)), paths[1].group(at_least(1)), "1 could not take out what turns off there");
    assert_eq!(paths[0].group(at_least(1)), paths[2].group(at_least(1)));
}

#[test]
fn three_ways_share_a_pool_as_far_as_the_rule_asks() {
    // All nodes are equipped: 1-2-3-4-5 twice by prefix, and one that turns off behind 3.
    let nodes: Vec<_> = (1..=9).map(|last| node(u16::from(last) - 1, &[last], 1)).collect();
    let table = table(&[&[1, 2, 3, 4, 5], &[1, 2, 3, 9], &[1, 2], &[1, 2, 3, 4]]);
    let paths = arranged(&table, &nodes);
    let group = |path: usize, shared| paths[path].group(shared);
    for hops in 1..=2 {
        assert!((1..=3).all(|path| group(path, at_least(hops)) == group(0, at_least(hops))), "{hops} hops");
    }
    assert_eq!(group(0, at_least(3)), group(1, at_least(3)));
    assert_eq!(group(0, at_least(3)), group(3, at_least(3)));
    assert_ne!(group(0, at_least(3)), group(2, at_least(3)), "it has only two");
    assert_eq!(group(0, at_least(4)), group(3, at_least(4)));
    assert_ne!(group(0, at_least(4)), group(1, at_least(4)));
    assert_ne!(group(0, at_least(5)), group(3, at_least(5)));
    assert_ne!(group(0, SharedHops::WholePath), group(3, SharedHops::WholePath));
    let ttls = [0, 1, 2, 3].map(|path| paths[0].trunk.index_ttl(&paths[path].trunk));
    assert_eq!(ttls, [5, 3, 2, 4]);
}

#[test]
fn whoever_shares_a_pool_shares_an_equipped_node() {
    // Only 3 and 4 are equipped: sharing 1 and 2 is of no use.
    let table = table(&[&[1, 2, 3], &[1, 2, 4], &[1, 2, 3, 5]]);
    let paths = arranged(&table, &[node(0, &[3], 1), node(1, &[4], 1)]);
    assert_ne!(paths[0].group(at_least(1)), paths[1].group(at_least(1)));
    assert_eq!(paths[0].group(at_least(1)), paths[2].group(at_least(1)));
    assert_eq!(paths[0].group(SharedHops::WholePath), paths[2].group(SharedHops::WholePath), "as far as the addressee");
}

#[test]
fn a_path_more_leaves_open_pools_alone_and_a_path_less_does_not() {
    let nodes = [node(0, &[2], 2), node(1, &[5], 2)];
    let few = arranged(&table(&[&[2, 5], &[2]]), &nodes);
    let more = arranged(&table(&[&[2, 5], &[2], &[2, 9], &[3]]), &nodes);
    assert!(keeps_pools(&few, &more));
    assert!(!keeps_pools(&more, &few), "the path to 2 and 9 was pooled on");
    let down = [nodes[0].clone(), Node { reached: None, ..nodes[1].clone() }];
    assert!(!keeps_pools(&few, &arranged(&table(&[&[2, 5], &[2]]), &down)));
}

#[test]
fn what_was_arranged_is_remembered_until_paths_or_peers_change() {
    let nodes = || vec![node(0, &[5], 2)];
    let mut table = table(&[&[2, 5]]);
    let mut arrangement = Arrangement::default();
    let first = Arc::clone(arrangement.of(&table, nodes()));
    assert!(Arc::ptr_eq(&first, arrangement.of(&table, nodes())));
    let told = ToldPaths::default().with(PathSource::Config, Some(hops(&[2, 9])));
    table.put(IpAddr::V4(Ipv4Addr::from_bits(77)).into(), told).expect("room");
    assert_eq!(arrangement.of(&table, nodes()).len(), 2);
    let down = Node { reached: None, ..node(0, &[5], 2) };
    assert_eq!(arrangement.of(&table, vec![down])[0].addressee, None);
}

/// Whether two paths share a pool, said as the document says it.
fn share(a: &[u8], b: &[u8], hops: usize, equipped: &[u8]) -> bool {
    let first = |path: &[u8]| path.iter().position(|last| equipped.contains(last)).map(|at| at + 1);
    let (Some(first_of_a), Some(_)) = (first(a), first(b)) else { return false };
    let must = hops.max(first_of_a);
    let start = |path: &[u8]| path.iter().copied().take(must).collect::<Vec<_>>();
    start(a) == start(b)
}

proptest! {
    #[test]
    fn groups_are_what_a_comparison_of_each_with_each_finds(
        lasts in prop::collection::hash_set(prop::collection::vec(1u8..5, 1..=6), 1..12),
        equipped in prop::collection::hash_set(1u8..5, 0..4),
    ) {
        let lasts: Vec<_> = lasts.into_iter().map(|mut path| { path.insert(0, 9); path }).collect();
        let equipped: Vec<_> = equipped.into_iter().collect();
        let nodes: Vec<_> = equipped.iter().map(|last| node(u16::from(*last), &[*last], 9)).collect();
        let slices: Vec<_> = lasts.iter().map(Vec::as_slice).collect();
        let paths = arranged(&table(&slices), &nodes);
        for (a, of_a) in lasts.iter().zip(&paths) {
            prop_assert_eq!(of_a.addressee.is_some(), a.iter().any(|last| equipped.contains(last)));
            for (b, of_b) in lasts.iter().zip(&paths) {
                for hops in 1..=16 {
                    let same = of_a.group(at_least(hops)) == of_b.group(at_least(hops));
                    let expected = a == b || share(a, b, usize::from(hops), &equipped);
                    prop_assert_eq!(same, expected, "{:?} and {:?}, {} hops", a, b, hops);
                    if same && of_a.addressee.is_some() {
                        prop_assert!(of_a.trunk.index_ttl(&of_b.trunk) > 0, "somebody can take it out");
                    }
                }
                if of_a.addressee.is_some() && of_a.group(SharedHops::WholePath) == of_b.group(SharedHops::WholePath) {
                    prop_assert_eq!(of_a.trunk.index_ttl(&of_b.trunk), of_a.trunk.distance());
                }
            }
        }
    }
}

/// `cargo test --release -p carpool-control --lib paths::arrangement -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn ten_thousand_paths() {
    let mut table = PathTable::default();
    for i in 0..10_000u32 {
        // A tree of ten branches at each of the last four of eight hops, behind four next hops.
        let digits = [i / 10 % 4, 0, 0, 0, i / 1000, i / 100, i / 10, i];
        let hops: Vec<_> = digits.iter().enumerate().map(|(level, digit)| (level as u32) << 24 | digit).collect();
        let hops: Vec<_> = hops.into_iter().map(|bits| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + bits))).collect();
        let told = ToldPaths::default().with(PathSource::Config, HopList::new(&hops));
        table.put(IpAddr::V4(Ipv4Addr::from_bits(i << 8)).into(), told).expect("room");
    }
    let nodes: Vec<_> = (0..1000u16)
        .map(|i| {
            let first_hop = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + u32::from(i) % 4));
            let addresses = [IpAddr::V4(Ipv4Addr::from_bits(0x1000_0000 + u32::from(i)))].into();
            Node {
                peer: PeerIndex(i),
                addresses,
                reached: Some(Reached { first_hops: [Some(first_hop), None], on_the_way: true, takes_ttls: true }),
            }
        })
        .collect();
    let begin = std::time::Instant::now();
    let rounds = 20;
    for _ in 0..rounds {
        let pooled = arranged(&table, &nodes).iter().filter(|path| path.addressee.is_some()).count();
        assert_eq!(pooled, 10_000);
    }
    println!("10,000 paths, 1000 peers: {:?}", begin.elapsed() / rounds);
}
