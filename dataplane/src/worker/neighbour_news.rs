//! What neighbours say of themselves, on its way to the control thread: not more of it than that can look at.

use std::net::IpAddr;

use crate::arch::{RateLimit, Tick, TickRate};
use crate::dpdk::Nic;
use crate::fib::{Neighbour, PortIndex};

use super::counters::Counter;
use super::drop::Drop;
use super::event::Event;
use super::icmp_error::icmp_limit;
use super::stages::Stages;

/// How often the control thread is told. One host on a link can speak for as many as it likes: those that nobody knows do
/// not use up what those have that are known, or asked for.
pub(super) struct NewsLimits {
    known: RateLimit,
    strangers: RateLimit,
}

impl NewsLimits {
    /// Each as many a second as there are ICMP errors.
    pub fn new(rate: TickRate) -> NewsLimits {
        NewsLimits { known: icmp_limit(rate), strangers: icmp_limit(rate) }
    }

    fn admits(&mut self, is_known: bool, now: Tick) -> bool {
        if is_known { self.known.admits(now) } else { self.strangers.admits(now) }
    }
}

impl<N: Nic> Stages<N> {
    /// Tells the control thread what a neighbour said. `known`: the neighbour is in the table.
    ///
    /// # Errors
    /// Why a packet is to be dropped that was of no other use.
    pub(super) fn tell_news(
        &mut self,
        news: Event,
        (port, address): (PortIndex, IpAddr),
        known: Option<&Neighbour>,
        now: Tick,
    ) -> Result<(), Drop> {
        let is_known = known.is_some() || self.out.waiting.waits_for(port, address);
        if !self.news_limits.admits(is_known, now) {
            self.out.counters.add(Counter::EventsLimited, 1);
            return Err(Drop::NeighbourLimited);
        }
        if self.out.tell(news) { Ok(()) } else { Err(Drop::ControlRingFull) }
    }
}
