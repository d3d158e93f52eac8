//! The control socket: what can be asked of the router, and the server that takes the questions.
//!
//! JSON-RPC 2.0, one object a line, over a Unix stream socket (docs/control-socket.md). Each feature has a file with
//! the parameters and replies of its methods; [`command`] lists all methods and is where a new one is added. Client
//! threads ([`server`]) parse lines into typed [`Command`]s and pass them to the one control thread, which implements
//! [`Handler`] and never sees JSON. Words and units are those of the configuration file, the command line and the
//! metrics; units stand in the names of the keys.

pub mod call;
pub mod command;
mod connection;
pub mod json_rpc;
pub mod lookup;
pub mod multicast;
pub mod neighbor;
pub mod overlay;
pub mod path;
pub mod peer;
pub mod pool;
pub mod port;
pub mod quantity;
pub mod route;
pub mod route_load;
pub mod rule;
pub mod server;
pub mod stages;
pub mod stats;
pub mod status;
pub mod stream;
pub mod template;
pub mod text;

pub use call::{Answer, Call, Refusal, RefusalKind, Responder, Ring};
pub use command::{Command, Handler, Method, Reply};
pub use server::{Limits, Server, ServerError};

/// Where the router listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/carpool/control.sock";

/// The environment variable that names another socket, for the router and for its client.
pub const SOCKET_VARIABLE: &str = "CARPOOL_SOCKET";
