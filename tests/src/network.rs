//! The plan of the voice network and its machines.
//!
//! ```text
//! server1 ──┐                                    ┌── client1
//!           A ────────── transit ────────────── B ─── client2
//! server2 ──┘    pooled packets, not streams     └── client3
//! ```
//!
//! `A` and `B` run carpoold, or are plain Linux routers where the lab itself is on trial. Addresses are of the prefixes
//! set aside for documentation and benchmarks (RFC 5737, RFC 2544).

use std::{net::Ipv4Addr, thread, time::Duration};

use ipnet::Ipv4Net;

use crate::{
    carpoold::{Carpoold, Config, Idle, Port, Rule},
    error::{Error, Result},
    lab::{End, Kind, Lab},
    probe::probe,
};

pub const SERVERS: [(&str, Ipv4Addr); 2] =
    [("server1", Ipv4Addr::new(198, 18, 1, 10)), ("server2", Ipv4Addr::new(198, 18, 2, 10))];
pub const CLIENTS: [(&str, Ipv4Addr); 3] = [
    ("client1", Ipv4Addr::new(203, 0, 113, 10)),
    ("client2", Ipv4Addr::new(203, 0, 113, 74)),
    ("client3", Ipv4Addr::new(203, 0, 113, 138)),
];
/// A's address on the link to transit, and the one its pooled packets come from.
pub const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Transit's address on the link to A.
pub const TRANSIT_AT_A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Transit's address on the link to B.
pub const TRANSIT_AT_B: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// B's address on the link to transit.
pub const B: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// Bytes of IP packet, on every link.
pub const MTU: u16 = 1500;
/// Routers between a server and a client.
pub const ROUTERS: u8 = 3;
/// What the voice rule matches; ports outside it travel unpooled.
pub const VOICE_PORTS: (u16, u16) = (16384, 32767);
const READY_LIMIT: Duration = Duration::from_secs(15);

/// Left node and address, right node and address.
const LINKS: [(&str, &str, &str, &str); 7] = [
    ("server1", "198.18.1.10/24", "A", "198.18.1.1/24"),
    ("server2", "198.18.2.10/24", "A", "198.18.2.1/24"),
    ("A", "192.0.2.1/24", "transit", "192.0.2.2/24"),
    ("transit", "198.51.100.1/24", "B", "198.51.100.2/24"),
    ("B", "203.0.113.1/26", "client1", "203.0.113.10/26"),
    ("B", "203.0.113.65/26", "client2", "203.0.113.74/26"),
    ("B", "203.0.113.129/26", "client3", "203.0.113.138/26"),
];
/// All servers, all clients.
const WEST: &str = "198.18.0.0/16";
const EAST: &str = "203.0.113.0/24";

/// What stands in the places of A and B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Middle {
    /// Linux routers: nothing is pooled.
    Linux,
    Carpool {
        window: Duration,
        idle: Idle,
        /// Each router has a worker on the first two cores, instead of one on a core of its own.
        both_cores: bool,
        /// Further keys of the rule, a line each.
        further: &'static [&'static str],
    },
}

impl Middle {
    /// The pooling window; zero where nothing is pooled.
    pub fn window(self) -> Duration {
        match self {
            Self::Linux => Duration::ZERO,
            Self::Carpool { window, .. } => window,
        }
    }
}

/// The two routers under test.
#[derive(Debug)]
pub struct Pair {
    pub a: Carpoold,
    pub b: Carpoold,
}

impl Pair {
    /// The longest that either router kept a pool open: no more than the window and one round of its loop.
    pub fn longest_open(&self) -> Result<Duration> {
        let longest = self.a.control.pooled()?.longest_us.max(self.b.control.pooled()?.longest_us);
        Ok(Duration::from_micros(longest))
    }
}

#[derive(Debug)]
pub struct Network {
    /// Before the lab: they are ended before their namespaces go.
    pub carpools: Option<Pair>,
    pub middle: Middle,
    pub lab: Lab,
}

impl Network {
    /// Builds it all in `lab` and returns when packets reach everybody from everybody and, with carpool, peers live.
    pub fn build(lab: Lab, middle: Middle) -> Result<Self> {
        Self::build_with(lab, middle, &[])
    }

