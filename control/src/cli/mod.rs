//! `carpool`, the client of the control socket, in the manner of ip(8).
//!
//! [`arguments`] says what can be typed, [`words`] reads what follows a verb, [`client`] talks to the router, and
//! [`show`] renders what it answers. Exit codes: 0 done, 1 refused by the router, 2 wrong usage, 3 no router answers.

mod arguments;
mod client;
mod progress;
mod route_file;
mod route_load;
mod show;
mod table;
mod words;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;

use crate::api::Method;
use crate::api::lookup::Lookup;
use crate::api::multicast::MulticastShow;
use crate::api::neighbor::{NEIGHBOR_PAGE_MAX, NeighborList, NeighborShow};
use crate::api::overlay::{OverlayDel, OverlayShow};
use crate::api::path::{PATH_PAGE_MAX, PathDel, PathList, PathShow};
use crate::api::peer::{PeerDel, PeerShow};
use crate::api::pool::PoolShow;
use crate::api::port::PortShow;
use crate::api::route::{ROUTE_PAGE_MAX, RouteDel, RouteList, RouteShow};
use crate::api::rule::{RuleDel, RuleShow};
use crate::api::stages::{STAGES_MAX_MS, StagesShow};
use crate::api::stats::StatsShow;
use crate::api::status::{StatusShow, VersionShow};
use crate::api::stream::{STREAM_PAGE_MAX, StreamList, StreamShow};
use crate::api::template::{TemplateAdd, TemplateDel, TemplateShow};
use arguments::{
    Arguments, Command, Multicast, Neighbor, Overlay, Path as PathVerb, Peer, Pool, Port, Route, Rule, Stream, Template,
};
use client::Client;
use show::{Show, StatsView};

/// Why the command did not succeed; each kind has its exit code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The router said no, and why.
    #[error("{0}")]
    Refused(String),
    /// What was typed, or the file that it names, is wrong. Nothing was sent.
    #[error("{0}")]
    Usage(String),
    /// No router answers.
    #[error("{0}")]
    Unreachable(String),
    /// The result cannot be written.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Refused(_) | Failure::Output(_) => ExitCode::from(1),
            Failure::Usage(_) => ExitCode::from(2),
            Failure::Unreachable(_) => ExitCode::from(3),
        }
    }
}

/// Does what the process's arguments say.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    match execute(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads us has seen enough (`carpool route show | head`).
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("carpool: {failure}");
            failure.exit_code()
        }
    }
}

fn execute(arguments: &Arguments) -> Result<(), Failure> {
    let Some(interval) = arguments.watch else {
        return execute_once(arguments, false);
    };
    if !arguments.command.only_shows() {
        return Err(Failure::Usage("--watch: only what shows something can be repeated".to_owned()));
    }
    let redraw = io::stdout().is_terminal() && !arguments.json;
    loop {
        execute_once(arguments, redraw)?;
        thread::sleep(interval);
    }
}

