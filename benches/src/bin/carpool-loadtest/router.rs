//! The router under test: what its ports and workers counted, so that each lost packet has a place.

use std::collections::BTreeMap;

use carpool_tests::control::Control;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{LoadError, Result};

/// A running carpoold, asked over its control socket.
#[derive(Clone, Debug)]
pub struct Router {
    pub control: Control,
    /// The port that packets go in by.
    pub west: String,
    /// The port that they leave by.
    pub east: String,
}

/// A port, as `carpool port show` has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Port {
    pub name: String,
    pub device: String,
    pub driver: String,
    pub mac: String,
    pub link_up: bool,
    rx_packets: u64,
    tx_packets: u64,
    rx_missed: u64,
    rx_errors: u64,
    rx_no_buffer: u64,
    tx_errors: u64,
}

/// What the router counted up to a moment.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    received: u64,
    /// What the device of the first port lost before the router saw it.
    missed: u64,
    sent: u64,
    tx_errors: u64,
    drops: BTreeMap<String, u64>,
    balanced: bool,
}

/// What the router did between two moments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Frames that came in by the first port.
    pub received: u64,
    /// Frames that left by the other one.
    pub sent: u64,
    /// Frames that the device of the first port had no room for.
    pub missed: u64,
    /// Frames that the device of the other port failed to send.
    pub tx_errors: u64,
    /// Packets dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Whether `in + created = out + held + dropped + absorbed` held at the end.
    pub balanced: bool,
}

/// Where packets of a trial were lost, in the order of their way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Sent, and never seen by the router.
    pub before: u64,
    /// Dropped by the router, by reason.
    pub router: BTreeMap<String, u64>,
    /// Sent by the router, and not received by the generator.
    pub behind: u64,
}

#[derive(Deserialize)]
struct Ports {
    ports: Vec<Port>,
}

#[derive(Deserialize)]
struct Stats {
    total: Total,
}

#[derive(Deserialize)]
struct Total {
    balanced: bool,
    drops: BTreeMap<String, u64>,
}

impl Router {
    /// The router behind a control, with its first two ports unless others are named.
    pub fn new(control: Control, ports: Option<[String; 2]>) -> Result<Router> {
        let mut router = Router { control, west: String::new(), east: String::new() };
        let known = router.ports()?;
        let [west, east] = match ports {
            Some(named) => named,
            None => match known.as_slice() {
                [west, east, ..] => [west.name.clone(), east.name.clone()],
                _ => return Err(router.problem("it has one port; a load test needs two")),
            },
        };
        for name in [&west, &east] {
            if !known.iter().any(|port| port.name == *name) {
                let names: Vec<_> = known.iter().map(|port| port.name.as_str()).collect();
                return Err(router.problem(&format!("it has no port {name}; it has {}", names.join(", "))));
            }
        }
        (router.west, router.east) = (west, east);
        Ok(router)
    }

    fn problem(&self, problem: &str) -> LoadError {
        LoadError::Router { socket: self.control.socket.display().to_string(), problem: problem.into() }
    }

    fn read<T: for<'a> Deserialize<'a>>(&self, words: &[&str]) -> Result<T> {
        let answer = self.control.ask(words)?;
        serde_json::from_value(answer).map_err(|error| self.problem(&format!("{}: {error}", words.join(" "))))
    }

    pub fn ports(&self) -> Result<Vec<Port>> {
        Ok(self.read::<Ports>(&["port", "show"])?.ports)
    }

    /// One of its ports by name.
    pub fn port(&self, name: &str) -> Result<Port> {
        let port = self.ports()?.into_iter().find(|port| port.name == name);
        port.ok_or_else(|| self.problem(&format!("it has no port {name}")))
    }

    /// Of `status` and `version`: what the report says of it.
    pub fn status(&self) -> Result<Value> {
        let mut status: Value = self.read(&["status"])?;
        let version: Value = self.read(&["version"])?;
        if let (Value::Object(status), Value::Object(version)) = (&mut status, version) {
            status.extend(version);
        }
        Ok(status)
    }

    /// What it has counted so far.
    pub fn counted(&self) -> Result<Counted> {
        let (west, east) = (self.port(&self.west)?, self.port(&self.east)?);
        let Stats { total } = self.read(&["stats", "--drops"])?;
        Ok(Counted {
            received: west.rx_packets,
            missed: west.rx_missed + west.rx_no_buffer + west.rx_errors,
            sent: east.tx_packets,
            tx_errors: east.tx_errors,
            drops: total.drops,
            balanced: total.balanced,
        })
    }
}

impl Counted {
    /// Whether nothing has passed since an earlier moment.
    pub fn stands_still_since(&self, before: &Counted) -> bool {
        (self.received, self.sent) == (before.received, before.sent)
    }

    /// What was counted since an earlier moment.
    pub fn since(&self, before: &Counted) -> Done {
        let drops = self.drops.iter().filter_map(|(reason, &now)| {
            let grown = now.saturating_sub(before.drops.get(reason).copied().unwrap_or(0));
            (grown > 0).then(|| (reason.clone(), grown))
        });
        Done {
            received: self.received.saturating_sub(before.received),
            sent: self.sent.saturating_sub(before.sent),
            missed: self.missed.saturating_sub(before.missed),
            tx_errors: self.tx_errors.saturating_sub(before.tx_errors),
            drops: drops.collect(),
            balanced: self.balanced,
        }
    }
}

impl Done {
    /// Where packets went that were sent and not received. `unpooled`: the router sends what it receives, packet by packet.
    pub fn lost(&self, sent: u64, received: u64, unpooled: bool) -> Lost {
        let lost = sent.saturating_sub(received);
        let before = sent.saturating_sub(self.received).min(lost);
        let dropped: u64 = self.drops.values().sum();
        // The rest, where it left the router: what came too late to count, or found the generator's port full.
        let behind = if unpooled { lost.saturating_sub(before + dropped) } else { 0 };
        Lost { before, router: self.drops.clone(), behind: behind.min(self.sent) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(received: u64, sent: u64, tx_full: u64) -> Counted {
        let drops = [("tx_full".to_owned(), tx_full), ("no_route".to_owned(), 7)].into();
        Counted { received, sent, drops, balanced: true, ..Counted::default() }
    }

    #[test]
    fn each_lost_packet_has_a_place() {
        let done = counted(1090, 1030, 45).since(&counted(100, 70, 15));
        assert_eq!((done.received, done.sent), (990, 960));
        let lost = done.lost(1000, 940, true);
        assert_eq!((lost.before, lost.behind), (10, 20));
        assert_eq!(lost.router, [("tx_full".to_owned(), 30)].into(), "reasons that did not grow are left out");
    }
}
