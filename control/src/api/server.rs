//! The listening socket: its file, its clients and their end.
//!
//! One thread accepts, each client has a thread of its own. The file is never open to others, not even for a moment: its
//! mode is set between bind and listen. What a dead router left is replaced, a living one is not disturbed.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use log::{debug, warn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use serde_json::Value;

use super::call::{Call, Caller, Ring};
use super::command::Reply;
use super::connection::Connection;
use super::json_rpc::{Code, RpcError, answer_line};
use super::route_load::{LoadBudget, Loading};

/// Who may open the socket: owner and group.
const MODE: u32 = 0o660;
/// How long the accepting thread rests when the system has no descriptor left for another client.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What clients may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Clients at a time.
    pub clients: usize,
    /// The longest request, in bytes, without its line feed.
    pub line_bytes: usize,
    /// How long a client may be silent between requests.
    pub idle: Duration,
    /// How long a request may take to arrive, and an answer to be read.
    pub line_time: Duration,
    /// How long a client waits for the control thread.
    pub command_time: Duration,
    /// How long a client waits for it to take a table of routes.
    pub load_time: Duration,
    /// Routes that are being loaded, all clients together.
    pub load_routes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            clients: 32,
            line_bytes: 1 << 20,
            idle: Duration::from_secs(300),
            line_time: Duration::from_secs(30),
            command_time: Duration::from_secs(5),
            load_time: Duration::from_secs(120),
            load_routes: 4 << 20,
        }
    }
}

/// Why the router cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("control socket {0}: another router answers there")]
    InUse(PathBuf),
    #[error("control socket {0}: the file there is no socket; remove it or choose another path")]
    NotASocket(PathBuf),
    #[error("control socket {path}: cannot {action}: {source}")]
    System { path: PathBuf, action: &'static str, source: io::Error },
}

/// A listening control socket. Dropping it closes all connections and removes the file.
#[derive(Debug)]
pub struct Server {
    file: SocketFile,
    clients: Arc<Clients>,
    /// Closed to end the accepting thread.
    stop: Option<UnixStream>,
    /// Closed to end the clients' waiting for answers: the control thread may be the one that drops the server.
    stop_waiting: Option<Sender<()>>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at `path`. Commands arrive at the receiver, each followed by a ring of `bell`; the receiver is for the
    /// control thread, which calls [`Call::serve`] on what it gets.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn listen(path: &Path, limits: Limits, bell: Arc<dyn Ring>) -> Result<(Server, Receiver<Call>), ServerError> {
        let (listener, file) = SocketFile::listen(path)?;
        let system = |action| move |source| ServerError::System { path: path.to_owned(), action, source };
        listener.set_nonblocking(true).map_err(system("listen"))?;
        let (stop, stopped) = UnixStream::pair().map_err(system("make a socket pair"))?;
        // A client waits for one answer at a time: there are never more calls than clients.
        let (stop_waiting, stopping) = bounded(0);
        let (caller, calls) = Caller::new(limits.clients, bell, stopping);
        let clients = Arc::new(Clients::default());
        let acceptor =
            Acceptor { caller, limits, clients: clients.clone(), budget: LoadBudget::new(limits.load_routes) };
        let accepting = thread::Builder::new()
            .name("control-accept".to_owned())
            .spawn(move || acceptor.run(&listener, &stopped))
            .map_err(system("start a thread"))?;
        let server =
            Server { file, clients, stop: Some(stop), stop_waiting: Some(stop_waiting), accepting: Some(accepting) };
        Ok((server, calls))
    }

    /// The socket file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop = None;
        self.stop_waiting = None;
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        self.clients.close_all();
        self.file.remove();
    }
}

/// The socket's file, and which one it is: a later router may have put its own in its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl SocketFile {
    fn listen(path: &Path) -> Result<(UnixListener, SocketFile), ServerError> {
        let system = |action| move |source: io::Error| ServerError::System { path: path.to_owned(), action, source };
        if let Some(directory) = path.parent()
            && let Err(error) = fs::create_dir(directory)
            && error.kind() != ErrorKind::AlreadyExists
            && !directory.as_os_str().is_empty()
        {
            return Err(system("make its directory")(error));
        }
        remove_stale(path)?;
        let address = UnixAddr::new(path).map_err(|error| system("use this path")(error.into()))?;
        let socket: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
            .map_err(|error| system("make a socket")(error.into()))?;
        bind(socket.as_raw_fd(), &address).map_err(|error| system("bind")(error.into()))?;
        let file = SocketFile { path: path.to_owned(), inode: inode(path).map_err(system("look at it"))? };
        fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(system("set its mode"))?;
        let backlog = Backlog::new(16).unwrap_or(Backlog::MAXCONN);
        listen(&socket, backlog).map_err(|error| system("listen")(error.into()))?;
        Ok((UnixListener::from(socket), file))
    }

    fn remove(&self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            warn!("control socket {}: cannot remove it: {error}", self.path.display());
        }
    }
}

