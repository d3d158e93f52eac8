//! Voice as it is: the G.711 call that Debian's sip-tester package records, replayed as many streams; and packets of the
//! size and pace of G.729.
//!
//! Each stream keeps the recording's own timing (about 30 ms a packet) and payload, starts at its own phase and is
//! continued when the recording ends, with its own SSRC and running sequence numbers and timestamps (RFC 3550), so no
//! two packets are alike. Packets leave at absolute deadlines: lateness of one does not move the next.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::BufReader,
    net::UdpSocket,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        socket::{setsockopt, sockopt},
        time::TimeSpec,
    },
    time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep},
};
use pcap_file::pcap::PcapReader;

use crate::{
    capture::{Direction, Frame},
    error::{Doing, Error, Result},
    frame::{Flow, Observation},
    namespace::Namespace,
};

/// Where Debian puts it.
pub const G711: &str = "/usr/share/sip-tester/g711a.pcap";
/// Expedited forwarding (RFC 3246), what phones mark voice with, as the whole former TOS byte.
const TOS_EF: u8 = 46 << 2;
const RTP_HEADER: usize = 12;

/// One direction of a recorded call.
#[derive(Clone, Debug)]
pub struct Recording {
    /// RTP packets (header included) and when each was sent, since the first.
    packets: Vec<(Duration, Vec<u8>)>,
    /// From the first packet to where its repetition starts.
    length: Duration,
    /// Ticks of the RTP clock for each byte of payload.
    ticks_per_byte: usize,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// The recorded call: 280 bytes of IP packet every 30 ms.
    #[default]
    G711,
    /// Packets as G.729 makes them: 20 bytes of payload, 60 of IP packet, every 20 ms (RFC 3551, 4.5.6).
    G729,
}

impl Recording {
    /// What a codec has to say.
    pub fn of(codec: Codec) -> Result<Self> {
        match codec {
            Codec::G711 => Self::load(Path::new(G711)),
            Codec::G729 => Ok(Self::g729()),
        }
    }

    /// Ten seconds of packets with the sizes and the timing of G.729 (no recording of one can be had): compressed speech
    /// looks like noise, so noise is what they carry.
    fn g729() -> Self {
        let gap = Duration::from_millis(20);
        let mut noise = 0x6361_7270_6f6f_6c21_u64;
        let mut packet = |nth: u32| {
            let mut packet = vec![0x80, 18];
            packet.extend((nth as u16).to_be_bytes());
            packet.extend((160 * nth).to_be_bytes());
            packet.extend([0; 4]);
            while packet.len() < RTP_HEADER + 20 {
                // Marsaglia's xorshift with shifts 13, 7 and 17.
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                packet.push(noise as u8);
            }
            (gap * nth, packet)
        };
        Self { packets: (0..500).map(&mut packet).collect(), length: gap * 500, ticks_per_byte: 8 }
    }

    fn load(path: &Path) -> Result<Self> {
        let malformed = |why: String| Error::Malformed { what: path.display().to_string(), why };
        let file = File::open(path).map_err(|_| Error::Missing {
            what: "the recorded call".to_owned(),
            path: path.display().to_string(),
            remedy: "scripts/setup installs sip-tester, which has it".to_owned(),
        })?;
        let mut reader = PcapReader::new(BufReader::new(file)).map_err(|error| malformed(error.to_string()))?;
        let mut packets: Vec<(Duration, Vec<u8>)> = Vec::new();
        let mut first = None;
        while let Some(packet) = reader.next_packet() {
            let packet = packet.map_err(|error| malformed(error.to_string()))?;
            let at = packet.timestamp;
            let frame = Frame { at, direction: Direction::In, bytes: Arc::from(packet.data.as_ref()) };
            let Some(observation) = Observation::of(&frame) else { continue };
            if observation.payload().len() > RTP_HEADER {
                let first = *first.get_or_insert(at);
                packets.push((at.saturating_sub(first), observation.payload().to_vec()));
            }
        }
        let (Some((last, _)), Ok(gaps)) = (packets.last(), u32::try_from(packets.len().saturating_sub(1))) else {
            return Err(malformed("it has no RTP packets".to_owned()));
        };
        // The repetition follows after one mean gap.
        let length = *last + last.checked_div(gaps).unwrap_or(Duration::from_millis(30));
        Ok(Self { packets, length, ticks_per_byte: 1 })
    }

