//! A new configuration: the difference to the old one is applied, all of it or nothing.
//!
//! Routes, paths, multicast and overlay routes, peers, templates, streams, rules and neighbours change while packets
//! flow. Ports, cores, memory, the router's own addresses, the pool port and the socket are what the process was built
//! around: a file that changes them is refused whole. What clients changed over the socket stays.

use std::time::Instant;

use carpool_dataplane::fib::PortIndex;
use hashbrown::HashMap;
use ipnet::IpNet;
use log::info;

use super::{ChangeError, Router};
use crate::config::{self, Config, ConfigErrors};
use crate::forwarding::Change;
use crate::paths::PathSource;
use crate::peers::ToldPeersError;
use crate::rib::Routes;
use crate::rules::RulesError;
use crate::streams::StreamsError;
use crate::templates::TemplatesError;

/// Why a new configuration is not in force. The old one is.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("{0}")]
    Read(std::io::Error),
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    #[error("{0} cannot be changed while the router runs: restart it for that")]
    NeedsRestart(String),
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error("with those that came over the control socket: {0}")]
    Peers(#[from] ToldPeersError),
    #[error("with those that came over the control socket: {0}")]
    Templates(#[from] TemplatesError),
    #[error("with those that came over the control socket: {0}")]
    Streams(#[from] StreamsError),
    #[error("with those that came over the control socket, more than {0} [[neighbor]] tables would be in force")]
    Neighbors(usize),
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl Router {
    /// Reads the configuration file again and applies what has changed.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn reload(&mut self, now: Instant) -> Result<(), ReloadError> {
        let text = std::fs::read_to_string(&self.config_path).map_err(ReloadError::Read)?;
        let config = config::parse(&text, &self.config_path.to_string_lossy())?;
        self.apply(config, now)
    }

    /// Applies the difference to another configuration.
    pub(super) fn apply(&mut self, config: Config, now: Instant) -> Result<(), ReloadError> {
        if let Some(what) = needs_restart(&self.config, &config) {
            return Err(ReloadError::NeedsRestart(what));
        }
        let rules = self.rules.reloaded(config.rules.clone())?;
        let templates = self.templates.reloaded(&config.templates)?;
        let set = rules.compile(self.rate, &templates.compile())?;
        let told_peers = self.told_peers.reloaded(config.peers.clone())?;
        let streams = self.streams.reloaded(config.streams.clone())?;
        self.check_neighbors(&config)?;
        let routes = self.route_differences(&config);
        info!("configuration: {} routes change", routes.len());

        let peers_before = self.peers.clone();
        let config_before = std::mem::replace(&mut self.config, config);
        let told_before = std::mem::replace(&mut self.told_peers, told_peers);
        self.config.peers = self.told_peers.in_force().cloned().collect();
        self.peers.configure(self.config.peers.iter().cloned(), now);
        let streams_before = std::mem::take(&mut self.streams);
        self.provision(streams);
        let paths = self.config.paths.iter().map(|path| (path.prefix, path.hops.clone()));
        let paths = self.forwarding.paths().replacement(PathSource::Config, paths);
        if let Err(error) = self.change(Change { routes, paths, needs_gateways: false }, now) {
            self.peers = peers_before.restore(&self.peers, now);
            self.told_peers = told_before;
            self.config = config_before;
            self.provision(streams_before);
            self.publish(true, now);
            return Err(error.into());
        }
        // Nothing can fail from here on: there is room for the neighbours.
        self.reload_neighbors(&config_before, now);
        self.configure_legs();
        self.peers.take_changes(now);
        self.templates = templates;
        self.publish_rules(rules, set, now);
        Ok(())
    }

    /// The prefixes of which the file says something else than before.
    fn route_differences(&self, config: &Config) -> Vec<(IpNet, Routes)> {
        let mut targets: HashMap<_, _> = self.config.routes.iter().map(|route| (route.prefix, None)).collect();
        targets.extend(config.route_targets().map(|(prefix, target)| (prefix, Some(target))));
        let told = targets.into_iter().map(|(prefix, config)| (prefix, config, self.forwarding.rib().get(prefix)));
        let changed = told.filter(|(_, config, before)| before.config != *config);
        changed.map(|(prefix, config, before)| (prefix, Routes { config, ..before })).collect()
    }

    /// Refuses more neighbours of the file than there is room for beside those of clients.
    fn check_neighbors(&self, config: &Config) -> Result<(), ReloadError> {
        let of_socket = self.socket_neighbors.iter().filter(|key| self.neighbors.is_static(**key)).count();
        let keys = config.neighbors.iter().map(|neighbor| (PortIndex(neighbor.port), neighbor.address));
        let of_file = keys.filter(|key| !self.socket_neighbors.contains(key)).count();
        let limit = self.neighbors.limit();
        if of_socket + of_file > limit { Err(ReloadError::Neighbors(limit)) } else { Ok(()) }
    }

    fn reload_neighbors(&mut self, before: &Config, now: Instant) {
        let key = |neighbor: &config::Neighbor| (PortIndex(neighbor.port), neighbor.address);
        for old in before.neighbors.iter().filter(|old| !self.config.neighbors.contains(old)) {
            if !self.socket_neighbors.contains(&key(old)) {
                self.neighbors.forget(key(old));
            }
        }
        for new in self.config.neighbors.clone().iter().filter(|new| !before.neighbors.contains(new)) {
            self.set_configured_neighbor(*new, now);
        }
    }
}

/// The key that is not as it was and cannot be changed, if there is one.
fn needs_restart(old: &Config, new: &Config) -> Option<String> {
    if old.router_id != new.router_id {
        return Some("router.id".into());
    }
    if old.addresses != new.addresses {
        return Some("router.address".into());
    }
    if old.dataplane != new.dataplane {
        let (old, new) = (&old.dataplane, &new.dataplane);
        let keys = [
            ("cores", old.cores != new.cores),
            ("control_cores", old.control_cores != new.control_cores),
            ("idle", old.idle != new.idle),
            ("memory", old.memory != new.memory),
            ("memory_mb", old.memory_mb != new.memory_mb),
            ("mbufs", old.mbufs != new.mbufs),
            ("pool_on", old.pool_on != new.pool_on),
            ("buckets", old.buckets != new.buckets),
        ];
        return keys.iter().find(|(_, differs)| *differs).map(|(key, _)| format!("dataplane.{key}"));
    }
    // The source ports of all workers' pooled packets begin there: ids of learned headers that one has announced would come
    // from another.
    if old.pool_port != new.pool_port {
        return Some("pool.port".into());
    }
    if old.socket != new.socket {
        return Some("control.socket".into());
    }
    if old.ports.len() != new.ports.len() {
        return Some("the number of [[port]] tables".into());
    }
    let (_, port) = old.ports.iter().zip(&new.ports).find(|(old, new)| old != new)?;
    Some(format!("[[port]] {:?}", port.name))
}
