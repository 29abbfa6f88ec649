//! One request, one answer: time limit, size limit, no redirects, and errors without addresses in them.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use spark_bus_schema::Venue;

use crate::error::{Error, ErrorType};

/// Idle connections kept to one exchange; calls are few and mostly one after another.
const IDLE_CONNECTIONS_MAX: usize = 4;
/// An idle connection is closed after this, before the exchange's own proxies close it under a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header that holds a whole number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.headers.get(name)?.to_str().ok()?.trim().parse().ok()
    }
}

/// The connection pool of one exchange.
#[derive(Debug)]
pub struct Transport {
    client: reqwest::Client,
    body_bytes_max: usize,
}

/// A request that got no (whole) answer.
#[derive(Debug)]
pub struct Broken {
    pub error_type: ErrorType,
    /// False when no connection came about, so that not a byte of the request can have reached the exchange.
    pub maybe_sent: bool,
    pub status: Option<u16>,
    pub message: String,
}

impl Transport {
    /// Roots are compiled in, so that a machine without a certificate store can trade, and starts in the demo.
    /// `direct` keeps a proxy of the environment out of the way, as for a simulator next door.
    ///
    /// A connection that does not come about within half of `timeout` is given up: what was never connected was never sent,
    /// which is worth knowing of an order.
    pub fn new(exchange: Venue, body_bytes_max: usize, timeout: Duration, direct: bool) -> Result<Self, Error> {
        let failed = |what: String| Error::new(exchange, "start", ErrorType::Network, what);
        let tls = tls_config().map_err(|error| failed(format!("TLS cannot be set up: {error}")))?;
        let builder = reqwest::Client::builder();
        let client = if direct { builder.no_proxy() } else { builder }
            .tls_backend_preconfigured(tls)
            // A redirect would carry the key to wherever it points.
            .redirect(reqwest::redirect::Policy::none())
            // Whether to send again is decided in one place, and for orders nowhere.
            .retry(reqwest::retry::never())
            .connect_timeout(timeout / 2)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .gzip(true)
            .user_agent(concat!("spark/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| failed(format!("the HTTP client cannot be set up: {}", describe(error))))?;
        Ok(Self { client, body_bytes_max })
    }

    /// Sends and reads to the end. Dropping the future closes the connection.
    pub async fn send(&self, request: reqwest::Request, timeout: Duration) -> Result<Reply, Broken> {
        match tokio::time::timeout(timeout, self.exchange(request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Broken {
                error_type: ErrorType::Timeout,
                maybe_sent: true,
                status: None,
                message: format!("no answer within {} ms", timeout.as_millis()),
            }),
        }
    }

    async fn exchange(&self, request: reqwest::Request) -> Result<Reply, Broken> {
        let mut response = self.client.execute(request).await.map_err(|error| broken(error, None))?;
        let status = response.status().as_u16();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(error, Some(status)))? {
            if body.len() + chunk.len() > self.body_bytes_max {
                let message = format!("the answer is longer than {} bytes", self.body_bytes_max);
                return Err(Broken { error_type: ErrorType::Parse, maybe_sent: true, status: Some(status), message });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, headers: std::mem::take(response.headers_mut()), body: body.freeze() })
    }
}

fn broken(error: reqwest::Error, status: Option<u16>) -> Broken {
    let error_type = if error.is_timeout() { ErrorType::Timeout } else { ErrorType::Network };
    let what = if error.is_connect() { "cannot connect" } else { "the connection broke" };
    Broken { error_type, maybe_sent: !error.is_connect(), status, message: format!("{what}: {}", describe(error)) }
}

/// TLS with the compiled-in roots, for requests and sockets alike.
pub fn tls_config() -> Result<rustls::ClientConfig, rustls::Error> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    Ok(rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The innermost cause, without the address: the query of a signed request holds its signature.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn StdError = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    crate::error::shorten(&cause.to_string())
}

/// Reads a list row by row. What cannot be read is left out, counted and logged once.
///
/// # Errors
/// `parse` when there are rows and none can be read.
pub fn rows<T: DeserializeOwned>(exchange: Venue, operation: &'static str, raw: &[Box<RawValue>]) -> Result<Vec<T>, Error> {
    let mut rows = Vec::with_capacity(raw.len());
    let mut first_problem = None;
    for row in raw {
        match serde_json::from_str(row.get()) {
            Ok(row) => rows.push(row),
            Err(problem) => first_problem = first_problem.or(Some(problem)),
        }
    }
    let Some(problem) = first_problem else { return Ok(rows) };
    let rejected = raw.len() - rows.len();
    let problem = crate::error::shorten(&problem.to_string());
    metrics::counter!("spark_exchange_rows_rejected_total", "exchange" => exchange.as_str(), "operation" => operation)
        .increment(rejected as u64);
    tracing::warn!(%exchange, operation, rejected, of = raw.len(), first = %problem, "unreadable rows left out");
    if rows.is_empty() {
        return Err(Error::new(exchange, operation, ErrorType::Parse, format!("no row can be read: {problem}")));
    }
    Ok(rows)
}
