//! What configurations are read as, and what is said of those that are wrong. Here are the least one, one with all tables, and
//! how tests ask what is wrong with a text.

mod document;
mod families;
mod hostile;
mod legs;
mod peers_and_paths;
mod ports_and_routes;
mod rules;
mod streams;

use std::net::IpAddr;

use ipnet::IpNet;

use super::parse;

/// A configuration with every table in it.
const WHOLE: &str = r#"
[router]
id = "198.51.100.1"
address = ["198.51.100.1"]

[dataplane]
cores = [2, 3]
control_cores = [0]
idle = "spin"
memory = "no-huge"
memory_mb = 256
mbufs = 16384
pool_on = "owner"
buckets = 4

[control]
socket = "/tmp/carpool.sock"

[[port]]
name = "p0"
device = "0000:3b:00.0"
address = ["192.0.2.1/24"]

[[port]]
name = "p1"
device = "net_af_packet0,iface=veth0"
address = ["10.0.0.1/30", "10.1.0.1/31"]
mtu = 9000
rx_descriptors = 512
tx_descriptors = 2048

[[neighbor]]
address = "10.0.0.2"
mac = "02:00:00:00:00:02"
port = "p1"

[[route]]
prefix = "203.0.113.0/24"
via = "192.0.2.2"

[[route]]
prefix = "10.9.0.0/16"
blackhole = true

[[route]]
prefix = "10.8.0.0/16"
unreachable = true

[[peer]]
name = "east"
address = "198.51.100.7"
alias = ["198.51.100.8", "203.0.113.1"]
source = "192.0.2.1"
mtu = 1400
probe_mtu = false
hello_interval = "50ms"

[[peer]]
name = "west"
address = "10.0.0.2"
assume = true
format = "simplemux-fast"

[pool]
port = 7666

[[path]]
prefix = "203.0.113.0/24"
hops = ["192.0.2.2", "198.51.100.7"]

[[rule]]
name = "voice"
match = { protocol = "udp", ports = "16384-32767", from = "10.0.0.0/8", to = "203.0.113.0/24", dscp = "ef" }
max_size = "300B"
window = "2ms"
max_count = 5
required_count = 3
hold = "30ms"
shared_hops = 3
path_mtu = 1200
lone = "pooled"

[[rule]]
name = "rest"
match = { protocol = 6, source_ports = "5060", dscp = 46 }
window = "500µs"
adaptive = true
required_count = 2
shared_hops = "path"

[[rule]]
name = "never"
match = {}
pool = false
"#;

/// The least that is a configuration, 5 lines of it.
const LEAST: &str = r#"
[[port]]
name = "p0"
device = "net_null0"
address = ["192.0.2.1/24"]
"#;

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// What is wrong with the least configuration and `more` behind it. The first line of `more` is line 6.
fn wrong(more: &str) -> String {
    wrong_with(&format!("{LEAST}{more}"))
}

fn wrong_with(text: &str) -> String {
    parse(text, "c.toml").expect_err("something is wrong with it").to_string()
}

const BOTH: &str = r#"
[[port]]
name = "p0"
device = "net_null0"
address = ["192.0.2.1/24", "2001:db8::1/64"]
"#;
