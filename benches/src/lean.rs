//! net_lean, a virtual port that costs next to nothing: `benches/port/net_lean.c`, built once, and the counters of its ports.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::Cache;
use crate::child;
use crate::dpdk_source::DpdkSource;
use crate::error::BenchError;

const SOURCE: &str = include_str!("../port/net_lean.c");

/// The driver, ready to be loaded by DPDK; it is built where the cache has not got this one yet.
pub fn driver(cache: &Cache, source: &DpdkSource) -> Result<PathBuf, BenchError> {
    let mut hash = DefaultHasher::new();
    (SOURCE, source.version()).hash(&mut hash);
    cache.get(&format!("net_lean-{:016x}.so", hash.finish()), |work| {
        let (file, driver) = (work.join("net_lean.c"), work.join("net_lean.so"));
        fs::write(&file, SOURCE)
            .map_err(|error| BenchError::System(format!("{} cannot be written: {error}", file.display())))?;
        let dpdk = |flags: &str| {
            let mut command = Command::new("pkg-config");
            command.args([flags, "libdpdk"]);
            child::output(&mut command, "pkg-config", "pkg-config")
        };
        let mut command = Command::new("cc");
        command.args(["-O3", "-Wall", "-Wextra", "-shared", "-fPIC", "-DALLOW_INTERNAL_API"]);
        command.args(dpdk("--cflags")?.split_whitespace());
        for headers in ["lib/ethdev", "lib/eal/include", "drivers/bus/vdev"] {
            command.arg("-I").arg(source.directory(headers));
        }
        command.arg(&file).arg("-o").arg(&driver).arg("-Wl,--no-undefined");
        // The bus is a driver to DPDK, so its name is not among the libraries.
        command.args(dpdk("--libs")?.split_whitespace()).arg("-lrte_bus_vdev");
        child::output(&mut command, "cc", "build-essential")?;
        Ok(driver)
    })
}

/// What a port counted, of all its queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets that were received from it.
    pub received: u64,
    /// Packets that it was given to send.
    pub sent: u64,
    /// Bursts that it had no mbufs for.
    pub without_mbufs: u64,
}

const QUEUES: usize = 16;
/// A queue's counters, and the magic number, are in a cache line each.
const LINE: usize = 64;

impl Count {
    /// What is in the counters file of a port now; nothing where the port is not there yet.
    pub fn read(path: &Path) -> Count {
        fs::read(path).ok().and_then(|bytes| Count::parse(&bytes)).unwrap_or_default()
    }

    fn parse(bytes: &[u8]) -> Option<Count> {
        let lines = bytes.strip_prefix(b"netlean1")?.get(LINE - 8..)?;
        let (received, sent) = lines.split_at_checked(QUEUES * LINE)?;
        let number = |line: &[u8], index: usize| -> Option<u64> {
            line.get(8 * index..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
        };
        let sum = |lines: &[u8], index| lines.chunks_exact(LINE).map(|line| number(line, index)).sum::<Option<u64>>();
        (sent.len() == QUEUES * LINE).then_some(Count {
            received: sum(received, 0)?,
            sent: sum(sent, 0)?,
            without_mbufs: sum(received, 2)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_added_up_and_anything_else_is_no_counters_file() {
        let mut bytes = b"netlean1".to_vec();
        bytes.resize(LINE * (1 + 2 * QUEUES), 0);
        let mut set = |line: usize, word: usize, value: u64| {
            bytes[LINE * line + 8 * word..][..8].copy_from_slice(&value.to_ne_bytes());
        };
        set(1, 0, 5);
        set(16, 0, 7);
        set(16, 2, 1);
        set(17, 0, 100);
        set(32, 0, 11);
        assert_eq!(Count::parse(&bytes), Some(Count { received: 12, sent: 111, without_mbufs: 1 }));
        assert_eq!(Count::parse(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Count::parse(b"netlean1"), None);
        assert_eq!(Count::parse(&[0; LINE * 33]), None);
    }
}
