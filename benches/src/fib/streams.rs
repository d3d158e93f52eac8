//! The cases that are streams of destinations: every contender's answers are compared, then its time is taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use carpool_dataplane::arch::Simd;

use super::address::Address;
use super::carpool::{self, Fib};
use super::contender::{Contender, Named};
use super::dpdk::WIDE_VECTORS;
use super::figure::{Figure, ratios};
use super::measure::{self, Entry};
use super::peers::Peers;
use super::reference::Reference;
use super::stream::{Source, Stream};
use super::table::{Family, Table, Tables};
use super::target;
use crate::error::BenchError;
use crate::figure::Spread;
use crate::interrupt::Interrupt;

/// carpool's tables, each asked through a reader of its own.
pub struct Ours<A> {
    announced: Box<dyn Contender<A>>,
    /// With the longer prefixes, for the stream that all others have.
    all_lengths: Box<dyn Contender<A>>,
    /// The same table, for a stream that leads to the longer prefixes too.
    all_lengths_own: Box<dyn Contender<A>>,
}

/// Fills carpool's tables. The writers come along: a table without one is no part of a router.
pub fn ours<F: Fib>(tables: &Tables, simd: Simd) -> Result<(Ours<F::Address>, [F; 2]), BenchError> {
    fn named<F: Fib>(fib: &F, name: &'static str) -> Result<Box<dyn Contender<F::Address>>, BenchError> {
        Ok(Box::new(Named { name, way: None, lookup: fib.reader()? }))
    }
    let fibs = [F::filled(&tables.announced, simd)?, F::filled(&tables.all_lengths, simd)?];
    let [announced, all_lengths] = &fibs;
    let ours = Ours {
        announced: named(announced, carpool::NAME)?,
        all_lengths: named(all_lengths, carpool::ALL_LENGTHS)?,
        all_lengths_own: named(all_lengths, carpool::ALL_LENGTHS)?,
    };
    Ok((ours, fibs))
}

/// The streams of one family.
pub struct Streams<'t> {
    bench: &'static str,
    family: Family,
    /// Destinations in a stream.
    length: usize,
    announced: (Source<'t>, Reference),
    all_lengths: (Source<'t>, Reference),
}

/// A stream as contenders take it.
struct Destinations<A> {
    bits: Vec<u128>,
    addresses: Vec<A>,
}

impl<A: Address> Destinations<A> {
    fn draw(source: &Source<'_>, stream: Stream, count: usize) -> Destinations<A> {
        let bits = source.draw(stream, count);
        let addresses = bits.iter().map(|bits| A::from_bits(*bits)).collect();
        Destinations { bits, addresses }
    }
}

impl<'t> Streams<'t> {
    /// Streams of `length` destinations drawn from these tables.
    pub fn new(bench: &'static str, tables: &'t Tables, length: usize) -> Streams<'t> {
        let of = |table: &'t Table| {
            let reference = Reference::new(table);
            (Source::new(table, &reference), reference)
        };
        let family = tables.announced.family;
        Streams { bench, family, length, announced: of(&tables.announced), all_lengths: of(&tables.all_lengths) }
    }

    /// The name of the benchmark.
    pub fn bench(&self) -> &'static str {
        self.bench
    }

    /// Destinations of a random prefix, as the readers of the other cases look them up.
    pub fn prefixes<A: Address>(&self) -> (Vec<A>, Vec<u16>) {
        let destinations = Destinations::draw(&self.announced.0, Stream::Prefix, self.length);
        let expected = destinations.bits.iter().map(|bits| self.announced.1.lookup(*bits)).collect();
        (destinations.addresses, expected)
    }

    /// Compares and measures everyone on one stream.
    pub fn measure<A: Address>(
        &self,
        stream: Stream,
        mut ours: Option<&mut Ours<A>>,
        peers: &mut Peers<'_, A>,
        rounds: u16,
        interrupt: &Interrupt,
    ) -> Result<Vec<Figure>, BenchError> {
        let (source, reference) = &self.announced;
        let (source_all, reference_all) = &self.all_lengths;
        let shared = Destinations::<A>::draw(source, stream, self.length);
        let own = Destinations::<A>::draw(source_all, stream, self.length);
        let name = stream.name();
        let name_own = format!("{name}-all-lengths");

        let mut entries: Vec<Entry<'_, A>> = Vec::new();
        if let Some(ours) = &mut ours {
            self.check(name, &mut *ours.announced, &shared, reference)?;
            self.check(name, &mut *ours.all_lengths, &shared, reference_all)?;
            self.check(&name_own, &mut *ours.all_lengths_own, &own, reference_all)?;
            entries.push(Entry { contender: &mut *ours.announced, destinations: &shared.addresses });
            entries.push(Entry { contender: &mut *ours.all_lengths, destinations: &shared.addresses });
            entries.push(Entry { contender: &mut *ours.all_lengths_own, destinations: &own.addresses });
        }
        let own_entries = entries.len();
        let dpdk = peers.dpdk.len();
        for contender in peers.dpdk.iter_mut().chain(&mut peers.crates) {
            interrupt.check()?;
            self.check(name, &mut **contender, &shared, reference)?;
            entries.push(Entry { contender: &mut **contender, destinations: &shared.addresses });
        }

        let rates = measure::rates(&mut entries, rounds, interrupt)?;
        let measured: Vec<Measured<'_>> = entries
            .iter()
            .zip(&rates)
            .map(|(entry, rates)| Measured { name: entry.contender.name(), way: entry.contender.way(), rates })
            .collect();
        let rate = |case: &str, of: &Measured<'_>| {
            Figure::new(self.bench, case, of.name, "Mlps", of.rates).with_lookup(of.way)
        };
        let mut figures = Vec::new();
        let (own, peers) = measured.split_at(own_entries);
        if let [announced, all_lengths, all_lengths_own] = own {
            figures.push(rate(name, announced));
            figures.push(rate(name, all_lengths));
            figures.push(rate(&name_own, all_lengths_own));
        }
        figures.extend(fastest_ways(peers).into_iter().map(|peer| rate(name, peer)));
        if let [announced, all_lengths, all_lengths_own] = own {
            let ratio = |case: &str, this: &Measured<'_>, other: &Measured<'_>| {
                let contenders = format!("{}/{}", this.name, other.name);
                let runs = ratios(this.rates, other.rates);
                Figure::new(self.bench, case, &contenders, "ratio", &runs).with_lookup(other.way)
            };
            let dpdk = &peers[..dpdk];
            if let Some(best) = fastest(dpdk) {
                figures.push(ratio(name, announced, best).with_target(target::of(self.family, name)));
                // What DPDK does unless it is told to use these vectors.
                let narrow = dpdk.iter().filter(|way| way.way != Some(WIDE_VECTORS));
                if let Some(best_narrow) = fastest(narrow).filter(|narrow| narrow.way != best.way) {
                    figures.push(ratio(name, announced, best_narrow));
                }
            }
            let longer = target::of(self.family, "all-lengths");
            figures.push(ratio(name, all_lengths, announced).with_target(longer));
            figures.push(ratio(&name_own, all_lengths_own, announced).with_target(longer));
        }
        Ok(figures)
    }

    /// Compares every answer with the reference's.
    fn check<A: Address>(
        &self,
        case: &str,
        contender: &mut dyn Contender<A>,
        destinations: &Destinations<A>,
        reference: &Reference,
    ) -> Result<(), BenchError> {
        let answers = contender.answers(&destinations.addresses);
        for (bits, answer) in destinations.bits.iter().zip(answers) {
            let expected = reference.lookup(*bits);
            if answer != expected {
                let address = match self.family {
                    Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(*bits as u32)),
                    Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(*bits)),
                };
                let case = format!("{} {case}", self.bench);
                return Err(BenchError::WrongAnswer { case, contender: contender.name(), address, answer, expected });
            }
        }
        Ok(())
    }
}

