//! What every request passes through before a route is looked for, and every answer afterwards: the client's rate, the body's
//! size and time, the answer's time, other people's pages, security headers, figures.
//!
//! One function instead of a stack of layers: a request that is refused costs next to nothing, and one that is not pays for no
//! boxes on its way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use tower_service::Service;

use super::cors::Cors;
use super::host::Hosts;
use super::limit::{self, REFUSED_BURSTS_MAX, Refusal};
use super::problem::{self, Problem};
use super::server::Peer;
use super::table::{KILL_SWITCH, STREAM, WEBSOCKET};
use super::{ALERTMANAGER, BODY_BYTES_MAX, OwnPolicy, access, is_api};
use crate::app::App;
use crate::auth::Role;

/// How long a client may take to send a request's body.
pub const BODY_LIMIT: Duration = Duration::from_secs(5);
/// As [`BODY_BYTES_MAX`], for a body whose length the head does not tell.
#[expect(clippy::cast_possible_truncation, reason = "a small number")]
const BODY_BYTES_READ_MAX: usize = BODY_BYTES_MAX as usize;

/// The routes with everything around them.
#[derive(Clone)]
pub struct Edge {
    router: Router,
    pub(super) app: Arc<App>,
    cors: Arc<Cors>,
    hosts: Arc<Hosts>,
}

/// What is known of one connection.
pub(super) struct Connection {
    pub peer: SocketAddr,
    pub tls: bool,
    /// Requests that were refused in a row.
    pub refused: AtomicU32,
    /// Something of a request has come, and it is not answered yet: a connection that waits for the next one is not slow.
    pub midway: AtomicBool,
    /// The other side took nothing until the limit.
    pub stalled: AtomicBool,
}

/// What kind of path it is.
#[derive(Clone, Copy)]
struct Path {
    /// Its rate is limited, its answers are not kept.
    api: bool,
    /// It has no end: no time limit applies, and its clients are bounded in number instead.
    endless: bool,
    /// Its clients take no problem documents.
    alertmanager: bool,
}

impl Edge {
    pub(super) fn new(router: Router, app: Arc<App>) -> Self {
        let cors = Arc::new(Cors::new(&app.config.cors_origins));
        let hosts = Arc::new(Hosts::new(&app.config));
        Self { router, app, cors, hosts }
    }

    /// The answer to one request.
    pub(super) async fn answer(&self, connection: &Connection, request: Request<Incoming>) -> Response {
        let begun = Instant::now();
        let text = request.uri().path();
        let endless = text == STREAM || text == WEBSOCKET;
        let path = Path { api: is_api(text), endless, alertmanager: text.starts_with(ALERTMANAGER) };
        let origin = self.cors.origin(request.headers());
        let mut response = match self.refuse(connection, path, &request) {
            Some(refusal) => refusal,
            None if request.method() == Method::OPTIONS && origin.is_some() => self.cors.preflight(request.headers()),
            None => self.pass(connection, path, request).await,
        };
        if path.alertmanager {
            response = problem::as_text(response);
        }
        self.app.http.observe(response.status().as_u16(), begun.elapsed(), path.api && !path.endless);
        let own_policy = response.extensions().get::<OwnPolicy>().is_some();
        seal(response.headers_mut(), path.api, own_policy, connection.tls);
        self.cors.allow(origin, response.headers_mut());
        connection.midway.store(false, Ordering::Relaxed);
        response
    }

    /// What needs no look at routes: the rate, the name it is called by, and a body that is too large by its own word.
    fn refuse(&self, connection: &Connection, path: Path, request: &Request<Incoming>) -> Option<Response> {
        let stops_everything = request.uri().path() == KILL_SWITCH && access::may(&self.app, request.headers(), Role::Operator);
        if !stops_everything {
            // Streams that are opened are bounded in number; how often somebody tries is, too.
            if let Some(wait) = self.app.limiter.check(connection.peer.ip(), path.api && !path.endless) {
                return Some(self.too_many(connection, wait));
            }
            connection.refused.store(0, Ordering::Relaxed);
        }
        if let Some(problem) = self.hosts.refuse(request.uri(), request.headers()) {
            return Some(problem.into_response());
        }
        declared(request.headers()).and_then(|length| self.too_large(length))
    }

    /// One request too many; of many in a row the connection is closed.
    fn too_many(&self, connection: &Connection, wait: Duration) -> Response {
        self.app.refusals.count(Refusal::Rate);
        let mut response = limit::too_many(wait).into_response();
        let refused = connection.refused.fetch_add(1, Ordering::Relaxed);
        if refused >= self.app.config.rate_burst.saturating_mul(REFUSED_BURSTS_MAX) {
            self.app.refusals.count(Refusal::Flood);
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn too_large(&self, length: u64) -> Option<Response> {
        (length > BODY_BYTES_MAX).then(|| {
            self.app.refusals.count(Refusal::BodyBytes);
            too_large(format!("body of {length} bytes")).into_response()
        })
    }

    async fn pass(&self, connection: &Connection, path: Path, request: Request<Incoming>) -> Response {
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(ConnectInfo(Peer(connection.peer)));
        let body = if body.is_end_stream() {
            Body::empty()
        } else {
            match self.body(body).await {
                Ok(bytes) => Body::from(bytes),
                Err(problem) => return problem.into_response(),
            }
        };
        let answered = self.router.clone().call(Request::from_parts(parts, body));
        if path.endless {
            return answered.await.unwrap_or_else(|never| match never {});
        }
        let limit = Duration::from_millis(self.app.config.request_timeout_ms);
        match tokio::time::timeout(limit, answered).await {
            Ok(answer) => answer.unwrap_or_else(|never| match never {}),
            Err(_) => {
                self.app.refusals.count(Refusal::RequestTime);
                Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "The request took too long")
                    .detail(format!("no answer within {} ms", limit.as_millis()))
                    .fix("ask again; gateway.request_timeout_ms sets the limit".to_owned())
                    .into_response()
            }
        }
    }

    /// The whole body: it is small, and comes in time.
    async fn body(&self, body: Incoming) -> Result<Bytes, Problem> {
        match tokio::time::timeout(BODY_LIMIT, Limited::new(body, BODY_BYTES_READ_MAX).collect()).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                self.app.refusals.count(Refusal::BodyBytes);
                Err(too_large("a larger body".to_owned()))
            }
            Ok(Err(error)) => {
                Err(Problem::bad_value("body", error.to_string(), "send the whole body, as its head announces it".to_owned()))
            }
            Err(_) => {
                self.app.refusals.count(Refusal::BodyTime);
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-time", "The request's body took too long")
                    .detail(format!("it was not there within {} s", BODY_LIMIT.as_secs()))
                    .fix("send the body right after the head".to_owned()))
            }
        }
    }
}

/// The length that a head announces.
fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(detail: String) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large")
        .detail(detail)
        .fix(format!("at most {BODY_BYTES_MAX} bytes are taken"))
}

/// What every answer carries.
fn seal(headers: &mut HeaderMap, api: bool, own_policy: bool, tls: bool) {
    headers.reserve(SECURITY_HEADERS.len() + 3);
    if !own_policy {
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    }
    for (name, value) in &SECURITY_HEADERS {
        headers.insert(name, value.clone());
    }
    if own_policy {
        // A backtest's report is shown within the page; its own policy says so too.
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    }
    if tls {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, TRANSPORT);
    }
    if api && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// The page needs nothing but its own files, and nobody may frame it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// Whoever came over TLS once shall not be led away from it.
const TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000");
static SECURITY_HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("permissions-policy"), HeaderValue::from_static("camera=(), geolocation=(), microphone=()")),
];
