//! Forwarding tables side by side: carpool's, DPDK's and those of other crates, with a real table of the Internet.
//!
//! [`table`] decodes the routes and [`stream`] draws destinations; [`peers`] and [`carpool`] fill the contenders;
//! [`streams`] compares their answers and takes their time; [`own`] measures what concerns carpool's tables alone. What
//! is to be reached is in [`target`].

mod address;
mod carpool;
mod case;
mod contender;
mod crates;
mod dpdk;
pub mod figure;
pub mod hop;
mod measure;
mod own;
mod peers;
mod reclamation;
pub mod reference;
pub mod report;
pub mod stream;
mod streams;
pub mod table;
pub mod target;
mod updates;

use std::io::Write;

use carpool_dataplane::arch::Simd;
use carpool_dataplane::dpdk::{Eal, EalOptions, Memory};
use clap::{Args, ValueEnum};

use self::address::Address;
use self::carpool::{Fib, Fib4, Fib6};
use self::case::Case;
use self::figure::Figure;
use self::own::Own;
use self::peers::Peers;
use self::streams::{Ours, Streams};
use self::table::{Table, Tables};
use crate::cpu::{self, Cpus};
use crate::error::BenchError;
use crate::interrupt::Interrupt;
use crate::memory::PacketMemory;
use crate::turn::Turn;

/// Megabytes that DPDK's tables of one family take, with room for how they are placed.
const MEMORY_MB: usize = 800;
/// How often the cost of reclamation is measured.
const RECLAMATION_RUNS: usize = 9;

/// What is measured, and how long.
#[derive(Args)]
pub struct FibOptions {
    /// Measure this case only; can be given several times
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<Case>,
    /// Measure this family only
    #[arg(long, value_name = "FAMILY")]
    only: Option<FamilyName>,
    /// Turns of each contender
    #[arg(long, default_value_t = 9, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Destinations in a stream; a million is more than the caches of a core hold
    #[arg(long, default_value_t = 1 << 20, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    destinations: u32,
    /// Also the contenders that take minutes to fill: rte_lpm and poptrie
    #[arg(long)]
    all: bool,
    /// CPU that destinations are looked up on [default: the last one]
    #[arg(long, value_name = "CPU")]
    core: Option<usize>,
    /// Keep DPDK's tables in ordinary pages even where hugepages can be had
    #[arg(long)]
    no_huge: bool,
    /// Do without AVX-512, carpool and DPDK alike, as on processors that have none
    #[arg(long)]
    no_avx512: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// List the cases
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FamilyName {
    V4,
    V6,
}

impl FibOptions {
    fn wants(&self, case: Case) -> bool {
        self.cases.is_empty() || self.cases.contains(&case)
    }

    fn wants_family(&self, family: FamilyName) -> bool {
        self.only.is_none_or(|only| only == family)
    }

    fn wants_streams(&self) -> bool {
        stream::Stream::ALL.into_iter().any(|stream| self.wants(Case::Stream(stream)))
    }
}

/// Measures what is asked for and prints the figures.
pub fn run(options: &FibOptions) -> Result<(), BenchError> {
    if options.list {
        for (case, counts) in Case::ALL {
            println!("{:<12}  {counts}", case.name());
        }
        return Ok(());
    }
    let cpus = Cpus::choose(options.core)?;
    let interrupt = Interrupt::new()?;
    let _turn = Turn::take(&interrupt, |line| eprintln!("{line}"))?;
    let memory = PacketMemory::choose(MEMORY_MB, options.no_huge || !options.wants_streams());
    let eal = if options.wants_streams() { Some(start_dpdk(&memory, !options.no_avx512)?) } else { None };
    eprintln!("look-ups on CPU {}, changes on CPU {}", cpus.core, cpus.main_core);
    if eal.is_some() {
        eprintln!("DPDK's tables in {memory}");
    }
    let simd = if options.no_avx512 { Simd::Avx2 } else { Simd::Avx512 };
    let campaign = Campaign { options, cpus, simd, interrupt: &interrupt, eal: eal.as_ref() };
    let figures = campaign.figures();
    if let Some(eal) = eal {
        eal.cleanup();
    }
    let figures = figures?;
    if !options.json {
        write(&report::text(&figures))?;
    }
    Ok(())
}

/// To standard output. An error, and no panic, where nobody reads it: hugepages have to be given back.
fn write(text: &str) -> Result<(), BenchError> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| BenchError::System(format!("the figures cannot be written: {error}")))
}

fn start_dpdk(memory: &PacketMemory, wide_vectors: bool) -> Result<Eal, BenchError> {
    let options = EalOptions {
        cores: Vec::new(),
        memory: if memory.hugepages() { Memory::Hugepages } else { Memory::NoHuge },
        memory_mb: MEMORY_MB,
        ordinary_mb: MEMORY_MB,
        pci: Vec::new(),
        shares_memory: false,
        drivers: vec![],
        file_prefix: format!("carpool-bench-{}", std::process::id()),
    };
    let eal = Eal::init(&options).map_err(|error| BenchError::System(error.to_string()))?;
    if wide_vectors {
        dpdk::allow_wide_vectors(&eal);
    }
    Ok(eal)
}

