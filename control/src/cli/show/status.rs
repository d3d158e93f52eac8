//! What is running.

use super::{megabytes, short_time, show};
use crate::api::status::{Status, Version};

show!(Version, |version| {
    let client = env!("CARGO_PKG_VERSION");
    format!("carpool {client}\nrouter  {}\nDPDK    {}\n", version.version, version.dpdk)
});

show!(Status, |status| {
    let cores: Vec<String> = status.cores.iter().map(u32::to_string).collect();
    format!(
        "carpoold {}, process {}, up for {}\n  config     {}\n  workers    {} on cores {}, idle {}\n  \
         routes     {}\n  neighbors  {}\n  rules      {}\n  peers      {} of {} up\n  \
         fib        {} prefixes, {} in use, {} waiting for workers\n  refused    {} changes\n",
        status.version,
        status.pid,
        short_time(status.uptime_ms),
        status.config,
        status.cores.len(),
        cores.join(", "),
        status.idle,
        status.routes,
        status.neighbors,
        status.rules,
        status.peers_up,
        status.peers,
        status.fib.prefixes,
        megabytes(status.fib.used_bytes),
        megabytes(status.fib.retired_bytes),
        status.refused_changes,
    )
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::Fib;
    use crate::cli::show::Show;

    #[test]
    fn the_status_fits_on_a_screen() {
        let status = Status {
            version: "0.1.0".to_owned(),
            pid: 7,
            uptime_ms: 3_700_000,
            config: "/etc/carpool/carpool.toml".to_owned(),
            cores: vec![2, 3],
            idle: "adaptive".to_owned(),
            routes: 10,
            neighbors: 3,
            rules: 1,
            peers_up: 1,
            peers: 2,
            fib: Fib { prefixes: 927_354, used_bytes: 8_449_999, retired_bytes: 1_250_000 },
            refused_changes: 4,
        };
        assert_eq!(
            status.text(),
            "\
carpoold 0.1.0, process 7, up for 1 h
  config     /etc/carpool/carpool.toml
  workers    2 on cores 2, 3, idle adaptive
  routes     10
  neighbors  3
  rules      1
  peers      1 of 2 up
  fib        927354 prefixes, 8.4 MB in use, 1.2 MB waiting for workers
  refused    4 changes
"
        );
    }
}
