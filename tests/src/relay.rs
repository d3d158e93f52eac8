//! A router in the middle that loses what a test wants lost: it takes the place of the kernel's forwarding between two
//! interfaces of a node.
//!
//! It knows its neighbours by the frames they send, forwards IPv4 packets between them as a router does (RFC 1812, 5.2.1:
//! TTL down by one, header checksum corrected), and leaves everything else, such as ARP, to the kernel.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        socket::{
            AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, send, setsockopt,
            socket, sockopt,
        },
    },
};

use crate::{
    capture::link_address,
    error::{Doing, Error, Result},
    namespace::Namespace,
};

/// Room for what arrives while this thread has no processor, in bytes of kernel memory.
const SOCKET_BUFFER: usize = 16 << 20;
const ETHERNET: usize = 14;
const IPV4_HEADER: usize = 20;
/// `sll_pkttype` of a frame for this host (linux/if_packet.h).
const PACKET_HOST: u8 = 0;

/// A relay that runs.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<EventFd>,
    lost: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// One of its two sides.
struct Side {
    socket: OwnedFd,
    /// Our Ethernet address.
    own: [u8; 6],
    /// The neighbour's, once it sent something.
    neighbour: Option<[u8; 6]>,
}

impl Relay {
    /// Forwards between two interfaces, one neighbour on each, what `keeps` says, which is asked about each IPv4 packet.
    /// Returns when both neighbours are known and the kernel forwards no longer.
    pub fn start(
        namespace: &Namespace,
        interfaces: [&str; 2],
        keeps: impl FnMut(&[u8]) -> bool + Send + 'static,
    ) -> Result<Relay> {
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC).doing("making an eventfd")?);
        let lost = Arc::new(AtomicUsize::new(0));
        let (ready, known) = mpsc::sync_channel(1);
        let thread = {
            let (stop, lost, namespace) = (Arc::clone(&stop), Arc::clone(&lost), namespace.clone());
            let interfaces = interfaces.map(str::to_owned);
            thread::spawn(move || {
                namespace.join()?;
                let [left, right] = &interfaces;
                let mut sides = [Side::open(left)?, Side::open(right)?];
                // The kernel forwards until both neighbours are known: that they send at all may need it.
                while sides.iter().any(|side| side.neighbour.is_none()) {
                    if await_frames(&sides, &stop)? {
                        return Ok(());
                    }
                    for side in &mut sides {
                        while side.receive()?.is_some() {}
                    }
                }
                namespace.sysctl("ipv4/ip_forward", "0")?;
                // The starter waits for nothing else; if it is gone, stop will tell.
                let _ = ready.send(());
                forward(&mut sides, &stop, &lost, keeps)
            })
        };
        let mut relay = Relay { stop, lost, thread: Some(thread) };
        match known.recv() {
            Ok(()) => Ok(relay),
            // The thread ended before it was ready: its error says why.
            Err(_) => Err(relay.join().err().unwrap_or_else(|| Error::Thread("relay".to_owned()))),
        }
    }

    /// Packets that it lost so far, as it was told to.
    pub fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }

    /// Ends it, with the error it met if any. Nothing forwards then.
    pub fn stop(mut self) -> Result<()> {
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        // It can only fail with the counter at its end: it is readable then all the same.
        let _ = self.stop.write(1);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Error::Thread("the relay panicked".to_owned())),
            None => Ok(()),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

impl Side {
    fn open(interface: &str) -> Result<Side> {
        let address = link_address(interface)?;
        let own = address.addr().ok_or_else(|| Error::Missing {
            what: format!("the Ethernet address of {interface}"),
            path: "this namespace".to_owned(),
            remedy: "relay between Ethernet interfaces".to_owned(),
        })?;
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
            .doing("opening a packet socket")?;
        setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).doing("enlarging a packet socket's buffer")?;
        bind(socket.as_raw_fd(), &address).doing(format!("binding a packet socket to {interface}"))?;
        Ok(Side { socket, own, neighbour: None })
    }

    /// The next frame of the neighbour for us; empty for any other frame, `None` when there is none.
    fn receive(&mut self) -> Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; 1 << 16];
        let (length, from) = match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
            Ok(received) => received,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR) => return Ok(Some(Vec::new())),
            Err(errno) => return Err(errno).doing("reading a packet socket"),
        };
        buffer.truncate(length);
        let is_for_us = from.is_some_and(|from| from.pkttype() == PACKET_HOST);
        let source = buffer.get(6..12).and_then(|source| <[u8; 6]>::try_from(source).ok()).filter(|_| is_for_us);
        self.neighbour = source.or(self.neighbour);
        if source.is_none() {
            buffer.clear();
        }
        Ok(Some(buffer))
    }
}

