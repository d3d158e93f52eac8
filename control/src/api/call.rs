//! How a command gets from a client's thread to the control thread, and its answer back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use carpool_dataplane::worker::Bell;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use crossbeam::select;

use super::command::{Command, Reply};

/// Wakes the control thread.
pub trait Ring: Send + Sync {
    /// Makes the control thread look at its channels. Callable from any thread, as often as one likes.
    fn ring(&self);
}

impl Ring for Bell {
    fn ring(&self) {
        Bell::ring(self);
    }
}

/// Why the router did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of reason it is.
    pub kind: RefusalKind,
    /// The reason: one sentence that names the thing and the value.
    pub message: String,
}

/// Kinds of [`Refusal`]; each has an error code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// What was asked contradicts the router's state or configuration.
    Conflict,
    /// What was to be deleted or changed is not there.
    NotFound,
    /// What was to be added is there already.
    Exists,
    /// There is no room for more.
    Limit,
}

impl Refusal {
    /// What was asked contradicts the router's state or configuration.
    pub fn conflict(message: impl Into<String>) -> Refusal {
        Refusal { kind: RefusalKind::Conflict, message: message.into() }
    }

    /// What was to be deleted or changed is not there.
    pub fn not_found(message: impl Into<String>) -> Refusal {
        Refusal { kind: RefusalKind::NotFound, message: message.into() }
    }

    /// What was to be added is there already.
    pub fn exists(message: impl Into<String>) -> Refusal {
        Refusal { kind: RefusalKind::Exists, message: message.into() }
    }

    /// There is no room for more.
    pub fn limit(message: impl Into<String>) -> Refusal {
        Refusal { kind: RefusalKind::Limit, message: message.into() }
    }
}

/// The client waits, and the control thread has not begun.
const WAITING: u8 = 0;
/// The control thread has begun.
const CLAIMED: u8 = 1;
/// The client gave up before the control thread began.
const ABANDONED: u8 = 2;

/// A command on its way to the control thread. See [`Call::serve`].
#[derive(Debug)]
pub struct Call {
    command: Command,
    state: Arc<AtomicU8>,
    responder: Responder,
}

impl Call {
    /// The command and where its answer goes; None where its client gave up waiting and was told that nothing was done.
    pub(super) fn claim(self) -> Option<(Command, Responder)> {
        let claimed = self.state.compare_exchange(WAITING, CLAIMED, Ordering::AcqRel, Ordering::Acquire);
        claimed.is_ok().then_some((self.command, self.responder))
    }

    /// The command.
    pub fn command(&self) -> &Command {
        &self.command
    }
}

/// Where the answer to a command goes. Dropping it tells the client that there will be none.
#[derive(Debug)]
pub struct Responder(Sender<Result<Reply, Refusal>>);

impl Responder {
    /// Answers. A client that has gone does not hear it.
    pub fn send(self, answer: Result<Reply, Refusal>) {
        // There is room for the one answer; the channel refuses it only where its client has gone.
        let _ = self.0.try_send(answer);
    }
}

/// Where the answer to a method that is answered later goes. Dropping it is an error to the client.
#[derive(Debug)]
pub struct Answer<T> {
    responder: Responder,
    into_reply: fn(T) -> Reply,
}

impl<T> Answer<T> {
    pub(super) fn new(responder: Responder, into_reply: fn(T) -> Reply) -> Answer<T> {
        Answer { responder, into_reply }
    }

    /// Answers. A client that has gone does not hear it.
    pub fn send(self, answer: Result<T, Refusal>) {
        self.responder.send(answer.map(self.into_reply));
    }
}

/// Why a command got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The queue to the control thread is full: nothing was done.
    Busy,
    /// The control thread did not get to it in time: nothing was done, or will be.
    NotBegun(Duration),
    /// The control thread did not finish in time: it may be done later.
    NotFinished(Duration),
    /// The router is stopping.
    Stopping,
}

/// The client threads' end of the way to the control thread.
#[derive(Clone)]
pub(super) struct Caller {
    calls: Sender<Call>,
    bell: Arc<dyn Ring>,
    /// Nothing ever comes; its other end goes when the server stops, and waiting ends.
    stopping: Receiver<()>,
}

impl Caller {
    /// Both ends of a queue of at most `depth` calls that rings `bell`. Nobody waits for an answer any more when the
    /// other end of `stopping` is dropped.
    pub(super) fn new(depth: usize, bell: Arc<dyn Ring>, stopping: Receiver<()>) -> (Caller, Receiver<Call>) {
        let (calls, receiver) = bounded(depth);
        (Caller { calls, bell, stopping }, receiver)
    }

    /// Passes a command to the control thread and waits for the answer.
    pub(super) fn call(&self, command: Command, time: Duration) -> Result<Result<Reply, Refusal>, NoAnswer> {
        let (sender, answer) = bounded(1);
        let state = Arc::new(AtomicU8::new(WAITING));
        let call = Call { command, state: state.clone(), responder: Responder(sender) };
        self.calls.try_send(call).map_err(|error| match error {
            TrySendError::Full(_) => NoAnswer::Busy,
            TrySendError::Disconnected(_) => NoAnswer::Stopping,
        })?;
        self.bell.ring();
        select! {
            recv(answer) -> answer => answer.map_err(|_| NoAnswer::Stopping),
            recv(self.stopping) -> _ => Err(NoAnswer::Stopping),
            default(time) => {
                match state.compare_exchange(WAITING, ABANDONED, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => Err(NoAnswer::NotBegun(time)),
                    Err(_) => Err(NoAnswer::NotFinished(time)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    use crate::api::status::VersionShow;

    /// A control thread that begins each call the moment it is rung for, and keeps the answer to itself.
    #[derive(Default)]
    struct Begins {
        calls: Mutex<Option<Receiver<Call>>>,
        begun: Mutex<Vec<Responder>>,
    }

    impl Ring for Begins {
        fn ring(&self) {
            let calls = self.calls.lock().expect("unpoisoned");
            let call = calls.as_ref().expect("set before the first call").try_recv().expect("a call before the ring");
            let (_, responder) = call.claim().expect("its client waits");
            self.begun.lock().expect("unpoisoned").push(responder);
        }
    }

    const VERSION: Command = Command::Version(VersionShow {});

    #[test]
    fn a_client_learns_that_what_was_begun_may_yet_be_done() {
        let begins = Arc::new(Begins::default());
        let (_stop, stopping) = bounded(0);
        let (caller, calls) = Caller::new(1, begins.clone(), stopping);
        *begins.calls.lock().expect("unpoisoned") = Some(calls);
        let time = Duration::from_millis(1);
        assert_eq!(caller.call(VERSION, time), Err(NoAnswer::NotFinished(time)));
        let responder = begins.begun.lock().expect("unpoisoned").pop().expect("it was begun");
        responder.send(Err(Refusal::conflict("too late")));
    }

    #[test]
    fn a_full_queue_refuses_at_once() {
        struct Silent;
        impl Ring for Silent {
            fn ring(&self) {}
        }
        let (_stop, stopping) = bounded(0);
        let (caller, calls) = Caller::new(1, Arc::new(Silent), stopping);
        let time = Duration::from_millis(1);
        assert_eq!(caller.call(VERSION, time), Err(NoAnswer::NotBegun(time)), "it fits, and nobody takes it");
        assert_eq!(caller.call(VERSION, Duration::MAX), Err(NoAnswer::Busy));
        drop(calls);
        assert_eq!(caller.call(VERSION, Duration::MAX), Err(NoAnswer::Stopping));
    }
}
