//! The life of a packet on one core.
//!
//! [`Worker::iterate`] is that life from top to bottom; each stage is a file of its own: `ethernet_input` and
//! `arp_input`, `short_way` and `mixed_burst` for packets that need nothing more, `ip_input`, then `local_input`,
//! `depool_input`, `index_input` and `simplemux_input` for what is ours, `forward`, `transit_input`, `pooling` and `fragment` for what goes on, `multicast_input`, `overlay_input` and `legs` for
//! what goes several ways, `output` and `neighbour_queue` for the way out. IPv6 packets have the same life: where
//! a stage does something else with them, there is one beside it with a 6 in its name, and `nd_input` is to them what
//! `arp_input` is. `handover` is between workers, where each path has one that owns its pools. What workers share with the
//! control thread is in `router_state` (published), `event` (rings) and
//! `counters`; `stopwatch` measures what the stages take, when asked.

mod arp_input;
mod control_input;
mod counters;
mod depool_input;
mod drop;
mod ethernet_input;
mod event;
mod forward;
mod forward6;
mod fragment;
mod handover;
mod hop_cache;
mod icmp6_error;
mod icmp_error;
mod index_input;
mod ip6_input;
mod ip_input;
mod iteration;
mod leg_header;
mod leg_table;
mod legs;
mod local6_input;
mod local_input;
mod mixed_burst;
mod moment;
mod multicast_input;
mod nd_input;
mod neighbour_news;
mod neighbour_queue;
mod origin;
mod output;
mod overlay_input;
mod peer_traffic;
mod plain_rows;
mod pooling;
mod reentry;
mod reporting;
mod router_state;
mod run;
mod shared;
mod short_way;
mod short_way6;
mod simplemux_input;
mod stages;
mod stopwatch;
mod transit_input;

pub use counters::{Counter, Counters, SharedCounters, Timed};
pub use drop::Drop;
pub use event::{CONTROL_BYTES, Event, HELLO_BYTES, HeardHello, Inject, InjectTarget, OpenPoolSample, UnknownThere};
pub use handover::Handover;
pub use iteration::{Idle, Worker, WorkerOptions};
pub use leg_table::{Ingress, Leg, LegRoute, LegTable, MAX_LEGS, PeerLeg};
pub use peer_traffic::PeerReceived;
pub use router_state::{Peer, PeerTable, PortAddress, PortAddress6, PortState, RouterState};
pub use shared::{Bell, WorkerShared};
pub use stages::MAX_PEERS;
pub use stopwatch::Stage;

#[cfg(test)]
mod tests;