/// Fills the tables that carpool's are compared with.
type Fill<'c, A> = fn(&'c Eal, &Table, bool, &Interrupt) -> Result<Peers<'c, A>, BenchError>;

/// What all measurements have in common.
struct Campaign<'c> {
    options: &'c FibOptions,
    cpus: Cpus,
    /// What carpool's look-ups may use, where the processor has it.
    simd: Simd,
    interrupt: &'c Interrupt,
    /// None where no stream is measured.
    eal: Option<&'c Eal>,
}

impl<'c> Campaign<'c> {
    fn figures(&self) -> Result<Vec<Figure>, BenchError> {
        let mut figures = Vec::new();
        let mut take = |found: Vec<Figure>| -> Result<(), BenchError> {
            found.iter().try_for_each(|figure| self.print(figure))?;
            figures.extend(found);
            Ok(())
        };
        let (v4, v6) = table::load()?;
        let length = self.options.destinations as usize;
        if self.options.wants_family(FamilyName::V4) {
            self.family::<Fib4>(&Streams::new("fib4", &v4, length), &v4, peers::v4, &mut take)?;
        }
        if self.options.wants_family(FamilyName::V6) {
            self.family::<Fib6>(&Streams::new("fib6", &v6, length), &v6, peers::v6, &mut take)?;
        }
        if self.options.wants(Case::Reclamation) {
            take(self.reclamation()?)?;
        }
        for together in own::memory_together(&figures) {
            self.print(&together)?;
            figures.push(together);
        }
        Ok(figures)
    }

    /// A line of JSON, if that is wanted.
    fn print(&self, figure: &Figure) -> Result<(), BenchError> {
        if self.options.json {
            let line = serde_json::to_string(figure).map_err(|error| BenchError::System(error.to_string()))?;
            write(&format!("{line}\n"))?;
        }
        Ok(())
    }

    /// What a reader pays for each burst.
    fn reclamation(&self) -> Result<Vec<Figure>, BenchError> {
        cpu::pin(self.cpus.core)?;
        let (mut quiescent, mut pinned) = (Vec::new(), Vec::new());
        for _ in 0..RECLAMATION_RUNS {
            self.interrupt.check()?;
            let (one, other) = reclamation::nanoseconds()?;
            quiescent.push(one);
            pinned.push(other);
        }
        Ok(vec![
            Figure::new("fib", "reclamation", "quiescent-states", "ns", &quiescent),
            Figure::new("fib", "reclamation", "crossbeam-epoch", "ns", &pinned),
        ])
    }

    /// One family: everyone's look-ups, and what concerns carpool's table alone.
    fn family<F: Fib>(
        &self,
        streams: &Streams<'_>,
        tables: &Tables,
        fill: Fill<'c, F::Address>,
        take: &mut impl FnMut(Vec<Figure>) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        if self.options.wants_streams() {
            let (ours, _writers) = streams::ours::<F>(tables, self.simd)?;
            self.streams(streams, tables, Some(ours), fill, take)?;
        }
        self.own::<F>(streams, tables, take)
    }

    /// Everyone's look-ups.
    fn streams<A: Address>(
        &self,
        streams: &Streams<'_>,
        tables: &Tables,
        mut ours: Option<Ours<A>>,
        fill: Fill<'c, A>,
        take: &mut impl FnMut(Vec<Figure>) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        let Some(eal) = self.eal else { return Ok(()) };
        cpu::pin(self.cpus.core)?;
        let table = &tables.announced;
        eprintln!(
            "{}: {} prefixes, {} with the longer ones",
            table.family,
            table.routes.len(),
            tables.all_lengths.routes.len()
        );
        let mut peers = fill(eal, table, self.options.all, self.interrupt)?;
        if self.options.wants(Case::Build) {
            let bench = streams.bench();
            take(
                peers
                    .seconds
                    .iter()
                    .map(|(name, seconds)| Figure::new(bench, "build", name, "s", &[*seconds]))
                    .collect(),
            )?;
        }
        for stream in stream::Stream::ALL.into_iter().filter(|stream| self.options.wants(Case::Stream(*stream))) {
            eprintln!("{}: {}", table.family, stream.name());
            take(streams.measure(stream, ours.as_mut(), &mut peers, self.options.rounds, self.interrupt)?)?;
        }
        Ok(())
    }

    /// What concerns carpool's tables alone.
    fn own<F: Fib>(
        &self,
        streams: &Streams<'_>,
        tables: &Tables,
        take: &mut impl FnMut(Vec<Figure>) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        let family = tables.announced.family;
        let own =
            Own { bench: streams.bench(), family, tables, cpus: self.cpus, simd: self.simd, interrupt: self.interrupt };
        let say = |what: &str| eprintln!("{family}: {what}");
        if self.options.wants(Case::Memory) {
            take(own.memory::<F>()?)?;
        }
        if self.options.wants(Case::Build) {
            say("build");
            take(own.build::<F>()?)?;
        }
        if self.options.wants(Case::Updates) {
            say("updates");
            take(own.updates::<F>(streams)?)?;
        }
        if self.options.wants(Case::Readers) {
            say("readers");
            take(own.readers::<F>(streams)?)?;
        }
        Ok(())
    }
}
