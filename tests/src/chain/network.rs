//! The chain and its branches.
//!
//! ```text
//! source ── A ── u1 ── B ── C ── u2 ── D ── far
//!                      │    │    │
//!                    near  mid  side
//! ```
//!
//! `A` to `D` run carpoold; `u1` and `u2` are ordinary routers. `A` pools what `source` sends to everyone by the hops
//! that all ways begin with. A packet to `near` is due at `B`, to `mid` at `C`, to `far` at `D`; one to `side` is due at
//! `u2`, which cannot take it out, and so gets out at `C`.

use std::{borrow::Cow, fmt::Write as _, net::Ipv4Addr, thread, time::Duration};

use ipnet::Ipv4Net;

use crate::{
    carpoold::{Carpoold, Config, Idle, Port},
    control::Control,
    error::{Error, Result},
    lab::{End, Kind, Lab},
    network::MTU,
    probe::probe,
};

const READY_LIMIT: Duration = Duration::from_secs(20);

pub const SOURCE: (&str, Ipv4Addr) = ("source", Ipv4Addr::new(198, 18, 1, 10));

/// Who listens, and behind which routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receiver {
    pub name: &'static str,
    pub address: Ipv4Addr,
    /// The routers on the way, in order.
    pub routers: &'static [&'static str],
    /// The last equipped router on the way: where its packets get out of a pool that goes so far.
    pub due_at: &'static str,
}

pub const RECEIVERS: [Receiver; 4] = [
    Receiver { name: "near", address: Ipv4Addr::new(203, 0, 113, 10), routers: &["A", "u1", "B"], due_at: "B" },
    Receiver { name: "mid", address: Ipv4Addr::new(203, 0, 113, 74), routers: &["A", "u1", "B", "C"], due_at: "C" },
    Receiver {
        name: "side",
        address: Ipv4Addr::new(203, 0, 113, 138),
        routers: &["A", "u1", "B", "C", "u2"],
        due_at: "C",
    },
    Receiver {
        name: "far",
        address: Ipv4Addr::new(203, 0, 113, 202),
        routers: &["A", "u1", "B", "C", "u2", "D"],
        due_at: "D",
    },
];

/// The routers of the chain, in order.
pub const ROUTERS: [&str; 6] = ["A", "u1", "B", "C", "u2", "D"];
/// Those of them that run carpoold.
pub const EQUIPPED: [&str; 4] = ["A", "B", "C", "D"];

/// Left node and address, right node and address.
const LINKS: [(&str, &str, &str, &str); 10] = [
    ("source", "198.18.1.10/24", "A", "198.18.1.1/24"),
    ("A", "192.0.2.1/30", "u1", "192.0.2.2/30"),
    ("u1", "192.0.2.5/30", "B", "192.0.2.6/30"),
    ("B", "192.0.2.9/30", "C", "192.0.2.10/30"),
    ("C", "192.0.2.13/30", "u2", "192.0.2.14/30"),
    ("u2", "192.0.2.17/30", "D", "192.0.2.18/30"),
    ("B", "203.0.113.1/26", "near", "203.0.113.10/26"),
    ("C", "203.0.113.65/26", "mid", "203.0.113.74/26"),
    ("u2", "203.0.113.129/26", "side", "203.0.113.138/26"),
    ("D", "203.0.113.193/26", "far", "203.0.113.202/26"),
];

/// A rule of A's, in the words that the file and the command line have in common.
#[derive(Clone, Debug)]
pub struct Wish {
    pub name: &'static str,
    /// The destination ports that it matches, of UDP packets for expedited forwarding.
    pub ports: (u16, u16),
    /// Window and further keys; `None`: its packets are never pooled.
    pub pooling: Option<(Duration, &'static [(&'static str, &'static str)])>,
}

impl Wish {
    /// The keys of its table beside name and match, and their values.
    fn keys(&self) -> Vec<(&'static str, Cow<'static, str>)> {
        match self.pooling {
            None => vec![("pool", "false".into())],
            Some((window, further)) => {
                let mut keys =
                    vec![("max_size", "300B".into()), ("window", format!("{}us", window.as_micros()).into())];
                keys.extend(further.iter().map(|&(key, value)| (key, value.into())));
                keys
            }
        }
    }

