//! Orders of a running system: placed over HTTP as a user would, and the whole of their record read back from the LEDGER.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spark_bus_schema::subject::{self, LEDGER};
use spark_nats::{Bus, Delivery, Follower, Start};

use crate::system::System;

/// The LEDGER is read to its end within this time.
const READ_LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked whether the end is reached.
const PAUSE: Duration = Duration::from_millis(20);
/// One request may take this long; the gateway answers sooner, or was killed.
const REQUEST_LIMIT: Duration = Duration::from_secs(8);

/// Sends orders to the gateway of a system.
#[derive(Clone)]
pub struct Desk {
    http: reqwest::Client,
    address: String,
    token: String,
}

/// What the gateway answered: HTTP status and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body as it came.
    pub body: String,
}

impl Answer {
    /// The body as JSON; null when it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

impl Desk {
    /// A desk with the system's own operator token.
    ///
    /// # Panics
    /// There is no token.
    #[must_use]
    pub fn of(system: &System) -> Self {
        let path = system.data().join("keys").join("admin.token");
        let token = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let http = reqwest::Client::builder().timeout(REQUEST_LIMIT).build().expect("client");
        Self { http, address: system.address(), token: token.trim().to_owned() }
    }

    /// POST with the operator's token and, where given, an idempotency key.
    ///
    /// # Errors
    /// No answer came: the gateway was away, or died on the way.
    pub async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> Result<Answer, String> {
        let mut request = self.http.post(format!("{}{path}", self.address)).bearer_auth(&self.token);
        if let Some(key) = key {
            request = request.header("X-Idempotency-Key", key);
        }
        let response = request.json(body).send().await.map_err(|error| format!("{error:?}"))?;
        let status = response.status().as_u16();
        Ok(Answer { status, body: response.text().await.map_err(|error| format!("{error:?}"))? })
    }

    /// `POST /api/exec/order`.
    ///
    /// # Errors
    /// As [`Desk::post`].
    pub async fn order(&self, key: &str, order: &Value) -> Result<Answer, String> {
        self.post("/api/exec/order", Some(key), order).await
    }

    /// `POST /api/exec/kill-switch`.
    ///
    /// # Panics
    /// It is not taken.
    pub async fn kill_switch(&self, on: bool, cancel_open: bool) {
        let body = json!({ "on": on, "cancelOpen": cancel_open, "reason": "test" });
        let answer = self.post("/api/exec/kill-switch", None, &body).await.expect("the gateway answers");
        assert!((200..300).contains(&answer.status), "{answer:?}");
    }
}

/// A market order as the API wants it.
#[must_use]
pub fn market(exchange: &str, symbol: &str, side: &str, quantity: &str) -> Value {
    json!({ "exchange": exchange, "symbol": symbol, "side": side, "type": "market", "quantity": quantity })
}

/// A limit order as the API wants it.
#[must_use]
pub fn limit(exchange: &str, symbol: &str, side: &str, quantity: &str, price: &str, time_in_force: &str) -> Value {
    json!({
        "exchange": exchange, "symbol": symbol, "side": side, "type": "limit", "quantity": quantity, "price": price,
        "timeInForce": time_in_force,
    })
}

/// Everything about orders that the LEDGER holds by now, in its order.
///
/// # Panics
/// It cannot be read to its end in time.
pub async fn record(bus: &Bus) -> Vec<Delivery> {
    let subjects = ["orders.>", "risk.>", "control.>", "marks.>"].map(ToOwned::to_owned).to_vec();
    read(bus, subjects).await
}

/// All of the LEDGER by now, in its order.
///
/// # Panics
/// As [`record`].
pub async fn ledger(bus: &Bus) -> Vec<Delivery> {
    read(bus, Vec::new()).await
}

async fn read(bus: &Bus, subjects: Vec<String>) -> Vec<Delivery> {
    let mut follower = Follower::start(bus.clone(), "operator-record", LEDGER, subjects, Start::Beginning);
    let start = Instant::now();
    let mut stored = Vec::new();
    loop {
        assert!(start.elapsed() < READ_LIMIT, "LEDGER: not read to the end within {READ_LIMIT:?}, {} so far", stored.len());
        match tokio::time::timeout(PAUSE, follower.next()).await {
            Ok(batch) => stored.extend(batch.expect("a follower does not end by itself")),
            Err(_) if follower.is_caught_up() => return stored,
            Err(_) => {}
        }
    }
}

/// Whether a subject is one of `orders.intent.>` and so on.
#[must_use]
pub fn is(delivery: &Delivery, pattern: &str) -> bool {
    subject::matches(pattern, &delivery.subject)
}
