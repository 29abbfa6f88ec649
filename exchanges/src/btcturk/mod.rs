//! BTCTurk over REST: `/api/v2` public, `/api/v1` with a key, candles on a host of their own.
//!
//! A 401 does not say whether the key or the stamp was wrong. After one, the exchange's clock is read: an offset that
//! explains the refusal is adopted and the call made once more.

mod types;

use std::collections::HashMap;
use std::sync::Mutex;

use futures_util::future::BoxFuture;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use spark_bus_schema::Venue;
use tokio::time::Instant;

pub use types::{Balance, Candle, OrderBook, Pair, PairFilter, Ticker, Trade};
pub(crate) use types::{Envelope, PairAssets};

use crate::binance::CLOCK_AGE_MAX;
use crate::breaker::{BreakerMode, BreakerState};
use crate::caller::{Ask, Caller, Effort, Observer, get, lock, now, request};
use crate::clock::Skew;
use crate::config::ApiConfig;
use crate::error::{Error, ErrorType, classify_btcturk, shorten};
use crate::http::Reply;
use crate::signing::{ApiKey, query};

/// BTCTurk takes stamps within 5 s. An offset that changed by more than this explains a 401.
const SKEW_EVIDENT_MS: i64 = 3_000;

/// A client of BTCTurk's REST interface. One per process: it holds the connections, the allowance and the breaker.
#[derive(Debug)]
pub struct BtcTurk {
    pub(crate) caller: Caller,
    base_url: String,
    graph_url: String,
    pub(crate) key: Mutex<Option<ApiKey>>,
    /// What is known of pairs' assets; they never change.
    pub(crate) pairs: Mutex<HashMap<String, PairAssets>>,
    skew: Mutex<Skew>,
    clock_read_at: Mutex<Option<Instant>>,
}

impl BtcTurk {
    /// A client; nothing is sent yet. Without a key only the public calls work.
    ///
    /// # Errors
    /// TLS or the HTTP client cannot be set up.
    pub fn new(config: &ApiConfig, key: Option<ApiKey>, observer: Observer) -> Result<Self, Error> {
        Ok(Self {
            caller: Caller::new(Venue::Btcturk, config, observer)?,
            base_url: config.base_url(Venue::Btcturk).to_owned(),
            graph_url: config.graph_url().to_owned(),
            key: Mutex::new(key),
            pairs: Mutex::new(HashMap::new()),
            skew: Mutex::new(Skew::new()),
            clock_read_at: Mutex::new(None),
        })
    }

    /// Replaces the key, as after a rotation.
    pub fn set_key(&self, key: Option<ApiKey>) {
        *lock(&self.key) = key;
    }

