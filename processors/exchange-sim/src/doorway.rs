//! What happens to every request before and after it is answered: faults and counting.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::binance;
use crate::bist;
use crate::btcturk;
use crate::config::Venue;
use crate::fault;
use crate::garbage;
use crate::wire::Peer;
use crate::world::World;

/// Longest answer that a fault may break, bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest body of a request, bytes; an order has a few hundred.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Names of parameters that say which symbol a request is about.
const SYMBOL_PARAMETERS: [&str; 3] = ["symbol", "pairSymbol", "pair"];

/// Middleware of all exchanges.
pub(crate) async fn through(
    State((world, venue)): State<(Arc<World>, Venue)>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default();
    let mut symbol = symbol_in(query);
    let method = match *request.method() {
        Method::GET => Some(fault::Method::Get),
        Method::POST => Some(fault::Method::Post),
        Method::DELETE => Some(fault::Method::Delete),
        _ => None,
    };
    let (head, body) = request.into_parts();
    let request = if method == Some(fault::Method::Post) {
        // Too long a body is refused by the call, not here.
        let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
        symbol = symbol.or_else(|| symbol_in_body(&String::from_utf8_lossy(&body)));
        Request::from_parts(head, Body::from(body))
    } else {
        Request::from_parts(head, body)
    };
    let faults = world.faults.request(venue, method, &path, symbol.as_deref());
    if !faults.delay.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(faults.delay) => {}
            () = peer.hangup.cancelled() => {}
        }
    }
    if faults.drop {
        peer.hangup.cancel();
        // Cannot be written any more: the connection ends without an answer.
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let response = match faults.status {
        Some((code, body, retry_after)) => refused(venue, code, body, retry_after),
        None => next.run(request).await,
    };
    let response = match faults.lost_after {
        Some(Some(code)) => refused(venue, code, None, None),
        Some(None) => {
            peer.hangup.cancel();
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        None => response,
    };
    let response = match faults.garbage {
        Some(variant) if response.status() != StatusCode::SWITCHING_PROTOCOLS => {
            let (head, body) = response.into_parts();
            let body = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await.unwrap_or_default();
            let bad = garbage::broken(&String::from_utf8_lossy(&body), variant);
            let mut response = Response::from_parts(head, Body::from(bad));
            response.headers_mut().remove(header::CONTENT_LENGTH);
            response
        }
        _ => response,
    };
    world.exchange(venue).count(venue, response.status().as_u16());
    response
}

fn symbol_in(query: &str) -> Option<String> {
    let named = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| SYMBOL_PARAMETERS.contains(name));
    named.map(|(_, value)| value.replace('_', ""))
}

/// In a form, or in JSON.
fn symbol_in_body(body: &str) -> Option<String> {
    match serde_json::from_str::<Value>(body) {
        Ok(value) => SYMBOL_PARAMETERS.iter().find_map(|name| value.get(*name)?.as_str().map(|symbol| symbol.replace('_', ""))),
        Err(_) => symbol_in(body),
    }
}

fn refused(venue: Venue, code: u16, body: Option<Value>, retry_after: Option<u64>) -> Response {
    let body = match body {
        Some(Value::String(text)) => text,
        Some(value) => value.to_string(),
        None => match venue {
            Venue::Binance => binance::status_body(code).to_string(),
            Venue::Btcturk => btcturk::status_body(code).to_string(),
            Venue::Bist => bist::status_body(code).to_string(),
        },
    };
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
