//! Signed requests: key, timestamp, signature over the bytes as they came.

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret;
use sha2::Sha256;

use super::errors::ApiError;
use super::params::{Params, milliseconds};
use crate::config::{ApiKey, Venue};
use crate::world::World;

/// A timestamp may be ahead of the server's by less than this, ms.
const AHEAD_MS: i64 = 1_000;
const RECV_WINDOW_MS: f64 = 5_000.0;
const RECV_WINDOW_MAX_MS: f64 = 60_000.0;
/// Length of a real key.
const KEY_LENGTH: usize = 64;

/// What a call needs its key to allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Reading the account.
    UserData,
    /// Placing and cancelling orders.
    Trade,
}

/// Query and body without their `signature`, joined as they are signed.
pub(crate) fn payload(query: &str, body: &str) -> String {
    let strip = |part: &str| part.split('&').filter(|pair| !pair.starts_with("signature=")).collect::<Vec<_>>().join("&");
    strip(query) + &strip(body)
}

/// Whether a hex signature, in either case, is right.
pub(crate) fn verify(secret: &str, payload: &str, signature: &str) -> bool {
    let Ok(signature) = hex::decode(signature) else { return false };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
    mac.update(payload.as_bytes());
    mac.verify_slice(&signature).is_ok()
}

/// Checks a signed REST request.
pub(crate) fn authorize<'a>(
    world: &'a World,
    headers: &HeaderMap,
    query: &str,
    body: &str,
    params: &Params,
    permission: Permission,
) -> Result<&'a ApiKey, ApiError> {
    let name = headers.get("x-mbx-apikey").and_then(|value| value.to_str().ok()).unwrap_or_default();
    check(world, name, &payload(query, body), params, permission)
}

/// Checks a signed request in the exchange's order of checks. `payload` is what its signature covers.
pub(crate) fn check<'a>(
    world: &'a World,
    name: &str,
    payload: &str,
    params: &Params,
    permission: Permission,
) -> Result<&'a ApiKey, ApiError> {
    let known = world.binance.account.key(name);
    if known.is_none() && (name.len() != KEY_LENGTH || !name.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        return Err(ApiError::key_format());
    }
    let timestamp = params.number("timestamp")?.ok_or_else(|| ApiError::missing("timestamp"))?;
    let window = match params.get("recvWindow") {
        None => RECV_WINDOW_MS,
        Some(text) => text
            .parse::<f64>()
            .ok()
            .filter(|ms| ms.is_finite() && *ms >= 0.0)
            .ok_or_else(|| ApiError::illegal("recvWindow", "^[0-9]{1,5}(\\.[0-9]{1,3})?$"))?,
    };
    if window > RECV_WINDOW_MAX_MS {
        return Err(ApiError::bad(-1131, "recvWindow must be less than 60000"));
    }
    let signature = params.get("signature").ok_or_else(|| ApiError::missing("signature"))?;
    let key = known.ok_or_else(ApiError::key_refused)?;
    let (now, timestamp) = (world.now_ms(Venue::Binance), milliseconds(timestamp));
    if timestamp >= now + AHEAD_MS {
        return Err(ApiError::early());
    }
    #[allow(clippy::cast_precision_loss)]
    let age = (now - timestamp) as f64;
    if age > window {
        return Err(ApiError::late());
    }
    if !verify(key.secret.expose_secret(), payload, signature) {
        return Err(ApiError::signature());
    }
    let allowed = permission == Permission::UserData || key.can_trade;
    if !allowed || world.faults.revoked(Venue::Binance, &key.key) {
        return Err(ApiError::key_refused());
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";

    #[test]
    fn the_official_vectors_are_accepted() {
        let check = |payload: &str, signature: &str| assert!(verify(SECRET, payload, signature), "{payload}");
        let order = |symbol: &str| {
            format!(
                "symbol={symbol}&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
            )
        };
        check(&order("LTCBTC"), "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71");
        check(
            &order("%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96"),
            "E1353EC6B14D888F1164AE9AF8228A3DBD508BC82EB867DB8AB6046442F33EF3",
        );
        check("timestamp=1499827319559&recvWindow=5000", "6cd35332399b004466463b9ad65a112a14f31fb9ddfd5e19bd7298fbd491dbc7");
        assert!(!verify(
            SECRET,
            "timestamp=1499827319559&recvWindow=5001",
            "6cd35332399b004466463b9ad65a112a14f31fb9ddfd5e19bd7298fbd491dbc7"
        ));
        assert!(!verify(SECRET, "", "zz"));
    }

    #[test]
    fn the_vectors_of_the_websocket_api_are_accepted() {
        let key = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A";
        let order = format!(
            "apiKey={key}&price=52000.00&quantity=0.01000000&recvWindow=100&side=SELL&symbol=BTCUSDT&timeInForce=GTC&timestamp=1645423376532&type=LIMIT"
        );
        assert!(verify(SECRET, &order, "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24"));
        let subscribe = format!("apiKey={key}&timestamp=1747385641636");
        assert!(verify(SECRET, &subscribe, "681110a6057ad58657af22f5640fab9dd17418834cdfccdc81be8b0f7b2cde3e"));
    }

    #[test]
    fn what_is_signed_is_query_and_body_without_the_signature() {
        assert_eq!(payload("a=1&signature=ff&b=2", "c=3"), "a=1&b=2c=3");
        assert_eq!(payload("", "c=3&signature=ff"), "c=3");
    }
}