    /// The nth packet of a stream (from 0), and when it is due since the stream began.
    fn packet(&self, nth: usize, ssrc: u32) -> (Duration, Vec<u8>) {
        let round = nth / self.packets.len();
        let (offset, recorded) = &self.packets[nth % self.packets.len()];
        let mut packet = recorded.clone();
        let number =
            |at: usize| u32::from_be_bytes([recorded[at], recorded[at + 1], recorded[at + 2], recorded[at + 3]]);
        let sequence = u16::from_be_bytes([recorded[2], recorded[3]]);
        // Both wrap by their nature (RFC 3550, section 5.1).
        let rounds_sequence = (round * self.packets.len()) as u16;
        let ticks: usize = self.packets.iter().map(|(_, packet)| packet.len() - RTP_HEADER).sum();
        let rounds_ticks = (round * ticks * self.ticks_per_byte) as u32;
        packet[2..4].copy_from_slice(&sequence.wrapping_add(rounds_sequence).to_be_bytes());
        packet[4..8].copy_from_slice(&number(4).wrapping_add(rounds_ticks).to_be_bytes());
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        let rounds = u32::try_from(round).unwrap_or(u32::MAX);
        (self.length * rounds + *offset, packet)
    }

    /// From one packet to the next, on average.
    pub fn mean_gap(&self) -> Duration {
        self.length / u32::try_from(self.packets.len()).unwrap_or(u32::MAX)
    }
}

/// Who speaks to whom, and how long after the others it begins.
#[derive(Clone, Debug)]
pub struct Stream {
    pub namespace: Namespace,
    pub flow: Flow,
    pub phase: Duration,
}

/// A thread that sends streams until their time is over or it is told to stop.
#[derive(Debug)]
pub struct Talk {
    stop: Arc<AtomicBool>,
    /// Nothing ever comes through it: its other end goes with the thread.
    over: Receiver<()>,
    thread: Option<JoinHandle<Result<Vec<usize>>>>,
}

impl Talk {
    /// Opens all sockets (a refused one fails here), then begins. Each stream sends what the recording has up to
    /// `duration` after its own beginning.
    pub fn start(recording: &Recording, streams: &[Stream], duration: Duration) -> Result<Self> {
        let sockets =
            streams.iter().map(|stream| stream.namespace.enter(|| open(stream.flow))?).collect::<Result<Vec<_>>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (until_the_end, over) = channel();
        let thread = {
            let (recording, streams, stop) = (recording.clone(), streams.to_vec(), Arc::clone(&stop));
            thread::spawn(move || {
                let _until_the_end = until_the_end;
                send(&recording, &streams, &sockets, duration, &stop)
            })
        };
        Ok(Self { stop, over, thread: Some(thread) })
    }

    /// Waits for the end, at most this long. Returns whether it is over.
    pub fn wait(&self, limit: Duration) -> bool {
        self.over.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }

    /// Stops after the packet that is due next.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for the end and says how many packets each stream sent.
    pub fn finish(mut self) -> Result<Vec<usize>> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(Error::Thread("the sender of streams panicked".to_owned())),
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            // An experiment that is given up does not ask what was sent.
            let _ = thread.join();
        }
    }
}

fn open(flow: Flow) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(flow.source).doing(format!("binding a UDP socket to {}", flow.source))?;
    setsockopt(&socket, sockopt::Ipv4Tos, &i32::from(TOS_EF)).doing("marking a socket for expedited forwarding")?;
    Ok(socket)
}

