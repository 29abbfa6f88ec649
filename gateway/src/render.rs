//! The view in the shapes that leave it as JSON, over HTTP and on the live stream alike.

use schemars::JsonSchema;
use serde::Serialize;
use spark_bus_schema::Timestamp;
use spark_bus_schema::alerts::{Alert, Severity};
use spark_bus_schema::telemetry::Windows;

use crate::config::Config;
use crate::number::Number;
use crate::view::backtests::JobRow;
use crate::view::bist::BistAnswer;
use crate::view::muted::AlertRow;
use crate::view::prices::PriceRow;
use crate::view::processes::{Presence, ProcessRow};
use crate::view::registry::RegisteredRow;
use crate::view::rollouts::RolloutAnswer;
use crate::view::signals::{BucketRow, Overall, VersionRow};
use crate::view::status::{Status, Word};
use crate::view::trading::OrdersTold;
use crate::view::trading::positions::Positions;
use crate::view::trading::rows::Guard;
use crate::view::windows::{ERROR_RATE_RULE, P95_RULE, STALENESS_RULE};
use crate::view::{FeedRow, ParkedRows, View, portfolio};

/// Processes, feeds, broker and parked messages.
#[derive(Serialize, JsonSchema)]
pub struct System {
    /// Now at the gateway, ms since the epoch: ages are counted against it, whatever the browser's clock says.
    pub now_ms: i64,
    /// `DEMO`, `DEGRADED` or `LIVE`, and why.
    #[serde(flatten)]
    pub status: Status,
    /// Whether the broker is there.
    pub broker_connected: bool,
    /// Version of the gateway.
    pub version: &'static str,
    /// A row per process.
    pub processes: Vec<ProcessRow>,
    /// A row per venue.
    pub feeds: Vec<FeedRow>,
    /// Messages that could not be handled.
    pub parked: ParkedRows,
}

impl System {
    /// The system at `now`.
    #[must_use]
    pub fn new(view: &View, now: Timestamp) -> Self {
        Self {
            now_ms: now.as_millis(),
            status: view.status(now),
            broker_connected: view.is_connected(),
            version: env!("CARGO_PKG_VERSION"),
            processes: view.processes.rows(now, view.is_connected(), &view.limits().expected),
            feeds: view.feed_rows(now),
            parked: view.parked_rows(),
        }
    }
}

/// Alerts.
#[derive(Serialize, JsonSchema)]
pub struct AlertsAnswer<'a> {
    /// How far to trust it.
    pub status: Word,
    /// Firing and pending, worst first.
    pub active: Vec<AlertRow<'a>>,
    /// Transitions, newest first.
    pub recent: Vec<&'a Alert>,
}

impl<'a> AlertsAnswer<'a> {
    /// The alerts at `now`.
    #[must_use]
    pub fn new(view: &'a View, now: Timestamp) -> Self {
        Self {
            status: view.status(now).status,
            active: view.alert_rows(view.alerts.active(), now),
            recent: view.alerts.recent().collect(),
        }
    }
}

/// Prices.
#[derive(Serialize, JsonSchema)]
pub struct PricesAnswer {
    /// How far to trust it; left out where only the changed rows are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Word>,
    /// Now at the gateway, ms since the epoch.
    pub now_ms: i64,
    /// A row per symbol.
    pub prices: Vec<PriceRow>,
}

/// The whole picture: the first event of every live stream.
#[derive(Serialize)]
pub struct Snapshot<'a> {
    system: System,
    portfolio: portfolio::Answer<'a>,
    prices: Vec<PriceRow>,
    alerts: AlertsAnswer<'a>,
    windows: Option<&'a Windows>,
    orders: OrdersTold<'a>,
    positions: Positions<'a>,
    guard: Guard<'a>,
    signals: Signals<'a>,
}

impl<'a> Snapshot<'a> {
    /// The picture at `now`.
    #[must_use]
    pub fn new(view: &'a View, now: Timestamp) -> Self {
        let system = System::new(view, now);
        Self {
            portfolio: view.portfolio.answer(now, system.status.status),
            prices: view.prices.rows(now),
            alerts: AlertsAnswer::new(view, now),
            windows: view.windows.latest(),
            orders: view.trading.newest_orders(),
            positions: view.trading.positions(now),
            guard: view.trading.guard(),
            signals: Signals::new(view, now),
            system,
        }
    }
}

/// Backtests in a live event and in the snapshot.
const BACKTESTS_SHOWN: usize = 20;
/// Changes of rollouts there.
const CHANGES_SHOWN: usize = 20;

/// Models, rollout, strategies, backtests, shares: what the page shows of them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Signals<'a> {
    model: VersionRow<'a>,
    buckets: Vec<BucketRow>,
    calibration: Overall,
    rollout: RolloutAnswer<'a>,
    strategies: Vec<RegisteredRow<'a>>,
    backtests: Vec<JobRow<'a>>,
    bist: BistAnswer<'a>,
}

impl<'a> Signals<'a> {
    /// As they are at `now`.
    #[must_use]
    pub fn new(view: &'a View, now: Timestamp) -> Self {
        let jobs = view.backtests.newest().into_iter().take(BACKTESTS_SHOWN);
        Self {
            model: view.signals.model().into(),
            buckets: view.signals.buckets(),
            calibration: view.signals.overall(),
            rollout: view.rollouts.answer(CHANGES_SHOWN),
            strategies: view.registry.rows(),
            backtests: jobs.filter_map(|id| view.backtests.row(id)).collect(),
            bist: view.bist.answer(&view.limits().calendar, now),
        }
    }
}

/// The three figures of `GET /api/tools/get_metrics`; null where there is no data.
#[derive(Serialize, JsonSchema)]
pub struct Figures {
    /// Refresh latency, ms.
    pub p95_ms: Option<f64>,
    /// Age of the balances, s.
    pub staleness_s: Option<f64>,
    /// Failed calls a second.
    pub error_rate: Option<f64>,
}

impl Figures {
    /// The worst exchange's figures.
    #[must_use]
    pub fn new(view: &View) -> Self {
        Self {
            p95_ms: view.windows.worst(P95_RULE, None),
            staleness_s: view.windows.worst(STALENESS_RULE, None),
            error_rate: view.windows.worst(ERROR_RATE_RULE, None),
        }
    }
}

/// `GET /api/public/metrics`.
#[derive(Serialize, JsonSchema)]
pub struct PublicMetrics {
    #[serde(flatten)]
    status: Status,
    #[serde(flatten)]
    figures: Figures,
    total_usd: Option<Number>,
    alerts_critical: usize,
    alerts_warning: usize,
    parked: Option<u64>,
    processes_up: usize,
    processes_expected: usize,
    at: String,
}

impl PublicMetrics {
    /// The figures at `now`.
    #[must_use]
    pub fn new(view: &View, config: &Config, now: Timestamp) -> Self {
        let rows = view.processes.rows(now, view.is_connected(), &config.expected);
        Self {
            status: view.status(now),
            figures: Figures::new(view),
            total_usd: view.portfolio.total_usd().map(Number),
            alerts_critical: view.alerts.firing(Severity::Critical),
            alerts_warning: view.alerts.firing(Severity::Warning),
            parked: view.parked_count(),
            processes_up: rows.iter().filter(|row| row.expected && row.presence == Presence::Up).count(),
            processes_expected: config.expected.len(),
            at: now.to_string(),
        }
    }
}
