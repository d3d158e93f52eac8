//! carpool's own tables, as the rest of the benchmark sees them.

use std::sync::Arc;

use carpool_dataplane::arch::Simd;
use carpool_dataplane::fib::{
    Domain, EntryId, FibOptions, Lpm4, Lpm4Writer, Lpm6, Lpm6Writer, Reader, lpm4_with, lpm6_with,
};
use ipnet::{Ipv4Net, Ipv6Net};

use super::address::Address;
use super::contender::Lookup;
use super::table::{Route, Table};
use crate::error::BenchError;

/// Its name in the figures.
pub const NAME: &str = "carpool";
/// Its name with the prefixes longer than /24 or /48 in the table.
pub const ALL_LENGTHS: &str = "carpool-all-lengths";
/// Its name with 1,000,000 prefixes of IPv4, or 230,000 of IPv6.
pub const GROWN: &str = "carpool-1M-230k";
/// Readers that a table can have in its life.
const READERS: usize = 4;

/// A table of carpool's with its one writer.
pub trait Fib: Sized {
    type Address: Address;
    /// One thread's way to look up. It enters a section of its own for every burst, which is once more than a worker
    /// needs for a burst that it also receives, checks and sends.
    type Reader: Lookup<Address = Self::Address> + Offline + Send + 'static;

    /// An empty table, whose look-ups use these instructions at most.
    fn new(simd: Simd) -> Result<Self, BenchError>;

    /// Adds or replaces a prefix.
    fn insert(&mut self, route: &Route) -> Result<(), BenchError>;

    /// Takes a prefix out that is there.
    fn remove(&mut self, route: &Route) -> Result<(), BenchError>;

    /// Adds or replaces prefixes as one batch.
    fn apply(&mut self, routes: &[Route]) -> Result<(), BenchError>;

    /// Bytes in use.
    fn memory(&self) -> usize;

    /// A new reader.
    fn reader(&self) -> Result<Self::Reader, BenchError>;

    /// A table with these routes, applied as one batch.
    fn filled(table: &Table, simd: Simd) -> Result<Self, BenchError> {
        let mut fib = Self::new(simd)?;
        fib.apply(&table.routes)?;
        Ok(fib)
    }
}

/// A reader that can say that it holds nothing.
pub trait Offline {
    /// It will not look up for a while.
    fn offline(&mut self);
}

fn refused(problem: impl ToString) -> BenchError {
    BenchError::Table { contender: NAME, problem: problem.to_string() }
}

/// A family's table, of the types that it has in the dataplane.
macro_rules! fib {
    ($fib:ident, $reader:ident, $make:ident, $writer:ty, $table:ty, $net:ty, $address:ty) => {
        /// The table and its writer.
        pub struct $fib {
            domain: Arc<Domain>,
            writer: $writer,
            table: Arc<$table>,
        }

        impl $fib {
            fn prefix(route: &Route) -> Result<$net, BenchError> {
                <$net>::new(<$address>::from_bits(route.first).into(), route.length).map_err(refused)
            }
        }

        impl Fib for $fib {
            type Address = $address;
            type Reader = $reader;

            fn new(simd: Simd) -> Result<$fib, BenchError> {
                let domain = Domain::new(READERS);
                let (writer, table) = $make(&domain, FibOptions { simd, ..FibOptions::default() }).map_err(refused)?;
                Ok($fib { domain, writer, table })
            }

            fn insert(&mut self, route: &Route) -> Result<(), BenchError> {
                self.writer.insert($fib::prefix(route)?, EntryId(route.hop)).map(drop).map_err(refused)
            }

            fn remove(&mut self, route: &Route) -> Result<(), BenchError> {
                let before = self.writer.remove($fib::prefix(route)?).map_err(refused)?;
                before.map(drop).ok_or_else(|| refused("a prefix was not there"))
            }

            fn apply(&mut self, routes: &[Route]) -> Result<(), BenchError> {
                let change = |route| Ok(($fib::prefix(route)?, Some(EntryId(route.hop))));
                let changes = routes.iter().map(change).collect::<Result<Vec<_>, BenchError>>()?;
                self.writer.apply(&changes, &mut || {}).map_err(refused)
            }

            fn memory(&self) -> usize {
                self.writer.memory().used
            }

            fn reader(&self) -> Result<$reader, BenchError> {
                let reader = self.domain.reader().ok_or_else(|| refused("it has no room for another reader"))?;
                Ok($reader { reader, table: Arc::clone(&self.table) })
            }
        }

        /// One thread's reader of the table.
        pub struct $reader {
            reader: Reader,
            table: Arc<$table>,
        }

        impl Lookup for $reader {
            type Address = $address;
            type Hop = EntryId;

            fn burst(&mut self, destinations: &[$address], hops: &mut [EntryId]) {
                self.table.lookup_burst(self.reader.enter(), destinations, hops);
            }

            fn plain(hop: EntryId) -> u16 {
                hop.0
            }
        }

        impl Offline for $reader {
            fn offline(&mut self) {
                self.reader.offline();
            }
        }
    };
}

fib!(Fib4, Reader4, lpm4_with, Lpm4Writer, Lpm4, Ipv4Net, u32);
fib!(Fib6, Reader6, lpm6_with, Lpm6Writer, Lpm6, Ipv6Net, [u8; 16]);
