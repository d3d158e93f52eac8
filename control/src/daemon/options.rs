//! carpoold's command line.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

use crate::api::SOCKET_VARIABLE;

/// A DPDK router that pools small stream packets. Runs in the foreground and logs to standard error.
#[derive(Clone, Debug, Parser)]
#[command(name = "carpoold", version)]
pub(super) struct Options {
    /// The configuration (docs/configuration.md)
    #[arg(long, value_name = "FILE", default_value = "/etc/carpool/carpool.toml")]
    pub config: PathBuf,
    /// The control socket, instead of the configured one [env: CARPOOL_SOCKET]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Check the configuration, say what is wrong with it, and exit
    #[arg(long)]
    pub check: bool,
    /// Log more; twice: everything. RUST_LOG has the last word
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

impl Options {
    /// The control socket that the command line or else the environment names. An empty variable names none.
    pub fn socket(&self) -> Option<PathBuf> {
        let variable = || std::env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        self.socket.clone().or_else(variable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }
}
