//! What a router with nothing to do costs, and how soon it is there when something comes.

use std::{
    net::{SocketAddrV4, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use crate::{
    capture::{Capture, Direction},
    compare::{Routers, compare},
    delay::{Delay, Delays},
    error::{Doing, Error, Result},
    frame::{Flow, Observation, observe},
    lab::Lab,
    network::{Pair, SERVERS},
};

/// So far apart are packets that the worker blocks before each.
const APART: Duration = Duration::from_millis(10);
const PORT: u16 = 40_100;
/// How long a recording may take to show what was sent.
const PATIENCE: Duration = Duration::from_secs(5);

/// The part of a core that each of two routers uses in this time, hellos and all.
pub fn shares(pair: &Pair, time: Duration) -> Result<[f64; 2]> {
    let used = || Ok::<_, Error>([pair.a.processor_time()?, pair.b.processor_time()?]);
    let (begin, before) = (Instant::now(), used()?);
    // What is measured is this very time.
    thread::sleep(time);
    let (elapsed, after) = (begin.elapsed(), used()?);
    let share = |at: usize| (after[at] - before[at]).as_secs_f64() / elapsed.as_secs_f64();
    Ok([share(0), share(1)])
}

/// Packets from one server to the other by way of A, each of which finds the router blocked.
pub struct WakeUps {
    sender: UdpSocket,
    _receiver: UdpSocket,
    leaving: Capture,
    arriving: Capture,
    sent: usize,
}

impl WakeUps {
    /// Begins to record both ends.
    pub fn new(lab: &Lab) -> Result<Self> {
        let [(from, source), (to, destination)] = SERVERS;
        let socket = |name, address| {
            let bound = lab.namespace(name)?.enter(move || UdpSocket::bind(SocketAddrV4::new(address, PORT)))?;
            bound.doing(format!("binding a socket in {name}"))
        };
        Ok(Self {
            sender: socket(from, source)?,
            _receiver: socket(to, destination)?,
            leaving: Capture::start(lab.namespace(from)?, "A")?,
            arriving: Capture::start(lab.namespace(to)?, "A")?,
            sent: 0,
        })
    }

    /// Sends so many and returns how long they took from one server's interface to the other's.
    ///
    /// # Errors
    /// One did not arrive, or not as it was sent.
    pub fn round(&mut self, packets: usize) -> Result<Delay> {
        let before = self.sent;
        let [_, (_, destination)] = SERVERS;
        for _ in 0..packets {
            // The pace of the source, not a wait for an event.
            thread::sleep(APART);
            let data = self.sent.to_be_bytes();
            self.sender.send_to(&data, SocketAddrV4::new(destination, PORT)).doing("sending a packet")?;
            self.sent += 1;
        }
        let wanted = |flow: &Flow| flow.destination.port() == PORT;
        let of_round = |capture: &Capture, direction| {
            capture.wait_until(PATIENCE, |frames| observe(frames, direction, wanted).len() >= self.sent);
            let seen = observe(&capture.from(0), direction, wanted);
            seen.into_iter().skip(before).collect::<Vec<Observation>>()
        };
        let (left, came) = (of_round(&self.leaving, Direction::Out), of_round(&self.arriving, Direction::In));
        let result = compare(&left, &came, Routers::All(1));
        let delay = Delays::of(&result.passages).summary().filter(|_| result.perfect());
        delay.ok_or_else(|| Error::Malformed { what: "what arrived".to_owned(), why: result.to_string() })
    }
}
