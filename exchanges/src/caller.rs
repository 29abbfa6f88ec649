//! The loop around one call: limiter, breaker, retries, telemetry. Both clients go through it and through nothing else.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use spark_bus_schema::telemetry::Call;
use spark_bus_schema::{Timestamp, Venue};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::breaker::{Breaker, BreakerMode, BreakerState, Refusal};
use crate::config::ApiConfig;
use crate::error::{Error, ErrorType};
use crate::http::{Reply, Transport};
use crate::limiter::Bucket;
use crate::retry::{self, RetryConfig};

/// Headers in which keys travel.
const KEY_HEADERS: [&str; 3] = ["x-mbx-apikey", "x-pck", "authorization"];
/// What stands in place of a key that an exchange says back.
const KEY_SHOWN: &str = "(our key)";
/// A key that is cut off is left out from this many bytes on.
const KEY_PART_MIN: usize = 8;

/// How long to stay away after a 429 or 418 that does not say.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(10);

/// Binance's "too many new orders".
const ORDERS_EXHAUSTED: i64 = -1015;

/// How one try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a readable answer.
    Ok,
    /// With a failure of this class.
    Err(ErrorType),
}

/// One try of one call, told to the observer when it is over. Calls that the breaker or the limiter kept from going out
/// are not reported: nothing was asked.
#[derive(Clone, Debug)]
pub struct CallReport {
    /// Who was asked.
    pub exchange: Venue,
    /// What was asked.
    pub operation: &'static str,
    /// When the request was sent, by our clock.
    pub started_at: Timestamp,
    /// From then to the last byte of the answer, decoded.
    pub latency: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// Status, when there was an answer.
    pub http_status: Option<u16>,
    /// 1 for the first try.
    pub attempt: u32,
}

impl CallReport {
    /// What the bus is told about it by the process that made the call.
    #[must_use]
    pub fn told_by(&self, service: &str) -> Call {
        let error_type = match self.outcome {
            Outcome::Ok => None,
            Outcome::Err(error_type) => Some(error_type.as_str().to_owned()),
        };
        Call {
            exchange: self.exchange,
            service: service.to_owned(),
            operation: self.operation.to_owned(),
            started_at: self.started_at,
            latency_us: u64::try_from(self.latency.as_micros()).unwrap_or(u64::MAX),
            ok: error_type.is_none(),
            error_type,
            http_status: self.http_status,
            attempt: self.attempt,
        }
    }
}

/// Called after every try, on the task that made it: it must not block.
pub type Observer = Arc<dyn Fn(&CallReport) + Send + Sync>;

/// How hard to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Once, whatever happens.
    Once,
    /// As often as the configuration allows.
    Retried,
}

/// What a call is, apart from its request: its name, its price, how hard to try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub operation: &'static str,
    pub weight: u32,
    pub effort: Effort,
}

/// How a request that is made at most once failed, by how far it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OnceError {
    /// Not a byte of it left.
    NotSent(Error),
    /// It left, or may have, and no whole answer came.
    Lost(Error),
    /// The exchange answered, and this is what it said (or what cannot be read).
    Answered(Error),
}

impl OnceError {
    pub fn error(&self) -> &Error {
        match self {
            Self::NotSent(error) | Self::Lost(error) | Self::Answered(error) => error,
        }
    }

    pub fn into_inner(self) -> Error {
        match self {
            Self::NotSent(error) | Self::Lost(error) | Self::Answered(error) => error,
        }
    }
}

/// Makes the request of a try.
type Build<'a> = &'a (dyn Fn() -> Result<reqwest::Request, Error> + Send + Sync);
/// Takes in the answer, or says what is wrong with it.
type Read<'a> = &'a mut (dyn FnMut(&Reply) -> Result<(), Error> + Send);

struct Gate {
    breaker: Breaker,
    /// The class of the failure that counted last, to say why the breaker is open.
    last_outage: Option<ErrorType>,
}

/// One exchange's calls.
pub(crate) struct Caller {
    exchange: Venue,
    transport: Transport,
    timeout: Duration,
    retry: RetryConfig,
    per_minute: u32,
    bucket: Mutex<Bucket>,
    gate: Mutex<Gate>,
    gate_changed: Notify,
    observer: Observer,
}

