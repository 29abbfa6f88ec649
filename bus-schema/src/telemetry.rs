//! What processes say about themselves and about the outside world: calls, heartbeats, feed states, windows.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::alerts::AlertState;
use crate::codec::{Kind, Message};
use crate::instrument::Venue;
use crate::time::Timestamp;

/// Every process of Spark, by the name under which it says that it is here.
pub const PROCESSES: [&str; 15] = [
    "feed",
    "portfolio",
    "guardrail",
    "auditor",
    "risk",
    "executor",
    "candles",
    "strategy",
    "notifier",
    "reporter",
    "signal",
    "rollout",
    "backtest",
    "gateway",
    "exchange-sim",
];

/// The operation name of a whole portfolio refresh (all calls of one poll of one exchange).
pub const REFRESH: &str = "refresh";

/// One call to an exchange, or one whole portfolio refresh (operation [`REFRESH`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Call {
    /// The exchange called.
    pub exchange: Venue,
    /// The process that called, e.g. `portfolio`.
    pub service: String,
    /// What was asked: `account`, `ticker_price`, `refresh` …
    pub operation: String,
    /// When the call began.
    pub started_at: Timestamp,
    /// How long it took, µs.
    pub latency_us: u64,
    /// Whether it succeeded.
    pub ok: bool,
    /// `auth ratelimit timeout network server parse clock`, when it did not.
    pub error_type: Option<String>,
    /// HTTP status, when there was one.
    pub http_status: Option<u16>,
    /// 1 for the first try.
    pub attempt: u32,
}

impl Message for Call {
    const KIND: Kind = Kind { name: "call", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        match (self.ok, &self.error_type) {
            (true, Some(error)) => Err(format!("error_type: {error:?} on a call that succeeded")),
            (false, None) => Err("error_type: missing on a call that failed".to_owned()),
            _ => Ok(()),
        }
    }
}

/// The state a process reports about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// Connecting, loading.
    Starting,
    /// Working.
    Running,
    /// Working in part; `detail` says what is missing.
    Degraded,
    /// Told to stop; the last heartbeat of a run.
    Stopping,
}

/// "I am here", once a second from every process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// The process: `feed`, `guardrail` …
    pub service: String,
    /// Its operating-system process id.
    pub pid: u32,
    /// Version of the binary.
    pub version: String,
    /// When this run began.
    pub started_at: Timestamp,
    /// When this was sent.
    pub sent_at: Timestamp,
    /// What it says of itself.
    pub state: ProcessState,
    /// Why it is not simply running.
    pub detail: Option<String>,
    /// Resident memory, bytes; 0 where the system does not tell.
    pub resident_bytes: u64,
    /// Totals since the start of the run, by metric name, e.g. `spark_feed_ticks_total`.
    pub counters: BTreeMap<String, u64>,
}

impl Message for Heartbeat {
    const KIND: Kind = Kind { name: "heartbeat", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        let token = !self.service.is_empty() && self.service.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        if token { Ok(()) } else { Err(format!("service: {:?} is not a process name", self.service)) }
    }
}

/// State of the connection to one venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeedState {
    /// Trying to connect, or subscribed and waiting for first data.
    Connecting,
    /// Data flows.
    Live,
    /// Connection lost; a back-off runs.
    Reconnecting,
    /// Missing trades are being fetched over REST.
    Filling,
}

/// A change of state of the connection to one venue, and once a minute in between.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FeedStatus {
    /// The venue.
    pub venue: Venue,
    /// The state.
    pub state: FeedState,
    /// When it began.
    pub since: Timestamp,
    /// Symbols subscribed.
    pub symbols: Vec<String>,
    /// Reconnects since the process started.
    pub reconnects: u64,
    /// Trade ids found missing.
    pub trades_missing: u64,
    /// Trade ids fetched over REST.
    pub trades_filled: u64,
    /// Frames that could not be read.
    pub frames_rejected: u64,
    /// Why it is not live.
    pub detail: Option<String>,
}

impl Message for FeedStatus {
    const KIND: Kind = Kind { name: "feed_status", version: 1 };
    crate::codec::bytes_here!();
}

/// Latencies of one [`ApiRequests`]; more requests are counted in `statuses` only.
pub const API_LATENCIES_MAX: usize = 10_000;

/// What the gateway answered lately, once a second when there was something. Live streams are not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiRequests {
    /// The process that answered: `gateway`.
    pub service: String,
    /// Latency of each request, µs, [`API_LATENCIES_MAX`] at most.
    pub latencies_us: Vec<u32>,
    /// Answers by HTTP status.
    pub statuses: BTreeMap<u16, u64>,
    /// The end of the second.
    pub at: Timestamp,
}

impl Message for ApiRequests {
    const KIND: Kind = Kind { name: "api_requests", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        if self.latencies_us.len() > API_LATENCIES_MAX {
            return Err(format!("latencies_us: {} of them, at most {API_LATENCIES_MAX}", self.latencies_us.len()));
        }
        Ok(())
    }
}

/// The current value of one guardrail window in one scope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WindowValue {
    /// The rule that looks at it.
    pub rule: String,
    /// What is measured, e.g. `portfolio_refresh_p95_ms`.
    pub metric: String,
    /// Where: `{"exchange": "binance"}`.
    pub scope: BTreeMap<String, String>,
    /// The value; none while there is no data.
    pub value: Option<f64>,
    /// Samples in the window.
    pub samples: u64,
    /// Length of the window, ms; 0 where the value is momentary.
    pub window_ms: u64,
    /// `ms`, `s`, `1/s`, `ratio`, `count`, `1/min`.
    pub unit: String,
    /// Warning threshold, if any.
    pub warning: Option<f64>,
    /// Critical threshold, if any.
    pub critical: Option<f64>,
    /// What the rule makes of it.
    pub state: AlertState,
}

/// Every guardrail window at one boundary, once a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Windows {
    /// The boundary.
    pub at: Timestamp,
    /// The windows, ordered by rule and scope.
    pub values: Vec<WindowValue>,
    /// Trades counted since the guardrail's state began, by `venue.symbol`. Each trade id counts once.
    pub trades_counted: BTreeMap<String, u64>,
}

impl Message for Windows {
    const KIND: Kind = Kind { name: "windows", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        for window in &self.values {
            for (field, value) in [("value", window.value), ("warning", window.warning), ("critical", window.critical)] {
                if value.is_some_and(|value| !value.is_finite()) {
                    return Err(format!("values.{:.64}: {field} is not a finite number", window.rule));
                }
            }
        }
        Ok(())
    }
}
