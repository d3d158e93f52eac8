//! Why a forwarding table refuses a change.

/// Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FibError {
    /// The memory reserved for the table does not hold more.
    #[error("the forwarding table is full; nothing was changed")]
    Full,
    /// A worker has not been through a quiescent state for long, and what it may still read has reached its bound.
    #[error(
        "a worker stands still, and what it may still read of the forwarding table has reached the bound of memory; nothing was changed"
    )]
    ReadersStalled,
    /// Leaves above [`super::EntryId::LAST`] are the table's own.
    #[error("forwarding entry {0} is out of range; nothing was changed")]
    NoLeaf(u16),
}
