//! Streams of small packets from one host, and what a link carried of them.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt};
use serde::{Deserialize, Serialize};

use crate::{
    capture::{Capture, Direction, Recorded},
    carpoold::Rule,
    compare::{Comparison, Routers, compare},
    error::{Doing, Error, Result},
    frame::{Flow, Observation, observe},
    lab::Lab,
    transit::{Crossing, POOL_PORT},
};

/// The first stream's port at either end.
const FIRST_PORT: u16 = 17000;
/// Expedited forwarding (RFC 3246), as the whole former TOS byte.
const TOS_EF: i32 = 46 << 2;
/// What each packet carries: 200 bytes as IPv4, 220 as IPv6.
const PAYLOAD: usize = 172;
/// Multicast packets leave with a TTL, or hop limit, of 1 unless told otherwise (RFC 1112, 6.1; RFC 3493, 5.2).
const TTL: u8 = 16;
/// Each stream sends a packet this often.
const INTERVAL: Duration = Duration::from_millis(20);
/// How long packets are waited for after the last one was sent.
pub const LATE: Duration = Duration::from_secs(3);

/// The rule for the streams.
pub fn rule(window: Duration) -> Rule {
    Rule {
        name: "streams".to_owned(),
        matching: "protocol = \"udp\", ports = \"16384-32767\", dscp = \"ef\"".to_owned(),
        max_size: 300,
        window,
        further: Vec::new(),
    }
}

/// Where a stream goes.
pub type Target = SocketAddr;

/// The targets of `count` streams to an address.
pub fn targets(address: impl Into<IpAddr> + Copy, count: u16) -> Vec<Target> {
    (0..count).map(|stream| SocketAddr::new(address.into(), FIRST_PORT + stream)).collect()
}

/// Whether a packet is one of a stream.
pub fn is_stream(flow: &Flow) -> bool {
    flow.destination.port() != POOL_PORT && flow.source.port() >= FIRST_PORT && flow.destination.port() >= FIRST_PORT
}

/// Sends to all targets, each from the port of the same number and the address of its family among `sources`, for `duration`;
/// returns how many packets that were. No two are alike.
pub fn send(lab: &Lab, node: &str, sources: &[IpAddr], targets: &[Target], duration: Duration) -> Result<usize> {
    let sockets = lab.namespace(node)?.enter(|| -> Result<Vec<UdpSocket>> {
        targets
            .iter()
            .map(|target| {
                let source = sources.iter().find(|source| source.is_ipv4() == target.is_ipv4());
                let own = source.map(|source| SocketAddr::new(*source, target.port())).ok_or_else(|| {
                    Error::Malformed { what: "a stream".to_owned(), why: format!("no source for {target}") }
                })?;
                let socket = UdpSocket::bind(own).doing(format!("binding to {own} in {node}"))?;
                mark(&socket, target)?;
                socket.connect(target).doing(format!("directing a stream to {target}"))?;
                Ok(socket)
            })
            .collect()
    })??;
    let begin = Instant::now();
    let mut sent = 0usize;
    for round in 0u32.. {
        let due = INTERVAL * round;
        if due >= duration {
            break;
        }
        thread::sleep(due.saturating_sub(begin.elapsed()));
        for (stream, socket) in sockets.iter().enumerate() {
            let mut payload = [0; PAYLOAD];
            let mark = (u64::from(round) << 16 | stream as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for (at, byte) in payload.iter_mut().enumerate() {
                *byte = (mark >> (at % 8 * 8)) as u8 ^ at as u8;
            }
            socket.send(&payload).doing(format!("sending stream {stream}"))?;
            sent += 1;
        }
    }
    Ok(sent)
}

/// Gives the packets of a socket their class, and those to a group the way to go.
fn mark(socket: &UdpSocket, target: &Target) -> Result<()> {
    match target {
        SocketAddr::V4(_) => {
            setsockopt(socket, sockopt::Ipv4Tos, &TOS_EF).doing("marking a stream's packets")?;
            setsockopt(socket, sockopt::IpMulticastTtl, &TTL).doing("setting the TTL of packets to a group")
        }
        SocketAddr::V6(_) => {
            setsockopt(socket, sockopt::Ipv6TClass, &TOS_EF).doing("marking a stream's packets")?;
            setsockopt(socket, sockopt::Ipv6MulticastHops, &TTL.into())
                .doing("setting the hop limit of packets to a group")
        }
    }
}

/// Records at an interface of a node; `name` is that of the neighbour there.
pub fn record(lab: &Lab, node: &str, name: &str) -> Result<Capture> {
    Capture::start(lab.namespace(node)?, name)
}

/// Waits until so many packets of streams have come in, or no longer.
pub fn wait_for(capture: &Capture, packets: usize) {
    // Fewer than that is for the comparison to tell.
    let _ = capture.wait_until(LATE, |frames| observe(frames, Direction::In, is_stream).len() >= packets);
}

/// The frames of a recording that lost none.
pub fn whole(capture: Capture) -> Result<Recorded> {
    let recorded = capture.stop()?;
    if recorded.dropped > 0 {
        let why = format!("the kernel had no room for {} frames", recorded.dropped);
        return Err(Error::Malformed { what: "a recording".to_owned(), why });
    }
    Ok(recorded)
}

/// The packets of streams in a recording.
pub fn streams(recorded: &Recorded, direction: Direction) -> Vec<Observation> {
    observe(&recorded.frames, direction, is_stream)
}

/// What a receiver got of what was sent to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Received {
    pub receiver: String,
    pub sent: usize,
    pub delivered: usize,
    /// Every packet that arrived is byte for byte one that was sent (TTL lower by the nodes that forwarded it), once.
    pub identical: bool,
    pub in_order: bool,
}