    /// The same with further keys of both carpool routers' `[dataplane]`, a line each.
    pub fn build_with(mut lab: Lab, middle: Middle, dataplane: &[&str]) -> Result<Self> {
        let routers = if middle == Middle::Linux { Kind::LinuxRouter } else { Kind::Carpool };
        for (name, _) in SERVERS.iter().chain(&CLIENTS) {
            lab.add(name, Kind::Host)?;
        }
        lab.add("A", routers)?;
        lab.add("transit", Kind::LinuxRouter)?;
        lab.add("B", routers)?;
        for (left, left_address, right, right_address) in LINKS {
            let left = End { node: left, address: net(left_address)? };
            let right = End { node: right, address: net(right_address)? };
            lab.link(left, right, MTU)?;
            for (host, router) in [(left, right), (right, left)] {
                if SERVERS.iter().chain(&CLIENTS).any(|(name, _)| *name == host.node) {
                    lab.route(host.node, "default", router.address.addr())?;
                }
            }
        }
        lab.route("transit", WEST, A)?;
        lab.route("transit", EAST, B)?;
        let carpools = match middle {
            Middle::Linux => {
                lab.route("A", "default", TRANSIT_AT_A)?;
                lab.route("B", "default", TRANSIT_AT_B)?;
                None
            }
            Middle::Carpool { window, idle, both_cores, further } => {
                let (mut a, mut b) = configurations(window, idle, both_cores, further)?;
                for config in [&mut a, &mut b] {
                    config.dataplane = dataplane.iter().map(|line| (*line).to_owned()).collect();
                }
                Some(Pair { a: Carpoold::start(&lab, "A", &a)?, b: Carpoold::start(&lab, "B", &b)? })
            }
        };
        let mut network = Self { carpools, middle, lab };
        network.wait_until_ready()?;
        Ok(network)
    }

    /// The routers under test.
    ///
    /// # Errors
    /// There are none where plain Linux routers stand in their places.
    pub fn pair(&mut self) -> Result<&mut Pair> {
        self.carpools.as_mut().ok_or_else(|| Error::Malformed {
            what: "the network".to_owned(),
            why: "it has plain Linux routers in the places of A and B".to_owned(),
        })
    }

    /// Ends both routers and takes the network down.
    ///
    /// # Errors
    /// A router's account does not balance, or it does not end as it should.
    pub fn close(mut self) -> Result<()> {
        if let Some(Pair { a, b }) = &mut self.carpools {
            for router in [a, b] {
                router.check_accounting()?;
                router.stop()?;
            }
        }
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        for server in SERVERS {
            for client in CLIENTS {
                self.probe(server, client)?;
                self.probe(client, server)?;
            }
        }
        if let Some(Pair { a, b }) = &mut self.carpools {
            a.wait_for_peers(READY_LIMIT)?;
            b.wait_for_peers(READY_LIMIT)?;
        }
        Ok(())
    }

    fn probe(&self, from: (&str, Ipv4Addr), to: (&str, Ipv4Addr)) -> Result<()> {
        probe(&self.lab, from, to, READY_LIMIT, || {
            self.carpools.iter().flat_map(|pair| [pair.a.output(), pair.b.output()]).collect()
        })
    }

    /// Leaves everything up when this is dropped.
    pub fn keep(mut self) {
        let mut pids = Vec::new();
        if let Some(Pair { a, b }) = &mut self.carpools {
            pids = vec![a.pid(), b.pid()];
            a.leave_running();
            b.leave_running();
        }
        self.lab.keep(&pids);
    }
}

/// What A and B are told.
fn configurations(window: Duration, idle: Idle, both_cores: bool, further: &[&str]) -> Result<(Config, Config)> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let all: Vec<_> = (0..cores.min(2)).collect();
    let rule = Rule {
        name: "voice".to_owned(),
        matching: format!("protocol = \"udp\", ports = \"{}-{}\", dscp = \"ef\"", VOICE_PORTS.0, VOICE_PORTS.1),
        max_size: 300,
        window,
        further: further.iter().map(|line| (*line).to_owned()).collect(),
    };
    let (west, east) = (net(WEST)?, net(EAST)?);
    let a = Config {
        cores: if both_cores { all.clone() } else { vec![0] },
        idle,
        ports: ports("A")?,
        routes: vec![(east, TRANSIT_AT_A), (net("198.51.100.0/24")?, TRANSIT_AT_A)],
        peers: vec![("b".to_owned(), B)],
        paths: vec![(east, vec![TRANSIT_AT_A, B])],
        rules: vec![rule.clone()],
        ..Config::default()
    };
    let b = Config {
        cores: if both_cores { all } else { vec![1 % cores] },
        idle,
        ports: ports("B")?,
        routes: vec![(west, TRANSIT_AT_B), (net("192.0.2.0/24")?, TRANSIT_AT_B)],
        peers: vec![("a".to_owned(), A)],
        paths: vec![(west, vec![TRANSIT_AT_B, A])],
        rules: vec![rule],
        ..Config::default()
    };
    Ok((a, b))
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
