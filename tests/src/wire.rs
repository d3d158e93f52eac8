//! Pooled packets written by hand, sound and broken, and put on the wire from any address.
//!
//! Follows docs/wire-format.md and shares nothing with the router's own encoder.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd,
};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket};

use crate::{
    error::{Doing, Result},
    frame::{Flow, udp_packet},
    namespace::Namespace,
    transit::POOL_PORT,
};

/// A row of the index.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub start: u16,
    pub length: u16,
    pub ttl: u8,
    pub representation: u8,
}

/// What follows the outer UDP header; every field can be made wrong.
#[derive(Clone, Debug)]
pub struct PooledPacket {
    pub version: u8,
    pub kind: u8,
    /// Says how many rows follow, truly or not.
    pub count: u8,
    pub sequence: u32,
    pub rows: Vec<Row>,
    pub data: Vec<u8>,
}

impl PooledPacket {
    /// A sound one that carries these whole IPv4 packets to its addressee.
    pub fn carrying(packets: &[Vec<u8>]) -> Self {
        let (mut rows, mut data) = (Vec::new(), Vec::new());
        for packet in packets {
            let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX);
            rows.push(Row { start: length(data.len()), length: length(packet.len()), ttl: 1, representation: 4 });
            data.extend(packet);
        }
        Self { version: 1, kind: 0, count: u8::try_from(rows.len()).unwrap_or(u8::MAX), sequence: 0, rows, data }
    }

    pub fn payload(&self) -> Vec<u8> {
        let mut bytes = vec![self.version << 4 | self.kind, self.count, 64, 0];
        bytes.extend(self.sequence.to_be_bytes());
        for Row { start, length, ttl, representation } in &self.rows {
            bytes.extend(start.to_be_bytes());
            bytes.extend(length.to_be_bytes());
            bytes.extend([*ttl, *representation]);
        }
        bytes.extend(&self.data);
        bytes
    }
}

/// A whole outer packet around a payload, with checksums that hold.
pub fn outer(source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let flow =
        Flow { source: SocketAddrV4::new(source, POOL_PORT), destination: SocketAddrV4::new(destination, POOL_PORT) };
    udp_packet(flow, 64, 1, payload)
}

/// Sends an IPv4 packet as it stands (the kernel computes the header checksum), whatever source address it bears.
pub fn inject(namespace: &Namespace, packet: &[u8], destination: Ipv4Addr) -> Result<()> {
    namespace.enter(|| {
        let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)
            .doing("opening a raw socket")?;
        let [a, b, c, d] = destination.octets();
        sendto(socket.as_raw_fd(), packet, &SockaddrIn::new(a, b, c, d, 0), MsgFlags::empty())
            .doing(format!("sending a packet to {destination}"))?;
        Ok(())
    })?
}
