//! What became of all packets: the accounting equation, the counters behind it, and the reasons of drops.

use carpool_dataplane::worker::Drop;

use super::{Show, json_line};
use crate::api::stats::{Account, Stats, Tally};
use crate::cli::Failure;
use crate::cli::table::{Align, Table};

/// Statistics, and how much of them people want to see; JSON always has all.
pub(crate) struct StatsView {
    /// What the router told.
    pub stats: Stats,
    /// Also what is zero.
    pub all: bool,
}

impl Show for StatsView {
    fn text(&self) -> String {
        let mut text = self.equation();
        match &self.stats.total.drops {
            Some(drops) => text.push_str(&self.drops(drops)),
            None => {
                text.push_str(&self.counters());
                for pool in &self.stats.mempools {
                    text.push_str(&format!(
                        "\npacket buffers {}: {} of {} free\n",
                        pool.name, pool.available, pool.size
                    ));
                }
            }
        }
        text
    }

    fn json_line(&self) -> Result<String, Failure> {
        json_line(&self.stats)
    }
}

impl StatsView {
    fn equation(&self) -> String {
        let total = &self.stats.total;
        let mut table = Table::new(&[
            ("packets", Align::Left),
            ("in", Align::Right),
            ("+ created", Align::Right),
            ("= out", Align::Right),
            ("+ held", Align::Right),
            ("+ dropped", Align::Right),
            ("+ absorbed", Align::Right),
        ]);
        let mut row = |name: String, account: &Account| {
            let Account { received, created, out, held, dropped, absorbed, .. } = account;
            let values = [received, created, out, held, dropped, absorbed].map(u64::to_string);
            table.row(std::iter::once(name).chain(values));
        };
        for worker in &self.stats.workers {
            row(format!("worker {}", worker.index), &worker.account);
        }
        row("total".to_owned(), total);
        let came = total.received.wrapping_add(total.created);
        let went = total.out.wrapping_add(total.held).wrapping_add(total.dropped).wrapping_add(total.absorbed);
        let verdict = if total.balanced {
            format!("balanced: {came} = {went}, every packet is accounted for\n")
        } else {
            let difference = i128::from(came) - i128::from(went);
            format!("NOT balanced: {came} and {went}, the difference is {difference}\n")
        };
        table.text() + &verdict
    }

    fn counters(&self) -> String {
        let mut table = Table::new(&[("counter", Align::Left), ("total", Align::Right)]);
        for (name, value) in self.stats.total.counters.iter().filter(|(_, value)| self.all || *value != 0) {
            table.row([name.to_owned(), value.to_string()]);
        }
        paragraph(table.text())
    }

    fn drops(&self, drops: &Tally) -> String {
        let mut table = Table::new(&[("reason", Align::Left), ("packets", Align::Right), ("meaning", Align::Left)]);
        for (name, value) in drops.iter().filter(|(_, value)| self.all || *value != 0) {
            // A router of another version may drop for reasons this program does not know.
            let reason = Drop::ALL.iter().find(|reason| reason.name() == name);
            table.row([name.to_owned(), value.to_string(), reason.map_or("", |reason| reason.meaning()).to_owned()]);
        }
        if table.text().is_empty() { "\nnothing was dropped\n".to_owned() } else { paragraph(table.text()) }
    }
}

/// With a blank line in front, where there is anything.
fn paragraph(text: String) -> String {
    if text.is_empty() { text } else { format!("\n{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::stats::Mempool;
    use carpool_dataplane::worker::{Counter, Counters};

    fn workers() -> [Counters; 2] {
        let mut one = Counters::default();
        one.add(Counter::In, 1000);
        one.add(Counter::CreatedIcmp, 2);
        one.add(Counter::Out, 990);
        one.set(Counter::Held, 5);
        one.dropped(Drop::NoRoute, 4);
        one.add(Counter::AbsorbedStaged, 3);
        one.add(Counter::Forwarded, 988);
        one.total();
        let mut two = Counters::default();
        two.add(Counter::In, 1);
        two.add(Counter::Out, 1);
        [one, two]
    }

    fn view(workers: &[Counters], drops: bool) -> StatsView {
        let mempools = vec![Mempool { name: "packets".to_owned(), size: 8192, available: 8000 }];
        StatsView { stats: Stats::of(workers, drops, mempools), all: false }
    }

    #[test]
    fn statistics_begin_with_the_equation_and_whether_it_holds() {
        assert_eq!(
            view(&workers(), false).text(),
            "\
packets     in  + created  = out  + held  + dropped  + absorbed
worker 0  1000          2    990       5          4           3
worker 1     1          0      1       0          0           0
total     1001          2    991       5          4           3
balanced: 1003 = 1003, every packet is accounted for

counter              total
created_icmp_errors      2
absorbed_staged          3
forwarded              988

packet buffers packets: 8000 of 8192 free
"
        );
    }

    #[test]
    fn a_lost_packet_is_shouted_about() {
        let [mut one, _] = workers();
        one.add(Counter::In, 1);
        let text = view(&[one], false).text();
        assert!(text.contains("NOT balanced: 1003 and 1002, the difference is 1\n"), "{text}");
    }

    #[test]
    fn drops_show_with_their_meaning_and_without_what_did_not_happen() {
        let text = view(&workers(), true).text();
        assert!(
            text.ends_with(
                "\n\
reason    packets  meaning
no_route        4  No prefix covers the destination.
"
            ),
            "{text}"
        );
        let [_, quiet] = workers();
        assert!(view(&[quiet], true).text().ends_with("\nnothing was dropped\n"));
        let all = StatsView { all: true, ..view(&workers(), true) }.text();
        assert!(all.contains("\npool_row_order "), "{all}");
    }

    #[test]
    fn what_is_read_back_from_json_is_in_the_order_of_the_counters() {
        let stats = view(&workers(), true).stats;
        let read: Stats =
            serde_json::from_str(&serde_json::to_string(&stats).expect("serializable")).expect("readable");
        assert_eq!(read, stats);
        let names: Vec<&str> = Drop::ALL.iter().map(|reason| reason.name()).collect();
        let drops = read.total.drops.expect("asked for");
        assert_eq!(drops.iter().map(|(name, _)| name).collect::<Vec<_>>(), names);
    }
}
