//! Binance spot over REST.
//!
//! Weights and shapes as documented for `/api/v3` in 2026; see the repository's exchange reference.

mod types;

use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use spark_bus_schema::Venue;
use tokio::time::Instant;

pub use types::{Account, ApiRestrictions, Balance, BookTicker, ExchangeInfo, Kline, Symbol, TickerPrice, Trade};

use crate::breaker::{BreakerMode, BreakerState};
use crate::caller::{Ask, Caller, Effort, Observer, get, lock, now, request};
use crate::clock::Skew;
use crate::config::ApiConfig;
use crate::error::{Error, ErrorType, classify_binance, shorten};
use crate::http::Reply;
use crate::signing::{ApiKey, query};

/// The skew is measured again when the last reading is older.
pub const CLOCK_AGE_MAX: Duration = Duration::from_secs(300);

/// A client of Binance's REST interface. One per process: it holds the connections, the allowance and the breaker.
#[derive(Debug)]
pub struct Binance {
    pub(crate) caller: Caller,
    base_url: String,
    pub(crate) recv_window_ms: u64,
    pub(crate) key: Mutex<Option<ApiKey>>,
    skew: Mutex<Skew>,
    clock_read_at: Mutex<Option<Instant>>,
}

impl Binance {
    /// A client; nothing is sent yet. Without a key only the public calls work.
    ///
    /// # Errors
    /// TLS or the HTTP client cannot be set up.
    pub fn new(config: &ApiConfig, key: Option<ApiKey>, observer: Observer) -> Result<Self, Error> {
        Ok(Self {
            caller: Caller::new(Venue::Binance, config, observer)?,
            base_url: config.base_url(Venue::Binance).to_owned(),
            recv_window_ms: config.recv_window_ms,
            key: Mutex::new(key),
            skew: Mutex::new(Skew::new()),
            clock_read_at: Mutex::new(None),
        })
    }

    /// Replaces the key, as after a rotation.
    pub fn set_key(&self, key: Option<ApiKey>) {
        *lock(&self.key) = key;
    }

