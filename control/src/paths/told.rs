//! Who tells paths, and what was told of one prefix.

use super::HopList;
use crate::api::route::Source;

/// Who tells paths. Of what several tell of one prefix, that of the first in the order of the variants holds, as with
/// routes: what an operator says now outranks what the file said before. A source changes single paths, or says all of
/// its paths anew ([`super::PathTable::replacement`]); neither touches what others said.
///
/// A source tells as many hops as all packets to the prefix pass: where equal-cost ways part, the list ends with the
/// last router that they share, because a node behind it may be bypassed. It names each router by whichever address it
/// knows; the addresses and aliases of peers tell which of them are one node. It need not know who is equipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathSource {
    /// Clients of the control socket.
    Socket,
    /// The configuration file.
    Config,
}

impl PathSource {
    /// All of them, the one with the highest precedence first.
    pub const ALL: [PathSource; 2] = [PathSource::Socket, PathSource::Config];

    /// What clients call it.
    pub fn name(self) -> Source {
        match self {
            PathSource::Socket => Source::Socket,
            PathSource::Config => Source::Config,
        }
    }
}

/// All that was told of one prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldPaths {
    /// By source, in the order of [`PathSource::ALL`].
    by_source: [Option<HopList>; PathSource::ALL.len()],
    /// The configured path was deleted over the control socket: it stays away until a restart.
    config_hidden: bool,
}

impl ToldPaths {
    /// The path that holds, and who told it.
    pub fn best(&self) -> Option<(&HopList, PathSource)> {
        PathSource::ALL.into_iter().find_map(|source| {
            let hidden = self.config_hidden && source == PathSource::Config;
            Some((self.of(source).filter(|_| !hidden)?, source))
        })
    }

    /// What a source told.
    pub fn of(&self, source: PathSource) -> Option<&HopList> {
        self.by_source.get(source as usize)?.as_ref()
    }

    /// The same, but that a source now tells this.
    pub fn with(mut self, source: PathSource, hops: Option<HopList>) -> ToldPaths {
        if let Some(told) = self.by_source.get_mut(source as usize) {
            *told = hops;
        }
        self
    }

    /// The same, after an operator deleted the path over the control socket.
    pub fn deleted(self) -> ToldPaths {
        let config_hidden = self.of(PathSource::Config).is_some();
        ToldPaths { config_hidden, ..self.with(PathSource::Socket, None) }
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        *self == ToldPaths::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hops(last: u8) -> Option<HopList> {
        HopList::new(&[[192, 0, 2, last].into()])
    }

    #[test]
    fn the_socket_comes_before_the_file() {
        let told = ToldPaths::default().with(PathSource::Config, hops(3));
        assert_eq!(told.best().map(|(_, source)| source), Some(PathSource::Config));
        let both = told.clone().with(PathSource::Socket, hops(2));
        assert_eq!(
            both.best().map(|(hops, source)| (hops.first(), source)),
            Some(([192, 0, 2, 2].into(), PathSource::Socket))
        );
        assert_eq!(both.with(PathSource::Socket, None), told);
    }

    #[test]
    fn a_configured_path_that_was_deleted_stays_away_and_can_be_told_anew() {
        let told = ToldPaths::default().with(PathSource::Config, hops(3)).with(PathSource::Socket, hops(2));
        let deleted = told.deleted();
        assert_eq!(deleted.best(), None);
        assert_eq!(deleted.clone().with(PathSource::Config, hops(4)).best(), None, "whatever the file says meanwhile");
        assert!(deleted.with(PathSource::Socket, hops(2)).best().is_some());
        assert!(ToldPaths::default().with(PathSource::Socket, hops(2)).deleted().is_empty());
    }
}
