//! Streams that both ends were told of: their packets cross as an id and a payload, and arrive with every byte of their
//! headers.

use std::{fmt::Write as _, net::SocketAddrV4, time::Duration};

use carpool_tests::{
    capture::{Capture, Direction},
    carpoold::Idle,
    compare::{Comparison, Routers, compare},
    control::Control,
    frame::{CHECKSUM_OFFSET, Flow, Observation, ethernet_frame, observe, ones_complement_sum, udp_packet},
    headers::Report,
    network::{CLIENTS, Middle, Network, SERVERS},
    rtp::Codec,
    voice::{Heading, Plan, Run, eastward},
    wire::inject,
};

use crate::network_of;

const WINDOW: Duration = Duration::from_millis(20);
const SOON: Duration = Duration::from_secs(5);
/// As the kernel of an end system sends packets; A is the first router that they come to.
const TTL: u8 = 64;
const STREAMS: u16 = 160;
/// The last streams, which nobody is told of.
const UNTOLD: u16 = 10;
/// The id of the stream of packets made by hand, at client1.
const BY_HAND: u16 = 1000;

fn by_hand() -> Flow {
    Flow { source: SocketAddrV4::new(SERVERS[0].1, 20000), destination: SocketAddrV4::new(CLIENTS[0].1, 20001) }
}

/// The id and flow of each stream that is told.
fn told() -> impl Iterator<Item = (u16, Flow)> {
    (0..STREAMS - UNTOLD).map(|nth| (nth, eastward(nth))).chain([(BY_HAND, by_hand())])
}

/// Tells B in its file, and A over its socket.
fn tell(network: &mut Network) {
    let pair = network.pair().expect("carpools");
    let mut text = pair.b.configuration().expect("the file is there");
    for (id, Flow { source, destination }) in told() {
        let _ = write!(
            text,
            "\n[[stream]]\nid = {id}\npeer = \"a\"\nsource = \"{source}\"\ndestination = \"{destination}\"\n\
             dscp = \"ef\"\nttl = {TTL}\n"
        );
    }
    pair.b.reconfigure(&text).expect("it can be asked");
    let count = u64::from(STREAMS - UNTOLD) + 1;
    let has_all = |control: &Control| Ok(control.ask(&["stream", "show", "a"])?["total"].as_u64() == Some(count));
    pair.b.wait_until("it has all streams", SOON, has_all).expect("the file is sound");
    for (id, Flow { source, destination }) in told() {
        let [id, source, destination, ttl] =
            [id.to_string(), source.to_string(), destination.to_string(), TTL.to_string()];
        let words = ["stream", "add", &id, "peer", "b", "source", &source, "destination", &destination, "dscp", "ef"];
        pair.a.control.ask(&[&words[..], &["ttl", &ttl]].concat()).expect("the stream is sound");
    }
    let shown = pair.a.control.ask(&["stream", "show"]).expect("A answers");
    assert_eq!(shown["total"].as_u64(), Some(count));
    let reasons: Vec<_> = shown["streams"].as_array().expect("a list").iter().map(|stream| &stream["reason"]).collect();
    assert!(reasons.iter().all(|reason| reason.is_null()), "B takes entries of streams: {reasons:?}");
}