impl Caller {
    pub fn new(exchange: Venue, config: &ApiConfig, observer: Observer) -> Result<Self, Error> {
        let per_minute = config.per_minute(exchange);
        let direct = config.base_url(exchange).starts_with("http://");
        Ok(Self {
            exchange,
            transport: Transport::new(exchange, config.body_bytes_max, config.timeout(), direct)?,
            timeout: config.timeout(),
            retry: config.retry,
            per_minute,
            bucket: Mutex::new(Bucket::new(per_minute, Instant::now())),
            gate: Mutex::new(Gate { breaker: Breaker::new(config.breaker), last_outage: None }),
            gate_changed: Notify::new(),
            observer,
        })
    }

    /// Makes a call. `build` runs for every try, so that each is stamped and signed anew; `read` turns the answer into a
    /// value or says what is wrong with it.
    ///
    /// # Errors
    /// The last try's [`Error`], or why no (further) try was made.
    pub async fn call<T: Send>(
        &self,
        ask: Ask,
        build: impl Fn() -> Result<reqwest::Request, Error> + Send + Sync,
        read: impl Fn(&Reply) -> Result<T, Error> + Send + Sync,
    ) -> Result<T, Error> {
        let mut value = None;
        self.call_any(ask, &build, &mut |reply| {
            value = Some(read(reply)?);
            Ok(())
        })
        .await?;
        value.ok_or_else(|| self.unread(ask))
    }