fn inode(path: &Path) -> io::Result<u64> {
    fs::symlink_metadata(path).map(|metadata| metadata.ino())
}

/// Removes the socket file of a router that is no more.
fn remove_stale(path: &Path) -> Result<(), ServerError> {
    let system = |action| move |source| ServerError::System { path: path.to_owned(), action, source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("look at it")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(ServerError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ServerError::InUse(path.to_owned())),
        // Nobody listens: what bound it is gone.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(system("remove the one that a dead router left"))
        }
        Err(error) => Err(system("find out whether another router answers there")(error)),
    }
}

/// The connected clients.
#[derive(Debug, Default)]
struct Clients {
    connected: Mutex<HashMap<u64, Client>>,
}

#[derive(Debug)]
struct Client {
    stream: Arc<UnixStream>,
    /// None until its thread has been started.
    thread: Option<JoinHandle<()>>,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Client>> {
        // The map is whole between any two statements: a thread that panicked with the lock held did not break it.
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, number: u64) {
        self.lock().remove(&number);
    }

    /// Closes all connections and waits for their threads.
    fn close_all(&self) {
        let clients = std::mem::take(&mut *self.lock());
        for client in clients.values() {
            let _ = client.stream.shutdown(Shutdown::Both);
        }
        for thread in clients.into_values().filter_map(|client| client.thread) {
            let _ = thread.join();
        }
    }
}

/// The accepting thread.
struct Acceptor {
    caller: Caller,
    limits: Limits,
    clients: Arc<Clients>,
    budget: Arc<LoadBudget>,
}

impl Acceptor {
    /// Accepts clients until the other end of `stopped` is closed.
    fn run(self, listener: &UnixListener, stopped: &UnixStream) {
        for number in 0.. {
            match self.wait(listener, stopped) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    warn!("control socket: no more clients are accepted: {error}");
                    return;
                }
            }
            match listener.accept() {
                Ok((stream, _)) => self.welcome(number, stream),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => {
                    warn!("control socket: cannot accept a client: {error}");
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Waits for a client; false when the server stops.
    fn wait(&self, listener: &UnixListener, stopped: &UnixStream) -> nix::Result<bool> {
        let mut events =
            [PollFd::new(stopped.as_fd(), PollFlags::POLLIN), PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut events, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
        let [stopped, _] = events;
        Ok(stopped.revents().is_none_or(|events| events.is_empty()))
    }

    /// Starts a thread for a client, or turns it away.
    fn welcome(&self, number: u64, stream: UnixStream) {
        // Accepted sockets do not inherit O_NONBLOCK on Linux; said all the same, since reads rely on their timeouts.
        if let Err(error) = stream.set_nonblocking(false) {
            warn!("control socket: cannot serve a client: {error}");
            return;
        }
        let mut clients = self.clients.lock();
        if clients.len() >= self.limits.clients {
            drop(clients);
            turn_away(&stream, self.limits.clients);
            return;
        }
        let stream = Arc::new(stream);
        clients.insert(number, Client { stream: stream.clone(), thread: None });
        let (caller, limits, clients_of_thread) = (self.caller.clone(), self.limits, self.clients.clone());
        let loading = Loading::new(self.budget.clone());
        let serve = move || {
            Connection::new(&stream, &caller, limits, loading).serve();
            let _ = stream.shutdown(Shutdown::Both);
            clients_of_thread.remove(number);
            debug!("control socket: client {number} left");
        };
        // The lock is held until the thread is known: it cannot remove itself before.
        match thread::Builder::new().name(format!("control-{number}")).spawn(serve) {
            Ok(thread) => {
                if let Some(client) = clients.get_mut(&number) {
                    client.thread = Some(thread);
                }
            }
            Err(error) => {
                warn!("control socket: cannot start a client's thread: {error}");
                clients.remove(&number);
            }
        }
    }
}

/// Says why and hangs up. A new socket's buffer takes the line, so that this never blocks.
fn turn_away(mut stream: &UnixStream, clients: usize) {
    let error = RpcError::new(Code::TooManyClients, format!("{clients} clients are connected, and no more are served"));
    if stream.set_nonblocking(true).is_ok() {
        let _ = stream.write_all(&answer_line::<Reply>(&Value::Null, Err(&error)));
    }
}
