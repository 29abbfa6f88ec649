//! `/sim/bist`: the vendor's clock, its delay, codes that change, rows that a test makes up.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::clock::{self, CalendarKind};
use crate::world::{World, clock_ms};

/// What a hand may do; every field is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Hand {
    /// `always` or `exchange`.
    calendar: Option<CalendarKind>,
    /// Moves the clock: ms added to the machine's.
    shift_ms: Option<i64>,
    /// How late the data is from now on; prices stand until the clock that is behind has caught up.
    delay_minutes: Option<u32>,
    /// `{"from":"TRALT","to":"KOZAL"}`.
    rename: Option<Rename>,
    /// `{"symbol":"THYAO","row":{"last":"291.33"}}`: these fields of its row stay so.
    hold: Option<Hold>,
    /// A symbol whose row goes free again.
    release: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rename {
    from: String,
    to: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hold {
    symbol: String,
    row: Map<String, Value>,
}

/// `GET /sim/bist`.
pub(crate) async fn look(State(world): State<Arc<World>>) -> Response {
    shown(&world)
}

/// `POST /sim/bist`.
pub(crate) async fn take_a_hand(State(world): State<Arc<World>>, body: Bytes) -> Response {
    let wrong =
        |field: &str, text: String| (StatusCode::BAD_REQUEST, Json(json!({ "field": field, "error": text }))).into_response();
    let hand: Hand = match serde_json::from_slice(&body) {
        Ok(hand) => hand,
        Err(error) => {
            return wrong("body", format!("{error}; valid: calendar, shift_ms, delay_minutes, rename, hold, release"));
        }
    };
    {
        let mut state = world.bist.state();
        let known = |symbol: &str| state.market.share(symbol).is_some();
        if let Some(hold) = hand.hold.as_ref().filter(|hold| !known(&hold.symbol)) {
            return wrong("hold", format!("no share `{}`", hold.symbol));
        }
        if let Some(rename) = &hand.rename
            && !state.market.rename(&rename.from, &rename.to)
        {
            return wrong("rename", format!("there is no `{}`, or there is `{}` already", rename.from, rename.to));
        }
        if let Some(kind) = hand.calendar {
            state.calendar.kind = kind;
        }
        state.shift_ms = hand.shift_ms.unwrap_or(state.shift_ms);
        state.delay_minutes = hand.delay_minutes.unwrap_or(state.delay_minutes);
        if let Some(hold) = hand.hold {
            state.held.insert(hold.symbol, hold.row);
        }
        if let Some(symbol) = hand.release {
            state.held.remove(&symbol);
        }
    }
    shown(&world)
}

fn shown(world: &World) -> Response {
    let state = world.bist.state();
    let now_ms = state.now_ms(clock_ms());
    let body = json!({
        "calendar": state.calendar.kind,
        "time": clock::text(now_ms),
        "phase": state.calendar.phase(now_ms).as_str(),
        "shift_ms": state.shift_ms,
        "delay_minutes": state.delay_minutes,
        "symbols": state.market.shares.iter().map(|share| share.code.as_str()).collect::<Vec<_>>(),
        "held": state.held,
    });
    Json(body).into_response()
}
