//! What every stage may read during one iteration: the time, the published state and the routes.

use std::net::IpAddr;

use crate::arch::Tick;
use crate::fib::{Adjacency, Entry, Lpm4, Lpm6, Section};

use super::router_state::RouterState;

/// One iteration's view of the world. It does not change while the iteration lasts, but for single routes.
#[derive(Clone, Copy)]
pub(super) struct Moment<'a> {
    /// When the iteration began.
    pub now: Tick,
    /// Proof that what is read here stays until the iteration ends.
    pub section: Section<'a>,
    /// What the control thread published last.
    pub state: &'a RouterState,
    /// The IPv4 routes.
    pub fib: &'a Lpm4,
    /// The IPv6 routes.
    pub fib6: &'a Lpm6,
}

/// Which state was published when: its epoch, and where it lies. No other has both the same while a worker is in a section, or
/// between two: one that is replaced is freed in a later epoch, and not before the worker enters that or goes offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Publication(u64, usize);

impl Publication {
    /// None: what a worker that goes offline knows of is to be taken for this afterwards.
    pub const NONE: Publication = Publication(0, 0);
}

impl Moment<'_> {
    /// Which state this is. The epoch alone does not say: a state is seen a little before its epoch begins.
    #[inline(always)]
    pub fn publication(&self) -> Publication {
        Publication(self.section.epoch(), std::ptr::from_ref::<RouterState>(self.state).addr())
    }

    /// Where a packet of our own making goes. Bursts of received packets are looked up together instead.
    #[inline]
    pub fn entry_for(&self, destination: impl Into<IpAddr>) -> Entry {
        self.state.entry(match destination.into() {
            IpAddr::V4(destination) => self.fib.lookup(self.section, destination),
            IpAddr::V6(destination) => self.fib6.lookup(self.section, destination),
        })
    }

    /// The largest packet that leaves towards `adjacency`, in bytes; None where nothing leaves.
    #[inline(always)]
    pub fn mtu(&self, adjacency: Adjacency) -> Option<u16> {
        match adjacency {
            Adjacency::Connected { port } | Adjacency::Via { port, .. } => self.state.port(port).map(|port| port.mtu),
            _ => None,
        }
    }
}
