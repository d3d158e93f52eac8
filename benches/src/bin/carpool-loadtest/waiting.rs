//! How long the threads that spin were kept waiting for their CPU, by the kernel's own account: `/proc/PID/task/TID/schedstat`
//! (its second number, nanoseconds on a run queue; sched-stats.rst). A delay of that time is the machine's, not the router's.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How EAL names the threads of its worker lcores.
const LCORE: &str = "rte-worker";

/// The spinning threads of some processes.
#[derive(Debug)]
pub struct Waiting {
    processes: Vec<u32>,
}

/// What they had waited up to a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    threads: usize,
    time: Duration,
}

impl Waiting {
    /// Those of these processes; of those that are not on this machine there are none.
    pub fn of(processes: Vec<u32>) -> Waiting {
        Waiting { processes }
    }

    /// All of them together so far; none where there is none, or the kernel keeps no such account.
    pub fn so_far(&self) -> Option<Waited> {
        let tasks = self.processes.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
        let spins = |task: &Path| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with(LCORE));
        let accounts = tasks.flatten().flatten().map(|task| task.path()).filter(|task| spins(task));
        let waited = |task: PathBuf| waited(&fs::read_to_string(task.join("schedstat")).ok()?);
        let all: Vec<Duration> = accounts.map(waited).collect::<Option<_>>()?;
        (!all.is_empty()).then(|| Waited { threads: all.len(), time: all.iter().sum() })
    }
}

impl Waited {
    /// What they waited since an earlier moment; none where there are others by now.
    pub fn since(self, before: Waited) -> Option<Duration> {
        (self.threads == before.threads).then(|| self.time.saturating_sub(before.time))
    }
}

fn waited(account: &str) -> Option<Duration> {
    account.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_on_a_run_queue_is_the_second_number() {
        assert_eq!(waited("120 53190 1\n"), Some(Duration::from_nanos(53_190)));
        assert_eq!(waited("120"), None);
        assert_eq!(waited("120 much 1"), None);
    }

    #[test]
    fn where_no_thread_spins_nothing_is_said() {
        assert_eq!(Waiting::of(vec![std::process::id(), u32::MAX]).so_far(), None);
    }

    #[test]
    fn a_thread_that_has_come_meanwhile_has_not_waited_meanwhile() {
        let waited = |threads, ms| Waited { threads, time: Duration::from_millis(ms) };
        assert_eq!(waited(2, 30).since(waited(2, 10)), Some(Duration::from_millis(20)));
        assert_eq!(waited(2, 30).since(waited(1, 10)), None);
    }
}