impl Received {
    /// Compares what was sent with what came, forwarded by so many nodes.
    pub fn of(receiver: &str, sent: &[Observation], came: &[Observation], nodes: u8) -> (Self, Comparison) {
        let comparison = compare(sent, came, Routers::All(nodes));
        let received = Self {
            receiver: receiver.to_owned(),
            sent: comparison.sent,
            delivered: comparison.delivered,
            identical: comparison.identical(),
            in_order: comparison.in_order(),
        };
        (received, comparison)
    }

    pub fn perfect(&self) -> bool {
        self.sent > 0 && self.delivered == self.sent && self.identical && self.in_order
    }
}

/// What a link carried in one direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    pub link: String,
    /// Pooled packets.
    pub pooled_packets: usize,
    /// Stream packets inside them.
    pub rows: usize,
    /// Stream packets as themselves.
    pub unpooled: usize,
}

impl Carried {
    pub fn of(link: &str, recorded: &Recorded, direction: Direction) -> Self {
        let mut crossing = Crossing::default();
        for observation in observe(&recorded.frames, direction, |_| true) {
            crossing.add(&observation, is_stream);
        }
        Self { link: link.to_owned(), pooled_packets: crossing.pooled, rows: crossing.rows, unpooled: crossing.lone }
    }

    /// Copies of each of `sent` stream packets.
    pub fn copies(&self, sent: usize) -> f64 {
        (self.rows + self.unpooled) as f64 / sent.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use super::*;

    #[test]
    fn pooled_packets_are_not_streams_and_streams_are() {
        let flow = |source: u16, destination: u16| Flow {
            source: SocketAddrV4::new(Ipv4Addr::LOCALHOST, source),
            destination: SocketAddrV4::new(Ipv4Addr::LOCALHOST, destination),
        };
        let targets = targets(Ipv4Addr::LOCALHOST, 2);
        assert_eq!(targets[1].port(), FIRST_PORT + 1);
        assert!(is_stream(&flow(FIRST_PORT, FIRST_PORT)));
        assert!(!is_stream(&flow(POOL_PORT, POOL_PORT)) && !is_stream(&flow(40000, 53)));
    }
}
