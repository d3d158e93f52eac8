//! Where packet memory comes from: hugepages, or ordinary pages where there are none.
//!
//! Read by [`super::Eal::init`] before EAL starts, because EAL itself gives up where hugepages are missing.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::EalError;

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// Hugepages where enough of them are free, else ordinary pages.
    #[default]
    Auto,
    /// Hugepages; an error where there are not enough.
    Hugepages,
    /// Ordinary pages: works everywhere, costs TLB misses, and NICs need an IOMMU.
    NoHuge,
}

/// What was chosen; its text says why, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryChoice {
    /// Hugepages through the hugetlbfs mounted there: secondary processes (dpdk-dumpcap) can attach.
    Hugepages { mount: PathBuf },
    /// Hugepages without a hugetlbfs mount: nothing is left behind, and no secondary process can attach.
    InMemory,
    /// Ordinary pages, and the reason.
    NoHuge { reason: String },
}

impl fmt::Display for MemoryChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemoryChoice::Hugepages { mount } => write!(formatter, "hugepages at {}", mount.display()),
            MemoryChoice::InMemory => write!(formatter, "hugepages, in memory as no writable hugetlbfs is mounted"),
            MemoryChoice::NoHuge { reason } => write!(formatter, "ordinary pages: {reason}"),
        }
    }
}

impl MemoryChoice {
    /// EAL arguments that make it so. Hugepages that are `shared` with another process are in few files: net_virtio_user hands them
    /// to a vhost back end, which takes eight, and without a word nothing passes where there are more. Only there, as EAL then takes
    /// a file that another process still holds for new memory, where it would remove it.
    pub(super) fn arguments(&self, shared: bool) -> Vec<String> {
        let (mut arguments, has_files): (Vec<String>, bool) = match self {
            MemoryChoice::Hugepages { mount } => (vec!["--huge-dir".into(), mount.display().to_string()], true),
            MemoryChoice::InMemory => (vec!["--in-memory".into()], true),
            MemoryChoice::NoHuge { .. } => (vec!["--no-huge".into()], false),
        };
        if shared && has_files {
            arguments.push("--single-file-segments".into());
        }
        arguments
    }
}

/// Decides where `needed_mb` megabytes come from. `file_prefix` tells which hugepage files a previous run of ours left:
/// EAL removes them when it starts, so they count as free.
pub(super) fn choose(memory: Memory, needed_mb: usize, file_prefix: &str) -> Result<MemoryChoice, EalError> {
    if memory == Memory::NoHuge {
        return Ok(MemoryChoice::NoHuge { reason: "as configured".into() });
    }
    let mount = fs::read_to_string("/proc/mounts").ok().and_then(|mounts| writable_hugetlbfs(&mounts));
    let reclaimed = mount.as_deref().map_or(0, |mount| left_behind(mount, file_prefix));
    let available_mb = (free_bytes(Path::new("/sys/kernel/mm/hugepages")) + reclaimed) >> 20;
    match (available_mb >= needed_mb as u64, mount, memory) {
        (true, Some(mount), _) => Ok(MemoryChoice::Hugepages { mount }),
        (true, None, _) => Ok(MemoryChoice::InMemory),
        (false, _, Memory::Hugepages) => Err(EalError::Hugepages { needed_mb, available_mb }),
        (false, ..) => Ok(MemoryChoice::NoHuge {
            reason: format!("{needed_mb} MB are needed and {available_mb} MB of hugepages are free"),
        }),
    }
}

/// Bytes in hugepages of every size below `sysfs` that are free, and that no process has a claim to: those it has mapped and
/// not yet touched are free still.
fn free_bytes(sysfs: &Path) -> u64 {
    let Ok(sizes) = fs::read_dir(sysfs) else { return 0 };
    sizes
        .flatten()
        .filter_map(|size| {
            let name = size.file_name();
            let kilobytes: u64 = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let pages = |file| fs::read_to_string(size.path().join(file)).ok()?.trim().parse::<u64>().ok();
            let unclaimed = pages("free_hugepages")?.saturating_sub(pages("resv_hugepages").unwrap_or(0));
            Some(kilobytes * 1024 * unclaimed)
        })
        .sum()
}

/// The first hugetlbfs in the text of `/proc/mounts` that this process may write to.
fn writable_hugetlbfs(mounts: &str) -> Option<PathBuf> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(_, kind)| *kind == "hugetlbfs")
        .map(|(mount, _)| PathBuf::from(mount))
        .find(|mount| access(mount, AccessFlags::W_OK).is_ok())
}

/// Bytes in hugepage files with EAL's name for `file_prefix`.
fn left_behind(mount: &Path, file_prefix: &str) -> u64 {
    let prefix = format!("{file_prefix}map_");
    let Ok(files) = fs::read_dir(mount) else { return 0 };
    files
        .flatten()
        .filter(|file| file.file_name().to_string_lossy().starts_with(&prefix))
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hugepages_are_in_few_files_only_where_they_are_shared() {
        const FEW: &str = "--single-file-segments";
        let hugepages = MemoryChoice::Hugepages { mount: "/dev/hugepages".into() };
        for (choice, shared, expected) in [
            (&hugepages, true, true),
            (&hugepages, false, false),
            (&MemoryChoice::InMemory, true, true),
            (&MemoryChoice::InMemory, false, false),
            (&MemoryChoice::NoHuge { reason: String::new() }, true, false),
        ] {
            let has = choice.arguments(shared).iter().any(|argument| argument == FEW);
            assert_eq!(has, expected, "{choice:?}, shared: {shared}");
        }
    }

    #[test]
    fn ordinary_pages_are_chosen_and_explained_where_hugepages_do_not_suffice() {
        let choice = choose(Memory::Auto, usize::MAX >> 24, "nobody").expect("auto always finds something");
        let MemoryChoice::NoHuge { reason } = choice else { panic!("{choice:?}") };
        assert!(reason.contains("MB of hugepages are free"), "{reason}");
    }

    #[test]
    fn hugepages_that_are_demanded_and_missing_are_an_error_that_says_how_many() {
        let error = choose(Memory::Hugepages, usize::MAX >> 24, "nobody").expect_err("no machine has that many");
        assert!(error.to_string().contains(&(usize::MAX >> 24).to_string()), "{error}");
    }

    #[test]
    fn free_hugepages_of_all_sizes_are_added_up_but_for_those_that_are_claimed() {
        let sysfs = std::env::temp_dir().join(format!("carpool-hugepages-{}", std::process::id()));
        let write = |size, file, pages| {
            fs::create_dir_all(sysfs.join(size)).expect("the temporary directory is writable");
            fs::write(sysfs.join(size).join(file), pages).expect("the temporary directory is writable");
        };
        for (size, free) in [("hugepages-2048kB", "5\n"), ("hugepages-1048576kB", "1\n"), ("other", "7\n")] {
            write(size, "free_hugepages", free);
        }
        write("hugepages-2048kB", "resv_hugepages", "2\n");
        assert_eq!(free_bytes(&sysfs), (3 * 2048 + 1_048_576) * 1024);
        fs::remove_dir_all(&sysfs).expect("it was just made");
    }

    #[test]
    fn only_a_writable_hugetlbfs_is_taken() {
        let writable = std::env::temp_dir();
        let mounts = format!(
            "proc {0} proc rw 0 0\nhugetlbfs /nowhere/at/all hugetlbfs rw 0 0\nhugetlbfs {0} hugetlbfs rw 0 0\n",
            writable.display()
        );
        assert_eq!(writable_hugetlbfs(&mounts), Some(writable));
    }
}
