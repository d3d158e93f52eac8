//! Whether packets get from one node of the lab to another yet.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use crate::{
    error::{Doing, Error, Result},
    lab::Lab,
};

/// Where the probes go that resolve every neighbour before streams start.
const PROBE_PORT: u16 = 9999;

/// Sends small packets until one arrives: then every neighbour on the way is resolved. `logs` is asked for what goes
/// with the error when none has after `limit`.
pub fn probe(
    lab: &Lab,
    from: (&str, impl Into<IpAddr>),
    to: (&str, impl Into<IpAddr>),
    limit: Duration,
    logs: impl FnOnce() -> String,
) -> Result<()> {
    let (own, other) = (from.1.into(), to.1.into());
    let bind = |node: &str, address: SocketAddr| {
        lab.namespace(node)?
            .enter(|| UdpSocket::bind(address))?
            .doing(format!("binding a UDP socket to {address} in {node}"))
    };
    let target = SocketAddr::new(other, PROBE_PORT);
    let receiver = bind(to.0, target)?;
    receiver.set_read_timeout(Some(Duration::from_millis(100))).doing("limiting the wait for a probe")?;
    let sender = bind(from.0, SocketAddr::new(own, 0))?;
    let begin = Instant::now();
    while begin.elapsed() < limit {
        // Refused while a route is missing; the next one may pass.
        let _ = sender.send_to(b"probe", target);
        if receiver.recv_from(&mut [0; 16]).is_ok_and(|(_, source)| source.ip() == own) {
            return Ok(());
        }
    }
    Err(Error::Timeout { event: format!("a probe from {} to {}", from.0, to.0), after: limit, seen: logs() })
}
