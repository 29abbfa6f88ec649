//! HTTP: routes, and what every request passes through. Knows the view and nothing of the broker.

pub mod access;
mod actions;
mod alertmanager;
mod backtests;
mod bist;
mod command;
pub(crate) mod cors;
mod doc;
mod docs;
pub mod edge;
mod exec;
pub(crate) mod host;
mod input;
pub mod limit;
mod live;
pub mod metrics;
mod ml;
pub mod openapi;
mod page;
mod paging;
mod problem;
mod query;
mod read;
mod rollout;
pub mod server;
pub(crate) mod shown;
mod strategies;
mod table;
pub mod tls;
mod tools;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use axum::extract::MatchedPath;
use axum::http::header::{self, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, body};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use access::{Access, Gate};
use edge::Edge;
use problem::Problem;
use shown::Shown;

/// Bytes that a request's body may have.
const BODY_BYTES_MAX: u64 = 64 * 1024;
/// What begins like this is Alertmanager's API, whose clients take no problem documents.
const ALERTMANAGER: &str = "/api/v2/";

/// What handlers get.
#[derive(Clone)]
pub(crate) struct Context {
    pub app: Arc<App>,
    pub shutdown: CancellationToken,
}

/// All routes with their limits. `shutdown` ends the live streams.
pub fn router(app: Arc<App>, shutdown: CancellationToken) -> Edge {
    let context = Context { app: Arc::clone(&app), shutdown };
    let mut router = Router::new();
    for route in table::routes() {
        let gate = Gate { context: context.clone(), access: route.access };
        let parts = route.doc.shows;
        let handler = if parts.is_empty() || route.doc.tags_itself {
            route.handler
        } else {
            let shown = Shown { context: context.clone(), parts };
            route.handler.route_layer(middleware::from_fn_with_state(shown, shown::tag))
        };
        router = router.route(route.path, handler.route_layer(middleware::from_fn_with_state(gate, access::gate)));
    }
    for file in page::FILES {
        router = router.route(file.path, get(move |headers: HeaderMap| async move { page::answer(file, &headers) }));
    }
    for file in docs::FILES {
        router = router.route(file.path, get(move |headers: HeaderMap| async move { docs::answer(file, &headers) }));
    }
    let router = router.fallback(unknown_route).method_not_allowed_fallback(wrong_method).with_state(context);
    Edge::new(router, app)
}

/// Paths and their methods. Made once: whoever guesses paths shall not cost much.
static METHODS: LazyLock<BTreeMap<&'static str, Vec<Method>>> = LazyLock::new(|| {
    let mut methods: BTreeMap<&str, Vec<Method>> = BTreeMap::new();
    for route in table::routes() {
        let known = methods.entry(route.path).or_default();
        if route.method == Method::GET {
            known.push(Method::HEAD);
        }
        known.push(route.method);
    }
    methods
});

async fn unknown_route(method: Method, uri: Uri) -> Problem {
    let paths: Vec<&str> = METHODS.keys().copied().collect();
    Problem::new(StatusCode::NOT_FOUND, "unknown-route", "There is nothing here")
        .detail(format!("no route for {method} {}", uri.path()))
        .fix(format!("known paths: / {}", paths.join(" ")))
}

/// Every route with what it asks of whoever uses it: method, path, access. The page's own files are not among them: they are
/// open.
#[must_use]
pub fn table() -> Vec<(Method, &'static str, Access)> {
    table::routes().into_iter().map(|route| (route.method, route.path, route.access)).collect()
}

async fn wrong_method(method: Method, uri: Uri, path: Option<MatchedPath>) -> Response {
    let known = path.as_ref().and_then(|path| METHODS.get(path.as_str()));
    // The page's own files are only looked at.
    let allowed = known.map_or("GET,HEAD".to_owned(), |methods| methods.iter().map(Method::as_str).collect::<Vec<_>>().join(","));
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "This path knows other methods")
        .detail(format!("{method} {}", uri.path()))
        .fix(format!("it knows {allowed}"))
        .into_response();
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// Whether a path belongs to the API: its rate is limited and its answers are not kept.
fn is_api(path: &str) -> bool {
    path.starts_with("/api/") || path.starts_with("/bist/")
}

/// Of an answer that brings a content security policy of its own.
#[derive(Clone, Copy)]
struct OwnPolicy;

/// An answer in JSON.
fn json(value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => json_bytes(bytes.into()),
        Err(error) => {
            tracing::error!(%error, "render an answer");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "render", "The answer could not be written")
                .detail(error.to_string())
                .fix("this is a bug of the gateway; its log has the details".to_owned())
                .into_response()
        }
    }
}

fn json_bytes(bytes: body::Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}
