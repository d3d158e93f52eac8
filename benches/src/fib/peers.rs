//! The tables that carpool's are compared with, filled with the same routes.

use std::rc::Rc;

use carpool_dataplane::dpdk::Eal;

use super::contender::{Contender, Lookup, Named};
use super::measure::processor_time;
use super::table::Table;
use super::{crates, dpdk};
use crate::error::BenchError;
use crate::interrupt::Interrupt;

/// Tables of one family.
pub struct Peers<'e, A> {
    /// DPDK's, each once for every way to look up.
    pub dpdk: Vec<Box<dyn Contender<A> + 'e>>,
    /// Other crates'.
    pub crates: Vec<Box<dyn Contender<A> + 'e>>,
    /// How many seconds of processor time it took to fill each.
    pub seconds: Vec<(&'static str, f64)>,
}

impl<'e, A> Peers<'e, A> {
    fn new() -> Peers<'e, A> {
        Peers { dpdk: Vec::new(), crates: Vec::new(), seconds: Vec::new() }
    }

    /// Fills a table, tells what is going on, and notes how long it took.
    fn fill<T>(&mut self, name: &'static str, fill: impl FnOnce() -> Result<T, BenchError>) -> Result<T, BenchError> {
        eprintln!("filling {name}");
        let start = processor_time()?;
        let table = fill()?;
        self.seconds.push((name, (processor_time()? - start).as_secs_f64()));
        Ok(table)
    }

    fn add_dpdk<L: Lookup<Address = A> + 'e>(&mut self, name: &'static str, way: Option<&'static str>, lookup: L) {
        self.dpdk.push(Box::new(Named { name, way, lookup }));
    }
}

/// The IPv4 tables. Those that take minutes to fill only with `all`.
pub fn v4<'e>(eal: &'e Eal, table: &Table, all: bool, interrupt: &Interrupt) -> Result<Peers<'e, u32>, BenchError> {
    let mut peers = Peers::new();
    let fib = peers.fill("rte_fib", || dpdk::Fib4::new(eal, table, interrupt))?;
    for (way, lookup) in fib.lookups() {
        peers.add_dpdk("rte_fib", Some(way), lookup);
    }
    if all {
        let lpm = peers.fill("rte_lpm", || dpdk::Lpm4::new(eal, table, interrupt))?;
        peers.add_dpdk("rte_lpm", Some("x4"), dpdk::Lpm4X4(Rc::clone(&lpm)));
        peers.add_dpdk("rte_lpm", Some("bulk"), dpdk::Lpm4Bulk(lpm));
    }
    let filled = peers.fill("prefix-trie", || Ok(crates::prefix_trie4(table)))?;
    peers.crates.push(filled);
    let filled = peers.fill("treebitmap", || Ok(crates::treebitmap4(table)))?;
    peers.crates.push(filled);
    if all {
        let filled = peers.fill("poptrie", || crates::poptrie4(table, interrupt))?;
        peers.crates.push(filled);
    }
    Ok(peers)
}

/// The IPv6 tables.
pub fn v6<'e>(
    eal: &'e Eal,
    table: &Table,
    all: bool,
    interrupt: &Interrupt,
) -> Result<Peers<'e, [u8; 16]>, BenchError> {
    let mut peers = Peers::new();
    let fib = peers.fill("rte_fib6", || dpdk::Fib6::new(eal, table, interrupt))?;
    for (way, lookup) in fib.lookups() {
        peers.add_dpdk("rte_fib6", Some(way), lookup);
    }
    let lpm = peers.fill("rte_lpm6", || dpdk::Lpm6::new(eal, table, interrupt))?;
    peers.add_dpdk("rte_lpm6", None, lpm);
    let filled = peers.fill("prefix-trie", || Ok(crates::prefix_trie6(table)))?;
    peers.crates.push(filled);
    let filled = peers.fill("treebitmap", || Ok(crates::treebitmap6(table)))?;
    peers.crates.push(filled);
    if all {
        let filled = peers.fill("poptrie", || crates::poptrie6(table, interrupt))?;
        peers.crates.push(filled);
    }
    Ok(peers)
}
