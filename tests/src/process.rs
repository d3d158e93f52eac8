//! A program that runs in the lab, with its output in a file, ended by its process id.
//!
//! A thread waits for its end without reaping it (waitid(2), WNOWAIT), so the id stays ours until the owner has taken
//! note: a signal can never hit a stranger that inherited the number.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};

use crate::{
    error::{Doing, Error, Result},
    leftovers,
};

#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    ended: Receiver<()>,
    log: PathBuf,
    left_running: bool,
}

impl Process {
    /// Starts `command` in a process group of its own (Ctrl-C at the terminal is for the lab, which ends it in
    /// order), with stdout and stderr appended to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = open_log(name, log)?;
        let errors = file.try_clone().doing("duplicating a descriptor")?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        Self::spawn(name, command, log)
    }

    /// The same for one that is talked to: its stdin and stdout are the caller's, stderr is appended to `log`.
    pub fn start_talking(name: &str, command: &mut Command, log: &Path) -> Result<(Self, ChildStdin, ChildStdout)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(open_log(name, log)?);
        let mut process = Self::spawn(name, command, log)?;
        match (process.child.stdin.take(), process.child.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok((process, stdin, stdout)),
            _ => Err(Error::Malformed { what: format!("the start of {name}"), why: "it has no pipes".to_owned() }),
        }
    }

    fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        command.process_group(0);
        let child = leftovers::start_process(|| command.spawn()).doing(format!("starting {name}"))?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let (sender, ended) = channel();
        thread::spawn(move || {
            while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
            // The owner may have stopped listening.
            let _ = sender.send(());
        });
        Ok(Self { name: name.to_owned(), child, ended, log: log.to_owned(), left_running: false })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it has printed so far, both streams.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).doing(format!("sending {signal} to {}", self.name))
    }

    /// Waits for it to end of its own accord.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        if self.ended.recv_timeout(limit).is_err() {
            // A second wait after the end was noted, or a thread that is gone: the child itself knows.
            if let Some(status) = self.child.try_wait().doing(format!("asking for the end of {}", self.name))? {
                leftovers::forget_process(self.pid());
                return Ok(status);
            }
            return Err(Error::Timeout {
                event: format!("the end of {}", self.name),
                after: limit,
                seen: last_lines(&self.output()),
            });
        }
        let status = self.child.wait().doing(format!("reaping {}", self.name))?;
        leftovers::forget_process(self.pid());
        Ok(status)
    }

    /// Whether it has ended, without waiting.
    pub fn has_ended(&mut self) -> bool {
        self.wait(Duration::ZERO).is_ok()
    }

    /// SIGTERM, and the exit status it answers with.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(limit)
    }

    /// SIGKILL: no goodbye, no flush.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        self.wait(Duration::from_secs(5))
    }

    /// It outlives this handle.
    pub(crate) fn leave_running(&mut self) {
        self.left_running = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.left_running || self.has_ended() {
            return;
        }
        if self.terminate(Duration::from_secs(3)).is_err() {
            // Nothing more can be done for one that even SIGKILL does not end.
            let _ = self.kill();
        }
    }
}

fn open_log(name: &str, log: &Path) -> Result<File> {
    let opened = File::options().create(true).append(true).open(log);
    opened.doing(format!("opening {} for the output of {name}", log.display()))
}

fn last_lines(output: &str) -> String {
    let lines: Vec<_> = output.lines().collect();
    match lines.get(lines.len().saturating_sub(5)..) {
        Some(tail) if !tail.is_empty() => tail.join(" | "),
        _ => "it printed nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};

    use super::*;

    fn log() -> PathBuf {
        std::env::temp_dir().join(format!("carpool-process-test-{}", std::process::id()))
    }

    #[test]
    fn a_process_is_waited_for_signalled_and_ended_by_its_own_id() {
        let log = log();
        let mut process = Process::start("sh", Command::new("sh").args(["-c", "echo hello; exec sleep 60"]), &log)
            .expect("sh starts");
        let pid = process.pid();
        assert!(matches!(process.wait(Duration::from_millis(100)), Err(Error::Timeout { .. })), "it sleeps");
        assert_eq!(process.output(), "hello\n");
        let status = process.terminate(Duration::from_secs(5)).expect("it ends");
        assert!(!status.success());
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it is gone and reaped");
        fs::remove_file(log).expect("its log is removed");
    }

    #[test]
    fn one_that_is_talked_to_answers_and_ends_with_its_input() {
        let log = std::env::temp_dir().join(format!("carpool-process-talk-{}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "while read word; do echo got $word; done; echo bye >&2"]);
        let (mut process, mut to, from) = Process::start_talking("sh", &mut command, &log).expect("sh starts");
        to.write_all(b"one\n").expect("it listens");
        let mut line = String::new();
        BufReader::new(from).read_line(&mut line).expect("it answers");
        assert_eq!(line, "got one\n");
        drop(to);
        assert!(process.wait(Duration::from_secs(5)).expect("it ends").success());
        assert_eq!(process.output(), "bye\n", "what it complains about is in its log");
        fs::remove_file(log).expect("its log is removed");
    }
}