/// A contender's rates, round by round.
struct Measured<'m> {
    name: &'static str,
    way: Option<&'static str>,
    rates: &'m [f64],
}

impl Measured<'_> {
    fn median(&self) -> f64 {
        Spread::of(self.rates.iter().copied()).median
    }
}

fn fastest<'m, 'r: 'm>(measured: impl IntoIterator<Item = &'m Measured<'r>>) -> Option<&'m Measured<'r>> {
    measured.into_iter().max_by(|a, b| a.median().total_cmp(&b.median()))
}

/// Each contender once, with its fastest way.
fn fastest_ways<'m, 'r>(measured: &'m [Measured<'r>]) -> Vec<&'m Measured<'r>> {
    measured.chunk_by(|a, b| a.name == b.name).filter_map(fastest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fib::contender::Lookup;
    use crate::fib::table::Route;

    /// Leads everything to one next hop.
    struct OneHop(u16);

    impl Lookup for OneHop {
        type Address = u32;
        type Hop = u16;

        fn burst(&mut self, _destinations: &[u32], hops: &mut [u16]) {
            hops.fill(self.0);
        }

        fn plain(hop: u16) -> u16 {
            hop
        }
    }

    #[test]
    fn a_contender_with_a_wrong_answer_is_not_measured() {
        let table = Table { family: Family::V4, routes: vec![Route { first: 0x0a00_0000, length: 8, hop: 7 }] };
        let tables = Tables { announced: table.clone(), all_lengths: table };
        let streams = Streams::new("fib4", &tables, 1000);
        let measure = |stream, hop| {
            let dpdk: Vec<Box<dyn Contender<u32>>> =
                vec![Box::new(Named { name: "one", way: None, lookup: OneHop(hop) })];
            let mut peers = Peers { dpdk, crates: Vec::new(), seconds: Vec::new() };
            streams.measure(stream, None, &mut peers, 1, &Interrupt::default())
        };
        let figures = measure(Stream::Uniform, 7).expect("all its answers are right");
        assert_eq!((figures.len(), figures[0].case.as_str(), figures[0].contender.as_str()), (1, "uniform", "one"));
        for (stream, hop) in [(Stream::Uniform, 8), (Stream::Random, 7)] {
            let Err(error) = measure(stream, hop) else { panic!("{stream:?}: {hop} was taken for right") };
            assert!(
                matches!(error, BenchError::WrongAnswer { contender: "one", answer, .. } if answer == hop),
                "{error}"
            );
        }
    }

    #[test]
    fn a_table_counts_with_its_fastest_way_to_look_up() {
        let measured = [
            Measured { name: "a", way: Some("slow"), rates: &[1.0, 9.0, 2.0] },
            Measured { name: "a", way: Some("fast"), rates: &[3.0, 3.0, 3.0] },
            Measured { name: "b", way: None, rates: &[1.0, 1.0, 1.0] },
        ];
        let ways: Vec<_> = fastest_ways(&measured).iter().map(|fastest| (fastest.name, fastest.way)).collect();
        assert_eq!(ways, [("a", Some("fast")), ("b", None)]);
        assert_eq!(fastest(&measured).and_then(|best| best.way), Some("fast"));
    }
}
