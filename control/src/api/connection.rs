//! One client's connection: lines in, lines out, one request at a time, everything bounded.
//!
//! A client that sends nothing, sends half a line, sends too much or does not read is cut off; its thread ends. Requests
//! are answered in the order they came; nothing is read while one is being answered.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::call::Caller;
use super::command::{Command, Reply};
use super::json_rpc::{Code, Operation, Rejected, Request, RpcError, answer_line, parse_line};
use super::route_load::{LoadStep, Loading};
use super::server::Limits;

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// Serves one client until it leaves or breaks a bound.
pub(super) struct Connection<'a> {
    stream: &'a UnixStream,
    caller: &'a Caller,
    limits: Limits,
    loading: Loading,
    /// What was received and is not answered yet.
    received: Vec<u8>,
    /// How much of `received` is known to have no line feed.
    searched: usize,
}

/// Why no further line comes.
enum End {
    /// The client has closed the connection, or it failed.
    Closed,
    /// The line is longer than the bound.
    TooLong,
    /// Nothing came for too long.
    Idle,
    /// A line began and did not end in time.
    Slow,
}

impl<'a> Connection<'a> {
    pub(super) fn new(stream: &'a UnixStream, caller: &'a Caller, limits: Limits, loading: Loading) -> Self {
        Connection { stream, caller, limits, loading, received: Vec::new(), searched: 0 }
    }

    /// Reads and answers requests. Returns when the connection is to be closed.
    pub(super) fn serve(mut self) {
        loop {
            let answer = match self.next_line() {
                Ok(line) => self.answer(&line),
                Err(end) => {
                    if let Some(error) = self.farewell(&end) {
                        let _ = self.send(&answer_line::<Reply>(&Value::Null, Err(&error)));
                    }
                    return;
                }
            };
            if let Some(answer) = answer
                && self.send(&answer).is_err()
            {
                return;
            }
        }
    }

    /// What the client is told before the connection is closed.
    fn farewell(&self, end: &End) -> Option<RpcError> {
        match end {
            End::Closed => None,
            End::TooLong => {
                let message = format!("a request is at most {} bytes long", self.limits.line_bytes);
                Some(RpcError::new(Code::LineTooLong, message))
            }
            End::Idle => {
                let message = format!("no request came for {} s", self.limits.idle.as_secs_f64());
                Some(RpcError::new(Code::Idle, message))
            }
            End::Slow => {
                let message = format!("a request took longer than {} s to arrive", self.limits.line_time.as_secs_f64());
                Some(RpcError::new(Code::Idle, message))
            }
        }
    }

    /// The next line that is not blank, without its end.
    fn next_line(&mut self) -> Result<Vec<u8>, End> {
        let idle_until = Instant::now() + self.limits.idle;
        let mut line_until = (!self.received.is_empty()).then(|| Instant::now() + self.limits.line_time);
        loop {
            let unsearched = self.received.get(self.searched..).unwrap_or_default();
            if let Some(end) = unsearched.iter().position(|byte| *byte == b'\n').map(|at| self.searched + at) {
                if end > self.limits.line_bytes {
                    return Err(End::TooLong);
                }
                let rest = self.received.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.received, rest);
                line.pop();
                self.searched = 0;
                if line.iter().all(u8::is_ascii_whitespace) {
                    line_until = (!self.received.is_empty()).then(|| Instant::now() + self.limits.line_time);
                    continue;
                }
                return Ok(line);
            }
            self.searched = self.received.len();
            if self.received.len() > self.limits.line_bytes {
                return Err(End::TooLong);
            }
            let (until, late) = match line_until {
                Some(until) => (until, End::Slow),
                None => (idle_until, End::Idle),
            };
            match self.receive(until) {
                Ok(0) => return Err(End::Closed),
                Ok(_) => line_until = line_until.or_else(|| Some(Instant::now() + self.limits.line_time)),
                Err(error) if is_timeout(&error) => return Err(late),
                Err(_) => return Err(End::Closed),
            }
        }
    }

    /// Receives what there is, or waits for some until the time given.
    fn receive(&mut self, until: Instant) -> io::Result<usize> {
        let mut bytes = [0; READ_BYTES];
        loop {
            self.stream.set_read_timeout(Some(time_left(until)?))?;
            match (&mut &*self.stream).read(&mut bytes) {
                Ok(count) => {
                    self.received.extend_from_slice(bytes.get(..count).unwrap_or_default());
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a line, in no more than the time a client has to read one.
    fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        let until = Instant::now() + self.limits.line_time;
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(time_left(until)?))?;
            match (&mut &*self.stream).write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The line that answers this one; None for a notification.
    fn answer(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        match parse_line(line) {
            Ok(Request { id, operation }) => {
                // A notification is carried out too.
                let outcome = match operation {
                    Operation::Command(command) => self.call(command, self.limits.command_time),
                    Operation::Load(LoadStep::Begin(_)) => {
                        let begun = self.loading.begin();
                        return id.map(|id| answer_line(&id, Ok(&begun)));
                    }
                    Operation::Load(LoadStep::Chunk(chunk)) => {
                        let added = self.loading.add(chunk).map_err(RpcError::from);
                        return id.map(|id| answer_line(&id, added.as_ref()));
                    }
                    Operation::Load(LoadStep::Commit(commit)) => match self.loading.commit(commit) {
                        Ok(load) => self.call(Command::RouteLoad(load), self.limits.load_time),
                        Err(refusal) => Err(refusal.into()),
                    },
                };
                id.map(|id| answer_line(&id, outcome.as_ref()))
            }
            Err(Rejected { id, error }) => id.map(|id| answer_line::<Reply>(&id, Err(&error))),
        }
    }

    fn call(&self, command: Command, time: Duration) -> Result<Reply, RpcError> {
        self.caller.call(command, time)?.map_err(RpcError::from)
    }
}

/// The time until then, never zero, which would mean no bound to the socket.
fn time_left(until: Instant) -> io::Result<Duration> {
    match until.checked_duration_since(Instant::now()) {
        Some(left) if !left.is_zero() => Ok(left.max(Duration::from_micros(1))),
        _ => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
