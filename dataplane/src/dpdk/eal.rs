//! DPDK's environment abstraction layer: started once, by a thread of its own.
//!
//! EAL pins the thread that starts it and makes it the main lcore. Here that thread is a short-lived one: the caller
//! keeps its CPU mask and is no lcore, so only workers use the per-lcore mempool caches. Worker lcores are EAL's own
//! threads, one per configured core.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::unistd::Pid;
use thiserror::Error;

use super::lcore::Lcore;
use super::memory::{self, Memory, MemoryChoice};
use super::{error_text, last_error, log_stream};

/// How EAL is to run.
#[derive(Clone, Debug)]
pub struct EalOptions {
    /// One worker lcore each: CPU numbers as the kernel counts them.
    pub cores: Vec<usize>,
    /// Where packet memory comes from.
    pub memory: Memory,
    /// Megabytes reserved at start in hugepages; must hold all mempools and rings.
    pub memory_mb: usize,
    /// The same in ordinary pages. They take more: an mbuf does not cross a page's border.
    pub ordinary_mb: usize,
    /// PCI addresses of the NICs that may be used; none: the PCI bus is not touched at all.
    pub pci: Vec<String>,
    /// Whether a device hands this memory to another process, as `net_virtio_user` does.
    pub shares_memory: bool,
    /// Drivers beside the distribution's: shared objects. EAL refuses those that others may change, or a folder above them.
    pub drivers: Vec<PathBuf>,
    /// Distinguishes this process's shared files from those of other DPDK processes: one per running router.
    pub file_prefix: String,
}

/// Why EAL did not start or did not do what it was asked.
#[derive(Debug, Error)]
pub enum EalError {
    #[error("DPDK was started before in this process: it can be started once only")]
    AlreadyStarted,
    #[error("core {core} is not a CPU this process may run on (it may use {allowed}): choose other worker cores")]
    CoreNotAllowed { core: usize, allowed: String },
    #[error("core {core} is named twice: each worker needs a core of its own")]
    DuplicateCore { core: usize },
    #[error("{count} worker cores are more than DPDK's limit of {limit}")]
    TooManyCores { count: usize, limit: usize },
    #[error(
        "{needed_mb} MB of hugepages are needed and {available_mb} MB are free: reserve them in \
         /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages, or let the memory be chosen automatically"
    )]
    Hugepages { needed_mb: usize, available_mb: u64 },
    #[error("{what} {value:?} is not valid: {expected}")]
    Invalid { what: &'static str, value: String, expected: &'static str },
    #[error("DPDK did not start: {cause}")]
    Start { cause: String },
    #[error("worker lcore {lcore} is still running something")]
    LcoreBusy { lcore: u32 },
}

/// Held by everything that lives in EAL's memory, so that it is not unmapped under its feet.
pub(super) struct Running;

/// Proof that EAL runs. There is one per process.
pub struct Eal {
    pub(super) running: Arc<Running>,
    /// EAL expects one thread at a time to launch.
    pub(super) launching: Mutex<()>,
    workers: Vec<Lcore>,
    memory: MemoryChoice,
    file_prefix: String,
}

impl Eal {
    /// Starts EAL with one worker lcore per configured core. Drivers are loaded from the distribution's driver directory;
    /// ports come later, with [`super::Port::open`].
    ///
    /// # Errors
    /// Whatever is wrong with the options, or EAL's own reason. After EAL itself failed it cannot be started again.
    pub fn init(options: &EalOptions) -> Result<Eal, EalError> {
        let allowed = allowed_cpus();
        check_cores(&options.cores, &allowed)?;
        if options.file_prefix.is_empty() || options.file_prefix.contains(['/', '%', '\0']) {
            return Err(EalError::Invalid {
                what: "file prefix",
                value: options.file_prefix.clone(),
                expected: "expected a file name without '/' and '%'",
            });
        }
        let memory = memory::choose(options.memory, options.memory_mb, &options.file_prefix)?;

        let mut arguments = memory.arguments(options.shares_memory);
        if options.pci.is_empty() {
            arguments.push("--no-pci".into());
        }
        for address in &options.pci {
            arguments.extend(["-a".into(), address.clone()]);
        }
        for driver in &options.drivers {
            let path = driver.to_str().ok_or_else(|| EalError::Invalid {
                what: "driver",
                value: driver.display().to_string(),
                expected: "expected a path in UTF-8",
            })?;
            arguments.extend(["-d".into(), path.to_owned()]);
        }
        let megabytes = match memory {
            MemoryChoice::NoHuge { .. } => options.ordinary_mb,
            MemoryChoice::Hugepages { .. } | MemoryChoice::InMemory => options.memory_mb,
        };
        arguments.extend(["-m".into(), megabytes.to_string()]);
        // It warns at every start that an interface which this version dropped is not served.
        arguments.push("--log-level=lib.telemetry:error".into());
        arguments.extend(["--file-prefix".into(), options.file_prefix.clone()]);
        // The main lcore runs nothing: its thread ends when EAL is up. It is placed beside the workers where possible.
        let free: Vec<usize> = allowed.iter().copied().filter(|cpu| !options.cores.contains(cpu)).collect();
        let main = if free.is_empty() { allowed.into_iter().collect() } else { free };
        let mut lcores = format!("0@({})", cpu_list(&main));
        let mut workers = Vec::new();
        for (id, &core) in (1..).zip(&options.cores) {
            lcores.push_str(&format!(",{id}@{core}"));
            workers.push(Lcore::new(id, Some(core)));
        }
        arguments.extend(["--lcores".into(), lcores]);
        start(arguments)?;
        // SAFETY: EAL runs. The capture server is a convenience: without shared memory it cannot start.
        if unsafe { dpdk_sys::rte_pdump_init() } != 0 {
            log::debug!("packet capture with dpdk-dumpcap is not available: {}", error_text(last_error()));
        }
        let file_prefix = options.file_prefix.clone();
        Ok(Eal { running: Arc::new(Running), launching: Mutex::new(()), workers, memory, file_prefix })
    }

