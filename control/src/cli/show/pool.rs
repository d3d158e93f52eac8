//! What was pooled, why pools were flushed, and which are open.

use super::show;
use crate::api::pool::{OpenPool, PoolReport, PoolTotals, PoolWorker, ReceivedFrom};
use crate::api::quantity::format_microseconds;
use crate::cli::table::{Align, Table};

show!(PoolReport, |report| totals(&report.totals)
    + &by_worker(&report.workers)
    + &received(&report.received_from)
    + &open(&report.open));

fn totals(totals: &PoolTotals) -> String {
    let (flush, unpooled, learned) = (&totals.flush, &totals.unpooled, &totals.learned);
    let figures = [
        ("stream packets staged", totals.staged, ""),
        ("  left alone", totals.lone, "no company within the window"),
        ("  sent in pooled packets", totals.rows, ""),
        ("pooled packets sent", totals.pooled_packets, ""),
        ("index packets sent", totals.index_packets, "for pooled packets without one"),
        ("bytes of stream packets", totals.bytes_in, "sent in pooled packets"),
        ("bytes of pooled packets", totals.bytes_out, "sent, outer IP header counted"),
        ("pools flushed: window", flush.window, "the window had ended"),
        ("pools flushed: full", flush.full, "no room for the next packet"),
        ("pools flushed: count", flush.count, "the rule's largest count"),
        ("pools flushed: required_count", flush.required_count, "held, and got what the rule requires"),
        ("pools flushed: hold", flush.hold, "held as long as the rule allows"),
        ("pools flushed: adaptive", flush.adaptive, "no company was likely to come"),
        ("pools flushed: order", flush.order, "kept a flow in order"),
        ("pools flushed: no_buffer", flush.no_buffer, "no memory for a pooled packet"),
        ("pools flushed: reconfigured", flush.reconfigured, "routes, rules or peers changed"),
        ("pools flushed: shutdown", flush.shutdown, "the router stopped"),
        ("not pooled: too_large", unpooled.too_large, "larger than the rule pools"),
        ("not pooled: cannot_share", unpooled.cannot_share, "no room for another beside it"),
        ("not pooled: table_full", unpooled.table_full, "too many pools were open"),
        ("not pooled: no_buffer", unpooled.no_buffer, "no memory for a pooled packet"),
        ("not pooled: no_peer", unpooled.no_peer, "the peer is silent, or does not take them"),
        ("provisioned streams: sent", totals.provisioned.sent, "packets as entries of their stream"),
        ("provisioned streams: whole", totals.provisioned.whole, "packets that no stream describes"),
        ("learned headers: compressed", learned.compressed, "packets without their headers"),
        ("learned headers: announced", learned.announced, "packets with headers to be learned"),
        ("learned headers: whole", learned.whole, "packets as they are"),
        ("learned headers: no_id", learned.no_id, "of these, because no id was free"),
        ("learned headers: lost", learned.lost, "reported unknown, announced again"),
        ("learned headers: not_lost", learned.not_lost, "reported unknown, and not announced for that"),
        ("learned headers: disputed", learned.disputed, "announcements of peers that contradict others"),
        ("pooled packets received", totals.received.packets, ""),
        ("  packets taken out", totals.received.rows, ""),
        ("pooled packets in transit", totals.transit.packets, "opened here"),
        ("  packets taken out", totals.transit.rows, ""),
        ("  of which nothing was left", totals.transit.ended, ""),
    ];
    let width = figures.iter().map(|(_, value, _)| value.to_string().len()).max().unwrap_or(0);
    let mut text: String = figures
        .iter()
        .map(|(name, value, note)| {
            let line = format!("{name:<29}  {value:>width$}  {note}");
            line.trim_end().to_owned() + "\n"
        })
        .collect();
    let longest = format_microseconds(totals.longest_us);
    text.push_str(&format!("ratio: {:.2} stream packets in a pooled packet sent\n", totals.ratio));
    text.push_str(&format!("longest time a pool was open: {longest}\n"));
    text
}

/// Where there are several.
fn by_worker(workers: &[PoolWorker]) -> String {
    if workers.len() < 2 {
        return String::new();
    }
    let mut table = Table::new(&[
        ("worker", Align::Right),
        ("staged", Align::Right),
        ("sent in pooled packets", Align::Right),
        ("pooled packets", Align::Right),
        ("ratio", Align::Right),
        ("handed over", Align::Right),
        ("taken over", Align::Right),
    ]);
    for one in workers {
        let counts = [one.staged, one.rows, one.pooled_packets].map(|count| count.to_string());
        let handed = [one.handed_over, one.taken_over].map(|count| count.to_string());
        let cells = std::iter::once(one.worker.to_string()).chain(counts);
        table.row(cells.chain([format!("{:.2}", one.ratio)]).chain(handed));
    }
    format!("\n{}", table.text())
}

fn received(peers: &[ReceivedFrom]) -> String {
    if peers.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        ("received from", Align::Left),
        ("pooled packets", Align::Right),
        ("packets inside", Align::Right),
        ("lost", Align::Right),
        ("reordered", Align::Right),
        ("duplicated", Align::Right),
    ]);
    for from in peers {
        let counts = [from.packets, from.rows, from.lost, from.reordered, from.duplicated];
        table.row(std::iter::once(from.peer.clone()).chain(counts.map(|count| count.to_string())));
    }
    format!("\n{}", table.text())
}

