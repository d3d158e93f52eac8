//! carpool's own tables, as the rest of the benchmark sees them.

use std::sync::Arc;

use carpool_dataplane::fib::{Domain, EntryId, Lpm4, Lpm4Writer, Reader, lpm4};
use ipnet::Ipv4Net;

use super::address::Address;
use super::contender::Lookup;
use super::table::{Route, Table};
use crate::error::BenchError;

/// Its name in the figures.
pub const NAME: &str = "carpool";
/// Its name with the prefixes longer than /24 or /48 in the table.
pub const ALL_LENGTHS: &str = "carpool-all-lengths";
/// Readers that a table can have in its life.
const READERS: usize = 4;

/// A table of carpool's with its one writer.
pub trait Fib: Sized {
    type Address: Address;
    /// One thread's way to look up. It enters a section of its own for every burst, which is once more than a worker
    /// needs for a burst that it also receives, checks and sends.
    type Reader: Lookup<Address = Self::Address> + Offline + Send + 'static;

    /// An empty table.
    fn new() -> Result<Self, BenchError>;

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
    fn filled(table: &Table) -> Result<Self, BenchError> {
        let mut fib = Self::new()?;
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

/// The IPv4 table.
pub struct Fib4 {
    domain: Arc<Domain>,
    writer: Lpm4Writer,
    table: Arc<Lpm4>,
}

fn prefix4(route: &Route) -> Result<Ipv4Net, BenchError> {
    Ipv4Net::new(u32::from_bits(route.first).into(), route.length).map_err(refused)
}

impl Fib for Fib4 {
    type Address = u32;
    type Reader = Reader4;

    fn new() -> Result<Fib4, BenchError> {
        let domain = Domain::new(READERS);
        let (writer, table) = lpm4(&domain, 1 << 18);
        Ok(Fib4 { domain, writer, table })
    }

    fn insert(&mut self, route: &Route) -> Result<(), BenchError> {
        self.writer.insert(prefix4(route)?, EntryId(route.hop)).map_err(refused)
    }

    fn remove(&mut self, route: &Route) -> Result<(), BenchError> {
        if self.writer.remove(prefix4(route)?) { Ok(()) } else { Err(refused("a prefix was not there")) }
    }

    fn apply(&mut self, routes: &[Route]) -> Result<(), BenchError> {
        routes.iter().try_for_each(|route| self.insert(route))
    }

    fn memory(&self) -> usize {
        (self.writer.nodes() * 256 + 65_536) * 5
    }

    fn reader(&self) -> Result<Reader4, BenchError> {
        let reader = self.domain.reader().ok_or_else(|| refused("it has no room for another reader"))?;
        Ok(Reader4 { reader, table: Arc::clone(&self.table) })
    }
}

/// A reader of the IPv4 table.
pub struct Reader4 {
    reader: Reader,
    table: Arc<Lpm4>,
}

impl Lookup for Reader4 {
    type Address = u32;
    type Hop = EntryId;

    fn burst(&mut self, destinations: &[u32], hops: &mut [EntryId]) {
        self.table.lookup_burst(self.reader.enter(), destinations, hops);
    }

    fn plain(hop: EntryId) -> u16 {
        hop.0
    }
}

impl Offline for Reader4 {
    fn offline(&mut self) {
        self.reader.offline();
    }
}
