//! Reports (kind 6): what peers do not know of our learned headers, and what we do not know of theirs.

use crate::dpdk::Nic;
use crate::fib::PeerIndex;
use crate::pool::learned::{IdSpace, instance_towards};
use crate::pool::wire::report::{Report, ReportItem};

use super::counters::Counter;
use super::event::Event;
use super::moment::Moment;
use super::router_state::Peer;
use super::stages::Stages;

impl<N: Nic> Stages<N> {
    /// Sees to it that what `reporter` does not know is announced anew.
    pub(super) fn heed(&mut self, report: &Report<'_>, reporter: PeerIndex, moment: &Moment<'_>) {
        let Some(reporter) = moment.state.peers.get(reporter) else { return };
        let own = self.pooler.limits().instance;
        let is_meant = |peer: &Peer, instance| instance_towards(own, peer.path.addressee) == instance;
        for item in report.items() {
            match item {
                ReportItem::UnknownContexts { instance, source_port, contexts } => {
                    // One that has several addresses reports from one of them. Where nobody is meant, an earlier run of this
                    // router announced those.
                    let by_instance = || moment.state.peers.iter().find(|peer| is_meant(peer, instance));
                    let meant = Some(reporter).filter(|peer| is_meant(peer, instance)).or_else(by_instance);
                    let Some(meant) = meant else { continue };
                    let space = IdSpace { addressee: meant.path.addressee, source_port };
                    for context in contexts.iter().map(|context| u16::from_be_bytes(*context)) {
                        if !self.pooler.compressor().unknown_there(space, context) {
                            // A full ring: it will be reported again.
                            self.out.tell(Event::UnknownContext { space, context });
                        }
                    }
                }
                ReportItem::Other => {}
            }
        }
    }

    /// Tells a peer which of its contexts are not known here, if it is time; returns how many reports were sent.
    #[inline(always)]
    pub(super) fn report_unknown(&mut self, moment: &Moment<'_>) -> usize {
        match self.decompressor.unknown().take(moment.now) {
            None => 0,
            Some((origin, contexts)) => {
                let Some(peer) = moment.state.peers.get(PeerIndex(origin.peer)) else { return 0 };
                let Some(report) = self.pooler.report(&peer.path, origin, &contexts, &mut self.mempool) else {
                    return 0;
                };
                self.out.counters.add(Counter::CreatedReports, 1);
                self.out.route(report, moment);
                1
            }
        }
    }
}
