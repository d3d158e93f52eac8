//! Where a packet goes: the longest-prefix-match table, the forwarding entries its leaves name, and how the control
//! thread changes both while workers read.
//!
//! One writer, any number of readers, no lock. A reader looks only inside a [`Section`], which it enters once per
//! iteration; what the writer has taken out of use is freed or used again only when every reader has entered a later
//! section or gone offline.

mod lpm4;
mod next_hop;
mod publication;

pub use lpm4::{Lpm4, Lpm4Error, Lpm4Writer, lpm4};
pub use next_hop::{Adjacency, Entry, EntryId, Neighbour, NeighbourIndex, NeighbourTable, PeerIndex, PortIndex};
pub use publication::{Domain, Published, Publisher, Reader, Section, publish};