/// Does what was asked once; with `redraw` the screen is cleared before it shows anything.
fn execute_once(arguments: &Arguments, redraw: bool) -> Result<(), Failure> {
    let socket = arguments.socket();
    let session = Session { socket: &socket, json: arguments.json, redraw };
    match &arguments.command {
        Command::Route { verb } => match verb.as_ref().unwrap_or(&Route::Show { prefix: None }) {
            Route::Add { words } => session.change(&words::route(words).map_err(Failure::Usage)?),
            Route::Del { prefix } => session.change(&RouteDel { prefix: *prefix }),
            Route::Show { prefix } => {
                let mut client = session.connect()?;
                let page = |offset| RouteShow { prefix: *prefix, offset, limit: ROUTE_PAGE_MAX };
                let mut all: RouteList = client.call(&page(0))?;
                while (all.routes.len() as u64) < all.total {
                    let next = client.call(&page(all.routes.len().try_into().unwrap_or(u32::MAX)))?;
                    if next.routes.is_empty() {
                        break;
                    }
                    all.routes.extend(next.routes);
                }
                session.print(&all)
            }
            Route::Load { file, replace } => {
                let routes = route_file::read(file).map_err(Failure::Usage)?;
                session.print(&route_load::load(session.connect()?, &routes, *replace)?)
            }
        },
        Command::Lookup { address } => session.show(&Lookup { address: *address }),
        Command::Port { verb: None | Some(Port::Show) } => session.show(&PortShow {}),
        Command::Neighbor { verb } => match verb.as_ref().unwrap_or(&Neighbor::Show) {
            Neighbor::Add { words } => session.change(&words::neighbor_add(words).map_err(Failure::Usage)?),
            Neighbor::Del { words } => session.change(&words::neighbor_del(words).map_err(Failure::Usage)?),
            Neighbor::Show => {
                let mut client = session.connect()?;
                let page = |offset| NeighborShow { offset, limit: NEIGHBOR_PAGE_MAX };
                let mut all: NeighborList = client.call(&page(0))?;
                while (all.neighbors.len() as u64) < all.total {
                    let next = client.call(&page(all.neighbors.len().try_into().unwrap_or(u32::MAX)))?;
                    if next.neighbors.is_empty() {
                        break;
                    }
                    all.neighbors.extend(next.neighbors);
                }
                session.print(&all)
            }
        },
        Command::Rule { verb } => match verb.as_ref().unwrap_or(&Rule::Show) {
            Rule::Add { words } => session.change(&words::rule(words).map_err(Failure::Usage)?),
            Rule::Del { name } => session.change(&RuleDel { name: name.clone() }),
            Rule::Show => session.show(&RuleShow {}),
        },
        Command::Multicast { verb } => match verb.as_ref().unwrap_or(&Multicast::Show) {
            Multicast::Add { words } => session.change(&words::multicast_add(words).map_err(Failure::Usage)?),
            Multicast::Del { words } => session.change(&words::multicast_del(words).map_err(Failure::Usage)?),
            Multicast::Show => session.show(&MulticastShow {}),
        },
        Command::Overlay { verb } => match verb.as_ref().unwrap_or(&Overlay::Show) {
            Overlay::Add { words } => session.change(&words::overlay_add(words).map_err(Failure::Usage)?),
            Overlay::Del { prefix } => session.change(&OverlayDel { prefix: *prefix }),
            Overlay::Show => session.show(&OverlayShow {}),
        },
        Command::Path { verb } => match verb.as_ref().unwrap_or(&PathVerb::Show { prefix: None }) {
            PathVerb::Add { words } => session.change(&words::path(words).map_err(Failure::Usage)?),
            PathVerb::Del { prefix } => session.change(&PathDel { prefix: *prefix }),
            PathVerb::Show { prefix } => {
                let mut client = session.connect()?;
                let page = |offset| PathShow { prefix: *prefix, offset, limit: PATH_PAGE_MAX };
                let mut all: PathList = client.call(&page(0))?;
                while (all.paths.len() as u64) < all.total {
                    let next = client.call(&page(all.paths.len().try_into().unwrap_or(u32::MAX)))?;
                    if next.paths.is_empty() {
                        break;
                    }
                    all.paths.extend(next.paths);
                }
                session.print(&all)
            }
        },
        Command::Peer { verb } => match verb.as_ref().unwrap_or(&Peer::Show) {
            Peer::Add { words } => session.change(&words::peer(words).map_err(Failure::Usage)?),
            Peer::Del { name } => session.change(&PeerDel { name: name.clone() }),
            Peer::Show => session.show(&PeerShow {}),
        },
        Command::Stream { verb } => match verb.as_ref().unwrap_or(&Stream::Show { peer: None }) {
            Stream::Add { words } => session.change(&words::stream_add(words).map_err(Failure::Usage)?),
            Stream::Del { words } => session.change(&words::stream_del(words).map_err(Failure::Usage)?),
            Stream::Show { peer } => {
                let mut client = session.connect()?;
                let page = |offset| StreamShow { peer: peer.clone(), offset, limit: STREAM_PAGE_MAX };
                let mut all: StreamList = client.call(&page(0))?;
                while (all.streams.len() as u64) < all.total {
                    let next = client.call(&page(all.streams.len().try_into().unwrap_or(u32::MAX)))?;
                    if next.streams.is_empty() {
                        break;
                    }
                    all.streams.extend(next.streams);
                }
                session.print(&all)
            }
        },
        Command::Template { verb } => match verb.as_ref().unwrap_or(&Template::Show) {
            Template::Add { id, lengths } => session.change(&TemplateAdd { id: *id, lengths: lengths.clone() }),
            Template::Del { id } => session.change(&TemplateDel { id: *id }),
            Template::Show => session.show(&TemplateShow {}),
        },
        Command::Pool { verb: None | Some(Pool::Show) } => session.show(&PoolShow {}),
        Command::Stats { stages: true, seconds, .. } => {
            let mut client = session.connect()?;
            // A little longer, so that they measure to the end.
            let time = *seconds + Duration::from_secs(1);
            let show = StagesShow { for_ms: u32::try_from(time.as_millis()).unwrap_or(STAGES_MAX_MS) };
            let before = client.call(&show)?;
            progress::wait(*seconds, "measuring");
            session.print(&client.call(&show)?.since(&before))
        }
        Command::Stats { drops, all, .. } => {
            let stats = session.connect()?.call(&StatsShow { drops: *drops })?;
            session.print(&StatsView { stats, all: *all })
        }
        Command::Status => session.show(&StatusShow {}),
        Command::Version => session.show(&VersionShow {}),
    }
}

/// Where to ask, and how to show the answer.
struct Session<'a> {
    socket: &'a Path,
    json: bool,
    redraw: bool,
}

impl Session<'_> {
    fn connect(&self) -> Result<Client, Failure> {
        Client::connect(self.socket)
    }

    /// Asks for something and shows it.
    fn show<M: Method<Reply: Show>>(&self, params: &M) -> Result<(), Failure> {
        self.print(&self.connect()?.call(params)?)
    }

    /// Changes something; people hear nothing of what went well.
    fn change<M: Method>(&self, params: &M) -> Result<(), Failure> {
        let reply = self.connect()?.call(params)?;
        if self.json { write(&show::json_line(&reply)?) } else { Ok(()) }
    }

    fn print<S: Show>(&self, reply: &S) -> Result<(), Failure> {
        let text = if self.json { reply.json_line()? } else { reply.text() };
        // To the top left corner, and clear what is below: ECMA-48, CUP and ED.
        write(&if self.redraw { format!("\x1b[H\x1b[J{text}") } else { text })
    }
}

fn write(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()?;
    Ok(())
}
