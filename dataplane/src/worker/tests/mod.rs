//! Whole routers on wires in memory, stepped through by hand: real mbufs, no NIC, no root, and time as an argument.

mod any_traffic;
mod any_traffic_case;
mod congestion;
mod ecn;
mod forwarding;
mod handover;
mod hostile;
mod indexes;
mod ipv6;
mod lab;
mod lab6;
mod learned;
mod legs6;
mod multicast;
mod neighbours6;
mod nodes;
mod overlay;
mod pooling;
mod pooling6;
mod regressions;
mod simplemux;
mod team;
mod transit;
mod two_routers;
mod vectors;
mod workers;