    /// `GET v2/server/time`: the exchange's clock, ms. Each reading also corrects [`BtcTurk::clock_offset_ms`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn server_time(&self) -> BoxFuture<'_, Result<i64, Error>> {
        Box::pin(async move {
            let ask = Ask { operation: "server_time", weight: 1, effort: Effort::Once };
            let sent = Mutex::new(0);
            self.caller
                .call(
                    ask,
                    || {
                        *lock(&sent) = now().as_millis();
                        get(Venue::Btcturk, ask.operation, &format!("{}/api/v2/server/time", self.base_url))
                    },
                    |reply| {
                        let time: types::ServerTime = read_bare(ask.operation, reply)?;
                        lock(&self.skew).observe(*lock(&sent), now().as_millis(), time.server_time);
                        *lock(&self.clock_read_at) = Some(Instant::now());
                        Ok(time.server_time)
                    },
                )
                .await
        })
    }

    /// What is added to our clock in stamps, ms; positive when the exchange is ahead.
    #[must_use]
    pub fn clock_offset_ms(&self) -> i64 {
        lock(&self.skew).offset_ms()
    }

    /// `GET v2/ticker` of all pairs. Rows that cannot be read are left out and counted.
    ///
    /// # Errors
    /// [`Error`]; `parse` when no row can be read.
    pub fn ticker(&self) -> BoxFuture<'_, Result<Vec<Ticker>, Error>> {
        Box::pin(async move {
            let ask = Ask { operation: "ticker", weight: 1, effort: Effort::Retried };
            let url = format!("{}/api/v2/ticker", self.base_url);
            self.caller
                .call(
                    ask,
                    || get(Venue::Btcturk, ask.operation, &url),
                    |reply| {
                        let raw: Vec<Box<RawValue>> = read(ask.operation, reply)?;
                        crate::http::rows(Venue::Btcturk, ask.operation, &raw)
                    },
                )
                .await
        })
    }

    /// `GET v2/trades`: the last ones of a pair (at most 50 in practice), **newest first**.
    ///
    /// # Errors
    /// [`Error`]; an unknown pair is `server` with code 1037.
    pub fn trades<'a>(&'a self, pair: &'a str, last: u16) -> BoxFuture<'a, Result<Vec<Trade>, Error>> {
        Box::pin(async move {
            let parameters = query(&[("pairSymbol", pair.to_owned()), ("last", last.to_string())]);
            self.public("trades", &format!("{}/api/v2/trades?{parameters}", self.base_url)).await
        })
    }

    /// `GET v2/orderbook`: up to 100 levels a side, best first.
    ///
    /// # Errors
    /// [`Error`]; an unknown pair is `server` with code 1037.
    pub fn orderbook<'a>(&'a self, pair: &'a str, limit: u16) -> BoxFuture<'a, Result<OrderBook, Error>> {
        Box::pin(async move {
            let parameters = query(&[("pairSymbol", pair.to_owned()), ("limit", limit.to_string())]);
            self.public("orderbook", &format!("{}/api/v2/orderbook?{parameters}", self.base_url)).await
        })
    }

    /// `GET v1/klines/history`: candles of `resolution` (`1 5 15 30 60 240 1D 1W 1M`) that open in `from..=to`, **seconds**.
    ///
    /// # Errors
    /// [`Error`].
    pub fn klines<'a>(
        &'a self,
        pair: &'a str,
        resolution: &'a str,
        from: i64,
        to: i64,
    ) -> BoxFuture<'a, Result<Vec<Candle>, Error>> {
        Box::pin(async move {
            let parameters = query(&[
                ("symbol", pair.to_owned()),
                ("resolution", resolution.to_owned()),
                ("from", from.to_string()),
                ("to", to.to_string()),
            ]);
            let url = format!("{}/v1/klines/history?{parameters}", self.graph_url);
            let ask = Ask { operation: "klines", weight: 1, effort: Effort::Retried };
            self.caller
                .call(
                    ask,
                    || get(Venue::Btcturk, ask.operation, &url),
                    |reply| {
                        let columns: types::CandleColumns = read_bare(ask.operation, reply)?;
                        columns.rows().map_err(|(error_type, what)| failure(ask.operation, error_type, what))
                    },
                )
                .await
        })
    }

    /// `GET v1/ohlcs`: daily candles that open in `from..=to`, **seconds**.
    ///
    /// # Errors
    /// [`Error`].
    pub fn ohlcs<'a>(&'a self, pair: &'a str, from: i64, to: i64) -> BoxFuture<'a, Result<Vec<Candle>, Error>> {
        Box::pin(async move {
            let parameters = query(&[("pair", pair.to_owned()), ("from", from.to_string()), ("to", to.to_string())]);
            let url = format!("{}/v1/ohlcs?{parameters}", self.graph_url);
            let ask = Ask { operation: "ohlcs", weight: 1, effort: Effort::Retried };
            self.caller.call(ask, || get(Venue::Btcturk, ask.operation, &url), |reply| read_bare(ask.operation, reply)).await
        })
    }

    /// `GET v1/users/balances`. Signed.
    ///
    /// # Errors
    /// [`Error`]; `auth` without a key or with a refused one.
    pub fn balances(&self) -> BoxFuture<'_, Result<Vec<Balance>, Error>> {
        Box::pin(async move { self.private("balances", "/api/v1/users/balances").await })
    }

    /// `GET v2/server/exchangeinfo`: all pairs. Rows that cannot be read are left out and counted.
    ///
    /// # Errors
    /// [`Error`]; `parse` when no row can be read.
    pub fn exchange_info(&self) -> BoxFuture<'_, Result<Vec<Pair>, Error>> {
        Box::pin(async move {
            let ask = Ask { operation: "exchange_info", weight: 1, effort: Effort::Retried };
            let url = format!("{}/api/v2/server/exchangeinfo", self.base_url);
            self.caller
                .call(
                    ask,
                    || get(Venue::Btcturk, ask.operation, &url),
                    |reply| {
                        let info: types::ExchangeInfo = read(ask.operation, reply)?;
                        crate::http::rows(Venue::Btcturk, ask.operation, &info.symbols)
                    },
                )
                .await
        })
    }

    /// A signed GET. A 401 that a wrong clock explains is answered by correcting the clock and asking once more.
    pub(crate) async fn private<T: DeserializeOwned + Send>(&self, operation: &'static str, path: &str) -> Result<T, Error> {
        if lock(&self.key).is_none() {
            return Err(failure(operation, ErrorType::Auth, "no API key is configured"));
        }
        if let Err(error) = self.keep_clock().await {
            // The old offset, or none, may still do; if not, the exchange will say so.
            tracing::debug!(%error, "the exchange's clock could not be read");
        }
        let offset_used = self.clock_offset_ms();
        match self.signed(operation, path).await {
            Err(error) if matches!(error.error_type, ErrorType::Auth | ErrorType::Clock) && error.http_status.is_some() => {
                self.correct_clock_or(error, offset_used).await?;
                self.signed(operation, path).await
            }
            outcome => outcome,
        }
    }

    /// Reads the exchange's clock when the last reading is too old.
    pub(crate) async fn keep_clock(&self) -> Result<(), Error> {
        let stale = lock(&self.clock_read_at).is_none_or(|read_at| read_at.elapsed() > CLOCK_AGE_MAX);
        if stale { self.server_time().await.map(|_| ()) } else { Ok(()) }
    }

    /// After a 401: adopts the offset read now when the old one explains the refusal, else gives the refusal back.
    pub(crate) async fn correct_clock_or(&self, refusal: Error, offset_used: i64) -> Result<(), Error> {
        let before = lock(&self.skew).clone();
        lock(&self.skew).forget();
        let read = self.server_time().await;
        let moved = (self.clock_offset_ms() - offset_used).abs();
        if read.is_err() || (moved < SKEW_EVIDENT_MS && refusal.error_type == ErrorType::Auth) {
            *lock(&self.skew) = before;
            return Err(refusal);
        }
        tracing::warn!(exchange = "btcturk", offset_ms = self.clock_offset_ms(), "clock skew corrected after a refusal");
        Ok(())
    }

    /// Sets the circuit breaker by hand, or back to automatic.
    pub fn set_breaker(&self, mode: BreakerMode) {
        self.caller.set_breaker(mode);
    }

    /// Who decides over the circuit breaker, and what a call would meet now.
    #[must_use]
    pub fn breaker(&self) -> (BreakerMode, BreakerState) {
        self.caller.breaker()
    }

    async fn public<T: DeserializeOwned + Send>(&self, operation: &'static str, url: &str) -> Result<T, Error> {
        let ask = Ask { operation, weight: 1, effort: Effort::Retried };
        self.caller.call(ask, || get(Venue::Btcturk, operation, url), |reply| read(operation, reply)).await
    }

    async fn signed<T: DeserializeOwned + Send>(&self, operation: &'static str, path: &str) -> Result<T, Error> {
        let ask = Ask { operation, weight: 1, effort: Effort::Retried };
        let build = || {
            let stamp = now().as_millis() + self.clock_offset_ms();
            self.signed_request(Method::GET, operation, path, stamp)
        };
        self.caller.call(ask, build, |reply| read(operation, reply)).await
    }

    /// A signed request without a body; `stamp` by the exchange's clock, ms. Neither path nor body are signed.
    pub(crate) fn signed_request(
        &self,
        method: Method,
        operation: &'static str,
        path: &str,
        stamp: i64,
    ) -> Result<reqwest::Request, Error> {
        let refuse = |what: String| failure(operation, ErrorType::Auth, what);
        let key = lock(&self.key).clone().ok_or_else(|| refuse("no API key is configured".to_owned()))?;
        let signature = key.sign_btcturk(stamp).map_err(|error| refuse(error.to_string()))?;
        let mut request = request(Venue::Btcturk, operation, method, &format!("{}{path}", self.base_url))?;
        for (name, value) in [("X-PCK", key.key()), ("X-Stamp", &stamp.to_string()), ("X-Signature", &signature)] {
            let mut value =
                HeaderValue::from_str(value).map_err(|_| refuse(format!("{name} holds characters that no header can")))?;
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(request)
    }
}