fn open(pools: &[OpenPool]) -> String {
    if pools.is_empty() {
        return "\nno pool is open\n".to_owned();
    }
    let mut table = Table::new(&[
        ("worker", Align::Right),
        ("peer", Align::Left),
        ("rule", Align::Left),
        ("layout", Align::Left),
        ("family", Align::Left),
        ("dscp", Align::Left),
        ("ecn", Align::Left),
        ("bucket", Align::Right),
        ("packets", Align::Right),
        ("bytes", Align::Right),
        ("open for", Align::Right),
    ]);
    for pool in pools {
        table.row([
            pool.worker.to_string(),
            pool.peer.clone(),
            pool.rule.clone(),
            pool.layout.clone(),
            pool.family.to_string(),
            pool.dscp.to_string(),
            pool.ecn.to_string(),
            pool.bucket.to_string(),
            pool.packets.to_string(),
            pool.bytes.to_string(),
            format!("{} us", pool.age_us),
        ]);
    }
    format!("\nopen pools: {}\n{}", pools.len(), table.text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::pool::{
        Ecn, Family, FlushCounts, LearnedCounts, PoolReceived, PoolTransit, ProvisionedCounts, UnpooledCounts,
    };
    use crate::api::text::CodePoint;
    use crate::cli::show::Show;

    #[test]
    fn pools_show_with_their_ratio_and_their_flushes() {
        let totals = PoolTotals {
            staged: 1000,
            lone: 12,
            pooled_packets: 247,
            index_packets: 3,
            rows: 988,
            ratio: 4.0,
            bytes_in: 276_640,
            bytes_out: 291_460,
            flush: FlushCounts {
                window: 200,
                full: 40,
                count: 3,
                required_count: 2,
                hold: 3,
                adaptive: 4,
                order: 1,
                no_buffer: 1,
                reconfigured: 1,
                shutdown: 1,
            },
            unpooled: UnpooledCounts { too_large: 5, cannot_share: 6, table_full: 7, no_buffer: 8, no_peer: 9 },
            provisioned: ProvisionedCounts { sent: 12, whole: 7 },
            learned: LearnedCounts {
                compressed: 90,
                announced: 5,
                whole: 3,
                no_id: 2,
                lost: 1,
                not_lost: 4,
                disputed: 6,
            },
            received: PoolReceived { packets: 7, rows: 28 },
            transit: PoolTransit { packets: 9, rows: 4, ended: 1 },
            longest_us: 5013,
        };
        let open = OpenPool {
            worker: 0,
            peer: "east".to_owned(),
            rule: "voice".to_owned(),
            family: Family::Ipv4,
            layout: "learned".to_owned(),
            bucket: 3,
            dscp: CodePoint::new(46).expect("a code point"),
            ecn: Ecn::NotEct,
            packets: 2,
            bytes: 560,
            age_us: 1830,
        };
        let from = ReceivedFrom { peer: "east".to_owned(), packets: 7, rows: 28, lost: 1, reordered: 2, duplicated: 0 };
        let worker = |worker, rows, handed_over, taken_over| {
            let (staged, pooled_packets, ratio) = (rows + 6, rows / 4, 4.0);
            PoolWorker { worker, staged, rows, pooled_packets, ratio, handed_over, taken_over }
        };
        let workers = vec![worker(0, 800, 120, 0), worker(1, 188, 0, 120)];
        assert_eq!(
            PoolReport { totals, workers, open: vec![open], received_from: vec![from] }.text(),
            "\
stream packets staged            1000
  left alone                       12  no company within the window
  sent in pooled packets          988
pooled packets sent               247
index packets sent                  3  for pooled packets without one
bytes of stream packets        276640  sent in pooled packets
bytes of pooled packets        291460  sent, outer IP header counted
pools flushed: window             200  the window had ended
pools flushed: full                40  no room for the next packet
pools flushed: count                3  the rule's largest count
pools flushed: required_count       2  held, and got what the rule requires
pools flushed: hold                 3  held as long as the rule allows
pools flushed: adaptive             4  no company was likely to come
pools flushed: order                1  kept a flow in order
pools flushed: no_buffer            1  no memory for a pooled packet
pools flushed: reconfigured         1  routes, rules or peers changed
pools flushed: shutdown             1  the router stopped
not pooled: too_large               5  larger than the rule pools
not pooled: cannot_share            6  no room for another beside it
not pooled: table_full              7  too many pools were open
not pooled: no_buffer               8  no memory for a pooled packet
not pooled: no_peer                 9  the peer is silent, or does not take them
provisioned streams: sent          12  packets as entries of their stream
provisioned streams: whole          7  packets that no stream describes
learned headers: compressed        90  packets without their headers
learned headers: announced          5  packets with headers to be learned
learned headers: whole              3  packets as they are
learned headers: no_id              2  of these, because no id was free
learned headers: lost               1  reported unknown, announced again
learned headers: not_lost           4  reported unknown, and not announced for that
learned headers: disputed           6  announcements of peers that contradict others
pooled packets received             7
  packets taken out                28
pooled packets in transit           9  opened here
  packets taken out                 4
  of which nothing was left         1
ratio: 4.00 stream packets in a pooled packet sent
longest time a pool was open: 5013us

worker  staged  sent in pooled packets  pooled packets  ratio  handed over  taken over
     0     806                     800             200   4.00          120           0
     1     194                     188              47   4.00            0         120

received from  pooled packets  packets inside  lost  reordered  duplicated
east                        7              28     1          2           0

open pools: 1
worker  peer  rule   layout   family  dscp  ecn      bucket  packets  bytes  open for
     0  east  voice  learned  ipv4    ef    not-ect       3        2    560   1830 us
"
        );
    }

    #[test]
    fn no_open_pool_is_said_in_words() {
        let workers = vec![PoolWorker::default()];
        let report = PoolReport { totals: PoolTotals::default(), workers, open: vec![], received_from: vec![] };
        assert!(!report.text().contains("worker"), "one worker is all there is");
        assert!(report.text().ends_with("\n\nno pool is open\n"));
    }
}