    /// `GET time`: the exchange's clock, ms. Each reading also corrects [`Binance::clock_offset_ms`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn time(&self) -> BoxFuture<'_, Result<i64, Error>> {
        Box::pin(async move {
            let ask = Ask { operation: "time", weight: 1, effort: Effort::Once };
            let sent = Mutex::new(0);
            self.caller
                .call(
                    ask,
                    || {
                        *lock(&sent) = now().as_millis();
                        get(Venue::Binance, ask.operation, &format!("{}/api/v3/time", self.base_url))
                    },
                    |reply| {
                        let time: types::ServerTime = read(ask.operation, reply)?;
                        lock(&self.skew).observe(*lock(&sent), now().as_millis(), time.server_time);
                        *lock(&self.clock_read_at) = Some(Instant::now());
                        Ok(time.server_time)
                    },
                )
                .await
        })
    }

    /// What is added to our clock in timestamps, ms; positive when the exchange is ahead.
    #[must_use]
    pub fn clock_offset_ms(&self) -> i64 {
        lock(&self.skew).offset_ms()
    }

    /// `GET exchangeInfo` of some symbols (all of them when `symbols` is empty), trimmed to what connectors need.
    ///
    /// # Errors
    /// [`Error`]; an unknown symbol is `server` with code -1121.
    pub fn exchange_info<'a>(&'a self, symbols: &'a [&'a str]) -> BoxFuture<'a, Result<ExchangeInfo, Error>> {
        Box::pin(async move {
            let mut parameters = vec![("showPermissionSets", "false".to_owned())];
            if !symbols.is_empty() {
                parameters.push(("symbols", json_list(symbols)));
            }
            self.public("exchange_info", 20, "exchangeInfo", &parameters).await
        })
    }

    /// `GET account`, without assets of which there is nothing. Signed.
    ///
    /// # Errors
    /// [`Error`]; `auth` without a key or with a refused one.
    pub fn account(&self) -> BoxFuture<'_, Result<Account, Error>> {
        Box::pin(async move { self.signed("account", 20, "/api/v3/account", &[("omitZeroBalances", "true".to_owned())]).await })
    }

    /// What the key itself may do (`GET /sapi/v1/account/apiRestrictions`). Signed. `canTrade` of [`Binance::account`] is
    /// the account's state, not the key's. None where the address has no such call (test net, simulator).
    ///
    /// # Errors
    /// [`Error`].
    pub fn api_restrictions(&self) -> BoxFuture<'_, Result<Option<ApiRestrictions>, Error>> {
        Box::pin(async move {
            match self.signed("api_restrictions", 1, "/sapi/v1/account/apiRestrictions", &[]).await {
                Ok(restrictions) => Ok(Some(restrictions)),
                Err(error) if error.http_status == Some(404) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// `GET ticker/price` of some symbols, or of all. Rows that cannot be read are left out and counted
    /// (`spark_exchange_rows_rejected_total`): one bad price must not hide two thousand good ones.
    ///
    /// # Errors
    /// [`Error`]; `parse` when no row can be read.
    pub fn ticker_price<'a>(&'a self, symbols: Option<&'a [&'a str]>) -> BoxFuture<'a, Result<Vec<TickerPrice>, Error>> {
        Box::pin(async move {
            let parameters = symbols.map(|symbols| vec![("symbols", json_list(symbols))]).unwrap_or_default();
            let weight = if symbols.is_some_and(|symbols| symbols.len() == 1) { 2 } else { 4 };
            let ask = Ask { operation: "ticker_price", weight, effort: Effort::Retried };
            let url = self.url("ticker/price", &parameters);
            self.caller
                .call(
                    ask,
                    || get(Venue::Binance, ask.operation, &url),
                    |reply| {
                        let raw: Vec<Box<RawValue>> = read(ask.operation, reply)?;
                        crate::http::rows(Venue::Binance, ask.operation, &raw)
                    },
                )
                .await
        })
    }

    /// `GET ticker/bookTicker` of one symbol.
    ///
    /// # Errors
    /// [`Error`].
    pub fn book_ticker<'a>(&'a self, symbol: &'a str) -> BoxFuture<'a, Result<BookTicker, Error>> {
        Box::pin(async move { self.public("book_ticker", 2, "ticker/bookTicker", &[("symbol", symbol.to_owned())]).await })
    }

    /// `GET trades`: the last `limit` (at most 1 000), oldest first.
    ///
    /// # Errors
    /// [`Error`].
    pub fn trades<'a>(&'a self, symbol: &'a str, limit: u16) -> BoxFuture<'a, Result<Vec<Trade>, Error>> {
        Box::pin(async move {
            let parameters = [("symbol", symbol.to_owned()), ("limit", limit.to_string())];
            self.public("trades", 25, "trades", &parameters).await
        })
    }

    /// `GET historicalTrades`: up to `limit` (at most 1 000) from trade `from_id` on, oldest first; the last ones without.
    ///
    /// # Errors
    /// [`Error`].
    pub fn historical_trades<'a>(
        &'a self,
        symbol: &'a str,
        from_id: Option<u64>,
        limit: u16,
    ) -> BoxFuture<'a, Result<Vec<Trade>, Error>> {
        Box::pin(async move {
            let mut parameters = vec![("symbol", symbol.to_owned()), ("limit", limit.to_string())];
            parameters.extend(from_id.map(|id| ("fromId", id.to_string())));
            self.public("historical_trades", 25, "historicalTrades", &parameters).await
        })
    }

    /// `GET klines`: up to `limit` (at most 1 000) candles of `interval` (`1m`, `1h`, `1d` …; case matters), oldest first,
    /// opening between the two times (ms), where given. Outages leave holes.
    ///
    /// # Errors
    /// [`Error`]; a bad interval is `server` with code -1120.
    pub fn klines<'a>(
        &'a self,
        symbol: &'a str,
        interval: &'a str,
        start_ms: Option<i64>,
        end_ms: Option<i64>,
        limit: u16,
    ) -> BoxFuture<'a, Result<Vec<Kline>, Error>> {
        Box::pin(async move {
            let mut parameters =
                vec![("symbol", symbol.to_owned()), ("interval", interval.to_owned()), ("limit", limit.to_string())];
            parameters.extend(start_ms.map(|at| ("startTime", at.to_string())));
            parameters.extend(end_ms.map(|at| ("endTime", at.to_string())));
            self.public("klines", 2, "klines", &parameters).await
        })
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

    fn url(&self, path: &str, parameters: &[(&str, String)]) -> String {
        let separator = if parameters.is_empty() { "" } else { "?" };
        format!("{}/api/v3/{path}{separator}{}", self.base_url, query(parameters))
    }

    async fn public<T: DeserializeOwned + Send>(
        &self,
        operation: &'static str,
        weight: u32,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<T, Error> {
        let url = self.url(path, parameters);
        let ask = Ask { operation, weight, effort: Effort::Retried };
        self.caller.call(ask, || get(Venue::Binance, operation, &url), |reply| read(operation, reply)).await
    }

    /// A signed GET. A refused timestamp is answered by reading the exchange's clock anew and asking once more.
    pub(crate) async fn signed<T: DeserializeOwned + Send>(
        &self,
        operation: &'static str,
        weight: u32,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<T, Error> {
        if lock(&self.key).is_none() {
            return Err(Error::new(Venue::Binance, operation, ErrorType::Auth, "no API key is configured"));
        }
        if let Err(error) = self.keep_clock().await {
            // The old offset, or none, may still do; if not, the exchange will say so.
            tracing::debug!(%error, "the exchange's clock could not be read");
        }
        match self.signed_once(operation, weight, path, parameters).await {
            Err(error) if error.error_type == ErrorType::Clock => {
                self.forget_clock();
                if self.time().await.is_err() {
                    return Err(error);
                }
                tracing::warn!(exchange = "binance", offset_ms = self.clock_offset_ms(), "clock skew corrected after a refusal");
                self.signed_once(operation, weight, path, parameters).await
            }
            outcome => outcome,
        }
    }

    /// Reads the exchange's clock when the last reading is too old.
    pub(crate) async fn keep_clock(&self) -> Result<(), Error> {
        let stale = lock(&self.clock_read_at).is_none_or(|read_at| read_at.elapsed() > CLOCK_AGE_MAX);
        if stale { self.time().await.map(|_| ()) } else { Ok(()) }
    }

    /// A timestamp was refused: one of the clocks jumped, and what was measured before says nothing.
    pub(crate) fn forget_clock(&self) {
        lock(&self.skew).forget();
        *lock(&self.clock_read_at) = None;
    }

    async fn signed_once<T: DeserializeOwned + Send>(
        &self,
        operation: &'static str,
        weight: u32,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<T, Error> {
        let ask = Ask { operation, weight, effort: Effort::Retried };
        let build = || {
            let timestamp = now().as_millis() + self.clock_offset_ms();
            self.signed_request(Method::GET, operation, path, parameters, timestamp, self.recv_window_ms)
        };
        self.caller.call(ask, build, |reply| read(operation, reply)).await
    }

    /// A signed request that is good until `recv_window_ms` after `timestamp` (exchange's clock, ms). What it says goes into
    /// the body of a POST and into the query of everything else.
    pub(crate) fn signed_request(
        &self,
        method: Method,
        operation: &'static str,
        path: &str,
        parameters: &[(&str, String)],
        timestamp: i64,
        recv_window_ms: u64,
    ) -> Result<reqwest::Request, Error> {
        let refuse = |what: &str| Error::new(Venue::Binance, operation, ErrorType::Auth, what);
        let key = lock(&self.key).clone().ok_or_else(|| refuse("no API key is configured"))?;
        let mut parameters = parameters.to_vec();
        parameters.push(("recvWindow", recv_window_ms.to_string()));
        parameters.push(("timestamp", timestamp.to_string()));
        let payload = query(&parameters);
        let signed = format!("{payload}&signature={}", key.sign_binance(&payload));
        let mut request = if method == Method::POST {
            let mut request = request(Venue::Binance, operation, method, &format!("{}{path}", self.base_url))?;
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            *request.body_mut() = Some(signed.into());
            request
        } else {
            request(Venue::Binance, operation, method, &format!("{}{path}?{signed}", self.base_url))?
        };
        let mut header =
            HeaderValue::from_str(key.key()).map_err(|_| refuse("the API key holds characters that no header can"))?;
        header.set_sensitive(true);
        request.headers_mut().insert("X-MBX-APIKEY", header);
        Ok(request)
    }
}

/// `["A","B"]`, as the list parameters want it.
fn json_list(symbols: &[&str]) -> String {
    serde_json::Value::from(symbols.to_vec()).to_string()
}

/// An answer's body as a value; every other answer as an error.
pub(crate) fn read<T: DeserializeOwned + Send>(operation: &'static str, reply: &Reply) -> Result<T, Error> {
    let failure = |error_type, message: String, code| {
        let mut error = Error::new(Venue::Binance, operation, error_type, message);
        (error.venue_code, error.http_status) = (code, Some(reply.status));
        error
    };
    let said = || serde_json::from_slice::<types::Refusal>(&reply.body).ok();
    if reply.is_success() {
        return serde_json::from_slice(&reply.body).map_err(|problem| match said() {
            Some(refusal) => {
                let error_type = classify_binance(reply.status, Some(refusal.code));
                failure(error_type, shorten(&refusal.msg), Some(refusal.code))
            }
            None => failure(ErrorType::Parse, format!("unreadable answer: {}", shorten(&problem.to_string())), None),
        });
    }
    let refusal = said();
    let code = refusal.as_ref().map(|refusal| refusal.code);
    let message = refusal.map_or_else(|| "an error without Binance's error body".to_owned(), |refusal| shorten(&refusal.msg));
    Err(failure(classify_binance(reply.status, code), message, code))
}