/// Waits until a side has a frame; whether it is to stop instead.
fn await_frames(sides: &[Side; 2], stop: &EventFd) -> Result<bool> {
    let [left, right] = sides.each_ref().map(|side| PollFd::new(side.socket.as_fd(), PollFlags::POLLIN));
    let mut waited = [PollFd::new(stop.as_fd(), PollFlags::POLLIN), left, right];
    match poll(&mut waited, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(waited[0].any().unwrap_or(false)),
        Err(errno) => Err(errno).doing("waiting for frames"),
    }
}

fn forward(
    sides: &mut [Side; 2],
    stop: &EventFd,
    lost: &AtomicUsize,
    mut keeps: impl FnMut(&[u8]) -> bool,
) -> Result<()> {
    while !await_frames(sides, stop)? {
        for at in 0..sides.len() {
            while let Some(mut frame) = sides[at].receive()? {
                let other = &sides[1 - at];
                let Some(neighbour) = other.neighbour else { continue };
                if !readdress(&mut frame, neighbour, other.own) {
                    continue;
                }
                if !keeps(&frame[ETHERNET..]) {
                    lost.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                match send(other.socket.as_raw_fd(), &frame, MsgFlags::empty()) {
                    // A full queue of the link loses packets anywhere.
                    Ok(_) | Err(Errno::ENOBUFS | Errno::EAGAIN) => {}
                    Err(errno) => return Err(errno).doing("sending a frame"),
                }
            }
        }
    }
    Ok(())
}

/// Makes a frame the one that a router sends on; whether it is an IPv4 packet that lives on.
fn readdress(frame: &mut [u8], to: [u8; 6], from: [u8; 6]) -> bool {
    if frame.len() < ETHERNET + IPV4_HEADER || frame[12..14] != [8, 0] || frame[ETHERNET + 8] < 2 {
        return false;
    }
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&from);
    let header = &mut frame[ETHERNET..ETHERNET + IPV4_HEADER];
    header[8] -= 1;
    // RFC 1141: the word with the TTL lost 0x0100, so its complement gained it, around the end.
    let sum = u32::from(u16::from_be_bytes([header[10], header[11]])) + 0x0100;
    header[10..12].copy_from_slice(&((sum + (sum >> 16)) as u16).to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddrV4, time::Duration};

    use super::*;
    use crate::{
        capture::Direction,
        frame::{Flow, Observation, ethernet_frame, udp_packet},
    };

    #[test]
    fn a_packet_goes_on_with_a_ttl_less_and_a_checksum_that_holds() {
        let end = |host| SocketAddrV4::new([192, 0, 2, host].into(), 9);
        for identification in 0..1000 {
            let packet = udp_packet(Flow { source: end(1), destination: end(2) }, 64, identification, b"voice");
            let mut frame = [&[1u8; 6][..], &[2; 6], &[8, 0], &packet].concat();
            assert!(readdress(&mut frame, [3; 6], [4; 6]));
            assert_eq!(frame[..12], [[3; 6], [4; 6]].concat());
            let expected = udp_packet(Flow { source: end(1), destination: end(2) }, 63, identification, b"voice");
            assert_eq!(frame[ETHERNET..], expected);
        }
        let packet = udp_packet(Flow { source: end(1), destination: end(2) }, 1, 7, b"voice");
        assert!(Observation::of(&ethernet_frame(&packet, Duration::ZERO, Direction::In)).is_some());
        assert!(!readdress(&mut [&[0; 12][..], &[8, 0], &packet].concat(), [3; 6], [4; 6]), "its life is over");
    }
}
