//! Every frame that crosses one interface, with the kernel's own timestamp in nanoseconds.
//!
//! An AF_PACKET socket inside the namespace does the recording; its thread wakes a hundred times a second and empties
//! it, for the kernel stamps each frame as it passes and a reader that woke for each would take the core from the
//! routers under test. Frames the socket had no room for are counted ([`Recorded::dropped`], SO_RXQ_OVFL); one that
//! is lost after the last frame seen shows up as lost or as never sent when the captures are compared.

use std::{
    io::IoSliceMut,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    cmsg_space,
    errno::Errno,
    ifaddrs::getifaddrs,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        socket::{
            AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvmsg,
            setsockopt, socket, sockopt,
        },
        time::TimeSpec,
    },
};

use crate::{
    error::{Doing, Error, Result},
    namespace::Namespace,
};

/// How often the socket is emptied.
const PERIOD_MS: u8 = 10;
/// Room for what can arrive in many periods, in bytes of kernel memory.
const SOCKET_BUFFER: usize = 64 << 20;
/// The largest frame a veth of the lab carries, with room to see one that is too large.
const LARGEST_FRAME: usize = 65_536;
/// `sll_pkttype` of a frame this machine sends (linux/if_packet.h).
const PACKET_OUTGOING: u8 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It arrived at the interface.
    In,
    /// The namespace sent it.
    Out,
}

/// One Ethernet frame as it crossed the interface.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Since the Unix epoch, by the clock that all namespaces share.
    pub at: Duration,
    pub direction: Direction,
    pub bytes: Arc<[u8]>,
}

/// What a capture ends with.
#[derive(Debug)]
pub struct Recorded {
    pub frames: Vec<Frame>,
    /// Frames the kernel counted and could not queue. Anything but 0 makes the recording worthless.
    pub dropped: u32,
}

#[derive(Debug, Default)]
struct Shared {
    frames: Mutex<Vec<Frame>>,
    arrived: Condvar,
}

impl Shared {
    fn frames(&self) -> MutexGuard<'_, Vec<Frame>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<Result<u32>>>,
}

impl Capture {
    /// Starts to record; when this returns, no frame goes unseen any more.
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC).doing("making an eventfd")?);
        let (ready, opened) = mpsc::sync_channel(1);
        let thread = {
            let (namespace, interface) = (namespace.clone(), interface.to_owned());
            let (shared, stop) = (Arc::clone(&shared), Arc::clone(&stop));
            thread::spawn(move || {
                namespace.join()?;
                let (socket, index) = open(&interface)?;
                // The starter waits for nothing else; if it is gone, stop will tell.
                let _ = ready.send(());
                record(&socket, index, &shared, &stop)
            })
        };
        let mut capture = Self { shared, stop, thread: Some(thread) };
        match opened.recv() {
            Ok(()) => Ok(capture),
            // The thread ended before it was ready: its error says why.
            Err(_) => Err(capture.join().err().unwrap_or_else(|| Error::Thread(format!("capture on {interface}")))),
        }
    }

    /// The frames from number `first` on (0 is the first), for a look while the recording goes on.
    pub fn from(&self, first: usize) -> Vec<Frame> {
        self.shared.frames().get(first..).unwrap_or_default().to_vec()
    }

    /// Waits until what has been recorded satisfies `enough`, asked after each emptying of the socket. Returns whether
    /// it did before `limit` had passed.
    pub fn wait_until(&self, limit: Duration, mut enough: impl FnMut(&[Frame]) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        let mut frames = self.shared.frames();
        loop {
            if enough(&frames) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            frames = self.shared.arrived.wait_timeout(frames, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Empties the socket a last time and hands over all frames.
    pub fn stop(mut self) -> Result<Recorded> {
        let dropped = self.join()?;
        let frames = std::mem::take(&mut *self.shared.frames());
        Ok(Recorded { frames, dropped })
    }

    fn join(&mut self) -> Result<u32> {
        self.stop.write(1).doing("waking a capture to stop it")?;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Error::Thread("a capture panicked".to_owned())),
            None => Ok(0),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Whoever drops a capture no longer asks what it saw.
        let _ = self.join();
    }
}

fn open(interface: &str) -> Result<(OwnedFd, usize)> {
    let address = link_address(interface)?;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )
    .doing("opening a packet socket")?;
    setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).doing("enlarging a packet socket's buffer")?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).doing("asking for timestamps")?;
    setsockopt(&socket, sockopt::RxqOvfl, &1).doing("asking for the count of drops")?;
    // The address from getifaddrs names no protocol: the kernel then keeps the socket's own, all of them.
    bind(socket.as_raw_fd(), &address).doing(format!("binding a packet socket to {interface}"))?;
    Ok((socket, address.ifindex()))
}

/// The address of an interface of the calling thread's namespace.
pub fn link_address(interface: &str) -> Result<LinkAddr> {
    getifaddrs()
        .doing("listing interfaces")?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .ok_or_else(|| Error::Missing {
            what: format!("interface {interface}"),
            path: "this namespace".to_owned(),
            remedy: "add the link before capturing on it".to_owned(),
        })
}

fn record(socket: &OwnedFd, index: usize, shared: &Shared, stop: &EventFd) -> Result<u32> {
    let mut buffer = vec![0; LARGEST_FRAME];
    let mut dropped = 0;
    loop {
        let stopping = match poll(&mut [PollFd::new(stop.as_fd(), PollFlags::POLLIN)], PollTimeout::from(PERIOD_MS)) {
            Ok(ready) => ready > 0,
            Err(Errno::EINTR) => false,
            Err(errno) => return Err(errno).doing("waiting for the next period of a capture"),
        };
        let mut fresh = Vec::new();
        while let Some((frame, drops)) = receive(socket, index, &mut buffer)? {
            fresh.extend(frame);
            dropped = drops.unwrap_or(dropped);
        }
        if !fresh.is_empty() {
            shared.frames().append(&mut fresh);
            shared.arrived.notify_all();
        }
        if stopping {
            return Ok(dropped);
        }
    }
}

/// The next queued frame (none where it crossed another interface before the socket was bound) and the kernel's count
/// of drops so far where it tells; `None` when the socket is empty.
fn receive(socket: &OwnedFd, index: usize, buffer: &mut [u8]) -> Result<Option<(Option<Frame>, Option<u32>)>> {
    let mut control = cmsg_space!(TimeSpec, u32);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = match recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)
    {
        Ok(message) => message,
        Err(Errno::EAGAIN) => return Ok(None),
        Err(Errno::EINTR) => return Ok(Some((None, None))),
        Err(errno) => return Err(errno).doing("reading a packet socket"),
    };
    let (mut at, mut drops) = (None, None);
    for item in message.cmsgs().doing("reading a frame's timestamp")? {
        match item {
            ControlMessageOwned::ScmTimestampns(time) => at = Some(Duration::from(time)),
            ControlMessageOwned::RxqOvfl(count) => drops = Some(count),
            _ => {}
        }
    }
    let (length, address) = (message.bytes, message.address);
    let frame = match (address, at) {
        (Some(address), Some(at)) if address.ifindex() == index => {
            let direction = if address.pkttype() == PACKET_OUTGOING { Direction::Out } else { Direction::In };
            Some(Frame { at, direction, bytes: Arc::from(&buffer[..length]) })
        }
        (Some(_), Some(_)) => None,
        _ => {
            return Err(Error::Malformed {
                what: "a captured frame".to_owned(),
                why: "the kernel gave no timestamp or no address with it".to_owned(),
            });
        }
    };
    Ok(Some((frame, drops)))
}
