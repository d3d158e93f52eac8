//! Trials as they are asked for: a JSON command a line comes in, an answer a line goes out. For programs that search for
//! limits, as DPDK takes a second to start and a router has to find its neighbours anew each time.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, bounded};
use serde::Deserialize;

use crate::GenError;
use crate::options::ServeArgs;
use crate::rig::Rig;
use crate::trial::{Findings, Trial, Trials};

/// The longest command in bytes.
const LONGEST_COMMAND: u64 = 65_536;
/// How often an end that somebody wants is noticed.
const NOTICE: Duration = Duration::from_millis(50);

/// A command.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    trial: Trial,
}

/// Answers commands until there are no more.
pub fn serve(args: &ServeArgs, interrupted: &Arc<AtomicBool>) -> Result<(), GenError> {
    let mut rig = Rig::start(&args.ports, interrupted)?;
    let done = answer_all(args, &mut rig, interrupted);
    rig.stop();
    done
}

fn answer_all(args: &ServeArgs, rig: &mut Rig, interrupted: &AtomicBool) -> Result<(), GenError> {
    let mut trials = Trials::new(&args.ports, rig);
    let (line_in, lines) = bounded(1);
    // Reading cannot be interrupted: it has a thread, which ends with the process.
    thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = String::new();
            let read = std::io::Read::take(&mut input, LONGEST_COMMAND).read_line(&mut line);
            let is_end = matches!(read, Ok(0));
            let failed = read.is_err();
            if is_end || line_in.send(read.map(|_| line)).is_err() || failed {
                return;
            }
        }
    });
    while !interrupted.load(Ordering::Relaxed) {
        let line = match lines.recv_timeout(NOTICE) {
            Ok(Ok(line)) => line,
            Ok(Err(error)) => return Err(GenError::new(format!("commands cannot be read: {error}"))),
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if line.trim().is_empty() {
            continue;
        }
        let answer = match answer(&mut trials, &line) {
            Ok(findings) => serde_json::to_string(&findings),
            Err(error) => serde_json::to_string(&serde_json::json!({ "error": error.to_string() })),
        };
        let answer = answer.map_err(|error| GenError::new(error.to_string()))?;
        let mut output = std::io::stdout().lock();
        writeln!(output, "{answer}")
            .and_then(|()| output.flush())
            .map_err(|error| GenError::new(format!("answers cannot be written: {error}")))?;
    }
    Ok(())
}

fn answer(trials: &mut Trials<'_>, line: &str) -> Result<Findings, GenError> {
    let command: Command = serde_json::from_str(line).map_err(|error| {
        GenError::new(format!("{error}; expected {{\"trial\":{{\"pps\":…,\"seconds\":…,\"size\":…}}}}"))
    })?;
    trials.run(&command.trial, |_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::Size;

    #[test]
    fn a_command_is_read_with_and_without_what_may_be_left_out() {
        let read = |text: &str| serde_json::from_str::<Command>(text).map(|command| command.trial);
        let whole = r#"{"trial":{"pps":1000000,"seconds":2.0,"warm_up":0.2,"size":64,"flows":64,"destinations":256,"burst":null}}"#;
        let trial = read(whole).expect("sound");
        assert_eq!((trial.pps, trial.size, trial.burst), (Some(1e6), Size::Bytes(64), None));
        let short = read(r#"{"trial":{"seconds":1,"size":"imix"}}"#).expect("sound");
        assert_eq!((short.pps, short.size, short.flows, short.destinations), (None, Size::Imix, 1, 1));
        for wrong in ["", "{}", r#"{"trial":{}}"#, r#"{"trial":{"seconds":1,"size":"x"}}"#, r#"{"trail":{}}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let unknown = read(r#"{"trial":{"seconds":1,"size":64,"ppps":3}}"#).expect_err("unknown").to_string();
        assert!(unknown.contains("ppps"), "{unknown}");
    }
}
