//! What does not end by itself: `GET /api/stream`, server-sent events of the picture ([`crate::stream`]), and `GET /api/ws`,
//! messages of the bus over a WebSocket ([`crate::wire`]).

use axum::body::Body;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, State, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Context;
use super::access::Caller;
use super::cors;
use super::limit::{Full, Place, Refusal};
use super::problem::Problem;
use super::query::Params;
use super::server::Peer;
use crate::app::App;
use crate::auth::Role;
use crate::stream::client::{Wish, events};
use crate::stream::{self, EVENTS};
use crate::wire::client::{self, FRAME_BYTES_MAX, READ_BUFFER_BYTES, Session, WRITE_BUFFER_BYTES};

/// The subprotocol; a version that is not compatible has another name.
const PROTOCOL: &str = "spark.v1";

/// A place for a live stream; without one, why.
pub(super) fn stream_place(app: &App, Peer(peer): Peer) -> Result<Place, Problem> {
    let full = match app.streams.take(peer.ip()) {
        Ok(place) => return Ok(place),
        Err(full) => full,
    };
    let (status, refusal, detail, key) = match full {
        Full::Total(max) => {
            (StatusCode::SERVICE_UNAVAILABLE, Refusal::Streams, format!("{max} clients are connected"), "streams_max")
        }
        Full::Client(max) => {
            let detail = format!("{max} come from this address");
            (StatusCode::TOO_MANY_REQUESTS, Refusal::ClientStreams, detail, "streams_per_client_max")
        }
    };
    app.refusals.count(refusal);
    Err(Problem::new(status, "streams", "Too many live streams")
        .detail(detail)
        .fix(format!("close one, or poll /api/prices within the rate limit; gateway.{key} sets the limit"))
        .retry_after(5))
}

/// `GET /api/stream`: server-sent events.
pub(super) async fn stream(
    State(context): State<Context>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    caller: Caller,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    let params = params.only(&["lastEventId", "events"])?;
    let seen = headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default());
    let wish = Wish {
        seen: seen.or_else(|| params.get("lastEventId")).map(ToOwned::to_owned),
        kinds: params.get("events").map(kinds).transpose()?,
    };
    let place = stream_place(&context.app, peer)?;
    let events = events(context.app, &wish, caller.identity().cloned(), Some(place));
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response())
}

/// The kinds of events in a list, a bit each.
fn kinds(list: &str) -> Result<u32, Problem> {
    let mut kinds = 0;
    for word in list.split(',') {
        if !EVENTS.contains(&word) {
            let fix = format!("a list of {}, or no such parameter for all", EVENTS.join(","));
            return Err(Problem::bad_value("query: events", format!("unknown kind of event `{word:.40}`"), fix));
        }
        kinds |= stream::kind(word);
    }
    Ok(kinds)
}

/// `GET /api/ws`: subscriptions to subjects of the bus.
pub(super) async fn websocket(
    State(context): State<Context>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    caller: Caller,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let app = &context.app;
    if !cors::may_open(&headers, &app.config.cors_origins) {
        app.refusals.count(Refusal::Origin);
        return Problem::new(StatusCode::FORBIDDEN, "origin", "Another site's page may not do this")
            .place("header: Origin")
            .detail(format!("{:.80?} is not this gateway's origin", headers.get(header::ORIGIN)))
            .fix("name the origin in gateway.cors_origins".to_owned())
            .into_response();
    }
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols([PROTOCOL]),
        Err(error) => return not_a_websocket(&error),
    };
    if upgrade.selected_protocol().is_none() && headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        let fix = format!("offer `{PROTOCOL}`, and `bearer.<token>` beside it where no other header can be sent");
        let detail = "none of the subprotocols is known".to_owned();
        return Problem::bad_value("header: Sec-WebSocket-Protocol", detail, fix).into_response();
    }
    let place = match stream_place(app, peer) {
        Ok(place) => Some(place),
        Err(problem) => return problem.into_response(),
    };
    let identity = caller.identity().cloned();
    // Where reading is open, whoever has no token sees what a viewer sees.
    let role = identity.as_ref().map_or(Role::Viewer, |identity| identity.role);
    let session = Session { app: context.app, role, identity, shutdown: context.shutdown, place };
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .on_upgrade(move |socket| client::serve(socket, session))
}

fn not_a_websocket(error: &WebSocketUpgradeRejection) -> Response {
    let mut response = Problem::new(StatusCode::UPGRADE_REQUIRED, "websocket", "This is a WebSocket")
        .detail(error.body_text())
        .fix("open it as ws:// or wss://; /api/stream gives server-sent events over plain HTTP".to_owned())
        .into_response();
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response
}