    /// [`Caller::call`], compiled once for all there is to build and to read.
    async fn call_any(&self, ask: Ask, build: Build<'_>, read: Read<'_>) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_millis(self.retry.total_ms);
        let tries = if ask.effort == Effort::Once { 1 } else { self.retry.attempts_max.max(1) };
        let mut attempt = 1;
        loop {
            self.wait_for_allowance(ask, deadline).await?;
            self.wait_for_breaker(ask, deadline).await?;
            // Built after the waits, so that its timestamp is fresh.
            let request = build()?;
            let error = match self.attempt(ask, attempt, request, deadline, read).await {
                Ok(()) => return Ok(()),
                Err(error) => error.into_inner(),
            };
            let pause = error.retry_after.unwrap_or_else(|| self.retry.pause(attempt, retry::random_unit()));
            if attempt >= tries || !error.is_retryable() || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::debug!(exchange = %self.exchange, attempt, %error, pause_ms = pause.as_millis() as u64, "trying again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// Makes a call at most once, and begins it before `send_before` or not at all; says how far it came. The answer is
    /// waited for as long as the configuration allows, also beyond `send_before`.
    pub async fn call_once<T: Send>(
        &self,
        ask: Ask,
        send_before: Instant,
        build: impl FnOnce() -> Result<reqwest::Request, Error> + Send,
        read: impl Fn(&Reply) -> Result<T, Error> + Send + Sync,
    ) -> Result<T, OnceError> {
        let (mut build, mut value) = (Some(build), None);
        let mut build = || build.take().map_or_else(|| Err(self.unread(ask)), |build| build());
        let mut read = |reply: &Reply| {
            value = Some(read(reply)?);
            Ok(())
        };
        self.call_any_once(ask, send_before, &mut build, &mut read).await?;
        value.ok_or_else(|| OnceError::Answered(self.unread(ask)))
    }

    async fn call_any_once(
        &self,
        ask: Ask,
        send_before: Instant,
        build: &mut (dyn FnMut() -> Result<reqwest::Request, Error> + Send),
        read: Read<'_>,
    ) -> Result<(), OnceError> {
        self.wait_for_allowance(ask, send_before).await.map_err(OnceError::NotSent)?;
        self.wait_for_breaker(ask, send_before).await.map_err(OnceError::NotSent)?;
        let request = build();
        if let (Ok(_), true) = (&request, Instant::now() < send_before) {
            let deadline = Instant::now() + self.timeout;
            return self.attempt(ask, 1, request.map_err(OnceError::NotSent)?, deadline, read).await;
        }
        // The breaker's place for a probe is given back: nothing was learned about the exchange.
        lock(&self.gate).breaker.abandoned();
        self.gate_changed.notify_waiters();
        Err(OnceError::NotSent(request.err().unwrap_or_else(|| {
            Error::new(self.exchange, ask.operation, ErrorType::Timeout, "not sent: the time allowed for sending it is over")
        })))
    }

    /// For what cannot happen: a call that is made at most once was built twice, or succeeded and its answer was not read.
    fn unread(&self, ask: Ask) -> Error {
        Error::new(self.exchange, ask.operation, ErrorType::Parse, "Spark built the call twice or did not read its answer")
    }

    async fn attempt(
        &self,
        ask: Ask,
        attempt: u32,
        request: reqwest::Request,
        deadline: Instant,
        read: Read<'_>,
    ) -> Result<(), OnceError> {
        let started_at = now();
        let started = Instant::now();
        let timeout = self.timeout.min(deadline.saturating_duration_since(started));
        let key = key_of(&request);
        let (http_status, outcome) = match self.transport.send(request, timeout).await {
            Ok(reply) => {
                let outcome =
                    read(&reply).map_err(|error| OnceError::Answered(self.complete(without(key.as_ref(), error), &reply)));
                if let Some(used) = reply.number("x-mbx-used-weight-1m") {
                    lock(&self.bucket).observe_used(u32::try_from(used).unwrap_or(u32::MAX), Instant::now());
                }
                (Some(reply.status), outcome)
            }
            Err(broken) => {
                let mut error = Error::new(self.exchange, ask.operation, broken.error_type, broken.message);
                error.http_status = broken.status;
                (broken.status, Err(if broken.maybe_sent { OnceError::Lost(error) } else { OnceError::NotSent(error) }))
            }
        };
        let latency = started.elapsed();
        let failed = outcome.as_ref().err().map(OnceError::error);
        self.record(failed);
        (self.observer)(&CallReport {
            exchange: self.exchange,
            operation: ask.operation,
            started_at,
            latency,
            outcome: failed.map_or(Outcome::Ok, |error| Outcome::Err(error.error_type)),
            http_status,
            attempt,
        });
        outcome
    }

    /// Adds what the headers say to an error that was read from the body.
    fn complete(&self, mut error: Error, reply: &Reply) -> Error {
        error.http_status = Some(reply.status);
        if error.error_type == ErrorType::RateLimit {
            let wait = reply.number("retry-after").map_or(RETRY_AFTER_DEFAULT, Duration::from_secs);
            error.retry_after = Some(wait);
            // -1015 is about new orders alone, and may last until midnight: cancels and questions go on.
            if error.venue_code != Some(ORDERS_EXHAUSTED) {
                lock(&self.bucket).block(wait, Instant::now());
            }
            metrics::counter!("spark_exchange_rate_limited_total", "exchange" => self.exchange.as_str(),
                "status" => reply.status.to_string())
            .increment(1);
        }
        error
    }

    fn record(&self, error: Option<&Error>) {
        let at = Instant::now();
        let mut gate = lock(&self.gate);
        match error {
            Some(error) if error.is_outage() => {
                let before = gate.breaker.state(at);
                gate.breaker.failed(at);
                gate.last_outage = Some(error.error_type);
                if before != BreakerState::Open && gate.breaker.state(at) == BreakerState::Open {
                    tracing::warn!(exchange = %self.exchange, %error, "circuit breaker opened");
                }
            }
            _ => {
                let before = gate.breaker.state(at);
                gate.breaker.succeeded();
                if before != BreakerState::Closed && gate.breaker.state(at) == BreakerState::Closed {
                    tracing::info!(exchange = %self.exchange, "circuit breaker closed");
                }
            }
        }
        self.show_breaker(gate.breaker.state(at));
        drop(gate);
        self.gate_changed.notify_waiters();
        if let Some(error) = error {
            metrics::counter!("spark_exchange_api_error_total", "exchange" => self.exchange.as_str(),
                "error_type" => error.error_type.as_str())
            .increment(1);
        }
    }

    fn show_breaker(&self, state: BreakerState) {
        let open = if state == BreakerState::Closed { 0.0 } else { 1.0 };
        metrics::gauge!("spark_exchange_breaker_open", "exchange" => self.exchange.as_str()).set(open);
    }

    async fn wait_for_allowance(&self, ask: Ask, deadline: Instant) -> Result<(), Error> {
        loop {
            let at = Instant::now();
            let taken = lock(&self.bucket).take(ask.weight, at);
            let Err(wait) = taken else { return Ok(()) };
            if at + wait > deadline {
                let message = format!(
                    "not sent: the allowance of {} a minute is used up, or the exchange asked to wait, for another {} ms",
                    self.per_minute,
                    wait.as_millis()
                );
                let mut error = Error::new(self.exchange, ask.operation, ErrorType::RateLimit, message);
                error.retry_after = Some(wait);
                return Err(error);
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// While half open, one call at a time goes out; the others wait for its end rather than fail.
    async fn wait_for_breaker(&self, ask: Ask, deadline: Instant) -> Result<(), Error> {
        loop {
            let changed = self.gate_changed.notified();
            let at = Instant::now();
            let (refusal, state, last_outage) = {
                let mut gate = lock(&self.gate);
                match gate.breaker.admit(at) {
                    Ok(()) => return Ok(()),
                    Err(refusal) => (refusal, gate.breaker.state(at), gate.last_outage),
                }
            };
            let until = match refusal {
                Refusal::For(wait) => at + wait,
                Refusal::ByHand => at,
            };
            if state == BreakerState::HalfOpen && at < deadline {
                let _changed_or_given_up = tokio::time::timeout_at(until.min(deadline), changed).await;
                continue;
            }
            return Err(self.refused(ask, refusal, last_outage));
        }
    }

    fn refused(&self, ask: Ask, refusal: Refusal, last_outage: Option<ErrorType>) -> Error {
        let (error_type, message, wait) = match refusal {
            Refusal::ByHand => (ErrorType::Server, "not sent: the circuit breaker is held open by hand".to_owned(), None),
            Refusal::For(wait) => {
                let because = last_outage.unwrap_or(ErrorType::Server);
                let left = wait.as_millis();
                (
                    because,
                    format!("not sent: the circuit breaker is open for another {left} ms (last failure: {because})"),
                    Some(wait),
                )
            }
        };
        let mut error = Error::new(self.exchange, ask.operation, error_type, message);
        error.retry_after = wait;
        error
    }

    /// Sets the breaker by hand, or back to automatic.
    pub fn set_breaker(&self, mode: BreakerMode) {
        let state = {
            let mut gate = lock(&self.gate);
            gate.breaker.set_mode(mode);
            gate.breaker.state(Instant::now())
        };
        self.show_breaker(state);
        self.gate_changed.notify_waiters();
    }

    /// Who decides, and what a call would meet now.
    pub fn breaker(&self) -> (BreakerMode, BreakerState) {
        let gate = lock(&self.gate);
        (gate.breaker.mode(), gate.breaker.state(Instant::now()))
    }
}

/// The key that a request carries. The secret itself is never sent.
fn key_of(request: &reqwest::Request) -> Option<SecretString> {
    let key = KEY_HEADERS.iter().find_map(|name| request.headers().get(*name)?.to_str().ok());
    let key = key.map(|key| key.strip_prefix("Bearer ").unwrap_or(key));
    key.filter(|key| !key.is_empty()).map(SecretString::from)
}

/// What an exchange says is kept and shown: should it say the key back, whole or cut off at the end, that is left out.
fn without(key: Option<&SecretString>, mut error: Error) -> Error {
    let Some(key) = key.map(ExposeSecret::expose_secret) else { return error };
    error.message = error.message.replace(key, KEY_SHOWN);
    let cut = (KEY_PART_MIN..key.len()).rev().find_map(|bytes| error.message.strip_suffix(key.get(..bytes)?).map(str::len));
    if let Some(rest) = cut {
        error.message.truncate(rest);
        error.message.push_str(KEY_SHOWN);
    }
    error
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}

/// Nothing that holds these locks can panic half way through a change, so a poisoned one is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Our wall clock.
pub(crate) fn now() -> Timestamp {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// A GET request; `url` must already be encoded.
pub(crate) fn get(exchange: Venue, operation: &'static str, url: &str) -> Result<reqwest::Request, Error> {
    request(exchange, operation, Method::GET, url)
}

/// A request without a body; `url` must already be encoded.
pub(crate) fn request(exchange: Venue, operation: &'static str, method: Method, url: &str) -> Result<reqwest::Request, Error> {
    match reqwest::Url::parse(url) {
        Ok(url) => Ok(reqwest::Request::new(method, url)),
        Err(error) => {
            Err(Error::new(exchange, operation, ErrorType::Network, format!("base_url is not a usable address: {error}")))
        }
    }
}