fn failure(operation: &'static str, error_type: ErrorType, message: impl Into<String>) -> Error {
    Error::new(Venue::Btcturk, operation, error_type, message)
}

/// The `data` of an envelope that says success.
pub(crate) fn read<T: DeserializeOwned + Send>(operation: &'static str, reply: &Reply) -> Result<T, Error> {
    if !reply.is_success() {
        return Err(refusal(operation, reply));
    }
    let unreadable = |problem: serde_json::Error| {
        failure(operation, ErrorType::Parse, format!("unreadable answer: {}", shorten(&problem.to_string())))
    };
    let envelope: types::Envelope<'_> = serde_json::from_slice(&reply.body).map_err(unreadable)?;
    if !envelope.success || envelope.code.is_some_and(|code| code != 0) {
        return Err(refusal(operation, reply));
    }
    serde_json::from_str(envelope.data.map_or("null", RawValue::get)).map_err(unreadable)
}

/// An answer without an envelope, as the clock and the candles give it.
fn read_bare<T: DeserializeOwned + Send>(operation: &'static str, reply: &Reply) -> Result<T, Error> {
    if !reply.is_success() {
        return Err(refusal(operation, reply));
    }
    serde_json::from_slice(&reply.body).map_err(|problem| {
        if serde_json::from_slice::<types::Envelope<'_>>(&reply.body).is_ok_and(|envelope| !envelope.success) {
            return refusal(operation, reply);
        }
        failure(operation, ErrorType::Parse, format!("unreadable answer: {}", shorten(&problem.to_string())))
    })
}

/// An answer that says no, whatever its status and however much of the envelope it has.
fn refusal(operation: &'static str, reply: &Reply) -> Error {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    let code = body["code"].as_i64().or_else(|| body["code"].as_str().and_then(|code| code.parse().ok()));
    let said = body["message"].as_str().map(shorten).unwrap_or_default();
    let mut error = failure(operation, classify_btcturk(reply.status, code, &said), said);
    if error.message.is_empty() {
        error.message = "an error without a message".to_owned();
    }
    (error.venue_code, error.http_status) = (code, Some(reply.status));
    error
}