    fn table(&self) -> String {
        let Wish { name, ports: (first, last), .. } = self;
        let mut text = format!(
            "[[rule]]\nname = \"{name}\"\nmatch = {{ protocol = \"udp\", ports = \"{first}-{last}\", dscp = \"ef\" }}\n"
        );
        for (key, value) in self.keys() {
            let is_bare = value.parse::<u32>().is_ok() || value.parse::<bool>().is_ok();
            // Writing to a String cannot fail.
            let _ = if is_bare { writeln!(text, "{key} = {value}") } else { writeln!(text, "{key} = \"{value}\"") };
        }
        text
    }

    /// Adds it to what a running router has.
    pub fn add(&self, control: &Control) -> Result<()> {
        let ports = format!("{}-{}", self.ports.0, self.ports.1);
        let mut words: Vec<Cow<'_, str>> = ["rule", "add", self.name, "match", "udp", "port", &ports, "dscp", "ef"]
            .map(|word| word.to_owned().into())
            .into();
        for (key, value) in self.keys() {
            words.extend([key.replace('_', "-").into(), value]);
        }
        let words: Vec<&str> = words.iter().map(|word| &**word).collect();
        control.ask(&words).map(drop)
    }
}

/// How the routers come to know of peers, paths and rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Their files say so.
    InFiles,
    /// Their files have nothing of pooling: `carpool` tells them while they run.
    OverSockets,
}

/// The chain, up and running.
#[derive(Debug)]
pub struct Chain {
    /// Before the lab: they are ended before their namespaces go. In the order of [`EQUIPPED`].
    pub carpools: Vec<Carpoold>,
    /// The longest window of all wishes.
    pub window: Duration,
    pub lab: Lab,
}

impl Chain {
    /// Builds it in `lab` and returns when packets reach every receiver and the source, and peers live.
    pub fn build(mut lab: Lab, idle: Idle, wishes: &[Wish], told: Told) -> Result<Chain> {
        lab.add(SOURCE.0, Kind::Host)?;
        for receiver in RECEIVERS {
            lab.add(receiver.name, Kind::Host)?;
        }
        for router in ROUTERS {
            lab.add(router, if EQUIPPED.contains(&router) { Kind::Carpool } else { Kind::LinuxRouter })?;
        }
        for (left, left_address, right, right_address) in LINKS {
            let left = End { node: left, address: net(left_address)? };
            let right = End { node: right, address: net(right_address)? };
            lab.link(left, right, MTU)?;
            for (host, router) in [(left, right), (right, left)] {
                if !ROUTERS.contains(&host.node) {
                    lab.route(host.node, "default", router.address.addr())?;
                }
            }
        }
        for (router, west, east) in [("u1", "A", "B"), ("u2", "C", "D")] {
            for prefix in beyond(router)? {
                lab.route(router, &prefix.to_string(), towards(router, east)?)?;
            }
            for prefix in before(router)? {
                lab.route(router, &prefix.to_string(), towards(router, west)?)?;
            }
        }
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (mut carpools, mut to_tell) = (Vec::new(), Vec::new());
        for (number, name) in EQUIPPED.into_iter().enumerate() {
            let mut config = configuration(name, idle)?;
            config.cores = vec![number % cores];
            if told == Told::OverSockets {
                to_tell.push((std::mem::take(&mut config.peers), std::mem::take(&mut config.paths)));
            } else if name == "A" {
                config.further = wishes.iter().map(Wish::table).collect();
            }
            carpools.push(Carpoold::start(&lab, name, &config)?);
        }
        for (router, (peers, paths)) in carpools.iter().zip(to_tell) {
            tell(&router.control, &peers, &paths)?;
        }
        if let (Told::OverSockets, Some(a)) = (told, carpools.first()) {
            wishes.iter().try_for_each(|wish| wish.add(&a.control))?;
        }
        let window = wishes.iter().filter_map(|wish| Some(wish.pooling?.0)).max().unwrap_or_default();
        let mut chain = Chain { carpools, window, lab };
        chain.wait_until_ready()?;
        Ok(chain)
    }

