//! The simulated BTCTurk: REST under `/api`, charts under `/v1`, the WebSocket feed at `/`.

mod answers;
mod auth;
mod board;
pub(crate) mod feed;
mod frames;
mod orders;
mod private;
mod rest;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};

use crate::config::Venue;
use crate::doorway;
use crate::world::World;

pub(crate) use auth::decode_secret;
pub(crate) use board::{Board, tell};
pub(crate) use frames::trade;
pub(crate) use private::tell_execution;

/// Everything that this exchange serves.
pub(crate) fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/", get(feed::open))
        .fallback(any(rest::serve))
        .layer(axum::middleware::from_fn_with_state((world.clone(), Venue::Btcturk), doorway::through))
        .with_state(world)
}

/// Default body of a fault that answers a status.
pub(crate) fn status_body(code: u16) -> serde_json::Value {
    let text = match code {
        401 => "Invalid Signature",
        429 => "TOO_MANY_REQUESTS",
        503 => "SERVICE_UNAVAILABLE",
        _ => "INTERNAL_ERROR",
    };
    serde_json::json!({ "success": false, "message": text, "code": code })
}