    /// Where packet memory came from; its text is meant for the log.
    pub fn memory(&self) -> &MemoryChoice {
        &self.memory
    }

    /// The worker lcores, in the order of the configured cores.
    pub fn workers(&self) -> &[Lcore] {
        &self.workers
    }

    /// Ends EAL: gives hugepages back and removes its files. Nothing happens, but for a warning, while ports, mempools or
    /// workers are still alive, or mbufs were lost: their memory must not vanish.
    pub fn cleanup(self) {
        let users = Arc::strong_count(&self.running) - 1;
        if users > 0 {
            log::warn!("DPDK's memory stays as it is: {users} ports, mempools or workers still use it");
            return;
        }
        let directory = runtime_directory();
        // SAFETY: EAL runs, and nothing can use its capture server any more.
        unsafe { dpdk_sys::rte_pdump_uninit() };
        // SAFETY: EAL runs, `self` is the only proof of it and is consumed, and no one else holds memory of EAL's.
        unsafe { dpdk_sys::rte_eal_cleanup() };
        // EAL leaves its shared files, some megabytes, until a process with the same prefix starts. The lock that keeps
        // others out of the directory is held until this process ends.
        if directory.file_name() == Some(OsStr::new(&self.file_prefix)) {
            let _ = std::fs::remove_dir_all(&directory);
        }
    }
}

/// EAL for tests and simulations: no hugepages, no PCI, no root, and workers that may run on any CPU. Starts with the
/// first call in a process and stays; works on whatever thread. Its eight workers are shared by all tests of the
/// process, so each test launches on a worker of its own.
///
/// # Panics
/// Where EAL does not start: there is nothing to test then.
pub fn test_eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        const WORKERS: u32 = 8;
        let anywhere = cpu_list(&allowed_cpus().into_iter().collect::<Vec<_>>());
        let lcores: Vec<String> = (0..=WORKERS).map(|id| format!("{id}@({anywhere})")).collect();
        let memory = MemoryChoice::NoHuge { reason: "for tests".into() };
        let mut arguments = memory.arguments(false);
        arguments.extend(["--no-pci", "--no-telemetry", "--no-shconf", "-m", "512"].map(String::from));
        arguments.push(format!("--file-prefix=carpool-test-{}", std::process::id()));
        arguments.extend(["--lcores".into(), lcores.join(",")]);
        if let Err(error) = start(arguments) {
            panic!("{error}");
        }
        remove_runtime_directory();
        let workers = (1..=WORKERS).map(|id| Lcore::new(id, None)).collect();
        Eal { running: Arc::new(Running), launching: Mutex::new(()), workers, memory, file_prefix: String::new() }
    })
}

/// Removes EAL's directory for shared files, if it put none there: nobody does when a test ends.
fn remove_runtime_directory() {
    // A directory with something in it stays, as does one that is not ours.
    let _ = std::fs::remove_dir(runtime_directory());
}

/// EAL's directory for the shared files of this process. EAL must have been started.
fn runtime_directory() -> PathBuf {
    // SAFETY: EAL was started; the path is a static buffer of its own that it does not change any more.
    let path = unsafe { dpdk_sys::rte_eal_get_runtime_dir() };
    // SAFETY: a terminated string, as above.
    let path = unsafe { CStr::from_ptr(path) };
    PathBuf::from(OsStr::from_bytes(path.to_bytes()))
}

/// CPUs this process may run on.
fn allowed_cpus() -> BTreeSet<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return BTreeSet::from([0]) };
    (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect()
}