    /// How many packets the routers took out of pooled packets that were addressed to others, as they say themselves.
    pub fn taken_out_on_the_way(&self) -> Result<u64> {
        let mut all = 0;
        for router in &self.carpools {
            all += router.control.counter("pool_transit_rows")?;
        }
        Ok(all)
    }

    /// Ends all routers and takes the chain down.
    ///
    /// # Errors
    /// A router's account does not balance, or it does not end as it should.
    pub fn close(mut self) -> Result<()> {
        for router in &mut self.carpools {
            router.check_accounting()?;
            router.stop()?;
        }
        Ok(())
    }

    /// Leaves everything up when this is dropped.
    pub fn keep(mut self) {
        let pids: Vec<_> = self.carpools.iter().map(Carpoold::pid).collect();
        for router in &mut self.carpools {
            router.leave_running();
        }
        self.lab.keep(&pids);
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        for receiver in RECEIVERS {
            let end = (receiver.name, receiver.address);
            for (from, to) in [(SOURCE, end), (end, SOURCE)] {
                let logs = || self.carpools.iter().map(Carpoold::output).collect();
                probe(&self.lab, from, to, READY_LIMIT, logs)?;
            }
        }
        for router in &mut self.carpools {
            router.wait_for_peers(READY_LIMIT)?;
        }
        Ok(())
    }
}

/// Tells a running router of peers and paths.
fn tell(control: &Control, peers: &[(String, Ipv4Addr)], paths: &[(Ipv4Net, Vec<Ipv4Addr>)]) -> Result<()> {
    for (name, address) in peers {
        control.ask(&["peer", "add", name, "address", &address.to_string()])?;
    }
    for (prefix, hops) in paths {
        let words: Vec<String> = std::iter::once(prefix.to_string())
            .chain(["hops".to_owned()])
            .chain(hops.iter().map(Ipv4Addr::to_string))
            .collect();
        let words: Vec<&str> = ["path", "add"].into_iter().chain(words.iter().map(String::as_str)).collect();
        control.ask(&words)?;
    }
    Ok(())
}

/// What an equipped router is told, its rules and cores left out. `A` is a peer of all others, and they of it.
fn configuration(name: &'static str, idle: Idle) -> Result<Config> {
    let position = place(name)?;
    let neighbour = |at: Option<usize>| at.and_then(|at| ROUTERS.get(at)).copied();
    let (west, east) = (neighbour(position.checked_sub(1)), neighbour(position.checked_add(1)));
    let mut routes = Vec::new();
    if let Some(east) = east {
        let via = towards(name, east)?;
        routes.extend(beyond(name)?.into_iter().map(|prefix| (prefix, via)));
    }
    if let Some(west) = west {
        let via = towards(name, west)?;
        routes.extend(before(name)?.into_iter().map(|prefix| (prefix, via)));
    }
    let mut config = Config { idle, ports: ports(name)?, routes, ..Config::default() };
    if name == "A" {
        for router in EQUIPPED.into_iter().skip(1) {
            config.peers.push((router.to_lowercase(), towards(ROUTERS[place(router)? - 1], router)?));
        }
        for receiver in RECEIVERS {
            let steps = receiver.routers.windows(2);
            let hops = steps.map(|step| towards(step[0], step[1])).collect::<Result<Vec<_>>>()?;
            let prefix = Ipv4Net::new_assert(receiver.address, 26).trunc();
            config.paths.push((prefix, hops));
        }
    } else {
        config.peers.push(("a".to_owned(), towards("u1", "A")?));
    }
    Ok(config)
}

