//! Faults and state over HTTP. No password: it listens on loopback.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::admin_market;
use crate::admin_orders;
use crate::bist;
use crate::config::Venue;
use crate::fault::Fault;
use crate::units::fixed;
use crate::world::{Exchange, World};

/// Everything under `/sim`.
pub(crate) fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/sim/faults", post(set).get(list).delete(clear))
        .route("/sim/faults/{id}", delete(remove))
        .route("/sim/state", get(state))
        .route("/sim/replay", get(replay))
        .route("/sim/bist", get(bist::look).post(bist::take_a_hand))
        .route("/sim/market", post(admin_market::pin))
        .merge(admin_orders::router())
        .with_state(world)
}

async fn set(State(world): State<Arc<World>>, body: Bytes) -> Response {
    let fault = match Fault::parse(&body) {
        Ok(fault) => fault,
        Err(invalid) => return (StatusCode::BAD_REQUEST, Json(invalid)).into_response(),
    };
    let id = world.set_fault(fault);
    (StatusCode::CREATED, Json(json!({ "id": id }))).into_response()
}

async fn list(State(world): State<Arc<World>>) -> Response {
    Json(world.faults.listed()).into_response()
}

async fn clear(State(world): State<Arc<World>>) -> Response {
    world.faults.remove(None);
    StatusCode::NO_CONTENT.into_response()
}

async fn remove(State(world): State<Arc<World>>, Path(id): Path<String>) -> Response {
    match id.parse() {
        Ok(id) if world.faults.remove(Some(id)) => StatusCode::NO_CONTENT.into_response(),
        _ => (
            StatusCode::NOT_FOUND,
            Json(json!({ "field": "id", "error": format!("no fault `{id}`; GET /sim/faults lists them") })),
        )
            .into_response(),
    }
}

async fn state(State(world): State<Arc<World>>) -> Response {
    let exchange = |venue: Venue| describe(world.exchange(venue));
    Json(json!({
        "uptime_ms": u64::try_from(world.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "seed": world.config.seed,
        "speed": world.replay.as_ref().map(|_| world.config.replay.speed),
        "faults": world.faults.listed().iter().filter(|fault| fault.active).count(),
        "exchanges": { "binance": exchange(Venue::Binance), "btcturk": exchange(Venue::Btcturk), "bist": exchange(Venue::Bist) },
    }))
    .into_response()
}

fn describe(exchange: &Exchange) -> Value {
    let market = |symbol: &Arc<crate::live::Symbol>| {
        let live = symbol.live();
        json!({
            "symbol": &*symbol.name,
            "last_price": live.last_price().map(fixed),
            "last_trade_id": live.last.map(|trade| trade.id),
            "bid": live.top.map(|top| fixed(top.bid.0)),
            "ask": live.top.map(|top| fixed(top.ask.0)),
            "trades_kept": live.trades.len(),
            "replayed": symbol.replayed,
        })
    };
    let answered: BTreeMap<String, u64> = {
        let answered = exchange.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.iter().map(|(code, count)| (code.to_string(), *count)).collect()
    };
    let sockets: Vec<Value> =
        exchange.hub.clients().iter().map(|client| json!({ "id": client.id, "streams": client.topics().len() })).collect();
    json!({
        "sockets": sockets.len(),
        "socket_list": sockets,
        "sockets_opened": exchange.connected.load(Ordering::Relaxed),
        "requests": answered,
        "markets": exchange.symbols.iter().map(market).collect::<Vec<_>>(),
    })
}

async fn replay(State(world): State<Arc<World>>) -> Response {
    match &world.replay {
        Some(replay) => Json(replay.report(&world)).into_response(),
        None => {
            (StatusCode::NOT_FOUND, Json(json!({ "field": "replay", "error": "no recording is replayed; give `replay.files`" })))
                .into_response()
        }
    }
}
