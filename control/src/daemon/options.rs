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
    /// The control socket, instead of the configured one
    #[arg(long, value_name = "PATH", env = SOCKET_VARIABLE)]
    pub socket: Option<PathBuf>,
    /// Check the configuration, say what is wrong with it, and exit
    #[arg(long)]
    pub check: bool,
    /// Log more; twice: everything. RUST_LOG has the last word
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
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
