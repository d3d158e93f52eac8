//! The client's end of the control socket: one call at a time.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Failure;
use crate::api::Method;
use crate::api::json_rpc::RpcError;

/// How long the router may take to answer. It gives up by itself before that ([`crate::api::Limits`]) and says so.
const ANSWER_TIME: Duration = Duration::from_secs(150);

/// A connection to the router.
pub(super) struct Client {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
    calls: u64,
}

#[derive(Serialize)]
struct Request<'a, M> {
    jsonrpc: &'static str,
    id: u64,
    method: &'static str,
    params: &'a M,
}

#[derive(Deserialize)]
struct Answer<R> {
    id: Value,
    #[serde(default = "Option::default")]
    result: Option<R>,
    #[serde(default)]
    error: Option<RpcError>,
}

impl Client {
    /// Connects to the router at `socket`.
    pub(super) fn connect(socket: &Path) -> Result<Client, Failure> {
        let connect = || {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(ANSWER_TIME))?;
            stream.set_write_timeout(Some(ANSWER_TIME))?;
            Ok(stream)
        };
        let stream = connect().map_err(|error: io::Error| {
            let socket = socket.display();
            Failure::Unreachable(match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    format!("{socket}: {}; root and the socket's group may use it", reason(&error))
                }
                _ => format!("no router answers at {socket} ({}); is carpoold running?", reason(&error)),
            })
        })?;
        Ok(Client { socket: socket.to_owned(), stream: BufReader::new(stream), calls: 0 })
    }

    /// Calls a method and waits for its answer.
    pub(super) fn call<M: Method>(&mut self, params: &M) -> Result<M::Reply, Failure> {
        self.calls += 1;
        let request = Request { jsonrpc: "2.0", id: self.calls, method: M::NAME, params };
        let mut line = serde_json::to_vec(&request)
            .map_err(|error| Failure::Usage(format!("{}: cannot be written as JSON: {error}", M::NAME)))?;
        line.push(b'\n');
        let sent = self.stream.get_mut().write_all(&line);
        // Also where sending failed: a router that turns a client away says why before it hangs up.
        let mut answer = Vec::new();
        let received = self.stream.read_until(b'\n', &mut answer);
        if !answer.ends_with(b"\n") {
            let problem = match (sent, received) {
                (_, Err(error)) | (Err(error), _) => reason(&error),
                (Ok(()), Ok(_)) => "it closed the connection".to_owned(),
            };
            return Err(self.unreachable(&format!("{} was not answered: {problem}", M::NAME)));
        }
        let answer: Answer<M::Reply> = serde_json::from_slice(&answer)
            .map_err(|error| self.unreachable(&format!("its answer to {} is not understood: {error}", M::NAME)))?;
        match answer {
            Answer { error: Some(error), .. } => Err(Failure::Refused(error.message)),
            Answer { id, result: Some(result), .. } if id == self.calls => Ok(result),
            _ => Err(self.unreachable(&format!("it answered something else than {}", M::NAME))),
        }
    }

    fn unreachable(&self, problem: &str) -> Failure {
        Failure::Unreachable(format!("the router at {}: {problem}", self.socket.display()))
    }
}

/// A system error without its number.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}
