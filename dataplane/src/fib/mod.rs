//! Where a packet goes: the longest-prefix-match table, the forwarding entries its leaves name, and how the control
//! thread changes both while workers read.
//!
//! One writer, any number of readers, no lock. A reader looks only inside a [`Section`], which it enters once per
//! iteration; what the writer has taken out of use is freed or used again only when every reader has entered a later
//! section or gone offline.

mod arena;
mod blocks;
mod error;
mod lpm4;
mod lpm6;
#[cfg(all(test, loom))]
mod models;
mod next_hop;
mod options;
mod publication;
mod stretch;
mod sync;
mod transaction;

pub use error::FibError;
pub use lpm4::{Lpm4, Lpm4Writer, lpm4, lpm4_with};
pub use lpm6::{Lpm6, Lpm6Writer, lpm6, lpm6_with};
pub use next_hop::{
    Adjacency, Entry, EntryId, Neighbour, NeighbourIndex, NeighbourTable, PathIndex, PeerIndex, PortIndex,
};
pub use options::{FibMemory, FibOptions};
pub use publication::{Domain, Published, Publisher, Reader, Section, publish};
