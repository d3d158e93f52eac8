//! Loading a whole table of routes: `route_load_begin`, any number of `route_load_chunk`, `route_load_commit`.
//!
//! The routes gather in the connection that sends them and go with it when it ends; the control thread sees them at the
//! commit, all at once. All connections together hold no more than a budget, so that no client fills the memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::call::Refusal;
use super::command::{Done, Method};
use super::route::{Route, RouteLoad, RouteLoaded, RouteTarget};
use super::text::parse_prefix;

/// `route_load_begin`: begins a load; one that the connection had begun before is forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteLoadBegin {}

/// Reply to `route_load_begin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteLoadBegun {
    /// What the following calls name; means nothing to other connections.
    pub id: u64,
}

/// `route_load_chunk`: adds routes to a load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteLoadChunk {
    /// From `route_load_begin`.
    pub id: u64,
    /// The routes, as many as fit in a line.
    pub routes: Vec<LoadedRoute>,
}

/// `route_load_commit`: hands the load to the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteLoadCommit {
    /// From `route_load_begin`.
    pub id: u64,
    /// Whether routes that came over the socket before, and are not in the load, go.
    #[serde(default)]
    pub replace: bool,
}

impl Method for RouteLoadBegin {
    const NAME: &'static str = "route_load_begin";
    type Reply = RouteLoadBegun;
}

impl Method for RouteLoadChunk {
    const NAME: &'static str = "route_load_chunk";
    type Reply = Done;
}

impl Method for RouteLoadCommit {
    const NAME: &'static str = "route_load_commit";
    type Reply = RouteLoaded;
}

/// A route in a chunk: `["203.0.113.0/24", "192.0.2.2"]`, with `"blackhole"` or `"unreachable"` for the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadedRoute(pub Route);

impl Serialize for LoadedRoute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let prefix = self.0.prefix;
        match self.0.target {
            RouteTarget::Via(gateway) => (prefix, gateway).serialize(serializer),
            target @ RouteTarget::OnLink(..) => (prefix, target.gateway()).serialize(serializer),
            RouteTarget::Blackhole => (prefix, "blackhole").serialize(serializer),
            RouteTarget::Unreachable => (prefix, "unreachable").serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for LoadedRoute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (prefix, target) = <(String, String)>::deserialize(deserializer)?;
        let prefix = parse_prefix(&prefix).map_err(D::Error::custom)?;
        let target = match target.as_str() {
            "blackhole" => RouteTarget::Blackhole,
            "unreachable" => RouteTarget::Unreachable,
            gateway => RouteTarget::parse_gateway(gateway)
                .map_err(|wrong| D::Error::custom(format!("route {prefix}: {wrong}, blackhole or unreachable")))?,
        };
        Route::new(prefix, target).map(LoadedRoute).map_err(D::Error::custom)
    }
}

/// A call of the three.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadStep {
    /// `route_load_begin`.
    Begin(RouteLoadBegin),
    /// `route_load_chunk`.
    Chunk(RouteLoadChunk),
    /// `route_load_commit`.
    Commit(RouteLoadCommit),
}

impl LoadStep {
    /// The names of the three.
    pub const METHODS: &'static [&'static str] = &[RouteLoadBegin::NAME, RouteLoadChunk::NAME, RouteLoadCommit::NAME];

    /// The call of this method with these parameters; None where it is none of the three.
    pub(super) fn parse(method: &str, params: &Value) -> Option<Result<LoadStep, serde_json::Error>> {
        match method {
            RouteLoadBegin::NAME => Some(RouteLoadBegin::deserialize(params).map(LoadStep::Begin)),
            RouteLoadChunk::NAME => Some(RouteLoadChunk::deserialize(params).map(LoadStep::Chunk)),
            RouteLoadCommit::NAME => Some(RouteLoadCommit::deserialize(params).map(LoadStep::Commit)),
            _ => None,
        }
    }
}

/// How many more routes connections may hold, all together.
#[derive(Debug)]
pub(super) struct LoadBudget {
    left: AtomicUsize,
    whole: usize,
}

impl LoadBudget {
    /// A budget of this many routes.
    pub(super) fn new(routes: usize) -> Arc<LoadBudget> {
        Arc::new(LoadBudget { left: AtomicUsize::new(routes), whole: routes })
    }

    fn take(&self, routes: usize) -> Result<(), Refusal> {
        let less = |left: usize| left.checked_sub(routes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map(drop).map_err(|_| {
            let whole = self.whole;
            Refusal::limit(format!("more than {whole} routes are being loaded, all clients together; commit fewer"))
        })
    }

    fn give_back(&self, routes: usize) {
        self.left.fetch_add(routes, Ordering::Relaxed);
    }
}

/// The load of one connection.
#[derive(Debug)]
pub(super) struct Loading {
    budget: Arc<LoadBudget>,
    /// The id of the load that was begun last.
    id: u64,
    /// Its routes; None where there is none, or it was committed.
    routes: Option<Vec<Route>>,
}

impl Loading {
    /// No load yet.
    pub(super) fn new(budget: Arc<LoadBudget>) -> Loading {
        Loading { budget, id: 0, routes: None }
    }

