//! Programs that run beside the benchmark: started, waited for, and ended where they hang.

use std::io;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::BenchError;

/// How long a program may take to end once it has all its input.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a program of a Debian package.
pub fn spawn(command: &mut Command, program: &'static str, package: &'static str) -> Result<Child, BenchError> {
    command.spawn().map_err(|error| match error.kind() {
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
