//! The figures of an experiment on the chain: one JSON object for machines, a table and a sentence for people.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    network::ROUTERS,
    run::{Delivery, Findings},
};
use crate::delay::{Delay, Delays};

/// What crossed one link between two routers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    pub from: String,
    pub to: String,
    /// Pooled packets, and the stream packets inside.
    pub pooled: usize,
    pub rows: usize,
    /// Stream packets that crossed as themselves.
    pub lone: usize,
    /// Stream packets per packet.
    pub ratio: f64,
}

/// What came of the packets to one receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Received {
    pub name: String,
    pub sent: usize,
    pub delivered: usize,
    pub identical: bool,
    pub in_order: bool,
    /// The last equipped router on the way.
    pub due_at: String,
    /// How many packets got out of a pooled packet at which router.
    pub taken_out_at: BTreeMap<String, usize>,
    /// The first thing that is wrong, in words.
    pub wrong: Option<String>,
}

/// Keys as `scripts/demo branch --json` prints them; times in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub streams: usize,
    pub sent: usize,
    pub delivered: usize,
    /// Every packet that arrived is byte for byte one that was sent (TTL lower by the routers that saw it as itself), once.
    pub identical: bool,
    pub in_order: bool,
    pub lost: usize,
    /// Stream packets that got out of a pooled packet which went on without them.
    pub taken_out_on_the_way: u64,
    pub window_us: u64,
    pub delay_us: Delay,
    pub links: Vec<Link>,
    pub receivers: Vec<Received>,
}

impl Report {
    /// The figures of `findings`; `on_the_way` is what the routers say they took out of pooled packets in transit.
    pub fn of(findings: &Findings, window: Duration, on_the_way: u64) -> Report {
        let all = |field: fn(&Delivery) -> usize| findings.deliveries.iter().map(field).sum();
        let delays = Delays::of(findings.deliveries.iter().flat_map(|delivery| &delivery.comparison.passages));
        let links = ROUTERS.windows(2).zip(&findings.links).map(|(ends, crossing)| {
            let ratio = crossing.carried() as f64 / crossing.packets().max(1) as f64;
            Link {
                from: ends[0].into(),
                to: ends[1].into(),
                pooled: crossing.pooled,
                rows: crossing.rows,
                lone: crossing.lone,
                ratio: (ratio * 1000.0).round() / 1000.0,
            }
        });
        Report {
            streams: findings.streams,
            sent: all(|delivery| delivery.comparison.sent),
            delivered: all(|delivery| delivery.comparison.delivered),
            identical: findings.deliveries.iter().all(|delivery| delivery.comparison.identical()),
            in_order: findings.deliveries.iter().all(|delivery| delivery.comparison.in_order()),
            lost: all(|delivery| delivery.comparison.lost.len()),
            taken_out_on_the_way: on_the_way,
            window_us: u64::try_from(window.as_micros()).unwrap_or(u64::MAX),
            delay_us: delays.summary().unwrap_or_default(),
            links: links.collect(),
            receivers: findings.deliveries.iter().map(received).collect(),
        }
    }

    /// Everything arrived as it was sent, and for every receiver some packets rode as far as they could.
    pub fn succeeded(&self) -> bool {
        let as_far = |receiver: &Received| receiver.taken_out_at.get(&receiver.due_at).is_some_and(|count| *count > 0);
        self.sent > 0
            && self.delivered == self.sent
            && self.lost == 0
            && self.identical
            && self.in_order
            && self.taken_out_on_the_way > 0
            && self.receivers.iter().all(as_far)
    }

    /// Tables for people.
    pub fn table(&self) -> String {
        let mut text = String::from("\n  link        pooled    inside   as themselves   share a ride\n");
        for Link { from, to, pooled, rows, lone, ratio } in &self.links {
            let _ = writeln!(text, "  {:<9}{pooled:>9}{rows:>10}{lone:>16}{ratio:>15.2}", format!("{from} - {to}"));
        }
        text += "\n  receiver      sent   arrived   due at   taken out at\n";
        for receiver in &self.receivers {
            let places: Vec<_> =
                receiver.taken_out_at.iter().map(|(router, count)| format!("{router} {count}")).collect();
            let (sent, delivered) = (receiver.sent, receiver.delivered);
            let _ = writeln!(
                text,
                "  {:<8}{sent:>10}{delivered:>10}{:>9}   {}",
                receiver.name,
                receiver.due_at,
                places.join(", ")
            );
        }
        for receiver in &self.receivers {
            if let Some(wrong) = &receiver.wrong {
                let _ = writeln!(text, "\n  {}: {wrong}", receiver.name);
            }
        }
        let Report { streams, sent, delivered, taken_out_on_the_way, delay_us: delay, .. } = self;
        let _ = write!(
            text,
            "\n{delivered} of {sent} packets of {streams} streams arrived{}; {taken_out_on_the_way} got out on the way of a \
             pooled packet that went on.\nDelay: half below {:.0} us, 99% below {:.0} us, longest {:.0} us; the window is {} us.\n",
            if self.identical && self.in_order { ", identical and in order" } else { "" },
            delay.p50,
            delay.p99,
            delay.max,
            self.window_us,
        );
        text += if self.succeeded() { "This is as it should be." } else { "This is NOT as it should be." };
        text
    }
}

fn received(delivery: &Delivery) -> Received {
    let comparison = &delivery.comparison;
    Received {
        name: delivery.receiver.name.into(),
        sent: comparison.sent,
        delivered: comparison.delivered,
        identical: comparison.identical(),
        in_order: comparison.in_order(),
        due_at: delivery.receiver.due_at.into(),
        taken_out_at: delivery.taken_out_at.iter().map(|(router, count)| ((*router).to_owned(), *count)).collect(),
        wrong: (!comparison.perfect()).then(|| comparison.to_string()),
    }
}
