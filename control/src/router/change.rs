//! Changes to routes and paths: worked out, published, waited for and written, or refused. Who asks for one gets the reason,
//! and the log and a counter tell of those that were refused for want of room or because a worker stands still.

use std::time::Instant;

use log::warn;

use super::{Router, Stalled};
use crate::forwarding::{Change, Committed, ForwardingError};

/// Why a change was not made. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Forwarding(#[from] ForwardingError),
    #[error(transparent)]
    Stalled(#[from] Stalled),
}

impl ChangeError {
    /// Whether it was refused for what it asks. Else there is no room, or a worker stands still.
    fn is_of_what_was_asked(&self) -> bool {
        matches!(self, ChangeError::Forwarding(ForwardingError::Gateway { .. } | ForwardingError::NoRouter { .. }))
    }
}

impl Router {
    /// Frees what every worker has passed by, and notes whether anything still waits for that.
    pub(super) fn reclaim(&mut self) {
        let forwarding_waits = self.forwarding.reclaim(&mut self.neighbors);
        self.unreclaimed = self.publication.reclaim() > 0 || forwarding_waits;
    }

    /// Makes a change to routes or paths, or nothing of it.
    pub(super) fn change(&mut self, change: Change, now: Instant) -> Result<Committed, ChangeError> {
        let changed = self.try_change(change, now);
        self.reclaim();
        if let Err(error) = &changed
            && !error.is_of_what_was_asked()
            && let Some(line) = self.refused_changes.add(error, now)
        {
            warn!("{line}");
        }
        changed
    }

    fn try_change(&mut self, change: Change, now: Instant) -> Result<Committed, ChangeError> {
        let heartbeat = self.heartbeat(now);
        let mut beat = || heartbeat.beat(&mut self.peers, &self.workers, Instant::now());
        let prepared = self.forwarding.prepare(change, &mut self.neighbors, &mut beat)?;
        if prepared.new_entries {
            let epoch = self.publish(false, now);
            if let Err(stalled) = self.publication.wait(epoch) {
                self.forwarding.abort(prepared, &mut self.neighbors);
                return Err(stalled.into());
            }
            self.forwarding.entries_are_known();
        }
        let mut beat = || heartbeat.beat(&mut self.peers, &self.workers, Instant::now());
        let committed = self.forwarding.commit(prepared, &mut self.neighbors, &mut beat);
        self.publish(committed.is_ok_and(|committed| committed.pooled), now);
        Ok(committed?)
    }
}
