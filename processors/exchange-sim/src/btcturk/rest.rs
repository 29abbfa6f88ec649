//! REST: which call, its quota, its envelope.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::answers::{Call, Refusal};
use super::auth;
use super::orders;
use crate::limits::Quota;
use crate::orders::Outcome;
use crate::wire::Peer;
use crate::world::World;

const MINUTE: Duration = Duration::from_secs(60);

const fn a_minute(limit: u32) -> Quota {
    Quota { limit, period: MINUTE, block: MINUTE }
}

/// A single order.
const ORDER: &str = "/api/v1/order/";

/// The charts' host as a whole.
const CHARTS: Quota = Quota { limit: 600, period: Duration::from_secs(600), block: Duration::from_secs(600) };

/// Quotas of a call, by name.
fn quotas(world: &World, method: &Method, path: &str) -> Vec<(&'static str, Quota)> {
    let second = |limit: u32| Quota { limit, period: Duration::from_secs(1), block: Duration::from_secs(1) };
    let (per_minute, per_second) = (a_minute(world.config.btcturk_orders_per_min), second(world.config.btcturk_orders_per_s));
    let mut quotas = match path {
        "/api/v2/ticker" | "/api/v2/ticker/currency" => vec![("ticker", a_minute(600))],
        "/api/v2/orderbook" => vec![("orderbook", a_minute(180))],
        "/api/v2/trades" => vec![("trades", a_minute(90))],
        "/api/v1/users/balances" => vec![("balances", a_minute(120))],
        "/api/v1/order" if method == Method::DELETE => vec![("cancel", per_minute), ("cancel burst", per_second)],
        "/api/v1/order" => vec![("submit", per_minute), ("submit burst", per_second)],
        "/api/v1/openOrders" => vec![("open orders", a_minute(300))],
        "/api/v1/allOrders" => vec![("all orders", a_minute(300))],
        "/api/v1/users/transactions/trade" => vec![("fills", a_minute(120))],
        "/v1/ohlcs" => vec![("charts", CHARTS), ("ohlcs", a_minute(120))],
        "/v1/klines/history" => vec![("charts", CHARTS)],
        path if path.starts_with(ORDER) => vec![("order", a_minute(900)), ("order burst", second(30))],
        _ => Vec::new(),
    };
    for (_, quota) in &mut quotas {
        quota.limit = quota.limit.saturating_mul(world.config.btcturk_quota_factor.max(1));
    }
    quotas
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
    body: Bytes,
) -> Response {
    let path = uri.path();
    let submits = path == "/api/v1/order" && method == Method::POST;
    let log = |message: &str, code: i32| {
        let sent = serde_json::from_slice(&body).unwrap_or(Value::Null);
        orders::log_refused(&world, &sent, message, code, Outcome::Refused);
    };
    for (name, quota) in quotas(&world, &method, path) {
        if let Err(wait) = world.btcturk_quotas.count(peer.ip, name, quota, Instant::now()) {
            if submits {
                log("TOO_MANY_REQUESTS", 429);
            }
            return too_many(quota, wait);
        }
    }
    let query = orders::parameters(uri.query().unwrap_or_default());
    let call = Call { world: &world, query: &query };
    let enveloped = |result: Result<Value, Refusal>| match result {
        Ok(value) => data(value, Value::Null),
        Err((message, code)) => failure(StatusCode::BAD_REQUEST, &message, code),
    };
    let bare = |result: Result<Value, Refusal>| match result {
        Ok(value) => axum::Json(value).into_response(),
        Err((message, code)) => failure(StatusCode::BAD_REQUEST, &message, code),
    };
    if path.starts_with("/api/v1/") && is_private(&method, path) {
        let refused = match auth::authorize(&world, &headers) {
            Ok(key) if method == Method::GET || key.can_trade => None,
            Ok(_) => Some("Unauthorized: this key has no permission to trade"),
            Err(message) => Some(message),
        };
        if let Some(message) = refused {
            if submits {
                log(message, 401);
            }
            return failure(StatusCode::UNAUTHORIZED, message, 401);
        }
        return private(&world, &call, &method, &uri, &body);
    }
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
        // Unknown paths have an empty body.
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Whether a private call of this method exists.
fn is_private(method: &Method, path: &str) -> bool {
    match path {
        "/api/v1/order" => method == Method::POST || method == Method::DELETE,
        "/api/v1/users/balances" | "/api/v1/openOrders" | "/api/v1/allOrders" | "/api/v1/users/transactions/trade" => {
            method == Method::GET
        }
        path => path.starts_with(ORDER) && method == Method::GET,
    }
}

/// A private call whose key is fine.
fn private(world: &Arc<World>, call: &Call<'_>, method: &Method, uri: &Uri, body: &[u8]) -> Response {
    let answer = match uri.path() {
        "/api/v1/order" if method == Method::POST => call.submit(body),
        "/api/v1/order" => {
            return match call.cancelable() {
                Ok((symbol, id, first)) => {
                    if first {
                        orders::cancel_later(world.clone(), symbol, id);
                    }
                    axum::Json(json!({ "success": true, "message": "SUCCESS", "code": 0 })).into_response()
                }
                Err((message, code)) => failure(StatusCode::BAD_REQUEST, &message, code),
            };
        }
        "/api/v1/users/balances" => Ok(call.balances()),
        "/api/v1/openOrders" => call.open_orders(),
        "/api/v1/allOrders" => call.all_orders(),
        "/api/v1/users/transactions/trade" => call.fills(uri.query().unwrap_or_default()),
        path => call.order(path.strip_prefix(ORDER).unwrap_or_default()),
    };
    match answer {
        Ok(value) => data(value, Value::from("SUCCESS")),
        Err((message, code)) => failure(StatusCode::BAD_REQUEST, &message, code),
    }
}

fn is_known(path: &str) -> bool {
    path.starts_with("/api/v2/") || path.starts_with("/v1/") || is_private(&Method::GET, path) || path == "/api/v1/order"
}
