//! One network namespace: a machine of the lab.
//!
//! A namespace is entered per thread (setns(2)) or per command (`ip netns exec`); the rest of the process stays where
//! it was. [`crate::lab::Lab`] creates them and [`crate::leftovers`] sees to it that none survives.

use std::{fs, fs::File, process::Command, thread};

use nix::sched::{CloneFlags, setns};

use crate::error::{Doing, Error, Result};

/// Where iproute2 keeps its names, one file each.
pub(crate) const DIRECTORY: &str = "/run/netns";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    full: String,
}

impl Namespace {
    /// Creates the namespace `full`, with its loopback up and IPv6 off: a lab that speaks IPv4 is silent otherwise.
    pub(crate) fn create(full: String) -> Result<Self> {
        run(Command::new("ip").args(["netns", "add", &full]))?;
        let namespace = Self { full };
        for scope in ["all", "default"] {
            namespace.sysctl(&format!("ipv6/conf/{scope}/disable_ipv6"), "1")?;
            // Replies may leave by another interface than the question came in by; the lab does not police that.
            namespace.sysctl(&format!("ipv4/conf/{scope}/rp_filter"), "0")?;
        }
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The name as `ip netns` knows it.
    pub fn full_name(&self) -> &str {
        &self.full
    }

    /// A command that will run inside. Its process id is the program's own: `ip netns exec` replaces itself.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.full, program]);
        command
    }

    /// `ip -n NAMESPACE ...`
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new("ip").args(["-n", &self.full]).args(arguments))
    }

    /// Sets `/proc/sys/net/<key>`, which shows each thread its own namespace.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{key}");
        self.enter(|| fs::write(&path, value))?.doing(format!("writing {value} to {path} in {}", self.full))
    }

    /// Runs `work` on a thread of its own inside the namespace: sockets it opens belong there for good.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            scope
                .spawn(|| self.join().map(|()| work()))
                .join()
                .map_err(|_| Error::Thread(format!("it panicked inside {}", self.full)))?
        })
    }

    /// Moves the calling thread into the namespace for the rest of its life.
    pub fn join(&self) -> Result<()> {
        let path = format!("{DIRECTORY}/{}", self.full);
        let file = File::open(&path).doing(format!("opening {path}"))?;
        setns(file, CloneFlags::CLONE_NEWNET).doing(format!("entering {path}"))
    }
}

/// Runs a command to its end and returns what it printed; what it complained about becomes the error.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let words = words.join(" ");
    let output = command.stdin(std::process::Stdio::null()).output().doing(format!("running `{words}`"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::Command { command: words, output: format!("{} ({})", complaint, output.status) })
    }
}