/// Where a router stands in the chain.
fn place(router: &str) -> Result<usize> {
    ROUTERS.iter().position(|name| *name == router).ok_or_else(|| Error::Malformed {
        what: "the chain's plan".to_owned(),
        why: format!("it has no router {router}"),
    })
}

/// The address of `neighbour` on its link to `node`.
fn towards(node: &str, neighbour: &str) -> Result<Ipv4Addr> {
    let ends = LINKS.iter().flat_map(|&(left, left_address, right, right_address)| {
        [(left, right, right_address), (right, left, left_address)]
    });
    match ends.into_iter().find(|(from, to, _)| *from == node && *to == neighbour) {
        Some((.., address)) => Ok(net(address)?.addr()),
        None => Err(Error::Malformed {
            what: "the chain's plan".to_owned(),
            why: format!("no link joins {node} and {neighbour}"),
        }),
    }
}

/// The prefixes of the links east of a router and not on it.
fn beyond(router: &str) -> Result<Vec<Ipv4Net>> {
    let position = place(router)?;
    prefixes(|left, right| left > position && right > position)
}

/// The prefixes of the links west of a router and not on it.
fn before(router: &str) -> Result<Vec<Ipv4Net>> {
    let position = place(router)?;
    prefixes(|left, right| left < position && right < position)
}

/// The prefixes of the links whose routers' places satisfy `wanted`; a host stands where its router does.
fn prefixes(wanted: impl Fn(usize, usize) -> bool) -> Result<Vec<Ipv4Net>> {
    let mut prefixes = Vec::new();
    for (left, left_address, right, _) in LINKS {
        let (left, right) = match (place(left), place(right)) {
            (Ok(left), Ok(right)) => (left, right),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => (one, one),
            (Err(error), Err(_)) => return Err(error),
        };
        if wanted(left, right) {
            prefixes.push(net(left_address)?.trunc());
        }
    }
    Ok(prefixes)
}

fn ports(router: &str) -> Result<Vec<Port>> {
    LINKS
        .iter()
        .flat_map(|&(left, left_address, right, right_address)| {
            [(left, right, left_address), (right, left, right_address)]
        })
        .filter(|(node, ..)| *node == router)
        .map(|(_, neighbour, address)| Ok(Port { interface: neighbour.to_owned(), address: net(address)?, mtu: MTU }))
        .collect()
}

fn net(text: &str) -> Result<Ipv4Net> {
    text.parse().map_err(|_| Error::Malformed { what: text.to_owned(), why: "it is no prefix".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_router_has_a_route_to_every_link_that_it_is_not_on() {
        for router in EQUIPPED {
            let config = configuration(router, Idle::Adaptive).expect("a plan");
            let own: Vec<Ipv4Net> = config.ports.iter().map(|port| port.address.trunc()).collect();
            for (_, address, ..) in LINKS {
                let prefix = net(address).expect("a prefix").trunc();
                let routed = config.routes.iter().any(|(route, _)| route.contains(&prefix));
                assert_ne!(own.contains(&prefix), routed, "{router}: {prefix}");
            }
        }
    }

    #[test]
    fn the_path_to_far_names_all_routers_behind_a() {
        let config = configuration("A", Idle::Adaptive).expect("a plan");
        let (prefix, hops) = config.paths.last().expect("paths");
        assert_eq!(prefix.to_string(), "203.0.113.192/26");
        let expected = [[192, 0, 2, 2], [192, 0, 2, 6], [192, 0, 2, 10], [192, 0, 2, 14], [192, 0, 2, 18]];
        assert_eq!(hops[..], expected.map(Ipv4Addr::from));
    }
}
