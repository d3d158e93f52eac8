//! Pooling: who shares a ride, how a pooled packet is formed, and how its passengers get out again.

mod company;
mod compiled_match;
mod flow_hash;
mod flow_look;
mod flow_order;
mod header_template;
pub mod hello;
pub mod index_queue;
mod index_writer;
mod layout;
pub mod learned;
mod open_pools;
pub mod packet_depooler;
mod packet_pooler;
mod pair_order;
pub mod path;
mod plain6_burst;
mod plain_burst;
mod pool_buffer;
pub mod pooled_packet_detector;
mod pooler_counters;
pub mod provisioned;
pub mod readdress;
mod reporting;
mod representation;
mod ride;
mod rtp;
mod rule;
mod rule_bits;
mod rule_table;
pub mod sequence;
mod shortcut;
pub mod simplemux;
mod stream_detector;
pub mod transit;
mod window;
pub mod wire;

pub use compiled_match::class_word;
pub use flow_hash::FlowSeed;
pub use flow_look::FlowLook;
pub use open_pools::PoolKey;
pub use packet_pooler::{Crowd, MAX_BUCKETS, OpenPool, PacketPooler, PoolSink, PoolerLimits, Queue, Staged};
pub use plain_burst::{BURST, Look, PlainBurst, PlainLooks, START};
pub use plain6_burst::{Plain6, look_at_plain6};
pub use pooler_counters::{DELAY_HISTOGRAM, FlushCounter, FlushReason, PoolerCounters, ROWS_HISTOGRAM, Unstaged};
pub use representation::{Format, Index, Lone, PoolLayout, Representation};
pub use ride::{LoneRide, PeerPath, Ride};
pub use rule::{Dscp, Match, Rule, RuleIndex, RuleSet, RuleSetError};
pub use shortcut::{Question, Way};
pub use stream_detector::{Addresses, Detected, Ordinary, StreamFields, detect};
pub use window::MAX_WINDOWS;

#[cfg(test)]
mod pooler_tests;
#[cfg(test)]
mod rule_tests;
#[cfg(test)]
mod transit_tests;
#[cfg(test)]
pub(crate) mod vectors;
