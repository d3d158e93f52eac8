//! How many packets share a ride, and what that saves.

use super::*;

/// How many voice packets of as many streams fit into one pooled packet of 1500 bytes, once all are announced.
fn packets_in_1500(header: Header, outer_ip: usize, ip_id: fn(u32) -> Option<u16>) -> usize {
    let mut compressor = compressor(4096);
    let mut most = 0;
    for number in 0..10 {
        let now = Tick(u64::from(number) * 20 * MS);
        let (mut rows, mut index, mut data) = (ShortRows::default(), [0; 2 * MAX_ROWS], 0);
        for host in 0..100 {
            let packet = voice(Header { host, ..header }, number);
            let packet = match ip_id(number * 100 + u32::from(host)) {
                Some(id) => Header { host, ..header }.packet(id, &packet[28..]),
                None => packet,
            };
            let entry = entry(&mut compressor, &packet, now);
            let growth = rows.growth(entry.len()).expect("a sound length");
            if outer_ip + 8 + SHORT_HEADER_LEN + rows.len() + growth + data + entry.len() <= 1500 {
                rows.push(entry.len(), &mut index).expect("room");
                data += entry.len();
            }
        }
        most = usize::from(rows.rows());
    }
    most
}

#[test]
fn sixty_g729_packets_share_a_ride_of_1500_bytes() {
    let packets = packets_in_1500(Header::USUAL, 20, |_| None);
    assert_eq!(packets, 60);
    assert_eq!(packets_in_1500(Header::IPV6, 20, |_| None), 60);
    assert_eq!(packets_in_1500(Header::USUAL, 40, |_| None), 59);
    let random = |number: u32| Some((number.wrapping_mul(0x9e37_79b9) >> 16) as u16);
    assert_eq!(packets_in_1500(Header::USUAL, 20, random), 56);
    // 38 bytes of an Ethernet frame are preamble, header, FCS and gap.
    let (before, after) = (packets * (60 + 38), 1500 + 38);
    assert!(after * 10 <= before * 3, "{after} of {before} bytes is not 70% less");
}

/// `cargo test --release -p carpool-dataplane --lib learned::tests::figures -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, for an optimised build"]
fn nanoseconds_a_packet() {
    const STREAMS: u32 = 1000;
    let (mut compressor, mut decompressor) = (compressor(16_384), decompressor(32_768));
    let packets: Vec<Vec<Vec<u8>>> = (0..100)
        .map(|number| {
            let stream = |at: u32| Header { host: at as u8, port: (at >> 8) as u16, ..Header::USUAL };
            (0..STREAMS).map(|at| voice(stream(at), number)).collect()
        })
        .collect();
    let (mut compress, mut decompress, mut copy) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut entries, mut out) = (Vec::new(), [0; 128]);
    for (round, packets) in packets.iter().enumerate() {
        let now = Tick(round as u64 * 20 * MS);
        let mut buffer = vec![0; 128 * packets.len()];
        let started = std::time::Instant::now();
        let mut lengths = Vec::with_capacity(packets.len());
        for (packet, room) in packets.iter().zip(buffer.chunks_mut(128)) {
            let encoded = compressor.encode(packet, &SPACE, now);
            compressor.sent(&encoded);
            let length = encoded.len(packet.len());
            std::hint::black_box(encoded.write(packet, &mut room[..length]));
            lengths.push(length);
        }
        compress += started.elapsed();
        let started = std::time::Instant::now();
        for (packet, room) in packets.iter().zip(buffer.clone().chunks_mut(128)) {
            std::hint::black_box(crate::packet::checksum::copy_and_sum(packet, room));
        }
        copy += started.elapsed();
        entries.clear();
        entries.extend(buffer.chunks(128).zip(&lengths).map(|(room, &length)| room[..length].to_vec()));
        let started = std::time::Instant::now();
        let mut contexts = decompressor.of(origin(1), now);
        for entry in &entries {
            let opened = contexts.open(entry).expect("a known context");
            let length = opened.len();
            std::hint::black_box(opened.write(&mut out[..length]));
        }
        decompress += started.elapsed();
    }
    let each = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(STREAMS) / packets.len() as f64;
    println!(
        "compress {:.1} ns, decompress {:.1} ns, copy and sum alone {:.1} ns",
        each(compress),
        each(decompress),
        each(copy)
    );
}
