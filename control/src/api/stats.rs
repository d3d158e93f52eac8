//! The workers' counters and the accounting equation: `in + created = out + held + dropped + absorbed`.

use std::borrow::Cow;
use std::fmt;

use carpool_dataplane::worker::{Counter, Counters, Drop};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatsShow {
    /// Whether the reply names the reasons of drops.
    #[serde(default)]
    pub drops: bool,
}

/// Named values in the order of the counters, an object in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(Vec<(Cow<'static, str>, u64)>);

impl Tally {
    /// The value with this name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// Every counter but those that the equation consists of, which stand beside it.
    pub fn of_counters(counters: &Counters) -> Tally {
        let equation = [Counter::In, Counter::Created, Counter::Out, Counter::Held, Counter::Absorbed];
        let rest = Counter::ALL.iter().filter(|counter| !equation.contains(counter));
        Tally(rest.map(|counter| (Cow::Borrowed(counter.name()), counters.get(*counter))).collect())
    }

    /// Packets dropped, for every reason there is.
    pub fn of_drops(counters: &Counters) -> Tally {
        Tally(Drop::ALL.iter().map(|reason| (Cow::Borrowed(reason.name()), counters.drops(*reason))).collect())
    }
}

impl FromIterator<(Cow<'static, str>, u64)> for Tally {
    fn from_iter<I: IntoIterator<Item = (Cow<'static, str>, u64)>>(values: I) -> Tally {
        Tally(values.into_iter().collect())
    }
}

impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Tally {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Tally;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of counts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tally, A::Error> {
                let mut values = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, u64>()? {
                    values.push((Cow::Owned(name), value));
                }
                Ok(Tally(values))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// What became of all packets, and the counters behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Packets received.
    #[serde(rename = "in")]
    pub received: u64,
    /// Packets made here.
    pub created: u64,
    /// Packets sent.
    pub out: u64,
    /// Packets in the router's hands.
    pub held: u64,
    /// Packets dropped.
    pub dropped: u64,
    /// Packets that ended in something else.
    pub absorbed: u64,
    /// Whether `in + created = out + held + dropped + absorbed`.
    pub balanced: bool,
    /// All other counters by name (docs: what each means).
    pub counters: Tally,
    /// Packets dropped, by reason; only where asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drops: Option<Tally>,
}

impl Account {
    /// The account of one worker, or of several whose counters were merged.
    pub fn of(counters: &Counters, drops: bool) -> Account {
        Account {
            received: counters.get(Counter::In),
            created: counters.get(Counter::Created),
            out: counters.get(Counter::Out),
            held: counters.get(Counter::Held),
            dropped: counters.drops_total(),
            absorbed: counters.get(Counter::Absorbed),
            balanced: counters.imbalance() == 0,
            counters: Tally::of_counters(counters),
            drops: drops.then(|| Tally::of_drops(counters)),
        }
    }
}

/// A worker's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerAccount {
    /// The worker, in the order of the configured cores.
    pub index: u32,
    /// What became of its packets.
    #[serde(flatten)]
    pub account: Account,
}

/// Packet memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mempool {
    /// Its name.
    pub name: String,
    /// Packet buffers in it, free or not.
    pub size: u64,
    /// Packet buffers that are free.
    pub available: u64,
}

/// Reply to `stats`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// All workers together.
    pub total: Account,
    /// Each worker.
    pub workers: Vec<WorkerAccount>,
    /// Packet memory.
    pub mempools: Vec<Mempool>,
}

impl Stats {
    /// The reply for these workers' counters, in the order of the workers.
    pub fn of(workers: &[Counters], drops: bool, mempools: Vec<Mempool>) -> Stats {
        let mut total = Counters::default();
        for counters in workers {
            total.merge(counters);
        }
        Stats {
            total: Account::of(&total, drops),
            workers: (0..)
                .zip(workers)
                .map(|(index, counters)| WorkerAccount { index, account: Account::of(counters, drops) })
                .collect(),
            mempools,
        }
    }
}
