//! The carpool dataplane: all that runs on a worker core, and what it reads.
//!
//! Start with [`worker`]: it is the life of a packet, from top to bottom. It calls [`packet`] (header views),
//! [`fib`] (where does it go), [`pool`] (who shares its ride) and [`dpdk`] (the port and its memory). Nothing here
//! takes a lock, allocates from the heap, logs or makes a system call for a packet.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
pub mod arch;
#[allow(unsafe_code)]
pub mod dpdk;
#[allow(unsafe_code)]
pub mod fib;
pub mod packet;
pub mod pool;
pub mod worker;
