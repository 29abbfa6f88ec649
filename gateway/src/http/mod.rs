//! HTTP: routes, and what every request passes through. Knows the view and nothing of the broker.

pub mod access;
mod actions;
mod alertmanager;
mod backtests;
mod bist;
mod command;
mod exec;
pub mod limit;
pub mod metrics;
mod ml;
mod page;
mod problem;
mod query;
mod read;
mod rollout;
pub mod server;
mod strategies;
mod table;
mod tools;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, body};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::auth::Role;
use access::{Access, Gate};
use problem::Problem;
use server::Peer;
use table::{KILL_SWITCH, STREAM};

/// Bytes that a request's body may have.
const BODY_BYTES_MAX: u64 = 64 * 1024;
/// As [`BODY_BYTES_MAX`], for a body whose length the head does not tell.
const BODY_BYTES_READ_MAX: usize = 64 * 1024;
/// What begins like this is Alertmanager's API, whose clients take no problem documents.
const ALERTMANAGER: &str = "/api/v2/";

/// What handlers get.
#[derive(Clone)]
pub(crate) struct Context {
    pub app: Arc<App>,
    pub shutdown: CancellationToken,
}

/// All routes with their limits. `shutdown` ends the live streams.
pub fn router(app: Arc<App>, shutdown: CancellationToken) -> Router {
    let context = Context { app, shutdown };
    let mut router = Router::new();
    for route in table::routes() {
        let gate = Gate { context: context.clone(), access: route.access };
        router = router.route(route.path, route.handler.route_layer(middleware::from_fn_with_state(gate, access::gate)));
    }
    for file in page::FILES {
        router = router.route(file.path, get(|headers: HeaderMap| async move { page::answer(file, &headers) }));
    }
    router
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_READ_MAX))
        .layer(middleware::from_fn_with_state(context.clone(), limits))
        .layer(middleware::from_fn_with_state(context.clone(), envelope))
        .with_state(context)
}

async fn unknown_route(method: Method, uri: Uri) -> Problem {
    let mut paths: Vec<&str> = table::routes().iter().map(|route| route.path).collect();
    paths.dedup();
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

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let right = if method == Method::POST { "GET" } else { "the method of the documentation: GET to read, POST to change" };
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "This path knows other methods")
        .detail(format!("{method} {}", uri.path()))
        .fix(format!("use {right}"))
}

/// Whether a path belongs to the API: its rate is limited and its answers are not kept.
fn is_api(path: &str) -> bool {
    path.starts_with("/api/") || path.starts_with("/bist/")
}

/// Size, rate and time of a request.
async fn limits(State(context): State<Context>, request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large")
            .detail(format!("body of {} bytes", length.unwrap_or_default()))
            .fix(format!("at most {BODY_BYTES_MAX} bytes are taken"))
            .into_response();
    }
    let path = request.uri().path();
    let stream = path == STREAM;
    let stops_everything = path == KILL_SWITCH && access::may(&context.app, request.headers(), Role::Operator);
    if is_api(path) && !stream && !stops_everything {
        let peer = request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(address))| address.ip());
        if let Some(wait) = peer.and_then(|peer| context.app.limiter.check(peer)) {
            return limit::too_many(wait);
        }
    }
    if stream {
        return next.run(request).await;
    }
    let limit = Duration::from_millis(context.app.config.request_timeout_ms);
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "The request took too long")
            .detail(format!("no answer within {} ms", limit.as_millis()))
            .fix("ask again; gateway.request_timeout_ms sets the limit".to_owned())
            .into_response(),
    }
}

/// Counts the request and adds what every answer carries.
async fn envelope(State(context): State<Context>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let path = request.uri().path();
    let api = is_api(path);
    let (told, alertmanager) = (api && path != STREAM, path.starts_with(ALERTMANAGER));
    let mut response = next.run(request).await;
    if alertmanager {
        response = problem::as_text(response);
    }
    context.app.http.observe(response.status().as_u16(), begun.elapsed(), told);
    let own_policy = response.extensions().get::<OwnPolicy>().is_some();
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        if own_policy && name == header::CONTENT_SECURITY_POLICY.as_str() {
            continue;
        }
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if api && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Of an answer that brings a content security policy of its own.
#[derive(Clone, Copy)]
struct OwnPolicy;

/// The page needs nothing but its own files, and nobody may frame it.
const SECURITY_HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];

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
