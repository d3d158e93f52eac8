//! The path MTU to a peer, from its hellos and from what routers on the way say.

use std::time::Duration;

use carpool_dataplane::fib::PeerIndex;
use carpool_dataplane::packet::too_big::TooBig;
use carpool_dataplane::packet::{icmp, too_big};
use carpool_dataplane::pool::hello::Hello;
use carpool_dataplane::worker::Event;

use super::bench::*;
use crate::api::Handler;
use crate::api::peer::{PathMtuSource, PeerShow};

#[test]
fn the_path_mtu_is_searched_for_up_to_the_mtu_of_the_port() {
    let mut bench = Bench::new(&CONFIG.replace("net_null0\"", "net_null0\"\nmtu = 9000"));
    bench.injected();
    bench.hello_from(PEER, Hello { largest_pooled_packet: 9000, longest_hello: 56, ..HELLO });
    let mtu = |bench: &mut Bench| bench.state().peers.get(PeerIndex(0)).map(|peer| peer.path.mtu);
    assert_eq!(mtu(&mut bench), Some(1200), "nothing longer has arrived yet");
    let known = |bench: &mut Bench| bench.client().peer_show(PeerShow {}).expect("answered").peers[0].path_mtu_source;
    assert_eq!(known(&mut bench), PathMtuSource::Probing);
    let probes: Vec<_> =
        bench.injected().iter().map(|inject| inject.bytes.len() + usize::from(inject.padding)).collect();
    assert_eq!(probes, [56, 9000]);
    bench.hello_from(PEER, Hello { largest_pooled_packet: 9000, longest_hello: 9000, ..HELLO });
    assert_eq!((mtu(&mut bench), known(&mut bench)), (Some(9000), PathMtuSource::Probed));
    bench.pass(Duration::from_millis(600));
    bench.hello_from(PEER, HELLO);
    assert_eq!(mtu(&mut bench), Some(1500), "it was away, and does not say what arrives");
}

/// What a router says of a packet that was too long for it.
fn too_big(packet: &[u8], next_hop_mtu: u16) -> TooBig {
    let (router, us) = ([10, 9, 9, 9].into(), [192, 0, 2, 1].into());
    let mut out = [0; icmp::MAX_ERROR_LEN];
    let kind = icmp::ErrorKind::FragmentationNeeded { next_hop_mtu };
    let length = icmp::write_error(kind, packet, router, us, &mut out).expect("room");
    too_big::fragmentation_needed(&out[20..length]).expect("a datagram")
}

#[test]
fn a_router_on_the_way_that_quotes_a_probe_lowers_the_path_mtu() {
    let mut bench = Bench::new(CONFIG);
    let probe = bench.unanswered_probe(PEER);
    // Source, destination, either port, kind, sequence number, length: not what we sent.
    for position in [12, 16, 20, 21, 22, 23, 28, 35, 3] {
        let mut other = probe.clone();
        other[position] ^= 1;
        assert!(!bench.is_told_of_less(too_big(&other, 1300)), "byte {position}");
    }
    assert!(bench.is_told_of_less(too_big(&probe, 1300)));
    assert_eq!(bench.path_mtu(), Some(1500), "it is asked once more");
    let probe = bench.probes().pop().expect("another probe");
    bench.tell(Event::PacketTooBig(too_big(&probe, 1300)));
    assert_eq!(bench.path_mtu(), Some(1300));
}

#[test]
fn a_router_on_the_way_that_quotes_a_pooled_packet_has_the_path_mtu_tried() {
    let mut bench = Bench::new(CONFIG);
    let mut quoted = bench.unanswered_probe(PEER);
    // From the first port of the first worker, kind 0, of another length than any hello.
    quoted[20..22].copy_from_slice(&7665u16.to_be_bytes());
    quoted[28] = 0x10;
    quoted[2..4].copy_from_slice(&1280u16.to_be_bytes());
    assert!(!bench.is_told_of_less(too_big(&quoted, 1280)), "it fits");
    assert!(!bench.is_told_of_less(too_big(&quoted, 1500)), "that is no less");
    let mut early = quoted.clone();
    early[20..22].copy_from_slice(&7663u16.to_be_bytes());
    assert!(!bench.is_told_of_less(too_big(&early, 1200)), "no worker sends from that port");
    assert!(bench.is_told_of_less(too_big(&quoted, 1200)));
    assert_eq!(bench.path_mtu(), Some(1500));
}
