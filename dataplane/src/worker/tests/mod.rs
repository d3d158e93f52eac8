//! Whole routers on wires in memory, stepped through by hand: real mbufs, no NIC, no root, and time as an argument.

mod forwarding;
mod hostile;
mod lab;
mod pooling;
mod regressions;
mod simplemux;
