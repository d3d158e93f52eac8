//! What the lab must take away again, however it ends.
//!
//! Namespaces and processes are entered here before they are used and leave when they are gone. A lab that is dropped
//! (also by a panic) removes its own; signals that end the process remove everything first; and what a killed process left
//! behind is swept by the next lab that starts, told by the process id in its name.

use std::{
    fs, io,
    path::Path,
    process::{Child, Command},
    sync::{Mutex, MutexGuard, Once, PoisonError},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};

use crate::{
    error::{Doing, Result},
    namespace,
};

/// Logs, configurations and sockets of each lab, in a directory named after its prefix.
pub const RUN_DIRECTORY: &str = "/run/carpool-lab";

/// Names of labs begin so, followed by the process id of their owner.
const PREFIX: &str = "cp";

#[derive(Default)]
struct Remains {
    namespaces: Vec<String>,
    processes: Vec<u32>,
    directories: Vec<String>,
}

static REMAINS: Mutex<Remains> =
    Mutex::new(Remains { namespaces: Vec::new(), processes: Vec::new(), directories: Vec::new() });

fn remains() -> MutexGuard<'static, Remains> {
    REMAINS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `make`, which makes the namespace. A signal waits until it is made and known, or is not.
pub(crate) fn make_namespace<T>(name: &str, make: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut remains = remains();
    remains.namespaces.push(name.to_owned());
    make()
}

/// Runs `start`, which starts a process. A signal waits until it is known.
pub(crate) fn start_process(start: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
    let mut remains = remains();
    let child = start()?;
    remains.processes.push(child.id());
    Ok(child)
}

pub(crate) fn forget_process(pid: u32) {
    remains().processes.retain(|&known| known != pid);
}

/// A directory that goes with what runs in the lab, where a signal ends this process.
pub fn remember_directory(path: &str) {
    remains().directories.push(path.to_owned());
}

/// Forgets everything of one lab without removing it: it stays up on purpose.
pub(crate) fn keep(prefix: &str, processes: &[u32]) {
    let mut remains = remains();
    remains.namespaces.retain(|name| !belongs(name, prefix));
    remains.directories.retain(|path| Path::new(path).file_name().is_none_or(|name| name != prefix));
    remains.processes.retain(|pid| !processes.contains(pid));
}

/// Removes the namespaces and files of one lab; its processes have been ended by their owner.
pub(crate) fn remove(prefix: &str) {
    let mut remains = remains();
    for name in remains.namespaces.extract_if(.., |name| belongs(name, prefix)) {
        delete_namespace(&name);
    }
    for path in remains.directories.extract_if(.., |path| path.ends_with(&format!("/{prefix}"))) {
        // A directory that is already gone is what is wanted.
        let _ = fs::remove_dir_all(path);
    }
}

/// The prefix of the `nth` lab of this process.
pub(crate) fn prefix(nth: usize) -> String {
    format!("{PREFIX}{}x{nth}", std::process::id())
}

fn belongs(namespace: &str, prefix: &str) -> bool {
    namespace.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('-'))
}

/// The process that owns a lab's name, if it is one of ours.
fn owner(name: &str) -> Option<u32> {
    let rest = name.strip_prefix(PREFIX)?;
    let (pid, rest) = rest.split_once('x')?;
    let nth = rest.split('-').next()?;
    nth.parse::<usize>().ok()?;
    pid.parse().ok()
}

/// Removes what labs of processes that no longer live have left: namespaces, what still runs in them, files.
pub fn sweep() -> Result<()> {
    let dead = |name: &str| owner(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
    for name in names(namespace::DIRECTORY)?.into_iter().filter(|name| dead(name)) {
        empty_and_delete(&name);
    }
    for name in names(RUN_DIRECTORY)?.into_iter().filter(|name| dead(name)) {
        let _ = fs::remove_dir_all(Path::new(RUN_DIRECTORY).join(name));
    }
    Ok(())
}

/// Removes the lab that was left up under this prefix. Returns whether there was one.
pub fn remove_kept(prefix: &str) -> Result<bool> {
    let namespaces: Vec<_> = names(namespace::DIRECTORY)?.into_iter().filter(|name| belongs(name, prefix)).collect();
    for name in &namespaces {
        empty_and_delete(name);
    }
    let directory = Path::new(RUN_DIRECTORY).join(prefix);
    let had_files = directory.exists();
    let _ = fs::remove_dir_all(directory);
    Ok(had_files || !namespaces.is_empty())
}

fn names(directory: &str) -> Result<Vec<String>> {
    if !Path::new(directory).exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(directory).doing(format!("listing {directory}"))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Ends what runs in a lab's namespace, then deletes it: what the lab started, and what was started there by hand.
fn empty_and_delete(name: &str) {
    let pids = namespace::run(Command::new("ip").args(["netns", "pids", name])).unwrap_or_default();
    for pid in pids.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    delete_namespace(name);
}

fn delete_namespace(name: &str) {
    // It may be half made or already gone; there is nobody left to tell.
    let _ = namespace::run(Command::new("ip").args(["netns", "delete", name]));
}

/// From the first call on, SIGINT and SIGTERM take everything down before they end this process.
pub(crate) fn end_on_signals() -> Result<()> {
    static ONCE: Once = Once::new();
    if ONCE.is_completed() {
        return Ok(());
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT]).doing("listening for signals")?;
    ONCE.call_once(|| {
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                // Held to the end: whoever is about to make something more waits for ever.
                let remains = remains();
                for pid in &remains.processes {
                    let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
                }
                for name in &remains.namespaces {
                    delete_namespace(name);
                }
                for path in &remains.directories {
                    let _ = fs::remove_dir_all(path);
                }
                // As the shell reports a death by this signal.
                std::process::exit(128 + signal);
            }
        });
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_name_is_the_process_id_in_it_and_other_names_have_none() {
        assert_eq!(owner("cp4711x0-A"), Some(4711));
        assert_eq!(owner("cp4711x12"), Some(4711));
        for foreign in ["cp-A", "cpx-A", "cp12-A", "cpuset", "carpool-A", "cp12xy-A", "blue"] {
            assert_eq!(owner(foreign), None, "{foreign} is not ours to sweep");
        }
    }

    #[test]
    fn a_prefix_does_not_claim_the_names_of_a_longer_one() {
        assert!(belongs("cp7x1-A", "cp7x1"));
        assert!(!belongs("cp7x11-A", "cp7x1"));
    }
}
