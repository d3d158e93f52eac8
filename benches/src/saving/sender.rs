//! The sender: frames from a file in memory, over and over, at a rate, by packet sockets (packet(7)).

use std::hint::spin_loop;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use carpool_tests::capture::link_address;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, bind, sendmmsg, setsockopt, socket, sockopt,
};

use super::spare_time::{Spare, SpareTime};
use crate::cpu;
use crate::error::BenchError;

/// Sockets that take turns: the kernel counts the memory of what was sent and not yet freed for each, and the CPUs that send
/// and free would else fight for one counter.
const SOCKETS: usize = 16;
/// Frames that are handed over at once, at most.
const BATCH: usize = 32;
/// Memory for frames on their way, of each socket, in bytes: more than the rings on the way hold.
const ROOM: usize = 8 << 20;
/// How often what is due is sent: as often as a card with moderated interrupts would tell of what it received.
const TICK: Duration = Duration::from_micros(50);

/// How many frames are offered.
#[derive(Clone, Copy, Debug)]
pub enum Offer {
    /// So many a second.
    PerSecond(f64),
    /// As many as the sender can.
    All,
}

/// What was offered, and in which time.
#[derive(Clone, Copy, Debug)]
pub struct Offered {
    pub frames: u64,
    /// Stream packets in them.
    pub stream_packets: u64,
    /// Bytes of these frames, without what the wire adds.
    pub bytes: u64,
    /// From the first frame to the last.
    pub time: Duration,
    /// Of this time, what the router's CPU had nothing to do.
    pub spare: Spare,
}

/// Offers frames by the interface of the namespace that the calling thread is in, for this long.
///
/// `frames` are frames and the stream packets in each; the sender runs on the CPU `core`, and `spare` is that of the router's. A frame that the link has no room for is lost, as on a wire whose far
/// end does not keep up.
pub fn offer(
    interface: &str,
    frames: &[(Vec<u8>, u16)],
    offer: Offer,
    duration: Duration,
    core: usize,
    spare: &SpareTime,
) -> Result<Offered, BenchError> {
    cpu::pin(core)?;
    let sockets = (0..SOCKETS).map(|_| open(interface)).collect::<Result<Vec<_>, _>>()?;
    let mut slices: Vec<[IoSlice<'_>; 1]> = frames.iter().map(|(frame, _)| [IoSlice::new(frame)]).collect();
    // A batch that begins near the end goes on with the first.
    slices.extend_from_within(..BATCH.min(frames.len()));
    let mut headers = MultiHeaders::<LinkAddr>::preallocate(BATCH, None);
    let (mut count, mut at) = (0_u64, 0);
    let mut credit = Credit::new(offer);
    let (started, spare_before) = (Instant::now(), spare.so_far());
    let mut turn = sockets.iter().cycle();
    loop {
        let elapsed = started.elapsed();
        if elapsed >= duration {
            break;
        }
        let batch = credit.at(elapsed).min(BATCH);
        let (true, Some(socket)) = (batch > 0, turn.next()) else {
            spin_loop();
            continue;
        };
        let taken = send(socket, &mut headers, &slices[at..at + batch])?;
        credit.spend(taken);
        count += taken as u64;
        at = (at + taken) % frames.len();
    }
    let (time, spare) = (started.elapsed(), spare.so_far().since(spare_before));
    let sum = |of: fn(&(Vec<u8>, u16)) -> u64| {
        let (rounds, rest) = (count / frames.len() as u64, (count % frames.len() as u64) as usize);
        rounds * frames.iter().map(of).sum::<u64>() + frames.iter().take(rest).map(of).sum::<u64>()
    };
    let (stream_packets, bytes) = (sum(|(_, rows)| (*rows).into()), sum(|(frame, _)| frame.len() as u64));
    Ok(Offered { frames: count, stream_packets, bytes, time, spare })
}

/// How many frames are due.
struct Credit {
    /// Frames in a tick; None: any number.
    each: Option<f64>,
    ticks: u128,
    frames: f64,
}

impl Credit {
    fn new(offer: Offer) -> Credit {
        let each = match offer {
            Offer::All => None,
            Offer::PerSecond(rate) => Some(rate * TICK.as_secs_f64()),
        };
        Credit { each, ticks: 0, frames: 0.0 }
    }

    /// Whole frames that are due so long after the start. Of ticks that were missed only the last counts: to make up for all of
    /// them in one burst would overrun the router, at whatever rate.
    fn at(&mut self, elapsed: Duration) -> usize {
        let Some(each) = self.each else { return usize::MAX };
        let ticks = elapsed.as_nanos() / TICK.as_nanos();
        let fresh = (ticks - self.ticks).min(2) as f64 * each;
        self.ticks = ticks;
        // What is left of a frame counts for the next.
        self.frames = (self.frames + fresh).min(2.0 * each + 1.0);
        self.frames as usize
    }

    fn spend(&mut self, frames: usize) {
        self.frames -= frames as f64;
    }
}

/// Sends these frames and returns how many of them are done with: those that left, and one that was lost.
fn send<'f>(
    socket: &OwnedFd,
    headers: &mut MultiHeaders<LinkAddr>,
    frames: &'f [[IoSlice<'f>; 1]],
) -> Result<usize, BenchError> {
    let addresses = [None; BATCH];
    match sendmmsg(socket.as_raw_fd(), headers, frames, addresses, [], MsgFlags::MSG_DONTWAIT) {
        // The call ended early where a frame was lost, and tells of it only if that was the first one.
        Ok(sent) => Ok((sent.count() + 1).min(frames.len())),
        Err(Errno::ENOBUFS | Errno::EAGAIN) => Ok(1),
        Err(Errno::EINTR) => Ok(0),
        Err(errno) => Err(BenchError::System(format!("the sender's frames cannot be sent: {errno}"))),
    }
}

/// A socket that sends whole frames by this interface, and receives none.
fn open(interface: &str) -> Result<OwnedFd, BenchError> {
    let failed = |errno: Errno| BenchError::System(format!("a packet socket on {interface} cannot be had: {errno}"));
    let address = link_address(interface).map_err(|error| BenchError::System(error.to_string()))?;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
    setsockopt(&socket, sockopt::SndBufForce, &ROOM).map_err(failed)?;
    bind(socket.as_raw_fd(), &address).map_err(failed)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_a_rate_as_many_frames_are_due_as_it_says_and_missed_ticks_are_not_made_up_for() {
        let mut credit = Credit::new(Offer::PerSecond(30_000.0));
        let mut sent = 0;
        for tick in 1..=1000 {
            let due = credit.at(TICK * tick);
            assert!(due <= 2, "{due}");
            credit.spend(due);
            sent += due;
        }
        // 50 ms.
        assert!((1499..=1500).contains(&sent), "{sent}");
        assert_eq!(credit.at(TICK * 1000), 0);
        assert!((3..=4).contains(&credit.at(TICK * 2000)), "two ticks, and not a thousand");
    }
}