/// A packet of the stream made by hand, or nearly so, with its header checksum.
fn made(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut packet = udp_packet(by_hand(), TTL, 1, b"twenty and one bytes.");
    packet[1] = 46 << 2;
    change(&mut packet);
    packet[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].fill(0);
    let header = usize::from(packet[0] & 0x0f) * 4;
    let checksum = !ones_complement_sum(&packet[..header]);
    packet[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// What a stream leaves open, and what travels whole. The IP id tells them apart.
fn oddities() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let entries = vec![
        made(|_| {}),
        made(|packet| packet[4..6].copy_from_slice(&[0xab, 0xcd])),
        made(|packet| packet[5..7].copy_from_slice(&[3, 0])),
        made(|packet| {
            packet[5] = 4;
            packet[26..28].fill(0);
        }),
    ];
    let whole = vec![
        made(|packet| packet[5..9].copy_from_slice(&[5, 0x40, 0, 63])),
        made(|packet| {
            // Four times "no operation" (RFC 791, 3.1), and four more bytes in all.
            packet.splice(20..20, [1; 4]);
            (packet[0], packet[3], packet[5]) = (0x46, packet[3] + 4, 6);
        }),
        made(|packet| {
            // A wrong UDP checksum is none of a router's business.
            packet[5] = 7;
            packet[26] ^= 1;
        }),
    ];
    (entries, whole)
}

/// Sends packets at once from server1 and compares what arrives at client1 with what `routers` leave of them.
fn sent_at_once(network: &Network, packets: &[Vec<u8>], routers: u8) -> Comparison {
    let client = network.lab.namespace(CLIENTS[0].0).expect("client1");
    let capture = Capture::start(client, "B").expect("a capture starts");
    let server = network.lab.namespace(SERVERS[0].0).expect("server1");
    for packet in packets {
        inject(server, packet, CLIENTS[0].1).expect("a packet leaves");
    }
    let ours = |flow: &Flow| *flow == by_hand();
    capture.wait_until(SOON, |frames| observe(frames, Direction::In, ours).len() >= packets.len());
    let came = observe(&capture.from(0), Direction::In, ours);
    let sent: Vec<_> = packets
        .iter()
        .filter_map(|packet| Observation::of(&ethernet_frame(packet, Duration::ZERO, Direction::Out)))
        .collect();
    compare(&sent, &came, Routers::All(routers))
}

#[test]
fn provisioned_streams_cross_as_payloads_and_arrive_unchanged_with_what_is_like_them() {
    let further = &["representation = \"provisioned\"", "lone = \"pooled\""];
    let middle = Middle::Carpool { window: WINDOW, idle: Idle::Adaptive, both_cores: false, further };
    let (_alone, mut network) = network_of(middle);
    tell(&mut network);

    let duration = Duration::from_secs(5);
    let plan = Plan { heading: Heading::East, streams: STREAMS, local: 0, duration, codec: Codec::G729 };
    let run = Run::start(&network, &plan).expect("streams start");
    while !run.wait(Duration::from_secs(1)) {}
    let findings = run.finish().expect("the recordings are whole");
    assert!(findings.voice.perfect(), "{}", findings.voice);
    assert!(findings.reference.perfect(), "packets of no rule: {}", findings.reference);
    let report = Report::of(&findings, WINDOW);
    println!("{report:?}");
    // (1500 - 36) / (6 + 5 + 32) packets are possible where all are told; whole ones, 22.
    assert!(report.most_packets >= 30 && report.saved > 0.5, "{report:?}");

    let control = network.pair().expect("carpools").a.control.clone();
    let counted = || ["provisioned_sent", "provisioned_whole"].map(|name| control.counter(name).expect("A answers"));
    let [entries, whole] = counted();
    let untold: Vec<_> = (STREAMS - UNTOLD..STREAMS).map(eastward).collect();
    let of_untold = findings.voice.passages.iter().filter(|passage| untold.contains(&passage.flow)).count();
    assert_eq!((entries, whole), ((report.sent - of_untold) as u64, of_untold as u64));

    let (like, unlike) = oddities();
    // A and B forward them; transit forwards what they are in.
    let comparison = sent_at_once(&network, &[&like[..], &unlike[..]].concat(), 2);
    assert!(comparison.perfect(), "{comparison}");
    let [entries_after, whole_after] = counted();
    assert_eq!((entries_after - entries, whole_after - whole), (like.len() as u64, unlike.len() as u64));
    // The rule is for another class: nothing is pooled, and transit forwards it, too.
    let comparison = sent_at_once(&network, &[made(|packet| packet[1] = 0)], 3);
    assert!(comparison.perfect(), "{comparison}");

    // B forgets the stream: its packets are dropped by name, until A is told so as well.
    let id = BY_HAND.to_string();
    let pair = network.pair().expect("carpools");
    pair.b.control.ask(&["stream", "del", &id, "peer", "a"]).expect("B has it");
    let comparison = sent_at_once(&network, &like[..1], 2);
    assert_eq!(comparison.lost.len(), 1, "{comparison}");
    let pair = network.pair().expect("carpools");
    assert_eq!(pair.b.control.drops().expect("B answers").get("pool_unknown_stream"), Some(&1));
    pair.a.control.ask(&["stream", "del", &id, "peer", "b"]).expect("A has it");
    let comparison = sent_at_once(&network, &like[..1], 2);
    assert!(comparison.perfect(), "{comparison}");
    network.close().expect("both routers end in order");
}