/// EAL's notation for a set of CPUs.
fn cpu_list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// Checks that every worker core exists, may be used, and is named once.
fn check_cores(cores: &[usize], allowed: &BTreeSet<usize>) -> Result<(), EalError> {
    let limit = dpdk_sys::RTE_MAX_LCORE as usize - 1;
    if cores.len() > limit {
        return Err(EalError::TooManyCores { count: cores.len(), limit });
    }
    let mut seen = BTreeSet::new();
    for &core in cores {
        if !allowed.contains(&core) {
            let allowed = cpu_list(&allowed.iter().copied().collect::<Vec<_>>());
            return Err(EalError::CoreNotAllowed { core, allowed });
        }
        if !seen.insert(core) {
            return Err(EalError::DuplicateCore { core });
        }
    }
    Ok(())
}

/// Runs `rte_eal_init` on a thread of its own.
fn start(arguments: Vec<String>) -> Result<(), EalError> {
    static STARTED: AtomicBool = AtomicBool::new(false);
    let arguments = std::iter::once("carpool".to_owned())
        .chain(arguments)
        .map(|argument| {
            CString::new(argument.as_str()).map_err(|_| EalError::Invalid {
                what: "argument",
                value: argument,
                expected: "expected text without a NUL byte",
            })
        })
        .collect::<Result<Vec<CString>, EalError>>()?;
    if STARTED.swap(true, Ordering::SeqCst) {
        return Err(EalError::AlreadyStarted);
    }
    log_stream::install();
    let starter = thread::Builder::new().name("eal-start".into()).spawn(move || {
        mask_signals();
        log_stream::capture(|| rte_eal_init(&arguments))
    });
    let outcome = starter.map(|thread| thread.join());
    match outcome {
        Ok(Ok((Ok(()), _))) => Ok(()),
        Ok(Ok((Err(number), lines))) if lines.is_empty() => Err(EalError::Start { cause: error_text(number) }),
        // What EAL logged says more; it does not always set an error number.
        Ok(Ok((Err(0), lines))) => Err(EalError::Start { cause: lines }),
        Ok(Ok((Err(number), lines))) => Err(EalError::Start { cause: format!("{}: {lines}", error_text(number)) }),
        Ok(Err(_)) => Err(EalError::Start { cause: "the starting thread panicked".into() }),
        Err(error) => Err(EalError::Start { cause: format!("no thread to start it on: {error}") }),
    }
}

/// Calls `rte_eal_init`; the error is `rte_errno`.
fn rte_eal_init(arguments: &[CString]) -> Result<(), i32> {
    let mut argv: Vec<*mut c_char> = arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
    let count = argv.len() as c_int;
    argv.push(std::ptr::null_mut());
    // SAFETY: argv holds `count` NUL-terminated strings and a null pointer, as a C main function gets them. EAL permutes
    // the pointers and copies the strings it keeps. It was not called before: `start` sees to that.
    let parsed = unsafe { dpdk_sys::rte_eal_init(count, argv.as_mut_ptr()) };
    if parsed < 0 { Err(last_error()) } else { Ok(()) }
}

/// Keeps process-directed signals away from EAL's threads, which inherit this thread's mask: a worker must not run a
/// signal handler. SIGIO stays: the TAP driver counts on it.
fn mask_signals() {
    let mut blocked = SigSet::empty();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGCHLD,
        Signal::SIGALRM,
        Signal::SIGWINCH,
        Signal::SIGTSTP,
    ] {
        blocked.add(signal);
    }
    // It can only fail for a wrong `how`, and a handler that runs on a worker costs time, not correctness.
    let _ = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&blocked), None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_is_missing_or_named_twice_is_refused_by_number() {
        let allowed = BTreeSet::from([0, 1, 3]);
        assert!(check_cores(&[3, 1], &allowed).is_ok());
        let error = check_cores(&[1, 2], &allowed).expect_err("core 2 is not there");
        assert!(error.to_string().contains("core 2") && error.to_string().contains("0,1,3"), "{error}");
        let error = check_cores(&[1, 3, 1], &allowed).expect_err("core 1 twice");
        assert!(error.to_string().contains("core 1 is named twice"), "{error}");
    }

    #[test]
    fn it_starts_once_in_a_process() {
        test_eal();
        let core = *allowed_cpus().first().expect("this test runs somewhere");
        let options = EalOptions {
            cores: vec![core],
            memory: Memory::NoHuge,
            memory_mb: 64,
            ordinary_mb: 64,
            pci: vec![],
            shares_memory: false,
            drivers: vec![],
            file_prefix: "carpool-second".into(),
        };
        assert!(matches!(Eal::init(&options), Err(EalError::AlreadyStarted)));
    }

    #[test]
    fn a_file_prefix_that_is_no_file_name_is_refused() {
        let options = EalOptions {
            cores: vec![],
            memory: Memory::NoHuge,
            memory_mb: 64,
            ordinary_mb: 64,
            pci: vec![],
            shares_memory: false,
            drivers: vec![],
            file_prefix: "a/b".into(),
        };
        assert!(matches!(Eal::init(&options), Err(EalError::Invalid { .. })));
    }
}
