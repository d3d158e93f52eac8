//! DPDK's memory, for all contenders alike: hugepages where some are free or can be reserved, else ordinary pages.

use std::fs;
use std::path::Path;

const PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";
/// Pages of two megabytes beyond what DPDK reserves, for how it places them.
const MORE: u64 = 16;

/// Hugepages, given back when it goes.
pub struct PacketMemory {
    hugepages: bool,
    reserved: Option<u64>,
    why: String,
}

impl PacketMemory {
    /// Takes free hugepages for so many megabytes, else reserves some, else does without.
    pub fn choose(megabytes: usize, no_huge: bool) -> PacketMemory {
        let needed = megabytes as u64 / 2 + MORE;
        let without = |why: &str| PacketMemory { hugepages: false, reserved: None, why: why.into() };
        if no_huge {
            return without("ordinary pages, as asked for");
        }
        let (Some(total), Some(free)) = (read("nr_hugepages"), read("free_hugepages")) else {
            return without("ordinary pages: the system has no hugepages of 2 MB");
        };
        if free >= needed {
            return PacketMemory { hugepages: true, reserved: None, why: "hugepages that were free".into() };
        }
        let memory =
            PacketMemory { hugepages: true, reserved: Some(total), why: format!("hugepages ({needed} reserved)") };
        if write(total - free.min(total) + needed).is_err() {
            return without("ordinary pages: hugepages cannot be reserved by this user");
        }
        if read("free_hugepages").is_none_or(|free| free < needed) {
            drop(memory);
            return without("ordinary pages: the system has not enough free memory for hugepages");
        }
        memory
    }

    /// Whether packet memory is in hugepages.
    pub fn hugepages(&self) -> bool {
        self.hugepages
    }
}

impl std::fmt::Display for PacketMemory {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.why)
    }
}

impl Drop for PacketMemory {
    fn drop(&mut self) {
        if let Some(before) = self.reserved
            && let Err(error) = write(before)
        {
            eprintln!("carpool-bench: {PAGES}/nr_hugepages could not be set back to {before}: {error}");
        }
    }
}

fn read(file: &str) -> Option<u64> {
    fs::read_to_string(Path::new(PAGES).join(file)).ok()?.trim().parse().ok()
}

fn write(pages: u64) -> std::io::Result<()> {
    fs::write(Path::new(PAGES).join("nr_hugepages"), pages.to_string())
}
