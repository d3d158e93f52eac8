//! Which routers packets pass on their way to which destinations, and what of it makes pools.
//!
//! Sources tell paths ([`PathSource`]); a [`PathTable`] keeps them by prefix, gives each different list of hops a number
//! that forwarding entries name, and knows which of several sources holds. [`Arrangement`] turns the lists into what
//! workers read: nodes by number, whom a pooled packet is addressed to, and which paths can share a pool. Nothing here
//! knows of routes: [`crate::forwarding`] finds out which destinations leave by their path's first hop.

mod arrangement;
mod hops;
mod table;
mod told;

pub use arrangement::{Arrangement, Node, Reached, keeps_pools};
pub use hops::{HopList, MAX_HOPS};
pub use table::{PathTable, PathsError, Way};
pub use told::{PathSource, ToldPaths};
