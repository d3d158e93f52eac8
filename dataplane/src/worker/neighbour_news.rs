//! What neighbours say of themselves, on its way to the control thread: not more of it than that can look at.

use crate::arch::{RateLimit, Tick, TickRate};
use crate::dpdk::Nic;

use super::counters::Counter;
use super::drop::Drop;
use super::event::Event;
use super::icmp_error::icmp_limit;
use super::stages::Stages;

/// How often the control thread is told. Any host on a link can ask for us as often as it likes, and in the name of others:
/// that does not use up what those have who answer us.
pub(super) struct NewsLimits {
    questions: RateLimit,
    answers: RateLimit,
}

/// How a neighbour came to say something of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It asked for one of our addresses, or announced its own unasked.
    Question,
    /// It answered.
    Answer,
}

impl NewsLimits {
    /// Each as many a second as there are ICMP errors.
    pub fn new(rate: TickRate) -> NewsLimits {
        NewsLimits { questions: icmp_limit(rate), answers: icmp_limit(rate) }
    }
}

impl<N: Nic> Stages<N> {
    /// Tells the control thread what a neighbour said.
    ///
    /// # Errors
    /// Why a packet is to be dropped that was of no other use.
    pub(super) fn tell_news(&mut self, kind: News, news: Event, now: Tick) -> Result<(), Drop> {
        let limit = match kind {
            News::Question => &mut self.news_limits.questions,
            News::Answer => &mut self.news_limits.answers,
        };
        if !limit.admits(now) {
            self.out.counters.add(Counter::EventsLimited, 1);
            return Err(Drop::NeighbourLimited);
        }
        if self.out.tell(news) { Ok(()) } else { Err(Drop::ControlRingFull) }
    }
}
