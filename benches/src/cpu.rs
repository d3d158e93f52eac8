//! The CPUs that contenders run on.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::error::BenchError;

/// The CPU that packets are forwarded or looked up on, and one for everything else: the same where there is only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus {
    pub core: usize,
    pub main_core: usize,
}

impl Cpus {
    /// The one asked for, else the last one.
    pub fn choose(wanted: Option<usize>) -> Result<Cpus, BenchError> {
        let allowed = allowed()?;
        let core = wanted.or(allowed.last().copied()).unwrap_or(0);
        if !allowed.contains(&core) {
            return Err(BenchError::Core { core });
        }
        let main_core = allowed.iter().copied().find(|cpu| *cpu != core).unwrap_or(core);
        Ok(Cpus { core, main_core })
    }
}

/// Keeps this thread on one CPU from now on.
pub fn pin(cpu: usize) -> Result<(), BenchError> {
    let mut set = CpuSet::new();
    set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set)).map_err(|error| match error {
        Errno::EINVAL => BenchError::Core { core: cpu },
        error => BenchError::System(format!("no thread can be kept on CPU {cpu}: {error}")),
    })
}

/// CPUs this process may run on.
pub fn allowed() -> Result<Vec<usize>, BenchError> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(|error| BenchError::System(error.to_string()))?;
    Ok((0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect())
}