/// A socket that takes what a stream brings and never reads it: without one the kernel would answer every packet with
/// "port unreachable".
pub fn listen(namespace: &Namespace, flow: Flow) -> Result<UdpSocket> {
    namespace.enter(|| {
        let socket =
            UdpSocket::bind(flow.destination).doing(format!("binding a UDP socket to {}", flow.destination))?;
        setsockopt(&socket, sockopt::RcvBuf, &4096).doing("shrinking a buffer that is never read")?;
        Ok(socket)
    })?
}

fn send(
    recording: &Recording,
    streams: &[Stream],
    sockets: &[UdpSocket],
    duration: Duration,
    stop: &AtomicBool,
) -> Result<Vec<usize>> {
    // The kernel may delay a timer by 50 us to join it with others; a pacer cannot have that.
    prctl::set_timerslack(1).doing("asking for precise timers")?;
    let clock = ClockId::CLOCK_MONOTONIC;
    let begin = Duration::from(clock_gettime(clock).doing("reading the clock")?) + Duration::from_millis(5);
    let ssrc = |stream: usize| 0x6361_7200 + u32::try_from(stream).unwrap_or(0);
    // Which packet of which stream is due when, the earliest on top.
    let mut due: BinaryHeap<_> =
        streams.iter().enumerate().map(|(stream, settings)| Reverse((settings.phase, stream, 0))).collect();
    let mut sent = vec![0; streams.len()];
    while let Some(Reverse((at, stream, nth))) = due.pop() {
        let deadline = TimeSpec::from(begin + at);
        loop {
            match clock_nanosleep(clock, ClockNanosleepFlags::TIMER_ABSTIME, &deadline) {
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).doing("waiting for the time of the next packet"),
            }
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (_, packet) = recording.packet(nth, ssrc(stream));
        let flow = streams[stream].flow;
        sockets[stream].send_to(&packet, flow.destination).doing(format!("sending {flow}"))?;
        sent[stream] += 1;
        let (offset, _) = recording.packet(nth + 1, ssrc(stream));
        if offset < duration {
            due.push(Reverse((streams[stream].phase + offset, stream, nth + 1)));
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g729_is_sixty_bytes_every_twenty_milliseconds_and_runs_on_when_it_repeats() {
        let recording = Recording::of(Codec::G729).expect("it needs no file");
        let [(last, before), (first, after)] = [499, 500].map(|nth| recording.packet(nth, 7));
        assert_eq!((before.len(), first - last), (32, Duration::from_millis(20)), "60 bytes of IP packet");
        let timestamp = |packet: &[u8]| u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        assert_eq!(timestamp(&after), timestamp(&before).wrapping_add(160));
    }

    #[test]
    fn the_recorded_call_is_g711_at_thirty_milliseconds_and_goes_on_seamlessly_when_it_repeats() {
        let recording = Recording::load(Path::new(G711)).expect("sip-tester is installed (scripts/setup)");
        let count = recording.packets.len();
        assert_eq!(count, 236);
        assert!(recording.packets.iter().all(|(_, packet)| packet.len() == 252), "280 bytes of IP packet each");
        let gap = recording.mean_gap();
        assert!((29..=31).contains(&gap.as_millis()), "mean gap is {gap:?}");
        let sequence = |nth| {
            let (_, packet) = recording.packet(nth, 7);
            u16::from_be_bytes([packet[2], packet[3]])
        };
        assert_eq!(sequence(count), sequence(count - 1).wrapping_add(1), "sequence numbers run on");
        let (before, _) = recording.packet(count - 1, 7);
        let (after, packet) = recording.packet(count, 7);
        assert!((29..=31).contains(&(after - before).as_millis()), "timing runs on");
        assert_eq!(packet[8..12], 7_u32.to_be_bytes());
    }
}
