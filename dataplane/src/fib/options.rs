//! What a table may use, and what it uses.

use crate::arch::Simd;

/// The bounds of a table, and how it is read.
#[derive(Clone, Copy, Debug)]
pub struct FibOptions {
    /// Which instructions look-ups use. More than the processor has is taken for all that it has.
    pub simd: Simd,
    /// Bytes of leaves there is room for. Room that is not used costs address space only.
    pub leaves: usize,
    /// So many bytes of each kind (leaves, and tails or words) may wait for readers to move on; more, and changes are
    /// refused until they have. One change may go beyond it by what it retires, and the undoing of a transaction by all
    /// that the transaction took; what `Lpm6Writer::settle` leaves behind does not count.
    pub retired: usize,
}

impl Default for FibOptions {
    /// The best instructions, room for some three million prefixes with a default route put in over them, and 16 MiB that wait: a third of
    /// a second of changes at full speed.
    fn default() -> FibOptions {
        FibOptions { simd: Simd::detect(), leaves: 128 << 20, retired: 16 << 20 }
    }
}

/// Bytes of a table that readers may look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FibMemory {
    /// In use now.
    pub used: usize,
    /// Out of use, and waiting until every reader has moved on.
    pub retired: usize,
}
