//! All methods of the control socket, and the trait that the control thread implements for them.
//!
//! One line here makes a method: its name on the wire, the type of its parameters and of its reply. A method that
//! changes something answers after the change is published to the workers.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::call::{Answer, Call, Refusal, Responder};
use super::lookup::{Lookup, LookupResult};
use super::multicast::{MulticastDel, MulticastList, MulticastRoute, MulticastShow};
use super::neighbor::{NeighborAdd, NeighborDel, NeighborList, NeighborShow};
use super::overlay::{OverlayDel, OverlayList, OverlayRoute, OverlayShow};
use super::path::{PathAdd, PathChanged, PathDel, PathList, PathShow};
use super::peer::{PeerAdd, PeerDel, PeerList, PeerShow};
use super::pool::{PoolReport, PoolShow};
use super::port::{PortList, PortShow};
use super::route::{RouteAdd, RouteChanged, RouteDel, RouteList, RouteLoad, RouteLoaded, RouteShow};
use super::rule::{RuleAdd, RuleDel, RuleList, RuleShow};
use super::stages::{Stages, StagesShow};
use super::stats::{Stats, StatsShow};
use super::status::{Status, StatusShow, Version, VersionShow};
use super::stream::{Stream, StreamDel, StreamList, StreamShow};
use super::template::{TemplateAdd, TemplateDel, TemplateList, TemplateShow};

/// Parameters of a method that a client can call.
pub trait Method: Serialize + DeserializeOwned {
    /// The method's name.
    const NAME: &'static str;
    /// What it answers.
    type Reply: Serialize + DeserializeOwned;
}

/// Reply to what succeeds without anything to tell: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Done {}

