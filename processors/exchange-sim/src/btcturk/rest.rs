//! REST: which call, its quota, its envelope.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::answers::{Call, Refusal};
use super::auth;
use crate::limits::Quota;
use crate::percent::decode;
use crate::wire::Peer;
use crate::world::World;

const MINUTE: Duration = Duration::from_secs(60);

const fn a_minute(limit: u32) -> Quota {
    Quota { limit, period: MINUTE, block: MINUTE }
}

/// The charts' host as a whole.
const CHARTS: Quota = Quota { limit: 600, period: Duration::from_secs(600), block: Duration::from_secs(600) };

/// Quotas of a path, by name.
fn quotas(path: &str) -> Vec<(&'static str, Quota)> {
    match path {
        "/api/v2/ticker" | "/api/v2/ticker/currency" => vec![("ticker", a_minute(600))],
        "/api/v2/orderbook" => vec![("orderbook", a_minute(180))],
        "/api/v2/trades" => vec![("trades", a_minute(90))],
        "/api/v1/users/balances" => vec![("balances", a_minute(120))],
        "/v1/ohlcs" => vec![("charts", CHARTS), ("ohlcs", a_minute(120))],
        "/v1/klines/history" => vec![("charts", CHARTS)],
        _ => Vec::new(),
    }
}

/// 429 in the exchange's form.
pub(crate) fn too_many(quota: Quota, wait: Duration) -> Response {
    let period = match quota.period.as_secs() {
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    };
    let body = json!({
        "message": "TOO_MANY_REQUESTS",
        "success": false,
        "code": 429,
        "details": format!("Quota exceeded. Maximum allowed: {} per {period}.", quota.limit),
        "limit": quota.limit.to_string(),
        "period": period,
        "policy": "ip",
    });
    let wait = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, wait.to_string())], axum::Json(body)).into_response()
}

fn data(data: Value, message: Value) -> Response {
    axum::Json(json!({ "data": data, "success": true, "message": message, "code": 0 })).into_response()
}

fn failure(status: StatusCode, message: &str, code: i32) -> Response {
    (status, axum::Json(json!({ "success": false, "message": message, "code": code }))).into_response()
}

/// Any request that is not the feed.
pub(crate) async fn serve(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let path = uri.path();
    for (name, quota) in quotas(path) {
        if let Err(wait) = world.btcturk_quotas.count(peer.ip, name, quota, Instant::now()) {
            return too_many(quota, wait);
        }
    }
    let query: HashMap<String, String> = (uri.query().unwrap_or_default().split('&'))
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect();
    let call = Call { world: &world, query: &query };
    let enveloped = |result: Result<Value, Refusal>| match result {
        Ok(value) => data(value, Value::Null),
        Err((message, code)) => failure(StatusCode::BAD_REQUEST, &message, code),
    };
    let bare = |result: Result<Value, Refusal>| match result {
        Ok(value) => axum::Json(value).into_response(),
        Err((message, code)) => failure(StatusCode::BAD_REQUEST, &message, code),
    };
    if method != Method::GET {
        return if is_known(path) { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::NOT_FOUND }.into_response();
    }
    match path {
        "/api/v2/server/time" => bare(Ok(call.time())),
        "/api/v2/server/ping" => bare(Ok(json!({ "pong": true }))),
        "/api/v2/server/exchangeinfo" => enveloped(Ok(call.exchange_info())),
        "/api/v2/ticker" => enveloped(Ok(call.tickers())),
        "/api/v2/ticker/currency" => enveloped(Ok(call.tickers_of_currency())),
        "/api/v2/orderbook" => enveloped(call.orderbook()),
        "/api/v2/trades" => enveloped(call.trades()),
        "/api/v2/ohlc" => enveloped(call.daily()),
        "/v1/klines/history" => bare(call.chart()),
        "/v1/ohlcs" => bare(call.chart_days()),
        "/api/v1/users/balances" => match auth::authorize(&world, &headers) {
            Ok(_) => data(call.balances(), Value::from("SUCCESS")),
            Err(message) => failure(StatusCode::UNAUTHORIZED, message, 401),
        },
        // Unknown paths have an empty body.
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn is_known(path: &str) -> bool {
    path.starts_with("/api/v2/") || !quotas(path).is_empty()
}
