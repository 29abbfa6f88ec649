//! `GET …/quotes?symbols=…`: who may ask, how often, and one row a share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::market::Share;
use super::{State as VendorState, clock, status_body};
use crate::config::Venue;
use crate::limits::Quota;
use crate::percent;
use crate::wire::Peer;
use crate::world::{World, clock_ms};

/// Symbols in one question.
const SYMBOLS_MAX: usize = 100;
const MINUTE: Duration = Duration::from_secs(60);

fn error(status: StatusCode, text: &str) -> Response {
    (status, axum::Json(json!({ "error": text }))).into_response()
}

/// Any request to the vendor.
pub(super) async fn serve(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if !uri.path().ends_with("/quotes") {
        return error(StatusCode::NOT_FOUND, "unknown path; GET /quotes?symbols=THYAO,AKBNK");
    }
    if method != Method::GET {
        return error(StatusCode::METHOD_NOT_ALLOWED, "only GET");
    }
    let config = &world.config.bist_vendor;
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(token) = token.filter(|token| *token == config.token.expose_secret()) else {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], axum::Json(status_body(401))).into_response();
    };
    if world.faults.revoked(Venue::Bist, token) {
        return (StatusCode::UNAUTHORIZED, axum::Json(status_body(401))).into_response();
    }
    let quota = Quota { limit: config.per_minute, period: MINUTE, block: MINUTE };
    if let Err(wait) = world.bist.quotas.count(peer.ip, "quotes", quota, Instant::now()) {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let retry = [(header::RETRY_AFTER, seconds.to_string())];
        return (StatusCode::TOO_MANY_REQUESTS, retry, axum::Json(status_body(429))).into_response();
    }
    let query = uri.query().unwrap_or_default();
    let named = query.split('&').find_map(|pair| pair.strip_prefix("symbols="));
    let symbols: Vec<String> = named
        .map(|list| percent::decode(list).split(',').filter(|symbol| !symbol.is_empty()).map(bare).collect())
        .unwrap_or_default();
    if symbols.is_empty() || symbols.len() > SYMBOLS_MAX {
        return error(StatusCode::BAD_REQUEST, "symbols: name 1 to 100, comma-separated, e.g. symbols=THYAO,AKBNK");
    }
    axum::Json(rows(&world, &symbols)).into_response()
}

/// `THYAO` of `THYAO.E`.
fn bare(symbol: &str) -> String {
    let upper = symbol.to_ascii_uppercase();
    upper.strip_suffix(".E").unwrap_or(&upper).to_owned()
}

/// One row a known symbol; unknown ones are left out, as vendors do.
fn rows(world: &World, symbols: &[String]) -> Value {
    let mut state = world.bist.state();
    let state = &mut *state;
    let now_ms = state.now_ms(clock_ms());
    if !world.faults.frozen(Venue::Bist) {
        state.market.advance(now_ms, &state.calendar);
    }
    let (phase, skew) = (state.calendar.phase(now_ms).as_str(), world.faults.skew_ms(Venue::Bist));
    let rows = symbols.iter().filter_map(|symbol| {
        let share = state.market.share(symbol)?;
        if world.faults.frame(Venue::Bist, &format!("quotes:{symbol}")).skip {
            return None;
        }
        let mut row = row(share, phase, skew, world.config.bist_vendor.sizes);
        hold(state, symbol, &mut row);
        Some(row)
    });
    Value::Array(rows.collect())
}

fn hold(state: &VendorState, symbol: &str, row: &mut Value) {
    for (name, value) in state.held.get(symbol).into_iter().flatten() {
        row[name.as_str()] = value.clone();
    }
}

#[expect(clippy::cast_precision_loss, reason = "prices have few digits; a turnover is told in whole lira")]
fn row(share: &Share, phase: &str, skew_ms: i64, sizes: bool) -> Value {
    let lira = |kurus: i64| kurus as f64 / 100.0;
    let mut row = json!({
        "symbol": share.code,
        "last": lira(share.last),
        "bid": share.bid.map(lira),
        "ask": share.ask.map(lira),
        "open": share.open.map(lira),
        "high": share.high.map(lira),
        "low": share.low.map(lira),
        "prevClose": lira(share.prev_close),
        "volume": share.volume,
        "turnover": share.turnover / 100,
        "time": clock::text(share.changed_ms + skew_ms),
        "status": phase,
    });
    if sizes {
        row["bidSize"] = share.bid.map(|_| share.bid_size).into();
        row["askSize"] = share.ask.map(|_| share.ask_size).into();
    }
    row
}
