//! What is known of one neighbour, and how that changes with time: the states of RFC 4861, 7.3.2, applied to ARP as well.
//!
//! A neighbour that was heard of is reachable for 30 s. One that is used after that is asked, directly at first, then by
//! broadcast, while packets still go to its old address; one that is not used is left alone, and forgotten in the end.

use std::time::{Duration, Instant};

/// Time between two requests (RFC 4861, 10: RETRANS_TIMER).
pub const RETRY: Duration = Duration::from_secs(1);
/// Requests of one kind before giving up (RFC 4861, 10: MAX_UNICAST_SOLICIT, MAX_MULTICAST_SOLICIT).
pub const ASKED: u8 = 3;
/// How long word from a neighbour counts (RFC 4861, 10: REACHABLE_TIME).
const REACHABLE: Duration = Duration::from_secs(30);
/// How often it is looked whether a stale neighbour is used.
const LOOK: Duration = Duration::from_secs(1);
/// How long a stale neighbour that is not used is remembered.
const STALE: Duration = Duration::from_secs(600);
/// How long it is shown that a neighbour did not answer.
const FAILED: Duration = Duration::from_secs(30);

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// An operator said where it is.
    Static,
    /// It is asked for, so many times so far, and was never heard of.
    Incomplete { asked: u8 },
    /// It was heard of lately.
    Reachable,
    /// It was not heard of for a while.
    Stale,
    /// It was not heard of for a while, is used, and is being asked, so many times so far.
    Probe { asked: u8 },
    /// It did not answer.
    Failed,
}

/// What a timer's end asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask the neighbour, at this Ethernet address or by broadcast.
    Ask(Option<[u8; 6]>),
    /// Forget it.
    Forget,
    /// Nothing.
    Nothing,
}

/// What a neighbour advertisement says (RFC 4861, 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// Where the neighbour is; None: where it was.
    pub mac: Option<[u8; 6]>,
    /// It is the answer to a question of ours.
    pub solicited: bool,
    /// It takes the place of what was known.
    pub overrides: bool,
}

/// A neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub mac: Option<[u8; 6]>,
    pub phase: Phase,
    /// When something has to happen.
    pub timer: Option<Instant>,
    /// When it was last heard of, or else first asked for.
    pub since: Instant,
    /// A packet went to it since it was last heard of, or wanted to since a round of requests for it began.
    pub used: bool,
}

impl Known {
    /// A neighbour that has just been asked for by broadcast.
    pub fn asked_for(now: Instant) -> Known {
        let phase = Phase::Incomplete { asked: 1 };
        Known { mac: None, phase, timer: Some(now + RETRY), since: now, used: false }
    }

    /// A neighbour that an operator told us of.
    pub fn told(mac: [u8; 6], now: Instant) -> Known {
        Known { mac: Some(mac), phase: Phase::Static, timer: None, since: now, used: false }
    }

    /// It was heard of. What an operator said holds all the same.
    pub fn heard(&mut self, mac: [u8; 6], now: Instant) {
        if self.phase != Phase::Static {
            let phase = Phase::Reachable;
            *self = Known { mac: Some(mac), phase, timer: Some(now + REACHABLE), since: now, used: false };
        }
    }

    /// It asked for us, and said where it is: that it hears us is not known from that (RFC 4861, 7.2.3).
    pub fn asked_us(&mut self, mac: [u8; 6], now: Instant) {
        if self.phase != Phase::Static && self.mac != Some(mac) {
            let phase = Phase::Stale;
            *self = Known { mac: Some(mac), phase, timer: Some(now + LOOK), since: now, used: false };
        }
    }

    /// An advertisement told of it (RFC 4861, 7.2.5).
    pub fn advertised(&mut self, said: Advertised, now: Instant) {
        let moves = said.mac.is_some() && said.mac != self.mac;
        match (self.phase, said.mac.or(self.mac)) {
            (Phase::Static, _) | (_, None) => {}
            (Phase::Reachable, _) if moves && !said.overrides => {
                (self.phase, self.timer) = (Phase::Stale, Some(now + LOOK));
            }
            (Phase::Stale | Phase::Probe { .. }, _) if moves && !said.overrides => {}
            (_, Some(mac)) if said.solicited => self.heard(mac, now),
            (_, Some(mac)) => self.asked_us(mac, now),
        }
    }

    /// Its timer has ended.
    pub fn timer_ended(&mut self, now: Instant) -> Step {
        let (phase, timer, step) = match self.phase {
            Phase::Static => (Phase::Static, None, Step::Nothing),
            Phase::Incomplete { asked } if asked < ASKED => {
                (Phase::Incomplete { asked: asked + 1 }, Some(now + RETRY), Step::Ask(None))
            }
            // A worker gives up before us and tells of the next packet once: that packet is worth a round of its own.
            Phase::Incomplete { .. } if self.used => {
                self.used = false;
                (Phase::Incomplete { asked: 1 }, Some(now + RETRY), Step::Ask(None))
            }
            Phase::Reachable | Phase::Stale if self.used => {
                (Phase::Probe { asked: 1 }, Some(now + RETRY), Step::Ask(self.mac))
            }
            Phase::Reachable => (Phase::Stale, Some(now + LOOK), Step::Nothing),
            Phase::Stale if now.saturating_duration_since(self.since) >= STALE => (Phase::Stale, None, Step::Forget),
            Phase::Stale => (Phase::Stale, Some(now + LOOK), Step::Nothing),
            Phase::Probe { asked } if asked < 2 * ASKED => {
                let to = self.mac.filter(|_| asked < ASKED);
                (Phase::Probe { asked: asked + 1 }, Some(now + RETRY), Step::Ask(to))
            }
            Phase::Incomplete { .. } | Phase::Probe { .. } => {
                self.mac = None;
                (Phase::Failed, Some(now + FAILED), Step::Nothing)
            }
            Phase::Failed => (Phase::Failed, None, Step::Forget),
        };
        (self.phase, self.timer) = (phase, timer);
        step
    }
}
