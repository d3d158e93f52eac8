//! One measurement at a time: two at once would measure each other, and the benchmark's routers have one name with DPDK.
//! `scripts/bench`, `scripts/loadtest` and `carpool-gen` take turns.

use std::io::{ErrorKind, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use crate::error::BenchError;
use crate::interrupt::Interrupt;

/// How often who waits looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(200);

/// The right to measure, until it is dropped or its process ends.
pub struct Turn {
    _held: UnixListener,
}

impl Turn {
    /// Takes the turn of this machine, or of this network namespace; waits while another process has it, and says so.
    pub fn take(interrupt: &Interrupt, say: impl Fn(&str)) -> Result<Turn, BenchError> {
        Turn::of("carpool-bench", interrupt, say)
    }

    fn of(name: &str, interrupt: &Interrupt, say: impl Fn(&str)) -> Result<Turn, BenchError> {
        let failed =
            |error: std::io::Error| BenchError::System(format!("the turn to measure cannot be taken: {error}"));
        // An abstract name: it goes with the process that has it, and leaves no file.
        let address = SocketAddr::from_abstract_name(name).map_err(failed)?;
        let mut said = false;
        loop {
            match UnixListener::bind_addr(&address) {
                Ok(held) => return Ok(Turn { _held: held }),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(failed(error)),
            }
            if !said {
                say("another measurement runs here: this one begins when that has ended");
                said = true;
            }
            interrupt.check()?;
            // One connection for all the time: nobody takes it, and only so many have room in the queue of who measures.
            match UnixStream::connect_addr(&address) {
                Ok(other) => wait_for_end(other, interrupt).map_err(failed)?,
                // It has just ended, or cannot be connected with.
                Err(_) => thread::sleep(PATIENCE),
            }
            interrupt.check()?;
        }
    }
}

/// Waits until who measures ends, which closes the connection, or somebody wants this to end.
fn wait_for_end(mut other: UnixStream, interrupt: &Interrupt) -> std::io::Result<()> {
    other.set_read_timeout(Some(PATIENCE))?;
    while interrupt.check().is_ok() {
        match other.read(&mut [0]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            _ => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn the_second_waits_for_the_first_and_says_so_once() {
        let name = format!("carpool-bench-test-{}", std::process::id());
        let interrupt = Interrupt::default();
        let first = Turn::of(&name, &interrupt, |line| panic!("nobody has it: {line}")).expect("it is free");
        let (told, tell) = mpsc::channel();
        thread::scope(|scope| {
            let second = scope.spawn(|| Turn::of(&name, &Interrupt::default(), move |_| told.send(()).expect("heard")));
            tell.recv().expect("it waits, and says so");
            assert!(!second.is_finished());
            drop(first);
            assert!(second.join().expect("no panic").is_ok());
        });
        assert!(tell.recv().is_err(), "it says so once");
    }
}