    /// Begins a load; one that was begun before is forgotten.
    pub(super) fn begin(&mut self) -> RouteLoadBegun {
        self.forget();
        self.id += 1;
        self.routes = Some(Vec::new());
        RouteLoadBegun { id: self.id }
    }

    /// Adds routes.
    ///
    /// # Errors
    /// Where no load of this id is open, or the budget is used up; then the load is as it was.
    pub(super) fn add(&mut self, chunk: RouteLoadChunk) -> Result<Done, Refusal> {
        self.check(chunk.id)?;
        self.budget.take(chunk.routes.len())?;
        self.routes.get_or_insert_default().extend(chunk.routes.into_iter().map(|route| route.0));
        Ok(Done {})
    }

    /// Ends the load and returns it.
    ///
    /// # Errors
    /// Where no load of this id is open.
    pub(super) fn commit(&mut self, commit: RouteLoadCommit) -> Result<RouteLoad, Refusal> {
        self.check(commit.id)?;
        let routes = self.routes.take().unwrap_or_default();
        self.budget.give_back(routes.len());
        Ok(RouteLoad { routes, replace: commit.replace })
    }

    fn check(&self, id: u64) -> Result<(), Refusal> {
        if self.routes.is_some() && self.id == id {
            Ok(())
        } else {
            Err(Refusal::not_found(format!("id {id}: no such load was begun on this connection")))
        }
    }

    fn forget(&mut self) {
        if let Some(routes) = self.routes.take() {
            self.budget.give_back(routes.len());
        }
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(id: u64, routes: usize) -> RouteLoadChunk {
        let route = Route { prefix: "10.0.0.0/8".parse().expect("a prefix"), target: RouteTarget::Blackhole };
        RouteLoadChunk { id, routes: vec![LoadedRoute(route); routes] }
    }

    #[test]
    fn a_load_gathers_its_chunks_until_it_is_committed() {
        let mut loading = Loading::new(LoadBudget::new(10));
        let id = loading.begin().id;
        assert_eq!(loading.add(chunk(id, 3)), Ok(Done {}));
        assert_eq!(loading.add(chunk(id, 4)), Ok(Done {}));
        let load = loading.commit(RouteLoadCommit { id, replace: true }).expect("the load is open");
        assert_eq!((load.routes.len(), load.replace), (7, true));
        assert!(loading.commit(RouteLoadCommit { id, replace: false }).is_err(), "it was committed twice");
    }

    #[test]
    fn an_earlier_load_is_forgotten_when_another_begins() {
        let mut loading = Loading::new(LoadBudget::new(10));
        let first = loading.begin().id;
        assert_eq!(loading.add(chunk(first, 10)), Ok(Done {}));
        let second = loading.begin().id;
        assert!(loading.add(chunk(first, 1)).is_err());
        assert_eq!(loading.add(chunk(second, 10)), Ok(Done {}), "the first load's routes were given back");
    }

    #[test]
    fn all_connections_share_one_budget_and_give_back_what_they_held() {
        let budget = LoadBudget::new(5);
        let mut one = Loading::new(budget.clone());
        let mut other = Loading::new(budget);
        let (id, other_id) = (one.begin().id, other.begin().id);
        assert_eq!(one.add(chunk(id, 4)), Ok(Done {}));
        assert!(other.add(chunk(other_id, 2)).is_err_and(|refusal| refusal.message.contains("more than 5 routes")));
        assert_eq!(other.add(chunk(other_id, 1)), Ok(Done {}), "what was refused took nothing");
        drop(one);
        assert_eq!(other.add(chunk(other_id, 4)), Ok(Done {}));
    }

    #[test]
    fn routes_in_a_chunk_are_pairs_of_strings() {
        let text = r#"[["10.0.0.0/8","192.0.2.1"],["10.1.0.0/16","blackhole"],["10.2.0.0/16","unreachable"]]"#;
        let routes: Vec<LoadedRoute> = serde_json::from_str(text).expect("sound routes");
        assert_eq!(serde_json::to_string(&routes).expect("serializable"), text);
        let wrong = serde_json::from_str::<Vec<LoadedRoute>>(r#"[["10.0.0.0/8","nowhere"]]"#);
        assert!(wrong.is_err_and(|error| error.to_string().contains("\"nowhere\": expected an IP address")));
    }
}
