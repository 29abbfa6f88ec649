//! What is read back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spark_bus_schema::{Decimal, Timestamp};

/// A stretch of time: `from` is in it, `to` is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
}

impl Window {
    /// The window of this length that ends at `to`.
    #[must_use]
    pub fn ending(to: Timestamp, length: std::time::Duration) -> Self {
        Self { from: to - length, to }
    }

    /// Its length, s.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of years fit into 53 bits")]
    pub fn seconds(&self) -> f64 {
        self.to.since_ms(self.from) as f64 / 1_000.0
    }

    /// Whether a moment lies in it.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// One guardrail rule in one scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// The row's number in this file.
    pub id: i64,
    /// The rule's id, e.g. `portfolio_refresh_p95`.
    pub rule: String,
    /// What is measured, as in `telemetry.windows`.
    pub metric: String,
    /// Where, e.g. `{"exchange": "binance"}`.
    pub scope: BTreeMap<String, String>,
    /// `ms`, `s`, `1/s`, `ratio`, `count`, `1/min`.
    pub unit: String,
}

/// What one series said in one minute, from the guardrail's boundaries (one a second).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Minute {
    /// The minute's beginning.
    pub at: Timestamp,
    /// The last value; none when there was none.
    pub last: Option<f64>,
    /// The smallest value.
    pub low: Option<f64>,
    /// The largest value.
    pub high: Option<f64>,
    /// The sum of the values: `total / boundaries` is their mean.
    pub total: f64,
    /// Boundaries with a value.
    pub boundaries: u64,
    /// Boundaries without.
    pub empty: u64,
    /// Most samples that a window held.
    pub samples: u64,
    /// Warning threshold in force at the end.
    pub warning: Option<f64>,
    /// Critical threshold in force at the end.
    pub critical: Option<f64>,
    /// Boundaries at which the alert was pending.
    pub pending: u64,
    /// Boundaries at which it fired.
    pub firing: u64,
}

/// One call to an exchange, or one whole poll (operation `refresh`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRow {
    /// When it began.
    pub at: Timestamp,
    /// The exchange.
    pub exchange: String,
    /// Who called.
    pub service: String,
    /// What was asked.
    pub operation: String,
    /// How long it took, µs.
    pub latency_us: u64,
    /// Whether it succeeded.
    pub ok: bool,
    /// Why not.
    pub error_type: Option<String>,
}

/// Seconds of one minute in which a process was heard of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The process.
    pub service: String,
    /// The minute's beginning.
    pub minute: Timestamp,
    /// Bit n: a heartbeat was sent in second n.
    pub heard: u64,
    /// Bit n: and said `degraded`.
    pub degraded: u64,
}

/// One start of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The process.
    pub service: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Its process id.
    pub pid: u32,
    /// Version of the binary.
    pub version: String,
}

/// A state of the connection to a venue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedRow {
    /// The venue.
    pub venue: String,
    /// When the state began.
    pub since: Timestamp,
    /// `connecting live reconnecting filling`.
    pub state: String,
    /// Why it is not live.
    pub detail: Option<String>,
}

/// The last poll of an exchange in one minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// The exchange.
    pub exchange: String,
    /// The minute's beginning.
    pub minute: Timestamp,
    /// When that poll ended.
    pub at: Timestamp,
    /// Everything there, USD, exact.
    pub total_usd: Decimal,
    /// Assets there.
    pub assets: u64,
    /// When the balances were read; none when never.
    pub updated_at: Option<Timestamp>,
    /// They are older than the poll.
    pub stale: bool,
    /// Polls in this minute.
    pub polls: u64,
    /// Of them failed.
    pub failed: u64,
}

/// Verdicts of one minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictCount {
    /// The minute's beginning.
    pub minute: Timestamp,
    /// The guard that refused; none for approvals.
    pub guard: Option<String>,
    /// How many.
    pub count: u64,
}

/// Scores of one symbol and time frame, in one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreCount {
    /// The venue.
    pub venue: String,
    /// The symbol.
    pub symbol: String,
    /// Of the candles.
    pub timeframe: String,
    /// The bucket; `below` for less confidence than the lowest one; none where there was no score.
    pub bucket: Option<String>,
    /// How many.
    pub count: u64,
}

/// Transitions of orders in one minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCount {
    /// The minute's beginning.
    pub minute: Timestamp,
    /// Where.
    pub exchange: String,
    /// The state that they lead to.
    pub state: String,
    /// How many.
    pub count: u64,
}

/// A fact kept whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact<T> {
    /// When it happened, by its own word; never later than when it was stored.
    pub at: Timestamp,
    /// Its subject.
    pub subject: String,
    /// Its sequence in its stream.
    pub sequence: u64,
    /// What it says.
    pub message: T,
}

/// A parked message, without its payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedRow {
    /// Who could not handle it.
    pub process: String,
    /// In one word.
    pub reason: String,
    /// The whole error.
    pub detail: String,
    /// Stream of the original.
    pub stream: String,
    /// Sequence of the original.
    pub sequence: u64,
    /// Subject of the original.
    pub subject: String,
}

/// What the gateway answered in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiSummary {
    /// Answers by HTTP status.
    pub statuses: BTreeMap<u16, u64>,
    /// How many answers took so many µs.
    pub latencies_us: BTreeMap<u32, u64>,
}