macro_rules! methods {
    (
        at_once { $($(#[doc = $doc:literal])+ $name:ident: $variant:ident($params:ty) -> $reply:ty;)+ }
        later { $($(#[doc = $later_doc:literal])+ $later:ident: $later_variant:ident($later_params:ty) -> $later_reply:ty;)+ }
    ) => {
        $(impl Method for $params {
            const NAME: &'static str = stringify!($name);
            type Reply = $reply;
        })+
        $(impl Method for $later_params {
            const NAME: &'static str = stringify!($later);
            type Reply = $later_reply;
        })+

        /// What the control thread is asked to do.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Command {
            $($(#[doc = $doc])+ $variant($params),)+
            $($(#[doc = $later_doc])+ $later_variant($later_params),)+
            /// Adds a whole table of routes at once; made by the server from a connection's `route_load_` calls.
            RouteLoad(RouteLoad),
        }

        impl Command {
            /// The names of all methods that are commands.
            pub const METHODS: &'static [&'static str] = &[$(stringify!($name),)+ $(stringify!($later),)+];

            /// The command of this method with these parameters; None where there is no such method.
            pub(super) fn parse(method: &str, params: Value) -> Option<Result<Command, serde_json::Error>> {
                match method {
                    $(stringify!($name) => Some(serde_json::from_value(params).map(Command::$variant)),)+
                    $(stringify!($later) => Some(serde_json::from_value(params).map(Command::$later_variant)),)+
                    _ => None,
                }
            }
        }

        /// What the control thread answers; in JSON just the reply itself.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum Reply {
            $(#[doc = concat!("To `", stringify!($name), "`.")] $variant($reply),)+
            $(#[doc = concat!("To `", stringify!($later), "`.")] $later_variant($later_reply),)+
            /// To `route_load_commit`.
            RouteLoad(RouteLoaded),
        }

        /// What the control thread does for clients, a function per method. Called from the control thread only.
        pub trait Handler {
            $($(#[doc = $doc])+ fn $name(&mut self, params: $params) -> Result<$reply, Refusal>;)+
            $($(#[doc = $later_doc])+ ///
            /// The answer may be given later, from another call into the control thread; a dropped one is an error to
            /// the client.
            fn $later(&mut self, params: $later_params, answer: Answer<$later_reply>);)+

            /// Adds, and with `replace` also deletes, a whole table of routes: all of it or nothing.
            fn route_load(&mut self, load: RouteLoad) -> Result<RouteLoaded, Refusal>;
        }

        pub(super) fn dispatch(command: Command, responder: Responder, handler: &mut impl Handler) {
            match command {
                $(Command::$variant(params) => responder.send(handler.$name(params).map(Reply::$variant)),)+
                $(Command::$later_variant(params) => handler.$later(params, Answer::new(responder, Reply::$later_variant)),)+
                Command::RouteLoad(load) => responder.send(handler.route_load(load).map(Reply::RouteLoad)),
            }
        }
    };
}

methods! {
    at_once {
        /// Adds a route; one to the same prefix is replaced.
        route_add: RouteAdd(RouteAdd) -> RouteChanged;
        /// Deletes the route to exactly this prefix.
        route_del: RouteDel(RouteDel) -> Done;
        /// Lists routes, a page at a time.
        route_show: RouteShow(RouteShow) -> RouteList;
        /// Says what becomes of packets to an address.
        lookup: Lookup(Lookup) -> LookupResult;
        /// Lists ports.
        port_show: PortShow(PortShow) -> PortList;
        /// Adds a neighbour that does not age; one with the same address is replaced.
        neighbor_add: NeighborAdd(NeighborAdd) -> Done;
        /// Forgets a neighbour.
        neighbor_del: NeighborDel(NeighborDel) -> Done;
        /// Lists neighbours, a page at a time.
        neighbor_show: NeighborShow(NeighborShow) -> NeighborList;
        /// Adds a pooling rule.
        rule_add: RuleAdd(RuleAdd) -> Done;
        /// Deletes a pooling rule.
        rule_del: RuleDel(RuleDel) -> Done;
        /// Lists pooling rules.
        rule_show: RuleShow(RuleShow) -> RuleList;
        /// Adds a multicast route; one of the same group and source is replaced.
        multicast_add: MulticastAdd(MulticastRoute) -> RouteChanged;
        /// Deletes a multicast route.
        multicast_del: MulticastDel(MulticastDel) -> Done;
        /// Lists multicast routes.
        multicast_show: MulticastShow(MulticastShow) -> MulticastList;
        /// Adds an overlay route; one to the same prefix is replaced.
        overlay_add: OverlayAdd(OverlayRoute) -> RouteChanged;
        /// Deletes the overlay route to exactly this prefix.
        overlay_del: OverlayDel(OverlayDel) -> Done;
        /// Lists overlay routes.
        overlay_show: OverlayShow(OverlayShow) -> OverlayList;
        /// Adds a path; one to the same prefix is replaced.
        path_add: PathAdd(PathAdd) -> PathChanged;
        /// Deletes the path to exactly this prefix.
        path_del: PathDel(PathDel) -> Done;
        /// Lists paths, a page at a time.
        path_show: PathShow(PathShow) -> PathList;
        /// Adds a peer.
        peer_add: PeerAdd(PeerAdd) -> Done;
        /// Deletes a peer.
        peer_del: PeerDel(PeerDel) -> Done;
        /// Lists peers.
        peer_show: PeerShow(PeerShow) -> PeerList;
        /// Adds a template.
        template_add: TemplateAdd(TemplateAdd) -> Done;
        /// Deletes a template that no rule names.
        template_del: TemplateDel(TemplateDel) -> Done;
        /// Lists templates.
        template_show: TemplateShow(TemplateShow) -> TemplateList;
        /// Adds a provisioned stream.
        stream_add: StreamAdd(Stream) -> Done;
        /// Deletes a provisioned stream.
        stream_del: StreamDel(StreamDel) -> Done;
        /// Lists provisioned streams, a page at a time.
        stream_show: StreamShow(StreamShow) -> StreamList;
        /// Tells the workers' counters.
        stats: Stats(StatsShow) -> Stats;
        /// Has the workers measure what their stages take, and tells what they measured so far.
        stages: Stages(StagesShow) -> Stages;
        /// Tells what is running.
        status: Status(StatusShow) -> Status;
        /// Tells the versions.
        version: Version(VersionShow) -> Version;
    }
    later {
        /// Tells what was pooled, and which pools are open; the workers are asked for them.
        pool_show: PoolShow(PoolShow) -> PoolReport;
    }
}

impl Call {
    /// Carries the command out, unless its client has given up waiting.
    pub fn serve(self, handler: &mut impl Handler) {
        if let Some((command, responder)) = self.claim() {
            dispatch(command, responder, handler);
        }
    }
}
