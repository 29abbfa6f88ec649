//! The simulated Binance Spot: REST under `/api/v3`, market streams under `/ws` and `/stream`, requests and the account's
//! events under `/ws-api/v3`.

mod answers;
mod auth;
mod errors;
mod filters;
pub(crate) mod frames;
mod info;
mod orders;
mod params;
mod reports;
mod rest;
mod streams;
mod ws_api;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};

use crate::config::Venue;
use crate::doorway;
use crate::world::World;

pub(crate) use reports::{tell_execution, tell_transfer};
pub(crate) use streams::parse_kline_topic;

/// Everything that this exchange serves.
pub(crate) fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/ws", get(streams::raw))
        .route("/ws/{*streams}", get(streams::raw))
        .route("/stream", get(streams::combined))
        .route("/ws-api/v3", get(ws_api::open))
        .fallback(any(rest::serve))
        .layer(axum::middleware::from_fn_with_state((world.clone(), Venue::Binance), doorway::through))
        .with_state(world)
}

/// Default body of a fault that answers a status.
pub(crate) fn status_body(code: u16) -> serde_json::Value {
    let (number, text) = match code {
        401 => (-2015, "Invalid API-key, IP, or permissions for action."),
        403 => (-1000, "Forbidden."),
        418 | 429 => (
            -1003,
            "Too much request weight used; current limit is 6000 request weight per 1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API.",
        ),
        503 => (-1008, "Server is currently overloaded with other requests. Please try again in a few minutes."),
        504 | 408 => (-1007, "Timeout waiting for response from backend server. Send status unknown; execution status unknown."),
        _ => (-1000, "An unknown error occurred while processing the request."),
    };
    serde_json::json!({ "code": number, "msg": text })
}
