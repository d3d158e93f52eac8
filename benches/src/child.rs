//! Programs that run beside the benchmark: started, waited for, and ended where they hang.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::BenchError;

/// How long a program may take to end once it has all its input.
const PATIENCE: Duration = Duration::from_secs(60);

/// What makes a command one that ends with who started it, and its Debian package.
const BOUND: &str = "setpriv";
const BOUND_PACKAGE: &str = "util-linux";
const BOUND_ARGUMENTS: [&str; 3] = ["--pdeathsig", "KILL", "--"];

/// A program that is killed when the thread that starts it ends, in whatever way: a router or a generator that spins is not to
/// have a CPU for nobody.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(BOUND);
    command.args(BOUND_ARGUMENTS).arg(program);
    command
}

/// Whether there is the program of a command: the one that it is bound by would not know its package.
fn exists(command: &Command) -> bool {
    if command.get_program() != BOUND {
        return true;
    }
    let Some(program) = command.get_args().nth(BOUND_ARGUMENTS.len()).map(Path::new) else { return true };
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Starts a program of a Debian package.
pub fn spawn(command: &mut Command, program: &'static str, package: &'static str) -> Result<Child, BenchError> {
    if !exists(command) {
        return Err(BenchError::Missing { program, package });
    }
    command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if command.get_program() == BOUND => {
            BenchError::Missing { program: BOUND, package: BOUND_PACKAGE }
        }
        io::ErrorKind::NotFound => BenchError::Missing { program, package },
        _ => BenchError::Run { program, problem: error.to_string() },
    })
}

/// What a program of a Debian package prints. Where it fails, the error has the last lines of what it complained about.
pub fn output(command: &mut Command, program: &'static str, package: &'static str) -> Result<String, BenchError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = spawn(command, program, package)?.wait_with_output();
    let failed = |problem: String| BenchError::Run { program, problem };
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(format!("{}: {}", output.status, last_lines(&String::from_utf8_lossy(&output.stderr)))));
    }
    String::from_utf8(output.stdout).map_err(|error| failed(error.to_string()))
}

/// The last lines of a text that say something, in one.
pub fn last_lines(text: &str) -> String {
    let last: Vec<&str> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
    last.into_iter().rev().collect::<Vec<_>>().join("; ")
}

/// Its standard input, which was asked to be a pipe.
pub fn stdin_of(child: &mut Child, program: &'static str) -> Result<ChildStdin, BenchError> {
    child.stdin.take().ok_or_else(|| BenchError::Run { program, problem: "it has no input".into() })
}

/// Waits until it ends; ends it where it does not.
pub fn wait(mut child: Child, program: &'static str) -> Result<ExitStatus, BenchError> {
    let failed = |problem: String| BenchError::Run { program, problem };
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|error| failed(error.to_string()))? {
            return Ok(status);
        }
        if started.elapsed() > PATIENCE {
            // It may have ended this moment: then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(format!("it did not end within {} s", PATIENCE.as_secs())));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_program_ends_with_who_started_it() {
        let start = || {
            let mut command = command("sh");
            command.args(["-c", "echo ready; exec sleep 600"]).stdout(Stdio::piped());
            let mut child = spawn(&mut command, "sh", "dash").expect("it can be started");
            let mut line = String::new();
            BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("it speaks");
            assert_eq!(line, "ready\n");
            child
        };
        // To the kernel, who starts a process is a thread.
        let mut child = thread::spawn(start).join().expect("no panic");
        assert_eq!(child.wait().expect("it is ours").signal(), Some(9), "it was killed");
    }

    #[test]
    fn a_program_that_is_missing_is_named_with_its_package() {
        for missing in ["carpool-no-such-program", "/nowhere/carpool-no-such-program"] {
            let error = output(&mut command(missing), "no-such-program", "its-package").expect_err("it is missing");
            assert!(error.to_string().contains("install Debian's package its-package"), "{error}");
        }
    }

    #[test]
    fn where_nothing_can_be_bound_the_package_of_what_binds_is_named() {
        let error = output(command("sh").env("PATH", "/nowhere"), "sh", "dash").expect_err("it is missing");
        assert_eq!(error.to_string(), "setpriv is missing: install Debian's package util-linux");
    }
}
